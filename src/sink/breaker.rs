//! The circuit breaker: how hard an ESP that does not answer may be pressed. In: what each request came to. Out: from when
//! on, and how many at a time, requests may be made. Pure: the caller says what time it is.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::backoff_ms;

/// So many failures in a row open it.
const FAILURES_MAX: u32 = 5;

/// Counts failures of the ESP itself (no connection, 429, 503, no answer), not of single messages.
pub(super) struct Breaker {
    failures: u32,
    shut_until: Instant,
    backoff_base_ms: u64,
    backoff_cap_ms: u64,
}

impl Breaker {
    pub fn new(now: Instant, backoff_base_ms: u64, backoff_cap_ms: u64) -> Breaker {
        Breaker { failures: 0, shut_until: now, backoff_base_ms, backoff_cap_ms }
    }

    /// The ESP answered about a message: all is well.
    pub fn answered(&mut self) {
        self.failures = 0;
    }

    /// The ESP failed. It is left alone for as long as it asks, and, after several failures in a row, for a growing while.
    pub fn failed(&mut self, now: Instant, retry_after_ms: Option<u64>, rng: &mut impl Rng) {
        self.failures = self.failures.saturating_add(1);
        let rest_ms = match self.failures.checked_sub(FAILURES_MAX) {
            Some(beyond) => backoff_ms(beyond, self.backoff_base_ms, self.backoff_cap_ms, rng),
            None => 0,
        };
        let rest = Duration::from_millis(rest_ms.max(retry_after_ms.unwrap_or(0)));
        self.shut_until = self.shut_until.max(now + rest);
    }

    /// No request before this.
    pub fn shut_until(&self) -> Instant {
        self.shut_until
    }

    /// How many requests at a time: one alone while it is being found out whether the ESP is back.
    pub fn concurrency(&self, most: usize) -> usize {
        if self.failures >= FAILURES_MAX { 1 } else { most }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_at_the_first_answer() {
        let (now, mut rng) = (Instant::now(), ChaCha8Rng::seed_from_u64(1));
        let mut breaker = Breaker::new(now, 1_000, 60_000);
        for _ in 1..FAILURES_MAX {
            breaker.failed(now, None, &mut rng);
        }
        assert_eq!((breaker.shut_until(), breaker.concurrency(8)), (now, 8));
        for _ in 0..20 {
            breaker.failed(now, None, &mut rng);
        }
        assert!(breaker.shut_until() > now + Duration::from_secs(1));
        assert!(breaker.shut_until() <= now + Duration::from_secs(60));
        assert_eq!(breaker.concurrency(8), 1);
        breaker.answered();
        assert_eq!(breaker.concurrency(8), 8);
    }

    #[test]
    fn what_the_esp_asks_for_is_done_at_once() {
        let (now, mut rng) = (Instant::now(), ChaCha8Rng::seed_from_u64(1));
        let mut breaker = Breaker::new(now, 1_000, 60_000);
        breaker.failed(now, Some(7_000), &mut rng);
        breaker.failed(now, Some(2_000), &mut rng);
        assert_eq!(breaker.shut_until(), now + Duration::from_secs(7));
        assert_eq!(breaker.concurrency(8), 8);
    }
}
