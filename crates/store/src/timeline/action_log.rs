//! The timeline as it is written: one action per stored change, in the transaction that stores it.
//!
//! An action says what became of a record (created, updated, deleted, restored), when that happened at Planhat as far
//! as its record tells, and for what changed in it the old and the new value of each column. Folded over the first
//! version of a row, the actions of its record give the row as it is.
//!
//! Ids are given out one transaction at a time, the last thing before it commits: who reads everything behind an id
//! has not missed what another transaction was still writing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::Object;
use planhat_model::flatten::Row;
use planhat_model::record::Origin;
use planhat_model::rules::REDACTED;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};
use sqlx::PgConnection;

use crate::data::upsert::{self as rows, ByColumn, PageDiff, Target};
use crate::sql::{Sql, query, query_as, query_as_with};
use crate::store_error::{StoreError, could_not};

/// The table in the data schema.
pub(crate) const TABLE: &str = "actions";
/// What `listen` wants to know.
pub(crate) const CHANNEL: &str = "planhat_actions";

/// How the timeline is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineOptions {
    pub enabled: bool,
    /// Whether what a load brings is noted as created.
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
    /// A load whose new rows are not news.
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

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ActionKind {
    Created,
    Updated,
    Deleted,
    Restored,
}

impl ActionKind {
    fn as_str(self) -> &'static str {
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
    kind: ActionKind,
    record_id: String,
    company_id: Option<String>,
    end_user_id: Option<String>,
    /// None where only we know: when it was seen.
    happened_at: Option<DateTime<Utc>>,
    /// JSON: column to old and new value.
    changes: Option<String>,
}

/// The actions that storing a page comes to; to be asked for before its rows are written. A row that is written
/// again without a change in any column is none.
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
    let by_column = ByColumn::of(target.columns, rows);
    let sql = rows::differences_sql(sql, target, &by_column).text(") as difference group by id");
    let changes: Vec<(String, String, Vec<String>)> = query_as_with(sql.safe(), by_column.arguments()?)
        .fetch_all(db)
        .await
        .map_err(could_not("compare a page with its table"))?;
    let changed = |(id, changes, columns): (_, _, Vec<String>)| {
        (id, RowChange { changes: masked_changes(target, changes), columns: columns.into_iter().collect() })
    };
    Ok(changes.into_iter().map(changed).collect())
}

/// Changes without what their old values tell from before there were rules.
fn masked_changes(target: Target<'_>, changes: String) -> String {
    #[derive(Serialize, Deserialize)]
    struct ColumnChange {
        old: Box<RawValue>,
        new: Box<RawValue>,
    }
    if target.rules.is_none() {
        return changes;
    }
    let without_old_value = |column: &str, mut change: ColumnChange| {
        let old = serde_json::from_str(change.old.get())?;
        change.old = to_raw_value(&masked_old_value(target, column, old))?;
        Ok(change)
    };
    let kept = serde_json::from_str::<BTreeMap<String, ColumnChange>>(&changes).and_then(|changes| {
        let kept = changes.into_iter().map(|(column, change)| Ok((column.clone(), without_old_value(&column, change)?)));
        serde_json::to_string(&kept.collect::<Result<BTreeMap<_, _>, serde_json::Error>>()?)
    });
    // What cannot be read may hold anything.
    kept.unwrap_or_else(|_| "{}".to_owned())
}

/// An old value of a column, which may be from before there was a rule for it.
pub fn masked_old_value(target: Target<'_>, column: &str, old: Value) -> Value {
    let Some(rules) = target.rules else { return old };
    match (column, old) {
        ("_misfits", Value::Object(misfits)) => {
            misfits.into_iter().map(|(column, old)| (column.clone(), masked_old_value(target, &column, old))).collect()
        }
        ("_overflow", Value::Object(overflow)) => {
            let kept = |origin, name: String, old| (name.clone(), rules.mask_stored(origin, &name, old));
            let custom =
                |fields: Map<String, Value>| fields.into_iter().map(|(name, old)| kept(Origin::Custom, name, old)).collect();
            let fields = overflow.into_iter().map(|(name, old)| match old {
                Value::Object(fields) if name == "custom" => (name, custom(fields)),
                old => kept(Origin::Property, name, old),
            });
            fields.collect()
        }
        (_, Value::Null) => Value::Null,
        (column, old) => match target.columns.named(column) {
            Some(column) => rules.mask_stored(column.origin, &column.planhat_name, old),
            None => Value::from(REDACTED),
        },
    }
}

