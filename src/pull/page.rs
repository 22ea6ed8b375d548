//! What becomes of the records of a page: stored or compared, left out, or rejected.
//!
//! A record that was forgotten goes no further than here, whatever the scan, and references to people who were forgotten
//! are left out of the others before anything else sees them.
//!
//! The window decides by a record's own times. A record older than the window is still compared if it is stored and its
//! times do not show that it is unchanged, or if its row is marked as deleted: then it is restored. A record that has not changed,
//! but belongs to the history and has no row, is stored: the history was shorter when it was left out.
//!
//! Every record that comes from Planhat passes here, whether a listing shows it or it was requested by its id.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use planhat_api::Page;
use planhat_model::record::{Json, Origin, Record, Rejected};
use planhat_model::rules::{ForgottenRecords, NotARecord, Rules, kept_record, kept_text};
use planhat_model::scan::{Window, WindowVerdict};
use planhat_store::{RefusedRow, StoreError};

use super::repeats::{RepeatFilter, RepeatKey};
use super::table_writer::TableWriter;

/// The records of a page by what becomes of them, and how many there are of each: together they are all that was listed.
pub(super) struct ClassifiedPage {
    /// Each once: of records with the same id the last one counts.
    pub(super) taken: Vec<Record>,
    /// The time of the oldest of those.
    pub(super) oldest: Option<DateTime<Utc>>,
    /// Those that are outside the history.
    pub(super) outside_history: usize,
    /// Those of them that have no row.
    pub(super) left_out: usize,
    /// Those whose own times show that they are stored as they are.
    pub(super) unchanged: usize,
    pub(super) rejected: Vec<Rejected>,
    /// Those that were forgotten and are not stored.
    pub(super) forgotten: usize,
    /// All records of the page.
    pub(super) listed: usize,
    /// The ids in `taken` that an earlier listing of this run contained.
    pub(super) again: HashSet<String>,
    /// Records not in `taken` and not rejected that this run or page has listed before.
    pub(super) listed_again: usize,
    /// The keys by which a later listing recognises the page's records.
    pub(super) shown: Vec<RepeatKey>,
    pub(super) pages: u32,
}

/// A record that is older than the window, with the newest of its times.
type Older = (Record, Option<DateTime<Utc>>, WindowVerdict);

impl ClassifiedPage {
    /// Classifies the records of a page, with the newest of each one's times. A record in quarantine is taken whatever its
    /// age, so that it is never lost sight of.
    pub(super) async fn of(
        page: Page,
        newest: Vec<Option<DateTime<Utc>>>,
        window: Window,
        table: &TableWriter<'_>,
        repeats: &RepeatFilter,
    ) -> Result<ClassifiedPage, StoreError> {
        let Page { records, rejected, pages, .. } = page;
        let listed = records.len() + rejected.len();
        let mut classified = ClassifiedPage { listed, pages, ..ClassifiedPage::empty() };
        for rejected in rejected {
            match rejected.id.as_deref().filter(|id| table.has_forgotten(id)) {
                Some(id) => classified.forget(id, repeats),
                None => classified.rejected.push(rejected),
            }
        }
        let mut older: Vec<Older> = Vec::new();
        let is_last = are_last_of_their_id(&records);
        classified.listed_again = is_last.iter().filter(|is_last| !**is_last).count();
        for ((record, newest), _) in records.into_iter().zip(newest).zip(is_last).filter(|(_, is_last)| *is_last) {
            if table.has_forgotten(&record.id) {
                classified.forget(&record.id, repeats);
                continue;
            }
            if let Some(key) = repeats.key_of(&record.id) {
                if repeats.was_listed_before(key) {
                    classified.again.insert(record.id.clone());
                }
                classified.shown.push(key);
            }
            match window.judge(table.object, &record, newest) {
                WindowVerdict::In => classified.take(record, newest),
                _ if table.has_in_quarantine(&record.id) => classified.take(record, newest),
                verdict => older.push((record, newest, verdict)),
            }
        }
        classified.classify_older(older, table).await?;
        Ok(classified)
    }

