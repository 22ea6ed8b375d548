//! `workspaces`: which workspaces there are, and what people ask of daemons: to pause some, to resume them, to sync some now.
//!
//! Nothing is started here. The calendar in the database has what was asked for, and the daemon that looks at it next does it.

use std::process::ExitCode;

use anyhow::anyhow;
use chrono::{DateTime, Utc};
use planhat_model::error::{Chain, exit_code as exit};
use planhat_store::{self as store, CalendarEntry, PgConnection, StoreError};
use serde::Serialize;

use super::{with_store, with_store_read_only};
use crate::cli::{OutputArgs, WorkspacesCommand};
use crate::command_error::CommandError;
use crate::config::{Installation, NamedWorkspace};
use crate::fleet_state::next_run_of;
use crate::print::{self, WorkspaceForm};
use crate::workspace::Workspace;

/// As much of a reason as a line takes.
const REASON_CHARS: usize = 80;
/// How many names of workspaces with the same token a line has.
const NAMED: usize = 3;

/// A workspace of the settings, of the calendar, or of both.
#[derive(Debug, Serialize)]
struct ListedWorkspace {
    #[serde(skip)]
    name: String,
    /// None if the settings cannot be used.
    schema: Option<String>,
    settings: SettingsState,
    /// What is wrong with the settings.
    settings_error: Option<String>,
    /// The other workspaces with this token; none without a token.
    token_shared_with: Option<Vec<String>>,
    next_run_at: Option<DateTime<Utc>>,
    requested_at: Option<DateTime<Utc>>,
    requested_by: Option<String>,
    paused_at: Option<DateTime<Utc>>,
    failures: i32,
    last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum SettingsState {
    Ok,
    Unusable,
    /// A daemon knew the workspace, and the settings do not name it any more. Its data is kept.
    Removed,
}

/// The list, or what is asked of daemons. `is_selection` is whether only some workspaces are to be listed.
pub(super) async fn workspaces(
    what: Option<&WorkspacesCommand>,
    installation: &Installation,
    is_selection: bool,
    output: OutputArgs,
) -> Result<ExitCode, CommandError> {
    match what {
        None => list(installation, is_selection, output).await,
        Some(WorkspacesCommand::Pause(which)) => pause(installation, &which.names).await,
        Some(WorkspacesCommand::Resume(which)) => resume(installation, &which.names).await,
        Some(WorkspacesCommand::SyncNow(which)) => sync_now(installation, &which.names).await,
    }
}

async fn list(installation: &Installation, is_selection: bool, output: OutputArgs) -> Result<ExitCode, CommandError> {
    let calendar = calendar_of(installation).await?;
    let mut listed: Vec<ListedWorkspace> =
        installation.workspaces.iter().map(|workspace| of_settings(installation, workspace, &calendar)).collect();
    if !is_selection {
        let removed: Vec<ListedWorkspace> = calendar.iter().filter_map(|entry| of_calendar_alone(entry, &listed)).collect();
        listed.extend(removed);
    }
    if output.json {
        for workspace in &listed {
            print::for_workspace(Some(&workspace.name), WorkspaceForm::JsonLines, async { print::json(workspace) }).await?;
        }
    } else {
        show(&listed);
    }
    let is_unusable = listed.iter().any(|workspace| workspace.settings == SettingsState::Unusable);
    Ok(if is_unusable { exit::CONFIGURATION.into() } else { ExitCode::SUCCESS })
}

async fn calendar_of(installation: &Installation) -> Result<Vec<CalendarEntry>, CommandError> {
    with_store_read_only(&Workspace::new(installation.shared.clone()), async |store| {
        if !store.is_set_up().await? {
            return Ok(Vec::new());
        }
        Ok(store.read_only(async |db| store::calendar(db).await).await?)
    })
    .await
}

/// One that the settings name.
fn of_settings(installation: &Installation, workspace: &NamedWorkspace, calendar: &[CalendarEntry]) -> ListedWorkspace {
    let settings = workspace.settings.as_ref();
    let schema = settings.ok().map(|settings| settings.database.schema.clone());
    let is_it = |entry: &&CalendarEntry| match &schema {
        Some(schema) => entry.workspace == *schema,
        None => entry.name.as_ref() == Some(&workspace.name),
    };
    let entry = calendar.iter().find(is_it);
    let has_token = settings.is_ok_and(|settings| settings.planhat.token.is_some());
    let others = has_token.then(|| installation.with_token_of(workspace).into_iter().map(str::to_owned).collect());
    ListedWorkspace {
        settings: if settings.is_ok() { SettingsState::Ok } else { SettingsState::Unusable },
        settings_error: settings.err().map(|error| Chain(error).to_string()),
        token_shared_with: others,
        ..listed(workspace.name.clone(), schema, entry)
    }
}

/// One that a daemon knew, and that the settings do not name any more.
fn of_calendar_alone(entry: &CalendarEntry, of_settings: &[ListedWorkspace]) -> Option<ListedWorkspace> {
    let name = entry.name.clone()?;
    let is_it = |listed: &ListedWorkspace| match &listed.schema {
        Some(schema) => *schema == entry.workspace,
        None => listed.name == name,
    };
    if of_settings.iter().any(is_it) {
        return None;
    }
    let removed = listed(name, Some(entry.workspace.clone()), Some(entry));
    Some(ListedWorkspace { settings: SettingsState::Removed, next_run_at: None, ..removed })
}

/// With what the calendar has of it.
fn listed(name: String, schema: Option<String>, entry: Option<&CalendarEntry>) -> ListedWorkspace {
    ListedWorkspace {
        name,
        schema,
        settings: SettingsState::Ok,
        settings_error: None,
        token_shared_with: None,
        next_run_at: entry.and_then(next_run_of),
        requested_at: entry.and_then(|entry| entry.requested_at),
        requested_by: entry.and_then(|entry| entry.requested_by.clone()),
        paused_at: entry.and_then(|entry| entry.paused_at),
        failures: entry.map_or(0, |entry| entry.failures),
        last_error: entry.and_then(|entry| entry.last_error.clone()),
    }
}

fn show(listed: &[ListedWorkspace]) {
    let header = ["workspace", "schema", "settings", "token", "next run", "last error"];
    print::to_stdout(&print::table(&header, header.len(), listed.iter().map(row_of)));
    for workspace in listed {
        if let Some(error) = &workspace.settings_error {
            print::to_stdout(&format!("{}: {}", workspace.name, print::on_one_line(error)));
        }
    }
    let removed: Vec<&str> = listed
        .iter()
        .filter(|workspace| workspace.settings == SettingsState::Removed)
        .map(|workspace| workspace.name.as_str())
        .collect();
    if !removed.is_empty() {
        print::to_stdout(&format!(
            "no longer in the settings: {}. Their data is kept, and no daemon with these settings syncs it",
            removed.join(", ")
        ));
    }
}

fn row_of(workspace: &ListedWorkspace) -> [String; 6] {
    let settings = match workspace.settings {
        SettingsState::Ok => "ok",
        SettingsState::Unusable => "UNUSABLE",
        SettingsState::Removed => "removed",
    };
    let token = match workspace.token_shared_with.as_deref() {
        None if workspace.settings == SettingsState::Ok => "none".to_owned(),
        None => String::new(),
        Some([]) => "its own".to_owned(),
        Some(others) => {
            let more = others.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("shared with {}{more}", others[..others.len().min(NAMED)].join(", "))
        }
    };
    let next_run = match (workspace.paused_at, workspace.requested_at) {
        (Some(paused_at), _) => format!("paused since {}", print::instant(paused_at)),
        (None, Some(requested_at)) => format!("requested {}", print::instant(requested_at)),
        (None, None) => workspace.next_run_at.map(print::instant).unwrap_or_default(),
    };
    let last_error = workspace.last_error.as_deref().map(|error| print::shortened(error, REASON_CHARS)).unwrap_or_default();
    let last_error = if workspace.failures > 1 { format!("{last_error} ({} times)", workspace.failures) } else { last_error };
    [workspace.name.clone(), workspace.schema.clone().unwrap_or_default(), settings.to_owned(), token, next_run, last_error]
}

async fn pause(installation: &Installation, names: &[String]) -> Result<ExitCode, CommandError> {
    write(installation, names, async |db, schemas| store::pause_workspaces(db, schemas).await).await?;
    print::to_stdout(&format!(
        "paused: {}. No daemon begins a run of {} until `planhat-sync workspaces resume {}`; a run in progress goes on",
        names.join(", "),
        it_or_them(names),
        names.join(" ")
    ));
    Ok(ExitCode::SUCCESS)
}

async fn resume(installation: &Installation, names: &[String]) -> Result<ExitCode, CommandError> {
    write(installation, names, async |db, schemas| store::resume_workspaces(db, schemas).await).await?;
    print::to_stdout(&format!("resumed: {}. A daemon runs at once what was due meanwhile", names.join(", ")));
    Ok(ExitCode::SUCCESS)
}

async fn sync_now(installation: &Installation, names: &[String]) -> Result<ExitCode, CommandError> {
    let by = requester();
    let calendar = write(installation, names, async |db, schemas| store::request_run(db, schemas, &by).await).await?;
    let mut text = format!("requested: {}. A daemon begins the sync as soon as it has a free slot", names.join(", "));
    if installation.is_single && installation.shared.daemon.poll_every.is_none() {
        text = format!(
            "requested: {}. The daemon of a single workspace sees it when it looks at the calendar next, which is when a run is due \
             (daemon.poll_every = \"auto\"); `planhat-sync sync` syncs at once",
            names.join(", ")
        );
    }
    let schemas = schemas_of(installation, names, &calendar)?;
    let is_paused = |schema: &String| calendar.iter().any(|entry| entry.workspace == *schema && entry.paused_at.is_some());
    let paused: Vec<&str> =
        names.iter().zip(&schemas).filter(|(_, schema)| is_paused(schema)).map(|(name, _)| name.as_str()).collect();
    if !paused.is_empty() {
        let (names, resume) = (paused.join(", "), paused.join(" "));
        text.push_str(&format!(
            "\npaused, so that no daemon runs it: {names}; `planhat-sync workspaces resume {resume}` ends that"
        ));
    }
    print::to_stdout(&text);
    Ok(ExitCode::SUCCESS)
}

fn it_or_them(names: &[String]) -> &'static str {
    if names.len() == 1 { "it" } else { "them" }
}

