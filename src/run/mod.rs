//! One run over a workspace: the lease, the objects side by side, the summary.
//!
//! What goes wrong with one object stays with it; only a refused token, or an end that is out of reach, ends
//! the whole run, because no other object could fare better.

mod asking;
mod identity;
mod lease;
mod objects;
mod process;
mod workspace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::catalog;
use crate::error::Chain;
use crate::flatten::Declared;
use crate::object::Object;
use crate::planhat::{self, Client, Listing, Pager, Position};
use crate::progress::Board;
use crate::pull::{Ask, Failure, Ledger, Limits, Preview, Purpose, Turns};
use crate::store::{self, Binding, Held, ObjectRun, ObjectStatus, RunStatus, Store};

pub use identity::Compared;
pub use lease::{begin, beside_heartbeat, end};
pub use process::{is_dead, this_process};
pub use workspace::{Recognized, adopt, recognize};

/// What a run is asked to do.
#[derive(Debug)]
pub struct Order<'a> {
    /// The command that ordered it, for the records.
    pub command: &'a str,
    pub objects: &'a [&'static Object],
    pub ask: Ask,
    pub limits: Limits,
    pub now: DateTime<Utc>,
    pub concurrency: usize,
    /// Where it tells how far it is.
    pub board: Arc<Board>,
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// None for a dry run, which is no run.
    pub run_id: Option<i64>,
    pub status: RunStatus,
    pub seconds: f64,
    pub objects: Vec<ObjectSummary>,
}

/// What came of one object.
#[derive(Debug, Serialize)]
pub struct ObjectSummary {
    #[serde(flatten)]
    pub run: ObjectRun,
    /// Misfits by column.
    pub misfit_columns: BTreeMap<String, u64>,
    /// Planhat names of properties that went to `_overflow`.
    pub overflowing: BTreeSet<String>,
    pub warnings: Vec<String>,
    /// What a dry run found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    #[serde(skip)]
    pub failure: Option<Failure>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "another run is at work on this workspace: run {} of {}, since {}, last seen {}",
        .0.run_id, .0.holder, .0.taken_at.format("%Y-%m-%d %H:%M:%S UTC"), .0.heartbeat_at.format("%H:%M:%S UTC")
    )]
    Busy(Held),
    #[error("stopped before the run began")]
    Stopped,
    #[error("schema {schema} belongs to another workspace: {compared}")]
    OtherWorkspace { schema: String, compared: Compared },
    #[error("could not tell whether schema {schema} belongs to this workspace: its stored records could not be asked for")]
    Unproven { schema: String, source: Option<planhat::Error> },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    fn unproven(schema: &str, source: Option<planhat::Error>) -> Error {
        Error::Unproven { schema: schema.to_owned(), source }
    }
}

/// Runs over the objects of an order. A cancelled `stop` ends it after the pages in hand.
pub async fn run(client: &Client, store: &Store, order: &Order<'_>, stop: &CancellationToken) -> Result<Summary, Error> {
    let started = Instant::now();
    let recognized = workspace::recognize_for_a_run(client, store, stop).await?;
    if order.limits.timeline.on {
        store.transaction(async |db| store::make_actions(db, &store.schema).await).await?;
        if let Err(error) = renew_timeline(store).await {
            debug!(error = %Chain(&error), "could not make the timeline at the start");
        }
    }
    let run_id = begin(store, order.command, stop).await?;
    let binding = match recognized.bind(client, store, run_id).await {
        Ok(binding) => binding,
        Err(error) => {
            end(store, run_id, RunStatus::Failed, Some(Chain(&error).to_string())).await?;
            return Err(error.into());
        }
    };
    info!(run_id, command = order.command, objects = order.objects.len(), "run {run_id} begins");

    // Ends with the signal, and also when the token is refused, an end is out of reach or the lease is lost.
    let (halt, turns) = (stop.child_token(), Turns::default());
    let pulls = pull_objects(client, store, order, Purpose::Store { run_id }, Some(&binding), &turns, &halt);
    let objects = beside_heartbeat(store, run_id, order.command, &turns, &halt, pulls).await;

    let status = status_of(&objects, stop.is_cancelled());
    end(store, run_id, status, why(status, &objects)).await?;
    forget_old_runs(store, order).await;
    forget_old_actions(store, order, stop).await;
    // Now that all tables have been made.
    if order.limits.timeline.on
        && let Err(error) = renew_timeline(store).await
    {
        warn!(error = %Chain(&error), "could not make the view {}.timeline", store.schema);
    }
    let seconds = started.elapsed().as_secs_f64();
    info!(run_id, status = status.as_str(), seconds, "run {run_id} {}", status.as_str());
    Ok(Summary { run_id: Some(run_id), status, seconds, objects })
}

/// The record of runs does not grow without end; that is nothing a run could fail for.
async fn forget_old_runs(store: &Store, order: &Order<'_>) {
    let before = order.now - order.limits.keep_runs;
    let forgotten = store.transaction(async |db| store::forget_runs(db, &store.schema, before).await);
    if let Err(error) = forgotten.await {
        warn!(error = %Chain(&error), "could not forget old runs");
    }
}

