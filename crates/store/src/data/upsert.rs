//! Writes the rows of a page, except unchanged ones.
//!
//! The stored row hashes are read first, so a sync without changes writes nothing: no row, no WAL, no bloat. New and changed
//! rows are sent in one statement each, as an array per column, which costs PostgreSQL hardly more than a
//! COPY; a COPY waits for the network twice and, with this driver over TCP, for a delayed acknowledgement of 40 ms. A column that a
//! row does not contain becomes NULL: the record is complete, so a missing value was cleared at Planhat.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use planhat_model::flatten::{COMPARED_BY_COLUMNS, Column, Columns, IgnoredFields, Row};
use planhat_model::rules::Rules;
use sqlx::{Connection as _, PgConnection};

use super::diff::compare;
use super::id_filter::IdFilter;
use super::rows_by_column::RowsByColumn;
use super::set_values::set_from_excluded;
use super::stored_value::ColumnRules;
use crate::sql::{Sql, query};
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_builder::{Action, ActionPolicy, actions_of_page};
use crate::timeline::action_table::write_actions;

/// How many rows of a page were inserted, updated, restored or unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    pub inserted: u64,
    pub updated: u64,
    /// Rows that were marked as deleted.
    pub restored: u64,
    pub unchanged: u64,
    /// Those among the unchanged ones that were written again, in columns of other types.
    pub retyped: u64,
}

/// A row that PostgreSQL refuses.
#[derive(Debug)]
pub struct RefusedRow {
    pub id: String,
    pub reason: String,
    pub sqlstate: String,
}

/// The table that rows go to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub schema: &'a str,
    pub object: &'a Object,
    pub columns: &'a Columns,
    pub run_id: i64,
    /// Which changes become actions.
    pub action_policy: ActionPolicy,
    /// A record that is made since then is new; none where nothing was read before.
    pub created_since: Option<DateTime<Utc>>,
    /// What of the object may be kept, if there are rules for it.
    pub rules: Option<&'a Rules>,
    /// Values whose change alone updates no row.
    pub ignore_changes: &'a IgnoredFields,
    /// The records that may have rows; none where that is not known, so that any may.
    pub stored: Option<&'a IdFilter>,
}

impl<'a> Target<'a> {
    pub(crate) fn column_rules(self) -> ColumnRules<'a> {
        ColumnRules { rules: self.rules, columns: self.columns }
    }

    /// Whether a record has to be looked up. Where a user has inserted its row, PostgreSQL refuses the page, which is then stored
    /// without this knowledge.
    pub(crate) fn may_be_stored(self, id: &str) -> bool {
        self.stored.is_none_or(|stored| stored.may_have(id))
    }

    /// Whether another value in a column alone is no reason to update a row. One that a rule masks always is: with another
    /// rule or key it has to become another.
    pub(crate) fn is_ignored(self, column: &str) -> bool {
        let ignored = |column: &Column| {
            self.ignore_changes.has(column.origin, &column.planhat_name)
                && self.rules.is_none_or(|rules| !rules.concerns(column.origin, &column.planhat_name))
        };
        self.columns.named(column).is_some_and(ignored)
    }
}

/// Stores rows as `upsert` does; if PostgreSQL refuses them, bisects them until the refused rows are known.
pub async fn upsert_bisecting(
    db: &mut PgConnection,
    target: Target<'_>,
    rows: &[Row<'_>],
) -> Result<(RowCounts, Vec<RefusedRow>), StoreError> {
    // What was refused may be a row that nobody knew of.
    let target = Target { stored: None, ..target };
    let (mut counts, mut refused) = (RowCounts::default(), Vec::new());
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        match (try_upsert(db, target, part).await?, part) {
            (Ok(of_part), _) => counts += of_part,
            (Err(refusal), [row]) => match retry_narrowed(db, target, row, refusal).await? {
                Ok(of_row) => counts += of_row,
                Err((reason, sqlstate)) => refused.push(RefusedRow { id: row.id.to_owned(), reason, sqlstate }),
            },
            // The first half comes next: of rows with the same id the last one counts.
            (Err(_), _) => parts.extend([&part[part.len() / 2..], &part[..part.len() / 2]]),
        }
    }
    Ok((counts, refused))
}

/// Why the database refused something, and its code for that.
type Refusal = (String, String);

/// Stores rows behind a savepoint, so that a refusal costs nothing else.
async fn try_upsert(
    db: &mut PgConnection,
    target: Target<'_>,
    rows: &[Row<'_>],
) -> Result<Result<RowCounts, Refusal>, StoreError> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    let stored = match upsert_racing(&mut savepoint, target, rows).await {
        Ok(counts) => check_constraints(&mut savepoint).await.map(|()| counts),
        refused => refused,
    };
    match stored {
        Ok(counts) => {
            savepoint.commit().await.map_err(could_not("release a savepoint"))?;
            Ok(Ok(counts))
        }
        Err(error) => {
            savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
            Ok(Err(error.refusal().ok_or(error)?))
        }
    }
}

/// A constraint of the user's may be deferred to the end of the transaction, where it would refuse all of it.
async fn check_constraints(db: &mut PgConnection) -> Result<(), StoreError> {
    query("set constraints all immediate").execute(db).await.map_err(could_not("check the constraints of a table"))?;
    Ok(())
}

