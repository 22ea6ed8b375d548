-- Which workspace fills a schema, so that the token of another one is refused before it writes a row.

comment on table planhat_sync.runs is 'One row per run of sync, backfill, retype or adopt.';

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
