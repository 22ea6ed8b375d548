//! Events: which messages are sent, and that each is delivered once.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures_util::stream;
use planhat_model::catalog;
use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use planhat_store::Store;
use planhat_sync::events::{Delays, Format, NotifiedWorkspace, Notifier, NotifyTargets, Stale, StartFailure};
use planhat_sync::pull::Mode;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use wiremock::matchers::{any, header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::cli::{Tool, simulator};
use crate::harness::{TestSync, fresh_database};
use crate::waiting::{ended, eventually, in_time, next_of};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a receiver answers.
#[derive(Clone)]
enum Reply {
    Status(u16),
    MovedTo(String),
    /// A head, and a body without end.
    Endless(u16),
    Never,
}

/// Somebody who is told, and what they heard.
#[derive(Clone)]
struct Receiver {
    url: String,
    received: Arc<Mutex<Vec<ReceivedMessage>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

#[derive(Debug, Clone)]
struct ReceivedMessage {
    what: String,
    headers: HeaderMap,
    body: String,
    status: u16,
}

impl ReceivedMessage {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

impl Receiver {
    async fn start() -> Receiver {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let receiver = Receiver { url, received: Arc::default(), replies: Arc::default() };
        let router = Router::new().fallback(Receiver::receive).with_state(receiver.clone());
        tokio::spawn(axum::serve(socket, router).into_future());
        receiver
    }

    async fn receive(State(receiver): State<Receiver>, request: Request) -> Response {
        let what = format!("{} {}", request.method(), request.uri());
        let headers = request.headers().clone();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let reply = receiver.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(200));
        let status = match &reply {
            Reply::Status(status) | Reply::Endless(status) => *status,
            Reply::MovedTo(_) => 301,
            Reply::Never => 0,
        };
        receiver.received.lock().unwrap().push(ReceivedMessage { what, headers, body, status });
        let code = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        match reply {
            Reply::Status(_) => code.into_response(),
            Reply::MovedTo(place) => (code, [("location", place)]).into_response(),
            Reply::Endless(_) => {
                let endless = stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1024]));
                (code, Body::from_stream(endless)).into_response()
            }
            Reply::Never => std::future::pending().await,
        }
    }

    fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    fn received(&self) -> Vec<ReceivedMessage> {
        self.received.lock().unwrap().clone()
    }

    fn forget(&self) {
        self.received.lock().unwrap().clear();
    }

    /// Methods and paths, in their order.
    fn what(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.what).collect()
    }

    /// The messages that were taken, by type.
    fn taken(&self) -> Vec<String> {
        let taken = self.received().into_iter().filter(|received| received.what.starts_with("POST") && received.status == 200);
        taken.map(|received| received.json()["type"].as_str().unwrap().to_owned()).collect()
    }

    /// One that is set up in code, with short delays.
    fn notifier(&self, schema: &str, delays: &[u64]) -> Notifier {
        let receivers = NotifyTargets {
            webhook_url: Some(format!("{}/hook", self.url).into()),
            webhook_secret: Some(SECRET.into()),
            format: Format::Standard,
            ping_url: None,
        };
        let objects = catalog::default_objects().iter().map(|object| object.name.to_owned()).collect();
        let workspace = NotifiedWorkspace { schema: schema.to_owned(), host: "api.example.org".to_owned(), objects };
        Notifier::new(&receivers, workspace, Delays::new(delays.iter().copied().map(Duration::from_millis))).unwrap()
    }
}

/// Delivers until nothing is left.
async fn deliver(notifier: &Notifier, store: &Store) {
    let all = async {
        while let Some(next) = notifier.deliver_due(store).await {
            let rest = (next - Utc::now()).to_std().unwrap_or_default();
            tokio::time::sleep(rest).await; // No wait of a test: so long the notifier waits itself.
        }
    };
    in_time("the delivery of all messages", all).await;
}

fn out_of_order() -> StartFailure {
    StartFailure { kind: "database".to_owned(), reason: "could not reach the database".to_owned(), hint: None }
}

fn stale(objects: &[&str]) -> Stale {
    let objects = objects.iter().map(|object| (*object).to_owned()).collect();
    Stale { objects, last_success: None, stale_after: Duration::from_secs(26 * 3600) }
}

/// One run over companies, and what is told of it.
async fn run(sync: &TestSync, notifier: &Notifier) {
    let summary = sync.run(Mode::Incremental, &[catalog::object("companies").unwrap()]).await;
    notifier.run_ended(&sync.store, "test", &summary).await;
}

