//! The loop of the daemon: it claims workspaces that are due, runs them, and takes over settings that were changed.
//!
//! Which workspace is due, and who is at work on it, is in the database alone (`calendar` and `leases` of the store). So any number of
//! daemons share the work without knowing each other. This loop only looks, waits and says what came of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use planhat_model::error::{Chain, Retry};
use planhat_store::{self as store, ClaimRequest, DueWorkspace, NextLook, PgConnection, Store};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{self, JoinError, JoinSet};
use tracing::{Instrument, debug, error, error_span, info, warn};

use super::DAEMON;
use super::back_off::wait_after;
use super::claimed_run::ClaimedRun;
use super::fleet::{Fleet, Member};
use super::health_state::HealthState;
use super::housekeeping::notify_systemd;
use super::runtime_config::RuntimeConfig;
use super::slots::Slots;
use crate::command_error::CommandError;
use crate::config::{Installation, SettingsError};
use crate::run::{BegunRun, Heartbeat, has_exited, this_process};
use crate::signals::Stop;

/// The command of retry runs in `planhat_sync.runs`; they do not count as scheduled runs.
const RETRY: &str = "daemon (retry)";
/// How often the clock is checked.
const TICK: Duration = Duration::from_secs(10);
/// How often the calendar is looked at, with several workspaces.
const POLL_EVERY: Duration = Duration::from_secs(10);
/// When the calendar is looked at again after a workspace was due and could not be begun, or the database was away.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The same after a backfill was asked to yield.
const YIELDS_WITHIN: Duration = Duration::from_secs(1);
/// How long a look at the calendar waits for a lock. Another daemon holds one for a moment; what is locked for longer keeps no other
/// workspace waiting.
pub(super) const LOCKED_FOR: Duration = Duration::from_millis(500);
/// When the calendar is looked at again that has no time at all, because the only workspace is paused.
const WHILE_PAUSED: Duration = Duration::from_secs(60);
/// How often the files of the settings are looked at, with several workspaces.
const LOOK_AT_FILES: Duration = Duration::from_secs(20);

pub(super) struct DaemonLoop {
    control: Arc<Store>,
    fleet: Fleet,
    settings: Installation,
    stop: Stop,
    hangups: Signal,
    health: Arc<HealthState>,
    heartbeat: Arc<Heartbeat>,
    /// The runs in progress.
    runs: JoinSet<()>,
    running: HashMap<task::Id, RunningWorkspace>,
    /// Workspaces whose times in the calendar have to be made anew.
    to_enrol: Vec<String>,
    /// A claim that may have been made: the answer to its commit was lost.
    unanswered: Option<Claimed>,
    files_looked_at: Instant,
    /// When the next run is due, as it was said last.
    announced: Option<DateTime<Utc>>,
    /// The result of the last reload, shown in the status line of systemd.
    reloaded: Option<String>,
}

/// A workspace that is being run.
struct RunningWorkspace {
    schema: String,
    /// Whether the run loads history.
    is_history: bool,
    /// With what settings it began.
    config: Arc<RuntimeConfig>,
}

/// Why waiting ended.
enum WakeReason {
    /// It is time to look at the calendar.
    Look,
    RunEnded,
    /// Due times must be computed again.
    ClockSetBack,
    Reload,
    Stop,
}

impl DaemonLoop {
    /// From here on a signal that asks for the settings to be read again does not end the process.
    pub(super) fn new(
        control: &Arc<Store>,
        (settings, fleet): (Installation, Fleet),
        health: Arc<HealthState>,
        stop: &Stop,
    ) -> Result<DaemonLoop, CommandError> {
        let hangups = signal(SignalKind::hangup()).context("could not listen for signals")?;
        Ok(DaemonLoop {
            control: Arc::clone(control),
            to_enrol: fleet.schemas(),
            fleet,
            settings,
            stop: stop.clone(),
            hangups,
            health,
            heartbeat: Heartbeat::new(Arc::clone(control)),
            runs: JoinSet::new(),
            running: HashMap::new(),
            unanswered: None,
            files_looked_at: Instant::now(),
            announced: None,
            reloaded: None,
        })
    }

