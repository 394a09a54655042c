//! Everything known at a tick (SPEC §3). In: the facts. Out: the state at a tick, rebuilt from all of them. Cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::horizon::{Horizon, NEVER};
use super::records::{Customer, Event, Line, Message, Order, Product, Profile, Record, Status, Who};
use super::time::{Position, round_up};
use super::writes::Fact;

/// What names a cart: its own id, or its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CartKey {
    Named(String),
    Implicit(Customer),
}

/// An open cart, by the texts of its owner, its name and its SKUs.
pub type OpenCart = (String, String, Vec<(String, i64)>);

/// A line of a cart at a tick.
#[derive(Clone, Debug)]
pub struct CartLine {
    pub sku: String,
    pub quantity: i64,
    /// The cart's own price.
    pub price: Option<Decimal>,
    /// The tick of its last change.
    pub changed: i64,
}

/// A cart at a tick.
#[derive(Clone, Debug)]
pub struct CartState {
    pub owner: Customer,
    pub lines: Vec<CartLine>,
}

/// An order at a tick.
#[derive(Clone, Debug)]
pub struct OrderState {
    pub owner: Customer,
    /// The tick of its `placed_at`.
    pub placed: i64,
    /// Whether that was still to come when it was last written.
    ahead: bool,
    pub order: Order,
    gone: i64,
    /// Whether what is left of it when it is forgotten was erased.
    past: bool,
}

/// What is left of an order that was history when it was forgotten.
#[derive(Clone, Debug)]
pub struct PastOrder {
    pub owner: Customer,
    pub placed: i64,
    pub total: Option<Decimal>,
}

/// A Product Viewed and suchlike, for triggers that ask when a customer did what.
#[derive(Clone, Debug)]
pub struct Deed {
    pub tick: i64,
    pub event: Event,
}

/// The state at `tick`.
pub struct State {
    pub tick: i64,
    pub tick_ms: i64,
    /// a(c, T).
    pub activity: BTreeMap<Customer, i64>,
    pub carts: BTreeMap<CartKey, CartState>,
    pub orders: BTreeMap<String, OrderState>,
    pub past: Vec<PastOrder>,
    pub stock: BTreeMap<String, i64>,
    /// For each SKU in stock, the tick at which its stock rose from 0.
    pub rose: BTreeMap<String, i64>,
    /// For each SKU known, its stock from each tick on at which it changed.
    pub stock_levels: BTreeMap<String, Vec<(i64, i64)>>,
    pub products: BTreeMap<String, Product>,
    /// For each SKU, the ticks at which its price became another: (tick, the one before, the new one).
    pub price_changes: BTreeMap<String, Vec<(i64, Decimal, Decimal)>>,
    pub profiles: BTreeMap<Customer, Profile>,
    /// The tick at which consent first held.
    pub consented: BTreeMap<Customer, i64>,
    /// Those who unsubscribed, complained or bounced.
    pub refused: BTreeSet<Customer>,
    /// The campaigns that each customer does not want, by the last of their choices, with its place among them.
    pub chosen: BTreeMap<Customer, ((i64, Position), BTreeSet<String>)>,
    /// The ticks of each customer's interest in each SKU.
    pub interest: BTreeMap<(Customer, String), BTreeSet<i64>>,
    /// The same by whom each record names, owner or not: only to see where that makes a difference.
    pub interest_as_named: BTreeMap<(Customer, String), BTreeSet<i64>>,
    /// What each customer did, in order of effect.
    pub deeds: BTreeMap<Customer, Vec<Deed>>,
    /// Ticks at which something is forgotten, if nothing changes it before.
    pub forgets: BTreeSet<i64>,
    /// How often what is forgotten by now.
    pub forgotten: BTreeMap<&'static str, usize>,
    identities: Identities,
    horizon: Horizon,
    erased: Erased,
}

