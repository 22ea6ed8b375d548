//! `status` of several workspaces: which of them needs somebody, on one screen.
//!
//! One line for each, the worst first. All of them are read with a few statements on one connection. What is good is counted if there
//! is much of it, so that what is not good is not lost among hundreds of lines.

use std::collections::HashMap;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use planhat_model::error::{Chain, exit_code as exit};
use planhat_store::{self as store, CalendarEntry, FleetLease, FleetObject, FleetOverview, FleetRun};
use serde::Serialize;

use super::workspace_list::next_run_of;
use super::{every_workspace, with_store_read_only};
use crate::cli::StatusArgs;
use crate::command_error::CommandError;
use crate::config::{Installation, NamedWorkspace, Settings};
use crate::freshness::{Freshness, FreshnessState, KnownObject};
use crate::print::{self, WorkspaceForm};
use crate::workspace::Workspace;
use crate::workspace_status::duration;

/// With more workspaces than this, those that are fresh are counted and not listed.
const LISTED: usize = 40;
/// As much of a reason as a line takes.
const REASON_CHARS: usize = 100;

/// How a workspace is: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum FleetState {
    /// Nothing can be done with it.
    UnusableSettings,
    Stale,
    /// The last run failed, and the data is not too old yet.
    StillFresh,
    NeverSynced,
    Running,
    Fresh,
}

