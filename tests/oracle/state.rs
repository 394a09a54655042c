//! Everything known at a tick (SPEC §3). In: the facts. Out: the state at a tick, rebuilt from all of them. Cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::records::{Customer, Event, Line, Message, Order, Product, Profile, Record, Status, Who};
use super::time::round_up;
use super::writes::Fact;

/// What names a cart: its own id, or its owner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CartKey {
    Named(String),
    Implicit(Customer),
}

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
    pub order: Order,
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
    /// The ticks of each customer's interest in each SKU.
    pub interest: BTreeMap<(Customer, String), BTreeSet<i64>>,
    /// The same by whom each record names, owner or not: only to see where that makes a difference.
    pub interest_as_named: BTreeMap<(Customer, String), BTreeSet<i64>>,
    /// What each customer did, in order of effect.
    pub deeds: BTreeMap<Customer, Vec<Deed>>,
    identities: Identities,
}

impl State {
    /// The state at `tick`, of all facts of effect ≤ `tick` and nothing else.
    pub fn at(tick: i64, tick_ms: i64, facts: &[Fact]) -> State {
        let facts: Vec<&Fact> = facts.iter().filter(|fact| fact.tick <= tick).collect();
        let mut state = State {
            tick,
            tick_ms,
            activity: BTreeMap::new(),
            carts: BTreeMap::new(),
            orders: BTreeMap::new(),
            stock: BTreeMap::new(),
            rose: BTreeMap::new(),
            stock_levels: BTreeMap::new(),
            products: BTreeMap::new(),
            price_changes: BTreeMap::new(),
            profiles: BTreeMap::new(),
            consented: BTreeMap::new(),
            refused: BTreeSet::new(),
            interest: BTreeMap::new(),
            interest_as_named: BTreeMap::new(),
            deeds: BTreeMap::new(),
            identities: Identities::of(&facts),
        };
        for together in facts.chunk_by(|one, next| one.tick == next.tick) {
            for fact in together {
                state.take(fact);
            }
            state.note_consent(together[0].tick);
        }
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
    fn take(&mut self, fact: &Fact) {
        match &fact.record {
            Record::Message(message) => self.take_message(fact, message),
            Record::Cart(cart) => {
                let owner = self.identities.owner(&cart.who, fact.tick);
                self.active(&owner, fact.tick);
                for line in &cart.lines {
                    self.interested(&cart.who, &line.sku, fact.tick);
                }
            }
            Record::Order(order) => {
                let placed = round_up(order.placed_at_ms, self.tick_ms);
                let owner = self.identities.owner(&order.who, placed);
                self.active(&owner, fact.tick);
                let order = order.clone();
                let id = order.order_id.clone();
                let state = OrderState { owner, placed, order };
                self.orders.insert(id, state);
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
            }
            Record::Inventory { .. } => {}
        }
    }

    fn take_message(&mut self, fact: &Fact, message: &Message) {
        let owner = self.identities.owner(&message.who, fact.tick);
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
        let owner = self.identities.owner(who, tick);
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
        let mut recorded = BTreeSet::new();
        for fact in facts {
            if let Record::Cart(cart) = &fact.record {
                let line = |line: &Line| CartLine {
                    sku: line.sku.clone(),
                    quantity: line.quantity,
                    price: line.price,
                    changed: fact.tick,
                };
                let state = CartState {
                    owner: self.identities.owner(&cart.who, fact.tick),
                    lines: cart.lines.iter().map(line).collect(),
                };
                let key = CartKey::Named(cart.cart_id.clone());
                recorded.insert(key.clone());
                self.carts.insert(key, state);
            }
        }
        for fact in facts {
            let Record::Message(message) = &fact.record else {
                continue;
            };
            let (Event::Added { cart_id, .. } | Event::Removed { cart_id, .. }) = &message.event else {
                continue;
            };
            let owner = self.identities.owner(&message.who, fact.tick);
            let key = match cart_id {
                Some(id) => CartKey::Named(id.clone()),
                None => CartKey::Implicit(owner.clone()),
            };
            if recorded.contains(&key) {
                continue;
            }
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

/// Who is who, as known at a tick.
struct Identities {
    /// For each anonymous id, the users it was linked to, in order.
    links: BTreeMap<String, Vec<(i64, String)>>,
    /// For each user, the one whom it was last made an alias of.
    aliases: BTreeMap<String, String>,
}

impl Identities {
    fn of(facts: &[&Fact]) -> Identities {
        let mut links: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
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
                links.entry(anonymous).or_default().push((fact.tick, user));
            }
        }
        Identities { links, aliases }
    }

    /// The owner of a record of `tick` that carries `who`.
    fn owner(&self, who: &Who, tick: i64) -> Customer {
        if let Some(user) = &who.user {
            return self.follow(user);
        }
        let anonymous = who.anonymous.clone().unwrap_or_default();
        let links = self.links.get(&anonymous).map_or(&[][..], Vec::as_slice);
        let latest_before = links.iter().rfind(|(linked, _)| *linked <= tick);
        // Links are in order, so the first of those after is the earliest.
        match latest_before.or_else(|| links.first()) {
            Some((_, user)) => self.follow(user),
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
