-- What gives out the ids of actions. A transaction that writes actions adds their number to the row of its workspace, and keeps the row
-- locked until it commits: the lock and the ids come from one statement, on any engine and behind any pooler. Before, an advisory lock
-- gave the order, and the identity of the column the ids.
--
-- There are no rows yet: the next run of a workspace makes its own, under its lease, and lets its table of actions count no more.

create table planhat_sync.counters (
    workspace text primary key,
    last_action_id bigint not null check (last_action_id >= 0)
);
comment on table planhat_sync.counters is 'What gives out the ids of actions, one row per workspace. Its lock gives them their order.';
comment on column planhat_sync.counters.workspace is 'the data schema';
comment on column planhat_sync.counters.last_action_id is 'the last id that was given out';
