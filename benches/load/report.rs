//! The figures as Markdown, to be read in a terminal and pasted into docs/performance.md.

use std::fmt::Write;

use chrono::Utc;

use crate::daemon_of_fleet::{MOST_CONNECTIONS, MeasuredFleet, Phase};
use crate::{Measured, MeasuredRun, Slowed};

const MIB: f64 = 1024.0 * 1024.0;
/// Calls a minute.
const QUOTA: f64 = 200.0;

/// A figure that the tool promises.
struct Promise {
    what: String,
    measured: String,
    bound: String,
    holds: bool,
}

pub(crate) fn markdown(postgres: &str, sizes: &[Measured], slowed: &[Slowed]) -> String {
    let mut text = format!("{}, {postgres}, {}\n", machine(), Utc::now().format("%Y-%m-%d"));
    text.push_str("\n| calls | records | 100 a page | minutes | `\"auto\"` | minutes |\n|---|--:|--:|--:|--:|--:|\n");
    sizes.iter().for_each(|size| text.push_str(&calls_of(size)));
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
    of_sizes.chain(of_latency).chain(of_growth).for_each(|(records, promise)| text.push_str(&promise.row(records)));
    text
}

/// What daemons of so many workspaces cost.
pub(crate) fn of_fleets(postgres: &str, fleets: &[MeasuredFleet]) -> String {
    let mut text = format!("{}, {postgres}, {}\n", machine(), Utc::now().format("%Y-%m-%d"));
    text.push_str("\n| | workspaces | time | calls | CPU | PostgreSQL's CPU | memory | peak memory | connections |\n");
    text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n");
    for MeasuredFleet { workspaces, load, idle, round, .. } in fleets {
        let [after_load, after_round] = idle;
        for (name, phase) in [
            ("first loads", load),
            ("nothing is due", after_load),
            ("a round, nothing changed", round),
            ("nothing is due again", after_round),
        ] {
            text.push_str(&row_of_phase(name, *workspaces, phase));
        }
    }
    text.push_str(
        "\nA round, for each workspace:\n\n| workspaces | time | calls | CPU | PostgreSQL's CPU |\n|--:|--:|--:|--:|--:|\n",
    );
    for MeasuredFleet { workspaces, round, .. } in fleets {
        let each = |all: f64| all / *workspaces as f64;
        let (time, cpu) = (each(round.cost.wall_seconds) * 1e3, each(round.cost.cpu_seconds) * 1e3);
        let server_cpu = round.server_cpu_seconds.map_or_else(String::new, |seconds| format!("{:.0} ms", each(seconds) * 1e3));
        let (calls, workspaces) = (each(round.calls.total() as f64), thousands(*workspaces));
        _ = writeln!(text, "| {workspaces} | {time:.0} ms | {calls:.1} | {cpu:.0} ms | {server_cpu} |");
    }
    text.push_str("\n| | workspaces | measured | bound | |\n|---|--:|--:|--:|---|\n");
    fleets
        .iter()
        .flat_map(|fleet| promises_of_fleet(fleet).map(|promise| promise.row(fleet.workspaces)))
        .for_each(|row| text.push_str(&row));
    if let Some((small, large)) = fleets.first().zip(fleets.last()).filter(|_| fleets.len() > 1) {
        linear([small, large]).iter().for_each(|promise| text.push_str(&promise.row(large.workspaces)));
    }
    text
}

fn row_of_phase(name: &str, workspaces: usize, phase: &Phase) -> String {
    let Phase { cost, memory_bytes, connections, .. } = phase;
    let (workspaces, calls, server_cpu) =
        (thousands(workspaces), thousands(phase.calls.total()), seconds_of(phase.server_cpu_seconds));
    let (time, cpu) = (cost.wall_seconds, cost.cpu_seconds);
    let (memory, peak) = (*memory_bytes as f64 / MIB, cost.peak_bytes as f64 / MIB);
    format!(
        "| {name} | {workspaces} | {time:.1} s | {calls} | {cpu:.2} s | {server_cpu} | {memory:.1} MiB | {peak:.1} MiB | {connections} |\n"
    )
}

fn promises_of_fleet(fleet: &MeasuredFleet) -> [Promise; 4] {
    let MeasuredFleet { idle, connections, kept_connections, .. } = fleet;
    let memory = idle.iter().map(|idle| idle.cost.peak_bytes).max().unwrap_or(0) as f64 / MIB;
    let share = idle.iter().map(|idle| 100.0 * idle.cost.cpu_seconds / idle.cost.wall_seconds).fold(0.0, f64::max);
    [
        Promise {
            what: "peak memory while nothing is due".to_owned(),
            measured: format!("{memory:.1} MiB"),
            bound: "< 64 MiB".to_owned(),
            holds: memory < 64.0,
        },
        Promise {
            what: "CPU while nothing is due".to_owned(),
            measured: format!("{share:.2} % of a core"),
            bound: "< 1 %".to_owned(),
            holds: share < 1.0,
        },
        Promise {
            what: "connections at the same time, with 8 slots".to_owned(),
            measured: connections.to_string(),
            bound: format!("≤ {MOST_CONNECTIONS}"),
            holds: *connections <= MOST_CONNECTIONS,
        },
        Promise {
            what: "connections that were there longer than a run".to_owned(),
            measured: kept_connections.to_string(),
            bound: "≤ 2".to_owned(),
            holds: *kept_connections <= 2,
        },
    ]
}