impl State {
    /// The state at `tick`, of all facts of effect ≤ `tick` and nothing else.
    pub fn at(tick: i64, tick_ms: i64, horizon: &Horizon, facts: &[Fact]) -> State {
        let facts: Vec<&Fact> = facts.iter().filter(|fact| fact.tick <= tick).collect();
        let mut state = State {
            tick,
            tick_ms,
            activity: BTreeMap::new(),
            carts: BTreeMap::new(),
            orders: BTreeMap::new(),
            past: Vec::new(),
            stock: BTreeMap::new(),
            rose: BTreeMap::new(),
            stock_levels: BTreeMap::new(),
            products: BTreeMap::new(),
            price_changes: BTreeMap::new(),
            profiles: BTreeMap::new(),
            consented: BTreeMap::new(),
            refused: BTreeSet::new(),
            chosen: BTreeMap::new(),
            interest: BTreeMap::new(),
            interest_as_named: BTreeMap::new(),
            deeds: BTreeMap::new(),
            forgets: BTreeSet::new(),
            forgotten: BTreeMap::new(),
            identities: Identities::of(&facts, tick, horizon),
            horizon: *horizon,
            erased: Erased::default(),
        };
        if horizon.forget_erased {
            state.erased = Erased::of(&facts, tick_ms, horizon);
            state.forget(state.erased.facts.len(), "what was an erased customer's");
        }
        state.forgets.extend(state.identities.ends.iter().copied());
        state.forget(state.identities.lapsed, "link");
        for together in facts.chunk_by(|one, next| one.tick == next.tick) {
            for fact in together {
                state.take(fact, &facts);
            }
            state.note_consent(together[0].tick);
        }
        state.forget_orders(&facts);
        state.follow_stock(&facts);
        state.fold_carts(&facts);
        state
    }

    /// The customer that `customer` has become by aliases.
    pub fn now(&self, customer: &Customer) -> Customer {
        match customer {
            Customer::User(id) => self.identities.follow(id),
            Customer::Anonymous(_) => customer.clone(),
        }
    }

    /// Takes in what needs nothing but the fact itself.
    fn take(&mut self, fact: &Fact, facts: &[&Fact]) {
        match &fact.record {
            Record::Message(_) | Record::Cart(_) if self.erased.has(fact) => {}
            Record::Message(message) => self.take_message(fact, message),
            Record::Cart(cart) => {
                let owner = self.identities.owner(&cart.who, fact.tick, false);
                self.active(&owner, fact.tick);
                for line in &cart.lines {
                    self.interested(&cart.who, &line.sku, fact.tick);
                }
            }
            Record::Order(order) => {
                let placed = round_up(order.placed_at_ms, self.tick_ms);
                let ahead = placed > fact.tick;
                let owner = self.identities.owner(&order.who, placed, ahead);
                if !self.erased.has(fact) {
                    self.active(&owner, fact.tick);
                }
                let order = order.clone();
                let id = order.order_id.clone();
                let state =
                    OrderState { owner, placed, ahead, order, gone: fact.gone, past: self.erased.has_past(fact) };
                let before = match self.erased.has_order(fact) {
                    true => self.orders.remove(&id),
                    false => self.orders.insert(id, state),
                };
                // A later write of a forgotten order is another order.
                if let Some(before) = before.filter(|before| before.gone <= fact.tick) {
                    self.leave(before, facts);
                }
            }
            Record::Product(product) => self.take_product(fact.tick, product),
            Record::Profile(profile) => {
                let customer = Customer::User(profile.user_id.clone());
                self.profiles.insert(customer, profile.clone());
            }
            Record::Engagement(engagement) => {
                if let (true, Some(user)) = (engagement.refuses, &engagement.user) {
                    self.refused.insert(self.identities.follow(user));
                }
                if let (Some(declined), Some(user)) = (&engagement.declined, &engagement.user) {
                    let choice = ((fact.time_ms, fact.position), declined.clone());
                    let last = self.chosen.entry(self.identities.follow(user)).or_insert_with(|| choice.clone());
                    *last = choice.max(last.clone());
                }
            }
            Record::Inventory { .. } => {}
        }
    }

    fn forget(&mut self, times: usize, what: &'static str) {
        *self.forgotten.entry(what).or_default() += times;
    }