async fn one_company() -> TestSync {
    TestSync::new(Workspace::empty().with("companies", vec![json!({"_id": "c0", "name": "Acme"})])).await
}

async fn watched(simulator: &Simulator, receiver: &Receiver) -> Tool {
    Tool::for_workspace(simulator)
        .await
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &format!("{}/hook", receiver.url))
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_SECRET", SECRET)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_contains_what_happened_and_why_and_is_signed_as_standard_webhooks_specifies() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await;
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);

    assert_eq!(tool.run(&["sync"]).code, 3);

    let received = receiver.received();
    assert_eq!(receiver.what(), ["POST /hook"]);
    let judge = standardwebhooks::Webhook::new(SECRET).unwrap();
    judge.verify(received[0].body.as_bytes(), &received[0].headers).unwrap();
    assert!(judge.verify(received[0].body.replace("tasks", "users").as_bytes(), &received[0].headers).is_err());
    let mut event = received[0].json();
    assert!(event["timestamp"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().is_ok());
    assert!(event["data"]["seconds"].is_f64());
    (event["timestamp"], event["data"]["seconds"]) = (Value::Null, Value::Null);
    insta::assert_snapshot!(serde_json::to_string_pretty(&event).unwrap(), @r#"
    {
      "data": {
        "command": "sync",
        "objects": [
          {
            "object": "tasks",
            "reason": "could not read tasks from offset 0: /tasks answered 400 Bad Request: The simulated Planhat was told to answer this.",
            "status": "failed"
          }
        ],
        "reason": "tasks: could not read tasks from offset 0: /tasks answered 400 Bad Request: The simulated Planhat was told to answer this.",
        "run_id": 1,
        "seconds": null,
        "status": "partial"
      },
      "host": "127.0.0.1",
      "timestamp": null,
      "type": "sync.partial",
      "workspace": "planhat"
    }
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_answers_503_gets_the_same_message_again() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await;
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    receiver.reply([Reply::Status(503)]);

    let ran = tool.set_log("warn").run(&["sync"]);

    assert!(
        ran.stderr.contains("could not deliver a message to notify.webhook_url, next attempt in 1 s: it answered 503"),
        "{}",
        ran.stderr
    );
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!((received[0].header("webhook-id"), &received[0].body), (received[1].header("webhook-id"), &received[1].body));
    let judge = standardwebhooks::Webhook::new(SECRET).unwrap();
    judge.verify(received[1].body.as_bytes(), &received[1].headers).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_run_delivers_a_message_once_to_a_receiver_that_was_down() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await;
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    receiver.reply(vec![Reply::Status(502); 3]);

    let ran = tool.set_log("warn").run(&["sync"]);
    assert_eq!(ran.code, 3);
    assert!(ran.stderr.contains("is not delivered yet: the next run or the daemon sends it again"), "{}", ran.stderr);
    assert!(receiver.taken().is_empty());

    // What it waits for has come: half an hour or the like has passed.
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    sqlx::raw_sql("update planhat_sync.notifications set next_attempt_at = now()").execute(&mut database).await.unwrap();
    assert_eq!(tool.run(&["sync"]).code, 0);
    assert_eq!(receiver.taken(), ["sync.partial", "sync.recovered"]);
    assert_eq!(tool.run(&["sync"]).code, 0);
    assert_eq!(receiver.taken().len(), 2);
}

#[tokio::test]
async fn a_failed_state_sends_one_message_and_its_recovery_another() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10]);
    run(&sync, &notifier).await;
    deliver(&notifier, &sync.store).await;
    assert!(receiver.what().is_empty(), "a good run is no news");

    for _ in 0..3 {
        sync.simulator.answer_next("companies", vec![ScriptedAnswer::status(401)]);
        run(&sync, &notifier).await;
    }
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed"]);
    for _ in 0..2 {
        run(&sync, &notifier).await;
    }
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
}

