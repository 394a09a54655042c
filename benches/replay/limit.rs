//! The limit: what the rule costs without a dataflow under it. One thread, plain hash maps, a heap of timers. In: the same
//! files. Out: the same decisions, for the one campaign of the bench (`cart_abandonment`, 30 m, 24 h, `stock = "any"`).
//!
//! It reads with the crate's own decoder, the fastest that there is (`cargo bench --bench decode`), keeps last write wins,
//! duplicates and ticks as SPEC §1 and §2 have them, and otherwise knows only what the bench's mix holds: records in order, one
//! owner a cart, no other messages than views. It fails on anything else, rather than decide wrongly.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::hash::BuildHasherDefault;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use beckon::decision::{Decision, DecisionId, Outcome, Payload, PayloadLine, Reason};
use beckon::decode::{Decoder, Dictionary};
use beckon_dataflows::model::{
    Action, CartRecord, Click, Id, IdHasher, Line, MessageId, OrderRecord, OrderStatus, Position, Product,
    ProfileRecord, Record, StockRecord, Stream, Tick, Written,
};

use beckon_dataflows::time::tick_at;
use hashbrown::{HashMap, HashSet};

const TICK_MS: u64 = 1_000;
const AFTER_MS: u64 = 30 * 60 * 1_000;
const EXPIRES_MS: u64 = 24 * 60 * 60 * 1_000;
/// How long a `messageId` is remembered (SPEC §1).
const WINDOW_MS: u64 = 24 * 60 * 60 * 1_000;
const CAMPAIGN: &str = "cart-abandonment";
const TRIGGER: &str = "cart_abandonment";

type ById<V> = HashMap<Id, V, BuildHasherDefault<IdHasher>>;