    /// Waits and runs until it is stopped, and until the runs have handed back what they had not done.
    pub(super) async fn run_loop(&mut self, reload: impl Fn() -> Result<Installation, SettingsError>) {
        let heartbeat = Arc::clone(&self.heartbeat);
        let _beating = super::housekeeping::spawn_beside(async move { heartbeat.beat_for_ever().await });
        self.fleet.start_housekeeping(&self.control);
        loop {
            let rest = self.begin_what_is_due().await;
            match self.wait(rest).await {
                WakeReason::Stop => break,
                WakeReason::Look | WakeReason::RunEnded => {}
                WakeReason::ClockSetBack => self.to_enrol = self.fleet.schemas(),
                WakeReason::Reload => self.reload(&reload, true),
            }
            if !self.fleet.is_single && self.files_looked_at.elapsed() >= LOOK_AT_FILES {
                self.files_looked_at = Instant::now();
                if self.settings.files_changed() {
                    self.reload(&reload, false);
                }
            }
        }
        while let Some(ended) = self.runs.join_next_with_id().await {
            self.run_ended(ended);
        }
    }

    /// Begins runs while there are free slots and workspaces that are due. Returns when to look again.
    async fn begin_what_is_due(&mut self) -> Duration {
        let mut soonest = if self.enrol().await { Duration::MAX } else { LOOK_AGAIN };
        let mut left_out = Vec::new();
        while self.slots().has_free() && !self.stop.token.is_cancelled() {
            match self.claim(&left_out).await {
                Ok(Some(claimed)) => self.start(claimed),
                Ok(None) => break,
                Err(ClaimFailure { picked: Some(schema), error }) => {
                    warn!(workspace = schema, error = %Chain(&error), "could not claim workspace {schema}; it is left out until the next look");
                    left_out.push(schema);
                    soonest = LOOK_AGAIN;
                }
                Err(ClaimFailure { picked: None, error }) => {
                    warn!(error = %Chain(&error), "could not look at the calendar");
                    return LOOK_AGAIN;
                }
            }
        }
        self.next_look().await.min(soonest)
    }

    /// Puts workspaces into the calendar whose times have to be made anew. One whose row somebody has locked keeps no other from it.
    /// Whether all are in it.
    async fn enrol(&mut self) -> bool {
        if self.to_enrol.is_empty() {
            return true;
        }
        let to_enrol = std::mem::take(&mut self.to_enrol);
        match self.fleet.enrol(&self.control, &to_enrol).await {
            Ok(()) => return true,
            Err(error) if error.kind().retry() == Retry::Briefly && to_enrol.len() > 1 => {
                debug!(error = %Chain(&error), "putting the workspaces into the calendar one by one");
                for schema in to_enrol {
                    if let Err(error) = self.fleet.enrol(&self.control, std::slice::from_ref(&schema)).await {
                        warn!(workspace = schema, error = %Chain(&error), "could not put workspace {schema} into the calendar");
                        self.to_enrol.push(schema);
                    }
                }
            }
            Err(error) => {
                warn!(error = %Chain(&error), "could not put the workspaces into the calendar");
                self.to_enrol = to_enrol;
            }
        }
        self.to_enrol.is_empty()
    }

    fn slots(&self) -> Slots {
        let histories = self.running.values().filter(|run| run.is_history).count();
        Slots { count: self.fleet.slots(), taken: self.running.len(), histories }
    }

    /// The workspaces that this daemon is not at work on.
    fn idle_schemas(&self) -> Vec<String> {
        let mut schemas = self.fleet.schemas();
        schemas.retain(|schema| !self.running.values().any(|run| run.schema == *schema));
        schemas
    }

    /// Goes on with a claim that has turned out to be made. Nobody else would, as long as its lease is fresh.
    async fn claim_made(&mut self) -> Result<Option<Claimed>, store::StoreError> {
        let Some(Claimed { due, run_id, began }) = &self.unanswered else { return Ok(None) };
        let (workspace, holder) = (due.workspace.as_str(), this_process());
        // Without a lock: whoever holds one keeps no other workspace waiting. A commit may still be under way, so it is looked for again.
        let is_held = self.control.read_only(async |db| store::holds_lease(db, workspace, *run_id, &holder).await).await?;
        if !is_held && began.elapsed() < store::STALE_AFTER {
            return Ok(None);
        }
        Ok(self.unanswered.take().filter(|_| is_held))
    }

