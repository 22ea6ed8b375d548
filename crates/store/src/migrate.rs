//! The tool's own tables, schema `planhat_sync`: created by migrations that are compiled in, and distinguished from those of
//! other releases.
//!
//! What was applied is judged by the texts of all migrations (their checksums), not by the number of the latest: an edited
//! migration would leave a database that no release knows. Looking changes nothing; only `migrate` applies what is missing.
//!
//! Of several processes that begin at the same time one migrates. In an empty database nothing is there that could be locked: the one
//! that is first makes the schema, the others wait until it has committed, are refused then, and look again. Tables of an earlier release
//! are locked by `planhat_sync.migrations` itself.

use std::time::Instant;

use sqlx::PgConnection;
use sqlx::migrate::{Migration as MigrationFile, Migrator};

use crate::connection::{ConnectionUse, TransactionKind};
use crate::data::tables::create_schema;
use crate::engine::expect_postgresql;
use crate::row_security::refuse_hidden_rows;
use crate::sql::{Sql, query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not, could_not_define};
use crate::{OWN_SCHEMA, Store};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");
/// How often another process may be faster. Each time it has made something that is there then.
const LOST_RACES: u32 = 10;

/// The tool's own tables, as a release finds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OwnTables {
    Missing,
    /// An earlier release has made them: some migrations are missing.
    Older,
    Current,
    /// A later release has made them; its first migration that is not known here.
    Newer(i64),
    /// They were made before the first release.
    Unreleased,
    /// By another text of this migration.
    Edited(i64),
}

/// A migration: its number, and the checksum of its text.
type Migration<'a> = (i64, &'a [u8]);

/// Compares what was applied with what is known, both in their order.
fn judge(applied: &[Migration<'_>], known: &[Migration<'_>]) -> OwnTables {
    for (place, applied) in applied.iter().enumerate() {
        match known.get(place) {
            Some(known) if known == applied => {}
            Some(_) if place == 0 => return OwnTables::Unreleased,
            Some(_) => return OwnTables::Edited(applied.0),
            None => return OwnTables::Newer(applied.0),
        }
    }
    if applied.len() < known.len() { OwnTables::Older } else { OwnTables::Current }
}

impl Store {
    /// Creates both schemas and migrates the tool's own tables.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.migrate_with(&[OWN_SCHEMA, &self.schema]).await
    }

    /// The same without a data schema: for a daemon of several workspaces, each of which has one of its own.
    pub async fn migrate_own_tables(&self) -> Result<(), StoreError> {
        self.migrate_with(&[OWN_SCHEMA]).await
    }

    async fn migrate_with(&self, schemas: &[&str]) -> Result<(), StoreError> {
        let mut lost_races = 0;
        loop {
            match self.migrate_once(schemas).await {
                Err(error) if error.is_lost_race() && lost_races < LOST_RACES => lost_races += 1,
                migrated => return migrated,
            }
        }
    }

    async fn migrate_once(&self, schemas: &[&str]) -> Result<(), StoreError> {
        let place = self.connections.connector().place();
        let migrated = self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, async |db| {
            expect_postgresql(&mut *db, &place).await?;
            refuse_replica(&mut *db).await?;
            for schema in schemas {
                if *schema == OWN_SCHEMA && self.connections.is_citus() {
                    create_own_schema_on_citus(&mut *db).await?;
                } else {
                    create_schema(&mut *db, schema).await?;
                }
            }
            refuse_hidden_rows(&mut *db, &self.schema).await?;
            let mut found = own_tables(&mut *db).await?;
            match found {
                OwnTables::Missing => {
                    refuse_other_encodings(&mut *db).await?;
                    make_list_of_migrations(&mut *db).await?;
                }
                OwnTables::Older => {
                    lock_migrations(&mut *db).await?;
                    // Another process may have applied them in the meantime.
                    found = own_tables(&mut *db).await?;
                }
                _ => {}
            }
            match found {
                OwnTables::Current => Ok(()),
                OwnTables::Missing | OwnTables::Older => apply_missing(db).await,
                OwnTables::Newer(version) => Err(StoreError::NewerTables { version }),
                OwnTables::Unreleased => Err(StoreError::UnreleasedTables),
                OwnTables::Edited(version) => Err(StoreError::MigrationEdited { version }),
            }
        });
        migrated.await
    }

    /// Whether the tool's own tables have been made; an error if another version has made them. Needs
    /// no more than the right to read.
    pub async fn is_set_up(&self) -> Result<bool, StoreError> {
        self.read_only(is_set_up).await
    }
}

