//! Decides what a pull reads: a new scan or an unfinished one.
//!
//! `decide` is pure: what is stored and asked goes in, a plan comes out. The database is read around it.

use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::Object;
use planhat_model::rules::Rules;
use planhat_model::scan::{BackfillRange, History, HistoryFrom, Mode, ScanKind, Window};
use planhat_store::{self as store, Cursor, ScanProgress, UnfinishedScan};

use super::Limits;
use super::learned::Learned;
use super::request::{Context, Purpose};

/// A full scan that was begun longer ago begins anew: who asks for one wants to know how things are now.
const FULL_SCAN_LASTS: TimeDelta = A_DAY;
const A_DAY: TimeDelta = TimeDelta::days(1);

/// What is asked of the next scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) mode: Mode,
    pub(super) due_full_scan: DueFullScan,
}

/// Whether changes may become a full scan, when one is due or unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DueFullScan {
    Allowed,
    /// It was tried in this pull, and could not be made.
    HasFailed,
}

/// The settings that the decision depends on, for one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScanLimits {
    pub(super) lookback: Duration,
    pub(super) history: History,
    pub(super) reconcile_every: Duration,
    /// What was read under other rules has to be read again.
    pub(super) rules_fingerprint: Option<i64>,
}

impl ScanLimits {
    /// `full_scan_calls` are those that it takes to compare all objects.
    pub(super) fn of(object: &Object, limits: &Limits, full_scan_calls: u64) -> ScanLimits {
        let lookback = limits.lookback;
        let reconcile_every = limits.reconcile_every.interval(full_scan_calls, limits.calls_per_minute);
        let rules_fingerprint = limits.rules_of(object).map(Rules::fingerprint);
        ScanLimits { lookback, history: limits.history_of(object), reconcile_every, rules_fingerprint }
    }
}

/// What the tool's own tables know of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct StoredProgress {
    pub(super) cursor: Option<Cursor>,
    pub(super) unfinished: Vec<UnfinishedScan>,
    /// When it was last read to its end. An object that has shown no record yet has that, and no cursor.
    pub(super) last_success_at: Option<DateTime<Utc>>,
    /// How Planhat answers for the object, as far as that was learned.
    pub(super) learned: Learned,
}

/// Which scan to make or to resume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) kind: ScanKind,
    pub(super) window: Window,
    pub(super) progress: ScanProgress,
    pub(super) start: Start,
    pub(super) proves: Proves,
    pub(super) new_rows: NewRows,
    /// A record that was made since then is new to the workspace, and not only to its table; none before the first sync.
    pub(super) created_since: Option<DateTime<Utc>>,
    pub(super) learned: Learned,
    /// The times of edits that earlier scans must have seen, and that no comparison of everything has seen yet.
    pub(super) seen_by_sweeps_alone: Option<Range<DateTime<Utc>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Anew,
    /// From the checkpoint of this number.
    Resumed {
        number: i64,
    },
}

/// What the end of a scan says of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proves {
    /// Nothing of the whole: a part of history was read.
    PartOfHistory,
    /// Every change up to its start is stored.
    Changes,
    /// That too, and everything was compared.
    Everything,
}

/// What it means that a record has no row yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewRows {
    /// They were created in Planhat just now.
    Created,
    /// They were there before, and are loaded now.
    Loaded,
}

impl Plan {
    pub(super) fn is_resumed(&self) -> bool {
        matches!(self.start, Start::Resumed { .. })
    }

    /// Whether a sync that preempts this scan may finish it: only a history scan that goes back no further than a sync.
    pub(super) fn a_sync_may_finish_it(&self, now: DateTime<Utc>, limits: &ScanLimits) -> bool {
        let reaches_as_far = match (limits.history.begin(now), self.progress.since) {
            (Some(begin), Some(since)) => since + A_DAY >= begin,
            (begin, since) => begin == since,
        };
        self.kind == ScanKind::History && reaches_as_far
    }
}

/// What a scan should read, were none unfinished.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    kind: ScanKind,
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

