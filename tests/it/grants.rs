//! Roles that may read: what they are granted, when, and what they are never granted.

use planhat_simulator::Workspace;
use planhat_store::RunStatus;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::cli::Tool;
use crate::harness::TestSync;

/// Roles belong to the whole server, so each test has one of its own.
async fn role(sync: &TestSync, name: &str) -> String {
    let name = format!("{name} of {}", sync.one("select current_database()::text").await);
    let create = format!("create role \"{}\"", name.replace('"', "\"\""));
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(sync.store.pool()).await.unwrap();
    name
}

/// The relations of both schemas that a role may read.
async fn readable(sync: &TestSync, role: &str) -> String {
    let sql = "select string_agg(nspname || '.' || relname, ' ' order by nspname, relname)
        from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname in ('planhat', 'planhat_sync') and relkind in ('r', 'v') and has_schema_privilege($1, nspname, 'usage')
            and has_table_privilege($1, pg_class.oid, 'select')";
    sqlx::query_scalar::<_, Option<String>>(sql).bind(role).fetch_one(sync.store.pool()).await.unwrap().unwrap_or_default()
}

async fn more_than_select(sync: &TestSync, role: &str) -> i64 {
    let sql = "select count(*) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname in ('planhat', 'planhat_sync') and relkind in ('r', 'v')
            and has_table_privilege($1, pg_class.oid, 'insert, update, delete, truncate, references, trigger, select with grant option')";
    sqlx::query_scalar(sql).bind(role).fetch_one(sync.store.pool()).await.unwrap()
}

const OWN_TABLES: &str =
    "planhat_sync.columns planhat_sync.cursors planhat_sync.object_runs planhat_sync.object_states planhat_sync.runs";

fn workspace() -> Workspace {
    let companies = vec![json!({"_id": "c1", "name": "Acme", "owner": "u1"})];
    Workspace::empty().with("companies", companies).with("users", vec![json!({"_id": "u1"})])
}

#[tokio::test]
async fn a_reader_may_read_what_there_is_and_what_a_run_makes_and_nothing_else() {
    let mut sync = TestSync::new(workspace()).await;
    let reader = role(&sync, "odd \"reader\" o'Brien; drop").await;
    sync.store.readers = vec![reader.clone()];
    sync.do_at_once(&["create table planhat.of_the_user (x int)"]).await;

    sync.sync_one("companies").await;
    assert_eq!(
        readable(&sync, &reader).await,
        format!("planhat.actions planhat.companies planhat.keys planhat.timeline {OWN_TABLES}")
    );
    sync.sync_one("users").await;
    assert!(readable(&sync, &reader).await.contains("planhat.users"));
    assert_eq!(more_than_select(&sync, &reader).await, 0);

    // What is dropped and made again, too; and what was taken from the reader.
    sync.do_at_once(&["drop table planhat.companies cascade; drop table planhat.keys"]).await;
    sync.do_at_once(&["create role nobody_yet_there nologin; drop role nobody_yet_there"]).await;
    sync.full_sync_one("companies").await;
    assert!(
        readable(&sync, &reader)
            .await
            .starts_with("planhat.actions planhat.companies planhat.keys planhat.timeline planhat.users ")
    );

    sync.store.readers.clear();
    sync.sync().await;
    assert!(readable(&sync, &reader).await.starts_with("planhat.actions planhat.companies"), "nothing is revoked");
}

