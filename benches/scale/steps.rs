//! Who does what, and when. In: how many customers, and a seed. Out: steps, in the order of their times: everybody's open cart, then
//! the mix of `cargo bench --bench replay` spread over everybody. Cannot fail.
//!
//! A shop sells as many records a second whatever its customers are, so that ticks are equally full; then one of ten times as many
//! customers comes back a tenth as often. All times are therefore multiples of the *gap*, the mean time between two records of one
//! customer, and the last activities lie behind the beginning as they would had the mix gone on for ever: any second looks like any other,
//! and as many carts are left alone in it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Records a second of event time. Nine in ten are a customer's, but that is neglected in the gap.
pub const RATE: u64 = 2_000;

/// When the mix begins, epoch ms.
const BEGIN_MS: u64 = 1_767_225_600_000;

/// The oldest cart is not so many gaps old: they are as old as the logarithm of twice the number of customers.
const GAPS_BEFORE: u64 = 25;

/// So fast are profiles told: some seconds before the oldest cart, whatever their number is, and few at a tick.
const PROFILES_A_MS: u64 = 16;

/// Those who only warm the engine up come after the customers.
pub const WARMERS: u64 = 64;

/// And after those the one who logs in.
pub const OTHERS: u64 = WARMERS + 1;

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
    /// A visitor logs in.
    Identify,
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

    /// How many records are under way at a time before the mix: few beside the customers, so that what is resident then is state, and not
    /// what brought it there.
    pub fn at_a_time(self) -> u64 {
        (self.customers / 400).clamp(256, 16 << 10)
    }

    /// Before everything else.
    pub fn earliest_ms(self) -> u64 {
        self.warming_ms(0) - 2_000
    }

    /// Some profiles, told again and again, and three times as many records of the mix, all of the few who warm the engine up.
    pub fn warming(self) -> impl Iterator<Item = Step> {
        let profiles = (1..=self.at_a_time()).map(|n| Step { kind: Kind::Profile, customer: n, at_ms: 0, number: n });
        let mix = draw(0, 1 + self.at_a_time(), WARMERS).take(3 * self.at_a_time() as usize);
        profiles.chain(mix).map(move |step| Step {
            customer: self.customers + step.customer % WARMERS,
            at_ms: self.warming_ms(step.number),
            ..step
        })
    }

    /// When the warming is at this step: it ends before profiles are told.
    fn warming_ms(self, number: u64) -> u64 {
        self.opening_ms() - 2_000 - (4 * self.at_a_time() - number) * 1_000 / RATE
    }

    /// Everybody's profile.
    pub fn profiles(self) -> impl Iterator<Item = Step> {
        let first = 1 + 4 * self.at_a_time();
        (0..self.customers).map(move |n| {
            let at_ms = self.opening_ms() + n / PROFILES_A_MS;
            Step { kind: Kind::Profile, customer: n, at_ms, number: first + n }
        })
    }

    /// Everybody's cart, the oldest first. Then somebody else logs in: with a link owners sort what they were told, so that all is where it
    /// stays.
    pub fn carts(self) -> impl Iterator<Item = Step> {
        let (of, gap_ms) = (self.customers as f64, self.gap_ms() as f64);
        let first = 1 + 4 * self.at_a_time() + self.customers;
        let carts = (0..self.customers).map(move |n| {
            // The n-th of as many values that are spread exponentially.
            let age_ms = -gap_ms * ((n as f64 + 0.5) / of).ln();
            Step { kind: Kind::Cart, customer: n, at_ms: BEGIN_MS - age_ms as u64, number: first + n }
        });
        let number = first + self.customers;
        let login = Step { kind: Kind::Identify, customer: self.customers + WARMERS, at_ms: BEGIN_MS, number };
        carts.chain([login])
    }

    /// So many records of the mix.
    pub fn mix(self, records: u64) -> impl Iterator<Item = Step> {
        let first = 2 + 4 * self.at_a_time() + 2 * self.customers;
        let timed = move |step: Step| Step { at_ms: BEGIN_MS + 1 + (step.number - first) * 1_000 / RATE, ..step };
        draw(1, first, self.customers).take(records as usize).map(timed)
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
