//! When a failed request is retried.
//!
//! This is the only place that retries HTTP requests. A request that still fails makes its object fail, and the next run
//! resumes from the checkpoint.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest delay that a server may ask for with Retry-After.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(120);

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
    if value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More seconds than a number can hold are still a request to wait; an empty text is none.
        return (!value.is_empty()).then(|| value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let until: DateTime<Utc> = httpdate::parse_http_date(value).ok()?.into();
    Some((until - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

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
    }

    #[test]
    fn retry_after_in_another_form_is_ignored() {
        for value in
            ["", "soon", "-1", "+7", "1.5", "1e3", "7 s", "0x10", "Wed, 32 Jan 2025 00:00:30 GMT", "2025-01-01T00:00:30Z"]
        {
            check(value, None);
        }
    }

    #[test]
    fn more_seconds_than_a_number_can_hold_are_still_a_request_to_wait() {
        check("18446744073709551615", Some(u64::MAX));
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("18446744073709551616"))]);
        assert_eq!(no_sooner_than(retry_after(&headers, Utc::now()), Duration::ZERO), MAX_DELAY);
    }

    #[test]
    fn retry_after_lengthens_the_delay_up_to_a_maximum() {
        let second = Duration::from_secs(1);
        assert_eq!(no_sooner_than(Some(Duration::from_secs(7)), second), Duration::from_secs(7));
        assert_eq!(no_sooner_than(Some(Duration::ZERO), second), second);
        assert_eq!(no_sooner_than(Some(Duration::from_secs(86_400)), second), MAX_DELAY);
        assert_eq!(no_sooner_than(None, second), second);
    }

    /// Seconds from the beginning of 1970 to the end of the year 9999, which is what such a date can name.
    const DATES: std::ops::Range<i64> = 0..253_402_300_800;

    fn instant(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn read(value: &[u8], now: DateTime<Utc>) -> Option<Duration> {
        retry_after(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_bytes(value).unwrap())]), now)
    }

    /// Bytes that can be the value of a header.
    fn any_header() -> impl Strategy<Value = Vec<u8>> {
        let byte = any::<u8>().prop_filter("not in a header", |byte| HeaderValue::from_bytes(&[*byte]).is_ok());
        prop_oneof![
            prop::collection::vec(byte, 0..40),
            "[ +-]?[0-9]{0,24}([.,eE][0-9]{0,3})?[ ]?".prop_map(String::into_bytes),
            "[A-Z][a-z]{2,5}, [0-9]{2}[ -](Jan|Feb|Dec|Xyz)[ -][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|UTC|CET)"
                .prop_map(String::into_bytes),
            "[A-Z][a-z]{2} (Jan|Feb|Dec|Xyz) [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn no_retry_after_makes_a_retry_wait_longer_than_two_minutes_or_shorter_than_our_own_delay(
            header in any_header(),
            now in -DATES.end..DATES.end,
            ours in 0_u64..=120_000,
        ) {
            let ours = Duration::from_millis(ours);
            let delay = no_sooner_than(read(&header, instant(now)), ours);
            prop_assert!(delay >= ours && delay <= MAX_DELAY, "{delay:?}");
        }

        #[test]
        fn whole_seconds_are_read_exactly(seconds: u64, zeros in "0{0,3}", before in "[ \t]{0,2}", after in "[ \t]{0,2}") {
            let header = format!("{before}{zeros}{seconds}{after}");
            prop_assert_eq!(read(header.as_bytes(), instant(0)), Some(Duration::from_secs(seconds)));
        }

        #[test]
        fn a_date_is_read_to_the_second_and_one_in_the_past_asks_for_no_delay(date in DATES, away in -1000_i64..1000, now in DATES) {
            let header = httpdate::fmt_http_date(SystemTime::from(instant(date)));
            let until = |now: i64| Some(Duration::from_secs(u64::try_from(date - now).unwrap_or_default()));
            for now in [now, date.saturating_add(away)] {
                prop_assert_eq!(read(header.as_bytes(), instant(now)), until(now), "{}", header);
            }
        }
    }
}
