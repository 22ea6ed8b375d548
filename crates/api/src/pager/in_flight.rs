//! A page in flight: requested and read on a task of its own, so that it comes while others are stored.

use futures_util::FutureExt;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::page_entry::FetchedPage;
use crate::api_error::ApiError;
use crate::budget::CallPermit;
use crate::bytes_in_flight::ReservedBytes;
use crate::object_client::ObjectClient;

/// A page that was requested. Its request is given up when this is dropped.
#[derive(Debug)]
pub(crate) enum PageInFlight {
    InFlight(AbortOnDropHandle<Result<FetchedPage, ApiError>>),
    Ready(Result<FetchedPage, ApiError>),
}

/// What a request needs before it is sent: room for its answer, and a call.
#[derive(Debug)]
pub(crate) enum Admission {
    /// It waits for both. Its answer will probably have so many bytes.
    Waits { bytes: u64 },
    /// It has room, and maybe a call.
    Granted { reserved: ReservedBytes, permit: Option<CallPermit> },
}

impl PageInFlight {
    /// Requests a page, as soon as it may be requested.
    pub(crate) fn request(client: ObjectClient, query: Vec<(&'static str, String)>, admission: Admission) -> PageInFlight {
        let answer = async move {
            let (mut reserved, permit) = match admission {
                Admission::Waits { bytes } => (client.bytes_in_flight().reserve(bytes).await, None),
                Admission::Granted { reserved, permit } => (reserved, permit),
            };
            let page = client.list_permitted(&query, permit).await.map(FetchedPage::read)?;
            client.bytes_in_flight().settle(&mut reserved, page.bytes);
            Ok(FetchedPage { reserved, ..page })
        };
        // What is logged by the task is logged of this page.
        PageInFlight::InFlight(AbortOnDropHandle::new(tokio::spawn(answer.in_current_span())))
    }

    /// The page, once it is here.
    pub(crate) async fn answer(self) -> Result<FetchedPage, ApiError> {
        match self {
            PageInFlight::InFlight(task) => join(task.await).await,
            PageInFlight::Ready(answer) => answer,
        }
    }

    /// A look at the page, if it is here and no error.
    pub(crate) fn peek(&mut self) -> Option<&FetchedPage> {
        if let PageInFlight::InFlight(task) = self {
            let result = task.now_or_never()?;
            *self = PageInFlight::Ready(join(result).now_or_never()?);
        }
        match self {
            PageInFlight::Ready(answer) => answer.as_ref().ok(),
            PageInFlight::InFlight(_) => None,
        }
    }
}

/// The result of a task. It panics if the task did, and waits for ever while the runtime shuts down.
async fn join<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::page_entry::entries_of;
    use super::*;

    fn page() -> FetchedPage {
        FetchedPage { entries: entries_of([("a", 1)]), bytes: 1, ..FetchedPage::default() }
    }

    fn in_flight(answer: impl Future<Output = Result<FetchedPage, ApiError>> + Send + 'static) -> PageInFlight {
        PageInFlight::InFlight(AbortOnDropHandle::new(tokio::spawn(answer)))
    }

    #[tokio::test]
    async fn a_page_is_seen_once_it_has_arrived_and_can_still_be_taken() {
        let (arrive, arrived) = tokio::sync::oneshot::channel();
        let mut requested = in_flight(async move {
            arrived.await.unwrap();
            Ok(page())
        });
        assert!(requested.peek().is_none());
        arrive.send(()).unwrap();
        let seen = async {
            while requested.peek().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.expect("the page never arrives");
        assert_eq!(requested.peek().map(|page| page.entries.len()), Some(1));
        assert_eq!(requested.answer().await.unwrap().entries.len(), 1);
    }

    #[tokio::test]
    async fn an_error_is_not_seen_but_answered() {
        let mut failed = PageInFlight::Ready(Err(ApiError::OtherRecord { path: "/projects/…".to_owned() }));
        assert!(failed.peek().is_none());
        assert!(failed.answer().await.is_err());
    }
}
