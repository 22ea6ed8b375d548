//! The log: each line says in which workspace, run, object and page it was written, whoever the writing thread ended without a result.

use std::sync::Arc;

use planhat_simulator::{Options, ScriptedAnswer, Simulator, Workspace};
use serde_json::{Value, json};

use super::cli::{Tool, simulator};
use super::daemon::{self, DaemonProcess};
use super::database::TcpProxy;

fn json_log(tool: Tool) -> Tool {
    tool.set("RUST_LOG", "info").set("PLANHAT_SYNC__LOG__FORMAT", "json")
}

/// The fields of the first line with this text.
fn line(log: &str, text: &str) -> Value {
    let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
    let found = lines.find(|line| line["fields"]["message"].as_str().unwrap().contains(text));
    found.unwrap_or_else(|| panic!("no {text:?} in the log:\n{log}"))["fields"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_retried_says_for_which_run_object_and_page() {
    let simulator = simulator().await;
    simulator.answer_next("companies", vec![ScriptedAnswer::status(500)]);
    let mut tool = json_log(Tool::for_workspace(&simulator).await);

    let ran = tool.run(&["sync", "companies"]);

    let retried = line(&ran.stderr, "retrying a request to /companies");
    let expected = json!({
        "workspace": "planhat", "run_id": 1, "command": "sync", "object": "companies",
        "offset": 0, "limit": 100, "listing": "_id", "wait_ms": 0,
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(retried[field], *value, "{field} of {retried}");
    }
    assert_eq!(line(&ran.stderr, "run 1 succeeded")["run_id"], 1);
    assert_eq!(ran.code, 0, "{}", ran.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_retried_says_for_which_run_object_and_page() {
    let projects = (0..1500).map(|number| json!({"_id": format!("{number:05}")})).collect();
    let projects = Workspace::empty().with("projects", projects);
    let simulator = Simulator::start(projects, Options::default()).await.unwrap();
    let tool = json_log(Tool::for_workspace(&simulator).await);
    let proxy = Arc::new(TcpProxy::to(&tool.database()).await);
    let tool = tool.set("DATABASE_URL", &proxy.url);
    let (to_cut, mut requests) = (Arc::clone(&proxy), 0);
    simulator.on_request(move |_, path| {
        requests += u32::from(path == "projects");
        if requests == 5 {
            to_cut.cut();
        }
    });
    let mut run = DaemonProcess::starting(&tool, &["sync", "projects"]);

    let retried = run.until("a transaction failed: trying again");

    proxy.reopen();
    let fields = ["workspace", "run_id", "command", "object", "listing"].map(|field| retried[field].clone());
    assert_eq!(json!(fields), json!(["planhat", 1, "sync", "projects", "_id"]), "{retried}");
    assert!(retried["offset"].is_u64(), "{retried}");
    run.until("run 1 succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_text_says_what_happened_before_it_says_where() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("RUST_LOG", "info");

    let ran = tool.run(&["sync", "companies"]);

    let pulled = ran.stderr.lines().find(|line| line.contains("pulled companies")).unwrap_or_else(|| panic!("{}", ran.all()));
    assert!(pulled.contains(" INFO pulled companies: 3 of 3 records were new or changed rows.fetched=3"), "{pulled}");
    assert!(pulled.ends_with(" workspace=planhat command=sync run_id=1 object=companies"), "{pulled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_says_where_it_comes_from_though_only_warnings_are_logged() {
    let simulator = simulator().await;
    simulator.forbid("users");
    let mut tool = json_log(Tool::for_workspace(&simulator).await).set("RUST_LOG", "warn");

    let ran = tool.run(&["sync", "users"]);

    let skipped = line(&ran.stderr, "skipped users");
    assert_eq!([&skipped["run_id"], &skipped["object"]], [&json!(1), &json!("users")], "{skipped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_does_beside_its_runs_says_for_which_workspace() {
    let simulator = simulator().await;
    let tool = daemon::tool(&simulator, "0 0 1 1 *").await.set("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "1ms");
    let mut daemon = DaemonProcess::starting(&tool, &["daemon"]);

    assert_eq!(daemon.until("the data is stale")["workspace"], "planhat");
}
