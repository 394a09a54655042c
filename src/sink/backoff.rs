//! How long to wait before the next attempt. Pure.

use rand::{Rng, RngExt};

/// Full jitter: a delay drawn from `0..=min(cap_ms, base_ms << attempt)`. `attempt` counts from 0.
pub fn backoff_ms(attempt: u32, base_ms: u64, cap_ms: u64, rng: &mut impl Rng) -> u64 {
    let doubled_ms = base_ms.saturating_mul(1_u64.checked_shl(attempt).unwrap_or(u64::MAX));
    rng.random_range(0..=doubled_ms.min(cap_ms))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_delay_doubles_up_to_the_cap_and_is_spread_over_all_of_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (attempt, longest_ms) in [(0, 100), (1, 200), (3, 800), (10, 1_000), (64, 1_000), (u32::MAX, 1_000)] {
            let drawn: Vec<u64> = (0..2_000).map(|_| backoff_ms(attempt, 100, 1_000, &mut rng)).collect();
            assert!(drawn.iter().all(|&delay_ms| delay_ms <= longest_ms), "attempt {attempt}");
            assert!(drawn.iter().any(|&delay_ms| delay_ms < longest_ms / 10), "attempt {attempt}");
            assert!(drawn.iter().any(|&delay_ms| delay_ms > longest_ms * 9 / 10), "attempt {attempt}");
        }
        assert_eq!(backoff_ms(5, 0, 1_000, &mut rng), 0);
    }
}
