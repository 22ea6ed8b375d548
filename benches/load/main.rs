//! Measures the tool beside what no tool could do without. `make bench` runs it.
//!
//! ```text
//! for each size: simulator -> parse, download -> naive script -> sync with and without the timeline -> psql \copy
//!                -> idle sync -> sync --full -> 500 edits, sync with and without the timeline
//! for small ones: a load at so many milliseconds a call, and on request one under a quota
//! ```
//!
//! With `--workspaces` it measures a daemon that looks after so many workspaces instead; `make bench-fleet` runs that.
//!
//! What is measured is the binary itself, in a process of its own, and so are the simulated Planhat, the baselines and
//! PostgreSQL, which keeps its ordinary durability. What counts are ratios within one run: a slow or busy machine is slow for
//! all of them. The last table says which of the promised figures hold.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program that shows figures")]

mod baseline;
mod daemon_of_fleet;
mod database;
mod measured;
mod naive;
mod report;
mod server_cpu;
mod simulated;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::Value;

use database::{BenchDatabase, BenchServer, Copied};
use measured::{Cost, measured};
use simulated::{Address, Calls, SWEPT, Served, Simulated};

const EDITS: usize = 500;
/// Loads with a latency or a quota take their time; what they show does not depend on more records than this.
const FEW: usize = 100_000;
/// Of a workspace that is loaded within seconds, the middle one of so many runs counts: chance is a good part of one.
const ATTEMPTS: usize = 3;

/// Measures the tool beside what no tool could do without.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Sizes of workspaces, in records.
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000")]
    records: Vec<usize>,
    /// How long each call takes in the load that is made with a latency.
    #[arg(long, default_value_t = 20)]
    latency_ms: u64,
    /// The quota of a load that is made with one; 0 for no such load.
    #[arg(long, default_value_t = 0)]
    calls_per_minute: usize,
    /// Measures daemons of so many workspaces, and nothing else.
    #[arg(long, value_delimiter = ',')]
    workspaces: Vec<usize>,
    /// How long a daemon is looked at that has nothing to do.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Cargo says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

// What else this program is, to itself.
#[derive(Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Serve(Served),
    #[command(hide = true)]
    Parse { url: String, token: String },
    #[command(hide = true)]
    Download { url: String, token: String, pages: String },
    #[command(hide = true)]
    Naive { url: String, token: String, database: String },
    #[command(hide = true)]
    Measure { command: Vec<OsString> },
}

