//! PostgreSQL: all SQL there is. Knows no HTTP.
//!
//! ```text
//! data      the tables of the objects: columns, what a page changes, its rows; marks of deletion
//! timeline  one action for each change of a row, and how they are read
//! state     the tool's own tables, schema planhat_sync: checkpoints, runs, leases, bindings, quarantine, outbox
//! store     the way to the database, and its transactions;  migrate: the tool's own tables, made and kept up to date
//! connect   from a database URL to a connection;            connection_pool: the connections that are open
//! sql       statements: how all of them are made;           connection: how long anything may wait for the database
//! engine    PostgreSQL, or what only speaks its protocol;   lock_proof: whether locks hold
//! ```
//!
//! A page is one transaction: its rows (`upsert`), their actions, what cannot be stored (`quarantine_records`), and the
//! checkpoint of the scan. Therefore there is one function per statement, with the connection passed in: the caller decides
//! what is committed together. Everything works with a single connection: the embedded PostgreSQL has just one.
//!
//! Which transaction to take:
//!
//! | of [`Store`] | connection | may write | again while that may help | for |
//! |---|---|---|---|---|
//! | `transaction` | work | yes | yes | what a run does |
//! | `transaction_async_commit` | work | yes, without waiting for the disk unless there are actions | yes | the pages of a load |
//! | `transaction_once` | work | yes | no | what is tried again in another way |
//! | `read_only` | work | no | no | looking: how things are now |
//! | `housekeeping` | its own, where there is a second one | yes | no | leases, beside a run |
//! | `read_only_housekeeping` | its own, where there is a second one | no | no | health and metrics, beside a run |
//!
//! `connect` takes the usual time-out of a statement, `connect_with` one from the settings, `embedded` starts a server in
//! this process.

mod connect;
mod connection;
mod connection_pool;
mod data;
#[cfg(feature = "embedded")]
mod embedded;
mod engine;
mod lock_proof;
mod migrate;
mod requirements;
mod row_security;
mod sql;
mod state;
mod store;
mod store_error;
mod timeline;

pub use sqlx::PgConnection;

