//! Settings: compiled-in defaults, overridden by a file, overridden by the environment.
//!
//! `config/default.toml` has every key, so the documentation is the default and a key that is not in it
//! is a mistake. The environment comes in as an argument, so that tests touch no real one. What is
//! returned is checked and typed: nothing further down meets a bad setting.
//!
//! ```text
//! sources (default.toml, file, environment, folder) -> secrets -> sections -> properties, validation -> Settings
//!                                                  the same, and what a workspace says itself -> installation
//! ```

mod file_stamps;
mod folder;
mod installation;
mod misspelt;
mod properties;
mod reload;
mod secrets;
mod sections;
mod settings_error;
mod sources;
mod validation;
mod values;
mod workspace_settings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use planhat_model::catalog::ByObject;
use planhat_model::rules::FieldMap;
use planhat_model::rules::Rules;
use planhat_model::scan::History;
use serde::Deserialize;

use crate::schedule::{Schedule, ScheduleError};
use properties::PropertySettings;

pub use folder::{DEFAULT_FOLDER, SecretFiles};
pub use installation::{Installation, NamedWorkspace};
pub use reload::Reload;
pub use sections::{
    ActionsSettings, DaemonSettings, DatabaseSettings, DeletionsSettings, LogFormat, LogSettings, NotifySettings, PagesSettings,
    PlanhatSettings, PrivacySettings, SyncSettings,
};
pub use settings_error::SettingsError;
pub use sources::{load, load_without_file, readable};
pub use values::{nearest, objects_named};

/// One field per section of `config/default.toml`, and what follows from them.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where the files with the settings of workspaces are; empty if there are none.
    pub workspaces_dir: PathBuf,
    pub planhat: PlanhatSettings,
    pub pages: PagesSettings,
    pub sync: SyncSettings,
    pub deletions: DeletionsSettings,
    pub actions: ActionsSettings,
    pub privacy: PrivacySettings,
    #[serde(default)]
    objects: BTreeMap<String, PropertySettings>,
    pub daemon: DaemonSettings,
    pub notify: NotifySettings,
    pub database: DatabaseSettings,
    pub log: LogSettings,
    /// What people call the workspace: its name in the settings, or its schema if there is only one.
    #[serde(skip)]
    pub workspace_name: String,
    /// The privacy rules.
    #[serde(skip)]
    pub rules: ByObject<Rules>,
    /// What does not by itself make a row another one, besides the catalogue.
    #[serde(skip)]
    pub ignore_changes: ByObject<FieldMap<()>>,
    /// How far back the records of an object are loaded, where that is set for it.
    #[serde(skip)]
    pub histories: ByObject<History>,
    /// Where secrets were found, and where they could not be read.
    #[serde(skip)]
    pub secret_files: SecretFiles,
}

impl Settings {
    /// When the daemon runs. `host` and the workspace tell an installation from others.
    pub fn schedule(&self, host: &str) -> Result<Schedule, ScheduleError> {
        let DaemonSettings { schedule, time_zone, jitter, .. } = &self.daemon;
        let installation = format!("{host} {} {}", self.planhat.base_url, self.database.schema);
        Schedule::new(schedule, time_zone, *jitter, &installation)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use planhat_api::RowsPerPage;
    use std::collections::HashMap;
    use std::io::Write;
    use std::path::Path;
    use std::time::Duration;

    /// The settings of the only workspace.
    pub(super) fn load(file: Option<&Path>, environment: HashMap<String, String>) -> Result<Settings, SettingsError> {
        let installation = super::load(file, environment)?;
        assert!(installation.is_single, "there are several workspaces");
        Ok(installation.shared)
    }

    /// The settings by the defaults and these variables.
    pub(super) fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        load_without_file(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    pub(super) fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// What a person reads: the message and its causes.
    pub(super) fn message(result: Result<Settings, SettingsError>) -> String {
        format!("{:#}", anyhow::Error::from(result.unwrap_err()))
    }

    #[test]
    fn the_defaults_alone_are_valid() {
        let settings = with(&[("HOME", "/home/ann")]).unwrap();
        assert_eq!(settings.planhat.page_size, RowsPerPage::Fixed(100));
        assert_eq!(settings.planhat.objects.len(), 13);
        assert_eq!(settings.sync.lookback, Duration::from_secs(72 * 3600));
        assert!(settings.planhat.token.is_none() && settings.database.url.is_none());
        assert_eq!(settings.database.data_dir, Path::new("/home/ann/.local/share/planhat-sync"));
    }

    #[test]
    fn objects_are_set_as_a_list_a_comma_separated_text_or_all() {
        let names = |value: &str| {
            let settings = with(&[("PLANHAT_SYNC__PLANHAT__OBJECTS", value)]).unwrap();
            settings.planhat.objects.iter().map(|object| object.name).collect::<Vec<_>>()
        };
        assert_eq!(names("users, companies,users"), ["users", "companies"]);
        assert_eq!(names("all").len(), 25);
        assert_eq!(names("").len(), 13);
        let file = file("[planhat]\nobjects = ['nps']\n");
        assert_eq!(load(Some(file.path()), HashMap::new()).unwrap().planhat.objects[0].name, "nps");
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let settings = with(&[
            ("DATABASE_URL", "postgres://u:hunter2@h/d"),
            ("PLANHAT_API_TOKEN", "swordfish"),
            ("PLANHAT_SYNC__PRIVACY__HASH_KEY", "open sesame, they say"),
            ("PLANHAT_SYNC__OBJECTS__ENDUSERS__HASH", "email"),
        ]);
        let shown = format!("{:?}", settings.unwrap());
        assert!(!["hunter2", "swordfish", "sesame"].iter().any(|secret| shown.contains(secret)), "{shown}");
    }
}
