//! Overlap check: whether nothing is missing between the last accepted page and this one.
//!
//! The API pages by row number over live data: when rows before our offset are deleted, the rest moves up and a record
//! slips by unseen. So every page overlaps the one before by a row, the overlap record. A page that neither contains the
//! overlap record nor begins with a known record may have a gap before it, and we step back until a page does. Where a
//! page holds a single row there is no room for an overlap; the last record is looked at again in its place.
//!
//! This is sound where the order of rows does not change under us: by `_id`, always. In a sweep by time, rows that move
//! down without being deleted can still hide one behind them.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use planhat_model::record::{Record, Rejected};

use super::listing::{Position, RowOrder};
use super::page_entry::{PageEntry, hash_of_id};

/// Records that are remembered to recognise them again. Only an insertion of more records than this between two pages
/// makes us read some pages twice.
pub(crate) const REMEMBERED_RECORDS: usize = 10_000;
/// Steps back without any progress before the order of a listing counts as unstable.
const MAX_STEPS_BACK: u32 = 40;
/// This many steps back are page by page, so that none is left out; then they double.
const SMALL_STEPS_BACK: u32 = 8;
/// This many rows are in order by chance only once in a few million times.
const MIN_ROWS_TO_TRUST_ORDER: usize = 10;

#[derive(Debug)]
pub(crate) struct OverlapCheck {
    is_enabled: bool,
    order: RowOrder,
    recent: RecentRecords,
    /// The last record that was read, for where no overlap record is expected.
    last_record: Option<LastRecord>,
    steps_back: StepsBack,
    /// Rows have moved since the last page that was returned.
    rows_moved: bool,
}

/// A record and its place.
#[derive(Debug, Clone)]
struct LastRecord {
    offset: u64,
    id: String,
}

/// What lies between the last accepted page and this one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// Nothing can be missing.
    NoGap,
    /// Rows may be missing: read again from here.
    StepBack(Position),
    /// Unknown until the record at this offset has been requested.
    ProbeLastRecord { offset: u64 },
    /// All those steps back have led nowhere: no page continues where the one before ended.
    UnstableOrder { offset: u64 },
}

/// What is new in an accepted page, and where the listing continues behind it.
#[derive(Debug)]
pub(crate) struct AcceptedRows {
    pub(crate) records: Vec<Record>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) rows_moved: bool,
    pub(crate) next: Position,
}

impl OverlapCheck {
    /// For a listing that is read from `position` on.
    pub(crate) fn new(is_enabled: bool, order: RowOrder, position: &Position) -> OverlapCheck {
        let mut recent = RecentRecords::default();
        if let Some(id) = &position.overlap_id {
            recent.expect(hash_of_id(id));
        }
        let steps_back = StepsBack { in_a_row: 0, without_progress: 0, furthest: position.offset };
        OverlapCheck { is_enabled, order, recent, last_record: None, steps_back, rows_moved: false }
    }

    /// A page was answered for this position. A step back goes back by pages of `limit` rows.
    pub(crate) fn on_page(&mut self, position: &Position, entries: &[PageEntry], limit: u32) -> Continuity {
        match (&position.overlap_id, &self.last_record) {
            (Some(overlap_id), _) if self.contains_overlap(overlap_id, entries) => Continuity::NoGap,
            (Some(_), _) => self.step_back(position.clone(), limit),
            (None, Some(last)) if self.is_enabled => Continuity::ProbeLastRecord { offset: last.offset },
            (None, _) => Continuity::NoGap,
        }
    }

    /// The row at the place of the last record was answered. As long as it is a known one, the rows behind it have not
    /// moved up.
    pub(crate) fn on_last_record_probed(&mut self, found: Option<&PageEntry>, limit: u32) -> Continuity {
        match self.last_record.clone() {
            Some(LastRecord { offset, id }) if !found.is_some_and(|entry| self.recent.contains(entry.key)) => {
                self.step_back(Position { offset, overlap_id: Some(id) }, limit)
            }
            _ => Continuity::NoGap,
        }
    }

    /// Whether a page begins with the overlap record itself and brings something new: nothing unusual about it.
    pub(crate) fn is_plain_continuation(&self, position: &Position, entries: &[PageEntry]) -> bool {
        let begins_with_overlap = entries.first().is_some_and(|first| first.id.is_some() && first.id == position.overlap_id);
        begins_with_overlap && self.has_new_records(entries)
    }

