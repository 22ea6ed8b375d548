//! What a database URL says, as a value: every URL that libpq takes, or an error that names what is not taken.
//!
//! ```text
//! URL, or key=value pairs -> parameters -> service file, PG* variables where a parameter is missing -> ConnectionUrl
//! ```
//!
//! It is written here, and not left to a library for URLs, for two reasons. A URL of PostgreSQL may name several hosts, a
//! folder of sockets or no host at all, which is no URL for such a library. And a message about a URL that is wrong must not
//! show any part of a password: nobody knows where the password ends in such a URL, so no message contains any of its text,
//! but for the name of a parameter that is nearly one that is known.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// The variables of a process that libpq knows, and those that a service file and a home folder are found by.
pub type Variables = BTreeMap<String, String>;

/// Where to connect, as whom, and how.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionUrl {
    /// In the order in which they are tried. None: where PostgreSQL is usually found on this machine.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretString>,
    pub(crate) database: Option<String>,
    pub(crate) tls: TlsSettings,
    pub(crate) application_name: Option<String>,
    /// The start-up options of the session, as `-c search_path=x`.
    pub(crate) options: Option<String>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) session: TargetSession,
    pub(crate) passfile: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// A name or an IP address.
    Host(String),
    /// The folder of a socket.
    Socket(PathBuf),
    /// The socket or else the loopback address of this machine.
    Usual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    pub(crate) mode: TlsMode,
    pub(crate) roots: TrustedRoots,
    pub(crate) client: Option<ClientCertificate>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TrustedRoots {
    /// Those of the system's store, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`, beside the public ones that are built in.
    System,
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Which of several servers will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetSession {
    Any,
    ReadWrite,
    Primary,
}

/// What is wrong with a database URL. No text of the URL is part of a message, see above.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionUrlError {
    #[error("it is empty")]
    Empty,
    #[error("it begins with a byte order mark: save the file as UTF-8 without one")]
    ByteOrderMark,
    #[error("it is in quotes: leave them out")]
    Quoted,
    #[error("it does not begin with postgres://")]
    NoScheme,
    #[error("it begins with {found}, and not with postgres://")]
    OtherScheme { found: &'static str },
    #[error("it contains a blank or a line break: write a blank as %20, and leave line breaks out")]
    Blank,
    #[error("{character} in a user, a password or a parameter has to be written {escape}")]
    Unescaped { character: char, escape: &'static str },
    #[error("an @ stands behind a / or a ?: in a user, a password or a parameter, write @ as %40, / as %2F and ? as %3F")]
    MisplacedAt,
    #[error("a % is not followed by two hexadecimal digits: in a user, a password or a parameter, % has to be written %25")]
    BadEscape,
    #[error("its escapes with % make no UTF-8 text, or a NUL")]
    EscapedBytes,
    #[error("an IPv6 address has to be in brackets, as [::1]")]
    NoBrackets,
    #[error("a port is not a number from 1 to 65535; if that is part of a password, the @ and the host behind it are missing")]
    BadPort,
    #[error("it names {ports} ports for {hosts} hosts: write one for all, or one for each")]
    OtherPorts { hosts: usize, ports: usize },
    #[error("a parameter has no = and value, or its quotes do not end")]
    NoPairs,
    /// Its name is shown only where it is like that of a parameter: any other could be part of a password.
    #[error("parameter {name:?} is not known; did you mean {nearest:?}?")]
    UnknownParameter { name: String, nearest: &'static str },
    #[error(
        "it has a parameter that is not known, whose name is not shown because it could be part of a password: escape special \
         characters of a password in a URL, and put it in quotation marks ('…') among key=value pairs"
    )]
    UnnamedParameter,
    #[error(
        "a host has characters that no host has: blanks separate key=value pairs, and special characters of a password are escaped"
    )]
    BadHost,
    #[error("{name} has to be {expected}")]
    BadValue { name: &'static str, expected: &'static str },
    #[error("{name} is not taken: {instead}")]
    NotTaken { name: &'static str, instead: &'static str },
    #[error("the service that `service` or PGSERVICE names is not in the service file ({file})")]
    NoSuchService { file: String },
    #[error("the service that `service` or PGSERVICE names needs a service file: set PGSERVICEFILE")]
    NoServiceFile,
}

use ConnectionUrlError as UrlError;

