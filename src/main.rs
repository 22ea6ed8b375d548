//! The process: arguments, settings, logs, exit code. What is done stands in `commands`.

use std::process::ExitCode;

use clap::Parser;
use planhat_sync::cli::{Cli, Command};
use planhat_sync::commands::{self, Failure};
use planhat_sync::{config, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(failure) => failure.show(),
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let environment = config::readable(std::env::vars_os())?;
    let rust_log = environment.get("RUST_LOG").filter(|filter| !filter.is_empty()).cloned();
    let to_journal = environment.contains_key("JOURNAL_STREAM");
    let no_color = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());

    let load = || config::load(cli.config.as_deref(), environment.clone());
    let mut settings = load()?;
    if matches!(cli.command, Command::Demo) {
        // The demo tells its story on stdout; only what goes wrong may interrupt it.
        settings.log.level = "warn".to_owned();
    }
    telemetry::start(&settings.log, rust_log.as_deref(), no_color, to_journal).map_err(anyhow::Error::new)?;
    commands::execute(cli.command, &settings, load).await
}
