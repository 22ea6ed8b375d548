//! Tells others how a workspace is: messages when its state changes, pings for a dead man's switch.
//!
//! ```text
//! run, staleness -> state (is that news?) -> event -> notifications in the database -> delivery, until it arrives
//! ```
//!
//! A message and the state it tells are one commit, so that neither a crash nor another process doubles or forgets
//! it. Only where the database itself is away it is kept in memory and sent from there, and what was told
//! meanwhile is stored when the database is back.
//!
//! What is told here is on record anyway, so it never delays a run by more than seconds and never fails one. The
//! addresses are secrets: whoever knows them can speak for us.

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

/// Who is told, as the settings have it.
#[derive(Debug, Clone)]
pub struct NotifyTargets {
    pub webhook_url: Option<SecretString>,
    pub webhook_secret: Option<SecretString>,
    pub format: Format,
    pub ping_url: Option<SecretString>,
}

/// Of what is told.
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
    /// The same for the same trouble, whatever its text says.
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
    #[error("notify.webhook_url is not set: there is nobody to tell")]
    NoWebhook,
    #[error("the message was not delivered: {why}")]
    Undelivered { why: String },
}
