//! What can go wrong between us and the API, and which kind of trouble that is.

use std::error::Error as StdError;
use std::time::Duration;

use planhat_model::error::{ErrorKind, Retry};
use reqwest::StatusCode;
use rustls::CertificateError;

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
    #[error("{path} cannot be requested: the id cannot be part of a URL path")]
    UnusableId { path: String },
    #[error("{path} did not answer with the record that was requested")]
    OtherRecord { path: String },
    #[error("{path} is unreachable")]
    Unreachable { path: String, source: reqwest::Error },
    #[error("{path} ended its answer early")]
    TruncatedBody { path: String, source: reqwest::Error },
    #[error("{path} did not answer with a list of records but with: {found}")]
    NotAList { path: String, found: String },
    #[error("{path} answered with more than planhat.max_page_bytes ({limit_bytes}) at limit={limit}")]
    PageTooLarge { path: String, limit: u32, limit_bytes: u64 },
    #[error("{path} keeps listing the same records from offset {offset} on")]
    RepeatingListing { path: String, offset: u64 },
    #[error(
        "{path} changes its order from page to page: no page at offset {offset} contains the overlap record of the page before"
    )]
    UnstableOrder { path: String, offset: u64 },
    #[error("{path} does not end: more than {offset} records")]
    EndlessListing { path: String, offset: u64 },
}

impl ApiError {
    /// Which kind of trouble it is: what follows from it stands in the table of consequences.
    pub fn kind(&self) -> ErrorKind {
        match self {
            ApiError::Unauthorized { .. } => ErrorKind::TokenRefused,
            ApiError::AccessDenied { .. } => ErrorKind::AccessDenied,
            ApiError::Status { status: StatusCode::TOO_MANY_REQUESTS, .. } => ErrorKind::RateLimited,
            ApiError::Status { status: StatusCode::REQUEST_TIMEOUT, .. } => ErrorKind::RequestTimeout,
            ApiError::Status { status, .. } if status.is_server_error() => ErrorKind::ServerError,
            ApiError::Status { status, .. } if status.is_redirection() => ErrorKind::Redirected(status.as_u16()),
            ApiError::Status { status, .. } => ErrorKind::Answered(status.as_u16()),
            ApiError::UnusableId { .. } => ErrorKind::UnusableId,
            ApiError::OtherRecord { .. } => ErrorKind::OtherRecord,
            ApiError::Unreachable { source, .. } if source.is_connect() => no_connection(source),
            ApiError::Unreachable { .. } => ErrorKind::NotAnswered,
            ApiError::TruncatedBody { .. } => ErrorKind::TruncatedBody,
            ApiError::NotAList { .. } => ErrorKind::NotAList,
            ApiError::PageTooLarge { .. } => ErrorKind::PageTooLarge,
            ApiError::RepeatingListing { .. } => ErrorKind::RepeatingListing,
            ApiError::UnstableOrder { .. } => ErrorKind::UnstableOrder,
            ApiError::EndlessListing { .. } => ErrorKind::EndlessListing,
        }
    }

    /// Whether a retry of the same request may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        self.kind().retry() != Retry::Never
    }

    /// How long the server asked us to wait at least.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            ApiError::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Why there was no connection to Planhat: what is on the way, or whom we do not trust.
fn no_connection(error: &reqwest::Error) -> ErrorKind {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(kind) = of_certificate(cause).or_else(|| of_proxy(cause)) {
            return kind;
        }
        next = cause.source();
    }
    ErrorKind::NotConnected
}

/// rustls tells why a certificate is refused, inside of one or more errors of the connection.
fn of_certificate(cause: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    if let Some(inner) = cause.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
        return of_certificate(inner);
    }
    let Some(rustls::Error::InvalidCertificate(problem)) = cause.downcast_ref() else { return None };
    Some(match problem {
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => ErrorKind::ServerCertificateNotYetValid,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ErrorKind::ServerCertificateExpired,
        _ => ErrorKind::ServerCertificateUntrusted,
    })
}

/// A proxy that refuses to connect answers for itself: with 407, or with 403 and the like, which must not be taken for an
/// answer of Planhat. The library has no public type for this error.
fn of_proxy(cause: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    match cause.to_string().as_str() {
        "tunnel error: proxy authorization required" => Some(ErrorKind::ProxyLoginRefused),
        "tunnel error: unsuccessful" => Some(ErrorKind::ProxyRefused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: &ApiError, kind: &ErrorKind) {
        assert_eq!(error.kind(), *kind, "{error}");
    }

    fn answered(status: u16) -> ApiError {
        let status = StatusCode::from_u16(status).unwrap();
        ApiError::Status { path: path(), status, excerpt: String::new(), retry_after: None }
    }

    fn path() -> String {
        "/nps".to_owned()
    }

    #[test]
    fn each_error_is_of_a_kind() {
        check(&ApiError::Unauthorized { path: path() }, &ErrorKind::TokenRefused);
        check(&ApiError::AccessDenied { path: path(), status: StatusCode::NOT_FOUND }, &ErrorKind::AccessDenied);
        check(&ApiError::UnusableId { path: path() }, &ErrorKind::UnusableId);
        check(&ApiError::OtherRecord { path: path() }, &ErrorKind::OtherRecord);
        check(&ApiError::NotAList { path: path(), found: "null".to_owned() }, &ErrorKind::NotAList);
        check(&ApiError::PageTooLarge { path: path(), limit: 1, limit_bytes: 1 }, &ErrorKind::PageTooLarge);
        check(&ApiError::RepeatingListing { path: path(), offset: 0 }, &ErrorKind::RepeatingListing);
        check(&ApiError::UnstableOrder { path: path(), offset: 0 }, &ErrorKind::UnstableOrder);
        check(&ApiError::EndlessListing { path: path(), offset: 0 }, &ErrorKind::EndlessListing);
    }

    #[test]
    fn an_answer_is_of_the_kind_of_its_status() {
        check(&answered(429), &ErrorKind::RateLimited);
        check(&answered(408), &ErrorKind::RequestTimeout);
        check(&answered(500), &ErrorKind::ServerError);
        check(&answered(503), &ErrorKind::ServerError);
        check(&answered(301), &ErrorKind::Redirected(301));
        check(&answered(400), &ErrorKind::Answered(400));
        check(&answered(204), &ErrorKind::Answered(204));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_from_one_that_does_not_answer() {
        let unreachable = |source: reqwest::Error| ApiError::Unreachable { path: path(), source };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(50)).build().unwrap();
        let silent = client.get(&url).send().await.unwrap_err();
        check(&unreachable(silent), &ErrorKind::NotAnswered);
        // Nobody listens there; the port of the listener may be another test's once it is dropped.
        let absent = client.get("http://127.0.0.1:1/").timeout(Duration::from_secs(30)).send().await.unwrap_err();
        check(&unreachable(absent), &ErrorKind::NotConnected);
    }
}
