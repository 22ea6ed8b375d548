//! Settings: compiled-in defaults, overridden by a file, overridden by the environment.
//!
//! `config/default.toml` has every key, so the documentation is the default and a key that is not in it
//! is a mistake. The environment comes in as an argument, so that tests touch no real one. What is
//! returned is checked and typed: nothing further down meets a bad setting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use config::{Config, Environment, File, FileFormat, Source, Value, ValueKind};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use url::Url;

use crate::catalog;
use crate::fields::Fields;
use crate::object::{ByObject, Object};
use crate::privacy::{Rule, Rules};
use crate::schedule::{self, Schedule};
use crate::store;

const DEFAULTS: &str = include_str!("../config/default.toml");
/// Read when `--config` names no other file; it may be missing.
const USUAL_FILE: &str = "/etc/planhat-sync/config.toml";
const PREFIX: &str = "PLANHAT_SYNC";
/// Longer ago there is no instant that can be subtracted from.
const LONGEST_HISTORY: Duration = Duration::from_secs(200 * 366 * 86_400);
/// Shorter ones can be tried out.
const SHORTEST_KEY_BYTES: usize = 16;
/// What can be said of the properties of an object, in `[objects.NAME]`.
const OF_PROPERTIES: [&str; 5] = ["include", "exclude", "hash", "redact", "volatile"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    pub planhat: Planhat,
    pub pages: Pages,
    pub sync: Sync,
    pub actions: Actions,
    pub privacy: Privacy,
    #[serde(default)]
    objects: BTreeMap<String, OfProperties>,
    pub daemon: Daemon,
    pub notify: Notify,
    pub database: Database,
    pub log: Log,
    /// What of records may be kept, and how.
    #[serde(skip)]
    pub rules: ByObject<Rules>,
    /// What does not by itself make a row another one, besides the catalogue.
    #[serde(skip)]
    pub volatile: ByObject<Fields<()>>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Planhat {
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
pub struct Pages {
    pub overlap: u8,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Sync {
    pub concurrency: usize,
    #[serde(deserialize_with = "duration")]
    pub lookback: Duration,
    #[serde(deserialize_with = "duration")]
    pub history: Duration,
    #[serde(deserialize_with = "sorted")]
    pub sorted: Vec<&'static Object>,
    #[serde(deserialize_with = "duration")]
    pub reconcile_every: Duration,
    pub brake_percent: u8,
    pub brake_rows: u32,
    #[serde(deserialize_with = "duration")]
    pub keep_runs: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Actions {
    pub enabled: bool,
    pub initial: bool,
    #[serde(deserialize_with = "duration")]
    pub keep: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Privacy {
    #[serde(deserialize_with = "secret")]
    hash_key: Option<SecretString>,
    hash_key_file: PathBuf,
}

/// Names of properties and custom fields of one object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OfProperties {
    #[serde(deserialize_with = "names_if_any")]
    include: Option<Vec<String>>,
    #[serde(deserialize_with = "names")]
    exclude: Vec<String>,
    #[serde(deserialize_with = "names")]
    hash: Vec<String>,
    #[serde(deserialize_with = "names")]
    redact: Vec<String>,
    #[serde(deserialize_with = "names")]
    volatile: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Daemon {
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
pub struct Notify {
    #[serde(deserialize_with = "secret")]
    pub webhook_url: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    pub webhook_secret: Option<SecretString>,
    #[serde(deserialize_with = "secret")]
    pub ping_url: Option<SecretString>,
    #[serde(deserialize_with = "duration")]
    pub stale_after: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Database {
    #[serde(deserialize_with = "secret")]
    pub url: Option<SecretString>,
    password_file: PathBuf,
    pub schema: String,
    pub max_connections: u32,
    #[serde(deserialize_with = "duration")]
    pub patience: Duration,
    pub data_dir: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    #[error(transparent)]
    Schedule(#[from] schedule::Error),
    #[error("setting {key:?} {problem}")]
    Bad { key: String, problem: String },
}

/// Loads the settings. `file` is the one named by the user, `environment` all variables.
pub fn load(file: Option<&Path>, environment: HashMap<String, String>) -> Result<Settings, Error> {
    match file {
        Some(path) => merge(Some((path, true)), environment),
        None => merge(Some((Path::new(USUAL_FILE), false)), environment),
    }
}

/// Loads the settings from the defaults and these variables alone.
pub fn load_without_file(environment: HashMap<String, String>) -> Result<Settings, Error> {
    merge(None, environment)
}

/// `file` comes with whether it has to be there.
fn merge(file: Option<(&Path, bool)>, environment: HashMap<String, String>) -> Result<Settings, Error> {
    let unreadable = |source| Error::Unreadable { source };
    let defaults = File::from_str(DEFAULTS, FileFormat::Toml);
    let known = keys_of(&defaults).map_err(unreadable)?;

    let home = environment.clone();
    // Empty is how compose files and unit files say "not set".
    let mut variables: HashMap<_, _> = environment.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    take_customary_names(&mut variables)?;
    let from_environment =
        Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(Some(variables.into_iter().collect()));
    refuse_unknown(&known, keys_of(&from_environment).map_err(unreadable)?, "the environment")?;

    let mut builder = Config::builder().add_source(defaults);
    if let Some((path, required)) = file
        && let Some(text) = text_of(path, required)?
    {
        let from_file = File::from_str(&text, FileFormat::Toml);
        refuse_unknown(&known, keys_of(&from_file).map_err(unreadable)?, &path.display().to_string())?;
        builder = builder.add_source(from_file);
    }
    let merged = builder.add_source(from_environment).build();
    let mut settings: Settings = merged.map_err(unreadable)?.try_deserialize().map_err(unreadable)?;
    if settings.planhat.token.is_none() && !settings.planhat.token_file.as_os_str().is_empty() {
        settings.planhat.token = Some(token_in(&settings.planhat.token_file)?.into());
    }
    if !settings.database.password_file.as_os_str().is_empty() {
        settings.database.url = with_password(settings.database.url, &settings.database.password_file)?;
    }
    if settings.privacy.hash_key.is_none() && !settings.privacy.hash_key_file.as_os_str().is_empty() {
        settings.privacy.hash_key = Some(key_in(&settings.privacy.hash_key_file)?);
    }
    if settings.database.data_dir.as_os_str().is_empty() {
        settings.database.data_dir = usual_data_dir(&home);
    }
    settings.checked()
}

/// The text of a settings file that is TOML.
fn text_of(path: &Path, required: bool) -> Result<Option<String>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::File { path: path.to_owned(), source }),
    };
    if let Err(error) = toml::from_str::<toml::Table>(&text) {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        return Err(Error::Toml { path: path.to_owned(), line, problem: error.message().to_owned() });
    }
    Ok(Some(text))
}

/// The variables of a process. One that is ours and not readable is refused rather than left out.
pub fn readable(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<HashMap<String, String>, Error> {
    let mut variables = HashMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => _ = variables.insert(name, value),
            Err(_) if name.starts_with("PLANHAT") || name == "DATABASE_URL" => return Err(Error::NotUtf8(name)),
            Err(_) => {}
        }
    }
    Ok(variables)
}

/// The customary variables stand for ours, where ours is not set.
fn take_customary_names(variables: &mut HashMap<String, String>) -> Result<(), Error> {
    const TOKEN: &str = "PLANHAT_SYNC__PLANHAT__TOKEN";
    for (customary, ours) in [
        ("DATABASE_URL", "PLANHAT_SYNC__DATABASE__URL"),
        ("PLANHAT_API_URL", "PLANHAT_SYNC__PLANHAT__BASE_URL"),
        ("PLANHAT_API_TOKEN", TOKEN),
    ] {
        if let Some(value) = variables.get(customary).cloned() {
            variables.entry(ours.to_owned()).or_insert(value);
        }
    }
    let credentials = variables.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let credential = |name: &str| credentials.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
    if let Some(path) = credential("database_password") {
        variables.entry("PLANHAT_SYNC__DATABASE__PASSWORD_FILE".to_owned()).or_insert(path.to_string_lossy().into_owned());
    }
    if let Some(path) = credential("privacy_hash_key") {
        variables.entry("PLANHAT_SYNC__PRIVACY__HASH_KEY_FILE".to_owned()).or_insert(path.to_string_lossy().into_owned());
    }
    if variables.contains_key(TOKEN) {
        return Ok(());
    }
    let named = ["PLANHAT_SYNC__PLANHAT__TOKEN_FILE", "PLANHAT_API_TOKEN_FILE"].iter().find_map(|name| variables.get(*name));
    let file = named.filter(|path| !path.is_empty()).map(PathBuf::from).or(credential("planhat_api_token"));
    if let Some(path) = file {
        variables.insert(TOKEN.to_owned(), token_in(&path)?);
    }
    Ok(())
}

fn token_in(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::TokenFile { path: path.to_owned(), source })
}

fn key_in(path: &Path) -> Result<SecretString, Error> {
    let key = std::fs::read_to_string(path).map_err(|source| Error::KeyFile { path: path.to_owned(), source })?;
    Ok(key.trim_end_matches(['\r', '\n']).into())
}

/// The URL with the password of a file; one that has its own, or is none, stays as it is.
fn with_password(url: Option<SecretString>, path: &Path) -> Result<Option<SecretString>, Error> {
    let password = std::fs::read_to_string(path).map_err(|source| Error::PasswordFile { path: path.to_owned(), source })?;
    let with = |url: &SecretString| {
        let mut parsed = Url::parse(url.expose_secret()).ok().filter(|url| url.password().is_none())?;
        parsed.set_password(Some(password.trim_end_matches(['\r', '\n']))).ok()?;
        Some(String::from(parsed).into())
    };
    Ok(url.map(|url| with(&url).unwrap_or(url)))
}

fn usual_data_dir(environment: &HashMap<String, String>) -> PathBuf {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let data = match (set("XDG_DATA_HOME"), set("HOME")) {
        (Some(data), _) => PathBuf::from(data),
        (None, Some(home)) => Path::new(home).join(".local/share"),
        (None, None) => PathBuf::from("."),
    };
    data.join("planhat-sync")
}

/// All keys of a source, written with dots.
fn keys_of(source: &impl Source) -> Result<BTreeSet<String>, config::ConfigError> {
    fn walk(prefix: &str, fields: &BTreeMap<&String, &Value>, keys: &mut BTreeSet<String>) {
        for (name, value) in fields {
            let key = if prefix.is_empty() { (*name).clone() } else { format!("{prefix}.{name}") };
            match &value.kind {
                ValueKind::Table(inner) => walk(&key, &inner.iter().collect(), keys),
                _ => drop(keys.insert(key)),
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk("", &source.collect()?.iter().collect(), &mut keys);
    Ok(keys)
}

fn refuse_unknown(known: &BTreeSet<String>, given: BTreeSet<String>, place: &str) -> Result<(), Error> {
    let of_properties =
        || catalog::OBJECTS.iter().flat_map(|object| OF_PROPERTIES.map(|list| format!("objects.{}.{list}", object.name)));
    let is_known = |key: &String| known.contains(key) || of_properties().any(|known| known == *key);
    match given.into_iter().find(|key| !is_known(key)) {
        Some(key) => {
            let of_its_kind = |known: &&String| known.starts_with("objects.") == key.starts_with("objects.");
            let known: Vec<String> = known.iter().cloned().chain(of_properties()).collect();
            let in_no_section = known.iter().find(|known| known.split_once('.').is_some_and(|(_, name)| name == key));
            let likely = nearest(&key, known.iter().filter(of_its_kind).map(String::as_str));
            let nearest = in_no_section.map(String::as_str).or(likely).map(str::to_owned);
            Err(Error::UnknownKey { key, place: place.to_owned(), nearest })
        }
        None => Ok(()),
    }
}

/// The name that was probably meant.
pub fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// The objects of these names, each once; the error says which name is wrong and which was meant.
pub fn objects_named<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static Object>, Error> {
    let mut objects: Vec<&'static Object> = Vec::new();
    let find = |name: &str| {
        catalog::object(name).ok_or_else(|| {
            let all = || catalog::OBJECTS.iter().map(|object| object.name);
            let meant = nearest(name, all()).map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
            Error::UnknownObject(format!("unknown object {name:?}{meant} (there are {})", all().collect::<Vec<_>>().join(", ")))
        })
    };
    for name in names {
        let object = find(name.as_ref().trim())?;
        if !objects.iter().any(|known| known.name == object.name) {
            objects.push(object);
        }
    }
    Ok(objects)
}

impl Settings {
    fn checked(mut self) -> Result<Settings, Error> {
        (self.rules, self.volatile) = self.of_properties()?;
        let bad = |key: &str, problem: &str| Err(Error::Bad { key: key.to_owned(), problem: problem.to_owned() });
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
        if self.database.max_connections == 0 {
            return bad("database.max_connections", "has to be at least 1");
        }
        if self.planhat.max_page_bytes == 0 || self.planhat.request_timeout.is_zero() || self.planhat.connect_timeout.is_zero() {
            return bad(
                "planhat",
                "has a bound of zero: max_page_bytes, request_timeout and connect_timeout leave no room for an answer",
            );
        }
        if self.sync.history > LONGEST_HISTORY || self.sync.lookback > LONGEST_HISTORY {
            return bad("sync.history or sync.lookback", "is longer than 200 years; `backfill --all` reads everything");
        }
        if let Some(object) = self.sync.sorted.iter().find(|object| object.sweeps().is_empty()) {
            let problem = format!("names {}, whose records have no time of their last edit to sort by", object.name);
            return bad("sync.sorted", &problem);
        }
        if self.sync.brake_percent > 100 {
            return bad("sync.brake_percent", "is more than 100");
        }
        if self.sync.reconcile_every > LONGEST_HISTORY {
            return bad("sync.reconcile_every", "is longer than 200 years; \"0s\" turns it off");
        }
        let Settings { daemon, sync, actions, notify, .. } = &self;
        if [daemon.jitter, daemon.retry_after, daemon.stuck_after, sync.keep_runs, actions.keep, notify.stale_after]
            .iter()
            .any(|duration| *duration > LONGEST_HISTORY)
        {
            return bad("daemon, sync.keep_runs, actions.keep or notify.stale_after", "has a duration of more than 200 years");
        }
        self.schedule("")?;
        for (key, url) in [("notify.webhook_url", &self.notify.webhook_url), ("notify.ping_url", &self.notify.ping_url)] {
            let is_web =
                |url: &SecretString| Url::parse(url.expose_secret()).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
            if !url.as_ref().is_none_or(is_web) {
                return bad(key, "has to begin with https:// or http://");
            }
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

    /// Every name in the rules for objects: setting, object, and the name as it is written there.
    pub fn names_of_properties(&self) -> impl Iterator<Item = (String, &'static Object, &str)> {
        self.objects.iter().filter_map(|(name, of)| Some((catalog::object(name)?, of))).flat_map(|(object, of)| {
            of.lists().into_iter().flat_map(move |(list, names)| {
                names.iter().map(move |name| (format!("objects.{}.{list}", object.name), object, name.as_str()))
            })
        })
    }

    /// What is said of the properties of objects, as far as it makes sense.
    fn of_properties(&self) -> Result<(ByObject<Rules>, ByObject<Fields<()>>), Error> {
        let key = self.privacy.hash_key.as_ref();
        if key.is_some_and(|key| key.expose_secret().len() < SHORTEST_KEY_BYTES) {
            let problem = format!("is shorter than {SHORTEST_KEY_BYTES} characters; `openssl rand -hex 32` makes a good one");
            return Err(Error::Bad { key: "privacy.hash_key".to_owned(), problem });
        }
        let (mut rules, mut volatile) = (ByObject::new(), ByObject::new());
        for (name, of) in &self.objects {
            let object = objects_named(&[name])?.remove(0).name;
            let bad = |list: &str, problem| Error::Bad { key: format!("objects.{object}{list}"), problem };
            of.check(key.is_some()).map_err(|(list, problem)| bad(&format!(".{list}"), problem))?;
            let said = of.rules().map_err(|problem| bad("", problem))?;
            if !said.is_empty() {
                rules.insert(object, Rules::new(said, key));
            }
            let mut moving = Fields::default();
            of.volatile.iter().for_each(|name| _ = moving.say(name, ()));
            volatile.insert(object, moving);
        }
        Ok((rules, volatile))
    }
}

impl OfProperties {
    fn include(&self) -> &[String] {
        self.include.as_deref().unwrap_or_default()
    }

    fn lists(&self) -> [(&'static str, &[String]); 5] {
        let OfProperties { exclude, hash, redact, volatile, .. } = self;
        [("include", self.include()), ("exclude", exclude), ("hash", hash), ("redact", redact), ("volatile", volatile)]
    }

    /// Looks for what makes no sense in a list by itself.
    fn check(&self, has_key: bool) -> Result<(), (&'static str, String)> {
        if self.include.is_some() && self.include().is_empty() {
            return Err(("include", "names nothing: leave it out, or name what is to be stored".to_owned()));
        }
        if !self.hash.is_empty() && !has_key {
            let problem = "needs a key: set privacy.hash_key or privacy.hash_key_file (`openssl rand -hex 32` makes one)";
            return Err(("hash", problem.to_owned()));
        }
        for (list, names) in self.lists() {
            if let Some((name, problem)) = names.iter().find_map(|name| Some((name, why_no_property(name)?))) {
                return Err((list, format!("names {name:?}, {problem}")));
            }
        }
        Ok(())
    }

    fn rules(&self) -> Result<Fields<Rule>, String> {
        let mut said = Fields::default();
        for (rule, names) in [
            (Rule::Include, self.include()),
            (Rule::Exclude, &self.exclude),
            (Rule::Hash, &self.hash),
            (Rule::Redact, &self.redact),
        ] {
            for name in names {
                if said.say(name, rule).is_some_and(|before| before != rule) {
                    return Err(format!("names {name:?} twice: only one of include, exclude, hash and redact can be right"));
                }
            }
        }
        Ok(said)
    }
}

/// Why a name can be none of a property that there may be rules for.
fn why_no_property(name: &str) -> Option<&'static str> {
    match name {
        "_id" => Some("by which rows are told apart: it is always stored as it is"),
        "" | "custom." => Some("which is no name"),
        _ if name.contains('\0') => Some("with a NUL character; write \u{2400} for it, as in planhat_sync.columns"),
        _ if name.starts_with("planhat__") => Some(
            "a column; write the name at Planhat, as `planhat-sync schema OBJECT` shows it, custom fields as \"custom.NAME\"",
        ),
        _ => None,
    }
}

impl Settings {
    /// When the daemon runs. `host` and the workspace tell an installation from others.
    pub fn schedule(&self, host: &str) -> Result<Schedule, schedule::Error> {
        let Daemon { schedule, time_zone, jitter, .. } = &self.daemon;
        let installation = format!("{host} {} {}", self.planhat.base_url, self.database.schema);
        Schedule::new(schedule, time_zone, *jitter, &installation)
    }
}

/// An empty text is no address.
fn address<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(input)?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |_| serde::de::Error::custom(format!("{text:?} is no address like \"127.0.0.1:9437\""));
    text.parse().map(Some).map_err(wrong)
}

/// An empty text is no secret.
fn secret<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SecretString>, D::Error> {
    let text = String::deserialize(input)?;
    Ok((!text.is_empty()).then(|| text.into()))
}

fn duration<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("{text:?} is no duration like \"90s\" or \"72h\": {error}")))
}

/// What is synced: "all", or nothing for the usual ones.
fn objects<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<&'static Object>, D::Error> {
    match names(input)?.as_slice() {
        [] => Ok(catalog::default_objects()),
        [all] if all.trim() == "all" => Ok(catalog::OBJECTS.iter().collect()),
        names => objects_named(names).map_err(serde::de::Error::custom),
    }
}

/// What is read newest first: "all" that can be, or "none".
fn sorted<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<&'static Object>, D::Error> {
    match names(input)?.as_slice() {
        [none] if none.trim() == "none" => Ok(Vec::new()),
        [all] if all.trim() == "all" => Ok(catalog::OBJECTS.iter().filter(|object| !object.sweeps().is_empty()).collect()),
        names => objects_named(names).map_err(serde::de::Error::custom),
    }
}

/// A list, or a text with commas as the environment has it.
fn names<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Names::deserialize(input)? {
        Names::List(names) => names,
        Names::Text(text) if text.trim().is_empty() => Vec::new(),
        Names::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
    })
}

