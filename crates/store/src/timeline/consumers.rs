//! Who reads the timeline, and how far.

use sqlx::PgConnection;

use crate::sql::{query, query_scalar};
use crate::store_error::{StoreError, could_not};

/// How far a consumer has read, if it has begun.
pub async fn consumer_position(db: &mut PgConnection, workspace: &str, consumer: &str) -> Result<Option<i64>, StoreError> {
    query_scalar("select last_action_id from planhat_sync.consumers where workspace = $1 and name = $2")
        .bind(workspace)
        .bind(consumer)
        .fetch_optional(db)
        .await
        .map_err(could_not("read the position of a consumer"))
}

/// Saves the position of a consumer, which never moves back.
pub async fn save_consumer_position(
    db: &mut PgConnection,
    workspace: &str,
    consumer: &str,
    last_id: i64,
) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.consumers as old (workspace, name, last_action_id) values ($1, $2, $3)
         on conflict (workspace, name) do update set last_action_id = excluded.last_action_id, updated_at = now()
         where old.last_action_id < excluded.last_action_id",
    )
    .bind(workspace)
    .bind(consumer)
    .bind(last_id)
    .execute(db)
    .await
    .map_err(could_not("save the position of a consumer"))?;
    Ok(())
}
