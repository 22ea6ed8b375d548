//! When a run of the daemon is due.
//!
//! A cron expression in a time zone, plus a delay that is fixed per installation, so that not all installations call Planhat in
//! the same minute. A run that was missed while the daemon was down is due at once.
//!
//! A schedule that ends is refused: a daemon runs for good, and one day the data would silently become stale.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::Cron;
use humantime::format_duration;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Arc<Cron>,
    /// The expression as it was written.
    text: String,
    zone: Tz,
    jitter: Duration,
    delay: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("{text:?} is not a cron expression like \"0 3 * * *\" (minute, hour, day, month, weekday): {problem}")]
    Cron { text: String, problem: String },
    #[error("{0:?} is not a time zone like \"UTC\" or \"Europe/Stockholm\"")]
    Zone(String),
    #[error("{0:?} never occurs; \"0 3 * * *\" is every day at 03:00")]
    Never(String),
    #[error("{0:?} names years, after which no run would start; leave them out (\"0 3 * * *\" is every day at 03:00)")]
    Ends(String),
    #[error(
        "{} is longer than the {} between two runs of {schedule:?}, so that a run could start after the next one is due; {} works",
        format_duration(*jitter), format_duration(*interval), format_duration(*interval / 10)
    )]
    Jitter { schedule: String, jitter: Duration, interval: Duration },
}

/// As many runs ahead are looked at to see how close together two of them are.
const NEXT_RUNS: usize = 100;
/// To see how far apart two are: a year has every pause that a schedule knows, and so many runs every night and
/// every weekend of one that runs each minute.
const A_YEAR: TimeDelta = TimeDelta::days(366);
const RUNS_OF_SOME_WEEKS: usize = 10_000;

impl Schedule {
    /// `installation` identifies this installation, which always gets the same delay below `jitter`. What is wrong with the expression
    /// or the time zone is found here, everything else by [`checked`](Self::checked).
    pub fn new(cron: &str, zone: &str, jitter: Duration, installation: &str) -> Result<Schedule, ScheduleError> {
        let parsed =
            Cron::from_str(cron).map_err(|error| ScheduleError::Cron { text: cron.to_owned(), problem: error.to_string() })?;
        let zone = zone.parse().map_err(|_| ScheduleError::Zone(zone.to_owned()))?;
        let delay = xxh3_64(installation.as_bytes()).checked_rem(jitter.as_secs()).unwrap_or_default();
        if cron.split_whitespace().nth(6).is_some_and(|years| !years.contains('*')) {
            return Err(ScheduleError::Ends(cron.to_owned()));
        }
        Ok(Schedule { cron: Arc::new(parsed), text: cron.to_owned(), zone, jitter, delay: Duration::from_secs(delay) })
    }

    /// Uses the expression of another schedule where it is the same: a parsed one takes some kilobytes, and a thousand workspaces may have one.
    pub fn sharing(self, other: &Schedule) -> Schedule {
        let cron = if self.text == other.text { Arc::clone(&other.cron) } else { self.cron };
        Schedule { cron, ..self }
    }

    /// This schedule, if it goes on occurring, and no more often than the jitter allows. That takes a look at many occurrences.
    pub fn checked(self) -> Result<Schedule, ScheduleError> {
        let now = Utc::now();
        if self.next_after(now).is_none() {
            return Err(ScheduleError::Never(self.text));
        }
        match self.intervals(now).take(NEXT_RUNS).min() {
            Some(interval) if self.jitter > interval => {
                Err(ScheduleError::Jitter { schedule: self.text, jitter: self.jitter, interval })
            }
            _ => Ok(self),
        }
    }

    /// The longest time between two runs, of those in the year after `now`.
    pub fn longest_interval(&self, now: DateTime<Utc>) -> Duration {
        let mut passed = TimeDelta::zero();
        // The first one counts, however long it is.
        let of_a_year = self.intervals(now).take(RUNS_OF_SOME_WEEKS).take_while(|interval| {
            let counts = passed < A_YEAR;
            passed += TimeDelta::from_std(*interval).unwrap_or(A_YEAR);
            counts
        });
        of_a_year.max().unwrap_or_default()
    }

    /// The times between runs after `now`.
    fn intervals(&self, now: DateTime<Utc>) -> impl Iterator<Item = Duration> {
        let mut last = self.next_after(now);
        std::iter::from_fn(move || {
            let (before, next) = (last?, self.next_after(last?)?);
            last = Some(next);
            (next - before).to_std().ok()
        })
    }

