//! Triggers of a user's own that follow the rules of some of SPEC §4's, each over another thing: a customer, their orders, a
//! product. They must decide what those decide.

use beckon::config::TriggerKinds;
use beckon::trigger::{Campaign, Keys, MakeRule, Rule, TriggerKind, Value};
use beckon_dataflows::plan::{BackInStock, BrowseAbandonment};
use beckon_dataflows::triggers::{back_in_stock, browse_abandonment, post_purchase};

/// The names of those whose rules are followed.
pub const FOLLOWED: [&str; 3] = ["browse_abandonment", "post_purchase", "back_in_stock"];

/// Those that follow: `own_NAME`.
pub fn kinds() -> TriggerKinds {
    TriggerKinds::new(vec![Box::new(Browse), Box::new(PostPurchase), Box::new(BackAgain)]).unwrap()
}

const DAY_MS: u64 = 86_400_000;

struct Browse;

impl TriggerKind for Browse {
    fn name(&self) -> &'static str {
        "own_browse_abandonment"
    }

    fn read(&self, keys: &Keys<'_>) -> Box<MakeRule> {
        let after_ms = keys.required("after", "").and_then(Value::duration_ms).unwrap_or_default();
        let lookback_ms = keys.get("lookback").and_then(Value::duration_ms).unwrap_or(DAY_MS);
        let min_views = keys.get("min_views").and_then(|value| value.count(1..=1000)).unwrap_or(1) as usize;
        Box::new(move |campaign: &Campaign| {
            let lookback_ms = campaign.ticks(lookback_ms);
            let browse = BrowseAbandonment { wait: campaign.wait(after_ms), min_views, lookback_ms };
            Rule::Customer(Box::new(browse_abandonment::Views { campaign: campaign.index, browse }))
        })
    }
}

struct PostPurchase;

impl TriggerKind for PostPurchase {
    fn name(&self) -> &'static str {
        "own_post_purchase"
    }

    fn read(&self, keys: &Keys<'_>) -> Box<MakeRule> {
        let after_ms = keys.required("after", "").and_then(Value::duration_ms).unwrap_or_default();
        Box::new(move |campaign: &Campaign| {
            let wait = campaign.wait(after_ms);
            Rule::Orders(Box::new(post_purchase::Purchases { campaign: campaign.index, wait }))
        })
    }
}

struct BackAgain;

impl TriggerKind for BackAgain {
    fn name(&self) -> &'static str {
        "own_back_in_stock"
    }

    fn read(&self, keys: &Keys<'_>) -> Box<MakeRule> {
        let lookback_ms = keys.get("lookback").and_then(Value::duration_ms).unwrap_or(30 * DAY_MS);
        Box::new(move |campaign: &Campaign| {
            let parameters = BackInStock { lookback_ms: campaign.ticks(lookback_ms), expires_ms: campaign.expires_ms };
            Rule::Sku(Box::new(back_in_stock::Restock { campaign: campaign.index, parameters }))
        })
    }
}
