//! Parts of the state by themselves, in a process of its own: what the process that decides keeps of a customer whoever has the keys, what
//! every worker keeps of a link, and what is kept of a message for a day and of an order for the horizon. In: how many of each. Out:
//! bytes. Fails when a record is bad.

use std::sync::Arc;

use beckon::config::{Config, Purpose};
use beckon::decode::{Decoder, Dictionary};
use beckon::pipeline::wiring;
use beckon::state::State;
use beckon::worker::InLine;
use beckon_dataflows::inputs::Batch;
use beckon_dataflows::joins::identities::Identities;
use beckon_dataflows::model::{Change, Id, Position, Record, Stream, Tick};
use beckon_dataflows::time::tick_at;
use hashbrown::HashSet;
use serde::{Deserialize, Serialize};

use super::steps::{Kind, Step, WARMERS};
use super::{campaigns, resident, shop};

/// Orders of one customer.
const ORDERS_EACH: u64 = 10;

/// Records that are fed at a time, and the tick that they are of.
const RECORDS_A_TICK: u64 = 2 << 10;
const TICK_MS: u64 = 1_000;
const BEGIN_MS: u64 = 1_767_225_600_000;

/// What was measured, bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Parts {
    /// Of a customer with a profile and a cart, in the process that decides: names and contact.
    pub customer: f64,
    /// Of a visitor who was linked to a user, in every worker.
    pub link: f64,
    /// Of a message that must not count twice, for a day.
    pub message: f64,
    /// Of an order of two or three lines, its name among it.
    pub order: f64,
}

/// Measures them.
pub fn measure(count: u64) -> anyhow::Result<Parts> {
    let mut last_kib = resident::settled_kib()?;
    let mut each = || -> anyhow::Result<f64> {
        let kib = resident::settled_kib()?;
        let grown = kib.saturating_sub(std::mem::replace(&mut last_kib, kib));
        Ok(grown as f64 * 1_024.0 / count as f64)
    };
    // What was made stays until all is measured.
    let _decider = decider(count)?;
    let customer = each()?;
    let _identities = identities(count);
    let link = each()?;
    let _messages = graph(count, |number| Step { kind: Kind::View, customer: number % WARMERS, at_ms: 0, number })?;
    let message = each()?;
    let _orders = graph(count, |number| Step { kind: Kind::Order, customer: number / ORDERS_EACH, at_ms: 0, number })?;
    let order = each()?;
    Ok(Parts { customer, link, message, order })
}

/// What the deciding thread is told of customers: their names and their contacts.
fn decider(customers: u64) -> anyhow::Result<(State, Arc<Dictionary>)> {
    let (mut state, dictionary) = (State::default(), Arc::new(Dictionary::new()));
    let mut decoder = Decoder::new(dictionary.clone());
    for customer in 0..customers {
        for kind in [Kind::Profile, Kind::Cart] {
            let step = Step { kind, customer, at_ms: BEGIN_MS, number: 1 + customer };
            if let (Record::Profile(profile), _) = decoded(&mut decoder, step)? {
                let change = Change::Contact(profile.user, profile.contact);
                state.apply(1, change, |id| dictionary.text(id).unwrap_or_default());
            }
        }
    }
    Ok((state, dictionary))
}

/// As many visitors, each linked to a user.
fn identities(customers: u64) -> Identities {
    let (now, mut identities): (Tick, _) = (1, Identities::default());
    for number in 1..=customers {
        // Spread over all bits, as the hashes of names are.
        let [visitor, user] = [number, number + customers].map(|it| Id(it.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        identities.link(visitor, user, now, &mut HashSet::new());
    }
    identities
}

/// A graph that was told so many steps, a lot of them at a tick.
fn graph(count: u64, step: impl Fn(u64) -> Step) -> anyhow::Result<(InLine, Arc<Dictionary>)> {
    let config = Config::parse("beckon.toml".as_ref(), &campaigns::config(&[1_800]), Purpose::Replay)?;
    let (mut graph, dictionary) = (InLine::new(&wiring::plan(&config), &Arc::default()), Arc::new(Dictionary::new()));
    let mut decoder = Decoder::new(dictionary.clone());
    for first in (1..=count).step_by(RECORDS_A_TICK as usize) {
        let (at_ms, mut batch) = (BEGIN_MS + first / RECORDS_A_TICK * TICK_MS, Batch::default());
        for number in first..(first + RECORDS_A_TICK).min(count + 1) {
            let (record, event_ms) = decoded(&mut decoder, Step { at_ms, ..step(number) })?;
            batch.push(record, tick_at(event_ms, TICK_MS));
        }
        graph.feed(batch);
        graph.advance(at_ms + TICK_MS);
    }
    Ok((graph, dictionary))
}

/// What a step says, with its event time.
fn decoded(decoder: &mut Decoder, step: Step) -> anyhow::Result<(Record, u64)> {
    let event = shop::say(step);
    let stream: Stream = event.stream.parse().map_err(|()| anyhow::anyhow!("no stream {}", event.stream))?;
    let decoded = decoder.decode(Position::new(stream, 0, step.number), &event.json)?;
    Ok((decoded.record, decoded.event_ms))
}
