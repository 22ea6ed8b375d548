//! One run over a workspace: the lease, the objects in parallel, the summary.
//!
//! A failure of one object does not affect the others. Only a refused token, or an unreachable Planhat or database, ends the
//! whole run, because no other object could succeed.

mod count_references;
mod declared_fields;
mod heartbeat;
mod id_probe;
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
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use planhat_api::{self as api, Client};
use planhat_model::capability::Capability;
use planhat_model::catalog::Object;
use planhat_model::error::{Chain, ErrorKind};
use planhat_store::{
    self as store, Explanation, LeaseHolder, MissingGrant, ObjectRun, ProvenCapability, RunStatus, Store, StoredCapability,
};
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Span, debug, info, instrument, warn};

use crate::progress::Progress;
use crate::pull::{Limits, Misfits, Mode, PauseGate, Preview, PullError, Purpose};
use count_references::count_references;
use objects::Pulls;
use outcome::{run_explanation, run_status};

pub use count_references::ReferenceCount;
pub(crate) use declared_fields::read_declarations;
pub use heartbeat::{Heartbeat, KeptLease};
pub use identity::Evidence;
pub use lease::{BegunRun, Renewal, RunLease, begin, end};
pub use outcome::records;
pub use process::{has_exited, this_process};
pub use recognize::{Recognized, adopt, recognize};

/// How long a run waits, after its pulls, for the announcement of its start.
const START_NOTICE_GRACE: Duration = Duration::from_secs(2);

/// What a run should do.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// The command that started the run, for the run history.
    pub command: &'a str,
    pub objects: &'a [&'static Object],
    pub mode: Mode,
    pub limits: Limits,
    pub now: DateTime<Utc>,
    pub concurrency: usize,
    /// Where the pull reports its progress.
    pub progress: Arc<Progress>,
}

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// None for a dry run, which is no run.
    pub run_id: Option<i64>,
    pub status: RunStatus,
    /// Why the run did not succeed, and what a person can do about it.
    #[serde(flatten)]
    pub why: Explanation,
    pub seconds: f64,
    /// Requests to Planhat, those for the declarations of custom fields included.
    pub calls: i64,
    pub objects: Vec<ObjectSummary>,
    /// Rows that refer to records that are not stored, as far as this run has counted them.
    pub missing_references: Vec<ReferenceCount>,
}

/// The result of one object.
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
    pub failure: Option<PullError>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(
        "another run is in progress {}: run {} of {}, since {}, lease last renewed {}",
        on_which_workspace(held, schema), held.run_id, held.holder, held.acquired_at.format("%Y-%m-%d %H:%M:%S UTC"),
        held.renewed_at.format("%H:%M:%S UTC")
    )]
    Busy { held: LeaseHolder, schema: String },
    #[error("stopped by a signal before the run began")]
    Stopped,
    #[error("schema {schema} belongs to another workspace: {evidence}")]
    OtherWorkspace { schema: String, evidence: Evidence },
    #[error("could not verify that schema {schema} belongs to this workspace: no stored record could be requested by its id")]
    Unproven { schema: String, source: Option<api::ApiError> },
    /// All of its work is done and committed.
    #[error("run {run_id} is done ({}), but its result could not be recorded", status.as_str())]
    End { run_id: i64, status: RunStatus, source: store::StoreError },
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

fn on_which_workspace(held: &LeaseHolder, schema: &str) -> String {
    match held.workspace == schema {
        true => "on this workspace".to_owned(),
        false => format!("with the same token on another workspace (schema {})", held.workspace),
    }
}

impl RunError {
    fn unproven(schema: &str, source: Option<api::ApiError>) -> RunError {
        RunError::Unproven { schema: schema.to_owned(), source }
    }

    /// Which kind of trouble it is: what follows from it stands in the table of consequences.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RunError::Busy { .. } => ErrorKind::Busy { free_after_seconds: store::STALE_AFTER.as_secs() },
            RunError::Stopped => ErrorKind::Stopped,
            RunError::OtherWorkspace { .. } => ErrorKind::OtherWorkspace,
            RunError::Unproven { source, .. } => source.as_ref().map_or(ErrorKind::Unproven, api::ApiError::kind),
            RunError::End { source, .. } => ErrorKind::EndNotNoted(Box::new(source.kind())),
            RunError::Store(source) => source.kind(),
        }
    }

    /// What could not be done, for a log.
    pub fn headline(&self) -> &'static str {
        match self {
            RunError::End { .. } => "the run is done, but its result could not be recorded",
            RunError::Busy { .. }
            | RunError::Stopped
            | RunError::OtherWorkspace { .. }
            | RunError::Unproven { .. }
            | RunError::Store(_) => "the run could not begin",
        }
    }
}

