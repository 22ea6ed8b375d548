//! The one table from a kind of error to what follows from it: is it tried again, what fails, how bad is it, what can a person
//! do, and with which code does the process exit. Whoever handles an error asks here.
//!
//! The tests show it as a table to read.

use super::error_kind::ErrorKind;
use super::exit_code::{self as exit, ExitCode};

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consequence {
    pub retry: Retry,
    /// What fails when no attempt helps.
    pub fails: Fails,
    pub severity: Severity,
    /// What a person can do about it; `{…}` is filled in by [`ErrorKind::hint`].
    pub hint: Option<&'static str>,
    /// How the process exits if it ends with this.
    pub exit_code: ExitCode,
}

/// Whether the same may well succeed a moment later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    Never,
    /// A few times: what is in the way passes, or it does not.
    Briefly,
    /// As long as a restart of the server takes.
    UntilTimeout,
    /// What the database has forgotten is read again from where it still knows the position.
    FromCheckpoint,
}

/// What cannot be done because of it. What is further down contains what is further up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fails {
    /// The record goes to quarantine, or is not asked for; its page is stored.
    Record,
    /// This way of listing an object; another listing of it may fare better.
    Listing,
    /// The object; others may fare better.
    Object,
    /// No other object could fare better.
    Run,
    /// Not even a run begins.
    Command,
}

/// How it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As left out: nobody expects it otherwise.
    Skip,
    /// As a warning: the rest goes on.
    Warn,
    Error,
}

impl Consequence {
    fn new(retry: Retry, fails: Fails, exit_code: ExitCode) -> Consequence {
        Consequence { retry, fails, severity: Severity::Error, hint: None, exit_code }
    }

    fn hint(self, hint: &'static str) -> Consequence {
        Consequence { hint: Some(hint), ..self }
    }

    fn as_skip(self) -> Consequence {
        Consequence { severity: Severity::Skip, ..self }
    }

    fn as_warning(self) -> Consequence {
        Consequence { severity: Severity::Warn, ..self }
    }

    /// Whether it is of no use to write down what happened: the database is gone.
    pub fn is_loss_of_database(&self) -> bool {
        self.fails == Fails::Run && self.exit_code == exit::DATABASE
    }
}

impl ErrorKind {
    /// What fails when no attempt helps.
    pub fn fails(&self) -> Fails {
        self.consequence().fails
    }

    pub fn severity(&self) -> Severity {
        self.consequence().severity
    }

    pub fn retry(&self) -> Retry {
        self.consequence().retry
    }

