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
pub use data::deletions::{Presence, has_rows, mark_deleted, note_seen, presence, some_seen, stored_among, unseen};
pub use data::tables::{
    add_columns, create_table, load_columns, lock_columns, mend_columns, row_count, sample, table_exists, table_sql,
};
pub use data::upsert::{Compared, Difference, Refused, Target, Written, compare, differences, upsert, upsert_in_halves};
#[cfg(feature = "embedded")]
pub use embedded::Place;
pub use requirements::{Health, Way, health, synced_tables};
pub use state::bindings::{
    Binding, Proof, bind, binding, expect_binding, has_actions, ids_at_both_ends, new_key, tables, was_filled,
};
pub use state::checkpoint::{
    Cursor, Scan, ScanKind, cursor, end_covered_history, end_scan, end_scans, expect_position, forget_object, forget_workspace,
    move_cursor, save_scan, unfinished_scans,
};
pub use state::leases::{
    DaemonHolder, DaemonLease, HEARTBEAT, Held, Holder, Lease, MayTake, Process, STALE_AFTER, acquire_daemon_lease,
    ask_for_lease, beat, fence, free_lease, release_daemon_lease, renew_daemon_lease, take_lease, take_lease_back,
};
pub use state::object_states::{MisfitColumn, ObjectState, Overview, last_readable, note_misfits, object_states, overview};
pub use state::outbox::{
    ClaimedMessage, Message, claim_notification, forget_notifications, hasten_notifications, next_notification,
    notification_delivered, notification_failed, put_notification, save_told, told,
};
pub use state::quarantined::{
    Entry, Quarantined, Waiting, drop_from_quarantine, ids_in_quarantine, in_quarantine, latest_in_quarantine, put_in_quarantine,
    release_stored, release_unseen, texts_in_quarantine, waiting,
};
pub use state::run_history::{
    Figures, ObjectRun, ObjectStatus, PastObjectRun, PastRun, RunStatus, Why, finish_run, forget_runs, last_good_start,
    note_calls, objects_of_run, recent_runs, record_object_run, run_of,
};
pub use store_error::Error;
pub use timeline::action_log::{Noted, Timeline, actions_sql, forget_actions, make_actions, old_as_it_may_be_kept};
pub use timeline::read::{
    Bell, PastAction, Wanted, last_action_before, latest_action, make_timeline, newest_actions, next_actions, position,
    save_position,
};

use connection::{Begin, Connections, For};
use planhat_model::error::Chain;
use sql::{query, query_scalar};
use store_error::could_not;

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");
/// Any number does, as long as every version of the tool locks the same one while it migrates.
const MIGRATION_LOCK: i64 = 0x706c_616e_6861_7401;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// As long as a restart takes, unless the settings say otherwise.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
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
    pub patience: Duration,
    #[cfg(feature = "embedded")]
    embedded: Option<embedded::Server>,
}

impl Store {
    /// Connects to a PostgreSQL server, 15 or newer.
    pub async fn connect(url: &SecretString, schema: &str, connections: u32) -> Result<Store, Error> {
        Store::connect_with(url, schema, connections, STATEMENT_TIMEOUT).await
    }

