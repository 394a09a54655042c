//! What stays true however often it is looked at. In: two samples, as of any moment. Out: an interval of a sequence that as a whole
//! misses the truth with at most 5 %, and the p that belongs to it. None where nothing varies.
//!
//! An interval of one look misses in 5 of 100 looks; who looks every day and stops at the first that does not hold 0 is misled far more
//! often. This is the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit
//! theory and asymptotic confidence sequences" (Annals of Statistics 52, 2024; arXiv:2103.06476), eq. (10): with t customers
//! in both arms, σ² the variance of the difference times t, and a ρ chosen beforehand,
//!
//! ```text
//! difference ± σ √( 2 (t ρ² + 1) / (t² ρ²) · ln( √(t ρ² + 1) / α ) )
//! ```
//!
//! It is the interval of the mixture sequential probability ratio test with a normal mixture (Robbins 1970; Johari, Koomen, Pekelis and Walsh,
//! "Always Valid Inference", Operations Research 70, 2022; arXiv:1512.04922), whose p is the inverse of the mixture's likelihood ratio.
//! As the z-test it rests on the normal distribution, so its promise begins with some hundred customers.

use serde::Serialize;

use super::ALPHA;
use super::lift::{Interval, difference, variance_of_difference};
use super::sample::{Outcome, Sample};

/// At how many customers the intervals are narrowest unless said otherwise: those that a campaign of a middling shop decides about in a
/// week or two. Farther off they are somewhat wider, and as true.
pub const NARROWEST_AT: f64 = 10_000.0;

/// What can be said at any time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Anytime {
    /// Where the absolute lift is, at all times at once, 95 times of 100.
    pub interval: Interval,
    /// Below 0.05 when that interval does not hold 0: it may be acted on whenever it is seen.
    pub p: f64,
}

impl Anytime {
    pub(super) fn of(outcome: Outcome, treated: &Sample, control: &Sample, narrowest_at: f64) -> Option<Anytime> {
        let difference = difference(treated, control)?;
        let variance = variance_of_difference(outcome, treated, control)?;
        let t = treated.n as f64 + control.n as f64;
        let mixed = t * mixture(narrowest_at);
        let half_width = (variance * (mixed + 1.0) / mixed * ((mixed + 1.0) / (ALPHA * ALPHA)).ln()).sqrt();
        let z_squared = difference * difference / variance;
        let p = ((mixed + 1.0).ln() / 2.0 - z_squared * mixed / (2.0 * (mixed + 1.0))).exp().min(1.0);
        Some(Anytime { interval: Interval::around(difference, half_width), p })
    }
}

/// ρ², by which the sequence is narrowest at `narrowest_at` (the paper's appendix B.2).
fn mixture(narrowest_at: f64) -> f64 {
    let doubt = -2.0 * ALPHA.ln();
    (doubt + (doubt + 1.0).ln()) / narrowest_at.max(1.0)
}
