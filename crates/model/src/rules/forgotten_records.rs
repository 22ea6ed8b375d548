//! Records that were forgotten, and the people they were about: known by keyed hashes alone.
//!
//! ```text
//! record -> is it forgotten? -> no: its values without those who are -> everything else
//! ```
//!
//! The database remembers no id and no address, only their HMACs, so a listing has to be asked record by record. Where
//! references are left out too, so is each text: an id as a whole text, an address wherever it stands in one. An object
//! inside a record that names somebody forgotten by id or address is about that person: all of its values go, so that
//! no name is left beside the id.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use serde_json::{Map, Value};

use super::kept::Kept;
use crate::keyed_hash::HashKey;
use crate::record::{Json, Origin};

/// The text in place of a reference to somebody who was forgotten.
pub const FORGOTTEN: &str = "[forgotten]";
/// No id and no address is longer, and no text that is.
const MAX_TERM_BYTES: usize = 320;

/// What was forgotten of an object, and which references are left out of all objects.
#[derive(Debug, Clone, Default)]
pub struct ForgottenRecords {
    /// None while nothing was ever forgotten.
    key: Option<HashKey>,
    ids: HashSet<String, RandomState>,
    references: HashSet<String, RandomState>,
}

impl ForgottenRecords {
    pub fn new(
        key: &HashKey,
        ids: impl IntoIterator<Item = String>,
        references: impl IntoIterator<Item = String>,
    ) -> ForgottenRecords {
        ForgottenRecords { key: Some(key.clone()), ids: ids.into_iter().collect(), references: references.into_iter().collect() }
    }

    /// What a record is remembered by.
    pub fn hash_of_id(key: &HashKey, object: &str, id: &str) -> String {
        key.hex_of(format!("record\0{object}\0{id}").as_bytes())
    }

    /// What a reference is remembered by: an id or an address, in small letters.
    pub fn hash_of_reference(key: &HashKey, term: &str) -> String {
        key.hex_of(format!("reference\0{}", term.trim().to_lowercase()).as_bytes())
    }

    pub fn has(&self, object: &str, id: &str) -> bool {
        !self.ids.is_empty() && self.key.as_ref().is_some_and(|key| self.ids.contains(&Self::hash_of_id(key, object, id)))
    }

    /// Whether anything is left out of records that stay.
    pub fn leaves_out_references(&self) -> bool {
        self.key.is_some() && !self.references.is_empty()
    }

    /// What is kept of a value of a record that stays.
    pub fn kept(&self, origin: Origin, name: &str, value: Json<'_>) -> Kept {
        let is_own_id = (origin, name) == (Origin::Property, "_id");
        let has_text = value.as_written().contains('"');
        if is_own_id || !has_text || !self.leaves_out_references() {
            return Kept::AsItIs;
        }
        let Ok(mut tree) = serde_json::from_str::<Value>(value.as_written()) else {
            // Too deep for a tree: what is looked for needs no escapes.
            return self.text_without_references(value.as_written()).map_or(Kept::AsItIs, Kept::Instead);
        };
        if self.leave_out(&mut tree) { Kept::Instead(tree.to_string()) } else { Kept::AsItIs }
    }

    /// A text that is no record, without references.
    pub fn without_references(&self, text: &str) -> Option<String> {
        self.leaves_out_references().then(|| self.text_without_references(text)).flatten()
    }