/// Decides from the streams in `input` into `output`. Without `remember_ids` every message is taken for the first of its id.
pub fn run(input: &Path, output: &Path, remember_ids: bool) -> anyhow::Result<()> {
    let dictionary = Arc::new(Dictionary::new());
    let mut decoder = Decoder::new(dictionary.clone());
    let mut readers = Vec::new();
    for stream in Stream::ALL {
        readers.push(Reader::open(input, stream, &mut decoder)?);
    }
    let mut shop = Shop { remember_ids, ..Shop::default() };
    let mut out = BufWriter::new(File::create(output)?);
    while let Some(next) = readers.iter().filter_map(Reader::tick).min() {
        let timer = shop.timers.peek().map_or(next, |Reverse((tick, _))| *tick);
        let now = next.min(timer);
        for reader in &mut readers {
            while reader.tick() == Some(now) {
                reader.next.take().into_iter().try_for_each(|(_, record)| shop.apply(now, record))?;
                reader.read(&mut decoder)?;
            }
        }
        for decision in shop.decide(now, &dictionary) {
            serde_json::to_writer(&mut out, &decision)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.flush()?)
}

/// A stream's file, read one record ahead.
struct Reader {
    stream: Stream,
    lines: BufReader<File>,
    line: Vec<u8>,
    number: u64,
    /// The next record, and the tick at which it takes effect.
    next: Option<(Tick, Record)>,
}

impl Reader {
    fn open(input: &Path, stream: Stream, decoder: &mut Decoder) -> anyhow::Result<Reader> {
        let path = input.join(format!("{stream}.jsonl"));
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let lines = BufReader::with_capacity(256 << 10, file);
        let mut reader = Reader { stream, lines, line: Vec::new(), number: 0, next: None };
        reader.read(decoder)?;
        Ok(reader)
    }

    fn tick(&self) -> Option<Tick> {
        self.next.as_ref().map(|(tick, _)| *tick)
    }

    fn read(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        self.line.clear();
        self.number += 1;
        if self.lines.read_until(b'\n', &mut self.line)? == 0 {
            return Ok(());
        }
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let decoded = decoder.decode(Position::new(self.stream, 0, self.number), line)?;
        self.next = Some((tick_at(decoded.event_ms, TICK_MS), decoded.record));
        Ok(())
    }
}

/// All state.
#[derive(Default)]
struct Shop {
    remember_ids: bool,
    seen: HashSet<MessageId, BuildHasherDefault<IdHasher>>,
    seen_at: VecDeque<(Tick, MessageId)>,
    customers: ById<Customer>,
    carts: ById<Cart>,
    orders: ById<(Written, OrderRecord)>,
    shelves: ById<Shelf>,
    products: ById<(Written, Arc<Product>)>,
    contacts: ById<(Written, Result<(), Reason>)>,
    /// One a customer at most: it is put off when it comes due too early.
    timers: BinaryHeap<Reverse<(Tick, Id)>>,
    /// Idle customers, by the SKUs that their carts wait for.
    waiting: ById<Vec<Id>>,
    /// SKUs that came back in stock at this tick.
    restocked: Vec<Id>,
}

/// A customer with a cart.
#[derive(Default)]
struct Customer {
    active: Tick,
    has_timer: bool,
    carts: Vec<Id>,
    orders: Vec<Id>,
}

#[derive(Default)]
struct Cart {
    written: Written,
    changed: Tick,
    lines: Box<[Line]>,
    /// The anchor of the episode that was decided last.
    decided: Tick,
}

#[derive(Default)]
struct Shelf {
    locations: Vec<(Id, Written, i64)>,
    on_hand: i64,
}

impl Shop {
    fn apply(&mut self, now: Tick, record: Record) -> anyhow::Result<()> {
        match record {
            Record::Click(click) => self.click(now, click)?,
            Record::Cart(cart) => self.cart(now, cart),
            Record::Order(order) => self.order(now, order),
            Record::Stock(stock) => self.stock(stock),
            Record::Catalog(record) => {
                let known = self.products.get(&record.sku).map(|(written, _)| *written);
                if known.is_none_or(|known| record.written > known) {
                    self.products.insert(record.sku, (record.written, record.product));
                }
            }
            Record::Profile(profile) => self.profile(profile),
            Record::Engagement(_) => bail!("the mix has no engagement"),
        }
        Ok(())
    }

    fn click(&mut self, now: Tick, click: Click) -> anyhow::Result<()> {
        ensure!(matches!(click.action, Action::Viewed(_)), "the mix has no {:?}", click.action);
        if self.remember_ids {
            while let Some((_, message)) = self.seen_at.pop_front_if(|(at, _)| *at + WINDOW_MS < now) {
                self.seen.remove(&message);
            }
            if !self.seen.insert(click.message) {
                return Ok(());
            }
            self.seen_at.push_back((now, click.message));
        }
        if let Some(customer) = self.customers.get_mut(&click.owner) {
            customer.act(now, click.owner, &mut self.timers);
        }
        Ok(())
    }

    fn cart(&mut self, now: Tick, record: CartRecord) {
        let cart = self.carts.entry(record.cart).or_default();
        if record.written <= cart.written {
            return;
        }
        let (had_lines, has_lines) = (!cart.lines.is_empty(), !record.lines.is_empty());
        *cart = Cart { written: record.written, changed: now, lines: record.lines, decided: 0 };
        let customer = self.customers.entry(record.owner).or_default();
        match (had_lines, has_lines) {
            (false, true) => customer.carts.push(record.cart),
            (true, false) => customer.carts.retain(|cart| *cart != record.cart),
            _ => {}
        }
        customer.act(now, record.owner, &mut self.timers);
    }

    fn order(&mut self, now: Tick, record: OrderRecord) {
        let (order, owner, written) = (record.order, record.owner, record.written);
        let known = self.orders.get(&order);
        if known.is_some_and(|(known, _)| written <= *known) {
            return;
        }
        let new = known.is_none();
        self.orders.insert(order, (written, record));
        let customer = self.customers.entry(owner).or_default();
        if new {
            customer.orders.push(order);
        }
        customer.act(now, owner, &mut self.timers);
    }

    fn stock(&mut self, record: StockRecord) {
        let shelf = self.shelves.entry(record.sku).or_default();
        match shelf.locations.iter_mut().find(|(location, _, _)| *location == record.location) {
            Some((_, written, _)) if record.written <= *written => return,
            Some(entry) => *entry = (record.location, record.written, record.on_hand),
            None => shelf.locations.push((record.location, record.written, record.on_hand)),
        }
        let before = shelf.on_hand;
        shelf.on_hand = shelf.locations.iter().map(|(_, _, units)| units).sum();
        if before < 1 && shelf.on_hand >= 1 {
            self.restocked.push(record.sku);
        }
    }

    fn profile(&mut self, record: ProfileRecord) {
        let known = self.contacts.get(&record.user).map(|(written, _)| *written);
        if known.is_none_or(|known| record.written > known) {
            let contact = &record.contact;
            let gate = match (contact.words().email.is_some(), contact.standing().consent) {
                (false, _) => Err(Reason::Unreachable),
                (true, false) => Err(Reason::NoConsent),
                (true, true) => Ok(()),
            };
            self.contacts.insert(record.user, (record.written, gate));
        }
    }

    /// The decisions of the tick `now`, whose records have all been applied: about the customers whose timer is due, and those
    /// who waited for what came back in stock.
    fn decide(&mut self, now: Tick, dictionary: &Dictionary) -> Vec<Decision> {
        let mut asked: Vec<Id> = Vec::new();
        while let Some(owner) = pop_due(&mut self.timers, now) {
            let Some(customer) = self.customers.get_mut(&owner) else { continue };
            customer.has_timer = customer.active + AFTER_MS > now;
            if customer.has_timer {
                self.timers.push(Reverse((customer.active + AFTER_MS, owner)));
            } else {
                asked.push(owner);
            }
        }
        asked.extend(self.restocked.drain(..).filter_map(|sku| self.waiting.remove(&sku)).flatten());
        asked.sort_unstable();
        asked.dedup();
        let mut decisions = Vec::new();
        for owner in asked {
            self.ask(now, owner, dictionary, &mut decisions);
        }
        decisions.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
        decisions
    }

    /// Decides about the carts of one customer, or lets them wait for stock.
    fn ask(&mut self, now: Tick, owner: Id, dictionary: &Dictionary, decisions: &mut Vec<Decision>) {
        let Some(customer) = self.customers.get(&owner) else { return };
        let anchor = customer.active;
        if !(anchor + AFTER_MS..anchor + AFTER_MS + EXPIRES_MS).contains(&now) {
            return;
        }
        for cart_id in &customer.carts {
            let Some(cart) = self.carts.get_mut(cart_id).filter(|cart| cart.decided != anchor) else { continue };
            let orders = customer.orders.iter().filter_map(|order| self.orders.get(order)).map(|(_, order)| order);
            let lines = open_lines(*cart_id, cart, orders);
            if lines.iter().any(|line| on_hand(&self.shelves, line.sku) >= 1) {
                cart.decided = anchor;
                let gate = self.contacts.get(&owner).map_or(Err(Reason::Unreachable), |(_, gate)| *gate);
                let payload = payload(&lines, &self.shelves, &self.products, dictionary);
                decisions.push(decision(now, anchor, owner, *cart_id, gate, payload, dictionary));
            } else {
                for line in lines {
                    let waiting = self.waiting.entry(line.sku).or_default();
                    if !waiting.contains(&owner) {
                        waiting.push(owner);
                    }
                }
            }
        }
    }
}

impl Customer {
    /// An activity, which puts the deadline off.
    fn act(&mut self, now: Tick, id: Id, timers: &mut BinaryHeap<Reverse<(Tick, Id)>>) {
        self.active = now;
        if !self.has_timer && !self.carts.is_empty() {
            self.has_timer = true;
            timers.push(Reverse((now + AFTER_MS, id)));
        }
    }
}

/// The next customer whose timer is due at `now`.
fn pop_due(timers: &mut BinaryHeap<Reverse<(Tick, Id)>>, now: Tick) -> Option<Id> {
    let due = timers.peek_mut().filter(|due| due.0.0 == now)?;
    let Reverse((_, owner)) = PeekMut::pop(due);
    Some(owner)
}

/// The lines of a cart that no order since its last change has closed or named (SPEC §3).
fn open_lines<'o>(id: Id, cart: &Cart, orders: impl Iterator<Item = &'o OrderRecord>) -> Vec<Line> {
    let mut lines = cart.lines.to_vec();
    for order in orders {
        if order.status != OrderStatus::Cancelled && tick_at(order.placed_ms, TICK_MS) >= cart.changed {
            let closes = order.cart == id || order.cart.is_none();
            lines.retain(|line| !closes && order.lines.iter().all(|ordered| ordered.sku != line.sku));
        }
    }
    lines
}

