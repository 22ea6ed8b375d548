//! The same story on every kind of database: settings of roles and databases that statements could lean on by accident,
//! publications, row security, triggers, replicas.
//!
//! A kind says how a database is set up. The story is one for all of them: each command of the tool, on records that change
//! meanwhile. What it tells (exit codes, what the read-only commands print, every row and every action) has to be what it tells on
//! a database that nobody has touched. A kind on which the tool cannot do its work has a test of its own, which says what a
//! person reads then.
//!
//! The role of the tool is what it is in the field: the owner of the database, and no superuser.

use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use planhat_simulator::{Options, Simulator, Workspace};
use planhat_store::Store;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::OnceCell;

use crate::cli::{CommandOutput, Tool};
use crate::daemon::DaemonProcess;
use crate::harness::{TestSync, fresh_database, not_tested, written};
use crate::server::PostgresServer;
use crate::upgrade::BASELINE;
use crate::waiting::{DEADLINE, ended, eventually, lines_of, next_of, output_of};

/// The records of all stories in this process have the same times.
static NOW: LazyLock<DateTime<Utc>> = LazyLock::new(|| Utc::now().trunc_subsecs(3));

/// How a database is set up.
#[derive(Default)]
struct Kind {
    /// What the role of the tool has been given: `alter role … in database … set …`.
    settings: &'static [(&'static str, &'static str)],
    /// Statements of an administrator on the empty database; `ROLE` is the tool's role.
    before: &'static str,
    /// The same, once the tables have been made.
    with_tables: &'static str,
}

/// A database of a kind, and the way to it as the tool and as an administrator.
struct OddDatabase {
    url: String,
    admin_url: String,
    role: String,
}

impl OddDatabase {
    async fn of(kind: &Kind) -> OddDatabase {
        OddDatabase::at(fresh_database().await, kind).await
    }

    /// In a database that is there.
    async fn at(admin_url: String, kind: &Kind) -> OddDatabase {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let role = format!("odd_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut url: url::Url = admin_url.parse().unwrap();
        let name = url.path()[1..].to_owned();
        url.set_username(&role).unwrap();
        url.set_password(Some("x")).unwrap();
        let database = OddDatabase { url: url.to_string(), admin_url, role: role.clone() };
        let mut made = format!("create role {role} login password 'x'; alter database {name} owner to {role};");
        for (setting, value) in kind.settings {
            let value = value.replace("ROLE", &role);
            made.push_str(&format!("alter role {role} in database {name} set {setting} = {value};"));
        }
        database.administer(&made).await;
        database.administer(kind.before).await;
        database
    }

    async fn admin(&self) -> PgConnection {
        PgConnection::connect(&self.admin_url).await.unwrap()
    }

    async fn administer(&self, statements: &str) {
        let statements = statements.replace("ROLE", &self.role);
        let mut admin = self.admin().await;
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    }

    /// The way to it as this role.
    fn url_as(&self, role: &str) -> String {
        let mut url: url::Url = self.url.parse().unwrap();
        url.set_username(role).unwrap();
        url.to_string()
    }

    fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    fn tool(&self, simulator: &Simulator) -> Tool {
        Tool::new()
            .set("PLANHAT_API_URL", &simulator.url())
            .set("PLANHAT_API_TOKEN", simulator.token())
            .set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
            .set("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "5")
            .set("PLANHAT_SYNC__DATABASE__RECONNECT_TIMEOUT", "5s")
            .set("PLANHAT_SYNC__DELETIONS__MAX_ROWS", "100")
            .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,endusers,projects")
            .set("DATABASE_URL", &self.url)
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        let mut admin = self.admin().await;
        let texts = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_all(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        texts
    }

    /// Everything that is stored, but for the times at which it was.
    async fn contents(&self) -> Vec<String> {
        let tables = "select relname::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
            where nspname = 'planhat' and relkind = 'r' and exists (select from pg_attribute
                where attrelid = pg_class.oid and attname = '_row_hash') order by 1";
        let mut all = Vec::new();
        for table in self.texts(tables).await {
            let rows = format!(
                "select concat('{table} ', to_jsonb(t) - '{{_first_seen_at,_synced_at,_deleted_at}}'::text[], _deleted_at is not null)
                 from planhat.{table} t order by planhat__id"
            );
            all.extend(self.texts(&rows).await);
        }
        for query in [
            // What has no time of its own happened when it was seen.
            "select concat('action ', to_jsonb(a) - '{id,seen_at,happened_at}'::text[],
                 case when happened_at <> seen_at then happened_at end at time zone 'UTC') from planhat.actions a order by object, id",
            "select concat('column ', to_jsonb(c) - '{added_at,misfits_since}'::text[], misfits_since is not null)
             from planhat_sync.columns c order by object, position",
            "select concat('key ', to_jsonb(k)) from planhat.keys k order by 1",
            "select concat('run ', id, ' ', command, ' ', status, ' ', reason) from planhat_sync.runs order by id",
            "select concat('object run ', run_id, ' ', object, ' ', scan, ' ', status, ' ', fetched, ' ', inserted, ' ', updated,
                 ' ', restored, ' ', deleted, ' ', unchanged, ' ', misfits, ' ', overflowed, ' ', quarantined)
             from planhat_sync.object_runs order by run_id, object",
            "select concat('quarantined ', object, ' ', reason, ' ', sqlstate, ' ', raw) from planhat_sync.quarantine order by object, id",
            "select concat('scan ', object, scan) from planhat_sync.scans order by 1",
            "select concat('consumer ', name, ' ', last_action_id) from planhat_sync.consumers order by 1",
        ] {
            all.extend(self.texts(query).await);
        }
        all
    }
}

/// A workspace with values of every type, and records that do not fit.
async fn workspace() -> Simulator {
    let time = |days: i64| written(*NOW - TimeDelta::days(days));
    let companies = (0..8).map(|number| {
        json!({
            "_id": format!("c{number}"), "name": format!("C:\\temp\\{number} \"x\" 'y' ünïcode → € 😀"), "mrr": 0.1 + number as f64,
            "updatedAt": time(30 - number), "createDate": time(100), "tags": ["a", {"b": [1, null]}],
            "custom": {"Rate": 1e-7, "Since": time(400), "Active": number % 2 == 0, "Big": 123_456_789_012_345_678_i64}
        })
    });
    let endusers = (0..7).map(|number| {
        json!({"_id": format!("e{number}"), "name": format!("User {number}"), "companyId": format!("c{number}"), "email": format!("u{number}@example.org")})
    });
    let mut projects: Vec<Value> = (0..6).map(|number| json!({"_id": format!("p{number}"), "number": number})).collect();
    projects.push(json!({"_id": "p8", "number": "many"}));
    projects.push(json!({"_id": "p9\u{0}", "name": "odd"}));
    let workspace =
        Workspace::empty().with("companies", companies.collect()).with("endusers", endusers.collect()).with("projects", projects);
    let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
    simulator.set_clock(*NOW);
    simulator
}

/// What a story tells: each command with its exit code and what it is fit to print, then everything that is stored.
type Told = Vec<String>;

/// What a command says that is the same tomorrow and elsewhere.
fn steady(value: Value) -> Value {
    match value {
        Value::String(text) if text.parse::<DateTime<Utc>>().is_ok() => "an instant".into(),
        Value::Array(items) => items.into_iter().map(steady).collect(),
        Value::Object(fields) => {
            // Objects are synced side by side, so that the ids of their actions differ.
            let is_steady =
                |name: &str| !["id", "database", "seconds", "calls", "pages", "happened_at", "seen_at"].contains(&name);
            fields.into_iter().filter(|(name, _)| is_steady(name)).map(|(name, value)| (name, steady(value))).collect()
        }
        value => value,
    }
}

struct Teller<'a> {
    database: &'a OddDatabase,
    tool: Tool,
    told: Told,
}

