//! What a decision speaks of, as of its tick (SPEC §4; ARCHITECTURE, "Carts and triggers").

use beckon_dataflows::model::{Line, Opening};

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
    let shown = opening.lines.iter().filter(|line| stocked == Stocked::OrNot || facts.on_hand(line.sku) >= 1);
    Payload { lines: shown.map(|line| payload_line(line, facts)).collect() }
}

fn payload_line(line: &Line, facts: &impl Facts) -> PayloadLine {
    let product = facts.product(line.sku);
    PayloadLine {
        sku: facts.text(line.sku),
        quantity: (line.quantity > 0).then_some(line.quantity),
        price: line.price.or(product.and_then(|product| product.price)),
        name: product.and_then(|product| product.name.clone()),
        image: product.and_then(|product| product.image_url.clone()),
        url: product.and_then(|product| product.url.clone()),
        on_hand: Some(facts.on_hand(line.sku)),
    }
}
