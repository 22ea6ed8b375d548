//! The window of a scan: which records it takes.
//!
//! The API cannot be asked for changes, so the client decides, always in favour of the record: a record is left out only if
//! its own times prove that it is old. A creation long ago proves nothing: a team member, or a company that nobody has edited, may
//! be in use, and other records refer to it. Storing a record twice costs nothing; leaving one out loses it.

use chrono::{DateTime, Utc};

use crate::catalog::Object;
use crate::record::Record;

/// The records that a scan takes. Without a `since` or `history` no record is too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// A history scan: records active since then, and records that no time proves to be old; without records that were
    /// active or created on `until` or later, if it is set.
    History { since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>> },
    /// An incremental scan: records that may have changed since then.
    Incremental { since: DateTime<Utc>, history: Option<DateTime<Utc>> },
    /// Everything that is stored or belongs to history.
    Full { history: Option<DateTime<Utc>> },
}

/// Whether a window takes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowVerdict {
    In,
    /// The record is older than the history, and only a comparison shows whether it has changed: it is taken if it is
    /// stored.
    IfStored,
    /// Its times show that it has not changed since an earlier scan. It belongs to the history, so it is taken if that scan
    /// has not stored it, say because the history was shorter then.
    Unchanged,
    /// The same for a record that is older than the history: it is not taken.
    OldAndUnchanged,
    Out,
}

