//! What the user says of properties by their names: which change without being worth an action, and which may be kept how.

mod fields;
mod privacy;
mod spelling;

pub use fields::{FieldMap, NamedField, bit_of, named};
pub use privacy::{REDACTED, Rule, Rules};
pub use spelling::folded;
