//! Whom the program tells how a workspace is: what is said of a run and of the age of the data, and queued where it is news.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use planhat_model::error::Chain;
use planhat_store::{self as store, Message, RunStatus, Store};
use secrecy::ExposeSecret;
use tokio::time::timeout;
use tracing::warn;

use super::attempt::{self, DeliveryError};
use super::message::{self, Event, EventData, EventType, ObjectEvent, plain};
use super::notifier_state::{SharedNotifierState, UnsavedMessage};
use super::ping::{self, Ping, PingUrl};
use super::transition::{self, AnnouncedState, Announcement, Observation, RunObservation};
use super::webhook::Webhook;
use super::{Delays, NotifiedWorkspace, NotifyError, NotifyTargets, Stale, StartFailure};
use crate::run::Summary;

/// The time limit for a ping with its retries, and for the messages of a process that ends after its run.
pub(super) const SEND_AT_ONCE_LIMIT: Duration = Duration::from_secs(10);
/// For one transaction of the notifier. A database that is away is waited for by the run, not here.
pub(super) const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_MESSAGES: Duration = Duration::from_secs(30 * 86_400);

/// Sends messages and pings. Clones share their state.
#[derive(Debug, Clone)]
pub struct Notifier {
    pub(super) http: reqwest::Client,
    pub(super) webhook: Option<Webhook>,
    ping: Option<PingUrl>,
    pub(super) workspace: NotifiedWorkspace,
    pub(super) delays: Delays,
    /// Whether messages are sent before a call returns, because the process ends afterwards.
    at_once: bool,
    pub(super) memory: Arc<SharedNotifierState>,
}

impl Notifier {
    pub fn new(receivers: &NotifyTargets, workspace: NotifiedWorkspace, delays: Delays) -> Result<Notifier, NotifyError> {
        let ping = receivers.ping_url.as_ref().map(|url| PingUrl::parse(url.expose_secret())).transpose();
        Ok(Notifier {
            http: attempt::client().map_err(|source| NotifyError::Http { source })?,
            webhook: Webhook::of(receivers)?,
            ping: ping.map_err(|problem| NotifyError::Setting { key: "notify.ping_url", problem })?,
            workspace,
            delays,
            at_once: false,
            memory: Arc::default(),
        })
    }

    /// For a process that ends after its run: it sends at once what it can.
    pub fn for_one_run(self) -> Notifier {
        Notifier { at_once: true, ..self }
    }

    /// Takes the place of one with other settings, and remembers what that one did.
    pub fn replacing(self, before: &Notifier) -> Notifier {
        Notifier { memory: Arc::clone(&before.memory), ..self }
    }

    /// A run has taken the lease and begins.
    pub async fn run_began(&self) {
        self.ping(Ping::Began).await;
    }

    /// A run has ended. One that was stopped is no news.
    pub async fn run_ended(&self, store: &Store, command: &str, summary: &Summary) {
        if summary.status == RunStatus::Interrupted {
            return;
        }
        let (failed, objects) = message::kinds_of_run(summary);
        let is_good = summary.status == RunStatus::Succeeded;
        let observation =
            Observation::Ran(RunObservation { is_good, failed, objects, configured: self.workspace.objects.clone() });
        let mut data = message::data_of_run(command, summary);
        let reason = data.reason.clone().unwrap_or_else(|| "no reason is known".to_owned());
        if is_good {
            data.reason = Some("the sync succeeds again".to_owned());
        }
        let ping = if is_good { Ping::Succeeded } else { Ping::Failed { reason: &reason } };
        let kind = if summary.status == RunStatus::Partial { EventType::Partial } else { EventType::Failed };
        tokio::join!(self.ping(ping), self.announce(Some(store), &observation, kind, data));
    }

    /// A run could not even begin. Without a store where there is none: then nothing of it is remembered.
    pub async fn run_could_not_begin(&self, store: Option<&Store>, command: &str, why: &StartFailure) {
        let (failed, configured) = (Some(why.kind.clone()), self.workspace.objects.clone());
        let observation = Observation::Ran(RunObservation { is_good: false, failed, objects: [].into(), configured });
        let data = EventData {
            command: Some(command.to_owned()),
            status: "failed".to_owned(),
            reason: Some(plain(&why.reason, 1000)),
            hint: why.hint.clone(),
            ..EventData::default()
        };
        let ping = self.ping(Ping::Failed { reason: &why.reason });
        tokio::join!(ping, self.announce(store, &observation, EventType::Failed, data));
    }

    /// The data is stale. Announced once, however often this is called, without a query each time.
    pub async fn data_is_stale(&self, store: &Store, stale: &Stale) {
        let observation = Observation::Stale(stale.objects.iter().cloned().collect());
        if self.is_known(&observation) {
            return;
        }
        let reason = format!("no successful sync for {}", humantime::format_duration(stale.stale_after));
        let objects = stale.objects.iter().map(|object| ObjectEvent {
            object: object.clone(),
            status: "stale".to_owned(),
            reason: reason.clone(),
            hint: None,
        });
        let data = EventData {
            status: "stale".to_owned(),
            reason: Some(plain(&format!("{}: {reason}", stale.objects.join(", ")), 1000)),
            hint: Some(
                "`planhat-sync status` and `planhat-sync runs` show what happened; check that the daemon is running".to_owned(),
            ),
            objects: objects.collect(),
            last_success: stale.last_success,
            stale_after_seconds: Some(stale.stale_after.as_secs()),
            ..EventData::default()
        };
        self.announce(Some(store), &observation, EventType::Stale, data).await;
    }

