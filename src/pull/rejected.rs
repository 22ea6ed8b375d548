//! Records that cannot be stored: how many are allowed, how many of their texts are kept, and how they are counted.
//!
//! A few bad records are quarantined and the others are stored. If many records are rejected, Planhat's API has probably
//! changed, and copying the workspace as raw text every day would help nobody. So the *rejection guard* fails the object. The
//! next run starts its scan from the beginning, because records that were rejected before the guard stopped the scan may have
//! no id by which they could be recognised later.
//!
//! The guard judges each listing separately, so that a thousand good records of one listing do not hide that all records of
//! another are bad. A small object never has enough records for that, so there is one more rule: if every record of a scan was
//! rejected, and there are several, the object fails too. Failing costs nothing there: little is read again, nothing is lost,
//! and the watermark of a scan that stored nothing should not move.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use planhat_model::record::{Rejected, is_whole_text};
use planhat_store::NewQuarantineEntry;
use xxhash_rust::xxh3::xxh3_64;

/// If all of at least this many records were rejected, that is not by chance.
const MIN_REJECTED_TO_FAIL_SCAN: usize = 3;
/// The most that is kept of the text of one record: more than any record has that people would read.
const MAX_TEXT_BYTES: usize = 128 * 1024;
/// Records that are told apart when they are counted; further ones count as often as they are listed.
const MAX_RECORDS_TOLD_APART: usize = 1_000_000;
/// Ids that are named where a run says what it could not store, and how much of each.
const NAMED_IDS: usize = 3;
const ID_CHARS: usize = 40;

/// The limits of the rejection guard: at least `rows` rejected records of a listing, and more than this percentage of the
/// records listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectionGuard {
    pub percent: u8,
    pub rows: u32,
}

/// How many of the records that were listed were rejected, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RejectionShare {
    pub(super) listed: u64,
    pub(super) rejected: u64,
    reasons: BTreeMap<String, u64>,
    /// The first rejected records, each once: several listings of a scan may show the same record.
    first: BTreeSet<u64>,
}

impl RejectionShare {
    pub(super) fn add<'a>(&mut self, listed: usize, rejected: impl IntoIterator<Item = &'a Rejected>) {
        self.listed += listed as u64;
        for rejected in rejected {
            self.rejected += 1;
            if self.first.len() < MIN_REJECTED_TO_FAIL_SCAN {
                self.first.insert(key_of(rejected));
            }
            *self.reasons.entry(rejected.reason_class()).or_default() += 1;
        }
    }

    /// What most of them were rejected for.
    pub(super) fn reason(&self) -> &str {
        self.reasons.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason)
    }
}

impl RejectionGuard {
    /// Whether it fails an object of whose listing so much has been read.
    pub(super) fn is_exceeded_by(self, listing_rejections: &RejectionShare) -> bool {
        let RejectionShare { listed, rejected, .. } = *listing_rejections;
        rejected >= u64::from(self.rows.max(1)) && rejected * 100 > u64::from(self.percent) * listed
    }

    /// Whether it fails an object of which this is everything that was listed.
    pub(super) fn rejects_whole_scan(self, scan_rejections: &RejectionShare) -> bool {
        self.percent < 100
            && scan_rejections.rejected == scan_rejections.listed
            && scan_rejections.first.len() >= MIN_REJECTED_TO_FAIL_SCAN
    }
}

/// The records that a run has rejected, each counted once however often it is listed.
#[derive(Debug, Default)]
pub(super) struct RejectionTally {
    /// Key of each record -> its rank in the order of rejection.
    known: HashMap<u64, usize, RandomState>,
    reasons: BTreeMap<String, u64>,
    /// The first ids.
    ids: Vec<String>,
}

