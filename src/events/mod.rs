//! Events: messages to a webhook when the state of a workspace changes, and pings for a dead man's switch.
//!
//! ```text
//! run, staleness -> transition (a new state?) -> event -> outbox in the database -> delivery, until it arrives
//! ```
//!
//! A message and the announced state are one commit, so neither a crash nor another process duplicates or loses a message. Only
//! if the database itself is unreachable, a message is kept in memory and sent from there, and its state is stored when the
//! database is reachable again.
//!
//! Everything announced here is also recorded elsewhere, so events never delay a run by more than seconds and never fail it. The
//! URLs are secrets: whoever knows them can send messages in our name.

mod attempt;
mod delivery;
mod format;
mod message;
mod notifier;
mod notifier_state;
mod ping;
mod signature;
mod transition;
mod webhook;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;

pub use delivery::Delays;
pub use format::Format;
pub use notifier::Notifier;
pub use ping::PingUrl;
pub use signature::Secret;

/// Where messages and pings go, from the settings.
#[derive(Debug, Clone)]
pub struct NotifyTargets {
    pub webhook_url: Option<SecretString>,
    pub webhook_secret: Option<SecretString>,
    pub format: Format,
    pub ping_url: Option<SecretString>,
}

/// The workspace that the messages are about.
#[derive(Debug, Clone)]
pub struct NotifiedWorkspace {
    pub schema: String,
    /// Where Planhat is.
    pub host: String,
    /// The objects that the settings name.
    pub objects: BTreeSet<String>,
}

/// Data that is too old.
#[derive(Debug, Clone)]
pub struct Stale {
    pub objects: Vec<String>,
    /// The latest of any of these objects.
    pub last_success: Option<DateTime<Utc>>,
    pub stale_after: Duration,
}

/// Why a run could not even begin.
#[derive(Debug, Clone)]
pub struct StartFailure {
    /// The kind of the reason: the same for the same problem, whatever its text.
    pub kind: String,
    pub reason: String,
    pub hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("{key} {problem}")]
    Setting { key: &'static str, problem: &'static str },
    #[error("could not set up HTTP")]
    Http { source: reqwest::Error },
    #[error("notify.webhook_url is not set: there is nowhere to send messages")]
    NoWebhook,
    #[error("the message was not delivered: {why}")]
    Undelivered { why: String },
}
