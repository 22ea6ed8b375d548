//! Privacy rules: which values of a record may be stored, and how.
//!
//! ```text
//! record -> the masked record: values removed, hashed or redacted -> everything else
//! ```
//!
//! The rules are applied as soon as a record's times have decided that it is taken. Everything after that (columns, misfits,
//! overflow, hash, actions, quarantine, a dry run) sees the masked record only.
//!
//! A record that cannot be stored and has no id is identified by its text, which may contain masked values. So it is
//! identified by a fingerprint of the whole text under a key: the key of the hashes, or else one derived from the API token.
//! Neither key is in the database, so nobody can guess texts there; and a person with the token can read the record
//! anyway. The key is the same in every run, so a record that is listed every day is one entry. With another token, the next
//! full scan removes the old entries.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use crate::keyed_hash::HashKey;
use crate::record::{Json, Shape};
use crate::record::{Origin, Record, Rejected, is_whole_text};
use crate::rules::{FORGOTTEN, FieldMap, Kept, NotARecord, add_member, kept_text, object_of_members};

/// The text in place of a redacted value.
pub const REDACTED: &str = "[redacted]";

/// What a privacy rule does to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Include,
    Exclude,
    Hash,
    Redact,
}

impl Rule {
    /// Whether the value is replaced by a text.
    pub fn masks(self) -> bool {
        matches!(self, Rule::Hash | Rule::Redact)
    }
}

/// The rules for one object.
#[derive(Debug, Clone)]
pub struct Rules {
    by_name: FieldMap<Rule>,
    /// If any property is included by name, all others are excluded.
    only_included: bool,
    key: Option<HashKey>,
    /// The key of the fingerprints of records without an id.
    identity: Option<HashKey>,
}

impl Rules {
    /// Without a key, values that should be hashed are redacted.
    pub fn new(by_name: FieldMap<Rule>, key: Option<&SecretString>) -> Rules {
        let only_included = by_name.values().any(|rule| rule == Rule::Include);
        let key = key.map(key_of);
        Rules { by_name, only_included, identity: key.clone(), key }
    }

    /// Without a hash key, the fingerprints of records without an id use this secret.
    #[must_use]
    pub fn with_identity_key(mut self, secret: Option<&SecretString>) -> Rules {
        self.identity = self.identity.or_else(|| secret.map(key_of));
        self
    }

    /// Identifies the rules: different rules have different fingerprints.
    pub fn fingerprint(&self) -> i64 {
        let key = self.key.as_ref().map(|key| hash_of(key, Json::trusted("\"\"")));
        xxh3_64(format!("{:?} {key:?}", self.by_name.sorted_entries()).as_bytes()).cast_signed()
    }

    /// The rule for a value.
    pub fn of(&self, origin: Origin, name: &str) -> Rule {
        let otherwise = if self.only_included { Rule::Exclude } else { Rule::Include };
        match (origin, name) {
            (Origin::Property, "_id") => Rule::Include,
            // It is not an object, so the fields that have rules cannot be found in it.
            (Origin::Property, "custom") if self.by_name.custom_values().any(|rule| rule != Rule::Include) => {
                self.by_name.of(origin, name).filter(|rule| *rule != Rule::Include).unwrap_or(Rule::Redact)
            }
            _ => self.by_name.of(origin, name).unwrap_or(otherwise),
        }
    }

    /// The record as it may be kept.
    pub fn apply(&self, record: &Record) -> Result<Record, Rejected> {
        let text = self.kept_text(record);
        let bytes = text.len();
        let unreadable = |error| Rejected {
            id: Some(record.id.clone()),
            ..Rejected::of_text(withheld(bytes), format!("not readable under its rules: {error}"))
        };
        let mut kept = Record::parse(RawValue::from_string(text).map_err(unreadable)?)?;
        kept.sanitized_values = record.sanitized_values;
        Ok(kept)
    }

    /// Masks a rejected record. If it cannot be parsed, its text is withheld.
    pub fn apply_to_rejected(&self, rejected: Rejected) -> Rejected {
        // A record whose text was not read.
        if !is_whole_text(&rejected.raw) {
            return rejected;
        }
        let raw = RawValue::from_string(rejected.raw.clone()).ok();
        let record = raw.and_then(|raw| Record::parse_without_id(raw).ok());
        let raw = record.map_or_else(|| withheld(rejected.raw.len()), |record| self.kept_text(&record));
        let of_what_is_kept = || xxh3_64(raw.as_bytes()).cast_signed();
        let fingerprint = self.identity.as_ref().map_or_else(of_what_is_kept, |key| fingerprint_of(key, &rejected.raw));
        Rejected { raw, fingerprint, ..rejected }
    }

