//! The triggers of SPEC §4, one a file. To add one: a file here, a variant of [`Trigger`], its line below among those that are a
//! condition over the same state, and a case in the oracle. A user's own need none of that: see [`crate::custom`].

pub mod back_in_stock;
pub mod browse_abandonment;
pub mod cart_abandonment;
pub mod checkout_abandonment;
pub mod found;
pub mod low_stock;
pub mod post_purchase;
pub mod price_drop;
pub mod replenishment;
pub mod search_abandonment;
pub mod welcome;
pub mod win_back;

use differential_dataflow::VecCollection;

use crate::custom::Rule;
use crate::joins::customers::CustomerTrigger;
use crate::joins::skus::SkuTrigger;
use crate::model::{Diff, Opening, Tick};
use crate::plan::{Plan, Trigger};

/// Those over all that a customer does. Of two among them this is only the half that is: see [`whole`].
pub fn over_deeds(plan: &Plan) -> Vec<Box<dyn CustomerTrigger>> {
    let mut triggers = plan.on(|campaign, trigger| -> Option<Box<dyn CustomerTrigger>> {
        Some(match trigger {
            Trigger::CartAbandonment(cart) => Box::new(cart_abandonment::Idle { campaign, wait: cart.wait }),
            Trigger::CheckoutAbandonment(wait) => Box::new(checkout_abandonment::Checkouts { campaign, wait: *wait }),
            Trigger::BrowseAbandonment(browse) => {
                Box::new(browse_abandonment::Views { campaign, browse: browse.clone() })
            }
            Trigger::SearchAbandonment(wait) => Box::new(search_abandonment::Searches { campaign, wait: *wait }),
            Trigger::WinBack(wait) => Box::new(win_back::Away { campaign, wait: *wait }),
            Trigger::Custom(custom) => match custom.rule(campaign, plan.tick_ms) {
                Rule::Customer(rule) => rule,
                Rule::Orders(_) | Rule::Sku(_) => return None,
            },
            _ => return None,
        })
    });
    triggers.extend(low_stock::open_lines(plan));
    triggers
}

/// Those over a customer's orders alone. They are kept apart, so that a click does not visit them.
pub fn over_orders(plan: &Plan) -> Vec<Box<dyn CustomerTrigger>> {
    plan.on(|campaign, trigger| -> Option<Box<dyn CustomerTrigger>> {
        Some(match trigger {
            Trigger::Replenishment(wait) => Box::new(replenishment::Purchases { campaign, wait: *wait }),
            Trigger::PostPurchase(wait) => Box::new(post_purchase::Purchases { campaign, wait: *wait }),
            Trigger::Custom(custom) => match custom.rule(campaign, plan.tick_ms) {
                Rule::Orders(rule) => rule,
                Rule::Customer(_) | Rule::Sku(_) => return None,
            },
            _ => return None,
        })
    })
}

/// Those over a SKU and all who want it.
pub fn over_skus(plan: &Plan) -> Vec<Box<dyn SkuTrigger>> {
    plan.on(|campaign, trigger| -> Option<Box<dyn SkuTrigger>> {
        Some(match trigger {
            Trigger::BackInStock(parameters) => {
                Box::new(back_in_stock::Restock { campaign, parameters: parameters.clone() })
            }
            Trigger::PriceDrop(parameters) => Box::new(price_drop::Fall { campaign, parameters: parameters.clone() }),
            Trigger::Custom(custom) => match custom.rule(campaign, plan.tick_ms) {
                Rule::Sku(rule) => rule,
                Rule::Customer(_) | Rule::Orders(_) => return None,
            },
            _ => return None,
        })
    })
}

/// What [`over_deeds`] `found`, without the halves that stock has a say in.
pub fn whole<'scope>(
    found: VecCollection<'scope, Tick, Opening, Diff>,
    plan: &Plan,
) -> VecCollection<'scope, Tick, Opening, Diff> {
    let halves = plan.on(|_, trigger| Some(matches!(trigger, Trigger::CartAbandonment(_) | Trigger::LowStock(_))));
    found.filter(move |opening| !halves[opening.episode.campaign as usize])
}
