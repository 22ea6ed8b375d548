//! The table `keys` of the data schema: which column points to which table, and how to join them.
//!
//! It has what is there now, by columns and by their types, so that a program can read from it which joins there are. It is a
//! table and no view, so that dumps and replicas of the schema have it without the tool's own tables.

use planhat_model::catalog::{self, Reference};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection};

use super::join_columns;
use super::tables::lock_all_columns;
use crate::sql::{Definition, Sql, query_as};
use crate::store_error::{StoreError, could_not, could_not_define};
use crate::timeline::view;

/// The table in the data schema.
pub(crate) const TABLE: &str = "keys";
const COLUMNS: [(&str, &str); 7] = [
    ("table_name", "the table that refers to another one"),
    ("column_name", "the column that does"),
    ("property", "the property of Planhat that it comes from"),
    ("kind", "id: a text; ids: an array of texts; json: an id or an object with one; json array: an array of such"),
    ("references_table", "the table that it refers to; other is its name in join_condition if that is the same table"),
    ("references_column", "the column that it refers to"),
    ("join_condition", "what to write behind on"),
];

/// A column that refers to a table.
#[derive(Debug, Serialize)]
struct Key {
    table_name: String,
    column_name: String,
    property: String,
    kind: String,
    references_table: String,
    references_column: String,
    join_condition: String,
}

/// Makes the table if it is missing, and brings it up to date, looking first.
pub async fn refresh_keys(db: &mut PgConnection, schema: &str) -> Result<(), StoreError> {
    let keys = keys_of(&mut *db, schema).await?;
    if keys_table_exists(&mut *db, schema).await? && has_keys(&mut *db, schema, &keys).await? {
        return Ok(());
    }
    lock_all_columns(&mut *db, schema).await?;
    // Another process may have made tables, and the keys, in the meantime.
    let keys = keys_of(&mut *db, schema).await?;
    if !keys_table_exists(&mut *db, schema).await? {
        definition(schema).execute(&mut *db).await.map_err(could_not_define("create the table of keys"))?;
    }
    let sql = Sql::new("delete from ").table(schema, TABLE);
    sql.execute(&mut *db).await.map_err(could_not("empty the table of keys"))?;
    let sql = Sql::new("insert into ").table(schema, TABLE).text(" (").text(NAMES).text(") select ").text(NAMES).text(SENT);
    sql.query().bind(Json(keys)).execute(db).await.map_err(could_not("fill the table of keys"))?;
    Ok(())
}

const NAMES: &str = "table_name, column_name, property, kind, references_table, references_column, join_condition";
/// Keys as a parameter.
const SENT: &str = " from jsonb_to_recordset($1) as sent (table_name text, column_name text, property text, kind text,
    references_table text, references_column text, join_condition text)";

/// Whether the table has these keys and no others.
async fn has_keys(db: &mut PgConnection, schema: &str, keys: &[Key]) -> Result<bool, StoreError> {
    let sql = Sql::new("with wanted as (select ").text(NAMES).text(SENT).text("), there as (select ").text(NAMES);
    let sql = sql
        .text(" from ")
        .table(schema, TABLE)
        .text(") select not exists (table wanted except table there) and not exists (table there except table wanted)");
    sql.query_scalar().bind(Json(keys)).fetch_one(db).await.map_err(could_not("read the table of keys"))
}

/// Whether the table is there; an error if something else has its name.
pub async fn keys_table_exists(db: &mut PgConnection, schema: &str) -> Result<bool, StoreError> {
    let found: Option<(bool, Vec<String>)> = query_as(
        "select relkind in ('r', 'p'), array(select attname::text from pg_attribute
                where attrelid = pg_class.oid and attnum > 0 and not attisdropped)
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace where nspname = $1 and relname = $2",
    )
    .bind(schema)
    .bind(TABLE)
    .fetch_optional(db)
    .await
    .map_err(could_not("look for a table"))?;
    match found {
        None => Ok(false),
        Some((true, columns)) if COLUMNS.iter().all(|(column, _)| columns.iter().any(|there| there == column)) => Ok(true),
        Some(_) => Err(StoreError::NameTaken { relation: format!("{schema}.{TABLE}") }),
    }
}

/// A column of an object's table that may refer to another one.
#[derive(Debug, FromRow)]
struct FoundColumn {
    object: String,
    name: String,
    r#type: String,
    /// The property that it holds; none for a column for joins.
    property: Option<String>,
}

