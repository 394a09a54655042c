//! The state as of the newest closed tick: what payloads and mails are made from, and the trigger set that a delivery is
//! checked against (SPEC §6). In: the graph's changes, in the order of their ticks. Cannot fail.

mod similar;

use std::collections::BTreeSet;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use beckon_dataflows::joins::identities::Identities;
use beckon_dataflows::model::{
    Change, Contact, Engagement, Episode, History, Id, IdHasher, OpenCart, Opening, OrderFact, Product, Tick,
};
use beckon_dataflows::sharded::Sharded;
use hashbrown::{HashMap, HashSet};
use similar::Similar;

type ById<V> = HashMap<Id, V, BuildHasherDefault<IdHasher>>;

/// An edge of the trigger set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The episode entered: a rising edge.
    Entered(Opening),
    /// The episode left.
    Left(Episode),
    /// The customer's profile is deleted: no edge of the set, but of what may be known of them.
    Erased(Id),
    /// Something that is no state, but that the KPIs follow.
    News(News),
}

/// What the KPIs follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// An order is now this.
    Order(Id, OrderFact),
    /// Somebody did something with a mail.
    Engaged(Engagement),
    /// This user was made an alias of another.
    Aliased(Id),
}

/// The stock of a SKU.
#[derive(Clone, Copy, Default)]
struct Stock {
    units: i64,
    /// The tick at which it rose from nothing, while there is any.
    since: Option<Tick>,
}

/// Everything known at [`State::as_of`].
#[derive(Default)]
pub struct State {
    as_of: Tick,
    stock: ById<Stock>,
    products: ById<Arc<Product>>,
    contacts: Sharded<Contact>,
    /// When whose profile was last deleted.
    erased: ById<Tick>,
    histories: ById<History>,
    carts: ById<Arc<[OpenCart]>>,
    similar: Similar,
    identities: Identities,
    /// In order, so that it can be looked at by campaign and customer, and page by page.
    trigger_set: BTreeSet<Episode>,
    /// How many of them each campaign has.
    episodes: Vec<usize>,
}

/// What is known beside what the graph tells, as rows of ids and ticks.
#[derive(Debug, Default)]
pub struct Beside {
    /// SKUs in stock, each with the tick at which its stock rose from nothing.
    pub in_stock: Vec<[u64; 2]>,
    /// Customers who were erased, each with the last tick at which they were.
    pub erased: Vec<[u64; 2]>,
}

impl State {
    /// Takes up a change of tick `tick`. An edge of the trigger set is handed back. `text` gives what an id stands for.
    pub fn apply(&mut self, tick: Tick, change: Change, text: impl Fn(Id) -> String) -> Option<Edge> {
        self.as_of = tick;
        match change {
            Change::Aliased(from, to) => {
                self.identities.alias(from, to, &mut HashSet::new());
                return Some(Edge::News(News::Aliased(from)));
            }
            Change::Order(id, order) => return Some(Edge::News(News::Order(id, order))),
            Change::Engaged(engagement) => return Some(Edge::News(News::Engaged(*engagement))),
            Change::Stock(sku, units) => self.stock.entry(sku).or_default().become_at(tick, units),
            Change::Product(sku, product) => drop(self.products.insert(sku, product)),
            Change::Contact(customer, contact) => {
                let erased = contact.standing().erased;
                self.contacts.insert(customer, contact);
                if erased {
                    self.erased.insert(customer, tick);
                    return Some(Edge::Erased(customer));
                }
            }
            Change::History(customer, history) if history == History::default() => {
                self.histories.remove(&customer);
            }
            Change::History(customer, history) => drop(self.histories.insert(customer, history)),
            Change::Carts(customer, carts) if carts.is_empty() => drop(self.carts.remove(&customer)),
            Change::Carts(customer, carts) => drop(self.carts.insert(customer, carts)),
            Change::Interests(customer, interests) => self.similar.interests(customer, &interests, text),
            Change::Bought(customer, sku, is) => self.similar.bought(customer, sku, is),
            Change::Left(episode) => {
                if self.trigger_set.remove(&episode) {
                    *self.episodes_mut(episode.campaign) -= 1;
                }
                return Some(Edge::Left(episode));
            }
            Change::Entered(opening) => {
                if self.trigger_set.insert(opening.episode) {
                    *self.episodes_mut(opening.episode.campaign) += 1;
                }
                return Some(Edge::Entered(opening));
            }
        }
        None
    }

