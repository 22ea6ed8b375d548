//! How far each object has been read: its watermark, and the checkpoints of its unfinished scans.
//!
//! A scan's checkpoint is saved in the transaction of the page it stands for, so that the next run resumes exactly
//! behind what is stored. The watermark moves when a scan has completed, and only forward. Each kind of scan has a
//! checkpoint of its own, so a long historical load and the daily run do not get in each other's way.
//!
//! A full scan also saves the ids that it was shown, with the checkpoint they belong to: what is in the
//! table and was not shown may be deleted.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use planhat_model::scan::{History, ScanKind};
use sqlx::{FromRow, PgConnection};

use crate::Store;
use crate::data::deletions::save_listed_ids;
use crate::sql::{query, query_as, query_scalar};
use crate::state::leases::{fence, wait_for_commits};
use crate::store_error::{StoreError, could_not};

/// Pages that may be read again after a crash because they changed nothing.
const UNSAVED_PAGES: u32 = 20;
/// Ids of such pages that are kept in memory, for a full scan. Large pages have many.
const UNSAVED_IDS: usize = 2000;

/// How far a scan has come, and what it is about. It may have been begun in an earlier run.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct ScanProgress {
    /// When the scan began: later changes may have been missed and are left to the next scan.
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
    /// The fingerprint of the privacy rules when the scan began; none if there were none.
    pub rules_fingerprint: Option<i64>,
    /// Records that were listed so far and left out as older than the history.
    pub left_out: i64,
}

impl ScanProgress {
    pub fn starting(now: DateTime<Utc>, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> ScanProgress {
        ScanProgress {
            started_at: now,
            since,
            until,
            listing: String::new(),
            offset: 0,
            overlap_id: None,
            newest_change_at: None,
            rules_fingerprint: None,
            left_out: 0,
        }
    }

    /// The same scan at the beginning of another listing.
    #[must_use]
    pub fn at_start_of(&self, listing: String) -> ScanProgress {
        ScanProgress { listing, offset: 0, overlap_id: None, ..self.clone() }
    }
}

/// A scan that was begun and not ended, as it was saved last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedScan {
    pub kind: ScanKind,
    pub progress: ScanProgress,
    /// The number of its checkpoint.
    pub number: i64,
}

/// How a page advances its scan.
#[derive(Debug)]
pub struct PageStep {
    /// Where the scan is behind the page.
    pub progress: ScanProgress,
    pub pages: u32,
    /// The ids that it has shown, for a full scan.
    pub listed_ids: Vec<String>,
}

/// What was done in the transaction of a page, and whether that alone is worth saving a checkpoint.
#[derive(Debug)]
pub struct PageWork<T> {
    pub done: T,
    pub has_changes: bool,
    /// Whether it writes actions: then the commit waits for the disk in any case.
    pub has_actions: bool,
}

/// Whether a commit waits until it is on the database's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It does.
    Waits,
    /// It does not, unless it writes actions: pages of a load, which a crash of the database may undo.
    MayBeLost,
}

/// The checkpoint of a scan at work: nothing else writes its row.
///
/// Each commit of it is fenced by the lease of its run: a run that was taken for dead moves no checkpoint of its successor.
/// Checkpoints are numbered, and each commit expects the number before it, because a database that dies may have forgotten
/// commits that did not wait for its disk. If the answer to a commit is lost, the number shows before the next attempt that it was made,
/// and what that attempt has done counts.
#[derive(Debug)]
pub struct ScanCheckpoint<'a> {
    store: &'a Store,
    object: &'static Object,
    kind: ScanKind,
    run_id: i64,
    durability: Durability,
    /// The number in the database; none if it has none of this scan.
    number: Option<i64>,
    /// Whether some checkpoint of this scan is on the database's disk: then only the end of the scan can have removed it.
    is_on_disk: bool,
    /// Pages that were committed without a checkpoint, since they changed nothing.
    unsaved_pages: u32,
    /// The ids that these have shown.
    unsaved_ids: Vec<String>,
}

