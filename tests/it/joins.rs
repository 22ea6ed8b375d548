//! References in one spelling: the columns for joins, and the table of keys that tells of them.

use std::collections::BTreeMap;
use std::process::Command;

use planhat_model::catalog::{self, ColumnType};
use planhat_model::rules::{FieldMap, Rule, Rules};
use planhat_simulator::{Options, Workspace};
use planhat_store::{self as store, RunStatus, Store};
use planhat_sync::pull::Mode;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::cli::Tool;
use crate::harness::{TestSync, fresh_database};
use crate::upgrade::{database_of_the_baseline, objects_of_the_baseline};

/// Syncs these records of one object.
async fn synced(object: &str, records: Vec<Value>) -> TestSync {
    let sync = TestSync::new(Workspace::empty().with(object, records)).await;
    let summary = sync.sync_one(object).await;
    assert_eq!(summary.warnings, Vec::<String>::new());
    sync
}

/// A column by id, as text.
async fn values(sync: &TestSync, object: &str, column: &str) -> BTreeMap<String, Option<String>> {
    let sql = format!("select planhat__id, {column}::text from planhat.{object}");
    let rows: Vec<(String, Option<String>)> =
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(sync.store.pool()).await.unwrap();
    rows.into_iter().collect()
}

/// Checks what a column says of each record: those of one object whose ids are their places.
async fn check(object: &str, column: &str, cases: &[(Value, Option<&str>)]) {
    let with_id = |(place, (record, _)): (usize, &(Value, Option<&str>))| {
        let mut record = record.clone();
        record["_id"] = json!(format!("r{place:02}"));
        record
    };
    let sync = synced(object, cases.iter().enumerate().map(with_id).collect()).await;
    let found = values(&sync, object, column).await;
    for (place, (record, expected)) in cases.iter().enumerate() {
        assert_eq!(found[&format!("r{place:02}")].as_deref(), *expected, "{object}.{column} of {record}");
    }
    sync.assert_equals_workspace(&[catalog::object(object).unwrap()]).await;
}

#[tokio::test]
async fn an_owner_as_an_id_or_as_an_object_gives_the_same_owner_id_and_what_is_neither_gives_none() {
    let cases = [
        (json!({"owner": {"_id": "u1", "nickName": "Zoë"}}), Some("u1")),
        (json!({"owner": "u1"}), Some("u1")),
        (json!({"owner": {"id": "u1"}}), Some("u1")),
        (json!({"owner": {"nickName": "Zoë"}}), None),
        (json!({"owner": {"_id": 7}}), None),
        (json!({"owner": {"_id": "", "id": "u1"}}), None),
        (json!({"owner": ["u1", "u2"]}), None),
        (json!({"owner": true}), None),
        (json!({"owner": ""}), None),
        (json!({"owner": null}), None),
        (json!({}), None),
        (json!({"owner": "\u{0}u\"\\1"}), Some("u\"\\1")),
    ];
    for object in ["companies", "workflows", "conversations"] {
        check(object, "owner_id", &cases).await;
    }
    // Here it is documented as a text, so an object does not fit into its column.
    let of_tasks = |(record, expected): (Value, Option<&'static str>)| match record.get("owner") {
        Some(owner) => (json!({"ownerId": owner}), expected),
        None => (record, expected),
    };
    let cases: Vec<_> = cases.into_iter().filter(|(record, _)| record["owner"] != json!(true)).map(of_tasks).collect();
    check("tasks", "owner_id", &cases).await;
}

#[tokio::test]
async fn a_company_has_one_spelling_in_every_object() {
    for (object, property) in [("tickets", "companyId"), ("nps", "cId"), ("nps", "companyId"), ("invoices", "cId")] {
        check(object, "company_id", &[(json!({property: "c1"}), Some("c1")), (json!({"status": "x"}), None)]).await;
    }
    check("tickets", "owner_id", &[(json!({"agentId": "u1"}), Some("u1")), (json!({"status": "x"}), None)]).await;
    check("nps", "end_user_id", &[(json!({"euId": "e1"}), Some("e1")), (json!({"euId": ["e1"]}), None)]).await;
}

