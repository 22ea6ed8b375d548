//! What the daemon does beside its runs, each on a task of its own: signs of life for systemd, the renewal of its lease,
//! the watch over the age of the data.
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
use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use crate::error::Chain;
use crate::http::Vitals;
use crate::notify::{Notifier, Stale};
use crate::store::{self, Holder, Store};

/// Between two signs of life at most.
const LONGEST_SILENCE: Duration = Duration::from_secs(10);
/// Between two looks at data that is stale, or at a database that could not be asked.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Where nobody listens, nothing is told.
pub(super) fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "could not tell systemd");
    }
}

/// Tells systemd's watchdog that the daemon lives, whatever the database does. A run that is stuck is no sign of life.
pub(super) fn watchdog(vitals: &Arc<Vitals>) -> Option<AbortOnDropHandle<()>> {
    let patience = sd_notify::watchdog_enabled()?;
    let vitals = Arc::clone(vitals);
    let mut ticks = interval((patience / 3).clamp(Duration::from_millis(100), LONGEST_SILENCE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(AbortOnDropHandle::new(spawn_local(async move {
        loop {
            ticks.tick().await;
            if !vitals.is_stuck() {
                tell_systemd(&[NotifyState::Watchdog]);
            }
        }
    })))
}

/// The lease of the daemon, while a run is at work.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) store: Arc<Store>,
    pub(super) holder: Holder,
    /// Another daemon has taken it over.
    pub(super) is_lost: Arc<AtomicBool>,
    pub(super) stop: CancellationToken,
}

impl Lease {
    /// Renews it until what is returned is dropped.
    pub(super) fn keep(&self) -> AbortOnDropHandle<()> {
        let lease = self.clone();
        AbortOnDropHandle::new(spawn_local(async move {
            loop {
                tokio::time::sleep(store::HEARTBEAT).await;
                lease.renew().await;
            }
        }))
    }

    /// Says that the daemon is there. A database that is away for a moment takes its lease from nobody.
    pub(super) async fn renew(&self) {
        let Lease { store, holder, .. } = self;
        match store.housekeeping(async |db| store::renew_daemon_lease(db, &store.schema, holder).await).await {
            Ok(true) => {}
            Ok(false) => {
                error!("another daemon has taken this one's place: stopping");
                self.is_lost.store(true, Ordering::Relaxed);
                self.stop.cancel();
            }
            Err(error) => warn!(error = %Chain(&error), "could not tell the database that the daemon is there"),
        }
    }

    pub(super) async fn release(&self) {
        let Lease { store, holder, .. } = self;
        if self.is_lost.load(Ordering::Relaxed) {
            return;
        }
        if let Err(error) = store.attempt(async |db| store::release_daemon_lease(db, &store.schema, holder).await).await {
            warn!(error = %Chain(&error), "could not give back the lease of the daemon; it ends by itself");
        }
    }
}

/// How old the data is: one warning when it becomes stale.
#[derive(Debug)]
pub(super) struct Age {
    up_since: DateTime<Utc>,
    changed: Arc<Notify>,
    is_told: Arc<AtomicBool>,
}

impl Age {
    pub(super) fn since(up_since: DateTime<Utc>) -> Age {
        Age { up_since, changed: Arc::default(), is_told: Arc::default() }
    }

    /// A run has ended, so the data may be younger.
    pub(super) fn look_again(&self) {
        self.changed.notify_one();
    }

    /// Watches it until what is returned is dropped.
    pub(super) fn watch(&self, store: Arc<Store>, notifier: Notifier, stale_after: Duration) -> AbortOnDropHandle<()> {
        let (up_since, changed, is_told) = (self.up_since, Arc::clone(&self.changed), Arc::clone(&self.is_told));
        AbortOnDropHandle::new(spawn_local(async move {
            loop {
                let look = store.look_aside(async |db| store::last_good_start(db, &store.schema, super::DAEMON).await);
                let wait = match look.await {
                    Ok(last_good) => {
                        let rest = last_good.unwrap_or(up_since) + stale_after - Utc::now();
                        let is_stale = rest <= chrono::TimeDelta::zero();
                        if is_stale && !is_told.swap(true, Ordering::Relaxed) {
                            warn!("there was no good run for {}", humantime::format_duration(stale_after));
                            let stale = Stale { objects: Vec::new(), last_success: last_good, stale_after };
                            notifier.stale(&store, &stale).await;
                        }
                        is_told.store(is_stale, Ordering::Relaxed);
                        rest.to_std().unwrap_or(LOOK_AGAIN_AFTER)
                    }
                    Err(error) => {
                        warn!(error = %Chain(&error), "could not see how old the data is");
                        LOOK_AGAIN_AFTER
                    }
                };
                tokio::select! {
                    () = changed.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }))
    }
}
