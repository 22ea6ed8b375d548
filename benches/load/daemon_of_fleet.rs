//! What a daemon of many workspaces costs: while nothing is due, and for a round in which all are due and nothing has changed.
//!
//! ```text
//! simulator (a token for each workspace) <- daemon (8 slots) -> PostgreSQL <- this program, which looks ten times a second
//! ```
//!
//! Each look notes which connections to the database there are. At the end each is compared with the runs: a connection that fits into
//! no run is one that the daemon keeps, and there may be two of those.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use sqlx::{Connection as _, PgConnection, Row};
use tempfile::TempDir;

use crate::database::{BenchDatabase, BenchServer};
use crate::measured::Cost;
use crate::server_cpu::{ServerCpu, seconds_of_process};
use crate::simulated::{Calls, Served, Simulated};

const SLOTS: usize = 8;
/// What a run may have, and what a daemon may have beside its runs.
const CONNECTIONS_OF_A_RUN: usize = 2;
const CONNECTIONS_OF_A_DAEMON: usize = 2;
pub(crate) const MOST_CONNECTIONS: usize = SLOTS * CONNECTIONS_OF_A_RUN + CONNECTIONS_OF_A_DAEMON;
/// Records of a workspace, a few of each of the 13 objects.
const RECORDS: usize = 60;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a server may count a connection that was closed, and how late a look may come, on a busy machine.
const CLOSED_WITHIN: TimeDelta = TimeDelta::seconds(2);
/// Until the last run has closed its connections, and the calendar has been looked at.
const SETTLES_WITHIN: Duration = Duration::from_secs(3);
/// How long a phase may take: a few seconds for each workspace.
const SLOWEST: Duration = Duration::from_secs(5);

/// What was measured of a daemon with so many workspaces.
pub(crate) struct MeasuredFleet {
    pub(crate) workspaces: usize,
    /// All workspaces, each for the first time.
    pub(crate) load: Phase,
    /// All workspaces are due once, and nothing has changed.
    pub(crate) round: Phase,
    /// Nothing is due: behind the first loads, and behind the round.
    pub(crate) idle: [Phase; 2],
    /// The most connections at the same time.
    pub(crate) connections: usize,
    /// The most at the same time that fit into no run.
    pub(crate) kept_connections: usize,
    /// How many there were after the round.
    pub(crate) left_connections: usize,
}

/// What the daemon did for a while.
pub(crate) struct Phase {
    /// The time is that from the begin of the first run to the end of the last, where there are runs.
    pub(crate) cost: Cost,
    /// What it had at the end.
    pub(crate) memory_bytes: u64,
    pub(crate) server_cpu_seconds: Option<f64>,
    pub(crate) calls: Calls,
    pub(crate) connections: usize,
}

impl MeasuredFleet {
    /// What must hold at whatever size, and on whatever machine.
    pub(crate) fn check_connections(&self) -> Result<()> {
        let MeasuredFleet { connections, kept_connections, left_connections, .. } = self;
        ensure!(*connections <= MOST_CONNECTIONS, "the daemon had {connections} connections, and {MOST_CONNECTIONS} are allowed");
        ensure!(*kept_connections <= CONNECTIONS_OF_A_DAEMON, "{kept_connections} connections fit into no run");
        ensure!(*left_connections <= CONNECTIONS_OF_A_DAEMON, "{left_connections} connections were left after the round");
        Ok(())
    }
}

pub(crate) async fn measure(server: &BenchServer, workspaces: usize, idle: Duration) -> Result<MeasuredFleet> {
    let served = Served { records: RECORDS, latency_ms: 0, calls_per_minute: 0, workspaces };
    let planhat = Simulated::start(served)?;
    let database = server.create("fleet")?;
    database.settle()?;
    let folder = settings_of(&planhat)?;
    let daemon = Daemon::start(&planhat, &database, &folder)?;
    let observer = Observer::start(&database).await?;
    let mut fleet = ObservedFleet { daemon, observer, planhat, workspaces };

    crate::log("first loads");
    let load = fleet.phase(0, Lasts::UntilAllRan).await?;
    crate::log("nothing is due");
    tokio::time::sleep(SETTLES_WITHIN).await;
    let idle_after_load = fleet.phase(workspaces, Lasts::For(idle)).await?;
    crate::log("a round in which nothing has changed");
    database.settle()?;
    fleet.observer.execute("update planhat_sync.workspaces set next_run_at = now()").await?;
    let round = fleet.phase(workspaces, Lasts::UntilAllRan).await?;

    crate::log("nothing is due");
    tokio::time::sleep(SETTLES_WITHIN).await;
    let left_connections = fleet.observer.look().await?;
    let idle_after_round = fleet.phase(2 * workspaces, Lasts::For(idle)).await?;
    let kept_connections = fleet.observer.fit_into_no_run().await?;
    fleet.daemon.stop()?;
    server.drop("fleet")?;
    let idle = [idle_after_load, idle_after_round];
    let connections = idle.iter().chain([&load, &round]).map(|phase| phase.connections).max().unwrap_or(0);
    Ok(MeasuredFleet { workspaces, load, round, idle, connections, kept_connections, left_connections })
}

