//! Who does what, and when. In: how many customers, and a seed. Out: steps, in the order of their times: everybody's open cart, then
//! the mix of `cargo bench --bench replay` spread over everybody. Cannot fail.
//!
//! A shop sells as many records a second whatever its customers are, so that ticks are equally full; then one of ten times as many
//! customers comes back a tenth as often. All times are therefore multiples of the *gap*, the mean time between two records of one
//! customer, and the last activities lie behind the beginning as they would had the mix gone on for ever: any second looks like any other,
//! and as many carts are left alone in it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Records a second of event time. Nineteen in twenty are a customer's, but that is neglected in the gap.
pub const RATE: u64 = 2_000;

/// When the mix begins, epoch ms.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// The oldest cart is not so many gaps old: they are as old as the logarithm of twice the number of customers.
const GAPS_BEFORE: u64 = 25;

/// So fast are profiles told: some seconds before the oldest cart, whatever their number is, and few at a tick.
const PROFILES_A_MS: u64 = 16;

/// Those who only warm the engine up come after the customers.
pub const WARMERS: u64 = 64;

/// Of every 20 records 14 are Product Viewed, 3 `carts`, 2 `inventory` and 1 `orders`.
const ROUND: [Kind; 20] = {
    use Kind::{Cart as C, Inventory as I, Order as O, View as V};
    [V, V, C, V, V, V, I, V, V, C, V, V, O, V, V, C, V, V, I, V]
};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Profile,
    View,
    Cart,
    Inventory,
    Order,
}

/// Somebody does something.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub kind: Kind,
    /// Which customer; of stock, nobody in particular.
    pub customer: u64,
    /// When, epoch ms.
    pub at_ms: u64,
    /// A number of its own, which grows.
    pub number: u64,
}

/// The steps of a shop of so many customers.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    pub customers: u64,
}

impl Steps {
    /// The mean time between two records of one customer, ms.
    pub fn gap_ms(self) -> u64 {
        (self.customers * 1_000 / RATE).max(1)
    }

    /// Before everything else, where so many profiles warm the engine up.
    pub fn earliest_ms(self, warming: u64) -> u64 {
        self.opening_ms() - 4 * warming * 1_000 / RATE - 4_000
    }

    /// So many profiles, told again and again, and three times as many records of the mix, all of the few who warm the engine up.
    pub fn warming(self, records: u64) -> impl Iterator<Item = Step> {
        let own = move |step: Step| Step { customer: self.customers + step.customer % WARMERS, ..step };
        let at = move |n: u64| self.opening_ms() - (4 * records - n) * 1_000 / RATE - 2_000;
        let profiles =
            (0..records).map(move |n| Step { kind: Kind::Profile, customer: n, at_ms: at(n), number: 1 + n });
        let drawn = draw(0, 1 + records, WARMERS).take(3 * records as usize);
        profiles.chain(drawn.map(move |step| Step { at_ms: at(step.number - 1), ..step })).map(own)
    }

    /// Everybody's profile.
    pub fn profiles(self, number: u64) -> impl Iterator<Item = Step> {
        let at = move |n: u64| self.opening_ms() + n / PROFILES_A_MS;
        (0..self.customers).map(move |n| Step { kind: Kind::Profile, customer: n, at_ms: at(n), number: number + n })
    }

    /// Everybody's cart, the oldest first.
    pub fn carts(self, number: u64) -> impl Iterator<Item = Step> {
        let (of, gap_ms) = (self.customers as f64, self.gap_ms() as f64);
        (0..self.customers).map(move |n| {
            // The n-th of as many values that are spread exponentially.
            let age_ms = -gap_ms * ((n as f64 + 0.5) / of).ln();
            let at_ms = BEGIN_MS - age_ms as u64;
            Step { kind: Kind::Cart, customer: n, at_ms, number: number + n }
        })
    }

    /// So many records of the mix.
    pub fn mix(self, number: u64, records: u64) -> impl Iterator<Item = Step> {
        let timed = move |step: Step| Step { at_ms: BEGIN_MS + 1 + (step.number - number) * 1_000 / RATE, ..step };
        draw(1, number, self.customers).take(records as usize).map(timed)
    }

    /// When profiles begin to be told: before any cart.
    fn opening_ms(self) -> u64 {
        BEGIN_MS - GAPS_BEFORE * self.gap_ms()
    }
}

/// The mix without times, of customers drawn at random.
fn draw(seed: u64, number: u64, customers: u64) -> impl Iterator<Item = Step> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..).map(move |n| Step {
        kind: ROUND[n as usize % ROUND.len()],
        customer: rng.random_range(0..customers),
        at_ms: 0,
        number: number + n,
    })
}
