//! Settings: compiled-in defaults, overridden by a file, overridden by the environment.
//!
//! `config/default.toml` has every key, so the documentation is the default and a key that is not in it
//! is a mistake. The environment comes in as an argument, so that tests touch no real one. What is
//! returned is checked and typed: nothing further down meets a bad setting.

mod folder;
mod properties;
mod reload;
mod sources;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use humantime::format_duration;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use crate::events::{Format, PingUrl, Secret};
use crate::schedule::{self, Schedule};
pub use folder::{DEFAULT_FOLDER, SecretFiles};
use planhat_model::catalog::{ByObject, Object};
use planhat_model::rules::FieldMap;
use planhat_model::rules::Rules;
use planhat_store as store;
use properties::PropertySettings;
pub use reload::Reload;
pub use sources::{load, load_without_file, readable};
use values::{address, duration, objects, secret, sorted};
pub use values::{nearest, objects_named};

/// Longer ago there is no instant that can be subtracted from.
const LONGEST_HISTORY: Duration = Duration::from_secs(200 * 366 * 86_400);
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
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
    /// What of records may be kept, and how.
    #[serde(skip)]
    pub rules: ByObject<Rules>,
    /// What does not by itself make a row another one, besides the catalogue.
    #[serde(skip)]
    pub ignore_changes: ByObject<FieldMap<()>>,
    /// Where secrets were found, and where they could not be read.
    #[serde(skip)]
    pub secret_files: SecretFiles,
}

