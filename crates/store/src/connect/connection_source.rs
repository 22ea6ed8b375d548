//! Where the database URL and the password come from, and what they come to: read anew for each connection, so that a
//! password that was changed in its file is used without a restart.

use std::path::{Path, PathBuf};

use planhat_model::secret_file;
use secrecy::{ExposeSecret, SecretString};

use super::connection_url::{self, ConnectionUrl, ConnectionUrlError, Variables};
use crate::store_error::StoreError;

/// What the settings say of the database. Holds no connection, and nothing that was read from a file.
#[derive(Debug, Clone)]
pub struct ConnectionSource {
    pub url: UrlSource,
    /// The file of the password, for a URL without one.
    pub password_file: Option<PathBuf>,
    /// `PG…`, `HOME`: what libpq would read of the environment.
    pub variables: Variables,
}

#[derive(Debug, Clone)]
pub enum UrlSource {
    Text(SecretString),
    File(PathBuf),
}

impl From<SecretString> for ConnectionSource {
    fn from(url: SecretString) -> ConnectionSource {
        ConnectionSource { url: UrlSource::Text(url), password_file: None, variables: Variables::new() }
    }
}

impl ConnectionSource {
    /// The database and where it is, as a person would say it, without connecting; never a password.
    pub fn location(&self) -> Result<String, StoreError> {
        super::location(self)
    }

    /// The URL as it is now, with the password that goes with it.
    pub(crate) fn read(&self) -> Result<ConnectionUrl, StoreError> {
        let text = match &self.url {
            UrlSource::Text(text) => text.clone(),
            UrlSource::File(path) => secret_in(path, "the database URL")?,
        };
        let mut variables = self.variables.clone();
        if self.password_file.is_some() {
            // The file is named for this tool, the variable for all programs.
            variables.remove("PGPASSWORD");
        }
        let parsed = ConnectionUrl::parse(text.expose_secret(), &variables, |name| self.service(name));
        let mut url = parsed.map_err(|source| StoreError::BadUrl { source })?;
        if url.password.is_none()
            && let Some(path) = &self.password_file
        {
            url.password = Some(secret_in(path, "the password")?);
        }
        Ok(url)
    }

    /// The password that libpq's password file has for a connection, if there is one.
    pub(crate) fn password_of(&self, url: &ConnectionUrl, host: &str, port: u16, user: &str) -> Option<SecretString> {
        let file = url.passfile.clone().or_else(|| Some(self.home()?.join(".pgpass")))?;
        let text = std::fs::read_to_string(&file).ok()?;
        if is_open_to_others(&file) {
            tracing::warn!(path = %file.display(), "the password file can be read by other users, so it is not used; run `chmod 600` on it");
            return None;
        }
        let database = url.database.as_deref().unwrap_or(user);
        connection_url::password_in(&text, [host, &port.to_string(), database, user])
    }

    fn service(&self, name: &str) -> Result<Vec<(String, String)>, ConnectionUrlError> {
        let of_variable = |name: &str| self.variables.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let in_system_folder = || Some(of_variable("PGSYSCONFDIR")?.join("pg_service.conf"));
        let in_home = || Some(self.home()?.join(".pg_service.conf"));
        let file = of_variable("PGSERVICEFILE").or_else(|| in_home().filter(|file| file.exists())).or_else(in_system_folder);
        let file = file.ok_or(ConnectionUrlError::NoServiceFile)?;
        let found = std::fs::read_to_string(&file).ok().and_then(|text| connection_url::service_in(&text, name));
        found.ok_or_else(|| ConnectionUrlError::NoSuchService { file: file.display().to_string() })
    }

    fn home(&self) -> Option<PathBuf> {
        self.variables.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
    }
}

fn secret_in(path: &Path, what: &'static str) -> Result<SecretString, StoreError> {
    let path_of = || path.to_owned();
    let bytes = std::fs::read(path).map_err(|source| StoreError::SecretFile { what, path: path_of(), source })?;
    let secret = secret_file::content(&bytes).map_err(|source| StoreError::BadSecretFile { what, path: path_of(), source })?;
    Ok(secret.into())
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.metadata().is_ok_and(|file| file.mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_path: &Path) -> bool {
    false
}
