//! The calendar: when each workspace is due, shared by all daemons. One row of `planhat_sync.workspaces` per workspace.
//!
//! A daemon *claims* a workspace that is due: in one transaction it picks the row, skipping those that another daemon is just looking
//! at, takes the lease, and notes when the workspace is due next. From then on the lease alone says who is at work. A lease that
//! nobody renews any more is an unfinished run: its workspace is due at once, for whichever daemon looks first.
//!
//! All times are those of the database, so that the clocks of machines need not agree.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as};
use crate::state::leases::{LeaseRequest, ProcessIdentity, STALE_AFTER, Takeover, acquire_lease};
use crate::store_error::{StoreError, could_not};

/// A workspace as a daemon knows it from the settings.
#[derive(Debug, Clone)]
pub struct Enrolment {
    /// The data schema.
    pub workspace: String,
    pub name: String,
    pub token_hash: Option<String>,
    /// When all of its objects are due; a time in the past means at once.
    pub next_run_at: DateTime<Utc>,
}

/// A row of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct CalendarEntry {
    /// The data schema.
    pub workspace: String,
    pub name: Option<String>,
    #[serde(skip)]
    pub token_hash: Option<String>,
    pub next_run_at: Option<DateTime<Utc>>,
    pub retry_at: Option<DateTime<Utc>>,
    pub retry_objects: Option<Vec<String>>,
    pub requested_at: Option<DateTime<Utc>>,
    pub requested_by: Option<String>,
    pub paused_at: Option<DateTime<Utc>>,
    pub failures: i32,
    pub last_error: Option<String>,
    pub not_before: Option<DateTime<Utc>>,
}

/// All rows, by the names of the workspaces.
pub async fn calendar(db: &mut PgConnection) -> Result<Vec<CalendarEntry>, StoreError> {
    query_as(
        "select workspace, name, token_hash, next_run_at, retry_at, retry_objects, requested_at, requested_by, paused_at, failures,
             last_error, not_before
         from planhat_sync.workspaces order by name nulls last, workspace",
    )
    .fetch_all(db)
    .await
    .map_err(could_not("read the calendar"))
}

/// When the last run of this command began that succeeded, at least in part, of each of these workspaces that had one.
pub async fn last_good_starts(
    db: &mut PgConnection,
    workspaces: &[String],
    command: &str,
) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
    query_as(
        "select workspace, max(started_at) from planhat_sync.runs
         where workspace = any($1) and command = $2 and status in ('succeeded', 'partial') group by workspace",
    )
    .bind(workspaces)
    .bind(command)
    .fetch_all(db)
    .await
    .map_err(could_not("read when the last runs were"))
}

/// Puts workspaces into the calendar, or notes what the settings say of them now. When a workspace is due next that is being run, its run
/// notes itself.
pub async fn enrol(db: &mut PgConnection, workspaces: &[Enrolment]) -> Result<(), StoreError> {
    let text = |of: fn(&Enrolment) -> Option<&str>| workspaces.iter().map(of).collect::<Vec<_>>();
    query(
        "insert into planhat_sync.workspaces as old (workspace, name, token_hash, next_run_at)
         select unnest($1::text[]), unnest($2::text[]), unnest($3::text[]), unnest($4::timestamptz[])
         on conflict (workspace) do update
         set name = excluded.name, token_hash = excluded.token_hash,
             next_run_at = case when exists (select from planhat_sync.leases where leases.workspace = old.workspace)
                 then coalesce(old.next_run_at, excluded.next_run_at) else excluded.next_run_at end
         where (old.name, old.token_hash, old.next_run_at) is distinct from (excluded.name, excluded.token_hash, excluded.next_run_at)",
    )
    .bind(text(|of| Some(&of.workspace)))
    .bind(text(|of| Some(&of.name)))
    .bind(text(|of| of.token_hash.as_deref()))
    .bind(workspaces.iter().map(|of| of.next_run_at).collect::<Vec<_>>())
    .execute(db)
    .await
    .map_err(could_not("put workspaces into the calendar"))?;
    Ok(())
}

