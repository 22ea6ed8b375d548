//! Masks what is stored already, where it is: rows, for rules that are newer than they, and for people who are forgotten.
//!
//! ```text
//! suspects, found by SQL -> the record behind each row -> what is kept of it -> flattened as a new record -> the same row
//! ```
//!
//! So a masked row is the row that its record would have made, down to what is a misfit and what overflows, and the
//! next scan finds nothing to change. Nobody has seen the record meanwhile, so the row says that its hash is unknown, and the next
//! scan compares columns. A masked row is no new version: it keeps its times and its run, and there is no action for it.
//!
//! Tables are walked through by id, some rows a transaction, so that no transaction is long, and what was done is kept when
//! the process dies. Whatever is masked already is no suspect or stays as it is, so doing it again does the rest.

use planhat_model::catalog::{ColumnType, Object};
use planhat_model::flatten::{COMPARED_BY_COLUMNS, Column, Columns, IgnoredFields, Row, RowHash, flatten};
use planhat_model::record::{Json, Origin, Record};
use planhat_model::rules::{FORGOTTEN, ForgottenRecords, Kept, REDACTED, Rule, Rules, kept_record};
use sqlx::{Connection as _, PgConnection};

use super::erased_terms::Terms;
use super::rows_by_column::RowsByColumn;
use super::stored_value::{RecordId, RowText, Stored};
use crate::sql::{Sql, query};
use crate::store_error::{StoreError, could_not};

/// Rows that a transaction looks at.
const BATCH: i64 = 500;
/// A row that is too wide for PostgreSQL is tried with less and less in its columns.
const ROOM: [usize; 3] = [5_000, 2_500, 0];

/// By what stored values are masked.
#[derive(Debug, Clone, Copy)]
pub enum Masking<'a> {
    /// What the privacy rules of the object leave.
    Rules(&'a Rules),
    /// Without references to people who are forgotten, who are found by these terms.
    Forgotten { forgotten: &'a ForgottenRecords, terms: &'a Terms },
}

/// A table of which stored values are masked, with its actions and its records in quarantine.
#[derive(Debug, Clone, Copy)]
pub struct MaskedTable<'a> {
    pub schema: &'a str,
    pub object: &'a Object,
    pub columns: &'a Columns,
    pub masking: Masking<'a>,
    pub pass: Pass,
}

/// Whether anything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Only counts what would be.
    Count,
    Write,
}

/// What became of some of the rows, actions or entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaskedCounts {
    pub masked: u64,
    /// PostgreSQL would not take them masked: a constraint or trigger of the user's.
    pub refused: u64,
}

impl std::ops::AddAssign for MaskedCounts {
    fn add_assign(&mut self, other: MaskedCounts) {
        self.masked += other.masked;
        self.refused += other.refused;
    }
}

impl Masking<'_> {
    pub(crate) fn kept(self, origin: Origin, name: &str, value: Json<'_>) -> Kept {
        match self {
            Masking::Rules(rules) => rules.kept_of_stored(origin, name, value),
            Masking::Forgotten { forgotten, .. } => forgotten.kept(origin, name, value),
        }
    }

    /// Whether a record is erased as a whole, and last: until then it tells for what to look elsewhere.
    pub(crate) fn erases(self, object: &Object, id: &str) -> bool {
        matches!(self, Masking::Forgotten { forgotten, .. } if forgotten.has(object.name, id))
    }
}

impl MaskedTable<'_> {
    /// Whether the hashes of all rows are others under the rules, masked or not: the rules are part of the hashes, or a
    /// value that means nothing was hashed and left no trace in its column.
    fn changes_all_hashes(self, ignore_changes: &IgnoredFields) -> bool {
        let Masking::Rules(rules) = self.masking else { return false };
        let is_traceless = |origin, name: &str, kind| rules.of(origin, name) == Rule::Exclude && kind != ColumnType::Text;
        ignore_changes.hashes_rules()
            || self.columns.iter().any(|column| is_traceless(column.origin, &column.planhat_name, column.kind))
    }
}

