//! Why `actions` has found nothing: in one sentence, with what there is instead.

use std::time::Duration;

use chrono::{DateTime, Utc};
use humantime::format_duration;
use planhat_store::{ActionsSpan, PastAction};

use crate::print;

/// What is known where no action was found.
#[derive(Debug, Clone, Default)]
pub(super) struct NoActions {
    pub(super) is_synced: bool,
    /// `actions.enabled`.
    pub(super) is_enabled: bool,
    /// `actions.initial`.
    pub(super) loads_are_told: bool,
    /// `actions.keep`.
    pub(super) keep: Duration,
    /// The actions that are stored, of whatever; none where there is no table for them.
    pub(super) stored: Option<ActionsSpan>,
    pub(super) since: Option<DateTime<Utc>>,
    /// Company and end user that were asked for.
    pub(super) who: Vec<String>,
    /// The newest action that matches, whenever it was stored.
    pub(super) newest_match: Option<PastAction>,
}

impl NoActions {
    pub(super) fn because(&self) -> String {
        let mut text = format!("no actions {}", self.reason());
        if let (Some(since), Some(ActionsSpan::Some { oldest, .. })) = (self.since, self.stored)
            && !self.keep.is_zero()
            && since < oldest
        {
            text.push_str(&format!("; those before {} were removed (actions.keep)", print::instant(oldest)));
        }
        if !self.is_enabled && self.stored.is_some() {
            text.push_str("; no new ones are stored (actions.enabled is false)");
        }
        text
    }

    fn reason(&self) -> String {
        let newest = match (self.is_synced, self.stored) {
            (false, _) => return "match: nothing was synced yet; `planhat-sync sync` loads the workspace".to_owned(),
            (true, None) if self.is_enabled => return "match: the timeline begins with the next sync".to_owned(),
            (true, None) => return "match: the timeline is turned off (actions.enabled is false)".to_owned(),
            (true, Some(ActionsSpan::Nothing)) => return self.nothing_is_stored(),
            (true, Some(ActionsSpan::Some { newest, .. })) => newest,
        };
        match (&self.newest_match, self.since) {
            (Some(action), Some(since)) => format!(
                "match: nothing since {}; the newest action that matches was stored at {} ({})",
                print::instant(since),
                print::instant(action.seen_at),
                print::on_one_line(&action.action)
            ),
            _ => {
                let of = if self.who.is_empty() { String::new() } else { format!("of {} ", self.who.join(" and ")) };
                format!("{of}match; the newest action of the timeline was stored at {}", print::instant(newest))
            }
        }
    }

    fn nothing_is_stored(&self) -> String {
        let mut text = "match: no action is stored".to_owned();
        if !self.loads_are_told {
            text.push_str(", and first loads make none (actions.initial is false)");
        }
        if !self.keep.is_zero() {
            text.push_str(&format!("; actions are removed after {} (actions.keep)", format_duration(self.keep)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32) -> DateTime<Utc> {
        format!("2026-11-{day:02}T00:00:00Z").parse().unwrap()
    }

    #[test]
    fn why_there_is_no_action_is_said_with_what_there_is_instead() {
        let stored = Some(ActionsSpan::Some { oldest: day(10), newest: day(20) });
        let good = NoActions { is_synced: true, is_enabled: true, loads_are_told: true, stored, ..NoActions::default() };
        let off = |stored| NoActions { is_enabled: false, stored, ..good.clone() };
        let month = Duration::from_secs(30 * 86_400);
        let match_of = |day| PastAction {
            id: 1,
            happened_at: day,
            seen_at: day,
            action: "Company Updated".to_owned(),
            kind: "updated".to_owned(),
            first_seen: Some(false),
            object: "companies".to_owned(),
            record_id: "c".to_owned(),
            company_id: None,
            company: None,
            end_user_id: None,
            end_user: None,
            run_id: 1,
            changes: None,
            changed: None,
        };
        let acme = vec!["Acme (64b0)".to_owned()];
        for (case, expected) in [
            (NoActions::default(), "match: nothing was synced yet; `planhat-sync sync` loads the workspace"),
            (NoActions { stored: None, ..good.clone() }, "match: the timeline begins with the next sync"),
            (off(None), "match: the timeline is turned off (actions.enabled is false)"),
            (
                NoActions { stored: Some(ActionsSpan::Nothing), loads_are_told: false, keep: month, ..good.clone() },
                "match: no action is stored, and first loads make none (actions.initial is false); actions are removed after 30days (actions.keep)",
            ),
            (
                NoActions { who: acme.clone(), ..good.clone() },
                "of Acme (64b0) match; the newest action of the timeline was stored at 2026-11-20 00:00:00 UTC",
            ),
            (
                NoActions { who: acme, since: Some(day(25)), newest_match: Some(match_of(day(15))), ..good.clone() },
                "match: nothing since 2026-11-25 00:00:00 UTC; the newest action that matches was stored at 2026-11-15 00:00:00 UTC (Company Updated)",
            ),
            (
                NoActions { since: Some(day(1)), keep: month, ..good.clone() },
                "match; the newest action of the timeline was stored at 2026-11-20 00:00:00 UTC; those before 2026-11-10 00:00:00 UTC were removed (actions.keep)",
            ),
            (
                off(stored),
                "match; the newest action of the timeline was stored at 2026-11-20 00:00:00 UTC; no new ones are stored (actions.enabled is false)",
            ),
        ] {
            assert_eq!(case.because(), format!("no actions {expected}"));
        }
    }
}
