//! `retype`: what it would do, and that it makes no noise: a value in another spelling is no change.

use chrono::TimeDelta;
use planhat_model::catalog;
use planhat_model::catalog::ColumnType;
use planhat_simulator::Workspace;
use planhat_store as store;
use serde_json::{Value, json};

use crate::cli::Tool;
use crate::harness::{TestSync, day};

fn projects(values: &[Value]) -> Workspace {
    let record = |(index, value): (usize, &Value)| json!({"_id": format!("{index}"), "custom": {"Field": value}});
    Workspace::empty().with("projects", values.iter().enumerate().map(record).collect())
}

async fn retype(sync: &TestSync, kind: ColumnType) {
    let projects = catalog::object("projects").unwrap();
    let retyped = sync.store.transaction_once(async |db| {
        let columns = store::load_columns(&mut *db, "planhat", projects).await?;
        store::retype(db, "planhat", projects, columns.named("planhat__field__custom").unwrap(), kind).await
    });
    retyped.await.unwrap();
}

const VALUES: &str =
    "select string_agg(concat_ws(' ', planhat__field__custom, _misfits), ', ' order by planhat__id) from planhat.projects";
const VERSIONS: &str = "select string_agg(concat_ws(' ', _synced_at, _run_id), ', ' order by planhat__id) from planhat.projects";
const ACTIONS: &str = "select count(*)::text from planhat.actions";

#[tokio::test]
async fn after_retype_the_same_values_in_another_spelling_are_no_updates_and_no_actions() {
    let instants = [json!("2026-01-02T03:04:05.000Z"), json!("2026-01-02T03:04:05.678Z"), json!("2026-01-02T04:04:05.000+0100")];
    let numbers = [json!(1.50), json!("1.50"), json!("15e-1"), json!(1_500_000)];
    let booleans = [json!(true), json!("true"), json!(false)];
    for (values, kinds) in [
        (&instants[..], [ColumnType::Text, ColumnType::Time, ColumnType::Json]),
        (&numbers, [ColumnType::Text, ColumnType::Number, ColumnType::Json]),
        (&booleans, [ColumnType::Text, ColumnType::Boolean, ColumnType::Json]),
    ] {
        let sync = TestSync::new(projects(values)).await;
        sync.sync_one("projects").await;
        for kind in [0, 1, 2, 1, 0, 2, 0].map(|index: usize| kinds[index]) {
            retype(&sync, kind).await;
            let (actions, versions) = (sync.one(ACTIONS).await, sync.one(VERSIONS).await);

            let figures = sync.full_sync_one("projects").await.run.figures;

            assert_eq!((figures.updated, figures.unchanged), (0, values.len() as i64), "{kind:?} {values:?}");
            assert_eq!((sync.one(ACTIONS).await, sync.one(VERSIONS).await), (actions, versions), "{kind:?} {values:?}");
            sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
            let retyped = planhat_model::flatten::RETYPED >> 56;
            let rows: &'static str = Box::leak(
                format!("select count(*) filter (where _row_hash >> 56 = {retyped})::text from planhat.projects")
                    .into_boxed_str(),
            );
            assert_eq!(sync.one(rows).await, "0", "every row is written as Planhat has it");
        }
    }
}

#[tokio::test]
async fn a_record_that_changes_after_retype_is_an_update_of_what_has_changed_alone() {
    let sync = TestSync::new(projects(&[json!("2026-01-02T03:04:05.000Z"), json!("2026-01-02T03:04:05.000Z")])).await;
    sync.sync_one("projects").await;
    retype(&sync, ColumnType::Text).await;
    assert_eq!(sync.one(VALUES).await, "2026-01-02T03:04:05.000Z, 2026-01-02T03:04:05.000Z");
    sync.simulator.edit("projects", "1", day(0), |project| _ = project.insert("name".into(), json!("New")));

    let figures = sync.sync_one("projects").await.run.figures;

    assert_eq!((figures.updated, figures.unchanged), (1, 1));
    let changed =
        "select string_agg(key, ' ' order by key) from planhat.actions, jsonb_object_keys(changes) as key where kind = 'updated'";
    assert_eq!(sync.one(changed).await, "planhat__name");
}

#[tokio::test]
async fn a_record_that_is_restored_after_retype_has_not_changed() {
    let mut sync = TestSync::new(projects(&[json!(19548), json!(1)])).await;
    sync.sync_one("projects").await;
    let record = sync.simulator.records("projects").remove(0);
    sync.simulator.delete("projects", "0");
    sync.full_sync_one("projects").await;
    retype(&sync, ColumnType::Time).await;
    retype(&sync, ColumnType::Text).await;

    sync.simulator.add("projects", record);
    sync.now += TimeDelta::days(1);
    sync.full_sync_one("projects").await;

    let told = "select string_agg(concat_ws(' ', kind, record_id, changes), ', ' order by id) from planhat.actions where id > 2";
    assert_eq!(sync.one(told).await, "deleted 0, restored 0");
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_retype_would_do_and_changes_nothing() {
    let values = ["10", "11", "\"n/a\"", "\"1.5\"", "\"\"", "null", "\"many\\nmore\"", "[1]"];
    let values: Vec<Value> = values.iter().map(|value| serde_json::from_str(value).unwrap()).collect();
    let sync = TestSync::new(projects(&values[..2])).await;
    let mut tool = Tool::for_workspace(&sync.simulator).await;
    tool.run(&["sync", "projects"]);
    for (index, value) in values.iter().enumerate().skip(2) {
        sync.simulator.add("projects", json!({"_id": format!("{index}"), "custom": {"Field": value}}));
    }
    tool.run(&["sync", "projects"]);
    let mut dry = |kind: &str| tool.run(&["retype", "projects", "planhat__field__custom", kind, "--dry-run"]).all();

    insta::assert_snapshot!(dry("text"), @"
    exit 0
    planhat.projects.planhat__field__custom is numeric. As text: 3 values in the column would stay there, 0 would move to _misfits
    2 values would move from _misfits into the column, 1 would stay in _misfits
    examples of values that do not fit: [1]
    while retype runs, nobody can read or write the table; it rewrites all 8 rows
    nothing was changed: this is what retype would do without --dry-run
    ");
    insta::assert_snapshot!(dry("boolean"), @r#"
    exit 0
    planhat.projects.planhat__field__custom is numeric. As boolean: 0 values in the column would stay there, 3 would move to _misfits
    0 values would move from _misfits into the column, 3 would stay in _misfits
    examples of values that do not fit: 10, 11, "n/a", 1.5, "many\nmore"
    while retype runs, nobody can read or write the table; it rewrites all 8 rows
    nothing was changed: this is what retype would do without --dry-run
    "#);
    insta::assert_snapshot!(dry("numeric"), @"
    exit 0
    planhat.projects.planhat__field__custom is numeric already
    ");
    let mut tool = tool.set("PLANHAT_SYNC__OBJECTS__PROJECTS__REDACT", "custom.Field");
    let masked = tool.run(&["retype", "projects", "planhat__field__custom", "text", "--dry-run"]).stdout;
    assert!(masked.contains("[redacted]") && !masked.contains("[1]"), "{masked}");
    assert_eq!(tool.run(&["retype", "projects", "planhat__fields__custom", "text", "--dry-run"]).code, 2);
    let schema = tool.run(&["schema", "projects"]).stdout;
    assert!(schema.lines().any(|line| line.contains("planhat__field__custom") && line.contains("numeric")), "{schema}");
}
