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
use planhat_model::error::Chain;
use planhat_model::error::exit_code as exit;
use planhat_store::{self as store, DaemonLease, ObjectStatus, Store};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::config::{self, Reload, Settings};
use crate::daemon::http::{Site, Vitals};
use crate::events::Notifier;
use crate::failure::Failure;
use crate::pull::Ask;
use crate::run::{self, Summary};
use crate::schedule::Schedule;
use crate::signals::Stop;
use crate::workspace::{client, listen_for_signals, notifier, open_store, run_request};
use housekeeping::{Age, Lease, tell_systemd};

/// What its runs are called in `planhat_sync.runs`; those that try again what has failed count for nothing else.
const DAEMON: &str = "daemon";
const RETRY: &str = "daemon (retry)";
/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(10);
/// After so long a workspace that somebody else is working on, or a database that is away, is tried again.
const SOON: TimeDelta = TimeDelta::minutes(1);
/// A service manager does not wait long for a service to be up.
const START_WITHIN: Duration = Duration::from_secs(20);

pub async fn daemon(settings: Settings, reload: impl Fn() -> Result<Settings, config::Error>) -> Result<ExitCode, Failure> {
    // Mistakes in the settings show before the database is touched.
    let equipment = Equipment::of(settings)?;
    let notifier = equipment.notifier.clone().for_one_run();
    tell_systemd(&[NotifyState::Status("connecting to the database")]);
    info!("connecting to the database");
    let store = Arc::new(open_store(&equipment.settings).await?);
    let stop = listen_for_signals(&store)?;
    // Housekeeping has tasks of its own, on this thread.
    let result = LocalSet::new().run_until(live(&store, equipment, &stop, reload)).await;
    // A start that is refused is told once, since what was told is stored; one without a database would be told at each attempt.
    if let Err(failure) = &result
        && let Some(why) = failure.as_no_run()
    {
        tokio::select! {
            () = stop.token.cancelled() => {}
            () = notifier.failed(Some(&store), DAEMON, &why) => {}
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
struct Equipment {
    settings: Settings,
    client: Client,
    notifier: Notifier,
    schedule: Schedule,
}

impl Equipment {
    fn of(settings: Settings) -> Result<Equipment, Failure> {
        // Either may be hidden from a service.
        let of_host = ["/proc/sys/kernel/hostname", "/etc/machine-id"];
        let host = of_host.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let schedule = settings.schedule(host.trim()).map_err(config::Error::from)?;
        for (key, doubt) in settings.doubts(Utc::now()) {
            warn!("setting {key:?} {doubt}");
        }
        Ok(Equipment { client: client(&settings)?, notifier: notifier(&settings)?, schedule, settings })
    }

    /// What is shown of objects is that of these.
    fn show(&self, vitals: &Vitals) {
        let objects = self.settings.planhat.objects.iter().map(|object| object.name);
        vitals.watch(objects.collect(), self.settings.notify.stale_after);
    }
}

/// From the first sign of life to the last.
async fn live(
    store: &Arc<Store>,
    equipment: Equipment,
    stop: &Stop,
    reload: impl Fn() -> Result<Settings, config::Error>,
) -> Result<ExitCode, Failure> {
    let vitals = Arc::new(Vitals::new(equipment.settings.daemon.stuck_after));
    let _watchdog = housekeeping::watchdog(&vitals);
    equipment.show(&vitals);
    store.migrate().await?;
    tokio::select! {
        refused = refuse_another_workspace(store, &equipment.client) => refused?,
        () = stop.token.cancelled() => return Ok(ExitCode::SUCCESS),
    }
    let lease = acquire_lease(store, stop).await?;
    let result = work(equipment, &lease, vitals, stop, reload).await;
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
async fn work(
    equipment: Equipment,
    lease: &Lease,
    vitals: Arc<Vitals>,
    stop: &Stop,
    reload: impl Fn() -> Result<Settings, config::Error>,
) -> Result<(), Failure> {
    let hangups = signal(SignalKind::hangup()).context("could not listen for signals")?;
    let (http, mut metrics) = (CancellationToken::new(), None);
    let serving = match equipment.settings.daemon.listen {
        Some(address) => {
            let site = Site::new(Arc::clone(&lease.store), Arc::clone(&vitals)).context("could not collect metrics")?;
            metrics = Some(housekeeping::keep_metrics_small(&site));
            let listening = site.serve(address, http.clone()).await;
            let (address, serving) = listening.with_context(|| format!("could not listen on {address} (daemon.listen)"))?;
            info!(%address, "serving /healthz, /readyz, /metrics, /api/status and /api/runs");
            Some(serving)
        }
        None => None,
    };
    tell_systemd(&[NotifyState::Ready]);

    let (stop, age) = (stop.clone(), Age::since(Utc::now()));
    let mut daemon = Daemon { lease, equipment, stop, hangups, vitals, last_begun: None, retry: None, age, reloaded: None };
    daemon.work(reload).await;

    tell_systemd(&[NotifyState::Stopping]);
    http.cancel();
    drop(metrics);
    if let Some(serving) = serving {
        serving.end().await;
    }
    Ok(())
}

/// A schema that belongs to another workspace is a mistake in the settings, which shows before the service counts as up. Where
/// that cannot be told, each run asks again.
async fn refuse_another_workspace(store: &Store, client: &Client) -> Result<(), Failure> {
    match timeout(START_WITHIN, run::recognize(client, store)).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused @ run::Error::OtherWorkspace { .. })) => return Err(refused.into()),
        Ok(Err(error)) => warn!(error = %Chain(&error), "it could not be told yet whose schema {} is", store.schema),
        Err(_) => warn!("it could not be told within {} s whose schema {} is", START_WITHIN.as_secs(), store.schema),
    }
    Ok(())
}

/// One daemon looks after a workspace: two would do everything twice.
async fn acquire_lease(store: &Arc<Store>, stop: &Stop) -> Result<Lease, Failure> {
    let holder = run::this_process();
    let acquired =
        store.transaction(async |db| store::acquire_daemon_lease(db, &store.schema, &holder, run::look_at).await).await?;
    match acquired {
        DaemonLease::Acquired { from } => {
            if let Some(from) = from {
                let last_seen = from.heartbeat_at.format("%Y-%m-%d %H:%M:%S UTC");
                warn!("takes the place of another daemon: {}, last seen at work {last_seen}", from.holder);
            }
            Ok(Lease { store: Arc::clone(store), holder, is_lost: Arc::default(), stop: stop.token.clone() })
        }
        DaemonLease::HeldBy(other) => {
            let since = other.up_since.format("%Y-%m-%d %H:%M:%S UTC");
            let busy = anyhow::anyhow!("another daemon looks after this workspace: {}, since {since}", other.holder);
            let hint = format!("stop it first; if it was killed, its place is free {} s later", store::STALE_AFTER.as_secs());
            Err(Failure::new(exit::BUSY, busy, Some(&hint)))
        }
    }
}

struct Daemon<'a> {
    lease: &'a Lease,
    equipment: Equipment,
    stop: Stop,
    hangups: Signal,
    vitals: Arc<Vitals>,
    /// When a run of all objects last began, by any daemon; none as long as that is not known.
    last_begun: Option<LastBegun>,
    /// What has failed, and when it is tried again.
    retry: Option<(DateTime<Utc>, Vec<&'static Object>)>,
    age: Age,
    /// What became of the last reload, for whoever looks at the service after it.
    reloaded: Option<String>,
}

/// When a run of all objects last began, if one ever did.
#[derive(Debug, Clone, Copy)]
struct LastBegun(Option<DateTime<Utc>>);

/// Why waiting ended.
enum Woken {
    Due,
    /// What was due by the clock as it was may be due at another time now.
    ClockSetBack,
    Reload,
    Stop,
}

impl Daemon<'_> {
    /// Waits and runs until it is stopped.
    async fn work(&mut self, reload: impl Fn() -> Result<Settings, config::Error>) {
        let mut _housekeeping = self.keep_house();
        loop {
            let next = self.next_run().await;
            self.vitals.next_run(next);
            let reloaded = self.reloaded.as_ref().map(|reloaded| format!("; {reloaded}")).unwrap_or_default();
            tell_systemd(&[NotifyState::Status(&format!("next run at {}{reloaded}", next.format("%Y-%m-%d %H:%M:%S UTC")))]);
            info!("the next run is due at {}", next.format("%Y-%m-%d %H:%M:%S UTC"));
            let reload_wanted = match self.wait_until(next).await {
                Woken::Stop => return,
                Woken::Reload => true,
                Woken::ClockSetBack => continue,
                Woken::Due => self.run().await,
            };
            if self.stop.token.is_cancelled() {
                return;
            }
            if reload_wanted {
                self.reload(&reload);
                _housekeeping = self.keep_house();
            }
        }
    }

    /// When there is something to do: what the schedule says, what was missed, or what is to be tried again.
    async fn next_run(&mut self) -> DateTime<Utc> {
        let now = Utc::now();
        let store = &self.lease.store;
        if self.last_begun.is_none() {
            match store.look(async |db| store::last_good_start(db, &store.schema, DAEMON).await).await {
                Ok(last_good) => self.last_begun = Some(LastBegun(last_good)),
                Err(error) => warn!(error = %Chain(&error), "could not see when the last run was"),
            }
        }
        let scheduled = match self.last_begun {
            Some(LastBegun(last)) => self.equipment.schedule.due(last, now),
            None => now + SOON,
        };
        self.retry.as_ref().map_or(scheduled, |(at, _)| scheduled.min(*at))
    }

    async fn wait_until(&mut self, due: DateTime<Utc>) -> Woken {
        let begun = (Instant::now(), Utc::now());
        loop {
            // The clock may be set meanwhile, so it is looked at now and then.
            if Utc::now() + TICK < begun.1 + begun.0.elapsed() {
                info!("the clock was set back");
                return Woken::ClockSetBack;
            }
            let rest = (due - Utc::now()).to_std().unwrap_or_default().min(TICK);
            if rest.is_zero() {
                return Woken::Due;
            }
            tokio::select! {
                biased;
                () = self.stop.token.cancelled() => return Woken::Stop,
                _ = self.hangups.recv() => return Woken::Reload,
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
        let _renewing = self.lease.keep();
        let now = Utc::now();
        let (command, objects) = match self.retry.take() {
            Some((at, objects)) if at <= now => (RETRY, objects),
            _ => {
                self.last_begun = Some(LastBegun(Some(now)));
                (DAEMON, self.equipment.settings.planhat.objects.clone())
            }
        };
        let Equipment { settings, client, notifier, .. } = &self.equipment;
        let order = run_request(command, Ask::Changes, &objects, settings);
        self.vitals.run_begins(Arc::clone(&order.board));
        tell_systemd(&[NotifyState::Status("syncing")]);
        let mut reload_wanted = false;
        let result = {
            let mut run = std::pin::pin!(run::run_and_say(client, &self.lease.store, &order, &self.stop.token, notifier.began()));
            loop {
                tokio::select! {
                    result = &mut run => break result,
                    _ = self.hangups.recv() => reload_wanted = true,
                }
            }
        };
        self.vitals.run_ends();
        match result {
            Ok(summary) => self.run_ended(command, &summary).await,
            Err(run::Error::Stopped) => {}
            Err(error) if self.stop.token.is_cancelled() && error.is_silence() => {
                warn!(error = %Chain(&error), "the database does not answer, so the next run notes that this one was interrupted");
            }
            Err(run::Error::Busy(held)) => {
                info!("{}", run::Error::Busy(held));
                self.retry = Some((Utc::now() + SOON, objects));
            }
            Err(error) => {
                error!(error = %Chain(&error), "{}", error.headline());
                counter!("planhat_sync_runs_total", "status" => "failed").increment(1);
                if let Some(why) = Failure::from(error).as_no_run() {
                    self.unless_stopped(self.equipment.notifier.failed(Some(&self.lease.store), command, &why)).await;
                }
                self.try_again(objects);
            }
        }
        self.age.look_again();
        reload_wanted
    }

    async fn run_ended(&mut self, command: &str, summary: &Summary) {
        counter!("planhat_sync_runs_total", "status" => summary.status.as_str()).increment(1);
        histogram!("planhat_sync_run_duration_seconds").record(summary.seconds);
        let failed = |status| matches!(status, ObjectStatus::Failed | ObjectStatus::Interrupted);
        let again: Vec<_> = summary.objects.iter().filter(|of| failed(of.run.status)).map(|of| of.run.object).collect();
        if !again.is_empty() {
            self.try_again(again.iter().filter_map(|name| catalog::object(name)).collect());
        }
        self.unless_stopped(self.equipment.notifier.ended(&self.lease.store, command, summary)).await;
    }

    /// Who is asked to stop waits for nobody who is to be told; the next run tells it.
    async fn unless_stopped(&self, telling: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = telling => {}
            () = self.stop.token.cancelled() => {}
        }
    }

    fn try_again(&mut self, objects: Vec<&'static Object>) {
        let after = self.equipment.settings.daemon.retry_after;
        self.retry = (!after.is_zero()).then(|| (Utc::now() + after, objects));
    }

    /// Takes over the settings as they are now, from the next run on. What is wrong with them changes nothing.
    fn reload(&mut self, reload: impl Fn() -> Result<Settings, config::Error>) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            tell_systemd(&[NotifyState::Reloading, now]);
        }
        let read = reload().map_err(Failure::from).and_then(|read| {
            let reload = Reload::of(&self.equipment.settings, read);
            let said = reload.to_string();
            Ok((Equipment::of(reload.settings)?, said))
        });
        let said = match read {
            Ok((equipment, said)) => {
                self.vitals.stuck_after(equipment.settings.daemon.stuck_after);
                let notifier = equipment.notifier.clone().in_place_of(&self.equipment.notifier);
                self.equipment = Equipment { notifier, ..equipment };
                self.equipment.show(&self.vitals);
                info!("{said}");
                said
            }
            Err(failure) => {
                let failure = failure.on_one_line();
                error!(error = failure, "the settings are not taken over");
                format!("the settings are not taken over: {failure}")
            }
        };
        tell_systemd(&[NotifyState::Ready, NotifyState::Status(&said)]);
        self.reloaded = Some(said);
    }

    /// What goes on beside the runs by these settings.
    fn keep_house(&self) -> [AbortOnDropHandle<()>; 2] {
        let (store, Equipment { settings, notifier, .. }) = (&self.lease.store, &self.equipment);
        [self.age.watch(store, notifier, settings), housekeeping::deliver(store, notifier)]
    }
}