fn names_if_any<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<String>>, D::Error> {
    names(input).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn with(variables: &[(&str, &str)]) -> Result<Settings, Error> {
        load_without_file(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    /// What a person reads: the message and its causes.
    fn message(result: Result<Settings, Error>) -> String {
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
            ("PLANHAT_SYNC__LOG__LEVEL", "loud", "log.level"),
            ("PLANHAT_SYNC__SYNC__HISTORY", "300000years", "sync.history"),
            ("PLANHAT_SYNC__PLANHAT__REQUEST_TIMEOUT", "0s", "request_timeout"),
            ("PLANHAT_SYNC__ACTIONS__INITIAL", "perhaps", "actions.initial"),
            ("PLANHAT_SYNC__ACTIONS__KEEP", "a while", "actions.keep"),
            ("PLANHAT_SYNC__ACTIONS__KEEP", "300years", "actions.keep"),
        ] {
            let message = message(with(&[(name, value)]));
            assert!(message.contains(key), "{name}={value}: {message}");
        }
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
             hash = ['email']\nvolatile = ['usage', 'custom.Age']\n[objects.companies]\nredact = ['custom']\n",
        );
        let settings =
            load(Some(file.path()), [("PLANHAT_SYNC__OBJECTS__NPS__HASH".into(), "email, comment".into())].into()).unwrap();
        let rule = |object, origin, name| settings.rules[object].of(origin, name);
        use crate::record::Origin::{Custom, Property};
        assert_eq!(rule("endusers", Property, "phone"), Rule::Exclude);
        assert_eq!(rule("endusers", Custom, "Days, left"), Rule::Exclude);
        assert_eq!((rule("endusers", Property, "email"), rule("nps", Property, "comment")), (Rule::Hash, Rule::Hash));
        assert_eq!((rule("companies", Custom, "x"), rule("companies", Property, "x")), (Rule::Redact, Rule::Include));
        let volatile = &settings.volatile["endusers"];
        assert!(volatile.of(Property, "usage").is_some() && volatile.of(Custom, "usage").is_none());
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
            "[objects.endusers]\nvolatile = ['_id']\n",
            "[objects.endusers]\nexclude = ['phone']\nredact = ['phone']\n",
            "[objects.endusers]\nexclude = ['custom']\nredact = ['custom.*']\n",
            "[objects.endusers]\ninclude = []\n",
            "[objects.endusers]\nexclude = ['planhat__phone']\n",
            "[objects.endusers]\nexclude = ['custom.']\n",
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
        setting "objects.endusers.volatile" names "_id", by which rows are told apart: it is always stored as it is
        setting "objects.endusers" names "phone" twice: only one of include, exclude, hash and redact can be right
        setting "objects.endusers" names "custom.*" twice: only one of include, exclude, hash and redact can be right
        setting "objects.endusers.include" names nothing: leave it out, or name what is to be stored
        setting "objects.endusers.exclude" names "planhat__phone", a column; write the name at Planhat, as `planhat-sync schema OBJECT` shows it, custom fields as "custom.NAME"
        setting "objects.endusers.exclude" names "custom.", which is no name
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
