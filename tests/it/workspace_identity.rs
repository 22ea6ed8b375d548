//! A schema belongs to one workspace: another workspace is refused before any row is written, and the same workspace is recognised
//! by another token or on another host.

use std::sync::Arc;

use planhat_api::{Client, RowsPerPage};
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use planhat_store::{self as store, ObjectStatus, RunStatus, Store};
use planhat_sync::pull::{BackfillRange, HistoryFrom, Mode};
use planhat_sync::run::{self, RunError, RunRequest, Summary};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::cli::{CommandOutput, Tool};
use crate::daemon::DaemonProcess;
use crate::harness::{TestSync, client_of, day, fresh_database, written};

const COMPANIES_AND_USERS: [&str; 2] = ["companies", "users"];

fn objects(names: &[&str]) -> Vec<&'static Object> {
    names.iter().map(|name| catalog::object(name).unwrap()).collect()
}

fn with_ids(ids: impl IntoIterator<Item = String>) -> Vec<Value> {
    ids.into_iter().map(|id| json!({"_id": id})).collect()
}

/// A workspace whose ids begin with its name.
fn workspace(name: &str) -> Workspace {
    let ids = |object: &str| with_ids((0..8).map(|number| format!("{name}-{object}-{number}")));
    Workspace::empty().with("companies", ids("companies")).with("users", ids("users"))
}

async fn served(workspace: Workspace) -> Simulator {
    Simulator::start(workspace, Options::default()).await.unwrap()
}

/// A schema that the workspace `acme` has filled.
async fn filled() -> TestSync {
    let sync = TestSync::new(workspace("acme")).await;
    assert_eq!(sync.run(Mode::Incremental, &objects(&COMPANIES_AND_USERS)).await.status, RunStatus::Succeeded);
    sync.simulator.forget_requests();
    sync
}

async fn run_by(sync: &TestSync, client: &Client, mode: Mode) -> Result<Summary, RunError> {
    sync.run_of(client, &sync.request(mode, &objects(&COMPANIES_AND_USERS))).await
}

/// Ids that were asked for one by one.
fn asked_for(simulator: &Simulator) -> usize {
    simulator.requests().iter().filter(|request| request.path[1..].contains('/')).count()
}

/// All rows of all tables in both schemas.
async fn contents(database: &mut PgConnection) -> Vec<String> {
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname like 'planhat%' order by 1";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *database).await.unwrap();
    let mut contents = Vec::new();
    for table in tables {
        let rows = sqlx::AssertSqlSafe(format!(
            "select coalesce(string_agg(r, ' '), '') from (select to_json(t)::text r from {table} t order by 1) r"
        ));
        let rows: String = sqlx::query_scalar(rows).fetch_one(&mut *database).await.unwrap();
        contents.push(format!("{table}: {rows}"));
    }
    contents
}

async fn contents_of(sync: &TestSync) -> Vec<String> {
    contents(&mut sync.store.pool().acquire().await.unwrap()).await
}

const PROVEN_BY: &str = "select proven_by from planhat_sync.workspaces";
const LIVE: &str = "select string_agg(planhat__id, ' ' order by planhat__id) from planhat.companies where _deleted_at is null";

#[tokio::test]
async fn data_tables_without_the_planhat_sync_schema_are_not_treated_as_empty() {
    let sync = filled().await;
    sync.do_at_once(&["drop schema planhat_sync cascade"]).await;
    let other = served(workspace("bolt")).await;
    let (objects, stop) = (objects(&COMPANIES_AND_USERS), &sync.stop);

    let dry =
        run::preview(&client_of(&other, other.token()), &sync.store, &sync.request(Mode::Incremental, &objects), false, stop)
            .await;

    assert!(matches!(dry, Err(RunError::OtherWorkspace { .. })), "{dry:?}");
    let own = run::preview(&sync.client(), &sync.store, &sync.request(Mode::Incremental, &objects), false, stop).await;
    assert_eq!(own.unwrap().status, RunStatus::Succeeded);
}

