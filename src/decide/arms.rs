//! Holdout and variants, drawn from a hash of the experiment and the customer, so that a customer stays in their arm (SPEC §5).

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

/// The arms of an experiment.
#[derive(Clone, Debug)]
pub struct Arms {
    /// What the draw is keyed by: campaigns of one experiment share their arms.
    pub experiment: Arc<str>,
    /// Share of customers held out, 0 to 1.
    pub holdout: f64,
    /// The variants, in the order written; they share what is left.
    pub variants: Vec<Variant>,
}

/// A variant.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name.
    pub name: Arc<str>,
    /// Its share, relative to the others'.
    pub weight: f64,
}

/// What was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arm<'a> {
    /// Gets nothing, and is compared with.
    Holdout,
    /// Gets the mail; which one, where there are several.
    Send(Option<&'a Variant>),
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Arms {
    /// The customer's draw: XXH3-64(experiment ␟ customer_id) / 2^64.
    pub fn u(&self, customer_id: &str) -> f64 {
        let key = [self.experiment.as_bytes(), &[0x1F], customer_id.as_bytes()].concat();
        xxh3_64(&key) as f64 / 2f64.powi(64)
    }

    /// The arm of a draw: held out below `holdout`, otherwise the variant in whose share of the rest it lies.
    pub fn arm(&self, u: f64) -> Arm<'_> {
        if u < self.holdout {
            return Arm::Holdout;
        }
        let found = upper_bounds(self).find(|(_, bound)| u < *bound).map(|(variant, _)| variant);
        // Rounding can leave the last bound a hair below 1.
        Arm::Send(found.or(self.variants.last()))
    }
}

/// The variants in the order written, each with the bound below which it is drawn.
pub fn upper_bounds(arms: &Arms) -> impl Iterator<Item = (&Variant, f64)> {
    let sum: f64 = arms.variants.iter().map(|variant| variant.weight).sum();
    arms.variants.iter().scan(0.0, move |below, variant| {
        *below += variant.weight;
        Some((variant, arms.holdout + (1.0 - arms.holdout) * *below / sum))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arms(holdout: f64, weights: &[f64]) -> Arms {
        let variant = |(index, weight): (usize, &f64)| Variant { name: format!("v{index}").into(), weight: *weight };
        Arms { experiment: "x".into(), holdout, variants: weights.iter().enumerate().map(variant).collect() }
    }

    #[test]
    fn shares_are_as_configured() {
        let arms = arms(0.1, &[1.0, 3.0]);
        let mut counts = [0usize; 3];
        for customer in 0..100_000 {
            match arms.arm(arms.u(&format!("u{customer}"))) {
                Arm::Holdout => counts[0] += 1,
                Arm::Send(Some(variant)) if &*variant.name == "v0" => counts[1] += 1,
                Arm::Send(_) => counts[2] += 1,
            }
        }
        let expected = [10_000.0, 22_500.0, 67_500.0];
        for (count, expected) in counts.iter().zip(expected) {
            assert!((*count as f64 - expected).abs() < 4.0 * f64::sqrt(expected), "{counts:?}");
        }
    }

    #[test]
    fn nobody_is_held_out_and_nothing_is_named_unless_asked() {
        let arms = arms(0.0, &[]);
        assert!((0..1000).all(|customer| arms.arm(arms.u(&customer.to_string())) == Arm::Send(None)));
    }
}
