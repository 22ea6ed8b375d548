//! What has to be true of a database before a run can use it.

use sqlx::PgConnection;

use super::error::{Error, could_not};
use super::sql::{query_as, quoted};
use super::{OWN_SCHEMA, actions};

/// The oldest PostgreSQL that is tested.
const OLDEST_VERSION: i32 = 150_000;

#[derive(Debug)]
pub struct Health {
    pub version: String,
    pub version_is_supported: bool,
    /// UTF8 has room for every name and value; anything else has not.
    pub encoding: String,
    pub is_read_only: bool,
    /// What stands where the table of actions would.
    pub taken: Option<Error>,
    /// The statements with which an administrator gives us what is missing.
    pub missing_grants: Vec<String>,
}

/// Looks at version and privileges; changes nothing.
pub async fn health(db: &mut PgConnection, schema: &str) -> Result<Health, Error> {
    let (version, number, encoding, is_read_only): (String, i32, String, bool) = query_as(
        "select current_setting('server_version'), current_setting('server_version_num')::int,
             current_setting('server_encoding'), current_setting('transaction_read_only')::bool",
    )
    .fetch_one(&mut *db)
    .await
    .map_err(could_not("read the server's version"))?;
    let mut missing_grants = Vec::new();
    for schema in [OWN_SCHEMA, schema] {
        missing_grants.extend(missing_grant(db, schema).await?);
    }
    missing_grants.extend(foreign_tables(db, schema).await?);
    missing_grants.dedup();
    let taken = match actions::is_there(&mut *db, schema).await {
        Err(taken @ Error::Taken { .. }) => Some(taken),
        there => there.map(|_| None)?,
    };
    Ok(Health { version, version_is_supported: number >= OLDEST_VERSION, encoding, is_read_only, taken, missing_grants })
}

/// A schema that is there has to let us in; one that is not, we have to be able to make.
async fn missing_grant(db: &mut PgConnection, schema: &str) -> Result<Option<String>, Error> {
    let (exists, usable, can_make, database, user): (bool, bool, bool, String, String) = query_as(
        "select oid is not null,
             oid is not null and has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create'),
             has_database_privilege(current_database(), 'create'), current_database()::text, current_user::text
         from (select max(oid) as oid from pg_namespace where nspname = $1) as found",
    )
    .bind(schema)
    .fetch_one(db)
    .await
    .map_err(could_not("read the privileges on a schema"))?;
    let (database, schema, user) = (quoted(&database), quoted(schema), quoted(&user));
    Ok(match (exists, usable, can_make) {
        (true, false, _) => Some(format!("grant usage, create on schema {schema} to {user}")),
        (false, _, false) => Some(format!("grant create on database {database} to {user}")),
        _ => None,
    })
}

/// Tables of ours that somebody else owns: only an owner can add columns.
async fn foreign_tables(db: &mut PgConnection, schema: &str) -> Result<Vec<String>, Error> {
    let tables: Vec<(String, String, String)> = query_as(
        "select nspname::text, relname::text, current_user::text from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname in ($1, $2) and relkind in ('r', 'p') and not pg_has_role(relowner, 'usage') order by 1, 2",
    )
    .bind(OWN_SCHEMA)
    .bind(schema)
    .fetch_all(db)
    .await
    .map_err(could_not("read the owners of tables"))?;
    let grant = |(schema, table, user): (String, String, String)| {
        format!("alter table {}.{} owner to {}", quoted(&schema), quoted(&table), quoted(&user))
    };
    Ok(tables.into_iter().map(grant).collect())
}
