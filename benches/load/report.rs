//! The figures as Markdown, to be read in a terminal and pasted into docs/performance.md.

use std::fmt::Write;

use chrono::Utc;

use crate::{Measured, MeasuredRun, Slowed};

const MIB: f64 = 1024.0 * 1024.0;

/// A figure that the tool promises.
struct Promise {
    what: String,
    measured: String,
    bound: String,
    holds: bool,
}

pub(crate) fn markdown(postgres: &str, sizes: &[Measured], slowed: &[Slowed]) -> String {
    let mut text = format!("{}, {postgres}, {}\n", machine(), Utc::now().format("%Y-%m-%d"));
    text.push_str(
        "\n| run | rows | time | rows/s | calls | CPU | PostgreSQL's CPU | peak memory |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    sizes.iter().for_each(|size| text.push_str(&rows_of(size)));
    slowed.iter().for_each(|slowed| text.push_str(&row(&slowed.name(), &slowed.run)));

    text.push_str("\n| | records | measured | bound | |\n|---|--:|--:|--:|---|\n");
    let of_sizes = sizes.iter().flat_map(|size| promises_of(size).into_iter().map(|promise| (size.records, promise)));
    let of_latency = slowed.iter().filter_map(|slowed| Some((slowed.records, slowed.promise()?)));
    let growth = sizes.first().zip(sizes.last()).filter(|_| sizes.len() > 1);
    let of_growth = growth.into_iter().flat_map(|(small, large)| {
        let bare = same_speed("the first load without the timeline", [small, large], |size| &size.bare_load);
        let promises = [bare, same_speed("the first load", [small, large], |size| &size.load)];
        promises.map(|promise| (large.records, promise))
    });
    for (records, Promise { what, measured, bound, holds }) in of_sizes.chain(of_latency).chain(of_growth) {
        let verdict = if holds { "ok" } else { "over" };
        _ = writeln!(text, "| {what} | {} | {measured} | {bound} | {verdict} |", thousands(records));
    }
    text
}

fn rows_of(size: &Measured) -> String {
    let runs = [
        ("download", &size.download),
        ("download and parse", &size.parse),
        ("`sync`, the first, without the timeline", &size.bare_load),
        ("`sync`, the first", &size.load),
        ("`sync`, nothing changed", &size.idle),
        ("`sync --full`, nothing changed", &size.full),
        ("`sync`, 500 edits, without the timeline", &size.bare_daily),
        ("`sync`, 500 edits", &size.daily),
    ];
    let mut rows = runs.map(|(name, run)| row(name, run)).concat();
    let (records, seconds) = (thousands(size.copy.rows), size.copy.seconds);
    let speed = thousands((size.copy.rows as f64 / seconds) as usize);
    let server_cpu = seconds_of(size.copy.server_cpu_seconds);
    _ = writeln!(rows, "| `psql \\copy` of the same rows | {records} | {seconds:.1} s | {speed} | | | {server_cpu} | |");
    if let Some(naive) = &size.naive {
        rows.push_str(&row("a naive script", naive));
    }
    rows
}

fn row(name: &str, run: &MeasuredRun) -> String {
    let (rows, calls) = (thousands(run.rows), thousands(run.calls.total()));
    let (time, cpu, memory) = (run.cost.wall_seconds, run.cost.cpu_seconds, run.cost.peak_bytes as f64 / MIB);
    let speed = thousands(run.speed() as usize);
    let server_cpu = seconds_of(run.server_cpu_seconds);
    format!("| {name} | {rows} | {time:.1} s | {speed} | {calls} | {cpu:.1} s | {server_cpu} | {memory:.0} MiB |\n")
}

fn seconds_of(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("{seconds:.1} s"))
}

