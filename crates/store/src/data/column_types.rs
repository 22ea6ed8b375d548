//! Changes the type of one column in place, for `planhat-sync retype`.
//!
//! All values of the column move to `_misfits`, the empty column gets its new type, and every value in `_misfits` that
//! fits moves back. So it does not matter which values were misfits before. It is one transaction: all or nothing.
//!
//! A column does not always hold what Planhat sent: a date may have arrived as a number, and a number may have become text. So
//! the row hashes are marked, and the next sync that reads the records writes the rows again from Planhat. A row whose record is
//! the same as before is neither an update nor an action then.
//!
//! PostgreSQL changes no type of a column that others are generated from, so the columns for joins that are made from it are
//! dropped first and made again at the end, with the indexes that were on them.

use planhat_model::catalog::{ColumnType, Object};
use planhat_model::flatten::{CONTENT, Column, Columns, Fit, RETYPED, fit};
use planhat_model::record::Json;
use planhat_model::rules::Rules;
use sqlx::PgConnection;

use super::dependents::{make_indexes_again, refuse_if_viewed, remember_indexes};
use super::join_columns::{drop_join_columns, made_from, make_join_columns};
use super::stored_value::{ColumnRules, RecordId, Stored};
use super::tables::{load_columns, lock_columns, with_columns};
use crate::sql::{Sql, query};
use crate::store_error::{StoreError, could_not, could_not_define};

/// Rows that are moved back at a time.
const BATCH: i64 = 1000;

/// What became of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Retyped {
    /// Values in the column now.
    pub fitting: u64,
    /// Values in `_misfits` now.
    pub misfits: u64,
}

/// Gives `column` the type `kind`.
pub async fn retype(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    column: &Column,
    kind: ColumnType,
) -> Result<Retyped, StoreError> {
    lock_columns(&mut *db, schema, object).await?;
    lock_table(&mut *db, schema, object).await?;
    let made_from_it = made_from(&mut *db, schema, object, &column.name).await?;
    let made_from_it: Vec<&str> = made_from_it.iter().map(String::as_str).collect();
    refuse_if_viewed(&mut *db, schema, object, &[&[column.name.as_str()], &*made_from_it].concat()).await?;
    remember_indexes(&mut *db, schema, object, &made_from_it).await?;
    drop_join_columns(&mut *db, schema, object, &made_from_it).await?;
    move_out(&mut *db, schema, object, column).await?;
    alter(&mut *db, schema, object, column, kind).await?;
    let retyped = move_back(&mut *db, schema, object, column, kind).await?;
    let described = with_columns(schema, object, &[&Column { kind, ..column.clone() }]);
    described.execute(&mut *db).await.map_err(could_not("describe a column"))?;
    query(
        "update planhat_sync.columns set type = $4, misfits_since = null, misfits_type = null
         where workspace = $1 and object = $2 and column_name = $3",
    )
    .bind(schema)
    .bind(object.name)
    .bind(&column.name)
    .bind(kind.sql())
    .execute(&mut *db)
    .await
    .map_err(could_not("note the new type of a column"))?;
    let columns = load_columns(&mut *db, schema, object).await?;
    make_join_columns(&mut *db, schema, object, &columns).await?;
    make_indexes_again(db).await?;
    Ok(retyped)
}

/// First of all, so that a reader in the way costs nothing but the wait; from then on no statement is cut
/// off, however large the table is.
async fn lock_table(db: &mut PgConnection, schema: &str, object: &Object) -> Result<(), StoreError> {
    let sql = Sql::new("lock table ").table(schema, object.name);
    sql.execute(&mut *db).await.map_err(could_not("lock the table"))?;
    query("set local statement_timeout = 0").execute(db).await.map_err(could_not("take all the time that a table needs"))?;
    Ok(())
}

async fn move_out(db: &mut PgConnection, schema: &str, object: &Object, column: &Column) -> Result<(), StoreError> {
    // Not in the update itself: what makes JSON depends on the session, and Citus refuses that there.
    let sql = Sql::new("with moved as (select planhat__id as id, case when ")
        .name(&column.name)
        .text(" is null then _misfits else coalesce(_misfits, '{}') || jsonb_build_object($1::text, ");
    let sql = value_of(sql, column).text(") end as misfits from ").table(schema, object.name);
    // A row that waits for a column, or has no hash, is written again whatever its record is.
    let sql = sql.text(") update ").table(schema, object.name).text(
        " as old set _row_hash = case when _row_hash >> 56 = 0 then 0 else _row_hash & $2 | $3 end, _misfits = moved.misfits
          from moved where old.planhat__id = moved.id",
    );
    let moving = sql.query().bind(&column.name).bind(CONTENT).bind(RETYPED);
    moving.execute(db).await.map_err(could_not("move the values of a column"))?;
    Ok(())
}

/// The value of a column as JSON. An instant is spelled as Planhat spells it, which PostgreSQL would not.
fn value_of(sql: Sql, column: &Column) -> Sql {
    if column.kind != ColumnType::Time {
        return sql.text("to_jsonb(").name(&column.name).text(")");
    }
    sql.text("case when ")
        .name(&column.name)
        .text(" between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' and date_trunc('milliseconds', ")
        .name(&column.name)
        .text(") = ")
        .name(&column.name)
        .text(" then to_jsonb(to_char(")
        .name(&column.name)
        .text(" at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')) else to_jsonb(")
        .name(&column.name)
        .text(") end")
}

/// A column, the type that somebody thinks of giving it, and the rules for what may be shown of it.
#[derive(Debug, Clone, Copy)]
pub struct RetypeQuery<'a> {
    pub schema: &'a str,
    pub object: &'a Object,
    pub column: &'a Column,
    pub kind: ColumnType,
    pub rules: Option<&'a Rules>,
}

