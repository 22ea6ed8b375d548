//! What is known of how Planhat answers for an object, and what a scan adds to it.
//!
//! A scan that reads everything by id sees the time of every record, and whether the listing with hidden records has all the others
//! too. What it learns is stored when it ends. The next scan relies on it only as far as `prove_listings` proves it
//! again.

use planhat_api::{LearnedPages, PageCeiling};
use planhat_model::capability::{Capability, HiddenListing, LimitDetail, SortDetail};
use planhat_model::catalog::Object;
use planhat_model::record::Record;
use planhat_model::scan::KnownOrder;
use planhat_store::{ProvenCapability, StoredCapability};
use serde_json::json;

/// What was learned of an object, and not disproved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Learned {
    pub(super) hidden: Option<HiddenListing>,
    /// The times of all records, if every record has one.
    pub(super) times: Option<SortDetail>,
    /// A listing did not come in the order that was asked for, or a record has no time. It is tried again when everything was
    /// compared.
    pub(super) is_sort_disproved: bool,
    /// How large pages may be.
    pub(super) pages: LearnedPages,
}

impl Learned {
    /// Of all that is stored of a workspace.
    pub(super) fn of(object: &Object, stored: &[StoredCapability]) -> Learned {
        let stored_of = |capability| stored.iter().find(|known| known.is(object.name, capability));
        let holds = |capability| stored_of(capability).filter(|known| known.holds());
        // A catalogue of another release may name another time.
        let times = holds(Capability::Sort).filter(|known| object.sweeps().first().is_some_and(|field| *field == known.value));
        Learned {
            hidden: holds(Capability::Hidden).and_then(|known| HiddenListing::from_name(&known.value)),
            times: times.map(StoredCapability::detail),
            is_sort_disproved: stored_of(Capability::Sort).is_some_and(|known| !known.holds()),
            pages: holds(Capability::Limit).map(pages_of).unwrap_or_default(),
        }
    }

    pub(super) fn can_be_swept(&self) -> bool {
        self.times.is_some_and(|times| times.has_an_order())
    }

    pub(super) fn order_of(&self, hidden: bool) -> KnownOrder {
        let times = self.times.unwrap_or_default();
        KnownOrder { newest: times.newest_of(hidden), is_honoured: times.is_honoured }
    }
}

fn pages_of(known: &StoredCapability) -> LearnedPages {
    let (rows, LimitDetail { bytes_per_record, asked }) = (known.value.parse().ok(), known.detail());
    LearnedPages {
        largest_page: rows,
        ceiling: asked.and(rows).map(|rows| PageCeiling::Clamped { rows }),
        bytes_per_row: Some(bytes_per_record).filter(|bytes| *bytes > 0),
    }
}

/// What the pages of a scan have shown, unless it is about what was known. That an answer was slow is true of a moment alone.
pub(super) fn page_finding(object: &'static Object, seen: LearnedPages, known: LearnedPages) -> Finding {
    let (rows, asked) = match (seen.largest_page, seen.ceiling) {
        (_, Some(PageCeiling::Clamped { rows })) => (rows, Some(rows.saturating_add(1))),
        (Some(rows), Some(PageCeiling::Refused { limit })) => (rows, Some(limit)),
        (Some(rows), Some(PageCeiling::Slow { .. }) | None) => (rows, None),
        (None, _) => return Finding::Nothing,
    };
    let bytes_per_record = seen.bytes_per_row.unwrap_or_default();
    let is_about = |one: u64, other: u64| one.abs_diff(other) * 4 <= one.max(other);
    let known_rows = known.largest_page.unwrap_or_default();
    let is_known = is_about(rows.into(), known_rows.into())
        && is_about(bytes_per_record, known.bytes_per_row.unwrap_or_default())
        && asked.is_some() == known.ceiling.is_some();
    if is_known || rows <= known_rows && asked.is_none() && known.ceiling.is_none() && known.bytes_per_row.is_some() {
        return Finding::Nothing;
    }
    let more = asked.map_or(String::new(), |limit| format!(", and a limit of {limit} was not answered in full"));
    Finding::Proven(ProvenCapability {
        object: object.name,
        capability: Capability::Limit,
        value: rows.to_string(),
        detail: json!(LimitDetail { bytes_per_record, asked }),
        proof: format!("a page had {rows} records{more}"),
    })
}

