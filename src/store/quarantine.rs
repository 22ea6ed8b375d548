//! Records that cannot be stored at all are kept as they came, once each, until they are whole or gone.

use std::collections::HashSet;

use sqlx::PgConnection;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{Error, could_not};
use super::sql::{query, query_as};
use crate::object::Object;
use crate::record::Rejected;

/// Keeps these records, each in its latest version.
pub async fn put_in_quarantine(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    run_id: i64,
    rejected: &[Rejected],
) -> Result<(), Error> {
    if rejected.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = rejected.iter().filter_map(|rejected| rejected.id.as_deref()).collect();
    release_stored(&mut *db, workspace, object, &ids).await?;
    for Rejected { id, raw, reason, sqlstate } in rejected {
        query(
            "insert into planhat_sync.quarantine (workspace, object, run_id, record_id, reason, sqlstate, raw, raw_hash)
             values ($1, $2, $3, $4, $5, $6, $7, $8)
             on conflict (workspace, object, raw_hash) do update set run_id = excluded.run_id",
        )
        .bind(workspace)
        .bind(object.name)
        .bind(run_id)
        .bind(id)
        .bind(reason)
        .bind(sqlstate)
        .bind(raw)
        .bind(xxh3_64(raw.as_bytes()).cast_signed())
        .execute(&mut *db)
        .await
        .map_err(could_not("put a record in quarantine"))?;
    }
    Ok(())
}

/// Releases the entries of records that have now been stored.
pub async fn release_stored(db: &mut PgConnection, workspace: &str, object: &Object, ids: &[&str]) -> Result<(), Error> {
    query("delete from planhat_sync.quarantine where workspace = $1 and object = $2 and record_id = any($3)")
        .bind(workspace)
        .bind(object.name)
        .bind(ids)
        .execute(db)
        .await
        .map_err(could_not("release records from quarantine"))?;
    Ok(())
}

/// Releases what a run that read the whole object has not seen any more. A record without an id can
/// only be told by its content: mended at Planhat, it comes as another one.
pub async fn release_unseen(db: &mut PgConnection, workspace: &str, object: &Object, run_id: i64) -> Result<(), Error> {
    query("delete from planhat_sync.quarantine where workspace = $1 and object = $2 and run_id is distinct from $3")
        .bind(workspace)
        .bind(object.name)
        .bind(run_id)
        .execute(db)
        .await
        .map_err(could_not("release records from quarantine"))?;
    Ok(())
}

/// The ids of an object's records in quarantine, as far as they have one; none at all where it is empty.
pub async fn ids_in_quarantine(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
) -> Result<Option<HashSet<String>>, Error> {
    let ids: Vec<(Option<String>,)> =
        query_as("select distinct record_id from planhat_sync.quarantine where workspace = $1 and object = $2")
            .bind(workspace)
            .bind(object.name)
            .fetch_all(db)
            .await
            .map_err(could_not("read the records in quarantine"))?;
    Ok((!ids.is_empty()).then(|| ids.into_iter().filter_map(|(id,)| id).collect()))
}

/// How many records of each object are in quarantine.
pub(super) async fn quarantined(db: &mut PgConnection, workspace: &str) -> Result<Vec<(String, i64)>, Error> {
    query_as("select object, count(*) from planhat_sync.quarantine where workspace = $1 group by object order by object")
        .bind(workspace)
        .fetch_all(db)
        .await
        .map_err(could_not("count the records in quarantine"))
}
