//! By what a row is known to be unchanged: a hash of its record, which says by which version it was made.
//!
//! ```text
//! _row_hash (bigint): 8 bits version | 56 bits of the hash
//! ```
//!
//! A release may hash something else than the one before. The rows of the one before would then all count as changed and be
//! written again, every table at once and for nothing. So a release hashes by its latest version, and by the older ones
//! that it still knows: a row whose stored hash is any of these is unchanged, and keeps it until its record changes.
//! A hash of a version that this release does not know, as after one has gone back to it, is no proof: such a row
//! is written again. Each older version costs one more hash of every record that is read; it can go when all
//! releases since have written the newer one and a full scan is no harm.
//!
//! Version 0 is none: a row whose value waits for a column has it in place of its version, so that it is written again once
//! the value need not wait, and when its record changes before. The number 0 alone is no record's hash: whatever the record is, the
//! row is written again when it is next read. The number -1 is none either, but says that the row was masked where it is
//! ([`COMPARED_BY_COLUMNS`]).
//!
//! `retype` leaves [`RETYPED`] in place of the version: such a row is written again too, since its columns may spell a value in
//! another way than Planhat does. But as long as the hash is that of its record, nothing has changed at Planhat, so it
//! is neither an update nor an action.

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::columns::Columns;
use super::rows::IgnoredFields;
use crate::record::{Json, Origin, Record, Shape};

/// What is hashed of a record, and how. A further one comes first in [`HashVersion::KNOWN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HashVersion {
    /// Origin, name and value of all that is not null and not ignored when comparing; XXH3.
    V1 = 1,
    /// The same, with sets in an order of their own.
    V2 = 2,
    #[cfg(test)]
    OldestForTests = 127,
}

impl HashVersion {
    /// The one that is written, and older ones by which rows are still known.
    const KNOWN: &[HashVersion] = &[
        HashVersion::V2,
        HashVersion::V1,
        #[cfg(test)]
        HashVersion::OldestForTests,
    ];
}

/// As many as there are versions.
const HASHES: usize = HashVersion::KNOWN.len();
const VERSION_SHIFT: u32 = 56;

/// In place of a hash: the row was masked where it is, and nobody has seen its record meanwhile. Whether the record is another
/// one, its columns tell when it is next read; if it is the same, the row gets its hash and is not written.
pub const COMPARED_BY_COLUMNS: i64 = -1;

/// The hash of a record by each known version. Equal for equal records, whatever the order of their keys and wherever
/// their values land. Values that are ignored when comparing are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHash([i64; HASHES]);

impl RowHash {
    /// `fed` is where the bytes are put together.
    pub(super) fn of(record: &Record, ignore_changes: &IgnoredFields, columns: &Columns, fed: &mut Vec<u8>) -> RowHash {
        let in_order = feed_record(record, ignore_changes, |origin, name| columns.is_set(origin, name), fed);
        let as_sets = xxh3_64(fed);
        // Most records are the same either way.
        let as_listed = if in_order {
            as_sets
        } else {
            feed_record(record, ignore_changes, |_, _| false, fed);
            xxh3_64(fed)
        };
        let mut hashes = [0; HASHES];
        for (hash, version) in hashes.iter_mut().zip(HashVersion::KNOWN) {
            let content = match version {
                HashVersion::V2 => as_sets,
                HashVersion::V1 => as_listed,
                #[cfg(test)]
                HashVersion::OldestForTests => xxh3_64(record.id.as_bytes()),
            };
            *hash = without_version(content.cast_signed()) | (*version as i64) << VERSION_SHIFT;
        }
        RowHash(hashes)
    }

    /// That of a row of which a value waits for a column.
    pub(super) fn of_waiting(self) -> RowHash {
        RowHash(self.0.map(|hash| without_version(hash).max(1)))
    }

    /// That of a row that was masked where it is.
    pub fn of_masked() -> RowHash {
        RowHash([COMPARED_BY_COLUMNS; HASHES])
    }

    /// What is written.
    pub fn latest(self) -> i64 {
        self.0[0]
    }

