-- The tool's own tables. They are documented because people query them: what ran, how fresh the data
-- is, which Planhat field is behind a column, what could not be stored. Read them freely, write nothing.
--
-- `workspace` is the data schema (database.schema): one workspace fills one schema.

create table planhat_sync.runs (
    id bigint generated always as identity primary key,
    workspace text not null,
    command text not null,
    status text not null check (status in ('running', 'succeeded', 'partial', 'failed', 'interrupted')),
    version text not null,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    error text
);
create index on planhat_sync.runs (workspace, id desc);
comment on table planhat_sync.runs is 'One row per run of sync, backfill or retype.';
comment on column planhat_sync.runs.status is 'partial: some object failed or a record was quarantined; interrupted: stopped by a signal or killed, everything committed is kept';
comment on column planhat_sync.runs.version is 'version of planhat-sync';
comment on column planhat_sync.runs.error is 'why the run failed as a whole';

create table planhat_sync.object_runs (
    run_id bigint not null references planhat_sync.runs on delete cascade,
    object text not null,
    scan text check (scan in ('history', 'changes')),
    status text not null check (status in ('succeeded', 'partial', 'skipped', 'failed', 'interrupted')),
    reason text,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    fetched bigint not null,
    inserted bigint not null,
    updated bigint not null,
    unchanged bigint not null,
    too_old bigint not null,
    misfits bigint not null,
    overflowed bigint not null,
    mended bigint not null,
    quarantined bigint not null,
    pages bigint not null,
    calls bigint not null,
    watermark timestamptz,
    primary key (run_id, object)
);
comment on table planhat_sync.object_runs is 'What a run did with one object.';
comment on column planhat_sync.object_runs.scan is 'history: a first load or backfill; changes: a daily run; null if it ended before that was known';
comment on column planhat_sync.object_runs.status is 'skipped: the token may not read the object; partial: records were quarantined';
comment on column planhat_sync.object_runs.reason is 'why it was skipped or failed, or what to be warned of';
comment on column planhat_sync.object_runs.fetched is 'records received, those on two pages counted once';
comment on column planhat_sync.object_runs.too_old is 'records received but outside the window, left alone';
comment on column planhat_sync.object_runs.misfits is 'values that did not fit their column, kept in _misfits';
comment on column planhat_sync.object_runs.overflowed is 'rows with values for which there was no column, kept in _overflow';
comment on column planhat_sync.object_runs.mended is 'values from which a NUL was removed, or half a surrogate pair replaced';
comment on column planhat_sync.object_runs.quarantined is 'records that could not be stored, kept in planhat_sync.quarantine';
comment on column planhat_sync.object_runs.calls is 'requests to Planhat, repeated ones included';

create table planhat_sync.cursors (
    workspace text not null,
    object text not null,
    watermark timestamptz not null,
    updated_at timestamptz not null default now(),
    primary key (workspace, object)
);
comment on table planhat_sync.cursors is 'How far each object is known to be complete.';
comment on column planhat_sync.cursors.watermark is 'every change before this instant is stored; moves only when a scan has completed, and never back';

create table planhat_sync.scans (
    workspace text not null,
    object text not null,
    scan text not null check (scan in ('history', 'changes')),
    started_at timestamptz not null,
    since timestamptz,
    listing integer not null,
    "offset" bigint not null,
    seam text,
    newest timestamptz,
    primary key (workspace, object, scan)
);
comment on table planhat_sync.scans is 'Unfinished walks through a listing; a row is gone when its scan has completed. The next run goes on here.';
comment on column planhat_sync.scans.since is 'older records are left out; null takes everything';
comment on column planhat_sync.scans.listing is 'which of the object''s listings is being read, counted from 0';
comment on column planhat_sync.scans."offset" is 'where that listing goes on';
comment on column planhat_sync.scans.seam is 'id of the record that the next page has to begin with';
comment on column planhat_sync.scans.newest is 'latest modification seen so far';

create table planhat_sync.columns (
    workspace text not null,
    object text not null,
    column_name text not null,
    position integer not null,
    origin text not null check (origin in ('property', 'custom')),
    planhat_name text not null,
    type text not null,
    added_at timestamptz not null default now(),
    primary key (workspace, object, column_name),
    unique (workspace, object, origin, planhat_name)
);
comment on table planhat_sync.columns is 'Which Planhat property or custom field is behind a column. Only retype changes an entry, and only its type.';
comment on column planhat_sync.columns.position is 'the order in which columns were made';

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
    seen_at timestamptz not null default now(),
    unique (workspace, object, raw_hash)
);
-- A hash, because an id that is too long for any other index is one reason to be here.
create index on planhat_sync.quarantine using hash (record_id);
comment on table planhat_sync.quarantine is 'Records that cannot be stored at all, as they came. An entry goes when its record arrives whole, or is no longer listed.';
comment on column planhat_sync.quarantine.run_id is 'the run that saw it last';
comment on column planhat_sync.quarantine.sqlstate is 'the code with which PostgreSQL refused the record, where it did';
comment on column planhat_sync.quarantine.raw is 'the record''s JSON text; text, since jsonb may be what refused it';

create table planhat_sync.leases (
    workspace text primary key,
    run_id bigint not null references planhat_sync.runs on delete cascade,
    holder text not null,
    taken_at timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);
comment on table planhat_sync.leases is 'The run that is at work on a workspace; another one may take over when its heartbeat has stopped.';
