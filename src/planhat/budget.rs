//! The call budget that all objects of a run share.
//!
//! Planhat's soft quota is 200 calls a minute (source D:authentication-limits). A leaky bucket with a small
//! burst keeps to it in every sliding minute: burst and refill of a minute together are the quota.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Hands out permission to make a call.
#[derive(Debug)]
pub struct Budget {
    limiter: Option<DefaultDirectRateLimiter>,
}

impl Budget {
    /// `calls_per_minute` of 0 means no limit.
    pub fn per_minute(calls_per_minute: u32) -> Budget {
        Budget { limiter: NonZeroU32::new(calls_per_minute).and_then(quota).map(RateLimiter::direct) }
    }

    /// Waits until a call may be made.
    pub(super) async fn call(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.until_ready().await;
        }
    }
}

/// A twentieth of the calls may come at once; the rest is spread over the minute.
fn quota(calls_per_minute: NonZeroU32) -> Option<Quota> {
    let burst = NonZeroU32::new(calls_per_minute.get() / 20).unwrap_or(NonZeroU32::MIN);
    let refill = (calls_per_minute.get() - burst.get()).max(1);
    Quota::with_period(Duration::from_secs(60) / refill).map(|quota| quota.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn burst_and_refill_of_a_minute_stay_within_the_quota(calls in 2u32..100_000) {
            let quota = quota(NonZeroU32::new(calls).unwrap()).unwrap();
            let refill = Duration::from_secs(60).as_nanos() / quota.replenish_interval().as_nanos();
            prop_assert!(u128::from(quota.burst_size().get()) + refill <= u128::from(calls) + 1);
        }
    }

    #[tokio::test]
    async fn no_limit_never_waits() {
        let budget = Budget::per_minute(0);
        for _ in 0..10_000 {
            budget.call().await;
        }
    }
}
