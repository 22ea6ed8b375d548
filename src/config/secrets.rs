//! Secrets: each is a text in a setting or a variable, or a file that contains it, and all of them in the same ways.
//!
//! | setting | customary variables | file in the service folder, and systemd's credential |
//! |---|---|---|
//! | `planhat.token`, `planhat.token_file` | `PLANHAT_API_TOKEN`, `PLANHAT_API_TOKEN_FILE` | `planhat_api_token` |
//! | `database.url`, `database.url_file` | `DATABASE_URL`, `DATABASE_URL_FILE` | `database_url` |
//! | `database.password_file` | `DATABASE_PASSWORD_FILE` | `database_password` |
//! | `privacy.hash_key`, `privacy.hash_key_file` | | `privacy_hash_key` |
//! | `notify.…`, `notify.…_file` | | `notify_webhook_url`, `notify_webhook_secret`, `notify_ping_url` |
//!
//! In one source (the environment, a settings file) a secret is given once: a text and a file for it is an error, since
//! nobody knows which is the current one. A source with higher precedence overrides both. A file is taken as it is, but for
//! one line break at its end.
//!
//! A workspace among several takes each secret but those of the database from its own settings, otherwise from the file or
//! credential with its name at the end (`planhat_api_token_acme`), otherwise from the shared settings.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use config::ValueKind;
use planhat_model::secret_file;
use secrecy::SecretString;

use super::file_stamps::FileStamps;
use super::folder::SecretFiles;
use super::sources::Sections;
use super::{Settings, SettingsError};

/// A secret, and where it may come from.
#[derive(Debug)]
struct SecretSetting {
    /// None if the secret itself is not a setting, but only its file.
    key: Option<&'static str>,
    file_key: &'static str,
    /// The name of a variable that others use too; with `_FILE` behind it for the file.
    customary: Option<&'static str>,
    /// In the service folder, and as a credential.
    file_name: &'static str,
    /// As messages call it.
    what: &'static str,
    /// Whether there may be none, so that an empty file where nobody has named one says so. A unit of systemd names a credential that
    /// has to exist, and a role may have no password.
    may_be_absent: bool,
}

const DATABASE_PASSWORD: SecretSetting = SecretSetting {
    key: None,
    file_key: "database.password_file",
    customary: Some("DATABASE_PASSWORD"),
    file_name: "database_password",
    what: "the password",
    may_be_absent: true,
};

const DATABASE_URL: SecretSetting = SecretSetting {
    key: Some("database.url"),
    file_key: "database.url_file",
    customary: Some("DATABASE_URL"),
    file_name: "database_url",
    what: "the database URL",
    may_be_absent: false,
};

const SECRETS: [SecretSetting; 7] = [
    SecretSetting {
        key: Some("planhat.token"),
        file_key: "planhat.token_file",
        customary: Some("PLANHAT_API_TOKEN"),
        file_name: "planhat_api_token",
        what: "the token",
        may_be_absent: false,
    },
    DATABASE_URL,
    DATABASE_PASSWORD,
    SecretSetting {
        key: Some("privacy.hash_key"),
        file_key: "privacy.hash_key_file",
        customary: None,
        file_name: "privacy_hash_key",
        what: "the hash key",
        may_be_absent: false,
    },
    SecretSetting {
        key: Some("notify.webhook_url"),
        file_key: "notify.webhook_url_file",
        customary: None,
        file_name: "notify_webhook_url",
        what: "the webhook URL",
        may_be_absent: false,
    },
    SecretSetting {
        key: Some("notify.webhook_secret"),
        file_key: "notify.webhook_secret_file",
        customary: None,
        file_name: "notify_webhook_secret",
        what: "the webhook secret",
        may_be_absent: false,
    },
    SecretSetting {
        key: Some("notify.ping_url"),
        file_key: "notify.ping_url_file",
        customary: None,
        file_name: "notify_ping_url",
        what: "the ping URL",
        may_be_absent: false,
    },
];