#[tokio::test]
async fn end_users_as_ids_or_as_objects_give_the_same_array_and_nothing_is_invented() {
    let cases = [
        (json!({"endusers": ["e1", "e2"]}), Some("{e1,e2}")),
        (json!({"endusers": [{"id": "e1", "name": "Kim, \"the\" Sample"}, {"id": "e2"}]}), Some("{e1,e2}")),
        (json!({"endusers": [{"_id": "e1"}]}), Some("{e1}")),
        (json!({"endusers": ["e1", {"id": "e2", "_id": "x"}, {"_id": "e3"}, {"name": "nobody"}, 7, null]}), Some("{e1,e2,e3}")),
        (json!({"endusers": ["e]1[", "ü{2}"]}), Some("{e]1[,\"ü{2}\"}")),
        (json!({"endusers": ["a\", \"b", "c"]}), None),
        (json!({"endusers": ["back\\slash"]}), None),
        (json!({"endusers": []}), None),
        (json!({"endusers": {}}), None),
        (json!({"endusers": {"id": "e1"}}), Some("{e1}")),
        (json!({"endusers": 7}), None),
        (json!({"endusers": ["", "undefined"]}), None),
        (json!({}), None),
    ];
    for object in ["tasks", "tickets", "conversations"] {
        check(object, "end_user_ids", &cases).await;
    }
    check("issues", "end_user_ids", &[(json!({"enduserIds": ["e1", "e2"]}), Some("{e1,e2}"))]).await;
    check("issues", "company_ids", &[(json!({"companyIds": ["c1", "c2"]}), Some("{c1,c2}")), (json!({"companyIds": []}), None)])
        .await;
}

#[tokio::test]
async fn a_reference_that_is_in_overflow_or_among_the_misfits_counts_too() {
    let sync = synced("tasks", vec![json!({"_id": "t1", "companyId": {"_id": "c1"}, "endusers": [{"id": "e1"}]})]).await;
    assert_eq!(sync.one("select company_id from planhat.tasks where _misfits is not null").await, "c1");
    sync.do_at_once(&["update planhat.tasks set planhat__endusers = null, planhat__company_id = null, _misfits = null,
             _overflow = '{\"companyId\": \"c2\", \"endusers\": [{\"id\": \"e2\"}]}'"])
        .await;
    assert_eq!(sync.one("select company_id || ' ' || end_user_ids::text from planhat.tasks").await, "c2 {e2}");
}

#[tokio::test]
async fn hashed_references_join_with_each_other_and_redacted_ones_with_nothing() {
    let companies = vec![json!({"_id": "c1", "owner": "u1"}), json!({"_id": "c2", "owner": "u1"})];
    let tickets = vec![json!({"_id": "t1", "companyId": "c1", "ownerId": "u1"})];
    let mut sync = TestSync::new(Workspace::empty().with("companies", companies).with("tickets", tickets)).await;
    let rules = |name: &str, rule| {
        let mut fields = FieldMap::default();
        fields.insert(name, rule);
        Rules::new(fields, Some(&"a key of sixteen characters".into()))
    };
    sync.limits.rules.insert("companies", rules("owner", Rule::Hash));
    sync.limits.rules.insert("tickets", rules("ownerId", Rule::Hash));
    sync.sync().await;
    assert_eq!(
        sync.one("select count(*)::text from planhat.companies join planhat.tickets using (owner_id) where owner_id <> 'u1'")
            .await,
        "2"
    );
    sync.limits.rules.insert("tickets", rules("companyId", Rule::Redact));
    sync.full_sync_one("tickets").await;
    assert_eq!(sync.one("select planhat__company_id from planhat.tickets where company_id is null").await, "[redacted]");
}

#[tokio::test]
async fn every_key_of_the_fixtures_joins_as_its_condition_says() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    let all: Vec<_> = catalog::OBJECTS.iter().collect();
    assert_eq!(sync.run(Mode::Incremental, &all).await.status, RunStatus::Succeeded);

    let keys: Vec<(String, String, String, String, String)> = sqlx::query_as(
        "select table_name, column_name, kind, references_table, join_condition from planhat.keys
         where references_column = 'planhat__id' order by 1, 2",
    )
    .fetch_all(sync.store.pool())
    .await
    .unwrap();
    let mut joined = Vec::new();
    for (table, column, kind, to, condition) in keys {
        let alias = if table == to { "other" } else { &*to };
        let sql = format!("select count(*) from planhat.{table} join planhat.{to} as {alias} on {condition}");
        let rows: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(sync.store.pool()).await.unwrap();
        joined.push(format!("{table}.{column} ({kind}) -> {to}: {rows}"));
    }
    insta::assert_snapshot!(joined.join("\n"));

    let comment = "select col_description('planhat.tickets'::regclass, attnum) from pg_attribute
        where attrelid = 'planhat.tickets'::regclass and attname = 'planhat__company_id'";
    assert_eq!(sync.one(comment).await, "companyId (property, text), refers to companies");
    let comment = "select col_description('planhat.tickets'::regclass, attnum) from pg_attribute
        where attrelid = 'planhat.tickets'::regclass and attname = 'company_id'";
    assert_eq!(sync.one(comment).await, "id of companies, for joins: made from companyId by planhat-sync");
}

#[tokio::test]
async fn the_joins_of_the_documentation_work() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync().await;
    let page = include_str!("../../docs/tables.md");
    let (_, joins) = page.split_once("## Joins").unwrap();
    let statements: Vec<&str> = joins.split("```sql tested\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert!(statements.len() >= 3);
    for statement in statements.iter().flat_map(|block| block.split(';')).filter(|statement| !statement.trim().is_empty()) {
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement)).fetch_all(sync.store.pool()).await;
        let rows = rows.unwrap_or_else(|error| panic!("{error}: {statement}"));
        // What creates an index gives no rows.
        assert!(!rows.is_empty() || !statement.contains("select"), "{statement}");
    }
}

