//! Faults between planhat-sync and PostgreSQL, and that no record is lost by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use planhat_api::RowsPerPage;
use planhat_model::catalog;
use planhat_model::catalog::Object;
use planhat_simulator::{Options, Workspace};
use planhat_store::{ObjectStatus, RunStatus, Store};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::cli::Tool;
use crate::harness::{TestSync, fresh_database};
use crate::waiting::{eventually, in_time};

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({"_id": format!("{number:05}"), "number": number})).collect()
}

fn projects() -> [&'static Object; 1] {
    [catalog::object("projects").unwrap()]
}

/// Tells somebody at the nth requests from now.
fn at_requests(sync: &TestSync, when: &'static [usize]) -> Arc<Notify> {
    let (reached, count) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let hook = Arc::clone(&reached);
    sync.simulator.on_request(move |_, path| {
        if path == "projects" && when.contains(&(count.fetch_add(1, Ordering::Relaxed) + 1)) {
            hook.notify_one();
        }
    });
    reached
}

#[tokio::test]
async fn killed_connections_are_reopened_during_a_run() {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(1500))).await;
    let reached = at_requests(&sync, &[3, 7, 12]);
    let killer = async {
        let mut admin = PgConnection::connect(&std::env::var("TEST_DATABASE_URL").unwrap()).await.unwrap();
        let name = sync.one("select current_database()").await;
        let all = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1";
        loop {
            in_time("a request", reached.notified()).await;
            sqlx::query_scalar::<_, i64>(all).bind(&name).fetch_one(&mut admin).await.unwrap();
        }
    };

    let summary = tokio::select! {
        summary = sync.sync_one("projects") => summary,
        () = killer => unreachable!(),
    };

    assert_eq!((summary.run.status, summary.run.figures.inserted), (ObjectStatus::Succeeded, 1500));
    sync.assert_equals_workspace(&projects()).await;
}

/// A way to the server that can be cut.
pub(crate) struct TcpProxy {
    pub(crate) url: String,
    open: Arc<AtomicBool>,
    cut: Arc<Notify>,
    /// Nothing more passes, and nobody hangs up.
    stalled: Arc<Notify>,
    /// Nor does it for whoever comes now.
    stalls_new: Arc<AtomicBool>,
    /// Bytes that went to the server.
    sent: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl TcpProxy {
    pub(crate) async fn to(url: &str) -> TcpProxy {
        let mut url: url::Url = url.parse().unwrap();
        let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (open, cut, refused) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (stalled, stalls_new, sent) = (Arc::<Notify>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let proxy = TcpProxy {
            url: url.to_string(),
            open: Arc::clone(&open),
            cut: Arc::clone(&cut),
            stalled: Arc::clone(&stalled),
            stalls_new: Arc::clone(&stalls_new),
            sent: Arc::clone(&sent),
            refused: Arc::clone(&refused),
        };
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if !open.load(Ordering::Relaxed) {
                    refused.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let mut server = TcpStream::connect(&server).await.unwrap();
                let (cut, stalled, sent) = (Arc::clone(&cut), Arc::clone(&stalled), Arc::clone(&sent));
                let stalls_new = stalls_new.load(Ordering::Relaxed);
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.split();
                    let (mut from_server, mut to_server) = server.split();
                    let both_ways = async {
                        if stalls_new {
                            std::future::pending::<()>().await;
                        }
                        tokio::select! {
                            _ = counted(&mut from_client, &mut to_server, &sent) => {}
                            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                        }
                    };
                    tokio::select! {
                        () = both_ways => return,
                        () = cut.notified() => return,
                        () = stalled.notified() => {}
                    }
                    cut.notified().await; // No wait of a test: it ends with its server.
                });
            }
        });
        proxy
    }

    /// Connections that there are stay open, and nothing passes any more.
    pub(crate) fn stall(&self) {
        self.stalled.notify_waiters();
    }

    /// The same for those that are still to come.
    pub(crate) fn stall_for_good(&self) {
        self.stalls_new.store(true, Ordering::Relaxed);
        self.stall();
    }

    pub(crate) fn bytes_sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn cut(&self) {
        self.open.store(false, Ordering::Relaxed);
        self.cut.notify_waiters();
    }

    /// How many connections were asked for in vain.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn reopen(&self) {
        self.open.store(true, Ordering::Relaxed);
    }
}

