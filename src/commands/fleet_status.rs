//! `status` of several workspaces: which of them needs somebody, on one screen.
//!
//! One line for each, the worst first (`fleet_state.rs` says how each is). What is good is counted if there
//! is much of it, so that what is not good is not lost among hundreds of lines.

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use planhat_model::error::{Chain, exit_code as exit};

use super::{every_workspace, with_store_read_only};
use crate::cli::StatusArgs;
use crate::command_error::CommandError;
use crate::config::{Installation, NamedWorkspace};
use crate::fleet_state::{FleetLine, FleetRecords, FleetState, RefusedWorkspace, WatchedWorkspace};
use crate::print::{self, WorkspaceForm};
use crate::workspace::Workspace;

/// With more workspaces than this, those that are fresh are counted and not listed.
const LISTED: usize = 40;
/// As much of a reason as a line takes.
const REASON_CHARS: usize = 100;

pub(super) async fn status(installation: &Installation, asked: &StatusArgs) -> Result<ExitCode, CommandError> {
    if installation.workspaces.is_empty() {
        return Err(every_workspace::no_workspace(&installation.shared));
    }
    let (watched, refused) = watched_and_refused(installation);
    let watched: Vec<&WatchedWorkspace> = watched.iter().collect();
    let schemas: Vec<&str> = watched.iter().map(|workspace| workspace.schema.as_str()).collect();
    let of_database = Workspace::new(installation.shared.clone());
    let records = with_store_read_only(&of_database, async |store| {
        if !store.is_set_up().await? {
            return Ok(FleetRecords::default());
        }
        Ok(store.read_only(async |db| FleetRecords::read(db, &schemas).await).await?)
    })
    .await?;
    let lines = records.lines(&watched, &refused, Utc::now());
    if asked.output.json {
        for line in &lines {
            print::for_workspace(Some(&line.name), WorkspaceForm::JsonLines, async { print::json(line) }).await?;
        }
    } else {
        show(&lines, asked.all);
        print::to_stdout(&format!("\nthe data is in {}", installation.shared.database.location()));
    }
    Ok(exit::worst_of(lines.iter().map(|line| match line.state {
        FleetState::UnusableSettings => exit::CONFIGURATION.into(),
        _ if line.fresh => ExitCode::SUCCESS,
        _ => exit::FAILED.into(),
    })))
}

fn watched_and_refused(installation: &Installation) -> (Vec<WatchedWorkspace>, Vec<RefusedWorkspace>) {
    let (mut watched, mut refused) = (Vec::new(), Vec::new());
    for NamedWorkspace { name, settings } in &installation.workspaces {
        match settings {
            Ok(settings) => watched.push(WatchedWorkspace {
                name: name.clone(),
                schema: settings.database.schema.clone(),
                objects: settings.planhat.objects.iter().map(|object| object.name).collect(),
                stale_after: settings.notify.stale_after,
            }),
            Err(error) => refused.push(RefusedWorkspace {
                name: name.clone(),
                reason: Chain(error).to_string(),
                short_reason: Chain(error.root()).to_string(),
            }),
        }
    }
    (watched, refused)
}

/// The summary, then a line for each workspace that is listed.
fn show(lines: &[FleetLine], all: bool) {
    let summary = summary_of(lines);
    let is_good = |line: &&FleetLine| line.state == FleetState::Fresh && line.paused_at.is_none();
    let needs_somebody = lines.iter().any(|line| !matches!(line.state, FleetState::Running | FleetState::Fresh));
    if needs_somebody {
        print::in_red_to_stdout(&summary)
    } else {
        print::to_stdout(&summary)
    }
    let is_cut = lines.len() > LISTED && !all;
    let listed: Vec<&FleetLine> = lines.iter().filter(|line| !is_cut || !is_good(line)).collect();
    if !listed.is_empty() {
        let header = ["workspace", "state", "oldest success", "latest run", "next run", "why"];
        print::to_stdout(&print::table(&header, header.len(), listed.iter().map(|line| row_of(line))));
    }
    let left_out = lines.len() - listed.len();
    if left_out > 0 {
        print::to_stdout(&format!("{left_out} more are fresh; `planhat-sync status --all` lists them too"));
    }
}

/// `500 workspaces: 2 with unusable settings, 3 stale, 495 fresh; 1 paused`
fn summary_of(lines: &[FleetLine]) -> String {
    let count = |wanted: FleetState| lines.iter().filter(|line| line.state == wanted).count();
    let counts = [
        (FleetState::UnusableSettings, "with unusable settings"),
        (FleetState::Stale, "STALE"),
        (FleetState::StillFresh, "still fresh (last run failed)"),
        (FleetState::NeverSynced, "never synced"),
        (FleetState::Running, "running"),
        (FleetState::Fresh, "fresh"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter_map(|(state, what)| match count(state) {
            0 => None,
            count => Some(format!("{count} {what}")),
        })
        .collect();
    let paused = match lines.iter().filter(|line| line.paused_at.is_some()).count() {
        0 => String::new(),
        paused => format!("; {paused} paused"),
    };
    let workspaces = if lines.len() == 1 { "1 workspace".to_owned() } else { format!("{} workspaces", lines.len()) };
    format!("{workspaces}: {}{paused}", counts.join(", "))
}

fn row_of(line: &FleetLine) -> [String; 6] {
    let state = match line.state {
        FleetState::UnusableSettings => "settings unusable",
        FleetState::Stale => "STALE",
        FleetState::StillFresh => "still fresh",
        FleetState::NeverSynced => "never synced",
        FleetState::Running => "running",
        FleetState::Fresh => "fresh",
    };
    let marks = [(line.paused_at.is_some(), "paused"), (line.running.is_some() && line.state != FleetState::Running, "running")];
    let marks = marks.into_iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| format!(", {mark}")).collect::<String>();
    let or_empty = |instant: Option<DateTime<Utc>>| instant.map(print::instant).unwrap_or_default();
    let latest_run = line.latest_run.as_ref().map(|run| {
        let (status, at) = (&run.status, print::instant(run.finished_at.unwrap_or(run.started_at)));
        format!("{status}, {at}")
    });
    let next_run = match (line.paused_at, line.requested_at) {
        (Some(_), _) => "paused".to_owned(),
        (None, Some(_)) => "requested".to_owned(),
        (None, None) => or_empty(line.next_run_at),
    };
    let reason = line
        .short_reason
        .as_ref()
        .or(line.reason.as_ref())
        .map(|reason| print::shortened(reason, REASON_CHARS))
        .unwrap_or_default();
    [
        line.name.clone(),
        format!("{state}{marks}"),
        or_empty(line.oldest_success_at),
        latest_run.unwrap_or_default(),
        next_run,
        reason,
    ]
}