/// How the variable of a parameter is called, if libpq has one. `PGOPTIONS` is missing on purpose: sqlx reads it by itself, and
/// puts the options of a URL behind it.
const PARAMETERS: [(&str, Option<&str>); 20] = [
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("port", Some("PGPORT")),
    ("user", Some("PGUSER")),
    ("password", Some("PGPASSWORD")),
    ("dbname", Some("PGDATABASE")),
    ("sslmode", Some("PGSSLMODE")),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslkey", Some("PGSSLKEY")),
    ("application_name", Some("PGAPPNAME")),
    ("fallback_application_name", None),
    ("options", None),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("passfile", Some("PGPASSFILE")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("service", Some("PGSERVICE")),
];

/// Taken, and without effect: every wait has an end of its own, and the rest is the only thing that there is.
const WITHOUT_EFFECT: [&str; 10] = [
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "sslcompression", "sslsni",
    "client_encoding", "load_balance_hosts", "statement-cache-capacity",
];

/// Known, and refused rather than left out, since whoever wrote it relies on it.
const NOT_TAKEN: [(&str, &str); 22] = [
    ("require_auth", "leave it out, and use sslmode=verify-full, so that only the right server is asked"),
    ("requirepeer", "leave it out"),
    ("sslpassword", "use a key without a password"),
    ("sslcrl", "leave it out; certificates that were revoked are not known here"),
    ("sslcrldir", "leave it out; certificates that were revoked are not known here"),
    ("sslcertmode", "leave it out; a certificate is sent where sslcert and sslkey are set"),
    ("ssl_min_protocol_version", "leave it out; TLS 1.2 or newer is used in any case"),
    ("ssl_max_protocol_version", "leave it out; TLS 1.2 or newer is used in any case"),
    ("krbsrvname", "log in by a password or a certificate"),
    ("gsslib", "log in by a password or a certificate"),
    ("gssdelegation", "log in by a password or a certificate"),
    ("replication", "leave it out"),
    ("sslinline", "write the certificates to files, and name them in sslrootcert, sslcert and sslkey"),
    ("pgbouncer", "it is for Prisma: leave it out, transaction pooling needs no setting here"),
    ("connection_limit", "it is for Prisma: set database.max_connections instead"),
    ("pool_timeout", "it is for Prisma: leave it out"),
    ("schema", "it is for Prisma: set database.schema instead"),
    ("currentSchema", "it is for JDBC: set database.schema instead"),
    ("sslaccept", "it is for Prisma: set sslmode instead"),
    ("supa", "leave it out"),
    ("prepareThreshold", "it is for JDBC: leave it out"),
    ("sslfactory", "it is for JDBC: set sslmode instead"),
];

/// What other programs call a database of PostgreSQL.
const OTHER_SCHEMES: [&str; 12] = [
    "jdbc:postgresql://", "postgresql+psycopg2://", "postgresql+psycopg://", "postgresql+asyncpg://", "postgresql+pg8000://",
    "postgis://", "mysql://", "mariadb://", "sqlite://", "cockroachdb://", "https://", "http://",
];

/// The parameters of a connection by their names, each at most once.
type Parameters = BTreeMap<&'static str, String>;

impl ConnectionUrl {
    /// Reads a URL or a text of key=value pairs. What it leaves out comes from the service file and from these variables, as
    /// libpq has it. `service` reads a service of a service file.
    pub(crate) fn parse(
        text: &str,
        variables: &Variables,
        service: impl FnOnce(&str) -> Result<Vec<(String, String)>, UrlError>,
    ) -> Result<ConnectionUrl, UrlError> {
        let mut parameters = parameters_in(text)?;
        let of_variable = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        if let Some(name) = parameters.remove("service").or_else(|| of_variable("PGSERVICE")) {
            for (name, value) in known(service(&name)?)? {
                parameters.entry(name).or_insert(value);
            }
        }
        for (name, variable) in PARAMETERS {
            // A host of the URL is not overridden by an address of the environment.
            let is_settled = name == "hostaddr" && parameters.contains_key("host");
            if let Some(value) = variable.filter(|_| !is_settled).and_then(of_variable) {
                parameters.entry(name).or_insert(value);
            }
        }
        ConnectionUrl::of(parameters)
    }

    fn of(mut given: Parameters) -> Result<ConnectionUrl, UrlError> {
        let endpoints = endpoints(given.remove("host"), given.remove("hostaddr"), given.remove("port"))?;
        let tls = TlsSettings::of(&mut given)?;
        one_of(given.remove("gssencmode"), "gssencmode", "disable or prefer", &["disable", "prefer"])?;
        one_of(given.remove("sslnegotiation"), "sslnegotiation", "postgres", &["postgres"])?;
        let seconds = |text: String| text.trim().parse::<i64>();
        let timeout = given.remove("connect_timeout").map(seconds).transpose();
        let timeout = timeout.map_err(|_| UrlError::BadValue { name: "connect_timeout", expected: "a number of seconds" })?;
        let session = match given.remove("target_session_attrs").as_deref() {
            None | Some("any") => TargetSession::Any,
            Some("read-write") => TargetSession::ReadWrite,
            Some("primary") => TargetSession::Primary,
            Some(_) => {
                let expected = "any, read-write or primary, because planhat-sync writes";
                return Err(UrlError::BadValue { name: "target_session_attrs", expected });
            }
        };
        Ok(ConnectionUrl {
            endpoints,
            user: given.remove("user"),
            password: given.remove("password").map(SecretString::from),
            database: given.remove("dbname"),
            tls,
            application_name: given.remove("application_name").or(given.remove("fallback_application_name")),
            options: given.remove("options"),
            // Zero and less are for ever to libpq.
            connect_timeout: timeout
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            session,
            passfile: given.remove("passfile").map(PathBuf::from),
        })
    }
}

impl TlsSettings {
    fn of(given: &mut Parameters) -> Result<TlsSettings, UrlError> {
        let mode = match given.remove("sslmode").as_deref() {
            None => None,
            Some("disable") => Some(TlsMode::Disable),
            Some("allow") => Some(TlsMode::Allow),
            Some("prefer") => Some(TlsMode::Prefer),
            Some("require") => Some(TlsMode::Require),
            Some("verify-ca") => Some(TlsMode::VerifyCa),
            Some("verify-full") => Some(TlsMode::VerifyFull),
            Some(_) => {
                let expected = "disable, allow, prefer, require, verify-ca or verify-full";
                return Err(UrlError::BadValue { name: "sslmode", expected });
            }
        };
        let (roots, mode) = match given.remove("sslrootcert") {
            None => (TrustedRoots::System, mode.unwrap_or(TlsMode::Prefer)),
            Some(system) if system == "system" => match mode {
                None | Some(TlsMode::VerifyFull) => (TrustedRoots::System, TlsMode::VerifyFull),
                Some(_) => {
                    let expected =
                        "verify-full where sslrootcert is system, since anybody has a certificate of a public authority";
                    return Err(UrlError::BadValue { name: "sslmode", expected });
                }
            },
            // As libpq has it: whoever names an authority wants it to be asked.
            Some(file) => match mode.unwrap_or(TlsMode::Prefer) {
                TlsMode::Require => (TrustedRoots::File(file.into()), TlsMode::VerifyCa),
                mode => (TrustedRoots::File(file.into()), mode),
            },
        };
        let mode = match given.remove("channel_binding").as_deref() {
            None | Some("disable" | "prefer") => mode,
            // What it guards against, a server that poses as another one, is what a verified certificate guards against.
            Some("require") => TlsMode::VerifyFull,
            Some(_) => return Err(UrlError::BadValue { name: "channel_binding", expected: "disable, prefer or require" }),
        };
        let client = match (given.remove("sslcert"), given.remove("sslkey")) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate: certificate.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) => return Err(UrlError::BadValue { name: "sslkey", expected: "set where sslcert is" }),
            (None, Some(_)) => return Err(UrlError::BadValue { name: "sslcert", expected: "set where sslkey is" }),
        };
        Ok(TlsSettings { mode, roots, client })
    }
}

