//! One run over a workspace: the lease, the objects side by side, the summary.
//!
//! What goes wrong with one object stays with it; only a refused token, or an end that is out of reach, ends
//! the whole run, because no other object could fare better.

mod asking;
mod identity;
mod lease;
mod objects;
mod outcome;
mod process;
mod recognize;

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use planhat_api::{self as api, Client, Listing, Pager, Position};
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_model::error::Chain;
use planhat_model::flatten::Declared;
use planhat_store::{self as store, Binding, Held, ObjectRun, RunStatus, Store, Why};
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::progress::Board;
use crate::pull::{Ask, Declarations, Failure, Ledger, Limits, Misfits, Preview, Purpose, Turns};
use outcome::{status_of, why};

pub use identity::Compared;
pub use lease::{begin, beside_heartbeat, end};
pub use outcome::records;
pub use process::{is_dead, look_at, this_process};
pub use recognize::{Recognized, adopt, recognize};

/// How much longer than its pulls a run waits until it is said that it has begun.
const BEGINNING: Duration = Duration::from_secs(2);

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
    /// Why it is not good, and what a person can do about it.
    #[serde(flatten)]
    pub why: Why,
    pub seconds: f64,
    /// Requests to Planhat, those for the declarations of custom fields included.
    pub calls: i64,
    pub objects: Vec<ObjectSummary>,
}

/// What came of one object.
#[derive(Debug, Serialize)]
pub struct ObjectSummary {
    #[serde(flatten)]
    pub run: ObjectRun,
    /// Misfits by column.
    pub misfit_columns: BTreeMap<String, u64>,
    /// Those columns that had none before, with some of the values.
    #[serde(skip)]
    pub new_misfits: BTreeMap<String, Misfits>,
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
    Unproven { schema: String, source: Option<api::Error> },
    /// All of its work is done and committed.
    #[error("run {run_id} is done ({}), but its end could not be noted", status.as_str())]
    End { run_id: i64, status: RunStatus, source: store::Error },
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    fn unproven(schema: &str, source: Option<api::Error>) -> Error {
        Error::Unproven { schema: schema.to_owned(), source }
    }

    /// Whether the database said nothing for too long.
    pub fn is_silence(&self) -> bool {
        matches!(self, Error::End { source: store::Error::Silent { .. }, .. } | Error::Store(store::Error::Silent { .. }))
    }

    /// What could not be done, for a log.
    pub fn headline(&self) -> &'static str {
        match self {
            Error::End { .. } => "the run is done, but could not end",
            Error::Busy(_) | Error::Stopped | Error::OtherWorkspace { .. } | Error::Unproven { .. } | Error::Store(_) => {
                "the run could not begin"
            }
        }
    }
}

/// Runs over the objects of an order. A cancelled `stop` ends it after the pages in hand.
pub async fn run(client: &Client, store: &Store, order: &Order<'_>, stop: &CancellationToken) -> Result<Summary, Error> {
    run_and_say(client, store, order, stop, ready(())).await
}

/// The same, with something to be done when the run has its lease. It is done beside the pulls, and hardly waited for behind them.
pub async fn run_and_say(
    client: &Client,
    store: &Store,
    order: &Order<'_>,
    stop: &CancellationToken,
    when_it_begins: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let started = Instant::now();
    let recognized = recognize::recognize_for_a_run(client, store, stop).await?;
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
            let why = Why { reason: Some(Chain(&error).to_string()), hint: error.hint().map(str::to_owned) };
            end(store, run_id, RunStatus::Failed, &why).await?;
            return Err(error.into());
        }
    };
    info!(run_id, command = order.command, objects = order.objects.len(), "run {run_id} begins");

    // Ends with the signal, and also when the token is refused, an end is out of reach or the lease is lost.
    let (halt, turns) = (stop.child_token(), Turns::default());
    let pulls = pull_objects(client, store, order, Purpose::Store { run_id }, Some(&binding), &turns, &halt);
    let work = beside_the_beginning(when_it_begins, pulls, &halt);
    let (objects, calls) = beside_heartbeat(store, run_id, order.command, &turns, &halt, work).await;

    note_calls(store, run_id, calls).await;
    let status = status_of(&objects, stop.is_cancelled());
    let why = why(status, &objects);
    end(store, run_id, status, &why).await.map_err(|source| Error::End { run_id, status, source })?;
    forget_old_runs(store, order).await;
    forget_old_actions(store, order, stop).await;
    // Now that all tables have been made.
    if order.limits.timeline.on
        && let Err(error) = renew_timeline(store).await
    {
        warn!(error = %Chain(&error), "could not make the view {}.timeline", store.schema);
    }
    let seconds = started.elapsed().as_secs_f64();
    let came_to = status.as_str();
    match status {
        RunStatus::Succeeded | RunStatus::Interrupted => info!(run_id, status = came_to, seconds, "run {run_id} {came_to}"),
        RunStatus::Partial | RunStatus::Failed => warn!(run_id, status = came_to, seconds, "run {run_id} {came_to}"),
    }
    Ok(Summary { run_id: Some(run_id), status, why, seconds, calls, objects })
}

