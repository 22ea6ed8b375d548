//! Delivers what there is to tell: message after message in their order, each until it arrives or is given up.
//!
//! Whoever delivers claims the first message that waits, commits, sends, and notes what came of it: no connection and no lock
//! is held while the receiver takes its time. When the next one is due is known in memory, so that nothing is asked of the
//! database while nothing waits there.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use planhat_store::{self as store, ClaimedMessage, Message, Store};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};

use super::attempt::{DeliveryError, NextAttempt};
use super::notifier::{DATABASE_TIMEOUT, Notifier, SEND_AT_ONCE_LIMIT};
use super::notifier_state::{Due, FirstUnsaved};
use super::webhook::Webhook;

/// The time limit for one round of deliveries.
const DELIVERY_ROUND_LIMIT: Duration = Duration::from_secs(60);
/// How long a claim of a message lasts: longer than an attempt takes.
const CLAIM_DURATION: Duration = Duration::from_secs(60);
/// Until a database that was away is looked at again.
const RETRY_DATABASE_AFTER: Duration = Duration::from_secs(60);

/// How long is waited after each attempt that failed. Behind the last one a message is given up.
#[derive(Debug, Clone)]
pub struct Delays(Vec<Duration>);

impl Default for Delays {
    /// A moment first, for a receiver that is restarted; in all about a day.
    fn default() -> Delays {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3600;
        let first = [1, 3, 30, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR];
        Delays(first.into_iter().chain([3 * HOUR; 7]).map(Duration::from_secs).collect())
    }
}

impl Delays {
    pub fn new(delays: impl IntoIterator<Item = Duration>) -> Delays {
        Delays(delays.into_iter().collect())
    }

    /// How long is waited after so many attempts, a little longer at random so that not all come at once.
    pub(super) fn after(&self, attempts: i32) -> Option<Duration> {
        let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
        self.0.get(index).map(|delay| delay.mul_f64(1.0 + fastrand::f64() / 5.0))
    }
}

impl Notifier {
    /// Comes back when there may be something to deliver that [`Notifier::deliver_due`] has not seen.
    pub async fn queued(&self) {
        self.memory.queued().await;
    }

    /// Sends the messages that are due, in order, and returns when the next one is due. Does not query the database while no
    /// message waits there. It should be cancelled only when the process ends: a message that is not stored would be lost.
    pub async fn deliver_due(&self, store: &Store) -> Option<DateTime<Utc>> {
        self.deliver(Some(store), Instant::now() + DELIVERY_ROUND_LIMIT).await
    }