    /// The data is fresh. Announced once after it was stale; the database is queried only then.
    pub async fn data_is_fresh(&self, store: &Store) {
        if self.is_known(&Observation::Fresh) {
            return;
        }
        let data =
            EventData { status: "fresh".to_owned(), reason: Some("the data is fresh again".to_owned()), ..EventData::default() };
        self.announce(Some(store), &Observation::Fresh, EventType::Recovered, data).await;
    }

    /// Sends a test message, and returns the answer.
    pub async fn test(&self) -> Result<String, NotifyError> {
        let webhook = self.webhook.as_ref().ok_or(NotifyError::NoWebhook)?;
        let data = EventData { status: "test".to_owned(), reason: Some("messages arrive".to_owned()), ..EventData::default() };
        let message = self.message(&new_id(), EventType::Test, data);
        let status = webhook.post(&self.http, &message.event_id, &message.body, SEND_AT_ONCE_LIMIT).await;
        status.map(|status| status.to_string()).map_err(|DeliveryError { why, .. }| NotifyError::Undelivered { why })
    }

    /// Whether the observation changes nothing, as far as this process knows.
    fn is_known(&self, observation: &Observation) -> bool {
        self.webhook.is_none() || self.memory.is_known(observation)
    }

    /// Queues a message for a new state, and saves the state in the same transaction.
    async fn announce(&self, store: Option<&Store>, observation: &Observation, not_good: EventType, data: EventData) {
        if self.webhook.is_none() {
            return;
        }
        // One message, however often the transaction is made again.
        let event_id = new_id();
        let message = |tell| {
            let kind = match tell {
                Announcement::NotGood => not_good,
                Announcement::Stale => EventType::Stale,
                Announcement::Recovered => EventType::Recovered,
            };
            self.message(&event_id, kind, data.clone())
        };
        self.queue(store, observation, message).await;
        if self.at_once
            && let Some(left) = self.deliver_at_once(store).await
        {
            warn!("a message to notify.webhook_url is not delivered yet: {left}");
        }
    }

    /// In the database, with what could not be stored before; where that is away, in memory.
    async fn queue(&self, store: Option<&Store>, observation: &Observation, message: impl Fn(Announcement) -> Message) {
        let (before, mut taken) = self.memory.take_unsaved();
        let queued = match store {
            Some(store) => {
                let queue = store.transaction(async |db| {
                    let workspace = &self.workspace.schema;
                    let stored: AnnouncedState = store::announced_state(&mut *db, workspace).await?;
                    for UnsavedMessage { message, .. } in &taken.unsaved {
                        store::queue_notification(&mut *db, workspace, message).await?;
                    }
                    let (now, tell) = transition::next(before.as_ref().unwrap_or(&stored), observation);
                    if let Some(tell) = tell {
                        store::delete_old_notifications(&mut *db, workspace, KEEP_MESSAGES).await?;
                        store::retry_notifications_now(&mut *db, workspace).await?;
                        store::queue_notification(&mut *db, workspace, &message(tell)).await?;
                    }
                    store::save_announced_state(&mut *db, workspace, &now).await?;
                    let next = store::next_notification(db, workspace).await?;
                    Ok((now, next))
                });
                in_time(queue).await
            }
            None => None,
        };
        match queued {
            Some((announced, next)) => {
                taken.unsaved.clear();
                self.memory.remember_stored(announced, next);
            }
            None => {
                drop(taken);
                self.memory.remember_unstored(observation, message);
            }
        }
    }

    async fn ping(&self, ping: Ping<'_>) {
        if let Some(url) = &self.ping {
            ping::send(&self.http, url, ping, SEND_AT_ONCE_LIMIT).await;
        }
    }

    fn message(&self, event_id: &str, kind: EventType, data: EventData) -> Message {
        let NotifiedWorkspace { schema, host, .. } = &self.workspace;
        let event = Event { kind, timestamp: Utc::now(), workspace: schema.clone(), host: host.clone(), data };
        // Only a map with keys that are no texts could not be written.
        let body = serde_json::to_string(&event).unwrap_or_default();
        Message { event_id: event_id.to_owned(), kind: kind.as_str(), body, attempts: 0 }
    }
}

/// What was queued in the database, unless it is away.
async fn in_time<T>(queue: impl Future<Output = Result<T, store::StoreError>>) -> Option<T> {
    match timeout(DATABASE_TIMEOUT, queue).await {
        Ok(Ok(queued)) => Some(queued),
        Ok(Err(error)) => {
            warn!(error = %Chain(&error), "could not store a message: it is kept in memory");
            None
        }
        Err(_) => {
            warn!("could not store a message within {} s: it is kept in memory", DATABASE_TIMEOUT.as_secs());
            None
        }
    }
}

/// A new event id, by which a receiver recognises repeated attempts of a message.
fn new_id() -> String {
    format!("msg_{:032x}", fastrand::u128(..))
}
