//! The timeline as the command line reads it: the newest actions, or those behind an id.
//!
//! An action may be from before there was a rule for a value in it, and so may the names in the tables: both are masked by
//! the current rules.

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use planhat_model::catalog::{self, ByObject, Role};
use planhat_model::flatten::Columns;
use planhat_model::rules::Rules;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::{FromRow, PgConnection};

use super::action_table::{ActionsTable, TABLE, actions_table, actions_table_exists};
use super::view::{COMPANY, END_USER, IN_WORDS, from_named, name_of, tables};
use crate::data::stored_value::{Changes, ColumnRules, Guarded, RecordId, Stored};
use crate::data::tables::load_columns;
use crate::sql::{Sql, query_scalar};
use crate::store_error::{StoreError, could_not};

/// An action as it is read: the columns of the view `timeline` that are printed. Its JSON is documented, so its fields
/// are flat.
#[derive(Debug, Clone, Serialize)]
pub struct PastAction {
    pub id: i64,
    pub happened_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
    pub action: String,
    pub kind: String,
    /// Whether it is the first action of a record that was there before; none where that was not noted.
    pub first_seen: Option<bool>,
    pub object: String,
    pub record_id: String,
    pub company_id: Option<String>,
    /// Its name as of now.
    pub company: Option<String>,
    pub end_user_id: Option<String>,
    pub end_user: Option<String>,
    pub run_id: i64,
    /// As PostgreSQL writes it, to the last digit.
    pub changes: Option<Box<RawValue>>,
    /// In words.
    pub changed: Option<String>,
}

/// Which actions are selected.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// All objects if empty.
    pub objects: Vec<String>,
    pub kinds: Vec<String>,
    /// An id.
    pub company: Option<String>,
    /// An id.
    pub end_user: Option<String>,
}

/// From when to when the stored actions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionsSpan {
    Nothing,
    /// By when they were seen.
    Some {
        oldest: DateTime<Utc>,
        newest: DateTime<Utc>,
    },
}

/// Which actions of a schema are wanted, and what of them may be shown.
#[derive(Debug, Clone, Copy)]
pub struct ActionQuery<'a> {
    pub schema: &'a str,
    pub filter: &'a ActionFilter,
    pub rules: &'a ByObject<Rules>,
}

/// The newest actions first, those of one company by when they happened.
pub async fn newest_actions(
    db: &mut PgConnection,
    wanted: ActionQuery<'_>,
    since: Option<DateTime<Utc>>,
    count: i64,
) -> Result<Vec<PastAction>, StoreError> {
    let ActionQuery { schema, filter, .. } = wanted;
    let Some(actions) = actions_table(&mut *db, schema).await? else { return Ok(Vec::new()) };
    let tables = tables(&mut *db, schema).await?;
    let sql = filtered_sql(schema, actions, &tables).text(" and ($5::timestamptz is null or action.seen_at >= $5) order by ");
    let sql = if filter.company.is_some() { sql.text("action.happened_at desc, ") } else { sql };
    let rows = sql
        .text("action.id desc limit $6")
        .query_as()
        .bind(&filter.objects)
        .bind(&filter.kinds)
        .bind(&filter.company)
        .bind(&filter.end_user)
        .bind(since)
        .bind(count)
        .fetch_all(&mut *db)
        .await
        .map_err(could_not("read the timeline"))?;
    masked(db, wanted, rows).await
}

/// The next actions of a range of ids, in the order in which they were committed.
pub async fn next_actions(
    db: &mut PgConnection,
    wanted: ActionQuery<'_>,
    ids: RangeInclusive<i64>,
    count: i64,
) -> Result<Vec<PastAction>, StoreError> {
    let ActionQuery { schema, filter, .. } = wanted;
    let Some(actions) = actions_table(&mut *db, schema).await? else { return Ok(Vec::new()) };
    let tables = tables(&mut *db, schema).await?;
    let rows = filtered_sql(schema, actions, &tables)
        .text(" and action.id between $5 and $6 order by action.id limit $7")
        .query_as()
        .bind(&filter.objects)
        .bind(&filter.kinds)
        .bind(&filter.company)
        .bind(&filter.end_user)
        .bind(ids.start())
        .bind(ids.end())
        .bind(count)
        .fetch_all(&mut *db)
        .await
        .map_err(could_not("read the timeline"))?;
    masked(db, wanted, rows).await
}

fn filtered_sql(schema: &str, actions: ActionsTable, tables: &[String]) -> Sql {
    let first_seen = if actions.has_first_seen { "action.first_seen, " } else { "null::boolean as first_seen, " };
    let sql = Sql::new("select ").text(first_seen).text(
        "action.id, action.happened_at, action.seen_at, action.action, action.kind, action.object, action.record_id,
             action.company_id, action.end_user_id, action.run_id, action.changes::text as changes, ",
    );
    let sql = name_of(sql.text(IN_WORDS).text(" as changed, "), tables, COMPANY, "planhat__name").text(" as company, ");
    let sql = name_of(sql, tables, END_USER, "planhat__name").text(" as end_user_name, ");
    let sql = name_of(sql, tables, END_USER, "planhat__email").text(" as end_user_email");
    from_named(sql, schema, tables).text(
        " where ($1::text[] = '{}' or action.object = any($1)) and ($2::text[] = '{}' or action.kind = any($2))
             and ($3::text is null or action.company_id = $3) and ($4::text is null or action.end_user_id = $4)",
    )
}

