//! Records that cannot be stored: counted once, limited in number and size, and stopped by the rejection guard when the API
//! has changed. The declarations of custom fields, without which no type is decided. And dry runs, which count each record once too.

use std::time::Duration;

use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::rules::FieldMap;
use planhat_model::rules::{Rule, Rules};
use planhat_model::scan::History;
use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use planhat_store::{ObjectStatus, RunStatus};
use planhat_sync::pull::{Mode, RejectionGuard};
use serde_json::{Value, json};

use crate::cli::{Tool, simulator};
use crate::harness::{TestSync, day, written};

fn good(ids: std::ops::Range<usize>) -> Vec<Value> {
    ids.map(|number| json!({"_id": format!("{number:06}"), "name": format!("Project {number}")})).collect()
}

/// The same without what tells them.
fn bad(ids: std::ops::Range<usize>) -> Vec<Value> {
    ids.map(|number| json!({"name": format!("Project {number}")})).collect()
}

/// In the order in which they are given.
async fn sync_of(object: &str, records: Vec<Value>) -> TestSync {
    TestSync::with(Workspace::empty().with(object, records), in_order()).await
}

fn in_order() -> Options {
    Options { honours_sort: false, ..Options::default() }
}

/// From now on Planhat has these.
async fn stop_rejecting(sync: &mut TestSync, object: &str, records: Vec<Value>) {
    sync.simulator = Simulator::start(Workspace::empty().with(object, records), in_order()).await.unwrap();
    // It is the same workspace, though it listens elsewhere here.
    sqlx::query("update planhat_sync.workspaces set host = $1")
        .bind(sync.simulator.url().trim_end_matches('/'))
        .execute(sync.store.pool())
        .await
        .unwrap();
}

const IN_QUARANTINE: &str = "select count(*)::text from planhat_sync.quarantine";

#[tokio::test]
async fn an_api_without_ids_fails_the_object_and_every_record_is_stored_once_ids_are_back() {
    for (page_size, before, most_kept) in [(2000, 0, 0), (100, 0, 0), (100, 150, 100), (30, 150, 100)] {
        let records = [good(0..before), bad(before..1_200)].concat();
        let mut sync = sync_of("projects", records).await;
        sync.limits.pages.size = RowsPerPage::Fixed(page_size);

        for _ in 0..2 {
            let failed = sync.sync_one("projects").await;
            let reason = failed.run.reason.unwrap();
            assert_eq!(failed.run.status, ObjectStatus::Failed, "{reason}");
            assert!(reason.contains("were rejected: no _id; the API may have changed"), "{reason}");
            let kept: i64 = sync.one(IN_QUARANTINE).await.parse().unwrap();
            assert!(kept <= most_kept, "{kept} of pages of {page_size}");
            assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors").await, "0");
            assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
        }
        stop_rejecting(&mut sync, "projects", good(0..1_200)).await;

        let healed = sync.sync_one("projects").await;

        assert_eq!((healed.run.status, healed.run.figures.inserted), (ObjectStatus::Succeeded, 1_200 - before as i64));
        sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
        assert_eq!(sync.one(IN_QUARANTINE).await, "0");
    }
}

#[tokio::test]
async fn records_rejected_during_an_api_fault_are_stored_by_the_next_sync_even_before_the_watermark() {
    let project = |number: usize, days: i64| json!({"_id": format!("{number:06}"), "updatedAt": written(day(days)), "n": days});
    let mut sync = sync_of("projects", (0..400).map(|number| project(number, -30)).collect()).await;
    sync.sync_one("projects").await;
    let watermark = sync.one("select watermark::text from planhat_sync.cursors").await;
    let changed = || (0..400).map(|number| project(number, if number % 2 == 0 { 0 } else { -30 }));
    let without_ids = changed().map(|mut project| {
        project.as_object_mut().unwrap().remove("_id");
        project
    });
    stop_rejecting(&mut sync, "projects", without_ids.collect()).await;
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Failed);
    assert_eq!(sync.one("select watermark::text from planhat_sync.cursors").await, watermark);
    stop_rejecting(&mut sync, "projects", changed().collect()).await;

    let healed = sync.sync_one("projects").await;

    assert_eq!((healed.run.status, healed.run.figures.updated), (ObjectStatus::Succeeded, 200));
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

