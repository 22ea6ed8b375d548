//! Pulls one object from Planhat into its table.
//!
//! ```text
//! plan -> pager -> window -> flatten -> one transaction: rows, quarantine, position -> … -> watermark
//! ```
//!
//! A page is committed together with the position it stands for, so a history goes on after a crash
//! where it was. The watermark moves only at the end of a scan: only then is it known that nothing
//! older is missing. Here is the story; `plan` decides what to read, `page` stores it, `report` counts.

mod page;
mod plan;
mod report;

use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::flatten::{Columns, Declared};
use crate::object::Object;
use crate::planhat::{self, Client, Listing, Pager, Position};
use crate::store::{self, ObjectStatus, Scan, ScanKind, Store};
use crate::sweep::{Order, Sweep};
use crate::window::Window;

use plan::{Plan, listings, plan};
pub use report::Report;

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

    /// The other end is gone: trying the other objects would only take longer to say the same.
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Failure::Fetch { source, .. } => matches!(source, planhat::Error::Unreachable { .. }),
            Failure::Store { source, .. } => source.is_out_of_reach(),
        }
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
    /// Records of this object in quarantine, to be released when they arrive whole; none if it is empty.
    quarantined: Option<HashSet<String>>,
    /// The table has been found to take no more columns.
    table_is_full: bool,
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
            quarantined: None,
            table_is_full: false,
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
                self.prepare_table().await.map_err(|source| self.store_failed(source))?;
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

    /// Ends the scan and moves the watermark: never past what the listings showed, even if Planhat's
    /// clock is behind ours, and not at all after a history that saw nothing, which may be an answer
    /// gone wrong and costs one call to repeat.
    async fn finish(&mut self) -> Result<(), store::Error> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let saw_nothing = self.kind == ScanKind::History && !self.resumed && self.report.figures.fetched == 0;
        let reached = self.scan.newest.map_or(self.scan.started_at, |newest| newest.min(self.scan.started_at));
        let mut tx = self.ctx.store.begin().await?;
        store::keep_lease(&mut tx, workspace, self.ctx.run_id).await?;
        store::end_scan(&mut tx, workspace, object, self.kind).await?;
        if self.saw_everything && self.report.figures.fetched > 0 {
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
