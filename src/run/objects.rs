//! One object in a run: pulls it, decides its result, and records that.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt, stream};
use planhat_api::Client;
use planhat_model::catalog::{self, Object};
use planhat_model::error::{Chain, ErrorKind, Fails, Severity};
use planhat_store::{self as store, Binding, Explanation, ObjectRun, ObjectStatus, Store};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, info, warn};

use super::declared_fields::declared_fields;
use super::outcome::{PullFacts, Readable, object_outcome, records};
use super::{ObjectSummary, RunRequest};
use crate::pull::{self, Context, Declarations, DeletionReservations, Mode, PauseGate, PullEnd, PullError, Purpose, Report};

/// The pulls of a run: with what they work, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulls<'a> {
    pub(super) client: &'a Client,
    pub(super) store: &'a Store,
    pub(super) request: &'a RunRequest<'a>,
    pub(super) purpose: Purpose,
    /// What the schema is bound to; none for a dry run.
    pub(super) binding: Option<&'a Binding>,
    pub(super) pause_gate: &'a PauseGate,
    pub(super) run_stop: &'a CancellationToken,
}

impl Pulls<'_> {
    /// Pulls all objects of a request, several side by side. Returns them in its order, and the calls that all of it took.
    pub(super) async fn pull_all(self) -> (Vec<ObjectSummary>, i64) {
        let Pulls { client, store, request, purpose, binding, pause_gate, run_stop } = self;
        let customfields = catalog::object("customfields").map(|object| client.for_object(object));
        let declarations = tokio::select! {
            // No further object is started.
            () = run_stop.cancelled() => Declarations::default(),
            declarations = declared_fields(customfields.as_ref(), &request.limits) => declarations,
        };
        let ctx = &Context {
            client,
            store,
            limits: &request.limits,
            purpose,
            objects: request.objects,
            binding,
            now: request.now,
            declarations: &declarations,
            full_scan_calls: full_scan_calls(store, request).await,
            stop: run_stop,
            pause_gate,
            progress: &request.progress,
            deletion_reservations: &DeletionReservations::default(),
        };
        let mut objects: Vec<ObjectSummary> = stream::iter(request.objects)
            .map(|object| sync_object(ctx, object, request.mode).instrument(error_span!("object", object = %object.name)))
            .buffer_unordered(request.concurrency)
            .collect()
            .await;
        objects.sort_by_key(|summary| request.objects.iter().position(|object| object.name == summary.run.object));
        let of_objects: i64 = objects.iter().map(|summary| summary.run.figures.calls).sum();
        let of_declarations = customfields.map_or(0, |customfields| customfields.calls().cast_signed());
        (objects, of_objects + of_declarations)
    }
}

/// How many calls it takes to compare everything. While that cannot be read, as many as were never counted.
async fn full_scan_calls(store: &Store, request: &RunRequest<'_>) -> u64 {
    let names: Vec<&str> = request.objects.iter().map(|object| object.name).collect();
    let read = async {
        match store.is_set_up().await? {
            true => store.read_only(async |db| store::full_scan_calls(db, &store.schema, &names).await).await,
            false => Ok(0),
        }
    };
    read.await.unwrap_or_else(|error| {
        warn!(error = %Chain(&error), "could not read how many calls it takes to compare everything");
        0
    })
}

/// Pulls an object, decides what came of it, and saves that.
async fn sync_object(ctx: &Context<'_>, object: &'static Object, mode: Mode) -> ObjectSummary {
    let started_at = Utc::now();
    let mut report = Report::default();
    let was_stopped_before = ctx.stop.is_cancelled();
    let pulled = if was_stopped_before { Ok(PullEnd::Stopped) } else { pull::pull(ctx, object, mode, &mut report).await };
    ctx.progress.end(object.name);
    let (ended, failure) = match pulled {
        Ok(end) => (end, None),
        // After a stop was requested, a slow page is given up. That is an error of neither the object nor the database.
        Err(failure) if ctx.stop.is_cancelled() && failure.kind() == ErrorKind::DatabaseUnresponsive => (PullEnd::Stopped, None),
        Err(failure) => (PullEnd::Stopped, Some(failure)),
    };
    let (readable, failure) = could_be_read(ctx, object, &report, failure).await;
    let rejection_summary = report.rejection_summary();
    let is_preview = matches!(ctx.purpose, Purpose::Preview { .. });
    let (status, Explanation { reason, hint }) = object_outcome(&PullFacts {
        object: object.name,
        ended: failure.as_ref().map_or(Ok(ended), Err),
        readable,
        quarantined: report.figures.quarantined,
        rejection_summary: rejection_summary.as_deref(),
        warning: report.warnings.first().map(String::as_str),
        is_preview,
    });
    if failure.as_ref().is_some_and(|failure| failure.kind().fails() == Fails::Run) {
        ctx.stop.cancel();
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
        left_out: report.left_out,
    };
    let database_is_gone = |failure: &PullError| failure.kind().consequence().is_loss_of_database();
    let nothing_to_save = failure.as_ref().is_some_and(database_is_gone) || (was_stopped_before && report.scan.is_none());
    let new_misfit_columns = if nothing_to_save { Vec::new() } else { save_outcome_or_warn(ctx, object, &run, &report).await };
    let preview = is_preview.then_some(report.preview);
    let Report { misfits, overflowing, warnings, .. } = report;
    let misfit_columns = misfits.iter().map(|(column, misfits)| (column.clone(), misfits.count)).collect();
    let new_misfits = misfits.into_iter().filter(|(column, _)| new_misfit_columns.contains(column)).collect();
    ObjectSummary { run, misfit_columns, new_misfits, overflowing, warnings, preview, failure }
}