fn one_of(given: Option<String>, name: &'static str, expected: &'static str, words: &[&str]) -> Result<(), UrlError> {
    match given {
        Some(given) if !words.contains(&given.as_str()) => Err(UrlError::BadValue { name, expected }),
        _ => Ok(()),
    }
}

/// Hosts and ports are lists with commas, which go together.
fn endpoints(host: Option<String>, hostaddr: Option<String>, port: Option<String>) -> Result<Vec<Endpoint>, UrlError> {
    if host.as_ref().is_some_and(|host| !host.is_empty()) && hostaddr.is_some() {
        let instead = "name the server by host alone; its certificate has to be for that name";
        return Err(UrlError::NotTaken { name: "hostaddr beside host", instead });
    }
    let hosts = host.filter(|host| !host.is_empty()).or(hostaddr);
    let hosts: Vec<Address> =
        hosts.iter().flat_map(|hosts| hosts.split(',')).map(|host| address(host.trim())).collect::<Result<_, _>>()?;
    let ports: Vec<Option<u16>> = port.iter().flat_map(|ports| ports.split(',')).map(port_number).collect::<Result<_, _>>()?;
    let hosts = if hosts.is_empty() && ports.iter().any(Option::is_some) { vec![Address::Usual] } else { hosts };
    let port_of = |index: usize| match ports.as_slice() {
        [] => Ok(None),
        [one] => Ok(*one),
        many if many.len() == hosts.len() => Ok(many[index]),
        many => Err(UrlError::OtherPorts { hosts: hosts.len(), ports: many.len() }),
    };
    let endpoint =
        |(index, address): (usize, &Address)| Ok(Endpoint { address: address.clone(), port: port_of(index)?.unwrap_or(5432) });
    hosts.iter().enumerate().map(endpoint).collect()
}

