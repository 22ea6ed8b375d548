//! The sort check of a sweep: a listing sorted by a time, newest first, that may be read only in part.
//!
//! The API documents `sort` but does not promise that every property is honoured, so the order is checked on every page.
//! A listing is in order when its times do not increase and records without the time come last. Only a whole page before the
//! window ends a sweep, because hundreds of records can share one time after a bulk edit. A page without any time ends it
//! only after a time was seen: a listing that shows no time says nothing about its order.
//!
//! A change that moves none of an object's sweep times (`lastUpdated` alone, a computed value) is not found by a sweep. A full
//! scan finds it.

use chrono::{DateTime, Utc};

use crate::record::Record;

#[derive(Debug)]
pub struct Sweep {
    object: &'static str,
    field: &'static str,
    since: DateTime<Utc>,
    /// The first sweep of an object reads an unsorted listing to its end.
    pub is_first: bool,
    lowest: Option<DateTime<Utc>>,
    missing: bool,
}

/// The result of checking a page of a sweep.
#[derive(Debug, PartialEq, Eq)]
pub enum SortCheck {
    InOrder,
    /// The listing is in order and all following records are older than the window.
    PastWindow,
    /// The listing is not in order; the text is a warning for the user.
    OutOfOrder(String),
}

impl Sweep {
    pub fn new(object: &'static str, field: &'static str, since: DateTime<Utc>, is_first: bool) -> Sweep {
        Sweep { object, field, since, is_first, lowest: None, missing: false }
    }

    /// The time that the listing is sorted by.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Checks a page. If rows have `moved`, the page begins before the end of the page before.
    pub fn check_page(&mut self, records: &[Record], moved: bool) -> SortCheck {
        if moved {
            (self.lowest, self.missing) = (None, false);
        }
        let mut newest = None;
        for record in records {
            match record.instant(self.field) {
                Some(time) if self.missing || self.lowest.is_some_and(|lowest| time > lowest) => {
                    return SortCheck::OutOfOrder(self.warning());
                }
                Some(time) => {
                    newest = newest.max(Some(time));
                    self.lowest = Some(time);
                }
                None => self.missing = true,
            }
        }
        let past = !records.is_empty() && self.lowest.is_some() && newest.is_none_or(|newest| newest < self.since);
        if past { SortCheck::PastWindow } else { SortCheck::InOrder }
    }

    fn warning(&self) -> String {
        let Sweep { object, field, .. } = self;
        if self.is_first {
            format!("/{object} is not sorted by -{field}: read to the end")
        } else {
            format!(
                "/{object} is not sorted by -{field}: an edit that changed no other time may be missed until the next full sync"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record_of;
    use serde_json::json;

    const SINCE: &str = "2025-01-10T00:00:00Z";

    fn page(days: &[Option<u32>]) -> Vec<Record> {
        let record = |day: &Option<u32>| {
            let time = day.map(|day| format!("2025-01-{day:02}T00:00:00.000Z"));
            record_of(&json!({"_id": "a", "lastTouch": time}))
        };
        days.iter().map(record).collect()
    }

    fn sweep() -> Sweep {
        Sweep::new("companies", "lastTouch", SINCE.parse().unwrap(), true)
    }

    #[test]
    fn only_a_whole_page_before_the_window_ends_a_sweep() {
        let mut sweep = sweep();
        assert_eq!(sweep.check_page(&page(&[Some(20), Some(10), Some(9)]), false), SortCheck::InOrder);
        assert_eq!(sweep.check_page(&page(&[Some(9), Some(9)]), false), SortCheck::PastWindow);
    }

    #[test]
    fn a_record_exactly_at_the_start_of_the_window_is_inside() {
        assert_eq!(sweep().check_page(&page(&[Some(10), Some(9)]), false), SortCheck::InOrder);
    }

    #[test]
    fn records_without_the_sort_time_may_only_come_last() {
        let mut ends = sweep();
        assert_eq!(ends.check_page(&page(&[Some(20)]), false), SortCheck::InOrder);
        assert_eq!(ends.check_page(&page(&[None, None]), false), SortCheck::PastWindow);
        assert_eq!(sweep().check_page(&page(&[Some(20), None]), false), SortCheck::InOrder);
        assert!(matches!(sweep().check_page(&page(&[None, Some(20)]), false), SortCheck::OutOfOrder(_)));
    }

    #[test]
    fn a_listing_without_times_is_not_considered_unsorted() {
        assert_eq!(sweep().check_page(&page(&[None, None]), false), SortCheck::InOrder);
    }

    #[test]
    fn the_sort_order_is_checked_across_pages() {
        let mut sweep = sweep();
        assert_eq!(sweep.check_page(&page(&[Some(20)]), false), SortCheck::InOrder);
        assert!(matches!(sweep.check_page(&page(&[Some(21)]), false), SortCheck::OutOfOrder(_)));
    }

    #[test]
    fn the_sort_check_restarts_after_rows_have_moved() {
        let mut sweep = sweep();
        assert_eq!(sweep.check_page(&page(&[Some(20)]), false), SortCheck::InOrder);
        assert_eq!(sweep.check_page(&page(&[Some(21)]), true), SortCheck::InOrder);
    }

    #[test]
    fn the_warning_says_what_an_unsorted_listing_leads_to() {
        let warning = |is_first| {
            let mut sweep = Sweep { is_first, ..sweep() };
            match sweep.check_page(&page(&[Some(20), Some(21)]), false) {
                SortCheck::OutOfOrder(warning) => warning,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(warning(true), "/companies is not sorted by -lastTouch: read to the end");
        assert_eq!(
            warning(false),
            "/companies is not sorted by -lastTouch: an edit that changed no other time may be missed until the next full sync"
        );
    }
}
