//! What the user says of properties by their names: which change without being worth an action, and which may be kept how.

mod fields;
mod privacy;

pub use fields::{FieldMap, bit_of};
pub use privacy::{REDACTED, Rule, Rules};