#[tokio::test]
async fn another_process_neither_repeats_nor_loses_announced_states() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    sync.simulator.answer_next("companies", vec![ScriptedAnswer::status(401); 2]);
    // Ends between the state and the delivery.
    run(&sync, &receiver.notifier("planhat", &[10])).await;
    assert!(receiver.what().is_empty());

    let next = receiver.notifier("planhat", &[10]);
    deliver(&next, &sync.store).await;
    run(&sync, &next).await;
    deliver(&next, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed"]);
    let last = receiver.notifier("planhat", &[10]);
    run(&sync, &last).await;
    deliver(&last, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
}

#[tokio::test]
async fn two_processes_send_a_message_once() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    for round in 1..=10 {
        let news = StartFailure { kind: format!("{round}"), ..out_of_order() };
        receiver.notifier("planhat", &[10]).run_could_not_begin(Some(&sync.store), "test", &news).await;
        // Neither knows yet what waits.
        let (one, other) = (receiver.notifier("planhat", &[10]), receiver.notifier("planhat", &[10]));
        tokio::join!(one.deliver_due(&sync.store), other.deliver_due(&sync.store));
        assert_eq!(receiver.taken().len(), round);
    }
    assert_eq!(sync.one("select count(*)::text from planhat_sync.notifications where attempts = 1").await, "10");
}

#[tokio::test]
async fn messages_are_delivered_in_order() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[100, 100, 100]);
    receiver.reply([Reply::Status(500), Reply::Status(500)]);
    notifier.run_could_not_begin(Some(&sync.store), "test", &out_of_order()).await;
    notifier.deliver_due(&sync.store).await;
    run(&sync, &notifier).await;
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
}

#[tokio::test]
async fn quarantined_records_send_a_partial_message() {
    let records = vec![json!({"_id": "c0", "name": "Acme"}), json!({"name": "has no id"})];
    let (sync, receiver) = (TestSync::new(Workspace::empty().with("companies", records)).await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10]);
    run(&sync, &notifier).await;
    deliver(&notifier, &sync.store).await;

    let event = receiver.received()[0].json();
    assert_eq!((&event["type"], &event["data"]["objects"][0]["object"]), (&json!("sync.partial"), &json!("companies")));
    for reason in [&event["data"]["reason"], &event["data"]["objects"][0]["reason"]] {
        assert!(
            reason.as_str().unwrap().contains("1 record of companies could not be stored and is in quarantine: no _id"),
            "{event}"
        );
    }
    assert!(event["data"]["objects"][0]["hint"].as_str().unwrap().contains("planhat-sync quarantine"), "{event}");
}

#[tokio::test]
async fn two_workspaces_in_one_database_have_separate_states() {
    let receiver = Receiver::start().await;
    let url = fresh_database().await;
    for schema in ["one", "other"] {
        let store = Store::connect(&url.clone().into(), schema, 1).await.unwrap();
        let workspace = Workspace::empty().with("companies", vec![json!({"_id": "c0"})]);
        let sync = TestSync::into(store, workspace, Options::default()).await;
        sync.simulator.answer_next("companies", vec![ScriptedAnswer::status(401)]);
        // A single connection is enough for all of it.
        let notifier = receiver.notifier(schema, &[10]);
        run(&sync, &notifier).await;
        deliver(&notifier, &sync.store).await;
    }
    let of: Vec<_> = receiver.received().iter().map(|received| received.json()).map(|event| event["workspace"].clone()).collect();
    assert_eq!(of, [json!("one"), json!("other")]);
    assert_eq!(receiver.received()[0].json()["host"], "api.example.org");
}

#[tokio::test]
async fn an_unreachable_database_still_sends_one_message() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10, 10]);
    receiver.reply([Reply::Status(503)]);
    for _ in 0..3 {
        notifier.run_could_not_begin(None, "daemon", &out_of_order()).await;
    }
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed"]);

    // Back again: the same trouble is no news, its end is, and both are stored now.
    notifier.run_could_not_begin(Some(&sync.store), "daemon", &out_of_order()).await;
    assert_eq!(sync.one("select state ->> 'failed' from planhat_sync.announced_states").await, "database");
    run(&sync, &notifier).await;
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
    assert_eq!(sync.one("select state::text from planhat_sync.announced_states").await, "{}");
}

#[tokio::test]
async fn unsaved_messages_are_stored_when_the_database_is_reachable_again() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10_000, 10]);
    receiver.reply([Reply::Status(503)]);
    notifier.run_could_not_begin(None, "daemon", &out_of_order()).await;
    notifier.deliver_due(&sync.store).await;
    run(&sync, &notifier).await;

    // Another process has both now.
    deliver(&receiver.notifier("planhat", &[10]), &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
    let ids: Vec<_> = receiver.received().iter().map(|received| received.header("webhook-id").to_owned()).collect();
    assert!(ids[0] == ids[1] && ids[1] != ids[2], "{ids:?}");
}