/// A folder with a settings file, and a file for each workspace.
fn settings_of(planhat: &Simulated) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    // Nothing is due by the schedule while this is measured, at whatever time of the day.
    let hour = (Utc::now().hour() + 12) % 24;
    let shared = format!(
        "workspaces_dir = 'workspaces.d'\n[daemon]\nslots = {SLOTS}\nschedule = '0 {hour} * * *'\nlisten = '127.0.0.1:0'\n\
         [planhat]\ncalls_per_minute = 0\n[log]\nlevel = 'warn'\n"
    );
    std::fs::write(folder.path().join("config.toml"), shared)?;
    std::fs::create_dir(folder.path().join("workspaces.d"))?;
    for (number, token) in planhat.tokens().enumerate() {
        let file = folder.path().join(format!("workspaces.d/w{number:04}.toml"));
        std::fs::write(file, format!("[planhat]\ntoken = '{token}'\n"))?;
    }
    Ok(folder)
}

/// The daemon, in a process of its own.
struct Daemon {
    process: Child,
}

impl Daemon {
    fn start(planhat: &Simulated, database: &BenchDatabase, folder: &TempDir) -> Result<Daemon> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_planhat-sync"));
        command.args(["--config", "config.toml", "daemon"]).current_dir(folder.path()).env_clear();
        command.env("PLANHAT_API_URL", &planhat.address.url).env("DATABASE_URL", &database.url);
        Ok(Daemon { process: command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().context("could not start the daemon")? })
    }

    fn cpu_seconds(&self) -> Result<f64> {
        seconds_of_process(self.process.id()).context("the daemon has ended")
    }

    /// What it has in memory now, and the most since the last [`forget_peak`](Self::forget_peak).
    fn memory(&self) -> Result<(u64, u64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kibibytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let now = kibibytes("VmRSS:").zip(kibibytes("VmHWM:")).context("the daemon has ended")?;
        Ok((now.0 * 1024, now.1 * 1024))
    }

    fn forget_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5")?)
    }

    fn stop(mut self) -> Result<()> {
        ensure!(self.process.try_wait()?.is_none(), "the daemon has ended by itself");
        let asked = Command::new("kill").arg(self.process.id().to_string()).status()?;
        ensure!(asked.success(), "the daemon could not be asked to stop");
        let status = self.process.wait()?;
        ensure!(status.success(), "the daemon ended with {status}, signal {:?}", status.signal());
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// How long a phase lasts.
#[derive(Debug, Clone, Copy)]
enum Lasts {
    For(Duration),
    /// Until each workspace had a run.
    UntilAllRan,
}

struct ObservedFleet {
    daemon: Daemon,
    observer: Observer,
    planhat: Simulated,
    workspaces: usize,
}

impl ObservedFleet {
    /// Looks on, with so many runs before.
    async fn phase(&mut self, runs_before: usize, lasts: Lasts) -> Result<Phase> {
        self.planhat.calls()?;
        self.daemon.forget_peak()?;
        let begun = Instant::now();
        let (cpu_before, server_before) = (self.daemon.cpu_seconds()?, self.observer.server_seconds());
        let mut connections = 0;
        let all = runs_before + self.workspaces;
        loop {
            connections = connections.max(self.observer.look().await?);
            match lasts {
                Lasts::For(time) if begun.elapsed() >= time => break,
                Lasts::UntilAllRan if self.observer.ended_runs(runs_before).await? >= self.workspaces => break,
                Lasts::UntilAllRan if begun.elapsed() > SLOWEST * u32::try_from(self.workspaces + 20)? => {
                    bail!("{} of {all} runs have ended after {:?}", self.observer.ended_runs(0).await?, begun.elapsed())
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
        let wall_seconds = match lasts {
            Lasts::For(_) => begun.elapsed().as_secs_f64(),
            Lasts::UntilAllRan => self.observer.seconds_of_runs(runs_before).await?,
        };
        let (memory_bytes, peak_bytes) = self.daemon.memory()?;
        Ok(Phase {
            cost: Cost { wall_seconds, cpu_seconds: self.daemon.cpu_seconds()? - cpu_before, peak_bytes },
            memory_bytes,
            server_cpu_seconds: self.observer.server_seconds().zip(server_before).map(|(after, before)| after - before),
            calls: self.planhat.calls()?,
            connections,
        })
    }
}

/// A session of this program that looks at those of the daemon.
struct Observer {
    db: PgConnection,
    /// The process of the session at the server.
    backend: u32,
    server: ServerCpu,
    looks: Vec<DateTime<Utc>>,
    /// By process and begin, which tell connections apart: when it was seen first and last, as places in `looks`.
    seen: BTreeMap<(i32, DateTime<Utc>), (usize, usize)>,
}

impl Observer {
    async fn start(database: &BenchDatabase) -> Result<Observer> {
        let mut db = PgConnection::connect(&database.url).await?;
        let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut db).await?;
        let deadline = Instant::now() + SLOWEST * 20;
        while !sqlx::query_scalar("select to_regclass('planhat_sync.workspaces') is not null").fetch_one(&mut db).await? {
            ensure!(Instant::now() < deadline, "the daemon does not make its tables");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (looks, seen) = (Vec::new(), BTreeMap::new());
        Ok(Observer { db, backend: u32::try_from(backend)?, server: database.cpu, looks, seen })
    }

    /// What the server has used for others than this session.
    fn server_seconds(&self) -> Option<f64> {
        Some(self.server.seconds()? - seconds_of_process(self.backend)?)
    }

    async fn execute(&mut self, statement: &'static str) -> Result<()> {
        sqlx::query(statement).execute(&mut self.db).await?;
        Ok(())
    }

    /// How many connections others have.
    async fn look(&mut self) -> Result<usize> {
        let sessions = sqlx::query(
            "select pid, backend_start, clock_timestamp() as now from pg_stat_activity
             where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()",
        );
        let sessions = sessions.fetch_all(&mut self.db).await?;
        let look = self.looks.len();
        self.looks.push(sessions.first().map_or_else(|| Ok(Utc::now()), |session| session.try_get("now"))?);
        for session in &sessions {
            let connection = (session.try_get("pid")?, session.try_get("backend_start")?);
            self.seen.entry(connection).and_modify(|(_, last)| *last = look).or_insert((look, look));
        }
        Ok(sessions.len())
    }

    /// How many runs have ended well, beside the first ones.
    async fn ended_runs(&mut self, but: usize) -> Result<usize> {
        let ended = "select count(*) filter (where status = 'succeeded'), count(*) filter (where status in ('partial', 'failed'))
             from planhat_sync.runs where finished_at is not null";
        let (succeeded, failed): (i64, i64) = sqlx::query_as(ended).fetch_one(&mut self.db).await?;
        ensure!(failed == 0, "{failed} runs failed");
        Ok(usize::try_from(succeeded)?.saturating_sub(but))
    }

    async fn seconds_of_runs(&mut self, but: usize) -> Result<f64> {
        let seconds = "select extract(epoch from max(finished_at) - min(started_at))::float8
             from (select * from planhat_sync.runs order by id offset $1) as of_phase";
        Ok(sqlx::query_scalar(seconds).bind(i64::try_from(but)?).fetch_one(&mut self.db).await?)
    }

    /// The most connections at the same time that were there longer than any run which they may have been of.
    async fn fit_into_no_run(&mut self) -> Result<usize> {
        let runs = "select started_at, finished_at from planhat_sync.runs where finished_at is not null";
        let runs: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(runs).fetch_all(&mut self.db).await?;
        let fits = |begin: DateTime<Utc>, end: DateTime<Utc>| {
            runs.iter().any(|(started, finished)| *started <= begin && end <= *finished + CLOSED_WITHIN)
        };
        let mut at_each_look = vec![0; self.looks.len()];
        for ((_, begin), (first, last)) in &self.seen {
            if !fits(*begin, self.looks[*last]) {
                at_each_look[*first..=*last].iter_mut().for_each(|kept| *kept += 1);
            }
        }
        Ok(at_each_look.into_iter().max().unwrap_or(0))
    }
}
