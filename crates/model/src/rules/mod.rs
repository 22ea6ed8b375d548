//! What the user says of properties by their names: which change without being worth an action, and which may be kept how.
//! And of people: who was forgotten.

mod fields;
mod forgotten_records;
mod kept;
mod privacy;
mod spelling;

pub use fields::{FieldMap, NamedField, bit_of, named};
pub use forgotten_records::{FORGOTTEN, ForgottenRecords};
pub use kept::{Keep, Kept, NotARecord, add_member, kept_record, kept_text, object_of_members};
pub use privacy::{REDACTED, Rule, Rules};
pub use spelling::folded;
