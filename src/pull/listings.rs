//! Which listings a scan reads, in order: each sweep, or the whole listing by id, and again for hidden records.
//!
//! Ids are unique and growing, so a listing by id neither loses nor repeats a row over ties, and new records land on its last page.
//! A sweep reads newest first by a time, for changes only: other scans must reach the records that lack the time it would be sorted
//! by.

use std::collections::VecDeque;

use planhat_api::Listing;
use planhat_model::catalog::Object;
use planhat_model::scan::{KnownOrder, SortedObjects, Sweep, Window};

use super::learned::Learned;

/// A listing that a scan is about to read.
#[derive(Debug)]
pub(super) struct PlannedListing {
    pub(super) listing: Listing,
    /// What stops it early.
    pub(super) sweep: Option<PlannedSweep>,
    /// How it stands to the other listing of the object, with or without hidden records.
    pub(super) beside: Beside,
}

/// How a listing stands to the other one of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Each is read for itself.
    Another,
    /// The listing with hidden records may have all of this one too. That is found out with its first page.
    OneThatMayHaveAll,
    /// It is read in place of the plain listing, whose records it has been seen to have.
    NoOther,
}

#[derive(Debug)]
pub(super) struct PlannedSweep {
    pub(super) sweep: Sweep,
    /// For a sweep that relies on what was learned: its first page has to prove the order.
    pub(super) proof: Option<KnownOrder>,
}

/// What the objects that are read newest first are read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadBy {
    Id,
    Sweeps,
    /// By sweeps that have to prove their order.
    LearnedSweeps,
}

fn read_by(sorted: &SortedObjects, object: &'static Object, learned: &Learned) -> ReadBy {
    match sorted {
        SortedObjects::Named(names) if names.contains(&object.name) => ReadBy::Sweeps,
        SortedObjects::Named(_) => ReadBy::Id,
        SortedObjects::Auto if !object.sweeps.is_empty() => ReadBy::Sweeps,
        SortedObjects::Auto if time_to_learn(sorted, object).is_some() && learned.can_be_swept() => ReadBy::LearnedSweeps,
        SortedObjects::Auto => ReadBy::Id,
    }
}

/// The time by which it may be learned that an object can be swept.
pub(super) fn time_to_learn(sorted: &SortedObjects, object: &'static Object) -> Option<&'static str> {
    let learns = *sorted == SortedObjects::Auto && object.sweeps.is_empty();
    // Where an edit may move one of several times, a sweep by one of them does not show it.
    let [time] = object.modified else { return None };
    learns.then_some(*time)
}

impl PlannedListing {
    /// A name that is unique among the listings of the object; a checkpoint knows its listing by it.
    pub(super) fn name(&self) -> String {
        if self.beside == Beside::NoOther { format!("{}, for all", self.listing.name()) } else { self.listing.name() }
    }

    pub(super) fn has_to_prove_its_order(&self) -> bool {
        self.sweep.as_ref().is_some_and(|sweep| sweep.proof.is_some())
    }

    /// A sweep that only adds to an earlier one.
    pub(super) fn is_later_sweep(&self) -> bool {
        self.sweep.as_ref().is_some_and(|planned| !planned.sweep.is_first)
    }

    fn by_id(hidden: bool) -> PlannedListing {
        PlannedListing { listing: Listing { sort: "_id".to_owned(), hidden }, sweep: None, beside: Beside::Another }
    }

    /// The plain listing in the order of ids.
    pub(super) fn plain() -> PlannedListing {
        PlannedListing::by_id(false)
    }

    /// The listing with hidden records, which has all others too.
    pub(super) fn for_all() -> PlannedListing {
        PlannedListing { beside: Beside::NoOther, ..PlannedListing::by_id(true) }
    }
}

/// All of the object in the order of ids.
pub(super) fn all_by_id(object: &Object) -> VecDeque<PlannedListing> {
    hidden_or_not(object).map(PlannedListing::by_id).collect()
}

/// What a scan of this window reads.
pub(super) fn listings(
    object: &'static Object,
    window: Window,
    sorted: &SortedObjects,
    learned: &Learned,
) -> VecDeque<PlannedListing> {
    let read_by = read_by(sorted, object, learned);
    let Window::Incremental { since, .. } = window else { return all_by_id(object) };
    if read_by == ReadBy::Id {
        return all_by_id(object);
    }
    let sweep_by = |hidden, rank: usize, field: &'static str| PlannedListing {
        listing: Listing { sort: format!("-{field}"), hidden },
        sweep: Some(PlannedSweep {
            sweep: Sweep::new(object.name, field, since, rank == 0),
            proof: (read_by == ReadBy::LearnedSweeps).then(|| learned.order_of(hidden)),
        }),
        beside: Beside::Another,
    };
    let sweeps = |hidden| object.sweeps().iter().enumerate().map(move |(rank, field)| sweep_by(hidden, rank, field));
    hidden_or_not(object).flat_map(sweeps).collect()
}

