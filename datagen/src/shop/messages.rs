//! Segment messages as the shop says them: numbered, and with who and when filled in. Cannot fail.

use crate::shop::carts::Owner;
use crate::shop::outbox::Outbox;
use crate::wire::{Message, Properties, Time};

/// A message about `of` at `time_ms` that says nothing yet, and gets its id from [`Numbers::say`].
pub(super) fn message<'a>(kind: &'static str, of: Owner<'a>, time_ms: i64) -> Message<'a> {
    Message {
        kind,
        event: None,
        message_id: "",
        user_id: of.user_id,
        anonymous_id: of.anonymous_id,
        previous_id: None,
        timestamp: Time(time_ms),
        properties: None,
        traits: None,
    }
}

/// A track message.
pub(super) fn track<'a>(event: &'static str, properties: Properties<'a>, of: Owner<'a>, time_ms: i64) -> Message<'a> {
    Message { event: Some(event), properties: Some(properties), ..message("track", of, time_ms) }
}

/// Counters from which ids are made.
#[derive(Debug)]
pub(super) struct Numbers {
    seed: u64,
    message: u64,
    /// The last cart's.
    pub cart: u64,
    /// The last order's.
    pub order: u64,
    /// The last anonymous visitor's.
    pub visitor: u64,
    engagement: u64,
}

impl Numbers {
    /// Counters whose next numbers are `from`.
    pub fn new(seed: u64, from: u64) -> Numbers {
        let before = from.saturating_sub(1);
        Numbers { seed, message: before, cart: before, order: before, visitor: before, engagement: before }
    }

    /// Gives a message its id and says it.
    pub fn say(&mut self, message: Message, outbox: &mut Outbox) {
        let id = self.message_id();
        let message_id = std::str::from_utf8(&id).expect("hex digits are ASCII");
        outbox.say(Message { message_id, ..message }.event());
    }

    /// A new message id: 32 hex digits that look random, and differ for every number.
    fn message_id(&mut self) -> [u8; 32] {
        self.message += 1;
        let (high, low) = (mix64(self.message), mix64(self.message ^ self.seed.rotate_left(32)));
        let mut hex = [0u8; 32];
        for (nibble, digit) in hex.iter_mut().enumerate() {
            let word = if nibble < 16 { high } else { low };
            *digit = b"0123456789abcdef"[(word >> (4 * (15 - nibble % 16)) & 0xf) as usize];
        }
        hex
    }

    /// A new engagement record's id.
    pub fn engagement_id(&mut self) -> String {
        self.engagement += 1;
        format!("e{}", self.engagement)
    }
}

/// The finaliser of SplitMix64: a bijection, so that different numbers stay different.
fn mix64(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn message_ids_differ() {
        let mut numbers = Numbers::new(7, 1);
        let ids: HashSet<_> = (0..10_000).map(|_| numbers.message_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
