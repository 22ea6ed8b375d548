//! Pulls one object from Planhat into its table.
//!
//! ```text
//! plan -> pager -> window -> rules -> flatten -> one transaction: rows, actions, quarantine, position -> … -> gone -> watermark
//! ```
//!
//! A page is committed together with the position it stands for, so a scan goes on after a crash
//! where it was. The watermark moves only at the end of a scan: only then is it known that nothing
//! older is missing. Here is the story; `plan` decides what to read, `page` stores it, `preview` only says
//! what would be stored, `gone` looks for what is no longer there, `rejected` says when too many records cannot be stored,
//! `declarations` what is known of custom fields, `report` counts.

mod declarations;
mod deletion_guard;
mod detect_deletions;
mod page;
mod pause_gate;
mod plan;
mod preview;
mod pull_error;
mod rejected;
mod repeats;
mod report;
mod retry_quarantined;

use std::collections::HashSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_api::{Client, Listing, ObjectClient, PageSettings, Pager, Position};
use planhat_model::catalog::{ByObject, Object};
use planhat_model::flatten::{Columns, IgnoredFields};
use planhat_model::rules::FieldMap;
use planhat_model::rules::Rules;
use planhat_model::scan::Window;
use planhat_model::scan::{SortCheck, Sweep};
use planhat_store::{self as store, Binding, Cursor, ScanCheckpoint, ScanKind, Store, TimelineOptions};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::progress::Progress;

pub use declarations::Declarations;
pub use deletion_guard::{DeletionGuard, DeletionReservations};
use page::UnsavedProgress;
pub use pause_gate::{PauseGate, PauseGuard};
use plan::{Plan, listings, plan};
pub use pull_error::PullError;
pub use rejected::RejectionGuard;
use rejected::RejectionShare;
pub use report::{Misfits, Preview, Report};
pub use retry_quarantined::{RetryCounts, retry_quarantined};

/// Crashes of the database that a pull puts up with.
const MAX_CHECKPOINTS_LOST: u32 = 5;

/// What a pull works with.
#[derive(Debug)]
pub struct Context<'a> {
    pub client: &'a Client,
    pub store: &'a Store,
    pub limits: &'a Limits,
    pub purpose: Purpose,
    /// All objects of the run.
    pub objects: &'a [&'static Object],
    /// What the schema is bound to; none for a dry run.
    pub binding: Option<&'a Binding>,
    /// When the run began: a scan that begins in it cannot vouch for anything later.
    pub now: DateTime<Utc>,
    /// What is known of custom fields before any record shows them.
    pub declarations: &'a Declarations,
    /// Ends the pull after the page that is being stored.
    pub stop: &'a CancellationToken,
    /// Whose turn it is, should another run want the workspace meanwhile.
    pub pause_gate: &'a PauseGate,
    /// Where it tells how far it is.
    pub progress: &'a Progress,
    /// How many rows all objects of the run may still mark as deleted.
    pub deletion_reservations: &'a DeletionReservations,
}

/// What becomes of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They are stored, by this run.
    Store { run_id: i64 },
    /// They are compared with what is stored, and nothing is written: a dry run.
    Preview { diff: bool },
}

#[derive(Debug, Clone)]
pub struct Limits {
    pub page_size: u32,
    /// Whether pages overlap by a row, see the pager.
    pub overlap: bool,
    /// How far before the watermark changes are looked for.
    pub lookback: Duration,
    /// How far back a first load goes.
    pub history: Duration,
    /// Names of the objects whose changes are read newest first, so that a daily run stops early.
    pub sorted: Vec<&'static str>,
    /// How often everything is compared; zero for never, unless it is asked for.
    pub reconcile_every: Duration,
    /// How long what became of a run is kept.
    pub keep_runs: Duration,
    pub timeline: TimelineOptions,
    /// What of records may be kept, and how.
    pub rules: ByObject<Rules>,
    /// What the user counts as volatile besides the catalogue.
    pub ignore_changes: ByObject<FieldMap<()>>,
    pub deletion_guard: DeletionGuard,
    pub rejections: RejectionGuard,
    /// Of so many records of an object a run keeps the text, if they cannot be stored.
    pub quarantine_rows: usize,
}