impl RejectionTally {
    /// The quarantine entries of these records; at most `most_texts` records of a run keep their texts.
    pub(super) fn entries<'a>(
        &self,
        rejected: impl IntoIterator<Item = &'a Rejected>,
        most_texts: usize,
    ) -> Vec<NewQuarantineEntry<'a>> {
        let mut place = self.known.len();
        let mut entry = |rejected: &'a Rejected| {
            let place = self.known.get(&key_of(rejected)).copied().unwrap_or_else(|| {
                place += 1;
                place - 1
            });
            NewQuarantineEntry {
                rejected,
                raw: if place < most_texts { bounded(&rejected.raw) } else { left_out(&rejected.raw, most_texts) },
            }
        };
        rejected.into_iter().map(&mut entry).collect()
    }

    /// Counts them when they have been committed. Returns how many are new.
    pub(super) fn add<'a>(&mut self, rejected: impl IntoIterator<Item = &'a Rejected>) -> usize {
        let mut new = 0;
        for rejected in rejected {
            let (key, place) = (key_of(rejected), self.known.len());
            if self.known.contains_key(&key) {
                continue;
            }
            if place < MAX_RECORDS_TOLD_APART {
                self.known.insert(key, place);
            }
            new += 1;
            *self.reasons.entry(rejected.reason_class()).or_default() += 1;
            if let Some(id) = rejected.id.as_ref().filter(|_| self.ids.len() <= NAMED_IDS) {
                self.ids.push(id.chars().take(ID_CHARS).flat_map(char::escape_debug).collect());
            }
        }
        new
    }

    /// Why they were rejected, and which; none if there are none.
    pub(super) fn summary(&self) -> Option<String> {
        let mut reasons: Vec<(&String, u64)> = self.reasons.iter().map(|(reason, count)| (reason, *count)).collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let named: Vec<String> = match reasons.as_slice() {
            [(reason, _)] => vec![(*reason).clone()],
            several => several.iter().map(|(reason, count)| format!("{count} × {reason}")).collect(),
        };
        let more = if self.ids.len() > NAMED_IDS { " …" } else { "" };
        let ids = self.ids[..self.ids.len().min(NAMED_IDS)].join(", ");
        let ids = if ids.is_empty() { ids } else { format!("; ids: {ids}{more}") };
        (!named.is_empty()).then(|| format!("{}{ids}", named.join(", ")))
    }
}

fn key_of(rejected: &Rejected) -> u64 {
    rejected.id.as_ref().map_or(rejected.fingerprint.cast_unsigned(), |id| xxh3_64(id.as_bytes()))
}

/// The text, cut to its maximum length; a cut text begins with a note in round brackets.
fn bounded(raw: &str) -> Cow<'_, str> {
    if raw.len() <= MAX_TEXT_BYTES || !is_whole_text(raw) {
        return Cow::Borrowed(raw);
    }
    let end = (0..=MAX_TEXT_BYTES).rev().find(|end| raw.is_char_boundary(*end)).unwrap_or_default();
    Cow::Owned(format!("(the first {end} of {} bytes) {}", raw.len(), &raw[..end]))
}

