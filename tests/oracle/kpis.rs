//! KPIs (SPEC §9) recomputed naively. In: what the run saw at each tick of orders, owners and decisions, the engagement, and which
//! deliveries were accepted when. Out: the whole table at every tick at which it changed. Cannot fail.
//!
//! At each tick everything that is still remembered is looked through: which decision is the latest before an order, who is counted where,
//! what each adds. What is forgotten stays counted as it was.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use super::horizon::Horizon;
use super::records::{Customer, Engagement, Status};

const DAY_MS: i64 = 86_400_000;

/// An order as it is seen at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub owner: Customer,
    /// The tick of its `placed_at`.
    pub placed: i64,
    pub status: Status,
    pub total: Option<Decimal>,
}

/// What was seen at a tick that was looked at.
pub struct Moment {
    pub tick: i64,
    pub orders: BTreeMap<String, Row>,
    /// The owner of all that is each customer's about whom something was decided.
    pub owners: BTreeMap<Customer, Customer>,
}

/// A send, or one held out.
#[derive(Clone, Debug)]
pub struct Made {
    pub tick: i64,
    pub id: String,
    pub campaign: String,
    pub customer: Customer,
    pub arm: Arm,
}

/// Which arm: held out, or the variant.
pub type Arm = (&'static str, Option<String>);

/// A row of the table: campaign, arm, and the day in UTC, counted from 1970-01-01, or none for all.
pub type Cell = (String, Arm, Option<i64>);

/// What a row has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// What is not 0, by name.
    pub counts: BTreeMap<&'static str, i64>,
    pub revenue: Decimal,
    pub revenue_squares: Decimal,
}

impl Tally {
    pub fn add(&mut self, name: &'static str, count: i64) {
        let counted = self.counts.entry(name).or_default();
        *counted += count;
        if *counted == 0 {
            self.counts.remove(name);
        }
    }

    fn join(&mut self, other: &Tally) {
        other.counts.iter().for_each(|(name, count)| self.add(name, *count));
        self.revenue += other.revenue;
        self.revenue_squares += other.revenue_squares;
    }
}

/// The whole table.
pub type Table = BTreeMap<Cell, Tally>;

/// All that the KPIs are made from.
#[derive(Default)]
pub struct History {
    pub moments: Vec<Moment>,
    pub made: Vec<Made>,
    /// With the tick of each.
    pub engagement: Vec<(i64, Engagement)>,
    /// Decisions whose mail was accepted, and the tick of that.
    pub accepted: Vec<(i64, String)>,
}

/// On what terms.
pub struct Terms {
    pub tick_ms: i64,
    pub attribution_ms: i64,
    pub horizon: Horizon,
}

/// What is known of an order: how it was last seen, and since when; the decision that it counts for.
struct Known {
    row: Row,
    since: i64,
    decision: Option<usize>,
}

/// A customer in a row of the table.
#[derive(Default)]
struct Unit {
    decisions: i64,
    /// Orders that count for good.
    lasting: Vec<Decimal>,
    /// From this tick on it is forgotten.
    gone: i64,
}

/// Follows what happens, tick by tick.
pub fn follow(history: &History, terms: &Terms) -> BTreeMap<i64, Table> {
    let mut ticks: BTreeSet<i64> = history.moments.iter().map(|moment| moment.tick).collect();
    ticks.extend(history.engagement.iter().map(|(tick, _)| tick));
    ticks.extend(history.accepted.iter().map(|(tick, _)| tick));
    let mut following =
        Following { history, terms, orders: BTreeMap::new(), units: BTreeMap::new(), past: Table::new() };
    let (mut tables, mut moment) = (BTreeMap::new(), None::<&Moment>);
    for tick in ticks {
        if let Some(now) = history.moments.iter().find(|moment| moment.tick == tick) {
            following.see(now, moment);
            moment = Some(now);
        }
        if let Some(moment) = moment {
            following.forget(tick);
            following.attribute(tick, moment);
            following.decide(tick, moment.tick);
        }
        let table = following.table(tick);
        if tables.values().next_back().map_or(!table.is_empty(), |before| *before != table) {
            tables.insert(tick, table);
        }
    }
    tables
}

