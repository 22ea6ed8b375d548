//! One GET request to Planhat, and what its answer is: a page of a listing, a record, or an error.
//!
//! All objects of a run share one client, with its budget of calls and its [pause](TokenPause). What an object asks for
//! goes through its [`ObjectClient`], which waits for both, retries and counts. There is no way to send anything else than a GET.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use metrics::counter;
use planhat_model::catalog::Object;
use planhat_model::record::{Json, Record};
use planhat_model::workspace_report::Throttling;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, redirect};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tracing::{debug, warn};
use url::Url;

use crate::api_error::ApiError;
use crate::budget::{Budget, CallPermit};
use crate::bytes_in_flight::BytesInFlight;
use crate::call_fence::CallFence;
use crate::object_client::ObjectClient;
use crate::retry::{MAX_DELAY, RetryPolicy, retry_after};
use crate::token::Token;
use crate::token_pause::TokenPause;

/// The most characters of an error's body in a message.
const MAX_EXCERPT_CHARS: usize = 200;
const MAX_ERROR_BODY_BYTES: usize = 16 * 1024;
/// What pages may have together, over all objects of a run, until they are stored. They take some times as much memory.
pub(crate) const MAX_BYTES_IN_FLIGHT: u64 = 4 * 1024 * 1024;

/// How to reach Planhat: host, token, timeouts and retries.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub base_url: Url,
    pub token: Token,
    pub connect_timeout: Duration,
    /// For one attempt, from the first byte out to the last byte in.
    pub request_timeout: Duration,
    pub retry: RetryPolicy,
    /// The most that is read of one answer.
    pub max_page_bytes: u64,
}

/// The answer to one request for a listing.
#[derive(Debug)]
pub struct ListResponse {
    pub records: Vec<Box<RawValue>>,
    /// The length of the body.
    pub bytes: u64,
    /// The time of Planhat's clock, if it sends one.
    pub served_at: Option<DateTime<Utc>>,
    /// From the first byte out to the last byte in.
    pub answered_in: Duration,
}

/// The answer to a request for one record.
#[derive(Debug)]
pub enum RecordAnswer {
    Found(Box<Record>),
    /// 404
    NotFound,
    /// 403
    Forbidden,
}

/// Shared by all objects of a run, with one budget and one pause; a clone is the same client.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    config: Arc<ClientConfig>,
    budget: Arc<Budget>,
    /// No call of any object goes out while it lasts.
    pause: Arc<TokenPause>,
    /// No call goes out when the run may have lost its lease.
    fence: Arc<CallFence>,
    /// Until when a failed request waits before it is sent again.
    retried_at: Arc<Mutex<Option<Instant>>>,
    /// What the last 429 carried; none if there was none.
    throttling: Arc<Mutex<Option<Throttling>>>,
    bytes_in_flight: BytesInFlight,
}

