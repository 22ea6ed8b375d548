//! A record as its table takes it.

use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::columns::{Columns, Origin, values};
use super::types::{Fit, fit};
use crate::object::Kind;
use crate::record::Record;

/// What PostgreSQL has for the values of one row: a page of 8,160 bytes, less the row's own header and
/// columns.
const MAX_ROW_BYTES: usize = 7_800;
/// What PostgreSQL leaves in the row of a value that it moved out.
const POINTER_BYTES: usize = 18;
/// The longest value that it does not move out.
const MAX_INLINE_BYTES: usize = 24;

/// One row, ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    /// Column name to value; a column that is not here is NULL.
    pub cells: Map<String, Value>,
    /// Column name to a value that the column has no room for.
    pub misfits: Map<String, Value>,
    /// Values without a column, or for which the row has no room: properties by name, custom fields
    /// under `custom`.
    pub overflow: Map<String, Value>,
    /// Equal for equal records, whatever the order of their keys and wherever their values landed: a
    /// row whose hash is in the table already is not written again.
    pub hash: i64,
}

/// Sorts the values of a record into its row.
pub fn flatten(columns: &Columns, record: &Record) -> Row {
    let mut row = Row {
        id: record.id.clone(),
        cells: Map::new(),
        misfits: Map::new(),
        overflow: Map::new(),
        hash: hash_of(&record.fields),
    };
    for (origin, name, value) in values(record) {
        match columns.find(origin, name) {
            Some(column) => match fit(column.kind, value) {
                Fit::Cell(cell) => drop(row.cells.insert(column.name.clone(), cell)),
                Fit::Misfit => drop(row.misfits.insert(column.name.clone(), value.clone())),
                Fit::Nothing => {}
            },
            // Nothing but null has been seen of it: there is nothing to keep.
            None if value.is_null() => {}
            None => row.overflow(origin, name, value.clone()),
        }
    }
    row.make_room(columns, MAX_ROW_BYTES);
    row
}

impl Row {
    /// The row with less in its columns and more in `_overflow`, should the database find it too wide.
    pub fn narrowed(&self, columns: &Columns, bytes: usize) -> Row {
        let mut narrowed = self.clone();
        narrowed.make_room(columns, bytes);
        narrowed
    }

    /// Moves values to `_overflow`, the latest columns first, until the row fits into a page of the
    /// database: hundreds of short values would otherwise make it refuse the row.
    fn make_room(&mut self, columns: &Columns, room: usize) {
        // No cell takes more than this, so that few rows are looked at closely.
        if self.cells.len() * MAX_INLINE_BYTES <= room {
            return;
        }
        let filled = columns.iter().filter(|column| column.planhat_name != "_id");
        let mut sizes: Vec<_> =
            filled.filter_map(|column| Some((column, bytes_of(column.kind, self.cells.get(&column.name)?)))).collect();
        let mut bytes: usize = sizes.iter().map(|(_, bytes)| bytes).sum();
        while bytes > room
            && let Some((column, of_cell)) = sizes.pop()
        {
            bytes -= of_cell;
            if let Some(cell) = self.cells.remove(&column.name) {
                self.overflow(column.origin, &column.planhat_name, cell);
            }
        }
    }

    /// Planhat names of what went to `_overflow`.
    pub fn overflowing(&self) -> impl Iterator<Item = &str> {
        let custom = self.overflow.get("custom").and_then(Value::as_object);
        let properties = self.overflow.keys().filter(move |name| custom.is_none() || *name != "custom");
        properties.chain(custom.into_iter().flat_map(Map::keys)).map(String::as_str)
    }

    fn overflow(&mut self, origin: Origin, name: &str, value: Value) {
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
        fields.insert(name.to_owned(), value);
    }
}

/// What a cell takes of its row, by PostgreSQL's rules of storage. An estimate: where it is too low the
/// database refuses the row, and it is narrowed.
fn bytes_of(kind: Kind, cell: &Value) -> usize {
    let stored = |bytes: usize| if bytes > MAX_INLINE_BYTES { POINTER_BYTES } else { bytes };
    match (kind, cell) {
        (Kind::Boolean, _) => 1,
        (Kind::Time, _) => 10,
        (Kind::Number, number) => (7 + number.to_string().len() / 2).min(MAX_INLINE_BYTES),
        (Kind::Text, Value::String(text)) => stored(1 + text.len()),
        (Kind::Json, Value::String(text)) => stored(9 + text.len()),
        (Kind::Text | Kind::Json, _) => MAX_INLINE_BYTES,
    }
}

fn hash_of(fields: &Map<String, Value>) -> i64 {
    let mut hasher = Xxh3::new();
    feed_fields(&mut hasher, fields);
    hasher.digest().cast_signed()
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
    use crate::flatten::Declared;
    use crate::record::record_of;
    use serde_json::json;

    fn columns_of(object: &str, fields: &Value) -> Columns {
        let mut columns = Columns::default();
        columns.grow(catalog::object(object).unwrap(), &[record_of(fields)], &Declared::default());
        columns
    }

    fn row_of(object: &str, fields: Value) -> Row {
        flatten(&columns_of(object, &fields), &record_of(&fields))
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
        let record = record_of(&json!({"_id": "a", "x": 1, "custom": {"y": [2], "z": null}}));
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
        let hash = |text: &str| row_of("companies", serde_json::from_str(text).unwrap()).hash;
        let first = hash(r#"{"_id":"a","usage":{"x":1,"y":2},"mrr":10}"#);
        assert_eq!(first, hash(r#"{"mrr":10,"usage":{"y":2,"x":1},"_id":"a"}"#));
        assert_ne!(first, hash(r#"{"_id":"a","usage":{"x":1,"y":3},"mrr":10}"#));
        assert_ne!(first, hash(r#"{"_id":"a","usage":{"x":1,"y":2}}"#));
        assert_ne!(hash(r#"{"_id":"a","tags":["ab"]}"#), hash(r#"{"_id":"a","tags":["a","b"]}"#));
    }

    #[test]
    fn the_hash_does_not_depend_on_where_values_land() {
        let record = record_of(&json!({"_id": "a", "mrr": "a lot"}));
        let with_columns = row_of("companies", json!({"_id": "a", "mrr": "a lot"}));
        assert_eq!(flatten(&Columns::default(), &record).hash, with_columns.hash);
    }

    #[test]
    fn a_row_too_wide_for_the_database_leaves_its_latest_columns_to_overflow() {
        let custom: Map<String, Value> = (0..1000).map(|number| (format!("{number:04}"), json!("twelve bytes"))).collect();
        let fields = json!({"_id": "a", "custom": custom});
        let row = row_of("companies", fields.clone());
        let overflowed = row.overflow["custom"].as_object().unwrap();
        assert_eq!(row.cells.len() + overflowed.len(), 1001);
        assert!(row.cells.contains_key("planhat__id") && row.cells.contains_key("planhat__0000__custom"));
        assert!(overflowed.contains_key("0999"));
        let half = row.narrowed(&columns_of("companies", &fields), MAX_ROW_BYTES / 2);
        assert!(half.cells.len() < row.cells.len() && half.cells.len() > 1);
    }
}
