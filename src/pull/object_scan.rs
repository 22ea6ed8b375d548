//! One scan of one object: its listings one after the other, each page by page, and what its end proves.

use chrono::{DateTime, Utc};
use planhat_api::{LearnedPages, ObjectClient, Page, Pager, Position, RowsPerPage};
use planhat_model::capability::SortDetail;
use planhat_model::catalog::Object;
use planhat_model::error::Fails;
use planhat_model::scan::{ScanKind, SortCheck, Sweep, Window};
use planhat_store::{self as store, Cursor, Durability, LeftOut, PageStep, ScanCheckpoint, ScanProgress};
use tracing::{Instrument, debug, error_span};

use super::decide::{NewRows, Plan, Proves, Start};
use super::learned::{Learned, TimesSeen, page_finding};
use super::listings::{Beside, PlannedListing, PlannedSweep, time_to_learn};
use super::next_step::Ended;
use super::page::ClassifiedPage;
use super::rejected::RejectionShare;
use super::table_writer::TableWriter;
use super::{Context, PullError, Purpose, Report};

/// A scan at work.
pub(super) struct ObjectScan<'a> {
    pub(super) client: &'a ObjectClient,
    pub(super) ctx: &'a Context<'a>,
    pub(super) plan: Plan,
    /// How far it has come: it moves when a page is committed.
    pub(super) progress: ScanProgress,
    /// None in a dry run.
    pub(super) checkpoint: Option<ScanCheckpoint<'a>>,
    pub(super) table: TableWriter<'a>,
    /// The rejected share of the current listing, and (next field) of the whole scan.
    listing_rejections: RejectionShare,
    scan_rejections: RejectionShare,
    /// Records that were listed before this scan, and calls that were made.
    listed_before: i64,
    calls_before: u64,
    /// How Planhat answers, as far as it is known now.
    pub(super) learned: Learned,
    /// The times of all records, where they are to be learned and this scan sees them.
    pub(super) times: Option<TimesSeen>,
    /// The times that proven sweeps have begun with, and those known before.
    pub(super) swept: Option<SortDetail>,
    /// This comparison has found edits that sweeps had not shown.
    pub(super) has_found_missed_edits: bool,
    /// How large pages may be, as far as the listings before this one have shown.
    learned_pages: LearnedPages,
    pub(super) report: &'a mut Report,
}

/// What is known of pages when a scan begins. Whether the server takes larger ones now is tried when everything is compared.
fn expected_pages(plan: &Plan) -> LearnedPages {
    match plan.window {
        Window::Incremental { .. } => plan.learned.pages,
        Window::Full { .. } | Window::History { .. } => LearnedPages { ceiling: None, ..plan.learned.pages },
    }
}

/// How a listing came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListingEnd {
    Complete,
    /// The rest is older than the window, or in no order.
    StoppedEarly,
    /// It is a sweep that has not proven its order: all has to be read.
    OrderNotProven,
    /// The listing with hidden records has all of it too, and is read in its place.
    IncludedInAnother,
    /// It was read in place of another one too, and may not have had all of that.
    DidNotStandForAll,
    /// The scan ends here, for now.
    Interrupted(Interruption),
}

/// Why a scan ends between two pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    Stop,
    Pause,
}

/// What the end of a scan has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScanOutcome {
    Complete,
    /// Its listings have shown no record, and there are rows.
    NothingListed,
}