fn hidden_or_not(object: &Object) -> impl Iterator<Item = bool> + use<> {
    [false, true].into_iter().take(if object.hidden.is_some() { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use planhat_model::capability::SortDetail;

    use super::*;

    fn day(day: u32) -> DateTime<Utc> {
        format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    /// The listings that a scan reads, and which of them are sweeps; `first` is the one that is read to its end if it is not in
    /// order.
    fn listed(object: &str, window: Window, sorted: &SortedObjects, learned: &Learned) -> Vec<String> {
        let object = planhat_model::catalog::object(object).unwrap();
        let name = |planned: PlannedListing| match &planned.sweep {
            Some(PlannedSweep { proof: Some(_), .. }) => format!("{} (sweep, if proven)", planned.name()),
            Some(PlannedSweep { sweep, .. }) if sweep.is_first => format!("{} (first sweep)", planned.name()),
            Some(_) => format!("{} (sweep)", planned.name()),
            None => planned.name(),
        };
        listings(object, window, sorted, learned).into_iter().map(name).collect()
    }

    const CHANGES: Window = Window::Incremental { since: DateTime::UNIX_EPOCH, history: None };

    #[test]
    fn changes_of_sorted_objects_are_swept_newest_first_and_everything_else_is_listed_by_id() {
        let nothing = Learned::default();
        let sorted = SortedObjects::Named(vec!["companies", "endusers"]);
        for sorted in [&sorted, &SortedObjects::Auto] {
            assert_eq!(listed("companies", CHANGES, sorted, &nothing), ["-lastTouch (first sweep)", "-updatedAt (sweep)"]);
            assert_eq!(
                listed("endusers", CHANGES, sorted, &nothing),
                [
                    "-lastTouch (first sweep)",
                    "-updatedAt (sweep)",
                    "-lastTouch, with hidden ones (first sweep)",
                    "-updatedAt, with hidden ones (sweep)",
                ]
            );
            assert_eq!(listed("tasks", CHANGES, sorted, &nothing), ["_id", "_id, with hidden ones"]);
            for window in [Window::Full { history: None }, Window::History { since: None, until: None }] {
                assert_eq!(listed("companies", window, sorted, &nothing), ["_id"]);
            }
        }
        assert_eq!(listed("companies", CHANGES, &SortedObjects::Named(vec!["endusers"]), &nothing), ["_id"]);
    }

    #[test]
    fn an_object_is_swept_once_it_was_learned_that_each_record_has_the_time_and_only_if_the_order_is_proven() {
        let mut times = SortDetail::default();
        times.add(false, day(3));
        let of = |times| Learned { times: Some(times), ..Learned::default() };
        assert_eq!(listed("opportunities", CHANGES, &SortedObjects::Auto, &of(times)), ["_id"], "one time is no order");
        times.add(false, day(1));
        assert_eq!(listed("opportunities", CHANGES, &SortedObjects::Auto, &of(times)), ["-updatedAt (sweep, if proven)"]);
        assert_eq!(
            listed("tasks", CHANGES, &SortedObjects::Auto, &of(times)),
            ["-updatedAt (sweep, if proven)", "-updatedAt, with hidden ones (sweep, if proven)"]
        );
        assert_eq!(listed("opportunities", Window::Full { history: None }, &SortedObjects::Auto, &of(times)), ["_id"]);
        assert_eq!(listed("opportunities", CHANGES, &SortedObjects::Named(Vec::new()), &of(times)), ["_id"]);
    }

    #[test]
    fn a_listing_that_stands_for_all_has_a_name_of_its_own() {
        let names =
            [PlannedListing::plain(), PlannedListing::by_id(true), PlannedListing::for_all()].map(|listing| listing.name());
        assert_eq!(names, ["_id", "_id, with hidden ones", "_id, with hidden ones, for all"]);
    }
}
