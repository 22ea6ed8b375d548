-- What others are told about a workspace: the messages until they are delivered, and what was told last.

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
comment on table planhat_sync.notifications is 'Messages to notify.webhook_url, delivered in their order; forgotten after 30 days.';
comment on column planhat_sync.notifications.event_id is 'the webhook-id of every attempt, by which a receiver tells a repetition';
comment on column planhat_sync.notifications.body is 'the body as it is signed, byte for byte';
comment on column planhat_sync.notifications.next_attempt_at is 'when it is sent next; null when nothing more is tried: it was delivered, or given up';
comment on column planhat_sync.notifications.not_before is 'until when the receiver asked to be left alone';
comment on column planhat_sync.notifications.claimed_until is 'a process is sending it, and no other one does before this time';
comment on column planhat_sync.notifications.last_error is 'why the last attempt failed, without any address';

create table planhat_sync.told (
    workspace text primary key,
    state jsonb not null default '{}',
    told_at timestamptz not null default now()
);
comment on table planhat_sync.told is 'What was told last about each workspace, so that a state is told once.';
comment on column planhat_sync.told.state is 'failed: what keeps whole runs from succeeding; objects: which are not good and why; stale: which are too old; all well where empty';