/// Runs over the objects of an order. A cancelled `stop` ends it after the pages in hand.
pub async fn run(
    client: &Client,
    store: &Store,
    request: &RunRequest<'_>,
    stop: &CancellationToken,
) -> Result<Summary, RunError> {
    run_with_notice(client, store, request, stop, ready(())).await
}

/// The same, with something to be done when the run has its lease. It is done beside the pulls, and hardly waited for behind them.
#[instrument(name = "run", level = "error", skip_all, fields(run_id = Empty, command = %request.command))]
pub async fn run_with_notice(
    client: &Client,
    store: &Store,
    request: &RunRequest<'_>,
    stop: &CancellationToken,
    on_start: impl Future<Output = ()>,
) -> Result<Summary, RunError> {
    let started = Instant::now();
    let recognized = recognize::recognize_for_a_run(client, store, stop).await?;
    let run = begin(store, request.command, Some(client), stop).await?;
    let parties = Parties { client, store, request, stop };
    parties.run_in_lease((&run, Renewal::Own), recognized, started, on_start).await
}

/// The same for a run that a daemon has claimed: it has its lease from the start, and the heartbeat renews it.
#[instrument(name = "run", level = "error", skip_all, fields(run_id = run.run_id, command = %parties.request.command))]
pub async fn run_claimed(
    parties: Parties<'_>,
    run: &BegunRun,
    lease: &KeptLease,
    on_start: impl Future<Output = ()>,
) -> Result<Summary, RunError> {
    let (started, Parties { client, store, stop, .. }) = (Instant::now(), parties);
    let recognized = tokio::select! {
        recognized = recognize::recognize_for_a_run(client, store, stop) => recognized,
        // No call would ever come through any more.
        () = lease.lost.cancelled() => return Err(store::StoreError::LeaseLost { run_id: run.run_id }.into()),
    };
    let recognized = match recognized {
        Ok(recognized) => recognized,
        Err(error) => {
            let status = if matches!(error, RunError::Stopped) { RunStatus::Interrupted } else { RunStatus::Failed };
            end(store, run.run_id, status, &explanation_of(&error)).await?;
            return Err(error);
        }
    };
    parties.run_in_lease((run, Renewal::Heartbeat(&lease.lost)), recognized, started, on_start).await
}

fn explanation_of(error: &RunError) -> Explanation {
    Explanation { reason: Some(Chain(error).to_string()), hint: error.kind().hint() }
}

/// With what a run works, and what it is to do.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    pub client: &'a Client,
    pub store: &'a Store,
    pub request: &'a RunRequest<'a>,
    /// A cancelled `stop` ends it after the pages in hand.
    pub stop: &'a CancellationToken,
}

