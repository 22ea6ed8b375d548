//! What the daemon does beside its runs, each on a task of its own: signs of life for systemd, the delivery of messages, the
//! upkeep of its counters; and in files of their own the renewal of its lease and the watch over the age of the data.
//!
//! No run waits for any of this, and none of it for a run: they share nothing but the database, where each has its
//! connection (or, where there is one in all, its turn between two transactions). Where nothing is to be done nothing is
//! asked of the database, so that one which suspends itself when idle may do so.
//!
//! The tasks share the thread of the daemon: a loop that hangs gives no sign of life either.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use planhat_store::Store;
use sd_notify::NotifyState;
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, warn};

use super::health_state::HealthState;
use super::http::HttpServer;
use crate::events::Notifier;

/// The longest time between two watchdog notifications.
const MAX_WATCHDOG_INTERVAL: Duration = Duration::from_secs(10);
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// Starts a task beside the runs, which ends when what is returned is dropped. What it logs says of which workspace it is.
pub(super) fn spawn_beside(task: impl Future<Output = ()> + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(spawn_local(task.in_current_span()))
}

/// Notifies systemd; does nothing without systemd.
pub(super) fn notify_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "could not notify systemd");
    }
}

/// Notifies systemd's watchdog, whatever the database does, unless a run is stuck.
pub(super) fn watchdog(health: &Arc<HealthState>) -> Option<AbortOnDropHandle<()>> {
    let watchdog_timeout = sd_notify::watchdog_enabled()?;
    let health = Arc::clone(health);
    let mut ticks = interval((watchdog_timeout / 3).clamp(Duration::from_millis(100), MAX_WATCHDOG_INTERVAL));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(spawn_beside(async move {
        loop {
            ticks.tick().await;
            if !health.is_stuck() {
                notify_systemd(&[NotifyState::Watchdog]);
            }
        }
    }))
}

/// Delivers messages when they are due.
pub(super) fn deliver(store: &Arc<Store>, notifier: &Notifier) -> AbortOnDropHandle<()> {
    let (store, notifier) = (Arc::clone(store), notifier.clone());
    spawn_beside(async move {
        loop {
            // In a box, so that a thousand of these that wait take no memory for what a delivery needs.
            let next = Box::pin(notifier.deliver_due(&store)).await;
            let rest = next.map(|next| (next - Utc::now()).to_std().unwrap_or_default());
            tokio::select! {
                () = notifier.queued() => {}
                () = wait(rest) => {}
            }
        }
    })
}

/// Sleeps for `rest`; for ever if there is none.
pub(super) async fn wait(rest: Option<Duration>) {
    match rest {
        Some(rest) => tokio::time::sleep(rest).await,
        None => std::future::pending().await,
    }
}

/// Takes in now and then what was measured, so that memory stays flat though nobody asks.
pub(super) fn keep_metrics_small(server: &HttpServer) -> AbortOnDropHandle<()> {
    let server = server.clone();
    spawn_beside(async move {
        loop {
            tokio::time::sleep(METRICS_EVERY).await;
            server.upkeep();
        }
    })
}