async fn counted(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, count: &AtomicUsize) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return Ok(());
        }
        count.fetch_add(bytes, Ordering::Relaxed);
        to.write_all(&buffer[..bytes]).await?;
    }
}

/// Loads, and has the database forget what it has committed but the first pages, as one does that dies before they are on
/// its disk.
async fn loaded_while_the_database_forgets(forgets: &'static str) {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(1500))).await;
    let (gate, hook) = (sync.simulator.gate(), sync.simulator.gate());
    let mut calls = 0;
    sync.simulator.on_request(move |_, path| {
        calls += u32::from(path == "projects");
        if calls == 9 {
            hook.close();
        }
    });
    let forget = async {
        let position = "select max(\"offset\")::text from planhat_sync.scans";
        eventually("the 6th page", async || sync.one(position).await.parse().unwrap_or(0) >= 500).await;
        sync.do_at_once(&[forgets, "delete from planhat.projects where planhat__id > '00150'"]).await;
        gate.open();
    };

    let (summary, ()) = tokio::join!(sync.sync_one("projects"), forget);

    assert_eq!(summary.run.status, ObjectStatus::Succeeded);
    assert_eq!(sync.one("select count(*)::text from planhat.projects").await, "1500");
    assert_eq!(sync.one("select count(*)::text from planhat_sync.scans").await, "0");
}

#[tokio::test]
async fn pages_whose_commits_were_lost_in_a_crash_are_read_again() {
    loaded_while_the_database_forgets(
        "update planhat_sync.scans set \"offset\" = 99, overlap_id = '00099', checkpoint_number = 1",
    )
    .await;
}

#[tokio::test]
async fn a_scan_whose_checkpoint_was_lost_in_a_crash_starts_again() {
    loaded_while_the_database_forgets("delete from planhat_sync.scans").await;
}

/// After a step back a listing may stand where it stood before.
#[tokio::test]
async fn a_page_after_a_step_back_whose_commit_was_lost_is_read_again() {
    let mut sync = TestSync::new(Workspace::empty().with("projects", numbered(30))).await;
    sync.limits.pages.size = RowsPerPage::Fixed(10);
    let (gate, hook) = (sync.simulator.gate(), sync.simulator.gate());
    let mut calls = 0;
    sync.simulator.on_request(move |source, path| {
        calls += u32::from(path == "projects");
        if calls == 2 {
            source.delete("projects", "00000");
            source.delete("projects", "00001");
        }
        if calls == 4 {
            hook.close();
        }
    });
    let forget = async {
        let overlap = "select max(overlap_id) from planhat_sync.scans";
        eventually("the step back", async || sync.one(overlap).await.as_str() > "00009").await;
        sync.do_at_once(&[
            "update planhat_sync.scans set overlap_id = '00009', checkpoint_number = checkpoint_number - 1",
            "delete from planhat.projects where planhat__id > '00009'",
        ])
        .await;
        gate.open();
    };

    let (summary, ()) = tokio::join!(sync.sync_one("projects"), forget);

    assert_eq!(summary.run.status, ObjectStatus::Succeeded);
    let missing = "select string_agg(id, ',') from (select lpad(n::text, 5, '0') as id from generate_series(2, 29) n) a
        where id not in (select planhat__id from planhat.projects)";
    assert_eq!(sync.one(missing).await, "");
}

/// A constraint that is checked at the commit refuses the transaction there.
#[tokio::test]
async fn a_deferred_constraint_rejects_only_its_own_record() {
    let endusers = vec![json!({"_id": "a", "companyId": "c"}), json!({"_id": "b", "companyId": "gone"}), json!({"_id": "d"})];
    let sync = TestSync::new(
        Workspace::empty()
            .with("companies", vec![json!({"_id": "c"})])
            .with("endusers", vec![json!({"_id": "x", "companyId": "c"})]),
    )
    .await;
    sync.sync_one("companies").await;
    sync.sync_one("endusers").await;
    let constraint = "alter table planhat.endusers add foreign key (planhat__company_id) references planhat.companies deferrable initially deferred";
    sqlx::raw_sql(constraint).execute(sync.store.pool()).await.unwrap();
    for enduser in endusers {
        sync.simulator.add("endusers", enduser);
    }

    let summary = sync.sync_one("endusers").await;

    assert_eq!((summary.run.status, summary.run.figures.inserted), (ObjectStatus::Partial, 2));
    assert_eq!(sync.one("select string_agg(distinct record_id, ' ') from planhat_sync.quarantine").await, "b");
}

