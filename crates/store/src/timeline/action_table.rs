//! The table of actions: how it is made, indexed, written, and cut at its end.
//!
//! A new table gets most of its indexes at the end of the first run, which is a load: made at once from all actions they cost a third of
//! what it costs to put every action into each of them, and a load that outgrows the server's cache stays as fast as it was. The one of
//! records is there from the start, since it may refuse an id, which has to be known while its record can still go to quarantine.
//!
//! Ids are given out one transaction at a time, the last thing before it commits: who reads everything behind an id
//! has not missed what another transaction was still writing.

use std::time::Duration;

use planhat_model::catalog::Object;
use sqlx::PgConnection;

use super::action_builder::{Action, ActionPolicy};
use crate::data::upsert::Target;
use crate::sql::{Sql, query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not, could_not_define};

/// The table in the data schema.
pub(crate) const TABLE: &str = "actions";
/// The channel of LISTEN and NOTIFY.
pub(super) const CHANNEL: &str = "planhat_actions";

/// Writes actions in their order, and notifies listeners at commit. It should come shortly before the commit, because other transactions
/// with actions wait for it.
pub(crate) async fn write_actions(db: &mut PgConnection, target: Target<'_>, actions: &[Action]) -> Result<(), StoreError> {
    if target.action_policy == ActionPolicy::None || actions.is_empty() {
        return Ok(());
    }
    lock_action_ids(&mut *db, target.schema).await?;
    let text = |of: fn(&Action) -> Option<&str>| actions.iter().map(of).collect::<Vec<_>>();
    let sql = Sql::new("with noted as (insert into ").table(target.schema, TABLE).text(
        " (action, kind, first_seen, object, record_id, company_id, end_user_id, happened_at, seen_at, run_id, changes)
         select action, kind, first_seen, $2, record_id, company_id, end_user_id, coalesce(happened_at, statement_timestamp()),
             statement_timestamp(), $4, changes::jsonb
         from (select unnest($5::text[]) as kind, unnest($6::text[]) as record_id, unnest($7::text[]) as company_id,
             unnest($8::text[]) as end_user_id, unnest($9::timestamptz[]) as happened_at, unnest($10::text[]) as changes,
             unnest($3::text[]) as action, unnest($11::boolean[]) as first_seen) as new
         returning id)
         select pg_notify($12, json_build_object('schema', $1::text, 'object', $2::text, 'count', count(*),
             'last_id', max(id))::text) from noted",
    );
    sql.query()
        .bind(target.schema)
        .bind(target.object.name)
        .bind(text(|action| Some(&action.name)))
        .bind(target.run_id)
        .bind(text(|action| Some(action.kind.as_str())))
        .bind(text(|action| Some(&action.record_id)))
        .bind(text(|action| action.company_id.as_deref()))
        .bind(text(|action| action.end_user_id.as_deref()))
        .bind(actions.iter().map(|action| action.happened_at).collect::<Vec<_>>())
        .bind(text(|action| action.changes.as_deref()))
        .bind(actions.iter().map(|action| action.first_seen).collect::<Vec<_>>())
        .bind(CHANNEL)
        .execute(db)
        .await
        .map_err(could_not("write actions"))?;
    Ok(())
}

/// Until the end of the transaction no other transaction assigns action ids. A crash must not lose actions that a consumer
/// may have read and assign their ids again, so this transaction waits for the disk.
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

const COLUMNS: [(&str, &str); 12] = [
    ("id", "grows in the order in which actions are committed: nothing comes later with a smaller one"),
    ("action", "the name people know it by, as in Ticket Created; programs select by kind and object"),
    ("kind", "created: first seen; updated: something in it changed; deleted: gone at Planhat; restored: back again"),
    ("object", "the table of the record, as in companies"),
    ("record_id", "planhat__id of the record"),
    ("company_id", "planhat__id of its company, if it has exactly one"),
    ("end_user_id", "planhat__id of its end user, if it has exactly one"),
    ("happened_at", "when it happened at Planhat; where Planhat does not tell (computed values, deletions), the same as seen_at"),
    ("seen_at", "when it was stored"),
    ("run_id", "the run that saw it, see planhat_sync.runs"),
    ("changes", "what changed: column to old and new value; null for records created or deleted, and for first_seen"),
    (
        FIRST_SEEN,
        "whether it is the first action of a record that was there before; null if it is older than this column. New records: kind = 'created' and not first_seen",
    ),
];

/// The column that tables of earlier releases lack.
const FIRST_SEEN: &str = "first_seen";

/// A table of actions as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ActionsTable {
    /// Not before a release that writes it has made a run.
    pub(crate) has_first_seen: bool,
}

/// Makes the table of actions unless it is there, and gives one of an earlier release the column that it lacks.
pub async fn create_actions_table(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    if let Some(there) = actions_table(&mut *db, schema).await? {
        return add_first_seen(db, schema, there).await;
    }
    lock_action_ids(&mut *db, schema).await?;
    // Another process may have created it in the meantime.
    if let Some(there) = actions_table(&mut *db, schema).await? {
        return add_first_seen(db, schema, there).await;
    }
    table_before_its_load(schema).execute(&mut *db).await.map_err(could_not_define("create the table of actions"))?;
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

/// Gives the table of actions its other indexes, if it has none of them. Nobody can write actions meanwhile; they can be read.
pub async fn index_actions(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(());
    }
    // They are made together. If some are missing, a user has dropped them.
    let is_indexed: bool = query_scalar(
        "select exists (select from pg_index join pg_class on pg_class.oid = indrelid
                join pg_namespace on pg_namespace.oid = relnamespace join pg_attribute on attrelid = indrelid and attnum = indkey[0]
            where nspname = $1 and relname = $2 and not indisprimary and attname = any($3))",
    )
    .bind(schema)
    .bind(TABLE)
    .bind(INDEXES.map(|(first, _)| first))
    .fetch_one(&mut *db)
    .await
    .map_err(could_not("look for the indexes of actions"))?;
    if is_indexed {
        return Ok(());
    }
    for (first, others) in INDEXES {
        index(Sql::default(), schema, first, others).execute(&mut *db).await.map_err(could_not_define("index the actions"))?;
    }
    Ok(())
}

