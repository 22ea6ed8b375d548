//! Reads the declarations of custom fields, at the start of a run: they decide the types of new columns.

use planhat_api::{self as api, Listing, ObjectClient, Pager, Position};
use planhat_model::error::Chain;
use planhat_model::flatten::Declared;
use tracing::{info, instrument, warn};

use crate::pull::{Declarations, Limits};

/// The types of custom fields, as far as they can be read.
#[instrument(name = "object", level = "error", skip_all, fields(object = %"customfields"))]
pub(super) async fn declared_fields(customfields: Option<&ObjectClient>, limits: &Limits) -> Declarations {
    let Some(client) = customfields else { return Declarations::default() };
    let listing = Listing { sort: "_id".to_owned(), hidden: false };
    let mut pager = Pager::new(client, listing, limits.pages, Position::default());
    let mut records = Vec::new();
    let failure = loop {
        match pager.next().await {
            Ok(Some(page)) => records.extend(page.records),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let declared = Declared::from_records(&records).under(&limits.rules);
    match &failure {
        Some(error @ api::ApiError::AccessDenied { .. }) => {
            info!(error = %Chain(error), "custom fields get their types from their values: the token may not read the declarations");
        }
        Some(error) => warn!(
            error = %Chain(error),
            "the declarations of custom fields could not be read: no object is loaded for the first time, and values of new custom fields are kept in _overflow until the next sync"
        ),
        None => {}
    }
    Declarations::of(declared, failure)
}
