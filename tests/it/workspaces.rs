//! Any workspace fits: every name, every type, and no value is lost.

use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::catalog::ColumnType;
use planhat_model::flatten::Declared;
use planhat_model::record::Record;
use planhat_simulator::{Options, Workspace};
use planhat_store::{self as store, ObjectStatus, RunStatus, Store};
use planhat_sync::pull::Mode;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sqlx::Connection as _;

use crate::cli::Tool;
use crate::harness::{TestSync, day, fresh_database};
use crate::waiting::{eventually, in_time};

/// Names that people or an attacker may have given to custom fields.
pub(crate) fn awkward_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "", " ", "🚀", "🚀🚀", "🎓 Training", "Health Score", "health_score", "HEALTH SCORE", "healthScore", "# Seats",
        "# seats", "Tier?", "a+b", "a - b", "a – b", "(x)", "[x]", "x", "X", "NUL\0here", "NULhere", "\"quoted\"", "it's",
        "'; drop table x; --", "select", "user", "id", "_id", "lastTouch", "last_touch", "name", "_row_hash", "_misfits",
        "_overflow", "custom", "x__custom", "planhat__id", "北海道", "Größe (m²)", "ß", "ss", "1", "1e5", "\\", "%s", "{}", "$1",
        "\t", "a.b", "a\nb",
    ]
    .map(str::to_owned)
    .into();
    names.extend(["ä".repeat(150), "x".repeat(300), format!("{}1", "x".repeat(299)), "n".repeat(46), "n".repeat(47)]);
    names
}

fn of_every_shape() -> Vec<Value> {
    let text = r#"[null, "", "undefined", "NaN", "text", "10", "0x10", 10, -1, 0.1, 29.285714285714285, 1e400, 1e999999,
        123456789012345678901234567890, true, false, "true", [], ["a"], {}, {"_id": "x", "deep": ["\u0000", {"\u0000": 1}]},
        "2023-07-20T09:00:00.000Z", "2023-07-20T09:00:00Z", "2023-07-20T09:00:00.000+0000", "2023-07-20", "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00Z", "2023-02-30T00:00:00Z", 1580229961944, 19548, "nul\u0000nul", "emoji 🎉"]"#;
    serde_json::from_str(text).unwrap()
}

/// Records in which every awkward name carries every shape once.
pub(crate) fn trap_workspace() -> Workspace {
    let (names, shapes) = (awkward_names(), of_every_shape());
    let records = (0..shapes.len()).map(|turn| {
        let shape = |index: usize| shapes[(index + turn) % shapes.len()].clone();
        let custom: Map<String, Value> = names.iter().enumerate().map(|(index, name)| (name.clone(), shape(index))).collect();
        let mut record = json!({"_id": format!("{turn:02}"), "custom": custom, "somethingNew": shape(3)});
        // Documented properties of each type, too, but no dates: nothing here is to be too old.
        for (index, property) in ["phase", "h", "autoRenews", "nextTouch", "renewalDate", "owner", "orgPath"].iter().enumerate() {
            record[property] = shape(index);
        }
        record
    });
    Workspace::empty().with("companies", records.collect())
}

#[tokio::test]
async fn every_unusual_name_and_every_json_type_is_stored() {
    let sync = TestSync::new(trap_workspace()).await;

    let first = sync.sync_one("companies").await;
    let second = sync.sync_one("companies").await;

    assert_eq!((first.run.status, first.run.figures.quarantined), (ObjectStatus::Succeeded, 0));
    assert_eq!((second.run.figures.inserted, second.run.figures.updated), (0, 0));
    sync.assert_equals_workspace(&[catalog::object("companies").unwrap()]).await;
}

fn any_value() -> impl Strategy<Value = Value> {
    let shapes = of_every_shape();
    prop_oneof![prop::sample::select(shapes), ".{0,12}".prop_map(Value::from), any::<i64>().prop_map(Value::from)]
}

/// A record's properties and custom fields.
type AnyFields = (Map<String, Value>, Map<String, Value>);

