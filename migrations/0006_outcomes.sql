-- What came of each object, with why and what to do; and one row per object that says how fresh it is, so that nobody
-- has to read the history of runs for that.

alter table planhat_sync.runs add column hint text;
comment on column planhat_sync.runs.error is 'why the run was not good as a whole';
comment on column planhat_sync.runs.hint is 'what a person can do about it';

alter table planhat_sync.object_runs
    add column hint text,
    add column listed_again bigint not null default 0;
comment on column planhat_sync.object_runs.status is 'skipped: the token may not read the object and never could; failed: also where it could read it before; partial: records were quarantined';
comment on column planhat_sync.object_runs.reason is 'why it was skipped, failed or is partial, or what to be warned of';
comment on column planhat_sync.object_runs.hint is 'what a person can do about it';
comment on column planhat_sync.object_runs.fetched is 'records received, each counted once: inserted + updated + restored + unchanged + too_old + quarantined';
comment on column planhat_sync.object_runs.listed_again is 'records received once more, by another listing of the same object, with nothing new in them';
comment on column planhat_sync.object_runs.unchanged is 'records that are stored as they are: compared, or shown by their own times not to have changed';
comment on column planhat_sync.object_runs.too_old is 'records outside the history (sync.history, or the range of a backfill), left alone';

create table planhat_sync.object_states (
    workspace text not null,
    object text not null,
    run_id bigint not null,
    status text not null check (status in ('succeeded', 'partial', 'skipped', 'failed', 'interrupted')),
    reason text,
    hint text,
    finished_at timestamptz not null,
    last_success_at timestamptz,
    last_success_run_id bigint,
    last_readable_at timestamptz,
    primary key (workspace, object)
);
comment on table planhat_sync.object_states is 'How each object stands: what its latest run came to, and when it was last synced. Read this for freshness.';
comment on column planhat_sync.object_states.run_id is 'its latest run; the figures of that are in object_runs';
comment on column planhat_sync.object_states.status is 'of its latest run, see object_runs.status';
comment on column planhat_sync.object_states.reason is 'of its latest run';
comment on column planhat_sync.object_states.hint is 'of its latest run';
comment on column planhat_sync.object_states.finished_at is 'when its latest run was done with it';
comment on column planhat_sync.object_states.last_success_at is 'when it was last synced to the end (succeeded, or partial by quarantine alone), by whatever command; null for never';
comment on column planhat_sync.object_states.last_success_run_id is 'the run that did';
comment on column planhat_sync.object_states.last_readable_at is 'when Planhat last let us read it; null for never';

insert into planhat_sync.object_states
    (workspace, object, run_id, status, reason, finished_at, last_success_at, last_success_run_id, last_readable_at)
select latest.workspace, latest.object, latest.run_id, latest.status, latest.reason, latest.finished_at,
    good.last_success_at, good.last_success_run_id, good.last_readable_at
from (select distinct on (runs.workspace, object_runs.object) runs.workspace, object_runs.*
      from planhat_sync.object_runs join planhat_sync.runs on runs.id = object_runs.run_id
      order by runs.workspace, object_runs.object, object_runs.run_id desc) as latest
    join (select runs.workspace, object_runs.object,
              max(object_runs.finished_at) filter (where object_runs.status in ('succeeded', 'partial')) as last_success_at,
              max(object_runs.run_id) filter (where object_runs.status in ('succeeded', 'partial')) as last_success_run_id,
              max(object_runs.finished_at) filter (where object_runs.status in ('succeeded', 'partial') or pages > 0)
                  as last_readable_at
          from planhat_sync.object_runs join planhat_sync.runs on runs.id = object_runs.run_id
          group by runs.workspace, object_runs.object) as good
    on good.workspace = latest.workspace and good.object = latest.object;

alter table planhat_sync.columns
    add column misfits_since timestamptz,
    add column misfits_type text check (misfits_type in ('text', 'jsonb'));
comment on column planhat_sync.columns.misfits_since is 'when values of another type were first seen, which are kept in _misfits; null while there are none';
comment on column planhat_sync.columns.misfits_type is 'the type that would hold these values and those that fit; they may stay as they are';
