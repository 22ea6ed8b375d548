//! Changes the type of one column in place, for `planhat-sync retype`.
//!
//! All values of the column move to `_misfits`, the empty column gets its new type, and every value in `_misfits` that
//! fits moves back. So it does not matter which values were misfits before. It is one transaction: all or nothing.
//!
//! A column does not always hold what Planhat sent: a date may have arrived as a number, and a number may have become text. So
//! the row hashes are reset, and the next sync that reads the records writes the rows again from Planhat.
//!
//! PostgreSQL changes no type of a column that others are generated from, so the columns for joins that are made from it are
//! dropped first and made again at the end, with the indexes that were on them.

use planhat_model::catalog::{ColumnType, Object};
use planhat_model::flatten::{Column, Fit, fit};
use planhat_model::record::Json;
use sqlx::PgConnection;

use super::dependents::{make_indexes_again, refuse_if_viewed, remember_indexes};
use super::join_columns::{drop_join_columns, made_from, make_join_columns};
use super::stored_value::{RecordId, Stored};
use super::tables::{load_columns, lock_columns, with_columns};
use crate::sql::{Sql, query};
use crate::store_error::{StoreError, could_not};

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
    let described = with_columns(Sql::default(), schema, object, &[&Column { kind, ..column.clone() }]);
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
    let sql = Sql::new("lock table ").table(schema, object.name).text("; set local statement_timeout = 0");
    sql.execute(db).await.map_err(could_not("lock the table"))
}

async fn move_out(db: &mut PgConnection, schema: &str, object: &Object, column: &Column) -> Result<(), StoreError> {
    let sql = Sql::new("update ")
        .table(schema, object.name)
        .text(" set _row_hash = 0, _misfits = case when ")
        .name(&column.name)
        .text(" is null then _misfits else coalesce(_misfits, '{}') || jsonb_build_object($1::text, to_jsonb(")
        .name(&column.name)
        .text(")) end");
    sql.query().bind(&column.name).execute(db).await.map_err(could_not("move the values of a column"))?;
    Ok(())
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
    sql.execute(db).await.map_err(could_not("change the type of a column"))
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
