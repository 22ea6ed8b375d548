//! Counts, at the end of a run, the rows that refer to records that are not stored.
//!
//! Only what the run may have changed is counted: the references of the objects that it wrote to, and those to them; all of them
//! after a run that has read everything. A run does not depend on it: what cannot be counted in time keeps its last figure,
//! with the time of that count.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chrono::Utc;
use planhat_model::error::Chain;
use planhat_model::scan::ScanKind;
use planhat_store::{self as store, MissingReferences, ReferenceColumn, ReferenceColumns, ReferringProperty, Store};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::ObjectSummary;
use crate::pull::Limits;

/// After this long no further count is begun.
const ENOUGH: Duration = Duration::from_secs(60);

/// What a run has counted of one property.
#[derive(Debug, Clone, Serialize)]
pub struct ReferenceCount {
    #[serde(flatten)]
    pub missing: MissingReferences,
    /// Whether the object that is referred to has a table; otherwise nothing of it is stored.
    pub refers_to_table: bool,
    /// What was counted before, if anything was.
    #[serde(skip)]
    pub before: Option<MissingReferences>,
}

impl ReferenceCount {
    /// Whether a person has not been told of it yet.
    pub fn is_news(&self) -> bool {
        let figures = |of: &MissingReferences| (of.rows, of.absent_rows);
        self.before.as_ref().is_none_or(|before| figures(before) != figures(&self.missing))
    }
}

/// Counts what this run may have changed, and saves it.
pub(super) async fn count_references(
    store: &Store,
    run_id: i64,
    limits: &Limits,
    objects: &[ObjectSummary],
    run_stop: &CancellationToken,
) -> Vec<ReferenceCount> {
    if run_stop.is_cancelled() {
        return Vec::new();
    }
    let schema = &store.schema;
    let read = store.read_only(async |db| {
        let columns = store::reference_columns(&mut *db, schema, &limits.rules).await?;
        Ok((columns, store::missing_references(db, schema).await?))
    });
    let (columns, before) = match read.await {
        Ok(read) => read,
        Err(error) => {
            info!(error = %Chain(&error), "could not see which rows refer to others");
            return Vec::new();
        }
    };
    let counted = count_due(store, &columns, &before, &touched(objects), run_stop).await;
    let properties: Vec<ReferringProperty<'_>> = columns.open.iter().map(property_of).collect();
    let is_known = |of: &MissingReferences| properties.iter().any(|known| is_of(of, known));
    if counted.is_empty() && before.iter().all(is_known) {
        return counted;
    }
    let missing: Vec<MissingReferences> = counted.iter().map(|count| count.missing.clone()).collect();
    let saved = store.transaction_once(async |db| {
        store::fence(&mut *db, schema, run_id).await?;
        store::save_missing_references(db, schema, &missing, &properties).await
    });
    if let Err(error) = saved.await {
        info!(error = %Chain(&error), "could not save how many rows refer to records that are not stored");
    }
    counted
}

async fn count_due(
    store: &Store,
    columns: &ReferenceColumns,
    before: &[MissingReferences],
    touched: &BTreeSet<&str>,
    run_stop: &CancellationToken,
) -> Vec<ReferenceCount> {
    let begun = Instant::now();
    let mut counted = Vec::new();
    for column in &columns.open {
        if run_stop.is_cancelled() || begun.elapsed() > ENOUGH {
            break;
        }
        let before = before.iter().find(|of| is_of(of, &property_of(column)));
        let (object, property, refers_to) = (column.object.name, column.reference.property, column.reference.to);
        if before.is_some() && !touched.contains(object) && !touched.contains(refers_to) {
            continue;
        }
        let refers_to_table = columns.has_table(refers_to);
        let count = async |db: &mut store::PgConnection| store::count_missing(db, &store.schema, column, refers_to_table).await;
        match store.read_only(count).await {
            Ok(store::MissingRecords { rows, records, absent_rows, some_forgotten }) => {
                let [object, property, refers_to] = [object, property, refers_to].map(str::to_owned);
                let counted_at = Utc::now();
                let missing =
                    MissingReferences { object, property, refers_to, rows, records, absent_rows, some_forgotten, counted_at };
                counted.push(ReferenceCount { missing, refers_to_table, before: before.cloned() });
            }
            Err(error) => {
                info!(error = %Chain(&error), "could not count the rows of {object} by {property}: the last count stays")
            }
        }
    }
    counted
}

fn property_of(column: &ReferenceColumn) -> ReferringProperty<'static> {
    ReferringProperty { object: column.object.name, property: column.reference.property }
}

fn is_of(of: &MissingReferences, property: &ReferringProperty<'_>) -> bool {
    of.object == property.object && of.property == property.property
}

/// The objects whose rows the run has changed, all of which it has compared, or of which it may have noted absent records.
fn touched(objects: &[ObjectSummary]) -> BTreeSet<&'static str> {
    let is_touched = |summary: &&ObjectSummary| {
        let figures = summary.run.figures;
        let has_changed = figures.inserted + figures.updated + figures.restored + figures.deleted > 0;
        has_changed || matches!(summary.run.scan, Some(ScanKind::Full | ScanKind::Referenced))
    };
    objects.iter().filter(is_touched).map(|summary| summary.run.object).collect()
}