/// The first column of each index that is made behind a load, and the others. None of them can refuse an action.
const INDEXES: [(&str, &str); 3] = [("company_id", ", happened_at desc, id desc"), ("happened_at", ", id"), ("seen_at", ", id")];

fn index(sql: Sql, schema: &str, first: &'static str, others: &'static str) -> Sql {
    sql.text("create index on ").table(schema, TABLE).text(" (").text(first).text(others).text(")")
}

/// Only the catalogue of the database changes: no row is written, and in old rows the value is not known.
async fn add_first_seen(db: &mut PgConnection, schema: &str, there: ActionsTable) -> Result<(), StoreError> {
    if there.has_first_seen {
        return Ok(());
    }
    let sql = Sql::new("set local lock_timeout = '5s'; alter table ").table(schema, TABLE).text(" add column if not exists ");
    let sql = comment_on_columns(sql.name(FIRST_SEEN).text(" boolean"), schema);
    sql.execute(db).await.map_err(could_not("add a column to the table of actions"))
}

/// Whether the actions table exists; an error if it was not created by planhat-sync.
pub(crate) async fn actions_table_exists(db: &mut PgConnection, schema: &str) -> Result<bool, StoreError> {
    Ok(actions_table(db, schema).await?.is_some())
}

/// The actions table, if it exists; an error if it was not created by planhat-sync.
pub(crate) async fn actions_table(db: &mut PgConnection, schema: &str) -> Result<Option<ActionsTable>, StoreError> {
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
    let Some((is_table, columns)) = found else { return Ok(None) };
    let has = |column: &str| columns.iter().any(|there| there == column);
    let is_ours = is_table && COLUMNS.iter().all(|(column, _)| *column == FIRST_SEEN || has(column));
    match is_ours {
        true => Ok(Some(ActionsTable { has_first_seen: has(FIRST_SEEN) })),
        false => Err(StoreError::NameTaken { relation: format!("{schema}.{TABLE}") }),
    }
}

/// The statements that make the table of actions.
pub fn actions_sql(schema: &str) -> String {
    table_as_sql(schema).to_string()
}

fn table_as_sql(schema: &str) -> Sql {
    INDEXES.into_iter().fold(table_before_its_load(schema), |sql, (first, others)| index(sql.text(";\n"), schema, first, others))
}

fn table_before_its_load(schema: &str) -> Sql {
    let sql = Sql::new("create table ").table(schema, TABLE).text(
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
    changes jsonb,
    first_seen boolean)",
    );
    let sql = index(sql.text(";\n"), schema, "object", ", record_id, id");
    let about = "What happened, one row per change that was stored, kept by planhat-sync. See also the view timeline.";
    comment_on_columns(sql.text(";\ncomment on table ").table(schema, TABLE).text(" is ").literal(about), schema)
}

fn comment_on_columns(sql: Sql, schema: &str) -> Sql {
    COLUMNS.iter().fold(sql, |sql, (column, meaning)| {
        sql.text(";\ncomment on column ").table(schema, TABLE).text(".").name(column).text(" is ").literal(meaning)
    })
}

/// Removes the actions of a record. Returns how many there were.
pub(crate) async fn erase_actions(db: &mut PgConnection, schema: &str, object: &Object, id: &str) -> Result<u64, StoreError> {
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(0);
    }
    let sql = Sql::new("delete from ").table(schema, TABLE).text(" where object = $1 and record_id = $2");
    let erased = sql.query().bind(object.name).bind(id).execute(db).await.map_err(could_not("erase actions"))?;
    Ok(erased.rows_affected())
}

/// How many actions a record has, but for one that tells no more than that it is gone.
pub(crate) async fn count_actions_of(db: &mut PgConnection, schema: &str, object: &Object, id: &str) -> Result<u64, StoreError> {
    if !actions_table_exists(&mut *db, schema).await? {
        return Ok(0);
    }
    let sql = Sql::new("select count(*) from ").table(schema, TABLE).text(
        " where object = $1 and record_id = $2
             and (kind <> 'deleted' or coalesce(changes::text, company_id, end_user_id) is not null)",
    );
    let sql = sql.query_scalar().bind(object.name).bind(id);
    let actions: i64 = sql.fetch_one(db).await.map_err(could_not("look for actions"))?;
    Ok(actions.cast_unsigned())
}

/// Tells whoever follows the timeline that a record was forgotten: as a deletion, which has no values.
pub(crate) async fn write_forgotten(db: &mut PgConnection, target: Target<'_>, id: &str) -> Result<(), StoreError> {
    if !actions_table_exists(&mut *db, target.schema).await? {
        return Ok(());
    }
    write_actions(db, target, &[Action::forgotten(target.object, id)]).await
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
    let forgotten = sql.query().bind(keep.as_secs_f64()).bind(PORTION).execute(db).await;
    Ok(forgotten.map_err(could_not("forget old actions"))?.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog;

    #[test]
    fn no_object_has_the_name_of_the_timeline_table_or_view() {
        assert!(!catalog::OBJECTS.iter().any(|object| [TABLE, "timeline"].contains(&object.name)));
    }
}