fn address(host: &str) -> Result<Address, UrlError> {
    let is_of_a_host = |character: char| character.is_alphanumeric() || "-._:%".contains(character);
    match host {
        "" => Ok(Address::Usual),
        folder if folder.starts_with('/') => Ok(Address::Socket(folder.trim_end_matches('/').into())),
        host => {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            // What is no host may be part of a password, and a host is shown.
            if host.chars().all(is_of_a_host) { Ok(Address::Host(host.to_owned())) } else { Err(UrlError::BadHost) }
        }
    }
}

fn port_number(port: &str) -> Result<Option<u16>, UrlError> {
    match port.trim() {
        "" => Ok(None),
        port => port.parse().ok().filter(|port| *port != 0).map(Some).ok_or(UrlError::BadPort),
    }
}

/// The parameters of a URL, or of a text of key=value pairs.
fn parameters_in(text: &str) -> Result<Parameters, UrlError> {
    let text = text.trim();
    if text.starts_with('\u{feff}') {
        return Err(UrlError::ByteOrderMark);
    }
    if text.starts_with(['"', '\'', '`']) {
        return Err(UrlError::Quoted);
    }
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if let Some(rest) = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme)) {
        return parameters_of_url(rest);
    }
    if let Some(found) = OTHER_SCHEMES.into_iter().find(|scheme| text.to_lowercase().starts_with(scheme)) {
        return Err(UrlError::OtherScheme { found });
    }
    let name: String = text.chars().take_while(|character| character.is_ascii_lowercase() || *character == '_').collect();
    if name.is_empty() || !text[name.len()..].trim_start().starts_with('=') {
        return Err(UrlError::NoScheme);
    }
    known(pairs_in(text)?)
}

/// What follows the scheme: `user:password@host:port,host:port/database?name=value`.
fn parameters_of_url(rest: &str) -> Result<Parameters, UrlError> {
    if rest.contains('#') {
        return Err(UrlError::Unescaped { character: '#', escape: "%23" });
    }
    if rest.contains(|character: char| character.is_whitespace() || character.is_control()) {
        return Err(UrlError::Blank);
    }
    let (before_query, query) = rest.split_once('?').map_or((rest, ""), |(before, query)| (before, query));
    let (authority, database) = before_query.split_once('/').unwrap_or((before_query, ""));
    if rest.matches('@').count() > 1 {
        return Err(UrlError::Unescaped { character: '@', escape: "%40" });
    }
    if rest.contains('@') && !authority.contains('@') {
        return Err(UrlError::MisplacedAt);
    }
    let (credentials, hosts) = authority.split_once('@').unwrap_or(("", authority));
    let (user, password) = credentials.split_once(':').map_or((credentials, None), |(user, password)| (user, Some(password)));
    let mut given = Vec::new();
    let mut add = |name: &str, value: String| given.push((name.to_owned(), value));
    if !user.is_empty() {
        add("user", decoded(user)?);
    }
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        add("password", decoded(password)?);
    }
    let (hosts, ports) = hosts_and_ports(hosts)?;
    if !hosts.is_empty() {
        add("host", hosts);
    }
    if !ports.is_empty() {
        add("port", ports);
    }
    if !database.is_empty() {
        add("dbname", decoded(database)?);
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').ok_or(UrlError::NoPairs)?;
        add(&decoded(name)?, decoded(value)?);
    }
    known(given)
}

/// The hosts of a URL, and their ports, each as a list with commas; no ports if none is given.
fn hosts_and_ports(text: &str) -> Result<(String, String), UrlError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for one in text.split(',') {
        let (host, rest) = match one.strip_prefix('[') {
            Some(address) => address.split_once(']').ok_or(UrlError::NoBrackets)?,
            None => one.find(':').map_or((one, ""), |colon| one.split_at(colon)),
        };
        let port = rest.strip_prefix(':').unwrap_or(rest);
        // Two colons and no brackets, as ::1 has them.
        if port.contains(':') {
            return Err(UrlError::NoBrackets);
        }
        port_number(port)?;
        hosts.push(decoded(host)?);
        ports.push(port);
    }
    let has_ports = ports.iter().any(|port| !port.is_empty());
    Ok((hosts.join(","), if has_ports { ports.join(",") } else { String::new() }))
}

