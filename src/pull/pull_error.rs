//! What ends a pull before its time, and which kind of trouble that is.

use std::sync::Arc;

use planhat_api as api;
use planhat_model::error::ErrorKind;
use planhat_model::record::REFUSED;
use planhat_store as store;

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error("could not read {object} from offset {offset}")]
    Fetch { object: &'static str, offset: i64, source: api::ApiError },
    #[error("could not store {object}")]
    Store { object: &'static str, source: store::StoreError },
    /// The rejection guard holds.
    #[error("{rejected} of {listed} records of {object} were rejected: {reason}; {}", rejection_cause(.reason))]
    Rejected { object: &'static str, rejected: u64, listed: u64, reason: String },
    #[error("could not read the declared types of the custom fields of {object}")]
    Undeclared { object: &'static str, source: Arc<api::ApiError> },
    /// Either a wrong answer, or all records were deleted: only a person can decide.
    #[error("Planhat lists no {object}, but the table has rows from earlier runs: no row was marked as deleted")]
    NothingListed { object: &'static str },
}

fn rejection_cause(reason: &str) -> &'static str {
    if reason.starts_with(REFUSED) { "a database constraint or trigger has changed" } else { "the API may have changed" }
}

impl PullError {
    /// Which kind of trouble it is: what follows from it stands in the table of consequences.
    pub fn kind(&self) -> ErrorKind {
        match self {
            PullError::Fetch { source, .. } => source.kind(),
            PullError::Store { source, .. } => source.kind(),
            PullError::Rejected { .. } => ErrorKind::TooManyRejected,
            PullError::Undeclared { source, .. } => ErrorKind::Undeclared(Box::new(source.kind())),
            PullError::NothingListed { object } => ErrorKind::NothingListed { object },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_of_the_kind_of_its_cause() {
        let refused = || api::ApiError::Unauthorized { path: "/nps".to_owned() };
        let check = |error: PullError, kind: ErrorKind| assert_eq!(error.kind(), kind, "{error}");
        check(PullError::Fetch { object: "nps", offset: 0, source: refused() }, ErrorKind::TokenRefused);
        let source = store::StoreError::LeaseLost { run_id: 1 };
        check(PullError::Store { object: "nps", source }, ErrorKind::LeaseLost);
        let reason = "no _id".to_owned();
        check(PullError::Rejected { object: "nps", rejected: 9, listed: 10, reason }, ErrorKind::TooManyRejected);
        let undeclared = ErrorKind::Undeclared(Box::new(ErrorKind::TokenRefused));
        check(PullError::Undeclared { object: "nps", source: Arc::new(refused()) }, undeclared);
        check(PullError::NothingListed { object: "nps" }, ErrorKind::NothingListed { object: "nps" });
    }
}
