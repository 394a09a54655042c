//! Each message once. In: messages by the hash of their id. Out: those not seen in the 24 h before (SPEC §1); of several in
//! one tick, the one of the least position. The others are counted.

use std::hash::BuildHasherDefault;
use std::marker::PhantomData;
use std::sync::Arc;

use differential_dataflow::{ExchangeData, VecCollection};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::counts::Counts;
use crate::model::{Click, Diff, EngagementRecord, Id, IdHasher, MessageId, Position, Stream, Tick};
use crate::per_key::{Never, Next, PerKey, per_key};
use crate::snapshot::{Fault, Snapshots};

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
    snapshots: &Snapshots,
) -> VecCollection<'scope, Tick, M, Diff> {
    let keyed = messages.map(|message| (Id(message.id().low), message));
    per_key(keyed, name, Once { counts, others: HashMap::default(), message: PhantomData }, snapshots)
}

struct Once<M> {
    counts: Arc<Counts>,
    /// What is remembered of further ids of a key, when half of a hash coincides: as good as never, so not in the key's state,
    /// of which there is one for every message of a day.
    others: HashMap<Id, Vec<Seen>, BuildHasherDefault<IdHasher>>,
    message: PhantomData<M>,
}

/// An id that was seen: the half of it that is not the key, and when; at tick 0 for none.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Seen {
    high: u64,
    at: Tick,
}

impl Seen {
    /// Whether it is remembered at `now`.
    fn is_remembered(&self, now: Tick) -> bool {
        self.at != 0 && now < self.at + WINDOW_MS
    }
}

impl<M: Message> PerKey for Once<M> {
    type In = M;
    type State = Seen;
    type Out = M;
    type Wake = Never;

    const LASTS_MS: u64 = WINDOW_MS;

    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        seen: &mut Seen,
        changes: &mut dyn Iterator<Item = (M, Diff)>,
        emit: &mut dyn FnMut(M, Diff),
    ) -> Next {
        if key.is_none() {
            changes.for_each(|(message, _)| emit(message, 1));
            return Next::Forget;
        }
        self.forget(now, key, seen);
        if let Some((first, _)) = changes.next() {
            match changes.next() {
                None => self.take(now, key, seen, first, emit),
                Some((second, _)) => {
                    let mut messages = vec![first, second];
                    messages.extend(changes.map(|(message, _)| message));
                    messages.sort_unstable_by_key(Message::position);
                    messages.into_iter().for_each(|message| self.take(now, key, seen, message, emit));
                }
            }
        }
        if seen.at == 0 { Next::Forget } else { Next::Keep }
    }

    fn is_over(&mut self, now: Tick, key: Id, seen: &mut Seen) -> bool {
        self.forget(now, key, seen);
        seen.at == 0 && !self.others.contains_key(&key)
    }

    fn beside(&self) -> Vec<u8> {
        // Serialising to memory what has no maps of unknown length cannot fail.
        if self.others.is_empty() { Vec::new() } else { postcard::to_stdvec(&self.others).unwrap_or_default() }
    }

    fn restore_beside(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let others: HashMap<Id, Vec<Seen>> = postcard::from_bytes(bytes).map_err(|error| {
            Fault(format!("what is kept beside message ids does not read as it was written: {error}"))
        })?;
        self.others.extend(others);
        Ok(())
    }
}

impl<M: Message> Once<M> {
    /// Forgets what was seen too long before `now`.
    fn forget(&mut self, now: Tick, key: Id, seen: &mut Seen) {
        if !seen.is_remembered(now) {
            *seen = Seen::default();
        }
        if let Some(others) = self.others.get_mut(&key) {
            others.retain(|seen| seen.is_remembered(now));
            if others.is_empty() {
                self.others.remove(&key);
            }
        }
    }

    /// Emits a message, unless its id is remembered.
    fn take(&mut self, now: Tick, key: Id, seen: &mut Seen, message: M, emit: &mut dyn FnMut(M, Diff)) {
        let new = Seen { high: message.id().high, at: now };
        let mut others = self.others.get(&key).into_iter().flatten();
        if (seen.at != 0 && seen.high == new.high) || others.any(|seen| seen.high == new.high) {
            self.counts.duplicate(M::STREAM);
            return;
        }
        if seen.at == 0 {
            *seen = new;
        } else {
            self.others.entry(key).or_default().push(new);
        }
        emit(message, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EngagementKind;

    /// An event of the key 1, by the other half of its id.
    fn event(high: u64) -> EngagementRecord {
        EngagementRecord {
            event: MessageId { low: 1, high },
            user: Id(7),
            position: Position::new(Stream::Engagement, 0, high),
            kind: EngagementKind::Opened,
            choice: None,
            decision: 0,
            machine: false,
        }
    }

    #[test]
    fn ids_that_share_half_a_hash_are_remembered_apart_and_each_for_a_day() {
        let counts = Arc::new(Counts::default());
        let mut once = Once { counts: counts.clone(), others: HashMap::default(), message: PhantomData };
        let mut state = Seen::default();
        let visit = |once: &mut Once<EngagementRecord>, state: &mut Seen, now: Tick, highs: &[u64]| {
            let mut emitted = Vec::new();
            let mut changes = highs.iter().map(|high| (event(*high), 1));
            let next = once.visit(now, Id(1), state, &mut changes, &mut |event, _| emitted.push(event.event.high));
            (emitted, next, once.others.len())
        };
        let (once, state, day) = (&mut once, &mut state, WINDOW_MS);
        assert_eq!(visit(once, state, 1000, &[5]), (vec![5], Next::Keep, 0));
        assert_eq!(visit(once, state, 2000, &[6, 5, 4, 6]), (vec![4, 6], Next::Keep, 1));
        assert_eq!(visit(once, state, 999 + day, &[5]), (vec![], Next::Keep, 1));
        assert_eq!(visit(once, state, 1000 + day, &[5, 6]), (vec![5], Next::Keep, 1));
        assert!(!once.is_over(2000 + day, Id(1), state) && once.others.is_empty());
        assert!(!once.is_over(999 + 2 * day, Id(1), state) && once.is_over(1000 + 2 * day, Id(1), state));
        assert_eq!(visit(once, state, 1000 + 2 * day, &[5]), (vec![5], Next::Keep, 0));
        assert_eq!(counts.duplicate_records(Stream::Engagement), 4);
    }
}
