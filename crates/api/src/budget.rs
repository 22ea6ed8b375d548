//! The call budget that all objects of a run share.
//!
//! Planhat's soft quota is 200 calls a minute (docs/planhat-api.md, source D:authentication-limits). A leaky bucket with a
//! small burst keeps to it in every sliding minute, as the server counts it:
//!
//! ```text
//! burst + refill of a minute + calls still on their way when the minute began <= quota
//!     2 %              96 %                                               2 %
//! ```

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

const MINUTE: Duration = Duration::from_secs(60);

/// The call budget: a call has to be acquired before it is made.
#[derive(Debug)]
pub struct Budget {
    limiter: Option<DefaultDirectRateLimiter>,
}

/// Permission to make one call.
#[derive(Debug)]
#[must_use]
pub(crate) struct CallPermit(());

impl Budget {
    /// `calls_per_minute` of 0 means no limit.
    pub fn per_minute(calls_per_minute: u32) -> Budget {
        Budget::per_period(calls_per_minute, MINUTE)
    }

    /// At most this many calls in any period of this length.
    pub fn per_period(calls: u32, period: Duration) -> Budget {
        let quota = NonZeroU32::new(calls).and_then(|calls| quota(calls, period));
        Budget { limiter: quota.map(RateLimiter::direct) }
    }

    /// Waits until a call may be made.
    pub(crate) async fn acquire(&self) -> CallPermit {
        if let Some(limiter) = &self.limiter {
            limiter.until_ready().await;
        }
        CallPermit(())
    }

    /// Acquires a call if that is possible without waiting.
    pub(crate) fn try_acquire(&self) -> Option<CallPermit> {
        let is_free = self.limiter.as_ref().is_none_or(|limiter| limiter.check().is_ok());
        is_free.then_some(CallPermit(()))
    }
}

/// A fiftieth of the calls may come at once, and a fiftieth is kept back: calls that are longer on their way
/// than others arrive among those of the next minute. The rest is spread over the minute.
fn quota(calls: NonZeroU32, period: Duration) -> Option<Quota> {
    let calls = calls.get();
    let fiftieth = calls / 50;
    let burst = NonZeroU32::new(fiftieth).unwrap_or(NonZeroU32::MIN);
    let refill = (calls - burst.get()).saturating_sub(fiftieth).max(1);
    Quota::with_period(period / refill).map(|quota| quota.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::{Clock, FakeRelativeClock, Reference};
    use proptest::prelude::*;

    /// The instants at which calls were permitted to someone who always wants one, except for these pauses
    /// before some of them.
    fn permitted(calls: u32, pauses: &[(usize, u64)], count: usize) -> Vec<Duration> {
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::direct_with_clock(quota(NonZeroU32::new(calls).unwrap(), MINUTE).unwrap(), clock.clone());
        let (start, mut at) = (clock.now(), Vec::new());
        for number in 0..count {
            if let Some((_, milliseconds)) = pauses.iter().find(|(before, _)| *before == number) {
                clock.advance(Duration::from_millis(*milliseconds));
            }
            while let Err(not_yet) = limiter.check() {
                clock.advance(not_yet.wait_time_from(clock.now()));
            }
            at.push(Duration::from(clock.now().duration_since(start)));
        }
        at
    }

    fn busiest_minute(at: &[Duration]) -> usize {
        let minute = |(index, begin): (usize, &Duration)| at[index..].partition_point(|at| *at - *begin < MINUTE);
        at.iter().enumerate().map(minute).max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn burst_refill_and_reserve_of_a_minute_stay_within_the_quota(calls in 2u32..100_000) {
            let quota = quota(NonZeroU32::new(calls).unwrap(), MINUTE).unwrap();
            let refill = MINUTE.as_nanos() / quota.replenish_interval().as_nanos();
            prop_assert!(u128::from(quota.burst_size().get()) + refill + u128::from(calls / 50) <= u128::from(calls));
        }

        #[test]
        fn no_sliding_minute_has_more_calls_than_permitted_whatever_the_pauses(
            calls in 1u32..400,
            pauses in proptest::collection::vec((0usize..1000, 0u64..90_000), 0..8),
        ) {
            let busiest = busiest_minute(&permitted(calls, &pauses, 1000));
            prop_assert!(busiest <= (calls - calls / 50) as usize, "{busiest} of {calls}");
        }

        #[test]
        fn a_caller_that_never_pauses_gets_95_percent_of_the_quota(calls in 20u32..400) {
            let at = permitted(calls, &[], 5 * calls as usize);
            let minutes = at[at.len() - 1].as_secs_f64() / 60.0;
            prop_assert!(at.len() as f64 >= 0.95 * f64::from(calls) * minutes, "{} in {minutes} minutes", at.len());
        }
    }

    #[tokio::test]
    async fn a_budget_without_a_limit_never_waits() {
        let budget = Budget::per_minute(0);
        for _ in 0..10_000 {
            let CallPermit(()) = budget.acquire().await;
        }
    }
}