impl Parties<'_> {
    /// Pulls the objects of a run that has its lease, and records its result.
    async fn run_in_lease(
        self,
        (run, renewal): (&BegunRun, Renewal<'_>),
        recognized: Recognized,
        started: Instant,
        on_start: impl Future<Output = ()>,
    ) -> Result<Summary, RunError> {
        let (Parties { client, store, request, stop }, run_id) = (self, run.run_id);
        Span::current().record("run_id", run_id);
        let prepared = async {
            let binding = recognized.bind(client, store, run_id).await?;
            prepare_timeline(store, request.limits.timeline.enabled).await?;
            Ok::<_, store::StoreError>(binding)
        };
        let binding = match prepared.await {
            Ok(binding) => binding,
            Err(error) => {
                let error = RunError::from(error);
                end(store, run_id, RunStatus::Failed, &explanation_of(&error)).await?;
                return Err(error);
            }
        };
        info!(objects = request.objects.len(), "run {run_id} begins");

        // Cancelled by a signal, and also when the token is refused, Planhat or the database is unreachable, or the lease is lost.
        let (run_stop, pause_gate) = (stop.child_token(), PauseGate::default());
        let command = request.command;
        let lease = RunLease { store, client: Some(client), run, command, renewal, pause_gate: &pause_gate, run_stop: &run_stop };
        lease.continue_after_another_process().await;
        let purpose = Purpose::Store { run_id };
        let pulls =
            Pulls { client, store, request, purpose, binding: Some(&binding), pause_gate: &pause_gate, run_stop: &run_stop };
        // Boxed, or the futures lie deeper within each other than the compiler follows.
        let work = Box::pin(async {
            let (objects, calls) = with_start_notice(on_start, pulls.pull_all(), &run_stop).await;
            let counted = count_references(store, run_id, &request.limits, &objects, &run_stop).await;
            index_actions(store, request, &run_stop).await;
            (objects, calls, counted)
        });
        let (objects, calls, missing_references) = lease.renew_while(work).await;
        lease.save_pause().await;
        note_what_a_429_carries(client, store).await;

        record_calls(store, run_id, calls).await;
        let status = run_status(&objects, stop.is_cancelled());
        let why = run_explanation(status, &objects);
        end(store, run_id, status, &why).await.map_err(|source| match source {
            lost @ store::StoreError::LeaseLost { .. } => RunError::Store(lost),
            source => RunError::End { run_id, status, source },
        })?;
        prune_runs(store, request).await;
        prune_actions(store, request, stop).await;
        // Now that all tables have been made.
        if request.limits.timeline.enabled
            && let Err(error) = refresh_timeline_view(store).await
        {
            warn!(error = %Chain(&error), "could not create the view {}.timeline", store.schema);
        }
        if let Err(error) = refresh_keys(store).await {
            warn!(error = %Chain(&error), "could not bring the table {}.keys up to date", store.schema);
        }
        let seconds = started.elapsed().as_secs_f64();
        let came_to = status.as_str();
        match status {
            RunStatus::Succeeded | RunStatus::Interrupted => info!(status = came_to, seconds, "run {run_id} {came_to}"),
            RunStatus::Partial | RunStatus::Failed => warn!(status = came_to, seconds, "run {run_id} {came_to}"),
        }
        Ok(Summary { run_id: Some(run_id), status, why, seconds, calls, objects, missing_references })
    }
}

/// Makes what the actions of the run are written to and read by, and lets those read it who should. Under the lease, since a run of an
/// earlier release may have been at work before.
async fn prepare_timeline(store: &Store, is_enabled: bool) -> Result<(), store::StoreError> {
    let not_granted = store.transaction(async |db| {
        if is_enabled {
            store::create_actions_table(&mut *db, &store.schema).await?;
        }
        store::grant_missing(db, &store.schema, &store.readers).await
    });
    warn_of_grants(not_granted.await?);
    if is_enabled && let Err(error) = refresh_timeline_view(store).await {
        debug!(error = %Chain(&error), "could not create the view timeline at the start");
    }
    Ok(())
}

/// What a run has cost; its end does not depend on it.
async fn record_calls(store: &Store, run_id: i64, calls: i64) {
    if let Err(error) = store.transaction(async |db| store::record_calls(db, run_id, calls).await).await {
        warn!(error = %Chain(&error), "could not record the number of calls of the run");
    }
}

/// Keeps what the first 429 has shown. The run does not depend on it.
async fn note_what_a_429_carries(client: &Client, store: &Store) {
    let Some(carries) = client.throttling_seen() else { return };
    let proven = ProvenCapability {
        object: "",
        capability: Capability::Throttling,
        value: carries.as_str().to_owned(),
        detail: serde_json::json!({}),
        proof: "a 429 in answer to a run".to_owned(),
    };
    let noted = store.transaction(async |db| {
        let known = store::capabilities(&mut *db, &store.schema).await?;
        let is_it =
            |known: &StoredCapability| known.is("", Capability::Throttling) && known.value == proven.value && known.holds();
        if known.iter().any(is_it) { Ok(()) } else { store::save_capability(db, &store.schema, &proven).await }
    });
    if let Err(error) = noted.await {
        warn!(error = %Chain(&error), "could not note what a 429 carries");
    }
}

