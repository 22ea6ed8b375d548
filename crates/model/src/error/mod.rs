//! Errors: their kinds, what follows from each, how they are shown with their causes, and with which code the process exits.
//!
//! ```text
//! error -> error_kind (what sort of trouble it is) -> consequences (retry? what fails? how bad? what to do? which exit code?)
//! ```
//!
//! Each error type says only of which kind it is. Everything else is asked of the one table in `consequences`.

mod chain;
mod consequences;
mod error_kind;
pub mod exit_code;

pub use chain::{Chain, texts};
pub use consequences::{Consequence, Fails, Retry, Severity};
pub use error_kind::ErrorKind;
