//! One GET request to Planhat, retried while that may help: a page of a listing, or the question
//! whether a record is still there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backon::Retryable;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use metrics::{counter, histogram};
use planhat_model::error::Chain;
use planhat_model::record::Json;
use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::Sha256;
use tracing::{debug, warn};
use url::Url;

use crate::api_error::ApiError;
use crate::budget::Budget;
use crate::retry::{RetryPolicy, no_sooner_than, retry_after};

/// As much of an error's body as a log line takes.
const MAX_EXCERPT_CHARS: usize = 200;
const MAX_ERROR_BODY_BYTES: usize = 16 * 1024;

/// A token that can stand in a header.
#[derive(Debug, Clone)]
pub struct Token(SecretString);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("the Planhat token is empty")]
    Empty,
    #[error("the Planhat token has a character no token has at position {position}")]
    InvalidCharacter { position: usize },
}

impl Token {
    /// Takes a token as it was pasted: surrounding white space is a frequent accident (source CC).
    pub fn new(pasted: &SecretString) -> Result<Token, InvalidToken> {
        let token = pasted.expose_secret().trim();
        if token.is_empty() {
            return Err(InvalidToken::Empty);
        }
        match token.chars().position(|character| !character.is_ascii_graphic()) {
            Some(index) => Err(InvalidToken::InvalidCharacter { position: index + 1 }),
            None => Ok(Token(token.into())),
        }
    }

    /// HMAC-SHA256 under a key, in hexadecimal. None if there is no such key, which HMAC does not know.
    fn fingerprint(&self, key: &str) -> Option<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
        mac.update(self.0.expose_secret().as_bytes());
        Some(mac.finalize().into_bytes().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")))
    }

    fn header(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Where Planhat is and how patient we are with it.
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

/// A page of a listing as it came.
#[derive(Debug)]
pub struct ListResponse {
    pub records: Vec<Box<RawValue>>,
    /// How long it was.
    pub bytes: u64,
    /// The time at Planhat, if it says so.
    pub served_at: Option<DateTime<Utc>>,
}

/// Reads listings. Shared by all objects of a run, with one budget; a clone is the same client.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    config: Arc<ClientConfig>,
    budget: Arc<Budget>,
    /// Until when Planhat has us wait.
    throttled_until: Arc<Mutex<Option<Instant>>>,
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
        Ok(Client { http: builder.build()?, config: Arc::new(config), budget: Arc::new(budget), throttled_until: Arc::default() })
    }

    /// What tells its token from others without telling the token: its HMAC-SHA256 under a key, in hexadecimal.
    pub fn fingerprint(&self, key: &str) -> String {
        self.config.token.fingerprint(key).unwrap_or_default()
    }

    /// Scheme, host and port that it asks, as `https://api.planhat.com`.
    pub fn host(&self) -> String {
        self.config.base_url.origin().ascii_serialization()
    }

    /// One page of a listing. Every attempt adds one to `calls`.
    pub async fn list(&self, object: &str, query: &[(&str, String)], calls: &AtomicU64) -> Result<ListResponse, ApiError> {
        self.with_retries(object, calls, false, || self.list_once(object, query)).await
    }

    /// The same by a spare call, which need not be waited for.
    pub(crate) async fn list_with_acquired_call(
        &self,
        object: &str,
        query: &[(&str, String)],
        calls: &AtomicU64,
    ) -> Result<ListResponse, ApiError> {
        self.with_retries(object, calls, true, || self.list_once(object, query)).await
    }

    /// Takes a call that nobody waits for, if there is one.
    pub(crate) fn try_acquire(&self) -> bool {
        self.budget.try_acquire()
    }

    /// Whether Planhat still has a record; it is gone only if Planhat says so, with a 404.
    pub async fn record_exists(&self, object: &str, id: &str, calls: &AtomicU64) -> Result<bool, ApiError> {
        self.with_retries(object, calls, false, || self.record_exists_once(object, id)).await
    }

    /// The first attempt may be permitted already.
    async fn with_retries<T, F>(
        &self,
        object: &str,
        calls: &AtomicU64,
        permitted: bool,
        ask: impl Fn() -> F,
    ) -> Result<T, ApiError>
    where
        F: Future<Output = Result<T, ApiError>>,
    {
        let permitted = AtomicBool::new(permitted);
        let attempt = || async {
            let asked = Instant::now();
            if !permitted.swap(false, Ordering::Relaxed) {
                self.budget.acquire().await;
            }
            histogram!("planhat_sync_throttled_seconds").record(asked.elapsed().as_secs_f64());
            calls.fetch_add(1, Ordering::Relaxed);
            ask().await
        };
        attempt
            .retry(self.config.retry.delays())
            .when(ApiError::is_transient)
            .adjust(|error, delay| delay.map(|delay| no_sooner_than(error.retry_after(), delay)))
            .notify(|error, delay| {
                warn!(error = %Chain(error), wait_ms = delay.as_millis(), "asking /{object} again");
                histogram!("planhat_sync_throttled_seconds").record(delay.as_secs_f64());
                self.note_throttling(delay);
            })
            .await
    }

