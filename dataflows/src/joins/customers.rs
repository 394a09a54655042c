//! Customers: what each does, joined on the one key that they share, and the triggers that are a condition over that alone. In:
//! a customer's deeds. Out: the openings of those triggers, retracted when they no longer hold.
//!
//! Only what some trigger reads is kept, and only while one can still reach it: see [`Reads`]. What is kept of a customer
//! names no other, so that it can be moved whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

use super::carts::{Cart, CartLine, take_out};
use super::orders::Order;
use crate::counts::Counts;
use crate::model::{Diff, History, Id, Opening, OrderStatus, Position, Tick};
use crate::per_key::{Next, PerKey};
use crate::triggers::found::Found;

/// What a customer does. A cart and an order are rows that are replaced; the others only ever happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Deed {
    /// They are told everything again. Comes as a retraction, and so first.
    Reset,
    /// Any clickstream message that is none of the following.
    Active,
    /// A product was viewed.
    Viewed(Id, u64, Position),
    /// Something was put into a cart.
    Added,
    /// A search, by query.
    Searched(Id),
    /// A checkout of this order or cart was started.
    CheckoutStarted(Id),
    /// A cart as it stands. Each new one is an activity.
    Cart(Cart),
    /// An order as it stands. Each new one is an activity.
    Order(Order),
    /// What is left of orders that were history when they were forgotten.
    Past(Box<History>),
}

/// A trigger that is a condition over one customer's own deeds.
pub trait CustomerTrigger: 'static {
    /// What must be kept of a customer for it.
    fn reads(&self) -> Reads;

    /// Finds the episodes of `customer` that hold.
    fn find(&self, customer: &Customer, found: &mut Found);

    /// How long after it was done or last changed a thing can still matter, ms: for a wait, [`Wait::reach_ms`]. Until then nothing
    /// is forgotten (ARCHITECTURE, "What leaves"); for ever where it is not said. Only asked of a user's own.
    ///
    /// [`Wait::reach_ms`]: crate::plan::Wait::reach_ms
    fn reach_ms(&self) -> u64 {
        u64::MAX
    }
}

/// What must be kept of a customer beside the last activity, and how long, ms. Nothing is the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reads {
    /// Carts, and the orders that can close one or leave out a line.
    pub carts: bool,
    /// Orders, so long after they were placed. One placed since a checkout, search or view that is kept is kept anyway.
    pub orders_ms: u64,
    /// Whether there is an order that is history.
    pub bought: bool,
    /// So many distinct products that were viewed last.
    pub views: usize,
    /// Views, so long after,
    pub views_ms: u64,
    /// and while the customer is idle so long at most, those so long before the last activity.
    pub idle_ms: u64,
    /// Checkouts, so long after.
    pub checkouts_ms: u64,
    /// Searches that nothing viewed or added has followed, so long after.
    pub searches_ms: u64,
}

impl Reads {
    /// What both must have kept.
    fn and(self, other: Reads) -> Reads {
        Reads {
            carts: self.carts || other.carts,
            orders_ms: self.orders_ms.max(other.orders_ms),
            bought: self.bought || other.bought,
            views: self.views.max(other.views),
            views_ms: self.views_ms.max(other.views_ms),
            idle_ms: self.idle_ms.max(other.idle_ms),
            checkouts_ms: self.checkouts_ms.max(other.checkouts_ms),
            searches_ms: self.searches_ms.max(other.searches_ms),
        }
    }
}

/// What is kept of a customer. There is one for each: what most have lies here, and what few have elsewhere.
#[derive(Default, Serialize, Deserialize)]
pub struct Customer {
    /// a(c, T) of SPEC §3: the latest activity.
    pub active: Tick,
    cart: Option<Cart>,
    rest: Option<Box<Rest>>,
}

