//! A record as its table takes it.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::columns::{Columns, Origin, values};
use super::types::{Fit, fit};
use crate::record::Record;

/// One row, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    /// Column name to value; a column that is not here is NULL.
    pub cells: Map<String, Value>,
    /// Column name to a value that the column has no room for.
    pub misfits: Map<String, Value>,
    /// Values without a column: properties by name, custom fields under `custom`.
    pub overflow: Map<String, Value>,
}

/// Sorts the values of a record into its row.
pub fn flatten(columns: &Columns, record: &Record) -> Row {
    let mut row = Row { id: record.id.clone(), cells: Map::new(), misfits: Map::new(), overflow: Map::new() };
    for (origin, name, value) in values(record) {
        match columns.find(origin, name) {
            Some(column) => match fit(column.kind, value) {
                Fit::Cell(cell) => drop(row.cells.insert(column.name.clone(), cell)),
                Fit::Misfit => drop(row.misfits.insert(column.name.clone(), value.clone())),
                Fit::Nothing => {}
            },
            // Nothing but null has been seen of it: there is nothing to keep.
            None if value.is_null() => {}
            None => row.overflow(origin, name, value),
        }
    }
    row
}

impl Row {
    fn overflow(&mut self, origin: Origin, name: &str, value: &Value) {
        let fields = match origin {
            Origin::Property => &mut self.overflow,
            Origin::Custom => {
                let custom = self.overflow.entry("custom").or_insert_with(|| Value::Object(Map::new()));
                match custom {
                    Value::Object(fields) => fields,
                    // `custom` is only ever inserted above: a property of that name has no custom fields.
                    _ => return,
                }
            }
        };
        fields.insert(name.to_owned(), value.clone());
    }

    /// Equal for equal content, whatever the order of the keys: a row whose hash is in the table
    /// already is not written again.
    pub fn hash(&self) -> i64 {
        let mut hasher = Xxh3::new();
        for fields in [&self.cells, &self.misfits, &self.overflow] {
            feed_fields(&mut hasher, fields);
        }
        hasher.digest().cast_signed()
    }
}

/// Each value is fed with a mark of its kind and, where it has one, its length, so that no two
/// values feed the same bytes.
fn feed(hasher: &mut Xxh3, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(true) => hasher.update(b"t"),
        Value::Bool(false) => hasher.update(b"f"),
        Value::Number(number) => feed_text(hasher, b'#', number.as_str()),
        Value::String(text) => feed_text(hasher, b'"', text),
        Value::Array(items) => {
            feed_length(hasher, b'[', items.len());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(fields) => feed_fields(hasher, fields),
    }
}

fn feed_fields(hasher: &mut Xxh3, fields: &Map<String, Value>) {
    feed_length(hasher, b'{', fields.len());
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in sorted {
        feed_text(hasher, b'"', name);
        feed(hasher, value);
    }
}

fn feed_text(hasher: &mut Xxh3, mark: u8, text: &str) {
    feed_length(hasher, mark, text.len());
    hasher.update(text.as_bytes());
}

fn feed_length(hasher: &mut Xxh3, mark: u8, length: usize) {
    hasher.update(&[mark]);
    hasher.update(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use serde_json::json;

    fn record(fields: Value) -> Record {
        let Value::Object(fields) = fields else { panic!("not an object") };
        Record { id: fields["_id"].as_str().unwrap().to_owned(), fields, nul_values: 0 }
    }

    fn row_of(object: &str, fields: Value) -> Row {
        let record = record(fields);
        let mut columns = Columns::default();
        columns.grow(catalog::object(object).unwrap(), std::slice::from_ref(&record));
        flatten(&columns, &record)
    }

    #[test]
    fn properties_and_custom_fields_become_columns() {
        let row = row_of(
            "companies",
            json!({"_id": "a", "h": 7, "lastTouch": "2023-07-20T09:00:00.000Z", "custom": {"My Field": "x"}}),
        );
        assert_eq!(
            Value::Object(row.cells),
            json!({"planhat__id": "a", "planhat__health": 7, "planhat__last_touch": "2023-07-20T09:00:00Z", "planhat__my_field__custom": "x"})
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_kept_under_its_column() {
        let row = row_of("companies", json!({"_id": "a", "mrr": "a lot"}));
        assert_eq!(Value::Object(row.misfits), json!({"planhat__mrr": "a lot"}));
        assert!(!row.cells.contains_key("planhat__mrr"));
    }

    #[test]
    fn what_has_no_column_overflows() {
        let record = record(json!({"_id": "a", "x": 1, "custom": {"y": [2], "z": null}}));
        let row = flatten(&Columns::default(), &record);
        assert_eq!(Value::Object(row.overflow), json!({"_id": "a", "x": 1, "custom": {"y": [2]}}));
    }

    #[test]
    fn a_custom_that_is_no_object_is_a_property_like_any_other() {
        let row = row_of("companies", json!({"_id": "a", "custom": ["odd"]}));
        assert_eq!(row.cells["planhat__custom"], json!(["odd"]));
    }

    #[test]
    fn the_hash_sees_content_and_nothing_else() {
        let hash = |text: &str| row_of("companies", serde_json::from_str(text).unwrap()).hash();
        let first = hash(r#"{"_id":"a","usage":{"x":1,"y":2},"mrr":10}"#);
        assert_eq!(first, hash(r#"{"mrr":10,"usage":{"y":2,"x":1},"_id":"a"}"#));
        assert_ne!(first, hash(r#"{"_id":"a","usage":{"x":1,"y":3},"mrr":10}"#));
        assert_ne!(first, hash(r#"{"_id":"a","usage":{"x":1,"y":2}}"#));
        assert_ne!(hash(r#"{"_id":"a","tags":["ab"]}"#), hash(r#"{"_id":"a","tags":["a","b"]}"#));
    }
}
