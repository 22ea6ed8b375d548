//! The right to be forgotten: what is erased is nowhere, and comes back with no kind of run, until somebody says so.

use std::process::Stdio;
use std::sync::Arc;

use planhat_model::catalog;
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_store::ObjectStatus;
use planhat_sync::pull::{BackfillRange, HistoryFrom, Mode};
use planhat_sync::run::RunRequest;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::sync::Notify;

use crate::cli::Tool;
use crate::daemon::{DaemonProcess, tool as daemon_tool};
use crate::harness::{TestSync, day, written};
use crate::privacy::places_of;
use crate::waiting::{ended, eventually, in_time};

const KIM: &str = "64b000000000000000000001";
const LEE: &str = "64b000000000000000000002";
const ACME: &str = "64b00000000000000000000c";
/// In her name, and in her address.
const MARKER: &str = "nobody-knows-her";

fn address() -> String {
    format!("{MARKER}@acme.example")
}

fn kim() -> Value {
    json!({"_id": KIM, "companyId": ACME, "name": format!("Kim {MARKER}"), "email": address(), "otherEmails": [format!("k.{}", address())],
        "nps": [MARKER], "position": "CFO", "custom": {"Notes": MARKER}, "updatedAt": written(day(-3))})
}

fn lee() -> Value {
    json!({"_id": LEE, "companyId": ACME, "name": "Lee", "email": "lee@acme.example", "relatedEndusers": [{"id": KIM, "name": MARKER}],
        "updatedAt": written(day(-3))})
}

fn ticket(subject: &str) -> Value {
    json!({"_id": "64b0000000000000000000f1", "companyId": ACME, "email": address(), "subject": subject,
        "description": format!("From: <{}>: please call me", address()),
        "endusers": [{"id": KIM, "name": format!("Kim {MARKER}")}, {"id": LEE, "name": "Lee"}],
        "sender": {"email": address(), "name": MARKER}, "updateDate": written(day(-3))})
}

fn workspace() -> Workspace {
    Workspace::empty()
        .with("companies", vec![json!({"_id": ACME, "name": "Acme", "updatedAt": written(day(-3))})])
        .with("endusers", vec![kim(), lee()])
        .with("tickets", vec![ticket("Help")])
        .with("nps", vec![json!({"_id": "64b0000000000000000000e1", "euId": KIM, "email": address(), "score": 9, "dateAnswered": written(day(-3))})])
}

const OBJECTS: &str = "companies,endusers,tickets,nps";

