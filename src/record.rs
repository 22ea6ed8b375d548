//! A record as the API sent it: a JSON object with an `_id`.
//!
//! What can be known about a record without a table stands here: its id and its times. A record is
//! made fit for PostgreSQL on the way in (`jsonb` and `text` take no NUL, `numeric` has a largest
//! number), so that nothing further down can fail on it.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Timelike, Utc};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A record with an id, fit to be stored.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: String,
    pub fields: Map<String, Value>,
    /// Values with characters that PostgreSQL takes in no form: NUL was removed, half an emoji replaced.
    pub mended_values: u64,
    /// As it came, for the case that it cannot be stored.
    pub raw: Box<RawValue>,
}

/// A record that cannot be stored at all, as it came, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub id: Option<String>,
    pub raw: String,
    pub reason: String,
    /// The database's code for the reason, where it was the database that refused.
    pub sqlstate: Option<String>,
}

impl Record {
    pub fn parse(raw: Box<RawValue>) -> Result<Record, Rejected> {
        let rejected = |reason| Err(Rejected { id: None, raw: raw.get().to_owned(), reason, sqlstate: None });
        let mut mended_values = 0;
        let parsed = serde_json::from_str(raw.get()).or_else(|error| {
            let mended = without_lone_surrogates(raw.get(), &mut mended_values);
            if mended_values == 0 { Err(error) } else { serde_json::from_str(&mended) }
        });
        let fields = match parsed {
            Ok(Value::Object(fields)) => fields,
            Ok(other) => return rejected(format!("not an object but {}", shape(&other))),
            Err(error) => return rejected(format!("not readable: {error}")),
        };
        if fields.get("_id").and_then(Value::as_str).is_some_and(|id| id.contains('\0')) {
            return rejected("_id has a NUL character".to_owned());
        }
        let fields = storable_fields(fields, &mut mended_values);
        match fields.get("_id") {
            Some(Value::String(id)) if !id.is_empty() => Ok(Record { id: id.clone(), fields, mended_values, raw }),
            Some(other) => rejected(format!("_id is not a name but {}", shape(other))),
            None => rejected("no _id".to_owned()),
        }
    }

    /// The record for which the database had no room or no understanding.
    pub fn refused(&self, reason: String, sqlstate: String) -> Rejected {
        Rejected { id: Some(self.id.clone()), raw: self.raw.get().to_owned(), reason, sqlstate: Some(sqlstate) }
    }

    /// The instant under a property, if there is one.
    pub fn instant(&self, property: &str) -> Option<DateTime<Utc>> {
        self.fields.get(property).and_then(instant)
    }

    /// The latest of these times.
    pub fn newest_of<'a>(&self, properties: impl IntoIterator<Item = &'a &'static str>) -> Option<DateTime<Utc>> {
        properties.into_iter().filter_map(|property| self.instant(property)).max()
    }
}

/// What kind of JSON a value is, for messages.
pub fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty string",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Reads an instant in any form the API writes one: ISO 8601 with or without milliseconds, offset
/// with or without a colon, a date alone (midnight UTC), epoch milliseconds, whole days since
/// 1970-01-01. None when it is no instant or one that `timestamptz` would not keep exactly.
pub fn instant(value: &Value) -> Option<DateTime<Utc>> {
    let instant = match value {
        Value::String(text) => instant_from_text(text)?,
        Value::Number(number) => instant_from_number(number.as_i64()?)?,
        _ => return None,
    };
    let written_exactly = instant.nanosecond() < 1_000_000_000 && instant.nanosecond().is_multiple_of(1_000);
    let year_is_plain = (1..=9999).contains(&chrono::Datelike::year(&instant));
    (written_exactly && year_is_plain).then_some(instant)
}

fn instant_from_text(text: &str) -> Option<DateTime<Utc>> {
    instant_with_time(text).or_else(|| {
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(date.and_hms_opt(0, 0, 0)?.and_utc())
    })
}

