//! What flows: records by stream, how far the ticks are, the trigger set by campaign, decisions and deliveries. In: the counters of the
//! stages. Out: JSON of now; nothing in it is about a person. Fails when the ledger cannot be read.

use beckon_dataflows::counts::Counts;
use beckon_dataflows::model::Stream;
use serde_json::{Map, Value, json};

use super::Answers;
use crate::decision::{DeliveryState, Moment};
use crate::pipeline::read;

impl Answers {
    pub(super) fn tell_flow(&self) -> anyhow::Result<Value> {
        let (meter, now_ms) = (&self.meter, (self.clock)());
        let as_of = meter.as_of();
        let deliveries = self.ledger.counts()?.deliveries;
        let of = |state: DeliveryState| deliveries.get(&state).copied().unwrap_or(0);
        let decisions = meter.decisions().into_iter();
        let decisions =
            decisions.map(|((outcome, reason), count)| json!({ "outcome": outcome, "reason": reason, "count": count }));
        Ok(json!({
            "as_of": Moment(as_of),
            "now": Moment(now_ms),
            "lag_ms": if as_of == 0 { Value::Null } else { now_ms.saturating_sub(as_of).into() },
            "records": by_stream(|stream| meter.records_of(stream)),
            "set_aside": {
                "bad": meter.bad_records().values().sum::<u64>(),
                "late": meter.late_records(),
                "skewed": meter.skewed_records(),
                "stale": sum(&self.counts, Counts::stale_records),
                "duplicate": sum(&self.counts, Counts::duplicate_records),
            },
            "carts_open": self.counts.carts_open(),
            "episodes": meter.episodes(),
            "triggers": self.by_campaign(),
            "decisions": decisions.collect::<Vec<_>>(),
            "deliveries": DeliveryState::ALL.map(|state| (state.name().to_owned(), of(state).into())).into_iter().collect::<Map<_, Value>>(),
        }))
    }

    fn by_campaign(&self) -> Map<String, Value> {
        let state = read(&self.state);
        let campaigns = (0u16..).zip(self.campaigns.iter());
        campaigns.map(|(place, campaign)| (campaign.name.to_string(), state.episodes(place).into())).collect()
    }
}

fn by_stream(of: impl Fn(Stream) -> u64) -> Map<String, Value> {
    Stream::ALL.into_iter().map(|stream| (stream.name().to_owned(), of(stream).into())).collect()
}

fn sum(counts: &Counts, of: fn(&Counts, Stream) -> u64) -> u64 {
    Stream::ALL.into_iter().map(|stream| of(counts, stream)).sum()
}
