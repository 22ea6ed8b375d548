//! The daemon: on its schedule, under a service manager, observed from outside.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use planhat_simulator::{ScriptedAnswer, Simulator};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::cli::{Tool, signal, simulator};
use crate::waiting::{DEADLINE, blocked_until, end, eventually, lines_of, next_by, status_of};

/// A daemon at work, and what it logs.
pub(crate) struct DaemonProcess {
    pub(crate) process: Child,
    log: Receiver<String>,
    seen: String,
    pub(crate) address: String,
}

impl DaemonProcess {
    pub(crate) fn start(tool: &Tool, arguments: &[&str]) -> DaemonProcess {
        let mut daemon = DaemonProcess::starting(tool, arguments);
        daemon.address = daemon.until("serving")["address"].as_str().unwrap().to_owned();
        daemon
    }

    /// One that need not come so far.
    pub(crate) fn starting(tool: &Tool, arguments: &[&str]) -> DaemonProcess {
        let mut command = tool.command(arguments);
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let log = lines_of(process.stderr.take().unwrap());
        DaemonProcess { process, log, seen: String::new(), address: String::new() }
    }

    /// Reads the log up to a line with this text.
    pub(crate) fn until(&mut self, text: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = next_by(deadline, &self.log, &format!("{text:?} in the log of the daemon"));
            let line = line.unwrap_or_else(|error| panic!("no {text:?} in the log ({error}):\n{}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            let entry: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            if entry["fields"]["message"].as_str().unwrap().contains(text) {
                return entry["fields"].clone();
            }
        }
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let client = reqwest::Client::builder().timeout(DEADLINE).build().unwrap();
        let answer = client.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Its exit code, and all of its log.
    pub(crate) fn end(self) -> (Option<i32>, String) {
        self.end_within(DEADLINE)
    }

    pub(crate) fn end_within(mut self, limit: Duration) -> (Option<i32>, String) {
        let deadline = Instant::now() + limit;
        loop {
            match next_by(deadline, &self.log, "the end of the daemon") {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it did not end within {limit:?}:\n{}", self.seen),
            }
        }
        (status_of(&mut self.process, "the end of the daemon").code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for DaemonProcess {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

pub(crate) async fn tool(simulator: &Simulator, schedule: &str) -> Tool {
    Tool::for_workspace(simulator)
        .await
        .set("RUST_LOG", "info")
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0")
        .set("PLANHAT_SYNC__DAEMON__JITTER", "0s")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", schedule)
}

/// The value of a metric with these labels.
fn metric(scraped: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let scrape = prometheus_parse::Scrape::parse(scraped.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let found = scrape
        .samples
        .into_iter()
        .find(|sample| sample.metric == name && labels.iter().all(|(label, value)| sample.labels.get(label) == Some(value)))?;
    match found.value {
        prometheus_parse::Value::Counter(value) | prometheus_parse::Value::Gauge(value) => Some(value),
        other => panic!("{name} is {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_runs_on_its_schedule_and_shows_its_state_over_http() {
    let simulator = simulator().await;
    simulator.forbid("nps");
    let tool = tool(&simulator, "* * * * * *").await;
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    for _ in 0..3 {
        daemon.until("the next run is due");
    }

    assert_eq!(daemon.get("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(daemon.get("/readyz").await, (200, "ready\n".to_owned()));
    let (status, scraped) = daemon.get("/metrics").await;
    assert_eq!(status, 200);
    let companies = ("object", "companies");
    assert_eq!(metric(&scraped, "planhat_sync_rows_total", &[companies, ("operation", "inserted")]), Some(3.0));
    assert_eq!(metric(&scraped, "planhat_sync_rows_total", &[companies, ("operation", "updated")]), Some(0.0));
    assert!(metric(&scraped, "planhat_sync_runs_total", &[("status", "succeeded")]) >= Some(2.0));
    assert!(metric(&scraped, "planhat_sync_api_calls_total", &[("status", "200")]) > Some(13.0));
    assert!(metric(&scraped, "planhat_sync_api_calls_total", &[("status", "403")]) > Some(0.0));
    assert!(metric(&scraped, "planhat_sync_pages_total", &[companies]) >= Some(2.0));
    let now = chrono::Utc::now().timestamp() as f64;
    assert!(metric(&scraped, "planhat_sync_last_success_timestamp_seconds", &[companies]).unwrap() > now - 60.0);
    assert!(metric(&scraped, "planhat_sync_watermark_timestamp_seconds", &[companies]).unwrap() > now - 60.0);
    assert_eq!(metric(&scraped, "planhat_sync_fresh", &[]), Some(1.0));
    // What did not happen yet is 0, so that an alert on its increase sees the first one.
    for status in ["partial", "failed", "interrupted"] {
        assert_eq!(metric(&scraped, "planhat_sync_runs_total", &[("status", status)]), Some(0.0), "{status}");
    }
    assert_eq!(metric(&scraped, "planhat_sync_skipped", &[("object", "nps")]), Some(1.0));
    assert_eq!(metric(&scraped, "planhat_sync_skipped", &[companies]), Some(0.0));
    assert_eq!(metric(&scraped, "planhat_sync_database_up", &[]), Some(1.0));
    assert!(
        scraped.contains("planhat_sync_run_duration_seconds_bucket{le=\"60\"}")
            && scraped.contains("planhat_sync_throttled_seconds_bucket{le=\"1\"}")
            && !scraped.contains("quantile"),
        "{scraped}"
    );
    assert!(!scraped.contains("ann@example.org") && !scraped.contains(simulator.token()));

    let runs: Value = serde_json::from_str(&daemon.get("/api/runs").await.1).unwrap();
    assert!(runs.as_array().unwrap().iter().any(|run| run["command"] == "daemon" && run["status"] == "succeeded"), "{runs}");
    let status: Value = serde_json::from_str(&daemon.get("/api/status").await.1).unwrap();
    assert_eq!(status["overview"]["objects"].as_array().unwrap().len(), 13, "{status}");
    assert_eq!((&status["overview"]["fresh"], &status["overview"]["objects"][0]["state"]), (&json!(true), &json!("fresh")));
    assert!(status["next_run"].is_string());

    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_applies_valid_settings_and_keeps_the_old_ones_if_they_are_invalid() {
    let simulator = simulator().await;
    let tool = tool(&simulator, "* * * * * *").await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[planhat]\nobjects = [\"companies\", \"users\"]").unwrap();
    let mut daemon = DaemonProcess::start(&tool, &["--config", file.path().to_str().unwrap(), "daemon"]);
    assert_eq!(daemon.until("begins")["objects"], 2);

    std::fs::write(file.path(), "[planhat]\nobjects = [\"users\"]\n").unwrap();
    daemon.signal("HUP");
    daemon.until("settings reloaded");
    assert_eq!(daemon.until("begins")["objects"], 1);
    // What left the settings is not shown any more.
    let scraped = daemon.get("/metrics").await.1;
    assert!(!scraped.contains("_timestamp_seconds{object=\"companies\"}"), "{scraped}");

    std::fs::write(file.path(), "[planhat]\nobject = []\n").unwrap();
    daemon.signal("HUP");
    let refused = daemon.until("the new settings are not applied");
    assert!(refused["error"].as_str().unwrap().contains("did you mean \"planhat.objects\"?"), "{refused}");
    assert_eq!(daemon.until("begins")["objects"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_logs_applied_keys_and_keys_that_need_a_restart_without_values() {
    let simulator = simulator().await;
    let mut tool = tool(&simulator, "0 0 1 1 *").await.unset("PLANHAT_API_TOKEN");
    let (file, token) = (tool.home.path().join("config.toml"), tool.home.path().join("token"));
    std::fs::write(&token, "an-old-token").unwrap();
    std::fs::write(&file, "").unwrap();
    tool = tool.set("PLANHAT_API_TOKEN_FILE", token.to_str().unwrap()).set("PLANHAT_SYNC__DAEMON__RETRY_AFTER", "1s");
    let mut daemon = DaemonProcess::start(&tool, &["--config", file.to_str().unwrap(), "daemon"]);
    daemon.until("run 1 failed");

    std::fs::write(&token, simulator.token()).unwrap();
    let changed = "[sync]\nlookback = '96h'\n[database]\nmax_connections = 9\n[log]\nlevel = 'debug'\n";
    std::fs::write(&file, changed).unwrap();
    daemon.signal("HUP");
    let said = daemon.until("settings reloaded")["message"].as_str().unwrap().to_owned();
    let keys = "applied: planhat.token, sync.lookback; needs a restart: database.max_connections, log.level";
    assert_eq!(said, format!("settings reloaded; {keys}"));
    daemon.until("succeeded");

    // What has not been taken over is still another one than that of the process.
    daemon.signal("HUP");
    let said = daemon.until("settings reloaded")["message"].as_str().unwrap().to_owned();
    assert!(said.ends_with("reloaded; needs a restart: database.max_connections, log.level"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_a_run_and_the_next_daemon_catches_up() {
    let simulator = simulator().await;
    let tool = tool(&simulator, "* * * * * *").await;
    let process = Arc::new(AtomicU32::new(0));
    let victim = Arc::clone(&process);
    simulator.on_request(move |_, path| match victim.swap(0, Ordering::Relaxed) {
        0 => {}
        process if path == "companies" => signal(process, "TERM"),
        process => victim.store(process, Ordering::Relaxed),
    });
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("run 1 succeeded");
    process.store(daemon.process.id(), Ordering::Relaxed);
    let (code, log) = daemon.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopping; a second signal stops at once") && log.contains("interrupted"), "{log}");

    // Once a year is not before long, unless one was missed.
    let yearly = tool.set("PLANHAT_SYNC__DAEMON__SCHEDULE", "0 0 1 1 *");
    let mut database = PgConnection::connect(&yearly.database()).await.unwrap();
    let long_ago = "update planhat_sync.runs set started_at = started_at - interval '2 years'";
    sqlx::raw_sql(long_ago).execute(&mut database).await.unwrap();
    let mut again = DaemonProcess::start(&yearly, &["daemon"]);
    again.until("succeeded");
    let due = again.until("the next run is due")["message"].as_str().unwrap().to_owned();
    assert!(due.contains("-01-01 00:00:00 UTC"), "{due}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_share_a_workspace_and_the_run_of_one_that_is_killed_goes_on_with_the_other() {
    let simulator = simulator().await;
    let answers = simulator.gate();
    answers.close();
    let tool = tool(&simulator, "0 0 1 1 *").await.set("PLANHAT_SYNC__DAEMON__POLL_EVERY", "1s");
    let mut first = DaemonProcess::start(&tool, &["daemon"]);
    first.until("run 1 begins");
    let mut second = DaemonProcess::start(&tool, &["daemon"]);
    second.until("the next run is due");

    first.signal("KILL");
    assert_eq!(first.end().0, None);
    second.until("run 2 begins");
    answers.open();
    second.until("run 2 succeeded");

    second.signal("TERM");
    let (code, log) = second.end();
    assert_eq!(code, Some(0));
    assert!(!log.contains("run 3 begins"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_retries_only_the_failed_objects() {
    let simulator = simulator().await;
    let tool = tool(&simulator, "0 0 1 1 *").await.set("PLANHAT_SYNC__DAEMON__RETRY_AFTER", "1s");
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);

    assert_eq!(daemon.until("begins")["objects"], 13);
    daemon.until("run 1 partial");
    assert_eq!(daemon.until("begins")["objects"], 1);
    daemon.until("run 2 succeeded");
    assert!(daemon.until("the next run is due")["message"].as_str().unwrap().contains("-01-01"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_notified_that_the_daemon_is_ready_alive_and_stopping() {
    let simulator = simulator().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let tool = tool(&simulator, "0 0 1 1 *")
        .await
        .set("NOTIFY_SOCKET", folder.path().join("notify").to_str().unwrap())
        .set("WATCHDOG_USEC", "600000");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    let until = |wanted: &str| {
        let mut buffer = [0; 4096];
        blocked_until(DEADLINE, &format!("{wanted:?} to the service manager"), || {
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).contains(wanted)
        });
    };
    until("READY=1");
    until("STATUS=syncing");
    until("STATUS=next run at");
    until("WATCHDOG=1");
    daemon.until("the next run is due");
    daemon.signal("HUP");
    until("RELOADING=1");
    until("READY=1\nSTATUS=settings reloaded; nothing has changed");
    daemon.signal("TERM");
    until("STOPPING=1");
    assert_eq!(daemon.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_database_makes_the_daemon_unready_but_does_not_end_it() {
    let simulator = simulator().await;
    let tool = tool(&simulator, "0 0 1 1 *").await;
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("run 1 succeeded");
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    sqlx::raw_sql("alter table planhat_sync.migrations rename to elsewhere").execute(&mut database).await.unwrap();

    assert_eq!(daemon.get("/readyz").await.0, 503);
    assert_eq!(daemon.get("/healthz").await.0, 200);
    let scraped = daemon.get("/metrics").await.1;
    assert_eq!(metric(&scraped, "planhat_sync_database_up", &[]), Some(0.0));
    // Nothing is shown as it was.
    assert_eq!(metric(&scraped, "planhat_sync_last_success_timestamp_seconds", &[("object", "companies")]), None);

    sqlx::raw_sql("alter table planhat_sync.elsewhere rename to migrations").execute(&mut database).await.unwrap();
    assert_eq!(daemon.get("/readyz").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_exits_with_0_only_if_the_daemon_answers() {
    let simulator = simulator().await;
    let tool = tool(&simulator, "0 0 1 1 *").await;
    let daemon = DaemonProcess::start(&tool, &["daemon"]);

    let mut asks = Tool::new().set("PLANHAT_SYNC__DAEMON__LISTEN", &daemon.address.replace("127.0.0.1", "0.0.0.0"));
    assert_eq!(asks.run(&["health"]).all(), "exit 0\nok\n");
    drop(daemon);
    let nobody = Tool::new().set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:1").run(&["health"]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("no daemon answered at http://127.0.0.1:1/healthz"), "{}", nobody.stderr);
}

type ReceivedRequests = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

/// Somebody who listens, and what they hear.
async fn listener() -> (String, ReceivedRequests) {
    let received = ReceivedRequests::default();
    let hear = async |State(received): State<ReceivedRequests>, request: Request| {
        let what = format!("{} {}", request.method(), request.uri().path());
        let headers = request.headers().clone();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        received.lock().unwrap().push((what, headers, String::from_utf8(body.to_vec()).unwrap()));
    };
    let router = Router::new().fallback(hear).with_state(Arc::clone(&received));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(axum::serve(socket, router).into_future());
    (format!("http://{address}"), received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_sends_a_signed_message_and_a_successful_run_pings() {
    let simulator = simulator().await;
    let (url, received) = listener().await;
    let mut tool = Tool::for_workspace(&simulator)
        .await
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &format!("{url}/hook"))
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_SECRET", "key")
        .set("PLANHAT_SYNC__NOTIFY__PING_URL", &format!("{url}/ping"));
    let said = || received.lock().unwrap().iter().map(|(what, ..)| what.clone()).collect::<Vec<_>>();

    assert_eq!(tool.run(&["sync"]).code, 0);
    assert_eq!(said(), ["GET /ping/start", "GET /ping"]);
    received.lock().unwrap().clear();

    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    assert_eq!(tool.run(&["sync"]).code, 3);
    let mut all = said();
    all.sort();
    assert_eq!(all, ["GET /ping/fail", "GET /ping/start", "POST /hook"]);
    let (_, headers, body) = received.lock().unwrap().iter().find(|(what, ..)| what.starts_with("POST")).cloned().unwrap();
    let news: Value = serde_json::from_str(&body).unwrap();
    let data = &news["data"];
    assert_eq!(
        (&news["type"], &data["run_id"], &data["objects"][0]["object"]),
        (&json!("sync.partial"), &json!(2), &json!("tasks"))
    );
    assert!(headers["webhook-signature"].to_str().unwrap().starts_with("v1,"));

    // Nobody there: the run is as good as ever.
    let mut alone = tool.set("PLANHAT_SYNC__NOTIFY__PING_URL", "http://127.0.0.1:1/secret-path");
    let ran = alone.set_log("warn").run(&["sync"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("could not reach notify.ping_url") && !ran.stderr.contains("secret-path"), "{}", ran.stderr);
    received.lock().unwrap().clear();
    assert_eq!(alone.run(&["backfill", "tasks"]).code, 0);
    assert!(said().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_data_sends_one_message() {
    let simulator = simulator().await;
    let (url, received) = listener().await;
    let token = simulator.token().to_owned();
    let tool = tool(&simulator, "0 0 1 1 *")
        .await
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &format!("{url}/hook"))
        .set("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "1s")
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies")
        .set("PLANHAT_SYNC__DAEMON__RETRY_AFTER", "2s");
    simulator.rotate_token("another");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    let types = || {
        let received = received.lock().unwrap();
        let events = received.iter().map(|(_, _, body)| serde_json::from_str::<Value>(body).unwrap());
        events.map(|event| event["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let hears = async |kind: &str| {
        eventually(&format!("the message {kind}"), async || types().iter().any(|received| received == kind)).await;
    };

    daemon.until("the data is stale: no successful sync for 1s of companies");
    hears("sync.stale").await;
    hears("sync.failed").await;
    // Each run that ends is another look at the age of the data.
    (0..3).for_each(|_| _ = daemon.until("begins"));
    // Between two runs: one that gets only half of its answers fails for another reason, which is another message.
    daemon.until("the next run is due");
    simulator.rotate_token(&token);
    daemon.until("the data is fresh again");
    hears("sync.recovered").await;

    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(0));
    // Everything until it was fresh again; without another run it gets stale again before long. Which of the two is told first is up
    // to the machine.
    let types = types();
    let mut told: Vec<&str> = types.iter().map(String::as_str).take_while(|kind| *kind != "sync.recovered").collect();
    told.sort_unstable();
    assert_eq!(told, ["sync.failed", "sync.stale"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_start_sends_one_message() {
    let (ours, theirs, (url, received)) = (simulator().await, simulator().await, listener().await);
    let users = |simulator: &Simulator| simulator.records("users").len();
    assert_eq!(users(&ours), users(&theirs));
    for (object, id) in [("companies", "c0"), ("companies", "c1"), ("companies", "c2"), ("users", "u0")] {
        assert!(theirs.delete(object, id));
    }
    theirs.add("companies", json!({"_id": "another"}));
    let mut tool = tool(&ours, "0 0 1 1 *").await;
    assert_eq!(tool.set_log("error").run(&["sync"]).code, 0);
    let mut tool = tool.set("PLANHAT_API_URL", &theirs.url()).set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &format!("{url}/hook"));

    for _ in 0..2 {
        assert_eq!(tool.run(&["daemon"]).code, 2);
    }

    let told: Vec<Value> = received.lock().unwrap().iter().map(|(.., body)| serde_json::from_str(body).unwrap()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["type"], "sync.failed");
    assert!(told[0]["data"]["reason"].as_str().unwrap().contains("belongs to another workspace"), "{told:?}");
}
