//! An explanation as JSON (README, "Explain"): one object. In: an explanation. Out: its members, in the order written here. A
//! record is given as it was written, to the byte. Cannot fail.

use beckon_dataflows::model::Stream;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::value::RawValue;

use super::{Explanation, Kept};
use crate::decide::{Answer, Asking, Gate, Why};
use crate::decision::Moment;

/// A gate's answer, with the tick at which it was asked and the reason in words.
#[derive(Serialize)]
struct Line<'a> {
    as_of: Moment,
    gate: Gate,
    answer: Answer,
    why: String,
    figures: &'a Why,
}

/// A record with its place.
#[derive(Serialize)]
struct Placed<'a> {
    stream: Stream,
    partition: u32,
    offset: u64,
    tick: Moment,
    record: Content<'a>,
}

/// A record's content: JSON as it is written.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Json(&'a RawValue),
    Text(String),
}

impl Serialize for Explanation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let gates: Vec<Line<'_>> = self.askings.iter().flat_map(lines).collect();
        let records: Vec<Placed<'_>> = self.records.iter().map(placed).collect();
        let mut object = serializer.serialize_struct("Explanation", 7)?;
        object.serialize_field("decision", &self.decision)?;
        object.serialize_field("gates", &gates)?;
        object.serialize_field("records", &records)?;
        object.serialize_field("considered", &self.considered)?;
        object.serialize_field("minimal", &self.minimal)?;
        object.serialize_field("trials", &self.trials)?;
        object.serialize_field("depends_on_others", &self.depends_on_others)?;
        object.end()
    }
}

/// What the gates answered, as the member `gates` of an explanation.
pub fn gates(askings: &[Asking]) -> serde_json::Result<String> {
    serde_json::to_string(&askings.iter().flat_map(lines).collect::<Vec<_>>())
}

fn lines(asking: &Asking) -> impl Iterator<Item = Line<'_>> {
    asking.replies.iter().map(|reply| Line {
        as_of: Moment(asking.tick),
        gate: reply.gate,
        answer: reply.answer,
        why: reply.why.to_string(),
        figures: &reply.why,
    })
}

fn placed(kept: &Kept) -> Placed<'_> {
    // What was decoded is JSON, so the second never comes to pass.
    let record = serde_json::from_slice(&kept.bytes)
        .map_or_else(|_| Content::Text(String::from_utf8_lossy(&kept.bytes).into_owned()), Content::Json);
    Placed {
        stream: kept.position.stream(),
        partition: kept.position.partition(),
        offset: kept.position.offset(),
        tick: Moment(kept.tick),
        record,
    }
}
