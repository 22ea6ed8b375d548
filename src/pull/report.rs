//! What a pull has done: the figures of a run, and what a person should know of.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::page::Sorted;
use crate::flatten::Row;
use crate::store::{Figures, ScanKind, Written};

/// What a pull has done, complete or not.
#[derive(Debug, Default)]
pub struct Report {
    /// None if it did not come so far as to know.
    pub scan: Option<ScanKind>,
    pub figures: Figures,
    pub watermark: Option<DateTime<Utc>>,
    /// Misfits by column.
    pub misfits: BTreeMap<String, u64>,
    /// Planhat names of what went to `_overflow`.
    pub overflowing: BTreeSet<String>,
    pub warnings: Vec<String>,
}

impl Report {
    /// Counts a page that has been committed.
    pub(super) fn add(&mut self, page: &Sorted, rows: &[Row], written: Written) {
        let figures = &mut self.figures;
        figures.pages += 1;
        figures.fetched += as_figure(page.fetched);
        figures.too_old += as_figure(page.too_old);
        figures.quarantined += as_figure(page.rejected.len());
        figures.inserted += written.inserted.cast_signed();
        figures.updated += written.updated.cast_signed();
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
    }
}

fn as_figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
