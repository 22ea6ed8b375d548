//! What is known of the types of custom fields, and what becomes of a field that is new where nothing is known.
//!
//! A column keeps its type for ever, so a moment in which `/customfields` does not answer must not decide it. Where the
//! token may not read the declarations, values decide, as documented. Where they could not be read this time, the first
//! load of an object fails before it makes a column, and is made when they can be read. An object that was loaded before
//! goes on: what has a column is stored as ever, and the value of a custom field that has none yet waits in `_overflow`.
//! Its row counts as written by nobody (its hash is 0), so that the next run that knows the declarations makes the column
//! and moves the value there.

use std::sync::Arc;

use planhat_api as api;
use planhat_model::flatten::{Columns, Declared};

/// The types of custom fields, as far as they could be read.
#[derive(Debug, Default)]
pub struct Declarations {
    pub declared: Declared,
    /// Why they could not be read this time.
    pub unknown: Option<Arc<api::ApiError>>,
}

/// What a custom field becomes for which an object has no column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NewFields {
    /// A column, of the type that is declared, or that its values have.
    Column,
    /// It waits in `_overflow`.
    Wait,
    /// Nothing: the object is not loaded.
    Refused,
}

impl Declarations {
    /// From what was read of them before it ended, or failed.
    pub fn of(declared: Declared, failure: Option<api::ApiError>) -> Declarations {
        match failure {
            None | Some(api::ApiError::AccessDenied { .. }) => Declarations { declared, unknown: None },
            Some(error) => Declarations { declared, unknown: Some(Arc::new(error)) },
        }
    }

    pub(super) fn new_fields(&self, columns: &Columns) -> NewFields {
        // The first column is that of the id, which is made with the table.
        match (&self.unknown, columns.len() > 1) {
            (None, _) => NewFields::Column,
            (Some(_), true) => NewFields::Wait,
            (Some(_), false) => NewFields::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planhat_model::catalog::ColumnType;
    use planhat_model::flatten::Column;
    use planhat_model::record::Origin;
    use reqwest::StatusCode;

    fn columns(count: usize) -> Columns {
        let column = |number: usize| {
            let name = format!("c{number}");
            Column { name: name.clone(), kind: ColumnType::Text, origin: Origin::Property, planhat_name: name }
        };
        (0..count).map(column).collect()
    }

    fn status(status: StatusCode) -> api::ApiError {
        api::ApiError::Status { path: "/customfields".to_owned(), status, excerpt: String::new(), retry_after: None }
    }

    fn forbidden(status: StatusCode) -> api::ApiError {
        api::ApiError::AccessDenied { path: "/customfields".to_owned(), status }
    }

    #[test]
    fn only_what_the_token_may_not_read_leaves_types_to_values() {
        use NewFields::{Column, Refused, Wait};
        let broken = || api::ApiError::NotAList { path: "/customfields".to_owned(), found: "null".to_owned() };
        let unauthorized = || api::ApiError::Unauthorized { path: "/customfields".to_owned() };
        for (failure, first_load, later) in [
            (None, Column, Column),
            (Some(forbidden(StatusCode::FORBIDDEN)), Column, Column),
            (Some(forbidden(StatusCode::NOT_FOUND)), Column, Column),
            (Some(status(StatusCode::INTERNAL_SERVER_ERROR)), Refused, Wait),
            (Some(status(StatusCode::TOO_MANY_REQUESTS)), Refused, Wait),
            (Some(status(StatusCode::BAD_REQUEST)), Refused, Wait),
            (Some(broken()), Refused, Wait),
            (Some(unauthorized()), Refused, Wait),
        ] {
            let said = format!("{failure:?}");
            let declarations = Declarations::of(Declared::default(), failure);
            let became = [0, 1, 2].map(|count| declarations.new_fields(&columns(count)));
            assert_eq!(became, [first_load, first_load, later], "{said}");
        }
    }
}
