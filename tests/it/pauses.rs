//! The pause that a 429 with `Retry-After` asks for, as the server sees it: no call of any object comes meanwhile, whichever
//! process makes it. Only what was on its way when the answer came cannot be called back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::future::join_all;
use planhat_api::{Budget, Client, ClientConfig, Listing, PageSettings, Pager, Position, RetryPolicy, RowsPerPage};
use planhat_model::catalog::{self, Object};
use planhat_simulator::{Request, ScriptedAnswer, Workspace};
use planhat_store::{ObjectStatus, RunStatus};
use planhat_sync::pull::Mode;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::harness::{TestSync, connection_to};
use crate::waiting::{eventually, in_time};

const SECOND: Duration = Duration::from_secs(1);
const OBJECTS: [&str; 4] = ["projects", "objectives", "invoices", "sales"];

fn objects() -> Vec<&'static Object> {
    OBJECTS.iter().map(|name| catalog::object(name).unwrap()).collect()
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"_id": format!("{number:05}")})).collect()
}

fn refusal(seconds: u64) -> ScriptedAnswer {
    ScriptedAnswer::status(429).with_header("retry-after", &seconds.to_string())
}

async fn workspace() -> TestSync {
    let workspace = OBJECTS.iter().fold(Workspace::empty(), |workspace, object| workspace.with(object, numbered(250)));
    TestSync::new(workspace).await
}

/// A client whose calls are not repeated.
fn client_without_retries(sync: &TestSync) -> Client {
    let connection = connection_to(&sync.simulator.url(), sync.simulator.token());
    let retry = RetryPolicy { times: 0, first_delay: Duration::ZERO };
    Client::new(ClientConfig { retry, ..connection }, Budget::per_minute(0)).unwrap()
}

/// The requests that came before the first refusal was over, and behind it.
fn within_the_first_pause(sync: &TestSync, pause: Duration) -> Vec<Request> {
    let mut requests = sync.simulator.requests();
    requests.sort_by_key(|request| request.at);
    let refused = requests.iter().position(|request| request.status == 429).expect("nothing was refused");
    let over = requests[refused].at + pause;
    requests.drain(..=refused);
    assert!(requests.iter().any(|request| request.at >= over), "nothing came when the pause was over");
    requests.into_iter().take_while(|request| request.at < over).collect()
}

// ---- One process ----

/// A server whose answers wait until they are released, but for a refusal of the first request for invoices.
#[derive(Clone)]
struct HoldingServer {
    released: watch::Receiver<bool>,
    arrivals: Arc<Mutex<Vec<Instant>>>,
    refused_at: Arc<Mutex<Option<Instant>>>,
}

