//! A listing as pages, complete and without gaps.
//!
//! ```text
//! request -> fetch -> overlap check -> end? -> accept -> next
//! ```
//!
//! Here is the story of a page. What each step decides is decided by a value that does no IO:
//!
//! ```text
//! page_size   how many rows the next page is requested with
//! prefetch    which pages are requested before it is their turn
//! overlap     whether rows may be missing before a page, and how far to step back
//! end         what a page without new records means
//! ```
//!
//! A listing ends complete, in a bounded number of calls, also while rows vanish from it with every call: pages overlap by
//! more rows then, and each page accepted is progress in the order of ids. Only a listing that changes its order from page to
//! page is an error, since no page of it joins the one before.
//!
//! Pages in flight are judged when it is their turn. The next offset follows from what was received, not from what was
//! requested, since a server may clamp `limit`.

mod end;
mod in_flight;
mod listing;
mod overlap;
mod page_entry;
mod page_size;
mod prefetch;

use planhat_model::error::{Chain, ErrorKind};
use planhat_model::record::Rejected;
use tracing::{Instrument, Span, debug, error_span, info};

use crate::api_error::ApiError;
use crate::object_client::ObjectClient;
use end::{CheckedPage, EndCheck, PageMeaning};
use in_flight::{Admission, PageInFlight};
pub use listing::{LearnedPages, Listing, Page, PageCeiling, PageSettings, Position, RowsPerPage};
use overlap::{Continuity, OverlapCheck};
use page_entry::FetchedPage;
use page_size::{AnsweredPage, LimitFailure, PageSize, TooLarge};
use prefetch::{PageRequest, Prefetch};

/// Walks a listing page by page.
#[derive(Debug)]
pub struct Pager {
    client: ObjectClient,
    listing: Listing,
    settings: PageSettings,
    position: Position,
    page_size: PageSize,
    prefetch: Prefetch<PageInFlight>,
    overlap: OverlapCheck,
    end: EndCheck,
    has_stepped_back: bool,
}

impl Pager {
    /// Reads a listing from a position on.
    pub fn new(client: &ObjectClient, listing: Listing, settings: PageSettings, position: Position) -> Pager {
        let page_size = PageSize::new(settings, client.object().max_limit, client.max_page_bytes());
        Pager {
            client: client.clone(),
            prefetch: Prefetch::new(listing.order()),
            overlap: OverlapCheck::new(settings.overlap, listing.order(), &position),
            end: EndCheck::new(page_size.limit()),
            page_size,
            listing,
            settings,
            position,
            has_stepped_back: false,
        }
    }

    /// Begins with what an earlier listing of the object has shown. Only `RowsPerPage::Auto` depends on it.
    pub fn expecting(mut self, learned: LearnedPages) -> Pager {
        self.page_size.expect(learned);
        self.end = EndCheck::new(self.page_size.limit());
        self
    }

    /// What the pages have shown so far, in addition to what was expected.
    pub fn learned(&self) -> LearnedPages {
        self.page_size.learned()
    }

    /// The next page with a new record; none at the end of the listing.
    pub async fn next(&mut self) -> Result<Option<Page>, ApiError> {
        loop {
            if EndCheck::is_endless(self.position.offset) {
                return Err(ApiError::EndlessListing { path: self.client.path(), offset: self.position.offset });
            }
            let (limit, page) = self.fetch().await?;
            if let Some(back) = self.check_overlap(&page).await? {
                self.end.on_gap(self.overlap.has_new_records(&page.entries));
                self.step_back(back);
                continue;
            }
            match self.check_end(limit, &page) {
                PageMeaning::Doubtful => {
                    debug!(path = self.client.path(), offset = self.position.offset, "an empty page: requesting it once more");
                    continue;
                }
                PageMeaning::Repeating => {
                    return Err(ApiError::RepeatingListing { path: self.client.path(), offset: self.position.offset });
                }
                // Records that were skipped last are reported before the end is.
                PageMeaning::End if self.page_size.has_oversized() => return Ok(Some(self.accept(limit, page))),
                PageMeaning::End => return Ok(None),
                PageMeaning::FullOfOneRow => {
                    self.position = self.overlap.on_known_row(&self.position, page.entries.first());
                    continue;
                }
                PageMeaning::New | PageMeaning::Known => {}
            }
            let page = self.accept(limit, page);
            if !page.is_empty() {
                self.overlap.on_returned();
                return Ok(Some(page));
            }
        }
    }

    /// Whether rows have moved up at any time, so that pages had to be read again.
    pub fn has_stepped_back(&self) -> bool {
        self.has_stepped_back
    }

    /// Whether a record is among those that were seen last.
    pub fn has_seen(&self, id: &str) -> bool {
        self.overlap.has_seen(id)
    }

