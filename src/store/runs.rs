//! What ran, and what came of it: the figures that `status` shows.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::cursors::ScanKind;
use super::error::{Error, could_not};
use super::lease;
use super::quarantine::quarantined;
use super::sql::{query, query_as, query_scalar};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    Succeeded,
    /// Some object failed, or a record was quarantined.
    Partial,
    Failed,
    /// Stopped by a signal; everything committed is kept.
    Interrupted,
}

impl RunStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Succeeded => "succeeded",
            RunStatus::Partial => "partial",
            RunStatus::Failed => "failed",
            RunStatus::Interrupted => "interrupted",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectStatus {
    Succeeded,
    /// Records were quarantined.
    Partial,
    /// The token may not read it.
    Skipped,
    Failed,
    Interrupted,
}

impl ObjectStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ObjectStatus::Succeeded => "succeeded",
            ObjectStatus::Partial => "partial",
            ObjectStatus::Skipped => "skipped",
            ObjectStatus::Failed => "failed",
            ObjectStatus::Interrupted => "interrupted",
        }
    }
}

/// What a pull did, in records, values, pages and calls. The columns of `object_runs` say what each is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow)]
pub struct Figures {
    pub fetched: i64,
    pub inserted: i64,
    pub updated: i64,
    pub restored: i64,
    pub deleted: i64,
    pub unchanged: i64,
    pub too_old: i64,
    pub misfits: i64,
    pub overflowed: i64,
    pub mended: i64,
    pub quarantined: i64,
    pub pages: i64,
    pub calls: i64,
}

/// One object in one run.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectRun {
    pub object: &'static str,
    /// None if it ended before that was known.
    pub scan: Option<ScanKind>,
    pub status: ObjectStatus,
    /// Why it was skipped or failed, or what to be warned of.
    pub reason: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    #[serde(flatten)]
    pub figures: Figures,
    /// The time of the oldest record that was taken.
    pub oldest: Option<DateTime<Utc>>,
    pub watermark: Option<DateTime<Utc>>,
}

pub async fn record_object_run(db: &mut PgConnection, run_id: i64, of: &ObjectRun) -> Result<(), Error> {
    let Figures {
        fetched,
        inserted,
        updated,
        restored,
        deleted,
        unchanged,
        too_old,
        misfits,
        overflowed,
        mended,
        quarantined,
        pages,
        calls,
    } = of.figures;
    query(
        "insert into planhat_sync.object_runs (run_id, object, scan, status, reason, started_at, finished_at, watermark,
             fetched, inserted, updated, unchanged, too_old, misfits, overflowed, mended, quarantined, pages, calls,
             restored, deleted, oldest)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
         on conflict do nothing",
    )
    .bind(run_id)
    .bind(of.object)
    .bind(of.scan.map(ScanKind::as_str))
    .bind(of.status.as_str())
    .bind(&of.reason)
    .bind(of.started_at)
    .bind(of.finished_at)
    .bind(of.watermark)
    .bind(fetched)
    .bind(inserted)
    .bind(updated)
    .bind(unchanged)
    .bind(too_old)
    .bind(misfits)
    .bind(overflowed)
    .bind(mended)
    .bind(quarantined)
    .bind(pages)
    .bind(calls)
    .bind(restored)
    .bind(deleted)
    .bind(of.oldest)
    .execute(db)
    .await
    .map_err(could_not("note what became of an object"))?;
    Ok(())
}

/// Notes how many requests a run has sent.
pub async fn note_calls(db: &mut PgConnection, run_id: i64, calls: i64) -> Result<(), Error> {
    query("update planhat_sync.runs set api_calls = $2 where id = $1")
        .bind(run_id)
        .bind(calls)
        .execute(db)
        .await
        .map_err(could_not("note the calls of a run"))?;
    Ok(())
}

/// Ends a run and releases its lease. One that was taken for dead meanwhile stays so.
pub async fn finish_run(db: &mut PgConnection, run_id: i64, status: RunStatus, error: Option<&str>) -> Result<(), Error> {
    // In the order of whoever takes a lease over, so that neither waits for the other.
    lease::release(&mut *db, run_id).await?;
    query("update planhat_sync.runs set status = $2, error = $3, finished_at = now() where id = $1 and finished_at is null")
        .bind(run_id)
        .bind(status.as_str())
        .bind(error)
        .execute(db)
        .await
        .map_err(could_not("end a run"))?;
    Ok(())
}

/// A run as it is on record.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct PastRun {
    pub id: i64,
    pub command: String,
    pub status: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<String>,
    /// Requests to Planhat in all.
    pub calls: Option<i64>,
}

/// The latest runs, the last one first.
pub async fn recent_runs(db: &mut PgConnection, workspace: &str, count: i64) -> Result<Vec<PastRun>, Error> {
    query_as(
        "select id, command, status, started_at, finished_at, error, api_calls as calls from planhat_sync.runs
         where workspace = $1 order by id desc limit $2",
    )
    .bind(workspace)
    .bind(count)
    .fetch_all(db)
    .await
    .map_err(could_not("read the latest runs"))
}

