//! The handle through which one object is read: waits until a call may go out, retries what may help, and counts the calls
//! that it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use backon::Retryable;
use metrics::histogram;
use planhat_model::catalog::Object;
use planhat_model::error::Chain;
use planhat_model::record::Record;
use tracing::warn;

use crate::api_error::ApiError;
use crate::budget::CallPermit;
use crate::bytes_in_flight::BytesInFlight;
use crate::client::{Client, ListResponse, RecordAnswer};
use crate::pager::Listing;
use crate::retry::no_sooner_than;

/// Reads one object. A clone counts together with the handle that it was made from.
#[derive(Debug, Clone)]
pub struct ObjectClient {
    client: Client,
    object: &'static Object,
    calls: Arc<AtomicU64>,
}

impl ObjectClient {
    pub(crate) fn new(client: Client, object: &'static Object) -> ObjectClient {
        ObjectClient { client, object, calls: Arc::default() }
    }

    pub fn object(&self) -> &'static Object {
        self.object
    }

    /// Attempts so far, whatever came of them.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// One page of a listing.
    pub async fn list(&self, query: &[(&str, String)]) -> Result<ListResponse, ApiError> {
        self.list_permitted(query, None).await
    }

    /// One page of a listing; its first attempt may have its permit already.
    pub(crate) async fn list_permitted(
        &self,
        query: &[(&str, String)],
        permit: Option<CallPermit>,
    ) -> Result<ListResponse, ApiError> {
        self.with_retries(permit, || self.client.list_once(self.object.name, query)).await
    }

    /// The first records of a listing, but for those that cannot be read.
    pub async fn head(&self, listing: &Listing, limit: u32) -> Result<Vec<Record>, ApiError> {
        let answer = self.list(&listing.query(self.object, 0, limit.min(self.object.max_limit))).await?;
        Ok(answer.records.into_iter().filter_map(|record| Record::parse(record).ok()).collect())
    }

    /// Whether Planhat still has a record. Only a 404 means that it does not.
    pub async fn record_exists(&self, id: &str) -> Result<bool, ApiError> {
        self.with_retries(None, || self.client.record_exists_once(self.object.name, id)).await
    }

    /// A record by its id, as a get by id answers with it, which may be another shape than in a listing.
    pub async fn record(&self, id: &str) -> Result<RecordAnswer, ApiError> {
        self.with_retries(None, || self.client.record_once(self.object.name, id)).await
    }

    /// Acquires a call if that is possible without waiting.
    pub(crate) fn try_acquire(&self) -> Option<CallPermit> {
        if self.client.may_call() { self.client.budget().try_acquire() } else { None }
    }

    /// The bytes of pages that the objects of a run may have in memory.
    pub(crate) fn bytes_in_flight(&self) -> &BytesInFlight {
        self.client.bytes_in_flight()
    }

    pub(crate) fn max_page_bytes(&self) -> u64 {
        self.client.max_page_bytes()
    }

    pub(crate) fn path(&self) -> String {
        format!("/{}", self.object.name)
    }

    async fn with_retries<T, F>(&self, mut permit: Option<CallPermit>, send: impl Fn() -> F) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let send = &send;
        let attempt = || {
            let permit = permit.take();
            async move {
                let wanted = Instant::now();
                let _permit = self.client.acquire(permit).await;
                histogram!("planhat_sync_throttled_seconds").record(wanted.elapsed().as_secs_f64());
                self.calls.fetch_add(1, Ordering::Relaxed);
                send().await
            }
        };
        attempt
            .retry(self.client.retry_policy().delays())
            .when(ApiError::is_transient)
            .adjust(|error, delay| delay.map(|delay| no_sooner_than(error.retry_after(), delay)))
            .notify(|error, delay| {
                warn!(error = %Chain(error), wait_ms = delay.as_millis(), "retrying a request to /{}", self.object.name);
                histogram!("planhat_sync_throttled_seconds").record(delay.as_secs_f64());
                self.client.note_retry_in(delay);
            })
            .await
    }
}