/// Writes into the calendar, and returns it as it is then.
async fn write(
    installation: &Installation,
    names: &[String],
    work: impl AsyncFn(&mut PgConnection, &[&str]) -> Result<u64, StoreError>,
) -> Result<Vec<CalendarEntry>, CommandError> {
    // A name that nobody knows is found before the database is touched.
    let known = installation.is_single || names.iter().all(|name| installation.named(name).is_some());
    if !known {
        schemas_of(installation, names, &calendar_of(installation).await?)?;
    }
    with_store(&Workspace::new(installation.shared.clone()), async |store| {
        // No data schema is made here: which one it is, is the matter of each workspace.
        store.migrate_own_tables().await?;
        let before = store.read_only(async |db| store::calendar(db).await).await?;
        let schemas = schemas_of(installation, names, &before)?;
        let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
        store.transaction(async |db| work(db, &schemas).await).await?;
        Ok(store.read_only(async |db| store::calendar(db).await).await?)
    })
    .await
}

/// The schemas of these workspaces: by the settings, or by the calendar where the settings cannot be used.
fn schemas_of(installation: &Installation, names: &[String], calendar: &[CalendarEntry]) -> Result<Vec<String>, CommandError> {
    let schema_of = |name: &String| match installation.named(name).map(|workspace| &workspace.settings) {
        Some(Ok(settings)) => Ok(settings.database.schema.clone()),
        Some(Err(error)) => {
            let of_calendar = calendar.iter().find(|entry| entry.name.as_ref() == Some(name));
            let of_calendar = of_calendar.map(|entry| entry.workspace.clone());
            of_calendar.ok_or_else(|| CommandError::new(exit::CONFIGURATION, anyhow!(Chain(error).to_string()), None))
        }
        None => Err(installation.unknown(name).into()),
    };
    names.iter().map(schema_of).collect()
}

/// Who asks, for those who wonder why a sync has begun.
fn requester() -> String {
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "this host".to_owned());
    format!("{} on {}", user.as_deref().unwrap_or("somebody"), host.trim())
}
