//! Nothing that Planhat says moves a cursor, colours a line, turns text around or begins a line of its own: in no command's output
//! and in no log.

use planhat_model::printable::acts;
use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use serde_json::{Value, json};

use crate::cli::Tool;
use crate::daemon::DaemonProcess;
use crate::harness::written;

/// Colours, a cleared screen (in two ways), line breaks of four kinds, a deleted character, and text turned around.
const ODD: &str = "\u{1b}[31mRed\u{1b}[2J\r\nFORGED\u{9b}2J\u{85}FORGED\u{2028}FORGED\u{7f}\u{8}\u{202e}der\u{2066}\u{200f}";
/// How it begins when it is shown.
const SHOWN: &str = "\\u{1b}[31mRed\\u{1b}[2J\\r\\nFORGED\\u{9b}2J\\u{85}FORGED\\u{2028}FORGED\\u{7f}";

fn assert_plain(text: &str, what: &str) {
    let odd: Vec<char> = text.chars().filter(|c| *c != '\n' && acts(*c)).collect();
    assert!(odd.is_empty(), "{what}: {odd:?} in\n{text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED")), "{what}: a line of strangers in\n{text}");
}

fn odd(id: &str) -> Value {
    let custom = json!({ODD: ODD, format!("Seats{ODD}"): 1});
    json!({"_id": format!("{id}{ODD}"), "name": format!("{id} {ODD}"), "phase": ODD, "description": ODD, ODD: ODD, "custom": custom,
        "createdAt": written(chrono::Utc::now()), "updatedAt": written(chrono::Utc::now())})
}

async fn odd_workspace() -> (Simulator, Tool) {
    let workspace =
        Workspace::empty().with("companies", vec![odd("1"), odd("2")]).with("users", vec![json!({"_id": "u", "email": ODD})]);
    let simulator = Simulator::start(workspace, Options::default()).await.unwrap();
    let tool = Tool::for_workspace(&simulator)
        .await
        .set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users,tickets")
        .set("PLANHAT_SYNC__PLANHAT__RETRIES", "0")
        .set("RUST_LOG", "debug");
    (simulator, tool)
}

