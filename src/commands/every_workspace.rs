//! A command for several workspaces: which of them it is for, one after another, and the exit code of all together.
//!
//! What fails for one workspace does not keep the others from being done. The result of each is told apart: a line with its name is above
//! its output, or each line of JSON has the name in it. Where there is only one workspace, or one is named, everything is as it was
//! before there could be several.

use std::process::ExitCode;

use anyhow::anyhow;
use futures_util::StreamExt;
use planhat_model::error::{Chain, exit_code as exit};
use planhat_model::printable::in_json;
use serde::Serialize;
use tracing::{Instrument, error_span, warn};

use super::{check, execute_for};
use crate::cli::{CheckArgs, Once, PrivacyCommand, QuarantineCommand, RunsCommand};
use crate::command_error::CommandError;
use crate::config::{Installation, NamedWorkspace, Settings};
use crate::print::{self, WorkspaceForm};
use crate::signals;
use crate::workspace::Workspace;

/// How many workspaces are checked at the same time.
const CHECKED_AT_ONCE: usize = 8;
/// How many names a message has at most.
const NAMED_IN_MESSAGES: usize = 10;

/// A workspace that a command failed for, for machines: a line of JSON.
#[derive(Debug, Serialize)]
struct FailedWorkspace<'a> {
    workspace: &'a str,
    error: String,
    hint: Option<&'a str>,
    exit_code: u8,
}

/// Executes a command for each workspace in the order of their names.
pub(super) async fn execute_for_each(command: &Once, installation: Installation) -> Result<ExitCode, CommandError> {
    let form = form_of(command);
    if installation.workspaces.is_empty() {
        return Err(no_workspace(&installation.shared));
    }
    if let Some(what) = only_for_one(command) {
        return Err(names_are_needed(what, &installation));
    }
    if matches!(command, Once::Sync(_) | Once::Backfill(_)) {
        installation.shared.secret_files.doubts.iter().for_each(|doubt| warn!("{doubt}"));
    }
    if let Once::Check(asked) = command {
        return Ok(check_all(asked, installation, form).await);
    }
    let mut codes = Vec::new();
    for workspace in installation.workspaces {
        if let Some(stopped) = signals::requested() {
            codes.push(stopped.into());
            break;
        }
        let name = workspace.name.clone();
        let work = async |settings| execute_for(command, settings).await;
        let code = print::for_workspace(Some(&name), form, execute_for_named(workspace, form, work)).await;
        codes.push(code);
        if exit::is_stop(code) {
            break;
        }
    }
    Ok(exit::worst_of(codes))
}

/// Checks several workspaces at the same time, and prints what was found in the order of their names.
async fn check_all(asked: &CheckArgs, installation: Installation, form: WorkspaceForm) -> ExitCode {
    let Installation { shared, workspaces, .. } = installation;
    let of_all = check::findings_of_all(&shared, &workspaces);
    if !of_all.is_empty() {
        let shown = print::for_workspace(None, form, async { check::show(&of_all, form == WorkspaceForm::JsonLines) }).await;
        shown.unwrap_or_else(|failure| print::to_stderr(&failure.on_one_line()));
    }
    // An embedded database is one process's, and one connection's.
    let at_once = if shared.database.is_embedded() { 1 } else { CHECKED_AT_ONCE };
    let checks = workspaces.into_iter().map(async |workspace| {
        let name = workspace.name.clone();
        let work = async |settings: Settings| {
            let span = error_span!("workspace", workspace = %settings.database.schema);
            check::check_but(&Workspace::new(settings), asked, &of_all).instrument(span).await
        };
        print::held_for_workspace(Some(&name), form, execute_for_named(workspace, form, work)).await
    });
    let mut checks = futures_util::stream::iter(checks).buffered(at_once);
    let mut codes = Vec::new();
    while let Some((code, output)) = checks.next().await {
        output.release();
        codes.push(code);
    }
    exit::worst_of(codes)
}

