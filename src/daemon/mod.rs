//! `daemon`: stays up, runs a sync when one is due, and tells how it is.
//!
//! It ends with SIGTERM or SIGINT, and with what cannot be helped at the start (a wrong token, no database).
//! Once it is up nothing ends it: a run that fails is tried again, with the objects that failed.

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
use daemon_lease::{DaemonLeaseKeeper, acquire_lease};
use health_state::HealthState;
use housekeeping::notify_systemd;
use http::{HttpServer, Serving};
use run_loop::DaemonLoop;
use runtime_config::RuntimeConfig;

/// What its runs are called in `planhat_sync.runs`.
const DAEMON: &str = "daemon";
/// A service manager does not wait long for a service to be up.
const START_WITHIN: Duration = Duration::from_secs(20);

/// Stays up until it is stopped. `reload` reads the settings again, for a signal that asks for that.
pub async fn daemon(settings: Settings, reload: impl Fn() -> Result<Settings, SettingsError>) -> Result<ExitCode, CommandError> {
    // Mistakes in the settings show before the database is touched.
    let runtime = RuntimeConfig::of(settings)?;
    let notifier = runtime.notifier.clone().for_one_run();
    notify_systemd(&[NotifyState::Status("connecting to the database")]);
    info!("connecting to the database");
    let store = Arc::new(runtime.workspace.open_store().await?);
    let stop = signals::listen_for(&store)?;
    // Housekeeping has tasks of its own, on this thread.
    let result = LocalSet::new().run_until(run_until_stopped(&store, runtime, &stop, reload)).await;
    // A start that is refused is told once, since what was told is stored; one without a database would be told at each attempt.
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
            warn!(error = failure.on_one_line(), "stopped before it was up");
            Ok(ExitCode::SUCCESS)
        }
        result => result,
    }
}

/// From the first sign of life to the last.
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

/// A schema that belongs to another workspace is a mistake in the settings, which shows before the service counts as up. Where
/// that cannot be told, each run asks again.
async fn refuse_another_workspace(store: &Store, client: &Client) -> Result<(), CommandError> {
    match timeout(START_WITHIN, run::recognize(client, store)).await {
        Ok(Ok(_)) => {}
        Ok(Err(refused @ run::RunError::OtherWorkspace { .. })) => return Err(refused.into()),
        Ok(Err(error)) => warn!(error = %Chain(&error), "it could not be told yet whose schema {} is", store.schema),
        Err(_) => warn!("it could not be told within {} s whose schema {} is", START_WITHIN.as_secs(), store.schema),
    }
    Ok(())
}
