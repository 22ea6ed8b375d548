//! The process: arguments, settings, logs, signals, exit code. What is done stands in `commands`.

use std::collections::HashMap;
use std::process::ExitCode;

use clap::Parser;
use planhat_sync::cli::{Cli, Command};
use planhat_sync::commands::{self, Failure};
use planhat_sync::{config, signals, telemetry};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment: HashMap<String, String> =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
    let rust_log = environment.get("RUST_LOG").filter(|filter| !filter.is_empty()).cloned();
    let no_color = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());

    let mut settings = match config::load(cli.config.as_deref(), environment) {
        Ok(settings) => settings,
        Err(error) => return Failure::from(error).show(),
    };
    if matches!(cli.command, Command::Demo) {
        // The demo tells its story on stdout; only what goes wrong may interrupt it.
        settings.log.level = "warn".to_owned();
    }
    if let Err(error) = telemetry::start(&settings.log, rust_log.as_deref(), no_color) {
        return Failure::from(anyhow::Error::new(error)).show();
    }
    let stop = match signals::listen() {
        Ok(stop) => stop,
        Err(error) => return Failure::from(anyhow::Error::new(error).context("could not listen for signals")).show(),
    };
    match commands::execute(cli.command, settings, &stop).await {
        Ok(code) => code,
        Err(failure) => failure.show(),
    }
}
