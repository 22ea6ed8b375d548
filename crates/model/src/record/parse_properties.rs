//! Property tests of `Record::parse`: whatever text Planhat may send, a record keeps its values or is refused with a reason.
//!
//! Most of these tests write the text themselves, from values that they know, in every way that JSON allows: names and strings
//! with escapes, halves of surrogate pairs, NUL characters, numbers of any size, names that come twice. So what a record must
//! consist of does not depend on another parser.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Json, Origin, Record, Rejected, fits_numeric};

/// A JSON value as a test writes it.
#[derive(Debug, Clone)]
enum Written {
    Null,
    Boolean(bool),
    Number(String),
    Text(Characters),
    Array(Vec<Written>),
    Object(Vec<(Characters, Written)>),
}

/// The characters of a string, each as it is written and as the UTF-16 units that it stands for.
#[derive(Debug, Clone)]
struct Characters(Vec<(String, Vec<u16>)>);

impl Characters {
    fn plain(text: &str) -> Characters {
        Characters(text.chars().map(|char| (char.to_string(), char.to_string().encode_utf16().collect())).collect())
    }

    fn json(&self) -> String {
        format!("\"{}\"", self.0.iter().map(|(written, _)| written.as_str()).collect::<String>())
    }

    fn units(&self) -> Vec<u16> {
        self.0.iter().flat_map(|(_, units)| units.iter().copied()).collect()
    }

    /// With a replacement character in place of each half of a surrogate pair; and how many there are.
    fn replaced(&self) -> (String, usize) {
        let decoded: Vec<_> = char::decode_utf16(self.units()).collect();
        let halves = decoded.iter().filter(|char| char.is_err()).count();
        (decoded.into_iter().map(|char| char.unwrap_or('\u{fffd}')).collect(), halves)
    }

    fn is_storable(&self) -> bool {
        let (text, halves) = self.replaced();
        halves == 0 && !text.contains('\0')
    }
}

impl Written {
    fn json(&self) -> String {
        match self {
            Written::Null => "null".to_owned(),
            Written::Boolean(value) => value.to_string(),
            Written::Number(digits) => digits.clone(),
            Written::Text(text) => text.json(),
            Written::Array(items) => format!("[{}]", items.iter().map(Written::json).collect::<Vec<_>>().join(" ,")),
            Written::Object(members) => object(members),
        }
    }

    fn is(&self, found: &Value) -> bool {
        match (self, found) {
            (Written::Null, Value::Null) => true,
            (Written::Boolean(value), Value::Bool(found)) => value == found,
            (Written::Number(digits), Value::Number(found)) => fits_numeric(digits) && *found == number(digits),
            (Written::Number(digits), Value::String(found)) => !fits_numeric(digits) && *found == number(digits).to_string(),
            (Written::Text(text), Value::String(found)) => *found == text.replaced().0.replace('\0', ""),
            (Written::Array(items), Value::Array(found)) => {
                items.len() == found.len() && items.iter().zip(found).all(|(item, found)| item.is(found))
            }
            (Written::Object(members), Value::Object(found)) => are(members, found),
            _ => false,
        }
    }

    /// Values in it, itself and at any depth, from which something is left out or replaced.
    fn sanitized_values(&self) -> u64 {
        match self {
            Written::Text(text) => u64::from(!text.is_storable()),
            Written::Array(items) => items.iter().map(Written::sanitized_values).sum(),
            Written::Object(members) => last_of_each_name(members).values().map(|value| value.sanitized_values()).sum(),
            _ => 0,
        }
    }
}

fn number(digits: &str) -> serde_json::Number {
    serde_json::from_str(digits).unwrap()
}