/// Reads off records what their actions say besides.
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
            // A time that this change has not moved is that of an earlier one.
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
    /// `references` are those of the row, by property.
    pub(crate) fn deleted(target: Target<'_>, record_id: &str, references: &Map<String, Value>) -> Action {
        // The row may be from before there were rules.
        let kept = |name: &str, value: &Value| match target.rules {
            Some(rules) => rules.mask_stored(Origin::Property, name, value.clone()),
            None => value.clone(),
        };
        let the_one = |names: &[&str]| names.iter().find_map(|name| reference(&kept(name, references.get(*name)?)));
        Action {
            kind: ActionKind::Deleted,
            record_id: record_id.to_owned(),
            company_id: the_one(target.object.company),
            end_user_id: the_one(target.object.end_user),
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

/// Writes actions and tells who listens, at commit. It should come shortly before that: whoever else has actions to
/// write waits.
pub(crate) async fn write_actions(db: &mut PgConnection, target: Target<'_>, actions: &[Action]) -> Result<(), StoreError> {
    if target.action_policy == ActionPolicy::None || actions.is_empty() {
        return Ok(());
    }
    lock_action_ids(&mut *db, target.schema).await?;
    let text = |of: fn(&Action) -> Option<&str>| actions.iter().map(of).collect::<Vec<_>>();
    let sql = Sql::new("with noted as (insert into ").table(target.schema, TABLE).text(
        " (action, kind, object, record_id, company_id, end_user_id, happened_at, seen_at, run_id, changes)
         select $3, kind, $2, record_id, company_id, end_user_id, coalesce(happened_at, statement_timestamp()),
             statement_timestamp(), $4, changes::jsonb
         from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::text[]) with ordinality
             as new (kind, record_id, company_id, end_user_id, happened_at, changes, position)
         order by position returning id)
         select pg_notify($11, json_build_object('schema', $1::text, 'object', $2::text, 'count', count(*),
             'last_id', max(id))::text) from noted",
    );
    query(sql.safe())
        .bind(target.schema)
        .bind(target.object.name)
        .bind(target.object.action)
        .bind(target.run_id)
        .bind(text(|action| Some(action.kind.as_str())))
        .bind(text(|action| Some(&action.record_id)))
        .bind(text(|action| action.company_id.as_deref()))
        .bind(text(|action| action.end_user_id.as_deref()))
        .bind(actions.iter().map(|action| action.happened_at).collect::<Vec<_>>())
        .bind(text(|action| action.changes.as_deref()))
        .bind(CHANNEL)
        .execute(db)
        .await
        .map_err(could_not("write actions"))?;
    Ok(())
}

/// Until the end of the transaction nobody else gives out ids of actions. What others may have read must not be forgotten
/// and its ids be given out again, so this transaction does wait for the disk.
async fn lock_action_ids(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    query(
        "select pg_advisory_xact_lock(hashtextextended($1 || '.actions', 0)), set_config('synchronous_commit',
             case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end, true)",
    )
        .bind(schema)
        .execute(db)
        .await
        .map_err(could_not("wait for the actions of another object"))?;
    Ok(())
}

const COLUMNS: [(&str, &str); 11] = [
    ("id", "grows in the order in which actions are committed: nothing comes later with a smaller one"),
    ("action", "the name people know it by, as in Company Updated"),
    ("kind", "created: first seen; updated: something in it changed; deleted: gone at Planhat; restored: back again"),
    ("object", "the table of the record, as in companies"),
    ("record_id", "planhat__id of the record"),
    ("company_id", "planhat__id of its company, if it has exactly one"),
    ("end_user_id", "planhat__id of its end user, if it has exactly one"),
    ("happened_at", "when it happened at Planhat; where Planhat does not tell (computed values, deletions), the same as seen_at"),
    ("seen_at", "when it was stored"),
    ("run_id", "the run that saw it, see planhat_sync.runs"),
    ("changes", "what changed: column to old and new value; null for records created or deleted"),
];

