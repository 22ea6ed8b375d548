//! One run at a time on a workspace: acquires the lease, renews it, and yields it.
//!
//! A backfill may take hours, so it yields to any other run: its scans save their checkpoints, the other run acquires the lease,
//! and when that run has ended, the backfill reacquires the lease and continues.
//!
//! A command renews its lease itself; a daemon renews those of all its runs by one statement (`heartbeat.rs`). Either way each renewal
//! lets the run call Planhat for a time, and a run that has lost its lease is stopped.
//!
//! With the lease goes what Planhat has said to the token: if it wants no calls for a while, the run stores that at once, and the
//! next holder of the lease waits for the rest of it, even if this one is killed.

use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Either, pending, select};
use planhat_api::Client;
use planhat_model::error::Chain;
use planhat_store::{self as store, Explanation, LeaseHolder, LeaseRequest, RenewedLease, RunStatus, Store, Takeover};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::RunError;
use super::process::{has_exited, this_process};
use crate::pull::{PauseGate, PauseGuard};

/// Runs are numbered from one.
const NO_RUN: i64 = 0;
/// The command whose runs yield to other runs.
const PREEMPTIBLE: &str = "backfill";
/// How often the lease is checked.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for a backfill to yield: its current page may need all its retries.
const MAX_WAIT_FOR_LEASE: Duration = Duration::from_secs(15 * 60);
/// How long a run may call Planhat after a renewal of its lease began: less than it takes until another run may take the lease over.
pub(super) const CALLS_AFTER_RENEWAL: Duration = Duration::from_secs(60);
/// How long a yielded lease stays free for a run that requested it but may have ended.
const UNCLAIMED_FOR: Duration = Duration::from_secs(30);

/// A run that has the lease of its workspace.
#[derive(Debug, Clone)]
pub struct BegunRun {
    pub run_id: i64,
    /// Of the token that it calls Planhat with.
    pub token_hash: Option<String>,
}

/// Starts a run and acquires the lease; a backfill that holds it, or that uses the token on another workspace, is asked to yield. A run
/// without a client calls nobody.
pub async fn begin(
    store: &Store,
    command: &str,
    client: Option<&Client>,
    stop: &CancellationToken,
) -> Result<BegunRun, RunError> {
    let token_hash = match client {
        Some(client) => Some(store.transaction(async |db| Ok(client.fingerprint(&store::token_key(db).await?))).await?),
        None => None,
    };
    let mut waiting_since = None;
    let mut takeover = if store.is_embedded() { Takeover::Always } else { Takeover::IfStale };
    loop {
        let holder = this_process();
        let wanted =
            LeaseRequest { workspace: &store.schema, command, holder: &holder, takeover, token_hash: token_hash.as_deref() };
        let began = Instant::now();
        match acquire(store, wanted).await? {
            Ok(run_id) => {
                if let Some(client) = client {
                    client.allow_calls_for(CALLS_AFTER_RENEWAL, began);
                }
                return Ok(BegunRun { run_id, token_hash });
            }
            Err(held) => {
                if has_exited(&held.process) && takeover != Takeover::IfOwnerExited(held.run_id) {
                    takeover = Takeover::IfOwnerExited(held.run_id);
                    continue;
                }
                let since = *waiting_since.get_or_insert_with(Instant::now);
                if held.command != PREEMPTIBLE || command == PREEMPTIBLE || since.elapsed() > MAX_WAIT_FOR_LEASE {
                    return Err(RunError::Busy { held, schema: store.schema.clone() });
                }
                wait_for_lease(store, &held, stop).await?;
            }
        }
    }
}

/// Acquires the lease. If the answer to the commit was lost, the next attempt finds it held by the run that the one before has started.
async fn acquire(store: &Store, wanted: LeaseRequest<'_>) -> Result<Result<i64, LeaseHolder>, store::StoreError> {
    let started = AtomicI64::new(NO_RUN);
    let acquired = store.transaction(async |db| {
        let run_id = started.load(Ordering::Relaxed);
        if run_id != NO_RUN && store::holds_lease(&mut *db, wanted.workspace, run_id, wanted.holder).await? {
            return Ok(Ok(run_id));
        }
        match store::acquire_lease(db, wanted).await? {
            // That commit was still under way a moment ago.
            Err(held) if held.run_id == run_id => Ok(Ok(run_id)),
            Err(held) => Ok(Err(held)),
            Ok(run_id) => {
                started.store(run_id, Ordering::Relaxed);
                Ok(Ok(run_id))
            }
        }
    });
    acquired.await
}

