//! `man`: the manual page, made from what can be typed.

use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::command_error::CommandError;
use crate::print;

pub(super) fn man() -> Result<ExitCode, CommandError> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).context("could not make the page")?;
    print::own_file_to_stdout(String::from_utf8_lossy(&page).trim_end());
    Ok(ExitCode::SUCCESS)
}
