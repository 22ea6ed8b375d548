//! Where settings come from: the defaults, a file, environment variables, and files with secrets.
//!
//! If the user names no settings file, the whole service folder is used: its settings, and at the command line its variables and
//! secrets too. If the user names a file, nothing of the service folder is used, because that is another installation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, Environment, File, FileFormat, Map, Source, Value, ValueKind};
use planhat_model::catalog;
use planhat_store::Variables;

use super::file_stamps::FileStamps;
use super::folder::{DEFAULT_FOLDER, SecretFiles};
use super::installation::Installation;
use super::properties::KEYS;
use super::secrets::is_secret;
use super::values::nearest;
use super::{Settings, SettingsError, misspelt, secrets};

const DEFAULTS: &str = include_str!("../../config/default.toml");
/// In the usual folder; read when `--config` names no other file; it may be missing.
const DEFAULT_FILE: &str = "config.toml";
const PREFIX: &str = "PLANHAT_SYNC";
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
const DATABASE_URL: &str = "PLANHAT_SYNC__DATABASE__URL";
const DATABASE_URL_FILE: &str = "PLANHAT_SYNC__DATABASE__URL_FILE";
/// The only variable that has a meaning when it is empty: nowhere.
const LISTEN: &str = "PLANHAT_SYNC__DAEMON__LISTEN";
/// In a settings file: the workspaces, each with sections of its own.
const WORKSPACES: &str = "workspaces";

/// Settings as they are written, by section.
pub(super) type Sections = Map<String, Value>;

/// What the sources say for the whole process, and what the settings of workspaces are loaded with.
pub(super) struct SharedSources {
    /// As they were read, with their secrets, not yet checked.
    pub(super) settings: Settings,
    /// The same as it is written.
    pub(super) written: Sections,
    /// All keys that there are.
    pub(super) known: BTreeSet<String>,
    /// `[workspaces]` of the settings file; none if it has no such section.
    pub(super) workspaces: Option<Sections>,
    /// The settings file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// Where a workspace's secrets may be by their names: the credentials of systemd, or the service folder.
    pub(super) secrets_folder: Option<PathBuf>,
    pub(super) stamps: FileStamps,
}

/// Loads the settings and the workspaces that they name. `file` is the one named by the user, `environment` all variables.
pub fn load(file: Option<&Path>, environment: HashMap<String, String>) -> Result<Installation, SettingsError> {
    load_in(Path::new(DEFAULT_FOLDER), file, environment)
}

/// The same with another usual folder.
pub(super) fn load_in(
    folder: &Path,
    file: Option<&Path>,
    environment: HashMap<String, String>,
) -> Result<Installation, SettingsError> {
    Installation::of(match file {
        Some(path) => merge(Some((path, true)), None, environment)?,
        None => merge(Some((&folder.join(DEFAULT_FILE), false)), Some(folder), environment)?,
    })
}

/// Loads the settings from the defaults and these variables alone.
pub fn load_without_file(environment: HashMap<String, String>) -> Result<Settings, SettingsError> {
    merge(None, None, environment)?.settings.checked()
}

