//! What a child process costs: wall time, processor time, peak memory.
//!
//! The system counts the memory of children as the maximum over all of them so far, so each one runs below a process
//! of its own: this program again, which starts nothing but it. That process is small, and what is measured of the
//! child begins with what its parent was.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use crate::Role;

/// In what `getrusage` counts memory.
const MEMORY_UNIT: u64 = if cfg!(target_os = "macos") { 1 } else { 1024 };

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Cost {
    pub(crate) wall_seconds: f64,
    /// In the program and in the system for it, on all processors.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
}

/// Runs a program with these variables and no others. Returns what it printed, and its cost.
pub(crate) fn measured(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<(String, Cost)> {
    let mut between = Command::new(std::env::current_exe()?);
    between.args(Role::MEASURE).arg(program).args(arguments).env_clear().envs(variables.iter().copied());
    let output = between.stderr(Stdio::inherit()).output()?;
    let printed = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{program} {arguments:?} failed: {}\n{printed}", output.status);
    let (printed, cost) = printed.trim_end().rsplit_once('\n').context("the cost is missing")?;
    Ok((printed.to_owned(), serde_json::from_str(cost)?))
}

/// The process between: runs the command, adds a line with its cost to what it prints, and ends as it did.
pub(crate) fn measure(command: &[OsString]) -> Result<i32> {
    let (program, arguments) = command.split_first().context("nothing to measure")?;
    let started = Instant::now();
    let status = Command::new(program).args(arguments).status()?;
    let wall_seconds = started.elapsed().as_secs_f64();

    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu_microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    let cost = Cost {
        wall_seconds,
        cpu_seconds: cpu_microseconds as f64 / 1e6,
        peak_bytes: usage.max_rss().unsigned_abs() * MEMORY_UNIT,
    };
    println!("\n{}", serde_json::to_string(&cost)?);
    Ok(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1))
}
