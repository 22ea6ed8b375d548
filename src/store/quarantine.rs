//! Records that cannot be stored at all are kept as they came, once each.

use sqlx::PgConnection;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{Error, could_not};
use super::sql::{query, query_as};
use crate::object::Object;
use crate::record::Rejected;

/// Keeps these records; one that is there already stays as it was first seen.
pub async fn put_in_quarantine(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    run_id: i64,
    rejected: &[Rejected],
) -> Result<(), Error> {
    for Rejected { raw, reason } in rejected {
        query(
            "insert into planhat_sync.quarantine (workspace, object, run_id, reason, raw, raw_hash)
             values ($1, $2, $3, $4, $5, $6) on conflict (workspace, object, raw_hash) do nothing",
        )
        .bind(workspace)
        .bind(object.name)
        .bind(run_id)
        .bind(reason)
        .bind(raw)
        .bind(xxh3_64(raw.as_bytes()).cast_signed())
        .execute(&mut *db)
        .await
        .map_err(could_not("put a record in quarantine"))?;
    }
    Ok(())
}

/// How many records of each object are in quarantine.
pub async fn quarantined(db: &mut PgConnection, workspace: &str) -> Result<Vec<(String, i64)>, Error> {
    query_as("select object, count(*) from planhat_sync.quarantine where workspace = $1 group by object order by object")
        .bind(workspace)
        .fetch_all(db)
        .await
        .map_err(could_not("count the records in quarantine"))
}
