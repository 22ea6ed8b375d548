//! The state of each object: one row per object, written together with the result of a run.
//!
//! `status`, `/metrics` and the daemon read freshness from here: as many rows as there are objects, however many runs there
//! were.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use planhat_model::catalog::{ColumnType, Object};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::state::missing_references::{MissingReferences, missing_references};
use crate::state::quarantined::quarantined;
use crate::state::run_history::{Figures, ObjectRun, ObjectStatus, PastRun, recent_runs};
use crate::store_error::{StoreError, could_not};

/// The state of an object: the result of its latest run, and how complete it is. It is one object in `status --json`,
/// where the fields are flat.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct ObjectState {
    #[serde(skip)]
    pub object: String,
    pub status: String,
    pub reason: Option<String>,
    pub hint: Option<String>,
    pub finished_at: DateTime<Utc>,
    pub seconds: f64,
    pub last_success_at: Option<DateTime<Utc>>,
    pub last_readable_at: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub figures: Figures,
    pub watermark: Option<DateTime<Utc>>,
    /// When the last full scan began.
    pub reconciled_at: Option<DateTime<Utc>>,
    /// How many calls that took, if it was made in one go.
    pub full_scan_calls: Option<i64>,
    /// A historical load has begun and is not complete.
    pub load_unfinished: bool,
    pub has_table: bool,
    /// Records that Planhat lists and that are older than the history, so that they are not stored; none if no run has
    /// counted them, with the beginning of the history and the time of the count.
    pub left_out: Option<i64>,
    pub left_out_before: Option<DateTime<Utc>>,
    pub left_out_at: Option<DateTime<Utc>>,
}

/// The records that a run has seen and left out because they are older than the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub records: i64,
    /// The beginning of the history; none if no record is too old.
    pub before: Option<DateTime<Utc>>,
}

/// The state of a workspace.
#[derive(Debug, Default)]
pub struct WorkspaceOverview {
    pub latest_run: Option<PastRun>,
    /// One state per object that ever ran, by name.
    pub objects: Vec<ObjectState>,
    /// Records in quarantine, by object.
    pub quarantine: BTreeMap<String, i64>,
    /// Columns with values of another type.
    pub misfits: Vec<MisfitColumn>,
    /// Rows that refer to records that are not stored.
    pub missing_references: Vec<MissingReferences>,
}

/// A column with values that its type cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct MisfitColumn {
    pub object: String,
    pub column: String,
    pub r#type: String,
    pub since: DateTime<Utc>,
    /// The type that would hold them and the values that fit.
    pub would_fit: String,
}

pub async fn overview(db: &mut PgConnection, workspace: &str) -> Result<WorkspaceOverview, StoreError> {
    Ok(WorkspaceOverview {
        latest_run: recent_runs(&mut *db, workspace, 1).await?.pop(),
        objects: object_states(&mut *db, workspace).await?,
        quarantine: quarantined(&mut *db, workspace).await?.into_iter().collect(),
        misfits: misfit_columns(&mut *db, workspace).await?,
        missing_references: missing_references(db, workspace).await?,
    })
}

/// One state per object that ever ran, by name. Its figures are 0 where the record of its latest run was removed by hand.
pub async fn object_states(db: &mut PgConnection, workspace: &str) -> Result<Vec<ObjectState>, StoreError> {
    query_as(
        "select states.object, states.status, states.reason, states.hint, states.finished_at, states.last_success_at,
             states.last_readable_at, coalesce(extract(epoch from of.finished_at - of.started_at), 0)::float8 as seconds,
             coalesce(fetched, 0) as fetched, coalesce(listed_again, 0) as listed_again, coalesce(inserted, 0) as inserted,
             coalesce(updated, 0) as updated, coalesce(restored, 0) as restored, coalesce(deleted, 0) as deleted,
             coalesce(unchanged, 0) as unchanged, coalesce(outside_history, 0) as outside_history, coalesce(misfits, 0) as misfits,
             coalesce(overflowed, 0) as overflowed, coalesce(sanitized, 0) as sanitized, coalesce(quarantined, 0) as quarantined,
             coalesce(forgotten, 0) as forgotten, coalesce(pages, 0) as pages, coalesce(calls, 0) as calls, cursors.watermark,
             cursors.reconciled_at, cursors.full_scan_calls, states.left_out, states.left_out_before, states.left_out_at,
             exists (select from planhat_sync.scans where scans.workspace = $1 and scans.object = states.object
                     and scans.scan in ('history', 'backfill')) as load_unfinished,
             coalesce((select relkind in ('r', 'p') from pg_class where relname = states.object
                     and relnamespace = (select oid from pg_namespace where nspname = $1)), false) as has_table
         from planhat_sync.object_states as states
             left join planhat_sync.object_runs as of on of.run_id = states.run_id and of.object = states.object
             left join planhat_sync.cursors on cursors.workspace = $1 and cursors.object = states.object
         where states.workspace = $1 order by states.object",
    )
    .bind(workspace)
    .fetch_all(db)
    .await
    .map_err(could_not("read the state of the objects"))
}