/// What few customers have, as far as it is kept.
#[derive(Default, Serialize, Deserialize)]
struct Rest {
    /// Carts beside the first.
    carts: ThinVec<Cart>,
    orders: ThinVec<Order>,
    trail: Trail,
    /// What was emitted and not yet retracted.
    open: ThinVec<Opening>,
}

/// What a customer did on the way. Most have none of it kept.
#[derive(Default, Serialize, Deserialize)]
pub struct Trail {
    /// How many orders are history: neither cancelled nor refunded.
    pub bought: isize,
    /// The last view of each product viewed last, the latest at the end.
    pub views: Vec<View>,
    /// Checkouts by order or cart, with their ticks.
    pub checkouts: Vec<(Id, Tick)>,
    /// Searches by query, with their ticks.
    pub searches: Vec<(Id, Tick)>,
}

/// A product viewed. Views are ordered by their ticks; in one, like the writes of a key (SPEC §1), by time and position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct View {
    /// The tick at which it took effect.
    pub tick: Tick,
    at_ms: u64,
    position: Position,
    /// The product.
    pub sku: Id,
}

static NO_TRAIL: Trail = Trail::new();

impl Trail {
    const fn new() -> Trail {
        Trail { bought: 0, views: Vec::new(), checkouts: Vec::new(), searches: Vec::new() }
    }

    fn is_empty(&self) -> bool {
        self.bought == 0 && self.views.is_empty() && self.checkouts.is_empty() && self.searches.is_empty()
    }

    /// Takes up a view, and keeps the last ones of the `count` products viewed last.
    fn view(&mut self, view: View, count: usize) {
        match self.views.iter_mut().find(|known| known.sku == view.sku) {
            Some(known) => *known = view.max(*known),
            None => self.views.push(view),
        }
        self.views.sort_unstable();
        let excess = self.views.len().saturating_sub(count);
        self.views.drain(..excess);
    }
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.carts.is_empty() && self.orders.is_empty() && self.trail.is_empty() && self.open.is_empty()
    }
}

impl Customer {
    /// What was done on the way, as far as it is kept.
    pub fn trail(&self) -> &Trail {
        self.rest.as_ref().map_or(&NO_TRAIL, |rest| &rest.trail)
    }

    /// Carts as they stand, closed ones too; an emptied one is left out.
    pub fn carts(&self) -> impl Iterator<Item = &Cart> {
        self.cart.iter().chain(self.rest.iter().flat_map(|rest| &rest.carts))
    }

