//! Ways to a database: every form of its address, fewer connections than configured, passwords of all characters, and what a
//! message never shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use planhat_simulator::Simulator;
use planhat_store::{ConnectionSource, Store, StoreError, UrlSource};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::cli::{Tool, simulator};
use crate::daemon::DaemonProcess;
use crate::harness::fresh_database;
use crate::server::PostgresServer;
use crate::tls::{certificate, from_afar, with_certificate};

const STATEMENT: Duration = Duration::from_secs(30);

fn source(url: &str, variables: &[(&str, &str)]) -> ConnectionSource {
    let mut source = ConnectionSource::from(secrecy::SecretString::from(url));
    source.variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    source
}

/// What a session says of itself: its database, its name, its search path.
async fn session(source: ConnectionSource) -> Result<String, StoreError> {
    let store = Store::connect_with(source, "planhat", 2, STATEMENT).await?;
    let told = store
        .read_only(async |db| {
            let ask = "select concat_ws(' ', current_database(), current_user, current_setting('application_name'),
                           replace(current_setting('search_path'), 'pg_catalog, ', ''))";
            Ok(sqlx::query_scalar::<_, String>(ask).fetch_one(db).await.unwrap())
        })
        .await?;
    store.close().await;
    Ok(told)
}

/// The parts of the address of a database of its own.
struct Parts {
    user: String,
    password: String,
    port: u16,
    name: String,
    socket: String,
}

async fn parts() -> Parts {
    let url: Url = fresh_database().await.parse().unwrap();
    let mut admin = PgConnection::connect(url.as_str()).await.unwrap();
    let socket = sqlx::query_scalar("select current_setting('unix_socket_directories')").fetch_one(&mut admin).await.unwrap();
    Parts {
        user: url.username().to_owned(),
        password: url.password().unwrap().to_owned(),
        port: url.port().unwrap(),
        name: url.path()[1..].to_owned(),
        socket,
    }
}

/// Executes something as the owner of the server.
async fn as_admin(url: &str, statements: &str) {
    let mut admin = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned())).execute(&mut admin).await.unwrap();
}

/// A role of a test's own, which may do everything in a database: the address of the database as that role.
async fn role_with(password: &str, options: &str) -> (String, Url) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let admin = fresh_database().await;
    let mut url: Url = admin.parse().unwrap();
    let role = format!("role_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let quoted = password.replace('\'', "''");
    let statements = format!(
        "set standard_conforming_strings = on; create role {role} login password '{quoted}' {options}; grant create on database {} to {role}",
        &url.path()[1..]
    );
    as_admin(&admin, &statements).await;
    url.set_username(&role).unwrap();
    url.set_password(None).unwrap();
    (admin, url)
}

fn with_password(url: &Url, password: &str) -> String {
    let escaped: String = password.bytes().map(|byte| format!("%{byte:02X}")).collect();
    url.as_str().replacen('@', &format!(":{escaped}@"), 1)
}

