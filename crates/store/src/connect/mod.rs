//! Opens connections to PostgreSQL: to the server that the settings name, as they are now.
//!
//! ```text
//! ConnectionSource -> ConnectionUrl -> one attempt per host and way of encryption, in order -> connection
//! ```
//!
//! `sslmode` means what it means to libpq: `prefer` encrypts where that works and goes on without where it does not, `allow`
//! is the other way round, and a socket is never encrypted. Of several hosts the one that worked last is tried first.

mod connection_source;
mod connection_url;
mod trusted_roots;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use planhat_model::error::{Chain, ErrorKind};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use crate::sql::query_as;
use crate::store_error::{DatabaseCause, StoreError, could_not, could_not_connect};

pub use connection_source::{ConnectionSource, UrlSource};
use connection_url::{Address, ConnectionUrl, Endpoint, TargetSession, TlsMode};
pub use connection_url::{ConnectionUrlError, Variables};

/// For one attempt, unless the URL has a `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const USUAL_PORT: u16 = 5432;
/// What the server is told who we are, unless the URL says otherwise.
const APPLICATION_NAME: &str = "planhat-sync";

/// Makes connections to one database.
pub(crate) struct Connector {
    /// None for the embedded server.
    source: Option<ConnectionSource>,
    /// The place and the options of the connection that was made last.
    last: Mutex<(String, PgConnectOptions)>,
}

/// Without the options, which would show the password.
impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("place", &self.place()).finish_non_exhaustive()
    }
}

/// One way to connect.
#[derive(Debug)]
struct Attempt {
    endpoint: Endpoint,
    mode: PgSslMode,
    /// Whether the next attempt is the same server with another encryption.
    next_is_same_server: bool,
}

impl Connector {
    /// Checks the URL, and connects to nothing yet.
    pub(crate) fn new(source: ConnectionSource) -> Result<Connector, StoreError> {
        let url = source.read()?;
        let first = attempts(&url).into_iter().next();
        let first = first.map(|first| Ok((first.endpoint.place(), first.options(&source, &url)?))).transpose()?;
        let last = first.unwrap_or_else(|| (String::new(), PgConnectOptions::new_without_pgpass()));
        Ok(Connector { source: Some(source), last: Mutex::new(last) })
    }

    #[cfg(feature = "embedded")]
    pub(crate) fn to_embedded(options: PgConnectOptions) -> Connector {
        let options = options.application_name(APPLICATION_NAME);
        Connector { source: None, last: Mutex::new(("the embedded PostgreSQL".to_owned(), options)) }
    }

    /// The options of the connection that was made last.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.last().1
    }

    /// Where the connection that was made last leads.
    pub(crate) fn place(&self) -> String {
        self.last().0
    }

    fn last(&self) -> (String, PgConnectOptions) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a connection, by what the settings and the files with secrets say now.
    pub(crate) async fn open(&self) -> Result<PgConnection, StoreError> {
        let Some(source) = &self.source else {
            let (place, options) = self.last();
            return PgConnection::connect_with(&options).await.map_err(could_not_connect(&place));
        };
        let url = source.read()?;
        let mut attempts = attempts(&url);
        let last = self.place();
        // Sorting keeps the order of the others.
        attempts.sort_by_key(|attempt| attempt.endpoint.place() != last);
        let mut failure = None;
        let mut settled_for = None;
        for attempt in attempts {
            let place = attempt.endpoint.place();
            if settled_for.as_ref() == Some(&place) {
                continue;
            }
            let options = attempt.options(source, &url)?;
            let error = match connect(&options, &url, &place).await {
                Ok(connection) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (place, options);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            tracing::debug!(error = %Chain(&error), "could not connect");
            if attempt.next_is_same_server && may_depend_on_encryption(&error) {
                failure = Some(error);
            } else if may_depend_on_host(&error) {
                failure = Some(error);
                settled_for = Some(place);
            } else {
                return Err(error);
            }
        }
        Err(failure.unwrap_or(StoreError::BadUrl { source: ConnectionUrlError::Empty }))
    }
}

