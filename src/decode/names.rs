//! One thread's view of the dictionary. In: a member's value. Out: the id of the name it holds. A small cache of the names seen
//! last, by id, spares the shared locks for most of them.

use std::sync::Arc;

use beckon_dataflows::model::{Id, MessageId, Namespace};
use xxhash_rust::xxh3::xxh3_128;

use super::dictionary::Pin;
use super::json::Value;
use super::value::required;
use super::{Bad, Dictionary};

/// Names cached: 64 KiB, so that they stay in a core's own cache.
const CACHED: usize = 4096;

/// A dictionary, and the names seen last.
pub(super) struct Names {
    dictionary: Arc<Dictionary>,
    /// Ids that the dictionary is known to hold with these check bits, each at the place its low bits say.
    cached: Box<[(Id, u32)]>,
    /// The generation in which it does.
    generation: u32,
    /// Whether the names of the record being read are kept for good.
    for_good: bool,
}

impl Names {
    pub(super) fn new(dictionary: Arc<Dictionary>) -> Self {
        let cached = vec![(Id::NONE, 0); CACHED].into_boxed_slice();
        Names { generation: dictionary.current(), dictionary, cached, for_good: false }
    }

    /// Holds back the dropping of the names that are read from here on.
    pub(super) fn pin(&self) -> Pin {
        self.dictionary.pin()
    }

    /// Keeps the names that are read from here on for good, if that `is` so.
    pub(super) fn keep_for_good(&mut self, is: bool) {
        self.for_good = is;
    }

    /// The same for a record that comes so long before its matter, ms, that its names would be dropped before that.
    pub(super) fn keep_if_far_ahead(&mut self, ahead_ms: u64) {
        self.for_good = self.dictionary.is_far_ahead(ahead_ms);
    }

    /// The id of the name in `value`; `None` when it has none or the empty one.
    #[inline]
    pub(super) fn id(
        &mut self,
        namespace: Namespace,
        value: &Value<'_>,
        field: &'static str,
    ) -> Result<Option<Id>, Bad> {
        match value.name(field)? {
            Some(text) => self.intern(namespace, &text).map(Some),
            None => Ok(None),
        }
    }

    /// The id of the name in `value`, without which the record says nothing.
    pub(super) fn key(&mut self, namespace: Namespace, value: &Value<'_>, field: &'static str) -> Result<Id, Bad> {
        required(self.id(namespace, value, field)?, field)
    }

    /// The owner of a record that names a user, or else an anonymous visitor. Both must be strings if they are there.
    pub(super) fn owner(
        &mut self,
        (user, user_field): (&Value<'_>, &'static str),
        (anonymous, anonymous_field): (&Value<'_>, &'static str),
        either: &'static str,
    ) -> Result<Id, Bad> {
        let visitor = anonymous.name(anonymous_field)?;
        match (self.id(Namespace::User, user, user_field)?, visitor) {
            (Some(user), _) => Ok(user),
            (None, Some(visitor)) => self.intern(Namespace::Anonymous, &visitor),
            (None, None) => Err(Bad::Missing { field: either }),
        }
    }

    /// The id of a name that is not empty.
    #[inline]
    pub(super) fn intern(&mut self, namespace: Namespace, text: &str) -> Result<Id, Bad> {
        let (id, check) = Id::of(namespace, text);
        if self.for_good {
            return Ok(self.dictionary.intern_for_good(namespace, text, id, check)?);
        }
        let generation = self.dictionary.current();
        if self.generation != generation {
            self.cached.fill((Id::NONE, 0));
            self.generation = generation;
        }
        let place = id.0 as usize % CACHED;
        if self.cached[place] != (id, check) || id.is_none() {
            self.dictionary.intern_hashed(namespace, text, id, check)?;
            self.cached[place] = (id, check);
        }
        Ok(id)
    }
}

/// The `messageId` or `event_id` in `value`, hashed; [`MessageId::NONE`] when there is none, and only then.
#[inline]
pub(super) fn message_id(value: &Value<'_>, field: &'static str) -> Result<MessageId, Bad> {
    Ok(value.name(field)?.map_or(MessageId::NONE, |text| {
        let hash = xxh3_128(text.as_bytes());
        match (MessageId { low: hash as u64, high: (hash >> 64) as u64 }) {
            MessageId::NONE => MessageId { low: 1, high: 0 },
            id => id,
        }
    }))
}
