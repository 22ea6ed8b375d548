//! Values as they are in the database, and the one way out for them: masked by the rules of their object.
//!
//! A value may be from before there was a rule for it, and each caller that reads one would have to remember that. The types
//! remember it instead: a statement that reads a table of the data schema returns only [`Guarded`] results, in which each
//! value is a [`Stored`] one, and a `Stored` value cannot be opened without the rules.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Timelike, Utc};
use planhat_model::catalog::ColumnType;
use planhat_model::flatten::{Column, Columns};
use planhat_model::record::{Json as RecordJson, Origin, REFUSED, Record};
use planhat_model::rules::{FORGOTTEN, Kept, NotARecord, REDACTED, Rule, Rules, add_member, kept_text, object_of_members};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use sqlx::types::Json;

use super::rewrite::Masking;

/// What a statement about the data may return.
pub(crate) trait Guarded {}

/// A value that is opened by the rules of its object alone.
#[derive(Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Stored<T>(T);

/// The id of a record, which there is no rule for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct RecordId(pub(crate) String);

/// The name of a column.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct ColumnName(pub(crate) String);

impl<T> Guarded for Stored<T> {}
impl Guarded for RecordId {}
impl Guarded for ColumnName {}
impl Guarded for bool {}
impl Guarded for i64 {}
impl Guarded for DateTime<Utc> {}
impl<T: Guarded> Guarded for Option<T> {}
impl<T: Guarded> Guarded for Vec<T> {}
impl<A: Guarded, B: Guarded> Guarded for (A, B) {}
impl<A: Guarded, B: Guarded, C: Guarded> Guarded for (A, B, C) {}
impl<A: Guarded, B: Guarded, C: Guarded, D: Guarded> Guarded for (A, B, C, D) {}

impl<T> fmt::Debug for Stored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored")
    }
}

/// The rules of an object, and its columns, by which a value is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnRules<'a> {
    pub(crate) rules: Option<&'a Rules>,
    pub(crate) columns: &'a Columns,
}

impl ColumnRules<'_> {
    /// A value as JSON text. What no rule is about keeps its text, however deep it is.
    fn masked_raw(self, column: &str, value: Box<RawValue>) -> Box<RawValue> {
        let is_included = |rules: &Rules| {
            let column = self.columns.named(column);
            column.is_some_and(|column| rules.of(column.origin, &column.planhat_name) == Rule::Include)
        };
        if self.rules.is_none_or(is_included) {
            return value;
        }
        let masked = serde_json::from_str(value.get()).map(|value| self.masked(column, value));
        // A text that cannot be parsed may contain anything.
        to_raw_value(&masked.unwrap_or_else(|_| REDACTED.into())).unwrap_or_default()
    }

    fn masked(self, column: &str, value: Value) -> Value {
        let Some(rules) = self.rules else { return value };
        match (column, value) {
            ("_misfits", Value::Object(misfits)) => {
                misfits.into_iter().map(|(column, value)| (column.clone(), self.masked(&column, value))).collect()
            }
            ("_overflow", Value::Object(overflow)) => {
                let masked = |origin, name: String, value| (name.clone(), rules.mask_stored(origin, &name, value));
                let custom = |fields: Map<String, Value>| {
                    fields.into_iter().map(|(name, value)| masked(Origin::Custom, name, value)).collect()
                };
                let fields = overflow.into_iter().map(|(name, value)| match value {
                    Value::Object(fields) if name == "custom" => (name, custom(fields)),
                    value => masked(Origin::Property, name, value),
                });
                fields.collect()
            }
            (_, Value::Null) => Value::Null,
            (column, value) => match self.columns.named(column) {
                Some(column) => rules.mask_stored(column.origin, &column.planhat_name, value),
                None => Value::from(REDACTED),
            },
        }
    }
}

impl Stored<Json<Value>> {
    /// The value of a column.
    pub(crate) fn masked(self, rules: ColumnRules<'_>, column: &str) -> Value {
        rules.masked(column, self.0.0)
    }
}

/// Values by the names of their properties.
pub(crate) type StoredProperties = Stored<Json<Map<String, Value>>>;

impl StoredProperties {
    pub(crate) fn masked(self, rules: Option<&Rules>) -> Map<String, Value> {
        let Some(rules) = rules else { return self.0.0 };
        let masked = |(name, value): (String, Value)| {
            let value = rules.mask_stored(Origin::Property, &name, value);
            (name, value)
        };
        self.0.0.into_iter().map(masked).collect()
    }
}