impl Client {
    pub fn new(config: ClientConfig, budget: Budget) -> Result<Client, reqwest::Error> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        headers.extend(config.token.header().map(|value| (AUTHORIZATION, value)));
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .user_agent(concat!("planhat-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            .gzip(true);
        if config.base_url.scheme() == "http" {
            // Plain HTTP is for this machine only; a proxy would carry the token elsewhere.
            builder = builder.no_proxy();
        }
        Ok(Client {
            http: builder.build()?,
            config: Arc::new(config),
            budget: Arc::new(budget),
            pause: Arc::new(TokenPause::new()),
            fence: Arc::new(CallFence::new()),
            retried_at: Arc::default(),
            throttling: Arc::default(),
            bytes_in_flight: BytesInFlight::new(MAX_BYTES_IN_FLIGHT),
        })
    }

    /// Identifies the token without revealing it: its HMAC-SHA256 under a key, in hexadecimal.
    pub fn fingerprint(&self, key: &str) -> String {
        self.config.token.fingerprint(key)
    }

    /// Scheme, host and port of the API, as `https://api.planhat.com`.
    pub fn host(&self) -> String {
        self.config.base_url.origin().ascii_serialization()
    }

    /// The handle through which one object is read. Each handle counts its own calls.
    pub fn for_object(&self, object: &'static Object) -> ObjectClient {
        ObjectClient::new(self.clone(), object)
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn bytes_in_flight(&self) -> &BytesInFlight {
        &self.bytes_in_flight
    }

    /// Calls may go out for this long from `since` on, when the run has renewed its lease, and then wait for this to be called again.
    pub fn allow_calls_for(&self, time: Duration, since: Instant) {
        self.fence.open_for(time, since);
    }

    /// The run has ended: calls need no lease any more.
    pub fn allow_calls(&self) {
        self.fence.open();
    }

    pub(crate) fn may_call(&self) -> bool {
        self.pause.left().is_none() && self.fence.is_open()
    }

    /// Waits until a call may go out: for the budget, for the end of a pause, and for the lease. A permit from before a pause is worth
    /// nothing: many may have been acquired by then, and their calls would all go out at its end.
    pub(crate) async fn acquire(&self, mut permit: Option<CallPermit>) -> CallPermit {
        let pause = self.pause();
        loop {
            if !self.may_call() {
                permit = None;
                pause.over().await;
                self.fence.opened().await;
            }
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.budget().acquire().await,
            };
            // A pause may have begun while the budget was waited for, and the process may have been frozen.
            if self.may_call() {
                return permit;
            }
        }
    }

    pub(crate) fn retry_policy(&self) -> RetryPolicy {
        self.config.retry
    }

    /// What a 429 carries, if one has come.
    pub fn throttling_seen(&self) -> Option<Throttling> {
        *self.throttling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pause(&self) -> &TokenPause {
        &self.pause
    }

    /// Another process may have called Planhat before this moment. So what this one has saved up for a burst is given
    /// up, and it makes the rest of the pause that the other one was asked for. A pause longer than any can be is
    /// none: the clock that it was measured with has been set.
    pub fn continue_after_another_process(&self, pause_left: Option<Duration>) {
        self.budget.give_up_burst();
        if let Some(left) = pause_left.filter(|left| *left <= MAX_DELAY)
            && self.pause.extend(left)
        {
            warn!(wait_ms = left.as_millis(), "Planhat asked an earlier run to wait: no call goes out for {}", seconds(left));
        }
    }

    /// Until when no call goes out: the value changes whenever a pause begins or becomes longer.
    pub fn pauses(&self) -> watch::Receiver<Option<Instant>> {
        self.pause.subscribe()
    }

    /// How much longer no call goes out; none if there is no pause.
    pub fn pause_left(&self) -> Option<Duration> {
        self.pause.left()
    }

    pub(crate) fn note_retry_in(&self, delay: Duration) {
        let mut at = self.retried_at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = at.max(Some(Instant::now() + delay));
    }

    pub(crate) fn max_page_bytes(&self) -> u64 {
        self.config.max_page_bytes
    }

    /// How much longer a request waits before it is sent again, or all of them do.
    pub fn throttled_for(&self) -> Option<Duration> {
        let at = *self.retried_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.and_then(|at| at.checked_duration_since(Instant::now())).max(self.pause.left())
    }

    /// One attempt to read a page of a listing.
    pub(crate) async fn list_once(&self, object: &str, query: &[(&str, String)]) -> Result<ListResponse, ApiError> {
        let path = format!("/{object}");
        let sent_at = Instant::now();
        let response = self.get(&path, self.url_of(&[object]), query).await?;
        let served_at = server_time(response.headers());
        let body = self.read_body(&path, query, response).await?;
        let answered_in = sent_at.elapsed();
        let records = serde_json::from_slice(&body)
            .map_err(|error| ApiError::NotAList { found: self.describe_body(&body, &error), path })?;
        Ok(ListResponse { records, bytes: body.len() as u64, served_at, answered_in })
    }

    /// One attempt to read a record by its id.
    pub(crate) async fn record_once(&self, object: &str, id: &str) -> Result<RecordAnswer, ApiError> {
        // The path in messages is without the id, which is customer data.
        let path = format!("/{object}/…");
        let response = match self.get(&path, self.url_of(&[object, id]), &[]).await {
            Ok(response) => response,
            Err(ApiError::AccessDenied { status: StatusCode::NOT_FOUND, .. }) => return Ok(RecordAnswer::NotFound),
            Err(ApiError::AccessDenied { .. }) => return Ok(RecordAnswer::Forbidden),
            Err(error) => return Err(error),
        };
        let body = self.read_body(&path, &[], response).await?;
        let record = serde_json::from_slice::<Box<RawValue>>(&body).ok().and_then(|raw| Record::parse(raw).ok());
        // Planhat finds a record by its external id too; that is not the one that was meant.
        let record = record.filter(|record| record.id == id);
        record.map(|record| RecordAnswer::Found(Box::new(record))).ok_or(ApiError::OtherRecord { path })
    }

    /// One attempt to find out whether Planhat still has a record.
    pub(crate) async fn record_exists_once(&self, object: &str, id: &str) -> Result<bool, ApiError> {
        // The path in messages is without the id, which is customer data.
        match self.get(&format!("/{object}/…"), self.url_of(&[object, id]), &[]).await {
            Ok(_) => Ok(true),
            Err(ApiError::AccessDenied { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends one GET; an answer other than 200 is an error.
    async fn get(&self, path: &str, url: Option<Url>, query: &[(&str, String)]) -> Result<Response, ApiError> {
        let response = self.send(path, url, query).await?;
        self.expect_ok(path, response).await
    }

    /// Sends one GET; any answer is one.
    pub(crate) async fn send(&self, path: &str, url: Option<Url>, query: &[(&str, String)]) -> Result<Response, ApiError> {
        let Some(url) = url else { return Err(ApiError::UnusableId { path: path.to_owned() }) };
        let response = match self.http.get(url).query(query).send().await {
            Ok(response) => response,
            Err(source) => {
                counter!("planhat_sync_api_calls_total", "status" => "none").increment(1);
                return Err(ApiError::Unreachable { path: path.to_owned(), source: source.without_url() });
            }
        };
        counter!("planhat_sync_api_calls_total", "status" => response.status().as_u16().to_string()).increment(1);
        debug!(path, ?query, status = response.status().as_u16(), "Planhat answered");
        // Before the body is read, which may take its time.
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = retry_after(response.headers(), Utc::now());
            let carries = if retry_after.is_some() { Throttling::RetryAfter } else { Throttling::Nothing };
            *self.throttling.lock().unwrap_or_else(PoisonError::into_inner) = Some(carries);
            retry_after.into_iter().for_each(|asked| self.begin_pause(asked));
        }
        Ok(response)
    }

    /// None if there is an id that would not arrive as it is: dots mean folders, line ends are left out.
    pub(crate) fn url_of(&self, segments: &[&str]) -> Option<Url> {
        let arrives = |segment: &&str| !matches!(*segment, "." | "..") && !segment.chars().any(char::is_control);
        let mut url = self.config.base_url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(segments);
        segments.iter().all(arrives).then_some(url)
    }

    /// Passes a 200 on and makes an error of everything else.
    async fn expect_ok(&self, path: &str, response: Response) -> Result<Response, ApiError> {
        let path = path.to_owned();
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::UNAUTHORIZED => Err(ApiError::Unauthorized { path }),
            status @ (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) => Err(ApiError::AccessDenied { path, status }),
            status => {
                let retry_after = retry_after(response.headers(), Utc::now());
                let start = read_beginning(response).await;
                Err(ApiError::Status { path, status, excerpt: self.excerpt(&start), retry_after })
            }
        }
    }

    fn begin_pause(&self, asked: Duration) {
        if !self.pause.extend(asked) {
            return;
        }
        let wait = asked.min(MAX_DELAY);
        let longer = if asked > wait { format!(" (it asked for {})", seconds(asked)) } else { String::new() };
        warn!(wait_ms = wait.as_millis(), "Planhat asks to wait: no call goes out for {}{longer}", seconds(wait));
    }

    pub(crate) async fn read_body(&self, path: &str, query: &[(&str, String)], response: Response) -> Result<Bytes, ApiError> {
        let limit_bytes = self.config.max_page_bytes;
        let expected = response.content_length().unwrap_or_default().min(limit_bytes);
        let mut body = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk =
                chunk.map_err(|source| ApiError::TruncatedBody { path: path.to_owned(), source: source.without_url() })?;
            if (body.len() + chunk.len()) as u64 > limit_bytes {
                let limit = query.iter().find(|(name, _)| *name == "limit").and_then(|(_, value)| value.parse().ok());
                return Err(ApiError::PageTooLarge { path: path.to_owned(), limit: limit.unwrap_or_default(), limit_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// What is no list may still be customer data in another wrapping, which has no place in a log: of
    /// JSON only a message for people is shown, or the names of its properties.
    fn describe_body(&self, body: &[u8], error: &serde_json::Error) -> String {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => match ["message", "error"].iter().find_map(|name| fields.get(*name)?.as_str()) {
                // An object with an id is a record, and its content is customer data.
                Some(message) if !fields.contains_key("_id") => self.excerpt(message.as_bytes()),
                _ => format!("an object with {}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
            },
            Ok(other) => Json::trusted(&other.to_string()).shape().name().to_owned(),
            Err(_) if body.trim_ascii_start().starts_with(b"[") => format!("a list that is not whole ({error})"),
            Err(_) if body.trim_ascii_start().starts_with(b"{") => "an object that is not whole".to_owned(),
            Err(_) => self.excerpt(body),
        }
    }

    /// The beginning of a body for a message: on one line, without the token even if the server
    /// sends it back.
    fn excerpt(&self, body: &[u8]) -> String {
        let text = self.config.token.mask_in(&String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BODY_BYTES)]));
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { "(empty)".to_owned() } else { line.chars().take(MAX_EXCERPT_CHARS).collect() }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64().ceil())
}

fn server_time(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    Some(httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?.into())
}

/// Enough of a body to mask a token in it and still fill an excerpt.
async fn read_beginning(response: Response) -> BytesMut {
    let mut beginning = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        beginning.extend_from_slice(&chunk);
        if beginning.len() >= MAX_ERROR_BODY_BYTES {
            break;
        }
    }
    beginning
}