async fn sync_through(proxy: &TcpProxy) -> TestSync {
    let store = Store::connect(&proxy.url.as_str().into(), "planhat", 4).await.unwrap();
    TestSync::into(store, Workspace::empty().with("projects", numbered(1500)), Options::default()).await
}

#[tokio::test]
async fn a_run_waits_for_a_server_that_is_unreachable_for_a_while() {
    let proxy = TcpProxy::to(&fresh_database().await).await;
    let sync = sync_through(&proxy).await;
    let reached = at_requests(&sync, &[5]);
    let restart = async {
        in_time("the fifth request", reached.notified()).await;
        proxy.cut();
        eventually("two connections that are refused", async || proxy.refused() >= 2).await;
        proxy.reopen();
        std::future::pending::<()>().await;
    };

    let summary = tokio::select! {
        summary = sync.sync_one("projects") => summary,
        () = restart => unreachable!(),
    };

    assert_eq!((summary.run.status, summary.run.figures.inserted), (ObjectStatus::Succeeded, 1500));
    sync.assert_equals_workspace(&projects()).await;
}

#[tokio::test]
async fn a_server_that_stays_unreachable_ends_the_run_and_the_next_run_resumes() {
    let proxy = TcpProxy::to(&fresh_database().await).await;
    let mut sync = sync_through(&proxy).await;
    sync.store.reconnect_timeout = Duration::ZERO;
    let reached = at_requests(&sync, &[5]);
    let cut = async {
        in_time("the fifth request", reached.notified()).await;
        proxy.cut();
        // What waits for the pool is refused again and again, until that gives up.
        std::future::pending::<()>().await;
    };
    let objects = projects();
    let (client, request) = (sync.client(), sync.request(planhat_sync::pull::Mode::Incremental, &objects));

    let ended = tokio::select! {
        ended = sync.run_of(&client, &request) => ended,
        () = cut => unreachable!(),
    };

    assert!(ended.is_err(), "the run's end could not be noted either");
    proxy.reopen();
    sync.simulator.clear_faults();
    sync.simulator.forget_requests();
    let stopped = "update planhat_sync.leases set renewed_at = now() - interval '1 hour'";
    sqlx::raw_sql(stopped).execute(sync.store.pool()).await.unwrap();
    assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
    assert_ne!(sync.simulator.requests().iter().find(|request| request.path == "/projects").unwrap().query["offset"], "0");
    sync.assert_equals_workspace(&projects()).await;
}

/// A table that refuses rows: the first so many times, with this SQLSTATE.
async fn refuses(sync: &TestSync, times: i32, sqlstate: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "create sequence attempts;
         create function refuse() returns trigger language plpgsql as $$ begin
             if nextval('attempts') <= {times} then raise exception 'as a test wants it' using errcode = '{sqlstate}'; end if;
             return null;
         end $$;
         create trigger refuse before insert on planhat.projects for each statement execute function refuse();"
    )))
    .execute(sync.store.pool())
    .await
    .unwrap();
}

async fn with_a_table() -> TestSync {
    let sync = TestSync::new(Workspace::empty().with("projects", numbered(1))).await;
    sync.sync_one("projects").await;
    (1..350).for_each(|number| sync.simulator.add("projects", json!({"_id": format!("{number:05}"), "number": number})));
    sync
}

#[tokio::test]
async fn transactions_are_retried_after_a_lock_timeout_a_deadlock_or_a_serialization_failure() {
    for sqlstate in ["55P03", "40P01", "40001"] {
        let sync = with_a_table().await;
        refuses(&sync, 2, sqlstate).await;
        let summary = sync.sync_one("projects").await;
        assert_eq!((summary.run.status, summary.run.figures.inserted), (ObjectStatus::Succeeded, 349), "{sqlstate}");
        sync.assert_equals_workspace(&projects()).await;
    }
}

#[tokio::test]
async fn a_full_disk_a_statement_timeout_and_lack_of_memory_fail_the_object_until_they_are_over() {
    for (sqlstate, hint) in [("53100", Some("free disk space")), ("57014", Some("took too long")), ("53200", None)] {
        let sync = with_a_table().await;
        refuses(&sync, 1, sqlstate).await;

        let failed = sync.sync_one("projects").await;
        assert_eq!((failed.run.status, failed.run.figures.inserted), (ObjectStatus::Failed, 0), "{sqlstate}");
        let said = failed.failure.unwrap().kind().hint().unwrap_or_default();
        assert!(said.contains(hint.unwrap_or_default()), "{said}");
        assert_eq!(sync.one("select count(*)::text from planhat_sync.quarantine").await, "0");

        assert_eq!(sync.sync_one("projects").await.run.status, ObjectStatus::Succeeded);
        sync.assert_equals_workspace(&projects()).await;
    }
}

