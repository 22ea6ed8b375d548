//! A record as the API sent it: a JSON object with an `_id`.
//!
//! This module knows what can be known about a record without a table: its id, its values and its times. A record is
//! sanitized for PostgreSQL when it is read (`storable.rs`), so that nothing later can fail on it.
//!
//! A record keeps its text, and its values are positions in that text, because most values are only copied. Only a record that
//! cannot be stored as it came, which is rare, is parsed into a tree and written again.

mod json;
mod storable;
pub(crate) mod timestamp;

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserializer as _;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

pub use json::{Json, Shape};
pub use storable::fits_numeric;
use storable::{StorableFields, may_have_reserved_name, may_have_unstorable_text, not_an_id, unreadable};
use timestamp::instant;
pub use timestamp::instant_of_cell;

/// A record with an id, fit to be stored.
#[derive(Debug, Clone)]
pub struct Record {
    pub id: String,
    /// How many values were sanitized: a NUL character was removed, or half a surrogate pair replaced.
    pub sanitized_values: u64,
    /// The text as Planhat sent it, for the quarantine.
    raw: Box<RawValue>,
    /// The sanitized text, if it differs from the text as it came.
    sanitized: Option<Box<RawValue>>,
    /// Properties by name, then custom fields by name; each once.
    fields: Vec<Member>,
    /// Names that are written with escapes.
    decoded: Vec<String>,
}

/// Where a value is in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// On the record itself.
    Property,
    /// In the record's `custom` object.
    Custom,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Property => "property",
            Origin::Custom => "custom",
        }
    }

    pub fn parse(text: &str) -> Option<Origin> {
        [Origin::Property, Origin::Custom].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// A value by its place. A page has some ten thousands of these on the way, so they are small.
#[derive(Debug, Clone, Copy)]
struct Member {
    value: Span,
    /// Where its name begins in the text of the record, or its place among the names that are written with escapes.
    name: u32,
    /// [`Member::DECODED`] if it is among those.
    name_len: u16,
    origin: Origin,
}

/// Bytes of a record's text, which is no longer than a page.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

/// The values of a record as they are found.
struct Members {
    fields: Vec<Member>,
    decoded: Vec<String>,
}

/// A record that cannot be stored at all, as it came, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    pub id: Option<String>,
    pub raw: String,
    pub reason: String,
    /// The database's code for the reason, where it was the database that refused.
    pub sqlstate: Option<String>,
    /// Identifies a record without an id: a hash of its text; under a key if the object has privacy rules.
    pub fingerprint: i64,
}

impl Record {
    pub fn parse(raw: Box<RawValue>) -> Result<Record, Rejected> {
        let mut record = Record::parse_without_id(raw)?;
        match record.get("_id").map(|id| (id.shape(), id.string())) {
            Some((Shape::String, Some(id))) => record.id = id.into_owned(),
            Some((shape, _)) => {
                return Err(Rejected::as_it_came(&record.raw, not_an_id(shape)));
            }
            None => return Err(Rejected::as_it_came(&record.raw, "no _id".to_owned())),
        }
        Ok(record)
    }

    /// A record for what its values are, whether or not it has an id.
    pub(crate) fn parse_without_id(raw: Box<RawValue>) -> Result<Record, Rejected> {
        let shape = Json::of(&raw).shape();
        if shape != Shape::Object {
            return Err(Rejected::as_it_came(&raw, format!("not an object but {}", shape.name())));
        }
        let mut record =
            Record { id: String::new(), sanitized_values: 0, sanitized: None, fields: Vec::new(), decoded: Vec::new(), raw };
        match record.read() {
            Ok(()) => Ok(record),
            Err(reason) => Err(Rejected::as_it_came(&record.raw, reason)),
        }
    }

    /// Finds the values, in the text as it came or in one that can be stored.
    fn read(&mut self) -> Result<(), String> {
        if !may_have_unstorable_text(self.raw.get()) {
            (self.fields, self.decoded) = Members::within(self.raw.get()).map_err(unreadable)?.into_parts();
            if !self.values().any(|(_, name, value)| value.is_unusual() || may_have_reserved_name(name, value)) {
                return Ok(());
            }
        }
        let StorableFields { fields, sanitized_values } = StorableFields::of(self.raw.get())?;
        let sanitized = serde_json::value::to_raw_value(&fields).map_err(unreadable)?;
        (self.fields, self.decoded) = Members::within(sanitized.get()).map_err(unreadable)?.into_parts();
        (self.sanitized, self.sanitized_values) = (Some(sanitized), sanitized_values);
        Ok(())
    }

