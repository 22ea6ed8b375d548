//! The simulated Planhat in a process of its own, so that its memory and its processor time are nobody else's.
//!
//! It is told what to do by lines on its standard input, and answers each with a line of JSON. It ends with its input.
//!
//! The workspace is quiet in the four days before it is loaded, but for one change in each object that is read newest
//! first. A daily run looks 72 hours further back than the newest change it knows of; what it finds there tells how busy a
//! workspace is and nothing of the tool.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::{TimeDelta, Utc};
use planhat_model::catalog;
use planhat_simulator::{Options, Quota, Request, Simulator, Workspace};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Role;

const SEED: u64 = 7;
const QUIET: TimeDelta = TimeDelta::days(4);
/// What a daily run reads newest first, as long as nobody sets `sync.sorted`.
pub(crate) const SWEPT: [&str; 2] = ["companies", "endusers"];
const A_MINUTE: Duration = Duration::from_secs(60);

/// How large a workspace is, how fast it answers, and how many of its kind there are.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Served {
    pub(crate) records: usize,
    pub(crate) latency_ms: u64,
    /// 0 for as many as anyone likes.
    pub(crate) calls_per_minute: usize,
    /// Each has other records, and a token of its own.
    pub(crate) workspaces: usize,
}

/// Where it can be reached.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) url: String,
    /// That of the first workspace.
    pub(crate) token: String,
    /// What the first workspace holds, to the last one.
    pub(crate) records: usize,
}

/// What it was asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Calls {
    /// Object and order, as in `companies -updatedAt`.
    pub(crate) by_listing: BTreeMap<String, usize>,
    /// Calls over the quota.
    pub(crate) refused: usize,
}

/// The process, while it is there.
pub(crate) struct Simulated {
    pub(crate) served: Served,
    pub(crate) address: Address,
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Simulated {
    pub(crate) fn start(served: Served) -> Result<Simulated> {
        let Served { records, latency_ms, calls_per_minute, workspaces } = served;
        let figures = [records, latency_ms as usize, calls_per_minute, workspaces].map(|figure| figure.to_string());
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.arg(Role::SERVE).args(figures).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = process.stdin.take().context("no way to tell the simulator anything")?;
        let mut answers = BufReader::new(process.stdout.take().context("no way to hear from the simulator")?);
        let address = answer(&mut answers)?;
        Ok(Simulated { served, address, process, orders, answers })
    }

    /// The tokens of all workspaces.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = String> {
        (0..self.served.workspaces).map(|number| token_of(&self.address.token, number))
    }

    /// Changes so many records, and touches their customers too. Returns how many of each object.
    pub(crate) fn edit(&mut self, count: usize) -> Result<BTreeMap<String, usize>> {
        self.tell(&format!("edit {count}"))
    }

    /// The calls since this was last asked.
    pub(crate) fn calls(&mut self) -> Result<Calls> {
        self.tell("calls")
    }

    fn tell<T: DeserializeOwned>(&mut self, order: &str) -> Result<T> {
        writeln!(self.orders, "{order}")?;
        answer(&mut self.answers)
    }
}

/// The token of the workspace of this number: the first one has number 0.
fn token_of(first: &str, number: usize) -> String {
    if number == 0 { first.to_owned() } else { format!("{first}-{number}") }
}

fn answer<T: DeserializeOwned>(answers: &mut impl BufRead) -> Result<T> {
    let mut line = String::new();
    answers.read_line(&mut line)?;
    serde_json::from_str(&line).context("the simulator has gone")
}

impl Drop for Simulated {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Calls {
    pub(crate) fn total(&self) -> usize {
        self.by_listing.values().sum()
    }

    /// The most that one listing of an object took.
    pub(crate) fn longest_sweep(&self, object: &str) -> usize {
        let of_object = |listing: &str| listing.split(' ').next() == Some(object);
        self.by_listing.iter().filter(|(listing, _)| of_object(listing)).map(|(_, calls)| *calls).max().unwrap_or(0)
    }
}

/// The process itself.
pub(crate) async fn serve(served: Served) -> Result<()> {
    let quota = Quota { calls: served.calls_per_minute, within: A_MINUTE, sends_retry_after: true };
    let options = Options {
        latency: Duration::from_millis(served.latency_ms),
        quota: (served.calls_per_minute > 0).then_some(quota),
        ..Options::default()
    };
    let until = Utc::now() - QUIET;
    let simulator = Simulator::start(Workspace::generated_until(until, SEED, served.records), options.clone()).await?;
    let others = (1..served.workspaces).map(|number| {
        let workspace = Workspace::generated_until(until, SEED + number as u64, served.records);
        simulator.tenant(workspace, Options { token: token_of(simulator.token(), number), ..options.clone() })
    });
    let others: Vec<Simulator> = others.collect();
    edit(&simulator, SWEPT.len());
    let records = catalog::default_objects().iter().map(|object| simulator.ids(object.name).len()).sum();
    println!("{}", json!(Address { url: simulator.url(), token: simulator.token().to_owned(), records }));

    for order in std::io::stdin().lines() {
        let answer = match order?.split_once(' ') {
            Some(("edit", count)) => json!(edit(&simulator, count.parse()?)),
            None => json!(calls(others.iter().chain([&simulator]))),
            Some((order, _)) => bail!("{order}: unknown order"),
        };
        println!("{answer}");
    }
    Ok(())
}

/// Every so many records across each object, each changed by a user and touched.
fn edit(simulator: &Simulator, count: usize) -> BTreeMap<&'static str, usize> {
    let edited = SWEPT.into_iter().map(|object| {
        let ids = simulator.ids(object);
        let of_object = ids.len().min(count / SWEPT.len()).max(1);
        simulator.edit_source(|source| {
            for id in ids.iter().step_by(ids.len() / of_object).take(of_object) {
                let now = Utc::now();
                source.edit(object, id, now, |record| _ = record.insert("externalId".to_owned(), json!(now.to_string())));
                source.touch(object, id, now);
            }
        });
        (object, of_object)
    });
    let edited = edited.collect();
    sort(simulator);
    edited
}

/// Has all orders that will be asked for at hand, so that making them is in nobody's time.
fn sort(simulator: &Simulator) {
    for object in catalog::default_objects() {
        simulator.sort(object.name, "_id");
        object.sweeps.iter().for_each(|field| simulator.sort(object.name, &format!("-{field}")));
    }
}

fn calls<'a>(simulators: impl Iterator<Item = &'a Simulator>) -> Calls {
    let mut calls = Calls::default();
    for simulator in simulators {
        for Request { path, query, status, .. } in simulator.requests() {
            let hidden = if query.values().any(|value| value == "true") { " with hidden ones" } else { "" };
            let order = query.get("sort").map_or("by id", String::as_str);
            *calls.by_listing.entry(format!("{} {order}{hidden}", path.trim_start_matches('/'))).or_default() += 1;
            calls.refused += usize::from(status == 429);
        }
        simulator.forget_requests();
    }
    calls
}