    /// Orders that stand, cancelled ones left out, as far as one can still matter.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.rest.iter().flat_map(|rest| &rest.orders)
    }

    /// The lines of `cart` that are still to be bought: none when an order closed it (SPEC §3, "Closed cart"; ARCHITECTURE,
    /// "Carts and triggers").
    pub fn open_lines<'c>(&'c self, cart: &'c Cart) -> impl Iterator<Item = CartLine> + 'c {
        cart.lines().filter(move |line| {
            let mut since = self.orders().filter(|order| order.placed >= line.changed);
            !since.any(|order| order.cart == cart.id || order.cart.is_none() || order.names(line.line.sku))
        })
    }

    /// When the last order was placed.
    pub fn last_order(&self) -> Option<Tick> {
        self.orders().map(|order| order.placed).max()
    }

    /// Takes up what was done at `at`; a row that only comes again was at 0.
    pub(super) fn apply(&mut self, reads: &Reads, at: Tick, deed: Deed, diff: Diff) {
        if diff > 0 {
            self.active = at.max(self.active);
        }
        match deed {
            Deed::Reset => {
                let open = self.take_open();
                *self = Customer::default();
                self.keep_open(open);
            }
            Deed::Active | Deed::Added => {}
            Deed::Viewed(sku, at_ms, position) if reads.views > 0 => {
                self.trail_mut().view(View { tick: at, at_ms, position, sku }, reads.views);
            }
            Deed::Searched(query) if reads.searches_ms > 0 => add(&mut self.trail_mut().searches, (query, at)),
            Deed::CheckoutStarted(subject) if reads.checkouts_ms > 0 => {
                add(&mut self.trail_mut().checkouts, (subject, at));
            }
            Deed::Viewed(..) | Deed::Searched(_) | Deed::CheckoutStarted(_) => {}
            Deed::Cart(cart) if diff > 0 && reads.carts && !cart.is_empty() => self.add_cart(cart),
            Deed::Cart(cart) => self.remove_cart(cart.id),
            Deed::Order(order) => self.order(reads, order, diff),
            Deed::Past(past) if reads.bought => self.trail_mut().bought += past.orders as isize,
            Deed::Past(_) => {}
        }
    }

    fn order(&mut self, reads: &Reads, order: Order, diff: Diff) {
        if reads.bought && order.status == OrderStatus::Placed {
            self.trail_mut().bought += diff;
        }
        match diff > 0 && order.stands() {
            true => self.rest.get_or_insert_default().orders.push(order),
            false => self.rest.iter_mut().for_each(|rest| rest.orders.retain(|other| other.id != order.id)),
        }
    }

    fn add_cart(&mut self, cart: Cart) {
        match self.cart {
            None => self.cart = Some(cart),
            Some(_) => self.rest.get_or_insert_default().carts.push(cart),
        }
    }

    fn remove_cart(&mut self, id: Id) {
        let others = self.rest.as_mut().map(|rest| &mut rest.carts);
        take_out(&mut self.cart, others, |cart| cart.id == id);
    }

    /// How many of the carts are open.
    fn open_carts(&self) -> i64 {
        self.carts().filter(|cart| self.open_lines(cart).next().is_some()).count() as i64
    }

    fn trail_mut(&mut self) -> &mut Trail {
        &mut self.rest.get_or_insert_default().trail
    }

    /// Forgets what no trigger can reach from `now` on, and returns the next tick at which there may be more of that.
    pub(super) fn forget(&mut self, reads: &Reads, now: Tick) -> Tick {
        let Customer { active, cart, rest } = self;
        let Some(of) = rest else { return Tick::MAX };
        let mut next = Tick::MAX;
        let mut lasts = |until: Tick| {
            let lasts = now < until;
            next = if lasts { next.min(until) } else { next };
            lasts
        };
        let Rest { carts, orders, trail, .. } = &mut **of;
        let idle = active.saturating_add(reads.idle_ms);
        let earliest = active.saturating_sub(reads.views_ms);
        trail.views.retain(|view| {
            let seen = view.tick.saturating_add(reads.views_ms);
            lasts(if view.tick >= earliest { seen.max(idle) } else { seen })
        });
        trail.checkouts.retain(|(_, at)| lasts(at.saturating_add(reads.checkouts_ms)));
        trail.searches.retain(|(_, at)| lasts(at.saturating_add(reads.searches_ms)));
        let changed = cart.iter().chain(&*carts).flat_map(Cart::lines).map(|line| line.changed);
        let begun = trail.checkouts.iter().chain(&trail.searches).map(|(_, at)| *at);
        let oldest = changed.chain(begun).chain(trail.views.first().map(|_| earliest)).min().unwrap_or(Tick::MAX);
        // An order that lies before all that is kept can touch nothing of it, nor what comes later.
        orders.retain(|order| order.placed >= oldest || lasts(order.placed.saturating_add(reads.orders_ms)));
        if of.is_empty() {
            *rest = None;
        }
        next
    }

    fn take_open(&mut self) -> ThinVec<Opening> {
        self.rest.as_mut().map(|rest| std::mem::take(&mut rest.open)).unwrap_or_default()
    }

    fn keep_open(&mut self, open: ThinVec<Opening>) {
        if !open.is_empty() {
            self.rest.get_or_insert_default().open = open;
        }
    }

    /// Whether nothing is kept that could matter.
    pub(super) fn is_empty(&self) -> bool {
        self.cart.is_none() && self.rest.as_ref().is_none_or(|rest| rest.is_empty())
    }
}