#[tokio::test]
async fn the_first_run_binds_the_schema_and_later_runs_request_no_ids() {
    let sync = filled().await;
    assert_eq!(sync.one(PROVEN_BY).await, "first sync");
    assert_eq!(sync.one("select host from planhat_sync.workspaces").await, sync.simulator.url());
    assert_eq!(sync.one("select length(fingerprint)::text from planhat_sync.workspaces").await, "64");
    let before = sync.one("select to_json(w)::text from planhat_sync.workspaces w").await;

    run_by(&sync, &sync.client(), Mode::Incremental).await.unwrap();

    assert_eq!(asked_for(&sync.simulator), 0);
    assert_eq!(sync.one("select to_json(w)::text from planhat_sync.workspaces w").await, before);
}

#[tokio::test]
async fn another_workspace_is_refused_before_anything_is_written() {
    let sync = filled().await;
    let other = served(workspace("bolt")).await;
    let client = client_of(&other, other.token());
    let before = contents_of(&sync).await;

    for mode in [Mode::Incremental, Mode::Full, Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: None })] {
        let refused = run_by(&sync, &client, mode).await.unwrap_err();
        assert!(matches!(refused, RunError::OtherWorkspace { .. }), "{refused}");
        assert!(refused.to_string().contains("0 of 16 stored records were found by their ids"), "{refused}");
    }
    let request = objects(&COMPANIES_AND_USERS);
    let preview = run::preview(&client, &sync.store, &sync.request(Mode::Full, &request), true, &sync.stop).await;
    assert!(matches!(preview.unwrap_err(), RunError::OtherWorkspace { .. }));

    assert_eq!(contents_of(&sync).await, before);
    assert!(other.requests().iter().all(|request| request.path[1..].contains('/')), "nothing was listed");
}

#[tokio::test]
async fn at_least_half_of_the_requested_ids_must_exist_in_the_same_workspace() {
    for (shared, is_the_same) in [(16, true), (8, true), (7, false), (1, false)] {
        let sync = filled().await;
        let ids = |object: &str, shared: usize| {
            let ours = (0..shared).map(|number| format!("acme-{object}-{number}"));
            with_ids(ours.chain((0..5).map(|number| format!("bolt-{object}-{number}"))))
        };
        let of_users = shared / 2;
        let mixed =
            Workspace::empty().with("companies", ids("companies", shared - of_users)).with("users", ids("users", of_users));
        let mixed = served(mixed).await;
        let before = contents_of(&sync).await;

        let run = run_by(&sync, &client_of(&mixed, mixed.token()), Mode::Incremental).await;

        assert_eq!(run.is_ok(), is_the_same, "{shared}");
        assert_eq!(contents_of(&sync).await == before, !is_the_same, "{shared}");
    }
}

#[tokio::test]
async fn a_rotated_token_is_recorded_once_stored_records_prove_the_workspace() {
    let sync = filled().await;
    sync.simulator.rotate_token("rotated");
    let client = client_of(&sync.simulator, "rotated");
    let watermark = sync.one("select min(watermark)::text from planhat_sync.cursors").await;

    run_by(&sync, &client, Mode::Incremental).await.unwrap();

    assert_eq!(sync.one(PROVEN_BY).await, "stored records");
    assert_eq!(asked_for(&sync.simulator), 16);
    assert_eq!(sync.one("select min(watermark)::text from planhat_sync.cursors").await, watermark, "nothing is read anew");
    sync.simulator.forget_requests();
    run_by(&sync, &client, Mode::Incremental).await.unwrap();
    assert_eq!(asked_for(&sync.simulator), 0);
    assert_eq!(sync.one("select count(*)::text from planhat.companies").await, "8");
}

#[tokio::test]
async fn another_host_is_recorded_once_stored_records_prove_the_workspace() {
    let sync = filled().await;
    let moved = served(workspace("acme")).await;

    run_by(&sync, &client_of(&moved, moved.token()), Mode::Incremental).await.unwrap();

    assert_eq!(sync.one(PROVEN_BY).await, "stored records");
    assert_eq!(sync.one("select host from planhat_sync.workspaces").await, moved.url());
}

