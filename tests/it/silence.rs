//! A database or network that stops responding without closing connections, and what the daemon does then.

use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use planhat_model::catalog;
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_store::{self as store, ObjectStatus, RunStatus, Store, Takeover};
use planhat_sync::pull::Mode;
use planhat_sync::run;
use serde_json::json;
use tokio::sync::Notify;

use crate::cli::{Tool, signal, simulator};
use crate::daemon::{DaemonProcess, tool};
use crate::database::TcpProxy;
use crate::harness::{TestSync, checkpoint_of, fresh_database, lease_for};
use crate::waiting::{ended, ended_within, eventually, in_time, next_of};

/// What a statement may take here.
const STATEMENT: Duration = Duration::from_secs(1);
/// A process that is asked to stop ends within five seconds, and a busy machine may take several times as long. One that waited for
/// its database would take minutes.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

const WAITS_FOR_A_LOCK: &str =
    "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')::text";

fn numbered(count: usize) -> Workspace {
    Workspace::empty().with("projects", (0..count).map(|number| json!({"_id": format!("{number:05}")})).collect())
}

/// Tells when projects are asked for the nth time.
fn at_request(simulator: &Simulator, request: usize) -> Arc<Notify> {
    let (reached, count) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let hook = Arc::clone(&reached);
    simulator.on_request(move |_, path| {
        if path == "projects" && count.fetch_add(1, Ordering::Relaxed) + 1 == request {
            hook.notify_one();
        }
    });
    reached
}

