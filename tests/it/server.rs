//! A PostgreSQL server of a test's own, which the test may stop, freeze and start again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Connection as _, PgConnection};

use crate::waiting::{ends_with_the_tests, eventually, status_of};

pub(crate) struct PostgresServer {
    folder: tempfile::TempDir,
    port: u16,
    /// Where it looks for languages, if not where everybody does.
    locales: Option<PathBuf>,
}

impl PostgresServer {
    /// Makes one, and starts it.
    pub(crate) async fn start() -> PostgresServer {
        PostgresServer::start_with("", None).await
    }

    /// The same with further lines of its settings, and with languages of its own.
    pub(crate) async fn start_with(further: &str, locales: Option<PathBuf>) -> PostgresServer {
        let mut server = PostgresServer::with_folder();
        server.locales = locales;
        let data = server.data();
        server.must("initdb", &["-D", &data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"]);
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nport = {}\nfsync = off\nmax_connections = 50\n{further}\n",
            server.port
        );
        server.as_owner(Command::new("tee").arg("-a").arg(format!("{data}/postgresql.auto.conf")), Some(&settings));
        server.start_again().await;
        server
    }

    /// A standby that follows this server; it has what this one has committed once [`PostgresServer::has_caught_up`] returns.
    pub(crate) async fn standby(&self) -> PostgresServer {
        let standby = PostgresServer::with_folder();
        standby.must("pg_basebackup", &["-d", &self.url(), "-D", &standby.data(), "-R", "-X", "stream", "-c", "fast"]);
        let port = format!("port = {}\n", standby.port);
        standby.as_owner(Command::new("tee").arg("-a").arg(format!("{}/postgresql.auto.conf", standby.data())), Some(&port));
        standby.start_again().await;
        standby
    }

    /// Waits until this standby has replayed what the primary has written so far.
    pub(crate) async fn has_caught_up(&self, primary: &PostgresServer) {
        let mut connection = PgConnection::connect(&primary.url()).await.unwrap();
        let written: String =
            sqlx::query_scalar("select pg_current_wal_flush_lsn()::text").fetch_one(&mut connection).await.unwrap();
        let mut connection = PgConnection::connect(&self.url()).await.unwrap();
        let replayed = "select coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)";
        let has_replayed =
            async || sqlx::query_scalar::<_, bool>(replayed).bind(&written).fetch_one(&mut connection).await.unwrap();
        eventually("the standby to follow", has_replayed).await;
    }

    fn with_folder() -> PostgresServer {
        let server = PostgresServer { folder: tempfile::tempdir().unwrap(), port: free_port(), locales: None };
        ends_with_the_tests(format!("{}/postmaster.pid", server.data()).into());
        if let Some(owner) = owner() {
            assert!(Command::new("chown").arg(owner).arg(server.folder.path()).status().unwrap().success());
        }
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://tester@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) async fn start_again(&self) {
        self.must("pg_ctl", &["-D", &self.data(), "-l", &format!("{}/log", self.folder.path().display()), "-w", "start"]);
        eventually("the server to answer", async || PgConnection::connect(&self.url()).await.is_ok()).await;
    }

    /// From now on it takes connections with TLS alone, and shows this certificate.
    pub(crate) async fn demand_tls(&self, certificate: &str, key: &str) {
        let data = self.data();
        let write = |name: &str, text: &str| self.as_owner(Command::new("tee").arg(format!("{data}/{name}")), Some(text));
        for (name, path) in [("server.crt", certificate), ("server.key", key)] {
            write(name, &std::fs::read_to_string(path).unwrap());
            self.as_owner(Command::new("chmod").args(["600", &format!("{data}/{name}")]), None);
        }
        write("pg_hba.conf", "hostssl all all all trust\nlocal all all trust\n");
        self.as_owner(Command::new("tee").arg("-a").arg(format!("{data}/postgresql.auto.conf")), Some("ssl = on\n"));
        self.must("pg_ctl", &["-D", &data, "-m", "fast", "-w", "stop"]);
        self.start_again().await;
    }

    /// Ends it, in the way that pg_ctl knows by this name.
    pub(crate) fn stop(&self, mode: &str) {
        self.must("pg_ctl", &["-D", &self.data(), "-m", mode, "-w", "stop"]);
    }

    /// All its processes stand still, or go on; nobody hangs up.
    pub(crate) fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(format!("{}/postmaster.pid", self.data())).unwrap();
        let postmaster = pid.lines().next().unwrap().to_owned();
        let children = Command::new("pgrep").args(["-P", &postmaster]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        for process in std::iter::once(postmaster.as_str()).chain(children.lines()) {
            // One that has just ended is none that has to stand still.
            Command::new("kill").args([&format!("-{name}"), process]).output().unwrap();
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What a program of PostgreSQL's writes.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> String {
        String::from_utf8(self.must(program, arguments).stdout).unwrap()
    }

    fn data(&self) -> String {
        format!("{}/data", self.folder.path().display())
    }

    fn must(&self, program: &str, arguments: &[&str]) -> Output {
        let bin = PathBuf::from(std::env::var("PG_BINDIR").expect("PG_BINDIR is not set: run the tests with `make test`"));
        let output = self.as_owner(Command::new(bin.join(program)).args(arguments), None);
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// It refuses to run as root.
    fn as_owner(&self, command: &mut Command, input: Option<&str>) -> Output {
        let mut full = match owner() {
            Some(owner) => {
                let mut full = Command::new("runuser");
                full.args(["-u", owner, "--"]).arg(command.get_program()).args(command.get_args());
                full
            }
            None => {
                let mut full = Command::new(command.get_program());
                full.args(command.get_args());
                full
            }
        };
        let text = self.folder.path().join("input");
        std::fs::write(&text, input.unwrap_or_default()).unwrap();
        // What it starts must not keep our ends of pipes open.
        let out = self.folder.path().join("output");
        let (stdout, stderr) =
            (std::fs::File::create(&out).unwrap(), std::fs::File::create(out.with_extension("error")).unwrap());
        if let Some(locales) = &self.locales {
            full.env("LOCPATH", locales);
        }
        full.current_dir(self.folder.path()).stdin(std::fs::File::open(&text).unwrap()).stdout(stdout).stderr(stderr);
        let what = format!("the end of {}", command.get_program().display());
        let status = status_of(&mut full.spawn().unwrap(), &what);
        Output { status, stdout: read(&out), stderr: read(&out.with_extension("error")) }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if Path::new(&format!("{}/postmaster.pid", self.data())).exists() {
            self.signal("CONT");
            let bin = PathBuf::from(std::env::var("PG_BINDIR").unwrap_or_default());
            self.as_owner(Command::new(bin.join("pg_ctl")).args(["-D", &self.data(), "-m", "immediate", "-w", "stop"]), None);
        }
    }
}

fn read(file: &Path) -> Vec<u8> {
    std::fs::read(file).unwrap_or_default()
}

/// Whose the server is where we are root.
fn owner() -> Option<&'static str> {
    let output = Command::new("id").arg("-u").output().unwrap();
    let is_root = String::from_utf8_lossy(&output.stdout).trim() == "0";
    let has_postgres = Command::new("id").arg("postgres").output().unwrap().status.success();
    is_root.then_some(if has_postgres { "postgres" } else { "nobody" })
}

/// One below those that a system gives to connections: between two starts of a server nobody gets it by chance.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let ports = std::iter::repeat_with(|| 10_000 + (std::process::id() * 61 + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let mut ports = ports.take(10_000).map(|port| u16::try_from(port).unwrap());
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
