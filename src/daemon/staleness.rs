//! The watch over the age of the data, which warns, and tells others, once it is too old and once it is fresh again.
//!
//! It asks the database when the data would get too old if nothing were synced, and after each run; only while the data is
//! stale does it ask now and then, since another command may have synced it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use planhat_store::{self as store, ObjectState, Store};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::housekeeping::{spawn_beside, wait};
use crate::events::{Notifier, Stale};
use crate::freshness::Freshness;
use crate::workspace::Workspace;

/// How often stale data, or an unreachable database, is checked again.
const RECHECK_AFTER: Duration = Duration::from_secs(60);

/// Monitors how old the data is. It queries the database when the data would become stale and, once it is stale, now and
/// then, because another command may have synced it.
#[derive(Debug)]
pub(super) struct StalenessMonitor {
    up_since: DateTime<Utc>,
    changed: Arc<Notify>,
}

impl StalenessMonitor {
    pub(super) fn since(up_since: DateTime<Utc>) -> StalenessMonitor {
        StalenessMonitor { up_since, changed: Arc::default() }
    }

    /// A run has ended, so the data may be younger.
    pub(super) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Watches it until what is returned is dropped.
    pub(super) fn watch(&self, store: &Arc<Store>, notifier: &Notifier, workspace: &Workspace) -> AbortOnDropHandle<()> {
        let changed = Arc::clone(&self.changed);
        let mut watch = StalenessWatch {
            store: Arc::clone(store),
            schema: workspace.settings.database.schema.clone(),
            notifier: notifier.clone(),
            objects: workspace.object_names(),
            stale_after: workspace.settings.notify.stale_after,
            up_since: self.up_since,
            states: Vec::new(),
            is_stale: false,
        };
        spawn_beside(async move {
            loop {
                let rest = watch.check().await;
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
    /// The states of the objects when they were last read.
    states: Vec<ObjectState>,
    is_stale: bool,
}

impl StalenessWatch {
    /// Checks for stale data, announces changes, and returns when to check again.
    async fn check(&mut self) -> Option<Duration> {
        let looked = self.store.read_only_housekeeping(async |db| store::object_states(db, &self.schema).await).await;
        let is_known = looked.is_ok();
        match looked {
            Ok(states) => self.states = states,
            // No command can have synced meanwhile: the last known states are still right, only older.
            Err(error) => debug!(error = %Chain(&error), "could not read how old the data is"),
        }
        let now = Utc::now();
        let freshness = Freshness::of(self.objects.iter().copied(), &self.states, now, self.stale_after);
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