    /// Whether a row that was stored with this hash is the same.
    pub fn is_stored_as(self, stored: i64) -> bool {
        self.0.contains(&stored)
    }

    /// Whether a row that was stored with this hash is that of the same record, in columns that had other types then.
    pub fn is_retyped_as(self, stored: i64) -> bool {
        self.0.iter().any(|hash| without_version(*hash) | RETYPED == stored)
    }
}

/// How the hash of a row becomes that of a row whose column has another type now: `hash & CONTENT | RETYPED`.
pub const CONTENT: i64 = (1 << VERSION_SHIFT) - 1;
pub const RETYPED: i64 = 126 << VERSION_SHIFT;

fn without_version(hash: i64) -> i64 {
    hash & CONTENT
}

/// Each value is fed with a mark of its kind and, where it has one, its length, so that no two records feed the
/// same bytes. Null is no value. Returns whether all sets were in their order already.
fn feed_record(
    record: &Record,
    ignore_changes: &IgnoredFields,
    is_set: impl Fn(Origin, &str) -> bool,
    fed: &mut Vec<u8>,
) -> bool {
    fed.clear();
    if let Some(rules) = ignore_changes.rules {
        fed.push(b'r');
        fed.extend_from_slice(&rules.to_le_bytes());
    }
    let mut in_order = true;
    let counts = |(origin, name, value): &(Origin, &str, Json<'_>)| !value.is_null() && !ignore_changes.has(*origin, name);
    for (origin, name, value) in record.values().filter(counts) {
        let mark = match origin {
            Origin::Property => b'p',
            Origin::Custom => b'c',
        };
        feed_text(fed, mark, name);
        match value.shape() {
            Shape::Number => feed_text(fed, b'#', value.as_written()),
            Shape::EmptyString | Shape::String => feed_text(fed, b'"', &value.string().unwrap_or_default()),
            // Inside, the order of keys may differ.
            Shape::Null | Shape::Boolean | Shape::Array | Shape::Object => match serde_json::from_str(value.as_written()) {
                Ok(Value::Array(items)) if items.len() > 1 && is_set(origin, name) => in_order &= feed_set(fed, &items),
                Ok(tree) => feed(fed, &tree),
                // An object with names of which the parser thinks something of its own.
                Err(_) => feed_text(fed, b'j', value.as_written()),
            },
        }
    }
    in_order
}

/// As a list is fed, but with its items in the order of their bytes. Returns whether they were. An item that is there twice counts
/// twice.
fn feed_set(fed: &mut Vec<u8>, items: &[Value]) -> bool {
    feed_length(fed, b'[', items.len());
    let bytes_of = |item| {
        let mut bytes = Vec::new();
        feed(&mut bytes, item);
        bytes
    };
    let mut all: Vec<Vec<u8>> = items.iter().map(bytes_of).collect();
    let in_order = all.is_sorted();
    all.sort_unstable();
    all.iter().for_each(|bytes| fed.extend_from_slice(bytes));
    in_order
}

fn feed(fed: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => fed.push(b'n'),
        Value::Bool(true) => fed.push(b't'),
        Value::Bool(false) => fed.push(b'f'),
        Value::Number(number) => feed_text(fed, b'#', number.as_str()),
        Value::String(text) => feed_text(fed, b'"', text),
        Value::Array(items) => {
            feed_length(fed, b'[', items.len());
            items.iter().for_each(|item| feed(fed, item));
        }
        Value::Object(fields) => {
            feed_length(fed, b'{', fields.len());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in sorted {
                feed_text(fed, b'"', name);
                feed(fed, value);
            }
        }
    }
}

fn feed_text(fed: &mut Vec<u8>, mark: u8, text: &str) {
    feed_length(fed, mark, text.len());
    fed.extend_from_slice(text.as_bytes());
}

