//! What was learned of how a workspace answers, with the answers that proved it, and those that disproved it later.

use chrono::{DateTime, Utc};
use planhat_model::capability::Capability;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as};
use crate::store_error::{StoreError, could_not};

/// A capability as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, FromRow)]
pub struct StoredCapability {
    /// Empty for what holds for the whole token.
    pub object: String,
    pub capability: String,
    pub value: String,
    pub detail: Value,
    pub proof: String,
    pub proven_at: DateTime<Utc>,
    pub disproof: Option<String>,
    pub disproved_at: Option<DateTime<Utc>>,
}

impl StoredCapability {
    /// Whether nothing has disproved it.
    pub fn holds(&self) -> bool {
        self.disproved_at.is_none()
    }

    pub fn is(&self, object: &str, capability: Capability) -> bool {
        self.object == object && self.capability == capability.as_str()
    }

    /// Its detail; the default where it is another release's.
    pub fn detail<T: DeserializeOwned + Default>(&self) -> T {
        serde_json::from_value(self.detail.clone()).unwrap_or_default()
    }
}

/// A capability that an answer has proven.
#[derive(Debug, Clone, PartialEq)]
pub struct ProvenCapability {
    /// Empty for what holds for the whole token.
    pub object: &'static str,
    pub capability: Capability,
    pub value: String,
    pub detail: Value,
    /// The answer that proved it, without any value of a record.
    pub proof: String,
}

/// What is known of a workspace, by object.
pub async fn capabilities(db: &mut PgConnection, workspace: &str) -> Result<Vec<StoredCapability>, StoreError> {
    query_as(
        "select object, capability, value, detail, proof, proven_at, disproof, disproved_at from planhat_sync.capabilities
         where workspace = $1 order by object, capability",
    )
    .bind(workspace)
    .fetch_all(db)
    .await
    .map_err(could_not("read what was learned of the workspace"))
}

/// Notes what an answer has proven; an earlier disproof no longer counts.
pub async fn save_capability(db: &mut PgConnection, workspace: &str, proven: &ProvenCapability) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.capabilities (workspace, object, capability, value, detail, proof)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (workspace, object, capability) do update
         set value = excluded.value, detail = excluded.detail, proof = excluded.proof, proven_at = excluded.proven_at,
             disproof = null, disproved_at = null",
    )
    .bind(workspace)
    .bind(proven.object)
    .bind(proven.capability.as_str())
    .bind(&proven.value)
    .bind(&proven.detail)
    .bind(&proven.proof)
    .execute(db)
    .await
    .map_err(could_not("note what was learned of the workspace"))?;
    Ok(())
}

/// Takes back what an answer has disproved. Whether it was believed so far.
pub async fn disprove_capability(
    db: &mut PgConnection,
    workspace: &str,
    object: &str,
    capability: Capability,
    disproof: &str,
) -> Result<bool, StoreError> {
    let taken_back = query(
        "update planhat_sync.capabilities set disproof = $4, disproved_at = now()
         where workspace = $1 and object = $2 and capability = $3 and disproved_at is null",
    )
    .bind(workspace)
    .bind(object)
    .bind(capability.as_str())
    .bind(disproof)
    .execute(db)
    .await
    .map_err(could_not("take back what was learned of the workspace"))?;
    Ok(taken_back.rows_affected() == 1)
}

/// Forgets what was learned: the schema is bound to another token or host from now on.
pub(crate) async fn forget_capabilities(db: &mut PgConnection, workspace: &str) -> Result<(), StoreError> {
    query("delete from planhat_sync.capabilities where workspace = $1")
        .bind(workspace)
        .execute(db)
        .await
        .map_err(could_not("forget what was learned of the workspace"))?;
    Ok(())
}