fn object(members: &[(Characters, Written)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{} :{}", name.json(), value.json())).collect();
    format!("{{{}}}", members.join(",\n"))
}

/// Two names are the same if all their units are, however they are written. The last value of a name counts.
fn last_of_each_name(members: &[(Characters, Written)]) -> BTreeMap<Vec<u16>, &Written> {
    members.iter().map(|(name, value)| (name.units(), value)).collect()
}

/// Whether these members were found, each once. A name that cannot be stored as it is keeps what can be stored of it, and
/// gets marks behind it where another member already has its name.
fn are(members: &[(Characters, Written)], found: &Map<String, Value>) -> bool {
    let mut left: BTreeMap<&str, &Value> = found.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let names: BTreeMap<Vec<u16>, &Characters> = members.iter().map(|(name, _)| (name.units(), name)).collect();
    let last = last_of_each_name(members);
    let (plain, others): (Vec<_>, Vec<_>) = last.into_iter().partition(|(units, _)| names[units].is_storable());
    let plain_are_found =
        plain.into_iter().all(|(units, value)| left.remove(names[&units].replaced().0.as_str()).is_some_and(|it| value.is(it)));
    let others_are_found = others.into_iter().all(|(units, value)| {
        let begins_with = names[&units].replaced().0.replace('\0', "\u{2400}");
        let only_marks = |rest: &str| rest.chars().all(|char| matches!(char, '\u{2400}' | '\u{fffd}'));
        let is_it = |name: &str| name.strip_prefix(begins_with.as_str()).is_some_and(only_marks);
        let name = left.iter().find(|(name, found)| is_it(name) && value.is(found)).map(|(name, _)| *name);
        name.is_some_and(|name| left.remove(name).is_some())
    });
    plain_are_found && others_are_found && left.is_empty()
}

fn parse(text: &str) -> Result<Record, Rejected> {
    Record::parse(RawValue::from_string(text.to_owned()).unwrap())
}

/// The values of a record as the object that they were in: custom fields in `custom`.
fn tree_of(record: &Record) -> Map<String, Value> {
    let (mut fields, mut custom) = (Map::new(), Map::new());
    for (origin, name, value) in record.values() {
        let of = match origin {
            Origin::Property => &mut fields,
            Origin::Custom => &mut custom,
        };
        assert!(of.insert(name.to_owned(), tree(value)).is_none(), "{name} comes twice");
    }
    if !custom.is_empty() {
        assert!(fields.insert("custom".to_owned(), custom.into()).is_none());
    }
    fields
}

fn tree(value: Json<'_>) -> Value {
    serde_json::from_str(value.as_written()).unwrap()
}

fn check_refusal(text: &str, refused: &Rejected) -> Result<(), TestCaseError> {
    prop_assert_eq!((&refused.raw, &refused.id, &refused.sqlstate), (&text.to_owned(), &None, &None));
    prop_assert!((1..=200).contains(&refused.reason.len()), "{}", refused.reason);
    prop_assert!(!refused.reason_class().is_empty());
    Ok(())
}

fn unit(written: impl Into<String>, unit: u16) -> (String, Vec<u16>) {
    (written.into(), vec![unit])
}

/// A character, written in one of the ways that JSON has for it, or half of one.
fn any_character() -> impl Strategy<Value = (String, Vec<u16>)> {
    let escape = |unit: u16, upper: bool| {
        if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") }
    };
    prop_oneof![
        6 => "[a-c ud0-9\\[\\]{}:,é🚀\u{2400}\u{fffd}]".prop_map(|char| { let units = char.encode_utf16().collect(); (char, units) }),
        2 => prop_oneof![
            Just(unit("\\\\", 0x5c)),
            Just(unit("\\\"", 0x22)),
            Just(unit("\\/", 0x2f)),
            Just(unit("\\n", 0x0a)),
            Just(unit("\\b", 0x08)),
        ],
        2 => (any::<u16>(), any::<bool>()).prop_map(move |(of, upper)| unit(escape(of, upper), of)),
        2 => (0xd800_u16..=0xdfff, any::<bool>()).prop_map(move |(of, upper)| unit(escape(of, upper), of)),
        1 => Just(unit("\\u0000", 0)),
        1 => (0xd800_u16..=0xdbff, 0xdc00_u16..=0xdfff)
            .prop_map(move |(high, low)| (escape(high, false) + &escape(low, true), vec![high, low])),
    ]
}

fn any_text() -> impl Strategy<Value = Characters> {
    vec(any_character(), 0..6).prop_map(Characters)
}

/// Names that are often the same, or nearly.
fn any_name() -> impl Strategy<Value = Characters> {
    prop_oneof![
        2 => "[ab]".prop_map(|name| Characters::plain(&name)),
        1 => Just(Characters::plain("custom")),
        1 => Just(Characters(vec![unit("\\u0063", 0x63), unit("u", 0x75), unit("s", 0x73), unit("t", 0x74), unit("o", 0x6f), unit("m", 0x6d)])),
        2 => vec(prop_oneof![Just(unit("a", 0x61)), Just(unit("\\u0061", 0x61)), any_character()], 1..3).prop_map(Characters),
        1 => any_text(),
    ]
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?",
        2 => "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,4})?[eE][+-]?[0-9]{1,8}",
    ]
}

