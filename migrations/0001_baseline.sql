-- The tool's own tables, schema planhat_sync. People query them: which runs there were, how fresh the data is, which Planhat
-- field is behind a column, which records could not be stored. Read them freely; do not write to them.
-- In all tables `workspace` is the name of the data schema (database.schema): a schema belongs to one workspace.
--
-- This file is frozen: a change is a further migration, see README.md.

create table planhat_sync.workspaces (
    workspace text primary key,
    key uuid not null,
    fingerprint text not null,
    host text not null,
    bound_at timestamptz not null default now(),
    proven_by text not null check (proven_by in ('first sync', 'stored records', 'adopt'))
);
comment on table planhat_sync.workspaces is 'Which token and host a schema is bound to. With another token or host, stored records are requested by id before a run writes anything.';
comment on column planhat_sync.workspaces.workspace is 'the data schema (database.schema)';
comment on column planhat_sync.workspaces.key is 'the random key of the fingerprint';
comment on column planhat_sync.workspaces.fingerprint is 'HMAC-SHA256 of the token under the key, in hexadecimal; the token cannot be recovered from it';
comment on column planhat_sync.workspaces.host is 'scheme, host and port of planhat.base_url';
comment on column planhat_sync.workspaces.bound_at is 'when the schema was bound to this token and host';
comment on column planhat_sync.workspaces.proven_by is 'first sync: the schema was empty; stored records: Planhat has most of the stored records that were requested by id; adopt: a person ran `planhat-sync adopt`';

create table planhat_sync.runs (
    id bigint generated always as identity primary key,
    workspace text not null,
    command text not null,
    status text not null check (status in ('running', 'succeeded', 'partial', 'failed', 'interrupted')),
    version text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    reason text,
    hint text,
    calls bigint
);
create index on planhat_sync.runs (workspace, id desc);
comment on table planhat_sync.runs is 'One row per run of sync, backfill, the daemon, retype, adopt or quarantine retry.';
comment on column planhat_sync.runs.id is 'the run id, as `planhat-sync runs` lists it';
comment on column planhat_sync.runs.workspace is 'the data schema (database.schema)';
comment on column planhat_sync.runs.command is 'the command that started the run; "daemon (retry)" tries failed objects again';
comment on column planhat_sync.runs.status is 'running; succeeded; partial: an object failed or a record was quarantined; failed; interrupted: stopped by a signal or killed, everything committed is kept';
comment on column planhat_sync.runs.version is 'the version of planhat-sync';
comment on column planhat_sync.runs.started_at is 'when the run began';
comment on column planhat_sync.runs.finished_at is 'when the run ended; null while it is running';
comment on column planhat_sync.runs.reason is 'why the run did not succeed; null if it succeeded';
comment on column planhat_sync.runs.hint is 'what to do about it';
comment on column planhat_sync.runs.calls is 'requests to Planhat, including those for the declarations of custom fields; null if the run did not end normally or made none';

create table planhat_sync.object_runs (
    run_id bigint not null references planhat_sync.runs on delete cascade,
    object text not null,
    scan text check (scan in ('history', 'backfill', 'incremental', 'full')),
    status text not null check (status in ('succeeded', 'partial', 'skipped', 'failed', 'interrupted')),
    reason text,
    hint text,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    fetched bigint not null,
    listed_again bigint not null default 0,
    inserted bigint not null,
    updated bigint not null,
    restored bigint not null default 0,
    deleted bigint not null default 0,
    unchanged bigint not null,
    outside_history bigint not null,
    misfits bigint not null,
    overflowed bigint not null,
    sanitized bigint not null,
    quarantined bigint not null,
    pages bigint not null,
    calls bigint not null,
    watermark timestamptz,
    oldest timestamptz,
    primary key (run_id, object)
);
comment on table planhat_sync.object_runs is 'One row per object and run: what the run did with the object.';
comment on column planhat_sync.object_runs.run_id is 'the run, see runs.id';
comment on column planhat_sync.object_runs.object is 'the object, which is also the name of its table';
comment on column planhat_sync.object_runs.scan is 'history: a first load, or a backfill that goes back as far; backfill: a backfill of another part of history; incremental: changes since the watermark; full: every record compared and deletions detected; null if the run ended before this was known';
comment on column planhat_sync.object_runs.status is 'succeeded; partial: records were quarantined; skipped: the token may not read the object and never could; failed (also when the token could read it before); interrupted';
comment on column planhat_sync.object_runs.reason is 'why the object was skipped, failed or is partial, or a warning';
comment on column planhat_sync.object_runs.hint is 'what to do about it';
comment on column planhat_sync.object_runs.started_at is 'when the run began with the object';
comment on column planhat_sync.object_runs.finished_at is 'when the run ended with the object';
comment on column planhat_sync.object_runs.fetched is 'records received, each counted once: inserted + updated + restored + unchanged + outside_history + quarantined';
comment on column planhat_sync.object_runs.listed_again is 'records received once more from another listing of the same object, without changes';
comment on column planhat_sync.object_runs.inserted is 'rows inserted';
comment on column planhat_sync.object_runs.updated is 'rows updated';
comment on column planhat_sync.object_runs.restored is 'rows that had been marked as deleted and whose records were listed again';
comment on column planhat_sync.object_runs.deleted is 'rows marked as deleted: Planhat answered 404 to a request by id';
comment on column planhat_sync.object_runs.unchanged is 'records equal to their stored rows: compared, or unchanged according to their own times';
comment on column planhat_sync.object_runs.outside_history is 'records older than sync.history, or outside the range of a backfill; not stored';
comment on column planhat_sync.object_runs.misfits is 'type mismatches: values that did not fit the type of their column, kept in _misfits';
comment on column planhat_sync.object_runs.overflowed is 'rows with values that have no column, kept in _overflow';
comment on column planhat_sync.object_runs.sanitized is 'values from which a NUL character was removed, or in which half a surrogate pair was replaced';
comment on column planhat_sync.object_runs.quarantined is 'records that could not be stored, kept in planhat_sync.quarantine';
comment on column planhat_sync.object_runs.pages is 'pages received';
comment on column planhat_sync.object_runs.calls is 'requests to Planhat, including retries';
comment on column planhat_sync.object_runs.oldest is 'the time of the oldest record that was stored';
comment on column planhat_sync.object_runs.watermark is 'the watermark after the run, see cursors.watermark';