    fn note_throttling(&self, delay: Duration) {
        let mut until = self.throttled_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = until.max(Some(Instant::now() + delay));
    }

    pub(crate) fn max_page_bytes(&self) -> u64 {
        self.config.max_page_bytes
    }

    /// How long a request that Planhat has put off still waits.
    pub fn throttled_for(&self) -> Option<Duration> {
        let until = self.throttled_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.and_then(|until| until.checked_duration_since(Instant::now()))
    }

    async fn list_once(&self, object: &str, query: &[(&str, String)]) -> Result<ListResponse, ApiError> {
        let path = format!("/{object}");
        let response = self.get(&path, self.url_of(&[object]), query).await?;
        let served_at = server_time(response.headers());
        let body = self.read_body(&path, query, response).await?;
        let records = serde_json::from_slice(&body)
            .map_err(|error| ApiError::NotAList { found: self.describe_body(&body, &error), path })?;
        Ok(ListResponse { records, bytes: body.len() as u64, served_at })
    }

    async fn record_exists_once(&self, object: &str, id: &str) -> Result<bool, ApiError> {
        // Without the id: it is the customer's, and would name the record in every message.
        match self.get(&format!("/{object}/…"), self.url_of(&[object, id]), &[]).await {
            Ok(_) => Ok(true),
            Err(ApiError::AccessDenied { status: StatusCode::NOT_FOUND, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends one GET; an answer other than 200 is an error.
    async fn get(&self, path: &str, url: Option<Url>, query: &[(&str, String)]) -> Result<Response, ApiError> {
        let Some(url) = url else { return Err(ApiError::UnusableId { path: path.to_owned() }) };
        let response = match self.http.get(url).query(query).send().await {
            Ok(response) => response,
            Err(source) => {
                counter!("planhat_sync_api_calls_total", "status" => "none").increment(1);
                return Err(ApiError::Unreachable { path: path.to_owned(), source: source.without_url() });
            }
        };
        counter!("planhat_sync_api_calls_total", "status" => response.status().as_u16().to_string()).increment(1);
        debug!(path, ?query, status = response.status().as_u16(), "asked Planhat");
        self.expect_ok(path, response).await
    }

    /// None if there is an id that would not arrive as it is: dots mean folders, line ends are left out.
    fn url_of(&self, segments: &[&str]) -> Option<Url> {
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

    async fn read_body(&self, path: &str, query: &[(&str, String)], response: Response) -> Result<Bytes, ApiError> {
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
                // What has an id is a record, and what it says is the customer's.
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
        let text = String::from_utf8_lossy(&body[..body.len().min(MAX_ERROR_BODY_BYTES)])
            .replace(self.config.token.0.expose_secret(), "[token]");
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { "(empty)".to_owned() } else { line.chars().take(MAX_EXCERPT_CHARS).collect() }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_token_is_trimmed_and_a_mangled_one_refused() {
        assert!(Token::new(&"  abc.DEF-1\n".into()).is_ok());
        assert_eq!(Token::new(&" \n".into()).unwrap_err(), InvalidToken::Empty);
        assert_eq!(Token::new(&"abc\u{200b}def".into()).unwrap_err(), InvalidToken::InvalidCharacter { position: 4 });
        assert_eq!(Token::new(&"abc\ndef".into()).unwrap_err(), InvalidToken::InvalidCharacter { position: 4 });
    }

    #[test]
    fn a_fingerprint_is_the_hmac_of_the_token_and_another_one_under_each_key() {
        // As `printf %s token | openssl dgst -sha256 -hmac key` has it.
        let token = Token::new(&" token\n".into()).unwrap();
        let expected = "646b8eac0c4ae4178299c9bd924e2bf073dfb07e024901a8c864f65b9462bf0d";
        assert_eq!(token.fingerprint("key").unwrap(), expected);
        assert_ne!(token.fingerprint("another key").unwrap(), expected);
    }

    #[test]
    fn a_token_does_not_show_in_debug() {
        let token = Token::new(&"very-secret".into()).unwrap();
        assert!(!format!("{token:?} {:?}", token.header()).contains("very-secret"));
    }
}
