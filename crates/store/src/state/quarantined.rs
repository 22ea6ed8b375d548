//! The quarantine: records that cannot be stored, kept as Planhat sent them, one entry per record.
//!
//! A record is identified by its id, or by its text if it has none. The records of a page are written in one statement, and no
//! statement reads more of the table than the entries it concerns.

use std::borrow::Cow;
use std::collections::HashSet;

use chrono::{DateTime, Utc};
use planhat_model::catalog::{ByObject, Object};
use planhat_model::record::{REFUSED, Rejected};
use planhat_model::rules::Rules;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::data::rewrite::{MaskedCounts, MaskedTable, Pass};
use crate::data::stored_value::Stored;
use crate::sql::{query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not};

/// A rejected record and the text that is kept of it.
#[derive(Debug)]
pub struct NewQuarantineEntry<'a> {
    pub rejected: &'a Rejected,
    /// The text, or in round brackets why it is missing or incomplete.
    pub raw: Cow<'a, str>,
}

/// Keeps these records, each in its latest version. If the record is unchanged but its text is over the limit now,
/// the text stored before stays.
pub async fn quarantine_records(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    run_id: i64,
    entries: &[NewQuarantineEntry<'_>],
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let of = |field: for<'a> fn(&'a NewQuarantineEntry<'_>) -> Option<&'a str>| entries.iter().map(field).collect::<Vec<_>>();
    query(
        "insert into planhat_sync.quarantine as old (workspace, object, run_id, record_id, reason, sqlstate, raw, raw_hash)
         select distinct on (coalesce(hashtextextended(record_id, 0), raw_hash))
             $1, $2, $3, record_id, left(reason, 2000), sqlstate, raw, raw_hash
         from unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
             with ordinality as new (record_id, reason, sqlstate, raw, raw_hash, place)
         order by coalesce(hashtextextended(record_id, 0), raw_hash), place desc
         on conflict (workspace, object, identity) do update
         set run_id = excluded.run_id, reason = excluded.reason, sqlstate = excluded.sqlstate, raw_hash = excluded.raw_hash,
             raw = case when old.raw_hash = excluded.raw_hash and excluded.raw like '(%' then old.raw else excluded.raw end
         where old.run_id is distinct from excluded.run_id or old.raw_hash <> excluded.raw_hash",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(run_id)
    .bind(of(|entry| entry.rejected.id.as_deref()))
    .bind(of(|entry| Some(&entry.rejected.reason)))
    .bind(of(|entry| entry.rejected.sqlstate.as_deref()))
    .bind(of(|entry| Some(&entry.raw)))
    .bind(entries.iter().map(|entry| entry.rejected.fingerprint).collect::<Vec<_>>())
    .execute(db)
    .await
    .map_err(could_not("put records in quarantine"))?;
    Ok(())
}

/// Releases the entries of records that have now been stored.
pub async fn release_stored(db: &mut PgConnection, workspace: &str, object: &Object, ids: &[&str]) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    // As an array, so that entries are looked up one by one: for a list PostgreSQL would rather read the whole table.
    let released = query(
        "delete from planhat_sync.quarantine where id = any(array(
             select waiting.id from unnest($3::text[]) as stored (id) cross join lateral (
                 select id from planhat_sync.quarantine
                 where workspace = $1 and object = $2 and identity = hashtextextended(stored.id, 0) and record_id = stored.id
                 offset 0) as waiting))",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(ids)
    .execute(db)
    .await
    .map_err(could_not("release records from quarantine"))?;
    Ok(released.rows_affected())
}

/// Deletes the entries that a run over the whole object has not listed again. A record without an id is identified by its
/// content: when it is corrected at Planhat, it looks like another record.
pub async fn release_unlisted(db: &mut PgConnection, workspace: &str, object: &Object, run_id: i64) -> Result<(), StoreError> {
    query("delete from planhat_sync.quarantine where workspace = $1 and object = $2 and run_id is distinct from $3")
        .bind(workspace)
        .bind(object.name)
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("release records from quarantine"))?;
    Ok(())
}

