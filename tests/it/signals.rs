//! Signals: the first one ends a run after the current page, the second one at once.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use planhat_simulator::{Options, Simulator, Workspace};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Notify;

use crate::cli::{Tool, signal};
use crate::waiting::{DEADLINE, blocked_until, ended, eventually, in_time, lines_of, next_of};

/// A workspace that says when it was asked for projects for the nth time.
async fn reached_at(request: usize) -> (Simulator, Arc<Notify>) {
    let records = (0..2000).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let simulator = Simulator::start(Workspace::empty().with("projects", records), Options::default()).await.unwrap();
    let (reached, count) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let hook = Arc::clone(&reached);
    simulator.on_request(move |_, path| {
        if path == "projects" && count.fetch_add(1, Ordering::Relaxed) + 1 == request {
            hook.notify_one();
        }
    });
    (simulator, reached)
}

async fn rows(database: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from planhat.projects").fetch_one(database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_run_keeps_committed_pages_exits_with_its_signal_code_and_can_be_resumed() {
    for (name, code) in [("TERM", 143), ("INT", 130)] {
        let (simulator, reached) = reached_at(8).await;
        let mut tool = Tool::for_workspace(&simulator).await;
        let mut process = tool.command(&["sync", "projects"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        in_time("the eighth page", reached.notified()).await;
        signal(process.id(), name);

        assert_eq!(ended(&mut process).await, Some(code), "{name}");
        let mut database = PgConnection::connect(&tool.database()).await.unwrap();
        let kept = rows(&mut database).await;
        assert!((300..2000).contains(&kept), "{kept}");
        let status: String = sqlx::query_scalar("select status from planhat_sync.runs").fetch_one(&mut database).await.unwrap();
        assert_eq!(status, "interrupted");
        let next = tool.run(&["sync", "projects", "--json"]).json();
        assert_eq!(next["objects"][0]["inserted"], 2000 - kept);
        assert_eq!(rows(&mut database).await, 2000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_heard_while_a_result_is_written_to_somebody_who_does_not_read_it() {
    let (simulator, _) = reached_at(0).await;
    let mut tool = Tool::for_workspace(&simulator).await;
    // As much as a pipe holds. The reader reads none of it.
    let (reader, mut full) = std::io::pipe().unwrap();
    full.write_all(&[b' '; 65_536]).unwrap();
    let mut process = tool.set_log("warn").command(&["sync", "projects"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let ended_runs = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        union all select case when to_regclass('planhat_sync.runs') is null then 0 else 1 end";
    let is_done = async || {
        let found: Vec<i64> = sqlx::query_scalar(ended_runs).fetch_all(&mut database).await.unwrap();
        found == [0, 1]
    };
    eventually("a run that has nothing left to do but to write", is_done).await;

    let said = lines_of(process.stderr.take().unwrap());
    signal(process.id(), "TERM");
    let is_heard = || next_of(&said, "the first signal to be heard").contains("a second signal stops at once");
    blocked_until(DEADLINE, "the first signal to be heard", is_heard);
    signal(process.id(), "TERM");
    assert_eq!(ended(&mut process).await, Some(143));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once_even_if_the_database_blocks_a_page() {
    let (simulator, _) = reached_at(0).await;
    let mut tool = Tool::for_workspace(&simulator).await;
    assert_eq!(tool.run(&["sync", "projects"]).code, 0);
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let mut lock = database.begin().await.unwrap();
    sqlx::raw_sql("lock table planhat.projects in access exclusive mode").execute(&mut *lock).await.unwrap();
    let mut process =
        tool.set_log("warn").command(&["sync", "projects"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let held_up = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    // Within a transaction the same would be seen for ever.
    let mut watcher = PgConnection::connect(&tool.database()).await.unwrap();
    let is_held_up = async || sqlx::query_scalar::<_, i64>(held_up).fetch_one(&mut watcher).await.unwrap() > 0;
    eventually("a page that is held up", is_held_up).await;

    signal(process.id(), "TERM");
    // Two that come before the first is heard are one.
    let said = lines_of(process.stderr.take().unwrap());
    let is_heard = || next_of(&said, "the first signal to be heard").contains("a second signal stops at once");
    blocked_until(DEADLINE, "the first signal to be heard", is_heard);
    assert_eq!(process.try_wait().unwrap(), None, "the page in hand is not done");
    signal(process.id(), "TERM");

    assert_eq!(ended(&mut process).await, Some(143));
}