/// The variable of a setting: `planhat.token` is `PLANHAT_SYNC__PLANHAT__TOKEN`.
pub(super) fn variable_of(key: &str) -> String {
    format!("PLANHAT_SYNC__{}", key.to_uppercase().replace('.', "__"))
}

impl SecretSetting {
    /// Whether a file that nobody has named has this secret.
    fn is_in(&self, path: &Path) -> bool {
        let says_none = || {
            let bytes = std::fs::read(path).ok();
            bytes.is_some_and(|bytes| secret_file::content(&bytes) == Err(secret_file::SecretFileError::Empty))
        };
        path.exists() && !(self.may_be_absent && path.is_file() && says_none())
    }

    /// The customary names of this secret and of its file.
    fn customary_names(&self) -> [Option<String>; 2] {
        let of_file = self.customary.map(|name| format!("{name}_FILE"));
        [self.key.and(self.customary).map(str::to_owned), of_file]
    }
}

/// All customary names of secrets and their files.
pub(super) fn customary_names() -> impl Iterator<Item = String> {
    SECRETS.iter().flat_map(|secret| secret.customary_names().into_iter().flatten())
}

/// Gives the variables of secrets their names as settings. After it, a secret that one of the variables gives, as a text or as a
/// file, has both variables: the other one is empty, so that it overrides what a lower source says.
pub(super) fn settle(variables: &mut HashMap<String, String>) -> Result<(), SettingsError> {
    let credentials = variables.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    for secret in &SECRETS {
        let text = secret.key.map(variable_of);
        let file = variable_of(secret.file_key);
        let [customary_text, customary_file] = secret.customary_names();
        let given = |ours: Option<&String>, customary: Option<&String>| {
            let set = |name: &&String| variables.contains_key(*name);
            ours.filter(set).or(customary.filter(set)).map(|name| (name.clone(), variables[name].clone()))
        };
        let as_text = given(text.as_ref(), customary_text.as_ref());
        let as_file = given(Some(&file), customary_file.as_ref());
        let (text_value, file_value) = match (as_text, as_file) {
            (Some((text, _)), Some((file, _))) => return Err(SettingsError::BothGiven { text, file }),
            (Some((_, value)), None) => (value, String::new()),
            (None, Some((_, path))) => (String::new(), path),
            (None, None) => {
                let credential =
                    credentials.as_ref().map(|folder| folder.join(secret.file_name)).filter(|path| secret.is_in(path));
                let Some(path) = credential else { continue };
                (String::new(), path.to_string_lossy().into_owned())
            }
        };
        variables.extend(text.map(|name| (name, text_value)));
        variables.insert(file, file_value);
    }
    Ok(())
}

/// Refuses a settings file that gives a secret twice.
pub(super) fn refuse_both(sections: &Sections, place: &str) -> Result<(), SettingsError> {
    for secret in &SECRETS {
        if let Some(key) = secret.key
            && is_set(sections, key)
            && is_set(sections, secret.file_key)
        {
            let name = |key: &str| format!("{key} in {place}");
            return Err(SettingsError::BothGiven { text: name(key), file: name(secret.file_key) });
        }
    }
    Ok(())
}

/// Whether a key has a text that is not empty.
fn is_set(sections: &Sections, key: &str) -> bool {
    let value = key.split_once('.').and_then(|(section, name)| match &sections.get(section)?.kind {
        ValueKind::Table(keys) => keys.get(name)?.clone().into_string().ok(),
        _ => None,
    });
    value.is_some_and(|value| !value.is_empty())
}

