//! The database a workspace is stored in: how to reach it, and the kinds of transactions there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use planhat_model::error::{Chain, Retry};
use secrecy::SecretString;
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::connect::{ConnectionSource, Connector};
use crate::connection::{ConnectionUse, Connections, TransactionKind};
#[cfg(feature = "embedded")]
use crate::embedded::{self, EmbeddedLocation};
use crate::store_error::StoreError;

/// The default of database.reconnect_timeout: as long as a restart takes.
const DEFAULT_RECONNECT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The default of database.statement_timeout.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Where the data goes.
#[derive(Debug)]
pub struct Store {
    pub(crate) connections: Arc<Connections>,
    /// Whether another store lends its connections, and closes them.
    is_lent: bool,
    is_embedded: bool,
    /// Name of the data schema, which is also what the tool's tables call the workspace.
    pub schema: String,
    /// The roles that may read what is stored.
    pub readers: Vec<String>,
    /// How long a run waits for an unreachable server; zero for the embedded one, which does not come back.
    pub reconnect_timeout: Duration,
    #[cfg(feature = "embedded")]
    embedded: Option<embedded::EmbeddedServer>,
}

impl Store {
    /// Connects to a PostgreSQL server, 15 or newer.
    pub async fn connect(url: &SecretString, schema: &str, connections: u32) -> Result<Store, StoreError> {
        Store::connect_with(url.clone().into(), schema, connections, STATEMENT_TIMEOUT).await
    }

    /// The same by all that the settings say of the database, with a time that a statement may take.
    pub async fn connect_with(
        source: ConnectionSource,
        schema: &str,
        connections: u32,
        statement_timeout: Duration,
    ) -> Result<Store, StoreError> {
        let connections = Connections::new(Connector::new(source)?, connections, statement_timeout);
        connections.probe().await?;
        Ok(Store {
            connections: Arc::new(connections),
            is_lent: false,
            is_embedded: false,
            schema: schema.to_owned(),
            readers: Vec::new(),
            reconnect_timeout: DEFAULT_RECONNECT_TIMEOUT,
            #[cfg(feature = "embedded")]
            embedded: None,
        })
    }

    /// Starts the embedded PostgreSQL and connects to it.
    #[cfg(feature = "embedded")]
    pub async fn embedded(place: EmbeddedLocation, schema: &str) -> Result<Store, StoreError> {
        let server = embedded::EmbeddedServer::start(place).await?;
        let connections = Connections::new(Connector::to_embedded(server.options()), 1, STATEMENT_TIMEOUT);
        Ok(Store {
            connections: Arc::new(connections),
            is_lent: false,
            is_embedded: true,
            schema: schema.to_owned(),
            readers: Vec::new(),
            reconnect_timeout: Duration::ZERO,
            embedded: Some(server),
        })
    }

    /// The store of another workspace on the same connections. They are closed with this one.
    #[must_use]
    pub fn lend_to(&self, schema: &str, readers: &[String]) -> Store {
        Store {
            connections: Arc::clone(&self.connections),
            is_lent: true,
            is_embedded: self.is_embedded,
            schema: schema.to_owned(),
            readers: readers.to_vec(),
            reconnect_timeout: self.reconnect_timeout,
            #[cfg(feature = "embedded")]
            embedded: None,
        }
    }

    /// Whether no other process can be using this database.
    pub fn is_embedded(&self) -> bool {
        self.is_embedded
    }

    /// For tests, which look at the stored rows.
    pub fn pool(&self) -> &PgPool {
        self.connections.aside()
    }

    /// After `stop` is cancelled, nothing is retried, and an unresponsive database is waited for only a few seconds.
    pub fn stop_on(&self, stop: CancellationToken) {
        self.connections.stop_on(stop);
    }

    /// Whether the run and its housekeeping share the one connection there is.
    pub fn has_single_connection(&self) -> bool {
        self.connections.is_single()
    }

    /// Runs `work` in a transaction, and retries it after transient errors.
    pub async fn transaction<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with_retries(async || self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, &work).await).await
    }

    /// The same, but the commit does not wait for the disk unless actions are written. A database crash may lose such a
    /// commit; the caller must be able to detect that, as scans do with numbered checkpoints.
    pub async fn transaction_async_commit<T>(
        &self,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with_retries(async || self.connections.transaction(ConnectionUse::Work, TransactionKind::WriteAsync, &work).await)
            .await
    }

    /// Runs `work` in a transaction once, without retries: for callers that retry in their own way.
    pub async fn transaction_once<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, work).await
    }

    /// The same beside a run: on the housekeeping connection if there is one, otherwise between two transactions of the run.
    pub async fn housekeeping<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connections.transaction(ConnectionUse::Housekeeping, TransactionKind::Write, work).await
    }

    /// Runs `read` in a read-only transaction once, without retries: the caller wants the current state or an error.
    pub async fn read_only<T>(
        &self,
        read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connections.transaction(ConnectionUse::Work, TransactionKind::Read, read).await
    }

    /// The same beside a run.
    pub async fn read_only_housekeeping<T>(
        &self,
        read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connections.transaction(ConnectionUse::Housekeeping, TransactionKind::Read, read).await
    }

    /// Retries a transaction after transient errors: a dozen times if another session holds a lock (each wait is short,
    /// because waiting for a lock blocks the readers that queue behind it), and for `reconnect_timeout` on new connections
    /// if the server is unreachable. After a stop was requested nothing is retried.
    async fn with_retries<T>(&self, attempt: impl AsyncFn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        const ATTEMPTS: u32 = 12;
        let stop = self.connections.stop();
        let (begun, mut attempts, mut wait) = (Instant::now(), 0, Duration::from_millis(250));
        loop {
            attempts += 1;
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let retry = error.kind().retry();
            let is_over = match retry {
                Retry::Never | Retry::FromCheckpoint => true,
                Retry::Briefly => attempts >= ATTEMPTS,
                Retry::UntilTimeout => begun.elapsed() + wait > self.reconnect_timeout,
            };
            if is_over || stop.is_cancelled() {
                return Err(error);
            }
            tracing::warn!(error = %Chain(&error), wait_ms = wait.as_millis(), "a transaction failed: trying again");
            tokio::select! {
                () = stop.cancelled() => return Err(error),
                () = tokio::time::sleep(wait) => {}
            }
            wait = if retry == Retry::Briefly { Duration::from_secs(1) } else { (wait * 2).min(Duration::from_secs(15)) };
        }
    }

    /// Closes all connections and stops the embedded server, which would otherwise wait for them.
    pub async fn close(self) {
        if self.is_lent {
            return;
        }
        self.connections.close().await;
        #[cfg(feature = "embedded")]
        if let Some(server) = self.embedded {
            server.stop().await;
        }
    }
}

/// Whether an embedded database would have to be made in this folder before there is anything to look at.
pub fn needs_new_embedded_database(folder: &std::path::Path) -> bool {
    #[cfg(feature = "embedded")]
    return !embedded::database_exists(folder);
    #[cfg(not(feature = "embedded"))]
    {
        _ = folder;
        false
    }
}
