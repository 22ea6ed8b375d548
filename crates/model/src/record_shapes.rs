//! The shapes of JSON values, without the values: what a report about a workspace says of its records.
//!
//! ```text
//! records -> ShapeCounts: how many are an object, a text of 1 to 10 characters, an id …; documented members by name, others by number
//! ```
//!
//! Nothing that a person typed gets in here. Names are those of the documentation, all others are counted; a length is a range.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Object;

/// The longest of each range of lengths; a longer one is in the last range.
const RANGE_ENDS: [usize; 4] = [10, 100, 1000, 10_000];

/// What a value is, told by its text alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ValueShape {
    Null,
    Boolean,
    Integer,
    /// A number with a fraction or an exponent.
    Decimal,
    /// An integer that would be a point in time from 2001 on.
    EpochMilliseconds,
    /// 24 hexadecimal digits.
    Id,
    /// `2026-11-27T08:00:00.000Z`
    Time,
    /// A date and a time of day in any other form.
    OtherTime,
    /// `2026-11-27`
    Date,
    EmptyText,
    UndefinedText,
    /// Digits in quotation marks.
    NumberText,
    /// Any other text, by the number of its characters.
    Text(LengthRange),
    EmptyArray,
    Array(LengthRange),
    Object,
}

/// 1 to 10, 11 to 100 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LengthRange(usize);

impl LengthRange {
    fn of(length: usize) -> LengthRange {
        LengthRange(RANGE_ENDS.iter().position(|end| length <= *end).unwrap_or(RANGE_ENDS.len()))
    }

    fn all() -> impl Iterator<Item = LengthRange> {
        (0..=RANGE_ENDS.len()).map(LengthRange)
    }

    /// The shortest length.
    pub fn shortest(self) -> usize {
        self.0.checked_sub(1).and_then(|before| RANGE_ENDS.get(before)).map_or(1, |end| end + 1)
    }

    /// The longest length; none if the range has no end.
    pub fn longest(self) -> Option<usize> {
        RANGE_ENDS.get(self.0).copied()
    }

    fn name(self) -> String {
        match self.longest() {
            Some(longest) => format!("{} to {longest}", self.shortest()),
            None => format!("{} or more", self.shortest()),
        }
    }
}

impl ValueShape {
    pub fn of(value: &Value) -> ValueShape {
        match value {
            Value::Null => ValueShape::Null,
            Value::Bool(_) => ValueShape::Boolean,
            Value::Number(number) => match number.as_i64() {
                Some(1_000_000_000_000..10_000_000_000_000) => ValueShape::EpochMilliseconds,
                Some(_) => ValueShape::Integer,
                None => ValueShape::Decimal,
            },
            Value::String(text) => ValueShape::of_text(text),
            Value::Array(items) if items.is_empty() => ValueShape::EmptyArray,
            Value::Array(items) => ValueShape::Array(LengthRange::of(items.len())),
            Value::Object(_) => ValueShape::Object,
        }
    }

    fn of_text(text: &str) -> ValueShape {
        let bytes = text.as_bytes();
        let is_like = |pattern: &str| {
            let fits = |(byte, mark): (&u8, u8)| if mark == b'0' { byte.is_ascii_digit() } else { *byte == mark };
            bytes.len() == pattern.len() && bytes.iter().zip(pattern.bytes()).all(fits)
        };
        match text {
            "" => ValueShape::EmptyText,
            "undefined" => ValueShape::UndefinedText,
            _ if bytes.len() == 24 && bytes.iter().all(u8::is_ascii_hexdigit) => ValueShape::Id,
            _ if is_like("0000-00-00T00:00:00.000Z") => ValueShape::Time,
            _ if is_like("0000-00-00") => ValueShape::Date,
            _ if crate::record::timestamp::with_time_of_day(text).is_some() => ValueShape::OtherTime,
            _ if bytes.iter().all(u8::is_ascii_digit) => ValueShape::NumberText,
            _ => ValueShape::Text(LengthRange::of(text.chars().count())),
        }
    }

    fn all() -> impl Iterator<Item = ValueShape> {
        use ValueShape::{
            Boolean, Date, Decimal, EmptyArray, EmptyText, EpochMilliseconds, Id, Integer, Null, NumberText, Object, OtherTime,
            Time, UndefinedText,
        };
        let plain = [
            Null, Boolean, Integer, Decimal, EpochMilliseconds, Id, Time, OtherTime, Date, EmptyText, UndefinedText, NumberText,
            EmptyArray, Object,
        ];
        let ranges = LengthRange::all().flat_map(|range| [ValueShape::Text(range), ValueShape::Array(range)]);
        plain.into_iter().chain(ranges)
    }
}

