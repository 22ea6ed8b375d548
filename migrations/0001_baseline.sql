-- The tool's own tables, schema planhat_sync. `workspace` is everywhere the data schema (database.schema).
-- This file is frozen: what changes comes as a further migration, see README.md.

create table planhat_sync.workspaces (
    workspace text primary key,
    key uuid not null,
    fingerprint text not null,
    host text not null,
    bound_at timestamptz not null default now(),
    proven_by text not null check (proven_by in ('first sync', 'stored records', 'adopt'))
);
comment on table planhat_sync.workspaces is 'Which token and host fill a schema; with another one, stored records are asked for by id before a run writes anything.';
comment on column planhat_sync.workspaces.workspace is 'the data schema (database.schema)';
comment on column planhat_sync.workspaces.key is 'random; the key of the fingerprint';
comment on column planhat_sync.workspaces.fingerprint is 'HMAC-SHA256 of the token under the key, in hexadecimal; the token cannot be had from it';
comment on column planhat_sync.workspaces.host is 'scheme, host and port of planhat.base_url';
comment on column planhat_sync.workspaces.bound_at is 'since when it is this token and host';
comment on column planhat_sync.workspaces.proven_by is 'first sync: nothing was stored yet; stored records: most of those that were asked for by id were there; adopt: the user said so';

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
comment on table planhat_sync.runs is 'One row per run of sync, backfill, retype, quarantine or adopt.';
comment on column planhat_sync.runs.status is 'partial: some object failed or a record was quarantined; interrupted: stopped by a signal or killed, everything committed is kept';
comment on column planhat_sync.runs.version is 'version of planhat-sync';
comment on column planhat_sync.runs.reason is 'why the run as a whole did not succeed';
comment on column planhat_sync.runs.hint is 'what a person can do about it';
comment on column planhat_sync.runs.calls is 'requests to Planhat, those for the declarations of custom fields included; null for a run that made none or did not come to its end';

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
comment on table planhat_sync.object_runs is 'What a run did with one object.';
comment on column planhat_sync.object_runs.scan is 'history: a first load, or a backfill that goes as far; backfill: one of another part of history; incremental: what changed; full: everything compared, deletions found; null if it ended before that was known';
comment on column planhat_sync.object_runs.status is 'skipped: the token may not read the object and never could; failed: also where it could read it before; partial: records were quarantined';
comment on column planhat_sync.object_runs.reason is 'why it was skipped, failed or is partial, or what to be warned of';
comment on column planhat_sync.object_runs.hint is 'what a person can do about it';
comment on column planhat_sync.object_runs.fetched is 'records received, each counted once: inserted + updated + restored + unchanged + outside_history + quarantined';
comment on column planhat_sync.object_runs.listed_again is 'records received once more, by another listing of the same object, with nothing new in them';
comment on column planhat_sync.object_runs.restored is 'rows that were marked as deleted and whose record is back';
comment on column planhat_sync.object_runs.deleted is 'rows marked as deleted: Planhat answered 404 to their id';
comment on column planhat_sync.object_runs.unchanged is 'records that are stored as they are: compared, or shown by their own times not to have changed';
comment on column planhat_sync.object_runs.outside_history is 'records outside the history (sync.history, or the range of a backfill), left alone';
comment on column planhat_sync.object_runs.misfits is 'values that did not fit their column, kept in _misfits';
comment on column planhat_sync.object_runs.overflowed is 'rows with values for which there was no column, kept in _overflow';
comment on column planhat_sync.object_runs.sanitized is 'values from which a NUL was removed, or half a surrogate pair replaced';
comment on column planhat_sync.object_runs.quarantined is 'records that could not be stored, kept in planhat_sync.quarantine';
comment on column planhat_sync.object_runs.calls is 'requests to Planhat, repeated ones included';
comment on column planhat_sync.object_runs.watermark is 'where the watermark of the object was at the end; null if it has not moved';
comment on column planhat_sync.object_runs.oldest is 'time of the oldest record that was taken';

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
comment on table planhat_sync.object_states is 'How each object is: what its latest run came to, and when it was last synced. Read this for freshness.';
comment on column planhat_sync.object_states.run_id is 'its latest run; the figures of that are in object_runs';
comment on column planhat_sync.object_states.status is 'of its latest run, see object_runs.status';
comment on column planhat_sync.object_states.reason is 'of its latest run';
comment on column planhat_sync.object_states.hint is 'of its latest run';
comment on column planhat_sync.object_states.finished_at is 'when its latest run was done with it';
comment on column planhat_sync.object_states.last_success_at is 'when it was last synced to the end (succeeded, or partial by quarantine alone), by whatever command; null for never';
comment on column planhat_sync.object_states.last_success_run_id is 'the run that did';
comment on column planhat_sync.object_states.last_readable_at is 'when Planhat last let us read it; null for never';

