//! The history of runs, as `planhat-sync runs` shows it.

use chrono::{DateTime, Utc};
use planhat_model::scan::ScanKind;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::state::leases as lease;
use crate::state::object_states::{LeftOut, save_object_state};
use crate::store_error::{StoreError, could_not};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    Succeeded,
    /// Some object failed, or a record was quarantined.
    Partial,
    Failed,
    /// Did not reach its end: stopped by a signal, ended without a result, or has yielded its lease. What is committed is kept.
    Interrupted,
}

impl RunStatus {
    pub const ALL: [RunStatus; 4] = [RunStatus::Succeeded, RunStatus::Partial, RunStatus::Failed, RunStatus::Interrupted];

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
    /// The token may not read it, and never could.
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

/// What a pull did, in records, values, pages and calls: one field per figure of `object_runs`, whose columns say what
/// each is. They are written, read and printed together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, FromRow)]
pub struct Figures {
    /// Each record once: the sum of those inserted, updated, restored, unchanged, too old, quarantined and forgotten.
    pub fetched: i64,
    pub listed_again: i64,
    pub inserted: i64,
    pub updated: i64,
    pub restored: i64,
    pub deleted: i64,
    pub unchanged: i64,
    pub outside_history: i64,
    pub misfits: i64,
    pub overflowed: i64,
    pub sanitized: i64,
    pub quarantined: i64,
    /// Records that were forgotten, and are not stored.
    pub forgotten: i64,
    pub pages: i64,
    pub calls: i64,
}

impl Figures {
    /// All that listings have shown, also what they have shown before.
    pub fn listed(&self) -> i64 {
        self.fetched + self.listed_again
    }
}

/// One object in one run: a row of `object_runs`, written and printed as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct ObjectRun {
    pub object: &'static str,
    /// None if it ended before that was known.
    pub scan: Option<ScanKind>,
    pub status: ObjectStatus,
    /// Why it was skipped, failed or is partial, or what to be warned of.
    pub reason: Option<String>,
    /// A hint: what a person can do about it.
    pub hint: Option<String>,
    /// Whether Planhat let us read it.
    #[serde(skip)]
    pub readable: bool,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    #[serde(flatten)]
    pub figures: Figures,
    /// The time of the oldest record that was taken.
    pub oldest: Option<DateTime<Utc>>,
    pub watermark: Option<DateTime<Utc>>,
    /// Records that were left out as older than the history, if it has seen all that there are. It is kept in the state of the
    /// object alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

/// Records the result of an object in a run.
pub async fn record_object_run(db: &mut PgConnection, run_id: i64, of: &ObjectRun) -> Result<(), StoreError> {
    let Figures {
        fetched,
        listed_again,
        inserted,
        updated,
        restored,
        deleted,
        unchanged,
        outside_history,
        misfits,
        overflowed,
        sanitized,
        quarantined,
        forgotten,
        pages,
        calls,
    } = of.figures;
    query(
        "insert into planhat_sync.object_runs (run_id, object, scan, status, reason, started_at, finished_at, watermark,
             fetched, inserted, updated, unchanged, outside_history, misfits, overflowed, sanitized, quarantined, pages, calls,
             restored, deleted, oldest, hint, listed_again, forgotten)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25)
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
    .bind(outside_history)
    .bind(misfits)
    .bind(overflowed)
    .bind(sanitized)
    .bind(quarantined)
    .bind(pages)
    .bind(calls)
    .bind(restored)
    .bind(deleted)
    .bind(of.oldest)
    .bind(&of.hint)
    .bind(listed_again)
    .bind(forgotten)
    .execute(db)
    .await
    .map_err(could_not("note what became of an object"))?;
    Ok(())
}

/// Records how an object stands since a run.
pub async fn record_object_state(db: &mut PgConnection, run_id: i64, of: &ObjectRun) -> Result<(), StoreError> {
    match of.scan {
        // Some single records say nothing of whether the object is synced.
        Some(ScanKind::Referenced) => Ok(()),
        _ => save_object_state(db, run_id, of).await,
    }
}

/// Why a run or an object did not succeed, and what a person can do about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub reason: Option<String>,
    pub hint: Option<String>,
}

/// Records how many requests a run has sent.
pub async fn record_calls(db: &mut PgConnection, run_id: i64, calls: i64) -> Result<(), StoreError> {
    query("update planhat_sync.runs set calls = $2 where id = $1")
        .bind(run_id)
        .bind(calls)
        .execute(db)
        .await
        .map_err(could_not("note the calls of a run"))?;
    Ok(())
}

