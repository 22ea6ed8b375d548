//! Pulls one object from Planhat into its table.
//!
//! ```text
//! pager -> window -> flatten -> one transaction: columns, rows, quarantine, position -> … -> watermark
//! ```
//!
//! A page is committed together with the position it stands for, so a crash repeats at most one page.
//! The watermark moves only at the end of a scan: only then is it known that nothing older is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::flatten::{Columns, MAX_COLUMNS, flatten};
use crate::object::Object;
use crate::planhat::{self, Client, Listing, Page, Pager, Position};
use crate::record::Record;
use crate::store::{self, Figures, ObjectStatus, Scan, ScanKind, Store};
use crate::sweep::{Order, Sweep};
use crate::window::Window;

/// What a pull works with.
#[derive(Debug)]
pub struct Context<'a> {
    pub client: &'a Client,
    pub store: &'a Store,
    pub limits: Limits,
    pub run_id: i64,
    /// When the run began: a scan that begins in it cannot vouch for anything later.
    pub now: DateTime<Utc>,
    /// Ends the pull after the page that is being stored.
    pub stop: &'a CancellationToken,
}

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub page_size: u32,
    /// Whether pages overlap by a row, see the pager.
    pub overlap: bool,
    /// How far before the watermark changes are looked for.
    pub lookback: Duration,
    /// How far back a first load goes.
    pub history: Duration,
}

/// What is asked of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// What changed since the last time; all of history the first time.
    Changes,
    /// All of history, from its beginning or where it was stopped.
    History(Range),
}

/// How far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// As far as the settings say.
    Usual,
    Since(DateTime<Utc>),
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// Stopped between two pages; the scan goes on here next time.
    Stopped,
}

/// What a pull has done, complete or not.
#[derive(Debug)]
pub struct Report {
    pub scan: ScanKind,
    pub figures: Figures,
    pub calls: Arc<AtomicU64>,
    pub watermark: Option<DateTime<Utc>>,
    /// Misfits by column.
    pub misfits: BTreeMap<String, u64>,
    pub warnings: Vec<String>,
}

