//! Which records can concern a decision. In: the customer, what the decision is about, and the records found so far. Out:
//! whether another record concerns it. Cannot fail.
//!
//! A record concerns the decision by the names that its effect is keyed by: its owner, its cart, its order, its profile, its
//! SKU for stock and catalog, and its message id, because of two with one id only the first counts. What such a record names
//! concerns it in turn: the visitors linked to the customer, the carts, orders and SKUs of theirs. Another customer's view of
//! a SKU does not.

use beckon_dataflows::model::{Action, Click, Id, Line, MessageId, Namespace, Record};
use hashbrown::HashSet;

use super::find::Found;

/// The names that concern a decision. No two namespaces share an id, so that one set is enough.
#[derive(Default)]
pub struct Related {
    names: HashSet<Id>,
    messages: HashSet<MessageId>,
}

impl Related {
    /// What a decision is about: its customer under all their ids, its subject, and the SKUs of its payload.
    pub fn to(found: &Found) -> Related {
        let lines = &found.made.decision.payload.lines;
        let skus = lines.iter().map(|line| Id::of(Namespace::Sku, &line.sku).0);
        let subject = [found.episode.customer, found.episode.subject];
        let names = skus.chain(subject).chain(found.customers.iter().copied()).collect();
        Related { names, messages: HashSet::new() }
    }

    /// Further customers who had a say.
    pub fn add(&mut self, customers: impl IntoIterator<Item = Id>) {
        self.names.extend(customers);
    }

    /// How many names there are: while they become more, more records may concern the decision.
    pub fn len(&self) -> usize {
        self.names.len() + self.messages.len()
    }

    /// Whether a record concerns the decision. What one that does names, concerns it from here on.
    pub fn take_up(&mut self, record: &Record) -> bool {
        let concerns = self.concerns(record);
        if concerns {
            self.learn(record);
        }
        concerns
    }

    fn concerns(&self, record: &Record) -> bool {
        let any = |names: &[Id]| names.iter().any(|name| self.names.contains(name));
        match record {
            Record::Click(click) => self.clicked(click),
            Record::Cart(record) => any(&[record.owner, record.cart]),
            Record::Stock(record) => any(&[record.sku]),
            Record::Catalog(record) => any(&[record.sku]),
            Record::Order(record) => any(&[record.owner, record.order]),
            Record::Profile(record) => any(&[record.user]),
            Record::Engagement(record) => any(&[record.user]) || self.messages.contains(&record.event),
        }
    }

    fn clicked(&self, click: &Click) -> bool {
        let is_named = match &click.action {
            Action::Folded(fold) => self.names.contains(&fold.cart),
            Action::Ordered(order) => self.names.contains(&order.order),
            Action::Identified(visitor) => self.names.contains(visitor),
            Action::Aliased(previous) => previous.iter().any(|id| self.names.contains(id)),
            Action::Seen | Action::Viewed(_) | Action::Wanted(_) | Action::Searched(_) => false,
            Action::CheckoutStarted(_) => false,
        };
        is_named || self.names.contains(&click.owner) || self.messages.contains(&click.message)
    }

    fn learn(&mut self, record: &Record) {
        match record {
            Record::Click(click) => self.learn_click(click),
            Record::Cart(record) => {
                self.names.insert(record.cart);
                self.learn_lines(&record.lines);
            }
            Record::Order(record) => {
                self.names.extend([record.order, record.cart].into_iter().filter(|id| !id.is_none()));
                self.learn_lines(&record.lines);
            }
            Record::Engagement(record) => {
                self.messages.insert(record.event);
            }
            Record::Stock(_) | Record::Catalog(_) | Record::Profile(_) => {}
        }
    }

    fn learn_click(&mut self, click: &Click) {
        if click.message != MessageId::NONE {
            self.messages.insert(click.message);
        }
        let is_owned = self.names.contains(&click.owner);
        match &click.action {
            Action::Viewed(name) | Action::Wanted(name) | Action::CheckoutStarted(name) => {
                self.names.insert(*name);
            }
            Action::Folded(fold) if fold.is_implicit() => {
                self.names.insert(fold.sku);
            }
            Action::Folded(fold) => self.names.extend([fold.cart, fold.sku]),
            Action::Ordered(order) => {
                self.names.extend([order.order, order.cart].into_iter().filter(|id| !id.is_none()));
                self.learn_lines(&order.lines);
            }
            // Whoever was linked to the customer gave them their history; not so the other way round.
            Action::Identified(visitor) if is_owned => {
                self.names.insert(*visitor);
            }
            Action::Aliased(previous) if is_owned => self.names.extend(previous.iter()),
            Action::Identified(_) | Action::Aliased(_) | Action::Seen | Action::Searched(_) => {}
        }
    }

    fn learn_lines(&mut self, lines: &[Line]) {
        self.names.extend(lines.iter().map(|line| line.sku));
    }
}
