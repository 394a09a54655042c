//! Duplicates and last write wins (SPEC §1). In: every stamped record. Out: the facts, which are the records that have
//! an effect, in order of effect; and how many had none. A key that is forgotten begins anew. Cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use super::horizon::{Horizon, NEVER};
use super::records::{Event, Message, Order, OrderEvent, Record, STREAMS, Status};
use super::time::{Position, Stamped, round_up};

/// Two messages of one id less than this apart are one.
const DUPLICATE_WINDOW_MS: i64 = 24 * 60 * 60 * 1000;

/// A record that has an effect. A message that tells of an order is two facts: the message, and the order.
#[derive(Clone, Debug)]
pub struct Fact {
    pub tick: i64,
    pub time_ms: i64,
    pub position: Position,
    pub record: Record,
    /// From this tick on a cart or order that nothing has changed since is forgotten.
    pub gone: i64,
}

/// How many records had no effect, by stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Without {
    pub duplicates: BTreeMap<&'static str, usize>,
    /// Every record that was no state of its key at any tick.
    pub stale: BTreeMap<&'static str, usize>,
    /// Those of `stale` that lost only to a greater record of their own tick.
    pub superseded: BTreeMap<&'static str, usize>,
    /// Messages whose id was seen before, but a day or more ago.
    pub repeated_after_a_day: usize,
    /// Records that equal the one before them for their key in version and time, so that their places decide.
    pub position_decides: usize,
    /// Records that are the state of a key only because a greater one is forgotten.
    pub after_forgotten: usize,
}

/// What last write wins is decided for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Cart(String),
    Inventory(String, Option<String>),
    Product(String),
    Order(String),
    Profile(String),
}

/// (version, updated_at, position): the greatest is the state.
type Rank = (i64, i64, Position);

/// One record that wants to be its key's state.
#[derive(Clone)]
struct Write {
    tick: i64,
    rank: Rank,
    says: Says,
}

#[derive(Clone)]
enum Says {
    State(Record),
    /// A message about an order, which may leave things as they are known.
    OrderEvent(Message, OrderEvent),
}

/// Finds the facts.
pub fn facts(mut records: Vec<Stamped>, horizon: &Horizon, tick_ms: i64) -> (Vec<Fact>, Without) {
    records.sort_by_key(|record| (record.tick, record.position));
    let mut without = Without::default();
    let mut facts = Vec::new();
    let mut writes: BTreeMap<Key, Vec<Write>> = BTreeMap::new();
    let mut seen: BTreeMap<(usize, String), i64> = BTreeMap::new();
    for stamped in records {
        if is_duplicate(&stamped, &mut seen, &mut without) {
            count(&mut without.duplicates, stamped.position);
            continue;
        }
        if let Some((key, says)) = write_of(&stamped.decoded.record) {
            let write = Write {
                tick: stamped.tick,
                rank: (stamped.decoded.version, stamped.decoded.time_ms, stamped.position),
                says,
            };
            writes.entry(key).or_default().push(write);
        }
        if let Record::Message(_) | Record::Engagement(_) = stamped.decoded.record {
            facts.push(Fact {
                tick: stamped.tick,
                time_ms: stamped.decoded.time_ms,
                position: stamped.position,
                record: stamped.decoded.record,
                gone: NEVER,
            });
        }
    }
    for writes in writes.into_values() {
        facts.extend(last_writes(writes, horizon, tick_ms, &mut without));
    }
    // Within a tick, what is folded (cart messages, links) goes by time, then place.
    facts.sort_by_key(|fact| (fact.tick, fact.time_ms, fact.position));
    (facts, without)
}

/// Remembers the tick of the first of each id; a duplicate does not lengthen the window.
fn is_duplicate(stamped: &Stamped, seen: &mut BTreeMap<(usize, String), i64>, without: &mut Without) -> bool {
    let id = match &stamped.decoded.record {
        Record::Message(message) => message.message_id.clone(),
        Record::Engagement(engagement) => Some(engagement.event_id.clone()),
        _ => None,
    };
    let Some(id) = id else {
        return false;
    };
    let id = (stamped.position.stream, id);
    match seen.get(&id) {
        Some(first) if stamped.tick - first < DUPLICATE_WINDOW_MS => return true,
        Some(_) => without.repeated_after_a_day += 1,
        None => {}
    }
    seen.insert(id, stamped.tick);
    false
}

