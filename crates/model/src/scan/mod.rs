//! What is asked of a scan, which records it takes, and whether a listing comes in the order it was asked for.

mod mode;
mod reconcile;
mod sort_check;
mod sort_proof;
mod window;

pub use mode::{BackfillRange, History, HistoryFrom, Mode, ScanKind, SortedObjects};
pub use reconcile::{MINUTES_A_DAY, ReconcileEvery, days};
pub use sort_check::{SortCheck, Sweep};
pub use sort_proof::{KnownOrder, SortProof, judge_first_page};
pub use window::{Window, WindowVerdict};