impl<'a> ScanCheckpoint<'a> {
    /// For a scan that begins, of which nothing is saved.
    pub fn of_new_scan(
        store: &'a Store,
        object: &'static Object,
        kind: ScanKind,
        run_id: i64,
        durability: Durability,
    ) -> ScanCheckpoint<'a> {
        let (number, unsaved_ids) = (None, Vec::new());
        ScanCheckpoint { store, object, kind, run_id, durability, number, is_on_disk: false, unsaved_pages: 0, unsaved_ids }
    }

    /// The same for a scan that resumes from the checkpoint of this number.
    #[must_use]
    pub fn resuming(self, number: i64) -> ScanCheckpoint<'a> {
        ScanCheckpoint { number: Some(number), ..self }
    }

    /// The run that holds the lease.
    pub fn run_id(&self) -> i64 {
        self.run_id
    }

    /// Whether the database has a checkpoint of this scan.
    pub fn is_saved(&self) -> bool {
        self.number.is_some()
    }

    /// Commits what `work` does together with the checkpoint behind it. A page that changes nothing is not worth a write:
    /// its checkpoint is saved with one of the next.
    pub async fn commit_page<T>(
        &mut self,
        step: &PageStep,
        work: impl AsyncFn(&mut PgConnection) -> Result<PageWork<T>, StoreError>,
    ) -> Result<T, StoreError> {
        self.commit(step, self.durability, work).await
    }

    async fn commit<T>(
        &mut self,
        step: &PageStep,
        durability: Durability,
        work: impl AsyncFn(&mut PgConnection) -> Result<PageWork<T>, StoreError>,
    ) -> Result<T, StoreError> {
        let attempt = Attempt::default();
        let transaction = async |db: &mut PgConnection| {
            if let Some(number) = attempt.look(|(_, number, _)| *number).flatten()
                && self.was_committed(&mut *db, &step.progress, number).await?
            {
                return Ok(());
            }
            let PageWork { done, has_changes, has_actions } = work(&mut *db).await?;
            let ids = self.unsaved_ids.len() + step.listed_ids.len();
            let is_due = has_changes || self.unsaved_pages >= UNSAVED_PAGES || ids > UNSAVED_IDS;
            let number = if is_due { Some(self.save_in(db, &step.progress, &step.listed_ids).await?) } else { None };
            attempt.has_done((done, number, has_actions));
            Ok(())
        };
        match durability {
            Durability::Waits => self.store.transaction(transaction).await?,
            Durability::MayBeLost => self.store.transaction_async_commit(transaction).await?,
        }
        let (done, number, has_actions) = attempt.committed().ok_or(self.lost())?;
        match number {
            Some(number) => {
                self.is_saved_as(number);
                self.is_on_disk |= durability == Durability::Waits || has_actions;
            }
            None => {
                self.unsaved_pages += step.pages;
                self.unsaved_ids.extend(step.listed_ids.iter().cloned());
            }
        }
        Ok(done)
    }

    /// Saves a checkpoint for the pages that were committed without one, before the scan pauses.
    pub async fn save_before_pause(&mut self, progress: &ScanProgress) -> Result<(), StoreError> {
        if self.unsaved_pages > 0 { self.save(progress, async |_| Ok(())).await } else { Ok(()) }
    }

    /// Commits what `work` does and saves a checkpoint, on the disk.
    pub async fn save<T>(
        &mut self,
        progress: &ScanProgress,
        work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let step = PageStep { progress: progress.clone(), pages: 0, listed_ids: Vec::new() };
        self.commit(&step, Durability::Waits, async |db| {
            Ok(PageWork { done: work(db).await?, has_changes: true, has_actions: false })
        })
        .await
    }

    /// Ends the scan in one transaction with `work`, after checking that the run still holds its lease. Fails where the database has forgotten
    /// the last checkpoint.
    pub async fn end_scan<T>(&self, work: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let attempt = Attempt::default();
        let ended = self.store.transaction(async |db| {
            if attempt.look(|_| ()).is_some() && self.has_ended(&mut *db).await? {
                return Ok(());
            }
            fence(&mut *db, &self.store.schema, self.run_id).await?;
            if let Some(number) = self.number
                && self.saved(&mut *db).await?.is_none_or(|saved| saved.number != number)
            {
                return Err(self.lost());
            }
            let done = work(&mut *db).await?;
            end_scan(db, &self.store.schema, self.object, self.kind).await?;
            attempt.has_done(done);
            Ok(())
        });
        ended.await?;
        attempt.committed().ok_or(self.lost())
    }

    /// Drops the scan: the next one of its kind reads everything again.
    pub async fn drop_scan(&mut self) -> Result<(), StoreError> {
        let dropped = self.store.transaction(async |db| {
            fence(&mut *db, &self.store.schema, self.run_id).await?;
            end_scan(db, &self.store.schema, self.object, self.kind).await
        });
        dropped.await?;
        (self.number, self.unsaved_pages, self.is_on_disk) = (None, 0, false);
        self.unsaved_ids.clear();
        Ok(())
    }

    fn is_saved_as(&mut self, number: i64) {
        (self.number, self.unsaved_pages) = (Some(number), 0);
        self.unsaved_ids.clear();
    }

    /// Saves the checkpoint and the ids that were shown on the way to it, last in a transaction. Returns its number.
    pub async fn save_in(
        &self,
        db: &mut PgConnection,
        progress: &ScanProgress,
        listed_ids: &[String],
    ) -> Result<i64, StoreError> {
        let schema = &self.store.schema;
        save_listed_ids(&mut *db, schema, self.object, &[&self.unsaved_ids[..], listed_ids].concat()).await?;
        const FIRST: &str = "with held as (select from planhat_sync.leases where workspace = $1 and run_id = $12 for share)
             insert into planhat_sync.scans as scans
                 (workspace, object, scan, started_at, since, until, listing, \"offset\", overlap_id, newest_change_at,
                  rules_fingerprint, left_out, checkpoint_number)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $14, 1
             from held where $13::bigint is null
             on conflict (workspace, object, scan) do update set started_at = excluded.started_at, since = excluded.since,
                 until = excluded.until, listing = excluded.listing, \"offset\" = excluded.\"offset\",
                 overlap_id = excluded.overlap_id, newest_change_at = excluded.newest_change_at,
                 rules_fingerprint = excluded.rules_fingerprint, left_out = excluded.left_out, checkpoint_number = scans.checkpoint_number + 1
             returning checkpoint_number";
        const NEXT: &str = "with held as (select from planhat_sync.leases where workspace = $1 and run_id = $12 for share)
             update planhat_sync.scans set started_at = $4, since = $5, until = $6, listing = $7, \"offset\" = $8,
                 overlap_id = $9, newest_change_at = $10, rules_fingerprint = $11, left_out = $14, checkpoint_number = $13 + 1
             from held
             where workspace = $1 and object = $2 and scan = $3 and checkpoint_number = $13
             returning checkpoint_number";
        let saved: Option<i64> = query_scalar(if self.number.is_some() { NEXT } else { FIRST })
            .bind(schema)
            .bind(self.object.name)
            .bind(self.kind.as_str())
            .bind(progress.started_at)
            .bind(progress.since)
            .bind(progress.until)
            .bind(&progress.listing)
            .bind(progress.offset)
            .bind(&progress.overlap_id)
            .bind(progress.newest_change_at)
            .bind(progress.rules_fingerprint)
            .bind(self.run_id)
            .bind(self.number)
            .bind(progress.left_out)
            .fetch_optional(&mut *db)
            .await
            .map_err(could_not("save the position of a scan"))?;
        if let Some(number) = saved {
            return Ok(number);
        }
        fence(db, schema, self.run_id).await?;
        Err(self.lost())
    }

    /// Whether the commit was made whose answer was lost: then its checkpoint is there. A scan before may have come to the same number.
    async fn was_committed(&self, db: &mut PgConnection, progress: &ScanProgress, number: i64) -> Result<bool, StoreError> {
        wait_for_commits(&mut *db, &self.store.schema, self.run_id).await?;
        let is_it =
            |saved: SavedPosition| saved.number == number && saved.listing == progress.listing && saved.offset == progress.offset;
        Ok(self.saved(db).await?.is_some_and(is_it))
    }

    /// Whether the end of the scan was committed, and the answer lost: then there is no checkpoint any more. One that was not on the disk may
    /// have been lost with the server.
    async fn has_ended(&self, db: &mut PgConnection) -> Result<bool, StoreError> {
        if !self.is_on_disk {
            return Ok(false);
        }
        wait_for_commits(&mut *db, &self.store.schema, self.run_id).await?;
        Ok(self.saved(db).await?.is_none())
    }

    /// The checkpoint in the database.
    async fn saved(&self, db: &mut PgConnection) -> Result<Option<SavedPosition>, StoreError> {
        query_as(
            "select checkpoint_number as number, listing, \"offset\" from planhat_sync.scans
             where workspace = $1 and object = $2 and scan = $3",
        )
        .bind(&self.store.schema)
        .bind(self.object.name)
        .bind(self.kind.as_str())
        .fetch_optional(db)
        .await
        .map_err(could_not("read the position of an unfinished scan"))
    }

    fn lost(&self) -> StoreError {
        StoreError::CheckpointLost { object: self.object.name }
    }
}