/// A row that is too wide for the database goes in with less in its columns and more in `_overflow`.
async fn retry_narrowed(
    db: &mut PgConnection,
    target: Target<'_>,
    row: &Row<'_>,
    mut refusal: Refusal,
) -> Result<Result<RowCounts, Refusal>, StoreError> {
    const TOO_LARGE: &str = "54000";
    for room in [5_000, 2_500, 0] {
        if refusal.1 != TOO_LARGE {
            break;
        }
        let narrowed = row.with_less_in_columns(target.columns, room);
        match try_upsert(db, target, std::slice::from_ref(&narrowed)).await? {
            Ok(counts) => return Ok(Ok(counts)),
            Err(again) => refusal = again,
        }
    }
    Ok(Err(refusal))
}

impl RowCounts {
    /// Whether nothing was changed.
    pub fn changed_nothing(self) -> bool {
        RowCounts { unchanged: 0, ..self } == RowCounts::default()
    }
}

impl std::ops::AddAssign for RowCounts {
    fn add_assign(&mut self, other: RowCounts) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.restored += other.restored;
        self.unchanged += other.unchanged;
        self.retyped += other.retyped;
    }
}

/// Stores rows by id. Of rows with the same id the last one counts. Returns the actions that are to be written before the commit, as
/// one of the last things: other transactions wait for it from then on.
pub async fn upsert(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<(RowCounts, Vec<Action>), StoreError> {
    let compared = compare(&mut *db, target, rows).await?;
    let actions = actions_of_page(&mut *db, target, &compared).await?;
    insert(&mut *db, target, &compared.new).await?;
    insert_or_update(&mut *db, target, &compared.changed).await?;
    write_again(&mut *db, target, &compared.retyped).await?;
    set_hashes(db, target, &compared.rehashed).await?;
    Ok((compared.counts, actions))
}

/// The same with the actions, which may be refused too, and when another session may have inserted a row in the meantime.
async fn upsert_racing(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<RowCounts, StoreError> {
    let compared = compare(&mut *db, target, rows).await?;
    let actions = actions_of_page(&mut *db, target, &compared).await?;
    let all = [&*compared.new, &compared.changed].concat();
    insert_or_update(&mut *db, target, &all).await?;
    write_again(&mut *db, target, &compared.retyped).await?;
    set_hashes(&mut *db, target, &compared.rehashed).await?;
    write_actions(db, target, &actions).await?;
    Ok(compared.counts)
}

/// Gives rows that were masked where they are, and whose records have turned out to be the same, the hashes of these.
async fn set_hashes(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = Sql::new("update ").table(target.schema, target.object.name).text(
        " as masked set _row_hash = same.hash from unnest($1::text[], $2::bigint[]) as same (id, hash)
          where masked.planhat__id = same.id and masked._row_hash = $3",
    );
    sql.query()
        .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.hash.latest()).collect::<Vec<_>>())
        .bind(COMPARED_BY_COLUMNS)
        .execute(db)
        .await
        .map_err(could_not("store a page"))?;
    Ok(())
}

/// Inserts rows that are not there yet.
async fn insert(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let by_column = RowsByColumn::of(target.columns, rows);
    // Without an answer Citus copies the rows to where the table is, and why that was refused does not come back.
    execute(db, target, &by_column, inserting(target, &by_column).text(" returning 1")).await
}

async fn insert_or_update(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    insert_or_set(db, target, rows, "_synced_at = excluded._synced_at, _deleted_at = null, _run_id = excluded._run_id, ").await
}

/// Writes rows of the same records again: it is no other version of them.
async fn write_again(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    insert_or_set(db, target, rows, "").await
}

/// `of_version` are the columns that say when and by whom a version was written. No function that may answer differently from
/// one call to the next belongs there: Citus refuses it, so the time is that which the row was to be inserted with.
async fn insert_or_set(
    db: &mut PgConnection,
    target: Target<'_>,
    rows: &[&Row<'_>],
    of_version: &'static str,
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let by_column = RowsByColumn::of(target.columns, rows);
    let sql = inserting(target, &by_column).text(" on conflict (planhat__id) do update set ").text(of_version);
    // What is not inserted is NULL in what was to be inserted.
    let sets: HashSet<&str> = target.columns.sets().map(|column| &*column.name).collect();
    let sql = sql.list(by_column.all_names(), |sql, name| set_from_excluded(sql, name, sets.contains(name)));
    execute(db, target, &by_column, sql).await
}

fn inserting(target: Target<'_>, rows: &RowsByColumn<'_>) -> Sql {
    let sql = Sql::new("insert into ").table(target.schema, target.object.name).text(" as stored (");
    let sql = rows.select(rows.names(sql).text(", _run_id) ")).text(", ").parameter(rows.count() + 1);
    rows.from(sql)
}

async fn execute(db: &mut PgConnection, target: Target<'_>, rows: &RowsByColumn<'_>, sql: Sql) -> Result<(), StoreError> {
    let stored = sql.query_with(rows.arguments()?).bind(target.run_id).execute(db).await.map_err(could_not("store a page"))?;
    // A trigger of the user's can leave out a row without an error.
    if stored.rows_affected() < rows.rows() as u64 {
        return Err(StoreError::RowsLeftOut { relation: format!("{}.{}", target.schema, target.object.name) });
    }
    Ok(())
}
