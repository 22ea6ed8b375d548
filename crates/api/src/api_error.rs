//! What can go wrong between us and the API, and whether asking again may help.

use std::time::Duration;

use reqwest::StatusCode;

/// Every variant names the endpoint; none carries the token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path} answered 401: the token is not valid on this host")]
    Unauthorized { path: String },
    /// 403, or 404 on a listing: the token may not read it, or the workspace does not have it.
    #[error("{path} answered {status}")]
    Forbidden { path: String, status: StatusCode },
    #[error("{path} answered {status}: {excerpt}")]
    Status { path: String, status: StatusCode, excerpt: String, retry_after: Option<Duration> },
    #[error("{path} cannot be asked for: the id is no part of a path")]
    NoPath { path: String },
    #[error("{path} could not be reached")]
    Unreachable { path: String, source: reqwest::Error },
    #[error("{path} broke off its answer")]
    BrokenOff { path: String, source: reqwest::Error },
    #[error("{path} answered with something that is not a list of records: {found}")]
    NotAList { path: String, found: String },
    #[error("{path} answered with more than planhat.max_page_bytes ({limit_bytes}) at limit={limit}")]
    TooBig { path: String, limit: u32, limit_bytes: u64 },
    #[error("{path} lists the same records again and again from offset {offset} on")]
    Repeats { path: String, offset: u64 },
    #[error("{path} changes its order from page to page: no page after offset {offset} begins where the one before ended")]
    Unstable { path: String, offset: u64 },
    #[error("{path} does not end: {offset} records and still more")]
    Endless { path: String, offset: u64 },
}

impl Error {
    /// Whether the same request may well succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Error::Unreachable { .. } | Error::BrokenOff { .. } | Error::NotAList { .. } => true,
            Error::Status { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) || status.is_server_error()
            }
            Error::Unauthorized { .. }
            | Error::Forbidden { .. }
            | Error::NoPath { .. }
            | Error::TooBig { .. }
            | Error::Repeats { .. }
            | Error::Unstable { .. }
            | Error::Endless { .. } => false,
        }
    }

    /// Whether there was not even a connection: no such name, nobody there, nothing that answers, no trust.
    pub fn is_without_connection(&self) -> bool {
        matches!(self, Error::Unreachable { source, .. } if source.is_connect())
    }

    /// How long the server asked us to wait at least.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The same text for the same trouble, without what differs from one time to the next.
    pub fn kind(&self) -> String {
        let kind = match self {
            Error::Unauthorized { .. } => "token refused",
            Error::Forbidden { .. } => "access denied",
            Error::Status { status, .. } if status.is_server_error() => "server error",
            Error::Status { status, .. } => return format!("answered {}", status.as_u16()),
            Error::NoPath { .. } => "no path",
            Error::Unreachable { .. } => "unreachable",
            Error::BrokenOff { .. } => "broken off",
            Error::NotAList { .. } => "not a list",
            Error::TooBig { .. } => "too big",
            Error::Repeats { .. } => "repeats",
            Error::Unstable { .. } => "unstable order",
            Error::Endless { .. } => "endless",
        };
        kind.to_owned()
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Error::Unauthorized { .. } => {
                "check PLANHAT_API_TOKEN and planhat.base_url: a token is only valid on the host that its workspace lives on"
            }
            Error::Forbidden { .. } => {
                "give the private app read access to this object in Planhat, or leave it out of planhat.objects"
            }
            Error::Unreachable { .. } => "check planhat.base_url and that this machine reaches it",
            Error::Status { status, .. } if status.is_redirection() => {
                "redirects are not followed, so that the token goes nowhere else: set planhat.base_url to the API host itself"
            }
            Error::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                "the workspace's quota is used up: lower planhat.calls_per_minute if others use the API too"
            }
            Error::NotAList { .. } => "check that planhat.base_url is the API host (https://api.planhat.com or a regional one)",
            Error::TooBig { .. } => "raise planhat.max_page_bytes: even single records of this object were larger",
            Error::Unstable { .. } => {
                "run it again when less is deleted in Planhat; if it stays so, pages.overlap = 0 reads without this check, and may miss records"
            }
            Error::Status { .. }
            | Error::NoPath { .. }
            | Error::BrokenOff { .. }
            | Error::Repeats { .. }
            | Error::Endless { .. } => return None,
        })
    }
}
