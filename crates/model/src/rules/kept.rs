//! What is kept of the values of a record: each one as it is, none of it, or something in its place.
//!
//! Privacy rules say so by the name of a value, a forgotten person by its content. Both reach records as they arrive and
//! what is stored already: rows, the values inside actions, and texts in quarantine.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::record::{Json, Origin, Record, Rejected, is_whole_text};

/// What is kept of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    AsItIs,
    Nothing,
    /// This JSON in its place.
    Instead(String),
}

/// Says what is kept of a value by where it is from, its name at Planhat, and its content.
pub type Keep<'a> = dyn Fn(Origin, &str, Json<'_>) -> Kept + Sync + 'a;

impl Kept {
    /// A text in place of a value.
    pub fn text(text: &str) -> Kept {
        Kept::Instead(Value::from(text).to_string())
    }
}

/// The record with what is kept of its values; none if all stay as they are.
pub fn kept_record(record: &Record, keep: &Keep<'_>) -> Result<Option<Record>, Rejected> {
    let Some(text) = kept_values(record, keep) else { return Ok(None) };
    let unreadable = |error| Rejected::of_text(String::new(), format!("not readable: {error}"));
    let mut kept = Record::parse(RawValue::from_string(text).map_err(unreadable)?)?;
    kept.sanitized_values = record.sanitized_values;
    Ok(Some(kept))
}

/// What is kept of the text of a record; none if nothing changes. What cannot be parsed has no values to tell apart.
pub fn kept_text(text: &str, keep: &Keep<'_>) -> Result<Option<String>, NotARecord> {
    let raw = if is_whole_text(text) { RawValue::from_string(text.to_owned()).ok() } else { None };
    let record = raw.and_then(|raw| Record::parse_without_id(raw).ok()).ok_or(NotARecord)?;
    Ok(kept_values(&record, keep))
}

/// A text of which the values cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARecord;

fn kept_values(record: &Record, keep: &Keep<'_>) -> Option<String> {
    let (mut properties, mut custom, mut has_changed) = (String::new(), String::new(), false);
    for (origin, name, value) in record.values() {
        let kept = keep(origin, name, value);
        has_changed |= kept != Kept::AsItIs;
        let members = match origin {
            Origin::Property => &mut properties,
            Origin::Custom => &mut custom,
        };
        match &kept {
            Kept::AsItIs => add_member(members, name, value.as_written()),
            Kept::Instead(json) => add_member(members, name, json),
            Kept::Nothing => {}
        }
    }
    has_changed.then(|| object_of_members(properties, &custom))
}

/// An object of properties and, under `custom`, custom fields.
pub fn object_of_members(mut properties: String, custom: &str) -> String {
    if !custom.is_empty() {
        add_member(&mut properties, "custom", &format!("{{{custom}}}"));
    }
    format!("{{{properties}}}")
}

/// Adds a member to the inside of an object.
pub fn add_member(members: &mut String, name: &str, json: &str) {
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(&Value::from(name).to_string());
    members.push(':');
    members.push_str(json);
}