/// The secrets that are read when settings are loaded, each with its text and the file that the settings name: all but those of the
/// database.
fn texts_in(settings: &Settings) -> [(&'static SecretSetting, &Option<SecretString>, &PathBuf); 5] {
    let Settings { planhat, privacy, notify, .. } = settings;
    let [token, _, _, key, webhook, webhook_secret, ping] = &SECRETS;
    [
        (token, &planhat.token, &planhat.token_file),
        (key, &privacy.hash_key, &privacy.hash_key_file),
        (webhook, &notify.webhook_url, &notify.webhook_url_file),
        (webhook_secret, &notify.webhook_secret, &notify.webhook_secret_file),
        (ping, &notify.ping_url, &notify.ping_url_file),
    ]
}

/// The same, to be set, in the same order.
fn texts_of(settings: &mut Settings) -> [(&mut Option<SecretString>, &mut PathBuf); 5] {
    let Settings { planhat, privacy, notify, .. } = settings;
    [
        (&mut planhat.token, &mut planhat.token_file),
        (&mut privacy.hash_key, &mut privacy.hash_key_file),
        (&mut notify.webhook_url, &mut notify.webhook_url_file),
        (&mut notify.webhook_secret, &mut notify.webhook_secret_file),
        (&mut notify.ping_url, &mut notify.ping_url_file),
    ]
}

/// Reads the secrets that settings name files for, or that are in files of the service folder. The files of the database are
/// read at each connection instead, and only looked at here. The password in the service folder belongs to the database URL
/// in it, so it is used with no other URL.
pub(super) fn read(
    settings: &mut Settings,
    files: &mut SecretFiles,
    folder: Option<&Path>,
    has_url_of_its_own: bool,
) -> Result<(), SettingsError> {
    let [_, url, password, ..] = &SECRETS;
    let secrets = texts_in(settings).map(|(secret, ..)| secret);
    for (secret, (text, path)) in secrets.into_iter().zip(texts_of(settings)) {
        if text.is_none()
            && let Some(path) = file_of(secret, path, files, folder)
        {
            *text = Some(files.read(secret, &path)?);
        }
    }
    let database = &mut settings.database;
    if database.url.is_none()
        && let Some(path) = file_of(url, &database.url_file, files, folder)
    {
        let now = files.read(url, &path)?;
        if path.is_file() {
            database.url_file = path;
        } else {
            // A pipe, which can be read once.
            database.url = Some(now);
            database.url_file = PathBuf::new();
        }
    }
    let is_of_folder = (database.url.is_some() || !database.url_file.as_os_str().is_empty()) && !has_url_of_its_own;
    if let Some(path) = file_of(password, &database.password_file, files, folder.filter(|_| is_of_folder)) {
        files.read(password, &path)?;
        database.password_file = path;
    }
    Ok(())
}

/// The files that [`read`] looks into, but for those of the database.
pub(super) fn files_of(settings: &Settings, folder: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    texts_in(settings).into_iter().filter_map(move |(secret, text, path)| match text {
        Some(_) => None,
        None if path.as_os_str().is_empty() => Some(folder?.join(secret.file_name)),
        None => Some(path.clone()),
    })
}

/// The secrets of one workspace among several.
pub(super) struct OwnSecrets<'a> {
    /// The settings of all workspaces, whose secrets have been read.
    pub(super) shared: &'a Settings,
    /// What the workspace itself says.
    pub(super) written: &'a Sections,
    /// Where its secrets may be by its name, and the names of the files there.
    pub(super) folder: Option<(&'a Path, &'a BTreeSet<OsString>)>,
}

