//! Connections to PostgreSQL, and how long anything may wait for one.
//!
//! A server or a network can go silent without closing anything: a failover, a firewall that forgot a connection, a
//! frozen machine. Then nobody but us ends a wait. So a transaction has as long as a statement may take, and a few
//! seconds, to hear *something* from the server; after that its connection is thrown away rather than asked whether it
//! is well. Once we are asked to stop, a few seconds of silence are enough.
//!
//! A run and its housekeeping (leases, health) each have connections of their own, so that neither waits for the other.
//! Where the settings allow a single one, they share it: the pool is fair, so housekeeping gets it between two
//! transactions of the run.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::sql::Sql;
use crate::store_error::{Error, could_not};

/// For a connection of the pool, or a new one, at most: with a single one, pages of several objects wait for each other.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(60);
/// For housekeeping, which is tried again soon.
const SHORT_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(15);
/// What the server's answer may take on its way, beyond the time of its statement, at most.
const ON_ITS_WAY: Duration = Duration::from_secs(10);
/// For somebody else's lock: whoever waits longer holds up the readers behind it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the database may be silent once we are asked to stop; and after it has been for so long, for whatever is
/// still to be written.
const SILENCE_WHILE_STOPPING: Duration = Duration::from_secs(3);
const SILENCE_ONCE_MORE: Duration = Duration::from_millis(500);
/// A connection that is given back, or was at rest, has to be well: one that does not say so in time is thrown away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// After so short a rest it is not asked.
const NEED_NOT_BE_ASKED: Duration = Duration::from_secs(1);
/// For a try by which it shows why the pool makes no connection.
const SAYS_WHY_WITHIN: Duration = Duration::from_secs(3);
/// What closing all connections in good order may take.
const CLOSED_WITHIN: Duration = Duration::from_secs(2);

/// What a transaction may do, and when its commit is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    Write,
    /// Its commit does not wait for the server's disk.
    WriteSoon,
    Read,
}

/// Which of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Work,
    Housekeeping,
}

#[derive(Debug)]
pub(crate) struct Connections {
    work: PgPool,
    housekeeping: PgPool,
    is_one: bool,
    /// How long a statement may take.
    statement_timeout: Duration,
    silence: Silence,
}

impl Connections {
    /// At most `count` connections; opened when they are wanted.
    pub(crate) fn new(options: PgConnectOptions, count: u32, statement_timeout: Duration) -> Connections {
        let options = options.application_name("planhat-sync");
        // Where statements have to be short, so have waits for each other.
        let at_most = |limit: Duration| limit.min(statement_timeout.saturating_mul(4));
        let (work, housekeeping) = match count {
            0 | 1 => {
                let shared = pool(options, 1, at_most(ACQUIRE_TIMEOUT));
                (shared.clone(), shared)
            }
            _ => (pool(options.clone(), count - 1, at_most(ACQUIRE_TIMEOUT)), pool(options, 1, at_most(SHORT_ACQUIRE_TIMEOUT))),
        };
        Connections { work, housekeeping, is_one: count <= 1, statement_timeout, silence: Silence::default() }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.work
    }

    /// Whether a run and its housekeeping have to share the one connection there is.
    pub(crate) fn is_one(&self) -> bool {
        self.is_one
    }

    /// From when `stop` is cancelled, the database may be silent for seconds only.
    pub(crate) fn end_with(&self, stop: CancellationToken) {
        // Who has said so once stays with it.
        let _ = self.silence.stop.set(stop);
    }

    pub(crate) fn stop(&self) -> CancellationToken {
        self.silence.stop()
    }

    /// One transaction, once.
    pub(crate) async fn transaction<T>(
        &self,
        which: For,
        begin: Begin,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let pool = match which {
            For::Work => &self.work,
            For::Housekeeping => &self.housekeeping,
        };
        let mut lent = self.lend(pool).await?;
        let sql = self.begin(begin).safe();
        let done = self.silence.while_it_answers(self.statement_timeout + ON_ITS_WAY.min(self.statement_timeout), async {
            let mut tx = lent.connection.begin_with(sql).await.map_err(could_not("begin a transaction"))?;
            let done = work(&mut tx).await?;
            tx.commit().await.map_err(could_not("commit"))?;
            Ok(done)
        });
        let done = done.await;
        lent.is_silent = done.is_err();
        done?
    }

    /// Closes all connections, in good order where the server still answers.
    pub(crate) async fn close(&self) {
        let all = async { tokio::join!(self.work.close(), self.housekeeping.close()) };
        let within = if self.silence.is_known() { SILENCE_ONCE_MORE } else { CLOSED_WITHIN };
        if timeout(within, all).await.is_err() {
            tracing::debug!("the database did not answer to the end of all connections");
        }
    }

    async fn lend(&self, pool: &PgPool) -> Result<Lent, Error> {
        // The pool ends its wait itself; a stop ends it sooner.
        tokio::select! {
            biased;
            acquired = pool.acquire() => match acquired {
                Ok(connection) => Ok(Lent { connection, is_silent: false }),
                Err(sqlx::Error::PoolTimedOut) => Err(could_not("reach the database")(why_none(pool).await)),
                Err(error) => Err(could_not("reach the database")(error)),
            },
            silent = self.silence.once_stopping() => Err(silent),
        }
    }

