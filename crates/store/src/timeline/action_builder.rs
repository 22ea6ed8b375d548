//! What storing a page means for the timeline: one action for each record that it changes.
//!
//! An action says what became of a record (created, updated, deleted, restored), when that happened at Planhat as far
//! as its record tells, and for what changed in it the old and the new value of each column. Folded over the first
//! version of a row, the actions of its record give the row as it is. The first action of a record that was there before
//! (`first_seen`) begins with the version that was found then.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::iter;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::{Object, Role};
use planhat_model::flatten::Row;
use planhat_model::record::{Origin, Record};
use planhat_model::rules::REDACTED;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use super::first_sight::{FirstSight, RecordAge};
use crate::data::diff::{PageDiff, differences_sql};
use crate::data::rows_by_column::RowsByColumn;
use crate::data::stored_value::{Changes, ColumnName, RecordId, Stored, StoredProperties};
use crate::data::upsert::Target;
use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// The settings of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineOptions {
    pub enabled: bool,
    /// Whether a load records its new rows as created.
    pub initial: bool,
    /// How long an action is kept; zero for ever.
    pub keep: Duration,
}

impl Default for TimelineOptions {
    fn default() -> TimelineOptions {
        TimelineOptions { enabled: true, initial: true, keep: Duration::ZERO }
    }
}

/// Which changes become actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionPolicy {
    None,
    /// All but those of rows that were only loaded.
    ExceptLoaded,
    All,
}

impl TimelineOptions {
    pub fn action_policy(self, is_load: bool) -> ActionPolicy {
        match self {
            TimelineOptions { enabled: false, .. } => ActionPolicy::None,
            TimelineOptions { initial: false, .. } if is_load => ActionPolicy::ExceptLoaded,
            _ => ActionPolicy::All,
        }
    }
}

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActionKind {
    Created,
    Updated,
    Deleted,
    Restored,
}

impl ActionKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ActionKind::Created => "created",
            ActionKind::Updated => "updated",
            ActionKind::Deleted => "deleted",
            ActionKind::Restored => "restored",
        }
    }

    /// As a name says it.
    fn in_a_name(self) -> &'static str {
        match self {
            ActionKind::Created => "Created",
            ActionKind::Updated => "Updated",
            ActionKind::Deleted => "Deleted",
            ActionKind::Restored => "Restored",
        }
    }

    /// What people call it: Ticket Created, Ticket Updated …
    fn name(self, object: &Object) -> String {
        format!("{} {}", object.action_noun, self.in_a_name())
    }
}

/// An action to be written.
#[derive(Debug)]
pub struct Action {
    /// What people call it.
    pub(super) name: String,
    pub(super) kind: ActionKind,
    /// Whether it is the first of a record that was there before: what was done to it until then is not known.
    pub(super) first_seen: bool,
    pub(super) record_id: String,
    pub(super) company_id: Option<String>,
    pub(super) end_user_id: Option<String>,
    /// None if Planhat does not tell: then it happened when it was seen.
    pub(super) happened_at: Option<DateTime<Utc>>,
    /// JSON: column to old and new value.
    pub(super) changes: Option<String>,
}

/// The actions for a page; to be computed before its rows are written. A row that is written again without a change in any
/// column gives no action.
pub(crate) async fn actions_of_page(
    db: &mut PgConnection,
    target: Target<'_>,
    compared: &PageDiff<'_>,
) -> Result<Vec<Action>, StoreError> {
    if target.action_policy == ActionPolicy::None {
        return Ok(Vec::new());
    }
    let reader = ActionBuilder::of(target);
    let mut actions = Vec::new();
    for row in &compared.new {
        let first_sight = reader.first_sight(row, target.created_since);
        if target.action_policy == ActionPolicy::All || first_sight != FirstSight::Loaded {
            actions.push(reader.first_action(row, first_sight));
        }
    }
    let compares = |row: &&&Row<'_>| !compared.restored_as_it_was.contains(row.id);
    let to_compare: Vec<_> = compared.changed.iter().filter(compares).copied().collect();
    let mut changed = changes(db, target, &to_compare).await?;
    for row in &compared.changed {
        let changed = changed.remove(row.id);
        match (compared.restored.contains(row.id), changed) {
            (true, changed) => actions.push(reader.action(ActionKind::Restored, row, changed)),
            (false, Some(changed)) => actions.push(reader.action(ActionKind::Updated, row, Some(changed))),
            (false, None) => {}
        }
    }
    actions.sort_by(|one, other| (one.order(), &one.record_id).cmp(&(other.order(), &other.record_id)));
    Ok(actions)
}