    /// Takes out the orders that are forgotten.
    fn forget_orders(&mut self, facts: &[&Fact]) {
        for (id, order) in std::mem::take(&mut self.orders) {
            if order.gone <= self.tick {
                self.leave(order, facts);
            } else {
                self.forgets.insert(order.gone);
                self.orders.insert(id, order);
            }
        }
    }

    /// What is left of a forgotten order is of whoever its visitor was linked to when it was forgotten.
    fn leave(&mut self, order: OrderState, facts: &[&Fact]) {
        self.forget(1, "order");
        if order.order.status == Status::Placed && !order.past {
            let then: Vec<&Fact> = facts.iter().copied().filter(|fact| fact.tick <= order.gone).collect();
            let then = Identities::of(&then, order.gone, &self.horizon);
            let owner = self.identities.past_owner(&then, &order.order.who, order.placed, order.ahead);
            self.past.push(PastOrder { owner, placed: order.placed, total: order.order.total });
        }
    }

    fn take_message(&mut self, fact: &Fact, message: &Message) {
        let owner = self.identities.owner(&message.who, fact.tick, false);
        self.active(&owner, fact.tick);
        match &message.event {
            Event::Viewed(sku) | Event::Clicked(sku) | Event::Wished(sku) => {
                self.interested(&message.who, sku, fact.tick);
            }
            Event::Added { line, .. } => self.interested(&message.who, &line.sku, fact.tick),
            _ => {}
        }
        let deed = Deed { tick: fact.tick, event: message.event.clone() };
        self.deeds.entry(owner).or_default().push(deed);
    }

    fn take_product(&mut self, tick: i64, product: &Product) {
        let before = self.products.get(&product.sku).and_then(|old| old.price);
        if let (Some(before), Some(price)) = (before, product.price)
            && before != price
        {
            let changes = self.price_changes.entry(product.sku.clone()).or_default();
            changes.push((tick, before, price));
        }
        self.products.insert(product.sku.clone(), product.clone());
    }

    fn active(&mut self, owner: &Customer, tick: i64) {
        let latest = self.activity.entry(owner.clone()).or_insert(tick);
        *latest = tick.max(*latest);
    }

    fn interested(&mut self, who: &Who, sku: &str, tick: i64) {
        let owner = self.identities.owner(who, tick, false);
        self.interest.entry((owner, sku.to_owned())).or_default().insert(tick);
        let named = match (&who.user, &who.anonymous) {
            (Some(user), _) => Customer::User(user.clone()),
            (None, anonymous) => Customer::Anonymous(anonymous.clone().unwrap_or_default()),
        };
        self.interest_as_named.entry((named, sku.to_owned())).or_default().insert(tick);
    }

    /// Whether mail may be sent: the profile says so, and nothing that came of it took that back.
    pub fn consents(&self, customer: &Customer) -> bool {
        let profile = self.profiles.get(customer);
        profile.is_some_and(|profile| profile.consent && !profile.deleted) && !self.refused.contains(customer)
    }

    fn note_consent(&mut self, tick: i64) {
        let customers: Vec<Customer> = self.profiles.keys().cloned().collect();
        for customer in customers {
            if self.consents(&customer) {
                self.consented.entry(customer).or_insert(tick);
            }
        }
    }

    /// Every message, with its owner.
    pub fn all_deeds(&self) -> impl Iterator<Item = (&Customer, &Deed)> {
        let owners = self.deeds.iter();
        owners.flat_map(|(customer, deeds)| deeds.iter().map(move |deed| (customer, deed)))
    }

    /// Sums the stock at each tick in turn, to see when it rose.
    fn follow_stock(&mut self, facts: &[&Fact]) {
        let mut by_location: BTreeMap<(&str, &Option<String>), i64> = BTreeMap::new();
        let mut ticks: BTreeMap<i64, Vec<&Record>> = BTreeMap::new();
        for fact in facts {
            ticks.entry(fact.tick).or_default().push(&fact.record);
        }
        for (tick, records) in ticks {
            for record in records {
                if let Record::Inventory { sku, location, on_hand } = record {
                    by_location.insert((sku, location), *on_hand);
                }
            }
            self.stock.clear();
            for ((sku, _), on_hand) in &by_location {
                *self.stock.entry((*sku).to_owned()).or_default() += on_hand;
            }
            for (sku, stock) in &self.stock {
                let levels = self.stock_levels.entry(sku.clone()).or_default();
                if levels.last().is_none_or(|(_, level)| level != stock) {
                    levels.push((tick, *stock));
                }
                match *stock >= 1 {
                    true => {
                        self.rose.entry(sku.clone()).or_insert(tick);
                    }
                    false => {
                        self.rose.remove(sku);
                    }
                }
            }
        }
    }