/// What is asked of a pull.
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
    /// Leaves out what lived on until then or longer.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullEnd {
    Complete,
    /// Stopped between two pages; the scan goes on here next time.
    Stopped,
}

/// Pulls `object`, noting in `report` what was done even if it fails half-way.
pub async fn pull(ctx: &Context<'_>, object: &'static Object, mode: Mode, report: &mut Report) -> Result<PullEnd, PullError> {
    let client = ctx.client.for_object(object);
    let ending = pull_all(ctx, object, mode, report, &client).await;
    report.figures.calls = client.calls().cast_signed();
    ending
}

async fn pull_all(
    ctx: &Context<'_>,
    object: &'static Object,
    mode: Mode,
    report: &mut Report,
    client: &ObjectClient,
) -> Result<PullEnd, PullError> {
    let mut mode = mode;
    // There is a position of ours from before another run had its turn.
    let mut was_preempted = false;
    // Times that the database forgot pages that it had not brought to its disk when it died.
    let mut checkpoints_lost = 0;
    // The scan at work was begun in an earlier run.
    let mut begun_in_earlier_run = false;
    // Why a full scan that was due could not be made.
    let mut full_scan_failure = None;
    loop {
        let _turn = tokio::select! {
            biased;
            () = ctx.stop.cancelled() => return Ok(PullEnd::Stopped),
            turn = ctx.pause_gate.enter() => turn,
        };
        let plan = plan(ctx, object, mode, full_scan_failure.is_none())
            .await
            .map_err(|source| PullError::Store { object: object.name, source })?;
        if was_preempted && !plan.resumed && plan.another_run_may_end_it {
            // It has.
            return Ok(PullEnd::Complete);
        }
        begun_in_earlier_run = plan.resumed && (begun_in_earlier_run || !was_preempted && checkpoints_lost == 0);
        let is_due_full = plan.kind == ScanKind::Full && mode == Mode::Incremental;
        if is_due_full {
            // Where it fails, the changes of the day show again what it has shown.
            report.repeats.enable();
        }
        match Pull::of(ctx, object, plan, report, client).read_everything().await {
            Ok(ScanEnd::Stopped) => return Ok(PullEnd::Stopped),
            Ok(ScanEnd::Preempted { saved }) => was_preempted = saved,
            // A scan that was begun in an earlier run vouches for nothing that changed since then.
            Ok(ScanEnd::Complete) if begun_in_earlier_run && !matches!(mode, Mode::Backfill(_)) && report.watermark.is_some() => {
                (mode, begun_in_earlier_run) = (Mode::Incremental, false);
            }
            Ok(ScanEnd::Complete) => return full_scan_failure.map_or(Ok(PullEnd::Complete), Err),
            Err(failure) if failure.is_checkpoint_lost() && checkpoints_lost < MAX_CHECKPOINTS_LOST => {
                warn!(object = object.name, "{failure}: going on from what the database has kept");
                (checkpoints_lost, was_preempted) = (checkpoints_lost + 1, false);
            }
            // What a comparison of everything cannot get past must not keep the changes of the day away.
            Err(failure) if is_due_full && failure.may_pass_with_another_listing() => full_scan_failure = Some(failure),
            Err(failure) => return Err(full_scan_failure.unwrap_or(failure)),
        }
    }
}

/// How a scan ended, this time.
enum ScanEnd {
    Complete,
    Stopped,
    /// For another run, which has its turn before this one goes on.
    Preempted {
        saved: bool,
    },
}

