//! Planhat over HTTP: listings, page by page. Knows HTTP, knows no table.
//!
//! ```text
//! budget -> client (one GET, retried) -> pager (a listing as pages without seams)
//! ```
//!
//! The client issues GET and nothing else, so nothing here can change a workspace.

mod api_error;
mod budget;
mod client;
mod pager;
mod retry;

pub use api_error::ApiError;
pub use budget::Budget;
pub use client::{Client, ClientConfig, InvalidToken, ListResponse, Token};
pub use pager::{Listing, Page, Pager, Position};
pub use retry::RetryPolicy;