    /// Whether any of these was not seen before.
    pub(crate) fn has_new_records(&self, entries: &[PageEntry]) -> bool {
        !entries.iter().all(|entry| self.recent.contains(entry.key))
    }

    /// Whether a record is among those that are remembered.
    pub(crate) fn has_seen(&self, id: &str) -> bool {
        self.recent.contains(hash_of_id(id))
    }

    /// Whether the next page is read again after a step back.
    pub(crate) fn is_stepping_back(&self) -> bool {
        self.steps_back.in_a_row > 0
    }

    /// Whether no page further on in the listing than this was accepted.
    pub(crate) fn is_furthest(&self, position: &Position) -> bool {
        position.offset >= self.steps_back.furthest
    }

    /// A known row fills its page. Where the listing continues: behind it.
    pub(crate) fn on_known_row(&mut self, position: &Position, row: Option<&PageEntry>) -> Position {
        if let Some(id) = row.and_then(|row| row.id.clone()) {
            self.last_record = Some(LastRecord { offset: position.offset, id });
        }
        Position { offset: position.offset + 1, overlap_id: None }
    }

    /// The page at a position is accepted.
    pub(crate) fn on_accepted(&mut self, position: &Position, entries: Vec<PageEntry>) -> AcceptedRows {
        let overlap_key = position.overlap_id.as_deref().map(hash_of_id);
        let overlap = entries.first().filter(|first| Some(first.key) == overlap_key);
        let is_changed = !overlap.is_some_and(|first| self.recent.contains_version(first));
        self.rows_moved |= overlap_key.is_some() && is_changed || self.is_stepping_back();
        // Pages that were in flight side by side may have been served in any order, so which of two versions of the row
        // that they share is the later one cannot be told. The first will do: what is edited after a scan began is for
        // the next one.
        let is_returned = overlap.is_some_and(|first| self.recent.was_returned(first.key));
        let shared = usize::from(self.order == RowOrder::ById && is_returned);

        self.last_record = last_record(position, &entries);
        let next = self.position_after(position, &entries);
        self.steps_back.on_accepted(&next);
        let (mut records, mut rejected) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries.into_iter().skip(shared) {
            // In a sweep, the row that pages share is dropped unless it was edited between the two.
            if self.recent.remember(entry.key, entry.content) {
                continue;
            }
            match entry.parsed {
                Ok(record) => records.push(record),
                Err(reason) => rejected.push(reason),
            }
        }
        AcceptedRows { records, rejected, rows_moved: self.rows_moved, next }
    }

    /// An accepted page was returned to the caller, who knows now that rows have moved.
    pub(crate) fn on_returned(&mut self) {
        self.rows_moved = false;
    }

    fn contains_overlap(&self, overlap_id: &str, entries: &[PageEntry]) -> bool {
        let overlap_key = hash_of_id(overlap_id);
        entries.first().is_some_and(|first| self.recent.contains(first.key))
            || entries.iter().any(|entry| entry.key == overlap_key)
            || self.begins_before_overlap_record(overlap_id, entries)
    }

    /// In the order of ids rows do not move, so a page that begins before the place of an overlap record that was
    /// deleted leaves nothing out. The ids of the page itself must be in order, as proof.
    fn begins_before_overlap_record(&self, overlap_id: &str, entries: &[PageEntry]) -> bool {
        let ids: Option<Vec<&str>> = entries.iter().map(|entry| entry.id.as_deref()).collect();
        let Some(ids) = ids else { return false };
        let is_in_order = ids.len() >= MIN_ROWS_TO_TRUST_ORDER && ids.is_sorted_by(|one, next| one < next);
        self.order == RowOrder::ById && is_in_order && ids.first().is_some_and(|first| *first <= overlap_id)
    }

    fn step_back(&mut self, from: Position, limit: u32) -> Continuity {
        let Some(rows) = self.steps_back.next(limit) else { return Continuity::UnstableOrder { offset: from.offset } };
        self.last_record = None;
        let offset = from.offset.saturating_sub(rows);
        Continuity::StepBack(Position { offset, overlap_id: from.overlap_id.filter(|_| offset > 0) })
    }