async fn sync_through(proxy: &TcpProxy, connections: u32) -> TestSync {
    let store = Store::connect_with(secrecy::SecretString::from(proxy.url.as_str()).into(), "planhat", connections, STATEMENT)
        .await
        .unwrap();
    TestSync::into(store, numbered(1500), Options::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_connections_are_closed_and_their_transactions_retried() {
    for connections in [1, 3] {
        let proxy = TcpProxy::to(&fresh_database().await).await;
        let sync = sync_through(&proxy, connections).await;
        let reached = at_request(&sync.simulator, 5);
        let silence = async {
            in_time("the request", reached.notified()).await;
            proxy.stall();
            std::future::pending::<()>().await;
        };

        let summary = tokio::select! {
            summary = sync.sync_one("projects") => summary,
            () = silence => unreachable!(),
        };

        assert_eq!((summary.run.status, summary.run.figures.inserted), (ObjectStatus::Succeeded, 1500), "{connections}");
        sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unresponsive_database_ends_a_sync_with_exit_code_5() {
    let simulator = Simulator::start(numbered(1500), Options::default()).await.unwrap();
    let proxy = TcpProxy::to(&fresh_database().await).await;
    let tool = Tool::for_workspace(&simulator)
        .await
        .set("DATABASE_URL", &proxy.url)
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("PLANHAT_SYNC__DATABASE__RECONNECT_TIMEOUT", "1s")
        .set("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", "1")
        .set("PLANHAT_SYNC__DATABASE__STATEMENT_TIMEOUT", "1s");
    let reached = at_request(&simulator, 5);
    let mut process = tool.command(&["sync", "projects"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    in_time("the request", reached.notified()).await;
    proxy.stall_for_good();

    assert_eq!(ended(&mut process).await, Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_sync_within_seconds_even_if_the_database_is_unresponsive() {
    for connections in ["1", "3"] {
        let simulator = Simulator::start(numbered(1500), Options::default()).await.unwrap();
        let proxy = TcpProxy::to(&fresh_database().await).await;
        let tool = Tool::for_workspace(&simulator)
            .await
            .set("DATABASE_URL", &proxy.url)
            .set("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", connections);
        let reached = at_request(&simulator, 5);
        let mut process = tool.command(&["sync", "projects"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        in_time("the request", reached.notified()).await;
        proxy.stall_for_good();
        signal(process.id(), "TERM");

        assert_eq!(ended_within(STOPS_WITHIN, &mut process).await, Some(143));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_stopped_during_a_slow_commit_is_interrupted_and_not_failed() {
    let sync = TestSync::new(numbered(1500)).await;
    sync.sync_one("projects").await;
    sync.simulator.edit("projects", "00000", sync.now, |project| _ = project.insert("n".into(), json!(1)));
    sync.store.stop_on(sync.stop.clone());
    // Somebody else is at work on the table; the database is well.
    let mut lock = sync.store.pool().begin().await.unwrap();
    sqlx::raw_sql("lock table planhat.projects in share mode").execute(&mut *lock).await.unwrap();
    let stop = async {
        eventually("the page that waits for the lock", async || sync.one(WAITS_FOR_A_LOCK).await == "true").await;
        sync.stop.cancel();
    };

    let projects = [catalog::object("projects").unwrap()];
    let (summary, ()) = tokio::join!(sync.run(Mode::Incremental, &projects), stop);
    lock.rollback().await.unwrap();

    assert_eq!(
        (summary.status, summary.objects[0].run.status),
        (RunStatus::Interrupted, ObjectStatus::Interrupted),
        "{summary:?}"
    );
}

/// A service manager, as far as it listens.
struct ServiceManager {
    signs_of_life: Receiver<()>,
    _folder: tempfile::TempDir,
    path: String,
}

impl ServiceManager {
    fn new() -> ServiceManager {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (heard, signs_of_life) = std::sync::mpsc::channel();
        // It goes on listening whatever a test does: whoever speaks to a full socket waits.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if String::from_utf8_lossy(&buffer[..length]).contains("WATCHDOG=1") && heard.send(()).is_err() {
                    return;
                }
            }
        });
        ServiceManager { signs_of_life, path: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    /// Waits for so many signs of life that are still to come.
    fn expect_watchdog_pings(&self, count: usize) {
        self.signs_of_life.try_iter().for_each(drop);
        for _ in 0..count {
            next_of(&self.signs_of_life, "a sign of life of the daemon");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchdog_notifications_continue_while_the_database_is_unresponsive_and_a_signal_ends_the_daemon() {
    let simulator = Simulator::start(numbered(1500), Options::default()).await.unwrap();
    let proxy = TcpProxy::to(&fresh_database().await).await;
    let manager = ServiceManager::new();
    let reached = at_request(&simulator, 5);
    let tool = tool(&simulator, "0 0 1 1 *")
        .await
        .set("DATABASE_URL", &proxy.url)
        .set("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", "1")
        .set("NOTIFY_SOCKET", &manager.path)
        .set("WATCHDOG_USEC", "600000");
    let daemon = DaemonProcess::start(&tool, &["daemon"]);
    in_time("the request", reached.notified()).await;
    proxy.stall_for_good();

    manager.expect_watchdog_pings(20);

    daemon.signal("TERM");
    let (code, log) = daemon.end_within(STOPS_WITHIN);
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_daemon_without_its_database_ends_with_a_signal() {
    let simulator = simulator().await;
    for silent in [false, true] {
        let proxy = TcpProxy::to(&fresh_database().await).await;
        let tool = tool(&simulator, "0 0 1 1 *").await.set("DATABASE_URL", &proxy.url);
        let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
        daemon.until("run 1 succeeded");
        daemon.until("the next run is due");
        if silent {
            proxy.stall_for_good()
        } else {
            proxy.cut()
        }

        daemon.signal("TERM");
        let (code, log) = daemon.end_within(STOPS_WITHIN);
        assert_eq!(code, Some(0), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_daemon_sends_nothing_to_its_database() {
    let simulator = simulator().await;
    let proxy = TcpProxy::to(&fresh_database().await).await;
    let manager = ServiceManager::new();
    let tool = tool(&simulator, "0 0 1 1 *")
        .await
        .set("DATABASE_URL", &proxy.url)
        .set("NOTIFY_SOCKET", &manager.path)
        .set("WATCHDOG_USEC", "600000");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("run 1 succeeded");
    daemon.until("the next run is due");
    // The connections of the run have been given back by then.
    manager.expect_watchdog_pings(3);
    let before = proxy.bytes_sent();
    assert_ne!(before, 0, "its connections do not go through here");

    // Twelve seconds of its life: its lease would have been renewed twice.
    manager.expect_watchdog_pings(60);

    assert_eq!(proxy.bytes_sent(), before);
    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_works_with_a_single_connection() {
    let simulator = Simulator::start(numbered(1500), Options::default()).await.unwrap();
    let tool =
        tool(&simulator, "* * * * * *").await.set("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", "1").set("WATCHDOG_USEC", "600000");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    for run in 1..=3 {
        daemon.until(&format!("run {run} succeeded"));
        assert_eq!(daemon.get("/readyz").await.0, 200);
        assert_eq!(daemon.get("/metrics").await.0, 200);
    }
    daemon.signal("TERM");
    assert_eq!(daemon.end_within(STOPS_WITHIN).0, Some(0));
}

#[cfg(feature = "embedded")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_works_with_the_embedded_database() {
    let simulator = simulator().await;
    let tool = tool(&simulator, "* * * * * *").await.unset("DATABASE_URL").set("WATCHDOG_USEC", "600000");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    for run in 1..=3 {
        daemon.until(&format!("run {run} succeeded"));
        assert_eq!(daemon.get("/readyz").await.0, 200);
    }
    daemon.signal("TERM");
    assert_eq!(daemon.end_within(STOPS_WITHIN).0, Some(0));
}

#[tokio::test]
async fn a_frozen_run_cannot_commit_after_its_lease_was_taken_over() {
    let sync = TestSync::new(numbered(3)).await;
    let (projects, scan) = (catalog::object("projects").unwrap(), store::ScanProgress::starting(sync.now, None, None));
    let take = async |may| {
        sync.store
            .transaction_once(async |db| store::acquire_lease(db, lease_for(&run::this_process(), may)).await)
            .await
            .unwrap()
            .unwrap()
    };
    let save = async |db: &mut store::PgConnection, run_id| checkpoint_of(&sync, projects, run_id).save_in(db, &scan, &[]).await;
    let first = take(Takeover::IfStale).await;

    // Paused with a page in hand, while another run comes.
    let mut page = sync.store.pool().begin().await.unwrap();
    sqlx::raw_sql("insert into planhat_sync.listed_ids (workspace, object, ids) values ('planhat', 'projects', '{a}')")
        .execute(&mut *page)
        .await
        .unwrap();
    let second = take(Takeover::Always).await;
    let refused = save(&mut page, first).await.unwrap_err();
    assert!(matches!(refused, store::StoreError::LeaseLost { .. }), "{refused}");
    drop(page);

    // The other way round: behind its fence a page commits before anybody takes over.
    let mut page = sync.store.pool().begin().await.unwrap();
    save(&mut page, second).await.unwrap();
    let commits = async {
        eventually("somebody who waits for the fence", async || sync.one(WAITS_FOR_A_LOCK).await == "true").await;
        page.commit().await.unwrap();
    };
    let (third, ()) = tokio::join!(take(Takeover::Always), commits);
    assert!(third > second);
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "1");
}
