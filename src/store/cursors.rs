//! How far each object has been read: its watermark and its unfinished scans.
//!
//! A scan's position is saved in the transaction of the page it stands for, so that the next run goes on
//! exactly behind what is stored. The watermark moves when a scan has completed, and only forward. History and changes have
//! a scan each, so a long historical load and the daily run do not get in each other's way.

use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection};

use super::error::{Error, could_not};
use super::sql::{query, query_as, query_scalar};
use crate::object::Object;

/// What a scan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanKind {
    /// A first load or a backfill: from the beginning of a listing to its end.
    History,
    /// A daily run.
    Changes,
}

impl ScanKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ScanKind::History => "history",
            ScanKind::Changes => "changes",
        }
    }
}

/// One walk through the listings of an object, maybe over several runs.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Scan {
    /// When it began: changes after this may have been missed and are the next scan's business.
    pub started_at: DateTime<Utc>,
    /// Older records are left out.
    pub since: Option<DateTime<Utc>>,
    /// Which of the object's listings is being read.
    pub listing: i32,
    pub offset: i64,
    /// The record that the next page has to begin with.
    pub seam: Option<String>,
    /// The latest modification seen.
    pub newest: Option<DateTime<Utc>>,
}

impl Scan {
    pub fn starting(now: DateTime<Utc>, since: Option<DateTime<Utc>>) -> Scan {
        Scan { started_at: now, since, listing: 0, offset: 0, seam: None, newest: None }
    }
}

/// The instant before which every change of an object is stored.
pub async fn watermark(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<Option<DateTime<Utc>>, Error> {
    query_scalar("select watermark from planhat_sync.cursors where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .fetch_optional(db)
        .await
        .map_err(could_not("read the watermark"))
}

pub async fn unfinished_scan(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    kind: ScanKind,
) -> Result<Option<Scan>, Error> {
    query_as(
        "select started_at, since, listing, \"offset\", seam, newest from planhat_sync.scans
         where workspace = $1 and object = $2 and scan = $3",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(kind.as_str())
    .fetch_optional(db)
    .await
    .map_err(could_not("read the position of an unfinished scan"))
}

/// Saves the position of a scan, if the run still holds the lease: a run that was taken for dead must
/// not move the position of its successor.
pub async fn save_scan(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    kind: ScanKind,
    scan: &Scan,
    run_id: i64,
) -> Result<(), Error> {
    let saved = query(
        "insert into planhat_sync.scans (workspace, object, scan, started_at, since, listing, \"offset\", seam, newest)
         select $1, $2, $3, $4, $5, $6, $7, $8, $9
         where exists (select from planhat_sync.leases where workspace = $1 and run_id = $10)
         on conflict (workspace, object, scan) do update set started_at = excluded.started_at, since = excluded.since,
             listing = excluded.listing, \"offset\" = excluded.\"offset\", seam = excluded.seam, newest = excluded.newest",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(kind.as_str())
    .bind(scan.started_at)
    .bind(scan.since)
    .bind(scan.listing)
    .bind(scan.offset)
    .bind(&scan.seam)
    .bind(scan.newest)
    .bind(run_id)
    .execute(db)
    .await
    .map_err(could_not("save the position of a scan"))?;
    if saved.rows_affected() == 1 { Ok(()) } else { Err(Error::LeaseLost { run_id }) }
}

/// Moves the watermark, never backwards. Returns where it stands.
pub async fn move_watermark(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    watermark: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    query_scalar(
        "insert into planhat_sync.cursors as old (workspace, object, watermark) values ($1, $2, $3)
         on conflict (workspace, object) do update
         set watermark = greatest(old.watermark, excluded.watermark), updated_at = now()
         returning watermark",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(watermark)
    .fetch_one(db)
    .await
    .map_err(could_not("move the watermark"))
}

/// Ends a scan, so that the next one starts from the beginning.
pub async fn end_scan(db: &mut PgConnection, workspace: &str, object: &Object, kind: ScanKind) -> Result<(), Error> {
    query("delete from planhat_sync.scans where workspace = $1 and object = $2 and scan = $3")
        .bind(workspace)
        .bind(object.name)
        .bind(kind.as_str())
        .execute(db)
        .await
        .map_err(could_not("end a scan"))?;
    Ok(())
}

/// Forgets how far an object was read: its table is gone, so it is loaded from the beginning.
pub async fn forget_object(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<(), Error> {
    for kind in [ScanKind::History, ScanKind::Changes] {
        end_scan(&mut *db, workspace, object, kind).await?;
    }
    query("delete from planhat_sync.cursors where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .execute(db)
        .await
        .map_err(could_not("forget a watermark"))?;
    Ok(())
}
