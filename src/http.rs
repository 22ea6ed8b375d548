//! What the daemon tells over HTTP: whether it lives, whether it can work, what it has done.
//!
//! On loopback unless the user says otherwise, since it knows no passwords. Counters come from the process,
//! and what has to survive a restart (last success, watermarks) from the database at the moment of asking.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::Chain;
use crate::progress::Board;
use crate::store::{self, Overview, Store};

/// How long an answer may wait for the database.
const PATIENCE: Duration = Duration::from_secs(5);
const RUNS_SHOWN: i64 = 50;

/// How the daemon is, for those who ask.
#[derive(Debug)]
pub struct Vitals {
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    stuck_after: Duration,
    run: Option<Arc<Board>>,
    next_run: Option<DateTime<Utc>>,
}

impl Vitals {
    pub fn new(stuck_after: Duration) -> Vitals {
        Vitals { now: Mutex::new(Now { stuck_after, ..Now::default() }) }
    }

    pub fn stuck_after(&self, stuck_after: Duration) {
        self.now().stuck_after = stuck_after;
    }

    pub fn run_begins(&self, board: Arc<Board>) {
        self.now().run = Some(board);
    }

    pub fn run_ends(&self) {
        self.now().run = None;
    }

    pub fn next_run(&self, at: DateTime<Utc>) {
        self.now().next_run = Some(at);
    }

    /// A run is at work in which nothing has moved for too long.
    pub fn is_stuck(&self) -> bool {
        let now = self.now();
        now.run.as_ref().is_some_and(|board| board.still_for() > now.stuck_after)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the answers are made from.
#[derive(Clone)]
pub struct Site {
    store: Arc<Store>,
    vitals: Arc<Vitals>,
    metrics: PrometheusHandle,
}

impl Site {
    /// Begins to collect the counters of this process.
    pub fn new(store: Arc<Store>, vitals: Arc<Vitals>) -> Result<Site, BuildError> {
        let metrics = PrometheusBuilder::new().install_recorder()?;
        describe();
        Ok(Site { store, vitals, metrics })
    }

    /// Serves until it is told to stop. The address it came to listen on is known when this returns.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> std::io::Result<(SocketAddr, Serving)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics_of))
            .route("/api/status", get(status))
            .route("/api/runs", get(runs))
            .with_state(self);
        let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        Ok((address, Serving(tokio::spawn(server.into_future()))))
    }

    /// Something read from the database, or why it could not be.
    async fn read<T>(
        &self,
        what: impl AsyncFnOnce(&mut store::PgConnection, &str) -> Result<T, store::Error>,
    ) -> Result<T, String> {
        let read = async {
            if !self.store.is_set_up().await? {
                return Err(store::Error::OtherVersion);
            }
            self.store.look(async |db| what(db, &self.store.schema).await).await
        };
        match timeout(PATIENCE, read).await {
            Ok(read) => read.map_err(|error| Chain(&error).to_string()),
            Err(_) => Err(format!("the database did not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// The server at work; it ends with its stop.
pub struct Serving(tokio::task::JoinHandle<std::io::Result<()>>);

impl Serving {
    /// Waits for the last answers, but not for a client that keeps its connection.
    pub async fn end(self) {
        let _ = timeout(PATIENCE, self.0).await;
    }
}

async fn ready(State(site): State<Site>) -> Response {
    if site.vitals.is_stuck() {
        return unavailable("the run at work has not moved for too long");
    }
    match site.read(async |_, _| Ok(())).await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn metrics_of(State(site): State<Site>) -> Response {
    let overview = site.read(overview_of).await;
    gauge!("planhat_sync_database_up").set(f64::from(u8::from(overview.is_ok())));
    if let Ok(overview) = overview {
        set_gauges(&overview, Utc::now());
    }
    let now = site.vitals.now().run.is_some();
    gauge!("planhat_sync_run_in_progress").set(f64::from(u8::from(now)));
    site.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], site.metrics.render()).into_response()
}

async fn status(State(site): State<Site>) -> Response {
    match site.read(overview_of).await {
        Ok(overview) => {
            let (next_run, board) = {
                let now = site.vitals.now();
                (now.next_run, now.run.clone())
            };
            let progress: serde_json::Map<_, _> = board
                .iter()
                .flat_map(|board| board.objects())
                .map(|(object, progress)| {
                    (
                        object.to_owned(),
                        json!({"pages": progress.pages, "fetched": progress.fetched, "written": progress.written}),
                    )
                })
                .collect();
            Json(json!({"next_run": next_run, "progress": progress, "overview": overview})).into_response()
        }
        Err(error) => unavailable(&error),
    }
}

async fn runs(State(site): State<Site>) -> Response {
    match site.read(async |db, workspace| store::recent_runs(db, workspace, RUNS_SHOWN).await).await {
        Ok(runs) => Json(runs).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn overview_of(db: &mut store::PgConnection, workspace: &str) -> Result<Overview, store::Error> {
    store::overview(db, workspace).await
}

fn unavailable(why: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response()
}

fn set_gauges(overview: &Overview, now: DateTime<Utc>) {
    for state in &overview.objects {
        let object = state.object.clone();
        if let Some(last) = state.last_success_at {
            gauge!("planhat_sync_last_success_timestamp_seconds", "object" => object.clone())
                .set(seconds(last.timestamp_millis()));
        }
        if let Some(watermark) = state.watermark {
            let age = seconds((now - watermark).num_milliseconds());
            gauge!("planhat_sync_watermark_age_seconds", "object" => object.clone()).set(age);
        }
        let skipped = f64::from(u8::from(state.status == "skipped"));
        gauge!("planhat_sync_skipped", "object" => object.clone()).set(skipped);
        let waiting = overview.quarantine.get(&state.object).copied().unwrap_or_default();
        gauge!("planhat_sync_quarantine_records", "object" => object).set(f64::from(i32::try_from(waiting).unwrap_or(i32::MAX)));
    }
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
    describe_gauge!("planhat_sync_last_success_timestamp_seconds", "When an object was last synced.");
    describe_gauge!("planhat_sync_watermark_age_seconds", "How long ago the instant is before which everything is stored.");
    describe_gauge!("planhat_sync_skipped", "1 for an object that the token may not read.");
    describe_gauge!("planhat_sync_quarantine_records", "Records that wait in quarantine.");
    describe_gauge!("planhat_sync_database_up", "Whether the database answered this time.");
    describe_gauge!("planhat_sync_run_in_progress", "Whether a run is at work.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_in_which_nothing_moves_is_stuck() {
        let impatient = Vitals::new(Duration::ZERO);
        assert!(!impatient.is_stuck(), "nothing is at work");
        impatient.run_begins(Arc::default());
        assert!(impatient.is_stuck());
        impatient.run_ends();
        assert!(!impatient.is_stuck());

        let patient = Vitals::new(Duration::from_secs(3600));
        patient.run_begins(Arc::default());
        assert!(!patient.is_stuck());
    }
}