    /// The first time after `instant` that a run is due.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let wall_clock = (instant - self.delay).with_timezone(&self.zone);
        let next = self.cron.find_next_occurrence(&wall_clock, false).ok()?;
        Some(next.to_utc() + self.delay)
    }

    /// When the next run is due if the last one began at `last`; a time in the past means at once. If `last` is in the future,
    /// the clock was set back since.
    pub fn due(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> DateTime<Utc> {
        last.map_or(Some(now), |last| self.next_after(last.min(now))).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn daily(zone: &str) -> Schedule {
        Schedule::new("0 3 * * *", zone, Duration::ZERO, "").unwrap()
    }

    #[test]
    fn a_daily_schedule_is_due_at_its_hour_in_its_time_zone() {
        assert_eq!(daily("UTC").next_after(at("2026-11-21T03:00:00Z")), Some(at("2026-11-22T03:00:00Z")));
        assert_eq!(daily("UTC").next_after(at("2026-11-21T02:59:59Z")), Some(at("2026-11-21T03:00:00Z")));
        assert_eq!(daily("Europe/Stockholm").next_after(at("2026-07-01T12:00:00Z")), Some(at("2026-07-02T01:00:00Z")));
        assert_eq!(daily("Europe/Stockholm").next_after(at("2026-12-01T12:00:00Z")), Some(at("2026-12-02T02:00:00Z")));
    }

    #[test]
    fn a_run_scheduled_in_the_hour_skipped_by_daylight_saving_still_happens_that_day() {
        let schedule = Schedule::new("30 2 * * *", "Europe/Stockholm", Duration::ZERO, "").unwrap();
        let next = schedule.next_after(at("2026-03-28T12:00:00Z")).unwrap();
        assert!((at("2026-03-29T00:00:00Z")..at("2026-03-29T02:00:00Z")).contains(&next), "{next}");
    }

    #[test]
    fn a_missed_run_and_a_first_run_are_due_at_once() {
        let now = at("2026-11-21T09:00:00Z");
        assert_eq!(daily("UTC").due(None, now), now);
        assert!(daily("UTC").due(Some(at("2026-11-20T03:00:00Z")), now) < now);
        assert_eq!(daily("UTC").due(Some(at("2026-11-21T03:00:00Z")), now), at("2026-11-22T03:00:00Z"));
    }

    #[test]
    fn setting_the_clock_back_delays_the_next_run_by_a_day_at_most() {
        let now = at("2026-11-21T09:00:00Z");
        assert_eq!(daily("UTC").due(Some(at("2027-11-21T03:00:00Z")), now), at("2026-11-22T03:00:00Z"));
    }

    #[test]
    fn the_delay_of_an_installation_is_constant_and_below_the_jitter() {
        let delay = |installation| {
            let schedule = Schedule::new("0 3 * * *", "UTC", Duration::from_secs(600), installation).unwrap();
            let next = schedule.next_after(at("2026-11-21T12:00:00Z")).unwrap();
            // The next one follows from the one before.
            assert_eq!(schedule.next_after(next), Some(next + chrono::TimeDelta::days(1)));
            next - at("2026-11-22T03:00:00Z")
        };
        for installation in ["a", "b", "c"] {
            assert!((0..600).contains(&delay(installation).num_seconds()));
            assert_eq!(delay(installation), delay(installation));
        }
        assert_ne!(delay("a"), delay("b"));
    }

    #[test]
    fn an_invalid_schedule_is_refused() {
        let with = |cron, zone| Schedule::new(cron, zone, Duration::ZERO, "").and_then(Schedule::checked);
        let refused = |cron, zone| with(cron, zone).unwrap_err().to_string();
        assert!(refused("every day", "UTC").contains("is not a cron expression"));
        assert!(refused("0 25 * * *", "UTC").contains("is not a cron expression"));
        assert!(refused("0 3 * * *", "Mars/Olympus").contains("is not a time zone"));
        insta::assert_snapshot!(
            [refused("0 3 31 2 *", "UTC"), refused("0 0 3 1 1 * 2020", "UTC"), refused("0 0 3 1 1 * 2026-2099", "UTC")].join("\n"),
            @r#"
        "0 3 31 2 *" never occurs; "0 3 * * *" is every day at 03:00
        "0 0 3 1 1 * 2020" names years, after which no run would start; leave them out ("0 3 * * *" is every day at 03:00)
        "0 0 3 1 1 * 2026-2099" names years, after which no run would start; leave them out ("0 3 * * *" is every day at 03:00)
        "#
        );
        assert!(with("0 0 3 * * * *", "UTC").is_ok());
    }

    #[test]
    fn a_jitter_is_no_longer_than_the_shortest_time_between_two_runs() {
        let new = |cron, minutes: u64| Schedule::new(cron, "UTC", Duration::from_secs(60 * minutes), "");
        let with = |cron, minutes| new(cron, minutes).and_then(Schedule::checked).map(|_| ());
        let refused = |cron, minutes| with(cron, minutes).unwrap_err().to_string();
        assert!(with("*/15 * * * *", 15).is_ok() && with("0 3 1 1 *", 24 * 60 * 300).is_ok());
        insta::assert_snapshot!([refused("*/5 * * * *", 10), refused("0,20 3 * * 1", 30)].join("\n"), @r#"
        10m is longer than the 5m between two runs of "*/5 * * * *", so that a run could start after the next one is due; 30s works
        30m is longer than the 20m between two runs of "0,20 3 * * 1", so that a run could start after the next one is due; 2m works
        "#);
    }

    #[test]
    fn the_longest_time_between_two_runs_is_that_of_a_night_a_weekend_or_years() {
        for (cron, hours) in [
            ("0 3 * * *", 24_u64),
            ("0 3 * * 1", 7 * 24),
            ("* 8-17 * * 1-5", 62),
            ("0 0 1 1 *", 366 * 24),
            ("0 0 29 2 *", 4 * 366 * 24),
        ] {
            let schedule = Schedule::new(cron, "UTC", Duration::ZERO, "").unwrap();
            let longest = schedule.longest_interval(at("2026-11-21T12:00:00Z")).as_secs() / 3600;
            assert!((hours.saturating_sub(72)..=hours).contains(&longest) && longest > hours / 2, "{cron}: {longest}");
        }
    }
}
