//! The progress of a run: pulls update it, and others show it.
//!
//! A run on a terminal draws progress bars from it, a run elsewhere logs a line now and then, and the daemon detects stuck
//! runs with it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The progress of one object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ObjectProgress {
    pub pages: i64,
    pub fetched: i64,
    /// Of them new or changed.
    pub written: i64,
    /// Time of the oldest record that was taken.
    pub oldest: Option<DateTime<Utc>>,
    pub ended: bool,
}

impl std::fmt::Display for ObjectProgress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ObjectProgress { pages, fetched, written, .. } = self;
        write!(f, "{pages} pages, {fetched} records, {written} of them new or changed")?;
        self.oldest.map_or(Ok(()), |oldest| write!(f, ", the oldest of {}", oldest.format("%Y-%m-%d")))
    }
}

/// All objects of a run.
#[derive(Debug)]
pub struct Progress {
    state: Mutex<ProgressState>,
}

#[derive(Debug)]
struct ProgressState {
    objects: BTreeMap<&'static str, ObjectProgress>,
    changed_at: Instant,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { state: Mutex::new(ProgressState { objects: BTreeMap::new(), changed_at: Instant::now() }) }
    }
}

impl Progress {
    pub fn update(&self, object: &'static str, progress: ObjectProgress) {
        let mut state = self.state();
        state.objects.insert(object, progress);
        state.changed_at = Instant::now();
    }

    pub fn end(&self, object: &'static str) {
        let mut state = self.state();
        state.objects.entry(object).or_default().ended = true;
        state.changed_at = Instant::now();
    }

    /// The objects that have begun, by name.
    pub fn objects(&self) -> Vec<(&'static str, ObjectProgress)> {
        self.state().objects.iter().map(|(object, progress)| (*object, *progress)).collect()
    }

    /// How long there has been no progress.
    pub fn idle_for(&self) -> Duration {
        self.state().changed_at.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
