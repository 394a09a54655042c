//! Arithmetic of ticks (SPEC §2). Cannot fail.

use crate::model::Tick;

/// The least tick at or after `time_ms`.
pub fn tick_at(time_ms: u64, tick_ms: u64) -> Tick {
    time_ms.div_ceil(tick_ms) * tick_ms
}

/// The first tick at which something that opened at `opening` no longer holds: X later (SPEC §4), or without X never.
pub fn expiry(opening: Tick, expires_ms: Option<u64>) -> Tick {
    expires_ms.map_or(Tick::MAX, |expires_ms| opening.saturating_add(expires_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_takes_effect_at_the_least_tick_not_before_it() {
        assert_eq!([0, 1, 999, 1000, 1001].map(|ms| tick_at(ms, 1000)), [0, 1000, 1000, 1000, 2000]);
    }

    #[test]
    fn without_expires_nothing_expires() {
        assert_eq!((expiry(5000, Some(2000)), expiry(5000, None)), (7000, Tick::MAX));
    }
}
