//! What the daemon tells over HTTP: whether it lives, whether it can work, what it has done.
//!
//! On loopback unless the user says otherwise, since it knows no passwords. Counters come from the process,
//! and what has to survive a restart (last success, watermarks) from the database at the moment of asking, as instants rather
//! than ages, and not at all where the database does not answer: what nobody knows any more is not shown as it was.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use metrics::{counter, describe_counter, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use planhat_model::error::Chain;
use planhat_store::{self as store, RunStatus, Store, WorkspaceOverview};
use serde_json::json;
use server::{ConnectionLimits, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::http_server as server;
use crate::progress::Progress;
use crate::workspace_status::Status;

/// How long an answer may wait for the database.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the last answers have left at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// A run in which nothing has moved for longer proves nothing of the database.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);
const RUNS_SHOWN: i64 = 50;
/// Seconds, up to a load of hours, and up to the longest wait that a server may ask for.
const RUN_BUCKETS: [f64; 11] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 10_800.0, 21_600.0, 86_400.0];
const WAIT_BUCKETS: [f64; 9] = [0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0];

/// How the daemon is, for those who ask.
#[derive(Debug)]
pub(crate) struct HealthState {
    state: Mutex<DaemonState>,
}

#[derive(Debug, Default)]
struct DaemonState {
    stuck_after: Duration,
    run: Option<Arc<Progress>>,
    next_run: Option<DateTime<Utc>>,
    /// The objects of the settings, and after how long without a success they are stale.
    objects: Vec<&'static str>,
    stale_after: Duration,
}

impl HealthState {
    pub(crate) fn new(stuck_after: Duration) -> HealthState {
        HealthState { state: Mutex::new(DaemonState { stuck_after, ..DaemonState::default() }) }
    }

    pub(crate) fn stuck_after(&self, stuck_after: Duration) {
        self.state().stuck_after = stuck_after;
    }

    /// The settings have been read: which objects are asked for, and after how long they are stale.
    pub(crate) fn watch(&self, objects: Vec<&'static str>, stale_after: Duration) {
        let mut state = self.state();
        (state.objects, state.stale_after) = (objects, stale_after);
    }

    pub(crate) fn run_begins(&self, progress: Arc<Progress>) {
        self.state().run = Some(progress);
    }

    pub(crate) fn run_ends(&self) {
        self.state().run = None;
    }

    pub(crate) fn next_run(&self, at: DateTime<Utc>) {
        self.state().next_run = Some(at);
    }

    /// A run is at work in which nothing has moved for too long.
    pub(crate) fn is_stuck(&self) -> bool {
        let state = self.state();
        state.run.as_ref().is_some_and(|progress| progress.idle_for() > state.stuck_after)
    }

    /// A run is at work in which something has moved just now.
    fn is_progressing(&self) -> bool {
        self.state().run.as_ref().is_some_and(|progress| progress.idle_for() < PROGRESS_WITHIN)
    }

    fn state(&self) -> MutexGuard<'_, DaemonState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct HttpServer {
    store: Arc<Store>,
    health: Arc<HealthState>,
    metrics: PrometheusHandle,
}

