//! Reads the declarations of custom fields, at the start of a run: they decide the types of new columns, and which custom
//! fields have a column before any value.

use planhat_api::{self as api, Listing, ObjectClient, PageSettings, Pager, Position};
use planhat_model::error::Chain;
use planhat_model::flatten::Declared;
use planhat_model::record::Record;
use tracing::{info, instrument, warn};

use crate::pull::{Declarations, Limits};

/// The types of custom fields, as far as they can be read.
#[instrument(name = "object", level = "error", skip_all, fields(object = %"customfields"))]
pub(super) async fn declared_fields(customfields: Option<&ObjectClient>, limits: &Limits) -> Declarations {
    let Some(client) = customfields else { return Declarations::default() };
    let (records, failure) = read_declarations(client, limits.pages).await;
    let declared = Declared::from_records(&records).under(&limits.rules);
    let declared = if failure.is_some() { declared.as_a_part() } else { declared };
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

/// All declarations, or those that were read before an error.
pub(crate) async fn read_declarations(client: &ObjectClient, pages: PageSettings) -> (Vec<Record>, Option<api::ApiError>) {
    let listing = Listing { sort: "_id".to_owned(), hidden: false };
    let mut pager = Pager::new(client, listing, pages, Position::default());
    let mut records = Vec::new();
    loop {
        match pager.next().await {
            Ok(Some(page)) => records.extend(page.records),
            Ok(None) => return (records, None),
            Err(error) => return (records, Some(error)),
        }
    }
}