/// Where the database is set to spread each new schema over the servers, that is not for the tool's own: all workspaces use it.
async fn create_own_schema_on_citus(db: &mut PgConnection) -> Result<(), StoreError> {
    let failed = || could_not("keep the tool's own tables on the coordinator");
    let set = async |db: &mut PgConnection, value: &str| -> Result<String, sqlx::Error> {
        const SET: &str = "select set_config('citus.enable_schema_based_sharding', $1, true)";
        query_scalar(SET).bind(value.to_owned()).fetch_one(db).await
    };
    // Older versions of Citus distribute no schemas.
    let as_set: Option<String> = query_scalar("select current_setting('citus.enable_schema_based_sharding', true)")
        .fetch_one(&mut *db)
        .await
        .map_err(failed())?;
    let Some(as_set) = as_set else { return create_schema(db, OWN_SCHEMA).await };
    set(&mut *db, "off").await.map_err(failed())?;
    create_schema(&mut *db, OWN_SCHEMA).await?;
    set(db, &as_set).await.map_err(failed())?;
    Ok(())
}

/// A standby would refuse the first statement that writes, whichever that is.
async fn refuse_replica(db: &mut PgConnection) -> Result<(), StoreError> {
    let is_replica: bool =
        query_scalar("select pg_is_in_recovery()").fetch_one(db).await.map_err(could_not("read the server's state"))?;
    if is_replica { Err(StoreError::ReadOnlyReplica) } else { Ok(()) }
}

/// For new installations: what an old one has stored so far stays as it is.
async fn refuse_other_encodings(db: &mut PgConnection) -> Result<(), StoreError> {
    let encoding: String = query_scalar("select current_setting('server_encoding')")
        .fetch_one(db)
        .await
        .map_err(could_not("read the database's encoding"))?;
    if encoding == "UTF8" { Ok(()) } else { Err(StoreError::WrongEncoding { encoding }) }
}

/// Whether the tool's own tables have been made, by this version.
pub async fn is_set_up(db: &mut PgConnection) -> Result<bool, StoreError> {
    match own_tables(db).await? {
        OwnTables::Missing => Ok(false),
        OwnTables::Current => Ok(true),
        OwnTables::Older => Err(StoreError::OlderTables),
        OwnTables::Newer(version) => Err(StoreError::NewerTables { version }),
        OwnTables::Unreleased => Err(StoreError::UnreleasedTables),
        OwnTables::Edited(version) => Err(StoreError::MigrationEdited { version }),
    }
}

async fn own_tables(db: &mut PgConnection) -> Result<OwnTables, StoreError> {
    // By the catalogue, which needs no privilege.
    let exists: bool = query_scalar(
        "select exists (select from pg_class join pg_namespace on pg_namespace.oid = relnamespace
         where nspname = $1 and relname = 'migrations')",
    )
    .bind(OWN_SCHEMA)
    .fetch_one(&mut *db)
    .await
    .map_err(could_not("look for a table"))?;
    if !exists {
        return Ok(OwnTables::Missing);
    }
    let applied = applied_migrations(db).await?;
    let applied: Vec<Migration<'_>> = applied.iter().map(|(version, checksum)| (*version, checksum.as_slice())).collect();
    let known: Vec<Migration<'_>> = MIGRATOR.iter().map(|migration| (migration.version, &*migration.checksum)).collect();
    Ok(judge(&applied, &known))
}

async fn applied_migrations(db: &mut PgConnection) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    query_as("select version, checksum from planhat_sync.migrations where success order by version")
        .fetch_all(db)
        .await
        .map_err(could_not("read the version of the tables"))
}

/// What cannot be done to the tool's own tables.
const MIGRATE: &str = "bring the tables of schema planhat_sync up to date";

/// Of the form that sqlx gives it, which made those of earlier releases.
async fn make_list_of_migrations(db: &mut PgConnection) -> Result<(), StoreError> {
    let sql = Sql::new(
        "create table planhat_sync.migrations (
             version bigint primary key,
             description text not null,
             installed_on timestamptz not null default now(),
             success boolean not null,
             checksum bytea not null,
             execution_time bigint not null)",
    );
    sql.execute(db).await.map_err(could_not_define(MIGRATE))
}

/// Lets no other process migrate until the end of the transaction. Who only looks does not wait.
async fn lock_migrations(db: &mut PgConnection) -> Result<(), StoreError> {
    query("lock table planhat_sync.migrations in exclusive mode")
        .execute(db)
        .await
        .map_err(could_not("wait for another migration"))?;
    Ok(())
}

async fn apply_missing(db: &mut PgConnection) -> Result<(), StoreError> {
    let applied = applied_migrations(&mut *db).await?;
    for migration in MIGRATOR.iter().filter(|migration| applied.iter().all(|(version, _)| *version != migration.version)) {
        apply(&mut *db, migration).await?;
    }
    Ok(())
}

