//! Pulls one object from Planhat into its table.
//!
//! ```text
//! pager -> window -> flatten -> one transaction: columns, rows, quarantine, position -> … -> watermark
//! ```
//!
//! A page is committed together with the position it stands for, so a history goes on after a crash
//! where it was. The watermark moves only at the end of a scan: only then is it known that nothing
//! older is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::error::Chain;
use crate::flatten::{Columns, Declared, Row, flatten};
use crate::object::Object;
use crate::planhat::{self, Client, Listing, Page, Pager, Position};
use crate::record::{Record, Rejected};
use crate::store::{self, Figures, ObjectStatus, Refused, Scan, ScanKind, Store, Written};
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
    /// What is known of custom fields before any record shows them.
    pub declared: &'a Declared,
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
#[derive(Debug, Default)]
pub struct Report {
    /// None if it did not come so far as to know.
    pub scan: Option<ScanKind>,
    pub figures: Figures,
    pub watermark: Option<DateTime<Utc>>,
    /// Misfits by column.
    pub misfits: BTreeMap<String, u64>,
    /// Planhat names of what went to `_overflow`.
    pub overflowing: BTreeSet<String>,
    pub warnings: Vec<String>,
}

impl Report {
    /// Counts a page that has been committed.
    fn add(&mut self, page: &Sorted, rows: &[Row], written: Written) {
        let figures = &mut self.figures;
        figures.pages += 1;
        figures.fetched += as_figure(page.taken.len() + page.too_old + page.rejected.len());
        figures.too_old += as_figure(page.too_old);
        figures.quarantined += as_figure(page.rejected.len());
        figures.inserted += written.inserted.cast_signed();
        figures.updated += written.updated.cast_signed();
        figures.unchanged += written.unchanged.cast_signed();
        figures.nul_removed += page.taken.iter().map(|record| record.nul_values.cast_signed()).sum::<i64>();
        for row in rows {
            figures.misfits += as_figure(row.misfits.len());
            figures.overflowed += i64::from(!row.overflow.is_empty());
            for column in row.misfits.keys() {
                *self.misfits.entry(column.clone()).or_default() += 1;
            }
            self.overflowing.extend(row.overflowing().map(str::to_owned));
        }
    }
}

fn as_figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
    let calls = AtomicU64::new(0);
    let ending = pull_all(ctx, object, ask, report, &calls).await;
    report.figures.calls = calls.into_inner().cast_signed();
    ending
}

async fn pull_all(
    ctx: &Context<'_>,
    object: &'static Object,
    ask: Ask,
    report: &mut Report,
    calls: &AtomicU64,
) -> Result<Ending, Failure> {
    loop {
        let plan = plan(ctx, object, ask).await.map_err(|source| Failure::Store { object: object.name, source })?;
        let resumed = plan.resumed;
        let ending = Pull::of(ctx, object, plan, report, calls).read_everything().await?;
        // A scan that was begun in an earlier run vouches for nothing that changed since then.
        if ending == Ending::Stopped || !resumed || ask != Ask::Changes || report.watermark.is_none() {
            return Ok(ending);
        }
    }
}

/// Which scan to make or to go on with.
struct Plan {
    kind: ScanKind,
    scan: Scan,
    resumed: bool,
    /// Whether the end of this scan says that the object is complete.
    completes: bool,
}

/// Decides it.
async fn plan(ctx: &Context<'_>, object: &Object, ask: Ask) -> Result<Plan, store::Error> {
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

/// One scan of one object at work.
struct Pull<'a> {
    ctx: &'a Context<'a>,
    object: &'static Object,
    kind: ScanKind,
    window: Window,
    scan: Scan,
    resumed: bool,
    completes: bool,
    /// Whether this run has read all listings to their ends.
    saw_everything: bool,
    /// Whether a record of this object may be in quarantine, to be released when it arrives whole.
    has_quarantine: bool,
    /// Known from the first answer on: only then is it known that the object can be read at all.
    columns: Option<Columns>,
    report: &'a mut Report,
    calls: &'a AtomicU64,
}

/// How a listing came to its end.
#[derive(Debug, PartialEq, Eq)]
enum Listed {
    ToTheEnd,
    /// The rest is older than the window, or in no order.
    Early,
    Stopped,
}

