//! `health`: for the health check of a container, which has no other tool for that.
//!
//! Containers of one image do different things, and have one health check. What the container was started for is its first
//! process, or a child of that one where an init is the first. A daemon is asked whether it is alive. Any other command is
//! there to end: while it runs, it is well, and nobody needs to ask.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Parser;
use planhat_model::error::exit_code as exit;

use crate::cli::{Cli, Command, Once};
use crate::command_error::CommandError;
use crate::config::Settings;
use crate::print;

/// The name of the program, as a command line begins with it.
const PROGRAM: &str = "planhat-sync";

/// A command line: the program and its arguments.
type CommandLine = Vec<String>;

/// What is at work here.
#[derive(Debug, PartialEq, Eq)]
enum AtWork {
    Daemon,
    /// A command that ends by itself, as it was typed.
    OneOff(String),
    Nothing,
}

pub(super) async fn health(shared: &Settings) -> Result<ExitCode, CommandError> {
    if let AtWork::OneOff(command) = at_work(&command_lines_of_the_first_processes()) {
        print::to_stdout(&format!("ok: `{command}` is running"));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(address) = shared.daemon.listen else {
        return Err(CommandError::new(
            exit::CONFIGURATION,
            anyhow!("the daemon does not listen on any address"),
            Some("set daemon.listen"),
        ));
    };
    let url = format!("http://{}/healthz", reachable(address));
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build();
    let answer = match http {
        Ok(http) => http.get(&url).send().await.and_then(reqwest::Response::error_for_status),
        Err(error) => Err(error),
    };
    match answer {
        Ok(_) => {
            print::to_stdout("ok");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!("no daemon answered at {url}")).into()),
    }
}

/// A daemon outweighs whatever was started beside it.
fn at_work(command_lines: &[CommandLine]) -> AtWork {
    let commands = command_lines.iter().filter_map(|line| Some((command_of(line)?, line)));
    let mut found = AtWork::Nothing;
    for (command, line) in commands {
        match command {
            Command::Daemon => return AtWork::Daemon,
            // Somebody else who asks.
            Command::Once(Once::Health) => {}
            Command::Once(_) => found = AtWork::OneOff(format!("{PROGRAM} {}", line[1..].join(" "))),
        }
    }
    found
}

fn command_of(line: &CommandLine) -> Option<Command> {
    let (program, _) = line.split_first()?;
    let is_ours = program.rsplit('/').next() == Some(PROGRAM);
    is_ours.then(|| Cli::try_parse_from(line).ok()).flatten().map(|cli| cli.command)
}

/// Of process 1, and of its children: `docker run --init` and a shell put themselves first.
fn command_lines_of_the_first_processes() -> Vec<CommandLine> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let first = numbers.filter(|process| *process == 1 || parent_of(*process) == Some(1));
    first.filter_map(command_line_of).collect()
}

fn command_line_of(process: u32) -> Option<CommandLine> {
    let text = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let arguments = text.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned());
    let mut arguments: CommandLine = arguments.collect();
    // The last one ends with a NUL as well.
    arguments.pop();
    Some(arguments)
}

/// The fourth field; the second, the name, is in brackets and may hold anything.
fn parent_of(process: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What listens on all addresses is asked on this machine's own.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command_lines: &[&str], expected: &AtWork) {
        let split = |line: &&str| line.split(' ').map(str::to_owned).collect();
        let command_lines: Vec<CommandLine> = command_lines.iter().map(split).collect();
        assert_eq!(at_work(&command_lines), *expected, "{command_lines:?}");
    }

    #[test]
    fn what_a_container_is_for_shows_in_its_first_processes() {
        let one_off = |command: &str| AtWork::OneOff(command.to_owned());
        check(&["planhat-sync sync"], &one_off("planhat-sync sync"));
        check(
            &["/usr/local/bin/planhat-sync --config /c.toml sync --full nps"],
            &one_off("planhat-sync --config /c.toml sync --full nps"),
        );
        check(
            &["/sbin/docker-init -- planhat-sync backfill --all", "planhat-sync backfill --all"],
            &one_off("planhat-sync backfill --all"),
        );
        check(&["planhat-sync daemon"], &AtWork::Daemon);
        check(&["planhat-sync --config /c.toml daemon"], &AtWork::Daemon);
        // By hand, beside it.
        check(&["planhat-sync daemon", "planhat-sync status"], &AtWork::Daemon);
        check(&["planhat-sync status", "planhat-sync daemon"], &AtWork::Daemon);
        check(&["planhat-sync health"], &AtWork::Nothing);
        check(&["/usr/bin/python3 planhat-sync sync", "/lib/systemd/systemd --system", ""], &AtWork::Nothing);
        check(&[], &AtWork::Nothing);
    }
}
