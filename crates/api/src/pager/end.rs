//! End of a listing: what a page without new records means.
//!
//! The API does not say how long a listing is, and a short page may not be the last, since a server may clamp `limit`.
//! So a listing ends with a page that brings nothing but the overlap record, or nothing at all. Other pages without new
//! records come after an insertion before the page or after a step back: reading continues behind them, but not for
//! ever, since a server may also list the same records again and again.

use super::page_entry::PageEntry;

/// How many times the same page may come again before the listing counts as repeating itself. Once can be chance, when
/// as many rows as a page has were inserted before it.
const MAX_REPEATED_PAGES: u32 = 2;
/// How many known rows may come in a row: twice what the overlap check remembers. What was seen longer ago than that
/// looks new, so a loop must be noticed before.
const MAX_KNOWN_ROWS_IN_A_ROW: usize = 2 * super::overlap::REMEMBERED_RECORDS;
/// No workspace has this many records of a kind.
const MAX_OFFSET: u64 = 100_000_000;

/// What it knows of the pages before.
#[derive(Debug)]
pub(crate) struct EndCheck {
    /// The keys of the last accepted page.
    last_page: Vec<u64>,
    /// The limit that the last accepted page was requested with.
    last_limit: u32,
    /// Rows of the longest page but the last one.
    longest_earlier_page: usize,
    repeated_pages: u32,
    /// Pages in a row of a single known row.
    known_single_rows: u32,
    /// Rows in a row that were all known.
    known_rows_in_a_row: usize,
}

/// A page that leaves no gap, and what the overlap check knows about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedPage<'a> {
    pub(crate) entries: &'a [PageEntry],
    /// The limit that it was requested with.
    pub(crate) limit: u32,
    pub(crate) has_new_records: bool,
    /// Whether it had to contain an overlap record.
    pub(crate) expects_overlap: bool,
    /// Whether it is read again after a step back.
    pub(crate) is_step_back: bool,
    /// Whether no page further on in the listing was accepted.
    pub(crate) is_furthest: bool,
}

/// What a page means for the end of its listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PageMeaning {
    /// It has new records.
    New,
    /// Its rows are known, or the same again; there may be new ones behind them.
    Known,
    /// A single known row fills it: continue with the row behind it.
    FullOfOneRow,
    /// The listing ends here.
    End,
    /// The server lists the same records again and again.
    Repeating,
}

impl EndCheck {
    /// For a listing whose first page is requested with this limit.
    pub(crate) fn new(limit: u32) -> EndCheck {
        EndCheck {
            last_page: Vec::new(),
            last_limit: limit,
            longest_earlier_page: 0,
            repeated_pages: 0,
            known_single_rows: 0,
            known_rows_in_a_row: 0,
        }
    }

    /// Whether no listing is this long.
    pub(crate) fn is_endless(offset: u64) -> bool {
        offset > MAX_OFFSET
    }

    /// What a page means that leaves no gap.
    pub(crate) fn on_page(&mut self, page: CheckedPage<'_>) -> PageMeaning {
        if page.has_new_records {
            (self.repeated_pages, self.known_rows_in_a_row) = (0, 0);
            return PageMeaning::New;
        }
        if page.entries.len() > 1 {
            return self.check_for_loop(page);
        }
        if self.ends_with(page) {
            return PageMeaning::End;
        }
        self.known_single_rows += u32::from(!page.expects_overlap);
        PageMeaning::FullOfOneRow
    }

    /// The page was accepted: reading continues behind it.
    pub(crate) fn on_accepted(&mut self, entries: &[PageEntry], limit: u32) {
        self.longest_earlier_page = self.longest_earlier_page.max(self.last_page.len());
        self.last_page.clear();
        self.last_page.extend(entries.iter().map(|entry| entry.key));
        self.last_limit = limit;
        self.known_single_rows = 0;
    }

    /// Whether a page of at most one row, which is known, is the end.
    fn ends_with(&self, page: CheckedPage<'_>) -> bool {
        if page.expects_overlap {
            return !self.server_may_shorten_pages(page.limit);
        }
        // An insertion before the last row makes it appear again, but not without end.
        page.entries.is_empty() || self.known_single_rows >= MAX_REPEATED_PAGES && page.is_furthest
    }

    /// Whether a page of one row may not be the end: the page before was as long as the server allows, and the server may
    /// lower its maximum at any time.
    fn server_may_shorten_pages(&self, limit: u32) -> bool {
        let rows = self.last_page.len();
        rows <= 1 || rows >= limit.min(self.last_limit) as usize || rows == self.longest_earlier_page
    }

