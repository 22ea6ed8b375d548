//! Companies and end users as people call them: by name, email, external id or id.
//!
//! A name that a rule hides finds nobody: only what may be shown is compared.

use planhat_model::catalog::Object;
use planhat_model::flatten::Columns;
use planhat_model::rules::Rules;
use sqlx::PgConnection;

use super::stored_value::{ColumnRules, RecordId, Stored};
use super::tables::{load_columns, table_exists};
use crate::sql::Sql;
use crate::store_error::{StoreError, could_not};

/// A record with what people may call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRecord {
    pub id: String,
    /// Name, email and external id, as far as it has them and they may be shown; the name first.
    pub names: Vec<String>,
}

/// Whose records are searched.
#[derive(Debug, Clone, Copy)]
pub struct NameQuery<'a> {
    pub schema: &'a str,
    pub object: &'a Object,
    pub rules: Option<&'a Rules>,
}

/// The columns that name a record.
const NAMES: [&str; 3] = ["planhat__name", "planhat__email", "planhat__external_id"];

/// The records that a text may mean, the likeliest first: those with this id or name, then those whose name begins with it, then
/// those whose name contains it.
pub async fn named_records(
    db: &mut PgConnection,
    wanted: NameQuery<'_>,
    text: &str,
    count: i64,
) -> Result<Vec<NamedRecord>, StoreError> {
    let Some(columns) = columns_of(&mut *db, wanted).await? else { return Ok(Vec::new()) };
    let names = naming(&columns);
    let any = |sql: Sql, is_like: &'static str| {
        names
            .iter()
            .fold(sql.text("planhat__id").text(is_like), |sql, name| sql.text(" or ").name(name).text("::text").text(is_like))
    };
    let sql = any(select(wanted, &names).text(" where "), " ilike $3").text(" order by case when ");
    let sql = any(any(sql, " ilike $1").text(" then 0 when "), " ilike $2").text(" then 1 else 2 end, planhat__id limit $4");
    let pattern = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let [begins, contains] = [format!("{pattern}%"), format!("%{pattern}%")];
    let found = sql.query_as().bind(pattern).bind(begins).bind(contains).bind(count).fetch_all(db).await;
    Ok(shown(found.map_err(could_not("look for records by name"))?, wanted, &columns))
}

/// Some of all records, to see whose name is like another.
pub async fn some_named_records(
    db: &mut PgConnection,
    wanted: NameQuery<'_>,
    count: i64,
) -> Result<Vec<NamedRecord>, StoreError> {
    let Some(columns) = columns_of(&mut *db, wanted).await? else { return Ok(Vec::new()) };
    let sql = select(wanted, &naming(&columns)).text(" order by planhat__id limit $1");
    let found = sql.query_as().bind(count).fetch_all(db).await;
    Ok(shown(found.map_err(could_not("look for records by name"))?, wanted, &columns))
}

type Found = (RecordId, Vec<Option<Stored<String>>>);

/// The columns of the table, if it is there.
async fn columns_of(db: &mut PgConnection, wanted: NameQuery<'_>) -> Result<Option<Columns>, StoreError> {
    if !table_exists(&mut *db, wanted.schema, wanted.object).await? {
        return Ok(None);
    }
    load_columns(db, wanted.schema, wanted.object).await.map(Some)
}

/// Those of the columns that there are.
fn naming(columns: &Columns) -> Vec<&'static str> {
    NAMES.into_iter().filter(|name| columns.named(name).is_some()).collect()
}

fn select(wanted: NameQuery<'_>, names: &[&'static str]) -> Sql {
    let sql = Sql::new("select planhat__id, array[").list(names, |sql, name| sql.name(name).text("::text"));
    sql.text("]::text[] from ").table(wanted.schema, wanted.object.name)
}

fn shown(found: Vec<Found>, wanted: NameQuery<'_>, columns: &Columns) -> Vec<NamedRecord> {
    let (names, rules) = (naming(columns), ColumnRules { rules: wanted.rules, columns });
    let shown = |(RecordId(id), values): Found| {
        let values = values.into_iter().zip(&names).filter_map(|(value, column)| Some(value?.masked(rules, column)));
        NamedRecord { id, names: values.filter(|name| !name.is_empty()).collect() }
    };
    found.into_iter().map(shown).collect()
}