/// The view for people follows the tables. It is not what a run is for: a lock in its way is left alone until the next
/// time, and so is what a user has made by that name.
async fn renew_timeline(store: &Store) -> Result<(), store::Error> {
    let mut tx = store.begin().await?;
    store::make_timeline(&mut tx, &store.schema).await?;
    store::commit(tx).await
}

/// Nor does the timeline, if the user says so.
async fn forget_old_actions(store: &Store, order: &Order<'_>, stop: &CancellationToken) {
    let keep = order.limits.timeline.keep;
    if keep.is_zero() {
        return;
    }
    while !stop.is_cancelled() {
        match store.transaction(async |db| store::forget_actions(db, &store.schema, keep).await).await {
            Ok(0) => return,
            Ok(forgotten) => info!(forgotten, "forgot {forgotten} old actions"),
            Err(error) => return warn!(error = %Chain(&error), "could not forget old actions"),
        }
    }
}

/// Says what a run would do, and writes nothing: no lease is taken, so another run may be at work.
pub async fn preview(
    client: &Client,
    store: &Store,
    order: &Order<'_>,
    diff: bool,
    stop: &CancellationToken,
) -> Result<Summary, Error> {
    let started = Instant::now();
    tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Stopped),
        recognized = recognize(client, store) => recognized?,
    };
    let (halt, turns) = (stop.child_token(), Turns::default());
    let objects = pull_objects(client, store, order, Purpose::Preview { diff }, None, &turns, &halt).await;
    let status = status_of(&objects, stop.is_cancelled());
    Ok(Summary { run_id: None, status, seconds: started.elapsed().as_secs_f64(), objects })
}

/// All objects of an order, several side by side, in its order.
async fn pull_objects(
    client: &Client,
    store: &Store,
    order: &Order<'_>,
    purpose: Purpose,
    binding: Option<&Binding>,
    turns: &Turns,
    halt: &CancellationToken,
) -> Vec<ObjectSummary> {
    let declared = tokio::select! {
        () = halt.cancelled() => Declared::default(),
        declared = declared_fields(client, &order.limits) => declared,
    };
    let declared = declared.under(&order.limits.rules);
    let ledger = Ledger::default();
    let shared = objects::Shared { client, store, order, purpose, binding, declared: &declared, turns, halt, ledger: &ledger };
    let mut objects: Vec<ObjectSummary> = stream::iter(order.objects)
        .map(|object| objects::one_object(shared, object))
        .buffer_unordered(order.concurrency)
        .collect()
        .await;
    objects.sort_by_key(|summary| order.objects.iter().position(|object| object.name == summary.run.object));
    objects
}

/// The types of custom fields, as far as the token may know them. Without, values decide.
async fn declared_fields(client: &Client, limits: &Limits) -> Declared {
    let Some(object) = catalog::object("customfields") else { return Declared::default() };
    let (calls, listing) = (Arc::default(), Listing { object, sort: "_id".to_owned(), hidden: false });
    let mut pager = Pager::new(client, listing, limits.page_size, limits.overlap, Position::default(), &calls);
    let mut records = Vec::new();
    loop {
        match pager.next().await {
            Ok(Some(page)) => records.extend(page.records),
            Ok(None) => return Declared::from_records(&records),
            Err(error) => {
                info!(error = %Chain(&error), "custom fields take their types from values: their declarations could not be read");
                return Declared::from_records(&records);
            }
        }
    }
}

/// What stands for a run that did not succeed: the first thing that failed; what was skipped counts
/// only where nothing else happened.
fn why(status: RunStatus, objects: &[ObjectSummary]) -> Option<String> {
    let first = |wanted: ObjectStatus| {
        let found = objects.iter().find(|summary| summary.run.status == wanted)?;
        found.failure.as_ref().map(|failure| Chain(failure).to_string())
    };
    match status {
        RunStatus::Succeeded | RunStatus::Interrupted => None,
        RunStatus::Partial => first(ObjectStatus::Failed),
        RunStatus::Failed => first(ObjectStatus::Failed).or_else(|| first(ObjectStatus::Skipped)),
    }
}

fn status_of(objects: &[ObjectSummary], signalled: bool) -> RunStatus {
    let any = |status| objects.iter().any(|summary| summary.run.status == status);
    let token_refused = objects.iter().filter_map(|summary| summary.failure.as_ref()).any(Failure::is_token_refused);
    let something_landed = any(ObjectStatus::Succeeded) || any(ObjectStatus::Partial);
    if token_refused {
        RunStatus::Failed
    } else if signalled && any(ObjectStatus::Interrupted) {
        RunStatus::Interrupted
    } else if !something_landed {
        RunStatus::Failed
    } else if any(ObjectStatus::Failed) || any(ObjectStatus::Partial) || any(ObjectStatus::Interrupted) {
        RunStatus::Partial
    } else {
        RunStatus::Succeeded
    }
}
