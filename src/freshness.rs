//! Whether the data is fresh, from the recorded states of the objects, whichever command synced them.
//!
//! Pure: the caller passes the states and the clock. `status`, `/metrics` and the daemon all use this, so that they never differ.

use std::time::Duration;

use chrono::{DateTime, Utc};
use planhat_store::ObjectState;
use serde::Serialize;

/// By how much clocks of machines may differ.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(86_400);

/// The freshness of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum FreshnessState {
    /// Synced to its end not too long ago.
    Fresh,
    Stale {
        #[serde(skip)]
        last_success: DateTime<Utc>,
    },
    NeverSynced,
    /// The token may not read the object and never could: it does not count.
    Skipped,
    /// It was synced, and its table was dropped since.
    TableGone,
}

/// What the freshness of an object depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownObject<'a> {
    /// Of its latest run.
    pub status: &'a str,
    pub last_success_at: Option<DateTime<Utc>>,
    pub has_table: bool,
}

impl<'a> From<&'a ObjectState> for KnownObject<'a> {
    fn from(state: &'a ObjectState) -> KnownObject<'a> {
        KnownObject { status: &state.status, last_success_at: state.last_success_at, has_table: state.has_table }
    }
}

/// The freshness of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    stale_after: Duration,
    /// The objects of the settings, in their order, with their last success.
    objects: Vec<(&'static str, FreshnessState, Option<DateTime<Utc>>)>,
}

impl Freshness {
    /// Of these objects; what else was ever synced is nobody's business any more.
    pub fn of(
        objects: impl IntoIterator<Item = &'static str>,
        states: &[ObjectState],
        now: DateTime<Utc>,
        stale_after: Duration,
    ) -> Freshness {
        let known = |object: &str| states.iter().find(|state| state.object == object).map(KnownObject::from);
        Freshness::of_known(objects, known, now, stale_after)
    }

    /// The same where less is known of each object.
    pub fn of_known<'a>(
        objects: impl IntoIterator<Item = &'static str>,
        known: impl Fn(&str) -> Option<KnownObject<'a>>,
        now: DateTime<Utc>,
        stale_after: Duration,
    ) -> Freshness {
        let objects = objects.into_iter().map(|object| {
            let known = known(object);
            (object, state_of(known, now, stale_after), known.and_then(|known| known.last_success_at))
        });
        Freshness { stale_after, objects: objects.collect() }
    }

    /// Whether every object that may be read is fresh, and there is one.
    pub fn is_fresh(&self) -> bool {
        let (fresh, others) = self.objects.iter().fold((0, 0), |(fresh, others), (_, state, _)| match state {
            FreshnessState::Fresh => (fresh + 1, others),
            FreshnessState::Skipped => (fresh, others),
            FreshnessState::Stale { .. } | FreshnessState::NeverSynced | FreshnessState::TableGone => (fresh, others + 1),
        });
        fresh > 0 && others == 0
    }

    pub fn objects(&self) -> impl Iterator<Item = (&'static str, FreshnessState)> {
        self.objects.iter().map(|(object, state, _)| (*object, *state))
    }

    pub fn stale_after(&self) -> Duration {
        self.stale_after
    }

    /// The objects whose data is too old by now, and the latest success of any of them; see [`Freshness::stale_at`].
    pub fn stale(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> (Vec<&'static str>, Option<DateTime<Utc>>) {
        let is_stale = |(_, state, last_success): &&(&str, FreshnessState, Option<DateTime<Utc>>)| {
            let too_old = match last_success {
                Some(last_success) => is_too_old(*last_success, now, self.stale_after),
                None => since + self.stale_after <= now,
            };
            *state != FreshnessState::Skipped && too_old
        };
        let stale = || self.objects.iter().filter(is_stale);
        (stale().map(|(object, ..)| *object).collect(), stale().filter_map(|(.., last_success)| *last_success).max())
    }

    /// The instant from which on the data is too old if nothing is synced before: the first object's. One that was never synced
    /// is waited for from `since` on, say the start of the daemon. None where nothing can get old.
    pub fn stale_at(&self, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let ages = self.objects.iter().filter_map(|(_, state, last_success)| match state {
            FreshnessState::Skipped => None,
            FreshnessState::NeverSynced => Some(since),
            FreshnessState::Fresh | FreshnessState::Stale { .. } | FreshnessState::TableGone => *last_success,
        });
        ages.min().map(|oldest| oldest + self.stale_after)
    }
}

/// A success in the future was noted while the clock was ahead: nobody knows how old the data is, until the next success.
fn is_too_old(last_success: DateTime<Utc>, now: DateTime<Utc>, stale_after: Duration) -> bool {
    last_success + stale_after <= now || last_success > now + CLOCK_TOLERANCE
}

