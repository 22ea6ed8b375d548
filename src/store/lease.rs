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
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// A lease without a heartbeat for this long may be taken over.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// A process that wants a lease.
#[derive(Debug, Clone)]
pub struct Holder {
    /// For the person who finds the lease taken.
    pub name: String,
    /// Which process that is, for another one on the same machine.
    pub process: String,
}

/// Whose lease may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayTake {
    /// The lease of a run without a heartbeat.
    FromTheSilent,
    /// That run's too: its process is known to be dead.
    FromTheDead(i64),
    /// Anybody's: no other process can be using this database.
    FromAnybody,
}

/// Who is at work.
#[derive(Debug, Clone, FromRow)]
pub struct Held {
    pub run_id: i64,
    pub command: String,
    pub holder: String,
    pub process: String,
    pub taken_at: DateTime<Utc>,
    pub heartbeat_at: DateTime<Utc>,
}

/// Starts a run and takes the lease for it; `Err(held)` inside when another run has it.
///
/// Call it in a transaction of its own and commit only when the lease is taken.
pub async fn take_lease(
    db: &mut PgConnection,
    workspace: &str,
    command: &str,
    holder: &Holder,
    may: MayTake,
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
        "insert into planhat_sync.leases as old (workspace, run_id, holder, process) values ($1, $2, $3, $4)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, process = excluded.process, taken_at = now(),
             heartbeat_at = now(), wanted_at = null
         where $5 or old.run_id = $6 or old.heartbeat_at < now() - make_interval(secs => $7)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(may == MayTake::FromAnybody)
    .bind(if let MayTake::FromTheDead(run_id) = may { Some(run_id) } else { None })
    .bind(STALE_AFTER.as_secs_f64())
    .execute(&mut *db)
    .await
    .map_err(could_not("take the lease"))?;
    if taken.rows_affected() == 0 {
        return holder_of(db, workspace).await.map(Err);
    }
    mark_interrupted(db, workspace, run_id).await?;
    Ok(Ok(run_id))
}

/// Runs that seem to be at work beside the one that holds the lease have died.
async fn mark_interrupted(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), Error> {
    query(
        "update planhat_sync.runs set status = 'interrupted', finished_at = now(), error = 'its process ended without a word'
         where workspace = $1 and status = 'running' and id <> $2",
    )
    .bind(workspace)
    .bind(run_id)
    .execute(db)
    .await
    .map_err(could_not("mark an interrupted run"))?;
    Ok(())
}

async fn holder_of(db: &mut PgConnection, workspace: &str) -> Result<Held, Error> {
    query_as(
        "select run_id, command, holder, process, taken_at, heartbeat_at
         from planhat_sync.leases join planhat_sync.runs on runs.id = run_id where leases.workspace = $1",
    )
    .bind(workspace)
    .fetch_one(db)
    .await
    .map_err(could_not("see who holds the lease"))
}

/// A lease as its holder finds it.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct Lease {
    /// Another run has asked for it.
    pub is_wanted: bool,
}

/// Says that the run is alive. None when the lease is no longer its own.
pub async fn beat(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<Option<Lease>, Error> {
    query_as(
        "update planhat_sync.leases set heartbeat_at = now() where workspace = $1 and run_id = $2
         returning wanted_at is not null as is_wanted",
    )
    .bind(workspace)
    .bind(run_id)
    .fetch_optional(db)
    .await
    .map_err(could_not("keep the lease"))
}

/// Beats, and fails if the lease is lost, so that what follows in the transaction is not done.
pub async fn keep_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), Error> {
    beat(db, workspace, run_id).await?.map(|_| ()).ok_or(Error::LeaseLost { run_id })
}

