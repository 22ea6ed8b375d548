//! What was forgotten on somebody's word: remembered by keyed hashes, so that it does not come back, and erased.
//!
//! The key is random, one per workspace, and has nothing to do with the token: with another token, host or hash key what was
//! forgotten stays forgotten. Whoever reads the database can tell whether an id that they have is forgotten. They cannot tell
//! which ids are: ids of Planhat are too many to try out.

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use planhat_model::keyed_hash::HashKey;
use planhat_model::rules::{FORGOTTEN, ForgottenRecords};
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use super::quarantined::{count_quarantined, delete_quarantined_records};
use crate::data::deletions::{count_rows_of, erase_rows};
use crate::data::upsert::Target;
use crate::sql::{query, query_as, query_scalar};
use crate::state::checkpoint::end_scans;
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_table::{count_actions_of, erase_actions, write_forgotten};

/// What was forgotten of an object, and which references are left out of all objects.
pub async fn forgotten_records(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<ForgottenRecords, StoreError> {
    let Some(key) = forget_key(&mut *db, workspace).await? else { return Ok(ForgottenRecords::default()) };
    let ids: Vec<String> = query_scalar("select id_hash from planhat_sync.forgotten where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .fetch_all(&mut *db)
        .await
        .map_err(could_not("read what was forgotten"))?;
    let references: Vec<String> =
        query_scalar("select distinct unnest(reference_hashes) from planhat_sync.forgotten where workspace = $1")
            .bind(workspace)
            .fetch_all(db)
            .await
            .map_err(could_not("read what was forgotten"))?;
    Ok(ForgottenRecords::new(&key, ids, references))
}

/// The key of the hashes; none while nothing was ever forgotten.
pub async fn forget_key(db: &mut PgConnection, workspace: &str) -> Result<Option<HashKey>, StoreError> {
    let key: Option<String> = query_scalar("select key::text from planhat_sync.forget_keys where workspace = $1")
        .bind(workspace)
        .fetch_optional(db)
        .await
        .map_err(could_not("read the key of what was forgotten"))?;
    Ok(key.map(|key| HashKey::new(key.as_bytes())))
}

/// The key of the hashes, made if there is none yet.
pub async fn ensure_forget_key(db: &mut PgConnection, workspace: &str) -> Result<HashKey, StoreError> {
    query("insert into planhat_sync.forget_keys (workspace) values ($1) on conflict do nothing")
        .bind(workspace)
        .execute(&mut *db)
        .await
        .map_err(could_not("make the key of what was forgotten"))?;
    let key: String = query_scalar("select key::text from planhat_sync.forget_keys where workspace = $1")
        .bind(workspace)
        .fetch_one(db)
        .await
        .map_err(could_not("read the key of what was forgotten"))?;
    Ok(HashKey::new(key.as_bytes()))
}

/// Remembers that a record is forgotten, and by which hashes it is left out of other records.
pub async fn remember_as_forgotten(
    db: &mut PgConnection,
    target: Target<'_>,
    id_hash: &str,
    reference_hashes: &[String],
) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.forgotten as old (workspace, object, id_hash, reference_hashes, run_id)
         values ($1, $2, $3, $4, $5)
         on conflict (workspace, object, id_hash) do update
         set reference_hashes = array(select distinct unnest(old.reference_hashes || excluded.reference_hashes) order by 1)
         where not old.reference_hashes @> excluded.reference_hashes",
    )
    .bind(target.schema)
    .bind(target.object.name)
    .bind(id_hash)
    .bind(reference_hashes)
    .bind(target.run_id)
    .execute(db)
    .await
    .map_err(could_not("remember what is forgotten"))?;
    Ok(())
}

/// Lets records come back. Returns the hashes of those that were forgotten.
pub async fn stop_forgetting(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    id_hashes: &[String],
) -> Result<Vec<String>, StoreError> {
    query_scalar(
        "delete from planhat_sync.forgotten where workspace = $1 and object = $2 and id_hash = any($3) returning id_hash",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(id_hashes)
    .fetch_all(db)
    .await
    .map_err(could_not("remember a record that was forgotten"))
}

/// When each of these was forgotten, by its hash.
pub async fn forgotten_at(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    id_hashes: &[String],
) -> Result<Vec<(String, DateTime<Utc>)>, StoreError> {
    query_as(
        "select id_hash, forgotten_at from planhat_sync.forgotten where workspace = $1 and object = $2 and id_hash = any($3)",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(id_hashes)
    .fetch_all(db)
    .await
    .map_err(could_not("read what was forgotten"))
}

/// How many records of an object are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct ForgottenGroup {
    pub object: String,
    pub records: i64,
    /// Those that are left out of other records too.
    pub with_references: i64,
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
}

pub async fn forgotten_groups(
    db: &mut PgConnection,
    workspace: &str,
    objects: &[&str],
) -> Result<Vec<ForgottenGroup>, StoreError> {
    query_as(
        "select object, count(*) as records, count(*) filter (where reference_hashes <> '{}') as with_references,
             min(forgotten_at) as first, max(forgotten_at) as last
         from planhat_sync.forgotten where workspace = $1 and (cardinality($2::text[]) = 0 or object = any($2))
         group by object order by object",
    )
    .bind(workspace)
    .bind(objects)
    .fetch_all(db)
    .await
    .map_err(could_not("read what was forgotten"))
}

/// What there is, or was, of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Traces {
    pub rows: u64,
    pub actions: u64,
    pub quarantined: u64,
}

