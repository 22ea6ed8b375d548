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
use crate::store_error::{StoreError, could_not};

pub use connection_source::{ConnectionSource, UrlSource};
pub use connection_url::{ConnectionUrlError, Variables};
use connection_url::{Address, ConnectionUrl, Endpoint, TargetSession, TlsMode};

/// For one attempt, unless the URL has a `connect_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
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
struct Attempt {
    /// As a person would say it: `db:5432`, or the path of a socket.
    place: String,
    options: PgConnectOptions,
    time_limit: Duration,
    session: TargetSession,
    /// Whether the next attempt is the same server with another encryption.
    next_is_same_server: bool,
}

impl Connector {
    /// Checks the URL, and connects to nothing yet.
    pub(crate) fn new(source: ConnectionSource) -> Result<Connector, StoreError> {
        let first = attempts(&source)?.into_iter().next().map(|attempt| (attempt.place, attempt.options));
        let last = Mutex::new(first.unwrap_or_else(|| (String::new(), PgConnectOptions::new_without_pgpass())));
        Ok(Connector { source: Some(source), last })
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
            return PgConnection::connect_with(&options).await.map_err(|source| StoreError::Connect { place, source });
        };
        let mut attempts = attempts(source)?;
        let last = self.place();
        // Sorting keeps the order of the others.
        attempts.sort_by_key(|attempt| attempt.place != last);
        let mut failure = None;
        let mut is_settled_for_server = None;
        for attempt in attempts {
            if is_settled_for_server.as_ref() == Some(&attempt.place) {
                continue;
            }
            let error = match attempt.connect().await {
                Ok(connection) => {
                    *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (attempt.place, attempt.options);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            if attempt.next_is_same_server && may_depend_on_encryption(&error) {
                tracing::debug!(error = %Chain(&error), "trying the server with another encryption");
            } else if may_depend_on_host(&error) {
                is_settled_for_server = Some(attempt.place);
            } else {
                return Err(error);
            }
            tracing::debug!(error = %Chain(&error), "could not connect");
            failure = Some(error);
        }
        Err(failure.unwrap_or(StoreError::BadUrl { source: ConnectionUrlError::Empty }))
    }
}

/// Where the data goes, as a person would say it; never a password. Several hosts are all named.
pub(crate) fn location(source: &ConnectionSource) -> Result<String, StoreError> {
    let attempts = attempts(source)?;
    let mut places: Vec<&str> = attempts.iter().map(|attempt| attempt.place.as_str()).collect();
    places.dedup();
    let options = attempts.first().map(|attempt| &attempt.options);
    let database = options.and_then(|options| options.get_database()).unwrap_or_default();
    Ok(format!("database {database} at {}", places.join(" or ")))
}

impl Attempt {
    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let place = || self.place.clone();
        let connecting = async {
            let connected = PgConnection::connect_with(&self.options).await;
            let mut connection = connected.map_err(|source| StoreError::Connect { place: place(), source })?;
            self.session.expect_of(&mut connection, &self.place).await?;
            Ok(connection)
        };
        let seconds = self.time_limit.as_secs();
        timeout(self.time_limit, connecting).await.unwrap_or_else(|_| Err(StoreError::NoAnswer { place: place(), seconds }))
    }
}

impl TargetSession {
    /// Refuses a server that is not the one that was asked for.
    async fn expect_of(self, connection: &mut PgConnection, place: &str) -> Result<(), StoreError> {
        if self == TargetSession::Any {
            return Ok(());
        }
        let state = "select pg_is_in_recovery(), current_setting('transaction_read_only')::bool";
        let (is_standby, is_read_only): (bool, bool) =
            query_as(state).fetch_one(connection).await.map_err(could_not("ask the server whether it is the primary"))?;
        if is_standby || is_read_only && self == TargetSession::ReadWrite {
            return Err(StoreError::NotPrimary { place: place.to_owned() });
        }
        Ok(())
    }
}

/// Another way of encryption helps where the handshake failed, or where the server lets nobody in by this one.
fn may_depend_on_encryption(error: &StoreError) -> bool {
    let StoreError::Connect { source: sqlx::Error::Database(refused), .. } = error else { return error.is_of_tls() };
    !matches!(error.kind(), ErrorKind::NoFreeConnection | ErrorKind::NoSuchDatabase | ErrorKind::ConnectionLost)
        && refused.code().as_deref() != Some("28P01")
}

/// Another server is asked where this one could not be reached, has no room, or is another kind of server. A password that
/// is refused is refused, as libpq has it.
fn may_depend_on_host(error: &StoreError) -> bool {
    match error {
        StoreError::NotPrimary { .. } | StoreError::NoAnswer { .. } => true,
        StoreError::Connect { source: sqlx::Error::Database(_), .. } => {
            matches!(error.kind(), ErrorKind::NoFreeConnection | ErrorKind::ConnectionLost)
        }
        StoreError::Connect { .. } => true,
        _ => false,
    }
}

/// Every way to connect, in the order in which they are tried.
fn attempts(source: &ConnectionSource) -> Result<Vec<Attempt>, StoreError> {
    let url = source.read()?;
    let usual = [Endpoint { address: Address::Usual, port: PgConnectOptions::new_without_pgpass().get_port() }];
    let endpoints = if url.endpoints.is_empty() { &usual[..] } else { &url.endpoints };
    let mut attempts = Vec::new();
    for endpoint in endpoints {
        let modes = if endpoint.is_socket() { &[PgSslMode::Disable][..] } else { modes_of(url.tls.mode) };
        for (index, mode) in modes.iter().enumerate() {
            attempts.push(Attempt {
                place: endpoint.place(),
                options: options_of(source, &url, endpoint, *mode)?,
                time_limit: url.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
                session: url.session,
                next_is_same_server: index + 1 < modes.len(),
            });
        }
    }
    Ok(attempts)
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

/// What sqlx is given. It reads the environment by itself, so everything that it could find there is set.
fn options_of(
    source: &ConnectionSource,
    url: &ConnectionUrl,
    endpoint: &Endpoint,
    mode: PgSslMode,
) -> Result<PgConnectOptions, StoreError> {
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
        .ssl_mode(mode)
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

/// The only way in which sqlx takes options as they are, rather than as names and values, is its own kind of URL.
fn with_session_options(options: &str) -> Result<PgConnectOptions, StoreError> {
    let escaped: String = options.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = format!("postgres://x:x@x/x?options={escaped}");
    url.parse().map_err(|_| StoreError::BadUrl { source: ConnectionUrlError::EscapedBytes })
}