    /// A hint: what a person can do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = self.consequence().hint?;
        Some(match self {
            ErrorKind::AccessWithdrawn { object } | ErrorKind::NothingListed { object } => hint.replace("{object}", object),
            ErrorKind::Busy { free_after_seconds } => hint.replace("{seconds}", &free_after_seconds.to_string()),
            _ => hint.to_owned(),
        })
    }

    /// The table, a row for each kind.
    #[rustfmt::skip]
    pub fn consequence(&self) -> Consequence {
        use ErrorKind::*;
        use Fails::{Command, Listing, Object, Record, Run};
        use Retry::{Briefly, FromCheckpoint, Never, UntilTimeout};
        use exit::*;

        let never = |fails, exit_code| Consequence::new(Never, fails, exit_code);
        let briefly = |fails, exit_code| Consequence::new(Briefly, fails, exit_code);
        let until_timeout = |fails, exit_code| Consequence::new(UntilTimeout, fails, exit_code);
        let from_checkpoint = |fails, exit_code| Consequence::new(FromCheckpoint, fails, exit_code);
        match self {
            TokenRefused => never(Run, TOKEN_REFUSED).hint(
                "check PLANHAT_API_TOKEN and planhat.base_url: a token is valid only on the API host of its workspace"),
            AccessDenied => never(Object, FAILED).as_skip().hint(
                "give the private app read access to this object in Planhat, or leave it out of planhat.objects"),
            AccessWithdrawn { .. } => never(Object, FAILED).hint(
                "give the private app back its read access to {object} in Planhat, or leave it out of planhat.objects"),
            RateLimited => briefly(Listing, FAILED).hint(
                "the workspace's quota is used up: lower planhat.calls_per_minute if others use the API too"),
            RequestTimeout | ServerError => briefly(Listing, FAILED),
            Redirected(_) => never(Listing, FAILED).hint(
                "redirects are not followed, so that the token is sent to no other host: set planhat.base_url to the API host \
                 itself"),
            Answered(_) => never(Listing, FAILED),
            NotConnected | NotAnswered => briefly(Run, FAILED).hint(
                "check planhat.base_url, and that this machine can reach it"),
            ProxyRefused => briefly(Run, FAILED).hint(
                "the proxy that HTTPS_PROXY or ALL_PROXY names does not let this machine connect to the host of \
                 planhat.base_url: have it allowed there, or put the host into NO_PROXY if it can be reached without the proxy"),
            ProxyLoginRefused => never(Run, FAILED).hint(
                "the proxy wants a user and a password: write HTTPS_PROXY as http://user:password@host:port, with @, / and : in \
                 them as %40, %2F and %3A"),
            ServerCertificateNotYetValid => briefly(Run, FAILED).hint(
                "check this machine's clock: by it, the certificate of the host of planhat.base_url is not valid yet"),
            ServerCertificateExpired => briefly(Run, FAILED).hint(
                "check this machine's clock: by it, the certificate of the host of planhat.base_url has expired"),
            ServerCertificateUntrusted => briefly(Run, FAILED).hint(
                "the certificate of the host of planhat.base_url is not accepted: if a proxy opens the traffic, add its authority \
                 to the system's certificate store, or name a file with it in SSL_CERT_FILE"),
            TruncatedBody => briefly(Listing, FAILED),
            NotAList => briefly(Listing, FAILED).hint(
                "check that planhat.base_url is the API host (https://api.planhat.com or a regional one)"),
            PageTooLarge => never(Listing, FAILED).hint(
                "raise planhat.max_page_bytes: single records of this object are larger than it"),
            RepeatingListing | EndlessListing => never(Listing, FAILED),
            UnstableOrder => never(Listing, FAILED).hint(
                "run it again when fewer records are being deleted at Planhat; if the error stays, pages.overlap = 0 turns \
                 this check off, and records may then be missed"),
            UnusableId | OtherRecord => never(Record, FAILED).as_warning(),

            TooManyRejected => never(Listing, FAILED).hint(
                "the object's sync stopped here, and the next sync reads it from the beginning; `planhat-sync quarantine` \
                 shows the records kept before. If so many rejected records are expected, raise sync.reject_percent and \
                 sync.reject_rows"),
            Undeclared(_) => never(Object, FAILED).hint(
                "/customfields says which type a column gets, and a column keeps its type; so the first load waits until \
                 /customfields answers. The next sync tries again"),
            NothingListed { .. } => never(Object, FAILED).hint(
                "check the token's permissions and {object} in Planhat; if all of them were really deleted, \
                 `planhat-sync sync --full --allow-deletes {object}` marks them as deleted"),

            BadDatabaseUrl => never(Command, CONFIGURATION).hint("write it as postgres://user:password@host:5432/database"),
            UnusableDatabaseUrl => never(Command, CONFIGURATION),
            // A file that is being replaced is there again a moment later.
            UnusableSecretFile => until_timeout(Command, CONFIGURATION),
            UnreadableFile => until_timeout(Command, CONFIGURATION).hint("check the path, and whether this user may read the file"),
            ConnectTimeout => never(Run, DATABASE).hint(
                "check the host and port in DATABASE_URL, and that no firewall blocks it"),
            ServerUnreachable => until_timeout(Run, DATABASE).hint(
                "check that PostgreSQL is running there, and the host and port in DATABASE_URL"),
            ServerFileMissing => until_timeout(Run, DATABASE).hint(
                "the server's socket does not exist: check that PostgreSQL is running on this machine, and the folder and the port \
                 in DATABASE_URL"),
            LoginRefused(_) => never(Object, DATABASE).hint("check user and password: those of DATABASE_URL, or the file with the password"),
            UnusablePassword => never(Object, DATABASE).hint(
                "the password has a character that cannot be used to log in (an emoji, or one newer than Unicode 3.2): choose \
                 another password; or the key that sslkey names is not in PEM, or is encrypted"),
            ConnectDenied => never(Object, DATABASE).hint(
                "ask an administrator to run: grant connect on database … to the user in DATABASE_URL"),
            NoSuchDatabase => never(Object, DATABASE).hint("create the database first, or correct its name in DATABASE_URL"),
            NoFreeConnection => until_timeout(Run, DATABASE).hint(
                "the server, or a pooler before it, has no connection to spare: end sessions that are not needed (select * from \
                 pg_stat_activity), or raise the limit of the role (alter role … connection limit), of the database, of the server \
                 (max_connections) or of the pooler; one connection is enough"),
            ConnectionsClosed => never(Run, DATABASE),
            ConnectionLost => until_timeout(Run, DATABASE),
            DatabaseUnresponsive => until_timeout(Run, DATABASE).hint(
                "check that PostgreSQL and the network to it work; nothing committed is lost"),
            TlsUnavailable => never(Object, DATABASE).hint(
                "if the server has no TLS, turn it on, or set sslmode=disable in DATABASE_URL on a trusted network; \
                 sslrootcert must be a file of PEM certificates"),
            TlsNotAgreed => until_timeout(Run, DATABASE).hint(
                "the TLS handshake failed: check that PostgreSQL itself listens there, with TLS 1.2 or newer; sslmode=disable \
                 turns TLS off"),
            CertificateFileUnusable => never(Object, DATABASE).hint(
                "a file that DATABASE_URL refers to does not exist, cannot be read by this user, or has no certificate in PEM: \
                 correct its path, or leave sslrootcert out, so that the system's certificate store counts"),
            CertificateOfUnknownAuthority => until_timeout(Run, DATABASE).hint(
                "the server's certificate was issued by an unknown authority: save the authority's certificate to a file, and \
                 put sslmode=verify-full&sslrootcert=/path/ca.pem into DATABASE_URL, or add it to the system's certificate \
                 store; sslmode=require without sslrootcert encrypts, and verifies nothing"),
            CertificateExpired => until_timeout(Run, DATABASE).hint(
                "the server's certificate has expired: renew it, or correct this machine's clock; until then sslmode=require without \
                 sslrootcert encrypts, and verifies nothing"),
            CertificateNotYetValid => until_timeout(Run, DATABASE).hint(
                "the server's certificate is not valid yet: correct this machine's clock, or wait; until then sslmode=require without \
                 sslrootcert encrypts, and verifies nothing"),
            CertificateWithoutName => until_timeout(Run, DATABASE).hint(
                "the server's certificate has no subject alternative name, and a common name alone does not count: have one \
                 made with the host of DATABASE_URL as its subjectAltName, or put sslmode=verify-ca into DATABASE_URL, which \
                 verifies the authority alone"),
            CertificateOfOtherName => until_timeout(Run, DATABASE).hint(
                "the server's certificate is for another name than the host in DATABASE_URL: connect by that name, or get a \
                 certificate for this host, or put sslmode=verify-ca into DATABASE_URL, which verifies the authority alone"),
            CertificateRevoked => until_timeout(Run, DATABASE).hint("the server's certificate has been revoked: get a new one"),
            CertificateForm => until_timeout(Run, DATABASE).hint(
                "the server's certificate is in a form that is not accepted: have one made as X.509 version 3, with the host \
                 of DATABASE_URL as its subjectAltName, by an authority rather than as one (openssl: -addext or -extfile); no sslmode accepts \
                 it but sslmode=disable, on a trusted network"),

            LockTimeout => briefly(Object, DATABASE).hint(
                "another session holds a lock on the table; try again when that session has ended"),
            TransactionConflict(_) => briefly(Object, DATABASE),
            StatementTimeout => never(Object, DATABASE).hint(
                "a statement took too long: check the load of the server, or raise database.statement_timeout"),
            TransactionTimeout => never(Object, DATABASE).hint(
                "the server limits how long a transaction may take: alter role … set transaction_timeout = 0 for the role in \
                 DATABASE_URL"),
            DiskFull => never(Object, DATABASE).hint("free disk space on the database server; nothing committed is lost"),
            ReadOnly => never(Object, DATABASE).hint(
                "name the primary in DATABASE_URL; if this is the primary, default_transaction_read_only is on (some providers \
                 turn it on when the disk is full)"),
            PrivilegeMissing => never(Object, DATABASE).hint(
                "`planhat-sync check` says what the role may do, and the GRANT for what it lacks"),
            DefinitionRefused(_) => never(Object, DATABASE).hint(
                "an event trigger of the database refuses to have tables made or changed: have it let the role in DATABASE_URL \
                 do so, or disable it for a sync that meets new objects or properties (alter event trigger … disable)"),
            DependentObjects(_) => never(Object, DATABASE).hint(
                "another object depends on the column: a generated column, a policy or a trigger that you created"),
            DataRefused(_) => never(Record, DATABASE).as_warning(),
            DatabaseError(_) | UnknownValue => never(Object, DATABASE),

            OtherEngine => never(Command, DATABASE).hint(
                "name a PostgreSQL server in DATABASE_URL, version 15 or newer; where one machine is not enough, PostgreSQL with Citus"),
            OtherVersion => never(Command, DATABASE).hint(
                "run `planhat-sync sync` once with this version, or use the version that created them"),
            NewerVersion => never(Command, DATABASE).hint(
                "use that version or a later one"),
            UnreleasedTables => never(Command, DATABASE).hint(
                "drop the schema planhat_sync and the schema of the data (database.schema), and sync again: what Planhat has \
                 is loaded anew"),
            MigrationEdited => never(Command, DATABASE).hint(
                "use the version that made the tables; if you build planhat-sync yourself, put the file in migrations/ back \
                 as it was"),
            WrongEncoding => never(Command, DATABASE).hint(
                "create one with: create database … encoding 'UTF8' template template0"),
            RowsHidden => never(Command, DATABASE).hint(
                "row security hides rows from planhat-sync, so it would store records twice and miss deletions: create a policy for \
                 all commands and this role `using (true)`, or run: alter table … no force row level security"),
            NameTaken => never(Command, DATABASE).hint(
                "rename it, or give planhat-sync a schema of its own (database.schema); the table actions and the view \
                 timeline can be turned off (actions.enabled)"),
            UsedByViews => never(Command, FAILED).hint("drop the views, run retype, and create them again; nothing was changed"),
            LeaseLost => never(Object, DATABASE).hint("what this run committed is kept; the other run continues from there"),
            CheckpointLost => from_checkpoint(Object, DATABASE).hint(
                "the database server crashed more than once during the run: see its log; the next run resumes from the last \
                 checkpoint that it kept"),
            BoundElsewhere => never(Command, DATABASE).hint(
                "check which token the other run uses; a schema belongs to one workspace (database.schema)"),
            EmbeddedInUse => never(Command, BUSY).as_skip().hint(
                "wait for it to end: only one process at a time can use the embedded database, even for reading"),
            EmbeddedFailed => never(Command, DATABASE).hint(
                "the folder database.data_dir and the folder for temporary files have to be writable"),

            Busy { .. } => never(Command, BUSY).as_skip().hint(
                "wait for the other run to end. If it was killed, another run can begin {seconds} s after the lease was last renewed"),
            Stopped => never(Command, FAILED).as_skip(),
            OtherWorkspace => never(Command, CONFIGURATION).hint(
                "use the token of the workspace that the schema belongs to, or another schema for this one (database.schema); \
                 after a restore at Planhat, where records have new ids, `planhat-sync adopt` binds it to the configured \
                 token"),
            Unproven => never(Command, FAILED),
            EndNotNoted(why) => {
                never(Command, DATABASE).hint(why.consequence().hint.unwrap_or(
                    "everything committed is kept; the next run marks this one as interrupted"))
            }

            UnknownSetting => never(Command, CONFIGURATION).hint(
                "the page docs/configure.md lists every setting; `planhat-sync --help` says where settings come from"),
            BadSettings => never(Command, CONFIGURATION),
            UnusableToken => never(Command, CONFIGURATION).hint(
                "copy the token of the private app again, whole and without line breaks"),
            Other => never(Command, FAILED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each, in the order of their declaration.
    fn every_kind() -> Vec<ErrorKind> {
        use ErrorKind::*;
        let code = |code: &str| code.to_owned();
        vec![
            TokenRefused,
            AccessDenied,
            AccessWithdrawn { object: "nps" },
            RateLimited,
            RequestTimeout,
            ServerError,
            Redirected(301),
            Answered(400),
            NotConnected,
            ProxyRefused,
            ProxyLoginRefused,
            ServerCertificateNotYetValid,
            ServerCertificateExpired,
            ServerCertificateUntrusted,
            NotAnswered,
            TruncatedBody,
            NotAList,
            PageTooLarge,
            RepeatingListing,
            UnstableOrder,
            EndlessListing,
            UnusableId,
            OtherRecord,
            TooManyRejected,
            Undeclared(Box::new(TokenRefused)),
            NothingListed { object: "nps" },
            BadDatabaseUrl,
            UnusableDatabaseUrl,
            UnusableSecretFile,
            UnreadableFile,
            ConnectTimeout,
            ServerUnreachable,
            ServerFileMissing,
            LoginRefused(code("28P01")),
            UnusablePassword,
            ConnectDenied,
            NoSuchDatabase,
            NoFreeConnection,
            ConnectionsClosed,
            ConnectionLost,
            DatabaseUnresponsive,
            TlsUnavailable,
            TlsNotAgreed,
            CertificateFileUnusable,
            CertificateOfUnknownAuthority,
            CertificateExpired,
            CertificateNotYetValid,
            CertificateWithoutName,
            CertificateOfOtherName,
            CertificateRevoked,
            CertificateForm,
            LockTimeout,
            TransactionConflict(code("40P01")),
            StatementTimeout,
            TransactionTimeout,
            DiskFull,
            ReadOnly,
            PrivilegeMissing,
            DefinitionRefused(code("P0001")),
            DependentObjects(code("2BP01")),
            DataRefused(code("22003")),
            DatabaseError(Some(code("42P01"))),
            OtherEngine,
            OtherVersion,
            NewerVersion,
            UnreleasedTables,
            MigrationEdited,
            UnknownValue,
            WrongEncoding,
            RowsHidden,
            NameTaken,
            UsedByViews,
            LeaseLost,
            CheckpointLost,
            BoundElsewhere,
            EmbeddedInUse,
            EmbeddedFailed,
            Busy { free_after_seconds: 90 },
            Stopped,
            OtherWorkspace,
            Unproven,
            EndNotNoted(Box::new(DiskFull)),
            UnknownSetting,
            BadSettings,
            UnusableToken,
            Other,
        ]
    }

    fn name_of(kind: &ErrorKind) -> String {
        let debug = format!("{kind:?}");
        debug.split(['(', ' ']).next().unwrap().to_owned()
    }

    /// A kind on a line: its text, then what follows from it.
    fn table() -> String {
        let rows = every_kind().into_iter().map(|kind| {
            let Consequence { retry, fails, severity, exit_code, .. } = kind.consequence();
            let (name, text) = (name_of(&kind), kind.text());
            let hint = kind.hint().map(|hint| format!("  {hint}")).unwrap_or_default();
            let (retry, fails, severity) = (format!("{retry:?}"), format!("{fails:?}"), format!("{severity:?}"));
            format!("{name:<29} {text:<25} {retry:<14} {fails:<7} {severity:<5} {:>3}{hint}", exit_code.number())
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_kind_of_error_has_its_consequence() {
        insta::assert_snapshot!(table());
    }

    #[test]
    fn no_kind_is_missing_in_the_table_above() {
        let source = include_str!("error_kind.rs");
        let (_, declared) = source.split_once("pub enum ErrorKind {").unwrap();
        let (declared, _) = declared.split_once("\n}").unwrap();
        let is_variant = |line: &&str| line.starts_with("    ") && line.trim_start().starts_with(char::is_uppercase);
        let declared: Vec<_> =
            declared.lines().filter(is_variant).map(|line| line.trim().split(['(', ' ', ',']).next().unwrap()).collect();
        let listed: Vec<_> = every_kind().iter().map(name_of).collect();
        assert_eq!(listed, declared);
    }

    #[test]
    fn a_hint_names_the_object_and_the_numbers_and_leaves_no_placeholder() {
        let hint = ErrorKind::NothingListed { object: "nps" }.hint().unwrap();
        assert!(
            hint.contains("permissions and nps in Planhat") && hint.ends_with("--allow-deletes nps` marks them as deleted"),
            "{hint}"
        );
        for kind in every_kind() {
            assert!(!kind.hint().unwrap_or_default().contains(['{', '}']), "{kind:?}");
        }
    }

    #[test]
    fn a_run_that_could_not_be_noted_says_what_the_database_said_and_else_what_is_kept() {
        let end = |why| ErrorKind::EndNotNoted(Box::new(why)).hint().unwrap();
        assert_eq!(end(ErrorKind::DiskFull), ErrorKind::DiskFull.hint().unwrap());
        assert!(end(ErrorKind::ConnectionLost).starts_with("everything committed is kept"));
    }

    #[test]
    fn the_root_of_a_trouble_is_the_one_that_has_brought_it() {
        let end = ErrorKind::EndNotNoted(Box::new(ErrorKind::DatabaseUnresponsive));
        assert_eq!(*end.root(), ErrorKind::DatabaseUnresponsive);
        assert_eq!(*ErrorKind::DiskFull.root(), ErrorKind::DiskFull);
    }
}
