//! The pause gate: lets another run preempt a backfill that takes hours.
//!
//! Each scan holds the gate while it reads. When another run requests the lease, the scans save their checkpoints and leave the
//! gate; they plan again when they may enter it again.

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
    /// Enters the gate to scan; waits while another run has preempted this one.
    pub(super) async fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.scans.read().await
    }

    /// Returns when a pause is requested.
    pub(super) async fn pause_requested(&self) {
        // The sender is ours, so the channel does not close.
        let _ = self.pause_requested.subscribe().wait_for(|pause_requested| *pause_requested).await;
    }

    /// Requests a pause and waits until all scans have left the gate. They may enter again when the returned guard is
    /// dropped.
    pub async fn pause_scans(&self) -> PauseGuard<'_> {
        self.pause_requested.send_replace(true);
        let scans = self.scans.write().await;
        self.pause_requested.send_replace(false);
        PauseGuard { _scans: scans }
    }
}

/// No scan runs while this guard is held.
#[derive(Debug)]
pub struct PauseGuard<'a> {
    _scans: RwLockWriteGuard<'a, ()>,
}
