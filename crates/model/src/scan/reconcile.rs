//! How often everything is compared (a full scan): as a setting says, or as the quota allows.

use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// What comparing everything may take of each day's quota.
pub const MINUTES_A_DAY: u32 = 10;
/// A run does not begin at the same second every day.
const TOLERANCE: Duration = Duration::from_secs(4 * 3600);

/// `sync.reconcile_every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReconcileEvery {
    /// Zero for never.
    Fixed(Duration),
    /// As often as some minutes of each day's quota allow, at most daily.
    AsTheQuotaAllows,
}

impl ReconcileEvery {
    /// After how long it is due again, where comparing all objects takes so many calls. Zero for never.
    pub fn interval(self, calls: u64, calls_per_minute: u32) -> Duration {
        match self {
            ReconcileEvery::Fixed(every) => every,
            ReconcileEvery::AsTheQuotaAllows => days(calls, calls_per_minute) * DAY - TOLERANCE,
        }
    }
}

/// Every how many days so many calls fit into what is spent on it. 0 calls a minute means no limit.
pub fn days(calls: u64, calls_per_minute: u32) -> u32 {
    let a_day = u64::from(calls_per_minute) * u64::from(MINUTES_A_DAY);
    if a_day == 0 { 1 } else { u32::try_from(calls.div_ceil(a_day).clamp(1, 366)).unwrap_or(366) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_compared_as_often_as_ten_minutes_of_the_quota_allow_and_at_most_daily() {
        for (calls, per_minute, expected) in
            [(0, 200, 1), (85, 200, 1), (2000, 200, 1), (2001, 200, 2), (10_810, 200, 6), (10_810, 0, 1), (u64::MAX, 1, 366)]
        {
            assert_eq!(days(calls, per_minute), expected, "{calls} calls, {per_minute} a minute");
        }
    }

    #[test]
    fn daily_means_that_tomorrows_run_is_due_even_if_it_begins_a_little_earlier() {
        let daily = ReconcileEvery::AsTheQuotaAllows.interval(85, 200);
        assert!(daily < DAY && daily > DAY / 2);
        assert_eq!(ReconcileEvery::Fixed(DAY * 7).interval(1_000_000, 200), DAY * 7);
        assert_eq!(ReconcileEvery::Fixed(Duration::ZERO).interval(1, 200), Duration::ZERO);
    }
}