/// A figure of a phase, if there is one.
type FigureOf = fn(&Phase) -> Option<f64>;

/// More workspaces cost no more each.
fn linear([small, large]: [&MeasuredFleet; 2]) -> Vec<Promise> {
    let each = |fleet: &MeasuredFleet, of: FigureOf| Some(of(&fleet.round)? / fleet.workspaces as f64);
    let figures: [(&str, FigureOf); 3] = [
        ("calls", |round| Some(round.calls.total() as f64)),
        ("CPU", |round| Some(round.cost.cpu_seconds)),
        ("PostgreSQL's CPU", |round| round.server_cpu_seconds),
    ];
    let ratios = figures.into_iter().filter_map(|(what, of)| Some((what, each(large, of)? / each(small, of)?)));
    let promises = ratios.map(|(what, ratio)| Promise {
        what: format!("{what} of a round for each workspace, to that with {}", thousands(small.workspaces)),
        measured: format!("{ratio:.2}"),
        bound: "≤ 1.1".to_owned(),
        holds: ratio <= 1.1,
    });
    promises.collect()
}

/// What users pay: the calls, and the minutes that they take of the quota.
fn calls_of(size: &Measured) -> String {
    let Measured { auto, load, idle, daily, full, .. } = size;
    let row = |(name, usual, auto): (&str, &MeasuredRun, &MeasuredRun)| {
        let [usual, auto] = [usual, auto].map(|run| run.calls.total());
        let minutes = |calls: usize| calls as f64 / QUOTA;
        let (of_usual, of_auto, records) = (minutes(usual), minutes(auto), thousands(size.records));
        format!("| {name} | {records} | {} | {of_usual:.1} | {} | {of_auto:.1} |\n", thousands(usual), thousands(auto))
    };
    [
        ("a first load", load, &auto.load),
        ("a day without changes", idle, &auto.idle),
        ("a day with 500 edits", daily, &auto.daily),
        ("everything compared", full, &auto.full),
    ]
    .map(row)
    .concat()
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
        ("`sync` with `auto`, the first, without the timeline", &size.auto.bare_load),
        ("`sync` with `auto`, the first", &size.auto.load),
        ("`sync` with `auto`, nothing changed", &size.auto.idle),
        ("`sync --full` with `auto`, nothing changed", &size.auto.full),
        ("`sync` with `auto`, 500 edits", &size.auto.daily),
    ];
    let mut rows = runs.map(|(name, run)| row(name, run)).concat();
    for (page_size, run) in &size.large_pages {
        rows.push_str(&row(&format!("`sync` with pages of {page_size}, the first"), run));
    }
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
    let Measured { load, bare_load, full, auto, sweeps, .. } = size;
    let speed = full.speed() / load.speed();
    let of_auto = [&auto.bare_load, &auto.load, &auto.idle, &auto.full, &auto.daily];
    let all = [load, &size.idle, full, &size.daily].into_iter().chain(of_auto).chain(size.large_pages.iter().map(|(_, run)| run));
    let memory = all.map(|run| run.cost.peak_bytes).max().unwrap_or(0) as f64 / MIB;
    let calls = sweeps.iter().map(|(object, edits, calls)| format!("{object} {calls} for {edits} edits")).collect::<Vec<_>>();
    let mut promises = cost_of(size, bare_load, "the first load without the timeline", MostToCopy { time: 2.2, server_cpu: 2.0 });
    promises.extend(cost_of(size, load, "the first load", MostToCopy { time: 3.0, server_cpu: 3.0 }));
    let (of_bare, of_load) = ("the first load with `auto`, without the timeline", "the first load with `auto`");
    promises.extend(cost_of(size, &auto.bare_load, of_bare, MostToCopy { time: 2.2, server_cpu: 2.0 }));
    promises.extend(cost_of(size, &auto.load, of_load, MostToCopy { time: 3.0, server_cpu: 3.0 }));
    promises.extend(calls_promised(size));
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

/// The calls that runs may take, of the workspaces of the sizes for which that is promised.
fn calls_promised(size: &Measured) -> Vec<Promise> {
    let Measured { load, auto, .. } = size;
    let at_most = |(what, run, most): (&str, &MeasuredRun, usize)| {
        let calls = run.calls.total();
        Promise {
            what: what.to_owned(),
            measured: thousands(calls),
            bound: format!("≤ {}", thousands(most)),
            holds: calls <= most,
        }
    };
    let promised = match size.records {
        90_000..110_000 => vec![
            ("calls of a first load at 100 a page, where `archived` adds", load, 1090),
            ("calls of a first load with `auto`", &auto.load, 90),
            ("calls of a day without changes with `auto`", &auto.idle, 60),
            ("calls of a day with 500 edits with `auto`", &auto.daily, 75),
        ],
        900_000..1_100_000 => vec![
            ("calls of a first load with `auto` (five minutes)", &auto.load, 1000),
            ("calls of a day without changes with `auto`", &auto.idle, 200),
        ],
        _ => Vec::new(),
    };
    promised.into_iter().map(at_most).collect()
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

impl Promise {
    fn row(&self, size: usize) -> String {
        let Promise { what, measured, bound, holds } = self;
        let verdict = if *holds { "ok" } else { "over" };
        format!("| {what} | {} | {measured} | {bound} | {verdict} |\n", thousands(size))
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