impl<'a> Pull<'a> {
    fn of(ctx: &'a Context<'a>, object: &'static Object, plan: Plan, report: &'a mut Report, calls: &'a AtomicU64) -> Pull<'a> {
        let Plan { kind, scan, resumed, completes } = plan;
        let window = match (kind, scan.since) {
            (ScanKind::Changes, Some(since)) => Window::Changes { since },
            (ScanKind::History, Some(since)) => Window::History { since },
            (_, None) => Window::Everything,
        };
        report.scan = Some(kind);
        Pull {
            ctx,
            object,
            kind,
            window,
            scan,
            resumed,
            completes,
            saw_everything: !resumed,
            has_quarantine: true,
            columns: None,
            report,
            calls,
        }
    }

    /// All listings of the object, from where the scan stands, and the watermark.
    async fn read_everything(mut self) -> Result<Ending, Failure> {
        let mut read_to_the_end = false;
        for (index, (listing, sweep)) in (0..).zip(listings(self.object, self.kind, self.window)) {
            let later_sweep = sweep.as_ref().is_some_and(|sweep| !sweep.is_first);
            // What a sweep read to the end needs no second one.
            if index < self.scan.listing || (later_sweep && read_to_the_end) {
                continue;
            }
            // Rows of a sweep move with every contact and edit: it begins anew rather than going on.
            if index > self.scan.listing || sweep.is_some() {
                self.scan = Scan { listing: index, offset: 0, seam: None, ..self.scan };
            }
            match self.read(listing, sweep).await? {
                Listed::Stopped => return Ok(Ending::Stopped),
                listed => read_to_the_end = listed == Listed::ToTheEnd,
            }
            self.saw_everything &= read_to_the_end;
        }
        self.finish().await.map_err(|source| self.store_failed(source))?;
        Ok(Ending::Complete)
    }

    /// One listing, page by page.
    async fn read(&mut self, listing: Listing, mut sweep: Option<Sweep>) -> Result<Listed, Failure> {
        let ctx = self.ctx;
        let position = Position { offset: self.scan.offset.cast_unsigned(), seam: self.scan.seam.clone() };
        let mut pager = Pager::new(ctx.client, listing, ctx.limits.page_size, ctx.limits.overlap, position, self.calls);
        loop {
            let fetched = tokio::select! {
                biased;
                () = ctx.stop.cancelled() => return Ok(Listed::Stopped),
                page = pager.next() => page,
            };
            let fetch_failed = |source| Failure::Fetch { object: self.object.name, offset: self.scan.offset, source };
            let page = fetched.map_err(fetch_failed)?;
            if self.columns.is_none() {
                let (columns, has_quarantine) = self.prepare_table().await.map_err(|source| self.store_failed(source))?;
                (self.columns, self.has_quarantine) = (Some(columns), has_quarantine);
            }
            let Some(page) = page else { return Ok(Listed::ToTheEnd) };

            let order = sweep.as_mut().map(|sweep| sweep.see(&page.records, page.moved));
            self.store(page).await.map_err(|source| self.store_failed(source))?;
            debug!(object = self.object.name, offset = self.scan.offset, "stored a page");

            match order {
                Some(Order::Past) => return Ok(Listed::Early),
                Some(Order::Broken(warning)) => {
                    self.report.warnings.push(warning);
                    // The first sweep goes on to the end and so sees everything; a later one only adds to it.
                    if sweep.take().is_some_and(|sweep| !sweep.is_first) {
                        return Ok(Listed::Early);
                    }
                }
                Some(Order::Holds) | None => {}
            }
        }
    }

    /// The table, its columns, and whether a record of it is in quarantine.
    async fn prepare_table(&self) -> Result<(Columns, bool), store::Error> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        patiently(async || {
            let mut tx = self.ctx.store.begin().await?;
            if !store::table_exists(&mut tx, workspace, object.name).await? {
                store::create_table(&mut tx, workspace, object).await?;
            }
            let columns = store::load_columns(&mut tx, workspace, object).await?;
            let quarantined = store::quarantined(&mut tx, workspace).await?;
            store::commit(tx).await?;
            Ok((columns, quarantined.iter().any(|(name, _)| name == object.name)))
        })
        .await
    }

    /// Columns for what a page brings for the first time, in a transaction of its own: it locks the table
    /// against readers, so it has to be short. A column without values harms nobody if we die after it.
    async fn columns_for(&mut self, records: &[Record]) -> Result<Columns, store::Error> {
        let (workspace, object, declared) = (&self.ctx.store.schema, self.object, self.ctx.declared);
        let columns = self.columns.take().unwrap_or_default();
        if !columns.would_grow(object, records, declared) {
            return Ok(columns);
        }
        patiently(async || {
            let mut tx = self.ctx.store.begin().await?;
            store::lock_columns(&mut tx, workspace, object).await?;
            // Somebody else may have made some meanwhile.
            let mut columns = store::load_columns(&mut tx, workspace, object).await?;
            let known = columns.len();
            let added = columns.grow(object, records, declared);
            store::add_columns(&mut tx, workspace, object, known, &added).await?;
            store::commit(tx).await?;
            Ok(columns)
        })
        .await
    }

