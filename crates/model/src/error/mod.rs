//! Errors: how they are shown with their causes, and with which code the process exits.

mod chain;
pub mod exit_code;

pub use chain::Chain;
