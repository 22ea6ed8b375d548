//! How the daemon is: written by its loop, read by the watchdog and by whoever asks over HTTP.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

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
    stuck_after: Duration,
    pub(super) run: Option<Arc<Progress>>,
    pub(super) next_run: Option<DateTime<Utc>>,
    /// The objects of the settings, and after how long without a success they are stale.
    pub(super) objects: Vec<&'static str>,
    pub(super) stale_after: Duration,
}

impl HealthState {
    pub(super) fn new(stuck_after: Duration) -> HealthState {
        HealthState { state: Mutex::new(DaemonState { stuck_after, ..DaemonState::default() }) }
    }

    pub(super) fn stuck_after(&self, stuck_after: Duration) {
        self.state().stuck_after = stuck_after;
    }

    /// The settings have been read: which objects are asked for, and after how long they are stale.
    pub(super) fn watch(&self, objects: Vec<&'static str>, stale_after: Duration) {
        let mut state = self.state();
        (state.objects, state.stale_after) = (objects, stale_after);
    }

    pub(super) fn run_begins(&self, progress: Arc<Progress>) {
        self.state().run = Some(progress);
    }

    pub(super) fn run_ends(&self) {
        self.state().run = None;
    }

    pub(super) fn next_run(&self, at: DateTime<Utc>) {
        self.state().next_run = Some(at);
    }

    /// Whether a run has made no progress for too long.
    pub(super) fn is_stuck(&self) -> bool {
        let state = self.state();
        state.run.as_ref().is_some_and(|progress| progress.idle_for() > state.stuck_after)
    }

    /// Whether a run has just made progress.
    pub(super) fn is_progressing(&self) -> bool {
        self.state().run.as_ref().is_some_and(|progress| progress.idle_for() < PROGRESS_WITHIN)
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
        impatient.run_begins(Arc::default());
        assert!(impatient.is_stuck());
        impatient.run_ends();
        assert!(!impatient.is_stuck());

        let patient = HealthState::new(Duration::from_secs(3600));
        patient.run_begins(Arc::default());
        assert!(!patient.is_stuck());
    }
}