/// Decides which scan to make or to resume.
pub(super) fn decide(now: DateTime<Utc>, limits: &ScanLimits, ask: Ask, stored: StoredProgress) -> Plan {
    let StoredProgress { cursor, unfinished, last_success_at, learned } = stored;
    let has_current_full_scan =
        unfinished.iter().any(|scan| scan.kind == ScanKind::Full && is_current_full_scan(&scan.progress, now, limits));
    let wanted = wanted(now, limits, ask, cursor, has_current_full_scan);
    let resumable = |scan: &UnfinishedScan| scan.kind == wanted.kind && wanted.can_resume(&scan.progress, now, limits);
    let (start, progress) = match unfinished.into_iter().find(resumable) {
        Some(UnfinishedScan { progress, number, .. }) => (Start::Resumed { number }, progress),
        None => {
            let starting = ScanProgress::starting(now, wanted.since, wanted.until);
            (Start::Anew, ScanProgress { rules_fingerprint: limits.rules_fingerprint, ..starting })
        }
    };
    let window = match (wanted.kind, progress.since) {
        (ScanKind::Incremental, Some(since)) => Window::Incremental { since, history: limits.history.begin(now) },
        (ScanKind::Full, history) => Window::Full { history },
        (_, since) => Window::History { since, until: progress.until },
    };
    let is_load = match wanted.kind {
        ScanKind::History | ScanKind::Backfill | ScanKind::Referenced => true,
        ScanKind::Incremental | ScanKind::Full => cursor.is_none(),
    };
    Plan {
        kind: wanted.kind,
        window,
        start,
        proves: proves(wanted.kind, &progress, limits, cursor),
        new_rows: if is_load { NewRows::Loaded } else { NewRows::Created },
        created_since: everything_known_at(cursor, last_success_at, wanted.kind, &progress).map(|at| at - limits.lookback),
        seen_by_sweeps_alone: seen_by_sweeps_alone(wanted.kind, limits, cursor),
        progress,
        learned,
    }
}

fn wanted(now: DateTime<Utc>, limits: &ScanLimits, ask: Ask, cursor: Option<Cursor>, has_current_full_scan: bool) -> Wanted {
    let history = limits.history.begin(now);
    let of = |kind, since| Wanted { kind, since, until: None };
    match (ask.mode, cursor) {
        (Mode::Full, _) => of(ScanKind::Full, history),
        (Mode::Referenced, _) => of(ScanKind::Referenced, None),
        (Mode::Incremental, Some(cursor))
            if ask.due_full_scan == DueFullScan::Allowed && (has_current_full_scan || is_full_scan_due(cursor, limits, now)) =>
        {
            of(ScanKind::Full, history)
        }
        (Mode::Incremental, Some(cursor)) => of(ScanKind::Incremental, Some(cursor.watermark - limits.lookback)),
        (Mode::Incremental, None) => of(ScanKind::History, history),
        (Mode::Backfill(BackfillRange { from, until }), _) => {
            let since = match from {
                HistoryFrom::Default => history,
                HistoryFrom::Since(since) => Some(since),
                HistoryFrom::Earliest => None,
            };
            // As far back as a sync; a day of tolerance, since a load may take hours.
            let reaches_as_far = since.is_none_or(|since| history.is_some_and(|history| since <= history + A_DAY));
            let is_all_of_history = until.is_none() && reaches_as_far;
            Wanted { kind: if is_all_of_history { ScanKind::History } else { ScanKind::Backfill }, since, until }
        }
    }
}

impl Wanted {
    /// An unfinished scan of at least the same period can be resumed instead: part of it is already read.
    fn can_resume(&self, scan: &ScanProgress, now: DateTime<Utc>, limits: &ScanLimits) -> bool {
        match self.kind {
            // What a shorter history left out would be left out of the rest too.
            ScanKind::Full => is_current_full_scan(scan, now, limits) && scan.since <= self.since,
            // What is missing is looked up anew.
            ScanKind::Referenced => false,
            ScanKind::History | ScanKind::Backfill | ScanKind::Incremental => {
                scan.since <= self.since && scan.until.is_none_or(|end| self.until.is_some_and(|until| until <= end))
            }
        }
    }
}

fn is_current_full_scan(scan: &ScanProgress, now: DateTime<Utc>, limits: &ScanLimits) -> bool {
    scan.started_at > now - FULL_SCAN_LASTS && scan.rules_fingerprint == limits.rules_fingerprint
}