/// Asks a run for its lease. False when there is nothing to wait for: it is free, or another run's.
pub async fn ask_for_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<bool, Error> {
    let asked = query(
        "update planhat_sync.leases set wanted_at = now()
         where workspace = $1 and run_id = $2 and heartbeat_at >= now() - make_interval(secs => $3)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(STALE_AFTER.as_secs_f64())
    .execute(db)
    .await
    .map_err(could_not("ask for the lease"))?;
    Ok(asked.rows_affected() == 1)
}

/// Leaves the lease to whoever takes it, and the run as it is should nobody give it back: interrupted, but not
/// finished. False when it was lost before.
pub async fn free_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<bool, Error> {
    query(
        "update planhat_sync.runs set status = 'interrupted', error = 'made way for another run; goes on when that has ended'
         where id = $1 and status = 'running'",
    )
    .bind(run_id)
    .execute(&mut *db)
    .await
    .map_err(could_not("note that a run makes way"))?;
    let freed = query("update planhat_sync.leases set heartbeat_at = to_timestamp(0) where workspace = $1 and run_id = $2")
        .bind(workspace)
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("free the lease"))?;
    Ok(freed.rows_affected() == 1)
}

/// Takes the lease back for a run that made way. False while another run has it; or while nobody has
/// taken it yet, unless that is no longer waited for.
pub async fn take_lease_back(
    db: &mut PgConnection,
    workspace: &str,
    run_id: i64,
    holder: &Holder,
    untaken: bool,
) -> Result<bool, Error> {
    let taken = query(
        "insert into planhat_sync.leases as old (workspace, run_id, holder, process) values ($1, $2, $3, $4)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, process = excluded.process, taken_at = now(),
             heartbeat_at = now(), wanted_at = null
         where ($5 or old.run_id <> $2) and old.heartbeat_at < now() - make_interval(secs => $6)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(untaken)
    .bind(STALE_AFTER.as_secs_f64())
    .execute(&mut *db)
    .await
    .map_err(could_not("take the lease back"))?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    query("update planhat_sync.runs set status = 'running', finished_at = null, error = null where id = $1")
        .bind(run_id)
        .execute(&mut *db)
        .await
        .map_err(could_not("note that a run goes on"))?;
    mark_interrupted(db, workspace, run_id).await?;
    Ok(true)
}

pub(super) async fn release(db: &mut PgConnection, run_id: i64) -> Result<(), Error> {
    query("delete from planhat_sync.leases where run_id = $1")
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("release the lease"))?;
    Ok(())
}

/// The daemon that looks after a workspace.
#[derive(Debug, Clone, FromRow)]
pub struct Post {
    pub holder: String,
    pub process: String,
    pub up_since: DateTime<Utc>,
}

/// Makes this the daemon of the workspace; `Err(post)` inside when another one is, unless that is silent, or
/// the process that is known to be `dead`.
pub async fn take_post(
    db: &mut PgConnection,
    workspace: &str,
    holder: &Holder,
    dead: Option<&str>,
) -> Result<Result<(), Post>, Error> {
    let taken = query(
        "insert into planhat_sync.daemons as old (workspace, holder, process) values ($1, $2, $3)
         on conflict (workspace) do update
         set holder = excluded.holder, process = excluded.process, up_since = now(), heartbeat_at = now()
         where old.process in ($3, $4) or old.heartbeat_at < now() - make_interval(secs => $5)",
    )
    .bind(workspace)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(dead)
    .bind(STALE_AFTER.as_secs_f64())
    .execute(&mut *db)
    .await
    .map_err(could_not("become the daemon of a workspace"))?;
    if taken.rows_affected() == 1 {
        return Ok(Ok(()));
    }
    query_as("select holder, process, up_since from planhat_sync.daemons where workspace = $1")
        .bind(workspace)
        .fetch_one(db)
        .await
        .map(Err)
        .map_err(could_not("see which daemon looks after a workspace"))
}

/// Says that the daemon is there. False when another one has taken its place.
pub async fn keep_post(db: &mut PgConnection, workspace: &str, holder: &Holder) -> Result<bool, Error> {
    let kept = query("update planhat_sync.daemons set heartbeat_at = now() where workspace = $1 and process = $2")
        .bind(workspace)
        .bind(&holder.process)
        .execute(db)
        .await
        .map_err(could_not("keep the place of the daemon"))?;
    Ok(kept.rows_affected() == 1)
}

pub async fn leave_post(db: &mut PgConnection, workspace: &str, holder: &Holder) -> Result<(), Error> {
    query("delete from planhat_sync.daemons where workspace = $1 and process = $2")
        .bind(workspace)
        .bind(&holder.process)
        .execute(db)
        .await
        .map_err(could_not("leave the place of the daemon"))?;
    Ok(())
}