struct Following<'h> {
    history: &'h History,
    terms: &'h Terms,
    orders: BTreeMap<String, Known>,
    units: BTreeMap<(Cell, Customer), Unit>,
    /// What those added who are forgotten.
    past: Table,
}

impl Following<'_> {
    /// Until when a decision is followed: its tick is the last that counts.
    fn last(&self, made: &Made) -> i64 {
        made.tick + self.terms.attribution_ms
    }

    /// Takes up orders that are not as they were. One that is no longer there is left as it was.
    fn see(&mut self, now: &Moment, before: Option<&Moment>) {
        self.forget(now.tick);
        for (id, row) in &now.orders {
            if before.and_then(|before| before.orders.get(id)) == Some(row) {
                continue;
            }
            let decision = self.orders.get(id).and_then(|known| known.decision);
            self.orders.insert(id.clone(), Known { row: row.clone(), since: now.tick, decision });
        }
    }

    /// The first tick at which the order is forgotten.
    fn gone(&self, known: &Known) -> i64 {
        let settled = known.row.placed + self.terms.attribution_ms;
        match known.decision {
            None => settled,
            Some(_) => settled.max(self.terms.horizon.order(known.row.placed.max(known.since))),
        }
    }

    /// Orders that are forgotten count for good; customers who are, too.
    fn forget(&mut self, tick: i64) {
        let gone: Vec<String> =
            self.orders.iter().filter(|(_, known)| self.gone(known) <= tick).map(|(id, _)| id.clone()).collect();
        for id in gone {
            let (settled, known) = (self.gone(&self.orders[&id]), self.orders.remove(&id).expect("it is there"));
            let Some(made) = known.decision.map(|index| &self.history.made[index]) else { continue };
            let Some(value) = value(&known.row) else { continue };
            for cell in cells(made) {
                let unit = self.units.entry((cell, made.customer.clone())).or_default();
                unit.lasting.push(value);
                unit.gone = unit.gone.max(settled);
            }
        }
        let mut adding = self.adding();
        let orders_gone = self.units_with_orders();
        let gone = |(of, unit): &(&(Cell, Customer), &mut Unit)| {
            unit.gone.max(orders_gone.get(*of).copied().unwrap_or(0)) <= tick
        };
        let past = &mut self.past;
        let gone: Vec<_> = self.units.iter_mut().filter(gone).map(|(of, _)| of.clone()).collect();
        for of in gone {
            past.entry(of.0.clone()).or_default().join(&adding.remove(&of).unwrap_or_default());
            self.units.remove(&of);
        }
    }

    /// Until when the orders that count for each customer in each row are remembered.
    fn units_with_orders(&self) -> BTreeMap<(Cell, Customer), i64> {
        let mut until = BTreeMap::new();
        for known in self.orders.values() {
            let Some(made) = known.decision.map(|index| &self.history.made[index]) else { continue };
            for cell in cells(made) {
                let until: &mut i64 = until.entry((cell, made.customer.clone())).or_default();
                *until = self.gone(known).max(*until);
            }
        }
        until
    }

    /// Finds for each order the latest decision before it of whose it is. Where that of before is no longer followed, it stays.
    fn attribute(&mut self, tick: i64, moment: &Moment) {
        let made = &self.history.made;
        let last = |index: usize| made[index].tick + self.terms.attribution_ms;
        for known in self.orders.values_mut() {
            if known.decision.is_some_and(|index| tick > last(index)) {
                continue;
            }
            let Row { owner, placed, status, .. } = &known.row;
            let is_before = |index: &usize| {
                let made = &made[*index];
                made.tick <= moment.tick && made.tick < *placed && moment.owners.get(&made.customer) == Some(owner)
            };
            let latest = (0..made.len()).filter(is_before).max_by_key(|index| (made[*index].tick, &made[*index].id));
            let counts = |index: &usize| *placed <= last(*index) && tick <= last(*index);
            known.decision = latest.filter(counts).filter(|_| *status != Status::Cancelled);
        }
    }

    /// Counts the customers who are decided about at the tick.
    fn decide(&mut self, tick: i64, looked_at: i64) {
        for made in self.history.made.iter().filter(|made| made.tick == tick && tick == looked_at) {
            for cell in cells(made) {
                let gone = match cell.2 {
                    Some(_) => self.last(made) + self.terms.tick_ms,
                    None => self.terms.horizon.cart(self.last(made), false),
                };
                let unit = self.units.entry((cell, made.customer.clone())).or_default();
                unit.decisions += 1;
                unit.gone = unit.gone.max(gone);
            }
        }
    }

    /// What each customer adds to each row.
    fn adding(&self) -> BTreeMap<(Cell, Customer), Tally> {
        let mut orders: BTreeMap<(Cell, Customer), Vec<Decimal>> = BTreeMap::new();
        for known in self.orders.values() {
            let Some(made) = known.decision.map(|index| &self.history.made[index]) else { continue };
            for cell in cells(made) {
                orders.entry((cell, made.customer.clone())).or_default().extend(value(&known.row));
            }
        }
        let add = |(of, unit): (&(Cell, Customer), &Unit)| {
            let orders: Vec<Decimal> = orders.get(of).into_iter().flatten().chain(&unit.lasting).copied().collect();
            let mut tally = Tally::default();
            tally.add("decided", 1);
            tally.add("decisions", unit.decisions);
            tally.add("orders", orders.len() as i64);
            tally.add("converted", i64::from(!orders.is_empty()));
            tally.revenue = orders.iter().sum();
            tally.revenue_squares = tally.revenue * tally.revenue;
            (of.clone(), tally)
        };
        self.units.iter().map(add).collect()
    }

    /// The whole table.
    fn table(&self, tick: i64) -> Table {
        let mut table = self.past.clone();
        for ((cell, _), tally) in self.adding() {
            table.entry(cell).or_default().join(&tally);
        }
        for made in self.history.made.iter().filter(|made| made.tick <= tick && made.arm.0 == "send") {
            for name in self.became(made, tick) {
                cells(made).into_iter().for_each(|cell| table.entry(cell).or_default().add(name, 1));
            }
        }
        table
    }

    /// What became of a mail by the tick, while it was followed.
    fn became(&self, made: &Made, tick: i64) -> BTreeSet<&'static str> {
        let counts = |at: i64| at <= tick && (made.tick..=self.last(made)).contains(&at);
        let engagement = self.history.engagement.iter().filter(|(at, _)| counts(*at));
        let own = engagement.filter(|(_, it)| it.decision.as_ref() == Some(&made.id) && it.declined.is_none());
        let mut became: BTreeSet<&'static str> = own.map(|(_, it)| name(it)).collect();
        let accepted = &self.history.accepted;
        if accepted.iter().any(|(at, id)| counts(*at) && *id == made.id) {
            became.insert("sent");
        }
        became
    }
}

/// The rows in which a decision is counted: of its day, and of all.
fn cells(made: &Made) -> [Cell; 2] {
    let row = |day| (made.campaign.clone(), made.arm.clone(), day);
    [row(Some(made.tick.div_euclid(DAY_MS))), row(None)]
}

/// What an order adds; none of one that is cancelled.
fn value(row: &Row) -> Option<Decimal> {
    match row.status {
        Status::Placed => Some(row.total.unwrap_or_default()),
        Status::Refunded => Some(Decimal::ZERO),
        Status::Cancelled => None,
    }
}

fn name(engagement: &Engagement) -> &'static str {
    match (engagement.kind.as_str(), engagement.machine) {
        ("opened", true) => "opened_by_machine",
        ("clicked", true) => "clicked_by_machine",
        ("opened", false) => "opened",
        ("clicked", false) => "clicked",
        ("delivered", _) => "delivered",
        ("bounced", _) => "bounced",
        ("complained", _) => "complained",
        ("unsubscribed", _) => "unsubscribed",
        (other, _) => panic!("no engagement is {other}"),
    }
}
