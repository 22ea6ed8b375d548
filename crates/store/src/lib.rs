//! PostgreSQL: all SQL there is. Knows no HTTP.
//!
//! ```text
//! tables (schema of the data) -> rows (upsert) -+
//! actions (what changed) -----------------------+- one transaction per page
//! cursors (watermark, unfinished scan) ---------+
//! gone (what a full scan was not shown, and what Planhat then says is not there)
//! timeline: the actions as they are read, and by whom how far
//! workspaces: whose schema it is
//! runs, states (how each object stands), lease, quarantine, notifications: the tool's own tables, schema planhat_sync
//! ```
//!
//! One function per statement, the connection passed in, so that the caller decides what is committed
//! together. Everything works with a single connection: the embedded PostgreSQL has just one.

mod connection;
mod data;
#[cfg(feature = "embedded")]
mod embedded;
mod requirements;
mod sql;
mod state;
mod store_error;
mod timeline;

use std::str::FromStr;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
pub use sqlx::PgConnection;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgPool};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use data::column_types::{Retyped, retype};
pub use data::deletions::{
    UnlistedRows, count_unlisted, deletion_marks_of, has_live_rows, mark_deleted, save_listed_ids, some_listed_ids, unlisted,
};
pub use data::diff::{Difference, PageDiff, compare, differences};
pub use data::tables::{
    SampleQuery, add_columns, create_table, load_columns, lock_columns, recreate_dropped_columns, row_count, sample,
    table_exists, table_sql,
};
pub use data::upsert::{RefusedRow, RowCounts, Target, upsert, upsert_bisecting};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedLocation;
pub use requirements::{ConnectionSecurity, DatabaseRequirements, check_requirements, synced_tables};
pub use state::bindings::{
    Binding, NewBinding, Proof, bind, binding, expect_binding, has_actions, has_ever_had_rows, ids_at_both_ends, new_key, tables,
};
pub use state::checkpoint::{
    Cursor, Durability, PageStep, PageWork, ScanCheckpoint, ScanProgress, UnfinishedScan, cursor, end_covered_history, end_scans,
    move_cursor, reset_object, reset_workspace, unfinished_scans,
};
pub use state::leases::{
    DaemonLease, DaemonLeaseHolder, LeaseHolder, ProcessIdentity, ProcessState, RENEW_EVERY, RenewedLease, STALE_AFTER, Takeover,
    acquire_daemon_lease, acquire_lease, fence, reacquire_lease, release_daemon_lease, renew_daemon_lease, renew_lease,
    request_lease, yield_lease,
};
pub use state::object_states::{
    MisfitColumn, ObjectState, WorkspaceOverview, last_readable, object_states, overview, record_misfits,
};
pub use state::outbox::{
    ClaimedMessage, Message, announced_state, claim_notification, delete_old_notifications, next_notification,
    notification_delivered, notification_failed, queue_notification, retry_notifications_now, save_announced_state,
};
pub use state::quarantined::{
    NewQuarantineEntry, QuarantineEntry, QuarantineGroup, delete_quarantine_entries, ids_in_quarantine, latest_in_quarantine,
    quarantine_entry, quarantine_groups, quarantine_records, release_stored, release_unlisted, texts_in_quarantine,
};
pub use state::run_history::{
    Explanation, Figures, ObjectRun, ObjectStatus, PastObjectRun, PastRun, RunStatus, delete_old_runs, finish_run,
    last_good_start, objects_of_run, recent_runs, record_calls, record_object_run, run_of,
};
pub use store_error::StoreError;
pub use timeline::action_builder::{ActionPolicy, TimelineOptions};
pub use timeline::action_table::{actions_sql, create_actions_table, delete_old_actions};
pub use timeline::consumers::{consumer_position, save_consumer_position};
pub use timeline::listener::ActionListener;
pub use timeline::read_actions::{
    ActionFilter, ActionQuery, PastAction, last_action_before, latest_action, newest_actions, next_actions,
};
pub use timeline::view::create_timeline_view;

use connection::{ConnectionUse, Connections, TransactionKind};
use planhat_model::error::{Chain, Retry};
use sql::{query, query_scalar};
use store_error::could_not;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");
/// Any number does, as long as every version of the tool locks the same one while it migrates.
const MIGRATION_LOCK: i64 = 0x706c_616e_6861_7401;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// As long as a restart takes, unless the settings say otherwise.
const DEFAULT_RECONNECT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// What a statement may take, unless the settings say otherwise.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The schema of the tool's own tables.
pub const OWN_SCHEMA: &str = "planhat_sync";

/// Where the data goes.
#[derive(Debug)]
pub struct Store {
    connections: Connections,
    /// Name of the data schema, which is also what the tool's tables call the workspace.
    pub schema: String,
    /// How long a server that has gone is waited for; the embedded one does not come back.
    pub reconnect_timeout: Duration,
    #[cfg(feature = "embedded")]
    embedded: Option<embedded::EmbeddedServer>,
}

impl Store {
    /// Connects to a PostgreSQL server, 15 or newer.
    pub async fn connect(url: &SecretString, schema: &str, connections: u32) -> Result<Store, StoreError> {
        Store::connect_with(url, schema, connections, STATEMENT_TIMEOUT).await
    }