#[derive(Debug, Clone, Deserialize)]
pub struct PlanhatSettings {
    pub base_url: Url,
    #[serde(deserialize_with = "secret")]
    pub token: Option<SecretString>,
    token_file: PathBuf,
    pub page_size: u32,
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
    #[serde(deserialize_with = "duration")]
    pub history: Duration,
    #[serde(deserialize_with = "sorted")]
    pub sorted: Vec<&'static Object>,
    #[serde(deserialize_with = "duration")]
    pub reconcile_every: Duration,
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
    hash_key: Option<SecretString>,
    hash_key_file: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DaemonSettings {
    pub schedule: String,
    pub time_zone: String,
    #[serde(deserialize_with = "duration")]
    pub jitter: Duration,
    #[serde(deserialize_with = "duration")]
    pub retry_after: Duration,
    #[serde(deserialize_with = "address")]
    pub listen: Option<SocketAddr>,
    #[serde(deserialize_with = "duration")]
    pub stuck_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NotifySettings {
    #[serde(deserialize_with = "secret")]
    pub webhook_url: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    pub webhook_secret: Option<SecretString>,
    pub format: Format,
    #[serde(deserialize_with = "secret")]
    pub ping_url: Option<SecretString>,
    #[serde(deserialize_with = "duration")]
    pub stale_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DatabaseSettings {
    #[serde(deserialize_with = "secret")]
    pub url: Option<SecretString>,
    password_file: PathBuf,
    pub schema: String,
    pub max_connections: u32,
    #[serde(deserialize_with = "duration")]
    pub reconnect_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub statement_timeout: Duration,
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct LogSettings {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    Text,
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<LogFormat, String> {
        match text.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("{text:?} is neither \"text\" nor \"json\"")),
        }
    }
}

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
    #[error("could not read the token from {}", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
    #[error("could not read the password from {}", path.display())]
    PasswordFile { path: PathBuf, source: std::io::Error },
    #[error("could not read the key from {}", path.display())]
    KeyFile { path: PathBuf, source: std::io::Error },
    #[error("setting {key:?} {problem}")]
    Bad { key: String, problem: String },
}

impl From<schedule::ScheduleError> for SettingsError {
    fn from(error: schedule::ScheduleError) -> SettingsError {
        let key = match error {
            schedule::ScheduleError::Cron { .. } | schedule::ScheduleError::Never(_) | schedule::ScheduleError::Ends(_) => {
                "daemon.schedule"
            }
            schedule::ScheduleError::Zone(_) => "daemon.time_zone",
            schedule::ScheduleError::Jitter { .. } => "daemon.jitter",
        };
        SettingsError::Bad { key: key.to_owned(), problem: format!("does not work: {error}") }
    }
}

impl Settings {
    fn checked(mut self) -> Result<Settings, SettingsError> {
        (self.rules, self.ignore_changes) = self.property_rules()?;
        let bad = |key: &str, problem: &str| Err(SettingsError::Bad { key: key.to_owned(), problem: problem.to_owned() });
        let url = &self.planhat.base_url;
        let loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => return bad("planhat.base_url", "has to begin with https://, so that nobody on the way can read the token"),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return bad("planhat.base_url", "has a user or password in it; the token goes to planhat.token");
        }
        if self.planhat.page_size == 0 {
            return bad("planhat.page_size", "has to be at least 1");
        }
        if self.pages.overlap > 1 {
            return bad("pages.overlap", "is 1 or 0");
        }
        if self.sync.concurrency == 0 {
            return bad("sync.concurrency", "has to be at least 1");
        }
        if self.database.statement_timeout < Duration::from_millis(100) {
            return bad("database.statement_timeout", "leaves no statement any time; \"5min\" is usual");
        }
        if self.database.max_connections == 0 {
            return bad("database.max_connections", "has to be at least 1");
        }
        if self.planhat.max_page_bytes == 0 {
            return bad("planhat.max_page_bytes", "is 0, which leaves no room for an answer; 67108864 (64 MB) works");
        }
        self.check_durations()?;
        if self.sync.history > LONGEST_HISTORY || self.sync.lookback > LONGEST_HISTORY {
            return bad("sync.history or sync.lookback", "is longer than 200 years; `backfill --all` reads everything");
        }
        if let Some(object) = self.sync.sorted.iter().find(|object| object.sweeps().is_empty()) {
            let problem = format!("names {}, whose records have no time of their last edit to sort by", object.name);
            return bad("sync.sorted", &problem);
        }
        if self.deletions.max_percent > 100 {
            return bad("deletions.max_percent", "is more than 100");
        }
        if self.sync.reject_percent > 100 {
            return bad("sync.reject_percent", "is more than 100, which is never");
        }
        if self.sync.reconcile_every > LONGEST_HISTORY {
            return bad("sync.reconcile_every", "is longer than 200 years; \"0s\" turns it off");
        }
        let Settings { daemon, sync, actions, notify, database, .. } = &self;
        if [
            daemon.jitter, database.reconnect_timeout, database.statement_timeout, daemon.retry_after, daemon.stuck_after,
            sync.keep_runs, actions.keep, notify.stale_after,
        ]
        .iter()
        .any(|duration| *duration > LONGEST_HISTORY)
        {
            return bad(
                "daemon, database, sync.keep_runs, actions.keep or notify.stale_after",
                "has a duration of more than 200 years",
            );
        }
        self.schedule("")?;
        if let Err((key, problem)) = notify.check() {
            return bad(key, &problem);
        }
        let is_level = |part: &str| part.contains('=') || LEVELS.contains(&part.trim().to_lowercase().as_str());
        if !self.log.level.split(',').all(is_level) {
            return bad("log.level", "is error, warn, info, debug or trace, or a filter like \"info,sqlx=debug\"");
        }
        let schema = &self.database.schema;
        if schema.is_empty() || schema.len() > 63 || schema == store::OWN_SCHEMA || schema.starts_with("pg_") {
            return bad("database.schema", "has to be a schema for the data alone: 1 to 63 bytes, not planhat_sync, not pg_…");
        }
        Ok(self)
    }

