//! What can go wrong between us and the database, and which kind of trouble that is.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use planhat_model::error::ErrorKind;
use planhat_model::secret_file::SecretFileError;
use rustls::CertificateError;
use sqlx::postgres::PgDatabaseError;

use crate::connect::ConnectionUrlError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database URL cannot be used")]
    BadUrl { source: ConnectionUrlError },
    #[error("could not read {what} from {}", path.display())]
    SecretFile { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{what} cannot be taken from {}", path.display())]
    BadSecretFile { what: &'static str, path: PathBuf, source: SecretFileError },
    #[error("could not read {}, which {setting} names", path.display())]
    CertificateFile { setting: &'static str, path: PathBuf, source: io::Error },
    #[error("{}, which {setting} names, has no certificate in PEM, or one that is broken", path.display())]
    NoCertificate { setting: &'static str, path: PathBuf },
    #[error("could not connect to PostgreSQL at {place}")]
    Connect { place: String, source: DatabaseCause },
    #[error("PostgreSQL at {place} did not answer within {seconds} s")]
    NoAnswer { place: String, seconds: u64 },
    #[error("PostgreSQL at {place} is not the primary that target_session_attrs asks for")]
    NotPrimary { place: String },
    #[error("the database did not respond for {:.1} s: its connection was closed", waited.as_secs_f64())]
    Unresponsive { waited: Duration },
    #[error("could not {doing}")]
    Statement { doing: &'static str, source: DatabaseCause },
    /// What defines a schema, a table or a view was refused by a function of a user's, that is, by an event trigger.
    #[error("could not {doing}")]
    DefinitionRefused { doing: &'static str, source: DatabaseCause },
    #[error("a trigger leaves rows out of {relation}")]
    RowsLeftOut { relation: String },
    #[error("the database is {engine}, not PostgreSQL: {lacks}")]
    OtherEngine { engine: String, lacks: &'static str },
    #[error("the server is a read-only replica (a standby)")]
    ReadOnlyReplica,
    #[error("the database is encoded in {encoding}, which has no room for every name and value")]
    WrongEncoding { encoding: String },
    #[error("row security may hide rows of {relation} from role {role}: {}", policies_that_hide(policies))]
    RowsHidden { relation: String, role: String, policies: String },
    #[error("run {run_id} no longer holds the lease: another run has taken it")]
    LeaseLost { run_id: i64 },
    #[error("the database lost the checkpoint of the scan of {object}")]
    CheckpointLost { object: &'static str },
    #[error("another run has bound schema {schema} to another token in the meantime")]
    BoundElsewhere { schema: String },
    #[error("views depend on {column}: {views}")]
    UsedByViews { column: String, views: String },
    #[error("{relation} already exists and was not created by planhat-sync")]
    NameTaken { relation: String },
    #[error("the tables of schema planhat_sync are missing, or of an earlier version of planhat-sync")]
    OlderTables,
    #[error("the tables of schema planhat_sync are of a newer version of planhat-sync: migration {version} is not known here")]
    NewerTables { version: i64 },
    #[error("the tables of schema planhat_sync are from before the first release of planhat-sync")]
    UnreleasedTables,
    #[error("migration {version} of schema planhat_sync was applied with another text than it has here")]
    MigrationEdited { version: i64 },
    #[error("could not read {value:?} in planhat_sync.{column}")]
    UnknownValue { column: &'static str, value: String },
    #[cfg(feature = "embedded")]
    #[error("another planhat-sync is using the embedded PostgreSQL")]
    EmbeddedInUse,
    #[cfg(feature = "embedded")]
    #[error("could not start the embedded PostgreSQL")]
    Embedded { source: Box<dyn std::error::Error + Send + Sync> },
}

/// What came of a connection or a statement. Where PostgreSQL refused it, this is PostgreSQL's message alone: sqlx puts words
/// before it that say nothing, and behind it a line of PostgreSQL's own source, which reads like a line of the user's.
#[derive(Debug)]
pub struct DatabaseCause(pub(crate) sqlx::Error);

impl Display for DatabaseCause {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            sqlx::Error::Database(refused) => f.write_str(refused.message()),
            error => Display::fmt(error, f),
        }
    }
}

impl Error for DatabaseCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            sqlx::Error::Database(_) => None,
            error => error.source(),
        }
    }
}

/// PostgreSQL's code for a trigger that leaves out a row where that is an error (`triggered_data_change_violation`).
const LEFT_OUT: &str = "27000";

/// `.map_err(could_not("save the scan"))`
pub(crate) fn could_not(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| StoreError::Statement { doing, source: DatabaseCause(error) }
}

pub(crate) fn could_not_connect(place: &str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| StoreError::Connect { place: place.to_owned(), source: DatabaseCause(error) }
}

/// The same as [`could_not`] for a statement that makes or changes a schema, a table or a view: no value is in it that could be at fault.
pub(crate) fn could_not_define(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match kind_of(&error) {
        ErrorKind::DataRefused(code) if code.starts_with("P0") => {
            StoreError::DefinitionRefused { doing, source: DatabaseCause(error) }
        }
        _ => could_not(doing)(error),
    }
}

fn policies_that_hide(policies: &str) -> String {
    match policies {
        "" => "no policy lets it read and write all of them".to_owned(),
        policies => format!("by policy {policies}"),
    }
}

impl StoreError {
    /// Which kind of trouble it is: what follows from it stands in the table of consequences.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::BadUrl { source: ConnectionUrlError::NoScheme | ConnectionUrlError::Empty } => ErrorKind::BadDatabaseUrl,
            StoreError::BadUrl { .. } => ErrorKind::UnusableDatabaseUrl,
            StoreError::SecretFile { .. } => ErrorKind::UnreadableFile,
            StoreError::BadSecretFile { .. } => ErrorKind::UnusableSecretFile,
            StoreError::CertificateFile { .. } | StoreError::NoCertificate { .. } => ErrorKind::CertificateFileUnusable,
            StoreError::NoAnswer { .. } => ErrorKind::ConnectTimeout,
            StoreError::NotPrimary { .. } => ErrorKind::ReadOnly,
            StoreError::Unresponsive { .. } => ErrorKind::DatabaseUnresponsive,
            StoreError::Connect { source: DatabaseCause(sqlx::Error::Configuration(_)), .. } => ErrorKind::UnusablePassword,
            StoreError::Connect { source, .. } => match kind_of(&source.0) {
                ErrorKind::PrivilegeMissing => ErrorKind::ConnectDenied,
                kind => kind,
            },
            StoreError::Statement { source, .. } => kind_of(&source.0),
            StoreError::DefinitionRefused { source, .. } => match kind_of(&source.0) {
                ErrorKind::DataRefused(code) => ErrorKind::DefinitionRefused(code),
                kind => kind,
            },
            StoreError::RowsLeftOut { .. } => ErrorKind::DataRefused(LEFT_OUT.to_owned()),
            StoreError::OtherEngine { .. } => ErrorKind::OtherEngine,
            StoreError::ReadOnlyReplica => ErrorKind::ReadOnly,
            StoreError::WrongEncoding { .. } => ErrorKind::WrongEncoding,
            StoreError::RowsHidden { .. } => ErrorKind::RowsHidden,
            StoreError::LeaseLost { .. } => ErrorKind::LeaseLost,
            StoreError::CheckpointLost { .. } => ErrorKind::CheckpointLost,
            StoreError::BoundElsewhere { .. } => ErrorKind::BoundElsewhere,
            StoreError::UsedByViews { .. } => ErrorKind::UsedByViews,
            StoreError::NameTaken { .. } => ErrorKind::NameTaken,
            StoreError::OlderTables => ErrorKind::OtherVersion,
            StoreError::NewerTables { .. } => ErrorKind::NewerVersion,
            StoreError::UnreleasedTables => ErrorKind::UnreleasedTables,
            StoreError::MigrationEdited { .. } => ErrorKind::MigrationEdited,
            StoreError::UnknownValue { .. } => ErrorKind::UnknownValue,
            #[cfg(feature = "embedded")]
            StoreError::EmbeddedInUse => ErrorKind::EmbeddedInUse,
            #[cfg(feature = "embedded")]
            StoreError::Embedded { .. } => ErrorKind::EmbeddedFailed,
        }
    }

    /// The code and words with which PostgreSQL refused the data itself. Another attempt would be refused as well.
    pub fn refusal(&self) -> Option<(String, String)> {
        match (self, self.kind()) {
            (StoreError::Statement { source: DatabaseCause(sqlx::Error::Database(error)), .. }, ErrorKind::DataRefused(code)) => {
                Some((error.message().to_owned(), code))
            }
            (StoreError::RowsLeftOut { .. }, ErrorKind::DataRefused(code)) => Some((self.to_string(), code)),
            _ => None,
        }
    }
}

impl StoreError {
    /// Whether TLS could not be agreed upon, or the server has none.
    pub(crate) fn is_of_tls(&self) -> bool {
        match self {
            StoreError::Connect { source: DatabaseCause(sqlx::Error::Tls(_)), .. } => true,
            StoreError::Connect { source: DatabaseCause(sqlx::Error::Io(error)), .. } => tls_error(error).is_some(),
            _ => false,
        }
    }

    /// Whether two transactions have made the same thing at the same moment, and the other one has committed first. It is there now.
    pub(crate) fn is_lost_race(&self) -> bool {
        let (StoreError::DefinitionRefused { source, .. } | StoreError::Statement { source, .. }) = self else { return false };
        lost_race(&source.0)
    }

    /// Whether a server, or a pooler before it, works and has no room for a further connection.
    pub(crate) fn is_no_room(&self) -> bool {
        let (StoreError::Connect { source, .. } | StoreError::Statement { source, .. }) = self else { return false };
        matches!(kind_of(&source.0), ErrorKind::NoFreeConnection)
    }
}

/// `create … if not exists`, too, looks first and makes it then: in between another transaction may make it. Then a catalogue of
/// PostgreSQL's refuses the second row of that name, or the second change of a row.
fn lost_race(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.code().as_deref() {
        // A schema, a table, a type or a constraint of this name is there.
        Some("42P06" | "42P07" | "42710") => true,
        Some("23505") => error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::schema) == Some("pg_catalog"),
        Some("XX000") => error.message().starts_with("tuple concurrently "),
        _ => false,
    }
}