fn promises_of(size: &Measured) -> Vec<Promise> {
    let Measured { load, bare_load, full, sweeps, .. } = size;
    let speed = full.speed() / load.speed();
    let memory = [load, &size.idle, full, &size.daily].map(|run| run.cost.peak_bytes).into_iter().max().unwrap_or(0) as f64 / MIB;
    let calls = sweeps.iter().map(|(object, edits, calls)| format!("{object} {calls} for {edits} edits")).collect::<Vec<_>>();
    let mut promises = cost_of(size, bare_load, "the first load without the timeline", MostToCopy { time: 2.2, server_cpu: 2.0 });
    promises.extend(cost_of(size, load, "the first load", MostToCopy { time: 3.0, server_cpu: 3.0 }));
    promises.extend([
        Promise {
            what: "rows/s of `sync --full` with nothing changed to those of the first load".to_owned(),
            measured: format!("{speed:.2}"),
            bound: "≥ 2".to_owned(),
            holds: speed >= 2.0,
        },
        Promise {
            what: "peak memory of all runs".to_owned(),
            measured: format!("{memory:.1} MiB"),
            bound: "< 64 MiB".to_owned(),
            holds: memory < 64.0,
        },
        Promise {
            what: "calls of the longest sweep after the edits".to_owned(),
            measured: calls.join(", "),
            bound: "≤ edits / 100 + 2".to_owned(),
            holds: sweeps.iter().all(|(_, edits, calls)| *calls * 100 <= edits + 200),
        },
    ]);
    promises
}

/// How often what `psql \\copy` takes a load may take.
struct MostToCopy {
    time: f64,
    server_cpu: f64,
}

/// A load beside what no tool could do without, which knows no timeline.
fn cost_of(size: &Measured, load: &MeasuredRun, name: &str, most: MostToCopy) -> Vec<Promise> {
    let Measured { parse, copy, .. } = size;
    let at_most = |what: String, ratio: f64, bound: f64| Promise {
        what,
        measured: format!("{ratio:.2}"),
        bound: format!("≤ {bound}"),
        holds: ratio <= bound,
    };
    let cpu = load.cost.cpu_seconds / parse.cost.cpu_seconds;
    let time = load.cost.wall_seconds / copy.seconds;
    let server_cpu = load.server_cpu_seconds.zip(copy.server_cpu_seconds).map(|(load, copy)| load / copy);
    let mut promises = vec![
        at_most(format!("CPU of {name} to that of download and parse"), cpu, 2.0),
        at_most(format!("time of {name} to that of `psql \\copy`"), time, most.time),
    ];
    let of_server = |ratio| at_most(format!("PostgreSQL's CPU of {name} to that of `psql \\copy`"), ratio, most.server_cpu);
    promises.extend(server_cpu.map(of_server));
    promises
}

/// More records take no more time each.
fn same_speed(name: &str, [small, large]: [&Measured; 2], load: fn(&Measured) -> &MeasuredRun) -> Promise {
    let ratio = load(large).speed() / load(small).speed();
    Promise {
        what: format!("rows/s of {name} to those at {}", thousands(small.records)),
        measured: format!("{ratio:.2}"),
        bound: "0.95 … 1.1".to_owned(),
        holds: (0.95..=1.1).contains(&ratio),
    }
}

impl MeasuredRun {
    fn speed(&self) -> f64 {
        self.rows as f64 / self.cost.wall_seconds
    }
}

impl Slowed {
    fn name(&self) -> String {
        match self.served.calls_per_minute {
            0 => format!("`sync`, the first, {} ms a call", self.served.latency_ms),
            quota => {
                let minutes = self.run.cost.wall_seconds / 60.0;
                let share = 100.0 * self.run.calls.total() as f64 / (quota as f64 * minutes);
                let refused = self.run.calls.refused;
                format!("`sync`, the first, {quota} calls a minute: {share:.0} % of them used, {refused} refused")
            }
        }
    }

    /// What is promised for 20 ms a call.
    fn promise(&self) -> Option<Promise> {
        let seconds = self.run.cost.wall_seconds;
        (self.served.latency_ms == 20).then(|| Promise {
            what: "the first load at 20 ms a call".to_owned(),
            measured: format!("{seconds:.1} s"),
            bound: "≤ 6 s".to_owned(),
            holds: seconds <= 6.0,
        })
    }
}

/// Processor and cores, where the system tells.
fn machine() -> String {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{}, {cores} cores", model.map_or(std::env::consts::ARCH, |(_, model)| model))
}

fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}
