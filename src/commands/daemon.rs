//! `daemon`: stays up, runs a sync when one is due, and tells how it is.
//!
//! It ends with SIGTERM or SIGINT, and with what cannot be helped at the start (a wrong token, no database).
//! Once it is up nothing ends it: a run that fails is tried again, with the objects that failed.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, histogram};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Failure, client, exit, listen_for_signals, notifier, open_store, sync};
use crate::catalog;
use crate::config::{self, Settings};
use crate::error::Chain;
use crate::http::{Site, Vitals};
use crate::notify::Notifier;
use crate::object::Object;
use crate::planhat::Client;
use crate::pull::Ask;
use crate::run::{self, Summary};
use crate::schedule::Schedule;
use crate::signals::Stop;
use crate::store::{self, Holder, ObjectStatus, Store};

/// What its runs are called in `planhat_sync.runs`; those that try again what has failed count for nothing else.
const DAEMON: &str = "daemon";
const RETRY: &str = "daemon (retry)";
/// Between two looks at the clock, and two signs of life at most.
const TICK: Duration = Duration::from_secs(10);
/// After so long a workspace that somebody else is working on, or a database that is away, is tried again.
const SOON: TimeDelta = TimeDelta::minutes(1);

pub(super) async fn daemon(
    settings: Settings,
    reload: impl Fn() -> Result<Settings, config::Error>,
) -> Result<ExitCode, Failure> {
    // Mistakes in the settings show before the database is touched.
    let equipment = Equipment::of(settings)?;
    let store = Arc::new(open_store(&equipment.settings).await?);
    let result = live(&store, equipment, reload).await;
    if let Some(store) = Arc::into_inner(store) {
        store.close().await;
    }
    result
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
    reload: impl Fn() -> Result<Settings, config::Error>,
) -> Result<ExitCode, Failure> {
    store.migrate().await?;
    let holder = take_post(store).await?;
    let stop = listen_for_signals()?;
    let hangups = signal(SignalKind::hangup()).context("could not listen for signals")?;
    let vitals = Arc::new(Vitals::new(equipment.settings.daemon.stuck_after));
    equipment.show(&vitals);
    let http = CancellationToken::new();
    let serving = match equipment.settings.daemon.listen {
        Some(address) => {
            let site = Site::new(Arc::clone(store), Arc::clone(&vitals)).context("could not collect metrics")?;
            let listening = site.serve(address, http.clone()).await;
            let (address, serving) = listening.with_context(|| format!("could not listen on {address} (daemon.listen)"))?;
            info!(%address, "serving /healthz, /readyz, /metrics, /api/status and /api/runs");
            Some(serving)
        }
        None => None,
    };
    tell_systemd(&[NotifyState::Ready]);

    let mut daemon = Daemon {
        store,
        holder,
        equipment,
        stop,
        hangups,
        vitals,
        ticks: ticks(),
        up_since: Utc::now(),
        attempted_at: None,
        retry: None,
        told_stale: false,
    };
    daemon.work(reload).await;
    let holder = &daemon.holder;
    let left = store.transaction(async |db| store::leave_post(db, &store.schema, holder).await).await;

    tell_systemd(&[NotifyState::Stopping]);
    http.cancel();
    if let Some(serving) = serving {
        serving.end().await;
    }
    left?;
    info!("stopped; everything committed is kept");
    Ok(ExitCode::SUCCESS)
}

/// One daemon looks after a workspace: two would do everything twice.
async fn take_post(store: &Store) -> Result<Holder, Failure> {
    let holder = run::this_process();
    let take =
        async |dead: Option<&str>| store.transaction(async |db| store::take_post(db, &store.schema, &holder, dead).await).await;
    let mut taken = take(None).await?;
    if let Err(post) = &taken
        && run::is_dead(&post.process)
    {
        taken = take(Some(&post.process)).await?;
    }
    match taken {
        Ok(()) => Ok(holder),
        Err(post) => {
            let since = post.up_since.format("%Y-%m-%d %H:%M:%S UTC");
            let busy = anyhow::anyhow!("another daemon looks after this workspace: {}, since {since}", post.holder);
            let hint = format!("stop it first; if it was killed, its place is free {} s later", store::STALE_AFTER.as_secs());
            Err(Failure::new(exit::BUSY, busy, Some(&hint)))
        }
    }
}

