//! What a pull has done: the counts of a run, and what a person should know.
//!
//! The monitoring counters are increased here too, because this is where committed work is counted. Without a daemon nothing
//! collects them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use metrics::counter;
use planhat_model::catalog::{ColumnType, Object};
use planhat_model::flatten::Row;
use planhat_model::printable::on_one_line;
use planhat_model::record::Rejected;
use planhat_model::record::{Json, Shape};
use planhat_model::scan::ScanKind;
use planhat_store::{Figures, LeftOut, RowCounts};

use super::page::ClassifiedPage;
use super::rejected::RejectionTally;
use super::repeats::RepeatFilter;
use crate::progress::ObjectProgress;

pub use super::preview::Preview;

/// Values of a column that are kept to be shown, and characters of each.
const SAMPLES: usize = 3;
const SAMPLE_CHARACTERS: usize = 40;

/// What a pull has done, complete or not: everything that the run and a person learn of it.
#[derive(Debug, Default)]
pub struct Report {
    /// None if it did not come so far as to know.
    pub scan: Option<ScanKind>,
    /// Whether Planhat let us read it: an answer came.
    pub readable: bool,
    /// Whether every record there is was read and compared.
    pub saw_all: bool,
    pub figures: Figures,
    /// The time of the oldest record that was taken.
    pub oldest: Option<DateTime<Utc>>,
    pub watermark: Option<DateTime<Utc>>,
    /// What was left out as older than the history, if all records were listed.
    pub left_out: Option<LeftOut>,
    /// Misfits by column.
    pub misfits: BTreeMap<String, Misfits>,
    /// Planhat names of what went to `_overflow`.
    pub overflowing: BTreeSet<String>,
    pub warnings: Vec<String>,
    /// What a dry run found.
    pub preview: Preview,
    /// What could not be stored.
    pub(super) rejected: RejectionTally,
    pub(super) repeats: RepeatFilter,
}

/// The values of a column that its type cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfits {
    pub count: u64,
    /// The type that would hold them and the values that fit.
    pub would_fit: ColumnType,
    /// Some of them as JSON, each once and shortened: for a person at a terminal alone, since they may be personal.
    pub samples: Vec<String>,
}

impl Default for Misfits {
    fn default() -> Misfits {
        Misfits { count: 0, would_fit: ColumnType::Text, samples: Vec::new() }
    }
}

impl Misfits {
    /// Text holds every scalar, jsonb everything; no other type holds both the values that fit and those that do not.
    fn add(&mut self, value: Json<'_>) {
        self.count += 1;
        if matches!(value.shape(), Shape::Array | Shape::Object) {
            self.would_fit = ColumnType::Json;
        }
        if self.samples.len() < SAMPLES {
            let sample = shortened(value.as_written(), SAMPLE_CHARACTERS);
            if !self.samples.contains(&sample) {
                self.samples.push(sample);
            }
        }
    }
}

impl Report {
    /// Counts a page that has been committed, its rows in the order of its records.
    pub(super) fn add(
        &mut self,
        object: &Object,
        page: &ClassifiedPage,
        rows: &[Row<'_>],
        row_counts: RowCounts,
        refused: &[Rejected],
    ) {
        // Once, however often it is listed.
        let quarantined = self.rejected.add(page.rejected.iter().chain(refused));
        let counts = counts(page, row_counts, refused, quarantined);
        let refused_ids: HashSet<&str> = refused.iter().filter_map(|refused| refused.id.as_deref()).collect();
        let figures = &mut self.figures;
        figures.pages += i64::from(page.pages);
        counter!("planhat_sync_pages_total", "object" => object.name).increment(page.pages.into());
        counter!("planhat_sync_quarantined_total", "object" => object.name).increment(counts.quarantined as u64);
        figures.fetched += as_figure(counts.fetched);
        figures.listed_again += as_figure(counts.listed_again);
        figures.outside_history += as_figure(page.outside_history);
        figures.quarantined += as_figure(counts.quarantined);
        figures.forgotten += as_figure(page.forgotten);
        figures.inserted += row_counts.inserted.cast_signed();
        figures.updated += row_counts.updated.cast_signed();
        figures.restored += row_counts.restored.cast_signed();
        figures.unchanged += as_figure(counts.unchanged);
        count_rows(object, row_counts);
        let is_counted = |id: &str| !refused_ids.contains(id) && !page.again.contains(id);
        for (record, row) in page.taken.iter().zip(rows).filter(|(record, _)| is_counted(&record.id)) {
            figures.sanitized += record.sanitized_values.cast_signed();
            figures.misfits += as_figure(row.misfits.len());
            figures.overflowed += i64::from(!row.overflow.is_empty());
            for (column, value) in &row.misfits {
                counter!("planhat_sync_misfits_total", "object" => object.name).increment(1);
                self.misfits.entry((*column).to_owned()).or_default().add(*value);
            }
            self.overflowing.extend(row.overflowing().map(str::to_owned));
        }
        self.oldest = self.oldest.into_iter().chain(page.oldest).min();
    }

    /// Why records could not be stored, and which, if there are any.
    pub fn rejection_summary(&self) -> Option<String> {
        self.rejected.summary()
    }

    pub(super) fn warn(&mut self, warning: String) {
        // A pull may have several scans, each of which meets the same.
        if self.warnings.contains(&warning) {
            return;
        }
        self.warnings.push(warning);
    }

    pub(super) fn progress(&self) -> ObjectProgress {
        let Figures { pages, fetched, inserted, updated, restored, .. } = self.figures;
        ObjectProgress { pages, fetched, written: inserted + updated + restored, oldest: self.oldest, ended: false }
    }
}

/// The records of a page, each of them once.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    /// The sum of those that were inserted, updated or restored, are unchanged, too old, forgotten, or were quarantined.
    fetched: usize,
    unchanged: usize,
    quarantined: usize,
    /// Records already counted from an earlier listing; one that has changed since counts as updated instead.
    listed_again: usize,
}