fn any_value() -> impl Strategy<Value = Written> {
    let scalar = prop_oneof![
        1 => Just(Written::Null),
        1 => any::<bool>().prop_map(Written::Boolean),
        3 => any_number().prop_map(Written::Number),
        5 => any_text().prop_map(Written::Text),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![vec(inner.clone(), 0..4).prop_map(Written::Array), vec((any_name(), inner), 0..4).prop_map(Written::Object),]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_record_has_each_of_its_values_once_however_they_are_written(
        mut members in vec((any_name(), any_value()), 0..8),
        place in any::<prop::sample::Index>(),
    ) {
        members.insert(place.index(members.len() + 1), (Characters::plain("_id"), Written::Text(Characters::plain("the id"))));
        // An empty `custom` has no fields, and no place.
        members.retain(|(name, value)| {
            name.replaced().0 != "custom" || !matches!(value, Written::Object(fields) if fields.is_empty())
        });

        let record = parse(&object(&members)).unwrap();

        prop_assert_eq!(&record.id, "the id");
        prop_assert_eq!(record.count(), record.values().count());
        prop_assert!(are(&members, &tree_of(&record)), "{:?}", tree_of(&record));
        let sanitized: u64 = last_of_each_name(&members).values().map(|value| value.sanitized_values()).sum();
        prop_assert_eq!(record.sanitized_values, sanitized);
        for (origin, name, value) in record.values().filter(|(origin, ..)| *origin == Origin::Property) {
            prop_assert_eq!(record.get(name), Some(value), "{:?} {}", origin, name);
        }
    }

    #[test]
    fn a_record_that_was_sanitized_is_fit_to_be_stored_and_stays_as_it_is(members in vec((any_name(), any_value()), 0..6)) {
        let mut members = members;
        members.push((Characters::plain("_id"), Written::Text(Characters::plain("a"))));
        let record = parse(&object(&members)).unwrap();
        let once = tree_of(&record);

        let again = parse(&Value::from(once.clone()).to_string()).unwrap();

        prop_assert_eq!(again.sanitized_values, 0);
        prop_assert_eq!(tree_of(&again), once);
    }

    #[test]
    fn a_text_without_halves_of_pairs_and_nul_is_kept_and_another_loses_nothing_else(text in any_text()) {
        let written = text.json();
        let record = parse(&format!(r#"{{"_id":"a","x":{written},"y":[{written}]}}"#)).unwrap();
        let kept = record.get("x").unwrap().string().unwrap().into_owned();

        let (replaced, _) = text.replaced();
        prop_assert_eq!(&kept, &replaced.replace('\0', ""));
        prop_assert_eq!(record.sanitized_values, if text.is_storable() { 0 } else { 2 });
        prop_assert!(record.get("x").unwrap().as_written().len() <= written.len());
        if text.is_storable() {
            prop_assert_eq!(&kept, &serde_json::from_str::<String>(&written).unwrap());
        }
        if !written.contains("\\u") {
            prop_assert_eq!(record.get("x").unwrap().as_written(), written);
        }
    }

    #[test]
    fn an_id_is_kept_as_it_is_or_the_record_is_refused(id in any_text(), other in any_text()) {
        let text = format!(r#"{{"_id":{},"x":{}}}"#, id.json(), other.json());
        match parse(&text) {
            Ok(record) => prop_assert!(id.is_storable() && record.id == id.replaced().0, "{}", record.id),
            Err(refused) => {
                prop_assert!(!id.is_storable() || id.units().is_empty(), "{}", refused.reason);
                check_refusal(&text, &refused)?;
            }
        }
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_text_and_a_short_reason(
        value in any_value(),
        id in any_value().prop_filter("no text", |value| !matches!(value, Written::Text(_))),
    ) {
        let not_an_object = match &value {
            Written::Object(_) => Written::Array(vec![value.clone()]).json(),
            other => other.json(),
        };
        let without_id = object(&[(Characters::plain("x"), value.clone())]);
        let with_another = object(&[(Characters::plain("_id"), id), (Characters::plain("x"), value)]);
        for text in [not_an_object, without_id, with_another] {
            check_refusal(&text, &parse(&text).unwrap_err())?;
        }
    }

    #[test]
    fn a_page_of_any_bytes_is_read_without_a_panic(bytes in prop_oneof![
        vec(any::<u8>(), 0..40),
        "[\\[\\]{}:,\"\\\\ ud08ef._i+-]{0,40}".prop_map(String::into_bytes),
        vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| format!("[{{{}}}]", pieces.concat()).into_bytes()),
        vec((prop::sample::select(PIECES), any::<u8>()), 0..24).prop_map(|pieces| {
            pieces.into_iter().flat_map(|(piece, byte)| [piece.as_bytes(), &[byte]].concat()).collect()
        }),
    ]) {
        for raw in serde_json::from_slice::<Vec<Box<RawValue>>>(&bytes).unwrap_or_default() {
            let text = raw.get().to_owned();
            let by_serde = serde_json::from_str::<Value>(&text);
            match Record::parse(raw) {
                Ok(record) if record.sanitized_values == 0 => {
                    let mut found = tree_of(&record);
                    let mut fields = by_serde.unwrap().as_object().unwrap().clone();
                    for fields in [&mut found, &mut fields] {
                        fields.retain(|name, value| name != "custom" || *value != Value::Object(Map::new()));
                    }
                    prop_assert_eq!(found, fields);
                }
                Ok(_) => {}
                Err(refused) => {
                    check_refusal(&text, &refused)?;
                    let id = by_serde.ok().and_then(|value| Some(value.get("_id")?.as_str()?.to_owned()));
                    prop_assert!(id.is_none_or(|id| id.is_empty() || id.contains('\0')), "{}: {}", text, refused.reason);
                }
            }
        }
    }
}

/// What a page is made of, and what it is nearly made of.
const PIECES: &[&str] = &[
    "{", "}", "[", "]", ":", ",", "\"", "\"_id\":", "\"_id\":\"a\"", "\"custom\":", "\"x\":", "\"x\"", "null", "true", "1",
    "-0.5", "1e999999", "\\", "\\u", "\\ud83d", "\\ude00", "\\u0000", "\"\\ud83d\"", " ", "\n", "{}", "[[]]", ",\"_id\":\"b\"",
];