/// Keeps it. A database that is away for a moment takes it from nobody.
async fn keep_post(store: &Store, holder: &Holder, stop: &Stop) {
    let kept = async {
        let mut tx = store.begin().await?;
        let kept = store::keep_post(&mut tx, &store.schema, holder).await?;
        store::commit(tx).await.map(|()| kept)
    };
    match kept.await {
        Ok(true) => {}
        Ok(false) => {
            error!("another daemon has taken this one's place: stopping");
            stop.token.cancel();
        }
        Err(error) => warn!(error = %Chain(&error), "could not tell the database that the daemon is there"),
    }
}

fn ticks() -> Interval {
    let watchdog = sd_notify::watchdog_enabled().map_or(TICK, |patience| patience / 3);
    let mut ticks = interval(watchdog.clamp(Duration::from_millis(100), TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

struct Daemon<'a> {
    store: &'a Store,
    holder: Holder,
    equipment: Equipment,
    stop: Stop,
    hangups: Signal,
    vitals: Arc<Vitals>,
    ticks: Interval,
    up_since: DateTime<Utc>,
    /// When this process last began a run of all objects.
    attempted_at: Option<DateTime<Utc>>,
    /// What has failed, and when it is tried again.
    retry: Option<(DateTime<Utc>, Vec<&'static Object>)>,
    told_stale: bool,
}

/// Why waiting ended.
enum Woken {
    Due,
    Reload,
    Stop,
}

impl Daemon<'_> {
    /// Waits and runs until it is stopped.
    async fn work(&mut self, reload: impl Fn() -> Result<Settings, config::Error>) {
        loop {
            let next = self.next_run().await;
            self.vitals.next_run(next);
            tell_systemd(&[NotifyState::Status(&format!("next run at {}", next.format("%Y-%m-%d %H:%M:%S UTC")))]);
            info!("the next run is due at {}", next.format("%Y-%m-%d %H:%M:%S UTC"));
            match self.wait_until(next).await {
                Woken::Stop => return,
                Woken::Reload => self.reload(&reload),
                Woken::Due => {
                    let reload_wanted = self.run().await;
                    if self.stop.token.is_cancelled() {
                        return;
                    }
                    if reload_wanted {
                        self.reload(&reload);
                    }
                }
            }
        }
    }

    /// When there is something to do: what the schedule says, what was missed, or what is to be tried again.
    async fn next_run(&mut self) -> DateTime<Utc> {
        let now = Utc::now();
        let scheduled = match self.last_good().await {
            Ok(last_good) => self.equipment.schedule.due(last_good.max(self.attempted_at), now),
            Err(error) => {
                warn!(error = %Chain(&error), "could not see when the last run was");
                now + SOON
            }
        };
        self.retry.as_ref().map_or(scheduled, |(at, _)| scheduled.min(*at))
    }

    async fn last_good(&self) -> Result<Option<DateTime<Utc>>, store::Error> {
        self.store.look(async |db| store::last_good_start(db, &self.store.schema, DAEMON).await).await
    }

    async fn wait_until(&mut self, due: DateTime<Utc>) -> Woken {
        loop {
            // The clock may be set meanwhile, so it is looked at now and then.
            let rest = (due - Utc::now()).to_std().unwrap_or_default().min(TICK);
            if rest.is_zero() {
                return Woken::Due;
            }
            tokio::select! {
                biased;
                () = self.stop.token.cancelled() => return Woken::Stop,
                _ = self.hangups.recv() => return Woken::Reload,
                _ = self.ticks.tick() => self.sign_of_life().await,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One run. Returns whether the settings are to be read again.
    async fn run(&mut self) -> bool {
        let now = Utc::now();
        let (command, objects) = match self.retry.take() {
            Some((at, objects)) if at <= now => (RETRY, objects),
            _ => {
                self.attempted_at = Some(now);
                (DAEMON, self.equipment.settings.planhat.objects.clone())
            }
        };
        let Equipment { settings, client, notifier, .. } = &self.equipment;
        let order = sync::order(command, Ask::Changes, &objects, settings);
        self.vitals.run_begins(Arc::clone(&order.board));
        tell_systemd(&[NotifyState::Status("syncing")]);
        let mut reload_wanted = false;
        let result = {
            let mut run = std::pin::pin!(async {
                tokio::join!(run::run(client, self.store, &order, &self.stop.token), notifier.began()).0
            });
            loop {
                tokio::select! {
                    result = &mut run => break result,
                    _ = self.ticks.tick() => {
                        beat(&self.vitals);
                        keep_post(self.store, &self.holder, &self.stop).await;
                    }
                    _ = self.hangups.recv() => reload_wanted = true,
                }
            }
        };
        self.vitals.run_ends();
        match result {
            Ok(summary) => self.run_ended(&summary).await,
            Err(run::Error::Stopped) => {}
            Err(run::Error::Busy(held)) => {
                info!("{}", run::Error::Busy(held));
                self.retry = Some((Utc::now() + SOON, objects));
            }
            Err(error) => {
                error!(error = %Chain(&error), "{}", error.headline());
                counter!("planhat_sync_runs_total", "status" => "failed").increment(1);
                self.equipment.notifier.failed(&Chain(&error).to_string()).await;
                self.try_again(objects);
            }
        }
        reload_wanted
    }

    async fn run_ended(&mut self, summary: &Summary) {
        counter!("planhat_sync_runs_total", "status" => summary.status.as_str()).increment(1);
        histogram!("planhat_sync_run_duration_seconds").record(summary.seconds);
        let failed = |status| matches!(status, ObjectStatus::Failed | ObjectStatus::Interrupted);
        let again: Vec<_> = summary.objects.iter().filter(|of| failed(of.run.status)).map(|of| of.run.object).collect();
        if !again.is_empty() {
            self.try_again(again.iter().filter_map(|name| catalog::object(name)).collect());
        }
        self.equipment.notifier.ended(summary).await;
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
        match reload().map_err(Failure::from).and_then(Equipment::of) {
            Ok(equipment) => {
                if equipment.settings.daemon.listen != self.equipment.settings.daemon.listen {
                    warn!("daemon.listen and the database settings are taken over by a restart only");
                }
                self.equipment = equipment;
                self.equipment.show(&self.vitals);
                info!("the settings have been read again");
            }
            Err(failure) => error!(error = failure.on_one_line(), "the settings are not taken over"),
        }
        tell_systemd(&[NotifyState::Ready]);
    }

    /// While it waits: systemd hears that it lives, others that the data gets old.
    async fn sign_of_life(&mut self) {
        beat(&self.vitals);
        keep_post(self.store, &self.holder, &self.stop).await;
        let Ok(last_good) = self.last_good().await else { return };
        let is_stale = last_good.unwrap_or(self.up_since) + self.equipment.settings.notify.stale_after < Utc::now();
        if is_stale && !self.told_stale {
            warn!("there was no good run for {}", humantime::format_duration(self.equipment.settings.notify.stale_after));
            self.equipment.notifier.stale(last_good).await;
        }
        self.told_stale = is_stale;
    }
}

/// A run that is stuck is no sign of life.
fn beat(vitals: &Vitals) {
    if !vitals.is_stuck() {
        tell_systemd(&[NotifyState::Watchdog]);
    }
}

/// Where nobody listens, nothing is told.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "could not tell systemd");
    }
}
