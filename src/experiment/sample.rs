//! What is known of an outcome in one arm. In: values one by one, or their sums. Out: count, mean and variance. Cannot fail.

use serde::Serialize;

/// The kind of an outcome: it says which test is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of each either 0 or 1: the mean is a rate.
    Rate,
    /// A number.
    Mean,
}

/// Fewer than this of either kind, and a rate is far from normal.
const OF_EACH_KIND_MIN: f64 = 5.0;

/// Fewer than this, and a mean is.
const OF_A_MEAN_MIN: u64 = 30;

impl Outcome {
    /// The variance of the sample's mean: of a rate p (1 − p) / n, of a mean s² / n. None where there are too few for one.
    pub(super) fn variance_of_mean(self, sample: &Sample) -> Option<f64> {
        let n = sample.n as f64;
        match self {
            Outcome::Rate if sample.n > 0 => Some(sample.mean * (1.0 - sample.mean) / n),
            Outcome::Rate => None,
            Outcome::Mean => Some(sample.variance()? / n),
        }
    }

    /// Whether there are too few for the normal distribution.
    pub(super) fn is_sparse(self, sample: &Sample) -> bool {
        let (n, ones) = (sample.n as f64, sample.n as f64 * sample.mean);
        match self {
            // Counts in doubles are exact to far less than a half.
            Outcome::Rate => ones.min(n - ones) < OF_EACH_KIND_MIN - 0.5,
            Outcome::Mean => sample.n < OF_A_MEAN_MIN,
        }
    }
}

/// What is known of an outcome in one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// How many there are.
    pub n: u64,
    /// Their mean; 0 of none.
    pub mean: f64,
    /// The sum of squared distances from it.
    #[serde(skip)]
    pub squares: f64,
}

impl Sample {
    /// That of `ones` among `n`.
    pub fn of_rate(ones: u64, n: u64) -> Sample {
        let mean = if n == 0 { 0.0 } else { ones as f64 / n as f64 };
        Sample { n, mean, squares: ones as f64 * (1.0 - mean) }
    }

    /// That of `n` values with this sum, and this sum of their squares.
    pub fn of_sums(n: u64, sum: f64, sum_of_squares: f64) -> Sample {
        let mean = if n == 0 { 0.0 } else { sum / n as f64 };
        // Rounding can leave a hair less than nothing.
        Sample { n, mean, squares: (sum_of_squares - sum * mean).max(0.0) }
    }

    /// Takes up a value (Welford's way, which loses no digits to large means).
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        let before = value - self.mean;
        self.mean += before / self.n as f64;
        self.squares += before * (value - self.mean);
    }

    /// The variance, over n − 1; none of fewer than two.
    pub fn variance(&self) -> Option<f64> {
        (self.n > 1).then(|| self.squares / (self.n - 1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_one_by_one_and_their_sums_are_one_sample() {
        let values = [12.5, 0.0, 0.0, 99.9, 7.25];
        let mut one_by_one = Sample::default();
        values.iter().for_each(|value| one_by_one.add(*value));
        let sums = Sample::of_sums(5, values.iter().sum(), values.iter().map(|value| value * value).sum());
        assert!((one_by_one.mean - sums.mean).abs() < 1e-12);
        assert!((one_by_one.squares - sums.squares).abs() < 1e-9);
        let mut rate = Sample::default();
        [1.0, 0.0, 0.0, 1.0].iter().for_each(|value| rate.add(*value));
        assert_eq!(rate, Sample::of_rate(2, 4));
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        let none = Sample::of_sums(0, 0.0, 0.0);
        assert_eq!((none.variance(), Outcome::Rate.variance_of_mean(&none)), (None, None));
        assert!(
            Outcome::Rate.is_sparse(&Sample::of_rate(4, 1000)) && !Outcome::Rate.is_sparse(&Sample::of_rate(5, 1000))
        );
        assert!(Outcome::Rate.is_sparse(&Sample::of_rate(996, 1000)));
    }
}