create table planhat_sync.object_states (
    workspace text not null,
    object text not null,
    run_id bigint not null,
    status text not null check (status in ('succeeded', 'partial', 'skipped', 'failed', 'interrupted')),
    reason text,
    hint text,
    finished_at timestamptz not null,
    last_success_at timestamptz,
    last_success_run_id bigint,
    last_readable_at timestamptz,
    primary key (workspace, object)
);
comment on table planhat_sync.object_states is 'One row per object: the result of its latest run, and when it was last synced. Read this table for freshness.';
comment on column planhat_sync.object_states.workspace is 'the data schema';
comment on column planhat_sync.object_states.object is 'the object';
comment on column planhat_sync.object_states.run_id is 'the latest run of the object; its figures are in object_runs';
comment on column planhat_sync.object_states.status is 'the status of the latest run, see object_runs.status';
comment on column planhat_sync.object_states.reason is 'the reason of the latest run';
comment on column planhat_sync.object_states.hint is 'the hint of the latest run';
comment on column planhat_sync.object_states.finished_at is 'when the latest run ended with the object';
comment on column planhat_sync.object_states.last_success_at is 'when the object was last synced completely (succeeded, or partial because of quarantined records only), by any command; null if never';
comment on column planhat_sync.object_states.last_success_run_id is 'the run of last_success_at';
comment on column planhat_sync.object_states.last_readable_at is 'when Planhat last allowed the token to read the object; null if never';

create table planhat_sync.cursors (
    workspace text not null,
    object text not null,
    watermark timestamptz not null,
    reconciled_at timestamptz,
    updated_at timestamptz not null default now(),
    primary key (workspace, object)
);
comment on table planhat_sync.cursors is 'One row per object: how far the object is completely stored.';
comment on column planhat_sync.cursors.workspace is 'the data schema';
comment on column planhat_sync.cursors.object is 'the object';
comment on column planhat_sync.cursors.watermark is 'every change before this instant is stored; moves only when a scan is complete, and never back';
comment on column planhat_sync.cursors.reconciled_at is 'when the last full scan of the object began, or its first load';
comment on column planhat_sync.cursors.updated_at is 'when this row was last changed';

create table planhat_sync.scans (
    workspace text not null,
    object text not null,
    scan text not null check (scan in ('history', 'backfill', 'incremental', 'full')),
    started_at timestamptz not null,
    since timestamptz,
    until timestamptz,
    listing text not null,
    "offset" bigint not null,
    overlap_id text,
    newest_change_at timestamptz,
    rules_fingerprint bigint,
    checkpoint_number bigint not null default 0,
    primary key (workspace, object, scan)
);
comment on table planhat_sync.scans is 'Unfinished scans with their checkpoints; the next run resumes from here. The row is deleted when its scan is complete.';
comment on column planhat_sync.scans.workspace is 'the data schema';
comment on column planhat_sync.scans.object is 'the object';
comment on column planhat_sync.scans.scan is 'history, backfill, incremental or full, see object_runs.scan';
comment on column planhat_sync.scans.started_at is 'when the scan began; changes after this instant are left to the next scan';
comment on column planhat_sync.scans.since is 'records older than this are left out; null for no limit';
comment on column planhat_sync.scans.until is 'records of this time and later are left out; null for no limit';
comment on column planhat_sync.scans.listing is 'the listing that is being read, by its sort order; "deletions" while records that were not listed are requested by id';
comment on column planhat_sync.scans."offset" is 'the offset of the next page in that listing';
comment on column planhat_sync.scans.overlap_id is 'the overlap record: the id of the record that the next page must contain, so that no record is missed between two pages';
comment on column planhat_sync.scans.newest_change_at is 'the latest modification time seen so far';
comment on column planhat_sync.scans.rules_fingerprint is 'a fingerprint of the privacy rules when the scan began; null if there were none';
comment on column planhat_sync.scans.checkpoint_number is 'counts the commits of this scan''s position; each commit must follow the one before';

