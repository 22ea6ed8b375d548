//! One object in a run: its pull, what came of it, and the note of that.

use chrono::{DateTime, Utc};
use planhat_api::Client;
use planhat_model::catalog::Object;
use planhat_model::error::Chain;
use planhat_store::{self as store, Binding, Explanation, ObjectRun, ObjectStatus, Store};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::outcome::{PullFacts, Readable, object_outcome, records};
use super::{ObjectSummary, RunRequest};
use crate::pull::{self, Context, Declarations, DeletionReservations, PauseGate, PullEnd, PullError, Purpose, Report};

/// What all objects of a run share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shared<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a Store,
    pub(super) request: &'a RunRequest<'a>,
    pub(super) purpose: Purpose,
    pub(super) binding: Option<&'a Binding>,
    pub(super) declarations: &'a Declarations,
    pub(super) pause_gate: &'a PauseGate,
    pub(super) run_stop: &'a CancellationToken,
    pub(super) deletion_reservations: &'a DeletionReservations,
}

pub(super) async fn sync_object(shared: Shared<'_>, object: &'static Object) -> ObjectSummary {
    let Shared { client, store, request, purpose, binding, declarations, pause_gate, run_stop, deletion_reservations } = shared;
    let started_at = Utc::now();
    let mut report = Report::default();
    let was_stopped_before = run_stop.is_cancelled();
    let result = if was_stopped_before {
        Ok(PullEnd::Stopped)
    } else {
        let ctx = Context {
            client,
            store,
            limits: &request.limits,
            purpose,
            objects: request.objects,
            binding,
            now: request.now,
            declarations,
            stop: run_stop,
            pause_gate,
            progress: &request.progress,
            deletion_reservations,
        };
        pull::pull(&ctx, object, request.mode, &mut report).await
    };
    request.progress.end(object.name);
    let (ending, failure) = match result {
        Ok(ending) => (Some(ending), None),
        // Who is asked to stop gives up a page that takes its time in the database: that says nothing against either.
        Err(failure) if run_stop.is_cancelled() && failure.is_unresponsive_database() => (Some(PullEnd::Stopped), None),
        Err(failure) => (None, Some(failure)),
    };
    let (readable, failure) = could_be_read(shared, object, &report, failure).await;
    let rejection_summary = report.rejection_summary();
    let facts = PullFacts {
        object: object.name,
        ended: failure.as_ref().map_or(Ok(ending.unwrap_or(PullEnd::Stopped)), Err),
        readable,
        quarantined: report.figures.quarantined,
        rejection_summary: rejection_summary.as_deref(),
        warning: report.warnings.first().map(String::as_str),
        is_preview: matches!(purpose, Purpose::Preview { .. }),
    };
    let (status, Explanation { reason, hint }) = object_outcome(&facts);
    if failure.as_ref().is_some_and(|failure| failure.is_token_refused() || failure.is_unreachable()) {
        run_stop.cancel();
    }
    log_outcome(object, status, reason.as_deref(), &report);

    let run = ObjectRun {
        object: object.name,
        scan: report.scan,
        status,
        reason,
        hint,
        readable: report.readable,
        started_at,
        finished_at: Utc::now(),
        figures: report.figures,
        oldest: report.oldest,
        watermark: report.watermark,
    };
    let database_is_gone = |failure: &PullError| matches!(failure, PullError::Store { source, .. } if source.is_unreachable());
    let nothing_to_note = failure.as_ref().is_some_and(database_is_gone) || (was_stopped_before && report.scan.is_none());
    let mut new_misfit_columns = Vec::new();
    if let Purpose::Store { run_id } = purpose
        && !nothing_to_note
    {
        new_misfit_columns = save_outcome(store, run_id, object, &run, &report).await.unwrap_or_else(|error| {
            error!(object = object.name, error = %Chain(&error), "could not note what became of {}", object.name);
            Vec::new()
        });
    }
    let preview = matches!(purpose, Purpose::Preview { .. }).then_some(report.preview);
    let Report { misfits, overflowing, warnings, .. } = report;
    let misfit_columns = misfits.iter().map(|(column, misfits)| (column.clone(), misfits.count)).collect();
    let new_misfits = misfits.into_iter().filter(|(column, _)| new_misfit_columns.contains(column)).collect();
    ObjectSummary { run, misfit_columns, new_misfits, overflowing, warnings, preview, failure }
}

/// Whether an object that may not be read could be read before. Where that cannot be seen, that is what has failed.
async fn could_be_read(
    shared: Shared<'_>,
    object: &'static Object,
    report: &Report,
    failure: Option<PullError>,
) -> (Readable, Option<PullError>) {
    if !failure.as_ref().is_some_and(PullError::is_access_denied) {
        return (Readable::Never, failure);
    }
    if report.readable {
        return (Readable::JustNow, failure);
    }
    match last_readable(shared, object).await {
        Ok(known) => (known.map_or(Readable::Never, Readable::Until), failure),
        Err(source) => (Readable::Never, Some(PullError::Store { object: object.name, source })),
    }
}

async fn last_readable(shared: Shared<'_>, object: &Object) -> Result<Option<DateTime<Utc>>, store::StoreError> {
    let store = shared.store;
    // A dry run may come before the first run.
    if matches!(shared.purpose, Purpose::Preview { .. }) && !store.is_set_up().await? {
        return Ok(None);
    }
    store.read_only(async |db| store::last_readable(db, &store.schema, object).await).await
}

fn log_outcome(object: &Object, status: ObjectStatus, reason: Option<&str>, report: &Report) {
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
                "pulled {name}, with {} put in quarantine",
                records(figures.quarantined)
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

/// Notes what became of an object. Returns the columns that have misfits for the first time.
async fn save_outcome(
    store: &Store,
    run_id: i64,
    object: &Object,
    run: &ObjectRun,
    report: &Report,
) -> Result<Vec<String>, store::StoreError> {
    let misfits: Vec<_> = report.misfits.iter().map(|(column, misfits)| (column.as_str(), misfits.would_fit)).collect();
    let noted = store.transaction(async |db| {
        store::record_object_run(&mut *db, run_id, run).await?;
        store::record_misfits(db, &store.schema, object, &misfits, report.saw_all).await
    });
    noted.await
}
