//! The fence of the calls: a run whose lease has not been renewed lately makes none.
//!
//! A commit checks in the database that its run still holds the lease. A call to Planhat cannot check that there, and a process that
//! was frozen for minutes would call beside the run that has taken over, so that both together exceed the quota of their token.
//! So each renewal of the lease opens the fence for a time, which is shorter than the time after which a lease may be taken over.
//! When that has passed, calls wait for the next renewal. If the lease is lost, that never comes, and the run is stopped.
//!
//! A client that no run has fenced, as that of `check`, may always call.

use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// Until when calls may be made. The clock of the system is looked at too: the other one stands still while a machine is suspended.
#[derive(Debug, Clone, Copy)]
struct Until(Instant, SystemTime);

/// When calls may be made; all clones of a client share one.
#[derive(Debug)]
pub(crate) struct CallFence {
    until: watch::Sender<Option<Until>>,
}

impl CallFence {
    /// One that is open, until it is opened for a time.
    pub(crate) fn new() -> CallFence {
        CallFence { until: watch::Sender::new(None) }
    }

    /// Calls may be made for this long from `since` on, and no longer unless this is called again.
    pub(crate) fn open_for(&self, time: Duration, since: Instant) {
        let age = since.elapsed();
        let until = Until(since + time, SystemTime::now() + time.saturating_sub(age));
        self.until.send_replace(Some(until));
    }

    /// Calls may always be made again.
    pub(crate) fn open(&self) {
        self.until.send_replace(None);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.until.borrow().is_none_or(|Until(until, at)| Instant::now() < until && SystemTime::now() < at)
    }

    /// Returns when calls may be made.
    pub(crate) async fn opened(&self) {
        let mut until = self.until.subscribe();
        while !self.is_open() {
            // The sender is in `self`, so there is one.
            if until.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn calls_are_allowed_from_a_renewal_on_for_a_time_and_wait_for_the_next_renewal_then() {
        let fence = CallFence::new();
        assert!(fence.is_open());
        fence.open_for(MINUTE, Instant::now());
        assert!(fence.is_open());
        fence.open_for(MINUTE, Instant::now().checked_sub(MINUTE).unwrap());
        assert!(!fence.is_open());
        assert!(fence.opened().now_or_never().is_none());
        fence.open_for(MINUTE, Instant::now());
        assert!(fence.opened().now_or_never().is_some());
    }
}
