//! Proves that locks of rows hold, by two connections: what one has locked, the other must not get.
//!
//! Everything that several processes do at the same time rests on such locks: leases, their fences, the ids of actions. A proxy that sends
//! each statement to another server, or an engine that takes `for update` and does nothing, would show nothing of it until it is late.

use std::time::Duration;

use planhat_model::error::ErrorKind;
use sqlx::PgConnection;
use tokio::time::timeout;

use crate::Store;
use crate::connection::{ConnectionUse, TransactionKind};
use crate::sql::query;
use crate::store_error::{StoreError, could_not};

/// For the second connection, and for its two statements.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// What two connections have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockProof {
    Proven,
    /// There is no second connection to show it with.
    SingleConnection,
    /// The second connection has got what the first had locked.
    Broken,
    /// There is no row to lock yet.
    NoRow,
}

impl Store {
    /// Locks a row of `planhat_sync.migrations`, which nobody changes, and tries to lock it from a second connection. Nothing is
    /// written.
    pub async fn prove_locks(&self) -> Result<LockProof, StoreError> {
        if self.has_single_connection() {
            return Ok(LockProof::SingleConnection);
        }
        let first = self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, async |db| {
            if !lock_unless_locked(db).await? {
                return Ok(LockProof::NoRow);
            }
            match timeout(TIME_LIMIT, self.try_to_lock_the_same()).await {
                Ok(Err(error)) if error.kind() == ErrorKind::NoFreeConnection => Ok(LockProof::SingleConnection),
                Ok(proof) => proof,
                Err(_) => Ok(LockProof::SingleConnection),
            }
        });
        first.await
    }

    async fn try_to_lock_the_same(&self) -> Result<LockProof, StoreError> {
        let second = self.connections.transaction(ConnectionUse::Housekeeping, TransactionKind::Write, async |db| {
            if lock_unless_locked(&mut *db).await? {
                return Ok(LockProof::Broken);
            }
            query("select from planhat_sync.migrations where version = 1 for update nowait")
                .fetch_optional(db)
                .await
                .map_err(could_not("try a lock"))?;
            Ok(LockProof::Broken)
        });
        match second.await {
            Err(refused) if refused.kind() == ErrorKind::LockTimeout => Ok(LockProof::Proven),
            second => second,
        }
    }
}

async fn lock_unless_locked(db: &mut PgConnection) -> Result<bool, StoreError> {
    let row = query("select from planhat_sync.migrations where version = 1 for update skip locked").fetch_optional(db).await;
    Ok(row.map_err(could_not("try a lock"))?.is_some())
}