#[tokio::test]
async fn at_most_twenty_ids_are_requested_from_all_tables() {
    let names = ["companies", "users", "tickets"];
    let many = names.iter().fold(Workspace::empty(), |workspace, object| {
        workspace.with(object, with_ids((0..200).map(|number| format!("{object}-{number:03}"))))
    });
    let sync = TestSync::new(many).await;
    sync.run(Mode::Incremental, &objects(&names)).await;
    sync.simulator.rotate_token("rotated");
    sync.simulator.forget_requests();

    let objects = objects(&names);
    sync.run_of(&client_of(&sync.simulator, "rotated"), &sync.request(Mode::Incremental, &objects)).await.unwrap();

    assert_eq!(asked_for(&sync.simulator), 20);
    let of = |object: &str| {
        sync.simulator.requests().iter().filter(|request| request.path.starts_with(&format!("/{object}/"))).count()
    };
    assert!(names.iter().all(|object| of(object) >= 6), "{:?}", names.map(of));
}

#[tokio::test]
async fn tables_that_were_never_bound_are_verified_by_their_ids() {
    let sync = filled().await;
    let other = served(workspace("bolt")).await;
    sync.do_at_once(&["delete from planhat_sync.workspaces"]).await;
    let before = contents_of(&sync).await;

    let refused = run_by(&sync, &client_of(&other, other.token()), Mode::Incremental).await.unwrap_err();
    assert!(refused.to_string().contains("no token was recorded for it before"), "{refused}");
    assert_eq!(contents_of(&sync).await, before);

    run_by(&sync, &sync.client(), Mode::Incremental).await.unwrap();
    assert_eq!(sync.one(PROVEN_BY).await, "stored records");
}

#[tokio::test]
async fn an_emptied_workspace_triggers_the_deletion_guard_and_is_refused_with_another_token() {
    let sync = filled().await;
    for object in COMPANIES_AND_USERS {
        sync.simulator.ids(object).iter().for_each(|id| assert!(sync.simulator.delete(object, id)));
    }

    let emptied = run_by(&sync, &sync.client(), Mode::Full).await.unwrap();
    assert!(emptied.objects.iter().all(|object| object.run.figures.deleted == 0 && !object.warnings.is_empty()));

    sync.simulator.rotate_token("rotated");
    let before = contents_of(&sync).await;
    let refused = run_by(&sync, &client_of(&sync.simulator, "rotated"), Mode::Full).await.unwrap_err();
    assert!(matches!(refused, RunError::OtherWorkspace { .. }), "{refused}");
    assert_eq!(contents_of(&sync).await, before);
}

#[tokio::test]
async fn a_schema_whose_rows_are_all_deleted_is_neither_proven_nor_empty() {
    let sync = filled().await;
    sync.do_at_once(&["update planhat.companies set _deleted_at = now()", "update planhat.users set _deleted_at = now()"]).await;
    sync.simulator.rotate_token("rotated");

    let refused = run_by(&sync, &client_of(&sync.simulator, "rotated"), Mode::Incremental).await.unwrap_err();

    assert!(refused.to_string().contains("no stored record is left to verify with"), "{refused}");
}

#[tokio::test]
async fn a_schema_with_only_a_timeline_is_not_empty() {
    let sync = filled().await;
    sync.do_at_once(&["drop table planhat.companies cascade; drop table planhat.users cascade"]).await;
    let other = served(workspace("bolt")).await;

    let refused = run_by(&sync, &client_of(&other, other.token()), Mode::Incremental).await.unwrap_err();
    assert!(matches!(refused, RunError::OtherWorkspace { .. }), "{refused}");

    run_by(&sync, &sync.client(), Mode::Incremental).await.unwrap();
    assert_eq!(sync.one("select count(*)::text from planhat.companies").await, "8");
}

#[tokio::test]
async fn an_empty_schema_accepts_any_workspace_and_discards_the_cursors_of_the_old_one() {
    let old = Workspace::empty().with("companies", vec![json!({"_id": "old", "updatedAt": written(day(-3000))})]);
    let sync = TestSync::new(old).await;
    sync.sync_one("companies").await;
    assert_eq!(sync.one("select count(*)::text from planhat_sync.cursors").await, "1");
    let last_year = json!({"_id": "new", "updatedAt": written(day(-400)), "lastTouch": written(day(-400))});
    let other = served(Workspace::empty().with("companies", vec![last_year])).await;

    run_by(&sync, &client_of(&other, other.token()), Mode::Incremental).await.unwrap();

    assert_eq!(sync.one(LIVE).await, "new");
    assert_eq!(sync.one(PROVEN_BY).await, "first sync");
}