impl Traces {
    pub fn is_none(self) -> bool {
        self == Traces::default()
    }
}

/// What there is of a record.
pub async fn traces_of(db: &mut PgConnection, schema: &str, object: &Object, id: &str) -> Result<Traces, StoreError> {
    Ok(Traces {
        rows: count_rows_of(&mut *db, schema, object, id).await?,
        actions: count_actions_of(&mut *db, schema, object, id).await?,
        quarantined: count_quarantined(db, schema, object, id).await?,
    })
}

/// Erases a record: its row with `_misfits` and `_overflow`, its actions, its entry in quarantine, its id in the lists of
/// unfinished scans and in what runs said. Where it was known to the timeline, one action tells that it is gone, without a
/// value.
pub async fn erase_record(db: &mut PgConnection, target: Target<'_>, id: &str) -> Result<Traces, StoreError> {
    let Target { schema, object, .. } = target;
    let erased = Traces {
        rows: erase_rows(&mut *db, schema, object, id).await?,
        actions: erase_actions(&mut *db, schema, object, id).await?,
        quarantined: delete_quarantined_records(&mut *db, schema, object, id).await?,
    };
    erase_from_absent(&mut *db, schema, object, id).await?;
    erase_from_scans(&mut *db, schema, object, id).await?;
    erase_from_reasons(&mut *db, schema, id).await?;
    if erased.rows + erased.actions > 0 {
        write_forgotten(db, target, id).await?;
    }
    Ok(erased)
}

/// Nobody asks Planhat for it again, so its answer need not be remembered.
async fn erase_from_absent(db: &mut PgConnection, workspace: &str, object: &Object, id: &str) -> Result<(), StoreError> {
    query("delete from planhat_sync.absent_records where workspace = $1 and object = $2 and record_id = $3")
        .bind(workspace)
        .bind(object.name)
        .bind(id)
        .execute(db)
        .await
        .map_err(could_not("forget that Planhat does not have a record"))?;
    Ok(())
}

/// A scan that would continue behind this very record starts again.
async fn erase_from_scans(db: &mut PgConnection, workspace: &str, object: &Object, id: &str) -> Result<(), StoreError> {
    let is_overlap: bool =
        query_scalar("select exists (select from planhat_sync.scans where workspace = $1 and object = $2 and overlap_id = $3)")
            .bind(workspace)
            .bind(object.name)
            .bind(id)
            .fetch_one(&mut *db)
            .await
            .map_err(could_not("read the position of an unfinished scan"))?;
    if is_overlap {
        return end_scans(db, workspace, object).await;
    }
    query(
        "update planhat_sync.listed_ids set ids = array_remove(ids, $3)
         where workspace = $1 and object = $2 and ids @> array[$3]",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(id)
    .execute(db)
    .await
    .map_err(could_not("forget what a scan has seen"))?;
    Ok(())
}

/// Reasons name the ids of records that could not be stored, and messages quote reasons.
async fn erase_from_reasons(db: &mut PgConnection, workspace: &str, id: &str) -> Result<(), StoreError> {
    if id.len() < SHORTEST_ID {
        return Ok(());
    }
    for statement in [
        "update planhat_sync.runs set reason = regexp_replace(reason, $2, $3, 'g'), hint = regexp_replace(hint, $2, $3, 'g')
         where workspace = $1 and (reason ~ $2 or hint ~ $2)",
        "update planhat_sync.object_runs as of set reason = regexp_replace(of.reason, $2, $3, 'g'),
             hint = regexp_replace(of.hint, $2, $3, 'g')
         from planhat_sync.runs where runs.id = of.run_id and workspace = $1 and (of.reason ~ $2 or of.hint ~ $2)",
        "update planhat_sync.object_states set reason = regexp_replace(reason, $2, $3, 'g'),
             hint = regexp_replace(hint, $2, $3, 'g')
         where workspace = $1 and (reason ~ $2 or hint ~ $2)",
        "update planhat_sync.notifications set body = regexp_replace(body, $2, $3, 'g')
         where workspace = $1 and body ~ $2",
    ] {
        query(statement)
            .bind(workspace)
            .bind(whole_word(id))
            .bind(FORGOTTEN)
            .execute(&mut *db)
            .await
            .map_err(could_not("erase an id from the history of runs"))?;
    }
    Ok(())
}

/// A shorter one may be a word of ours; ids of Planhat have 24 characters.
const SHORTEST_ID: usize = 8;
/// As many characters of an id as a reason names.
const ID_CHARS: usize = 40;

/// A regular expression for an id as reasons name it, and not for a part of another one.
fn whole_word(id: &str) -> String {
    let named: String = id.chars().take(ID_CHARS).flat_map(char::escape_debug).collect();
    let escaped: String =
        named.chars().flat_map(|c| (!c.is_alphanumeric() && c.is_ascii()).then_some('\\').into_iter().chain([c])).collect();
    format!("(?<![[:alnum:]_]){escaped}(?![[:alnum:]_])")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_as_a_whole_word_and_by_its_characters() {
        assert_eq!(whole_word("64b0"), "(?<![[:alnum:]_])64b0(?![[:alnum:]_])");
        assert_eq!(whole_word("a.b*"), r"(?<![[:alnum:]_])a\.b\*(?![[:alnum:]_])");
    }
}
