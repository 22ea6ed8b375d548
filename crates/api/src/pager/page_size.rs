//! Page size: how many rows the next page is requested with.
//!
//! ```text
//! first page -> bytes of a row -> as many rows as the bytes of a page allow -> lowered by what the server shows
//! ```
//!
//! A page may have as many rows as `planhat.page_size` says, or with `"auto"` as many as Planhat documents. How large records are
//! is known after the first page, which therefore has fewer rows; from then on a page has no more of them than fit into
//! [`TARGET_BYTES`]. The limit jumps there at once, since each step would cost a call in each object. It is moved again only if
//! pages turn out much larger or smaller, since pages that are in flight with another limit are thrown away.
//!
//! With `"auto"`, what the server shows counts too. It clamps a limit if two pages in a row are equally short: more is not requested
//! then. It refuses one with an error: then the last one that was answered is requested again, and no larger one any more. It
//! answers slowly: then fewer rows are requested.
//!
//! Records can be huge (docs/planhat-api.md, source SB). A page that is larger than the most that is read is requested again with a
//! quarter of its rows. After some small pages the limit doubles, until it is what it was before. A record for which no page has room
//! is skipped, and reported once the rows behind it were answered: only that shows that this record is too large, and not every
//! answer.

use std::time::Duration;

use super::listing::{LearnedPages, PageCeiling, PageSettings, RowsPerPage};
use super::overlap::REMEMBERED_RECORDS;

/// What a page should have at most. It takes several times as much until it is stored.
const TARGET_BYTES: u64 = 2 * 1024 * 1024;
/// With this many rows no page is too large for its bytes: so many are requested even of large records.
const SMALL_PAGE_ROWS: u32 = 100;
/// Rows of a page at most where the size of records is not known yet: a small object is read with it, and a page of large records is not
/// too large. It is no round number, as the maxima of servers are: a page that is exactly as long as requested does not show the end.
const FIRST_PAGE_ROWS: u32 = 1024;
/// What is requested instead if that is refused, or else [`SMALL_PAGE_ROWS`].
const FEWER_ROWS: u32 = 500;
/// What a row may have while that is not known.
const UNKNOWN_ROW_BYTES: u64 = 2 * 1024;
/// An answer that takes longer than this has too many rows, with `"auto"`.
const SLOW_ANSWER: Duration = Duration::from_secs(10);
/// Pages in a row with room for four times as much, before twice as much is requested again: so a few calls are
/// wasted wherever pages get large, and none among pages that stay large.
const SMALL_PAGES_BEFORE_GROWING: u32 = 3;
/// Records in a row that no page has room for: with more of them, the answers are probably wrong.
const MAX_OVERSIZED: usize = 3;

#[derive(Debug)]
pub(crate) struct PageSize {
    /// With less than two rows a page could not bring both the overlap record and something new.
    least: u32,
    /// As many rows as are set, or with `"auto"` documented; with `"auto"` no more than the server has shown to allow.
    most: u32,
    is_auto: bool,
    /// The most that is read of one answer.
    max_bytes: u64,
    /// What is requested where no page was larger than that.
    full_limit: u32,
    /// Whether the bytes of a row have decided about `full_limit`.
    is_measured: bool,
    limit: Limit,
    /// Of this listing and of earlier ones.
    learned: LearnedPages,
    /// The largest limit that was answered, and all rows and bytes, of this listing.
    largest_answered: u32,
    rows: u64,
    bytes: u64,
    last_page: Option<AnsweredPage>,
    /// Offsets of the records that were skipped since the last accepted page.
    oversized: Vec<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    /// No page was too large.
    Full,
    Lowered {
        rows: u32,
        small_pages_in_a_row: u32,
    },
}

/// A page as it was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnsweredPage {
    pub(crate) offset: u64,
    /// The limit that it was requested with.
    pub(crate) limit: u32,
    pub(crate) rows: u32,
    pub(crate) bytes: u64,
    pub(crate) answered_in: Duration,
}

/// Why a request failed that fewer rows may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitFailure {
    /// The server refuses such a limit.
    Refused,
    /// No answer in time, or none that is one: it may be another reason.
    NotAnswered,
}

