//! Which values fit a column, and which type a new column gets.
//!
//! The API is loose: numbers arrive as text, `""` and `"undefined"` mean no value, one property has several types. A
//! scalar is converted whenever that is exact in the column's type; every other value is a misfit (a type mismatch).

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::catalog::ColumnType;
use crate::record::fits_numeric;
use crate::record::timestamp::{spelled_for_database, with_time_of_day};
use crate::record::{Json, Shape};

/// Where a value goes.
#[derive(Debug, PartialEq)]
pub enum Fit<'a> {
    /// Into the column, as PostgreSQL reads a value of its type.
    Cell(Cow<'a, str>),
    /// The property has no value: the column is NULL.
    Nothing,
    Misfit,
}

/// Where a value goes in a column of this type.
pub fn fit(kind: ColumnType, value: Json<'_>) -> Fit<'_> {
    if value.is_null() || (kind != ColumnType::Text && means_nothing(value)) {
        return Fit::Nothing;
    }
    let cell = match kind {
        ColumnType::Text => text(value),
        ColumnType::Number => number(value),
        ColumnType::Boolean => boolean(value),
        ColumnType::Time => spelled_for_database(value),
        ColumnType::Json => Some(Cow::Borrowed(value.as_written())),
    };
    cell.map_or(Fit::Misfit, Fit::Cell)
}

fn means_nothing(value: Json<'_>) -> bool {
    matches!(value.as_written(), "\"\"" | "\"undefined\"")
}

fn text(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.shape() {
        Shape::Number | Shape::Boolean => Some(Cow::Borrowed(value.as_written())),
        _ => value.string(),
    }
}

fn number(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.shape() {
        Shape::Number => Some(Cow::Borrowed(value.as_written())),
        // JSON's own grammar decides what a number is: "0x10", "NaN" and "1,5" are none.
        Shape::String => value.string().filter(|text| fits_numeric(text) && is_number(text)),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| Json::of(raw).shape() == Shape::Number)
}

fn boolean(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.as_written() {
        "true" | "\"true\"" => Some(Cow::Borrowed("true")),
        "false" | "\"false\"" => Some(Cow::Borrowed("false")),
        _ => None,
    }
}

/// The type that holds all these values; none while there is nothing but null to go by.
///
/// A date alone stays text: only a full instant says that a field is a point in time.
pub(super) fn kind_for<'a>(values: impl IntoIterator<Item = Json<'a>>) -> Option<ColumnType> {
    let mut kind = None;
    let mut only_nothing = None;
    for value in values {
        let seen = match value.shape() {
            Shape::Null => continue,
            _ if means_nothing(value) => {
                only_nothing = Some(ColumnType::Text);
                continue;
            }
            Shape::Boolean => ColumnType::Boolean,
            Shape::Number => ColumnType::Number,
            Shape::EmptyString | Shape::String if value.string().is_some_and(|text| with_time_of_day(&text).is_some()) => {
                ColumnType::Time
            }
            Shape::EmptyString | Shape::String => ColumnType::Text,
            Shape::Array | Shape::Object => ColumnType::Json,
        };
        kind = match kind {
            None => Some(seen),
            Some(before) if before == seen => Some(seen),
            Some(ColumnType::Json) => Some(ColumnType::Json),
            Some(_) if seen == ColumnType::Json => Some(ColumnType::Json),
            Some(_) => Some(ColumnType::Text),
        };
    }
    kind.or(only_nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// `None` for a misfit, an empty cell for nothing.
    fn check(kind: ColumnType, value: Value, expected: Option<&str>) {
        let written = value.to_string();
        let found = match fit(kind, Json::trusted(&written)) {
            Fit::Cell(cell) => Some(format!("={cell}")),
            Fit::Nothing => Some(String::new()),
            Fit::Misfit => None,
        };
        assert_eq!(found.as_deref(), expected, "{kind:?} {value}");
    }

    #[test]
    fn scalars_are_converted_to_the_column_type_where_that_is_exact() {
        check(ColumnType::Text, json!("x"), Some("=x"));
        check(ColumnType::Text, json!(""), Some("="));
        check(ColumnType::Text, json!("\"x\"\n"), Some("=\"x\"\n"));
        check(ColumnType::Text, json!(10), Some("=10"));
        check(ColumnType::Text, json!(true), Some("=true"));
        check(ColumnType::Number, json!(8.5), Some("=8.5"));
        check(ColumnType::Number, json!("10"), Some("=10"));
        check(ColumnType::Boolean, json!("true"), Some("=true"));
        check(ColumnType::Time, json!("2023-07-11T08:00:00.000+0000"), Some("=2023-07-11T08:00:00Z"));
        check(ColumnType::Time, json!("2023-07-11T08:00:00.000Z"), Some("=2023-07-11T08:00:00.000Z"));
        check(ColumnType::Json, json!(["a"]), Some(r#"=["a"]"#));
    }

    #[test]
    fn empty_and_undefined_strings_are_null_except_in_text_columns() {
        for kind in [ColumnType::Number, ColumnType::Boolean, ColumnType::Time, ColumnType::Json] {
            check(kind, json!(""), Some(""));
            check(kind, json!("undefined"), Some(""));
            check(kind, json!(null), Some(""));
        }
    }

    #[test]
    fn a_value_that_cannot_be_converted_exactly_is_a_misfit() {
        check(ColumnType::Text, json!({"a": 1}), None);
        check(ColumnType::Number, json!("NaN"), None);
        check(ColumnType::Number, json!("1 2"), None);
        check(ColumnType::Number, json!("01"), None);
        check(ColumnType::Number, json!("1,5"), None);
        check(ColumnType::Number, json!("true"), None);
        check(ColumnType::Number, json!([1]), None);
        check(ColumnType::Boolean, json!(1), None);
        check(ColumnType::Time, json!("soon"), None);
    }

    fn check_kind(values: &[Value], expected: Option<ColumnType>) {
        let written: Vec<String> = values.iter().map(Value::to_string).collect();
        assert_eq!(kind_for(written.iter().map(|text| Json::trusted(text))), expected, "{values:?}");
    }

    #[test]
    fn a_new_column_gets_the_type_that_holds_all_its_values() {
        check_kind(&[json!(1), json!(2.5), json!(null), json!("")], Some(ColumnType::Number));
        check_kind(&[json!("2023-07-11T08:00:00Z"), json!("undefined")], Some(ColumnType::Time));
        check_kind(&[json!("2023-07-11")], Some(ColumnType::Text));
        check_kind(&[json!(1), json!("a")], Some(ColumnType::Text));
        check_kind(&[json!("a"), json!(["a"]), json!(1)], Some(ColumnType::Json));
        check_kind(&[json!(""), json!("undefined")], Some(ColumnType::Text));
        check_kind(&[json!(null)], None);
    }
}
