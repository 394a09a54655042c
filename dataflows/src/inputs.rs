//! Where records enter the graph: one input a stream, all advanced together.

use differential_dataflow::{AsCollection, VecCollection};
use timely::dataflow::Scope;
use timely::dataflow::operators::vec::Input;
use timely::dataflow::operators::vec::input::Handle;

use crate::model::{
    CartRecord, CatalogRecord, Click, Diff, EngagementRecord, OrderRecord, Position, ProfileRecord, Record,
    StockRecord, Tick,
};

/// A record with the tick at which it takes effect; before that is known, with its event time in epoch ms.
pub type Row<D> = (D, Tick, Diff);

/// Records on their way into the graph, by stream, in the order they were read. Decoded with their event times, then retimed
/// in place to the ticks at which they take effect.
#[derive(Debug, Default)]
pub struct Batch {
    clicks: Vec<Row<Click>>,
    carts: Vec<Row<CartRecord>>,
    stock: Vec<Row<StockRecord>>,
    catalog: Vec<Row<CatalogRecord>>,
    orders: Vec<Row<OrderRecord>>,
    profiles: Vec<Row<ProfileRecord>>,
    engagement: Vec<Row<EngagementRecord>>,
}

impl Batch {
    /// Adds a record of event time `event_ms`, or one that takes effect at that tick.
    pub fn push(&mut self, record: Record, event_ms: u64) {
        match record {
            Record::Click(record) => self.clicks.push((record, event_ms, 1)),
            Record::Cart(record) => self.carts.push((record, event_ms, 1)),
            Record::Stock(record) => self.stock.push((record, event_ms, 1)),
            Record::Catalog(record) => self.catalog.push((record, event_ms, 1)),
            Record::Order(record) => self.orders.push((record, event_ms, 1)),
            Record::Profile(record) => self.profiles.push((record, event_ms, 1)),
            Record::Engagement(record) => self.engagement.push((record, event_ms, 1)),
        }
    }

    /// Gives each record the tick that `bind` makes of its position and event time: stream by stream, in the order pushed.
    pub fn retime(&mut self, mut bind: impl FnMut(Position, u64) -> Tick) {
        self.clicks.iter_mut().for_each(|row| row.1 = bind(row.0.position, row.1));
        self.carts.iter_mut().for_each(|row| row.1 = bind(row.0.written.position, row.1));
        self.stock.iter_mut().for_each(|row| row.1 = bind(row.0.written.position, row.1));
        self.catalog.iter_mut().for_each(|row| row.1 = bind(row.0.written.position, row.1));
        self.orders.iter_mut().for_each(|row| row.1 = bind(row.0.written.position, row.1));
        self.profiles.iter_mut().for_each(|row| row.1 = bind(row.0.written.position, row.1));
        self.engagement.iter_mut().for_each(|row| row.1 = bind(row.0.position, row.1));
    }

    /// Drops what takes effect at `tick` or before.
    pub fn retain_after(&mut self, tick: Tick) {
        self.clicks.retain(|row| row.1 > tick);
        self.carts.retain(|row| row.1 > tick);
        self.stock.retain(|row| row.1 > tick);
        self.catalog.retain(|row| row.1 > tick);
        self.orders.retain(|row| row.1 > tick);
        self.profiles.retain(|row| row.1 > tick);
        self.engagement.retain(|row| row.1 > tick);
    }

    /// Its records with their ticks: stream by stream, in the order pushed.
    pub fn into_records(self) -> impl Iterator<Item = (Record, Tick)> {
        let clicks = self.clicks.into_iter().map(|(record, tick, _)| (Record::Click(record), tick));
        let carts = self.carts.into_iter().map(|(record, tick, _)| (Record::Cart(record), tick));
        let stock = self.stock.into_iter().map(|(record, tick, _)| (Record::Stock(record), tick));
        let catalog = self.catalog.into_iter().map(|(record, tick, _)| (Record::Catalog(record), tick));
        let orders = self.orders.into_iter().map(|(record, tick, _)| (Record::Order(record), tick));
        let profiles = self.profiles.into_iter().map(|(record, tick, _)| (Record::Profile(record), tick));
        let engagement = self.engagement.into_iter().map(|(record, tick, _)| (Record::Engagement(record), tick));
        clicks.chain(carts).chain(stock).chain(catalog).chain(orders).chain(profiles).chain(engagement)
    }