/// What changes in one row.
struct RowChange {
    /// JSON: column to old and new value.
    changes: String,
    columns: HashSet<String>,
}

impl RowChange {
    /// The value that a column had before, as JSON text, if it changes.
    fn old_values(&self) -> HashMap<String, String> {
        #[derive(serde::Deserialize)]
        struct Old<'a> {
            #[serde(borrow)]
            old: &'a RawValue,
        }
        let changes: HashMap<&str, Old<'_>> = serde_json::from_str(&self.changes).unwrap_or_default();
        changes.into_iter().map(|(column, change)| (column.to_owned(), change.old.get().to_owned())).collect()
    }
}

/// By id what storing these rows changes; without those that stay the same.
async fn changes(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<HashMap<String, RowChange>, StoreError> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = Sql::new(
        "select id, jsonb_object_agg(difference.column, jsonb_build_object('old', old, 'new', new)) filter (where not same_set)::text,
             array_agg(difference.column) filter (where not same_set)
         from (",
    );
    let by_column = RowsByColumn::of(target.columns, rows);
    // An edit that only puts a set in another order moves the times of an edit, and is none.
    let times = properties(target, target.object.modified.iter().copied()).into_iter().filter_map(|property| property.column);
    let sql = differences_sql(sql, target, &by_column)
        .text(") as difference group by id having not (bool_or(same_set) and bool_and(same_set or difference.column in (")
        .list(iter::once("").chain(times), |sql, column| sql.literal(column))
        .text(")))");
    let changes: Vec<(RecordId, Stored<Changes>, Vec<ColumnName>)> =
        sql.query_as_with(by_column.arguments()?).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    let changed = |(RecordId(id), changes, columns): (_, Stored<Changes>, Vec<ColumnName>)| {
        let columns = columns.into_iter().map(|ColumnName(column)| column).collect();
        (id, RowChange { changes: changes.masked_where_old(target.column_rules()), columns })
    };
    Ok(changes.into_iter().map(changed).collect())
}

/// Builds actions from records: names, references and times.
struct ActionBuilder<'a> {
    object: &'a Object,
    /// Times that a change may move, with their columns.
    moving: Vec<Property<'a>>,
    /// What an answer shows by.
    answering: Vec<Property<'a>>,
}

/// A property and its column, if it has one.
struct Property<'a> {
    planhat_name: &'static str,
    column: Option<&'a str>,
}

impl<'a> ActionBuilder<'a> {
    fn of(target: Target<'a>) -> ActionBuilder<'a> {
        let object = target.object;
        let all = |names: &[&'static [&'static str]]| properties(target, names.iter().flat_map(|names| names.iter().copied()));
        let answering = object.answer.map(|answer| all(&[object.occurred, answer.scores])).unwrap_or_default();
        ActionBuilder { object, moving: all(&[object.modified, object.dated]), answering }
    }

    fn first_sight(&self, row: &Row<'_>, created_since: Option<DateTime<Utc>>) -> FirstSight {
        let (object, record) = (self.object, row.record);
        let age = RecordAge {
            created: first_of(record, object.created),
            id_made: time_of_id(row.id),
            newest: record.newest_of(object.times()),
        };
        FirstSight::of(age, created_since)
    }