/// What to do about a page that is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooLarge {
    /// Request the same rows with this lower limit.
    RequestFewer { limit: u32 },
    /// It was a single record: continue with the row behind it.
    SkipRecord,
    /// One record after the other is too large.
    GiveUp,
}

impl PageSize {
    pub(crate) fn new(settings: PageSettings, max_limit: u32, max_bytes: u64) -> PageSize {
        let least = if settings.overlap { 2 } else { 1 };
        let (most, is_auto) = match settings.size {
            RowsPerPage::Fixed(rows) => (rows, false),
            // Behind a step back the rows of a page are recognised if they are among the records that are remembered.
            RowsPerPage::Auto => (REMEMBERED_RECORDS as u32 / 2, true),
        };
        let most = most.min(max_limit).max(least);
        PageSize {
            least,
            most,
            is_auto,
            max_bytes,
            full_limit: FIRST_PAGE_ROWS.min(most),
            is_measured: false,
            limit: Limit::Full,
            learned: LearnedPages::default(),
            largest_answered: 0,
            rows: 0,
            bytes: 0,
            last_page: None,
            oversized: Vec::new(),
        }
    }

    /// What an earlier listing of the object has shown.
    pub(crate) fn expect(&mut self, learned: LearnedPages) {
        self.learned = learned;
        if !self.is_auto {
            return;
        }
        match learned.ceiling {
            Some(PageCeiling::Clamped { rows }) => self.lower_most(rows),
            Some(PageCeiling::Refused { limit } | PageCeiling::Slow { limit }) => {
                self.lower_most(learned.largest_page.unwrap_or(SMALL_PAGE_ROWS).min(limit.saturating_sub(1)));
            }
            None => {}
        }
        if let Some(bytes) = learned.bytes_per_row {
            let proven = learned.largest_page.unwrap_or(0).max(self.full_limit);
            self.full_limit = self.rows_within_target(bytes).min(proven);
        }
    }

    /// What the pages have shown so far.
    pub(crate) fn learned(&self) -> LearnedPages {
        self.learned
    }

    /// The limit to request the next page with.
    pub(crate) fn limit(&self) -> u32 {
        match self.limit {
            Limit::Full => self.full_limit,
            Limit::Lowered { rows, .. } => rows,
        }
    }

    /// What the next page will probably have.
    pub(crate) fn expected_bytes(&self) -> u64 {
        u64::from(self.limit()) * self.learned.bytes_per_row.unwrap_or(UNKNOWN_ROW_BYTES)
    }

    /// A page was answered. The new limit, if it is another one now.
    pub(crate) fn on_page(&mut self, page: AnsweredPage) -> Option<u32> {
        let before = self.limit();
        self.learn(page);
        self.adapt_to_bytes(page);
        self.grow_again(page.bytes);
        self.last_page = Some(page);
        Some(self.limit()).filter(|limit| *limit != before)
    }

    fn learn(&mut self, page: AnsweredPage) {
        self.rows += u64::from(page.rows);
        self.bytes += page.bytes;
        self.largest_answered = self.largest_answered.max(page.limit);
        // Of a few rows the average says less than what is known.
        if self.rows >= u64::from(SMALL_PAGE_ROWS) || self.learned.bytes_per_row.is_none() {
            self.learned.bytes_per_row =
                self.bytes.checked_div(self.rows).map(|bytes| bytes.max(1)).or(self.learned.bytes_per_row);
        }
        if self.is_auto && page.answered_in > SLOW_ANSWER && page.rows > SMALL_PAGE_ROWS {
            self.learned.ceiling = Some(PageCeiling::Slow { limit: page.limit });
            let in_time = f64::from(page.rows) * SLOW_ANSWER.as_secs_f64() / page.answered_in.as_secs_f64();
            self.lower_most((in_time as u32).max(SMALL_PAGE_ROWS));
        } else if page.rows >= page.limit {
            self.learned.largest_page = self.learned.largest_page.max(Some(page.rows));
        } else if self.last_page.is_some_and(|before| page.is_clamped_as(before)) {
            self.learned.ceiling = Some(PageCeiling::Clamped { rows: page.rows });
            if self.is_auto {
                self.lower_most(page.rows);
            }
        }
    }

