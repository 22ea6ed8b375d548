//! One run over a workspace: the lease, the objects side by side, the summary.
//!
//! What goes wrong with one object stays with it; only a refused token, or an end that is out of reach, ends
//! the whole run, because no other object could fare better.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::catalog;
use crate::error::Chain;
use crate::flatten::Declared;
use crate::object::Object;
use crate::planhat::{Client, Listing, Pager, Position};
use crate::pull::{self, Ask, Context, Ending, Failure, Limits, Report};
use crate::store::{self, Held, ObjectRun, ObjectStatus, RunStatus, Store};

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
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub run_id: i64,
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
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Runs over the objects of an order. A cancelled `stop` ends it after the pages in hand.
pub async fn run(client: &Client, store: &Store, order: &Order<'_>, stop: &CancellationToken) -> Result<Summary, Error> {
    let started = Instant::now();
    let run_id = begin(store, order.command).await?;
    info!(run_id, command = order.command, objects = order.objects.len(), "run {run_id} begins");

    // Ends with the signal, and also when the token is refused, an end is out of reach or the lease is lost.
    let halt = stop.child_token();
    let pulls = async {
        let declared = tokio::select! {
            () = halt.cancelled() => Declared::default(),
            declared = declared_fields(client, order.limits) => declared,
        };
        stream::iter(order.objects)
            .map(|object| one_object(client, store, order, run_id, object, &declared, &halt))
            .buffer_unordered(order.concurrency)
            .collect::<Vec<_>>()
            .await
    };
    let mut objects = beside_heartbeat(store, run_id, &halt, pulls).await;
    objects.sort_by_key(|summary| order.objects.iter().position(|object| object.name == summary.run.object));

    let status = status_of(&objects, stop.is_cancelled());
    end(store, run_id, status, why(status, &objects)).await?;
    let seconds = started.elapsed().as_secs_f64();
    info!(run_id, status = status.as_str(), seconds, "run {run_id} {}", status.as_str());
    Ok(Summary { run_id, status, seconds, objects })
}

/// Starts a run and takes the lease.
pub async fn begin(store: &Store, command: &str) -> Result<i64, Error> {
    let mut tx = store.begin().await?;
    let taken = store::take_lease(&mut tx, &store.schema, command, &holder(), store.is_ours_alone()).await?;
    let run_id = taken.map_err(Error::Busy)?;
    store::commit(tx).await?;
    Ok(run_id)
}

/// Ends a run and gives the lease back.
pub async fn end(store: &Store, run_id: i64, status: RunStatus, error: Option<String>) -> Result<(), Error> {
    let mut tx = store.begin().await?;
    store::finish_run(&mut tx, run_id, status, error.as_deref()).await?;
    Ok(store::commit(tx).await?)
}

/// Who we are, for the person who finds the lease taken.
fn holder() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this host".to_owned());
    format!("process {} on {}", std::process::id(), host.trim())
}

/// Does the work while the lease's heart beats.
pub async fn beside_heartbeat<T>(store: &Store, run_id: i64, halt: &CancellationToken, work: impl Future<Output = T>) -> T {
    let (work, heartbeat) = (pin!(work), pin!(heartbeat(store, run_id)));
    match select(work, heartbeat).await {
        Either::Left((done, _)) => done,
        Either::Right(((), work)) => {
            halt.cancel();
            work.await
        }
    }
}

/// Beats until the lease is lost. A database that is away for a moment is the pulls' business.
async fn heartbeat(store: &Store, run_id: i64) {
    loop {
        tokio::time::sleep(store::HEARTBEAT).await;
        let beat = async {
            let mut tx = store.begin().await?;
            let kept = store::beat(&mut tx, &store.schema, run_id).await?;
            store::commit(tx).await.map(|()| kept)
        };
        match beat.await {
            Ok(true) => {}
            Ok(false) => {
                error!(run_id, "another run has taken the lease: stopping");
                return;
            }
            Err(error) => warn!(run_id, error = %Chain(&error), "could not keep the lease"),
        }
    }
}