/// These parameters under the names that libpq has for them; of two of one name the later one counts.
fn known(given: Vec<(String, String)>) -> Result<Parameters, UrlError> {
    let mut parameters = Parameters::new();
    for (name, value) in given {
        let name = match name.as_str() {
            "ssl-mode" => "sslmode",
            "ssl-root-cert" | "ssl-ca" => "sslrootcert",
            "ssl-cert" => "sslcert",
            "ssl-key" => "sslkey",
            name => name,
        };
        if name == "ssl" {
            // As JDBC and some providers have it, and libpq after them.
            one_of(Some(value), "ssl", "true", &["true"])?;
            parameters.entry("sslmode").or_insert_with(|| "require".to_owned());
        } else if let Some(setting) = name.strip_prefix("options[").and_then(|name| name.strip_suffix(']')) {
            let option = format!("-c {}", escaped_option(&format!("{setting}={value}")));
            parameters.entry("options").and_modify(|all| *all = format!("{all} {option}")).or_insert(option);
        } else if let Some((known, _)) = PARAMETERS.into_iter().find(|(known, _)| *known == name) {
            parameters.insert(known, value);
        } else if let Some((name, instead)) = NOT_TAKEN.into_iter().find(|(known, _)| *known == name) {
            return Err(UrlError::NotTaken { name, instead });
        } else if !WITHOUT_EFFECT.contains(&name) {
            return Err(unknown(name));
        }
    }
    Ok(parameters)
}

fn unknown(name: &str) -> UrlError {
    let all = PARAMETERS.iter().map(|(name, _)| *name).chain(WITHOUT_EFFECT);
    let likeness = |known: &'static str| (strsim::jaro_winkler(name, known), known);
    let nearest = all.map(likeness).filter(|(likeness, _)| *likeness > 0.8).max_by(|(a, _), (b, _)| a.total_cmp(b));
    match nearest {
        Some((_, nearest)) => UrlError::UnknownParameter { name: name.to_owned(), nearest },
        None => UrlError::UnnamedParameter,
    }
}

/// Blanks separate options.
fn escaped_option(text: &str) -> String {
    text.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// The text with its escapes resolved.
fn decoded(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(UrlError::BadEscape) };
        let digit =
            |byte: &u8| (*byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or(UrlError::BadEscape);
        bytes.push(digit(high)? * 16 + digit(low)?);
        rest = after;
    }
    let text = String::from_utf8(bytes).map_err(|_| UrlError::EscapedBytes)?;
    if text.contains('\0') { Err(UrlError::EscapedBytes) } else { Ok(text) }
}

/// `name = value` and `name = 'a value'`, where a backslash makes the next character an ordinary one.
fn pairs_in(text: &str) -> Result<Vec<(String, String)>, UrlError> {
    let mut pairs = Vec::new();
    let mut characters = text.trim_start().chars().peekable();
    while characters.peek().is_some() {
        let mut name = String::new();
        while let Some(character) = characters.next_if(|character| *character != '=') {
            name.push(character);
        }
        if characters.next().is_none() {
            return Err(UrlError::NoPairs);
        }
        while characters.next_if(|character| character.is_whitespace()).is_some() {}
        let is_quoted = characters.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        let mut has_ended = !is_quoted;
        while let Some(character) = characters.next() {
            match character {
                '\\' => value.extend(characters.next()),
                '\'' if is_quoted => {
                    has_ended = true;
                    break;
                }
                character if !is_quoted && character.is_whitespace() => break,
                character => value.push(character),
            }
        }
        if !has_ended {
            return Err(UrlError::NoPairs);
        }
        while characters.next_if(|character| character.is_whitespace()).is_some() {}
        pairs.push((name.trim_end().to_owned(), value));
    }
    Ok(pairs)
}

/// The parameters of a service in the text of a service file: `[name]`, then `parameter=value` a line.
pub(crate) fn service_in(text: &str, service: &str) -> Option<Vec<(String, String)>> {
    let mut found = None;
    let mut is_wanted = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_wanted = name == service && found.is_none();
            if is_wanted {
                found = Some(Vec::new());
            }
        } else if is_wanted && let (Some(found), Some((name, value))) = (&mut found, line.split_once('=')) {
            found.push((name.trim_end().to_owned(), value.to_owned()));
        }
    }
    found
}

/// The password in the text of a password file, for `host:port:database:user`; `*` stands for any.
pub(crate) fn password_in(text: &str, wanted: [&str; 4]) -> Option<SecretString> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut rest = line;
        for field in wanted {
            let (given, after) = field_of(rest)?;
            if given != "*" && given != field {
                return None;
            }
            rest = after?;
        }
        // The password ends with the line, or with a colon.
        field_of(rest).map(|(password, _)| password.into())
    })
}