    /// The next page, if it has arrived already and continues the page before without any special case.
    pub fn next_if_ready(&mut self) -> Option<Page> {
        let request = self.next_request();
        let ready = self.prefetch.next_if_is(request)?.peek()?;
        if self.page_size.has_oversized() || !self.overlap.is_plain_continuation(&self.position, &ready.entries) {
            return None;
        }
        let Some(PageInFlight::Ready(Ok(page))) = self.prefetch.take_if_is(request) else { return None };
        self.note_size(request, &page);
        // It has new records, so it is not the end.
        self.check_end(request.limit, &page);
        let page = self.accept(request.limit, page);
        self.overlap.on_returned();
        Some(page)
    }

    /// Requests the pages to come, so that they are in flight while the last one is stored. Only worth it where the
    /// listing is read on.
    pub fn prefetch(&mut self) {
        let next = self.next_request();
        let stride = u64::from(next.limit - u32::from(self.settings.overlap)).max(1);
        for request in self.prefetch.requests_ahead(next, stride) {
            if !self.request_if_free(request) {
                break;
            }
        }
    }

    fn next_request(&self) -> PageRequest {
        PageRequest { offset: self.position.offset, limit: self.page_size.limit() }
    }

    /// Requests a page behind those in flight: the next one as soon as there is room and a call for it, others only if there
    /// are both at once. Whether it has.
    ///
    /// Behind a page that has no room yet nothing is requested: what is behind it is stored later, and would keep the room that the page
    /// waits for.
    fn request_if_free(&mut self, request: PageRequest) -> bool {
        let is_next = self.prefetch.is_empty();
        let (admission, has_room) = match self.client.bytes_in_flight().try_reserve(self.page_size.expected_bytes()) {
            Some(reserved) if is_next => (Admission::Granted { reserved, permit: None }, true),
            Some(reserved) => match self.client.try_acquire() {
                permit @ Some(_) => (Admission::Granted { reserved, permit }, true),
                None => return false,
            },
            None if is_next => (self.waiting(), false),
            None => return false,
        };
        let page = self.send(request, admission);
        self.prefetch.on_requested(request, page);
        has_room
    }

    fn waiting(&self) -> Admission {
        Admission::Waits { bytes: self.page_size.expected_bytes() }
    }

    fn send(&self, request: PageRequest, admission: Admission) -> PageInFlight {
        self.page_span(request).in_scope(|| PageInFlight::request(self.client.clone(), self.query(request), admission))
    }

    /// Where a request is, for the lines of the log about it.
    fn page_span(&self, request: PageRequest) -> Span {
        error_span!("page", offset = request.offset, limit = request.limit, listing = %self.listing.name())
    }

    /// The page at the position, with the limit that it was requested with.
    async fn fetch(&mut self) -> Result<(u32, FetchedPage), ApiError> {
        loop {
            let request = self.next_request();
            let page = match self.prefetch.take_if_is(request) {
                Some(page) => page,
                None => self.send(request, self.waiting()),
            };
            match page.answer().await {
                Ok(page) => {
                    self.note_size(request, &page);
                    return Ok((request.limit, page));
                }
                Err(error @ ApiError::PageTooLarge { .. }) => self.request_less(error)?,
                Err(error) => self.request_again_with_less(request, error)?,
            }
        }
    }

    /// A request failed. Where the limit was chosen here and may be the reason, a lower one is tried.
    fn request_again_with_less(&mut self, failed: PageRequest, error: ApiError) -> Result<(), ApiError> {
        let lower = limit_failure(&error).and_then(|failure| self.page_size.on_failure(failed.limit, failure));
        let Some(limit) = lower else { return Err(error) };
        let path = self.client.path();
        info!(error = %Chain(&error), limit, "{path} did not answer to limit={}: requesting {limit} records", failed.limit);
        Ok(())
    }

    /// Continues behind a page that is too large: with fewer of its rows, or without the one that no page has room for.
    fn request_less(&mut self, error: ApiError) -> Result<(), ApiError> {
        let offset = self.position.offset;
        match self.page_size.on_page_too_large(offset) {
            TooLarge::RequestFewer { limit } => {
                debug!(path = self.client.path(), limit, "a page was too large: lowering the limit")
            }
            TooLarge::SkipRecord => self.position = Position { offset: offset + 1, overlap_id: None },
            TooLarge::GiveUp => return Err(error),
        }
        Ok(())
    }

    fn note_size(&mut self, request: PageRequest, page: &FetchedPage) {
        self.prefetch.on_page(page.bytes);
        let answered = AnsweredPage {
            offset: request.offset,
            limit: request.limit,
            rows: u32::try_from(page.entries.len()).unwrap_or(u32::MAX),
            bytes: page.bytes,
            answered_in: page.answered_in,
        };
        if let Some(limit) = self.page_size.on_page(answered) {
            debug!(path = self.client.path(), limit, "the limit of the next pages follows from the pages so far");
        }
    }

