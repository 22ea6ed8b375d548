//! Tells others how a workspace is: messages when its state changes, pings for a dead man's switch.
//!
//! ```text
//! run, staleness -> state (is that news?) -> event -> notifications in the database -> delivery, until it arrives
//! ```
//!
//! A message and the state it tells are one commit, so that neither a crash nor another process doubles or forgets
//! it. Only where the database itself is away it is kept in memory and sent from there, and what was told
//! meanwhile is stored when the database is back.
//!
//! What is told here is on record anyway, so it never delays a run by more than seconds and never fails one. The
//! addresses are secrets: whoever knows them can speak for us.

mod delivery;
mod event;
mod format;
mod ping;
mod signature;
mod transition;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use planhat_model::error::Chain;
use planhat_store::{self as store, ClaimedMessage, Message, RunStatus, Store};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, warn};
use url::Url;

use crate::run::Summary;
use delivery::{DeliveryError, NextAttempt};
use event::{Event, EventData, EventType, ObjectEvent, plain};
use ping::Ping;
use transition::{AnnouncedState, Announcement, Observation, RunObservation};

pub use delivery::Delays;
pub use format::Format;
pub use ping::PingUrl;
pub use signature::Secret;

/// For a ping with its retries, and for what a process that does not stay sends before it ends.
const SEND_AT_ONCE_LIMIT: Duration = Duration::from_secs(10);
/// For one attempt of a ping, and until the second one.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// For one step of ours in the database. One that is away has a run's patience elsewhere.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(10);
/// For all that is sent before whoever called is asked again.
const DELIVERY_ROUND_LIMIT: Duration = Duration::from_secs(60);
/// So long a message belongs to who claimed it: longer than an attempt takes.
const CLAIM_DURATION: Duration = Duration::from_secs(60);
/// Until a database that was away is looked at again.
const RETRY_DATABASE_AFTER: Duration = Duration::from_secs(60);
const KEEP_MESSAGES: Duration = Duration::from_secs(30 * 86_400);
/// More would tell the same of a database that stays away.
const MAX_UNSAVED: usize = 100;

/// Who is told, as the settings have it.
#[derive(Debug, Clone)]
pub struct NotifyTargets {
    pub webhook_url: Option<SecretString>,
    pub webhook_secret: Option<SecretString>,
    pub format: Format,
    pub ping_url: Option<SecretString>,
}

/// Of what is told.
#[derive(Debug, Clone)]
pub struct NotifiedWorkspace {
    pub schema: String,
    /// Where Planhat is.
    pub host: String,
    /// The objects that the settings name.
    pub objects: BTreeSet<String>,
}

/// Data that is too old.
#[derive(Debug, Clone)]
pub struct Stale {
    pub objects: Vec<String>,
    /// The latest of any of these objects.
    pub last_success: Option<DateTime<Utc>>,
    pub stale_after: Duration,
}

/// Why a run could not even begin.
#[derive(Debug, Clone)]
pub struct StartFailure {
    /// The same for the same trouble, whatever its text says.
    pub kind: String,
    pub reason: String,
    pub hint: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("{key} {problem}")]
    Setting { key: &'static str, problem: &'static str },
    #[error("could not set up HTTP")]
    Http { source: reqwest::Error },
    #[error("notify.webhook_url is not set: there is nobody to tell")]
    NoWebhook,
    #[error("the message was not delivered: {why}")]
    Undelivered { why: String },
}

/// Tells others. Copies share what they remember.
#[derive(Debug, Clone)]
pub struct Notifier {
    http: reqwest::Client,
    webhook: Option<Webhook>,
    ping: Option<PingUrl>,
    workspace: NotifiedWorkspace,
    delays: Delays,
    /// Whether messages are sent before a call returns, since nobody stays to send them.
    at_once: bool,
    memory: Arc<SharedNotifierState>,
}

#[derive(Clone)]
struct Webhook {
    url: Url,
    secret: Option<Secret>,
    format: Format,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhook(…)")
    }
}

/// What a process knows without the database.
#[derive(Debug, Default)]
struct SharedNotifierState {
    inner: Mutex<NotifierState>,
    queued: Notify,
}

#[derive(Debug, Default)]
struct NotifierState {
    /// What was told last, as far as this process knows.
    announced: Option<AnnouncedState>,
    /// It was told while the database was away, and is not stored.
    is_unsaved: bool,
    unsaved: VecDeque<UnsavedMessage>,
    due: Due,
}

/// A message that the database does not know.
#[derive(Debug, Clone)]
struct UnsavedMessage {
    message: Message,
    next_attempt_at: DateTime<Utc>,
}

