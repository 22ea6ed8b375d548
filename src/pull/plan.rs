//! What a pull reads: a new scan or an unfinished one, and its listings in order.

use chrono::{DateTime, TimeDelta, Utc};
use planhat_api::Listing;
use planhat_model::catalog::Object;
use planhat_model::rules::Rules;
use planhat_model::scan::Sweep;
use planhat_model::scan::Window;
use planhat_store::{self as store, Cursor, ScanCheckpoint, ScanKind};
use tracing::info;

use super::{BackfillRange, Context, HistoryFrom, Limits, Mode, Purpose};

/// A full scan that was begun longer ago begins anew: who asks for one wants to know how things are now.
const FULL_SCAN_LASTS: TimeDelta = A_DAY;
const A_DAY: TimeDelta = TimeDelta::days(1);

/// Which scan to make or to go on with.
pub(super) struct Plan {
    pub(super) kind: ScanKind,
    pub(super) window: Window,
    pub(super) scan: ScanCheckpoint,
    pub(super) resumed: bool,
    /// Whether the end of this scan says that the object is complete.
    pub(super) completes: bool,
    /// Whether it also says that everything has been compared.
    pub(super) reconciles: bool,
    /// Whether what it finds new is loaded rather than created just now.
    pub(super) is_load: bool,
    /// Whether a sync that has its turn meanwhile may read the rest of it.
    pub(super) another_run_may_end_it: bool,
}

/// Decides it. Changes may become a full scan, when one is due or unfinished, only if that `may_be_full`.
pub(super) async fn plan(ctx: &Context<'_>, object: &Object, mode: Mode, may_be_full: bool) -> Result<Plan, store::StoreError> {
    let history = ctx.now - ctx.limits.history;
    let StoredProgress { cursor, unfinished } = stored_progress(ctx, object).await?;
    let rules = ctx.limits.rules.get(object.name).map(Rules::fingerprint);
    // What was compared under other rules has to be compared again.
    let still_lasts = |full: &ScanCheckpoint| full.started_at > ctx.now - FULL_SCAN_LASTS && full.rules_fingerprint == rules;
    let unfinished_full = unfinished.iter().any(|(kind, scan)| *kind == ScanKind::Full && still_lasts(scan));
    let (kind, since, until) = match (mode, cursor) {
        (Mode::Full, _) => (ScanKind::Full, Some(history), None),
        (Mode::Incremental, Some(cursor)) if may_be_full && (unfinished_full || is_due(cursor, ctx.limits, ctx.now)) => {
            (ScanKind::Full, Some(history), None)
        }
        (Mode::Incremental, Some(cursor)) => (ScanKind::Incremental, Some(cursor.watermark - ctx.limits.lookback), None),
        (Mode::Incremental, None) => (ScanKind::History, Some(history), None),
        (Mode::Backfill(BackfillRange { from, until }), _) => {
            let since = match from {
                HistoryFrom::Default => Some(history),
                HistoryFrom::Since(since) => Some(since),
                HistoryFrom::Earliest => None,
            };
            let is_a_load = until.is_none() && goes_back_to(history, since);
            (if is_a_load { ScanKind::History } else { ScanKind::Backfill }, since, until)
        }
    };
    // A scan that goes as far, back and forth, will do, and is further ahead.
    let can_resume = |scan: &ScanCheckpoint| match kind {
        ScanKind::Full => still_lasts(scan),
        ScanKind::History | ScanKind::Backfill | ScanKind::Incremental => {
            scan.since <= since && scan.until.is_none_or(|end| until.is_some_and(|until| until <= end))
        }
    };
    let unfinished = unfinished.into_iter().find(|(of, scan)| *of == kind && can_resume(scan)).map(|(_, scan)| scan);
    let resumed = unfinished.is_some();
    let scan =
        unfinished.unwrap_or(ScanCheckpoint { rules_fingerprint: rules, ..ScanCheckpoint::starting(ctx.now, since, until) });
    if resumed {
        info!(object = object.name, offset = scan.offset, "going on with the scan begun at {}", scan.started_at);
    }
    if let Purpose::Store { run_id } = ctx.purpose
        && kind == ScanKind::Full
        && !resumed
    {
        // What an older one was shown says nothing of how things are now.
        let anew = ctx.store.transaction(async |db| {
            store::fence(&mut *db, &ctx.store.schema, run_id).await?;
            store::end_scan(db, &ctx.store.schema, object, kind).await
        });
        anew.await?;
    }
    let window = match (kind, scan.since) {
        (ScanKind::Incremental, Some(since)) => Window::Incremental { since, history },
        (ScanKind::Full, Some(history)) => Window::Full { history },
        (_, since) => Window::History { since, until: scan.until },
    };
    // A history that is shorter leaves the rest to a later one, unless that has been read already.
    let completes = match (kind, cursor) {
        (ScanKind::Incremental | ScanKind::Full, _) => true,
        (ScanKind::History, None) => true,
        (ScanKind::Backfill, None) => false,
        (ScanKind::History | ScanKind::Backfill, Some(cursor)) => {
            let needed_from = cursor.watermark - ctx.limits.lookback;
            scan.until.is_none() && scan.since.is_none_or(|since| since <= needed_from)
        }
    };
    // What a first load has not seen, it has not stored.
    let reconciles = kind == ScanKind::Full || (kind == ScanKind::History && cursor.is_none());
    // A sync that goes on with a load goes back as far as is usual.
    let another_run_may_end_it = kind == ScanKind::History && scan.since.is_some_and(|since| since + A_DAY >= history);
    let is_load = matches!(kind, ScanKind::History | ScanKind::Backfill) || cursor.is_none();
    Ok(Plan { kind, window, scan, resumed, completes, reconciles, is_load, another_run_may_end_it })
}

