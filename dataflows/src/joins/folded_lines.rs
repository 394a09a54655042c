//! The lines of a cart told by single messages, as far as it is to be known when they are forgotten (ARCHITECTURE, "What leaves"). In:
//! the SKUs that messages name. Out: those that none has named for long. Pure; cannot fail.

use serde::{Deserialize, Serialize};

use crate::horizon::Horizon;
use crate::model::{Id, Tick};
use crate::per_key::Next;

/// The SKUs of a folded cart, each with the tick of the last message that named it.
#[derive(Default, Serialize, Deserialize)]
pub struct FoldedLines(Vec<(Id, Tick)>);

impl FoldedLines {
    /// A message named `sku` at `now`.
    pub fn touch(&mut self, sku: Id, now: Tick) {
        match self.0.iter_mut().find(|(known, _)| *known == sku) {
            Some((_, last)) => *last = now,
            None => self.0.push((sku, now)),
        }
    }

    /// Forgets the lines that are due at `now`, and tells `gone` which.
    pub fn forget(&mut self, now: Tick, horizon: &Horizon, mut gone: impl FnMut(Id)) {
        self.0.retain(|(sku, last)| {
            let stays = now < horizon.cart(*last);
            if !stays {
                gone(*sku);
            }
            stays
        });
    }

    /// When the next line is forgotten; nothing is kept where there is none.
    pub fn next(&self, horizon: &Horizon) -> Next {
        let gone = self.0.iter().map(|(_, last)| horizon.cart(*last));
        gone.min().map_or(Next::Forget, Next::wake_at)
    }
}