/// An action as it is stored, a field for each column of the answer. What is of its record, or of another one, is
/// [`Stored`]; everything else is ours.
#[derive(FromRow)]
struct ActionRow {
    id: i64,
    happened_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    action: String,
    kind: String,
    first_seen: Option<bool>,
    object: String,
    record_id: RecordId,
    company_id: Option<Stored<String>>,
    company: Option<Stored<String>>,
    end_user_id: Option<Stored<String>>,
    end_user_name: Option<Stored<String>>,
    end_user_email: Option<Stored<String>>,
    run_id: i64,
    changes: Option<Stored<Changes>>,
    changed: Option<Stored<String>>,
}

impl Guarded for ActionRow {}

async fn masked(db: &mut PgConnection, wanted: ActionQuery<'_>, rows: Vec<ActionRow>) -> Result<Vec<PastAction>, StoreError> {
    let mut columns: ByObject<Columns> = ByObject::new();
    for object in rows.iter().filter_map(|row| catalog::object(&row.object)) {
        if wanted.rules.contains_key(object.name) && !columns.contains_key(object.name) {
            columns.insert(object.name, load_columns(&mut *db, wanted.schema, object).await?);
        }
    }
    let no_columns = Columns::default();
    let masked = |row: ActionRow| {
        let columns = columns.get(row.object.as_str()).unwrap_or(&no_columns);
        row.masked(wanted.rules, columns)
    };
    let mut actions: Vec<PastAction> = rows.into_iter().map(masked).collect();
    put_into_words(db, &mut actions).await?;
    Ok(actions)
}

impl ActionRow {
    /// If there are rules, the words for what changed are left out: they have to be made again from the masked changes.
    fn masked(self, rules: &ByObject<Rules>, columns: &Columns) -> PastAction {
        let own = rules.get(self.object.as_str());
        let object = catalog::object(&self.object);
        let naming = |role| object.into_iter().flat_map(move |object| object.properties_naming(role));
        let masked =
            |name: Option<Stored<String>>, object: &str, property: &str| Some(name?.masked_property(rules.get(object), property));
        let end_user_name = masked(self.end_user_name, "endusers", "name").filter(|name| !name.is_empty());
        let changes = self.changes.map(|changes| changes.masked(ColumnRules { rules: own, columns }));
        PastAction {
            id: self.id,
            happened_at: self.happened_at,
            seen_at: self.seen_at,
            action: self.action,
            kind: self.kind,
            first_seen: self.first_seen,
            object: self.object,
            record_id: self.record_id.0,
            company_id: self.company_id.and_then(|id| id.masked_reference(own, naming(Role::Company))),
            company: masked(self.company, "companies", "name"),
            end_user_id: self.end_user_id.and_then(|id| id.masked_reference(own, naming(Role::EndUser))),
            end_user: end_user_name.or_else(|| masked(self.end_user_email, "endusers", "email")),
            run_id: self.run_id,
            changes: changes.and_then(|changes| RawValue::from_string(changes).ok()),
            changed: self.changed.and_then(|changed| changed.without_rules(own)),
        }
    }
}

/// Finds the words for changes that have none.
async fn put_into_words(db: &mut PgConnection, actions: &mut [PastAction]) -> Result<(), StoreError> {
    static WORDS: LazyLock<String> = LazyLock::new(|| {
        let of_each = " from unnest($1::text[]) with ordinality as new (changes, place)
             cross join lateral (select new.changes::jsonb as changes) as action order by place";
        Sql::new("select ").text(IN_WORDS).text(of_each).to_string()
    });
    let mut silent: Vec<&mut PastAction> =
        actions.iter_mut().filter(|action| action.changes.is_some() && action.changed.is_none()).collect();
    if silent.is_empty() {
        return Ok(());
    }
    let changes: Vec<&str> = silent.iter().filter_map(|action| action.changes.as_deref()).map(RawValue::get).collect();
    let words: Vec<Option<String>> =
        query_scalar(&WORDS).bind(changes).fetch_all(db).await.map_err(could_not("read the timeline"))?;
    for (action, words) in silent.iter_mut().zip(words) {
        action.changed = words;
    }
    Ok(())
}

/// From when to when the stored actions are; none where there is no table for them.
pub async fn actions_span(db: &mut PgConnection, schema: &str) -> Result<Option<ActionsSpan>, StoreError> {
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(None);
    }
    let sql = Sql::new("select min(seen_at), max(seen_at) from ").table(schema, TABLE);
    let span: (Option<DateTime<Utc>>, Option<DateTime<Utc>>) =
        sql.query_as().fetch_one(db).await.map_err(could_not("read the timeline"))?;
    Ok(Some(match span {
        (Some(oldest), Some(newest)) => ActionsSpan::Some { oldest, newest },
        _ => ActionsSpan::Nothing,
    }))
}

/// The id of the last action that was committed; 0 where there is none, none where there is no table for them.
pub async fn latest_action(db: &mut PgConnection, schema: &str) -> Result<Option<i64>, StoreError> {
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(None);
    }
    let sql = Sql::new("select coalesce(max(id), 0) from ").table(schema, TABLE);
    sql.query_scalar().fetch_one(db).await.map(Some).map_err(could_not("read the timeline"))
}

/// The id of the last action that was seen before an instant.
pub async fn last_action_before(db: &mut PgConnection, schema: &str, since: DateTime<Utc>) -> Result<i64, StoreError> {
    // What was seen later has a larger id.
    let sql = Sql::new("select coalesce((select id from ")
        .table(schema, TABLE)
        .text(" where seen_at < $1 order by seen_at desc, id desc limit 1), 0)");
    sql.query_scalar().bind(since).fetch_one(db).await.map_err(could_not("read the timeline"))
}