/// Whether it is time again to compare everything.
fn is_full_scan_due(cursor: Cursor, limits: &ScanLimits, now: DateTime<Utc>) -> bool {
    let every = limits.reconcile_every;
    // One in the future was made before the clock was set back.
    !every.is_zero() && cursor.reconciled_at.is_none_or(|last| last + every <= now || last > now + A_DAY)
}

fn proves(kind: ScanKind, scan: &ScanProgress, limits: &ScanLimits, cursor: Option<Cursor>) -> Proves {
    match (kind, cursor) {
        (ScanKind::Full, _) => Proves::Everything,
        // After a first load the table has no row that the load has not seen.
        (ScanKind::History, None) => Proves::Everything,
        (ScanKind::Incremental, _) => Proves::Changes,
        (ScanKind::Backfill, None) | (ScanKind::Referenced, _) => Proves::PartOfHistory,
        // A load that does not reach back to the watermark proves nothing about the changes before it.
        (ScanKind::History | ScanKind::Backfill, Some(cursor)) => {
            let needed_from = cursor.watermark - limits.lookback;
            let reaches_the_watermark = scan.until.is_none() && scan.since.is_none_or(|since| since <= needed_from);
            if reaches_the_watermark { Proves::Changes } else { Proves::PartOfHistory }
        }
    }
}

/// The instant of which all that there was is known: what is made later is new. A watermark is the time of the newest change, which
/// may be long before the last scan; and a sweep may not see a record without times, so another scan may be the first to see
/// what was made since all records were compared.
fn everything_known_at(
    cursor: Option<Cursor>,
    last_success_at: Option<DateTime<Utc>>,
    kind: ScanKind,
    scan: &ScanProgress,
) -> Option<DateTime<Utc>> {
    let Some(cursor) = cursor else { return last_success_at.map(|at| at.min(scan.started_at)) };
    let compared = cursor.reconciled_at.filter(|compared| *compared <= scan.started_at);
    match (kind, compared) {
        (ScanKind::Incremental, compared) => Some(cursor.watermark).max(compared),
        (_, None) => Some(cursor.watermark),
        (_, Some(compared)) => Some(compared),
    }
}

/// Between the last comparison and the beginning of what the next sweep would look at again. Only a comparison asks.
fn seen_by_sweeps_alone(kind: ScanKind, limits: &ScanLimits, cursor: Option<Cursor>) -> Option<Range<DateTime<Utc>>> {
    let cursor = cursor.filter(|_| kind == ScanKind::Full)?;
    Some(cursor.reconciled_at?..cursor.watermark - limits.lookback)
}

/// Reads what the tool's own tables know of an object. Where its table is gone, they forget the object.
pub(super) async fn stored_progress(ctx: &Context<'_>, object: &Object) -> Result<StoredProgress, store::StoreError> {
    let workspace = &ctx.store.schema;
    if ctx.purpose.is_preview() {
        if !ctx.store.is_set_up().await? {
            return Ok(StoredProgress::default());
        }
        let read = ctx.store.read_only(async |db| {
            let table_exists = store::table_exists(&mut *db, workspace, object).await?;
            let cursor = if table_exists { store::cursor(&mut *db, workspace, object).await? } else { None };
            Ok((cursor, Learned::of(object, &store::capabilities(db, workspace).await?)))
        });
        // A preview never resumes an unfinished scan.
        let (cursor, learned) = read.await?;
        return Ok(StoredProgress { cursor, learned, ..StoredProgress::default() });
    }
    let read = ctx.store.transaction(async |db| {
        if let Some(binding) = ctx.binding {
            store::expect_binding(&mut *db, workspace, binding).await?;
        }
        if !store::table_exists(&mut *db, workspace, object).await? {
            store::reset_object(&mut *db, workspace, object).await?;
        }
        let cursor = store::cursor(&mut *db, workspace, object).await?;
        let unfinished = store::unfinished_scans(&mut *db, workspace, object).await?;
        let last_success_at = store::last_success(&mut *db, workspace, object).await?;
        let learned = Learned::of(object, &store::capabilities(db, workspace).await?);
        Ok(StoredProgress { cursor, unfinished, last_success_at, learned })
    });
    read.await
}

