//! What a run requires of a database, where that database is, and how the connection to it is secured.

use std::collections::BTreeSet;
use std::net::IpAddr;

use planhat_model::catalog::Object;
use sqlx::postgres::PgSslMode;
use sqlx::{FromRow, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::data::keys;
use crate::data::tables::table_exists;
use crate::engine::{Engine, expect_postgresql};
use crate::sql::{query_as, quoted};
use crate::store_error::{StoreError, could_not};
use crate::timeline::action_table::{self, actions_table_exists};
use crate::timeline::view::VIEW;
use crate::{OWN_SCHEMA, Store};

/// The oldest PostgreSQL that is tested.
const OLDEST_VERSION: i32 = 150_000;

#[derive(Debug)]
pub struct DatabaseRequirements {
    pub engine: Engine,
    pub version_is_supported: bool,
    /// UTF8 has room for every name and value; anything else has not.
    pub encoding: String,
    pub writable: Writable,
    /// Relations of other owners that have the names of our tables.
    pub names_taken: Vec<StoreError>,
    pub privileges: Privileges,
}

/// Whether the server writes anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writable {
    Yes,
    /// A standby: it follows a primary.
    Replica,
    /// By default_transaction_read_only.
    ByDefaultNot,
}

/// What the role may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privileges {
    Complete,
    /// It can read, and others own what it reads. `membership` is the statement that makes it a member of the owner, unless
    /// that is a superuser. `for_commands` are the statements by which it can read what the commands that only look need, if it
    /// cannot yet: people read the data with less.
    ReadOnly {
        role: String,
        owner: String,
        membership: Option<String>,
        for_commands: Option<String>,
    },
    /// The statements that would give it what it lacks.
    Missing(Vec<String>),
}