#[tokio::test]
async fn a_quarantined_record_is_stored_once_it_can_be_even_if_it_is_older_than_the_history_by_then() {
    let mut sync = sync_of("tasks", good(0..1)).await;
    sync.sync_one("tasks").await;
    let constraint = "alter table planhat.tasks add constraint ours check (planhat__id <> 'a')";
    sqlx::raw_sql(constraint).execute(sync.store.pool()).await.unwrap();
    sync.simulator.add("tasks", json!({"_id": "a", "updatedAt": written(day(-30))}));
    assert_eq!(sync.sync_one("tasks").await.run.figures.quarantined, 1);
    sync.limits.history = History::Within(Duration::from_secs(10 * 24 * 3600));
    sqlx::raw_sql("alter table planhat.tasks drop constraint ours").execute(sync.store.pool()).await.unwrap();

    let full = sync.full_sync_one("tasks").await;

    assert_eq!((full.run.figures.inserted, full.run.figures.quarantined), (1, 0));
    assert_eq!(sync.one("select count(*)::text from planhat_sync.quarantine").await, "0");
}

#[tokio::test]
async fn a_database_constraint_that_refuses_every_row_fails_the_object() {
    let mut sync = sync_of("projects", good(0..1)).await;
    sync.sync_one("projects").await;
    sqlx::raw_sql("alter table planhat.projects add constraint ours check (planhat__name = 'Project 0')")
        .execute(sync.store.pool())
        .await
        .unwrap();
    stop_rejecting(&mut sync, "projects", good(0..1_200)).await;

    let failed = sync.sync_one("projects").await;

    let reason = failed.run.reason.unwrap();
    assert!(
        reason.contains("were rejected: refused by PostgreSQL (23514); a database constraint or trigger has changed"),
        "{reason}"
    );
    let kept: i64 = sync.one(IN_QUARANTINE).await.parse().unwrap();
    assert!((99..=300).contains(&kept), "{kept}");
    sqlx::raw_sql("alter table planhat.projects drop constraint ours").execute(sync.store.pool()).await.unwrap();
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    assert_eq!(sync.one(IN_QUARANTINE).await, "0");
}

#[tokio::test]
async fn a_small_object_fails_only_if_all_of_several_records_are_rejected_end_to_end() {
    for (bad_ones, good_ones, percent, expected) in [
        (3, 0, 20, ObjectStatus::Failed),
        (2, 0, 20, ObjectStatus::Partial),
        (50, 1, 20, ObjectStatus::Partial),
        (3, 0, 100, ObjectStatus::Partial),
    ] {
        let mut sync = sync_of("projects", [bad(0..bad_ones), good(0..good_ones)].concat()).await;
        sync.limits.rejections = RejectionGuard { percent, rows: 100 };

        let summary = sync.run(Mode::Incremental, &[catalog::object("projects").unwrap()]).await;

        assert_eq!(summary.objects[0].run.status, expected, "{bad_ones} bad, {good_ones} good");
        let moved = sync.one("select count(*)::text from planhat_sync.cursors").await;
        assert_eq!(moved == "0", expected == ObjectStatus::Failed);
    }
}

#[tokio::test]
async fn two_rejected_records_listed_twice_do_not_fail_a_small_object() {
    let sync = sync_of("endusers", bad(0..2)).await;

    let summary = sync.sync_one("endusers").await;

    assert_eq!((summary.run.status, summary.run.figures.quarantined), (ObjectStatus::Partial, 2), "{:?}", summary.run.reason);
}

