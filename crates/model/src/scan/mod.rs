//! Which records a scan takes, and whether a listing comes in the order it was asked for.

mod sort_check;
mod window;

pub use sort_check::{SortCheck, Sweep};
pub use window::{Window, WindowVerdict};