    /// Claims the workspace that comes first; none if none is due that may be begun.
    async fn claim(&mut self, left_out: &[String]) -> Result<Option<Claimed>, ClaimFailure> {
        if let Some(claimed) = self.claim_made().await.map_err(|error| ClaimFailure { picked: None, error })? {
            return Ok(Some(claimed));
        }
        let mut schemas = self.idle_schemas();
        schemas.retain(|schema| !left_out.contains(schema));
        let with_histories = self.slots().has_free_for_history();
        let (began, mut picked, mut taken) = (Instant::now(), None, None);
        let claim = self.control.transaction_once(async |db| {
            store::limit_lock_waits(&mut *db, LOCKED_FOR).await?;
            // No other process can use an embedded database.
            let (held, is_ours) = (store::lease_processes(&mut *db, &schemas).await?, self.control.is_embedded());
            let exited = held.iter().filter(|(_, process)| is_ours || has_exited(process));
            let exited_runs: Vec<i64> = exited.map(|(run_id, _)| *run_id).collect();
            let (holder, mut workspaces) = (this_process(), schemas.clone());
            loop {
                let wanted = ClaimRequest { workspaces: &workspaces, with_histories, holder: &holder, exited_runs: &exited_runs };
                let Some(due) = store::pick_due(&mut *db, wanted).await? else { return Ok(()) };
                picked = Some(due.workspace.clone());
                if let Some(run_id) = self.claim_picked(&mut *db, &due, wanted).await? {
                    taken = Some(Claimed { due, run_id, began });
                    return Ok(());
                }
                workspaces.retain(|schema| *schema != due.workspace);
                picked = None;
            }
        });
        match claim.await {
            Ok(()) => {
                let of_the_same =
                    |unanswered: &Claimed| taken.as_ref().is_some_and(|taken| taken.due.workspace == unanswered.due.workspace);
                self.unanswered.take_if(|unanswered| of_the_same(unanswered));
                Ok(taken)
            }
            Err(error) => {
                self.unanswered = taken.or(self.unanswered.take());
                let is_locked = error.kind().retry() == Retry::Briefly;
                Err(ClaimFailure { picked: picked.filter(|_| is_locked), error })
            }
        }
    }

    /// Takes the lease of a workspace that was picked; none if it has to wait after all.
    async fn claim_picked(
        &self,
        db: &mut PgConnection,
        due: &DueWorkspace,
        wanted: ClaimRequest<'_>,
    ) -> Result<Option<i64>, store::StoreError> {
        let Some(member) = self.fleet.member_of(&due.workspace) else { return Ok(None) };
        if let Some(wait) = wait_of_crashed(member, due) {
            store::postpone(db, due, wait).await?;
            return Ok(None);
        }
        let is_retry = due.retry_objects.is_some();
        // The clock of the database says what is due. Where it is ahead, no time of the schedule may come once more.
        let next_run_at = if is_retry { None } else { member.config.schedule.next_after(due.now.max(Utc::now())) };
        store::claim(db, due, if is_retry { RETRY } else { DAEMON }, wanted, next_run_at).await
    }

    /// Starts the run of a workspace that was claimed, on a task of its own.
    fn start(&mut self, Claimed { due, run_id, began }: Claimed) {
        let Some(member) = self.fleet.member_of(&due.workspace) else { return };
        let config = Arc::clone(&member.config);
        let mut objects = config.settings().planhat.objects.clone();
        if let Some(failed) = &due.retry_objects {
            // Some may have left the settings since.
            objects.retain(|object| failed.iter().any(|name| name == object.name));
        }
        let database = &config.settings().database;
        let claimed = ClaimedRun {
            run: BegunRun { run_id, token_hash: due.token_hash },
            lease: self.heartbeat.keep(run_id, began),
            command: if due.retry_objects.is_some() { RETRY } else { DAEMON },
            objects,
            failures: due.failures,
            control: Arc::clone(&self.control),
            shares_connections: self.fleet.is_single || self.control.is_embedded() || database.max_connections == 1,
            health: Arc::clone(&self.health),
            stop: member.stop.clone(),
            config: Arc::clone(&config),
        };
        let schema = due.workspace;
        let span = error_span!("workspace", workspace = %schema);
        notify_systemd(&[NotifyState::Status("syncing")]);
        let task = self.runs.spawn_local(claimed.execute().instrument(span));
        self.running.insert(task.id(), RunningWorkspace { schema, is_history: due.is_history, config });
    }