/// Requests the lease from its holder, and waits until it is free or another run has it.
async fn wait_for_lease(store: &Store, held: &LeaseHolder, stop: &CancellationToken) -> Result<(), RunError> {
    info!("waiting for the backfill of run {} to pause", held.run_id);
    let asked = Instant::now();
    loop {
        let still_held = store.transaction(async |db| store::request_lease(db, &held.workspace, held.run_id).await);
        if !still_held.await? {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => return Err(RunError::Stopped),
            () = tokio::time::sleep(POLL_EVERY) => {}
        }
        if asked.elapsed() > MAX_WAIT_FOR_LEASE {
            return Ok(());
        }
    }
}

/// Ends a run and releases the lease.
pub async fn end(store: &Store, run_id: i64, status: RunStatus, why: &Explanation) -> Result<(), store::StoreError> {
    store.transaction(async |db| store::finish_run(db, run_id, status, why).await).await
}

/// Who renews a lease.
#[derive(Debug, Clone, Copy)]
pub enum Renewal<'a> {
    /// The run itself.
    Own,
    /// The heartbeat of the daemon, which cancels this when the lease is lost.
    Heartbeat(&'a CancellationToken),
}

/// The lease that a run holds on its workspace.
#[derive(Debug, Clone, Copy)]
pub struct RunLease<'a> {
    pub store: &'a Store,
    /// With what the run calls Planhat; none for a run that does not.
    pub client: Option<&'a Client>,
    pub run: &'a BegunRun,
    pub command: &'a str,
    pub renewal: Renewal<'a>,
    /// Pauses the scans of a run that is preempted.
    pub pause_gate: &'a PauseGate,
    /// Cancelled when the lease is lost.
    pub run_stop: &'a CancellationToken,
}

