//! What the daemon does beside its runs, each on a task of its own: signs of life for systemd, the renewal of its lease,
//! the watch over the age of the data, the delivery of messages.
//!
//! No run waits for any of this, and none of it for a run: they share nothing but the database, where each has its
//! connection (or, where there is one in all, its turn between two transactions). Where nothing is to be done nothing is
//! asked of the database, so that one which suspends itself when idle may do so.
//!
//! The tasks share the thread of the daemon: a loop that hangs gives no sign of life either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use planhat_store::{self as store, ObjectState, ProcessIdentity, Store};
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

use crate::config::Settings;
use crate::daemon::http::{HealthState, HttpServer};
use crate::events::{Notifier, Stale};
use crate::freshness::Freshness;

/// Between two signs of life at most.
const MAX_WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);
/// For one renewal of the lease; the next one comes soon.
const RENEW_TIMEOUT: Duration = Duration::from_secs(15);
const METRICS_EVERY: Duration = Duration::from_secs(5);
/// Between two looks at data that is stale, or at a database that could not be asked.
const RECHECK_AFTER: Duration = Duration::from_secs(60);

/// Where nobody listens, nothing is told.
pub(super) fn notify_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "could not tell systemd");
    }
}

/// Tells systemd's watchdog that the daemon lives, whatever the database does. A run that is stuck is no sign of life.
pub(super) fn watchdog(health: &Arc<HealthState>) -> Option<AbortOnDropHandle<()>> {
    let watchdog_timeout = sd_notify::watchdog_enabled()?;
    let health = Arc::clone(health);
    let mut ticks = interval((watchdog_timeout / 3).clamp(Duration::from_millis(100), MAX_WATCHDOG_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(AbortOnDropHandle::new(spawn_local(async move {
        loop {
            ticks.tick().await;
            if !health.is_stuck() {
                notify_systemd(&[NotifyState::Watchdog]);
            }
        }
    })))
}

/// The lease of the daemon, while a run is at work.
#[derive(Debug, Clone)]
pub(super) struct DaemonLeaseKeeper {
    pub(super) store: Arc<Store>,
    pub(super) holder: ProcessIdentity,
    /// Another daemon has taken it over.
    pub(super) is_lost: Arc<AtomicBool>,
    pub(super) stop: CancellationToken,
}

impl DaemonLeaseKeeper {
    /// Renews it until what is returned is dropped.
    pub(super) fn keep_renewed(&self) -> AbortOnDropHandle<()> {
        let lease = self.clone();
        AbortOnDropHandle::new(spawn_local(async move {
            loop {
                tokio::time::sleep(store::RENEW_EVERY).await;
                lease.renew().await;
            }
        }))
    }

    /// Says that the daemon is there. A database that is away for a moment takes its lease from nobody.
    pub(super) async fn renew(&self) {
        let DaemonLeaseKeeper { store, holder, .. } = self;
        let renewed = store.housekeeping(async |db| store::renew_daemon_lease(db, &store.schema, holder).await);
        match timeout(RENEW_TIMEOUT, renewed).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                error!("another daemon has taken this one's place: stopping");
                self.is_lost.store(true, Ordering::Relaxed);
                self.stop.cancel();
            }
            Ok(Err(error)) => warn!(error = %Chain(&error), "could not tell the database that the daemon is there"),
            // It waits for a statement of the run, or for a database that is silent: the run will say which.
            Err(_) => debug!("could not tell the database in time that the daemon is there"),
        }
    }

    pub(super) async fn release(&self) {
        let DaemonLeaseKeeper { store, holder, .. } = self;
        if self.is_lost.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = store.transaction_once(async |db| store::release_daemon_lease(db, &store.schema, holder).await).await
        {
            warn!(error = %Chain(&error), "could not give back the lease of the daemon; it ends by itself");
        }
    }
}

/// Sends what there is to tell, when it is due.
pub(super) fn deliver(store: &Arc<Store>, notifier: &Notifier) -> AbortOnDropHandle<()> {
    let (store, notifier) = (Arc::clone(store), notifier.clone());
    AbortOnDropHandle::new(spawn_local(async move {
        loop {
            let next = notifier.deliver_due(&store).await;
            let rest = next.map(|next| (next - Utc::now()).to_std().unwrap_or_default());
            tokio::select! {
                () = notifier.queued() => {}
                () = wait(rest) => {}
            }
        }
    }))
}

