//! planhat-sync copies a Planhat workspace into PostgreSQL: completely, every day, without anyone
//! having to look after it.
//!
//! ```text
//! API -> page -> record -> row -> table -> action -> event
//!
//! main, cli, when, config, signals           the rim: what is typed and set
//! telemetry, log_lines                       the log, and what a line of it looks like
//! commands | daemon                          what each command prints; what stays up and runs on a schedule
//! workspace, command_error, print            what both need: from settings to client and store; errors and exit codes; the terminal
//! events, schedule                           whom to tell of a run; when the next one is due
//! workspace_status, freshness                how a workspace is, for `status`, `/metrics` and the daemon
//! run                                        one run over a workspace: lease, objects side by side
//! pull                                       one object from API to table, the story in one page
//! progress                                   how far each object is, for whoever shows it
//! planhat-api | planhat-store                HTTP that knows no table | SQL that knows no HTTP
//! planhat-model                              the pure core: objects, records, rules, scans, rows
//! planhat-simulator                          a simulated Planhat for demo, tests and benchmark
//! ```
//!
//! The crates below `crates/` are walls that the compiler keeps. This one is a library so that tests can
//! reach into it; the product is the binary.

pub mod cli;
pub mod command_error;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod events;
pub mod fleet_state;
pub mod freshness;
mod log_lines;
pub mod print;
pub mod progress;
pub mod pull;
pub mod run;
pub mod schedule;
pub mod signals;
pub mod telemetry;
pub mod when;
pub mod workspace;
pub mod workspace_status;