#[tokio::test]
async fn a_whole_run_works_behind_a_pooler_in_transaction_mode() {
    let pooler: url::Url = std::env::var("TEST_PGBOUNCER_URL").unwrap().parse().unwrap();
    let mut url = pooler;
    let direct = fresh_database().await;
    url.set_path(direct.parse::<url::Url>().unwrap().path());
    // Every process makes the tables so, on server connections that others have used.
    for _ in 0..5 {
        let next = Store::connect(&url.as_str().into(), "planhat", 5).await.unwrap();
        next.migrate().await.unwrap();
        sqlx::raw_sql("drop schema planhat_sync, planhat cascade").execute(next.pool()).await.unwrap();
        next.close().await;
    }
    let pooled = Store::connect(&url.as_str().into(), "planhat", 5).await.unwrap();
    let mut sync = TestSync::into(pooled, Workspace::generated(5, 3000), Options::default()).await;
    // The tests' own look at the tables would not work over a pooler.
    let look = async |sync: &mut TestSync| {
        let direct = Store::connect(&direct.as_str().into(), "planhat", 1).await.unwrap();
        let pooled = std::mem::replace(&mut sync.store, direct);
        sync.assert_equals_workspace(&catalog::default_objects()).await;
        sync.store = pooled;
    };

    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);
    look(&mut sync).await;
    // Every process begins so, on server connections that others have used.
    for _ in 0..5 {
        let next = Store::connect(&url.as_str().into(), "planhat", 5).await.unwrap();
        next.migrate().await.unwrap();
        next.close().await;
    }

    sync.simulator.edit("projects", sync.simulator.records("projects")[0]["_id"].as_str().unwrap(), sync.now, |project| {
        project.insert("custom".into(), json!({"A new field": 1}));
    });
    let gone = sync.simulator.records("licenses")[0]["_id"].as_str().unwrap().to_owned();
    assert!(sync.simulator.delete("licenses", &gone));
    sync.now = crate::harness::day(8);
    assert_eq!(sync.sync().await.status, RunStatus::Succeeded);
    look(&mut sync).await;
}

/// A way on which each of these texts in what the server or the client says becomes another one of the same length.
async fn rewriting_proxy(url: &str, rewrites: &'static [(&'static str, &'static str)]) -> String {
    let mut url: url::Url = url.parse().unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    assert!(rewrites.iter().all(|(text, other)| text.len() == other.len()));
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&server).await.unwrap();
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            for (from, to) in [(from_client, to_server), (from_server, to_client)] {
                tokio::spawn(rewritten(from, to, rewrites));
            }
        }
    });
    url.to_string()
}

async fn rewritten(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    rewrites: &'static [(&'static str, &'static str)],
) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        for (text, other) in rewrites {
            for place in 0..(count + 1).saturating_sub(text.len()) {
                if buffer[place..].starts_with(text.as_bytes()) {
                    buffer[place..place + text.len()].copy_from_slice(other.as_bytes());
                }
            }
        }
        to.write_all(&buffer[..count]).await?;
    }
}

