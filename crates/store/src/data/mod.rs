//! The data schema: tables of objects, their rows, and what becomes of rows whose records are gone.
//!
//! ```text
//! tables (columns as they grow) -> upsert (a page's rows) -> deletions (rows marked, never removed)
//! ```

pub(crate) mod column_types;
pub(crate) mod deletions;
pub(crate) mod tables;
pub(crate) mod upsert;
