//! Transactions on connections to PostgreSQL, and how long anything may wait for the server.
//!
//! A server or a network can stop responding without closing the connection: a failover, a firewall that dropped it, a
//! frozen machine. Then only the client can end the wait. So every transaction has a stall limit: if the server sends
//! *nothing* for the statement timeout plus a few seconds, the connection is closed instead of being returned to the pool.
//! After a stop was requested, the limit is a few seconds.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::connect::Connector;
use crate::connection_pool::{BorrowedConnection, ConnectionPool};
use crate::engine;
use crate::sql::{Sql, query_scalar};
use crate::store_error::{DatabaseCause, StoreError, could_not};

/// How much longer than the statement timeout the server's answer may take, at most.
const NETWORK_GRACE: Duration = Duration::from_secs(10);
/// What a transaction does first.
const BEGIN: &str = "begin a transaction";
/// The longest wait for a lock of another session: a longer wait would block the readers that queue behind it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the database may not respond after a stop was requested; and, once it has stalled for that long, for each
/// further transaction.
const STALL_LIMIT_WHILE_STOPPING: Duration = Duration::from_secs(3);
const STALL_LIMIT_ONCE_STALLED: Duration = Duration::from_millis(500);
/// The time limit for closing all connections cleanly.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// For what is not a transaction: tests that look at rows.
const FEW_CONNECTIONS: u32 = 4;

/// What a transaction may do, and whether its commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionKind {
    Write,
    /// Its commit does not wait for the server's disk.
    WriteAsync,
    Read,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionUse {
    Work,
    Housekeeping,
}

#[derive(Debug)]
pub(crate) struct Connections {
    connector: Arc<Connector>,
    pool: ConnectionPool,
    /// For tests. It has no connection before it is asked for one.
    aside: PgPool,
    /// How long a statement may take.
    statement_timeout: Duration,
    stalls: StallDetector,
    /// Whether the server has Citus; known from the first transaction on.
    citus: OnceLock<bool>,
}

impl Connections {
    /// At most `count` connections; opened when they are wanted.
    pub(crate) fn new(connector: Connector, count: u32, statement_timeout: Duration) -> Connections {
        // Where statements have to be short, so have waits for each other.
        let longest_wait = statement_timeout.saturating_mul(4);
        let aside = PgPoolOptions::new().max_connections(FEW_CONNECTIONS).connect_lazy_with(connector.options());
        let connector = Arc::new(connector);
        let pool = ConnectionPool::new(Arc::clone(&connector), count, longest_wait);
        Connections { connector, pool, aside, statement_timeout, stalls: StallDetector::default(), citus: OnceLock::new() }
    }

    pub(crate) fn aside(&self) -> &PgPool {
        &self.aside
    }

    pub(crate) fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Whether a run and its housekeeping have to share the one connection there is.
    pub(crate) fn is_single(&self) -> bool {
        self.pool.is_single()
    }

