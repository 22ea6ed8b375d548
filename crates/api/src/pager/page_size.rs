//! Page size: how many rows the next page is requested with.
//!
//! Records can be huge (docs/planhat-api.md, source SB). A page that is too large is requested again with a quarter of its
//! rows. After some small pages the limit doubles, until it is the configured one again. A record for which no page has room is
//! skipped, and reported once the rows behind it were answered: only that shows that this record is too large, and not every
//! answer.

use super::listing::PageSettings;

/// Pages in a row with room for four times as much, before twice as much is requested again: so a few calls are
/// wasted wherever pages get large, and none among pages that stay large.
const SMALL_PAGES_BEFORE_GROWING: u32 = 3;
/// Records in a row that no page has room for: with more of them, the answers are probably wrong.
const MAX_OVERSIZED: usize = 3;

#[derive(Debug)]
pub(crate) struct PageSize {
    full_limit: u32,
    /// The most that is read of one answer.
    max_bytes: u64,
    limit: Limit,
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
        // With less than two rows a page could not bring both the overlap record and something new.
        let least = if settings.overlap { 2 } else { 1 };
        let full_limit = settings.size.min(max_limit).max(least);
        PageSize { full_limit, max_bytes, limit: Limit::Full, oversized: Vec::new() }
    }

    /// The limit to request the next page with.
    pub(crate) fn limit(&self) -> u32 {
        match self.limit {
            Limit::Full => self.full_limit,
            Limit::Lowered { rows, .. } => rows,
        }
    }

    /// A page was answered. The new limit, if it has grown.
    pub(crate) fn on_page(&mut self, bytes: u64) -> Option<u32> {
        let Limit::Lowered { rows, small_pages_in_a_row } = self.limit else { return None };
        let small_pages_in_a_row = if bytes <= self.max_bytes / 4 { small_pages_in_a_row + 1 } else { 0 };
        if small_pages_in_a_row < SMALL_PAGES_BEFORE_GROWING {
            self.limit = Limit::Lowered { rows, small_pages_in_a_row };
            return None;
        }
        let rows = rows.saturating_mul(2);
        self.limit = if rows >= self.full_limit { Limit::Full } else { Limit::Lowered { rows, small_pages_in_a_row: 0 } };
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

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: u64 = 1000;

    fn page_size(size: u32) -> PageSize {
        PageSize::new(PageSettings { size, overlap: true }, 2000, MAX_BYTES)
    }

    /// Feeds pages, `None` for one that is too large, and checks the limit after each.
    fn check(size: u32, pages: &[(Option<u64>, u32)]) {
        let mut page_size = page_size(size);
        for (number, (bytes, expected)) in pages.iter().enumerate() {
            match bytes {
                Some(bytes) => _ = page_size.on_page(*bytes),
                None => _ = page_size.on_page_too_large(0),
            }
            assert_eq!(page_size.limit(), *expected, "after page {number} of {pages:?}");
        }
    }

    #[test]
    fn the_limit_is_the_configured_size_within_the_maximum_of_the_object() {
        let limit = |size, overlap| PageSize::new(PageSettings { size, overlap }, 2000, MAX_BYTES).limit();
        assert_eq!([limit(100, true), limit(5000, true), limit(5000, false)], [100, 2000, 2000]);
    }

    #[test]
    fn with_an_overlap_a_page_has_two_rows_at_least() {
        let limit = |size, overlap| PageSize::new(PageSettings { size, overlap }, 2000, MAX_BYTES).limit();
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
        assert_eq!([(); 3].map(|()| page_size.on_page(0)), [None, None, Some(50)]);
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
}
