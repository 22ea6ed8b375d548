//! One run at a time on a workspace: taking the lease, keeping it, and making way with it.
//!
//! A backfill may take hours, so it makes way for any other run: its scans save their positions, the lease
//! goes to the other run, and when that has ended the backfill takes it back and goes on.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use planhat_model::error::Chain;
use planhat_store::{self as store, Held, Lease, MayTake, RunStatus, Store, Why};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Error;
use super::process::{is_dead, this_process};
use crate::pull::{Turns, Way};

/// The command that makes way.
const MAKES_WAY: &str = "backfill";
/// How often is looked whether the lease is free.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A page in hand may take its retries before its run makes way.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// What the lease is kept free for, should who asked for it be gone.
const FREE_FOR: Duration = Duration::from_secs(30);

/// Starts a run and takes the lease, for which a backfill is asked to make way.
pub async fn begin(store: &Store, command: &str, stop: &CancellationToken) -> Result<i64, Error> {
    let mut waiting_since = None;
    let mut may = if store.is_ours_alone() { MayTake::FromAnybody } else { MayTake::FromTheSilent };
    loop {
        let taken = store.attempt(async |db| store::take_lease(db, &store.schema, command, &this_process(), may).await);
        match taken.await? {
            Ok(run_id) => return Ok(run_id),
            Err(held) => {
                if is_dead(&held.process) && may != MayTake::FromTheDead(held.run_id) {
                    may = MayTake::FromTheDead(held.run_id);
                    continue;
                }
                let since = *waiting_since.get_or_insert_with(Instant::now);
                if held.command != MAKES_WAY || command == MAKES_WAY || since.elapsed() > PATIENCE {
                    return Err(Error::Busy(held));
                }
                wait_for(store, &held, stop).await?;
            }
        }
    }
}

/// Asks the holder to make way, and waits until the lease is free or somebody else's.
async fn wait_for(store: &Store, held: &Held, stop: &CancellationToken) -> Result<(), Error> {
    info!("waiting for the backfill of run {} to make way", held.run_id);
    let asked = Instant::now();
    loop {
        let still_held = store.transaction(async |db| store::ask_for_lease(db, &store.schema, held.run_id).await);
        if !still_held.await? {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled() => return Err(Error::Stopped),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if asked.elapsed() > PATIENCE {
            return Ok(());
        }
    }
}

/// Ends a run and gives the lease back.
pub async fn end(store: &Store, run_id: i64, status: RunStatus, why: &Why) -> Result<(), store::Error> {
    store.transaction(async |db| store::finish_run(db, run_id, status, why).await).await
}

/// Does the work while the lease's heart beats.
pub async fn beside_heartbeat<T>(
    store: &Store,
    run_id: i64,
    command: &str,
    turns: &Turns,
    halt: &CancellationToken,
    work: impl Future<Output = T>,
) -> T {
    let (work, heartbeat) = (pin!(work), pin!(heartbeat(store, run_id, command, turns)));
    match select(work, heartbeat).await {
        Either::Left((done, _)) => done,
        Either::Right(((), work)) => {
            halt.cancel();
            work.await
        }
    }
}

/// Beats until the lease is lost. A database that is away for a moment is the pulls' business.
async fn heartbeat(store: &Store, run_id: i64, command: &str, turns: &Turns) {
    let interval = if command == MAKES_WAY { LOOK_EVERY } else { store::HEARTBEAT };
    loop {
        tokio::time::sleep(interval).await;
        let kept = match beat(store, run_id).await {
            Ok(Some(lease)) if lease.is_wanted && command == MAKES_WAY => make_way(store, run_id, turns).await,
            Ok(Some(_)) => Ok(true),
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        match kept {
            Ok(true) => {}
            Ok(false) => {
                error!(run_id, "another run has taken the lease: stopping");
                return;
            }
            Err(error) => warn!(run_id, error = %Chain(&error), "could not keep the lease"),
        }
    }
}

async fn beat(store: &Store, run_id: i64) -> Result<Option<Lease>, store::Error> {
    store.housekeeping(async |db| store::beat(db, &store.schema, run_id).await).await
}

/// Lets another run have its turn, and comes back with the lease.
async fn make_way(store: &Store, run_id: i64, turns: &Turns) -> Result<bool, store::Error> {
    let Some(_way) = way_made(store, run_id, turns).await else { return Ok(false) };
    info!(run_id, "another run is due: making way for it");
    if !store.housekeeping(async |db| store::free_lease(db, &store.schema, run_id).await).await? {
        return Ok(false);
    }
    let freed = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let take_it_untaken = freed.elapsed() > FREE_FOR;
        match take_back(store, run_id, take_it_untaken).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => warn!(run_id, error = %Chain(&error), "could not take the lease back yet"),
        }
    }
    info!(run_id, "the other run has ended: going on");
    Ok(true)
}

/// Waits until all scans rest, and keeps the lease meanwhile: a page may take its time in the database.
async fn way_made<'a>(store: &Store, run_id: i64, turns: &'a Turns) -> Option<Way<'a>> {
    let mut way = pin!(turns.make_way());
    loop {
        tokio::select! {
            way = &mut way => return Some(way),
            () = tokio::time::sleep(store::HEARTBEAT) => {
                match beat(store, run_id).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => warn!(run_id, error = %Chain(&error), "could not keep the lease"),
                }
            }
        }
    }
}

async fn take_back(store: &Store, run_id: i64, take_it_untaken: bool) -> Result<bool, store::Error> {
    let take = async |db: &mut store::PgConnection| {
        store::take_lease_back(db, &store.schema, run_id, &this_process(), take_it_untaken).await
    };
    store.housekeeping(take).await
}