/// Saves the state of an object after a run. The last success, the last time it could be read, and the records that were left out
/// are kept if this run knows nothing of them.
pub(super) async fn save_object_state(db: &mut PgConnection, run_id: i64, of: &ObjectRun) -> Result<(), StoreError> {
    let is_good = matches!(of.status, ObjectStatus::Succeeded | ObjectStatus::Partial);
    query(
        "insert into planhat_sync.object_states as old (workspace, object, run_id, status, reason, hint, finished_at,
             last_success_at, last_success_run_id, last_readable_at, left_out, left_out_before, left_out_at)
         select workspace, $2, $1, $3, $4, $5, $6, case when $7 then $6 end, case when $7 then $1 end, case when $8 then $6 end,
             $9, $10, case when $9 is not null then $6 end
         from planhat_sync.runs where id = $1
         on conflict (workspace, object) do update
         set run_id = excluded.run_id, status = excluded.status, reason = excluded.reason, hint = excluded.hint,
             finished_at = excluded.finished_at, last_success_at = coalesce(excluded.last_success_at, old.last_success_at),
             last_success_run_id = coalesce(excluded.last_success_run_id, old.last_success_run_id),
             last_readable_at = coalesce(excluded.last_readable_at, old.last_readable_at),
             left_out = coalesce(excluded.left_out, old.left_out),
             left_out_before = case when excluded.left_out is null then old.left_out_before else excluded.left_out_before end,
             left_out_at = coalesce(excluded.left_out_at, old.left_out_at)",
    )
    .bind(run_id)
    .bind(of.object)
    .bind(of.status.as_str())
    .bind(&of.reason)
    .bind(&of.hint)
    .bind(of.finished_at)
    .bind(is_good)
    .bind(of.readable)
    .bind(of.left_out.map(|left_out| left_out.records))
    .bind(of.left_out.and_then(|left_out| left_out.before))
    .execute(db)
    .await
    .map_err(could_not("note how an object stands"))?;
    Ok(())
}

/// When a run last read an object to its end.
pub async fn last_success(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<Option<DateTime<Utc>>, StoreError> {
    let last = query_scalar("select last_success_at from planhat_sync.object_states where workspace = $1 and object = $2");
    let last: Option<Option<DateTime<Utc>>> =
        last.bind(workspace).bind(object.name).fetch_optional(db).await.map_err(could_not("see when an object was last read"))?;
    Ok(last.flatten())
}

/// Records of an object that were left out have been loaded: that many fewer are left.
pub async fn subtract_from_left_out(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    loaded: i64,
) -> Result<(), StoreError> {
    query(
        "update planhat_sync.object_states set left_out = greatest(left_out - $3, 0)
         where workspace = $1 and object = $2 and left_out is not null",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(loaded)
    .execute(db)
    .await
    .map_err(could_not("count the records that are not stored"))?;
    Ok(())
}

/// When an object could last be read, as far as anything is known of it.
pub async fn last_readable(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<Option<DateTime<Utc>>, StoreError> {
    query_scalar(
        "select coalesce((select last_readable_at from planhat_sync.object_states where workspace = $1 and object = $2),
             (select updated_at from planhat_sync.cursors where workspace = $1 and object = $2))",
    )
    .bind(workspace)
    .bind(object.name)
    .fetch_one(db)
    .await
    .map_err(could_not("see when an object could last be read"))
}

/// Notes the columns in which values of another type were found, with the type that would hold them. Where a run has read
/// `all` of an object, the other columns have none any more. Returns the columns for which this is news; where there is none,
/// nothing is written.
pub async fn record_misfits(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    found: &[(&str, ColumnType)],
    all: bool,
) -> Result<Vec<String>, StoreError> {
    let columns: Vec<&str> = found.iter().map(|(column, _)| *column).collect();
    let types: Vec<&str> = found.iter().map(|(_, kind)| kind.sql()).collect();
    if all {
        query(
            "update planhat_sync.columns set misfits_since = null, misfits_type = null
             where workspace = $1 and object = $2 and misfits_since is not null and column_name <> all($3)",
        )
        .bind(workspace)
        .bind(object.name)
        .bind(&columns)
        .execute(&mut *db)
        .await
        .map_err(could_not("note which columns have misfits"))?;
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let noted: Vec<(String, bool)> = query_as(
        "update planhat_sync.columns as columns
         set misfits_since = coalesce(columns.misfits_since, now()), misfits_type = found.type
         from unnest($3::text[], $4::text[]) as found (name, type),
             planhat_sync.columns as old
         where columns.workspace = $1 and columns.object = $2 and columns.column_name = found.name
             and old.workspace = $1 and old.object = $2 and old.column_name = found.name
             and (old.misfits_since is null or old.misfits_type = 'text' and found.type = 'jsonb')
         returning columns.column_name, old.misfits_since is null",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(&columns)
    .bind(&types)
    .fetch_all(db)
    .await
    .map_err(could_not("note which columns have misfits"))?;
    Ok(noted.into_iter().filter_map(|(column, is_new)| is_new.then_some(column)).collect())
}

async fn misfit_columns(db: &mut PgConnection, workspace: &str) -> Result<Vec<MisfitColumn>, StoreError> {
    query_as(
        "select object, column_name as column, type, misfits_since as since, misfits_type as would_fit from planhat_sync.columns
         where workspace = $1 and misfits_since is not null order by object, position",
    )
    .bind(workspace)
    .fetch_all(db)
    .await
    .map_err(could_not("read which columns have misfits"))
}