    fn run_ended(&mut self, ended: Result<(task::Id, ()), JoinError>) {
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(failure) => {
                // Its lease is not renewed any more, so the run is taken over.
                error!(error = %failure, "a run ended without a result");
                failure.id()
            }
        };
        let Some(RunningWorkspace { schema, config, .. }) = self.running.remove(&id) else { return };
        self.health.run_ends(&schema);
        if let Some(member) = self.fleet.member_of(&schema) {
            member.staleness.recheck();
            // As long as it ran, its times in the calendar were left alone.
            if !Arc::ptr_eq(&member.config, &config) {
                self.to_enrol.push(schema);
            }
        }
    }

    /// How long to wait before the calendar is looked at again.
    async fn next_look(&mut self) -> Duration {
        let poll_every = match self.fleet.daemon.poll_every {
            Some(every) => Some(every),
            None => (!self.fleet.is_single).then_some(POLL_EVERY),
        };
        if !self.slots().has_free() {
            return poll_every.unwrap_or(TICK);
        }
        let schemas = self.idle_schemas();
        let looked = self.control.read_only(async |db| store::next_look(db, &schemas).await).await;
        let next = match looked {
            Ok(next) => next,
            Err(error) => {
                warn!(error = %Chain(&error), "could not see when the next workspace is due");
                return LOOK_AGAIN;
            }
        };
        match seconds(next.due_in) {
            Some(Duration::ZERO) => return self.look_again_at_busy(&schemas).await,
            Some(due_in) => self.announce_next(Utc::now() + due_in),
            None => {}
        }
        rest_until(next, poll_every)
    }

    /// A workspace is due, and another run is at work on it or with its token: a backfill is asked to make room.
    async fn look_again_at_busy(&self, schemas: &[String]) -> Duration {
        let with_histories = self.slots().has_free_for_history();
        let asking = self.control.transaction_once(async |db| {
            store::limit_lock_waits(&mut *db, LOCKED_FOR).await?;
            store::request_leases_of_backfills(db, schemas, with_histories).await
        });
        match asking.await {
            Ok(0) => LOOK_AGAIN,
            Ok(_) => YIELDS_WITHIN,
            Err(error) => {
                debug!(error = %Chain(&error), "could not ask a backfill to yield");
                LOOK_AGAIN
            }
        }
    }

    fn announce_next(&mut self, next: DateTime<Utc>) {
        // It is computed from seconds that are left, and so differs by some milliseconds each time.
        if self.announced.is_some_and(|announced| (announced - next).abs() < chrono::TimeDelta::seconds(1)) {
            return;
        }
        self.announced = Some(next);
        self.health.next_run(Some(next));
        let reloaded = self.reloaded.as_ref().map(|reloaded| format!("; {reloaded}")).unwrap_or_default();
        notify_systemd(&[NotifyState::Status(&format!("next run at {}{reloaded}", next.format("%Y-%m-%d %H:%M:%S UTC")))]);
        info!("the next run is due at {}", next.format("%Y-%m-%d %H:%M:%S UTC"));
    }

    async fn wait(&mut self, rest: Duration) -> WakeReason {
        let (since, clock) = (Instant::now(), Utc::now());
        loop {
            // The system clock may be changed while waiting, so it is checked regularly.
            if Utc::now() + TICK < clock + since.elapsed() {
                info!("the clock was set back");
                return WakeReason::ClockSetBack;
            }
            let left = rest.saturating_sub(passed(since, clock)).min(TICK);
            tokio::select! {
                biased;
                () = self.stop.token.cancelled() => return WakeReason::Stop,
                _ = self.hangups.recv() => return WakeReason::Reload,
                Some(ended) = self.runs.join_next_with_id(), if !self.runs.is_empty() => {
                    self.run_ended(ended);
                    return WakeReason::RunEnded;
                }
                () = tokio::time::sleep(left) => {}
            }
            let looks_at_files = !self.fleet.is_single && self.files_looked_at.elapsed() >= LOOK_AT_FILES;
            if passed(since, clock) >= rest || looks_at_files {
                return WakeReason::Look;
            }
        }
    }

    /// Takes over the settings as they are now, from the next run on. What is wrong with them changes nothing.
    fn reload(&mut self, reload: impl Fn() -> Result<Installation, SettingsError>, is_asked_for: bool) {
        if let (true, Ok(now)) = (is_asked_for, NotifyState::monotonic_usec_now()) {
            notify_systemd(&[NotifyState::Reloading, now]);
        }
        let taken_over = reload().map_err(CommandError::from).and_then(|mut read| {
            if read.is_single != self.fleet.is_single {
                let other = anyhow::anyhow!("going from one workspace to several, or back, needs a restart");
                return Err(CommandError::new(planhat_model::error::exit_code::CONFIGURATION, other, None));
            }
            let taken_over = self.fleet.take_over(&mut read);
            self.settings = read;
            taken_over
        });
        let said = match taken_over {
            Ok((changed, said)) => {
                self.to_enrol.extend(changed);
                self.health.watch(self.fleet.watched());
                self.fleet.start_housekeeping(&self.control);
                info!("{said}");
                said
            }
            Err(failure) => {
                let failure = failure.on_one_line();
                let said = format!("the new settings are not applied: {failure}");
                // Files that are wrong are looked at again and again: what is missing may come to where nobody looks.
                if self.reloaded.as_ref() == Some(&said) && !is_asked_for {
                    return;
                }
                error!(error = failure, "the new settings are not applied");
                said
            }
        };
        notify_systemd(&[NotifyState::Ready, NotifyState::Status(&said)]);
        (self.reloaded, self.announced) = (Some(said), None);
    }
}