/// Messages that are being sent or stored. They go back to where they came from, unless they have arrived: nobody else
/// knows them.
struct InFlightMessages<'a> {
    memory: &'a SharedNotifierState,
    unsaved: VecDeque<UnsavedMessage>,
}

impl Drop for InFlightMessages<'_> {
    fn drop(&mut self) {
        let mut memory = self.memory.inner();
        self.unsaved.append(&mut memory.unsaved);
        memory.unsaved = std::mem::take(&mut self.unsaved);
    }
}

/// When the next message in the database can be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Due {
    /// What an earlier process has left is not known yet.
    #[default]
    Unknown,
    Nothing,
    At(DateTime<Utc>),
}

impl SharedNotifierState {
    fn inner(&self) -> MutexGuard<'_, NotifierState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notifier {
    pub fn new(receivers: &NotifyTargets, workspace: NotifiedWorkspace, delays: Delays) -> Result<Notifier, NotifyError> {
        let wrong = |key| move |problem| NotifyError::Setting { key, problem };
        let secret = receivers.webhook_secret.as_ref().map(|secret| Secret::parse(secret.expose_secret()));
        let secret = secret.transpose().map_err(wrong("notify.webhook_secret"))?;
        let webhook = receivers.webhook_url.as_ref().map(|url| {
            let url = Url::parse(url.expose_secret()).map_err(|_| wrong("notify.webhook_url")("is no address"))?;
            Ok(Webhook { url, secret, format: receivers.format })
        });
        let ping = receivers.ping_url.as_ref().map(|url| PingUrl::parse(url.expose_secret()));
        Ok(Notifier {
            http: delivery::client().map_err(|source| NotifyError::Http { source })?,
            webhook: webhook.transpose()?,
            ping: ping.transpose().map_err(wrong("notify.ping_url"))?,
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
        let (failed, objects) = event::kinds_of_run(summary);
        let is_good = summary.status == RunStatus::Succeeded;
        let observation =
            Observation::Ran(RunObservation { is_good, failed, objects, configured: self.workspace.objects.clone() });
        let mut data = event::data_of_run(command, summary);
        let reason = data.reason.clone().unwrap_or_else(|| "no reason is known".to_owned());
        if is_good {
            data.reason = Some("the sync is good again".to_owned());
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

    /// Data is too old. Told once, however often this is called, and without asking the database each time.
    pub async fn data_is_stale(&self, store: &Store, stale: &Stale) {
        let observation = Observation::Stale(stale.objects.iter().cloned().collect());
        if self.is_known(&observation) {
            return;
        }
        let reason = format!("no success for {}", humantime::format_duration(stale.stale_after));
        let objects = stale.objects.iter().map(|object| ObjectEvent {
            object: object.clone(),
            status: "stale".to_owned(),
            reason: reason.clone(),
            hint: None,
        });
        let data = EventData {
            status: "stale".to_owned(),
            reason: Some(plain(&format!("{}: {reason}", stale.objects.join(", ")), 1000)),
            hint: Some("`planhat-sync status` and `planhat-sync runs` say what happened; is the daemon running?".to_owned()),
            objects: objects.collect(),
            last_success: stale.last_success,
            stale_after_seconds: Some(stale.stale_after.as_secs()),
            ..EventData::default()
        };
        self.announce(Some(store), &observation, EventType::Stale, data).await;
    }

    /// No data is too old. That it is so again is told once, and asks the database only if it was not so before.
    pub async fn data_is_fresh(&self, store: &Store) {
        if self.is_known(&Observation::Fresh) {
            return;
        }
        let data =
            EventData { status: "fresh".to_owned(), reason: Some("the data is fresh again".to_owned()), ..EventData::default() };
        self.announce(Some(store), &Observation::Fresh, EventType::Recovered, data).await;
    }

    /// Sends a message by which a person sees whether messages arrive. Says what was answered.
    pub async fn test(&self) -> Result<String, NotifyError> {
        let webhook = self.webhook.as_ref().ok_or(NotifyError::NoWebhook)?;
        let data = EventData { status: "test".to_owned(), reason: Some("messages arrive".to_owned()), ..EventData::default() };
        let message = self.message(&new_id(), EventType::Test, data);
        let status = self.post(webhook, &message.event_id, &message.body, SEND_AT_ONCE_LIMIT).await;
        status.map(|status| status.to_string()).map_err(|DeliveryError { why, .. }| NotifyError::Undelivered { why })
    }

    /// Nothing would change, as far as this process knows.
    fn is_known(&self, observation: &Observation) -> bool {
        let changes_nothing = |announced: &AnnouncedState| transition::next(announced, observation) == (announced.clone(), None);
        self.webhook.is_none() || self.memory.inner().announced.as_ref().is_some_and(changes_nothing)
    }

    /// Queues what there is to tell, together with that it was told.
    async fn announce(&self, store: Option<&Store>, observation: &Observation, not_good: EventType, data: EventData) {
        if self.webhook.is_none() {
            return;
        }
        // One message, however often the transaction is made again.
        let kind_of = |tell| match tell {
            Announcement::NotGood => not_good,
            Announcement::Stale => EventType::Stale,
            Announcement::Recovered => EventType::Recovered,
        };
        let event_id = new_id();
        let message = |tell| self.message(&event_id, kind_of(tell), data.clone());
        let (before, mut taken) = {
            let mut memory = self.memory.inner();
            let announced = memory.announced.clone().filter(|_| memory.is_unsaved);
            (announced, InFlightMessages { memory: &self.memory, unsaved: std::mem::take(&mut memory.unsaved) })
        };
        let unsaved = &taken.unsaved;
        let queued = async {
            let store = store?;
            let queue = store.transaction(async |db| {
                let workspace = &self.workspace.schema;
                let stored: AnnouncedState = store::announced_state(&mut *db, workspace).await?;
                for UnsavedMessage { message, .. } in unsaved {
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
            match timeout(DATABASE_TIMEOUT, queue).await {
                Ok(Ok(queued)) => Some(queued),
                Ok(Err(error)) => {
                    warn!(error = %Chain(&error), "could not store what is to be told: it is kept in memory");
                    None
                }
                Err(_) => {
                    warn!("could not store what is to be told within {} s: it is kept in memory", DATABASE_TIMEOUT.as_secs());
                    None
                }
            }
        };
        match queued.await {
            Some((announced, next)) => {
                taken.unsaved.clear();
                self.remember_stored(announced, next);
            }
            None => {
                drop(taken);
                self.remember_unstored(observation, message);
            }
        }
        if self.at_once
            && let Some(left) = self.deliver_at_once(store).await
        {
            warn!("a message to notify.webhook_url is not delivered yet: {left}");
        }
    }

    fn remember_stored(&self, announced: AnnouncedState, next: Option<Duration>) {
        let mut memory = self.memory.inner();
        (memory.announced, memory.is_unsaved) = (Some(announced), false);
        memory.due = next.map_or(Due::Nothing, |next| Due::At(Utc::now() + next));
        drop(memory);
        if next.is_some() {
            self.memory.queued.notify_one();
        }
    }

    fn remember_unstored(&self, observation: &Observation, message: impl FnOnce(Announcement) -> Message) {
        let mut memory = self.memory.inner();
        let known = memory.announced.clone().unwrap_or_default();
        let (announced, tell) = transition::next(&known, observation);
        // What has changed nothing must not take the place of what is stored.
        if announced != known {
            (memory.announced, memory.is_unsaved) = (Some(announced), true);
        }
        if let Some(tell) = tell {
            memory.unsaved.push_back(UnsavedMessage { message: message(tell), next_attempt_at: Utc::now() });
            while memory.unsaved.len() > MAX_UNSAVED {
                memory.unsaved.pop_front();
            }
        }
        drop(memory);
        self.memory.queued.notify_one();
    }

    /// Comes back when there may be something to deliver that [`Notifier::deliver_due`] has not seen.
    pub async fn queued(&self) {
        self.memory.queued.notified().await;
    }

    /// Sends what is due, in its order, and returns when there is more to do. Asks nothing of the database while
    /// nothing waits there. Not to be left half-way but at the end of the process: a message that the database does not
    /// know would be lost.
    pub async fn deliver_due(&self, store: &Store) -> Option<DateTime<Utc>> {
        self.deliver(Some(store), Instant::now() + DELIVERY_ROUND_LIMIT).await
    }

    /// The same with what time there is for a process that ends. Returns what is left to whom.
    async fn deliver_at_once(&self, store: Option<&Store>) -> Option<&'static str> {
        let until = Instant::now() + SEND_AT_ONCE_LIMIT;
        // One that has just been away is not waited for again.
        let store = store.filter(|_| !self.memory.inner().is_unsaved);
        while let Some(next) = self.deliver(store, until).await {
            let wait = (next - Utc::now()).to_std().unwrap_or_default();
            if Instant::now() + wait >= until {
                let is_stored = self.memory.inner().unsaved.is_empty();
                return Some(if is_stored {
                    "the next run or the daemon tries again"
                } else {
                    "nobody tries again, since it could not be stored"
                });
            }
            sleep(wait).await;
        }
        None
    }

    async fn deliver(&self, store: Option<&Store>, until: Instant) -> Option<DateTime<Utc>> {
        let webhook = self.webhook.as_ref()?;
        // What waits in memory comes first: what is stored behind it tells what became of it.
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
            let mut first = {
                let mut memory = self.memory.inner();
                let next = memory.unsaved.front()?.next_attempt_at;
                if next > Utc::now() || Instant::now() >= until {
                    return Some(next);
                }
                InFlightMessages { memory: &self.memory, unsaved: memory.unsaved.pop_front().into_iter().collect() }
            };
            let Some(unsaved) = first.unsaved.front_mut() else { continue };
            unsaved.message.attempts += 1;
            let Message { event_id, body, attempts, .. } = &unsaved.message;
            let posted = self.post(webhook, event_id, body, until.saturating_duration_since(Instant::now())).await;
            match posted.err().map(|undelivered| self.delay_after(*attempts, &undelivered)) {
                Some(Some((delay, _))) => unsaved.next_attempt_at = Utc::now() + delay,
                // It has arrived, or is given up.
                None | Some(None) => first.unsaved.clear(),
            }
        }
    }

    async fn deliver_stored(&self, webhook: &Webhook, store: &Store, until: Instant) -> Option<DateTime<Utc>> {
        loop {
            let due = self.memory.inner().due;
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
                    self.set_due_unless_changed(due, next.map_or(Due::Nothing, Due::At));
                    continue;
                }
                failed => {
                    let error = failed.map(|failed| failed.err().map(|error| Chain(&error).to_string()));
                    debug!(?error, "could not see which message is due");
                    return self.check_again_later(due);
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            let posted = self.post(webhook, &claimed.event_id, &claimed.body, left).await;
            if !self.note(store, &claimed, posted.map(drop)).await {
                return self.check_again_later(due);
            }
            // What was queued meanwhile has waited for this one.
            self.memory.inner().due = Due::Unknown;
        }
    }

    fn check_again_later(&self, due: Due) -> Option<DateTime<Utc>> {
        let at = Utc::now() + RETRY_DATABASE_AFTER;
        self.set_due_unless_changed(due, Due::At(at));
        Some(at)
    }

    /// When there is more to do, unless something was queued since that was looked at.
    fn set_due_unless_changed(&self, looked_at: Due, due: Due) {
        let mut memory = self.memory.inner();
        if memory.due == looked_at {
            memory.due = due;
        }
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

    /// Notes what came of an attempt. Where that fails the claim runs out, and it is made again.
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
            Ok(Err(error)) => warn!(error = %Chain(&error), "could not note what came of a message"),
            Err(_) => warn!("could not note what came of a message within {} s", DATABASE_TIMEOUT.as_secs()),
        }
        false
    }

    /// One attempt.
    async fn post(&self, webhook: &Webhook, event_id: &str, stored: &str, time: Duration) -> Result<StatusCode, DeliveryError> {
        let body = webhook.format.body(stored);
        let mut request = self.http.post(webhook.url.clone()).header(CONTENT_TYPE, "application/json");
        if webhook.format == Format::Standard {
            let timestamp = Utc::now().timestamp();
            request = request.header("webhook-id", event_id).header("webhook-timestamp", timestamp);
            if let Some(secret) = &webhook.secret {
                request = request.header("webhook-signature", secret.signature(event_id, timestamp, &body));
            }
        }
        delivery::post(request.body(body), &webhook.url, time).await
    }

    /// How long until the next attempt, and whether the receiver has asked for that; none is made behind the last one.
    fn delay_after(&self, attempts: i32, undelivered: &DeliveryError) -> Option<(Duration, bool)> {
        let ours = self.delays.after(attempts).filter(|_| undelivered.next_attempt != NextAttempt::Never);
        let Some(ours) = ours else {
            let why = &undelivered.why;
            error!("a message to notify.webhook_url is given up after {attempts} attempts: {why}");
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
    /// One attempt after the other until it arrives, for seconds at most.
    async fn ping(&self, ping: Ping<'_>) {
        let Some(url) = self.ping.as_ref().and_then(|form| form.url(ping)) else { return };
        let (until, mut wait) = (Instant::now() + SEND_AT_ONCE_LIMIT, FIRST_WAIT);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Err(undelivered) = delivery::get(&self.http, &url, left.min(PING_TIMEOUT)).await else { return };
            let is_over = undelivered.next_attempt != NextAttempt::Soon || Instant::now() + wait + wait >= until;
            if is_over {
                warn!("could not reach the ping of notify: {}", undelivered.why);
                return;
            }
            sleep(wait).await;
            wait *= 2;
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

/// By which a receiver tells a message from every other one, and an attempt from the one before.
fn new_id() -> String {
    format!("msg_{:032x}", fastrand::u128(..))
}
