//! The declared types of custom fields, and what happens to a new custom field when they are unknown.
//!
//! A column keeps its type for ever, so a moment in which `/customfields` does not answer must not decide it. If the token may
//! not read the declarations, the values decide, as documented. If the declarations could not be read this time, an object
//! that has no table yet fails and is loaded when they can be read. An object that was loaded before continues: values with a
//! column are stored, and the value of a custom field without a column is kept in `_overflow`. The hash of such a row
//! has version 0 (`flatten/hash.rs`), so the row is written again when its record is next read with known declarations.

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
    fn types_are_inferred_from_values_only_if_the_token_may_not_read_the_declarations() {
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