fn any_fields() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![prop::sample::select(awkward_names()), ".{0,20}"];
    proptest::collection::hash_map(name, any_value(), 0..12).prop_map(|fields| fields.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever a record holds, its columns, `_misfits` and `_overflow` together hold it too.
    #[test]
    fn a_row_holds_every_value_of_its_record(
        records in proptest::collection::vec((any_fields(), any_fields()), 1..20),
        later in proptest::collection::vec((any_fields(), any_fields()), 1..20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let record = |(index, (mut fields, custom)): (usize, AnyFields)| {
            // Without times, which would make it old; `custom` is what this is about.
            fields.insert("_id".into(), json!(format!("{index:02}")));
            fields.insert("custom".into(), Value::Object(custom));
            for dated in ["lastTouch", "updatedAt"] {
                fields.remove(dated);
            }
            Value::Object(fields)
        };
        runtime.block_on(async {
            let sync = TestSync::new(Workspace::empty().with("projects", records.into_iter().enumerate().map(record).collect())).await;
            sync.sync_one("projects").await;
            sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
            // The columns are made now, and the values that come later need not fit them.
            for (index, changed) in later.into_iter().enumerate() {
                let changed = record((index, changed));
                sync.simulator.delete("projects", changed["_id"].as_str().unwrap());
                sync.simulator.add("projects", changed);
            }
            sync.sync_one("projects").await;
            sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
        });
    }
}

#[tokio::test]
async fn fifteen_hundred_custom_fields_are_stored_in_columns_and_overflow() {
    let custom = |shift: usize| -> Map<String, Value> {
        (0..1500).map(|number| (format!("Field {number:04} ä"), json!(format!("value {}", number + shift)))).collect()
    };
    let records = (0..5).map(|number| json!({"_id": format!("{number}"), "custom": custom(number)})).collect();
    let sync = TestSync::new(Workspace::empty().with("projects", records)).await;

    let first = sync.sync_one("projects").await;
    let second = sync.sync_one("projects").await;

    assert_eq!((first.run.status, first.run.figures.overflowed), (ObjectStatus::Succeeded, 5));
    assert!(first.overflowing.contains("Field 1499 ä"));
    assert_eq!((second.run.figures.unchanged, second.run.figures.updated), (5, 0));
    assert_eq!(sync.one("select count(*)::text from planhat_sync.columns where object = 'projects'").await, "1200");
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

#[tokio::test]
async fn a_hundred_thousand_records_with_79_bad_ones_lose_only_those_79() {
    let mut records: Vec<Value> = (0..100_000).map(|number| json!({"_id": format!("{number:06}"), "mrr": number})).collect();
    for bad in 0..79 {
        records[bad * 1200 + 7] = match bad % 3 {
            0 => json!({"name": format!("nobody {bad}")}),
            1 => json!(format!("odd {bad}")),
            // An id that no index entry has room for, since it does not compress.
            _ => {
                let mut random = fastrand::Rng::with_seed(bad as u64);
                json!({"_id": std::iter::repeat_with(|| random.alphanumeric()).take(5000).collect::<String>()})
            }
        };
    }
    let options = Options { honours_sort: false, ..Options::default() };
    let mut sync = TestSync::with(Workspace::empty().with("projects", records), options).await;
    sync.limits.pages.size = RowsPerPage::Fixed(2000);

    let summary = sync.run(Mode::Incremental, &[catalog::object("projects").unwrap()]).await;

    let figures = summary.objects[0].run.figures;
    let reason = &summary.objects[0].run.reason;
    assert_eq!((summary.status, figures.inserted, figures.quarantined), (RunStatus::Partial, 99_921, 79), "{reason:?}");
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "99921");
    let reasons = "select string_agg(line, E'\n' order by line) from (
        select count(*) || ' ' || coalesce(sqlstate, '') || ' ' || split_part(reason, ' (', 1) as line
        from planhat_sync.quarantine group by sqlstate, split_part(reason, ' (', 1)) as reasons";
    let reasons = sync.one(reasons).await;
    insta::with_settings!({filters => vec![(r"row size \d+ exceeds", "row size N exceeds")]}, {
        insta::assert_snapshot!(reasons, @r#"
        26  not an object but a string
        26 54000 index row size N exceeds btree version 4 maximum 2704 for index "projects_pkey"
        27  no _id
        "#);
    });
}

#[tokio::test]
async fn a_record_refused_by_a_users_constraint_is_quarantined_until_it_passes() {
    let tasks = (0..9).map(|number| json!({"_id": format!("{number}"), "status": "done"})).collect();
    let sync = TestSync::new(Workspace::empty().with("tasks", tasks)).await;
    sync.sync_one("tasks").await;
    sqlx::raw_sql("alter table planhat.tasks add constraint ours check (planhat__status <> 'odd')")
        .execute(sync.store.pool())
        .await
        .unwrap();
    let set = |id: &str, status: &str, days: i64| {
        let status = json!(status);
        sync.simulator.edit("tasks", id, day(days), |task| _ = task.insert("status".into(), status));
    };
    set("3", "odd", 0);
    set("4", "new", 0);

    let refused = sync.sync_one("tasks").await;
    let kept = sync.one("select concat_ws(' ', record_id, sqlstate, raw::jsonb ->> 'status') from planhat_sync.quarantine").await;
    set("3", "whole", 0);
    let whole = sync.sync_one("tasks").await;

    assert_eq!((refused.run.status, refused.run.figures.quarantined, refused.run.figures.updated), (ObjectStatus::Partial, 1, 1));
    assert_eq!(kept, "3 23514 odd");
    assert_eq!((whole.run.status, whole.run.figures.updated), (ObjectStatus::Succeeded, 1));
    assert_eq!(sync.one("select count(*)::text from planhat_sync.quarantine").await, "0");
}

#[tokio::test]
async fn a_quarantined_record_that_gets_an_id_leaves_the_quarantine() {
    let sync = TestSync::new(Workspace::empty().with("projects", vec![json!({"_id": "a"}), json!({"name": "nobody"})])).await;
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Partial);
    sync.simulator.answer_next(
        "projects",
        vec![planhat_simulator::ScriptedAnswer::json(200, json!([{"_id": "a"}, {"_id": "b", "name": "somebody"}]))],
    );
    sync.simulator
        .answer_next("projects", vec![planhat_simulator::ScriptedAnswer::json(200, json!([{"_id": "b", "name": "somebody"}]))]);

    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one("select count(*)::text from planhat_sync.quarantine").await, "0");
}