/// What `version()` answers, and nothing else that passes.
const AS_COCKROACH: (&str, &str) = ("PostgreSQL 1", "CockroachDB ");

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_only_speaks_the_protocol_is_refused_by_its_name_before_anything_is_written() {
    let simulator = small().await;
    let direct = fresh_database().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    // One that takes all of our statements, and one that does not know what a transaction of ours begins with.
    for rewrites in [&[AS_COCKROACH][..], &[AS_COCKROACH, ("concat_ws", "concat_wx")]] {
        tool = tool.set("DATABASE_URL", &rewriting_proxy(&direct, rewrites).await);
        insta::allow_duplicates! {
            insta::assert_snapshot!(tool.run(&["sync", "projects"]).all(), @"
            exit 5
            error: the database is CockroachDB, not PostgreSQL: a change of a table is not undone with the rest of its transaction
            hint: name a PostgreSQL server in DATABASE_URL, version 15 or newer; where one machine is not enough, PostgreSQL with Citus
            ");
        }
        let checked = tool.run(&["check"]);
        assert_eq!(checked.code, 5, "{}", checked.all());
        assert!(
            checked.stdout.contains("fail  database       the database is CockroachDB, not PostgreSQL: "),
            "{}",
            checked.all()
        );
    }
    let mut database = PgConnection::connect(&direct).await.unwrap();
    let schemas = "select count(*) from pg_namespace where nspname like 'planhat%'";
    assert_eq!(sqlx::query_scalar::<_, i64>(schemas).fetch_one(&mut database).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_a_lock_with_two_connections() {
    let simulator = small().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    assert_eq!(tool.run(&["sync", "projects"]).code, 0);
    let direct = tool.database();
    let line = |tool: &mut Tool| {
        let checked = tool.run(&["check"]);
        let line = checked.stdout.lines().find(|line| line.contains(" locks ")).unwrap_or_default().to_owned();
        format!("{} {line}", checked.code)
    };

    assert_eq!(line(&mut tool), "0 ok    locks          a row that one connection has locked is refused to another one");
    tool = tool.set("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", "1");
    assert_eq!(line(&mut tool), "0 ok    locks          not tried, since that takes two connections and there is one");
    // As where `for update` is taken and means nothing.
    let without_locks = rewriting_proxy(&direct, &[("for update skip locked", "                      ")]).await;
    tool = tool.set("PLANHAT_SYNC__DATABASE__MAX_CONNECTIONS", "2").set("DATABASE_URL", &without_locks);
    let broken = line(&mut tool);
    assert!(
        broken.starts_with("5 fail  locks          a row that one connection had locked was given to another one"),
        "{broken}"
    );
}

async fn small() -> planhat_simulator::Simulator {
    let workspace = Workspace::empty().with("projects", numbered(3));
    planhat_simulator::Simulator::start(workspace, Options::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_reported_with_what_to_do() {
    let simulator = small().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let url = tool.database();
    let mut database = PgConnection::connect(&url).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    let setting = |value: &str| sqlx::AssertSqlSafe(format!("alter database {name} set default_transaction_read_only = {value}"));
    sqlx::raw_sql(setting("on")).execute(&mut database).await.unwrap();

    insta::assert_snapshot!(tool.run(&["sync", "projects"]).all(), @"
    exit 5
    error: could not create a schema
      Caused by: cannot execute CREATE SCHEMA in a read-only transaction
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)
    ");

    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("set transaction read write; {}", setting("off").0)))
        .execute(&mut database)
        .await
        .unwrap();
    assert_eq!(tool.run(&["sync", "projects"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_version_are_refused() {
    let simulator = small().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    assert_eq!(tool.run(&["sync", "projects"]).code, 0);
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let newer = "insert into planhat_sync.migrations (version, description, success, checksum, execution_time)
                 values (9999, 'from the future', true, '', 0)";
    sqlx::raw_sql(newer).execute(&mut database).await.unwrap();

    insta::assert_snapshot!(tool.run(&["sync", "projects"]).all(), @"
    exit 5
    error: the tables of schema planhat_sync are of a newer version of planhat-sync: migration 9999 is not known here
    hint: use that version or a later one
    ");
    insta::assert_snapshot!(tool.run(&["status"]).all(), @"
    exit 5
    error: the tables of schema planhat_sync are of a newer version of planhat-sync: migration 9999 is not known here
    hint: use that version or a later one
    ");
}

#[tokio::test]
async fn a_database_user_without_privileges_on_planhat_sync_gets_a_clear_error() {
    let url = fresh_database().await;
    let store = Store::connect(&url.as_str().into(), "planhat", 1).await.unwrap();
    store.migrate().await.unwrap();
    let user = format!("reader_{}", std::process::id());
    let grant = format!("create role {user} login password 'x'; grant usage on schema planhat_sync, planhat to {user}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(grant)).execute(store.pool()).await.unwrap();
    let mut url: url::Url = url.parse().unwrap();
    url.set_username(&user).unwrap();
    url.set_password(Some("x")).unwrap();

    let refused = Store::connect(&url.as_str().into(), "planhat", 1).await.unwrap().migrate().await.unwrap_err();

    assert!(format!("{refused:?}").contains("permission denied for table migrations"), "{refused:?}");
    assert!(refused.kind().hint().unwrap().contains("`planhat-sync check` says what the role may do"), "{refused:?}");
}
