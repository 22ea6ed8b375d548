//! How long a workspace waits after its runs have failed: a value that asks nobody.

use std::time::Duration;

/// However often a run has failed, it is tried again after this time.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// How long to wait after one more failure behind so many: `first`, doubled for each. None if failures wait for the schedule.
pub(super) fn wait_after(first: Duration, failures_before: i32) -> Option<Duration> {
    if first.is_zero() {
        return None;
    }
    let doublings = u32::try_from(failures_before).unwrap_or_default().min(31);
    Some(first.saturating_mul(1 << doublings).min(LONGEST.max(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_doubles_the_wait_up_to_six_hours() {
        let minutes =
            |first: u64, failures| wait_after(Duration::from_secs(first * 60), failures).map(|wait| wait.as_secs() / 60);
        for (first, failures, expected) in [
            (5, 0, Some(5)),
            (5, 1, Some(10)),
            (5, 2, Some(20)),
            (5, 6, Some(320)),
            (5, 7, Some(360)),
            (5, 1000, Some(360)),
            // Who asks for a longer wait gets it.
            (600, 0, Some(600)),
            (600, 3, Some(600)),
            (0, 0, None),
            (5, -1, Some(5)),
        ] {
            assert_eq!(minutes(first, failures), expected, "{failures} failures after {first} minutes");
        }
    }
}
