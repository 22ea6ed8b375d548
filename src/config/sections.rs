//! The sections of `config/default.toml`: one struct each, one field per key, each value in the type that the code works with.
//!
//! What a key means is said in that file alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use planhat_api::RowsPerPage;
use planhat_model::catalog::Object;
use planhat_model::scan::{History, ReconcileEvery, SortedObjects};
use planhat_store::{ConnectionSource, UrlSource, Variables};
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::values::{
    address, duration, duration_or_auto, history, names, objects, page_size, reconcile_every, secret, sorted, word,
};
use crate::events::Format;

/// One field per key of `[planhat]`.
#[derive(Debug, Clone, Deserialize)]
pub struct PlanhatSettings {
    pub base_url: Url,
    #[serde(deserialize_with = "secret")]
    pub token: Option<SecretString>,
    pub(super) token_file: PathBuf,
    #[serde(deserialize_with = "page_size")]
    pub page_size: RowsPerPage,
    pub calls_per_minute: u32,
    #[serde(deserialize_with = "objects")]
    pub objects: Vec<&'static Object>,
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    pub retries: usize,
    #[serde(deserialize_with = "duration")]
    pub retry_delay: Duration,
    pub max_page_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PagesSettings {
    pub overlap: u8,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SyncSettings {
    pub concurrency: usize,
    #[serde(deserialize_with = "duration")]
    pub lookback: Duration,
    #[serde(deserialize_with = "history")]
    pub history: History,
    #[serde(deserialize_with = "sorted")]
    pub sorted: SortedObjects,
    #[serde(deserialize_with = "reconcile_every")]
    pub reconcile_every: ReconcileEvery,
    pub reject_percent: u8,
    pub reject_rows: u32,
    pub quarantine_rows: usize,
    #[serde(deserialize_with = "duration")]
    pub keep_runs: Duration,
}

/// The deletion guard.
#[derive(Debug, Clone, Deserialize)]
pub struct DeletionsSettings {
    pub max_percent: u8,
    pub max_rows: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ActionsSettings {
    pub enabled: bool,
    pub initial: bool,
    #[serde(deserialize_with = "duration")]
    pub keep: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PrivacySettings {
    #[serde(deserialize_with = "secret")]
    pub(super) hash_key: Option<SecretString>,
    pub(super) hash_key_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DaemonSettings {
    pub schedule: String,
    pub time_zone: String,
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    #[serde(deserialize_with = "duration")]
    pub retry_after: Duration,
    pub slots: usize,
    #[serde(deserialize_with = "duration_or_auto")]
    pub poll_every: Option<Duration>,
    #[serde(deserialize_with = "address")]
    pub listen: Option<SocketAddr>,
    #[serde(deserialize_with = "duration")]
    pub stuck_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NotifySettings {
    #[serde(deserialize_with = "secret")]
    pub webhook_url: Option<SecretString>,
    pub(super) webhook_url_file: PathBuf,
    #[serde(deserialize_with = "secret")]
    pub webhook_secret: Option<SecretString>,
    pub(super) webhook_secret_file: PathBuf,
    #[serde(deserialize_with = "word")]
    pub format: Format,
    #[serde(deserialize_with = "secret")]
    pub ping_url: Option<SecretString>,
    pub(super) ping_url_file: PathBuf,
    #[serde(deserialize_with = "duration")]
    pub stale_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DatabaseSettings {
    #[serde(deserialize_with = "secret")]
    pub url: Option<SecretString>,
    pub(super) url_file: PathBuf,
    pub(super) password_file: PathBuf,
    /// Those of the environment that libpq knows: what a URL leaves out comes from there.
    #[serde(skip)]
    pub(super) variables: Variables,
    pub schema: String,
    pub max_connections: u32,
    #[serde(deserialize_with = "duration")]
    pub reconnect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Duration,
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "names")]
    pub grant_select_to: Vec<String>,
}

impl DatabaseSettings {
    /// Where the database is, unless it is the embedded one.
    pub fn source(&self) -> Option<ConnectionSource> {
        let named = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        let url = match &self.url {
            Some(url) => UrlSource::Text(url.clone()),
            None => UrlSource::File(named(&self.url_file)?),
        };
        Some(ConnectionSource { url, password_file: named(&self.password_file), variables: self.variables.clone() })
    }

    /// Whether the data goes into the embedded PostgreSQL.
    pub fn is_embedded(&self) -> bool {
        self.source().is_none()
    }

    /// Where the data goes: the database and its host or socket, or the folder of the embedded one; never a password.
    pub fn location(&self) -> String {
        match self.source() {
            Some(source) => source.location().unwrap_or_else(|_| "a database URL that cannot be used".to_owned()),
            None => format!("embedded, in {}", self.data_dir.display()),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct LogSettings {
    pub level: String,
    #[serde(deserialize_with = "word")]
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}
