//! The calendar: which workspace is due, who may begin it, and what is noted of how its run came out.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use planhat_store::{
    self as store, ClaimRequest, DueWorkspace, Ending, Enrolment, Explanation, LeaseRequest, PgConnection, ProcessIdentity,
    RunStatus, Store, Takeover,
};
use sqlx::Connection as _;

use crate::daemon::DaemonProcess;
use crate::harness::fresh_database;
use crate::many_workspaces::Fleet;
use crate::replicas::{self, start, stop};
use crate::waiting::{eventually, in_time};

/// A database of workspaces that are due since a minute. All have the token of the first, if they share one.
struct Calendar {
    store: Store,
    workspaces: Vec<String>,
    holder: ProcessIdentity,
}

impl Calendar {
    async fn of(workspaces: &[&str]) -> Calendar {
        let store = Store::connect(&fresh_database().await.into(), "planhat", 2).await.unwrap();
        store.migrate().await.unwrap();
        let holder = ProcessIdentity { name: "a daemon".into(), process: "another-boot pid:[1] 1 1".into() };
        let enrolments: Vec<Enrolment> = workspaces
            .iter()
            .map(|workspace| Enrolment {
                workspace: (*workspace).to_owned(),
                name: (*workspace).to_owned(),
                token_hash: Some("the token".to_owned()),
                next_run_at: Utc::now() - TimeDelta::minutes(1),
            })
            .collect();
        store.transaction(async |db| store::enrol(db, &enrolments).await).await.unwrap();
        let workspaces = workspaces.iter().map(|workspace| (*workspace).to_owned()).collect();
        Calendar { store, workspaces, holder }
    }

    async fn picked(&self, with_histories: bool) -> Option<DueWorkspace> {
        let wanted = ClaimRequest { workspaces: &self.workspaces, with_histories, holder: &self.holder, exited_runs: &[] };
        self.store.transaction(async |db| store::pick_due(db, wanted).await).await.unwrap()
    }

    /// Claims what is due as a daemon does; the workspace is due again in a day.
    async fn claim(&self, command: &str) -> i64 {
        let wanted = ClaimRequest { workspaces: &self.workspaces, with_histories: true, holder: &self.holder, exited_runs: &[] };
        let claimed = self.store.transaction(async |db| {
            let due = store::pick_due(&mut *db, wanted).await?.expect("a workspace that is due");
            store::claim(db, &due, command, wanted, Some(Utc::now() + TimeDelta::days(1))).await
        });
        claimed.await.unwrap().expect("its lease")
    }

    async fn backfill(&self, workspace: &str) {
        let wanted = LeaseRequest {
            workspace,
            command: "backfill",
            holder: &self.holder,
            takeover: Takeover::IfStale,
            token_hash: Some("the token"),
        };
        self.store.transaction_once(async |db| store::acquire_lease(db, wanted).await).await.unwrap().unwrap();
    }

    async fn end(&self, run_id: i64, status: RunStatus) {
        let why = Explanation::default();
        self.store.transaction(async |db| store::finish_run(db, run_id, status, &why).await).await.unwrap();
    }

    async fn note(&self, run_id: i64, ending: &Ending) {
        let workspace = &self.workspaces[0];
        self.store.transaction(async |db| store::note_ending(db, workspace, run_id, ending).await).await.unwrap();
    }

    async fn execute(&self, sql: &'static str) {
        in_time(sql, async { sqlx::raw_sql(sql).execute(self.store.pool()).await.unwrap() }).await;
    }

    async fn one(&self, sql: &'static str) -> String {
        in_time(sql, async { sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(self.store.pool()).await.unwrap() })
            .await
            .unwrap_or_default()
    }
}

fn failed() -> Ending {
    Ending::Failed { why: "it rains".into(), objects: vec!["users"], wait: Some(Duration::from_secs(60)) }
}

const NOTED: &str = "select concat_ws(' ', retry_at > now(), retry_objects, failures, last_error) from planhat_sync.workspaces";

#[tokio::test]
async fn what_becomes_due_while_a_run_is_at_work_is_due_when_that_has_ended() {
    let calendar = Calendar::of(&["acme"]).await;
    let run = calendar.claim("daemon").await;
    assert!(calendar.picked(true).await.is_none());
    calendar.execute("update planhat_sync.workspaces set next_run_at = now() - interval '1 second'").await;
    calendar.end(run, RunStatus::Partial).await;
    calendar.note(run, &failed()).await;

    let due = calendar.picked(true).await.unwrap();
    assert_eq!(due.retry_objects, None, "all objects, not only those that have failed");
}