/// The run goes on where it cannot be saved.
async fn save_outcome_or_warn(ctx: &Context<'_>, object: &Object, run: &ObjectRun, report: &Report) -> Vec<String> {
    let Purpose::Store { run_id } = ctx.purpose else { return Vec::new() };
    match save_outcome(ctx.store, run_id, object, run, report).await {
        Ok(new_misfit_columns) => return new_misfit_columns,
        // Another run has the lease, and says how the object stands. What this one has done is history all the same.
        Err(store::StoreError::LeaseLost { .. }) => {
            if let Err(error) = ctx.store.transaction(async |db| store::record_object_run(db, run_id, run).await).await {
                warn!(error = %Chain(&error), "could not record what was done of {}", object.name);
            }
        }
        Err(error) => error!(error = %Chain(&error), "could not record the result of {}", object.name),
    }
    Vec::new()
}

/// Whether an object that may not be read could be read before. Where that cannot be seen, that is what has failed.
async fn could_be_read(
    ctx: &Context<'_>,
    object: &'static Object,
    report: &Report,
    failure: Option<PullError>,
) -> (Readable, Option<PullError>) {
    if failure.as_ref().is_none_or(|failure| failure.kind().severity() != Severity::Skip) {
        return (Readable::Never, failure);
    }
    if report.readable {
        return (Readable::JustNow, failure);
    }
    match last_readable(ctx, object).await {
        Ok(known) => (known.map_or(Readable::Never, Readable::Until), failure),
        Err(source) => (Readable::Never, Some(PullError::Store { object: object.name, source })),
    }
}

async fn last_readable(ctx: &Context<'_>, object: &Object) -> Result<Option<DateTime<Utc>>, store::StoreError> {
    let store = ctx.store;
    // A dry run may come before the first run.
    if matches!(ctx.purpose, Purpose::Preview { .. }) && !store.is_set_up().await? {
        return Ok(None);
    }
    store.read_only(async |db| store::last_readable(db, &store.schema, object).await).await
}

fn log_outcome(object: &Object, status: ObjectStatus, reason: Option<&str>, report: &Report) {
    let figures = report.figures;
    let (name, reason) = (object.name, reason.unwrap_or_default());
    match status {
        ObjectStatus::Succeeded => info!(
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
            warn!(quarantined = figures.quarantined, "pulled {name}, with {} put in quarantine", records(figures.quarantined));
        }
        ObjectStatus::Skipped => warn!(reason, "skipped {name}"),
        ObjectStatus::Failed => error!(error = reason, "pull of {name} failed"),
        ObjectStatus::Interrupted if report.scan.is_none() => {}
        ObjectStatus::Interrupted if figures.pages == 0 => {
            info!("stopped {name} before a page of it was stored; the next run begins where this one did");
        }
        ObjectStatus::Interrupted => info!("stopped {name}; the next run resumes at this point"),
    }
    for warning in &report.warnings {
        warn!("{warning}");
    }
}

/// Records the result of an object. Returns the columns that have misfits for the first time.
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
        store::record_object_state(&mut *db, run_id, run).await?;
        let new_columns = store::record_misfits(&mut *db, &store.schema, object, &misfits, report.saw_all).await?;
        store::fence(db, &store.schema, run_id).await?;
        Ok(new_columns)
    });
    noted.await
}
