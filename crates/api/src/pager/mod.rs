//! A listing as pages, complete and without seams.
//!
//! The API pages by row number over live data: when rows before our offset are deleted, the rest moves
//! up and a record slips by unseen. So every page overlaps the one before by a row, the *seam*. A page
//! that neither holds the seam nor begins with a record already seen may have a gap before it, and we
//! step back until one does. The next offset follows from what was received, not from what was asked,
//! since a server may clamp `limit`; and a listing ends with the page that brings no new record, since
//! a short page may not be the last.
//!
//! A page that is too big is asked for again in smaller portions, and a record that is too big by itself is left
//! out and reported, once a row behind it was answered. Where pages are small again, the portions grow again. Where
//! a page holds a single row, the row behind it is looked at again in place of a seam.
//!
//! While one page is stored the next ones are on their way, see `ahead`. They are judged when it is their turn.
//!
//! This is sound where the order of rows does not change under us: by `_id`, always. In a sweep by
//! time, rows that move down without being deleted can still hide one behind them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use tracing::{Instrument, Span, debug, error_span};

mod prefetch;

use crate::api_error::ApiError;
use crate::client::Client;
use planhat_model::catalog::Object;
use planhat_model::record::{Record, Rejected};
use prefetch::{FetchedPage, PageEntry, PageRequest, Prefetch, allowed_in_flight, hash_of_id};

/// Ids that are remembered to recognise a seam. Only an insertion of more records than this between
/// two pages makes us read some pages twice.
const REMEMBERED_RECORDS: usize = 10_000;
/// Steps back without getting any further before the order of a listing counts as unstable.
const MAX_STEPS_BACK: u32 = 40;
/// So many steps back are page by page, so that none is left out; then they double.
const SMALL_STEPS_BACK: u32 = 8;
/// Times the very same page may come again before a listing counts as repeating itself: once can be
/// chance, when as many rows were inserted before it.
const MAX_REPEATED_PAGES: u32 = 2;
/// Rows that are in order by chance once in a few million times.
const MIN_ROWS_TO_TRUST_ORDER: usize = 10;
/// Pages in a row with room for four times as much, before twice as much is asked for again: so a few calls are in
/// vain wherever pages get big, and none among pages that stay big.
const SMALL_PAGES_BEFORE_GROWING: u32 = 3;
/// Records in a row that no page has room for: where there are more, it is rather the answers that are wrong.
const MAX_OVERSIZED: usize = 3;
/// The order in which rows stay where they are.
const BY_ID: &str = "_id";
/// No workspace has so many records of a kind.
const MAX_OFFSET: u64 = 100_000_000;

/// Which records are listed, in which order.
#[derive(Debug, Clone)]
pub struct Listing {
    pub object: &'static Object,
    /// As the API takes it: a property, with `-` in front for descending.
    pub sort: String,
    /// Ask for the records that are only listed on request.
    pub hidden: bool,
}

impl Listing {
    /// What tells it from the object's other listings, e.g. `-lastTouch, with hidden ones`.
    pub fn name(&self) -> String {
        let hidden = if self.hidden { ", with hidden ones" } else { "" };
        format!("{}{hidden}", self.sort)
    }
}

/// How far a listing has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    pub offset: u64,
    /// The record that the page at `offset` has to begin with; none where no seam is expected.
    pub overlap_id: Option<String>,
}

/// The new records of one page, or of some that came together.
#[derive(Debug)]
pub struct Page {
    pub pages: u32,
    pub records: Vec<Record>,
    pub rejected: Vec<Rejected>,
    /// Rows had moved, so this page begins somewhere before the end of the last one.
    pub rows_moved: bool,
    /// Where the listing goes on after this page.
    pub next: Position,
    /// The time at Planhat when it answered, if it says so.
    pub served_at: Option<DateTime<Utc>>,
}

