//! All kinds of trouble there are, from Planhat, the database, the records and the settings.
//!
//! A kind has the same text for the same trouble, without what differs from one time to the next (offsets, times, messages): by it
//! the daemon tells whether a failure is news. What follows from a kind stands in `consequences`.

/// What sort of trouble an error is. An SQLSTATE or status that is part of the text is carried along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    // Planhat refuses, or does not answer.
    TokenRefused,
    AccessDenied,
    /// The object could be read before.
    AccessWithdrawn {
        object: &'static str,
    },
    RateLimited,
    RequestTimeout,
    ServerError,
    Redirected(u16),
    Answered(u16),
    /// There was no connection: no such name, nobody there, no trust.
    NotConnected,
    /// The proxy on the way refused to connect, and said so.
    ProxyRefused,
    ProxyLoginRefused,
    /// By this machine's clock the certificate of Planhat, or of a proxy, is not valid yet, or no longer.
    ServerCertificateNotYetValid,
    ServerCertificateExpired,
    ServerCertificateUntrusted,
    /// There was a connection, but no answer.
    NotAnswered,

    // Planhat answers, but not with what was asked for.
    TruncatedBody,
    NotAList,
    PageTooLarge,
    RepeatingListing,
    UnstableOrder,
    EndlessListing,
    /// An id that cannot be asked for.
    UnusableId,
    /// Another record than the one that was asked for by its id, or none.
    OtherRecord,

    // The records of an object.
    /// The rejection guard holds.
    TooManyRejected,
    /// The declarations of custom fields could not be read, and why.
    Undeclared(Box<ErrorKind>),
    /// A listing is empty, and there are rows.
    NothingListed {
        object: &'static str,
    },

    // The way to the database.
    /// Nothing like a database URL.
    BadDatabaseUrl,
    /// A database URL with something that is wrong or not taken.
    UnusableDatabaseUrl,
    /// A file with a secret that cannot be one.
    UnusableSecretFile,
    /// A file that a setting or an option names.
    UnreadableFile,
    ConnectTimeout,
    ServerUnreachable,
    /// The socket of a server on this machine.
    ServerFileMissing,
    LoginRefused(String),
    UnusablePassword,
    ConnectDenied,
    NoSuchDatabase,
    NoFreeConnection,
    /// We closed them ourselves.
    ConnectionsClosed,
    ConnectionLost,
    DatabaseUnresponsive,
    TlsUnavailable,
    TlsNotAgreed,
    /// A file of certificates that the settings name.
    CertificateFileUnusable,
    CertificateOfUnknownAuthority,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateWithoutName,
    CertificateOfOtherName,
    CertificateRevoked,
    CertificateForm,

    // What the database says of a statement.
    LockTimeout,
    TransactionConflict(String),
    StatementTimeout,
    /// PostgreSQL's limit for whole transactions.
    TransactionTimeout,
    DiskFull,
    ReadOnly,
    PrivilegeMissing,
    /// By an event trigger.
    DefinitionRefused(String),
    DependentObjects(String),
    /// The data itself: a value, a constraint or trigger of the user's, a limit.
    DataRefused(String),
    DatabaseError(Option<String>),

    // What is found in the database.
    /// An engine that only speaks PostgreSQL's protocol.
    OtherEngine,
    OtherVersion,
    NewerVersion,
    UnreleasedTables,
    MigrationEdited,
    UnknownValue,
    WrongEncoding,
    /// Row security could leave rows out.
    RowsHidden,
    NameTaken,
    UsedByViews,
    LeaseLost,
    CheckpointLost,
    BoundElsewhere,
    EmbeddedInUse,
    EmbeddedFailed,

    // Runs.
    Busy {
        free_after_seconds: u64,
    },
    Stopped,
    OtherWorkspace,
    /// Nobody could say whether the schema belongs to the workspace.
    Unproven,
    /// All is done, but not written down, and why.
    EndNotNoted(Box<ErrorKind>),

    // Commands.
    UnknownSetting,
    /// The message says all there is to do.
    BadSettings,
    UnusableToken,
    Other,
}

