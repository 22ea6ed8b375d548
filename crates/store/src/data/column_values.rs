//! The values of a column as a statement takes them: in PostgreSQL's own form where that is exact, otherwise as texts.
//!
//! PostgreSQL takes as long to read times and numbers from texts as to store their rows. A column in which one value has another form is
//! sent as texts, which PostgreSQL reads as ever: so nothing depends on which forms are known here.

use chrono::{DateTime, Utc};
use planhat_model::catalog::ColumnType;
use planhat_model::record::instant_of_cell;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo};
use sqlx::{Arguments as _, Encode, Postgres, Type};

/// For each row the value of one column, if it has one.
#[derive(Debug, PartialEq)]
pub(super) enum ColumnValues<'a> {
    Texts(Vec<Option<&'a str>>),
    Times(Vec<Option<DateTime<Utc>>>),
    Numbers(Vec<Option<PlainNumber<'a>>>),
    Booleans(Vec<Option<bool>>),
}

impl<'a> ColumnValues<'a> {
    pub(super) fn of(kind: ColumnType, texts: Vec<Option<&'a str>>) -> ColumnValues<'a> {
        let read = match kind {
            ColumnType::Text | ColumnType::Json => None,
            ColumnType::Time => each(&texts, instant_of_cell).map(ColumnValues::Times),
            ColumnType::Number => each(&texts, PlainNumber::of).map(ColumnValues::Numbers),
            ColumnType::Boolean => each(&texts, boolean).map(ColumnValues::Booleans),
        };
        read.unwrap_or(ColumnValues::Texts(texts))
    }

    /// The type of the array.
    pub(super) fn array(&self) -> &'static str {
        match self {
            ColumnValues::Texts(_) => "text[]",
            ColumnValues::Times(_) => "timestamptz[]",
            ColumnValues::Numbers(_) => "numeric[]",
            ColumnValues::Booleans(_) => "boolean[]",
        }
    }

    pub(super) fn add_to(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        match self {
            ColumnValues::Texts(values) => arguments.add(values),
            ColumnValues::Times(values) => arguments.add(values),
            ColumnValues::Numbers(values) => arguments.add(values),
            ColumnValues::Booleans(values) => arguments.add(values),
        }
    }
}

/// Nothing if one of the texts has another form.
fn each<'a, T>(texts: &[Option<&'a str>], read: impl Fn(&'a str) -> Option<T>) -> Option<Vec<Option<T>>> {
    texts.iter().map(|text| text.map_or(Some(None), |text| read(text).map(Some))).collect()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A number without an exponent, as it is written: `-12.50`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PlainNumber<'a> {
    is_negative: bool,
    /// The digits before and behind the point.
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> PlainNumber<'a> {
    /// Longer ones are rare, and PostgreSQL knows best which of them it can store.
    const MAX_DIGITS: usize = 100;
    /// A digit of a stored number has so many decimal digits.
    const PER_DIGIT: usize = 4;

    fn of(text: &'a str) -> Option<PlainNumber<'a>> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain = text.len() <= Self::MAX_DIGITS && are_digits(whole) && are_digits(fraction);
        let fraction = if digits.contains('.') { fraction } else { "" };
        is_plain.then_some(PlainNumber { is_negative, whole: whole.trim_start_matches('0'), fraction })
    }

    /// The digits of base 10000, and the weight of the first: by how many digits it is left of the point, less one.
    fn digits(&self) -> (Vec<i16>, i16) {
        let groups_before = self.whole.len().div_ceil(Self::PER_DIGIT);
        let mut digits = vec![0_i16; groups_before + self.fraction.len().div_ceil(Self::PER_DIGIT)];
        let first = groups_before * Self::PER_DIGIT - self.whole.len();
        for (place, byte) in (first..).zip(self.whole.bytes().chain(self.fraction.bytes())) {
            let tens = [1000, 100, 10, 1][place % Self::PER_DIGIT];
            digits[place / Self::PER_DIGIT] += i16::from(byte - b'0') * tens;
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        digits.truncate(digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1));
        // Both are short: the text is.
        let weight = if digits.is_empty() { 0 } else { groups_before as i16 - 1 - zeros as i16 };
        (digits, weight)
    }
}

impl Type<Postgres> for PlainNumber<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1700))
    }
}

impl PgHasArrayType for PlainNumber<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1231))
    }
}

impl Encode<'_, Postgres> for PlainNumber<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        const NEGATIVE: i16 = 0x4000;
        let (digits, weight) = self.digits();
        let sign = if self.is_negative && !digits.is_empty() { NEGATIVE } else { 0 };
        for field in [digits.len() as i16, weight, sign, self.fraction.len() as i16].iter().chain(&digits) {
            buffer.extend_from_slice(&field.to_be_bytes());
        }
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_digits_that_postgresql_stores() {
        let check = |text: &str, digits: &[i16], weight: i16, scale: usize| {
            let number = PlainNumber::of(text).unwrap();
            assert_eq!((number.digits(), number.fraction.len()), ((digits.to_vec(), weight), scale), "{text}");
        };
        check("0", &[], 0, 0);
        check("-0.00", &[], 0, 2);
        check("7", &[7], 0, 0);
        check("10000", &[1], 1, 0);
        check("12345.6", &[1, 2345, 6000], 1, 1);
        check("0.00015", &[1, 5000], -1, 5);
        check("-100000000.50", &[1, 0, 0, 5000], 2, 2);
        check("0.0000000001", &[100], -3, 10);
    }

    #[test]
    fn a_number_in_another_form_is_left_to_postgresql() {
        for text in ["1e5", "1E-5", "", "-", ".5", "5.", "NaN", "1,5", "+1", " 1", &"1".repeat(101)] {
            assert_eq!(PlainNumber::of(text), None, "{text}");
        }
    }

    #[test]
    fn one_value_in_another_form_sends_its_column_as_texts() {
        let sent = |kind, texts: &[Option<&'static str>]| ColumnValues::of(kind, texts.to_vec()).array();
        assert_eq!(sent(ColumnType::Number, &[Some("1"), None]), "numeric[]");
        assert_eq!(sent(ColumnType::Number, &[Some("1"), Some("1e5")]), "text[]");
        assert_eq!(sent(ColumnType::Time, &[Some("2023-07-11T08:00:00.000Z"), Some("2023-07-11T08:00:00Z")]), "timestamptz[]");
        assert_eq!(sent(ColumnType::Time, &[Some("yesterday")]), "text[]");
        assert_eq!(sent(ColumnType::Boolean, &[Some("true"), Some("false")]), "boolean[]");
        assert_eq!(sent(ColumnType::Boolean, &[Some("yes")]), "text[]");
        assert_eq!(sent(ColumnType::Text, &[Some("true")]), "text[]");
    }
}