#[tokio::test]
async fn a_custom_field_renamed_at_planhat_gets_a_new_column_and_the_old_column_stays() {
    let sync = TestSync::new(Workspace::empty().with("projects", vec![json!({"_id": "a", "custom": {"Old name": 1}})])).await;
    sync.sync_one("projects").await;
    sync.simulator.edit("projects", "a", day(0), |project| _ = project.insert("custom".into(), json!({"New name": 1})));

    sync.sync_one("projects").await;

    let columns = "select concat_ws('|', planhat__old_name__custom is null, planhat__new_name__custom) from planhat.projects";
    assert_eq!(sync.one(columns).await, "t|1");
}

#[tokio::test]
async fn a_declared_field_has_its_declared_type_before_a_value_shows_it() {
    let declared = vec![json!({"_id": "f", "parent": "Project", "name": "Seats", "type": "number"})];
    let project = json!({"_id": "a", "custom": {"Seats": "", "Other": ""}});
    for forbidden in [false, true] {
        let workspace = Workspace::empty().with("customfields", declared.clone()).with("projects", vec![project.clone()]);
        let sync = TestSync::new(workspace).await;
        if forbidden {
            sync.simulator.forbid("customfields");
        }
        assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
        let types = "select string_agg(type, ' ' order by column_name) from planhat_sync.columns where origin = 'custom'";
        assert_eq!(sync.one(types).await, if forbidden { "text text" } else { "text numeric" });
    }
}

fn seats(values: &[Value]) -> Workspace {
    let record = |(index, value): (usize, &Value)| json!({"_id": format!("{index}"), "custom": {"Seats": value}});
    Workspace::empty().with("projects", values.iter().enumerate().map(record).collect())
}

const SEATS: &str =
    "select string_agg(concat_ws(' ', planhat__seats__custom, _misfits), ', ' order by planhat__id) from planhat.projects";

