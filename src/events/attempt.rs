//! One request to somebody who is told: sent, bounded, and judged.
//!
//! The client has no token and no cookies, keeps no connection, and reads of an answer no more than it needs.
//! A POST is not redirected: what was asked for would become a GET, or the message would go where nobody said. A
//! ping is, on the same host, since that is how `http://` becomes `https://`.

use std::sync::OnceLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use tokio::time::timeout;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one attempt, up to the head of its answer.
const ATTEMPT: Duration = Duration::from_secs(10);
/// For the beginning of an answer that says why.
const READING: Duration = Duration::from_secs(2);
const MOST_READ: usize = 2048;
const MOST_REDIRECTS: usize = 3;
/// The longest Retry-After that is respected.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

/// Why a message was not delivered. The text never contains a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeliveryError {
    pub(super) why: String,
    /// How long the receiver wants to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// When another attempt makes sense.
    pub(super) next_attempt: NextAttempt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// The receiver was busy, or not there.
    Soon,
    /// The receiver does not want it like this; a person may see to that.
    Later,
    /// The receiver says that it is gone for good.
    Never,
}

impl DeliveryError {
    fn new(why: impl Into<String>, next_attempt: NextAttempt) -> DeliveryError {
        DeliveryError { why: why.into(), retry_after: None, next_attempt }
    }
}

pub(super) fn client() -> Result<Client, reqwest::Error> {
    // It keeps no connection, so all workspaces of a daemon share one: each reads the certificates of the system.
    static SHARED: OnceLock<Client> = OnceLock::new();
    if let Some(client) = SHARED.get() {
        return Ok(client.clone());
    }
    let client = Client::builder()
        .user_agent(concat!("planhat-sync/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .build()?;
    Ok(SHARED.get_or_init(|| client).clone())
}

/// Posts a message, within `time` and never longer than one attempt may take.
pub(super) async fn post(request: RequestBuilder, to: &Url, time: Duration) -> Result<StatusCode, DeliveryError> {
    let response = answer_to(request, time.min(ATTEMPT)).await?;
    if let Some(target) = redirect_of(&response, to) {
        let why = format!(
            "it redirected the POST ({}) to an address on {}: set notify.webhook_url to that address, because a POST is not redirected",
            response.status(),
            origin_of(&target)
        );
        return Err(DeliveryError::new(why, NextAttempt::Later));
    }
    accepted(response, to).await
}

/// Asks for an address, and for the one that it is redirected to on the same host.
pub(super) async fn get(http: &Client, url: &Url, time: Duration) -> Result<StatusCode, DeliveryError> {
    let followed = async {
        let mut url = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = answer_to(http.get(url.clone()), ATTEMPT).await?;
            match redirect_of(&response, &url) {
                None => return accepted(response, &url).await,
                Some(target) if may_follow_redirect(&url, &target) => url = target,
                Some(target) => {
                    let why = format!("it redirected to {}: set notify.ping_url to the new address", origin_of(&target));
                    return Err(DeliveryError::new(why, NextAttempt::Later));
                }
            }
        }
        Err(DeliveryError::new("it redirected too often", NextAttempt::Later))
    };
    timeout(time, followed).await.unwrap_or_else(|_| Err(no_answer(time)))
}

async fn answer_to(request: RequestBuilder, time: Duration) -> Result<Response, DeliveryError> {
    match timeout(time, request.send()).await {
        Ok(sent) => sent.map_err(|error| DeliveryError::new(Chain(&error.without_url()).to_string(), NextAttempt::Soon)),
        Err(_) => Err(no_answer(time)),
    }
}

fn no_answer(time: Duration) -> DeliveryError {
    DeliveryError::new(format!("no answer within {} s", time.as_secs_f64().round()), NextAttempt::Soon)
}

/// What was answered in the end. The rest of a good answer is of no interest, and is not waited for.
async fn accepted(response: Response, to: &Url) -> Result<StatusCode, DeliveryError> {
    let status = response.status();
    if status.is_success() {
        return Ok(status);
    }
    let retry_after = retry_after(response.headers(), Utc::now());
    let said = receiver_message(response, to).await.map(|said| format!(": {said}")).unwrap_or_default();
    let next_attempt = match status {
        StatusCode::GONE => NextAttempt::Never,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => NextAttempt::Soon,
        status if status.is_server_error() => NextAttempt::Soon,
        _ => NextAttempt::Later,
    };
    Err(DeliveryError { why: format!("it answered {status}{said}"), retry_after, next_attempt })
}

/// A word like Slack's `invalid_payload`. Anything longer may repeat the address, and is not shown.
async fn receiver_message(mut response: Response, to: &Url) -> Option<String> {
    let mut read = Vec::new();
    let reading = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            read.extend_from_slice(&chunk[..chunk.len().min(MOST_READ - read.len())]);
            if read.len() >= MOST_READ {
                return;
            }
        }
    };
    timeout(READING, reading).await.ok()?;
    let text = std::str::from_utf8(&read).ok()?.trim();
    let is_a_word = (1..=64).contains(&text.len()) && text.chars().all(|char| char.is_ascii_lowercase() || char == '_');
    (is_a_word && !to.as_str().contains(text)).then(|| text.to_owned())
}

fn redirect_of(response: &Response, from: &Url) -> Option<Url> {
    let location = response.status().is_redirection().then(|| response.headers().get(LOCATION))??;
    from.join(location.to_str().ok()?).ok()
}

/// The same host, and not back to where everybody can read the address.
fn may_follow_redirect(from: &Url, to: &Url) -> bool {
    let is_safe = to.scheme() == "https" || (to.scheme() == "http" && from.scheme() == "http");
    is_safe && from.host().is_some() && from.host() == to.host()
}

/// Scheme, host and port; what follows is secret.
fn origin_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whole seconds, or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let asked = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number can hold are still a request to wait.
        value.parse().map_or(LONGEST_PAUSE, Duration::from_secs)
    } else {
        (DateTime::<Utc>::from(httpdate::parse_http_date(value).ok()?) - now).to_std().ok()?
    };
    Some(asked.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_follows_redirects_only_on_the_same_host() {
        for (from, to, may) in [
            ("http://h/ping", "https://h/ping", true),
            ("https://h/ping", "https://h/ping/", true),
            ("http://h:8000/ping", "http://h:8000/ping/", true),
            ("https://h/ping", "http://h/ping", false),
            ("https://h/ping", "https://other/ping", false),
            ("https://h/ping", "https://h.evil/ping", false),
        ] {
            assert_eq!(may_follow_redirect(&from.parse().unwrap(), &to.parse().unwrap()), may, "{from} -> {to}");
        }
    }

    #[test]
    fn a_receiver_can_delay_the_next_attempt_with_retry_after() {
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        for (value, expected) in [
            ("120", Some(120)),
            ("Thu, 26 Nov 2026 12:01:00 GMT", Some(60)),
            ("Thu, 26 Nov 2026 11:00:00 GMT", None),
            ("999999999", Some(86_400)),
            ("99999999999999999999", Some(86_400)),
            ("soon", None),
            ("", None),
            ("+7", None),
            ("-1", None),
            ("1.5", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
        }
    }
}
