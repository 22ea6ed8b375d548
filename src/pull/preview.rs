//! A page in a dry run: compared with the stored rows, and nothing written.
//!
//! A record may be listed several times, in another sort order or with the archived ones. A run would find it stored the second
//! time, so a dry run has to remember which records it has counted. It remembers hashes of the ids of new and changed
//! records, up to a maximum; beyond that, its counts are a lower bound.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use planhat_model::flatten::{Column, Columns, Row, flatten};
use planhat_store::{self as store, Difference, PageDiff, StoreError, Target};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::Report;
use super::declarations::NewFields;
use super::page::ClassifiedPage;
use super::table_writer::TableWriter;

/// Records that are shown one by one; the figures have them all.
const MAX_SHOWN_RECORDS: usize = 1000;
/// Records that are remembered as counted; some 16 MB.
const MAX_COUNTED_RECORDS: usize = 1_000_000;

/// What a run would do to one table.
#[derive(Debug, Default, Serialize)]
pub struct Preview {
    pub creates_table: bool,
    pub columns: Vec<NewColumn>,
    /// With `--diff`: what would be inserted or updated.
    pub records: Vec<PlannedChange>,
    /// Those that were too many to show.
    pub not_shown: usize,
    /// More records than can be remembered would be inserted or updated, so the figures are a lower bound.
    pub is_lower_bound: bool,
    /// The ids, as hashes, of those that were counted.
    #[serde(skip)]
    counted: HashSet<u64, RandomState>,
}

#[derive(Debug, Serialize)]
pub struct NewColumn {
    pub column: String,
    pub r#type: &'static str,
    pub planhat_name: String,
    pub origin: &'static str,
}

/// What would become of a record.
#[derive(Debug, Serialize)]
pub struct PlannedChange {
    pub id: String,
    pub inserted: bool,
    /// Empty for one that would be inserted.
    pub changes: Vec<store::Difference>,
}

impl Preview {
    /// Each once: a further scan of the object finds that they are not there either.
    fn add_columns(&mut self, added: Vec<Column>) {
        for Column { name, kind, origin, planhat_name } in added {
            if !self.columns.iter().any(|known| known.column == name) {
                self.columns.push(NewColumn { column: name, r#type: kind.sql(), planhat_name, origin: origin.as_str() });
            }
        }
    }

    /// Leaves out of a page's figures what was counted before: a run would find it stored.
    fn count_once(&mut self, found: &mut PageDiff<'_>) {
        let PageDiff { counts, new, changed, restored, .. } = found;
        let mut is_counted = |row: &&Row<'_>, figure: &mut u64, unchanged: &mut u64| {
            let is_counted = self.counts(row.id);
            if !is_counted {
                *figure -= 1;
                *unchanged += 1;
            }
            is_counted
        };
        new.retain(|row| is_counted(row, &mut counts.inserted, &mut counts.unchanged));
        changed.retain(|row| {
            let figure = if restored.contains(row.id) { &mut counts.restored } else { &mut counts.updated };
            is_counted(row, figure, &mut counts.unchanged)
        });
    }

    /// Shows the records of a page that would be inserted or updated, as many as there is room for.
    fn show(&mut self, found: &PageDiff<'_>, differences: &[Difference], room: usize) {
        let inserted = |row: &&Row<'_>| PlannedChange { id: row.id.to_owned(), inserted: true, changes: Vec::new() };
        let updated = |row: &&Row<'_>| PlannedChange {
            id: row.id.to_owned(),
            inserted: false,
            changes: differences.iter().filter(|difference| difference.id == row.id).cloned().collect(),
        };
        let mut planned: Vec<PlannedChange> = found.new.iter().map(inserted).chain(found.changed.iter().map(updated)).collect();
        planned.sort_by(|one, other| one.id.cmp(&other.id));
        self.not_shown += planned.len().saturating_sub(room);
        self.records.extend(planned.into_iter().take(room));
    }

    /// Whether this record, which would be inserted or updated, counts for the first time.
    fn counts(&mut self, id: &str) -> bool {
        let id = xxh3_64(id.as_bytes());
        if self.counted.len() >= MAX_COUNTED_RECORDS {
            self.is_lower_bound |= !self.counted.contains(&id);
            return false;
        }
        self.counted.insert(id)
    }
}

impl TableWriter<'_> {
    /// The columns there are, of a table that may not be there yet, and those that a run would add at its start.
    pub(super) async fn inspect_table(&mut self, report: &mut Report) -> Result<(), StoreError> {
        let (schema, object) = (&self.ctx.store.schema, self.object);
        let mut columns = Columns::default();
        if self.ctx.store.is_set_up().await? {
            let inspected = self.ctx.store.read_only(async |db| {
                let exists = store::table_exists(&mut *db, schema, object).await?;
                let columns = store::load_columns(&mut *db, schema, object).await?;
                Ok((exists, columns, store::forgotten_records(db, schema, object).await?))
            });
            (self.exists, columns, self.forgotten) = inspected.await?;
        }
        report.preview.creates_table = !self.exists;
        if self.ctx.declarations.new_fields(&columns) != NewFields::Refused {
            let mut columns = self.as_declared(columns);
            report.preview.add_columns(columns.add_known(object, &self.ctx.declarations.declared));
            self.columns = Some(columns);
        }
        Ok(())
    }

    /// Says what storing a page would do: how many records would be inserted, updated and restored, and which columns
    /// would be added; with `diff` which records and what of them too.
    pub(super) async fn preview(&mut self, page: &ClassifiedPage, diff: bool, report: &mut Report) -> Result<(), StoreError> {
        let mut columns = self.columns.clone().unwrap_or_default();
        let added = columns.grow(self.object, &page.taken, &self.ctx.declarations.declared);
        let rows = flatten(&columns, &self.ignored_fields, &page.taken);
        // No run writes it.
        let target = self.target(&columns, 0);
        let room = if diff { MAX_SHOWN_RECORDS.saturating_sub(report.preview.records.len()) } else { 0 };
        let (mut found, differences) = self.compare(target, &rows, room).await?;
        report.preview.count_once(&mut found);
        if diff {
            report.preview.show(&found, &differences, room);
        }
        report.preview.add_columns(added);
        report.add(self.object, page, &rows, found.counts, &[]);
        drop(found);
        drop(rows);
        self.columns = Some(columns);
        Ok(())
    }

    /// Compares rows with those that are stored, column by column where there is room to show it.
    async fn compare<'r>(
        &self,
        target: Target<'_>,
        rows: &'r [Row<'r>],
        room: usize,
    ) -> Result<(PageDiff<'r>, Vec<Difference>), StoreError> {
        let compared = self.ctx.store.read_only(async |db| {
            if !self.exists {
                return Ok((PageDiff::of_new(rows), Vec::new()));
            }
            let found = store::compare(&mut *db, target, rows).await?;
            let is_shown = !found.changed.is_empty() && room > 0;
            let differences = if is_shown { store::differences(db, target, &found.changed).await? } else { Vec::new() };
            Ok((found, differences))
        });
        compared.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_counts_each_record_once_up_to_a_maximum() {
        let mut preview = Preview::default();
        assert_eq!(["a", "b", "a"].map(|id| preview.counts(id)), [true, true, false]);
        preview.counted.extend(0..MAX_COUNTED_RECORDS as u64);
        assert!(!preview.counts("a") && !preview.is_lower_bound);
        assert!(!preview.counts("c") && preview.is_lower_bound);
    }
}
