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
use tracing::debug;

/// What a client may take of us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// From the beginning of a connection to the end of its request's head.
    pub(super) head: Duration,
    /// From there to the end of the answer.
    pub(super) answer: Duration,
    pub(super) connections: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { head: Duration::from_secs(5), answer: Duration::from_secs(15), connections: 128 }
    }
}

/// What is kept of a request's head at most, for each connection.
const HEAD_BYTES: usize = 16 << 10;
/// What answers that are being written have left when the server is told to stop.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// When the system has no room for another connection.
const BREATHER: Duration = Duration::from_millis(100);

/// A client at the other end.
#[derive(Debug, Default)]
struct Client {
    leave: CancellationToken,
    has_asked: AtomicBool,
}

impl Client {
    fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }
}

/// Serves until it is told to stop, and then until the last answers are out.
pub(super) async fn serve(listener: TcpListener, router: Router, bounds: Bounds, stop: CancellationToken) {
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
                make_room(&mut clients, bounds.connections);
                let client = Arc::new(Client::default());
                clients.push_back(Arc::downgrade(&client));
                connections.spawn(attend(stream, router.clone(), client, bounds, stop.clone()));
            }
            Err(error) => {
                debug!(%error, "could not take a connection");
                sleep(BREATHER).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Who waits for a request that does not come has to leave first.
fn make_room(clients: &mut VecDeque<Weak<Client>>, most: usize) {
    clients.retain(|client| client.strong_count() > 0);
    while clients.len() >= most.max(1) {
        let idle = clients.iter().position(|client| client.upgrade().is_none_or(|client| !client.has_asked()));
        if let Some(client) = clients.remove(idle.unwrap_or(0)).and_then(|client| client.upgrade()) {
            client.leave.cancel();
        }
    }
}

/// One connection from its beginning to its end.
async fn attend(stream: TcpStream, router: Router, client: Arc<Client>, bounds: Bounds, stop: CancellationToken) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        client.has_asked.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let connection =
        http1::Builder::new().keep_alive(false).max_buf_size(HEAD_BYTES).serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = client.leave.cancelled() => return,
        () = stop.cancelled() => {}
        () = sleep(bounds.head) => {}
    }
    if !client.has_asked() {
        return;
    }
    let stopped = async {
        stop.cancelled().await;
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        _ = timeout(bounds.answer, connection) => {}
        () = client.leave.cancelled() => {}
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

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn served(bounds: Bounds, router: Router) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        (address, stop.clone(), tokio::spawn(serve(listener, router, bounds, stop)))
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
    async fn whoever_does_not_say_what_they_want_has_to_leave() {
        let bounds = Bounds { head: Duration::from_millis(50), ..Bounds::default() };
        let (address, ..) = served(bounds, hello()).await;
        let (half, silent) = (begins(address, "GET / HT").await, begins(address, "").await);
        assert!(!rest(half).await.contains("hello"));
        assert_eq!(rest(silent).await, "");
        assert!(rest(begins(address, WHOLE).await).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn however_many_wait_somebody_with_a_request_is_answered() {
        let bounds = Bounds { head: Duration::from_secs(600), connections: 4, ..Bounds::default() };
        let (address, ..) = served(bounds, hello()).await;
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(begins(address, "GET /").await);
        }
        assert!(rest(begins(address, WHOLE).await).await.ends_with("hello"));
        // The first ones had to leave.
        assert_eq!(rest(waiting.remove(0)).await, "");
    }

    #[tokio::test]
    async fn it_ends_at_once_but_for_answers_under_way() {
        let slow = Router::new().route(
            "/",
            get(async || {
                sleep(Duration::from_millis(200)).await;
                "hello"
            }),
        );
        let bounds = Bounds { head: Duration::from_secs(600), ..Bounds::default() };
        let (address, stop, server) = served(bounds, slow).await;
        let (silent, asking) = (begins(address, "").await, begins(address, WHOLE).await);
        // Those that came before are being served when this one is answered.
        assert!(rest(begins(address, WHOLE).await).await.ends_with("hello"));
        assert!(rest(asking).await.ends_with("hello"));
        let last = begins(address, WHOLE).await;
        let begun = Instant::now();
        stop.cancel();
        timeout(DEADLINE, server).await.expect("it does not end").unwrap();
        assert!(begun.elapsed() < LAST_WORDS + Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(rest(silent).await, "");
        drop(last);
    }
}
