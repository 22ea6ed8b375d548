//! Printing: the one place that writes to stdout and stderr.
//!
//! A result that could not be written is lost, and whoever waits for it has to hear of that. Writing notes what went
//! wrong, and the end of the process says it ([`final_exit_code`]), so that no command can forget to.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width};
use planhat_model::error::exit_code as exit;
use planhat_model::printable;
use serde::Serialize;
use tokio::io::Interest;
use tokio::net::unix::pipe;

use crate::telemetry::{self, Urgency};

/// How the output for several workspaces is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkspaceForm {
    /// A line with the name above the output of each.
    Sections,
    /// The same as a comment.
    SqlSections,
    /// A line of JSON for each document, with the name in it.
    JsonLines,
}

/// The workspace, of several, for which a command is executed at the moment.
#[derive(Debug, Clone)]
struct WorkspaceOutput {
    /// None for what concerns all of them.
    name: Option<String>,
    form: WorkspaceForm,
    /// Its output, if that has to wait for its turn.
    held: Option<Arc<Mutex<String>>>,
}

tokio::task_local! {
    static WORKSPACE: WorkspaceOutput;
    /// The workspace, of several, that a person has to name in the commands that they are told of.
    static NAMED_IN_COMMANDS: String;
}

/// What executes a command for one of several workspaces: the commands that it tells people of are for this one alone.
pub(crate) async fn naming_in_commands<T>(name: Option<String>, work: impl Future<Output = T>) -> T {
    match name {
        Some(name) => NAMED_IN_COMMANDS.scope(name, work).await,
        None => work.await,
    }
}

/// A text that tells people of commands, with the workspace named in them where there are several.
fn with_workspace_named(text: &str) -> Cow<'_, str> {
    let named = NAMED_IN_COMMANDS.try_with(|name| name_in_commands(text, name));
    named.map_or(Cow::Borrowed(text), Cow::Owned)
}

fn name_in_commands(text: &str, name: &str) -> String {
    /// How a command begins in all our texts.
    const COMMAND: &str = "`planhat-sync ";
    /// These are about all workspaces.
    const OF_ALL: [&str; 3] = ["workspaces", "daemon", "demo"];
    let mut parts = text.split(COMMAND);
    let mut named = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        named.push_str(COMMAND);
        if !part.starts_with("--") && !OF_ALL.iter().any(|command| part.starts_with(command)) {
            named.push_str(&format!("--workspace {name} "));
        }
        named.push_str(part);
    }
    named
}

/// A document for one of several workspaces.
#[derive(Debug, Serialize)]
struct OfWorkspace<'a, T> {
    workspace: Option<&'a str>,
    output: T,
}

/// The output for a workspace that waits for its turn.
#[derive(Debug)]
pub(crate) struct HeldOutput(String);

impl HeldOutput {
    pub(crate) fn release(self) {
        let _ = write_as_it_is(&self.0);
    }
}

/// Executes something for one of several workspaces, or for what concerns all of them. What it prints is told apart.
pub(crate) async fn for_workspace<T>(name: Option<&str>, form: WorkspaceForm, work: impl Future<Output = T>) -> T {
    let output = WorkspaceOutput { name: name.map(str::to_owned), form, held: None };
    WORKSPACE
        .scope(output, async {
            write_heading();
            work.await
        })
        .await
}

/// The same where several are worked on at the same time: what is printed is returned.
pub(crate) async fn held_for_workspace<T>(
    name: Option<&str>,
    form: WorkspaceForm,
    work: impl Future<Output = T>,
) -> (T, HeldOutput) {
    let held = Arc::<Mutex<String>>::default();
    let output = WorkspaceOutput { name: name.map(str::to_owned), form, held: Some(Arc::clone(&held)) };
    let result = WORKSPACE
        .scope(output, async {
            write_heading();
            work.await
        })
        .await;
    let text = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
    (result, HeldOutput(text))
}