#[tokio::test]
async fn a_full_scan_stopped_by_the_rejection_guard_is_followed_by_an_incremental_scan() {
    let company = |number: usize, days: i64| json!({"_id": format!("{number:06}"), "lastTouch": written(day(-30)), "updatedAt": written(day(days)), "n": days});
    let mut sync =
        TestSync::new(Workspace::empty().with("companies", (0..300).map(|number| company(number, -30)).collect())).await;
    sync.limits.pages.size = RowsPerPage::Fixed(20);
    sync.sync_one("companies").await;
    // A week later many come without an id, and one is edited.
    sync.now = day(8);
    let mut companies: Vec<Value> = (0..300).map(|number| company(number, if number == 299 { 8 } else { -30 })).collect();
    for company in companies.iter_mut().filter(|company| company["_id"].as_str().unwrap().ends_with(['0', '1', '2', '3'])) {
        company.as_object_mut().unwrap().remove("_id");
    }
    sync.simulator = Simulator::start(Workspace::empty().with("companies", companies), Options::default()).await.unwrap();

    let failed = sync.sync_one("companies").await;

    assert_eq!(failed.run.status, ObjectStatus::Failed);
    assert_eq!(sync.one("select planhat__n::text from planhat.companies where planhat__id = '000299'").await, "8");
}

#[tokio::test]
async fn a_record_listed_twice_is_counted_once_everywhere() {
    let users = (0..50).map(|number| json!({"_id": format!("u{number:02}"), "archived": number % 5 == 0}));
    let bad_ones = (0..13).map(|number| json!({"name": format!("nobody {number}")}));
    let sync = sync_of("endusers", users.chain(bad_ones).collect()).await;

    let first = sync.run(Mode::Incremental, &[catalog::object("endusers").unwrap()]).await;

    let run = &first.objects[0].run;
    assert_eq!((first.status, run.status, run.figures.quarantined), (RunStatus::Partial, ObjectStatus::Partial, 13));
    assert!(run.figures.listed_again > 0, "they were listed twice");
    assert_eq!(run.reason.as_deref(), Some("13 records of endusers could not be stored and are in quarantine: no _id"));
    assert_eq!(run.hint.as_deref(), Some("`planhat-sync quarantine` shows why"));
    assert_eq!(sync.one(IN_QUARANTINE).await, "13");
    assert_eq!(sync.one("select quarantined::text from planhat_sync.object_runs").await, "13");
    assert_eq!(sync.one("select reason from planhat_sync.runs").await, run.reason.as_deref().unwrap());
    let again = sync.full_sync_one("endusers").await;
    assert_eq!((again.run.figures.quarantined, sync.one(IN_QUARANTINE).await.as_str()), (13, "13"));
}

