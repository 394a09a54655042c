//! A trigger of one's own, whole, in one file: `nearly_free_shipping` reminds a customer of a cart that was left alone a few euros
//! short of free shipping.
//!
//! In `beckon.toml`:
//!
//! ```toml
//! [[campaign]]
//! name = "nearly-free"
//! trigger = "nearly_free_shipping"
//! after = "1h"              # how long the customer must have done nothing
//! free_from = "50.00"       # shipping is free from this total on
//! within = "10.00"          # remind those who lack no more than this
//! expires = "24h"           # this and whatever else a campaign can say is Beckon's own
//! template = "nearly_free"
//! ```
//!
//! and then, with this program in the place of `beckon`, every command:
//!
//! ```sh
//! cargo run --example nearly_free_shipping -- check --config beckon.toml
//! cargo run --example nearly_free_shipping -- replay --config beckon.toml --input DIR --output decisions.jsonl
//! ```
//!
//! To have it in a crate of your own, depend on `beckon` and copy this file to `src/main.rs`.

use std::process::ExitCode;

use beckon::trigger::{
    Campaign, Customer, CustomerTrigger, Decimal, Found, Keys, Line, MakeRule, Reads, Rule, TriggerKind, Value, Wait,
};

/// Beckon, with this trigger beside its own.
fn main() -> ExitCode {
    beckon::cli::main_with(vec![Box::new(NearlyFreeShipping)])
}

/// The kind of trigger. There is one of it, whatever number of campaigns name it.
struct NearlyFreeShipping;

impl TriggerKind for NearlyFreeShipping {
    /// What `trigger = "…"` says, and every decision after it. To rename it later is to have another one.
    fn name(&self) -> &'static str {
        "nearly_free_shipping"
    }

    /// Reads what a campaign says. A missing key, a wrong type, a key that nobody asks for: each becomes a fault with line and
    /// column, all of them at once; `beckon check` shows them, and nothing is run with them. So after a fault any value will do
    /// (`unwrap_or_default`): no rule is ever made with it.
    fn read(&self, keys: &Keys<'_>) -> Box<MakeRule> {
        let after = keys.required("after", "how long the cart must have been left alone, such as: after = \"1h\"");
        let after_ms = after.and_then(Value::duration_ms).unwrap_or_default();
        let free_from = keys.required("free_from", "the total from which on shipping is free: free_from = \"50.00\"");
        let free_from = free_from.and_then(Value::money).unwrap_or_default().0;
        let within = keys.required("within", "how much may be lacking, such as: within = \"10.00\"");
        let gap = within.clone().and_then(Value::money).unwrap_or_default().0;
        // What only the two together can say is told in the same way.
        if let Some(value) = within.filter(|_| gap > free_from) {
            value.fault(
                "`within` is more than `free_from`",
                "then every cart would be nearly free, and an empty one too",
            );
        }
        // Each worker makes its own rule of the campaign. `wait` rounds up to ticks, and adds the campaign's `expires`.
        Box::new(move |campaign: &Campaign| {
            Rule::Customer(Box::new(Carts { campaign: campaign.index, wait: campaign.wait(after_ms), free_from, gap }))
        })
    }
}

/// The rule of one campaign.
struct Carts {
    /// What [`Found::add`] asks for.
    campaign: u16,
    /// From the customer's last activity on.
    wait: Wait,
    /// Shipping is free from this total on,
    free_from: Decimal,
    /// and this is the most that may be lacking.
    gap: Decimal,
}

impl CustomerTrigger for Carts {
    /// What must be kept of a customer. What no rule reads is not kept, so say no more than [`CustomerTrigger::find`] looks at.
    fn reads(&self) -> Reads {
        Reads { carts: true, ..Reads::default() }
    }

    /// Says what holds now, from all that is known of the customer at this tick. It is asked again whenever they do something,
    /// and at the deadlines that [`Found::is_within`] notes down. What it found before and does not find any more is thereby
    /// retracted: the episode leaves the trigger set, and its mail is not sent. There is nothing to undo by hand, and no clock
    /// to be looked at: the same records give the same decisions, live or replayed.
    fn find(&self, customer: &Customer, found: &mut Found) {
        for cart in customer.carts() {
            // What is still to be bought: nothing, once an order has closed the cart.
            let lines: Vec<Line> = customer.open_lines(cart).map(|line| line.line).collect();
            let Some(lacks) = total(&lines).and_then(|total| self.free_from.checked_sub(total)) else { continue };
            let nearly = lacks > Decimal::ZERO && lacks <= self.gap;
            // Open from `after` past the last activity on, until `expires` after that.
            if nearly && found.is_within(&self.wait, customer.active) {
                // Campaign, customer (whom `found` knows), subject and anchor name the episode, and it is decided once. With
                // the last activity as anchor, a customer who comes back and leaves again is reminded again; to put an end to
                // that there is the campaign's `cooldown`.
                found.add(self.campaign, cart.id, customer.active, cart.currency, lines.into());
            }
        }
    }

    /// How long after a customer's last activity this can matter. What no trigger can reach any more is forgotten after the
    /// configured `forget_after`; a rule that does not say its reach keeps everything for good.
    fn reach_ms(&self) -> u64 {
        self.wait.reach_ms()
    }
}

/// What the lines come to; nothing for none, and where a price is not known.
fn total(lines: &[Line]) -> Option<Decimal> {
    if lines.is_empty() {
        return None;
    }
    // Exact, and checked: prices come from outside, and a sum past 28 digits is no cart.
    lines.iter().try_fold(Decimal::ZERO, |sum, line| {
        let amount = line.price?.0.checked_mul(Decimal::from(line.quantity))?;
        sum.checked_add(amount)
    })
}
