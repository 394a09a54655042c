//! When what does not change is forgotten (ARCHITECTURE, "What leaves"). In: the configuration. Out: for a thing that changed at a
//! tick, the tick from which on it is as if it had never been; `NEVER` for one that stays. Cannot fail.

use super::config::{Campaign, Config};
use super::time::round_up;

const DAY_MS: i64 = 86_400_000;

/// After the end of time.
pub const NEVER: i64 = i64::MAX;

/// For how long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    after_ms: i64,
    grain_ms: i64,
    carts_stay: bool,
    orders_stay: bool,
    links_stay: bool,
    /// Whether all that is an erased customer's is forgotten at once.
    pub forget_erased: bool,
}

impl Horizon {
    pub fn of(config: &Config) -> Horizon {
        let endless = |triggers: &[&str]| {
            let mut campaigns = config.campaigns.iter();
            campaigns.any(|campaign| campaign.expires_ms.is_none() && triggers.contains(&campaign.trigger.as_str()))
        };
        let carts = ["cart_abandonment", "checkout_abandonment", "browse_abandonment", "low_stock"];
        let orders = ["search_abandonment", "back_in_stock", "price_drop", "replenishment", "post_purchase"];
        let reach = config.campaigns.iter().filter_map(reach_ms).max().unwrap_or(0);
        // An interest of just the window's age still counts for what is similar.
        let similar = config.campaigns.iter().filter_map(|campaign| campaign.similar.as_ref());
        let similar = similar.map(|terms| terms.window_ms + config.tick_ms).max().unwrap_or(0);
        let after_ms = config.forget_after_ms.max(reach).max(similar);
        Horizon {
            forget_erased: config.forget_erased,
            after_ms,
            grain_ms: round_down(after_ms / 256 + config.tick_ms - 1, config.tick_ms).max(config.tick_ms),
            carts_stay: endless(&carts),
            orders_stay: endless(&carts) || endless(&orders),
            links_stay: endless(&carts) || endless(&orders) || endless(&["win_back"]),
        }
    }

    /// A cart without lines goes even where carts stay.
    pub fn cart(&self, changed: i64, has_lines: bool) -> i64 {
        if self.carts_stay && has_lines { NEVER } else { self.after(changed) }
    }

    pub fn order(&self, changed: i64) -> i64 {
        if self.orders_stay { NEVER } else { self.after(changed) }
    }

    pub fn link(&self, said: i64) -> i64 {
        if self.links_stay { NEVER } else { self.after(said) }
    }

    fn after(&self, tick: i64) -> i64 {
        round_up(tick + self.after_ms, self.grain_ms)
    }
}

fn round_down(time_ms: i64, grain_ms: i64) -> i64 {
    time_ms / grain_ms * grain_ms
}

/// How long after it a thing can still be in an episode of the campaign; none for ever.
fn reach_ms(campaign: &Campaign) -> Option<i64> {
    let expires_ms = campaign.expires_ms?;
    let lookback_ms = |default_ms| campaign.lookback_ms.unwrap_or(default_ms);
    Some(match campaign.trigger.as_str() {
        "browse_abandonment" => campaign.after_ms + expires_ms + lookback_ms(DAY_MS),
        "back_in_stock" | "price_drop" => expires_ms + lookback_ms(30 * DAY_MS),
        "low_stock" => expires_ms,
        _ => campaign.after_ms + expires_ms,
    })
}
