//! `daemon`: stays up, runs a sync when one is due, and tells how it is.
//!
//! It ends with SIGTERM or SIGINT, and with what cannot be helped at the start (a wrong token, no database).
//! Once it is up nothing ends it: a run that fails is tried again, with the objects that failed.

mod housekeeping;
pub(crate) mod http;
mod http_server;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};
use planhat_api::Client;
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_model::error::exit_code as exit;
use planhat_model::error::{Chain, ErrorKind};
use planhat_store::{self as store, DaemonLease, ObjectStatus, Store};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::command_error::CommandError;
use crate::config::{self, Reload, Settings};
use crate::daemon::http::{HealthState, HttpServer};
use crate::events::Notifier;
use crate::pull::Mode;
use crate::run::{self, Summary};
use crate::schedule::Schedule;
use crate::signals::Stop;
use crate::workspace::{client, listen_for_signals, notifier, open_store, run_request};
use housekeeping::{DaemonLeaseKeeper, StalenessMonitor, notify_systemd};

/// What its runs are called in `planhat_sync.runs`; those that try again what has failed count for nothing else.
const DAEMON: &str = "daemon";
const RETRY: &str = "daemon (retry)";
/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(10);
/// After so long a workspace that somebody else is working on, or a database that is away, is tried again.
const RETRY_SOON: TimeDelta = TimeDelta::minutes(1);
/// A service manager does not wait long for a service to be up.
const START_WITHIN: Duration = Duration::from_secs(20);

pub async fn daemon(
    settings: Settings,
    reload: impl Fn() -> Result<Settings, config::SettingsError>,
) -> Result<ExitCode, CommandError> {
    // Mistakes in the settings show before the database is touched.
    let runtime = RuntimeConfig::of(settings)?;
    let notifier = runtime.notifier.clone().for_one_run();
    notify_systemd(&[NotifyState::Status("connecting to the database")]);
    info!("connecting to the database");
    let store = Arc::new(open_store(&runtime.settings).await?);
    let stop = listen_for_signals(&store)?;
    // Housekeeping has tasks of its own, on this thread.
    let result = LocalSet::new().run_until(run_until_stopped(&store, runtime, &stop, reload)).await;
    // A start that is refused is told once, since what was told is stored; one without a database would be told at each attempt.
    if let Err(failure) = &result
        && let Some(why) = failure.as_start_failure()
    {
        tokio::select! {
            () = stop.token.cancelled() => {}
            () = notifier.run_could_not_begin(Some(&store), DAEMON, &why) => {}
        }
    }
    if let Some(store) = Arc::into_inner(store) {
        store.close().await;
    }
    match result {
        Err(failure) if stop.token.is_cancelled() => {
            warn!(error = failure.on_one_line(), "stopped before it was up");
            Ok(ExitCode::SUCCESS)
        }
        result => result,
    }
}

/// What the settings come to.
struct RuntimeConfig {
    settings: Settings,
    client: Client,
    notifier: Notifier,
    schedule: Schedule,
}

impl RuntimeConfig {
    fn of(settings: Settings) -> Result<RuntimeConfig, CommandError> {
        // Either may be hidden from a service.
        let of_host = ["/proc/sys/kernel/hostname", "/etc/machine-id"];
        let host = of_host.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let schedule = settings.schedule(host.trim()).map_err(config::SettingsError::from)?;
        for (key, doubt) in settings.warnings(Utc::now()) {
            warn!("setting {key:?} {doubt}");
        }
        Ok(RuntimeConfig { client: client(&settings)?, notifier: notifier(&settings)?, schedule, settings })
    }

    /// What is shown of objects is that of these.
    fn publish_objects(&self, health: &HealthState) {
        let objects = self.settings.planhat.objects.iter().map(|object| object.name);
        health.watch(objects.collect(), self.settings.notify.stale_after);
    }
}

