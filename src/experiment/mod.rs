//! Experiments (SPEC §9): what an arm did, compared with the control. In: for each arm how many there were, and the mean and spread of
//! an outcome. Out: lifts with intervals, tests, whether the arms have the sizes that they should, and what stays true
//! however often it is looked at. Pure; what cannot be computed, of two customers say, is none rather than a number.
//!
//! The command `beckon experiment` and the KPIs ask the same functions. Every interval is one of 95 %, every test two-sided.

mod always;
mod lift;
mod ratio;
mod sample;
pub mod table;
mod test;

use serde::Serialize;

pub use always::{Anytime, NARROWEST_AT};
pub use lift::{Interval, Lift};
pub use ratio::{Arm, SampleRatio};
pub use sample::{Outcome, Sample};
pub use test::Test;

/// The share of intervals that miss what they are about, and of tests that see what is not there.
const ALPHA: f64 = 0.05;

/// An arm beside the control, in one outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The arm's.
    pub treated: Sample,
    /// What it is compared with.
    pub control: Sample,
    /// The arm's mean less the control's.
    pub absolute: Option<Lift>,
    /// The same as a share of the control's mean.
    pub relative: Option<Lift>,
    /// Whether the difference may be chance: the pooled z-test of two proportions, or Welch's t-test.
    pub test: Option<Test>,
    /// The same at any time, for who looks again and again and stops when it pleases.
    pub anytime: Option<Anytime>,
    /// There are too few to trust the normal distribution, on which all of these rest.
    pub is_sparse: bool,
}

impl Comparison {
    /// Compares `treated` with `control` in an outcome of that kind. The sequence of intervals is narrowest when both have together
    /// come to `narrowest_at`, which must be chosen before anything is seen.
    pub fn of(outcome: Outcome, treated: Sample, control: Sample, narrowest_at: f64) -> Comparison {
        Comparison {
            absolute: lift::absolute(outcome, &treated, &control),
            relative: lift::relative(outcome, &treated, &control),
            test: Test::of(outcome, &treated, &control),
            anytime: Anytime::of(outcome, &treated, &control, narrowest_at),
            is_sparse: outcome.is_sparse(&treated) || outcome.is_sparse(&control),
            treated,
            control,
        }
    }
}