impl Teller<'_> {
    /// Executes a command, and tells its exit code.
    fn run(&mut self, arguments: &[&str]) -> CommandOutput {
        let ran = self.tool.run(arguments);
        let complains = if ran.code == 5 || ran.stderr.contains("error:") { format!(" {}", ran.all()) } else { String::new() };
        self.told.push(format!("{} -> {}{complains}", arguments.join(" "), ran.code));
        ran
    }

    /// The same, and what it prints as JSON: one value, or one a line.
    fn show(&mut self, arguments: &[&str]) {
        let ran = self.run(&[arguments, &["--json"]].concat());
        let values = serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Value>();
        let values = values.map(|value| steady(value.unwrap_or_else(|error| panic!("{error}: {}", ran.all()))).to_string());
        let mut values: Vec<String> = values.collect();
        values.sort();
        self.told.extend(values);
    }

    /// Follows the timeline until all there is has been told.
    async fn follow(&mut self) {
        let count = self.database.texts("select count(*)::text from planhat.actions").await[0].parse().unwrap();
        let arguments = ["actions", "--follow", "--json", "--consumer", "c", "--since", "1000d"];
        let mut follower = self.tool.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let actions = lines_of(follower.stdout.take().unwrap());
        (0..count).for_each(|_| _ = next_of(&actions, "an action of the follower"));
        // It saves its position behind the lines that it has printed.
        let is_saved = "select 'saved' from planhat_sync.consumers where last_action_id = (select max(id) from planhat.actions)";
        eventually("the position", async || !self.database.texts(is_saved).await.is_empty()).await;
        crate::cli::signal(follower.id(), "TERM");
        let ended = output_of(follower, "the follower");
        self.told.push(format!("followed -> {:?}{}", ended.status.code(), String::from_utf8_lossy(&ended.stderr)));
    }

    /// A daemon that makes one run, and ends.
    fn daemon(&mut self) {
        let names = [
            ("RUST_LOG", "info"),
            ("PLANHAT_SYNC__LOG__FORMAT", "json"),
            ("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0"),
            ("PLANHAT_SYNC__DAEMON__JITTER", "0s"),
            ("PLANHAT_SYNC__DAEMON__SCHEDULE", "* * * * * *"),
        ];
        let before: Vec<_> = names.iter().map(|(name, _)| self.tool.get(name)).collect();
        names.iter().for_each(|(name, value)| self.tool.put(name, Some(value)));
        let mut daemon = DaemonProcess::start(&self.tool, &["daemon"]);
        daemon.until(" partial");
        daemon.signal("TERM");
        let (code, log) = daemon.end();
        let complaints: Vec<&str> =
            log.lines().filter(|line| line.contains("\"ERROR\"") || line.contains("trying again")).collect();
        self.told.push(format!("daemon -> {code:?} {}", complaints.join("\n")).trim_end().to_owned());
        names.iter().zip(before).for_each(|((name, _), before)| self.tool.put(name, before.as_deref()));
    }
}

/// Every command, on records that change meanwhile.
async fn the_story(kind: &Kind) -> Told {
    let database = OddDatabase::of(kind).await;
    let simulator = workspace().await;
    the_story_on(&database, &simulator, kind).await
}

