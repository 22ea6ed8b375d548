//! What a pull reads: a new scan or an unfinished one, and its listings in order.

use chrono::TimeDelta;
use tracing::info;

use super::{Ask, Context, Range};
use crate::object::Object;
use crate::planhat::Listing;
use crate::store::{self, Scan, ScanKind};
use crate::sweep::Sweep;
use crate::window::Window;

/// Which scan to make or to go on with.
pub(super) struct Plan {
    pub(super) kind: ScanKind,
    pub(super) scan: Scan,
    pub(super) resumed: bool,
    /// Whether the end of this scan says that the object is complete.
    pub(super) completes: bool,
}

/// Decides it.
pub(super) async fn plan(ctx: &Context<'_>, object: &Object, ask: Ask) -> Result<Plan, store::Error> {
    let mut tx = ctx.store.begin().await?;
    let workspace = &ctx.store.schema;
    if !store::table_exists(&mut tx, workspace, object.name).await? {
        store::forget_object(&mut tx, workspace, object).await?;
    }
    let watermark = store::watermark(&mut tx, workspace, object).await?;
    let usual_since = ctx.now - ctx.limits.history;
    let (kind, since) = match (ask, watermark) {
        (Ask::Changes, Some(watermark)) => (ScanKind::Changes, Some(watermark - ctx.limits.lookback)),
        (Ask::Changes | Ask::History(Range::Usual), _) => (ScanKind::History, Some(usual_since)),
        (Ask::History(Range::Since(since)), _) => (ScanKind::History, Some(since)),
        (Ask::History(Range::Everything), _) => (ScanKind::History, None),
    };
    // A scan that goes back at least as far will do, and is further ahead.
    let unfinished = store::unfinished_scan(&mut tx, workspace, object, kind).await?.filter(|scan| scan.since <= since);
    store::commit(tx).await?;

    let resumed = unfinished.is_some();
    let scan = unfinished.unwrap_or(Scan::starting(ctx.now, since));
    if resumed {
        info!(object = object.name, offset = scan.offset, "going on with the scan begun at {}", scan.started_at);
    }
    // A history that is shorter than usual leaves the rest to a later one, unless that has been read already.
    let goes_back_far_enough = scan.since.is_none_or(|since| since <= usual_since + TimeDelta::days(1));
    Ok(Plan { kind, completes: watermark.is_some() || goes_back_far_enough, scan, resumed })
}

/// What a scan reads, in order: each sweep, or the whole listing by id, and again for hidden records.
///
/// Ids are unique and growing, so a listing by id neither loses nor repeats a row over ties, and new
/// records land on its last page. Sweeps are for changes only: a history has to reach the records that
/// lack the time it would be sorted by.
pub(super) fn listings(object: &'static Object, kind: ScanKind, window: Window) -> Vec<(Listing, Option<Sweep>)> {
    let sweeps: Vec<Option<&'static str>> = match (kind, window.since()) {
        (ScanKind::Changes, Some(_)) if !object.sweeps.is_empty() => object.sweeps.iter().copied().map(Some).collect(),
        _ => vec![None],
    };
    let hidden = if object.hidden.is_some() { vec![false, true] } else { vec![false] };
    let listing = |field: Option<&str>, hidden| Listing {
        object,
        sort: field.map_or("_id".to_owned(), |field| format!("-{field}")),
        hidden,
    };
    hidden
        .into_iter()
        .flat_map(|hidden| sweeps.iter().enumerate().map(move |(rank, field)| (rank, *field, hidden)))
        .map(|(rank, field, hidden)| {
            let sweep = field.zip(window.since()).map(|(field, since)| Sweep::new(object.name, field, since, rank == 0));
            (listing(field, hidden), sweep)
        })
        .collect()
}