/// Poolers have no code of their own for it: PgBouncer's is that of a broken protocol, Supavisor's that of an internal error.
fn is_no_room_of_a_pooler(code: &str, message: &str) -> bool {
    let message = message.to_lowercase();
    ["08P01", "XX000", "58000"].contains(&code)
        && ["max client", "too many", "no more connections", "query_wait_timeout"].iter().any(|words| message.contains(words))
}

fn kind_of(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Database(error) if error.code().is_some_and(|code| is_no_room_of_a_pooler(&code, error.message())) => {
            ErrorKind::NoFreeConnection
        }
        sqlx::Error::Database(refused) if lost_race(error) => {
            ErrorKind::TransactionConflict(refused.code().unwrap_or_default().into_owned())
        }
        sqlx::Error::Database(error) => error.code().map_or(ErrorKind::DatabaseError(None), |code| kind_of_code(&code)),
        // Where there is TLS, what it refuses comes as an error of the connection.
        sqlx::Error::Io(error) => match tls_error(error) {
            Some(refused) => kind_of_tls(refused),
            None if error.kind() == io::ErrorKind::NotFound => ErrorKind::ServerFileMissing,
            None => ErrorKind::ServerUnreachable,
        },
        sqlx::Error::Tls(_) => ErrorKind::TlsUnavailable,
        sqlx::Error::PoolTimedOut => ErrorKind::NoFreeConnection,
        sqlx::Error::PoolClosed => ErrorKind::ConnectionsClosed,
        // What PostgreSQL says no more of after it has gone.
        sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => ErrorKind::ConnectionLost,
        _ => ErrorKind::DatabaseError(None),
    }
}