    /// The server lets neither a statement nor a lock wait without end. Local to the transaction, so that a connection
    /// pooler in between does no harm.
    fn begin(&self, begin: Begin) -> Sql {
        let sql = Sql::new(match begin {
            Begin::Write | Begin::WriteSoon => "begin; set local lock_timeout = ",
            Begin::Read => "begin read only; set local lock_timeout = ",
        });
        let sql = sql.milliseconds(LOCK_TIMEOUT).text("; set local statement_timeout = ").milliseconds(self.statement_timeout);
        if begin == Begin::WriteSoon { sql.text("; set local synchronous_commit = off") } else { sql }
    }
}

/// What keeps a pool from making a connection, which it does not say itself: it tries until its time is over.
async fn why_none(pool: &PgPool) -> sqlx::Error {
    match timeout(SAYS_WHY_WITHIN, PgConnection::connect_with(&pool.connect_options())).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

pub(crate) fn pool(options: PgConnectOptions, connections: u32, acquire_timeout: Duration) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(acquire_timeout)
        // Instead of the test of sqlx, which waits without end.
        .test_before_acquire(false)
        .before_acquire(|connection, at_rest| {
            Box::pin(async move {
                if at_rest.idle_for < NEED_NOT_BE_ASKED {
                    return Ok(true);
                }
                Ok(matches!(timeout(ANSWERS_WITHIN, connection.ping()).await, Ok(Ok(()))))
            })
        })
        .connect_lazy_with(options)
}

/// A connection of the pool. It goes back when it is well; the pool alone would wait without end for it to say so.
struct Lent {
    connection: PoolConnection<Postgres>,
    /// It is thrown away, and the pool makes another one in its place.
    is_silent: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.is_silent {
            self.connection.close_on_drop();
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(ANSWERS_WITHIN, self.connection.return_to_pool()));
        }
    }
}

/// Tells a database that takes its time from one that is gone.
#[derive(Debug, Default)]
struct Silence {
    stop: OnceLock<CancellationToken>,
    /// It was silent for too long since we were asked to stop.
    known: AtomicBool,
}

impl Silence {
    /// Does something with the database, unless nothing is heard of it for `limit`.
    async fn while_it_answers<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Result<T, Error> {
        let work = pin!(work);
        let now = Instant::now();
        let listening = Listening {
            work,
            heard: Arc::new(Heard { something: AtomicBool::new(true), waker: AtomicWaker::new() }),
            silence: self,
            limit,
            since: now,
            deadline: Box::pin(sleep_until(now + limit)),
            stopping: Some(Box::pin(self.stop().cancelled_owned())),
        };
        listening.await
    }

    /// Comes back when we have been asked to stop and nothing more is waited for.
    async fn once_stopping(&self) -> Error {
        self.stop().cancelled().await;
        let waited = self.while_stopping();
        tokio::time::sleep(waited).await;
        self.known.store(true, Ordering::Relaxed);
        Error::Silent { waited }
    }

    /// Where nobody has said what stops us, nothing does.
    fn stop(&self) -> CancellationToken {
        self.stop.get().cloned().unwrap_or_default()
    }

    fn while_stopping(&self) -> Duration {
        if self.is_known() { SILENCE_ONCE_MORE } else { SILENCE_WHILE_STOPPING }
    }

    fn is_known(&self) -> bool {
        self.known.load(Ordering::Relaxed)
    }
}

/// Work that is polled only when it is woken: by the socket, that is, by the server. So it is known when that was last
/// heard of, whatever else wakes the task around it.
struct Listening<'a, F> {
    work: Pin<&'a mut F>,
    heard: Arc<Heard>,
    silence: &'a Silence,
    limit: Duration,
    /// When it was last heard of.
    since: Instant,
    deadline: Pin<Box<Sleep>>,
    /// None when we have been asked to stop.
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// Passes on that something was heard.
struct Heard {
    something: AtomicBool,
    waker: AtomicWaker,
}

impl Wake for Heard {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.something.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl<T, F: Future<Output = T>> Future for Listening<'_, F> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.heard.waker.register(context.waker());
        if this.heard.something.swap(false, Ordering::Acquire) {
            let waker = Waker::from(Arc::clone(&this.heard));
            let polled = this.work.as_mut().poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(done) = polled {
                return Poll::Ready(Ok(done));
            }
            this.since = Instant::now();
            let limit = if this.stopping.is_none() { this.silence.while_stopping() } else { this.limit };
            this.deadline.as_mut().reset(this.since + limit);
        }
        if this.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            this.stopping = None;
            let soon = Instant::now() + this.silence.while_stopping();
            if soon < this.deadline.deadline() {
                this.deadline.as_mut().reset(soon);
            }
        }
        if this.deadline.as_mut().poll(context).is_ready() {
            if this.stopping.is_none() {
                this.silence.known.store(true, Ordering::Relaxed);
            }
            return Poll::Ready(Err(Error::Silent { waited: this.since.elapsed() }));
        }
        Poll::Pending
    }
}
