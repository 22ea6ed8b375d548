//! What is known from outside of the runs of several daemons: who called Planhat when, who held which lease, and what was stored.
//!
//! ```text
//! calls at the simulator (caller -> process) + claims (lease -> process, by a trigger) -> when each run was at work -> no two at once
//! ```
//!
//! The intervals of runs go into a table of the test with an exclusion constraint. It is over numbers, in which each tenant has a range
//! of its own, because a constraint over a number and a time needs an extension that not every PostgreSQL has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::edited_tenant::EditedTenant;
use crate::waiting::in_time;

const MINUTE: Duration = Duration::from_secs(60);
/// More microseconds than a test lasts: each tenant has so many numbers.
const NUMBERS_OF_A_TENANT: i64 = 10_000_000_000_000;

/// A daemon that was started.
#[derive(Debug)]
pub(crate) struct StartedProcess {
    pub(crate) pid: u32,
    /// As what it calls Planhat, it alone.
    pub(crate) caller: String,
    /// From then on it made no call, though one that it had made may have been seen a moment later.
    pub(crate) ended_at: Option<Instant>,
}

/// A lease as it was taken.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Claim {
    workspace: String,
    run_id: i64,
    pid: i32,
    at: DateTime<Utc>,
}

/// When a run was at work, as Planhat has seen it, in microseconds since the beginning.
#[derive(Debug)]
struct Interval {
    run_id: i64,
    from: i64,
    to: i64,
}

pub(crate) struct FleetEvidence {
    url: String,
    /// The same moment by both clocks.
    begun: (Instant, DateTime<Utc>),
}

impl FleetEvidence {
    /// From now on the database notes who takes a lease.
    pub(crate) async fn collect_in(url: String) -> FleetEvidence {
        let evidence = FleetEvidence { url, begun: (Instant::now(), Utc::now()) };
        const TABLES: &str = "create schema evidence;
            create table evidence.claims (n bigint generated always as identity, workspace text, run_id bigint, pid int,
                at timestamptz default clock_timestamp());
            create function evidence.note_claim() returns trigger language plpgsql as $$ begin
                insert into evidence.claims (workspace, run_id, pid) values (new.workspace, new.run_id, split_part(new.process, ' ', 3)::int);
                return null;
            end $$;
            create trigger note_claim after insert or update of run_id on planhat_sync.leases
                for each row execute function evidence.note_claim();
            create table evidence.calls_of_runs (run_id bigint, during int8range, exclude using gist (during with &&));
            create table evidence.history_of_runs (run_id bigint, during int8range, exclude using gist (during with &&))";
        in_time("the tables of the test", async { sqlx::raw_sql(TABLES).execute(&mut evidence.database().await).await.unwrap() })
            .await;
        evidence
    }

    async fn database(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    async fn one(&self, sql: String) -> String {
        let look = async {
            sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(sql)).fetch_one(&mut self.database().await).await.unwrap()
        };
        in_time("a look into the database", look).await.unwrap_or_default()
    }

    /// By the clock of the database.
    pub(crate) async fn now(&self) -> DateTime<Utc> {
        self.one("select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')".to_owned())
            .await
            .parse()
            .unwrap()
    }