/// Masks the rows behind an id, some of them. Returns the id from which to go on, if there are more.
pub async fn mask_rows(
    db: &mut PgConnection,
    table: MaskedTable<'_>,
    ignore_changes: &IgnoredFields,
    behind: &str,
) -> Result<(MaskedCounts, Option<String>), StoreError> {
    let last = last_of_batch(&mut *db, table, behind).await?;
    let masked = suspects(&mut *db, table, behind, last.as_deref()).await?;
    let records: Vec<Record> = masked.into_iter().filter_map(|row| masked_record(table, &row)).collect();
    let mut counts = MaskedCounts { masked: records.len() as u64, refused: 0 };
    if table.pass == Pass::Write {
        let rows: Vec<Row<'_>> = flatten(table.columns, ignore_changes, &records)
            .into_iter()
            .map(|row| Row { hash: RowHash::of_masked(), ..row })
            .collect();
        let refused = write_masked(&mut *db, table, &rows).await?;
        counts = MaskedCounts { masked: counts.masked - refused, refused };
        if table.changes_all_hashes(ignore_changes) {
            forget_hashes(db, table, behind, last.as_deref()).await?;
        }
    }
    Ok((counts, last))
}

/// The id of the last row of a batch; none if the batch is the last one.
async fn last_of_batch(db: &mut PgConnection, table: MaskedTable<'_>, behind: &str) -> Result<Option<String>, StoreError> {
    let sql = Sql::new("select planhat__id from ")
        .table(table.schema, table.object.name)
        .text(" where planhat__id > $1 order by planhat__id offset $2 limit 1");
    let last = sql.query_scalar().bind(behind).bind(BATCH - 1).fetch_optional(db).await;
    Ok(last.map_err(could_not("look for values to mask"))?.map(|RecordId(id)| id))
}

async fn suspects(
    db: &mut PgConnection,
    table: MaskedTable<'_>,
    behind: &str,
    last: Option<&str>,
) -> Result<Vec<Stored<RowText>>, StoreError> {
    let sql = Sql::new("select to_jsonb(stored)::text from ")
        .table(table.schema, table.object.name)
        .text(" as stored where planhat__id > $1 and ($2::text is null or planhat__id <= $2) and (");
    let sql = is_suspect(sql, table).text(") order by planhat__id");
    sql.query_scalar().bind(behind).bind(last).fetch_all(db).await.map_err(could_not("look for values to mask"))
}

/// A condition that every row with a value to mask fulfils, and few others.
fn is_suspect(sql: Sql, table: MaskedTable<'_>) -> Sql {
    match table.masking {
        Masking::Forgotten { terms, .. } => contains_any(sql, "stored::text", terms),
        Masking::Rules(rules) => {
            let rule_of = |column: &Column| rules.of(column.origin, &column.planhat_name);
            let ruled: Vec<_> = table.columns.iter().filter(|column| rule_of(column) != Rule::Include).collect();
            let sql = ruled.iter().fold(sql.text("_overflow is not null"), |sql, column| {
                let sql = sql.text(" or (").name(&column.name).text(" is not null");
                let text = |sql: Sql| sql.text(" and (to_jsonb(").name(&column.name).text(") #>> '{}')");
                let sql = match rule_of(column) {
                    Rule::Include | Rule::Exclude => sql,
                    Rule::Hash | Rule::Redact => {
                        text(sql).text(" not in ('', 'undefined', ").literal(REDACTED).text(", ").literal(FORGOTTEN).text(")")
                    }
                };
                let sql = if rule_of(column) == Rule::Hash { text(sql).text(" !~ '^[0-9a-f]{64}$'") } else { sql };
                sql.text(")")
            });
            if ruled.is_empty() { sql } else { names_of(sql.text(" or _misfits ?| "), ruled.iter().map(|column| &*column.name)) }
        }
    }
}

