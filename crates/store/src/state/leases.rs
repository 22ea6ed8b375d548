//! Leases: one run at a time on a workspace, and on a token.
//!
//! A lease is a row that its holder renews, not a session lock, so that it works behind a connection pooler. When a run
//! stops renewing its lease (it was killed, its machine failed), the next run takes the lease over and marks the old run as
//! interrupted. The row of a run that was killed stays: by it a daemon sees that a run is unfinished.
//!
//! Planhat counts the calls of a token. So a run whose token is at work on another workspace waits for that as for a run on its own.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not};

/// How often a holder renews its lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// A lease that was not renewed for this long is stale and may be taken over.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// How the commands of all runs of daemons begin.
const DAEMON: &str = "daemon";

/// Identifies a process that acquires a lease.
#[derive(Debug, Clone)]
pub struct ProcessIdentity {
    /// For people: shown when the lease is held.
    pub name: String,
    /// Identifies the process on its machine; empty if unknown.
    pub process: String,
}

/// When a lease may be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// If it is stale.
    IfStale,
    /// Also if it is the lease of this run, whose process is known to have exited.
    IfOwnerExited(i64),
    /// Always: no other process can use this database.
    Always,
}

impl Takeover {
    fn exited_run(self) -> Option<i64> {
        match self {
            Takeover::IfOwnerExited(run_id) => Some(run_id),
            Takeover::IfStale | Takeover::Always => None,
        }
    }
}

/// Who wants the lease of a workspace, and for what.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    pub workspace: &'a str,
    /// What the run is called.
    pub command: &'a str,
    pub holder: &'a ProcessIdentity,
    pub takeover: Takeover,
    /// Of the token that it calls Planhat with, as [`token_key`] hashes it; none for a run that makes no call.
    pub token_hash: Option<&'a str>,
}

/// The run that holds the lease.
#[derive(Debug, Clone, FromRow)]
pub struct LeaseHolder {
    /// Another one than was asked for, if it shares its token.
    pub workspace: String,
    pub run_id: i64,
    pub command: String,
    pub holder: String,
    pub process: String,
    pub acquired_at: DateTime<Utc>,
    pub renewed_at: DateTime<Utc>,
}

/// Starts a run and acquires the lease for it; the inner `Err` is the holder if another run has the lease, or has the token on another
/// workspace, and then no run was started.
pub async fn acquire_lease(db: &mut PgConnection, wanted: LeaseRequest<'_>) -> Result<Result<i64, LeaseHolder>, StoreError> {
    if let Some(token_hash) = wanted.token_hash
        && let Some(held) = other_run_of_token(&mut *db, token_hash, wanted).await?
    {
        return Ok(Err(held));
    }
    loop {
        if let Some(run_id) = try_acquire_lease(&mut *db, wanted).await? {
            return Ok(Ok(run_id));
        }
        // The holder may have released it in the meantime.
        if let Some(held) = lease_holder(&mut *db, wanted.workspace).await? {
            return Ok(Err(held));
        }
    }
}

