//! What a trigger finds: the episodes whose condition holds at a tick, for one customer. In: the trigger's findings. Out: the
//! difference to what was found before, and the tick at which to look again. Cannot fail.

use std::sync::Arc;

use thin_vec::ThinVec;

use crate::model::{Diff, Episode, Id, Line, Opening, Tick};
use crate::plan::Wait;

/// What holds for a customer at a tick, while it is being found.
pub struct Found {
    customer: Id,
    now: Tick,
    openings: ThinVec<Opening>,
    next: Tick,
}

impl Found {
    /// Nothing yet.
    pub fn new(customer: Id, now: Tick) -> Found {
        Found { customer, now, openings: ThinVec::new(), next: Tick::MAX }
    }

    /// Whether an episode that waits for what began at `since` has opened and not expired. Remembers to look again when
    /// that changes.
    pub fn is_within(&mut self, wait: &Wait, since: Tick) -> bool {
        let (opening, expiry) = (wait.opening(since), wait.expiry(since));
        self.look_again(if self.now < opening { opening } else { expiry });
        opening <= self.now && self.now < expiry
    }

    /// Remembers to look again at `tick`, if that is ahead; at [`Tick::MAX`] never.
    pub fn look_again(&mut self, tick: Tick) {
        if tick > self.now {
            self.next = self.next.min(tick);
        }
    }

    /// The customer's episode of `campaign` about `subject` holds. `currency` is that of the lines' prices.
    pub fn add(&mut self, campaign: u16, subject: Id, anchor: Tick, currency: Id, lines: Arc<[Line]>) {
        let episode = Episode { campaign, customer: self.customer, subject, anchor };
        self.openings.push(Opening { episode, currency, lines });
    }

    /// The customer's episode of `campaign` about themselves holds.
    pub fn add_customer(&mut self, campaign: u16, anchor: Tick) {
        self.add(campaign, self.customer, anchor, Id::NONE, Arc::default());
    }

    /// Emits how this differs from what was `open` before, and makes it that. Returns the tick at which to look again, if any.
    pub fn settle(mut self, open: &mut ThinVec<Opening>, emit: &mut dyn FnMut(Opening, Diff)) -> Option<Tick> {
        self.openings.sort_unstable();
        self.openings.dedup();
        for gone in open.iter().filter(|opening| self.openings.binary_search(opening).is_err()) {
            emit(gone.clone(), -1);
        }
        for new in self.openings.iter().filter(|opening| open.binary_search(opening).is_err()) {
            emit(new.clone(), 1);
        }
        *open = self.openings;
        (self.next < Tick::MAX).then_some(self.next)
    }
}

/// The one line of an episode about a product: no cart's, so it has neither quantity nor price of its own.
pub fn product_line(sku: Id) -> Arc<[Line]> {
    Arc::from([Line { sku, quantity: 0, price: None }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differences_are_emitted_and_each_once() {
        let wait = Wait { after_ms: 10, expires_ms: Some(5) };
        let mut open = ThinVec::new();
        let mut look = |now| {
            let mut found = Found::new(Id(1), now);
            for _ in 0..2 {
                if found.is_within(&wait, 100) {
                    found.add_customer(0, 100);
                }
            }
            let mut diffs = Vec::new();
            let next = found.settle(&mut open, &mut |_, diff| diffs.push(diff));
            (diffs, next)
        };
        assert_eq!(look(100), (vec![], Some(110)));
        assert_eq!(look(110), (vec![1], Some(115)));
        assert_eq!(look(112), (vec![], Some(115)));
        assert_eq!(look(115), (vec![-1], None));
    }
}
