//! What the daemon serves over HTTP: whether it is alive, whether it is ready, metrics and status.
//!
//! It listens on loopback by default, because it has no passwords. Counters come from the process. Values that must survive a
//! restart (last success, watermarks) are read from the database for each request, as instants rather than ages; if the
//! database does not respond they are left out, because an old value would look like a current one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::Utc;
use metrics_exporter_prometheus::{BuildError, PrometheusHandle};
use planhat_model::error::Chain;
use planhat_model::printable::{in_json, on_one_line};
use planhat_store::{self as store, PastRun, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::health_state::{DaemonState, HealthState};
use super::http_connections::{ConnectionLimits, serve};
use super::prometheus::{collect, fleet_gauges, gauges};
use crate::fleet_state::{FleetLine, FleetRecords, RefusedWorkspace, WatchedWorkspace};
use crate::progress::{ObjectProgress, Progress};
use crate::workspace_status::Status;

/// The time limit of the database for an answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for the last answers at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
const RUNS_SHOWN: i64 = 50;
const STUCK: &str = "a run has made no progress for too long";

/// What the HTTP handlers share.
#[derive(Clone)]
pub(super) struct HttpServer {
    store: Arc<Store>,
    health: Arc<HealthState>,
    metrics: PrometheusHandle,
}

impl HttpServer {
    /// Begins to collect the counters of this process.
    pub(super) fn new(store: Arc<Store>, health: Arc<HealthState>) -> Result<HttpServer, BuildError> {
        let metrics = collect()?;
        Ok(HttpServer { store, health, metrics })
    }

    /// Aggregates the recorded measurements, so that memory does not grow when `/metrics` is not scraped. To be called
    /// regularly.
    pub(super) fn upkeep(&self) {
        self.metrics.run_upkeep();
    }

    /// Serves until it is told to stop. The address it came to listen on is known when this returns.
    pub(super) async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<(SocketAddr, Serving)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/healthz", get(alive))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics_of))
            .route("/api/status", get(status))
            .route("/api/runs", get(runs))
            .with_state(self);
        Ok((address, Serving(tokio::spawn(serve(listener, router, ConnectionLimits::default(), stop).in_current_span()))))
    }

    /// The current status of a workspace.
    async fn status_of(&self, workspace: &WatchedWorkspace) -> Result<Status, ReadFailure> {
        let overview = self.read(async |db| store::overview(db, &workspace.schema).await).await?;
        Ok(Status::of(&workspace.objects, overview, Utc::now(), workspace.stale_after))
    }

    /// How each workspace is, the worst first. One that goes on with settings that it had before is as it is with these.
    async fn fleet(&self, state: &DaemonState) -> Result<Vec<FleetLine>, ReadFailure> {
        let watched: Vec<&WatchedWorkspace> = state.workspaces.iter().map(Arc::as_ref).collect();
        let schemas: Vec<&str> = watched.iter().map(|workspace| workspace.schema.as_str()).collect();
        let records = self.read(async |db| FleetRecords::read(db, &schemas).await).await?;
        let goes_on = |name: &str| watched.iter().any(|workspace| workspace.name == name);
        let refused: Vec<RefusedWorkspace> = state
            .refused
            .iter()
            .filter(|(name, _)| !goes_on(name))
            .map(|(name, why)| RefusedWorkspace { name: name.clone(), reason: why.clone(), short_reason: why.clone() })
            .collect();
        Ok(records.lines(&watched, &refused, Utc::now()))
    }

    /// Something read from the database, or why it could not be.
    async fn read<T>(
        &self,
        what: impl AsyncFnOnce(&mut store::PgConnection) -> Result<T, store::StoreError>,
    ) -> Result<T, ReadFailure> {
        let read = self.store.read_only_housekeeping(async |db| {
            if !store::is_set_up(&mut *db).await? {
                return Err(store::StoreError::OlderTables);
            }
            what(db).await
        });
        match timeout(DATABASE_TIMEOUT, read).await {
            Ok(read) => read.map_err(|error| ReadFailure::Failed(Chain(&error).to_string())),
            Err(_) if self.store.has_single_connection() && self.health.is_progressing() => Err(ReadFailure::Busy),
            Err(_) => Err(ReadFailure::Failed(format!("the database did not answer within {} s", DATABASE_TIMEOUT.as_secs()))),
        }
    }
}

/// Why something could not be read from the database.
#[derive(Debug)]
enum ReadFailure {
    /// The run in progress uses the only connection; the database itself may be fine.
    Busy,
    Failed(String),
}

impl IntoResponse for ReadFailure {
    fn into_response(self) -> Response {
        match self {
            ReadFailure::Busy => unavailable("the run in progress uses the only database connection; try again"),
            ReadFailure::Failed(why) => unavailable(&why),
        }
    }
}

/// The server at work; it ends with its stop.
pub(super) struct Serving(JoinHandle<()>);