/// Answers with something odd to the requests of a run.
fn fail(simulator: &Simulator) {
    let body = format!("<html>{ODD}</html>");
    simulator.answer_next("tickets", vec![ScriptedAnswer::text(400, "text/html", body); 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_prints_what_a_terminal_would_act_on() {
    let (simulator, mut tool) = odd_workspace().await;
    fail(&simulator);
    let mut shown = String::new();
    let mut run = |tool: &mut Tool, arguments: &[&str]| {
        let ran = tool.run(arguments);
        assert_plain(&ran.stdout, &format!("stdout of {arguments:?}"));
        assert_plain(&ran.stderr, &format!("stderr of {arguments:?}"));
        shown.push_str(&format!("{arguments:?}: {}\n", ran.all()));
        ran
    };
    run(&mut tool, &["check"]);
    fail(&simulator);
    run(&mut tool, &["sync", "--dry-run", "--diff"]);
    simulator.clear_faults();
    assert_eq!(run(&mut tool, &["sync"]).code, 0);
    simulator.edit("companies", &format!("1{ODD}"), chrono::Utc::now(), |company| {
        company.insert("phase".into(), json!(format!("changed {ODD}")));
        company.insert("custom".into(), json!({format!("Seats{ODD}"): ODD}));
    });
    simulator.add("companies", json!({"name": ODD}));
    simulator.add("companies", json!({"_id": {ODD: ODD}, "name": ODD}));
    fail(&simulator);
    assert_eq!(run(&mut tool, &["sync"]).code, 3);
    fail(&simulator);
    for arguments in [
        &["sync", "--dry-run", "--diff", "--full"][..],
        &["check"],
        &["status"],
        &["runs"],
        &["runs", "show", "2"],
        &["schema"],
        &["schema", "companies"],
        &["schema", "companies", "--sql"],
        &["actions"],
        &["actions", "--company", "Red"],
        &["actions", "--company", "nobody"],
        &["actions", "--company", ODD],
        &["quarantine"],
        &["quarantine", "show", "1"],
        &["quarantine", "retry"],
        &["retype", "companies", "planhat__phase", "numeric", "--dry-run"],
        &["retype", "companies", ODD, "numeric"],
        &["retype", "companies", "planhat__phase", "jsonb"],
        &["sync", ODD],
    ] {
        run(&mut tool, arguments);
    }
    for what in ["schema\", \"companies\"]", "[\"actions\"]", "[\"quarantine\", \"show\"", "[\"runs\", \"show\"", "[\"status\"]"]
    {
        let said = shown.split(what).nth(1).unwrap_or_else(|| panic!("{what}: {shown}"));
        let said = said.split("exit ").nth(1).unwrap();
        // The text of a record has JSON's escapes.
        assert!(said.contains("\\u{1b}[31mRed") || said.contains("\\u001b[31mRed"), "what is odd is shown by {what}: {said}");
    }
    assert!(shown.contains(SHOWN), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_exactly_what_planhat_said_and_holds_nothing_that_a_terminal_would_act_on() {
    let (simulator, tool) = odd_workspace().await;
    let mut tool = tool.set("RUST_LOG", "error");
    simulator.add("companies", json!({"name": ODD}));
    let sync = tool.run(&["sync", "--json"]);
    assert_plain(&sync.stdout, "sync --json");
    fail(&simulator);
    for arguments in [
        &["sync", "--json"][..],
        &["sync", "--dry-run", "--diff", "--full", "--json"],
        &["status", "--json"],
        &["runs", "--json"],
        &["runs", "show", "1", "--json"],
        &["check", "--json"],
    ] {
        let ran = tool.run(arguments);
        assert_plain(&ran.stdout, &format!("{arguments:?}"));
        ran.json();
    }
    let actions = tool.run(&["actions", "--json", "--object", "companies"]).stdout;
    assert_plain(&actions, "actions --json");
    let ids: Vec<Value> = actions.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record_id"].take()).collect();
    assert_eq!(ids, [json!(format!("2{ODD}")), json!(format!("1{ODD}"))]);
    let quarantined = tool.run(&["quarantine", "show", "1", "--json"]);
    assert_plain(&quarantined.stdout, "quarantine show --json");
    let raw: Value = serde_json::from_str(quarantined.json()["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw, json!({"name": ODD}));
    let schema = tool.run(&["schema", "companies", "--json"]);
    assert_plain(&schema.stdout, "schema --json");
    let columns = schema.json()[0]["columns"].take();
    assert!(columns.as_array().unwrap().iter().any(|column| column["planhat_name"] == ODD), "{columns}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statements_of_schema_make_the_same_tables_with_the_same_comments() {
    use sqlx::Connection as _;
    let (_simulator, tool) = odd_workspace().await;
    let mut tool = tool.set("RUST_LOG", "error");
    tool.run(&["sync"]);
    let sql = tool.run(&["schema", "companies", "--sql"]).stdout;
    let mut database = sqlx::PgConnection::connect(&tool.database()).await.unwrap();
    let comments = "select string_agg(attname || col_description(attrelid, attnum), ',' order by attname) from pg_attribute
        where attrelid = 'planhat.companies'::regclass and attnum > 0";
    let before: String = sqlx::query_scalar(comments).fetch_one(&mut database).await.unwrap();

    sqlx::raw_sql("drop table planhat.companies cascade").execute(&mut database).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut database).await.unwrap();

    let after: String = sqlx::query_scalar(comments).fetch_one(&mut database).await.unwrap();
    assert!(before.contains(ODD), "{before}");
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_daemon_has_one_line_for_each_event_whatever_planhat_says() {
    let (simulator, tool) = odd_workspace().await;
    simulator.add("companies", json!({"name": ODD}));
    let tool = tool
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0")
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", "0 3 * * *");
    fail(&simulator);
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("run 1 partial");
    let (_, status) = daemon.get("/api/status").await;
    assert_plain(&status, "/api/status");
    assert!(status.contains("\\u001b[31mRed"), "{status}");
    daemon.signal("TERM");
    let (_, log) = daemon.end();
    assert!(log.contains("\\u001b[31mRed"), "{log}");
    for line in log.lines() {
        assert_plain(line, "the log");
        serde_json::from_str::<Value>(line).unwrap();
    }
}
