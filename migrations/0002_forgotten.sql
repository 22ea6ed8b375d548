-- The right to be forgotten: which records were erased for good and must not come back, and under which privacy rules
-- everything that is stored of an object is.
--
-- Only adds: tables that the previous release does not read, and a figure with a default.

create table planhat_sync.forget_keys (
    workspace text primary key,
    key uuid not null default gen_random_uuid()
);
comment on table planhat_sync.forget_keys is 'The random key of the hashes in planhat_sync.forgotten, one per workspace. Nobody but planhat-sync needs to read it.';
comment on column planhat_sync.forget_keys.workspace is 'the data schema (database.schema)';
comment on column planhat_sync.forget_keys.key is 'the key; it never changes, because a record whose hash was made under another key would come back';

create table planhat_sync.forgotten (
    workspace text not null,
    object text not null,
    id_hash text not null,
    reference_hashes text[] not null default '{}',
    forgotten_at timestamptz not null default now(),
    run_id bigint,
    primary key (workspace, object, id_hash)
);
comment on table planhat_sync.forgotten is 'Records that `planhat-sync forget` has erased: no run stores them again. The id itself is not here.';
comment on column planhat_sync.forgotten.workspace is 'the data schema (database.schema)';
comment on column planhat_sync.forgotten.object is 'the object of the record';
comment on column planhat_sync.forgotten.id_hash is 'HMAC-SHA256 of object and id under the key in forget_keys, in hexadecimal';
comment on column planhat_sync.forgotten.reference_hashes is 'the same of the id and the addresses that are left out of other records too (`forget --references`); empty if they are not';
comment on column planhat_sync.forgotten.forgotten_at is 'when the record was forgotten';
comment on column planhat_sync.forgotten.run_id is 'the run that did it, see runs.id; the history of runs may have ended since';

create table planhat_sync.applied_rules (
    workspace text not null,
    object text not null,
    rules_fingerprint bigint not null,
    applied_at timestamptz not null default now(),
    primary key (workspace, object)
);
comment on table planhat_sync.applied_rules is 'Objects of which everything that is stored has passed the same privacy rules: since their table was made, or since `planhat-sync privacy apply`. The row is deleted when a run stores the object under other rules.';
comment on column planhat_sync.applied_rules.workspace is 'the data schema (database.schema)';
comment on column planhat_sync.applied_rules.object is 'the object';
comment on column planhat_sync.applied_rules.rules_fingerprint is 'the fingerprint of the rules, as in scans.rules_fingerprint';
comment on column planhat_sync.applied_rules.applied_at is 'since when';

alter table planhat_sync.object_runs add column forgotten bigint not null default 0;
comment on column planhat_sync.object_runs.forgotten is 'records that were received and not stored, because they were forgotten (`planhat-sync forget`)';
comment on column planhat_sync.object_runs.fetched is 'records received, each counted once: inserted + updated + restored + unchanged + outside_history + quarantined + forgotten';
comment on table planhat_sync.runs is 'One row per run of sync, backfill, the daemon, retype, adopt, quarantine retry, forget or privacy apply.';
