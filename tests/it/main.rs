//! Behaviour, end to end: a simulated Planhat on one side, a real PostgreSQL on the other.
//!
//! `make test` starts a private server and names it in TEST_DATABASE_URL; every test has a database of
//! its own, so they run side by side in any order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod actions;
mod budget;
mod calendar;
mod check;
mod cli;
mod connecting;
mod containers;
mod daemon;
mod database;
mod edited_tenant;
mod embedded;
mod engine_rules;
mod escapes;
mod faults;
mod fleet_evidence;
mod fleet_soak;
mod follower;
mod forget;
mod grants;
mod harness;
mod helm_chart;
mod history;
mod house;
mod joins;
mod kills;
mod known_columns;
mod landing;
mod learning;
mod limit;
mod logs;
mod lost_messages;
mod many_workspaces;
mod model;
mod notify;
mod odd_databases;
mod pages;
mod paging;
mod pauses;
mod permissions;
mod privacy;
mod probe;
mod proxies;
mod quarantine;
mod reconcile;
mod reference;
mod replicas;
mod results;
mod retype;
mod runs;
mod secrets;
mod server;
mod signals;
mod silence;
mod tls;
mod unattended;
mod upgrade;
mod waiting;
mod without_embedded;
mod workspace_identity;
mod workspaces;