    /// The first action of a record.
    fn first_action(&self, row: &Row<'_>, first_sight: FirstSight) -> Action {
        let (object, record) = (self.object, row.record);
        let (kind, happened_at) = match first_sight {
            FirstSight::Changed(at) => (ActionKind::Updated, Some(at)),
            FirstSight::Created(made) => {
                (ActionKind::Created, first_of(record, object.occurred).or(made).or_else(|| record.newest_of(object.times())))
            }
            FirstSight::Loaded => {
                let at = first_of(record, object.occurred).or_else(|| first_of(record, object.created));
                (ActionKind::Created, at.or_else(|| time_of_id(row.id)).or_else(|| record.newest_of(object.times())))
            }
        };
        let first_seen = !matches!(first_sight, FirstSight::Created(_));
        Action { happened_at, first_seen, ..self.named(kind, row, self.brings_answer(row, None)) }
    }

    /// An action of a record that is stored already.
    fn action(&self, kind: ActionKind, row: &Row<'_>, changed: Option<RowChange>) -> Action {
        let happened_at = match (kind, &changed) {
            (ActionKind::Updated, Some(changed)) => first_of(row.record, self.object.occurred).or_else(|| {
                // A time that this change has not moved belongs to an earlier change.
                let has_moved = |of: &&Property<'_>| of.column.is_some_and(|column| changed.columns.contains(column));
                self.moving.iter().filter(has_moved).filter_map(|of| row.record.instant(of.planhat_name)).max()
            }),
            _ => None,
        };
        let brings_answer = kind == ActionKind::Updated && self.brings_answer(row, changed.as_ref());
        let action = self.named(kind, row, brings_answer);
        Action { happened_at, changes: changed.map(|changed| changed.changes), ..action }
    }

    /// Whether the record's answer has come with this: it has one, and had none before.
    fn brings_answer(&self, row: &Row<'_>, changed: Option<&RowChange>) -> bool {
        let Some(answer) = self.object.answer else { return false };
        let now = |name: &str| row.record.get(name).map(|value| Cow::Borrowed(value.as_written()));
        if !answer.is_given(self.object.occurred, now) {
            return false;
        }
        let Some(changed) = changed else { return true };
        let old = changed.old_values();
        let before = |name: &str| {
            let column = self.answering.iter().find(|of| of.planhat_name == name)?.column;
            match column.and_then(|column| old.get(column)) {
                Some(old) => Some(Cow::Owned(old.clone())),
                None => now(name),
            }
        };
        !answer.is_given(self.object.occurred, before)
    }

    fn named(&self, kind: ActionKind, row: &Row<'_>, brings_answer: bool) -> Action {
        let answer = self.object.answer.filter(|_| brings_answer);
        let names_of = |role| self.object.properties_naming(role);
        let the_one = |role| names_of(role).find_map(|name| reference(&row.record.get(name)?.tree()));
        Action {
            name: answer.map_or_else(|| kind.name(self.object), |answer| answer.action.to_owned()),
            kind,
            first_seen: false,
            record_id: row.id.to_owned(),
            company_id: the_one(Role::Company),
            end_user_id: the_one(Role::EndUser),
            happened_at: None,
            changes: None,
        }
    }
}

fn first_of(record: &Record, names: &[&str]) -> Option<DateTime<Utc>> {
    names.iter().find_map(|name| record.instant(name))
}

fn properties<'a>(target: Target<'a>, names: impl Iterator<Item = &'static str>) -> Vec<Property<'a>> {
    let column_of = |name: &str| {
        let found = target.columns.iter().find(|column| column.origin == Origin::Property && column.planhat_name == name);
        found.map(|column| column.name.as_str())
    };
    names.map(|name| Property { planhat_name: name, column: column_of(name) }).collect()
}

/// What an index has room for, and far more than an id has.
const MAX_REFERENCE_BYTES: usize = 255;