    /// What is known beside what the graph tells again after a restart.
    pub fn beside(&self) -> Beside {
        let in_stock = self.stock.iter().filter_map(|(sku, stock)| Some([sku.0, stock.since?]));
        let erased = self.erased.iter().map(|(customer, tick)| [customer.0, *tick]);
        Beside { in_stock: in_stock.collect(), erased: erased.collect() }
    }

    /// Takes that up again, once the graph has told the rest.
    pub fn restore(&mut self, beside: &Beside) {
        for [sku, since] in &beside.in_stock {
            self.stock.entry(Id(*sku)).or_default().since = Some(*since);
        }
        self.erased.extend(beside.erased.iter().map(|[customer, tick]| (Id(*customer), *tick)));
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
        self.stock.get(&sku).map_or(0, |stock| stock.units)
    }

    /// The tick at which the SKU's stock last rose from nothing; none while there is nothing (SPEC §3, "In stock").
    pub fn in_stock_since(&self, sku: Id) -> Option<Tick> {
        self.stock.get(&sku).and_then(|stock| stock.since)
    }

    /// The product, if the catalog knows it.
    pub fn product(&self, sku: Id) -> Option<&Arc<Product>> {
        self.products.get(&sku)
    }

    /// The customer, if there is a profile or an engagement of theirs.
    pub fn contact(&self, customer: Id) -> Option<&Contact> {
        self.contacts.get(customer)
    }

    /// Whether the customer was erased at the tick `since` or later.
    pub fn is_erased_since(&self, customer: Id, since: Tick) -> bool {
        self.erased.get(&customer).is_some_and(|erased| *erased >= since)
    }

    /// What the customer has bought, where the plan asks for histories.
    pub fn history(&self, customer: Id) -> History {
        self.histories.get(&customer).copied().unwrap_or_default()
    }

    /// The customer's open carts, the latest changed last, where the plan asks for carts.
    pub fn carts(&self, customer: Id) -> &[OpenCart] {
        self.carts.get(&customer).map_or(&[], |carts| carts)
    }

    /// All open carts, each with whose it is, in no order.
    pub fn all_carts(&self) -> impl Iterator<Item = (Id, &OpenCart)> {
        self.carts.iter().flat_map(|(owner, carts)| carts.iter().map(|cart| (*owner, cart)))
    }

    /// The `count` SKUs in stock that are most similar to `sku`, the most similar first, without those that the customer has
    /// ordered (SPEC §3, "Similar"); none where the plan does not ask for that.
    pub fn similar(&self, sku: Id, customer: Id, count: usize) -> Vec<Id> {
        self.similar.to(sku, customer, count, |sku| self.on_hand(sku) >= 1)
    }

    /// Whoever the customer was by now: themselves, unless they are an alias of another, and all who became an alias of theirs.
    pub fn all_of(&self, customer: Id) -> Vec<Id> {
        if self.identities.is_empty() {
            return vec![customer];
        }
        let all = self.identities.all_of([customer]);
        all.into_iter().filter(|id| self.identities.follow(*id) == customer).collect()
    }

    /// Whose all is that is this customer's: another's where they are an alias, else their own.
    pub fn owner(&self, customer: Id) -> Id {
        self.identities.follow(customer)
    }

    /// This customer, and all who were ever made an alias of them or of one of those.
    pub fn led_to(&self, customer: Id) -> impl Iterator<Item = Id> {
        self.identities.all_of([customer]).into_iter()
    }

    /// How many episodes of this campaign hold.
    pub fn episodes(&self, campaign: u16) -> usize {
        self.episodes.get(usize::from(campaign)).copied().unwrap_or(0)
    }

    /// The trigger set.
    pub fn trigger_set(&self) -> &BTreeSet<Episode> {
        &self.trigger_set
    }

    fn episodes_mut(&mut self, campaign: u16) -> &mut usize {
        let place = usize::from(campaign);
        if self.episodes.len() <= place {
            self.episodes.resize(place + 1, 0);
        }
        &mut self.episodes[place]
    }

    /// The episodes of a customer that hold, of the first `campaigns` campaigns.
    pub fn episodes_of(&self, customer: Id, campaigns: u16) -> impl Iterator<Item = &Episode> {
        let end = move |campaign, subject, anchor| Episode { campaign, customer, subject, anchor };
        let of = move |campaign| end(campaign, Id(0), 0)..=end(campaign, Id(u64::MAX), Tick::MAX);
        (0..campaigns).flat_map(move |campaign| self.trigger_set.range(of(campaign)))
    }
}

impl Stock {
    fn become_at(&mut self, tick: Tick, units: i64) {
        self.units = units;
        self.since = (units >= 1).then(|| self.since.unwrap_or(tick));
    }
}
