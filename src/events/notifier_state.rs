//! What a process knows without the database: what was told last, which messages could not be stored, and when the next
//! stored one is due. It is shared by the copies of a notifier, and no lock on it is held while something is awaited.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use planhat_store::Message;
use tokio::sync::Notify;

use super::transition::{self, AnnouncedState, Announcement, Observation};

/// The most messages kept in memory while the database is unreachable.
const MAX_UNSAVED: usize = 100;

/// The state of a notifier in memory.
#[derive(Debug, Default)]
pub(super) struct SharedNotifierState {
    inner: Mutex<NotifierState>,
    queued: Notify,
}

#[derive(Debug, Default)]
struct NotifierState {
    /// The announced state, as far as this process knows.
    announced: Option<AnnouncedState>,
    /// It was announced while the database was unreachable, and is not stored.
    is_unsaved: bool,
    unsaved: VecDeque<UnsavedMessage>,
    due: Due,
}

/// A message that could not be stored in the database.
#[derive(Debug, Clone)]
pub(super) struct UnsavedMessage {
    pub(super) message: Message,
    pub(super) next_attempt_at: DateTime<Utc>,
}

/// Messages that are being sent or stored. When dropped, they return to the queue in memory unless they were delivered,
/// because they exist only here.
pub(super) struct InFlightMessages<'a> {
    memory: &'a SharedNotifierState,
    pub(super) unsaved: VecDeque<UnsavedMessage>,
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
pub(super) enum Due {
    /// What an earlier process has left is not known yet.
    #[default]
    Unknown,
    Nothing,
    At(DateTime<Utc>),
}

/// What of the messages that are not stored comes first.
pub(super) enum FirstUnsaved<'a> {
    None,
    DueAt(DateTime<Utc>),
    Due(InFlightMessages<'a>),
}

impl SharedNotifierState {
    fn inner(&self) -> MutexGuard<'_, NotifierState> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it would change nothing that this is told, as far as this process knows.
    pub(super) fn is_known(&self, observation: &Observation) -> bool {
        let changes_nothing = |announced: &AnnouncedState| transition::next(announced, observation) == (announced.clone(), None);
        self.inner().announced.as_ref().is_some_and(changes_nothing)
    }

    /// What was told while the database was away, if it is not stored yet, and the messages that are to be stored.
    pub(super) fn take_unsaved(&self) -> (Option<AnnouncedState>, InFlightMessages<'_>) {
        let mut memory = self.inner();
        let announced = memory.announced.clone().filter(|_| memory.is_unsaved);
        (announced, InFlightMessages { memory: self, unsaved: std::mem::take(&mut memory.unsaved) })
    }