    /// The same with what time there is for a process that ends. Returns what is left to whom.
    pub(super) async fn deliver_at_once(&self, store: Option<&Store>) -> Option<&'static str> {
        let until = Instant::now() + SEND_AT_ONCE_LIMIT;
        // One that has just been away is not waited for again.
        let store = store.filter(|_| !self.memory.is_unsaved());
        while let Some(next) = self.deliver(store, until).await {
            let wait = (next - Utc::now()).to_std().unwrap_or_default();
            if Instant::now() + wait >= until {
                return Some(if self.memory.has_unsaved_messages() {
                    "it is lost, because it could not be stored"
                } else {
                    "the next run or the daemon sends it again"
                });
            }
            sleep(wait).await;
        }
        None
    }

    async fn deliver(&self, store: Option<&Store>, until: Instant) -> Option<DateTime<Utc>> {
        let webhook = self.webhook.as_ref()?;
        // Messages in memory are sent first, because the stored ones are newer.
        if let Some(next) = self.deliver_unstored(webhook, until).await {
            return Some(next);
        }
        match store {
            Some(store) => self.deliver_stored(webhook, store, until).await,
            None => None,
        }
    }

    async fn deliver_unstored(&self, webhook: &Webhook, until: Instant) -> Option<DateTime<Utc>> {
        loop {
            let mut first = match self.memory.take_first_unsaved(until) {
                FirstUnsaved::None => return None,
                FirstUnsaved::DueAt(at) => return Some(at),
                FirstUnsaved::Due(first) => first,
            };
            let Some(unsaved) = first.unsaved.front_mut() else { continue };
            unsaved.message.attempts += 1;
            let Message { event_id, body, attempts, .. } = &unsaved.message;
            let left = until.saturating_duration_since(Instant::now());
            let posted = webhook.post(&self.http, event_id, body, left).await;
            match posted.err().map(|undelivered| self.delay_after(*attempts, &undelivered)) {
                Some(Some((delay, _))) => unsaved.next_attempt_at = Utc::now() + delay,
                // It has arrived, or is given up.
                None | Some(None) => first.unsaved.clear(),
            }
        }
    }

    async fn deliver_stored(&self, webhook: &Webhook, store: &Store, until: Instant) -> Option<DateTime<Utc>> {
        loop {
            let due = self.memory.due();
            match due {
                Due::Nothing => return None,
                Due::At(next) if next > Utc::now() || Instant::now() >= until => return Some(next),
                // After each message: there may be no time for another one.
                Due::Unknown if Instant::now() >= until => return Some(Utc::now()),
                Due::Unknown | Due::At(_) => {}
            }
            let claimed = match timeout(DATABASE_TIMEOUT, self.claim(store)).await {
                Ok(Ok((Some(claimed), _))) => claimed,
                Ok(Ok((None, next))) => {
                    // A little later by our clock, so that it is due by the database's too.
                    let next = next.map(|next| Utc::now() + next + Duration::from_millis(50));
                    self.memory.set_due_unless_changed(due, next.map_or(Due::Nothing, Due::At));
                    continue;
                }
                failed => {
                    let error = failed.map(|failed| failed.err().map(|error| Chain(&error).to_string()));
                    debug!(?error, "could not read which message is due");
                    return self.check_again_later(due);
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            let posted = webhook.post(&self.http, &claimed.event_id, &claimed.body, left).await;
            if !self.note(store, &claimed, posted.map(drop)).await {
                return self.check_again_later(due);
            }
            // What was queued meanwhile has waited for this one.
            self.memory.forget_due();
        }
    }

    fn check_again_later(&self, due: Due) -> Option<DateTime<Utc>> {
        let at = Utc::now() + RETRY_DATABASE_AFTER;
        self.memory.set_due_unless_changed(due, Due::At(at));
        Some(at)
    }

    /// The first message if it can be sent now, else how long until then.
    async fn claim(&self, store: &Store) -> Result<(Option<ClaimedMessage>, Option<Duration>), store::StoreError> {
        store
            .transaction(async |db| {
                let claimed = store::claim_notification(&mut *db, &self.workspace.schema, CLAIM_DURATION).await?;
                let next = store::next_notification(db, &self.workspace.schema).await?;
                Ok((claimed, next))
            })
            .await
    }

    /// Records the result of an attempt. If that fails, the claim expires and the message is sent again.
    async fn note(&self, store: &Store, claimed: &ClaimedMessage, posted: Result<(), DeliveryError>) -> bool {
        let next_attempt =
            posted.as_ref().err().map(|undelivered| (undelivered, self.delay_after(claimed.attempts, undelivered)));
        let noted = store.transaction(async |db| match next_attempt {
            None => store::notification_delivered(db, claimed.id).await,
            Some((undelivered, delay)) => {
                let (delay, is_asked_for) = delay.map_or((None, false), |(delay, asked)| (Some(delay), asked));
                store::notification_failed(db, claimed, &undelivered.why, delay, is_asked_for).await
            }
        });
        match timeout(DATABASE_TIMEOUT, noted).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => warn!(error = %Chain(&error), "could not record the result of a delivery"),
            Err(_) => warn!("could not record the result of a delivery within {} s", DATABASE_TIMEOUT.as_secs()),
        }
        false
    }

    /// How long until the next attempt, and whether the receiver has asked for that; none is made behind the last one.
    fn delay_after(&self, attempts: i32, undelivered: &DeliveryError) -> Option<(Duration, bool)> {
        let ours = self.delays.after(attempts).filter(|_| undelivered.next_attempt != NextAttempt::Never);
        let Some(ours) = ours else {
            let why = &undelivered.why;
            error!("a message to notify.webhook_url was given up after {attempts} attempts: {why}");
            return None;
        };
        let asked = undelivered.retry_after.filter(|asked| *asked > ours);
        let delay = asked.unwrap_or(ours);
        warn!(
            attempts,
            "could not deliver a message to notify.webhook_url, next attempt in {} s: {}",
            delay.as_secs(),
            undelivered.why
        );
        Some((delay, asked.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_tried_for_about_a_day() {
        let delays = Delays::default();
        let all: Vec<Duration> = (1..).map_while(|attempts| delays.after(attempts)).collect();
        let (least, most) = (delays.0.iter().sum::<Duration>(), all.iter().sum::<Duration>());
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert!((hours(20)..hours(24)).contains(&least), "{least:?}");
        assert!(most >= least && most <= least.mul_f64(1.2), "{most:?}");
        assert_eq!(delays.after(0), None);
        assert!(all.is_sorted_by(|a, b| *a <= b.mul_f64(1.2)), "{all:?}");
    }
}
