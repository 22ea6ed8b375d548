//! The data tables: one per object, with a column per property.
//!
//! Tables and columns are only ever added, so that users' views and grants stay valid. The column map in
//! `planhat_sync.columns` is authoritative: a table that a user dropped is created again from it. What is documented or declared has
//! its column from the start (`Columns::add_known`), so that a query does not depend on which values there are yet.

use std::collections::HashSet;
use std::time::Duration;

use planhat_model::catalog::{ColumnType, Object, Reference};
use planhat_model::error::ErrorKind;
use planhat_model::flatten::{Column, Columns};
use planhat_model::record::Origin;
use planhat_model::rules::Rules;
use sqlx::{Connection as _, FromRow, PgConnection};

use super::join_columns::{join_columns, with_join_columns};
use super::stored_value::{ColumnRules, Stored};
use crate::connection::limit_lock_waits;
use crate::sql::{Definition, Sql, query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not, could_not_define};

/// Creates a schema unless it is there. Asking first matters: PostgreSQL wants the privilege to
/// create one even when there is nothing to create.
pub(crate) async fn create_schema(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    let exists: bool = query_scalar("select exists (select from pg_namespace where nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *db)
        .await
        .map_err(could_not("look for a schema"))?;
    if !exists {
        let sql = Sql::new("create schema if not exists ").name(schema);
        sql.execute(db).await.map_err(could_not_define("create a schema"))?;
    }
    Ok(())
}

/// Whether the table of an object is there; an error if something else has its name.
pub async fn table_exists(db: &mut PgConnection, schema: &str, object: &Object) -> Result<bool, StoreError> {
    let found: Option<bool> = query_scalar(
        "select relkind in ('r', 'p') and exists (select from pg_attribute
                where attrelid = pg_class.oid and attname = '_row_hash' and not attisdropped)
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = $1 and relname = $2",
    )
    .bind(schema)
    .bind(object.name)
    .fetch_optional(db)
    .await
    .map_err(could_not("look for a table"))?;
    match found {
        Some(false) => Err(StoreError::NameTaken { relation: format!("{schema}.{}", object.name) }),
        found => Ok(found.is_some()),
    }
}

/// Creates the table of an object with our own columns and those the map knows of.
pub async fn create_table(db: &mut PgConnection, schema: &str, object: &Object) -> Result<(), StoreError> {
    lock_columns(db, schema, object).await?;
    if table_exists(db, schema, object).await? {
        return Ok(());
    }
    let known = load_columns(db, schema, object).await?;
    definition(schema, object, &known).execute(db).await.map_err(could_not_define("create a table"))
}

/// The statements that make a table with these columns.
pub fn table_sql(schema: &str, object: &Object, columns: &Columns) -> String {
    definition(schema, object, columns).to_string()
}

fn definition(schema: &str, object: &Object, columns: &Columns) -> Definition {
    let about = format!(
        "Planhat {}, one row per record, kept by planhat-sync. Its actions are called {} Created, Updated, Deleted and Restored.",
        object.name, object.action_noun
    );
    let table = Sql::new("create table ").table(schema, object.name).text(
        " (
    planhat__id text primary key,
    _row_hash bigint not null,
    _first_seen_at timestamptz not null default now(),
    _synced_at timestamptz not null default now(),
    _deleted_at timestamptz,
    _run_id bigint not null,
    _misfits jsonb,
    _overflow jsonb)",
    );
    let about = Sql::new("comment on table ").table(schema, object.name).text(" is ").literal(&about);
    let table = OWN_COLUMNS.iter().fold(Definition::default().statement(table).comment(about), |table, (column, meaning)| {
        table.comment(comment_on(schema, object, column, meaning))
    });
    let of_planhat: Vec<&Column> = columns.iter().filter(|column| column.name != ID).collect();
    let table = if of_planhat.is_empty() { table } else { table.and(with_columns(schema, object, &of_planhat)) };
    let for_joins = join_columns(object, columns);
    if for_joins.is_empty() { table } else { table.and(with_join_columns(schema, object, &for_joins)) }
}

/// `alter table` and the comments for these columns. One that is there already stays as it is, but for its comment.
pub(super) fn with_columns(schema: &str, object: &Object, columns: &[&Column]) -> Definition {
    let sql = Sql::new("alter table ").table(schema, object.name).list(columns, |sql, column| {
        sql.text("\n    add column if not exists ").name(&column.name).text(" ").text(column.kind.sql())
    });
    columns.iter().fold(Definition::default().statement(sql), |added, column| {
        added.comment(comment_on(schema, object, &column.name, &meaning_of(object, column)))
    })
}

