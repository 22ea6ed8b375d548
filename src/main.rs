//! The process: arguments, settings, logs, exit code. What is done stands in `commands`.

use std::process::ExitCode;

use clap::Parser;
use planhat_sync::cli::{Cli, Command};
use planhat_sync::commands::{self, Failure};
use planhat_sync::{config, telemetry};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(anyhow::Error::new(error).context("could not start the runtime")).show(),
    };
    let code = runtime.block_on(run(cli)).unwrap_or_else(|failure| failure.show());
    // What hangs on a thread of its own (a look-up of a name, a server that does not stop) is not waited for.
    runtime.shutdown_background();
    code
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