/// The columns that refer to a table that is there.
async fn keys_of(db: &mut PgConnection, schema: &str) -> Result<Vec<Key>, StoreError> {
    let tables = view::tables(&mut *db, schema).await?;
    let references = || catalog::OBJECTS.iter().flat_map(|object| object.references);
    let found: Vec<FoundColumn> = query_as(
        "select relname::text as object, attname::text as name, format_type(atttypid, atttypmod) as type,
             planhat_name as property
         from pg_class join pg_attribute on attrelid = pg_class.oid
             left join planhat_sync.columns on workspace = $1 and object = relname and column_name = attname
         where relnamespace = (select oid from pg_namespace where nspname = $1) and relname = any($2)
             and attnum > 0 and not attisdropped
             and (origin = 'property' and planhat_name = any($3)
                  or attname = any($4) and attgenerated = 's' and planhat_name is null)
         order by relname, attname",
    )
    .bind(schema)
    .bind(&tables)
    .bind(references().map(|reference| reference.property).collect::<Vec<_>>())
    .bind(&join_columns::NAMES[..])
    .fetch_all(db)
    .await
    .map_err(could_not("look for columns that refer to a table"))?;
    let keys = found.iter().filter_map(|column| Key::of(column, &found));
    Ok(keys.filter(|key| tables.contains(&key.references_table)).collect())
}

impl Key {
    /// What a column refers to, if it does; `all` are the columns that hold references.
    fn of(column: &FoundColumn, all: &[FoundColumn]) -> Option<Key> {
        let object = catalog::object(&column.object)?;
        let holds = |reference: &&Reference| match &column.property {
            Some(property) => reference.property == property,
            None => reference.column_for_joins().is_some_and(|(name, _)| name == column.name),
        };
        let references: Vec<&Reference> = object.references.iter().filter(holds).collect();
        let first = *references.first()?;
        let is_stored = |reference: &&&Reference| {
            all.iter().any(|each| each.object == object.name && each.property.as_deref() == Some(reference.property))
        };
        let properties: Vec<&str> = references.iter().filter(is_stored).map(|reference| reference.property).collect();
        let kind = kind_of(first, &column.r#type)?;
        Some(Key {
            table_name: object.name.to_owned(),
            column_name: column.name.clone(),
            property: properties.join(", "),
            kind: kind.to_owned(),
            references_table: first.to.to_owned(),
            references_column: "planhat__id".to_owned(),
            join_condition: condition(object.name, &column.name, kind, first.to),
        })
    }
}

/// None for a column that holds no references, whatever its property is for.
fn kind_of(reference: &Reference, sql_type: &str) -> Option<&'static str> {
    match (sql_type, reference.shape.is_list()) {
        ("text", _) => Some("id"),
        ("text[]", _) => Some("ids"),
        ("jsonb", false) => Some("json"),
        ("jsonb", true) => Some("json array"),
        _ => None,
    }
}

/// `companies.planhat__id = tickets.company_id`
fn condition(table: &str, column: &str, kind: &str, to: &str) -> String {
    let id = format!("{}.planhat__id", if table == to { "other" } else { to });
    let column = format!("{table}.{column}");
    match kind {
        "id" => format!("{id} = {column}"),
        "ids" => format!("{id} = any ({column})"),
        "json" => format!("{id} = coalesce({column} ->> '_id', {column} ->> 'id', {column} #>> '{{}}')"),
        _ => format!(
            "{id} in (select coalesce(item ->> 'id', item ->> '_id', item #>> '{{}}') from jsonb_path_query({column}, '$[*]') as item)"
        ),
    }
}

/// The statements that make the table.
pub fn keys_sql(schema: &str) -> String {
    definition(schema).to_string()
}

fn definition(schema: &str) -> Definition {
    let sql = Sql::new("create table ").table(schema, TABLE).text(" (");
    let sql = sql.list(COLUMNS, |sql, (column, _)| sql.text("\n    ").name(column).text(" text not null"));
    let table = Definition::default().statement(sql.text(",\n    primary key (table_name, column_name))"));
    let about = "Which column points to which table, and how to join them, kept by planhat-sync.";
    let table = table.comment(Sql::new("comment on table ").table(schema, TABLE).text(" is ").literal(about));
    COLUMNS.iter().fold(table, |table, (column, meaning)| {
        let sql = Sql::new("comment on column ").table(schema, TABLE).text(".").name(column).text(" is ").literal(meaning);
        table.comment(sql)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_the_name_of_the_table() {
        assert!(!catalog::OBJECTS.iter().any(|object| object.name == TABLE));
    }

    #[test]
    fn a_condition_names_the_other_row_of_the_same_table_other() {
        assert_eq!(condition("tickets", "company_id", "id", "companies"), "companies.planhat__id = tickets.company_id");
        assert_eq!(condition("licenses", "planhat__parent", "id", "licenses"), "other.planhat__id = licenses.planhat__parent");
        assert_eq!(condition("issues", "company_ids", "ids", "companies"), "companies.planhat__id = any (issues.company_ids)");
    }
}
