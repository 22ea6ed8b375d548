//! `planhat-sync actions`: what it prints, and that a follower misses no action whatever happens to it.

use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use chrono::SubsecRound as _;
use planhat_simulator::{Options, Simulator, Workspace};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::cli::{Tool, signal, simulator};
use crate::database::TcpProxy;
use crate::waiting::{DEADLINE, end, ended, eventually, joined, lines_of, next_by, next_of, status_of};

/// `actions --follow --json` at work.
struct Follower {
    process: Child,
    lines: Receiver<String>,
    log: Receiver<String>,
}

impl Follower {
    fn start(tool: &Tool, arguments: &[&str]) -> Follower {
        let mut command = tool.command(&[&["actions", "--follow", "--json"], arguments].concat());
        command.env("RUST_LOG", "info");
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(process.stdout.take().unwrap());
        let log = lines_of(process.stderr.take().unwrap());
        Follower { process, lines, log }
    }

    /// Waits until it has said that it is as far as a test needs it.
    fn until_it_says(&mut self, text: &str) {
        until_said(&self.log, text);
    }

    fn next(&self) -> Value {
        serde_json::from_str(&next_of(&self.lines, "the next action of the follower")).unwrap()
    }

    fn next_id(&self) -> i64 {
        self.next()["id"].as_i64().unwrap()
    }

    fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// Ends it and says with which code, and what it has written out besides.
    fn end(mut self, name: &str) -> (Option<i32>, Vec<i64>) {
        self.signal(name);
        let mut rest = Vec::new();
        let deadline = Instant::now() + DEADLINE;
        loop {
            match next_by(deadline, &self.lines, "the end of the follower") {
                // The last line of one that was killed may be half a line; it comes again.
                Ok(line) => rest.extend(serde_json::from_str::<Value>(&line).ok().and_then(|action| action["id"].as_i64())),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the follower did not end within {DEADLINE:?}"),
            }
        }
        (status_of(&mut self.process, "the end of the follower").code(), rest)
    }
}

