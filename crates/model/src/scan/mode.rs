//! The modes that a sync can be asked for, and the kinds of scans. `pull/decide.rs` decides which mode becomes which scan.

use chrono::{DateTime, Utc};

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
    /// As far as sync.history says.
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
}

impl ScanKind {
    pub const ALL: [ScanKind; 4] = [ScanKind::History, ScanKind::Backfill, ScanKind::Incremental, ScanKind::Full];

    pub fn as_str(self) -> &'static str {
        match self {
            ScanKind::History => "history",
            ScanKind::Backfill => "backfill",
            ScanKind::Incremental => "incremental",
            ScanKind::Full => "full",
        }
    }
}