/// Above the output of a workspace, as `head` writes it for several files.
fn write_heading() {
    let heading = WORKSPACE.with(|WorkspaceOutput { name, form, .. }| {
        let name = name.as_deref().unwrap_or("all workspaces");
        match form {
            WorkspaceForm::Sections => Some(format!("==> {name} <==")),
            WorkspaceForm::SqlSections => Some(format!("-- {name}")),
            WorkspaceForm::JsonLines => None,
        }
    });
    if let Some(heading) = heading {
        to_stdout(&heading);
    }
}

/// Why the first result that could not be written was not.
static FIRST_WRITE_ERROR: OnceLock<io::Error> = OnceLock::new();

/// A result. Whatever a terminal would act on is shown as an escape, but for the ends of lines.
pub(crate) fn to_stdout(text: &str) {
    // An error is remembered, and reported when the process ends.
    let _ = write_to_stdout(&format!("{}\n", with_workspace_named(text)));
}

/// Writes results in the same way and flushes them.
pub(crate) fn write_to_stdout(lines: &str) -> io::Result<()> {
    write_as_it_is(&printable::in_lines(lines))
}

/// A file that is ours to the last character, such as the completions for a shell.
pub(crate) fn own_file_to_stdout(text: &str) {
    let _ = write_as_it_is(&format!("{text}\n"));
}

fn write_as_it_is(text: &str) -> io::Result<()> {
    if let Ok(Some(held)) = WORKSPACE.try_with(|workspace| workspace.held.clone()) {
        held.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.inspect_err(|error| record_write_error(copy_of(error)))
}

/// Waits until the reader of stdout has gone (`| head` has seen enough). Waits forever where there is none to go: stdout is a file, or
/// this cannot be watched.
pub(crate) async fn stdout_closed() {
    // Unchecked: whatever stdout is, it is only watched. Nothing is written through this, so that it may stay as it is, blocking.
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(pipe::Sender::from_owned_fd_unchecked);
    let closed = match &watched {
        // The error of a pipe that nobody reads.
        Ok(watched) => watched.ready(Interest::ERROR).await.is_ok(),
        Err(_) => false,
    };
    if !closed {
        std::future::pending().await
    }
}

/// A closed pipe (`| head`) is not an error.
fn record_write_error(error: io::Error) {
    if error.kind() != ErrorKind::BrokenPipe {
        // Only the first error is useful; the others follow from it.
        let _ = FIRST_WRITE_ERROR.set(error);
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// The exit code of the process: `code`, or a failure if a result could not be written.
pub fn final_exit_code(code: ExitCode) -> ExitCode {
    match FIRST_WRITE_ERROR.get() {
        None => code,
        Some(error) => {
            to_stderr(&format!("error: could not write the result: {error}"));
            if code == ExitCode::SUCCESS { ExitCode::from(exit::FAILED) } else { code }
        }
    }
}

/// Writes to stderr, for a terminal or, with a priority, for the journal.
pub(crate) fn to_stderr(text: &str) {
    let urgency = if text.starts_with("error") { Urgency::Error } else { Urgency::Note };
    // Which of several workspaces it is about.
    let text = match WORKSPACE.try_with(|workspace| workspace.name.clone()) {
        Ok(Some(name)) => &*format!("{name}: {text}"),
        _ => text,
    };
    let text = with_workspace_named(text);
    let text = &*printable::in_lines(&text);
    let text = if telemetry::stderr_is_the_journal() { telemetry::for_journal(urgency, text) } else { format!("{text}\n") };
    // If stderr cannot be written, there is nowhere else to report it.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A document. For one of several workspaces it is a line, with the name of the workspace.
pub(crate) fn json(value: &impl Serialize) -> Result<(), anyhow::Error> {
    let text = match WORKSPACE.try_with(|_| ()) {
        Ok(()) => json_line(value)?,
        Err(_) => printable::in_json(&serde_json::to_string_pretty(value)?).into_owned(),
    };
    let _ = write_to_stdout(&format!("{text}\n"));
    Ok(())
}

/// A document on one line. For one of several workspaces it has the name of the workspace.
pub(crate) fn json_line(value: &impl Serialize) -> Result<String, anyhow::Error> {
    let name = WORKSPACE.try_with(|workspace| workspace.name.clone());
    let text = match &name {
        Ok(name) => serde_json::to_string(&OfWorkspace { workspace: name.as_deref(), output: value })?,
        Err(_) => serde_json::to_string(value)?,
    };
    Ok(printable::in_json(&text).into_owned())
}

/// A table with the first `text_columns` columns to the left and the figures after them to the right.
pub(crate) fn table<R>(header: &[&str], text_columns: usize, rows: impl IntoIterator<Item = R>) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(index, text)| {
            let alignment = if index < text_columns { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(on_one_line(&text)).set_alignment(alignment)
        }));
    }
    table.trim_fmt()
}

/// A table that people read: it fits the terminal, in which texts are wrapped, and end with `…` after so many lines. A width that is
/// given counts instead; where there is neither, nothing is wrapped or cut.
pub(crate) fn table_to_read<R>(
    header: &[&str],
    rows: impl IntoIterator<Item = R>,
    most_lines: usize,
    width: Option<u16>,
) -> String
where
    R: IntoIterator<Item = String>,
{
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic).set_truncation_indicator("…");
    table.set_header(header);
    if let Some(width) = width {
        table.set_width(width);
    }
    let is_cut = table.width().is_some();
    // The first column, a time, has its width, the last one what is left: those between must not take it.
    let between = table.column_iter_mut().rev().skip(1).rev().enumerate();
    between.for_each(|(index, column)| {
        let quarter = ColumnConstraint::UpperBoundary(Width::Percentage(25));
        column.set_constraint(if index == 0 { ColumnConstraint::ContentWidth } else { quarter });
    });
    for row in rows {
        let mut row = Row::from(row.into_iter().map(|text| Cell::new(on_one_line(&text))).collect::<Vec<_>>());
        if is_cut {
            row.max_height(most_lines);
        }
        table.add_row(row);
    }
    table.trim_fmt()
}

