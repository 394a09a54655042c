//! The configuration as each stage wants it. One rule of its own: times are compared by tick, so every length of time is
//! rounded up to a tick here, once (SPEC §2; ARCHITECTURE, "Time").

use std::sync::Arc;

use beckon_dataflows::custom::Custom;
use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::plan::{self, Plan};
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::{Cluster, Terms};
use crate::config::{self, Config, Erasure, Trigger};
use crate::decide::{self, Arms, Campaign, Cap, Condition, Decider, Discount, QuietHours, Stocked, Variant};
use crate::decode::Dictionary;

/// What the graph is built for.
pub fn plan(config: &Config) -> Plan {
    let tick_ms = config.tick_ms;
    let triggers = config.campaigns.iter().map(|campaign| trigger(campaign, tick_ms)).collect();
    let asks = |campaign: &config::Campaign| campaign.audience.is_some() || !campaign.discounts.is_empty();
    let history = config.campaigns.iter().any(asks);
    let similar = config.campaigns.iter().any(|campaign| campaign.similar.is_some()).then(|| plan::Similar {
        window_ms: ticks(config.similar.window_ms, tick_ms),
        recent: config.similar.recent as usize,
    });
    // Interest may be older than all else where similar products are asked for.
    let similar_ms = similar.map_or(0, |similar| similar.interest_ms(tick_ms));
    let forget_after_ms = ticks(config.forget_after_ms, tick_ms).max(similar_ms);
    let forget_erased = config.erasure == Erasure::Forget;
    Plan { history, similar, forget_erased, ..Plan::new(tick_ms, triggers, forget_after_ms) }
}

/// The plan, with what KPIs are made from.
pub fn measured(plan: Plan, config: &Config) -> Plan {
    Plan { attribution_ms: Some(ticks(config.attribution_ms, plan.tick_ms)), ..plan }
}

/// The plan of a service that runs: with KPIs, and what is told of customers, where somebody may read that.
pub fn running(config: &Config) -> Plan {
    let plan = plan(config);
    if config.measures { Plan { history: true, carts: true, ..measured(plan, config) } } else { plan }
}

/// What a service's snapshots depend on: the state on what is configured of it, and on how long decisions are followed, if they are.
pub fn state_fingerprint(config: &Config) -> u64 {
    match running(config).attribution_ms {
        None => config.state_fingerprint,
        Some(attribution_ms) => xxh3_64(format!("{} {attribution_ms}", config.state_fingerprint).as_bytes()),
    }
}

/// The names, for as long as the plan needs them. Where they are read and not decided upon, another process is told.
pub fn dictionary(plan: &Plan, cluster: Option<&Cluster>) -> Arc<Dictionary> {
    let dictionary = Dictionary::forgetting(Horizon::of(plan));
    let is_told = cluster.is_some_and(|cluster| !cluster.decides());
    Arc::new(if is_told { dictionary.telling() } else { dictionary })
}

/// What all processes of a cluster must have alike: the build, and what is configured as far as it changes what is computed.
pub fn terms(config: &Config, workers: usize) -> Terms {
    let streams = config.kafka.as_ref().map(|kafka| kafka.topics());
    let timing = (config.allowed_lateness_ms, config.idle_after_ms, config.snapshot_every_ms);
    let build = env!("CARGO_PKG_VERSION");
    let fingerprint = xxh3_64(format!("{build} {:?} {timing:?} {streams:?}", running(config)).as_bytes());
    Terms { workers, fingerprint }
}

/// Gates and arbitration.
pub fn decider(config: &Config) -> Decider {
    let tick_ms = config.tick_ms;
    let caps =
        config.limits.frequency_caps.iter().map(|cap| Cap { sends: cap.sends, per_ms: ticks(cap.per_ms, tick_ms) });
    let quiet_hours = config.limits.quiet_hours.as_ref().map(|hours| QuietHours {
        from: hours.from,
        to: hours.to,
        default_timezone: hours.default_timezone.clone(),
        tick_ms,
    });
    let campaigns = config.campaigns.iter().map(|config| campaign(config, tick_ms));
    Decider::new(campaigns.collect(), decide::Limits { caps: caps.collect(), quiet_hours })
}

