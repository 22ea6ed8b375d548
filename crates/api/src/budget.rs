//! The call budget that all objects of a run share.
//!
//! Planhat's soft quota is 200 calls a minute (docs/planhat-api.md, source D:authentication-limits). A leaky bucket with a
//! small burst keeps to it in every sliding minute, as the server counts it:
//!
//! ```text
//! burst + refill of a minute + calls still on their way when the minute began <= quota
//!     2 %              96 %                                               2 %
//! ```
//!
//! A process does not know what the one before it has spent. So a budget begins without a burst: as if it had just been used
//! up. What it permits from then on is what the quota refills, so that processes that follow each other permit together no
//! more than one that goes on. The first call of a process waits for a single refill, 0.3 s at 200 calls a minute.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

const MINUTE: Duration = Duration::from_secs(60);

/// The call budget: a call has to be acquired before it is made.
#[derive(Debug)]
pub struct Budget {
    limiter: Option<DefaultDirectRateLimiter>,
    /// The most calls that may come at once.
    burst: u32,
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
        let burst = quota.map_or(0, |quota| quota.burst_size().get());
        let budget = Budget { limiter: quota.map(RateLimiter::direct), burst };
        budget.give_up_burst();
        budget
    }

    /// Gives up what has been saved up for a burst, because another process may have spent it.
    pub(crate) fn give_up_burst(&self) {
        if let Some(limiter) = &self.limiter {
            empty(limiter, self.burst);
        }
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

/// Takes all the calls that are free now, `burst` at most. Any number of them is a sum of powers of two, each taken once.
fn empty<C: Clock>(limiter: &RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>, burst: u32) {
    for calls in (0..=burst.checked_ilog2().unwrap_or(0)).rev().filter_map(|bit| NonZeroU32::new(1 << bit)) {
        // Where not that many are free, none is taken.
        let _ = limiter.check_n(calls);
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
    use governor::clock::{FakeRelativeClock, Reference};
    use proptest::prelude::*;

    /// The instants at which calls were permitted to someone who always wants one, except for these pauses
    /// before some of them.
    fn permitted(calls: u32, pauses: &[(usize, u64)], count: usize) -> Vec<Duration> {
        let clock = FakeRelativeClock::default();
        let limiter = limiter(calls, &clock);
        let (start, mut at) = (clock.now(), Vec::new());
        for number in 0..count {
            if let Some((_, milliseconds)) = pauses.iter().find(|(before, _)| *before == number) {
                clock.advance(Duration::from_millis(*milliseconds));
            }
            wait_for_a_call(&limiter, &clock);
            at.push(Duration::from(clock.now().duration_since(start)));
        }
        at
    }

    type FakeLimiter =
        RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<<FakeRelativeClock as Clock>::Instant>>;

    /// That of a process that begins now.
    fn limiter(calls: u32, clock: &FakeRelativeClock) -> FakeLimiter {
        let quota = quota(NonZeroU32::new(calls).unwrap(), MINUTE).unwrap();
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        empty(&limiter, quota.burst_size().get());
        limiter
    }

    fn burst(calls: u32) -> u32 {
        quota(NonZeroU32::new(calls).unwrap(), MINUTE).unwrap().burst_size().get()
    }

    fn wait_for_a_call(limiter: &FakeLimiter, clock: &FakeRelativeClock) {
        while let Err(not_yet) = limiter.check() {
            clock.advance(not_yet.wait_time_from(clock.now()));
        }
    }

    /// A process: how many milliseconds after the end of the one before it begins, and before which of its calls it pauses
    /// for how many milliseconds. It is killed after the last one.
    type Process = (u64, Vec<u64>);

    /// The instants at which calls were permitted to processes that follow each other. Each of them may have been started
    /// long before its turn, and have saved up calls while it waited for that.
    fn permitted_to_processes(calls: u32, processes: &[Process]) -> Vec<Duration> {
        let clock = FakeRelativeClock::default();
        let (start, mut at) = (clock.now(), Vec::new());
        let limiters: Vec<_> = processes.iter().map(|_| limiter(calls, &clock)).collect();
        for ((rest, pauses), limiter) in processes.iter().zip(limiters) {
            clock.advance(Duration::from_millis(*rest));
            empty(&limiter, burst(calls));
            for pause in pauses {
                clock.advance(Duration::from_millis(*pause));
                wait_for_a_call(&limiter, &clock);
                at.push(Duration::from(clock.now().duration_since(start)));
            }
        }
        at
    }

    /// From nothing to a minute, mostly nothing.
    fn milliseconds() -> impl Strategy<Value = u64> {
        prop_oneof![20 => Just(0), 4 => 0_u64..500, 2 => 0_u64..5000, 1 => 0_u64..70_000]
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
        fn processes_that_follow_each_other_stay_within_the_quota_without_knowing_of_each_other(
            calls in 1u32..400,
            processes in proptest::collection::vec((milliseconds(), proptest::collection::vec(milliseconds(), 0..30)), 1..100),
        ) {
            let busiest = busiest_minute(&permitted_to_processes(calls, &processes));
            prop_assert!(busiest <= (calls - calls / 50) as usize, "{busiest} of {calls}");
        }

        #[test]
        fn the_first_call_of_a_process_waits_for_a_single_refill(calls in 1u32..100_000) {
            let clock = FakeRelativeClock::default();
            let (begun, limiter) = (clock.now(), limiter(calls, &clock));
            wait_for_a_call(&limiter, &clock);
            let refill = quota(NonZeroU32::new(calls).unwrap(), MINUTE).unwrap().replenish_interval();
            prop_assert_eq!(Duration::from(clock.now().duration_since(begun)), refill);
        }

        #[test]
        fn what_was_saved_up_is_given_up_whole(calls in 1u32..100_000, saved in 0_u64..120_000) {
            let clock = FakeRelativeClock::default();
            let limiter = limiter(calls, &clock);
            clock.advance(Duration::from_millis(saved));
            empty(&limiter, burst(calls));
            prop_assert!(limiter.check().is_err());
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
