-- The quarantine knows a record by its id, or by its text where it has none, so that a page of them is one statement and
-- a record is one entry, in its latest version.

delete from planhat_sync.quarantine where id not in (
    select max(id) from planhat_sync.quarantine
    group by workspace, object, coalesce(hashtextextended(record_id, 0), raw_hash));

alter table planhat_sync.quarantine
    drop constraint quarantine_workspace_object_raw_hash_key,
    -- A hash, because an id that is too long for an index is one reason to be here.
    add column identity bigint not null generated always as (coalesce(hashtextextended(record_id, 0), raw_hash)) stored,
    add constraint quarantine_identity unique (workspace, object, identity);
drop index planhat_sync.quarantine_record_id_idx;
-- For runs that are forgotten, each of which is looked for here.
create index on planhat_sync.quarantine (run_id);

comment on column planhat_sync.quarantine.identity is 'by which a record is known: a hash of its id, or raw_hash where it has none';
comment on column planhat_sync.quarantine.raw is 'the record''s JSON text; text, since jsonb may be what refused it. Where it begins with a round bracket it is not whole, and says why: larger than a page, cut, or one of too many (sync.quarantine_rows)';
comment on column planhat_sync.quarantine.raw_hash is 'tells the text from others; a hash under a key where the object has rules for what may be kept';
comment on column planhat_sync.quarantine.seen_at is 'since when the record is here';
comment on column planhat_sync.quarantine.id is 'by which `planhat-sync quarantine show` and `drop` take it';

alter table planhat_sync.runs add column api_calls bigint;
comment on column planhat_sync.runs.api_calls is 'requests to Planhat, those for the declarations of custom fields included; null for a run that made none or did not come to its end';