    /// Connects once, so that what is wrong shows at once and by its name. The connection is used by what comes next.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        self.pool.borrow(ConnectionUse::Work).await?.is_fit_for_reuse();
        Ok(())
    }

    /// From when `stop` is cancelled, the database may be silent for seconds only.
    pub(crate) fn stop_on(&self, stop: CancellationToken) {
        // The first token stays.
        let _ = self.stalls.stop.set(stop);
    }

    pub(crate) fn stop(&self) -> CancellationToken {
        self.stalls.stop()
    }

    /// One transaction, once.
    pub(crate) async fn transaction<T>(
        &self,
        which: ConnectionUse,
        begin: TransactionKind,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut borrowed = self.borrow(which).await?;
        let sql = self.begin(begin).safe();
        let connection = borrowed.get()?;
        let done = self.stalls.with_stall_limit(self.statement_timeout + NETWORK_GRACE.min(self.statement_timeout), async {
            let mut tx = connection.begin_with(sql).await.map_err(could_not(BEGIN))?;
            self.rely_on_workers(&mut tx).await.map_err(could_not(BEGIN))?;
            let done = work(&mut tx).await?;
            tx.commit().await.map_err(could_not("commit"))?;
            Ok(done)
        });
        match done.await? {
            Ok(done) => {
                borrowed.is_fit_for_reuse();
                Ok(done)
            }
            // The server has said no, so it answers.
            Err(error @ StoreError::Statement { doing: BEGIN, source: DatabaseCause(sqlx::Error::Database(_)) }) => {
                let place = self.connector.place();
                let named = engine::named_in(error, borrowed.get()?, &place);
                self.stalls.with_stall_limit(NETWORK_GRACE, named).await.map(Err)?
            }
            Err(error) => Err(error),
        }
    }

    /// Closes all connections, in good order where the server still answers.
    pub(crate) async fn close(&self) {
        let all = async { tokio::join!(self.pool.close(), self.aside.close()) };
        let within = if self.stalls.has_stalled_before() { STALL_LIMIT_ONCE_STALLED } else { CLOSE_TIMEOUT };
        if timeout(within, all).await.is_err() {
            tracing::debug!("the database did not answer to the end of all connections");
        }
    }

    async fn borrow(&self, which: ConnectionUse) -> Result<BorrowedConnection, StoreError> {
        if self.aside.is_closed() {
            return Err(could_not("reach the database")(sqlx::Error::PoolClosed));
        }
        // The pool ends its wait itself; a stop ends it sooner.
        tokio::select! {
            biased;
            acquired = self.pool.borrow(which) => acquired,
            silent = self.stalls.after_stop_grace() => Err(silent),
        }
    }

    /// Whether the server has Citus. False before the first transaction.
    pub(crate) fn is_citus(&self) -> bool {
        self.citus.get().is_some_and(|is_citus| *is_citus)
    }

    /// Citus sends no setting of the transaction to the servers that have the tables, unless it is told to.
    async fn rely_on_workers(&self, db: &mut PgConnection) -> Result<(), sqlx::Error> {
        let is_citus = match self.citus.get() {
            Some(is_citus) => *is_citus,
            None => {
                const LOOK: &str = "select pg_catalog.current_setting('citus.version', true) is not null";
                let is_citus = query_scalar(LOOK).fetch_one(&mut *db).await?;
                *self.citus.get_or_init(|| is_citus)
            }
        };
        if is_citus { Sql::new(RELIED_ON_BY_WORKERS).execute_in_one_message(db).await } else { Ok(()) }
    }

    /// The server lets neither a statement, a lock nor an idle transaction wait without end, and [`RELIED_ON`] holds. Local to
    /// the transaction, so that a connection pooler in between does no harm.
    ///
    /// This is the one text of several statements: they touch no table, so that no engine has to distribute them, and each call of its
    /// own would let every page wait for the network once more.
    fn begin(&self, begin: TransactionKind) -> Sql {
        let sql = Sql::new("begin isolation level read committed");
        let sql = if begin == TransactionKind::Read { sql.text(" read only; ") } else { sql.text("; ") };
        let sql = sql.text(RELIED_ON).text("; set local lock_timeout = ").milliseconds(LOCK_TIMEOUT);
        let sql = sql.text("; set local statement_timeout = ").milliseconds(self.statement_timeout);
        let sql = sql.text("; set local idle_in_transaction_session_timeout = ").milliseconds(self.statement_timeout);
        if begin == TransactionKind::WriteAsync { sql.text("; set local synchronous_commit = off") } else { sql }
    }
}

/// What the statements rely on, whatever the role, the database or the server is set to. What belongs to PostgreSQL is found
/// first, and behind it what was found before, for triggers of users. Row security hides what its policies say instead of failing
/// every statement; whether they hide anything from us is checked where a run begins.
///
/// The first statement is written for a search path in which nothing is where it should be: it names the schema of everything,
/// and uses no operator.
const RELIED_ON: &str = "select pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'pg_catalog', \
         pg_catalog.substring(pg_catalog.current_setting('search_path'), '.+')), true); \
     set local standard_conforming_strings = on; set local quote_all_identifiers = off; set local row_security = on; set local timezone = 'UTC'; \
     set local datestyle = 'ISO, MDY'";