#[tokio::test]
async fn a_second_sync_changes_nothing_of_the_columns_for_joins_and_the_keys() {
    let sync = TestSync::new(Workspace::from_fixtures()).await;
    sync.sync().await;
    let made = "select string_agg(concat_ws(' ', relname, relfilenode, pg_class.xmin, attname, pg_attribute.xmin), ',' order by relname, attname)
        from pg_class join pg_attribute on attrelid = pg_class.oid
        where relnamespace = 'planhat'::regnamespace and relkind = 'r'";
    let keys = "select string_agg(xmin::text, ',' order by table_name, column_name) from planhat.keys";
    let before = (sync.one(made).await, sync.one(keys).await);
    sync.sync().await;
    assert_eq!((sync.one(made).await, sync.one(keys).await), before);
}

#[tokio::test]
async fn what_planhat_sent_is_all_that_the_timeline_and_a_dry_run_show() {
    let sync = synced("tickets", vec![json!({"_id": "t1", "companyId": "c1", "endusers": [{"id": "e1"}]})]).await;
    assert_eq!(
        sync.one("select record ->> 'planhat__company_id' from planhat.timeline where not record ?| '{company_id,end_user_ids}'")
            .await,
        "c1"
    );
    sync.simulator.edit("tickets", "t1", sync.now, |record| _ = record.insert("companyId".into(), json!("c2")));
    sync.sync_one("tickets").await;
    assert_eq!(
        sync.one(
            "select (select string_agg(key, ' ' order by key) from jsonb_object_keys(changes) as key) from planhat.actions
             where kind = 'updated'"
        )
        .await,
        "planhat__company_id planhat__update_date"
    );
    assert_eq!(sync.one("select company_id from planhat.tickets").await, "c2");
    assert_eq!(
        sync.one("select count(*)::text from planhat_sync.columns where column_name not like 'planhat\\_\\_%'").await,
        "0"
    );
}