/// Announces the start beside the pulls, and waits a few seconds for that at the end, so that the start is announced first.
async fn with_start_notice<T>(
    beginning: impl Future<Output = ()>,
    pulls: impl Future<Output = T>,
    run_stop: &CancellationToken,
) -> T {
    let (mut beginning, mut pulls) = (pin!(beginning), pin!(pulls));
    tokio::select! {
        biased;
        done = &mut pulls => {
            if !run_stop.is_cancelled() {
                let _ = timeout(START_NOTICE_GRACE, beginning).await;
            }
            done
        }
        () = &mut beginning => pulls.await,
    }
}

/// Keeps the run history short. An error here does not fail the run.
async fn prune_runs(store: &Store, request: &RunRequest<'_>) {
    let before = request.now - request.limits.keep_runs;
    let forgotten = store.transaction(async |db| store::delete_old_runs(db, &store.schema, before).await);
    if let Err(error) = forgotten.await {
        warn!(error = %Chain(&error), "could not delete old runs");
    }
}

/// The view for people follows the tables. It is optional: if the view is locked, or a user has created something
/// of that name, it is left until the next run.
async fn refresh_timeline_view(store: &Store) -> Result<(), store::StoreError> {
    let refreshed = store.transaction_once(async |db| {
        store::create_timeline_view(&mut *db, &store.schema).await?;
        // Who could not be granted anything at the start has been named then.
        store::grant_missing(db, &store.schema, &store.readers).await.map(|_| ())
    });
    refreshed.await
}

/// The table of keys follows the tables too, and is optional as well.
async fn refresh_keys(store: &Store) -> Result<(), store::StoreError> {
    let refreshed = store.transaction_once(async |db| {
        store::refresh_keys(&mut *db, &store.schema).await?;
        store::grant_missing(db, &store.schema, &store.readers).await.map(|_| ())
    });
    refreshed.await
}

/// The roles of `database.grant_select_to` that could not be let read what is there. What a run makes is granted as it is made.
fn warn_of_grants(not_granted: Vec<MissingGrant>) {
    for MissingGrant { statement, obstacle } in not_granted {
        let reason = obstacle.unwrap_or_else(|| "the role of the connection may not grant it".to_owned());
        warn!(reason, "could not {statement}");
    }
}

/// Makes the indexes of the timeline behind the first load. Where that fails, the next run does it: they only make queries faster.
async fn index_actions(store: &Store, request: &RunRequest<'_>, run_stop: &CancellationToken) {
    if !request.limits.timeline.enabled || run_stop.is_cancelled() {
        return;
    }
    if let Err(error) = store.transaction_once(async |db| store::index_actions(db, &store.schema).await).await {
        warn!(error = %Chain(&error), "could not index the table {}.actions; the next run tries again", store.schema);
    }
}

/// Deletes old actions, if the settings limit how long they are kept.
async fn prune_actions(store: &Store, request: &RunRequest<'_>, stop: &CancellationToken) {
    let keep = request.limits.timeline.keep;
    if keep.is_zero() {
        return;
    }
    while !stop.is_cancelled() {
        match store.transaction(async |db| store::delete_old_actions(db, &store.schema, keep).await).await {
            Ok(0) => return,
            Ok(forgotten) => info!(forgotten, "deleted {forgotten} old actions"),
            Err(error) => return warn!(error = %Chain(&error), "could not delete old actions"),
        }
    }
}

/// Says what a run would do, and writes nothing: no lease is taken, so another run may be at work.
#[instrument(name = "run", level = "error", skip_all, fields(command = %request.command))]
pub async fn preview(
    client: &Client,
    store: &Store,
    request: &RunRequest<'_>,
    diff: bool,
    stop: &CancellationToken,
) -> Result<Summary, RunError> {
    let started = Instant::now();
    tokio::select! {
        biased;
        () = stop.cancelled() => return Err(RunError::Stopped),
        recognized = recognize(client, store) => recognized?,
    };
    let (run_stop, pause_gate) = (stop.child_token(), PauseGate::default());
    let purpose = Purpose::Preview { diff };
    let pulls = Pulls { client, store, request, purpose, binding: None, pause_gate: &pause_gate, run_stop: &run_stop };
    let (objects, calls) = pulls.pull_all().await;
    let status = run_status(&objects, stop.is_cancelled());
    let why = run_explanation(status, &objects);
    let seconds = started.elapsed().as_secs_f64();
    Ok(Summary { run_id: None, status, why, seconds, calls, objects, missing_references: Vec::new() })
}