impl Serving {
    /// Waits for the last answers, but not for a client that takes its time.
    pub(super) async fn end(mut self) {
        if timeout(SHUTDOWN_TIMEOUT, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

/// As systemd's watchdog has it: a process whose run makes no progress is to be started again.
async fn alive(State(server): State<HttpServer>) -> Response {
    if server.health.is_stuck() { unavailable(STUCK) } else { "ok\n".into_response() }
}

async fn ready(State(server): State<HttpServer>) -> Response {
    if server.health.is_stuck() {
        return unavailable(STUCK);
    }
    match server.read(async |_| Ok(())).await {
        Ok(()) | Err(ReadFailure::Busy) => "ready\n".into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn metrics_of(State(server): State<HttpServer>) -> Response {
    let state = server.health.snapshot();
    let text = match state.only_workspace() {
        Some(only) => {
            let status = server.status_of(only).await;
            let is_up = is_up(status.as_ref().map(|_| ()));
            gauges(status.as_ref().ok(), is_up, !state.runs.is_empty())
        }
        None => {
            let fleet = server.fleet(&state).await;
            fleet_gauges(&state, fleet.as_ref().ok(), is_up(fleet.as_ref().map(|_| ())))
        }
    };
    let text = server.metrics.render() + &text;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// Whether the database has answered; none if that is not known.
fn is_up(read: Result<(), &ReadFailure>) -> Option<bool> {
    match read {
        Ok(()) => Some(true),
        Err(ReadFailure::Busy) => None,
        Err(ReadFailure::Failed(_)) => Some(false),
    }
}

/// Which workspace somebody asks for, by its name.
#[derive(Debug, Deserialize)]
struct Asked {
    workspace: Option<String>,
}

async fn status(State(server): State<HttpServer>, Query(asked): Query<Asked>) -> Response {
    let state = server.health.snapshot();
    let workspace = match state.asked_for(asked.workspace.as_deref()) {
        Ok(Some(workspace)) => workspace,
        Ok(None) => return status_of_all(&server, &state).await,
        Err(unknown) => return (StatusCode::NOT_FOUND, unknown).into_response(),
    };
    match server.status_of(workspace).await {
        Ok(overview) => {
            let progress = state.runs.get(&workspace.schema).map(|progress| progress_of(progress)).unwrap_or_default();
            let next_run = state.only_workspace().and(state.next_run);
            printable_json(&json!({"next_run": next_run, "progress": progress, "overview": overview}))
        }
        Err(failure) => failure.into_response(),
    }
}

/// Something of a workspace, where there are several.
#[derive(Debug, Serialize)]
struct OfWorkspace<'a, T> {
    /// Its name in the settings.
    workspace: &'a str,
    #[serde(flatten)]
    what: &'a T,
}

async fn status_of_all(server: &HttpServer, state: &DaemonState) -> Response {
    match server.fleet(state).await {
        Ok(lines) => {
            let workspaces: Vec<_> = lines.iter().map(|line| OfWorkspace { workspace: &line.name, what: line }).collect();
            let progress: serde_json::Map<_, _> =
                state.runs.iter().map(|(schema, progress)| (schema.clone(), progress_of(progress).into())).collect();
            printable_json(&json!({
                "next_run": state.next_run, "slots": state.slots, "progress": progress, "workspaces": workspaces,
                "refused_settings": state.refused,
            }))
        }
        Err(failure) => failure.into_response(),
    }
}

fn progress_of(progress: &Progress) -> serde_json::Map<String, serde_json::Value> {
    let of_object =
        |progress: ObjectProgress| json!({"pages": progress.pages, "fetched": progress.fetched, "written": progress.written});
    progress.objects().into_iter().map(|(object, progress)| (object.to_owned(), of_object(progress))).collect()
}

async fn runs(State(server): State<HttpServer>, Query(asked): Query<Asked>) -> Response {
    let state = server.health.snapshot();
    let schemas: Vec<String> = match state.asked_for(asked.workspace.as_deref()) {
        Ok(Some(workspace)) => vec![workspace.schema.clone()],
        Ok(None) => state.workspaces.iter().map(|workspace| workspace.schema.clone()).collect(),
        Err(unknown) => return (StatusCode::NOT_FOUND, unknown).into_response(),
    };
    match server.read(async |db| store::recent_runs_of(db, &schemas, RUNS_SHOWN).await).await {
        Ok(runs) if state.only_workspace().is_some() => printable_json(&runs),
        Ok(runs) => {
            let name_of = |run: &PastRun| state.workspaces.iter().find(|workspace| workspace.schema == run.workspace);
            let named = runs.iter().filter_map(|run| Some(OfWorkspace { workspace: &name_of(run)?.name, what: run }));
            printable_json(&named.collect::<Vec<_>>())
        }
        Err(failure) => failure.into_response(),
    }
}

/// JSON that a person may ask for at a terminal.
fn printable_json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], in_json(&json).into_owned()).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", on_one_line(why))).into_response()
}
