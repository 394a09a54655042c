//! What the configuration can say and the engine does not do yet. Each is read and checked like anything else, and then
//! refused, because a rule that is silently ignored sends mails that nobody wanted. Building one means deleting its line.

/// Paths of keys, and of triggers by name, that are refused with "not built yet".
pub(super) const NOT_BUILT: &[&str] = &[
    "campaign.trigger.checkout_abandonment",
    "campaign.trigger.browse_abandonment",
    "campaign.trigger.search_abandonment",
    "campaign.trigger.low_stock",
    "campaign.trigger.price_drop",
    "campaign.trigger.replenishment",
    "campaign.trigger.post_purchase",
    "campaign.trigger.win_back",
    "campaign.trigger.welcome",
    "campaign.similar",
    "campaign.discount",
    "similar",
    "enrich",
];
