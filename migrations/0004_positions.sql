-- What tells a position of a scan from every other one, and what may be kept of what the scan reads.

alter table planhat_sync.scans
    add column saves bigint not null default 0,
    add column rules bigint;
comment on column planhat_sync.scans.saves is 'how often its position was saved: each time is a position of its own';
comment on column planhat_sync.scans.rules is 'which rules there were for what may be kept; null for none';
