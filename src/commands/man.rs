//! `man`: the manual page, made from what can be typed: the program, then each command.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::Cli;
use crate::command_error::CommandError;
use crate::print;

pub(super) fn man() -> Result<ExitCode, CommandError> {
    let mut program = Cli::command();
    // Gives each command its full name and its usage.
    program.build();
    let mut page = Vec::new();
    render(&program, &mut page).context("could not make the page")?;
    print::own_file_to_stdout(String::from_utf8_lossy(&page).trim_end());
    Ok(ExitCode::SUCCESS)
}

fn render(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    Man::new(command.clone()).render(page)?;
    command.get_subcommands().filter(|command| command.get_name() != "help").try_for_each(|command| render(command, page))
}
