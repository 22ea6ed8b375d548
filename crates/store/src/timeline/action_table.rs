//! The table of actions: how it is made, indexed, written, and cut at its end.
//!
//! A new table gets most of its indexes at the end of the first run, which is a load: made at once from all actions they cost a third of
//! what it costs to put every action into each of them, and a load that outgrows the server's cache stays as fast as it was. The one of
//! records is there from the start, since it may refuse an id, which has to be known while its record can still go to quarantine.
//!
//! Ids come from a row of `planhat_sync.counters`, the workspace's own. A transaction adds to it how many actions it has, as one of the
//! last things before it commits, and keeps the row locked until then. So ids are given out one transaction at a time: who reads
//! everything behind an id has not missed what another transaction was still writing.
//!
//! In which order locks are taken: the row of the counter, then the table of actions.

use std::time::Duration;

use planhat_model::catalog::Object;
use sqlx::PgConnection;

use super::action_builder::{Action, ActionPolicy};
use crate::data::tables::wait_briefly;
use crate::data::upsert::Target;
use crate::sql::{Definition, Sql, query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not, could_not_define};

/// The table in the data schema.
pub(crate) const TABLE: &str = "actions";
/// The channel of LISTEN and NOTIFY.
pub(super) const CHANNEL: &str = "planhat_actions";

/// Writes actions in their order, and notifies listeners at commit. It should come shortly before the commit, because other transactions
/// with actions wait for it.
pub async fn write_actions(db: &mut PgConnection, target: Target<'_>, actions: &[Action]) -> Result<(), StoreError> {
    if target.action_policy == ActionPolicy::None || actions.is_empty() {
        return Ok(());
    }
    let last_id = take_ids(&mut *db, target, actions.len() as i64).await?;
    let text = |of: fn(&Action) -> Option<&str>| actions.iter().map(of).collect::<Vec<_>>();
    let sql = Sql::new("insert into ").table(target.schema, TABLE).text(
        " (id, action, kind, first_seen, object, record_id, company_id, end_user_id, happened_at, seen_at, run_id, changes)
         select id, action, kind, first_seen, $2, record_id, company_id, end_user_id, coalesce(happened_at, statement_timestamp()),
             statement_timestamp(), $4, changes::jsonb
         from (select unnest($5::text[]) as kind, unnest($6::text[]) as record_id, unnest($7::text[]) as company_id,
             unnest($8::text[]) as end_user_id, unnest($9::timestamptz[]) as happened_at, unnest($10::text[]) as changes,
             unnest($3::text[]) as action, unnest($11::boolean[]) as first_seen,
             generate_series($1::bigint - cardinality($3::text[]) + 1, $1::bigint) as id) as new",
    );
    sql.query()
        .bind(last_id)
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
        .execute(db)
        .await
        .map_err(could_not("write actions"))?;
    Ok(())
}

/// Takes this many ids and returns the last of them. Until the end of the transaction no other transaction gets any. A crash must not
/// lose actions that a consumer may have read and assign their ids again, so this transaction waits for the disk.
///
/// Listeners are notified from here, not by the statement that writes the actions: Citus may run that one on another node, which
/// nobody listens to.
async fn take_ids(db: &mut PgConnection, target: Target<'_>, count: i64) -> Result<i64, StoreError> {
    let take = async |db: &mut PgConnection| -> Result<Option<i64>, StoreError> {
        query_scalar(
            "update planhat_sync.counters set last_action_id = last_action_id + $2 where workspace = $1
             returning last_action_id, set_config('synchronous_commit',
                     case current_setting('synchronous_commit') when 'off' then 'on' else current_setting('synchronous_commit') end, true),
                 pg_notify($3, json_build_object('schema', $1::text, 'object', $4::text, 'count', $2::bigint,
                     'last_id', last_action_id)::text)",
        )
        .bind(target.schema)
        .bind(count)
        .bind(CHANNEL)
        .bind(target.object.name)
        .fetch_optional(db)
        .await
        .map_err(could_not("wait for the actions of another object"))
    };
    if let Some(last) = take(&mut *db).await? {
        return Ok(last);
    }
    // Somebody has removed the row since the run began.
    begin_counter(&mut *db, target.schema).await?;
    take(db).await?.ok_or_else(|| could_not("give ids to actions")(sqlx::Error::RowNotFound))
}