#[tokio::test]
async fn a_table_of_an_earlier_release_gets_its_columns_at_the_next_sync() {
    let store = Store::connect(&database_of_the_baseline().await.into(), "planhat", 4).await.unwrap();
    store.migrate().await.unwrap();
    let sync = TestSync::into(store, Workspace::from_fixtures(), Options::default()).await;
    let summary = sync.run(Mode::Incremental, &objects_of_the_baseline()).await;
    assert_eq!(summary.status, RunStatus::Succeeded);

    let made = "select string_agg(table_name || '.' || column_name, ' ' order by table_name, column_name)
        from information_schema.columns where table_schema = 'planhat' and is_generated = 'ALWAYS'";
    assert_eq!(
        sync.one(made).await,
        "companies.owner_id conversations.company_id conversations.end_user_ids conversations.owner_id endusers.company_id \
         licenses.company_id tasks.company_id tasks.end_user_ids tasks.owner_id"
    );
    let told = "select bool_and(col_description(attrelid, attnum) like '%, refers to companies')::text from pg_attribute
        where attrelid::regclass::text like 'planhat.%' and attname = 'planhat__company_id' and not attisdropped
            and attrelid in (select oid from pg_class where relkind = 'r')";
    assert_eq!(sync.one(told).await, "true");
    let owners = "select count(*)::text from planhat.companies where owner_id is distinct from
        coalesce(planhat__owner ->> '_id', planhat__owner #>> '{}')";
    assert_eq!(sync.one(owners).await, "0");
}

#[tokio::test]
async fn a_property_that_arrives_later_is_read_too_and_indexes_on_the_column_stay() {
    let sync = synced("tickets", vec![json!({"_id": "t1", "companyId": "c1", "agentId": "u1"})]).await;
    sync.do_at_once(&["create index mine on planhat.tickets (owner_id) where owner_id is not null"]).await;
    sync.simulator.add("tickets", json!({"_id": "t2", "companyId": "c1", "ownerId": "u2"}));
    let summary = sync.sync_one("tickets").await;
    assert_eq!(summary.warnings, Vec::<String>::new());
    assert_eq!(values(&sync, "tickets", "owner_id").await.into_values().flatten().collect::<Vec<_>>(), ["u1", "u2"]);
    assert_eq!(
        sync.one("select indexname from pg_indexes where indexdef like '%(owner_id) WHERE (owner_id IS NOT NULL)'").await,
        "mine"
    );
}

#[tokio::test]
async fn a_view_on_a_column_for_joins_is_left_alone_and_named() {
    let sync = synced("tickets", vec![json!({"_id": "t1", "companyId": "c1", "agentId": "u1"})]).await;
    sync.do_at_once(&["create view planhat.mine as select planhat__id, owner_id from planhat.tickets"]).await;
    sync.simulator.add("tickets", json!({"_id": "t2", "ownerId": "u2"}));
    let summary = sync.sync_one("tickets").await;
    let warning =
        "tickets: could not make the columns for joins: views depend on owner_id: planhat.mine; the next sync tries again";
    assert_eq!(summary.warnings, [warning]);
    assert_eq!(sync.one("select string_agg(planhat__id, ' ' order by planhat__id) from planhat.mine").await, "t1 t2");
    sync.assert_equals_workspace(&[catalog::object("tickets").unwrap()]).await;
}

async fn retype(
    sync: &TestSync,
    object: &'static str,
    column: &str,
    kind: ColumnType,
) -> Result<store::Retyped, store::StoreError> {
    let object = catalog::object(object).unwrap();
    let retyped = sync.store.transaction_once(async |db| {
        let columns = store::load_columns(db, "planhat", object).await?;
        store::retype(db, "planhat", object, columns.named(column).unwrap(), kind).await
    });
    retyped.await
}

#[tokio::test]
async fn retype_of_a_column_that_others_are_made_from_keeps_them_and_the_indexes_on_them() {
    let records = vec![json!({"_id": "c1", "owner": {"_id": "u1"}}), json!({"_id": "c2", "owner": "u1"})];
    let sync = synced("companies", records).await;
    sync.do_at_once(&["create index mine on planhat.companies (owner_id)"]).await;
    for kind in [ColumnType::Text, ColumnType::Json] {
        retype(&sync, "companies", "planhat__owner", kind).await.unwrap();
        assert_eq!(sync.one("select count(*)::text from planhat.companies where owner_id = 'u1'").await, "2", "{kind:?}");
        assert_eq!(sync.one("select count(*)::text from pg_indexes where indexname = 'mine'").await, "1");
    }
    // A number is no id, so there is nothing to join by until it has another type.
    retype(&sync, "companies", "planhat__owner", ColumnType::Number).await.unwrap();
    assert_eq!(sync.sync_one("companies").await.warnings, Vec::<String>::new());
    retype(&sync, "companies", "planhat__owner", ColumnType::Json).await.unwrap();
    assert_eq!(sync.one("select count(*)::text from planhat.companies where owner_id = 'u1'").await, "2");

    sync.do_at_once(&["create view planhat.owners as select owner_id from planhat.companies"]).await;
    let refused = retype(&sync, "companies", "planhat__owner", ColumnType::Text).await.unwrap_err();
    assert_eq!(refused.to_string(), "views depend on planhat__owner, owner_id: planhat.owners");
}

#[tokio::test]
async fn a_dropped_column_and_a_dropped_table_come_back_with_the_columns_for_joins() {
    let sync = synced("companies", vec![json!({"_id": "c1", "owner": {"_id": "u1"}})]).await;
    for dropped in [
        "alter table planhat.companies drop column owner_id",
        "alter table planhat.companies drop column planhat__owner cascade",
        "drop table planhat.companies cascade",
        "drop table planhat.keys",
    ] {
        sync.do_at_once(&[dropped]).await;
        sync.full_sync_one("companies").await;
        assert_eq!(sync.one("select owner_id from planhat.companies").await, "u1", "{dropped}");
        let to_users = "select count(*)::text from planhat.keys where references_table = 'users'";
        assert_eq!(sync.one(to_users).await, "0", "there is no such table yet");
        assert_ne!(sync.one("select count(*)::text from planhat.keys").await, "0", "{dropped}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_column_of_that_name_is_left_alone_and_named_by_check() {
    let simulator = crate::cli::simulator().await;
    simulator.add("companies", json!({"_id": "c9", "name": "Nine", "owner": "u0"}));
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users");
    assert_eq!(tool.run(&["sync"]).code, 0);
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let own = "alter table planhat.companies drop column owner_id; alter table planhat.companies add column owner_id text default 'mine'";
    sqlx::raw_sql(own).execute(&mut database).await.unwrap();
    assert_eq!(tool.run(&["sync", "--full"]).code, 0);
    let kept: String = sqlx::query_scalar("select min(owner_id) || max(owner_id) from planhat.companies")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(kept, "minemine");
    let checked = tool.run(&["check"]);
    let line = "warn  tables         planhat.companies has a column owner_id that planhat-sync did not create and does not touch. \
                Rename it, and the next sync creates its own, which joins need";
    assert!(checked.stdout.contains(line), "{}", checked.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_own_table_called_keys_is_left_alone_and_named_by_check() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies");
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let own = "create schema planhat; create table planhat.keys (mine text); insert into planhat.keys values ('mine')";
    sqlx::raw_sql(own).execute(&mut database).await.unwrap();
    assert_eq!(tool.run(&["sync"]).code, 0);
    let kept: String = sqlx::query_scalar("select mine from planhat.keys").fetch_one(&mut database).await.unwrap();
    assert_eq!(kept, "mine");
    let checked = tool.run(&["check"]).stdout;
    assert!(checked.contains("planhat.keys already exists and was not created by planhat-sync"), "{checked}");
}

#[tokio::test]
async fn a_table_that_cannot_be_rewritten_is_synced_without_the_columns_and_says_so() {
    let sync = synced("companies", vec![json!({"_id": "c1", "owner": "u1"})]).await;
    sync.do_at_once(&[
        "alter table planhat.companies drop column owner_id",
        "create function refuse() returns event_trigger language plpgsql as $$ begin
             if current_query() like '%generated always%' then raise exception 'not on a working day'; end if; end $$",
        "create event trigger refuse on ddl_command_start when tag in ('ALTER TABLE') execute function refuse()",
    ])
    .await;
    sync.simulator.edit("companies", "c1", sync.now, |record| _ = record.insert("name".into(), json!("Acme")));
    let summary = sync.sync_one("companies").await;
    assert_eq!(summary.run.figures.updated, 1);
    let warning = "companies: could not make the columns for joins: could not add the columns for joins to a table: ";
    assert!(summary.warnings.len() == 1 && summary.warnings[0].starts_with(warning), "{:?}", summary.warnings);
    sync.assert_equals_workspace(&[catalog::object("companies").unwrap()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_in_the_way_of_the_rewrite_costs_seconds_and_a_warning() {
    let sync = synced("companies", vec![json!({"_id": "c1", "owner": "u1"})]).await;
    sync.do_at_once(&["alter table planhat.companies drop column owner_id"]).await;
    let mut reader = sync.store.pool().begin().await.unwrap();
    sqlx::query("select from planhat.companies").execute(&mut *reader).await.unwrap();
    let summary = sync.sync_one("companies").await;
    assert!(summary.warnings[0].contains("could not make the columns for joins"), "{:?}", summary.warnings);
    reader.rollback().await.unwrap();
    assert_eq!(sync.sync_one("companies").await.warnings, Vec::<String>::new());
    assert_eq!(sync.one("select owner_id from planhat.companies").await, "u1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_data_schema_alone_is_restored_with_columns_and_keys() {
    let url = fresh_database().await;
    let store = Store::connect(&url.clone().into(), "planhat", 4).await.unwrap();
    let sync = TestSync::into(store, Workspace::from_fixtures(), Options::default()).await;
    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);
    let other = fresh_database().await;
    let binaries = std::env::var("PG_BINDIR").unwrap();
    let dump = Command::new(format!("{binaries}/pg_dump")).args(["--schema=planhat", "--no-comments", &url]).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump.stdout).unwrap();
    let restored = Command::new(format!("{binaries}/psql"))
        .args(["-v", "ON_ERROR_STOP=1", "-q", "-f", file.path().to_str().unwrap(), &other])
        .output()
        .unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));

    let mut restored = PgConnection::connect(&other).await.unwrap();
    let counted = "select count(*)::text || ' ' || (select count(*) from planhat.keys) from planhat.tickets
        join planhat.companies on companies.planhat__id = tickets.company_id
        join planhat.endusers on endusers.planhat__id = any (tickets.end_user_ids)";
    let there: String = sqlx::query_scalar(counted).fetch_one(&mut restored).await.unwrap();
    assert_eq!(there, sync.one(counted).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_shows_the_columns_for_joins_as_ours_and_its_statements_make_them() {
    let simulator = crate::cli::simulator().await;
    simulator.add("companies", json!({"_id": "c9", "name": "Nine", "owner": "u0"}));
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users");
    assert_eq!(tool.run(&["sync"]).code, 0);
    let shown = tool.run(&["schema", "companies"]).stdout;
    let line = shown.lines().find(|line| line.contains(" owner_id ")).unwrap();
    let cells: Vec<&str> = line.split(['│', '┆']).map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells, ["owner_id", "text", "owner", "for joins"]);
    let json = tool.run(&["schema", "companies", "--json"]).json();
    let expected = json!([{"column": "owner_id", "type": "text", "made_from": "owner", "refers_to": "users"}]);
    assert_eq!(json[0]["join_columns"], expected);

    let statements = tool.run(&["schema", "--sql"]).stdout;
    let mut other = PgConnection::connect(&fresh_database().await).await.unwrap();
    sqlx::raw_sql("create schema planhat").execute(&mut other).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut other).await.unwrap();
    sqlx::raw_sql(
        "insert into planhat.companies (planhat__id, _row_hash, _run_id, planhat__owner) values ('c', 1, 1, '{\"_id\": \"u\"}');
         insert into planhat.users (planhat__id, _row_hash, _run_id) values ('u', 1, 1)",
    )
    .execute(&mut other)
    .await
    .unwrap();
    let joined = "select count(*) from planhat.companies join planhat.users on users.planhat__id = owner_id";
    assert_eq!(sqlx::query_scalar::<_, i64>(joined).fetch_one(&mut other).await.unwrap(), 1);
}
