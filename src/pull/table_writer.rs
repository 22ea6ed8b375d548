//! Writes the rows of a page: the columns it brings first, then its rows, actions, quarantined records and the checkpoint
//! behind it, as one commit.
//!
//! Until it is written, a row takes some times as much memory as its record: as cells and as parameters of statements. So a large page is
//! written in parts, in the same transaction: while PostgreSQL stores one, the next one is made. The actions come behind all of them,
//! because other pages with actions wait for the commit from then on.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use planhat_model::error::Chain;
use planhat_model::flatten::{Columns, IgnoredFields, Row, flatten};
use planhat_model::record::{Record, Rejected};
use planhat_model::rules::{ForgottenRecords, Rules};
use planhat_store::{
    self as store, Action, ActionPolicy, IdFilter, PageStep, PageWork, PgConnection, RowCounts, ScanCheckpoint, StoreError,
    Target,
};
use tracing::warn;

use super::decide::{NewRows, Plan};
use super::declarations::NewFields;
use super::page::ClassifiedPage;
use super::rejected::RejectionTally;
use super::{Context, PullError, Report};

/// The table of an object, as far as it is known.
pub(super) struct TableWriter<'a> {
    pub(super) ctx: &'a Context<'a>,
    pub(super) object: &'static Object,
    pub(super) rules: Option<&'a Rules>,
    pub(super) ignored_fields: IgnoredFields,
    action_policy: ActionPolicy,
    created_since: Option<DateTime<Utc>>,
    pub(super) exists: bool,
    /// None before it was prepared.
    pub(super) columns: Option<Columns>,
    /// The table has been found to take no more columns.
    is_full: bool,
    /// The records that were stored since the table was found empty; none where it had rows.
    stored: Option<IdFilter>,
    /// Records of this object in quarantine that have an id, to be released when they arrive whole.
    quarantined: HashSet<String>,
    /// Records that are not stored, and people who are left out of those that are. Read when the scan begins, and again when
    /// it continues after a pause: between the two `planhat-sync forget` may have had the lease.
    pub(super) forgotten: ForgottenRecords,
}

/// What the records of a part may have as text. A page of a hundred records has less, so it is one part.
const PART_BYTES: usize = 512 * 1024;
/// What the actions of a page may have as text before they are written: they have every value that has changed, twice.
const ACTIONS_BYTES: usize = 1024 * 1024;

/// What is written of a page.
struct PageRows<'a, 't> {
    page: &'a ClassifiedPage,
    target: Target<'a>,
    /// The records that the run has rejected before.
    tally: &'t RejectionTally,
}

/// What was committed for a page.
struct CommittedPage<'a> {
    /// In the order of the records, without their cells.
    rows: Vec<Row<'a>>,
    counts: RowCounts,
    refused: Vec<Rejected>,
    /// The ids of those that were in quarantine.
    released: Vec<String>,
}

/// How the rows of a page are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    AllAtOnce,
    /// In ever smaller parts, to find the rows that the database refuses: they are quarantined too.
    Bisecting,
}

