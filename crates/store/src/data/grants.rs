//! Lets the roles that `database.grant_select_to` names connect, and read: the tables and views of the data, and of the tool's
//! own tables those that say how fresh they are and what is behind each column. Never more than that, and nothing is ever
//! revoked.
//!
//! What a role may do already is looked at first, so that a run writes nothing where nothing is missing.

use sqlx::{Connection as _, FromRow, PgConnection};

use super::keys;
use crate::OWN_SCHEMA;
use crate::sql::{Sql, query_as};
use crate::store_error::{StoreError, could_not};
use crate::timeline::{action_table, view};

/// The tables of schema `planhat_sync` that a reader needs. The others hold records as they came (`quarantine`), messages,
/// ids, what identifies a token, or what only runs need.
const OWN_TABLES: [&str; 5] = ["columns", "cursors", "object_runs", "object_states", "runs"];

/// A privilege that a role lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingGrant {
    pub statement: String,
    /// Why it cannot be granted, if that is known.
    pub obstacle: Option<String>,
}

/// What a role lacks.
#[derive(Debug, FromRow)]
struct Reader {
    name: String,
    exists: bool,
    /// The database, if the role may not connect to it.
    closed_database: Option<String>,
    schemas: Vec<String>,
    /// Schema and name of each table or view.
    relation_schemas: Vec<String>,
    relation_names: Vec<String>,
}

impl Reader {
    fn statements(&self) -> Vec<Sql> {
        let connect = self.closed_database.iter().map(|database| connect_to(Sql::default(), database, &self.name));
        let usage = self.schemas.iter().map(|schema| usage_on(Sql::default(), schema, &self.name));
        let select = [OWN_SCHEMA].into_iter().chain(self.data_schema());
        let select = select.filter_map(|schema| {
            let names: Vec<&str> = self.relations().filter(|(of, _)| *of == schema).map(|(_, name)| name).collect();
            (!names.is_empty()).then(|| select_on(Sql::default(), schema, &names, &self.name))
        });
        connect.chain(usage).chain(select).collect()
    }

    fn relations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.relation_schemas.iter().map(String::as_str).zip(self.relation_names.iter().map(String::as_str))
    }

    fn data_schema(&self) -> Option<&str> {
        self.relations().map(|(schema, _)| schema).find(|schema| *schema != OWN_SCHEMA)
    }
}

fn connect_to(sql: Sql, database: &str, reader: &str) -> Sql {
    sql.text("grant connect on database ").name(database).text(" to ").name(reader)
}

fn usage_on(sql: Sql, schema: &str, reader: &str) -> Sql {
    sql.text("grant usage on schema ").name(schema).text(" to ").name(reader)
}

fn select_on(sql: Sql, schema: &str, relations: &[&str], reader: &str) -> Sql {
    let sql = sql.text("grant select on ").list(relations, |sql, relation| sql.table(schema, relation));
    sql.text(" to ").name(reader)
}

/// Grants what these roles lack. Returns what could not be granted; the transaction goes on.
pub async fn grant_missing(db: &mut PgConnection, schema: &str, readers: &[String]) -> Result<Vec<MissingGrant>, StoreError> {
    let mut refused: Vec<MissingGrant> = Vec::new();
    let mut has_granted = false;
    for reader in lacking(&mut *db, schema, readers).await? {
        for statement in reader.statements() {
            if !reader.exists {
                refused.push(MissingGrant::to_nobody(&statement, &reader.name));
                continue;
            }
            let shown = statement.to_string();
            match grant(&mut *db, statement).await? {
                Ok(()) => has_granted = true,
                Err(reason) => refused.push(MissingGrant { statement: shown, obstacle: Some(reason) }),
            }
        }
    }
    // PostgreSQL grants nothing, with a warning, where our role may not grant.
    let is_new = |grant: &MissingGrant| !refused.iter().any(|known| known.statement == grant.statement);
    let still_missing = if has_granted { missing_grants(db, schema, readers).await? } else { Vec::new() };
    let not_granted: Vec<MissingGrant> = still_missing.into_iter().filter(is_new).collect();
    refused.extend(not_granted);
    Ok(refused)
}

/// What these roles lack of what they should have; changes nothing.
pub async fn missing_grants(db: &mut PgConnection, schema: &str, readers: &[String]) -> Result<Vec<MissingGrant>, StoreError> {
    let of_reader = |reader: Reader| {
        let grant = |statement: Sql| match reader.exists {
            true => MissingGrant { statement: statement.to_string(), obstacle: None },
            false => MissingGrant::to_nobody(&statement, &reader.name),
        };
        reader.statements().into_iter().map(grant).collect::<Vec<_>>()
    };
    Ok(lacking(db, schema, readers).await?.into_iter().flat_map(of_reader).collect())
}

