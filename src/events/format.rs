//! The format of a message: JSON for programs, or text for people in a chat.
//!
//! The text contains what Planhat answered, so nothing in it may have an effect there: no line breaks, no markup, no mention that
//! alerts a whole channel.

use serde::Deserialize;
use serde_json::{Value, json};
use url::{Host, Url};

use super::message::{Event, EventData, EventType, plain};

/// Objects that are named one by one.
const NAMED_OBJECTS: usize = 10;
/// Longest line before it is escaped.
const LONGEST_LINE: usize = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON by the convention of Standard Webhooks.
    Standard,
    Slack,
    Teams,
    Discord,
}

impl Format {
    /// Whose address that is, if it takes nothing but its own messages: the name, and the format it wants.
    pub fn of_service(url: &Url) -> Option<(&'static str, &'static str)> {
        let Some(Host::Domain(host)) = url.host() else { return None };
        let is_below = |domain: &str| host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
        let is_discord = is_below("discord.com") || is_below("discordapp.com");
        if is_below("hooks.slack.com") {
            Some(("Slack", "slack"))
        } else if is_discord && url.path().starts_with("/api/") && url.path().contains("/webhooks/") {
            Some(("Discord", "discord"))
        } else if ["webhook.office.com", "outlook.office.com", "logic.azure.com", "api.powerplatform.com"]
            .iter()
            .any(|domain| is_below(domain))
        {
            Some(("Microsoft Teams", "teams"))
        } else {
            None
        }
    }

    /// The body that is sent for an event that was stored as `stored`.
    pub(super) fn body(self, stored: &str) -> String {
        let Ok(event) = serde_json::from_str::<Event>(stored) else { return stored.to_owned() };
        match self {
            Format::Standard => stored.to_owned(),
            Format::Slack => slack(&event).to_string(),
            Format::Teams => teams(&event).to_string(),
            Format::Discord => discord(&event).to_string(),
        }
    }
}

/// Slack cuts a text behind 4,000 characters or so.
fn slack(event: &Event) -> Value {
    let escaped = |line: &str| line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({"text": joined(event, 3500, escaped), "mrkdwn": false})
}

/// Discord refuses a text of more than 2,000 characters.
fn discord(event: &Event) -> Value {
    let escaped = |line: &str| {
        let marks = |char| matches!(char, '\\' | '*' | '_' | '~' | '`' | '|' | '<' | '>' | '#' | '[' | ']');
        line.chars().flat_map(|char| marks(char).then_some('\\').into_iter().chain([char])).collect()
    };
    // Suppresses previews of links.
    let flags = 4;
    json!({"content": joined(event, 1900, escaped), "allowed_mentions": {"parse": []}, "flags": flags})
}

/// Teams takes an adaptive card of up to 28 KB; runs of text know no markup.
fn teams(event: &Event) -> Value {
    let block = |line: &str, weight: &str| json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line, "weight": weight}]});
    let body: Vec<Value> =
        lines(event).iter().enumerate().map(|(index, line)| block(line, if index == 0 { "bolder" } else { "default" })).collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.2",
        "body": body, "msteams": {"width": "Full"}
    });
    json!({"type": "message", "attachments": [
        {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card}
    ]})
}

/// As many lines as there is room for.
fn joined(event: &Event, longest: usize, escaped: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    let mut room = longest;
    for line in lines(event) {
        let line = escaped(&line);
        let length = line.chars().count() + 1;
        if length > room {
            text.push_str("\n…");
            break;
        }
        room -= length;
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
    }
    text
}

