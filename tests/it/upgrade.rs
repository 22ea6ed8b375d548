//! A database of an earlier release continues where it was: no row is written again, and nothing is lost.
//!
//! What the baseline wrote is kept as SQL, see `migrations/README.md`. Every later change starts from it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::{self, Object};
use planhat_simulator::{Options, ScriptedAnswer, Workspace};
use planhat_store::{self as store, RunStatus, Store};
use planhat_sync::pull::Mode;
use serde_json::json;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::cli::Tool;
use crate::harness::{TestSync, fresh_database};

pub(crate) const BASELINE: &str = include_str!("../baseline/database.sql");
/// The objects in it, but for products: of those one is in quarantine.
const OBJECTS: [&str; 5] = ["companies", "endusers", "licenses", "tasks", "conversations"];

/// A fresh database with what a release wrote.
async fn database_of(written: &'static str) -> String {
    let url = fresh_database().await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(written).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    url
}

/// The same for other tests.
pub(crate) async fn database_of_the_baseline() -> String {
    database_of(BASELINE).await
}

/// The objects in it.
pub(crate) fn objects_of_the_baseline() -> Vec<&'static Object> {
    objects()
}

/// The database of the baseline, migrated, beside the workspace that it was filled from, a day later.
async fn upgraded() -> TestSync {
    let store = Store::connect(&database_of(BASELINE).await.into(), "planhat", 4).await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.is_set_up().await.unwrap());
    let mut sync = TestSync::into(store, Workspace::from_fixtures(), Options::default()).await;
    let written: DateTime<Utc> =
        sqlx::query_scalar("select max(started_at) from planhat_sync.runs").fetch_one(sync.store.pool()).await.unwrap();
    sync.now = written + TimeDelta::days(1);
    sync
}

fn url_of(sync: &TestSync) -> String {
    sync.store.pool().connect_options().to_url_lossy().to_string()
}

fn objects() -> Vec<&'static Object> {
    OBJECTS.iter().map(|name| catalog::object(name).unwrap()).collect()
}

/// What must not change: the run and time that wrote each row, and all actions. A table is rewritten once, for its columns for
/// joins, and each row has another transaction then.
async fn written_so_far(sync: &TestSync) -> Vec<String> {
    let mut written = Vec::new();
    for table in OBJECTS {
        let rows = format!("select concat_ws(' ', planhat__id, _row_hash, _synced_at, _run_id) from planhat.{table} order by 1");
        written.extend(sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(sync.store.pool()).await.unwrap());
    }
    // But for the column that later releases add.
    let actions = "select concat_ws(' ', xmin, to_jsonb(actions) - 'first_seen') from planhat.actions order by id";
    written.extend(sqlx::query_scalar::<_, String>(actions).fetch_all(sync.store.pool()).await.unwrap());
    assert!(written.len() > 60, "{}", written.len());
    written
}

/// The transactions that wrote the rows.
async fn transactions(sync: &TestSync) -> Vec<String> {
    let mut written = Vec::new();
    for table in OBJECTS {
        let rows = format!("select concat_ws(' ', planhat__id, xmin) from planhat.{table} order by 1");
        written.extend(sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(sync.store.pool()).await.unwrap());
    }
    written
}

async fn watermarks(sync: &TestSync) -> Vec<DateTime<Utc>> {
    let watermarks = "select watermark from planhat_sync.cursors where object = any($1) order by object";
    sqlx::query_scalar(watermarks).bind(&OBJECTS[..]).fetch_all(sync.store.pool()).await.unwrap()
}

#[tokio::test]
async fn a_sync_continues_in_a_database_that_the_baseline_wrote_and_writes_no_row_again() {
    let sync = upgraded().await;
    let (written, before) = (written_so_far(&sync).await, watermarks(&sync).await);
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "1", "a full scan of tasks was stopped half-way");

    let mut rewritten = Vec::new();
    for mode in [Mode::Incremental, Mode::Incremental, Mode::Full] {
        let summary = sync.run(mode, &objects()).await;

        assert_eq!(summary.status, RunStatus::Succeeded, "{summary:?}");
        let inserted: i64 = summary.objects.iter().map(|object| object.run.figures.inserted + object.run.figures.updated).sum();
        assert_eq!(inserted, 0, "{summary:?}");
        assert_eq!(written_so_far(&sync).await, written);
        let transactions = transactions(&sync).await;
        assert!(rewritten.is_empty() || rewritten == transactions, "a table was rewritten again");
        rewritten = transactions;
    }

    let after = watermarks(&sync).await;
    assert_eq!(after.len(), OBJECTS.len());
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after) && before != after, "{before:?} {after:?}");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
    sync.assert_equals_workspace(&objects()).await;
}

