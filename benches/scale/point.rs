//! One point of the curves, in a process of its own. In: how many customers and campaigns. Out: what their state takes in memory, and
//! what records cost in the engine that holds it. Fails when a record is bad, or the engine stops.
//!
//! The engine is that of `beckon replay`, fed by this thread through the real decoder. The records of the mix are written while the clock
//! stands, so that it runs for the engine alone.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::Context;
use beckon::config::{Config, Purpose};
use beckon::decide::Decided;
use beckon::decode::{Decoder, Dictionary};
use beckon::meter::Meter;
use beckon::pipeline::replay::RECORDS_AN_ADVANCE;
use beckon::pipeline::{Act, Engine, Setup, SharedState, View, wiring};
use beckon_dataflows::horizon::Horizon;
use beckon_dataflows::inputs::Batch;
use beckon_dataflows::model::{Position, Stream, Tick};
use beckon_dataflows::time::tick_at;
use beckon_datagen::Event;
use serde::{Deserialize, Serialize};

use super::steps::Steps;
use super::threads::Spent;
use super::{campaigns, cost, resident, shop};

/// Records that are fed at a time.
const RECORDS_A_BATCH: usize = 2 << 10;

/// Records of the mix that are written, and then fed, at a time.
const RECORDS_A_PIECE: u64 = 1 << 17;

/// What the state takes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Memory {
    /// Resident with the engine warm and no customers.
    pub without_kib: u64,
    /// The same with all profiles.
    pub with_profiles_kib: u64,
    /// The same with all carts.
    pub with_carts_kib: u64,
    /// Most resident until then.
    pub peak_kib: u64,
    /// Of the customers' memory, what the texts of their names take.
    pub names_bytes: u64,
    /// What is to be kept of them.
    pub payload_bytes: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Point {
    /// Customers, each with a profile and an open cart.
    pub customers: u64,
    /// Campaigns.
    pub campaigns: u64,
    /// What those take.
    pub memory: Memory,
    /// Records of the mix.
    pub records: u64,
    /// What those cost.
    pub spent: Spent,
    /// Decisions that they led to.
    pub decisions: u64,
    /// Decisions of the whole run.
    pub decisions_ever: u64,
    /// The last tick that was closed.
    pub last: Tick,
}

impl Point {
    /// Bytes a customer of what is resident because of them.
    pub fn bytes_a_customer(&self) -> f64 {
        self.a_customer(1_024 * self.memory.with_carts_kib.saturating_sub(self.memory.without_kib))
    }

    /// Bytes of a profile.
    pub fn bytes_a_profile(&self) -> f64 {
        self.a_customer(1_024 * self.memory.with_profiles_kib.saturating_sub(self.memory.without_kib))
    }

    /// Bytes of the live payload a customer.
    pub fn payload_a_customer(&self) -> f64 {
        self.a_customer(self.memory.payload_bytes)
    }

    /// Bytes of names a customer.
    pub fn names_a_customer(&self) -> f64 {
        self.a_customer(self.memory.names_bytes)
    }

    /// CPU time, µs a record, of all or a part.
    pub fn cpu_us(&self, of: fn(&Spent) -> f64) -> f64 {
        of(&self.spent) * 1e6 / self.records as f64
    }

    fn a_customer(&self, bytes: u64) -> f64 {
        bytes as f64 / self.customers as f64
    }
}

/// Measures it.
pub fn measure(customers: u64, campaigns: u64, records: u64, workers: usize) -> anyhow::Result<Point> {
    let steps = Steps { customers };
    let mut fed = Fed::start(steps, campaigns, workers)?;
    let memory = load(&mut fed, steps)?;
    let mut point = Point { customers, campaigns, memory, records, ..Point::default() };
    let (mut mix, decided) = (steps.mix(records).peekable(), fed.decisions);
    while mix.peek().is_some() {
        let piece: Vec<Event> = mix.by_ref().take(RECORDS_A_PIECE as usize).map(shop::say).collect();
        let spent = Spent::so_far()?;
        fed.feed(piece)?;
        fed.wait()?;
        point.spent += Spent::so_far()?.since(spent);
    }
    fed.close()?;
    (point.decisions, point.decisions_ever) = (fed.decisions - decided, fed.decisions);
    point.last = fed.finish()?;
    Ok(point)
}

/// Loads profiles and carts, and looks at what they take.
fn load(fed: &mut Fed, steps: Steps) -> anyhow::Result<Memory> {
    fed.load(shop::opening(steps.earliest_ms()))?;
    fed.load(steps.warming().map(shop::say))?;
    let (without_kib, names) = (resident::settled_kib()?, fed.dictionary.bytes());
    fed.load(steps.profiles().map(shop::say))?;
    let with_profiles_kib = resident::settled_kib()?;
    fed.load(steps.carts().map(shop::say))?;
    Ok(Memory {
        without_kib,
        with_profiles_kib,
        with_carts_kib: resident::settled_kib()?,
        peak_kib: cost::of_process("self")?.peak_kib,
        names_bytes: fed.dictionary.bytes().saturating_sub(names) as u64,
        payload_bytes: steps.carts().map(|cart| shop::payload_bytes(cart.customer, cart.number)).sum(),
    })
}

