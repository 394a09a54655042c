//! State by key, one tick at a time: the one stateful operator of the house. In: a collection of `(key, change)`. Out: a
//! collection of whatever the key's logic concludes. Cannot fail.
//!
//! Differential's own operators keep every update arranged by key and time. For the records of the hot path that costs more
//! than the rule itself, so here a key's state is a plain value in a hash map. What makes that sound: the operator
//! waits until the input frontier has passed a tick, then visits the ticks in order, and within a tick the keys that changed
//! or asked to be woken. What the logic emits are differences, stamped with that tick, so everything downstream is an
//! ordinary differential collection.
//!
//! A deadline is a wake-up that the logic asks for. One that is superseded costs nothing: a key has at most one wake-up in
//! force, an early one is kept, finds nothing to do, and asks again. There is no scan of pending deadlines, but for rules whose deadlines
//! all lie at few ticks: their keys are looked through at those. Where nobody would notice when a key is dropped, no wake-up is asked for:
//! keys are looked through now and then.

use std::collections::BTreeMap;

use differential_dataflow::{AsCollection, ExchangeData, VecCollection};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::PartialOrder;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::operator::Operator;

use crate::by_tick::ByTick;
use crate::keyed::{Ahead, Keyed, Turns};
use crate::model::{Diff, Id, Tick};
use crate::pieces::Pieces;
use crate::snapshot::{Fault, Section, Snapshots};

/// What becomes of a key's state after it was visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It equals its default: drop it.
    Forget,
    /// Keep it, and wake the key at this tick even if nothing changes.
    WakeAt(Tick),
    /// Keep it until something changes.
    Keep,
}

impl Next {
    /// Keep it, and wake the key at `tick`; at [`Tick::MAX`] never.
    pub fn wake_at(tick: Tick) -> Next {
        if tick == Tick::MAX { Next::Keep } else { Next::WakeAt(tick) }
    }
}

/// What a key's slot has room for of its wake-up.
pub trait Wake: Copy + Default + Serialize + DeserializeOwned + 'static {
    /// The tick of the one in force; [`ASLEEP`] for none.
    fn tick(self) -> Tick;

    /// This is the one in force now.
    fn set(&mut self, tick: Tick);
}

/// None is in force.
pub const ASLEEP: Tick = 0;

impl Wake for Tick {
    fn tick(self) -> Tick {
        self
    }

    fn set(&mut self, tick: Tick) {
        *self = tick;
    }
}

/// The rule never asks for any.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Never;

impl Wake for Never {
    fn tick(self) -> Tick {
        ASLEEP
    }

    fn set(&mut self, tick: Tick) {
        debug_assert!(tick == ASLEEP, "a rule without wake-ups asked for one");
    }
}

