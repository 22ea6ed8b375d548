//! The pause of a token: until when no call goes out, because Planhat has asked for that.
//!
//! Planhat counts the calls of a token, not those of one object. So a 429 with `Retry-After` is an answer to all objects
//! that are read with the token, and all of them wait. A call that is on its way already cannot be called back.
//!
//! A 503 with `Retry-After` is no such answer: it says that what was requested is not available, and the rest may be. Only
//! the call that got it waits.
//!
//! A pause has the same bound as any wait before a retry, two minutes: Planhat's quota is counted by the minute, and a
//! header that asks for a day by mistake should not stop a daemon for a day.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::retry::MAX_DELAY;

/// A pause that ends this much later than the one that was known is told to the user again.
const NOTABLE: Duration = Duration::from_secs(1);

/// When the pause ends; all clones of a client share one.
#[derive(Debug)]
pub(crate) struct TokenPause {
    until: watch::Sender<Option<Instant>>,
}

impl TokenPause {
    pub(crate) fn new() -> TokenPause {
        TokenPause { until: watch::Sender::new(None) }
    }

    /// No call goes out for this long, or for longer if that was asked for before. Whether the user should know.
    pub(crate) fn extend(&self, delay: Duration) -> bool {
        let now = Instant::now();
        let until = now + delay.min(MAX_DELAY);
        let mut is_notable = false;
        self.until.send_if_modified(|known| {
            let before = known.filter(|known| *known > now).unwrap_or(now);
            is_notable = until > before + NOTABLE || before == now && until > now;
            let is_later = until > before;
            if is_later {
                *known = Some(until);
            }
            is_later
        });
        is_notable
    }

    /// How much longer no call goes out; none if there is no pause.
    pub(crate) fn left(&self) -> Option<Duration> {
        let until = *self.until.borrow();
        until.and_then(|until| until.checked_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    /// Returns when there is no pause, or no longer.
    pub(crate) async fn over(&self) {
        while let Some(left) = self.left() {
            tokio::time::sleep(left).await;
        }
    }

    /// Changes whenever a pause begins or becomes longer.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn about(left: Option<Duration>) -> u64 {
        left.map_or(0, |left| left.as_secs_f64().ceil() as u64)
    }

    #[test]
    fn a_pause_becomes_longer_and_never_shorter() {
        let pause = TokenPause::new();
        assert_eq!(pause.left(), None);
        for (asked, left) in [(60, 60), (30, 60), (90, 90), (0, 90)] {
            pause.extend(asked * SECOND);
            assert_eq!(about(pause.left()), left, "{asked}");
        }
    }

    #[test]
    fn no_pause_is_longer_than_two_minutes() {
        for asked in [86_400 * SECOND, Duration::MAX] {
            let pause = TokenPause::new();
            pause.extend(asked);
            assert_eq!(about(pause.left()), 120);
        }
    }

    #[test]
    fn a_pause_is_told_once_however_many_calls_were_on_their_way() {
        let pause = TokenPause::new();
        let told = [60, 60, 30, 90].map(|asked| pause.extend(asked * SECOND));
        assert_eq!(told, [true, false, false, true]);
        assert!(!TokenPause::new().extend(Duration::ZERO));
    }

    #[tokio::test]
    async fn who_looks_on_sees_each_pause_that_becomes_longer() {
        let pause = TokenPause::new();
        let mut pauses = pause.subscribe();
        for (asked, is_news) in [(60, true), (30, false), (90, true), (0, false)] {
            pause.extend(asked * SECOND);
            assert_eq!(pauses.has_changed().unwrap(), is_news, "{asked}");
            pauses.mark_unchanged();
        }
    }

    #[tokio::test]
    async fn a_pause_that_becomes_longer_while_it_is_waited_for_is_waited_for_to_its_end() {
        let pause = TokenPause::new();
        let begun = Instant::now();
        pause.extend(Duration::from_millis(20));
        let over = async {
            pause.over().await;
            begun.elapsed()
        };
        let longer = async { pause.extend(Duration::from_millis(200)) };
        let (waited, _) = tokio::join!(over, longer);
        assert!(waited >= Duration::from_millis(200), "{waited:?}");
    }
}
