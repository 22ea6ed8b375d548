//! Timestamps, in every format that the API uses.
//!
//! Nearly all look like `2023-07-11T08:00:00.000Z`, which is parsed by a fast path; other formats go through chrono.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Timelike, Utc};

use crate::record::{Json, Shape};

/// Reads an instant in any form the API writes one: ISO 8601 with or without milliseconds, offset
/// with or without a colon, a date alone (midnight UTC), epoch milliseconds, whole days since
/// 1970-01-01. None when it is no instant or one that `timestamptz` would not keep exactly.
pub(crate) fn instant(value: Json<'_>) -> Option<DateTime<Utc>> {
    let instant = match value.shape() {
        Shape::String => from_text(&value.string()?)?,
        Shape::Number => from_number(value.integer()?)?,
        _ => return None,
    };
    let written_exactly = instant.nanosecond() < 1_000_000_000 && instant.nanosecond().is_multiple_of(1_000);
    let year_is_plain = (1..=9999).contains(&chrono::Datelike::year(&instant));
    (written_exactly && year_is_plain).then_some(instant)
}

/// The instant as PostgreSQL reads it.
pub(crate) fn spelled_for_database(value: Json<'_>) -> Option<Cow<'_, str>> {
    let instant = instant(value)?;
    match value.string() {
        Some(Cow::Borrowed(text)) if from_usual_form(text).is_some() => Some(Cow::Borrowed(text)),
        _ => Some(Cow::Owned(instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))),
    }
}

/// The instant of a cell that `spelled_for_database` has spelled, if `timestamptz` keeps it exactly.
pub fn instant_of_cell(text: &str) -> Option<DateTime<Utc>> {
    with_time_of_day(text).filter(|instant| instant.nanosecond() < 1_000_000_000 && instant.nanosecond().is_multiple_of(1_000))
}

/// A text with date and time of day. A missing offset means UTC, as everywhere in the API.
pub(crate) fn with_time_of_day(text: &str) -> Option<DateTime<Utc>> {
    // The cheap look keeps ordinary text from going through three parsers.
    let bytes = text.as_bytes();
    if bytes.len() < 19 || bytes[4] != b'-' || !bytes[0].is_ascii_digit() {
        return None;
    }
    from_usual_form(text).or_else(|| {
        // The parsers leave out what is finer than a nanosecond.
        let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
        if fraction.bytes().take_while(u8::is_ascii_digit).count() > 9 {
            return None;
        }
        DateTime::parse_from_rfc3339(text)
            .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
            .map(|instant| instant.to_utc())
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(|local| local.and_utc()))
            .ok()
    })
}

fn from_text(text: &str) -> Option<DateTime<Utc>> {
    with_time_of_day(text).or_else(|| {
        // The parser would take `11-7-23` for a day in the year 11.
        let is_written_out = |text: &[u8; 10]| (text[4], text[7]) == (b'-', b'-') && !text.contains(&b' ');
        let date = text.as_bytes().try_into().is_ok_and(is_written_out).then_some(text)?;
        let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
        Some(date.and_hms_opt(0, 0, 0)?.and_utc())
    })
}

/// `2023-07-11T08:00:00.000Z` and nothing else.
fn from_usual_form(text: &str) -> Option<DateTime<Utc>> {
    let text: &[u8; 24] = text.as_bytes().try_into().ok()?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0_u32, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
    };
    let date = NaiveDate::from_ymd_opt(number(0, 4)?.cast_signed(), number(5, 7)?, number(8, 10)?)?;
    Some(date.and_hms_milli_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?)?.and_utc())
}

/// Days and milliseconds do not overlap: a million days is the year 4707, a million milliseconds
/// are the first quarter of an hour of 1970.
fn from_number(number: i64) -> Option<DateTime<Utc>> {
    if number.unsigned_abs() < 1_000_000 {
        DateTime::from_timestamp(number * 86_400, 0)
    } else {
        DateTime::from_timestamp_millis(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(value: &Value) -> Option<DateTime<Utc>> {
        instant(Json::trusted(&value.to_string()))
    }

    fn reads(value: Value, expected: &str) {
        assert_eq!(read(&value).map(|found| found.to_rfc3339()), Some(expected.to_owned()), "{value}");
    }

    #[test]
    fn timestamps_are_read_in_every_format_of_the_api() {
        reads(json!("2023-07-11T08:00:00.000Z"), "2023-07-11T08:00:00+00:00");
        reads(json!("2023-07-11T08:00:00.123Z"), "2023-07-11T08:00:00.123+00:00");
        reads(json!("2023-07-11T08:00:00Z"), "2023-07-11T08:00:00+00:00");
        reads(json!("2023-07-11T08:00:00.000+0200"), "2023-07-11T06:00:00+00:00");
        reads(json!("2023-07-11T08:00:00"), "2023-07-11T08:00:00+00:00");
        reads(json!("2023-07-11"), "2023-07-11T00:00:00+00:00");
        reads(json!(1_580_229_961_944_i64), "2020-01-28T16:46:01.944+00:00");
        reads(json!(19548), "2023-07-10T00:00:00+00:00");
    }

    #[test]
    fn text_that_is_not_a_timestamp_is_not_read_as_one() {
        for value in [
            json!(""),
            json!("undefined"),
            json!("soon"),
            json!("2023-13-45"),
            json!("11-07-23"),
            json!("2023-7-011"),
            json!(" 2023-07-1"),
            json!("2023-02-30T08:00:00.000Z"),
            json!("2023-07-11T08:0x:00.000Z"),
            json!("2023-07-11T25:00:00.000Z"),
            json!(1.5),
            json!(true),
            json!([]),
            json!(null),
            json!(i64::MIN),
        ] {
            assert_eq!(read(&value), None, "{value}");
        }
    }

    #[test]
    fn a_timestamp_that_postgresql_would_round_or_refuse_is_not_read() {
        for text in [
            "2023-07-11T08:00:00.123456789Z",
            "2023-07-11T08:00:00.0000000001Z",
            "2023-07-11T23:59:60Z",
            "0000-01-01T00:00:00.000Z",
            "+12023-01-01T00:00:00Z",
        ] {
            assert_eq!(read(&json!(text)), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_fast_path_for_timestamps_agrees_with_chrono(text in "[0-2][0-9]{3}-[0-1][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\\.[0-9]{3}Z") {
            let by_chrono = DateTime::parse_from_rfc3339(&text).ok().map(|instant| instant.to_utc());
            // A leap second is an instant to chrono; we know none.
            proptest::prop_assert_eq!(from_usual_form(&text), by_chrono.filter(|instant| instant.nanosecond() < 1_000_000_000));
        }
    }
}
