//! A dry run's page: compared with what is stored, and nothing written.

use std::collections::HashSet;

use serde::Serialize;
use sqlx::types::Json;

use super::Pull;
use super::page::Sorted;
use crate::flatten::{Columns, Row, flatten};
use crate::store::{self, Compared, Difference, Noted, Target, Written};

/// Records that are shown one by one; the figures have them all.
const MOST_SHOWN: usize = 1000;

/// What a run would do to one table.
#[derive(Debug, Default, Serialize)]
pub struct Preview {
    pub makes_the_table: bool,
    pub columns: Vec<NewColumn>,
    /// With `--diff`: what would be inserted or updated.
    pub records: Vec<Would>,
    /// Those that were too many to show.
    pub not_shown: usize,
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
pub struct Would {
    pub id: String,
    pub inserted: bool,
    /// Empty for one that would be inserted.
    pub changes: Vec<store::Difference>,
}

impl Pull<'_> {
    /// The columns there are, of a table that may not be there yet.
    pub(super) async fn look_at_table(&mut self) -> Result<(), store::Error> {
        let (workspace, object) = (&self.ctx.store.schema, self.object);
        let mut columns = Columns::default();
        if self.ctx.store.is_set_up().await? {
            let looked = self.ctx.store.look(async |db| {
                let there = store::table_exists(&mut *db, workspace, object).await?;
                Ok((there, store::load_columns(db, workspace, object).await?))
            });
            (self.table_exists, columns) = looked.await?;
        }
        self.report.preview.makes_the_table = !self.table_exists;
        self.columns = Some(columns);
        Ok(())
    }

    /// Says what storing a page would do.
    pub(super) async fn preview(&mut self, mut page: Sorted, diff: bool) -> Result<(), store::Error> {
        page.leave_out_what_came_before();
        let mut columns = self.columns.take().unwrap_or_default();
        let added = columns.grow(self.object, &page.taken, self.ctx.declared);
        let rows = flatten(&columns, &self.volatile, &page.taken);
        let target = Target {
            schema: &self.ctx.store.schema,
            object: self.object,
            columns: &columns,
            run_id: 0,
            noted: Noted::Nothing,
            rules: self.rules,
        };

        let room = MOST_SHOWN.saturating_sub(self.report.preview.records.len());
        let looked = self.ctx.store.look(async |db| {
            if !self.table_exists {
                let written = Written { inserted: rows.len() as u64, ..Written::default() };
                let compared = Compared { written, new: rows.iter().collect(), changed: Vec::new(), restored: HashSet::new() };
                return Ok((compared, Vec::new()));
            }
            let compared = store::compare(&mut *db, target, &rows).await?;
            let shown = diff && !compared.changed.is_empty() && room > 0;
            let mut differences = if shown { store::differences(db, target, &compared.changed).await? } else { Vec::new() };
            for Difference { column, old, .. } in &mut differences {
                *old = old.take().map(|Json(old)| Json(store::old_as_it_may_be_kept(target, column, old)));
            }
            Ok((compared, differences))
        });
        let (Compared { written, new, changed, .. }, differences) = looked.await?;

        if diff {
            let inserted = |row: &&Row<'_>| Would { id: row.id.to_owned(), inserted: true, changes: Vec::new() };
            let updated = |row: &&Row<'_>| Would {
                id: row.id.to_owned(),
                inserted: false,
                changes: differences.iter().filter(|difference| difference.id == row.id).cloned().collect(),
            };
            let mut would: Vec<Would> = new.iter().map(inserted).chain(changed.iter().map(updated)).collect();
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
        self.report.add(self.object, &page, &rows, written, &[]);
        drop(rows);
        self.columns = Some(columns);
        Ok(())
    }
}