async fn try_acquire_lease(db: &mut PgConnection, wanted: LeaseRequest<'_>) -> Result<Option<i64>, StoreError> {
    let LeaseRequest { workspace, command, holder, takeover, token_hash } = wanted;
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    let run_id: i64 = query_scalar(
        // Not when the transaction began: the run before may have ended since.
        "insert into planhat_sync.runs (workspace, command, status, version, started_at)
         values ($1, $2, 'running', $3, clock_timestamp()) returning id",
    )
    .bind(workspace)
    .bind(command)
    .bind(env!("CARGO_PKG_VERSION"))
    .fetch_one(&mut *savepoint)
    .await
    .map_err(could_not("start a run"))?;
    let taken = query(
        "insert into planhat_sync.leases as old (workspace, run_id, holder, process, token_hash) values ($1, $2, $3, $4, $8)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, process = excluded.process, token_hash = excluded.token_hash,
             acquired_at = now(), renewed_at = now(), requested_at = null
         where $5 or old.run_id = $6 or old.renewed_at < now() - make_interval(secs => $7)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(takeover == Takeover::Always)
    .bind(takeover.exited_run())
    .bind(STALE_AFTER.as_secs_f64())
    .bind(token_hash)
    .execute(&mut *savepoint)
    .await
    .map_err(could_not("take the lease"))?;
    if taken.rows_affected() == 0 {
        savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
        return Ok(None);
    }
    let interrupted = mark_interrupted(&mut savepoint, workspace, run_id).await?;
    // A daemon that comes later goes on with what its run has left. A run of a person may be about something else.
    let is_of_daemon = |command: &str| command.starts_with(DAEMON);
    if interrupted.iter().any(|command| is_of_daemon(command)) && !is_of_daemon(command) {
        query("update planhat_sync.workspaces set next_run_at = least(next_run_at, now()) where workspace = $1")
            .bind(workspace)
            .execute(&mut *savepoint)
            .await
            .map_err(could_not("hand a run back to the daemons"))?;
    }
    savepoint.commit().await.map_err(could_not("release a savepoint"))?;
    Ok(Some(run_id))
}

/// The run that is at work with this token on another workspace. The row of the token is locked until the transaction has ended, so that
/// of two runs that look at the same moment the second one sees the lease of the first.
async fn other_run_of_token(
    db: &mut PgConnection,
    token_hash: &str,
    LeaseRequest { workspace, takeover, .. }: LeaseRequest<'_>,
) -> Result<Option<LeaseHolder>, StoreError> {
    query("insert into planhat_sync.tokens (token_hash) values ($1) on conflict do nothing")
        .bind(token_hash)
        .execute(&mut *db)
        .await
        .map_err(could_not("note a token"))?;
    query("select from planhat_sync.tokens where token_hash = $1 for update")
        .bind(token_hash)
        .execute(&mut *db)
        .await
        .map_err(could_not("wait for another run of the token"))?;
    query_as(
        "select leases.workspace, run_id, command, holder, process, acquired_at, renewed_at
         from planhat_sync.leases join planhat_sync.runs on runs.id = run_id
         where token_hash = $1 and leases.workspace <> $2 and renewed_at >= now() - make_interval(secs => $3)
             and run_id is distinct from $4 limit 1",
    )
    .bind(token_hash)
    .bind(workspace)
    .bind(STALE_AFTER.as_secs_f64())
    .bind(takeover.exited_run())
    .fetch_optional(db)
    .await
    .map_err(could_not("see who uses the token"))
}

/// The key under which tokens are hashed to compare them. It is the same for all workspaces of the database.
pub async fn token_key(db: &mut PgConnection) -> Result<String, StoreError> {
    query_scalar("select token_key::text from planhat_sync.installation")
        .fetch_one(db)
        .await
        .map_err(could_not("read the key of the tokens"))
}

/// Runs that seem to be at work beside the one that holds the lease have died. Returns their commands.
async fn mark_interrupted(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<Vec<String>, StoreError> {
    query_scalar(
        "update planhat_sync.runs set status = 'interrupted', finished_at = now(), reason = 'its process ended without recording a result'
         where workspace = $1 and status = 'running' and id <> $2 returning command",
    )
    .bind(workspace)
    .bind(run_id)
    .fetch_all(db)
    .await
    .map_err(could_not("mark an interrupted run"))
}

async fn lease_holder(db: &mut PgConnection, workspace: &str) -> Result<Option<LeaseHolder>, StoreError> {
    query_as(
        "select leases.workspace, run_id, command, holder, process, acquired_at, renewed_at
         from planhat_sync.leases join planhat_sync.runs on runs.id = run_id where leases.workspace = $1",
    )
    .bind(workspace)
    .fetch_optional(db)
    .await
    .map_err(could_not("see who holds the lease"))
}

/// A lease as its holder finds it.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct RenewedLease {
    /// Another run has requested it.
    pub is_requested: bool,
}

/// Renews the lease of a run; none if the run no longer holds it.
pub async fn renew_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<Option<RenewedLease>, StoreError> {
    query_as(
        "update planhat_sync.leases set renewed_at = now() where workspace = $1 and run_id = $2
         returning requested_at is not null as is_requested",
    )
    .bind(workspace)
    .bind(run_id)
    .fetch_optional(db)
    .await
    .map_err(could_not("keep the lease"))
}

/// Renews the leases of all these runs at once. Returns those that still hold theirs, and whether each was renewed: one whose row is locked,
/// as by a commit of its run, keeps the others waiting for nothing.
pub async fn renew_leases(db: &mut PgConnection, run_ids: &[i64]) -> Result<Vec<(i64, bool)>, StoreError> {
    query_as(
        "with free as (select run_id from planhat_sync.leases where run_id = any($1) for update skip locked),
             renewed as (update planhat_sync.leases l set renewed_at = now() from free where l.run_id = free.run_id returning l.run_id)
         select run_id, run_id in (select renewed.run_id from renewed) from planhat_sync.leases where run_id = any($1)",
    )
    .bind(run_ids)
    .fetch_all(db)
    .await
    .map_err(could_not("keep the leases"))
}

/// The fence of a commit: fails if the run has lost its lease, and keeps it from being taken over until the transaction
/// has ended. So a process that was frozen for minutes cannot commit after another run has taken over. The fence comes last in
/// a transaction, because the renewal of the lease waits for it.
pub async fn fence(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), StoreError> {
    let holds = query("select from planhat_sync.leases where workspace = $1 and run_id = $2 for share")
        .bind(workspace)
        .bind(run_id)
        .fetch_optional(db)
        .await
        .map_err(could_not("see whether the lease still holds"))?;
    holds.map(|_| ()).ok_or(StoreError::LeaseLost { run_id })
}

/// Waits for the commits of a run that are under way: each has locked the row of the lease by its fence. One whose answer was lost may
/// be, where it waits for a disk or a standby. Fails if the run has lost its lease.
pub(crate) async fn wait_for_commits(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), StoreError> {
    // Behind a savepoint, to unlock the row at once: the renewal of the lease waits for it.
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    let holds = query("select from planhat_sync.leases where workspace = $1 and run_id = $2 for no key update")
        .bind(workspace)
        .bind(run_id)
        .fetch_optional(&mut *savepoint)
        .await
        .map_err(could_not("wait for a commit whose answer was lost"))?;
    savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
    holds.map(|_| ()).ok_or(StoreError::LeaseLost { run_id })
}

/// Whether a run of this process holds the lease. A server that has crashed may give the number of a run to another one.
pub async fn holds_lease(
    db: &mut PgConnection,
    workspace: &str,
    run_id: i64,
    holder: &ProcessIdentity,
) -> Result<bool, StoreError> {
    query_scalar("select exists (select from planhat_sync.leases where workspace = $1 and run_id = $2 and process = $3)")
        .bind(workspace)
        .bind(run_id)
        .bind(&holder.process)
        .fetch_one(db)
        .await
        .map_err(could_not("see whether the lease is held"))
}

/// Requests the lease from the run that holds it; false if there is nothing to wait for: it is stale, or another run has it.
pub async fn request_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<bool, StoreError> {
    let asked = query(
        "update planhat_sync.leases set requested_at = now()
         where workspace = $1 and run_id = $2 and renewed_at >= now() - make_interval(secs => $3)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(STALE_AFTER.as_secs_f64())
    .execute(db)
    .await
    .map_err(could_not("ask for the lease"))?;
    Ok(asked.rows_affected() == 1)
}

/// Yields the lease: any run may acquire it now. The run is marked as interrupted but not finished, in case it never
/// reacquires the lease. False if the lease was lost before.
pub async fn yield_lease(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<bool, StoreError> {
    let freed = query("update planhat_sync.leases set renewed_at = to_timestamp(0) where workspace = $1 and run_id = $2")
        .bind(workspace)
        .bind(run_id)
        .execute(&mut *db)
        .await
        .map_err(could_not("free the lease"))?;
    if freed.rows_affected() == 0 {
        return Ok(false);
    }
    query(
        "update planhat_sync.runs set status = 'interrupted', reason = 'paused for another run; continues when that has ended'
         where id = $1 and status = 'running'",
    )
    .bind(run_id)
    .execute(db)
    .await
    .map_err(could_not("record that a run pauses for another"))?;
    Ok(true)
}

/// Reacquires the lease for a run that yielded it. False while another run holds it or uses its token, and while no run has acquired it
/// yet, unless `even_if_unclaimed`.
pub async fn reacquire_lease(
    db: &mut PgConnection,
    wanted: LeaseRequest<'_>,
    run_id: i64,
    even_if_unclaimed: bool,
) -> Result<bool, StoreError> {
    let LeaseRequest { workspace, holder, token_hash, .. } = wanted;
    if let Some(token_hash) = token_hash
        && other_run_of_token(&mut *db, token_hash, wanted).await?.is_some()
    {
        return Ok(false);
    }
    let taken = query(
        "insert into planhat_sync.leases as old (workspace, run_id, holder, process, token_hash) values ($1, $2, $3, $4, $7)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, process = excluded.process, token_hash = excluded.token_hash,
             acquired_at = now(), renewed_at = now(), requested_at = null
         where ($5 or old.run_id <> $2) and old.renewed_at < now() - make_interval(secs => $6)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(even_if_unclaimed)
    .bind(STALE_AFTER.as_secs_f64())
    .bind(token_hash)
    .execute(&mut *db)
    .await
    .map_err(could_not("take the lease back"))?;
    if taken.rows_affected() == 0 {
        return Ok(false);
    }
    query("update planhat_sync.runs set status = 'running', finished_at = null, reason = null where id = $1")
        .bind(run_id)
        .execute(&mut *db)
        .await
        .map_err(could_not("note that a run goes on"))?;
    mark_interrupted(db, workspace, run_id).await?;
    Ok(true)
}

pub(super) async fn release_lease(db: &mut PgConnection, run_id: i64) -> Result<(), StoreError> {
    query("delete from planhat_sync.leases where run_id = $1")
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("release the lease"))?;
    Ok(())
}