/// `file` comes with whether it has to be there.
fn merge(
    file: Option<(&Path, bool)>,
    folder: Option<&Path>,
    environment: HashMap<String, String>,
) -> Result<SharedSources, SettingsError> {
    let defaults = File::from_str(DEFAULTS, FileFormat::Toml).collect().map_err(unreadable)?;
    let known = keys_of(&defaults);

    let home = environment.clone();
    // Empty is how compose files and unit files say "not set".
    let is_set = |(name, value): &(String, String)| !value.trim().is_empty() || name == LISTEN;
    let mut variables: HashMap<_, _> = environment.into_iter().filter(is_set).collect();
    let mut secret_files = SecretFiles { doubts: misspelt::doubts(&home, &known), ..SecretFiles::default() };
    let mut stamps = FileStamps::default();
    apply_customary_names(&mut variables)?;
    refuse_unknown(&known, keys_of_variables(&variables)?, "the environment")?;
    // A service gets these values from systemd.
    let credentials = variables.get(CREDENTIALS).map(PathBuf::from);
    let folder = folder.filter(|_| credentials.is_none());
    let mut libpq: Variables = BTreeMap::new();
    let has_url_of_its_own = [DATABASE_URL, DATABASE_URL_FILE].iter().any(|name| variables.contains_key(*name));
    if let Some(folder) = folder {
        stamps.watch(&SecretFiles::environment_file(folder));
        let mut of_folder = secret_files.environment_in(folder);
        apply_customary_names(&mut of_folder)?;
        let given = keys_of_variables(&of_folder)?;
        let is_given = |key: &String| of_folder.get(&secrets::variable_of(key)).is_some_and(|value| !value.is_empty());
        if given.iter().any(|key| is_given(key) && is_secret(key, of_folder.get(DATABASE_URL).map(String::as_str))) {
            secret_files.environment_was_used(folder);
        }
        refuse_unknown(&known, given, &format!("{}/environment", folder.display()))?;
        libpq.extend(of_folder.iter().filter(|(name, _)| is_of_libpq(name)).map(|(name, value)| (name.clone(), value.clone())));
        of_folder.into_iter().for_each(|(name, value)| _ = variables.entry(name).or_insert(value));
    }

    let mut builder = Config::builder().add_source(Written(defaults));
    let mut workspaces = None;
    if let Some((path, _)) = file {
        stamps.watch(path);
    }
    if let Some((path, required)) = file
        && let Some(mut written) = sections_in(path, required)?
    {
        if written.get(WORKSPACES).is_some_and(is_table) {
            workspaces = written.remove(WORKSPACES).and_then(|workspaces| workspaces.into_table().ok());
        }
        let given = keys_of(&written);
        let is_in_workspace = |workspace: &Value| workspace.clone().into_table().is_ok_and(|table| has_secret(&table));
        if has_secret(&written) || workspaces.iter().flat_map(|all| all.values()).any(is_in_workspace) {
            secret_files.used.push(path.to_owned());
        }
        if known.is_subset(&given) {
            let doubt = "repeats every default, and so keeps those of one version for ever; keep only what differs";
            secret_files.doubts.push(format!("{} {doubt}", path.display()));
        }
        refuse_unknown(&known, given, &path.display().to_string())?;
        secrets::refuse_both(&written, &path.display().to_string())?;
        builder = builder.add_source(Written(written));
    }
    let merged = builder.add_source(source_of(variables)).build().map_err(unreadable)?;
    let written = merged.collect().map_err(unreadable)?;
    let mut settings: Settings = merged.try_deserialize().map_err(unreadable)?;
    secrets::files_of(&settings, folder).for_each(|path| stamps.watch(&path));
    secrets::read(&mut settings, &mut secret_files, folder, has_url_of_its_own)?;
    libpq.extend(home.iter().filter(|(name, _)| is_of_libpq(name)).map(|(name, value)| (name.clone(), value.clone())));
    settings.database.variables = libpq;
    if settings.database.data_dir.as_os_str().is_empty() {
        settings.database.data_dir = usual_data_dir(&home);
    }
    if !settings.workspaces_dir.as_os_str().is_empty() {
        let beside = file.and_then(|(path, _)| path.parent()).unwrap_or(Path::new(""));
        settings.workspaces_dir = beside.join(&settings.workspaces_dir);
    }
    settings.workspace_name.clone_from(&settings.database.schema);
    settings.secret_files = secret_files;
    let secrets_folder = credentials.or(folder.map(Path::to_owned));
    let file = file.map(|(path, _)| path.to_owned());
    Ok(SharedSources { settings, written, known, workspaces, file, secrets_folder, stamps })
}

pub(super) fn unreadable(source: ConfigError) -> SettingsError {
    SettingsError::Unreadable { source }
}