/// The one id that a property names: of several, none is more than the others.
fn reference(value: &Value) -> Option<String> {
    match value {
        Value::String(id) if id == REDACTED => None,
        Value::String(id) => (1..=MAX_REFERENCE_BYTES).contains(&id.len()).then(|| id.clone()),
        Value::Array(items) => match items.as_slice() {
            [only] => reference(only),
            _ => None,
        },
        Value::Object(fields) => fields.get("id").or_else(|| fields.get("_id")).and_then(reference),
        _ => None,
    }
}

/// An id of 24 hexadecimal digits begins with the second in which it was made.
fn time_of_id(id: &str) -> Option<DateTime<Utc>> {
    /// No Planhat before that.
    const FIRST: i64 = 1_262_304_000;
    if id.len() != 24 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let made = i64::from_str_radix(id.get(..8)?, 16).ok()?;
    let last = (Utc::now() + TimeDelta::days(1)).timestamp();
    (FIRST..=last).contains(&made).then(|| DateTime::from_timestamp(made, 0)).flatten()
}

impl Action {
    /// `references` are those of the row, by property, as [`references`] has them.
    pub(crate) fn deleted(target: Target<'_>, record_id: String, references: StoredProperties) -> Action {
        let references = references.masked(target.rules);
        let the_one = |role| target.object.properties_naming(role).find_map(|name| reference(references.get(name)?));
        Action {
            name: ActionKind::Deleted.name(target.object),
            kind: ActionKind::Deleted,
            first_seen: false,
            record_id,
            company_id: the_one(Role::Company),
            end_user_id: the_one(Role::EndUser),
            happened_at: None,
            changes: None,
        }
    }

    /// That a record was forgotten, and nothing else of it.
    pub(super) fn forgotten(object: &Object, id: &str) -> Action {
        Action {
            name: ActionKind::Deleted.name(object),
            kind: ActionKind::Deleted,
            first_seen: false,
            record_id: id.to_owned(),
            company_id: None,
            end_user_id: None,
            happened_at: None,
            changes: None,
        }
    }

    /// What it has of text.
    pub fn text_bytes(&self) -> usize {
        let of = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        self.record_id.len() + of(&self.company_id) + of(&self.end_user_id) + of(&self.changes)
    }

    /// What has no time of its own comes last: it was seen just now.
    fn order(&self) -> DateTime<Utc> {
        self.happened_at.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// An expression for what a stored row says of company and end user.
pub(crate) fn references(sql: Sql, target: Target<'_>) -> Sql {
    let all = [Role::Company, Role::EndUser].into_iter();
    let all = all.flat_map(|role| properties(target, target.object.properties_naming(role)));
    let sql = sql.text("jsonb_build_object(").list(all, |sql, property| {
        let sql = sql.literal(property.planhat_name).text("::text, coalesce(");
        let sql = match property.column {
            Some(column) => sql.text("to_jsonb(").name(column).text("), "),
            None => sql,
        };
        sql.text("_overflow -> ").literal(property.planhat_name).text(")")
    });
    sql.text(")")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reference_is_read_only_if_it_names_exactly_one_id() {
        let check = |value: Value, expected: Option<&str>| assert_eq!(reference(&value).as_deref(), expected, "{value}");
        check(json!("a"), Some("a"));
        check(json!(["a"]), Some("a"));
        check(json!([{"id": "a", "name": "Kim"}]), Some("a"));
        check(json!({"_id": "a"}), Some("a"));
        check(json!(["a", "b"]), None);
        check(json!([]), None);
        check(json!(""), None);
        check(json!(7), None);
        check(json!("a".repeat(256)), None);
    }

    #[test]
    fn the_creation_time_is_read_from_an_object_id() {
        let check = |id: &str, expected: Option<&str>| {
            assert_eq!(time_of_id(id).map(|at| at.to_rfc3339()).as_deref(), expected, "{id}");
        };
        check("64b000000000000000000001", Some("2023-07-13T13:45:36+00:00"));
        check("000000000000000000000001", None);
        check("ffffffffffffffffffffffff", None);
        check("64b0000000000000000000zz", None);
        check("64b0", None);
    }
}