    /// The first message that is not stored, to be sent; or when it is due, if that is later or there is no time left now.
    pub(super) fn take_first_unsaved(&self, until: Instant) -> FirstUnsaved<'_> {
        let mut memory = self.inner();
        match memory.unsaved.front().map(|first| first.next_attempt_at) {
            None => FirstUnsaved::None,
            Some(at) if at > Utc::now() || Instant::now() >= until => FirstUnsaved::DueAt(at),
            Some(_) => {
                let unsaved = memory.unsaved.pop_front().into_iter().collect();
                FirstUnsaved::Due(InFlightMessages { memory: self, unsaved })
            }
        }
    }

    /// Whether the database was away when something was told last.
    pub(super) fn is_unsaved(&self) -> bool {
        self.inner().is_unsaved
    }

    pub(super) fn has_unsaved_messages(&self) -> bool {
        !self.inner().unsaved.is_empty()
    }

    /// This was told, and stands in the database with the messages that wait there, the next one of them for so long.
    pub(super) fn remember_stored(&self, announced: AnnouncedState, next: Option<Duration>) {
        let mut memory = self.inner();
        (memory.announced, memory.is_unsaved) = (Some(announced), false);
        memory.due = next.map_or(Due::Nothing, |next| Due::At(Utc::now() + next));
        drop(memory);
        if next.is_some() {
            self.queued.notify_one();
        }
    }

    /// This could not be stored: it is kept here, and what there is to tell for it.
    pub(super) fn remember_unstored(&self, observation: &Observation, message: impl FnOnce(Announcement) -> Message) {
        let mut memory = self.inner();
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
        self.queued.notify_one();
    }

    pub(super) fn due(&self) -> Due {
        self.inner().due
    }

    /// A stored message was sent: what was queued meanwhile has waited for it.
    pub(super) fn forget_due(&self) {
        self.inner().due = Due::Unknown;
    }

    /// When there is more to do, unless something was queued since that was looked at.
    pub(super) fn set_due_unless_changed(&self, looked_at: Due, due: Due) {
        let mut memory = self.inner();
        if memory.due == looked_at {
            memory.due = due;
        }
    }

    /// Comes back when something was queued.
    pub(super) async fn queued(&self) {
        self.queued.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event_id: &str) -> Message {
        Message { event_id: event_id.to_owned(), kind: "sync.stale", body: String::new(), attempts: 0 }
    }

    fn stale() -> Observation {
        Observation::Stale(["tasks".to_owned()].into())
    }

    /// A state in which these could not be stored.
    fn with_unsaved(event_ids: &[&str]) -> SharedNotifierState {
        let state = SharedNotifierState::default();
        for id in event_ids {
            let news = if state.is_known(&stale()) { Observation::Fresh } else { stale() };
            state.remember_unstored(&news, |_| message(id));
        }
        state
    }

    fn unsaved(state: &SharedNotifierState) -> Vec<String> {
        state.inner().unsaved.iter().map(|unsaved| unsaved.message.event_id.clone()).collect()
    }

    #[test]
    fn messages_that_are_being_stored_go_back_in_their_order_unless_they_have_arrived() {
        let state = with_unsaved(&["first", "second"]);
        let (told, taken) = state.take_unsaved();
        assert!(told.is_some() && unsaved(&state).is_empty());
        drop(taken);
        assert_eq!(unsaved(&state), ["first", "second"]);

        let (_, mut taken) = state.take_unsaved();
        taken.unsaved.clear();
        drop(taken);
        assert!(unsaved(&state).is_empty());
    }

    #[test]
    fn the_first_message_is_sent_before_the_others_and_not_before_it_is_due() {
        let state = with_unsaved(&["first", "second"]);
        let until = Instant::now() + Duration::from_secs(3600);
        let FirstUnsaved::Due(mut taken) = state.take_first_unsaved(until) else { panic!("nothing is due") };
        assert_eq!(taken.unsaved[0].message.event_id, "first");
        let later = Utc::now() + Duration::from_secs(3600);
        taken.unsaved[0].next_attempt_at = later;
        drop(taken);
        assert!(matches!(state.take_first_unsaved(until), FirstUnsaved::DueAt(at) if at == later));
        assert_eq!(unsaved(&state), ["first", "second"]);
        assert!(matches!(SharedNotifierState::default().take_first_unsaved(until), FirstUnsaved::None));
    }

    #[test]
    fn news_that_changes_nothing_leaves_what_is_stored_in_its_place() {
        let state = SharedNotifierState::default();
        state.remember_unstored(&Observation::Fresh, |_| message("never"));
        assert!(!state.is_unsaved() && !state.has_unsaved_messages());
        state.remember_unstored(&stale(), |_| message("stale"));
        assert!(state.is_unsaved() && state.is_known(&stale()));
        state.remember_stored(AnnouncedState::default(), None);
        assert!(!state.is_unsaved() && !state.is_known(&stale()));
        assert_eq!(state.due(), Due::Nothing);
    }

    #[test]
    fn of_a_database_that_stays_away_the_latest_messages_are_kept() {
        let ids: Vec<String> = (0..=MAX_UNSAVED).map(|number| number.to_string()).collect();
        let state = with_unsaved(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(unsaved(&state), ids[1..]);
    }

    #[test]
    fn when_the_next_message_is_due_is_noted_unless_something_was_queued_meanwhile() {
        let state = SharedNotifierState::default();
        let looked_at = state.due();
        state.remember_stored(AnnouncedState::default(), Some(Duration::ZERO));
        state.set_due_unless_changed(looked_at, Due::Nothing);
        assert!(matches!(state.due(), Due::At(_)));
        state.set_due_unless_changed(state.due(), Due::Nothing);
        assert_eq!(state.due(), Due::Nothing);
        state.forget_due();
        assert_eq!(state.due(), Due::Unknown);
    }
}
