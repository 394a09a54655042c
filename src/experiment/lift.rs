//! Lifts, absolute and relative, with their intervals. In: two samples. Out: the estimate and where the truth is, 95 times of 100. None
//! where nothing varies, or the control's mean is not positive.
//!
//! The interval of a difference is that which belongs to the test: of rates Wald's, with each arm's own variance, as R's `prop.test`
//! without its correction gives it; of means Welch's. That of a ratio is symmetric in its logarithm (the delta method; of rates it is Katz's).

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::ALPHA;
use super::sample::{Outcome, Sample};
use super::test::{students_t, welch_degrees};

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// So much on either side of `middle`.
    pub(super) fn around(middle: f64, half_width: f64) -> Interval {
        Interval { low: middle - half_width, high: middle + half_width }
    }

    /// Whether `value` is in it.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// How much more than the control.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lift {
    /// What was seen.
    pub estimate: f64,
    /// Where the truth is, 95 times of 100; of one look alone.
    pub interval: Option<Interval>,
}

/// The difference of the means.
pub(super) fn absolute(outcome: Outcome, treated: &Sample, control: &Sample) -> Option<Lift> {
    let estimate = difference(treated, control)?;
    let interval = variance_of_difference(outcome, treated, control).and_then(|variance| {
        let quantile = match outcome {
            Outcome::Rate => normal_quantile(),
            Outcome::Mean => students_t(welch_degrees(treated, control)?)?.inverse_cdf(1.0 - ALPHA / 2.0),
        };
        Some(Interval::around(estimate, quantile * variance.sqrt()))
    });
    Some(Lift { estimate, interval })
}

/// That difference as a share of the control's mean.
pub(super) fn relative(outcome: Outcome, treated: &Sample, control: &Sample) -> Option<Lift> {
    difference(treated, control)?;
    if control.mean <= 0.0 {
        return None;
    }
    let ratio = treated.mean / control.mean;
    let of_logarithm = |sample: &Sample| Some(outcome.variance_of_mean(sample)? / (sample.mean * sample.mean));
    let variance = of_logarithm(treated).zip(of_logarithm(control)).map(|(one, other)| one + other);
    let interval = variance.filter(|variance| variance.is_finite() && *variance > 0.0 && ratio > 0.0).map(|variance| {
        let factor = (normal_quantile() * variance.sqrt()).exp();
        Interval { low: ratio / factor - 1.0, high: ratio * factor - 1.0 }
    });
    Some(Lift { estimate: ratio - 1.0, interval })
}

/// The treated mean less the control's; none where one of them is of nobody.
pub(super) fn difference(treated: &Sample, control: &Sample) -> Option<f64> {
    (treated.n > 0 && control.n > 0).then_some(treated.mean - control.mean)
}

/// The variance of that difference, by what each arm varies; none where neither does.
pub(super) fn variance_of_difference(outcome: Outcome, treated: &Sample, control: &Sample) -> Option<f64> {
    let [one, other] = [treated, control].map(|sample| outcome.variance_of_mean(sample));
    Some(one? + other?).filter(|variance| *variance > 0.0)
}

fn normal_quantile() -> f64 {
    Normal::standard().inverse_cdf(1.0 - ALPHA / 2.0)
}