/// The first field of a line, where a backslash makes the next character an ordinary one, and what follows its colon.
fn field_of(line: &str) -> Option<(String, Option<&str>)> {
    let mut field = String::new();
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => field.push(characters.next()?.1),
            ':' => return Some((field, Some(&line[at + 1..]))),
            character => field.push(character),
        }
    }
    Some((field, None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn variables(given: &[(&str, &str)]) -> Variables {
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn no_service(_: &str) -> Result<Vec<(String, String)>, UrlError> {
        Err(UrlError::NoServiceFile)
    }

    /// On a line: what is set, and what differs from the usual.
    fn line(url: &ConnectionUrl) -> String {
        let endpoint = |endpoint: &Endpoint| match &endpoint.address {
            Address::Host(host) => format!("{host} {}", endpoint.port),
            Address::Socket(folder) => format!("socket {} {}", folder.display(), endpoint.port),
            Address::Usual => format!("usual {}", endpoint.port),
        };
        let endpoints: Vec<_> = url.endpoints.iter().map(endpoint).collect();
        let tls = match &url.tls.roots {
            TrustedRoots::System => format!("{:?}", url.tls.mode),
            TrustedRoots::File(path) => format!("{:?} by {}", url.tls.mode, path.display()),
        };
        let named = [
            ("user", url.user.clone()),
            ("password", url.password.as_ref().map(|password| password.expose_secret().to_owned())),
            ("database", url.database.clone()),
            ("name", url.application_name.clone()),
            ("options", url.options.clone()),
            ("timeout", url.connect_timeout.map(|time| format!("{time:?}"))),
            ("session", (url.session != TargetSession::Any).then(|| format!("{:?}", url.session))),
            ("passfile", url.passfile.as_ref().map(|path| path.display().to_string())),
            ("client", url.tls.client.as_ref().map(|client| client.certificate.display().to_string())),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some(format!(", {name} {}", value?)));
        format!("[{}] {tls}{}", endpoints.join(", "), named.collect::<String>())
    }

    fn parsed(text: &str, given: &[(&str, &str)]) -> String {
        ConnectionUrl::parse(text, &variables(given), no_service).map_or_else(|error| format!("NO: {error}"), |url| line(&url))
    }

    fn table(texts: &[&str]) -> String {
        texts.iter().map(|text| format!("{text:?}\n    {}", parsed(text, &[]))).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_form_of_a_url_is_read_as_libpq_reads_it() {
        insta::assert_snapshot!(table(&[
            "postgres://u:p@h:6543/d",
            "postgresql://h",
            "postgres://",
            "postgres:///d",
            "  postgres://u@h/d\n",
            "postgres://u@[::1]:5433/d",
            "postgres://u@[fe80::1%25eth0]/d",
            "postgres://u:x@/db?host=/cloudsql/p:r:i",
            "postgres:///db?host=/run/postgresql&user=u",
            "postgres://u@%2Frun%2Fpostgresql:5433/d",
            "postgres://u@a,b:5433,[::1]:5434/d?target_session_attrs=read-write",
            "postgres://a,b,c:7/d?port=1,2,3",
            "postgres:///d?host=a,b&port=5433",
            "postgres://h/d?hostaddr=10.0.0.7",
            "postgres:///d?hostaddr=10.0.0.7",
            "postgres://u:a%41%2F%40%3A%25%20%C3%A4@h/a%20b",
            "postgres://u:4711:x$&=+,;!*'()[]{}|^~`\\<>\"@h/d",
            "postgres://us%40er:@h/",
            "postgres://h/d?options=-c%20search_path%3Da,b",
            "postgres://h/d?options=endpoint%3Dep-cool-1&sslmode=require",
            "postgres://h/d?options[statement_timeout]=5min&options[search_path]=a b".replace(' ', "%20").as_str(),
            "postgres://h/d?application_name=mine&connect_timeout=7&keepalives=1&keepalives_idle=30&tcp_user_timeout=9",
            "postgres://h/d?fallback_application_name=theirs&connect_timeout=0",
            "postgres://h/d?gssencmode=disable&sslnegotiation=postgres&client_encoding=UTF8",
            "postgres://h/d?sslcert=/c.pem&sslkey=/k.pem&passfile=/p",
            "postgres://h/d?sslmode=require&channel_binding=require",
            "postgres://h/d?sslmode=require&sslrootcert=/ca.pem",
            "postgres://h/d?sslrootcert=system",
            "postgres://h/d?ssl=true",
            "postgres://h/d?ssl-mode=verify-ca&ssl-root-cert=/ca.pem",
            "host=h port=5433 dbname = d user=u password='it''s' ".replace("''", "\\'").as_str(),
            "host=/run/postgresql dbname='a b' password=#@/?",
        ]));
    }

    #[test]
    fn sslmode_keeps_each_of_its_six_meanings() {
        for (word, mode) in [
            ("disable", TlsMode::Disable),
            ("allow", TlsMode::Allow),
            ("prefer", TlsMode::Prefer),
            ("require", TlsMode::Require),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-full", TlsMode::VerifyFull),
        ] {
            let url = ConnectionUrl::parse(&format!("postgres://h/d?sslmode={word}"), &Variables::new(), no_service).unwrap();
            assert_eq!(url.tls.mode, mode);
        }
    }

    #[test]
    fn what_a_url_leaves_out_comes_from_the_variables_of_libpq() {
        let all = [
            ("PGHOST", "h1,h2"),
            ("PGPORT", "5433"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "p w"),
            ("PGDATABASE", "d"),
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/ca.pem"),
            ("PGAPPNAME", "mine"),
            ("PGPASSFILE", "/passfile"),
            ("PGCONNECT_TIMEOUT", "5"),
            ("PGTARGETSESSIONATTRS", "primary"),
        ];
        insta::assert_snapshot!([
            parsed("postgres://", &all),
            parsed("postgres://me:mine@here:1/there?sslmode=disable&sslrootcert=/own&application_name=own", &all),
            parsed("postgres://", &[("PGHOST", ""), ("PGPORT", "")]),
            parsed("postgres://", &[("PGHOST", "/run/postgresql")]),
            parsed("postgres://h", &[("PGHOSTADDR", "10.0.0.7")]),
            parsed("postgres://", &[("PGHOSTADDR", "10.0.0.7")]),
            parsed("postgres://", &[("PGPORT", "5433")]),
        ].join("\n"), @"
        [h1 5433, h2 5433] VerifyFull by /ca.pem, user u, password p w, database d, name mine, timeout 5s, session Primary, passfile /passfile
        [here 1] Disable by /own, user me, password mine, database there, name own, timeout 5s, session Primary, passfile /passfile
        [] Prefer
        [socket /run/postgresql 5432] Prefer
        [h 5432] Prefer
        [10.0.0.7 5432] Prefer
        [usual 5433] Prefer
        ");
    }

    #[test]
    fn what_is_wrong_or_not_taken_is_named() {
        insta::assert_snapshot!(table(&[
            "",
            "\u{feff}postgres://h/d",
            "\"postgres://u:p@h/d\"",
            "'postgres://u:p@h/d'",
            "h/d",
            "u:p@h/d",
            "mysql://u:p@h/d",
            "jdbc:postgresql://h/d",
            "postgresql+psycopg2://u:p@h/d",
            "postgres:/u:p@h/d",
            "postgres://h/d?sslmod=require",
            "postgres://h/d?zzz=1",
            "postgres://h/d?sslmode=no-verify",
            "postgres://h/d?sslmode",
            "postgres://h/d?channel_binding=maybe",
            "postgres://h/d?gssencmode=require",
            "postgres://h/d?sslnegotiation=direct",
            "postgres://h/d?sslrootcert=system&sslmode=require",
            "postgres://h/d?sslcert=/c.pem",
            "postgres://h/d?target_session_attrs=standby",
            "postgres://h/d?connect_timeout=soon",
            "postgres://h/d?require_auth=scram-sha-256",
            "postgres://h/d?pgbouncer=true&connection_limit=1",
            "postgres://h/d?service=mine",
            "postgres://h/d?host=h&hostaddr=10.0.0.7",
            "postgres://u@::1/d",
            "postgres://u@[::1/d",
            "postgres://u@h:port/d",
            "postgres://u@h:0/d",
            "postgres://a,b/d?port=1,2,3",
            "postgres://h/a b",
            "postgres://h/d?application_name=%FF",
            "postgres://h/d%00",
            "host=h dbname='d",
            "host=h dbname",
        ]));
    }

    /// Nobody knows where the password ends in a URL like these.
    #[test]
    fn no_part_of_a_password_is_in_a_message_whatever_the_url_looks_like() {
        const PARTS: [&str; 2] = ["hunter2", "swordfish"];
        let odd = [
            "#", "@", "/", "?", ":", "%", " ", "&", "=", "\n", "%zz", "?x=", "/?x=", "@h/", "#@", "/@", "?@", "://", "\"", "'",
            "[", "]", ",", ";", " b=", ";b=", "?b=",
        ];
        let frames = [
            "postgres://u:PASSWORD@h/d",
            "postgres://u:PASSWORD@h:5432/d?sslmode=require",
            "postgres://u:PASSWORD@/d?host=/run",
            "postgres://u:PASSWORD",
            "postgres://:PASSWORD@h",
            "postgres://PASSWORD@h/d",
            "postgres:/u:PASSWORD@h/d",
            "u:PASSWORD@h/d",
            "\"postgres://u:PASSWORD@h/d\"",
            "postgresql+asyncpg://u:PASSWORD@h/d",
            "postgres://h/d?user=u&password=PASSWORD",
            "host=h password=PASSWORD dbname=d sslmod=x",
            "host=h;password=PASSWORD;dbname=d",
            "postgres://u:12?PASSWORD=4",
            "PASSWORD",
        ];
        let mut refused = 0;
        for frame in frames {
            for odd in odd {
                let text = frame.replace("PASSWORD", &format!("{}{odd}{}", PARTS[0], PARTS[1]));
                let Err(error) = ConnectionUrl::parse(&text, &Variables::new(), no_service) else { continue };
                let message = error.to_string();
                assert!(!PARTS.iter().any(|part| message.contains(part)), "{text}: {message}");
                refused += 1;
            }
        }
        assert!(refused > 150, "{refused}");
    }

    #[test]
    fn a_character_that_has_to_be_escaped_is_named_with_its_escape() {
        let refused = |text| ConnectionUrl::parse(text, &Variables::new(), no_service).unwrap_err().to_string();
        let hash = refused("postgres://planhat:4711#secret@db/x");
        assert_eq!(hash, "# in a user, a password or a parameter has to be written %23");
        for (text, escape) in [
            ("postgres://u:a@b@h/d", "%40"),
            ("postgres://u:a/b@h/d", "%2F"),
            ("postgres://u:a?b@h/d", "%3F"),
            ("postgres://u:a%b@h/d", "%25"),
            ("postgres://u:a b@h/d", "%20"),
        ] {
            assert!(refused(text).contains(escape), "{text}: {}", refused(text));
        }
    }

    /// The forms in which they are handed out; `docs/databases.md` says what to write.
    #[test]
    fn what_managed_services_hand_out_is_read_or_refused_with_what_to_write() {
        insta::assert_snapshot!(table(&[
            // Amazon RDS and Aurora
            "postgres://u:p@mydb.abc123.eu-west-1.rds.amazonaws.com:5432/d?sslmode=verify-full&sslrootcert=/etc/ssl/rds-global-bundle.pem",
            "postgres://u:p@c.cluster-abc123.eu-west-1.rds.amazonaws.com/d?sslmode=require",
            // Google Cloud SQL and AlloyDB
            "postgres://u:p@/d?host=/cloudsql/project:region:instance",
            "host=/cloudsql/project:region:instance user=u password=p dbname=d",
            "postgresql://u:p@127.0.0.1:5432/d?sslmode=disable",
            "postgres://u:p@10.1.2.3/d?sslmode=verify-ca&sslrootcert=/server-ca.pem&sslcert=/client-cert.pem&sslkey=/client-key.pem",
            // Azure
            "host=s.postgres.database.azure.com port=5432 dbname=d user=u password=p sslmode=require",
            "postgres://u%40s:p@s.postgres.database.azure.com/d?sslmode=require",
            // Supabase
            "postgresql://postgres:p@db.abcdefgh.supabase.co:5432/postgres",
            "postgresql://postgres.abcdefgh:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
            "postgresql://postgres.abcdefgh:p@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?pgbouncer=true",
            // Neon
            "postgresql://u:npg_p@ep-cool-name-123456-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
            "postgresql://u:npg_p@ep-cool-name-123456.eu-central-1.aws.neon.tech/neondb?sslmode=require&options=endpoint%3Dep-cool-name-123456",
            // Heroku
            "postgres://u:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d?sslmode=require",
        ]));
    }

    #[test]
    fn a_service_of_a_service_file_fills_in_what_a_url_leaves_out() {
        let text = "# ours\n[other]\nhost=x\n[mine]\nhost=h\nport = 5433\nuser=u\n[mine]\nhost=second\n";
        let service = |name: &str| service_in(text, name).ok_or(UrlError::NoSuchService { file: "f".to_owned() });
        let read = |text: &str, given: &[(&str, &str)]| ConnectionUrl::parse(text, &variables(given), service);
        assert_eq!(
            line(&read("postgres:///d?service=mine", &[("PGHOST", "no")]).unwrap()),
            "[h 5433] Prefer, user u, database d"
        );
        assert_eq!(line(&read("postgres://me@/d", &[("PGSERVICE", "mine")]).unwrap()), "[h 5433] Prefer, user me, database d");
        assert!(matches!(read("postgres:///d?service=no", &[]), Err(UrlError::NoSuchService { .. })));
    }

    #[test]
    fn the_password_file_of_libpq_is_read_line_by_line() {
        let text = "# h:5432:d:u:comment\nother:*:*:*:no\n\\:\\:1:5432:d:u:six\nh:5432:d:u:a\\:b\\\\c\nh:*:*:u:later\n*:*:*:last:p:rest\n";
        let password = |host, user| password_in(text, [host, "5432", "d", user]).map(|found| found.expose_secret().to_owned());
        assert_eq!(password("h", "u").as_deref(), Some("a:b\\c"));
        assert_eq!(password("::1", "u").as_deref(), Some("six"));
        assert_eq!(password("h", "last").as_deref(), Some("p"));
        assert_eq!(password("h", "nobody"), None);
    }
}
