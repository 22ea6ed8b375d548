//! The timeline: an action for each change of a row, committed with it, and how others read them.

pub(crate) mod action_log;
pub(crate) mod read;
