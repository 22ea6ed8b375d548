//! What the daemon works by for one workspace: its settings, and what they come to. A reload makes a new one, for the next run.

use crate::command_error::CommandError;
use crate::config::{Reload, Settings, SettingsError};
use crate::events::Notifier;
use crate::schedule::Schedule;
use crate::workspace::Workspace;

pub(super) struct RuntimeConfig {
    pub(super) workspace: Workspace,
    pub(super) notifier: Notifier,
    pub(super) schedule: Schedule,
}

impl RuntimeConfig {
    /// `host` tells one installation from others. Daemons that share the work leave it empty, since all of them must have the same
    /// schedule.
    pub(super) fn of(settings: Settings, host: &str) -> Result<RuntimeConfig, CommandError> {
        let schedule = settings.schedule(host).map_err(SettingsError::from)?;
        let workspace = Workspace::new(settings);
        workspace.check_token()?;
        Ok(RuntimeConfig { notifier: workspace.notifier()?, schedule, workspace })
    }

    /// What takes the place of this one for settings that have been read again, and what is said of it.
    pub(super) fn with(&self, read: Settings, host: &str) -> Result<(RuntimeConfig, String), CommandError> {
        let reload = Reload::of(self.settings(), read);
        let said = reload.to_string();
        let next = RuntimeConfig::of(reload.settings, host)?;
        // What was told before is not told again.
        let notifier = next.notifier.clone().replacing(&self.notifier);
        Ok((RuntimeConfig { notifier, ..next }, said))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.workspace.settings
    }

    pub(super) fn name(&self) -> &str {
        &self.settings().workspace_name
    }

    pub(super) fn schema(&self) -> &str {
        &self.settings().database.schema
    }
}