/// One object in one run, as it is on record.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct PastObjectRun {
    pub object: String,
    pub scan: Option<String>,
    pub status: String,
    pub reason: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub figures: Figures,
    pub oldest: Option<DateTime<Utc>>,
    pub watermark: Option<DateTime<Utc>>,
}

/// What a run did, object by object in the order in which they began.
pub async fn objects_of_run(db: &mut PgConnection, run_id: i64) -> Result<Vec<PastObjectRun>, Error> {
    query_as(
        "select object, scan, status, reason, started_at, finished_at, fetched, inserted, updated, restored, deleted, unchanged,
             too_old, misfits, overflowed, mended, quarantined, pages, calls, oldest, watermark
         from planhat_sync.object_runs where run_id = $1 order by started_at, object",
    )
    .bind(run_id)
    .fetch_all(db)
    .await
    .map_err(could_not("read what a run did"))
}

/// One run of this workspace.
pub async fn run_of(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<Option<PastRun>, Error> {
    query_as(
        "select id, command, status, started_at, finished_at, error, api_calls as calls from planhat_sync.runs where workspace = $1 and id = $2",
    )
        .bind(workspace)
        .bind(run_id)
        .fetch_optional(db)
        .await
        .map_err(could_not("read a run"))
}

/// When the last run of that command began that was good, at least in part.
pub async fn last_good_start(db: &mut PgConnection, workspace: &str, command: &str) -> Result<Option<DateTime<Utc>>, Error> {
    query_scalar(
        "select max(started_at) from planhat_sync.runs
         where workspace = $1 and command = $2 and status in ('succeeded', 'partial')",
    )
    .bind(workspace)
    .bind(command)
    .fetch_one(db)
    .await
    .map_err(could_not("read when the last run was"))
}

/// Forgets runs that ended before `instant`, but for the last good one of each object. Returns how many.
pub async fn forget_runs(db: &mut PgConnection, workspace: &str, instant: DateTime<Utc>) -> Result<u64, Error> {
    let forgotten = query(
        "delete from planhat_sync.runs where workspace = $1 and status <> 'running' and finished_at < $2 and id not in
             (select max(run_id) from planhat_sync.object_runs join planhat_sync.runs as of on of.id = run_id
              where of.workspace = $1 and object_runs.status in ('succeeded', 'partial') group by object)",
    )
    .bind(workspace)
    .bind(instant)
    .execute(db)
    .await
    .map_err(could_not("forget old runs"))?;
    Ok(forgotten.rows_affected())
}

/// How a workspace stands.
#[derive(Debug, Default, Serialize)]
pub struct Overview {
    pub latest_run: Option<PastRun>,
    pub objects: Vec<ObjectState>,
    /// Records in quarantine, by object.
    pub quarantine: BTreeMap<String, i64>,
}

pub async fn overview(db: &mut PgConnection, workspace: &str) -> Result<Overview, Error> {
    Ok(Overview {
        latest_run: recent_runs(db, workspace, 1).await?.pop(),
        objects: object_states(db, workspace).await?,
        quarantine: quarantined(db, workspace).await?.into_iter().collect(),
    })
}

/// Where an object stands: what its latest run did, and how complete it is.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct ObjectState {
    pub object: String,
    pub status: String,
    pub reason: Option<String>,
    pub finished_at: DateTime<Utc>,
    pub seconds: f64,
    pub last_success_at: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub figures: Figures,
    pub watermark: Option<DateTime<Utc>>,
    /// When everything was last compared, and what is gone found out.
    pub reconciled_at: Option<DateTime<Utc>>,
    /// A historical load has begun and is not complete.
    pub load_unfinished: bool,
}

/// One state per object that ever ran, by name.
async fn object_states(db: &mut PgConnection, workspace: &str) -> Result<Vec<ObjectState>, Error> {
    query_as(
        "select distinct on (of.object) of.*, extract(epoch from of.finished_at - of.started_at)::float8 as seconds,
             cursors.watermark, cursors.reconciled_at,
             (select max(good.finished_at) from planhat_sync.object_runs good join planhat_sync.runs on runs.id = good.run_id
              where runs.workspace = $1 and good.object = of.object and good.status in ('succeeded', 'partial')) as last_success_at,
             exists (select from planhat_sync.scans
                     where scans.workspace = $1 and scans.object = of.object and scans.scan in ('history', 'backfill'))
                 as load_unfinished
         from (select object_runs.run_id, object_runs.object, object_runs.status, reason, object_runs.started_at,
                   object_runs.finished_at, fetched, inserted, updated, restored, deleted, unchanged, too_old, misfits, overflowed, mended,
                   quarantined, pages, calls
               from planhat_sync.object_runs join planhat_sync.runs on runs.id = object_runs.run_id
               where runs.workspace = $1) as of
             left join planhat_sync.cursors on cursors.workspace = $1 and cursors.object = of.object
         order by of.object, of.run_id desc",
    )
    .bind(workspace)
    .fetch_all(db)
    .await
    .map_err(could_not("read the state of the objects"))
}