impl HoldingServer {
    async fn start() -> (String, HoldingServer, watch::Sender<bool>) {
        let (release, released) = watch::channel(false);
        let server = HoldingServer { released, arrivals: Arc::default(), refused_at: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/{object}", get(answer)).with_state(server.clone());
        tokio::spawn(axum::serve(listener, app).into_future());
        (url, server, release)
    }

    fn arrived(&self) -> usize {
        self.arrivals.lock().unwrap().len()
    }
}

async fn answer(
    State(mut server): State<HoldingServer>,
    Path(object): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    server.arrivals.lock().unwrap().push(Instant::now());
    if object == "invoices" && server.refused_at.lock().unwrap().is_none() {
        *server.refused_at.lock().unwrap() = Some(Instant::now());
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response();
    }
    server.released.wait_for(|released| *released).await.unwrap(); // No wait of a test: it ends with its server.
    let number = |name: &str| query[name].parse::<usize>().unwrap();
    let page: Vec<Value> = numbered(60).into_iter().skip(number("offset")).take(number("limit")).collect();
    axum::Json(page).into_response()
}

async fn read_all(client: &Client, object: &str) -> usize {
    let client = client.for_object(catalog::object(object).unwrap());
    let listing = Listing { sort: "_id".into(), hidden: false };
    let mut pager =
        Pager::new(&client, listing, PageSettings { size: RowsPerPage::Fixed(5), overlap: true }, Position::default());
    let mut count = 0;
    while let Some(page) = pager.next().await.unwrap() {
        pager.prefetch();
        count += page.records.len();
    }
    count
}

#[tokio::test]
async fn no_call_of_any_object_goes_out_until_a_retry_after_is_over() {
    let (url, server, release) = HoldingServer::start().await;
    let client = Client::new(connection_to(&url, "token"), Budget::per_minute(0)).unwrap();
    let others = ["projects", "objectives", "sales"];
    let reading = join_all(others.map(async |object| read_all(&client, object).await));
    let refused = async {
        eventually("a request of each of the others", async || server.arrived() == others.len()).await;
        read_all(&client, "invoices").await
    };
    let released = async {
        eventually("the pause", async || client.pause_left().is_some()).await;
        // Now the answers come to what was on its way.
        release.send(true).unwrap();
    };

    let (read, of_invoices, ()) = in_time("all records", async { tokio::join!(reading, refused, released) }).await;

    assert_eq!((read, of_invoices), (vec![60; 3], 60));
    let over = server.refused_at.lock().unwrap().unwrap() + SECOND;
    let arrivals = server.arrivals.lock().unwrap();
    let too_early = arrivals.iter().skip(others.len() + 1).filter(|at| **at < over).count();
    assert_eq!(too_early, 0, "of {} calls", arrivals.len());
}

// ---- Processes that follow each other ----

#[tokio::test]
async fn a_run_waits_for_the_rest_of_the_retry_after_of_the_run_before() {
    let sync = workspace().await;
    sync.simulator.answer_next("projects", vec![refusal(1)]);
    let first = sync.run_with(&client_without_retries(&sync), Mode::Incremental, &objects()[..1]).await;
    assert_eq!(first.objects[0].run.status, ObjectStatus::Failed);

    let second = sync.run(Mode::Incremental, &objects()).await;

    assert_eq!(second.status, RunStatus::Succeeded);
    assert_eq!(within_the_first_pause(&sync, SECOND), []);
    sync.assert_equals_workspace(&objects()).await;
}

#[tokio::test]
async fn a_run_that_takes_over_from_a_killed_one_waits_for_the_rest_of_its_retry_after() {
    let sync = workspace().await;
    sync.simulator.answer_next("projects", vec![refusal(2)]);
    let noted = "select count(*)::text from planhat_sync.workspaces where throttled_until > now()";
    {
        let client = sync.client();
        let projects = &objects()[..1];
        let killed = sync.run_with(&client, Mode::Incremental, projects);
        let is_noted = eventually("the note of the pause", async || sync.one(noted).await == "1");
        tokio::select! {
            summary = killed => panic!("it has ended: {summary:?}"),
            () = is_noted => {}
        }
    }
    sync.do_at_once(&["update planhat_sync.leases set renewed_at = now() - interval '1 hour'"]).await;

    let second = sync.run(Mode::Incremental, &objects()).await;

    assert_eq!(second.status, RunStatus::Succeeded);
    assert_eq!(within_the_first_pause(&sync, 2 * SECOND), []);
    sync.assert_equals_workspace(&objects()).await;
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_the_retry_after_of_an_earlier_run() {
    let sync = workspace().await;
    sync.sync_one("projects").await;
    sync.simulator.forget_requests();
    sync.do_at_once(&["update planhat_sync.workspaces set throttled_until = now() + interval '110 seconds'"]).await;
    let client = sync.client();
    let stop = async {
        eventually("the pause", async || client.pause_left().is_some()).await;
        sync.stop.cancel();
    };

    let projects = &objects()[..1];
    let (summary, ()) = tokio::join!(sync.run_with(&client, Mode::Incremental, projects), stop);

    assert_eq!(summary.status, RunStatus::Interrupted);
    assert_eq!(sync.simulator.requests(), []);
}

#[tokio::test]
async fn a_time_further_ahead_than_any_pause_or_in_the_past_is_no_pause() {
    let sync = workspace().await;
    sync.sync_one("projects").await;
    for set in [
        "update planhat_sync.workspaces set throttled_until = now() + interval '10 years'",
        "update planhat_sync.workspaces set throttled_until = 'infinity'",
        "update planhat_sync.workspaces set throttled_until = now() - interval '1 second'",
        "update planhat_sync.workspaces set throttled_until = '-infinity'",
    ] {
        sync.do_at_once(&[set]).await;
        let client = sync.client();
        let summary = sync.run_with(&client, Mode::Incremental, &objects()[..1]).await;
        assert_eq!((summary.status, client.pause_left()), (RunStatus::Succeeded, None), "{set}");
    }
}
