//! What an export of the truth says otherwise than what is maintained. In: both as collections of rows, one a key. Out: their difference, as
//! differential has it: rows that are only in one of them. Pure; cannot fail.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use differential_dataflow::AsCollection;
use serde::{Deserialize, Serialize};
use timely::WorkerConfig;
use timely::communication::Allocator;
use timely::communication::allocator::thread::Thread;
use timely::dataflow::operators::vec::ToStream;
use timely::worker::Worker;

use crate::model::{Contact, Diff, Id, Line, Tick};

/// What a row is about: a SKU and a location, a cart, or a user; what is not named is [`Id::NONE`].
pub type Key = [Id; 2];

/// What a row says, apart from which write it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// Units on hand at a location.
    Stock(i64),
    /// A cart.
    Cart {
        /// Whose it is.
        owner: Id,
        /// ISO 4217 code, or [`Id::NONE`].
        currency: Id,
        /// Its lines, in the order written.
        lines: Box<[Line]>,
    },
    /// A profile.
    Profile(Contact),
}

/// A row.
pub type Row = (Key, Content);

/// Where a key differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What is maintained.
    pub maintained: Option<Content>,
    /// What is true.
    pub truth: Option<Content>,
}

/// Truth less what is maintained, by key. Both have one row a key at most.
pub fn difference(maintained: Vec<Row>, truth: Vec<Row>) -> BTreeMap<Key, Difference> {
    let differing = Rc::new(RefCell::new(BTreeMap::<Key, Difference>::new()));
    let listening = differing.clone();
    let alone = Allocator::Thread(Thread::default());
    let mut worker = Worker::new(WorkerConfig::default(), alone, None);
    worker.dataflow(|scope| {
        let at_once = |rows: Vec<Row>| rows.into_iter().map(|row| (row, 0, 1)).collect::<Vec<(Row, Tick, Diff)>>();
        let maintained = at_once(maintained).to_stream(scope).as_collection();
        let truth = at_once(truth).to_stream(scope).as_collection();
        truth.concat(maintained.negate()).consolidate().inspect(move |((key, content), _, diff)| {
            let mut differing = listening.borrow_mut();
            let difference = differing.entry(*key).or_default();
            let side = if *diff > 0 { &mut difference.truth } else { &mut difference.maintained };
            *side = Some(content.clone());
        });
    });
    while worker.has_dataflows() {
        worker.step();
    }
    differing.take()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_left() {
        let row = |sku: u64, units: i64| ([Id(sku), Id::NONE], Content::Stock(units));
        let maintained = vec![row(1, 5), row(2, 7), row(3, 9)];
        let truth = vec![row(1, 5), row(2, 8), row(4, 1)];
        let stock = |units| Some(Content::Stock(units));
        let of = |maintained, truth| Difference { maintained, truth };
        let expected = [(2, of(stock(7), stock(8))), (3, of(stock(9), None)), (4, of(None, stock(1)))];
        let expected = expected.map(|(sku, difference)| ([Id(sku), Id::NONE], difference));
        assert_eq!(difference(maintained.clone(), truth), BTreeMap::from(expected));
        assert!(difference(maintained.clone(), maintained).is_empty());
    }
}
