//! The tool's own tables, schema `planhat_sync`: whose schema it is, who works on it, how far each object
//! has been read, how Planhat answers, what runs came to, what could not be stored, who was forgotten, and what has to be sent.

pub(crate) mod applied_rules;
pub(crate) mod bindings;
pub(crate) mod calendar;
pub(crate) mod capabilities;
pub(crate) mod checkpoint;
pub(crate) mod fleet_overview;
pub(crate) mod forgotten;
pub(crate) mod leases;
pub(crate) mod missing_references;
pub(crate) mod object_states;
pub(crate) mod outbox;
pub(crate) mod quarantined;
pub(crate) mod run_history;