    /// Leaves the references out of a value. Whether there were any.
    fn leave_out(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => match self.text_without_references(text) {
                Some(rest) => {
                    *text = rest;
                    true
                }
                None => false,
            },
            Value::Array(items) => self.leave_out_of_all(items.iter_mut()),
            Value::Object(fields) if fields.values().any(|value| value.as_str().is_some_and(|text| self.is_reference(text))) => {
                fields.values_mut().for_each(erase);
                self.leave_out_names(fields);
                true
            }
            Value::Object(fields) => {
                let in_values = self.leave_out_of_all(fields.values_mut());
                self.leave_out_names(fields) || in_values
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn leave_out_of_all<'v>(&self, values: impl Iterator<Item = &'v mut Value>) -> bool {
        // All of them, not as far as the first that has any.
        values.map(|value| self.leave_out(value)).filter(|had_any| *had_any).count() > 0
    }

    /// A person may be the name of a member.
    fn leave_out_names(&self, fields: &mut Map<String, Value>) -> bool {
        if !fields.keys().any(|name| self.is_reference(name)) {
            return false;
        }
        let members = std::mem::take(fields);
        for (name, value) in members {
            let mut name = if self.is_reference(&name) { FORGOTTEN.to_owned() } else { name };
            while fields.contains_key(&name) {
                name.push('\'');
            }
            fields.insert(name, value);
        }
        true
    }

    /// The text with each reference replaced; none if there is none in it.
    fn text_without_references(&self, text: &str) -> Option<String> {
        if self.is_reference(text) {
            return Some(FORGOTTEN.to_owned());
        }
        let (mut rest, mut kept, mut any) = (text, String::new(), false);
        while let Some(start) = rest.find(is_of_a_term) {
            let term = &rest[start..];
            let length = term.find(|c| !is_of_a_term(c)).unwrap_or(term.len());
            let (term, behind) = term.split_at(length);
            kept.push_str(&rest[..start]);
            // A sentence may end behind an address, and a quotation begin before it.
            let inside = term.trim_matches(is_punctuation);
            if looks_like_a_reference(inside) && self.is_reference(inside) {
                any = true;
                kept.push_str(&term.replacen(inside, FORGOTTEN, 1));
            } else {
                kept.push_str(term);
            }
            rest = behind;
        }
        kept.push_str(rest);
        any.then_some(kept)
    }

    fn is_reference(&self, text: &str) -> bool {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_TERM_BYTES || text == FORGOTTEN || text.contains(char::is_whitespace) {
            return false;
        }
        self.key.as_ref().is_some_and(|key| self.references.contains(&Self::hash_of_reference(key, text)))
    }
}

/// Nothing but the shape is left.
fn erase(value: &mut Value) {
    if !matches!(value, Value::Null | Value::Bool(_)) {
        *value = Value::from(FORGOTTEN);
    }
}

/// Inside a longer text only what looks like an address or an id of Planhat is looked up.
fn looks_like_a_reference(term: &str) -> bool {
    term.contains('@') || (term.len() == 24 && term.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_of_a_term(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '@' | '.' | '_' | '-' | '+' | '\'' | '%')
}

fn is_punctuation(c: char) -> bool {
    matches!(c, '.' | '-' | '\'' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::record_of;
    use crate::rules::kept_record;
    use serde_json::json;

    const KIM: &str = "64b000000000000000000001";

    fn forgotten() -> ForgottenRecords {
        let key = HashKey::new(b"a key of the tests");
        let terms = [KIM, "Kim@acme.example", "o'neil@acme.example"];
        let references = terms.map(|term| ForgottenRecords::hash_of_reference(&key, term));
        ForgottenRecords::new(&key, [ForgottenRecords::hash_of_id(&key, "endusers", KIM)], references)
    }

    /// Checks what is left of a value; null if it stays as it is.
    fn check(value: Value, expected: Value) {
        let record = record_of(&json!({"_id": KIM, "x": value}));
        let forgotten = forgotten();
        let kept = kept_record(&record, &|origin, name, value| forgotten.kept(origin, name, value)).unwrap();
        let found = kept.as_ref().map_or(Value::Null, |kept| kept.get("x").unwrap().tree());
        assert_eq!(found, expected, "{value}");
        assert!(kept.is_none_or(|kept| kept.id == KIM), "a record keeps its own id");
    }

    #[test]
    fn a_record_is_forgotten_by_object_and_id() {
        let forgotten = forgotten();
        assert!(forgotten.has("endusers", KIM));
        assert!(!forgotten.has("companies", KIM) && !forgotten.has("endusers", "64b000000000000000000002"));
        assert!(!ForgottenRecords::default().has("endusers", KIM));
    }

    #[test]
    fn ids_and_addresses_are_left_out_wherever_they_stand() {
        check(json!(KIM), json!(FORGOTTEN));
        check(json!(" KIM@ACME.example "), json!(FORGOTTEN));
        check(json!([KIM, "lee@acme.example"]), json!([FORGOTTEN, "lee@acme.example"]));
        check(
            json!("From: \"Kim Lee\" <kim@acme.example>, cc lee@acme.example."),
            json!("From: \"Kim Lee\" <[forgotten]>, cc lee@acme.example."),
        );
        check(json!("mail to kim@acme.example."), json!("mail to [forgotten]."));
        check(json!("ask o'neil@acme.example"), json!("ask [forgotten]"));
        check(
            json!(format!("https://app.planhat.com/enduser/{KIM}?x=1")),
            json!("https://app.planhat.com/enduser/[forgotten]?x=1"),
        );
        check(json!({"kim@acme.example": 3, "lee": 1}), json!({FORGOTTEN: 3, "lee": 1}));
    }

    #[test]
    fn an_object_that_names_somebody_by_id_or_address_loses_all_its_values() {
        check(
            json!([{"id": KIM, "name": "Kim Lee", "age": 40, "primary": true, "phone": null}, {"id": "other", "name": "Lee"}]),
            json!([{"id": FORGOTTEN, "name": FORGOTTEN, "age": FORGOTTEN, "primary": true, "phone": null}, {"id": "other", "name": "Lee"}]),
        );
        check(
            json!({"by": {"email": "kim@acme.example", "name": "Kim"}, "at": 7}),
            json!({"by": {"email": FORGOTTEN, "name": FORGOTTEN}, "at": 7}),
        );
    }

    #[test]
    fn what_names_nobody_forgotten_stays_as_it_is() {
        for value in [
            json!("akim@acme.example"),
            json!("kim@acme.example.org"),
            json!("64b00000000000000000000100"),
            json!(FORGOTTEN),
            json!(7),
            json!({"a": [1, "b", {"c": "kim at acme"}]}),
            json!(null),
        ] {
            check(value, Value::Null);
        }
    }
}
