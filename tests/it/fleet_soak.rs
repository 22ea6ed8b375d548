//! Several daemons over many workspaces: they are killed and frozen while PostgreSQL is restarted and people edit records.
//!
//! A seed determines who is killed and what is edited, though not what the processes have just been doing. `PLANHAT_SYNC_SEED=42`
//! repeats one; `make soak` runs the long form, of `PLANHAT_SYNC_FLEET_WORKSPACES` workspaces for `PLANHAT_SYNC_FLEET_SECONDS`.
//! With `PLANHAT_SYNC_FLEET_LOGS=FOLDER` the logs of the daemons are kept there.
//!
//! What counts is what others see: [`FleetEvidence`] looks at the calls that came to Planhat, and at the tables and actions.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fastrand::Rng;
use planhat_store::Store;
use sqlx::{Connection as _, PgConnection};

use crate::cli::signal;
use crate::edited_tenant::EditedTenant;
use crate::fleet_evidence::{FleetEvidence, StartedProcess};
use crate::many_workspaces::Fleet;
use crate::server::PostgresServer;
use crate::waiting::{end, ended, eventually_within, in_time, this_test_may_take};

/// A daemon that wakes is left in peace for so long: it has to see that it has lost its leases, at the next beat of its heart.
const AWAKE_FOR: Duration = Duration::from_secs(8);
/// A lease is renewed so often that no holder is taken for dead by mistake; it is stale after 90 seconds.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(97);

#[derive(Debug, Clone, Copy)]
struct Pace {
    workspaces: usize,
    lasts: Duration,
    edit_every: Duration,
    /// Calls per minute of the tenants that have a quota. The others may be called as fast as one likes.
    quota: usize,
    schedule: &'static str,
    freeze: Freeze,
    /// How long it may take at the end until every workspace has been synced once more.
    settles_within: Duration,
}

const DAEMONS: usize = 3;
const KILL_EVERY: Duration = Duration::from_secs(2);

/// For how long a daemon is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freeze {
    /// Until its leases are stale.
    UntilStale,
    /// Until another one has taken over its leases, which are made stale by hand. Before its heart beats again it may still call
    /// Planhat, which one whose lease has really become stale may not.
    UntilAged,
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_that_are_killed_and_frozen_while_postgresql_restarts_keep_every_workspace_in_step() {
    let pace = Pace {
        workspaces: 12,
        lasts: Duration::from_secs(45),
        edit_every: Duration::from_millis(40),
        quota: 60,
        schedule: "* * * * * *",
        freeze: Freeze::UntilAged,
        settles_within: Duration::from_secs(180),
    };
    this_test_may_take(Duration::from_secs(420));
    live_through(pace).await;
}

/// A part of `make soak`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour"]
async fn two_hundred_workspaces_stay_in_step() {
    let pace = Pace {
        workspaces: number("PLANHAT_SYNC_FLEET_WORKSPACES").unwrap_or(200),
        lasts: Duration::from_secs(number("PLANHAT_SYNC_FLEET_SECONDS").unwrap_or(600)),
        edit_every: Duration::from_millis(25),
        // Each run of them takes so long that few survive, so they are put off again and again.
        quota: 30,
        schedule: "*/20 * * * * *",
        freeze: Freeze::UntilStale,
        settles_within: Duration::from_secs(900),
    };
    this_test_may_take(pace.lasts + Duration::from_secs(1800));
    live_through(pace).await;
}

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[expect(clippy::print_stdout, reason = "the seed, and what was seen")]
async fn live_through(pace: Pace) {
    let seed = number("PLANHAT_SYNC_SEED").unwrap_or_else(|| fastrand::u64(0..1 << 40));
    println!("seed {seed}, {pace:?}");
    let (mut rng, begun) = (Rng::with_seed(seed), Instant::now());
    let server = PostgresServer::start_with("max_connections = 100\nlog_min_messages = fatal", None).await;
    let mut fleet = fleet_on(&server).await;
    fleet.tool.put("PLANHAT_SYNC__DAEMON__SCHEDULE", Some(pace.schedule));
    let mut tenants = tenants_of(&fleet, pace);
    let store = Store::connect(&server.url().into(), "planhat", 1).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    let evidence = FleetEvidence::collect_in(server.url()).await;

    let mut daemons = Daemons::start(&mut fleet, rng.fork(), pace.freeze);
    let mut edits_of = rng.fork();
    let ((), edits, ()) =
        tokio::join!(daemons.trouble(pace), edit(&mut tenants, pace, &mut edits_of), restart_twice(&server, pace, &mut rng));

    daemons.settle(&tenants, &evidence, pace.settles_within).await;
    let fresh = daemons.stop_and_list_what_is_not_fresh().await;
    let Daemons { started, kills, restarts, freezes, aged, .. } = daemons;

    let mut faults = evidence.faults(&tenants, &started, &aged).await;
    faults.extend(fresh);
    assert!(faults.is_empty(), "seed {seed}: {} faults:\n{}", faults.len(), faults.join("\n"));
    println!(
        "{kills} kills, {restarts} starts without a database, {freezes} freezes, {} leases made stale by hand, {edits} edits",
        aged.len()
    );
    println!("{} in {} s", evidence.summary(&tenants).await, begun.elapsed().as_secs());
}

