//! The tool's own tables, schema `planhat_sync`: created by migrations that are compiled in, and distinguished from those of
//! other releases.
//!
//! What was applied is judged by the texts of all migrations (their checksums), not by the number of the latest: an edited
//! migration would leave a database that no release knows. Looking changes nothing; only `migrate` applies what is missing.

use sqlx::PgConnection;
use sqlx::migrate::Migrator;

use crate::connection::{ConnectionUse, TransactionKind};
use crate::data::tables::create_schema;
use crate::row_security::refuse_hidden_rows;
use crate::sql::{self, query, query_as, query_scalar};
use crate::store_error::{StoreError, could_not, could_not_migrate};
use crate::{OWN_SCHEMA, Store};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");
/// Any number, but the same in every version of the tool: the lock that migrations take.
const MIGRATION_LOCK: i64 = 0x706c_616e_6861_7401;

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
        let migrated = self.connections.transaction(ConnectionUse::Work, TransactionKind::Write, async |db| {
            // Held for the transaction, not the session, so that a connection pooler in between does no harm.
            query("select pg_advisory_xact_lock($1)")
                .bind(MIGRATION_LOCK)
                .execute(&mut *db)
                .await
                .map_err(could_not("wait for another migration"))?;
            refuse_replica(&mut *db).await?;
            for schema in [OWN_SCHEMA, &self.schema] {
                create_schema(&mut *db, schema).await?;
            }
            refuse_hidden_rows(&mut *db, &self.schema).await?;
            match own_tables(&mut *db).await? {
                OwnTables::Current => Ok(()),
                OwnTables::Missing => {
                    refuse_other_encodings(&mut *db).await?;
                    apply_missing(db).await
                }
                OwnTables::Older => apply_missing(db).await,
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
    let applied: Vec<(i64, Vec<u8>)> =
        query_as("select version, checksum from planhat_sync.migrations where success order by version")
            .fetch_all(db)
            .await
            .map_err(could_not("read the version of the tables"))?;
    let applied: Vec<Migration<'_>> = applied.iter().map(|(version, checksum)| (*version, checksum.as_slice())).collect();
    let known: Vec<Migration<'_>> = MIGRATOR.iter().map(|migration| (migration.version, &*migration.checksum)).collect();
    Ok(judge(&applied, &known))
}

async fn apply_missing(db: &mut PgConnection) -> Result<(), StoreError> {
    // The migrator prepares statements by names that others may have used on the same server connection behind a pooler.
    sql::forget_prepared(&mut *db).await?;
    let mut migrator = Migrator::with_migrations(MIGRATOR.iter().cloned().collect());
    migrator.set_locking(false);
    migrator.dangerous_set_table_name(format!("{OWN_SCHEMA}.migrations"));
    migrator.run(&mut *db).await.map_err(could_not_migrate)?;
    sqlx::Connection::clear_cached_statements(db).await.map_err(could_not("forget the statements of a migration"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
