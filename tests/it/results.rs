//! What is printed arrives, or somebody hears that it did not; the journal hears how urgent a line is; and a terminal alone
//! gets colours.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use nix::pty::{OpenptyResult, Winsize, openpty};
use planhat_simulator::ScriptedAnswer;

use crate::cli::{Tool, simulator};
use crate::waiting::{joined, output_of};

/// Exit code and stderr of a command whose results go to a full disk.
fn on_a_full_disk(tool: &Tool, arguments: &[&str]) -> (Option<i32>, String) {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let process = tool.command(arguments).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = output_of(process, &arguments.join(" "));
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_written_is_a_failure() {
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
async fn a_closed_output_pipe_is_not_a_failure() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    assert_eq!(tool.run(&["sync"]).code, 0);
    for command in [&["status"][..], &["schema", "--sql"], &["actions", "--json"], &["man"], &["sync", "users"]] {
        let mut process = tool.command(command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(process.stdout.take());
        let output = output_of(process, &command.join(" "));
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()), "{command:?}");
    }
}

/// What a command writes to a stream that the journal reads.
fn in_the_journal(tool: Tool, arguments: &[&str]) -> String {
    written_to_stderr(tool, arguments, |device, inode| format!("{device}:{inode}"))
}

/// What a command writes to a stream that is not the one that the journal reads.
fn beside_the_journal(tool: Tool, arguments: &[&str]) -> String {
    written_to_stderr(tool, arguments, |device, inode| format!("{device}:{}", inode + 1))
}

/// The journal names its stream by device and inode.
fn written_to_stderr(tool: Tool, arguments: &[&str], stream_of_the_journal: impl Fn(u64, u64) -> String) -> String {
    let path = tool.home.path().join("stderr");
    let stream = File::create(&path).unwrap();
    let identity = stream.metadata().map(|of| stream_of_the_journal(of.dev(), of.ino())).unwrap();
    let tool = tool.set("JOURNAL_STREAM", &identity);
    let process = tool.command(arguments).stdout(Stdio::null()).stderr(stream).spawn().unwrap();
    output_of(process, &arguments.join(" "));
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_lines_begin_with_their_priority() {
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
        let log = in_the_journal(tool().await, &["sync", "nps", "users"]);
        assert_eq!(urgencies(&log), ["<4>", "<6>"], "{log}");
        let skipped = log.lines().find(|line| line.contains("nps answered 403")).unwrap();
        assert!(skipped.starts_with("<4>"), "{skipped}");
        let elsewhere = beside_the_journal(tool().await, &["sync", "nps", "users"]);
        assert!(elsewhere.contains("403") && !elsewhere.contains("<4>"), "{elsewhere}");
    }
    let failed = in_the_journal(Tool::new(), &["sync"]);
    assert!(failed.starts_with("<3>error: no Planhat token\n<3>hint: set "), "{failed}");
}

/// What a command writes to a terminal, to which its stdout and stderr both go.
fn on_a_terminal(tool: &Tool, arguments: &[&str]) -> String {
    on_a_terminal_of(0, tool, arguments)
}

/// The same, for a terminal of so many columns; one of 0 does not know its size.
fn on_a_terminal_of(columns: u16, tool: &Tool, arguments: &[&str]) -> String {
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
    let mut command = tool.command(arguments);
    let process = command.stdout(slave.try_clone().unwrap()).stderr(slave).spawn().unwrap();
    // The command holds the other end, and with it the terminal ends for whoever reads.
    drop(command);
    let reader = std::thread::spawn(move || {
        let (mut shown, mut terminal) = (Vec::new(), File::from(master));
        // A terminal whose other end is closed is an error on Linux.
        let _ = terminal.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    output_of(process, &arguments.join(" "));
    joined(reader, "the end of the terminal")
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_a_terminal_alone_and_not_where_somebody_wants_none() {
    const RED: &str = "\u{1b}[31m";
    const GREEN: &str = "\u{1b}[32m";
    let simulator = simulator().await;
    let tool = Tool::for_workspace(&simulator).await.set("TERM", "xterm").set("RUST_LOG", "info");
    let mut tool = tool.set("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,users");

    assert!(on_a_terminal(&tool, &["sync", "companies"]).contains(GREEN), "a log line has the colour of its level");
    let status = on_a_terminal(&tool, &["status"]);
    assert!(status.starts_with(&format!("{RED}never synced: users")), "{status}");

    let piped = [tool.run(&["sync", "companies"]).all(), tool.run(&["status"]).all()].concat();
    assert!(piped.contains("INFO") && !piped.contains('\u{1b}'), "{piped}");
    tool = tool.set("NO_COLOR", "1");
    let logged = on_a_terminal(&tool, &["sync", "companies"]);
    assert!(logged.contains("INFO") && !logged.contains(GREEN), "{logged}");
    assert!(!on_a_terminal(&tool, &["status"]).contains('\u{1b}'));
    // An empty one says nothing.
    assert!(on_a_terminal(&tool.set("NO_COLOR", ""), &["status"]).contains(RED));
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_fit_the_terminal_and_are_whole_elsewhere() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await.set("TERM", "xterm");
    simulator.add("companies", serde_json::json!({"_id": "long", "name": "A company of a very long name ".repeat(10)}));
    tool.run(&["sync", "companies"]);

    for columns in [60, 132] {
        let shown = on_a_terminal_of(columns, &tool, &["actions"]);
        let widest = shown.lines().map(|line| line.trim_end_matches('\r').chars().count()).max();
        assert!(widest <= Some(columns.into()) && shown.contains('…') && shown.contains("Created"), "{columns}\n{shown}");
    }
    let piped = tool.run(&["actions"]).stdout;
    assert!(piped.contains("A company of a very long name ".repeat(10).trim_end()) && !piped.contains('…'), "{piped}");
}