    /// The same, with a time that a statement may take.
    pub async fn connect_with(
        url: &SecretString,
        schema: &str,
        connections: u32,
        statement_timeout: Duration,
    ) -> Result<Store, StoreError> {
        let url = url.expose_secret();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(StoreError::NoPostgresUrl);
        }
        let options = PgConnectOptions::from_str(url).map_err(|source| StoreError::BadUrl { source })?;
        // A start-up parameter that connection poolers refuse; no floats are read here.
        let options = options.extra_float_digits(None);
        probe(&options).await?;
        Ok(Store {
            connections: Connections::new(options, connections, statement_timeout),
            schema: schema.to_owned(),
            reconnect_timeout: DEFAULT_RECONNECT_TIMEOUT,
            #[cfg(feature = "embedded")]
            embedded: None,
        })
    }

    /// Starts the embedded PostgreSQL and connects to it.
    #[cfg(feature = "embedded")]
    pub async fn embedded(place: EmbeddedLocation, schema: &str) -> Result<Store, StoreError> {
        let server = embedded::EmbeddedServer::start(place).await?;
        let connections = Connections::new(server.options(), 1, STATEMENT_TIMEOUT);
        Ok(Store { connections, schema: schema.to_owned(), reconnect_timeout: Duration::ZERO, embedded: Some(server) })
    }

    /// Whether no other process can be using this database.
    pub fn is_embedded(&self) -> bool {
        #[cfg(feature = "embedded")]
        return self.embedded.is_some();
        #[cfg(not(feature = "embedded"))]
        false
    }

    /// For looking at what was stored, as tests do.
    pub fn pool(&self) -> &PgPool {
        self.connections.pool()
    }

    /// Once `stop` is cancelled, no more is tried again, and a database that says nothing is waited for some seconds only.
    pub fn stop_on(&self, stop: CancellationToken) {
        self.connections.stop_on(stop);
    }

    /// Whether the run and its housekeeping share the one connection there is.
    pub fn has_single_connection(&self) -> bool {
        self.connections.is_single()
    }

    /// Makes both schemas and brings the tool's own tables up to date.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrated = self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, async |db| {
            // Held for the transaction, not the session, so that a connection pooler in between does no harm.
            query("select pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *db)
                .await
                .map_err(could_not("wait for another migration"))?;
            for schema in [OWN_SCHEMA, &self.schema] {
                data::tables::create_schema(&mut *db, schema).await?;
            }
            match is_set_up(&mut *db).await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(StoreError::OtherVersion) => {}
                Err(error) => return Err(error),
            }
            // The migrator prepares statements by names that others may have used on the same server connection behind a pooler.
            sql::forget_prepared(&mut *db).await?;
            let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
            migrator.set_locking(false);
            migrator.dangerous_set_table_name(format!("{OWN_SCHEMA}.migrations"));
            migrator.run(&mut *db).await.map_err(|source| StoreError::Migrate { source })?;
            db.clear_cached_statements().await.map_err(could_not("forget the statements of a migration"))
        });
        migrated.await
    }

    /// Whether the tool's own tables have been made; an error if another version has made them. Needs
    /// no more than the right to read.
    pub async fn is_set_up(&self) -> Result<bool, StoreError> {
        self.read_only(is_set_up).await
    }

    /// Does something in a transaction of its own, and again while that may help.
    pub async fn transaction<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.with_retries(async || self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, &work).await).await
    }

    /// The same without waiting for the disk, unless actions are written in it. Whoever uses it has to notice when a
    /// database that died has forgotten it, as scans do.
    pub async fn transaction_async_commit<T>(
        &self,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with_retries(async || self.connections.transaction(ConnectionUse::Work, TransactionKind::WriteAsync, &work).await)
            .await
    }

    /// Does something in a transaction of its own, once: for what is tried again in another way.
    pub async fn transaction_once<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, work).await
    }

    /// The same beside a run: on a connection of its own where there is a second one, else between two transactions of
    /// the run.
    pub async fn housekeeping<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.connections.transaction(ConnectionUse::Housekeeping, TransactionKind::Write, work).await
    }

    /// Reads something in a transaction that cannot write, once: who looks wants to know how things are now.
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

    /// Does a transaction again while that may help. A lock of somebody else is waited for a dozen times, since
    /// whoever waits for one also holds up the readers behind it; a server that has gone, for as long as a restart
    /// takes, on a new connection. Who is asked to stop tries nothing again.
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
            tracing::warn!(error = %Chain(&error), wait_ms = wait.as_millis(), "the database could not: trying again");
            tokio::select! {
                () = stop.cancelled() => return Err(error),
                () = tokio::time::sleep(wait) => {}
            }
            wait = if retry == Retry::Briefly { Duration::from_secs(1) } else { (wait * 2).min(Duration::from_secs(15)) };
        }
    }

    /// Closes all connections and stops the embedded server, which would otherwise wait for them.
    pub async fn close(self) {
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

/// Whether the tool's own tables have been made, by this version.
pub async fn is_set_up(db: &mut PgConnection) -> Result<bool, StoreError> {
    // By the catalogue, which needs no privilege.
    let exists: bool = query_scalar(
        "select exists (select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = $1 and relname = 'migrations')",
    )
    .bind(OWN_SCHEMA)
    .fetch_one(&mut *db)
    .await
    .map_err(could_not("look for a table"))?;
    if !exists {
        return Ok(false);
    }
    let applied: Option<i64> = query_scalar("select max(version) from planhat_sync.migrations where success")
        .fetch_one(db)
        .await
        .map_err(could_not("read the version of the tables"))?;
    if applied == MIGRATOR.iter().map(|migration| migration.version).max() { Ok(true) } else { Err(StoreError::OtherVersion) }
}

/// Connects once, so that what is wrong shows at once and by its name; a pool would go on trying.
async fn probe(options: &PgConnectOptions) -> Result<(), StoreError> {
    let (host, port) = (options.get_host().to_owned(), options.get_port());
    let attempt = async { PgConnection::connect_with(options).await?.close().await };
    match timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(connected) => connected.map_err(|source| StoreError::Connect { host, port, source }),
        Err(_) => Err(StoreError::NoAnswer { host, port, seconds: CONNECT_TIMEOUT.as_secs() }),
    }
}
