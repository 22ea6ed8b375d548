//! planhat-sync copies a Planhat workspace into PostgreSQL: completely, every day, without anyone
//! having to look after it.
//!
//! ```text
//! API -> page -> record -> row -> table
//!
//! main, cli, config, telemetry, signals      the rim: what is typed, set, logged
//! commands                                   what each command prints, and its exit code
//! schedule, notify, http                     for the daemon: when, whom it tells, what it shows
//! status, freshness                          how a workspace stands, for `status`, `/metrics` and the daemon
//! run                                        one run over a workspace: lease, objects side by side
//! pull                                       one object from API to table, the story in one page
//! progress                                   how far each object is, for whoever shows it
//! planhat | store                            HTTP that knows no table | SQL that knows no HTTP
//! flatten, sweep, window, record, object     the pure core; catalog: the objects, as data
//! fields, privacy                            what the user says of values by name; what of them may be kept
//! instant, json                              points in time and values, where they stand in a text
//! simulator                                  a simulated Planhat for demo, tests and benchmark
//! ```
//!
//! Arrows go down only; a test holds the house to that. It is a library so that tests can reach into
//! it; the product is the binary.

pub mod catalog;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod fields;
pub mod flatten;
pub mod freshness;
pub mod http;
pub mod instant;
pub mod json;
pub mod notify;
pub mod object;
pub mod planhat;
pub mod privacy;
pub mod progress;
pub mod pull;
pub mod record;
pub mod run;
pub mod schedule;
pub mod signals;
pub mod simulator;
pub mod status;
pub mod store;
pub mod sweep;
pub mod telemetry;
pub mod window;