    /// Builds each cart: from its latest record if it has one, else from its messages.
    fn fold_carts(&mut self, facts: &[&Fact]) {
        for fact in facts {
            if let Record::Cart(cart) = &fact.record {
                let line = |line: &Line| CartLine {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                    price: line.price,
                    changed: fact.tick,
                };
                let state = CartState {
                    owner: self.identities.owner(&cart.who, fact.tick, false),
                    lines: cart.lines.iter().map(line).collect(),
                };
                let key = CartKey::Named(cart.cart_id.clone());
                match fact.gone <= self.tick {
                    true => {
                        self.carts.remove(&key);
                        self.forget(1, "cart");
                    }
                    false if self.erased.has(fact) => drop(self.carts.remove(&key)),
                    false => {
                        self.forgets.insert(fact.gone);
                        self.carts.insert(key, state);
                    }
                }
            }
        }
        let folds = Folds::of(facts, self.tick, &self.horizon);
        self.forgets.extend(&folds.ends);
        self.forget(folds.forgotten, "folded line");
        for fact in folds.standing {
            if self.erased.has(fact) || self.erased.is_unfolded(fact) {
                continue;
            }
            let Record::Message(message) = &fact.record else {
                continue;
            };
            let owner = self.identities.owner(&message.who, fact.tick, false);
            let key = match message.event.cart_id() {
                Some(id) => CartKey::Named(id.clone()),
                None => CartKey::Implicit(owner.clone()),
            };
            let cart = self.carts.entry(key).or_insert_with(|| CartState { owner: owner.clone(), lines: Vec::new() });
            if cart.owner != owner {
                cart.lines.iter_mut().for_each(|line| line.changed = fact.tick);
            }
            cart.owner = owner;
            fold(&mut cart.lines, &message.event, fact.tick);
        }
    }

    /// Whether an order closes or empties something: a cancelled one never does.
    pub fn orders_of<'a>(&'a self, owner: &'a Customer) -> impl Iterator<Item = &'a OrderState> {
        let counts = |order: &&OrderState| order.order.status != Status::Cancelled;
        self.orders.values().filter(move |order| order.owner == *owner).filter(counts)
    }

    /// The ticks of the customer's orders of `sku`.
    pub fn orders_of_sku<'a>(&'a self, owner: &'a Customer, sku: &'a str) -> impl Iterator<Item = i64> + 'a {
        self.orders_of(owner).filter(move |order| order.names(sku)).map(|order| order.placed)
    }

    /// Whether an order has closed the cart since the line's last change.
    pub fn is_closed(&self, key: &CartKey, cart: &CartState, line: &CartLine) -> bool {
        self.orders_of(&cart.owner).filter(|order| order.placed >= line.changed).any(|order| {
            match (&order.order.cart_id, key) {
                (None, _) => true,
                (Some(ordered), CartKey::Named(id)) => ordered == id,
                (Some(_), CartKey::Implicit(_)) => false,
            }
        })
    }

    /// Whether the customer has ordered the line's SKU since the line's last change.
    pub fn is_ordered(&self, cart: &CartState, line: &CartLine) -> bool {
        self.orders_of_sku(&cart.owner, &line.sku).any(|placed| placed >= line.changed)
    }

    /// The cart's lines that are not left out.
    pub fn open_lines<'a>(&self, key: &CartKey, cart: &'a CartState) -> Vec<&'a CartLine> {
        cart.lines.iter().filter(|line| !self.is_closed(key, cart, line) && !self.is_ordered(cart, line)).collect()
    }

    /// Every cart with something still to be bought: whose it is, what it is called, and what is to be bought of which SKU.
    pub fn open_carts(&self) -> BTreeSet<OpenCart> {
        let open = self.carts.iter().map(|(key, cart)| {
            let name = match key {
                CartKey::Named(id) => id.clone(),
                CartKey::Implicit(owner) => owner.id().to_owned(),
            };
            let mut lines: Vec<_> =
                self.open_lines(key, cart).iter().map(|line| (line.sku.clone(), line.quantity)).collect();
            lines.sort();
            (cart.owner.id().to_owned(), name, lines)
        });
        open.filter(|(_, _, lines)| !lines.is_empty()).collect()
    }

    /// Stock of a SKU; of one not known, 0.
    pub fn stock_of(&self, sku: &str) -> i64 {
        self.stock.get(sku).copied().unwrap_or(0)
    }
}