impl Role {
    const SERVE: &str = "serve";
    const PARSE: &str = "parse";
    const DOWNLOAD: &str = "download";
    const NAIVE: &str = "naive";
    /// What stands behind it is not for this program.
    const MEASURE: [&str; 2] = ["measure", "--"];
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let Some(role) = arguments.role else {
        if arguments.workspaces.is_empty() {
            measure_all(&arguments)?;
        } else {
            runtime.block_on(measure_fleets(&arguments))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    match role {
        Role::Serve(served) => runtime.block_on(simulated::serve(served))?,
        Role::Parse { url, token } => {
            println!("{}", serde_json::to_string(&runtime.block_on(baseline::parse(&url, &token))?)?);
        }
        Role::Download { url, token, pages } => {
            runtime.block_on(baseline::download(&url, &token, &serde_json::from_str(&pages)?))?;
        }
        Role::Naive { url, token, database } => runtime.block_on(naive::load(&url, &token, &database))?,
        Role::Measure { command } => return Ok(ExitCode::from(measured::measure(&command)? as u8)),
    }
    Ok(ExitCode::SUCCESS)
}

/// All runs over a workspace of one size, one field a run, as they are printed together.
struct Measured {
    records: usize,
    parse: MeasuredRun,
    download: MeasuredRun,
    /// The naive script; none of a workspace for which it would take minutes.
    naive: Option<MeasuredRun>,
    /// The first load without the timeline, and as it is by default.
    bare_load: MeasuredRun,
    load: MeasuredRun,
    copy: Copied,
    idle: MeasuredRun,
    full: MeasuredRun,
    bare_daily: MeasuredRun,
    daily: MeasuredRun,
    /// The same with pages as large as the workspace allows.
    auto: AutoRuns,
    /// First loads with pages of so many records, for their memory.
    large_pages: Vec<(&'static str, MeasuredRun)>,
    /// Edits and calls of the longest sweep, by object.
    sweeps: Vec<(&'static str, usize, usize)>,
}

/// Runs with `planhat.page_size = "auto"`.
struct AutoRuns {
    bare_load: MeasuredRun,
    load: MeasuredRun,
    idle: MeasuredRun,
    full: MeasuredRun,
    daily: MeasuredRun,
}

/// One run of the tool or of a baseline.
struct MeasuredRun {
    cost: Cost,
    /// What PostgreSQL has used meanwhile, where that can be measured.
    server_cpu_seconds: Option<f64>,
    /// How many records it was shown.
    rows: usize,
    calls: Calls,
}

/// A load of a workspace that takes its time.
struct Slowed {
    served: Served,
    records: usize,
    run: MeasuredRun,
}

fn measure_all(arguments: &Arguments) -> Result<()> {
    let server = BenchServer::from_environment()?;
    let (mut sizes, mut slowed) = (Vec::new(), Vec::new());
    for &records in &arguments.records {
        sizes.push(measure_size(&server, records)?);
        if records > FEW {
            continue;
        }
        slowed.push(measure_slowed(
            &server,
            Served { records, latency_ms: arguments.latency_ms, calls_per_minute: 0, workspaces: 1 },
        )?);
        if arguments.calls_per_minute > 0 {
            let served = Served { records, latency_ms: 0, calls_per_minute: arguments.calls_per_minute, workspaces: 1 };
            slowed.push(measure_slowed(&server, served)?);
        }
    }
    println!("{}", report::markdown(&server.version()?, &sizes, &slowed));
    Ok(())
}

/// Fails where a daemon breaks its word on connections, at whatever size.
async fn measure_fleets(arguments: &Arguments) -> Result<()> {
    let server = BenchServer::from_environment()?;
    let mut fleets = Vec::new();
    for &workspaces in &arguments.workspaces {
        log(&format!("a daemon of {workspaces} workspaces"));
        fleets.push(daemon_of_fleet::measure(&server, workspaces, Duration::from_secs(arguments.idle_seconds)).await?);
    }
    println!("{}", report::of_fleets(&server.version()?, &fleets));
    fleets.iter().try_for_each(daemon_of_fleet::MeasuredFleet::check_connections)
}

fn measure_size(server: &BenchServer, records: usize) -> Result<Measured> {
    log(&format!("a workspace of {records} records"));
    let mut planhat = Simulated::start(Served { records, latency_ms: 0, calls_per_minute: 0, workspaces: 1 })?;
    let records = planhat.address.records;
    let attempts = if records <= FEW { ATTEMPTS } else { 1 };

    log("download and parse");
    let (parse, pages) = middle(attempts, || run_baseline(&mut planhat, &[Role::PARSE]), |(run, _)| run.cost.wall_seconds)?;
    log("download");
    let download = || run_baseline(&mut planhat, &[Role::DOWNLOAD, &pages]);
    let (download, _) = middle(attempts, download, |(run, _)| run.cost.wall_seconds)?;

    let naive = if records <= FEW {
        log("a naive script");
        Some(middle(attempts, || run_naive(&mut planhat, &server.create("naive")?), |run| run.cost.wall_seconds)?)
    } else {
        None
    };
    server.drop("naive")?;

    log("planhat-sync sync");
    let mut first = |name: &str, set: Set| {
        let (run, of_load) = sync(&mut planhat, &server.create(name)?, &["sync"], set)?;
        ensure!(of_load.inserted == records, "{} of {records} records were loaded", of_load.inserted);
        Ok(MeasuredRun { rows: records, ..run })
    };
    let mut middle_of = |name: &str, set: Set| middle(attempts, || first(name, set), |run| run.cost.wall_seconds);
    let bare_load = middle_of("bare", USUAL.bare())?;
    let load = middle_of("load", USUAL)?;
    let auto_bare_load = middle_of("auto", AUTO.bare())?;
    let auto_load = middle_of("auto", AUTO)?;
    log("planhat-sync sync with large pages");
    let large_pages = ["1000", "5000"].map(|page_size| Ok((page_size, first("large", Set { page_size, ..USUAL })?)));
    let large_pages = large_pages.into_iter().collect::<Result<Vec<_>>>()?;
    server.drop("large")?;
    let (bare, database) = (server.database("bare")?, server.database("load")?);
    log("psql \\copy");
    let copy = middle(attempts, || database.copy(), |copied| copied.seconds)?;
    ensure!(copy.rows == records, "{} of {records} rows were copied", copy.rows);

    log("planhat-sync sync, nothing has changed");
    let auto_database = server.database("auto")?;
    let mut unchanged = |database: &BenchDatabase, command: &[&str], set: Set| {
        let (run, figures) = sync(&mut planhat, database, command, set)?;
        ensure!(figures.inserted + figures.updated == 0, "rows were written where nothing had changed");
        Ok(run)
    };
    let idle = unchanged(&database, &["sync"], USUAL)?;
    let auto_idle = unchanged(&auto_database, &["sync"], AUTO)?;
    log("planhat-sync sync --full, nothing has changed");
    let full = middle(attempts, || unchanged(&database, &["sync", "--full"], USUAL), |run| run.cost.wall_seconds)?;
    let auto_full = unchanged(&auto_database, &["sync", "--full"], AUTO)?;

    log("planhat-sync sync, after edits");
    let edits = planhat.edit(EDITS)?;
    let edited: usize = edits.values().sum();
    let mut of_the_day = |database: &BenchDatabase, set: Set| {
        let (run, figures) = sync(&mut planhat, database, &["sync"], set)?;
        ensure!(figures.updated == edited, "{} of {edited} edits arrived", figures.updated);
        Ok(run)
    };
    let bare_daily = of_the_day(&bare, USUAL.bare())?;
    let daily = of_the_day(&database, USUAL)?;
    let auto_daily = of_the_day(&auto_database, AUTO)?;
    let sweeps = SWEPT.map(|object| (object, edits[object], daily.calls.longest_sweep(object))).to_vec();
    server.drop("bare")?;
    server.drop("load")?;
    server.drop("auto")?;
    let [parse, download, full] = [parse, download, full].map(|run| MeasuredRun { rows: records, ..run });
    let naive = naive.map(|run| MeasuredRun { rows: records, ..run });
    let auto = AutoRuns { bare_load: auto_bare_load, load: auto_load, idle: auto_idle, full: auto_full, daily: auto_daily };
    Ok(Measured {
        records,
        parse,
        download,
        naive,
        bare_load,
        load,
        copy,
        idle,
        full,
        bare_daily,
        daily,
        auto,
        large_pages,
        sweeps,
    })
}

/// The one of some attempts that took neither long nor short.
fn middle<T>(attempts: usize, attempt: impl FnMut() -> Result<T>, seconds: impl Fn(&T) -> f64) -> Result<T> {
    let mut done = std::iter::repeat_with(attempt).take(attempts).collect::<Result<Vec<T>>>()?;
    done.sort_by(|one, other| seconds(one).total_cmp(&seconds(other)));
    Ok(done.swap_remove(done.len() / 2))
}

fn measure_slowed(server: &BenchServer, served: Served) -> Result<Slowed> {
    let Served { records, latency_ms, calls_per_minute, .. } = served;
    log(&format!("a load of {records} records at {latency_ms} ms a call, {calls_per_minute} calls a minute (0: any)"));
    let mut planhat = Simulated::start(served)?;
    let records = planhat.address.records;
    let load = || {
        let (run, of_load) = sync(&mut planhat, &server.create("slowed")?, &["sync"], USUAL)?;
        ensure!(of_load.inserted == records, "{} of {records} records were loaded", of_load.inserted);
        Ok(run)
    };
    // Under a quota it takes minutes, and is as long as that says.
    let attempts = if calls_per_minute == 0 { ATTEMPTS } else { 1 };
    let run = middle(attempts, load, |run| run.cost.wall_seconds)?;
    server.drop("slowed")?;
    Ok(Slowed { served, records, run: MeasuredRun { rows: records, ..run } })
}

fn run_baseline(planhat: &mut Simulated, role: &[&str]) -> Result<(MeasuredRun, String)> {
    let (program, Address { url, token, .. }) = (std::env::current_exe()?, &planhat.address);
    let arguments = [&role[..1], &[url, token], &role[1..]].concat();
    let (printed, cost) = measured(program.to_str().context("a path that is no text")?, &arguments, &[])?;
    Ok((MeasuredRun { cost, server_cpu_seconds: None, rows: 0, calls: planhat.calls()? }, printed))
}

fn run_naive(planhat: &mut Simulated, database: &BenchDatabase) -> Result<MeasuredRun> {
    database.settle()?;
    let ((run, _), server_cpu_seconds) = database.cpu.during(|| run_baseline(planhat, &[Role::NAIVE, &database.url]))?;
    let (stored, records) = (database.naive_rows()?, planhat.address.records);
    ensure!(stored == records, "the naive script stored {stored} of {records} records");
    Ok(MeasuredRun { server_cpu_seconds, ..run })
}

/// What a run of the tool says it did.
struct PrintedFigures {
    fetched: usize,
    inserted: usize,
    updated: usize,
}

/// What is set of the tool, besides where Planhat and the database are, and the quota.
#[derive(Debug, Clone, Copy)]
struct Set {
    /// Whether changes become actions.
    has_timeline: bool,
    page_size: &'static str,
}

/// As it is by default, and with pages as large as the workspace allows.
const USUAL: Set = Set { has_timeline: true, page_size: "100" };
const AUTO: Set = Set { page_size: "auto", ..USUAL };

impl Set {
    fn bare(self) -> Set {
        Set { has_timeline: false, ..self }
    }
}

/// Runs the tool with its defaults, but for where Planhat and the database are, the quota, and what is set.
fn sync(planhat: &mut Simulated, database: &BenchDatabase, command: &[&str], set: Set) -> Result<(MeasuredRun, PrintedFigures)> {
    database.settle()?;
    let calls_per_minute = planhat.served.calls_per_minute.to_string();
    let variables = [
        ("PLANHAT_API_URL", planhat.address.url.as_str()),
        ("PLANHAT_API_TOKEN", &planhat.address.token),
        ("DATABASE_URL", &database.url),
        ("PLANHAT_SYNC__PLANHAT__CALLS_PER_MINUTE", &calls_per_minute),
        ("PLANHAT_SYNC__ACTIONS__ENABLED", if set.has_timeline { "true" } else { "false" }),
        ("PLANHAT_SYNC__PLANHAT__PAGE_SIZE", set.page_size),
        ("PLANHAT_SYNC__LOG__LEVEL", "warn"),
    ];
    let arguments = [command, &["--json", "--config", "/dev/null"]].concat();
    let running = || measured(env!("CARGO_BIN_EXE_planhat-sync"), &arguments, &variables);
    let ((printed, cost), server_cpu_seconds) = database.cpu.during(running)?;
    let summary: Value = serde_json::from_str(&printed)?;
    let objects = summary["objects"].as_array().context("no objects")?;
    let total = |figure: &str| objects.iter().filter_map(|object| object[figure].as_u64()).sum::<u64>() as usize;
    let figures = PrintedFigures { fetched: total("fetched"), inserted: total("inserted"), updated: total("updated") };
    Ok((MeasuredRun { cost, server_cpu_seconds, rows: figures.fetched, calls: planhat.calls()? }, figures))
}

/// How far it is, for those who wait.
fn log(what: &str) {
    eprintln!("bench: {what} …");
}
