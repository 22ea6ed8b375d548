//! Prefetch: how many pages are requested before it is their turn, and which ones are in flight.
//!
//! The next page is in flight while the last one is being stored, and in a long listing several are, since otherwise
//! every page would cost the time that an answer takes. They are requested by where they will probably begin; one that
//! begins elsewhere after all is thrown away. So only calls can be lost by it, a few where a listing ends, and those are
//! calls that nobody waited for: where the budget is used up, no more than the next page is requested.

use std::collections::VecDeque;

use super::listing::RowOrder;

/// Pages in flight at the same time, in one listing.
const MAX_PAGES_IN_FLIGHT: u32 = 8;
/// After this many full pages in a row one more page is requested ahead, so that at most one call in this many is wasted.
const FULL_PAGES_PER_EXTRA_REQUEST: u32 = 4;
/// What pages in flight may take together, going by the last one.
const MAX_BYTES_IN_FLIGHT: u64 = 1024 * 1024;

/// Which part of the listing is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) offset: u64,
    pub(crate) limit: u32,
}

/// The pages in flight in the order of the listing, each with its fetch `F`, and what decides how many there may be.
#[derive(Debug)]
pub(crate) struct Prefetch<F> {
    order: RowOrder,
    in_flight: VecDeque<(PageRequest, F)>,
    /// Pages in a row that were as long as requested.
    full_pages: u32,
    /// The size of the last page.
    last_bytes: u64,
}

impl<F> Prefetch<F> {
    pub(crate) fn new(order: RowOrder) -> Prefetch<F> {
        Prefetch { order, in_flight: VecDeque::new(), full_pages: 0, last_bytes: 0 }
    }

    /// The requests that may be sent ahead, in order, where `next` is what is needed next and a page begins `stride`
    /// rows behind the one before. What is in flight already is not among them; it is dropped if it is of no use.
    pub(crate) fn requests_ahead(&mut self, next: PageRequest, stride: u64) -> Vec<PageRequest> {
        self.next_if_is(next);
        let places = self.in_flight.len() as u64..u64::from(self.allowed_in_flight());
        places.map(|place| PageRequest { offset: next.offset + place * stride, ..next }).collect()
    }

