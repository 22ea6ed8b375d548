//! What a run requires of a database, where that database is, and how the connection to it is secured.

use std::net::IpAddr;

use planhat_model::catalog::Object;
use sqlx::PgConnection;
use sqlx::postgres::PgSslMode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::data::tables::table_exists;
use crate::sql::{query_as, quoted};
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_table::{self, actions_table_exists};
use crate::timeline::view::VIEW;
use crate::{OWN_SCHEMA, Store};

/// The oldest PostgreSQL that is tested.
const OLDEST_VERSION: i32 = 150_000;

#[derive(Debug)]
pub struct DatabaseRequirements {
    pub version: String,
    pub version_is_supported: bool,
    /// UTF8 has room for every name and value; anything else has not.
    pub encoding: String,
    pub is_read_only: bool,
    /// Relations of other owners that have the names of our tables.
    pub names_taken: Vec<StoreError>,
    /// The GRANT statements for the missing privileges.
    pub missing_grants: Vec<String>,
}

/// Checks version, privileges and names for these objects and their actions; changes nothing.
pub async fn check_requirements(
    db: &mut PgConnection,
    schema: &str,
    objects: &[&'static Object],
    has_actions: bool,
) -> Result<DatabaseRequirements, StoreError> {
    let (version, number, encoding, is_read_only): (String, i32, String, bool) = query_as(
        "select current_setting('server_version'), current_setting('server_version_num')::int,
             current_setting('server_encoding'),
             pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool",
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
    let mut names_taken = Vec::new();
    for object in objects {
        names_taken.extend(taken_name(table_exists(&mut *db, schema, object).await)?);
    }
    if has_actions {
        names_taken.extend(taken_name(actions_table_exists(&mut *db, schema).await)?);
    }
    Ok(DatabaseRequirements {
        version,
        version_is_supported: number >= OLDEST_VERSION,
        encoding,
        is_read_only,
        names_taken,
        missing_grants,
    })
}

/// The objects that have been synced into this schema, and whether their tables are (still) there.
pub async fn synced_tables(db: &mut PgConnection, schema: &str) -> Result<Vec<(String, bool)>, StoreError> {
    query_as(
        "select object, exists (select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
             where nspname = $1 and relname = object and relkind in ('r', 'p'))
         from (select distinct object from planhat_sync.columns where workspace = $1) as synced
         order by 1",
    )
    .bind(schema)
    .fetch_all(db)
    .await
    .map_err(could_not("look for the tables"))
}

/// How the connection to the server is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionSecurity {
    /// It does not leave this machine, as far as we can see: a socket, or a loopback address.
    Local,
    Unencrypted,
    /// Encrypted, but someone on the network path could impersonate the server.
    Encrypted,
    /// By an authority that is known; not that it is for this host.
    AuthorityVerified,
    Verified,
}

impl Store {
    /// Only for the connection from here: what a pooler does beyond it is unknown.
    pub async fn connection_security(&self) -> ConnectionSecurity {
        let options = self.connections.connector().options();
        let host = options.get_host().trim_matches(['[', ']']);
        let is_local = options.get_socket().is_some()
            || host.starts_with('/')
            || host == "localhost"
            || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        match options.get_ssl_mode() {
            _ if is_local => ConnectionSecurity::Local,
            PgSslMode::VerifyFull => ConnectionSecurity::Verified,
            PgSslMode::VerifyCa => ConnectionSecurity::AuthorityVerified,
            PgSslMode::Require => ConnectionSecurity::Encrypted,
            PgSslMode::Prefer if has_tls(host, options.get_port()).await => ConnectionSecurity::Encrypted,
            PgSslMode::Prefer | PgSslMode::Allow | PgSslMode::Disable => ConnectionSecurity::Unencrypted,
        }
    }

    /// Host, or socket, and name of the database on a server; never a password.
    pub fn database_location(&self) -> String {
        let connector = self.connections.connector();
        let options = connector.options();
        format!("database {} at {}", options.get_database().unwrap_or(options.get_username()), connector.place())
    }
}

/// Whether a server offers TLS to whoever asks for it, as `sslmode=prefer` does: then that takes it.
async fn has_tls(host: &str, port: u16) -> bool {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let ask = async {
        let mut connection = TcpStream::connect((host, port)).await?;
        connection.write_all(&SSL_REQUEST).await?;
        connection.read_u8().await
    };
    ask.await.is_ok_and(|answer| answer == b'S')
}

fn taken_name(there: Result<bool, StoreError>) -> Result<Option<StoreError>, StoreError> {
    match there {
        Err(taken @ StoreError::NameTaken { .. }) => Ok(Some(taken)),
        there => there.map(|_| None),
    }
}

/// A schema that is there has to let us in; one that is not, we have to be able to make.
async fn missing_grant(db: &mut PgConnection, schema: &str) -> Result<Option<String>, StoreError> {
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

/// Our tables and views that another role owns: only the owner can add columns or recreate a view. Other tables in the data
/// schema are left alone.
async fn foreign_tables(db: &mut PgConnection, schema: &str) -> Result<Vec<String>, StoreError> {
    let tables: Vec<(bool, String, String, String)> = query_as(
        "select relkind = 'v', nspname::text, relname::text, current_user::text
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where not pg_has_role(relowner, 'usage') and (
             nspname = $1 and relkind in ('r', 'p')
             or nspname = $2 and relkind in ('r', 'p') and exists (select from pg_attribute
                 where attrelid = pg_class.oid and attname = '_row_hash' and not attisdropped)
             or nspname = $2 and relkind in ('r', 'p') and relname = $3
             or nspname = $2 and relkind = 'v' and relname = $4)
         order by 2, 3",
    )
    .bind(OWN_SCHEMA)
    .bind(schema)
    .bind(action_table::TABLE)
    .bind(VIEW)
    .fetch_all(db)
    .await
    .map_err(could_not("read the owners of tables"))?;
    let grant = |(is_view, schema, name, user): (bool, String, String, String)| {
        let kind = if is_view { "view" } else { "table" };
        format!("alter {kind} {}.{} owner to {}", quoted(&schema), quoted(&name), quoted(&user))
    };
    Ok(tables.into_iter().map(grant).collect())
}
