-- What it takes to prove that a table equals the workspace: full scans, the records they saw, deletions.

-- A scan of changes begins its sweep anew anyway, and which listing a number meant depended on the object.
delete from planhat_sync.scans where scan = 'changes';
alter table planhat_sync.scans
    drop constraint scans_scan_check,
    add constraint scans_scan_check check (scan in ('history', 'backfill', 'changes', 'full')),
    alter column listing type text using case listing when 0 then '_id' else '_id, with hidden ones' end,
    add column until timestamptz;
comment on column planhat_sync.scans.listing is 'which of the object''s listings is being read, by its order; "gone" when what was not listed is asked for by id';
comment on column planhat_sync.scans.until is 'records of this time and later are left out; null leaves none out';

create table planhat_sync.seen (
    workspace text not null,
    object text not null,
    ids text[] not null
);
create index on planhat_sync.seen (workspace, object);
comment on table planhat_sync.seen is 'The ids that an unfinished full scan was shown, page by page; what is in the table and not here is asked for by id.';

alter table planhat_sync.cursors add column reconciled_at timestamptz;
comment on column planhat_sync.cursors.reconciled_at is 'when the last full comparison of the object began, or its first load';

alter table planhat_sync.object_runs
    drop constraint object_runs_scan_check,
    add constraint object_runs_scan_check check (scan in ('history', 'backfill', 'changes', 'full')),
    add column restored bigint not null default 0,
    add column deleted bigint not null default 0,
    add column oldest timestamptz;
comment on column planhat_sync.object_runs.scan is 'history: a first load, or a backfill that goes as far; backfill: one of another part of history; changes: a daily run; full: everything compared, deletions found; null if it ended before that was known';
comment on column planhat_sync.object_runs.restored is 'rows that were marked as deleted and whose record is back';
comment on column planhat_sync.object_runs.deleted is 'rows marked as deleted: Planhat answered 404 to their id';
comment on column planhat_sync.object_runs.oldest is 'time of the oldest record that was taken';

alter table planhat_sync.leases add column wanted_at timestamptz, add column process text not null default '';
comment on column planhat_sync.leases.process is 'which process that is, so that its death can be told on the same machine';
comment on column planhat_sync.leases.wanted_at is 'when another run asked the holder, a backfill, to step aside for it';

create table planhat_sync.daemons (
    workspace text primary key,
    holder text not null,
    process text not null,
    up_since timestamptz not null default now(),
    heartbeat_at timestamptz not null default now()
);
comment on table planhat_sync.daemons is 'The daemon that looks after a workspace; another one does not start beside it.';
