//! When the next run is due, and of what: a value that is told what has happened and what time it is, and asks nobody.
//!
//! A run of all objects is due by the schedule, counted from the beginning of the last one. What has failed is tried again
//! alone, unless a run of all objects comes first.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use planhat_model::catalog::Object;

use crate::schedule::Schedule;

/// When a run is tried again after another run held the lease, or the database was unreachable.
const RETRY_SOON: TimeDelta = TimeDelta::minutes(1);

#[derive(Debug, Default)]
pub(super) struct Dispatch {
    last_start: LastStart,
    retry: Option<Retry>,
}

/// When a run of all objects last began, by any daemon.
#[derive(Debug, Default)]
enum LastStart {
    /// The database has not been asked yet, or did not answer.
    #[default]
    Unknown,
    Never,
    At(DateTime<Utc>),
}

#[derive(Debug)]
struct Retry {
    at: DateTime<Utc>,
    objects: Vec<&'static Object>,
}

/// What a run that is due is of.
#[derive(Debug)]
pub(super) enum DueRun {
    AllObjects,
    /// Of what has failed.
    Retry(Vec<&'static Object>),
}

impl Dispatch {
    /// Whether somebody has to look up when the last run of all objects began.
    pub(super) fn needs_last_start(&self) -> bool {
        matches!(self.last_start, LastStart::Unknown)
    }

    pub(super) fn on_last_start(&mut self, last: Option<DateTime<Utc>>) {
        self.last_start = last.map_or(LastStart::Never, LastStart::At);
    }

    /// When the next run is due; a moment that has passed means at once.
    pub(super) fn next_run(&self, schedule: &Schedule, now: DateTime<Utc>) -> DateTime<Utc> {
        let scheduled = match self.last_start {
            LastStart::Unknown => now + RETRY_SOON,
            LastStart::Never => schedule.due(None, now),
            LastStart::At(last) => schedule.due(Some(last), now),
        };
        self.retry.as_ref().map_or(scheduled, |retry| scheduled.min(retry.at))
    }

    /// What the run is of that begins now. A run of all objects does what was to be tried again too.
    pub(super) fn begin(&mut self, now: DateTime<Utc>) -> DueRun {
        match self.retry.take() {
            Some(retry) if retry.at <= now => DueRun::Retry(retry.objects),
            _ => {
                self.last_start = LastStart::At(now);
                DueRun::AllObjects
            }
        }
    }

    /// These objects have failed. Without a `retry_after` they wait for the next run of all objects.
    pub(super) fn on_failed(&mut self, objects: Vec<&'static Object>, retry_after: Duration, now: DateTime<Utc>) {
        let is_retried = !objects.is_empty() && !retry_after.is_zero();
        self.retry = is_retried.then(|| Retry { at: now + retry_after, objects });
    }

    /// The run could not begin, since another one is at work on the workspace.
    pub(super) fn on_busy(&mut self, objects: Vec<&'static Object>, now: DateTime<Utc>) {
        self.retry = Some(Retry { at: now + RETRY_SOON, objects });
    }
}

#[cfg(test)]
mod tests {
    use planhat_model::catalog;

    use super::*;

    const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

    /// A time on the 21st of November, or on the day after.
    fn at(hour: u32, minute: u32) -> DateTime<Utc> {
        format!("2026-11-{:02}T{:02}:{minute:02}:00Z", 21 + hour / 24, hour % 24).parse().unwrap()
    }

    fn objects(names: &[&str]) -> Vec<&'static Object> {
        names.iter().map(|name| catalog::object(name).unwrap()).collect()
    }

    /// A daemon on a schedule of every day at three whose last run of all objects began then.
    fn after(last: Option<DateTime<Utc>>) -> Dispatch {
        let mut dispatch = Dispatch::default();
        dispatch.on_last_start(last);
        dispatch
    }

    #[track_caller]
    fn check_next(dispatch: &Dispatch, now: DateTime<Utc>, expected: DateTime<Utc>) {
        let daily = Schedule::new("0 3 * * *", "UTC", Duration::ZERO, "").unwrap();
        assert_eq!(dispatch.next_run(&daily, now).max(now), expected);
    }

    /// The names of what is tried again; none for a run of all objects.
    fn begin(dispatch: &mut Dispatch, now: DateTime<Utc>) -> Option<Vec<&'static str>> {
        match dispatch.begin(now) {
            DueRun::AllObjects => None,
            DueRun::Retry(objects) => Some(objects.iter().map(|object| object.name).collect()),
        }
    }

    #[test]
    fn a_run_of_all_objects_is_due_by_the_schedule_or_at_once_if_one_was_missed() {
        check_next(&after(None), at(12, 0), at(12, 0));
        check_next(&after(Some(at(3, 0))), at(12, 0), at(27, 0));
        check_next(&after(Some(at(2, 0))), at(12, 0), at(12, 0));
        // The clock was set back since.
        check_next(&after(Some(at(40, 0))), at(12, 0), at(27, 0));
    }

    #[test]
    fn as_long_as_the_last_run_is_not_known_it_is_looked_up_every_minute() {
        let dispatch = Dispatch::default();
        assert!(dispatch.needs_last_start());
        check_next(&dispatch, at(12, 0), at(12, 1));
        assert!(!after(None).needs_last_start());
    }

    #[test]
    fn the_daemon_retries_only_the_failed_objects() {
        let mut dispatch = after(None);
        assert_eq!(begin(&mut dispatch, at(3, 0)), None);
        dispatch.on_failed(objects(&["tasks", "users"]), HALF_AN_HOUR, at(3, 10));
        check_next(&dispatch, at(3, 10), at(3, 40));
        assert_eq!(begin(&mut dispatch, at(3, 40)), Some(vec!["tasks", "users"]));
        // It counts for nothing else: the next run of all objects follows from the last one.
        check_next(&dispatch, at(3, 41), at(27, 0));
    }

    #[test]
    fn a_run_of_all_objects_that_comes_first_does_what_was_to_be_tried_again() {
        let mut dispatch = after(Some(at(2, 50)));
        dispatch.on_failed(objects(&["tasks"]), HALF_AN_HOUR, at(2, 55));
        check_next(&dispatch, at(2, 55), at(3, 0));
        assert_eq!(begin(&mut dispatch, at(3, 0)), None);
        check_next(&dispatch, at(3, 1), at(27, 0));
    }

    #[test]
    fn without_a_retry_after_what_has_failed_waits_for_the_schedule() {
        let mut dispatch = after(Some(at(3, 0)));
        dispatch.on_failed(objects(&["tasks"]), Duration::ZERO, at(3, 10));
        check_next(&dispatch, at(3, 10), at(27, 0));
        dispatch.on_failed(Vec::new(), HALF_AN_HOUR, at(3, 10));
        check_next(&dispatch, at(3, 10), at(27, 0));
    }

    #[test]
    fn a_workspace_that_another_run_is_working_on_is_tried_again_within_a_minute() {
        let mut dispatch = after(None);
        assert_eq!(begin(&mut dispatch, at(3, 0)), None);
        dispatch.on_busy(objects(&["tasks"]), at(3, 0));
        check_next(&dispatch, at(3, 0), at(3, 1));
        assert_eq!(begin(&mut dispatch, at(3, 1)), Some(vec!["tasks"]));
    }
}