#[tokio::test]
async fn an_unverifiable_workspace_fails_the_run_and_records_nothing() {
    let sync = filled().await;
    sync.simulator.rotate_token("rotated");
    let client = client_of(&sync.simulator, "rotated");
    let before = contents_of(&sync).await;
    let unproven = async |why: &str| {
        let error = run_by(&sync, &client, Mode::Incremental).await.unwrap_err();
        assert!(matches!(error, RunError::Unproven { .. }), "{why}: {error}");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains(why), "{error:?}");
        assert_eq!(contents_of(&sync).await, before, "{why}");
    };

    COMPANIES_AND_USERS.iter().for_each(|object| sync.simulator.forbid(object));
    unproven("403").await;
    COMPANIES_AND_USERS.iter().for_each(|object| sync.simulator.allow(object));

    let stored =
        COMPANIES_AND_USERS.iter().flat_map(|object| (0..8).map(move |number| format!("{object}/acme-{object}-{number}")));
    let stored: Vec<String> = stored.collect();
    stored.iter().for_each(|path| sync.simulator.answer_next(path, vec![ScriptedAnswer::status(503); 20]));
    unproven("503").await;
    sync.simulator.clear_faults();

    sync.simulator.rotate_token("rotated again");
    unproven("401").await;
}

#[tokio::test]
async fn a_run_stopped_while_it_verifies_the_workspace_writes_nothing() {
    let sync = filled().await;
    sync.simulator.rotate_token("rotated");
    let before = contents_of(&sync).await;
    sync.stop.cancel();

    let stopped = run_by(&sync, &client_of(&sync.simulator, "rotated"), Mode::Incremental).await.unwrap_err();

    assert!(matches!(stopped, RunError::Stopped), "{stopped}");
    assert_eq!(contents_of(&sync).await, before);
}

#[tokio::test]
async fn the_workspace_is_verified_by_the_tables_that_the_token_may_read() {
    let sync = filled().await;
    sync.simulator.rotate_token("rotated");
    sync.simulator.forbid("users");

    let run = run_by(&sync, &client_of(&sync.simulator, "rotated"), Mode::Incremental).await.unwrap();

    assert_eq!(run.objects[1].run.status, ObjectStatus::Failed, "it could be read before");
    assert_eq!(sync.one(PROVEN_BY).await, "stored records");
}

#[tokio::test]
async fn of_two_simultaneous_first_runs_one_binds_the_schema() {
    let sync = Arc::new(TestSync::new(workspace("acme")).await);
    let other = served(workspace("bolt")).await;
    let (ours, theirs) = (sync.client(), client_of(&other, other.token()));

    let (first, second) = tokio::join!(run_by(&sync, &ours, Mode::Incremental), run_by(&sync, &theirs, Mode::Incremental));

    // One that comes when the other has ended is refused, or finds the schema bound meanwhile.
    assert_ne!(first.is_ok(), second.is_ok(), "{first:?} {second:?}");
    let winner = if first.is_ok() { "acme" } else { "bolt" };
    let of_one = "select string_agg(distinct split_part(planhat__id, '-', 1), ' ') from
        (select planhat__id from planhat.companies union all select planhat__id from planhat.users) as all_rows";
    assert_eq!(sync.one(of_one).await, winner);
    let bound_to = if first.is_ok() { sync.simulator.url() } else { other.url() };
    assert_eq!(sync.one("select host from planhat_sync.workspaces").await, bound_to);
}