/// What a run has cost; its end does not depend on it.
async fn note_calls(store: &Store, run_id: i64, calls: i64) {
    if let Err(error) = store.transaction(async |db| store::note_calls(db, run_id, calls).await).await {
        warn!(error = %Chain(&error), "could not note the calls of a run");
    }
}

/// What is said of a beginning comes before what is said of the end, where that takes no longer than seconds.
async fn beside_the_beginning<T>(
    beginning: impl Future<Output = ()>,
    pulls: impl Future<Output = T>,
    halt: &CancellationToken,
) -> T {
    let (mut beginning, mut pulls) = (pin!(beginning), pin!(pulls));
    tokio::select! {
        biased;
        done = &mut pulls => {
            if !halt.is_cancelled() {
                let _ = timeout(BEGINNING, beginning).await;
            }
            done
        }
        () = &mut beginning => pulls.await,
    }
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
    store.attempt(async |db| store::make_timeline(db, &store.schema).await).await
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
    let (objects, calls) = pull_objects(client, store, order, Purpose::Preview { diff }, None, &turns, &halt).await;
    let status = status_of(&objects, stop.is_cancelled());
    let why = why(status, &objects);
    Ok(Summary { run_id: None, status, why, seconds: started.elapsed().as_secs_f64(), calls, objects })
}

/// All objects of an order, several side by side, in its order; and the calls that all of it took.
async fn pull_objects(
    client: &Client,
    store: &Store,
    order: &Order<'_>,
    purpose: Purpose,
    binding: Option<&Binding>,
    turns: &Turns,
    halt: &CancellationToken,
) -> (Vec<ObjectSummary>, i64) {
    let calls = Arc::default();
    let declarations = tokio::select! {
        // No object begins any more.
        () = halt.cancelled() => Declarations::default(),
        declarations = declared_fields(client, &order.limits, &calls) => declarations,
    };
    let ledger = Ledger::default();
    let declarations = &declarations;
    let shared = objects::Shared { client, store, order, purpose, binding, declarations, turns, halt, ledger: &ledger };
    let mut objects: Vec<ObjectSummary> = stream::iter(order.objects)
        .map(|object| objects::one_object(shared, object))
        .buffer_unordered(order.concurrency)
        .collect()
        .await;
    objects.sort_by_key(|summary| order.objects.iter().position(|object| object.name == summary.run.object));
    let of_objects: i64 = objects.iter().map(|summary| summary.run.figures.calls).sum();
    (objects, of_objects + calls.load(Ordering::Relaxed).cast_signed())
}

/// The types of custom fields, as far as they can be read.
async fn declared_fields(client: &Client, limits: &Limits, calls: &Arc<AtomicU64>) -> Declarations {
    let Some(object) = catalog::object("customfields") else { return Declarations::default() };
    let listing = Listing { object, sort: "_id".to_owned(), hidden: false };
    let mut pager = Pager::new(client, listing, limits.page_size, limits.overlap, Position::default(), calls);
    let mut records = Vec::new();
    let failure = loop {
        match pager.next().await {
            Ok(Some(page)) => records.extend(page.records),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let declared = Declared::from_records(&records).under(&limits.rules);
    match &failure {
        Some(error @ api::Error::Forbidden { .. }) => {
            info!(error = %Chain(error), "custom fields take their types from values: their declarations may not be read");
        }
        Some(error) => warn!(
            error = %Chain(error),
            "the declarations of custom fields could not be read: objects are not loaded for the first time, and new custom fields wait in _overflow"
        ),
        None => {}
    }
    Declarations::of(declared, failure)
}