/// What PostgreSQL means by an SQLSTATE.
fn kind_of_code(code: &str) -> ErrorKind {
    match code {
        "28P01" | "28000" => ErrorKind::LoginRefused(code.to_owned()),
        "3D000" => ErrorKind::NoSuchDatabase,
        "42501" => ErrorKind::PrivilegeMissing,
        "25006" => ErrorKind::ReadOnly,
        "53100" => ErrorKind::DiskFull,
        "55P03" => ErrorKind::LockTimeout,
        "57014" => ErrorKind::StatementTimeout,
        "40P01" | "40001" => ErrorKind::TransactionConflict(code.to_owned()),
        "0A000" | "2BP01" => ErrorKind::DependentObjects(code.to_owned()),
        // The server ended the connection, or takes none just now.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => ErrorKind::ConnectionLost,
        "53300" => ErrorKind::NoFreeConnection,
        "25P04" => ErrorKind::TransactionTimeout,
        _ if code.starts_with("08") => ErrorKind::ConnectionLost,
        // A value, a constraint or trigger of the user's, a limit.
        _ if ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class)) => ErrorKind::DataRefused(code.to_owned()),
        _ => ErrorKind::DatabaseError(Some(code.to_owned())),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A server whose TLS, or whose certificate, is not accepted.
