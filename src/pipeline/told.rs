//! The ledger's deliveries, as ESPs tell of them by webhook (SPEC §6, §8). In: a decision whose mail an ESP speaks of. Out: whom it was
//! for, and the delivery settled that waited to be told. Fails when the ledger does.

use std::sync::Arc;
use std::time::Duration;

use super::live::WallClock;
use super::measure::Accepted;
use crate::decision::{DecisionId, DeliveryRecord, DeliveryState};
use crate::ledger::{Ledger, LedgerError};
use crate::web::webhooks::{Deliveries, Soon};

/// How often a delivery is looked at whose request is under way.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often at most: an ESP may speak of a mail before it has answered that it took it, but not long before.
const LOOKS_MAX: u32 = 30;

/// The ledger as it is told of deliveries.
pub struct ToldByEsps {
    ledger: Arc<Ledger>,
    clock: WallClock,
    /// Who hears of accepted deliveries, if anybody does.
    accepting: Option<crossbeam_channel::Sender<Accepted>>,
}

impl ToldByEsps {
    /// Settles deliveries of this ledger.
    pub fn new(
        ledger: Arc<Ledger>,
        clock: WallClock,
        accepting: Option<crossbeam_channel::Sender<Accepted>>,
    ) -> ToldByEsps {
        ToldByEsps { ledger, clock, accepting }
    }

    async fn settle(&self, id: DecisionId, esp: &str) -> Result<(), String> {
        for _ in 0..LOOKS_MAX {
            let Some(record) = self.ledger.delivery(id).map_err(|fault| fault.to_string())? else { return Ok(()) };
            match record.state {
                // Not yet known whether it was answered: also where a process has died around the request.
                DeliveryState::InFlight => tokio::time::sleep(LOOK_EVERY).await,
                // One that may be repeated is settled by the answer to that.
                DeliveryState::Unknown if record.awaits_webhook => return self.accept(id, record, esp).await,
                _ => return Ok(()),
            }
        }
        Err(format!("the request of {id} is still under way"))
    }

    async fn accept(&self, id: DecisionId, record: DeliveryRecord, esp: &str) -> Result<(), String> {
        let since_ms = (self.clock)();
        let note = Some(format!("told by a webhook of {esp}"));
        let state = DeliveryState::Accepted;
        let next = DeliveryRecord { state, since_ms, ambiguous_since_ms: None, note, awaits_webhook: false, ..record };
        match self.ledger.advance(id, next).await {
            // Another event of the same mail was first.
            Err(LedgerError::Step { from: DeliveryState::Accepted, .. }) => return Ok(()),
            advanced => advanced.map_err(|fault| fault.to_string())?,
        }
        metrics::counter!("beckon_delivery_states_total", "state" => state.name()).increment(1);
        if let Some(accepting) = &self.accepting {
            // At the end nobody may be there to hear it: the ledger has it for the next start.
            let _ = accepting.send((id, since_ms));
        }
        Ok(())
    }
}

impl Deliveries for ToldByEsps {
    fn customer(&self, decision: DecisionId) -> Result<Option<Arc<str>>, String> {
        let decision = self.ledger.decision(decision).map_err(|fault| fault.to_string())?;
        Ok(decision.map(|decision| decision.customer_id))
    }

    fn taken<'a>(&'a self, decision: DecisionId, esp: &'static str) -> Soon<'a, Result<(), String>> {
        Box::pin(self.settle(decision, esp))
    }
}
