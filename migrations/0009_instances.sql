-- Which daemon is which, wherever it runs.

alter table planhat_sync.daemons add column instance text not null default '';
comment on column planhat_sync.daemons.instance is 'a random id of the process, by which it knows its own lease';
comment on column planhat_sync.daemons.heartbeat_at is 'when it last said that it is there: every few seconds while a run is at work, never while it is idle';
