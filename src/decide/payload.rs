//! What a decision speaks of, as of its tick (SPEC §4; ARCHITECTURE, "Carts and triggers").

use std::cmp::Reverse;

use beckon_dataflows::model::{Id, Line, Money, Opening};

use super::Facts;
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
pub fn payload(opening: &Opening, stocked: Stocked, facts: &impl Facts) -> Payload {
    let lines = shown(opening, stocked, facts).map(|(_, line)| payload_line(line, facts)).collect();
    Payload { lines, ..Payload::default() }
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