/// What a daemon is able to begin now.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest<'a> {
    /// Those of its settings that it is not at work on.
    pub workspaces: &'a [String],
    /// Whether it may begin a run that loads history: such runs take long, and fill some of the slots only.
    pub with_histories: bool,
    pub holder: &'a ProcessIdentity,
    /// Runs whose processes have exited on this machine, of those that [`lease_processes`] named.
    pub exited_runs: &'a [i64],
}

/// A workspace that is due, in the order in which workspaces are taken: what a person has asked for first, then what is overdue longest.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct DueWorkspace {
    pub workspace: String,
    pub token_hash: Option<String>,
    /// Of a run that fails; none if all objects are due.
    pub retry_objects: Option<Vec<String>>,
    /// Whether a person asked for it.
    pub is_requested: bool,
    /// Whether it has history left to load.
    pub is_history: bool,
    /// The time of the database, by which it is due.
    pub now: DateTime<Utc>,
    pub failures: i32,
    /// Whether it has waited because its runs ended with their process.
    pub was_postponed: bool,
    /// The run that has not ended although nobody is at work on it.
    pub unfinished_run: Option<i64>,
}

/// Picks the workspace that comes first, and locks its row until the transaction has ended.
pub async fn pick_due(db: &mut PgConnection, wanted: ClaimRequest<'_>) -> Result<Option<DueWorkspace>, StoreError> {
    // Only runs that cannot do without it load history: a backfill that was broken off waits for the next backfill.
    const PICK: &str = "select w.workspace, w.token_hash, w.failures, w.requested_at is not null as is_requested,
             case when w.requested_at is null and w.next_run_at > now() and l.run_id is null then w.retry_objects end as retry_objects,
             now() as now, h.is_history, w.not_before is not null as was_postponed, case when l.renewed_at > to_timestamp(0) then l.run_id end as unfinished_run
         from planhat_sync.workspaces w
         left join planhat_sync.leases l on l.workspace = w.workspace
         cross join lateral (select not exists (select from planhat_sync.cursors where cursors.workspace = w.workspace)
             or exists (select from planhat_sync.scans where scans.workspace = w.workspace and scan = 'history') as is_history) h
         where w.workspace = any($1) and w.paused_at is null
             and (w.not_before is null or w.not_before <= now() or w.requested_at is not null)
             and (l.run_id is null or l.renewed_at < now() - make_interval(secs => $2) or l.run_id = any($3))
             and (w.requested_at is not null or w.next_run_at <= now() or w.retry_at <= now() or l.renewed_at > to_timestamp(0))
             and ($4 or not h.is_history)
             and not exists (select from planhat_sync.leases o where o.token_hash = w.token_hash and o.workspace <> w.workspace
                 and o.renewed_at >= now() - make_interval(secs => $2) and o.run_id <> all($3))
         order by w.requested_at, least(w.next_run_at, w.retry_at, l.renewed_at), w.workspace
         limit 1 for update of w skip locked";
    query_as(PICK)
        .bind(wanted.workspaces)
        .bind(STALE_AFTER.as_secs_f64())
        .bind(wanted.exited_runs)
        .bind(wanted.with_histories)
        .fetch_optional(db)
        .await
        .map_err(could_not("see which workspace is due"))
}

/// Takes the lease of a workspace that was picked, and notes when all its objects are due next. The run; none if another one has the
/// lease or the token after all.
pub async fn claim(
    db: &mut PgConnection,
    due: &DueWorkspace,
    command: &str,
    wanted: ClaimRequest<'_>,
    next_run_at: Option<DateTime<Utc>>,
) -> Result<Option<i64>, StoreError> {
    // One that is only stale may have renewed its lease since.
    let exited = due.unfinished_run.filter(|run_id| wanted.exited_runs.contains(run_id));
    let takeover = exited.map_or(Takeover::IfStale, Takeover::IfOwnerExited);
    let (workspace, token_hash) = (due.workspace.as_str(), due.token_hash.as_deref());
    let wanted = LeaseRequest { workspace, command, holder: wanted.holder, takeover, token_hash };
    let Ok(run_id) = acquire_lease(&mut *db, wanted).await? else { return Ok(None) };
    query(
        "update planhat_sync.workspaces set next_run_at = coalesce($2, next_run_at), retry_at = null, retry_objects = null,
             requested_at = null, requested_by = null, not_before = null, failures = failures + $3
         where workspace = $1",
    )
    .bind(&due.workspace)
    .bind(next_run_at)
    .bind(i32::from(due.unfinished_run.is_some()))
    .execute(db)
    .await
    .map_err(could_not("note when a workspace is due next"))?;
    Ok(Some(run_id))
}