    /// Everything about one page in one transaction.
    async fn store(&mut self, page: Page) -> Result<(), store::Error> {
        self.scan.newest = self.scan.newest.max(newest_in(self.object, &page.records));
        (self.scan.offset, self.scan.seam) = (page.next.offset.cast_signed(), page.next.seam.clone());
        let mut page = Sorted::by(self.window, self.object, page);
        let columns = self.columns_for(&page.taken).await?;
        let mut rows: Vec<_> = page.taken.iter().map(|record| flatten(&columns, record)).collect();

        let committed = match self.commit(&columns, &page, &rows, false).await {
            Err(error) if error.refusal().is_some() => {
                warn!(object = self.object.name, error = %Chain(&error), "the database refused a page: looking for the record");
                self.commit(&columns, &page, &rows, true).await
            }
            committed => committed,
        };
        self.columns = Some(columns);
        let (written, refused) = committed?;
        rows.retain(|row| !refused.iter().any(|refused| refused.id.as_deref() == Some(&row.id)));
        page.taken.retain(|record| !refused.iter().any(|refused| refused.id.as_deref() == Some(&record.id)));
        page.rejected.extend(refused);
        self.has_quarantine |= !page.rejected.is_empty();
        self.report.add(&page, &rows, written);
        Ok(())
    }

    /// Commits rows, quarantined records and the scan's position. `in_halves` finds the rows that the
    /// database refuses and puts them into quarantine too.
    async fn commit(
        &self,
        columns: &Columns,
        page: &Sorted,
        rows: &[Row],
        in_halves: bool,
    ) -> Result<(Written, Vec<Rejected>), store::Error> {
        let (store, object, run_id) = (self.ctx.store, self.object, self.ctx.run_id);
        let workspace = &store.schema;
        let mut tx = store.begin().await?;
        let (written, refused) = if in_halves {
            store::upsert_in_halves(&mut tx, workspace, object, columns, rows, run_id).await?
        } else {
            (store::upsert(&mut tx, workspace, object, columns, rows, run_id).await?, Vec::new())
        };
        let refused: Vec<Rejected> = refused.into_iter().filter_map(|refused| page.refuse(refused)).collect();
        if self.has_quarantine {
            let stored = rows.iter().map(|row| row.id.as_str());
            let stored: Vec<&str> =
                stored.filter(|id| !refused.iter().any(|refused| refused.id.as_deref() == Some(id))).collect();
            store::release_stored(&mut tx, workspace, object, &stored).await?;
        }
        store::put_in_quarantine(&mut tx, workspace, object, run_id, &page.rejected).await?;
        store::put_in_quarantine(&mut tx, workspace, object, run_id, &refused).await?;
        store::save_scan(&mut tx, workspace, object, self.kind, &self.scan, run_id).await?;
        store::commit(tx).await?;
        Ok((written, refused))
    }

    /// Ends the scan and moves the watermark: never past what the listings showed, even if Planhat's
    /// clock is behind ours, and not at all after a history that saw nothing, which may be an answer
    /// gone wrong and costs one call to repeat.
    async fn finish(&mut self) -> Result<(), store::Error> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let saw_nothing = self.kind == ScanKind::History && !self.resumed && self.report.figures.fetched == 0;
        let reached = self.scan.newest.map_or(self.scan.started_at, |newest| newest.min(self.scan.started_at));
        let mut tx = self.ctx.store.begin().await?;
        store::end_scan(&mut tx, workspace, object, self.kind).await?;
        if self.saw_everything {
            store::release_unseen(&mut tx, workspace, object, self.ctx.run_id).await?;
        }
        if self.completes && !saw_nothing {
            self.report.watermark = Some(store::move_watermark(&mut tx, workspace, object, reached).await?);
        }
        store::commit(tx).await?;
        if !self.completes {
            let warning = "only a part of the usual history was asked for; the next sync loads the rest (see sync.history)";
            self.report.warnings.push(format!("{}: {warning}", object.name));
        }
        Ok(())
    }

    fn store_failed(&self, source: store::Error) -> Failure {
        Failure::Store { object: self.object.name, source }
    }
}

/// The records of a page, sorted by what becomes of them.
struct Sorted {
    taken: Vec<Record>,
    too_old: usize,
    rejected: Vec<Rejected>,
}

impl Sorted {
    fn by(window: Window, object: &Object, page: Page) -> Sorted {
        let (taken, too_old): (Vec<_>, Vec<_>) = page.records.into_iter().partition(|record| window.takes(object, record));
        Sorted { taken, too_old: too_old.len(), rejected: page.rejected }
    }

    /// The record behind a row that the database refused.
    fn refuse(&self, refused: Refused) -> Option<Rejected> {
        let record = self.taken.iter().rfind(|record| record.id == refused.id)?;
        Some(record.refused(refused.reason, refused.sqlstate))
    }
}

/// Does it again while somebody's lock on the table is in the way: for a minute or two, since whoever
/// waits for a lock also holds up the readers behind it.
async fn patiently<T>(attempt: impl AsyncFn() -> Result<T, store::Error>) -> Result<T, store::Error> {
    const ATTEMPTS: u32 = 12;
    let mut attempts = 0;
    loop {
        attempts += 1;
        match attempt().await {
            Err(error) if error.is_lock_conflict() && attempts < ATTEMPTS => {
                warn!(error = %Chain(&error), "somebody holds a lock on the table: trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            result => return result,
        }
    }
}

fn newest_in(object: &Object, records: &[Record]) -> Option<DateTime<Utc>> {
    records.iter().filter_map(|record| record.newest_of(object.modified.iter().chain(object.dated))).max()
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