fn file(folder: &Path, name: &str, content: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_write_the_address_of_a_server_connects() {
    let Parts { user, password, port, name, socket } = parts().await;
    let escaped = socket.replace('/', "%2F");
    // The same server by IPv6.
    let v6 = TcpListener::bind("[::1]:0").await.unwrap();
    let v6_port = v6.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = v6.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let passfile =
        file(folder.path(), ".pgpass", &format!("localhost:*:*:{user}:{password}\n127.0.0.1:{port}:{name}:{user}:{password}\n"));
    let service = format!("[mine]\nhost=127.0.0.1\nport={port}\nuser={user}\npassword={password}\ndbname={name}\n");
    let service = file(folder.path(), "services", &service);
    let (passfile, service) = (passfile.to_str().unwrap(), service.to_str().unwrap());
    let variables = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", &port.to_string()),
        ("PGUSER", &user),
        ("PGPASSWORD", &password),
        ("PGDATABASE", &name),
        ("PGAPPNAME", "ours"),
    ];
    let usual = format!("{name} {user} planhat-sync \"$user\", public");
    for (url, variables, expected) in [
        (format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}"), &[][..], usual.as_str()),
        (format!("  postgresql://{user}:{password}@localhost:{port}/{name}\n"), &[], &usual),
        (format!("postgres://{user}:{password}@[::1]:{v6_port}/{name}"), &[], &usual),
        (format!("host='127.0.0.1' port={port} user={user} password={password} dbname={name}"), &[], &usual),
        (format!("postgres://{user}:{password}@127.0.0.1:1,127.0.0.1:{port}/{name}"), &[], &usual),
        (
            format!("postgres://{user}:{password}@nowhere.invalid,127.0.0.1/{name}?port={port}&target_session_attrs=read-write"),
            &[],
            &usual,
        ),
        (format!("postgres://{user}:{password}@/{name}?hostaddr=127.0.0.1&port={port}"), &[], &usual),
        (format!("postgres://{user}:{password}@/{name}?host={socket}&port={port}"), &[], &usual),
        (format!("postgres://{user}:{password}@{escaped}:{port}/{name}"), &[], &usual),
        (format!("postgres://{user}:{password}@:{port}/{name}?host={socket}&sslmode=require"), &[], &usual),
        (
            format!("postgres://{user}:{password}@/{name}?host={socket}/&port={port}&sslmode=verify-full&sslrootcert=system"),
            &[],
            &usual,
        ),
        (format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}?sslmode=prefer"), &[], &usual),
        (format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}?sslmode=allow"), &[], &usual),
        (
            format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}?options=-c%20search_path%3Dx%20-c%20geqo%3Doff"),
            &[],
            &format!("{name} {user} planhat-sync x"),
        ),
        (
            format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}?application_name=mine"),
            &[],
            &format!("{name} {user} mine \"$user\", public"),
        ),
        (
            format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}?connect_timeout=9&keepalives_idle=5&gssencmode=prefer"),
            &[],
            &usual,
        ),
        ("postgres://".to_owned(), &variables, &format!("{name} {user} ours \"$user\", public")),
        (format!("postgres://127.0.0.1:{port}/{name}?user={user}&passfile={passfile}"), &[], &usual),
        (format!("postgres://{user}@/{name}?host={socket}&port={port}"), &[("HOME", home)], &usual),
        (format!("postgres://{user}@127.0.0.1:{port}/{name}"), &[("HOME", home)], &usual),
        ("postgres://?service=mine".to_owned(), &[("PGSERVICEFILE", service)], &usual),
        ("postgres://".to_owned(), &[("PGSERVICEFILE", service), ("PGSERVICE", "mine")], &usual),
    ] {
        let told = session(source(&url, variables)).await.unwrap_or_else(|error| panic!("{url}: {error:?}"));
        assert_eq!(told, expected, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_a_file_is_literal_and_is_used_for_a_url_without_a_host_too() {
    const PASSWORD: &str = " ab%41cd%2Fx \"";
    let (_, url) = role_with(PASSWORD, "").await;
    let Parts { socket, .. } = parts().await;
    let folder = tempfile::tempdir().unwrap();
    let password_file = file(folder.path(), "password", &format!("{PASSWORD}\n"));
    let (role, name, port) = (url.username(), &url.path()[1..], url.port().unwrap());
    let url_file = file(folder.path(), "url", &format!("{url}\n"));
    for url in [
        UrlSource::Text(url.as_str().into()),
        UrlSource::Text(format!("postgres:///{name}?host={socket}&port={port}&user={role}").into()),
        UrlSource::Text(format!("host={socket} port={port} user={role} dbname={name}").into()),
        UrlSource::File(url_file),
    ] {
        // A password for other programs does not come before the one that was named for this tool.
        let variables = [("PGPASSWORD".to_owned(), "of other programs".to_owned())].into();
        let source = ConnectionSource { url, password_file: Some(password_file.clone()), variables };
        assert!(session(source).await.unwrap().starts_with(&format!("{name} {role}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_was_changed_is_read_again_at_the_next_connection() {
    let (admin, url) = role_with("before", "").await;
    let folder = tempfile::tempdir().unwrap();
    let password_file = file(folder.path(), "password", "before");
    let url_file = file(folder.path(), "url", &with_password(&url, "before"));
    let (role, name) = (url.username().to_owned(), url.path()[1..].to_owned());
    let by_password = ConnectionSource { password_file: Some(password_file), ..source(url.as_str(), &[]) };
    let by_url = ConnectionSource { url: UrlSource::File(url_file), password_file: None, variables: [].into() };
    let mut stores = Vec::new();
    for source in [by_password, by_url] {
        stores.push(Store::connect_with(source, "planhat", 2, STATEMENT).await.unwrap());
    }
    let change = format!(
        "alter role {role} password 'after'; select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{role}' and datname = '{name}'"
    );
    as_admin(&admin, &change).await;
    file(folder.path(), "password", "after\n");
    file(folder.path(), "url", &with_password(&url, "after"));
    for store in &stores {
        let name_of = async |db: &mut PgConnection| {
            Ok(sqlx::query_scalar::<_, String>("select current_user::text").fetch_one(db).await.unwrap())
        };
        assert_eq!(store.transaction(name_of).await.unwrap(), role);
    }
}

/// Passwords of all characters that can be typed; not those that are newer than the standard for passwords (Unicode 3.2).
fn passwords(count: usize) -> Vec<String> {
    let mut runner = TestRunner::deterministic();
    let strategy = proptest::string::string_regex("[ -~äöüßéñçøåЖяλΩ中日本語€±]{8,24}").unwrap();
    let mut next = || strategy.new_tree(&mut runner).unwrap().current();
    (0..count).map(|_| next()).chain(["p@ss/w?rd#1:%41&x=y".to_owned(), "'\"\\$(x)`{}".to_owned()]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_any_characters_connects_from_a_file_and_from_a_url_and_never_shows() {
    let (admin, url) = role_with("to be changed", "").await;
    let folder = tempfile::tempdir().unwrap();
    let passwords = passwords(24);
    for (index, password) in passwords.iter().enumerate() {
        let change = format!(
            "set standard_conforming_strings = on; alter role {} password '{}'",
            url.username(),
            password.replace('\'', "''")
        );
        as_admin(&admin, &change).await;
        let password_file = file(folder.path(), "password", &format!("{password}\n"));
        let in_file = ConnectionSource { password_file: Some(password_file.clone()), ..source(url.as_str(), &[]) };
        session(in_file).await.unwrap_or_else(|error| panic!("{password:?} in a file: {error:?}"));
        let in_url = with_password(&url, password);
        session(source(&in_url, &[])).await.unwrap_or_else(|error| panic!("{password:?} in a URL: {error:?}"));
        let pair = format!(
            "host=127.0.0.1 port={} user={} dbname={} password='{}'",
            url.port().unwrap(),
            url.username(),
            &url.path()[1..],
            password.replace('\\', "\\\\").replace('\'', "\\'")
        );
        session(source(&pair, &[])).await.unwrap_or_else(|error| panic!("{password:?} in a pair: {error:?}"));
        if index % 6 != 0 {
            continue;
        }
        let mut tool = Tool::new()
            .set("PLANHAT_API_TOKEN", "x")
            .set("PLANHAT_API_URL", "http://127.0.0.1:9")
            .set("RUST_LOG", "trace,sqlx=trace");
        tool = tool.set("PLANHAT_SYNC__PLANHAT__RETRIES", "0");
        let file_name = password_file.to_str().unwrap();
        for (name, value, other) in [
            ("DATABASE_URL", in_url.as_str(), ""),
            ("DATABASE_URL", url.as_str(), file_name),
            // As it is, which is wrong in a URL.
            ("DATABASE_URL", &url.as_str().replacen('@', &format!(":{password}@"), 1), ""),
            ("DATABASE_URL", &in_url.replacen("127.0.0.1", "127.0.0.1:1,nowhere.invalid", 1), ""),
        ] {
            tool = tool.set(name, value).set("DATABASE_PASSWORD_FILE", other);
            for command in ["check", "sync", "status"] {
                let all = tool.run(&[command]).all();
                let encoded = in_url.split(['@', ':']).nth(2).unwrap();
                assert!(!all.contains(password) && !all.contains(encoded), "{command} with {password:?}: {all}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_url_that_is_wrong_is_refused_with_exit_2_and_without_any_part_of_its_password() {
    let mut tool = Tool::new().set("PLANHAT_API_TOKEN", "x").set("PLANHAT_API_URL", "http://127.0.0.1:9");
    let mut said = Vec::new();
    for url in [
        "postgres://planhat:4711#secret@db/x",
        "postgres://planhat:4711@secret@db/x",
        "postgres://planhat:4711/secret@db/x",
        "postgres://planhat:4711?secret@db/x",
        "postgres://planhat:4711%secret@db/x",
        "planhat:4711secret@db/x",
        "\"postgres://planhat:4711secret@db/x\"",
        "postgres://planhat:4711secret@db/x?sslmod=require",
    ] {
        tool = tool.set("DATABASE_URL", url);
        for command in ["sync", "check", "status"] {
            let ran = tool.run(&[command]);
            assert!(!ran.all().contains("4711") && !ran.all().contains("secret"), "{command}: {}", ran.all());
            if command == "sync" {
                assert_eq!(ran.code, 2, "{}", ran.all());
                said.push(ran.stderr.trim().replace('\n', " | "));
            }
        }
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    error: the database URL cannot be used |   Caused by: # in a user, a password or a parameter has to be written %23
    error: the database URL cannot be used |   Caused by: @ in a user, a password or a parameter has to be written %40
    error: the database URL cannot be used |   Caused by: an @ stands behind a / or a ?: in a user, a password or a parameter, write @ as %40, / as %2F and ? as %3F
    error: the database URL cannot be used |   Caused by: an @ stands behind a / or a ?: in a user, a password or a parameter, write @ as %40, / as %2F and ? as %3F
    error: the database URL cannot be used |   Caused by: a % is not followed by two hexadecimal digits: in a user, a password or a parameter, % has to be written %25
    error: the database URL cannot be used |   Caused by: it does not begin with postgres:// | hint: write it as postgres://user:password@host:5432/database
    error: the database URL cannot be used |   Caused by: it is in quotes: leave them out
    error: the database URL cannot be used |   Caused by: parameter "sslmod" is not known; did you mean "sslmode"?
    "#);
}

/// The tool on a database where `limits` have been set as an administrator; `{role}` and `{database}` stand for names.
async fn tool_with_limit(simulator: &Simulator, limits: &str) -> Tool {
    let (admin, url) = role_with("x", "").await;
    as_admin(&admin, &limits.replace("{role}", url.username()).replace("{database}", &url.path()[1..])).await;
    Tool::for_workspace(simulator).await.set("DATABASE_URL", &with_password(&url, "x")).set("RUST_LOG", "warn")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_fewer_connections_than_configured_everything_goes_on_and_says_so_once() {
    for limits in ["alter role {role} connection limit 1", "alter database {database} connection limit 1"] {
        let simulator = simulator().await;
        let mut tool = tool_with_limit(&simulator, limits).await;
        let (begun, mut all) = (Instant::now(), 0);
        for command in [&["sync"][..], &["check"], &["status"], &["sync", "--full"], &["backfill", "companies"]] {
            let ran = tool.run(command);
            assert_eq!(ran.code, 0, "{limits}: {command:?}: {}", ran.all());
            let said = ran.stderr.matches("the server has room for 1 of the 5 connections of database.max_connections").count();
            assert!(said <= 1, "{command:?} said it {said} times: {}", ran.stderr);
            all += said;
        }
        assert!(all > 0, "{limits}: nobody said it");
        assert!(begun.elapsed() < Duration::from_secs(200), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_works_with_one_connection_where_five_are_configured() {
    let simulator = simulator().await;
    let tool = tool_with_limit(&simulator, "alter role {role} connection limit 1").await;
    let tool = tool
        .set("RUST_LOG", "info")
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", "0 0 1 1 *");
    let mut daemon = DaemonProcess::start(&tool, &["daemon"]);
    daemon.until("run 1 succeeded");
    assert_eq!(daemon.get("/readyz").await.0, 200);
    daemon.signal("TERM");
    let (code, log) = daemon.end();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("the server has room for 1 of the 5").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_free_connection_a_command_ends_within_seconds_and_says_what_to_do() {
    let simulator = simulator().await;
    let mut tool = tool_with_limit(&simulator, "alter role {role} connection limit 1").await;
    let _other = PgConnection::connect(&tool.database()).await.unwrap();
    for command in ["sync", "check", "status"] {
        let begun = Instant::now();
        let ran = tool.run(&[command]);
        assert!(begun.elapsed() < Duration::from_secs(60), "{command}: {:?}", begun.elapsed());
        assert_eq!(ran.code, 5, "{command}: {}", ran.all());
        let all = ran.all();
        assert!(all.contains("too many connections for role") && all.contains("alter role … connection limit"), "{all}");
    }
}

/// How a server or a pooler refuses a connection too many.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Says(&'static str, &'static str),
    /// It takes the connection, and lets it wait.
    Hangs,
}

/// A pooler that lets so many connections through at a time.
async fn pooler(url: &str, limit: usize, refusal: Refusal) -> String {
    let mut url: Url = url.parse().unwrap();
    let server = ("127.0.0.1", url.port().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
    url.set_query(Some("sslmode=disable"));
    let open = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let open = Arc::clone(&open);
            tokio::spawn(async move {
                if open.fetch_add(1, Ordering::SeqCst) < limit {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                } else {
                    match refusal {
                        Refusal::Says(code, message) => {
                            let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
                            let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                            let _ = client.write_all(&[b"E", &length[..], fields.as_bytes()].concat()).await;
                        }
                        Refusal::Hangs => {
                            let mut nothing = Vec::new();
                            let _ = tokio::io::AsyncReadExt::read_to_end(&mut client, &mut nothing).await;
                        }
                    }
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    url.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_has_no_room_for_a_further_connection_is_gone_on_with() {
    let simulator = simulator().await;
    for refusal in [
        Refusal::Says("08P01", "no more connections allowed (max_client_conn)"),
        Refusal::Says(
            "XX000",
            "MaxClientsInSessionMode: max clients reached - in Session mode max clients are limited to pool_size",
        ),
        Refusal::Says("53300", "sorry, too many clients already"),
        Refusal::Says("53300", "remaining connection slots are reserved for roles with the SUPERUSER attribute"),
        Refusal::Hangs,
    ] {
        let url = pooler(&fresh_database().await, 2, refusal).await;
        let mut tool = Tool::for_workspace(&simulator).await.set("DATABASE_URL", &url).set("RUST_LOG", "warn");
        let begun = Instant::now();
        let ran = tool.run(&["sync"]);
        assert_eq!(ran.code, 0, "{refusal:?}: {}", ran.all());
        assert!(begun.elapsed() < Duration::from_secs(100), "{refusal:?}: {:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_an_authority_of_the_system_is_trusted() {
    let simulator = simulator().await;
    let url = with_certificate("good").await;
    let authority = certificate("ca");
    let mut tool = Tool::for_workspace(&simulator).await;
    for options in ["sslmode=verify-full", "sslmode=verify-ca", "sslrootcert=system", "sslmode=require&channel_binding=require"] {
        tool = tool.set("DATABASE_URL", &from_afar(&url, options)).set("SSL_CERT_FILE", &authority);
        let checked = tool.run(&["check"]);
        assert!(checked.stdout.contains("ok    connection     encrypted"), "{options}: {}", checked.all());
        tool = tool.unset("SSL_CERT_FILE");
        let refused = tool.run(&["check"]).all();
        assert!(refused.contains("unknown authority"), "{options}: {refused}");
    }
    for (variable, options, name) in [
        ("SSL_CERT_FILE", "sslmode=verify-full", "could not read /nowhere/ca.pem, which SSL_CERT_FILE names"),
        ("X", "sslmode=verify-full&sslrootcert=/nowhere/ca.pem", "could not read /nowhere/ca.pem, which sslrootcert names"),
        ("X", "sslmode=require&sslrootcert=/nowhere/ca.pem", "could not read /nowhere/ca.pem, which sslrootcert names"),
        (
            "X",
            "sslmode=verify-full&sslrootcert=/etc/hostname",
            "/etc/hostname, which sslrootcert names, has no certificate in PEM",
        ),
    ] {
        let mut tool =
            Tool::for_workspace(&simulator).await.set("DATABASE_URL", &from_afar(&url, options)).set(variable, "/nowhere/ca.pem");
        let ran = tool.run(&["status"]);
        assert_eq!(ran.code, 5, "{options}: {}", ran.all());
        assert!(ran.stderr.contains(name) && !ran.stderr.contains("host and port"), "{options}: {}", ran.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_valid_yet_makes_one_look_at_the_clock() {
    let simulator = simulator().await;
    let url =
        from_afar(&with_certificate("not-yet-valid").await, &format!("sslmode=verify-full&sslrootcert={}", certificate("ca")));
    let ran = Tool::for_workspace(&simulator).await.set("DATABASE_URL", &url).run(&["check"]).all();
    assert!(ran.contains("is not valid yet: correct this machine's clock"), "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_means_what_it_means_to_libpq_on_a_server_that_demands_tls() {
    let server = PostgresServer::start().await;
    server.demand_tls(&certificate("good"), &format!("{}/tests/it/certificates/server.key", env!("CARGO_MANIFEST_DIR"))).await;
    let authority = certificate("ca");
    for (options, is_taken) in [
        ("sslmode=disable", false),
        ("sslmode=allow", true),
        ("sslmode=prefer", true),
        ("", true),
        ("sslmode=require", true),
        (&format!("sslmode=require&sslrootcert={authority}"), true),
        (&format!("sslmode=verify-ca&sslrootcert={authority}"), true),
        (&format!("sslmode=verify-full&sslrootcert={authority}"), true),
        ("sslmode=verify-full", false),
        ("sslrootcert=system", false),
    ] {
        let told = session(source(&format!("{}?{options}", server.url()), &[])).await;
        assert_eq!(told.is_ok(), is_taken, "{options}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_data_goes_is_in_check_in_status_and_in_the_first_line_of_the_log() {
    let simulator = simulator().await;
    let mut tool = Tool::for_workspace(&simulator).await;
    let url: Url = tool.database().parse().unwrap();
    let place = format!("database {} at 127.0.0.1:{}", &url.path()[1..], url.port().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let url_file = file(folder.path(), "url", &format!("{url}\n"));
    tool = tool.unset("DATABASE_URL").set("DATABASE_URL_FILE", url_file.to_str().unwrap()).set("RUST_LOG", "info");
    let synced = tool.run(&["sync"]);
    assert_eq!(synced.code, 0, "{}", synced.all());
    let first = synced.stderr.lines().next().unwrap();
    assert!(first.contains(&format!("the data goes to {place}, schema planhat")), "{first}");
    let mut quiet = tool.set("RUST_LOG", "error");
    assert!(quiet.run(&["check"]).stdout.contains(&place));
    assert!(quiet.run(&["status"]).stdout.contains(&format!("the data is in schema planhat of {place}")));
    assert_eq!(quiet.run(&["status", "--json"]).json()["database"], place);
    let daemon = quiet
        .set("RUST_LOG", "info")
        .set("PLANHAT_SYNC__LOG__FORMAT", "json")
        .set("PLANHAT_SYNC__DAEMON__LISTEN", "")
        .set("PLANHAT_SYNC__DAEMON__SCHEDULE", "0 0 1 1 *");
    let mut daemon = DaemonProcess::starting(&daemon, &["daemon"]);
    daemon.until("next run is due");
    daemon.signal("TERM");
    let log = daemon.end().1;
    assert!(log.lines().next().unwrap().contains(&place) && !log.contains("serving"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_the_database_url_that_is_missing_or_empty_never_leads_to_another_database() {
    let folder = tempfile::tempdir().unwrap();
    let empty = file(folder.path(), "empty", "\n");
    for (path, said) in
        [("/nowhere/url", "could not read the database URL from /nowhere/url"), (empty.to_str().unwrap(), "it is empty")]
    {
        let mut tool = Tool::new().set("PLANHAT_API_TOKEN", "x").set("DATABASE_URL_FILE", path);
        for command in ["check", "sync", "status"] {
            let ran = tool.run(&[command]);
            assert_eq!(ran.code, 2, "{command}: {}", ran.all());
            assert!(ran.all().contains(said), "{command}: {}", ran.all());
        }
    }
}