    /// The record for which the database had no room or no understanding.
    pub fn refused(&self, reason: String, sqlstate: String) -> Rejected {
        Rejected { id: Some(self.id.clone()), sqlstate: Some(sqlstate), ..Rejected::as_it_came(&self.raw, reason) }
    }

    /// Every value with where it comes from: properties by name, and then the fields of `custom` in place of
    /// `custom` itself.
    pub fn values(&self) -> impl Iterator<Item = (Origin, &str, Json<'_>)> {
        let text = self.text();
        self.fields.iter().map(move |field| (field.origin, field.name(text, &self.decoded), self.json(field)))
    }

    /// How many values it has.
    pub fn count(&self) -> usize {
        self.fields.len()
    }

    /// The value of a property.
    pub fn get(&self, property: &str) -> Option<Json<'_>> {
        let text = self.text();
        let place = |field: &Member| (field.origin, field.name(text, &self.decoded)).cmp(&(Origin::Property, property));
        self.fields.binary_search_by(place).ok().map(|index| self.json(&self.fields[index]))
    }

    /// The instant under a property, if there is one.
    pub fn instant(&self, property: &str) -> Option<DateTime<Utc>> {
        self.get(property).and_then(instant)
    }

    /// The latest of these times.
    pub fn newest_of<'a>(&self, properties: impl IntoIterator<Item = &'a &'static str>) -> Option<DateTime<Utc>> {
        properties.into_iter().filter_map(|property| self.instant(property)).max()
    }

    /// How long its text is.
    pub fn text_bytes(&self) -> usize {
        self.text().len()
    }

    fn text(&self) -> &str {
        self.sanitized.as_deref().unwrap_or(&self.raw).get()
    }

    fn json(&self, field: &Member) -> Json<'_> {
        Json::trusted(field.value.within(self.text()))
    }
}

impl Rejected {
    fn as_it_came(raw: &RawValue, reason: String) -> Rejected {
        Rejected::of_text(raw.get().to_owned(), reason)
    }

    /// A record without an id, with its text or what we say in place of one.
    pub fn of_text(raw: String, reason: String) -> Rejected {
        let fingerprint = xxh3_64(raw.as_bytes()).cast_signed();
        Rejected { id: None, raw, reason, sqlstate: None, fingerprint }
    }

    /// The reason without anything that is this record's own: what many records have in common.
    pub fn reason_class(&self) -> String {
        match &self.sqlstate {
            Some(sqlstate) => format!("{REFUSED} ({sqlstate})"),
            None => self.reason.split([':', '(']).next().unwrap_or_default().trim_end().to_owned(),
        }
    }
}

/// The reason of what the database refused; its words may quote values.
pub const REFUSED: &str = "refused by PostgreSQL";

/// Whether this is the whole text of a record rather than what we say in place of one: no JSON begins with a bracket
/// of this kind.
pub fn is_whole_text(raw: &str) -> bool {
    !raw.starts_with('(')
}

impl Member {
    /// In place of the length of a name that is not in the text as it is, or too long for its length to be noted.
    const DECODED: u16 = u16::MAX;

    fn name<'a>(self, text: &'a str, decoded: &'a [String]) -> &'a str {
        let start = self.name as usize;
        match self.name_len {
            Member::DECODED => &decoded[start],
            len => &text[start..start + usize::from(len)],
        }
    }
}

impl Span {
    /// That of a part that is borrowed from a text; none in a text of gigabytes.
    fn of(part: &str, text: &str) -> Option<Span> {
        let start = part.as_ptr().addr() - text.as_ptr().addr();
        Some(Span { start: u32::try_from(start).ok()?, end: u32::try_from(start + part.len()).ok()? })
    }