    /// What is not stored is outside the history, whatever its times say.
    async fn classify_older(&mut self, older: Vec<Older>, table: &TableWriter<'_>) -> Result<(), StoreError> {
        let ids: Vec<&str> = older.iter().map(|(record, ..)| record.id.as_str()).collect();
        let is_deleted: HashMap<String, bool> = table.deletion_marks_of(&ids).await?;
        for (record, newest, verdict) in older {
            match (is_deleted.get(&record.id), verdict) {
                (Some(true), _) | (Some(false), WindowVerdict::IfStored) | (None, WindowVerdict::Unchanged) => {
                    self.take(record, newest);
                }
                _ if self.again.remove(&record.id) => self.listed_again += 1,
                (Some(false), WindowVerdict::Unchanged | WindowVerdict::OldAndUnchanged) => self.unchanged += 1,
                (stored, _) => {
                    self.outside_history += 1;
                    self.left_out += usize::from(stored.is_none());
                }
            }
        }
        Ok(())
    }

    pub(super) fn empty() -> ClassifiedPage {
        ClassifiedPage {
            taken: Vec::new(),
            oldest: None,
            outside_history: 0,
            left_out: 0,
            unchanged: 0,
            rejected: Vec::new(),
            forgotten: 0,
            listed: 0,
            again: HashSet::new(),
            listed_again: 0,
            shown: Vec::new(),
            pages: 0,
        }
    }

    fn take(&mut self, record: Record, newest: Option<DateTime<Utc>>) {
        self.oldest = self.oldest.into_iter().chain(newest).min();
        self.taken.push(record);
    }

    /// Leaves out a record that was forgotten, and counts it once.
    fn forget(&mut self, id: &str, repeats: &RepeatFilter) {
        let key = repeats.key_of(id);
        if key.is_some_and(|key| repeats.was_listed_before(key)) {
            self.listed_again += 1;
        } else {
            self.forgotten += 1;
        }
        self.shown.extend(key);
    }

    /// The same page without references to people who were forgotten.
    pub(super) fn without_references_to(mut self, forgotten: &ForgottenRecords) -> ClassifiedPage {
        if !forgotten.leaves_out_references() {
            return self;
        }
        let keep = |origin: Origin, name: &str, value: Json<'_>| forgotten.kept(origin, name, value);
        let without = |rejected: Rejected| {
            let raw = match kept_text(&rejected.raw, &keep) {
                Ok(kept) => kept,
                Err(NotARecord) => forgotten.without_references(&rejected.raw),
            };
            let reason = forgotten.without_references(&rejected.reason);
            Rejected { raw: raw.unwrap_or(rejected.raw), reason: reason.unwrap_or(rejected.reason), ..rejected }
        };
        self.rejected = self.rejected.into_iter().map(without).collect();
        for record in std::mem::take(&mut self.taken) {
            match kept_record(&record, &keep) {
                Ok(kept) => self.taken.push(kept.unwrap_or(record)),
                // Not with its text, in which the references are.
                Err(rejected) => self.rejected.push(Rejected { id: Some(record.id), ..rejected }),
            }
        }
        self
    }

    /// The same page with what the rules let through.
    pub(super) fn under(mut self, rules: &Rules) -> ClassifiedPage {
        self.rejected = self.rejected.into_iter().map(|rejected| rules.apply_to_rejected(rejected)).collect();
        for record in std::mem::take(&mut self.taken) {
            match rules.apply(&record) {
                Ok(record) => self.taken.push(record),
                Err(rejected) => {
                    rejected.id.as_ref().map(|id| self.again.remove(id));
                    self.rejected.push(rejected);
                }
            }
        }
        self
    }

    /// The record behind a row that the database refused.
    pub(super) fn refuse(&self, refused: RefusedRow) -> Option<Rejected> {
        let record = self.taken.iter().rfind(|record| record.id == refused.id)?;
        Some(record.refused(refused.reason, refused.sqlstate))
    }
}

/// Of each record whether no later one of the page has its id.
fn are_last_of_their_id(records: &[Record]) -> Vec<bool> {
    let mut seen = HashSet::with_hasher(RandomState::default());
    let mut is_last: Vec<bool> = records.iter().rev().map(|record| seen.insert(record.id.as_str())).collect();
    is_last.reverse();
    is_last
}