#[derive(Debug, FromRow)]
struct SavedPosition {
    number: i64,
    listing: String,
    offset: i64,
}

/// What the last attempt at a commit has done. The connection may be lost with the answer to the commit. If it was made all the same,
/// what was done in it cannot be found out a second time.
#[derive(Debug)]
struct Attempt<T>(Mutex<Option<T>>);

impl<T> Default for Attempt<T> {
    fn default() -> Attempt<T> {
        Attempt(Mutex::new(None))
    }
}

impl<T> Attempt<T> {
    fn has_done(&self, done: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
    }

    /// None before there was an attempt.
    fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(look)
    }

    fn committed(self) -> Option<T> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far an object is known to be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Cursor {
    /// The instant before which every change is stored.
    pub watermark: DateTime<Utc>,
    /// When everything was last compared.
    pub reconciled_at: Option<DateTime<Utc>>,
    /// How many calls that took, if it was done in one go.
    pub full_scan_calls: Option<i64>,
}

pub async fn cursor(db: &mut PgConnection, workspace: &str, object: &Object) -> Result<Option<Cursor>, StoreError> {
    query_as("select watermark, reconciled_at, full_scan_calls from planhat_sync.cursors where workspace = $1 and object = $2")
        .bind(workspace)
        .bind(object.name)
        .fetch_optional(db)
        .await
        .map_err(could_not("read the watermark"))
}