    /// The limit follows from the bytes of a row after the first page, and where that has been far off. Only a page that was
    /// as long as requested shows that it may be longer.
    fn adapt_to_bytes(&mut self, page: AnsweredPage) {
        let Some(average) = self.learned.bytes_per_row else { return };
        let of_page = if page.rows >= SMALL_PAGE_ROWS { page.bytes / u64::from(page.rows) } else { 0 };
        let wanted = self.rows_within_target(average.max(of_page));
        let is_full = page.rows >= page.limit;
        let is_much_larger = u64::from(wanted) * 2 >= u64::from(self.full_limit) * 3;
        let is_much_smaller = u64::from(wanted) * 3 <= u64::from(self.full_limit) * 2;
        if is_much_smaller || is_full && wanted > self.full_limit && (is_much_larger || !self.is_measured) {
            self.full_limit = wanted;
        }
        self.is_measured |= is_full;
    }

    fn rows_within_target(&self, bytes_per_row: u64) -> u32 {
        let target = TARGET_BYTES.min(self.max_bytes / 2);
        let rows = u32::try_from(target / bytes_per_row.max(1)).unwrap_or(u32::MAX);
        rows.max(SMALL_PAGE_ROWS).min(self.most)
    }

    /// No page of this listing is requested with more rows than this any more.
    fn lower_most(&mut self, rows: u32) {
        self.most = self.most.min(rows.max(self.least));
        self.full_limit = self.full_limit.min(self.most);
    }

    /// After some small pages a limit that was lowered grows again.
    fn grow_again(&mut self, bytes: u64) {
        let Limit::Lowered { rows, small_pages_in_a_row } = self.limit else { return };
        let small_pages_in_a_row = if bytes <= self.max_bytes / 4 { small_pages_in_a_row + 1 } else { 0 };
        let (rows, small_pages_in_a_row) = match small_pages_in_a_row {
            SMALL_PAGES_BEFORE_GROWING.. => (rows.saturating_mul(2), 0),
            _ => (rows, small_pages_in_a_row),
        };
        self.limit = if rows >= self.full_limit { Limit::Full } else { Limit::Lowered { rows, small_pages_in_a_row } };
    }

    /// A request with this limit has failed. A lower limit to try, if that was chosen here and may be the reason.
    pub(crate) fn on_failure(&mut self, failed: u32, failure: LimitFailure) -> Option<u32> {
        let was_answered_before = self.largest_answered >= failed;
        if !self.is_auto || failure == LimitFailure::NotAnswered && was_answered_before {
            return None;
        }
        // Each attempt to get an answer at all may take a quarter of an hour, so it is not the next lower number that is tried then.
        let fewer = if failure == LimitFailure::Refused { FEWER_ROWS } else { SMALL_PAGE_ROWS };
        let lower = [self.largest_answered, fewer, SMALL_PAGE_ROWS].into_iter().filter(|rows| *rows < failed).max()?;
        if lower < self.least {
            return None;
        }
        if failure == LimitFailure::Refused {
            self.learned.ceiling = Some(PageCeiling::Refused { limit: failed });
        }
        self.lower_most(lower);
        self.limit = Limit::Full;
        Some(self.limit())
    }

    /// The page at an offset was larger than `max_bytes`.
    pub(crate) fn on_page_too_large(&mut self, offset: u64) -> TooLarge {
        if self.limit() > 1 {
            let rows = self.limit().div_ceil(4);
            self.limit = Limit::Lowered { rows, small_pages_in_a_row: 0 };
            return TooLarge::RequestFewer { limit: rows };
        }
        if self.oversized.len() >= MAX_OVERSIZED {
            return TooLarge::GiveUp;
        }
        self.oversized.push(offset);
        TooLarge::SkipRecord
    }

    /// Whether records were skipped that are not reported yet.
    pub(crate) fn has_oversized(&self) -> bool {
        !self.oversized.is_empty()
    }

    /// The offsets of the skipped records, to be reported with the page behind them.
    pub(crate) fn take_oversized(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.oversized)
    }
}

