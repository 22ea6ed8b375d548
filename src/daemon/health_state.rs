//! How the daemon is: written by its loop, read by the watchdog and by whoever asks over HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::fleet_state::WatchedWorkspace;
use crate::progress::Progress;

/// Only a run with progress within this time shows that the database responds.
const PROGRESS_WITHIN: Duration = Duration::from_secs(60);

/// The state of the daemon, for health checks and status.
#[derive(Debug)]
pub(super) struct HealthState {
    state: Mutex<DaemonState>,
}

/// What is known at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct DaemonState {
    pub(super) stuck_after: Duration,
    /// The runs in progress, by the schemas of their workspaces.
    pub(super) runs: BTreeMap<String, Arc<Progress>>,
    pub(super) next_run: Option<DateTime<Utc>>,
    /// How many runs there may be.
    pub(super) slots: usize,
    /// The workspaces of the settings, in the order of their names.
    pub(super) workspaces: Vec<Arc<WatchedWorkspace>>,
    /// Workspaces that cannot be run with the settings they have: name, and why.
    pub(super) refused: BTreeMap<String, String>,
    /// Whether the settings name no workspaces, so that there is one.
    pub(super) is_single: bool,
}

impl DaemonState {
    /// The workspace, where there is only one.
    pub(super) fn only_workspace(&self) -> Option<&WatchedWorkspace> {
        self.workspaces.first().filter(|_| self.is_single).map(Arc::as_ref)
    }

    /// The workspace of this name, or the only one; none if all are asked for. The error says that there is no such workspace.
    pub(super) fn asked_for(&self, name: Option<&str>) -> Result<Option<&WatchedWorkspace>, String> {
        let Some(name) = name else { return Ok(self.only_workspace()) };
        let found = self.workspaces.iter().find(|workspace| workspace.name == name).map(Arc::as_ref);
        found.map(Some).ok_or_else(|| "there is no workspace of this name\n".to_owned())
    }
}

impl HealthState {
    pub(super) fn new(stuck_after: Duration) -> HealthState {
        HealthState { state: Mutex::new(DaemonState { stuck_after, ..DaemonState::default() }) }
    }

    /// The settings have been read.
    pub(super) fn watch(&self, read: DaemonState) {
        let mut state = self.state();
        let DaemonState { runs, next_run, .. } = std::mem::take(&mut *state);
        *state = DaemonState { runs, next_run, ..read };
    }

    pub(super) fn run_begins(&self, schema: &str, progress: Arc<Progress>) {
        self.state().runs.insert(schema.to_owned(), progress);
    }

    pub(super) fn run_ends(&self, schema: &str) {
        self.state().runs.remove(schema);
    }

    pub(super) fn next_run(&self, at: Option<DateTime<Utc>>) {
        self.state().next_run = at;
    }

    /// Whether a run has made no progress for too long.
    pub(super) fn is_stuck(&self) -> bool {
        let state = self.state();
        state.runs.values().any(|progress| progress.idle_for() > state.stuck_after)
    }

    /// Whether a run has just made progress.
    pub(super) fn is_progressing(&self) -> bool {
        self.state().runs.values().any(|progress| progress.idle_for() < PROGRESS_WITHIN)
    }

    pub(super) fn snapshot(&self) -> DaemonState {
        self.state().clone()
    }

    fn state(&self) -> MutexGuard<'_, DaemonState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_without_progress_is_stuck() {
        let impatient = HealthState::new(Duration::ZERO);
        assert!(!impatient.is_stuck(), "nothing is at work");
        impatient.run_begins("planhat", Arc::default());
        assert!(impatient.is_stuck());
        impatient.run_ends("planhat");
        assert!(!impatient.is_stuck());

        let patient = HealthState::new(Duration::from_secs(3600));
        patient.run_begins("planhat", Arc::default());
        assert!(!patient.is_stuck());
    }
}
