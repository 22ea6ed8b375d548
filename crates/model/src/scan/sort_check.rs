//! A walk through a listing from the newest record down, which may stop early.
//!
//! The API documents `sort` but nobody promises that a given property is honoured, so the order is
//! checked on every page, by instants. It holds when times do not increase and records without the
//! time come last. Only a whole page past the window ends a sweep: times tie by the hundred after a
//! bulk write. A page without any time ends it only after a time was seen: a listing that shows none
//! says nothing about its order.
//!
//! What moves neither of an object's sweep times (a `lastUpdated` alone, a computed value) is not seen
//! by sweeps, but by a backfill.

use chrono::{DateTime, Utc};

use crate::record::Record;

#[derive(Debug)]
pub struct Sweep {
    object: &'static str,
    field: &'static str,
    since: DateTime<Utc>,
    /// The first sweep of an object reads on to the end when its order does not hold.
    pub is_first: bool,
    lowest: Option<DateTime<Utc>>,
    missing: bool,
}

/// What a page says about the sweep.
#[derive(Debug, PartialEq, Eq)]
pub enum SortCheck {
    InOrder,
    /// The order holds and all that follows is older than the window.
    PastWindow,
    /// The listing is not in this order; the text says so to the user.
    OutOfOrder(String),
}

impl Sweep {
    pub fn new(object: &'static str, field: &'static str, since: DateTime<Utc>, is_first: bool) -> Sweep {
        Sweep { object, field, since, is_first, lowest: None, missing: false }
    }

    /// Judges a page. Where rows have `moved`, it begins somewhere before the end of the last one.
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
            format!("/{object} does not keep the order -{field}: read to the end")
        } else {
            format!(
                "/{object} does not keep the order -{field}: an edit that moved nothing else may be missing until the next backfill"
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
    fn only_a_whole_page_past_the_window_ends_it() {
        let mut sweep = sweep();
        assert_eq!(sweep.check_page(&page(&[Some(20), Some(10), Some(9)]), false), SortCheck::InOrder);
        assert_eq!(sweep.check_page(&page(&[Some(9), Some(9)]), false), SortCheck::PastWindow);
    }

    #[test]
    fn a_record_at_the_very_instant_is_still_in() {
        assert_eq!(sweep().check_page(&page(&[Some(10), Some(9)]), false), SortCheck::InOrder);
    }

    #[test]
    fn records_without_the_time_may_only_come_last() {
        let mut ends = sweep();
        assert_eq!(ends.check_page(&page(&[Some(20)]), false), SortCheck::InOrder);
        assert_eq!(ends.check_page(&page(&[None, None]), false), SortCheck::PastWindow);
        assert_eq!(sweep().check_page(&page(&[Some(20), None]), false), SortCheck::InOrder);
        assert!(matches!(sweep().check_page(&page(&[None, Some(20)]), false), SortCheck::OutOfOrder(_)));
    }

    #[test]
    fn a_listing_that_shows_no_time_says_nothing_about_its_order() {
        assert_eq!(sweep().check_page(&page(&[None, None]), false), SortCheck::InOrder);
    }

    #[test]
    fn the_order_is_checked_across_pages_too() {
        let mut sweep = sweep();
        assert_eq!(sweep.check_page(&page(&[Some(20)]), false), SortCheck::InOrder);
        assert!(matches!(sweep.check_page(&page(&[Some(21)]), false), SortCheck::OutOfOrder(_)));
    }

    #[test]
    fn rows_that_moved_start_the_check_anew() {
        let mut sweep = sweep();
        assert_eq!(sweep.check_page(&page(&[Some(20)]), false), SortCheck::InOrder);
        assert_eq!(sweep.check_page(&page(&[Some(21)]), true), SortCheck::InOrder);
    }
}
