//! `completions`: what a shell needs to complete the tool's arguments.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::print;

pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "planhat-sync", &mut script);
    print::own_file_to_stdout(String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}
