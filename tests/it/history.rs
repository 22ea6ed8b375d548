//! Which records are old, what is said of those that are not stored, and how they are loaded: nobody refers to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use planhat_api::RowsPerPage;
use planhat_model::catalog::{self, Object};
use planhat_model::rules::{FieldMap, Rule, Rules};
use planhat_model::scan::History;
use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use planhat_store::{LeftOut, ObjectStatus, RunStatus};
use planhat_sync::pull::{HistoryFrom, Mode};
use planhat_sync::run::Summary;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::cli::Tool;
use crate::daemon::{self, DaemonProcess};
use crate::harness::{TestSync, at, day, written};

const YEAR: i64 = 365;

/// Days ago, counted from today, since the binary knows no other clock.
fn ago(days: i64) -> String {
    written(chrono::Utc::now() - chrono::TimeDelta::days(days))
}

fn objects(names: &[&str]) -> Vec<&'static Object> {
    names.iter().map(|name| catalog::object(name).unwrap()).collect()
}

/// A team member of long ago, an old company of hers with an open ticket, and a new company.
fn old_and_new() -> Workspace {
    let companies = vec![
        json!({"_id": "old", "name": "Old", "owner": "ann", "createDate": ago(6 * YEAR), "updatedAt": ago(5 * YEAR)}),
        json!({"_id": "new", "name": "New", "owner": {"_id": "ann", "nickName": "Ann"}, "updatedAt": ago(1)}),
    ];
    let ticket = json!({"_id": "t", "companyId": "old", "status": "open", "createDate": ago(9), "updateDate": ago(1)});
    Workspace::empty()
        .with("users", vec![json!({"_id": "ann", "nickName": "Ann", "createDate": "2019-03-01T00:00:00.000Z"})])
        .with("companies", companies)
        .with("tickets", vec![ticket])
}

