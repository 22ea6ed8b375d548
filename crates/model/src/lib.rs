//! What Planhat has and what becomes of it, as values: no clock, no network, no database, no runtime.
//!
//! ```text
//! catalog     the objects, as data
//! record      a JSON object as the API sent it; points in time and values, where they stand in its text
//! record_shapes, workspace_report  the shapes of records and what a probe of a workspace found, without a value
//! rules       what the user says of values by name; what of them may be kept
//! capability  what was learned of how a workspace answers
//! scan        which records a scan takes; whether a listing is sorted as it says
//! flatten     a record as a row: columns, names, types, values
//! keyed_hash  hashes of secrets and personal data under a key
//! printable   text of strangers, made fit for a terminal and a log
//! secret_file what a file with a secret says
//! error       from an error to what follows from it
//! ```

pub mod capability;
pub mod catalog;
pub mod error;
pub mod flatten;
pub mod keyed_hash;
pub mod printable;
pub mod record;
pub mod record_shapes;
pub mod rules;
pub mod scan;
pub mod secret_file;
pub mod workspace_report;