/// Whether this is as far back as a history goes, give or take what a load of hours may.
fn goes_back_to(history: DateTime<Utc>, since: Option<DateTime<Utc>>) -> bool {
    since.is_none_or(|since| since <= history + A_DAY)
}

/// What the tool's own tables know of an object.
struct StoredProgress {
    cursor: Option<Cursor>,
    unfinished: Vec<(ScanKind, ScanCheckpoint)>,
}

async fn stored_progress(ctx: &Context<'_>, object: &Object) -> Result<StoredProgress, store::StoreError> {
    let workspace = &ctx.store.schema;
    if ctx.purpose.is_preview() {
        if !ctx.store.is_set_up().await? {
            return Ok(StoredProgress { cursor: None, unfinished: Vec::new() });
        }
        let looked = ctx.store.read_only(async |db| {
            let there = store::table_exists(&mut *db, workspace, object).await?;
            if there { store::cursor(db, workspace, object).await } else { Ok(None) }
        });
        // Where a load was stopped is not where a preview begins.
        return Ok(StoredProgress { cursor: looked.await?, unfinished: Vec::new() });
    }
    let known = ctx.store.transaction(async |db| {
        if let Some(binding) = ctx.binding {
            store::expect_binding(&mut *db, workspace, binding).await?;
        }
        if !store::table_exists(&mut *db, workspace, object).await? {
            store::reset_object(&mut *db, workspace, object).await?;
        }
        let cursor = store::cursor(&mut *db, workspace, object).await?;
        let unfinished = store::unfinished_scans(db, workspace, object).await?;
        Ok(StoredProgress { cursor, unfinished })
    });
    known.await
}

impl Purpose {
    pub(super) fn is_preview(self) -> bool {
        matches!(self, Purpose::Preview { .. })
    }
}

/// Whether it is time again to compare everything.
fn is_due(cursor: Cursor, limits: &Limits, now: DateTime<Utc>) -> bool {
    let every = limits.reconcile_every;
    // One in the future was made before the clock was set back.
    !every.is_zero() && cursor.reconciled_at.is_none_or(|last| last + every <= now || last > now + A_DAY)
}

/// What a scan reads, in order: each sweep, or the whole listing by id, and again for hidden records.
///
/// Ids are unique and growing, so a listing by id neither loses nor repeats a row over ties, and new
/// records land on its last page. Sweeps are for changes only: everything else has to reach the records
/// that lack the time it would be sorted by.
pub(super) fn listings(object: &'static Object, window: Window, sorted: &[&str]) -> Vec<(Listing, Option<Sweep>)> {
    let is_sorted = sorted.contains(&object.name);
    let (sweeps, since): (Vec<Option<&'static str>>, _) = match window {
        Window::Incremental { since, .. } if is_sorted => (object.sweeps().iter().copied().map(Some).collect(), Some(since)),
        _ => (vec![None], None),
    };
    let hidden = if object.hidden.is_some() { vec![false, true] } else { vec![false] };
    let listing =
        |field: Option<&str>, hidden| Listing { sort: field.map_or("_id".to_owned(), |field| format!("-{field}")), hidden };
    hidden
        .into_iter()
        .flat_map(|hidden| sweeps.iter().enumerate().map(move |(rank, field)| (rank, *field, hidden)))
        .map(|(rank, field, hidden)| {
            let sweep = field.zip(since).map(|(field, since)| Sweep::new(object.name, field, since, rank == 0));
            (listing(field, hidden), sweep)
        })
        .collect()
}