/// What a person reads: what is the matter and where, then why, and what to do.
fn lines(event: &Event) -> Vec<String> {
    let EventData { run_id, command, seconds, reason, hint, objects, last_success, .. } = &event.data;
    let place = format!("{} ({})", event.workspace, event.host);
    let mut lines = vec![match event.kind {
        EventType::Failed => format!("planhat-sync: the sync of {place} failed"),
        EventType::Partial => format!("planhat-sync: the sync of {place} did not succeed for all objects"),
        EventType::Stale => format!("planhat-sync: the data of {place} is too old"),
        EventType::Recovered => format!("planhat-sync: the sync of {place} has recovered"),
        EventType::Test => format!("planhat-sync: a test message for {place}"),
    }];
    let has_reasons = objects.iter().any(|of| of.status != "stale");
    if !has_reasons {
        lines.extend(reason.clone());
        lines.extend(hint.as_ref().map(|hint| format!("What to do: {hint}")));
    }
    let mut last_hint = None;
    for of in objects.iter().filter(|_| has_reasons).take(NAMED_OBJECTS) {
        lines.push(format!("{} ({}): {}", of.object, of.status, of.reason));
        // What is to be done is often the same for all.
        if last_hint.is_none_or(|last| Some(last) != of.hint.as_ref()) {
            lines.extend(of.hint.as_ref().map(|hint| format!("What to do: {hint}")));
        }
        last_hint = of.hint.as_ref();
    }
    if has_reasons && objects.len() > NAMED_OBJECTS {
        lines.push(format!("and {} more objects", objects.len() - NAMED_OBJECTS));
    }
    lines.extend(last_success.map(|at| format!("The last success was at {}", at.format("%Y-%m-%d %H:%M:%S UTC"))));
    if let (Some(run_id), Some(command)) = (run_id, command) {
        let seconds = seconds.map(|seconds| format!(" in {seconds:.1} s")).unwrap_or_default();
        lines.push(format!("Run {run_id} of {command}{seconds}"));
    }
    lines.iter().map(|line| plain(line, LONGEST_LINE)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::ObjectEvent;
    use super::*;

    fn event(kind: EventType, data: EventData) -> String {
        let timestamp = "2026-11-26T03:10:00Z".parse().unwrap();
        serde_json::to_string(&Event { kind, timestamp, workspace: "planhat".into(), host: "api.planhat.com".into(), data })
            .unwrap()
    }

    fn object(object: &str, status: &str, reason: &str, hint: Option<&str>) -> ObjectEvent {
        ObjectEvent { object: object.into(), status: status.into(), reason: reason.into(), hint: hint.map(str::to_owned) }
    }

    fn partial() -> String {
        let objects = vec![
            object(
                "tasks",
                "failed",
                "/tasks answered 400 Bad Request: <!channel> *no* <https://evil|here>",
                Some("`check` it & see"),
            ),
            object("users", "partial", "2 records are in quarantine", None),
        ];
        let data = EventData {
            run_id: Some(7),
            command: Some("daemon".into()),
            status: "partial".into(),
            seconds: Some(12.345),
            reason: Some("tasks: …".into()),
            objects,
            ..EventData::default()
        };
        event(EventType::Partial, data)
    }

    fn shown(format: Format, event: &str) -> String {
        serde_json::to_string_pretty(&serde_json::from_str::<Value>(&format.body(event)).unwrap()).unwrap()
    }

    #[test]
    fn the_standard_format_contains_every_field() {
        insta::assert_snapshot!(shown(Format::Standard, &partial()), @r##"
        {
          "data": {
            "command": "daemon",
            "objects": [
              {
                "hint": "`check` it & see",
                "object": "tasks",
                "reason": "/tasks answered 400 Bad Request: <!channel> *no* <https://evil|here>",
                "status": "failed"
              },
              {
                "object": "users",
                "reason": "2 records are in quarantine",
                "status": "partial"
              }
            ],
            "reason": "tasks: …",
            "run_id": 7,
            "seconds": 12.345,
            "status": "partial"
          },
          "host": "api.planhat.com",
          "timestamp": "2026-11-26T03:10:00Z",
          "type": "sync.partial",
          "workspace": "planhat"
        }
        "##);
        assert_eq!(Format::Standard.body(&partial()), partial());
    }

    #[test]
    fn slack_messages_contain_no_active_markup_or_mentions() {
        insta::assert_snapshot!(shown(Format::Slack, &partial()), @r##"
        {
          "mrkdwn": false,
          "text": "planhat-sync: the sync of planhat (api.planhat.com) did not succeed for all objects\ntasks (failed): /tasks answered 400 Bad Request: &lt;!channel&gt; *no* &lt;https://evil|here&gt;\nWhat to do: `check` it &amp; see\nusers (partial): 2 records are in quarantine\nRun 7 of daemon in 12.3 s"
        }
        "##);
    }

    #[test]
    fn discord_messages_contain_no_active_markup_or_mentions() {
        insta::assert_snapshot!(shown(Format::Discord, &partial()), @r##"
        {
          "allowed_mentions": {
            "parse": []
          },
          "content": "planhat-sync: the sync of planhat (api.planhat.com) did not succeed for all objects\ntasks (failed): /tasks answered 400 Bad Request: \\<!channel\\> \\*no\\* \\<https://evil\\|here\\>\nWhat to do: \\`check\\` it & see\nusers (partial): 2 records are in quarantine\nRun 7 of daemon in 12.3 s",
          "flags": 4
        }
        "##);
    }

    #[test]
    fn teams_messages_are_adaptive_cards() {
        insta::assert_snapshot!(shown(Format::Teams, &partial()), @r##"
        {
          "attachments": [
            {
              "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "body": [
                  {
                    "inlines": [
                      {
                        "text": "planhat-sync: the sync of planhat (api.planhat.com) did not succeed for all objects",
                        "type": "TextRun",
                        "weight": "bolder"
                      }
                    ],
                    "type": "RichTextBlock"
                  },
                  {
                    "inlines": [
                      {
                        "text": "tasks (failed): /tasks answered 400 Bad Request: <!channel> *no* <https://evil|here>",
                        "type": "TextRun",
                        "weight": "default"
                      }
                    ],
                    "type": "RichTextBlock"
                  },
                  {
                    "inlines": [
                      {
                        "text": "What to do: `check` it & see",
                        "type": "TextRun",
                        "weight": "default"
                      }
                    ],
                    "type": "RichTextBlock"
                  },
                  {
                    "inlines": [
                      {
                        "text": "users (partial): 2 records are in quarantine",
                        "type": "TextRun",
                        "weight": "default"
                      }
                    ],
                    "type": "RichTextBlock"
                  },
                  {
                    "inlines": [
                      {
                        "text": "Run 7 of daemon in 12.3 s",
                        "type": "TextRun",
                        "weight": "default"
                      }
                    ],
                    "type": "RichTextBlock"
                  }
                ],
                "msteams": {
                  "width": "Full"
                },
                "type": "AdaptiveCard",
                "version": "1.2"
              },
              "contentType": "application/vnd.microsoft.card.adaptive",
              "contentUrl": null
            }
          ],
          "type": "message"
        }
        "##);
    }

    #[test]
    fn each_event_type_has_a_message_that_says_what_happened() {
        let said = |kind, data| lines(&serde_json::from_str(&event(kind, data)).unwrap()).join("\n");
        let failed = EventData {
            reason: Some("could not connect to PostgreSQL at db:5432".into()),
            hint: Some("check that PostgreSQL runs there".into()),
            ..EventData::default()
        };
        let stale = EventData {
            reason: Some("companies, users: no successful sync for 1day 2h".into()),
            objects: vec![object("companies", "stale", "no successful sync for 1day 2h", None)],
            last_success: Some("2026-11-25T01:00:00Z".parse().unwrap()),
            ..EventData::default()
        };
        let recovered = EventData {
            run_id: Some(8),
            command: Some("sync".into()),
            reason: Some("all is well again".into()),
            ..EventData::default()
        };
        let all = [said(EventType::Failed, failed), said(EventType::Stale, stale), said(EventType::Recovered, recovered)];
        insta::assert_snapshot!(all.join("\n---\n"), @r##"
        planhat-sync: the sync of planhat (api.planhat.com) failed
        could not connect to PostgreSQL at db:5432
        What to do: check that PostgreSQL runs there
        ---
        planhat-sync: the data of planhat (api.planhat.com) is too old
        companies, users: no successful sync for 1day 2h
        The last success was at 2026-11-25 01:00:00 UTC
        ---
        planhat-sync: the sync of planhat (api.planhat.com) has recovered
        all is well again
        Run 8 of sync
        "##);
    }

    #[test]
    fn messages_are_cut_to_the_maximum_length_of_their_service() {
        let objects =
            (0..60).map(|number| object(&format!("object{number}"), "failed", &"_<&\u{1f600}".repeat(4000), None)).collect();
        let event = event(EventType::Failed, EventData { objects, ..EventData::default() });
        let text = |format: Format, key: &str| {
            serde_json::from_str::<Value>(&format.body(&event)).unwrap()[key].as_str().unwrap().chars().count()
        };
        assert!(text(Format::Discord, "content") <= 2000);
        assert!(text(Format::Slack, "text") <= 4000);
        assert!(Format::Teams.body(&event).len() <= 28_000, "{}", Format::Teams.body(&event).len());
    }

    #[test]
    fn webhook_urls_of_chat_services_are_recognised() {
        for (url, expected) in [
            ("https://hooks.slack.com/services/T/B/x", Some("slack")),
            ("https://discord.com/api/webhooks/1/x", Some("discord")),
            ("https://ptb.discord.com/api/v10/webhooks/1/x", Some("discord")),
            ("https://acme.webhook.office.com/webhookb2/x", Some("teams")),
            ("https://prod-1.westeurope.logic.azure.com:443/workflows/x", Some("teams")),
            ("https://x.1a.environment.api.powerplatform.com:443/powerautomate/x", Some("teams")),
            ("https://discord.com/other", None),
            ("https://nothooks.slack.com.example.org/services", None),
            ("https://evilhooks.slack.com/services", None),
            ("https://example.org/hooks.slack.com", None),
            ("http://127.0.0.1:9/hook", None),
        ] {
            assert_eq!(Format::of_service(&url.parse().unwrap()).map(|(_, format)| format), expected, "{url}");
        }
    }
}