fn until_said(log: &Receiver<String>, text: &str) {
    let (mut said, deadline) = (String::new(), Instant::now() + DEADLINE);
    while !said.contains(text) {
        let line = next_by(deadline, log, &format!("{text:?} in the log of the follower"));
        said.push_str(&line.unwrap_or_else(|error| panic!("no {text:?} in the log of the follower ({error}):\n{said}")));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn rename(simulator: &Simulator, id: &str, name: &str) {
    // A whole second is as wide as any other, and the next one is behind all that was seen so far.
    let next = chrono::Utc::now().trunc_subsecs(0) + chrono::TimeDelta::seconds(1);
    assert!(simulator.edit("companies", id, next, |company| _ = company.insert("name".into(), json!(name))));
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_prints_the_newest_actions_as_a_table_or_as_json() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let nothing = "no actions match: nothing was synced yet; `planhat-sync sync` loads the workspace";
    assert_eq!(tool.run(&["actions"]).all(), format!("exit 0\n{nothing}\n"));
    let as_json = tool.run(&["actions", "--json"]);
    assert_eq!((as_json.stdout.as_str(), as_json.stderr.trim_end()), ("", nothing));
    tool.run(&["sync", "companies"]);
    tool.run(&["sync", "users"]);
    rename(&simulator, "c1", "Renamed\nby hand");
    tool.run(&["sync", "companies"]);

    let filters =
        vec![(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d UTC)?", "[instant]"), (r"\d{4}-\d\d-\d\dT[0-9:.]+(\+00:00|Z)", "[instant]")];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!(tool.run(&["actions", "--limit", "2", "--object", "companies"]).all(), @r"
        exit 0
        ┌──────────────────┬─────────────────┬──────────────────┬───────────────────────────────────────────────────────────────────────────────┐
        │ when             ┆ action          ┆ company          ┆ what changed                                                                  │
        ╞══════════════════╪═════════════════╪══════════════════╪═══════════════════════════════════════════════════════════════════════════════╡
        │ [instant] ┆ Company Updated ┆ Renamed\nby hand ┆ name: Company 1 → Renamed\nby hand, updated_at: – → [instant] │
        │ [instant] ┆ Company Created ┆ Company 2        ┆                                                                               │
        └──────────────────┴─────────────────┴──────────────────┴───────────────────────────────────────────────────────────────────────────────┘
        times are UTC
        ");
        insta::assert_snapshot!(tool.run(&["actions", "--json", "--kind", "updated"]).all(), @r#"
        exit 0
        {"id":5,"happened_at":"[instant]","seen_at":"[instant]","action":"Company Updated","kind":"updated","first_seen":false,"object":"companies","record_id":"c1","company_id":"c1","company":"Renamed\nby hand","end_user_id":null,"end_user":null,"run_id":3,"changes":{"planhat__name": {"new": "Renamed\nby hand", "old": "Company 1"}, "planhat__updated_at": {"new": "[instant]", "old": null}},"changed":"name: Company 1 → Renamed\nby hand, updated_at: – → [instant]"}
        "#);
    });
    let ids = |ran: crate::cli::CommandOutput| -> Vec<i64> {
        ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(tool.run(&["actions", "--json", "--company", "c1"])), [5, 2]);
    assert_eq!(ids(tool.run(&["actions", "--json", "--object", "users,companies", "--since", "1h"])), [5, 4, 3, 2, 1]);
    assert_eq!(ids(tool.run(&["actions", "--json", "--since", "2999-01-01"])), Vec::<i64>::new());
    assert_eq!(ids(tool.run(&["actions", "--json", "--company", "company 2"])), [3]);
    assert_eq!(ids(tool.run(&["actions", "--json", "--company", "renamed"])), [5, 2]);
    assert_eq!(ids(tool.run(&["actions", "--json", "--since", "yesterday", "--company", "Company 2"])), [3]);
    insta::assert_snapshot!(tool.run(&["actions", "--company", "company"]).all(), @r#"
    exit 2
    error: "company" may mean several companies: Company 0 (c0), Company 2 (c2)
    hint: give the id of the one that you mean
    "#);
    insta::assert_snapshot!(tool.run(&["actions", "--company", "Compony 2"]).all(), @r#"
    exit 0
    no actions match: no company has "Compony 2" as its id, or in its name or externalId; did you mean "Company 2"?
    "#);
    insta::with_settings!({filters => vec![(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "[instant]")]}, {
        insta::assert_snapshot!(tool.run(&["actions", "--company", "Company 2", "--kind", "deleted"]).all(), @"
        exit 0
        no actions of Company 2 (c2) match; the newest action of the timeline was stored at [instant]
        ");
        insta::assert_snapshot!(tool.run(&["actions", "--company", "Company 2", "--since", "2999-01-01"]).all(), @"
        exit 0
        no actions match: nothing since [instant]; the newest action that matches was stored at [instant] (Company Created)
        ");
    });
    for wrong in [
        &["--object", "companys"][..],
        &["--kind", "gone"],
        &["--since", "soon"],
        &["--consumer", "crm"],
        &["--follow", "--limit", "3"],
    ] {
        assert_eq!(tool.run(&[&["actions"], wrong].concat()).code, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_needs_only_read_privileges() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    tool.run(&["sync", "companies"]);
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let role = format!("reader_of_{}", tool.database().rsplit_once('/').unwrap().1);
    let grants = format!(
        "create role {role} login password 'reads'; grant usage on schema planhat, planhat_sync to {role};
         grant select on all tables in schema planhat, planhat_sync to {role}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(grants)).execute(&mut database).await.unwrap();
    let mut url: url::Url = tool.database().parse().unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("reads")).unwrap();
    let mut reader = tool.set("DATABASE_URL", url.as_str());

    assert_eq!(reader.run(&["actions", "--json"]).stdout.lines().count(), 3);
    let follower = Follower::start(&reader, &["--since", "1h"]);
    assert_eq!([follower.next_id(), follower.next_id(), follower.next_id()], [1, 2, 3]);
    assert_eq!(follower.end("TERM").0, Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_prints_new_actions_and_ends_with_a_signal_or_when_its_output_is_closed() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    // It may be there before the first sync.
    let mut early = Follower::start(&tool, &["--consumer", "early"]);
    early.until_it_says("nothing was synced yet");
    tool.run(&["sync", "companies"]);
    assert_eq!([early.next_id(), early.next_id(), early.next_id()], [1, 2, 3]);

    let mut late = Follower::start(&tool, &["--consumer", "late", "--kind", "updated"]);
    late.until_it_says("following the timeline");
    rename(&simulator, "c1", "Renamed");
    tool.run(&["sync", "companies"]);

    let told = late.next();
    assert_eq!(
        (&told["kind"], &told["company"], &told["changes"]["planhat__name"]),
        (&json!("updated"), &json!("Renamed"), &json!({"old": "Company 1", "new": "Renamed"}))
    );
    assert_eq!(early.next(), told);
    assert_eq!(late.end("TERM").0, Some(143));
    assert_eq!(early.end("INT").0, Some(130));

    // Nobody reads on.
    let mut command = tool.command(&["actions", "--follow", "--json", "--since", "1h"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(process.stdout.take());
    assert_eq!(ended(&mut process).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_output_is_closed_while_it_waits_ends_without_a_new_action() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let end_without_reader = async |tool: &Tool, waits: &str| {
        let mut command = tool.command(&["actions", "--follow", "--json"]);
        let command = command.env("RUST_LOG", "info").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (reader, log) = (process.stdout.take(), lines_of(process.stderr.take().unwrap()));
        until_said(&log, waits);
        drop(reader);
        ended(&mut process).await
    };
    assert_eq!(end_without_reader(&tool, "nothing was synced yet").await, Some(0));
    tool.run(&["sync", "users"]);
    assert_eq!(end_without_reader(&tool, "following the timeline").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_killed_repeatedly_misses_no_action() {
    let records = |prefix: &str| (0..700).map(|number| json!({"_id": format!("{prefix}{number:04}")})).collect();
    let objects = ["projects", "assets", "churn", "issues"];
    let workspace = objects.iter().fold(Workspace::empty(), |workspace, object| workspace.with(object, records(object)));
    let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await.set("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "20");
    // From the beginning, should the sync have begun before it.
    let from_the_beginning = ["--consumer", "crm", "--since", "1h"];
    let mut follower = Follower::start(&tool, &from_the_beginning);
    let mut sync = tool.command(&[&["sync"], &objects[..]].concat()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    // While four objects are loaded side by side.
    let (mut told, mut kills) = (Vec::new(), 0);
    while told.last() != Some(&2800) {
        told.push(follower.next_id());
        if kills < 8 && told.len() > kills * 300 {
            kills += 1;
            let (_, rest) = follower.end("KILL");
            assert!(rest.is_sorted());
            told.extend(rest);
            follower = Follower::start(&tool, &from_the_beginning);
        }
    }

    assert_eq!(ended(&mut sync).await, Some(0));
    let distinct: std::collections::BTreeSet<i64> = told.iter().copied().collect();
    assert_eq!(distinct, (1..=2800).collect());
    assert!(told.len() <= 2800 + kills * 500, "{} lines", told.len());
    // One that is stopped in peace has nothing again; what this one repeats is from the last kill.
    until_noted(&tool, 2800).await;
    let (code, again) = follower.end("TERM");
    assert!(code == Some(143) && again.len() <= 500, "{code:?} {again:?}");
    simulator.add("projects", json!({"_id": "new"}));
    tool.run(&["sync", "projects"]);
    let follower = Follower::start(&tool, &["--consumer", "crm"]);
    assert_eq!(follower.next()["record_id"], "new");
}

async fn until_noted(tool: &Tool, id: i64) {
    let mut database = PgConnection::connect(&tool.database()).await.unwrap();
    let noted = "select max(last_action_id) from planhat_sync.consumers";
    let is_noted = async || sqlx::query_scalar::<_, Option<i64>>(noted).fetch_one(&mut database).await.unwrap() == Some(id);
    eventually("the position of the follower", is_noted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_waits_for_an_unreachable_database() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    tool.run(&["sync", "users"]);
    let proxy = TcpProxy::to(&tool.database()).await;
    let direct = tool.database();
    let tool = tool.set("DATABASE_URL", &proxy.url);
    let follower = Follower::start(&tool, &["--consumer", "crm", "--since", "1h"]);
    assert_eq!(follower.next_id(), 1);

    proxy.cut();
    let mut tool = tool.set("DATABASE_URL", &direct);
    tool.run(&["sync", "companies"]);
    eventually("a connection that is refused", async || proxy.refused() > 0).await;
    proxy.reopen();

    assert_eq!([follower.next_id(), follower.next_id(), follower.next_id()], [2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_waiting_for_the_first_sync_waits_for_an_unreachable_database_too() {
    let simulator = simulator().await;
    let tool = Tool::for_workspace(&simulator).await;
    let proxy = TcpProxy::to(&tool.database()).await;
    let direct = tool.database();
    let tool = tool.set("DATABASE_URL", &proxy.url);
    let mut follower = Follower::start(&tool, &[]);
    follower.until_it_says("nothing was synced yet");

    proxy.cut();
    eventually("a connection that is refused", async || proxy.refused() > 0).await;
    proxy.reopen();
    tool.set("DATABASE_URL", &direct).run(&["sync", "users"]);

    assert_eq!(follower.next_id(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_ends_with_a_signal_even_if_its_output_is_not_read() {
    let projects = (0..1000).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let simulator = Simulator::start(Workspace::empty().with("projects", projects), Options::default()).await.unwrap();
    let mut tool = Tool::for_workspace(&simulator).await;
    tool.run(&["sync", "projects"]);
    let mut command = tool.command(&["actions", "--follow", "--json", "--since", "1h"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // More than a pipe holds comes in one go.
    let mut stdout = process.stdout.take().unwrap();
    let first = std::thread::spawn(move || stdout.read_exact(&mut [0]).map(|()| stdout).unwrap());
    let _stdout = joined(first, "the first byte of the follower");

    signal(process.id(), "TERM");

    assert_eq!(ended(&mut process).await, Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_works_behind_a_pooler_in_transaction_mode() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    tool.run(&["sync", "users"]);
    let mut pooled: url::Url = std::env::var("TEST_PGBOUNCER_URL").unwrap().parse().unwrap();
    pooled.set_path(tool.database().parse::<url::Url>().unwrap().path());
    let mut tool = tool.set("DATABASE_URL", pooled.as_str());

    let follower = Follower::start(&tool, &["--consumer", "crm", "--since", "1h"]);
    assert_eq!(follower.next_id(), 1);
    tool.run(&["sync", "companies"]);

    assert_eq!([follower.next_id(), follower.next_id(), follower.next_id()], [2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_continues_after_its_connections_stall() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    tool.run(&["sync", "users"]);
    let (proxy, direct) = (TcpProxy::to(&tool.database()).await, tool.database());
    let tool = tool.set("DATABASE_URL", &proxy.url).set("PLANHAT_SYNC__DATABASE__STATEMENT_TIMEOUT", "1s");
    let follower = Follower::start(&tool, &["--since", "1h"]);
    assert_eq!(follower.next_id(), 1);

    // The one on which it listens too.
    proxy.stall();
    tool.set("DATABASE_URL", &direct).run(&["sync", "companies"]);

    assert_eq!([follower.next_id(), follower.next_id(), follower.next_id()], [2, 3, 4]);
}