/// The times of the records that a scan of everything has listed.
#[derive(Debug)]
pub(super) struct TimesSeen {
    field: &'static str,
    seen: SortDetail,
    records: u64,
    /// Records that lack the time, or could not be read.
    without: u64,
}

impl TimesSeen {
    pub(super) fn of(field: &'static str) -> TimesSeen {
        TimesSeen { field, seen: SortDetail::default(), records: 0, without: 0 }
    }

    /// A page of a listing.
    pub(super) fn add(&mut self, hidden: bool, records: &[Record], rejected: usize) {
        self.records += (records.len() + rejected) as u64;
        self.without += rejected as u64;
        for record in records {
            match record.instant(self.field) {
                Some(time) => self.seen.add(hidden, time),
                None => self.without += 1,
            }
        }
    }

    /// What they prove, where something else was known before.
    pub(super) fn proven(&self, object: &'static Object, known: &Learned) -> Finding {
        let TimesSeen { field, seen, records, without } = *self;
        match (records, without) {
            (0, _) => Finding::Nothing,
            (_, 0) => {
                let detail = SortDetail { is_honoured: known.times.is_some_and(|times| times.is_honoured), ..seen };
                if known.times == Some(detail) {
                    return Finding::Nothing;
                }
                let proof = format!("each of {records} listed records had {field}");
                Finding::Proven(sort_capability(object, field, &detail, proof))
            }
            (records, without) => Finding::Disproved(format!("{without} of {records} listed records did not have {field}")),
        }
    }
}

/// What a scan has found out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// Nothing that was not known.
    Nothing,
    Proven(ProvenCapability),
    Disproved(String),
}