/// A line that needs attention.
pub(crate) fn in_red_to_stdout(line: &str) {
    const RED: Style = AnsiColor::Red.on_default();
    let line = printable::on_one_line(line);
    let line = if telemetry::takes_colour(&io::stdout()) { format!("{RED}{line}{RED:#}\n") } else { format!("{line}\n") };
    let _ = write_as_it_is(&line);
}

/// Text from Planhat or PostgreSQL, for a terminal: on one line, without characters that move the cursor or reverse text.
pub(crate) fn on_one_line(text: &str) -> String {
    printable::on_one_line(text).into_owned()
}

/// The same, and not longer than this.
pub(crate) fn shortened(text: &str, characters: usize) -> String {
    let line = printable::on_one_line(text);
    match line.char_indices().nth(characters) {
        None => line.into_owned(),
        Some((cut, _)) => format!("{}…", &line[..cut]),
    }
}

pub(crate) fn instant(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

pub(crate) fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// A hint, indented beneath what it is for, on a line of its own.
pub(crate) fn hint(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\n  hint: {}", on_one_line(hint))).unwrap_or_default()
}

/// Why a run was not good, indented beneath it.
pub(crate) fn why(reason: Option<&str>, of_reason: Option<&str>) -> String {
    reason.map(|reason| format!("\n  {}", on_one_line(reason))).unwrap_or_default() + &hint(of_reason)
}

/// Whether the reason of a run is that of one of its objects, and so is shown there.
pub(crate) fn repeats_object_reason<'a>(reason: Option<&str>, mut of_objects: impl Iterator<Item = &'a str>) -> bool {
    reason.is_some_and(|reason| of_objects.any(|said| !said.is_empty() && reason.starts_with(said)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_characters_after_it_was_made_printable() {
        assert_eq!((shortened("éééé", 4), shortened("éééé", 3)), ("éééé".to_owned(), "ééé…".to_owned()));
        assert_eq!(shortened("\u{1b}[31m", 6), "\\u{1b}…");
    }

    #[test]
    fn a_cell_of_a_table_stays_on_its_line() {
        let table = table(&["name"], 1, [["a\n│ forged │\u{9b}2J".to_owned()]]);
        assert_eq!(table.lines().count(), 5, "{table}");
        assert!(table.contains("a\\n│ forged │\\u{9b}2J"), "{table}");
    }
}