fn write_of(record: &Record) -> Option<(Key, Says)> {
    let key = match record {
        Record::Cart(cart) => Key::Cart(cart.cart_id.clone()),
        Record::Inventory { sku, location, .. } => Key::Inventory(sku.clone(), location.clone()),
        Record::Product(product) => Key::Product(product.sku.clone()),
        Record::Order(order) => Key::Order(order.order_id.clone()),
        Record::Profile(profile) => Key::Profile(profile.user_id.clone()),
        Record::Engagement(_) => return None,
        Record::Message(message) => {
            let Event::Order(event) = &message.event else {
                return None;
            };
            let says = Says::OrderEvent(message.clone(), event.clone());
            return Some((Key::Order(event.order_id.clone()), says));
        }
    };
    Some((key, Says::State(record.clone())))
}

/// The states of one key, one a tick at most. `writes` are in order of their ticks.
fn last_writes(writes: Vec<Write>, horizon: &Horizon, tick_ms: i64, without: &mut Without) -> Vec<Fact> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut greatest: Option<Rank> = None;
    let ranks: BTreeSet<(i64, i64)> = writes.iter().map(|w| (w.rank.0, w.rank.1)).collect();
    without.position_decides += writes.len() - ranks.len();
    for mut together in by_tick(writes) {
        together.sort_by_key(|write| write.rank);
        let forgotten = facts.last().is_some_and(|last| last.gone <= together[0].tick);
        if forgotten {
            without.after_forgotten += together.iter().filter(|write| Some(write.rank) <= greatest).count();
            greatest = None;
        }
        let (greater, stale): (Vec<Write>, Vec<Write>) =
            together.into_iter().partition(|write| Some(write.rank) > greatest);
        for write in &stale {
            count(&mut without.stale, write.rank.2);
        }
        let mut state = facts.last().filter(|_| !forgotten).map(|fact| fact.record.clone());
        for write in &greater {
            state = Some(apply(&write.says, state, write.rank.1));
        }
        let (Some(last), Some(record)) = (greater.last(), state) else {
            continue;
        };
        for write in &greater[..greater.len() - 1] {
            count(&mut without.stale, write.rank.2);
            count(&mut without.superseded, write.rank.2);
        }
        greatest = Some(last.rank);
        let gone = match &record {
            Record::Cart(cart) => horizon.cart(last.tick, !cart.lines.is_empty()),
            Record::Order(order) => horizon.order(last.tick.max(round_up(order.placed_at_ms, tick_ms))),
            _ => NEVER,
        };
        facts.push(Fact { tick: last.tick, time_ms: last.rank.1, position: last.rank.2, record, gone });
    }
    facts
}

fn by_tick(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut ticks: BTreeMap<i64, Vec<Write>> = BTreeMap::new();
    for write in writes {
        ticks.entry(write.tick).or_default().push(write);
    }
    ticks.into_values().collect()
}

/// The state that `says` leaves, where `known` was the state before.
fn apply(says: &Says, known: Option<Record>, time_ms: i64) -> Record {
    let (message, event) = match says {
        Says::State(record) => return record.clone(),
        Says::OrderEvent(message, event) => (message, event),
    };
    let known = match known {
        Some(Record::Order(order)) => Some(order),
        _ => None,
    };
    // Only a cancellation or a refund leaves unsaid what it does not change.
    let kept = known.clone().filter(|_| matches!(event.status, Status::Cancelled | Status::Refunded));
    Record::Order(Order {
        order_id: event.order_id.clone(),
        who: message.who.clone(),
        status: event.status,
        placed_at_ms: known.map_or(time_ms, |order| order.placed_at_ms),
        cart_id: event.cart_id.clone().or_else(|| kept.as_ref().and_then(|order| order.cart_id.clone())),
        // Lines of quantity 0 are none.
        lines: event
            .lines
            .clone()
            .filter(|lines| !lines.is_empty())
            .or_else(|| kept.as_ref().map(|order| order.lines.clone()))
            .unwrap_or_default(),
        total: event.total.or(kept.and_then(|order| order.total)),
    })
}

fn count(counts: &mut BTreeMap<&'static str, usize>, position: Position) {
    *counts.entry(STREAMS[position.stream]).or_default() += 1;
}
