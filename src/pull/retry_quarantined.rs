//! Tries to store quarantined records again, from their kept texts, for `planhat-sync quarantine retry`.
//!
//! Planhat is not called, so no columns are created: a value without a column stays in `_overflow` until the next sync. A record
//! without an id cannot be stored, and the kept text of an object with privacy rules is masked, so both wait for the next sync
//! that lists them.

use std::sync::atomic::{AtomicU64, Ordering};

use planhat_model::catalog::Object;
use planhat_model::flatten::{IgnoredFields, flatten};
use planhat_model::record::Record;
use planhat_store::{self as store, Store, Target};
use serde_json::value::RawValue;

use super::Limits;

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryCounts {
    /// Records that are in their table now.
    pub stored: u64,
    /// Records that were refused once more.
    pub refused: u64,
}

/// Tries the records of an object for which there are no rules. Whoever calls it holds the lease as this run.
pub async fn retry_quarantined(
    store: &Store,
    limits: &Limits,
    object: &'static Object,
    run_id: i64,
) -> Result<RetryCounts, store::StoreError> {
    let (mut retried, mut last) = (RetryCounts::default(), 0);
    let workspace = &store.schema;
    let columns = store.transaction(async |db| {
        let there = store::table_exists(&mut *db, workspace, object).await?;
        let cursor = store::cursor(&mut *db, workspace, object).await?;
        let columns = store::load_columns(&mut *db, workspace, object).await?;
        Ok((there, cursor, columns, store::forgotten_records(db, workspace, object).await?))
    });
    let (true, cursor, columns, forgotten) = columns.await? else { return Ok(retried) };
    let columns = columns.without_new_columns();
    let ignore_changes = IgnoredFields::of(object, limits.ignore_changes.get(object.name), None);
    let target = Target {
        schema: workspace,
        object,
        columns: &columns,
        run_id,
        action_policy: limits.timeline.action_policy(false),
        created_since: cursor.map(|cursor| cursor.watermark - limits.lookback),
        rules: None,
        ignore_changes: &ignore_changes,
        stored: None,
    };
    let rules = limits.rules.get(object.name);
    loop {
        let texts = store.read_only(async |db| store::texts_in_quarantine(db, workspace, object, rules, last).await).await?;
        let Some((latest, _)) = texts.last() else { return Ok(retried) };
        last = *latest;
        let tried = texts.len() as u64;
        let readable = texts.into_iter().filter_map(|(_, text)| Record::parse(RawValue::from_string(text).ok()?).ok());
        let records: Vec<Record> = readable.filter(|record| !forgotten.has(object.name, &record.id)).collect();
        let rows = flatten(&columns, &ignore_changes, &records);
        // If the answer to the commit is lost, the next attempt finds nothing to release any more.
        let most_released = AtomicU64::new(0);
        let stored = store.transaction(async |db| {
            let (_, refused) = store::upsert_bisecting(&mut *db, target, &rows).await?;
            let is_refused = |id: &str| refused.iter().any(|refused| refused.id == id);
            let stored: Vec<&str> = rows.iter().map(|row| row.id).filter(|id| !is_refused(id)).collect();
            let released = store::release_stored(&mut *db, workspace, object, &stored).await?;
            store::fence(db, workspace, run_id).await?;
            Ok(most_released.fetch_max(released, Ordering::Relaxed).max(released))
        });
        let stored = stored.await?;
        retried.stored += stored;
        retried.refused += tried.saturating_sub(stored);
    }
}
