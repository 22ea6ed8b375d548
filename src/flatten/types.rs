//! What fits into a column, and which type a new column gets.
//!
//! The API is loose: numbers arrive as text, `""` and `"undefined"` stand for no value, one property
//! has several shapes. A scalar is taken over whenever its meaning is exact in the column's type;
//! everything else is a misfit, which the row keeps elsewhere.

use chrono::SecondsFormat;
use serde_json::Value;

use crate::object::Kind;
use crate::record::{fits_numeric, instant, instant_with_time};

/// Where a value goes.
#[derive(Debug, PartialEq)]
pub enum Fit {
    Cell(Value),
    /// The property has no value: the column is NULL.
    Nothing,
    Misfit,
}

/// Where a value goes in a column of this type.
pub fn fit(kind: Kind, value: &Value) -> Fit {
    if value.is_null() || (kind != Kind::Text && means_nothing(value)) {
        return Fit::Nothing;
    }
    let cell = match kind {
        Kind::Text => text(value),
        Kind::Number => number(value),
        Kind::Boolean => boolean(value),
        // One spelling per instant, so that a change of spelling is no change of the row.
        Kind::Time => instant(value).map(|instant| Value::String(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
        Kind::Json => Some(value.clone()),
    };
    cell.map_or(Fit::Misfit, Fit::Cell)
}

fn means_nothing(value: &Value) -> bool {
    matches!(value.as_str(), Some("" | "undefined"))
}

fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(_) | Value::Bool(_) => Some(Value::String(value.to_string())),
        _ => None,
    }
}

fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        // JSON's own grammar decides what a number is: "0x10", "NaN" and "1,5" are none.
        Value::String(text) if fits_numeric(text) => serde_json::from_str(text).ok().filter(|parsed: &Value| parsed.is_number()),
        _ => None,
    }
}

fn boolean(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::String(text) if text == "true" => Some(Value::Bool(true)),
        Value::String(text) if text == "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

/// The type that holds all these values; none while there is nothing but null to go by.
///
/// A date alone stays text: only a full instant says that a field is a point in time.
pub(super) fn kind_for<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<Kind> {
    let mut kind = None;
    let mut only_nothing = None;
    for value in values {
        let seen = match value {
            Value::Null => continue,
            nothing if means_nothing(nothing) => {
                only_nothing = Some(Kind::Text);
                continue;
            }
            Value::Bool(_) => Kind::Boolean,
            Value::Number(_) => Kind::Number,
            Value::String(text) if instant_with_time(text).is_some() => Kind::Time,
            Value::String(_) => Kind::Text,
            Value::Array(_) | Value::Object(_) => Kind::Json,
        };
        kind = match kind {
            None => Some(seen),
            Some(before) if before == seen => Some(seen),
            Some(Kind::Json) => Some(Kind::Json),
            Some(_) if seen == Kind::Json => Some(Kind::Json),
            Some(_) => Some(Kind::Text),
        };
    }
    kind.or(only_nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(kind: Kind, value: Value, expected: Fit) {
        assert_eq!(fit(kind, &value), expected, "{kind:?} {value}");
    }

    #[test]
    fn scalars_are_taken_over_where_their_meaning_is_exact() {
        check(Kind::Text, json!("x"), Fit::Cell(json!("x")));
        check(Kind::Text, json!(""), Fit::Cell(json!("")));
        check(Kind::Text, json!(10), Fit::Cell(json!("10")));
        check(Kind::Number, json!(8.5), Fit::Cell(json!(8.5)));
        check(Kind::Number, json!("10"), Fit::Cell(json!(10)));
        check(Kind::Boolean, json!("true"), Fit::Cell(json!(true)));
        check(Kind::Time, json!("2023-07-11T08:00:00.000+0000"), Fit::Cell(json!("2023-07-11T08:00:00Z")));
        check(Kind::Json, json!(["a"]), Fit::Cell(json!(["a"])));
    }

    #[test]
    fn empty_and_undefined_mean_no_value_outside_text() {
        for kind in [Kind::Number, Kind::Boolean, Kind::Time, Kind::Json] {
            check(kind, json!(""), Fit::Nothing);
            check(kind, json!("undefined"), Fit::Nothing);
            check(kind, json!(null), Fit::Nothing);
        }
    }

    #[test]
    fn what_does_not_fit_is_a_misfit() {
        check(Kind::Text, json!({"a": 1}), Fit::Misfit);
        check(Kind::Number, json!("NaN"), Fit::Misfit);
        check(Kind::Number, json!("1,5"), Fit::Misfit);
        check(Kind::Number, json!("true"), Fit::Misfit);
        check(Kind::Number, json!([1]), Fit::Misfit);
        check(Kind::Boolean, json!(1), Fit::Misfit);
        check(Kind::Time, json!("soon"), Fit::Misfit);
    }

    fn check_kind(values: &[Value], expected: Option<Kind>) {
        assert_eq!(kind_for(values), expected, "{values:?}");
    }

    #[test]
    fn a_new_column_takes_the_type_that_holds_all_values_seen() {
        check_kind(&[json!(1), json!(2.5), json!(null), json!("")], Some(Kind::Number));
        check_kind(&[json!("2023-07-11T08:00:00Z"), json!("undefined")], Some(Kind::Time));
        check_kind(&[json!("2023-07-11")], Some(Kind::Text));
        check_kind(&[json!(1), json!("a")], Some(Kind::Text));
        check_kind(&[json!("a"), json!(["a"]), json!(1)], Some(Kind::Json));
        check_kind(&[json!(""), json!("undefined")], Some(Kind::Text));
        check_kind(&[json!(null)], None);
    }
}