/// From the first sign of life to the last.
async fn run_until_stopped(
    store: &Arc<Store>,
    runtime: RuntimeConfig,
    stop: &Stop,
    reload: impl Fn() -> Result<Settings, config::SettingsError>,
) -> Result<ExitCode, CommandError> {
    let health = Arc::new(HealthState::new(runtime.settings.daemon.stuck_after));
    let _watchdog = housekeeping::watchdog(&health);
    runtime.publish_objects(&health);
    store.migrate().await?;
    tokio::select! {
        refused = refuse_another_workspace(store, &runtime.client) => refused?,
        () = stop.token.cancelled() => return Ok(ExitCode::SUCCESS),
    }
    let lease = acquire_lease(store, stop).await?;
    let result = serve_and_run(runtime, &lease, health, stop, reload).await;
    // Whatever it has come to, the next one need not wait.
    lease.release().await;
    result?;
    if lease.is_lost.load(Ordering::Relaxed) {
        return Ok(ExitCode::from(exit::BUSY));
    }
    info!("stopped; everything committed is kept");
    Ok(ExitCode::SUCCESS)
}

/// Serves, waits and runs until it is stopped.
async fn serve_and_run(
    runtime: RuntimeConfig,
    lease: &DaemonLeaseKeeper,
    health: Arc<HealthState>,
    stop: &Stop,
    reload: impl Fn() -> Result<Settings, config::SettingsError>,
) -> Result<(), CommandError> {
    let hangups = signal(SignalKind::hangup()).context("could not listen for signals")?;
    let (http, mut metrics) = (CancellationToken::new(), None);
    let serving = match runtime.settings.daemon.listen {
        Some(address) => {
            let server = HttpServer::new(Arc::clone(&lease.store), Arc::clone(&health)).context("could not collect metrics")?;
            metrics = Some(housekeeping::keep_metrics_small(&server));
            let listening = server.serve(address, http.clone()).await;
            let (address, serving) = listening.with_context(|| format!("could not listen on {address} (daemon.listen)"))?;
            info!(%address, "serving /healthz, /readyz, /metrics, /api/status and /api/runs");
            Some(serving)
        }
        None => None,
    };
    notify_systemd(&[NotifyState::Ready]);

    let (stop, staleness) = (stop.clone(), StalenessMonitor::since(Utc::now()));
    let mut daemon =
        DaemonLoop { lease, runtime, stop, hangups, health, last_run_start: None, retry: None, staleness, reloaded: None };
    daemon.run_loop(reload).await;

    notify_systemd(&[NotifyState::Stopping]);
    http.cancel();
    drop(metrics);
    if let Some(serving) = serving {
        serving.end().await;
    }
    Ok(())
}

/// A schema that belongs to another workspace is a mistake in the settings, which shows before the service counts as up. Where
/// that cannot be told, each run asks again.
async fn refuse_another_workspace(store: &Store, client: &Client) -> Result<(), CommandError> {
    match timeout(START_WITHIN, run::recognize(client, store)).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused @ run::RunError::OtherWorkspace { .. })) => return Err(refused.into()),
        Ok(Err(error)) => warn!(error = %Chain(&error), "it could not be told yet whose schema {} is", store.schema),
        Err(_) => warn!("it could not be told within {} s whose schema {} is", START_WITHIN.as_secs(), store.schema),
    }
    Ok(())
}

/// One daemon looks after a workspace: two would do everything twice.
async fn acquire_lease(store: &Arc<Store>, stop: &Stop) -> Result<DaemonLeaseKeeper, CommandError> {
    let holder = run::this_process();
    let acquired =
        store.transaction(async |db| store::acquire_daemon_lease(db, &store.schema, &holder, run::process_state).await).await?;
    match acquired {
        DaemonLease::Acquired { from } => {
            if let Some(from) = from {
                let last_seen = from.renewed_at.format("%Y-%m-%d %H:%M:%S UTC");
                warn!("takes the place of another daemon: {}, last seen at work {last_seen}", from.holder);
            }
            Ok(DaemonLeaseKeeper { store: Arc::clone(store), holder, is_lost: Arc::default(), stop: stop.token.clone() })
        }
        DaemonLease::HeldBy(other) => {
            let since = other.started_at.format("%Y-%m-%d %H:%M:%S UTC");
            let busy = anyhow::anyhow!("another daemon looks after this workspace: {}, since {since}", other.holder);
            Err(CommandError::of(&ErrorKind::DaemonBusy { free_after_seconds: store::STALE_AFTER.as_secs() }, busy))
        }
    }
}

