//! Writes the rows of a page, unchanged ones excepted.
//!
//! The hashes of the page's rows are asked for first: an idle day then writes nothing at all, no row,
//! no WAL, no bloat. New and changed rows go over in one statement each, as an array of texts for each column, which
//! PostgreSQL reads as exactly as it would those of a COPY, and as fast; a COPY waits for the network twice, and on TCP,
//! by this driver, for a delayed acknowledgement of 40 ms besides. A column that a row does not mention becomes NULL: the
//! record is whole, so what it lacks was cleared at Planhat.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use planhat_model::catalog::Object;
use planhat_model::flatten::{Column, Columns, Row};
use planhat_model::rules::Rules;
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Connection as _, FromRow, PgConnection};

use crate::sql::{Sql, query, query_as, query_as_with, query_with};
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_log::{self as actions, ActionPolicy};

/// What became of the rows of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowCounts {
    pub inserted: u64,
    pub updated: u64,
    /// Rows that were marked as deleted.
    pub restored: u64,
    pub unchanged: u64,
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
    /// What of the object may be kept, if there are rules for it.
    pub rules: Option<&'a Rules>,
}

/// Stores rows as `upsert` does, and where PostgreSQL refuses, halves them until it is known which.
pub async fn upsert_bisecting(
    db: &mut PgConnection,
    target: Target<'_>,
    rows: &[Row<'_>],
) -> Result<(RowCounts, Vec<RefusedRow>), StoreError> {
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
    /// Whether the table is as it was.
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
    }
}

/// Stores rows by id, and each change as an action. Of rows with the same id the last one counts.
pub async fn upsert(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<RowCounts, StoreError> {
    let compared = compare(&mut *db, target, rows).await?;
    let actions = actions::actions_of_page(&mut *db, target, &compared).await?;
    insert(&mut *db, target, &compared.new).await?;
    insert_or_update(&mut *db, target, &compared.changed).await?;
    actions::write_actions(db, target, &actions).await?;
    Ok(compared.counts)
}

/// The same where it may be that somebody else has inserted a row meanwhile.
async fn upsert_racing(db: &mut PgConnection, target: Target<'_>, rows: &[Row<'_>]) -> Result<RowCounts, StoreError> {
    let compared = compare(&mut *db, target, rows).await?;
    let actions = actions::actions_of_page(&mut *db, target, &compared).await?;
    let all = [&*compared.new, &compared.changed].concat();
    insert_or_update(&mut *db, target, &all).await?;
    actions::write_actions(db, target, &actions).await?;
    Ok(compared.counts)
}

/// What storing some rows comes to.
#[derive(Debug)]
pub struct PageDiff<'a> {
    pub counts: RowCounts,
    /// Those that have no row yet.
    pub new: Vec<&'a Row<'a>>,
    /// Those whose row is another, or is marked as deleted.
    pub changed: Vec<&'a Row<'a>>,
    /// The ids of those whose row is marked as deleted.
    pub restored: HashSet<&'a str>,
}