#[tokio::test]
async fn tables_of_the_baseline_get_columns_for_all_that_is_documented_and_keep_their_names_and_types() {
    let sync = upgraded().await;
    let written = written_so_far(&sync).await;
    let column = "select count(*)::text from pg_attribute
        where attrelid = 'planhat.companies'::regclass and attname = 'planhat__org_health_total'";
    assert_eq!(sync.one(column).await, "0");
    let opportunities = catalog::object("opportunities").unwrap();

    sync.run(Mode::Incremental, &[objects(), vec![opportunities]].concat()).await;

    assert_eq!(sync.one(column).await, "1");
    let after = written_so_far(&sync).await;
    assert!(!written.is_empty() && written.iter().all(|row| after.contains(row)), "no row was written again");
    for object in objects() {
        let documented: Vec<&str> = object.documented().map(|(property, _)| property).collect();
        let found: i64 = sqlx::query_scalar(
            "select count(*) from planhat_sync.columns where object = $1 and origin = 'property' and planhat_name = any($2)",
        )
        .bind(object.name)
        .bind(&documented)
        .fetch_one(sync.store.pool())
        .await
        .unwrap();
        assert_eq!(found, documented.len() as i64, "{}", object.name);
    }
    let currencies =
        "select string_agg(concat_ws(' ', object, planhat_name, column_name, type), ', ' order by object, planhat_name)
        from planhat_sync.columns where planhat_name in ('_currency', 'currency') and object in ('licenses', 'opportunities')";
    assert_eq!(
        sync.one(currencies).await,
        "licenses _currency planhat__currency jsonb, opportunities _currency planhat__currency_code text, opportunities currency planhat__currency text"
    );
    sync.assert_equals_workspace(&objects()).await;
}

