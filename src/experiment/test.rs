//! Tests of one look: the pooled z-test of two proportions, and Welch's t-test of two means (SPEC §9). In: two samples. Out: the
//! statistic and the two-sided p. None where nothing varies.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::lift::difference;
use super::sample::{Outcome, Sample};

/// What a test says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Test {
    /// z or t: the difference in its standard errors.
    pub statistic: f64,
    /// The degrees of freedom of a t.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub degrees_of_freedom: Option<f64>,
    /// How often chance alone makes a difference like this or greater, 0 to 1.
    pub p: f64,
}

impl Test {
    /// The test that fits the outcome.
    pub(super) fn of(outcome: Outcome, treated: &Sample, control: &Sample) -> Option<Test> {
        match outcome {
            Outcome::Rate => two_proportions(treated, control),
            Outcome::Mean => welch(treated, control),
        }
    }
}

/// The z-test of two proportions. If there is no difference, both are one sample, and that says what the error is.
fn two_proportions(treated: &Sample, control: &Sample) -> Option<Test> {
    let (n, m) = (treated.n as f64, control.n as f64);
    let pooled = (treated.mean * n + control.mean * m) / (n + m);
    let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    let statistic = difference(treated, control)? / error;
    let p = 2.0 * Normal::standard().sf(statistic.abs());
    statistic.is_finite().then_some(Test { statistic, degrees_of_freedom: None, p })
}

/// Welch's t-test, for means of arms that may spread differently.
fn welch(treated: &Sample, control: &Sample) -> Option<Test> {
    let (degrees, error) = (welch_degrees(treated, control)?, welch_error(treated, control)?);
    let statistic = (treated.mean - control.mean) / error;
    let p = 2.0 * students_t(degrees)?.sf(statistic.abs());
    Some(Test { statistic, degrees_of_freedom: Some(degrees), p })
}

/// The standard error of the difference of two means; none where nothing varies.
fn welch_error(treated: &Sample, control: &Sample) -> Option<f64> {
    let [one, other] = [treated, control].map(|sample| Outcome::Mean.variance_of_mean(sample));
    Some((one? + other?).sqrt()).filter(|error| *error > 0.0)
}

/// Welch's and Satterthwaite's degrees of freedom of that difference.
pub(super) fn welch_degrees(treated: &Sample, control: &Sample) -> Option<f64> {
    let parts = [treated, control].map(|sample| {
        let variance = Outcome::Mean.variance_of_mean(sample)?;
        Some((variance, variance * variance / (sample.n - 1) as f64))
    });
    let [(one, one_part), (other, other_part)] = [parts[0]?, parts[1]?];
    Some((one + other).powi(2) / (one_part + other_part)).filter(|degrees| degrees.is_finite())
}

/// Student's t with so many degrees of freedom.
pub(super) fn students_t(degrees: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, degrees).ok()
}
