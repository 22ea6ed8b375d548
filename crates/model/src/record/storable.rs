//! A record that PostgreSQL would not store as it came, made fit to be stored.
//!
//! `text` and `jsonb` accept no NUL character and no half of a surrogate pair, `numeric` has a maximum, and a tree of values has
//! a maximum depth. So the record becomes a tree, and what PostgreSQL refuses is left out or replaced. Half a surrogate pair
//! is left where a text was cut inside an emoji: it is no character, and the replacement character takes its place.
//!
//! The tree is made here and not by serde_json. Names must be seen as they are written, so that two of them never
//! become one. And serde_json takes an object with a certain name, which it uses itself, for a number.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Visitor;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Json, Shape};

/// Levels of arrays and objects in each other, the record included: as many as serde_json reads.
const MAX_LEVELS: usize = 127;
/// The beginning of names by which serde_json marks numbers and texts of JSON. In a record they would be taken for such.
const RESERVED_NAMES: &str = "$serde_json::private::";
/// Stands in a name where a NUL character was.
const NUL_MARK: char = '\u{2400}';

/// The members of a record with values that can be stored.
#[derive(Debug)]
pub(super) struct StorableFields {
    pub(super) fields: Map<String, Value>,
    /// How many values were sanitized.
    pub(super) sanitized_values: u64,
}

/// Whether a name or a text in a record may be one that PostgreSQL refuses.
pub(super) fn may_have_unstorable_text(record: &str) -> bool {
    record.contains("\\u")
}

/// Whether a member, or one at any depth in it, may have a reserved name, where no name is written with `\u`.
pub(super) fn may_have_reserved_name(name: &str, value: Json<'_>) -> bool {
    let is_nested = || matches!(value.shape(), Shape::Array | Shape::Object);
    name.starts_with(RESERVED_NAMES) || (is_nested() && value.as_written().contains(RESERVED_NAMES))
}

impl StorableFields {
    /// The fields of a record that is known to be an object; or why it cannot be stored.
    pub(super) fn of(record: &str) -> Result<StorableFields, String> {
        let members = members_of(record).map_err(unreadable)?;
        if let Some((_, id)) = members.iter().find(|(name, _)| name.0 == b"_id") {
            check_id(id)?;
        }
        let mut storable = StorableFields { fields: Map::new(), sanitized_values: 0 };
        storable.fields = storable.object(members, 1)?;
        Ok(storable)
    }

    fn value(&mut self, value: &RawValue, level: usize) -> Result<Value, String> {
        let text = value.get();
        match Json::of(value).shape() {
            Shape::Array | Shape::Object if level > MAX_LEVELS => {
                Err(format!("not readable: more than {MAX_LEVELS} levels of arrays and objects"))
            }
            Shape::Object => Ok(Value::Object(self.object(members_of(text).map_err(unreadable)?, level)?)),
            Shape::Array => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(unreadable)?;
                items.into_iter().map(|item| self.value(item, level + 1)).collect()
            }
            Shape::String => {
                let characters = Characters::of(value).map_err(unreadable)?;
                self.sanitized_values += u64::from(!characters.are_storable());
                Ok(Value::String(characters.storable().replace('\0', "")))
            }
            Shape::Number => {
                let number: Value = serde_json::from_str(text).map_err(unreadable)?;
                Ok(if fits_numeric(&number.to_string()) { number } else { Value::String(number.to_string()) })
            }
            Shape::Null | Shape::Boolean | Shape::EmptyString => serde_json::from_str(text).map_err(unreadable),
        }
    }

    /// A name of which something is replaced keeps a visible trace of it, and is marked once more where another member has
    /// the name that it becomes.
    fn object(&mut self, members: BTreeMap<Characters, &RawValue>, level: usize) -> Result<Map<String, Value>, String> {
        let (plain, others): (Vec<_>, Vec<_>) = members.into_iter().partition(|(name, _)| name.are_storable());
        let mut fields = Map::new();
        for (name, value) in plain.into_iter().chain(others) {
            let mark = if name.has_nul() { NUL_MARK } else { char::REPLACEMENT_CHARACTER };
            let mut name = name.storable().replace('\0', NUL_MARK.encode_utf8(&mut [0; 4]));
            while fields.contains_key(&name) {
                name.push(mark);
            }
            if name.starts_with(RESERVED_NAMES) {
                return Err(format!("a name begins with {RESERVED_NAMES}"));
            }
            fields.insert(name, self.value(value, level + 1)?);
        }
        Ok(fields)
    }
}

/// An id that would become another one is none. Two ids must not become one, and a number must not become an id.
fn check_id(id: &RawValue) -> Result<(), String> {
    match Json::of(id).shape() {
        Shape::String => match Characters::of(id).map_err(unreadable)? {
            id if id.has_nul() => Err("_id has a NUL character".to_owned()),
            id if id.has_half_a_pair() => Err("_id has half a surrogate pair".to_owned()),
            _ => Ok(()),
        },
        shape @ Shape::Number => Err(not_an_id(shape)),
        _ => Ok(()),
    }
}

pub(super) fn not_an_id(shape: Shape) -> String {
    format!("_id is not a string but {}", shape.name())
}

pub(super) fn unreadable(error: serde_json::Error) -> String {
    format!("not readable: {error}")
}

/// The characters of a string as JSON has them: in UTF-8, but for halves of surrogate pairs. They are encoded like characters,
/// in three bytes of which the first two occur in no UTF-8 next to each other (this encoding is called WTF-8).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Characters(Vec<u8>);

impl Characters {
    fn of(string: &RawValue) -> Result<Characters, serde_json::Error> {
        serde_json::from_str(string.get())
    }

    fn has_nul(&self) -> bool {
        self.0.contains(&0)
    }

    fn has_half_a_pair(&self) -> bool {
        std::str::from_utf8(&self.0).is_err()
    }

    fn are_storable(&self) -> bool {
        !self.has_nul() && !self.has_half_a_pair()
    }

    /// With a replacement character for each half of a surrogate pair.
    fn storable(self) -> String {
        String::from_utf8(self.0).unwrap_or_else(|error| {
            let mut text = String::new();
            for chunk in error.as_bytes().utf8_chunks() {
                text.push_str(chunk.valid());
                // The first of its three bytes; the other two are chunks of their own.
                if chunk.invalid().first() == Some(&0xed) {
                    text.push(char::REPLACEMENT_CHARACTER);
                }
            }
            text
        })
    }
}

impl<'de> serde::Deserialize<'de> for Characters {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CharactersVisitor;
        impl Visitor<'_> for CharactersVisitor {
            type Value = Characters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Characters, E> {
                Ok(Characters(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(CharactersVisitor)
    }
}

/// The members of an object, each name once: the last value counts.
fn members_of(object: &str) -> Result<BTreeMap<Characters, &RawValue>, serde_json::Error> {
    serde_json::from_str(object)
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
