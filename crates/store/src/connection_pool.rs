//! The connections that are open, and who may use one.
//!
//! The pool of sqlx cannot be used here: where a server refuses a further connection, it waits for a minute for the server to
//! change its mind, although a connection of its own may come back within milliseconds. A role, a database, a server and a
//! pooler each have limits, and it is not an error if they allow fewer connections than the settings: with one connection
//! everything works, only slower. So a connection that is refused for want of room is given up, with a warning, and its
//! user waits for one that is open. After some minutes it is tried again. Only where none is open, the refusal is an
//! error, after some seconds.
//!
//! A run and its housekeeping (leases, health checks) must not wait for each other, so the transactions of a run leave one
//! connection to it. If there is one connection only, they share it: the semaphores are fair, so housekeeping gets it between
//! two transactions of the run.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use planhat_model::error::{Chain, ErrorKind};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::connect::Connector;
use crate::connection::ConnectionUse;
use crate::sql::Sql;
use crate::store_error::{DatabaseCause, StoreError, could_not};

/// The longest wait for a connection. With a single connection, pages of several objects wait for each other.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for housekeeping, which is retried soon anyway.
const SHORT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a server may have no room for the first connection, or not listen, before that is an error: a connection that
/// has just been closed counts for some milliseconds more, and a server that restarts is back soon.
const NO_ROOM_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(1);
/// A pooler without room may accept a connection and let its first statement wait.
const FURTHER_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long fewer connections than configured are put up with before another one is tried.
const GROW_AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);
/// How long a server may count a connection that was closed.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// The time limit for a ping of a connection that was idle; a connection that fails it is closed.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for less than this is not pinged.
const NO_PING_BELOW: Duration = Duration::from_secs(1);
/// The time limit for telling the server that a connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// An unused connection is closed after this long, and each one after this long in use.
const LONGEST_IDLE: Duration = Duration::from_secs(10 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);
const CLEAN_UP_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct ConnectionPool {
    connections: Arc<OpenConnections>,
    connector: Arc<Connector>,
    /// By the settings.
    wanted: u32,
    /// One for each connection that may be open.
    all: Arc<Semaphore>,
    /// One less, so that the transactions of a run leave one to housekeeping.
    of_work: Arc<Semaphore>,
    longest_wait: Duration,
    limit: Mutex<ServerLimit>,
}

/// How many connections the server has let us have.
#[derive(Debug)]
struct ServerLimit {
    allowed: u32,
    /// When a connection was refused last.
    refused_at: Option<Instant>,
    is_reported: bool,
}