/// Checks engine, version, privileges and names for these objects and their actions; changes nothing. An error if the engine is not
/// PostgreSQL: the other questions would mean nothing to it. `place` is where it is.
pub async fn check_requirements(
    db: &mut PgConnection,
    place: &str,
    schema: &str,
    objects: &[&'static Object],
    has_actions: bool,
) -> Result<DatabaseRequirements, StoreError> {
    let engine = expect_postgresql(&mut *db, place).await?;
    let (number, encoding, is_replica, is_read_only, role): (i32, String, bool, bool, String) = query_as(
        "select current_setting('server_version_num')::int,
             current_setting('server_encoding'), pg_is_in_recovery(),
             current_setting('default_transaction_read_only')::bool, current_user::text",
    )
    .fetch_one(&mut *db)
    .await
    .map_err(could_not("read the server's version"))?;
    let mut of_schemas = Vec::new();
    for schema in [OWN_SCHEMA, schema] {
        of_schemas.extend(missing_grant(db, schema).await?);
    }
    of_schemas.dedup();
    let privileges = privileges(&role, of_schemas, &foreign_relations(db, schema).await?);
    let mut names_taken = Vec::new();
    for object in objects {
        names_taken.extend(taken_name(table_exists(&mut *db, schema, object).await)?);
    }
    if has_actions {
        names_taken.extend(taken_name(actions_table_exists(&mut *db, schema).await)?);
    }
    Ok(DatabaseRequirements {
        engine,
        version_is_supported: number >= OLDEST_VERSION,
        encoding,
        writable: match (is_replica, is_read_only) {
            (true, _) => Writable::Replica,
            (false, true) => Writable::ByDefaultNot,
            (false, false) => Writable::Yes,
        },
        names_taken,
        privileges,
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

    /// Host and port, or socket, of the server.
    pub fn place(&self) -> String {
        self.connections.connector().place()
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

/// A table or view of ours that another role owns: only the owner can add columns or recreate a view.
#[derive(FromRow)]
struct ForeignRelation {
    is_view: bool,
    schema: String,
    name: String,
    owner: String,
    owner_is_superuser: bool,
    is_readable: bool,
}

/// Other tables in the data schema are left alone.
async fn foreign_relations(db: &mut PgConnection, schema: &str) -> Result<Vec<ForeignRelation>, StoreError> {
    query_as(
        "select relkind = 'v' as is_view, nspname::text as schema, relname::text as name, rolname::text as owner,
             rolsuper as owner_is_superuser,
             has_schema_privilege(relnamespace, 'usage') and has_table_privilege(pg_class.oid, 'select') as is_readable
         from pg_class join pg_namespace on pg_namespace.oid = relnamespace join pg_roles on pg_roles.oid = relowner
         where not pg_has_role(relowner, 'usage') and (
             nspname = $1 and relkind in ('r', 'p')
             or nspname = $2 and relkind in ('r', 'p') and exists (select from pg_attribute
                 where attrelid = pg_class.oid and attname = '_row_hash' and not attisdropped)
             or nspname = $2 and relkind in ('r', 'p') and relname = any($3)
             or nspname = $2 and relkind = 'v' and relname = $4)
         order by 2, 3",
    )
    .bind(OWN_SCHEMA)
    .bind(schema)
    .bind(&[action_table::TABLE, keys::TABLE][..])
    .bind(VIEW)
    .fetch_all(db)
    .await
    .map_err(could_not("read the owners of tables"))
}

/// What the role may do with what others own, and what it lacks. `of_schemas` are the GRANT statements for the schemas.
fn privileges(role: &str, of_schemas: Vec<String>, foreign: &[ForeignRelation]) -> Privileges {
    /// Statements for single tables that a person may be expected to read.
    const FEW: usize = 3;
    let owners: BTreeSet<&str> = foreign.iter().map(|relation| relation.owner.as_str()).collect();
    let membership = (!foreign.iter().any(|relation| relation.owner_is_superuser)).then(|| {
        format!("grant {} to {}", owners.iter().map(|owner| quoted(owner)).collect::<Vec<_>>().join(", "), quoted(role))
    });
    let own_tables = foreign.iter().filter(|relation| relation.schema == OWN_SCHEMA).count();
    if own_tables > 0 && foreign.iter().any(|relation| relation.is_readable) {
        let owner = owners.into_iter().collect::<Vec<_>>().join(" and ");
        let is_read = foreign.iter().all(|relation| relation.is_readable);
        let schemas = foreign.iter().map(|relation| relation.schema.as_str()).collect::<BTreeSet<_>>();
        let schemas = schemas.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
        let grants = |role: String| {
            format!("grant usage on schema {schemas} to {role}; grant select on all tables in schema {schemas} to {role}")
        };
        let for_commands = (!is_read).then(|| grants(quoted(role)));
        return Privileges::ReadOnly { role: role.to_owned(), owner, membership, for_commands };
    }
    let missing = match membership {
        // Whoever is a member of the owner may do what the owner may.
        Some(membership) if foreign.len() > FEW => vec![membership],
        _ => of_schemas.into_iter().chain(foreign.iter().map(|relation| relation.new_owner(role))).collect(),
    };
    if missing.is_empty() { Privileges::Complete } else { Privileges::Missing(missing) }
}

impl ForeignRelation {
    fn new_owner(&self, role: &str) -> String {
        let kind = if self.is_view { "view" } else { "table" };
        format!("alter {kind} {}.{} owner to {}", quoted(&self.schema), quoted(&self.name), quoted(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relation(schema: &str, name: &str, owner: &str) -> ForeignRelation {
        let (schema, name, owner) = (schema.to_owned(), name.to_owned(), owner.to_owned());
        let owner_is_superuser = owner == "postgres";
        ForeignRelation { is_view: name == VIEW, schema, name, owner, owner_is_superuser, is_readable: true }
    }

    fn unreadable(relation: ForeignRelation) -> ForeignRelation {
        ForeignRelation { is_readable: false, ..relation }
    }

    fn check(of_schemas: &[&str], foreign: &[ForeignRelation], expected: &Privileges) {
        let of_schemas = of_schemas.iter().map(|grant| (*grant).to_owned()).collect();
        assert_eq!(privileges("me", of_schemas, foreign), *expected);
    }

    fn missing(statements: &[&str]) -> Privileges {
        Privileges::Missing(statements.iter().map(|statement| (*statement).to_owned()).collect())
    }

    fn tables(owner: &str) -> Vec<ForeignRelation> {
        ["runs", "leases", "scans", "cursors"].map(|name| relation(OWN_SCHEMA, name, owner)).into()
    }

    #[test]
    fn a_role_that_owns_everything_lacks_nothing() {
        check(&[], &[], &Privileges::Complete);
        check(&["grant a"], &[], &missing(&["grant a"]));
    }

    #[test]
    fn a_role_that_can_read_everything_is_told_what_it_can_do() {
        let read_only = |owner: &str, membership: Option<&str>| Privileges::ReadOnly {
            role: "me".to_owned(),
            owner: owner.to_owned(),
            membership: membership.map(str::to_owned),
            for_commands: None,
        };
        check(&["grant a"], &tables("app"), &read_only("app", Some("grant \"app\" to \"me\"")));
        let mixed = tables("b").into_iter().chain(tables("a")).collect::<Vec<_>>();
        check(&[], &mixed, &read_only("a and b", Some("grant \"a\", \"b\" to \"me\"")));
        check(&[], &tables("postgres"), &read_only("postgres", None));
    }

    #[test]
    fn a_role_that_can_read_the_data_alone_is_told_what_the_commands_need() {
        let data = relation("planhat", "nps", "postgres");
        let foreign: Vec<_> = tables("postgres").into_iter().map(unreadable).chain([data]).collect();
        let for_commands = "grant usage on schema \"planhat\", \"planhat_sync\" to \"me\"; \
                            grant select on all tables in schema \"planhat\", \"planhat_sync\" to \"me\"";
        let expected = Privileges::ReadOnly {
            role: "me".to_owned(),
            owner: "postgres".to_owned(),
            membership: None,
            for_commands: Some(for_commands.to_owned()),
        };
        check(&["grant a"], &foreign, &expected);
    }

    #[test]
    fn many_tables_of_others_take_one_statement_unless_a_superuser_owns_them() {
        let closed = |owner: &str| tables(owner).into_iter().map(unreadable).collect::<Vec<_>>();
        check(&["grant a"], &closed("app"), &missing(&["grant \"app\" to \"me\""]));
        let of_a_superuser = closed("postgres");
        let each: Vec<String> = of_a_superuser.iter().map(|relation| relation.new_owner("me")).collect();
        check(&[], &of_a_superuser, &Privileges::Missing(each));
        let few = [relation("planhat", "nps", "app"), relation("planhat", VIEW, "app")];
        let statements =
            ["alter table \"planhat\".\"nps\" owner to \"me\"", "alter view \"planhat\".\"timeline\" owner to \"me\""];
        check(&[], &few, &missing(&statements));
    }
}