/// How many calls the last complete scans of these objects took together, as far as they were counted.
pub async fn full_scan_calls(db: &mut PgConnection, workspace: &str, objects: &[&str]) -> Result<u64, StoreError> {
    let calls: i64 = query_scalar(
        "select coalesce(sum(full_scan_calls), 0)::bigint from planhat_sync.cursors where workspace = $1 and object = any($2)",
    )
    .bind(workspace)
    .bind(objects)
    .fetch_one(db)
    .await
    .map_err(could_not("read how many calls it takes to compare everything"))?;
    Ok(calls.cast_unsigned())
}

/// The unfinished scans of an object, at most one of each kind.
pub async fn unfinished_scans(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
) -> Result<Vec<UnfinishedScan>, StoreError> {
    #[derive(FromRow)]
    struct Saved {
        kind: String,
        number: i64,
        #[sqlx(flatten)]
        progress: ScanProgress,
    }
    let scans: Vec<Saved> = query_as(
        "select scan as kind, checkpoint_number as number, started_at, since, until, listing, \"offset\", overlap_id,
             newest_change_at, rules_fingerprint, left_out
         from planhat_sync.scans where workspace = $1 and object = $2",
    )
    .bind(workspace)
    .bind(object.name)
    .fetch_all(db)
    .await
    .map_err(could_not("read the position of an unfinished scan"))?;
    scans
        .into_iter()
        .map(|Saved { kind, number, progress }| {
            let known = ScanKind::ALL.into_iter().find(|known| known.as_str() == kind);
            let kind = known.ok_or(StoreError::UnknownValue { column: "scans.scan", value: kind })?;
            Ok(UnfinishedScan { kind, progress, number })
        })
        .collect()
}

/// Moves the cursor, never backwards, and writes nothing if it does not move. Returns the watermark after
/// that.
pub async fn move_cursor(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    Cursor { watermark, reconciled_at, full_scan_calls }: Cursor,
) -> Result<DateTime<Utc>, StoreError> {
    query(
        "insert into planhat_sync.cursors as old (workspace, object, watermark, reconciled_at, full_scan_calls)
         values ($1, $2, $3, $4, $5)
         on conflict (workspace, object) do update
         set watermark = greatest(old.watermark, excluded.watermark),
             reconciled_at = greatest(old.reconciled_at, excluded.reconciled_at),
             full_scan_calls = coalesce(excluded.full_scan_calls, old.full_scan_calls), updated_at = now()
         where old.watermark < excluded.watermark
             or old.reconciled_at is distinct from greatest(old.reconciled_at, excluded.reconciled_at)",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(watermark)
    .bind(reconciled_at)
    .bind(full_scan_calls)
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

/// Deletes the checkpoint of a scan, so that the next scan starts from the beginning.
async fn end_scan(db: &mut PgConnection, workspace: &str, object: &Object, kind: ScanKind) -> Result<(), StoreError> {
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

/// Ends an unfinished history scan that went back no further than the history of the object when it began: a full scan has
/// read all of that now.
pub async fn end_covered_history(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    history: History,
) -> Result<(), StoreError> {
    let seconds = match history {
        History::Within(duration) => Some(duration.as_secs_f64()),
        History::All => None,
    };
    query(
        "delete from planhat_sync.scans where workspace = $1 and object = $2 and scan = 'history'
             and ($3::float8 is null or since >= started_at - make_interval(secs => $3))",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(seconds)
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

/// Deletes cursors, checkpoints and states of all objects: the next rows come from another workspace, or nothing is stored.
pub async fn reset_workspace(db: &mut PgConnection, workspace: &str) -> Result<(), StoreError> {
    for forget in [
        "delete from planhat_sync.scans where workspace = $1",
        "delete from planhat_sync.listed_ids where workspace = $1",
        "delete from planhat_sync.cursors where workspace = $1",
        "delete from planhat_sync.object_states where workspace = $1",
        "delete from planhat_sync.missing_references where workspace = $1",
        "delete from planhat_sync.absent_records where workspace = $1",
    ] {
        query(forget).bind(workspace).execute(&mut *db).await.map_err(could_not("forget how far objects were read"))?;
    }
    Ok(())
}

/// Deletes the cursor and checkpoints of an object: its table was dropped, so it is loaded from the beginning.
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
