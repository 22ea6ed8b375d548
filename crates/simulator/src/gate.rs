//! Holds answers back: what a test wants to happen between a request and its answer then happens there, however busy the machine is.

use std::sync::Arc;

use tokio::sync::watch;

/// Open at first. While it is closed, requests are taken and recorded, and none is answered.
#[derive(Debug, Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(super) fn new() -> Gate {
        Gate(Arc::new(watch::Sender::new(true)))
    }

    pub fn close(&self) {
        self.0.send_replace(false);
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns once it is open.
    pub(super) async fn passes(&self) {
        // The sender is in our hands, so the channel is not closed.
        let _ = self.0.subscribe().wait_for(|is_open| *is_open).await;
    }
}
