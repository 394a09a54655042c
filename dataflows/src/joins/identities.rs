//! Who is who (SPEC §3, "Owner of a record"), as of a tick. In: links of visitors to users, and aliases of users, in the order
//! they take effect. Out: the owner of a record, and whom a new link or alias concerns. Cannot fail.

use hashbrown::{HashMap, HashSet};

use crate::model::{Id, Tick};

/// All links and aliases so far.
#[derive(Default)]
pub struct Identities {
    /// For each visitor the users they were linked to, each from its tick on, in order.
    links: HashMap<Id, Vec<(Tick, Id)>>,
    /// For each user the one whom they were last made an alias of.
    aliases: HashMap<Id, Id>,
    /// The other way round: for each user the visitors linked to them, and the users made an alias of them.
    into: HashMap<Id, Vec<Id>>,
}

impl Identities {
    /// Whether nobody was ever linked to anybody.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.aliases.is_empty()
    }

    /// The owner of a record of `time` that carries `raw`: the user id if it has one, else the anonymous one.
    pub fn owner(&self, raw: Id, time: Tick) -> Id {
        match self.links.get(&raw) {
            None => self.follow(raw),
            Some(links) => {
                let latest_before = links.iter().rfind(|(linked, _)| *linked <= time);
                latest_before.or(links.first()).map_or(raw, |(_, user)| self.follow(*user))
            }
        }
    }

    /// Follows aliases to their end; a circle ends where it would begin again.
    pub fn follow(&self, user: Id) -> Id {
        let Some(next) = self.aliases.get(&user) else { return user };
        let (mut visited, mut next) = (vec![user], Some(next));
        while let Some(user) = next.filter(|user| !visited.contains(user)) {
            visited.push(*user);
            next = self.aliases.get(user);
        }
        visited[visited.len() - 1]
    }

    /// The user whom `user` was last made an alias of, or themselves.
    pub fn next(&self, user: Id) -> Id {
        self.aliases.get(&user).copied().unwrap_or(user)
    }

    /// How many links make whose a record of `time` is that carries `raw`: those at or before it, or the first one, known or not.
    pub fn link_before(&self, raw: Id, time: Tick) -> usize {
        self.links.get(&raw).map_or(1, |links| links.partition_point(|(linked, _)| *linked <= time).max(1))
    }

    /// Links a visitor to a user from `now` on. Whose records may change owner by it is added to `concerned`.
    pub fn link(&mut self, visitor: Id, user: Id, now: Tick, concerned: &mut HashSet<Id>) {
        if self.links.get(&visitor).and_then(|links| links.last()).is_some_and(|(_, last)| *last == user) {
            return;
        }
        self.add_owners(visitor, concerned);
        self.links.entry(visitor).or_default().push((now, user));
        let into = self.into.entry(user).or_default();
        if !into.contains(&visitor) {
            into.push(visitor);
        }
        self.add_owners(visitor, concerned);
    }

    /// Makes `from` an alias of `to`, whatever it was one of before; false if it was just that. Whose records may change owner by
    /// it, and who may come to own them, is added to `concerned`.
    pub fn alias(&mut self, from: Id, to: Id, concerned: &mut HashSet<Id>) -> bool {
        if self.aliases.get(&from) == Some(&to) {
            return false;
        }
        let moved = self.all_of([from]);
        moved.iter().for_each(|raw| self.add_owners(*raw, concerned));
        if let Some(before) = self.aliases.insert(from, to) {
            self.into.entry(before).or_default().retain(|other| *other != from);
        }
        self.into.entry(to).or_default().push(from);
        moved.iter().for_each(|raw| self.add_owners(*raw, concerned));
        true
    }

    /// Those whose records `owners` may own: themselves, and all who lead to them.
    pub fn all_of(&self, owners: impl IntoIterator<Item = Id>) -> HashSet<Id> {
        let mut all = HashSet::new();
        let mut next: Vec<Id> = owners.into_iter().collect();
        while let Some(id) = next.pop() {
            if all.insert(id) {
                next.extend(self.into.get(&id).into_iter().flatten());
            }
        }
        all
    }

    /// Adds all who own a record that carries `raw`, whatever its time.
    fn add_owners(&self, raw: Id, owners: &mut HashSet<Id>) {
        match self.links.get(&raw) {
            None => drop(owners.insert(self.follow(raw))),
            Some(links) => owners.extend(links.iter().map(|(_, user)| self.follow(*user))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_device_gives_each_their_own() {
        let mut identities = Identities::default();
        let (visitor, one, other) = (Id(1), Id(2), Id(3));
        assert_eq!(identities.owner(visitor, 5), visitor);
        identities.link(visitor, one, 10, &mut HashSet::new());
        let mut concerned = HashSet::new();
        identities.link(visitor, one, 15, &mut concerned);
        assert!(concerned.is_empty());
        identities.link(visitor, other, 20, &mut concerned);
        assert_eq!(concerned, HashSet::from([one, other]));
        assert_eq!([5, 10, 19, 20].map(|time| identities.owner(visitor, time)), [one, one, one, other]);
    }

    #[test]
    fn chains_are_followed_and_a_circle_ends_before_its_beginning() {
        let mut identities = Identities::default();
        identities.alias(Id(1), Id(2), &mut HashSet::new());
        identities.alias(Id(2), Id(3), &mut HashSet::new());
        assert_eq!([1, 2, 3].map(|user| identities.follow(Id(user))), [Id(3); 3]);
        assert_eq!(identities.all_of([Id(3)]), HashSet::from([Id(1), Id(2), Id(3)]));
        identities.alias(Id(3), Id(1), &mut HashSet::new());
        assert_eq!([1, 2, 3].map(|user| identities.follow(Id(user))), [Id(3), Id(1), Id(2)]);
        identities.alias(Id(2), Id(4), &mut HashSet::new());
        assert_eq!([1, 2, 3].map(|user| identities.follow(Id(user))), [Id(4); 3]);
    }
}
