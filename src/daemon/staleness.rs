//! The watch over the age of the data, which warns, and tells others, once it is too old and once it is fresh again.
//!
//! It asks the database when the data would get too old if nothing were synced, and after each run; only while the data is
//! stale does it ask now and then, since another command may have synced it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use planhat_store::{self as store, ObjectState, ObjectStatus, Store};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::housekeeping::{spawn_beside, wait};
use crate::events::{Notifier, Stale};
use crate::freshness::{Freshness, KnownObject};
use crate::workspace::Workspace;

/// How often stale data, or an unreachable database, is checked again.
const RECHECK_AFTER: Duration = Duration::from_secs(60);

/// How many workspaces are checked at the same time: each check takes some kilobytes, and when a daemon starts all of them are due. Not
/// less, so that a thousand get their turn within minutes though the database does not answer.
const CHECKS_AT_THE_SAME_TIME: usize = 64;

/// Monitors how old the data is. It queries the database when the data would become stale and, once it is stale, now and
/// then, because another command may have synced it.
#[derive(Debug)]
pub(super) struct StalenessMonitor {
    up_since: DateTime<Utc>,
    changed: Arc<Notify>,
    turns: Arc<Semaphore>,
}

impl StalenessMonitor {
    /// The first one of a daemon.
    pub(super) fn since(up_since: DateTime<Utc>) -> StalenessMonitor {
        StalenessMonitor { up_since, changed: Arc::default(), turns: Arc::new(Semaphore::new(CHECKS_AT_THE_SAME_TIME)) }
    }

    /// One of another workspace of the same daemon.
    pub(super) fn another(&self) -> StalenessMonitor {
        StalenessMonitor { up_since: self.up_since, changed: Arc::default(), turns: Arc::clone(&self.turns) }
    }

    /// A run has ended, so the data may be younger.
    pub(super) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Watches it until what is returned is dropped.
    pub(super) fn watch(&self, store: &Arc<Store>, notifier: &Notifier, workspace: &Workspace) -> AbortOnDropHandle<()> {
        let (changed, turns) = (Arc::clone(&self.changed), Arc::clone(&self.turns));
        let mut watch = StalenessWatch {
            store: Arc::clone(store),
            schema: workspace.settings.database.schema.clone(),
            notifier: notifier.clone(),
            objects: workspace.object_names(),
            stale_after: workspace.settings.notify.stale_after,
            up_since: self.up_since,
            known: Vec::new(),
            is_stale: false,
        };
        spawn_beside(async move {
            loop {
                // In a box, so that a thousand watches that wait take no memory for what a check needs.
                let turn = turns.acquire().await;
                let rest = Box::pin(watch.check()).await;
                drop(turn);
                tokio::select! {
                    () = changed.notified() => {}
                    () = wait(rest) => {}
                }
            }
        })
    }
}

/// Who watches the age of the data.
struct StalenessWatch {
    store: Arc<Store>,
    schema: String,
    notifier: Notifier,
    objects: Vec<&'static str>,
    stale_after: Duration,
    up_since: DateTime<Utc>,
    /// What was last read of the objects.
    known: Vec<LastKnown>,
    is_stale: bool,
}

/// What counts of the state of an object: a daemon may watch thousands of them, and their states are large.
struct LastKnown {
    object: &'static str,
    is_skipped: bool,
    last_success_at: Option<DateTime<Utc>>,
    has_table: bool,
}

impl LastKnown {
    fn of(object: &'static str, states: &[ObjectState]) -> Option<LastKnown> {
        let state = states.iter().find(|state| state.object == object)?;
        let is_skipped = state.status == ObjectStatus::Skipped.as_str();
        Some(LastKnown { object, is_skipped, last_success_at: state.last_success_at, has_table: state.has_table })
    }

    fn known_object(&self) -> KnownObject<'static> {
        let status = if self.is_skipped { ObjectStatus::Skipped } else { ObjectStatus::Succeeded };
        KnownObject { status: status.as_str(), last_success_at: self.last_success_at, has_table: self.has_table }
    }
}

impl StalenessWatch {
    /// Checks for stale data, announces changes, and returns when to check again.
    async fn check(&mut self) -> Option<Duration> {
        let looked = self.store.read_only_housekeeping(async |db| store::object_states(db, &self.schema).await).await;
        let is_known = looked.is_ok();
        match looked {
            Ok(states) => {
                // What there is of it is used again: what lives long should not lie among what a run leaves behind.
                self.known.clear();
                self.known.extend(self.objects.iter().filter_map(|object| LastKnown::of(object, &states)));
            }
            // No command can have synced meanwhile: the last known states are still right, only older.
            Err(error) => debug!(error = %Chain(&error), "could not read how old the data is"),
        }
        let now = Utc::now();
        let known = |object: &str| self.known.iter().find(|known| known.object == object).map(LastKnown::known_object);
        let freshness = Freshness::of_known(self.objects.iter().copied(), known, now, self.stale_after);
        let (stale, last_success) = freshness.stale(self.up_since, now);
        self.report(&stale, last_success).await;
        let stale_at = freshness.stale_at(self.up_since);
        let rest = stale_at.map(|stale_at| (stale_at - Utc::now()).to_std().unwrap_or(RECHECK_AFTER));
        if is_known { rest } else { Some(rest.unwrap_or(RECHECK_AFTER).min(RECHECK_AFTER)) }
    }

    async fn report(&mut self, stale: &[&str], last_success: Option<DateTime<Utc>>) {
        let was_stale = std::mem::replace(&mut self.is_stale, !stale.is_empty());
        let stale_after = humantime::format_duration(self.stale_after);
        match (was_stale, self.is_stale) {
            (false, true) => warn!("the data is stale: no successful sync for {stale_after} of {}", stale.join(", ")),
            (true, false) => info!("the data is fresh again"),
            (true, true) | (false, false) => {}
        }
        if self.is_stale {
            let objects = stale.iter().map(|object| (*object).to_owned()).collect();
            self.notifier.data_is_stale(&self.store, &Stale { objects, last_success, stale_after: self.stale_after }).await;
        } else {
            self.notifier.data_is_fresh(&self.store).await;
        }
    }
}