/// Walks a listing page by page.
#[derive(Debug)]
pub struct Pager<'a> {
    client: &'a Client,
    listing: Listing,
    prefetch: Prefetch,
    limit: u32,
    /// What the limit is where no page is too big.
    full_limit: u32,
    /// Pages in a row that were as long as they were asked for.
    full_pages: u32,
    /// What the last page came in.
    last_bytes: u64,
    /// Pages in a row that were small at a lowered limit.
    small_pages_in_a_row: u32,
    /// Records that no page had room for, on the way to the next page.
    oversized: Vec<Rejected>,
    overlap: bool,
    position: Position,
    /// The last record that was read and its place, for where no seam is expected.
    last_record: Option<(u64, String)>,
    recent: RecentRecords,
    furthest: u64,
    steps_back: u32,
    steps_back_in_a_row: u32,
    /// Rows have moved since the last page that was handed out.
    rows_moved: bool,
    last_page: Vec<u64>,
    /// The limit that the last page was asked for with.
    last_limit: u32,
    /// Rows of the longest page but the last one.
    longest_earlier_page: usize,
    repeated_pages: u32,
    /// Pages in a row of a single row that was seen before.
    known_single_rows: u32,
    /// Rows in a row that were all seen before.
    known_rows_in_a_row: usize,
    calls: &'a Arc<AtomicU64>,
}