/// The part of it that changes what a server of Citus with a part of the data answers. Not in one call with `begin`, which Citus would
/// send along.
const RELIED_ON_BY_WORKERS: &str = "set local citus.propagate_set_commands = 'local'; set local timezone = 'UTC'; \
     set local datestyle = 'ISO, MDY'";

/// From here to the end of the transaction no lock is waited for longer than this.
pub async fn limit_lock_waits(db: &mut PgConnection, limit: Duration) -> Result<(), StoreError> {
    let sql = Sql::new("set local lock_timeout = ").milliseconds(limit);
    sql.query().execute(db).await.map_err(could_not("limit how long locks are waited for"))?;
    Ok(())
}

/// Tells a slow database from one that no longer responds.
#[derive(Debug, Default)]
struct StallDetector {
    stop: OnceLock<CancellationToken>,
    /// The database has stalled since the stop was requested.
    has_stalled: AtomicBool,
}

impl StallDetector {
    /// Runs `work`, and gives up if the server sends nothing for `limit`.
    async fn with_stall_limit<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let work = pin!(work);
        let now = Instant::now();
        let listening = StallLimited {
            work,
            woken: Arc::new(WakeFlag { is_set: AtomicBool::new(true), waker: AtomicWaker::new() }),
            stalls: self,
            limit,
            last_woken: now,
            deadline: Box::pin(sleep_until(now + limit)),
            stopping: Some(Box::pin(self.stop().cancelled_owned())),
        };
        listening.await
    }

    /// Returns when a stop was requested and its grace period is over.
    async fn after_stop_grace(&self) -> StoreError {
        self.stop().cancelled().await;
        let waited = self.stop_grace();
        tokio::time::sleep(waited).await;
        self.has_stalled.store(true, Ordering::Relaxed);
        StoreError::Unresponsive { waited }
    }

    /// Without a token, nothing requests a stop.
    fn stop(&self) -> CancellationToken {
        self.stop.get().cloned().unwrap_or_default()
    }

    fn stop_grace(&self) -> Duration {
        if self.has_stalled_before() { STALL_LIMIT_ONCE_STALLED } else { STALL_LIMIT_WHILE_STOPPING }
    }

    fn has_stalled_before(&self) -> bool {
        self.has_stalled.load(Ordering::Relaxed)
    }
}

/// A future that is polled only when its socket wakes it, that is, when the server has sent something. So the time of
/// the last answer is known, whatever else wakes the task around it.
struct StallLimited<'a, F> {
    work: Pin<&'a mut F>,
    woken: Arc<WakeFlag>,
    stalls: &'a StallDetector,
    limit: Duration,
    /// When the server last sent something.
    last_woken: Instant,
    deadline: Pin<Box<Sleep>>,
    /// None after a stop was requested.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Records that the task was woken, that is, that the server sent something.
struct WakeFlag {
    is_set: AtomicBool,
    waker: AtomicWaker,
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl<T, F: Future<Output = T>> Future for StallLimited<'_, F> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.woken.waker.register(context.waker());
        if this.woken.is_set.swap(false, Ordering::Acquire) {
            let waker = Waker::from(Arc::clone(&this.woken));
            let polled = this.work.as_mut().poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(done) = polled {
                return Poll::Ready(Ok(done));
            }
            this.last_woken = Instant::now();
            let limit = if this.stopping.is_none() { this.stalls.stop_grace() } else { this.limit };
            this.deadline.as_mut().reset(this.last_woken + limit);
        }
        if this.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            this.stopping = None;
            let soon = Instant::now() + this.stalls.stop_grace();
            if soon < this.deadline.deadline() {
                this.deadline.as_mut().reset(soon);
            }
        }
        if this.deadline.as_mut().poll(context).is_ready() {
            if this.stopping.is_none() {
                this.stalls.has_stalled.store(true, Ordering::Relaxed);
            }
            return Poll::Ready(Err(StoreError::Unresponsive { waited: this.last_woken.elapsed() }));
        }
        Poll::Pending
    }
}