    /// A value that is in the database, perhaps from before there was a rule for it: what the rule would not have let
    /// in goes no further.
    pub fn mask_stored(&self, origin: Origin, name: &str, value: Value) -> Value {
        match (self.of(origin, name), &value) {
            (Rule::Include, _) => value,
            (_, Value::Null) => value,
            (_, Value::String(text)) if means_nothing(text) => value,
            (Rule::Hash, Value::String(text)) if is_hash(text) => value,
            _ => Value::from(REDACTED),
        }
    }

    /// The text of a record that is in the database, perhaps from before there were rules, or what is there in place of
    /// one: nothing of it where its values cannot be told.
    pub fn mask_stored_record(&self, stored: &str) -> String {
        if !is_whole_text(stored) {
            // Our words in brackets are followed by the beginning of a text.
            return if stored.contains(") ") { withheld(stored.len()) } else { stored.to_owned() };
        }
        let raw = RawValue::from_string(stored.to_owned()).ok();
        let Some(record) = raw.and_then(|raw| Record::parse_without_id(raw).ok()) else { return withheld(stored.len()) };
        text_of(&record, |origin, name, value| Some(self.masked(origin, name, value)))
    }

    fn masked<'a>(&self, origin: Origin, name: &str, value: Json<'a>) -> Cow<'a, str> {
        let is_id = (origin, name) == (Origin::Property, "_id");
        if is_id && matches!(value.shape(), Shape::Array | Shape::Object) {
            return Cow::Owned(Value::from(REDACTED).to_string());
        }
        let masked = self.mask_stored(origin, name, value.tree());
        if masked == value.tree() { Cow::Borrowed(value.as_written()) } else { Cow::Owned(masked.to_string()) }
    }

    /// What is kept of a value that is in the database, perhaps from before there was a rule for it: the same as of one
    /// that arrives, but what the rule has masked already stays.
    pub fn kept_of_stored(&self, origin: Origin, name: &str, value: Json<'_>) -> Kept {
        let is_masked = |text: &str| is_hash(text) || text == REDACTED;
        if self.of(origin, name) == Rule::Hash && value.string().is_some_and(|text| is_masked(&text)) {
            return Kept::AsItIs;
        }
        match self.kept(origin, name, value) {
            None => Kept::Nothing,
            Some(kept) if kept == value.as_written() => Kept::AsItIs,
            Some(kept) => Kept::Instead(kept.into_owned()),
        }
    }

    /// The text of a record that is in quarantine as it would be there had the rules been there before, and its fingerprint
    /// under them; none if it is so already.
    pub fn kept_of_quarantined(&self, stored: &str) -> Option<(String, i64)> {
        let kept = match kept_text(stored, &|origin, name, value| self.kept_of_stored(origin, name, value)) {
            Ok(kept) => kept?,
            Err(NotARecord) => Some(self.mask_stored_record(stored)).filter(|masked| masked != stored)?,
        };
        let fingerprint = self.identity.as_ref().map(|key| fingerprint_of(key, stored));
        let fingerprint = fingerprint.unwrap_or_else(|| xxh3_64(kept.as_bytes()).cast_signed());
        Some((kept, fingerprint))
    }

    /// The hash that stands in place of a text under `hash`; none without a key.
    pub fn hash_of_text(&self, text: &str) -> Option<String> {
        self.key.as_ref().map(|key| key.hex_of(text.as_bytes()))
    }

    /// Whether a value of that name can be affected at all.
    pub fn concerns(&self, origin: Origin, name: &str) -> bool {
        self.of(origin, name) != Rule::Include
    }

    fn kept_text(&self, record: &Record) -> String {
        text_of(record, |origin, name, value| self.kept(origin, name, value))
    }

    /// What is kept of a value, as JSON.
    fn kept<'a>(&self, origin: Origin, name: &str, value: Json<'a>) -> Option<Cow<'a, str>> {
        let redacted = || Some(Cow::Owned(Value::from(REDACTED).to_string()));
        let has_a_value = match value.shape() {
            Shape::Null | Shape::EmptyString => false,
            _ => !value.string().is_some_and(|text| means_nothing(&text)),
        };
        let is_id = (origin, name) == (Origin::Property, "_id");
        match self.of(origin, name) {
            // An id is a string; an array or object in its place may contain anything.
            Rule::Include if is_id && matches!(value.shape(), Shape::Array | Shape::Object) => redacted(),
            Rule::Include => Some(Cow::Borrowed(value.as_written())),
            Rule::Exclude => None,
            Rule::Hash | Rule::Redact if !has_a_value => Some(Cow::Borrowed(value.as_written())),
            Rule::Hash => self.key.as_ref().map_or_else(redacted, |key| Some(Cow::Owned(format!("\"{}\"", hash_of(key, value))))),
            Rule::Redact => redacted(),
        }
    }
}