create table planhat_sync.listed_ids (
    id bigint generated always as identity primary key,
    workspace text not null,
    object text not null,
    ids text[] not null
);
create index on planhat_sync.listed_ids (workspace, object);
comment on table planhat_sync.listed_ids is 'The ids that an unfinished full scan has listed, one row per page; a row of the data table whose id is not here is requested by id.';
comment on column planhat_sync.listed_ids.workspace is 'the data schema';
comment on column planhat_sync.listed_ids.object is 'the object';
comment on column planhat_sync.listed_ids.ids is 'the ids of one page';

create table planhat_sync.columns (
    workspace text not null,
    object text not null,
    column_name text not null,
    position integer not null,
    origin text not null check (origin in ('property', 'custom')),
    planhat_name text not null,
    type text not null,
    added_at timestamptz not null default now(),
    misfits_since timestamptz,
    misfits_type text check (misfits_type in ('text', 'jsonb')),
    primary key (workspace, object, column_name),
    unique (workspace, object, origin, planhat_name)
);
comment on table planhat_sync.columns is 'Which Planhat property or custom field is behind a column. Rows are only added; retype changes the type.';
comment on column planhat_sync.columns.workspace is 'the data schema';
comment on column planhat_sync.columns.object is 'the object';
comment on column planhat_sync.columns.column_name is 'the column in the object''s table';
comment on column planhat_sync.columns.position is 'the order in which the columns were created';
comment on column planhat_sync.columns.origin is 'property, or custom for a custom field';
comment on column planhat_sync.columns.planhat_name is 'the name at Planhat';
comment on column planhat_sync.columns.type is 'the PostgreSQL type of the column';
comment on column planhat_sync.columns.added_at is 'when the column was created';
comment on column planhat_sync.columns.misfits_since is 'when values that do not fit the type were first found (type mismatches, kept in _misfits); null if there are none';
comment on column planhat_sync.columns.misfits_type is 'the type that would hold all values of the column; `planhat-sync retype` changes to it';

create table planhat_sync.quarantine (
    id bigint generated always as identity primary key,
    workspace text not null,
    object text not null,
    run_id bigint references planhat_sync.runs on delete set null,
    record_id text,
    reason text not null,
    sqlstate text,
    raw text not null,
    raw_hash bigint not null,
    first_seen_at timestamptz not null default now(),
    -- A hash, because an id that is too long for an index is one reason to be here.
    identity bigint not null generated always as (coalesce(hashtextextended(record_id, 0), raw_hash)) stored,
    constraint quarantine_identity unique (workspace, object, identity)
);
create index on planhat_sync.quarantine (run_id);
comment on table planhat_sync.quarantine is 'Records that cannot be stored, as Planhat sent them. An entry is deleted when its record is stored or no longer listed.';
comment on column planhat_sync.quarantine.id is 'the entry id, as `planhat-sync quarantine show` and `drop` take it';
comment on column planhat_sync.quarantine.workspace is 'the data schema';
comment on column planhat_sync.quarantine.object is 'the object';
comment on column planhat_sync.quarantine.run_id is 'the run that received the record last; null if that run was deleted from the history';
comment on column planhat_sync.quarantine.record_id is 'the id of the record; null if it has none';
comment on column planhat_sync.quarantine.reason is 'why the record cannot be stored';
comment on column planhat_sync.quarantine.sqlstate is 'the code with which PostgreSQL refused the record, if it did';
comment on column planhat_sync.quarantine.raw is 'the JSON text of the record (text, because jsonb may be what refuses it). If it begins with a round bracket it is not complete and says why: larger than a page, cut, or beyond sync.quarantine_rows';
comment on column planhat_sync.quarantine.raw_hash is 'a hash of the text, under a key if the object has privacy rules';
comment on column planhat_sync.quarantine.first_seen_at is 'when the record was put in quarantine';
comment on column planhat_sync.quarantine.identity is 'identifies the record: a hash of its id, or raw_hash if it has none';

