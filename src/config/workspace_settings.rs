//! The settings of one workspace among several: what all share, and over it what the workspace says itself.
//!
//! ```text
//! shared settings (defaults < file < environment) < [workspaces.NAME] of the settings file, or NAME.toml of workspaces_dir
//! ```
//!
//! There may be a thousand of them, and most say little more than where their token is. So only the sections that a workspace says
//! something in are read anew; everything else is copied from the shared settings, which have been checked.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Value, ValueKind};
use serde::Deserialize;

use super::file_stamps::FileStamps;
use super::folder::SecretFiles;
use super::properties::PropertySettings;
use super::secrets::{self, OwnSecrets};
use super::settings_error::LONGEST_NAME;
use super::sources::{Sections, has_secret, keys_of, refuse_unknown, unreadable};
use super::{
    ActionsSettings, DaemonSettings, DatabaseSettings, DeletionsSettings, NotifySettings, PagesSettings, PlanhatSettings,
    PrivacySettings, Settings, SettingsError, SyncSettings,
};

/// What a workspace may set in sections that otherwise belong to the whole process.
const OF_DATABASE: [&str; 3] = ["database.schema", "database.statement_timeout", "database.grant_select_to"];
const OF_PROCESS: [&str; 4] = ["daemon.listen", "daemon.slots", "daemon.poll_every", "daemon.stuck_after"];

/// What a workspace says itself.
pub(super) struct OwnSettings {
    pub(super) name: String,
    /// Where it says that, for messages.
    pub(super) place: String,
    /// The file that it is in.
    pub(super) file: PathBuf,
    pub(super) written: Sections,
}

/// What all workspaces are loaded with.
pub(super) struct SettingsLoader<'a> {
    pub(super) shared: &'a Settings,
    /// The shared settings as they are written.
    pub(super) written: &'a Sections,
    /// All keys that there are.
    pub(super) known: &'a BTreeSet<String>,
    /// Those that a workspace may set.
    pub(super) known_of_workspaces: BTreeSet<String>,
    /// Where the secrets of workspaces may be by their names, and the names of the files there.
    pub(super) secrets_folder: Option<(&'a Path, &'a BTreeSet<OsString>)>,
    /// The schedules that were found good: to check one takes a while, and many workspaces may have the same.
    pub(super) good_schedules: HashSet<(String, String, Duration)>,
}

/// The sections that a workspace says something in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnSections {
    planhat: Option<PlanhatSettings>,
    pages: Option<PagesSettings>,
    sync: Option<SyncSettings>,
    deletions: Option<DeletionsSettings>,
    actions: Option<ActionsSettings>,
    privacy: Option<PrivacySettings>,
    objects: Option<BTreeMap<String, PropertySettings>>,
    daemon: Option<DaemonSettings>,
    notify: Option<NotifySettings>,
    database: Option<DatabaseSettings>,
}

/// Whether this may be what a workspace is called.
pub(super) fn check_name(name: &str) -> Result<(), SettingsError> {
    let of_name = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || "-_".contains(character);
    let begins_well = name.starts_with(|character: char| character.is_ascii_lowercase());
    if begins_well && name.len() <= LONGEST_NAME && name.chars().all(of_name) {
        return Ok(());
    }
    Err(SettingsError::WorkspaceName(name.to_owned()))
}

impl OwnSettings {
    /// The schema of the workspace, also where the rest of its settings is of no use.
    pub(super) fn schema(&self) -> String {
        let own = match self.written.get("database").map(|database| &database.kind) {
            Some(ValueKind::Table(keys)) => keys.get("schema").and_then(|schema| schema.clone().into_string().ok()),
            _ => None,
        };
        own.filter(|schema| !schema.is_empty()).unwrap_or_else(|| format!("planhat_{}", self.name.replace('-', "_")))
    }
}

