//! Pages of a listing that are asked for before it is their turn.
//!
//! The next page is on its way while the last one is being stored, and in a long listing several are, since
//! otherwise every page would cost the time that an answer takes. They are asked for by where they will probably begin; one that
//! begins elsewhere after all is thrown away. So only calls can be lost by it, a few where a listing ends, and those are calls
//! that nobody waited for: where the budget is used up, no more than the next page is asked for.
//! A page is read where it arrives, on a task of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use planhat_model::record::{Record, Rejected};
use serde_json::value::RawValue;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use xxhash_rust::xxh3::xxh3_64;

use crate::api_error::ApiError;
use crate::client::{Client, ListResponse};

/// Pages on their way at the same time, in one listing.
const MAX_PAGES_IN_FLIGHT: u32 = 8;
/// For so many full pages in a row one more is asked for ahead, so that no more than one call in so many is in vain.
const FULL_PAGES_PER_EXTRA_REQUEST: u32 = 4;
/// What pages on their way may take together, going by the last one.
const MAX_BYTES_IN_FLIGHT: u64 = 1024 * 1024;

/// How many pages may be on their way after so many full ones, the last of which was of this size.
pub(crate) fn allowed_in_flight(full_pages: u32, bytes: u64) -> u32 {
    let by_size = u32::try_from(MAX_BYTES_IN_FLIGHT / bytes.max(1)).unwrap_or(u32::MAX);
    (1 + full_pages / FULL_PAGES_PER_EXTRA_REQUEST).min(MAX_PAGES_IN_FLIGHT).min(by_size).max(1)
}

/// A page as it came, its records read.
#[derive(Debug)]
pub(crate) struct FetchedPage {
    pub(crate) entries: Vec<PageEntry>,
    pub(crate) bytes: u64,
    pub(crate) served_at: Option<DateTime<Utc>>,
}

/// One element of a page.
#[derive(Debug)]
pub(crate) struct PageEntry {
    pub(crate) key: u64,
    pub(crate) content: u64,
    pub(crate) id: Option<String>,
    pub(crate) parsed: Result<Record, Rejected>,
}

/// What is on its way, in the order of the listing.
#[derive(Debug, Default)]
pub(crate) struct Prefetch {
    pages: VecDeque<PrefetchedPage>,
}

#[derive(Debug)]
struct PrefetchedPage {
    request: PageRequest,
    answer: PageFetch,
}

/// Which part of the listing was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRequest {
    pub(crate) offset: u64,
    pub(crate) limit: u32,
}

#[derive(Debug)]
enum PageFetch {
    InFlight(AbortOnDropHandle<Result<FetchedPage, ApiError>>),
    Ready(Result<FetchedPage, ApiError>),
}

impl Prefetch {
    /// Whether this page is the next one to come. If not, what is on its way is of no use.
    pub(crate) fn keep_if_next_is(&mut self, wanted: PageRequest) -> bool {
        let goes_on = self.pages.front().is_some_and(|page| page.request == wanted);
        if !goes_on {
            self.pages.clear();
        }
        goes_on
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    /// Asks for a page behind those that are on their way: the next one as soon as there is a call for it, others only
    /// if there is one at once. Whether it has.
    pub(crate) fn request_page(
        &mut self,
        client: &Client,
        object: &'static str,
        request: PageRequest,
        query: Vec<(&'static str, String)>,
        calls: &Arc<AtomicU64>,
    ) -> bool {
        let (client, calls) = (client.clone(), Arc::clone(calls));
        let is_next = self.pages.is_empty();
        if !is_next && !client.try_acquire() {
            return false;
        }
        // The task belongs to the page, as the caller's span has it.
        let answer = async move {
            let listed = match is_next {
                true => client.list(object, &query, &calls).await,
                false => client.list_with_acquired_call(object, &query, &calls).await,
            };
            listed.map(FetchedPage::read)
        };
        self.pages.push_back(PrefetchedPage {
            request,
            answer: PageFetch::InFlight(AbortOnDropHandle::new(tokio::spawn(answer.in_current_span()))),
        });
        true
    }

    /// The next page, once it is here; none if none is on its way.
    pub(crate) async fn next(&mut self) -> Option<Result<FetchedPage, ApiError>> {
        let answer = match &mut self.pages.front_mut()?.answer {
            PageFetch::InFlight(task) => Some(join(task.await).await),
            PageFetch::Ready(_) => None,
        };
        match (answer, self.pages.pop_front()?.answer) {
            (None, PageFetch::Ready(answer)) => Some(answer),
            (answer, _) => answer,
        }
    }

    /// A look at the next page, if it is here.
    pub(crate) fn peek_ready(&mut self) -> Option<&FetchedPage> {
        let page = self.pages.front_mut()?;
        if let PageFetch::InFlight(task) = &mut page.answer {
            let answer = task.now_or_never()?;
            page.answer = PageFetch::Ready(join(answer).now_or_never()?);
        }
        match &page.answer {
            PageFetch::Ready(answer) => answer.as_ref().ok(),
            PageFetch::InFlight(_) => None,
        }
    }
}

/// What a task came to. It panics if the task did, and waits for ever if the runtime is going down.
async fn join<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

impl FetchedPage {
    pub(crate) fn read(listed: ListResponse) -> FetchedPage {
        let ListResponse { records, bytes, served_at } = listed;
        FetchedPage { entries: records.into_iter().map(PageEntry::read).collect(), bytes, served_at }
    }
}

impl PageEntry {
    fn read(raw: Box<RawValue>) -> PageEntry {
        let content = xxh3_64(raw.get().as_bytes());
        let parsed = Record::parse(raw);
        let id = parsed.as_ref().ok().map(|record| record.id.clone());
        // What has no id is recognised by its content.
        let key = id.as_deref().map_or(content, hash_of_id);
        PageEntry { key, content, id, parsed }
    }
}

pub(crate) fn hash_of_id(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_listing_the_more_pages_are_asked_for_ahead() {
        assert_eq!([0, 3, 4, 11, 12, 10_000].map(|full_pages| allowed_in_flight(full_pages, 1000)), [1, 1, 2, 3, 4, 8]);
    }

    #[test]
    fn of_large_pages_fewer_are_asked_for_ahead() {
        assert_eq!(allowed_in_flight(10_000, MAX_BYTES_IN_FLIGHT / 3), 3);
        assert_eq!(allowed_in_flight(10_000, u64::MAX), 1);
    }
}