impl OwnSecrets<'_> {
    /// Blanks the file where the workspace gives a text, and the other way round, so that it overrides what the shared settings say.
    pub(super) fn override_shared(&self, merged: &mut Sections) {
        for secret in &SECRETS {
            let Some(key) = secret.key else { continue };
            for (given, other) in [(key, secret.file_key), (secret.file_key, key)] {
                if is_set(self.written, given)
                    && let Some((section, name)) = other.split_once('.')
                    && let Some(ValueKind::Table(keys)) = merged.get_mut(section).map(|section| &mut section.kind)
                {
                    keys.insert(name.to_owned(), String::new().into());
                }
            }
        }
    }

    /// Takes each secret from where it is. What a file has is read now; the stamps are taken before that.
    pub(super) fn read(
        &self,
        settings: &mut Settings,
        files: &mut SecretFiles,
        stamps: &mut FileStamps,
    ) -> Result<(), SettingsError> {
        let name = settings.workspace_name.clone();
        for ((secret, shared_text, shared_path), (text, path)) in texts_in(self.shared).into_iter().zip(texts_of(settings)) {
            let is_own = secret.key.is_some_and(|key| is_set(self.written, key)) || is_set(self.written, secret.file_key);
            if !is_own {
                match self.file_by_name(secret, &name, files) {
                    Some(by_name) => (*text, *path) = (None, by_name),
                    None => (*text, *path) = (shared_text.clone(), shared_path.clone()),
                }
            }
            if text.is_none() && !path.as_os_str().is_empty() {
                stamps.watch(path);
                *text = Some(files.read(secret, path)?);
            }
        }
        Ok(())
    }

    fn file_by_name(&self, secret: &SecretSetting, workspace: &str, files: &mut SecretFiles) -> Option<PathBuf> {
        let (folder, names) = self.folder?;
        let file_name = format!("{}_{workspace}", secret.file_name);
        if !names.contains(OsStr::new(&file_name)) {
            return None;
        }
        files.secret_in(folder, &file_name).filter(|path| secret.is_in(path))
    }
}

/// The file that the settings name, or the one of the service folder.
fn file_of(secret: &SecretSetting, named: &Path, files: &mut SecretFiles, folder: Option<&Path>) -> Option<PathBuf> {
    let named = Some(named.to_owned()).filter(|path| !path.as_os_str().is_empty());
    named.or_else(|| files.secret_in(folder?, secret.file_name).filter(|path| secret.is_in(path)))
}

impl SecretFiles {
    /// The secret in a file that a setting names, which counts as used from then on.
    fn read(&mut self, secret: &SecretSetting, path: &Path) -> Result<SecretString, SettingsError> {
        let what = secret.what;
        let bytes = std::fs::read(path).map_err(|source| SettingsError::SecretFile { what, path: path.to_owned(), source })?;
        let content = secret_file::content(&bytes);
        let content = content.map_err(|source| SettingsError::BadSecretFile { what, path: path.to_owned(), source })?;
        // Blanks around the token and around an address are taken off, wherever they come from.
        let is_trimmed = matches!(secret.file_key, "planhat.token_file" | "database.url_file");
        let looked_at = if is_trimmed { content.trim() } else { content };
        if let Some(doubt) = secret_file::doubt(looked_at) {
            self.doubts.push(format!("{what} in {} {doubt}", path.display()));
        }
        self.used.push(path.to_owned());
        Ok(content.into())
    }
}

/// Whether a text is in a setting that is a secret, and not the path of a file with one; a database URL is one if it has a
/// password.
pub(super) fn is_secret(key: &str, url: Option<&str>) -> bool {
    let has_password = |url: &str| {
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('@').next().filter(|_| url.contains('@'));
        url.contains("password=") || authority.is_some_and(|authority| authority.contains(':'))
    };
    match key {
        "database.url" => url.is_some_and(has_password),
        key => SECRETS.iter().any(|secret| secret.key == Some(key)),
    }
}

