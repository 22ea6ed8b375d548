//! Leases: one run at a time on a workspace, and one daemon.
//!
//! A lease is a row that its holder renews, not a session lock, so that it works behind a connection pooler. When a run
//! stops renewing its lease (it was killed, its machine failed), the next run takes the lease over and marks the old run as
//! interrupted.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not};

/// How often a holder renews its lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// A lease that was not renewed for this long is stale and may be taken over.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// Identifies a process that acquires a lease.
#[derive(Debug, Clone)]
pub struct ProcessIdentity {
    /// For people: shown when the lease is held.
    pub name: String,
    /// Identifies the process on its machine; empty if unknown.
    pub process: String,
    /// A random id that identifies the process anywhere.
    pub instance: String,
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

/// The run that holds the lease.
#[derive(Debug, Clone, FromRow)]
pub struct LeaseHolder {
    pub run_id: i64,
    pub command: String,
    pub holder: String,
    pub process: String,
    pub acquired_at: DateTime<Utc>,
    pub renewed_at: DateTime<Utc>,
}

/// Starts a run and acquires the lease for it; the inner `Err` is the holder if another run has the lease, and then no run
/// was started.
pub async fn acquire_lease(
    db: &mut PgConnection,
    workspace: &str,
    command: &str,
    holder: &ProcessIdentity,
    takeover: Takeover,
) -> Result<Result<i64, LeaseHolder>, StoreError> {
    loop {
        if let Some(run_id) = try_acquire_lease(&mut *db, workspace, command, holder, takeover).await? {
            return Ok(Ok(run_id));
        }
        // The holder may have released it in the meantime.
        if let Some(held) = lease_holder(&mut *db, workspace).await? {
            return Ok(Err(held));
        }
    }
}

async fn try_acquire_lease(
    db: &mut PgConnection,
    workspace: &str,
    command: &str,
    holder: &ProcessIdentity,
    takeover: Takeover,
) -> Result<Option<i64>, StoreError> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    let run_id: i64 = query_scalar(
        "insert into planhat_sync.runs (workspace, command, status, version) values ($1, $2, 'running', $3) returning id",
    )
    .bind(workspace)
    .bind(command)
    .bind(env!("CARGO_PKG_VERSION"))
    .fetch_one(&mut *savepoint)
    .await
    .map_err(could_not("start a run"))?;
    let taken = query(
        "insert into planhat_sync.leases as old (workspace, run_id, holder, process) values ($1, $2, $3, $4)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, process = excluded.process, acquired_at = now(),
             renewed_at = now(), requested_at = null
         where $5 or old.run_id = $6 or old.renewed_at < now() - make_interval(secs => $7)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(takeover == Takeover::Always)
    .bind(if let Takeover::IfOwnerExited(run_id) = takeover { Some(run_id) } else { None })
    .bind(STALE_AFTER.as_secs_f64())
    .execute(&mut *savepoint)
    .await
    .map_err(could_not("take the lease"))?;
    if taken.rows_affected() == 0 {
        savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
        return Ok(None);
    }
    mark_interrupted(&mut savepoint, workspace, run_id).await?;
    savepoint.commit().await.map_err(could_not("release a savepoint"))?;
    Ok(Some(run_id))
}

/// Runs that seem to be at work beside the one that holds the lease have died.
async fn mark_interrupted(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), StoreError> {
    query(
        "update planhat_sync.runs set status = 'interrupted', finished_at = now(), reason = 'its process ended without recording a result'
         where workspace = $1 and status = 'running' and id <> $2",
    )
    .bind(workspace)
    .bind(run_id)
    .execute(db)
    .await
    .map_err(could_not("mark an interrupted run"))?;
    Ok(())
}

async fn lease_holder(db: &mut PgConnection, workspace: &str) -> Result<Option<LeaseHolder>, StoreError> {
    query_as(
        "select run_id, command, holder, process, acquired_at, renewed_at
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

/// Reacquires the lease for a run that yielded it. False while another run holds it, and while no run has acquired it yet,
/// unless `even_if_unclaimed`.
pub async fn reacquire_lease(
    db: &mut PgConnection,
    workspace: &str,
    run_id: i64,
    holder: &ProcessIdentity,
    even_if_unclaimed: bool,
) -> Result<bool, StoreError> {
    let taken = query(
        "insert into planhat_sync.leases as old (workspace, run_id, holder, process) values ($1, $2, $3, $4)
         on conflict (workspace) do update
         set run_id = excluded.run_id, holder = excluded.holder, process = excluded.process, acquired_at = now(),
             renewed_at = now(), requested_at = null
         where ($5 or old.run_id <> $2) and old.renewed_at < now() - make_interval(secs => $6)",
    )
    .bind(workspace)
    .bind(run_id)
    .bind(&holder.name)
    .bind(&holder.process)
    .bind(even_if_unclaimed)
    .bind(STALE_AFTER.as_secs_f64())
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

/// The daemon that holds the daemon lease of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DaemonLeaseHolder {
    pub holder: String,
    pub process: String,
    pub instance: String,
    pub started_at: DateTime<Utc>,
    pub renewed_at: DateTime<Utc>,
    /// Not renewed for longer than a running sync would leave it: the daemon is idle or dead.
    pub is_stale: bool,
}

impl DaemonLeaseHolder {
    fn blocks(&self, ours: &ProcessIdentity, process: ProcessState) -> bool {
        self.instance != ours.instance
            && match process {
                ProcessState::Running => true,
                ProcessState::Exited => false,
                ProcessState::Unknown => !self.is_stale,
            }
    }
}

/// What is known about a process on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    Running,
    Exited,
    /// It runs on another machine, or its state is hidden.
    Unknown,
}

/// The result of acquiring the daemon lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonLease {
    /// Acquired; `from` is the previous holder, if there was one.
    Acquired {
        from: Option<DaemonLeaseHolder>,
    },
    HeldBy(DaemonLeaseHolder),
}

/// Acquires the daemon lease of the workspace, unless another daemon holds it. An idle daemon does not renew its lease, so that
/// a database that suspends itself can do so. Seen from another machine, an idle daemon looks like one that has exited: its
/// lease is taken over, and it finds that out before its next run.
pub async fn acquire_daemon_lease(
    db: &mut PgConnection,
    workspace: &str,
    ours: &ProcessIdentity,
    process_state: impl Fn(&str) -> ProcessState,
) -> Result<DaemonLease, StoreError> {
    let inserted = query(
        "insert into planhat_sync.daemons (workspace, holder, process, instance) values ($1, $2, $3, $4) on conflict do nothing",
    )
    .bind(workspace)
    .bind(&ours.name)
    .bind(&ours.process)
    .bind(&ours.instance)
    .execute(&mut *db)
    .await
    .map_err(could_not("become the daemon of a workspace"))?;
    if inserted.rows_affected() == 1 {
        return Ok(DaemonLease::Acquired { from: None });
    }
    let there: Option<DaemonLeaseHolder> = query_as(
        "select holder, process, instance, started_at, renewed_at,
             renewed_at < now() - make_interval(secs => $2) as is_stale
         from planhat_sync.daemons where workspace = $1 for update",
    )
    .bind(workspace)
    .bind(STALE_AFTER.as_secs_f64())
    .fetch_optional(&mut *db)
    .await
    .map_err(could_not("see which daemon looks after a workspace"))?;
    match there {
        Some(there) if there.blocks(ours, process_state(&there.process)) => Ok(DaemonLease::HeldBy(there)),
        there => {
            query(
                "insert into planhat_sync.daemons (workspace, holder, process, instance) values ($1, $2, $3, $4)
                 on conflict (workspace) do update set holder = excluded.holder, process = excluded.process,
                     instance = excluded.instance, started_at = now(), renewed_at = now()",
            )
            .bind(workspace)
            .bind(&ours.name)
            .bind(&ours.process)
            .bind(&ours.instance)
            .execute(db)
            .await
            .map_err(could_not("become the daemon of a workspace"))?;
            Ok(DaemonLease::Acquired { from: there.filter(|there| there.instance != ours.instance) })
        }
    }
}

/// Renews the daemon lease; false if another daemon has taken it over.
pub async fn renew_daemon_lease(db: &mut PgConnection, workspace: &str, ours: &ProcessIdentity) -> Result<bool, StoreError> {
    let renewed = query("update planhat_sync.daemons set renewed_at = now() where workspace = $1 and instance = $2")
        .bind(workspace)
        .bind(&ours.instance)
        .execute(db)
        .await
        .map_err(could_not("renew the lease of the daemon"))?;
    Ok(renewed.rows_affected() == 1)
}

pub async fn release_daemon_lease(db: &mut PgConnection, workspace: &str, ours: &ProcessIdentity) -> Result<(), StoreError> {
    query("delete from planhat_sync.daemons where workspace = $1 and instance = $2")
        .bind(workspace)
        .bind(&ours.instance)
        .execute(db)
        .await
        .map_err(could_not("release the lease of the daemon"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_lease_blocks_others_while_its_process_runs_or_has_renewed_it_recently() {
        let ours = ProcessIdentity { name: String::new(), process: String::new(), instance: "ours".to_owned() };
        let holds = |instance: &str, is_stale, process| {
            let instance = instance.to_owned();
            let (started_at, renewed_at) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
            DaemonLeaseHolder { holder: String::new(), process: String::new(), instance, started_at, renewed_at, is_stale }
                .blocks(&ours, process)
        };
        for (is_stale, process, expected) in [
            (false, ProcessState::Running, true),
            (true, ProcessState::Running, true),
            (false, ProcessState::Exited, false),
            (true, ProcessState::Exited, false),
            // As where there is no /proc.
            (false, ProcessState::Unknown, true),
            (true, ProcessState::Unknown, false),
        ] {
            assert_eq!(holds("another", is_stale, process), expected, "{is_stale} {process:?}");
            assert!(!holds("ours", is_stale, process), "our own is no obstacle");
        }
    }
}