#[tokio::test]
async fn how_a_run_came_out_is_noted_although_its_lease_is_gone_but_not_after_the_next_run_has_begun() {
    let calendar = Calendar::of(&["acme"]).await;
    let first = calendar.claim("daemon").await;
    calendar.end(first, RunStatus::Failed).await;
    calendar.note(first, &failed()).await;
    assert_eq!(calendar.one(NOTED).await, "t {users} 1 it rains");

    calendar.execute("update planhat_sync.workspaces set retry_at = now()").await;
    let second = calendar.claim("daemon (retry)").await;
    calendar.note(first, &failed()).await;
    calendar.note(first, &Ending::HandedBack).await;
    assert_eq!(calendar.one(NOTED).await, "1 it rains", "the first run learns late that it is over");
    calendar.end(second, RunStatus::Succeeded).await;
    calendar.note(second, &Ending::Succeeded).await;
    calendar.note(first, &Ending::HandedBack).await;
    assert_eq!(calendar.one(NOTED).await, "0");
    assert!(calendar.picked(true).await.is_none());
}

#[tokio::test]
async fn a_run_that_was_handed_back_is_due_at_once() {
    let calendar = Calendar::of(&["acme"]).await;
    let run = calendar.claim("daemon").await;
    calendar.end(run, RunStatus::Interrupted).await;
    assert!(calendar.picked(true).await.is_none());
    calendar.note(run, &Ending::HandedBack).await;
    assert!(calendar.picked(true).await.is_some());
}

#[tokio::test]
async fn a_run_of_a_daemon_that_a_person_has_taken_over_is_due_when_that_has_ended() {
    let calendar = Calendar::of(&["acme"]).await;
    for command in ["daemon", "sync companies"] {
        calendar.execute("update planhat_sync.workspaces set next_run_at = now()").await;
        calendar.claim("daemon").await;
        calendar.execute("update planhat_sync.leases set renewed_at = now() - interval '1 hour'").await;
        let wanted = LeaseRequest {
            workspace: "acme",
            command,
            holder: &calendar.holder,
            takeover: Takeover::IfStale,
            token_hash: Some("the token"),
        };
        let taking = calendar.store.transaction(async |db| store::acquire_lease(db, wanted).await).await;
        calendar.end(taking.unwrap().unwrap(), RunStatus::Succeeded).await;
        assert_eq!(calendar.picked(true).await.is_some(), command != "daemon", "{command}");
    }
}

#[tokio::test]
async fn a_backfill_is_asked_to_yield_to_a_run_that_can_begin_and_to_no_other() {
    let calendar = Calendar::of(&["acme", "beta"]).await;
    calendar.backfill("acme").await;
    let asked = async |with_histories| {
        let workspaces = &calendar.workspaces;
        let asking = async |db: &mut PgConnection| store::request_leases_of_backfills(db, workspaces, with_histories).await;
        calendar.store.transaction(asking).await.unwrap()
    };
    assert_eq!(asked(true).await, 1);
    assert_eq!(asked(false).await, 0, "both workspaces would load history, and no slot for that is free");

    calendar
        .execute(
            "update planhat_sync.workspaces set not_before = now() + interval '1 hour';
             insert into planhat_sync.cursors (workspace, object, watermark)
                 select workspace, 'users', now() from planhat_sync.workspaces",
        )
        .await;
    assert_eq!(asked(true).await, 0, "they wait because their runs have ended with their process");
    calendar.execute("update planhat_sync.workspaces set requested_at = now() where workspace = 'beta'").await;
    assert_eq!(asked(false).await, 1, "a person has asked for the other workspace of the token");
}

