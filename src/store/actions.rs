//! The timeline as it is written: one action per stored change, in the transaction that stores it.
//!
//! An action says what became of a record (created, updated, deleted, restored), when that happened at Planhat as far
//! as its record tells, and for what changed in it the old and the new value of each column. Folded over the first
//! version of a row, the actions of its record give the row as it is.
//!
//! Ids are given out one transaction at a time, the last thing before it commits: who reads everything behind an id
//! has not missed what another transaction was still writing.

use std::time::Duration;

use sqlx::PgConnection;

use super::error::{Error, could_not};
use super::sql::{Sql, query, query_as};

/// The table in the data schema.
pub(super) const TABLE: &str = "actions";

/// How the timeline is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeline {
    pub on: bool,
    /// Whether what a load brings is noted as created.
    pub initial: bool,
    /// How long an action is kept; zero for ever.
    pub keep: Duration,
}

impl Default for Timeline {
    fn default() -> Timeline {
        Timeline { on: true, initial: true, keep: Duration::ZERO }
    }
}

/// Until the end of the transaction nobody else gives out ids of actions.
async fn lock(db: &mut PgConnection, schema: &str) -> Result<(), Error> {
    query("select pg_advisory_xact_lock(hashtextextended($1 || '.actions', 0))")
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
pub async fn make_actions(db: &mut PgConnection, schema: &str) -> Result<(), Error> {
    if is_there(&mut *db, schema).await? {
        return Ok(());
    }
    lock(&mut *db, schema).await?;
    // Somebody else may have made it meanwhile.
    if is_there(&mut *db, schema).await? {
        return Ok(());
    }
    sqlx::raw_sql(table_as_sql(schema).safe()).execute(&mut *db).await.map_err(could_not("create the table of actions"))?;
    // Where there was one before, its readers know how far they have read.
    query(
        "select setval(pg_get_serial_sequence(format('%I.%I', $1, $2), 'id'), max(last_id), true)
         from planhat_sync.consumers where workspace = $1 having max(last_id) > 0",
    )
    .bind(schema)
    .bind(TABLE)
    .execute(db)
    .await
    .map_err(could_not("go on with the ids of actions"))?;
    Ok(())
}

/// Whether the table of actions is there; an error if it is somebody else's.
pub(super) async fn is_there(db: &mut PgConnection, schema: &str) -> Result<bool, Error> {
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
        Some(_) => Err(Error::Taken { relation: format!("{schema}.{TABLE}") }),
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
    for columns in [" (company_id, happened_at desc, id desc)", " (object, record_id, id)", " (seen_at, id)"] {
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
pub async fn forget_actions(db: &mut PgConnection, schema: &str, keep: Duration) -> Result<u64, Error> {
    /// So that no transaction is long.
    const PORTION: i64 = 10_000;
    let sql = Sql::new("delete from ")
        .table(schema, TABLE)
        .text(" where id in (select id from ")
        .table(schema, TABLE)
        .text(" where seen_at < now() - make_interval(secs => $1) order by seen_at, id limit $2)");
    let forgotten = query(sql.safe()).bind(keep.as_secs_f64()).bind(PORTION).execute(db).await;
    Ok(forgotten.map_err(could_not("forget old actions"))?.rows_affected())
}
