//! What can be wrong with settings. Each message names the key, or the file and its line; none shows a value that may be secret.

use std::path::PathBuf;

use planhat_model::secret_file::SecretFileError;

use crate::schedule::ScheduleError;

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("could not read the settings")]
    Unreadable { source: config::ConfigError },
    #[error("unknown setting {key:?} in {place}{}", nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default())]
    UnknownKey { key: String, place: String, nearest: Option<String> },
    #[error("could not read {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// Without the line itself, which may be the one with a secret.
    #[error("could not read {}: line {line}: {problem}", path.display())]
    Toml { path: PathBuf, line: usize, problem: String },
    #[error("the variable {0} is not UTF-8")]
    NotUtf8(String),
    #[error("{0}")]
    UnknownObject(String),
    #[error("could not read {what} from {}", path.display())]
    SecretFile { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{what} cannot be taken from {}", path.display())]
    BadSecretFile { what: &'static str, path: PathBuf, source: SecretFileError },
    #[error("{text} and {file} are both set: leave one of them out")]
    BothGiven { text: String, file: String },
    #[error("setting {key:?} {problem}")]
    Bad { key: String, problem: String },
    #[error("could not list the settings of workspaces in {} (workspaces_dir)", path.display())]
    WorkspacesDir { path: PathBuf, source: std::io::Error },
    /// What is wrong with one workspace among several is a matter of that one alone.
    #[error("could not use the settings of workspace {name:?}{}", source.place_if_unnamed(place))]
    Workspace { name: String, place: String, source: Box<SettingsError> },
    #[error(
        "{0:?} is no name of a workspace: it has to begin with a letter from a to z, and to consist of these, digits, - and _, at most {LONGEST_NAME}"
    )]
    WorkspaceName(String),
    #[error(
        "unknown workspace {name:?}{}{}",
        nearest.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default(),
        if known.is_empty() { " (there is none)".to_owned() } else { format!(" (known: {known})") }
    )]
    UnknownWorkspace { name: String, nearest: Option<String>, known: String },
    #[error("it is set twice: {first}, and {second}")]
    WorkspaceTwice { first: String, second: String },
    #[error("schema {schema:?} (database.schema) belongs to workspace {first:?} already; one workspace fills one schema")]
    SchemaTaken { schema: String, first: String },
}

/// The most characters that the name of a workspace has.
pub(super) const LONGEST_NAME: usize = 40;

impl SettingsError {
    /// The error that it is about, without the workspace.
    pub fn root(&self) -> &SettingsError {
        match self {
            SettingsError::Workspace { source, .. } => source.root(),
            error => error,
        }
    }

    /// Where the mistake is, for one that does not say that itself.
    fn place_if_unnamed(&self, place: &str) -> String {
        match self {
            SettingsError::UnknownKey { .. }
            | SettingsError::File { .. }
            | SettingsError::Toml { .. }
            | SettingsError::BothGiven { .. }
            | SettingsError::WorkspaceTwice { .. } => String::new(),
            _ => format!(" in {place}"),
        }
    }
}

impl From<ScheduleError> for SettingsError {
    fn from(error: ScheduleError) -> SettingsError {
        let key = match error {
            ScheduleError::Cron { .. } | ScheduleError::Never(_) | ScheduleError::Ends(_) => "daemon.schedule",
            ScheduleError::Zone(_) => "daemon.time_zone",
            ScheduleError::Jitter { .. } => "daemon.jitter",
        };
        SettingsError::Bad { key: key.to_owned(), problem: format!("cannot be used: {error}") }
    }
}