    /// The next page must begin with the last record of this page that has an id: the overlap record.
    fn position_after(&self, position: &Position, entries: &[PageEntry]) -> Position {
        let last = entries.iter().rposition(|entry| entry.id.is_some()).filter(|index| self.is_enabled && *index > 0);
        let rows = last.unwrap_or(entries.len());
        Position { offset: position.offset + rows as u64, overlap_id: last.and_then(|index| entries[index].id.clone()) }
    }
}

fn last_record(position: &Position, entries: &[PageEntry]) -> Option<LastRecord> {
    let (index, id) = entries.iter().enumerate().rev().find_map(|(index, entry)| Some((index, entry.id.clone()?)))?;
    Some(LastRecord { offset: position.offset + index as u64, id })
}

/// How far to step back, and when that leads nowhere.
#[derive(Debug)]
struct StepsBack {
    /// Since the last accepted page.
    in_a_row: u32,
    /// Since the last page that brought the listing further on.
    without_progress: u32,
    /// Where the furthest accepted page ends.
    furthest: u64,
}

impl StepsBack {
    /// The rows of the next step back; none if there were too many without progress.
    fn next(&mut self, limit: u32) -> Option<u64> {
        if self.without_progress >= MAX_STEPS_BACK {
            return None;
        }
        let rows = u64::from(limit) << self.in_a_row.saturating_sub(SMALL_STEPS_BACK);
        (self.in_a_row, self.without_progress) = (self.in_a_row + 1, self.without_progress + 1);
        Some(rows)
    }

    fn on_accepted(&mut self, next: &Position) {
        self.in_a_row = 0;
        if next.offset > self.furthest {
            (self.furthest, self.without_progress) = (next.offset, 0);
        }
    }
}

/// The records seen last, by key: which version of each.
#[derive(Debug, Default)]
struct RecentRecords {
    versions: HashMap<u64, Version, RandomState>,
    oldest_first: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// It was returned by an earlier pager; this one has not seen it.
    Unseen,
    Content(u64),
}

impl RecentRecords {
    /// Remembers a record that only its key is known of.
    fn expect(&mut self, key: u64) {
        self.insert(key, Version::Unseen);
    }

    /// Remembers a record; true if it was known with the same content.
    fn remember(&mut self, key: u64, content: u64) -> bool {
        self.insert(key, Version::Content(content)) == Some(Version::Content(content))
    }

    fn contains(&self, key: u64) -> bool {
        self.versions.contains_key(&key)
    }

    fn contains_version(&self, entry: &PageEntry) -> bool {
        self.versions.get(&entry.key) == Some(&Version::Content(entry.content))
    }

    /// Whether this pager has seen it, so that the caller has it too.
    fn was_returned(&self, key: u64) -> bool {
        matches!(self.versions.get(&key), Some(Version::Content(_)))
    }