/// Ends a run, and its lease, unless that has been done before, by itself or by a run that has taken over. Whether it has.
pub async fn end_run_unless_ended(
    db: &mut PgConnection,
    run_id: i64,
    status: RunStatus,
    why: &Explanation,
) -> Result<bool, StoreError> {
    // In the same order as a takeover of the lease, so that the two transactions cannot deadlock.
    lease::release_lease(&mut *db, run_id).await?;
    let ended = query(
        "update planhat_sync.runs set status = $2, reason = $3, hint = $4, finished_at = now()
         where id = $1 and finished_at is null",
    )
    .bind(run_id)
    .bind(status.as_str())
    .bind(&why.reason)
    .bind(&why.hint)
    .execute(db)
    .await
    .map_err(could_not("end a run"))?;
    Ok(ended.rows_affected() == 1)
}

/// Ends a run and releases its lease. A run that was marked as interrupted in the meantime stays so.
pub async fn finish_run(db: &mut PgConnection, run_id: i64, status: RunStatus, why: &Explanation) -> Result<(), StoreError> {
    if end_run_unless_ended(&mut *db, run_id, status, why).await? {
        return Ok(());
    }
    // Noted already if the answer to the same commit was lost; else it was noted by the run that has taken over.
    let is_noted: bool = query_scalar(
        "select exists (select from planhat_sync.runs where id = $1 and status = $2 and reason is not distinct from $3)",
    )
    .bind(run_id)
    .bind(status.as_str())
    .bind(&why.reason)
    .fetch_one(db)
    .await
    .map_err(could_not("see how a run ended"))?;
    if is_noted { Ok(()) } else { Err(StoreError::LeaseLost { run_id }) }
}

/// A run as it is on record.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct PastRun {
    pub id: i64,
    /// The data schema of its workspace.
    #[serde(skip)]
    pub workspace: String,
    pub command: String,
    pub status: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    /// Requests to Planhat in all.
    pub calls: Option<i64>,
    pub hint: Option<String>,
}

/// The latest runs, the last one first.
pub async fn recent_runs(db: &mut PgConnection, workspace: &str, count: i64) -> Result<Vec<PastRun>, StoreError> {
    past_runs(db, &[workspace.to_owned()], None, count).await
}

/// The latest runs of these workspaces, the last one first.
pub async fn recent_runs_of(db: &mut PgConnection, workspaces: &[String], count: i64) -> Result<Vec<PastRun>, StoreError> {
    past_runs(db, workspaces, None, count).await
}

/// One run of this workspace.
pub async fn run_of(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<Option<PastRun>, StoreError> {
    Ok(past_runs(db, &[workspace.to_owned()], Some(run_id), 1).await?.pop())
}

/// A running run whose lease is stale gets a reason that says so.
async fn past_runs(
    db: &mut PgConnection,
    workspaces: &[String],
    run_id: Option<i64>,
    count: i64,
) -> Result<Vec<PastRun>, StoreError> {
    query_as(
        "select id, workspace, command, status, started_at, finished_at, hint, calls as calls,
             case when status = 'running' and not exists (select from planhat_sync.leases
                      where leases.run_id = runs.id and renewed_at >= now() - make_interval(secs => $4))
                 then 'it has not renewed its lease: its process has probably ended; the next run will mark it as interrupted'
                 else reason end as reason
         from planhat_sync.runs
         where workspace = any($1) and ($2::bigint is null or id = $2) order by id desc limit $3",
    )
    .bind(workspaces)
    .bind(run_id)
    .bind(count)
    .bind(lease::STALE_AFTER.as_secs_f64())
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
    pub hint: Option<String>,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    #[sqlx(flatten)]
    #[serde(flatten)]
    pub figures: Figures,
    pub oldest: Option<DateTime<Utc>>,
    pub watermark: Option<DateTime<Utc>>,
}

/// What a run did, object by object in the order in which they began.
pub async fn objects_of_run(db: &mut PgConnection, run_id: i64) -> Result<Vec<PastObjectRun>, StoreError> {
    query_as(
        "select object, scan, status, reason, hint, started_at, finished_at, fetched, listed_again, inserted, updated, restored,
             deleted, unchanged, outside_history, misfits, overflowed, sanitized, quarantined, forgotten, pages, calls, oldest,
             watermark
         from planhat_sync.object_runs where run_id = $1 order by started_at, object",
    )
    .bind(run_id)
    .fetch_all(db)
    .await
    .map_err(could_not("read what a run did"))
}

/// Forgets runs that ended before `instant`, but for the last one and the last good one of each object. Returns how many.
pub async fn delete_old_runs(db: &mut PgConnection, workspace: &str, instant: DateTime<Utc>) -> Result<u64, StoreError> {
    let forgotten = query(
        "delete from planhat_sync.runs where workspace = $1 and status <> 'running' and finished_at < $2 and not exists
             (select from planhat_sync.object_states as states
              where states.workspace = $1 and runs.id in (states.run_id, states.last_success_run_id))",
    )
    .bind(workspace)
    .bind(instant)
    .execute(db)
    .await
    .map_err(could_not("forget old runs"))?;
    Ok(forgotten.rows_affected())
}