impl Default for Report {
    fn default() -> Report {
        Report {
            scan: ScanKind::History,
            figures: Figures::default(),
            calls: Arc::default(),
            watermark: None,
            misfits: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

impl Report {
    pub fn figures(&self) -> Figures {
        Figures { calls: self.calls.load(Ordering::Relaxed).cast_signed(), ..self.figures }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("could not read {object} from offset {offset}")]
    Fetch { object: &'static str, offset: i64, source: planhat::Error },
    #[error("could not store {object}")]
    Store { object: &'static str, source: store::Error },
}

impl Failure {
    /// No other object can fare better.
    pub fn is_token_refused(&self) -> bool {
        matches!(self, Failure::Fetch { source: planhat::Error::Unauthorized { .. }, .. })
    }

    /// What the failure means for its object: what may not be read is skipped, the rest has failed.
    pub fn status(&self) -> ObjectStatus {
        match self {
            Failure::Fetch { source: planhat::Error::Forbidden { .. }, .. } => ObjectStatus::Skipped,
            Failure::Fetch { .. } | Failure::Store { .. } => ObjectStatus::Failed,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Failure::Fetch { source, .. } => source.hint(),
            Failure::Store { source, .. } => source.hint(),
        }
    }
}

/// Pulls `object`, noting in `report` what was done even if it fails half-way.
pub async fn pull(ctx: &Context<'_>, object: &'static Object, ask: Ask, report: &mut Report) -> Result<Ending, Failure> {
    let store_failed = |source| Failure::Store { object: object.name, source };
    let calls = report.calls.clone();

    let (kind, mut scan) = plan(ctx, object, ask).await.map_err(store_failed)?;
    report.scan = kind;
    let window = match (kind, scan.since) {
        (ScanKind::Changes, Some(since)) => Window::Changes { since },
        (ScanKind::History, Some(since)) => Window::History { since },
        (_, None) => Window::Everything,
    };
    let mut columns = None;

    for (index, (listing, mut sweep)) in
        (0..).zip(listings(object, kind, window)).skip(usize::try_from(scan.listing).unwrap_or(0))
    {
        if index != scan.listing {
            scan = Scan { listing: index, offset: 0, seam: None, ..scan };
        }
        let position = Position { offset: scan.offset.cast_unsigned(), seam: scan.seam.clone() };
        let mut pager = Pager::new(ctx.client, listing, ctx.limits.page_size, ctx.limits.overlap, position, &calls);
        loop {
            let fetched = tokio::select! {
                biased;
                () = ctx.stop.cancelled() => return Ok(Ending::Stopped),
                page = pager.next() => page,
            };
            let page = fetched.map_err(|source| Failure::Fetch { object: object.name, offset: scan.offset, source })?;
            // Only now is it known that the object can be read at all.
            let columns = match &mut columns {
                Some(columns) => columns,
                none => none.insert(prepare_table(ctx, object).await.map_err(store_failed)?),
            };
            let Some(page) = page else { break };

            scan = Scan {
                offset: page.next.offset.cast_signed(),
                seam: page.next.seam.clone(),
                newest: scan.newest.max(newest_in(object, &page.records)),
                ..scan
            };
            let order = sweep.as_mut().map(|sweep| sweep.see(&page.records, page.stepped_back));
            store_page(ctx, object, kind, window, columns, &scan, page, report).await.map_err(store_failed)?;
            debug!(object = object.name, offset = scan.offset, "stored a page");

            match order {
                Some(Order::Past) => break,
                Some(Order::Broken(warning)) => {
                    report.warnings.push(warning);
                    // The first sweep reads on to the end and so sees everything; a later one only adds to it.
                    if sweep.take_if(|sweep| !sweep.is_first).is_some() {
                        break;
                    }
                    sweep = None;
                }
                Some(Order::Holds) | None => {}
            }
        }
    }

    // Never past what the listings showed, even if Planhat's clock is behind ours.
    let reached = scan.newest.map_or(scan.started_at, |newest| newest.min(scan.started_at));
    let mut tx = ctx.store.begin().await.map_err(store_failed)?;
    let watermark = store::finish_scan(&mut tx, &ctx.store.schema, object, kind, reached).await.map_err(store_failed)?;
    store::commit(tx).await.map_err(store_failed)?;
    report.watermark = Some(watermark);
    Ok(Ending::Complete)
}

/// Decides which scan to make or to go on with.
async fn plan(ctx: &Context<'_>, object: &Object, ask: Ask) -> Result<(ScanKind, Scan), store::Error> {
    let mut tx = ctx.store.begin().await?;
    let workspace = &ctx.store.schema;
    if !store::table_exists(&mut tx, workspace, object.name).await? {
        store::forget_object(&mut tx, workspace, object).await?;
    }
    let watermark = store::watermark(&mut tx, workspace, object).await?;
    let usual_since = ctx.now - ctx.limits.history;
    let plan = match (ask, watermark) {
        (Ask::Changes, Some(watermark)) => {
            let unfinished = store::unfinished_scan(&mut tx, workspace, object, ScanKind::Changes).await?;
            let fresh = Scan::starting(ctx.now, Some(watermark - ctx.limits.lookback));
            (ScanKind::Changes, unfinished.unwrap_or(fresh))
        }
        (ask, _) => {
            let since = match ask {
                Ask::Changes | Ask::History(Range::Usual) => Some(usual_since),
                Ask::History(Range::Since(since)) => Some(since),
                Ask::History(Range::Everything) => None,
            };
            let unfinished = store::unfinished_scan(&mut tx, workspace, object, ScanKind::History).await?;
            // A scan that goes back at least as far will do, and is further ahead.
            let covering = unfinished.filter(|unfinished| unfinished.since <= since);
            if let Some(scan) = &covering {
                info!(object = object.name, offset = scan.offset, "going on with the load begun at {}", scan.started_at);
            }
            (ScanKind::History, covering.unwrap_or(Scan::starting(ctx.now, since)))
        }
    };
    store::commit(tx).await?;
    Ok(plan)
}

/// What a scan reads, in order: each sweep, or the whole listing by id, and again for hidden records.
///
/// Ids are unique and growing, so a listing by id neither loses nor repeats a row over ties, and new
/// records land on its last page. Sweeps are for changes only: a history has to reach the records that
/// lack the time it would be sorted by.
fn listings(object: &'static Object, kind: ScanKind, window: Window) -> Vec<(Listing, Option<Sweep>)> {
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

async fn prepare_table(ctx: &Context<'_>, object: &Object) -> Result<Columns, store::Error> {
    let mut tx = ctx.store.begin().await?;
    if !store::table_exists(&mut tx, &ctx.store.schema, object.name).await? {
        store::create_table(&mut tx, &ctx.store.schema, object).await?;
    }
    let columns = store::load_columns(&mut tx, &ctx.store.schema, object).await?;
    store::commit(tx).await?;
    Ok(columns)
}

fn newest_in(object: &Object, records: &[Record]) -> Option<DateTime<Utc>> {
    records.iter().filter_map(|record| record.newest_of(object.modified.iter().chain(object.dated))).max()
}

/// Everything about one page in one transaction.
#[expect(clippy::too_many_arguments, reason = "the page, where it goes, and what is known of the scan")]
async fn store_page(
    ctx: &Context<'_>,
    object: &'static Object,
    kind: ScanKind,
    window: Window,
    columns: &mut Columns,
    scan: &Scan,
    page: Page,
    report: &mut Report,
) -> Result<(), store::Error> {
    let workspace = &ctx.store.schema;
    let fetched = page.records.len() + page.rejected.len();
    let (taken, too_old): (Vec<_>, Vec<_>) = page.records.into_iter().partition(|record| window.takes(object, record));
    let known = columns.len();
    let added = columns.grow(object, &taken);
    let rows: Vec<_> = taken.iter().map(|record| flatten(columns, record)).collect();

    let mut tx = ctx.store.begin().await?;
    store::add_columns(&mut tx, workspace, object, known, &added).await?;
    let written = store::upsert(&mut tx, workspace, object, columns, &rows, ctx.run_id).await?;
    store::put_in_quarantine(&mut tx, workspace, object, ctx.run_id, &page.rejected).await?;
    store::save_scan(&mut tx, workspace, object, kind, scan).await?;
    store::commit(tx).await?;

    let figures = &mut report.figures;
    figures.pages += 1;
    figures.fetched += as_figure(fetched);
    figures.too_old += as_figure(too_old.len());
    figures.quarantined += as_figure(page.rejected.len());
    figures.inserted += written.inserted.cast_signed();
    figures.updated += written.updated.cast_signed();
    figures.unchanged += written.unchanged.cast_signed();
    figures.nul_removed += taken.iter().map(|record| record.nul_values.cast_signed()).sum::<i64>();
    for column in rows.iter().flat_map(|row| row.misfits.keys()) {
        figures.misfits += 1;
        *report.misfits.entry(column.clone()).or_default() += 1;
    }
    let overflowed = as_figure(rows.iter().filter(|row| !row.overflow.is_empty()).count());
    if overflowed > 0 && figures.overflowed == 0 {
        report.warnings.push(format!("{MAX_COLUMNS} columns are in use: further properties go to _overflow"));
    }
    figures.overflowed += overflowed;
    Ok(())
}

fn as_figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
