//! Whose turn it is: a backfill of hours makes way for the daily run, and then goes on.
//!
//! Every scan holds its turn while it reads. When another run wants the workspace, the scans save their
//! positions and put their turns down; they plan anew when they get them back.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

#[derive(Debug)]
pub struct Turns {
    wanted: watch::Sender<bool>,
    floor: RwLock<()>,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { wanted: watch::Sender::new(false), floor: RwLock::new(()) }
    }
}

impl Turns {
    /// A turn to scan; waits while another run has its turn.
    pub(super) async fn take(&self) -> RwLockReadGuard<'_, ()> {
        self.floor.read().await
    }

    /// Comes back when another run wants its turn.
    pub(super) async fn wanted(&self) {
        // The sender is ours, so the channel does not close.
        let _ = self.wanted.subscribe().wait_for(|wanted| *wanted).await;
    }

    /// Asks for all turns and waits until they are put down. They are given out again when what is
    /// returned is dropped.
    pub async fn make_way(&self) -> Way<'_> {
        self.wanted.send_replace(true);
        let floor = self.floor.write().await;
        self.wanted.send_replace(false);
        Way { _floor: floor }
    }
}

/// Nobody scans while this is held.
#[derive(Debug)]
pub struct Way<'a> {
    _floor: RwLockWriteGuard<'a, ()>,
}
