//! Goes through what is stored of an object and masks it, or counts what would be masked: rows, actions, quarantine.
//!
//! `privacy apply` does it by the rules, `forget` for somebody who is forgotten. `status` and `check` only count, and only where
//! the rules of an object are not known to have been applied, for a second or two.

use std::time::{Duration, Instant};

use planhat_model::catalog::{self, Object};
use planhat_model::flatten::{Columns, IgnoredFields};
use planhat_model::rules::Rules;
use planhat_store::{self as store, MaskedCounts, MaskedTable, Masking, Pass, Store};

use crate::config::Settings;
use crate::workspace_status::Unmasked;

/// How long somebody who only looks waits for a count, over all objects.
const COUNTING: Duration = Duration::from_secs(2);
/// More need not be counted.
const MOST_COUNTED: u64 = 10_000;

/// What was masked of an object, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MaskedObject {
    pub(super) rows: MaskedCounts,
    pub(super) actions: MaskedCounts,
    pub(super) quarantined: MaskedCounts,
}

impl MaskedObject {
    pub(super) fn total(self) -> u64 {
        self.rows.masked + self.actions.masked + self.quarantined.masked
    }
}

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent {
    /// Through everything, and nothing is written.
    Count,
    /// Until this instant, or until there are many.
    CountUntil(Instant),
    /// Everything is masked, by the run that holds the lease.
    Write { run_id: i64 },
}

impl Extent {
    fn pass(self) -> Pass {
        match self {
            Extent::Count | Extent::CountUntil(_) => Pass::Count,
            Extent::Write { .. } => Pass::Write,
        }
    }

    fn is_reached(self, counted: MaskedObject) -> bool {
        matches!(self, Extent::CountUntil(until) if Instant::now() >= until || counted.total() >= MOST_COUNTED)
    }
}

/// Goes through the rows of an object, its actions and its records in quarantine. False beside the counts if it did not come to
/// the end of them.
pub(super) async fn mask_object(
    store: &Store,
    object: &'static Object,
    masking: Masking<'_>,
    ignore_changes: &IgnoredFields,
    extent: Extent,
) -> Result<(MaskedObject, bool), store::StoreError> {
    let (has_table, columns) = prepared(store, object, extent).await?;
    let table = MaskedTable { schema: &store.schema, object, columns: &columns, masking, pass: extent.pass() };
    let mut done = MaskedObject::default();
    let mut behind = has_table.then(String::new);
    while let Some(id) = behind {
        let (counts, next) =
            in_transaction(store, extent, async |db| store::mask_rows(db, table, ignore_changes, &id).await).await?;
        done.rows += counts;
        behind = next;
        if extent.is_reached(done) {
            return Ok((done, false));
        }
    }
    // What was never stored has no actions either.
    let mut behind = (!columns.is_empty()).then_some(0);
    while let Some(id) = behind {
        let (counts, next) = in_transaction(store, extent, async |db| store::mask_actions(db, table, id).await).await?;
        done.actions += counts;
        behind = next;
        if extent.is_reached(done) {
            return Ok((done, false));
        }
    }
    let mut behind = Some(0);
    while let Some(id) = behind {
        let (counts, next) = in_transaction(store, extent, async |db| store::mask_quarantine(db, table, id).await).await?;
        done.quarantined += counts;
        behind = next;
    }
    Ok((done, true))
}

/// Whether an object has a table, and its columns; where something is written, none of them is missing.
async fn prepared(store: &Store, object: &Object, extent: Extent) -> Result<(bool, Columns), store::StoreError> {
    let schema = &store.schema;
    in_transaction(store, extent, async |db| {
        let has_table = store::table_exists(&mut *db, schema, object).await?;
        let columns = store::load_columns(&mut *db, schema, object).await?;
        if has_table && extent.pass() == Pass::Write {
            store::recreate_dropped_columns(db, schema, object, &columns).await?;
        }
        Ok((has_table, columns))
    })
    .await
}

async fn in_transaction<T>(
    store: &Store,
    extent: Extent,
    work: impl AsyncFn(&mut store::PgConnection) -> Result<T, store::StoreError>,
) -> Result<T, store::StoreError> {
    match extent {
        Extent::Count | Extent::CountUntil(_) => store.read_only(async |db| work(db).await).await,
        Extent::Write { run_id } => {
            let fenced = async |db: &mut store::PgConnection| {
                let done = work(&mut *db).await?;
                store::fence(db, &store.schema, run_id).await?;
                Ok(done)
            };
            store.transaction(fenced).await
        }
    }
}

/// What is stored of objects from before their rules, as far as it can be counted quickly. Nothing is read of an object of
/// which everything is known to be under its rules.
pub(super) async fn unmasked(store: &Store, settings: &Settings) -> Result<Vec<Unmasked>, store::StoreError> {
    if settings.rules.is_empty() {
        return Ok(Vec::new());
    }
    let applied = store.read_only(async |db| store::applied_rules(db, &store.schema).await).await?;
    let is_applied = |object: &Object, rules: &Rules| applied.contains(&(object.name.to_owned(), rules.fingerprint()));
    let until = Instant::now() + COUNTING;
    let mut all = Vec::new();
    for (object, rules) in with_rules(settings).filter(|(object, rules)| !is_applied(object, rules)) {
        let ignored = IgnoredFields::default();
        let (counts, is_all) = mask_object(store, object, Masking::Rules(rules), &ignored, Extent::CountUntil(until)).await?;
        let MaskedObject { rows, actions, quarantined } = counts;
        let (rows, actions, quarantined) = (rows.masked, actions.masked, quarantined.masked);
        if counts.total() > 0 || !is_all {
            all.push(Unmasked { object: object.name, rows, actions, quarantined, is_lower_bound: !is_all });
        }
    }
    Ok(all)
}

/// The objects that have privacy rules, in the order of the catalogue.
pub(super) fn with_rules(settings: &Settings) -> impl Iterator<Item = (&'static Object, &Rules)> {
    catalog::OBJECTS.iter().filter_map(|object| Some((object, settings.rules.get(object.name)?)))
}

/// What is left of an object from before its rules, and what to do.
pub(super) fn unmasked_line(left: &Unmasked) -> String {
    let Unmasked { object, rows, actions, quarantined, is_lower_bound } = left;
    let apply = format!("`planhat-sync privacy apply {object} --yes` masks");
    if rows + actions + quarantined == 0 {
        return format!("{object}: values that were stored before its privacy rules may still be unmasked; {apply} them");
    }
    let at_least = if *is_lower_bound { "at least " } else { "" };
    let what = in_words(*rows, *actions, *quarantined);
    let (were, are, them) = if rows + actions + quarantined == 1 { ("was", "is", "it") } else { ("were", "are", "them") };
    format!("{object}: {at_least}{what} {were} stored before its privacy rules and {are} not masked; {apply} {them}")
}

/// `3 rows, 1 action and 2 texts in quarantine`; what there is none of is left out.
pub(super) fn in_words(rows: u64, actions: u64, quarantined: u64) -> String {
    let counted =
        |count: u64, one: &str, several: &str| (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { several }));
    let parts: Vec<String> = [
        counted(rows, "row", "rows"),
        counted(actions, "action", "actions"),
        counted(quarantined, "text in quarantine", "texts in quarantine"),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