/// The ids of an object's records in quarantine, as far as they have one.
pub async fn ids_in_quarantine(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<HashSet<String>, StoreError> {
    let ids: Vec<String> = query_scalar(
        "select record_id from planhat_sync.quarantine where workspace = $1 and object = $2 and record_id is not null",
    )
    .bind(workspace)
    .bind(object.name)
    .fetch_all(db)
    .await
    .map_err(could_not("read the records in quarantine"))?;
    Ok(ids.into_iter().collect())
}

/// How many records of each object are in quarantine.
pub(super) async fn quarantined(db: &mut PgConnection, workspace: &str) -> Result<Vec<(String, i64)>, StoreError> {
    query_as("select object, count(*) from planhat_sync.quarantine where workspace = $1 group by object order by object")
        .bind(workspace)
        .fetch_all(db)
        .await
        .map_err(could_not("count the records in quarantine"))
}

/// The records of an object that are in quarantine for one reason.
#[derive(Debug, Clone, Serialize, FromRow)]
pub struct QuarantineGroup {
    pub object: String,
    /// The reason without parts specific to one record.
    pub reason: String,
    pub records: i64,
    pub oldest: DateTime<Utc>,
    pub newest: DateTime<Utc>,
}

/// What is in quarantine, by object and reason; of all objects where none is named.
pub async fn quarantine_groups(
    db: &mut PgConnection,
    workspace: &str,
    objects: &[&str],
) -> Result<Vec<QuarantineGroup>, StoreError> {
    query_as(
        "select object, coalesce($3 || ' (' || sqlstate || ')', rtrim(split_part(split_part(reason, ':', 1), '(', 1))) as reason,
             count(*) as records, min(first_seen_at) as oldest, max(first_seen_at) as newest
         from planhat_sync.quarantine where workspace = $1 and (cardinality($2::text[]) = 0 or object = any($2))
         group by 1, 2 order by 1, 3 desc, 2",
    )
    .bind(workspace)
    .bind(objects)
    .bind(REFUSED)
    .fetch_all(db)
    .await
    .map_err(could_not("read the quarantine"))
}

/// A record in quarantine.
#[derive(Debug, Clone, Serialize)]
pub struct QuarantineEntry {
    pub id: i64,
    pub object: String,
    pub record_id: Option<String>,
    /// Masked, as the text is.
    pub reason: String,
    pub sqlstate: Option<String>,
    pub since: DateTime<Utc>,
    /// The run that saw it last, unless that is forgotten.
    pub run_id: Option<i64>,
}

/// An entry with the text of its record.
#[derive(FromRow)]
struct EntryRow {
    id: i64,
    object: String,
    record_id: Option<String>,
    reason: Stored<String>,
    sqlstate: Option<String>,
    since: DateTime<Utc>,
    run_id: Option<i64>,
    raw: Stored<String>,
}

impl EntryRow {
    fn masked(self, rules: &ByObject<Rules>) -> (QuarantineEntry, String) {
        let rules = rules.get(self.object.as_str());
        let (raw, reason) = self.raw.masked_record(self.reason, self.sqlstate.as_deref(), rules);
        let entry = QuarantineEntry {
            id: self.id,
            object: self.object,
            record_id: self.record_id,
            reason,
            sqlstate: self.sqlstate,
            since: self.since,
            run_id: self.run_id,
        };
        (entry, raw)
    }
}

/// The latest entries, the last one first; of all objects where none is named.
pub async fn latest_in_quarantine(
    db: &mut PgConnection,
    workspace: &str,
    rules: &ByObject<Rules>,
    objects: &[&str],
    count: i64,
) -> Result<Vec<QuarantineEntry>, StoreError> {
    let entries: Vec<EntryRow> = query_as(
        "select id, object, record_id, reason, sqlstate, first_seen_at as since, run_id, raw from planhat_sync.quarantine
         where workspace = $1 and (cardinality($2::text[]) = 0 or object = any($2)) order by id desc limit $3",
    )
    .bind(workspace)
    .bind(objects)
    .bind(count)
    .fetch_all(db)
    .await
    .map_err(could_not("read the quarantine"))?;
    Ok(entries.into_iter().map(|entry| entry.masked(rules).0).collect())
}

/// One entry with its text.
pub async fn quarantine_entry(
    db: &mut PgConnection,
    workspace: &str,
    rules: &ByObject<Rules>,
    id: i64,
) -> Result<Option<(QuarantineEntry, String)>, StoreError> {
    let entry: Option<EntryRow> = query_as(
        "select id, object, record_id, reason, sqlstate, first_seen_at as since, run_id, raw from planhat_sync.quarantine
         where workspace = $1 and id = $2",
    )
    .bind(workspace)
    .bind(id)
    .fetch_optional(db)
    .await
    .map_err(could_not("read an entry of the quarantine"))?;
    Ok(entry.map(|entry| entry.masked(rules)))
}

/// Texts that are read at a time.
const TEXTS: i64 = 100;

/// Some entries of an object that have an id and a whole text, behind an id and in the order of ids. None where there are
/// rules: what they leave of a text is not what Planhat sent.
pub async fn texts_in_quarantine(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    rules: Option<&Rules>,
    after: i64,
) -> Result<Vec<(i64, String)>, StoreError> {
    let texts: Vec<(i64, Stored<String>)> = query_as(
        "select id, raw from planhat_sync.quarantine
         where workspace = $1 and object = $2 and id > $3 and record_id is not null and raw not like '(%' order by id limit $4",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(after)
    .bind(TEXTS)
    .fetch_all(db)
    .await
    .map_err(could_not("read the texts in quarantine"))?;
    Ok(texts.into_iter().filter_map(|(id, text)| Some((id, text.without_rules(rules)?))).collect())
}

/// Removes the entries of a record. Returns how many there were.
pub(super) async fn delete_quarantined_records(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    id: &str,
) -> Result<u64, StoreError> {
    let deleted = query(
        "delete from planhat_sync.quarantine
         where workspace = $1 and object = $2 and identity = hashtextextended($3, 0) and record_id = $3",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(id)
    .execute(db)
    .await
    .map_err(could_not("remove entries of the quarantine"))?;
    Ok(deleted.rows_affected())
}

/// How many entries a record has.
pub(super) async fn count_quarantined(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    id: &str,
) -> Result<u64, StoreError> {
    let entries: i64 = query_scalar(
        "select count(*) from planhat_sync.quarantine
         where workspace = $1 and object = $2 and identity = hashtextextended($3, 0) and record_id = $3",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(id)
    .fetch_one(db)
    .await
    .map_err(could_not("look into the quarantine"))?;
    Ok(entries.cast_unsigned())
}

/// The addresses of a record in quarantine.
pub(crate) async fn addresses_in_quarantine(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    id: &str,
) -> Result<Vec<String>, StoreError> {
    let raw: Vec<Stored<String>> = query_scalar(
        "select raw from planhat_sync.quarantine
         where workspace = $1 and object = $2 and identity = hashtextextended($3, 0) and record_id = $3",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(id)
    .fetch_all(db)
    .await
    .map_err(could_not("read the texts in quarantine"))?;
    Ok(raw.iter().flat_map(Stored::addresses).collect())
}

/// An entry of which the text and the reason may become others.
type EntryTexts = (i64, Option<String>, Stored<String>, Stored<String>, Option<String>);

/// Masks the entries of an object behind an id, some of them. Returns the id from which to go on, if there are more.
pub async fn mask_quarantine(
    db: &mut PgConnection,
    table: MaskedTable<'_>,
    behind: i64,
) -> Result<(MaskedCounts, Option<i64>), StoreError> {
    let entries: Vec<EntryTexts> = query_as(
        "select id, record_id, raw, reason, sqlstate from planhat_sync.quarantine
         where workspace = $1 and object = $2 and id > $3 order by id limit $4",
    )
    .bind(table.schema)
    .bind(table.object.name)
    .bind(behind)
    .bind(TEXTS)
    .fetch_all(&mut *db)
    .await
    .map_err(could_not("read the texts in quarantine"))?;
    let last = entries.last().map(|(id, ..)| *id);
    let mut counts = MaskedCounts::default();
    for (id, record_id, raw, reason, sqlstate) in entries {
        if record_id.is_some_and(|record_id| table.masking.erases(table.object, &record_id)) {
            continue;
        }
        let Some((raw, reason, fingerprint)) = raw.kept_entry(&reason, sqlstate.as_deref(), table.masking) else { continue };
        counts.masked += 1;
        if table.pass == Pass::Write {
            replace_entry(&mut *db, id, (&raw, &reason, fingerprint)).await?;
        }
    }
    Ok((counts, last))
}

/// Replaces the texts of an entry. One that has become the same as another is removed.
async fn replace_entry(
    db: &mut PgConnection,
    id: i64,
    (raw, reason, fingerprint): (&str, &str, Option<i64>),
) -> Result<(), StoreError> {
    query(
        "with same as (delete from planhat_sync.quarantine as entry using planhat_sync.quarantine as other
             where entry.id = $1 and $4::bigint is not null and entry.record_id is null and other.id <> entry.id
                 and other.workspace = entry.workspace and other.object = entry.object and other.identity = $4
             returning entry.id)
         update planhat_sync.quarantine set raw = $2, reason = $3, raw_hash = coalesce($4, raw_hash)
         where id = $1 and not exists (select from same)",
    )
    .bind(id)
    .bind(raw)
    .bind(reason)
    .bind(fingerprint)
    .execute(db)
    .await
    .map_err(could_not("mask the texts in quarantine"))?;
    Ok(())
}

/// Removes entries. Returns the ids of those that there were.
pub async fn delete_quarantine_entries(db: &mut PgConnection, workspace: &str, ids: &[i64]) -> Result<Vec<i64>, StoreError> {
    query_scalar("delete from planhat_sync.quarantine where workspace = $1 and id = any($2) returning id")
        .bind(workspace)
        .bind(ids)
        .fetch_all(db)
        .await
        .map_err(could_not("remove entries of the quarantine"))
}
