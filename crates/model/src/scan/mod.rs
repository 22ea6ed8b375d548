//! What is asked of a scan, which records it takes, and whether a listing comes in the order it was asked for.

mod mode;
mod sort_check;
mod window;

pub use mode::{BackfillRange, History, HistoryFrom, Mode, ScanKind};
pub use sort_check::{SortCheck, Sweep};
pub use window::{Window, WindowVerdict};
