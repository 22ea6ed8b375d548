//! SIGTERM and SIGINT: the first signal stops after the current pages, the second one at once.
//!
//! They are handled on a thread of their own: the other one may be writing to a reader that has fallen asleep.

use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::Context;
use planhat_model::error::exit_code::{self as exit, ExitCode};
use planhat_store::Store;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, warn};

/// A stop requested by a signal, and its exit code.
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

/// From here on a signal stops after the pages in hand, and a database that hangs then is not waited for.
pub fn listen_for(store: &Store) -> Result<Stop, anyhow::Error> {
    let stop = listen()?;
    store.stop_on(stop.token.clone());
    Ok(stop)
}

/// The stop of this process. There is one, whatever is done in it one after the other.
static LISTENING: OnceLock<Stop> = OnceLock::new();

/// The exit code of the signal that has asked this process to stop, if one has.
pub fn requested() -> Option<ExitCode> {
    LISTENING.get().filter(|stop| stop.token.is_cancelled()).map(Stop::exit_code)
}

/// Handles signals from now on. Before that, a signal ends the process as usual.
pub fn listen() -> Result<Stop, anyhow::Error> {
    if let Some(stop) = LISTENING.get() {
        return Ok(stop.clone());
    }
    let failed = || "could not listen for signals";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().with_context(failed)?;
    let of_kind = |kind| {
        let _of_that_thread = runtime.enter();
        signal(kind).with_context(failed)
    };
    let (mut interrupt, mut terminate) = (of_kind(SignalKind::interrupt())?, of_kind(SignalKind::terminate())?);
    let stop = LISTENING.get_or_init(Stop::default).clone();
    let heard = stop.clone();
    let listening = async move {
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
            warn!("stopping; a second signal stops at once");
            heard.token.cancel();
        }
    };
    let listening = listening.in_current_span();
    thread::Builder::new().name("signals".to_owned()).spawn(move || runtime.block_on(listening)).with_context(failed)?;
    Ok(stop)
}