#[tokio::test]
async fn a_backfill_that_was_broken_off_makes_no_history_of_a_daily_run() {
    let calendar = Calendar::of(&["acme"]).await;
    calendar.execute("insert into planhat_sync.cursors (workspace, object, watermark) values ('acme', 'users', now())").await;
    let scan = |kind: &str| {
        let sql = format!(
            "delete from planhat_sync.scans;
             insert into planhat_sync.scans (workspace, object, scan, started_at, listing, \"offset\") values ('acme', 'users', '{kind}', now(), '', 0)"
        );
        &*sql.leak()
    };
    for (kind, is_history) in [("history", true), ("backfill", false), ("full", false)] {
        calendar.execute(scan(kind)).await;
        assert_eq!(calendar.picked(true).await.unwrap().is_history, is_history, "{kind}");
        assert_eq!(calendar.picked(false).await.is_none(), is_history, "{kind}");
    }
}

#[tokio::test]
async fn a_pause_that_planhat_asks_a_token_for_holds_for_all_its_workspaces() {
    let calendar = Calendar::of(&["acme", "beta"]).await;
    let store = &calendar.store;
    let hour = Duration::from_secs(3600);
    store.transaction(async |db| store::note_throttling(db, "acme", hour).await).await.unwrap();

    let left = async |workspace| store.transaction(async |db| store::throttled_for(db, workspace).await).await.unwrap();
    assert!(left("acme").await > Some(hour / 2));
    assert!(left("beta").await > Some(hour / 2));
    calendar.execute("update planhat_sync.workspaces set token_hash = 'another' where workspace = 'beta'").await;
    assert_eq!(left("beta").await, None);
    calendar.execute("update planhat_sync.workspaces set token_hash = null").await;
    assert_eq!(left("beta").await, None);
    assert_eq!(left("nobody").await, None);
}

#[tokio::test]
async fn a_lease_that_a_commit_has_locked_keeps_no_other_from_being_renewed() {
    let calendar = Calendar::of(&["acme", "beta"]).await;
    calendar.execute("update planhat_sync.workspaces set token_hash = workspace").await;
    let (first, second) = (calendar.claim("daemon").await, calendar.claim("daemon").await);
    calendar.execute("update planhat_sync.leases set renewed_at = now() - interval '1 minute'").await;
    let mut commit = calendar.store.pool().begin().await.unwrap();
    store::fence(&mut commit, "acme", first).await.unwrap();

    let renewed = async || {
        let renewing = async |db: &mut PgConnection| store::renew_leases(db, &[first, second, 99]).await;
        let mut renewed = calendar.store.transaction(renewing).await.unwrap();
        renewed.sort_unstable();
        renewed
    };
    assert_eq!(renewed().await, [(first, false), (second, true)]);
    commit.commit().await.unwrap();
    assert_eq!(renewed().await, [(first, true), (second, true)]);
}

// ---- Daemons ----

/// Two workspaces that are due once a year, and so as soon as a daemon knows of them.
async fn fleet() -> Fleet {
    replicas::fleet(&["acme", "beta"], "0 0 1 1 *").await
}

async fn connect(fleet: &Fleet) -> PgConnection {
    in_time("a connection", PgConnection::connect(&fleet.tool.database())).await.unwrap()
}

/// How many runs of daemons have succeeded, by workspace.
const SUCCEEDED: &str =
    "select string_agg(workspace || ' ' || runs, ', ' order by workspace) from (select workspace, count(*) as runs
    from planhat_sync.runs where command = 'daemon' and status = 'succeeded' group by workspace) of_each";

