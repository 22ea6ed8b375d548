//! Turns a record into a row of its table: cells, misfits, overflow and the row hash.

use std::borrow::Cow;

use serde_json::Value;

use super::columns::Columns;
use super::hash::RowHash;
use super::types::{Fit, fit};
use crate::catalog::{ColumnType, Object};
use crate::record::{Json, Shape};
use crate::record::{Origin, Record};
use crate::rules::Rules;
use crate::rules::{FieldMap, bit_of};

/// What PostgreSQL has for the values of one row: a page of 8,160 bytes, less the row's own header and
/// columns.
const MAX_ROW_BYTES: usize = 7_800;
/// What PostgreSQL leaves in the row of a value that it moved out.
const POINTER_BYTES: usize = 18;
/// The longest value that it does not move out.
const MAX_INLINE_BYTES: usize = 24;

/// Which values are ignored when comparing.
#[derive(Debug, Clone, Default)]
pub struct IgnoredFields {
    fields: FieldMap<()>,
    lengths: u64,
    /// The privacy rules, if any value is ignored: a new rule for an ignored value must still update the row.
    pub(super) rules: Option<i64>,
}

impl IgnoredFields {
    /// The ignored properties of an object in the catalogue, and those that the user adds.
    pub fn of(object: &Object, more: Option<&FieldMap<()>>, rules: Option<&Rules>) -> IgnoredFields {
        let mut fields = more.cloned().unwrap_or_default();
        for name in object.ignore_changes {
            fields.insert(name, ());
        }
        let rules = rules.filter(|_| !fields.is_empty()).map(Rules::fingerprint);
        IgnoredFields { lengths: fields.lengths(), fields, rules }
    }

    /// Whether the rules are part of each row's hash, so that other rules make another one of each.
    pub fn hashes_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether a value is ignored.
    pub fn has(&self, origin: Origin, name: &str) -> bool {
        self.lengths & bit_of(name) != 0 && self.fields.of(origin, name).is_some()
    }
}

/// One row, ready to be written. Its values stand where they came, in the record.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    pub id: &'a str,
    pub record: &'a Record,
    /// In the order of the columns; a column that is not here is NULL.
    pub cells: Vec<Cell<'a>>,
    /// Column name and a value that the column has no room for.
    pub misfits: Vec<(&'a str, Json<'a>)>,
    /// Values without a column, or for which the row has no room.
    pub overflow: Vec<(Origin, &'a str, Json<'a>)>,
    /// A row whose hash is in the table already is not written again.
    pub hash: RowHash,
}

/// What goes into a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell<'a> {
    /// The column's place in the table.
    pub column: usize,
    /// As PostgreSQL reads a value of the column's type.
    pub text: Cow<'a, str>,
    value: Json<'a>,
}

/// Sorts the values of records into their rows, one each and in the same order.
pub fn flatten<'a>(columns: &'a Columns, ignore_changes: &IgnoredFields, records: &'a [Record]) -> Vec<Row<'a>> {
    let mut fed = Vec::new();
    records.iter().map(|record| row(columns, record, RowHash::of(record, ignore_changes, columns, &mut fed))).collect()
}

fn row<'a>(columns: &'a Columns, record: &'a Record, hash: RowHash) -> Row<'a> {
    let mut row = Row {
        id: &record.id,
        record,
        cells: Vec::with_capacity(columns.len().min(record.count())),
        misfits: Vec::new(),
        overflow: Vec::new(),
        hash,
    };
    for (origin, name, value) in record.values() {
        match columns.find(origin, name).map(|place| (place, columns.at(place))) {
            Some((place, column)) => match fit(column.kind, value) {
                Fit::Cell(text) => row.cells.push(Cell { column: place, text, value }),
                Fit::Misfit => row.misfits.push((&column.name, value)),
                Fit::Nothing => {}
            },
            // Nothing but null has been seen of it: there is nothing to keep.
            None if value.is_null() => {}
            None => {
                if columns.holds_back(origin, name) {
                    row.hash = hash.of_waiting();
                }
                row.overflow.push((origin, name, value));
            }
        }
    }
    row.cells.sort_unstable_by_key(|cell| cell.column);
    row.move_to_overflow(columns, MAX_ROW_BYTES);
    row
}

impl<'a> Row<'a> {
    /// The row with less in its columns and more in `_overflow`, should the database find it too wide.
    pub fn with_less_in_columns(&self, columns: &'a Columns, bytes: usize) -> Row<'a> {
        let mut narrowed = self.clone();
        narrowed.move_to_overflow(columns, bytes);
        narrowed
    }

    /// Moves values to `_overflow`, the latest columns first, until the row fits into a page of the
    /// database: hundreds of short values would otherwise make it refuse the row.
    fn move_to_overflow(&mut self, columns: &'a Columns, room: usize) {
        // No cell takes more than this, so that few rows are looked at closely.
        if self.cells.len() * MAX_INLINE_BYTES <= room {
            return;
        }
        let size = |cell: &Cell<'_>| bytes_of(columns.at(cell.column).kind, cell);
        let mut bytes: usize = self.cells.iter().map(size).sum();
        while bytes > room
            && let Some(latest) = self.cells.iter().rposition(|cell| columns.at(cell.column).planhat_name != "_id")
        {
            let cell = self.cells.remove(latest);
            bytes -= size(&cell);
            let column = columns.at(cell.column);
            self.overflow.push((column.origin, &column.planhat_name, cell.value));
        }
    }

    /// Planhat names of what went to `_overflow`.
    pub fn overflowing(&self) -> impl Iterator<Item = &str> {
        self.overflow.iter().map(|(_, name, _)| *name)
    }

    /// What `_misfits` holds: an object by column name. None if there is nothing.
    pub fn misfits_as_json(&self) -> Option<String> {
        object_of(self.misfits.iter().map(|(name, value)| (*name, value.as_written())))
    }

    /// What `_overflow` holds: an object with properties by name, and custom fields under `custom`. None if there is
    /// nothing.
    pub fn overflow_as_json(&self) -> Option<String> {
        let of = |wanted| self.overflow.iter().filter(move |(origin, ..)| *origin == wanted);
        let fields = |origin| of(origin).map(|(_, name, value)| (*name, value.as_written()));
        let custom = object_of(fields(Origin::Custom));
        object_of(fields(Origin::Property).chain(custom.as_deref().map(|custom| ("custom", custom))))
    }
}

/// An object of values that are written already; none if it would be empty.
fn object_of<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    let mut object = String::new();
    for (name, value) in fields {
        object.push(if object.is_empty() { '{' } else { ',' });
        object.push_str(&Value::from(name).to_string());
        object.push(':');
        object.push_str(value);
    }
    (!object.is_empty()).then(|| object + "}")
}

