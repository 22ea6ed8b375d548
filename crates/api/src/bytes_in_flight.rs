//! How many bytes of pages are in memory at the same time, over all objects of a run: requested, read, or being stored.
//!
//! Pages may be large, and several objects are read side by side. So a page reserves the bytes that it will probably have before it
//! is requested, and gives them back when it has been stored. A page that is larger than everything there is takes all of it.
//!
//! Nobody waits for ever: a pull waits for bytes only for the page that it needs next, and holds none of its own meanwhile. It requests
//! further pages only behind one that has its bytes, and only with bytes that are free at once. The bytes that others hold belong to
//! pages that are being stored, or that are stored next; neither needs any more for that.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in these units.
const UNIT: u64 = 1024;

#[derive(Debug, Clone)]
pub(crate) struct BytesInFlight {
    free: Arc<Semaphore>,
    /// All there are, in units.
    units: u32,
}

/// Bytes that a page has reserved. They are free again when this is dropped.
#[derive(Debug, Default)]
pub struct ReservedBytes(Option<OwnedSemaphorePermit>);

impl BytesInFlight {
    pub(crate) fn new(bytes: u64) -> BytesInFlight {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        BytesInFlight { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// Waits until so many bytes are free, in the order in which they were wanted.
    pub(crate) async fn reserve(&self, bytes: u64) -> ReservedBytes {
        // Nothing closes the semaphore.
        ReservedBytes(Arc::clone(&self.free).acquire_many_owned(self.units_of(bytes)).await.ok())
    }

    /// Reserves bytes if they are free now, and nobody waits for them.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<ReservedBytes> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.units_of(bytes)).ok()?;
        Some(ReservedBytes(Some(permit)))
    }

    /// A page has come, and has so many bytes. What was reserved beyond that is free again. What it has beyond what was reserved is
    /// counted as far as it is free; to wait for it would be to wait with a page in hand.
    pub(crate) fn settle(&self, reserved: &mut ReservedBytes, bytes: u64) {
        let Some(permit) = &mut reserved.0 else { return };
        let (has, needs) = (permit.num_permits(), self.units_of(bytes) as usize);
        if needs <= has {
            drop(permit.split(has - needs));
        } else {
            let more = u32::try_from((needs - has).min(self.free.available_permits())).unwrap_or(u32::MAX);
            if let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(more) {
                permit.merge(more);
            }
        }
    }

    fn units_of(&self, bytes: u64) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units)
    }
}

impl ReservedBytes {
    /// Adds the bytes of a page that is stored together with this one.
    pub(crate) fn add(&mut self, other: ReservedBytes) {
        match (&mut self.0, other.0) {
            (Some(permit), Some(other)) => permit.merge(other),
            (none @ None, other) => *none = other,
            (Some(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn free(bytes: &BytesInFlight) -> usize {
        bytes.free.available_permits()
    }

    #[test]
    fn what_was_reserved_is_free_again_when_its_page_is_dropped() {
        let bytes = BytesInFlight::new(10 * UNIT);
        let page = bytes.try_reserve(4 * UNIT).unwrap();
        assert_eq!(free(&bytes), 6);
        drop(page);
        assert_eq!(free(&bytes), 10);
    }

    #[test]
    fn a_page_that_is_larger_than_everything_takes_all_of_it() {
        let bytes = BytesInFlight::new(10 * UNIT);
        let huge = bytes.reserve(u64::MAX).now_or_never().unwrap();
        assert!(bytes.try_reserve(1).is_none());
        drop(huge);
        assert!(bytes.try_reserve(1).is_some());
    }

    #[test]
    fn who_came_first_is_served_first_and_nobody_takes_what_another_one_waits_for() {
        let bytes = BytesInFlight::new(10 * UNIT);
        let stored = bytes.try_reserve(8 * UNIT).unwrap();
        let (mut large, mut small) = (Box::pin(bytes.reserve(5 * UNIT)), Box::pin(bytes.reserve(UNIT)));
        assert!((&mut large).now_or_never().is_none() && (&mut small).now_or_never().is_none());
        // Two are free, but they are for the one that waits.
        assert!(bytes.try_reserve(UNIT).is_none());
        drop(stored);
        assert!(large.now_or_never().is_some() && small.now_or_never().is_some());
    }

    #[test]
    fn who_no_longer_wants_bytes_is_in_nobodys_way() {
        let bytes = BytesInFlight::new(10 * UNIT);
        let stored = bytes.try_reserve(8 * UNIT).unwrap();
        let mut given_up = Box::pin(bytes.reserve(5 * UNIT));
        assert!((&mut given_up).now_or_never().is_none());
        drop(given_up);
        assert!(bytes.try_reserve(2 * UNIT).is_some());
        drop(stored);
        assert_eq!(free(&bytes), 10);
    }

    #[test]
    fn a_page_that_has_come_counts_with_what_it_has_as_far_as_that_is_free() {
        for (other, length, left) in [(1, 2, 7), (1, 4, 5), (1, 6, 3), (4, 20, 0), (6, 5, 0)] {
            let bytes = BytesInFlight::new(10 * UNIT);
            let _other = bytes.try_reserve(other * UNIT).unwrap();
            let mut page = bytes.try_reserve(4 * UNIT).unwrap();
            bytes.settle(&mut page, length * UNIT);
            assert_eq!(free(&bytes), left, "{length} beside {other}");
            drop(page);
            assert_eq!(free(&bytes), 10 - other as usize);
        }
    }

    #[test]
    fn pages_that_are_stored_together_hold_what_all_of_them_have_reserved() {
        let bytes = BytesInFlight::new(10 * UNIT);
        let mut together = ReservedBytes::default();
        for _ in 0..3 {
            together.add(bytes.try_reserve(2 * UNIT).unwrap());
            together.add(ReservedBytes::default());
        }
        assert_eq!(free(&bytes), 4);
        drop(together);
        assert_eq!(free(&bytes), 10);
    }
}