/// The text of a secret, for tests.
#[cfg(test)]
pub(super) fn exposed(secret: &Option<SecretString>) -> Option<&str> {
    secret.as_ref().map(secrecy::ExposeSecret::expose_secret)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, load, message, with};
    use super::*;

    const KEY: &str = "sixteen or more characters";

    /// What the settings have of each secret, in the order of the table above.
    fn all(settings: &Settings) -> Vec<String> {
        let Settings { planhat, privacy, notify, database, .. } = settings;
        let text = |secret: &Option<SecretString>| exposed(secret).unwrap_or_default().to_owned();
        let path = |path: &Path| path.display().to_string();
        vec![
            text(&planhat.token),
            path(&database.url_file),
            path(&database.password_file),
            text(&privacy.hash_key),
            text(&notify.webhook_url),
            text(&notify.webhook_secret),
            text(&notify.ping_url),
        ]
    }

    #[test]
    fn each_secret_can_be_in_a_file_that_a_setting_a_variable_or_a_credential_names() {
        let folder = tempfile::tempdir().unwrap();
        let values =
            ["token", "postgres://u@h/d", "p%41ss", KEY, "https://example.org/hook", "a secret", "https://hc-ping.com/key/slug"];
        let paths: Vec<String> = SECRETS
            .iter()
            .zip(values)
            .map(|(secret, value)| {
                let path = folder.path().join(secret.file_name);
                std::fs::write(&path, format!("{value}\n")).unwrap();
                path.display().to_string()
            })
            .collect();
        let mut expected: Vec<String> = values.map(str::to_owned).into();
        expected[1..3].clone_from_slice(&paths[1..3]);

        let by_setting = SECRETS.iter().map(|secret| variable_of(secret.file_key)).zip(paths.clone()).collect();
        assert_eq!(all(&super::super::load_without_file(by_setting).unwrap()), expected);
        let customary = SECRETS.iter().zip(&paths).map(|(secret, path)| {
            let [_, customary] = secret.customary_names();
            (customary.unwrap_or_else(|| variable_of(secret.file_key)), path.clone())
        });
        assert_eq!(all(&super::super::load_without_file(customary.collect()).unwrap()), expected);
        assert_eq!(all(&with(&[("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())]).unwrap()), expected);
        let lines = SECRETS.iter().zip(&paths).map(|(secret, path)| format!("{} = '{path}'\n", secret.file_key));
        let text = file(&lines.collect::<String>());
        assert_eq!(all(&load(Some(text.path()), HashMap::new()).unwrap()), expected);
    }

    #[test]
    fn an_empty_credential_says_that_the_role_has_no_password_and_nothing_else_may_be_empty() {
        let folder = tempfile::tempdir().unwrap();
        let given = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            let variables = [("DATABASE_URL", "postgres://u@h/d"), ("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())];
            with(&variables)
        };
        for text in ["", "\n"] {
            assert_eq!(given("database_password", text).unwrap().database.password_file, Path::new(""));
        }
        let path = folder.path().join("database_password");
        assert_eq!(given("database_password", "secret\n").unwrap().database.password_file, path);
        std::fs::write(&path, "").unwrap();
        let named = with(&[("DATABASE_URL", "postgres://u@h/d"), ("DATABASE_PASSWORD_FILE", path.to_str().unwrap())]);
        assert!(message(named).contains("it is empty"));
        assert!(message(given("planhat_api_token", "\n")).contains("it is empty"));
    }

    #[test]
    fn a_text_and_a_file_for_one_secret_are_refused_within_one_source_and_the_higher_source_counts() {
        let token = file("from the file");
        let path = token.path().to_str().unwrap();
        for (text, of_file) in [
            ("PLANHAT_API_TOKEN", "PLANHAT_API_TOKEN_FILE"),
            ("PLANHAT_API_TOKEN", "PLANHAT_SYNC__PLANHAT__TOKEN_FILE"),
            ("DATABASE_URL", "DATABASE_URL_FILE"),
            ("PLANHAT_SYNC__NOTIFY__PING_URL", "PLANHAT_SYNC__NOTIFY__PING_URL_FILE"),
        ] {
            let refused = message(with(&[(text, "hunter2"), (of_file, path)]));
            assert_eq!(refused, format!("{text} and {of_file} are both set: leave one of them out"));
        }
        let settings = file(&format!("[planhat]\ntoken = 'hunter2'\ntoken_file = '{path}'\n"));
        let refused = message(load(Some(settings.path()), HashMap::new()));
        assert!(refused.starts_with("planhat.token in ") && !refused.contains("hunter2"), "{refused}");

        let of_environment = |name: &str, value: &str, settings: &str| {
            let settings = file(settings);
            let settings = load(Some(settings.path()), [(name.to_owned(), value.to_owned())].into()).unwrap();
            exposed(&settings.planhat.token).unwrap().to_owned()
        };
        assert_eq!(of_environment("PLANHAT_API_TOKEN_FILE", path, "[planhat]\ntoken = 'x'\n"), "from the file");
        assert_eq!(of_environment("PLANHAT_API_TOKEN", "y", &format!("[planhat]\ntoken_file = '{path}'\n")), "y");
    }

    #[test]
    fn a_file_that_is_missing_empty_or_no_text_is_refused_with_its_path_and_doubts_are_kept() {
        let (empty, marked) = (file("\n"), file("\u{feff}token"));
        for (path, problem) in [
            ("/nowhere/token", "could not read the token from /nowhere/token"),
            (empty.path().to_str().unwrap(), "it is empty"),
            (marked.path().to_str().unwrap(), "byte order mark"),
        ] {
            let refused = message(with(&[("PLANHAT_API_TOKEN_FILE", path)]));
            assert!(refused.contains(path) && refused.contains(problem), "{refused}");
        }
        let quoted = file("\"a password\"\n");
        let settings = with(&[("DATABASE_URL", "postgres://u@h/d"), ("DATABASE_PASSWORD_FILE", quoted.path().to_str().unwrap())]);
        let doubts = settings.unwrap().secret_files.doubts;
        assert!(doubts[0].starts_with("the password in ") && doubts[0].contains("is in quotes"), "{doubts:?}");
        // Blanks around the token are taken off.
        let blank = file("  token \n\n");
        let settings = with(&[("PLANHAT_API_TOKEN_FILE", blank.path().to_str().unwrap())]).unwrap();
        assert!(settings.secret_files.doubts.is_empty(), "{:?}", settings.secret_files.doubts);
    }

    #[test]
    fn an_empty_variable_is_as_good_as_none_but_for_the_address_that_the_daemon_listens_on() {
        let listen = |value: &str| with(&[("PLANHAT_SYNC__DAEMON__LISTEN", value)]).unwrap().daemon.listen;
        assert_eq!((listen(""), listen("off"), listen("  ")), (None, None, None));
        assert_eq!(listen("127.0.0.1:1").map(|address| address.port()), Some(1));
        assert_eq!(with(&[]).unwrap().daemon.listen.map(|address| address.port()), Some(9437));
        // Everything else, as a compose file may pass it.
        let settings = file("[planhat]\ntoken = 'x'\n[notify]\nwebhook_url = 'https://example.org'\n[log]\nlevel = 'warn'\n");
        let empty = |name: &str| (name.to_owned(), String::new());
        let names = [
            "PLANHAT_API_TOKEN",
            "PLANHAT_SYNC__NOTIFY__WEBHOOK_URL",
            "PLANHAT_SYNC__LOG__LEVEL",
            "PLANHAT_SYNC__DAEMON__SCHEDULE",
            "DATABASE_URL",
        ];
        let settings = load(Some(settings.path()), names.map(empty).into()).unwrap();
        assert_eq!(exposed(&settings.planhat.token), Some("x"));
        assert_eq!(exposed(&settings.notify.webhook_url), Some("https://example.org"));
        assert_eq!((settings.log.level.as_str(), settings.daemon.schedule.as_str()), ("warn", "0 3 * * *"));
        assert_eq!(settings.secret_files.doubts, ["the variable DATABASE_URL is set and empty, which counts as not set"]);
    }

    #[test]
    fn where_the_data_goes_is_named_without_a_password() {
        let location = |variables: &[(&str, &str)]| with(variables).unwrap().database.location();
        assert_eq!(location(&[("HOME", "/home/ann")]), "embedded, in /home/ann/.local/share/planhat-sync");
        assert_eq!(location(&[("DATABASE_URL", "postgres://u:hunter2@a,[::1]:5433/d")]), "database d at a:5432 or [::1]:5433");
        assert_eq!(location(&[("DATABASE_URL", "postgres:///d?host=/run/x")]), "database d at /run/x/.s.PGSQL.5432");
        assert_eq!(location(&[("DATABASE_URL", "postgres://"), ("PGHOST", "h"), ("PGDATABASE", "d")]), "database d at h:5432");
        assert_eq!(location(&[("DATABASE_URL", "postgres://u:hunter2#@h/d")]), "a database URL that cannot be used");
    }
}