/// What another type would mean for the values of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetypePreview {
    /// All rows of the table: they are locked, and all of them are written.
    pub rows: u64,
    /// Values of the column that fit the type.
    pub stay: u64,
    /// Values of the column that would become misfits.
    pub leave: u64,
    /// Misfits that would move into the column.
    pub join: u64,
    /// Misfits that would stay misfits.
    pub stay_out: u64,
    /// Some of the values that do not fit, as JSON, masked.
    pub samples: Vec<String>,
}

/// What a row has in its column, and what of it in `_misfits`.
type ValueAndMisfit = (RecordId, Option<Stored<String>>, Option<Stored<String>>);

/// How many samples are shown.
const SAMPLES: usize = 5;

/// Says what `retype` would do. It reads the values of the column and changes nothing.
pub async fn preview_retype(db: &mut PgConnection, wanted: RetypeQuery<'_>) -> Result<RetypePreview, StoreError> {
    let RetypeQuery { schema, object, column, kind, rules } = wanted;
    let made_from_it = made_from(&mut *db, schema, object, &column.name).await?;
    let all: Vec<&str> = [&column.name].into_iter().chain(&made_from_it).map(String::as_str).collect();
    refuse_if_viewed(&mut *db, schema, object, &all).await?;
    let columns = Columns::from_iter([column.clone()]);
    let sql = Sql::new("select count(*) from ").table(schema, object.name);
    let rows: i64 = sql.query_scalar().fetch_one(&mut *db).await.map_err(could_not("count the rows of a table"))?;
    let mut preview = RetypePreview { rows: rows.unsigned_abs(), ..RetypePreview::default() };
    let mut last = String::new();
    loop {
        let sql = Sql::new("select planhat__id, case when ").name(&column.name).text(" is not null then ");
        let sql = value_of(sql, column)
            .text("::text end, (_misfits -> $1)::text from ")
            .table(schema, object.name)
            .text(" where (_misfits ? $1 or ")
            .name(&column.name)
            .text(" is not null) and planhat__id > $2 order by planhat__id limit $3");
        let batch: Vec<ValueAndMisfit> = sql
            .query_as()
            .bind(&column.name)
            .bind(&last)
            .bind(BATCH)
            .fetch_all(&mut *db)
            .await
            .map_err(could_not("read the values of a column"))?;
        let Some((RecordId(id), ..)) = batch.last() else { return Ok(preview) };
        last.clone_from(id);
        for (_, value, misfit) in batch {
            for (value, is_misfit) in [(value, false), (misfit, true)] {
                let Some(value) = value else { continue };
                let fits = fit(kind, Json::trusted(value.to_move()));
                let count = match (&fits, is_misfit) {
                    (Fit::Nothing, _) => continue,
                    (Fit::Cell(_), false) => &mut preview.stay,
                    (Fit::Cell(_), true) => &mut preview.join,
                    (Fit::Misfit, false) => &mut preview.leave,
                    (Fit::Misfit, true) => &mut preview.stay_out,
                };
                *count += 1;
                if fits == Fit::Misfit && preview.samples.len() < SAMPLES {
                    let sample = value.masked(ColumnRules { rules, columns: &columns }, &column.name);
                    if !preview.samples.contains(&sample) {
                        preview.samples.push(sample);
                    }
                }
            }
        }
    }
}

async fn alter(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    column: &Column,
    kind: ColumnType,
) -> Result<(), StoreError> {
    let sql = Sql::new("alter table ")
        .table(schema, object.name)
        .text(" alter column ")
        .name(&column.name)
        .text(" type ")
        .text(kind.sql())
        .text(" using null::")
        .text(kind.sql());
    sql.execute(db).await.map_err(could_not_define("change the type of a column"))
}

async fn move_back(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    column: &Column,
    kind: ColumnType,
) -> Result<Retyped, StoreError> {
    let mut retyped = Retyped { fitting: 0, misfits: 0 };
    let mut last = String::new();
    loop {
        let sql = Sql::new("select planhat__id, (_misfits -> $1)::text from ")
            .table(schema, object.name)
            .text(" where _misfits ? $1 and planhat__id > $2 order by planhat__id limit $3");
        let batch: Vec<(RecordId, Stored<String>)> = sql
            .query_as()
            .bind(&column.name)
            .bind(&last)
            .bind(BATCH)
            .fetch_all(&mut *db)
            .await
            .map_err(could_not("read the values of a column"))?;
        let Some((RecordId(id), _)) = batch.last() else { return Ok(retyped) };
        last.clone_from(id);

        let (mut ids, mut cells) = (Vec::new(), Vec::new());
        for (RecordId(id), value) in &batch {
            match fit(kind, Json::trusted(value.to_move())) {
                Fit::Cell(cell) => {
                    retyped.fitting += 1;
                    cells.push(Some(cell));
                }
                Fit::Nothing => cells.push(None),
                Fit::Misfit => {
                    retyped.misfits += 1;
                    continue;
                }
            }
            ids.push(id.as_str());
        }
        let sql = Sql::new("update ")
            .table(schema, object.name)
            .text(" as old set _misfits = nullif(old._misfits - $1, '{}'), ")
            .name(&column.name)
            .text(" = new.value::")
            .text(kind.sql())
            .text(" from unnest($2::text[], $3::text[]) as new (id, value) where old.planhat__id = new.id");
        sql.query()
            .bind(&column.name)
            .bind(ids)
            .bind(cells)
            .execute(&mut *db)
            .await
            .map_err(could_not("move the values of a column back"))?;
    }
}
