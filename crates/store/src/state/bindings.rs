//! Which workspace a schema is bound to: the fingerprint of its token, its host, and stored ids by which another token can
//! prove that it belongs to the same workspace.
//!
//! Without this, the token of another workspace would write into the tables of the first, and a full scan would mark the
//! rows of the first as deleted.
//!
//! Beside it stands until when Planhat wants no calls of that token. Both times, the one that is written and the one that it is
//! compared with, are those of the database, so that the clocks of two machines need not agree.

use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use sqlx::{FromRow, PgConnection};

use crate::data::stored_value::RecordId;
use crate::sql::{Sql, query, query_as, query_scalar};
use crate::state::capabilities::forget_capabilities;
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_table::{TABLE, actions_table_exists};

/// What a schema is bound to.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Binding {
    /// The key of the fingerprint.
    pub key: String,
    /// Of the token; the token itself is nowhere in the database.
    pub fingerprint: String,
    /// Scheme, host and port.
    pub host: String,
    pub bound_at: DateTime<Utc>,
    pub proven_by: String,
}

/// Why a schema may be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing was stored.
    FirstSync,
    /// Stored records were found by their ids.
    StoredRecords,
    /// A person ran `planhat-sync adopt`.
    Adopt,
}

impl Proof {
    fn as_str(self) -> &'static str {
        match self {
            Proof::FirstSync => "first sync",
            Proof::StoredRecords => "stored records",
            Proof::Adopt => "adopt",
        }
    }
}

/// What a schema is bound to; none if it was never bound.
pub async fn binding(db: &mut PgConnection, workspace: &str) -> Result<Option<Binding>, StoreError> {
    let sql = "select key::text, fingerprint, host, bound_at, proven_by from planhat_sync.workspaces
        where workspace = $1 and fingerprint is not null";
    query_as(sql).bind(workspace).fetch_optional(db).await.map_err(could_not("read which workspace fills the schema"))
}

/// A key for a fingerprint, which nobody can guess.
pub async fn new_key(db: &mut PgConnection) -> Result<String, StoreError> {
    query_scalar("select gen_random_uuid()::text").fetch_one(db).await.map_err(could_not("make a key"))
}

/// What a schema is to be bound to.
#[derive(Debug, Clone, Copy)]
pub struct NewBinding<'a> {
    /// For a schema that has none yet.
    pub key: &'a str,
    pub fingerprint: &'a str,
    pub host: &'a str,
    pub proof: Proof,
}

/// Binds a schema; an existing key is kept. False if the binding is no longer the one that was `known`; the caller then
/// compares the current binding. What was learned of the workspace through the earlier token or host is forgotten.
pub async fn bind(
    db: &mut PgConnection,
    workspace: &str,
    known: Option<&Binding>,
    new: NewBinding<'_>,
) -> Result<bool, StoreError> {
    let bound = query(
        "insert into planhat_sync.workspaces as old (workspace, key, fingerprint, host, bound_at, proven_by)
         values ($1, $2::uuid, $3, $4, now(), $5)
         on conflict (workspace) do update
         set key = case when old.fingerprint is null then excluded.key else old.key end, fingerprint = excluded.fingerprint,
             host = excluded.host, bound_at = excluded.bound_at, proven_by = excluded.proven_by
         where old.fingerprint is not distinct from $6 and old.host is not distinct from $7",
    )
    .bind(workspace)
    .bind(new.key)
    .bind(new.fingerprint)
    .bind(new.host)
    .bind(new.proof.as_str())
    .bind(known.map(|known| &known.fingerprint))
    .bind(known.map(|known| &known.host))
    .execute(&mut *db)
    .await
    .map_err(could_not("note which workspace fills the schema"))?;
    if bound.rows_affected() == 0 {
        return Ok(false);
    }
    forget_capabilities(db, workspace).await?;
    Ok(true)
}