impl<'a> TableWriter<'a> {
    pub(super) fn new(ctx: &'a Context<'a>, object: &'static Object, plan: &Plan) -> TableWriter<'a> {
        TableWriter {
            ctx,
            object,
            rules: ctx.limits.rules_of(object),
            ignored_fields: ctx.limits.ignored_fields_of(object),
            action_policy: ctx.limits.timeline.action_policy(plan.new_rows == NewRows::Loaded),
            created_since: plan.created_since,
            exists: false,
            columns: None,
            is_full: false,
            stored: None,
            quarantined: HashSet::new(),
            forgotten: ForgottenRecords::default(),
        }
    }

    pub(super) fn is_prepared(&self) -> bool {
        self.columns.is_some()
    }

    /// Makes the table where it may be made, or looks at it in a dry run.
    pub(super) async fn prepare(&mut self, report: &mut Report) -> Result<(), PullError> {
        let is_preview = self.ctx.purpose.is_preview();
        let prepared = match is_preview {
            true => self.inspect_table(report).await,
            false => self.create_table_if_missing().await,
        };
        prepared.map_err(|source| PullError::Store { object: self.object.name, source })?;
        if !is_preview {
            self.make_join_columns(report).await;
        }
        match (&self.columns, &self.ctx.declarations.unknown) {
            (None, Some(source)) => Err(PullError::Undeclared { object: self.object.name, source: source.clone() }),
            _ => Ok(()),
        }
    }

    /// The same, for records that may have properties which no column should be created for.
    pub(super) async fn prepare_without_new_columns(&mut self, report: &mut Report) -> Result<(), PullError> {
        self.prepare(report).await?;
        self.columns = self.columns.take().map(Columns::without_new_columns);
        Ok(())
    }

    async fn create_table_if_missing(&mut self) -> Result<(), StoreError> {
        let (schema, object, declarations) = (&self.ctx.store.schema, self.object, self.ctx.declarations);
        let rules = self.rules.map(Rules::fingerprint);
        let made = self.ctx.store.transaction(async |db| {
            let known = store::load_columns(&mut *db, schema, object).await?;
            if declarations.new_fields(&known) == NewFields::Refused {
                return Ok(None);
            }
            let is_new = !store::table_exists(&mut *db, schema, object).await?;
            if is_new {
                store::create_table(&mut *db, schema, object).await?;
                // Who cannot be granted anything is named at the start of a run.
                store::grant_missing(&mut *db, schema, &self.ctx.store.readers).await?;
            }
            store::note_rules_in_use(&mut *db, schema, object, rules, is_new).await?;
            let columns = store::load_columns(&mut *db, schema, object).await?;
            store::recreate_dropped_columns(&mut *db, schema, object, &columns).await?;
            let quarantined = store::ids_in_quarantine(&mut *db, schema, object).await?;
            let forgotten = store::forgotten_records(&mut *db, schema, object).await?;
            let columns = self.add_known_columns(&mut *db, self.as_declared(columns)).await?;
            let is_empty = store::is_empty_table(db, schema, object).await?;
            Ok(Some((columns, quarantined, forgotten, is_empty)))
        });
        if let Some((columns, quarantined, forgotten, is_empty)) = made.await? {
            (self.columns, self.quarantined, self.exists) = (Some(columns), quarantined, true);
            self.forgotten = forgotten;
            self.stored = is_empty.then(IdFilter::default);
        }
        Ok(())
    }

    /// Gives the table its columns for joins, in a transaction of its own: in a table of an earlier release that rewrites
    /// every row. Where it cannot be had, the table goes on without.
    async fn make_join_columns(&self, report: &mut Report) {
        let (schema, object) = (&self.ctx.store.schema, self.object);
        let Some(columns) = &self.columns else { return };
        let made = self.ctx.store.transaction_once(async |db| store::make_join_columns(db, schema, object, columns).await);
        let Some(obstacle) = made.await.unwrap_or_else(Some) else { return };
        if !self.ctx.stop.is_cancelled() {
            let (name, obstacle) = (object.name, Chain(&obstacle));
            report.warn(format!("{name}: could not make the columns for joins: {obstacle}; the next sync tries again"));
        }
    }

    /// Adds the columns of what is documented or declared, whether it has values or not. Where that is not possible now,
    /// everything goes on without: a property that has values gets its column with them.
    async fn add_known_columns(&self, db: &mut PgConnection, columns: Columns) -> Result<Columns, StoreError> {
        let (schema, object, declared) = (&self.ctx.store.schema, self.object, &self.ctx.declarations.declared);
        if columns.clone().add_known(object, declared).is_empty() {
            return Ok(columns);
        }
        let added = store::if_allowed(db, async |db| {
            store::lock_columns(&mut *db, schema, object).await?;
            // Another process may have added some in the meantime.
            let mut columns = self.as_declared(store::load_columns(&mut *db, schema, object).await?);
            let known = columns.len();
            let added = columns.add_known(object, declared);
            store::add_columns(db, schema, object, known, &added).await?;
            Ok(columns)
        });
        match added.await? {
            Ok(columns) => Ok(columns),
            Err(error) => {
                warn!(
                    error = %Chain(&error),
                    "{object}: columns for properties without values could not be added; the next sync tries again",
                    object = object.name
                );
                Ok(columns)
            }
        }
    }

    /// The columns with what is declared of custom fields; while that is unknown, no column for a new one may be added.
    pub(super) fn as_declared(&self, columns: Columns) -> Columns {
        let declarations = self.ctx.declarations;
        let new_fields = declarations.new_fields(&columns);
        let columns = columns.with_custom_sets(declarations.declared.custom_sets_of(self.object));
        match new_fields {
            NewFields::Column | NewFields::Refused => columns,
            NewFields::Wait => columns.without_new_custom_columns(),
        }
    }

    pub(super) fn has_forgotten(&self, id: &str) -> bool {
        self.forgotten.has(self.object.name, id)
    }

    pub(super) fn has_in_quarantine(&self, id: &str) -> bool {
        self.quarantined.contains(id)
    }

    /// Which of these records are stored, and whether as deleted.
    pub(super) async fn deletion_marks_of(&self, ids: &[&str]) -> Result<HashMap<String, bool>, StoreError> {
        if ids.is_empty() || !self.exists {
            return Ok(HashMap::new());
        }
        let (schema, object) = (&self.ctx.store.schema, self.object);
        let found = self.ctx.store.transaction(async |db| store::deletion_marks_of(db, schema, object, ids).await).await?;
        Ok(found.into_iter().collect())
    }

    /// The table as rows are written to it.
    pub(super) fn target<'t>(&'t self, columns: &'t Columns, run_id: i64) -> Target<'t> {
        let (schema, object) = (&self.ctx.store.schema, self.object);
        Target {
            schema,
            object,
            columns,
            run_id,
            action_policy: self.action_policy,
            created_since: self.created_since,
            rules: self.rules,
            ignore_changes: &self.ignored_fields,
            stored: self.stored.as_ref(),
        }
    }

    /// Stores a page. Returns the records that the database refused.
    pub(super) async fn store(
        &mut self,
        page: &ClassifiedPage,
        checkpoint: &mut ScanCheckpoint<'_>,
        step: &PageStep,
        report: &mut Report,
    ) -> Result<Vec<Rejected>, StoreError> {
        self.add_columns_for(&page.taken, report).await?;
        let Some(columns) = &self.columns else { return Ok(Vec::new()) };
        let target = self.target(columns, checkpoint.run_id());
        let work = PageRows { page, target, tally: &report.rejected };
        let committed = match checkpoint.commit_page(step, async |db| self.write(db, &work, Write::AllAtOnce).await).await {
            Err(error) => match error.refusal() {
                // PostgreSQL's message may quote a value; it goes into the quarantine only.
                Some((_, sqlstate)) => {
                    // What another run has stored since it took over is refused too.
                    let (schema, run_id) = (&self.ctx.store.schema, checkpoint.run_id());
                    self.ctx.store.transaction(async |db| store::fence(db, schema, run_id).await).await?;
                    warn!(sqlstate, "PostgreSQL refused a page: searching for the record that it refuses");
                    checkpoint.commit_page(step, async |db| self.write(db, &work, Write::Bisecting).await).await
                }
                None => Err(error),
            },
            committed => committed,
        };
        let CommittedPage { rows, counts, refused, released } = committed?;
        report.add(self.object, page, &rows, counts, &refused);
        if let Some(stored) = &mut self.stored {
            page.taken.iter().for_each(|record| stored.insert(&record.id));
        }
        for id in released {
            self.quarantined.remove(&id);
        }
        self.quarantined.extend(page.rejected.iter().chain(&refused).filter_map(|rejected| rejected.id.clone()));
        Ok(refused)
    }

    /// Adds columns for what a page brings for the first time, in a transaction of its own: it locks the table
    /// against readers, so it has to be short. A column without values harms nobody if we die after it.
    async fn add_columns_for(&mut self, records: &[Record], report: &mut Report) -> Result<(), StoreError> {
        let (schema, object, declared) = (&self.ctx.store.schema, self.object, &self.ctx.declarations.declared);
        if self.is_full || self.columns.as_ref().is_some_and(|columns| !columns.would_grow(records)) {
            return Ok(());
        }
        let grown = self.ctx.store.transaction(async |db| {
            store::lock_columns(&mut *db, schema, object).await?;
            // Another process may have added some in the meantime.
            let mut columns = self.as_declared(store::load_columns(&mut *db, schema, object).await?);
            let known = columns.len();
            let added = columns.grow(object, records, declared);
            store::add_columns(db, schema, object, known, &added).await?;
            Ok(columns)
        });
        match grown.await {
            // Columns of the user, and dropped ones, count too: what is new goes to `_overflow`.
            Err(error) if error.refusal().is_some() => {
                self.is_full = true;
                report.warn(format!("{}: PostgreSQL allows no more columns in the table", object.name));
            }
            grown => {
                self.columns = Some(grown?);
                self.make_join_columns(report).await;
            }
        }
        Ok(())
    }

    /// Writes rows and actions, releases from quarantine what has arrived whole, and quarantines what cannot be stored.
    async fn write<'p>(
        &self,
        db: &mut PgConnection,
        &PageRows { page, target, tally }: &PageRows<'p, '_>,
        write: Write,
    ) -> Result<PageWork<CommittedPage<'p>>, StoreError> {
        let Target { schema, object, run_id, .. } = target;
        let (mut rows, mut counts, mut refused) = (Vec::with_capacity(page.taken.len()), RowCounts::default(), Vec::new());
        let (mut actions, mut has_actions) = (Vec::new(), false);
        let mut parts = parts(&page.taken, PART_BYTES).map(|part| flatten(target.columns, target.ignore_changes, part));
        let mut next = parts.next();
        while let Some(mut part) = next {
            let stored = async {
                match write {
                    Write::AllAtOnce => {
                        store::upsert(&mut *db, target, &part).await.map(|(counts, actions)| (counts, actions, Vec::new()))
                    }
                    Write::Bisecting => store::upsert_bisecting(&mut *db, target, &part)
                        .await
                        .map(|(counts, refused)| (counts, Vec::new(), refused)),
                }
            };
            // PostgreSQL is at work on one part while the next one is made.
            let (stored, following) = tokio::join!(biased; stored, async { parts.next() });
            let (counts_of_part, mut actions_of_part, refused_of_part) = stored?;
            counts += counts_of_part;
            actions.append(&mut actions_of_part);
            has_actions |= !actions.is_empty();
            if actions.iter().map(Action::text_bytes).sum::<usize>() > ACTIONS_BYTES {
                store::write_actions(&mut *db, target, &std::mem::take(&mut actions)).await?;
            }
            refused.extend(refused_of_part.into_iter().filter_map(|refused| page.refuse(refused)));
            part.iter_mut().for_each(|row| row.cells = Vec::new());
            rows.append(&mut part);
            next = following;
        }
        let is_refused = |id: &str| refused.iter().any(|refused: &Rejected| refused.id.as_deref() == Some(id));
        let in_quarantine = page.taken.iter().map(|record| record.id.as_str()).filter(|id| self.quarantined.contains(*id));
        let released: Vec<&str> = in_quarantine.filter(|id| !is_refused(id)).collect();
        store::release_stored(&mut *db, schema, object, &released).await?;
        let entries = tally.entries(page.rejected.iter().chain(&refused), self.ctx.limits.quarantine_rows);
        store::quarantine_records(&mut *db, schema, object, run_id, &entries).await?;
        store::write_actions(db, target, &actions).await?;
        let has_changes = !(counts.changed_nothing() && released.is_empty() && entries.is_empty());
        let released = released.into_iter().map(str::to_owned).collect();
        Ok(PageWork { done: CommittedPage { rows, counts, refused, released }, has_changes, has_actions })
    }
}

/// The records in parts of at most so many bytes, or a single larger record.
fn parts(records: &[Record], most_bytes: usize) -> impl Iterator<Item = &[Record]> {
    let mut bytes = 0;
    records.chunk_by(move |record, next| {
        bytes += record.text_bytes();
        let fits = bytes + next.text_bytes() <= most_bytes;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_written_in_parts_that_are_as_large_as_allowed() {
        let record = |text: usize| {
            let empty = json!({"_id": "a", "text": ""}).to_string().len();
            let fields = json!({"_id": "a", "text": "x".repeat(text - empty)});
            Record::parse(serde_json::value::to_raw_value(&fields).unwrap()).unwrap()
        };
        for (texts, expected) in [
            (&[][..], &[][..]),
            (&[100], &[1]),
            (&[40, 60, 40, 61, 30], &[2, 1, 2]),
            (&[200, 40, 60, 200, 40], &[1, 2, 1, 1]),
            (&[30; 7], &[3, 3, 1]),
        ] {
            let records: Vec<Record> = texts.iter().map(|text| record(*text)).collect();
            assert_eq!(parts(&records, 100).map(<[Record]>::len).collect::<Vec<_>>(), expected, "{texts:?}");
        }
    }
}