create table planhat_sync.cursors (
    workspace text not null,
    object text not null,
    watermark timestamptz not null,
    reconciled_at timestamptz,
    updated_at timestamptz not null default now(),
    primary key (workspace, object)
);
comment on table planhat_sync.cursors is 'How far each object is known to be complete.';
comment on column planhat_sync.cursors.watermark is 'every change before this instant is stored; moves only when a scan has completed, and never back';
comment on column planhat_sync.cursors.reconciled_at is 'when the last full comparison of the object began, or its first load';

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
comment on table planhat_sync.scans is 'Checkpoints of unfinished scans; a row is gone when its scan has completed. The next run resumes here.';
comment on column planhat_sync.scans.since is 'older records are left out; null takes everything';
comment on column planhat_sync.scans.until is 'records of this time and later are left out; null leaves none out';
comment on column planhat_sync.scans.listing is 'which of the object''s listings is being read, by its order; "deletions" when what was not listed is asked for by id';
comment on column planhat_sync.scans."offset" is 'where that listing goes on';
comment on column planhat_sync.scans.overlap_id is 'id of the record that the next page has to begin with';
comment on column planhat_sync.scans.newest_change_at is 'latest modification seen so far';
comment on column planhat_sync.scans.rules_fingerprint is 'which rules there were for what may be kept; null for none';
comment on column planhat_sync.scans.checkpoint_number is 'how often the checkpoint was saved: each time is a position of its own';

create table planhat_sync.listed_ids (
    id bigint generated always as identity primary key,
    workspace text not null,
    object text not null,
    ids text[] not null
);
create index on planhat_sync.listed_ids (workspace, object);
comment on table planhat_sync.listed_ids is 'The ids that an unfinished full scan was shown, page by page; what is in the table and not here is asked for by id.';

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
comment on table planhat_sync.columns is 'Which Planhat property or custom field is behind a column. Only retype changes an entry, and only its type.';
comment on column planhat_sync.columns.position is 'the order in which columns were made';
comment on column planhat_sync.columns.misfits_since is 'when values of another type were first seen, which are kept in _misfits; null while there are none';
comment on column planhat_sync.columns.misfits_type is 'the type that would hold these values and those that fit; they may stay as they are';

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
comment on table planhat_sync.quarantine is 'Records that cannot be stored at all, as they came. An entry goes when its record arrives whole, or is no longer listed.';
comment on column planhat_sync.quarantine.id is 'by which `planhat-sync quarantine show` and `drop` take it';
comment on column planhat_sync.quarantine.run_id is 'the run that saw it last';
comment on column planhat_sync.quarantine.sqlstate is 'the code with which PostgreSQL refused the record, where it did';
comment on column planhat_sync.quarantine.raw is 'the record''s JSON text; text, since jsonb may be what refused it. Where it begins with a round bracket it is not whole, and says why: larger than a page, cut, or one of too many (sync.quarantine_rows)';
comment on column planhat_sync.quarantine.raw_hash is 'tells the text from others; a hash under a key where the object has rules for what may be kept';
comment on column planhat_sync.quarantine.first_seen_at is 'since when the record is here';
comment on column planhat_sync.quarantine.identity is 'by which a record is known: a hash of its id, or raw_hash where it has none';

create table planhat_sync.leases (
    workspace text primary key,
    run_id bigint not null references planhat_sync.runs on delete cascade,
    holder text not null,
    process text not null,
    acquired_at timestamptz not null default now(),
    renewed_at timestamptz not null default now(),
    requested_at timestamptz
);
comment on table planhat_sync.leases is 'The run that is at work on a workspace; another one may take it over when it is no longer renewed.';
comment on column planhat_sync.leases.holder is 'command, machine and number of the process, for people';
comment on column planhat_sync.leases.process is 'which process that is, so that its death can be told on the same machine';
comment on column planhat_sync.leases.renewed_at is 'when the holder last renewed it; a lease is stale 90 s later';
comment on column planhat_sync.leases.requested_at is 'when another run asked the holder, a backfill, to pause for it';

create table planhat_sync.daemons (
    workspace text primary key,
    holder text not null,
    process text not null,
    instance text not null,
    started_at timestamptz not null default now(),
    renewed_at timestamptz not null default now()
);
comment on table planhat_sync.daemons is 'The daemon lease: which daemon looks after a workspace; another one does not start beside it.';
comment on column planhat_sync.daemons.instance is 'a random id of the process, by which it knows its own lease';
comment on column planhat_sync.daemons.renewed_at is 'when it last renewed its lease: every few seconds while a run is at work, never while it is idle';

create table planhat_sync.consumers (
    workspace text not null,
    name text not null,
    last_action_id bigint not null,
    updated_at timestamptz not null default now(),
    primary key (workspace, name)
);
comment on table planhat_sync.consumers is 'Readers of the timeline that resume where they were: `planhat-sync actions --follow --consumer NAME`.';
comment on column planhat_sync.consumers.last_action_id is 'the last action that was handed out, see id of the table actions; set it back to have some again';

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
comment on table planhat_sync.notifications is 'Messages to notify.webhook_url, delivered in their order; deleted after 30 days.';
comment on column planhat_sync.notifications.event_id is 'the webhook-id of every attempt, by which a receiver tells a repetition';
comment on column planhat_sync.notifications.body is 'the body as it is signed, byte for byte';
comment on column planhat_sync.notifications.next_attempt_at is 'when it is sent next; null when nothing more is tried: it was delivered, or given up';
comment on column planhat_sync.notifications.not_before is 'until when the receiver asked to be left alone';
comment on column planhat_sync.notifications.claimed_until is 'a process is sending it, and no other one does before this time';
comment on column planhat_sync.notifications.last_error is 'why the last attempt failed, without any address';

create table planhat_sync.announced_states (
    workspace text primary key,
    state jsonb not null default '{}',
    announced_at timestamptz not null default now()
);
comment on table planhat_sync.announced_states is 'What was last announced of each workspace, so that a state is announced once.';
comment on column planhat_sync.announced_states.state is 'failed: what keeps whole runs from succeeding; objects: which are not good and why; stale: which are too old; all well where empty';
