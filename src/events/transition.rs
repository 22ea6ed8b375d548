//! What was told last, and whether there is news to tell.
//!
//! A state is told when it begins and when it is over, however often a run finds it again. It is kept object by
//! object, because a run may be over a few of them alone: a retry, or a person who tries one. Reasons count by
//! their kind, since their text has offsets and times in it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What others believe of a workspace. Empty: all is well.
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

/// What has happened.
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

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    /// The run was not good; partial or failed by its own status.
    NotGood,
    Stale,
    Recovered,
}

/// What is believed after the news, and what has to be told for it.
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

/// What was tried is as it is now, what was not is as it was.
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
    fn good_runs_say_nothing() {
        check(&[(all_but(&[]), None), (all_but(&[]), None), (Observation::Fresh, None)]);
    }

    #[test]
    fn a_token_that_stays_refused_is_told_once_and_so_is_its_end() {
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
    fn another_reason_is_another_state() {
        check(&[
            (failed("unreachable"), Some(NotGood)),
            (failed("token refused"), Some(NotGood)),
            (all_but(&[("tasks", "answered 400")]), Some(NotGood)),
            (all_but(&[("tasks", "quarantine")]), Some(NotGood)),
            (all_but(&[("tasks", "quarantine")]), None),
        ]);
    }

    #[test]
    fn another_set_of_objects_is_another_state() {
        check(&[
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (all_but(&[("tasks", "a"), ("users", "a")]), Some(NotGood)),
            (all_but(&[("users", "a")]), Some(NotGood)),
            (all_but(&[]), Some(Recovered)),
        ]);
    }

    #[test]
    fn a_retry_of_what_has_failed_is_no_news_unless_it_heals() {
        check(&[
            (all_but(&[("tasks", "a"), ("users", "b")]), Some(NotGood)),
            // Nothing landed, so this run has failed as a whole; it is the same all the same.
            (ran(&[("tasks", "a"), ("users", "b")]), None),
            (all_but(&[("tasks", "a"), ("users", "b")]), None),
            (ran(&[("tasks", ""), ("users", "")]), Some(Recovered)),
        ]);
    }

    #[test]
    fn a_run_over_other_objects_heals_nothing() {
        check(&[
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (ran(&[("companies", "")]), None),
            (all_but(&[("tasks", "a")]), None),
            (ran(&[("tasks", "")]), Some(Recovered)),
        ]);
    }

    #[test]
    fn what_was_told_before_an_outage_is_told_again_when_it_alone_is_left() {
        check(&[
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (failed("unreachable"), Some(NotGood)),
            (ran(&[("companies", "")]), None),
            (all_but(&[("tasks", "a")]), Some(NotGood)),
            (all_but(&[]), Some(Recovered)),
        ]);
    }

    #[test]
    fn data_that_gets_old_is_told_once_and_so_is_its_end() {
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
    fn what_failed_until_it_was_old_recovers_once() {
        check(&[
            (failed("unreachable"), Some(NotGood)),
            (stale(&CONFIGURED), Some(Stale)),
            (failed("unreachable"), None),
            (all_but(&[]), Some(Recovered)),
            (Observation::Fresh, None),
        ]);
    }

    #[test]
    fn an_object_that_is_no_longer_wanted_is_not_waited_for() {
        check(&[
            (ran(&[("campaigns", "a")]), Some(NotGood)),
            (stale(&["campaigns"]), Some(Stale)),
            (all_but(&[]), Some(Recovered)),
        ]);
    }
}
