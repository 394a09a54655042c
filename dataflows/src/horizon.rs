//! When old things leave (ARCHITECTURE, "What leaves"). In: the plan. Out: the tick at which a thing that last changed at some
//! tick is forgotten, as if it had never been. Pure; cannot fail.
//!
//! Things are forgotten at multiples of a grain, so that few ticks have anything to forget and what waits for it is short.

use crate::custom::Rule;
use crate::model::Tick;
use crate::plan::{Plan, Trigger};

/// The grain is this part of the whole.
const GRAINS: u64 = 256;

/// How long what does not change is kept. What an episode without `expires` needs stays for good: it is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    after_ms: u64,
    grain_ms: u64,
    carts_stay: bool,
    orders_stay: bool,
    activity_stays: bool,
    any_stays: bool,
}

impl Horizon {
    /// The plan's: `forget_after`, or the longest reach of a trigger where that is longer.
    pub fn of(plan: &Plan) -> Horizon {
        let mut horizon = Horizon {
            after_ms: plan.forget_after_ms.max(plan.tick_ms),
            grain_ms: 0,
            carts_stay: false,
            orders_stay: false,
            activity_stays: false,
            any_stays: false,
        };
        plan.triggers.iter().for_each(|trigger| horizon.heed(trigger, plan.tick_ms));
        horizon.grain_ms = (horizon.after_ms / GRAINS).next_multiple_of(plan.tick_ms).max(plan.tick_ms);
        horizon
    }

    /// When a cart, or a line of a folded one, that last changed at `changed` is forgotten; [`Tick::MAX`] for never.
    pub fn cart(&self, changed: Tick) -> Tick {
        if self.carts_stay { Tick::MAX } else { self.after(changed) }
    }

    /// When a cart that was emptied at `changed` is forgotten.
    pub fn emptied_cart(&self, changed: Tick) -> Tick {
        self.after(changed)
    }

    /// When an order that last changed, or was placed, at `changed` is forgotten; [`Tick::MAX`] for never.
    pub fn order(&self, changed: Tick) -> Tick {
        if self.orders_stay { Tick::MAX } else { self.after(changed) }
    }

    /// When a customer about whom nothing was decided since `at` is another one to the KPIs.
    pub fn customer(&self, at: Tick) -> Tick {
        self.after(at)
    }

    /// When an activity of tick `at` can no longer matter; [`Tick::MAX`] for never.
    pub fn activity(&self, at: Tick) -> Tick {
        if self.activity_stays { Tick::MAX } else { self.after(at) }
    }

    /// Until when a link that was last said at `said` holds for what comes, and how long after that it is kept for what was
    /// there already; [`Tick::MAX`] for ever.
    pub fn link(&self, said: Tick) -> Tick {
        if self.carts_stay || self.orders_stay || self.activity_stays || said == Tick::MAX {
            Tick::MAX
        } else {
            self.after(said)
        }
    }

    /// When a name can stand for nothing any more that was last read in a record of tick `at`: its things are forgotten, and
    /// those that came to its owner by a link; [`Tick::MAX`] for never.
    pub fn name(&self, at: Tick) -> Tick {
        if self.any_stays { Tick::MAX } else { self.after(self.after(at)) }
    }

    /// How long a thing that does not change is kept at least, ms.
    pub fn after_ms(&self) -> u64 {
        self.after_ms
    }

    fn after(&self, tick: Tick) -> Tick {
        tick.saturating_add(self.after_ms).div_ceil(self.grain_ms).saturating_mul(self.grain_ms)
    }

    /// Lets nothing go that `trigger` can still reach.
    fn heed(&mut self, trigger: &Trigger, tick_ms: u64) {
        let (reach_ms, carts, orders, activity) = match trigger {
            Trigger::CartAbandonment(cart) => (cart.wait.reach_ms(), true, true, true),
            Trigger::CheckoutAbandonment(wait) => (wait.reach_ms(), true, true, false),
            Trigger::BrowseAbandonment(browse) => {
                (browse.wait.reach_ms().saturating_add(browse.lookback_ms), true, true, true)
            }
            Trigger::SearchAbandonment(wait) => (wait.reach_ms(), false, true, false),
            Trigger::BackInStock(restock) => (reach_ms(restock.lookback_ms, restock.expires_ms), false, true, false),
            Trigger::LowStock(low) => (reach_ms(0, low.expires_ms), true, true, false),
            Trigger::PriceDrop(drop) => (reach_ms(drop.lookback_ms, drop.expires_ms), false, true, false),
            Trigger::Replenishment(wait) | Trigger::PostPurchase(wait) => (wait.reach_ms(), false, true, false),
            Trigger::WinBack(wait) => (wait.reach_ms(), false, false, true),
            Trigger::Welcome(wait) => (wait.reach_ms(), false, false, false),
            Trigger::Custom(custom) => match custom.rule(0, tick_ms) {
                Rule::Customer(rule) => (rule.reach_ms(), true, true, true),
                Rule::Orders(rule) => (rule.reach_ms(), false, true, false),
                Rule::Sku(rule) => (reach_ms(rule.lookback_ms(), rule.expires_ms()), false, true, false),
            },
        };
        if reach_ms < Tick::MAX {
            self.after_ms = self.after_ms.max(reach_ms);
        } else {
            self.carts_stay |= carts;
            self.orders_stay |= orders;
            self.activity_stays |= activity;
            self.any_stays = true;
        }
    }
}

fn reach_ms(lookback_ms: u64, expires_ms: Option<u64>) -> u64 {
    expires_ms.map_or(Tick::MAX, |expires_ms| lookback_ms.saturating_add(expires_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{LowStock, Wait};

    fn plan(triggers: Vec<Trigger>) -> Plan {
        Plan::new(1000, triggers, 300_000)
    }

    #[test]
    fn things_leave_by_the_grain_and_not_before_any_trigger_has_let_go() {
        let wait = |expires_ms| Wait { after_ms: 400_000, expires_ms };
        let horizon = Horizon::of(&plan(vec![]));
        assert_eq!([9_000, 10_000, 11_000].map(|tick| horizon.cart(tick)), [310_000, 310_000, 312_000]);
        let horizon = Horizon::of(&plan(vec![Trigger::WinBack(wait(Some(1000)))]));
        assert_eq!((horizon.after_ms(), horizon.order(0)), (401_000, 402_000));
    }

    #[test]
    fn what_an_episode_without_end_needs_stays() {
        let low = LowStock { threshold: 1, expires_ms: None };
        let horizon = Horizon::of(&plan(vec![Trigger::LowStock(low)]));
        assert_eq!((horizon.cart(0), horizon.order(0), horizon.link(0)), (Tick::MAX, Tick::MAX, Tick::MAX));
        assert_eq!((horizon.emptied_cart(0), horizon.activity(0)), (300_000, 300_000));
        let wait = Wait { after_ms: 1000, expires_ms: None };
        let horizon = Horizon::of(&plan(vec![Trigger::PostPurchase(wait)]));
        assert_eq!((horizon.cart(0), horizon.order(0)), (300_000, Tick::MAX));
    }
}
