//! The data schema: tables of objects, their rows, and what becomes of rows whose records are gone.
//!
//! ```text
//! tables (columns as they grow) -> diff (what a page changes) -> upsert (its rows) -> deletions (rows marked, never removed)
//! ```
//!
//! `missing_records` finds what rows refer to and is not stored. `set_values` compares lists whose order means nothing.
//! `column_types` changes a column on the user's word. `rows_by_column` is how rows go into a statement, `stored_value` how values
//! come out of one, `named_records` finds records by what people call them.

pub(crate) mod column_types;
pub(crate) mod deletions;
pub(crate) mod diff;
pub(crate) mod missing_records;
pub(crate) mod named_records;
pub(crate) mod rows_by_column;
pub(crate) mod set_values;
pub(crate) mod stored_value;
pub(crate) mod tables;
pub(crate) mod upsert;
