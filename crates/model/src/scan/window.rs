//! Which records are in: the part of a workspace that a scan is about.
//!
//! The API cannot be asked for changes, so every decision is taken here, on the client, and always in
//! favour of the record: it is left out only when its own times prove that it is old. Storing a record
//! twice costs nothing; leaving one out loses it.

use chrono::{DateTime, Utc};

use crate::catalog::Object;
use crate::record::Record;

/// The records that a scan takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// A historical load: what has lived since then, and what has no time at all; of what lived on until
    /// a later day nothing, if there is such a day.
    History { since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>> },
    /// A daily run: what may have changed since then.
    Changes { since: DateTime<Utc>, history: DateTime<Utc> },
    /// Everything that is stored or belongs to history.
    Full { history: DateTime<Utc> },
}

/// What a window says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    In,
    /// It is older than history, and whether it changed can only be told by comparing it: it is in
    /// if an earlier load has stored it.
    IfStored,
    /// Its times show that an earlier scan has stored it as it is, if it belongs to what is stored.
    Unchanged,
    Out,
}

impl Window {
    /// Judges a record by the newest of its times.
    pub fn judge(self, object: &Object, record: &Record, newest: Option<DateTime<Utc>>) -> Verdict {
        let in_history = |history| if newest.is_none_or(|newest| newest >= history) { Verdict::In } else { Verdict::IfStored };
        match self {
            Window::History { since, until } => {
                let begun = |newest| since.is_none_or(|since| newest >= since);
                let over = |newest| until.is_none_or(|until| newest < until);
                if newest.is_none_or(|newest| begun(newest) && over(newest)) { Verdict::In } else { Verdict::Out }
            }
            Window::Changes { since, history } => {
                let edits_would_show = object.modified.iter().any(|field| record.instant(field).is_some());
                match (edits_would_show, newest) {
                    (true, Some(newest)) if newest < since => Verdict::Unchanged,
                    (true, _) => Verdict::In,
                    (false, _) => in_history(history),
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

    fn check(window: Window, object: &str, fields: Value, expected: Verdict) {
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

    fn changes() -> Window {
        Window::Changes { since: day("2025-01-01"), history: day("2021-01-01") }
    }

    #[test]
    fn a_daily_run_takes_what_changed_at_or_after_the_instant() {
        check(changes(), "tasks", json!({"updatedAt": "2025-01-01T00:00:00Z"}), Verdict::In);
        check(changes(), "tasks", json!({"updatedAt": "2024-12-31T23:59:59.999Z"}), Verdict::Unchanged);
        check(changes(), "tasks", json!({"updatedAt": "2019-12-31T23:59:59.999Z"}), Verdict::Unchanged);
        let updated = json!({"updatedAt": "2024-06-01T00:00:00Z", "lastUpdated": "2025-02-01T00:00:00Z"});
        check(changes(), "companies", updated, Verdict::In);
        let touched = json!({"updatedAt": "2024-06-01T00:00:00Z", "lastTouch": "2025-02-01T00:00:00Z"});
        check(changes(), "companies", touched, Verdict::In);
    }

    #[test]
    fn a_daily_run_compares_what_has_no_modification_time() {
        check(changes(), "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), Verdict::In);
        check(changes(), "tasks", json!({"createdAt": "2022-01-01T00:00:00Z"}), Verdict::In);
        check(changes(), "companies", json!({"lastTouch": "2022-01-01T00:00:00Z"}), Verdict::In);
        check(changes(), "tasks", json!({"updatedAt": "undefined"}), Verdict::In);
    }

    #[test]
    fn what_is_older_than_history_is_compared_if_it_is_stored() {
        check(changes(), "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), Verdict::IfStored);
        let full = Window::Full { history: day("2021-01-01") };
        check(full, "tasks", json!({"updatedAt": "2019-01-01T00:00:00Z"}), Verdict::IfStored);
        check(full, "tasks", json!({"updatedAt": "2021-01-01T00:00:00Z"}), Verdict::In);
        check(full, "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), Verdict::In);
    }

    #[test]
    fn history_keeps_what_lived_since_then_and_what_has_no_time() {
        let history = Window::History { since: Some(day("2025-01-01")), until: None };
        check(history, "nps", json!({"npsDate": "2024-12-31T00:00:00Z"}), Verdict::Out);
        let edited = json!({"createdAt": "2019-01-01T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z"});
        check(history, "tasks", edited, Verdict::In);
        check(history, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), Verdict::Out);
        check(history, "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), Verdict::In);
        let everything = Window::History { since: None, until: None };
        check(everything, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), Verdict::In);
    }

    #[test]
    fn an_end_of_history_leaves_out_what_lived_on() {
        let until = Window::History { since: Some(day("2019-01-01")), until: Some(day("2021-01-01")) };
        check(until, "tasks", json!({"updatedAt": "2020-12-31T23:59:59Z"}), Verdict::In);
        check(until, "tasks", json!({"updatedAt": "2021-01-01T00:00:00Z"}), Verdict::Out);
        check(until, "tasks", json!({"createdAt": "2020-01-01T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z"}), Verdict::Out);
        check(until, "tasks", json!({}), Verdict::In);
    }
}