impl Window {
    /// Decides by the record's times; `newest` is the newest of all of them.
    pub fn judge(self, object: &Object, record: &Record, newest: Option<DateTime<Utc>>) -> WindowVerdict {
        // A newer creation proves that a record is not old; an older one alone does not prove that it is.
        let is_older_than = |begin: Option<DateTime<Utc>>| {
            begin.is_some_and(|begin| newest.is_some_and(|newest| newest < begin))
                && object.ageing_times().any(|time| record.instant(time).is_some())
        };
        let in_history = |history| if is_older_than(history) { WindowVerdict::IfStored } else { WindowVerdict::In };
        match self {
            Window::History { since, until } => {
                let is_over = until.is_some_and(|until| newest.is_some_and(|newest| newest >= until));
                if is_over || is_older_than(since) { WindowVerdict::Out } else { WindowVerdict::In }
            }
            Window::Incremental { since, history } => {
                let edits_would_show = object.modified.iter().any(|field| record.instant(field).is_some());
                match newest {
                    _ if !edits_would_show => in_history(history),
                    // The watermark of an object in which nothing has changed for years is older than the history.
                    Some(newest) if newest >= since => in_history(history),
                    Some(_) if is_older_than(history) => WindowVerdict::OldAndUnchanged,
                    Some(_) => WindowVerdict::Unchanged,
                    None => WindowVerdict::In,
                }
            }
            Window::Full { history } => in_history(history),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::record::record_of;
    use serde_json::{Value, json};

    fn check(window: Window, object: &str, fields: Value, expected: WindowVerdict) {
        let mut fields = fields;
        fields["_id"] = json!("a");
        let record = record_of(&fields);
        let object = catalog::object(object).unwrap();
        let newest = record.newest_of(object.times());
        assert_eq!(window.judge(object, &record, newest), expected, "{} {fields}", object.name);
    }

    fn day(text: &str) -> DateTime<Utc> {
        format!("{text}T00:00:00Z").parse().unwrap()
    }

    fn incremental() -> Window {
        Window::Incremental { since: day("2025-01-01"), history: Some(day("2021-01-01")) }
    }

    #[test]
    fn an_incremental_scan_takes_records_changed_at_or_after_its_start() {
        check(incremental(), "tasks", json!({"updatedAt": "2025-01-01T00:00:00Z"}), WindowVerdict::In);
        check(incremental(), "tasks", json!({"updatedAt": "2024-12-31T23:59:59.999Z"}), WindowVerdict::Unchanged);
        check(incremental(), "tasks", json!({"updatedAt": "2021-01-01T00:00:00Z"}), WindowVerdict::Unchanged);
        check(incremental(), "tasks", json!({"updatedAt": "2020-12-31T23:59:59.999Z"}), WindowVerdict::OldAndUnchanged);
        let updated = json!({"updatedAt": "2024-06-01T00:00:00Z", "lastUpdated": "2025-02-01T00:00:00Z"});
        check(incremental(), "companies", updated, WindowVerdict::In);
        let touched = json!({"updatedAt": "2024-06-01T00:00:00Z", "lastTouch": "2025-02-01T00:00:00Z"});
        check(incremental(), "companies", touched, WindowVerdict::In);
    }

    #[test]
    fn an_incremental_scan_compares_records_without_a_modification_time() {
        check(incremental(), "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), WindowVerdict::In);
        check(incremental(), "tasks", json!({"createdAt": "2022-01-01T00:00:00Z"}), WindowVerdict::In);
        check(incremental(), "companies", json!({"lastTouch": "2022-01-01T00:00:00Z"}), WindowVerdict::In);
        check(incremental(), "tasks", json!({"updatedAt": "undefined"}), WindowVerdict::In);
    }

    #[test]
    fn an_incremental_scan_that_begins_before_the_history_takes_no_new_record_of_before() {
        let of_long_ago = Window::Incremental { since: day("2019-01-01"), history: Some(day("2021-01-01")) };
        check(of_long_ago, "tasks", json!({"updatedAt": "2020-01-01T00:00:00Z"}), WindowVerdict::IfStored);
        check(of_long_ago, "tasks", json!({"updatedAt": "2021-01-01T00:00:00Z"}), WindowVerdict::In);
        check(of_long_ago, "tasks", json!({"createdAt": "2020-01-01T00:00:00Z"}), WindowVerdict::In);
        check(of_long_ago, "tasks", json!({"updatedAt": "2018-01-01T00:00:00Z"}), WindowVerdict::OldAndUnchanged);
    }

    #[test]
    fn a_stored_record_older_than_the_history_is_still_compared() {
        check(incremental(), "companies", json!({"lastTouch": "2019-01-01T00:00:00Z"}), WindowVerdict::IfStored);
        check(incremental(), "nps", json!({"dateSent": "2019-01-01T00:00:00Z"}), WindowVerdict::IfStored);
        let full = Window::Full { history: Some(day("2021-01-01")) };
        check(full, "tasks", json!({"updatedAt": "2019-01-01T00:00:00Z"}), WindowVerdict::IfStored);
        check(full, "tasks", json!({"updatedAt": "2021-01-01T00:00:00Z"}), WindowVerdict::In);
        check(full, "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), WindowVerdict::In);
    }

    #[test]
    fn a_history_scan_takes_records_active_since_its_start_and_records_without_times() {
        let history = Window::History { since: Some(day("2025-01-01")), until: None };
        check(history, "nps", json!({"npsDate": "2024-12-31T00:00:00Z"}), WindowVerdict::Out);
        let edited = json!({"createdAt": "2019-01-01T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z"});
        check(history, "tasks", edited, WindowVerdict::In);
        let silent = json!({"createdAt": "2019-01-01T00:00:00Z", "updatedAt": "2024-12-31T00:00:00Z"});
        check(history, "tasks", silent, WindowVerdict::Out);
        check(history, "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), WindowVerdict::In);
        let everything = Window::History { since: None, until: None };
        check(everything, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), WindowVerdict::In);
    }

    #[test]
    fn a_record_is_old_by_a_time_that_an_edit_or_a_contact_moves_and_never_by_its_creation_alone() {
        use WindowVerdict::{IfStored, In, Out};
        let history = Window::History { since: Some(day("2025-01-01")), until: None };
        let full = Window::Full { history: Some(day("2025-01-01")) };
        let daily = Window::Incremental { since: day("2026-01-01"), history: Some(day("2025-01-01")) };
        for (object, fields, of_a_load, later) in [
            ("users", json!({"createDate": "2019-01-01T00:00:00Z"}), In, In),
            ("users", json!({"createAt": "2019-01-01T00:00:00Z"}), In, In),
            ("companies", json!({"createDate": "2019-01-01", "createdAt": "2019-01-01T00:00:00Z"}), In, In),
            ("companies", json!({"createDate": "2019-01-01", "lastTouch": "2019-02-01T00:00:00Z"}), Out, IfStored),
            ("companies", json!({"createDate": "2019-01-01", "lastActive": "2025-02-01T00:00:00Z"}), In, In),
            ("tickets", json!({"createDate": "2019-01-01T00:00:00Z"}), In, In),
            ("tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), In, In),
            // A creation proves as much as any time that a record is not old.
            ("endusers", json!({"createdAt": "2025-02-01T00:00:00Z", "npsDate": "2024-02-01T00:00:00Z"}), In, In),
            // An event is as old as it says.
            ("nps", json!({"dateSent": "2019-01-01T00:00:00Z"}), Out, IfStored),
            ("nps", json!({"dateSent": "2019-01-01T00:00:00Z", "dateAnswered": "2025-01-01T00:00:00Z"}), In, In),
            ("conversations", json!({"createDate": "2019-01-01T00:00:00Z"}), Out, IfStored),
            ("timeentries", json!({"date": "2019-01-01"}), Out, IfStored),
        ] {
            check(history, object, fields.clone(), of_a_load);
            check(full, object, fields.clone(), later);
            check(daily, object, fields, later);
        }
        let edited = json!({"createDate": "2019-01-01T00:00:00Z", "updateDate": "2019-02-01T00:00:00Z"});
        check(history, "tickets", edited.clone(), Out);
        check(full, "tickets", edited.clone(), IfStored);
        check(daily, "tickets", edited, WindowVerdict::OldAndUnchanged);
    }

    #[test]
    fn without_a_limit_no_record_is_too_old() {
        let old = json!({"createdAt": "1999-01-01T00:00:00Z", "lastTouch": "1999-01-01T00:00:00Z"});
        check(Window::Full { history: None }, "endusers", old.clone(), WindowVerdict::In);
        check(Window::Incremental { since: day("2025-01-01"), history: None }, "endusers", old, WindowVerdict::In);
    }

    #[test]
    fn the_end_of_a_backfill_leaves_out_records_that_were_still_active() {
        let until = Window::History { since: Some(day("2019-01-01")), until: Some(day("2021-01-01")) };
        check(until, "tasks", json!({"updatedAt": "2020-12-31T23:59:59Z"}), WindowVerdict::In);
        check(until, "tasks", json!({"updatedAt": "2021-01-01T00:00:00Z"}), WindowVerdict::Out);
        check(
            until,
            "tasks",
            json!({"createdAt": "2020-01-01T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z"}),
            WindowVerdict::Out,
        );
        check(until, "tasks", json!({}), WindowVerdict::In);
        // What was created later was not there before; what was created before may be of any age.
        check(until, "tasks", json!({"createdAt": "2022-01-01T00:00:00Z"}), WindowVerdict::Out);
        check(until, "tasks", json!({"createdAt": "2016-01-01T00:00:00Z"}), WindowVerdict::In);
    }
}