#[tokio::test]
async fn a_run_that_finds_nothing_missing_grants_nothing() {
    let mut sync = TestSync::new(workspace()).await;
    let reader = role(&sync, "reader").await;
    sync.store.readers = vec![reader, "public".to_owned()];
    sync.sync().await;
    let acls = "select string_agg(concat_ws(' ', relname, xmin, relacl::text), ',' order by relname) from pg_class
        where relnamespace in ('planhat'::regnamespace, 'planhat_sync'::regnamespace)";
    let before = sync.one(acls).await;
    assert!(before.contains("=r/"), "{before}");
    sync.sync().await;
    assert_eq!(sync.one(acls).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_exist_is_a_warning_with_the_statement_and_the_run_goes_on() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator)
        .await
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies")
        .set("PLANHAT_SYNC__DATABASE__GRANT_SELECT_TO", "public, no such role");
    tool.set_log("warn");
    let ran = tool.run(&["sync"]);
    assert_eq!(ran.code, 0, "{}", ran.all());
    let warned = r#"could not grant usage on schema "planhat" to "no such role""#;
    assert!(ran.stderr.contains(warned) && ran.stderr.contains("does not exist"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches(warned).count(), 1, "{}", ran.stderr);

    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let may_read = "select has_table_privilege(0::oid, 'planhat.companies', 'select')";
    assert!(sqlx::query_scalar::<_, bool>(may_read).fetch_one(&mut database).await.unwrap());
    let checked = tool.run(&["check"]).stdout;
    let line = "warn  readers        role \"no such role\" does not exist; create it, or take it out of database.grant_select_to: \
                grant usage on schema \"planhat\" to \"no such role\"";
    assert!(checked.contains(line), "{checked}");

    let statements = tool.run(&["schema", "--sql"]).stdout;
    for statement in [
        r#"grant usage on schema "planhat" to "public";"#,
        r#"grant select on "planhat"."companies", "planhat"."actions", "planhat"."keys" to "public";"#,
        r#"alter default privileges in schema "planhat" grant select on tables to "public";"#,
        r#"to "no such role";"#,
    ] {
        assert!(statements.contains(statement), "{statements}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_which_grants_are_missing_and_when_all_is_well() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies");
    tool.run(&["sync"]);
    let mut tool = tool.set("PLANHAT_SYNC__DATABASE__GRANT_SELECT_TO", "public");
    let checked = tool.run(&["check"]).stdout;
    assert!(
        checked
            .contains("warn  readers        missing, and granted by the next sync if it may: grant usage on schema \"planhat\""),
        "{checked}"
    );
    tool.run(&["sync"]);
    let checked = tool.run(&["check"]).stdout;
    assert!(checked.contains("ok    readers        public can read the data"), "{checked}");
}

#[tokio::test]
async fn a_role_that_may_not_grant_goes_on_without() {
    let mut sync = TestSync::new(workspace()).await;
    let reader = role(&sync, "reader").await;
    let owner = role(&sync, "owner").await;
    sync.store.readers = vec![reader.clone()];
    // The tables stay ours, the schema is another role's, on which ours may not grant.
    let tester = role(&sync, "loader").await;
    let database = sync.one("select current_database()::text").await;
    let setup = format!(
        "alter role \"{tester}\" login password 'x'; grant all on database {database} to \"{tester}\";
         create schema planhat_of_another authorization \"{owner}\"; alter schema planhat owner to \"{owner}\";
         grant usage, create on schema planhat to \"{tester}\"; alter schema planhat_sync owner to \"{tester}\";
         do $$ declare one text; begin for one in select oid::regclass from pg_class where relnamespace = 'planhat_sync'::regnamespace and relkind = 'r' loop
             execute format('alter table %s owner to %I', one, '{tester}'); end loop; end $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(sync.store.pool()).await.unwrap();
    let options = sync.store.pool().connect_options().as_ref().clone().username(&tester).password("x");
    let url = sqlx::ConnectOptions::to_url_lossy(&options).to_string();
    let store = planhat_store::Store::connect(&url.into(), "planhat", 4).await.unwrap();
    let admin = std::mem::replace(&mut sync.store, store);
    sync.store.readers = vec![reader.clone()];

    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);

    let mut db = sync.store.pool().acquire().await.unwrap();
    let missing = planhat_store::missing_grants(&mut db, "planhat", &[reader]).await.unwrap();
    let statements: Vec<&str> = missing.iter().map(|grant| grant.statement.split(" to ").next().unwrap()).collect();
    assert_eq!(statements, ["grant usage on schema \"planhat\""]);
    drop(db);
    admin.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_may_connect_even_where_the_database_is_closed_to_the_public() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies");
    let url = tool.database();
    let name = url.rsplit('/').next().unwrap();
    let reader = format!("reader of {name}");
    let mut database = PgConnection::connect(&url).await.unwrap();
    let setup = format!("create role \"{reader}\" login; revoke connect on database {name} from public");
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(&mut database).await.unwrap();
    tool.run(&["sync"]);

    let mut tool = tool.set("PLANHAT_SYNC__DATABASE__GRANT_SELECT_TO", &reader);
    let statement = format!("grant connect on database \"{name}\" to \"{reader}\"");
    let checked = tool.run(&["check"]).stdout;
    let line = format!("warn  readers        missing, and granted by the next sync if it may: {statement}\n");
    assert!(checked.contains(&line), "{checked}");

    tool.run(&["sync"]);
    let may_connect = "select has_database_privilege($1, current_database(), 'connect')";
    assert!(sqlx::query_scalar::<_, bool>(may_connect).bind(&reader).fetch_one(&mut database).await.unwrap());
    assert!(tool.run(&["check"]).stdout.contains(&format!("ok    readers        {reader} can read the data")));
}