impl From<ValueShape> for String {
    fn from(shape: ValueShape) -> String {
        let name = match shape {
            ValueShape::Null => "null",
            ValueShape::Boolean => "boolean",
            ValueShape::Integer => "integer",
            ValueShape::Decimal => "decimal",
            ValueShape::EpochMilliseconds => "epoch milliseconds",
            ValueShape::Id => "id",
            ValueShape::Time => "time",
            ValueShape::OtherTime => "time in another form",
            ValueShape::Date => "date",
            ValueShape::EmptyText => "empty text",
            ValueShape::UndefinedText => "the text undefined",
            ValueShape::NumberText => "digits as text",
            ValueShape::Text(range) => return format!("text of {}", range.name()),
            ValueShape::EmptyArray => "empty array",
            ValueShape::Array(range) => return format!("array of {}", range.name()),
            ValueShape::Object => "object",
        };
        name.to_owned()
    }
}

impl TryFrom<String> for ValueShape {
    type Error = String;

    fn try_from(name: String) -> Result<ValueShape, String> {
        ValueShape::all().find(|shape| String::from(*shape) == name).ok_or_else(|| format!("{name:?} is no shape of a value"))
    }
}

/// The shapes of several values that stand in one place: the records of an object, or the values of a property.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeCounts {
    /// How many values there are.
    pub count: usize,
    pub shapes: BTreeMap<ValueShape, usize>,
    /// What stands in the arrays, of all of them together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Box<ShapeCounts>>,
    /// The members of the objects that are documented, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, ShapeCounts>,
    /// All other members of the objects. Custom fields are the other members of `custom`.
    #[serde(default, skip_serializing_if = "OtherMembers::is_empty")]
    pub other_members: OtherMembers,
}

/// Members that are not documented: how many names there are, and what their values are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherMembers {
    pub names: usize,
    pub shapes: BTreeMap<ValueShape, usize>,
}

impl OtherMembers {
    fn is_empty(&self) -> bool {
        self.names == 0
    }
}

impl ShapeCounts {
    /// The shapes of the records of an object. None of their texts is kept.
    pub fn of_records(object: &Object, records: &[Value]) -> ShapeCounts {
        ShapeCounts::of(Place::Record(object), &records.iter().collect::<Vec<_>>())
    }

