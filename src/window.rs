//! Which records are in: the part of a workspace that a scan is about.
//!
//! The API cannot be asked for changes, so every decision is taken here, on the client, and always in
//! favour of the record: it is left out only when its own times prove that it is old. Storing a record
//! twice costs nothing; leaving one out loses it.

use chrono::{DateTime, Utc};

use crate::object::Object;
use crate::record::Record;

/// The records that a scan takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// All there are.
    Everything,
    /// A historical load: what has lived since then, and what has no time at all.
    History { since: DateTime<Utc> },
    /// A daily run: what may have changed since then.
    Changes { since: DateTime<Utc> },
}

impl Window {
    pub fn takes(self, object: &Object, record: &Record) -> bool {
        let newest = record.newest_of(object.modified.iter().chain(object.dated));
        match self {
            Window::Everything => true,
            Window::History { since } => newest.is_none_or(|newest| newest >= since),
            Window::Changes { since } => {
                let edits_would_show = object.modified.iter().any(|field| record.instant(field).is_some());
                !edits_would_show || newest.is_none_or(|newest| newest >= since)
            }
        }
    }

    pub fn since(self) -> Option<DateTime<Utc>> {
        match self {
            Window::Everything => None,
            Window::History { since } | Window::Changes { since } => Some(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::record::record_of;
    use serde_json::{Value, json};

    fn check(window: Window, object: &str, fields: Value, expected: bool) {
        let mut fields = fields;
        fields["_id"] = json!("a");
        let record = record_of(&fields);
        assert_eq!(window.takes(catalog::object(object).unwrap(), &record), expected, "{object} {:?}", record.fields);
    }

    fn since() -> DateTime<Utc> {
        "2025-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_daily_run_takes_what_changed_at_or_after_the_instant() {
        let changes = Window::Changes { since: since() };
        check(changes, "tasks", json!({"updatedAt": "2025-01-01T00:00:00Z"}), true);
        check(changes, "tasks", json!({"updatedAt": "2024-12-31T23:59:59.999Z"}), false);
        check(changes, "companies", json!({"updatedAt": "2024-06-01T00:00:00Z", "lastUpdated": "2025-02-01T00:00:00Z"}), true);
        check(changes, "companies", json!({"updatedAt": "2024-06-01T00:00:00Z", "lastTouch": "2025-02-01T00:00:00Z"}), true);
    }

    #[test]
    fn a_daily_run_compares_what_has_no_modification_time() {
        let changes = Window::Changes { since: since() };
        check(changes, "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), true);
        check(changes, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), true);
        check(changes, "companies", json!({"lastTouch": "2019-01-01T00:00:00Z"}), true);
        check(changes, "tasks", json!({"updatedAt": "undefined"}), true);
    }

    #[test]
    fn history_keeps_what_lived_since_then_and_what_has_no_time() {
        let history = Window::History { since: since() };
        check(history, "nps", json!({"npsDate": "2024-12-31T00:00:00Z"}), false);
        check(history, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z", "updatedAt": "2025-01-01T00:00:00Z"}), true);
        check(history, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), false);
        check(history, "licenses", json!({"fromDate": "2019-01-01T00:00:00Z"}), true);
        check(Window::Everything, "tasks", json!({"createdAt": "2019-01-01T00:00:00Z"}), true);
    }
}