/// A run has ended with its process again and again: no daemon goes on with it before `wait` has passed.
pub async fn postpone(db: &mut PgConnection, due: &DueWorkspace, wait: Duration) -> Result<(), StoreError> {
    const WHY: &str = "its last runs ended with their process, without a result";
    query(
        "update planhat_sync.workspaces set not_before = now() + make_interval(secs => $2), failures = failures + 1, last_error = $3
         where workspace = $1",
    )
    .bind(&due.workspace)
    .bind(wait.as_secs_f64())
    .bind(WHY)
    .execute(db)
    .await
    .map_err(could_not("postpone a workspace"))?;
    Ok(())
}

/// How a run of a daemon came out, for the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Succeeded,
    /// These objects, by their names, are tried again after `wait`; with none they wait for the next run of all objects.
    Failed {
        why: String,
        objects: Vec<&'static str>,
        wait: Option<Duration>,
    },
    /// The daemon was stopped: whichever daemon looks first goes on.
    HandedBack,
}

/// Notes how this run of a daemon came out, unless a later one has begun, which notes that itself. When all objects are due next was
/// noted by the claim; it may have come while the run was at work, and then they are due at once.
pub async fn note_ending(db: &mut PgConnection, workspace: &str, run_id: i64, ending: &Ending) -> Result<(), StoreError> {
    let failed = || could_not("note how a run came out");
    // A claim locks the row too, so that no run begins in between.
    let is_latest = query(
        "select from planhat_sync.workspaces w where workspace = $1 and not exists (select from planhat_sync.runs r
             where r.workspace = w.workspace and r.id > $2 and starts_with(r.command, 'daemon')) for update of w",
    );
    if is_latest.bind(workspace).bind(run_id).fetch_optional(&mut *db).await.map_err(failed())?.is_none() {
        return Ok(());
    }
    let noted = match ending {
        Ending::Succeeded => query(
            "update planhat_sync.workspaces set retry_at = null, retry_objects = null, failures = 0, last_error = null
             where workspace = $1",
        )
        .bind(workspace),
        Ending::Failed { why, objects, wait } => query(
            "update planhat_sync.workspaces set retry_at = now() + make_interval(secs => $2), retry_objects = $3,
                 failures = failures + 1, last_error = $4
             where workspace = $1",
        )
        .bind(workspace)
        .bind(wait.map(|wait| wait.as_secs_f64()))
        .bind(objects.iter().map(|object| (*object).to_owned()).collect::<Vec<_>>())
        .bind(why),
        Ending::HandedBack => {
            query("update planhat_sync.workspaces set next_run_at = least(next_run_at, now()) where workspace = $1")
                .bind(workspace)
        }
    };
    noted.execute(db).await.map_err(failed())?;
    Ok(())
}

/// Asks the backfills that are at work on workspaces that are due, or with their tokens, to yield; not for a workspace that would not be
/// begun then, because it has to wait for its time, or for a slot for histories. Returns how many.
pub async fn request_leases_of_backfills(
    db: &mut PgConnection,
    workspaces: &[String],
    with_histories: bool,
) -> Result<u64, StoreError> {
    let asked = query(
        "update planhat_sync.leases l set requested_at = now()
         from planhat_sync.runs r, planhat_sync.workspaces w
         where r.id = l.run_id and r.command = 'backfill' and w.workspace = any($1) and w.paused_at is null
             and (l.workspace = w.workspace or l.token_hash = w.token_hash)
             and l.renewed_at >= now() - make_interval(secs => $2)
             and (w.requested_at is not null or w.next_run_at <= now() or w.retry_at <= now())
             and (w.not_before is null or w.not_before <= now() or w.requested_at is not null)
             and ($3 or exists (select from planhat_sync.cursors c where c.workspace = w.workspace)
                 and not exists (select from planhat_sync.scans s where s.workspace = w.workspace and scan = 'history'))",
    )
    .bind(workspaces)
    .bind(STALE_AFTER.as_secs_f64())
    .bind(with_histories)
    .execute(db)
    .await
    .map_err(could_not("ask for the leases of backfills"))?;
    Ok(asked.rows_affected())
}