    fn of(place: Place<'_>, values: &[&Value]) -> ShapeCounts {
        let mut counts = ShapeCounts { count: values.len(), ..ShapeCounts::default() };
        let (mut items, mut other_names) = (Vec::new(), BTreeSet::new());
        let mut members: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for value in values {
            *counts.shapes.entry(ValueShape::of(value)).or_default() += 1;
            match value {
                Value::Array(of_array) => items.extend(of_array),
                Value::Object(of_object) => {
                    for (name, value) in of_object {
                        match place.documents(name) {
                            Some(name) => members.entry(name).or_default().push(value),
                            None => {
                                other_names.insert(name);
                                *counts.other_members.shapes.entry(ValueShape::of(value)).or_default() += 1;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        counts.other_members.names = other_names.len();
        counts.items = (!items.is_empty()).then(|| Box::new(ShapeCounts::of(place.item(), &items)));
        counts.members =
            members.iter().map(|(name, values)| ((*name).to_owned(), ShapeCounts::of(Place::Member(name), values))).collect();
        counts
    }
}

/// Where a value stands, which decides which names of members are documented.
#[derive(Clone, Copy)]
enum Place<'a> {
    Record(&'a Object),
    /// In a documented property of this name, or in an array there.
    Member(&'a str),
    /// In something of which no name is documented.
    Unknown,
}

impl Place<'_> {
    /// The documented spelling of a name.
    fn documents(self, name: &str) -> Option<&'static str> {
        match self {
            Place::Record(object) => {
                let own = object.documented().map(|(property, _)| property).chain(object.times().copied());
                own.chain(object.references.iter().map(|reference| reference.property))
                    .chain(object.hidden)
                    .chain(["_id", "custom"])
                    .find(|property| *property == name)
            }
            Place::Member(property) => members_of(property).iter().find(|member| **member == name).copied(),
            Place::Unknown => None,
        }
    }

    fn item(self) -> Self {
        match self {
            Place::Record(_) => Place::Unknown,
            place => place,
        }
    }
}

/// The documented names in an object that is a value; see "Shapes that differ" in docs/planhat-api.md. `custom`, `usage`,
/// `lastTouchByType` and the like have names that people chose, so none of theirs is here.
fn members_of(property: &str) -> &'static [&'static str] {
    match property {
        "owner" | "coOwner" | "doneBy" => &["_id", "nickName"],
        "collaborators" | "followers" | "users" | "endusers" | "companies" => &["_id", "id", "name", "nickName", "isOwner"],
        "_currency" => &["_id", "symbol", "rate", "isBase", "overrides"],
        "roles" | "templateId" => &["_id", "name"],
        "sharedNotificationsPrefs" => &["enabled", "disabled", "disabledEvents"],
        "csmScoreLog" => &["score", "time"],
        "stageHistory" => &["stage", "time"],
        "comment" => &["text", "userId"],
        "sender" => &["id", "type"],
        "links" => &["name", "url"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalog;

    #[test]
    fn a_value_has_one_shape_and_a_shape_one_name() {
        for (value, expected) in [
            (json!(null), "null"),
            (json!(true), "boolean"),
            (json!(7), "integer"),
            (json!(-0.5), "decimal"),
            (json!(1_764_220_000_000_i64), "epoch milliseconds"),
            (json!("675962a0b3a10000000000e1"), "id"),
            (json!("2026-11-27T08:00:00.000Z"), "time"),
            (json!("2026-11-27T08:00:00+0000"), "time in another form"),
            (json!("2026-11-27"), "date"),
            (json!(""), "empty text"),
            (json!("undefined"), "the text undefined"),
            (json!("0042"), "digits as text"),
            (json!("Åkerö"), "text of 1 to 10"),
            (json!("é".repeat(11)), "text of 11 to 100"),
            (json!("x".repeat(10_001)), "text of 10001 or more"),
            (json!([]), "empty array"),
            (json!([1]), "array of 1 to 10"),
            (json!({}), "object"),
        ] {
            assert_eq!(String::from(ValueShape::of(&value)), expected, "{value}");
        }
        for shape in ValueShape::all() {
            assert_eq!(ValueShape::try_from(String::from(shape)), Ok(shape));
        }
        assert!(ValueShape::try_from("text of 3".to_owned()).is_err());
    }

    #[test]
    fn records_are_counted_by_documented_names_and_all_other_names_are_numbers() {
        let records = [
            json!({"_id": "1", "owner": {"_id": "2", "nickName": "Ann", "secret": "x"}, "custom": {"Deal (EUR)": 1, "Tier": "A"}}),
            json!({"_id": "3", "owner": "4", "custom": {"Tier": null}, "brandNew": {"inside": 1}, "tags": ["a", "b"]}),
        ];
        let counts = ShapeCounts::of_records(catalog::object("companies").unwrap(), &records);
        assert_eq!(
            serde_json::to_value(&counts).unwrap(),
            json!({
                "count": 2,
                "shapes": {"object": 2},
                "members": {
                    "_id": {"count": 2, "shapes": {"digits as text": 2}},
                    "custom": {
                        "count": 2,
                        "shapes": {"object": 2},
                        "other_members": {"names": 2, "shapes": {"null": 1, "integer": 1, "text of 1 to 10": 1}},
                    },
                    "owner": {
                        "count": 2,
                        "shapes": {"digits as text": 1, "object": 1},
                        "members": {
                            "_id": {"count": 1, "shapes": {"digits as text": 1}},
                            "nickName": {"count": 1, "shapes": {"text of 1 to 10": 1}},
                        },
                        "other_members": {"names": 1, "shapes": {"text of 1 to 10": 1}},
                    },
                    "tags": {
                        "count": 1,
                        "shapes": {"array of 1 to 10": 1},
                        "items": {"count": 2, "shapes": {"text of 1 to 10": 2}},
                    },
                },
                "other_members": {"names": 1, "shapes": {"object": 1}},
            })
        );
        let again: ShapeCounts = serde_json::from_value(serde_json::to_value(&counts).unwrap()).unwrap();
        assert_eq!(again, counts);
    }
}
