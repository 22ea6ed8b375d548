//! The address of a dead man's switch, what each of its kinds wants to be asked for, and how it is asked.
//!
//! A query that is merely kept would turn a failure into a success (`…?status=up` with `/fail` behind it), so a
//! form that is not known is refused at the start.

use std::fmt;
use std::time::{Duration, Instant};

use planhat_model::printable::on_one_line;
use reqwest::Client;
use tokio::time::sleep;
use tracing::warn;
use url::Url;

use super::attempt::{self, NextAttempt};

/// For one attempt of a ping, and until the second one.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// So much of a reason fits the message of a monitor.
const LONGEST_REASON: usize = 200;

/// Where a ping goes. The address is a secret: who knows it can speak for us.
#[derive(Clone)]
pub enum PingUrl {
    /// `/start` and `/fail` behind its path, as healthchecks has it, and what is made after it. Its query stays.
    Healthchecks(Url),
    /// A push monitor: `status` and `msg` in its query, and nothing for a beginning.
    UptimeKuma(Url),
}

/// What a ping says.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ping<'a> {
    Began,
    Succeeded,
    Failed { reason: &'a str },
}

impl PingUrl {
    /// The address as it is written in the settings, or what is wrong with it.
    pub fn parse(text: &str) -> Result<PingUrl, &'static str> {
        let url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let mut url = url.ok_or("must begin with https:// or http://")?;
        url.set_fragment(None);
        if url.query() == Some("") {
            url.set_query(None);
        }
        if is_push_monitor(&url) {
            return match url.query_pairs().find(|(name, _)| name == "status") {
                Some((_, status)) if status != "up" => Err("is a push address whose status is not up: write status=up"),
                _ => Ok(PingUrl::UptimeKuma(url)),
            };
        }
        if url.query_pairs().all(|(name, _)| ["create", "rid"].contains(&&*name)) {
            return Ok(PingUrl::Healthchecks(url));
        }
        Err("has a query of an unknown monitor: supported are addresses of healthchecks (…/ping/NAME?create=1), \
             of Uptime Kuma (…/api/push/TOKEN?status=up&msg=OK&ping=), and addresses without a query, to which /start and /fail are appended")
    }

    /// What is asked for, if anything is.
    pub(super) fn url(&self, ping: Ping<'_>) -> Option<Url> {
        match (self, ping) {
            (PingUrl::Healthchecks(url) | PingUrl::UptimeKuma(url), Ping::Succeeded) => Some(url.clone()),
            (PingUrl::Healthchecks(url), Ping::Began) => with_segment(url, "start"),
            (PingUrl::Healthchecks(url), Ping::Failed { .. }) => with_segment(url, "fail"),
            (PingUrl::UptimeKuma(_), Ping::Began) => None,
            (PingUrl::UptimeKuma(url), Ping::Failed { reason }) => Some(down(url, reason)),
        }
    }
}

/// One attempt after the other until it arrives, for so long at most.
pub(super) async fn send(http: &Client, to: &PingUrl, ping: Ping<'_>, limit: Duration) {
    let Some(url) = to.url(ping) else { return };
    let (until, mut wait) = (Instant::now() + limit, FIRST_WAIT);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let Err(undelivered) = attempt::get(http, &url, left.min(PING_TIMEOUT)).await else { return };
        let is_over = undelivered.next_attempt != NextAttempt::Soon || Instant::now() + wait + wait >= until;
        if is_over {
            warn!("could not reach notify.ping_url: {}", undelivered.why);
            return;
        }
        sleep(wait).await;
        wait *= 2;
    }
}

/// `/api/push/TOKEN`, wherever the service is mounted.
fn is_push_monitor(url: &Url) -> bool {
    let segments: Vec<_> = url.path_segments().into_iter().flatten().filter(|segment| !segment.is_empty()).collect();
    matches!(segments.as_slice(), [.., "api", "push", _])
}

fn with_segment(url: &Url, segment: &str) -> Option<Url> {
    let mut url = url.clone();
    url.path_segments_mut().ok()?.pop_if_empty().push(segment);
    Some(url)
}

fn down(url: &Url, reason: &str) -> Url {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != "status" && name != "msg")
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let reason: String = on_one_line(reason).chars().take(LONGEST_REASON).collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().append_pair("status", "down").append_pair("msg", &reason).extend_pairs(others);
    url
}

impl fmt::Debug for PingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PingUrl(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_monitor_is_pinged_with_the_url_it_expects() {
        // The address; what is asked for at the beginning, after success, after failure.
        for (url, began, succeeded, failed) in [
            ("http://h/ping/slug", "http://h/ping/slug/start", "http://h/ping/slug", "http://h/ping/slug/fail"),
            ("http://h/ping/slug/", "http://h/ping/slug/start", "http://h/ping/slug/", "http://h/ping/slug/fail"),
            ("http://h", "http://h/start", "http://h/", "http://h/fail"),
            ("https://h/p#x", "https://h/p/start", "https://h/p", "https://h/p/fail"),
            ("https://h/p?", "https://h/p/start", "https://h/p", "https://h/p/fail"),
            (
                "http://h/ping/key/slug?create=1",
                "http://h/ping/key/slug/start?create=1",
                "http://h/ping/key/slug?create=1",
                "http://h/ping/key/slug/fail?create=1",
            ),
            (
                "http://h/api/push/T?status=up&msg=OK&ping=",
                "",
                "http://h/api/push/T?status=up&msg=OK&ping=",
                "http://h/api/push/T?status=down&msg=no+answer%3A+a%26b%5Cu%7B1b%7Dc&ping=",
            ),
            (
                "http://h/api/push/T?status=up&msg=OK",
                "",
                "http://h/api/push/T?status=up&msg=OK",
                "http://h/api/push/T?status=down&msg=no+answer%3A+a%26b%5Cu%7B1b%7Dc",
            ),
            (
                "http://h/kuma/api/push/T",
                "",
                "http://h/kuma/api/push/T",
                "http://h/kuma/api/push/T?status=down&msg=no+answer%3A+a%26b%5Cu%7B1b%7Dc",
            ),
        ] {
            let parsed = PingUrl::parse(url).unwrap();
            let asked = |ping| parsed.url(ping).map(String::from).unwrap_or_default();
            assert_eq!(asked(Ping::Began), began);
            assert_eq!(asked(Ping::Succeeded), succeeded);
            assert_eq!(asked(Ping::Failed { reason: "no answer: a&b\u{1b}c" }), failed);
        }
    }

    #[test]
    fn a_ping_url_of_an_unknown_monitor_is_refused() {
        for (url, problem) in [
            ("http://h/ping?status=up", "has a query"),
            ("http://h/ping/slug?create=1&state=ok", "has a query"),
            ("http://h/api/push/T?status=down", "whose status is not up"),
            ("ftp://h/ping", "must begin with"),
            ("h/ping", "must begin with"),
        ] {
            let refused = PingUrl::parse(url).unwrap_err();
            assert!(refused.contains(problem), "{url}: {refused}");
        }
    }

    #[test]
    fn the_reason_in_a_ping_is_cut_to_the_maximum_length() {
        let url = PingUrl::parse("http://h/api/push/T").unwrap().url(Ping::Failed { reason: &"é".repeat(5000) }).unwrap();
        assert_eq!(url.query_pairs().find(|(name, _)| name == "msg").unwrap().1.chars().count(), LONGEST_REASON);
    }
}
