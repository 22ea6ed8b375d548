//! From record to row: names, types, cells. Pure: no clock, no network, no database.
//!
//! ```text
//! record -> columns it needs (names, types) -> row: one cell per column, _misfits, _overflow, hash
//! ```
//!
//! Flattening cannot fail, it sorts: a value goes to its column, to `_misfits` when the column's type
//! has no room for it, or to `_overflow` when the table has no column for it. Together the three hold
//! the whole record.

mod columns;
mod declared;
mod hash;
mod names;
mod rows;
mod types;

pub use columns::{Column, Columns, MAX_COLUMNS};
pub use declared::{CustomSets, Declared};
pub use hash::{COMPARED_BY_COLUMNS, CONTENT, RETYPED, RowHash};
pub use names::{column_name, documented_column_name};
pub use rows::{Cell, IgnoredFields, Row, flatten};
pub use types::{Fit, fit};