impl MissingGrant {
    fn to_nobody(statement: &Sql, reader: &str) -> MissingGrant {
        MissingGrant { statement: statement.to_string(), obstacle: Some(format!("role {reader:?} does not exist")) }
    }
}

/// One statement behind a savepoint, so that a refusal costs nothing else.
async fn grant(db: &mut PgConnection, statement: Sql) -> Result<Result<(), String>, StoreError> {
    let mut savepoint = db.begin().await.map_err(could_not("set a savepoint"))?;
    match statement.execute(&mut savepoint).await {
        Ok(()) => savepoint.commit().await.map(Ok).map_err(could_not("release a savepoint")),
        Err(sqlx::Error::Database(refused)) => {
            savepoint.rollback().await.map_err(could_not("go back to a savepoint"))?;
            Ok(Err(refused.message().to_owned()))
        }
        Err(error) => Err(could_not("grant a privilege")(error)),
    }
}

/// The roles among these that lack something.
async fn lacking(db: &mut PgConnection, schema: &str, readers: &[String]) -> Result<Vec<Reader>, StoreError> {
    if readers.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<Reader> = query_as(
        "with readers as (
             select name, case name when 'public' then 0::oid else (select oid from pg_roles where rolname = name) end as role
             from unnest($2::text[]) as name
         ), relations as (
             -- What belongs to a schema is looked up as what depends on it, for which there is an index.
             select nspname, relname, pg_class.oid from pg_namespace
                 join pg_depend on refclassid = 'pg_namespace'::regclass and refobjid = pg_namespace.oid
                     and classid = 'pg_class'::regclass
                 join pg_class on pg_class.oid = objid
             where relkind in ('r', 'p', 'v') and nspname in ($1, $3) and (
                 nspname = $3 and relname = any($4)
                 -- By their columns: what a user has given one of our names is not ours to show.
                 or nspname = $1 and exists (select from pg_attribute where attrelid = pg_class.oid and not attisdropped
                     and (attname = '_row_hash' or relname = any($5) and attname in ('happened_at', 'join_condition'))))
         )
         select name, role is not null as exists,
             -- By default everybody may. What a role that is not there could do is not known.
             case when not has_database_privilege(role, current_database()::text, 'connect') then current_database()::text end
                 as closed_database,
             array(select nspname::text from pg_namespace
                 where nspname in ($1, $3) and (role is null or not has_schema_privilege(role, oid, 'usage'))
                 order by nspname) as schemas,
             coalesce(relation_schemas, '{}') as relation_schemas, coalesce(relation_names, '{}') as relation_names
         from readers cross join lateral (
             select array_agg(nspname::text order by nspname, relname) as relation_schemas,
                 array_agg(relname::text order by nspname, relname) as relation_names
             from relations where role is null or not has_table_privilege(role, oid, 'select')) as lacked",
    )
    .bind(schema)
    .bind(readers)
    .bind(OWN_SCHEMA)
    .bind(&OWN_TABLES[..])
    .bind(&[action_table::TABLE, view::VIEW, keys::TABLE][..])
    .fetch_all(db)
    .await
    .map_err(could_not("read the privileges of readers"))?;
    let lacks =
        |reader: &Reader| reader.closed_database.is_some() || !reader.schemas.is_empty() || !reader.relation_names.is_empty();
    Ok(found.into_iter().filter(lacks).collect())
}

/// The statements that let these roles read these tables of the data schema, those to come there, and what there is of the
/// tool's own.
pub fn grants_sql(schema: &str, tables: &[&str], readers: &[String]) -> Vec<String> {
    let of_reader = |reader: &String| {
        let mut statements: Vec<Sql> = [schema, OWN_SCHEMA].map(|schema| usage_on(Sql::default(), schema, reader)).into();
        if !tables.is_empty() {
            statements.push(select_on(Sql::default(), schema, tables, reader));
        }
        let to_come =
            Sql::new("alter default privileges in schema ").name(schema).text(" grant select on tables to ").name(reader);
        statements.push(to_come);
        statements.push(select_on(Sql::default(), OWN_SCHEMA, &OWN_TABLES, reader));
        statements.into_iter().map(|statement| statement.to_string()).collect::<Vec<_>>()
    };
    readers.iter().flat_map(of_reader).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_odd_role_name_is_quoted() {
        let statements = grants_sql("planhat", &["companies"], &["o'Brien \"the\" Reader".to_owned()]);
        assert_eq!(statements[0], r#"grant usage on schema "planhat" to "o'Brien ""the"" Reader""#);
        assert_eq!(statements[2], r#"grant select on "planhat"."companies" to "o'Brien ""the"" Reader""#);
    }
}
