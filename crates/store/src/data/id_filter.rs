//! Which records a scan has stored in a table that was empty before: no other can have a row, so nothing of them is looked up.
//!
//! A record may come twice in a load, from two listings or where rows have moved between two pages. Its second version has to be compared.
//! Remembering every id would need memory that grows with the workspace, so this is a Bloom filter of one megabyte. It never takes a record
//! with a row for one without. It takes a few for records with a row, more of them among millions: they are looked up, as all are in
//! any other scan.

use xxhash_rust::xxh3::xxh3_128;

/// Bits of the filter, a power of two.
const BITS: u64 = 1 << 23;
/// Bits that a record sets.
const PER_RECORD: u64 = 4;

#[derive(Debug)]
pub struct IdFilter(Box<[u64]>);

impl Default for IdFilter {
    fn default() -> IdFilter {
        IdFilter(vec![0; (BITS / 64) as usize].into_boxed_slice())
    }
}

impl IdFilter {
    pub fn insert(&mut self, id: &str) {
        for (word, bit) in bits(id) {
            self.0[word] |= bit;
        }
    }

    /// Whether the record with this id may be among those that were inserted.
    pub fn may_have(&self, id: &str) -> bool {
        bits(id).all(|(word, bit)| self.0[word] & bit != 0)
    }
}

/// The words of the filter, and in each the bit, that a record sets.
fn bits(id: &str) -> impl Iterator<Item = (usize, u64)> {
    let hash = xxh3_128(id.as_bytes());
    let [first, step] = [hash as u64, (hash >> 64) as u64 | 1];
    (0..PER_RECORD).map(move |index| {
        let place = first.wrapping_add(index.wrapping_mul(step)) % BITS;
        ((place / 64) as usize, 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_always_found_and_hardly_anything_else() {
        let mut filter = IdFilter::default();
        (0..100_000).for_each(|id| filter.insert(&format!("{id}")));
        assert!((0..100_000).all(|id| filter.may_have(&format!("{id}"))));
        let wrong = (100_000..200_000).filter(|id| filter.may_have(&format!("{id}"))).count();
        assert!(wrong <= 5, "{wrong}");
    }
}