/// Why no workspace could be claimed.
struct ClaimFailure {
    /// The one that was tried, if somebody else has locked it: the others may be claimed.
    picked: Option<String>,
    error: store::StoreError,
}

/// A workspace that was claimed.
struct Claimed {
    due: DueWorkspace,
    run_id: i64,
    began: Instant,
}

/// What has passed already, as negative seconds, is now.
fn seconds(left: Option<f64>) -> Option<Duration> {
    left.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// When the calendar is looked at again that has nothing to begin now.
fn rest_until(next: NextLook, poll_every: Option<Duration>) -> Duration {
    let stale_in = match seconds(next.stale_in) {
        // It could be taken over, and was not: its token is at work, or the slots for histories are taken.
        Some(Duration::ZERO) => Some(LOOK_AGAIN),
        // A lease that is just not renewed yet is looked at again after a moment.
        stale_in => stale_in.map(|stale_in| stale_in.max(Duration::from_secs(1))),
    };
    [seconds(next.due_in), stale_in, poll_every].into_iter().flatten().min().unwrap_or(WHILE_PAUSED)
}

/// How much time has passed: by the clock of the system too, since the other one stands still while a machine is suspended.
fn passed(since: Instant, clock: DateTime<Utc>) -> Duration {
    (Utc::now() - clock).to_std().unwrap_or_default().max(since.elapsed())
}

/// How long a workspace waits whose runs have ended with their process more than once: it may be what ends it.
fn wait_of_crashed(member: &Member, due: &DueWorkspace) -> Option<Duration> {
    let again = due.unfinished_run.is_some() && due.failures > 0 && !due.was_postponed && !due.is_requested;
    let first = member.config.settings().daemon.retry_after;
    if again { wait_after(first, due.failures - 1) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar_is_looked_at_again_when_something_is_due_and_now_and_then() {
        let (poll, day) = (Some(POLL_EVERY), 86_400.0);
        for (due_in, stale_in, poll_every, expected) in [
            (Some(day), None, None, 86_400),
            (Some(day), Some(40.0), None, 40),
            // Not renewed yet, but hardly more than that.
            (Some(day), Some(0.01), None, 1),
            // Nobody may take it over now, so there is no hurry.
            (Some(day), Some(-30.0), None, 10),
            (Some(3.0), Some(-30.0), None, 3),
            (Some(day), None, poll, 10),
            // The only workspace is paused, and may be resumed.
            (None, None, None, 60),
            (None, Some(70.0), None, 70),
        ] {
            let rest = rest_until(NextLook { due_in, stale_in }, poll_every);
            assert_eq!(rest.as_secs(), expected, "{due_in:?} {stale_in:?} {poll_every:?}");
        }
    }

    #[test]
    fn time_passes_while_the_machine_is_suspended() {
        let hour = chrono::TimeDelta::hours(1);
        assert!(passed(Instant::now(), Utc::now() - hour) >= Duration::from_secs(3600));
        assert!(passed(Instant::now(), Utc::now() + hour) < Duration::from_secs(60));
    }
}