    /// A duration of zero turns something off only where its comment says so; elsewhere it would come at once, every time.
    fn check_durations(&self) -> Result<(), SettingsError> {
        let Settings { planhat, sync, daemon, notify, .. } = self;
        let bad = |key: &str, problem: String| Err(SettingsError::Bad { key: key.to_owned(), problem });
        for (key, duration, outcome, usual) in [
            ("planhat.connect_timeout", planhat.connect_timeout, "no connection would be made in time", "10s"),
            ("planhat.request_timeout", planhat.request_timeout, "no answer would come in time", "3min"),
            ("sync.lookback", sync.lookback, "a change that a listing shows late would be missed", "72h"),
            (
                "sync.history",
                sync.history,
                "a first load would leave out all that has a time (`backfill --all` reads everything)",
                "4years",
            ),
            ("sync.keep_runs", sync.keep_runs, "each run would be forgotten at once", "180days"),
            ("daemon.stuck_after", daemon.stuck_after, "each run would be stuck from the beginning", "30min"),
            ("notify.stale_after", notify.stale_after, "the data would be stale as soon as it is stored", "26h"),
        ] {
            if duration.is_zero() {
                return bad(key, format!("is \"0s\": {outcome}; {usual:?} is usual"));
            }
        }
        if daemon.stuck_after < planhat.request_timeout {
            let [stuck, request] = [daemon.stuck_after, planhat.request_timeout].map(format_duration);
            let works = format_duration(planhat.request_timeout * 10);
            let problem = format!(
                "is \"{stuck}\", shorter than the \"{request}\" that a single answer may take (planhat.request_timeout), so that a run would be called stuck while it waits for one; \"{works}\" works"
            );
            return bad("daemon.stuck_after", problem);
        }
        Ok(())
    }

    /// What works and is probably not meant: for the log of the daemon, and for `check`. Each with the name of its setting.
    pub fn warnings(&self, now: DateTime<Utc>) -> Vec<(&'static str, String)> {
        let DaemonSettings { schedule: cron, jitter, .. } = &self.daemon;
        let Ok(schedule) = self.schedule("") else { return Vec::new() };
        let (longest, stale_after) = (schedule.longest_interval(now), self.notify.stale_after);
        if stale_after >= longest + *jitter {
            return Vec::new();
        }
        // Room for the run itself.
        let works = format_duration(longest + *jitter + longest / 24);
        let [stale, longest, jitter] = [stale_after, longest, *jitter].map(format_duration);
        vec![(
            "notify.stale_after",
            format!(
                "is \"{stale}\", shorter than the time between two runs of the daemon ({longest} by daemon.schedule {cron:?}, and {jitter} of daemon.jitter), so that good data is called stale before the next one; \"{works}\" works"
            ),
        )]
    }

    /// When the daemon runs. `host` and the workspace tell an installation from others.
    pub fn schedule(&self, host: &str) -> Result<Schedule, schedule::ScheduleError> {
        let DaemonSettings { schedule, time_zone, jitter, .. } = &self.daemon;
        let installation = format!("{host} {} {}", self.planhat.base_url, self.database.schema);
        Schedule::new(schedule, time_zone, *jitter, &installation)
    }
}