impl<'a> Pager<'a> {
    /// `overlap` turns the seams on; every request adds one to `calls`.
    pub fn new(
        client: &'a Client,
        listing: Listing,
        page_size: u32,
        overlap: bool,
        position: Position,
        calls: &'a Arc<AtomicU64>,
    ) -> Pager<'a> {
        // With less than two rows a page could not bring both the seam and something new.
        let limit = page_size.min(listing.object.max_limit).max(if overlap { 2 } else { 1 });
        let mut recent = RecentRecords::default();
        if let Some(id) = &position.overlap_id {
            recent.remember(hash_of_id(id), 0);
        }
        Pager {
            client,
            listing,
            prefetch: Prefetch::default(),
            limit,
            full_limit: limit,
            full_pages: 0,
            last_bytes: 0,
            small_pages_in_a_row: 0,
            oversized: Vec::new(),
            overlap,
            furthest: position.offset,
            position,
            last_record: None,
            recent,
            steps_back: 0,
            steps_back_in_a_row: 0,
            rows_moved: false,
            last_page: Vec::new(),
            last_limit: limit,
            longest_earlier_page: 0,
            repeated_pages: 0,
            known_single_rows: 0,
            known_rows_in_a_row: 0,
            calls,
        }
    }

    /// The next page that has something new, or none at the end of the listing.
    pub async fn next(&mut self) -> Result<Option<Page>, ApiError> {
        loop {
            if self.position.offset > MAX_OFFSET {
                return Err(ApiError::EndlessListing { path: self.path(), offset: self.position.offset });
            }
            let (requested, FetchedPage { entries, served_at, .. }) = self.fetch().await?;
            if self.position.overlap_id.is_some() && !self.contains_overlap(&entries) {
                self.step_back()?;
                continue;
            }
            if self.position.overlap_id.is_none() && !self.last_record_is_in_place().await? {
                self.step_back()?;
                continue;
            }
            let has_new_records = !self.recent.contains_all(&entries);
            if !has_new_records && entries.len() <= 1 {
                let is_the_end = match self.position.overlap_id {
                    Some(_) => !self.server_may_shorten_pages(requested),
                    // A row that was inserted before brings the last one again, but not without end.
                    None => {
                        entries.is_empty()
                            || self.known_single_rows >= MAX_REPEATED_PAGES && self.position.offset >= self.furthest
                    }
                };
                if is_the_end && self.oversized.is_empty() {
                    return Ok(None);
                }
                if is_the_end {
                    return Ok(Some(self.accept(entries, requested, served_at)));
                }
                // With a single row to a page the seam fills it: what follows is on the next one.
                self.known_single_rows += u32::from(self.position.overlap_id.is_none());
                if let Some(id) = entries.into_iter().next().and_then(|only| only.id) {
                    self.last_record = Some((self.position.offset, id));
                }
                self.position = Position { offset: self.position.offset + 1, overlap_id: None };
                continue;
            }
            if !has_new_records {
                self.check_for_loop(&entries)?;
            }
            let page = self.accept(entries, requested, served_at);
            if has_new_records {
                (self.repeated_pages, self.known_rows_in_a_row) = (0, 0);
            }
            if has_new_records || !page.records.is_empty() || !page.rejected.is_empty() {
                self.rows_moved = false;
                return Ok(Some(page));
            }
        }
    }

    /// Where pages hold a single row there is no seam. So the row behind the last page is looked at again: as long as it
    /// has been seen before, those behind it have not moved up.
    async fn last_record_is_in_place(&mut self) -> Result<bool, ApiError> {
        let Some((last_record, id)) = self.last_record.as_ref().filter(|_| self.overlap) else { return Ok(true) };
        let requested = PageRequest { offset: *last_record, limit: 1 };
        let query = self.query(requested);
        let answer = self.client.list(self.listing.object.name, &query, self.calls).instrument(self.page_span(requested));
        let is_in_place = match answer.await.map(FetchedPage::read) {
            Ok(answer) => answer.entries.first().is_some_and(|first| self.recent.contains(first.key)),
            // It would not have been read.
            Err(ApiError::PageTooLarge { .. }) => false,
            Err(error) => return Err(error),
        };
        if !is_in_place {
            self.position = Position { offset: *last_record, overlap_id: Some(id.clone()) };
        }
        Ok(is_in_place)
    }

    /// The page after that, if it is here already and there is nothing unusual about it.
    pub fn next_if_ready(&mut self) -> Option<Page> {
        let requested = PageRequest { offset: self.position.offset, limit: self.limit };
        if !self.prefetch.keep_if_next_is(requested) || !self.oversized.is_empty() {
            return None;
        }
        let FetchedPage { entries, .. } = self.prefetch.peek_ready()?;
        let begins_with_overlap = entries.first().is_some_and(|first| first.id.is_some() && first.id == self.position.overlap_id);
        if !begins_with_overlap || self.recent.contains_all(entries) {
            return None;
        }
        let FetchedPage { entries, bytes, served_at } = self.prefetch.next().now_or_never()??.ok()?;
        self.last_bytes = bytes;
        self.grow_limit(bytes);
        (self.repeated_pages, self.known_rows_in_a_row) = (0, 0);
        let page = self.accept(entries, requested.limit, served_at);
        self.rows_moved = false;
        Some(page)
    }

    /// Asks for the pages to come, so that they are on their way while the last one is stored. Only worth it where the
    /// listing is read on.
    pub fn prefetch(&mut self) {
        let mut requested = PageRequest { offset: self.position.offset, limit: self.limit };
        self.prefetch.keep_if_next_is(requested);
        let stride = u64::from(self.limit - u32::from(self.overlap)).max(1);
        for place in 0..self.pages_in_flight() {
            if place as usize >= self.prefetch.len() && !self.request_page(requested) {
                break;
            }
            requested.offset += stride;
        }
    }

    /// In the order of ids rows do not move, so a later page may well be served before an earlier one. In a sweep it may
    /// not: and most sweeps end soon.
    fn pages_in_flight(&self) -> u32 {
        if self.listing.sort == BY_ID { allowed_in_flight(self.full_pages, self.last_bytes) } else { 1 }
    }

    fn request_page(&mut self, requested: PageRequest) -> bool {
        let query = self.query(requested);
        self.page_span(requested)
            .in_scope(|| self.prefetch.request_page(self.client, self.listing.object.name, requested, query, self.calls))
    }

    /// Where a request is, for the lines of the log about it.
    fn page_span(&self, requested: PageRequest) -> Span {
        error_span!("page", offset = requested.offset, limit = requested.limit, listing = %self.listing.name())
    }

    /// Whether a page of one row says nothing about the end: the page before was as long as the server makes
    /// them, and it may make them shorter from one moment to the next.
    fn server_may_shorten_pages(&self, requested: u32) -> bool {
        let rows = self.last_page.len();
        rows <= 1 || rows >= requested.min(self.last_limit) as usize || rows == self.longest_earlier_page
    }

    /// A page without anything new is fine after an insertion before it or a step back, but not for
    /// ever: what was seen longer ago than we remember would look new.
    fn check_for_loop(&mut self, entries: &[PageEntry]) -> Result<(), ApiError> {
        let is_last_page = self.last_page.iter().copied().eq(entries.iter().map(|entry| entry.key));
        self.repeated_pages = if is_last_page && self.steps_back_in_a_row == 0 { self.repeated_pages + 1 } else { 0 };
        self.known_rows_in_a_row += entries.len();
        if self.repeated_pages >= MAX_REPEATED_PAGES || self.known_rows_in_a_row > 2 * REMEMBERED_RECORDS {
            return Err(ApiError::RepeatingListing { path: self.path(), offset: self.position.offset });
        }
        Ok(())
    }

    /// The page at the position, with the limit that it was asked for with: records can be huge (source SB), but the
    /// same rows in smaller portions are fine.
    async fn fetch(&mut self) -> Result<(u32, FetchedPage), ApiError> {
        loop {
            let requested = PageRequest { offset: self.position.offset, limit: self.limit };
            if !self.prefetch.keep_if_next_is(requested) {
                self.request_page(requested);
            }
            let Some(answer) = self.prefetch.next().await else { continue };
            match answer {
                Err(ApiError::PageTooLarge { .. }) if self.limit > 1 => {
                    (self.limit, self.small_pages_in_a_row) = (self.limit.div_ceil(4), 0);
                    debug!(path = self.path(), limit = self.limit, "a page was too big: asking for less");
                }
                Err(ApiError::PageTooLarge { .. }) if self.oversized.len() < MAX_OVERSIZED => self.skip_oversized_record(),
                Err(error) => return Err(error),
                Ok(answer) => {
                    self.last_bytes = answer.bytes;
                    self.grow_limit(answer.bytes);
                    return Ok((requested.limit, answer));
                }
            }
        }
    }

    /// Doubles a lowered limit after some pages in a row that had room for that and more.
    fn grow_limit(&mut self, bytes: u64) {
        if self.limit == self.full_limit {
            return;
        }
        self.small_pages_in_a_row = if bytes <= self.client.max_page_bytes() / 4 { self.small_pages_in_a_row + 1 } else { 0 };
        if self.small_pages_in_a_row >= SMALL_PAGES_BEFORE_GROWING {
            (self.limit, self.small_pages_in_a_row) = (self.limit.saturating_mul(2).min(self.full_limit), 0);
            debug!(path = self.path(), limit = self.limit, "pages are small again: asking for more");
        }
    }

    /// Goes past a record that no page has room for. That it is the record, and not any answer at all, shows
    /// when the rows behind it are answered: only with their page it is reported.
    fn skip_oversized_record(&mut self) {
        let (offset, max) = (self.position.offset, self.client.max_page_bytes());
        let place = format!("offset {offset} of {} by {}", self.path(), self.listing.name());
        let reason = format!("larger than planhat.max_page_bytes ({max}), at {place}");
        self.oversized.push(Rejected::of_text(format!("(not read: {place})"), reason));
        self.position = Position { offset: offset + 1, overlap_id: None };
    }

    fn query(&self, requested: PageRequest) -> Vec<(&'static str, String)> {
        let mut query = vec![
            ("limit", requested.limit.to_string()),
            ("offset", requested.offset.to_string()),
            ("sort", self.listing.sort.clone()),
        ];
        if let Some(parameter) = self.listing.object.hidden.filter(|_| self.listing.hidden) {
            query.push((parameter, "true".to_owned()));
        }
        query
    }

    /// Whether nothing can be missing between the page before and this one.
    fn contains_overlap(&self, entries: &[PageEntry]) -> bool {
        let overlap_id = self.position.overlap_id.as_deref().map(hash_of_id);
        entries.first().is_some_and(|first| self.recent.contains(first.key))
            || entries.iter().any(|entry| Some(entry.key) == overlap_id)
            || self.begins_before_overlap_record(entries)
    }

    /// In the order of ids rows do not move, so a page that begins before the place of a seam that is gone
    /// leaves nothing out. That the listing is in this order is seen by the page itself.
    fn begins_before_overlap_record(&self, entries: &[PageEntry]) -> bool {
        let ids: Option<Vec<&str>> = entries.iter().map(|entry| entry.id.as_deref()).collect();
        let (Some(ids), Some(overlap_id)) = (ids, self.position.overlap_id.as_deref()) else { return false };
        let in_order = ids.len() >= MIN_ROWS_TO_TRUST_ORDER && ids.is_sorted_by(|one, next| one < next);
        self.listing.sort == BY_ID && in_order && ids.first().is_some_and(|first| *first <= overlap_id)
    }

    fn step_back(&mut self) -> Result<(), ApiError> {
        if self.steps_back >= MAX_STEPS_BACK {
            return Err(ApiError::UnstableOrder { path: self.path(), offset: self.position.offset });
        }
        self.steps_back += 1;
        self.full_pages = 0;
        let rows = u64::from(self.limit) << self.steps_back_in_a_row.saturating_sub(SMALL_STEPS_BACK);
        self.steps_back_in_a_row += 1;
        self.position.offset = self.position.offset.saturating_sub(rows);
        if self.position.offset == 0 {
            self.position.overlap_id = None;
        }
        self.last_record = None;
        debug!(path = self.path(), offset = self.position.offset, "rows moved up: stepping back");
        Ok(())
    }

    fn accept(&mut self, entries: Vec<PageEntry>, requested: u32, served_at: Option<DateTime<Utc>>) -> Page {
        let overlap_id = self.position.overlap_id.as_deref().map(hash_of_id);
        let begins_with_overlap = entries.first().is_some_and(|first| Some(first.key) == overlap_id);
        let overlap_is_unchanged =
            begins_with_overlap && entries.first().is_some_and(|first| self.recent.contains_version(first));
        // Pages that were on their way side by side may have been served in any order, so which of two versions of the
        // row that they share is the later one cannot be told. The first will do: what is edited after a scan began is
        // for the next one.
        let shared = usize::from(begins_with_overlap && self.listing.sort == BY_ID && self.recent.was_returned(overlap_id));
        self.rows_moved |= overlap_id.is_some() && !overlap_is_unchanged || self.steps_back_in_a_row > 0;
        (self.steps_back_in_a_row, self.known_single_rows) = (0, 0);
        self.full_pages = if entries.len() == requested as usize { self.full_pages + 1 } else { 0 };
        self.longest_earlier_page = self.longest_earlier_page.max(self.last_page.len());
        self.last_page = entries.iter().map(|entry| entry.key).collect();
        self.last_limit = requested;
        let last = entries.iter().enumerate().rev().find_map(|(index, entry)| Some((index, entry.id.clone()?)));
        self.last_record = last.map(|(index, id)| (self.position.offset + index as u64, id));
        self.position = self.position_after(&entries);
        let (mut records, mut rejected) = (Vec::with_capacity(entries.len()), std::mem::take(&mut self.oversized));
        for entry in entries.into_iter().skip(shared) {
            // In a sweep, the row that pages share is dropped unless it was edited between the two.
            if self.recent.remember(entry.key, entry.content) {
                continue;
            }
            match entry.parsed {
                Ok(record) => records.push(record),
                Err(reason) => rejected.push(reason),
            }
        }
        if self.position.offset > self.furthest {
            self.furthest = self.position.offset;
            self.steps_back = 0;
        }
        Page { pages: 1, records, rejected, rows_moved: self.rows_moved, next: self.position.clone(), served_at }
    }

    /// The next page begins with the last record of this one that can be recognised by its id.
    fn position_after(&self, entries: &[PageEntry]) -> Position {
        let last = entries.iter().rposition(|entry| entry.id.is_some()).filter(|index| self.overlap && *index > 0);
        let rows = last.unwrap_or(entries.len());
        Position { offset: self.position.offset + rows as u64, overlap_id: last.and_then(|index| entries[index].id.clone()) }
    }

    fn path(&self) -> String {
        format!("/{}", self.listing.object.name)
    }
}

