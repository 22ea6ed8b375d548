//! Several workspaces in one installation: each with its own token, schema and mistakes, and the commands over all of them.

use std::process::Stdio;
use std::sync::Arc;

use planhat_simulator::{Options, Simulator, Workspace};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Notify;

use crate::cli::{CommandOutput, Tool, signal};
use crate::harness::fresh_database;
use crate::waiting::{ended, in_time};

/// An installation in a folder, and a simulated Planhat with a workspace for each token.
pub(crate) struct Fleet {
    pub(crate) tool: Tool,
    tenants: Vec<Simulator>,
}

impl Fleet {
    /// Each workspace has a file of its own, and as many companies as its place in the list.
    pub(crate) async fn of(names: &[&str]) -> Fleet {
        let nobody = Simulator::start(Workspace::empty(), Options::default()).await.unwrap();
        let tool = Tool::new()
            .set("PLANHAT_API_URL", &nobody.url())
            .set("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", "0")
            .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users")
            .set("PLANHAT_SYNC__WORKSPACES_DIR", "workspaces.d")
            .set("DATABASE_URL", &fresh_database().await);
        let mut fleet = Fleet { tool, tenants: vec![nobody] };
        std::fs::create_dir(fleet.path("workspaces.d")).unwrap();
        fleet.write("config.toml", "");
        for (index, name) in names.iter().enumerate() {
            let companies =
                (0..=index).map(|number| json!({"_id": format!("{name}-{number}"), "name": format!("{name} {number}")}));
            let records = Workspace::empty()
                .with("companies", companies.collect())
                .with("users", vec![json!({"_id": format!("{name}-u")})]);
            let options = Options { token: format!("token-of-{name}"), ..Options::default() };
            let tenant = fleet.tenants[0].tenant(records, options);
            fleet.tenants.push(tenant);
            fleet.write(&format!("workspaces.d/{name}.toml"), &format!("[planhat]\ntoken = 'token-of-{name}'\n"));
        }
        fleet
    }

    pub(crate) fn tenant(&self, number: usize) -> &Simulator {
        &self.tenants[number]
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.tool.home.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn run(&mut self, arguments: &[&str]) -> CommandOutput {
        let arguments: Vec<&str> = ["--config", "config.toml"].iter().chain(arguments).copied().collect();
        self.tool.run(&arguments)
    }

    /// What a person sees, without what differs from one time to the next.
    fn shown(&mut self, arguments: &[&str]) -> String {
        let output = self.run(arguments).all();
        output.replace(&self.tool.home.path().display().to_string(), "HOME")
    }

    /// Each line of JSON, with the name of the workspace.
    pub(crate) fn lines(&mut self, arguments: &[&str]) -> Vec<(String, Value)> {
        let output = self.run(arguments);
        let line = |line: &str| {
            let document: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            (document["workspace"].as_str().unwrap().to_owned(), document)
        };
        output.stdout.lines().map(line).collect()
    }

    async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.tool.database()).await.unwrap()
    }

    pub(crate) async fn execute(&self, sql: &'static str) {
        in_time(sql, async { sqlx::raw_sql(sql).execute(&mut self.database().await).await.unwrap() }).await;
    }

    pub(crate) async fn one(&self, sql: &'static str) -> String {
        in_time(sql, async { sqlx::query_scalar::<_, Option<String>>(sql).fetch_one(&mut self.database().await).await.unwrap() })
            .await
            .unwrap_or_default()
    }
}

/// Times, and where the database is.
fn filters() -> Vec<(&'static str, &'static str)> {
    vec![
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[instant]"),
        (r"\d+\.\d s", "0.0 s"),
        (r"database test_\d+_\d+ at 127.0.0.1:\d+", "[database]"),
        (r"127.0.0.1:\d+", "127.0.0.1:PORT"),
    ]
}

