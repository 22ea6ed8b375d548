-- The calendar: when each workspace is synced next, and what people have asked of it. Any number of daemons read it and share the
-- work. Who is at work on a workspace stays the matter of the leases alone.
--
-- A workspace has its row as soon as a daemon knows of it, which may be before its schema is bound to a token. So the columns of
-- the binding become nullable: a row without a fingerprint is not bound yet. The previous release reads no row that it has not
-- bound itself, as long as no daemon of this release has made one.

alter table planhat_sync.workspaces
    alter column key set default gen_random_uuid(),
    alter column fingerprint drop not null,
    alter column host drop not null,
    alter column bound_at drop not null,
    alter column bound_at drop default,
    alter column proven_by drop not null,
    add column name text,
    add column token_hash text,
    add column next_run_at timestamptz,
    add column retry_at timestamptz,
    add column retry_objects text[],
    add column requested_at timestamptz,
    add column requested_by text,
    add column paused_at timestamptz,
    add column failures integer not null default 0,
    add column last_error text,
    add column not_before timestamptz;
comment on table planhat_sync.workspaces is 'One row per workspace: which token and host its schema is bound to, and when daemons sync it next. With another token or host, stored records are requested by id before a run writes anything.';
comment on column planhat_sync.workspaces.fingerprint is 'HMAC-SHA256 of the token under the key, in hexadecimal; the token cannot be recovered from it; null if the schema is not bound yet';
comment on column planhat_sync.workspaces.host is 'scheme, host and port of planhat.base_url; null if the schema is not bound yet';
comment on column planhat_sync.workspaces.bound_at is 'when the schema was bound to this token and host; null if it is not bound yet';
comment on column planhat_sync.workspaces.proven_by is 'first sync: the schema was empty; stored records: Planhat has most of the stored records that were requested by id; adopt: a person ran `planhat-sync adopt`; null if the schema is not bound yet';
comment on column planhat_sync.workspaces.name is 'the name of the workspace in the settings; null if no daemon knows it';
comment on column planhat_sync.workspaces.token_hash is 'HMAC-SHA256 of the token under the key in planhat_sync.installation, in hexadecimal: workspaces with the same value share a token and its quota, so they never run at the same time';
comment on column planhat_sync.workspaces.next_run_at is 'when all objects are synced next by daemon.schedule; null if no daemon knows the workspace';
comment on column planhat_sync.workspaces.retry_at is 'when what has failed is tried again; null if nothing has';
comment on column planhat_sync.workspaces.retry_objects is 'the objects that are tried again then';
comment on column planhat_sync.workspaces.requested_at is 'when a person asked for a run at once (`planhat-sync workspaces sync-now`); null if none waits';
comment on column planhat_sync.workspaces.requested_by is 'who asked for it: the user and the host';
comment on column planhat_sync.workspaces.paused_at is 'since when no daemon runs the workspace (`planhat-sync workspaces pause`); null if daemons run it';
comment on column planhat_sync.workspaces.failures is 'runs of daemons in a row that did not succeed; each doubles the time to the next try';
comment on column planhat_sync.workspaces.last_error is 'why the last run of a daemon did not succeed; null if it did';
comment on column planhat_sync.workspaces.not_before is 'no daemon runs the workspace before this time, unless a person asks for it: its runs have ended with their process several times in a row; null otherwise';

create table planhat_sync.installation (
    only_row boolean primary key default true check (only_row),
    token_key uuid not null default gen_random_uuid()
);
insert into planhat_sync.installation default values;
comment on table planhat_sync.installation is 'One row: what all workspaces of this database have in common.';
comment on column planhat_sync.installation.only_row is 'always true, so that there is one row';
comment on column planhat_sync.installation.token_key is 'the random key of workspaces.token_hash';

create table planhat_sync.tokens (
    token_hash text primary key
);
comment on table planhat_sync.tokens is 'One row per token. A run locks the row of its token while it takes its lease, so that two workspaces of one token do not begin at the same moment.';
comment on column planhat_sync.tokens.token_hash is 'see workspaces.token_hash';

comment on table planhat_sync.daemons is 'Not used any more: any number of daemons share the work. A later release drops it.';

alter table planhat_sync.leases add column token_hash text;
comment on column planhat_sync.leases.token_hash is 'the token that the run calls Planhat with, see workspaces.token_hash; null if it calls nobody';
