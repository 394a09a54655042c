//! What was taken already. In: the mark of a request that its ESP has signed, and until when it would be taken. Out: whether it may be
//! taken. Fails for one that was, or that is being taken.
//!
//! Only so many marks are kept, the newest; and a process that is started again has none. What comes again then has the event ids that
//! it had before, and counts once: this here saves the broker the work, and hides nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest;

use super::Refusal;

/// The most marks, of some 100 bytes each.
const MARKS_MAX: usize = 100_000;

/// The mark of a request: a hash of what its ESP has signed, which nobody else can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark([u8; 32]);

impl Mark {
    /// That of a request of `esp` that has these parts.
    pub fn of(esp: &str, parts: &[&[u8]]) -> Mark {
        let mut hashing = digest::Context::new(&digest::SHA256);
        for part in [esp.as_bytes()].iter().chain(parts) {
            hashing.update(&(part.len() as u64).to_be_bytes());
            hashing.update(part);
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(hashing.finish().as_ref());
        Mark(mark)
    }
}

/// The marks of what was taken, or is being taken.
#[derive(Default)]
pub struct Replays(Mutex<Marks>);

#[derive(Default)]
struct Marks {
    /// Until when each would be taken, epoch ms.
    until_ms: HashMap<Mark, u64>,
    /// In the order in which they came.
    order: VecDeque<Mark>,
}

impl Replays {
    /// Takes the mark down. What is not kept may come again.
    pub(super) fn admit(&self, mark: Mark, until_ms: u64, now_ms: u64) -> Result<Admitted<'_>, Refusal> {
        let mut marks = self.marks();
        if marks.until_ms.get(&mark).is_some_and(|until_ms| *until_ms >= now_ms) {
            return Err(Refusal::Replayed);
        }
        if marks.until_ms.insert(mark, until_ms).is_none() {
            marks.order.push_back(mark);
        }
        while let Some(oldest) = marks.order.front().copied() {
            let is_over = marks.until_ms.get(&oldest).is_none_or(|until_ms| *until_ms < now_ms);
            if !is_over && marks.order.len() <= MARKS_MAX {
                break;
            }
            marks.order.pop_front();
            marks.until_ms.remove(&oldest);
        }
        Ok(Admitted { replays: self, mark, is_kept: false })
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being taken.
pub(super) struct Admitted<'a> {
    replays: &'a Replays,
    mark: Mark,
    is_kept: bool,
}

impl Admitted<'_> {
    /// It was taken.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // Its place in the order stays, and is passed over.
            self.replays.marks().until_ms.remove(&self.mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: usize) -> Mark {
        Mark::of("test", &[&number.to_be_bytes()])
    }

    #[test]
    fn what_was_taken_is_refused_until_it_is_old_and_what_was_not_may_come_again() {
        let replays = Replays::default();
        let first = replays.admit(mark(1), 100, 10).unwrap();
        assert_eq!(replays.admit(mark(1), 100, 10).err(), Some(Refusal::Replayed));
        drop(first);
        replays.admit(mark(1), 100, 11).unwrap().keep();
        assert_eq!(replays.admit(mark(1), 100, 100).err(), Some(Refusal::Replayed));
        replays.admit(mark(1), 300, 101).unwrap().keep();
        assert_eq!(replays.admit(mark(1), 300, 102).err(), Some(Refusal::Replayed));
        assert_ne!(Mark::of("a", &[b"bc"]), Mark::of("ab", &[b"c"]));
    }

    #[test]
    fn only_so_many_are_kept_and_those_are_the_newest() {
        let replays = Replays::default();
        for number in 0..MARKS_MAX + 1_000 {
            replays.admit(mark(number), 100, 0).unwrap().keep();
        }
        assert_eq!(replays.marks().order.len(), MARKS_MAX);
        assert_eq!(replays.marks().until_ms.len(), MARKS_MAX);
        assert_eq!(replays.admit(mark(MARKS_MAX), 100, 0).err(), Some(Refusal::Replayed));
        // Those that are too old are let go.
        replays.admit(mark(0), 500, 101).unwrap().keep();
        assert_eq!(replays.marks().until_ms.len(), 1);
    }
}