impl NotifySettings {
    /// What is wrong, and with which key.
    fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(url) = &self.webhook_url {
            const KEY: &str = "notify.webhook_url";
            let url = Url::parse(url.expose_secret()).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
            let url = url.ok_or((KEY, "has to begin with https:// or http://".to_owned()))?;
            if let Some((service, format)) = Format::of_service(&url)
                && self.format == Format::Standard
            {
                let problem =
                    format!("is an address of {service}, which takes only its own messages: set notify.format = {format:?} too");
                return Err((KEY, problem));
            }
        }
        if let Some(secret) = &self.webhook_secret {
            Secret::parse(secret.expose_secret()).map_err(|problem| ("notify.webhook_secret", problem.to_owned()))?;
        }
        if let Some(url) = &self.ping_url {
            PingUrl::parse(url.expose_secret()).map_err(|problem| ("notify.ping_url", problem.to_owned()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::rules::Rule;
    use std::collections::HashMap;
    use std::ffi::OsString;
    use std::io::Write;
    use std::path::Path;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        load_without_file(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// What a person reads: the message and its causes.
    fn message(result: Result<Settings, SettingsError>) -> String {
        format!("{:#}", anyhow::Error::from(result.unwrap_err()))
    }

    #[test]
    fn the_defaults_alone_are_valid() {
        let settings = with(&[("HOME", "/home/ann")]).unwrap();
        assert_eq!(settings.planhat.page_size, 100);
        assert_eq!(settings.planhat.objects.len(), 13);
        assert_eq!(settings.sync.lookback, Duration::from_secs(72 * 3600));
        assert!(settings.planhat.token.is_none() && settings.database.url.is_none());
        assert_eq!(settings.database.data_dir, Path::new("/home/ann/.local/share/planhat-sync"));
    }

    #[test]
    fn the_environment_goes_before_the_file_and_the_file_before_the_defaults() {
        let file = file("[planhat]\npage_size = 7\ncalls_per_minute = 5\n");
        let settings = load(Some(file.path()), [("PLANHAT_SYNC__PLANHAT__PAGE_SIZE".to_owned(), "9".to_owned())].into()).unwrap();
        assert_eq!((settings.planhat.page_size, settings.planhat.calls_per_minute, settings.sync.concurrency), (9, 5, 4));
    }

    #[test]
    fn customary_names_are_understood_and_ours_go_first() {
        let settings = with(&[("DATABASE_URL", "postgres://a/b"), ("PLANHAT_API_TOKEN", "0123")]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "0123");
        assert_eq!(settings.database.url.unwrap().expose_secret(), "postgres://a/b");
        let settings = with(&[("PLANHAT_API_TOKEN", "other"), ("PLANHAT_SYNC__PLANHAT__TOKEN", "ours")]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "ours");
    }

    #[test]
    fn the_token_can_stand_in_a_file_or_a_systemd_credential() {
        let token = file("from-file\n");
        let settings = with(&[("PLANHAT_API_TOKEN_FILE", token.path().to_str().unwrap())]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "from-file\n");

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("planhat_api_token"), "from-systemd").unwrap();
        let settings = with(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "from-systemd");

        let missing = message(with(&[("PLANHAT_API_TOKEN_FILE", "/nowhere/token")]));
        assert!(missing.starts_with("could not read the token from /nowhere/token"), "{missing}");
    }

    #[test]
    fn an_unknown_setting_is_refused_with_the_nearest_known_one() {
        insta::assert_snapshot!(
            message(with(&[("PLANHAT_SYNC__PLANHAT__PAGESIZE", "9")])),
            @r#"unknown setting "planhat.pagesize" in the environment; did you mean "planhat.page_size"?"#
        );
        let file = file("[databse]\nurl = 'x'\n");
        let refused = message(load(Some(file.path()), HashMap::new()));
        assert!(refused.ends_with(r#"did you mean "database.url"?"#), "{refused}");
    }

    #[test]
    fn bad_values_name_their_key() {
        for (name, value, key) in [
            ("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "many", "planhat.page_size"),
            ("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", "0", "planhat.page_size"),
            ("PLANHAT_SYNC__SYNC__LOOKBACK", "three days", "sync.lookback"),
            ("PLANHAT_API_URL", "http://api.planhat.com", "planhat.base_url"),
            ("PLANHAT_API_URL", "api.planhat.com", "planhat.base_url"),
            ("PLANHAT_API_URL", "https://user:secret@api.planhat.com", "planhat.base_url"),
            ("PLANHAT_SYNC__DATABASE__SCHEMA", "planhat_sync", "database.schema"),
            ("PLANHAT_SYNC__PLANHAT__OBJECTS", "companys", "planhat.objects"),
            ("PLANHAT_SYNC__LOG__FORMAT", "xml", "log.format"),
            ("PLANHAT_SYNC__NOTIFY__FORMAT", "xml", "notify.format"),
            ("PLANHAT_SYNC__LOG__LEVEL", "loud", "log.level"),
            ("PLANHAT_SYNC__SYNC__HISTORY", "300000years", "sync.history"),
            ("PLANHAT_SYNC__PLANHAT__REQUEST_TIMEOUT", "0s", "planhat.request_timeout"),
            ("PLANHAT_SYNC__PLANHAT__MAX_PAGE_BYTES", "0", "planhat.max_page_bytes"),
            ("PLANHAT_SYNC__DAEMON__SCHEDULE", "every day", "daemon.schedule"),
            ("PLANHAT_SYNC__DAEMON__TIME_ZONE", "Mars/Olympus", "daemon.time_zone"),
            ("PLANHAT_SYNC__ACTIONS__INITIAL", "perhaps", "actions.initial"),
            ("PLANHAT_SYNC__ACTIONS__KEEP", "a while", "actions.keep"),
            ("PLANHAT_SYNC__ACTIONS__KEEP", "300years", "actions.keep"),
        ] {
            let message = message(with(&[(name, value)]));
            assert!(message.contains(key), "{name}={value}: {message}");
        }
    }

    #[test]
    fn whom_to_tell_is_checked_by_its_form() {
        let refused = |variables: &[(&str, &str)]| {
            let names = variables.iter().map(|(name, value)| (format!("PLANHAT_SYNC__NOTIFY__{name}"), *value));
            let names: Vec<_> = names.collect();
            let result = with(&names.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>());
            result.map_or_else(|error| format!("{:#}", anyhow::Error::from(error)), |_| "taken".to_owned())
        };
        insta::assert_snapshot!([
            refused(&[("WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")]),
            refused(&[("WEBHOOK_URL", "https://discord.com/api/webhooks/1/x")]),
            refused(&[("WEBHOOK_URL", "https://prod-1.westeurope.logic.azure.com:443/workflows/x")]),
            refused(&[("WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x"), ("FORMAT", "slack")]),
            refused(&[("WEBHOOK_URL", "example.org/hook")]),
            refused(&[("WEBHOOK_SECRET", "whsec_no base64")]),
            refused(&[("PING_URL", "https://hc-ping.com/key/slug?create=1")]),
            refused(&[("PING_URL", "https://kuma/api/push/T?status=up&msg=OK&ping=")]),
            refused(&[("PING_URL", "https://example.org/ping?state=up")]),
            refused(&[("PING_URL", "example.org/ping")]),
        ].join("\n"), @r#"
        setting "notify.webhook_url" is an address of Slack, which takes only its own messages: set notify.format = "slack" too
        setting "notify.webhook_url" is an address of Discord, which takes only its own messages: set notify.format = "discord" too
        setting "notify.webhook_url" is an address of Microsoft Teams, which takes only its own messages: set notify.format = "teams" too
        taken
        setting "notify.webhook_url" has to begin with https:// or http://
        setting "notify.webhook_secret" is no base64 behind whsec_
        taken
        taken
        setting "notify.ping_url" has a query of which is not known how it tells a failure: there are addresses of healthchecks (…/ping/NAME?create=1), of Uptime Kuma (…/api/push/TOKEN?status=up&msg=OK&ping=), and those without a query, which get /start and /fail behind them
        setting "notify.ping_url" has to begin with https:// or http://
        "#);
    }

    #[test]
    fn an_empty_variable_is_one_that_is_not_set() {
        let token = file("from-file");
        let settings =
            with(&[("PLANHAT_API_TOKEN", ""), ("PLANHAT_API_TOKEN_FILE", token.path().to_str().unwrap()), ("DATABASE_URL", "")]);
        let settings = settings.unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "from-file");
        assert!(settings.database.url.is_none());
    }

    #[test]
    fn a_mistake_in_the_file_is_named_by_its_line_and_not_shown() {
        let file = file("[planhat]\npage_size = 5\n\n[database]\nurl = postgres://u:hunter2@h/db\n");
        let shown = message(load(Some(file.path()), HashMap::new()));
        assert!(shown.contains("line 5: "), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[cfg(unix)]
    #[test]
    fn a_variable_of_ours_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(vec![b'x', 0xff]);
        assert!(readable([("LANG".into(), odd())].into_iter()).unwrap().is_empty());
        let error = readable([("DATABASE_URL".into(), odd())].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "the variable DATABASE_URL is not UTF-8");
    }

    #[test]
    fn objects_are_a_list_a_text_with_commas_or_all() {
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
    fn what_may_be_kept_of_an_object_is_said_in_a_table_of_its_own() {
        let file = file(
            "[privacy]\nhash_key = 'sixteen or more characters'\n[objects.endusers]\nexclude = ['phone', 'custom.Days, left']\n\
             hash = ['email']\nignore_changes = ['usage', 'custom.Age']\n[objects.companies]\nredact = ['custom']\n",
        );
        let settings =
            load(Some(file.path()), [("PLANHAT_SYNC__OBJECTS__NPS__HASH".into(), "email, comment".into())].into()).unwrap();
        let rule = |object, origin, name| settings.rules[object].of(origin, name);
        use planhat_model::record::Origin::{Custom, Property};
        assert_eq!(rule("endusers", Property, "phone"), Rule::Exclude);
        assert_eq!(rule("endusers", Custom, "Days, left"), Rule::Exclude);
        assert_eq!((rule("endusers", Property, "email"), rule("nps", Property, "comment")), (Rule::Hash, Rule::Hash));
        assert_eq!((rule("companies", Custom, "x"), rule("companies", Property, "x")), (Rule::Redact, Rule::Include));
        let ignore_changes = &settings.ignore_changes["endusers"];
        assert!(ignore_changes.of(Property, "usage").is_some() && ignore_changes.of(Custom, "usage").is_none());
        assert!(!settings.rules.contains_key("users"));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_with_what_to_do() {
        let refused = |text: &str| {
            let file = file(text);
            message(load(Some(file.path()), HashMap::new())).replace(&file.path().display().to_string(), "FILE")
        };
        let all = [
            "[objects.endusers]\nhash = ['email']\n",
            "[privacy]\nhash_key = 'short'\n",
            "[objects.endusers]\nexclude = ['_id']\n",
            "[objects.endusers]\nignore_changes = ['_id']\n",
            "[objects.endusers]\nexclude = ['phone']\nredact = ['phone']\n",
            "[objects.endusers]\nexclude = ['custom']\nredact = ['custom.*']\n",
            "[objects.endusers]\ninclude = []\n",
            "[objects.endusers]\nexclude = ['planhat__phone']\n",
            "[objects.endusers]\nexclude = ['custom.']\n",
            "[objects.endusers]\nexclude = ['phone ']\n",
            "[objects.endusers]\nexlude = ['phone']\n",
            "[objects.enduser]\nexclude = ['phone']\n",
            "[objects.enduser]\n",
            "[privacy]\nhash_key_file = '/nowhere/key'\n",
            "objects = ['endusers']\n",
        ];
        insta::assert_snapshot!(all.map(refused).join("\n"), @r#"
        setting "objects.endusers.hash" needs a key: set privacy.hash_key or privacy.hash_key_file (`openssl rand -hex 32` makes one)
        setting "privacy.hash_key" is shorter than 16 characters; `openssl rand -hex 32` makes a good one
        setting "objects.endusers.exclude" names "_id", by which rows are told apart: it is always stored as it is
        setting "objects.endusers.ignore_changes" names "_id", by which rows are told apart: it is always stored as it is
        setting "objects.endusers" names "phone" twice: only one of include, exclude, hash and redact can be right
        setting "objects.endusers" names "custom.*" twice: only one of include, exclude, hash and redact can be right
        setting "objects.endusers.include" names nothing: leave it out, or name what is to be stored
        setting "objects.endusers.exclude" names "planhat__phone", a column; write the name at Planhat, as `planhat-sync schema OBJECT` shows it, custom fields as "custom.NAME"
        setting "objects.endusers.exclude" names "custom.", which is no name
        setting "objects.endusers.exclude" names "phone ", with a space that no property has
        unknown setting "objects.endusers.exlude" in FILE; did you mean "objects.endusers.exclude"?
        unknown setting "objects.enduser.exclude" in FILE; did you mean "objects.endusers.exclude"?
        unknown object "enduser"; did you mean "endusers"? (there are companies, endusers, licenses, opportunities, projects, tasks, tickets, nps, conversations, assets, churn, issues, users, invoices, campaigns, objectives, sales, workflows, workspaces, timeentries, timesheets, deals, lineitems, products, customfields)
        could not read the key from /nowhere/key: No such file or directory (os error 2)
        unknown setting "objects" in FILE; did you mean "planhat.objects"?
        "#);
    }

    #[test]
    fn the_key_can_stand_in_a_file_or_a_systemd_credential() {
        let hash = ("PLANHAT_SYNC__OBJECTS__ENDUSERS__HASH", "email");
        let key = file("sixteen or more characters\n");
        let in_file = with(&[hash, ("PLANHAT_SYNC__PRIVACY__HASH_KEY_FILE", key.path().to_str().unwrap())]).unwrap();
        assert_eq!(in_file.privacy.hash_key.unwrap().expose_secret(), "sixteen or more characters");

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("privacy_hash_key"), "sixteen or more from systemd").unwrap();
        let from_systemd = with(&[hash, ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]).unwrap();
        assert_eq!(from_systemd.privacy.hash_key.unwrap().expose_secret(), "sixteen or more from systemd");
    }

    #[test]
    fn durations_and_schedules_that_cannot_work_are_refused_with_one_that_does() {
        let refused = |name: &str, value: &str| message(with(&[(&format!("PLANHAT_SYNC__{name}"), value)]));
        let all = [
            refused("PLANHAT__CONNECT_TIMEOUT", "0s"),
            refused("SYNC__LOOKBACK", "0s"),
            refused("SYNC__HISTORY", "0s"),
            refused("SYNC__KEEP_RUNS", "0s"),
            refused("DAEMON__STUCK_AFTER", "0s"),
            refused("NOTIFY__STALE_AFTER", "0s"),
            refused("DAEMON__STUCK_AFTER", "1min"),
            refused("DAEMON__SCHEDULE", "0 3 31 2 *"),
            refused("DAEMON__SCHEDULE", "0 0 0 1 1 * 2020"),
            refused("DAEMON__SCHEDULE", "*/5 * * * *"),
        ];
        insta::assert_snapshot!(all.join("\n"), @r#"
        setting "planhat.connect_timeout" is "0s": no connection would be made in time; "10s" is usual
        setting "sync.lookback" is "0s": a change that a listing shows late would be missed; "72h" is usual
        setting "sync.history" is "0s": a first load would leave out all that has a time (`backfill --all` reads everything); "4years" is usual
        setting "sync.keep_runs" is "0s": each run would be forgotten at once; "180days" is usual
        setting "daemon.stuck_after" is "0s": each run would be stuck from the beginning; "30min" is usual
        setting "notify.stale_after" is "0s": the data would be stale as soon as it is stored; "26h" is usual
        setting "daemon.stuck_after" is "1m", shorter than the "3m" that a single answer may take (planhat.request_timeout), so that a run would be called stuck while it waits for one; "30m" works
        setting "daemon.schedule" does not work: "0 3 31 2 *" never comes; "0 3 * * *" is every day at three
        setting "daemon.schedule" does not work: "0 0 0 1 1 * 2020" names years, after which nothing would run any more; leave them out ("0 3 * * *" is every day at three)
        setting "daemon.jitter" does not work: 10m is longer than the 5m between two runs of "*/5 * * * *", so that one would come after the next; 30s works
        "#);
        for off in ["DAEMON__RETRY_AFTER", "DAEMON__JITTER", "SYNC__RECONCILE_EVERY", "ACTIONS__KEEP"] {
            assert!(with(&[(&format!("PLANHAT_SYNC__{off}"), "0s")]).is_ok(), "{off}");
        }
    }

    #[test]
    fn data_that_would_be_called_stale_between_two_good_runs_is_a_doubt_and_no_mistake() {
        let now = "2026-11-21T12:00:00Z".parse().unwrap();
        let warnings = |variables: &[(&str, &str)]| with(variables).unwrap().warnings(now);
        let schedule = "PLANHAT_SYNC__DAEMON__SCHEDULE";
        assert_eq!(warnings(&[]), []);
        assert_eq!(warnings(&[(schedule, "0 3 * * 1"), ("PLANHAT_SYNC__NOTIFY__STALE_AFTER", "8days")]), []);
        let said: Vec<_> = ["0 3 * * 1", "0 3 1 1 *"].iter().flat_map(|cron| warnings(&[(schedule, cron)])).collect();
        insta::assert_snapshot!(said.iter().map(|(key, doubt)| format!("{key} {doubt}")).collect::<Vec<_>>().join("\n"), @r#"
        notify.stale_after is "1day 2h", shorter than the time between two runs of the daemon (7days by daemon.schedule "0 3 * * 1", and 10m of daemon.jitter), so that good data is called stale before the next one; "7days 7h 10m" works
        notify.stale_after is "1day 2h", shorter than the time between two runs of the daemon (1year 18h by daemon.schedule "0 3 1 1 *", and 10m of daemon.jitter), so that good data is called stale before the next one; "1year 16days 10m" works
        "#);
    }

    /// A usual folder of its own, with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        folder
    }

    fn in_folder(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        sources::load_in(folder.path(), None, variables).unwrap()
    }

    fn exposed(secret: &Option<SecretString>) -> Option<&str> {
        secret.as_ref().map(ExposeSecret::expose_secret)
    }

    #[test]
    fn by_hand_settings_and_secrets_come_from_the_folder_of_the_service() {
        let folder = folder(&[
            ("config.toml", "[database]\nurl = 'postgres://planhat@h/d'\n[objects.users]\nhash = ['email']\n"),
            ("planhat_api_token", "the token\n"),
            ("database_password", "the password\n"),
            ("privacy_hash_key", "sixteen or more characters\n"),
            ("environment", "# by hand\nPLANHAT_SYNC__SYNC__LOOKBACK=96h\nPATH=/nowhere\n"),
        ]);
        let settings = in_folder(&folder, &[]);
        assert_eq!(exposed(&settings.planhat.token), Some("the token\n"));
        assert_eq!(exposed(&settings.database.url), Some("postgres://planhat:the%20password@h/d"));
        assert_eq!(exposed(&settings.privacy.hash_key), Some("sixteen or more characters"));
        assert_eq!(settings.sync.lookback, Duration::from_secs(96 * 3600));
        let used: Vec<_> = settings.secret_files.used.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(used, ["planhat_api_token", "privacy_hash_key", "database_password"]);
    }

    #[test]
    fn what_is_said_explicitly_goes_before_the_folder_and_gets_no_password_from_it() {
        let folder = folder(&[
            ("planhat_api_token", "of the folder"),
            ("database_password", "of the folder"),
            ("environment", "DATABASE_URL=postgres://a@folder/d\nPLANHAT_API_TOKEN=of the environment\n"),
        ]);
        let by_hand = in_folder(&folder, &[]);
        assert_eq!(exposed(&by_hand.database.url), Some("postgres://a:of%20the%20folder@folder/d"));
        assert_eq!(exposed(&by_hand.planhat.token), Some("of the environment"));
        let explicit = in_folder(&folder, &[("DATABASE_URL", "postgres://a@elsewhere/d"), ("PLANHAT_API_TOKEN", "explicit")]);
        assert_eq!(exposed(&explicit.database.url), Some("postgres://a@elsewhere/d"));
        assert_eq!(exposed(&explicit.planhat.token), Some("explicit"));

        // Another installation, and a service, which has been handed what it needs.
        let other = file("[planhat]\npage_size = 7\n");
        let other = sources::load_in(folder.path(), Some(other.path()), HashMap::new()).unwrap();
        assert!(other.planhat.token.is_none() && other.database.url.is_none());
        let credentials = tempfile::tempdir().unwrap();
        let service = in_folder(&folder, &[("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap())]);
        assert!(service.planhat.token.is_none() && service.database.url.is_none());
    }

    #[test]
    fn files_with_a_secret_in_them_are_known_whatever_they_are_called() {
        let used = |name: &str, text: &str| {
            let folder = folder(&[(name, text)]);
            in_folder(&folder, &[]).secret_files.used.len()
        };
        assert_eq!(used("config.toml", "[planhat]\ntoken = 'x'\n"), 1);
        assert_eq!(used("config.toml", "[database]\nurl = 'postgres://a:b@c/d'\n"), 1);
        assert_eq!(used("config.toml", "[database]\nurl = 'postgres://a@c/d'\n"), 0);
        assert_eq!(used("environment", "DATABASE_URL=postgres:///d?host=/run&password=x\n"), 1);
        assert_eq!(used("environment", "DATABASE_URL=postgres://a@c/d\n"), 0);
    }

    #[test]
    fn a_setting_that_nobody_knows_in_the_environment_of_the_folder_is_named_with_its_file() {
        let folder = folder(&[("environment", "PLANHAT_SYNC__SYNC__LOKBACK=1h\n")]);
        let refused = message(sources::load_in(folder.path(), None, HashMap::new()));
        assert!(refused.ends_with("/environment; did you mean \"sync.lookback\"?"), "{refused}");
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