create table planhat_sync.leases (
    workspace text primary key,
    run_id bigint not null references planhat_sync.runs on delete cascade,
    holder text not null,
    process text not null,
    acquired_at timestamptz not null default now(),
    renewed_at timestamptz not null default now(),
    requested_at timestamptz
);
comment on table planhat_sync.leases is 'The lease of a workspace: the run that may write to it. Another run takes the lease over when it has not been renewed for 90 seconds.';
comment on column planhat_sync.leases.workspace is 'the data schema';
comment on column planhat_sync.leases.run_id is 'the run that holds the lease';
comment on column planhat_sync.leases.holder is 'the process of the run, for people: process id and host';
comment on column planhat_sync.leases.process is 'identifies the process on its machine (boot id, pid namespace, pid, start time), so that another run there can see whether it has exited; empty if unknown';
comment on column planhat_sync.leases.acquired_at is 'when the run acquired the lease';
comment on column planhat_sync.leases.renewed_at is 'when the run last renewed the lease';
comment on column planhat_sync.leases.requested_at is 'when another run requested the lease from a backfill; null if none did';

create table planhat_sync.daemons (
    workspace text primary key,
    holder text not null,
    process text not null,
    instance text not null,
    started_at timestamptz not null default now(),
    renewed_at timestamptz not null default now()
);
comment on table planhat_sync.daemons is 'The lease of the daemon of a workspace; a second daemon does not start while it is held.';
comment on column planhat_sync.daemons.workspace is 'the data schema';
comment on column planhat_sync.daemons.holder is 'the daemon process, for people: process id and host';
comment on column planhat_sync.daemons.process is 'identifies the process on its machine, see leases.process';
comment on column planhat_sync.daemons.instance is 'a random id of the process, by which it recognises its own lease';
comment on column planhat_sync.daemons.started_at is 'when the daemon acquired the lease';
comment on column planhat_sync.daemons.renewed_at is 'when the daemon last renewed the lease: every few seconds during a run, never while it is idle';

create table planhat_sync.consumers (
    workspace text not null,
    name text not null,
    last_action_id bigint not null,
    updated_at timestamptz not null default now(),
    primary key (workspace, name)
);
comment on table planhat_sync.consumers is 'Readers of the timeline and their positions: `planhat-sync actions --follow --consumer NAME`.';
comment on column planhat_sync.consumers.workspace is 'the data schema';
comment on column planhat_sync.consumers.name is 'the name of the consumer';
comment on column planhat_sync.consumers.last_action_id is 'the id of the last action given to the consumer, see actions.id; lower it to get actions again';
comment on column planhat_sync.consumers.updated_at is 'when the position last changed';

create table planhat_sync.notifications (
    id bigint generated always as identity primary key,
    workspace text not null,
    event_id text not null unique,
    type text not null,
    body text not null,
    created_at timestamptz not null default now(),
    attempts integer not null default 0,
    next_attempt_at timestamptz default now(),
    not_before timestamptz,
    claimed_until timestamptz,
    delivered_at timestamptz,
    last_error text
);
create index on planhat_sync.notifications (workspace, id) where next_attempt_at is not null;
comment on table planhat_sync.notifications is 'Messages to notify.webhook_url, delivered in order and deleted after 30 days.';
comment on column planhat_sync.notifications.id is 'the order of delivery';
comment on column planhat_sync.notifications.workspace is 'the data schema';
comment on column planhat_sync.notifications.event_id is 'the header webhook-id of every attempt, by which a receiver recognises a repeated message';
comment on column planhat_sync.notifications.type is 'the event type, as sync.failed';
comment on column planhat_sync.notifications.body is 'the message body, exactly as it is signed';
comment on column planhat_sync.notifications.created_at is 'when the message was queued';
comment on column planhat_sync.notifications.attempts is 'delivery attempts so far';
comment on column planhat_sync.notifications.next_attempt_at is 'when the next attempt is due; null when the message was delivered or given up';
comment on column planhat_sync.notifications.not_before is 'no attempt before this time, because the receiver sent Retry-After';
comment on column planhat_sync.notifications.claimed_until is 'a process is sending the message; no other process sends it before this time';
comment on column planhat_sync.notifications.delivered_at is 'when the message was delivered';
comment on column planhat_sync.notifications.last_error is 'why the last attempt failed, without any URL';

create table planhat_sync.announced_states (
    workspace text primary key,
    state jsonb not null default '{}',
    announced_at timestamptz not null default now()
);
comment on table planhat_sync.announced_states is 'The state of each workspace that was last sent to the webhook, so that a state is sent once.';
comment on column planhat_sync.announced_states.workspace is 'the data schema';
comment on column planhat_sync.announced_states.state is 'failed: what keeps whole runs from succeeding; objects: objects that did not succeed, with the kind of the reason; stale: objects whose data is too old; empty when everything succeeded';
comment on column planhat_sync.announced_states.announced_at is 'when the state was last changed';