/// What the comment of a column says.
pub(super) fn meaning_of(object: &Object, column: &Column) -> String {
    let origin = match column.origin {
        Origin::Property => "property",
        Origin::Custom => "custom field",
    };
    let is_it = |reference: &&Reference| column.origin == Origin::Property && reference.property == column.planhat_name;
    let refers_to = object.references.iter().find(is_it).map(|reference| format!(", refers to {}", reference.to));
    format!("{} ({origin}, {}){}", column.planhat_name, column.kind.sql(), refers_to.unwrap_or_default())
}

const ID: &str = "planhat__id";
const OWN_COLUMNS: [(&str, &str); 8] = [
    ("planhat__id", "_id (property, text)"),
    (
        "_row_hash",
        "hash of the record as it came, behind 8 bits that say by which version; one with the same hash is not written again",
    ),
    ("_first_seen_at", "when the record was first stored"),
    ("_synced_at", "when this version was written"),
    ("_deleted_at", "when the record was found deleted at Planhat; null while it exists there"),
    ("_run_id", "the run that wrote this version, see planhat_sync.runs"),
    ("_misfits", "type mismatches: values that do not fit the type of their column, by column name; the column itself is null"),
    ("_overflow", "values that have no column, or no room in the row, by their Planhat names"),
];

/// Adds columns to a table and to the map. `position` is the number of columns there are already.
pub async fn add_columns(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    position: usize,
    columns: &[Column],
) -> Result<(), StoreError> {
    if columns.is_empty() {
        return Ok(());
    }
    let added = with_columns(schema, object, &columns.iter().collect::<Vec<_>>());
    added.execute(db).await.map_err(could_not_define("add columns to a table"))?;
    register(db, schema, object, position, columns).await
}

/// Changes a table in a way that nothing depends on yet: returns why not where somebody is in the way, or the role or a rule
/// of the database does not allow it. Then nothing of it was done.
pub async fn if_allowed<T>(
    db: &mut PgConnection,
    change: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<Result<T, StoreError>, StoreError> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    match change(&mut savepoint).await {
        Ok(done) => {
            savepoint.commit().await.map_err(could_not("release a savepoint"))?;
            Ok(Ok(done))
        }
        Err(error) => match error.kind() {
            ErrorKind::LockTimeout
            | ErrorKind::PrivilegeMissing
            | ErrorKind::DefinitionRefused(_)
            | ErrorKind::DataRefused(_) => {
                savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
                Ok(Err(error))
            }
            _ => Err(error),
        },
    }
}

