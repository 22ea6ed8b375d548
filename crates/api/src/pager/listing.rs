//! What a pager reads and hands out: the listing, how it is paged, the position in it, and a page.

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use planhat_model::record::{Record, Rejected};

/// Which records of an object are listed, in which order.
#[derive(Debug, Clone)]
pub struct Listing {
    /// As the API takes it: a property, with `-` in front for descending.
    pub sort: String,
    /// Also list the records that Planhat lists only on request (archived ones).
    pub hidden: bool,
}

/// What the order of a listing means for its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// By `_id`: a row never changes places with another one.
    ById,
    /// By a time: a row that is edited moves.
    ByTime,
}

impl Listing {
    /// A name that is unique among the listings of the object, e.g. `-lastTouch, with hidden ones`.
    pub fn name(&self) -> String {
        let hidden = if self.hidden { ", with hidden ones" } else { "" };
        format!("{}{hidden}", self.sort)
    }

    /// What a page of it is requested with.
    pub(crate) fn query(&self, object: &Object, offset: u64, limit: u32) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", limit.to_string()), ("offset", offset.to_string()), ("sort", self.sort.clone())];
        query.extend(object.hidden.filter(|_| self.hidden).map(|parameter| (parameter, "true".to_owned())));
        query
    }

    pub(crate) fn order(&self) -> RowOrder {
        if self.sort == "_id" { RowOrder::ById } else { RowOrder::ByTime }
    }
}

/// How a listing is paged.
#[derive(Debug, Clone, Copy)]
pub struct PageSettings {
    /// Rows of a page; the object's own maximum takes precedence.
    pub size: u32,
    /// Whether each page begins with the last record of the page before.
    pub overlap: bool,
}

/// How far a listing has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    pub offset: u64,
    /// The overlap record: the one that the page at `offset` has to contain; none where no overlap is expected.
    pub overlap_id: Option<String>,
}

/// The new records of one page, or of some that came together.
#[derive(Debug)]
pub struct Page {
    pub pages: u32,
    pub records: Vec<Record>,
    pub rejected: Vec<Rejected>,
    /// Rows have moved, so this page begins before the end of the page before.
    pub rows_moved: bool,
    /// The position of the page after this one.
    pub next: Position,
    /// The time of Planhat's clock in the answer, if it sends one.
    pub served_at: Option<DateTime<Utc>>,
}

impl Page {
    /// Appends the following page.
    pub fn append(&mut self, mut following: Page) {
        self.pages += following.pages;
        self.records.append(&mut following.records);
        self.rejected.append(&mut following.rejected);
        self.rows_moved |= following.rows_moved;
        self.next = following.next;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.rejected.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use planhat_model::record::Rejected;

    use super::*;

    fn listing(sort: &str, hidden: bool) -> Listing {
        Listing { sort: sort.to_owned(), hidden }
    }

    fn page(next: u64, rejected: &[&str], rows_moved: bool) -> Page {
        Page {
            pages: 1,
            records: Vec::new(),
            rejected: rejected.iter().map(|reason| Rejected::of_text(String::new(), (*reason).to_owned())).collect(),
            rows_moved,
            next: Position { offset: next, overlap_id: None },
            served_at: None,
        }
    }

    #[test]
    fn each_listing_of_an_object_has_a_name_of_its_own() {
        let names = [("_id", false), ("_id", true), ("-lastTouch", false), ("-lastTouch", true)]
            .map(|(sort, hidden)| listing(sort, hidden).name());
        assert_eq!(names, ["_id", "_id, with hidden ones", "-lastTouch", "-lastTouch, with hidden ones"]);
    }

    #[test]
    fn only_in_a_listing_by_id_no_row_moves_when_it_is_edited() {
        assert_eq!(
            ["_id", "-_id", "-updatedAt"].map(|sort| listing(sort, false).order()),
            [RowOrder::ById, RowOrder::ByTime, RowOrder::ByTime]
        );
    }

    #[test]
    fn pages_that_came_together_are_one_page_that_ends_where_the_last_one_does() {
        for (first, second) in [(false, false), (true, false), (false, true)] {
            let mut page_before = page(2, &["one"], first);
            page_before.append(page(4, &["two"], second));
            page_before.append(page(6, &[], false));
            let reasons: Vec<_> = page_before.rejected.iter().map(|rejected| rejected.reason.as_str()).collect();
            assert_eq!((page_before.pages, reasons, page_before.next.offset), (3, vec!["one", "two"], 6));
            assert_eq!(page_before.rows_moved, first || second);
        }
    }

    #[test]
    fn a_page_with_nothing_but_a_rejected_record_is_not_empty() {
        assert!(page(2, &[], true).is_empty() && !page(2, &["one"], false).is_empty());
    }
}
