//! The sample-ratio check (SPEC §9): whether the arms have the sizes that their weights give them. In: counts and weights. Out: the
//! chi-square test of them. None with fewer than two arms that should have anybody.
//!
//! Where they have not, something sorts customers into or out of an arm, and no comparison of the arms says anything.

use serde::Serialize;
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// Below this p nothing is believed (SPEC §9).
const P_MIN: f64 = 0.001;

/// An arm's size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// How many are in it.
    pub n: u64,
    /// Its share, relative to the others'; 0 or more.
    pub weight: f64,
}

/// What the check says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleRatio {
    /// The arms.
    pub arms: Vec<Arm>,
    /// Chi-square: how far the counts are from those expected.
    pub chi_square: f64,
    /// How often chance alone leads as far, 0 to 1.
    pub p: f64,
    /// p is below 0.001: the comparison is not to be believed.
    pub is_mismatch: bool,
}

impl SampleRatio {
    /// Checks arms. One of weight 0 should have nobody, and is a mismatch by itself when it has.
    pub fn of(arms: Vec<Arm>) -> Option<SampleRatio> {
        let weights: f64 = arms.iter().map(|arm| arm.weight).sum();
        let n = arms.iter().map(|arm| arm.n as f64).sum::<f64>();
        let weighed = arms.iter().filter(|arm| arm.weight > 0.0);
        let degrees = weighed.clone().count().checked_sub(1).filter(|degrees| *degrees > 0)?;
        if n <= 0.0 {
            return None;
        }
        let is_astray = arms.iter().any(|arm| arm.weight <= 0.0 && arm.n > 0);
        let far = |arm: &Arm| {
            let expected = n * arm.weight / weights;
            (arm.n as f64 - expected).powi(2) / expected
        };
        let chi_square: f64 = weighed.map(far).sum();
        let p = if is_astray { 0.0 } else { ChiSquared::new(degrees as f64).ok()?.sf(chi_square) };
        Some(SampleRatio { arms, chi_square, p, is_mismatch: p < P_MIN })
    }
}
