//! How far each object has been read: its watermark and its unfinished scans.
//!
//! A scan's position is saved in the transaction of the page it stands for, so that the next run goes on
//! exactly behind what is stored. The transactions of a load that write no actions do not wait for the disk, so a
//! database that dies may forget the latest of them while the run lives on: positions are numbered, each transaction says which
//! one it follows, and what ends a scan waits.
//! The watermark moves when a scan has completed, and only forward. History and changes have a scan each, so a long
//! historical load and the daily run do not get in each other's way.
//!
//! A full scan also notes the ids that it was shown, with the position they belong to: what is in the
//! table and was not shown may be gone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as, query_scalar};
use crate::state::leases::fence;
use crate::store_error::{StoreError, could_not};

/// What a scan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanKind {
    /// A first load, or a backfill that goes back as far: from the beginning of a listing to its end.
    History,
    /// A backfill of another part of history, with which no sync can go on.
    Backfill,
    /// A daily run.
    Incremental,
    /// Everything compared, and what is gone found out.
    Full,
}

impl ScanKind {
    const ALL: [ScanKind; 4] = [ScanKind::History, ScanKind::Backfill, ScanKind::Incremental, ScanKind::Full];

    pub fn as_str(self) -> &'static str {
        match self {
            ScanKind::History => "history",
            ScanKind::Backfill => "backfill",
            ScanKind::Incremental => "incremental",
            ScanKind::Full => "full",
        }
    }
}

/// One walk through the listings of an object, maybe over several runs.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ScanCheckpoint {
    /// When it began: changes after this may have been missed and are the next scan's business.
    pub started_at: DateTime<Utc>,
    /// Older records are left out.
    pub since: Option<DateTime<Utc>>,
    /// Records of this time and later are left out.
    pub until: Option<DateTime<Utc>>,
    /// Which of the object's listings is being read; empty before the first.
    pub listing: String,
    pub offset: i64,
    /// The record that the next page has to begin with.
    pub overlap_id: Option<String>,
    /// The latest modification seen.
    pub newest_change_at: Option<DateTime<Utc>>,
    /// Which rules there were for what may be kept when it began, if there were any.
    pub rules_fingerprint: Option<i64>,
    /// How often its position was saved.
    #[sqlx(rename = "checkpoint_number")]
    pub number: i64,
}

impl ScanCheckpoint {
    pub fn starting(now: DateTime<Utc>, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> ScanCheckpoint {
        let listing = String::new();
        ScanCheckpoint {
            started_at: now,
            since,
            until,
            listing,
            offset: 0,
            overlap_id: None,
            newest_change_at: None,
            rules_fingerprint: None,
            number: 0,
        }
    }
}

/// How far an object is known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Cursor {
    /// The instant before which every change is stored.
    pub watermark: DateTime<Utc>,
    /// When everything was last compared.
    pub reconciled_at: Option<DateTime<Utc>>,
}

