//! What is printed arrives, or somebody hears that it did not; and the journal hears how urgent a line is.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use planhat_simulator::ScriptedAnswer;

use crate::cli::{Tool, simulator};

/// Exit code and stderr of a command whose results go to a full disk.
fn on_a_full_disk(tool: &Tool, arguments: &[&str]) -> (Option<i32>, String) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = tool.command(arguments).stdout(full).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_written_is_no_success() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let lost = "error: could not write the result: No space left on device (os error 28)\n";

    // The run has been made all the same.
    assert_eq!(on_a_full_disk(&tool, &["sync", "--json"]), (Some(1), lost.to_owned()));
    assert!(tool.run(&["runs"]).stdout.contains("succeeded"));
    simulator.answer_next("tasks", vec![ScriptedAnswer::status(400)]);
    let (code, said) = on_a_full_disk(&tool, &["sync"]);
    assert!(code == Some(3) && said.ends_with(lost), "{said}");

    for command in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["runs", "--json"],
        &["runs", "show", "1"],
        &["actions"],
        &["actions", "--json"],
        &["schema"],
        &["schema", "--sql"],
        &["completions", "bash"],
        &["man"],
    ] {
        assert_eq!(on_a_full_disk(&tool, command), (Some(1), lost.to_owned()), "{command:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    for command in [&["status"][..], &["schema", "--sql"], &["actions", "--json"], &["man"], &["sync", "users"]] {
        let mut process = tool.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = process.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()), "{command:?}");
    }
}

/// What a command writes to a stream that the journal reads, or to one that it does not read.
fn in_the_journal(tool: Tool, arguments: &[&str], is_read: bool) -> String {
    let path = tool.home.path().join("stderr");
    let stream = File::create(&path).unwrap();
    let identity = stream.metadata().map(|of| format!("{}:{}", of.dev(), of.ino() + u64::from(!is_read))).unwrap();
    let tool = tool.set("JOURNAL_STREAM", &identity);
    tool.command(arguments).stderr(stream).output().unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_for_the_journal_begin_with_how_urgent_they_are() {
    let simulator = simulator().await;
    simulator.forbid("nps");
    let urgencies = |log: &str| {
        let mut all: Vec<String> = log.lines().map(|line| line.chars().take(3).collect()).collect();
        all.sort();
        all.dedup();
        all
    };
    for format in ["text", "json"] {
        let tool =
            async || Tool::for_workspace(&simulator).await.set("RUST_LOG", "info").set("PLANHAT_SYNC__LOG__FORMAT", format);
        let log = in_the_journal(tool().await, &["sync", "nps", "users"], true);
        assert_eq!(urgencies(&log), ["<4>", "<6>"], "{log}");
        let skipped = log.lines().find(|line| line.contains("nps answered 403")).unwrap();
        assert!(skipped.starts_with("<4>"), "{skipped}");
        let elsewhere = in_the_journal(tool().await, &["sync", "nps", "users"], false);
        assert!(elsewhere.contains("403") && !elsewhere.contains("<4>"), "{elsewhere}");
    }
    let failed = in_the_journal(Tool::new(), &["sync"], true);
    assert!(failed.starts_with("<3>error: no Planhat token\n<3>hint: set "), "{failed}");
}