async fn the_story_on(database: &OddDatabase, simulator: &Simulator, kind: &Kind) -> Told {
    let mut teller = Teller { database, tool: database.tool(simulator), told: Told::new() };
    teller.run(&["check"]);
    teller.run(&["sync", "--dry-run"]);
    teller.run(&["sync"]);
    database.administer(kind.with_tables).await;

    let later = *NOW + TimeDelta::seconds(1);
    assert!(simulator.edit("companies", "c1", later, |company| {
        company.insert("name".into(), json!("Another\\name"));
        company.insert("custom".into(), json!({"A new field": 7, "Since": written(*NOW)}));
    }));
    assert!(simulator.edit("projects", "p2", later, |project| _ = project.insert("number".into(), json!("2.50"))));
    assert!(simulator.delete("endusers", "e3"));
    simulator.add("companies", json!({"_id": "c9", "name": "New", "updatedAt": written(later)}));
    teller.show(&["sync", "--dry-run", "--diff"]);
    teller.run(&["sync"]);
    teller.run(&["sync", "--full"]);
    simulator.add("endusers", json!({"_id": "e3", "name": "Back", "companyId": "c1"}));
    teller.run(&["sync"]);
    teller.run(&["backfill", "--all", "companies"]);
    teller.run(&["retype", "projects", "planhat__number", "text"]);
    teller.run(&["retype", "companies", "planhat__since__custom", "text"]);
    teller.run(&["sync", "--full"]);
    teller.run(&["quarantine", "retry"]);
    teller.run(&["adopt"]);
    teller.follow().await;
    teller.run(&["check"]);
    for looking in
        [&["status"][..], &["runs"], &["runs", "show", "1"], &["schema"], &["actions", "--limit", "100"], &["quarantine", "list"]]
    {
        teller.show(looking);
    }
    let sql = teller.run(&["schema", "--sql"]).stdout;
    teller.told.push(sql);
    teller.told.extend(database.contents().await);

    // How many runs a daemon makes is up to the clock.
    assert!(simulator.edit("companies", "c2", later, |company| _ = company.insert("name".into(), json!("Of the daemon"))));
    teller.daemon();
    let rows = database.contents().await.into_iter().filter(|line| line.starts_with("companies"));
    teller.told.extend(rows);
    teller.told
}

/// A database of the baseline goes on under this release.
async fn the_story_of_an_upgrade(kind: &Kind) -> Told {
    let database = OddDatabase::of(kind).await;
    let mut admin = database.admin().await;
    let made_by = kind.settings.iter().find(|(setting, _)| *setting == "role").map_or("ROLE", |(_, role)| role);
    let set_role = format!("set role {}", made_by.replace("ROLE", &database.role));
    sqlx::raw_sql(AssertSqlSafe(set_role)).execute(&mut admin).await.unwrap();
    sqlx::raw_sql(BASELINE).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
    database.administer(kind.with_tables).await;
    let simulator = Simulator::start(Workspace::from_fixtures(), Options::default()).await.unwrap();
    let tool = database
        .tool(&simulator)
        .set("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "100")
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,endusers,licenses,tasks,conversations,products");
    let mut teller = Teller { database: &database, tool, told: Told::new() };
    teller.show(&["actions", "--limit", "100"]);
    teller.run(&["sync"]);
    teller.run(&["sync", "--full"]);
    teller.show(&["status"]);
    teller.told.extend(database.contents().await);
    teller.told
}

/// What a database tells that nobody has touched.
async fn the_usual_stories() -> &'static (Told, Told) {
    static USUAL: OnceCell<(Told, Told)> = OnceCell::const_new();
    USUAL.get_or_init(async || (the_story(&Kind::default()).await, the_story_of_an_upgrade(&Kind::default()).await)).await
}

/// The stories of this kind are those of a database that nobody has touched.
async fn tells_the_usual_story(kind: Kind) {
    let (usual, usual_upgrade) = the_usual_stories().await;
    assert_same(&the_story(&kind).await, usual);
    assert_same(&the_story_of_an_upgrade(&kind).await, usual_upgrade);
}