struct DaemonLoop<'a> {
    lease: &'a DaemonLeaseKeeper,
    runtime: RuntimeConfig,
    stop: Stop,
    hangups: Signal,
    health: Arc<HealthState>,
    /// When a run of all objects last began, by any daemon; none as long as that is not known.
    last_run_start: Option<LastRunStart>,
    /// What has failed, and when it is tried again.
    retry: Option<(DateTime<Utc>, Vec<&'static Object>)>,
    staleness: StalenessMonitor,
    /// What became of the last reload, for whoever looks at the service after it.
    reloaded: Option<String>,
}

/// When a run of all objects last began, if one ever did.
#[derive(Debug, Clone, Copy)]
struct LastRunStart(Option<DateTime<Utc>>);

/// Why waiting ended.
enum WakeReason {
    Due,
    /// What was due by the clock as it was may be due at another time now.
    ClockSetBack,
    Reload,
    Stop,
}

impl DaemonLoop<'_> {
    /// Waits and runs until it is stopped.
    async fn run_loop(&mut self, reload: impl Fn() -> Result<Settings, config::SettingsError>) {
        let mut _housekeeping = self.start_housekeeping();
        loop {
            let next = self.next_run().await;
            self.health.next_run(next);
            let reloaded = self.reloaded.as_ref().map(|reloaded| format!("; {reloaded}")).unwrap_or_default();
            notify_systemd(&[NotifyState::Status(&format!("next run at {}{reloaded}", next.format("%Y-%m-%d %H:%M:%S UTC")))]);
            info!("the next run is due at {}", next.format("%Y-%m-%d %H:%M:%S UTC"));
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

    /// When there is something to do: what the schedule says, what was missed, or what is to be tried again.
    async fn next_run(&mut self) -> DateTime<Utc> {
        let now = Utc::now();
        let store = &self.lease.store;
        if self.last_run_start.is_none() {
            match store.read_only(async |db| store::last_good_start(db, &store.schema, DAEMON).await).await {
                Ok(last_good) => self.last_run_start = Some(LastRunStart(last_good)),
                Err(error) => warn!(error = %Chain(&error), "could not see when the last run was"),
            }
        }
        let scheduled = match self.last_run_start {
            Some(LastRunStart(last)) => self.runtime.schedule.due(last, now),
            None => now + RETRY_SOON,
        };
        self.retry.as_ref().map_or(scheduled, |(at, _)| scheduled.min(*at))
    }

    async fn wait_until(&mut self, due: DateTime<Utc>) -> WakeReason {
        let begun = (Instant::now(), Utc::now());
        loop {
            // The clock may be set meanwhile, so it is looked at now and then.
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
        // Another one may have come while this one was idle.
        self.lease.renew().await;
        if self.stop.token.is_cancelled() {
            return false;
        }
        let _renewing = self.lease.keep_renewed();
        let now = Utc::now();
        let (command, objects) = match self.retry.take() {
            Some((at, objects)) if at <= now => (RETRY, objects),
            _ => {
                self.last_run_start = Some(LastRunStart(Some(now)));
                (DAEMON, self.runtime.settings.planhat.objects.clone())
            }
        };
        let RuntimeConfig { settings, client, notifier, .. } = &self.runtime;
        let request = run_request(command, Mode::Incremental, &objects, settings);
        self.health.run_begins(Arc::clone(&request.progress));
        notify_systemd(&[NotifyState::Status("syncing")]);
        let mut reload_wanted = false;
        let result = {
            let mut run =
                std::pin::pin!(run::run_with_notice(client, &self.lease.store, &request, &self.stop.token, notifier.run_began()));
            loop {
                tokio::select! {
                    result = &mut run => break result,
                    _ = self.hangups.recv() => reload_wanted = true,
                }
            }
        };
        self.health.run_ends();
        match result {
            Ok(summary) => self.run_ended(command, &summary).await,
            Err(run::RunError::Stopped) => {}
            Err(error) if self.stop.token.is_cancelled() && *error.kind().root() == ErrorKind::DatabaseUnresponsive => {
                warn!(error = %Chain(&error), "the database does not answer, so the next run notes that this one was interrupted");
            }
            Err(run::RunError::Busy(held)) => {
                info!("{}", run::RunError::Busy(held));
                self.retry = Some((Utc::now() + RETRY_SOON, objects));
            }
            Err(error) => {
                error!(error = %Chain(&error), "{}", error.headline());
                counter!("planhat_sync_runs_total", "status" => "failed").increment(1);
                if let Some(why) = CommandError::from(error).as_start_failure() {
                    self.unless_stopped(self.runtime.notifier.run_could_not_begin(Some(&self.lease.store), command, &why)).await;
                }
                self.schedule_retry(objects);
            }
        }
        self.staleness.recheck();
        reload_wanted
    }

    async fn run_ended(&mut self, command: &str, summary: &Summary) {
        counter!("planhat_sync_runs_total", "status" => summary.status.as_str()).increment(1);
        histogram!("planhat_sync_run_duration_seconds").record(summary.seconds);
        let failed = |status| matches!(status, ObjectStatus::Failed | ObjectStatus::Interrupted);
        let again: Vec<_> = summary.objects.iter().filter(|of| failed(of.run.status)).map(|of| of.run.object).collect();
        if !again.is_empty() {
            self.schedule_retry(again.iter().filter_map(|name| catalog::object(name)).collect());
        }
        self.unless_stopped(self.runtime.notifier.run_ended(&self.lease.store, command, summary)).await;
    }

    /// Who is asked to stop waits for nobody who is to be told; the next run tells it.
    async fn unless_stopped(&self, telling: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = telling => {}
            () = self.stop.token.cancelled() => {}
        }
    }

    fn schedule_retry(&mut self, objects: Vec<&'static Object>) {
        let after = self.runtime.settings.daemon.retry_after;
        self.retry = (!after.is_zero()).then(|| (Utc::now() + after, objects));
    }

    /// Takes over the settings as they are now, from the next run on. What is wrong with them changes nothing.
    fn reload(&mut self, reload: impl Fn() -> Result<Settings, config::SettingsError>) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            notify_systemd(&[NotifyState::Reloading, now]);
        }
        let read = reload().map_err(CommandError::from).and_then(|read| {
            let reload = Reload::of(&self.runtime.settings, read);
            let said = reload.to_string();
            Ok((RuntimeConfig::of(reload.settings)?, said))
        });
        let said = match read {
            Ok((runtime, said)) => {
                self.health.stuck_after(runtime.settings.daemon.stuck_after);
                let notifier = runtime.notifier.clone().replacing(&self.runtime.notifier);
                self.runtime = RuntimeConfig { notifier, ..runtime };
                self.runtime.publish_objects(&self.health);
                info!("{said}");
                said
            }
            Err(failure) => {
                let failure = failure.on_one_line();
                error!(error = failure, "the settings are not taken over");
                format!("the settings are not taken over: {failure}")
            }
        };
        notify_systemd(&[NotifyState::Ready, NotifyState::Status(&said)]);
        self.reloaded = Some(said);
    }

    /// What goes on beside the runs by these settings.
    fn start_housekeeping(&self) -> [AbortOnDropHandle<()>; 2] {
        let (store, RuntimeConfig { settings, notifier, .. }) = (&self.lease.store, &self.runtime);
        [self.staleness.watch(store, notifier, settings), housekeeping::deliver(store, notifier)]
    }
}