/// Makes the table of actions unless it is there.
pub async fn create_actions_table(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    if actions_table_exists(&mut *db, schema).await? {
        return Ok(());
    }
    lock_action_ids(&mut *db, schema).await?;
    // Somebody else may have made it meanwhile.
    if actions_table_exists(&mut *db, schema).await? {
        return Ok(());
    }
    sqlx::raw_sql(table_as_sql(schema).safe()).execute(&mut *db).await.map_err(could_not("create the table of actions"))?;
    // Where there was one before, its readers know how far they have read.
    query(
        "select setval(pg_get_serial_sequence(format('%I.%I', $1, $2), 'id'), max(last_action_id), true)
         from planhat_sync.consumers where workspace = $1 having max(last_action_id) > 0",
    )
    .bind(schema)
    .bind(TABLE)
    .execute(db)
    .await
    .map_err(could_not("go on with the ids of actions"))?;
    Ok(())
}

/// Whether the table of actions is there; an error if it is somebody else's.
pub(crate) async fn actions_table_exists(db: &mut PgConnection, schema: &str) -> Result<bool, StoreError> {
    let found: Option<(bool, Vec<String>)> = query_as(
        "select relkind in ('r', 'p'), array(select attname::text from pg_attribute
                where attrelid = pg_class.oid and attnum > 0 and not attisdropped)
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = $1 and relname = $2",
    )
    .bind(schema)
    .bind(TABLE)
    .fetch_optional(db)
    .await
    .map_err(could_not("look for a table"))?;
    match found {
        None => Ok(false),
        Some((true, columns)) if COLUMNS.iter().all(|(column, _)| columns.iter().any(|there| there == column)) => Ok(true),
        Some(_) => Err(StoreError::NameTaken { relation: format!("{schema}.{TABLE}") }),
    }
}

/// The statements that make the table of actions.
pub fn actions_sql(schema: &str) -> String {
    table_as_sql(schema).to_string()
}

fn table_as_sql(schema: &str) -> Sql {
    let mut sql = Sql::new("create table ").table(schema, TABLE).text(
        " (
    id bigint generated always as identity primary key,
    action text not null,
    kind text not null check (kind in ('created', 'updated', 'deleted', 'restored')),
    object text not null,
    record_id text not null,
    company_id text,
    end_user_id text,
    happened_at timestamptz not null,
    seen_at timestamptz not null default now(),
    run_id bigint not null,
    changes jsonb)",
    );
    for columns in
        [" (company_id, happened_at desc, id desc)", " (happened_at, id)", " (object, record_id, id)", " (seen_at, id)"]
    {
        sql = sql.text(";\ncreate index on ").table(schema, TABLE).text(columns);
    }
    let about = "What happened, one row per change that was stored, kept by planhat-sync. See also the view timeline.";
    sql = sql.text(";\ncomment on table ").table(schema, TABLE).text(" is ").literal(about);
    for (column, meaning) in COLUMNS {
        sql = sql.text(";\ncomment on column ").table(schema, TABLE).text(".").name(column).text(" is ").literal(meaning);
    }
    sql
}

/// Forgets some of the actions that were seen longer ago than this, the oldest first. Returns how many.
pub async fn delete_old_actions(db: &mut PgConnection, schema: &str, keep: Duration) -> Result<u64, StoreError> {
    /// So that no transaction is long.
    const PORTION: i64 = 10_000;
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(0);
    }
    let sql = Sql::new("delete from ")
        .table(schema, TABLE)
        .text(" where id in (select id from ")
        .table(schema, TABLE)
        .text(" where seen_at < now() - make_interval(secs => $1) order by seen_at, id limit $2)");
    let forgotten = query(sql.safe()).bind(keep.as_secs_f64()).bind(PORTION).execute(db).await;
    Ok(forgotten.map_err(could_not("forget old actions"))?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog;
    use serde_json::json;

    #[test]
    fn a_reference_is_the_one_id_that_is_named() {
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
    fn an_id_tells_when_it_was_made() {
        let check = |id: &str, expected: Option<&str>| {
            assert_eq!(time_of_id(id).map(|at| at.to_rfc3339()).as_deref(), expected, "{id}");
        };
        check("64b000000000000000000001", Some("2023-07-13T13:45:36+00:00"));
        check("000000000000000000000001", None);
        check("ffffffffffffffffffffffff", None);
        check("64b0000000000000000000zz", None);
        check("64b0", None);
    }

    #[test]
    fn no_object_is_called_as_the_timeline_is() {
        assert!(!catalog::OBJECTS.iter().any(|object| [TABLE, "timeline"].contains(&object.name)));
    }
}