/// That a listing can be read newest first, with the times that are known of it.
pub(super) fn sort_capability(
    object: &'static Object,
    field: &'static str,
    detail: &SortDetail,
    proof: String,
) -> ProvenCapability {
    ProvenCapability { object: object.name, capability: Capability::Sort, value: field.to_owned(), detail: json!(detail), proof }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use planhat_model::catalog;

    use super::*;

    fn time(day: u32) -> DateTime<Utc> {
        format!("2026-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    fn record(day: Option<u32>) -> Record {
        let record = json!({"_id": "a", "updatedAt": day.map(|day| time(day).to_rfc3339())});
        Record::parse(serde_json::value::to_raw_value(&record).unwrap()).unwrap()
    }

    fn stored(capability: Capability, value: &str, detail: SortDetail) -> StoredCapability {
        StoredCapability {
            object: "tasks".to_owned(),
            capability: capability.as_str().to_owned(),
            value: value.to_owned(),
            detail: json!(detail),
            proof: String::new(),
            proven_at: time(1),
            disproof: None,
            disproved_at: None,
        }
    }

    #[test]
    fn only_what_is_stored_of_the_object_and_was_not_disproved_counts() {
        let tasks = catalog::object("tasks").unwrap();
        let mut detail = SortDetail::default();
        detail.add(true, time(2));
        let all = [stored(Capability::Hidden, "adds", SortDetail::default()), stored(Capability::Sort, "updatedAt", detail)];
        assert_eq!(
            Learned::of(tasks, &all),
            Learned { hidden: Some(HiddenListing::Adds), times: Some(detail), ..Learned::default() }
        );
        assert_eq!(Learned::of(catalog::object("projects").unwrap(), &all), Learned::default());
        let disproved = all.map(|known| StoredCapability { disproved_at: Some(time(3)), ..known });
        assert_eq!(Learned::of(tasks, &disproved), Learned { is_sort_disproved: true, ..Learned::default() });
        assert_eq!(Learned::of(tasks, &[stored(Capability::Sort, "changedAt", detail)]), Learned::default());
    }

    #[test]
    fn what_pages_have_shown_is_stored_if_it_is_news_and_read_again() {
        let tasks = catalog::object("tasks").unwrap();
        let nothing = LearnedPages::default();
        let seen = |rows, ceiling, bytes| LearnedPages { largest_page: Some(rows), ceiling, bytes_per_row: Some(bytes) };
        let clamped = Some(PageCeiling::Clamped { rows: 700 });
        for (seen, known, expected) in [
            (nothing, nothing, None),
            (seen(2000, None, 1200), nothing, Some(seen(2000, None, 1200))),
            (seen(2000, None, 1250), seen(1900, None, 1200), None),
            (seen(500, None, 1200), seen(2000, None, 1200), None),
            (seen(5000, None, 1200), seen(2000, None, 1200), Some(seen(5000, None, 1200))),
            (seen(500, clamped, 1200), seen(2000, None, 1200), Some(seen(700, clamped, 1200))),
            (seen(700, clamped, 1200), seen(700, clamped, 1200), None),
            // The server takes more now.
            (seen(2000, None, 1200), seen(700, clamped, 1200), Some(seen(2000, None, 1200))),
            // It was slow for a moment.
            (seen(500, Some(PageCeiling::Slow { limit: 2000 }), 1200), nothing, Some(seen(500, None, 1200))),
        ] {
            let found = match page_finding(tasks, seen, known) {
                Finding::Nothing => None,
                Finding::Proven(ProvenCapability { value, detail, .. }) => {
                    let detail: LimitDetail = serde_json::from_value(detail).unwrap();
                    let stored = stored(Capability::Limit, &value, SortDetail::default());
                    Some(pages_of(&StoredCapability { detail: json!(detail), ..stored }))
                }
                Finding::Disproved(why) => panic!("{why}"),
            };
            assert_eq!(found, expected, "{seen:?} {known:?}");
        }
    }

    #[test]
    fn times_are_learned_if_every_listed_record_has_one() {
        let tasks = catalog::object("tasks").unwrap();
        let mut seen = TimesSeen::of("updatedAt");
        assert_eq!(seen.proven(tasks, &Learned::default()), Finding::Nothing, "nothing was listed");
        seen.add(false, &[record(Some(3)), record(Some(5))], 0);
        seen.add(true, &[record(Some(4))], 0);
        let Finding::Proven(proven) = seen.proven(tasks, &Learned::default()) else { panic!() };
        let detail: SortDetail = serde_json::from_value(proven.detail).unwrap();
        let expected =
            SortDetail { newest: Some(time(5)), newest_with_hidden: Some(time(4)), oldest: Some(time(3)), is_honoured: false };
        assert_eq!((proven.value.as_str(), detail), ("updatedAt", expected));
        assert_eq!(proven.proof, "each of 3 listed records had updatedAt");
        assert_eq!(seen.proven(tasks, &Learned { times: Some(expected), ..Learned::default() }), Finding::Nothing, "it is known");

        seen.add(false, &[record(None)], 0);
        assert_eq!(
            seen.proven(tasks, &Learned::default()),
            Finding::Disproved("1 of 4 listed records did not have updatedAt".to_owned())
        );
    }

    #[test]
    fn a_record_that_could_not_be_read_has_no_time() {
        let mut seen = TimesSeen::of("updatedAt");
        seen.add(false, &[record(Some(3))], 1);
        assert!(matches!(seen.proven(catalog::object("tasks").unwrap(), &Learned::default()), Finding::Disproved(_)));
    }

    #[test]
    fn that_an_order_is_honoured_stays_known_when_all_times_are_seen_again() {
        let tasks = catalog::object("tasks").unwrap();
        let known = Learned { times: Some(SortDetail { is_honoured: true, ..SortDetail::default() }), ..Learned::default() };
        let mut seen = TimesSeen::of("updatedAt");
        seen.add(false, &[record(Some(3))], 0);
        let Finding::Proven(proven) = seen.proven(tasks, &known) else { panic!() };
        assert_eq!(proven.detail["is_honoured"], true);
    }
}