    /// A request was sent for a page behind those in flight.
    pub(crate) fn on_requested(&mut self, request: PageRequest, fetch: F) {
        self.in_flight.push_back((request, fetch));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The fetch of the next page, if it is the one that is needed. If not, what is in flight is of no use and dropped.
    pub(crate) fn next_if_is(&mut self, needed: PageRequest) -> Option<&mut F> {
        if self.in_flight.front().is_some_and(|(request, _)| *request != needed) {
            self.in_flight.clear();
        }
        self.in_flight.front_mut().map(|(_, fetch)| fetch)
    }

    /// Takes the fetch of the next page out, if it is the one that is needed.
    pub(crate) fn take_if_is(&mut self, needed: PageRequest) -> Option<F> {
        self.next_if_is(needed)?;
        self.in_flight.pop_front().map(|(_, fetch)| fetch)
    }

    /// A page was answered.
    pub(crate) fn on_page(&mut self, bytes: u64) {
        self.last_bytes = bytes;
    }

    /// A page was accepted.
    pub(crate) fn on_accepted(&mut self, rows: usize, limit: u32) {
        self.full_pages = if rows == limit as usize { self.full_pages + 1 } else { 0 };
    }

    /// Rows have moved, so where pages begin is uncertain.
    pub(crate) fn on_step_back(&mut self) {
        self.full_pages = 0;
    }

    /// In the order of ids rows do not move, so a later page may well be served before an earlier one. In a sweep it may
    /// not: and most sweeps end soon.
    fn allowed_in_flight(&self) -> u32 {
        match self.order {
            RowOrder::ByTime => 1,
            RowOrder::ById => {
                let by_size = u32::try_from(MAX_BYTES_IN_FLIGHT / self.last_bytes.max(1)).unwrap_or(u32::MAX);
                (1 + self.full_pages / FULL_PAGES_PER_EXTRA_REQUEST).min(MAX_PAGES_IN_FLIGHT).min(by_size).max(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u32 = 10;
    const STRIDE: u64 = 9;

    fn at(offset: u64) -> PageRequest {
        PageRequest { offset, limit: LIMIT }
    }

    /// A prefetch behind this many full pages, the last of which had this size.
    fn after(order: RowOrder, full_pages: u32, bytes: u64) -> Prefetch<()> {
        let mut prefetch = Prefetch::new(order);
        for _ in 0..full_pages {
            prefetch.on_page(bytes);
            prefetch.on_accepted(LIMIT as usize, LIMIT);
        }
        prefetch
    }

    /// How many pages are requested ahead after this many full ones of this size.
    fn ahead(order: RowOrder, full_pages: u32, bytes: u64) -> usize {
        after(order, full_pages, bytes).requests_ahead(at(0), STRIDE).len()
    }

    #[test]
    fn the_longer_a_listing_the_more_pages_are_requested_ahead() {
        let ahead = [0, 3, 4, 11, 12, 28, 10_000].map(|full_pages| ahead(RowOrder::ById, full_pages, 1000));
        assert_eq!(ahead, [1, 1, 2, 3, 4, 8, 8]);
    }

    #[test]
    fn of_large_pages_fewer_are_requested_ahead() {
        assert_eq!(ahead(RowOrder::ById, 10_000, MAX_BYTES_IN_FLIGHT / 3), 3);
        assert_eq!(ahead(RowOrder::ById, 10_000, u64::MAX), 1);
    }

    #[test]
    fn in_a_sweep_only_the_next_page_is_requested_ahead() {
        assert_eq!(ahead(RowOrder::ByTime, 10_000, 1000), 1);
    }

    #[test]
    fn after_a_short_page_or_a_step_back_only_the_next_page_is_requested_ahead() {
        let mut short = after(RowOrder::ById, 40, 1000);
        short.on_accepted(LIMIT as usize - 1, LIMIT);
        assert_eq!(short.requests_ahead(at(0), STRIDE).len(), 1);

        let mut stepped_back = after(RowOrder::ById, 40, 1000);
        stepped_back.on_step_back();
        assert_eq!(stepped_back.requests_ahead(at(0), STRIDE).len(), 1);
    }

    #[test]
    fn requests_ahead_follow_each_other_by_a_stride_and_come_behind_those_in_flight() {
        let mut prefetch = after(RowOrder::ById, 12, 1000);
        assert_eq!(prefetch.requests_ahead(at(90), STRIDE), [at(90), at(99), at(108), at(117)]);
        prefetch.on_requested(at(90), ());
        prefetch.on_requested(at(99), ());
        assert_eq!(prefetch.requests_ahead(at(90), STRIDE), [at(108), at(117)]);
    }

    #[test]
    fn pages_in_flight_are_taken_in_order() {
        let mut prefetch = Prefetch::new(RowOrder::ById);
        prefetch.on_requested(at(0), "first");
        prefetch.on_requested(at(9), "second");
        assert_eq!(prefetch.next_if_is(at(0)), Some(&mut "first"));
        assert_eq!((prefetch.take_if_is(at(0)), prefetch.take_if_is(at(9))), (Some("first"), Some("second")));
        assert!(prefetch.is_empty());
        assert_eq!(prefetch.take_if_is(at(18)), None);
    }

    #[test]
    fn pages_in_flight_are_dropped_when_another_one_is_needed() {
        for needed in [at(8), PageRequest { offset: 0, limit: 25 }] {
            let mut prefetch = after(RowOrder::ById, 12, 1000);
            prefetch.on_requested(at(0), ());
            prefetch.on_requested(at(9), ());
            assert_eq!(prefetch.take_if_is(needed), None);
            assert!(prefetch.is_empty());
            assert_eq!(prefetch.requests_ahead(needed, STRIDE).len(), 4);
        }
    }
}