/// One scan of one object at work.
struct Pull<'a> {
    ctx: &'a Context<'a>,
    object: &'static Object,
    rules: Option<&'a Rules>,
    ignore_changes: IgnoredFields,
    kind: ScanKind,
    window: Window,
    scan: ScanCheckpoint,
    resumed: bool,
    completes: bool,
    reconciles: bool,
    /// What it finds new has not just been created: it is being loaded.
    is_load: bool,
    /// Whether this run has read all listings to their ends.
    saw_everything: bool,
    /// Records listed before this scan.
    listed_before: i64,
    /// What was read since the position was last saved.
    unsaved: UnsavedProgress,
    /// How often the position in the database was saved; none if it has none of this scan.
    saved: Option<i64>,
    /// Records of this object in quarantine that have an id, to be released when they arrive whole.
    quarantined: HashSet<String>,
    /// What of the listing that is being read was rejected, and of all that this scan has read.
    listing_rejections: RejectionShare,
    scan_rejections: RejectionShare,
    table_exists: bool,
    /// The table has been found to take no more columns.
    table_is_full: bool,
    /// Known from the first answer on: only then is it known that the object can be read at all.
    columns: Option<Columns>,
    report: &'a mut Report,
    client: &'a ObjectClient,
}

/// How a scan that has read everything ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanOutcome {
    Complete,
    /// Its listings have shown no record, and there are rows.
    NothingListed,
}

/// How a listing came to its end.
#[derive(Debug, PartialEq, Eq)]
enum ListingEnd {
    Complete,
    /// The rest is older than the window, or in no order.
    StoppedEarly,
    Stopped,
    Preempted,
}