#[tokio::test]
async fn retype_resolves_the_type_mismatches_of_a_column() {
    let sync = TestSync::new(seats(&[json!(10), json!(""), json!(20)])).await;
    sync.sync_one("projects").await;
    sync.simulator.edit("projects", "0", day(0), |project| project["custom"]["Seats"] = json!("about 10"));
    assert_eq!(sync.sync_one("projects").await.misfit_columns["planhat__seats__custom"], 1);
    assert_eq!(sync.one(SEATS).await, r#"{"planhat__seats__custom": "about 10"}, , 20"#);

    let retyped = retype(&sync.store, ColumnType::Text).await.unwrap();

    assert_eq!((retyped.fitting, retyped.misfits), (2, 0));
    assert_eq!(sync.one(SEATS).await, "about 10, , 20");

    let back = retype(&sync.store, ColumnType::Number).await.unwrap();
    assert_eq!((back.fitting, back.misfits), (1, 1));
    assert_eq!(sync.one(SEATS).await, r#"{"planhat__seats__custom": "about 10"}, , 20"#);
}

#[tokio::test]
async fn after_retype_the_next_sync_writes_the_values_from_planhat() {
    let shapes = of_every_shape();
    let sync = TestSync::new(seats(&shapes)).await;
    for kind in [ColumnType::Time, ColumnType::Text, ColumnType::Json, ColumnType::Number, ColumnType::Boolean, ColumnType::Text]
    {
        sync.sync_one("projects").await;
        sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
        let _ = retype(&sync.store, kind).await.unwrap();
        let rewritten = sync.sync_one("projects").await.run.figures;
        assert_eq!((rewritten.updated, rewritten.unchanged, rewritten.quarantined), (0, shapes.len() as i64, 0), "{kind:?}");
        sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
    }
}

#[tokio::test]
async fn a_wide_row_of_any_column_types_is_stored() {
    for (value, columns) in [
        (json!(1.5), 1190),
        (json!(true), 1190),
        (json!("2023-07-20T09:00:00.000Z"), 1190),
        (json!("short"), 1190),
        (json!("x".repeat(40)), 1190),
        (json!("abcdefghijk".repeat(10)), 1190),
        (json!([1]), 1190),
        (json!({"a": "b".repeat(300)}), 1190),
        (json!(123_456_789.123_456_7), 1190),
    ] {
        let custom: Map<String, Value> = (0..columns).map(|number| (format!("{number}"), value.clone())).collect();
        // The second record makes every column jsonb where the first one is scalar, in a table of its own.
        let mixed: Map<String, Value> = (0..columns).map(|number| (format!("{number}"), json!([0]))).collect();
        let workspace = Workspace::empty()
            .with("projects", vec![json!({"_id": "a", "custom": custom})])
            .with("assets", vec![json!({"_id": "a", "custom": custom}), json!({"_id": "b", "custom": mixed})]);
        let sync = TestSync::new(workspace).await;
        for object in ["projects", "assets"] {
            let summary = sync.sync_one(object).await;
            assert_eq!(summary.run.status, ObjectStatus::Succeeded, "{object} {value}");
            sync.assert_equals_workspace(&[catalog::object(object).unwrap()]).await;
        }
    }
}

#[tokio::test]
async fn a_quarantined_record_is_retried_however_old_it_is() {
    let old = json!({"_id": "old", "status": "odd", "updatedAt": "2024-05-01T00:00:00.000Z"});
    let tasks = vec![old, json!({"_id": "new", "status": "done", "updatedAt": "2026-11-20T00:00:00.000Z"})];
    let sync = TestSync::new(Workspace::empty().with("tasks", vec![])).await;
    sync.sync_one("tasks").await;
    let rule = "alter table planhat.tasks add column if not exists planhat__status text, add constraint ours check (planhat__status <> 'odd')";
    sqlx::raw_sql(rule).execute(sync.store.pool()).await.unwrap();
    tasks.into_iter().for_each(|task| sync.simulator.add("tasks", task));
    let kept = "select string_agg(record_id, ',') from planhat_sync.quarantine";

    for _ in 0..3 {
        assert_eq!(sync.sync_one("tasks").await.run.status, ObjectStatus::Partial);
        assert_eq!(sync.one(kept).await, "old");
    }
    sqlx::raw_sql("alter table planhat.tasks drop constraint ours").execute(sync.store.pool()).await.unwrap();

    assert_eq!(sync.sync_one("tasks").await.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one(kept).await, "");
    sync.assert_equals_workspace(&[catalog::object("tasks").unwrap()]).await;
}

#[tokio::test]
async fn a_column_dropped_by_a_user_is_recreated() {
    let sync = TestSync::new(seats(&[json!(1)])).await;
    sync.sync_one("projects").await;
    sqlx::raw_sql("alter table planhat.projects drop column planhat__seats__custom").execute(sync.store.pool()).await.unwrap();
    sync.simulator.edit("projects", "0", day(0), |project| project["custom"]["Seats"] = json!(2));

    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one(SEATS).await, "2");
}

#[tokio::test]
async fn values_go_to_overflow_when_the_table_allows_no_more_columns() {
    let sync = TestSync::new(seats(&[json!(1)])).await;
    sync.sync_one("projects").await;
    let many: Vec<String> = (0..1560).map(|number| format!("add column ours_{number} bool")).collect();
    let alter = sqlx::AssertSqlSafe(format!("alter table planhat.projects {}", many.join(", ")));
    sqlx::raw_sql(alter).execute(sync.store.pool()).await.unwrap();
    let custom: Map<String, Value> = (0..50).map(|number| (format!("New {number}"), json!(number))).collect();
    sync.simulator.add("projects", json!({"_id": "wide", "custom": custom}));

    let summary = sync.sync_one("projects").await;

    assert_eq!((summary.run.status, summary.overflowing.len()), (ObjectStatus::Succeeded, 50));
    sync.assert_equals_workspace(&[catalog::object("projects").unwrap()]).await;
}

async fn retype(store: &Store, kind: ColumnType) -> Result<store::Retyped, store::StoreError> {
    let projects = catalog::object("projects").unwrap();
    let retyped = store.transaction_once(async |db| {
        let columns = store::load_columns(&mut *db, "planhat", projects).await?;
        store::retype(db, "planhat", projects, columns.named("planhat__seats__custom").unwrap(), kind).await
    });
    retyped.await
}

#[tokio::test(flavor = "multi_thread")]
async fn retype_reports_its_result_and_the_views_that_prevent_it() {
    let sync = TestSync::new(seats(&[json!(10), json!("about 10")])).await;
    let mut tool = Tool::for_workspace(&sync.simulator).await;
    tool.run(&["sync", "projects"]);
    let mut run = |arguments: &[&str]| tool.run(&[&["retype"], arguments].concat()).all();
    insta::assert_snapshot!(run(&["projects", "planhat__seats__custom", "numeric"]), @"
    exit 0
    planhat.projects.planhat__seats__custom is numeric now: 1 value fits, 1 value does not fit and is kept in _misfits
    `planhat-sync backfill projects` writes the values again as Planhat has them
    ");
    insta::assert_snapshot!(run(&["projects", "planhat__seats__custom", "numeric"]), @"
    exit 0
    planhat.projects.planhat__seats__custom is numeric already
    ");
    insta::assert_snapshot!(run(&["projects", "planhat__seat__custom", "text"]), @r#"
    exit 2
    error: projects has no column "planhat__seat__custom"; did you mean "planhat__seats__custom"?
    hint: `planhat-sync schema OBJECT` shows the columns
    "#);
    insta::assert_snapshot!(run(&["projects", "planhat__id", "numeric"]), @"
    exit 2
    error: planhat__id is the primary key of its table and must stay text
    hint: `planhat-sync schema OBJECT` shows the columns
    ");
    assert!(run(&["projects", "planhat__seats__custom", "varchar"]).contains("text, numeric, boolean, timestamptz, jsonb"));
    let url = tool.database();
    let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "create view a as select planhat__seats__custom from planhat.projects; create materialized view b as select * from a",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let ran = tool.run(&["retype", "projects", "planhat__seats__custom", "text"]);
    insta::assert_snapshot!(ran.all(), @"
    exit 1
    error: views depend on planhat__seats__custom: public.a, public.b
    hint: drop the views, run retype, and create them again; nothing was changed
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_sql_prints_statements_that_create_the_same_tables() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let mut tool = Tool::for_workspace(&sync.simulator).await;
    tool.run(&["sync"]);
    let sql = tool.run(&["schema", "--sql"]).stdout;

    let elsewhere = fresh_database().await;
    let mut database = sqlx::PgConnection::connect(&elsewhere).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create schema planhat; {sql}"))).execute(&mut database).await.unwrap();

    let mut original = sqlx::PgConnection::connect(&tool.database()).await.unwrap();
    assert_eq!(described(&mut database).await, described(&mut original).await);
}

async fn described(database: &mut sqlx::PgConnection) -> Vec<(String, String, String, Option<String>)> {
    sqlx::query_as(
        "select relname::text, attname::text, format_type(atttypid, atttypmod), col_description(attrelid, attnum)
         from pg_attribute join pg_class on pg_class.oid = attrelid
         where relnamespace = 'planhat'::regnamespace and relkind = 'r' and attnum > 0 order by 1, 2",
    )
    .fetch_all(database)
    .await
    .unwrap()
}

#[tokio::test]
async fn two_transactions_that_add_the_same_column_do_not_collide() {
    let sync = TestSync::new(seats(&[json!(1)])).await;
    sync.sync_one("projects").await;
    let projects = catalog::object("projects").unwrap();
    let raw = serde_json::value::to_raw_value(&json!({"_id": "a", "custom": {"New": 1}})).unwrap();
    let record = Record::parse(raw).unwrap();
    let make = async || {
        let made = sync.store.transaction_once(async |db| {
            store::lock_columns(&mut *db, "planhat", projects).await?;
            let mut columns = store::load_columns(&mut *db, "planhat", projects).await?;
            let known = columns.len();
            let added = columns.grow(projects, std::slice::from_ref(&record), &Declared::default());
            store::add_columns(db, "planhat", projects, known, &added).await?;
            Ok(added.len())
        });
        made.await
    };

    let (one, other) = in_time("both", async { tokio::join!(make(), make()) }).await;

    assert_eq!(one.unwrap() + other.unwrap(), 1);
}

#[tokio::test]
async fn adding_a_column_waits_for_a_reader_without_blocking_other_readers_for_long() {
    let sync = TestSync::new(seats(&[json!(1)])).await;
    sync.sync_one("projects").await;
    sync.simulator.edit("projects", "0", day(0), |project| _ = project.insert("brandNew".into(), json!("x")));
    let mut reader = sync.store.pool().begin().await.unwrap();
    sqlx::raw_sql("select * from planhat.projects").execute(&mut *reader).await.unwrap();

    let reads_on = async {
        let waits = "select exists (select from pg_locks where not granted and relation = 'planhat.projects'::regclass)";
        // Somebody waits, gives way to the readers behind it, and waits again.
        for expected in [true, false, true] {
            let what = if expected { "somebody who waits for the lock" } else { "nobody who waits for the lock" };
            let is_as_expected = async || sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *reader).await.unwrap() == expected;
            eventually(what, is_as_expected).await;
        }
        reader.commit().await.unwrap();
    };
    let (summary, ()) = tokio::join!(sync.sync_one("projects"), reads_on);

    assert_eq!((summary.run.status, summary.run.figures.updated), (ObjectStatus::Succeeded, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_owns_both_schemas_has_sufficient_privileges() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let (url, mut admin, role) = ordinary_role().await;
    let schemas = format!("create schema planhat authorization {role}; create schema planhat_sync authorization {role}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(schemas)).execute(&mut admin).await.unwrap();
    let mut tool = Tool::for_workspace(&sync.simulator).await.set("DATABASE_URL", &url);

    let codes: Vec<i32> = ["check", "sync", "sync", "status", "schema"].map(|command| tool.run(&[command]).code).into();

    assert_eq!(codes, [0, 0, 0, 0, 0], "{}", tool.run(&["check"]).all());
}

#[tokio::test(flavor = "multi_thread")]
async fn check_prints_the_grant_for_each_missing_privilege() {
    let sync = TestSync::new(Workspace::empty().with("projects", vec![json!({"_id": "a"})])).await;
    let (url, mut admin, role) = ordinary_role().await;
    let mut tool =
        Tool::for_workspace(&sync.simulator).await.set("DATABASE_URL", &url).set("PLANHAT_SYNC__PLANHAT__OBJECTS", "projects");
    let filters =
        vec![(r"127.0.0.1:\d+", "127.0.0.1:PORT"), (r"PostgreSQL \d+.*", "PostgreSQL VERSION"), (r"test_\d+_\d+", "DATABASE")];
    let mut shown = async |sql: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        let ran = tool.run(&["check"]);
        format!("exit {}\n{}", ran.code, ran.stdout.split_once("readable\n").unwrap().1)
    };
    let without_schemas = shown(String::new()).await;
    let without_rights = shown("create schema planhat; create schema planhat_sync".into()).await;
    let owner = format!("alter schema planhat owner to {role}; alter schema planhat_sync owner to {role}");
    let of_others = "create table planhat.projects (_row_hash bigint); create view planhat.timeline as select 1;
        create table planhat.notes_of_an_analyst ()";
    let without_table = shown(format!("{owner}; {of_others}")).await;
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(without_schemas, @r#"
        exit 5
        ok    database       PostgreSQL VERSION
        ok    connection     on this machine
        ok    tables         none yet; the first sync creates them
        fail  privileges     missing; ask an administrator to run: grant create on database "DATABASE" to "role_of_DATABASE";
        "#);
        insta::assert_snapshot!(without_rights, @r#"
        exit 5
        ok    database       PostgreSQL VERSION
        ok    connection     on this machine
        ok    tables         none yet; the first sync creates them
        fail  privileges     missing; ask an administrator to run: grant usage, create on schema "planhat_sync" to "role_of_DATABASE";
        fail  privileges     missing; ask an administrator to run: grant usage, create on schema "planhat" to "role_of_DATABASE";
        "#);
        insta::assert_snapshot!(without_table, @r#"
        exit 5
        ok    database       PostgreSQL VERSION
        ok    connection     on this machine
        ok    tables         none yet; the first sync creates them
        fail  privileges     missing; ask an administrator to run: alter table "planhat"."projects" owner to "role_of_DATABASE";
        fail  privileges     missing; ask an administrator to run: alter view "planhat"."timeline" owner to "role_of_DATABASE";
        "#);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_table_with_the_name_of_an_object_is_left_alone() {
    let sync =
        TestSync::new(Workspace::empty().with("users", vec![json!({"_id": "u"})]).with("nps", vec![json!({"_id": "n"})])).await;
    let mut tool = Tool::for_workspace(&sync.simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "users,nps");
    let mut database = sqlx::PgConnection::connect(&tool.database()).await.unwrap();
    let by_hand = "create schema planhat; create table planhat.users (id int primary key, login text)";
    sqlx::raw_sql(by_hand).execute(&mut database).await.unwrap();

    let ran = tool.run(&["sync", "--json"]);

    assert_eq!((ran.code, &ran.json()["objects"][1]["status"]), (3, &json!("succeeded")), "{}", ran.all());
    let said = tool.run(&["check"]).all();
    assert!(
        said.starts_with("exit 5\n") && said.contains("planhat.users already exists and was not created by planhat-sync"),
        "{said}"
    );
    let columns = "select string_agg(attname, ' ' order by attnum) from pg_attribute where attrelid = 'planhat.users'::regclass and attnum > 0";
    let columns: String = sqlx::query_scalar(columns).fetch_one(&mut database).await.unwrap();
    assert_eq!(columns, "id login");
}

/// A role that may connect and nothing more, in a database of its own.
async fn ordinary_role() -> (String, sqlx::PgConnection, String) {
    let url = fresh_database().await;
    let mut admin = sqlx::PgConnection::connect(&url).await.unwrap();
    let (server, database) = url.rsplit_once('/').unwrap();
    let role = format!("role_of_{database}");
    let create = format!("create role {role} login password 'ordinary'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
    let (_, place) = server.split_once('@').unwrap();
    (format!("postgres://{role}:ordinary@{place}/{database}"), admin, role)
}