/// The campaign's trigger.
fn trigger(campaign: &config::Campaign, tick_ms: u64) -> plan::Trigger {
    let expires_ms = campaign.expires_ms.map(|expires_ms| ticks(expires_ms, tick_ms).max(tick_ms));
    let lookback = |lookback_ms: u64| ticks(lookback_ms, tick_ms);
    let wait = |after_ms: u64| plan::Wait { after_ms: ticks(after_ms, tick_ms), expires_ms };
    match campaign.trigger {
        Trigger::CartAbandonment { after_ms, stock, min_total } => {
            let stock = match stock {
                config::StockRule::Any => plan::StockRule::Any,
                config::StockRule::All => plan::StockRule::All,
                config::StockRule::Ignore => plan::StockRule::Ignore,
            };
            let min_total = min_total.map(|money| money.0);
            plan::Trigger::CartAbandonment(plan::CartAbandonment { wait: wait(after_ms), stock, min_total })
        }
        Trigger::CheckoutAbandonment { after_ms } => plan::Trigger::CheckoutAbandonment(wait(after_ms)),
        Trigger::BrowseAbandonment { after_ms, min_views, lookback_ms } => {
            plan::Trigger::BrowseAbandonment(plan::BrowseAbandonment {
                wait: wait(after_ms),
                min_views: min_views as usize,
                lookback_ms: lookback(lookback_ms),
            })
        }
        Trigger::SearchAbandonment { after_ms } => plan::Trigger::SearchAbandonment(wait(after_ms)),
        Trigger::BackInStock { lookback_ms } => {
            plan::Trigger::BackInStock(plan::BackInStock { lookback_ms: lookback(lookback_ms), expires_ms })
        }
        Trigger::LowStock { threshold } => {
            plan::Trigger::LowStock(plan::LowStock { threshold: threshold.into(), expires_ms })
        }
        Trigger::PriceDrop { percent, lookback_ms } => {
            plan::Trigger::PriceDrop(plan::PriceDrop { percent, lookback_ms: lookback(lookback_ms), expires_ms })
        }
        Trigger::Replenishment { after_ms } => plan::Trigger::Replenishment(wait(after_ms)),
        Trigger::PostPurchase { after_ms } => plan::Trigger::PostPurchase(wait(after_ms)),
        Trigger::WinBack { after_ms } => plan::Trigger::WinBack(wait(after_ms)),
        Trigger::Welcome { after_ms } => plan::Trigger::Welcome(wait(after_ms)),
        Trigger::Custom(ref custom) => plan::Trigger::Custom(Custom { make: custom.make.clone(), expires_ms }),
    }
}

/// How long after its anchor an episode of the campaign expires, in milliseconds; none where it does not.
pub fn lasts_ms(campaign: &config::Campaign, tick_ms: u64) -> Option<u64> {
    let expires_ms = ticks(campaign.expires_ms?, tick_ms).max(tick_ms);
    Some(ticks(campaign.trigger.after_ms(), tick_ms).saturating_add(expires_ms))
}

/// A length of time in whole ticks, rounded up, ms.
fn ticks(length_ms: u64, tick_ms: u64) -> u64 {
    length_ms.div_ceil(tick_ms) * tick_ms
}

fn campaign(campaign: &config::Campaign, tick_ms: u64) -> Campaign {
    let variant = |variant: &config::Variant| Variant { name: variant.name.as_str().into(), weight: variant.weight };
    Campaign {
        name: campaign.name.as_str().into(),
        trigger: campaign.trigger.name().into(),
        priority: campaign.priority,
        cooldown_ms: campaign.cooldown_ms.map(|cooldown_ms| ticks(cooldown_ms, tick_ms)),
        audience: campaign.audience.as_ref().map(condition),
        stock_budget: campaign.stock_budget,
        expires_ms: campaign.expires_ms.map(|expires_ms| ticks(expires_ms, tick_ms).max(tick_ms)),
        lines: match campaign.trigger {
            Trigger::CartAbandonment { stock: config::StockRule::Any, .. } => Stocked::Only,
            _ => Stocked::OrNot,
        },
        similar: campaign.similar.map(|count| count as usize),
        arms: Arms {
            experiment: campaign.experiment.as_str().into(),
            holdout: campaign.holdout,
            variants: campaign.variants.iter().map(variant).collect(),
        },
        discounts: campaign.discounts.iter().map(discount).collect(),
    }
}

fn condition(expression: &config::Expression) -> Condition {
    Condition::new(expression.as_str(), expression.program().clone())
}

fn discount(discount: &config::Discount) -> Discount {
    Discount { when: condition(&discount.when), percent: discount.percent }
}
