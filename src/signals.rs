//! SIGTERM and SIGINT: the first one stops after the pages in hand, the second at once.

use std::sync::{Arc, OnceLock};

use planhat_model::error::exit_code::{self as exit, ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Says that a signal has asked us to stop, and which exit code stands for it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    pub token: CancellationToken,
    exit_code: Arc<OnceLock<ExitCode>>,
}

impl Stop {
    /// That of the signal.
    pub fn exit_code(&self) -> ExitCode {
        self.exit_code.get().copied().unwrap_or_default()
    }
}

/// Listens from now on. Before that, and where nobody listens, a signal ends the process as usual.
pub fn listen() -> std::io::Result<Stop> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = Stop::default();
    let heard = stop.clone();
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => exit::INTERRUPTED,
                _ = terminate.recv() => exit::TERMINATED,
            };
            if heard.token.is_cancelled() {
                std::process::exit(code.number().into());
            }
            // The first signal is the one that counts.
            let _ = heard.exit_code.set(code);
            warn!("stopping after the pages in hand; a second signal stops at once");
            heard.token.cancel();
        }
    });
    Ok(stop)
}