async fn tool_for(simulator: &Simulator) -> Tool {
    Tool::for_workspace(simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,tickets,users")
}

/// The lines of an output that speak of records that are not stored, with the day that no snapshot can have.
fn said_of_missing(output: &str) -> String {
    let lines =
        output.lines().filter(|line| line.contains("not stored") || line.contains("not exist") || line.contains("not synced"));
    let began = (chrono::Utc::now() - chrono::TimeDelta::seconds(4 * 31_557_600)).format("%Y-%m-%d").to_string();
    lines.collect::<Vec<_>>().join("\n").replace(&began, "FOUR YEARS AGO")
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_loaded_whatever_their_age_and_what_is_not_stored_is_said_with_the_command_that_loads_it() {
    let simulator = Simulator::start(old_and_new(), Options::default()).await.unwrap();
    let mut tool = tool_for(&simulator).await;
    let url = tool.database();
    let names = "select string_agg(coalesce(companies.planhat__name, 'nobody'), ' ') from planhat.tickets
        left join planhat.companies on companies.planhat__id = tickets.planhat__company_id";

    let first = tool.run(&["sync"]);
    assert_eq!(first.code, 0, "{}", first.all());
    insta::assert_snapshot!(said_of_missing(&first.stdout), @"
    1 record of companies is older than the history (no edit or contact since FOUR YEARS AGO) and not stored; `planhat-sync backfill --all companies` loads it
    companies that rows refer to are not stored (tickets.companyId in 1 row); `planhat-sync backfill --referenced companies` loads them
    ");

    // A daily run says nothing of it again; `status` does.
    let daily = tool.run(&["sync"]);
    assert_eq!((daily.code, said_of_missing(&daily.stdout)), (0, String::new()), "{}", daily.all());
    let status = tool.run(&["status"]);
    assert_eq!((status.code, said_of_missing(&status.stdout)), (0, said_of_missing(&first.stdout)));
    let json = tool.run(&["status", "--json"]).json();
    let companies = json["objects"].as_array().unwrap().iter().find(|line| line["object"] == "companies").unwrap();
    assert_eq!(companies["left_out"], 1);
    let missing = json["missing_references"].as_array().unwrap();
    let of = |property: &str| missing.iter().find(|line| line["property"] == property).unwrap();
    assert_eq!((&of("companyId")["rows"], &of("companyId")["records"]), (&json!(1), &json!(1)));
    assert_eq!((&of("owner")["rows"], &of("owner")["refers_to"]), (&json!(0), &json!("users")));

    let loaded = tool.run(&["backfill", "--referenced"]);
    assert_eq!(loaded.code, 0, "{}", loaded.all());
    assert!(loaded.stdout.contains("companies ┆ succeeded ┆       1 ┆        1"), "{}", loaded.stdout);
    let status = tool.run(&["status"]);
    assert_eq!(said_of_missing(&status.stdout), "", "{}", status.stdout);
    let mut database = PgConnection::connect(&url).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, String>(names).fetch_one(&mut database).await.unwrap(), "Old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_shows_what_is_not_stored_from_its_start() {
    let simulator = Simulator::start(old_and_new(), Options::default()).await.unwrap();
    // It never runs by itself.
    let tool = daemon::tool(&simulator, "0 0 29 2 *").await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,tickets,users");
    let mut tool = tool.set("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "10years");
    assert_eq!(tool.run(&["sync"]).code, 0);
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("the next run is due");
    let scraped = daemon.get("/metrics").await.1;
    let lines = scraped.lines().filter(|line| line.contains("left_out") || line.contains("reference_rows"));
    let is_of = |line: &&str| ["left_out", "\"companyId\"", "\"owner\""].iter().any(|what| line.contains(what));
    let lines: Vec<_> = lines.filter(|line| !line.starts_with('#')).filter(is_of).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    planhat_sync_left_out_records{object="companies"} 1
    planhat_sync_left_out_records{object="tickets"} 0
    planhat_sync_left_out_records{object="users"} 0
    planhat_sync_missing_reference_rows{object="tickets",property="companyId",refers_to="companies"} 1
    planhat_sync_missing_reference_rows{object="companies",property="owner",refers_to="users"} 0
    planhat_sync_absent_reference_rows{object="tickets",property="companyId",refers_to="companies"} 0
    planhat_sync_absent_reference_rows{object="companies",property="owner",refers_to="users"} 0
    "#);
}

/// The 13 objects, of which these have these records.
async fn sync_of(records: &[(&str, Vec<Value>)]) -> TestSync {
    let workspace =
        records.iter().fold(Workspace::empty(), |workspace, (object, records)| workspace.with(object, records.clone()));
    TestSync::new(workspace).await
}

fn company(id: &str, active: i64) -> Value {
    json!({"_id": id, "updatedAt": written(day(active)), "lastTouch": written(day(active)), "createDate": "2015-01-01"})
}

async fn ids(sync: &TestSync, sql: &'static str) -> String {
    sync.one(sql).await
}

const COMPANIES: &str =
    "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.companies where _deleted_at is null";

/// `object.property in N rows, N records, N absent rows` of what was counted last.
async fn counted(sync: &TestSync) -> Vec<String> {
    let all = "select object || '.' || property || ' ' || rows || ' ' || records || ' ' || absent_rows
        from planhat_sync.missing_references where rows + absent_rows > 0 order by 1";
    sqlx::query_scalar(all).fetch_all(sync.store.pool()).await.unwrap()
}

async fn load_referenced(sync: &TestSync, names: &[&str]) -> Summary {
    sync.run(Mode::Referenced, &objects(names)).await
}

#[tokio::test]
async fn a_sweep_that_stops_early_still_stores_an_old_company_that_was_in_contact_today() {
    let old = (0..200).map(|number| company(&format!("c{number:03}"), -5 * YEAR));
    let recent = (200..240).map(|number| company(&format!("c{number:03}"), -20));
    let silent = json!({"_id": "silent", "createDate": "2015-01-01"});
    let others = [silent, company("today", 0)];
    let mut sync = sync_of(&[("companies", old.chain(recent).chain(others).collect())]).await;
    sync.limits.pages.size = RowsPerPage::Fixed(20);
    let first = sync.sync_one("companies").await;
    assert_eq!((first.run.figures.inserted, first.run.figures.outside_history), (42, 200));
    assert_eq!(
        first.run.left_out,
        Some(LeftOut { records: 200, before: Some(sync.now - Duration::from_secs(4 * 365 * 86_400)) })
    );

    sync.now = day(1);
    sync.simulator.touch("companies", "c007", sync.now);
    sync.calls_of("companies");
    let daily = sync.sync_one("companies").await;
    assert_eq!((daily.run.figures.inserted, daily.run.left_out), (1, None));
    let calls = sync.calls_of("companies");
    assert!(calls <= 6, "both sweeps stop after a page or two: {calls}");
}

#[tokio::test]
async fn a_history_of_its_own_takes_precedence_and_a_longer_one_is_loaded_by_the_next_run_that_lists_the_records() {
    let task = |id: &str, active: i64| json!({"_id": id, "createdAt": "2015-01-01T00:00:00Z", "updatedAt": written(day(active))});
    let tasks = vec![task("new", -1), task("year", -2 * YEAR), task("old", -8 * YEAR)];
    let mut sync = sync_of(&[("tasks", tasks), ("companies", vec![company("new", -1), company("old", -8 * YEAR)])]).await;
    const TASKS: &str = "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.tasks";
    sync.limits.histories.insert("tasks", History::Within(Duration::from_secs(365 * 86_400)));
    let both = objects(&["tasks", "companies"]);
    sync.run(Mode::Incremental, &both).await;
    assert_eq!((ids(&sync, TASKS).await.as_str(), ids(&sync, COMPANIES).await.as_str()), ("new", "new"));

    sync.now = day(1);
    sync.limits.histories.insert("tasks", History::All);
    sync.limits.histories.insert("companies", History::All);
    let daily = sync.run(Mode::Incremental, &both).await;
    let left_out: Vec<_> = daily.objects.iter().map(|of| of.run.left_out.map(|of| of.records)).collect();
    assert_eq!((ids(&sync, TASKS).await.as_str(), left_out[0]), ("new old year", Some(0)));

    sync.run(Mode::Full, &both).await;
    assert_eq!(ids(&sync, COMPANIES).await, "new old");
}

#[tokio::test]
async fn what_was_left_out_is_counted_once_by_each_run_that_sees_it_and_kept_by_the_others() {
    let end_user =
        |id: &str, active: i64| json!({"_id": id, "updatedAt": written(day(active)), "lastTouch": written(day(active))});
    let mut sync = sync_of(&[("endusers", vec![end_user("a", -1), end_user("b", -9 * YEAR), end_user("c", -9 * YEAR)])]).await;
    const LEFT_OUT: &str =
        "select concat_ws(' ', left_out, left_out_before::date, left_out_at is not null) from planhat_sync.object_states";
    // The listing with the archived ones shows the others again.
    sync.sync_one("endusers").await;
    assert_eq!(sync.one(LEFT_OUT).await, "2 2022-11-22 t");

    sync.limits.pages.size = RowsPerPage::Fixed(1);
    sync.now = day(1);
    sync.sync_one("endusers").await;
    assert_eq!(sync.one(LEFT_OUT).await, "2 2022-11-22 t");
    sync.limits.pages.size = RowsPerPage::Fixed(100);
    // A part of history says nothing of the rest.
    sync.backfill_until("endusers", HistoryFrom::Earliest, Some(day(-8 * YEAR))).await;
    assert_eq!(sync.one("select count(*)::text from planhat.endusers").await, "3");
    sync.full_sync_one("endusers").await;
    assert_eq!(sync.one(LEFT_OUT).await, "0 2022-11-23 t");
}

#[tokio::test]
async fn a_load_that_was_stopped_half_way_counts_what_it_left_out_before() {
    let companies = (0..100).map(|number| company(&format!("c{number:03}"), if number % 2 == 0 { -1 } else { -5 * YEAR }));
    let mut sync = sync_of(&[("companies", companies.collect())]).await;
    sync.limits.pages.size = RowsPerPage::Fixed(10);
    let (stop, requests) = (sync.stop.clone(), AtomicUsize::new(0));
    sync.simulator.on_request(move |_, path| {
        if path == "companies" && requests.fetch_add(1, Ordering::Relaxed) == 5 {
            stop.cancel();
        }
    });
    assert_eq!(sync.sync_one("companies").await.run.status, ObjectStatus::Interrupted);
    assert_eq!(sync.one("select left_out::text from planhat_sync.object_states").await, "");
    sync.simulator.clear_faults();
    sync.stop = Default::default();
    sync.sync_one("companies").await;
    assert_eq!(sync.one("select left_out::text from planhat_sync.object_states").await, "50");
}

#[tokio::test]
async fn every_shape_of_a_reference_is_counted_by_the_record_that_it_names() {
    let task = json!({
        "_id": "task", "companyId": "gone", "ownerId": "nobody", "updatedAt": written(day(-1)),
        "endusers": [{"_id": "element", "id": "e1", "name": "Kim"}, {"id": "e9", "name": "Lee"}], "users": [{"id": "u9"}, {"id": "u1"}],
    });
    let mut company = company("c1", -1);
    company["owner"] = json!({"_id": "u9", "nickName": "Nobody"});
    company["coOwner"] = json!("u8");
    company["collaborators"] = json!([]);
    let issue = json!({"_id": "i", "companyIds": ["c1", "c8", "c9"], "enduserIds": [], "updatedAt": written(day(-1))});
    let blank = json!({"_id": "blank", "companyId": "", "ownerId": "undefined", "updatedAt": written(day(-1))});
    let sync = sync_of(&[
        ("companies", vec![company]),
        ("tasks", vec![task, blank]),
        ("issues", vec![issue]),
        ("users", vec![json!({"_id": "u1"})]),
        ("endusers", vec![json!({"_id": "e1"})]),
    ])
    .await;
    let summary = sync.sync().await;
    assert_eq!(
        counted(&sync).await,
        [
            "companies.coOwner 1 1 0", "companies.owner 1 1 0", "issues.companyIds 1 2 0", "tasks.companyId 1 1 0",
            "tasks.endusers 1 1 0", "tasks.ownerId 1 1 0", "tasks.users 1 1 0",
        ]
    );
    let missing = &summary.missing_references;
    assert!(!missing.is_empty() && missing.iter().all(|count| count.is_news()), "{missing:#?}");
    // Nothing has changed, so nothing is counted.
    let second = sync.sync().await;
    assert!(second.missing_references.is_empty(), "{second:#?}");
}

#[tokio::test]
async fn a_company_that_is_marked_as_deleted_is_stored_and_a_deleted_row_refers_to_nobody() {
    let ticket = |id: &str, company: &str| json!({"_id": id, "companyId": company, "updateDate": written(day(-1))});
    let mut sync = sync_of(&[
        ("companies", (0..9).map(|number| company(&format!("c{number}"), -1)).collect()),
        ("tickets", vec![ticket("t1", "c1"), ticket("t2", "nowhere"), ticket("t3", "c3")]),
    ])
    .await;
    let both = objects(&["companies", "tickets"]);
    sync.run(Mode::Incremental, &both).await;
    assert_eq!(counted(&sync).await, ["tickets.companyId 1 1 0"]);
    sync.simulator.delete("companies", "c1");
    sync.simulator.delete("tickets", "t2");
    sync.now = day(1);
    sync.run(Mode::Full, &both).await;
    assert_eq!(sync.one("select count(*)::text from planhat.companies where _deleted_at is not null").await, "1");
    assert!(counted(&sync).await.is_empty());
}

#[tokio::test]
async fn referenced_records_are_loaded_with_those_that_they_refer_to_and_kept_up_to_date_later() {
    let mut chain = [company("c1", -5 * YEAR), company("c2", -5 * YEAR), company("c3", -5 * YEAR)];
    chain[0]["headId"] = json!("c2");
    chain[1]["headId"] = json!("c3");
    chain[1]["name"] = json!("before");
    let ticket = json!({"_id": "t", "companyId": "c1", "updateDate": written(day(-1))});
    let mut new = company("new", -1);
    new["headId"] = json!("new");
    let companies = chain.into_iter().chain([company("c9", -5 * YEAR), new]).collect();
    let mut sync = sync_of(&[("companies", companies), ("tickets", vec![ticket])]).await;
    let both = objects(&["companies", "tickets"]);
    sync.run(Mode::Incremental, &both).await;
    sync.simulator.forget_requests();

    let loaded = load_referenced(&sync, &["companies"]).await;
    assert_eq!(loaded.status, RunStatus::Succeeded, "{loaded:?}");
    assert_eq!(ids(&sync, COMPANIES).await, "c1 c2 c3 new");
    let asked: Vec<_> = sync.simulator.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(asked.iter().filter(|path| path.starts_with("/companies/")).count(), 3, "{asked:?}");
    assert!(counted(&sync).await.is_empty());
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
    // Of the four that were left out one is left.
    assert_eq!(sync.one("select left_out::text from planhat_sync.object_states where object = 'companies'").await, "1");
    let runs = "select string_agg(coalesce(scan, '-') || ' ' || inserted, ', ' order by run_id) from planhat_sync.object_runs where object = 'companies'";
    assert_eq!(sync.one(runs).await, "history 1, referenced 3");

    sync.now = day(1);
    sync.simulator.edit("companies", "c2", sync.now, |company| _ = company.insert("name".into(), "after".into()));
    assert_eq!(sync.sync_one("companies").await.run.figures.updated, 1);
    let full = sync.full_sync_one("companies").await;
    assert_eq!((full.run.figures.deleted, full.run.figures.unchanged, full.run.figures.outside_history), (0, 4, 1));
    assert_eq!(sync.one("select planhat__name from planhat.companies where planhat__id = 'c2'").await, "after");
}

#[tokio::test]
async fn a_record_that_planhat_does_not_have_is_remembered_and_counted_apart() {
    let ticket = |id: &str, company: &str| json!({"_id": id, "companyId": company, "updateDate": written(day(-1))});
    let tickets = vec![ticket("t1", "gone"), ticket("t2", "gone"), ticket("t3", "secret"), ticket("t4", "broken")];
    let mut sync = sync_of(&[("companies", vec![company("new", -1)]), ("tickets", tickets)]).await;
    let both = objects(&["companies", "tickets"]);
    sync.run(Mode::Incremental, &both).await;
    sync.simulator.answer_next("companies/secret", vec![ScriptedAnswer::status(403)]);
    let broken = || vec![ScriptedAnswer::json(200, json!({"_id": "another", "externalId": "broken"}))];
    sync.simulator.answer_next("companies/broken", broken());

    let loaded = load_referenced(&sync, &["companies"]).await;
    assert_eq!(loaded.status, RunStatus::Succeeded, "{loaded:?}");
    insta::assert_snapshot!(loaded.objects[0].warnings.join("\n"), @"
    companies: no answer to 1 request by id; the next `backfill --referenced` sends them again
    companies: Planhat does not have 1 record that rows refer to; they are not requested again for 30 days
    companies: the token may not read 1 record that rows refer to; they are not requested again for 30 days
    ");
    assert_eq!(ids(&sync, COMPANIES).await, "new");
    assert_eq!(counted(&sync).await, ["tickets.companyId 1 1 3"]);
    let absent = "select string_agg(record_id || ' ' || answer, ', ' order by record_id) from planhat_sync.absent_records";
    assert_eq!(sync.one(absent).await, "gone 404, secret 403");

    sync.simulator.forget_requests();
    sync.simulator.answer_next("companies/broken", broken());
    load_referenced(&sync, &["companies"]).await;
    let asked: Vec<_> = sync.simulator.requests().into_iter().map(|request| request.path).collect();
    assert!(asked.contains(&"/companies/broken".to_owned()) && !asked.iter().any(|path| path.ends_with("gone")), "{asked:?}");

    // A month later it is asked for again, and it may be there.
    sync.do_at_once(&["update planhat_sync.absent_records set answered_at = now() - interval '31 days'"]).await;
    sync.simulator.add("companies", company("gone", -5 * YEAR));
    sync.now = day(1);
    load_referenced(&sync, &["companies"]).await;
    assert_eq!(ids(&sync, COMPANIES).await, "gone new");
}

#[tokio::test]
async fn where_a_404_or_403_proves_nothing_no_record_is_remembered_as_absent() {
    let ticket = json!({"_id": "t", "companyId": "old", "updateDate": written(day(-1))});
    let sync = sync_of(&[("companies", vec![company("new", -1), company("old", -5 * YEAR)]), ("tickets", vec![ticket])]).await;
    sync.run(Mode::Incremental, &objects(&["companies", "tickets"])).await;

    for id in ["old", "new"] {
        sync.simulator.answer_next(&format!("companies/{id}"), vec![ScriptedAnswer::status(404)]);
    }
    let loaded = load_referenced(&sync, &["companies"]).await;
    assert_eq!(
        loaded.objects[0].warnings,
        ["companies: Planhat answers 404 by id even for records that are stored, which proves nothing"]
    );
    sync.simulator.forbid("companies");
    let loaded = load_referenced(&sync, &["companies"]).await;
    assert_eq!(loaded.objects[0].run.status, ObjectStatus::Failed, "{loaded:?}");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.absent_records").await, "0");
    // The state of the object is that of its last sync.
    assert_eq!(sync.one("select status from planhat_sync.object_states where object = 'companies'").await, "succeeded");

    sync.simulator.allow("companies");
    load_referenced(&sync, &["companies"]).await;
    assert_eq!(ids(&sync, COMPANIES).await, "new old");
}

#[tokio::test]
async fn loading_referenced_records_can_be_stopped_and_continues_where_it_was() {
    let companies = (0..100).map(|number| company(&format!("c{number:03}"), -5 * YEAR)).chain([company("new", -1)]);
    let ticket = |number: usize| json!({"_id": format!("t{number}"), "companyId": format!("c{number:03}"), "updateDate": written(day(-1))});
    let mut sync = sync_of(&[("companies", companies.collect()), ("tickets", (0..100).map(ticket).collect())]).await;
    sync.run(Mode::Incremental, &objects(&["companies", "tickets"])).await;
    let (stop, requests) = (sync.stop.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&requests);
    sync.simulator.on_request(move |_, path| {
        if path.starts_with("companies/") && seen.fetch_add(1, Ordering::Relaxed) == 50 {
            stop.cancel();
        }
    });

    let stopped = load_referenced(&sync, &["companies"]).await;
    assert_eq!(stopped.status, RunStatus::Interrupted);
    assert_eq!(sync.one("select count(*)::text from planhat.companies").await, "41");
    sync.stop = Default::default();
    load_referenced(&sync, &["companies"]).await;
    assert_eq!(sync.one("select count(*)::text from planhat.companies").await, "101");
    assert!(requests.load(Ordering::Relaxed) <= 100 + 40, "only the batch that was given up is requested again");
    assert!(counted(&sync).await.is_empty());
}

#[tokio::test]
async fn a_reference_that_a_privacy_rule_masks_is_neither_counted_nor_requested() {
    let ticket = json!({"_id": "t", "companyId": "old", "updateDate": written(day(-1))});
    let mut sync =
        sync_of(&[("companies", vec![company("new", -1), company("old", -5 * YEAR)]), ("tickets", vec![ticket])]).await;
    let mut hashed = FieldMap::default();
    hashed.insert("companyId", Rule::Hash);
    sync.limits.rules.insert("tickets", Rules::new(hashed, Some(&"a key of these tests alone".into())));
    sync.run(Mode::Incremental, &objects(&["companies", "tickets"])).await;
    assert!(counted(&sync).await.is_empty());
    sync.simulator.forget_requests();
    let loaded = load_referenced(&sync, &["companies"]).await;
    assert_eq!(
        loaded.objects[0].warnings,
        ["companies: those that tickets.companyId refers to cannot be requested, since a privacy rule masks it"]
    );
    assert!(sync.simulator.requests().iter().all(|request| !request.path.starts_with("/companies/")));
}

#[tokio::test]
async fn the_rules_of_an_object_apply_to_records_that_are_loaded_by_id_and_no_column_is_made_for_them() {
    let mut old = company("old", -5 * YEAR);
    old["phone"] = json!("123");
    old["recentOpenTabs"] = json!(["a"]);
    let ticket = json!({"_id": "t", "companyId": "old", "updateDate": written(day(-1))});
    let mut sync = sync_of(&[("companies", vec![company("new", -1), old]), ("tickets", vec![ticket])]).await;
    let mut redacted = FieldMap::default();
    redacted.insert("phone", Rule::Exclude);
    sync.limits.rules.insert("companies", Rules::new(redacted, None));
    sync.run(Mode::Incremental, &objects(&["companies", "tickets"])).await;
    let loaded = load_referenced(&sync, &["companies"]).await;
    assert!(loaded.objects[0].overflowing.is_empty() && loaded.objects[0].warnings.is_empty(), "{loaded:?}");
    let overflow = "select _overflow::text from planhat.companies where planhat__id = 'old'";
    assert_eq!(sync.one(overflow).await, r#"{"recentOpenTabs": ["a"]}"#);

    // A listing shows the record as it is in listings: then it has its columns.
    sync.now = day(1);
    sync.full_sync_one("companies").await;
    assert_eq!(sync.one(overflow).await, "");
    sync.assert_equals_workspace(&[]).await;
    assert_eq!(
        sync.one("select planhat__recent_open_tabs::text from planhat.companies where planhat__id = 'old'").await,
        r#"["a"]"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_synced_is_told_from_records_that_are_missing() {
    let simulator = Simulator::start(old_and_new(), Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies");
    let first = tool.run(&["sync"]);
    assert_eq!(first.code, 0, "{}", first.all());
    insta::assert_snapshot!(said_of_missing(&tool.run(&["status"]).stdout), @"
    1 record of companies is older than the history (no edit or contact since FOUR YEARS AGO) and not stored; `planhat-sync backfill --all companies` loads it
    joins with objects that are not synced find no rows: users (joined by companies.owner)
    ");
    let json = tool.run(&["status", "--json"]).json();
    let missing = json["missing_references"].as_array().unwrap();
    let owner = missing.iter().find(|line| line["property"] == "owner").unwrap();
    assert_eq!(owner["refers_to_synced"], false, "{json}");
    // Nothing of it is requested either.
    let ran = tool.run(&["backfill", "--referenced", "users"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(
        ran.stdout.contains("users: nothing is loaded yet; `planhat-sync sync users` comes first, if the token may read it"),
        "{}",
        ran.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_record_is_not_brought_back_by_what_refers_to_it() {
    let simulator = Simulator::start(old_and_new(), Options::default()).await.unwrap();
    let mut tool = tool_for(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    let mut database = <sqlx::PgConnection as sqlx::Connection>::connect(&tool.database()).await.unwrap();
    let absent = "insert into planhat_sync.absent_records (workspace, object, record_id, answer) values ('planhat', 'companies', 'old', 404)";
    sqlx::query(absent).execute(&mut database).await.unwrap();
    let forgotten = tool.run(&["forget", "companies", "old", "--yes"]);
    assert_eq!(forgotten.code, 0, "{}", forgotten.all());
    let left = sqlx::query_scalar::<_, i64>("select count(*) from planhat_sync.absent_records");
    assert_eq!(left.fetch_one(&mut database).await.unwrap(), 0, "its id is in no table");
    simulator.forget_requests();
    let loaded = tool.run(&["backfill", "--referenced", "--json"]);
    assert_eq!((loaded.code, &loaded.json()["objects"][0]["fetched"]), (0, &json!(0)), "{}", loaded.all());
    assert!(simulator.requests().iter().all(|request| request.path != "/companies/old"));
    let status = tool.run(&["status"]).stdout;
    assert!(status.contains("`planhat-sync backfill --referenced companies` loads those that were not forgotten"), "{status}");
}

#[tokio::test]
async fn a_count_that_cannot_be_had_fails_no_run_and_keeps_the_last_figure() {
    let ticket = |id: &str| json!({"_id": id, "companyId": "nowhere", "updateDate": written(day(-1))});
    let mut sync = sync_of(&[("companies", vec![company("new", -1)]), ("tickets", vec![ticket("t1")])]).await;
    let both = objects(&["companies", "tickets"]);
    sync.run(Mode::Incremental, &both).await;
    assert_eq!(counted(&sync).await, ["tickets.companyId 1 1 0"]);
    sync.do_at_once(&["alter table planhat_sync.absent_records rename to out_of_reach"]).await;
    sync.simulator.add("tickets", ticket("t2"));
    sync.now = at("2026-11-22T12:00:00Z");
    let summary = sync.run(Mode::Incremental, &both).await;
    assert_eq!((summary.status, summary.missing_references.len()), (RunStatus::Succeeded, 0));
    assert_eq!(counted(&sync).await, ["tickets.companyId 1 1 0"]);
}
