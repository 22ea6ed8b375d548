//! Writes the rows of a page, unchanged ones excepted.
//!
//! The hashes of the page's rows are asked for first: an idle day then writes nothing at all, no row,
//! no WAL, no bloat. New rows are copied straight into the table, since it has one writer; changed ones
//! go over in one statement as one JSON parameter, whose digits PostgreSQL reads exactly. A column that a row
//! does not mention becomes NULL: the record is whole, so what it lacks was cleared at Planhat.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Connection as _, FromRow, PgConnection};

use super::actions::{self, Noted};
use super::copy::{CopyText, copy_in};
use super::error::{Error, could_not};
use super::sql::{Sql, query, query_as};
use crate::flatten::{Columns, Row};
use crate::object::{Kind, Object};
use crate::privacy::Rules;

/// What became of the rows of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub inserted: u64,
    pub updated: u64,
    /// Rows that were marked as deleted.
    pub restored: u64,
    pub unchanged: u64,
}

/// A row that PostgreSQL refuses.
#[derive(Debug)]
pub struct Refused {
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
    pub noted: Noted,
    /// What of the object may be kept, if there are rules for it.
    pub rules: Option<&'a Rules>,
}

/// Stores rows as `upsert` does, and where PostgreSQL refuses, halves them until it is known which.
pub async fn upsert_in_halves(
    db: &mut PgConnection,
    target: Target<'_>,
    rows: &[Row<'_>],
) -> Result<(Written, Vec<Refused>), Error> {
    let (mut written, mut refused) = (Written::default(), Vec::new());
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        match (attempt(db, target, part).await?, part) {
            (Ok(of_part), _) => written += of_part,
            (Err(refusal), [row]) => match narrowed(db, target, row, refusal).await? {
                Ok(of_row) => written += of_row,
                Err((reason, sqlstate)) => refused.push(Refused { id: row.id.to_owned(), reason, sqlstate }),
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
async fn attempt(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<Result<Written, Refusal>, Error> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    match upsert_by_statement(&mut savepoint, target, rows).await {
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
    target: Target<'_>,
    row: &Row<'_>,
    mut refusal: Refusal,
) -> Result<Result<Written, Refusal>, Error> {
    const TOO_LARGE: &str = "54000";
    for room in [5_000, 2_500, 0] {
        if refusal.1 != TOO_LARGE {
            break;
        }
        let narrowed = row.narrowed(target.columns, room);
        match attempt(db, target, std::slice::from_ref(&narrowed)).await? {
            Ok(written) => return Ok(Ok(written)),
            Err(again) => refusal = again,
        }
    }
    Ok(Err(refusal))
}

impl Written {
    /// Whether the table is as it was.
    pub fn is_nothing(self) -> bool {
        Written { unchanged: 0, ..self } == Written::default()
    }
}

impl std::ops::AddAssign for Written {
    fn add_assign(&mut self, other: Written) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.restored += other.restored;
        self.unchanged += other.unchanged;
    }
}

/// Stores rows by id, and each change as an action. Of rows with the same id the last one counts.
pub async fn upsert(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<Written, Error> {
    let compared = compare(&mut *db, target, rows).await?;
    let actions = actions::of(&mut *db, target, &compared).await?;
    if !compared.new.is_empty() {
        insert(&mut *db, target, &compared.new).await?;
    }
    if !compared.changed.is_empty() {
        write(&mut *db, target, &compared.changed).await?;
    }
    actions::note(db, target, &actions).await?;
    Ok(compared.written)
}

/// The same without COPY, which a row that somebody else inserts meanwhile would end.
async fn upsert_by_statement(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<Written, Error> {
    let compared = compare(&mut *db, target, rows).await?;
    let actions = actions::of(&mut *db, target, &compared).await?;
    let all = [&*compared.new, &compared.changed].concat();
    if !all.is_empty() {
        write(&mut *db, target, &all).await?;
    }
    actions::note(db, target, &actions).await?;
    Ok(compared.written)
}

/// What storing some rows comes to.
#[derive(Debug)]
pub struct Compared<'a> {
    pub written: Written,
    /// Those that have no row yet.
    pub new: Vec<&'a Row<'a>>,
    /// Those whose row is another, or is marked as deleted.
    pub changed: Vec<&'a Row<'a>>,
    /// The ids of those whose row is marked as deleted.
    pub restored: HashSet<&'a str>,
}

/// Compares rows with what is stored.
pub async fn compare<'a>(db: &mut PgConnection, target: Target<'_>, rows: &'a [Row<'a>]) -> Result<Compared<'a>, Error> {
    let latest: HashMap<&str, usize, RandomState> = rows.iter().enumerate().map(|(index, row)| (row.id, index)).collect();
    let stored = stored_hashes(db, target, latest.keys().copied().collect()).await?;
    let mut compared = Compared { written: Written::default(), new: Vec::new(), changed: Vec::new(), restored: HashSet::new() };
    let written = &mut compared.written;
    for row in rows.iter().enumerate().filter(|(index, row)| latest[row.id] == *index).map(|(_, row)| row) {
        match stored.get(row.id) {
            Some(Some(before)) if *before == row.hash => {
                written.unchanged += 1;
                continue;
            }
            Some(Some(_)) => written.updated += 1,
            Some(None) => {
                written.restored += 1;
                compared.restored.insert(row.id);
            }
            None => {
                written.inserted += 1;
                compared.new.push(row);
                continue;
            }
        }
        compared.changed.push(row);
    }
    Ok(compared)
}

/// Id to hash. A row marked as deleted has no hash here: its record is back, so it has changed.
async fn stored_hashes(
    db: &mut PgConnection,
    target: Target<'_>,
    ids: Vec<&str>,
) -> Result<HashMap<String, Option<i64>, RandomState>, Error> {
    let sql = Sql::new("select planhat__id, case when _deleted_at is null then _row_hash end from ")
        .table(target.schema, target.object.name)
        .text(" where planhat__id = any($1)");
    let rows: Vec<(String, Option<i64>)> =
        query_as(sql.safe()).bind(ids).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    Ok(rows.into_iter().collect())
}

/// A value that storing a row would change, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct Difference {
    pub id: String,
    pub column: String,
    pub old: Option<Json<Value>>,
    pub new: Option<Json<Value>>,
}

/// What storing these rows would change, column by column. A row that is not there yet has no differences.
pub async fn differences(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<Vec<Difference>, Error> {
    let sql = differing(Sql::default(), target).text(" order by new.planhat__id, field.key");
    query_as(sql.safe())
        .bind(as_json(target.columns, rows))
        .fetch_all(db)
        .await
        .map_err(could_not("compare a page with its table"))
}

/// The statement for it, whose one parameter are the rows.
pub(super) fn differing(sql: Sql, target: Target<'_>) -> Sql {
    sql.text(
        "select new.planhat__id as id, field.key as column, nullif(stored.fields -> field.key, 'null') as old,
             nullif(field.value, 'null') as new
         from json_to_recordset($1::text::json) as new (",
    )
    .list(&sent(target.columns), |sql, (name, kind)| sql.name(name).text(" ").text(kind))
    .text(") join lateral (select to_jsonb(old) as fields from ")
    .table(target.schema, target.object.name)
    .text(
        " old where old.planhat__id = new.planhat__id offset 0) stored on true, jsonb_each(to_jsonb(new)) as field
             where field.key <> '_row_hash' and field.value is distinct from coalesce(stored.fields -> field.key, 'null')",
    )
}

/// The columns that a row brings, with their types.
fn sent(columns: &Columns) -> Vec<(&str, &'static str)> {
    columns
        .iter()
        .map(|column| (column.name.as_str(), column.kind.sql()))
        .chain([("_row_hash", "bigint"), ("_misfits", "jsonb"), ("_overflow", "jsonb")])
        .collect()
}

/// Rows as a statement takes them.
pub(super) fn as_json(columns: &Columns, rows: &[&Row<'_>]) -> String {
    let mut json = String::from("[");
    for row in rows {
        json.push_str(if json.len() > 1 { ",{" } else { "{" });
        for cell in &row.cells {
            let column = columns.at(cell.column);
            // PostgreSQL reads a text as it reads one of a COPY, whatever the type.
            let value =
                if column.kind == Kind::Json { cell.text.clone().into_owned() } else { Value::from(&*cell.text).to_string() };
            json.push_str(&format!("{}:{value},", Value::from(&*column.name)));
        }
        for (column, values) in [("_misfits", row.misfits_as_json()), ("_overflow", row.overflow_as_json())] {
            if let Some(values) = values {
                json.push_str(&format!("\"{column}\":{values},"));
            }
        }
        json.push_str(&format!("\"_row_hash\":{}}}", row.hash));
    }
    json + "]"
}

/// Copies rows that are not there yet, in no more columns than they fill.
async fn insert(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), Error> {
    let mut filled = vec![false; target.columns.len()];
    rows.iter().flat_map(|row| &row.cells).for_each(|cell| filled[cell.column] = true);
    let filled: Vec<usize> = (0..filled.len()).filter(|place| filled[*place]).collect();

    let sql = Sql::new("copy ").table(target.schema, target.object.name).text(" (");
    let sql = filled.iter().fold(sql, |sql, place| sql.name(&target.columns.at(*place).name).text(", "));
    let sql = sql.text("_row_hash, _misfits, _overflow, _run_id) from stdin");

    let mut copied = CopyText::default();
    let run_id = target.run_id.to_string();
    for row in rows {
        let mut cells = row.cells.iter().peekable();
        for place in &filled {
            copied.value(cells.next_if(|cell| cell.column == *place).map(|cell| &*cell.text));
        }
        copied.value(Some(&row.hash.to_string()));
        copied.value(row.misfits_as_json().as_deref());
        copied.value(row.overflow_as_json().as_deref());
        copied.value(Some(&run_id));
        copied.end_row();
    }
    copy_in(db, &sql, &copied).await
}

async fn write(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), Error> {
    let sent = sent(target.columns);
    let names = |sql: Sql| sql.list(&sent, |sql, (name, _)| sql.name(name));

    let mut sql = Sql::new("insert into ").table(target.schema, target.object.name).text(" (");
    sql = names(sql).text(", _run_id) select ");
    sql = names(sql).text(", $2 from json_to_recordset($1::text::json) as new (");
    sql = sql.list(&sent, |sql, (name, kind)| sql.name(name).text(" ").text(kind));
    sql = sql
        .text(") on conflict (planhat__id) do update set _synced_at = now(), _deleted_at = null, _run_id = excluded._run_id, ");
    sql = sql.list(&sent, |sql, (name, _)| sql.name(name).text(" = excluded.").name(name));
    query(sql.safe())
        .bind(as_json(target.columns, rows))
        .bind(target.run_id)
        .execute(db)
        .await
        .map_err(could_not("store a page"))?;
    Ok(())
}