/// Says how far ticks are closed, and how much was decided by then.
struct Closing {
    decisions: u64,
    out: Sender<(Tick, u64)>,
}

impl Act for Closing {
    fn decided(&mut self, _tick: Tick, decided: Vec<Decided>, _view: &View<'_>) -> anyhow::Result<()> {
        self.decisions += decided.len() as u64;
        Ok(())
    }

    fn closed(&mut self, upper: Option<Tick>, _view: &View<'_>) -> anyhow::Result<()> {
        // Nobody listens any more at the end.
        let _ = self.out.send((upper.unwrap_or(Tick::MAX), self.decisions));
        Ok(())
    }
}

/// An engine that is fed by this thread.
struct Fed {
    engine: Engine,
    decoder: Decoder,
    dictionary: Arc<Dictionary>,
    /// How many records are fed at a time while the state is loaded.
    at_a_time: u64,
    tick_ms: u64,
    /// All ticks before it are to be closed.
    open: Tick,
    /// Where the next record stands in its stream.
    offset: u64,
    closed: Receiver<(Tick, u64)>,
    /// All ticks before it are closed, and so much is decided.
    upper: Tick,
    decisions: u64,
}

impl Fed {
    fn start(steps: Steps, campaigns: u64, workers: usize) -> anyhow::Result<Fed> {
        let toml = campaigns::config(&campaigns::afters_s(steps, campaigns));
        let config = Config::parse("beckon.toml".as_ref(), &toml, Purpose::Replay)?;
        let plan = wiring::plan(&config);
        let dictionary = Arc::new(Dictionary::forgetting(Horizon::of(&plan)));
        let (out, closed) = channel();
        let (meter, state) = (Arc::new(Meter::default()), SharedState::default());
        let decider = wiring::decider(&config);
        let setup = Setup { crew: workers.into(), plan, decider, dictionary: dictionary.clone(), state, meter };
        let engine = Engine::start(setup, Closing { decisions: 0, out })?;
        let decoder = Decoder::new(dictionary.clone());
        let (at_a_time, tick_ms) = (steps.at_a_time(), config.tick_ms);
        let (open, offset, upper, decisions) = (0, 0, 0, 0);
        Ok(Fed { engine, decoder, dictionary, at_a_time, tick_ms, open, offset, closed, upper, decisions })
    }

    /// Feeds these and waits for them, a few at a time, so that little of them is under way.
    fn load(&mut self, mut events: impl Iterator<Item = Event>) -> anyhow::Result<()> {
        loop {
            let some: Vec<Event> = events.by_ref().take(self.at_a_time as usize).collect();
            if some.is_empty() {
                return self.close();
            }
            self.feed(some)?;
            self.wait()?;
        }
    }

    /// Feeds these as a replay does: the workers begin while they are decoded.
    fn feed(&mut self, events: Vec<Event>) -> anyhow::Result<()> {
        let (mut events, mut unadvanced) = (events.into_iter().peekable(), 0);
        while events.peek().is_some() {
            let (mut batch, names) = (Batch::default(), self.decoder.pin());
            for event in events.by_ref().take(RECORDS_A_BATCH) {
                let stream: Stream =
                    event.stream.parse().map_err(|()| anyhow::anyhow!("no stream {}", event.stream))?;
                self.offset += 1;
                let decoded = self.decoder.decode(Position::new(stream, 0, self.offset), &event.json)?;
                batch.push(decoded.record, tick_at(decoded.event_ms, self.tick_ms));
            }
            self.open = self.open.max(batch.last());
            unadvanced += batch.len();
            names.taken(batch.last());
            self.engine.workers.feed(batch);
            if unadvanced >= RECORDS_AN_ADVANCE {
                unadvanced = 0;
                self.engine.workers.advance(self.open);
            }
        }
        self.engine.workers.advance(self.open);
        Ok(())
    }

    /// Waits until all ticks are closed that are to be.
    fn wait(&mut self) -> anyhow::Result<()> {
        while self.upper < self.open {
            (self.upper, self.decisions) = self.closed.recv().context("the engine has stopped")?;
        }
        Ok(())
    }

    /// Closes the last tick of what was fed, too.
    fn close(&mut self) -> anyhow::Result<()> {
        self.open += self.tick_ms;
        self.engine.workers.advance(self.open);
        self.wait()
    }

    /// Ends it; the last tick that was closed.
    fn finish(self) -> anyhow::Result<Tick> {
        self.engine.workers.close(self.open);
        self.engine.finish()?;
        Ok(self.open - self.tick_ms)
    }
}
