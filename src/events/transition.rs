//! The announced state of a workspace, and whether an observation is a new state that has to be announced.
//!
//! A state is announced when it begins and when it ends, however often a run finds it again. It is kept per object, because a run
//! may cover only a few objects: a retry, or a person who tries one. Reasons are compared by their kind, because their texts
//! contain offsets and times.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The state that was announced last. Empty: everything succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct AnnouncedState {
    /// What keeps whole runs from succeeding, such as a refused token.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
    /// The objects that are not good, with the kind of the reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    objects: BTreeMap<String, String>,
    /// The objects whose data is too old.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    stale: BTreeSet<String>,
}

impl AnnouncedState {
    fn is_all_well(&self) -> bool {
        *self == AnnouncedState::default()
    }
}

/// What a run or the staleness monitor has observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Observation {
    Ran(RunObservation),
    /// The data of these objects is too old.
    Stale(BTreeSet<String>),
    /// No data is too old any more.
    Fresh,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunObservation {
    pub(super) is_good: bool,
    /// The kind of reason that would keep any object from being read.
    pub(super) failed: Option<String>,
    /// Each object that was tried, with the kind of reason if it is not good.
    pub(super) objects: BTreeMap<String, Option<String>>,
    /// What the settings name now: what they no longer do is not waited for.
    pub(super) configured: BTreeSet<String>,
}

/// What has to be announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    /// The run was not good; partial or failed by its own status.
    NotGood,
    Stale,
    Recovered,
}

/// The announced state after an observation, and what has to be announced for it.
pub(super) fn next(announced: &AnnouncedState, observation: &Observation) -> (AnnouncedState, Option<Announcement>) {
    match observation {
        Observation::Ran(ran) if ran.is_good => after_a_good_run(announced, ran),
        Observation::Ran(ran) => {
            let now = merged(announced, ran);
            let is_new = now.objects != announced.objects || now.failed != announced.failed;
            (now, is_new.then_some(Announcement::NotGood))
        }
        Observation::Stale(objects) if objects.is_empty() => next(announced, &Observation::Fresh),
        Observation::Stale(objects) => {
            let begins = announced.stale.is_empty();
            (AnnouncedState { stale: objects.clone(), ..announced.clone() }, begins.then_some(Announcement::Stale))
        }
        Observation::Fresh => {
            let ends = !announced.stale.is_empty();
            (AnnouncedState { stale: BTreeSet::new(), ..announced.clone() }, ends.then_some(Announcement::Recovered))
        }
    }
}

/// Objects of this run get their new state, the others keep theirs.
fn merged(announced: &AnnouncedState, ran: &RunObservation) -> AnnouncedState {
    let mut now = AnnouncedState { failed: ran.failed.clone(), ..announced.clone() };
    for (object, reason) in &ran.objects {
        match reason {
            Some(kind) => _ = now.objects.insert(object.clone(), kind.clone()),
            None => _ = now.objects.remove(object),
        }
    }
    now.objects.retain(|object, _| ran.configured.contains(object) || ran.objects.contains_key(object));
    now.stale.retain(|object| ran.configured.contains(object));
    now
}