/// The rule that a key follows.
pub trait PerKey: 'static {
    /// A change of the key.
    type In: ExchangeData;
    /// What is kept of a key.
    type State: Default + Serialize + DeserializeOwned + 'static;
    /// What is concluded about it.
    type Out: Clone + 'static;
    /// [`Tick`] where keys are woken, else [`Never`].
    type Wake: Wake;

    /// Whether all keys are woken at few ticks, such as the multiples of a grain. Which key is at which is then not noted, but seen when such a
    /// tick comes.
    const WAKES_AT_FEW_TICKS: bool = false;

    /// How long after its last visit a key matters at most, ms, where it is dropped when it [`PerKey::is_over`].
    const LASTS_MS: u64 = u64::MAX;

    /// Visits `key` at the tick `now`, with the changes that take effect at it: retractions first, otherwise in no particular
    /// order; none when the key was woken. Whatever is emitted is a difference at `now`.
    fn visit(
        &mut self,
        now: Tick,
        key: Id,
        state: &mut Self::State,
        changes: &mut dyn Iterator<Item = (Self::In, Diff)>,
        emit: &mut dyn FnMut(Self::Out, Diff),
    ) -> Next;

    /// Whether `key` does not matter any more at `now`, and no visit to come would tell it from one that is not known. Asked now and then.
    fn is_over(&mut self, _now: Tick, _key: Id, _state: &mut Self::State) -> bool {
        false
    }

    /// Says once more all that was emitted of `key` and not retracted, when it is kept since an earlier snapshot. Only for those
    /// who do not themselves keep what they were told: who reads this by key alone needs nothing.
    fn restate(&self, _key: Id, _state: &Self::State, _emit: &mut dyn FnMut(Self::Out)) {}

    /// What is kept beside the keys' states, for a snapshot; little.
    fn beside(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes up what [`PerKey::beside`] gave.
    fn restore_beside(&mut self, _bytes: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Runs `logic` for each key of `changes`. The name is shown in timely's logs, and is that of its section in `snapshots`.
pub fn per_key<'scope, L: PerKey>(
    changes: VecCollection<'scope, Tick, (Id, L::In), Diff>,
    name: &str,
    mut logic: L,
    snapshots: &Snapshots,
) -> VecCollection<'scope, Tick, L::Out, Diff> {
    let spread = Exchange::new(|((key, _), _, _): &((Id, L::In), Tick, Diff)| key.0);
    let scope = changes.inner.scope();
    let snapshots = snapshots.clone();
    changes
        .inner
        .unary_frontier::<CapacityContainerBuilder<Vec<(L::Out, Tick, Diff)>>, _, _, _>(
            spread,
            name,
            |capability, operator| {
                let again = scope.activator_for(operator.address);
                let mut capability = Some(capability);
                let mut pending = ByTick::<(Id, L::In)>::default();
                let mut keys = Keys::<L>::of(&mut logic, name, &snapshots);
                let mut restated = snapshots.earlier();
                move |(input, frontier), output| {
                    input.for_each(|_, updates| pending.add(snapshots.new_in(updates)));
                    let closed = frontier.frontier();
                    let upper = closed.first().copied();
                    let Some(held) = capability.as_mut() else { return };
                    if let Some(tick) = restated.take() {
                        held.downgrade(&tick);
                        let mut session = output.session(&*held);
                        keys.restate(&logic, |out| session.give((out, tick, 1)));
                    }
                    if upper.is_none_or(|upper| held.time().less_than(&upper)) {
                        let mut session = output.session(&*held);
                        let mut emit = |out, tick, diff| session.give((out, tick, diff));
                        if let Some(tick) = keys.slots.due(upper) {
                            keys.advance(&mut logic, &mut pending, Some(tick + 1), &mut emit);
                            keys.begin(&logic, tick);
                        }
                        keys.advance(&mut logic, &mut pending, upper, &mut emit);
                        drop(session);
                        match upper {
                            Some(upper) => held.downgrade(&upper),
                            None => capability = None,
                        }
                    }
                    if keys.slots.write_some() {
                        again.activate();
                    }
                }
            },
        )
        .as_collection()
}

/// A key's state and the wake-up in force for it.
#[derive(Default, Serialize, Deserialize)]
struct Slot<State, Wake> {
    state: State,
    wake: Wake,
}

/// So many wake-ups of a tick lie in a piece: of one at which things are forgotten there are those of many customers.
const WAKES: usize = 128;

type Wakes = BTreeMap<Tick, Pieces<Id, WAKES>>;

/// Notes that `key` is to be woken at `tick`.
fn note<L: PerKey>(wakes: &mut Wakes, tick: Tick, key: Id) {
    let woken = wakes.entry(tick).or_default();
    if !L::WAKES_AT_FEW_TICKS {
        woken.push(key);
    }
}

/// All keys of this worker.
struct Keys<L: PerKey> {
    slots: Keyed<Slot<L::State, L::Wake>>,
    wakes: Wakes,
    turns: Turns,
    /// Where what is kept beside them is written.
    beside: Section,
}

impl<L: PerKey> Keys<L> {
    /// Those of the earlier snapshot, if there is one.
    fn of(logic: &mut L, name: &str, snapshots: &Snapshots) -> Keys<L> {
        let mut wakes = Wakes::new();
        let slots = Keyed::in_section(snapshots.section(name), |slots, key, slot: Slot<_, L::Wake>| {
            if snapshots.owns(key.0) {
                if slot.wake.tick() != ASLEEP {
                    note::<L>(&mut wakes, slot.wake.tick(), key);
                }
                slots.insert(key, slot);
            }
        });
        let beside = snapshots.section(&format!("{name}, beside"));
        let mut fault = None;
        beside.read(|bytes: Vec<u8>| fault = logic.restore_beside(&bytes).err());
        snapshots.fail(fault);
        Keys { slots, wakes, turns: Turns::within(L::LASTS_MS), beside }
    }

