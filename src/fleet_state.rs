//! How several workspaces are, the worst first: what `status`, the daemon over HTTP and its metrics say of them.
//!
//! All of them are read with a few statements on one connection. What is said of each follows from its settings, from what is on record
//! and from the clock alone, so that a person, a machine and a monitoring system see the same.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_store::{self as store, CalendarEntry, FleetLease, FleetObject, FleetOverview, FleetRun, PgConnection, StoreError};
use serde::Serialize;

use crate::freshness::{Freshness, FreshnessState, KnownObject};
use crate::workspace_status::duration;

/// What has to be known of a workspace to say how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedWorkspace {
    pub name: String,
    pub schema: String,
    /// The objects of the settings, and after how long without a success they are stale.
    pub objects: Vec<&'static str>,
    pub stale_after: Duration,
}

/// A workspace whose settings cannot be used.
#[derive(Debug, Clone)]
pub struct RefusedWorkspace {
    pub name: String,
    pub reason: String,
    /// The same where a line has little room: what is wrong, without the file.
    pub short_reason: String,
}

/// How a workspace is: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetState {
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
pub struct FleetLine {
    #[serde(skip)]
    pub name: String,
    pub state: FleetState,
    pub fresh: bool,
    pub schema: Option<String>,
    /// The oldest of the last successes of its objects.
    pub oldest_success_at: Option<DateTime<Utc>>,
    pub latest_run: Option<LatestRun>,
    pub running: Option<RunInProgress>,
    /// When a daemon runs it next; none if no daemon knows it, or it is paused.
    pub next_run_at: Option<DateTime<Utc>>,
    pub requested_at: Option<DateTime<Utc>>,
    pub paused_at: Option<DateTime<Utc>>,
    pub failures: i32,
    /// Why it is not good.
    pub reason: Option<String>,
    /// The same where a line has little room: what is wrong with the settings, without the file.
    #[serde(skip)]
    pub short_reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct LatestRun {
    pub id: i64,
    pub command: String,
    pub status: String,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
pub struct RunInProgress {
    pub command: String,
    pub holder: String,
    pub since: DateTime<Utc>,
}

/// What is on record of one workspace.
#[derive(Debug, Default)]
struct OnRecord {
    objects: Vec<FleetObject>,
    run: Option<FleetRun>,
    lease: Option<FleetLease>,
    calendar: Option<CalendarEntry>,
}

/// What is on record of all of them.
#[derive(Debug, Default)]
pub struct FleetRecords(HashMap<String, OnRecord>);

impl FleetRecords {
    /// Of these schemas. Nothing is on record before the tool's own tables have been made.
    pub async fn read(db: &mut PgConnection, schemas: &[&str]) -> Result<FleetRecords, StoreError> {
        let overview = store::fleet_overview(&mut *db, schemas).await?;
        Ok(FleetRecords(by_workspace(overview, store::calendar(db).await?)))
    }

    /// A line for each workspace, the worst first.
    pub fn lines(mut self, watched: &[&WatchedWorkspace], refused: &[RefusedWorkspace], now: DateTime<Utc>) -> Vec<FleetLine> {
        let of_watched =
            watched.iter().map(|workspace| line_of(workspace, self.0.remove(&workspace.schema).unwrap_or_default(), now));
        let mut lines: Vec<FleetLine> = of_watched.chain(refused.iter().map(line_of_refused)).collect();
        lines.sort_by(|one, other| one.state.cmp(&other.state).then_with(|| one.name.cmp(&other.name)));
        lines
    }
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

fn line_of_refused(refused: &RefusedWorkspace) -> FleetLine {
    FleetLine {
        name: refused.name.clone(),
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
        reason: Some(refused.reason.clone()),
        short_reason: Some(refused.short_reason.clone()),
    }
}

fn line_of(workspace: &WatchedWorkspace, known: OnRecord, now: DateTime<Utc>) -> FleetLine {
    let freshness = freshness_of(workspace, &known, now);
    let state = state_of(workspace, &freshness, &known);
    let reason = reason_for(state, workspace, &freshness, &known);
    let OnRecord { objects, run, lease, calendar } = known;
    FleetLine {
        name: workspace.name.clone(),
        state,
        fresh: freshness.is_fresh(),
        schema: Some(workspace.schema.clone()),
        oldest_success_at: objects
            .iter()
            .filter(|object| is_synced(workspace, object))
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

fn is_synced(workspace: &WatchedWorkspace, object: &FleetObject) -> bool {
    workspace.objects.iter().any(|synced| *synced == object.object)
}

fn freshness_of(workspace: &WatchedWorkspace, known: &OnRecord, now: DateTime<Utc>) -> Freshness {
    let known_object = |name: &str| {
        let object = known.objects.iter().find(|object| object.object == name)?;
        let FleetObject { status, last_success_at, has_table, .. } = object;
        Some(KnownObject { status, last_success_at: *last_success_at, has_table: *has_table })
    };
    Freshness::of_known(workspace.objects.iter().copied(), known_object, now, workspace.stale_after)
}

fn state_of(workspace: &WatchedWorkspace, freshness: &Freshness, known: &OnRecord) -> FleetState {
    let has = |wanted: fn(FreshnessState) -> bool| freshness.objects().any(|(_, state)| wanted(state));
    let is_failing = known.objects.iter().any(|object| object.status == "failed" && is_synced(workspace, object));
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
fn reason_for(state: FleetState, workspace: &WatchedWorkspace, freshness: &Freshness, known: &OnRecord) -> Option<String> {
    if matches!(state, FleetState::Running | FleetState::Fresh) {
        return None;
    }
    let failed = known.objects.iter().filter(|object| object.status == "failed" && is_synced(workspace, object));
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
                let within = duration(workspace.stale_after);
                Some(format!("not synced within the last {within}: {}", stale.join(", ")))
            }
            (gone, _) => Some(format!("tables were dropped: {}", gone.join(", "))),
        }
    })
}

/// When a daemon begins the next run, as far as nobody asks for one before.
pub fn next_run_of(entry: &CalendarEntry) -> Option<DateTime<Utc>> {
    let due = [entry.next_run_at, entry.retry_at].into_iter().flatten().min()?;
    entry.paused_at.is_none().then(|| entry.not_before.map_or(due, |not_before| due.max(not_before)))
}
