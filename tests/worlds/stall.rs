//! The watchdog on running workers: a rule that does not return is noticed, and whose worker is in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use beckon::decide::{Decided, Decider, Limits};
use beckon::decode::Dictionary;
use beckon::pipeline::{Act, Engine, Setup, View};
use beckon::trigger::{Customer, CustomerTrigger, Found, Reads, Rule};
use beckon::watchdog::{self, Stall};
use beckon::worker::Crew;
use beckon_dataflows::custom::Custom;
use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::{Namespace, OrderRecord, OrderStatus, Position, Record, Stream, Tick, Written};
use beckon_dataflows::plan::{Plan, Trigger};

/// Does not return as long as it is held.
struct Held(Arc<AtomicBool>);

impl CustomerTrigger for Held {
    fn reads(&self) -> Reads {
        Reads { orders_ms: 1_000_000, ..Reads::default() }
    }

    fn find(&self, _customer: &Customer, _found: &mut Found) {
        while self.0.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Nothing;

impl Act for Nothing {
    fn decided(&mut self, _tick: Tick, _decided: Vec<Decided>, _view: &View<'_>) -> anyhow::Result<()> {
        Ok(())
    }
}

fn order(dictionary: &Dictionary) -> Record {
    let id = |namespace, text| dictionary.intern(namespace, text).unwrap();
    let (order, owner) = (id(Namespace::Order, "o1"), id(Namespace::User, "u1"));
    let written = Written { version: 0, updated_ms: 1_000, position: Position::new(Stream::Orders, 0, 1) };
    let (status, cart, total, lines) = (OrderStatus::Placed, beckon_dataflows::model::Id::NONE, None, Box::default());
    Record::Order(OrderRecord {
        order,
        owner,
        cart,
        status,
        written,
        placed_ms: 1_000,
        from_click: false,
        total,
        lines,
    })
}

#[test]
fn a_rule_that_does_not_return_is_noticed() {
    let held = Arc::new(AtomicBool::new(true));
    let made = held.clone();
    let rule = Custom { make: Arc::new(move |_| Rule::Orders(Box::new(Held(made.clone())))), expires_ms: Some(60_000) };
    let plan = Plan::new(1_000, vec![Trigger::Custom(rule)], 1_000_000);
    let (dictionary, after) = (Arc::new(Dictionary::new()), Duration::from_secs(2));
    let crew = Crew { beat: watchdog::beat(after), ..Crew::from(2) };
    let decider = Decider::new(Vec::new(), Limits { caps: Vec::new(), quiet_hours: None });
    let record = order(&dictionary);
    let (state, meter) = (Arc::default(), Arc::default());
    let setup = Setup { crew, plan, decider, dictionary, state, meter };
    let mut engine = Engine::start(setup, Nothing).unwrap();
    let (barked_to, barked) = mpsc::channel();
    let bark = move |stall| barked_to.send(stall).unwrap();
    watchdog::start(engine.workers.pulses(), after, Arc::default(), bark).unwrap();
    // While all goes on there is no stall.
    for tick in 1..=8 {
        engine.workers.advance(tick * 1_000);
        std::thread::sleep(after / 6);
    }
    assert!(barked.try_recv().is_err());
    let mut batch = Batch::default();
    batch.push(record, 9_000);
    engine.workers.feed(batch);
    engine.workers.advance(10_000);
    let stall = barked.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(matches!(stall, Stall::Silent { worker: 0 | 1, threads: 2, .. }), "{stall}");
    held.store(false, Ordering::Relaxed);
    engine.workers.close(11_000);
    engine.finish().unwrap();
}
