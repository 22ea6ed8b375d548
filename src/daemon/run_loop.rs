//! The loop of the daemon: wait until a run is due, run, and take over settings that were changed.
//!
//! [`Dispatch`] decides when and what; this waits, asks the database, and says what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use metrics::{counter, histogram};
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_model::error::{Chain, ErrorKind};
use planhat_store::{self as store, ObjectStatus};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use super::DAEMON;
use super::daemon_lease::DaemonLeaseKeeper;
use super::dispatch::{Dispatch, DueRun};
use super::health_state::HealthState;
use super::housekeeping::{self, notify_systemd};
use super::runtime_config::RuntimeConfig;
use super::staleness::StalenessMonitor;
use crate::command_error::CommandError;
use crate::config::{Settings, SettingsError};
use crate::pull::Mode;
use crate::run::{self, RunError, Summary};
use crate::signals::Stop;

/// The command of retry runs in `planhat_sync.runs`; they do not count as scheduled runs.
const RETRY: &str = "daemon (retry)";
/// How often the clock is checked.
const TICK: Duration = Duration::from_secs(10);

pub(super) struct DaemonLoop<'a> {
    lease: &'a DaemonLeaseKeeper,
    runtime: RuntimeConfig,
    stop: Stop,
    hangups: Signal,
    health: Arc<HealthState>,
    dispatch: Dispatch,
    staleness: StalenessMonitor,
    /// The result of the last reload, shown in the status line of systemd.
    reloaded: Option<String>,
}

/// Why waiting ended.
enum WakeReason {
    Due,
    /// Due times must be computed again.
    ClockSetBack,
    Reload,
    Stop,
}

