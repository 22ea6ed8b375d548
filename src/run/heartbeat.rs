//! The heartbeat of a daemon: it renews the leases of all its runs by one statement.
//!
//! What does not come back from that statement is lost: another daemon has taken it over, and the run is stopped at once. (Or the run
//! has just ended, and then its stop concerns nothing.) A database that does not answer loses nothing by itself. The runs wait with their calls then (see [`Client::allow_calls_for`]),
//! and no commit gets past the fence.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use planhat_api::Client;
use planhat_model::error::Chain;
use planhat_store::{self as store, Store};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::lease::CALLS_AFTER_RENEWAL;

/// For one statement; the next one comes soon.
const BEAT_TIMEOUT: Duration = Duration::from_secs(15);

/// Renews the leases of the runs that are registered with it.
#[derive(Debug)]
pub struct Heartbeat {
    store: Arc<Store>,
    leases: Mutex<BTreeMap<i64, RenewedRun>>,
}

/// A run whose lease is renewed.
#[derive(Debug)]
struct RenewedRun {
    /// None before it has one.
    client: Option<Client>,
    /// Cancelled when the lease is lost.
    lost: CancellationToken,
}

/// The lease of a run is renewed as long as this lives.
#[derive(Debug)]
pub struct KeptLease {
    heartbeat: Arc<Heartbeat>,
    run_id: i64,
    since: Instant,
    /// Cancelled when the lease is lost.
    pub lost: CancellationToken,
}

impl Heartbeat {
    pub fn new(store: Arc<Store>) -> Arc<Heartbeat> {
        Arc::new(Heartbeat { store, leases: Mutex::default() })
    }

    /// Renews the lease of this run from now on. It was taken at `since`.
    pub fn keep(self: &Arc<Self>, run_id: i64, since: Instant) -> KeptLease {
        let lost = CancellationToken::new();
        self.leases().insert(run_id, RenewedRun { client: None, lost: lost.clone() });
        KeptLease { heartbeat: Arc::clone(self), run_id, since, lost }
    }

    /// Renews the leases now and then, for ever.
    pub async fn beat_for_ever(&self) {
        loop {
            tokio::time::sleep(store::RENEW_EVERY).await;
            self.beat().await;
        }
    }

    async fn beat(&self) {
        let asked: Vec<i64> = self.leases().keys().copied().collect();
        if asked.is_empty() {
            return;
        }
        let began = Instant::now();
        let renewed = self.store.housekeeping(async |db| store::renew_leases(db, &asked).await);
        match timeout(BEAT_TIMEOUT, renewed).await {
            Ok(Ok(held)) => self.note(&asked, &held, began),
            Ok(Err(error)) => warn!(error = %Chain(&error), "could not renew the leases"),
            // It waits for a statement of a run, or the database does not respond: the run will report that.
            Err(_) => debug!("could not renew the leases in time"),
        }
    }

    /// Of the runs that were asked for, those that did not come back have lost their leases. One that has ended meanwhile is gone.
    fn note(&self, asked: &[i64], held: &[(i64, bool)], began: Instant) {
        let leases = self.leases();
        for (run_id, run) in asked.iter().filter_map(|run_id| leases.get_key_value(run_id)) {
            match held.iter().find(|(held, _)| held == run_id) {
                Some((_, true)) => run.client.iter().for_each(|client| client.allow_calls_for(CALLS_AFTER_RENEWAL, began)),
                // Its row is locked, most likely by a commit of the run itself: nobody can take it over now.
                Some((_, false)) => {}
                None => run.lost.cancel(),
            }
        }
    }

    fn leases(&self) -> MutexGuard<'_, BTreeMap<i64, RenewedRun>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptLease {
    /// Lets this client call for a time, from now on after each renewal.
    pub fn admit(&self, client: &Client) {
        client.allow_calls_for(CALLS_AFTER_RENEWAL, self.since);
        if let Some(run) = self.heartbeat.leases().get_mut(&self.run_id) {
            run.client = Some(client.clone());
        }
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.heartbeat.leases().remove(&self.run_id);
    }
}
