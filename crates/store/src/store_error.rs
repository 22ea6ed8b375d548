//! What can go wrong between us and the database.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::CertificateError;
use sqlx::migrate::MigrateError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database URL does not begin with postgres://")]
    NoPostgresUrl,
    #[error("could not read the database URL")]
    BadUrl { source: sqlx::Error },
    #[error("could not connect to PostgreSQL at {host}:{port}")]
    Connect { host: String, port: u16, source: sqlx::Error },
    #[error("PostgreSQL at {host}:{port} did not answer within {seconds} s")]
    NoAnswer { host: String, port: u16, seconds: u64 },
    #[error("the database said nothing for {:.1} s: its connection was given up", waited.as_secs_f64())]
    Unresponsive { waited: Duration },
    #[error("could not {doing}")]
    Statement { doing: &'static str, source: sqlx::Error },
    #[error("could not bring the tables of schema planhat_sync up to date")]
    Migrate { source: MigrateError },
    #[error("run {run_id} no longer holds the lease: another run has taken it")]
    LeaseLost { run_id: i64 },
    #[error("the database no longer knows how far {object} had been read")]
    CheckpointLost { object: &'static str },
    #[error("another run has bound schema {schema} to another token meanwhile")]
    BoundElsewhere { schema: String },
    #[error("views depend on {column}: {views}")]
    UsedByViews { column: String, views: String },
    #[error("{relation} is not what planhat-sync would make by that name: somebody else has made it")]
    NameTaken { relation: String },
    #[error("the tables of schema planhat_sync are of another version of planhat-sync")]
    OtherVersion,
    #[error("could not read {value:?} in planhat_sync.{column}")]
    UnknownValue { column: &'static str, value: String },
    #[cfg(feature = "embedded")]
    #[error("another planhat-sync is using the embedded PostgreSQL")]
    EmbeddedInUse,
    #[cfg(feature = "embedded")]
    #[error("could not start the embedded PostgreSQL")]
    Embedded { source: Box<dyn std::error::Error + Send + Sync> },
}

/// `.map_err(could_not("save the scan"))`
pub(crate) fn could_not(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Statement { doing, source }
}

impl StoreError {
    /// The code and words with which PostgreSQL refused the data itself: a value (22), a constraint or
    /// trigger of the user's (23, P0), a limit (54). Another attempt would be refused as well.
    pub fn refusal(&self) -> Option<(String, String)> {
        let StoreError::Statement { source: sqlx::Error::Database(error), .. } = self else { return None };
        let code = error.code()?;
        ["22", "23", "54", "P0"]
            .iter()
            .any(|class| code.starts_with(class))
            .then(|| (error.message().to_owned(), code.into_owned()))
    }

    /// Whether the database could not be reached, with all the patience there is.
    pub fn is_unreachable(&self) -> bool {
        match self {
            StoreError::Connect { .. } | StoreError::NoAnswer { .. } => true,
            StoreError::Statement { source: sqlx::Error::PoolClosed, .. } => true,
            _ => self.is_lost_connection(),
        }
    }

    /// Whether the same transaction may well succeed a moment later: somebody else's lock was in the way, or the
    /// connection broke, as it does when the server is restarted.
    pub fn is_transient(&self) -> bool {
        self.is_lock_conflict() || self.is_lost_connection()
    }

    /// A lock timeout, a deadlock, a conflict of transactions.
    pub(crate) fn is_lock_conflict(&self) -> bool {
        self.code().is_some_and(|code| matches!(code.as_str(), "55P03" | "40P01" | "40001"))
    }

    /// The server ended the connection, takes none just now, or cannot be reached.
    fn is_lost_connection(&self) -> bool {
        let source = match self {
            StoreError::Unresponsive { .. } => return true,
            StoreError::Statement { source, .. } => source,
            _ => return false,
        };
        match source {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
            // What PostgreSQL says no more of after it has gone.
            sqlx::Error::Protocol(_) => true,
            _ => self
                .code()
                .is_some_and(|code| code.starts_with("08") || matches!(code.as_str(), "57P01" | "57P02" | "57P03" | "53300")),
        }
    }

    /// Whether the server does not let this user in.
    pub fn is_login_refused(&self) -> bool {
        let StoreError::Connect { source: sqlx::Error::Database(error), .. } = self else { return false };
        error.code().is_some_and(|code| matches!(code.as_ref(), "28P01" | "28000"))
    }

    fn code(&self) -> Option<String> {
        match self {
            StoreError::Statement { source: sqlx::Error::Database(error), .. } => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// The same text for the same trouble, without what differs from one time to the next.
    pub fn kind(&self) -> String {
        match self {
            StoreError::LeaseLost { .. } => "lease lost".to_owned(),
            _ if self.is_unreachable() => "database".to_owned(),
            _ => self.code().map_or("database".to_owned(), |code| format!("database ({code})")),
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        let source = match self {
            StoreError::NoPostgresUrl | StoreError::BadUrl { .. } => {
                return Some("write it as postgres://user:password@host:5432/database");
            }
            StoreError::Unresponsive { .. } => {
                return Some("see whether PostgreSQL and the network to it are well; nothing committed is lost");
            }
            StoreError::NoAnswer { .. } => {
                return Some("check host and port in DATABASE_URL, and that no firewall is in between");
            }
            StoreError::Connect { source, .. } | StoreError::Statement { source, .. } => source,
            StoreError::Migrate { source: MigrateError::VersionMissing(_) } => {
                return Some("the tables were made by a newer planhat-sync: use that version or a later one");
            }
            StoreError::Migrate { source: MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) } => source,
            StoreError::OtherVersion => {
                return Some("run `planhat-sync sync` once with this version, or use the version that made them");
            }
            StoreError::UsedByViews { .. } => return Some("drop them, retype, and make them again; nothing was changed"),
            StoreError::NameTaken { .. } => {
                return Some(
                    "give it another name, or planhat-sync a schema of its own (database.schema); actions and timeline can be turned off (actions.enabled)",
                );
            }
            StoreError::LeaseLost { .. } => return Some("what it has committed is kept; the other run goes on from there"),
            StoreError::BoundElsewhere { .. } => {
                return Some("see which token the other run was given; one workspace fills one schema (database.schema)");
            }
            StoreError::CheckpointLost { .. } => {
                return Some("it has crashed more than once meanwhile: see its log; the next run goes on from what it has kept");
            }
            StoreError::Migrate { .. } | StoreError::UnknownValue { .. } => return None,
            #[cfg(feature = "embedded")]
            StoreError::EmbeddedInUse => return Some("wait for it to end: only one process can use it at a time, even to look"),
            #[cfg(feature = "embedded")]
            StoreError::Embedded { .. } => {
                return Some("the folder database.data_dir and the folder for temporary files have to be writable");
            }
        };
        match source {
            sqlx::Error::Database(error) => match error.code()?.as_ref() {
                "42501" if matches!(self, StoreError::Connect { .. }) => {
                    Some("have an administrator run: grant connect on database … to the user in DATABASE_URL")
                }
                "0A000" | "2BP01" => Some("something else depends on it: a generated column, a policy or a trigger of yours"),
                "25006" => Some("the server is read-only: name the primary in DATABASE_URL"),
                "28P01" | "28000" => Some("check user and password in DATABASE_URL"),
                "3D000" => Some("create the database first, or correct its name in DATABASE_URL"),
                "42501" => Some("`planhat-sync check` names the missing privileges and the GRANT for each"),
                "55P03" => Some("another session holds a lock on the table; try again when it is done"),
                "57014" => Some(
                    "the server took too long over a statement: see what else it is doing, or raise database.statement_timeout",
                ),
                "53100" => Some("free disk space on the database server; nothing committed is lost"),
                _ => None,
            },
            // Where there is TLS, what it refuses comes as an error of the connection.
            sqlx::Error::Io(error) if tls_error(error).is_some() => tls_error(error).map(tls_hint),
            sqlx::Error::Io(error) if error.kind() == ErrorKind::NotFound => {
                Some("a file that DATABASE_URL leads to is not there: the server's socket, or sslrootcert")
            }
            sqlx::Error::Io(_) => Some("check that PostgreSQL runs there, and host and port in DATABASE_URL"),
            sqlx::Error::PoolTimedOut => Some("check that the database answers and has a connection free"),
            sqlx::Error::Tls(_) => Some(
                "if the server has no TLS, turn it on there, or say sslmode=disable in DATABASE_URL where nobody is on the way; sslrootcert has to be a file of PEM certificates",
            ),
            _ => None,
        }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What to do about a server whose TLS, or whose certificate, is not accepted.
fn tls_hint(error: &rustls::Error) -> &'static str {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return "TLS could not be agreed on: check that PostgreSQL itself listens there, with TLS 1.2 or newer; sslmode=disable does without";
    };
    match problem {
        CertificateError::UnknownIssuer => {
            "the server's certificate is of an authority that is not known here: put the authority's certificate into a file, and sslmode=verify-full&sslrootcert=/path/ca.pem into DATABASE_URL"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired: have it renewed, or set this machine's clock"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: set this machine's clock, or wait"
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "the server's certificate has no subject alternative name, and a common name alone does not count: have one made with the host of DATABASE_URL as its subjectAltName"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the server's certificate is for another name than the host in DATABASE_URL: connect by the name that it is for, or have one made for this one"
        }
        CertificateError::Revoked => "the server's certificate has been revoked: have a new one made",
        // By far the most frequent of these is a certificate of version 1, as `openssl x509 -req` makes it without extensions.
        _ => {
            "the server's certificate is in a form that is not accepted: have one made as X.509 version 3, with the host of DATABASE_URL as its subjectAltName, by an authority rather than as one (openssl: -addext or -extfile)"
        }
    }
}
