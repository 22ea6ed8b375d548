//! What a pull has done: the figures of a run, and what a person should know of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tracing::info;

use super::page::Sorted;
use crate::flatten::Row;
use crate::object::Object;
use crate::store::{Figures, ScanKind, Written};

pub use super::preview::Preview;

/// A scan that takes longer says so often how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What a pull has done, complete or not.
#[derive(Debug, Default)]
pub struct Report {
    /// None if it did not come so far as to know.
    pub scan: Option<ScanKind>,
    pub figures: Figures,
    /// The time of the oldest record that was taken.
    pub oldest: Option<DateTime<Utc>>,
    pub watermark: Option<DateTime<Utc>>,
    /// Misfits by column.
    pub misfits: BTreeMap<String, u64>,
    /// Planhat names of what went to `_overflow`.
    pub overflowing: BTreeSet<String>,
    pub warnings: Vec<String>,
    /// What a dry run found.
    pub preview: Preview,
    told_at: Option<Instant>,
}

impl Report {
    /// Counts a page that has been committed.
    pub(super) fn add(&mut self, object: &Object, page: &Sorted, rows: &[Row], written: Written) {
        let figures = &mut self.figures;
        figures.pages += 1;
        figures.fetched += as_figure(page.fetched);
        figures.too_old += as_figure(page.too_old);
        figures.quarantined += as_figure(page.rejected.len());
        figures.inserted += written.inserted.cast_signed();
        figures.updated += written.updated.cast_signed();
        figures.restored += written.restored.cast_signed();
        figures.unchanged += written.unchanged.cast_signed();
        figures.mended += page.taken.iter().map(|record| record.mended_values.cast_signed()).sum::<i64>();
        for row in rows {
            figures.misfits += as_figure(row.misfits.len());
            figures.overflowed += i64::from(!row.overflow.is_empty());
            for column in row.misfits.keys() {
                *self.misfits.entry(column.clone()).or_default() += 1;
            }
            self.overflowing.extend(row.overflowing().map(str::to_owned));
        }
        let times = page.taken.iter().filter_map(|record| record.newest_of(object.modified.iter().chain(object.dated)));
        self.oldest = self.oldest.into_iter().chain(times).min();
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Says now and then how far a long scan is.
    pub(super) fn tell_progress(&mut self, object: &Object) {
        if self.told_at.get_or_insert_with(Instant::now).elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told_at = Some(Instant::now());
        let Figures { pages, fetched, inserted, updated, .. } = self.figures;
        let oldest = self.oldest.map(|oldest| oldest.format("%Y-%m-%d").to_string());
        info!(
            object = object.name,
            pages,
            rows.fetched = fetched,
            rows.inserted = inserted,
            rows.updated = updated,
            oldest,
            "{}: {pages} pages, {fetched} records, {} of them new or changed{}",
            object.name,
            inserted + updated,
            oldest.as_ref().map(|oldest| format!(", the oldest of {oldest}")).unwrap_or_default()
        );
    }
}

fn as_figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
