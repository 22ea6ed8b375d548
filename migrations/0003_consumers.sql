-- Who reads the timeline, and how far.

create table planhat_sync.consumers (
    workspace text not null,
    name text not null,
    last_id bigint not null,
    updated_at timestamptz not null default now(),
    primary key (workspace, name)
);
comment on table planhat_sync.consumers is 'Readers of the timeline that go on where they were: `planhat-sync actions --follow --consumer NAME`.';
comment on column planhat_sync.consumers.last_id is 'the last action that was handed out, see id of the table actions; set it back to have some again';
