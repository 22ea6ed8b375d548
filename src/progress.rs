//! How far the objects of a run are: written by the pulls, read by whoever shows it.
//!
//! A run at a terminal draws bars from it, one without prints a line now and then, and the daemon tells
//! from it whether a run is stuck.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// How far one object is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub pages: i64,
    pub fetched: i64,
    /// Of them new or changed.
    pub written: i64,
    /// Time of the oldest record that was taken.
    pub oldest: Option<DateTime<Utc>>,
    pub ended: bool,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Progress { pages, fetched, written, .. } = self;
        write!(f, "{pages} pages, {fetched} records, {written} of them new or changed")?;
        self.oldest.map_or(Ok(()), |oldest| write!(f, ", the oldest of {}", oldest.format("%Y-%m-%d")))
    }
}

/// All objects of a run.
#[derive(Debug)]
pub struct Board {
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    objects: BTreeMap<&'static str, Progress>,
    moved_at: Instant,
}

impl Default for Board {
    fn default() -> Board {
        Board { now: Mutex::new(Now { objects: BTreeMap::new(), moved_at: Instant::now() }) }
    }
}

impl Board {
    pub fn note(&self, object: &'static str, progress: Progress) {
        let mut now = self.now();
        now.objects.insert(object, progress);
        now.moved_at = Instant::now();
    }

    pub fn end(&self, object: &'static str) {
        let mut now = self.now();
        now.objects.entry(object).or_default().ended = true;
        now.moved_at = Instant::now();
    }

    /// The objects that have begun, by name.
    pub fn objects(&self) -> Vec<(&'static str, Progress)> {
        self.now().objects.iter().map(|(object, progress)| (*object, *progress)).collect()
    }

    /// For how long nothing has moved.
    pub fn still_for(&self) -> Duration {
        self.now().moved_at.elapsed()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