/// A text with date and time of day. A missing offset means UTC, as everywhere in the API.
pub fn instant_with_time(text: &str) -> Option<DateTime<Utc>> {
    // The cheap look keeps ordinary text from going through three parsers.
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes[4] != b'-' || !bytes[0].is_ascii_digit() {
        return None;
    }
    DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .map(|instant| instant.to_utc())
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|local| local.and_utc()))
        .ok()
}

/// Days and milliseconds do not overlap: a million days is the year 4707, a million milliseconds
/// are the first quarter of an hour of 1970.
fn instant_from_number(number: i64) -> Option<DateTime<Utc>> {
    if number.unsigned_abs() < 1_000_000 {
        DateTime::from_timestamp(number * 86_400, 0)
    } else {
        DateTime::from_timestamp_millis(number)
    }
}

fn storable_fields(fields: Map<String, Value>, mended: &mut u64) -> Map<String, Value> {
    let (with_nul, plain): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name.contains('\0'));
    let mut storable_fields: Map<String, Value> =
        plain.into_iter().map(|(name, value)| (name, storable(value, mended))).collect();
    for (name, value) in with_nul {
        // A name keeps a visible trace of its NUL, so that two names never become one.
        let mut name = name.replace('\0', "\u{2400}");
        while storable_fields.contains_key(&name) {
            name.push('\u{2400}');
        }
        storable_fields.insert(name, storable(value, mended));
    }
    storable_fields
}

/// Half a surrogate pair is left where a text was cut inside an emoji. It is no character; the replacement
/// character takes its place.
fn without_lone_surrogates(json: &str, mended: &mut u64) -> String {
    let unit = |at: usize| json.get(at..at + 6)?.strip_prefix("\\u").and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let (mut text, mut at) = (String::with_capacity(json.len()), 0);
    while let Some(escape) = json[at..].find('\\').map(|offset| at + offset) {
        text.push_str(&json[at..escape]);
        let length = match (unit(escape), unit(escape + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                *mended += 1;
                text.push_str("\\ufffd");
                at = escape + 6;
                continue;
            }
            _ => 2,
        };
        let end = (escape + length).min(json.len());
        text.push_str(&json[escape..end]);
        at = end;
    }
    text.push_str(&json[at..]);
    text
}

fn storable(value: Value, mended: &mut u64) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => {
            *mended += 1;
            Value::String(text.replace('\0', ""))
        }
        Value::Number(number) if !fits_numeric(&number.to_string()) => Value::String(number.to_string()),
        Value::Array(items) => Value::Array(items.into_iter().map(|item| storable(item, mended)).collect()),
        Value::Object(fields) => Value::Object(storable_fields(fields, mended)),
        plain => plain,
    }
}

/// Whether PostgreSQL's `numeric` holds this JSON number: 131,072 digits before the point, 16,383
/// after. What is beyond stays as text.
pub fn fits_numeric(number: &str) -> bool {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.trim_start_matches(['-', '+']).split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else { return false };
    let (before, after) = (exponent.saturating_add(whole.len() as i64), (fraction.len() as i64).saturating_sub(exponent));
    before <= 131_000 && after <= 16_000
}