impl RunLease<'_> {
    /// Does the work, and renews the lease meanwhile. The work is stopped when the lease is lost.
    pub async fn renew_while<T>(self, work: impl Future<Output = T>) -> T {
        let (work, renewing) = (pin!(work), pin!(self.renew_until_lost()));
        let done = match select(work, renewing).await {
            Either::Left((done, _)) => done,
            Either::Right(((), work)) => {
                error!("another run has taken over the lease: stopping");
                self.run_stop.cancel();
                work.await
            }
        };
        if let Some(client) = self.client {
            client.allow_calls();
        }
        done
    }

    /// A database that is away for a moment is the pulls' business.
    async fn renew_until_lost(self) {
        let RunLease { store, client, run: BegunRun { run_id, .. }, command, renewal, .. } = self;
        // One that began before there was a lease is stored too.
        let mut pauses = client.map(|client| {
            let mut pauses = client.pauses();
            pauses.mark_changed();
            pauses
        });
        let interval = if command == PREEMPTIBLE { POLL_EVERY } else { store::RENEW_EVERY };
        if let Renewal::Heartbeat(lost) = renewal {
            loop {
                tokio::select! {
                    () = lost.cancelled() => return,
                    () = next_pause(&mut pauses) => self.save_pause().await,
                }
            }
        }
        loop {
            let mut next = pin!(tokio::time::sleep(interval));
            loop {
                tokio::select! {
                    () = &mut next => break,
                    () = next_pause(&mut pauses) => self.save_pause().await,
                }
            }
            let kept = match renew_lease(store, client, *run_id).await {
                Ok(Some(lease)) if lease.is_requested && command == PREEMPTIBLE => self.yield_to_other_run().await,
                Ok(Some(_)) => Ok(true),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            match kept {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => warn!(error = %Chain(&error), "could not renew the lease"),
            }
        }
    }

    /// Stores the pause that Planhat has asked for, if there is one. The run goes on if it cannot be stored.
    pub async fn save_pause(self) {
        let RunLease { store, client, .. } = self;
        let Some(left) = client.and_then(Client::pause_left) else { return };
        if let Err(error) = store.housekeeping(async |db| store::note_throttling(db, &store.schema, left).await).await {
            warn!(error = %Chain(&error), "could not note until when Planhat wants no calls");
        }
    }

    /// Another process may have held the lease until now: what Planhat has told that one holds for this one too. The run goes on
    /// if it cannot be read.
    pub async fn continue_after_another_process(self) {
        let RunLease { store, client, .. } = self;
        let Some(client) = client else { return };
        match store.housekeeping(async |db| store::throttled_for(db, &store.schema).await).await {
            Ok(left) => client.continue_after_another_process(left),
            Err(error) => warn!(error = %Chain(&error), "could not read until when Planhat wants no calls"),
        }
    }

    /// Yields the lease to another run, and returns when this run has reacquired it.
    async fn yield_to_other_run(self) -> Result<bool, store::StoreError> {
        let RunLease { store, pause_gate, .. } = self;
        let run_id = self.run.run_id;
        let Some(_paused) = self.wait_until_paused(pause_gate).await else { return Ok(false) };
        info!("another run has requested the lease: pausing for it");
        self.save_pause().await;
        if !store.housekeeping(async |db| store::yield_lease(db, &store.schema, run_id).await).await? {
            return Ok(false);
        }
        let freed = Instant::now();
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            let even_if_unclaimed = freed.elapsed() > UNCLAIMED_FOR;
            match self.try_reacquire(even_if_unclaimed).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(error) => warn!(error = %Chain(&error), "could not reacquire the lease yet"),
            }
        }
        info!("the other run has ended: continuing");
        self.continue_after_another_process().await;
        Ok(true)
    }

    /// Waits until all scans have paused, and renews the lease meanwhile: a commit may take long.
    async fn wait_until_paused(self, pause_gate: &PauseGate) -> Option<PauseGuard<'_>> {
        let mut guard = pin!(pause_gate.pause_scans());
        loop {
            tokio::select! {
                guard = &mut guard => return Some(guard),
                () = tokio::time::sleep(store::RENEW_EVERY) => {
                    match renew_lease(self.store, self.client, self.run.run_id).await {
                        Ok(Some(_)) => {}
                        Ok(None) => return None,
                        Err(error) => warn!(error = %Chain(&error), "could not renew the lease"),
                    }
                }
            }
        }
    }

    async fn try_reacquire(self, even_if_unclaimed: bool) -> Result<bool, store::StoreError> {
        let RunLease { store, client, run: BegunRun { run_id, token_hash }, command, .. } = self;
        let (began, holder) = (Instant::now(), this_process());
        let (workspace, token_hash) = (store.schema.as_str(), token_hash.as_deref());
        let wanted = LeaseRequest { workspace, command, holder: &holder, takeover: Takeover::IfStale, token_hash };
        let take = async |db: &mut store::PgConnection| store::reacquire_lease(db, wanted, *run_id, even_if_unclaimed).await;
        let is_taken = store.housekeeping(take).await?;
        if let (Some(client), true) = (client, is_taken) {
            client.allow_calls_for(CALLS_AFTER_RENEWAL, began);
        }
        Ok(is_taken)
    }
}

/// Returns when Planhat has asked for a pause, or for a longer one.
async fn next_pause(pauses: &mut Option<watch::Receiver<Option<Instant>>>) {
    if let Some(pauses) = pauses
        && pauses.changed().await.is_ok()
    {
        return;
    }
    pending().await
}

/// Renews the lease, and lets the run call Planhat for a time.
async fn renew_lease(store: &Store, client: Option<&Client>, run_id: i64) -> Result<Option<RenewedLease>, store::StoreError> {
    let began = Instant::now();
    let renewed = store.housekeeping(async |db| store::renew_lease(db, &store.schema, run_id).await).await?;
    if let (Some(client), Some(_)) = (client, &renewed) {
        client.allow_calls_for(CALLS_AFTER_RENEWAL, began);
    }
    Ok(renewed)
}
