-- Which records of a workspace are not stored, although a person may look for them: those that are older than the history, and
-- those that stored rows refer to. Both are counted at the end of a run, and kept here so that `status` and /metrics have them
-- between two counts. `backfill --referenced` loads the second kind by id; what Planhat does not have is remembered.

alter table planhat_sync.scans add column left_out bigint not null default 0;
comment on column planhat_sync.scans.left_out is 'records that the scan has listed so far and left out because they are older than the history';

alter table planhat_sync.object_states
    add column left_out bigint,
    add column left_out_before timestamptz,
    add column left_out_at timestamptz;
comment on column planhat_sync.object_states.left_out is 'records that Planhat lists and that are not stored because they are older than the history; null if no run has counted them';
comment on column planhat_sync.object_states.left_out_before is 'records without an edit or a contact since then are older than the history; null if no record is too old';
comment on column planhat_sync.object_states.left_out_at is 'when they were counted';

alter table planhat_sync.scans drop constraint scans_scan_check,
    add constraint scans_scan_check check (scan in ('history', 'backfill', 'incremental', 'full', 'referenced'));
alter table planhat_sync.object_runs drop constraint object_runs_scan_check,
    add constraint object_runs_scan_check check (scan in ('history', 'backfill', 'incremental', 'full', 'referenced'));
comment on column planhat_sync.object_runs.scan is 'history: a first load, or a backfill that goes back as far; backfill: a backfill of another part of history; incremental: changes since the watermark; full: every record compared and deletions detected; referenced: records that other rows refer to, loaded by id; null if the run ended before this was known';

create table planhat_sync.missing_references (
    workspace text not null,
    object text not null,
    property text not null,
    refers_to text not null,
    rows bigint not null,
    records bigint not null,
    absent_rows bigint not null,
    counted_at timestamptz not null default now(),
    primary key (workspace, object, property)
);
comment on table planhat_sync.missing_references is 'How many rows refer to a record that is not stored, by the property that refers to it. A record that is marked as deleted is stored.';
comment on column planhat_sync.missing_references.workspace is 'the data schema';
comment on column planhat_sync.missing_references.object is 'the object whose rows refer to another record';
comment on column planhat_sync.missing_references.property is 'the property in which they do';
comment on column planhat_sync.missing_references.refers_to is 'the object that the other record belongs to';
comment on column planhat_sync.missing_references.rows is 'rows that refer to a record that is not stored';
comment on column planhat_sync.missing_references.records is 'the records that they refer to, each once; `planhat-sync backfill --referenced` loads them';
comment on column planhat_sync.missing_references.absent_rows is 'further rows that refer to a record that Planhat does not have, or that the token may not read';
comment on column planhat_sync.missing_references.counted_at is 'when they were counted';

create table planhat_sync.absent_records (
    workspace text not null,
    object text not null,
    record_id text not null,
    answer integer not null check (answer in (403, 404)),
    answered_at timestamptz not null default now(),
    primary key (workspace, object, record_id)
);
comment on table planhat_sync.absent_records is 'Records that stored rows refer to and that Planhat would not give by id. They are not requested again for 30 days.';
comment on column planhat_sync.absent_records.workspace is 'the data schema';
comment on column planhat_sync.absent_records.object is 'the object';
comment on column planhat_sync.absent_records.record_id is 'the id that was requested';
comment on column planhat_sync.absent_records.answer is 'what Planhat answered: 404, there is no such record; 403, the token may not read it';
comment on column planhat_sync.absent_records.answered_at is 'when';