    /// The version before.
    fn insert(&mut self, key: u64, version: Version) -> Option<Version> {
        let before = self.versions.insert(key, version);
        if before.is_none() {
            self.oldest_first.push_back(key);
            if self.oldest_first.len() > REMEMBERED_RECORDS
                && let Some(forgotten) = self.oldest_first.pop_front()
            {
                self.versions.remove(&forgotten);
            }
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::super::page_entry::{entries_of, entry_without_id};
    use super::*;

    const LIMIT: u32 = 3;

    fn page(ids: &[&str]) -> Vec<PageEntry> {
        entries_of(ids.iter().map(|id| (*id, 1)))
    }

    fn at(offset: u64, overlap_id: &str) -> Position {
        Position { offset, overlap_id: Some(overlap_id.to_owned()) }
    }

    fn without_overlap(offset: u64) -> Position {
        Position { offset, overlap_id: None }
    }

    /// A check that has accepted a page of these ids from the beginning, and where it continues.
    fn after(order: RowOrder, ids: &[&str]) -> (OverlapCheck, Position) {
        let mut check = OverlapCheck::new(true, order, &Position::default());
        let next = check.on_accepted(&Position::default(), page(ids)).next;
        check.on_returned();
        (check, next)
    }

    fn ids_of(rows: &AcceptedRows) -> Vec<&str> {
        rows.records.iter().map(|record| record.id.as_str()).collect()
    }

    // ---- Whether there is a gap ----

    #[test]
    fn a_page_leaves_no_gap_if_it_contains_the_overlap_record_or_begins_with_a_known_one() {
        for (ids, expected) in [
            (&["c", "d", "e"][..], Continuity::NoGap),
            // Rows were inserted before it.
            (&["b", "c", "d"], Continuity::NoGap),
            (&["x", "c", "d"], Continuity::NoGap),
            // The overlap record was deleted, and the page begins with another one that is known.
            (&["b", "d", "e"], Continuity::NoGap),
            // Rows before it were deleted.
            (&["d", "e", "f"], Continuity::StepBack(without_overlap(0))),
            (&["x", "b", "a"], Continuity::StepBack(without_overlap(0))),
            (&[], Continuity::StepBack(without_overlap(0))),
        ] {
            let (mut check, next) = after(RowOrder::ById, &["a", "b", "c"]);
            assert_eq!(next, at(2, "c"));
            assert_eq!(check.on_page(&next, &page(ids), LIMIT), expected, "{ids:?}");
        }
    }

    #[test]
    fn a_long_page_in_the_order_of_ids_leaves_no_gap_if_it_begins_before_the_overlap_record() {
        let letters = ["d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];
        let swapped = ["d", "f", "e", "g", "h", "i", "j", "k", "l", "m"];
        let twice = ["d", "e", "e", "g", "h", "i", "j", "k", "l", "m"];
        let step_back = || Continuity::StepBack(at(90, "dd"));
        for (order, overlap_id, ids, expected) in [
            (RowOrder::ById, "dd", &letters[..], Continuity::NoGap),
            (RowOrder::ById, "cc", &letters, Continuity::StepBack(at(90, "cc"))),
            (RowOrder::ById, "dd", &letters[..9], step_back()),
            (RowOrder::ById, "d", &letters, Continuity::NoGap),
            (RowOrder::ById, "dd", &swapped, step_back()),
            (RowOrder::ById, "dd", &twice, step_back()),
            (RowOrder::ByTime, "dd", &letters, step_back()),
        ] {
            let position = at(100, overlap_id);
            let mut check = OverlapCheck::new(true, order, &position);
            assert_eq!(check.on_page(&position, &page(ids), 10), expected, "{order:?} {overlap_id} {ids:?}");
        }
    }

    #[test]
    fn a_page_with_a_record_without_id_does_not_show_the_order_of_ids() {
        let mut entries = page(&["d", "e", "f", "g", "h", "i", "j", "k", "l", "m"]);
        entries.push(entry_without_id());
        let position = at(100, "dd");
        let mut check = OverlapCheck::new(true, RowOrder::ById, &position);
        assert_eq!(check.on_page(&position, &entries, 11), Continuity::StepBack(at(89, "dd")));
    }

    #[test]
    fn the_first_page_of_a_listing_has_no_gap_before_it() {
        let mut check = OverlapCheck::new(true, RowOrder::ById, &Position::default());
        assert_eq!(check.on_page(&Position::default(), &page(&["a"]), LIMIT), Continuity::NoGap);
    }

    #[test]
    fn where_pages_do_not_overlap_no_gap_is_looked_for() {
        let mut check = OverlapCheck::new(false, RowOrder::ById, &Position::default());
        let next = check.on_accepted(&Position::default(), page(&["a", "b", "c"])).next;
        assert_eq!(next, without_overlap(3));
        assert_eq!(check.on_page(&next, &page(&["x"]), LIMIT), Continuity::NoGap);
    }

    #[test]
    fn behind_a_page_of_one_row_the_last_record_is_looked_at_again() {
        let (mut check, next) = after(RowOrder::ById, &["a"]);
        assert_eq!(next, without_overlap(1));
        assert_eq!(check.on_page(&next, &page(&["b"]), 1), Continuity::ProbeLastRecord { offset: 0 });
    }

    #[test]
    fn behind_a_skipped_row_the_last_record_before_it_is_looked_at_again() {
        let (mut check, _) = after(RowOrder::ById, &["a", "b", "c"]);
        check.on_accepted(&at(10, "x"), page(&["x", "y", "z"]));
        assert_eq!(check.on_page(&without_overlap(14), &page(&["zz"]), 1), Continuity::ProbeLastRecord { offset: 12 });
    }

    #[test]
    fn the_last_record_is_in_its_place_if_a_known_one_is() {
        for (found, expected) in [
            (&["a"][..], Continuity::NoGap),
            (&["x"], Continuity::StepBack(without_overlap(0))),
            (&[], Continuity::StepBack(without_overlap(0))),
        ] {
            let (mut check, _) = after(RowOrder::ById, &["a"]);
            assert_eq!(check.on_last_record_probed(page(found).first(), 1), expected, "{found:?}");
        }
    }

    #[test]
    fn a_last_record_that_moved_up_becomes_the_overlap_record_of_the_step_back() {
        let (mut check, _) = after(RowOrder::ById, &["a"]);
        assert_eq!(check.on_known_row(&without_overlap(7), page(&["g"]).first()), without_overlap(8));
        assert_eq!(check.on_page(&without_overlap(8), &page(&["i"]), 1), Continuity::ProbeLastRecord { offset: 7 });
        assert_eq!(check.on_last_record_probed(page(&["h"]).first(), 1), Continuity::StepBack(at(6, "g")));
        // Once is enough.
        assert_eq!(check.on_page(&without_overlap(8), &page(&["i"]), 1), Continuity::NoGap);
    }

    // ---- Steps back ----

    fn steps(steps: &mut StepsBack, count: usize) -> Vec<Option<u64>> {
        (0..count).map(|_| steps.next(100)).collect()
    }

    #[test]
    fn steps_back_are_page_by_page_and_double_after_the_eighth() {
        let mut new = StepsBack { in_a_row: 0, without_progress: 0, furthest: 0 };
        assert_eq!(
            steps(&mut new, 12),
            [[100; 9].as_slice(), &[200, 400, 800]].concat().into_iter().map(Some).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_accepted_page_makes_steps_back_small_again() {
        let mut new = StepsBack { in_a_row: 20, without_progress: 20, furthest: 1000 };
        new.on_accepted(&without_overlap(500));
        assert_eq!((new.next(100), new.without_progress), (Some(100), 21));
    }

    #[test]
    fn forty_steps_back_without_progress_are_the_most() {
        let mut new = StepsBack { in_a_row: 0, without_progress: 0, furthest: 1000 };
        assert!(steps(&mut new, 40).iter().all(Option::is_some));
        assert_eq!(new.next(100), None);
        // A page that was read before is no progress.
        new.on_accepted(&without_overlap(1000));
        assert_eq!(new.next(100), None);
        new.on_accepted(&without_overlap(1001));
        assert_eq!(new.next(100), Some(100));
    }

    #[test]
    fn an_order_that_does_not_hold_still_is_unstable_where_it_was_given_up() {
        let mut check = OverlapCheck::new(true, RowOrder::ById, &at(100_000, "c"));
        for _ in 0..MAX_STEPS_BACK {
            let verdict = check.on_page(&at(100_000, "c"), &page(&["x"]), 1);
            assert!(matches!(verdict, Continuity::StepBack(_)), "{verdict:?}");
            // What is read again is accepted, and gets no further.
            check.on_accepted(&without_overlap(10), page(&["y"]));
        }
        assert_eq!(check.on_page(&at(99, "c"), &page(&["x"]), 1), Continuity::UnstableOrder { offset: 99 });
    }

    #[test]
    fn a_step_back_to_the_beginning_expects_no_overlap_record() {
        let position = at(50, "c");
        let mut check = OverlapCheck::new(true, RowOrder::ById, &position);
        assert_eq!(check.on_page(&position, &page(&["x"]), 20), Continuity::StepBack(at(30, "c")));
        assert_eq!(check.on_page(&at(30, "c"), &page(&["x"]), 20), Continuity::StepBack(at(10, "c")));
        assert_eq!(check.on_page(&at(10, "c"), &page(&["x"]), 20), Continuity::StepBack(without_overlap(0)));
        assert!(check.is_stepping_back());
    }

    #[test]
    fn the_furthest_page_begins_where_the_furthest_accepted_one_ends_or_behind() {
        let (check, next) = after(RowOrder::ById, &["a", "b", "c"]);
        assert_eq!(next.offset, 2);
        let is_furthest = [1, 2, 3].map(|offset| check.is_furthest(&without_overlap(offset)));
        assert_eq!(is_furthest, [false, true, true]);
    }

    // ---- What is new, and where the listing continues ----

    #[test]
    fn a_page_returns_what_is_new_and_the_next_one_begins_with_its_last_record() {
        let (mut check, next) = after(RowOrder::ById, &["a", "b", "c"]);
        let rows = check.on_accepted(&next, page(&["c", "d", "e"]));
        assert_eq!((ids_of(&rows), rows.rows_moved, &rows.next), (vec!["d", "e"], false, &at(4, "e")));
    }

    #[test]
    fn a_resumed_listing_returns_the_overlap_record_again() {
        let position = at(2, "c");
        let mut check = OverlapCheck::new(true, RowOrder::ById, &position);
        assert_eq!(ids_of(&check.on_accepted(&position, page(&["c", "d", "e"]))), ["c", "d", "e"]);
    }

    #[test]
    fn of_a_resumed_listing_only_the_overlap_record_is_known() {
        let check = OverlapCheck::new(true, RowOrder::ById, &at(2, "c"));
        let is_new = ["c", "d"].map(|id| check.has_new_records(&page(&[id])));
        assert_eq!(is_new, [false, true]);
    }

    #[test]
    fn an_overlap_record_that_was_edited_in_between_is_returned_again_in_a_sweep_only() {
        for (order, expected) in [(RowOrder::ById, &["d"][..]), (RowOrder::ByTime, &["c", "d"])] {
            let (mut check, next) = after(order, &["a", "b", "c"]);
            let rows = check.on_accepted(&next, entries_of([("c", 2), ("d", 1)]));
            assert_eq!((ids_of(&rows).as_slice(), rows.rows_moved), (expected, true), "{order:?}");
        }
    }

    #[test]
    fn the_next_page_begins_with_the_last_record_that_has_an_id() {
        let mut entries = page(&["a", "b"]);
        entries.push(entry_without_id());
        let mut check = OverlapCheck::new(true, RowOrder::ById, &Position::default());
        let rows = check.on_accepted(&Position::default(), entries);
        assert_eq!((rows.rejected.len(), rows.next), (1, at(1, "b")));
        // If that is the first one, it would bring the same page again.
        let rows = check.on_accepted(&at(1, "b"), vec![page(&["b"]).remove(0), entry_without_id()]);
        assert_eq!((rows.rejected.len(), rows.next), (0, without_overlap(3)));
    }

    #[test]
    fn rows_have_moved_until_a_page_is_returned() {
        let (mut check, next) = after(RowOrder::ById, &["a", "b", "c"]);
        _ = check.on_page(&next, &page(&["x"]), LIMIT);
        assert!(check.on_accepted(&Position::default(), page(&["a", "b", "c"])).rows_moved);
        assert!(check.on_accepted(&next, page(&["c", "d", "e"])).rows_moved, "no page was returned yet");
        check.on_returned();
        assert!(!check.on_accepted(&at(4, "e"), page(&["e", "f", "g"])).rows_moved);
    }

    #[test]
    fn a_page_that_does_not_begin_with_the_overlap_record_shows_that_rows_have_moved() {
        let (mut check, next) = after(RowOrder::ById, &["a", "b", "c"]);
        assert!(check.on_accepted(&next, page(&["b", "c", "d"])).rows_moved);
    }

    #[test]
    fn only_a_page_that_begins_with_the_overlap_record_and_has_new_ones_is_a_plain_continuation() {
        let (check, next) = after(RowOrder::ById, &["a", "b", "c"]);
        for (ids, expected) in
            [(&["c", "d"][..], true), (&["c"], false), (&["b", "c", "d"], false), (&["d"], false), (&[], false)]
        {
            assert_eq!(check.is_plain_continuation(&next, &page(ids)), expected, "{ids:?}");
        }
        let without_id = [entry_without_id(), entry_without_id()];
        assert!(!check.is_plain_continuation(&without_overlap(3), &without_id));
    }

    #[test]
    fn the_ten_thousand_records_seen_last_are_known() {
        let mut recent = RecentRecords::default();
        for key in 0..=REMEMBERED_RECORDS as u64 {
            assert!(!recent.remember(key, 1));
        }
        assert!(!recent.contains(0) && recent.contains(1) && recent.contains(REMEMBERED_RECORDS as u64));
        assert!(recent.remember(1, 1) && !recent.remember(1, 2) && recent.remember(1, 2));
    }
}
