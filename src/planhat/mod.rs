//! Planhat over HTTP: listings, page by page. Knows HTTP, knows no table.
//!
//! ```text
//! budget -> client (one GET, retried) -> pager (a listing as pages without seams)
//! ```
//!
//! The client issues GET and nothing else, so nothing here can change a workspace.

mod ahead;
mod budget;
mod client;
mod error;
mod pager;
mod retry;

pub use budget::Budget;
pub use client::{BadToken, Client, Connection, Listed, Token};
pub use error::Error;
pub use pager::{Listing, Page, Pager, Position};
pub use retry::Retry;
