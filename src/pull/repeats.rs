//! Which records this run was shown before, so that each is counted once.
//!
//! End users and tasks are listed twice, companies in two orders, and a scan that goes on is followed by a fresh one. To
//! know every id that was listed would take memory that grows with the workspace, so there is a filter of fixed size
//! in its place: two megabytes, for objects with more than one listing alone. It never takes a repeated record for a new one; a new one
//! of a later listing it takes for repeated once among millions where there are 100,000 records, and twice in a
//! thousand where there are a million. Only figures depend on it: every record is stored or compared all the same.

use xxhash_rust::xxh3::xxh3_128;

/// Bits of the filter, a power of two.
const BITS: u64 = 1 << 24;
/// Bits that a record sets.
const PER_RECORD: u64 = 4;

/// What was listed so far.
#[derive(Debug, Default)]
pub(super) struct RepeatFilter {
    /// None while nothing can come twice.
    filter: Option<Box<[u64]>>,
    listings: u32,
}

impl RepeatFilter {
    /// There is another listing to come, which may show again what this one shows.
    pub(super) fn enable(&mut self) {
        self.filter.get_or_insert_with(|| vec![0; (BITS / 64) as usize].into_boxed_slice());
    }

    pub(super) fn begin_listing(&mut self) {
        self.listings += 1;
    }

    /// Whether an earlier listing has shown a record, known by its id or else by its text.
    pub(super) fn was_listed_before(&mut self, record: &str) -> bool {
        let Some(filter) = &mut self.filter else { return false };
        let hash = xxh3_128(record.as_bytes());
        let [first, step] = [hash as u64, (hash >> 64) as u64 | 1];
        let mut all = true;
        for place in (0..PER_RECORD).map(|index| first.wrapping_add(index.wrapping_mul(step)) % BITS) {
            let (word, bit) = ((place / 64) as usize, 1 << (place % 64));
            all &= filter[word] & bit != 0;
            filter[word] |= bit;
        }
        // Within a listing the pager sees to it that nothing comes twice.
        all && self.listings > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_listing_has_shown_is_known_again() {
        let mut repeats = RepeatFilter::default();
        repeats.enable();
        repeats.begin_listing();
        assert!((0..100_000).all(|id| !repeats.was_listed_before(&format!("{id}"))));
        repeats.begin_listing();
        assert!((0..100_000).all(|id| repeats.was_listed_before(&format!("{id}"))));
        let wrong = (100_000..110_000).filter(|id| repeats.was_listed_before(&format!("{id}"))).count();
        assert!(wrong <= 1, "{wrong}");
    }

    #[test]
    fn a_single_listing_takes_no_memory_and_repeats_nothing() {
        let mut repeats = RepeatFilter::default();
        repeats.begin_listing();
        assert!(!repeats.was_listed_before("a") && !repeats.was_listed_before("a"));
        assert!(repeats.filter.is_none());
    }
}