impl OrderState {
    /// Whether a line of the order is of `sku`.
    pub fn names(&self, sku: &str) -> bool {
        self.order.lines.iter().any(|line| line.sku == sku)
    }
}

/// Adds to or removes from a folded cart's lines.
fn fold(lines: &mut Vec<CartLine>, event: &Event, tick: i64) {
    match event {
        Event::Added { line, .. } => match lines.iter_mut().find(|known| known.sku == line.sku) {
            Some(known) => {
                known.quantity += line.quantity;
                known.price = line.price.or(known.price);
                known.changed = tick;
            }
            None => lines.push(CartLine {
                sku: line.sku.clone(),
                quantity: line.quantity,
                price: line.price,
                changed: tick,
            }),
        },
        Event::Removed { sku, quantity, .. } => {
            for known in lines.iter_mut().filter(|known| known.sku == *sku) {
                known.quantity -= quantity;
                known.changed = tick;
            }
        }
        _ => {}
    }
    lines.retain(|line| line.quantity > 0);
}

/// The messages that fold into carts as known at a tick: those that no record has replaced, and that are not forgotten.
struct Folds<'f> {
    /// In their order.
    standing: Vec<&'f Fact>,
    /// When they are forgotten.
    ends: Vec<i64>,
    /// How many runs of messages are.
    forgotten: usize,
}