#[tokio::test]
async fn a_row_of_the_baseline_whose_set_came_in_another_order_is_compared_by_value() {
    let sync = upgraded().await;
    let contact = "675962a0b3a10000000000e1";
    let actions = "select count(*)::text from planhat.actions";
    let (noted, tags) = (
        sync.one(actions).await,
        "select planhat__tags::text from planhat.endusers where planhat__id = '675962a0b3a10000000000e1'",
    );
    assert_eq!(sync.one(tags).await, r#"["DM", "Main User"]"#);
    sync.simulator.edit("endusers", contact, sync.now, |contact| _ = contact.insert("tags".into(), json!(["Main User", "DM"])));

    let first = sync.sync_one("endusers").await;
    let second = sync.full_sync_one("endusers").await;

    assert_eq!((first.run.figures.updated, second.run.figures.updated), (1, 0), "with the new time, once");
    assert_eq!((sync.one(actions).await, sync.one(tags).await), (noted, r#"["DM", "Main User"]"#.to_owned()));
    let versions = "select string_agg(concat_ws(' ', version, count), ', ' order by version) from
        (select _row_hash >> 56 as version, count(*) from planhat.endusers group by 1) v";
    let versions = sync.one(versions).await;
    assert!(versions.ends_with(", 2 1") && versions.starts_with("1 "), "the others keep their hashes: {versions}");
}

#[tokio::test]
async fn the_actions_of_the_baseline_stay_as_they_are_and_new_ones_tell_what_is_seen_for_the_first_time() {
    let sync = upgraded().await;
    let names = "select string_agg(distinct action, ', ' order by action) from planhat.actions where id <= 35";
    let (before, newest) = (sync.one(names).await, sync.one("select max(id)::text from planhat.actions").await);
    let added =
        serde_json::json!({"_id": "6b1f0000b3a10000000000ff", "name": "New", "createdAt": crate::harness::written(sync.now)});
    sync.simulator.add("companies", added);

    sync.run(Mode::Incremental, &objects()).await;

    assert_eq!(sync.one(names).await, before);
    assert_eq!(newest, "35");
    let told = "select string_agg(concat_ws(' ', action, kind, coalesce(first_seen::text, 'unknown')), ', ' order by id)
        from planhat.timeline where id >= 34";
    assert_eq!(
        sync.one(told).await,
        "Company Updated updated unknown, License Updated deleted unknown, Company Created created false"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_show_what_the_baseline_wrote() {
    let url = database_of(BASELINE).await;
    // Commands that only look do not migrate; the first run of a new release does.
    Store::connect(&url.clone().into(), "planhat", 1).await.unwrap().migrate().await.unwrap();
    let mut tool = Tool::new().set("DATABASE_URL", &url).set("PLANHAT_API_TOKEN", "nobodys");
    let actions = tool.run(&["actions", "--json", "--kind", "updated"]).stdout;
    assert!(actions.contains("a phase that has passed"), "{actions}");
    let quarantine = tool.run(&["quarantine", "--json"]).json();
    assert_eq!(quarantine["entries"][0]["object"], "products");
    let runs = tool.run(&["runs", "--json"]).json();
    let statuses: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["interrupted", "partial", "partial"]);
    let status = tool.run(&["status", "--json"]).json();
    let synced = status["objects"].as_array().unwrap().iter().filter(|object| object["last_success_at"].is_string());
    assert_eq!(synced.count(), OBJECTS.len(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_from_before_the_first_release_are_refused_with_what_to_do() {
    let url = database_of(BASELINE).await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    let earlier = "update planhat_sync.migrations set checksum = '\\x00', description = 'state';
        insert into planhat_sync.migrations (version, description, success, checksum, execution_time)
        select version, 'and so on', true, '\\x00', 0 from generate_series(2, 9) as version";
    sqlx::raw_sql(earlier).execute(&mut database).await.unwrap();
    let mut tool = Tool::new().set("DATABASE_URL", &url).set("PLANHAT_API_TOKEN", "nobodys");

    for arguments in [&["sync"][..], &["status"], &["actions"]] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(tool.run(arguments).all(), @"
            exit 5
            error: the tables of schema planhat_sync are from before the first release of planhat-sync
            hint: drop the schema planhat_sync and the schema of the data (database.schema), and sync again: what Planhat has is loaded anew
            ");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_not_stored_are_unknown_after_the_upgrade_and_counted_by_the_next_run() {
    let sync = upgraded().await;
    let unknown = "select count(*) filter (where left_out is null and left_out_at is null)::text || ' of ' || count(*)
        from planhat_sync.object_states";
    assert_eq!(sync.one(unknown).await, "6 of 6");
    let mut tool = Tool::new().set("DATABASE_URL", &url_of(&sync)).set("PLANHAT_API_TOKEN", "nobodys");
    let status = tool.run(&["status"]).stdout;
    assert!(status.contains("endusers") && !status.contains("not stored") && !status.contains("rows refer to"), "{status}");
    // The stopped full scan of tasks is one of before.
    assert_eq!(sync.one("select string_agg(scan || ' ' || left_out, ', ') from planhat_sync.scans").await, "full 0");

    sync.run(Mode::Incremental, &objects()).await;

    assert_eq!(sync.one("select left_out::text from planhat_sync.object_states where object = 'licenses'").await, "0");
    let counted = "select (count(*) > 5)::text from planhat_sync.missing_references";
    assert_eq!(sync.one(counted).await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_records_and_applied_rules_are_known_to_an_upgraded_database_as_to_a_new_one() {
    let sync = upgraded().await;
    let nobody =
        "select concat_ws(' ', (select count(*) from planhat_sync.forgotten), (select count(*) from planhat_sync.applied_rules),
        (select sum(forgotten) from planhat_sync.object_runs))";
    assert_eq!(sync.one(nobody).await, "0 0 0", "nobody was forgotten, and nothing is known of rules");
    let url = sync.store.pool().connect_options().to_url_lossy().to_string();
    let mut tool = Tool::new().set("DATABASE_URL", &url).set("PLANHAT_SYNC__OBJECTS__ENDUSERS__EXCLUDE", "email");
    let id = sync.one("select min(planhat__id) from planhat.endusers where _deleted_at is null").await;
    let others = "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.endusers where _deleted_at is null
        and planhat__id <> (select min(planhat__id) from planhat.endusers where _deleted_at is null)";
    let others = sync.one(others).await;

    let forgotten = tool.run(&["forget", "endusers", &id, "--references", "--yes"]);
    assert_eq!(forgotten.code, 0, "{}", forgotten.all());
    assert!(tool.run(&["status"]).stdout.contains("stored before its privacy rules"));
    assert_eq!(tool.run(&["privacy", "apply", "--yes"]).code, 0);
    let full = sync.full_sync_one("endusers").await;

    assert_eq!(full.run.figures.forgotten, 1);
    let left = "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.endusers where _deleted_at is null";
    assert_eq!(sync.one(left).await, others);
}

#[tokio::test]
async fn capabilities_are_unknown_after_the_upgrade_and_no_scan_relies_on_them() {
    let sync = upgraded().await;
    assert_eq!(sync.one("select count(*)::text from planhat_sync.capabilities").await, "0");
    assert_eq!(sync.one("select count(full_scan_calls)::text from planhat_sync.cursors").await, "0");

    let summary = sync.run(Mode::Incremental, &objects()).await;

    assert_eq!(summary.status, RunStatus::Succeeded, "{summary:?}");
    sync.assert_equals_workspace(&objects()).await;
}

#[tokio::test]
async fn throttled_until_is_unknown_after_the_upgrade_and_a_run_notes_it() {
    let sync = upgraded().await;
    let known = "select count(throttled_until)::text || ' of ' || count(*) from planhat_sync.workspaces";
    assert_eq!(sync.one(known).await, "0 of 1");
    let refusal = ScriptedAnswer::status(429).with_header("retry-after", "1");
    sync.simulator.answer_next("licenses", vec![refusal]);

    let summary = sync.run(Mode::Incremental, &objects()).await;

    assert_eq!((summary.status, sync.one(known).await), (RunStatus::Succeeded, "1 of 1".to_owned()));
}

const IDENTITIES: &str =
    "select count(*)::text from pg_attribute where attrelid = 'planhat.actions'::regclass and attidentity <> ''";

#[tokio::test]
async fn counters_go_on_behind_the_ids_that_an_upgraded_table_has_given_out_by_itself() {
    let mut sync = upgraded().await;
    assert_eq!(sync.one("select count(*)::text from planhat_sync.counters").await, "0");
    assert_eq!(sync.one(IDENTITIES).await, "1", "a run of the release before may still be at work");
    // Ids that were given out and whose transaction did not commit.
    sync.do_at_once(&["select setval('planhat.actions_id_seq', 50)"]).await;
    let company =
        serde_json::json!({"_id": "6b1f0000b3a10000000000ff", "name": "New", "createdAt": crate::harness::written(sync.now)});
    sync.simulator.add("companies", company);

    sync.run(Mode::Incremental, &objects()).await;

    let ids = "select string_agg(id::text, ' ' order by id) from planhat.actions where id > 34";
    assert_eq!(sync.one(ids).await, "35 51");
    assert_eq!(sync.one("select last_action_id::text from planhat_sync.counters").await, "51");
    assert_eq!(sync.one(IDENTITIES).await, "0");
    // A process of the release before fails, and takes nothing for a fault of its data.
    let earlier = "insert into planhat.actions (action, kind, object, record_id, happened_at, seen_at, run_id)
        values ('Company Updated', 'updated', 'companies', 'x', now(), now(), 1)";
    let refused = sqlx::query(earlier).execute(sync.store.pool()).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42704"), "{refused}");
    // A second run finds everything as it should be, and a counter that was lost begins behind the actions.
    sync.do_at_once(&["delete from planhat_sync.counters"]).await;
    let other =
        serde_json::json!({"_id": "6b1f0000b3a10000000000fe", "name": "Newer", "createdAt": crate::harness::written(sync.now)});
    sync.simulator.add("companies", other);
    sync.now += TimeDelta::days(1);
    sync.run(Mode::Incremental, &objects()).await;
    assert_eq!(sync.one(ids).await, "35 51 52");
}

#[tokio::test]
async fn several_processes_that_migrate_a_database_of_the_baseline_at_once_all_succeed() {
    let url = database_of(BASELINE).await;
    let migrate = async || Store::connect(&url.as_str().into(), "planhat", 1).await.unwrap().migrate().await;
    let done = tokio::join!(migrate(), migrate(), migrate(), migrate());
    for one in [done.0, done.1, done.2, done.3] {
        one.unwrap();
    }
    let mut database = PgConnection::connect(&url).await.unwrap();
    let applied: i64 =
        sqlx::query_scalar("select count(*) - max(version) from planhat_sync.migrations").fetch_one(&mut database).await.unwrap();
    assert_eq!(applied, 0);
}

#[test]
fn every_migration_since_the_baseline_has_a_test_here() {
    let tests = include_str!("upgrade.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let migrations: BTreeSet<String> = files.filter_map(|file| Some(file.strip_suffix(".sql")?.to_owned())).collect();
    assert!(migrations.contains("0001_baseline"), "{migrations:?}");
    for migration in migrations.iter().skip(1) {
        let (number, name) = migration.split_once('_').unwrap();
        assert!(number.len() == 4 && number.parse::<u32>().is_ok(), "{migration} is not called NUMBER_words");
        assert!(tests.contains(&format!("fn {name}_")), "no test of {migration}: its name begins with {name}_");
    }
}

#[tokio::test]
async fn calendar_rows_of_the_baseline_keep_their_binding_and_are_due_when_a_daemon_knows_them() {
    let sync = upgraded().await;
    let row =
        "select concat_ws(' ', workspace, fingerprint is not null, name, next_run_at, failures) from planhat_sync.workspaces";
    assert_eq!(sync.one(row).await, "planhat t 0");
    let enrolment = store::Enrolment {
        workspace: "planhat".to_owned(),
        name: "main".to_owned(),
        token_hash: None,
        next_run_at: DateTime::UNIX_EPOCH,
    };

    sync.store.transaction(async |db| store::enrol(db, std::slice::from_ref(&enrolment)).await).await.unwrap();
    let summary = sync.run(Mode::Incremental, &objects()).await;

    assert_eq!(summary.status, RunStatus::Succeeded, "the schema is bound as before: {summary:?}");
    let known = "select concat_ws(' ', workspace, fingerprint is not null, name, next_run_at < now(), failures) from planhat_sync.workspaces";
    assert_eq!(sync.one(known).await, "planhat t main t 0");
}
