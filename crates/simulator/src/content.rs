//! The body of a scripted answer: a complete one, or one of those that a client has to survive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};

/// Between two bytes of a body that trickles.
const TRICKLE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Whole(Vec<u8>),
    /// The connection is closed behind these bytes.
    CutOff(Vec<u8>),
    /// A list of records that goes on for ever.
    Endless,
    /// A byte now and then, for ever.
    Trickling,
    /// A list with one record of so many megabytes.
    Megabytes(usize),
}

impl Content {
    /// Adds to `streamed` what of a body that is not whole was handed over for sending.
    pub(super) fn body(self, streamed: Arc<AtomicU64>) -> Body {
        let chunks = match self {
            Content::Whole(bytes) => return Body::from(bytes),
            Content::CutOff(bytes) => chunk(bytes).chain(cut()).boxed(),
            Content::Endless => chunk("[").chain(stream::repeat_with(page_of_records()).map(Ok)).boxed(),
            Content::Trickling => chunk("[").chain(stream::unfold((), trickle)).boxed(),
            Content::Megabytes(count) => {
                let megabyte = Bytes::from(vec![b'x'; 1 << 20]);
                let rest = stream::repeat(megabyte).take(count).map(Ok).chain(chunk("\"}]"));
                chunk("[{\"_id\": \"huge\", \"description\": \"").chain(rest).boxed()
            }
        };
        Body::from_stream(chunks.inspect_ok(move |chunk| _ = streamed.fetch_add(chunk.len() as u64, Ordering::Relaxed)))
    }
}

fn chunk(bytes: impl Into<Bytes>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let bytes = bytes.into();
    stream::once(async { Ok(bytes) })
}

/// The pause has what came before go out.
fn cut() -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::once(async {
        tokio::task::yield_now().await;
        Err(io::ErrorKind::ConnectionReset.into())
    })
}

async fn trickle((): ()) -> Option<(io::Result<Bytes>, ())> {
    tokio::time::sleep(TRICKLE).await;
    Some((Ok(Bytes::from_static(b" ")), ()))
}

fn page_of_records() -> impl FnMut() -> Bytes + Send {
    let records = Bytes::from("{\"_id\": \"endless\"},\n".repeat(1000));
    move || records.clone()
}
