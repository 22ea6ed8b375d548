//! The proofs on which a scan reads less than all of its listings, each by a call or two.
//!
//! What was learned of a workspace may be no longer true, and may change while we read. So a listing stands for another one only if
//! its first page has the records of the other's first page, no row moved up while it was read, and the newest record of the other
//! one was in it too. And a sweep stops early only if its first page proves the order,
//! and still does when the sweep took several pages.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use planhat_api::{Listing, Page, Pager, RowsPerPage};
use planhat_model::capability::{Capability, HiddenListing};
use planhat_model::error::Chain;
use planhat_model::record::{Origin, Record};
use planhat_model::scan::{KnownOrder, SortProof, Window, judge_first_page};
use planhat_store::{self as store, ProvenCapability};
use serde_json::json;
use tracing::{debug, info};

use super::decide::Start;
use super::detect_deletions;
use super::learned::{Finding, sort_capability};
use super::listings::{Beside, PlannedListing, all_by_id, listings, time_to_learn};
use super::object_scan::{ListingEnd, ObjectScan};
use super::{PullError, Purpose};

/// Rows at the end of a listing that are looked at.
const TAIL: u32 = 10;
/// A first page with fewer rows is not followed by many others.
const LONG_PAGE: u32 = 100;

impl ObjectScan<'_> {
    /// What is still to be read, in order.
    pub(super) fn listings_to_read(&self) -> VecDeque<PlannedListing> {
        let (object, learned) = (self.object(), &self.learned);
        let mut planned = listings(object, self.plan.window, &self.ctx.limits.sorted, learned);
        if self.progress.listing == detect_deletions::LISTING {
            return VecDeque::new();
        }
        if self.progress.listing == PlannedListing::for_all().name() {
            return [PlannedListing::for_all()].into();
        }
        // Settings may have changed which listings there are.
        if let Some(position) = planned.iter().position(|planned| planned.name() == self.progress.listing) {
            return planned.split_off(position);
        }
        if self.looks_for_all_in_the_hidden_listing()
            && let Some(plain) = planned.front_mut().filter(|plain| plain.sweep.is_none() && !plain.listing.hidden)
        {
            plain.beside = Beside::OneThatMayHaveAll;
        }
        planned
    }

    /// Where it was learned that the listing with hidden records has those alone, that is asked again only when everything is
    /// compared.
    fn looks_for_all_in_the_hidden_listing(&self) -> bool {
        let is_comparison = !matches!(self.plan.window, Window::Incremental { .. });
        let may_have_all = self.learned.hidden != Some(HiddenListing::Replaces) || is_comparison;
        self.object().hidden.is_some() && self.plan.start == Start::Anew && may_have_all
    }

    /// Whether the listing with hidden records begins with the first page of the plain listing too. That of a short listing is not
    /// worth a call.
    pub(super) async fn has_all_in_the_hidden_listing(&mut self, page: &Page) -> Result<bool, PullError> {
        let full = match self.ctx.limits.pages.size {
            RowsPerPage::Fixed(rows) => rows.min(LONG_PAGE),
            RowsPerPage::Auto => LONG_PAGE,
        };
        let rows = u32::try_from(page.records.len()).unwrap_or(u32::MAX);
        if rows < full {
            return Ok(false);
        }
        let Some(hidden) = self.head(&PlannedListing::for_all().listing, rows).await else { return Ok(false) };
        let is_whole = hidden.len() < page.records.len() / 2;
        let (plain, hidden) = (ids(&page.records), ids(&hidden));
        let found = HiddenListing::of_first_pages(&plain, &hidden, is_whole);
        if let Some(found) = found.filter(|found| Some(*found) != self.learned.hidden) {
            let in_both = plain.iter().filter(|id| hidden.contains(id)).count();
            self.note_hidden_listing(found, in_both, plain.len()).await?;
        }
        Ok(found == Some(HiddenListing::Adds))
    }

    /// Notes what the parameter that asks for hidden records does. It is a warning only where something else was known.
    async fn note_hidden_listing(&mut self, found: HiddenListing, in_both: usize, listed: usize) -> Result<(), PullError> {
        let (object, parameter) = (self.object(), self.object().hidden.unwrap_or_default());
        let proof = format!("{in_both} of the first {listed} records are also listed with {parameter}=true");
        if let Some(known) = self.learned.hidden.replace(found) {
            self.report.warn(format!(
                "{}: {parameter}=true {} the other records ({proof}); so far it {} them",
                object.name,
                verb(found),
                verb(known)
            ));
        }
        let proven = ProvenCapability {
            object: object.name,
            capability: Capability::Hidden,
            value: found.as_str().to_owned(),
            detail: json!({}),
            proof,
        };
        self.save_finding(Finding::Proven(proven)).await
    }

    /// Whether a listing that was read to its end in place of the plain one has had all of that. If not, the plain one is read too.
    pub(super) async fn stood_for_all(&mut self, pager: &Pager) -> Result<bool, PullError> {
        if pager.has_stepped_back() {
            debug!("rows moved up while one listing was read for all");
            return Ok(false);
        }
        let by_id = |hidden| Listing { sort: "-_id".to_owned(), hidden };
        let Some(tail) = self.head(&by_id(false), TAIL).await else { return Ok(false) };
        let tail = ids(&tail);
        // Where the order of a sort is ignored, nothing is known of the end.
        if !tail.iter().rev().is_sorted() {
            return Ok(false);
        }
        let Some(newest) = tail.first() else { return Ok(false) };
        if pager.has_seen(newest) {
            return Ok(true);
        }
        let hidden = self.head(&by_id(true), TAIL).await;
        if hidden.is_some_and(|hidden| !ids(&hidden).contains(newest)) {
            let (object, parameter) = (self.object(), self.object().hidden.unwrap_or_default());
            let disproof = format!("the newest record is not listed with {parameter}=true");
            self.report.warn(format!("{}: {disproof}, though others are; so it is read without it too", object.name));
            self.learned.hidden = None;
            self.take_back(Capability::Hidden, &disproof).await?;
        }
        Ok(false)
    }

    /// Whether the first page of a sweep proves that the rest is no newer.
    pub(super) async fn proves_order(
        &mut self,
        planned: &Listing,
        field: &'static str,
        (records, rejected): (&[Record], usize),
        known: KnownOrder,
    ) -> Result<bool, PullError> {
        let proof = if rejected > 0 { SortProof::Unproven } else { judge_first_page(field, records, known) };
        let is_proven = match proof {
            SortProof::Proven => true,
            SortProof::Unproven => false,
            SortProof::Disproved(why) => {
                self.order_is_disproved(field, why).await?;
                false
            }
            SortProof::UnlessOldestIsNot(newest) => {
                let oldest_first = Listing { sort: field.to_owned(), hidden: planned.hidden };
                let oldest = self.head(&oldest_first, 1).await;
                oldest.is_some_and(|oldest| oldest.first().and_then(|record| record.instant(field)).is_some_and(|at| at < newest))
            }
        };
        if is_proven && let Some(newest) = records.first().and_then(|record| record.instant(field)) {
            let mut times = self.swept.or(self.learned.times).unwrap_or_default();
            times.add(planned.hidden, newest);
            times.is_honoured = true;
            self.swept = Some(times);
        }
        if !is_proven {
            info!("the order of {} by {} is not proven: reading all of it", self.object().name, planned.sort);
        }
        Ok(is_proven)
    }

    /// Whether a sweep of several pages still begins with what it began with, or something newer: the order may have changed between two
    /// of its pages.
    pub(super) async fn is_still_in_order(&self, listing: &Listing, begun_with: Option<DateTime<Utc>>) -> bool {
        let Some(field) = listing.sort.strip_prefix('-') else { return false };
        let Some(head) = self.head(listing, LONG_PAGE).await else { return false };
        let known = KnownOrder { newest: begun_with, is_honoured: true };
        begun_with.is_some() && judge_first_page(field, &head, known) == SortProof::Proven
    }

    /// A listing did not come in the order that was asked for. It is a warning only if it did before.
    pub(super) async fn order_is_disproved(&mut self, field: &str, why: &str) -> Result<(), PullError> {
        let disproof = format!("sorted by -{field}: {why}");
        let was_honoured = self.learned.times.take().is_some_and(|times| times.is_honoured);
        (self.learned.is_sort_disproved, self.swept) = (true, None);
        if self.take_back(Capability::Sort, &disproof).await? && was_honoured {
            let object = self.object().name;
            self.report.warn(format!("/{object} is no longer read newest first ({disproof}): reading all of it"));
        }
        Ok(())
    }

    /// Sweeps that have missed an edit are not relied on any more, until a comparison finds that none was missed. That is noted before the
    /// page is stored: then nothing shows any more that it was missed.
    pub(super) async fn look_for_missed_edits(&mut self, page: &Page) -> Result<(), PullError> {
        let missed = self.count_missed_edits(page).await.map_err(|source| self.store_failed(source))?;
        if missed == 0 {
            return Ok(());
        }
        let object = self.object().name;
        let disproof = "a comparison of everything has found an edit that no sweep had shown";
        self.report.warn(format!("/{object} is no longer read newest first ({disproof}): it is read to its end"));
        self.learned.times = None;
        (self.learned.is_sort_disproved, self.has_found_missed_edits) = (true, true);
        self.take_back(Capability::Sort, disproof).await.map(|_| ())
    }

    /// How many edits of a page should have been stored before this comparison, and were not.
    async fn count_missed_edits(&self, page: &Page) -> Result<u64, store::StoreError> {
        let (Some(span), Some(field)) = (&self.plan.seen_by_sweeps_alone, time_to_learn(&self.ctx.limits.sorted, self.object()))
        else {
            return Ok(0);
        };
        // A touch alone does not update a row whose time is ignored.
        let is_swept =
            self.learned.times.is_some_and(|times| times.is_honoured) && !self.table.ignored_fields.has(Origin::Property, field);
        let (Some(columns), Purpose::Store { .. }, true) = (&self.table.columns, self.ctx.purpose, is_swept) else {
            return Ok(0);
        };
        // The row of a record in quarantine is of an earlier edit, although that was seen.
        let stored = page.records.iter().filter(|record| !self.table.has_in_quarantine(&record.id));
        let edited = stored.filter_map(|record| Some((record.id.as_str(), record.instant(field)?)));
        let (ids, times): (Vec<&str>, Vec<DateTime<Utc>>) = edited.filter(|(_, at)| span.contains(at)).unzip();
        if ids.is_empty() {
            return Ok(0);
        }
        let (schema, object) = (&self.ctx.store.schema, self.object());
        let listed = store::ListedEdits { ids: &ids, times: &times };
        let counted = self
            .ctx
            .store
            .transaction(async |db| store::count_missed_edits(db, (schema, object), (columns, field), listed).await);
        counted.await
    }

    /// Planhat does not answer a listing that is asked for in an order. It is read by id then, as one whose order was never honoured:
    /// that is not tried again until everything was compared.
    pub(super) async fn do_without_order(&mut self, failure: &PullError) -> Result<ListingEnd, PullError> {
        let field = self.object().sweeps().first().copied().unwrap_or_default();
        let was_honoured = self.learned.times.is_some_and(|times| times.is_honoured);
        info!(error = %Chain(failure), "{} cannot be read newest first: reading all of it", self.object().name);
        if !was_honoured {
            self.order_is_disproved(field, &Chain(failure).to_string()).await?;
        }
        Ok(ListingEnd::OrderNotProven)
    }

    /// What the end of the scan has proven of times and orders.
    pub(super) fn finding_of_times(&self) -> Finding {
        if let Some(times) = self.swept.filter(|times| self.learned.times != Some(*times))
            && let Some(field) = self.object().sweeps().first()
        {
            let proof = format!("sorted by -{field}, the listing began with the newest record");
            return Finding::Proven(sort_capability(self.object(), field, &times, proof));
        }
        let is_incremental = matches!(self.plan.window, Window::Incremental { .. });
        if self.has_found_missed_edits || self.learned.is_sort_disproved && is_incremental {
            return Finding::Nothing;
        }
        self.times.as_ref().map_or(Finding::Nothing, |times| times.proven(self.object(), &self.learned))
    }

    pub(super) async fn save_finding(&self, finding: Finding) -> Result<(), PullError> {
        let (schema, Purpose::Store { .. }) = (&self.ctx.store.schema, self.ctx.purpose) else { return Ok(()) };
        let saved = match &finding {
            Finding::Nothing => return Ok(()),
            Finding::Proven(proven) => {
                self.ctx.store.transaction(async |db| store::save_capability(db, schema, proven).await).await
            }
            Finding::Disproved(disproof) => return self.take_back(Capability::Sort, disproof).await.map(|_| ()),
        };
        saved.map_err(|source| self.store_failed(source))
    }

    /// Whether it was believed so far.
    async fn take_back(&self, capability: Capability, disproof: &str) -> Result<bool, PullError> {
        let (schema, Purpose::Store { .. }) = (&self.ctx.store.schema, self.ctx.purpose) else { return Ok(false) };
        let object = self.object().name;
        let taken_back =
            self.ctx.store.transaction(async |db| store::disprove_capability(db, schema, object, capability, disproof).await);
        taken_back.await.map_err(|source| self.store_failed(source))
    }

    /// The first records of a listing. None where Planhat does not give them: then nothing is proven, and whoever reads the listing
    /// meets the error.
    async fn head(&self, listing: &Listing, limit: u32) -> Option<Vec<Record>> {
        let stop = self.ctx.stop;
        let head = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            head = self.client.head(listing, limit) => head,
        };
        head.inspect_err(|error| debug!(%error, "could not look at the head of {}", listing.name())).ok()
    }

    /// Everything by id: what is read where a sweep is not proven.
    pub(super) fn all_by_id(&mut self) -> VecDeque<PlannedListing> {
        self.begin_times();
        // The times are seen anew.
        let honoured = self.swept.take().is_some_and(|swept| swept.is_honoured);
        if let Some(times) = &mut self.learned.times {
            times.is_honoured |= honoured;
        }
        all_by_id(self.object())
    }
}

fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

fn verb(listing: HiddenListing) -> &'static str {
    match listing {
        HiddenListing::Adds => "adds archived records to",
        HiddenListing::Replaces => "replaces",
    }
}
