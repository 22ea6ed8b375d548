//! A message: what it says in every form, and what of a run goes into it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use planhat_model::error::{ErrorKind, Fails};
use planhat_model::printable::on_one_line;
use planhat_store::{ObjectStatus, RunStatus};
use serde::{Deserialize, Serialize};

use crate::run::{ObjectSummary, Summary};

/// The maximum length of a reason.
const LONGEST_TEXT: usize = 1000;

/// An event as it is signed and sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: EventType,
    pub(super) timestamp: DateTime<Utc>,
    /// The schema of the data.
    pub(super) workspace: String,
    /// The host of the API, which also tells two workspaces apart.
    pub(super) host: String,
    pub(super) data: EventData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum EventType {
    #[serde(rename = "sync.partial")]
    Partial,
    #[serde(rename = "sync.failed")]
    Failed,
    #[serde(rename = "sync.stale")]
    Stale,
    #[serde(rename = "sync.recovered")]
    Recovered,
    /// To see whether messages arrive.
    #[serde(rename = "sync.test")]
    Test,
}

impl EventType {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            EventType::Partial => "sync.partial",
            EventType::Failed => "sync.failed",
            EventType::Stale => "sync.stale",
            EventType::Recovered => "sync.recovered",
            EventType::Test => "sync.test",
        }
    }
}

/// The facts. What is not known is null; what only one kind of message has is left out of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EventData {
    pub(super) run_id: Option<i64>,
    pub(super) command: Option<String>,
    pub(super) status: String,
    pub(super) seconds: Option<f64>,
    pub(super) reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
    /// Those that are not good.
    pub(super) objects: Vec<ObjectEvent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_success: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stale_after_seconds: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ObjectEvent {
    pub(super) object: String,
    pub(super) status: String,
    pub(super) reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

/// The facts of a run that has ended.
pub(super) fn data_of_run(command: &str, summary: &Summary) -> EventData {
    let objects: Vec<ObjectEvent> = summary.objects.iter().filter_map(news_of_object).collect();
    // What has failed says more than what was skipped or waits in quarantine.
    let worst = ["failed", "partial", "skipped"].iter().find_map(|status| objects.iter().find(|of| of.status == *status));
    EventData {
        run_id: summary.run_id,
        command: Some(command.to_owned()),
        status: summary.status.as_str().to_owned(),
        seconds: Some((summary.seconds * 1000.0).round() / 1000.0),
        reason: worst.map(|of| plain(&format!("{}: {}", of.object, of.reason), LONGEST_TEXT)),
        hint: worst.and_then(|of| of.hint.clone()),
        objects,
        ..EventData::default()
    }
}

/// An object that is not good, with the reason; none was tried where a run ended before.
fn news_of_object(of: &ObjectSummary) -> Option<ObjectEvent> {
    let (object, status) = (of.run.object.to_owned(), of.run.status.as_str().to_owned());
    if of.run.status == ObjectStatus::Succeeded {
        return None;
    }
    let reason = match (&of.run.reason, of.run.status) {
        (Some(reason), _) => reason,
        (None, ObjectStatus::Interrupted) => "the run ended before it was done",
        (None, _) => "no reason is known",
    };
    Some(ObjectEvent {
        object,
        status,
        reason: plain(reason, LONGEST_TEXT),
        hint: of.run.hint.as_deref().map(|hint| plain(hint, LONGEST_TEXT)),
    })
}

/// The kind of reason of each object that was tried, none for one that is good, and the one that no object could get by.
pub(super) fn kinds_of_run(summary: &Summary) -> (Option<String>, BTreeMap<String, Option<String>>) {
    let (mut of_all, mut objects) = (None, BTreeMap::new());
    for of in &summary.objects {
        let object = of.run.object.to_owned();
        match (of.run.status, &of.failure) {
            (_, Some(failure)) if failure.kind().fails() == Fails::Run => of_all = Some(failure.kind().text()),
            (ObjectStatus::Interrupted, _) => {}
            (ObjectStatus::Succeeded | ObjectStatus::Skipped, _) => _ = objects.insert(object, None),
            (_, Some(failure)) => _ = objects.insert(object, Some(failure.kind().text())),
            (_, None) if of.run.figures.quarantined > 0 => _ = objects.insert(object, Some("quarantine".to_owned())),
            (status, None) => _ = objects.insert(object, Some(status.as_str().to_owned())),
        }
    }
    let nothing_may_be_read =
        summary.status == RunStatus::Failed && summary.objects.iter().all(|of| of.run.status == ObjectStatus::Skipped);
    let of_all = of_all.or_else(|| nothing_may_be_read.then(|| ErrorKind::AccessDenied.text()));
    (of_all, objects)
}

/// A text on one line, with escapes for what a terminal or a chat would act on, and not too long.
pub(super) fn plain(text: &str, longest: usize) -> String {
    let mut line = on_one_line(text).into_owned();
    if line.char_indices().nth(longest).is_some() {
        let cut = line.char_indices().nth(longest - 1).map_or(0, |(cut, _)| cut);
        line.truncate(cut);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_messages_is_kept_on_one_line_and_cut_to_a_maximum_length() {
        assert_eq!(plain("a\u{1b}[31m\nb\u{202e}c", 99), "a\\u{1b}[31m\\nb\\u{202e}c");
        assert_eq!(plain("abcdef", 6), "abcdef");
        assert_eq!(plain("abcdefg", 6), "abcde…");
        assert_eq!(plain("éééé", 3), "éé…");
    }
}
