//! Tells others how runs end: a webhook when one was not good, a ping for a dead man's switch.
//!
//! What is told here is on record anyway, so it never delays a run by more than seconds and never fails
//! one. The addresses are secrets: whoever knows them can speak for us.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{RequestBuilder, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::Sha256;
use tracing::warn;

use crate::error::Chain;
use crate::run::Summary;
use crate::store::{ObjectStatus, RunStatus};

const PATIENCE: Duration = Duration::from_secs(10);
/// Carries the HMAC of the body.
pub const SIGNATURE: &str = "X-Planhat-Sync-Signature";

#[derive(Debug, Clone)]
pub struct Notifier {
    http: reqwest::Client,
    webhook_url: Option<SecretString>,
    webhook_secret: Option<SecretString>,
    ping_url: Option<SecretString>,
}

impl Notifier {
    pub fn new(
        webhook_url: Option<SecretString>,
        webhook_secret: Option<SecretString>,
        ping_url: Option<SecretString>,
    ) -> Result<Notifier, reqwest::Error> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("planhat-sync/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(PATIENCE)
            .build()?;
        Ok(Notifier { http, webhook_url, webhook_secret, ping_url })
    }

    /// A run begins.
    pub async fn began(&self) {
        self.ping("/start").await;
    }

    /// A run has ended. One that was stopped is no news.
    pub async fn ended(&self, summary: &Summary) {
        match summary.status {
            RunStatus::Succeeded => self.ping("").await,
            RunStatus::Interrupted => {}
            RunStatus::Partial | RunStatus::Failed => {
                let objects: Vec<_> = summary
                    .objects
                    .iter()
                    .filter(|of| of.run.status != ObjectStatus::Succeeded)
                    .map(|of| json!({"object": of.run.object, "status": of.run.status, "reason": of.run.reason}))
                    .collect();
                let status = summary.status.as_str();
                let news = json!({"event": status, "run_id": summary.run_id, "seconds": summary.seconds, "objects": objects});
                tokio::join!(self.ping("/fail"), self.post(news));
            }
        }
    }

    /// A run could not even begin.
    pub async fn failed(&self, error: &str) {
        tokio::join!(self.ping("/fail"), self.post(json!({"event": "failed", "run_id": null, "error": error})));
    }

    /// There was no good run for too long.
    pub async fn stale(&self, last_good: Option<DateTime<Utc>>) {
        self.post(json!({"event": "stale", "last_good_run": last_good})).await;
    }

    async fn ping(&self, what: &str) {
        if let Some(url) = &self.ping_url {
            let url = format!("{}{what}", url.expose_secret().trim_end_matches('/'));
            self.tell("ping", self.http.get(url)).await;
        }
    }

    async fn post(&self, news: Value) {
        let Some(url) = &self.webhook_url else { return };
        let body = news.to_string();
        let mut request = self.http.post(url.expose_secret()).header("content-type", "application/json");
        if let Some(signature) = self.webhook_secret.as_ref().and_then(|secret| signature(secret, &body)) {
            request = request.header(SIGNATURE, signature);
        }
        self.tell("webhook", request.body(body)).await;
    }

    async fn tell(&self, what: &str, request: RequestBuilder) {
        match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => {}
            Err(error) => warn!(error = %Chain(&error.without_url()), "could not reach the {what} of notify"),
        }
    }
}

/// `sha256=` and the HMAC of the body in hexadecimal.
fn signature(secret: &SecretString, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    Some(digest.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_so_that_anybody_with_the_secret_can_check_it() {
        // RFC 4231, test case 2.
        let signed = signature(&"Jefe".into(), "what do ya want for nothing?").unwrap();
        assert_eq!(signed, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
