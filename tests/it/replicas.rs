//! Daemons of several workspaces, and several such daemons on one database: who runs what, and what becomes of the runs of one that dies.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use planhat_simulator::{Gate, Simulator};
use serde_json::json;
use tokio::sync::Notify;

use crate::daemon::DaemonProcess;
use crate::many_workspaces::Fleet;
use crate::waiting::{DEADLINE, ended, eventually, eventually_within, in_time};

const NAMES: [&str; 6] = ["acme", "beta", "coda", "delta", "echo", "fox"];

/// As many daemons as one likes take these settings.
pub(crate) async fn fleet(names: &[&str], schedule: &str) -> Fleet {
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

pub(crate) fn start(fleet: &Fleet) -> DaemonProcess {
    DaemonProcess::start(&fleet.tool, &["--config", "config.toml", "daemon"])
}

pub(crate) fn stop(daemon: DaemonProcess) {
    daemon.signal("TERM");
    let (code, log) = daemon.end();
    assert_eq!(code, Some(0), "{log}");
}

/// Holds back the answers of a tenant from this page of the companies on, of two records each.
fn hold_at_page(fleet: &mut Fleet, tenant: usize, page: u32) -> (Gate, Arc<Notify>) {
    fleet.tool.put("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", Some("2"));
    let (gate, reached, mut calls) = (fleet.tenant(tenant).gate(), Arc::new(Notify::new()), 0);
    let (hook, told) = (gate.clone(), Arc::clone(&reached));
    fleet.tenant(tenant).on_request(move |_, path| {
        calls += u32::from(path == "companies");
        if calls == page && path == "companies" {
            hook.close();
            told.notify_one();
        }
    });
    (gate, reached)
}

fn add_companies(tenant: &Simulator, count: usize) {
    (0..count).for_each(|number| tenant.add("companies", json!({"_id": format!("more-{number:03}"), "name": "old"})));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_frozen_until_another_one_has_its_run_stores_nothing_more_of_it_and_goes_on() {
    let mut fleet = fleet(&["acme"], "0 0 1 1 *").await;
    add_companies(fleet.tenant(1), 19);
    let (answers, reached) = hold_at_page(&mut fleet, 1, 4);
    fleet.tool.put("PLANHAT_SYNC__NOTIFY__WEBHOOK_URL", Some("http://127.0.0.1:1/nobody"));
    let mut first = start(&fleet);
    in_time("the page whose answer is held back", reached.notified()).await;
    let working = "select count(*)::text from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and state <> 'idle'";
    eventually("no transaction to be open", async || fleet.one(working).await == "0").await;
    first.signal("STOP");

    // What the frozen daemon finds when it wakes is older than this.
    assert!(
        fleet
            .tenant(1)
            .edit("companies", "more-018", chrono::Utc::now(), |company| _ = company.insert("name".into(), json!("new")))
    );
    fleet.execute("update planhat_sync.leases set renewed_at = now() - interval '2 minutes'").await;
    let mut second = start(&fleet);
    second.until("run 2 begins");
    answers.open();
    second.until("run 2 succeeded");
    stop(second);
    let stored = "select string_agg(a::text, ' ' order by id) from planhat_acme.actions a";
    let (before, name) =
        (fleet.one(stored).await, "select planhat__name from planhat_acme.companies where planhat__id = 'more-018'");
    assert_eq!(fleet.one(name).await, "new");

    first.signal("CONT");
    first.until("another daemon has taken over the run");
    // Nor does it say anything of how the workspace stands.
    let stands =
        "select string_agg(concat_ws(' ', object, run_id, status), ', ' order by object) from planhat_sync.object_states";
    assert_eq!(fleet.one(stands).await, "companies 2 succeeded, users 2 succeeded");
    assert_eq!(fleet.one("select count(*)::text from planhat_sync.notifications").await, "0");
    assert_eq!(fleet.run(&["workspaces", "sync-now", "acme"]).code, 0);
    first.until("run 3 succeeded");
    assert_eq!(fleet.one(stored).await, before);
    assert_eq!(fleet.one(name).await, "new");
    let runs = "select string_agg(id || ' ' || status, ', ' order by id) from planhat_sync.runs";
    assert_eq!(fleet.one(runs).await, "1 interrupted, 2 succeeded, 3 succeeded");
    stop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_preempts_the_backfill_of_a_command_which_then_goes_on() {
    let mut fleet = fleet(&["acme"], "0 0 1 1 *").await;
    add_companies(fleet.tenant(1), 300);
    let mut daemon = start(&fleet);
    daemon.until("run 1 succeeded");

    let (answers, reached) = hold_at_page(&mut fleet, 1, 4);
    let command = ["--config", "config.toml", "backfill", "companies", "--all", "--workspace", "acme"];
    let mut backfill = fleet.tool.command(&command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    in_time("the page whose answer is held back", reached.notified()).await;
    fleet.tenant(1).add("users", json!({"_id": "added meanwhile"}));
    assert_eq!(fleet.run(&["workspaces", "sync-now", "acme"]).code, 0);
    let asked = "select max(requested_at)::text from planhat_sync.leases";
    eventually("the daemon to ask for the lease", async || !fleet.one(asked).await.is_empty()).await;
    // It would be at its end before it has seen that.
    let seen = format!("select (max(renewed_at) > '{}')::text from planhat_sync.leases", fleet.one(asked).await);
    let seen: &'static str = seen.leak();
    eventually("the backfill to see it", async || fleet.one(seen).await == "true").await;
    answers.open();

    daemon.until("run 3 succeeded");
    assert_eq!(fleet.one("select count(*)::text from planhat_acme.users").await, "2");
    assert_eq!(ended(&mut backfill).await, Some(0));
    let runs = "select string_agg(id || ' ' || command || ' ' || status, ', ' order by finished_at) from planhat_sync.runs";
    assert_eq!(fleet.one(runs).await, "1 daemon succeeded, 3 daemon succeeded, 2 backfill succeeded");
    assert_eq!(fleet.one("select count(*)::text from planhat_acme.actions where object = 'companies'").await, "301");
    stop(daemon);
}