impl SettingsLoader<'_> {
    /// The settings of a workspace, or what is wrong with what it says.
    pub(super) fn load(&mut self, own: &OwnSettings, stamps: &mut FileStamps) -> Result<Settings, SettingsError> {
        let keys = keys_of(&own.written);
        if let Some(key) = keys.iter().find(|key| is_of_process(key)).filter(|key| self.known.contains(*key)) {
            let problem = "belongs to the whole process: move it to the settings that all workspaces share";
            return Err(SettingsError::Bad { key: key.clone(), problem: problem.to_owned() });
        }
        refuse_unknown(&self.known_of_workspaces, keys, &own.place)?;
        secrets::refuse_both(&own.written, &own.place)?;

        let secrets = OwnSecrets { shared: self.shared, written: &own.written, folder: self.secrets_folder };
        let mut settings = self.merged(own, &secrets)?;
        let mut files = SecretFiles { unreadable: self.shared.secret_files.unreadable.clone(), ..SecretFiles::default() };
        if has_secret(&own.written) {
            files.used.push(own.file.clone());
        }
        secrets.read(&mut settings, &mut files, stamps)?;
        settings.secret_files = files;
        self.check_schedule(&settings, own)?;
        settings.checked_but_schedule()
    }

    /// The shared settings with those of the workspace over them.
    fn merged(&self, own: &OwnSettings, secrets: &OwnSecrets<'_>) -> Result<Settings, SettingsError> {
        let mut sections: Sections =
            own.written.keys().filter_map(|name| Some((name.clone(), self.written.get(name)?.clone()))).collect();
        put_over(&mut sections, &own.written);
        secrets.override_shared(&mut sections);
        let sections: OwnSections = Value::from(sections).try_deserialize().map_err(unreadable)?;
        let shared = self.shared;
        let database = sections.database.unwrap_or_else(|| shared.database.clone());
        Ok(Settings {
            workspaces_dir: PathBuf::new(),
            planhat: sections.planhat.unwrap_or_else(|| shared.planhat.clone()),
            pages: sections.pages.unwrap_or_else(|| shared.pages.clone()),
            sync: sections.sync.unwrap_or_else(|| shared.sync.clone()),
            deletions: sections.deletions.unwrap_or_else(|| shared.deletions.clone()),
            actions: sections.actions.unwrap_or_else(|| shared.actions.clone()),
            privacy: sections.privacy.unwrap_or_else(|| shared.privacy.clone()),
            objects: sections.objects.unwrap_or_else(|| shared.objects.clone()),
            daemon: sections.daemon.unwrap_or_else(|| shared.daemon.clone()),
            notify: sections.notify.unwrap_or_else(|| shared.notify.clone()),
            // How the database is reached is the same for all of them.
            database: DatabaseSettings {
                schema: own.schema(),
                statement_timeout: database.statement_timeout,
                grant_select_to: database.grant_select_to,
                ..shared.database.clone()
            },
            log: shared.log.clone(),
            workspace_name: own.name.clone(),
            rules: Default::default(),
            ignore_changes: Default::default(),
            histories: Default::default(),
            secret_files: SecretFiles::default(),
        })
    }

    /// The shared one was checked with the shared settings.
    fn check_schedule(&mut self, settings: &Settings, own: &OwnSettings) -> Result<(), SettingsError> {
        let DaemonSettings { schedule, time_zone, jitter, .. } = &settings.daemon;
        let of_workspace = (schedule.clone(), time_zone.clone(), *jitter);
        if own.written.contains_key("daemon") && !self.good_schedules.contains(&of_workspace) {
            settings.schedule("")?.checked()?;
            self.good_schedules.insert(of_workspace);
        }
        Ok(())
    }
}

/// Whether it makes no sense for one workspace among several.
pub(super) fn is_of_process(key: &str) -> bool {
    key == "workspaces_dir"
        || key.starts_with("log.")
        || OF_PROCESS.contains(&key)
        || (key.starts_with("database.") && !OF_DATABASE.contains(&key))
}

/// Tables are merged; everything else is replaced.
fn put_over(below: &mut Sections, above: &Sections) {
    for (name, value) in above {
        match (below.get_mut(name).map(|value| &mut value.kind), &value.kind) {
            (Some(ValueKind::Table(below)), ValueKind::Table(above)) => put_over(below, above),
            _ => _ = below.insert(name.clone(), value.clone()),
        }
    }
}
