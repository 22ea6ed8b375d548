//! Edits that the sweeps of a table have not shown: a comparison of everything finds them by their times.

use chrono::{DateTime, Utc};
use planhat_model::catalog::{ColumnType, Object};
use planhat_model::flatten::{Column, Columns};
use planhat_model::record::Origin;
use sqlx::PgConnection;

use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// Listed records with the times of their last edits.
#[derive(Debug, Clone, Copy)]
pub struct ListedEdits<'a> {
    pub ids: &'a [&'a str],
    pub times: &'a [DateTime<Utc>],
}

/// How many of these records have a row of an earlier edit. None are counted where the property has no column of times.
pub async fn count_missed_edits(
    db: &mut PgConnection,
    (schema, object): (&str, &Object),
    (columns, property): (&Columns, &str),
    listed: ListedEdits<'_>,
) -> Result<u64, StoreError> {
    let is_the_time = |column: &&Column| column.origin == Origin::Property && *column.planhat_name == *property;
    let Some(column) = columns.iter().find(is_the_time).filter(|column| column.kind == ColumnType::Time) else { return Ok(0) };
    let sql = Sql::new("select count(*) from unnest($1::text[], $2::timestamptz[]) as listed (id, edited_at) join ")
        .table(schema, object.name)
        .text(" as stored on stored.planhat__id = listed.id where stored.")
        .name(&column.name)
        .text(" < listed.edited_at");
    let missed: i64 = sql
        .query_scalar()
        .bind(listed.ids)
        .bind(listed.times)
        .fetch_one(db)
        .await
        .map_err(could_not("look for edits that were missed"))?;
    Ok(missed.cast_unsigned())
}
