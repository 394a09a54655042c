//! What the shop says, on its way out. In: records in the order in which they happen. Out: the same in nondecreasing
//! time, with a small share of faults among them: duplicates, stale versions, records out of order, bad input.
//! Cannot fail.
//!
//! Faults are drawn from a generator of their own and only ever add or delay records: a shop with faults and one
//! without have the same truth.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::stream::{CARTS, CATALOG, CLICKSTREAM, ENGAGEMENT, Event, INVENTORY, ORDERS, PROFILES};

/// How late a fault says a record, in milliseconds: less than SPEC §2's default `allowed_lateness` of 5 s, so that
/// out of order is not yet late.
const HELD_MS: std::ops::RangeInclusive<i64> = 100..=4_800;

/// Shares of faults, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultShares {
    /// Of clickstream and engagement records: said again with the same `messageId` or `event_id`.
    pub duplicates: f64,
    /// Of second and later versions: the version before is said once more, after it, with a false content.
    pub stale: f64,
    /// Of all records: said up to 5 s after their time.
    pub out_of_order: f64,
    /// Of all records: followed by one that is not JSON, has a wrong type, no key, or an absurd time.
    pub bad: f64,
}

impl FaultShares {
    /// No faults.
    pub const NONE: FaultShares = FaultShares::each(0.0);

    /// The same share of each.
    pub const fn each(share: f64) -> FaultShares {
        FaultShares { duplicates: share, stale: share, out_of_order: share, bad: share }
    }
}

/// A record to be said later; the earliest first, and of one time the one that was held first.
#[derive(Debug)]
struct Held {
    event: Event,
    nth: u64,
}

impl Held {
    fn order(&self) -> (i64, u64) {
        (self.event.time_ms, self.nth)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Held) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Held) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// See the module.
#[derive(Debug)]
pub struct Outbox {
    ready: VecDeque<Event>,
    held: BinaryHeap<Reverse<Held>>,
    held_ever: u64,
    shares: FaultShares,
    rng: ChaCha8Rng,
}

impl Outbox {
    /// An empty outbox whose faults are drawn from `seed`.
    pub fn new(seed: u64, shares: FaultShares) -> Outbox {
        // Another stream of the same seed: independent of the shop's own draws.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        Outbox { ready: VecDeque::new(), held: BinaryHeap::new(), held_ever: 0, shares, rng }
    }

    /// The next record that is to be said now.
    pub fn pop(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    /// How many records are to be said now.
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// When the next held record is due, in epoch milliseconds.
    pub fn held_until(&self) -> Option<i64> {
        self.held.peek().map(|Reverse(held)| held.event.time_ms)
    }

    /// Makes the next held record ready.
    pub fn release(&mut self) {
        self.ready.extend(self.held.pop().map(|Reverse(held)| held.event));
    }

    /// Says a record, without faults.
    pub fn say_plainly(&mut self, event: Event) {
        self.ready.push_back(event);
    }

    /// Says a record, perhaps with a fault.
    pub fn say(&mut self, event: Event) {
        if self.shares == FaultShares::NONE {
            return self.ready.push_back(event);
        }
        let mut u: f64 = self.rng.random();
        let mut falls_in = |share: f64| {
            u -= share;
            u < 0.0
        };
        if falls_in(self.shares.out_of_order) {
            self.hold(event);
        } else if falls_in(self.shares.bad) {
            let bad = self.bad_record_like(&event);
            self.ready.extend([event, bad]);
        } else if has_id_of_its_own(event.stream) && falls_in(self.shares.duplicates) {
            self.hold(event.clone());
            self.ready.push_back(event);
        } else {
            self.ready.push_back(event);
        }
    }

    /// To be called after each second or later version of a record: now and then says what `stale` makes, later.
    pub fn say_stale(&mut self, stale: impl FnOnce() -> Option<Event>) {
        if self.shares.stale > 0.0
            && self.rng.random_bool(self.shares.stale)
            && let Some(event) = stale()
        {
            self.hold(event);
        }
    }

    fn hold(&mut self, mut event: Event) {
        event.time_ms += self.rng.random_range(HELD_MS);
        self.held_ever += 1;
        self.held.push(Reverse(Held { event, nth: self.held_ever }));
    }

    /// A record on the same stream that no reader may take.
    fn bad_record_like(&mut self, event: &Event) -> Event {
        let json = match self.rng.random_range(0..4) {
            0 => event.json[..event.json.len() / 2].to_vec(),
            1 => wrong_type(event).into_bytes(),
            2 => without_key(event).into_bytes(),
            _ => absurd_time(event).into_bytes(),
        };
        Event { json, ..event.clone() }
    }
}

/// Whether a stream's records are told apart by an id, not by a version.
fn has_id_of_its_own(stream: &str) -> bool {
    stream == CLICKSTREAM || stream == ENGAGEMENT
}

/// The field that is a stream's key.
fn key_field(stream: &str) -> &'static str {
    match stream {
        CLICKSTREAM => "userId",
        CARTS => "cart_id",
        INVENTORY | CATALOG => "sku",
        ORDERS => "order_id",
        PROFILES => "user_id",
        _ => "event_id",
    }
}

fn wrong_type(event: &Event) -> String {
    let (field, key, time_ms) = (key_field(event.stream), &event.key, event.time_ms);
    match event.stream {
        CLICKSTREAM => {
            format!(r#"{{"type":"track","event":42,"{field}":["{key}"],"timestamp":{time_ms}}}"#)
        }
        ENGAGEMENT => {
            format!(r#"{{"{field}":"{key}","type":7,"user_id":{{}},"occurred_at":{time_ms}}}"#)
        }
        _ => {
            format!(r#"{{"{field}":"{key}","version":"three","lines":"none","on_hand":"many","updated_at":{time_ms}}}"#)
        }
    }
}

fn without_key(event: &Event) -> String {
    let time_ms = event.time_ms;
    match event.stream {
        CLICKSTREAM => format!(r#"{{"type":"track","event":"Cart Viewed","timestamp":{time_ms}}}"#),
        ENGAGEMENT => format!(r#"{{"type":"opened","user_id":"u1","occurred_at":{time_ms}}}"#),
        _ => format!(r#"{{"version":1,"on_hand":1,"lines":[],"updated_at":{time_ms}}}"#),
    }
}

/// A record of the year 1970.
fn absurd_time(event: &Event) -> String {
    let (field, key) = (key_field(event.stream), &event.key);
    match event.stream {
        CLICKSTREAM => format!(r#"{{"type":"page","{field}":"{key}","timestamp":0}}"#),
        ENGAGEMENT => {
            format!(r#"{{"{field}":"{key}","type":"opened","user_id":"u1","occurred_at":0}}"#)
        }
        ORDERS => {
            format!(r#"{{"{field}":"{key}","user_id":"u1","status":"placed","placed_at":0,"version":9,"lines":[]}}"#)
        }
        _ => format!(r#"{{"{field}":"{key}","user_id":"u1","version":9,"on_hand":9,"lines":[],"updated_at":0}}"#),
    }
}