/// Sections that were read before.
#[derive(Debug, Clone)]
struct Written(Sections);

impl Source for Written {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Sections, ConfigError> {
        Ok(self.0.clone())
    }
}

fn is_table(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Table(_))
}

/// Whether a file with these sections contains a secret.
pub(super) fn has_secret(sections: &Sections) -> bool {
    let text = |section: &str, key: &str| match &sections.get(section)?.kind {
        ValueKind::Table(keys) => keys.get(key).and_then(|value| value.clone().into_string().ok()),
        _ => None,
    };
    let url = text("database", "url");
    keys_of(sections).iter().any(|key| is_secret(key, url.as_deref()))
}

fn source_of(variables: HashMap<String, String>) -> Environment {
    Environment::with_prefix(PREFIX).prefix_separator("__").separator("__").source(Some(variables.into_iter().collect()))
}

/// What libpq would read of the environment.
fn is_of_libpq(name: &str) -> bool {
    name.starts_with("PG") || name == "HOME"
}

/// The sections of a settings file that is TOML; none if it is missing and may be.
pub(super) fn sections_in(path: &Path, required: bool) -> Result<Option<Sections>, SettingsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if !required && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SettingsError::File { path: path.to_owned(), source }),
    };
    File::from_str(&text, FileFormat::Toml).collect().map(Some).map_err(|error| {
        // Its own text would show the line, which may be the one with a secret.
        match toml::from_str::<toml::Table>(&text) {
            Err(error) => {
                let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
                SettingsError::Toml { path: path.to_owned(), line, problem: error.message().to_owned() }
            }
            Ok(_) => unreadable(error),
        }
    })
}

/// The variables of a process. One that is ours and not readable is refused rather than left out.
pub fn readable(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<HashMap<String, String>, SettingsError> {
    let mut variables = HashMap::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => _ = variables.insert(name, value),
            Err(_) if name.starts_with("PLANHAT") || name == "DATABASE_URL" => return Err(SettingsError::NotUtf8(name)),
            Err(_) => {}
        }
    }
    Ok(variables)
}

