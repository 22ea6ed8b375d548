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
use xxhash_rust::xxh3::xxh3_64;

use crate::api_error::Error;
use crate::client::{Client, Listed};

/// Pages on their way at the same time, in one listing.
const MOST_PAGES: u32 = 8;
/// For so many full pages in a row one more is asked for ahead, so that no more than one call in so many is in vain.
const PAGES_PER_CALL: u32 = 4;
/// What pages on their way may take together, going by the last one.
const MOST_BYTES: u64 = 1024 * 1024;

/// How many pages may be on their way after so many full ones, the last of which was of this size.
pub(crate) fn how_many(full_pages: u32, bytes: u64) -> u32 {
    let by_size = u32::try_from(MOST_BYTES / bytes.max(1)).unwrap_or(u32::MAX);
    (1 + full_pages / PAGES_PER_CALL).min(MOST_PAGES).min(by_size).max(1)
}

/// A page as it came, its records read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) entries: Vec<Entry>,
    pub(crate) bytes: u64,
    pub(crate) served_at: Option<DateTime<Utc>>,
}

/// One element of a page.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: u64,
    pub(crate) content: u64,
    pub(crate) id: Option<String>,
    pub(crate) parsed: Result<Record, Rejected>,
}

/// What is on its way, in the order of the listing.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pages: VecDeque<OnItsWay>,
}

#[derive(Debug)]
struct OnItsWay {
    asked: Asked,
    answer: Awaited,
}

/// Which part of the listing was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) offset: u64,
    pub(crate) limit: u32,
}

#[derive(Debug)]
enum Awaited {
    Still(AbortOnDropHandle<Result<Answer, Error>>),
    Here(Result<Answer, Error>),
}

impl Ahead {
    /// Whether this page is the next one to come. If not, what is on its way is of no use.
    pub(crate) fn goes_on_with(&mut self, wanted: Asked) -> bool {
        let goes_on = self.pages.front().is_some_and(|page| page.asked == wanted);
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
    pub(crate) fn ask(
        &mut self,
        client: &Client,
        object: &'static str,
        asked: Asked,
        query: Vec<(&'static str, String)>,
        calls: &Arc<AtomicU64>,
    ) -> bool {
        let (client, calls) = (client.clone(), Arc::clone(calls));
        let is_next = self.pages.is_empty();
        if !is_next && !client.take_spare_call() {
            return false;
        }
        let answer = async move {
            let listed = match is_next {
                true => client.list(object, &query, &calls).await,
                false => client.list_by_spare_call(object, &query, &calls).await,
            };
            listed.map(Answer::read)
        };
        self.pages.push_back(OnItsWay { asked, answer: Awaited::Still(AbortOnDropHandle::new(tokio::spawn(answer))) });
        true
    }

    /// The next page, once it is here; none if none is on its way.
    pub(crate) async fn next(&mut self) -> Option<Result<Answer, Error>> {
        let answer = match &mut self.pages.front_mut()?.answer {
            Awaited::Still(task) => Some(finished(task.await).await),
            Awaited::Here(_) => None,
        };
        match (answer, self.pages.pop_front()?.answer) {
            (None, Awaited::Here(answer)) => Some(answer),
            (answer, _) => answer,
        }
    }

    /// A look at the next page, if it is here.
    pub(crate) fn here(&mut self) -> Option<&Answer> {
        let page = self.pages.front_mut()?;
        if let Awaited::Still(task) = &mut page.answer {
            let answer = task.now_or_never()?;
            page.answer = Awaited::Here(finished(answer).now_or_never()?);
        }
        match &page.answer {
            Awaited::Here(answer) => answer.as_ref().ok(),
            Awaited::Still(_) => None,
        }
    }
}

/// What a task came to. It panics if the task did, and waits for ever if the runtime is going down.
async fn finished<T>(result: Result<T, tokio::task::JoinError>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}

impl Answer {
    pub(crate) fn read(listed: Listed) -> Answer {
        let Listed { records, bytes, served_at } = listed;
        Answer { entries: records.into_iter().map(Entry::read).collect(), bytes, served_at }
    }
}

impl Entry {
    fn read(raw: Box<RawValue>) -> Entry {
        let content = xxh3_64(raw.get().as_bytes());
        let parsed = Record::parse(raw);
        let id = parsed.as_ref().ok().map(|record| record.id.clone());
        // What has no id is recognised by its content.
        let key = id.as_deref().map_or(content, key_of_id);
        Entry { key, content, id, parsed }
    }
}

pub(crate) fn key_of_id(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_listing_the_more_pages_are_asked_for_ahead() {
        assert_eq!([0, 3, 4, 11, 12, 10_000].map(|full_pages| how_many(full_pages, 1000)), [1, 1, 2, 3, 4, 8]);
    }

    #[test]
    fn of_large_pages_fewer_are_asked_for_ahead() {
        assert_eq!(how_many(10_000, MOST_BYTES / 3), 3);
        assert_eq!(how_many(10_000, u64::MAX), 1);
    }
}
