//! The campaigns on abandoned carts, each of which waits another time. In: how many, and the gap. Out: the configuration, and the times.
//! Cannot fail.

use std::fmt::Write;

use super::steps::Steps;

/// The first waits so many tenths of a gap: one pause in eighty is as long, which is about as many decisions a record as the replay bench has.
const TENTHS_OF_A_GAP: u64 = 44;

/// The next waits longer by this part of a gap.
const STEPS_A_GAP: u64 = 25;

/// How long each waits, s.
pub fn afters_s(steps: Steps, campaigns: u64) -> Vec<u64> {
    let gap_ms = steps.gap_ms();
    let (first, step) = (gap_ms * TENTHS_OF_A_GAP / 10_000, (gap_ms / STEPS_A_GAP / 1_000).max(1));
    (0..campaigns).map(|campaign| first.max(1) + campaign * step).collect()
}

/// `beckon.toml`.
pub fn config(afters_s: &[u64]) -> String {
    let mut toml = String::from("tick = \"1s\"\nallowed_lateness = \"5s\"\n");
    for (campaign, after_s) in afters_s.iter().enumerate() {
        // Writing to a text cannot fail.
        let _ = write!(
            toml,
            "\n[[campaign]]\nname = \"cart-{campaign}\"\ntrigger = \"cart_abandonment\"\nafter = \"{after_s}s\"\nexpires = \"1d\"\nstock = \"any\"\n"
        );
    }
    toml
}
