//! Where messages go: the address, the secret that they are signed with, and the form that its receiver takes.

use std::fmt;
use std::time::Duration;

use chrono::Utc;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use secrecy::ExposeSecret;
use url::Url;

use super::attempt::{self, DeliveryError};
use super::format::Format;
use super::signature::Secret;
use super::{NotifyError, NotifyTargets};

/// The address is a secret: who knows it can speak for us.
#[derive(Clone)]
pub(super) struct Webhook {
    url: Url,
    secret: Option<Secret>,
    format: Format,
}

impl Webhook {
    /// As the settings have it, if they name one.
    pub(super) fn of(targets: &NotifyTargets) -> Result<Option<Webhook>, NotifyError> {
        let wrong = |key| move |problem| NotifyError::Setting { key, problem };
        let secret = targets.webhook_secret.as_ref().map(|secret| Secret::parse(secret.expose_secret()));
        let secret = secret.transpose().map_err(wrong("notify.webhook_secret"))?;
        let Some(url) = &targets.webhook_url else { return Ok(None) };
        let url = Url::parse(url.expose_secret()).map_err(|_| wrong("notify.webhook_url")("is no address"))?;
        Ok(Some(Webhook { url, secret, format: targets.format }))
    }

    /// One attempt to deliver the event that is stored as `stored`.
    pub(super) async fn post(
        &self,
        http: &Client,
        event_id: &str,
        stored: &str,
        time: Duration,
    ) -> Result<StatusCode, DeliveryError> {
        let body = self.format.body(stored);
        let mut request = http.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if self.format == Format::Standard {
            let timestamp = Utc::now().timestamp();
            request = request.header("webhook-id", event_id).header("webhook-timestamp", timestamp);
            if let Some(secret) = &self.secret {
                request = request.header("webhook-signature", secret.signature(event_id, timestamp, &body));
            }
        }
        attempt::post(request.body(body), &self.url, time).await
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook(…)")
    }
}