fn counts(page: &ClassifiedPage, row_counts: RowCounts, refused: &[Rejected], quarantined: usize) -> Counts {
    let refused_again = refused.iter().filter(|refused| refused.id.as_ref().is_some_and(|id| page.again.contains(id))).count();
    let unchanged = usize::try_from(row_counts.unchanged).unwrap_or(usize::MAX);
    let unchanged_again = unchanged.min(page.again.len() - refused_again);
    let rejected_again = page.rejected.len() + refused.len() - quarantined;
    let listed_again = page.listed_again + rejected_again + unchanged_again;
    Counts {
        fetched: page.listed - listed_again,
        unchanged: page.unchanged + unchanged - unchanged_again,
        quarantined,
        listed_again,
    }
}

fn shortened(text: &str, characters: usize) -> String {
    let shown: String = text.chars().take(characters).collect();
    let cut = if text.chars().nth(characters).is_some() { "…" } else { "" };
    on_one_line(&shown).into_owned() + cut
}

fn count_rows(object: &Object, row_counts: RowCounts) {
    let RowCounts { inserted, updated, restored, unchanged, retyped: _ } = row_counts;
    for (operation, rows) in [("inserted", inserted), ("updated", updated), ("restored", restored), ("unchanged", unchanged)] {
        counter!("planhat_sync_rows_total", "object" => object.name, "operation" => operation).increment(rows);
    }
}

fn as_figure(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(id: Option<&str>, reason: &str, sqlstate: Option<&str>) -> Rejected {
        let (id, sqlstate) = (id.map(str::to_owned), sqlstate.map(str::to_owned));
        Rejected { id, sqlstate, ..Rejected::of_text("{}".to_owned(), reason.to_owned()) }
    }

    #[test]
    fn the_counts_of_a_page_add_up() {
        let mut page = ClassifiedPage::empty();
        // Ten listed: five taken, of them two again; three older, of them one again; two rejected, of them one again.
        (page.listed, page.outside_history, page.unchanged, page.listed_again) = (10, 1, 1, 1);
        page.rejected = vec![rejected(None, "no _id", None), rejected(None, "no _id", None)];
        page.again = ["a".to_owned(), "b".to_owned()].into();
        let refused = [rejected(Some("b"), "too deep", Some("54000"))];
        let row_counts = RowCounts { inserted: 1, updated: 0, restored: 0, unchanged: 3, retyped: 0 };

        // One of the three rejected was not rejected before.
        let counts = counts(&page, row_counts, &refused, 1);

        // Unchanged: two compared for the first time, and one by its times.
        assert_eq!(counts, Counts { fetched: 6, unchanged: 3, quarantined: 1, listed_again: 4 });
        assert_eq!(counts.fetched, 1 + counts.unchanged + page.outside_history + counts.quarantined);
    }

    #[test]
    fn the_suggested_type_holds_all_misfits_of_a_column() {
        let misfits = |values: &[&str]| {
            let mut misfits = Misfits::default();
            values.iter().for_each(|value| misfits.add(Json::trusted(value)));
            misfits
        };
        assert_eq!(misfits(&["\"n/a\"", "\"n/a\"", "true"]).would_fit, ColumnType::Text);
        assert_eq!(misfits(&["\"n/a\"", "\"n/a\"", "true"]).samples, ["\"n/a\"", "true"]);
        assert_eq!(misfits(&["\"n/a\"", "[1]"]).would_fit, ColumnType::Json);
    }
}
