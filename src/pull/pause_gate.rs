//! Whose turn it is: a backfill of hours makes way for the daily run, and then goes on.
//!
//! Every scan holds its turn while it reads. When another run wants the workspace, the scans save their
//! positions and put their turns down; they plan anew when they get them back.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

#[derive(Debug)]
pub struct PauseGate {
    pause_requested: watch::Sender<bool>,
    scans: RwLock<()>,
}

impl Default for PauseGate {
    fn default() -> PauseGate {
        PauseGate { pause_requested: watch::Sender::new(false), scans: RwLock::new(()) }
    }
}

impl PauseGate {
    /// A turn to scan; waits while another run has its turn.
    pub(super) async fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.scans.read().await
    }

    /// Comes back when another run wants its turn.
    pub(super) async fn pause_requested(&self) {
        // The sender is ours, so the channel does not close.
        let _ = self.pause_requested.subscribe().wait_for(|pause_requested| *pause_requested).await;
    }

    /// Asks for all turns and waits until they are put down. They are given out again when what is
    /// returned is dropped.
    pub async fn pause_scans(&self) -> PauseGuard<'_> {
        self.pause_requested.send_replace(true);
        let scans = self.scans.write().await;
        self.pause_requested.send_replace(false);
        PauseGuard { _scans: scans }
    }
}

/// Nobody scans while this is held.
#[derive(Debug)]
pub struct PauseGuard<'a> {
    _scans: RwLockWriteGuard<'a, ()>,
}
