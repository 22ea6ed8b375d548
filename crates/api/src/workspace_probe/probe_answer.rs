//! An answer to a question about the API itself, and what a report may say of its headers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use planhat_model::record::Record;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api_error::ApiError;
use crate::client::Client;

/// The longest name of a header that is reported.
const LONGEST_NAME: usize = 40;
/// A longer number may be a point in time, or identify somebody.
const MOST_DIGITS: usize = 6;
const MEDIA_TYPES: [&str; 4] = ["application/json", "application/problem+json", "text/plain", "text/html"];
const ENCODINGS: [&str; 7] = ["gzip", "br", "deflate", "zstd", "identity", "chunked", "utf-8"];

/// Whatever came, or nothing.
#[derive(Debug, Default)]
pub(super) struct ProbeAnswer {
    /// None if there was no answer.
    pub(super) status: Option<u16>,
    pub(super) records: Vec<Box<RawValue>>,
    pub(super) bytes: u64,
    pub(super) is_too_large: bool,
    /// How many records were asked for.
    pub(super) limit: u32,
    is_list: bool,
}

impl ProbeAnswer {
    /// The body of an error is not read: it may be anything.
    pub(super) async fn read(client: &Client, path: &str, query: &[(&str, String)], response: Response) -> ProbeAnswer {
        let status = response.status();
        let mut answer = ProbeAnswer { status: Some(status.as_u16()), ..ProbeAnswer::default() };
        if status != StatusCode::OK {
            return answer;
        }
        match client.read_body(&format!("/{path}"), query, response).await {
            Ok(body) => {
                answer.bytes = body.len() as u64;
                let records = serde_json::from_slice(&body).ok();
                answer.is_list = records.is_some();
                answer.records = records.unwrap_or_default();
            }
            Err(ApiError::PageTooLarge { .. }) => answer.is_too_large = true,
            // It broke off.
            Err(_) => answer.status = None,
        }
        answer
    }

    /// Whether it is a 200 with a list.
    pub(super) fn is_listing(&self) -> bool {
        self.is_list
    }

    fn parsed(&self) -> impl Iterator<Item = Record> {
        self.records.iter().filter_map(|raw| Record::parse(raw.clone()).ok())
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.parsed().map(|record| record.id).collect()
    }

    pub(super) fn values(&self) -> Vec<Value> {
        self.records.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect()
    }

    /// A time of each record, in the order of the page.
    pub(super) fn times(&self, property: &str) -> Vec<Option<DateTime<Utc>>> {
        self.parsed().map(|record| record.instant(property)).collect()
    }
}

/// The names of headers, and the values of those that are the same for everybody.
pub(super) fn reported_headers(headers: &HeaderMap) -> BTreeMap<String, Option<String>> {
    let reported = |(name, value): (&reqwest::header::HeaderName, &HeaderValue)| {
        let name = name.as_str();
        let is_a_name = name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if !is_a_name {
            return ("(another name)".to_owned(), None);
        }
        (name.to_owned(), value.to_str().ok().and_then(|value| harmless_value(name, value.trim())))
    };
    headers.iter().map(reported).collect()
}

fn harmless_value(name: &str, value: &str) -> Option<String> {
    let is_number = !value.is_empty() && value.len() <= MOST_DIGITS && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_date = httpdate::parse_http_date(value).is_ok();
    let value = value.to_ascii_lowercase();
    match name {
        "content-type" => {
            let (media_type, parameter) = value.split_once(';').unwrap_or((&value, ""));
            let is_known = MEDIA_TYPES.contains(&media_type.trim()) && ["", "charset=utf-8"].contains(&parameter.trim());
            is_known.then_some(value.clone())
        }
        "content-encoding" | "transfer-encoding" => ENCODINGS.contains(&value.as_str()).then_some(value),
        "retry-after" if is_number => Some(value),
        "retry-after" => is_date.then(|| "a date".to_owned()),
        _ if name.contains("ratelimit") || name.contains("rate-limit") => is_number.then_some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_are_the_same_for_everybody_are_reported() {
        for (name, value, expected) in [
            ("content-type", "application/json; charset=utf-8", Some("application/json; charset=utf-8")),
            ("content-type", "application/json; charset=acme", None),
            ("content-type", "application/acme", None),
            ("content-encoding", "gzip", Some("gzip")),
            ("content-encoding", "acme", None),
            ("retry-after", "30", Some("30")),
            ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", Some("a date")),
            ("retry-after", "ask Acme", None),
            ("x-ratelimit-remaining", "199", Some("199")),
            ("ratelimit-reset", "1793491200", None),
            ("ratelimit-policy", "acme", None),
            ("date", "Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("set-cookie", "session=1", None),
            ("x-request-id", "4711", None),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            let expected = BTreeMap::from([(name.to_owned(), expected.map(str::to_owned))]);
            assert_eq!(reported_headers(&headers), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_name_that_may_identify_somebody_is_not_reported() {
        for name in ["x-tenant-4711", &"x".repeat(41)] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static("1"))]);
            assert_eq!(reported_headers(&headers), BTreeMap::from([("(another name)".to_owned(), None)]), "{name}");
        }
    }
}