impl Page {
    /// Puts the page that follows behind this one.
    pub fn append(&mut self, mut following: Page) {
        self.pages += following.pages;
        self.records.append(&mut following.records);
        self.rejected.append(&mut following.rejected);
        self.rows_moved |= following.rows_moved;
        self.next = following.next;
    }
}

/// The records seen last: who they were and what they held.
#[derive(Debug, Default)]
struct RecentRecords {
    content: HashMap<u64, u64, RandomState>,
    oldest_first: VecDeque<u64>,
}

impl RecentRecords {
    fn contains(&self, key: u64) -> bool {
        self.content.contains_key(&key)
    }

    fn contains_all(&self, entries: &[PageEntry]) -> bool {
        entries.iter().all(|entry| self.contains(entry.key))
    }

    fn contains_version(&self, entry: &PageEntry) -> bool {
        self.content.get(&entry.key) == Some(&entry.content)
    }

    /// Whether a record was not merely known to come next.
    fn was_returned(&self, key: Option<u64>) -> bool {
        key.and_then(|key| self.content.get(&key)).is_some_and(|content| *content != 0)
    }

    /// Remembers a record; true if it was known with the same content.
    fn remember(&mut self, key: u64, content: u64) -> bool {
        match self.content.insert(key, content) {
            Some(before) => before == content,
            None => {
                self.oldest_first.push_back(key);
                if self.oldest_first.len() > REMEMBERED_RECORDS
                    && let Some(forgotten) = self.oldest_first.pop_front()
                {
                    self.content.remove(&forgotten);
                }
                false
            }
        }
    }
}