    /// Where to step back to, if rows may be missing before a page.
    async fn check_overlap(&mut self, page: &FetchedPage) -> Result<Option<Position>, ApiError> {
        let limit = self.page_size.limit();
        let mut continuity = self.overlap.on_page(&self.position, &page.entries, limit);
        if let Continuity::ProbeLastRecord { offset } = continuity {
            let found = self.probe(offset).await?;
            continuity = self.overlap.on_last_record_probed(found.entries.first(), limit);
        }
        match continuity {
            Continuity::NoGap | Continuity::ProbeLastRecord { .. } => Ok(None),
            Continuity::StepBack(position) => Ok(Some(position)),
            Continuity::UnstableOrder { offset } => Err(ApiError::UnstableOrder { path: self.client.path(), offset }),
        }
    }

    /// The row at an offset, alone.
    async fn probe(&self, offset: u64) -> Result<FetchedPage, ApiError> {
        let request = PageRequest { offset, limit: 1 };
        match self.client.list(&self.query(request)).instrument(self.page_span(request)).await {
            Ok(answer) => Ok(FetchedPage::read(answer)),
            // A record that is too large was never read, so it is not a known one.
            Err(ApiError::PageTooLarge { .. }) => Ok(FetchedPage::default()),
            Err(error) => Err(error),
        }
    }

    fn step_back(&mut self, position: Position) {
        self.position = position;
        self.has_stepped_back = true;
        self.prefetch.on_step_back();
        debug!(
            path = self.client.path(),
            offset = self.position.offset,
            "the page does not contain the overlap record: stepping back"
        );
    }

    fn check_end(&mut self, limit: u32, page: &FetchedPage) -> PageMeaning {
        self.end.on_page(CheckedPage {
            entries: &page.entries,
            limit,
            has_new_records: self.overlap.has_new_records(&page.entries),
            expects_overlap: self.position.overlap_id.is_some(),
            is_step_back: self.overlap.is_stepping_back(),
            is_furthest: self.overlap.is_furthest(&self.position),
        })
    }

    /// Takes what is new of a page, and goes to where the listing continues behind it.
    fn accept(&mut self, limit: u32, page: FetchedPage) -> Page {
        let FetchedPage { entries, served_at, reserved, .. } = page;
        self.prefetch.on_accepted(entries.len(), limit);
        self.end.on_accepted(&entries, limit);
        let rows = self.overlap.on_accepted(&self.position, entries);
        if self.overlap.rows_are_moving_up() {
            self.prefetch.on_step_back();
        }
        self.position = rows.next;
        let oversized = self.page_size.take_oversized().into_iter().map(|offset| self.oversized_at(offset));
        Page {
            pages: 1,
            records: rows.records,
            rejected: oversized.chain(rows.rejected).collect(),
            rows_moved: rows.rows_moved,
            next: self.position.clone(),
            served_at,
            reserved,
        }
    }

    /// What is reported of a record that no page has room for.
    fn oversized_at(&self, offset: u64) -> Rejected {
        let place = format!("offset {offset} of {} by {}", self.client.path(), self.listing.name());
        let reason = format!("larger than planhat.max_page_bytes ({}), at {place}", self.client.max_page_bytes());
        Rejected::of_text(format!("(not read: {place})"), reason)
    }

    fn query(&self, request: PageRequest) -> Vec<(&'static str, String)> {
        self.listing.query(self.client.object(), request.offset, request.limit)
    }
}