/// An array of texts.
pub(crate) fn names_of<'a>(sql: Sql, names: impl IntoIterator<Item = &'a str>) -> Sql {
    sql.text("array[").list(names, Sql::literal).text("]::text[]")
}

/// Whether a text has any of these terms in it, in capital or small letters. Of a term the longest part is looked for that
/// no spelling of PostgreSQL changes, so that what is found is little more than what is meant.
pub(crate) fn contains_any(sql: Sql, text: &'static str, terms: &Terms) -> Sql {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-' | '_' | '+');
    terms.all().iter().fold(sql.text("false"), |sql, term| {
        let part = term.split(|c| !is_plain(c)).max_by_key(|part| part.len()).unwrap_or_default();
        sql.text(" or strpos(lower(").text(text).text("), ").literal(part).text(") > 0")
    })
}

/// What is kept of the record behind a row; none if the row stays as it is.
fn masked_record(table: MaskedTable<'_>, row: &Stored<RowText>) -> Option<Record> {
    let record = row.record(table.columns)?;
    if table.masking.erases(table.object, &record.id) {
        return None;
    }
    kept_record(&record, &|origin, name, value| table.masking.kept(origin, name, value)).ok()?
}

/// Writes masked rows in their own places. Returns how many PostgreSQL refuses.
async fn write_masked(db: &mut PgConnection, table: MaskedTable<'_>, rows: &[Row<'_>]) -> Result<u64, StoreError> {
    if rows.is_empty() || try_write(&mut *db, table, &rows.iter().collect::<Vec<_>>()).await? {
        return Ok(0);
    }
    let mut refused = 0;
    for row in rows {
        let narrower = ROOM.map(|room| row.with_less_in_columns(table.columns, room));
        let mut is_written = false;
        for attempt in [row].into_iter().chain(&narrower) {
            is_written = try_write(&mut *db, table, &[attempt]).await?;
            if is_written {
                break;
            }
        }
        refused += u64::from(!is_written);
    }
    Ok(refused)
}

/// Writes rows behind a savepoint; false if PostgreSQL refuses one. Its words may quote a value.
async fn try_write(db: &mut PgConnection, table: MaskedTable<'_>, rows: &[&Row<'_>]) -> Result<bool, StoreError> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    let by_column = RowsByColumn::of(table.columns, rows);
    let sql = Sql::new("update ").table(table.schema, table.object.name).text(" as stored set ");
    let sql = by_column.from(by_column.select(by_column.assign(sql).text(" from (")));
    let sql = sql.text(") as masked where stored.planhat__id = masked.planhat__id");
    let written = sql.query_with(by_column.arguments()?).execute(&mut *savepoint).await.map_err(could_not("mask rows"));
    let written = match written {
        Ok(_) => query("set constraints all immediate").execute(&mut *savepoint).await.map_err(could_not("mask rows")),
        refused => refused,
    };
    match written {
        Ok(_) => savepoint.commit().await.map_err(could_not("release a savepoint")).map(|()| true),
        Err(error) => {
            savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
            if error.refusal().is_some() { Ok(false) } else { Err(error) }
        }
    }
}

/// Lets the next scan compare all rows of a batch by their columns.
async fn forget_hashes(
    db: &mut PgConnection,
    table: MaskedTable<'_>,
    behind: &str,
    last: Option<&str>,
) -> Result<(), StoreError> {
    let sql = Sql::new("update ").table(table.schema, table.object.name).text(
        " set _row_hash = $3 where planhat__id > $1 and ($2::text is null or planhat__id <= $2) and _row_hash <> $3
             and _deleted_at is null",
    );
    sql.query().bind(behind).bind(last).bind(COMPARED_BY_COLUMNS).execute(db).await.map_err(could_not("mask rows"))?;
    Ok(())
}