/// Compares rows with what is stored.
pub async fn compare<'a>(db: &mut PgConnection, target: Target<'_>, rows: &'a [Row<'a>]) -> Result<PageDiff<'a>, StoreError> {
    let latest: HashMap<&str, usize, RandomState> = rows.iter().enumerate().map(|(index, row)| (row.id, index)).collect();
    let stored = stored_hashes(db, target, latest.keys().copied().collect()).await?;
    let mut compared = PageDiff { counts: RowCounts::default(), new: Vec::new(), changed: Vec::new(), restored: HashSet::new() };
    let counts = &mut compared.counts;
    for row in rows.iter().enumerate().filter(|(index, row)| latest[row.id] == *index).map(|(_, row)| row) {
        match stored.get(row.id) {
            Some(Some(before)) if *before == row.hash => {
                counts.unchanged += 1;
                continue;
            }
            Some(Some(_)) => counts.updated += 1,
            Some(None) => {
                counts.restored += 1;
                compared.restored.insert(row.id);
            }
            None => {
                counts.inserted += 1;
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
) -> Result<HashMap<String, Option<i64>, RandomState>, StoreError> {
    let sql = select_by_ids(target.schema, target.object, "planhat__id, case when _deleted_at is null then _row_hash end");
    let rows: Vec<(String, Option<i64>)> =
        query_as(sql.safe()).bind(ids).fetch_all(db).await.map_err(could_not("compare a page with its table"))?;
    Ok(rows.into_iter().collect())
}

/// Asks for something of the rows with the ids in `$1`, by a look-up for each: for `= any($1)` PostgreSQL would rather read a
/// whole table of some size, again for every page.
pub(crate) fn select_by_ids(schema: &str, object: &Object, what: &'static str) -> Sql {
    Sql::new("select stored.* from unnest($1::text[]) as asked (id) cross join lateral (select ")
        .text(what)
        .text(" from ")
        .table(schema, object.name)
        .text(" where planhat__id = asked.id offset 0) as stored")
}

/// A value that storing a row would change, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, FromRow)]
pub struct Difference {
    pub id: String,
    pub column: String,
    #[sqlx(json(nullable))]
    pub old: Option<Value>,
    #[sqlx(json(nullable))]
    pub new: Option<Value>,
}

/// What storing these rows would change, column by column. A row that is not there yet has no differences.
pub async fn differences(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<Vec<Difference>, StoreError> {
    let by_column = ByColumn::of(target.columns, rows);
    let sql = differences_sql(Sql::default(), target, &by_column).text(" order by new.planhat__id, field.key");
    query_as_with(sql.safe(), by_column.arguments()?).fetch_all(db).await.map_err(could_not("compare a page with its table"))
}

/// The statement for it.
pub(crate) fn differences_sql(sql: Sql, target: Target<'_>, rows: &ByColumn<'_>) -> Sql {
    let sql = sql.text(
        "select new.planhat__id as id, field.key as column, nullif(stored.fields -> field.key, 'null') as old,
             nullif(field.value, 'null') as new
         from (",
    );
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

/// Rows by column, as a statement takes them: for each an array of texts, as PostgreSQL reads values of its type.
pub(crate) struct ByColumn<'a> {
    all: &'a Columns,
    /// The columns that any of the rows fills, by their places, with their values.
    filled: Vec<(usize, Vec<Option<&'a str>>)>,
    /// The columns of our own, with their types.
    own: [(&'static str, &'static str, Vec<Option<String>>); 3],
}

impl<'a> ByColumn<'a> {
    pub(crate) fn of(columns: &'a Columns, rows: &[&'a Row<'_>]) -> ByColumn<'a> {
        let mut by_place: Vec<Option<Vec<Option<&str>>>> = vec![None; columns.len()];
        for (index, row) in rows.iter().enumerate() {
            for cell in &row.cells {
                by_place[cell.column].get_or_insert_with(|| vec![None; rows.len()])[index] = Some(&cell.text);
            }
        }
        let filled = by_place.into_iter().enumerate().filter_map(|(place, values)| Some((place, values?)));
        ByColumn {
            all: columns,
            filled: filled.collect(),
            own: [
                ("_row_hash", "bigint", rows.iter().map(|row| Some(row.hash.to_string())).collect()),
                ("_misfits", "jsonb", rows.iter().map(|row| row.misfits_as_json()).collect()),
                ("_overflow", "jsonb", rows.iter().map(|row| row.overflow_as_json()).collect()),
            ],
        }
    }

    /// The columns with their types, in the order of the parameters.
    fn sent(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let filled = self.filled.iter().map(|(place, _)| self.all.at(*place)).map(|column| (&*column.name, column.kind.sql()));
        filled.chain(self.own.iter().map(|(name, kind, _)| (*name, *kind)))
    }

    /// The columns that no row fills.
    fn empty(&self) -> impl Iterator<Item = &Column> {
        let mut filled = self.filled.iter().map(|(place, _)| *place).peekable();
        (0..self.all.len()).filter(move |place| filled.next_if_eq(place).is_none()).map(|place| self.all.at(place))
    }

    fn names(&self, sql: Sql) -> Sql {
        sql.list(self.sent(), |sql, (name, _)| sql.name(name))
    }

    /// `select …`, one row of typed columns for each of the rows.
    fn select(&self, sql: Sql) -> Sql {
        let typed = |sql: Sql, (name, kind): (&str, &'static str)| {
            sql.text("sent.").name(name).text("::").text(kind).text(" as ").name(name)
        };
        sql.text("select ").list(self.sent(), typed)
    }

    /// `from …` that goes with it.
    fn from(&self, sql: Sql) -> Sql {
        let sql = sql.text(" from unnest(").list(1..=self.count(), |sql, number| sql.parameter(number).text("::text[]"));
        self.names(sql.text(") as sent (")).text(")")
    }

    fn count(&self) -> usize {
        self.filled.len() + self.own.len()
    }

    pub(crate) fn arguments(&self) -> Result<PgArguments, StoreError> {
        let mut arguments = PgArguments::default();
        let added = self.filled.iter().try_for_each(|(_, values)| arguments.add(values));
        added
            .and_then(|()| self.own.iter().try_for_each(|(_, _, values)| arguments.add(values)))
            .map_err(|source| could_not("send a page")(sqlx::Error::Encode(source)))?;
        Ok(arguments)
    }
}

/// Inserts rows that are not there yet.
async fn insert(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let by_column = ByColumn::of(target.columns, rows);
    execute(db, target, &by_column, inserting(target, &by_column)).await
}

async fn insert_or_update(db: &mut PgConnection, target: Target<'_>, rows: &[&Row<'_>]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let by_column = ByColumn::of(target.columns, rows);
    let sql = inserting(target, &by_column)
        .text(" on conflict (planhat__id) do update set _synced_at = now(), _deleted_at = null, _run_id = excluded._run_id, ");
    // What is not inserted is NULL in what was to be inserted.
    let every = target.columns.iter().map(|column| &*column.name).chain(by_column.own.iter().map(|(name, ..)| *name));
    let sql = sql.list(every, |sql, name| sql.name(name).text(" = excluded.").name(name));
    execute(db, target, &by_column, sql).await
}

fn inserting(target: Target<'_>, rows: &ByColumn<'_>) -> Sql {
    let sql = Sql::new("insert into ").table(target.schema, target.object.name).text(" (");
    let sql = rows.select(rows.names(sql).text(", _run_id) ")).text(", ").parameter(rows.count() + 1);
    rows.from(sql)
}

async fn execute(db: &mut PgConnection, target: Target<'_>, rows: &ByColumn<'_>, sql: Sql) -> Result<(), StoreError> {
    query_with(sql.safe(), rows.arguments()?).bind(target.run_id).execute(db).await.map_err(could_not("store a page"))?;
    Ok(())
}
