//! The slots of a daemon: how many runs it has at the same time, and of which kind. A value that asks nobody.
//!
//! A first load may take hours, a daily sync takes seconds. So the runs that load history fill at most half of the slots, and there
//! is always a slot that is free again soon.

/// The runs of one daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slots {
    /// How many runs there may be.
    pub(super) count: usize,
    /// The runs there are.
    pub(super) taken: usize,
    /// How many of them load history.
    pub(super) histories: usize,
}

impl Slots {
    pub(super) fn has_free(self) -> bool {
        self.taken < self.count
    }

    /// Whether one more run may begin that loads history. With a single slot it may: nothing else could ever load any.
    pub(super) fn has_free_for_history(self) -> bool {
        self.has_free() && self.histories < (self.count / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_take_at_most_half_of_the_slots() {
        for (count, taken, histories, any, history) in [
            (4, 0, 0, true, true),
            (4, 1, 1, true, true),
            (4, 2, 2, true, false),
            (4, 3, 1, true, true),
            (4, 4, 0, false, false),
            (5, 2, 2, true, false),
            (1, 0, 0, true, true),
            (1, 1, 1, false, false),
            // The setting was lowered while runs were in progress.
            (2, 4, 2, false, false),
        ] {
            let slots = Slots { count, taken, histories };
            assert_eq!((slots.has_free(), slots.has_free_for_history()), (any, history), "{slots:?}");
        }
    }
}
