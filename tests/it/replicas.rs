//! Daemons of several workspaces, and several such daemons on one database: who runs what, and what becomes of the runs of one that dies.

use std::time::Duration;

use crate::daemon::DaemonProcess;
use crate::many_workspaces::Fleet;
use crate::waiting::{DEADLINE, eventually, eventually_within};

const NAMES: [&str; 6] = ["acme", "beta", "coda", "delta", "echo", "fox"];

/// As many daemons as one likes take these settings.
async fn fleet(names: &[&str], schedule: &str) -> Fleet {
    let mut fleet = Fleet::of(names).await;
    for (name, value) in [
        ("RUST_LOG", "info"),
        ("PLANHAT_SYNC__LOG__FORMAT", "json"),
        ("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0"),
        ("PLANHAT_SYNC__DAEMON__JITTER", "0s"),
        ("PLANHAT_SYNC__DAEMON__SCHEDULE", schedule),
        ("PLANHAT_SYNC__DAEMON__POLL_EVERY", "1s"),
        ("PLANHAT_SYNC__DAEMON__RETRY_AFTER", "1s"),
        ("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "800days"),
    ] {
        fleet.tool.put(name, Some(value));
    }
    fleet
}

fn start(fleet: &Fleet) -> DaemonProcess {
    DaemonProcess::start(&fleet.tool, &["--config", "config.toml", "daemon"])
}

fn stop(daemon: DaemonProcess) {
    daemon.signal("TERM");
    let (code, log) = daemon.end();
    assert_eq!(code, Some(0), "{log}");
}

/// Pairs of runs of one workspace that were at work at the same time.
const OVERLAPS: &str = "select count(*)::text from planhat_sync.runs a join planhat_sync.runs b
    on a.workspace = b.workspace and a.id < b.id
    and tstzrange(a.started_at, coalesce(a.finished_at, 'infinity')) && tstzrange(b.started_at, coalesce(b.finished_at, 'infinity'))";
const SUCCEEDED: &str = "select count(distinct workspace)::text from planhat_sync.runs where status = 'succeeded'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_daemon_syncs_every_workspace_and_shows_all_of_them() {
    let fleet = fleet(&NAMES, "0 0 1 1 *").await;
    let daemon = start(&fleet);
    eventually("all workspaces to be synced", async || fleet.one(SUCCEEDED).await == "6").await;

    assert_eq!(fleet.one("select count(*)::text from planhat_fox.companies").await, "6");
    assert_eq!(fleet.one("select count(*)::text from planhat_acme.companies").await, "1");
    let of_all: serde_json::Value = serde_json::from_str(&daemon.get("/api/status").await.1).unwrap();
    assert_eq!(of_all["workspaces"].as_array().unwrap().len(), 6, "{of_all}");
    let of_one: serde_json::Value = serde_json::from_str(&daemon.get("/api/status?workspace=coda").await.1).unwrap();
    assert_eq!(of_one["overview"]["fresh"], true, "{of_one}");
    assert_eq!(daemon.get("/api/status?workspace=nobody").await.0, 404);
    let scraped = daemon.get("/metrics").await.1;
    let states = of_all["workspaces"].as_array().unwrap().iter().map(|one| (one["workspace"].as_str(), one["fresh"].as_bool()));
    assert!(states.eq(NAMES.map(|name| (Some(name), Some(true)))), "{of_all}");
    let runs: serde_json::Value = serde_json::from_str(&daemon.get("/api/runs").await.1).unwrap();
    assert!(runs.as_array().unwrap().iter().all(|run| NAMES.iter().any(|name| run["workspace"] == *name)), "{runs}");
    assert!(daemon.get("/metrics").await.1.contains("\nplanhat_sync_oldest_success_timestamp_seconds "));
    for line in [
        "planhat_sync_workspaces 6",
        "planhat_sync_slots 4",
        "planhat_sync_workspaces_failing 0",
        "planhat_sync_workspaces_fresh 6",
        "planhat_sync_workspaces_stale 0",
        "planhat_sync_workspaces_never_synced 0",
    ] {
        assert!(scraped.contains(line), "no {line} in {scraped}");
    }
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workspaces_that_are_added_removed_or_wrong_are_taken_over_and_harm_no_other() {
    let fleet = fleet(&["acme", "beta"], "0 0 1 1 *").await;
    let mut daemon = start(&fleet);
    eventually("both workspaces to be synced", async || fleet.one(SUCCEEDED).await == "2").await;

    fleet.write("workspaces.d/beta.toml", "[planhat]\npage_sizes = 3\n");
    fleet.write("workspaces.d/gamma.toml", "[planhat]\ntoken = 'token-of-acme'\n");
    daemon.signal("HUP");
    let refused = daemon.until("the settings of workspace beta cannot be used");
    assert!(refused["error"].as_str().unwrap().contains("planhat.page_size"), "{refused}");
    daemon.until("workspace gamma: added");
    eventually("the new workspace to be synced", async || fleet.one(SUCCEEDED).await == "3").await;
    assert!(daemon.get("/metrics").await.1.contains("planhat_sync_refused_settings 1"));

    std::fs::remove_file(fleet.path("workspaces.d/gamma.toml")).unwrap();
    daemon.signal("HUP");
    daemon.until("workspace gamma: removed; its data stays");
    assert_eq!(fleet.one("select count(*)::text from planhat_gamma.companies").await, "1");
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_workspace_is_not_run_and_one_that_is_asked_for_is_run_at_once() {
    let mut fleet = fleet(&["acme", "beta"], "0 0 1 1 *").await;
    assert_eq!(fleet.run(&["--workspace", "acme", "sync"]).code, 0);
    assert_eq!(fleet.run(&["workspaces", "pause", "beta"]).code, 0);
    let daemon = start(&fleet);
    let runs_of_daemons =
        "select coalesce(string_agg(workspace, ',' order by id), '') from planhat_sync.runs where command = 'daemon'";
    eventually("the first workspace to be synced", async || fleet.one(runs_of_daemons).await == "planhat_acme").await;

    assert_eq!(fleet.run(&["workspaces", "sync-now", "acme"]).code, 0);
    let twice = "planhat_acme,planhat_acme";
    eventually("the run that was asked for", async || fleet.one(runs_of_daemons).await == twice).await;
    assert_eq!(fleet.run(&["workspaces", "resume", "beta"]).code, 0);
    let all = "planhat_acme,planhat_acme,planhat_beta";
    eventually("the run that was due meanwhile", async || fleet.one(runs_of_daemons).await == all).await;
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workspaces_of_one_token_never_run_at_the_same_time() {
    let fleet = fleet(&["acme"], "* * * * * *").await;
    fleet.write("workspaces.d/twin.toml", "[planhat]\ntoken = 'token-of-acme'\n");
    let daemons = [start(&fleet), start(&fleet)];
    let many = "select (count(*) = 2)::text from (select from planhat_sync.runs where status = 'succeeded'
        group by workspace having count(*) >= 3) of_each";
    eventually("three runs of each workspace", async || fleet.one(many).await == "true").await;
    daemons.into_iter().for_each(stop);

    let of_any = "select count(*)::text from planhat_sync.runs a join planhat_sync.runs b on a.id < b.id
        and tstzrange(a.started_at, coalesce(a.finished_at, 'infinity')) && tstzrange(b.started_at, coalesce(b.finished_at, 'infinity'))";
    assert_eq!(fleet.one(of_any).await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_are_killed_again_and_again_lose_no_workspace_and_double_no_run() {
    let fleet = fleet(&NAMES, "* * * * * *").await;
    let steady = start(&fleet);
    for killed in 1..=5 {
        let victim = start(&fleet);
        let runs = format!("select (count(*) >= {})::text from planhat_sync.runs", killed * 6);
        let runs: &'static str = runs.leak();
        eventually("some more runs", async || fleet.one(runs).await == "true").await;
        victim.signal("KILL");
        assert_eq!(victim.end().0, None);
    }
    let later = "select count(distinct workspace)::text from planhat_sync.runs
        where status = 'succeeded' and id > (select max(id) from planhat_sync.runs where status = 'interrupted')";
    let all_are_well = async || {
        fleet.one(later).await == "6"
            || fleet.one("select count(*)::text from planhat_sync.runs where status = 'interrupted'").await == "0"
    };
    eventually_within(DEADLINE.max(Duration::from_secs(60)), "every workspace to be synced after the last kill", all_are_well)
        .await;
    stop(steady);

    assert_eq!(fleet.one(OVERLAPS).await, "0");
    for (index, name) in NAMES.iter().enumerate() {
        let sql = format!(
            "select concat_ws(' ', count(*), count(distinct record_id)) from planhat_{name}.actions where object = 'companies' and kind = 'created'"
        );
        let expected = format!("{0} {0}", index + 1);
        assert_eq!(fleet.one(sql.leak()).await, expected, "each record of {name} has one action");
    }
}