/// What a cell takes of its row, by PostgreSQL's rules of storage. An estimate: where it is too low the
/// database refuses the row, and it is narrowed.
fn bytes_of(kind: ColumnType, cell: &Cell<'_>) -> usize {
    let stored = |bytes: usize| if bytes > MAX_INLINE_BYTES { POINTER_BYTES } else { bytes };
    let bytes = cell.text.len();
    match kind {
        ColumnType::Boolean => 1,
        ColumnType::Time => 10,
        ColumnType::Number => (7 + bytes / 2).min(MAX_INLINE_BYTES),
        ColumnType::Text => stored(1 + bytes),
        ColumnType::Json if cell.value.shape() == Shape::String => stored(7 + bytes),
        ColumnType::Json => MAX_INLINE_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::flatten::Declared;
    use crate::record::record_of;
    use serde_json::{Map, json};

    fn columns_of(object: &str, fields: &Value) -> Columns {
        let mut columns = Columns::default();
        columns.grow(catalog::object(object).unwrap(), &[record_of(fields)], &Declared::default());
        columns
    }

    /// Checks the cells by column name, and what is beside them.
    fn check(
        object: &str,
        fields: Value,
        expected_cells: Value,
        expected_misfits: Option<&str>,
        expected_overflow: Option<&str>,
    ) {
        let (columns, record) = (columns_of(object, &fields), record_of(&fields));
        let row = flatten(&columns, &IgnoredFields::default(), std::slice::from_ref(&record)).remove(0);
        let cells: Value = row.cells.iter().map(|cell| (columns.at(cell.column).name.clone(), json!(cell.text))).collect();
        assert_eq!(cells, expected_cells);
        assert_eq!(row.misfits_as_json().as_deref(), expected_misfits);
        assert_eq!(row.overflow_as_json().as_deref(), expected_overflow);
    }

    #[test]
    fn properties_and_custom_fields_become_columns() {
        check(
            "companies",
            json!({"_id": "a", "h": 7, "lastTouch": "2023-07-20T09:00:00.000Z", "custom": {"My Field": "x"}}),
            json!({"planhat__id": "a", "planhat__health": "7", "planhat__last_touch": "2023-07-20T09:00:00.000Z", "planhat__my_field__custom": "x"}),
            None,
            None,
        );
    }

    #[test]
    fn a_value_that_does_not_fit_its_column_is_kept_in_misfits_under_the_column_name() {
        let fields = json!({"_id": "a", "mrr": "a lot"});
        check("companies", fields, json!({"planhat__id": "a"}), Some(r#"{"planhat__mrr":"a lot"}"#), None);
    }

    #[test]
    fn a_value_without_a_column_is_kept_in_overflow() {
        let record = record_of(&json!({"_id": "a", "x": 1, "custom": {"y": [2], "z": null}}));
        let columns = Columns::default();
        let row = flatten(&columns, &IgnoredFields::default(), std::slice::from_ref(&record)).remove(0);
        assert_eq!(row.overflow_as_json().as_deref(), Some(r#"{"_id":"a","x":1,"custom":{"y":[2]}}"#));
    }

    #[test]
    fn a_property_called_custom_that_is_not_an_object_is_stored_like_any_other_property() {
        let fields = json!({"_id": "a", "custom": ["odd"]});
        check("companies", fields, json!({"planhat__id": "a", "planhat__custom": "[\"odd\"]"}), None, None);
    }

    #[test]
    fn values_of_a_row_too_wide_for_postgresql_move_to_overflow_starting_with_the_newest_columns() {
        let custom: Map<String, Value> = (0..1000).map(|number| (format!("{number:04}"), json!("twelve bytes"))).collect();
        let fields = json!({"_id": "a", "custom": custom});
        let (columns, record) = (columns_of("companies", &fields), record_of(&fields));
        let row = flatten(&columns, &IgnoredFields::default(), std::slice::from_ref(&record)).remove(0);
        let has_cell = |name: &str| row.cells.iter().any(|cell| columns.at(cell.column).name == name);
        assert_eq!(row.cells.len() + row.overflow.len(), 1001);
        assert!(has_cell("planhat__id") && has_cell("planhat__0000__custom"));
        assert!(row.overflowing().any(|name| name == "0999"));
        let half = row.with_less_in_columns(&columns, MAX_ROW_BYTES / 2);
        assert!(half.cells.len() < row.cells.len() && half.cells.len() > 1);
    }
}