/// A line of the list, and a line of JSON.
#[derive(Debug, Serialize)]
struct FleetLine {
    #[serde(skip)]
    name: String,
    state: FleetState,
    fresh: bool,
    schema: Option<String>,
    /// The oldest of the last successes of its objects.
    oldest_success_at: Option<DateTime<Utc>>,
    latest_run: Option<LatestRun>,
    running: Option<RunInProgress>,
    /// When a daemon runs it next; none if no daemon knows it, or it is paused.
    next_run_at: Option<DateTime<Utc>>,
    requested_at: Option<DateTime<Utc>>,
    paused_at: Option<DateTime<Utc>>,
    failures: i32,
    /// Why it is not good.
    reason: Option<String>,
    /// The same where a line has little room: what is wrong with the settings, without the file.
    #[serde(skip)]
    short_reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct LatestRun {
    id: i64,
    command: String,
    status: String,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct RunInProgress {
    command: String,
    holder: String,
    since: DateTime<Utc>,
}

/// What is on record of one workspace.
#[derive(Debug, Default)]
struct OnRecord {
    objects: Vec<FleetObject>,
    run: Option<FleetRun>,
    lease: Option<FleetLease>,
    calendar: Option<CalendarEntry>,
}

pub(super) async fn status(installation: &Installation, asked: &StatusArgs) -> Result<ExitCode, CommandError> {
    if installation.workspaces.is_empty() {
        return Err(every_workspace::no_workspace(&installation.shared));
    }
    let schemas: Vec<&str> = installation.workspaces.iter().filter_map(schema_of).collect();
    let of_database = Workspace::new(installation.shared.clone());
    let (overview, calendar) = with_store_read_only(&of_database, async |store| {
        if !store.is_set_up().await? {
            return Ok((FleetOverview::default(), Vec::new()));
        }
        let read = store.read_only(async |db| Ok((store::fleet_overview(&mut *db, &schemas).await?, store::calendar(db).await?)));
        Ok(read.await?)
    })
    .await?;
    let now = Utc::now();
    let mut on_record = by_workspace(overview, calendar);
    let line = |workspace: &NamedWorkspace| {
        let known = schema_of(workspace).and_then(|schema| on_record.remove(schema)).unwrap_or_default();
        line_of(workspace, known, now)
    };
    let mut lines: Vec<FleetLine> = installation.workspaces.iter().map(line).collect();
    lines.sort_by(|one, other| one.state.cmp(&other.state).then_with(|| one.name.cmp(&other.name)));
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

fn schema_of(workspace: &NamedWorkspace) -> Option<&str> {
    workspace.settings.as_ref().ok().map(|settings| settings.database.schema.as_str())
}

fn by_workspace(overview: FleetOverview, calendar: Vec<CalendarEntry>) -> HashMap<String, OnRecord> {
    let mut on_record: HashMap<String, OnRecord> = HashMap::new();
    for object in overview.objects {
        on_record.entry(object.workspace.clone()).or_default().objects.push(object);
    }
    for run in overview.runs {
        let of = on_record.entry(run.workspace.clone()).or_default();
        of.run = Some(run);
    }
    for lease in overview.leases {
        let of = on_record.entry(lease.workspace.clone()).or_default();
        of.lease = Some(lease);
    }
    for entry in calendar {
        let of = on_record.entry(entry.workspace.clone()).or_default();
        of.calendar = Some(entry);
    }
    on_record
}

fn line_of(workspace: &NamedWorkspace, known: OnRecord, now: DateTime<Utc>) -> FleetLine {
    let name = workspace.name.clone();
    let settings = match &workspace.settings {
        Ok(settings) => settings,
        Err(error) => {
            return FleetLine {
                name,
                state: FleetState::UnusableSettings,
                fresh: false,
                schema: None,
                oldest_success_at: None,
                latest_run: None,
                running: None,
                next_run_at: None,
                requested_at: None,
                paused_at: None,
                failures: 0,
                reason: Some(Chain(error).to_string()),
                short_reason: Some(Chain(error.root()).to_string()),
            };
        }
    };
    let freshness = freshness_of(settings, &known, now);
    let state = state_of(settings, &freshness, &known);
    let reason = reason_for(state, settings, &freshness, &known);
    let OnRecord { objects, run, lease, calendar } = known;
    FleetLine {
        name,
        state,
        fresh: freshness.is_fresh(),
        schema: Some(settings.database.schema.clone()),
        oldest_success_at: objects
            .iter()
            .filter(|object| is_synced(settings, object))
            .filter_map(|object| object.last_success_at)
            .min(),
        latest_run: run.map(|FleetRun { id, command, status, started_at, finished_at, .. }| LatestRun {
            id,
            command,
            status,
            started_at,
            finished_at,
        }),
        running: lease.map(|FleetLease { command, holder, acquired_at, .. }| RunInProgress {
            command,
            holder,
            since: acquired_at,
        }),
        next_run_at: calendar.as_ref().and_then(next_run_of),
        requested_at: calendar.as_ref().and_then(|entry| entry.requested_at),
        paused_at: calendar.as_ref().and_then(|entry| entry.paused_at),
        failures: calendar.as_ref().map_or(0, |entry| entry.failures),
        reason,
        short_reason: None,
    }
}

fn is_synced(settings: &Settings, object: &FleetObject) -> bool {
    settings.planhat.objects.iter().any(|synced| synced.name == object.object)
}

fn freshness_of(settings: &Settings, known: &OnRecord, now: DateTime<Utc>) -> Freshness {
    let known_object = |name: &str| {
        let object = known.objects.iter().find(|object| object.object == name)?;
        let FleetObject { status, last_success_at, has_table, .. } = object;
        Some(KnownObject { status, last_success_at: *last_success_at, has_table: *has_table })
    };
    let objects = settings.planhat.objects.iter().map(|object| object.name);
    Freshness::of_known(objects, known_object, now, settings.notify.stale_after)
}

fn state_of(settings: &Settings, freshness: &Freshness, known: &OnRecord) -> FleetState {
    let has = |wanted: fn(FreshnessState) -> bool| freshness.objects().any(|(_, state)| wanted(state));
    let is_failing = known.objects.iter().any(|object| object.status == "failed" && is_synced(settings, object));
    let is_skipped_as_a_whole = !has(|state| state != FreshnessState::Skipped);
    if has(|state| matches!(state, FreshnessState::Stale { .. } | FreshnessState::TableGone)) || is_skipped_as_a_whole {
        FleetState::Stale
    } else if has(|state| state == FreshnessState::NeverSynced) {
        if known.lease.is_some() { FleetState::Running } else { FleetState::NeverSynced }
    } else if is_failing {
        FleetState::StillFresh
    } else if known.lease.is_some() {
        FleetState::Running
    } else {
        FleetState::Fresh
    }
}

/// Why it is not good: the first of what failed, or what is too old.
fn reason_for(state: FleetState, settings: &Settings, freshness: &Freshness, known: &OnRecord) -> Option<String> {
    if matches!(state, FleetState::Running | FleetState::Fresh) {
        return None;
    }
    let failed = known.objects.iter().filter(|object| object.status == "failed" && is_synced(settings, object));
    let of_object = failed.into_iter().find_map(|object| Some(format!("{}: {}", object.object, object.reason.as_ref()?)));
    let of_run = || known.run.as_ref().filter(|run| run.status != "running").and_then(|run| run.reason.clone());
    let of_daemon = || known.calendar.as_ref()?.last_error.clone();
    of_object.or_else(of_run).or_else(of_daemon).or_else(|| {
        let names = |wanted: fn(FreshnessState) -> bool| -> Vec<&str> {
            freshness.objects().filter(|(_, state)| wanted(*state)).map(|(object, _)| object).collect()
        };
        let gone = names(|state| state == FreshnessState::TableGone);
        let stale = names(|state| matches!(state, FreshnessState::Stale { .. }));
        match (gone.as_slice(), stale.as_slice()) {
            ([], []) if state == FleetState::Stale => Some("the token may not read any object".to_owned()),
            ([], []) => None,
            ([], stale) => {
                let within = duration(settings.notify.stale_after);
                Some(format!("not synced within the last {within}: {}", stale.join(", ")))
            }
            (gone, _) => Some(format!("tables were dropped: {}", gone.join(", "))),
        }
    })
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