/// What a daemon waits for that has nothing to begin, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, FromRow)]
pub struct NextLook {
    /// Until a workspace is due; none if none has a time. Zero or less if one is due that could not be begun.
    pub due_in: Option<f64>,
    /// Until the lease of another run may be stale and be taken over; none if there is no such run.
    pub stale_in: Option<f64>,
}

pub async fn next_look(db: &mut PgConnection, workspaces: &[String]) -> Result<NextLook, StoreError> {
    query_as(
        "select (select extract(epoch from min(case when requested_at is not null then requested_at
                    else greatest(least(next_run_at, retry_at), not_before) end) - now())::float8
                from planhat_sync.workspaces where workspace = any($1) and paused_at is null) as due_in,
             (select extract(epoch from min(greatest(l.renewed_at + make_interval(secs => $2), w.not_before)) - now())::float8
              from planhat_sync.leases l join planhat_sync.workspaces w on w.workspace = l.workspace
              where l.workspace = any($1) and l.renewed_at > to_timestamp(0) and w.paused_at is null) as stale_in",
    )
    .bind(workspaces)
    .bind(STALE_AFTER.as_secs_f64())
    .fetch_one(db)
    .await
    .map_err(could_not("see when the next workspace is due"))
}

/// The runs that hold leases of these workspaces, with what identifies their processes: some may have exited.
pub async fn lease_processes(db: &mut PgConnection, workspaces: &[String]) -> Result<Vec<(i64, String)>, StoreError> {
    query_as("select run_id, process from planhat_sync.leases where workspace = any($1) and renewed_at > to_timestamp(0)")
        .bind(workspaces)
        .fetch_all(db)
        .await
        .map_err(could_not("see which processes hold leases"))
}

/// A person asks for runs at once; a workspace that no daemon knows yet gets its row. Returns how many were asked for.
pub async fn request_run(db: &mut PgConnection, workspaces: &[&str], by: &str) -> Result<u64, StoreError> {
    let asked = query(
        "insert into planhat_sync.workspaces (workspace, requested_at, requested_by) select unnest($1::text[]), now(), $2
         on conflict (workspace) do update set requested_at = excluded.requested_at, requested_by = excluded.requested_by",
    );
    let asked = asked.bind(workspaces).bind(by).execute(db).await.map_err(could_not("ask for a run"))?;
    Ok(asked.rows_affected())
}

/// No daemon runs these workspaces until they are resumed. A run in progress goes on. Returns how many were not paused before.
pub async fn pause_workspaces(db: &mut PgConnection, workspaces: &[&str]) -> Result<u64, StoreError> {
    let paused = query(
        "insert into planhat_sync.workspaces as old (workspace, paused_at) select unnest($1::text[]), now()
         on conflict (workspace) do update set paused_at = excluded.paused_at where old.paused_at is null",
    );
    Ok(paused.bind(workspaces).execute(db).await.map_err(could_not("pause a workspace"))?.rows_affected())
}

/// Daemons run these workspaces again: at once, what was due meanwhile. Returns how many were paused.
pub async fn resume_workspaces(db: &mut PgConnection, workspaces: &[&str]) -> Result<u64, StoreError> {
    let resumed =
        query("update planhat_sync.workspaces set paused_at = null where workspace = any($1::text[]) and paused_at is not null");
    Ok(resumed.bind(workspaces).execute(db).await.map_err(could_not("resume a workspace"))?.rows_affected())
}