    fn within(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

impl Members {
    /// The values of a record by the places of their names and values in its text. Of values with the same name the
    /// last one counts, as everywhere in JSON.
    fn within(text: &str) -> Result<Members, serde_json::Error> {
        let mut members = Members { fields: Vec::new(), decoded: Vec::new() };
        members.members(text, text, Origin::Property)?;
        let custom = members.fields.iter().position(|field| field.name(text, &members.decoded) == "custom");
        if let Some(index) = custom
            && members.fields[index].value.within(text).starts_with('{')
        {
            let custom = members.fields.remove(index);
            members.members(text, custom.value.within(text), Origin::Custom)?;
        }
        Ok(members)
    }

    fn into_parts(mut self) -> (Vec<Member>, Vec<String>) {
        self.fields.shrink_to_fit();
        (self.fields, self.decoded)
    }

    /// Adds the members of an object within a text, sorted, each once.
    fn members(&mut self, text: &str, object: &str, origin: Origin) -> Result<(), serde_json::Error> {
        let mut members =
            serde_json::Deserializer::from_str(object).deserialize_map(MemberVisitor { text, origin, members: self })?;
        let name = |field: &Member| field.name(text, &self.decoded);
        members.sort_by(|one, other| name(one).cmp(name(other)));
        members.dedup_by(|next, kept| {
            let same = name(next) == name(kept);
            if same {
                std::mem::swap(next, kept);
            }
            same
        });
        if self.fields.is_empty() {
            self.fields = members;
        } else {
            self.fields.append(&mut members);
        }
        Ok(())
    }
}

struct MemberVisitor<'de, 'a> {
    text: &'de str,
    origin: Origin,
    members: &'a mut Members,
}

impl<'de> Visitor<'de> for MemberVisitor<'de, '_> {
    type Value = Vec<Member>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<Member>, A::Error> {
        let place = |part| Span::of(part, self.text).ok_or_else(|| A::Error::custom("too long"));
        let mut fields = Vec::with_capacity(32);
        while let Some((name, value)) = members.next_entry::<MemberName<'de>, &'de RawValue>()? {
            let in_text = match &name {
                MemberName::Plain(name) if name.len() < usize::from(Member::DECODED) => {
                    Some((place(name)?.start, name.len() as u16))
                }
                MemberName::Plain(_) | MemberName::Escaped(_) => None,
            };
            let (name, name_len) = in_text.unwrap_or_else(|| {
                self.members.decoded.push(name.into_owned());
                (self.members.decoded.len() as u32 - 1, Member::DECODED)
            });
            fields.push(Member { value: place(value.get())?, name, name_len, origin: self.origin });
        }
        Ok(fields)
    }
}

/// A name as it is written.
enum MemberName<'de> {
    Plain(&'de str),
    Escaped(String),
}

impl MemberName<'_> {
    fn into_owned(self) -> String {
        match self {
            MemberName::Plain(name) => name.to_owned(),
            MemberName::Escaped(name) => name,
        }
    }
}

impl<'de> serde::Deserialize<'de> for MemberName<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberNameVisitor;
        impl<'de> Visitor<'de> for MemberNameVisitor {
            type Value = MemberName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<MemberName<'de>, E> {
                Ok(MemberName::Plain(name))
            }

            fn visit_str<E>(self, name: &str) -> Result<MemberName<'de>, E> {
                Ok(MemberName::Escaped(name.to_owned()))
            }
        }
        deserializer.deserialize_str(MemberNameVisitor)
    }
}

/// A record from the JSON of a test.
#[cfg(test)]
pub(crate) fn record_of(value: &serde_json::Value) -> Record {
    Record::parse(serde_json::value::to_raw_value(value).unwrap()).unwrap()
}