    /// Says all that is out once more.
    fn restate(&self, logic: &L, mut emit: impl FnMut(L::Out)) {
        self.slots.iter().for_each(|(key, slot)| logic.restate(key, &slot.state, &mut emit));
    }

    /// Begins the snapshot of `tick`, up to which all ticks have been visited and no later one.
    fn begin(&mut self, logic: &L, tick: Tick) {
        self.slots.begin(tick);
        self.beside.begin(tick);
        let beside = logic.beside();
        if !beside.is_empty() {
            self.beside.write(&beside);
        }
        self.beside.end();
    }

    /// Visits the ticks before `upper` in order, and in each the changed keys, then those woken.
    fn advance(
        &mut self,
        logic: &mut L,
        pending: &mut ByTick<(Id, L::In)>,
        upper: Option<Tick>,
        emit: &mut impl FnMut(L::Out, Tick, Diff),
    ) {
        loop {
            let changed = pending.first();
            let woken = self.wakes.first_key_value().map(|(tick, _)| *tick);
            let Some(now) = changed.into_iter().chain(woken).min() else { return };
            if upper.is_some_and(|upper| now >= upper) {
                return;
            }
            if changed == Some(now) {
                let mut heap = pending.take(now);
                self.change(logic, now, &mut heap, emit);
                pending.give_back(heap);
            }
            if let Some(mut woken) = self.wakes.remove(&now) {
                if L::WAKES_AT_FEW_TICKS {
                    let due = self.slots.iter().filter(|(_, slot)| slot.wake.tick() == now);
                    due.for_each(|(key, _)| woken.push(key));
                }
                woken.take().for_each(|woken| self.wake(logic, now, woken, emit));
            }
            self.slots.look_through(&mut self.turns, now, |key, slot| !logic.is_over(now, key, &mut slot.state));
        }
    }

    /// Visits those of the `woken` whose wake-up is still in force: a key that was visited at this tick, or has put it off, has another one.
    fn wake(&mut self, logic: &mut L, now: Tick, woken: Vec<Id>, emit: &mut impl FnMut(L::Out, Tick, Diff)) {
        let (mut woken, mut ahead) = (woken.into_iter(), Ahead::default());
        loop {
            ahead.look(&self.slots, woken.as_slice(), |key| *key);
            let Some(key) = woken.next() else { return };
            if self.slots.get(key).is_some_and(|slot| slot.wake.tick() == now) {
                self.visit(logic, now, key, &mut std::iter::empty(), &mut |out, diff| emit(out, now, diff));
            }
        }
    }

    /// Visits the keys that change at `now`, each with its changes, retractions first.
    fn change(
        &mut self,
        logic: &mut L,
        now: Tick,
        changes: &mut Vec<((Id, L::In), Diff)>,
        emit: &mut impl FnMut(L::Out, Tick, Diff),
    ) {
        changes.sort_unstable_by_key(|((key, _), diff)| (*key, *diff));
        let (mut changes, mut ahead) = (changes.drain(..), Ahead::default());
        while let [((key, _), _), ..] = changes.as_slice() {
            let key = *key;
            ahead.look(&self.slots, changes.as_slice(), |((key, _), _)| *key);
            let mut own = std::iter::from_fn(|| {
                let is_own = matches!(changes.as_slice(), [((next, _), _), ..] if *next == key);
                let next = if is_own { changes.next() } else { None };
                next.map(|((_, change), diff)| (change, diff))
            });
            self.visit(logic, now, key, &mut own, &mut |out, diff| emit(out, now, diff));
            own.for_each(drop);
        }
    }

    fn visit(
        &mut self,
        logic: &mut L,
        now: Tick,
        key: Id,
        changes: &mut dyn Iterator<Item = (L::In, Diff)>,
        emit: &mut dyn FnMut(L::Out, Diff),
    ) {
        let Keys { slots, wakes, .. } = self;
        slots.change(key, |slot| {
            match logic.visit(now, key, &mut slot.state, changes, emit) {
                Next::Forget => return false,
                Next::Keep => {
                    if slot.wake.tick() <= now {
                        slot.wake.set(ASLEEP);
                    }
                }
                Next::WakeAt(wake) => {
                    debug_assert!(wake > now, "a wake-up lies in the future");
                    if slot.wake.tick() <= now || wake < slot.wake.tick() {
                        slot.wake.set(wake);
                        note::<L>(wakes, wake, key);
                    }
                }
            }
            true
        });
    }
}