/// Notes that Planhat wants no calls for this long from now on.
pub async fn note_throttling(db: &mut PgConnection, workspace: &str, wait: Duration) -> Result<(), StoreError> {
    query("update planhat_sync.workspaces set throttled_until = now() + make_interval(secs => $2) where workspace = $1")
        .bind(workspace)
        .bind(wait.as_secs_f64())
        .execute(db)
        .await
        .map_err(could_not("note until when Planhat wants no calls"))?;
    Ok(())
}

/// How much longer Planhat wants no calls with the token of this workspace, as a run has noted, maybe on another workspace of the token;
/// none if it does not mind. More than a day counts as a day: an infinite time is a time too.
pub async fn throttled_for(db: &mut PgConnection, workspace: &str) -> Result<Option<Duration>, StoreError> {
    let seconds: Option<f64> = query_scalar(
        "select extract(epoch from max(least(throttled_until, now() + interval '1 day')) - now())::double precision
         from planhat_sync.workspaces where throttled_until > now() and (workspace = $1
             or token_hash = (select token_hash from planhat_sync.workspaces where workspace = $1))",
    )
    .bind(workspace)
    .fetch_one(db)
    .await
    .map_err(could_not("read until when Planhat wants no calls"))?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
}

/// Fails if the schema is no longer bound as it was, so that what follows in the transaction is not done: another run may
/// have bound it while this one had yielded its lease.
pub async fn expect_binding(db: &mut PgConnection, workspace: &str, expected: &Binding) -> Result<(), StoreError> {
    match binding(db, workspace).await? {
        Some(binding) if binding.fingerprint == expected.fingerprint && binding.host == expected.host => Ok(()),
        _ => Err(StoreError::BoundElsewhere { schema: workspace.to_owned() }),
    }
}

/// The names of the tables of objects that are there. Anything else that a user created under such a name does not count.
pub async fn tables(db: &mut PgConnection, schema: &str) -> Result<Vec<String>, StoreError> {
    query_scalar(
        // What belongs to a schema is looked up as what depends on it, for which there is an index.
        "select relname::text from pg_depend join pg_class on pg_class.oid = objid
         where refclassid = 'pg_namespace'::regclass and refobjid = (select oid from pg_namespace where nspname = $1)
             and classid = 'pg_class'::regclass and relkind in ('r', 'p') and exists (select from pg_attribute
                 where attrelid = pg_class.oid and attname = '_row_hash' and not attisdropped)",
    )
    .bind(schema)
    .fetch_all(db)
    .await
    .map_err(could_not("look for tables"))
}

/// Whether a table has any row, including rows marked as deleted.
pub async fn has_ever_had_rows(db: &mut PgConnection, schema: &str, object: &Object) -> Result<bool, StoreError> {
    has_any_row(db, schema, object.name).await
}

/// Whether the timeline has any action.
pub async fn has_actions(db: &mut PgConnection, schema: &str) -> Result<bool, StoreError> {
    match actions_table_exists(&mut *db, schema).await {
        Ok(true) => has_any_row(db, schema, TABLE).await,
        Ok(false) | Err(StoreError::NameTaken { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn has_any_row(db: &mut PgConnection, schema: &str, table: &str) -> Result<bool, StoreError> {
    let sql = Sql::new("select exists (select from ").table(schema, table).text(")");
    sql.query_scalar().fetch_one(db).await.map_err(could_not("look for rows"))
}

/// Ids of rows that are not marked as deleted: the first ones and the last ones, which an index finds. Ids grow, so these are
/// the oldest records and the newest, in an order of no meaning.
pub async fn ids_at_both_ends(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    count: i64,
) -> Result<Vec<String>, StoreError> {
    let sql = Sql::new("select planhat__id from ((select planhat__id from ")
        .table(schema, object.name)
        .text(" where _deleted_at is null order by planhat__id limit $1) union (select planhat__id from ")
        .table(schema, object.name)
        .text(" where _deleted_at is null order by planhat__id desc limit $1)) as ends order by md5(planhat__id)");
    let ids: Vec<RecordId> = sql.query_scalar().bind(count / 2).fetch_all(db).await.map_err(could_not("read some ids"))?;
    Ok(ids.into_iter().map(|RecordId(id)| id).collect())
}
