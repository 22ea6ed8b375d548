//! Recognises records that this run has listed before, so that each record is counted once.
//!
//! End users and tasks are listed twice, companies in two sort orders, and a resumed scan is followed by a fresh one. Remembering
//! every id would need memory that grows with the workspace, so this is a Bloom filter of fixed size: two megabytes, only for
//! objects with more than one listing. It never takes a repeated record for a new one. It takes a new record of a later
//! listing for a repeated one about once in millions with 100,000 records, and twice in a thousand with a million. Only counts
//! depend on it: every record is stored or compared anyway.

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

    /// By what a record is known, from its id or else its text; none while nothing can come twice.
    pub(super) fn key_of(&self, record: &str) -> Option<RepeatKey> {
        self.filter.as_ref().map(|_| RepeatKey(xxh3_128(record.as_bytes())))
    }

    /// Whether an earlier listing has shown a record.
    pub(super) fn was_listed_before(&self, key: RepeatKey) -> bool {
        // Within a listing the pager sees to it that nothing comes twice.
        self.listings > 1 && self.filter.as_ref().is_some_and(|filter| key.bits().all(|(word, bit)| filter[word] & bit != 0))
    }

    /// Remembers what a listing has shown, once it is stored.
    pub(super) fn insert(&mut self, shown: &[RepeatKey]) {
        let Some(filter) = &mut self.filter else { return };
        for (word, bit) in shown.iter().flat_map(|key| key.bits()) {
            filter[word] |= bit;
        }
    }
}

/// A record as the filter knows it: a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RepeatKey(u128);

impl RepeatKey {
    /// The words of the filter, and in each the bit, that a record sets.
    fn bits(self) -> impl Iterator<Item = (usize, u64)> {
        let [first, step] = [self.0 as u64, (self.0 >> 64) as u64 | 1];
        (0..PER_RECORD).map(move |index| {
            let place = first.wrapping_add(index.wrapping_mul(step)) % BITS;
            ((place / 64) as usize, 1 << (place % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows a record, and says whether it was shown before.
    fn show(repeats: &mut RepeatFilter, id: &str) -> bool {
        let Some(key) = repeats.key_of(id) else { return false };
        let was_listed_before = repeats.was_listed_before(key);
        repeats.insert(&[key]);
        was_listed_before
    }

    #[test]
    fn a_record_of_an_earlier_listing_is_recognised_in_a_later_one() {
        let mut repeats = RepeatFilter::default();
        repeats.enable();
        repeats.begin_listing();
        assert!((0..100_000).all(|id| !show(&mut repeats, &format!("{id}"))));
        repeats.begin_listing();
        assert!((0..100_000).all(|id| show(&mut repeats, &format!("{id}"))));
        let wrong = (100_000..110_000).filter(|id| show(&mut repeats, &format!("{id}"))).count();
        assert!(wrong <= 1, "{wrong}");
    }

    #[test]
    fn what_could_not_be_stored_was_not_shown() {
        let mut repeats = RepeatFilter::default();
        repeats.enable();
        repeats.begin_listing();
        let key = repeats.key_of("a").unwrap();
        repeats.begin_listing();
        assert!(!repeats.was_listed_before(key));
    }

    #[test]
    fn an_object_with_a_single_listing_needs_no_repeat_filter() {
        let mut repeats = RepeatFilter::default();
        repeats.begin_listing();
        assert!(!show(&mut repeats, "a") && !show(&mut repeats, "a"));
        assert!(repeats.filter.is_none());
    }
}