pub async fn cursor(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<Option<Cursor>, StoreError> {
    query_as("select watermark, reconciled_at from planhat_sync.cursors where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .fetch_optional(db)
        .await
        .map_err(could_not("read the watermark"))
}

/// The scans of an object that were begun and not ended, at most one of a kind.
pub async fn unfinished_scans(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
) -> Result<Vec<(ScanKind, ScanCheckpoint)>, StoreError> {
    #[derive(FromRow)]
    struct Unfinished {
        kind: String,
        #[sqlx(flatten)]
        scan: ScanCheckpoint,
    }
    let scans: Vec<Unfinished> = query_as(
        "select scan as kind, started_at, since, until, listing, \"offset\", overlap_id, newest_change_at, rules_fingerprint, checkpoint_number from planhat_sync.scans
         where workspace = $1 and object = $2",
    )
    .bind(workspace)
    .bind(object.name)
    .fetch_all(db)
    .await
    .map_err(could_not("read the position of an unfinished scan"))?;
    scans
        .into_iter()
        .map(|Unfinished { kind, scan }| {
            let known = ScanKind::ALL.into_iter().find(|known| known.as_str() == kind);
            Ok((known.ok_or(StoreError::UnknownValue { column: "scans.scan", value: kind })?, scan))
        })
        .collect()
}

/// Saves the position of a scan behind the fence of its run (see [`fence`]): a run that was taken for dead must
/// not move the position of its successor. It comes last in a transaction. `last` is what this returned the last time, none for the first time of
/// a scan. Whoever does not hear of a commit saves the same once more, which is found done.
pub async fn save_checkpoint(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    kind: ScanKind,
    scan: &ScanCheckpoint,
    last: Option<i64>,
    run_id: i64,
) -> Result<i64, StoreError> {
    const FIRST: &str = "with held as (select from planhat_sync.leases where workspace = $1 and run_id = $12 for share)
         insert into planhat_sync.scans as scans
             (workspace, object, scan, started_at, since, until, listing, \"offset\", overlap_id, newest_change_at, rules_fingerprint, checkpoint_number)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1
         from held where $13::bigint is null
         on conflict (workspace, object, scan) do update set started_at = excluded.started_at, since = excluded.since,
             until = excluded.until, listing = excluded.listing, \"offset\" = excluded.\"offset\", overlap_id = excluded.overlap_id,
             newest_change_at = excluded.newest_change_at, rules_fingerprint = excluded.rules_fingerprint, checkpoint_number = scans.checkpoint_number + 1
         returning checkpoint_number";
    const NEXT: &str = "with held as (select from planhat_sync.leases where workspace = $1 and run_id = $12 for share)
         update planhat_sync.scans set started_at = $4, since = $5, until = $6, listing = $7, \"offset\" = $8,
             overlap_id = $9, newest_change_at = $10, rules_fingerprint = $11, checkpoint_number = $13 + 1
         from held
         where workspace = $1 and object = $2 and scan = $3 and checkpoint_number in ($13, $13 + 1)
         returning checkpoint_number";
    let saved: Option<i64> = query_scalar(if last.is_some() { NEXT } else { FIRST })
        .bind(workspace)
        .bind(object.name)
        .bind(kind.as_str())
        .bind(scan.started_at)
        .bind(scan.since)
        .bind(scan.until)
        .bind(&scan.listing)
        .bind(scan.offset)
        .bind(&scan.overlap_id)
        .bind(scan.newest_change_at)
        .bind(scan.rules_fingerprint)
        .bind(run_id)
        .bind(last)
        .fetch_optional(&mut *db)
        .await
        .map_err(could_not("save the position of a scan"))?;
    if let Some(saves) = saved {
        return Ok(saves);
    }
    fence(db, workspace, run_id).await?;
    Err(StoreError::CheckpointLost { object: object.name })
}

/// An error unless the position of a scan is what was saved last.
pub async fn expect_checkpoint(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    kind: ScanKind,
    last: i64,
) -> Result<(), StoreError> {
    let current: bool = query_scalar(
        "select exists (select from planhat_sync.scans
             where workspace = $1 and object = $2 and scan = $3 and checkpoint_number in ($4, $4 + 1))",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(kind.as_str())
    .bind(last)
    .fetch_one(db)
    .await
    .map_err(could_not("read the position of an unfinished scan"))?;
    if current { Ok(()) } else { Err(StoreError::CheckpointLost { object: object.name }) }
}

/// Moves the cursor, never backwards, and writes nothing if it does not move. Returns where the watermark
/// stands.
pub async fn move_cursor(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    Cursor { watermark, reconciled_at }: Cursor,
) -> Result<DateTime<Utc>, StoreError> {
    query(
        "insert into planhat_sync.cursors as old (workspace, object, watermark, reconciled_at) values ($1, $2, $3, $4)
         on conflict (workspace, object) do update
         set watermark = greatest(old.watermark, excluded.watermark),
             reconciled_at = greatest(old.reconciled_at, excluded.reconciled_at), updated_at = now()
         where old.watermark < excluded.watermark
             or old.reconciled_at is distinct from greatest(old.reconciled_at, excluded.reconciled_at)",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(watermark)
    .bind(reconciled_at)
    .execute(&mut *db)
    .await
    .map_err(could_not("move the watermark"))?;
    query_scalar("select watermark from planhat_sync.cursors where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .fetch_one(db)
        .await
        .map_err(could_not("read the watermark"))
}

/// Ends a scan, so that the next one starts from the beginning.
pub async fn end_scan(db: &mut PgConnection, workspace: &str, object: &Object, kind: ScanKind) -> Result<(), StoreError> {
    query("delete from planhat_sync.scans where workspace = $1 and object = $2 and scan = $3")
        .bind(workspace)
        .bind(object.name)
        .bind(kind.as_str())
        .execute(&mut *db)
        .await
        .map_err(could_not("end a scan"))?;
    if kind == ScanKind::Full {
        query("delete from planhat_sync.listed_ids where workspace = $1 and object = $2")
            .bind(workspace)
            .bind(object.name)
            .execute(db)
            .await
            .map_err(could_not("forget what a scan has seen"))?;
    }
    Ok(())
}

/// Ends the historical load, if there is one, that asked for no more than the usual history when it began: now
/// all of that has been read.
pub async fn end_covered_history(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    history: Duration,
) -> Result<(), StoreError> {
    query(
        "delete from planhat_sync.scans
         where workspace = $1 and object = $2 and scan = 'history' and since >= started_at - make_interval(secs => $3)",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(history.as_secs_f64())
    .execute(db)
    .await
    .map_err(could_not("end a scan"))?;
    Ok(())
}

/// Ends all scans of an object: what they have read has to be read again.
pub async fn end_scans(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<(), StoreError> {
    for kind in ScanKind::ALL {
        end_scan(&mut *db, workspace, object, kind).await?;
    }
    Ok(())
}

/// Forgets how far all objects were read, and how they stood: what follows is read from another workspace, or nothing is stored.
pub async fn reset_workspace(db: &mut PgConnection, workspace: &str) -> Result<(), StoreError> {
    for forget in [
        "delete from planhat_sync.scans where workspace = $1",
        "delete from planhat_sync.listed_ids where workspace = $1",
        "delete from planhat_sync.cursors where workspace = $1",
        "delete from planhat_sync.object_states where workspace = $1",
    ] {
        query(forget).bind(workspace).execute(&mut *db).await.map_err(could_not("forget how far objects were read"))?;
    }
    Ok(())
}

/// Forgets how far an object was read: its table is gone, so it is loaded from the beginning.
pub async fn reset_object(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<(), StoreError> {
    end_scans(&mut *db, workspace, object).await?;
    query("delete from planhat_sync.cursors where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .execute(db)
        .await
        .map_err(could_not("forget a watermark"))?;
    Ok(())
}
