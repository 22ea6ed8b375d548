//! A dry run's page: compared with what is stored, and nothing written.
//!
//! A record may be listed several times, by another order or with the archived ones. A run would find it stored the second
//! time; a dry run has to remember what it has counted. It remembers hashes of ids, of new and changed records alone, and
//! so many at most: of a workspace with more of them it says what is there at least.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use planhat_model::flatten::{Columns, Row, flatten};
use planhat_store::{self as store, ActionPolicy, PageDiff, RowCounts, Target};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use super::Pull;
use super::declarations::NewFields;
use super::page::ClassifiedPage;

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
    /// There are more to insert or update than could be told apart, so the figures say what is there at least.
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

impl Pull<'_> {
    /// The columns there are, of a table that may not be there yet.
    pub(super) async fn inspect_table(&mut self) -> Result<(), store::StoreError> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let mut columns = Columns::default();
        if self.ctx.store.is_set_up().await? {
            let looked = self.ctx.store.read_only(async |db| {
                let there = store::table_exists(&mut *db, workspace, object).await?;
                Ok((there, store::load_columns(db, workspace, object).await?))
            });
            (self.table_exists, columns) = looked.await?;
        }
        self.report.preview.creates_table = !self.table_exists;
        if self.ctx.declarations.new_fields(&columns) != NewFields::Refused {
            self.columns = Some(self.as_declared(columns));
        }
        Ok(())
    }

    /// Says what storing a page would do.
    pub(super) async fn preview(&mut self, page: ClassifiedPage, diff: bool) -> Result<(), store::StoreError> {
        let mut columns = self.columns.take().unwrap_or_default();
        let added = columns.grow(self.object, &page.taken, &self.ctx.declarations.declared);
        let rows = flatten(&columns, &self.ignore_changes, &page.taken);
        let target = Target {
            schema: &self.ctx.store.schema,
            object: self.object,
            columns: &columns,
            run_id: 0,
            action_policy: ActionPolicy::None,
            rules: self.rules,
        };

        let room = MAX_SHOWN_RECORDS.saturating_sub(self.report.preview.records.len());
        let looked = self.ctx.store.read_only(async |db| {
            if !self.table_exists {
                let row_counts = RowCounts { inserted: rows.len() as u64, ..RowCounts::default() };
                let compared =
                    PageDiff { counts: row_counts, new: rows.iter().collect(), changed: Vec::new(), restored: HashSet::new() };
                return Ok((compared, Vec::new()));
            }
            let compared = store::compare(&mut *db, target, &rows).await?;
            let shown = diff && !compared.changed.is_empty() && room > 0;
            let differences = if shown { store::differences(db, target, &compared.changed).await? } else { Vec::new() };
            Ok((compared, differences))
        });
        let (PageDiff { counts: mut row_counts, mut new, mut changed, restored }, differences) = looked.await?;
        // What was counted before, a run would find stored.
        let mut counts = |row: &&Row<'_>, figure: &mut u64| {
            let counts = self.report.preview.counts(row.id);
            if !counts {
                *figure -= 1;
                row_counts.unchanged += 1;
            }
            counts
        };
        new.retain(|row| counts(row, &mut row_counts.inserted));
        changed.retain(|row| {
            counts(row, if restored.contains(row.id) { &mut row_counts.restored } else { &mut row_counts.updated })
        });

        if diff {
            let inserted = |row: &&Row<'_>| PlannedChange { id: row.id.to_owned(), inserted: true, changes: Vec::new() };
            let updated = |row: &&Row<'_>| PlannedChange {
                id: row.id.to_owned(),
                inserted: false,
                changes: differences.iter().filter(|difference| difference.id == row.id).cloned().collect(),
            };
            let mut would: Vec<PlannedChange> = new.iter().map(inserted).chain(changed.iter().map(updated)).collect();
            would.sort_by(|one, other| one.id.cmp(&other.id));
            self.report.preview.not_shown += would.len().saturating_sub(room);
            self.report.preview.records.extend(would.into_iter().take(room));
        }
        self.report.preview.columns.extend(added.into_iter().map(|column| NewColumn {
            column: column.name,
            r#type: column.kind.sql(),
            planhat_name: column.planhat_name,
            origin: column.origin.as_str(),
        }));
        self.count_rejections(&page, &[]);
        self.report.add(self.object, &page, &rows, row_counts, &[]);
        drop(rows);
        self.columns = Some(columns);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_once_and_of_too_many_those_that_can_be_told_apart_do() {
        let mut preview = Preview::default();
        assert_eq!(["a", "b", "a"].map(|id| preview.counts(id)), [true, true, false]);
        preview.counted.extend(0..MAX_COUNTED_RECORDS as u64);
        assert!(!preview.counts("a") && !preview.is_lower_bound);
        assert!(!preview.counts("c") && preview.is_lower_bound);
    }
}
