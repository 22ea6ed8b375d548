//! A time as people write it on the command line: `yesterday`, `monday`, `2 days ago`, `2h`, a day, an instant.
//!
//! Days begin at midnight in `daemon.time_zone`, the zone in which runs are scheduled, so that a time means the same on every
//! machine and for every user of an installation. It is UTC unless somebody has set it.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::Tz;

/// A time as it was written, which means an instant once it is known what time it is, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Instant(DateTime<Utc>),
    /// By the clocks on the wall.
    Local(NaiveDateTime),
    /// Midnight this number of days ago; 0 is today.
    DaysAgo(u64),
    /// Midnight of the latest such day, which may be today.
    Day(Weekday),
    Ago(Duration),
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(written: &str) -> Result<When, &'static str> {
        let text = written.trim();
        if let Ok(instant) = text.parse() {
            return Ok(When::Instant(instant));
        }
        let local = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
        let local = local.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
        let midnight = || Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_time(NaiveTime::MIN));
        if let Some(local) = local.or_else(midnight) {
            return Ok(When::Local(local));
        }
        let words = text.to_lowercase();
        match words.as_str() {
            "today" => return Ok(When::DaysAgo(0)),
            "yesterday" => return Ok(When::DaysAgo(1)),
            _ => {}
        }
        if let Ok(day) = words.strip_prefix("last ").unwrap_or(&words).parse() {
            return Ok(When::Day(day));
        }
        let ago = words.strip_suffix(" ago").unwrap_or(&words);
        let one = ago.strip_prefix("a ").or_else(|| ago.strip_prefix("an ")).map(|unit| format!("1 {unit}"));
        let ago = humantime::parse_duration(one.as_deref().unwrap_or(ago));
        ago.map(When::Ago).map_err(|_| {
            "not a time like yesterday, today, monday, \"2 days ago\", 36h, 2024-01-31, \"2024-01-31 08:00\" or 2024-01-31T08:00:00Z"
        })
    }
}

impl When {
    /// The instant; none beyond what a calendar has.
    pub fn instant(self, now: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let today = now.with_timezone(&zone).date_naive();
        match self {
            When::Instant(instant) => Some(instant),
            When::Local(local) => in_zone(local, zone),
            When::DaysAgo(days) => in_zone(today.checked_sub_days(chrono::Days::new(days))?.and_time(NaiveTime::MIN), zone),
            When::Day(day) => {
                let days = today.weekday().days_since(day);
                When::DaysAgo(days.into()).instant(now, zone)
            }
            When::Ago(ago) => now.checked_sub_signed(TimeDelta::from_std(ago).ok()?),
        }
    }
}

/// Where clocks are set forward at midnight, a day begins an hour later.
fn in_zone(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    let hours = (0..=2).filter_map(|hours| local.checked_add_signed(TimeDelta::hours(hours)));
    hours.filter_map(|local| zone.from_local_datetime(&local).earliest()).map(|local| local.to_utc()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Thursday, at half past midnight in Stockholm.
    const NOW: &str = "2026-11-25T23:30:00Z";

    fn check(written: &str, zone: &str, expected: &str) {
        let when: When = written.parse().unwrap();
        let instant = when.instant(NOW.parse().unwrap(), zone.parse().unwrap()).unwrap();
        assert_eq!(instant.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), expected, "{written} in {zone}");
    }

    #[test]
    fn a_time_as_people_write_it_is_an_instant_in_the_zone_of_the_schedule() {
        check("today", "UTC", "2026-11-25T00:00:00Z");
        check("today", "Europe/Stockholm", "2026-11-25T23:00:00Z");
        check("Yesterday", "UTC", "2026-11-24T00:00:00Z");
        check("yesterday", "Europe/Stockholm", "2026-11-24T23:00:00Z");
        check("monday", "UTC", "2026-11-23T00:00:00Z");
        check("mon", "Europe/Stockholm", "2026-11-22T23:00:00Z");
        check("wednesday", "UTC", "2026-11-25T00:00:00Z");
        check("last thursday", "UTC", "2026-11-19T00:00:00Z");
        check("2h", "UTC", "2026-11-25T21:30:00Z");
        check("36h", "Europe/Stockholm", "2026-11-24T11:30:00Z");
        check("2 days ago", "UTC", "2026-11-23T23:30:00Z");
        check("an hour ago", "UTC", "2026-11-25T22:30:00Z");
        check("2024-01-31", "UTC", "2024-01-31T00:00:00Z");
        check("2024-07-31", "Europe/Stockholm", "2024-07-30T22:00:00Z");
        check("2024-01-31 08:00", "Europe/Stockholm", "2024-01-31T07:00:00Z");
        check(" 2024-01-31T08:00:00+01:00 ", "UTC", "2024-01-31T07:00:00Z");
        // Clocks are set forward at midnight, and back.
        check("2026-03-29 02:30", "Europe/Stockholm", "2026-03-29T01:30:00Z");
        check("2026-10-25 02:30", "Europe/Stockholm", "2026-10-25T00:30:00Z");
        check("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in ["", "soon", "tomorrow", "2024-13-01", "monday morning", "-2h", "2 days from now", "36"] {
            assert!(wrong.parse::<When>().is_err(), "{wrong}");
        }
    }
}