/// Uses the common variable names where ours are not set.
fn apply_customary_names(variables: &mut HashMap<String, String>) -> Result<(), SettingsError> {
    if let Some(value) = variables.get("PLANHAT_API_URL").cloned() {
        variables.entry("PLANHAT_SYNC__PLANHAT__BASE_URL".to_owned()).or_insert(value);
    }
    secrets::settle(variables)
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

/// All keys, written with dots.
pub(super) fn keys_of(sections: &Sections) -> BTreeSet<String> {
    fn walk(prefix: &str, fields: &Sections, keys: &mut BTreeSet<String>) {
        for (name, value) in fields {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match &value.kind {
                ValueKind::Table(inner) => walk(&key, inner, keys),
                _ => drop(keys.insert(key)),
            }
        }
    }
    let mut keys = BTreeSet::new();
    walk("", sections, &mut keys);
    keys
}

fn keys_of_variables(variables: &HashMap<String, String>) -> Result<BTreeSet<String>, SettingsError> {
    Ok(keys_of(&source_of(variables.clone()).collect().map_err(unreadable)?))
}

pub(super) fn refuse_unknown(known: &BTreeSet<String>, given: BTreeSet<String>, place: &str) -> Result<(), SettingsError> {
    let of_properties = || catalog::OBJECTS.iter().flat_map(|object| KEYS.map(|key| format!("objects.{}.{key}", object.name)));
    let is_known = |key: &String| known.contains(key) || of_properties().any(|known| known == *key);
    match given.into_iter().find(|key| !is_known(key)) {
        Some(key) => {
            let of_its_kind = |known: &&String| known.starts_with("objects.") == key.starts_with("objects.");
            let known: Vec<String> = known.iter().cloned().chain(of_properties()).collect();
            let in_no_section = known.iter().find(|known| known.split_once('.').is_some_and(|(_, name)| name == key));
            let likely = nearest(&key, known.iter().filter(of_its_kind).map(String::as_str));
            let nearest = in_no_section.map(String::as_str).or(likely).map(str::to_owned);
            Err(SettingsError::UnknownKey { key, place: place.to_owned(), nearest })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::secrets::exposed;
    use super::super::tests::{file, load, message, with};
    use super::{DEFAULTS, HashMap, OsString, Path, Settings, SettingsError, readable};
    use crate::config::PlanhatSettings;
    use planhat_api::RowsPerPage;
    use secrecy::ExposeSecret;
    use std::time::Duration;

    #[test]
    fn the_environment_overrides_the_file_and_the_file_overrides_the_defaults() {
        let file = file("[planhat]\npage_size = 7\ncalls_per_minute = 5\n");
        let settings = load(Some(file.path()), [("PLANHAT_SYNC__PLANHAT__PAGE_SIZE".to_owned(), "9".to_owned())].into()).unwrap();
        let PlanhatSettings { page_size, calls_per_minute, .. } = settings.planhat;
        assert_eq!((page_size, calls_per_minute, settings.sync.concurrency), (RowsPerPage::Fixed(9), 5, 4));
    }

    #[test]
    fn a_settings_file_that_is_a_copy_of_the_defaults_is_doubted() {
        let doubts = |text: &str| load(Some(file(text).path()), HashMap::new()).unwrap().secret_files.doubts;
        assert!(doubts(&DEFAULTS.replace("page_size = 100", "page_size = 500"))[0].contains("repeats every default"));
        assert_eq!(doubts(&DEFAULTS.replace("page_size = 100", "")), [""; 0]);
    }

    #[test]
    fn common_variable_names_are_accepted_and_the_planhat_sync_names_take_precedence() {
        let settings = with(&[("DATABASE_URL", "postgres://a/b"), ("PLANHAT_API_TOKEN", "0123")]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "0123");
        assert_eq!(settings.database.url.unwrap().expose_secret(), "postgres://a/b");
        let settings = with(&[("PLANHAT_API_TOKEN", "other"), ("PLANHAT_SYNC__PLANHAT__TOKEN", "ours")]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "ours");
    }

    #[test]
    fn the_token_can_be_read_from_a_file_or_a_systemd_credential() {
        let token = file("from-file\n");
        let settings = with(&[("PLANHAT_API_TOKEN_FILE", token.path().to_str().unwrap())]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "from-file");

        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("planhat_api_token"), "from-systemd").unwrap();
        let settings = with(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]).unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "from-systemd");

        let missing = message(with(&[("PLANHAT_API_TOKEN_FILE", "/nowhere/token")]));
        assert!(missing.starts_with("could not read the token from /nowhere/token"), "{missing}");
    }

    #[test]
    fn the_hash_key_can_be_read_from_a_file_or_a_systemd_credential() {
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
    fn an_empty_environment_variable_counts_as_unset() {
        let token = file("from-file");
        let settings =
            with(&[("PLANHAT_API_TOKEN", ""), ("PLANHAT_API_TOKEN_FILE", token.path().to_str().unwrap()), ("DATABASE_URL", "")]);
        let settings = settings.unwrap();
        assert_eq!(settings.planhat.token.unwrap().expose_secret(), "from-file");
        assert!(settings.database.url.is_none());
    }

    #[test]
    fn a_syntax_error_in_the_settings_file_is_reported_by_line_number_without_the_line_itself() {
        let file = file("[planhat]\npage_size = 5\n\n[database]\nurl = postgres://u:hunter2@h/db\n");
        let shown = message(load(Some(file.path()), HashMap::new()));
        assert!(shown.contains("line 5: "), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[cfg(unix)]
    #[test]
    fn an_environment_variable_of_planhat_sync_that_is_not_utf8_is_refused() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(vec![b'x', 0xff]);
        assert!(readable([("LANG".into(), odd())].into_iter()).unwrap().is_empty());
        let error = readable([("DATABASE_URL".into(), odd())].into_iter()).unwrap_err();
        assert_eq!(error.to_string(), "the variable DATABASE_URL is not UTF-8");
    }

    /// A usual folder of its own, with these files.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        folder
    }

    fn in_folder(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Settings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        load_in(folder.path(), None, variables).unwrap()
    }

    fn load_in(folder: &Path, file: Option<&Path>, environment: HashMap<String, String>) -> Result<Settings, SettingsError> {
        super::load_in(folder, file, environment).map(|installation| installation.shared)
    }

    #[test]
    fn a_command_run_by_hand_reads_settings_and_secrets_from_the_service_folder() {
        let folder = folder(&[
            ("config.toml", "[database]\nurl = 'postgres://planhat@h/d'\n[objects.users]\nhash = ['email']\n"),
            ("planhat_api_token", "the token\n"),
            ("database_password", "the password\n"),
            ("privacy_hash_key", "sixteen or more characters\n"),
            ("environment", "# by hand\nPLANHAT_SYNC__SYNC__LOOKBACK=96h\nPATH=/nowhere\n"),
        ]);
        let settings = in_folder(&folder, &[]);
        assert_eq!(exposed(&settings.planhat.token), Some("the token"));
        assert_eq!(exposed(&settings.database.url), Some("postgres://planhat@h/d"));
        assert_eq!(settings.database.password_file, folder.path().join("database_password"));
        assert_eq!(exposed(&settings.privacy.hash_key), Some("sixteen or more characters"));
        assert_eq!(settings.sync.lookback, Duration::from_secs(96 * 3600));
        let used: Vec<_> = settings.secret_files.used.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(used, ["planhat_api_token", "privacy_hash_key", "database_password"]);
    }

    #[test]
    fn explicit_settings_override_the_service_folder_and_an_explicit_url_gets_no_password_from_it() {
        let folder = folder(&[
            ("planhat_api_token", "of the folder"),
            ("database_password", "of the folder"),
            ("environment", "DATABASE_URL=postgres://a@folder/d\nPLANHAT_API_TOKEN=of the environment\n"),
        ]);
        let by_hand = in_folder(&folder, &[]);
        assert_eq!(exposed(&by_hand.database.url), Some("postgres://a@folder/d"));
        assert_eq!(by_hand.database.password_file, folder.path().join("database_password"));
        assert_eq!(exposed(&by_hand.planhat.token), Some("of the environment"));
        let explicit = in_folder(&folder, &[("DATABASE_URL", "postgres://a@elsewhere/d"), ("PLANHAT_API_TOKEN", "explicit")]);
        assert_eq!(exposed(&explicit.database.url), Some("postgres://a@elsewhere/d"));
        assert_eq!(explicit.database.password_file, Path::new(""));
        assert_eq!(exposed(&explicit.planhat.token), Some("explicit"));

        // Another installation, and a service, which has been handed what it needs.
        let other = file("[planhat]\npage_size = 7\n");
        let other = load_in(folder.path(), Some(other.path()), HashMap::new()).unwrap();
        assert!(other.planhat.token.is_none() && other.database.url.is_none());
        let credentials = tempfile::tempdir().unwrap();
        let service = in_folder(&folder, &[("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap())]);
        assert!(service.planhat.token.is_none() && service.database.url.is_none());
    }

    #[test]
    fn files_that_contain_a_secret_are_recognised_by_their_content() {
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
    fn an_unknown_setting_in_the_environment_file_is_reported_with_the_file() {
        let folder = folder(&[("environment", "PLANHAT_SYNC__SYNC__LOKBACK=1h\n")]);
        let refused = message(load_in(folder.path(), None, HashMap::new()));
        assert!(refused.ends_with("/environment; did you mean \"sync.lookback\"?"), "{refused}");
    }
}
