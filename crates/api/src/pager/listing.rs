//! What a pager reads and hands out: the listing, how it is paged, the position in it, and a page.

use chrono::{DateTime, Utc};
use planhat_model::record::{Record, Rejected};

/// Which records of an object are listed, in which order.
#[derive(Debug, Clone)]
pub struct Listing {
    /// As the API takes it: a property, with `-` in front for descending.
    pub sort: String,
    /// Ask for the records that are only listed on request.
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
    /// What tells it from the object's other listings, e.g. `-lastTouch, with hidden ones`.
    pub fn name(&self) -> String {
        let hidden = if self.hidden { ", with hidden ones" } else { "" };
        format!("{}{hidden}", self.sort)
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
    /// Rows had moved, so this page begins somewhere before the end of the last one.
    pub rows_moved: bool,
    /// Where the listing goes on after this page.
    pub next: Position,
    /// The time at Planhat when it answered, if it says so.
    pub served_at: Option<DateTime<Utc>>,
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

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.rejected.is_empty()
    }
}