impl AnsweredPage {
    /// Whether it is as short as the page before it, so that not the end of the listing has made them short. (A page of one row
    /// may bring nothing but the overlap record.)
    fn is_clamped_as(self, before: AnsweredPage) -> bool {
        let is_short = 1 < self.rows && self.rows < self.limit;
        is_short && (before.rows, before.limit) == (self.rows, self.limit) && before.offset < self.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: u64 = 1000;

    fn page_size(size: u32) -> PageSize {
        PageSize::new(PageSettings { size: RowsPerPage::Fixed(size), overlap: true }, 2000, MAX_BYTES)
    }

    /// A page behind the others, as long as requested.
    fn full_page(page_size: &PageSize, bytes: u64) -> AnsweredPage {
        answered(page_size, page_size.limit(), bytes)
    }

    fn answered(page_size: &PageSize, rows: u32, bytes: u64) -> AnsweredPage {
        let offset = page_size.last_page.map_or(0, |before| before.offset + u64::from(before.rows) - 1);
        AnsweredPage { offset, limit: page_size.limit(), rows, bytes, answered_in: Duration::ZERO }
    }

    /// Feeds pages, `None` for one that is too large, and checks the limit after each.
    fn check(size: u32, pages: &[(Option<u64>, u32)]) {
        let mut page_size = page_size(size);
        for (number, (bytes, expected)) in pages.iter().enumerate() {
            match bytes {
                Some(bytes) => _ = page_size.on_page(full_page(&page_size, *bytes)),
                None => _ = page_size.on_page_too_large(0),
            }
            assert_eq!(page_size.limit(), *expected, "after page {number} of {pages:?}");
        }
    }

    #[test]
    fn the_limit_is_the_configured_size_within_the_maximum_of_the_object() {
        let limit =
            |size, overlap| PageSize::new(PageSettings { size: RowsPerPage::Fixed(size), overlap }, 700, MAX_BYTES).limit();
        assert_eq!([limit(100, true), limit(5000, true), limit(5000, false)], [100, 700, 700]);
    }

    #[test]
    fn with_an_overlap_a_page_has_two_rows_at_least() {
        let limit =
            |size, overlap| PageSize::new(PageSettings { size: RowsPerPage::Fixed(size), overlap }, 2000, MAX_BYTES).limit();
        assert_eq!([limit(1, true), limit(0, true), limit(1, false), limit(0, false)], [2, 2, 1, 1]);
    }

    #[test]
    fn pages_of_any_size_that_fit_leave_a_full_limit_as_it_is() {
        check(100, &[(Some(0), 100), (Some(0), 100), (Some(0), 100), (Some(1000), 100)]);
    }

    #[test]
    fn a_page_that_is_too_large_is_requested_again_with_a_quarter_of_its_rows() {
        check(100, &[(None, 25), (None, 7), (None, 2), (None, 1)]);
    }

    #[test]
    fn after_three_small_pages_in_a_row_the_limit_doubles() {
        check(
            100,
            &[(None, 25), (Some(250), 25), (Some(250), 25), (Some(250), 50), (Some(0), 50), (Some(0), 50), (Some(0), 100)],
        );
    }

    #[test]
    fn a_page_that_is_not_small_starts_the_count_again() {
        check(100, &[(None, 25), (Some(0), 25), (Some(0), 25), (Some(251), 25), (Some(0), 25), (Some(0), 25), (Some(0), 50)]);
    }

    #[test]
    fn a_page_that_is_too_large_starts_the_count_again() {
        check(100, &[(None, 25), (Some(0), 25), (Some(0), 25), (None, 7), (Some(0), 7), (Some(0), 7), (Some(0), 14)]);
    }

    #[test]
    fn the_limit_grows_to_the_configured_size_and_no_further() {
        check(3, &[(None, 1), (Some(0), 1), (Some(0), 1), (Some(0), 2), (Some(0), 2), (Some(0), 2), (Some(0), 3), (Some(0), 3)]);
    }

    #[test]
    fn a_limit_that_has_grown_is_given_back() {
        let mut page_size = page_size(100);
        page_size.on_page_too_large(0);
        assert_eq!([(); 3].map(|()| page_size.on_page(full_page(&page_size, 0))), [None, None, Some(50)]);
    }

    #[test]
    fn a_single_record_that_is_too_large_is_skipped_and_reported_once() {
        let mut page_size = page_size(2);
        assert_eq!(page_size.on_page_too_large(7), TooLarge::RequestFewer { limit: 1 });
        assert!(!page_size.has_oversized());
        assert_eq!(page_size.on_page_too_large(7), TooLarge::SkipRecord);
        assert!(page_size.has_oversized());
        assert_eq!((page_size.take_oversized(), page_size.take_oversized()), (vec![7], vec![]));
    }

    #[test]
    fn after_three_oversized_records_in_a_row_it_gives_up() {
        let mut page_size = page_size(2);
        page_size.on_page_too_large(0);
        let verdicts = [0, 1, 2, 3].map(|offset| page_size.on_page_too_large(offset));
        assert_eq!(verdicts, [TooLarge::SkipRecord, TooLarge::SkipRecord, TooLarge::SkipRecord, TooLarge::GiveUp]);
    }

    #[test]
    fn oversized_records_that_were_reported_no_longer_count() {
        let mut page_size = page_size(2);
        page_size.on_page_too_large(0);
        (0..3).for_each(|offset| _ = page_size.on_page_too_large(offset));
        page_size.take_oversized();
        assert_eq!(page_size.on_page_too_large(4), TooLarge::SkipRecord);
    }

    // ---- As many rows as their bytes allow ----

    const ROOM: u64 = 64 << 20;

    fn roomy(size: RowsPerPage, max_limit: u32) -> PageSize {
        PageSize::new(PageSettings { size, overlap: true }, max_limit, ROOM)
    }

    /// The limits of a listing of many rows of this size, by the pages that are requested first.
    fn limits(size: RowsPerPage, max_limit: u32, row_bytes: u64) -> [u32; 4] {
        let mut page_size = roomy(size, max_limit);
        std::array::from_fn(|_| {
            let limit = page_size.limit();
            page_size.on_page(full_page(&page_size, u64::from(limit) * row_bytes));
            limit
        })
    }

    #[test]
    fn after_the_first_page_the_limit_is_as_large_as_the_bytes_of_a_row_and_the_maximum_allow() {
        let target = u32::try_from(TARGET_BYTES).unwrap();
        for (size, max_limit, row_bytes, expected) in [
            (RowsPerPage::Auto, 2000, 400, [1024, 2000, 2000, 2000]),
            (RowsPerPage::Auto, 2000, 1500, [1024, target / 1500, target / 1500, target / 1500]),
            (RowsPerPage::Auto, 2000, 100_000, [1024, 100, 100, 100]),
            (RowsPerPage::Auto, 10_000, 100, [1024, 5000, 5000, 5000]),
            (RowsPerPage::Auto, 300, 400, [300; 4]),
            // A number that is set is the most.
            (RowsPerPage::Fixed(5000), 10_000, 200, [1024, 5000, 5000, 5000]),
            (RowsPerPage::Fixed(5000), 2000, 200, [1024, 2000, 2000, 2000]),
            (RowsPerPage::Fixed(5000), 5000, 8000, [1024, target / 8000, target / 8000, target / 8000]),
            (RowsPerPage::Fixed(5000), 5000, 100_000, [1024, 100, 100, 100]),
            (RowsPerPage::Fixed(100), 5000, 100_000, [100; 4]),
            (RowsPerPage::Fixed(20), 5000, 100, [20; 4]),
        ] {
            assert_eq!(limits(size, max_limit, row_bytes), expected, "{size:?} of {max_limit}, rows of {row_bytes} bytes");
        }
    }

    #[test]
    fn a_page_that_is_shorter_than_requested_says_nothing_for_larger_ones() {
        let mut page_size = roomy(RowsPerPage::Auto, 2000);
        assert_eq!(page_size.on_page(answered(&page_size, 1023, 1023 * 100)), None);
    }

    #[test]
    fn the_limit_follows_records_that_are_much_larger_or_smaller_than_those_before_and_no_others() {
        let mut page_size = roomy(RowsPerPage::Auto, 5000);
        let mut feed = |row_bytes: u64| {
            page_size.on_page(full_page(&page_size, u64::from(page_size.limit()) * row_bytes));
            page_size.limit()
        };
        let usual = feed(1000);
        assert_eq!(u64::from(usual), TARGET_BYTES / 1000);
        assert_eq!([feed(900), feed(1100), feed(1200)], [usual; 3]);
        assert_eq!(u64::from(feed(4000)), TARGET_BYTES / 4000);
        // As much as it shrank for a few, it grows only with the average.
        let grown = (0..50).map(|_| feed(500)).last().unwrap();
        assert!(grown > usual, "{grown}");
    }

    #[test]
    fn pages_have_half_of_what_is_read_of_an_answer() {
        let mut page_size = PageSize::new(PageSettings { size: RowsPerPage::Auto, overlap: true }, 5000, 1_000_000);
        page_size.on_page(full_page(&page_size, 1024 * 1000));
        assert_eq!(page_size.limit(), 500);
        page_size.on_page(full_page(&page_size, 500 * 2500));
        assert!((200..=334).contains(&page_size.limit()), "{}", page_size.limit());
    }

    // ---- What a server shows ----

    #[test]
    fn a_limit_is_clamped_if_two_pages_in_a_row_are_equally_short() {
        for (pages, expected) in [
            (&[200, 200][..], Some(200)),
            (&[200, 199, 199], Some(199)),
            (&[200], None),
            (&[200, 199], None),
            // The end, and the end again.
            (&[200, 1, 1], None),
            // Longer than it was.
            (&[1024, 2000, 2000], None),
        ] {
            let mut page_size = roomy(RowsPerPage::Auto, 2000);
            for rows in pages {
                page_size.on_page(answered(&page_size, *rows, u64::from(*rows) * 100));
            }
            let ceiling = expected.map(|rows| PageCeiling::Clamped { rows });
            assert_eq!(page_size.learned().ceiling, ceiling, "{pages:?}");
            if let Some(rows) = expected {
                assert_eq!(page_size.limit(), rows);
                // It stays there.
                page_size.on_page(full_page(&page_size, u64::from(rows)));
                assert_eq!(page_size.limit(), rows);
            }
        }
    }

    #[test]
    fn a_page_that_is_read_again_is_not_clamped() {
        let mut page_size = roomy(RowsPerPage::Auto, 2000);
        let page = answered(&page_size, 200, 200);
        page_size.on_page(page);
        page_size.on_page(page);
        assert_eq!(page_size.learned().ceiling, None);
    }

    #[test]
    fn a_number_that_is_set_is_requested_from_a_server_that_clamps_too() {
        let mut page_size = roomy(RowsPerPage::Fixed(1000), 2000);
        for _ in 0..3 {
            page_size.on_page(answered(&page_size, 200, 200 * 100));
        }
        assert_eq!((page_size.limit(), page_size.learned().ceiling), (1000, Some(PageCeiling::Clamped { rows: 200 })));
    }

    #[test]
    fn a_limit_that_is_refused_gives_way_to_one_that_was_answered_or_else_to_smaller_ones() {
        use LimitFailure::Refused;
        let mut answered_first = roomy(RowsPerPage::Auto, 2000);
        answered_first.on_page(full_page(&answered_first, 1024 * 100));
        assert_eq!(answered_first.limit(), 2000);
        assert_eq!(answered_first.on_failure(2000, Refused), Some(1024));
        assert_eq!(answered_first.learned().ceiling, Some(PageCeiling::Refused { limit: 2000 }));
        answered_first.on_page(full_page(&answered_first, 1024 * 100));
        assert_eq!(answered_first.limit(), 1024);

        let mut never_answered = roomy(RowsPerPage::Auto, 2000);
        assert_eq!([1024, 500, 100].map(|limit| never_answered.on_failure(limit, Refused)), [Some(500), Some(100), None]);
    }

    #[test]
    fn a_limit_without_an_answer_gives_way_unless_it_was_answered_before_and_is_not_called_refused() {
        use LimitFailure::NotAnswered;
        let mut page_size = roomy(RowsPerPage::Auto, 2000);
        page_size.on_page(full_page(&page_size, 1024 * 100));
        assert_eq!(page_size.on_failure(2000, NotAnswered), Some(1024));
        assert_eq!(page_size.on_failure(1024, NotAnswered), None);
        assert_eq!(page_size.learned().ceiling, None);
        let mut never_answered = roomy(RowsPerPage::Auto, 2000);
        assert_eq!([1024, 100].map(|limit| never_answered.on_failure(limit, NotAnswered)), [Some(100), None]);
    }

    #[test]
    fn a_number_that_is_set_gives_way_to_no_failure() {
        for failure in [LimitFailure::Refused, LimitFailure::NotAnswered] {
            assert_eq!(roomy(RowsPerPage::Fixed(1000), 2000).on_failure(1000, failure), None);
        }
    }

    #[test]
    fn after_a_slow_answer_fewer_rows_are_requested_with_auto() {
        for (size, seconds, expected) in [
            (RowsPerPage::Auto, 10, 2000),
            (RowsPerPage::Auto, 20, 1000),
            (RowsPerPage::Auto, 2000, 100),
            (RowsPerPage::Fixed(2000), 2000, 2000),
        ] {
            let mut page_size = roomy(size, 2000);
            page_size.on_page(full_page(&page_size, 1024 * 100));
            let slow = full_page(&page_size, 2000 * 100);
            page_size.on_page(AnsweredPage { answered_in: Duration::from_secs(seconds), ..slow });
            assert_eq!(page_size.limit(), expected, "{size:?} after {seconds} s");
            let is_slow = page_size.learned().ceiling == Some(PageCeiling::Slow { limit: 2000 });
            assert_eq!(is_slow, expected < 2000);
        }
    }

    // ---- What an earlier listing has shown ----

    #[test]
    fn a_listing_begins_with_what_an_earlier_one_has_shown() {
        let rows = |rows| Some(PageCeiling::Clamped { rows });
        let refused = |limit| Some(PageCeiling::Refused { limit });
        let slow = |limit| Some(PageCeiling::Slow { limit });
        for (largest_page, ceiling, bytes_per_row, expected) in [
            (None, None, None, 1024),
            (Some(1800), None, Some(400), 1800),
            (Some(1800), None, Some(15_000), u32::try_from(TARGET_BYTES / 15_000).unwrap()),
            // Never more than was proven.
            (None, None, Some(400), 1024),
            (Some(200), None, Some(400), 1024),
            (Some(5000), None, Some(400), 2000),
            (None, rows(200), Some(400), 200),
            (Some(1800), refused(1801), Some(400), 1800),
            (Some(1800), refused(1000), Some(400), 999),
            (Some(100), refused(500), Some(400), 100),
            (None, refused(500), Some(400), 100),
            (Some(1000), slow(2000), Some(400), 1000),
        ] {
            let learned = LearnedPages { largest_page, ceiling, bytes_per_row };
            let mut page_size = roomy(RowsPerPage::Auto, 2000);
            page_size.expect(learned);
            assert_eq!(page_size.limit(), expected, "{learned:?}");
            assert_eq!(page_size.learned(), learned);
            let mut fixed = roomy(RowsPerPage::Fixed(700), 2000);
            fixed.expect(learned);
            assert_eq!(fixed.limit(), 700, "{learned:?}");
        }
    }

    #[test]
    fn what_was_learned_is_passed_on_by_a_listing_that_shows_no_row() {
        let learned = LearnedPages { largest_page: Some(1800), ceiling: None, bytes_per_row: Some(400) };
        let mut page_size = roomy(RowsPerPage::Auto, 2000);
        page_size.expect(learned);
        page_size.on_page(answered(&page_size, 0, 2));
        assert_eq!(page_size.learned(), learned);
    }

    #[test]
    fn the_bytes_of_a_page_are_expected_by_its_limit_and_the_bytes_of_a_row() {
        let mut page_size = roomy(RowsPerPage::Fixed(100), 2000);
        assert_eq!(page_size.expected_bytes(), 100 * UNKNOWN_ROW_BYTES);
        page_size.on_page(full_page(&page_size, 100 * 700));
        assert_eq!(page_size.expected_bytes(), 100 * 700);
    }
}
