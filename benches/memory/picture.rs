//! The picture of what stays in memory. In: the looks. Out: an SVG of two panels over the days: memory; and the names ever read beside
//! those kept. Cannot fail.

use super::Look;
use super::panel::{Along, HEIGHT, Panel, foot, picture, round_above};

const TOP: f64 = 58.0;
const GAP: f64 = 70.0;

/// Draws it.
pub fn draw(looks: &[Look]) -> String {
    let days = looks.last().map_or(1.0, |look| look.day.ceil());
    let ever = |look: &Look| (look.said.visitors + look.said.carts + look.said.orders) as f64;
    let of = |value: fn(&Look) -> f64| looks.iter().map(|look| (look.day, value(look))).collect::<Vec<_>>();
    let (resident, kept) = (of(|look| look.resident_mib), of(|look| look.names as f64));
    let said: Vec<(f64, f64)> = looks.iter().map(|look| (look.day, ever(look))).collect();
    let along = Along::Even(days);
    let memory = Panel { top: TOP, along, most: round_above(resident.iter().map(|(_, mib)| *mib)) };
    let names = Panel { top: TOP + HEIGHT + GAP, along, most: round_above(said.iter().map(|(_, names)| *names)) };
    let (height, mut svg) = (names.top + HEIGHT + 46.0, String::new());

    memory.frame(&mut svg, "Memory resident, MiB", |most| format!("{most:.0}"));
    memory.under(&mut svg, "blue", &resident);
    memory.line(&mut svg, "blue", &resident);
    names.frame(&mut svg, "Visitors, carts and orders", |most| format!("{:.0}k", most / 1000.0));
    names.line(&mut svg, "ochre dashed", &said);
    names.line(&mut svg, "green", &kept);
    for panel in [&memory, &names] {
        let step = if days > 12.0 { 5 } else { 1 };
        (0..=days as u32).step_by(step).for_each(|day| panel.below(&mut svg, day.into(), &day.to_string()));
    }
    if let Some(end) = looks.last() {
        let (names_said, names_kept) = (ever(end), end.names as f64);
        memory.label(&mut svg, end.resident_mib, "blue", &format!("{:.0} MiB", end.resident_mib));
        names.label(&mut svg, names_said, "ochre", &format!("{:.0}k ever told", names_said / 1000.0));
        names.label(&mut svg, names_kept, "green", &format!("{:.0}k names kept", names_kept / 1000.0));
    }
    foot(&mut svg, height, "simulated days");
    let title = "Memory over simulated days: it grows until the first things are forgotten, and is flat from then on";
    picture(height, title, &svg)
}
