//! The daemon as it is used: unattended for an hour, on each kind of database, while database and Planhat have faults. A
//! supervisor does what systemd does: it kills a daemon whose watchdog notifications stop, and starts one that ended.
//!
//! In the test suite an hour is half a minute and a minute is a second; `make unattended` takes the full hour.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use chrono::Utc;
use planhat_model::catalog;
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cli::{Tool, signal};
use crate::harness::{TestSync, fresh_database, look_into, written};
use crate::server::PostgresServer;
use crate::waiting::{DEADLINE, eventually_within, in_time, status_of, this_test_may_take};

/// How long it goes on, how often it syncs, and what troubles may take.
#[derive(Debug, Clone, Copy)]
struct Pace {
    lasts: Duration,
    schedule: &'static str,
    /// Between two runs.
    every: Duration,
    trouble: Duration,
    rest: Duration,
    watchdog: Duration,
    statement: Duration,
}

const SHORT: Pace = Pace {
    lasts: Duration::from_secs(30),
    schedule: "* * * * * *",
    every: Duration::from_secs(1),
    trouble: Duration::from_secs(4),
    rest: Duration::from_secs(4),
    // A test machine may be busy with all the other tests.
    watchdog: Duration::from_secs(15),
    statement: Duration::from_secs(2),
};

const AN_HOUR: Pace = Pace {
    lasts: Duration::from_secs(3600),
    schedule: "* * * * *",
    every: Duration::from_secs(60),
    trouble: Duration::from_secs(75),
    rest: Duration::from_secs(90),
    watchdog: Duration::from_secs(20),
    statement: Duration::from_secs(20),
};