/// One of several values under the names of columns.
#[derive(Serialize, Deserialize)]
struct ColumnChange {
    old: Box<RawValue>,
    new: Box<RawValue>,
}

/// What changes in a row, as JSON: column to old and new value.
#[derive(Clone, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Changes(String);

impl Stored<Changes> {
    /// What a page changes: the new values are of its records, which the rules have judged.
    pub(crate) fn masked_where_old(self, rules: ColumnRules<'_>) -> String {
        self.masked_by(rules, |column, ColumnChange { old, new }| ColumnChange { old: rules.masked_raw(column, old), new })
    }

    /// What a past action has changed.
    pub(crate) fn masked(self, rules: ColumnRules<'_>) -> String {
        self.masked_by(rules, |column, ColumnChange { old, new }| ColumnChange {
            old: rules.masked_raw(column, old),
            new: rules.masked_raw(column, new),
        })
    }

    fn masked_by(self, rules: ColumnRules<'_>, masked: impl Fn(&str, ColumnChange) -> ColumnChange) -> String {
        let Changes(changes) = self.0;
        if rules.rules.is_none() {
            return changes;
        }
        let kept = serde_json::from_str::<BTreeMap<String, ColumnChange>>(&changes).and_then(|changes| {
            let kept = changes.into_iter().map(|(column, change)| {
                let change = masked(&column, change);
                (column, change)
            });
            serde_json::to_string(&kept.collect::<BTreeMap<_, _>>())
        });
        // A text that cannot be parsed may contain anything.
        kept.unwrap_or_else(|_| "{}".to_owned())
    }
}

impl Stored<String> {
    /// A text under the name of its column.
    pub(crate) fn masked(self, rules: ColumnRules<'_>, column: &str) -> String {
        match rules.masked(column, Value::String(self.0)) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// An id that the first of these properties that has one names; none where a rule is about any of them.
    pub(crate) fn masked_reference<'p>(
        self,
        rules: Option<&Rules>,
        mut properties: impl Iterator<Item = &'p str>,
    ) -> Option<String> {
        let id = Value::String(self.0);
        let is_open = |name: &str| rules.is_none_or(|rules| rules.mask_stored(Origin::Property, name, id.clone()) == id);
        let is_open = properties.all(is_open);
        id.as_str().filter(|_| is_open).map(str::to_owned)
    }

    /// The text of a property.
    pub(crate) fn masked_property(self, rules: Option<&Rules>, name: &str) -> String {
        let Some(rules) = rules else { return self.0 };
        match rules.mask_stored(Origin::Property, name, Value::String(self.0)) {
            Value::String(text) => text,
            other => other.to_string(),
        }
    }

    /// A text that was made of several values; none where there are rules.
    pub(crate) fn without_rules(self, rules: Option<&Rules>) -> Option<String> {
        rules.is_none().then_some(self.0)
    }

    /// The text of a record in quarantine, and why it is there. The reason may quote the record; where less of that is
    /// shown than is stored, only the words that it has in common with others are shown.
    pub(crate) fn masked_record(self, reason: Stored<String>, sqlstate: Option<&str>, rules: Option<&Rules>) -> (String, String) {
        let (Stored(text), Stored(reason)) = (self, reason);
        let Some(rules) = rules else { return (text, reason) };
        let masked = rules.mask_stored_record(&text);
        let reason = match sqlstate {
            _ if masked == text => reason,
            Some(_) => REFUSED.to_owned(),
            None => reason.split([':', '(']).next().unwrap_or_default().trim_end().to_owned(),
        };
        (masked, reason)
    }

    /// As it is, to be moved within its own row.
    pub(super) fn to_move(&self) -> &str {
        &self.0
    }

    /// What is kept of an id that the first of these properties that has one names, to be stored in its place; none if it
    /// stays.
    pub(crate) fn kept_reference(&self, masking: Masking<'_>, properties: &[&str]) -> Option<Option<String>> {
        let id = Value::from(self.0.as_str()).to_string();
        let kept = properties.iter().map(|name| masking.kept(Origin::Property, name, RecordJson::trusted(&id)));
        kept.into_iter().find(|kept| *kept != Kept::AsItIs).map(|kept| match kept {
            Kept::Instead(json) => serde_json::from_str::<String>(&json).ok().filter(|text| !is_placeholder(text)),
            Kept::AsItIs | Kept::Nothing => None,
        })
    }

