//! What a pull is given: what is asked of it, within which limits, and what the run shares with all its pulls.

use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_api::{Client, PageSettings};
use planhat_model::catalog::{ByObject, DefaultHistory, Object};
use planhat_model::flatten::IgnoredFields;
use planhat_model::rules::{FieldMap, Rules};
use planhat_model::scan::{History, ReconcileEvery, SortedObjects};
use planhat_store::{Binding, Store, TimelineOptions};
use tokio_util::sync::CancellationToken;

use super::{Declarations, DeletionGuard, DeletionReservations, PauseGate, RejectionGuard};
use crate::progress::Progress;

/// What all pulls of a run share. Every field belongs to the run, not to one object.
#[derive(Debug)]
pub struct Context<'a> {
    pub client: &'a Client,
    pub store: &'a Store,
    pub limits: &'a Limits,
    pub purpose: Purpose,
    /// All objects of the run.
    pub objects: &'a [&'static Object],
    /// What the schema is bound to; none for a dry run.
    pub binding: Option<&'a Binding>,
    /// When the run began: a scan of this run says nothing about later changes.
    pub now: DateTime<Utc>,
    /// What is known of custom fields before any record shows them.
    pub declarations: &'a Declarations,
    /// How many calls it takes to compare all objects of the run, as far as that is known.
    pub full_scan_calls: u64,
    /// Stops the pull after the page that is being stored.
    pub stop: &'a CancellationToken,
    /// Pauses the scans, should another run want the workspace meanwhile.
    pub pause_gate: &'a PauseGate,
    /// Where a pull reports how far it is.
    pub progress: &'a Progress,
    /// How many rows all objects of the run may still mark as deleted.
    pub deletion_reservations: &'a DeletionReservations,
}

/// What happens to the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They are stored, by this run.
    Store { run_id: i64 },
    /// They are compared with what is stored, and nothing is written: a dry run.
    Preview { diff: bool },
}

/// What the settings allow a pull, each a setting of its own.
#[derive(Debug, Clone)]
pub struct Limits {
    pub pages: PageSettings,
    /// How far before the watermark changes are looked for.
    pub lookback: Duration,
    /// How far back a first load goes.
    pub history: History,
    /// The same for objects for which it is set.
    pub histories: ByObject<History>,
    /// The objects whose changes are read newest first, so that a daily run stops early.
    pub sorted: SortedObjects,
    /// How often a sync becomes a full scan.
    pub reconcile_every: ReconcileEvery,
    /// The quota, of which comparing everything may take a share; 0 for no limit.
    pub calls_per_minute: u32,
    /// How long the history of runs is kept.
    pub keep_runs: Duration,
    pub timeline: TimelineOptions,
    /// The privacy rules.
    pub rules: ByObject<Rules>,
    /// Fields that the user has ignored when rows are compared, besides those of the catalogue.
    pub ignore_changes: ByObject<FieldMap<()>>,
    pub deletion_guard: DeletionGuard,
    pub rejections: RejectionGuard,
    /// A run keeps the text of this many records of an object, if they cannot be stored.
    pub quarantine_rows: usize,
}

impl Limits {
    pub(super) fn rules_of(&self, object: &Object) -> Option<&Rules> {
        self.rules.get(object.name)
    }

    /// How far back the records of an object are loaded.
    pub fn history_of(&self, object: &Object) -> History {
        self.histories.get(object.name).copied().unwrap_or(match object.history {
            DefaultHistory::AsConfigured => self.history,
            DefaultHistory::All => History::All,
        })
    }

    pub(super) fn ignored_fields_of(&self, object: &Object) -> IgnoredFields {
        IgnoredFields::of(object, self.ignore_changes.get(object.name), self.rules_of(object))
    }
}

/// How a pull ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullEnd {
    Complete,
    /// Stopped between two pages; the scan resumes here next time.
    Stopped,
}