/// What the daemon works on.
enum DatabaseUnderTest {
    #[cfg(feature = "embedded")]
    Embedded(tempfile::TempDir),
    /// With an address that leads there directly.
    At { url: String, direct: String },
    /// One that is stopped, frozen and started again.
    Troubled(PostgresServer),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_keeps_tables_in_step_unattended_with_a_single_connection() {
    one_connection(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_keeps_tables_in_step_unattended_behind_a_pooler_with_two_connections() {
    pooled(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_keeps_tables_in_step_unattended_while_the_server_is_stopped_frozen_and_restarted() {
    troubled(SHORT).await;
}

#[cfg(feature = "embedded")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daemon_keeps_tables_in_step_unattended_in_the_embedded_database() {
    embedded(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "an hour: make unattended"]
async fn the_daemon_keeps_tables_in_step_unattended_for_an_hour_on_every_kind_of_database() {
    #[cfg(feature = "embedded")]
    let embedded = embedded(AN_HOUR);
    #[cfg(not(feature = "embedded"))]
    let embedded = async {};
    tokio::join!(one_connection(AN_HOUR), pooled(AN_HOUR), troubled(AN_HOUR), embedded);
}

async fn one_connection(pace: Pace) {
    let url = fresh_database().await;
    let database = DatabaseUnderTest::At { direct: url.clone(), url };
    watched("one connection", pace, database, &[("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", "1")]).await;
}

async fn pooled(pace: Pace) {
    let direct = fresh_database().await;
    let pooler = std::env::var("TEST_PGBOUNCER_URL").unwrap();
    let url = format!("{}/{}", pooler.rsplit_once('/').unwrap().0, direct.rsplit_once('/').unwrap().1);
    watched("pooler", pace, DatabaseUnderTest::At { url, direct }, &[]).await;
}

async fn troubled(pace: Pace) {
    watched("troubled server", pace, DatabaseUnderTest::Troubled(PostgresServer::start().await), &[]).await;
}

#[cfg(feature = "embedded")]
async fn embedded(pace: Pace) {
    watched("embedded", pace, DatabaseUnderTest::Embedded(tempfile::tempdir().unwrap()), &[]).await;
}

/// Lets a daemon work, and then asks whether it kept its word.
#[expect(clippy::print_stdout, reason = "what was seen, for whoever runs the hour")]
async fn watched(name: &str, pace: Pace, database: DatabaseUnderTest, settings: &[(&str, &str)]) {
    this_test_may_take(pace.lasts + Duration::from_secs(1200));
    let (simulator, received) = (Simulator::start(workspace(), Options::default()).await.unwrap(), ReceivedRequests::default());
    let supervisor_folder = tempfile::tempdir().unwrap();
    let socket = supervisor_folder.path().join("notify");
    let tool = tool(&simulator, pace, &database)
        .set("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", &listen(&received).await)
        .set("NOTIFY_SOCKET", socket.to_str().unwrap());
    let tool = settings.iter().fold(tool, |tool, (name, value)| tool.set(name, value));

    let over = CancellationToken::new();
    // A test that fails does not leave its supervisor at work, for whose end it would wait.
    let _over_at_last = over.clone().drop_guard();
    let supervisor = Supervisor::of(tool, &socket, pace.watchdog, over.clone());
    let supervised = tokio::task::spawn_blocking(move || supervisor.supervise()); // No wait of a test: see below.
    let (edits, troubles, ()) = tokio::join!(
        edit_until(&simulator, pace),
        trouble_until(&database, pace),
        take_a_permission(&simulator, &received, pace)
    );
    // All troubles are over: so are the runs that they have spoilt, before long.
    let at_most = pace.trouble + 4 * pace.every + 3 * DEADLINE;
    let calls = simulator.requests().len();
    let is_well = async || simulator.requests().len() >= calls + 40 && is_recovered(&received);
    eventually_within(at_most, &format!("{name}: a good run"), is_well).await;
    over.cancel();
    let Supervised { kills, ended_by_themselves, log } = in_time("the end of the daemon", supervised).await.unwrap();

    assert_eq!(kills, 0, "{name}: a daemon gave no sign of life\n{log}");
    assert_eq!(ended_by_themselves, 0, "{name}: a daemon ended\n{log}");
    assert_events(name, &received, troubles, &log);
    assert_in_step(name, simulator, &database, pace).await;
    println!("{name}: {edits} edits, {troubles} troubles, {} events", types(&received).len());
}

/// The tool for this workspace and database, without what its surroundings hand it.
fn tool(simulator: &Simulator, pace: Pace, database: &DatabaseUnderTest) -> Tool {
    let (name, place) = match database {
        #[cfg(feature = "embedded")]
        DatabaseUnderTest::Embedded(folder) => ("PLANHAT_SYNC__DATABASE__DATA_DIR", folder.path().to_str().unwrap().to_owned()),
        DatabaseUnderTest::At { url, .. } => ("DATABASE_URL", url.clone()),
        DatabaseUnderTest::Troubled(server) => ("DATABASE_URL", server.url()),
    };
    let seconds = |duration: Duration| format!("{}s", duration.as_secs());
    Tool::new()
        .set("PLANHAT_API_URL", &simulator.url())
        .set("PLANHAT_API_TOKEN", simulator.token())
        .set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
        .set(name, &place)
        .set("RUST_LOG", "info")
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0")
        .set("PLANHAT_SYNC__DAEMON__JITTER", "0s")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", pace.schedule)
        .set("PLANHAT_SYNC__DAEMON__RETRY_AFTER", &seconds(pace.every * 2))
        .set("PLANHAT_SYNC__DATABASE__STATEMENT_TIMEOUT", &seconds(pace.statement))
        .set("PLANHAT_SYNC__DATABASE__RECONNECT_TIMEOUT", &seconds(pace.trouble / 3))
        // Longer than all troubles: no data is ever that old.
        .set("PLANHAT_SYNC__NOTIFY__STALE_AFTER", &seconds(pace.trouble * 3 + 10 * pace.every + Duration::from_secs(120)))
        .set("WATCHDOG_USEC", &pace.watchdog.as_micros().to_string())
}

fn workspace() -> Workspace {
    let records = |object: &str| (0..120).map(|number| json!({"_id": format!("{object}{number:05}"), "name": "new"})).collect();
    ["companies", "endusers", "projects", "tasks"]
        .into_iter()
        .fold(Workspace::empty(), |workspace, object| workspace.with(object, records(object)))
}

/// People work in Planhat.
async fn edit_until(simulator: &Simulator, pace: Pace) -> usize {
    let (end, mut random, mut edits) = (Instant::now() + pace.lasts, fastrand::Rng::with_seed(1), 0);
    while Instant::now() < end {
        let object = random.choice(["companies", "endusers", "projects", "tasks"]).unwrap();
        let now = Utc::now();
        if random.u8(..4) == 0 {
            simulator.add(object, json!({"_id": format!("new{edits:07}"), "name": "added", "updatedAt": written(now)}));
        } else {
            let id = format!("{object}{:05}", random.usize(..120));
            simulator.edit(object, &id, now, |record| _ = record.insert("name".to_owned(), format!("edit {edits}").into()));
        }
        edits += 1;
        tokio::time::sleep(pace.every / 7).await; // No wait of a test: so long it takes.
    }
    edits
}

/// Somebody takes a permission away, until it is told that it is missing.
async fn take_a_permission(simulator: &Simulator, received: &ReceivedRequests, pace: Pace) {
    tokio::time::sleep(pace.lasts / 3).await; // No wait of a test: so long it takes.
    simulator.forbid("tasks");
    // The embedded server of a debug build has hardly begun to work after two minutes on a machine that is busy with much else.
    let at_most = pace.trouble + 6 * pace.every + 3 * DEADLINE;
    let is_told = async || types(received).iter().any(|kind| kind == "sync.partial");
    eventually_within(at_most, "the message that a permission is missing", is_told).await;
    simulator.allow("tasks");
}

/// Its server has troubles, each over in time.
async fn trouble_until(database: &DatabaseUnderTest, pace: Pace) -> usize {
    let DatabaseUnderTest::Troubled(server) = database else {
        tokio::time::sleep(pace.lasts).await; // No wait of a test: so long it takes.
        return 0;
    };
    let (end, mut random, mut troubles) = (Instant::now() + pace.lasts, fastrand::Rng::with_seed(2), 0);
    loop {
        tokio::time::sleep(pace.rest.mul_f64(0.5 + random.f64())).await; // No wait of a test: so long it takes.
        let lasts = pace.trouble.mul_f64(0.2 + 0.8 * random.f64());
        if Instant::now() + lasts > end {
            return troubles;
        }
        match troubles % 4 {
            0 => {
                server.signal("STOP");
                tokio::time::sleep(lasts).await; // No wait of a test: so long it takes.
                server.signal("CONT");
            }
            1 => {
                server.stop("immediate");
                tokio::time::sleep(lasts).await; // No wait of a test: so long it takes.
                server.start_again().await;
            }
            2 => {
                server.stop("fast");
                server.start_again().await;
            }
            _ => {
                server.stop("immediate");
                server.start_again().await;
            }
        }
        troubles += 1;
    }
}

/// What a service manager does for the daemon, and to it.
struct Supervisor {
    tool: Tool,
    socket: UnixDatagram,
    watchdog: Duration,
    over: CancellationToken,
}

struct Supervised {
    kills: usize,
    ended_by_themselves: usize,
    log: String,
}

impl Supervisor {
    fn of(tool: Tool, socket: &Path, watchdog: Duration, over: CancellationToken) -> Supervisor {
        let socket = UnixDatagram::bind(socket).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Supervisor { tool, socket, watchdog, over }
    }

    fn supervise(&self) -> Supervised {
        let log = Arc::<Mutex<String>>::default();
        let (mut kills, mut ended_by_themselves) = (0, 0);
        let mut process = self.start(&log);
        // As systemd does it, signs of life are expected once a daemon has said that it is ready.
        let (mut heard_at, mut silence_limit) = (Instant::now(), DEADLINE);
        let mut buffer = [0; 4096];
        while !self.over.is_cancelled() {
            if self.socket.recv(&mut buffer).is_ok() {
                (heard_at, silence_limit) = (Instant::now(), self.watchdog);
            }
            let gives_no_sign = heard_at.elapsed() > silence_limit;
            if gives_no_sign {
                signal(process.id(), "ABRT");
                kills += 1;
                status_of(&mut process, "the end of a daemon that gave no sign of life");
            }
            if gives_no_sign || process.try_wait().unwrap().is_some() {
                ended_by_themselves += usize::from(!gives_no_sign);
                process = self.start(&log);
                (heard_at, silence_limit) = (Instant::now(), DEADLINE);
            }
        }
        signal(process.id(), "TERM");
        let deadline = Instant::now() + DEADLINE;
        while process.try_wait().unwrap().is_none() {
            let _ = self.socket.recv(&mut buffer);
            assert!(Instant::now() < deadline, "it did not end\n{}", log.lock().unwrap());
        }
        let log = log.lock().unwrap().clone();
        Supervised { kills, ended_by_themselves, log }
    }

    fn start(&self, log: &Arc<Mutex<String>>) -> Child {
        let mut process = self.tool.command(&["daemon"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (lines, log) = (BufReader::new(process.stderr.take().unwrap()), Arc::clone(log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        process
    }
}

type ReceivedRequests = Arc<Mutex<Vec<(String, Value)>>>;

/// Who is told; busy now and then.
async fn listen(received: &ReceivedRequests) -> String {
    let times = Arc::new(AtomicUsize::new(0));
    let hear = async |State((received, times)): State<(ReceivedRequests, Arc<AtomicUsize>)>, request: Request| {
        if times.fetch_add(1, Ordering::Relaxed) % 3 == 1 {
            return axum::http::StatusCode::SERVICE_UNAVAILABLE;
        }
        let id = request.headers()["webhook-id"].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        received.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
        axum::http::StatusCode::OK
    };
    let router = Router::new().fallback(hear).with_state((Arc::clone(received), times));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(axum::serve(socket, router).into_future());
    format!("http://{address}/hook")
}

fn types(received: &ReceivedRequests) -> Vec<String> {
    received.lock().unwrap().iter().map(|(_, event)| event["type"].as_str().unwrap().to_owned()).collect()
}

fn is_recovered(received: &ReceivedRequests) -> bool {
    types(received).last().is_none_or(|last| last == "sync.recovered")
}

/// No event is false, none comes twice, and each trouble that was told is told to be over.
fn assert_events(name: &str, received: &ReceivedRequests, troubles: usize, log: &str) {
    let types = types(received);
    let mut ids: Vec<String> = received.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), types.len(), "{name}: an event came twice: {types:?}");
    assert!(!types.iter().any(|kind| kind == "sync.stale"), "{name}: {types:?}");
    let recovered = types.iter().filter(|kind| *kind == "sync.recovered").count();
    let began = types.windows(2).filter(|pair| pair[0] == "sync.recovered" && pair[1] != "sync.recovered").count();
    assert_eq!(recovered, if types.is_empty() { 0 } else { began + 1 }, "{name}: {types:?}");
    if troubles == 0 {
        assert_eq!(types, ["sync.partial", "sync.recovered"], "{name}\n{log}");
    }
    assert!((1..=troubles + 1).contains(&recovered), "{name}: {types:?} of {troubles} troubles of the database\n{log}");
}

#[expect(clippy::print_stdout, reason = "what was seen, for whoever runs the hour")]
/// The tables hold what Planhat has, no run was missed for longer than a trouble takes, and each that failed was made up.
async fn assert_in_step(name: &str, simulator: Simulator, database: &DatabaseUnderTest, pace: Pace) {
    let store = match database {
        #[cfg(feature = "embedded")]
        DatabaseUnderTest::Embedded(folder) => {
            let place = planhat_store::EmbeddedLocation::Folder(folder.path().to_owned());
            Store::embedded(place, "planhat").await.unwrap()
        }
        DatabaseUnderTest::At { direct, .. } => Store::connect(&direct.as_str().into(), "planhat", 2).await.unwrap(),
        DatabaseUnderTest::Troubled(server) => Store::connect(&server.url().into(), "planhat", 2).await.unwrap(),
    };
    let mut sync = TestSync::into(store, Workspace::empty(), Options::default()).await;
    (sync.simulator, sync.now) = (simulator, Utc::now());
    sync.assert_equals_workspace(&catalog::default_objects()).await;

    let runs = "select command, status, coalesce(extract(epoch from started_at - lag(started_at) over (order by id))::float8, 0)
         from planhat_sync.runs where command like 'daemon%' order by id";
    let look = async |db: &mut sqlx::PgConnection| sqlx::query_as(runs).fetch_all(db).await.unwrap();
    let runs: Vec<(String, String, f64)> = look_into(&sync.store, look).await;
    assert!(runs.iter().all(|(_, status, _)| status != "running"), "{name}: {runs:?}");
    let is_last_good =
        runs.iter().rev().find(|(_, status, _)| status != "interrupted").is_some_and(|(_, status, _)| status == "succeeded");
    assert!(is_last_good, "{name}: {runs:?}");
    let at_most = pace.trouble + pace.statement + 5 * pace.every + Duration::from_secs(60);
    let longest = runs.iter().map(|(.., gap)| *gap).fold(0.0, f64::max);
    assert!(longest < at_most.as_secs_f64(), "{name}: nothing ran for {longest} s: {runs:?}");
    println!("{name}: {} runs, the longest pause {longest:.1} s", runs.len());
    sync.store.close().await;
}