    /// What is kept of the text of a record in quarantine and of the reason why it is there, to be stored in their place,
    /// with the fingerprint of the text where it becomes another; none if both stay.
    pub(crate) fn kept_entry(
        &self,
        reason: &Stored<String>,
        sqlstate: Option<&str>,
        masking: Masking<'_>,
    ) -> Option<(String, String, Option<i64>)> {
        match masking {
            Masking::Rules(rules) => {
                let (text, fingerprint) = rules.kept_of_quarantined(&self.0)?;
                let (_, reason) = self.clone().masked_record(reason.clone(), sqlstate, Some(rules));
                Some((text, reason, Some(fingerprint)))
            }
            Masking::Forgotten { forgotten, .. } => {
                let keep = |origin: Origin, name: &str, value: RecordJson<'_>| forgotten.kept(origin, name, value);
                let text = match kept_text(&self.0, &keep) {
                    Ok(text) => text,
                    Err(NotARecord) => forgotten.without_references(&self.0),
                };
                let new_reason = forgotten.without_references(&reason.0);
                (text.is_some() || new_reason.is_some())
                    .then(|| (text.unwrap_or_else(|| self.0.clone()), new_reason.unwrap_or_else(|| reason.0.clone()), None))
            }
        }
    }
}

fn is_placeholder(text: &str) -> bool {
    text == REDACTED || text == FORGOTTEN
}

/// A whole row as JSON, under the names of its columns.
#[derive(Clone, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct RowText(String);

type Members = BTreeMap<String, Box<RawValue>>;

impl Stored<RowText> {
    /// The record behind a row, to be stored in that very row again. Values are as the row has them: an instant is spelt as
    /// Planhat usually spells it.
    pub(super) fn record(&self, columns: &Columns) -> Option<Record> {
        let row: Members = serde_json::from_str(&self.0.0).ok()?;
        let (mut properties, mut custom) = (String::new(), String::new());
        let mut add = |origin: Origin, name: &str, json: &str| match origin {
            Origin::Property => add_member(&mut properties, name, json),
            Origin::Custom => add_member(&mut custom, name, json),
        };
        for column in columns.iter() {
            if let Some(value) = row.get(&column.name).filter(|value| !is_null(value)) {
                add(column.origin, &column.planhat_name, &as_planhat_spells(column, value));
            }
        }
        for (name, value) in members_of(row.get("_misfits").map(|misfits| &**misfits)) {
            let column = columns.named(&name)?;
            add(column.origin, &column.planhat_name, value.get());
        }
        for (origin, name, value) in overflowing(row.get("_overflow").map(|overflow| &**overflow)) {
            add(origin, &name, value.get());
        }
        Record::parse(RawValue::from_string(object_of_members(properties, &custom)).ok()?).ok()
    }
}

/// Properties that hold addresses by which other records name a person.
const ADDRESSES: [&str; 2] = ["email", "otherEmails"];

/// Whether addresses of an object are stored otherwise than others may have them.
pub fn masks_addresses(rules: &Rules) -> bool {
    ADDRESSES.iter().any(|name| rules.concerns(Origin::Property, name))
}

