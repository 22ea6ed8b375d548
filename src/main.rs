//! The process: arguments, settings, logs, exit code. The commands are in `commands`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use planhat_sync::cli::{Cli, Command, Once};
use planhat_sync::command_error::CommandError;
use planhat_sync::{commands, config, daemon, print, telemetry};
use tracing::{Instrument, error_span};

/// The time limit for tasks that still hang when everything is done, for example a DNS lookup.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // One thread: a run waits for Planhat and PostgreSQL most of the time, and each further thread keeps memory to itself.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return CommandError::from(anyhow::Error::new(error).context("could not start")).show(),
    };
    let code = match runtime.block_on(run(Cli::parse())) {
        Ok(code) => code,
        Err(failure) => failure.show(),
    };
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    print::final_exit_code(code)
}

async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let environment = config::readable(std::env::vars_os())?;
    let rust_log = environment.get("RUST_LOG").filter(|filter| !filter.is_empty()).cloned();

    let load = || config::load(cli.config.as_deref(), environment.clone());
    let mut installation = load()?;
    if matches!(cli.command, Command::Once(Once::Demo)) {
        // The demo prints to stdout; only warnings may interrupt it.
        installation.shared.log.level = "warn".to_owned();
    }
    telemetry::start(&installation.shared.log, rust_log.as_deref()).map_err(anyhow::Error::new)?;
    match cli.command {
        Command::Daemon => {
            // What it reads anew has the same workspaces, if only some are named.
            let reload = || load()?.select(&cli.workspaces);
            let installation = installation.select(&cli.workspaces)?;
            if !installation.is_single {
                return daemon::daemon(installation, reload).await;
            }
            // At the highest level, as all spans: where a line is logged at all, it says where it comes from.
            let span = error_span!("workspace", workspace = %installation.shared.workspace_name);
            daemon::daemon(installation, reload).instrument(span).await
        }
        Command::Once(command) => commands::execute(command, installation, &cli.workspaces).await,
    }
}
