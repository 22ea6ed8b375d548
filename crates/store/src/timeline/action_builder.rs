//! What storing a page means for the timeline: one action for each record that it changes.
//!
//! An action says what became of a record (created, updated, deleted, restored), when that happened at Planhat as far
//! as its record tells, and for what changed in it the old and the new value of each column. Folded over the first
//! version of a row, the actions of its record give the row as it is.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::Object;
use planhat_model::flatten::Row;
use planhat_model::record::Origin;
use planhat_model::rules::REDACTED;
use serde_json::Value;
use sqlx::PgConnection;

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
    /// All but created rows: for a load.
    ExceptCreated,
    All,
}

impl TimelineOptions {
    pub fn action_policy(self, is_load: bool) -> ActionPolicy {
        match self {
            TimelineOptions { enabled: false, .. } => ActionPolicy::None,
            TimelineOptions { initial: false, .. } if is_load => ActionPolicy::ExceptCreated,
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
}

/// An action to be written.
#[derive(Debug)]
pub(crate) struct Action {
    pub(super) kind: ActionKind,
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
    if target.action_policy == ActionPolicy::All {
        actions.extend(compared.new.iter().map(|row| reader.action(ActionKind::Created, row, None)));
    }
    let mut changed = changes(db, target, &compared.changed).await?;
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
    changes: String,
    columns: HashSet<String>,
}

/// By id what storing these rows changes; without those that stay the same.
async fn changes(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<HashMap<String, RowChange>, StoreError> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = Sql::new(
        "select id, jsonb_object_agg(difference.column, jsonb_build_object('old', old, 'new', new))::text,
             array_agg(difference.column)
         from (",
    );
    let by_column = RowsByColumn::of(target.columns, rows);
    let sql = differences_sql(sql, target, &by_column).text(") as difference group by id");
    let changes: Vec<(RecordId, Stored<Changes>, Vec<ColumnName>)> =
        sql.query_as_with(by_column.arguments()?).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    let changed = |(RecordId(id), changes, columns): (_, Stored<Changes>, Vec<ColumnName>)| {
        let columns = columns.into_iter().map(|ColumnName(column)| column).collect();
        (id, RowChange { changes: changes.masked_where_old(target.column_rules()), columns })
    };
    Ok(changes.into_iter().map(changed).collect())
}

/// Builds actions from records: references and times.
struct ActionBuilder<'a> {
    object: &'a Object,
    /// Times that a change may move, with their columns.
    moving: Vec<Property<'a>>,
}

/// A property and its column, if it has one.
struct Property<'a> {
    planhat_name: &'static str,
    column: Option<&'a str>,
}

impl<'a> ActionBuilder<'a> {
    fn of(target: Target<'a>) -> ActionBuilder<'a> {
        let moving = [target.object.modified, target.object.dated];
        ActionBuilder { object: target.object, moving: moving.into_iter().flat_map(|names| properties(target, names)).collect() }
    }

    fn action(&self, kind: ActionKind, row: &Row<'_>, changed: Option<RowChange>) -> Action {
        let (object, record) = (self.object, row.record);
        let the_one = |names: &[&str]| names.iter().find_map(|name| reference(&record.get(name)?.tree()));
        let first_of = |names: &[&str]| names.iter().find_map(|name| record.instant(name));
        let happened_at = match kind {
            ActionKind::Created => first_of(object.occurred)
                .or_else(|| first_of(object.created))
                .or_else(|| time_of_id(row.id))
                .or_else(|| record.newest_of(object.times())),
            // A time that this change has not moved belongs to an earlier change.
            ActionKind::Updated => first_of(object.occurred).or_else(|| {
                let has_moved = |property: &&Property<'_>| {
                    let is_among = |column| changed.as_ref().is_some_and(|changed| changed.columns.contains(column));
                    property.column.is_some_and(is_among)
                };
                self.moving.iter().filter(has_moved).filter_map(|property| record.instant(property.planhat_name)).max()
            }),
            ActionKind::Deleted | ActionKind::Restored => None,
        };
        Action {
            kind,
            record_id: row.id.to_owned(),
            company_id: the_one(object.company),
            end_user_id: the_one(object.end_user),
            happened_at,
            changes: changed.map(|changed| changed.changes),
        }
    }
}

fn properties<'a>(target: Target<'a>, names: &'static [&'static str]) -> Vec<Property<'a>> {
    let column_of = |name: &str| {
        let found = target.columns.iter().find(|column| column.origin == Origin::Property && column.planhat_name == name);
        found.map(|column| column.name.as_str())
    };
    names.iter().map(|name| Property { planhat_name: name, column: column_of(name) }).collect()
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
        let the_one = |names: &[&str]| names.iter().find_map(|name| reference(references.get(*name)?));
        Action {
            kind: ActionKind::Deleted,
            record_id,
            company_id: the_one(target.object.company),
            end_user_id: the_one(target.object.end_user),
            happened_at: None,
            changes: None,
        }
    }

    /// That a record was forgotten, and nothing else of it.
    pub(super) fn forgotten(id: &str) -> Action {
        Action {
            kind: ActionKind::Deleted,
            record_id: id.to_owned(),
            company_id: None,
            end_user_id: None,
            happened_at: None,
            changes: None,
        }
    }

    /// What has no time of its own comes last: it was seen just now.
    fn order(&self) -> DateTime<Utc> {
        self.happened_at.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// An expression for what a stored row says of company and end user.
pub(crate) fn references(sql: Sql, target: Target<'_>) -> Sql {
    let all = [target.object.company, target.object.end_user].into_iter().flat_map(|names| properties(target, names));
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