#[tokio::test]
async fn a_paused_backfill_does_not_continue_in_a_schema_that_was_bound_to_another_workspace() {
    let records = with_ids((0..600).map(|number| format!("{number:05}")));
    let mut sync = TestSync::new(Workspace::empty().with("projects", records)).await;
    sync.limits.pages.size = RowsPerPage::Fixed(2);
    let other = served(workspace("bolt")).await;
    let projects = objects(&["projects"]);
    let everything = Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: None });
    let backfill = RunRequest { command: "backfill", ..sync.request(everything, &projects) };
    let client = sync.client();
    let held = sync.hold_at_page(3, "projects");
    let adopt = async {
        held.reached().await;
        let run_id = run::begin(&sync.store, "adopt", None, &sync.stop).await.unwrap().run_id;
        run::adopt(&client_of(&other, other.token()), &sync.store, run_id).await.unwrap();
        run::end(&sync.store, run_id, RunStatus::Succeeded, &store::Explanation::default()).await.unwrap();
    };

    let (backfilled, (), ()) = tokio::join!(sync.run_of(&client, &backfill), adopt, held.until_preempted(&sync));

    let backfilled = backfilled.unwrap();
    assert_eq!(backfilled.status, RunStatus::Failed);
    let reason = backfilled.objects[0].run.reason.as_deref().unwrap();
    assert!(reason.contains("another run has bound schema planhat to another token in the meantime"), "{reason}");
    assert_eq!(sync.one("select host from planhat_sync.workspaces").await, other.url());
}

#[tokio::test]
async fn a_paused_first_load_does_not_let_another_workspace_into_its_schema() {
    let records = with_ids((0..600).map(|number| format!("acme-projects-{number:05}")));
    let mut sync = TestSync::new(Workspace::empty().with("projects", records)).await;
    sync.limits.pages.size = RowsPerPage::Fixed(2);
    let other = served(Workspace::empty().with("projects", with_ids(["bolt-projects-0".to_owned()]))).await;
    let projects = objects(&["projects"]);
    let everything = Mode::Backfill(BackfillRange { from: HistoryFrom::Earliest, until: None });
    let backfill = RunRequest { command: "backfill", ..sync.request(everything, &projects) };
    let (ours, theirs) = (sync.client(), client_of(&other, other.token()));
    let held = sync.hold_at_page(1, "projects");
    // It finds nothing stored yet, and then waits for its turn.
    let other_sync = async {
        held.reached().await;
        let refused = sync.run_of(&theirs, &sync.request(Mode::Incremental, &projects)).await.unwrap_err();
        sync.stop.cancel();
        refused
    };

    let (_, refused, ()) = tokio::join!(sync.run_of(&ours, &backfill), other_sync, held.until_requested(&sync));

    assert!(refused.to_string().contains("another run has bound schema planhat to another token in the meantime"), "{refused}");
    let of = "select string_agg(distinct split_part(planhat__id, '-', 1), ' ') from planhat.projects";
    assert_eq!(sync.one(of).await, "acme");
    assert_eq!(sync.one("select host from planhat_sync.workspaces").await, sync.simulator.url());
}

#[tokio::test]
async fn verifying_the_workspace_works_with_one_connection() {
    let store = Store::connect(&fresh_database().await.into(), "planhat", 1).await.unwrap();
    let sync = TestSync::into(store, workspace("acme"), Options::default()).await;
    sync.run(Mode::Incremental, &objects(&COMPANIES_AND_USERS)).await;
    sync.simulator.rotate_token("rotated");
    let other = served(workspace("bolt")).await;

    run_by(&sync, &client_of(&sync.simulator, "rotated"), Mode::Full).await.unwrap();
    assert_eq!(sync.one(PROVEN_BY).await, "stored records");
    assert!(run_by(&sync, &client_of(&other, other.token()), Mode::Full).await.is_err());
}

#[cfg(feature = "embedded")]
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_is_bound_to_one_workspace() {
    let (acme, bolt) = (served(workspace("acme")).await, served(workspace("bolt")).await);
    let mut tool = of(&acme, "");
    let adopted = tool.run(&["adopt"]);
    assert!(adopted.code == 2 && adopted.stderr.starts_with("error: there is no database yet"), "{}", adopted.all());
    assert_eq!(tool.run(&["sync"]).code, 0);
    acme.rotate_token("rotated");
    let mut tool = tool.set("PLANHAT_API_TOKEN", "rotated");
    assert_eq!(tool.run(&["sync"]).code, 0);

    let mut tool = to(tool, &bolt);
    assert_eq!(tool.run(&["check"]).code, 2);
    assert_eq!(tool.run(&["sync"]).code, 2);
    assert_eq!(tool.run(&["adopt"]).code, 0);
    assert_eq!(tool.run(&["sync"]).code, 0);
}