impl<'a> DaemonLoop<'a> {
    /// From here on a signal that asks for the settings to be read again does not end the process.
    pub(super) fn new(
        runtime: RuntimeConfig,
        lease: &'a DaemonLeaseKeeper,
        health: Arc<HealthState>,
        stop: &Stop,
    ) -> Result<DaemonLoop<'a>, CommandError> {
        let hangups = signal(SignalKind::hangup()).context("could not listen for signals")?;
        let staleness = StalenessMonitor::since(Utc::now());
        let (stop, dispatch) = (stop.clone(), Dispatch::default());
        Ok(DaemonLoop { lease, runtime, stop, hangups, health, dispatch, staleness, reloaded: None })
    }

    /// Waits and runs until it is stopped.
    pub(super) async fn run_loop(&mut self, reload: impl Fn() -> Result<Settings, SettingsError>) {
        let mut _housekeeping = self.start_housekeeping();
        loop {
            let next = self.next_run().await;
            self.announce_next(next);
            let reload_wanted = match self.wait_until(next).await {
                WakeReason::Stop => return,
                WakeReason::Reload => true,
                WakeReason::ClockSetBack => continue,
                WakeReason::Due => self.run().await,
            };
            if self.stop.token.is_cancelled() {
                return;
            }
            if reload_wanted {
                self.reload(&reload);
                _housekeeping = self.start_housekeeping();
            }
        }
    }

    /// When the next run is due: by the schedule, for a missed run, or for a retry.
    async fn next_run(&mut self) -> DateTime<Utc> {
        let now = Utc::now();
        if self.dispatch.needs_last_start() {
            let store = self.lease.store();
            match store.read_only(async |db| store::last_good_start(db, &store.schema, DAEMON).await).await {
                Ok(last_good) => self.dispatch.on_last_start(last_good),
                Err(error) => warn!(error = %Chain(&error), "could not read when the last run was"),
            }
        }
        self.dispatch.next_run(&self.runtime.schedule, now)
    }

    fn announce_next(&self, next: DateTime<Utc>) {
        self.health.next_run(next);
        let reloaded = self.reloaded.as_ref().map(|reloaded| format!("; {reloaded}")).unwrap_or_default();
        notify_systemd(&[NotifyState::Status(&format!("next run at {}{reloaded}", next.format("%Y-%m-%d %H:%M:%S UTC")))]);
        info!("the next run is due at {}", next.format("%Y-%m-%d %H:%M:%S UTC"));
    }

    async fn wait_until(&mut self, due: DateTime<Utc>) -> WakeReason {
        let begun = (Instant::now(), Utc::now());
        loop {
            // The system clock may be changed while waiting, so it is checked regularly.
            if Utc::now() + TICK < begun.1 + begun.0.elapsed() {
                info!("the clock was set back");
                return WakeReason::ClockSetBack;
            }
            let rest = (due - Utc::now()).to_std().unwrap_or_default().min(TICK);
            if rest.is_zero() {
                return WakeReason::Due;
            }
            tokio::select! {
                biased;
                () = self.stop.token.cancelled() => return WakeReason::Stop,
                _ = self.hangups.recv() => return WakeReason::Reload,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One run. Returns whether the settings are to be read again.
    async fn run(&mut self) -> bool {
        // Another daemon may have taken over the lease while this one was idle.
        self.lease.renew().await;
        if self.stop.token.is_cancelled() {
            return false;
        }
        let _renewing = self.lease.keep_renewed();
        let (command, objects) = match self.dispatch.begin(Utc::now()) {
            DueRun::Retry(objects) => (RETRY, objects),
            DueRun::AllObjects => (DAEMON, self.runtime.settings().planhat.objects.clone()),
        };
        let (result, reload_wanted) = self.run_objects(command, &objects).await;
        match result {
            Ok(summary) => self.run_ended(command, &summary).await,
            Err(error) => self.run_could_not_end(command, objects, error).await,
        }
        self.staleness.recheck();
        reload_wanted
    }

    /// Runs, and hears meanwhile whether the settings are to be read again.
    async fn run_objects(&mut self, command: &str, objects: &[&'static Object]) -> (Result<Summary, RunError>, bool) {
        let RuntimeConfig { workspace, client, notifier, .. } = &self.runtime;
        let request = workspace.run_request(command, Mode::Incremental, objects);
        self.health.run_begins(Arc::clone(&request.progress));
        notify_systemd(&[NotifyState::Status("syncing")]);
        let mut reload_wanted = false;
        let begins = notifier.run_began();
        let run = run::run_with_notice(client, self.lease.store(), &request, &self.stop.token, begins);
        let mut run = std::pin::pin!(run);
        let result = loop {
            tokio::select! {
                result = &mut run => break result,
                _ = self.hangups.recv() => reload_wanted = true,
            }
        };
        self.health.run_ends();
        (result, reload_wanted)
    }

    async fn run_ended(&mut self, command: &str, summary: &Summary) {
        counter!("planhat_sync_runs_total", "status" => summary.status.as_str()).increment(1);
        histogram!("planhat_sync_run_duration_seconds").record(summary.seconds);
        let is_failed = |status| matches!(status, ObjectStatus::Failed | ObjectStatus::Interrupted);
        let failed = summary.objects.iter().filter(|of| is_failed(of.run.status));
        self.schedule_retry(failed.filter_map(|of| catalog::object(of.run.object)).collect());
        self.unless_stopped(self.runtime.notifier.run_ended(self.lease.store(), command, summary)).await;
    }

    /// The run could not begin, or what came of it could not be noted.
    async fn run_could_not_end(&mut self, command: &str, objects: Vec<&'static Object>, error: RunError) {
        match error {
            RunError::Stopped => {}
            error if self.stop.token.is_cancelled() && *error.kind().root() == ErrorKind::DatabaseUnresponsive => {
                warn!(error = %Chain(&error), "the database does not respond; the next run will mark this one as interrupted");
            }
            busy @ RunError::Busy(_) => {
                info!("{busy}");
                self.dispatch.on_busy(objects, Utc::now());
            }
            error => {
                error!(error = %Chain(&error), "{}", error.headline());
                counter!("planhat_sync_runs_total", "status" => "failed").increment(1);
                if let Some(why) = CommandError::from(error).as_start_failure() {
                    let told = self.runtime.notifier.run_could_not_begin(Some(self.lease.store()), command, &why);
                    self.unless_stopped(told).await;
                }
                self.schedule_retry(objects);
            }
        }
    }

    /// A stop does not wait for a message to be sent; the next run announces the state.
    async fn unless_stopped(&self, telling: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = telling => {}
            () = self.stop.token.cancelled() => {}
        }
    }

    fn schedule_retry(&mut self, objects: Vec<&'static Object>) {
        self.dispatch.on_failed(objects, self.runtime.settings().daemon.retry_after, Utc::now());
    }

    /// Takes over the settings as they are now, from the next run on. What is wrong with them changes nothing.
    fn reload(&mut self, reload: impl Fn() -> Result<Settings, SettingsError>) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify_systemd(&[NotifyState::Reloading, now]);
        }
        let said = match reload().map_err(CommandError::from).and_then(|read| self.runtime.with(read)) {
            Ok((runtime, said)) => {
                self.runtime = runtime;
                self.health.stuck_after(self.runtime.settings().daemon.stuck_after);
                self.runtime.publish_objects(&self.health);
                info!("{said}");
                said
            }
            Err(failure) => {
                let failure = failure.on_one_line();
                error!(error = failure, "the new settings are not applied");
                format!("the new settings are not applied: {failure}")
            }
        };
        notify_systemd(&[NotifyState::Ready, NotifyState::Status(&said)]);
        self.reloaded = Some(said);
    }

    /// Starts the housekeeping tasks for these settings.
    fn start_housekeeping(&self) -> [AbortOnDropHandle<()>; 2] {
        let (store, RuntimeConfig { workspace, notifier, .. }) = (self.lease.store(), &self.runtime);
        [self.staleness.watch(store, notifier, workspace), housekeeping::deliver(store, notifier)]
    }
}
