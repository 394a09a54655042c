//! Each message once. In: messages by the hash of their id. Out: those not seen in the 24 h before (SPEC §1); of several in
//! one tick, the one of the least position. The others are counted.

use std::marker::PhantomData;
use std::sync::Arc;

use differential_dataflow::{ExchangeData, VecCollection};
use smallvec::SmallVec;

use crate::counts::Counts;
use crate::model::{Click, Diff, EngagementRecord, Id, MessageId, Position, Stream, Tick};
use crate::per_key::{Next, PerKey, per_key};

/// How long an id is remembered, ms of event time.
const WINDOW_MS: u64 = 24 * 60 * 60 * 1000;

/// A record that names itself by an id of its own.
pub trait Message: ExchangeData {
    /// The stream it comes from.
    const STREAM: Stream;
    /// Its id.
    fn id(&self) -> MessageId;
    /// Where it stands.
    fn position(&self) -> Position;
}

impl Message for Click {
    const STREAM: Stream = Stream::Clickstream;

    fn id(&self) -> MessageId {
        self.message
    }

    fn position(&self) -> Position {
        self.position
    }
}

impl Message for EngagementRecord {
    const STREAM: Stream = Stream::Engagement;

    fn id(&self) -> MessageId {
        self.event
    }

    fn position(&self) -> Position {
        self.position
    }
}

/// Drops the duplicates from `messages`.
pub fn once<'scope, M: Message>(
    messages: VecCollection<'scope, Tick, M, Diff>,
    name: &str,
    counts: Arc<Counts>,
) -> VecCollection<'scope, Tick, M, Diff> {
    let keyed = messages.map(|message| (Id(message.id().low), message));
    per_key(keyed, name, Once { counts, message: PhantomData })
}

struct Once<M> {
    counts: Arc<Counts>,
    message: PhantomData<M>,
}

/// What is remembered of the one or, when half of a hash coincides, the few ids of a key: the other half, and when seen.
type Seen = SmallVec<[(u64, Tick); 1]>;

impl<M: Message> PerKey for Once<M> {
    type In = M;
    type State = Seen;
    type Out = M;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        seen: &mut Seen,
        changes: &mut dyn Iterator<Item = (M, Diff)>,
        emit: &mut dyn FnMut(M, Diff),
    ) -> Next {
        let mut messages: SmallVec<[M; 1]> = changes.map(|(message, _)| message).collect();
        if key.is_none() {
            messages.into_iter().for_each(|message| emit(message, 1));
            return Next::Forget;
        }
        seen.retain(|(_, at)| now <= *at + WINDOW_MS);
        messages.sort_unstable_by_key(Message::position);
        for message in messages {
            let high = message.id().high;
            if seen.iter().any(|(other, _)| *other == high) {
                self.counts.duplicate(M::STREAM);
            } else {
                seen.push((high, now));
                emit(message, 1);
            }
        }
        seen.iter().map(|(_, at)| at + WINDOW_MS + 1).min().map_or(Next::Forget, Next::WakeAt)
    }
}