async fn apply(db: &mut PgConnection, migration: &'static MigrationFile) -> Result<(), StoreError> {
    let begun = Instant::now();
    for statement in statements(migration.sql.as_str()) {
        Sql::new(statement).execute(&mut *db).await.map_err(could_not_define(MIGRATE))?;
    }
    query(
        "insert into planhat_sync.migrations (version, description, success, checksum, execution_time)
         values ($1, $2, true, $3, $4)",
    )
    .bind(migration.version)
    .bind(&*migration.description)
    .bind(&*migration.checksum)
    .bind(i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX))
    .execute(db)
    .await
    .map_err(could_not(MIGRATE))?;
    Ok(())
}

/// The statements of a file. What stands in quotes, in dollar quotes and in comments ends none.
fn statements(text: &'static str) -> Vec<&'static str> {
    let (mut statements, mut start, mut place, mut has_code) = (Vec::new(), 0, 0, false);
    // Behind the next `end`, or behind everything.
    let behind = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |found| from + found + end.len());
    while let Some(next) = text[place..].chars().next() {
        let rest = &text[place..];
        let is_comment = rest.starts_with("--") || rest.starts_with("/*");
        place = match next {
            '-' if is_comment => behind(place, "\n"),
            '/' if is_comment => behind(place, "*/"),
            '\'' | '"' => behind(place + 1, &rest[..1]),
            '$' => dollar_quote(rest).map_or(place + 1, |quote| behind(place + quote.len(), quote)),
            next => place + next.len_utf8(),
        };
        if next == ';' {
            statements.extend(has_code.then(|| text[start..place - 1].trim()));
            (start, has_code) = (place, false);
        } else {
            has_code |= !is_comment && !next.is_whitespace();
        }
    }
    statements.extend(has_code.then(|| text[start..].trim()));
    statements
}

/// `$$` or `$name$`, if a text begins with one.
fn dollar_quote(text: &str) -> Option<&str> {
    let name = text[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    text[1 + name..].starts_with('$').then(|| &text[..name + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_migrations_is_taken_apart_into_its_statements() {
        let check = |text: &'static str, expected: &[&str]| assert_eq!(statements(text), expected);
        check("", &[]);
        check("-- nothing; at all\n ; ;\n", &[]);
        check("select 1; select 2;\n", &["select 1", "select 2"]);
        check(
            "-- why; so\nselect 1 -- a; b\n+ 1;/* c; d */ select 2",
            &["-- why; so\nselect 1 -- a; b\n+ 1", "/* c; d */ select 2"],
        );
        check("select 'it''s; so', \"a;\"\"b\"; select 2", &["select 'it''s; so', \"a;\"\"b\"", "select 2"]);
        check(
            "do $$ begin; end; $$; do $a_1$ $$; $a_1$; select $1;",
            &["do $$ begin; end; $$", "do $a_1$ $$; $a_1$", "select $1"],
        );
        check("comment on table t is '→ ä'; select 1", &["comment on table t is '→ ä'", "select 1"]);
    }

    #[test]
    fn every_migration_has_statements_and_no_transaction_of_its_own() {
        for migration in MIGRATOR.iter() {
            let statements = statements(migration.sql.as_str());
            assert!(!statements.is_empty() && !migration.no_tx, "{}", migration.version);
        }
    }

    #[test]
    fn tables_are_known_by_the_text_of_every_migration_that_was_applied() {
        const KNOWN: [Migration<'_>; 3] = [(1, b"baseline"), (2, b"second"), (3, b"third")];
        let check = |applied: &[Migration<'_>], expected| assert_eq!(judge(applied, &KNOWN), expected, "{applied:?}");
        check(&[], OwnTables::Older);
        check(&KNOWN[..1], OwnTables::Older);
        check(&KNOWN[..2], OwnTables::Older);
        check(&KNOWN, OwnTables::Current);
        check(&[KNOWN[0], KNOWN[1], KNOWN[2], (4, b"fourth"), (5, b"fifth")], OwnTables::Newer(4));
        check(&[(1, b"another baseline")], OwnTables::Unreleased);
        check(&[(1, b"another baseline"), (2, b"x"), (3, b"x"), (9, b"x")], OwnTables::Unreleased);
        check(&[KNOWN[0], (2, b"edited")], OwnTables::Edited(2));
        check(&[KNOWN[0], KNOWN[1], (3, b"edited"), (4, b"fourth")], OwnTables::Edited(3));
        check(&[KNOWN[0], (3, b"third")], OwnTables::Edited(3));
    }
}