fn key_of(secret: &SecretString) -> HashKey {
    HashKey::new(secret.expose_secret().as_bytes())
}

/// The fingerprint of a text: the first bytes of its HMAC-SHA256, with a prefix that is used for nothing else.
fn fingerprint_of(key: &HashKey, text: &str) -> i64 {
    let hash = key.bytes_of(&[b"planhat-sync quarantine\0", text.as_bytes()].concat());
    hash.into_iter().take(8).fold(0, |hash, byte| hash << 8 | i64::from(byte))
}

/// HMAC-SHA256, in hexadecimal, of a text by its characters and of anything else by its JSON, written without spaces
/// and with sorted keys. The same value has the same hash wherever it stands, so that hashes can be joined.
fn hash_of(key: &HashKey, value: Json<'_>) -> String {
    match value.string() {
        Some(text) => key.hex_of(text.as_bytes()),
        None => {
            let mut tree = value.tree();
            tree.sort_all_objects();
            key.hex_of(tree.to_string().as_bytes())
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text means "no value", or somebody who was forgotten; such texts are kept unmasked.
fn means_nothing(text: &str) -> bool {
    matches!(text, "" | "undefined" | FORGOTTEN)
}

fn withheld(bytes: usize) -> String {
    format!("(withheld: {bytes} bytes; the values that the privacy rules mask could not be located in them)")
}

/// A record with some of its values, as JSON.
fn text_of<'a>(record: &'a Record, kept: impl Fn(Origin, &str, Json<'a>) -> Option<Cow<'a, str>>) -> String {
    let (mut properties, mut custom) = (String::new(), String::new());
    for (origin, name, value) in record.values() {
        let Some(value) = kept(origin, name, value) else { continue };
        let members = match origin {
            Origin::Property => &mut properties,
            Origin::Custom => &mut custom,
        };
        add_member(members, name, &value);
    }
    object_of_members(properties, &custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record_of;
    use proptest::prelude::*;
    use serde_json::{Map, json};

    const KEY: &str = "a key of the tests alone";

    fn rules(by_name: &[(&str, Rule)]) -> Rules {
        let mut fields = FieldMap::default();
        for (name, rule) in by_name {
            fields.insert(name, *rule);
        }
        Rules::new(fields, Some(&KEY.into()))
    }

    fn hash(value: Value) -> Value {
        let kept = rules(&[("x", Rule::Hash)]).apply(&record_of(&json!({"_id": "a", "x": value}))).unwrap();
        kept.get("x").unwrap().tree()
    }

    /// Checks what is kept of a record.
    fn check(by_name: &[(&str, Rule)], record: Value, expected: &str) {
        let record = rules(by_name).apply(&record_of(&record)).unwrap();
        assert_eq!((&*record.id, record.refused(String::new(), String::new()).raw.as_str()), ("a", expected));
    }

    fn rejected_under(rules: &Rules, raw: &str) -> Rejected {
        rules.apply_to_rejected(Rejected::of_text(raw.to_owned(), "no _id".to_owned()))
    }

    fn raw_of_rejected(by_name: &[(&str, Rule)], raw: &str) -> String {
        rejected_under(&rules(by_name), raw).raw
    }

    #[test]
    fn excluded_values_are_absent_and_redacted_values_read_redacted() {
        check(
            &[("phone", Rule::Exclude), ("name", Rule::Redact), ("custom.Notes", Rule::Redact), ("custom.Age", Rule::Exclude)],
            json!({"_id": "a", "phone": "1", "name": ["Kim", {"Lee": 1}], "mrr": 1.50, "custom": {"Notes": 7, "Age": 40, "Tier": "A"}}),
            r#"{"_id":"a","mrr":1.5,"name":"[redacted]","custom":{"Notes":"[redacted]","Tier":"A"}}"#,
        );
    }

    #[test]
    fn nulls_and_empty_values_are_not_masked() {
        check(
            &[("n", Rule::Hash), ("e", Rule::Redact), ("custom.u", Rule::Hash), ("gone", Rule::Redact)],
            json!({"_id": "a", "n": null, "e": "", "custom": {"u": "undefined"}}),
            r#"{"_id":"a","e":"","n":null,"custom":{"u":"undefined"}}"#,
        );
    }

    #[test]
    fn with_an_include_list_only_included_and_masked_properties_are_kept() {
        check(
            &[("name", Rule::Include), ("custom.Tier", Rule::Include), ("email", Rule::Redact)],
            json!({"_id": "a", "name": "Kim", "phone": "1", "email": "kim@acme.example", "custom": {"Tier": "A", "Age": 40}}),
            r#"{"_id":"a","email":"[redacted]","name":"Kim","custom":{"Tier":"A"}}"#,
        );
        check(
            &[("custom", Rule::Include), ("custom.Age", Rule::Exclude)],
            json!({"_id": "a", "name": "Kim", "custom": {"Tier": "A", "Age": 40}}),
            r#"{"_id":"a","custom":{"Tier":"A"}}"#,
        );
    }

    #[test]
    fn a_property_called_custom_that_is_not_an_object_is_redacted_if_custom_fields_have_rules() {
        let odd = json!({"_id": "a", "custom": "Age 40"});
        check(&[("custom.Age", Rule::Exclude)], odd.clone(), r#"{"_id":"a","custom":"[redacted]"}"#);
        check(&[("custom", Rule::Exclude)], odd.clone(), r#"{"_id":"a"}"#);
        check(&[("custom", Rule::Include), ("custom.Age", Rule::Hash)], odd.clone(), r#"{"_id":"a","custom":"[redacted]"}"#);
        check(&[("custom.Tier", Rule::Include)], odd.clone(), r#"{"_id":"a"}"#);
        check(&[("name", Rule::Exclude)], odd, r#"{"_id":"a","custom":"Age 40"}"#);
    }

    #[test]
    fn a_hashed_value_is_its_hmac_sha256_so_that_anyone_with_the_key_can_compute_it() {
        let mut by_name = FieldMap::default();
        by_name.insert("x", Rule::Hash);
        // RFC 4231, test case 2.
        let rules = Rules::new(by_name, Some(&"Jefe".into()));
        let kept = rules.apply(&record_of(&json!({"_id": "a", "x": "what do ya want for nothing?"}))).unwrap();
        assert_eq!(kept.get("x").unwrap().tree(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn equal_values_have_equal_hashes_and_different_values_different_ones() {
        assert_eq!(hash(json!("10")), hash(json!(10)));
        assert_eq!(hash(json!({"a": 1, "b": [true]})), hash(serde_json::from_str(r#"{"b": [true], "a": 1}"#).unwrap()));
        assert_ne!(hash(json!(["ab"])), hash(json!(["a", "b"])));
        assert_ne!(hash(json!("Kim")), hash(json!("kim")));
        let two = [("x", Rule::Hash), ("custom", Rule::Hash)];
        let kept = rules(&two).apply(&record_of(&json!({"_id": "a", "x": "é", "custom": {"y": "é"}}))).unwrap();
        let values: Vec<_> = kept.values().map(|(.., value)| value.as_written().to_owned()).collect();
        assert_eq!(values[1], values[2]);
    }

    #[test]
    fn without_a_key_what_would_be_hashed_is_redacted() {
        let mut by_name = FieldMap::default();
        by_name.insert("x", Rule::Hash);
        let kept = Rules::new(by_name, None).apply(&record_of(&json!({"_id": "a", "x": "v"}))).unwrap();
        assert_eq!(kept.get("x").unwrap().tree(), REDACTED);
    }

    #[test]
    fn the_hash_key_is_hidden_in_debug_output() {
        let shown = format!("{:?}", rules(&[("x", Rule::Hash)]));
        assert!(shown.ends_with("key: Some(HashKey), identity: Some(HashKey) }"), "{shown}");
    }

    #[test]
    fn the_kept_text_of_a_rejected_record_is_masked_and_is_withheld_if_it_cannot_be_parsed() {
        let by_name = [("phone", Rule::Exclude), ("name", Rule::Redact)];
        assert_eq!(raw_of_rejected(&by_name, r#"{"phone":"1","n\u0061me":"Kim","x":2}"#), r#"{"name":"[redacted]","x":2}"#);
        assert_eq!(raw_of_rejected(&by_name, r#"{"_id":{"phone":"1"},"phone":"1","phone":"2"}"#), r#"{"_id":"[redacted]"}"#);
        let withheld = "(withheld: 5 bytes; the values that the privacy rules mask could not be located in them)";
        assert_eq!(raw_of_rejected(&by_name, r#""Kim""#), withheld);
        assert_eq!(raw_of_rejected(&by_name, "(not read: offset 7)"), "(not read: offset 7)");
    }

    #[test]
    fn what_is_stored_is_kept_as_of_a_new_record_and_what_is_masked_stays() {
        let rules = rules(&[("phone", Rule::Exclude), ("email", Rule::Hash), ("name", Rule::Redact)]);
        let kept = |name: &str, value: Value| rules.kept_of_stored(Origin::Property, name, Json::trusted(&value.to_string()));
        assert_eq!(kept("phone", json!(1)), Kept::Nothing);
        assert_eq!(kept("name", json!(["Kim"])), Kept::text(REDACTED));
        let Value::String(hash) = hash(json!("kim@acme.example")) else { panic!("a hash is a text") };
        assert_eq!(kept("email", json!("kim@acme.example")), Kept::text(&hash));
        for (name, value) in [
            ("email", json!(hash)),
            ("email", json!(REDACTED)),
            ("email", json!("")),
            ("email", json!(FORGOTTEN)),
            ("name", json!(REDACTED)),
            ("name", json!(null)),
            ("mrr", json!(1.50)),
            ("_id", json!("a")),
        ] {
            assert_eq!(kept(name, value.clone()), Kept::AsItIs, "{name} {value}");
        }
    }

    #[test]
    fn a_text_in_quarantine_is_masked_as_if_the_rules_had_been_there_before() {
        let rules = rules(&[("phone", Rule::Exclude), ("name", Rule::Redact)]);
        let stored = r#"{"name":"Kim","phone":"1","x":2}"#;
        let as_it_arrives = rejected_under(&rules, stored);
        let (kept, fingerprint) = rules.kept_of_quarantined(stored).unwrap();
        assert_eq!((kept.as_str(), fingerprint), (as_it_arrives.raw.as_str(), as_it_arrives.fingerprint));
        assert_eq!(rules.kept_of_quarantined(&kept), None, "once is enough");
        let (withheld, _) = rules.kept_of_quarantined(r#""Kim""#).unwrap();
        assert_eq!(rules.kept_of_quarantined(&withheld), None);
        assert_eq!(rules.kept_of_quarantined("(not read: offset 7)"), None);
    }

    #[test]
    fn masked_records_without_an_id_are_still_told_apart() {
        let mut by_name = FieldMap::default();
        by_name.insert("name", Rule::Redact);
        let under = |secret: Option<&str>| Rules::new(by_name.clone(), None).with_identity_key(secret.map(Into::into).as_ref());
        let fingerprint = |secret, raw| rejected_under(&under(secret), raw).fingerprint;
        let (kim, lee) = (r#"{"name":"Kim"}"#, r#"{"name":"Lee"}"#);
        assert_eq!(rejected_under(&under(Some("token")), kim).raw, rejected_under(&under(Some("token")), lee).raw);
        assert_ne!(fingerprint(Some("token"), kim), fingerprint(Some("token"), lee));
        assert_ne!(fingerprint(Some("token"), r#""Kim""#), fingerprint(Some("token"), r#""Lee""#));
        assert_eq!(fingerprint(Some("token"), kim), fingerprint(Some("token"), kim), "every day it is the same entry");
        assert_ne!(
            fingerprint(Some("token"), kim),
            fingerprint(Some("another"), kim),
            "the text cannot be tried out without the key"
        );
        assert_ne!(fingerprint(Some("token"), kim), xxh3_64(kim.as_bytes()).cast_signed());
        assert_eq!(fingerprint(None, kim), fingerprint(None, lee), "without a secret there is nothing to tell them by");
    }

    #[test]
    fn values_stored_before_a_rule_existed_are_masked_when_read() {
        let rules = rules(&[("phone", Rule::Exclude), ("email", Rule::Hash), ("name", Rule::Redact)]);
        let told = |name: &str, value: Value| rules.mask_stored(Origin::Property, name, value);
        assert_eq!(told("phone", json!(1)), REDACTED);
        assert_eq!(told("email", json!("kim@acme.example")), REDACTED);
        assert_eq!(told("email", hash(json!("x"))), hash(json!("x")));
        assert_eq!(told("name", json!("Kim")), REDACTED);
        assert_eq!((told("name", json!("")), told("phone", json!(null))), (json!(""), json!(null)));
        assert_eq!(told("mrr", json!(1)), json!(1));
    }

    #[test]
    fn a_text_that_was_stored_before_there_were_rules_is_shown_masked() {
        let rules =
            rules(&[("phone", Rule::Exclude), ("email", Rule::Hash), ("name", Rule::Redact), ("custom.Age", Rule::Redact)]);
        let Value::String(hash) = hash(json!("x")) else { panic!("a hash is a text") };
        let check = |stored: &str, expected: &str| {
            assert_eq!(rules.mask_stored_record(stored), expected);
            assert_eq!(rules.mask_stored_record(expected), expected, "what is masked stays as it is");
        };
        check(
            r#"{"_id":"a","email":"kim@acme.example","mrr":1.50,"name":"Kim","phone":1,"custom":{"Age":40,"Tier":"A"}}"#,
            r#"{"_id":"a","email":"[redacted]","mrr":1.50,"name":"[redacted]","phone":"[redacted]","custom":{"Age":"[redacted]","Tier":"A"}}"#,
        );
        check(&format!(r#"{{"_id":"a","email":"{hash}","x":[1]}}"#), &format!(r#"{{"_id":"a","email":"{hash}","x":[1]}}"#));
        check(r#"{"_id":{"phone":1}}"#, r#"{"_id":"[redacted]"}"#);
        check("(not read: offset 7)", "(not read: offset 7)");
        for untold in [r#"(the first 12 of 90 bytes) {"phone":"1"#, r#""Kim""#] {
            assert_eq!(rules.mask_stored_record(untold), withheld(untold.len()));
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(1e300)),
            ".{0,8}".prop_map(Value::from),
            Just(json!("nul\0nul")),
        ];
        scalar.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map(".{0,3}", inner, 0..3)
                    .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    const MARKER: &str = "nobody may see this";

    fn with_marker(value: Value) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::Array(items) => items.into_iter().map(with_marker).chain([MARKER.into()]).collect(),
            Value::Object(fields) => fields.into_iter().map(|(name, value)| (name + MARKER, with_marker(value))).collect(),
            other => format!("{MARKER}{other}").into(),
        }
    }

    proptest! {
        /// Whatever a record holds, what there is a rule for is not kept, and everything else is as it was.
        #[test]
        fn privacy_rules_mask_exactly_the_values_they_name(
            ruled in proptest::collection::btree_map("[a-c\"\\\\é.]{1,2}", (any_value(), any::<bool>(), 0..3_usize), 0..6),
            free in proptest::collection::btree_map("[x-z\"\\\\é.]{1,2}", (any_value(), any::<bool>()), 0..6),
            has_id in any::<bool>(),
        ) {
            let (mut record, mut custom, mut by_name) = (Map::new(), Map::new(), Vec::new());
            for (name, (value, is_custom)) in &free {
                if *is_custom { &mut custom } else { &mut record }.insert(name.clone(), value.clone());
            }
            for (name, (value, is_custom, rule)) in &ruled {
                if *is_custom { &mut custom } else { &mut record }.insert(name.clone(), with_marker(value.clone()));
                let name = if *is_custom { format!("custom.{name}") } else { name.clone() };
                by_name.push((name, [Rule::Exclude, Rule::Hash, Rule::Redact][*rule]));
            }
            record.insert("custom".to_owned(), custom.into());
            let by_name: Vec<_> = by_name.iter().map(|(name, rule)| (name.as_str(), *rule)).collect();
            let rules = rules(&by_name);
            if !has_id {
                let raw = raw_of_rejected(&by_name, &Value::from(record).to_string());
                prop_assert!(!raw.contains(MARKER), "{raw}");
                return Ok(());
            }
            record.insert("_id".to_owned(), "a".into());
            let before = record_of(&record.into());
            let kept = rules.apply(&before).unwrap();
            prop_assert!(!format!("{kept:?}").contains(MARKER), "{kept:?}");
            prop_assert_eq!(kept.sanitized_values, before.sanitized_values);
            for (origin, name, value) in before.values() {
                let now = kept.values().find(|(of, called, _)| (*of, *called) == (origin, name)).map(|(.., value)| value.tree());
                match rules.of(origin, name) {
                    Rule::Include => prop_assert_eq!(now, Some(value.tree())),
                    Rule::Exclude => prop_assert_eq!(now, None),
                    Rule::Hash | Rule::Redact => prop_assert!(value.is_null() || now.is_some_and(|now| now.is_string())),
                }
            }
        }
    }
}
