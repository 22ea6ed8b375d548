//! The data schema: tables of objects, their rows, and what becomes of rows whose records are gone.
//!
//! ```text
//! tables (columns as they grow) -> diff (what a page changes) -> upsert (its rows) -> deletions (rows marked, never removed)
//! ```
//!
//! `set_values` compares lists whose order means nothing. `column_types` changes a column on the user's word, `rewrite` masks
//! what is stored already, by what `erased_terms` finds for those who were forgotten.
//! `rows_by_column` is how rows go into a statement (`column_values`: one column of it), `id_filter` says which records need no
//! look-up, `stored_value` how values come out of one, `named_records` finds records by
//! what people call them, `missed_edits` those that sweeps have not shown, `missing_records` what rows refer to and is not stored. `join_columns` gives references in one
//! spelling, `keys` is the table that tells what they point to, `dependents` what users have made on a column. `grants` lets
//! the roles read that the settings name.

pub(crate) mod column_types;
mod column_values;
pub(crate) mod deletions;
mod dependents;
pub(crate) mod diff;
pub(crate) mod erased_terms;
pub(crate) mod grants;
pub(crate) mod id_filter;
pub(crate) mod join_columns;
pub(crate) mod keys;
pub(crate) mod missed_edits;
pub(crate) mod missing_records;
pub(crate) mod named_records;
pub(crate) mod rewrite;
pub(crate) mod rows_by_column;
pub(crate) mod set_values;
pub(crate) mod stored_value;
pub(crate) mod tables;
pub(crate) mod upsert;