/// Makes columns again that the map knows and a user has dropped. The rows lose their hashes, so that they are
/// written again, with what the columns held, when their records are next read.
pub async fn recreate_dropped_columns(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    columns: &Columns,
) -> Result<(), StoreError> {
    let there: Vec<String> = query_scalar(
        "select attname::text from pg_attribute join pg_class on pg_class.oid = attrelid
             join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = $1 and relname = $2 and attnum > 0 and not attisdropped",
    )
    .bind(schema)
    .bind(object.name)
    .fetch_all(&mut *db)
    .await
    .map_err(could_not("read the columns of a table"))?;
    let there: HashSet<String> = there.into_iter().collect();
    let missing: Vec<&Column> = columns.iter().filter(|column| !there.contains(&column.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let added = with_columns(schema, object, &missing);
    added.execute(&mut *db).await.map_err(could_not_define("add columns to a table"))?;
    let sql = Sql::new("update ").table(schema, object.name).text(" set _row_hash = 0");
    sql.execute(db).await.map_err(could_not("have rows written again"))
}

/// Lets only one transaction at a time make columns of an object, and none wait long for readers of the
/// table: whoever waits for this lock makes everybody behind it wait too. The lock is the object's first row in the map.
pub async fn lock_columns(db: &mut PgConnection, schema: &str, object: &Object) -> Result<(), StoreError> {
    wait_briefly(&mut *db).await?;
    // Two transactions that make the first row wait for each other here.
    let waited = || could_not("wait for another change of the table");
    query(
        "insert into planhat_sync.columns (workspace, object, position, column_name, origin, planhat_name, type)
         values ($1, $2, 0, $3, 'property', '_id', 'text') on conflict do nothing",
    )
    .bind(schema)
    .bind(object.name)
    .bind(ID)
    .execute(&mut *db)
    .await
    .map_err(waited())?;
    query("select from planhat_sync.columns where workspace = $1 and object = $2 and column_name = $3 for update")
        .bind(schema)
        .bind(object.name)
        .bind(ID)
        .execute(db)
        .await
        .map_err(waited())?;
    Ok(())
}

/// The same for all objects that have a table: what follows from the tables of a schema (the view timeline, the table of keys) is
/// made by one transaction at a time, and from tables that stay as they are meanwhile.
pub(crate) async fn lock_all_columns(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    wait_briefly(&mut *db).await?;
    // In order, so that two of them do not wait for each other.
    query("select from planhat_sync.columns where workspace = $1 and column_name = $2 order by object for update")
        .bind(schema)
        .bind(ID)
        .execute(db)
        .await
        .map_err(could_not("wait for another change of the tables"))?;
    Ok(())
}

/// From here to the end of the transaction no lock is waited for longer than some seconds.
pub(crate) async fn wait_briefly(db: &mut PgConnection) -> Result<(), StoreError> {
    limit_lock_waits(db, Duration::from_secs(5)).await
}

pub(super) fn comment_on(schema: &str, object: &Object, column: &str, meaning: &str) -> Sql {
    Sql::new("comment on column ").table(schema, object.name).text(".").name(column).text(" is ").literal(meaning)
}

async fn register(
    db: &mut PgConnection,
    schema: &str,
    object: &Object,
    position: usize,
    columns: &[Column],
) -> Result<(), StoreError> {
    let of = |field: fn(&Column) -> &str| columns.iter().map(|column| field(column).to_owned()).collect::<Vec<_>>();
    query(
        "insert into planhat_sync.columns (workspace, object, position, column_name, origin, planhat_name, type)
         select $1, $2, $3 + ordinality - 1, column_name, origin, planhat_name, type
         from unnest($4::text[], $5::text[], $6::text[], $7::text[])
             with ordinality as new (column_name, origin, planhat_name, type, ordinality)",
    )
    .bind(schema)
    .bind(object.name)
    .bind(position as i64)
    .bind(of(|column| &column.name))
    .bind(of(|column| column.origin.as_str()))
    .bind(of(|column| &column.planhat_name))
    .bind(of(|column| column.kind.sql()))
    .execute(db)
    .await
    .map_err(could_not("note new columns in planhat_sync.columns"))?;
    Ok(())
}

#[derive(FromRow)]
struct ColumnRow {
    column_name: String,
    origin: String,
    planhat_name: String,
    r#type: String,
}

/// The columns of an object as the map knows them.
pub async fn load_columns(db: &mut PgConnection, schema: &str, object: &Object) -> Result<Columns, StoreError> {
    let rows: Vec<ColumnRow> = query_as(
        "select column_name, origin, planhat_name, type from planhat_sync.columns
         where workspace = $1 and object = $2 order by position",
    )
    .bind(schema)
    .bind(object.name)
    .fetch_all(db)
    .await
    .map_err(could_not("read planhat_sync.columns"))?;
    rows.into_iter()
        .map(|row| {
            let origin = Origin::parse(&row.origin);
            let kind = ColumnType::from_sql(&row.r#type);
            Ok(Column {
                origin: origin.ok_or(StoreError::UnknownValue { column: "columns.origin", value: row.origin })?,
                kind: kind.ok_or(StoreError::UnknownValue { column: "columns.type", value: row.r#type })?,
                name: row.column_name,
                planhat_name: row.planhat_name,
            })
        })
        .collect()
}

/// Rows of an object's table, without those marked as deleted.
pub async fn row_count(db: &mut PgConnection, schema: &str, object: &Object) -> Result<i64, StoreError> {
    let sql = Sql::new("select count(*) from ").table(schema, object.name).text(" where _deleted_at is null");
    sql.query_scalar().fetch_one(db).await.map_err(could_not("count the rows of a table"))
}

/// Whether an object's table has no row, not even one marked as deleted.
pub async fn is_empty_table(db: &mut PgConnection, schema: &str, object: &Object) -> Result<bool, StoreError> {
    let sql = Sql::new("select not exists (select from ").table(schema, object.name).text(")");
    sql.query_scalar().fetch_one(db).await.map_err(could_not("look for rows"))
}

/// Some rows of an object's table, for people to look at.
#[derive(Debug, Clone, Copy)]
pub struct SampleQuery<'a> {
    pub schema: &'a str,
    pub object: &'a Object,
    pub rules: Option<&'a Rules>,
    pub columns: &'a [&'a str],
    /// `where …`, or nothing.
    pub condition: &'static str,
}

/// The first of these rows as texts.
pub async fn sample(db: &mut PgConnection, wanted: SampleQuery<'_>, count: i64) -> Result<Vec<Vec<String>>, StoreError> {
    let SampleQuery { schema, object, rules, columns, condition } = wanted;
    let known = load_columns(&mut *db, schema, object).await?;
    let sql = Sql::new("select array[")
        .list(columns, |sql, column| sql.text("coalesce(").name(column).text("::text, '')"))
        .text("] from ")
        .table(schema, object.name)
        .text(condition)
        .text(" order by planhat__id limit $1");
    let rows: Vec<Vec<Stored<String>>> =
        sql.query_scalar().bind(count).fetch_all(db).await.map_err(could_not("read some rows of a table"))?;
    let rules = ColumnRules { rules, columns: &known };
    let masked =
        |row: Vec<Stored<String>>| row.into_iter().zip(columns).map(|(text, column)| text.masked(rules, column)).collect();
    Ok(rows.into_iter().map(masked).collect())
}
