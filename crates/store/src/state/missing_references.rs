//! How many rows refer to records that are not stored, as it was counted last, and which of these records Planhat does not have.

use chrono::{DateTime, Utc};
use planhat_model::catalog::Object;
use serde::Serialize;
use sqlx::{FromRow, PgConnection};

use crate::sql::{query, query_as};
use crate::store_error::{StoreError, could_not};

/// How many rows refer to records that are not stored, by one property of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct MissingReferences {
    pub object: String,
    pub property: String,
    /// The object of the records that they refer to.
    pub refers_to: String,
    pub rows: i64,
    /// The records, each once.
    pub records: i64,
    /// Further rows, which refer to a record that Planhat would not give.
    pub absent_rows: i64,
    /// Whether some of the records may have been forgotten: nothing loads these.
    pub some_forgotten: bool,
    pub counted_at: DateTime<Utc>,
}

/// A property that refers to records of another object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferringProperty<'a> {
    pub object: &'a str,
    pub property: &'a str,
}

/// What was counted last, by object and property.
pub async fn missing_references(db: &mut PgConnection, workspace: &str) -> Result<Vec<MissingReferences>, StoreError> {
    query_as(
        "select object, property, refers_to, rows, records, absent_rows, counted_at, exists (select from planhat_sync.forgotten
             where forgotten.workspace = $1 and forgotten.object = refers_to) as some_forgotten
         from planhat_sync.missing_references where workspace = $1 order by refers_to, object, property",
    )
    .bind(workspace)
    .fetch_all(db)
    .await
    .map_err(could_not("read which records are missing"))
}

/// Saves what was counted, and forgets what was counted of properties that refer to nothing any more.
pub async fn save_missing_references(
    db: &mut PgConnection,
    workspace: &str,
    counted: &[MissingReferences],
    properties: &[ReferringProperty<'_>],
) -> Result<(), StoreError> {
    query(
        "delete from planhat_sync.missing_references where workspace = $1 and (object, property) not in (
             select object, property from unnest($2::text[], $3::text[]) as known (object, property))",
    )
    .bind(workspace)
    .bind(properties.iter().map(|of| of.object).collect::<Vec<_>>())
    .bind(properties.iter().map(|of| of.property).collect::<Vec<_>>())
    .execute(&mut *db)
    .await
    .map_err(could_not("forget which records were missing"))?;
    let figures = |figure: fn(&MissingReferences) -> i64| counted.iter().map(figure).collect::<Vec<_>>();
    query(
        "insert into planhat_sync.missing_references
             (workspace, object, property, refers_to, rows, records, absent_rows, counted_at)
         select $1, * from unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[])
         on conflict (workspace, object, property) do update set refers_to = excluded.refers_to, rows = excluded.rows,
             records = excluded.records, absent_rows = excluded.absent_rows, counted_at = excluded.counted_at",
    )
    .bind(workspace)
    .bind(counted.iter().map(|of| of.object.as_str()).collect::<Vec<_>>())
    .bind(counted.iter().map(|of| of.property.as_str()).collect::<Vec<_>>())
    .bind(counted.iter().map(|of| of.refers_to.as_str()).collect::<Vec<_>>())
    .bind(figures(|of| of.rows))
    .bind(figures(|of| of.records))
    .bind(figures(|of| of.absent_rows))
    .bind(counted.iter().map(|of| of.counted_at).collect::<Vec<_>>())
    .execute(db)
    .await
    .map_err(could_not("save which records are missing"))?;
    Ok(())
}

/// A record that Planhat would not give by its id, and with which status it said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentRecord {
    pub id: String,
    pub answer: u16,
}

/// Remembers records that Planhat would not give.
pub async fn save_absent_records(
    db: &mut PgConnection,
    workspace: &str,
    object: &Object,
    absent: &[AbsentRecord],
) -> Result<(), StoreError> {
    query(
        "insert into planhat_sync.absent_records (workspace, object, record_id, answer)
         select $1, $2, * from unnest($3::text[], $4::int[])
         on conflict (workspace, object, record_id) do update set answer = excluded.answer, answered_at = now()",
    )
    .bind(workspace)
    .bind(object.name)
    .bind(absent.iter().map(|record| record.id.as_str()).collect::<Vec<_>>())
    .bind(absent.iter().map(|record| i32::from(record.answer)).collect::<Vec<_>>())
    .execute(&mut *db)
    .await
    .map_err(could_not("remember which records Planhat does not have"))?;
    // What is older counts no longer, see `missing_records`.
    query("delete from planhat_sync.absent_records where workspace = $1 and answered_at < now() - interval '30 days'")
        .bind(workspace)
        .execute(db)
        .await
        .map_err(could_not("remember which records Planhat does not have"))?;
    Ok(())
}
