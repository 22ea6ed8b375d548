//! End of a listing: what a page without new records means.
//!
//! The API does not say how long a listing is, and a short page may not be the last, since a server may clamp `limit`.
//! So a listing ends with a page that brings nothing but the overlap record, or nothing at all. Other pages without new
//! records come after an insertion before the page or after a step back: reading continues behind them, but not for
//! ever, since a server may also list the same records again and again.
//!
//! Where rows vanish with every call, the overlap record is hardly ever alone on its page. Then the end is seen twice, in two
//! pages in a row: each ends no later than the page before it, and had room for more, by what was requested and by what the
//! server has sent before.
//!
//! A first page that shows nothing is requested once more before it is believed: one empty answer at the wrong moment would
//! leave out a whole object. The same goes for pages of one row, where an empty answer alone makes the end.

use super::page_entry::PageEntry;

/// How many times the same page may come again before the listing counts as repeating itself. Once can be chance, when
/// as many rows as a page has were inserted before it.
const MAX_REPEATED_PAGES: u32 = 2;
/// How many known rows may come in a row: twice what the overlap check remembers. What was seen longer ago than that
/// looks new, so a loop must be noticed before.
const MAX_KNOWN_ROWS_IN_A_ROW: usize = 2 * super::overlap::REMEMBERED_RECORDS;
/// How many pages in a row have to show the end where rows vanish. A server that lowers its maximum may look so once.
const ENDS_TO_SEE: u32 = 2;
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
    /// Pages in a row that showed the end.
    ends_seen: u32,
    /// The last page was empty, and was requested once more.
    is_asked_again: bool,
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
    /// It is empty, which may be wrong: request it once more.
    Doubtful,
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
            ends_seen: 0,
            is_asked_again: false,
        }
    }

    /// Whether no listing is this long.
    pub(crate) fn is_endless(offset: u64) -> bool {
        offset > MAX_OFFSET
    }

    /// What a page means that leaves no gap.
    pub(crate) fn on_page(&mut self, page: CheckedPage<'_>) -> PageMeaning {
        let is_asked_again = std::mem::replace(&mut self.is_asked_again, false);
        if page.has_new_records {
            (self.repeated_pages, self.known_rows_in_a_row, self.ends_seen) = (0, 0, 0);
            return PageMeaning::New;
        }
        if !page.entries.is_empty() {
            self.ends_seen = if self.shows_end(page) { self.ends_seen + 1 } else { 0 };
            if self.ends_seen >= ENDS_TO_SEE {
                return PageMeaning::End;
            }
        }
        if page.entries.len() > 1 {
            return self.check_for_loop(page);
        }
        if self.is_doubtful(page) && !is_asked_again {
            self.is_asked_again = true;
            return PageMeaning::Doubtful;
        }
        if self.ends_with(page) {
            return PageMeaning::End;
        }
        self.known_single_rows += u32::from(!page.expects_overlap);
        PageMeaning::FullOfOneRow
    }

    /// A page was received that may have a gap before it.
    pub(crate) fn on_gap(&mut self, has_new_records: bool) {
        if has_new_records {
            self.ends_seen = 0;
        }
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
            let is_last_row = page.entries.first().is_some_and(|entry| self.last_page.last() == Some(&entry.key));
            return is_last_row && !self.server_may_shorten_pages(page.limit);
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

    /// Whether an empty page would be the end though no page before showed that the end is near.
    fn is_doubtful(&self, page: CheckedPage<'_>) -> bool {
        page.entries.is_empty() && !page.expects_overlap && (self.last_page.is_empty() || page.limit == 1)
    }

    /// Whether a page of known rows shows no row behind the page before it, though there was room for more.
    fn shows_end(&self, page: CheckedPage<'_>) -> bool {
        let rows = page.entries.len();
        let longest = self.longest_earlier_page.max(self.last_page.len());
        rows < longest.min(page.limit as usize) && page.entries.last().is_some_and(|last| self.last_page.contains(&last.key))
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
            let last = lengths.last().copied().unwrap_or(1);
            let one = rows(last - 1..last);
            assert_eq!(after(lengths).on_page(CheckedPage { limit, ..known(&one) }), expected, "{lengths:?} limit {limit}");
        }
    }

    #[test]
    fn a_known_row_alone_that_is_not_the_last_one_is_no_end() {
        // Half a page was requested again, and the server sends one row at a time from now on.
        assert_eq!(after(&[10, 4]).on_page(known(&rows(2..3))), PageMeaning::FullOfOneRow);
        assert_eq!(after(&[10, 4]).on_page(known(&rows(3..4))), PageMeaning::End);
    }

    #[test]
    fn without_an_overlap_record_an_empty_page_is_the_end() {
        let page = CheckedPage { expects_overlap: false, ..known(&[]) };
        assert_eq!(after(&[10, 10]).on_page(page), PageMeaning::End);
        assert_eq!(after(&[1]).on_page(page), PageMeaning::End);
    }

    #[test]
    fn a_first_page_that_is_empty_is_the_end_the_second_time() {
        let page = CheckedPage { expects_overlap: false, ..known(&[]) };
        let mut check = after(&[]);
        assert_eq!([(); 2].map(|()| check.on_page(page)), [PageMeaning::Doubtful, PageMeaning::End]);
    }

    #[test]
    fn where_pages_have_one_row_an_empty_page_is_the_end_the_second_time() {
        let page = CheckedPage { expects_overlap: false, limit: 1, ..known(&[]) };
        let mut check = after(&[10, 1]);
        assert_eq!([(); 2].map(|()| check.on_page(page)), [PageMeaning::Doubtful, PageMeaning::End]);

        // What came in between was no second time.
        let (mut check, one) = (after(&[10, 1]), rows(0..1));
        let pages = [page, CheckedPage { has_new_records: true, ..known(&one) }, page];
        assert_eq!(pages.map(|page| check.on_page(page)), [PageMeaning::Doubtful, PageMeaning::New, PageMeaning::Doubtful]);
    }

    /// What these pages of known rows mean, each accepted if it is not the end, behind pages of these lengths.
    fn meanings<const COUNT: usize>(lengths: &[usize], pages: [std::ops::Range<usize>; COUNT]) -> [PageMeaning; COUNT] {
        let mut check = after(lengths);
        pages.map(|page| {
            let entries = rows(page);
            let meaning = check.on_page(known(&entries));
            check.on_accepted(&entries, 10);
            meaning
        })
    }

    #[test]
    fn two_pages_in_a_row_with_nothing_behind_the_page_before_are_the_end() {
        use PageMeaning::{End, Known};
        assert_eq!(meanings(&[10], [5..10, 5..10]), [Known, End]);
        // Rows vanish at the head, and at the tail.
        assert_eq!(meanings(&[10], [5..10, 7..10]), [Known, End]);
        assert_eq!(meanings(&[10], [5..9, 5..7]), [Known, End]);
        // A step back leads before the beginning of the page before.
        assert_eq!(meanings(&[10, 3], [5..10, 7..10, 1..9]), [Known, Known, End]);
        // The second page shows rows that the first one did not.
        assert_eq!(meanings(&[10], [2..5, 4..8, 6..10]), [Known, Known, Known]);
        // The page is as long as requested.
        assert_eq!(meanings(&[10], [0..10, 0..9]), [Known, Known]);
        // The server sends no longer pages.
        assert_eq!(meanings(&[7, 7], [0..7, 0..6]), [Known, Known]);
    }

    #[test]
    fn new_records_in_between_are_no_end() {
        let (new, end) = (rows(10..12), rows(5..10));
        let seen_once = || {
            let mut check = after(&[10]);
            assert_eq!(check.on_page(known(&end)), PageMeaning::Known);
            check.on_accepted(&end, 10);
            check
        };
        let mut found = seen_once();
        assert_eq!(found.on_page(CheckedPage { has_new_records: true, ..known(&new) }), PageMeaning::New);
        assert_eq!(found.on_page(known(&rows(7..10))), PageMeaning::Known);

        let mut behind_a_gap = seen_once();
        behind_a_gap.on_gap(true);
        assert_eq!(behind_a_gap.on_page(known(&rows(7..10))), PageMeaning::Known);

        let mut behind_nothing = seen_once();
        behind_nothing.on_gap(false);
        assert_eq!(behind_nothing.on_page(known(&rows(7..10))), PageMeaning::End);
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
