//! A database of an earlier release continues where it was: no row is written again, and nothing is lost.
//!
//! What the baseline wrote is kept as SQL, see `migrations/README.md`. Every later change starts from it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::{self, Object};
use planhat_simulator::{Options, Workspace};
use planhat_store::{RunStatus, Store};
use planhat_sync::pull::Mode;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::cli::Tool;
use crate::harness::{TestSync, fresh_database};

const BASELINE: &str = include_str!("../baseline/database.sql");
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

fn objects() -> Vec<&'static Object> {
    OBJECTS.iter().map(|name| catalog::object(name).unwrap()).collect()
}

/// What must not change: the transaction and time that wrote each row, and all actions.
async fn written_so_far(sync: &TestSync) -> Vec<String> {
    let mut written = Vec::new();
    for table in OBJECTS {
        let rows = format!("select concat_ws(' ', planhat__id, xmin, _row_hash, _synced_at) from planhat.{table} order by 1");
        written.extend(sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(sync.store.pool()).await.unwrap());
    }
    let actions = "select concat_ws(' ', xmin, actions) from planhat.actions order by id";
    written.extend(sqlx::query_scalar::<_, String>(actions).fetch_all(sync.store.pool()).await.unwrap());
    assert!(written.len() > 60, "{}", written.len());
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

    for mode in [Mode::Incremental, Mode::Full] {
        let summary = sync.run(mode, &objects()).await;

        assert_eq!(summary.status, RunStatus::Succeeded, "{summary:?}");
        let inserted: i64 = summary.objects.iter().map(|object| object.run.figures.inserted + object.run.figures.updated).sum();
        assert_eq!(inserted, 0, "{summary:?}");
        assert_eq!(written_so_far(&sync).await, written);
    }

    let after = watermarks(&sync).await;
    assert_eq!(after.len(), OBJECTS.len());
    assert!(before.iter().zip(&after).all(|(before, after)| before <= after) && before != after, "{before:?} {after:?}");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
    sync.assert_equals_workspace(&objects()).await;
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
    assert!(tool.run(&["status"]).stdout.contains("from before its privacy rules"));
    assert_eq!(tool.run(&["privacy", "apply", "--yes"]).code, 0);
    let full = sync.full_sync_one("endusers").await;

    assert_eq!(full.run.figures.forgotten, 1);
    let left = "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.endusers where _deleted_at is null";
    assert_eq!(sync.one(left).await, others);
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