#[tokio::test]
async fn the_database_is_not_queried_while_no_message_is_waiting() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10]);
    assert_eq!(notifier.deliver_due(&sync.store).await, None);
    notifier.data_is_fresh(&sync.store).await;
    sync.store.pool().close().await;
    assert_eq!(notifier.deliver_due(&sync.store).await, None);
    notifier.data_is_fresh(&sync.store).await;
    assert_eq!(notifier.deliver_due(&sync.store).await, None);
}

#[tokio::test]
async fn stale_data_is_announced_when_it_begins_and_when_it_ends() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10]);
    notifier.data_is_fresh(&sync.store).await;
    for _ in 0..2 {
        notifier.data_is_stale(&sync.store, &stale(&["companies", "tasks"])).await;
    }
    // A restart does not tell it again.
    let notifier = receiver.notifier("planhat", &[10]);
    notifier.data_is_stale(&sync.store, &stale(&["companies", "tasks"])).await;
    for _ in 0..2 {
        notifier.data_is_fresh(&sync.store).await;
    }
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.stale", "sync.recovered"]);
    let event = receiver.received()[0].json();
    assert_eq!(
        (&event["data"]["stale_after_seconds"], &event["data"]["objects"][1]["object"]),
        (&json!(93_600), &json!("tasks"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirected_webhook_is_not_followed_and_the_new_host_is_reported_without_its_path() {
    let (simulator, receiver, elsewhere) = (simulator().await, Receiver::start().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await;
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    receiver.reply(vec![Reply::MovedTo(format!("{}/secret-path", elsewhere.url)); 3]);

    let ran = tool.set_log("warn").run(&["sync"]);

    let said = format!(
        "it redirected the POST (301 Moved Permanently) to an address on {}: set notify.webhook_url to that",
        elsewhere.url
    );
    assert!(ran.stderr.contains(&said) && !ran.stderr.contains("secret-path"), "{}", ran.stderr);
    assert!(elsewhere.what().is_empty());
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let waits = "select last_error from planhat_sync.notifications where delivered_at is null and next_attempt_at is not null";
    let error: String = sqlx::query_scalar(waits).fetch_one(&mut database).await.unwrap();
    assert!(error.contains("301") && !error.contains("secret-path"), "{error}");
}

#[tokio::test]
async fn a_receiver_that_answers_410_is_not_retried() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10, 10]);
    receiver.reply([Reply::Status(410)]);
    notifier.run_could_not_begin(Some(&sync.store), "test", &out_of_order()).await;
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.what().len(), 1);
    assert_eq!(
        sync.one("select last_error from planhat_sync.notifications where next_attempt_at is null").await,
        "it answered 410 Gone"
    );
}

#[tokio::test]
async fn a_message_is_given_up_after_its_last_attempt() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10, 10]);
    receiver.reply(vec![Reply::Status(500); 9]);
    notifier.run_could_not_begin(Some(&sync.store), "test", &out_of_order()).await;
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.what().len(), 3);
}

