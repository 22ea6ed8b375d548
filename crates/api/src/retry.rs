//! When a failed request is retried.
//!
//! This is the only place that retries HTTP requests. A request that still fails makes its object fail, and the next run
//! resumes from the checkpoint.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest delay that a server may ask for with Retry-After.
const MAX_DELAY: Duration = Duration::from_secs(120);

/// How often a request is retried, and with which delays.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Further attempts after the first.
    pub times: usize,
    /// The first wait; it doubles from there, with jitter. Zero in tests.
    pub first_delay: Duration,
}

impl RetryPolicy {
    pub(crate) fn delays(self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.first_delay)
            .with_max_delay(MAX_DELAY)
            .with_max_times(self.times)
            .with_jitter()
            .build()
    }
}

/// `Retry-After` is a floor under our own delay, up to a cap.
pub(crate) fn no_sooner_than(asked: Option<Duration>, delay: Duration) -> Duration {
    delay.max(asked.unwrap_or_default().min(MAX_DELAY))
}

/// The header in either form, whole seconds or a date. It is documented nowhere, so anything else is
/// ignored (docs/planhat-api.md, source CC).
pub(crate) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until: DateTime<Utc> = httpdate::parse_http_date(value).ok()?.into();
    Some((until - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<u64>) {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        let now = "2025-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{value}");
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        check("7", Some(7));
        check("Wed, 01 Jan 2025 00:00:30 GMT", Some(30));
        check("Tue, 31 Dec 2024 00:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }

    #[test]
    fn retry_after_lengthens_the_delay_up_to_a_maximum() {
        let second = Duration::from_secs(1);
        assert_eq!(no_sooner_than(Some(Duration::from_secs(7)), second), Duration::from_secs(7));
        assert_eq!(no_sooner_than(Some(Duration::ZERO), second), second);
        assert_eq!(no_sooner_than(Some(Duration::from_secs(86_400)), second), MAX_DELAY);
        assert_eq!(no_sooner_than(None, second), second);
    }
}