fn on_hand(shelves: &ById<Shelf>, sku: Id) -> i64 {
    shelves.get(&sku).map_or(0, |shelf| shelf.on_hand)
}

fn payload(
    lines: &[Line],
    shelves: &ById<Shelf>,
    products: &ById<(Written, Arc<Product>)>,
    dictionary: &Dictionary,
) -> Payload {
    let shown = lines.iter().filter(|line| on_hand(shelves, line.sku) >= 1);
    let shown = shown.map(|line| {
        let product = products.get(&line.sku).map(|(_, product)| product);
        PayloadLine {
            sku: text(line.sku, dictionary),
            quantity: Some(line.quantity),
            price: line.price.or(product.and_then(|product| product.price)),
            name: product.and_then(|product| product.name.clone()),
            image: product.and_then(|product| product.image_url.clone()),
            url: product.and_then(|product| product.url.clone()),
            on_hand: Some(on_hand(shelves, line.sku)),
        }
    });
    Payload { lines: shown.collect(), ..Payload::default() }
}

fn decision(
    now: Tick,
    anchor: Tick,
    owner: Id,
    cart: Id,
    gate: Result<(), Reason>,
    payload: Payload,
    dictionary: &Dictionary,
) -> Decision {
    let (customer_id, subject) = (text(owner, dictionary), text(cart, dictionary));
    Decision {
        decision_id: DecisionId::of(CAMPAIGN, &customer_id, &subject, anchor),
        campaign: CAMPAIGN.into(),
        customer_id,
        trigger: TRIGGER.into(),
        subject,
        anchor,
        as_of: now,
        outcome: if gate.is_ok() { Outcome::Send } else { Outcome::Suppress },
        reason: gate.err(),
        variant: None,
        payload,
    }
}

fn text(id: Id, dictionary: &Dictionary) -> Arc<str> {
    dictionary.text(id).unwrap_or_default().into()
}