fn state_of(known: Option<KnownObject<'_>>, now: DateTime<Utc>, stale_after: Duration) -> FreshnessState {
    let Some(known) = known else { return FreshnessState::NeverSynced };
    match known.last_success_at {
        None if known.status == "skipped" => FreshnessState::Skipped,
        None => FreshnessState::NeverSynced,
        Some(_) if !known.has_table => FreshnessState::TableGone,
        Some(last_success) if is_too_old(last_success, now, stale_after) => FreshnessState::Stale { last_success },
        Some(_) => FreshnessState::Fresh,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::TimeDelta;

    use super::*;
    use planhat_store::Figures;

    const STALE_AFTER: Duration = Duration::from_secs(26 * 3600);

    pub(crate) fn now() -> DateTime<Utc> {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn ago(hours: i64) -> DateTime<Utc> {
        now() - TimeDelta::hours(hours)
    }

    pub(crate) fn known(object: &str, status: &str, success_hours_ago: Option<i64>) -> ObjectState {
        ObjectState {
            object: object.to_owned(),
            status: status.to_owned(),
            reason: None,
            hint: None,
            finished_at: now(),
            seconds: 1.0,
            last_success_at: success_hours_ago.map(ago),
            last_readable_at: None,
            figures: Figures::default(),
            watermark: None,
            reconciled_at: None,
            full_scan_calls: None,
            load_unfinished: false,
            has_table: true,
            left_out: None,
            left_out_before: None,
            left_out_at: None,
        }
    }

    fn check(known: Option<ObjectState>, expected: FreshnessState) {
        let states: Vec<_> = known.into_iter().collect();
        let freshness = Freshness::of(["nps"], &states, now(), STALE_AFTER);
        assert_eq!(freshness.objects().collect::<Vec<_>>(), [("nps", expected)], "{states:?}");
        assert_eq!(freshness.is_fresh(), expected == FreshnessState::Fresh, "{states:?}");
    }

    #[test]
    fn an_object_is_as_fresh_as_its_last_success_whatever_came_later() {
        check(None, FreshnessState::NeverSynced);
        check(Some(known("nps", "failed", None)), FreshnessState::NeverSynced);
        check(Some(known("nps", "skipped", None)), FreshnessState::Skipped);
        for status in ["succeeded", "partial", "failed", "interrupted", "skipped"] {
            check(Some(known("nps", status, Some(25))), FreshnessState::Fresh);
            check(Some(known("nps", status, Some(27))), FreshnessState::Stale { last_success: ago(27) });
        }
        // Noted while the clock was ahead: that may be hours, by the clocks of two machines, but not days.
        check(Some(known("nps", "succeeded", Some(-20))), FreshnessState::Fresh);
        check(Some(known("nps", "succeeded", Some(-30))), FreshnessState::Stale { last_success: ago(-30) });
        check(Some(known("nps", "succeeded", Some(26))), FreshnessState::Stale { last_success: ago(26) });
        check(Some(ObjectState { has_table: false, ..known("nps", "succeeded", Some(1)) }), FreshnessState::TableGone);
        check(Some(ObjectState { has_table: false, ..known("nps", "failed", None) }), FreshnessState::NeverSynced);
    }

    /// Whether the data of two objects is fresh, and when it gets too old.
    fn of_two(states: &[ObjectState]) -> (bool, Option<DateTime<Utc>>) {
        let freshness = Freshness::of(["companies", "nps"], states, now(), STALE_AFTER);
        (freshness.is_fresh(), freshness.stale_at(ago(2)))
    }

    #[test]
    fn a_workspace_is_as_fresh_as_the_oldest_object_that_may_be_read() {
        let in_hours = |hours: i64| Some(now() + TimeDelta::hours(hours));
        let companies = |hours| known("companies", "succeeded", Some(hours));
        assert_eq!(of_two(&[]), (false, in_hours(24)));
        assert_eq!(of_two(&[companies(1)]), (false, in_hours(24)));
        assert_eq!(of_two(&[companies(1), known("nps", "succeeded", Some(3))]), (true, in_hours(23)));
        assert_eq!(of_two(&[companies(1), known("nps", "skipped", None)]), (true, in_hours(25)));
        assert_eq!(of_two(&[companies(30), known("nps", "succeeded", Some(3))]), (false, in_hours(-4)));
        assert_eq!(of_two(&[known("companies", "skipped", None), known("nps", "skipped", None)]), (false, None));
        // One that left the settings counts for nothing.
        assert_eq!(
            of_two(&[companies(1), known("nps", "succeeded", Some(3)), known("churn", "failed", Some(900))]),
            (true, in_hours(23))
        );
    }
}