impl<'a> Pull<'a> {
    fn of(
        ctx: &'a Context<'a>,
        object: &'static Object,
        plan: Plan,
        report: &'a mut Report,
        client: &'a ObjectClient,
    ) -> Pull<'a> {
        let Plan { kind, window, scan, resumed, completes, reconciles, is_load, .. } = plan;
        report.scan = Some(kind);
        let saved = resumed.then_some(scan.number);
        Pull {
            ctx,
            object,
            rules: ctx.limits.rules.get(object.name),
            ignore_changes: IgnoredFields::of(
                object,
                ctx.limits.ignore_changes.get(object.name),
                ctx.limits.rules.get(object.name),
            ),
            kind,
            window,
            scan,
            resumed,
            completes,
            reconciles,
            is_load,
            saw_everything: !resumed,
            listed_before: report.figures.listed(),
            unsaved: UnsavedProgress::default(),
            saved,
            quarantined: HashSet::new(),
            listing_rejections: RejectionShare::default(),
            scan_rejections: RejectionShare::default(),
            table_exists: false,
            table_is_full: false,
            columns: None,
            report,
            client,
        }
    }

    /// All listings of the object, from where the scan stands, what is gone, and the watermark.
    async fn read_everything(mut self) -> Result<ScanEnd, PullError> {
        let listings = listings(self.object, self.window, &self.ctx.limits.sorted);
        let names: Vec<String> = listings.iter().map(|(listing, _)| listing.name()).collect();
        // Settings may have changed which listings there are.
        let first = match names.iter().position(|name| *name == self.scan.listing) {
            _ if self.scan.listing == detect_deletions::LISTING => names.len(),
            found => found.unwrap_or(0),
        };
        if names.len() - first > 1 || self.resumed {
            self.report.repeats.enable();
        }
        let mut read_to_the_end = false;
        for ((listing, sweep), name) in listings.into_iter().zip(names).skip(first) {
            // What a sweep read to the end needs no second one.
            if sweep.as_ref().is_some_and(|sweep| !sweep.is_first) && read_to_the_end {
                continue;
            }
            // Rows of a sweep move with every contact and edit: it begins anew rather than going on.
            if self.scan.listing != name || sweep.is_some() {
                self.start_listing(name);
            }
            self.report.repeats.begin_listing();
            match self.read(listing, sweep).await? {
                ListingEnd::Stopped => return Ok(ScanEnd::Stopped),
                ListingEnd::Preempted => return Ok(ScanEnd::Preempted { saved: self.saved.is_some() }),
                listed => read_to_the_end = listed == ListingEnd::Complete,
            }
            self.saw_everything &= read_to_the_end;
        }
        if !self.resumed && self.ctx.limits.rejections.rejects_whole_scan(&self.scan_rejections) {
            return Err(self.too_many_rejected(self.scan_rejections.clone()).await);
        }
        if self.kind == ScanKind::Full && self.detect_deletions().await? == ListingEnd::Stopped {
            return Ok(ScanEnd::Stopped);
        }
        self.report.saw_all = self.kind == ScanKind::Full && self.saw_everything;
        if self.finish().await.map_err(|source| self.store_failed(source))? == ScanOutcome::NothingListed {
            return Err(PullError::NothingListed { object: self.object.name });
        }
        Ok(ScanEnd::Complete)
    }

    fn start_listing(&mut self, listing: String) {
        self.scan = ScanCheckpoint { listing, offset: 0, overlap_id: None, ..self.scan.clone() };
    }

    /// One listing, page by page.
    async fn read(&mut self, listing: Listing, mut sweep: Option<Sweep>) -> Result<ListingEnd, PullError> {
        let ctx = self.ctx;
        self.listing_rejections = RejectionShare::default();
        let position = Position { offset: self.scan.offset.cast_unsigned(), overlap_id: self.scan.overlap_id.clone() };
        let pages = PageSettings { size: ctx.limits.page_size, overlap: ctx.limits.overlap };
        let mut pager = Pager::new(self.client, listing, pages, position);
        loop {
            let fetched = tokio::select! {
                biased;
                () = ctx.stop.cancelled() => return self.save_before_pause(ListingEnd::Stopped).await,
                () = ctx.pause_gate.pause_requested() => return self.save_before_pause(ListingEnd::Preempted).await,
                page = pager.next() => page,
            };
            let page = match fetched {
                Ok(page) => page,
                Err(source) => {
                    let failure = PullError::Fetch { object: self.object.name, offset: self.scan.offset, source };
                    return self.save_before_pause(ListingEnd::Stopped).await.and(Err(failure));
                }
            };
            if self.columns.is_none() {
                self.report.readable = true;
                self.prepare_table().await?;
            }
            let Some(mut page) = page else { return Ok(ListingEnd::Complete) };
            while let Some(following) = pager.next_if_ready() {
                page.append(following);
            }
            let sort_check = sweep.as_mut().map(|sweep| sweep.check_page(&page.records, page.rows_moved));
            if sort_check != Some(SortCheck::PastWindow) {
                pager.prefetch();
            }
            let (guard, mut with_this) = (ctx.limits.rejections, self.listing_rejections.clone());
            with_this.add(page.records.len() + page.rejected.len(), &page.rejected);
            if guard.is_exceeded_by(&with_this) {
                return Err(self.too_many_rejected(with_this).await);
            }
            self.process_page(page).await.map_err(|source| self.store_failed(source))?;
            // Now it is known what the database refused.
            if guard.is_exceeded_by(&self.listing_rejections) {
                return Err(self.too_many_rejected(self.listing_rejections.clone()).await);
            }
            debug!(object = self.object.name, offset = self.scan.offset, "took a page");
            self.ctx.progress.update(self.object.name, self.report.progress());

            match sort_check {
                Some(SortCheck::PastWindow) => return Ok(ListingEnd::StoppedEarly),
                Some(SortCheck::OutOfOrder(warning)) => {
                    self.report.warn(warning);
                    // The first sweep goes on to the end and so sees everything; a later one only adds to it.
                    if sweep.take().is_some_and(|sweep| !sweep.is_first) {
                        return Ok(ListingEnd::StoppedEarly);
                    }
                }
                Some(SortCheck::InOrder) | None => {}
            }
        }
    }

    /// The rejection guard holds: nothing more is read. What was rejected before has been passed by, and may come with
    /// an id that nobody knows, so the scan ends here and the next one begins anew.
    async fn too_many_rejected(&mut self, share: RejectionShare) -> PullError {
        if let Purpose::Store { run_id } = self.ctx.purpose {
            let (workspace, object, kind) = (&self.ctx.store.schema, self.object, self.kind);
            let ended = self.ctx.store.transaction(async |db| {
                store::fence(&mut *db, workspace, run_id).await?;
                store::end_scan(db, workspace, object, kind).await
            });
            if let Err(source) = ended.await {
                return self.store_failed(source);
            }
        }
        let (reason, RejectionShare { listed, rejected, .. }) = (share.reason().to_owned(), share);
        PullError::Rejected { object: self.object.name, rejected, listed, reason }
    }

    /// Before a scan rests, its position is saved.
    async fn save_before_pause(&mut self, why: ListingEnd) -> Result<ListingEnd, PullError> {
        if self.unsaved.pages > 0 {
            self.save_checkpoint().await.map_err(|source| self.store_failed(source))?;
        }
        Ok(why)
    }

    /// Ends the scan and moves the watermark: never past what the listings showed, even if Planhat's
    /// clock is behind ours, and not at all after a scan that saw nothing, which may be an answer
    /// gone wrong.
    async fn finish(&mut self) -> Result<ScanOutcome, store::StoreError> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let listed_nothing = self.report.figures.listed() == self.listed_before;
        let Purpose::Store { run_id } = self.ctx.purpose else {
            let looked = listed_nothing && self.table_exists;
            let has_rows =
                looked && self.ctx.store.read_only(async |db| store::has_live_rows(db, workspace, object).await).await?;
            return Ok(if has_rows { ScanOutcome::NothingListed } else { ScanOutcome::Complete });
        };
        let watermark = self.scan.newest_change_at.map_or(self.scan.started_at, |newest| newest.min(self.scan.started_at));
        let finished = self.ctx.store.transaction(async |db| {
            store::fence(&mut *db, workspace, run_id).await?;
            if let Some(saved) = self.saved {
                store::expect_checkpoint(&mut *db, workspace, object, self.kind, saved).await?;
            }
            // One that goes on may have seen everything in an earlier run; of a full scan that is on record.
            let saw_nothing = match (self.resumed, self.kind) {
                _ if !listed_nothing => false,
                (false, _) => true,
                (true, ScanKind::Full) => store::some_listed_ids(&mut *db, workspace, object, 1).await?.is_empty(),
                (true, _) => false,
            };
            store::end_scan(&mut *db, workspace, object, self.kind).await?;
            if saw_nothing {
                let has_rows = store::has_live_rows(db, workspace, object).await?;
                return Ok((if has_rows { ScanOutcome::NothingListed } else { ScanOutcome::Complete }, None, None));
            }
            if !self.completes {
                let warning = "only a part of the usual history was asked for; the next sync loads the rest (see sync.history)";
                let is_first = store::cursor(db, workspace, object).await?.is_none();
                return Ok((ScanOutcome::Complete, None, is_first.then_some(warning)));
            }
            if self.kind == ScanKind::Full {
                store::end_covered_history(&mut *db, workspace, object, self.ctx.limits.history).await?;
            }
            if self.saw_everything {
                store::release_unlisted(&mut *db, workspace, object, run_id).await?;
            }
            let reconciled_at = self.reconciles.then_some(self.scan.started_at);
            let moved = store::move_cursor(db, workspace, object, Cursor { watermark, reconciled_at }).await?;
            Ok((ScanOutcome::Complete, Some(moved), None))
        });
        let (finished, moved, warning) = finished.await?;
        self.report.watermark = moved.or(self.report.watermark);
        if let Some(warning) = warning {
            self.report.warn(format!("{}: {warning}", object.name));
        }
        Ok(finished)
    }

    fn store_failed(&self, source: store::StoreError) -> PullError {
        PullError::Store { object: self.object.name, source }
    }
}
