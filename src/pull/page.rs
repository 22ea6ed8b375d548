//! Stores a page: the columns it brings, its rows, what of it cannot be stored, and the scan's position.
//!
//! A page that changes nothing is not worth a write: its position is saved with one of the next.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use foldhash::fast::RandomState;
use planhat_api::Page;
use planhat_model::catalog::Object;
use planhat_model::flatten::{Columns, Row, flatten};
use planhat_model::record::{Record, Rejected};
use planhat_model::rules::Rules;
use planhat_model::scan::{Window, WindowVerdict};
use planhat_store::{self as store, PgConnection, RefusedRow, RowCounts, ScanKind, Target};
use tracing::warn;

use super::declarations::NewFields;
use super::repeats::RepeatFilter;
use super::{Pull, PullError, Purpose};

/// Pages that may be read again after a crash because they changed nothing.
const UNSAVED_PAGES: u32 = 20;

/// What was read since the position of a scan was last saved.
#[derive(Debug, Default)]
pub(super) struct UnsavedProgress {
    pub(super) pages: u32,
    /// The ids that a full scan was shown.
    seen: Vec<String>,
}

impl Pull<'_> {
    /// The table, its columns, and which of its records are in quarantine.
    pub(super) async fn prepare_table(&mut self) -> Result<(), PullError> {
        let prepared =
            if self.ctx.purpose.is_preview() { self.inspect_table().await } else { self.create_table_if_missing().await };
        prepared.map_err(|source| self.store_failed(source))?;
        match (&self.columns, &self.ctx.declarations.unknown) {
            (None, Some(source)) => Err(PullError::Undeclared { object: self.object.name, source: source.clone() }),
            _ => Ok(()),
        }
    }

    /// Makes the table where it may be made, and says in `columns` that it is there.
    async fn create_table_if_missing(&mut self) -> Result<(), store::StoreError> {
        let (workspace, object, declarations) = (&self.ctx.store.schema, self.object, self.ctx.declarations);
        let made = self.ctx.store.transaction(async |db| {
            let known = store::load_columns(&mut *db, workspace, object).await?;
            if declarations.new_fields(&known) == NewFields::Refused {
                return Ok(None);
            }
            if !store::table_exists(&mut *db, workspace, object).await? {
                store::create_table(&mut *db, workspace, object).await?;
            }
            let columns = store::load_columns(&mut *db, workspace, object).await?;
            store::recreate_dropped_columns(&mut *db, workspace, object, &columns).await?;
            let quarantined = store::ids_in_quarantine(db, workspace, object).await?;
            Ok(Some((columns, quarantined)))
        });
        if let Some((columns, quarantined)) = made.await? {
            (self.columns, self.quarantined, self.table_exists) = (Some(self.as_declared(columns)), quarantined, true);
        }
        Ok(())
    }

    /// Columns to which none of a custom field is added while its declaration is not known.
    pub(super) fn as_declared(&self, columns: Columns) -> Columns {
        match self.ctx.declarations.new_fields(&columns) {
            NewFields::Column | NewFields::Refused => columns,
            NewFields::Wait => columns.without_new_custom_columns(),
        }
    }

    /// Columns for what a page brings for the first time, in a transaction of its own: it locks the table
    /// against readers, so it has to be short. A column without values harms nobody if we die after it.
    async fn columns_for(&mut self, records: &[Record]) -> Result<Columns, store::StoreError> {
        let (workspace, object, declared) = (&self.ctx.store.schema, self.object, &self.ctx.declarations.declared);
        let columns = self.columns.take().unwrap_or_default();
        if self.table_is_full || !columns.would_grow(records) {
            return Ok(columns);
        }
        let grown = self.ctx.store.transaction(async |db| {
            store::lock_columns(&mut *db, workspace, object).await?;
            // Somebody else may have made some meanwhile.
            let mut columns = self.as_declared(store::load_columns(&mut *db, workspace, object).await?);
            let known = columns.len();
            let added = columns.grow(object, records, declared);
            store::add_columns(db, workspace, object, known, &added).await?;
            Ok(columns)
        });
        match grown.await {
            // Columns of the user, and dropped ones, count too: what is new goes to `_overflow`.
            Err(error) if error.refusal().is_some() => {
                self.table_is_full = true;
                self.report.warn(format!("{}: the table takes no more columns", object.name));
                Ok(columns)
            }
            grown => grown,
        }
    }

    /// Takes a page: what of it is in the window is stored, or compared.
    pub(super) async fn process_page(&mut self, page: Page) -> Result<(), store::StoreError> {
        if self.scan.offset == 0 && self.scan.newest_change_at.is_none() {
            // A clock of ours that is ahead must not vouch for changes that are still to come.
            self.scan.started_at = page.served_at.map_or(self.scan.started_at, |at| at.min(self.scan.started_at));
        }
        let newest: Vec<_> = page.records.iter().map(|record| record.newest_of(self.object.times())).collect();
        self.scan.newest_change_at = self.scan.newest_change_at.max(newest.iter().copied().max().flatten());
        (self.scan.offset, self.scan.overlap_id) = (page.next.offset.cast_signed(), page.next.overlap_id.clone());
        if self.kind == ScanKind::Full && !self.ctx.purpose.is_preview() {
            let rejected = page.rejected.iter().filter_map(|rejected| rejected.id.as_ref());
            self.unsaved.seen.extend(page.records.iter().map(|record| &record.id).chain(rejected).cloned());
        }
        let mut page = self.classify(page, newest).await?;
        // From here on nothing knows what must not be kept.
        if let Some(rules) = self.rules {
            page.apply(rules);
        }
        match self.ctx.purpose {
            Purpose::Store { run_id } => self.store(page, run_id).await,
            Purpose::Preview { diff } => self.preview(page, diff).await,
        }
    }

    /// Sorts the records of a page. What is older than the window is compared all the same if it is
    /// stored and cannot be told unchanged otherwise, or is stored as deleted: it is back. What is not stored lies outside the
    /// history, whatever its times say.
    async fn classify(&mut self, page: Page, newest: Vec<Option<DateTime<Utc>>>) -> Result<ClassifiedPage, store::StoreError> {
        let repeats = &mut self.report.repeats;
        let mut page = ClassifiedPage::by(self.window, self.object, &self.quarantined, repeats, page, newest);
        if page.older.is_empty() {
            return Ok(page);
        }
        let ids: Vec<&str> = page.older.iter().map(|(record, ..)| record.id.as_str()).collect();
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let mut stored: HashMap<String, bool> = HashMap::new();
        if self.table_exists {
            let found =
                self.ctx.store.transaction(async |db| store::deletion_marks_of(db, workspace, object, &ids).await).await?;
            stored.extend(found);
        }
        for (record, newest, verdict) in std::mem::take(&mut page.older) {
            match (stored.get(&record.id), verdict) {
                (Some(true), _) | (Some(false), WindowVerdict::IfStored) => page.take(record, newest),
                _ if page.again.remove(&record.id) => page.listed_again += 1,
                (Some(false), WindowVerdict::Unchanged) => page.unchanged += 1,
                _ => page.outside_history += 1,
            }
        }
        Ok(page)
    }

    async fn store(&mut self, page: ClassifiedPage, run_id: i64) -> Result<(), store::StoreError> {
        let columns = self.columns_for(&page.taken).await?;
        let stored = self.store_page(&columns, page, run_id).await;
        self.columns = Some(columns);
        stored
    }

    /// Everything about one page in one transaction.
    async fn store_page(&mut self, columns: &Columns, page: ClassifiedPage, run_id: i64) -> Result<(), store::StoreError> {
        let pages = page.pages;
        let rows = flatten(columns, &self.ignore_changes, &page.taken);
        let action_policy = self.ctx.limits.timeline.action_policy(self.is_load);
        let target =
            Target { schema: &self.ctx.store.schema, object: self.object, columns, run_id, action_policy, rules: self.rules };

        let committed = match self.commit(target, &page, &rows, false).await {
            Err(error) => match error.refusal() {
                // The database's words may quote a value; they are for the quarantine alone.
                Some((_, sqlstate)) => {
                    warn!(object = self.object.name, sqlstate, "the database refused a page: looking for the record");
                    self.commit(target, &page, &rows, true).await
                }
                None => Err(error),
            },
            committed => committed,
        };
        let CommittedPage { counts, refused, released, saved } = committed?;
        match saved {
            Some(saves) => self.mark_saved(saves),
            None => self.unsaved.pages += pages,
        }
        self.count_rejections(&page, &refused);
        self.report.add(self.object, &page, &rows, counts, &refused);
        for id in released {
            self.quarantined.remove(&id);
        }
        self.quarantined.extend(page.rejected.into_iter().chain(refused).filter_map(|rejected| rejected.id));
        Ok(())
    }

    /// Commits rows, quarantined records and the scan's position. `in_halves` finds the rows that the
    /// database refuses and puts them into quarantine too.
    async fn commit(
        &self,
        target: Target<'_>,
        page: &ClassifiedPage,
        rows: &[Row<'_>],
        bisect: bool,
    ) -> Result<CommittedPage, store::StoreError> {
        let work = async |db: &mut PgConnection| self.commit_once(db, target, page, rows, bisect).await;
        // The changes of a day are few, and worth the wait for the disk.
        if self.is_load { self.ctx.store.transaction_async_commit(work).await } else { self.ctx.store.transaction(work).await }
    }

    async fn commit_once(
        &self,
        db: &mut PgConnection,
        target: Target<'_>,
        page: &ClassifiedPage,
        rows: &[Row<'_>],
        bisect: bool,
    ) -> Result<CommittedPage, store::StoreError> {
        let Target { schema: workspace, object, run_id, .. } = target;
        let (counts, refused) = if bisect {
            store::upsert_bisecting(&mut *db, target, rows).await?
        } else {
            (store::upsert(&mut *db, target, rows).await?, Vec::new())
        };
        let refused: Vec<Rejected> = refused.into_iter().filter_map(|refused| page.refuse(refused)).collect();
        let is_refused = |id: &str| refused.iter().any(|refused| refused.id.as_deref() == Some(id));
        let waiting = rows.iter().map(|row| row.id).filter(|id| self.quarantined.contains(*id));
        let released: Vec<&str> = waiting.filter(|id| !is_refused(id)).collect();
        store::release_stored(&mut *db, workspace, object, &released).await?;
        let rejected = page.rejected.iter().chain(&refused);
        let entries = self.report.rejected.entries(rejected, self.ctx.limits.quarantine_rows);
        store::quarantine_records(&mut *db, workspace, object, run_id, &entries).await?;
        let nothing_new = counts.changed_nothing() && released.is_empty() && entries.is_empty();
        let released = released.into_iter().map(str::to_owned).collect();
        let should_save = !nothing_new || self.unsaved.pages >= UNSAVED_PAGES;
        let saved = if should_save { Some(self.save(db, run_id).await?) } else { None };
        Ok(CommittedPage { counts, refused, released, saved })
    }

    /// Counts what was listed and rejected, for the rejection guard.
    pub(super) fn count_rejections(&mut self, page: &ClassifiedPage, refused: &[Rejected]) {
        for share in [&mut self.listing_rejections, &mut self.scan_rejections] {
            share.add(page.listed, page.rejected.iter().chain(refused));
        }
    }

    /// Saves the position alone.
    pub(super) async fn save_checkpoint(&mut self) -> Result<(), store::StoreError> {
        let Purpose::Store { run_id } = self.ctx.purpose else { return Ok(()) };
        let saves = self.ctx.store.transaction(async |db| self.save(db, run_id).await).await?;
        self.mark_saved(saves);
        Ok(())
    }

    /// The position, and what a full scan has seen on the way to it.
    pub(super) async fn save(&self, db: &mut PgConnection, run_id: i64) -> Result<i64, store::StoreError> {
        let workspace = &self.ctx.store.schema;
        store::save_listed_ids(&mut *db, workspace, self.object, &self.unsaved.seen).await?;
        store::save_checkpoint(db, workspace, self.object, self.kind, &self.scan, self.saved, run_id).await
    }

    pub(super) fn mark_saved(&mut self, saves: i64) {
        (self.unsaved, self.saved) = (UnsavedProgress::default(), Some(saves));
    }
}

/// What became of a page.
struct CommittedPage {
    counts: RowCounts,
    refused: Vec<Rejected>,
    /// The ids of those that were in quarantine.
    released: Vec<String>,
    /// With the position of the scan, for which time.
    saved: Option<i64>,
}

/// The records of a page, sorted by what becomes of them.
pub(super) struct ClassifiedPage {
    /// Each once: of records with the same id the last one counts.
    pub(super) taken: Vec<Record>,
    /// The time of the oldest of those.
    pub(super) oldest: Option<DateTime<Utc>>,
    /// Those that are older than the window, with the newest of their times.
    older: Vec<(Record, Option<DateTime<Utc>>, WindowVerdict)>,
    /// Those that are outside the history.
    pub(super) outside_history: usize,
    /// Those whose own times show that they are stored as they are.
    pub(super) unchanged: usize,
    pub(super) rejected: Vec<Rejected>,
    /// All records of the page.
    pub(super) listed: usize,
    /// The ids of those taken that an earlier listing has shown.
    pub(super) again: HashSet<String>,
    /// The others, but for those rejected, that were shown before.
    pub(super) listed_again: usize,
    pub(super) pages: u32,
}

impl ClassifiedPage {
    /// A record in quarantine is taken whatever its age, so that it is never lost sight of.
    fn by(
        window: Window,
        object: &Object,
        quarantined: &HashSet<String>,
        repeats: &mut RepeatFilter,
        page: Page,
        newest: Vec<Option<DateTime<Utc>>>,
    ) -> ClassifiedPage {
        let Page { records, rejected, pages, .. } = page;
        let mut sorted = ClassifiedPage { listed: records.len() + rejected.len(), pages, ..ClassifiedPage::empty() };
        sorted.rejected = rejected;
        let waits = |record: &Record| quarantined.contains(&record.id);
        let mut seen = HashSet::with_hasher(RandomState::default());
        let is_last: Vec<bool> = records.iter().rev().map(|record| seen.insert(record.id.as_str())).collect();
        let is_last: Vec<bool> = is_last.into_iter().rev().collect();
        sorted.listed_again = is_last.iter().filter(|is_last| !**is_last).count();
        for ((record, newest), _) in records.into_iter().zip(newest).zip(is_last).filter(|(_, is_last)| *is_last) {
            if repeats.was_listed_before(&record.id) {
                sorted.again.insert(record.id.clone());
            }
            match window.judge(object, &record, newest) {
                WindowVerdict::In => sorted.take(record, newest),
                _ if waits(&record) => sorted.take(record, newest),
                verdict => sorted.older.push((record, newest, verdict)),
            }
        }
        sorted
    }

    pub(super) fn empty() -> ClassifiedPage {
        ClassifiedPage {
            taken: Vec::new(),
            oldest: None,
            older: Vec::new(),
            outside_history: 0,
            unchanged: 0,
            rejected: Vec::new(),
            listed: 0,
            again: HashSet::new(),
            listed_again: 0,
            pages: 0,
        }
    }

    fn take(&mut self, record: Record, newest: Option<DateTime<Utc>>) {
        self.oldest = self.oldest.into_iter().chain(newest).min();
        self.taken.push(record);
    }

    fn apply(&mut self, rules: &Rules) {
        let applied: Vec<_> = self.taken.iter().map(|record| rules.apply(record)).collect();
        self.taken.clear();
        self.rejected =
            std::mem::take(&mut self.rejected).into_iter().map(|rejected| rules.apply_to_rejected(rejected)).collect();
        for applied in applied {
            match applied {
                Ok(record) => self.taken.push(record),
                Err(rejected) => {
                    rejected.id.as_ref().map(|id| self.again.remove(id));
                    self.rejected.push(rejected);
                }
            }
        }
    }

    /// The record behind a row that the database refused.
    fn refuse(&self, refused: RefusedRow) -> Option<Rejected> {
        let record = self.taken.iter().rfind(|record| record.id == refused.id)?;
        Some(record.refused(refused.reason, refused.sqlstate))
    }
}
