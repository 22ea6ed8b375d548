//! Stores a page: the columns it brings, its rows, what of it cannot be stored, and the scan's position.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use tracing::warn;

use super::Pull;
use crate::flatten::{Columns, Row, flatten};
use crate::object::Object;
use crate::planhat::Page;
use crate::record::{Record, Rejected};
use crate::store::{self, Refused, Written};
use crate::window::Window;

impl Pull<'_> {
    /// The table, its columns, and which of its records are in quarantine.
    pub(super) async fn prepare_table(&mut self) -> Result<(), store::Error> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let prepared = store::patiently(async || {
            let mut tx = self.ctx.store.begin().await?;
            if !store::table_exists(&mut tx, workspace, object.name).await? {
                store::create_table(&mut tx, workspace, object).await?;
            }
            let columns = store::load_columns(&mut tx, workspace, object).await?;
            store::mend_columns(&mut tx, workspace, object, &columns).await?;
            let quarantined = store::ids_in_quarantine(&mut tx, workspace, object).await?;
            store::commit(tx).await?;
            Ok((columns, quarantined))
        });
        let (columns, quarantined) = prepared.await?;
        (self.columns, self.quarantined) = (Some(columns), quarantined);
        Ok(())
    }

    /// Columns for what a page brings for the first time, in a transaction of its own: it locks the table
    /// against readers, so it has to be short. A column without values harms nobody if we die after it.
    async fn columns_for(&mut self, records: &[Record]) -> Result<Columns, store::Error> {
        let (workspace, object, declared) = (&self.ctx.store.schema, self.object, self.ctx.declared);
        let columns = self.columns.take().unwrap_or_default();
        if self.table_is_full || !columns.would_grow(records) {
            return Ok(columns);
        }
        let grown = store::patiently(async || {
            let mut tx = self.ctx.store.begin().await?;
            store::lock_columns(&mut tx, workspace, object).await?;
            // Somebody else may have made some meanwhile.
            let mut columns = store::load_columns(&mut tx, workspace, object).await?;
            let known = columns.len();
            let added = columns.grow(object, records, declared);
            store::add_columns(&mut tx, workspace, object, known, &added).await?;
            store::commit(tx).await?;
            Ok(columns)
        });
        match grown.await {
            // Columns of the user, and dropped ones, count too: what is new goes to `_overflow`.
            Err(error) if error.refusal().is_some() => {
                self.table_is_full = true;
                self.report.warnings.push(format!("{}: the table takes no more columns", object.name));
                Ok(columns)
            }
            grown => grown,
        }
    }

    /// Everything about one page in one transaction.
    pub(super) async fn store(&mut self, page: Page) -> Result<(), store::Error> {
        self.scan.newest = self.scan.newest.max(newest_in(self.object, &page.records));
        (self.scan.offset, self.scan.seam) = (page.next.offset.cast_signed(), page.next.seam.clone());
        let mut page = Sorted::by(self.window, self.object, self.quarantined.as_ref(), page);
        let columns = self.columns_for(&page.taken).await?;
        let mut rows: Vec<_> = page.taken.iter().map(|record| flatten(&columns, record)).collect();

        let committed = match self.commit(&columns, &page, &rows, false).await {
            Err(error) => match error.refusal() {
                // The database's words may quote a value; they are for the quarantine alone.
                Some((_, sqlstate)) => {
                    warn!(object = self.object.name, sqlstate, "the database refused a page: looking for the record");
                    self.commit(&columns, &page, &rows, true).await
                }
                None => Err(error),
            },
            committed => committed,
        };
        self.columns = Some(columns);
        let (written, refused) = committed?;
        rows.retain(|row| !refused.iter().any(|refused| refused.id.as_deref() == Some(&row.id)));
        page.taken.retain(|record| !refused.iter().any(|refused| refused.id.as_deref() == Some(&record.id)));
        page.rejected.extend(refused);
        if !page.rejected.is_empty() {
            self.quarantined.get_or_insert_default().extend(page.rejected.iter().filter_map(|rejected| rejected.id.clone()));
        }
        self.report.add(&page, &rows, written);
        Ok(())
    }

    /// Commits rows, quarantined records and the scan's position. `in_halves` finds the rows that the
    /// database refuses and puts them into quarantine too.
    async fn commit(
        &self,
        columns: &Columns,
        page: &Sorted,
        rows: &[Row],
        in_halves: bool,
    ) -> Result<(Written, Vec<Rejected>), store::Error> {
        let (store, object, run_id) = (self.ctx.store, self.object, self.ctx.run_id);
        let workspace = &store.schema;
        let mut tx = store.begin().await?;
        let (written, refused) = if in_halves {
            store::upsert_in_halves(&mut tx, workspace, object, columns, rows, run_id).await?
        } else {
            (store::upsert(&mut tx, workspace, object, columns, rows, run_id).await?, Vec::new())
        };
        let refused: Vec<Rejected> = refused.into_iter().filter_map(|refused| page.refuse(refused)).collect();
        if self.quarantined.is_some() {
            let stored = rows.iter().map(|row| row.id.as_str());
            let stored: Vec<&str> =
                stored.filter(|id| !refused.iter().any(|refused| refused.id.as_deref() == Some(id))).collect();
            store::release_stored(&mut tx, workspace, object, &stored).await?;
        }
        store::put_in_quarantine(&mut tx, workspace, object, run_id, &page.rejected).await?;
        store::put_in_quarantine(&mut tx, workspace, object, run_id, &refused).await?;
        store::save_scan(&mut tx, workspace, object, self.kind, &self.scan, run_id).await?;
        store::commit(tx).await?;
        Ok((written, refused))
    }
}

/// The records of a page, sorted by what becomes of them.
pub(super) struct Sorted {
    /// Each once: of records with the same id the last one counts.
    pub(super) taken: Vec<Record>,
    pub(super) too_old: usize,
    pub(super) rejected: Vec<Rejected>,
    pub(super) fetched: usize,
}

impl Sorted {
    /// A record in quarantine is taken whatever its age, so that it is never lost sight of.
    fn by(window: Window, object: &Object, quarantined: Option<&HashSet<String>>, page: Page) -> Sorted {
        let fetched = page.records.len() + page.rejected.len();
        let waits = |record: &Record| quarantined.is_some_and(|ids| ids.contains(&record.id));
        let (mut taken, too_old): (Vec<_>, Vec<_>) =
            page.records.into_iter().partition(|record| window.takes(object, record) || waits(record));
        let mut seen = HashSet::new();
        taken.reverse();
        taken.retain(|record| seen.insert(record.id.clone()));
        taken.reverse();
        Sorted { taken, too_old: too_old.len(), rejected: page.rejected, fetched }
    }

    /// The record behind a row that the database refused.
    fn refuse(&self, refused: Refused) -> Option<Rejected> {
        let record = self.taken.iter().rfind(|record| record.id == refused.id)?;
        Some(record.refused(refused.reason, refused.sqlstate))
    }
}

fn newest_in(object: &Object, records: &[Record]) -> Option<DateTime<Utc>> {
    records.iter().filter_map(|record| record.newest_of(object.modified.iter().chain(object.dated))).max()
}