/// Gives the workspace its counter if it has none, and keeps the row locked until the end of the transaction. An id that was ever
/// given out is not given out again: the counter goes on behind the actions that are there, behind those that readers have seen,
/// and behind what the table itself has counted, as tables of earlier releases do.
async fn begin_counter(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    query("insert into planhat_sync.counters (workspace, last_action_id) values ($1, 0) on conflict do nothing")
        .bind(schema)
        .execute(&mut *db)
        .await
        .map_err(could_not("begin the counter of actions"))?;
    let counted: i64 = query_scalar("select last_action_id from planhat_sync.counters where workspace = $1 for update")
        .bind(schema)
        .fetch_one(&mut *db)
        .await
        .map_err(could_not("wait for the counter of actions"))?;
    let least = last_id_in_use(&mut *db, schema).await?;
    if least > counted {
        query("update planhat_sync.counters set last_action_id = $2 where workspace = $1")
            .bind(schema)
            .bind(least)
            .execute(db)
            .await
            .map_err(could_not("go on with the ids of actions"))?;
    }
    Ok(())
}

/// The greatest id that an action has, that a reader has read, or that the table has given out by itself.
async fn last_id_in_use(db: &mut PgConnection, schema: &str) -> Result<i64, StoreError> {
    let failed = || could_not("look for the last id of actions");
    let read: Option<i64> = query_scalar("select max(last_action_id) from planhat_sync.consumers where workspace = $1")
        .bind(schema)
        .fetch_one(&mut *db)
        .await
        .map_err(failed())?;
    let Some(there) = actions_table(&mut *db, schema).await? else { return Ok(read.unwrap_or(0)) };
    let written = Sql::new("select coalesce(max(id), 0) from ").table(schema, TABLE);
    let written: i64 = written.query_scalar().fetch_one(&mut *db).await.map_err(failed())?;
    let given_out: Option<i64> = if there.counts_ids {
        query_scalar("select pg_sequence_last_value(pg_get_serial_sequence(format('%I.%I', $1::text, $2::text), 'id')::regclass)")
            .bind(schema)
            .bind(TABLE)
            .fetch_one(db)
            .await
            .map_err(failed())?
    } else {
        None
    };
    Ok(written.max(read.unwrap_or(0)).max(given_out.unwrap_or(0)))
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
    /// An earlier release has made it: it gives out the ids by itself.
    counts_ids: bool,
}

/// Makes the table of actions unless it is there, and brings one of an earlier release up to date. Under the lease of a run: a run of
/// an earlier release may be at work until then, and relies on a table that counts by itself.
pub async fn create_actions_table(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    wait_briefly(&mut *db).await?;
    begin_counter(&mut *db, schema).await?;
    match actions_table(&mut *db, schema).await? {
        None => before_its_load(schema).execute(db).await.map_err(could_not_define("create the table of actions")),
        Some(there) => {
            if there.counts_ids {
                stop_counting(&mut *db, schema).await?;
            }
            add_first_seen(db, schema, there).await
        }
    }
}

/// From now on the counter gives out the ids. Only the catalogue of the database changes.
async fn stop_counting(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    let failed = || could_not_define("take over the ids of actions");
    Sql::new("lock table ").table(schema, TABLE).execute(&mut *db).await.map_err(failed())?;
    // By what the table had given out until it was locked.
    begin_counter(&mut *db, schema).await?;
    let column = || Sql::new("alter table ").table(schema, TABLE).text(" alter column id ");
    column().text("drop identity").execute(&mut *db).await.map_err(failed())?;
    // A process of an earlier release that nobody has restarted would take a missing id for a fault of its data, and put each changed
    // record into quarantine. By this default its objects fail instead, and it is named why.
    let says_why = column().text("set default current_setting('planhat_sync.is_newer_than_this_program')::bigint");
    says_why.execute(db).await.map_err(failed())
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
        index(schema, first, others).execute(&mut *db).await.map_err(could_not_define("index the actions"))?;
    }
    Ok(())
}