async fn fleet_on(server: &PostgresServer) -> Fleet {
    let mut fleet = Fleet::of(&[]).await;
    for (name, value) in [
        ("DATABASE_URL", server.url().as_str()),
        ("RUST_LOG", "info"),
        ("PLANHAT_SYNC__LOG__FORMAT", "json"),
        ("PLANHAT_SYNC__PLANHAT__OBJECTS", "companies,endusers"),
        ("PLANHAT_SYNC__DELETIONS__MAX_PERCENT", "100"),
        ("PLANHAT_SYNC__DAEMON__LISTEN", "127.0.0.1:0"),
        ("PLANHAT_SYNC__DAEMON__JITTER", "0s"),
        ("PLANHAT_SYNC__DAEMON__POLL_EVERY", "1s"),
        ("PLANHAT_SYNC__DAEMON__RETRY_AFTER", "1s"),
        ("PLANHAT_SYNC__DATABASE__STATEMENT_TIMEOUT", "10s"),
        ("PLANHAT_SYNC__DATABASE__RECONNECT_TIMEOUT", "5s"),
    ] {
        fleet.tool.put(name, Some(value));
    }
    fleet
}

/// A tenant for each workspace, but for the last workspace, which has the token of the first. These two and the second have a quota.
fn tenants_of(fleet: &Fleet, pace: Pace) -> Vec<EditedTenant> {
    let mut tenants: Vec<EditedTenant> =
        (0..pace.workspaces - 1).map(|number| EditedTenant::of(fleet.tenant(0), number)).collect();
    for workspace in 0..pace.workspaces {
        let number = workspace % tenants.len();
        let tenant = &mut tenants[number];
        tenant.quota = (number < 2).then_some(pace.quota);
        tenant.schemas.push(format!("planhat_w{workspace:03}"));
        let calls = tenant.quota.unwrap_or(0);
        let compared = if tenant.is_compared { "1s" } else { "7days" };
        let settings = format!(
            "[planhat]\ntoken = '{}'\ncalls_per_minute = {calls}\n[sync]\nreconcile_every = '{compared}'\n",
            tenant.simulator.token()
        );
        fleet.write(&format!("workspaces.d/w{workspace:03}.toml"), &settings);
    }
    tenants
}

async fn edit(tenants: &mut [EditedTenant], pace: Pace, rng: &mut Rng) -> usize {
    let (end, mut edits) = (Instant::now() + pace.lasts, 0);
    while Instant::now() < end {
        let tenant = rng.usize(0..tenants.len());
        tenants[tenant].edit(rng, edits);
        edits += 1;
        tokio::time::sleep(pace.edit_every).await; // No wait of a test: so fast people work.
    }
    edits
}

async fn restart_twice(server: &PostgresServer, pace: Pace, rng: &mut Rng) {
    for mode in ["immediate", "fast"] {
        tokio::time::sleep(pace.lasts.mul_f64(0.2 + 0.25 * rng.f64())).await; // No wait of a test: so long it is well.
        server.stop(mode);
        tokio::time::sleep(Duration::from_millis(rng.u64(0..3000))).await; // No wait of a test: so long it is away.
        server.start_again().await;
    }
}

