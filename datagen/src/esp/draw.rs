//! Which fault a request meets. In: the seed, the idempotency key, the attempt. Out: a [`Verdict`], the same for the
//! same three, whatever else goes on. Cannot fail.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Shares of faults, each from 0 to 1; those but `refuse` together at most 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultShares {
    /// Of attempts: 429 with `Retry-After`, nothing taken.
    pub too_many: f64,
    /// Of attempts: 503 with `Retry-After`, nothing taken.
    pub unavailable: f64,
    /// Of attempts: 500, nothing taken; which the client cannot know.
    pub failed: f64,
    /// Of attempts: the message is taken, and then there is no answer.
    pub timeout_after_accept: f64,
    /// Of keys: refused with 400 at every attempt.
    pub refuse: f64,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Taken, and answered.
    Accept,
    /// Taken, and not answered.
    AcceptAndHang,
    /// 429.
    TooMany,
    /// 503.
    Unavailable,
    /// 500.
    Fail,
    /// 400, for good.
    Refuse,
}

/// The verdict on the `attempt`th request (from 1) with this key.
pub fn verdict(seed: u64, key: &str, attempt: u64, shares: &FaultShares) -> Verdict {
    // A permanent refusal must not depend on the attempt, or it would not be permanent.
    if unit(seed, &[b"refuse", key.as_bytes()]) < shares.refuse {
        return Verdict::Refuse;
    }
    let mut u = unit(seed, &[b"attempt", key.as_bytes(), &attempt.to_le_bytes()]);
    for (share, verdict) in [
        (shares.too_many, Verdict::TooMany),
        (shares.unavailable, Verdict::Unavailable),
        (shares.failed, Verdict::Fail),
        (shares.timeout_after_accept, Verdict::AcceptAndHang),
    ] {
        u -= share;
        if u < 0.0 {
            return verdict;
        }
    }
    Verdict::Accept
}

/// A number in 0..1 that is drawn from the seed and these parts.
fn unit(seed: u64, parts: &[&[u8]]) -> f64 {
    xxh3_64_with_seed(&parts.join(&0x1f), seed) as f64 / 2f64.powi(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met_and_refusals_are_for_good() {
        let shares =
            FaultShares { too_many: 0.2, unavailable: 0.1, failed: 0.1, timeout_after_accept: 0.1, refuse: 0.1 };
        let keys: Vec<String> = (0..10_000).map(|key| key.to_string()).collect();
        let of = |attempt| keys.iter().map(move |key| verdict(1, key, attempt, &shares)).collect::<Vec<_>>();
        let (first, second) = (of(1), of(2));
        let count = |wanted| first.iter().filter(|verdict| **verdict == wanted).count();
        // Of the nine in ten that are not refused.
        for (wanted, expected) in [
            (Verdict::Refuse, 1_000),
            (Verdict::TooMany, 1_800),
            (Verdict::Unavailable, 900),
            (Verdict::AcceptAndHang, 900),
            (Verdict::Accept, 4_500),
        ] {
            assert!(count(wanted).abs_diff(expected) < 150, "{wanted:?}: {} instead of {expected}", count(wanted));
        }
        let refused = |verdicts: &[Verdict]| verdicts.iter().map(|v| *v == Verdict::Refuse).collect::<Vec<_>>();
        assert_eq!(refused(&first), refused(&second));
        assert_ne!(first, second);
    }
}