/// A record from the JSON of a test.
#[cfg(test)]
pub(crate) fn record_of(value: &Value) -> Record {
    Record::parse(serde_json::value::to_raw_value(value).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Record, Rejected> {
        Record::parse(RawValue::from_string(text.to_owned()).unwrap())
    }

    fn reads(value: Value, expected: &str) {
        assert_eq!(instant(&value).map(|found| found.to_rfc3339()), Some(expected.to_owned()), "{value}");
    }

    #[test]
    fn instants_are_read_in_every_form_the_api_writes() {
        reads(json!("2023-07-11T08:00:00.000Z"), "2023-07-11T08:00:00+00:00");
        reads(json!("2023-07-11T08:00:00Z"), "2023-07-11T08:00:00+00:00");
        reads(json!("2023-07-11T08:00:00.000+0200"), "2023-07-11T06:00:00+00:00");
        reads(json!("2023-07-11T08:00:00"), "2023-07-11T08:00:00+00:00");
        reads(json!("2023-07-11"), "2023-07-11T00:00:00+00:00");
        reads(json!(1_580_229_961_944_i64), "2020-01-28T16:46:01.944+00:00");
        reads(json!(19548), "2023-07-10T00:00:00+00:00");
    }

    #[test]
    fn what_is_no_instant_is_not_taken_for_one() {
        for value in
            [json!(""), json!("undefined"), json!("soon"), json!("2023-13-45"), json!(1.5), json!(true), json!([]), json!(null)]
        {
            assert_eq!(instant(&value), None, "{value}");
        }
    }

    #[test]
    fn an_instant_that_the_database_would_round_or_refuse_is_none() {
        for text in ["2023-07-11T08:00:00.123456789Z", "2023-07-11T23:59:60Z", "0000-01-01T00:00:00Z", "+12023-01-01T00:00:00Z"] {
            assert_eq!(instant(&json!(text)), None, "{text}");
        }
    }

    #[test]
    fn a_record_needs_an_id() {
        assert_eq!(parse(r#"{"_id":"a","n":1}"#).unwrap().id, "a");
        assert_eq!(parse(r#"{"name":"x"}"#).unwrap_err().reason, "no _id");
        assert_eq!(parse(r#"{"_id":""}"#).unwrap_err().reason, "_id is not a name but an empty string");
        assert_eq!(parse("[1]").unwrap_err().reason, "not an object but an array");
        assert_eq!(parse(r#"{"_id":"a\u0000"}"#).unwrap_err().reason, "_id has a NUL character");
    }

    #[test]
    fn half_an_emoji_is_replaced_and_costs_no_record() {
        let record = parse(r#"{"_id":"a","x":"cut \ud83d","y":"\ude00 \ud83d\ude00 \\ud83d"}"#).unwrap();
        assert_eq!(record.fields["x"], "cut \u{fffd}");
        assert_eq!(record.fields["y"], "\u{fffd} 😀 \\ud83d");
        assert_eq!(record.mended_values, 2);
    }

    #[test]
    fn names_that_differ_by_a_nul_stay_apart() {
        let record = parse(r#"{"_id":"a","k\u0000":1,"k\u2400":2,"k":3}"#).unwrap();
        assert_eq!(Value::Object(record.fields), json!({"_id": "a", "k": 3, "k\u{2400}": 2, "k\u{2400}\u{2400}": 1}));
    }

    #[test]
    fn nul_characters_are_removed_and_counted_and_names_stay_apart() {
        let record = parse(r#"{"_id":"a","x":"b\u0000c","k\u0000":{"deep":["\u0000"]},"k":1}"#).unwrap();
        assert_eq!(Value::Object(record.fields), json!({"_id": "a", "x": "bc", "k\u{2400}": {"deep": [""]}, "k": 1}));
        assert_eq!(record.mended_values, 2);
    }

    #[test]
    fn absurd_numbers_are_no_instants_and_fit_nowhere() {
        assert_eq!(instant(&json!(i64::MIN)), None);
        for exponent in ["9223372036854775807", "-9223372036854775808", "99999999999999999999"] {
            assert!(!fits_numeric(&format!("1e{exponent}")), "{exponent}");
        }
    }

    #[test]
    fn a_number_keeps_its_digits_unless_the_database_has_no_room_for_them() {
        let record = parse(r#"{"_id":"a","exact":29.285714285714285,"wide":1e400,"over":[1e999999]}"#).unwrap();
        assert_eq!(record.fields["exact"].to_string(), "29.285714285714285");
        assert_eq!(record.fields["wide"].to_string(), "1e+400");
        assert_eq!(record.fields["over"], json!(["1e+999999"]));
    }
}
