//! Under which privacy rules everything that is stored of an object is, so that `status` need not look through tables.
//!
//! Known since its table was made, or since `planhat-sync privacy apply`, and no longer once a run stores it under other rules.

use planhat_model::catalog::Object;
use sqlx::PgConnection;

use crate::sql::{query, query_as};
use crate::store_error::{StoreError, could_not};

/// A run begins to store an object under these rules (their fingerprint; none if there are none).
pub async fn note_rules_in_use(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    rules: Option<i64>,
    is_new_table: bool,
) -> Result<(), StoreError> {
    query(
        "delete from planhat_sync.applied_rules where workspace = $1 and object = $2 and rules_fingerprint is distinct from $3",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(rules)
    .execute(&mut *db)
    .await
    .map_err(could_not("note the privacy rules of an object"))?;
    // Of a table that was dropped and made anew, older actions may be left.
    let has_no_past = is_new_table && !has_been_synced(&mut *db, workspace, object).await?;
    match rules {
        Some(rules) if has_no_past => note_rules_applied(db, workspace, object, rules).await,
        _ => Ok(()),
    }
}

async fn has_been_synced(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<bool, StoreError> {
    let (synced,): (bool,) =
        query_as("select exists (select from planhat_sync.object_states where workspace = $1 and object = $2)")
            .bind(workspace)
            .bind(object.name)
            .fetch_one(db)
            .await
            .map_err(could_not("see whether an object was synced before"))?;
    Ok(synced)
}

/// Everything that is stored of an object has passed these rules.
pub async fn note_rules_applied(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    rules_fingerprint: i64,
) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.applied_rules (workspace, object, rules_fingerprint) values ($1, $2, $3)
         on conflict (workspace, object) do update
         set rules_fingerprint = excluded.rules_fingerprint, applied_at = excluded.applied_at",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(rules_fingerprint)
    .execute(db)
    .await
    .map_err(could_not("note the privacy rules of an object"))?;
    Ok(())
}

/// The objects of which it is known, with the fingerprints of the rules.
pub async fn applied_rules(db: &mut PgConnection, workspace: &str) -> Result<Vec<(String, i64)>, StoreError> {
    query_as("select object, rules_fingerprint from planhat_sync.applied_rules where workspace = $1")
        .bind(workspace)
        .fetch_all(db)
        .await
        .map_err(could_not("read which privacy rules were applied"))
}
