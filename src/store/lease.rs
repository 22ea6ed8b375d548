//! One run at a time on a workspace.
//!
//! The lease is a row with a heartbeat, not a session lock, so that it works behind a connection
//! pooler. A run that stops beating (killed, machine gone) is marked interrupted by the next one.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

use super::error::{Error, could_not};
use super::sql::{query, query_as, query_scalar};

/// How often a run says that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// A lease without a heartbeat for this long may be taken over.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// Who is at work.
#[derive(Debug, Clone, FromRow)]
pub struct Held {
    pub run_id: i64,
    pub holder: String,
    pub taken_at: DateTime<Utc>,
    pub heartbeat_at: DateTime<Utc>,
}

/// Starts a run and takes the lease for it; `Err(held)` inside when another run has it.
///
/// `alone` says that no other process can be using this database, so that whoever still holds the
/// lease is dead. Call it in a transaction of its own and commit only when the lease is taken.
pub async fn take_lease(
    db: &mut PgConnection,
    workspace: &str,
    command: &str,
    holder: &str,
    alone: bool,
) -> Result<Result<i64, Held>, Error> {
    let run_id: i64 = query_scalar(
        "insert into planhat_sync.runs (workspace, command, status, version) values ($1, $2, 'running', $3) returning id",
    )
    .bind(workspace)
    .bind(command)
    .bind(env!("CARGO_PKG_VERSION"))
    .fetch_one(&mut *db)
    .await
    .map_err(could_not("start a run"))?;
    let taken = query(
        "insert into planhat_sync.leases as old (workspace, run_id, holder) values ($1, $2, $3)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, taken_at = now(), heartbeat_at = now()
         where $4 or old.heartbeat_at < now() - make_interval(secs => $5)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(holder)
    .bind(alone)
    .bind(STALE_AFTER.as_secs_f64())
    .execute(&mut *db)
    .await
    .map_err(could_not("take the lease"))?;
    if taken.rows_affected() == 0 {
        return holder_of(db, workspace).await.map(Err);
    }
    query(
        "update planhat_sync.runs set status = 'interrupted', finished_at = now(), error = 'its process ended without a word'
         where workspace = $1 and status = 'running' and id <> $2",
    )
    .bind(workspace)
    .bind(run_id)
    .execute(db)
    .await
    .map_err(could_not("mark an interrupted run"))?;
    Ok(Ok(run_id))
}

async fn holder_of(db: &mut PgConnection, workspace: &str) -> Result<Held, Error> {
    query_as("select run_id, holder, taken_at, heartbeat_at from planhat_sync.leases where workspace = $1")
        .bind(workspace)
        .fetch_one(db)
        .await
        .map_err(could_not("see who holds the lease"))
}

/// Says that the run is alive. False when the lease is no longer its own.
pub async fn beat(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<bool, Error> {
    let kept = query("update planhat_sync.leases set heartbeat_at = now() where workspace = $1 and run_id = $2")
        .bind(workspace)
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("keep the lease"))?;
    Ok(kept.rows_affected() == 1)
}

/// Beats, and fails if the lease is lost, so that what follows in the transaction is not done.
pub async fn keep_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), Error> {
    if beat(db, workspace, run_id).await? { Ok(()) } else { Err(Error::LeaseLost { run_id }) }
}

pub(super) async fn release(db: &mut PgConnection, run_id: i64) -> Result<(), Error> {
    query("delete from planhat_sync.leases where run_id = $1")
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("release the lease"))?;
    Ok(())
}