/// The first column of each index that is made behind a load, and the others. None of them can refuse an action.
const INDEXES: [(&str, &str); 3] = [("company_id", ", happened_at desc, id desc"), ("happened_at", ", id"), ("seen_at", ", id")];

fn index(schema: &str, first: &'static str, others: &'static str) -> Sql {
    Sql::new("create index on ").table(schema, TABLE).text(" (").text(first).text(others).text(")")
}

/// Only the catalogue of the database changes: no row is written, and in old rows the value is not known.
async fn add_first_seen(db: &mut PgConnection, schema: &str, there: ActionsTable) -> Result<(), StoreError> {
    if there.has_first_seen {
        return Ok(());
    }
    let sql = Sql::new("alter table ").table(schema, TABLE).text(" add column if not exists ").name(FIRST_SEEN).text(" boolean");
    let added = with_comments_on_columns(Definition::default().statement(sql), schema);
    added.execute(db).await.map_err(could_not("add a column to the table of actions"))
}

/// Whether the actions table exists; an error if it was not created by planhat-sync.
pub(crate) async fn actions_table_exists(db: &mut PgConnection, schema: &str) -> Result<bool, StoreError> {
    Ok(actions_table(db, schema).await?.is_some())
}

/// The actions table, if it exists; an error if it was not created by planhat-sync.
pub(crate) async fn actions_table(db: &mut PgConnection, schema: &str) -> Result<Option<ActionsTable>, StoreError> {
    let found: Option<(bool, Vec<String>, bool)> = query_as(
        "select relkind in ('r', 'p'), array(select attname::text from pg_attribute
                where attrelid = pg_class.oid and attnum > 0 and not attisdropped),
             exists (select from pg_attribute where attrelid = pg_class.oid and attname = 'id' and attidentity <> '')
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = $1 and relname = $2",
    )
    .bind(schema)
    .bind(TABLE)
    .fetch_optional(db)
    .await
    .map_err(could_not("look for a table"))?;
    let Some((is_table, columns, counts_ids)) = found else { return Ok(None) };
    let has = |column: &str| columns.iter().any(|there| there == column);
    let is_ours = is_table && COLUMNS.iter().all(|(column, _)| *column == FIRST_SEEN || has(column));
    match is_ours {
        true => Ok(Some(ActionsTable { has_first_seen: has(FIRST_SEEN), counts_ids })),
        false => Err(StoreError::NameTaken { relation: format!("{schema}.{TABLE}") }),
    }
}

/// The statements that make the table of actions.
pub fn actions_sql(schema: &str) -> String {
    let indexes = INDEXES.into_iter().map(|(first, others)| index(schema, first, others));
    indexes.fold(before_its_load(schema), Definition::statement).to_string()
}

fn before_its_load(schema: &str) -> Definition {
    let sql = Sql::new("create table ").table(schema, TABLE).text(
        " (
    id bigint primary key,
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
    let about = "What happened, one row per change that was stored, kept by planhat-sync. See also the view timeline.";
    let about = Sql::new("comment on table ").table(schema, TABLE).text(" is ").literal(about);
    let table = Definition::default().statement(sql).statement(index(schema, "object", ", record_id, id")).comment(about);
    with_comments_on_columns(table, schema)
}

fn with_comments_on_columns(table: Definition, schema: &str) -> Definition {
    COLUMNS.iter().fold(table, |table, (column, meaning)| {
        let sql = Sql::new("comment on column ").table(schema, TABLE).text(".").name(column).text(" is ").literal(meaning);
        table.comment(sql)
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