    /// How many workspaces were synced whole by two runs that began since then: the first may have gone on with a scan that began before,
    /// and had listed what was deleted after that.
    pub(crate) async fn synced_since(&self, since: DateTime<Utc>) -> usize {
        let synced = format!(
            "select count(*)::text from (select from planhat_sync.runs where status = 'succeeded' and command = 'daemon'
                 and started_at > '{since}' group by workspace having count(*) >= 2) synced"
        );
        self.one(synced).await.parse().unwrap()
    }

    /// Everything that should not have happened. The runs of `aged` lost their leases before these were really stale.
    pub(crate) async fn faults(&self, tenants: &[EditedTenant], processes: &[StartedProcess], aged: &[i64]) -> Vec<String> {
        let mut db = self.database().await;
        let claims = "select workspace, run_id, pid, at from evidence.claims order by at";
        let claims: Vec<Claim> = sqlx::query_as(claims).fetch_all(&mut db).await.unwrap();
        let mut faults = self.overlaps_in_history(&mut db).await;
        for (number, tenant) in tenants.iter().enumerate() {
            let of_tenant: Vec<&Claim> = claims.iter().filter(|claim| tenant.schemas.contains(&claim.workspace)).collect();
            let intervals = self.intervals(tenant, processes, &of_tenant, &mut faults);
            let intervals = intervals.into_iter().map(|interval| self.unless_aged(interval, aged, &of_tenant));
            faults.extend(overlaps_of_calls(&mut db, number, intervals).await);
            let busiest = tenant.simulator.busiest(MINUTE);
            if tenant.quota.is_some_and(|quota| busiest > quota) {
                faults.push(format!("tenant {number}: {busiest} calls in a minute"));
            }
            for schema in &tenant.schemas {
                faults.extend(tenant.faults_of_copy(&mut db, schema).await);
                faults.extend(faults_of_actions(&mut db, schema).await);
            }
        }
        faults
    }

    /// When each run was at work, told from the calls of its process.
    fn intervals(
        &self,
        tenant: &EditedTenant,
        processes: &[StartedProcess],
        claims: &[&Claim],
        faults: &mut Vec<String>,
    ) -> Vec<Interval> {
        let of_caller: BTreeMap<&str, &StartedProcess> =
            processes.iter().map(|started| (started.caller.as_str(), started)).collect();
        let mut intervals = BTreeMap::<i64, Interval>::new();
        for request in tenant.simulator.requests() {
            let Some(caller) = of_caller.get(request.caller.as_str()) else {
                faults.push(format!("a call of nobody: {request:?}"));
                continue;
            };
            let at = caller.ended_at.map_or(request.at, |ended_at| ended_at.min(request.at));
            let at = self.micros(at);
            let is_its = |claim: &&&Claim| claim.pid.cast_unsigned() == caller.pid && self.micros_of(claim.at) <= at;
            let Some(claim) = claims.iter().rfind(is_its) else {
                faults.push(format!("a call of process {} without a lease: {request:?}", caller.pid));
                continue;
            };
            let run_id = claim.run_id;
            let interval = intervals.entry(run_id).or_insert(Interval { run_id, from: at, to: at });
            (interval.from, interval.to) = (interval.from.min(at), interval.to.max(at));
        }
        intervals.into_values().collect()
    }

    fn unless_aged(&self, interval: Interval, aged: &[i64], claims: &[&Claim]) -> Interval {
        let next = claims.iter().map(|claim| self.micros_of(claim.at)).find(|at| *at > interval.from);
        match next {
            Some(next) if aged.contains(&interval.run_id) => Interval { to: interval.to.min(next), ..interval },
            _ => interval,
        }
    }

    fn micros(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.begun.0).as_micros()).unwrap()
    }

    fn micros_of(&self, at: DateTime<Utc>) -> i64 {
        (at - self.begun.1).num_microseconds().unwrap()
    }

    /// Runs of one workspace that overlap by what the tool says of them itself.
    async fn overlaps_in_history(&self, db: &mut PgConnection) -> Vec<String> {
        let runs =
            "select workspace, id, started_at, greatest(finished_at, started_at), status from planhat_sync.runs order by id";
        type Run = (String, i64, DateTime<Utc>, Option<DateTime<Utc>>, String);
        let runs: Vec<Run> = sqlx::query_as(runs).fetch_all(&mut *db).await.unwrap();
        let (mut faults, mut numbers) = (Vec::new(), BTreeMap::new());
        for (workspace, run_id, from, to, status) in runs {
            let Some(to) = to.filter(|_| status != "running") else {
                faults.push(format!("run {run_id} of {workspace} has not ended: {status}"));
                continue;
            };
            let others = numbers.len();
            let number = *numbers.entry(workspace.clone()).or_insert(others);
            let interval = Interval { run_id, from: self.micros_of(from), to: self.micros_of(to) };
            let insert = "insert into evidence.history_of_runs values ($1, int8range($2, $3))";
            faults.extend(inserted(&mut *db, insert, number, interval).await.map(|fault| format!("{workspace}: {fault}")));
        }
        faults
    }

    /// What there was to be seen.
    pub(crate) async fn summary(&self, tenants: &[EditedTenant]) -> String {
        let runs = "select string_agg(n || ' ' || status, ', ' order by status) from (
            select status, count(*) as n from planhat_sync.runs group by status) by_status";
        let mut actions = 0;
        for schema in tenants.iter().flat_map(|tenant| &tenant.schemas) {
            actions += self.one(format!("select count(*)::text from {schema}.actions")).await.parse::<usize>().unwrap();
        }
        let calls: usize = tenants.iter().map(|tenant| tenant.simulator.requests().len()).sum();
        let busiest: Vec<usize> =
            tenants.iter().filter(|tenant| tenant.quota.is_some()).map(|tenant| tenant.simulator.busiest(MINUTE)).collect();
        let records: usize = tenants.iter().map(EditedTenant::edited_records).sum();
        format!(
            "runs: {}; {calls} calls, at most {busiest:?} in a minute where there is a quota; {records} records, {actions} actions;",
            self.one(runs.to_owned()).await
        )
    }
}

async fn overlaps_of_calls(db: &mut PgConnection, tenant: usize, intervals: impl Iterator<Item = Interval>) -> Vec<String> {
    let mut faults = Vec::new();
    for interval in intervals {
        let insert = "insert into evidence.calls_of_runs values ($1, int8range($2, $3, '[]'))";
        faults.extend(inserted(&mut *db, insert, tenant, interval).await.map(|fault| format!("tenant {tenant}: {fault}")));
    }
    faults
}

/// Puts an interval into a table; what is wrong if it overlaps another one.
async fn inserted(db: &mut PgConnection, insert: &'static str, number: usize, interval: Interval) -> Option<String> {
    let first = i64::try_from(number).unwrap() * NUMBERS_OF_A_TENANT;
    let Interval { run_id, from, to } = interval;
    let done = sqlx::query(insert).bind(run_id).bind(first + from).bind(first + to).execute(db).await;
    let failed = done.err()?;
    let refused = failed.as_database_error().filter(|error| error.code().as_deref() == Some("23P01"));
    let refused = refused.unwrap_or_else(|| panic!("{failed}")).downcast_ref::<sqlx::postgres::PgDatabaseError>();
    Some(format!("run {run_id} overlaps another run: {}", refused.detail().unwrap_or_default()))
}

/// Actions are counted without a gap, and no run stores any after one that took over from it.
async fn faults_of_actions(db: &mut PgConnection, schema: &str) -> Vec<String> {
    let counted = format!("select count(*), coalesce(max(id), 0) from {schema}.actions");
    let (count, last): (i64, i64) = sqlx::query_as(AssertSqlSafe(counted)).fetch_one(&mut *db).await.unwrap();
    let late = format!(
        "select id, run_id, before from (select id, run_id, lag(run_id) over (order by id) as before from {schema}.actions) each_one
         where run_id < before"
    );
    let late: Vec<(i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(late)).fetch_all(db).await.unwrap();
    let gap = (count != last).then(|| format!("{schema}: {count} actions, the last one is {last}"));
    let late = late.iter().map(|(id, run_id, before)| format!("{schema}: action {id} of run {run_id} comes after run {before}"));
    gap.into_iter().chain(late).collect()
}