fn kind_of_tls(error: &rustls::Error) -> ErrorKind {
    let rustls::Error::InvalidCertificate(problem) = error else { return ErrorKind::TlsNotAgreed };
    match problem {
        CertificateError::UnknownIssuer => ErrorKind::CertificateOfUnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ErrorKind::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => ErrorKind::CertificateNotYetValid,
        // A common name alone does not count.
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => ErrorKind::CertificateWithoutName,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => ErrorKind::CertificateOfOtherName,
        CertificateError::Revoked => ErrorKind::CertificateRevoked,
        // By far the most frequent of these is a certificate of version 1, as `openssl x509 -req` makes it without extensions.
        _ => ErrorKind::CertificateForm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(source: sqlx::Error) -> StoreError {
        could_not("save the scan")(source)
    }

    fn check(error: &StoreError, kind: &ErrorKind) {
        assert_eq!(error.kind(), *kind, "{error:?}");
    }

    #[test]
    fn each_error_is_of_a_kind() {
        let schema = || "planhat".to_owned();
        check(&StoreError::BadUrl { source: ConnectionUrlError::NoScheme }, &ErrorKind::BadDatabaseUrl);
        check(&StoreError::BadUrl { source: ConnectionUrlError::Quoted }, &ErrorKind::UnusableDatabaseUrl);
        let file = || PathBuf::from("/run/secrets/url");
        let empty = StoreError::BadSecretFile { what: "the password", path: file(), source: SecretFileError::Empty };
        check(&empty, &ErrorKind::UnusableSecretFile);
        let no_file = std::io::ErrorKind::NotFound.into();
        let missing = StoreError::SecretFile { what: "the password", path: file(), source: no_file };
        check(&missing, &ErrorKind::UnreadableFile);
        check(&StoreError::NoCertificate { setting: "sslrootcert", path: file() }, &ErrorKind::CertificateFileUnusable);
        check(&StoreError::NotPrimary { place: "db:5432".to_owned() }, &ErrorKind::ReadOnly);
        check(&StoreError::NoAnswer { place: "db:5432".to_owned(), seconds: 30 }, &ErrorKind::ConnectTimeout);
        check(&StoreError::Unresponsive { waited: Duration::ZERO }, &ErrorKind::DatabaseUnresponsive);
        let other = StoreError::OtherEngine { engine: "CockroachDB".to_owned(), lacks: "it is another one" };
        check(&other, &ErrorKind::OtherEngine);
        check(&StoreError::LeaseLost { run_id: 1 }, &ErrorKind::LeaseLost);
        check(&StoreError::CheckpointLost { object: "nps" }, &ErrorKind::CheckpointLost);
        check(&StoreError::BoundElsewhere { schema: schema() }, &ErrorKind::BoundElsewhere);
        check(&StoreError::UsedByViews { column: "a".to_owned(), views: "v".to_owned() }, &ErrorKind::UsedByViews);
        check(&StoreError::NameTaken { relation: schema() }, &ErrorKind::NameTaken);
        check(&StoreError::OlderTables, &ErrorKind::OtherVersion);
        check(&StoreError::NewerTables { version: 7 }, &ErrorKind::NewerVersion);
        let left_out = StoreError::RowsLeftOut { relation: "planhat.nps".to_owned() };
        check(&left_out, &ErrorKind::DataRefused("27000".to_owned()));
        assert_eq!(left_out.refusal().unwrap().0, "a trigger leaves rows out of planhat.nps");
        check(&StoreError::ReadOnlyReplica, &ErrorKind::ReadOnly);
        check(&StoreError::WrongEncoding { encoding: "LATIN1".to_owned() }, &ErrorKind::WrongEncoding);
        let hidden = StoreError::RowsHidden { relation: "planhat.nps".to_owned(), role: "r".to_owned(), policies: String::new() };
        check(&hidden, &ErrorKind::RowsHidden);
        check(&StoreError::UnknownValue { column: "status", value: "odd".to_owned() }, &ErrorKind::UnknownValue);
        check(&statement(sqlx::Error::PoolTimedOut), &ErrorKind::NoFreeConnection);
        check(&statement(sqlx::Error::PoolClosed), &ErrorKind::ConnectionsClosed);
        check(&statement(sqlx::Error::WorkerCrashed), &ErrorKind::ConnectionLost);
        check(&statement(sqlx::Error::Protocol("odd".to_owned())), &ErrorKind::ConnectionLost);
        check(&statement(sqlx::Error::Tls("none".into())), &ErrorKind::TlsUnavailable);
        check(&statement(sqlx::Error::RowNotFound), &ErrorKind::DatabaseError(None));
    }

    #[test]
    fn a_broken_connection_is_told_from_a_missing_file_and_from_tls() {
        let io = |kind: io::ErrorKind| statement(sqlx::Error::Io(kind.into()));
        check(&io(io::ErrorKind::ConnectionRefused), &ErrorKind::ServerUnreachable);
        check(&io(io::ErrorKind::UnexpectedEof), &ErrorKind::ServerUnreachable);
        check(&io(io::ErrorKind::NotFound), &ErrorKind::ServerFileMissing);
        let tls = |error: rustls::Error| statement(sqlx::Error::Io(io::Error::new(io::ErrorKind::InvalidData, error)));
        let certificate = |problem: CertificateError| tls(rustls::Error::InvalidCertificate(problem));
        check(&tls(rustls::Error::HandshakeNotComplete), &ErrorKind::TlsNotAgreed);
        check(&certificate(CertificateError::UnknownIssuer), &ErrorKind::CertificateOfUnknownAuthority);
        check(&certificate(CertificateError::Expired), &ErrorKind::CertificateExpired);
        check(&certificate(CertificateError::NotValidYet), &ErrorKind::CertificateNotYetValid);
        check(&certificate(CertificateError::NotValidForName), &ErrorKind::CertificateOfOtherName);
        check(&certificate(CertificateError::Revoked), &ErrorKind::CertificateRevoked);
        check(&certificate(CertificateError::BadEncoding), &ErrorKind::CertificateForm);
    }

    fn check_code(code: &str, kind: &ErrorKind) {
        assert_eq!(kind_of_code(code), *kind, "{code}");
    }

    #[test]
    fn each_code_of_postgresql_is_of_a_kind() {
        for code in ["28P01", "28000"] {
            check_code(code, &ErrorKind::LoginRefused(code.to_owned()));
        }
        for code in ["40P01", "40001"] {
            check_code(code, &ErrorKind::TransactionConflict(code.to_owned()));
        }
        for code in ["0A000", "2BP01"] {
            check_code(code, &ErrorKind::DependentObjects(code.to_owned()));
        }
        for code in ["08000", "08006", "57P01", "57P02", "57P03", "57P05", "25P03"] {
            check_code(code, &ErrorKind::ConnectionLost);
        }
        check_code("53300", &ErrorKind::NoFreeConnection);
        for code in ["22003", "23505", "54011", "P0001"] {
            check_code(code, &ErrorKind::DataRefused(code.to_owned()));
        }
        check_code("3D000", &ErrorKind::NoSuchDatabase);
        check_code("42501", &ErrorKind::PrivilegeMissing);
        check_code("25006", &ErrorKind::ReadOnly);
        check_code("53100", &ErrorKind::DiskFull);
        check_code("55P03", &ErrorKind::LockTimeout);
        check_code("57014", &ErrorKind::StatementTimeout);
        check_code("25P04", &ErrorKind::TransactionTimeout);
        check_code("42P01", &ErrorKind::DatabaseError(Some("42P01".to_owned())));
    }

    #[test]
    fn a_kind_has_the_code_that_it_was_made_from_in_its_text() {
        for code in ["28P01", "3D000", "42501", "25006", "25P04", "53100", "55P03", "57014", "40P01", "0A000", "22003", "42P01"] {
            assert_eq!(kind_of_code(code).text(), format!("database ({code})"));
        }
    }
}