/// The addresses of a record: as it has them, or as a rule has left them.
fn addresses_of(record: &Record) -> Vec<String> {
    fn texts(value: Value, all: &mut Vec<String>) {
        match value {
            Value::String(text) => all.push(text),
            Value::Array(items) => items.into_iter().for_each(|item| texts(item, all)),
            Value::Object(fields) => fields.into_iter().for_each(|(_, value)| texts(value, all)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut all = Vec::new();
    for value in ADDRESSES.iter().filter_map(|name| record.get(name)) {
        texts(value.tree(), &mut all);
    }
    all.retain(|text| !matches!(text.trim(), "" | "undefined") && !is_placeholder(text));
    all
}

impl Stored<RowText> {
    /// The addresses of the record behind a row, for the search for the same ones elsewhere.
    pub(super) fn addresses(&self, columns: &Columns) -> Vec<String> {
        self.record(columns).map(|record| addresses_of(&record)).unwrap_or_default()
    }
}

impl Stored<String> {
    /// The same of the text of a record.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let record = RawValue::from_string(self.0.clone()).ok().and_then(|raw| Record::parse(raw).ok());
        record.map(|record| addresses_of(&record)).unwrap_or_default()
    }
}

impl Stored<Changes> {
    /// What is kept of the changes of a past action, to be stored in their place. A column of which nothing is kept, or no
    /// difference, is left out; the inner none means that nothing is left.
    pub(crate) fn kept(&self, masking: Masking<'_>, columns: &Columns) -> Option<Option<String>> {
        let Ok(changes) = serde_json::from_str::<BTreeMap<String, ColumnChange>>(&self.0.0) else { return Some(None) };
        let (mut left, mut has_changed) = (BTreeMap::new(), false);
        for (column, change) in changes {
            let kept = [&change.old, &change.new].map(|value| kept_in_column(masking, columns, &column, value));
            if kept == [Kept::AsItIs, Kept::AsItIs] {
                left.insert(column, change);
                continue;
            }
            has_changed = true;
            if kept.contains(&Kept::Nothing) {
                continue;
            }
            let [old, new] = kept;
            let (old, new) = (in_place_of(change.old, old), in_place_of(change.new, new));
            if old.get() != new.get() {
                left.insert(column, ColumnChange { old, new });
            }
        }
        let text = |left| serde_json::to_string(&left).ok();
        has_changed.then(|| if left.is_empty() { None } else { text(left) })
    }
}

fn in_place_of(value: Box<RawValue>, kept: Kept) -> Box<RawValue> {
    match kept {
        Kept::AsItIs => value,
        Kept::Nothing => RawValue::NULL.to_owned(),
        Kept::Instead(json) => RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned()),
    }
}

/// What is kept of the old or new value of a column.
fn kept_in_column(masking: Masking<'_>, columns: &Columns, name: &str, value: &RawValue) -> Kept {
    let of_column = |name: &str, value: &RawValue| match columns.named(name) {
        Some(column) => masking.kept(column.origin, &column.planhat_name, RecordJson::trusted(&as_planhat_spells(column, value))),
        None => masking.kept(Origin::Property, name, RecordJson::of(value)),
    };
    let (mut properties, mut custom, mut has_changed) = (String::new(), String::new(), false);
    let mut add = |origin: Origin, name: &str, value: &RawValue, kept: Kept| {
        has_changed |= kept != Kept::AsItIs;
        let members = if origin == Origin::Custom { &mut custom } else { &mut properties };
        match kept {
            Kept::AsItIs => add_member(members, name, value.get()),
            Kept::Instead(json) => add_member(members, name, &json),
            Kept::Nothing => {}
        }
    };
    match name {
        "_misfits" => members_of(Some(value)).into_iter().for_each(|(name, value)| {
            let kept = of_column(&name, &value);
            add(Origin::Property, &name, &value, kept);
        }),
        "_overflow" => overflowing(Some(value)).into_iter().for_each(|(origin, name, value)| {
            let kept = masking.kept(origin, &name, RecordJson::of(&value));
            add(origin, &name, &value, kept);
        }),
        _ => return of_column(name, value),
    }
    match has_changed {
        false => Kept::AsItIs,
        true if properties.is_empty() && custom.is_empty() => Kept::Instead("null".to_owned()),
        true => Kept::Instead(object_of_members(properties, &custom)),
    }
}

fn is_null(value: &RawValue) -> bool {
    RecordJson::of(value).is_null()
}

/// The members of an object; none of anything else.
fn members_of(value: Option<&RawValue>) -> Members {
    value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

/// What an `_overflow` holds.
fn overflowing(value: Option<&RawValue>) -> Vec<(Origin, String, Box<RawValue>)> {
    let mut all = Vec::new();
    for (name, value) in members_of(value) {
        if name == "custom" && value.get().starts_with('{') {
            all.extend(members_of(Some(&*value)).into_iter().map(|(name, value)| (Origin::Custom, name, value)));
        } else {
            all.push((Origin::Property, name, value));
        }
    }
    all
}

/// A value of a column as its record may have had it: PostgreSQL spells instants in its own way.
fn as_planhat_spells<'a>(column: &Column, value: &'a RawValue) -> Cow<'a, str> {
    let instant = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|instant| instant.to_utc());
    let time = RecordJson::of(value).string().filter(|_| column.kind == ColumnType::Time).and_then(|text| instant(&text));
    let Some(time) = time else { return Cow::Borrowed(value.get()) };
    let is_whole = time.nanosecond().is_multiple_of(1_000_000);
    let digits = if is_whole { SecondsFormat::Millis } else { SecondsFormat::Micros };
    Cow::Owned(Value::from(time.to_rfc3339_opts(digits, true)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog::ColumnType;
    use planhat_model::flatten::Column;
    use planhat_model::rules::FieldMap;
    use serde_json::json;

    fn columns() -> Columns {
        let column = |name: &str| Column {
            name: format!("planhat__{name}"),
            kind: ColumnType::Text,
            origin: Origin::Property,
            planhat_name: name.to_owned(),
        };
        ["name", "email"].map(column).into_iter().collect()
    }

    fn email_redacted() -> Rules {
        let mut fields = FieldMap::default();
        fields.insert("email", Rule::Redact);
        Rules::new(fields, None)
    }

    /// Checks what is shown of changes: if only the old values are stored ones, and if all are.
    fn check(changes: Value, expected_where_old: Value, expected: Value) {
        let (columns, rules) = (columns(), email_redacted());
        let stored = Stored(Changes(changes.to_string()));
        let under = |rules| ColumnRules { rules, columns: &columns };
        let parsed = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        assert_eq!(parsed(stored.clone().masked_where_old(under(Some(&rules)))), expected_where_old);
        assert_eq!(parsed(stored.clone().masked(under(Some(&rules)))), expected);
        assert_eq!(stored.masked(under(None)), changes.to_string(), "without rules it is as it was");
    }

    #[test]
    fn changes_are_shown_masked_by_the_rules_of_their_columns() {
        check(
            json!({"planhat__name": {"old": "Kim", "new": "Lee"}, "planhat__email": {"old": "k", "new": "l"}}),
            json!({"planhat__name": {"old": "Kim", "new": "Lee"}, "planhat__email": {"old": REDACTED, "new": "l"}}),
            json!({"planhat__name": {"old": "Kim", "new": "Lee"}, "planhat__email": {"old": REDACTED, "new": REDACTED}}),
        );
        check(
            json!({"_misfits": {"old": {"planhat__email": 7, "planhat__name": [1]}, "new": null}, "_overflow": {"old": null, "new": {"email": "k"}}}),
            json!({"_misfits": {"old": {"planhat__email": REDACTED, "planhat__name": [1]}, "new": null}, "_overflow": {"old": null, "new": {"email": "k"}}}),
            json!({"_misfits": {"old": {"planhat__email": REDACTED, "planhat__name": [1]}, "new": null}, "_overflow": {"old": null, "new": {"email": REDACTED}}}),
        );
        check(
            json!({"of_no_property": {"old": "k", "new": null}}),
            json!({"of_no_property": {"old": REDACTED, "new": null}}),
            json!({"of_no_property": {"old": REDACTED, "new": null}}),
        );
    }

    #[test]
    fn a_value_too_deep_to_parse_is_redacted_unless_its_column_is_included() {
        let (columns, rules) = (columns(), email_redacted());
        let deep = format!("{}7{}", "[".repeat(200), "]".repeat(200));
        let changes = |column: &str| format!(r#"{{"{column}":{{"old":{deep},"new":null}}}}"#);
        let masked =
            |column: &str| Stored(Changes(changes(column))).masked(ColumnRules { rules: Some(&rules), columns: &columns });
        assert_eq!(masked("planhat__name"), changes("planhat__name"));
        assert_eq!(masked("planhat__email"), r#"{"planhat__email":{"old":"[redacted]","new":null}}"#);
    }

    #[test]
    fn a_reference_is_shown_only_if_no_rule_is_about_a_property_that_may_have_named_it() {
        let rules = email_redacted();
        let shown = |names: &[&str]| Stored("c1".to_owned()).masked_reference(Some(&rules), names.iter().copied());
        assert_eq!((shown(&["_id"]), shown(&["name", "email"]), shown(&[])), (Some("c1".into()), None, Some("c1".into())));
    }

    #[test]
    fn a_stored_value_does_not_show_in_debug() {
        assert_eq!(format!("{:?}", Stored("Kim".to_owned())), "Stored");
    }
}