impl HttpServer {
    /// Begins to collect the counters of this process.
    pub(crate) fn new(store: Arc<Store>, health: Arc<HealthState>) -> Result<HttpServer, BuildError> {
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full("planhat_sync_run_duration_seconds".to_owned()), &RUN_BUCKETS)?
            .set_buckets_for_metric(Matcher::Full("planhat_sync_throttled_seconds".to_owned()), &WAIT_BUCKETS)?
            .install_recorder()?;
        describe();
        // An alert on the increase of a counter needs the 0 before it.
        for status in RunStatus::ALL {
            counter!("planhat_sync_runs_total", "status" => status.as_str()).increment(0);
        }
        Ok(HttpServer { store, health, metrics })
    }

    /// Takes in what was measured since the last time, so that memory stays flat though nobody asks for `/metrics`. To be called
    /// now and then.
    pub(crate) fn upkeep(&self) {
        self.metrics.run_upkeep();
    }

    /// Serves until it is told to stop. The address it came to listen on is known when this returns.
    pub(crate) async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<(SocketAddr, Serving)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics_of))
            .route("/api/status", get(status))
            .route("/api/runs", get(runs))
            .with_state(self);
        Ok((address, Serving(tokio::spawn(serve(listener, router, ConnectionLimits::default(), stop)))))
    }

    /// How the workspace stands now.
    async fn status(&self) -> Result<Status, ReadFailure> {
        let overview = self.read(overview_of).await?;
        let (objects, stale_after) = {
            let state = self.health.state();
            (state.objects.clone(), state.stale_after)
        };
        Ok(Status::of(&objects, overview, Utc::now(), stale_after))
    }

    /// Something read from the database, or why it could not be.
    async fn read<T>(
        &self,
        what: impl AsyncFnOnce(&mut store::PgConnection, &str) -> Result<T, store::StoreError>,
    ) -> Result<T, ReadFailure> {
        let read = self.store.read_only_housekeeping(async |db| {
            if !store::is_set_up(&mut *db).await? {
                return Err(store::StoreError::OtherVersion);
            }
            what(db, &self.store.schema).await
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
    /// The run at work has the one connection there is: that says nothing against the database.
    Busy,
    Failed(String),
}

impl IntoResponse for ReadFailure {
    fn into_response(self) -> Response {
        match self {
            ReadFailure::Busy => unavailable("the run at work has the one connection to the database; ask again"),
            ReadFailure::Failed(why) => unavailable(&why),
        }
    }
}

/// The server at work; it ends with its stop.
pub(crate) struct Serving(JoinHandle<()>);

impl Serving {
    /// Waits for the last answers, but not for a client that takes its time.
    pub(crate) async fn end(mut self) {
        if timeout(SHUTDOWN_TIMEOUT, &mut self.0).await.is_err() {
            self.0.abort();
        }
    }
}

async fn ready(State(server): State<HttpServer>) -> Response {
    if server.health.is_stuck() {
        return unavailable("the run at work has not moved for too long");
    }
    match server.read(async |_, _| Ok(())).await {
        Ok(()) | Err(ReadFailure::Busy) => "ready\n".into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn metrics_of(State(server): State<HttpServer>) -> Response {
    let status = server.status().await;
    let is_running = server.health.state().run.is_some();
    let is_up = match &status {
        Ok(_) => Some(true),
        Err(ReadFailure::Busy) => None,
        Err(ReadFailure::Failed(_)) => Some(false),
    };
    let text = server.metrics.render() + &gauges(status.as_ref().ok(), is_up, is_running);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn status(State(server): State<HttpServer>) -> Response {
    match server.status().await {
        Ok(overview) => {
            let (next_run, progress) = {
                let state = server.health.state();
                (state.next_run, state.run.clone())
            };
            let progress: serde_json::Map<_, _> = progress
                .iter()
                .flat_map(|progress| progress.objects())
                .map(|(object, progress)| {
                    (
                        object.to_owned(),
                        json!({"pages": progress.pages, "fetched": progress.fetched, "written": progress.written}),
                    )
                })
                .collect();
            Json(json!({"next_run": next_run, "progress": progress, "overview": overview})).into_response()
        }
        Err(failure) => failure.into_response(),
    }
}

async fn runs(State(server): State<HttpServer>) -> Response {
    match server.read(async |db, workspace| store::recent_runs(db, workspace, RUNS_SHOWN).await).await {
        Ok(runs) => Json(runs).into_response(),
        Err(failure) => failure.into_response(),
    }
}

async fn overview_of(db: &mut store::PgConnection, workspace: &str) -> Result<WorkspaceOverview, store::StoreError> {
    store::overview(db, workspace).await
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

/// What is true at this moment, made anew for each scrape: nothing is left of an object that is not asked for any more, nor of a
/// database that does not answer.
fn gauges(status: Option<&Status>, database_is_up: Option<bool>, is_running: bool) -> String {
    let mut text = String::new();
    let mut family = |name: &str, help: &str, samples: &mut dyn Iterator<Item = (Option<&str>, f64)>| {
        let mut samples = samples.peekable();
        if samples.peek().is_none() {
            return;
        }
        let _ = writeln!(text, "# HELP planhat_sync_{name} {help}\n# TYPE planhat_sync_{name} gauge");
        for (object, value) in samples {
            // Names of objects are ours: there is nothing in them to escape.
            let label = object.map(|object| format!("{{object=\"{object}\"}}")).unwrap_or_default();
            let _ = writeln!(text, "planhat_sync_{name}{label} {value}");
        }
    };
    let flag = |is_so: bool| f64::from(u8::from(is_so));
    let mut one = |name: &str, help: &str, is_so: bool| family(name, help, &mut std::iter::once((None, flag(is_so))));
    one("run_in_progress", "Whether a run is at work.", is_running);
    if let Some(is_up) = database_is_up {
        one("database_up", "Whether the database answered this time.", is_up);
    }
    let Some(status) = status else { return text };
    one("fresh", "Whether every object was synced within notify.stale_after.", status.fresh);

    let known = || status.objects.iter().filter_map(|line| Some((line.object, line.known.as_ref()?)));
    let instant = |instant: DateTime<Utc>| seconds(instant.timestamp_millis());
    family(
        "last_success_timestamp_seconds",
        "When an object was last synced.",
        &mut known().filter_map(|(object, known)| Some((Some(object), instant(known.last_success_at?)))),
    );
    family(
        "watermark_timestamp_seconds",
        "The instant before which every change of an object is stored.",
        &mut known().filter_map(|(object, known)| Some((Some(object), instant(known.watermark?)))),
    );
    family(
        "skipped",
        "1 for an object that the token may not read.",
        &mut known().map(|(object, known)| (Some(object), flag(known.status == "skipped"))),
    );
    let waiting = |object: &str| status.quarantine.get(object).copied().unwrap_or_default();
    family(
        "quarantine_records",
        "Records that wait in quarantine.",
        &mut known().map(|(object, _)| (Some(object), f64::from(i32::try_from(waiting(object)).unwrap_or(i32::MAX)))),
    );
    text
}

/// A double holds the milliseconds of any year exactly.
#[expect(clippy::cast_precision_loss, reason = "2^53 milliseconds are 285,000 years")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn describe() {
    describe_counter!("planhat_sync_rows_total", "Rows that were committed, by what became of them.");
    describe_counter!("planhat_sync_pages_total", "Pages that were committed.");
    describe_counter!("planhat_sync_misfits_total", "Values that did not fit their column.");
    describe_counter!("planhat_sync_quarantined_total", "Records that could not be stored.");
    describe_counter!("planhat_sync_api_calls_total", "Requests to Planhat by status; none for no answer.");
    describe_counter!("planhat_sync_runs_total", "Runs that ended, by status.");
    describe_histogram!("planhat_sync_throttled_seconds", "Waits for the call budget and between attempts.");
    describe_histogram!("planhat_sync_run_duration_seconds", "How long runs took.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::tests::{known, now};

    #[test]
    fn only_a_run_in_which_nothing_moves_is_stuck() {
        let impatient = HealthState::new(Duration::ZERO);
        assert!(!impatient.is_stuck(), "nothing is at work");
        impatient.run_begins(Arc::default());
        assert!(impatient.is_stuck());
        impatient.run_ends();
        assert!(!impatient.is_stuck());

        let patient = HealthState::new(Duration::from_secs(3600));
        patient.run_begins(Arc::default());
        assert!(!patient.is_stuck());
    }

    #[test]
    fn gauges_tell_what_is_known_now_and_nothing_else() {
        let down = gauges(None, Some(false), true);
        assert_eq!(
            down.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
            ["planhat_sync_run_in_progress 1", "planhat_sync_database_up 0"]
        );

        let states = vec![known("companies", "succeeded", Some(1)), known("churn", "succeeded", Some(1))];
        let overview = WorkspaceOverview { objects: states, ..WorkspaceOverview::default() };
        let status = Status::of(&["companies", "nps"], overview, now(), Duration::from_secs(26 * 3600));
        let up = gauges(Some(&status), Some(true), false);
        assert!(up.contains("planhat_sync_last_success_timestamp_seconds{object=\"companies\"} 1795258800\n"), "{up}");
        assert!(up.contains("planhat_sync_fresh 0\n") && up.contains("planhat_sync_database_up 1\n"), "{up}");
        assert!(!up.contains("churn") && !up.contains("watermark") && !up.contains("nps"), "{up}");
    }
}