/// A run that was killed an hour ago.
const KILLED_RUN: &str = "with run as (insert into planhat_sync.runs (workspace, command, status, version)
        values ('planhat_acme', 'daemon', 'running', '1') returning id)
    insert into planhat_sync.leases (workspace, run_id, holder, process, renewed_at)
        select 'planhat_acme', id, 'somebody', '', now() - interval '1 hour' from run";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_somebody_has_locked_keeps_no_other_workspace_waiting() {
    let mut fleet = fleet().await;
    assert_eq!(fleet.run(&["sync"]).code, 0);
    let mut session = connect(&fleet).await;
    sqlx::raw_sql(KILLED_RUN).execute(&mut session).await.unwrap();
    let mut locked = session.begin().await.unwrap();
    sqlx::raw_sql("select from planhat_sync.leases for update").execute(&mut *locked).await.unwrap();

    // So has somebody else the row of the calendar, in a daemon that was frozen just then.
    let mut other = connect(&fleet).await;
    let mut locked_row = other.begin().await.unwrap();
    sqlx::raw_sql("insert into planhat_sync.workspaces (workspace) values ('planhat_acme') on conflict do nothing")
        .execute(&mut connect(&fleet).await)
        .await
        .unwrap();
    sqlx::raw_sql("select from planhat_sync.workspaces where workspace = 'planhat_acme' for update")
        .execute(&mut *locked_row)
        .await
        .unwrap();
    let mut daemon = start(&fleet);
    daemon.until("could not put workspace planhat_acme into the calendar");
    eventually("the run of the other workspace", async || fleet.one(SUCCEEDED).await == "planhat_beta 1").await;
    locked_row.rollback().await.unwrap();
    let left_out = daemon.until("could not claim workspace planhat_acme; it is left out until the next look");
    assert!(left_out["error"].as_str().unwrap().contains("lock timeout"), "{left_out}");
    locked.rollback().await.unwrap();
    let both = "planhat_acme 1, planhat_beta 1";
    eventually("the run that was left out", async || fleet.one(SUCCEEDED).await == both).await;
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_loses_its_lease_while_stored_ids_are_requested_gives_its_slot_back() {
    let mut fleet = fleet().await;
    assert_eq!(fleet.run(&["sync"]).code, 0);
    fleet.tenant(1).rotate_token("rotated");
    fleet.write("workspaces.d/acme.toml", "[planhat]\ntoken = 'rotated'\n");
    fleet.tenant(1).forget_requests();
    let answers = fleet.tenant(1).gate();
    answers.close();
    let mut daemon = start(&fleet);
    eventually("a request of a stored id", async || !fleet.tenant(1).requests().is_empty()).await;

    let mut session = connect(&fleet).await;
    let taken_over = "with run as (insert into planhat_sync.runs (workspace, command, status, version)
            values ('planhat_acme', 'daemon', 'running', '1') returning id)
        update planhat_sync.leases set run_id = run.id from run where workspace = 'planhat_acme'";
    sqlx::raw_sql(taken_over).execute(&mut session).await.unwrap();
    daemon.until("another daemon has taken over the run");

    // The other one dies, and this one goes on with its run, in the slot that was given back.
    answers.open();
    let dead = "update planhat_sync.leases set renewed_at = now() - interval '1 hour'";
    sqlx::raw_sql(dead).execute(&mut session).await.unwrap();
    let both = "planhat_acme 1, planhat_beta 1";
    eventually("the run that was taken over", async || fleet.one(SUCCEEDED).await == both).await;
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_whose_file_cannot_be_read_any_more_keeps_its_schema_and_all_others_go_on() {
    let mut fleet = fleet().await;
    let mut daemon = start(&fleet);
    eventually("both runs", async || fleet.one(SUCCEEDED).await == "planhat_acme 1, planhat_beta 1").await;

    fleet.write("workspaces.d/beta.toml", "this is no TOML");
    fleet.write("workspaces.d/gamma.toml", "[planhat]\ntoken = 'token-of-beta'\n[database]\nschema = 'planhat_beta'\n");
    daemon.signal("HUP");
    let refused = daemon.until("the settings of workspace gamma cannot be used");
    assert!(refused["error"].as_str().unwrap().contains("planhat_beta"), "{refused}");
    assert_eq!(fleet.run(&["workspaces", "sync-now", "acme"]).code, 0);
    eventually("the run that was asked for", async || fleet.one(SUCCEEDED).await == "planhat_acme 2, planhat_beta 1").await;

    // The file is gone: now its schema is free.
    std::fs::remove_file(fleet.path("workspaces.d/beta.toml")).unwrap();
    daemon.signal("HUP");
    daemon.until("workspace gamma: added");
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_is_changed_while_a_run_is_at_work_holds_as_soon_as_that_has_ended() {
    let fleet = fleet().await;
    let answers = fleet.tenant(1).gate();
    answers.close();
    let mut daemon = start(&fleet);
    eventually("a run at work", async || !fleet.tenant(1).requests().is_empty()).await;
    fleet.write("workspaces.d/acme.toml", "[planhat]\ntoken = 'token-of-acme'\n[daemon]\nschedule = '0 0 1 7 *'\n");
    daemon.signal("HUP");
    daemon.until("workspace acme: ");
    answers.open();

    let month =
        "select extract(month from next_run_at at time zone 'UTC')::text from planhat_sync.workspaces where name = 'acme'";
    eventually("the time by the new schedule", async || fleet.one(month).await == "7").await;
    stop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_runs_the_workspaces_alone_that_are_named_to_it() {
    let mut fleet = fleet().await;
    let daemon = DaemonProcess::start(&fleet.tool, &["--config", "config.toml", "--workspace", "acme", "daemon"]);
    eventually("the run of the workspace", async || fleet.one(SUCCEEDED).await == "planhat_acme 1").await;
    assert!(daemon.get("/metrics").await.1.contains("planhat_sync_workspaces 1\n"));
    assert_eq!(fleet.run(&["workspaces", "sync-now", "beta"]).code, 0);
    assert_eq!(fleet.run(&["workspaces", "sync-now", "acme"]).code, 0);
    eventually("its next run", async || fleet.one(SUCCEEDED).await == "planhat_acme 2").await;
    stop(daemon);
    assert_eq!(fleet.one(SUCCEEDED).await, "planhat_acme 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_a_run_that_makes_no_progress_asks_to_be_started_again() {
    let mut fleet = fleet().await;
    for (name, value) in [("PLANHAT__REQUEST_TIMEOUT", "3s"), ("DAEMON__STUCK_AFTER", "3s"), ("PLANHAT__RETRIES", "20")] {
        fleet.tool.put(&format!("PLANHAT_SYNC__{name}"), Some(value));
    }
    let answers = fleet.tenant(1).gate();
    answers.close();
    let daemon = start(&fleet);
    eventually("the end of its health", async || daemon.get("/healthz").await.0 == 503).await;
    assert!(daemon.get("/healthz").await.1.contains("no progress"));
    answers.open();
    eventually("its health", async || daemon.get("/healthz").await.0 == 200).await;
    stop(daemon);
}
