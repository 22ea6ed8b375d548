//! The daemon: keeps running, starts a sync when one is due, and shows its state.
//!
//! It ends with SIGTERM or SIGINT, and with errors at startup that it cannot fix (the token of another workspace, no database). After
//! startup nothing else ends it: when a run fails, also by a token that is refused, it is tried again.

mod daemon_lease;
mod dispatch;
mod health_state;
mod housekeeping;
mod http;
mod http_connections;
mod prometheus;
mod run_loop;
mod runtime_config;
mod staleness;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use planhat_api::Client;
use planhat_model::error::Chain;
use planhat_model::error::exit_code as exit;
use planhat_store::Store;
use sd_notify::NotifyState;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::command_error::CommandError;
use crate::config::{Settings, SettingsError};
use crate::run;
use crate::signals::{self, Stop};
use crate::workspace::Workspace;
use daemon_lease::{DaemonLeaseKeeper, acquire_lease};
use health_state::HealthState;
use housekeeping::notify_systemd;
use http::{HttpServer, Serving};
use run_loop::DaemonLoop;
use runtime_config::RuntimeConfig;

/// What its runs are called in `planhat_sync.runs`.
const DAEMON: &str = "daemon";
/// The time limit for verifying the workspace at startup: a service manager does not wait long.
const START_WITHIN: Duration = Duration::from_secs(20);

/// Stays up until it is stopped. `reload` reads the settings again, for a signal that asks for that.
pub async fn daemon(settings: Settings, reload: impl Fn() -> Result<Settings, SettingsError>) -> Result<ExitCode, CommandError> {
    Workspace::new(settings.clone()).log_destination();
    // Mistakes in the settings show before the database is touched.
    let runtime = RuntimeConfig::of(settings)?;
    let notifier = runtime.notifier.clone().for_one_run();
    notify_systemd(&[NotifyState::Status("connecting to the database")]);
    let store = Arc::new(runtime.workspace.open_store().await?);
    let stop = signals::listen_for(&store)?;
    // Housekeeping has tasks of its own, on this thread.
    let result = LocalSet::new().run_until(run_until_stopped(&store, runtime, &stop, reload)).await;
    // A refused start is announced once, because the announced state is stored; without a database it would be announced at each attempt.
    if let Err(failure) = &result
        && let Some(why) = failure.as_start_failure()
    {
        tokio::select! {
            () = stop.token.cancelled() => {}
            () = notifier.run_could_not_begin(Some(&store), DAEMON, &why) => {}
        }
    }
    if let Some(store) = Arc::into_inner(store) {
        store.close().await;
    }
    match result {
        Err(failure) if stop.token.is_cancelled() => {
            warn!(error = failure.on_one_line(), "stopped during startup");
            Ok(ExitCode::SUCCESS)
        }
        result => result,
    }
}

/// Runs the daemon from the first watchdog notification to the last.
async fn run_until_stopped(
    store: &Arc<Store>,
    runtime: RuntimeConfig,
    stop: &Stop,
    reload: impl Fn() -> Result<Settings, SettingsError>,
) -> Result<ExitCode, CommandError> {
    let health = Arc::new(HealthState::new(runtime.settings().daemon.stuck_after));
    let _watchdog = housekeeping::watchdog(&health);
    runtime.publish_objects(&health);
    store.migrate().await?;
    tokio::select! {
        refused = refuse_another_workspace(store, &runtime.client) => refused?,
        () = stop.token.cancelled() => return Ok(ExitCode::SUCCESS),
    }
    let lease = acquire_lease(store, stop).await?;
    let result = serve_and_run(runtime, &lease, health, stop, reload).await;
    // Whatever it has come to, the next one need not wait.
    lease.release().await;
    result?;
    if lease.is_lost() {
        return Ok(ExitCode::from(exit::BUSY));
    }
    info!("stopped; everything committed is kept");
    Ok(ExitCode::SUCCESS)
}

/// Serves, waits and runs until it is stopped.
async fn serve_and_run(
    runtime: RuntimeConfig,
    lease: &DaemonLeaseKeeper,
    health: Arc<HealthState>,
    stop: &Stop,
    reload: impl Fn() -> Result<Settings, SettingsError>,
) -> Result<(), CommandError> {
    let address = runtime.settings().daemon.listen;
    let mut daemon = DaemonLoop::new(runtime, lease, Arc::clone(&health), stop)?;
    let http = CancellationToken::new();
    let served = match address {
        Some(address) => Some(serve(lease.store(), health, address, http.clone()).await?),
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
async fn refuse_another_workspace(store: &Store, client: &Client) -> Result<(), CommandError> {
    match timeout(START_WITHIN, run::recognize(client, store)).await {
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