/// Those that are open: at rest here, or in use.
#[derive(Debug, Default)]
struct OpenConnections {
    idle: Mutex<Vec<IdleConnection>>,
    count: AtomicU32,
    is_closed: AtomicBool,
    is_cleaned_up: AtomicBool,
    /// Whether there ever was a connection.
    has_worked: AtomicBool,
    /// When one was closed last.
    closed_at: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct IdleConnection {
    connection: PgConnection,
    opened: Instant,
    since: Instant,
}

/// A connection in use. It is closed unless whoever uses it says that it is fit for further use.
#[derive(Debug)]
pub(crate) struct BorrowedConnection {
    /// None once it was given back.
    connection: Option<PgConnection>,
    opened: Instant,
    is_fit: bool,
    connections: Arc<OpenConnections>,
    /// Given back after the connection, or when it is closed: the embedded server does not survive a second one before.
    permits: Vec<OwnedSemaphorePermit>,
}

impl ConnectionPool {
    /// At most `wanted` connections, opened when they are wanted. No wait for one is longer than `longest_wait`.
    pub(crate) fn new(connector: Arc<Connector>, wanted: u32, longest_wait: Duration) -> ConnectionPool {
        let wanted = wanted.max(1);
        let permits = |count: u32| Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(Semaphore::MAX_PERMITS)));
        ConnectionPool {
            connections: Arc::default(),
            connector,
            wanted,
            all: permits(wanted),
            of_work: permits(wanted.max(2) - 1),
            longest_wait,
            limit: Mutex::new(ServerLimit { allowed: wanted, refused_at: None, is_reported: false }),
        }
    }

    /// Whether a run and its housekeeping have to share the one connection there is.
    pub(crate) fn is_single(&self) -> bool {
        self.with_limit(|limit| limit.allowed) == 1
    }

    pub(crate) async fn borrow(&self, which: ConnectionUse) -> Result<BorrowedConnection, StoreError> {
        let time_limit = match which {
            ConnectionUse::Work => ACQUIRE_TIMEOUT,
            ConnectionUse::Housekeeping => SHORT_ACQUIRE_TIMEOUT,
        };
        let time_limit = time_limit.min(self.longest_wait);
        let waited = || could_not("reach the database")(sqlx::Error::PoolTimedOut);
        timeout(time_limit, self.borrow_patiently(which)).await.unwrap_or_else(|_| Err(waited()))
    }

    async fn borrow_patiently(&self, which: ConnectionUse) -> Result<BorrowedConnection, StoreError> {
        self.grow_again();
        let begun = Instant::now();
        let mut delay = FIRST_DELAY;
        let mut permits = self.permits(which).await?;
        loop {
            if self.connections.is_closed() {
                return Err(closed());
            }
            if let Some(idle) = self.connections.take_idle().await {
                return Ok(self.borrowed(idle.connection, idle.opened, permits));
            }
            let error = match self.open().await {
                Ok(connection) => {
                    self.connections.count.fetch_add(1, Ordering::AcqRel);
                    self.connections.has_worked.store(true, Ordering::Release);
                    return Ok(self.borrowed(connection, Instant::now(), permits));
                }
                Err(error) => error,
            };
            // What is wrong from the start is an error at once.
            let has_worked = self.connections.has_worked.load(Ordering::Acquire);
            if !(error.is_no_room() || has_worked && is_of_restart(&error)) {
                return Err(error);
            }
            let has_others = self.connections.count.load(Ordering::Acquire) > 0;
            if has_others && error.is_no_room() && !self.connections.has_just_closed_one() {
                self.give_up_one(&error, &mut permits);
                drop(permits);
                permits = self.permits(which).await?;
                continue;
            }
            if !has_others && begun.elapsed() + delay > NO_ROOM_TIMEOUT.min(self.longest_wait) {
                return Err(error);
            }
            sleep(delay).await;
            delay = (delay * 2).min(LONGEST_DELAY);
        }
    }

    async fn permits(&self, which: ConnectionUse) -> Result<Vec<OwnedSemaphorePermit>, StoreError> {
        let of_work = match which {
            ConnectionUse::Work => Some(Arc::clone(&self.of_work).acquire_owned().await.map_err(|_| closed())?),
            ConnectionUse::Housekeeping => None,
        };
        let any = Arc::clone(&self.all).acquire_owned().await.map_err(|_| closed())?;
        // The last one is that for the connection itself.
        Ok(of_work.into_iter().chain([any]).collect())
    }

    /// A further connection has to show that the server, and not only a pooler in between, has room for it.
    async fn open(&self) -> Result<PgConnection, StoreError> {
        if self.connections.count.load(Ordering::Acquire) == 0 {
            return self.connector.open().await;
        }
        let opening = async {
            let mut connection = self.connector.open().await?;
            Sql::new("select 1").execute_in_one_message(&mut connection).await.map_err(could_not("use a further connection"))?;
            Ok(connection)
        };
        let too_slow = || could_not("open a further connection")(sqlx::Error::PoolTimedOut);
        timeout(FURTHER_CONNECTION_TIMEOUT, opening).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// From now on there is one connection less.
    fn give_up_one(&self, error: &StoreError, permits: &mut Vec<OwnedSemaphorePermit>) {
        let (allowed, is_reported) = self.with_limit(|limit| {
            limit.refused_at = Some(Instant::now());
            if limit.allowed > 1
                && let Some(permit) = permits.pop()
            {
                permit.forget();
                limit.allowed -= 1;
            }
            // Several are refused at the same time; the last of them knows the number.
            let open = self.connections.count.load(Ordering::Acquire).max(1);
            let is_last = limit.allowed <= open && !limit.is_reported;
            limit.is_reported |= is_last;
            (limit.allowed, !is_last)
        });
        if !is_reported {
            tracing::warn!(
                error = %Chain(error),
                connections = allowed,
                wanted = self.wanted,
                "the server has room for {allowed} of the {} connections of database.max_connections: going on with {}",
                self.wanted,
                if allowed == 1 { "that one".to_owned() } else { format!("those {allowed}") },
            );
        }
    }

    /// After a while there may be room again.
    fn grow_again(&self) {
        let missing = self.with_limit(|limit| {
            let is_due = limit.refused_at.is_some_and(|refused_at| refused_at.elapsed() >= GROW_AGAIN_AFTER);
            if !is_due {
                return 0;
            }
            limit.refused_at = None;
            let missing = self.wanted - limit.allowed;
            limit.allowed = self.wanted;
            missing
        });
        self.all.add_permits(usize::try_from(missing).unwrap_or_default());
    }

    fn with_limit<T>(&self, look: impl FnOnce(&mut ServerLimit) -> T) -> T {
        look(&mut self.limit.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn borrowed(&self, connection: PgConnection, opened: Instant, permits: Vec<OwnedSemaphorePermit>) -> BorrowedConnection {
        let connections = Arc::clone(&self.connections);
        BorrowedConnection { connection: Some(connection), opened, is_fit: false, connections, permits }
    }

    /// Lets nobody have a connection any more, and closes those at rest; those in use are closed by their users.
    pub(crate) async fn close(&self) {
        self.connections.is_closed.store(true, Ordering::Release);
        self.all.close();
        self.of_work.close();
        let idle = std::mem::take(&mut *self.connections.idle());
        futures_util::future::join_all(idle.into_iter().map(|idle| idle.connection.close())).await;
    }
}

fn closed() -> StoreError {
    could_not("reach the database")(sqlx::Error::PoolClosed)
}

/// A server that is being restarted is back in a moment.
fn is_of_restart(error: &StoreError) -> bool {
    let is_refused = matches!(error, StoreError::Connect { source: DatabaseCause(sqlx::Error::Io(io)), .. } if io.kind() == std::io::ErrorKind::ConnectionRefused);
    is_refused || matches!(error.kind(), ErrorKind::ConnectionLost)
}

impl OpenConnections {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<IdleConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    fn count_closed(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        *self.closed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Then the server may still count it.
    fn has_just_closed_one(&self) -> bool {
        self.closed_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < COUNTED_FOR)
    }

    /// The one that was used last, if it still works: so the others can be closed when there is less to do.
    async fn take_idle(&self) -> Option<IdleConnection> {
        loop {
            let mut idle = self.idle().pop()?;
            if idle.since.elapsed() < NO_PING_BELOW || matches!(timeout(PING_TIMEOUT, idle.connection.ping()).await, Ok(Ok(()))) {
                return Some(idle);
            }
            self.count_closed();
        }
    }

    /// Closes what was idle for long, as long as the pool lives.
    fn clean_up(pool: Weak<OpenConnections>) {
        tokio::spawn(async move {
            loop {
                sleep(CLEAN_UP_EVERY).await;
                let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else { return };
                let all = std::mem::take(&mut *pool.idle());
                let (kept, old): (Vec<_>, Vec<_>) = all.into_iter().partition(|idle| idle.since.elapsed() < LONGEST_IDLE);
                pool.idle().extend(kept);
                for idle in old {
                    pool.count_closed();
                    let _ = timeout(CLOSE_TIMEOUT, idle.connection.close()).await;
                }
            }
        });
    }
}

impl BorrowedConnection {
    /// It is in order: it may be used again.
    pub(crate) fn is_fit_for_reuse(&mut self) {
        self.is_fit = true;
    }

    pub(crate) fn get(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.connection.as_mut().ok_or_else(closed)
    }
}

impl Drop for BorrowedConnection {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let runtime = tokio::runtime::Handle::try_current();
        if self.is_fit && runtime.is_ok() && !self.connections.is_closed() && self.opened.elapsed() < LONGEST_LIFE {
            self.connections.idle().push(IdleConnection { connection, opened: self.opened, since: Instant::now() });
            if !self.connections.is_cleaned_up.swap(true, Ordering::AcqRel) {
                OpenConnections::clean_up(Arc::downgrade(&self.connections));
            }
            return;
        }
        self.connections.count_closed();
        if let Ok(runtime) = runtime {
            let permits = std::mem::take(&mut self.permits);
            runtime.spawn(async move {
                // The answer to the end of its transaction is read first: the embedded server does not survive that nobody does.
                let close = async {
                    let _ = connection.ping().await;
                    connection.close().await
                };
                let _ = timeout(CLOSE_TIMEOUT, close).await;
                drop(permits);
            });
        }
    }
}
