//! One run at a time on a workspace.
//!
//! The lease is a row with a heartbeat, not a session lock, so that it works behind a connection
//! pooler. A run that stops beating (killed, machine gone) is marked interrupted by the next one.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::store_error::{Error, could_not};

/// How often a run says that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// A lease without a heartbeat for this long may be taken over.
pub const STALE_AFTER: Duration = Duration::from_secs(90);

/// A process that wants a lease.
#[derive(Debug, Clone)]
pub struct Holder {
    /// For the person who finds the lease taken.
    pub name: String,
    /// Which process that is, for another one on the same machine; empty where that cannot be told.
    pub process: String,
    /// What tells this process from every other one, anywhere.
    pub instance: String,
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

/// Starts a run and takes the lease for it; `Err(held)` inside when another run has it, of which nothing is left then.
pub async fn take_lease(
    db: &mut PgConnection,
    workspace: &str,
    command: &str,
    holder: &Holder,
    may: MayTake,
) -> Result<Result<i64, Held>, Error> {
    loop {
        if let Some(run_id) = try_to_take(&mut *db, workspace, command, holder, may).await? {
            return Ok(Ok(run_id));
        }
        // Whoever had it may have given it back since.
        if let Some(held) = holder_of(&mut *db, workspace).await? {
            return Ok(Err(held));
        }
    }
}

async fn try_to_take(
    db: &mut PgConnection,
    workspace: &str,
    command: &str,
    holder: &Holder,
    may: MayTake,
) -> Result<Option<i64>, Error> {
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

async fn holder_of(db: &mut PgConnection, workspace: &str) -> Result<Option<Held>, Error> {
    query_as(
        "select run_id, command, holder, process, taken_at, heartbeat_at
         from planhat_sync.leases join planhat_sync.runs on runs.id = run_id where leases.workspace = $1",
    )
    .bind(workspace)
    .fetch_optional(db)
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

/// The fence of a commit: fails if the run has lost its lease, and keeps it from being taken over until the transaction
/// has ended. So a run that was paused for minutes cannot commit over its successor. It comes last in a transaction:
/// whoever renews the lease waits for it.
pub async fn fence(db: &mut PgConnection, workspace: &str, run_id: i64) -> Result<(), Error> {
    let holds = query("select from planhat_sync.leases where workspace = $1 and run_id = $2 for share")
        .bind(workspace)
        .bind(run_id)
        .fetch_optional(db)
        .await
        .map_err(could_not("see whether the lease still holds"))?;
    holds.map(|_| ()).ok_or(Error::LeaseLost { run_id })
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
    let freed = query("update planhat_sync.leases set heartbeat_at = to_timestamp(0) where workspace = $1 and run_id = $2")
        .bind(workspace)
        .bind(run_id)
        .execute(&mut *db)
        .await
        .map_err(could_not("free the lease"))?;
    if freed.rows_affected() == 0 {
        return Ok(false);
    }
    query(
        "update planhat_sync.runs set status = 'interrupted', error = 'made way for another run; goes on when that has ended'
         where id = $1 and status = 'running'",
    )
    .bind(run_id)
    .execute(db)
    .await
    .map_err(could_not("note that a run makes way"))?;
    Ok(true)
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

pub(crate) async fn release(db: &mut PgConnection, run_id: i64) -> Result<(), Error> {
    query("delete from planhat_sync.leases where run_id = $1")
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("release the lease"))?;
    Ok(())
}

/// The daemon that looks after a workspace, as others find it.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DaemonHolder {
    pub holder: String,
    pub process: String,
    pub instance: String,
    pub up_since: DateTime<Utc>,
    pub heartbeat_at: DateTime<Utc>,
    /// It has not renewed its lease for as long as one at work would: it is idle, or dead.
    pub is_silent: bool,
}

impl DaemonHolder {
    fn holds_against(&self, ours: &Holder, process: Process) -> bool {
        self.instance != ours.instance
            && match process {
                Process::Lives => true,
                Process::HasEnded => false,
                Process::Unseen => !self.is_silent,
            }
    }
}

/// What can be seen of a process from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Lives,
    HasEnded,
    /// It runs elsewhere, or nothing is shown of it.
    Unseen,
}

/// What became of the wish for the lease of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonLease {
    /// It is ours, in place of another one where there was one.
    Acquired {
        from: Option<DaemonHolder>,
    },
    HeldBy(DaemonHolder),
}

/// Makes this the daemon of the workspace, unless another one is there. One that is idle asks nothing of the database, so
/// that a database which suspends itself may do so; on another machine nobody can tell it from a dead one: it is replaced,
/// and finds that out before its next run.
pub async fn acquire_daemon_lease(
    db: &mut PgConnection,
    workspace: &str,
    ours: &Holder,
    look_at: impl Fn(&str) -> Process,
) -> Result<DaemonLease, Error> {
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
    let there: Option<DaemonHolder> = query_as(
        "select holder, process, instance, up_since, heartbeat_at,
             heartbeat_at < now() - make_interval(secs => $2) as is_silent
         from planhat_sync.daemons where workspace = $1 for update",
    )
    .bind(workspace)
    .bind(STALE_AFTER.as_secs_f64())
    .fetch_optional(&mut *db)
    .await
    .map_err(could_not("see which daemon looks after a workspace"))?;
    match there {
        Some(there) if there.holds_against(ours, look_at(&there.process)) => Ok(DaemonLease::HeldBy(there)),
        there => {
            query(
                "insert into planhat_sync.daemons (workspace, holder, process, instance) values ($1, $2, $3, $4)
                 on conflict (workspace) do update set holder = excluded.holder, process = excluded.process,
                     instance = excluded.instance, up_since = now(), heartbeat_at = now()",
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

/// Says that the daemon is there. False when another one has taken its place.
pub async fn renew_daemon_lease(db: &mut PgConnection, workspace: &str, ours: &Holder) -> Result<bool, Error> {
    let renewed = query("update planhat_sync.daemons set heartbeat_at = now() where workspace = $1 and instance = $2")
        .bind(workspace)
        .bind(&ours.instance)
        .execute(db)
        .await
        .map_err(could_not("renew the lease of the daemon"))?;
    Ok(renewed.rows_affected() == 1)
}

pub async fn release_daemon_lease(db: &mut PgConnection, workspace: &str, ours: &Holder) -> Result<(), Error> {
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
    fn a_daemon_holds_its_lease_while_it_is_known_to_live_or_has_just_said_so() {
        let ours = Holder { name: String::new(), process: String::new(), instance: "ours".to_owned() };
        let holds = |instance: &str, is_silent, process| {
            let instance = instance.to_owned();
            let (up_since, heartbeat_at) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
            DaemonHolder { holder: String::new(), process: String::new(), instance, up_since, heartbeat_at, is_silent }
                .holds_against(&ours, process)
        };
        for (is_silent, process, expected) in [
            (false, Process::Lives, true),
            (true, Process::Lives, true),
            (false, Process::HasEnded, false),
            (true, Process::HasEnded, false),
            // As where there is no /proc.
            (false, Process::Unseen, true),
            (true, Process::Unseen, false),
        ] {
            assert_eq!(holds("another", is_silent, process), expected, "{is_silent} {process:?}");
            assert!(!holds("ours", is_silent, process), "our own is no obstacle");
        }
    }
}
