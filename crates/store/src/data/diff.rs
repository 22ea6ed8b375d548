//! What storing a page would change: which of its rows are new or others than before, and in which columns.
//!
//! Hashes are compared first, and of an idle day nothing else is asked. Columns are compared in PostgreSQL, since it
//! alone knows when two values of a type are the same. Rows that were masked where they are have no hash that could be
//! compared: their columns decide whether they have changed.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use planhat_model::catalog::Object;
use planhat_model::flatten::{COMPARED_BY_COLUMNS, Row};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;

use super::rows_by_column::RowsByColumn;
use super::set_values::is_same_set;
use super::stored_value::{ColumnName, RecordId, Stored};
use super::upsert::{RowCounts, Target};
use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// The difference between the rows of a page and the stored rows.
#[derive(Debug, Default)]
pub struct PageDiff<'a> {
    pub counts: RowCounts,
    /// Those that have no row yet.
    pub new: Vec<&'a Row<'a>>,
    /// Those whose row is another, or is marked as deleted.
    pub changed: Vec<&'a Row<'a>>,
    /// The ids of those whose row is marked as deleted.
    pub restored: HashSet<&'a str>,
    /// Those whose columns have other types than when the same record was stored: to be written again, and no change.
    pub retyped: Vec<&'a Row<'a>>,
    /// The ids of those among the restored ones whose record is the same, in columns of other types.
    pub restored_as_it_was: HashSet<&'a str>,
    /// Unchanged ones whose row was masked where it is, so that it has no hash yet.
    pub rehashed: Vec<&'a Row<'a>>,
}

impl PageDiff<'_> {
    /// That of a page of which nothing is stored yet.
    pub fn of_new<'a>(rows: &'a [Row<'a>]) -> PageDiff<'a> {
        let counts = RowCounts { inserted: rows.len() as u64, ..RowCounts::default() };
        PageDiff { counts, new: rows.iter().collect(), ..PageDiff::default() }
    }
}

/// Compares rows with what is stored.
pub async fn compare<'a>(db: &mut PgConnection, target: Target<'_>, rows: &'a [Row<'a>]) -> Result<PageDiff<'a>, StoreError> {
    let latest: HashMap<&str, usize, RandomState> = rows.iter().enumerate().map(|(index, row)| (row.id, index)).collect();
    let asked: Vec<&str> = latest.keys().copied().filter(|id| target.may_be_stored(id)).collect();
    let stored = if asked.is_empty() { HashMap::default() } else { stored_hashes(&mut *db, target, asked).await? };
    let mut compared = PageDiff::default();
    let mut masked = Vec::new();
    let counts = &mut compared.counts;
    for row in rows.iter().enumerate().filter(|(index, row)| latest[row.id] == *index).map(|(_, row)| row) {
        match stored.get(row.id) {
            Some((before, false)) if row.hash.is_stored_as(*before) => {
                counts.unchanged += 1;
                continue;
            }
            Some((before, false)) if row.hash.is_retyped_as(*before) => {
                counts.unchanged += 1;
                counts.retyped += 1;
                compared.retyped.push(row);
                continue;
            }
            Some((COMPARED_BY_COLUMNS, false)) => {
                masked.push(row);
                continue;
            }
            Some((_, false)) => counts.updated += 1,
            // Its record is back, so it has changed.
            Some((before, true)) => {
                counts.restored += 1;
                compared.restored.insert(row.id);
                if row.hash.is_retyped_as(*before) {
                    compared.restored_as_it_was.insert(row.id);
                }
            }
            None => {
                counts.inserted += 1;
                compared.new.push(row);
                continue;
            }
        }
        compared.changed.push(row);
    }
    let others = ids_that_differ(db, target, &masked).await?;
    for row in masked {
        if others.contains(row.id) {
            compared.counts.updated += 1;
            compared.changed.push(row);
        } else {
            compared.counts.unchanged += 1;
            compared.rehashed.push(row);
        }
    }
    Ok(compared)
}