/// Where the data goes, as a person would say it; never a password. Several hosts are all named.
pub(crate) fn location(source: &ConnectionSource) -> Result<String, StoreError> {
    let url = source.read()?;
    let mut places: Vec<String> = attempts(&url).iter().map(|attempt| attempt.endpoint.place()).collect();
    places.dedup();
    let user = url.user.unwrap_or_else(|| PgConnectOptions::new_without_pgpass().get_username().to_owned());
    Ok(format!("database {} at {}", url.database.unwrap_or(user), places.join(" or ")))
}

async fn connect(options: &PgConnectOptions, url: &ConnectionUrl, place: &str) -> Result<PgConnection, StoreError> {
    let time_limit = url.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let connecting = async {
        let connected = PgConnection::connect_with(options).await;
        let mut connection = connected.map_err(could_not_connect(place))?;
        url.session.expect_of(&mut connection, place).await?;
        Ok(connection)
    };
    let no_answer = || StoreError::NoAnswer { place: place.to_owned(), seconds: time_limit.as_secs() };
    timeout(time_limit, connecting).await.unwrap_or_else(|_| Err(no_answer()))
}

impl TargetSession {
    /// Refuses a server that is not the one that was asked for.
    async fn expect_of(self, connection: &mut PgConnection, place: &str) -> Result<(), StoreError> {
        if self == TargetSession::Any {
            return Ok(());
        }
        let state = "select pg_is_in_recovery(), current_setting('transaction_read_only')::bool";
        let failed = || could_not("ask the server whether it is the primary");
        // In a transaction: behind a pooler, a statement that is prepared first may find another session.
        let mut tx = connection.begin().await.map_err(failed())?;
        let (is_standby, is_read_only): (bool, bool) = query_as(state).fetch_one(&mut *tx).await.map_err(failed())?;
        tx.rollback().await.map_err(failed())?;
        if is_standby || is_read_only && self == TargetSession::ReadWrite {
            return Err(StoreError::NotPrimary { place: place.to_owned() });
        }
        Ok(())
    }
}

/// Another way of encryption helps where the handshake failed, or where the server lets nobody in by this one.
fn may_depend_on_encryption(error: &StoreError) -> bool {
    let StoreError::Connect { source: DatabaseCause(sqlx::Error::Database(refused)), .. } = error else {
        return error.is_of_tls();
    };
    !matches!(error.kind(), ErrorKind::NoFreeConnection | ErrorKind::NoSuchDatabase | ErrorKind::ConnectionLost)
        && refused.code().as_deref() != Some("28P01")
}

/// Another server is asked where this one could not be reached, has no room, or is another kind of server. A password that
/// is refused is refused, as libpq has it.
fn may_depend_on_host(error: &StoreError) -> bool {
    match error {
        StoreError::NotPrimary { .. } | StoreError::NoAnswer { .. } => true,
        StoreError::Connect { source: DatabaseCause(sqlx::Error::Database(_)), .. } => {
            matches!(error.kind(), ErrorKind::NoFreeConnection | ErrorKind::ConnectionLost)
        }
        StoreError::Connect { .. } => true,
        _ => false,
    }
}

/// Every way to connect, in the order in which they are tried.
fn attempts(url: &ConnectionUrl) -> Vec<Attempt> {
    let usual = [Endpoint { address: Address::Usual, port: USUAL_PORT }];
    let endpoints = if url.endpoints.is_empty() { &usual[..] } else { &url.endpoints };
    let attempts_at = |endpoint: &Endpoint| {
        let modes = if endpoint.is_socket() { &[PgSslMode::Disable][..] } else { modes_of(url.tls.mode) };
        let attempt = |(index, mode): (usize, &PgSslMode)| Attempt {
            endpoint: endpoint.clone(),
            mode: *mode,
            next_is_same_server: index + 1 < modes.len(),
        };
        modes.iter().enumerate().map(attempt).collect::<Vec<_>>()
    };
    endpoints.iter().flat_map(attempts_at).collect()
}