fn assert_same(told: &Told, usual: &Told) {
    let without = |lines: &Told, others: &Told| -> Vec<String> {
        lines.iter().filter(|line| !others.contains(line)).take(5).cloned().collect()
    };
    let (here, usually) = (without(told, usual).join("\n  "), without(usual, told).join("\n  "));
    assert!(here.is_empty() && usually.is_empty(), "only here:\n  {here}\nonly usually:\n  {usually}");
    assert_eq!(told, usual);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_story_has_every_command_in_it() {
    let (told, _) = the_usual_stories().await;
    let commands: Vec<&str> =
        told.iter().filter(|line| line.contains(" -> ") && !line.contains('{')).map(String::as_str).collect();
    insta::assert_snapshot!(commands.join("\n"), @"
    check -> 0
    sync --dry-run -> 3
    sync -> 3
    sync --dry-run --diff --json -> 3
    sync -> 3
    sync --full -> 3
    sync -> 3
    backfill --all companies -> 0
    retype projects planhat__number text -> 0
    retype companies planhat__since__custom text -> 0
    sync --full -> 3
    quarantine retry -> 3
    adopt -> 0
    followed -> Some(143)
    check -> 0
    status --json -> 0
    runs --json -> 0
    runs show 1 --json -> 0
    schema --json -> 0
    actions --limit 100 --json -> 0
    quarantine list --json -> 0
    schema --sql -> 0
    daemon -> Some(0)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_to_which_values_are_spelt_otherwise() {
    tells_the_usual_story(Kind {
        settings: &[
            ("timezone", "'Asia/Kolkata'"),
            ("datestyle", "'SQL, DMY'"),
            ("intervalstyle", "sql_standard"),
            ("bytea_output", "escape"),
            ("extra_float_digits", "-3"),
            ("client_encoding", "'LATIN1'"),
            ("quote_all_identifiers", "on"),
            ("standard_conforming_strings", "off"),
            ("escape_string_warning", "on"),
            ("backslash_quote", "off"),
            ("array_nulls", "off"),
            ("transform_null_equals", "on"),
        ],
        ..Kind::default()
    })
    .await;
}

/// Functions, types, operators and relations of a user's own, in front of those of PostgreSQL. Where PostgreSQL's own function
/// takes any type, one for exactly the type at hand would be taken wherever its schema is in the path; there is none here.
const SHADOWS: &str = "create schema shadow; grant usage on schema shadow to ROLE;
    create function shadow.now() returns timestamptz language sql as $$ select '1999-01-01'::timestamptz $$;
    create function shadow.statement_timestamp() returns timestamptz language sql as $$ select '1999-01-01'::timestamptz $$;
    create function shadow.max(bigint) returns bigint language sql as $$ select -1::bigint $$;
    create function shadow.pg_advisory_xact_lock(bigint) returns void language plpgsql as $$ begin raise 'shadow'; end $$;
    create function shadow.set_config(pg_catalog.text, pg_catalog.text, boolean) returns pg_catalog.text language plpgsql as $$ begin raise 'shadow'; end $$;
    create function shadow.never(pg_catalog.text, pg_catalog.text) returns boolean language sql as $$ select false $$;
    create operator shadow.= (leftarg = pg_catalog.text, rightarg = pg_catalog.text, function = shadow.never);
    create function shadow.nothing(pg_catalog.text, pg_catalog.text) returns pg_catalog.text language sql as $$ select 'shadow' $$;
    create operator shadow.|| (leftarg = pg_catalog.text, rightarg = pg_catalog.text, function = shadow.nothing);
    create table shadow.pg_class (oid oid, relname name, relnamespace oid, relkind \"char\");
    create table shadow.pg_namespace (oid oid, nspname name);
    create domain shadow.text as integer; create domain shadow.jsonb as integer; create domain shadow.timestamptz as integer;
    grant select on all tables in schema shadow to ROLE;";

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_search_path_shadows_what_belongs_to_postgresql() {
    tells_the_usual_story(Kind {
        settings: &[("search_path", "shadow, pg_catalog, public")],
        before: SHADOWS,
        ..Kind::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_transactions_are_serializable() {
    let settings = &[("default_transaction_isolation", "serializable"), ("default_transaction_deferrable", "on")];
    tells_the_usual_story(Kind { settings, ..Kind::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_short_time_limits() {
    let settings = &[
        ("statement_timeout", "'20ms'"),
        ("lock_timeout", "'1ms'"),
        ("idle_in_transaction_session_timeout", "'1ms'"),
        ("idle_session_timeout", "'2s'"),
        ("deadlock_timeout", "'1ms'"),
    ];
    tells_the_usual_story(Kind { settings, ..Kind::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_whose_tables_are_kept_and_whose_statements_are_planned_otherwise() {
    let settings = &[
        ("default_table_access_method", "another_heap"),
        // Each statement is compiled. To optimise each, too, takes ten times as long, and says no more.
        ("jit_above_cost", "0"),
        ("jit_inline_above_cost", "-1"),
        ("jit_optimize_above_cost", "-1"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        ("enable_nestloop", "off"),
        ("enable_indexscan", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("work_mem", "'64kB'"),
        ("temp_file_limit", "'1MB'"),
        ("session_preload_libraries", "'auto_explain'"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_level", "'notice'"),
        ("client_min_messages", "'log'"),
        ("synchronous_commit", "'remote_apply'"),
        ("default_toast_compression", "'pglz'"),
        ("check_function_bodies", "off"),
    ];
    // Whatever may be is done by several processes; the setting has another name since PostgreSQL 16.
    let before = "create access method another_heap type table handler heap_tableam_handler;
        do $$ begin
            execute (select format('alter role ROLE set %I = on', name) from pg_settings
                     where name in ('force_parallel_mode', 'debug_parallel_query'));
        end $$";
    tells_the_usual_story(Kind { settings, before, ..Kind::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_becomes_another_one_when_it_connects() {
    tells_the_usual_story(Kind {
        settings: &[("role", "\"owner of ROLE\"")],
        before: "create role \"owner of ROLE\"; grant \"owner of ROLE\" to ROLE;
                 do $$ begin execute format('grant create on database %I to \"owner of ROLE\"', current_database()); end $$",
        ..Kind::default()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_no_search_path_that_reads_repeatably_and_commits_without_waiting() {
    let settings = &[
        ("search_path", "''"),
        ("default_transaction_isolation", "'repeatable read'"),
        ("synchronous_commit", "off"),
        ("session_replication_role", "replica"),
    ];
    tells_the_usual_story(Kind { settings, ..Kind::default() }).await;
}

/// What users attach to a database and to our tables: a publication, a log of each change of a table, triggers, constraints.
const ATTACHED_BEFORE: &str = "create publication everything for all tables;
    create table public.ddl (at timestamptz default now(), command text, object text);
    create function public.log_ddl() returns event_trigger language plpgsql security definer as $$ begin
        insert into public.ddl (command, object) select command_tag, object_identity from pg_event_trigger_ddl_commands();
    end $$;
    create event trigger log_ddl on ddl_command_end execute function public.log_ddl();
    create table public.log (object text, id text); grant all on public.log to ROLE";
const ATTACHED_WITH_TABLES: &str = "create function public.note() returns trigger language plpgsql as $$ begin
        insert into log values (tg_table_name, coalesce(new.planhat__id, old.planhat__id));
        return new;
    end $$;
    create trigger note before insert or update on planhat.companies for each row execute function public.note();
    create trigger note after insert or update on planhat.endusers for each row execute function public.note();
    create index on planhat.companies (planhat__name);
    alter table planhat.endusers add check (planhat__id <> '') not valid;";

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_all_tables_a_log_of_their_changes_and_triggers_of_users() {
    tells_the_usual_story(Kind { before: ATTACHED_BEFORE, with_tables: ATTACHED_WITH_TABLES, ..Kind::default() }).await;
}

/// Row security that is forced upon the owner as well, with a policy that lets the tool's role do everything.
const FORCED_ROW_SECURITY: &str = "do $$
    declare relation regclass;
    begin
        for relation in select pg_class.oid from pg_class join pg_namespace on pg_namespace.oid = relnamespace
            where nspname in ('planhat', 'planhat_sync') and relkind = 'r'
        loop
            execute format('alter table %s enable row level security', relation);
            execute format('alter table %s force row level security', relation);
            execute format('create policy everything on %s for all to ROLE using (true)', relation);
        end loop;
    end $$";

#[tokio::test(flavor = "multi_thread")]
async fn row_security_that_is_forced_and_hides_nothing() {
    let settings = &[("row_security", "off")];
    tells_the_usual_story(Kind { settings, with_tables: FORCED_ROW_SECURITY, ..Kind::default() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_gets_every_row_and_action_from_a_publication_of_all_tables() {
    let server = PostgresServer::start_with("wal_level = logical\n", None).await;
    let kind = Kind { before: "create publication everything for all tables", ..Kind::default() };
    let database = OddDatabase::at(server.url(), &kind).await;
    let simulator = workspace().await;
    let mut tool = database.tool(&simulator);
    assert_eq!(tool.run(&["sync"]).code, 3);
    // The subscriber is another database of the server, so the slot is made by hand. It has the tables from its own first load.
    database.administer("create database subscriber owner ROLE").await;
    let subscriber = server.url().replace("/postgres", "/subscriber");
    let store = Store::connect(&subscriber.as_str().into(), "planhat", 2).await.unwrap();
    let there = TestSync::into(store, Workspace::empty(), Options::default()).await;
    there.do_at_once(&["drop schema planhat, planhat_sync cascade"]).await;
    let dumped = server.output("pg_dump", &["-d", &server.url(), "-s", "-n", "planhat", "-n", "planhat_sync", "-O"]);
    // Without what is for psql alone.
    let schema = dumped.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n");
    let mut subscribing = PgConnection::connect(&subscriber).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(schema)).execute(&mut subscribing).await.unwrap();
    database.administer("select pg_create_logical_replication_slot('everything', 'pgoutput')").await;
    let subscribe = format!(
        "create subscription everything connection 'host=127.0.0.1 port={} user=tester dbname=postgres' publication everything with (create_slot = false, slot_name = 'everything')",
        server.port()
    );
    sqlx::raw_sql(AssertSqlSafe(subscribe)).execute(&mut subscribing).await.unwrap();

    simulator
        .edit("companies", "c1", *NOW + TimeDelta::seconds(1), |company| _ = company.insert("name".into(), json!("Another")));
    assert!(simulator.delete("endusers", "e3"));
    assert_eq!(tool.run(&["sync", "--full"]).code, 3);
    assert_eq!(tool.run(&["retype", "projects", "planhat__number", "numeric"]).code, 0);

    let copy = OddDatabase { url: String::new(), admin_url: subscriber, role: String::new() };
    let (expected, deadline) = (database.contents().await, Instant::now() + DEADLINE);
    while copy.contents().await != expected {
        assert!(Instant::now() < deadline, "{:?}\n{:?}", copy.contents().await, expected);
    }
    sqlx::raw_sql("drop subscription everything").execute(&mut subscribing).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_has_a_key_by_which_a_replica_finds_its_rows() {
    let database = OddDatabase::of(&Kind::default()).await;
    assert_eq!(database.tool(&workspace().await).run(&["sync"]).code, 3);
    let without = "select format('%I.%I', nspname, relname) from pg_class join pg_namespace on pg_namespace.oid = relnamespace
        where nspname in ('planhat', 'planhat_sync') and relkind in ('r', 'p')
            and not exists (select from pg_index where indrelid = pg_class.oid and indisprimary)";
    assert_eq!(database.texts(without).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_read_and_whatever_writes_is_told_to_use_the_primary() {
    let primary = PostgresServer::start().await;
    let simulator = workspace().await;
    let database = OddDatabase::at(primary.url(), &Kind::default()).await;
    let mut tool = database.tool(&simulator);
    assert_eq!(tool.run(&["sync"]).code, 3);
    let standby = primary.standby().await;
    standby.has_caught_up(&primary).await;
    let role_url = standby.url().replace("tester@", &format!("{}:x@", database.role));
    let mut at_standby = tool.set("DATABASE_URL", &role_url);

    let mut codes = Vec::new();
    for looking in [
        &["status", "--json"][..],
        &["runs", "--json"],
        &["runs", "show", "1"],
        &["schema"],
        &["schema", "--sql"],
        &["actions", "--json"],
        &["quarantine", "list"],
        &["quarantine", "show", "1"],
        &["sync", "--dry-run"],
    ] {
        let ran = at_standby.run(looking);
        codes.push(format!("{} {}", ran.code, looking.join(" ")));
        assert!(!ran.stdout.is_empty() && (ran.stderr.is_empty() || looking[0] == "sync"), "{looking:?} {}", ran.all());
    }
    insta::assert_snapshot!(codes.join("\n"), @"
    0 status --json
    0 runs --json
    0 runs show 1
    0 schema
    0 schema --sql
    0 actions --json
    0 quarantine list
    0 quarantine show 1
    3 sync --dry-run
    ");
    let mut said = Vec::new();
    for writing in [
        &["sync"][..],
        &["sync", "--full"],
        &["backfill", "companies"],
        &["adopt"],
        &["quarantine", "retry"],
        &["retype", "projects", "planhat__number", "text"],
        &["daemon"],
    ] {
        let ran = at_standby.run(writing);
        said.push(format!("{}: {}", writing.join(" "), ran.all()));
    }
    insta::assert_snapshot!(said.join("\n"), @"
    sync: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)

    sync --full: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)

    backfill companies: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)

    adopt: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)

    quarantine retry: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)

    retype projects planhat__number text: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)

    daemon: exit 5
    error: the server is a read-only replica (a standby)
    hint: name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers turn it on when the disk is full)
    ");
    let checked = at_standby.run(&["check"]);
    assert_eq!(checked.code, 5, "{}", checked.all());
    insta::assert_snapshot!(checked.stdout.lines().filter(|line| line.starts_with("fail")).collect::<Vec<_>>().join("\n"), @"fail  database       is a read-only replica: status, runs, actions, schema and quarantine list work here; for everything else, name the primary in DATABASE_URL");
    // It polls, since a standby does not tell who listens.
    let arguments = ["actions", "--follow", "--json", "--since", "1000d"];
    let mut follower = at_standby.command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let actions = lines_of(follower.stdout.take().unwrap());
    assert!(next_of(&actions, "an action of the follower").contains("\"kind\":\"created\""));
    crate::cli::signal(follower.id(), "TERM");
    assert_eq!(ended(&mut follower).await, Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_hides_rows_is_named_before_anything_is_written() {
    let database = OddDatabase::of(&Kind::default()).await;
    let simulator = workspace().await;
    let mut tool = database.tool(&simulator);
    assert_eq!(tool.run(&["sync"]).code, 3);
    let before = database.contents().await;
    let hides = [
        "alter table planhat.companies enable row level security; alter table planhat.companies force row level security",
        "create policy \"only ours\" on planhat.companies using (planhat__name like 'C%')",
        "create policy everything on planhat.companies using (true); create policy narrow on planhat.companies as restrictive for select using (planhat__id <> 'c1')",
        "drop policy narrow on planhat.companies; drop policy everything on planhat.companies; create policy reading on planhat.companies for select using (true)",
        "drop table if exists nothing; alter table planhat.companies no force row level security;
         alter table planhat_sync.cursors enable row level security; alter table planhat_sync.cursors force row level security",
    ];
    let mut said = Vec::new();
    for sql in hides {
        database.administer(sql).await;
        for arguments in [&["sync"][..], &["sync", "--dry-run"], &["retype", "projects", "planhat__number", "text"], &["daemon"]]
        {
            let ran = tool.run(arguments);
            assert_eq!(ran.code, 5, "{}", ran.all());
            let first = ran.stderr.lines().next().unwrap().replace(&database.role, "ROLE");
            if said.last() != Some(&first) {
                said.push(first);
            }
        }
        assert!(tool.run(&["check"]).stdout.contains("row security may hide rows"));
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    error: row security may hide rows of planhat.companies from role ROLE: no policy lets it read and write all of them
    error: row security may hide rows of planhat.companies from role ROLE: by policy "only ours"
    error: row security may hide rows of planhat.companies from role ROLE: by policy narrow, "only ours"
    error: row security may hide rows of planhat.companies from role ROLE: by policy "only ours"
    error: row security may hide rows of planhat_sync.cursors from role ROLE: no policy lets it read and write all of them
    "#);
    let after = database.contents().await;
    assert_eq!(before, after);

    // What does not look at the row hides none.
    database.administer("create policy by_role on planhat_sync.cursors using (current_user = 'ROLE')").await;
    let ran = tool.run(&["sync"]);
    assert_eq!(ran.code, 3, "{}", ran.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_trigger_that_refuses_tables_is_reported_and_nothing_is_half_made() {
    const REFUSES: &str = "create function public.refuse() returns event_trigger language plpgsql as $$ begin
            if current_user = 'ROLE' then raise 'no % here, ask the platform team', tg_tag; end if;
        end $$;
        create event trigger refuse on ddl_command_start execute function public.refuse();";
    let database = OddDatabase::of(&Kind { before: REFUSES, ..Kind::default() }).await;
    let simulator = workspace().await;
    let mut tool = database.tool(&simulator);
    let filters = vec![(r"\d+\.\d s", "[time]")];
    let refused = tool.run(&["sync"]).all();
    insta::with_settings!({filters => filters.clone()}, { insta::assert_snapshot!(refused, @"
    exit 5
    error: could not create a schema
      Caused by: no CREATE SCHEMA here, ask the platform team
    hint: an event trigger of the database refuses to have tables made or changed: have it let the role in DATABASE_URL do so, or disable it for a sync that meets new objects or properties (alter event trigger … disable)
    ") });
    assert_eq!(database.texts("select nspname::text from pg_namespace where nspname like 'planhat%'").await, [""; 0]);

    database.administer("alter event trigger refuse disable").await;
    assert_eq!(tool.run(&["sync"]).code, 3);
    database.administer("alter event trigger refuse enable").await;
    // Without new properties nothing is made, so nothing is refused.
    assert_eq!(tool.run(&["sync", "--full"]).code, 3);
    let before = database.contents().await.into_iter().filter(|line| line.starts_with("companies") || line.starts_with("column"));
    let before: Vec<_> = before.collect();
    simulator.edit("companies", "c1", *NOW + TimeDelta::seconds(1), |company| {
        _ = company.insert("custom".into(), json!({"A new field": 7}))
    });
    let refused = tool.run(&["sync"]);
    insta::with_settings!({filters => filters.clone()}, { insta::assert_snapshot!(format!("{} {}", refused.code, refused.stdout.lines().filter(|line| !line.contains('┆') && !line.contains('─') && !line.contains('═')).collect::<Vec<_>>().join("\n")), @"
    3 failed companies: could not store companies: could not add columns to a table: no ALTER TABLE here, ask the platform team
      hint: an event trigger of the database refuses to have tables made or changed: have it let the role in DATABASE_URL do so, or disable it for a sync that meets new objects or properties (alter event trigger … disable)
    warning: 1 record of projects could not be stored and is in quarantine: _id has a NUL character
      hint: `planhat-sync quarantine` shows why
    run 3 partial in [time]
    ") });
    let after: Vec<_> = database
        .contents()
        .await
        .into_iter()
        .filter(|line| line.starts_with("companies") || line.starts_with("column"))
        .collect();
    assert_eq!(before, after);
    let retype = tool.run(&["retype", "projects", "planhat__number", "text"]).all();
    insta::with_settings!({filters => filters}, { insta::assert_snapshot!(retype, @"
    exit 5
    error: could not change the type of a column
      Caused by: no ALTER TABLE here, ask the platform team
    hint: an event trigger of the database refuses to have tables made or changed: have it let the role in DATABASE_URL do so, or disable it for a sync that meets new objects or properties (alter event trigger … disable)
    ") });

    database.administer("alter event trigger refuse disable").await;
    assert_eq!(tool.run(&["sync"]).code, 3);
    assert_eq!(
        database.texts("select planhat__a_new_field__custom::text from planhat.companies where planhat__id = 'c1'").await,
        ["7"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_trigger_leaves_out_is_quarantined() {
    let database = OddDatabase::of(&Kind::default()).await;
    let simulator = workspace().await;
    let mut tool = database.tool(&simulator);
    assert_eq!(tool.run(&["sync"]).code, 3);
    database
        .administer(
            "create function public.leave_out() returns trigger language plpgsql as $$ begin
                 if new.planhat__name = 'unwanted' then return null; end if;
                 return new;
             end $$;
             create trigger leave_out before insert or update on planhat.companies for each row execute function public.leave_out()",
        )
        .await;
    let later = *NOW + TimeDelta::seconds(1);
    for id in ["c1", "c2"] {
        let name = if id == "c1" { "unwanted" } else { "wanted" };
        assert!(simulator.edit("companies", id, later, |company| _ = company.insert("name".into(), json!(name))));
    }
    simulator.add("companies", json!({"_id": "c8", "name": "unwanted", "updatedAt": written(later)}));

    let ran = tool.run(&["sync", "companies"]);

    assert_eq!(ran.code, 3, "{}", ran.all());
    let quarantined =
        "select concat_ws(' ', record_id, sqlstate, reason) from planhat_sync.quarantine where object = 'companies' order by 1";
    insta::assert_snapshot!(database.texts(quarantined).await.join("\n"), @r"
    c1 27000 a trigger leaves rows out of planhat.companies
    c8 27000 a trigger leaves rows out of planhat.companies
    ");
    let noted = "select record_id from planhat.actions where run_id = 2 order by 1";
    assert_eq!(database.texts(noted).await, ["c2"]);

    database.administer("drop trigger leave_out on planhat.companies").await;
    assert_eq!(tool.run(&["quarantine", "retry", "companies"]).code, 0);
    let stored = "select planhat__id from planhat.companies where planhat__name = 'unwanted' order by 1";
    assert_eq!(database.texts(stored).await, ["c1", "c8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_room_for_every_character_is_refused_before_anything_is_made() {
    let simulator = workspace().await;
    for encoding in ["SQL_ASCII", "LATIN1"] {
        let plain = OddDatabase::of(&Kind::default()).await;
        let name = format!("{}_{}", plain.name(), encoding.to_lowercase());
        plain.administer(&format!("create database {name} encoding '{encoding}' template template0 locale 'C' owner ROLE")).await;
        let url = plain.url.replace(plain.name(), &name);
        let mut tool = plain.tool(&simulator).set("DATABASE_URL", &url);
        let checked = tool.run(&["check"]);
        assert_eq!(checked.code, 5, "{}", checked.all());
        assert!(
            checked.stdout.contains(&format!("the database is encoded in {encoding}; create one with encoding 'UTF8'")),
            "{}",
            checked.stdout
        );
        let refused = tool.run(&["sync"]);
        let expected = format!(
            "exit 5\nerror: the database is encoded in {encoding}, which has no room for every name and value\nhint: create one with: create database … encoding 'UTF8' template template0\n"
        );
        assert_eq!(refused.all(), expected);
    }
}

/// A role that may read what the tool has made, as an analyst has it.
async fn reader_of(database: &OddDatabase) -> String {
    let reader = format!("reader_of_{}", database.role);
    let grants = format!(
        "create role {reader} login password 'x'; grant usage on schema planhat, planhat_sync to {reader};
         grant select on all tables in schema planhat, planhat_sync to {reader}"
    );
    database.administer(&grants).await;
    reader
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_only_reads_can_use_every_command_that_only_looks() {
    let database = OddDatabase::of(&Kind::default()).await;
    let simulator = workspace().await;
    assert_eq!(database.tool(&simulator).run(&["sync"]).code, 3);
    let reader = reader_of(&database).await;
    let mut tool = database.tool(&simulator).set("DATABASE_URL", &database.url_as(&reader));
    let mut owners = database.tool(&simulator);

    for looking in [
        &["status", "--json"][..],
        &["runs", "--json"],
        &["runs", "show", "1", "--json"],
        &["schema", "--json"],
        &["schema", "--sql"],
        &["actions", "--json"],
        &["quarantine", "list", "--json"],
        &["quarantine", "show", "1", "--json"],
    ] {
        assert_eq!(tool.run(looking).all(), owners.run(looking).all(), "{looking:?}");
    }
    let planned = tool.run(&["sync", "--full", "--dry-run"]);
    assert_eq!(planned.code, 3, "{}", planned.all());
    let checked = tool.run(&["check"]);
    assert_eq!(checked.code, 5, "{}", checked.all());
    let said: Vec<&str> = checked.stdout.lines().filter(|line| !line.starts_with("ok")).collect();
    insta::assert_snapshot!(said.join("\n").replace(&database.role, "OWNER"), @r#"fail  privileges     role reader_of_OWNER can read: status, runs, actions, schema, quarantine list and sync --dry-run work; everything else needs OWNER, the role that owns the tables, or a member of it: grant "OWNER" to "reader_of_OWNER";"#);
    let refused = tool.run(&["sync"]);
    insta::assert_snapshot!(refused.all(), @"
    exit 5
    error: could not note a token
      Caused by: permission denied for table tokens
    hint: `planhat-sync check` says what the role may do, and the GRANT for what it lacks
    ");
    // What it is told helps.
    database.administer(&format!("grant ROLE to {reader}")).await;
    assert_eq!(tool.run(&["check"]).code, 0);
    assert_eq!(tool.run(&["sync"]).code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_only_reads_is_told_when_the_tables_are_older_than_the_program() {
    let database = OddDatabase::of(&Kind::default()).await;
    let simulator = workspace().await;
    assert_eq!(database.tool(&simulator).run(&["sync"]).code, 3);
    let reader = reader_of(&database).await;
    database
        .administer("delete from planhat_sync.migrations where version = (select max(version) from planhat_sync.migrations)")
        .await;
    let mut tool = database.tool(&simulator).set("DATABASE_URL", &database.url_as(&reader));
    insta::allow_duplicates! {
        for looking in ["status", "runs", "schema", "actions", "quarantine"] {
            insta::assert_snapshot!(tool.run(&[looking]).all(), @"
            exit 5
            error: the tables of schema planhat_sync are missing, or of an earlier version of planhat-sync
            hint: run `planhat-sync sync` once with this version, or use the version that created them
            ");
        }
    }
    let checked = tool.run(&["check"]);
    let said: Vec<&str> = checked.stdout.lines().filter(|line| !line.starts_with("ok")).collect();
    insta::assert_snapshot!(said.join("\n").replace(&database.role, "OWNER"), @r#"
    fail  tables         the tables of schema planhat_sync are missing, or of an earlier version of planhat-sync; run `planhat-sync sync` once with this version, or use the version that created them
    fail  privileges     role reader_of_OWNER can read: status, runs, actions, schema, quarantine list and sync --dry-run work; everything else needs OWNER, the role that owns the tables, or a member of it: grant "OWNER" to "reader_of_OWNER";
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_even_read_is_told_the_one_grant_that_makes_it_an_owner() {
    let database = OddDatabase::of(&Kind::default()).await;
    let simulator = workspace().await;
    assert_eq!(database.tool(&simulator).run(&["sync"]).code, 3);
    let nobody = format!("nobody_of_{}", database.role);
    database.administer(&format!("create role {nobody} login password 'x'")).await;
    let mut tool = database.tool(&simulator).set("DATABASE_URL", &database.url_as(&nobody));
    let checked = tool.run(&["check"]);
    assert_eq!(checked.code, 5, "{}", checked.all());
    let said: Vec<&str> = checked.stdout.lines().filter(|line| !line.starts_with("ok")).collect();
    insta::assert_snapshot!(said.join("\n").replace(&database.role, "OWNER"), @r#"fail  privileges     missing; ask an administrator to run: grant "OWNER" to "nobody_of_OWNER";"#);
}

/// A server whose messages are German. Where this machine can make the language, that is: what Debian's package `locales` brings; and
/// where PostgreSQL has its translations. Otherwise the reason, and the package.
async fn german_server() -> Result<(PostgresServer, tempfile::TempDir), (&'static str, Option<&'static str>)> {
    let locales = tempfile::tempdir().unwrap();
    std::fs::set_permissions(locales.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let german = locales.path().join("de_DE.utf8");
    let made = Command::new("localedef").args(["-i", "de_DE", "-f", "UTF-8", german.to_str().unwrap()]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return Err(("this machine cannot make the language de_DE", Some("locales")));
    }
    let server = PostgresServer::start_with("lc_messages = 'de_DE.utf8'\n", Some(locales.path().to_owned())).await;
    let nowhere = PgConnection::connect(&server.url().replace("/postgres", "/nowhere")).await.unwrap_err();
    if nowhere.to_string().contains("does not exist") {
        return Err(("this PostgreSQL was built without translations", None));
    }
    Ok((server, locales))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_another_language() {
    let (server, _locales) = match german_server().await {
        Ok(server) => server,
        Err((why, package)) => return not_tested(why, package),
    };
    let simulator = workspace().await;
    let database = OddDatabase::at(server.url(), &Kind::default()).await;
    let told = the_story_on(&database, &simulator, &Kind::default()).await;
    assert_same(&told, &the_usual_stories().await.0);
    // It is German indeed, and what to do is told by the code.
    database.administer("alter role ROLE set default_transaction_read_only = on").await;
    let refused = database.tool(&simulator).run(&["sync"]);
    assert!(refused.code == 5 && refused.stderr.contains("hint: name the primary in DATABASE_URL"), "{}", refused.all());
    let wrong = database.tool(&simulator).set("DATABASE_URL", &database.url.replace("/postgres", "/nowhere")).run(&["sync"]);
    assert!(wrong.code == 5 && wrong.stderr.contains("existiert nicht"), "{}", wrong.all());
    assert!(wrong.stderr.contains("hint: create the database first"), "{}", wrong.all());
}