impl<'a> ObjectScan<'a> {
    pub(super) fn new(client: &'a ObjectClient, ctx: &'a Context<'a>, plan: Plan, report: &'a mut Report) -> ObjectScan<'a> {
        let object = client.object();
        let checkpoint = match ctx.purpose {
            Purpose::Store { run_id } => {
                // The pages of a load can be read again, so their commits do not wait for the disk; those of other scans do.
                let durability = match plan.new_rows {
                    NewRows::Loaded => Durability::MayBeLost,
                    NewRows::Created => Durability::Waits,
                };
                let new = ScanCheckpoint::of_new_scan(ctx.store, object, plan.kind, run_id, durability);
                Some(match plan.start {
                    Start::Anew => new,
                    Start::Resumed { number } => new.resuming(number),
                })
            }
            Purpose::Preview { .. } => None,
        };
        ObjectScan {
            client,
            ctx,
            progress: plan.progress.clone(),
            checkpoint,
            table: TableWriter::new(ctx, object, &plan),
            listing_rejections: RejectionShare::default(),
            scan_rejections: RejectionShare::default(),
            listed_before: report.figures.listed(),
            calls_before: client.calls(),
            learned: plan.learned.clone(),
            times: None,
            swept: None,
            has_found_missed_edits: false,
            learned_pages: expected_pages(&plan),
            report,
            plan,
        }
    }

    /// Reads all listings of the object, from where the scan is, finds what is deleted, and moves the watermark.
    pub(super) async fn read_everything(mut self) -> Result<Ended, PullError> {
        self.drop_older_full_scan().await?;
        let mut to_read = self.listings_to_read();
        let has_learned_sweep = to_read.iter().any(PlannedListing::has_to_prove_its_order);
        if to_read.len() > 1 || has_learned_sweep || self.plan.is_resumed() {
            self.report.repeats.enable();
        }
        if !self.plan.is_resumed() && to_read.iter().all(|planned| planned.sweep.is_none()) {
            self.begin_times();
        }
        let mut read_to_the_end = false;
        let mut saw_everything = !self.plan.is_resumed();
        let mut listed_everything = true;
        while let Some(planned) = to_read.pop_front() {
            // After a sweep that was read to the end, no second sweep is needed.
            if planned.is_later_sweep() && read_to_the_end {
                continue;
            }
            // A sweep always starts at its beginning: its rows change places with every edit, so an offset means nothing.
            if self.progress.listing != planned.name() || planned.sweep.is_some() {
                self.progress = self.progress.at_start_of(planned.name());
            }
            match self.read_listing(planned).await? {
                ListingEnd::Interrupted(Interruption::Stop) => return Ok(Ended::Stopped),
                ListingEnd::Interrupted(Interruption::Pause) => return Ok(Ended::Preempted { is_saved: self.is_saved() }),
                ListingEnd::OrderNotProven => {
                    to_read = self.all_by_id();
                    (saw_everything, listed_everything) = (!self.plan.is_resumed(), true);
                    continue;
                }
                ListingEnd::IncludedInAnother => {
                    to_read = [PlannedListing::for_all()].into();
                    continue;
                }
                ListingEnd::DidNotStandForAll => {
                    self.report.repeats.enable();
                    to_read.push_front(PlannedListing::plain());
                    read_to_the_end = true;
                }
                end => read_to_the_end = end == ListingEnd::Complete,
            }
            saw_everything &= read_to_the_end;
            listed_everything &= read_to_the_end;
        }
        if !listed_everything {
            self.times = None;
        }
        if !self.plan.is_resumed() && self.ctx.limits.rejections.rejects_whole_scan(&self.scan_rejections) {
            return Err(self.reject_scan(&self.scan_rejections.clone()).await);
        }
        if self.plan.kind == ScanKind::Full && !self.detect_deletions().await? {
            return Ok(Ended::Stopped);
        }
        self.report.saw_all = self.plan.kind == ScanKind::Full && saw_everything;
        if listed_everything {
            self.report.left_out = self.left_out().or(self.report.left_out);
        }
        match self.finish(saw_everything).await.map_err(|source| self.store_failed(source))? {
            ScanOutcome::Complete => {
                self.save_finding(self.finding_of_times()).await?;
                if self.ctx.limits.pages.size == RowsPerPage::Auto {
                    self.save_finding(page_finding(self.object(), self.learned_pages, self.learned.pages)).await?;
                }
                Ok(Ended::Complete { has_watermark: self.report.watermark.is_some() })
            }
            ScanOutcome::NothingListed => Err(PullError::NothingListed { object: self.object().name }),
        }
    }

    /// Drops an unfinished full scan before a new one begins: its listed ids are out of date.
    async fn drop_older_full_scan(&mut self) -> Result<(), PullError> {
        match &mut self.checkpoint {
            Some(checkpoint) if self.plan.kind == ScanKind::Full && self.plan.start == Start::Anew => {
                let dropped = checkpoint.drop_scan().await;
                dropped.map_err(|source| self.store_failed(source))
            }
            _ => Ok(()),
        }
    }

    /// From here on the time of each record is seen, if it is to be learned whether all of them have one.
    pub(super) fn begin_times(&mut self) {
        self.times = time_to_learn(&self.ctx.limits.sorted, self.object()).map(TimesSeen::of);
    }

    /// One listing, page by page.
    async fn read_listing(&mut self, planned: PlannedListing) -> Result<ListingEnd, PullError> {
        self.report.repeats.begin_listing();
        self.listing_rejections = RejectionShare::default();
        let position = Position { offset: self.progress.offset.cast_unsigned(), overlap_id: self.progress.overlap_id.clone() };
        let pages = self.ctx.limits.pages;
        let mut pager = Pager::new(self.client, planned.listing.clone(), pages, position).expecting(self.learned_pages);
        let end = self.read_pages(&mut pager, planned).await;
        self.learned_pages = pager.learned();
        end
    }

    async fn read_pages(&mut self, pager: &mut Pager, planned: PlannedListing) -> Result<ListingEnd, PullError> {
        let ctx = self.ctx;
        let PlannedListing { listing, sweep, mut beside } = planned;
        let (mut sweep, mut to_prove) = match sweep {
            Some(PlannedSweep { sweep, proof }) => (Some(sweep), proof),
            None => (None, None),
        };
        let relies_on_order = to_prove.is_some();
        // The time that such a sweep has begun with, and how many pages it has shown.
        let (mut begun_with, mut pages) = (None, 0);
        loop {
            let fetched = tokio::select! {
                biased;
                () = ctx.stop.cancelled() => return self.interrupt(Interruption::Stop).await,
                () = ctx.pause_gate.pause_requested() => return self.interrupt(Interruption::Pause).await,
                page = pager.next() => page,
            };
            let page = match fetched {
                Ok(page) => page,
                Err(source) => {
                    let failure = PullError::Fetch { object: self.object().name, offset: self.progress.offset, source };
                    // It may be the sort that Planhat does not answer.
                    if relies_on_order && failure.kind().fails() == Fails::Listing {
                        return self.do_without_order(&failure).await;
                    }
                    return self.interrupt(Interruption::Stop).await.and(Err(failure));
                }
            };
            // Only the first answer shows that the object can be read at all.
            if !self.table.is_prepared() {
                self.report.readable = true;
                self.table.prepare(self.report).await?;
            }
            let Some(mut page) = page else {
                // Nothing, where there was something before.
                if to_prove.is_some_and(|known| known.newest.is_some()) {
                    return Ok(ListingEnd::OrderNotProven);
                }
                if relies_on_order && pages > 1 && !self.is_still_in_order(&listing, begun_with).await {
                    return Ok(ListingEnd::OrderNotProven);
                }
                let is_all = beside != Beside::NoOther || self.stood_for_all(pager).await?;
                return Ok(if is_all { ListingEnd::Complete } else { ListingEnd::DidNotStandForAll });
            };
            if beside == Beside::OneThatMayHaveAll {
                beside = Beside::Another;
                if self.has_all_in_the_hidden_listing(&page).await? {
                    return Ok(ListingEnd::IncludedInAnother);
                }
            }
            if let Some(known) = to_prove.take()
                && let Some(sweep) = &sweep
                && !self.proves_order(&listing, sweep.field(), (&page.records, page.rejected.len()), known).await?
            {
                return Ok(ListingEnd::OrderNotProven);
            }
            // Rows have changed places, or the order is another one now: which of the two cannot be told.
            if relies_on_order && pager.has_stepped_back() {
                return Ok(ListingEnd::OrderNotProven);
            }
            if relies_on_order && pages == 0 {
                begun_with = page.records.first().zip(sweep.as_ref()).and_then(|(first, sweep)| first.instant(sweep.field()));
            }
            while let Some(following) = pager.next_if_ready() {
                page.append(following);
            }
            pages += page.pages;
            let order = sweep.as_mut().map(|sweep| sweep.check_page(&page.records, page.rows_moved));
            if relies_on_order && let Some(SortCheck::OutOfOrder(_)) = order {
                let field = sweep.as_ref().map_or("", Sweep::field);
                self.order_is_disproved(field, "a newer record follows an older one").await?;
                return Ok(ListingEnd::OrderNotProven);
            }
            if let Some(times) = &mut self.times {
                times.add(listing.hidden, &page.records, page.rejected.len());
            }
            if order != Some(SortCheck::PastWindow) {
                pager.prefetch();
            }
            let place = error_span!("page", offset = self.progress.offset, listing = %self.progress.listing);
            self.take_page(page).instrument(place).await?;
            match order {
                Some(SortCheck::PastWindow) => {
                    if relies_on_order && pages > 1 && !self.is_still_in_order(&listing, begun_with).await {
                        return Ok(ListingEnd::OrderNotProven);
                    }
                    return Ok(ListingEnd::StoppedEarly);
                }
                Some(SortCheck::OutOfOrder(warning)) => {
                    self.report.warn(warning);
                    // The first sweep is read on to the end and so sees everything; a later one only adds to it.
                    if sweep.take().is_some_and(|sweep| !sweep.is_first) {
                        return Ok(ListingEnd::StoppedEarly);
                    }
                }
                Some(SortCheck::InOrder) | None => {}
            }
        }
    }

    /// Takes a page, with the rejection guard checked before (rejected while parsing) and after (refused by the database).
    async fn take_page(&mut self, page: Page) -> Result<(), PullError> {
        let guard = self.ctx.limits.rejections;
        let mut with_this_page = self.listing_rejections.clone();
        with_this_page.add(page.records.len() + page.rejected.len(), &page.rejected);
        if guard.is_exceeded_by(&with_this_page) {
            return Err(self.reject_scan(&with_this_page).await);
        }
        self.look_for_missed_edits(&page).await?;
        self.store_page(page).await.map_err(|source| self.store_failed(source))?;
        if guard.is_exceeded_by(&self.listing_rejections) {
            return Err(self.reject_scan(&self.listing_rejections.clone()).await);
        }
        debug!("stored a page");
        self.ctx.progress.update(self.object().name, self.report.progress());
        Ok(())
    }

    /// Classifies a page and stores what of it is in the window, or compares it. Only then the scan moves on.
    pub(super) async fn store_page(&mut self, mut page: Page) -> Result<(), store::StoreError> {
        let _reserved = std::mem::take(&mut page.reserved);
        let newest: Vec<_> = page.records.iter().map(|record| record.newest_of(self.object().times())).collect();
        let mut step = self.step_behind(&page, newest.iter().copied().max().flatten());
        let page = ClassifiedPage::of(page, newest, self.plan.window, &self.table, &self.report.repeats).await?;
        step.progress.left_out += i64::try_from(page.left_out).unwrap_or(i64::MAX);
        let page = page.without_references_to(&self.table.forgotten);
        let page = match self.table.rules {
            // From here on no code sees the values that the privacy rules mask. What they leave may be the hash by which
            // somebody was forgotten.
            Some(rules) => page.under(rules).without_references_to(&self.table.forgotten),
            None => page,
        };
        let refused = match &mut self.checkpoint {
            Some(checkpoint) => self.table.store(&page, checkpoint, &step, self.report).await?,
            None => {
                let diff = matches!(self.ctx.purpose, Purpose::Preview { diff: true });
                self.table.preview(&page, diff, self.report).await?;
                Vec::new()
            }
        };
        for share in [&mut self.listing_rejections, &mut self.scan_rejections] {
            share.add(page.listed, page.rejected.iter().chain(&refused));
        }
        self.report.repeats.insert(&page.shown);
        self.progress = step.progress;
        Ok(())
    }

    /// The progress of the scan after this page, whose newest record time is `newest`.
    fn step_behind(&self, page: &Page, newest: Option<DateTime<Utc>>) -> PageStep {
        let mut progress = self.progress.clone();
        if progress.offset == 0 && progress.newest_change_at.is_none() {
            // If our clock is ahead of Planhat's, the scan would claim to have seen changes that are not made yet.
            progress.started_at = page.served_at.map_or(progress.started_at, |at| at.min(progress.started_at));
        }
        progress.newest_change_at = progress.newest_change_at.max(newest);
        let overlap_id = page.next.overlap_id.clone().filter(|id| !self.table.has_forgotten(id));
        (progress.offset, progress.overlap_id) = (page.next.offset.cast_signed(), overlap_id);
        let listed_ids = match self.plan.kind {
            ScanKind::Full => {
                let rejected = page.rejected.iter().filter_map(|rejected| rejected.id.as_ref());
                let listed = page.records.iter().map(|record| &record.id).chain(rejected);
                listed.filter(|id| !self.table.has_forgotten(id)).cloned().collect()
            }
            ScanKind::History | ScanKind::Backfill | ScanKind::Incremental | ScanKind::Referenced => Vec::new(),
        };
        PageStep { progress, pages: page.pages, listed_ids }
    }

    /// The rejection guard stops the scan. A resumed scan would skip the records rejected so far, and they may
    /// have no id to recognise them by, so the checkpoint is deleted and the next scan starts again.
    async fn reject_scan(&mut self, share: &RejectionShare) -> PullError {
        if let Some(checkpoint) = &mut self.checkpoint
            && let Err(source) = checkpoint.drop_scan().await
        {
            return self.store_failed(source);
        }
        let RejectionShare { listed, rejected, .. } = *share;
        PullError::Rejected { object: self.object().name, rejected, listed, reason: share.reason().to_owned() }
    }

    /// Ends the scan for now, with a checkpoint.
    pub(super) async fn interrupt(&mut self, why: Interruption) -> Result<ListingEnd, PullError> {
        if let Some(checkpoint) = &mut self.checkpoint {
            let saved = checkpoint.save_before_pause(&self.progress).await;
            saved.map_err(|source| self.store_failed(source))?;
        }
        Ok(ListingEnd::Interrupted(why))
    }

    /// What the scan has left out, all of its listings having been read: as older than the history, and not for another reason.
    fn left_out(&self) -> Option<LeftOut> {
        let before = match self.plan.window {
            Window::History { since, until: None } if self.plan.kind == ScanKind::History => since,
            Window::Incremental { history, .. } | Window::Full { history } => history,
            Window::History { .. } => return None,
        };
        // What an earlier run was shown by the first of two listings cannot be recognised in the second one.
        let counts_once = !self.plan.is_resumed() || self.object().hidden.is_none();
        counts_once.then_some(LeftOut { records: self.progress.left_out, before })
    }

    fn is_saved(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(ScanCheckpoint::is_saved)
    }

    /// Ends the scan and moves the watermark: never past the newest change listed, even if Planhat's clock is behind ours,
    /// and not at all after a scan that listed nothing, which may be a wrong answer.
    async fn finish(&mut self, saw_everything: bool) -> Result<ScanOutcome, store::StoreError> {
        let (ctx, schema, object) = (self.ctx, &self.ctx.store.schema, self.object());
        let listed_nothing = self.report.figures.listed() == self.listed_before;
        let Purpose::Store { run_id } = ctx.purpose else {
            let has_rows = listed_nothing
                && self.table.exists
                && ctx.store.read_only(async |db| store::has_live_rows(db, schema, object).await).await?;
            return Ok(if has_rows { ScanOutcome::NothingListed } else { ScanOutcome::Complete });
        };
        let Some(checkpoint) = &self.checkpoint else { return Ok(ScanOutcome::Complete) };
        let Plan { kind, start, proves, .. } = self.plan;
        let started_at = self.progress.started_at;
        let calls = self.client.calls().saturating_sub(self.calls_before).cast_signed();
        let watermark = self.progress.newest_change_at.map_or(started_at, |newest| newest.min(started_at));
        let finished = checkpoint.end_scan(async |db| {
            // A resumed scan may have listed records in an earlier run; a full scan has saved their ids.
            let saw_nothing = match (start, kind) {
                _ if !listed_nothing => false,
                (Start::Anew, _) => true,
                (Start::Resumed { .. }, ScanKind::Full) => store::some_listed_ids(&mut *db, schema, object, 1).await?.is_empty(),
                (Start::Resumed { .. }, _) => false,
            };
            if saw_nothing {
                let has_rows = store::has_live_rows(db, schema, object).await?;
                return Ok((if has_rows { ScanOutcome::NothingListed } else { ScanOutcome::Complete }, None, None));
            }
            if proves == Proves::PartOfHistory {
                let warning = "the backfill covered only a part of sync.history; the next sync loads the rest";
                let is_first = store::cursor(db, schema, object).await?.is_none();
                return Ok((ScanOutcome::Complete, None, is_first.then_some(warning)));
            }
            if kind == ScanKind::Full {
                store::end_covered_history(&mut *db, schema, object, ctx.limits.history_of(object)).await?;
            }
            if saw_everything {
                store::release_unlisted(&mut *db, schema, object, run_id).await?;
            }
            let reconciled_at = (proves == Proves::Everything).then_some(started_at);
            let full_scan_calls = reconciled_at.filter(|_| start == Start::Anew).map(|_| calls);
            let moved = store::move_cursor(db, schema, object, Cursor { watermark, reconciled_at, full_scan_calls }).await?;
            Ok((ScanOutcome::Complete, Some(moved), None))
        });
        let (outcome, moved, warning) = finished.await?;
        self.report.watermark = moved.or(self.report.watermark);
        if let Some(warning) = warning {
            self.report.warn(format!("{}: {warning}", object.name));
        }
        Ok(outcome)
    }

    pub(super) fn object(&self) -> &'static Object {
        self.client.object()
    }

    pub(super) fn store_failed(&self, source: store::StoreError) -> PullError {
        PullError::Store { object: self.object().name, source }
    }
}
