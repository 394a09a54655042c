//! What the processes of a cluster tell each other beside records: the names that they have read, how far they are, and that they
//! end. In: words, each for a worker. Out: the words for this worker. Cannot fail.
//!
//! It goes along with the inputs of the records: a tick is not closed before what was told until then has been heard. An ordinary
//! input of timely sends what it has only when its time moves; this one sends at once.

use std::cell::RefCell;
use std::rc::Rc;

use beckon_dataflows::model::Tick;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::scheduling::activate::Activator;

use crate::decode::Told;

/// Where a process's input ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// All ticks before this one are closed as far as it goes, and nobody is to go further: a service that is asked to stop. Of several
    /// the least counts, and who hears of one stops too.
    Least(Tick),
    /// It has nothing before this one; the others may: a replay that has read everything. Of several the furthest counts.
    Furthest(Tick),
}

impl End {
    /// Its tick.
    pub fn tick(self) -> Tick {
        match self {
            End::Least(tick) | End::Furthest(tick) => tick,
        }
    }

    /// That of all together.
    pub fn of_all(ends: impl Iterator<Item = End>) -> Option<End> {
        ends.reduce(|one, other| match (one, other) {
            (End::Furthest(one), End::Furthest(other)) => End::Furthest(one.max(other)),
            (End::Least(one), End::Least(other)) => End::Least(one.min(other)),
            (End::Least(least), End::Furthest(_)) | (End::Furthest(_), End::Least(least)) => End::Least(least),
        })
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// A process has read these names.
    Names(usize, Vec<Told>),
    /// A worker is alive, and its inputs and what it has concluded are so far.
    Beat {
        /// Which, of all.
        worker: usize,
        /// Nothing more comes to it before this tick.
        inputs: Tick,
        /// All ticks before this one are closed, as far as it knows.
        upper: Tick,
    },
    /// A worker's input ends.
    Ends(usize, End),
    /// Process 0 asks for a snapshot of this tick.
    Snapshot(Tick),
    /// A worker writes down its state at this tick, which it has not passed.
    Writes(usize, Tick),
    /// A process has written its snapshot of this tick, or given it up.
    Wrote(usize, Tick),
}

/// One worker's end of it.
pub struct Relay {
    told: Rc<RefCell<ToTell>>,
    heard: Rc<RefCell<Heard>>,
    /// Gives that operator its turn.
    teller: Option<Activator>,
    peers: usize,
}

/// What the worker's own operator sends when it has its turn.
struct ToTell {
    words: Vec<(u64, Word)>,
    /// Nothing is told from here on that must be heard before this tick; none: nothing more is told.
    open: Option<Tick>,
}

struct Heard {
    words: Vec<Word>,
    upper: Option<Tick>,
}

impl Relay {
    /// Builds it beside the graph.
    pub fn build(scope: Scope<'_, Tick>) -> Relay {
        let told = Rc::new(RefCell::new(ToTell { words: Vec::new(), open: Some(0) }));
        let (telling, mut teller) = (told.clone(), None);
        let words = source::<_, CapacityContainerBuilder<Vec<(u64, Word)>>, _, _>(scope, "Tell", |capability, info| {
            teller = Some(scope.activator_for(info.address));
            let mut capability = Some(capability);
            move |output| {
                let mut telling = telling.borrow_mut();
                let Some(held) = &mut capability else { return };
                output.session(&*held).give_container(&mut telling.words);
                telling.words.clear();
                match telling.open {
                    Some(open) => held.downgrade(&open),
                    None => capability = None,
                }
            }
        });
        let heard = Rc::new(RefCell::new(Heard { words: Vec::new(), upper: Some(0) }));
        let hearing = heard.clone();
        let way = Exchange::new(|(worker, _): &(u64, Word)| *worker);
        words.sink(way, "Hear", move |(input, frontier)| {
            let mut hearing = hearing.borrow_mut();
            input.for_each(|_, words| hearing.words.extend(words.drain(..).map(|(_, word)| word)));
            hearing.upper = frontier.frontier().first().copied();
        });
        Relay { told, heard, teller, peers: scope.peers() }
    }

    /// Tells a worker.
    pub fn tell(&mut self, worker: usize, word: Word) {
        self.told.borrow_mut().words.push((worker as u64, word));
        self.wake();
    }

    /// Tells all workers, this one too.
    pub fn tell_all(&mut self, word: &Word) {
        (0..self.peers).for_each(|worker| self.tell(worker, word.clone()));
    }

    /// Nothing is told from here on that must be heard before `tick`.
    pub fn advance_to(&mut self, tick: Tick) {
        let mut told = self.told.borrow_mut();
        told.open = told.open.map(|open| open.max(tick));
        self.wake();
    }

    /// Nothing more is told.
    pub fn close(&mut self) {
        self.told.borrow_mut().open = None;
        self.wake();
    }

    fn wake(&self) {
        self.teller.iter().for_each(Activator::activate);
    }

    /// What was heard since the last call.
    pub fn heard(&mut self) -> Vec<Word> {
        std::mem::take(&mut self.heard.borrow_mut().words)
    }

    /// What was to be heard before this tick has been; none: all that there will ever be.
    pub fn upper(&self) -> Option<Tick> {
        self.heard.borrow().upper
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_ends_with_its_least_and_a_replay_with_its_furthest() {
        assert_eq!(End::of_all([End::Least(5), End::Least(3)].into_iter()), Some(End::Least(3)));
        assert_eq!(End::of_all([End::Furthest(5), End::Furthest(7)].into_iter()), Some(End::Furthest(7)));
        assert_eq!(End::of_all([End::Furthest(5), End::Least(7)].into_iter()), Some(End::Least(7)));
    }
}