fn modes_of(mode: TlsMode) -> &'static [PgSslMode] {
    match mode {
        TlsMode::Disable => &[PgSslMode::Disable],
        TlsMode::Allow => &[PgSslMode::Disable, PgSslMode::Require],
        TlsMode::Prefer => &[PgSslMode::Prefer, PgSslMode::Disable],
        TlsMode::Require => &[PgSslMode::Require],
        TlsMode::VerifyCa => &[PgSslMode::VerifyCa],
        TlsMode::VerifyFull => &[PgSslMode::VerifyFull],
    }
}

impl Endpoint {
    /// The host that sqlx takes where a URL names none: a socket of this machine if there is one, else its loopback address.
    fn host(&self) -> String {
        match &self.address {
            Address::Host(host) => host.clone(),
            Address::Socket(folder) => folder.to_string_lossy().into_owned(),
            Address::Usual => {
                let socket = format!(".s.PGSQL.{}", self.port);
                let folders = ["/var/run/postgresql", "/private/tmp", "/tmp"].map(std::path::Path::new);
                let folder = folders.into_iter().find(|folder| folder.join(&socket).exists());
                folder.map_or_else(|| "localhost".to_owned(), |folder| folder.display().to_string())
            }
        }
    }

    fn is_socket(&self) -> bool {
        self.host().starts_with('/')
    }

    fn place(&self) -> String {
        let (host, port) = (self.host(), self.port);
        match host {
            _ if host.starts_with('/') => format!("{host}/.s.PGSQL.{port}"),
            _ if host.contains(':') => format!("[{host}]:{port}"),
            _ => format!("{host}:{port}"),
        }
    }
}

impl Attempt {
    /// What sqlx is given. It reads the environment by itself, so everything that it could find there is set.
    fn options(&self, source: &ConnectionSource, url: &ConnectionUrl) -> Result<PgConnectOptions, StoreError> {
        let Attempt { endpoint, mode, .. } = self;
        let usual = PgConnectOptions::new_without_pgpass();
        let user = url.user.clone().unwrap_or_else(|| usual.get_username().to_owned());
        let host = endpoint.host();
        // In password files a socket is called localhost.
        let host_in_files = if endpoint.is_socket() { "localhost" } else { host.as_str() };
        let password = url.password.clone().or_else(|| source.password_of(url, host_in_files, endpoint.port, &user));
        let options = match &url.options {
            None => usual,
            Some(options) => with_session_options(options)?,
        };
        let mut options = options
            .port(endpoint.port)
            .username(&user)
            .password(password.as_ref().map_or("", |password| password.expose_secret()))
            .database(url.database.as_deref().unwrap_or(&user))
            .application_name(url.application_name.as_deref().unwrap_or(APPLICATION_NAME))
            .ssl_mode(*mode)
            // A start-up parameter that connection poolers refuse; no floats are read here.
            .extra_float_digits(None);
        options = if endpoint.is_socket() { options.host("localhost").socket(&host) } else { options.host(&host) };
        if matches!(mode, PgSslMode::VerifyCa | PgSslMode::VerifyFull) {
            options = options.ssl_root_cert_from_pem(trusted_roots::root_certificates(&url.tls)?);
        }
        if let Some(client) = url.tls.client.as_ref().filter(|_| !matches!(mode, PgSslMode::Disable)) {
            let (certificate, key) = trusted_roots::client_certificate(client)?;
            options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        Ok(options)
    }
}

/// The only way in which sqlx takes options as they are, rather than as names and values, is its own kind of URL.
fn with_session_options(options: &str) -> Result<PgConnectOptions, StoreError> {
    let escaped: String = options.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = format!("postgres://x:x@x/x?options={escaped}");
    url.parse().map_err(|_| StoreError::BadUrl { source: ConnectionUrlError::EscapedBytes })
}
