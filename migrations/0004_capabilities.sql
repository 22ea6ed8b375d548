-- How a workspace answers. Much of it is not documented, so it is learned from answers, and kept here so that later runs need fewer
-- calls. What is learned only saves calls: each scan that relies on it looks for the proof again, and takes it back when an answer
-- disproves it. Also kept: how many calls it takes to compare everything, by which `sync.reconcile_every = "auto"` decides how often
-- that is done.

create table planhat_sync.capabilities (
    workspace text not null,
    object text not null,
    capability text not null check (capability in ('hidden', 'sort', 'limit', 'throttling', 'dimensiondata')),
    value text not null,
    detail jsonb not null default '{}',
    proof text not null,
    proven_at timestamptz not null default now(),
    disproof text,
    disproved_at timestamptz,
    primary key (workspace, object, capability)
);
comment on table planhat_sync.capabilities is 'What was learned of how Planhat answers for a workspace, with the answer that proved it. `planhat-sync check` shows it.';
comment on column planhat_sync.capabilities.workspace is 'the data schema';
comment on column planhat_sync.capabilities.object is 'the object; empty for what holds for the whole token';
comment on column planhat_sync.capabilities.capability is 'hidden: what the parameter that asks for archived records does; sort: whether a listing comes newest first when asked to; limit: how many records a call brings; throttling: what a refusal for too many calls carries; dimensiondata: whether usage metrics can be read';
comment on column planhat_sync.capabilities.value is 'hidden: adds (the listing with archived records also has the others) or replaces; sort: the property that every record has and that the listing can be sorted by; limit: the most records that one call has brought; throttling: Retry-After, or nothing; dimensiondata: answers, or the status code';
comment on column planhat_sync.capabilities.detail is 'further figures for later runs';
comment on column planhat_sync.capabilities.proof is 'the answer that proved it';
comment on column planhat_sync.capabilities.proven_at is 'when it was proven last';
comment on column planhat_sync.capabilities.disproof is 'the answer that disproved it later; null if none did';
comment on column planhat_sync.capabilities.disproved_at is 'when';

alter table planhat_sync.cursors add column full_scan_calls bigint;
comment on column planhat_sync.cursors.full_scan_calls is 'how many calls the last complete scan of everything took; null if none was made in one go';
