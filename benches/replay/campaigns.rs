//! What campaigns cost: the triggers of SPEC §4 switched on one after the other, and many campaigns on one trigger, on the same
//! records of a shop. In: the shop. Out: a configuration each.

use std::fmt::Write;

/// Every trigger with parameters that let it fire within the records' time.
const TRIGGERS: [&str; 11] = [
    "trigger = \"cart_abandonment\"\nafter = \"30m\"\nexpires = \"1d\"",
    "trigger = \"checkout_abandonment\"\nafter = \"15m\"\nexpires = \"1d\"",
    "trigger = \"browse_abandonment\"\nafter = \"30m\"\nexpires = \"1d\"\nmin_views = 2",
    "trigger = \"search_abandonment\"\nafter = \"15m\"\nexpires = \"1d\"",
    "trigger = \"back_in_stock\"\nlookback = \"7d\"\nexpires = \"1d\"",
    "trigger = \"low_stock\"\nthreshold = 3\nexpires = \"1d\"",
    "trigger = \"price_drop\"\npercent = 10\nlookback = \"7d\"\nexpires = \"1d\"",
    "trigger = \"replenishment\"\nafter = \"45m\"\nexpires = \"1d\"",
    "trigger = \"post_purchase\"\nafter = \"20m\"\nexpires = \"1d\"",
    "trigger = \"win_back\"\nafter = \"1h\"\nexpires = \"1d\"",
    "trigger = \"welcome\"\nafter = \"10m\"\nexpires = \"1d\"",
];

/// A configuration to be measured.
pub struct Setting {
    /// What it adds to the one before.
    pub name: String,
    /// `beckon.toml`.
    pub toml: String,
}

/// The triggers one after the other, then ten campaigns on the first, then ten on each.
pub fn settings() -> Vec<Setting> {
    let mut settings: Vec<Setting> = (1..=TRIGGERS.len())
        .map(|count| {
            let name = TRIGGERS[count - 1].split('"').nth(1).unwrap_or_default();
            let name = if count == 1 { name.to_owned() } else { format!("+ {name}") };
            Setting { name, toml: toml(&TRIGGERS[..count], 1) }
        })
        .collect();
    settings.push(Setting { name: "10 x cart_abandonment".into(), toml: toml(&TRIGGERS[..1], 10) });
    settings.push(Setting { name: "10 x each of the eleven".into(), toml: toml(&TRIGGERS, 10) });
    settings
}

/// So many campaigns on each of the triggers.
fn toml(triggers: &[&str], times: usize) -> String {
    let mut toml = String::from("tick = \"1s\"\nallowed_lateness = \"5s\"\n");
    for (number, trigger) in triggers.iter().enumerate() {
        for time in 0..times {
            // Writing to a text cannot fail.
            let _ = write!(toml, "\n[[campaign]]\nname = \"{number}-{time}\"\npriority = {time}\n{trigger}\n");
        }
    }
    toml
}
