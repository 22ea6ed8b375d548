//! What can go wrong between us and the API, and whether asking again may help.

use std::time::Duration;

use reqwest::StatusCode;

/// Every variant names the endpoint; none carries the token.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{path} answered 401: the token is not valid on this host")]
    Unauthorized { path: String },
    /// 403, or 404 on a listing: the token may not read it, or the workspace does not have it.
    #[error("{path} answered {status}")]
    AccessDenied { path: String, status: StatusCode },
    #[error("{path} answered {status}: {excerpt}")]
    Status { path: String, status: StatusCode, excerpt: String, retry_after: Option<Duration> },
    #[error("{path} cannot be asked for: the id is no part of a path")]
    UnusableId { path: String },
    #[error("{path} could not be reached")]
    Unreachable { path: String, source: reqwest::Error },
    #[error("{path} broke off its answer")]
    TruncatedBody { path: String, source: reqwest::Error },
    #[error("{path} answered with something that is not a list of records: {found}")]
    NotAList { path: String, found: String },
    #[error("{path} answered with more than planhat.max_page_bytes ({limit_bytes}) at limit={limit}")]
    PageTooLarge { path: String, limit: u32, limit_bytes: u64 },
    #[error("{path} lists the same records again and again from offset {offset} on")]
    RepeatingListing { path: String, offset: u64 },
    #[error("{path} changes its order from page to page: no page after offset {offset} begins where the one before ended")]
    UnstableOrder { path: String, offset: u64 },
    #[error("{path} does not end: {offset} records and still more")]
    EndlessListing { path: String, offset: u64 },
}

impl ApiError {
    /// Whether the same request may well succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            ApiError::Unreachable { .. } | ApiError::TruncatedBody { .. } | ApiError::NotAList { .. } => true,
            ApiError::Status { status, .. } => {
                matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) || status.is_server_error()
            }
            ApiError::Unauthorized { .. }
            | ApiError::AccessDenied { .. }
            | ApiError::UnusableId { .. }
            | ApiError::PageTooLarge { .. }
            | ApiError::RepeatingListing { .. }
            | ApiError::UnstableOrder { .. }
            | ApiError::EndlessListing { .. } => false,
        }
    }

    /// Whether there was not even a connection: no such name, nobody there, nothing that answers, no trust.
    pub fn is_connect_failure(&self) -> bool {
        matches!(self, ApiError::Unreachable { source, .. } if source.is_connect())
    }

    /// How long the server asked us to wait at least.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            ApiError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The same text for the same trouble, without what differs from one time to the next.
    pub fn kind(&self) -> String {
        let kind = match self {
            ApiError::Unauthorized { .. } => "token refused",
            ApiError::AccessDenied { .. } => "access denied",
            ApiError::Status { status, .. } if status.is_server_error() => "server error",
            ApiError::Status { status, .. } => return format!("answered {}", status.as_u16()),
            ApiError::UnusableId { .. } => "no path",
            ApiError::Unreachable { .. } => "unreachable",
            ApiError::TruncatedBody { .. } => "broken off",
            ApiError::NotAList { .. } => "not a list",
            ApiError::PageTooLarge { .. } => "too big",
            ApiError::RepeatingListing { .. } => "repeats",
            ApiError::UnstableOrder { .. } => "unstable order",
            ApiError::EndlessListing { .. } => "endless",
        };
        kind.to_owned()
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            ApiError::Unauthorized { .. } => {
                "check PLANHAT_API_TOKEN and planhat.base_url: a token is only valid on the host that its workspace lives on"
            }
            ApiError::AccessDenied { .. } => {
                "give the private app read access to this object in Planhat, or leave it out of planhat.objects"
            }
            ApiError::Unreachable { .. } => "check planhat.base_url and that this machine reaches it",
            ApiError::Status { status, .. } if status.is_redirection() => {
                "redirects are not followed, so that the token goes nowhere else: set planhat.base_url to the API host itself"
            }
            ApiError::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => {
                "the workspace's quota is used up: lower planhat.calls_per_minute if others use the API too"
            }
            ApiError::NotAList { .. } => {
                "check that planhat.base_url is the API host (https://api.planhat.com or a regional one)"
            }
            ApiError::PageTooLarge { .. } => "raise planhat.max_page_bytes: even single records of this object were larger",
            ApiError::UnstableOrder { .. } => {
                "run it again when less is deleted in Planhat; if it stays so, pages.overlap = 0 reads without this check, and may miss records"
            }
            ApiError::Status { .. }
            | ApiError::UnusableId { .. }
            | ApiError::TruncatedBody { .. }
            | ApiError::RepeatingListing { .. }
            | ApiError::EndlessListing { .. } => return None,
        })
    }
}