fn add(all: &mut Vec<(Id, Tick)>, one: (Id, Tick)) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// The rule of a customer: all triggers over them, one a campaign.
pub struct Customers {
    triggers: Vec<Box<dyn CustomerTrigger>>,
    reads: Reads,
    counts: Arc<Counts>,
}

impl Customers {
    /// With these triggers; none when there are none. Open carts are counted where the triggers read carts.
    pub fn with(triggers: Vec<Box<dyn CustomerTrigger>>, counts: &Arc<Counts>) -> Option<Customers> {
        let reads = triggers.iter().map(|trigger| trigger.reads()).reduce(Reads::and)?;
        Some(Customers { triggers, reads, counts: counts.clone() })
    }

    /// How long after it was done anything on a customer's way can matter, ms; 0 when nobody reads it.
    pub fn trail_ms(&self) -> u64 {
        let Reads { views_ms, idle_ms, checkouts_ms, searches_ms, .. } = self.reads;
        views_ms.saturating_add(idle_ms).max(checkouts_ms).max(searches_ms)
    }
}

impl PerKey for Customers {
    type In = (Tick, Deed);
    type State = Customer;
    type Out = Opening;
    type Wake = Tick;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        customer: &mut Customer,
        deeds: &mut dyn Iterator<Item = ((Tick, Deed), Diff)>,
        emit: &mut dyn FnMut(Opening, Diff),
    ) -> Next {
        let (mut went_on, mut were_open) = (0, None);
        for ((at, deed), diff) in deeds {
            if let Deed::Viewed(..) | Deed::Added = deed {
                went_on = at.max(went_on);
            }
            if let Deed::Cart(_) | Deed::Order(_) | Deed::Reset = deed {
                were_open.get_or_insert_with(|| customer.open_carts());
            }
            customer.apply(&self.reads, at, deed, diff);
        }
        if let Some(rest) = customer.rest.as_mut().filter(|_| went_on > 0) {
            rest.trail.searches.retain(|(_, searched)| *searched > went_on);
        }
        if let Some(were_open) = were_open {
            self.counts.opened_carts(customer.open_carts() - were_open);
        }
        let mut found = Found::new(key, now);
        found.look_again(customer.forget(&self.reads, now));
        self.triggers.iter().for_each(|trigger| trigger.find(customer, &mut found));
        let mut open = customer.take_open();
        let next = found.settle(&mut open, emit);
        customer.keep_open(open);
        match next {
            Some(tick) => Next::WakeAt(tick),
            None if customer.is_empty() => Next::Forget,
            None => Next::Keep,
        }
    }

    fn restate(&self, _key: Id, customer: &Customer, emit: &mut dyn FnMut(Opening)) {
        self.counts.opened_carts(customer.open_carts());
        customer.rest.iter().flat_map(|rest| &rest.open).cloned().for_each(emit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::joins::carts::Head;
    use crate::joins::orders;
    use crate::model::{Line, Stream};
    use crate::plan::{BrowseAbandonment, Wait};
    use crate::triggers::{browse_abandonment, cart_abandonment, checkout_abandonment, search_abandonment};

    const WAIT: Wait = Wait { after_ms: 10, expires_ms: Some(5) };

    /// A customer who does one thing at a tick, and what becomes of their state.
    struct Life(Customers, Customer);

    impl Life {
        fn under(trigger: impl CustomerTrigger) -> Life {
            Life(
                Customers::with(vec![Box::new(trigger)], &Arc::default()).expect("there is a trigger"),
                Customer::default(),
            )
        }

        fn visit(&mut self, now: Tick, deeds: Vec<Deed>) -> (Next, usize) {
            let Life(customers, customer) = self;
            let next =
                customers.visit(now, Id(1), customer, &mut deeds.into_iter().map(|it| ((now, it), 1)), &mut |_, _| {});
            (next, customer.rest.as_ref().map_or(0, |rest| rest.open.len()))
        }
    }

    fn view(sku: u64) -> Deed {
        Deed::Viewed(Id(sku), 0, Position::new(Stream::Clickstream, 0, sku))
    }

    fn cart(changed: Tick) -> Deed {
        let line = Line { sku: Id(7), quantity: 1, price: None };
        Deed::Cart(Cart::new(Head { id: Id(2), changed, currency: Id::NONE }, [CartLine { line, changed }]))
    }

    fn order(placed: Tick) -> Deed {
        let line = Line { sku: Id(7), quantity: 1, price: None };
        let (cart, status) = (Id::NONE, OrderStatus::Placed);
        Deed::Order(Order::new(orders::Head { id: Id(3), placed, ahead: false, cart, status }, None, &[line]))
    }

    #[test]
    fn a_customer_without_a_cart_leaves_nothing_to_cart_abandonment() {
        let mut life = Life::under(cart_abandonment::Idle { campaign: 0, wait: WAIT });
        for deed in [view(7), Deed::Searched(Id(8)), Deed::CheckoutStarted(Id(2)), Deed::Active, order(20)] {
            assert_eq!(life.visit(20, vec![deed]), (Next::Forget, 0));
        }
        assert_eq!(life.visit(21, vec![cart(21)]), (Next::WakeAt(31), 0));
        assert!(life.1.rest.is_none());
        assert_eq!(life.visit(31, vec![]), (Next::WakeAt(36), 1));
        assert_eq!(life.visit(36, vec![]), (Next::Keep, 0));
    }

    #[test]
    fn views_and_orders_are_kept_no_longer_than_they_count() {
        let browse = BrowseAbandonment { wait: WAIT, min_views: 2, lookback_ms: 100 };
        let mut life = Life::under(browse_abandonment::Views { campaign: 0, browse });
        for (now, sku) in [(200, 1), (201, 2), (202, 3), (203, 2)] {
            life.visit(now, vec![view(sku)]);
        }
        let kept: Vec<u64> = life.1.trail().views.iter().map(|view| view.sku.0).collect();
        assert_eq!(kept, [3, 2]);
        assert_eq!(life.visit(213, vec![]), (Next::WakeAt(218), 1));
        assert_eq!(life.visit(218, vec![]), (Next::WakeAt(302), 0));
        assert_eq!(life.visit(302, vec![]), (Next::WakeAt(303), 0));
        assert_eq!(life.visit(303, vec![]), (Next::Forget, 0));
        assert_eq!(life.visit(400, vec![order(400)]), (Next::WakeAt(500), 0));
        assert_eq!(life.visit(500, vec![]), (Next::Forget, 0));
    }

    #[test]
    fn what_waits_is_forgotten_when_it_expires() {
        let mut life = Life::under(checkout_abandonment::Checkouts { campaign: 0, wait: WAIT });
        assert_eq!(life.visit(20, vec![Deed::CheckoutStarted(Id(2))]), (Next::WakeAt(30), 0));
        assert_eq!(life.visit(30, vec![]), (Next::WakeAt(35), 1));
        assert_eq!(life.visit(32, vec![order(32)]), (Next::WakeAt(35), 0));
        assert_eq!(life.visit(35, vec![]), (Next::Forget, 0));
    }

    #[test]
    fn what_was_viewed_in_the_tick_of_a_search_ends_it() {
        let mut life = Life::under(search_abandonment::Searches { campaign: 0, wait: WAIT });
        assert_eq!(life.visit(20, vec![view(1), Deed::Searched(Id(8))]), (Next::Forget, 0));
        assert_eq!(life.visit(21, vec![Deed::Searched(Id(8)), Deed::Searched(Id(8))]), (Next::WakeAt(31), 0));
        assert_eq!(life.visit(31, vec![]), (Next::WakeAt(36), 1));
        assert_eq!(life.visit(33, vec![Deed::Added]), (Next::Forget, 0));
    }
}