async fn tool_for(simulator: &Simulator) -> (Tool, PgPool) {
    simulator.set_clock(day(0));
    let tool = Tool::for_workspace(simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", OBJECTS);
    let pool = PgPool::connect(&tool.database()).await.unwrap();
    (tool, pool)
}

async fn one(pool: &PgPool, sql: &'static str) -> String {
    sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(pool).await.unwrap().unwrap_or_default()
}

async fn assert_is_nowhere(pool: &PgPool, after: &str) {
    assert_eq!(places_of(pool, MARKER).await, Vec::<String>::new(), "after {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_forgotten_and_changes_nothing() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    let before = places_of(&pool, "").await;

    let said = tool.run(&["forget", "endusers", KIM, "--references"]);

    insta::assert_snapshot!(said.all(), @"
    exit 0
    endusers 64b000000000000000000001: 1 row and 1 action
    endusers: an id or address is in 1 row
    tickets: an id or address is in 1 row
    nps: an id or address is in 1 row and 1 action
    nothing was changed; --yes erases it for good
    ");
    assert_eq!(places_of(&pool, "").await, before);
    let found = tool.run(&["forget", "endusers", "--email", &address().to_uppercase()]);
    assert_eq!(found.code, 0);
    assert!(found.stdout.contains(KIM) && !found.stdout.contains(LEE), "{}", found.stdout);
    let nobody = tool.run(&["forget", "endusers", "--email", "nobody@acme.example"]);
    assert_eq!((nobody.code, nobody.stdout.as_str()), (0, "no record of endusers has this address, and nothing was changed\n"));
    assert_eq!(places_of(&pool, "").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_forgotten_is_nowhere_and_comes_back_with_no_run() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    simulator.edit("endusers", KIM, day(0), |kim| _ = kim.insert("position".into(), json!(format!("CEO {MARKER}"))));
    simulator.edit("tickets", "64b0000000000000000000f1", day(0), |ticket| _ = ticket.insert("title".into(), json!(address())));
    assert_eq!(tool.run(&["sync"]).code, 0);
    assert!(places_of(&pool, MARKER).await.len() > 8);

    let said = tool.run(&["forget", "endusers", KIM, "--references", "--yes"]);

    insta::assert_snapshot!(said.all(), @"
    exit 0
    endusers 64b000000000000000000001: 1 row and 2 actions
    endusers: id and addresses left out of 1 row
    tickets: id and addresses left out of 1 row and 1 action
    nps: id and addresses left out of 1 row and 1 action
    forgotten: no run stores them again, until `planhat-sync forget endusers ID --remember`
    old versions stay in the files of the database until `vacuum`, and in replicas, backups, exports and logs: see docs/privacy.md
    ");
    assert_is_nowhere(&pool, "forget").await;
    let ticket = "select concat_ws(' | ', planhat__email, planhat__description, planhat__endusers, planhat__sender, planhat__subject) from planhat.tickets";
    insta::assert_snapshot!(one(&pool, ticket).await, @r#"[forgotten] | From: <[forgotten]>: please call me | [{"id": "[forgotten]", "name": "[forgotten]"}, {"id": "64b000000000000000000002", "name": "Lee"}] | {"name": "[forgotten]", "email": "[forgotten]"} | Help"#);
    insta::assert_snapshot!(one(&pool, "select concat_ws(' ', planhat__eu_id, planhat__email, planhat__score) from planhat.nps").await, @"[forgotten] [forgotten] 9");
    // Whoever follows the timeline learns that she is gone, and nothing else.
    let told = "select string_agg(concat_ws(' ', kind, company_id, end_user_id, changes), ', ') from planhat.actions where record_id = '64b000000000000000000001'";
    assert_eq!(one(&pool, told).await, "deleted");
    let places = places_of(&pool, KIM).await;
    assert!(
        places.iter().all(|place| place.starts_with("planhat.actions") || place.starts_with("planhat.timeline")),
        "{places:?}"
    );

    let actions = one(&pool, "select count(*)::text from planhat.actions").await;
    for arguments in [
        &["sync", "--json"][..],
        &["sync", "--full", "--json"],
        &["backfill", "--all", "--json"],
        &["sync", "--full", "--dry-run", "--diff", "--json"],
    ] {
        let ran = tool.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.all());
        assert!(!ran.all().contains(MARKER), "{arguments:?}: {}", ran.all());
        let summary = ran.json();
        for object in summary["objects"].as_array().unwrap() {
            let figure = |name: &str| object[name].as_i64().unwrap();
            let parts = ["inserted", "updated", "restored", "unchanged", "outside_history", "quarantined", "forgotten"];
            assert_eq!(figure("fetched"), parts.iter().map(|name| figure(name)).sum::<i64>(), "{object}");
            assert_eq!((figure("updated"), figure("inserted")), (0, 0), "{arguments:?}: {object}");
            assert_eq!(figure("forgotten"), i64::from(object["object"] == "endusers"), "{object}");
        }
        assert_is_nowhere(&pool, &format!("{arguments:?}")).await;
    }
    assert_eq!(one(&pool, "select count(*)::text from planhat.actions").await, actions);

    // She changes, and what names her does.
    simulator.edit("endusers", KIM, day(0), |kim| _ = kim.insert("position".into(), json!(format!("COO {MARKER}"))));
    simulator.edit("tickets", "64b0000000000000000000f1", day(0), |ticket| {
        _ = ticket.insert("subject".into(), json!(format!("cc {}", address())))
    });
    for arguments in
        [&["sync"][..], &["sync", "--full"], &["retype", "endusers", "planhat__position", "jsonb"], &["sync", "--full"]]
    {
        assert_eq!(tool.run(arguments).code, 0, "{arguments:?}");
        assert_is_nowhere(&pool, &format!("{arguments:?}")).await;
    }
    assert_eq!(one(&pool, "select planhat__subject from planhat.tickets").await, "cc [forgotten]");
    assert_eq!(one(&pool, "select string_agg(planhat__id, ' ') from planhat.endusers").await, LEE);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_listed_and_remembered_when_somebody_says_so() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["forget", "--list"]).stdout, "nothing is forgotten\n");
    assert_eq!(tool.run(&["sync"]).code, 0);
    assert_eq!(tool.run(&["forget", "endusers", "--email", &address(), "--references", "--yes"]).code, 0);
    assert_eq!(tool.run(&["forget", "companies", "64b0000000000000000000ff", "--yes"]).code, 0);

    let listed = tool.run(&["forget", "--list", "--json"]).json();
    let objects: Vec<_> =
        listed["objects"].as_array().unwrap().iter().map(|of| (of["object"].clone(), of["records"].clone())).collect();
    assert_eq!(objects, [(json!("companies"), json!(1)), (json!("endusers"), json!(1))]);
    assert!(!tool.run(&["forget", "--list"]).stdout.contains(KIM));
    let these = tool.run(&["forget", "--list", "endusers", KIM, LEE]).stdout;
    assert!(
        these.starts_with(&format!("{KIM}: forgotten since ")) && these.ends_with(&format!("{LEE}: not forgotten\n")),
        "{these}"
    );

    let unknown = tool.run(&["forget", "endusers", LEE, "--remember"]);
    assert_eq!((unknown.code, unknown.stderr.lines().next()), (2, Some(&*format!("error: not forgotten: {LEE}"))));
    let said = tool.run(&["forget", "endusers", KIM, "--remember"]);
    insta::assert_snapshot!(said.all(), @"
    exit 0
    1 record is no longer forgotten; `planhat-sync sync --full endusers` or `planhat-sync backfill endusers --all` stores what Planhat has of them; references in other records come back when those are next compared (`sync --full`)
    ");
    assert_eq!(tool.run(&["sync", "--full"]).code, 0);
    assert_eq!(
        one(&pool, "select planhat__email from planhat.endusers where planhat__id = '64b000000000000000000001'").await,
        address()
    );
    assert_eq!(one(&pool, "select planhat__email from planhat.tickets").await, address());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_in_quarantine_is_forgotten_with_its_text_and_not_tried_again() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    let rule = "alter table planhat.endusers add constraint ours check (planhat__name !~ 'Kim') not valid;
        delete from planhat.endusers; delete from planhat.actions";
    sqlx::raw_sql(rule).execute(&pool).await.unwrap();
    assert_eq!(tool.run(&["sync", "--full"]).code, 3);
    assert!(one(&pool, "select string_agg(reason, ' ') from planhat_sync.object_runs").await.contains(KIM));

    assert_eq!(tool.run(&["forget", "endusers", KIM, "--references", "--yes"]).code, 0);

    assert_is_nowhere(&pool, "forget").await;
    assert_eq!(places_of(&pool, KIM).await, Vec::<String>::new());
    sqlx::raw_sql("alter table planhat.endusers drop constraint ours").execute(&pool).await.unwrap();
    for arguments in [&["quarantine", "retry"][..], &["sync"], &["sync", "--full"]] {
        assert_eq!(tool.run(arguments).code, 0, "{arguments:?}");
        assert_is_nowhere(&pool, &format!("{arguments:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_references_only_the_record_itself_goes() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);

    assert_eq!(tool.run(&["forget", "endusers", KIM, "--yes"]).code, 0);
    assert_eq!(tool.run(&["sync", "--full"]).code, 0);

    assert_eq!(one(&pool, "select planhat__email from planhat.tickets").await, address());
    assert_eq!(one(&pool, "select string_agg(planhat__id, ' ') from planhat.endusers").await, LEE);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_was_never_stored_is_forgotten_before_the_first_sync() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;

    let said = tool.run(&["forget", "endusers", KIM, "--email", &address(), "--references", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.all());
    assert!(said.stdout.contains("nothing is stored of it"), "{}", said.stdout);
    assert_eq!(tool.run(&["sync"]).code, 0);

    assert_eq!(one(&pool, "select string_agg(planhat__id, ' ') from planhat.endusers").await, LEE);
    assert_eq!(one(&pool, "select planhat__email from planhat.tickets").await, "[forgotten]");
    assert_eq!(one(&pool, "select count(*)::text from planhat.actions where record_id = '64b000000000000000000001'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_forgotten_is_said_before_anything_is_done() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, _) = tool_for(&simulator).await;
    for (arguments, expected) in [
        (&["forget", "endusers", "kim@acme.example", "--yes"][..], "error: \"kim@acme.example\" is an address and no id"),
        (&["forget", "endusers", "", "--yes"], "error: an id is empty"),
        (&["forget", "endusers", "--yes"], "error: no record is named"),
        (&["forget", "contactz", KIM, "--yes"], "error: "),
    ] {
        let ran = tool.run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.all());
        assert!(ran.stderr.starts_with(expected), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(tool.run(&["forget"]).code, 2);
}

/// A run of another process holds the lease.
async fn lease_is_held(pool: &PgPool) {
    let held = "with run as (insert into planhat_sync.runs (workspace, command, status, version) values ('planhat', 'sync', 'running', '1') returning id)
        insert into planhat_sync.leases (workspace, run_id, holder, process) select 'planhat', id, 'somebody', '' from run";
    sqlx::raw_sql(held).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_sync_is_at_work_nothing_is_forgotten_or_masked() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (tool, pool) = tool_for(&simulator).await;
    let mut tool = tool.set("PLANHAT_SYNC__OBJECTS__ENDUSERS__EXCLUDE", "phone");
    assert_eq!(tool.run(&["sync"]).code, 0);
    lease_is_held(&pool).await;

    assert_eq!(tool.run(&["forget", "endusers", KIM, "--yes"]).code, 75);
    assert_eq!(tool.run(&["privacy", "apply", "--yes"]).code, 75);

    assert_eq!(one(&pool, "select count(*)::text from planhat_sync.forgotten").await, "0");
    // Looking needs no lease.
    assert_eq!(tool.run(&["forget", "endusers", KIM]).code, 0);
    assert_eq!(tool.run(&["privacy", "apply"]).code, 0);
}

#[tokio::test]
async fn a_scan_that_was_stopped_resumes_without_who_was_forgotten_meanwhile() {
    let many = |number: usize| json!({"_id": format!("{number:024}"), "name": format!("{MARKER} {number}"), "updatedAt": written(day(-30))});
    let mut sync = TestSync::new(Workspace::empty().with("projects", (0..500).map(many).collect())).await;
    sync.sync_one("projects").await;
    let (stop, mut calls) = (sync.stop.clone(), 0);
    sync.simulator.on_request(move |_, path| {
        calls += u32::from(path == "projects");
        if calls == 3 {
            stop.cancel();
        }
    });
    assert_eq!(sync.full_sync_one("projects").await.run.status, ObjectStatus::Interrupted);
    sync.simulator.clear_faults();
    sync.stop = tokio_util::sync::CancellationToken::new();
    let overlap = sync.one("select overlap_id from planhat_sync.scans where scan = 'full'").await;
    assert!(!overlap.is_empty());
    let url = sync.store.pool().connect_options().to_url_lossy().to_string();
    let mut tool = Tool::new().set("DATABASE_URL", &url);
    let listed_and_not_listed = [format!("{:024}", 7), format!("{:024}", 490), overlap];
    let ids: Vec<&str> = listed_and_not_listed.iter().map(String::as_str).collect();

    let said = tool.run(&[&["forget", "projects", "--yes"][..], &ids].concat());
    assert_eq!(said.code, 0, "{}", said.all());
    let full = sync.full_sync_one("projects").await;

    assert_eq!(full.run.status, ObjectStatus::Succeeded, "{:?}", full.run.reason);
    assert_eq!(full.run.figures.deleted, 0);
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "497");
    for id in ids {
        let places = places_of(sync.store.pool(), id).await;
        assert!(places.iter().all(|place| place.contains("deleted")), "{places:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_pauses_for_it_goes_on_without_who_was_forgotten() {
    let many = |number: usize| json!({"_id": format!("{number:024}"), "name": format!("{MARKER} {number}")});
    let sync = TestSync::new(Workspace::empty().with("projects", (0..2000).map(many).collect())).await;
    let begun = Arc::new(Notify::new());
    let hook = Arc::clone(&begun);
    sync.simulator.on_request(move |_, path| {
        if path == "projects" {
            hook.notify_one();
        }
    });
    let objects = [catalog::object("projects").unwrap()];
    let everything = Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: None });
    let request = RunRequest { command: "backfill", ..sync.request(everything, &objects) };
    let url = sync.store.pool().connect_options().to_url_lossy().to_string();
    let tool = Tool::new().set("DATABASE_URL", &url);
    let (first, last) = (format!("{:024}", 0), format!("{:024}", 1999));
    let client = sync.client();

    let (backfill, code) = tokio::join!(sync.run_of(&client, &request), async {
        in_time("the first page", begun.notified()).await;
        let mut forget = tool.command(&["forget", "projects", &first, &last, "--yes"]).stdout(Stdio::null()).spawn().unwrap();
        ended(&mut forget).await
    });

    assert_eq!((backfill.unwrap().status.as_str(), code), ("succeeded", Some(0)));
    assert_eq!(
        sync.one("select count(*)::text from planhat.projects where planhat__id in (lpad('', 24, '0'), lpad('1999', 24, '0'))")
            .await,
        "0"
    );
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "1998");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_daemon_who_is_forgotten_stays_forgotten() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let mut tool = daemon_tool(&simulator, "* * * * * *").await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", OBJECTS);
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    // Her addresses are those of her row, so it has to be there.
    daemon.until("run 1 succeeded");
    // Between two runs of the daemon, or else it says 75.
    let forget = ["forget", "endusers", KIM, "--references", "--yes"];
    eventually("a pause between two runs", async || tool.run(&forget).code != 75).await;
    let pool = PgPool::connect(&tool.database()).await.unwrap();
    for _ in 0..3 {
        simulator
            .edit("endusers", KIM, chrono::Utc::now(), |kim| _ = kim.insert("position".into(), json!(format!("CEO {MARKER}"))));
        daemon.until("the next run is due");
    }
    assert_is_nowhere(&pool, "runs of the daemon").await;
    assert_eq!(one(&pool, "select string_agg(planhat__id, ' ') from planhat.endusers").await, LEE);
    daemon.signal("TERM");
    assert!(matches!(daemon.end().0, Some(0 | 143)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forget_that_is_killed_half_way_is_finished_by_the_next() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    // It cannot go on behind the first of the other tables.
    let mut lock = pool.begin().await.unwrap();
    sqlx::raw_sql("lock table planhat.nps").execute(&mut *lock).await.unwrap();
    let mut command = tool.command(&["forget", "endusers", KIM, "--references", "--yes"]);
    let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waits = "select count(*)::text from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("the lock", async || one(&pool, waits).await != "0").await;
    process.kill().unwrap();
    assert_eq!(ended(&mut process).await, None);
    lock.rollback().await.unwrap();
    let half = tool.run(&["forget", "--list", "endusers", KIM]).stdout;
    assert!(half.contains("not all of it is erased"), "{half}");

    assert_eq!(tool.run(&["forget", "endusers", KIM, "--references", "--yes"]).code, 0);

    assert_is_nowhere(&pool, "the second").await;
    assert_eq!(tool.run(&["sync", "--full"]).code, 0);
    assert_is_nowhere(&pool, "a sync").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_somebody_had_before_is_left_out_of_other_records_too() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (mut tool, pool) = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    simulator.edit("endusers", KIM, day(0), |kim| {
        kim.insert("email".into(), json!("kim@elsewhere.example"));
        kim.remove("otherEmails");
    });
    assert_eq!(tool.run(&["sync"]).code, 0);

    let said = tool.run(&["forget", "endusers", KIM, "--references", "--yes"]);

    assert_eq!(said.code, 0, "{}", said.all());
    for after in ["forget", "a full sync"] {
        assert_is_nowhere(&pool, after).await;
        assert_eq!(tool.run(&["sync", "--full"]).code, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_hash_rule_somebody_is_found_and_left_out_by_the_hash() {
    let simulator = Simulator::start(workspace(), Options::default()).await.unwrap();
    let (tool, pool) = tool_for(&simulator).await;
    let mut tool = tool
        .set("PLANHAT_SYNC__PRIVACY__HASH_KEY", "a key of these tests alone")
        .set("PLANHAT_SYNC__OBJECTS__ENDUSERS__HASH", "email")
        .set("PLANHAT_SYNC__OBJECTS__NPS__HASH", "email");
    assert_eq!(tool.run(&["sync"]).code, 0);
    let hash = one(&pool, "select planhat__email from planhat.nps").await;
    assert_eq!(hash.len(), 64);

    let by_id = tool.run(&["forget", "endusers", KIM, "--references"]);
    assert!(by_id.stdout.contains("give: --email ADDRESS"), "the row has no address to search for: {}", by_id.all());
    let said = tool.run(&["forget", "endusers", "--email", &address(), "--references", "--yes"]);
    assert!(said.stdout.contains(KIM), "{}", said.all());

    for _ in 0..2 {
        assert_eq!(places_of(&pool, &hash).await, Vec::<String>::new());
        assert_is_nowhere(&pool, "forget").await;
        let full = tool.run(&["sync", "--full", "--json"]).json();
        assert!(full["objects"].as_array().unwrap().iter().all(|of| of["updated"] == 0), "{full}");
    }
}
