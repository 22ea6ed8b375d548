//! One object in a run: its pull, what came of it, and the note of that.

use chrono::Utc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{ObjectSummary, Order};
use crate::error::Chain;
use crate::flatten::Declared;
use crate::object::Object;
use crate::planhat::Client;
use crate::pull::{self, Context, Ending, Failure, Ledger, Purpose, Report, Turns};
use crate::store::{self, Binding, ObjectRun, ObjectStatus, Store};

/// What all objects of a run share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a Store,
    pub(super) order: &'a Order<'a>,
    pub(super) purpose: Purpose,
    pub(super) binding: Option<&'a Binding>,
    pub(super) declared: &'a Declared,
    pub(super) turns: &'a Turns,
    pub(super) halt: &'a CancellationToken,
    pub(super) ledger: &'a Ledger,
}

pub(super) async fn one_object(shared: Shared<'_>, object: &'static Object) -> ObjectSummary {
    let Shared { client, store, order, purpose, binding, declared, turns, halt, ledger } = shared;
    let started_at = Utc::now();
    let mut report = Report::default();
    let was_halted = halt.is_cancelled();
    let result = if was_halted {
        Ok(Ending::Stopped)
    } else {
        let ctx = Context {
            client,
            store,
            limits: &order.limits,
            purpose,
            objects: order.objects,
            binding,
            now: order.now,
            declared,
            stop: halt,
            turns,
            board: &order.board,
            ledger,
        };
        pull::pull(&ctx, object, order.ask, &mut report).await
    };
    order.board.end(object.name);
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
        oldest: report.oldest,
        watermark: report.watermark,
    };
    let database_is_gone = |failure: &Failure| matches!(failure, Failure::Store { source, .. } if source.is_out_of_reach());
    let nothing_to_note = failure.as_ref().is_some_and(database_is_gone) || (was_halted && report.scan.is_none());
    if let Purpose::Store { run_id } = purpose
        && !nothing_to_note
        && let Err(error) = record(store, run_id, &run).await
    {
        error!(object = object.name, error = %Chain(&error), "could not note what became of {}", object.name);
    }
    let preview = matches!(purpose, Purpose::Preview { .. }).then_some(report.preview);
    let Report { misfits: misfit_columns, overflowing, warnings, .. } = report;
    ObjectSummary { run, misfit_columns, overflowing, warnings, preview, failure }
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
            rows.restored = figures.restored,
            rows.deleted = figures.deleted,
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
    store.transaction(async |db| store::record_object_run(db, run_id, run).await).await
}
