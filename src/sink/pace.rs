//! How often the ESP may be asked. In: requests per second. Out: permission for one at a time. Its time is tokio's, as that of all
//! waiting here.

use std::num::NonZeroU32;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// A rate that is never exceeded, retries included; a burst is at most a tenth of what a second has.
pub(super) struct Pace(RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<std::time::Instant>>);

/// Tokio's clock.
#[derive(Clone)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = std::time::Instant;

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

impl Pace {
    pub fn new(requests_per_second: NonZeroU32) -> Pace {
        let burst = NonZeroU32::new(requests_per_second.get() / 10).unwrap_or(NonZeroU32::MIN);
        Pace(RateLimiter::direct_with_clock(Quota::per_second(requests_per_second).allow_burst(burst), TokioClock))
    }

    /// Resolves when a request may be made, which then counts as made; dropped before, nothing does.
    pub async fn permit(&self) {
        while let Err(not_yet) = self.0.check() {
            tokio::time::sleep(not_yet.wait_time_from(TokioClock.now())).await;
        }
    }
}