fn feed_length(fed: &mut Vec<u8>, mark: u8, length: usize) {
    fed.push(mark);
    fed.extend_from_slice(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::flatten::{Columns, Declared, flatten};
    use crate::record::record_of;
    use crate::rules::FieldMap;
    use serde_json::json;
    use serde_json::value::RawValue;

    fn hash_in(columns: &Columns, record: &Record) -> RowHash {
        flatten(columns, &IgnoredFields::default(), std::slice::from_ref(record))[0].hash
    }

    fn hash(fields: &str) -> RowHash {
        let record = Record::parse(RawValue::from_string(fields.to_owned()).unwrap()).unwrap();
        hash_in(&Columns::default(), &record)
    }

    #[test]
    fn the_row_hash_depends_on_the_values_and_not_on_the_order_of_keys() {
        let first = hash(r#"{"_id":"a","usage":{"x":1,"y":2},"mrr":10}"#);
        assert_eq!(first, hash(r#"{"mrr":10,"usage":{"y":2,"x":1},"_id":"a"}"#));
        assert_ne!(first, hash(r#"{"_id":"a","usage":{"x":1,"y":3},"mrr":10}"#));
        assert_ne!(first, hash(r#"{"_id":"a","usage":{"x":1,"y":2}}"#));
        assert_ne!(hash(r#"{"_id":"a","tags":["ab"]}"#), hash(r#"{"_id":"a","tags":["a","b"]}"#));
    }

    #[test]
    fn the_row_hash_ignores_json_spelling_and_nulls() {
        assert_eq!(hash(r#"{"_id":"a","x":"é","custom":{}}"#), hash(r#"{"_id" : "a","x":"\u00e9","y":null}"#));
        assert_ne!(hash(r#"{"_id":"a","x":1}"#), hash(r#"{"_id":"a","custom":{"x":1}}"#));
    }

    #[test]
    fn the_row_hash_ignores_properties_in_ignore_changes() {
        let mut more = FieldMap::default();
        more.insert("custom.Age", ());
        let ignore_changes = IgnoredFields::of(catalog::object("companies").unwrap(), Some(&more), None);
        let hash = |fields: Value| flatten(&Columns::default(), &ignore_changes, &[record_of(&fields)])[0].hash;
        let before = hash(json!({"_id": "a", "renewalDaysFromNow": 3, "Age": 1, "custom": {"Age": 1, "renewalDaysFromNow": 1}}));
        assert_eq!(before, hash(json!({"_id": "a", "daysInPhase": 3, "Age": 1, "custom": {"Age": 2, "renewalDaysFromNow": 1}})));
        assert_ne!(before, hash(json!({"_id": "a", "Age": 2, "custom": {"renewalDaysFromNow": 1}})));
        assert_ne!(before, hash(json!({"_id": "a", "Age": 1, "custom": {"renewalDaysFromNow": 2}})));
    }

    #[test]
    fn the_row_hash_does_not_depend_on_which_columns_exist() {
        let fields = json!({"_id": "a", "mrr": "a lot"});
        let record = record_of(&fields);
        let mut columns = Columns::default();
        columns.grow(catalog::object("companies").unwrap(), std::slice::from_ref(&record), &Declared::default());
        assert_eq!(hash_in(&Columns::default(), &record), hash_in(&columns, &record));
    }

    #[test]
    fn the_order_of_a_set_is_not_in_the_row_hash_and_that_of_a_list_is() {
        let hash_of = |value: &str| hash(&format!(r#"{{"_id":"a",{value}}}"#)).latest();
        assert_eq!(hash_of(r#""tags":["b","a"]"#), hash_of(r#""tags":["a","b"]"#));
        assert_eq!(
            hash_of(r#""endusers":[{"id":"1","name":"Kim"},{"id":"2"}]"#),
            hash_of(r#""endusers":[{"id":"2"},{"name":"Kim","id":"1"}]"#)
        );
        assert_eq!(hash_of(r#""custom":{"Modules":["b","a"]}"#), hash_of(r#""custom":{"Modules":["a","b"]}"#));
        assert_ne!(hash_of(r#""tags":["a","a"]"#), hash_of(r#""tags":["a"]"#), "an item that is there twice counts twice");
        assert_ne!(hash_of(r#""tags":["a","b"]"#), hash_of(r#""tags":["a","c"]"#));
        assert_ne!(hash_of(r#""tags":["ab"]"#), hash_of(r#""tags":["a","b"]"#));
        assert_ne!(hash_of(r#""history":[2,1]"#), hash_of(r#""history":[1,2]"#), "what happened has an order");
        assert_ne!(hash_of(r#""tags":[["b","a"]]"#), hash_of(r#""tags":[["a","b"]]"#), "as has what is inside");
    }

    #[test]
    fn a_row_of_the_first_version_is_the_same_as_long_as_its_sets_keep_their_order() {
        let (before, reordered) = (hash(r#"{"_id":"a","tags":["b","a"]}"#), hash(r#"{"_id":"a","tags":["a","b"]}"#));
        let [_, of_the_first, _] = before.0;
        assert!(before.is_stored_as(of_the_first));
        assert!(!reordered.is_stored_as(of_the_first), "then it is compared value by value");
        assert!(reordered.is_stored_as(before.latest()));
    }

    #[test]
    fn a_row_is_the_same_by_any_version_that_is_known_and_by_no_other() {
        let (before, now) = (hash(r#"{"_id":"a","mrr":1}"#), hash(r#"{"_id":"a","mrr":2}"#));
        let [latest, older, oldest] = before.0;
        let versions = before.0.map(|hash| hash >> VERSION_SHIFT);
        assert_eq!((versions, before.latest()), ([2, 1, 127], latest));
        assert!(before.0.iter().all(|hash| before.is_stored_as(*hash)));
        assert!(!now.is_stored_as(latest) && !now.is_stored_as(older), "another value is another hash");
        assert!(now.is_stored_as(oldest), "which the oldest version does not see");
        for unknown in [3, 99, 255] {
            assert!(!before.is_stored_as(without_version(latest) | unknown << VERSION_SHIFT), "{unknown}");
        }
        assert!(!before.is_stored_as(0), "what is to be rewritten is no record's hash");
    }

    #[test]
    fn a_retyped_row_is_written_again_and_known_as_the_same_while_its_record_stays() {
        let (before, now) = (hash(r#"{"_id":"a","mrr":1}"#), hash(r#"{"_id":"a","mrr":2}"#));
        let latest = before.latest();
        for stored in before.0 {
            let retyped = stored & CONTENT | RETYPED;
            assert!(before.is_retyped_as(retyped) && !before.is_stored_as(retyped), "{stored:x}");
            assert_eq!(retyped & CONTENT | RETYPED, retyped, "once more is the same");
        }
        assert!(!now.is_retyped_as(latest & CONTENT | RETYPED), "its record has changed meanwhile");
        assert!(!before.is_retyped_as(latest) && !before.is_retyped_as(0) && !before.is_retyped_as(before.of_waiting().latest()));
    }

    #[test]
    fn the_mark_of_a_masked_row_is_no_records_hash() {
        let (some, waiting) = (hash(r#"{"_id":"a"}"#), hash(r#"{"_id":"a"}"#).of_waiting());
        assert!(!some.is_stored_as(COMPARED_BY_COLUMNS) && !waiting.is_stored_as(COMPARED_BY_COLUMNS));
        assert_eq!(RowHash::of_masked().latest(), COMPARED_BY_COLUMNS);
    }

    #[test]
    fn a_row_that_waits_for_a_column_is_the_same_while_it_waits_and_its_record_stays() {
        let (before, now) = (hash(r#"{"_id":"a","mrr":1}"#), hash(r#"{"_id":"a","mrr":2}"#));
        let waiting = before.of_waiting();
        assert!(waiting.is_stored_as(waiting.latest()) && waiting.latest() >> VERSION_SHIFT == 0);
        assert!(!before.is_stored_as(waiting.latest()), "once it need not wait");
        assert!(!now.of_waiting().is_stored_as(waiting.latest()), "its record has changed meanwhile");
        assert!(!waiting.is_stored_as(0));
    }
}
