//! Values by key, in shards that grow one by one, so that no change ever waits for all of them. In: keys and values. Out: the same. Cannot
//! fail.

use crate::dense::Dense;
use crate::model::Id;

/// How many.
pub(crate) const SHARDS: usize = 256;

/// Values by key.
pub struct Sharded<V> {
    shards: Box<[Dense<V>]>,
    len: usize,
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Sharded { shards: (0..SHARDS).map(|_| Dense::default()).collect(), len: 0 }
    }
}

impl<V> Sharded<V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.shards.iter().flat_map(Dense::iter)
    }

    /// The keys of a shard; none after the last.
    pub(crate) fn of_shard(&self, shard: usize) -> Option<impl Iterator<Item = (Id, &V)>> {
        self.shards.get(shard).map(Dense::iter)
    }

    /// What is kept of a key.
    pub fn get(&self, key: Id) -> Option<&V> {
        self.shards[key.shard(SHARDS)].get(key)
    }

    /// What is kept of a key, to be changed.
    pub fn get_mut(&mut self, key: Id) -> Option<&mut V> {
        self.shards[key.shard(SHARDS)].get_mut(key)
    }

    /// What is kept of a key, to be changed; its default when nothing is.
    pub fn get_or_default(&mut self, key: Id) -> &mut V
    where
        V: Default,
    {
        let Sharded { shards, len } = self;
        shards[key.shard(SHARDS)].get_or_insert_with(key, || {
            *len += 1;
            V::default()
        })
    }

    /// Keeps a value in the place of what was kept of the key.
    pub fn insert(&mut self, key: Id, value: V) -> Option<V> {
        let before = self.shards[key.shard(SHARDS)].insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Keeps nothing of a key any more.
    pub fn remove(&mut self, key: Id) -> Option<V> {
        let before = self.shards[key.shard(SHARDS)].remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// Changes what is kept of a key, its default when nothing is, and goes on keeping it if `change` says so. A key that comes and
    /// goes at once never gets a place.
    pub fn change(&mut self, key: Id, change: impl FnOnce(&mut V) -> bool)
    where
        V: Default,
    {
        self.of(key.shard(SHARDS), |shard| shard.change(key, change));
    }

    /// Keeps, of a shard, those of which `keep` says so.
    pub(crate) fn retain(&mut self, shard: usize, keep: impl FnMut(Id, &mut V) -> bool) {
        self.of(shard, |shard| shard.retain(keep));
    }

    fn of(&mut self, shard: usize, change: impl FnOnce(&mut Dense<V>)) {
        let shard = &mut self.shards[shard];
        let before = shard.len();
        change(shard);
        self.len = self.len - before + shard.len();
    }
}
