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

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::Value;
use planhat_model::secret_file;
use secrecy::SecretString;

use super::folder::SecretFiles;
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
}

const DATABASE_PASSWORD: SecretSetting = SecretSetting {
    key: None,
    file_key: "database.password_file",
    customary: Some("DATABASE_PASSWORD"),
    file_name: "database_password",
    what: "the password",
};

const DATABASE_URL: SecretSetting = SecretSetting {
    key: Some("database.url"),
    file_key: "database.url_file",
    customary: Some("DATABASE_URL"),
    file_name: "database_url",
    what: "the database URL",
};

const SECRETS: [SecretSetting; 7] = [
    SecretSetting {
        key: Some("planhat.token"),
        file_key: "planhat.token_file",
        customary: Some("PLANHAT_API_TOKEN"),
        file_name: "planhat_api_token",
        what: "the token",
    },
    DATABASE_URL,
    DATABASE_PASSWORD,
    SecretSetting {
        key: Some("privacy.hash_key"),
        file_key: "privacy.hash_key_file",
        customary: None,
        file_name: "privacy_hash_key",
        what: "the key",
    },
    SecretSetting {
        key: Some("notify.webhook_url"),
        file_key: "notify.webhook_url_file",
        customary: None,
        file_name: "notify_webhook_url",
        what: "the webhook URL",
    },
    SecretSetting {
        key: Some("notify.webhook_secret"),
        file_key: "notify.webhook_secret_file",
        customary: None,
        file_name: "notify_webhook_secret",
        what: "the webhook secret",
    },
    SecretSetting {
        key: Some("notify.ping_url"),
        file_key: "notify.ping_url_file",
        customary: None,
        file_name: "notify_ping_url",
        what: "the ping URL",
    },
];

/// The variable of a setting: `planhat.token` is `PLANHAT_SYNC__PLANHAT__TOKEN`.
pub(super) fn variable_of(key: &str) -> String {
    format!("PLANHAT_SYNC__{}", key.to_uppercase().replace('.', "__"))
}

impl SecretSetting {
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
                let credential = credentials.as_ref().map(|folder| folder.join(secret.file_name)).filter(|path| path.exists());
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
pub(super) fn refuse_both(sections: &config::Map<String, Value>, place: &Path) -> Result<(), SettingsError> {
    let value_of = |key: &str| {
        let (section, name) = key.split_once('.')?;
        let value = sections.get(section)?.clone().into_table().ok()?.remove(name)?.into_string().ok()?;
        (!value.is_empty()).then_some(value)
    };
    for secret in &SECRETS {
        if let Some(key) = secret.key
            && value_of(key).is_some()
            && value_of(secret.file_key).is_some()
        {
            let name = |key: &str| format!("{key} in {}", place.display());
            return Err(SettingsError::BothGiven { text: name(key), file: name(secret.file_key) });
        }
    }
    Ok(())
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
    let Settings { planhat, privacy, notify, database, .. } = settings;
    let [token, url, password, key, webhook, webhook_secret, ping] = &SECRETS;
    for (secret, text, path) in [
        (token, &mut planhat.token, &planhat.token_file),
        (key, &mut privacy.hash_key, &privacy.hash_key_file),
        (webhook, &mut notify.webhook_url, &notify.webhook_url_file),
        (webhook_secret, &mut notify.webhook_secret, &notify.webhook_secret_file),
        (ping, &mut notify.ping_url, &notify.ping_url_file),
    ] {
        if text.is_none()
            && let Some(path) = file_of(secret, path, files, folder)
        {
            *text = Some(files.read(secret, &path)?);
        }
    }
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

/// The file that the settings name, or the one of the service folder.
fn file_of(secret: &SecretSetting, named: &Path, files: &mut SecretFiles, folder: Option<&Path>) -> Option<PathBuf> {
    let named = Some(named.to_owned()).filter(|path| !path.as_os_str().is_empty());
    named.or_else(|| files.secret_in(folder?, secret.file_name))
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