impl Purpose {
    pub(super) fn is_preview(self) -> bool {
        matches!(self, Purpose::Preview { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const LIMITS: ScanLimits = ScanLimits {
        lookback: Duration::from_secs(72 * 3600),
        history: History::Within(DAY.saturating_mul(1461)),
        reconcile_every: DAY.saturating_mul(7),
        rules_fingerprint: Some(1),
    };
    const SYNC: Ask = Ask { mode: Mode::Incremental, due_full_scan: DueFullScan::Allowed };
    const FULL: Ask = Ask { mode: Mode::Full, due_full_scan: DueFullScan::Allowed };

    /// So many days after the first of January.
    fn day(day: i64) -> DateTime<Utc> {
        "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
    }

    fn backfill(from: HistoryFrom, until: Option<DateTime<Utc>>) -> Ask {
        Ask { mode: Mode::Backfill(BackfillRange { from, until }), ..SYNC }
    }

    fn synced(watermark: i64, reconciled: i64) -> StoredProgress {
        let cursor = Cursor { watermark: day(watermark), reconciled_at: Some(day(reconciled)), full_scan_calls: None };
        StoredProgress { cursor: Some(cursor), ..StoredProgress::default() }
    }

    fn with_scan(stored: StoredProgress, kind: ScanKind, started: i64, since: i64) -> StoredProgress {
        let starting = ScanProgress::starting(day(started), Some(day(since)), None);
        let progress = ScanProgress { rules_fingerprint: Some(1), offset: 500, ..starting };
        StoredProgress { unfinished: vec![UnfinishedScan { kind, progress, number: 7 }], ..stored }
    }

    /// What is decided on day 100, in short.
    fn on_day_100(ask: Ask, stored: StoredProgress) -> String {
        let Plan { kind, start, proves, new_rows, progress, .. } = decide(day(100), &LIMITS, ask, stored);
        let since = progress.since.map_or("ever".to_owned(), |since| format!("day {}", (since - day(0)).num_days()));
        let start = if start == Start::Anew { "anew" } else { "resumed" };
        format!("{} since {since}, {start}, proves {proves:?}, rows {new_rows:?}", kind.as_str())
    }

    #[test]
    fn what_is_asked_and_stored_decides_which_scan_is_made() {
        let never = StoredProgress::default;
        let history_begins = 100 - 1461;
        for (case, ask, stored, expected) in [
            ("a first sync", SYNC, never(), "history since day -1361, anew, proves Everything, rows Loaded"),
            ("a daily sync", SYNC, synced(99, 98), "incremental since day 96, anew, proves Changes, rows Created"),
            ("a week later", SYNC, synced(99, 93), "full since day -1361, anew, proves Everything, rows Created"),
            ("a clock that was set back", SYNC, synced(99, 300), "full since day -1361, anew, proves Everything, rows Created"),
            (
                "a due full scan that has failed",
                Ask { due_full_scan: DueFullScan::HasFailed, ..SYNC },
                synced(99, 93),
                "incremental since day 96, anew, proves Changes, rows Created",
            ),
            (
                "a full scan that is asked for",
                FULL,
                synced(99, 99),
                "full since day -1361, anew, proves Everything, rows Created",
            ),
            ("a full scan before any sync", FULL, never(), "full since day -1361, anew, proves Everything, rows Loaded"),
            (
                "a first backfill",
                backfill(HistoryFrom::Default, None),
                never(),
                "history since day -1361, anew, proves Everything, rows Loaded",
            ),
            (
                "a backfill of everything",
                backfill(HistoryFrom::Earliest, None),
                synced(99, 99),
                "history since ever, anew, proves Changes, rows Loaded",
            ),
            (
                "a short backfill before any sync",
                backfill(HistoryFrom::Since(day(50)), None),
                never(),
                "backfill since day 50, anew, proves PartOfHistory, rows Loaded",
            ),
            (
                "a backfill behind the watermark",
                backfill(HistoryFrom::Since(day(98)), None),
                synced(99, 99),
                "backfill since day 98, anew, proves PartOfHistory, rows Loaded",
            ),
            (
                "a backfill up to a day",
                backfill(HistoryFrom::Earliest, Some(day(10))),
                synced(99, 99),
                "backfill since ever, anew, proves PartOfHistory, rows Loaded",
            ),
            (
                "a load that was stopped",
                SYNC,
                with_scan(never(), ScanKind::History, 99, history_begins - 1),
                "history since day -1362, resumed, proves Everything, rows Loaded",
            ),
            (
                "a load that goes less far",
                SYNC,
                with_scan(never(), ScanKind::History, 99, history_begins + 1),
                "history since day -1361, anew, proves Everything, rows Loaded",
            ),
            (
                "a full scan that was stopped",
                SYNC,
                with_scan(synced(99, 98), ScanKind::Full, 100, history_begins),
                "full since day -1361, resumed, proves Everything, rows Created",
            ),
            (
                "one that is older than a day",
                SYNC,
                with_scan(synced(99, 98), ScanKind::Full, 98, history_begins),
                "incremental since day 96, anew, proves Changes, rows Created",
            ),
        ] {
            assert_eq!(on_day_100(ask, stored), expected, "{case}");
        }
    }

    #[test]
    fn a_record_is_new_since_everything_before_was_read() {
        let backfill = backfill(HistoryFrom::Earliest, None);
        let empty = StoredProgress { last_success_at: Some(day(99)), ..StoredProgress::default() };
        for (case, ask, stored, expected) in [
            ("a first sync", SYNC, StoredProgress::default(), None),
            ("a daily sync", SYNC, synced(99, 98), Some(96)),
            ("a sync of what was empty until now", SYNC, empty, Some(96)),
            ("a daily sync of what hardly changes", SYNC, synced(50, 98), Some(95)),
            ("a full scan", FULL, synced(99, 95), Some(92)),
            ("a full scan with the clock set back", FULL, synced(99, 300), Some(96)),
            ("a backfill", backfill, synced(99, 98), Some(95)),
        ] {
            let since = decide(day(100), &LIMITS, ask, stored).created_since;
            assert_eq!(since.map(|since| (since - day(0)).num_days()), expected, "{case}");
        }
    }

    #[test]
    fn a_full_scan_under_other_rules_begins_anew() {
        let stored = with_scan(synced(99, 98), ScanKind::Full, 100, -1361);
        let other_rules = ScanLimits { rules_fingerprint: None, ..LIMITS };
        assert_eq!(decide(day(100), &LIMITS, FULL, stored.clone()).start, Start::Resumed { number: 7 });
        let anew = decide(day(100), &other_rules, FULL, stored);
        assert_eq!((anew.start, anew.progress.rules_fingerprint), (Start::Anew, None));
        let under_rules = decide(day(100), &LIMITS, FULL, synced(99, 98));
        assert_eq!((under_rules.start, under_rules.progress.rules_fingerprint), (Start::Anew, Some(1)));
    }

    #[test]
    fn a_full_scan_that_was_begun_with_a_shorter_history_begins_anew() {
        let stored = with_scan(synced(99, 98), ScanKind::Full, 100, -1361);
        let longer = ScanLimits { history: History::Within(DAY.saturating_mul(2000)), ..LIMITS };
        assert_eq!(decide(day(100), &longer, FULL, stored.clone()).start, Start::Anew);
        let all = ScanLimits { history: History::All, ..LIMITS };
        let plan = decide(day(100), &all, FULL, stored);
        assert_eq!((plan.start, plan.window), (Start::Anew, Window::Full { history: None }));
    }

    #[test]
    fn an_object_without_a_limit_is_loaded_and_resumed_from_the_beginning_of_time() {
        let all = ScanLimits { history: History::All, ..LIMITS };
        let first = decide(day(100), &all, SYNC, StoredProgress::default());
        assert_eq!((first.kind, first.progress.since), (ScanKind::History, None));
        assert!(first.a_sync_may_finish_it(day(100), &all));
        let unfinished = |since| {
            let starting = ScanProgress { offset: 500, ..ScanProgress::starting(day(99), since, None) };
            let scan = UnfinishedScan { kind: ScanKind::History, progress: starting, number: 7 };
            StoredProgress { unfinished: vec![scan], ..StoredProgress::default() }
        };
        assert_eq!(decide(day(100), &all, SYNC, unfinished(None)).start, Start::Resumed { number: 7 });
        assert_eq!(decide(day(100), &all, SYNC, unfinished(Some(day(0)))).start, Start::Anew);
        let some_years = decide(day(100), &all, backfill(HistoryFrom::Since(day(50)), None), synced(99, 99));
        assert_eq!((some_years.kind, some_years.a_sync_may_finish_it(day(100), &all)), (ScanKind::Backfill, false));
        let daily = decide(day(100), &all, SYNC, synced(99, 98));
        assert_eq!(daily.window, Window::Incremental { since: day(96), history: None });
    }

    #[test]
    fn referenced_records_are_looked_up_anew_and_prove_nothing() {
        let ask = Ask { mode: Mode::Referenced, ..SYNC };
        let stopped = with_scan(synced(99, 98), ScanKind::Referenced, 99, 0);
        assert_eq!(on_day_100(ask, stopped), "referenced since ever, anew, proves PartOfHistory, rows Loaded");
    }

    #[test]
    fn a_sync_may_finish_a_load_that_goes_back_as_far_as_is_usual() {
        let may = |from| {
            decide(day(100), &LIMITS, backfill(from, None), StoredProgress::default()).a_sync_may_finish_it(day(100), &LIMITS)
        };
        assert!(may(HistoryFrom::Default));
        assert!(!may(HistoryFrom::Earliest));
        assert!(!may(HistoryFrom::Since(day(50))));
    }

    #[test]
    fn a_sync_may_finish_a_load_that_began_within_a_day() {
        let load = decide(day(100), &LIMITS, SYNC, StoredProgress::default());
        assert!(load.a_sync_may_finish_it(day(101), &LIMITS));
        assert!(!load.a_sync_may_finish_it(day(101) + TimeDelta::seconds(1), &LIMITS));
        let full = decide(day(100), &LIMITS, FULL, StoredProgress::default());
        assert!(!full.a_sync_may_finish_it(day(100), &LIMITS));
    }

    #[test]
    fn a_backfill_that_reaches_as_far_as_a_sync_but_for_a_day_is_a_load_of_all_of_history() {
        let second = TimeDelta::seconds(1);
        let history_begins = day(100 - 1461);
        for (since, expected) in [
            (history_begins - second, ScanKind::History),
            (history_begins + A_DAY, ScanKind::History),
            (history_begins + A_DAY + second, ScanKind::Backfill),
        ] {
            let plan = decide(day(100), &LIMITS, backfill(HistoryFrom::Since(since), None), synced(99, 99));
            assert_eq!(plan.kind, expected, "{since}");
        }
    }

    #[test]
    fn a_load_proves_the_changes_if_it_reaches_back_to_the_watermark() {
        let second = TimeDelta::seconds(1);
        for (since, until, expected) in [
            (day(96), None, Proves::Changes),
            (day(96) + second, None, Proves::PartOfHistory),
            (day(96), Some(day(99)), Proves::PartOfHistory),
        ] {
            let plan = decide(day(100), &LIMITS, backfill(HistoryFrom::Since(since), until), synced(99, 99));
            assert_eq!((plan.kind, plan.proves), (ScanKind::Backfill, expected), "{since} {until:?}");
        }
    }

    #[test]
    fn an_unfinished_scan_is_resumed_if_it_takes_all_that_is_asked_for() {
        let unfinished = |kind, since: i64, until: Option<i64>| {
            let progress = ScanProgress::starting(day(99), Some(day(since)), until.map(day));
            StoredProgress { unfinished: vec![UnfinishedScan { kind, progress, number: 7 }], ..synced(99, 99) }
        };
        let up_to = |until: Option<i64>| backfill(HistoryFrom::Since(day(50)), until.map(day));
        let resumed = Start::Resumed { number: 7 };
        for (case, ask, stored, expected) in [
            ("the same", up_to(Some(60)), unfinished(ScanKind::Backfill, 50, Some(60)), resumed),
            ("it begins earlier", up_to(Some(60)), unfinished(ScanKind::Backfill, 49, Some(60)), resumed),
            ("it begins later", up_to(Some(60)), unfinished(ScanKind::Backfill, 51, Some(60)), Start::Anew),
            ("it ends later", up_to(Some(60)), unfinished(ScanKind::Backfill, 50, Some(61)), resumed),
            ("it ends earlier", up_to(Some(60)), unfinished(ScanKind::Backfill, 50, Some(59)), Start::Anew),
            ("it has no end", up_to(Some(60)), unfinished(ScanKind::Backfill, 50, None), resumed),
            ("it has an end, and none is asked for", up_to(None), unfinished(ScanKind::Backfill, 50, Some(60)), Start::Anew),
            ("it is of another kind", up_to(Some(60)), unfinished(ScanKind::Incremental, 50, Some(60)), Start::Anew),
            ("changes since then", SYNC, unfinished(ScanKind::Incremental, 96, None), resumed),
            ("changes since later", SYNC, unfinished(ScanKind::Incremental, 97, None), Start::Anew),
        ] {
            assert_eq!(decide(day(100), &LIMITS, ask, stored).start, expected, "{case}");
        }
    }

    #[test]
    fn a_full_scan_is_resumed_for_less_than_a_day() {
        let begun_at = |at: DateTime<Utc>| {
            let progress = ScanProgress { rules_fingerprint: Some(1), ..ScanProgress::starting(at, Some(day(-1361)), None) };
            StoredProgress { unfinished: vec![UnfinishedScan { kind: ScanKind::Full, progress, number: 7 }], ..synced(99, 99) }
        };
        let start = |at| decide(day(100), &LIMITS, FULL, begun_at(at)).start;
        assert_eq!(start(day(99)), Start::Anew);
        assert_eq!(start(day(99) + TimeDelta::seconds(1)), Start::Resumed { number: 7 });
    }

    #[test]
    fn a_full_scan_is_due_after_a_week_or_if_there_was_none_or_one_in_the_future_and_never_if_it_is_switched_off() {
        let never_compared = Cursor { watermark: day(99), reconciled_at: None, full_scan_calls: None };
        let never_compared = StoredProgress { cursor: Some(never_compared), ..StoredProgress::default() };
        let switched_off = ScanLimits { reconcile_every: Duration::ZERO, ..LIMITS };
        for (case, limits, stored, expected) in [
            ("six days ago", &LIMITS, synced(99, 94), ScanKind::Incremental),
            ("a week ago", &LIMITS, synced(99, 93), ScanKind::Full),
            ("never", &LIMITS, never_compared.clone(), ScanKind::Full),
            ("tomorrow", &LIMITS, synced(99, 101), ScanKind::Incremental),
            ("the day after tomorrow", &LIMITS, synced(99, 102), ScanKind::Full),
            ("switched off", &switched_off, synced(99, 0), ScanKind::Incremental),
            ("never, and switched off", &switched_off, never_compared, ScanKind::Incremental),
        ] {
            assert_eq!(decide(day(100), limits, SYNC, stored).kind, expected, "{case}");
        }
    }

    #[test]
    fn what_was_compared_at_the_start_of_a_scan_counts_as_known_and_what_was_read_in_the_future_does_not() {
        let just_now = decide(day(100), &LIMITS, FULL, synced(99, 100));
        assert_eq!(just_now.created_since, Some(day(97)));
        let ahead = StoredProgress { last_success_at: Some(day(200)), ..StoredProgress::default() };
        assert_eq!(decide(day(100), &LIMITS, SYNC, ahead).created_since, Some(day(97)));
    }

    #[test]
    fn a_plan_takes_the_records_of_its_window() {
        let history = Some(day(100 - 1461));
        let part = backfill(HistoryFrom::Since(day(10)), Some(day(20)));
        for (ask, stored, expected) in [
            (SYNC, StoredProgress::default(), Window::History { since: history, until: None }),
            (SYNC, synced(99, 98), Window::Incremental { since: day(96), history }),
            (FULL, synced(99, 98), Window::Full { history }),
            (part, synced(99, 98), Window::History { since: Some(day(10)), until: Some(day(20)) }),
            (Ask { mode: Mode::Referenced, ..SYNC }, synced(99, 98), Window::History { since: None, until: None }),
        ] {
            assert_eq!(decide(day(100), &LIMITS, ask, stored).window, expected, "{ask:?}");
        }
    }
}