    /// The same, with a time that a statement may take.
    pub async fn connect_with(
        url: &SecretString,
        schema: &str,
        connections: u32,
        statement_timeout: Duration,
    ) -> Result<Store, Error> {
        let url = url.expose_secret();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(Error::NoPostgresUrl);
        }
        let options = PgConnectOptions::from_str(url).map_err(|source| Error::BadUrl { source })?;
        // A start-up parameter that connection poolers refuse; no floats are read here.
        let options = options.extra_float_digits(None);
        probe(&options).await?;
        Ok(Store {
            connections: Connections::new(options, connections, statement_timeout),
            schema: schema.to_owned(),
            patience: PATIENCE,
            #[cfg(feature = "embedded")]
            embedded: None,
        })
    }

    /// Starts the embedded PostgreSQL and connects to it.
    #[cfg(feature = "embedded")]
    pub async fn embedded(place: Place, schema: &str) -> Result<Store, Error> {
        let server = embedded::Server::start(place).await?;
        let connections = Connections::new(server.options(), 1, STATEMENT_TIMEOUT);
        Ok(Store { connections, schema: schema.to_owned(), patience: Duration::ZERO, embedded: Some(server) })
    }

    /// Whether no other process can be using this database.
    pub fn is_ours_alone(&self) -> bool {
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
    pub fn end_with(&self, stop: CancellationToken) {
        self.connections.end_with(stop);
    }

    /// Whether the run and its housekeeping share the one connection there is.
    pub fn has_one_connection(&self) -> bool {
        self.connections.is_one()
    }

    /// Makes both schemas and brings the tool's own tables up to date.
    pub async fn migrate(&self) -> Result<(), Error> {
        let migrated = self.connections.transaction(For::Work, Begin::Write, async |db| {
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
                Ok(false) | Err(Error::OtherVersion) => {}
                Err(error) => return Err(error),
            }
            // The migrator prepares statements by names that others may have used on the same server connection behind a pooler.
            sql::forget_prepared(&mut *db).await?;
            let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
            migrator.set_locking(false);
            migrator.dangerous_set_table_name(format!("{OWN_SCHEMA}.migrations"));
            migrator.run(&mut *db).await.map_err(|source| Error::Migrate { source })?;
            db.clear_cached_statements().await.map_err(could_not("forget the statements of a migration"))
        });
        migrated.await
    }

    /// Whether the tool's own tables have been made; an error if another version has made them. Needs
    /// no more than the right to read.
    pub async fn is_set_up(&self) -> Result<bool, Error> {
        self.look(is_set_up).await
    }

    /// Does something in a transaction of its own, and again while that may help.
    pub async fn transaction<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        self.patiently(async || self.connections.transaction(For::Work, Begin::Write, &work).await).await
    }

    /// The same without waiting for the disk, unless actions are written in it. Whoever uses it has to notice when a
    /// database that died has forgotten it, as scans do.
    pub async fn hasty_transaction<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        self.patiently(async || self.connections.transaction(For::Work, Begin::WriteSoon, &work).await).await
    }

    /// Does something in a transaction of its own, once: for what is tried again in another way.
    pub async fn attempt<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        self.connections.transaction(For::Work, Begin::Write, work).await
    }

    /// The same beside a run: on a connection of its own where there is a second one, else between two transactions of
    /// the run.
    pub async fn housekeeping<T>(&self, work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        self.connections.transaction(For::Housekeeping, Begin::Write, work).await
    }

    /// Reads something in a transaction that cannot write, once: who looks wants to know how things are now.
    pub async fn look<T>(&self, read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        self.connections.transaction(For::Work, Begin::Read, read).await
    }

    /// The same beside a run.
    pub async fn look_aside<T>(&self, read: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>) -> Result<T, Error> {
        self.connections.transaction(For::Housekeeping, Begin::Read, read).await
    }

    /// Does a transaction again while that may help. A lock of somebody else is waited for a dozen times, since
    /// whoever waits for one also holds up the readers behind it; a server that has gone, for as long as a restart
    /// takes, on a new connection. Who is asked to stop tries nothing again.
    async fn patiently<T>(&self, attempt: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
        const ATTEMPTS: u32 = 12;
        let stop = self.connections.stop();
        let (begun, mut attempts, mut wait) = (Instant::now(), 0, Duration::from_millis(250));
        loop {
            attempts += 1;
            let error = match attempt().await {
                Err(error) if error.is_transient() => error,
                result => return result,
            };
            let is_lock = error.is_lock_conflict();
            let is_over = if is_lock { attempts >= ATTEMPTS } else { begun.elapsed() + wait > self.patience };
            if is_over || stop.is_cancelled() {
                return Err(error);
            }
            tracing::warn!(error = %Chain(&error), wait_ms = wait.as_millis(), "the database could not: trying again");
            tokio::select! {
                () = stop.cancelled() => return Err(error),
                () = tokio::time::sleep(wait) => {}
            }
            wait = if is_lock { Duration::from_secs(1) } else { (wait * 2).min(Duration::from_secs(15)) };
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
pub fn could_be_made(folder: &std::path::Path) -> bool {
    #[cfg(feature = "embedded")]
    return !embedded::is_made(folder);
    #[cfg(not(feature = "embedded"))]
    {
        _ = folder;
        false
    }
}

/// Whether the tool's own tables have been made, by this version.
pub async fn is_set_up(db: &mut PgConnection) -> Result<bool, Error> {
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
    if applied == MIGRATOR.iter().map(|migration| migration.version).max() { Ok(true) } else { Err(Error::OtherVersion) }
}

/// Connects once, so that what is wrong shows at once and by its name; a pool would go on trying.
async fn probe(options: &PgConnectOptions) -> Result<(), Error> {
    let (host, port) = (options.get_host().to_owned(), options.get_port());
    let attempt = async { PgConnection::connect_with(options).await?.close().await };
    match timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(connected) => connected.map_err(|source| Error::Connect { host, port, source }),
        Err(_) => Err(Error::NoAnswer { host, port, seconds: CONNECT_TIMEOUT.as_secs() }),
    }
}
