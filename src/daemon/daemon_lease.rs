//! The lease of the daemon: one daemon looks after a workspace, so that nothing is done twice.
//!
//! It is taken at the start, renewed while a run is at work, and looked at before each run; an idle daemon asks nothing of
//! the database. So nobody can tell an idle daemon from a dead one, and a second one may take its place: the first finds
//! that out before it would run again, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use planhat_model::error::{Chain, ErrorKind};
use planhat_store::{self as store, DaemonLease, ProcessIdentity, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use super::housekeeping::spawn_beside;
use crate::command_error::CommandError;
use crate::run;
use crate::signals::Stop;

/// For one renewal of the lease; the next one comes soon.
const RENEW_TIMEOUT: Duration = Duration::from_secs(15);

/// One daemon per workspace: two would do everything twice.
pub(super) async fn acquire_lease(store: &Arc<Store>, stop: &Stop) -> Result<DaemonLeaseKeeper, CommandError> {
    let holder = run::this_process();
    let acquired =
        store.transaction(async |db| store::acquire_daemon_lease(db, &store.schema, &holder, run::process_state).await).await?;
    match acquired {
        DaemonLease::Acquired { from } => {
            if let Some(from) = from {
                let last_seen = from.renewed_at.format("%Y-%m-%d %H:%M:%S UTC");
                warn!("took over the lease of another daemon: {}, which last renewed it at {last_seen}", from.holder);
            }
            Ok(DaemonLeaseKeeper { store: Arc::clone(store), holder, is_lost: Arc::default(), stop: stop.token.clone() })
        }
        DaemonLease::HeldBy(other) => {
            let since = other.started_at.format("%Y-%m-%d %H:%M:%S UTC");
            let busy = anyhow::anyhow!("another daemon is running for this workspace: {}, since {since}", other.holder);
            Err(CommandError::of(&ErrorKind::DaemonBusy { free_after_seconds: store::STALE_AFTER.as_secs() }, busy))
        }
    }
}

/// The lease of the daemon, while a run is at work.
#[derive(Debug, Clone)]
pub(super) struct DaemonLeaseKeeper {
    store: Arc<Store>,
    holder: ProcessIdentity,
    /// Another daemon has taken it over.
    is_lost: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl DaemonLeaseKeeper {
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Whether another daemon has taken the place of this one.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Renews it until what is returned is dropped.
    pub(super) fn keep_renewed(&self) -> AbortOnDropHandle<()> {
        let lease = self.clone();
        spawn_beside(async move {
            loop {
                tokio::time::sleep(store::RENEW_EVERY).await;
                lease.renew().await;
            }
        })
    }

    /// Renews the daemon lease. An unreachable database does not lose it.
    pub(super) async fn renew(&self) {
        let DaemonLeaseKeeper { store, holder, .. } = self;
        let renewed = store.housekeeping(async |db| store::renew_daemon_lease(db, &store.schema, holder).await);
        match timeout(RENEW_TIMEOUT, renewed).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                error!("another daemon has taken over the lease: stopping");
                self.is_lost.store(true, Ordering::Relaxed);
                self.stop.cancel();
            }
            Ok(Err(error)) => warn!(error = %Chain(&error), "could not renew the lease of the daemon"),
            // It waits for a statement of the run, or the database does not respond: the run will report that.
            Err(_) => debug!("could not renew the lease of the daemon in time"),
        }
    }

    pub(super) async fn release(&self) {
        let DaemonLeaseKeeper { store, holder, .. } = self;
        if self.is_lost() {
            return;
        }
        if let Err(error) = store.transaction_once(async |db| store::release_daemon_lease(db, &store.schema, holder).await).await
        {
            warn!(error = %Chain(&error), "could not release the lease of the daemon; it expires by itself");
        }
    }
}