fn left_out(raw: &str, most_texts: usize) -> Cow<'_, str> {
    if !is_whole_text(raw) {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(format!(
        "(not kept: {} bytes; a run keeps the texts of at most {most_texts} records per object, see sync.quarantine_rows)",
        raw.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(raw: &str) -> Rejected {
        Rejected::of_text(raw.to_owned(), "no _id".to_owned())
    }

    fn with_id(id: &str, raw: &str) -> Rejected {
        Rejected { id: Some(id.to_owned()), sqlstate: Some("23514".to_owned()), ..bad(raw) }
    }

    fn share(listed: u64, rejected: u64) -> RejectionShare {
        RejectionShare {
            listed,
            rejected,
            reasons: BTreeMap::new(),
            first: (0..rejected.min(MIN_REJECTED_TO_FAIL_SCAN as u64)).collect(),
        }
    }

    #[test]
    fn the_rejection_guard_fails_an_object_with_many_rejected_records_that_are_a_large_share_of_a_listing() {
        let guard = RejectionGuard { percent: 20, rows: 100 };
        let check = |rejected, listed, expected| {
            assert_eq!(guard.is_exceeded_by(&share(listed, rejected)), expected, "{rejected} of {listed}")
        };
        check(1_200, 1_200, true);
        check(100, 100, true);
        check(99, 99, false);
        check(100, 499, true);
        check(100, 500, false);
        check(20_001, 100_000, true);
        check(20_000, 100_000, false);
        check(0, 0, false);
        let never = RejectionGuard { percent: 100, rows: 0 };
        assert!(!never.is_exceeded_by(&share(1_200, 1_200)) && !never.is_exceeded_by(&share(0, 0)));
        let at_once = RejectionGuard { percent: 0, rows: 0 };
        assert!(at_once.is_exceeded_by(&share(1_000, 1)) && !at_once.is_exceeded_by(&share(1_000, 0)));
    }

    #[test]
    fn a_small_object_fails_only_if_all_of_several_records_are_rejected() {
        let guard = RejectionGuard { percent: 20, rows: 100 };
        let check = |rejected, listed, expected| {
            assert_eq!(guard.rejects_whole_scan(&share(listed, rejected)), expected, "{rejected} of {listed}");
        };
        check(3, 3, true);
        check(2, 2, false);
        check(0, 0, false);
        check(50, 51, false);
        assert!(!RejectionGuard { percent: 100, rows: 100 }.rejects_whole_scan(&share(3, 3)));
    }

    #[test]
    fn several_records_are_rejected_only_if_they_are_different_ones() {
        let guard = RejectionGuard { percent: 20, rows: 100 };
        for (texts, expected) in
            [(&["1", "2", "3"][..], true), (&["1", "2", "3", "1", "2", "3"], true), (&["1", "2", "1", "2", "1", "2"], false)]
        {
            let mut share = RejectionShare::default();
            for text in texts {
                share.add(1, &[bad(text)]);
            }
            assert_eq!(guard.rejects_whole_scan(&share), expected, "{texts:?}");
        }
    }

    #[test]
    fn the_rejection_guard_reports_the_most_frequent_reason_without_values() {
        let mut share = RejectionShare::default();
        let odd = Rejected { reason: "not readable: \"Kim\" at line 1".to_owned(), ..bad("1") };
        share.add(4, &[with_id("a", "2"), bad("3"), bad("4"), odd.clone()]);
        assert_eq!((share.listed, share.rejected, share.reason()), (4, 4, "no _id"));
        assert_eq!(
            (odd.reason_class(), with_id("a", "2").reason_class()),
            ("not readable".to_owned(), "refused by PostgreSQL (23514)".to_owned())
        );
    }

    #[test]
    fn a_rejected_record_is_counted_once_by_its_id_or_else_by_its_text() {
        let mut tally = RejectionTally::default();
        assert_eq!(tally.add(&[bad("1"), bad("2"), bad("1")]), 2);
        assert_eq!(tally.summary().unwrap(), "no _id");
        assert_eq!(tally.add(&[bad("1"), with_id("a", "1")]), 1);
        assert_eq!(tally.add(&[bad("2"), with_id("a", "another version")]), 0);
        assert_eq!(tally.summary().unwrap(), "2 × no _id, 1 × refused by PostgreSQL (23514); ids: a");
        tally.add(&["b\u{1b}", "c"].map(|id| with_id(id, "1")));
        assert!(tally.summary().unwrap().ends_with("; ids: a, b\\u{1b}, c"), "{:?}", tally.summary());
        tally.add(&["d", "e"].map(|id| with_id(id, "1")));
        assert!(tally.summary().unwrap().ends_with("; ids: a, b\\u{1b}, c …"), "{:?}", tally.summary());
        assert_eq!(RejectionTally::default().summary(), None);
    }

    #[test]
    fn the_texts_of_the_same_first_records_are_kept_each_time() {
        let mut tally = RejectionTally::default();
        let first = [bad("\"1\""), bad("\"2\""), bad("\"3\"")];
        let kept = |tally: &RejectionTally, rejected: &[Rejected]| -> Vec<bool> {
            tally.entries(rejected, 2).iter().map(|entry| is_whole_text(&entry.raw)).collect()
        };
        assert_eq!(kept(&tally, &first), [true, true, false]);
        tally.add(&first);
        assert_eq!(kept(&tally, &[first[2].clone(), first[0].clone(), bad("\"4\"")]), [false, true, false]);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_boundary_and_marked_as_cut() {
        let long = format!("\"{}\"", "é".repeat(MAX_TEXT_BYTES));
        let cut = bounded(&long);
        assert!(!is_whole_text(&cut) && cut.len() < MAX_TEXT_BYTES + 100, "{}", cut.len());
        assert!(cut.starts_with(&format!("(the first {} of {} bytes) \"é", MAX_TEXT_BYTES - 1, long.len())), "{}", &cut[..60]);
        for whole in [2, 100_000, MAX_TEXT_BYTES] {
            let text = "x".repeat(whole);
            assert_eq!(bounded(&text), text, "{whole}");
        }
    }
}
