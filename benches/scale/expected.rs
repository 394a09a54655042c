//! How much must be decided: the rule of an abandoned cart (SPEC §4), counted without an engine. In: steps, in the order of their times.
//! Out: the number of decisions. Cannot fail.
//!
//! It knows what holds in this bench alone: one cart a customer, whose lines are always in stock, and orders that name it. A customer
//! is decided about once for each pause in which their cart is open and that is as long as a campaign waits.

use super::steps::{Kind, Step};

/// Ticks, s.
type Second = u64;

/// What is known of a customer.
#[derive(Clone, Copy, Default)]
struct Customer {
    active: Second,
    cart_changed: Second,
    ordered: Second,
}

/// Counts.
pub struct Expected {
    afters_s: Vec<Second>,
    customers: Vec<Customer>,
    decisions: u64,
}

impl Expected {
    /// Nobody has done anything yet. There is a campaign for each of `afters_s`.
    pub fn new(afters_s: &[Second], customers: u64) -> Expected {
        Expected { afters_s: afters_s.to_vec(), customers: vec![Customer::default(); customers as usize], decisions: 0 }
    }

    /// Takes up a step.
    pub fn take(&mut self, step: Step) {
        if matches!(step.kind, Kind::Profile | Kind::Inventory) {
            return;
        }
        // It takes effect at the end of its second.
        let at = step.at_ms.div_ceil(1_000);
        let mut customer = self.customers[step.customer as usize];
        // What comes at the very tick at which a campaign's time is over comes before it.
        self.decisions += self.of_pause(customer, at);
        customer.active = at;
        match step.kind {
            Kind::Cart => customer.cart_changed = at,
            Kind::Order => customer.ordered = at,
            _ => {}
        }
        self.customers[step.customer as usize] = customer;
    }

    /// How many there are by the end of the second `last`.
    pub fn by(&self, last: Second) -> u64 {
        let pauses = self.customers.iter().map(|customer| self.of_pause(*customer, last + 1));
        self.decisions + pauses.sum::<u64>()
    }

    /// How many there are between a customer's last activity and `until`.
    fn of_pause(&self, customer: Customer, until: Second) -> u64 {
        if customer.ordered >= customer.cart_changed {
            return 0;
        }
        self.afters_s.iter().filter(|after_s| customer.active + **after_s < until).count() as u64
    }
}
