//! The state as of the newest closed tick: what payloads and mails are made from, and the trigger set that a delivery is
//! checked against (SPEC §6). In: the graph's changes, in the order of their ticks. Cannot fail.

use std::hash::BuildHasherDefault;
use std::sync::Arc;

use beckon_dataflows::model::{Change, Contact, Episode, Id, Opening, Product, Tick};
use beckon_dataflows::per_key::IdHasher;
use hashbrown::{HashMap, HashSet};

type ById<V> = HashMap<Id, V, BuildHasherDefault<IdHasher>>;

/// Everything known at [`State::as_of`].
#[derive(Default)]
pub struct State {
    as_of: Tick,
    stock: ById<i64>,
    products: ById<Arc<Product>>,
    contacts: ById<Arc<Contact>>,
    trigger_set: HashSet<Episode>,
}

impl State {
    /// Takes up a change of tick `tick`. One that enters the trigger set is handed back: it is the rising edge.
    pub fn apply(&mut self, tick: Tick, change: Change) -> Option<Opening> {
        self.as_of = tick;
        match change {
            Change::Stock(sku, units) => drop(self.stock.insert(sku, units)),
            Change::Product(sku, product) => drop(self.products.insert(sku, product)),
            Change::Contact(customer, contact) => drop(self.contacts.insert(customer, contact)),
            Change::Left(episode) => drop(self.trigger_set.remove(&episode)),
            Change::Entered(opening) => {
                self.trigger_set.insert(opening.episode);
                return Some(opening);
            }
        }
        None
    }

    /// Ticks up to this one are closed, whether or not they changed anything.
    pub fn close(&mut self, tick: Tick) {
        self.as_of = self.as_of.max(tick);
    }

    /// The newest closed tick.
    pub fn as_of(&self) -> Tick {
        self.as_of
    }

    /// Units on hand; 0 for an unknown SKU (SPEC §3).
    pub fn on_hand(&self, sku: Id) -> i64 {
        self.stock.get(&sku).copied().unwrap_or(0)
    }

    /// The product, if the catalog knows it.
    pub fn product(&self, sku: Id) -> Option<&Arc<Product>> {
        self.products.get(&sku)
    }

    /// The customer, if there is a profile or an engagement of theirs.
    pub fn contact(&self, customer: Id) -> Option<&Arc<Contact>> {
        self.contacts.get(&customer)
    }

    /// The trigger set.
    pub fn trigger_set(&self) -> &HashSet<Episode> {
        &self.trigger_set
    }
}