impl<'f> Folds<'f> {
    /// What was said of one SKU in one cart (without a cart's id: by one user or visitor) is forgotten together, when no more is
    /// said for long.
    fn of(facts: &[&'f Fact], tick: i64, horizon: &Horizon) -> Folds<'f> {
        let records = Self::record_ends(facts);
        let mut runs: BTreeMap<(Option<String>, Customer, String), Vec<&Fact>> = BTreeMap::new();
        for fact in facts {
            let Record::Message(message) = &fact.record else {
                continue;
            };
            let Some(sku) = message.event.folded_sku() else {
                continue;
            };
            let cart = message.event.cart_id().cloned();
            let replaced = cart.as_deref().and_then(|cart| records.get(cart));
            if replaced.is_some_and(|ends| ends.iter().any(|end| fact.tick < *end)) {
                continue;
            }
            let said_by = match (&cart, &message.who.user) {
                (Some(_), _) => Customer::User(String::new()),
                (None, Some(user)) => Customer::User(user.clone()),
                (None, None) => Customer::Anonymous(message.who.anonymous.clone().unwrap_or_default()),
            };
            let run = runs.entry((cart, said_by, sku.to_owned())).or_default();
            if run.last().is_some_and(|last| horizon.cart(last.tick, true) <= fact.tick) {
                run.clear();
            }
            run.push(fact);
        }
        let gone = |run: &Vec<&Fact>| run.last().map_or(NEVER, |last| horizon.cart(last.tick, true));
        let (standing, forgotten): (Vec<_>, Vec<_>) = runs.into_values().partition(|run| gone(run) > tick);
        let ends = standing.iter().map(gone).collect();
        let mut standing: Vec<&Fact> = standing.into_iter().flatten().collect();
        standing.sort_by_key(|fact| (fact.tick, fact.time_ms, fact.position));
        Folds { standing, ends, forgotten: forgotten.len() }
    }

    /// For each cart its records, each with the tick until which it stands for the cart.
    fn record_ends(facts: &[&'f Fact]) -> BTreeMap<&'f str, Vec<i64>> {
        let mut records: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
        for fact in facts {
            if let Record::Cart(cart) = &fact.record {
                let ends = records.entry(&cart.cart_id).or_default();
                if let Some(before) = ends.last_mut() {
                    *before = fact.tick.min(*before);
                }
                ends.push(fact.gone);
            }
        }
        records
    }
}

/// What is forgotten because it was a customer's whose profile came to be deleted: facts, by their places in memory.
#[derive(Default)]
struct Erased {
    /// Each with the tick at which it was.
    facts: BTreeMap<*const Fact, i64>,
    /// Orders that were forgotten before, and of which no more is left either.
    past: BTreeSet<*const Fact>,
    /// Messages of others in carts that were that customer's.
    unfolded: BTreeSet<*const Fact>,
}

impl Erased {
    /// `facts`: all that are known.
    fn of(facts: &[&Fact], tick_ms: i64, horizon: &Horizon) -> Erased {
        let mut erased = Erased::default();
        for erasure in facts {
            let Record::Profile(profile) = &erasure.record else {
                continue;
            };
            let known: Vec<&Fact> = facts.iter().copied().filter(|fact| fact.tick <= erasure.tick).collect();
            let identities = Identities::of(&known, erasure.tick, horizon);
            let user = Customer::User(profile.user_id.clone());
            // Who is an alias of another owns nothing.
            if !profile.deleted || identities.follow(&profile.user_id) != user {
                continue;
            }
            erased.unfold(&known, erasure.tick, &identities, horizon, &user);
            for fact in &known {
                let (owner, past_owner) = match &fact.record {
                    Record::Message(message) => (identities.owner(&message.who, fact.tick, false), None),
                    Record::Cart(cart) => (identities.owner(&cart.who, fact.tick, false), None),
                    Record::Order(order) => {
                        let placed = round_up(order.placed_at_ms, tick_ms);
                        let ahead = placed > fact.tick;
                        let then: Vec<&Fact> = known.iter().copied().filter(|it| it.tick <= fact.gone).collect();
                        let then = Identities::of(&then, fact.gone, horizon);
                        let past = (fact.gone <= erasure.tick)
                            .then(|| identities.past_owner(&then, &order.who, placed, ahead));
                        (identities.owner(&order.who, placed, ahead), past)
                    }
                    _ => continue,
                };
                if owner == user {
                    erased.facts.entry(*fact).or_insert(erasure.tick);
                }
                if past_owner == Some(user.clone()) {
                    erased.past.insert(*fact);
                }
            }
        }
        erased
    }

    /// A folded cart of `user` goes whole.
    fn unfold(&mut self, known: &[&Fact], tick: i64, identities: &Identities, horizon: &Horizon, user: &Customer) {
        let mut carts: BTreeMap<&String, Vec<&Fact>> = BTreeMap::new();
        for fact in Folds::of(known, tick, horizon).standing {
            if let Record::Message(message) = &fact.record
                && let Some(cart) = message.event.cart_id()
                && !self.has(fact)
                && !self.is_unfolded(fact)
            {
                carts.entry(cart).or_default().push(fact);
            }
        }
        for messages in carts.into_values() {
            if let Some(Fact { tick, record: Record::Message(last), .. }) = messages.last()
                && identities.owner(&last.who, *tick, false) == *user
            {
                self.unfolded.extend(messages.into_iter().map(std::ptr::from_ref));
            }
        }
    }

    fn is_unfolded(&self, fact: &Fact) -> bool {
        self.unfolded.contains(&std::ptr::from_ref(fact))
    }

    fn has(&self, fact: &Fact) -> bool {
        self.facts.contains_key(&std::ptr::from_ref(fact))
    }

    /// Whether the order was still known when what was its owner's was forgotten.
    fn has_order(&self, fact: &Fact) -> bool {
        self.facts.get(&std::ptr::from_ref(fact)).is_some_and(|erased| *erased < fact.gone)
    }

    fn has_past(&self, fact: &Fact) -> bool {
        self.past.contains(&std::ptr::from_ref(fact))
    }
}

/// Who is who, as known at a tick.
struct Identities {
    /// For each anonymous id, the links that are known: in runs that each hold until none was said for long.
    links: BTreeMap<String, Vec<Run>>,
    /// For each user, the one whom it was last made an alias of.
    aliases: BTreeMap<String, String>,
    /// Ticks at which something of this comes to an end.
    ends: Vec<i64>,
    /// How many runs came to their end, be it that they are known still.
    lapsed: usize,
}

/// Links of an anonymous id, none long after the other.
struct Run {
    links: Vec<(i64, String)>,
    /// For records from this tick on they say nothing.
    end: i64,
}

impl Identities {
    fn of(facts: &[&Fact], tick: i64, horizon: &Horizon) -> Identities {
        let mut links: BTreeMap<String, Vec<Run>> = BTreeMap::new();
        let mut aliases = BTreeMap::new();
        for fact in facts {
            let Record::Message(message) = &fact.record else {
                continue;
            };
            let Some(user) = message.who.user.clone() else {
                continue;
            };
            let linked = match &message.event {
                Event::Identify => message.who.anonymous.clone(),
                Event::Alias { previous } => {
                    aliases.insert(previous.clone(), user.clone());
                    Some(previous.clone())
                }
                _ => None,
            };
            if let Some(anonymous) = linked {
                let runs = links.entry(anonymous).or_default();
                if runs.last().is_none_or(|run| run.end <= fact.tick) {
                    runs.push(Run { links: Vec::new(), end: 0 });
                }
                if let Some(run) = runs.last_mut() {
                    run.links.push((fact.tick, user));
                    run.end = horizon.link(fact.tick);
                }
            }
        }
        let forgotten = |run: &Run| if run.end == NEVER { NEVER } else { horizon.link(run.end) };
        let all = links.values().flatten();
        let ends = all.flat_map(|run| [run.end, forgotten(run)]).collect();
        let lapsed = links.values().flatten().filter(|run| run.end <= tick).count();
        links.values_mut().for_each(|runs| runs.retain(|run| forgotten(run) > tick));
        Identities { links, aliases, ends, lapsed }
    }

    /// The owner of a record of `time` that carries `who`. `ahead`: the time was still to come when it took effect.
    fn owner(&self, who: &Who, time: i64, ahead: bool) -> Customer {
        match self.linked(who, time, ahead) {
            Customer::User(user) => self.follow(&user),
            visitor => visitor,
        }
    }

    /// Whose is what is left of an order that was forgotten when `then` was known.
    fn past_owner(&self, then: &Identities, who: &Who, placed: i64, ahead: bool) -> Customer {
        match then.linked(who, placed, ahead) {
            Customer::User(user) => self.follow(&user),
            Customer::Anonymous(visitor) => self.owner(&Who { user: None, anonymous: Some(visitor) }, placed, false),
        }
    }

    /// The owner but for aliases.
    fn linked(&self, who: &Who, time: i64, ahead: bool) -> Customer {
        if let Some(user) = &who.user {
            return Customer::User(user.clone());
        }
        let anonymous = who.anonymous.clone().unwrap_or_default();
        let runs = self.links.get(&anonymous).map_or(&[][..], Vec::as_slice);
        let run = runs.iter().find(|run| time < run.end).or(runs.last().filter(|_| ahead));
        let Some(Run { links, .. }) = run else {
            return Customer::Anonymous(anonymous);
        };
        let latest_before = links.iter().rfind(|(linked, _)| *linked <= time);
        // Links are in order, so the first of those after is the earliest.
        match latest_before.or_else(|| links.first()) {
            Some((_, user)) => Customer::User(user.clone()),
            None => Customer::Anonymous(anonymous),
        }
    }

    /// Follows aliases to their end; a circle ends where it would begin again.
    fn follow(&self, user: &str) -> Customer {
        let mut visited = vec![user];
        while let Some(next) = self.aliases.get(visited[visited.len() - 1]) {
            if visited.contains(&next.as_str()) {
                break;
            }
            visited.push(next);
        }
        Customer::User(visited[visited.len() - 1].to_owned())
    }
}