#[tokio::test]
async fn a_run_keeps_a_limited_number_of_texts_of_limited_length() {
    let mut records = [good(0..20), bad(0..5)].concat();
    records.insert(0, json!({"name": "é".repeat(200_000)}));
    let mut sync = sync_of("projects", records).await;
    sync.limits.quarantine_rows = 3;

    for _ in 0..2 {
        let summary = sync.sync_one("projects").await;
        assert_eq!((summary.run.status, summary.run.figures.quarantined), (ObjectStatus::Partial, 6));
        let kept = "select string_agg(line, E'\\n' order by line) from
            (select count(*) || ' ' || substr(raw, 1, 50) as line from planhat_sync.quarantine group by substr(raw, 1, 50)) as lines";
        let kept = sync.one(kept).await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(kept, @r#"
            1 (the first 131071 of 400011 bytes) {"name":"éééééé
            1 {"name":"Project 0"}
            1 {"name":"Project 1"}
            3 (not kept: 20 bytes; a run keeps the texts of at m
            "#);
        }
    }
}

#[tokio::test]
async fn masked_records_without_an_id_keep_separate_entries_that_are_the_same_every_day() {
    let contacts = vec![
        json!({"_id": "a"}),
        json!({"email": "kim@acme.example"}),
        json!({"email": "lee@acme.example"}),
        json!("kim@acme.example"),
        json!("lee@bolt.example"),
    ];
    let mut sync = sync_of("endusers", contacts).await;
    let mut said = FieldMap::default();
    said.insert("email", Rule::Exclude);
    let rules = Rules::new(said, None).with_identity_key(Some(&"the token".into()));
    sync.limits.rules.insert("endusers", rules);

    for days in 0..10 {
        sync.now = day(days);
        assert_eq!(sync.sync_one("endusers").await.run.figures.quarantined, 4);
        assert_eq!(sync.one(IN_QUARANTINE).await, "4");
    }
    let all = sync.one("select string_agg(quarantine::text, ' ') from planhat_sync.quarantine").await;
    assert!(!all.contains("acme") && !all.contains("bolt"), "{all}");
    let plain =
        [r#"{"email":"kim@acme.example"}"#, "\"kim@acme.example\""].map(|text| xxhash_rust::xxh3::xxh3_64(text.as_bytes()));
    assert!(plain.iter().all(|hash| !all.contains(&hash.cast_signed().to_string())), "{all}");
}

#[tokio::test]
async fn quarantining_a_page_is_one_statement_that_does_not_scan_the_whole_quarantine() {
    // The good ones fill the first page.
    let mut sync = sync_of("projects", [good(0..1_024), bad(0..1_000)].concat()).await;
    sync.limits.pages.size = RowsPerPage::Fixed(2_000);
    sync.limits.rejections = RejectionGuard { percent: 100, rows: 100 };
    sync.sync_one("companies").await;
    sync.do_at_once(&[
        "insert into planhat_sync.quarantine (workspace, object, run_id, record_id, reason, raw, raw_hash)
         select 'planhat', 'companies', 1, 'c' || n, 'no _id', '{\"x\": 1}', n from generate_series(1, 100000) as n",
        "create table public.statements (of text)",
        "create function public.note() returns trigger language plpgsql as
         $$ begin insert into public.statements values (tg_op); return null; end $$",
        "create trigger note after insert or update or delete on planhat_sync.quarantine for each statement execute function public.note()",
    ])
    .await;
    sqlx::raw_sql("analyze planhat_sync.quarantine").execute(sync.store.pool()).await.unwrap();
    let read =
        "select (seq_tup_read)::text from pg_stat_user_tables where schemaname = 'planhat_sync' and relname = 'quarantine'";
    // What a connection has read is on record when it is closed.
    sync.reconnect().await;
    let before: i64 = sync.one(read).await.parse().unwrap();

    let summary = sync.sync_one("projects").await;

    assert_eq!(summary.run.figures.quarantined, 1_000);
    let inserts = "select count(*) filter (where of = 'INSERT')::text from public.statements";
    assert_eq!(sync.one(inserts).await, "1");
    // Now each of them is known when its page is stored, and a run that is forgotten is looked for.
    sqlx::raw_sql("update planhat_sync.quarantine set record_id = lpad(id::text, 6, '0') where workspace = 'planhat' and object = 'projects'")
        .execute(sync.store.pool())
        .await
        .unwrap();
    sync.full_sync_one("projects").await;
    sqlx::raw_sql("insert into planhat_sync.runs (workspace, command, status, version) values ('planhat', 'x', 'failed', ''); delete from planhat_sync.runs where command = 'x'").execute(sync.store.pool()).await.unwrap();
    sync.reconnect().await;
    let after: i64 = sync.one(read).await.parse().unwrap();
    assert!(after - before < 100_000, "{before} and then {after} rows were read one after the other");
}

#[tokio::test]
async fn an_existing_quarantine_entry_is_updated_and_keeps_first_seen_at() {
    let sync = sync_of("projects", [good(0..3), bad(0..2)].concat()).await;
    sync.sync_one("projects").await;
    let since = "select string_agg(first_seen_at::text || id, ' ' order by id) from planhat_sync.quarantine";
    let before = sync.one(since).await;
    sync.full_sync_one("projects").await;
    assert_eq!(sync.one(since).await, before);
    assert_eq!(sync.one("select string_agg(distinct run_id::text, ' ') from planhat_sync.quarantine").await, "2");
}

/// Three companies of which one has a tier that a rule of the database refuses, and three users of whom one is nobody.
async fn with_some_in_quarantine() -> (Simulator, Tool) {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users");
    tool = tool.set("PLANHAT_SYNC__SYNC__CONCURRENCY", "1");
    assert_eq!(tool.run(&["sync"]).code, 0);
    execute(&tool, "alter table planhat.companies add constraint ours check (planhat__name <> E'\\x1b[31mRed\\n')").await;
    simulator.edit("companies", "c1", chrono::Utc::now(), |company| _ = company.insert("name".into(), json!("\u{1b}[31mRed\n")));
    simulator.add("users", json!({"email": "nobody@example.org"}));
    assert_eq!(tool.run(&["sync"]).code, 3);
    (simulator, tool)
}

async fn execute(tool: &Tool, sql: &'static str) {
    use sqlx::Connection as _;
    let mut db = sqlx::PgConnection::connect(&tool.database()).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_list_and_show_need_no_token_and_print_no_control_characters() {
    let (_simulator, tool) = with_some_in_quarantine().await;
    let mut tool = tool.unset("PLANHAT_API_TOKEN");

    let list = tool.run(&["quarantine"]);
    insta::with_settings!({filters => vec![(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "INSTANT                ")]}, {
        insta::assert_snapshot!(list.all(), @r#"
        exit 0
        ┌───────────┬───────────────────────────────┬─────────────────────────┬─────────────────────────┬─────────┐
        │ object    ┆ reason                        ┆ oldest                  ┆ newest                  ┆ records │
        ╞═══════════╪═══════════════════════════════╪═════════════════════════╪═════════════════════════╪═════════╡
        │ companies ┆ refused by PostgreSQL (23514) ┆ INSTANT                 ┆ INSTANT                 ┆       1 │
        │ users     ┆ no _id                        ┆ INSTANT                 ┆ INSTANT                 ┆       1 │
        └───────────┴───────────────────────────────┴─────────────────────────┴─────────────────────────┴─────────┘
        ┌────┬───────────┬────────┬───────────────────────────────────────────────────────────────────────────┬─────────────────────────┐
        │ id ┆ object    ┆ record ┆ reason                                                                    ┆ since                   │
        ╞════╪═══════════╪════════╪═══════════════════════════════════════════════════════════════════════════╪═════════════════════════╡
        │ 2  ┆ users     ┆        ┆ no _id                                                                    ┆ INSTANT                 │
        │ 1  ┆ companies ┆ c1     ┆ new row for relation "companies" violates check constraint "ours" (23514) ┆ INSTANT                 │
        └────┴───────────┴────────┴───────────────────────────────────────────────────────────────────────────┴─────────────────────────┘
        a sync tries to store a record again whenever Planhat lists it. `planhat-sync quarantine show ID` prints the text of a record; `planhat-sync quarantine retry` tries the kept texts again now, without Planhat
        "#);
    });
    assert_eq!(tool.run(&["quarantine", "list", "companies", "--json"]).json()["entries"][0]["record_id"], "c1");
    let one = tool.run(&["quarantine", "--limit", "1"]);
    assert!(one.stdout.contains("and 1 more; --limit lists more of them"), "{}", one.all());

    let json = tool.run(&["quarantine", "list", "companies", "--json"]).json();
    let id = json["entries"][0]["id"].to_string();
    let shown = tool.run(&["quarantine", "show", &id]);
    assert_eq!((shown.code, shown.stdout.lines().count()), (0, 3), "{}", shown.all());
    assert!(!shown.stdout.contains('\u{1b}') && shown.stdout.contains(r"\u001b[31mRed\n"), "{}", shown.all());
    let raw = tool.run(&["quarantine", "show", &id, "--json"]).json()["raw"].as_str().unwrap().to_owned();
    assert_eq!(serde_json::from_str::<Value>(&raw).unwrap()["name"], "\u{1b}[31mRed\n");
    let missing = tool.run(&["quarantine", "show", "4711"]);
    assert!(missing.code == 2 && missing.stderr.contains("the quarantine has no entry 4711"), "{}", missing.all());
    // The same in `status`, `runs` and the run.
    let status = tool.run(&["status"]).stdout;
    assert!(
        status
            .contains("companies partial: 1 record of companies could not be stored and is in quarantine: refused by PostgreSQL (23514); ids: c1"),
        "{status}"
    );
    assert!(tool.run(&["runs"]).stdout.contains("1 record of companies could not be stored"));
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_retry_stores_records_once_the_constraint_that_refused_them_is_dropped() {
    let (simulator, mut tool) = with_some_in_quarantine().await;
    let refused = tool.run(&["quarantine", "retry"]);
    insta::assert_snapshot!(refused.all(), @"
    exit 3
    companies: stored 0 records; PostgreSQL refused 1 again; 1 record is left in quarantine
    users: stored 0 records; 1 record is left in quarantine. A record without an id or a complete text cannot be tried without Planhat; the next sync tries it
    ");
    execute(&tool, "alter table planhat.companies drop constraint ours").await;

    let stored = tool.run(&["quarantine", "retry", "companies"]);

    assert_eq!((stored.code, stored.stdout.as_str()), (0, "companies: stored 1 record\n"), "{}", stored.all());
    assert_eq!(tool.run(&["actions", "--object", "companies", "--kind", "updated", "--json"]).json()["record_id"], "c1");
    let users = tool.run(&["quarantine", "retry", "users"]);
    assert!(
        users.code == 3
            && users.stdout.contains("users: stored 0 records; 1 record is left in quarantine. A record without an id"),
        "{}",
        users.all()
    );
    drop(simulator);
    assert_eq!(tool.run(&["runs", "--count", "1", "--json"]).json()[0]["status"], "partial");
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_retry_keeps_new_custom_fields_in_overflow_until_the_next_sync() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies");
    tool.run(&["sync"]);
    execute(&tool, "alter table planhat.companies add constraint ours check (planhat__name <> 'odd')").await;
    simulator.add("customfields", json!({"_id": "f", "parent": "Company", "name": "Since", "type": "day"}));
    let odd = |company: &mut serde_json::Map<String, Value>| {
        company.insert("name".into(), json!("odd"));
        company.insert("custom".into(), json!({"Since": "2024-01-31"}));
    };
    simulator.edit("companies", "c1", chrono::Utc::now(), odd);
    assert_eq!(tool.run(&["sync"]).code, 3);
    // As if the column had not been made with the page.
    execute(&tool, "alter table planhat.companies drop column planhat__since__custom; delete from planhat_sync.columns where planhat_name = 'Since'; alter table planhat.companies drop constraint ours").await;
    assert_eq!(tool.run(&["quarantine", "retry"]).code, 0);

    assert_eq!(tool.run(&["sync"]).code, 0);

    let schema = tool.run(&["schema", "companies", "--json"]).json();
    let column =
        schema[0]["columns"].as_array().unwrap().iter().find(|column| column["planhat_name"] == "Since").unwrap().clone();
    assert_eq!(column["type"], "timestamptz");
    execute(&tool, "do $$ begin assert (select planhat__since__custom is not null and _overflow is null from planhat.companies where planhat__id = 'c1'); end $$").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_quarantine_entry_comes_back_when_its_record_is_listed_again() {
    let (_simulator, mut tool) = with_some_in_quarantine().await;
    let id = tool.run(&["quarantine", "list", "users", "--json"]).json()["entries"][0]["id"].to_string();

    let dropped = tool.run(&["quarantine", "drop", &id, "4711"]);

    assert_eq!(dropped.code, 2, "{}", dropped.all());
    assert_eq!(
        dropped.stdout,
        "deleted 1 record; a record that Planhat lists again and that still cannot be stored comes back\n"
    );
    assert!(dropped.stderr.contains("the quarantine has no entry 4711"), "{}", dropped.all());
    assert_eq!(tool.run(&["quarantine", "list", "users"]).stdout, "nothing is in quarantine\n");
    tool.run(&["sync", "users"]);
    assert_eq!(tool.run(&["quarantine", "list", "users", "--json"]).json()["entries"].as_array().unwrap().len(), 1);
}

fn seats_workspace() -> Workspace {
    let declared = vec![json!({"_id": "f", "parent": "Project", "name": "Seats", "type": "number"})];
    // By its value alone this would be a text.
    Workspace::empty().with("customfields", declared).with("projects", vec![json!({"_id": "a", "custom": {"Seats": ""}})])
}

const SEATS: &str = "select string_agg(type, ' ') from planhat_sync.columns where planhat_name = 'Seats'";

#[tokio::test]
async fn temporarily_unreadable_declarations_fail_a_first_load_and_decide_no_type() {
    let broken = ScriptedAnswer::text(200, "application/json", "[{\"_id\":");
    for answer in [ScriptedAnswer::status(500), ScriptedAnswer::status(400), broken] {
        let sync = TestSync::new(seats_workspace()).await;
        sync.simulator.answer_next("customfields", vec![answer.clone(); 4]);

        let failed = sync.sync_one("projects").await;

        let reason = failed.run.reason.unwrap();
        assert_eq!(failed.run.status, ObjectStatus::Failed, "{reason}");
        assert!(
            reason.starts_with("could not read the declared types of the custom fields of projects: /customfields"),
            "{reason}"
        );
        assert_eq!(sync.one("select to_regclass('planhat.projects')::text").await, "");
        let readable = "select (last_readable_at is not null)::text from planhat_sync.object_states";
        assert_eq!(sync.one(readable).await, "true", "Planhat has let it be read");
        sync.simulator.clear_faults();
        assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
        assert_eq!(sync.one(SEATS).await, "numeric");
    }
}

#[tokio::test]
async fn types_are_inferred_from_values_if_the_token_may_not_read_declarations() {
    for status in [403, 404] {
        let sync = TestSync::new(seats_workspace()).await;
        sync.simulator.answer_next("customfields", vec![ScriptedAnswer::status(status)]);
        assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
        assert_eq!(sync.one(SEATS).await, "text");
    }
}

#[tokio::test]
async fn a_new_custom_field_without_a_readable_declaration_waits_in_overflow_for_its_type() {
    let sync = TestSync::new(Workspace::empty().with("projects", good(0..3))).await;
    sync.sync_one("projects").await;
    sync.simulator.add("customfields", json!({"_id": "f", "parent": "Project", "name": "Seats", "type": "number"}));
    sync.simulator.edit("projects", "000001", day(0), |project| {
        project.insert("custom".into(), json!({"Seats": "10"}));
        project.insert("colour".into(), json!("red"));
    });
    for _ in 0..2 {
        sync.simulator.answer_next("customfields", vec![ScriptedAnswer::status(503); 4]);
        let waits = sync.sync_one("projects").await;
        assert_eq!((waits.run.status, waits.run.figures.overflowed), (ObjectStatus::Succeeded, 1), "{:?}", waits.run.reason);
        assert_eq!(sync.one(SEATS).await, "");
        let row = "select planhat__colour || _overflow::text from planhat.projects where planhat__id = '000001'";
        assert_eq!(sync.one(row).await, r#"red{"custom": {"Seats": "10"}}"#);
        sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    }

    let known = sync.sync_one("projects").await;

    assert_eq!((sync.one(SEATS).await.as_str(), known.run.figures.updated), ("numeric", 1));
    let row = "select concat_ws(' ', planhat__seats__custom, _overflow) from planhat.projects where planhat__id = '000001'";
    assert_eq!(sync.one(row).await, "10");
    assert_eq!(sync.sync_one("projects").await.run.figures.updated, 0);
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    // It was noted once when it came, and when it got its column; not by the run in between.
    assert_eq!(sync.one("select count(*)::text from planhat.actions where kind = 'updated'").await, "2");
}

#[tokio::test]
async fn a_record_that_changes_while_one_of_its_fields_waits_for_a_column_is_stored_as_it_is() {
    let sync = TestSync::new(Workspace::empty().with("projects", good(0..3))).await;
    sync.sync_one("projects").await;
    sync.simulator.edit("projects", "000001", day(0), |project| _ = project.insert("custom".into(), json!({"Seats": "10"})));
    sync.simulator.answer_next("customfields", vec![ScriptedAnswer::status(503); 4]);
    sync.sync_one("projects").await;

    sync.simulator.edit("projects", "000001", day(0), |project| _ = project.insert("name".into(), json!("another name")));
    for updated in [1, 0] {
        sync.simulator.answer_next("customfields", vec![ScriptedAnswer::status(503); 4]);
        let waits = sync.sync_one("projects").await;

        assert_eq!((waits.run.figures.updated, waits.run.figures.overflowed), (updated, 1), "{:?}", waits.run.reason);
        sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    }
}

#[tokio::test]
async fn calls_for_declarations_are_counted() {
    let sync = TestSync::new(seats_workspace()).await;
    let summary = sync.run(Mode::Incremental, &[catalog::object("projects").unwrap()]).await;
    let calls = sync.simulator.requests().len();
    assert_eq!((summary.calls, sync.one("select calls::text from planhat_sync.runs").await), (calls as i64, calls.to_string()));
    assert!(summary.objects[0].run.figures.calls < summary.calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_and_counts_each_record_once_end_to_end() {
    let now = chrono::Utc::now();
    let company =
        |number: usize| json!({"_id": format!("c{number}"), "name": "x", "lastTouch": written(now), "updatedAt": written(now)});
    let users =
        (0..6).map(|number| json!({"_id": format!("u{number}"), "archived": number == 0, "updatedAt": written(now)})).collect();
    let workspace = Workspace::empty().with("companies", (0..250).map(company).collect()).with("endusers", users);
    let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,endusers");
    let first = tool.run(&["sync", "--dry-run", "--diff", "--json"]).json();
    let figures = |summary: &Value, object: usize| {
        let object = &summary["objects"][object];
        (object["inserted"].clone(), object["updated"].clone(), object["preview"]["records"].as_array().unwrap().len())
    };
    assert_eq!(figures(&first, 1), (json!(6), json!(0), 6));
    assert_eq!(tool.run(&["sync"]).code, 0);
    // In both sweeps, of which neither ends early, are old ones and two that are new or changed.
    for id in ["c3", "c4"] {
        simulator
            .edit("companies", id, now + chrono::TimeDelta::seconds(1), |company| _ = company.insert("name".into(), json!("y")));
        simulator.touch("companies", id, now + chrono::TimeDelta::seconds(1));
    }
    simulator.edit("endusers", "u1", now, |user| _ = user.insert("name".into(), json!("Kim")));

    let changed = tool.run(&["sync", "--dry-run", "--diff", "--json"]).json();

    assert_eq!((figures(&changed, 0), figures(&changed, 1)), ((json!(0), json!(2), 2), (json!(0), json!(1), 1)), "{changed}");
    assert_eq!(changed["objects"][0]["preview"]["is_lower_bound"], false);
    let text = tool.run(&["sync", "--dry-run", "--diff"]).stdout;
    assert_eq!(text.matches("~ companies c3").count(), 1, "{text}");
    let real = tool.run(&["sync", "--json"]).json();
    assert_eq!((&real["objects"][0]["updated"], &real["objects"][1]["updated"]), (&json!(2), &json!(1)));
}
