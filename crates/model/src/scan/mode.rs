//! The modes that a sync can be asked for, and the kinds of scans. `pull/decide.rs` decides which mode becomes which scan.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// How far back the records of an object are loaded: `sync.history`, or `history` of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Records that were edited or in contact within this time.
    Within(Duration),
    All,
}

impl History {
    /// The instant before which records are too old; none if no record is.
    pub fn begin(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            History::Within(duration) => Some(now - duration),
            History::All => None,
        }
    }
}

/// `sync.sorted`: the objects whose changes are read newest first, so that a daily run stops early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SortedObjects {
    /// Those of the catalogue, and any other of which it was learned that it can be read so.
    Auto,
    /// The objects of these names.
    Named(Vec<&'static str>),
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What changed since the last time; all of history the first time; everything when it is time
    /// for that again.
    Incremental,
    /// All of history, from its beginning or where it was stopped.
    Backfill(BackfillRange),
    /// Everything there is, and what is no longer there.
    Full,
    /// The records that stored rows refer to and that are not stored, by id.
    Referenced,
}

/// Which part of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillRange {
    pub from: HistoryFrom,
    /// Leaves out records that were active at this time or later.
    pub until: Option<DateTime<Utc>>,
}

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryFrom {
    /// As far as the settings say.
    Default,
    Since(DateTime<Utc>),
    Earliest,
}

/// What a scan is for. An object has at most one unfinished scan of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanKind {
    /// A first load, or a backfill that goes back as far: from the beginning of a listing to its end.
    History,
    /// A backfill of another part of history, which no sync can resume.
    Backfill,
    /// What changed: a daily run.
    Incremental,
    /// Everything is compared, and deleted records are found.
    Full,
    /// Records that others refer to, one by one.
    Referenced,
}

impl ScanKind {
    pub const ALL: [ScanKind; 5] =
        [ScanKind::History, ScanKind::Backfill, ScanKind::Incremental, ScanKind::Full, ScanKind::Referenced];

    pub fn as_str(self) -> &'static str {
        match self {
            ScanKind::History => "history",
            ScanKind::Backfill => "backfill",
            ScanKind::Incremental => "incremental",
            ScanKind::Full => "full",
            ScanKind::Referenced => "referenced",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_begins_as_long_ago_as_the_setting_says_or_never() {
        let now: DateTime<Utc> = "2026-01-31T00:00:00Z".parse().unwrap();
        let thirty_days = History::Within(Duration::from_secs(30 * 24 * 3600));
        assert_eq!(thirty_days.begin(now), Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(History::All.begin(now), None);
    }

    #[test]
    fn a_kind_of_scan_has_one_name_in_tables_and_in_json() {
        let names = ScanKind::ALL.map(ScanKind::as_str);
        assert_eq!(names, ["history", "backfill", "incremental", "full", "referenced"]);
        for kind in ScanKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