/// Whether a failed request may succeed with a lower limit.
fn limit_failure(error: &ApiError) -> Option<LimitFailure> {
    match error.kind() {
        ErrorKind::Answered(400 | 413 | 422) => Some(LimitFailure::Refused),
        ErrorKind::ServerError | ErrorKind::RequestTimeout | ErrorKind::NotAnswered | ErrorKind::TruncatedBody => {
            Some(LimitFailure::NotAnswered)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use planhat_model::catalog;

    use super::page_entry::entries_of;
    use super::*;
    use crate::budget::Budget;
    use crate::client::{Client, ClientConfig};
    use crate::retry::RetryPolicy;
    use crate::token::Token;

    const LIMIT: u32 = 3;

    /// A pager of projects whose requests nobody answers.
    fn pager(budget: Budget) -> Pager {
        let config = ClientConfig {
            base_url: "http://127.0.0.1:9".parse().unwrap(),
            token: Token::new(&"a-token".into()).unwrap(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(1),
            retry: RetryPolicy { times: 0, first_delay: Duration::ZERO },
            max_page_bytes: 1000,
        };
        let projects = Client::new(config, budget).unwrap().for_object(catalog::object("projects").unwrap());
        let listing = Listing { sort: "_id".to_owned(), hidden: false };
        Pager::new(&projects, listing, PageSettings { size: RowsPerPage::Fixed(LIMIT), overlap: true }, Position::default())
    }

    fn page(ids: &[&str]) -> FetchedPage {
        FetchedPage { entries: entries_of(ids.iter().map(|id| (*id, 1))), bytes: 1000, ..FetchedPage::default() }
    }

    /// A pager that has accepted a page of these ids.
    fn after(ids: &[&str]) -> Pager {
        let mut pager = pager(Budget::per_minute(0));
        pager.accept(LIMIT, page(ids));
        pager.overlap.on_returned();
        pager
    }

    /// The page that is needed next has arrived, with these ids.
    fn arrived(pager: &mut Pager, ids: &[&str]) {
        let request = pager.next_request();
        pager.prefetch.on_requested(request, PageInFlight::Ready(Ok(page(ids))));
    }

    fn ids_of(page: &Page) -> Vec<&str> {
        page.records.iter().map(|record| record.id.as_str()).collect()
    }

    /// How many of the pages that may be in flight are not.
    fn not_requested(pager: &mut Pager) -> usize {
        let next = pager.next_request();
        pager.prefetch.requests_ahead(next, 2).len()
    }

    #[test]
    fn a_page_that_has_arrived_is_taken_at_once_if_it_continues_the_one_before() {
        let mut pager = after(&["a", "b", "c"]);
        assert!(pager.next_if_ready().is_none(), "nothing has arrived");
        arrived(&mut pager, &["c", "d", "e"]);
        assert_eq!(pager.next_if_ready().as_ref().map(ids_of), Some(vec!["d", "e"]));
        assert_eq!(pager.position, Position { offset: 4, overlap_id: Some("e".to_owned()) });
    }

    #[tokio::test]
    async fn a_page_that_has_arrived_and_is_a_special_case_is_left_to_the_checks() {
        // Rows were inserted before it.
        let mut moved = after(&["a", "b", "c"]);
        arrived(&mut moved, &["b", "c", "d"]);
        assert!(moved.next_if_ready().is_none());
        assert_eq!(moved.next().await.unwrap().as_ref().map(ids_of), Some(vec!["d"]));

        // It is the end.
        let mut ended = after(&["a", "b"]);
        arrived(&mut ended, &["b"]);
        assert!(ended.next_if_ready().is_none());
        assert!(ended.next().await.unwrap().is_none());

        // A record before it was skipped, and is reported with it.
        let mut skipped = after(&["a", "b", "c"]);
        assert!((0..100).any(|_| skipped.page_size.on_page_too_large(1) == TooLarge::SkipRecord), "it is never skipped");
        arrived(&mut skipped, &["c", "d"]);
        assert!(skipped.next_if_ready().is_none());
        let page = skipped.next().await.unwrap().unwrap();
        assert_eq!((ids_of(&page), page.rejected.len()), (vec!["d"], 1));
    }

    #[tokio::test]
    async fn as_many_pages_are_requested_ahead_as_may_be_in_flight() {
        let mut pager = after(&["a", "b", "c"]);
        assert_eq!(not_requested(&mut pager), 1);
        (0..8).for_each(|_| pager.prefetch.on_accepted(LIMIT as usize, LIMIT));
        assert_eq!(not_requested(&mut pager), 3);
        pager.prefetch();
        assert_eq!(not_requested(&mut pager), 0);
    }

    #[tokio::test]
    async fn without_calls_to_spare_only_the_next_page_is_requested_ahead() {
        let mut pager = pager(Budget::per_minute(1));
        (0..8).for_each(|_| pager.prefetch.on_accepted(LIMIT as usize, LIMIT));
        pager.prefetch();
        assert_eq!(not_requested(&mut pager), 2);
    }

    #[tokio::test]
    async fn no_page_takes_the_room_that_the_page_before_it_needs() {
        for (pages_with_room, expected_in_flight) in [(0.5, 1), (1.5, 1), (2.5, 2), (9.0, 3)] {
            let mut pager = pager(Budget::per_minute(0));
            (0..8).for_each(|_| pager.prefetch.on_accepted(LIMIT as usize, LIMIT));
            let free = (pager.page_size.expected_bytes() as f64 * pages_with_room) as u64;
            let _others = pager.client.bytes_in_flight().try_reserve(crate::client::MAX_BYTES_IN_FLIGHT - free).unwrap();

            pager.prefetch();

            assert_eq!(not_requested(&mut pager), 3 - expected_in_flight, "room for {pages_with_room} pages");
        }
    }

    #[tokio::test]
    async fn a_listing_that_is_read_beyond_any_length_is_an_error() {
        let mut pager = pager(Budget::per_minute(0));
        pager.position.offset = u64::from(u32::MAX);
        assert!(matches!(pager.next().await, Err(ApiError::EndlessListing { .. })));
    }
}
