//! What ends a pull before its time, and what follows from it: for the object, the run and the person who reads of it.

use std::sync::Arc;

use planhat_api as api;
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
    #[error("could not read which types the custom fields of {object} have")]
    Undeclared { object: &'static str, source: Arc<api::ApiError> },
    /// An answer gone wrong, or all of it is gone: only a person can tell.
    #[error("Planhat lists nothing of {object}, though there are rows of earlier days: nothing was marked as deleted")]
    NothingListed { object: &'static str },
}

fn rejection_cause(reason: &str) -> &'static str {
    if reason.starts_with(REFUSED) { "a rule of the database has changed" } else { "the API may have changed" }
}

impl PullError {
    /// No other object can fare better.
    pub fn is_token_refused(&self) -> bool {
        matches!(self, PullError::Fetch { source: api::ApiError::Unauthorized { .. }, .. })
    }

    /// The other end is gone: trying the other objects would only take longer to say the same.
    pub fn is_unreachable(&self) -> bool {
        match self {
            PullError::Fetch { source, .. } => matches!(source, api::ApiError::Unreachable { .. }),
            PullError::Store { source, .. } => source.is_unreachable(),
            PullError::Rejected { .. } | PullError::Undeclared { .. } | PullError::NothingListed { .. } => false,
        }
    }

    /// Nothing was heard of the database for too long.
    pub fn is_unresponsive_database(&self) -> bool {
        matches!(self, PullError::Store { source: store::StoreError::Unresponsive { .. }, .. })
    }

    /// Planhat does not let this token read the object, or the workspace does not have it.
    pub fn is_access_denied(&self) -> bool {
        matches!(self, PullError::Fetch { source: api::ApiError::AccessDenied { .. }, .. })
    }

    pub(super) fn is_checkpoint_lost(&self) -> bool {
        matches!(self, PullError::Store { source: store::StoreError::CheckpointLost { .. }, .. })
    }

    /// Another listing of the same object may fare better.
    pub(super) fn may_pass_with_another_listing(&self) -> bool {
        matches!(self, PullError::Fetch { .. } | PullError::Rejected { .. })
            && !self.is_access_denied()
            && !self.is_token_refused()
            && !self.is_unreachable()
    }

    /// The same text for the same trouble, without what differs from one time to the next.
    pub fn kind(&self) -> String {
        match self {
            PullError::Fetch { source, .. } => source.kind(),
            PullError::Store { source, .. } => source.kind(),
            PullError::Rejected { .. } => "rejected".to_owned(),
            PullError::Undeclared { source, .. } => format!("undeclared: {}", source.kind()),
            PullError::NothingListed { .. } => "nothing listed".to_owned(),
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            PullError::Fetch { source, .. } => source.hint().map(str::to_owned),
            PullError::Store { source, .. } => source.hint().map(str::to_owned),
            PullError::Rejected { .. } => Some(
                "nothing more was read or kept, and the next sync reads all of it again; `planhat-sync quarantine` shows what was kept \
                 before. If it is right that so many cannot be stored, raise sync.reject_percent and sync.reject_rows"
                    .to_owned(),
            ),
            PullError::Undeclared { .. } => Some(
                "the first load of an object waits for /customfields, since a column keeps its type; the next sync tries again"
                    .to_owned(),
            ),
            PullError::NothingListed { object } => Some(format!(
                "look at the token's permissions and at {object} in Planhat; if all of them are gone, \
                 `planhat-sync sync --full --allow-deletes {object}` marks them"
            )),
        }
    }
}
