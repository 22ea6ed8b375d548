//! The timeline: an action for each change of a row, committed with it, and how others read them.
//!
//! ```text
//! diff of a page -> action_builder (what each change is; first_sight: is it new?) -> action_table (written, last before the commit)
//! action_table -> masked_actions (on the user's word, what is told already)
//! action_table -> view (for people), read_actions (for the command line), consumers (who has read how far), listener
//! ```

pub(crate) mod action_builder;
pub(crate) mod action_table;
pub(crate) mod consumers;
mod first_sight;
pub(crate) mod listener;
pub(crate) mod masked_actions;
pub(crate) mod read_actions;
pub(crate) mod view;
