//! The daemon: keeps running, syncs workspaces when they are due, and shows its state.
//!
//! ```text
//! calendar in the database -> run_loop (claims what is due, slots) -> claimed_run -> run -> calendar
//! settings -> fleet (the workspaces, and what is done for each beside its runs)
//! ```
//!
//! Any number of daemons share the calendar and the work. It ends with SIGTERM or SIGINT, and with errors at startup that it cannot fix
//! (the token of another workspace, no database). After startup nothing else ends it: when a run fails, also by a token that is refused,
//! it is tried again.

mod back_off;
mod claimed_run;
mod fleet;
mod health_state;
mod housekeeping;
mod http;
mod http_connections;
mod prometheus;
mod run_loop;
mod runtime_config;
mod slots;
mod staleness;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use planhat_model::error::Chain;
use planhat_store::Store;
use sd_notify::NotifyState;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::command_error::CommandError;
use crate::config::{Installation, SettingsError};
use crate::events::Notifier;
use crate::run;
use crate::signals::{self, Stop};
use crate::workspace::Workspace;
use fleet::Fleet;
use health_state::HealthState;
use housekeeping::notify_systemd;
use http::{HttpServer, Serving};
use run_loop::DaemonLoop;
use runtime_config::RuntimeConfig;

/// What its runs are called in `planhat_sync.runs`.
const DAEMON: &str = "daemon";
/// The time limit for verifying the workspace at startup: a service manager does not wait long.
const START_WITHIN: Duration = Duration::from_secs(20);
/// The connections of a daemon of several workspaces: one for the calendar and the leases, one for what it shows.
const CONNECTIONS: u32 = 2;

/// Stays up until it is stopped. `reload` reads the settings again, for a signal that asks for that, and when their files have changed.
pub async fn daemon(
    mut settings: Installation,
    reload: impl Fn() -> Result<Installation, SettingsError>,
) -> Result<ExitCode, CommandError> {
    let stop = signals::listen()?;
    let shared = Workspace::new(settings.shared.clone());
    if settings.is_single {
        shared.log_destination()
    } else {
        shared.log_destination_of_all()
    }
    // Mistakes in the settings show before the database is touched.
    let fleet = Fleet::new(&mut settings, &stop.token)?;
    let only = fleet.only_member().map(|member| Arc::clone(&member.config));
    notify_systemd(&[NotifyState::Status("connecting to the database")]);
    let opening = async {
        match &only {
            Some(only) => only.workspace.open_store().await,
            None => shared.open_store_with(CONNECTIONS.min(shared.settings.database.max_connections)).await,
        }
    };
    let control = tokio::select! {
        control = opening => control?,
        () = stop.token.cancelled() => return Ok(ExitCode::SUCCESS),
    };
    control.stop_on(stop.token.clone());
    let control = Arc::new(control);
    // Housekeeping has tasks of its own, on this thread.
    let result = LocalSet::new().run_until(run_until_stopped(&control, (settings, fleet), &stop, reload)).await;
    // A refused start is announced once, because the announced state is stored; without a database it would be announced at each attempt.
    if let (Err(failure), Some(only)) = (&result, only) {
        let notifier = only.notifier.clone().for_one_run();
        tokio::select! {
            () = stop.token.cancelled() => {}
            () = announce_refused_start(&notifier, &control, failure) => {}
        }
    }
    if let Some(control) = Arc::into_inner(control) {
        control.close().await;
    }
    match result {
        Err(failure) if stop.token.is_cancelled() => {
            warn!(error = failure.on_one_line(), "stopped during startup");
            Ok(ExitCode::SUCCESS)
        }
        result => result,
    }
}

async fn announce_refused_start(notifier: &Notifier, control: &Store, failure: &CommandError) {
    if let Some(why) = failure.as_start_failure() {
        notifier.run_could_not_begin(Some(control), DAEMON, &why).await;
    }
}

/// Runs the daemon from the first watchdog notification to the last.
async fn run_until_stopped(
    control: &Arc<Store>,
    (settings, fleet): (Installation, Fleet),
    stop: &Stop,
    reload: impl Fn() -> Result<Installation, SettingsError>,
) -> Result<ExitCode, CommandError> {
    let health = Arc::new(HealthState::new(fleet.daemon.stuck_after));
    let _watchdog = housekeeping::watchdog(&health);
    health.watch(fleet.watched());
    if let Some(only) = fleet.only_member() {
        control.migrate().await?;
        tokio::select! {
            refused = refuse_another_workspace(control, &only.config) => refused?,
            () = stop.token.cancelled() => return Ok(ExitCode::SUCCESS),
        }
    } else {
        control.migrate_own_tables().await?;
        info!("looking after {} workspaces with {} slots", fleet.schemas().len(), fleet.slots());
    }
    serve_and_run((settings, fleet), control, health, stop, reload).await?;
    info!("stopped; everything committed is kept");
    Ok(ExitCode::SUCCESS)
}

/// Serves, waits and runs until it is stopped.
async fn serve_and_run(
    (settings, fleet): (Installation, Fleet),
    control: &Arc<Store>,
    health: Arc<HealthState>,
    stop: &Stop,
    reload: impl Fn() -> Result<Installation, SettingsError>,
) -> Result<(), CommandError> {
    let address = fleet.daemon.listen;
    let mut daemon = DaemonLoop::new(control, (settings, fleet), Arc::clone(&health), stop)?;
    let http = CancellationToken::new();
    let served = match address {
        Some(address) => Some(serve(control, health, address, http.clone()).await?),
        None => None,
    };
    notify_systemd(&[NotifyState::Ready]);
    daemon.run_loop(reload).await;

    notify_systemd(&[NotifyState::Stopping]);
    http.cancel();
    if let Some((serving, _)) = served {
        serving.end().await;
    }
    Ok(())
}

/// Begins to collect metrics, and to serve them with what else the daemon tells.
async fn serve(
    store: &Arc<Store>,
    health: Arc<HealthState>,
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<(Serving, AbortOnDropHandle<()>), CommandError> {
    let server = HttpServer::new(Arc::clone(store), health).context("could not collect metrics")?;
    let upkeep = housekeeping::keep_metrics_small(&server);
    let listening = server.serve(address, stop).await;
    let (address, serving) = listening.with_context(|| format!("could not listen on {address} (daemon.listen)"))?;
    info!(%address, "serving /healthz, /readyz, /metrics, /api/status and /api/runs");
    Ok((serving, upkeep))
}

/// A schema that belongs to another workspace is a mistake in the settings, so the daemon refuses to start. If that cannot be
/// verified at startup, each run checks it again.
async fn refuse_another_workspace(store: &Store, config: &RuntimeConfig) -> Result<(), CommandError> {
    let client = config.workspace.client()?;
    match timeout(START_WITHIN, run::recognize(&client, store)).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused @ run::RunError::OtherWorkspace { .. })) => return Err(refused.into()),
        Ok(Err(error)) => {
            warn!(error = %Chain(&error), "could not verify yet which workspace schema {} belongs to", store.schema)
        }
        Err(_) => {
            warn!("could not verify within {} s which workspace schema {} belongs to", START_WITHIN.as_secs(), store.schema)
        }
    }
    Ok(())
}