struct Replica {
    process: Child,
    woken_at: Option<Instant>,
}

struct FrozenReplica {
    index: usize,
    since: Instant,
}

/// The daemons at work, and what happens to them.
struct Daemons<'a> {
    fleet: &'a mut Fleet,
    rng: Rng,
    freeze: Freeze,
    replicas: Vec<Replica>,
    frozen: Option<FrozenReplica>,
    /// All processes so far.
    started: Vec<StartedProcess>,
    kills: usize,
    restarts: usize,
    freezes: usize,
    /// Runs whose leases were made stale by hand.
    aged: Vec<i64>,
}

impl Daemons<'_> {
    fn start(fleet: &mut Fleet, rng: Rng, freeze: Freeze) -> Daemons<'_> {
        let (replicas, started, aged) = (Vec::new(), Vec::new(), Vec::new());
        let mut daemons =
            Daemons { fleet, rng, freeze, replicas, frozen: None, started, kills: 0, restarts: 0, freezes: 0, aged };
        for _ in 0..DAEMONS {
            let replica = daemons.start_one();
            daemons.replicas.push(replica);
        }
        daemons
    }

    /// The calls of each process say whose they are.
    fn start_one(&mut self) -> Replica {
        let caller = format!("daemon-{}", self.started.len());
        self.fleet.tool.put("PLANHAT_API_URL", Some(&self.fleet.tenant(0).url_of(&caller)));
        let mut command = self.fleet.tool.command(&["--config", "config.toml", "daemon"]);
        let log = match std::env::var("PLANHAT_SYNC_FLEET_LOGS") {
            Ok(folder) => {
                std::fs::File::create(PathBuf::from(folder).join(format!("{}.log", self.started.len()))).unwrap().into()
            }
            Err(_) => Stdio::null(),
        };
        let process = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.started.push(StartedProcess { pid: process.id(), caller, ended_at: None });
        Replica { process, woken_at: None }
    }

    async fn trouble(&mut self, pace: Pace) {
        let end = Instant::now() + pace.lasts;
        while Instant::now() < end {
            tokio::time::sleep(KILL_EVERY).await; // No wait of a test: so often one is killed.
            self.start_those_that_have_ended();
            self.kill_one().await;
            match self.freeze {
                Freeze::UntilStale => self.freeze_or_wake(LONGER_THAN_A_LEASE),
                Freeze::UntilAged => self.freeze_and_age_or_wake().await,
            }
        }
        self.wake();
    }

    /// Waits until every workspace was synced by runs that began after all troubles.
    async fn settle(&mut self, tenants: &[EditedTenant], evidence: &FleetEvidence, within: Duration) {
        let settled = evidence.now().await;
        let schemas = tenants.iter().flat_map(|tenant| &tenant.schemas);
        let names: Vec<&str> = schemas.map(|schema| schema.trim_start_matches("planhat_")).collect();
        let asked = self.fleet.run(&[&["workspaces", "sync-now"], names.as_slice()].concat());
        assert_eq!(asked.code, 0, "{}", asked.all());
        let is_synced = async || {
            self.start_those_that_have_ended();
            evidence.synced_since(settled).await == names.len()
        };
        eventually_within(within, "a sync of every workspace", is_synced).await;
    }

    /// Those that are awake, and have been for a while.
    fn awake(&self) -> Vec<usize> {
        let is_awake = |index: &usize| self.frozen.as_ref().is_none_or(|frozen| frozen.index != *index);
        let is_left_alone = |index: &usize| self.replicas[*index].woken_at.is_some_and(|at| at.elapsed() < AWAKE_FOR);
        (0..self.replicas.len()).filter(|index| is_awake(index) && !is_left_alone(index)).collect()
    }

    async fn kill_one(&mut self) {
        let awake = self.awake();
        let Some(index) = self.rng.choice(awake) else { return };
        // Nobody takes its runs over before it is dead. How long a busy machine takes to see that says nothing of its calls.
        let ended_at = Instant::now();
        self.replicas[index].process.kill().unwrap();
        ended(&mut self.replicas[index].process).await;
        self.kills += 1;
        self.replace(index, ended_at);
    }

    /// As a service manager does, it starts those again that have ended because they could not reach the database at their start.
    fn start_those_that_have_ended(&mut self) {
        for index in 0..self.replicas.len() {
            if let Some(status) = self.replicas[index].process.try_wait().unwrap() {
                assert_eq!(status.code(), Some(5), "a daemon has ended");
                self.restarts += 1;
                self.replace(index, Instant::now());
            }
        }
    }

    fn replace(&mut self, index: usize, ended_at: Instant) {
        let pid = self.replicas[index].process.id();
        let started = self.started.iter_mut().rfind(|started| started.pid == pid);
        started.unwrap().ended_at = Some(ended_at);
        self.replicas[index] = self.start_one();
    }

    fn freeze_or_wake(&mut self, lasts: Duration) {
        match &self.frozen {
            Some(frozen) if frozen.since.elapsed() > lasts => self.wake(),
            Some(_) => {}
            None => {
                let awake = self.awake();
                if let (true, Some(index)) = (self.nobody_has_just_woken(), self.rng.choice(awake)) {
                    self.stop_process(index);
                }
            }
        }
    }

    /// The same, where its leases are made stale by hand.
    async fn freeze_and_age_or_wake(&mut self) {
        let Some(mut db) = PgConnection::connect(&self.fleet.tool.database()).await.ok() else { return };
        if self.frozen.is_none() {
            let awake = self.awake();
            if let (true, Some(index)) = (self.nobody_has_just_woken(), self.rng.choice(awake)) {
                self.stop_process(index);
            }
        }
        let Some(FrozenReplica { index, since }) = &self.frozen else { return };
        let pid = i32::try_from(self.replicas[*index].process.id()).unwrap();
        // Beside a run whose lease is made stale by hand another one uses the quota. A row may be locked by who is frozen.
        const AGE: &str = "set lock_timeout = '500ms'";
        const HELD: &str = "update planhat_sync.leases set renewed_at = now() - interval '2 minutes'
            where split_part(process, ' ', 3) = $1 and renewed_at > to_timestamp(0)
                and workspace <> all ($2) returning run_id";
        let with_quota = [0, 1, self.fleet_size() - 1].map(|workspace| format!("planhat_w{workspace:03}"));
        let aged = async {
            sqlx::raw_sql(AGE).execute(&mut db).await.ok()?;
            let held: Option<Vec<i64>> =
                sqlx::query_scalar(HELD).bind(pid.to_string()).bind(&with_quota[..]).fetch_all(&mut db).await.ok();
            held
        };
        let held = in_time("leases to be made stale", aged).await;
        let is_over =
            held.as_ref().is_some_and(Vec::is_empty) && since.elapsed() > KILL_EVERY || since.elapsed() > 10 * KILL_EVERY;
        for run_id in held.into_iter().flatten() {
            if !self.aged.contains(&run_id) {
                self.aged.push(run_id);
            }
        }
        if is_over {
            self.wake();
        }
    }

    fn fleet_size(&self) -> usize {
        std::fs::read_dir(self.fleet.path("workspaces.d")).unwrap().count()
    }

    fn nobody_has_just_woken(&self) -> bool {
        self.replicas.iter().all(|replica| replica.woken_at.is_none_or(|at| at.elapsed() >= AWAKE_FOR))
    }

    fn stop_process(&mut self, index: usize) {
        signal(self.replicas[index].process.id(), "STOP");
        self.frozen = Some(FrozenReplica { index, since: Instant::now() });
        self.freezes += 1;
    }

    fn wake(&mut self) {
        if let Some(FrozenReplica { index, .. }) = self.frozen.take() {
            signal(self.replicas[index].process.id(), "CONT");
            self.replicas[index].woken_at = Some(Instant::now());
        }
    }

    async fn stop_and_list_what_is_not_fresh(&mut self) -> Vec<String> {
        for replica in &self.replicas {
            signal(replica.process.id(), "TERM");
        }
        for replica in &mut self.replicas {
            assert_eq!(ended(&mut replica.process).await, Some(0));
        }
        let lines = self.fleet.lines(&["status", "--json"]);
        let is_fresh = |line: &serde_json::Value| line["output"]["fresh"] == true && line["output"]["state"] == "fresh";
        lines.into_iter().filter(|(_, line)| !is_fresh(line)).map(|(_, line)| line.to_string()).collect()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}