/// The tool with the workspace of a simulator.
fn of(simulator: &Simulator, database: &str) -> Tool {
    to(Tool::new().set("DATABASE_URL", database), simulator)
}

fn to(tool: Tool, simulator: &Simulator) -> Tool {
    tool.set("PLANHAT_API_URL", &simulator.url())
        .set("PLANHAT_API_TOKEN", simulator.token())
        .set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users")
}

fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        // Whichever answers first.
        (r"/(companies|users)/…", "/OBJECT/…"),
        (r"PostgreSQL \d+.*", "PostgreSQL VERSION"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME"),
    ]
}

/// The line of `check` that is about the workspace.
fn line_of(ran: &CommandOutput) -> String {
    let line = ran.stdout.lines().find(|line| line.contains(" workspace "));
    format!("exit {}\n{}", ran.code, line.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_reports_the_evidence_and_what_to_do() {
    let acme = served(workspace("acme")).await;
    let options = Options { token: "of-bolt".to_owned(), ..Options::default() };
    let bolt = Simulator::start(workspace("bolt"), options).await.unwrap();
    let url = fresh_database().await;
    let mut tool = of(&acme, &url);
    assert_eq!(tool.run(&["sync"]).code, 0);
    insta::with_settings!({filters => filters()}, { insta::assert_snapshot!(line_of(&tool.run(&["check"])), @"
    exit 0
    ok    workspace      schema planhat belongs to the workspace of this token on http://127.0.0.1:PORT since TIME
    ") });
    let mut database = PgConnection::connect(&url).await.unwrap();

    acme.rotate_token("rotated");
    tool = tool.set("PLANHAT_API_TOKEN", "rotated");
    let before = contents(&mut database).await;
    insta::with_settings!({filters => filters()}, { insta::assert_snapshot!(line_of(&tool.run(&["check"])), @"
    exit 0
    ok    workspace      schema planhat belongs to this workspace, which the next sync records: the host is http://127.0.0.1:PORT as before, the token is another one; 16 of 16 stored records were found by their ids (8 of 8 of companies, 8 of 8 of users)
    ") });
    assert_eq!(tool.run(&["sync", "--dry-run"]).code, 0);
    assert_eq!(contents(&mut database).await, before, "looking notes nothing");

    let mut tool = to(tool, &bolt);
    insta::with_settings!({filters => filters()}, {
        insta::assert_snapshot!(line_of(&tool.run(&["check"])), @"
        exit 2
        fail  workspace      schema planhat belongs to another workspace: the host was http://127.0.0.1:PORT and is http://127.0.0.1:PORT, the token is another one; 0 of 16 stored records were found by their ids (0 of 8 of companies, 0 of 8 of users); use the token of the workspace that the schema belongs to, or another schema for this one (database.schema); after a restore at Planhat, where records have new ids, `planhat-sync adopt` binds it to the configured token
        ");
        insta::assert_snapshot!(tool.run(&["sync", "--full"]).all(), @"
        exit 2
        error: schema planhat belongs to another workspace: the host was http://127.0.0.1:PORT and is http://127.0.0.1:PORT, the token is another one; 0 of 16 stored records were found by their ids (0 of 8 of companies, 0 of 8 of users)
        hint: use the token of the workspace that the schema belongs to, or another schema for this one (database.schema); after a restore at Planhat, where records have new ids, `planhat-sync adopt` binds it to the configured token
        ");
    });
    for command in [&["sync"][..], &["sync", "--dry-run", "--diff"], &["backfill", "--all"], &["daemon"]] {
        let ran = tool.run(command);
        assert!(ran.code == 2 && ran.stderr.contains("belongs to another workspace"), "{command:?} {}", ran.all());
    }
    assert_eq!(contents(&mut database).await, before, "nothing was touched");

    let mut tool = tool.set("PLANHAT_API_TOKEN", "mistyped");
    insta::with_settings!({filters => filters()}, { insta::assert_snapshot!(tool.run(&["sync"]).all(), @"
    exit 4
    error: could not verify that schema planhat belongs to this workspace: no stored record could be requested by its id
      Caused by: /OBJECT/… answered 401: the token is not valid on this host
    hint: check PLANHAT_API_TOKEN and planhat.base_url: a token is valid only on the API host of its workspace
    ") });
    let mut tool = tool.set("PLANHAT_SYNC__PLANHAT__RETRIES", "0").set("PLANHAT_API_URL", "http://127.0.0.1:9");
    assert_eq!(tool.run(&["sync"]).code, 1);
    assert_eq!(contents(&mut database).await, before, "nothing was touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn adopt_binds_a_restored_workspace_and_its_old_rows_wait_for_allow_deletes() {
    let options = Options { token: "after-the-restore".to_owned(), ..Options::default() };
    let restored = Simulator::start(workspace("restored"), options).await;
    let (acme, restored) = (served(workspace("acme")).await, restored.unwrap());
    let mut tool = of(&acme, &fresh_database().await);
    assert_eq!(
        tool.run(&["adopt"]).stdout,
        "nothing to adopt: schema planhat has no tables yet; `planhat-sync sync` creates them\n"
    );
    assert_eq!(tool.run(&["sync"]).code, 0);
    assert!(tool.run(&["adopt"]).stdout.contains("already"));
    let mut tool = to(tool, &restored);
    assert_eq!(tool.run(&["sync"]).code, 2);

    let mut tool = tool.set("PLANHAT_API_TOKEN", "mistyped");
    let refused = tool.run(&["adopt"]);
    assert_eq!(refused.code, 4, "{}", refused.all());
    let mut tool = to(tool, &restored);
    insta::with_settings!({filters => filters()}, { insta::assert_snapshot!(tool.run(&["adopt"]).all(), @"
    exit 0
    schema planhat was bound to the workspace of another token on http://127.0.0.1:PORT, since TIME (first sync)
    it is now bound to the workspace of this token on http://127.0.0.1:PORT
    the next sync reads the workspace from the beginning; rows that the workspace does not have are kept: if they are many, the deletion guard holds them back until `planhat-sync sync --full --allow-deletes` marks them as deleted
    ") });

    let status = tool.run(&["status"]);
    assert_eq!(status.code, 1, "nothing of it was read yet: {}", status.all());

    let live = |ran: CommandOutput| {
        assert_eq!(ran.code, 0, "{}", ran.all());
        let objects = ran.json()["objects"].clone();
        (objects[0]["inserted"].as_i64().unwrap(), objects[0]["deleted"].as_i64().unwrap())
    };
    assert_eq!(live(tool.run(&["sync", "--json"])), (8, 0));
    assert_eq!(live(tool.run(&["sync", "--full", "--json"])), (0, 0));
    assert_eq!(live(tool.run(&["sync", "--full", "--allow-deletes", "--json"])), (0, 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_cannot_verify_the_workspace_keeps_running_and_checks_again() {
    let acme = served(workspace("acme")).await;
    let mut tool = of(&acme, &fresh_database().await);
    assert_eq!(tool.run(&["sync"]).code, 0);
    COMPANIES_AND_USERS.iter().for_each(|object| acme.forbid(object));
    acme.rotate_token("rotated");
    let tool = tool
        .set("PLANHAT_API_TOKEN", "rotated")
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0")
        .set("PLANHAT_SYNC__DAEMON__JITTER", "0s")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", "* * * * * *")
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("RUST_LOG", "info");
    let mut daemon = DaemonProcess::starting(&tool, &["daemon"]);

    daemon.until("could not verify yet which workspace schema planhat belongs to");
    daemon.until("the run could not begin");
    COMPANIES_AND_USERS.iter().for_each(|object| acme.allow(object));
    daemon.until("belongs to this workspace, as recorded now");
    daemon.signal("TERM");
    assert_eq!(daemon.end().0, Some(0));
}