fn after_a_good_run(announced: &AnnouncedState, ran: &RunObservation) -> (AnnouncedState, Option<Announcement>) {
    let mut now = merged(announced, ran);
    now.stale.retain(|object| !ran.objects.contains_key(object));
    if now.is_all_well() {
        return (now, (!announced.is_all_well()).then_some(Announcement::Recovered));
    }
    // A run over a few objects: the rest is not good yet, and was last told together with what kept all from running.
    (AnnouncedState { failed: announced.failed.clone(), ..now }, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: [&str; 3] = ["companies", "tasks", "users"];

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A run over these objects; the second of each is the kind of its reason, none if it is good.
    fn ran(objects: &[(&str, &str)]) -> Observation {
        let objects: BTreeMap<_, _> =
            objects.iter().map(|(object, kind)| ((*object).to_owned(), (!kind.is_empty()).then(|| (*kind).to_owned()))).collect();
        let is_good = objects.values().all(Option::is_none);
        Observation::Ran(RunObservation { is_good, failed: None, objects, configured: names(&CONFIGURED) })
    }

    fn all_but(bad: &[(&str, &str)]) -> Observation {
        let kind = |object| bad.iter().find(|(name, _)| *name == object).map_or("", |(_, kind)| *kind);
        ran(&CONFIGURED.map(|object| (object, kind(object))))
    }

    fn failed(kind: &str) -> Observation {
        let objects = BTreeMap::new();
        Observation::Ran(RunObservation {
            is_good: false,
            failed: Some(kind.to_owned()),
            objects,
            configured: names(&CONFIGURED),
        })
    }

    fn stale(objects: &[&str]) -> Observation {
        Observation::Stale(names(objects))
    }

    /// What is told of one after the other.
    fn check(story: &[(Observation, Option<Announcement>)]) {
        let mut announced = AnnouncedState::default();
        for (step, (observation, expected)) in story.iter().enumerate() {
            let (next, tell) = super::next(&announced, observation);
            assert_eq!(tell, *expected, "step {step}: {observation:?} after {announced:?}");
            // As it comes back from the database.
            announced = serde_json::from_value(serde_json::to_value(&next).unwrap()).unwrap();
            assert_eq!(announced, next);
        }
    }

    use Announcement::{NotGood, Recovered, Stale};

    #[test]
    fn successful_runs_send_no_message() {
        check(&[(all_but(&[]), None), (all_but(&[]), None), (Observation::Fresh, None)]);
    }

    #[test]
    fn a_refused_token_sends_one_message_and_its_recovery_another() {
        let refused = || failed("token refused");
        check(&[
            (all_but(&[]), None),
            (refused(), Some(NotGood)),
            (refused(), None),
            (refused(), None),
            (all_but(&[]), Some(Recovered)),
            (all_but(&[]), None),
            (refused(), Some(NotGood)),
        ]);
    }

    #[test]
    fn a_different_reason_sends_a_new_message() {
        check(&[
            (failed("unreachable"), Some(NotGood)),
            (failed("token refused"), Some(NotGood)),
            (all_but(&[("tasks", "answered 400")]), Some(NotGood)),
            (all_but(&[("tasks", "quarantine")]), Some(NotGood)),
            (all_but(&[("tasks", "quarantine")]), None),
        ]);
    }

    #[test]
    fn a_different_set_of_failed_objects_sends_a_new_message() {
        check(&[
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (all_but(&[("tasks", "a"), ("users", "a")]), Some(NotGood)),
            (all_but(&[("users", "a")]), Some(NotGood)),
            (all_but(&[]), Some(Recovered)),
        ]);
    }

    #[test]
    fn retrying_failed_objects_sends_no_message_unless_they_recover() {
        check(&[
            (all_but(&[("tasks", "a"), ("users", "b")]), Some(NotGood)),
            // Nothing landed, so this run has failed as a whole; it is the same all the same.
            (ran(&[("tasks", "a"), ("users", "b")]), None),
            (all_but(&[("tasks", "a"), ("users", "b")]), None),
            (ran(&[("tasks", ""), ("users", "")]), Some(Recovered)),
        ]);
    }

    #[test]
    fn a_run_over_other_objects_does_not_count_as_recovery() {
        check(&[
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (ran(&[("companies", "")]), None),
            (all_but(&[("tasks", "a")]), None),
            (ran(&[("tasks", "")]), Some(Recovered)),
        ]);
    }

    #[test]
    fn an_object_that_failed_before_an_outage_is_announced_again_when_only_it_still_fails() {
        check(&[
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (failed("unreachable"), Some(NotGood)),
            (ran(&[("companies", "")]), None),
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (all_but(&[]), Some(Recovered)),
        ]);
    }

    #[test]
    fn stale_data_sends_one_message_and_its_recovery_another() {
        check(&[
            (stale(&["tasks"]), Some(Stale)),
            (stale(&["tasks"]), None),
            (stale(&["tasks", "users"]), None),
            (Observation::Fresh, Some(Recovered)),
            (Observation::Fresh, None),
            (stale(&["tasks"]), Some(Stale)),
            (stale(&[]), Some(Recovered)),
        ]);
    }

    #[test]
    fn recovery_from_failed_and_stale_sends_one_message() {
        check(&[
            (failed("unreachable"), Some(NotGood)),
            (stale(&CONFIGURED), Some(Stale)),
            (failed("unreachable"), None),
            (all_but(&[]), Some(Recovered)),
            (Observation::Fresh, None),
        ]);
    }

    #[test]
    fn an_object_removed_from_the_settings_does_not_prevent_recovery() {
        check(&[
            (ran(&[("campaigns", "a")]), Some(NotGood)),
            (stale(&["campaigns"]), Some(Stale)),
            (all_but(&[]), Some(Recovered)),
        ]);
    }
}