/// The types of custom fields, as far as the token may know them. Without, values decide.
async fn declared_fields(client: &Client, limits: Limits) -> Declared {
    let Some(object) = catalog::object("customfields") else { return Declared::default() };
    let (calls, listing) = (AtomicU64::new(0), Listing { object, sort: "_id".to_owned(), hidden: false });
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

async fn one_object(
    client: &Client,
    store: &Store,
    order: &Order<'_>,
    run_id: i64,
    object: &'static Object,
    declared: &Declared,
    halt: &CancellationToken,
) -> ObjectSummary {
    let started_at = Utc::now();
    let mut report = Report::default();
    let was_halted = halt.is_cancelled();
    let result = if was_halted {
        Ok(Ending::Stopped)
    } else {
        let ctx = Context { client, store, limits: order.limits, run_id, now: order.now, declared, stop: halt };
        pull::pull(&ctx, object, order.ask, &mut report).await
    };
    let (status, failure) = match result {
        Ok(Ending::Stopped) => (ObjectStatus::Interrupted, None),
        Ok(Ending::Complete) if report.figures.quarantined > 0 => (ObjectStatus::Partial, None),
        Ok(Ending::Complete) => (ObjectStatus::Succeeded, None),
        Err(failure) => (failure.status(), Some(failure)),
    };
    if failure.as_ref().is_some_and(|failure| failure.is_token_refused() || failure.is_out_of_reach()) {
        halt.cancel();
    }
    let reason = failure.as_ref().map(|failure| Chain(failure).to_string()).or_else(|| report.warnings.first().cloned());
    tell(object, status, reason.as_deref(), &report);

    let run = ObjectRun {
        object: object.name,
        scan: report.scan,
        status,
        reason,
        started_at,
        finished_at: Utc::now(),
        figures: report.figures,
        watermark: report.watermark,
    };
    let database_is_gone = |failure: &Failure| matches!(failure, Failure::Store { source, .. } if source.is_out_of_reach());
    if failure.as_ref().is_some_and(database_is_gone) || (was_halted && report.scan.is_none()) {
        // There is no place, or nothing, to note.
    } else if let Err(error) = record(store, run_id, &run).await {
        error!(object = object.name, error = %Chain(&error), "could not note what became of {}", object.name);
    }
    ObjectSummary { run, misfit_columns: report.misfits, overflowing: report.overflowing, warnings: report.warnings, failure }
}

fn tell(object: &Object, status: ObjectStatus, reason: Option<&str>, report: &Report) {
    let figures = report.figures;
    let (name, reason) = (object.name, reason.unwrap_or_default());
    match status {
        ObjectStatus::Succeeded => info!(
            object = name,
            rows.fetched = figures.fetched,
            rows.inserted = figures.inserted,
            rows.updated = figures.updated,
            rows.unchanged = figures.unchanged,
            pages = figures.pages,
            calls = figures.calls,
            "pulled {name}: {} of {} records were new or changed",
            figures.inserted + figures.updated,
            figures.fetched
        ),
        ObjectStatus::Partial => {
            warn!(
                object = name,
                quarantined = figures.quarantined,
                "pulled {name}, with {} records put in quarantine",
                figures.quarantined
            );
        }
        ObjectStatus::Skipped => warn!(object = name, reason, "skipped {name}"),
        ObjectStatus::Failed => error!(object = name, error = reason, "pull of {name} failed"),
        ObjectStatus::Interrupted if report.scan.is_none() => {}
        ObjectStatus::Interrupted => info!(object = name, "stopped {name}; the next run goes on from there"),
    }
    for warning in &report.warnings {
        warn!(object = name, "{warning}");
    }
}

async fn record(store: &Store, run_id: i64, run: &ObjectRun) -> Result<(), store::Error> {
    let mut tx = store.begin().await?;
    store::record_object_run(&mut tx, run_id, run).await?;
    store::commit(tx).await
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
