//! Writes the rows of a page, unchanged ones excepted.
//!
//! The hashes of the page's rows are asked for first: an idle day then writes nothing at all, no row,
//! no WAL, no bloat. New and changed rows go over in one statement as one JSON parameter, whose digits
//! PostgreSQL reads exactly. A column that a row does not mention becomes NULL: the record is whole, so
//! what it lacks was cleared at Planhat.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use sqlx::{Connection as _, PgConnection};

use super::error::{Error, could_not};
use super::sql::{Sql, query, query_as};
use crate::flatten::{Columns, Row};
use crate::object::Object;

/// What became of the rows of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
}

/// A row that PostgreSQL refuses.
#[derive(Debug)]
pub struct Refused {
    pub id: String,
    pub reason: String,
    pub sqlstate: String,
}

/// Stores rows as `upsert` does, and where PostgreSQL refuses, halves them until it is known which.
pub async fn upsert_in_halves(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    rows: &[Row],
    run_id: i64,
) -> Result<(Written, Vec<Refused>), Error> {
    let (mut written, mut refused) = (Written::default(), Vec::new());
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        match (attempt(db, schema, object, columns, part, run_id).await?, part) {
            (Ok(of_part), _) => written += of_part,
            (Err(refusal), [row]) => match narrowed(db, schema, object, columns, row, refusal, run_id).await? {
                Ok(of_row) => written += of_row,
                Err((reason, sqlstate)) => refused.push(Refused { id: row.id.clone(), reason, sqlstate }),
            },
            // The first half comes next: of rows with the same id the last one counts.
            (Err(_), _) => parts.extend([&part[part.len() / 2..], &part[..part.len() / 2]]),
        }
    }
    Ok((written, refused))
}

/// Why the database refused something, and its code for that.
type Refusal = (String, String);

/// Stores rows behind a savepoint, so that a refusal costs nothing else.
async fn attempt(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    rows: &[Row],
    run_id: i64,
) -> Result<Result<Written, Refusal>, Error> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    match upsert(&mut savepoint, schema, object, columns, rows, run_id).await {
        Ok(written) => {
            savepoint.commit().await.map_err(could_not("release a savepoint"))?;
            Ok(Ok(written))
        }
        Err(error) => {
            savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
            Ok(Err(error.refusal().ok_or(error)?))
        }
    }
}

/// A row that is too wide for the database goes in with less in its columns and more in `_overflow`.
async fn narrowed(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    row: &Row,
    mut refusal: Refusal,
    run_id: i64,
) -> Result<Result<Written, Refusal>, Error> {
    const TOO_LARGE: &str = "54000";
    for room in [5_000, 2_500, 0] {
        if refusal.1 != TOO_LARGE {
            break;
        }
        let narrowed = row.narrowed(columns, room);
        match attempt(db, schema, object, columns, std::slice::from_ref(&narrowed), run_id).await? {
            Ok(written) => return Ok(Ok(written)),
            Err(again) => refusal = again,
        }
    }
    Ok(Err(refusal))
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Written) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
    }
}

/// Stores rows by id. Of rows with the same id the last one counts.
pub async fn upsert(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    rows: &[Row],
    run_id: i64,
) -> Result<Written, Error> {
    let latest: HashMap<&str, &Row> = rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let stored = stored_hashes(db, schema, object, latest.keys().map(|id| (*id).to_owned()).collect()).await?;

    let mut written = Written::default();
    let mut changed = Vec::new();
    for (id, row) in latest {
        match stored.get(id) {
            Some(before) if *before == Some(row.hash) => {
                written.unchanged += 1;
                continue;
            }
            Some(_) => written.updated += 1,
            None => written.inserted += 1,
        }
        changed.push(as_json(row));
    }
    if !changed.is_empty() {
        write(db, schema, object, columns, changed, run_id).await?;
    }
    Ok(written)
}

/// Id to hash. A row marked as deleted has no hash here: its record is back, so it has changed.
async fn stored_hashes(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    ids: Vec<String>,
) -> Result<HashMap<String, Option<i64>>, Error> {
    let sql = Sql::new("select planhat__id, case when _deleted_at is null then _row_hash end from ")
        .table(schema, object.name)
        .text(" where planhat__id = any($1)");
    let rows: Vec<(String, Option<i64>)> =
        query_as(sql.safe()).bind(ids).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    Ok(rows.into_iter().collect())
}

/// A row as the statement takes it.
fn as_json(row: &Row) -> Value {
    let mut fields = row.cells.clone();
    fields.insert("_row_hash".to_owned(), json!(row.hash));
    for (column, values) in [("_misfits", &row.misfits), ("_overflow", &row.overflow)] {
        if !values.is_empty() {
            fields.insert(column.to_owned(), Value::Object(Map::clone(values)));
        }
    }
    Value::Object(fields)
}

async fn write(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
    rows: Vec<Value>,
    run_id: i64,
) -> Result<(), Error> {
    let sent: Vec<(&str, &'static str)> = columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind.sql()))
        .chain([("_row_hash", "bigint"), ("_misfits", "jsonb"), ("_overflow", "jsonb")])
        .collect();
    let names = |sql: Sql| sql.list(&sent, |sql, (name, _)| sql.name(name));

    let mut sql = Sql::new("insert into ").table(schema, object.name).text(" (");
    sql = names(sql).text(", _run_id) select ");
    sql = names(sql).text(", $2 from json_to_recordset($1::text::json) as new (");
    sql = sql.list(&sent, |sql, (name, kind)| sql.name(name).text(" ").text(kind));
    sql = sql
        .text(") on conflict (planhat__id) do update set _synced_at = now(), _deleted_at = null, _run_id = excluded._run_id, ");
    sql = sql.list(&sent, |sql, (name, _)| sql.name(name).text(" = excluded.").name(name));
    query(sql.safe()).bind(Value::Array(rows).to_string()).bind(run_id).execute(db).await.map_err(could_not("store a page"))?;
    Ok(())
}