#[cfg(test)]
mod parse_properties;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parse(text: &str) -> Result<Record, Rejected> {
        Record::parse(RawValue::from_string(text.to_owned()).unwrap())
    }

    fn properties(record: &Record) -> Value {
        record.values().map(|(_, name, value)| (name.to_owned(), value.tree())).collect()
    }

    #[test]
    fn values_are_found_by_name_and_each_once() {
        let record = parse(r#"{"b": 1, "a" :[ 2 ], "b":"\"3\"", "_id":"i","\"q":4,"custom":{"z":1,"a":2,"z":3}}"#).unwrap();
        let values: Vec<_> = record.values().map(|(origin, name, value)| (origin, name, value.as_written())).collect();
        use Origin::{Custom, Property};
        assert_eq!(
            values,
            [
                (Property, "\"q", "4"),
                (Property, "_id", "\"i\""),
                (Property, "a", "[ 2 ]"),
                (Property, "b", "\"\\\"3\\\"\""),
                (Custom, "a", "2"),
                (Custom, "z", "3"),
            ]
        );
        assert_eq!(record.get("b").unwrap().string().as_deref(), Some("\"3\""));
        assert_eq!((record.get("z"), record.get("custom")), (None, None));
    }

    #[test]
    fn a_name_of_any_length_is_found() {
        for len in [1, 65_534, 65_535, 65_536, 200_000] {
            let name = "n".repeat(len);
            let record = parse(&format!(r#"{{"_id":"i","{name}":"long","a":1}}"#)).unwrap();
            assert_eq!(record.get(&name).unwrap().as_written(), "\"long\"", "{len}");
            assert_eq!(record.values().map(|(_, name, _)| name.len()).collect::<Vec<_>>(), [3, 1, len], "{len}");
        }
    }

    #[test]
    fn the_place_of_a_value_takes_16_bytes() {
        assert_eq!(size_of::<Member>(), 16);
    }

    #[test]
    fn a_record_needs_an_id() {
        assert_eq!(parse(r#"{"_id":"a","n":1}"#).unwrap().id, "a");
        assert_eq!(parse(r#"{"name":"x"}"#).unwrap_err().reason, "no _id");
        assert_eq!(parse(r#"{"_id":""}"#).unwrap_err().reason, "_id is not a string but an empty string");
        assert_eq!(parse("[1]").unwrap_err().reason, "not an object but an array");
        assert_eq!(parse(r#"{"_id":"a\u0000"}"#).unwrap_err().reason, "_id has a NUL character");
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_the_record_is_kept() {
        let record = parse(r#"{"_id":"a","x":"cut \ud83d","y":"\ude00 \ud83d\ude00 \\ud83d"}"#).unwrap();
        assert_eq!(record.get("x").unwrap().tree(), "cut \u{fffd}");
        assert_eq!(record.get("y").unwrap().tree(), "\u{fffd} 😀 \\ud83d");
        assert_eq!(record.sanitized_values, 2);
    }

    #[test]
    fn an_id_with_half_a_surrogate_pair_is_refused_and_one_with_a_replacement_character_is_kept() {
        assert_eq!(parse(r#"{"_id":"a\ud83d"}"#).unwrap_err().reason, "_id has half a surrogate pair");
        assert_eq!(parse(r#"{"_id":"a\ufffd","x":"\ud83d"}"#).unwrap().id, "a\u{fffd}");
    }

    #[test]
    fn a_number_is_no_id_however_large_it_is() {
        for number in ["1", "1e5", "1e999999", &"7".repeat(140_000)] {
            let reason = parse(&format!(r#"{{"_id":{number}}}"#)).unwrap_err().reason;
            assert_eq!(reason, "_id is not a string but a number");
        }
    }

    #[test]
    fn property_names_that_differ_by_half_a_surrogate_pair_stay_different() {
        let record =
            parse(r#"{"_id":"a","k\ud83d":1,"k\ude00":2,"k\ufffd":3,"k\uD83D":4,"in":{"\ud83d":1,"\ud83e":2}}"#).unwrap();
        let expected = json!({
            "_id": "a", "k\u{fffd}": 3, "k\u{fffd}\u{fffd}": 4, "k\u{fffd}\u{fffd}\u{fffd}": 2,
            "in": {"\u{fffd}": 1, "\u{fffd}\u{fffd}": 2},
        });
        assert_eq!(properties(&record), expected);
    }

    #[test]
    fn several_halves_in_a_row_are_replaced_one_by_one_and_pairs_are_kept() {
        let record = parse(r#"{"_id":"a","x":"\ude00\ud83d\ud83d\ude00\ude00 \uD83D\n\ud83d\u0041\\ud83d"}"#).unwrap();
        assert_eq!(record.get("x").unwrap().tree(), "\u{fffd}\u{fffd}😀\u{fffd} \u{fffd}\n\u{fffd}A\\ud83d");
        assert_eq!(record.sanitized_values, 1);
    }

    #[test]
    fn a_name_that_stands_for_a_number_in_the_parser_is_refused_at_any_depth() {
        for text in [
            r#"{"_id":"a","x":{"$serde_json::private::Number":"1"}}"#,
            r#"{"_id":"a","x":{"$serde_json::private::RawValue":"{}"}}"#,
            r#"{"_id":"a","x":{"\u0024serde_json::private::Number":"1"}}"#,
            r#"{"_id":"a","custom":{"y":[[{"$serde_json::private::Number":"1e9"}]]}}"#,
            r#"{"$serde_json::private::Number":"1","_id":"a"}"#,
        ] {
            assert_eq!(parse(text).unwrap_err().reason, "a name begins with $serde_json::private::", "{text}");
        }
        let as_a_value = parse(r#"{"_id":"a","x":["$serde_json::private::Number"]}"#).unwrap();
        assert_eq!(as_a_value.get("x").unwrap().tree(), json!(["$serde_json::private::Number"]));
    }

    #[test]
    fn a_record_with_up_to_127_levels_is_read_and_a_deeper_one_is_refused() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |levels: usize| format!(r#"{{"_id":"a","x":{}1{}}}"#, open.repeat(levels), close.repeat(levels));
            for levels in [0, 1, 63, 64, 65, 126] {
                let text = nested(levels);
                let value = format!("{}1{}", open.repeat(levels), close.repeat(levels));
                assert_eq!(parse(&text).unwrap().get("x").unwrap().as_written(), value);
            }
            for levels in [127, 128, 10_000] {
                let reason = parse(&nested(levels)).unwrap_err().reason;
                assert_eq!(reason, "not readable: more than 127 levels of arrays and objects", "{levels}");
            }
        }
    }

    #[test]
    fn property_names_that_differ_by_a_nul_stay_different() {
        let record = parse(r#"{"_id":"a","k\u0000":1,"k\u2400":2,"k":3}"#).unwrap();
        assert_eq!(properties(&record), json!({"_id": "a", "k": 3, "k\u{2400}": 2, "k\u{2400}\u{2400}": 1}));
    }

    #[test]
    fn nul_characters_are_removed_and_counted_and_property_names_stay_different() {
        let record = parse(r#"{"_id":"a","x":"b\u0000c","k\u0000":{"deep":["\u0000"]},"k":1}"#).unwrap();
        assert_eq!(properties(&record), json!({"_id": "a", "x": "bc", "k\u{2400}": {"deep": [""]}, "k": 1}));
        assert_eq!(record.sanitized_values, 2);
    }

    #[test]
    fn numbers_beyond_the_range_of_numeric_do_not_fit() {
        for exponent in ["9223372036854775807", "-9223372036854775808", "99999999999999999999"] {
            assert!(!fits_numeric(&format!("1e{exponent}")), "{exponent}");
        }
    }

    #[test]
    fn a_long_number_is_kept_up_to_what_the_database_holds_and_becomes_text_beyond() {
        for (number, fits) in [
            ("7".repeat(131_000), true),
            ("7".repeat(131_001), false),
            (format!("-{}.5", "7".repeat(131_000)), true),
            (format!("-{}.5", "7".repeat(131_001)), false),
            (format!("0.{}", "7".repeat(16_000)), true),
            (format!("0.{}", "7".repeat(16_001)), false),
            ("7e130999".to_owned(), true),
            ("7E131000".to_owned(), false),
            ("7e-16000".to_owned(), true),
            ("7e-16001".to_owned(), false),
            ("0.7e-15999".to_owned(), true),
            ("0.7e-16000".to_owned(), false),
        ] {
            let record = parse(&format!(r#"{{"_id":"a","x":{number}}}"#)).unwrap();
            let expected = if fits { Shape::Number } else { Shape::String };
            assert_eq!(record.get("x").unwrap().shape(), expected, "{}", &number[..number.len().min(20)]);
        }
    }

    #[test]
    fn a_number_keeps_its_digits_unless_the_database_has_no_room_for_them() {
        let record = parse(r#"{"_id":"a","exact":29.285714285714285,"wide":1e400,"over":[1e999999]}"#).unwrap();
        assert_eq!(record.get("exact").unwrap().as_written(), "29.285714285714285");
        assert_eq!(record.get("wide").unwrap().as_written(), "1e+400");
        assert_eq!(record.get("over").unwrap().tree(), json!(["1e+999999"]));
    }
}
