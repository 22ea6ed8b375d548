//! The data schema: tables of objects, their rows, and what becomes of rows whose records are gone.
//!
//! ```text
//! tables (columns as they grow) -> diff (what a page changes) -> upsert (its rows) -> deletions (rows marked, never removed)
//! ```
//!
//! `column_types` changes a column on the user's word, `rewrite` masks what is stored already. `rows_by_column` is how rows go into a statement, `stored_value`
//! how values come out of one.

pub(crate) mod column_types;
pub(crate) mod deletions;
pub(crate) mod diff;
pub(crate) mod erased_terms;
pub(crate) mod rewrite;
pub(crate) mod rows_by_column;
pub(crate) mod stored_value;
pub(crate) mod tables;
pub(crate) mod upsert;