/// Without end where there is no time.
async fn wait(rest: Option<Duration>) {
    match rest {
        Some(rest) => tokio::time::sleep(rest).await,
        None => std::future::pending().await,
    }
}

/// Takes in now and then what was measured, so that memory stays flat though nobody asks.
pub(super) fn keep_metrics_small(server: &HttpServer) -> AbortOnDropHandle<()> {
    let server = server.clone();
    AbortOnDropHandle::new(spawn_local(async move {
        loop {
            tokio::time::sleep(METRICS_EVERY).await;
            server.upkeep();
        }
    }))
}

/// How old the data is, as far as the daemon knows. It asks the database when the data would get too old, and, once it is,
/// now and then: another command may have synced it meanwhile.
#[derive(Debug)]
pub(super) struct StalenessMonitor {
    up_since: DateTime<Utc>,
    changed: Arc<Notify>,
}

impl StalenessMonitor {
    pub(super) fn since(up_since: DateTime<Utc>) -> StalenessMonitor {
        StalenessMonitor { up_since, changed: Arc::default() }
    }

    /// A run has ended, so the data may be younger.
    pub(super) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Watches it until what is returned is dropped.
    pub(super) fn watch(&self, store: &Arc<Store>, notifier: &Notifier, settings: &Settings) -> AbortOnDropHandle<()> {
        let changed = Arc::clone(&self.changed);
        let mut watch = StalenessWatch {
            store: Arc::clone(store),
            notifier: notifier.clone(),
            objects: settings.planhat.objects.iter().map(|object| object.name).collect(),
            stale_after: settings.notify.stale_after,
            up_since: self.up_since,
            states: Vec::new(),
            is_stale: false,
        };
        AbortOnDropHandle::new(spawn_local(async move {
            loop {
                let rest = watch.check().await;
                tokio::select! {
                    () = changed.notified() => {}
                    () = wait(rest) => {}
                }
            }
        }))
    }
}

/// Who watches the age of the data.
struct StalenessWatch {
    store: Arc<Store>,
    notifier: Notifier,
    objects: Vec<&'static str>,
    stale_after: Duration,
    up_since: DateTime<Utc>,
    /// How the objects stood when the database last said so.
    states: Vec<ObjectState>,
    is_stale: bool,
}

impl StalenessWatch {
    /// Looks, tells what is new, and returns when to look again.
    async fn check(&mut self) -> Option<Duration> {
        let store = &self.store;
        let looked = store.read_only_housekeeping(async |db| store::object_states(db, &store.schema).await).await;
        let is_known = looked.is_ok();
        match looked {
            Ok(states) => self.states = states,
            // Nobody can have synced meanwhile: what was known last is as it was, but older.
            Err(error) => debug!(error = %Chain(&error), "could not see how old the data is"),
        }
        let now = Utc::now();
        let freshness = Freshness::of(self.objects.iter().copied(), &self.states, now, self.stale_after);
        let (stale, last_success) = freshness.stale(self.up_since, now);
        self.report(&stale, last_success).await;
        let stale_at = freshness.stale_at(self.up_since);
        let rest = stale_at.map(|stale_at| (stale_at - Utc::now()).to_std().unwrap_or(RECHECK_AFTER));
        if is_known { rest } else { Some(rest.unwrap_or(RECHECK_AFTER).min(RECHECK_AFTER)) }
    }

    async fn report(&mut self, stale: &[&str], last_success: Option<DateTime<Utc>>) {
        let was_stale = std::mem::replace(&mut self.is_stale, !stale.is_empty());
        let stale_after = humantime::format_duration(self.stale_after);
        match (was_stale, self.is_stale) {
            (false, true) => warn!("the data is stale: no success for {stale_after} of {}", stale.join(", ")),
            (true, false) => info!("the data is fresh again"),
            (true, true) | (false, false) => {}
        }
        if self.is_stale {
            let objects = stale.iter().map(|object| (*object).to_owned()).collect();
            self.notifier.data_is_stale(&self.store, &Stale { objects, last_success, stale_after: self.stale_after }).await;
        } else {
            self.notifier.data_is_fresh(&self.store).await;
        }
    }
}