#[tokio::test]
async fn an_endless_answer_of_a_receiver_is_not_read_to_the_end() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10, 10]);
    receiver.reply([Reply::Endless(500), Reply::Endless(200)]);
    notifier.run_could_not_begin(Some(&sync.store), "test", &out_of_order()).await;
    deliver(&notifier, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_and_a_ping_that_never_answer_cost_a_run_seconds() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await.set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("{}/ping", receiver.url));
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    receiver.reply(vec![Reply::Never; 20]);
    let begun = std::time::Instant::now();
    assert_eq!(tool.run(&["sync"]).code, 3);
    assert!(begun.elapsed() < Duration::from_secs(100), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_keep_their_query_and_use_the_form_each_monitor_expects() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = Tool::for_workspace(&simulator).await;
    for (ping, good, bad) in [
        ("ping/slug?create=1", &["GET /ping/slug/start?create=1", "GET /ping/slug?create=1"][..], "GET /ping/slug/fail?create=1"),
        (
            "api/push/T?status=up&msg=OK&ping=",
            &["GET /api/push/T?status=up&msg=OK&ping="],
            "GET /api/push/T?status=down&msg=tasks%3A+could+not+read+tasks",
        ),
    ] {
        tool = tool.set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("{}/{ping}", receiver.url));
        receiver.forget();
        assert_eq!(tool.run(&["sync"]).code, 0);
        assert_eq!(receiver.what(), good);
        simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
        assert_eq!(tool.run(&["sync"]).code, 3);
        assert!(receiver.what().last().unwrap().starts_with(bad), "{:?}", receiver.what());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_retried_and_follows_redirects_on_its_host() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool =
        Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("{}/api/push/T", receiver.url));
    receiver.reply([Reply::Status(503), Reply::MovedTo("/api/push/T/".to_owned())]);
    let ran = tool.set_log("warn").run(&["sync"]);
    assert_eq!(receiver.what(), ["GET /api/push/T", "GET /api/push/T", "GET /api/push/T/"]);
    assert!(!ran.stderr.contains("could not reach"), "{}", ran.stderr);

    receiver.forget();
    receiver.reply([Reply::MovedTo("http://localhost:1/secret-path".to_owned())]);
    let ran = tool.run(&["sync"]);
    assert_eq!(receiver.what().len(), 1);
    assert!(ran.stderr.contains("it redirected to http://localhost:1: set notify.ping_url"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("secret-path"), "{}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_refused_by_another_runs_lease_sends_no_message() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await.set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("{}/ping", receiver.url));
    let ((at_work, is_at_work), (go, may_go)) = (mpsc::channel(), mpsc::channel::<()>());
    let mut once = Some(at_work);
    simulator.on_request(move |_, _| {
        if let Some(at_work) = once.take() {
            at_work.send(()).unwrap();
            next_of(&may_go, "leave to answer");
        }
    });
    let mut first = tool.command(&["sync"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    next_of(&is_at_work, "the first request");

    assert_eq!(tool.run(&["sync"]).code, 75);
    assert!(receiver.what().iter().all(|what| what == "GET /ping/start") && receiver.what().len() <= 1, "{:?}", receiver.what());
    go.send(()).unwrap();
    assert_eq!(ended(&mut first).await, Some(0));
    assert_eq!(receiver.what(), ["GET /ping/start", "GET /ping"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_begin_is_announced_as_failed() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver)
        .await
        .set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("{}/ping", receiver.url))
        .set("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/db");
    assert_eq!(tool.run(&["sync"]).code, 5);
    let mut what = receiver.what();
    what.sort();
    assert_eq!(what, ["GET /ping/fail", "POST /hook"]);
    let message = receiver.received().into_iter().find(|received| received.what.starts_with("POST")).unwrap();
    let data = message.json()["data"].clone();
    assert!(data["reason"].as_str().unwrap().starts_with("could not connect to PostgreSQL at 127.0.0.1:1"), "{data}");
    assert!(data["hint"].is_string() && !message.body.contains("hunter2"), "{data}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_formats_send_readable_text() {
    let (simulator, receiver) = (simulator().await, Receiver::start().await);
    let mut tool = watched(&simulator, &receiver).await.set("PLANHAT_SYNC__NOTIFY__FORMAT", "slack");
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    assert_eq!(tool.run(&["sync"]).code, 3);
    let text = receiver.received()[0].json()["text"].as_str().unwrap().to_owned();
    let (start, end) = text.rsplit_once(" in ").unwrap();
    assert!(end.ends_with(" s"), "{text}");
    insta::assert_snapshot!(start, @r#"
    planhat-sync: the sync of planhat (127.0.0.1) did not succeed for all objects
    tasks (failed): could not read tasks from offset 0: /tasks answered 400 Bad Request: The simulated Planhat was told to answer this.
    Run 1 of sync
    "#);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_message_shows_whether_messages_arrive() {
    let receiver = Receiver::start().await;
    let mut nobody = Tool::new();
    insta::assert_snapshot!(nobody.run(&["notify"]).all(), @r#"
    exit 2
    error: notify.webhook_url is not set: there is nowhere to send messages
    hint: set it to a URL that accepts a POST, and notify.format to the format that it expects
    "#);

    let mut tool = Tool::new()
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &format!("{}/secret-path", receiver.url))
        .set("PLANHAT_SYNC__NOTIFY__FORMAT", "discord");
    insta::assert_snapshot!(tool.run(&["notify"]).all(), @r#"
    exit 0
    notify.webhook_url accepted the test message: 200 OK
    "#);
    assert_eq!(
        receiver.received()[0].json()["content"],
        "planhat-sync: a test message for planhat (api.planhat.com)\nmessages arrive"
    );
    receiver.reply([Reply::Status(400)]);
    insta::assert_snapshot!(tool.run(&["notify"]).all(), @r#"
    exit 1
    error: the message was not delivered: it answered 400 Bad Request
    "#);
}

#[tokio::test]
async fn a_cancelled_delivery_loses_no_waiting_message() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[10]);
    notifier.run_could_not_begin(None, "daemon", &out_of_order()).await;

    // The settings are read again while the database takes its time.
    let mut lock = sync.store.pool().begin().await.unwrap();
    sqlx::raw_sql("lock table planhat_sync.announced_states").execute(&mut *lock).await.unwrap();
    let waits = "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let stale = stale(&["companies"]);
    tokio::select! {
        () = notifier.data_is_stale(&sync.store, &stale) => panic!("it did not wait for the lock"),
        () = eventually("somebody who waits for the lock", async || sync.one(waits).await != "0") => {}
    }
    lock.rollback().await.unwrap();
    deliver(&notifier, &sync.store).await;

    assert_eq!(receiver.taken(), ["sync.failed"]);
}

#[tokio::test]
async fn an_unsaved_message_in_flight_is_sent_before_the_stored_ones() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let notifier = receiver.notifier("planhat", &[1000]);
    receiver.reply([Reply::Never]);
    notifier.run_could_not_begin(None, "daemon", &out_of_order()).await;

    let story = async {
        eventually("the first message", async || !receiver.received().is_empty()).await;
        run(&sync, &notifier).await;
    };
    tokio::join!(deliver(&notifier, &sync.store), story);

    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
}

#[tokio::test]
async fn an_unreadable_state_at_the_start_does_not_overwrite_the_stored_one() {
    let (sync, receiver) = (one_company().await, Receiver::start().await);
    let before = receiver.notifier("planhat", &[10]);
    before.run_could_not_begin(Some(&sync.store), "daemon", &out_of_order()).await;
    deliver(&before, &sync.store).await;
    assert_eq!(receiver.taken(), ["sync.failed"]);

    // Another process: its first look at the age of the data finds no database.
    let notifier = receiver.notifier("planhat", &[10]);
    let gone = Store::connect(&fresh_database().await.into(), "planhat", 1).await.unwrap();
    gone.pool().close().await;
    notifier.data_is_fresh(&gone).await;
    run(&sync, &notifier).await;
    deliver(&notifier, &sync.store).await;

    assert_eq!(receiver.taken(), ["sync.failed", "sync.recovered"]);
}

/// A notifier of a mock server's address, which needs no database to send a test message.
fn notifier_to(server: &MockServer) -> Notifier {
    let receivers = NotifyTargets {
        webhook_url: Some(format!("{}/hook", server.uri()).into()),
        webhook_secret: Some(SECRET.into()),
        format: Format::Standard,
        ping_url: None,
    };
    let workspace =
        NotifiedWorkspace { schema: "planhat".to_owned(), host: "api.example.org".to_owned(), objects: Default::default() };
    Notifier::new(&receivers, workspace, Delays::default()).unwrap()
}

#[tokio::test]
async fn a_webhook_request_is_one_signed_post_of_json() {
    let server = MockServer::start().await;
    let accept = Mock::given(method("POST")).and(path("/hook")).and(header("content-type", "application/json"));
    accept.respond_with(ResponseTemplate::new(202)).expect(1).mount(&server).await;

    let answered = in_time("the test message", notifier_to(&server).test()).await.unwrap();

    assert!(answered.starts_with("202"), "{answered}");
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    let judge = standardwebhooks::Webhook::new(SECRET).unwrap();
    judge.verify(&requests[0].body, &requests[0].headers).unwrap();
    let body: Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!((&body["workspace"], &body["data"]["status"]), (&json!("planhat"), &json!("test")));
    assert!(!requests[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_webhook_request_is_not_sent_to_where_it_is_redirected() {
    let (server, other) = (MockServer::start().await, MockServer::start().await);
    let location = format!("{}/elsewhere", other.uri());
    let redirect = ResponseTemplate::new(307).insert_header("location", location.as_str());
    Mock::given(any()).respond_with(redirect).mount(&server).await;

    let refused = in_time("the test message", notifier_to(&server).test()).await;

    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(other.received_requests().await.unwrap().len(), 0);
}
