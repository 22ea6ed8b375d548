//! The private PostgreSQL: a database for each load, and the time of `psql \copy` for the same rows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::server_cpu::ServerCpu;

/// The server that `scripts/with-postgres` has started.
pub(crate) struct BenchServer {
    url: String,
    psql: PathBuf,
    cpu: ServerCpu,
}

pub(crate) struct BenchDatabase {
    pub(crate) url: String,
    pub(crate) cpu: ServerCpu,
    psql: PathBuf,
}

/// What `psql \copy` wrote, and how long that took.
pub(crate) struct Copied {
    pub(crate) rows: usize,
    pub(crate) seconds: f64,
    pub(crate) server_cpu_seconds: Option<f64>,
}

impl BenchServer {
    pub(crate) fn from_environment() -> Result<BenchServer> {
        let url = std::env::var("TEST_DATABASE_URL").context("TEST_DATABASE_URL is not set: run this with `make bench`")?;
        let psql = std::env::var_os("PG_BINDIR").map_or_else(PathBuf::new, PathBuf::from).join("psql");
        let unmeasured = BenchServer { url, psql, cpu: ServerCpu::of(Path::new("")) };
        let folder = unmeasured.database("postgres")?.psql("show data_directory")?;
        Ok(BenchServer { cpu: ServerCpu::of(Path::new(folder.trim())), ..unmeasured })
    }

    /// As in `PostgreSQL 17.2`.
    pub(crate) fn version(&self) -> Result<String> {
        Ok(format!("PostgreSQL {}", self.database("postgres")?.psql("show server_version")?.trim()))
    }

    /// A new, empty database, in place of one of that name.
    pub(crate) fn create(&self, name: &str) -> Result<BenchDatabase> {
        self.drop(name)?;
        self.database("postgres")?.psql(&format!("create database {name}"))?;
        self.database(name)
    }

    pub(crate) fn drop(&self, name: &str) -> Result<()> {
        self.database("postgres")?.psql(&format!("drop database if exists {name} with (force)")).map(drop)
    }

    pub(crate) fn database(&self, name: &str) -> Result<BenchDatabase> {
        let (server, _) = self.url.rsplit_once('/').context("TEST_DATABASE_URL names no database")?;
        Ok(BenchDatabase { url: format!("{server}/{name}"), cpu: self.cpu, psql: self.psql.clone() })
    }
}

impl BenchDatabase {
    /// Writes out what is still in memory, so that what is measured next does not pay for what came before.
    pub(crate) fn settle(&self) -> Result<()> {
        self.psql("checkpoint").map(drop)
    }

    /// Copies all rows of the objects out, and back into tables with the same columns and primary keys. The way back
    /// is timed, all tables one after the other in one session.
    pub(crate) fn copy(&self) -> Result<Copied> {
        let folder = tempfile::tempdir()?;
        let tables = self.psql(
            "select relname from pg_class where relnamespace = 'planhat'::regnamespace and relkind = 'r' and relname not in ('actions', 'keys')",
        )?;
        let tables: Vec<&str> = tables.lines().collect();
        let for_each = |statement: &dyn Fn(&str, &str) -> String| {
            let file = |table: &str| folder.path().join(table).display().to_string();
            tables.iter().map(|table| statement(table, &file(table))).collect::<Vec<_>>().join("\n")
        };
        self.psql("create schema copied")?;
        self.psql(&for_each(&|table, file| {
            format!(
                "\\copy (select * from planhat.{table}) to '{file}'\n\
                 create table copied.{table} (like planhat.{table}, primary key (planhat__id));"
            )
        }))?;
        self.settle()?;

        let started = Instant::now();
        let copying = || self.psql(&for_each(&|table, file| format!("\\copy copied.{table} from '{file}'")));
        let (_, server_cpu_seconds) = self.cpu.during(copying)?;
        let seconds = started.elapsed().as_secs_f64();

        let counts = self.psql(&for_each(&|table, _| format!("select count(*) from copied.{table};")))?;
        let rows = counts.lines().map(str::parse::<usize>).sum::<Result<_, _>>()?;
        self.psql("drop schema copied cascade")?;
        Ok(Copied { rows, seconds, server_cpu_seconds })
    }

    /// How many rows all tables of the naive script have.
    pub(crate) fn naive_rows(&self) -> Result<usize> {
        let count = "select sum((xpath('/row/n/text()', query_to_xml(format('select count(*) as n from %s', oid::regclass), false, true, '')))[1]
                ::text::bigint) from pg_class where relnamespace = 'planhat'::regnamespace and relkind = 'r'";
        Ok(self.psql(count)?.trim().parse()?)
    }

    /// What psql prints for these statements, without ornament.
    fn psql(&self, statements: &str) -> Result<String> {
        let mut psql = Command::new(&self.psql)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", &self.url])
            .env("PGOPTIONS", "--client-min-messages=warning")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("could not start psql")?;
        psql.stdin.take().context("psql does not listen")?.write_all(statements.as_bytes())?;
        let output = psql.wait_with_output()?;
        ensure!(output.status.success(), "psql failed at: {statements}");
        Ok(String::from_utf8(output.stdout)?)
    }
}
