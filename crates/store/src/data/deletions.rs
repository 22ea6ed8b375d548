//! Rows whose records were deleted at Planhat: found by the ids that a full scan did not list, and marked, never removed.
//! Only a person's word removes a row: `planhat-sync forget`.
//!
//! The listed ids are stored in the database, one row per page, together with the checkpoint of the scan. So memory use
//! does not grow with their number, and a scan that was killed resumes with all of them.

use planhat_model::catalog::Object;
use sqlx::PgConnection;

use super::diff::select_by_ids;
use super::stored_value::{RecordId, StoredProperties};
use super::tables::table_exists;
use super::upsert::Target;
use crate::sql::{Sql, query, query_scalar};
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_builder::{Action, references};
use crate::timeline::action_table::write_actions;

/// Saves ids that the full scan of an object has listed.
pub async fn save_listed_ids(db: &mut PgConnection, workspace: &str, object: &Object, ids: &[String]) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    query("insert into planhat_sync.listed_ids (workspace, object, ids) values ($1, $2, $3)")
        .bind(workspace)
        .bind(object.name)
        .bind(ids)
        .execute(db)
        .await
        .map_err(could_not("note what a scan has seen"))?;
    Ok(())
}

/// Some of the listed ids, the latest ones.
pub async fn some_listed_ids(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    count: i32,
) -> Result<Vec<String>, StoreError> {
    query_scalar(
        "select id from (select ids from planhat_sync.listed_ids where workspace = $1 and object = $2 order by id desc limit 1) last,
             unnest(ids) as id limit $3",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(count)
    .fetch_all(db)
    .await
    .map_err(could_not("read what a scan has seen"))
}

/// How many rows of a table a full scan has not listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnlistedRows {
    /// Rows that are not marked as deleted.
    pub rows: i64,
    /// Those of them that were not listed.
    pub unlisted: i64,
}

pub async fn count_unlisted(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<UnlistedRows, StoreError> {
    join_by_hash(db).await?;
    let sql = Sql::new("select count(*), count(*) filter (where seen.id is null) from ")
        .table(workspace, object.name)
        .text(JOIN_LISTED)
        .text(" where stored._deleted_at is null");
    let (rows, unlisted) = sql
        .query_as()
        .bind(workspace)
        .bind(object.name)
        .fetch_one(db)
        .await
        .map_err(could_not("compare a table with what was listed"))?;
    Ok(UnlistedRows { rows, unlisted })
}

/// The first ids of rows that were not listed.
pub async fn unlisted(db: &mut PgConnection, workspace: &str, object: &Object, count: i32) -> Result<Vec<String>, StoreError> {
    join_by_hash(db).await?;
    let sql = Sql::new("select planhat__id from ")
        .table(workspace, object.name)
        .text(JOIN_LISTED)
        .text(" where stored._deleted_at is null and seen.id is null order by planhat__id limit $3");
    let ids: Vec<RecordId> = sql
        .query_scalar()
        .bind(workspace)
        .bind(object.name)
        .bind(count)
        .fetch_all(db)
        .await
        .map_err(could_not("compare a table with what was listed"))?;
    Ok(ids.into_iter().map(|RecordId(id)| id).collect())
}

const JOIN_LISTED: &str = " as stored left join (select distinct unnest(ids) as id from planhat_sync.listed_ids
     where workspace = $1 and object = $2) seen on seen.id = stored.planhat__id";

/// The server cannot know how many ids the arrays hold, and must not try them one by one.
async fn join_by_hash(db: &mut PgConnection) -> Result<(), StoreError> {
    query("set local enable_nestloop = off").execute(db).await.map_err(could_not("choose how tables are joined"))?;
    Ok(())
}

/// Marks rows as deleted, and records an action for each. Returns how many.
pub async fn mark_deleted(db: &mut PgConnection, target: Target<'_>, ids: &[String]) -> Result<u64, StoreError> {
    // What the rows refer to is made to JSON, which Citus refuses in an update.
    let sql = references(Sql::new("select planhat__id, "), target).text(" from ").table(target.schema, target.object.name);
    let marked: Vec<(RecordId, StoredProperties)> = sql
        .text(" where planhat__id = any($1) and _deleted_at is null for update")
        .query_as()
        .bind(ids)
        .fetch_all(&mut *db)
        .await
        .map_err(could_not("mark rows as deleted"))?;
    let sql = Sql::new("update ")
        .table(target.schema, target.object.name)
        .text(" set _deleted_at = now(), _synced_at = now(), _run_id = $2 where planhat__id = any($1) and _deleted_at is null");
    sql.query().bind(ids).bind(target.run_id).execute(&mut *db).await.map_err(could_not("mark rows as deleted"))?;
    let deleted: Vec<Action> =
        marked.into_iter().map(|(RecordId(id), references)| Action::deleted(target, id, references)).collect();
    write_actions(db, target, &deleted).await?;
    Ok(deleted.len() as u64)
}

/// Removes the row of a record. Returns how many there were.
pub(crate) async fn erase_rows(db: &mut PgConnection, schema: &str, object: &Object, id: &str) -> Result<u64, StoreError> {
    if !table_exists(&mut *db, schema, object).await? {
        return Ok(0);
    }
    let sql = Sql::new("delete from ").table(schema, object.name).text(" where planhat__id = $1");
    let erased = sql.query().bind(id).execute(db).await.map_err(could_not("erase a row"))?;
    Ok(erased.rows_affected())
}

/// How many rows a record has.
pub(crate) async fn count_rows_of(db: &mut PgConnection, schema: &str, object: &Object, id: &str) -> Result<u64, StoreError> {
    if !table_exists(&mut *db, schema, object).await? {
        return Ok(0);
    }
    let sql = Sql::new("select count(*) from ").table(schema, object.name).text(" where planhat__id = $1");
    let rows: i64 = sql.query_scalar().bind(id).fetch_one(db).await.map_err(could_not("look for a row"))?;
    Ok(rows.cast_unsigned())
}

/// Which of these ids have a row, and whether it is marked as deleted.
pub async fn deletion_marks_of(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    ids: &[&str],
) -> Result<Vec<(String, bool)>, StoreError> {
    let sql = select_by_ids(schema, object, "planhat__id, _deleted_at is not null");
    let found: Vec<(RecordId, bool)> = sql.query_as().bind(ids).fetch_all(db).await.map_err(could_not("look for rows"))?;
    Ok(found.into_iter().map(|(RecordId(id), is_deleted)| (id, is_deleted)).collect())
}

/// Whether a table has rows that are not marked as deleted.
pub async fn has_live_rows(db: &mut PgConnection, schema: &str, object: &Object) -> Result<bool, StoreError> {
    let sql = Sql::new("select exists (select from ").table(schema, object.name).text(" where _deleted_at is null)");
    sql.query_scalar().fetch_one(db).await.map_err(could_not("look for rows"))
}
