//! Planhat over HTTP: listings, page by page. Knows HTTP, knows no table.
//!
//! ```text
//! budget -> client (one GET) -> object client (retried, counted) -> pager (a listing as pages without gaps)
//!           -> workspace probe (how does Planhat answer?)
//! ```
//!
//! The client issues GET and nothing else, so nothing here can change a workspace.

mod api_error;
mod budget;
mod bytes_in_flight;
mod call_fence;
mod client;
mod object_client;
mod pager;
mod retry;
mod token;
mod token_pause;
mod workspace_probe;

pub use api_error::ApiError;
pub use budget::Budget;
pub use bytes_in_flight::ReservedBytes;
pub use client::{Client, ClientConfig, ListResponse, RecordAnswer};
pub use object_client::ObjectClient;
pub use pager::{LearnedPages, Listing, Page, PageCeiling, PageSettings, Pager, Position, RowsPerPage};
pub use retry::RetryPolicy;
pub use token::{InvalidToken, Token};
pub use workspace_probe::probe_workspace;