#[cfg(test)]
mod tests {
    use planhat_model::keyed_hash::HashKey;
    use serde_json::{Value, json};

    use super::*;

    fn record(fields: Value) -> Record {
        Record::parse(serde_json::value::to_raw_value(&fields).unwrap()).unwrap()
    }

    fn day(day: u32) -> Option<DateTime<Utc>> {
        Some(format!("2026-01-{day:02}T00:00:00Z").parse().unwrap())
    }

    #[test]
    fn of_records_with_the_same_id_the_last_one_of_a_page_counts() {
        let records = ["a", "b", "a", "c", "a"].map(|id| record(json!({"_id": id})));
        assert_eq!(are_last_of_their_id(&records), [false, true, false, true, true]);
    }

    #[test]
    fn a_page_knows_the_oldest_time_of_the_records_that_it_takes() {
        let mut page = ClassifiedPage::empty();
        for (id, newest) in [("a", None), ("b", day(5)), ("c", day(3)), ("d", day(4)), ("e", None)] {
            page.take(record(json!({"_id": id})), newest);
        }
        assert_eq!((page.taken.len(), page.oldest), (5, day(3)));
    }

    #[test]
    fn a_forgotten_record_is_counted_once_however_many_listings_show_it() {
        let mut repeats = RepeatFilter::default();
        repeats.enable();
        for (listing, expected) in [(1, (1, 0)), (2, (0, 1))] {
            repeats.begin_listing();
            let mut page = ClassifiedPage::empty();
            page.forget("a", &repeats);
            assert_eq!((page.forgotten, page.listed_again), expected, "listing {listing}");
            assert_eq!(page.shown, [repeats.key_of("a").unwrap()]);
            repeats.insert(&page.shown);
        }
        let mut alone = ClassifiedPage::empty();
        alone.forget("a", &RepeatFilter::default());
        assert_eq!((alone.forgotten, alone.listed_again, alone.shown.len()), (1, 0, 0));
    }

    #[test]
    fn a_refused_row_is_the_last_record_with_its_id() {
        let mut page = ClassifiedPage::empty();
        for fields in [json!({"_id": "a", "n": 1}), json!({"_id": "b"}), json!({"_id": "a", "n": 2})] {
            page.take(record(fields), None);
        }
        let refused = |id: &str| RefusedRow { id: id.to_owned(), reason: "too long".to_owned(), sqlstate: "22001".to_owned() };
        let rejected = page.refuse(refused("a")).unwrap();
        assert_eq!((rejected.id.as_deref(), rejected.raw.as_str()), (Some("a"), r#"{"_id":"a","n":2}"#));
        assert_eq!((rejected.reason.as_str(), rejected.sqlstate.as_deref()), ("too long", Some("22001")));
        assert_eq!(page.refuse(refused("c")), None);
    }

    #[test]
    fn references_to_who_was_forgotten_are_left_out_of_records_and_of_what_is_rejected() {
        let key = HashKey::new(b"a key of the tests");
        let kim = "kim@acme.example";
        let forgotten = ForgottenRecords::new(&key, [], [ForgottenRecords::hash_of_reference(&key, kim)]);
        let page = || {
            let mut page = ClassifiedPage::empty();
            page.take(record(json!({"_id": "a", "owner": kim})), None);
            page.take(record(json!({"_id": "b", "owner": "lee@acme.example"})), None);
            page.rejected.push(Rejected::of_text(format!(r#"{{"by":"{kim}"}}"#), "no _id".to_owned()));
            page.rejected.push(Rejected::of_text(format!("[\"{kim}\"]"), format!("refused: {kim} is too long")));
            page
        };
        let texts = |page: &ClassifiedPage| -> Vec<String> {
            let owners = page.taken.iter().map(|record| record.get("owner").unwrap().as_written().to_owned());
            owners.chain(page.rejected.iter().map(|rejected| format!("{} {}", rejected.raw, rejected.reason))).collect()
        };
        let expected = texts(&page()).iter().map(|text| text.replace(kim, "[forgotten]")).collect::<Vec<_>>();
        assert_eq!(texts(&page().without_references_to(&forgotten)), expected);
        assert_eq!(texts(&page().without_references_to(&ForgottenRecords::default())), texts(&page()));
    }
}
