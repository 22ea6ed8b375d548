//! What a pull has done: the figures of a run, and what a person should know of.
//!
//! Counters for monitoring move here too, since here is counted what has been committed; without a daemon
//! nobody collects them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use metrics::counter;

use super::page::Sorted;
use super::rejected::Tally;
use crate::flatten::Row;
use crate::object::Object;
use crate::progress::Progress;
use crate::record::Rejected;
use crate::store::{Figures, ScanKind, Written};

pub use super::preview::Preview;

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
    /// What could not be stored.
    pub(super) rejected: Tally,
}

impl Report {
    /// Counts a page that has been committed, its rows in the order of its records.
    pub(super) fn add(&mut self, object: &Object, page: &Sorted, rows: &[Row<'_>], written: Written, refused: &[Rejected]) {
        // Once, however often it is listed.
        let quarantined = self.rejected.add(page.rejected.iter().chain(refused));
        let refused: HashSet<&str> = refused.iter().filter_map(|refused| refused.id.as_deref()).collect();
        let figures = &mut self.figures;
        figures.pages += i64::from(page.pages);
        counter!("planhat_sync_pages_total", "object" => object.name).increment(page.pages.into());
        counter!("planhat_sync_quarantined_total", "object" => object.name).increment(quarantined as u64);
        figures.fetched += as_figure(page.fetched);
        figures.too_old += as_figure(page.too_old);
        figures.quarantined += as_figure(quarantined);
        figures.inserted += written.inserted.cast_signed();
        figures.updated += written.updated.cast_signed();
        figures.restored += written.restored.cast_signed();
        figures.unchanged += written.unchanged.cast_signed();
        count_rows(object, written);
        for (record, row) in page.taken.iter().zip(rows).filter(|(record, _)| !refused.contains(&*record.id)) {
            figures.mended += record.mended_values.cast_signed();
            figures.misfits += as_figure(row.misfits.len());
            figures.overflowed += i64::from(!row.overflow.is_empty());
            for (column, _) in &row.misfits {
                counter!("planhat_sync_misfits_total", "object" => object.name).increment(1);
                *self.misfits.entry((*column).to_owned()).or_default() += 1;
            }
            self.overflowing.extend(row.overflowing().map(str::to_owned));
        }
        self.oldest = self.oldest.into_iter().chain(page.oldest).min();
    }

    /// Why an object is not complete of which records could not be stored.
    pub fn why_partial(&self) -> Option<String> {
        self.rejected.summary()
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    pub(super) fn progress(&self) -> Progress {
        let Figures { pages, fetched, inserted, updated, restored, .. } = self.figures;
        Progress { pages, fetched, written: inserted + updated + restored, oldest: self.oldest, ended: false }
    }
}

fn count_rows(object: &Object, written: Written) {
    let Written { inserted, updated, restored, unchanged } = written;
    for (operation, rows) in [("inserted", inserted), ("updated", updated), ("restored", restored), ("unchanged", unchanged)] {
        counter!("planhat_sync_rows_total", "object" => object.name, "operation" => operation).increment(rows);
    }
}

fn as_figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
