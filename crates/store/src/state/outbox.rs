//! The outbox: messages that are not delivered yet, and the state of the workspace that was announced last.
//!
//! A message and the announced state are one commit. A process claims a message before it sends it, so no lock is held while
//! the receiver responds, and two processes do not send the same message. Messages are sent in order, one after the
//! other, because "recovered" before "failed" would leave the receiver with the wrong state.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not};

/// A message that is to be stored in the outbox.
#[derive(Debug, Clone)]
pub struct Message {
    pub event_id: String,
    pub kind: &'static str,
    pub body: String,
    /// Attempts that were made before it could be stored.
    pub attempts: i32,
}

/// A message that this process has claimed and sends now.
#[derive(Debug, Clone, FromRow)]
pub struct ClaimedMessage {
    pub id: i64,
    pub event_id: String,
    pub body: String,
    /// With the one that is made now.
    pub attempts: i32,
}

/// The announced state, locked until the end of the transaction, so that announcements are made one after the other.
pub async fn announced_state<T: DeserializeOwned + Default>(db: &mut PgConnection, workspace: &str) -> Result<T, StoreError> {
    query("insert into planhat_sync.announced_states (workspace) values ($1) on conflict do nothing")
        .bind(workspace)
        .execute(&mut *db)
        .await
        .map_err(could_not("note that nothing was told yet"))?;
    let state: Json<serde_json::Value> =
        query_scalar("select state from planhat_sync.announced_states where workspace = $1 for update")
            .bind(workspace)
            .fetch_one(db)
            .await
            .map_err(could_not("read what was told last"))?;
    // Another version may have written a state that this one cannot read; announcing a state twice is better than never.
    Ok(serde_json::from_value(state.0).unwrap_or_default())
}

pub async fn save_announced_state(db: &mut PgConnection, workspace: &str, state: &impl Serialize) -> Result<(), StoreError> {
    let state = serde_json::to_value(state).unwrap_or_default();
    query("update planhat_sync.announced_states set state = $2, announced_at = now() where workspace = $1 and state is distinct from $2")
        .bind(workspace)
        .bind(Json(state))
        .execute(db)
        .await
        .map_err(could_not("note what was told"))?;
    Ok(())
}

/// Queues a message, once.
pub async fn queue_notification(db: &mut PgConnection, workspace: &str, message: &Message) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.notifications (workspace, event_id, type, body, attempts) values ($1, $2, $3, $4, $5)
         on conflict (event_id) do nothing",
    )
    .bind(workspace)
    .bind(&message.event_id)
    .bind(message.kind)
    .bind(&message.body)
    .bind(message.attempts)
    .execute(db)
    .await
    .map_err(could_not("queue a notification"))?;
    Ok(())
}

/// A new message makes the waiting ones due at once, except those whose receiver sent Retry-After.
pub async fn retry_notifications_now(db: &mut PgConnection, workspace: &str) -> Result<(), StoreError> {
    query(
        "update planhat_sync.notifications set next_attempt_at = greatest(now(), not_before)
         where workspace = $1 and next_attempt_at > greatest(now(), not_before)
             and (claimed_until is null or claimed_until < now())",
    )
    .bind(workspace)
    .execute(db)
    .await
    .map_err(could_not("hasten notifications"))?;
    Ok(())
}

/// Deletes messages older than `keep`, delivered or not.
pub async fn delete_old_notifications(db: &mut PgConnection, workspace: &str, keep: Duration) -> Result<(), StoreError> {
    query("delete from planhat_sync.notifications where workspace = $1 and created_at < now() - make_interval(secs => $2)")
        .bind(workspace)
        .bind(keep.as_secs_f64())
        .execute(db)
        .await
        .map_err(could_not("forget old notifications"))?;
    Ok(())
}

/// Claims the first waiting message, if it is due and no other process is sending it.
pub async fn claim_notification(
    db: &mut PgConnection,
    workspace: &str,
    claim: Duration,
) -> Result<Option<ClaimedMessage>, StoreError> {
    query_as(
        "update planhat_sync.notifications set attempts = attempts + 1, claimed_until = now() + make_interval(secs => $2)
         where id = (select min(id) from planhat_sync.notifications where workspace = $1 and next_attempt_at is not null)
             and next_attempt_at <= now() and (claimed_until is null or claimed_until < now())
         returning id, event_id, body, attempts",
    )
    .bind(workspace)
    .bind(claim.as_secs_f64())
    .fetch_optional(db)
    .await
    .map_err(could_not("claim a notification"))
}

/// How long until the first message that waits can be sent; none waits where there is none.
pub async fn next_notification(db: &mut PgConnection, workspace: &str) -> Result<Option<Duration>, StoreError> {
    // By the database's clock alone: ours may differ from it.
    let seconds: Option<f64> = query_scalar(
        "select extract(epoch from greatest(next_attempt_at, claimed_until, now()) - now())::float8
         from planhat_sync.notifications where workspace = $1 and next_attempt_at is not null order by id limit 1",
    )
    .bind(workspace)
    .fetch_optional(db)
    .await
    .map_err(could_not("see which notification is next"))?;
    Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
}

pub async fn notification_delivered(db: &mut PgConnection, id: i64) -> Result<(), StoreError> {
    query(
        "update planhat_sync.notifications
         set delivered_at = now(), next_attempt_at = null, claimed_until = null, not_before = null, last_error = null
         where id = $1",
    )
    .bind(id)
    .execute(db)
    .await
    .map_err(could_not("note that a notification was delivered"))?;
    Ok(())
}

/// Records a failed attempt and the time of the next one: after `delay`, or never. Ignored if another process has made an attempt since.
pub async fn notification_failed(
    db: &mut PgConnection,
    claimed: &ClaimedMessage,
    error: &str,
    delay: Option<Duration>,
    is_asked_for: bool,
) -> Result<(), StoreError> {
    query(
        "update planhat_sync.notifications
         set next_attempt_at = now() + make_interval(secs => $4), claimed_until = null, last_error = $3,
             not_before = case when $5 then now() + make_interval(secs => $4) end
         where id = $1 and attempts = $2 and delivered_at is null",
    )
    .bind(claimed.id)
    .bind(claimed.attempts)
    .bind(error)
    .bind(delay.map(|delay| delay.as_secs_f64()))
    .bind(is_asked_for)
    .execute(db)
    .await
    .map_err(could_not("note that a notification was not delivered"))?;
    Ok(())
}