    /// The greatest of their ticks; 0 without any.
    pub fn last(&self) -> Tick {
        fn last<D>(rows: &[Row<D>]) -> Tick {
            rows.iter().map(|row| row.1).max().unwrap_or(0)
        }
        let (clicks, orders, profiles) = (last(&self.clicks), last(&self.orders), last(&self.profiles));
        let (stock, catalog, engagement) = (last(&self.stock), last(&self.catalog), last(&self.engagement));
        last(&self.carts).max(clicks).max(orders).max(profiles).max(stock).max(catalog).max(engagement)
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.clicks.len()
            + self.carts.len()
            + self.stock.len()
            + self.catalog.len()
            + self.orders.len()
            + self.profiles.len()
            + self.engagement.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The inputs of one worker's graph.
pub struct Inputs {
    clicks: Handle<Tick, Row<Click>>,
    carts: Handle<Tick, Row<CartRecord>>,
    stock: Handle<Tick, Row<StockRecord>>,
    catalog: Handle<Tick, Row<CatalogRecord>>,
    orders: Handle<Tick, Row<OrderRecord>>,
    profiles: Handle<Tick, Row<ProfileRecord>>,
    engagement: Handle<Tick, Row<EngagementRecord>>,
}

impl Inputs {
    /// Feeds records. None may take effect before the tick last given to [`Inputs::advance_to`].
    pub fn feed(&mut self, batch: &mut Batch) {
        send(&mut self.clicks, &mut batch.clicks);
        send(&mut self.carts, &mut batch.carts);
        send(&mut self.stock, &mut batch.stock);
        send(&mut self.catalog, &mut batch.catalog);
        send(&mut self.orders, &mut batch.orders);
        send(&mut self.profiles, &mut batch.profiles);
        send(&mut self.engagement, &mut batch.engagement);
    }

    /// Promises that nothing fed from here on takes effect before `tick`: all ticks before it are closed.
    pub fn advance_to(&mut self, tick: Tick) {
        self.clicks.advance_to(tick);
        self.carts.advance_to(tick);
        self.stock.advance_to(tick);
        self.catalog.advance_to(tick);
        self.orders.advance_to(tick);
        self.profiles.advance_to(tick);
        self.engagement.advance_to(tick);
    }

    /// Promises that nothing more is fed: every deadline still pending comes due.
    pub fn close(self) {}
}

fn send<D: Clone + 'static>(input: &mut Handle<Tick, Row<D>>, rows: &mut Vec<Row<D>>) {
    if !rows.is_empty() {
        input.send_batch(rows);
        rows.clear();
    }
}

/// The input collections.
pub(crate) struct Collections<'scope> {
    pub clicks: VecCollection<'scope, Tick, Click, Diff>,
    pub carts: VecCollection<'scope, Tick, CartRecord, Diff>,
    pub stock: VecCollection<'scope, Tick, StockRecord, Diff>,
    pub catalog: VecCollection<'scope, Tick, CatalogRecord, Diff>,
    pub orders: VecCollection<'scope, Tick, OrderRecord, Diff>,
    pub profiles: VecCollection<'scope, Tick, ProfileRecord, Diff>,
    pub engagement: VecCollection<'scope, Tick, EngagementRecord, Diff>,
}

/// Opens the inputs of a graph.
pub(crate) fn open(scope: Scope<'_, Tick>) -> (Inputs, Collections<'_>) {
    let (clicks_in, clicks) = scope.new_input();
    let (carts_in, carts) = scope.new_input();
    let (stock_in, stock) = scope.new_input();
    let (catalog_in, catalog) = scope.new_input();
    let (orders_in, orders) = scope.new_input();
    let (profiles_in, profiles) = scope.new_input();
    let (engagement_in, engagement) = scope.new_input();
    let inputs = Inputs {
        clicks: clicks_in,
        carts: carts_in,
        stock: stock_in,
        catalog: catalog_in,
        orders: orders_in,
        profiles: profiles_in,
        engagement: engagement_in,
    };
    let collections = Collections {
        clicks: clicks.as_collection(),
        carts: carts.as_collection(),
        stock: stock.as_collection(),
        catalog: catalog.as_collection(),
        orders: orders.as_collection(),
        profiles: profiles.as_collection(),
        engagement: engagement.as_collection(),
    };
    (inputs, collections)
}