pub use connect::{ConnectionSource, ConnectionUrlError, UrlSource, Variables};
pub use connection::limit_lock_waits;
pub use data::column_types::{RetypePreview, RetypeQuery, Retyped, preview_retype, retype};
pub use data::deletions::{
    UnlistedRows, count_unlisted, deletion_marks_of, has_live_rows, mark_deleted, save_listed_ids, some_listed_ids, unlisted,
};
pub use data::diff::{Difference, PageDiff, compare, differences};
pub use data::erased_terms::{Terms, ids_by_address, terms_of};
pub use data::grants::{MissingGrant, grant_missing, grants_sql, missing_grants};
pub use data::id_filter::IdFilter;
pub use data::join_columns::{JoinColumn, join_columns_there, make_join_columns};
pub use data::keys::{keys_sql, keys_table_exists, refresh_keys};
pub use data::missed_edits::{ListedEdits, count_missed_edits};
pub use data::missing_records::{
    MissingRecords, ReferenceColumn, ReferenceColumns, ReferringColumns, count_missing, missing_ids, reference_columns,
};
pub use data::named_records::{NameQuery, NamedRecord, named_records, some_named_records};
pub use data::rewrite::{MaskedCounts, MaskedTable, Masking, Pass, mask_rows};
pub use data::stored_value::masks_addresses;
pub use data::tables::{
    SampleQuery, add_columns, create_table, if_allowed, is_empty_table, load_columns, lock_columns, recreate_dropped_columns,
    row_count, sample, table_exists, table_sql,
};
pub use data::upsert::{RefusedRow, RowCounts, Target, upsert, upsert_bisecting};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedLocation;
pub use engine::Engine;
pub use lock_proof::LockProof;
pub use migrate::is_set_up;
pub use requirements::{ConnectionSecurity, DatabaseRequirements, Privileges, Writable, check_requirements, synced_tables};
pub use row_security::refuse_hidden_rows;
pub use state::applied_rules::{applied_rules, note_rules_applied, note_rules_in_use};
pub use state::bindings::{
    Binding, NewBinding, Proof, bind, binding, expect_binding, has_actions, has_ever_had_rows, ids_at_both_ends, new_key,
    note_throttling, tables, throttled_for,
};
pub use state::calendar::{
    CalendarEntry, ClaimRequest, DueWorkspace, Ending, Enrolment, NextLook, calendar, claim, enrol, last_good_starts,
    lease_processes, next_look, note_ending, pause_workspaces, pick_due, postpone, request_leases_of_backfills, request_run,
    resume_workspaces,
};
pub use state::capabilities::{ProvenCapability, StoredCapability, capabilities, disprove_capability, save_capability};
pub use state::checkpoint::{
    Cursor, Durability, PageStep, PageWork, ScanCheckpoint, ScanProgress, UnfinishedScan, cursor, end_covered_history, end_scans,
    full_scan_calls, move_cursor, reset_object, reset_workspace, unfinished_scans,
};
pub use state::fleet_overview::{FleetLease, FleetObject, FleetOverview, FleetRun, fleet_overview};
pub use state::forgotten::{
    ForgottenGroup, Traces, ensure_forget_key, erase_record, forget_key, forgotten_at, forgotten_groups, forgotten_records,
    remember_as_forgotten, stop_forgetting, traces_of,
};
pub use state::leases::{
    LeaseHolder, LeaseRequest, ProcessIdentity, RENEW_EVERY, RenewedLease, STALE_AFTER, Takeover, acquire_lease, fence,
    holds_lease, reacquire_lease, renew_lease, renew_leases, request_lease, token_key, yield_lease,
};
pub use state::missing_references::{
    AbsentRecord, MissingReferences, ReferringProperty, missing_references, save_absent_records, save_missing_references,
};
pub use state::object_states::{
    LeftOut, MisfitColumn, ObjectState, WorkspaceOverview, last_readable, last_success, object_states, overview, record_misfits,
    subtract_from_left_out,
};
pub use state::outbox::{
    ClaimedMessage, Message, announced_state, claim_notification, delete_old_notifications, next_notification,
    notification_delivered, notification_failed, queue_notification, retry_notifications_now, save_announced_state,
};
pub use state::quarantined::{
    NewQuarantineEntry, QuarantineEntry, QuarantineGroup, delete_quarantine_entries, ids_in_quarantine, latest_in_quarantine,
    mask_quarantine, quarantine_entry, quarantine_groups, quarantine_records, release_stored, release_unlisted,
    texts_in_quarantine,
};
pub use state::run_history::{
    Explanation, Figures, ObjectRun, ObjectStatus, PastObjectRun, PastRun, RunStatus, delete_old_runs, end_run_unless_ended,
    finish_run, objects_of_run, recent_runs, recent_runs_of, record_calls, record_object_run, record_object_state, run_of,
};
pub use store::{STATEMENT_TIMEOUT, Store, needs_new_embedded_database};
pub use store_error::StoreError;
pub use timeline::action_builder::{Action, ActionPolicy, TimelineOptions};
pub use timeline::action_table::{actions_sql, create_actions_table, delete_old_actions, index_actions, write_actions};
pub use timeline::consumers::{consumer_position, save_consumer_position};
pub use timeline::listener::ActionListener;
pub use timeline::masked_actions::mask_actions;
pub use timeline::read_actions::{
    ActionFilter, ActionQuery, ActionsSpan, PastAction, actions_span, last_action_before, latest_action, newest_actions,
    next_actions,
};
pub use timeline::view::create_timeline_view;

/// The schema of the tool's own tables.
pub const OWN_SCHEMA: &str = "planhat_sync";
