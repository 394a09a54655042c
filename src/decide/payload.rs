//! What a decision speaks of, as of its tick (SPEC §4; ARCHITECTURE, "Carts and triggers").

use std::cmp::Reverse;

use beckon_dataflows::model::{Id, Line, Money, Opening};

use super::{Campaign, Facts};
use crate::decision::{Payload, PayloadLine};

/// Which lines a payload shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stocked {
    /// Those in stock.
    Only,
    /// All.
    OrNot,
}

/// The payload of an opening.
pub fn payload(opening: &Opening, campaign: &Campaign, facts: &impl Facts) -> Payload {
    Payload {
        lines: shown(opening, campaign.lines, facts).map(|(_, line)| payload_line(line, facts)).collect(),
        similar: campaign.similar.map(|count| similar(opening, campaign.lines, count, facts)),
        ..Payload::default()
    }
}

/// The SKUs similar to the hero, each as it is; none where there is no hero.
fn similar(opening: &Opening, stocked: Stocked, count: usize, facts: &impl Facts) -> Vec<PayloadLine> {
    let skus = hero(opening, stocked, facts).map(|hero| facts.similar(hero, opening.episode.customer, count));
    let line = |sku| payload_line(&Line { sku, quantity: 0, price: None }, facts);
    skus.unwrap_or_default().into_iter().map(line).collect()
}

/// The SKU that the payload is about: its most expensive line's, by unit; of several the first; one without a price last. A
/// payload of one product is about that. None without lines.
pub fn hero(opening: &Opening, stocked: Stocked, facts: &impl Facts) -> Option<Id> {
    let lines = shown(opening, stocked, facts);
    lines.max_by_key(|(index, line)| (price(line, facts), Reverse(*index))).map(|(_, line)| line.sku)
}

/// The lines that the payload shows, with their indices.
fn shown<'a>(opening: &'a Opening, stocked: Stocked, facts: &'a impl Facts) -> impl Iterator<Item = (usize, &'a Line)> {
    let lines = opening.lines.iter().enumerate();
    lines.filter(move |(_, line)| stocked == Stocked::OrNot || facts.on_hand(line.sku) >= 1)
}

fn price(line: &Line, facts: &impl Facts) -> Option<Money> {
    line.price.or_else(|| facts.product(line.sku)?.price)
}

fn payload_line(line: &Line, facts: &impl Facts) -> PayloadLine {
    let product = facts.product(line.sku);
    PayloadLine {
        sku: facts.text(line.sku),
        quantity: (line.quantity > 0).then_some(line.quantity),
        price: price(line, facts),
        name: product.and_then(|product| product.name.clone()),
        image: product.and_then(|product| product.image_url.clone()),
        url: product.and_then(|product| product.url.clone()),
        on_hand: Some(facts.on_hand(line.sku)),
    }
}