/// The ids of those rows that differ from what is stored in a column that is not ignored.
async fn ids_that_differ(
    db: &mut PgConnection,
    target: Target<'_>,
    rows: &[&Row<'_>],
) -> Result<HashSet<String, RandomState>, StoreError> {
    if rows.is_empty() {
        return Ok(HashSet::default());
    }
    let by_column = RowsByColumn::of(target.columns, rows);
    let sql = Sql::new("select difference.id, difference.column from (");
    let sql = differences_sql(sql, target, &by_column).text(") as difference");
    let found: Vec<(RecordId, ColumnName)> =
        sql.query_as_with(by_column.arguments()?).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    let differs = |(_, ColumnName(column)): &(RecordId, ColumnName)| !target.is_ignored(column);
    Ok(found.into_iter().filter(differs).map(|(RecordId(id), _)| id).collect())
}

/// Id to hash, and whether the row is marked as deleted.
async fn stored_hashes(
    db: &mut PgConnection,
    target: Target<'_>,
    ids: Vec<&str>,
) -> Result<HashMap<String, (i64, bool), RandomState>, StoreError> {
    let sql = select_by_ids(target.schema, target.object, "planhat__id, _row_hash, _deleted_at is not null");
    let rows: Vec<(RecordId, i64, bool)> =
        sql.query_as().bind(ids).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    Ok(rows.into_iter().map(|(RecordId(id), hash, is_deleted)| (id, (hash, is_deleted))).collect())
}

/// Asks for something of the rows with the ids in `$1`, by a look-up for each: for `= any($1)` PostgreSQL would rather read a
/// whole table of some size, again for every page.
pub(super) fn select_by_ids(schema: &str, object: &Object, what: &'static str) -> Sql {
    Sql::new("select stored.* from unnest($1::text[]) as asked (id) cross join lateral (select ")
        .text(what)
        .text(" from ")
        .table(schema, object.name)
        .text(" where planhat__id = asked.id offset 0) as stored")
}

/// A value that storing a row would change, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub id: String,
    pub column: String,
    /// Masked by the rules of now.
    pub old: Option<Value>,
    pub new: Option<Value>,
}

/// What storing these rows would change, column by column. A row that is not there yet has no differences.
pub async fn differences(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<Vec<Difference>, StoreError> {
    type Found = (RecordId, ColumnName, Option<Stored<Json<Value>>>, Option<Stored<Json<Value>>>);
    let by_column = RowsByColumn::of(target.columns, rows);
    let sql = Sql::new("select id, difference.column, old, new from (");
    let sql = differences_sql(sql, target, &by_column).text(") as difference where not same_set order by id, difference.column");
    let found: Vec<Found> =
        sql.query_as_with(by_column.arguments()?).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    let rules = target.column_rules();
    let masked = |(RecordId(id), ColumnName(column), old, new): Found| {
        let [old, new] = [old, new].map(|value| value.map(|value| value.masked(rules, &column)));
        Difference { id, column, old, new }
    };
    Ok(found.into_iter().map(masked).collect())
}

/// The statement for it: with the sets that are the same in another order, which are no difference, marked as that.
pub(crate) fn differences_sql(sql: Sql, target: Target<'_>, rows: &RowsByColumn<'_>) -> Sql {
    let sql = sql.text(
        "select new.planhat__id as id, field.key as column, nullif(stored.fields -> field.key, 'null') as old,
             nullif(field.value, 'null') as new, ",
    );
    let sql = is_same_set(sql, target, "field.key", ["(stored.fields -> field.key)", "field.value"]);
    let sql = sql.text(" as same_set from (");
    let sql = rows
        .empty()
        .fold(rows.select(sql), |sql, column| sql.text(", null::").text(column.kind.sql()).text(" as ").name(&column.name));
    rows.from(sql)
        .text(") as new join lateral (select to_jsonb(old.*) as fields from ")
        .table(target.schema, target.object.name)
        .text(
            " old where old.planhat__id = new.planhat__id offset 0) stored on true, jsonb_each(to_jsonb(new)) as field
             where field.key <> '_row_hash' and field.value is distinct from coalesce(stored.fields -> field.key, 'null')",
        )
}