    /// A page without new records is fine after an insertion before it or a step back, but not for ever.
    fn check_for_loop(&mut self, page: CheckedPage<'_>) -> PageMeaning {
        let is_last_page = self.last_page.iter().copied().eq(page.entries.iter().map(|entry| entry.key));
        self.repeated_pages = if is_last_page && !page.is_step_back { self.repeated_pages + 1 } else { 0 };
        self.known_rows_in_a_row += page.entries.len();
        if self.repeated_pages >= MAX_REPEATED_PAGES || self.known_rows_in_a_row > MAX_KNOWN_ROWS_IN_A_ROW {
            PageMeaning::Repeating
        } else {
            PageMeaning::Known
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page_entry::entries_of;
    use super::*;

    /// An end check behind pages of these lengths, each requested with a limit of 10.
    fn after(lengths: &[usize]) -> EndCheck {
        let mut check = EndCheck::new(10);
        for length in lengths {
            check.on_accepted(&rows(0..*length), 10);
        }
        check
    }

    fn rows(numbers: std::ops::Range<usize>) -> Vec<PageEntry> {
        let ids: Vec<String> = numbers.map(|number| format!("{number:05}")).collect();
        entries_of(ids.iter().map(|id| (id.as_str(), 1)))
    }

    /// A page of known rows behind an overlap record, as usual.
    fn known(entries: &[PageEntry]) -> CheckedPage<'_> {
        CheckedPage { entries, limit: 10, has_new_records: false, expects_overlap: true, is_step_back: false, is_furthest: true }
    }

    #[test]
    fn a_page_with_new_records_is_never_the_end() {
        for entries in [rows(0..1), rows(0..2), rows(0..10)] {
            assert_eq!(after(&[10, 3]).on_page(CheckedPage { has_new_records: true, ..known(&entries) }), PageMeaning::New);
        }
    }

    #[test]
    fn the_overlap_record_alone_is_the_end_unless_the_page_before_was_as_long_as_pages_get() {
        let one = rows(0..1);
        for (lengths, limit, expected) in [
            (&[10, 4][..], 10, PageMeaning::End),
            (&[10, 10, 9], 10, PageMeaning::End),
            (&[4], 10, PageMeaning::End),
            // As long as requested.
            (&[10], 10, PageMeaning::FullOfOneRow),
            (&[9, 10], 10, PageMeaning::FullOfOneRow),
            // As long as requested now, with a lower limit.
            (&[10, 4], 4, PageMeaning::FullOfOneRow),
            // As long as another page before: the server may clamp the limit to that.
            (&[7, 7], 10, PageMeaning::FullOfOneRow),
            // Shorter than another page before.
            (&[7, 6], 10, PageMeaning::End),
            // Pages of one row say nothing.
            (&[10, 1], 10, PageMeaning::FullOfOneRow),
            (&[], 10, PageMeaning::FullOfOneRow),
        ] {
            assert_eq!(after(lengths).on_page(CheckedPage { limit, ..known(&one) }), expected, "{lengths:?} limit {limit}");
        }
    }

    #[test]
    fn without_an_overlap_record_an_empty_page_is_the_end() {
        let page = CheckedPage { expects_overlap: false, ..known(&[]) };
        assert_eq!(after(&[]).on_page(page), PageMeaning::End);
        assert_eq!(after(&[10, 10]).on_page(page), PageMeaning::End);
    }

    #[test]
    fn without_an_overlap_record_a_known_row_is_the_end_the_third_time() {
        let one = rows(0..1);
        let page = CheckedPage { expects_overlap: false, ..known(&one) };
        let mut check = after(&[1]);
        let meanings = [(); 3].map(|()| check.on_page(page));
        assert_eq!(meanings, [PageMeaning::FullOfOneRow, PageMeaning::FullOfOneRow, PageMeaning::End]);
    }

    #[test]
    fn known_rows_before_the_furthest_page_are_no_end() {
        let one = rows(0..1);
        let page = CheckedPage { expects_overlap: false, is_furthest: false, ..known(&one) };
        let mut check = after(&[1]);
        assert_eq!([(); 5].map(|()| check.on_page(page)), [PageMeaning::FullOfOneRow; 5]);
    }

    #[test]
    fn an_accepted_page_starts_the_count_of_known_rows_again() {
        let one = rows(0..1);
        let page = CheckedPage { expects_overlap: false, ..known(&one) };
        let mut check = after(&[1]);
        _ = [(); 2].map(|()| check.on_page(page));
        check.on_accepted(&one, 1);
        assert_eq!(check.on_page(page), PageMeaning::FullOfOneRow);
    }

    #[test]
    fn the_same_page_may_come_again_once() {
        let mut check = after(&[10]);
        let same = rows(0..10);
        assert_eq!([(); 2].map(|()| check.on_page(known(&same))), [PageMeaning::Known, PageMeaning::Repeating]);
    }

    #[test]
    fn the_same_page_after_a_step_back_is_no_loop() {
        let mut check = after(&[10]);
        let same = rows(0..10);
        let page = CheckedPage { is_step_back: true, ..known(&same) };
        assert_eq!([(); 4].map(|()| check.on_page(page)), [PageMeaning::Known; 4]);
    }

    #[test]
    fn another_page_or_new_records_start_the_count_of_repetitions_again() {
        let (same, other) = (rows(0..10), rows(5..15));
        let mut check = after(&[10]);
        let pages =
            [known(&same), known(&other), known(&same), CheckedPage { has_new_records: true, ..known(&other) }, known(&same)];
        assert!(pages.iter().all(|page| check.on_page(*page) != PageMeaning::Repeating));
    }

    #[test]
    fn different_pages_of_known_rows_are_a_loop_once_they_exceed_what_is_remembered() {
        let pages = [rows(0..1000), rows(1000..2000)];
        let mut check = after(&[10]);
        let meanings: Vec<_> = (0..21).map(|number| check.on_page(known(&pages[number % 2]))).collect();
        assert_eq!(meanings[..20], [PageMeaning::Known; 20]);
        assert_eq!(meanings[20], PageMeaning::Repeating);
    }

    #[test]
    fn no_listing_has_more_than_a_hundred_million_rows() {
        assert!(!EndCheck::is_endless(MAX_OFFSET) && EndCheck::is_endless(MAX_OFFSET + 1));
    }
}
