//! A small HTTP server that nobody can keep busy: every connection has one request, a time for its head and for all of it, and
//! there are so many at most. When there are more, the one that has let us wait longest has to leave.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

/// The limits for a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnectionLimits {
    /// From the beginning of a connection to the end of its request's head.
    pub(super) head: Duration,
    /// From there to the end of the answer.
    pub(super) answer: Duration,
    pub(super) connections: usize,
}

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits { head: Duration::from_secs(5), answer: Duration::from_secs(15), connections: 128 }
    }
}

/// What is kept of a request's head at most, for each connection.
const HEAD_BYTES: usize = 16 << 10;
/// What answers that are being written have left when the server is told to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);
/// The delay after a failed accept, when the system has no more file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// A client at the other end.
#[derive(Debug, Default)]
struct ConnectionHandle {
    evicted: CancellationToken,
    has_sent_request: AtomicBool,
}

impl ConnectionHandle {
    fn has_sent_request(&self) -> bool {
        self.has_sent_request.load(Ordering::Relaxed)
    }
}

/// Serves until it is told to stop, and then until the last answers are out.
pub(super) async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits, stop: CancellationToken) {
    let (mut clients, mut connections) = (VecDeque::new(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                evict_connections(&mut clients, limits.connections);
                let client = Arc::new(ConnectionHandle::default());
                clients.push_back(Arc::downgrade(&client));
                connections.spawn(serve_connection(stream, router.clone(), client, limits, stop.clone()).in_current_span());
            }
            Err(error) => {
                debug!(%error, "could not take a connection");
                sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Closes idle connections first.
fn evict_connections(clients: &mut VecDeque<Weak<ConnectionHandle>>, most: usize) {
    clients.retain(|client| client.strong_count() > 0);
    while clients.len() >= most.max(1) {
        let idle = clients.iter().position(|client| client.upgrade().is_none_or(|client| !client.has_sent_request()));
        if let Some(client) = clients.remove(idle.unwrap_or(0)).and_then(|client| client.upgrade()) {
            client.evicted.cancel();
        }
    }
}

/// One connection from its beginning to its end.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    client: Arc<ConnectionHandle>,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        client.has_sent_request.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let connection =
        http1::Builder::new().keep_alive(false).max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = client.evicted.cancelled() => return,
        () = stop.cancelled() => {}
        () = sleep(limits.head) => {}
    }
    if !client.has_sent_request() {
        return;
    }
    let stopped = async {
        stop.cancelled().await;
        sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        _ = timeout(limits.answer, connection) => {}
        () = client.evicted.cancelled() => {}
        () = stopped => {}
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    /// Longer than any answer takes, on a slow machine that does other work too.
    const DEADLINE: Duration = Duration::from_secs(60);

    async fn served(limits: ConnectionLimits, router: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        (address, stop.clone(), tokio::spawn(serve(listener, router, limits, stop)))
    }

    fn hello() -> Router {
        Router::new().route("/", get(async || "hello"))
    }

    async fn begins(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// What comes until the other end closes; a connection that is cut off has brought nothing more.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let _ = timeout(DEADLINE, stream.read_to_end(&mut text)).await.expect("the connection stays open");
        String::from_utf8(text).unwrap()
    }

    const WHOLE: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed() {
        let limits = ConnectionLimits { head: Duration::from_millis(500), ..ConnectionLimits::default() };
        let (address, ..) = served(limits, hello()).await;
        let (half, silent) = (begins(address, "GET / HT").await, begins(address, "").await);
        assert!(!rest(half).await.contains("hello"));
        assert_eq!(rest(silent).await, "");
        assert!(rest(begins(address, WHOLE).await).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn a_request_is_answered_however_many_idle_connections_are_open() {
        let limits = ConnectionLimits { head: Duration::from_secs(600), connections: 4, ..ConnectionLimits::default() };
        let (address, ..) = served(limits, hello()).await;
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(begins(address, "GET /").await);
        }
        assert!(rest(begins(address, WHOLE).await).await.ends_with("hello"));
        // The first ones had to leave.
        assert_eq!(rest(waiting.remove(0)).await, "");
    }

    #[tokio::test]
    async fn the_server_stops_at_once_after_finishing_answers_in_progress() {
        let slow = Router::new().route(
            "/",
            get(async || {
                sleep(Duration::from_millis(200)).await;
                "hello"
            }),
        );
        let limits = ConnectionLimits { head: Duration::from_secs(600), ..ConnectionLimits::default() };
        let (address, stop, server) = served(limits, slow).await;
        let (silent, asking) = (begins(address, "").await, begins(address, WHOLE).await);
        // Those that came before are being served when this one is answered.
        assert!(rest(begins(address, WHOLE).await).await.ends_with("hello"));
        assert!(rest(asking).await.ends_with("hello"));
        let last = begins(address, WHOLE).await;
        let begun = Instant::now();
        stop.cancel();
        timeout(DEADLINE, server).await.expect("it does not end").unwrap();
        assert!(begun.elapsed() < SHUTDOWN_GRACE + Duration::from_secs(30), "{:?}", begun.elapsed());
        assert_eq!(rest(silent).await, "");
        drop(last);
    }
}