macro_rules! assert_shown {
    ($shown:expr, @$expected:literal) => {
        insta::with_settings!({filters => filters()}, { insta::assert_snapshot!($shown, @$expected) })
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn each_workspace_is_synced_with_its_own_token_into_its_own_schema_and_a_bad_one_keeps_no_other_from_it() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    fleet.write("workspaces.d/aaa.toml", "[planhat]\npage_siz = 5\n");
    fleet.write("workspaces.d/zzz.toml", "[planhat]\ntoken = 'nobody-has-this'\nobjects = ['companies']\n");
    fleet.tool.set_log("off");

    let shown = fleet.shown(&["sync"]);
    let is_of_table = |line: &&str| line.contains(['┌', '│', '╞', '└']);
    let shown: Vec<&str> = shown.lines().filter(|line| !is_of_table(line)).collect();
    assert_shown!(shown.join("\n"), @r#"
    exit 2
    ==> aaa <==
    ==> acme <==
    run 1 succeeded in 0.0 s
    ==> bolt <==
    run 2 succeeded in 0.0 s
    ==> zzz <==
    failed companies: could not read companies from offset 0: /companies answered 401: the token is not valid on this host
      hint: check PLANHAT_API_TOKEN and planhat.base_url: a token is valid only on the API host of its workspace
    run 3 failed in 0.0 s
    aaa: error: could not use the settings of workspace "aaa"
      Caused by: unknown setting "planhat.page_siz" in workspaces.d/aaa.toml; did you mean "planhat.page_size"?
    hint: the page docs/configure.md lists every setting; `planhat-sync --help` says where settings come from
    "#);

    let rows = "select string_agg(id, ' ' order by id) from (select planhat__id as id from planhat_acme.companies union all
        select planhat__id from planhat_bolt.companies) all_of_them";
    assert_eq!(fleet.one(rows).await, "acme-0 bolt-0 bolt-1");
    let with_its_token = [1, 2].map(|number| fleet.tenant(number).requests().len());
    assert!(with_its_token.iter().all(|calls| *calls > 0), "{with_its_token:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_machines_each_document_is_a_line_with_the_name_of_its_workspace() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    fleet.write("workspaces.d/broken.toml", "[planhat]\nretries = 'many'\n");
    let names = |lines: &[(String, Value)]| lines.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(" ");

    let synced = fleet.lines(&["sync", "--json"]);
    assert_eq!(names(&synced), "acme bolt broken");
    assert_eq!(synced[1].1["output"]["objects"][0]["inserted"], 2);
    let broken = &synced[2].1;
    assert_eq!((&broken["exit_code"], broken["output"].is_null()), (&json!(2), true));
    assert!(broken["error"].as_str().unwrap().contains("planhat.retries"), "{broken}");

    for (arguments, expected) in [
        (&["check", "--json"][..], "acme bolt broken"),
        (&["runs", "--json"], "acme bolt broken"),
        (&["schema", "--json"], "acme bolt broken"),
        (&["quarantine", "--json"], "acme bolt broken"),
        // A line for each action.
        (&["actions", "--json"], "acme acme bolt bolt bolt broken"),
        // The worst first.
        (&["status", "--json"], "broken acme bolt"),
        (&["workspaces", "--json"], "acme bolt broken"),
    ] {
        assert_eq!(names(&fleet.lines(arguments)), expected, "{arguments:?}");
    }
    // One that is named has the document of an only one.
    let acme = fleet.run(&["runs", "--json", "--workspace", "acme"]).json();
    assert_eq!((acme[0]["id"].as_i64(), acme[0]["status"].as_str()), (Some(1), Some("succeeded")));
}

#[tokio::test(flavor = "multi_thread")]
async fn some_workspaces_are_named_and_an_unknown_name_is_refused_with_the_nearest() {
    let mut fleet = Fleet::of(&["acme", "bolt", "corp"]).await;
    assert_eq!(fleet.run(&["sync", "--workspace", "corp,acme"]).code, 0);
    assert_eq!(
        fleet.one("select string_agg(distinct workspace, ' ' order by workspace) from planhat_sync.runs").await,
        "planhat_acme planhat_corp"
    );
    let headings =
        |output: &CommandOutput| output.stdout.lines().filter(|line| line.starts_with("==>")).collect::<Vec<_>>().join(" ");
    assert_eq!(headings(&fleet.run(&["runs", "--workspace", "corp", "--workspace", "acme"])), "==> acme <== ==> corp <==");
    let one = fleet.run(&["runs", "--workspace", "acme"]);
    assert!(one.code == 0 && one.stdout.starts_with('┌'), "{}", one.all());
    assert_eq!(headings(&fleet.run(&["schema", "--sql", "companies"])), "");
    assert!(fleet.run(&["schema", "--sql"]).stdout.starts_with("-- acme\ncreate table"));

    assert_shown!(fleet.shown(&["sync", "--workspace", "acne"]), @r#"
    exit 2
    error: unknown workspace "acne"; did you mean "acme"? (known: acme, bolt and corp)
    "#);
    for command in [
        &["retype", "companies", "planhat__name", "text"][..],
        &["forget", "companies", "x"],
        &["adopt"],
        &["runs", "show", "1"],
        &["quarantine", "show", "1"],
        &["quarantine", "drop", "1"],
        &["actions", "--follow"],
        &["privacy", "apply", "--yes"],
        &["check", "--probe", "--report", "report.json"],
    ] {
        let refused = fleet.run(command);
        assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{command:?}");
        assert!(refused.stderr.contains("name it with --workspace; the workspaces are acme, bolt, corp"), "{}", refused.all());
    }
    assert_shown!(fleet.shown(&["adopt"]), @"
    exit 2
    error: `planhat-sync adopt` works on one workspace, and there are 3
    hint: name it with --workspace; the workspaces are acme, bolt, corp
    ");
    assert_eq!(fleet.run(&["runs", "show", "1", "--workspace", "acme"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_several_workspaces_the_only_one_is_called_by_its_schema_and_nothing_is_told_apart() {
    let simulator = crate::cli::simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let objects = ["companies", "users"];
    let sync = tool.run(&[&["sync"][..], &objects].concat());
    assert!(sync.code == 0 && sync.stdout.starts_with('┌'), "{}", sync.all());
    assert_eq!(tool.run(&["runs", "--workspace", "planhat"]).stdout, tool.run(&["runs"]).stdout);
    insta::assert_snapshot!(tool.run(&["runs", "--workspace", "acme"]).all(), @r#"
    exit 2
    error: unknown workspace "acme" (known: planhat)
    "#);
    insta::assert_snapshot!(tool.run(&["workspaces", "sync-now", "planhat"]).all(), @r#"
    exit 0
    requested: planhat. The daemon of a single workspace sees it when it looks at the calendar next, which is when a run is due (daemon.poll_every = "auto"); `planhat-sync sync` syncs at once
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_several_is_a_line_each_the_worst_first() {
    let mut fleet = Fleet::of(&["failing", "fresh", "never", "paused", "stale"]).await;
    fleet.write("workspaces.d/broken.toml", "[sync]\nlookback = '0s'\n");
    fleet.run(&["sync", "--workspace", "failing,fresh,paused,stale"]);
    fleet.tenant(1).forbid("users");
    fleet.run(&["sync", "--workspace", "failing"]);
    fleet.execute("update planhat_sync.object_states set last_success_at = now() - interval '3 days' where workspace = 'planhat_stale' and object = 'users'").await;
    assert_eq!(fleet.run(&["workspaces", "pause", "paused"]).code, 0);

    assert_shown!(fleet.shown(&["status"]), @r#"
    exit 2
    6 workspaces: 1 with unusable settings, 1 STALE, 1 still fresh (last run failed), 1 never synced, 2 fresh; 1 paused
    ┌───────────┬───────────────────┬─────────────────────────┬────────────────────────────────────┬──────────┬───────────────────────────────────────────────────────────────────────────────────────────────────────┐
    │ workspace ┆ state             ┆ oldest success          ┆ latest run                         ┆ next run ┆ why                                                                                                   │
    ╞═══════════╪═══════════════════╪═════════════════════════╪════════════════════════════════════╪══════════╪═══════════════════════════════════════════════════════════════════════════════════════════════════════╡
    │ broken    ┆ settings unusable ┆                         ┆                                    ┆          ┆ setting "sync.lookback" is "0s": a change that a listing shows with a delay would be missed; the def… │
    │ stale     ┆ STALE             ┆ [instant] ┆ succeeded, [instant] ┆          ┆ not synced within the last 26h: users                                                                 │
    │ failing   ┆ still fresh       ┆ [instant] ┆ partial, [instant]   ┆          ┆ users: could not read users from offset 0: /users answered 403 Forbidden; it could be read until 202… │
    │ never     ┆ never synced      ┆                         ┆                                    ┆          ┆                                                                                                       │
    │ fresh     ┆ fresh             ┆ [instant] ┆ succeeded, [instant] ┆          ┆                                                                                                       │
    │ paused    ┆ fresh, paused     ┆ [instant] ┆ succeeded, [instant] ┆ paused   ┆                                                                                                       │
    └───────────┴───────────────────┴─────────────────────────┴────────────────────────────────────┴──────────┴───────────────────────────────────────────────────────────────────────────────────────────────────────┘

    the data is in [database]
    "#);

    // The worst of those that are looked at.
    for (names, code) in [("fresh,paused", 0), ("fresh,failing", 0), ("fresh,stale", 1), ("fresh,never", 1), ("stale,broken", 2)]
    {
        assert_eq!(fleet.run(&["status", "--workspace", names]).code, code, "{names}");
    }
    let stale = fleet.lines(&["status", "--json"]).into_iter().find(|(name, _)| name == "stale").unwrap().1;
    let stale = &stale["output"];
    assert_eq!((&stale["state"], &stale["fresh"], &stale["schema"]), (&json!("stale"), &json!(false), &json!("planhat_stale")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_progress_shows_in_the_status_of_several() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    assert_eq!(fleet.run(&["sync", "--workspace", "bolt"]).code, 0);
    let gate = fleet.tenant(1).gate();
    let reached = Arc::new(Notify::new());
    let hook = Arc::clone(&reached);
    gate.close();
    fleet.tenant(1).on_request(move |_, _| hook.notify_one());
    let mut process = fleet
        .tool
        .command(&["--config", "config.toml", "sync", "--workspace", "acme"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    in_time("the first request", reached.notified()).await;

    let lines = fleet.lines(&["status", "--json"]);
    assert_eq!((lines[0].0.as_str(), &lines[0].1["output"]["state"]), ("acme", &json!("running")));
    assert_eq!(lines[0].1["output"]["running"]["command"], "sync");
    assert!(fleet.run(&["status"]).stdout.starts_with("2 workspaces: 1 running, 1 fresh\n"));

    gate.open();
    assert_eq!(ended(&mut process).await, Some(0));
    assert!(fleet.run(&["status"]).stdout.starts_with("2 workspaces: 2 fresh\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_fresh_are_counted_and_those_that_are_not_are_listed() {
    let mut fleet = Fleet::of(&["acme"]).await;
    assert_eq!(fleet.run(&["sync"]).code, 0);
    for number in 0..100 {
        fleet.write(&format!("workspaces.d/w{number:03}.toml"), "");
    }
    // As if each of them had been synced as acme was.
    fleet
        .execute(
            "insert into planhat_sync.object_states (workspace, object, run_id, status, finished_at, last_success_at)
             select 'planhat_w' || lpad(number::text, 3, '0'), object, run_id, status, finished_at, last_success_at
             from planhat_sync.object_states, generate_series(0, 99) as number;
             do $$ begin for number in 0..99 loop
                 execute format('create schema planhat_w%s', lpad(number::text, 3, '0'));
                 execute format('create table planhat_w%1$s.companies (); create table planhat_w%1$s.users ()', lpad(number::text, 3, '0'));
             end loop; end $$;
             update planhat_sync.object_states set last_success_at = now() - interval '3 days' where workspace = 'planhat_w042'",
        )
        .await;
    assert_shown!(fleet.shown(&["status"]), @"
    exit 1
    101 workspaces: 1 STALE, 100 fresh
    ┌───────────┬───────┬─────────────────────────┬────────────┬──────────┬──────────────────────────────────────────────────┐
    │ workspace ┆ state ┆ oldest success          ┆ latest run ┆ next run ┆ why                                              │
    ╞═══════════╪═══════╪═════════════════════════╪════════════╪══════════╪══════════════════════════════════════════════════╡
    │ w042      ┆ STALE ┆ [instant] ┆            ┆          ┆ not synced within the last 26h: companies, users │
    └───────────┴───────┴─────────────────────────┴────────────┴──────────┴──────────────────────────────────────────────────┘
    100 more are fresh; `planhat-sync status --all` lists them too

    the data is in [database]
    ");
    let all = fleet.run(&["status", "--all"]).stdout;
    assert_eq!(all.lines().filter(|line| line.starts_with("│ w") && !line.contains("workspace ")).count(), 100, "{all}");
    assert_eq!(fleet.lines(&["status", "--json"]).len(), 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn workspaces_are_listed_paused_resumed_and_asked_to_sync_in_the_calendar() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    fleet.write("workspaces.d/bolt-too.toml", "[planhat]\ntoken = 'token-of-bolt'\n");
    fleet.write("workspaces.d/broken.toml", "[sync]\nlookbak = '24h'\n");
    fleet.write("workspaces.d/none.toml", "");
    let calendar = "select string_agg(concat_ws(' ', workspace, case when paused_at is not null then 'paused' end,
        case when requested_at is not null then 'requested' end), ', ' order by workspace) from planhat_sync.workspaces";

    assert_shown!(fleet.shown(&["workspaces", "pause", "acme", "bolt"]), @"
    exit 0
    paused: acme, bolt. No daemon begins a run of them until `planhat-sync workspaces resume acme bolt`; a run in progress goes on
    ");
    assert_shown!(fleet.shown(&["workspaces", "sync-now", "acme", "none"]), @"
    exit 0
    requested: acme, none. A daemon begins the sync as soon as it has a free slot
    paused, so that no daemon runs it: acme; `planhat-sync workspaces resume acme` ends that
    ");
    assert_eq!(fleet.one(calendar).await, "planhat_acme paused requested, planhat_bolt paused, planhat_none requested");
    let by = fleet.one("select requested_by from planhat_sync.workspaces where workspace = 'planhat_acme'").await;
    assert!(by.starts_with("somebody on "), "{by}");
    // As a daemon notes it that knew a workspace whose file was removed.
    fleet
        .execute(
            "insert into planhat_sync.workspaces (workspace, name, next_run_at) values ('planhat_gone', 'gone', now());
             update planhat_sync.workspaces set failures = 3, last_error = 'answered 500' where workspace = 'planhat_bolt'",
        )
        .await;
    assert_shown!(fleet.shown(&["workspaces"]), @r#"
    exit 2
    ┌───────────┬──────────────────┬──────────┬──────────────────────┬──────────────────────────────────────┬────────────────────────┐
    │ workspace ┆ schema           ┆ settings ┆ token                ┆ next run                             ┆ last error             │
    ╞═══════════╪══════════════════╪══════════╪══════════════════════╪══════════════════════════════════════╪════════════════════════╡
    │ acme      ┆ planhat_acme     ┆ ok       ┆ its own              ┆ paused since [instant] ┆                        │
    │ bolt      ┆ planhat_bolt     ┆ ok       ┆ shared with bolt-too ┆ paused since [instant] ┆ answered 500 (3 times) │
    │ bolt-too  ┆ planhat_bolt_too ┆ ok       ┆ shared with bolt     ┆                                      ┆                        │
    │ broken    ┆                  ┆ UNUSABLE ┆                      ┆                                      ┆                        │
    │ none      ┆ planhat_none     ┆ ok       ┆ none                 ┆ requested [instant]    ┆                        │
    │ gone      ┆ planhat_gone     ┆ removed  ┆                      ┆                                      ┆                        │
    └───────────┴──────────────────┴──────────┴──────────────────────┴──────────────────────────────────────┴────────────────────────┘
    broken: could not use the settings of workspace "broken": unknown setting "sync.lookbak" in workspaces.d/broken.toml; did you mean "sync.lookback"?
    no longer in the settings: gone. Their data is kept, and no daemon with these settings syncs it
    "#);
    assert_shown!(fleet.shown(&["workspaces", "resume", "bolt"]), @"
    exit 0
    resumed: bolt. A daemon runs at once what was due meanwhile
    ");
    assert_eq!(
        fleet.one("select string_agg(workspace, ' ') from planhat_sync.workspaces where paused_at is not null").await,
        "planhat_acme"
    );
    assert_shown!(fleet.shown(&["workspaces", "resume", "blot"]), @r#"
    exit 2
    error: unknown workspace "blot"; did you mean "bolt"? (known: acme, bolt, bolt-too, broken and none)
    "#);

    // A person is not kept from it.
    assert_eq!(fleet.run(&["sync", "--workspace", "acme"]).code, 0);
    let listed = fleet.lines(&["workspaces", "--json", "--workspace", "acme"]);
    assert_eq!((listed.len(), listed[0].1["output"]["paused_at"].is_string()), (1, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_workspaces_are_checked_at_the_same_time_and_shown_in_their_order() {
    let names: Vec<String> = (0..10).map(|number| format!("w{number}")).collect();
    let mut fleet = Fleet::of(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    fleet.write("workspaces.d/w10.toml", "[planhat]\ntoken = 'token-of-w1'\n");
    // The first answers last.
    let slow = fleet.tenant(1).gate();
    slow.close();
    let last = Arc::new(Notify::new());
    let hook = Arc::clone(&last);
    fleet.tenant(7).on_request(move |_, _| hook.notify_one());
    let opened = tokio::spawn(async move {
        in_time("the eighth in their order to be checked while the first is not", last.notified()).await;
        slow.open();
    });
    let ran = fleet.run(&["check"]);
    in_time("the gate to be opened", opened).await.unwrap();

    let headings: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("==>")).collect();
    let expected = ["all workspaces", "w0", "w1", "w10", "w2", "w3", "w4", "w5", "w6", "w7", "w8", "w9"];
    assert_eq!(headings, expected.map(|name| format!("==> {name} <==")), "{}", ran.all());
    assert!(ran.stdout.contains("workspaces w1 and w10 have the same token"), "{}", ran.all());
    assert_eq!(ran.stdout.matches("accepted by").count(), 11);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_command_and_not_only_the_workspace_at_hand() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    let gate = fleet.tenant(1).gate();
    let reached = Arc::new(Notify::new());
    let hook = Arc::clone(&reached);
    gate.close();
    fleet.tenant(1).on_request(move |_, _| hook.notify_one());
    fleet.tool.set_log("warn");
    let mut process =
        fleet.tool.command(&["--config", "config.toml", "sync"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    in_time("the first request", reached.notified()).await;
    signal(process.id(), "TERM");
    assert_eq!(ended(&mut process).await, Some(143));
    gate.open();
    assert_eq!(fleet.tenant(2).requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_name_no_workspace_say_where_they_would_be() {
    let mut fleet = Fleet::of(&[]).await;
    assert_shown!(fleet.shown(&["sync"]), @"
    exit 2
    error: there is no workspace: there is no section [workspaces.NAME] in the settings file, and no file NAME.toml in workspaces.d
    hint: docs/many-workspaces.md says how workspaces are set up
    ");
    assert_eq!(fleet.run(&["status"]).code, 2);
    fleet.write("workspaces.d/acme.toml", "[planhat]\ntoken = 'x'\n");
    // One of one: what is told apart today is told apart tomorrow, when there is another.
    assert!(fleet.run(&["runs"]).stdout.starts_with("==> acme <==\n"));
    assert_eq!(fleet.run(&["adopt"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_that_is_paused_before_its_first_sync_gets_no_schema_by_that() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    let unknown = fleet.run(&["workspaces", "pause", "nobody"]);
    assert_eq!(unknown.code, 2, "{}", unknown.all());
    for asked in ["pause", "sync-now", "resume"] {
        assert_eq!(fleet.run(&["workspaces", asked, "acme"]).code, 0, "{asked}");
    }
    let schemas = "select string_agg(nspname::text, ' ') from pg_namespace where nspname like 'planhat%'";
    assert_eq!(fleet.one(schemas).await, "planhat_sync");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_a_person_is_told_of_are_for_the_workspace_in_question() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    fleet.tool.set_log("off");
    assert_shown!(fleet.shown(&["runs"]), @r"
    exit 0
    ==> acme <==
    no run yet; start one with `planhat-sync --workspace acme sync`
    ==> bolt <==
    no run yet; start one with `planhat-sync --workspace bolt sync`
    ");
    assert_shown!(fleet.shown(&["--workspace", "acme", "adopt"]), @r"
    exit 0
    nothing to adopt: schema planhat_acme has no tables yet; `planhat-sync --workspace acme sync` creates them
    ");
    assert_shown!(fleet.shown(&["--workspace", "acme", "runs", "show", "7"]), @r"
    exit 2
    error: there is no run 7
    hint: `planhat-sync --workspace acme runs` lists them
    ");
    // Of one alone nothing is told apart, and what is for all workspaces stays so.
    let json = fleet.run(&["--workspace", "acme", "runs", "--json"]);
    assert_eq!(json.stdout, "[]\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_doubtful_for_all_workspaces_is_said_once() {
    let mut fleet = Fleet::of(&["acme", "bolt"]).await;
    fleet.tool.put("PLANHAT_SYNC__NOTIFY__STALE_AFTER", Some("2h"));
    let doubt = "notify.stale_after";
    let of_all = fleet.run(&["check"]).stdout;
    assert_eq!(of_all.matches(doubt).count(), 1, "{of_all}");
    fleet.write("workspaces.d/bolt.toml", "[planhat]\ntoken = 'token-of-bolt'\n[notify]\nstale_after = '3h'\n");
    let of_each = fleet.run(&["check"]).stdout;
    assert_eq!(of_each.matches(doubt).count(), 2, "{of_each}");
    assert_eq!(fleet.run(&["--workspace", "acme", "check"]).stdout.matches(doubt).count(), 1);
}
