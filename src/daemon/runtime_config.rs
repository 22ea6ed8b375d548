//! What the daemon works by: its settings, and what they come to. A reload makes a new one, for the next run.

use chrono::Utc;
use planhat_api::Client;
use tracing::warn;

use super::health_state::HealthState;
use crate::command_error::CommandError;
use crate::config::{Reload, Settings, SettingsError};
use crate::events::Notifier;
use crate::schedule::Schedule;
use crate::workspace::Workspace;

pub(super) struct RuntimeConfig {
    pub(super) workspace: Workspace,
    pub(super) client: Client,
    pub(super) notifier: Notifier,
    pub(super) schedule: Schedule,
}

impl RuntimeConfig {
    pub(super) fn of(settings: Settings) -> Result<RuntimeConfig, CommandError> {
        // Either may be hidden from a service.
        let of_host = ["/proc/sys/kernel/hostname", "/etc/machine-id"];
        let host = of_host.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let schedule = settings.schedule(host.trim()).map_err(SettingsError::from)?;
        for (key, doubt) in settings.warnings(Utc::now()) {
            warn!("setting {key:?} {doubt}");
        }
        let workspace = Workspace::new(settings);
        Ok(RuntimeConfig { client: workspace.client()?, notifier: workspace.notifier()?, schedule, workspace })
    }

    /// What takes the place of this one for settings that have been read again, and what is said of it.
    pub(super) fn with(&self, read: Settings) -> Result<(RuntimeConfig, String), CommandError> {
        let reload = Reload::of(self.settings(), read);
        let said = reload.to_string();
        let next = RuntimeConfig::of(reload.settings)?;
        // What was told before is not told again.
        let notifier = next.notifier.clone().replacing(&self.notifier);
        Ok((RuntimeConfig { notifier, ..next }, said))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.workspace.settings
    }

    /// Makes the health checks watch the objects of these settings.
    pub(super) fn publish_objects(&self, health: &HealthState) {
        health.watch(self.workspace.object_names(), self.settings().notify.stale_after);
    }
}