/// Executes a command for one workspace of several. What ends it early is printed, so that the next workspace can follow.
async fn execute_for_named(
    NamedWorkspace { name, settings }: NamedWorkspace,
    form: WorkspaceForm,
    work: impl AsyncFnOnce(Settings) -> Result<ExitCode, CommandError>,
) -> ExitCode {
    let shown = async {
        let done = match settings {
            Ok(settings) => work(settings).await,
            Err(error) => Err(error.into()),
        };
        done.unwrap_or_else(|failure| show(&name, &failure, form))
    };
    print::naming_in_commands(Some(name.clone()), shown).await
}

fn show(name: &str, failure: &CommandError, form: WorkspaceForm) -> ExitCode {
    if form == WorkspaceForm::JsonLines {
        let CommandError { code, error, hint } = failure;
        let error = Chain(error.as_ref()).to_string();
        let line = FailedWorkspace { workspace: name, error, hint: hint.as_deref(), exit_code: code.number() };
        // Strings and numbers are always JSON.
        print::to_stdout(&in_json(&serde_json::to_string(&line).unwrap_or_default()));
    }
    failure.show()
}

/// How the output of a command is told apart.
fn form_of(command: &Once) -> WorkspaceForm {
    let (json, sql) = match command {
        Once::Check(asked) => (asked.output.json, false),
        Once::Sync(asked) => (asked.output.json, false),
        Once::Backfill(asked) => (asked.output.json, false),
        Once::Status(asked) => (asked.output.json, false),
        Once::Runs { output, .. } => (output.json, false),
        Once::Quarantine { what: Some(QuarantineCommand::List(which)), .. } => (which.output.json, false),
        Once::Quarantine { which, .. } => (which.output.json, false),
        Once::Actions(asked) => (asked.json, false),
        Once::Schema { output, sql, .. } => (output.json, *sql),
        Once::Forget(asked) => (asked.json, false),
        _ => (false, false),
    };
    match (json, sql) {
        (true, _) => WorkspaceForm::JsonLines,
        (false, true) => WorkspaceForm::SqlSections,
        (false, false) => WorkspaceForm::Sections,
    }
}

/// What makes sense for one workspace alone: it is about a table, a record or an id, keeps running, or erases for good.
fn only_for_one(command: &Once) -> Option<&'static str> {
    match command {
        Once::Retype { .. } => Some("retype"),
        Once::Forget(_) => Some("forget"),
        Once::Adopt => Some("adopt"),
        Once::Runs { one: Some(RunsCommand::Show { .. }), .. } => Some("runs show"),
        Once::Quarantine { what: Some(QuarantineCommand::Show { .. }), .. } => Some("quarantine show"),
        Once::Quarantine { what: Some(QuarantineCommand::Drop { .. }), .. } => Some("quarantine drop"),
        Once::Actions(asked) if asked.follow => Some("actions --follow"),
        Once::Privacy { what: PrivacyCommand::Apply(asked) } if asked.yes => Some("privacy apply --yes"),
        Once::Check(asked) if asked.report.is_some() => Some("check --report"),
        _ => None,
    }
}

/// Whether a command needs the name of a workspace where there are several.
pub(super) fn is_only_for_one(command: &Once) -> bool {
    only_for_one(command).is_some()
}

/// The settings say that there are several workspaces, and name none.
pub(super) fn no_workspace(shared: &Settings) -> CommandError {
    let folder = &shared.workspaces_dir;
    let place =
        if folder.as_os_str().is_empty() { String::new() } else { format!(", and no file NAME.toml in {}", folder.display()) };
    let error = anyhow!("there is no workspace: there is no section [workspaces.NAME] in the settings file{place}");
    CommandError::new(exit::CONFIGURATION, error, Some("docs/many-workspaces.md says how workspaces are set up"))
}

fn names_are_needed(what: &str, installation: &Installation) -> CommandError {
    let error = anyhow!("`planhat-sync {what}` works on one workspace, and there are {}", installation.workspaces.len());
    let hint = format!("name it with --workspace; the workspaces are {}", some_names(installation));
    CommandError::new(exit::CONFIGURATION, error, Some(&hint))
}

/// The first names, and how many there are more.
fn some_names(installation: &Installation) -> String {
    let names: Vec<&str> = installation.workspaces.iter().map(|workspace| workspace.name.as_str()).collect();
    let shown = names[..names.len().min(NAMED_IN_MESSAGES)].join(", ");
    match names.len().saturating_sub(NAMED_IN_MESSAGES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