impl ErrorKind {
    /// The same text for the same trouble. It is stored: a changed text is news to everybody who is notified.
    pub fn text(&self) -> String {
        let text = match self {
            ErrorKind::TokenRefused => "token refused",
            ErrorKind::AccessDenied | ErrorKind::AccessWithdrawn { .. } => "access denied",
            ErrorKind::RateLimited => "answered 429",
            ErrorKind::RequestTimeout => "answered 408",
            ErrorKind::ServerError => "server error",
            ErrorKind::Redirected(status) | ErrorKind::Answered(status) => return format!("answered {status}"),
            ErrorKind::NotConnected | ErrorKind::NotAnswered => "unreachable",
            ErrorKind::ProxyRefused | ErrorKind::ProxyLoginRefused => "proxy",
            ErrorKind::ServerCertificateNotYetValid
            | ErrorKind::ServerCertificateExpired
            | ErrorKind::ServerCertificateUntrusted => "certificate",
            ErrorKind::TruncatedBody => "broken off",
            ErrorKind::NotAList => "not a list",
            ErrorKind::PageTooLarge => "too big",
            ErrorKind::RepeatingListing => "repeats",
            ErrorKind::UnstableOrder => "unstable order",
            ErrorKind::EndlessListing => "endless",
            ErrorKind::UnusableId => "no path",
            ErrorKind::OtherRecord => "other record",
            ErrorKind::TooManyRejected => "rejected",
            ErrorKind::Undeclared(why) => return format!("undeclared: {}", why.text()),
            ErrorKind::NothingListed { .. } => "nothing listed",
            ErrorKind::LoginRefused(code)
            | ErrorKind::TransactionConflict(code)
            | ErrorKind::DefinitionRefused(code)
            | ErrorKind::DependentObjects(code)
            | ErrorKind::DataRefused(code)
            | ErrorKind::DatabaseError(Some(code)) => return format!("database ({code})"),
            ErrorKind::NoSuchDatabase => "database (3D000)",
            ErrorKind::LockTimeout => "database (55P03)",
            ErrorKind::StatementTimeout => "database (57014)",
            ErrorKind::TransactionTimeout => "database (25P04)",
            ErrorKind::DiskFull => "database (53100)",
            ErrorKind::ReadOnly => "database (25006)",
            ErrorKind::PrivilegeMissing => "database (42501)",
            ErrorKind::LeaseLost => "lease lost",
            ErrorKind::ConnectTimeout
            | ErrorKind::ServerUnreachable
            | ErrorKind::ServerFileMissing
            | ErrorKind::ConnectDenied
            | ErrorKind::NoFreeConnection
            | ErrorKind::ConnectionsClosed
            | ErrorKind::ConnectionLost
            | ErrorKind::DatabaseUnresponsive
            | ErrorKind::TlsUnavailable
            | ErrorKind::TlsNotAgreed
            | ErrorKind::CertificateFileUnusable
            | ErrorKind::UnusablePassword
            | ErrorKind::CertificateOfUnknownAuthority
            | ErrorKind::CertificateExpired
            | ErrorKind::CertificateNotYetValid
            | ErrorKind::CertificateWithoutName
            | ErrorKind::CertificateOfOtherName
            | ErrorKind::CertificateRevoked
            | ErrorKind::CertificateForm
            | ErrorKind::DatabaseError(None)
            | ErrorKind::OtherVersion
            | ErrorKind::NewerVersion
            | ErrorKind::UnreleasedTables
            | ErrorKind::MigrationEdited
            | ErrorKind::OtherEngine
            | ErrorKind::UnknownValue
            | ErrorKind::WrongEncoding
            | ErrorKind::RowsHidden
            | ErrorKind::NameTaken
            | ErrorKind::UsedByViews
            | ErrorKind::CheckpointLost
            | ErrorKind::BoundElsewhere
            | ErrorKind::EmbeddedInUse
            | ErrorKind::EmbeddedFailed => "database",
            ErrorKind::Busy { .. } => "busy",
            ErrorKind::Stopped => "stopped",
            ErrorKind::OtherWorkspace => "other workspace",
            ErrorKind::Unproven => "unproven",
            ErrorKind::EndNotNoted(why) => return why.text(),
            ErrorKind::BadDatabaseUrl
            | ErrorKind::UnusableDatabaseUrl
            | ErrorKind::UnusableSecretFile
            | ErrorKind::UnreadableFile
            | ErrorKind::UnknownSetting
            | ErrorKind::BadSettings
            | ErrorKind::UnusableToken => "configuration",
            ErrorKind::Other => "failed",
        };
        text.to_owned()
    }

    /// Whether Planhat itself was never reached: nothing that it could be asked would fare better.
    pub fn is_no_way_to_planhat(&self) -> bool {
        matches!(
            self,
            ErrorKind::NotConnected
                | ErrorKind::ProxyRefused
                | ErrorKind::ProxyLoginRefused
                | ErrorKind::ServerCertificateNotYetValid
                | ErrorKind::ServerCertificateExpired
                | ErrorKind::ServerCertificateUntrusted
        )
    }

    /// What it comes from, where one trouble has brought another.
    pub fn root(&self) -> &ErrorKind {
        match self {
            ErrorKind::Undeclared(why) | ErrorKind::EndNotNoted(why) => why.root(),
            kind => kind,
        }
    }
}
