//! Who is who (SPEC §3, "Owner of a record"), as of a tick. In: links of visitors to users, and aliases of users, in the order
//! they take effect. Out: the owner of a record, and whom a new link or alias concerns. Cannot fail.
//!
//! Links that have not been said for the horizon hold no longer for what comes after: the visitor is then nobody's, and who is
//! linked next gets nothing from before. So long after that again, when what they moved is forgotten too, so are they.

use std::collections::BTreeMap;

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::horizon::Horizon;
use crate::keyed::Keyed;
use crate::model::{Id, Tick};
use crate::sharded::Sharded;
use crate::snapshot::Snapshots;

/// All links and aliases that are known.
#[derive(Default)]
pub struct Identities {
    /// When links lapse; none: never.
    horizon: Option<Horizon>,
    /// For each visitor the users they were linked to.
    links: Keyed<Links>,
    /// The visitors some of whose links may lapse at a tick; at most one entry for each.
    lapses: BTreeMap<Tick, Vec<Id>>,
    /// For each user the one whom they were last made an alias of.
    aliases: Keyed<Id>,
    /// The other way round: for each user the visitors linked to them, and the users made an alias of them.
    into: Sharded<SmallVec<[Id; 2]>>,
}

/// A visitor's links.
#[derive(Default, Serialize, Deserialize)]
struct Links {
    /// The users, each from its tick on, in order; most visitors have one. [`Id::NONE`] stands where those before lapsed: between it and
    /// the next, the visitor's records are that next one's.
    users: SmallVec<[(Tick, Id); 1]>,
    /// When they lapse.
    until: Tick,
}

impl Identities {
    /// Nobody is linked to anybody yet.
    pub fn new(horizon: Horizon) -> Identities {
        Identities { horizon: Some(horizon), ..Identities::default() }
    }

    /// Those that an earlier snapshot has, which are written down in the next.
    pub(crate) fn kept_in(snapshots: &Snapshots, horizon: Horizon) -> Identities {
        let mut identities = Identities::new(horizon);
        identities.links = Keyed::in_section(snapshots.common_section("Links"), |links, visitor, of| {
            links.insert(visitor, of);
        });
        identities.aliases = Keyed::in_section(snapshots.common_section("Aliases"), |aliases, from, to| {
            aliases.insert(from, to);
        });
        for (visitor, links) in identities.links.iter() {
            let users: HashSet<Id> = links.users.iter().map(|(_, user)| *user).filter(|user| !user.is_none()).collect();
            users.into_iter().for_each(|user| identities.into.get_or_default(user).push(visitor));
            let lapse = identities.lapse_at(links);
            if lapse < Tick::MAX {
                identities.lapses.entry(lapse).or_default().push(visitor);
            }
        }
        for (from, to) in identities.aliases.iter() {
            identities.into.get_or_default(*to).push(from);
        }
        identities
    }

    /// Writes the snapshot of `tick` from now on.
    pub(crate) fn begin(&mut self, tick: Tick) {
        self.links.begin(tick);
        self.aliases.begin(tick);
    }

    /// Writes some more of a snapshot. Whether there is still more.
    pub(crate) fn write_some(&mut self) -> bool {
        // Both, not only the first.
        self.links.write_some() | self.aliases.write_some()
    }

    /// All aliases, each with whom they are one of.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (Id, Id)> {
        self.aliases.iter().map(|(from, to)| (from, *to))
    }

    /// Whether nobody was ever linked to anybody.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.aliases.is_empty()
    }

    /// The owner of a record of `time` that carries `raw`: the user id if it has one, else the anonymous one. `ahead`: the time was
    /// still to come when the record took effect; then links are not held to have lapsed by it.
    pub fn owner(&self, raw: Id, time: Tick, ahead: bool) -> Id {
        self.follow(self.linked(raw, time, ahead))
    }

    /// Whom the visitor `raw` was linked to, for a record of `time`; `raw` itself when to nobody, or when it is a user.
    pub fn linked(&self, raw: Id, time: Tick, ahead: bool) -> Id {
        let Some(links) = self.links.get(raw).filter(|links| ahead || time < links.until) else { return raw };
        let next = links.users.partition_point(|(linked, _)| *linked <= time);
        let latest_before = next.checked_sub(1).map(|before| links.users[before].1).filter(|user| !user.is_none());
        latest_before.or_else(|| links.users.get(next).map(|(_, user)| *user)).unwrap_or(raw)
    }

    /// Follows aliases to their end; a circle ends where it would begin again.
    pub fn follow(&self, user: Id) -> Id {
        let Some(next) = self.aliases.get(user) else { return user };
        let (mut visited, mut next) = (vec![user], Some(next));
        while let Some(user) = next.filter(|user| !visited.contains(user)) {
            visited.push(*user);
            next = self.aliases.get(*user);
        }
        visited[visited.len() - 1]
    }

    /// The user whom `user` was last made an alias of, or themselves.
    pub fn next(&self, user: Id) -> Id {
        self.aliases.get(user).copied().unwrap_or(user)
    }

    /// How many links make whose a record of `time` is that carries `raw`: those at or before it, or the first one, known or not.
    pub fn link_before(&self, raw: Id, time: Tick) -> usize {
        match self.links.get(raw) {
            None => 1,
            Some(links) if time >= links.until => links.users.len() + 1,
            Some(links) => links.users.partition_point(|(linked, _)| *linked <= time).max(1),
        }
    }

    /// Links a visitor to a user from `now` on. Whose records may change owner by it is added to `concerned`.
    pub fn link(&mut self, visitor: Id, user: Id, now: Tick, concerned: &mut HashSet<Id>) {
        let until = self.end(now);
        if let Some(links) = self.links.get_mut(visitor)
            && now < links.until
            && links.users.last().is_some_and(|(_, last)| *last == user)
        {
            links.until = until;
            return;
        }
        self.add_owners(visitor, concerned);
        let lapse = self.end(until);
        let links = self.links.get_or_default(visitor);
        if links.users.is_empty() {
            if lapse < Tick::MAX {
                self.lapses.entry(lapse).or_default().push(visitor);
            }
        } else if now >= links.until {
            links.users.push((links.until, Id::NONE));
        }
        links.users.push((now, user));
        links.until = until;
        let into = self.into.get_or_default(user);
        if !into.contains(&visitor) {
            into.push(visitor);
        }
        self.add_owners(visitor, concerned);
    }

    /// The next tick at which links may lapse.
    pub fn next_lapse(&self) -> Option<Tick> {
        self.lapses.first_key_value().map(|(tick, _)| *tick)
    }

    /// Forgets the links whose time is over at `now`. Whose records may change owner by it is added to `concerned`.
    pub fn lapse(&mut self, now: Tick, concerned: &mut HashSet<Id>) {
        while let Some(entry) = self.lapses.first_entry().filter(|entry| *entry.key() <= now) {
            for visitor in entry.remove() {
                self.lapse_of(visitor, now, concerned);
            }
        }
    }

    fn lapse_of(&mut self, visitor: Id, now: Tick, concerned: &mut HashSet<Id>) {
        while let Some(links) = self.links.get(visitor) {
            let (over, lapse) = (links.over(), self.lapse_at(links));
            if lapse > now {
                self.lapses.entry(lapse).or_default().push(visitor);
                return;
            }
            self.add_owners(visitor, concerned);
            if let Some(links) = self.links.get_mut(visitor) {
                let gone: Vec<(Tick, Id)> = links.users.drain(..=over.unwrap_or(links.users.len() - 1)).collect();
                let rest: HashSet<Id> = links.users.iter().map(|(_, user)| *user).collect();
                if links.users.is_empty() {
                    self.links.remove(visitor);
                }
                for (_, user) in gone.into_iter().filter(|(_, user)| !rest.contains(user)) {
                    self.part(visitor, user);
                }
            }
            self.add_owners(visitor, concerned);
        }
    }

    /// `user` owns nothing of `other` any more.
    fn part(&mut self, other: Id, user: Id) {
        if let Some(into) = self.into.get_mut(user) {
            into.retain(|known| *known != other);
            if into.is_empty() {
                self.into.remove(user);
            }
        }
    }

    /// The tick at which the first of a visitor's links are forgotten.
    fn lapse_at(&self, links: &Links) -> Tick {
        self.end(links.over().map_or(links.until, |over| links.users[over].0))
    }

    /// The tick at which a link is over that was last said at `said`.
    fn end(&self, said: Tick) -> Tick {
        self.horizon.map_or(Tick::MAX, |horizon| horizon.link(said))
    }

    /// Makes `from` an alias of `to`, whatever it was one of before; false if it was just that. Whose records may change owner by
    /// it, and who may come to own them, is added to `concerned`.
    pub fn alias(&mut self, from: Id, to: Id, concerned: &mut HashSet<Id>) -> bool {
        if self.aliases.get(from) == Some(&to) {
            return false;
        }
        let moved = self.all_of([from]);
        moved.iter().for_each(|raw| self.add_owners(*raw, concerned));
        if let Some(before) = self.aliases.insert(from, to) {
            self.part(from, before);
        }
        self.into.get_or_default(to).push(from);
        moved.iter().for_each(|raw| self.add_owners(*raw, concerned));
        true
    }

    /// Those whose records `owners` may own: themselves, and all who lead to them.
    pub fn all_of(&self, owners: impl IntoIterator<Item = Id>) -> HashSet<Id> {
        let mut all = HashSet::new();
        let mut next: Vec<Id> = owners.into_iter().collect();
        while let Some(id) = next.pop() {
            if all.insert(id) {
                next.extend(self.into.get(id).into_iter().flatten());
            }
        }
        all
    }

    /// Adds all who own a record that carries `raw`, whatever its time.
    fn add_owners(&self, raw: Id, owners: &mut HashSet<Id>) {
        owners.insert(self.follow(raw));
        let users = self.links.get(raw).into_iter().flat_map(|links| &links.users).map(|(_, user)| *user);
        owners.extend(users.filter(|user| !user.is_none()).map(|user| self.follow(user)));
    }
}

impl Links {
    /// The place at which those before lapsed, if any did.
    fn over(&self) -> Option<usize> {
        self.users.iter().position(|(_, user)| user.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn a_shared_device_gives_each_their_own() {
        let mut identities = Identities::default();
        let (visitor, one, other) = (Id(1), Id(2), Id(3));
        assert_eq!(identities.owner(visitor, 5, false), visitor);
        identities.link(visitor, one, 10, &mut HashSet::new());
        let mut concerned = HashSet::new();
        identities.link(visitor, one, 15, &mut concerned);
        assert!(concerned.is_empty());
        identities.link(visitor, other, 20, &mut concerned);
        assert_eq!(concerned, HashSet::from([visitor, one, other]));
        assert_eq!([5, 10, 19, 20].map(|time| identities.owner(visitor, time, false)), [one, one, one, other]);
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

    #[test]
    fn a_link_not_said_again_lapses_and_the_next_gets_nothing_of_before() {
        let plan = Plan::new(10, Vec::new(), 100);
        let mut identities = Identities::new(Horizon::of(&plan));
        let (visitor, one, other) = (Id(1), Id(2), Id(3));
        identities.link(visitor, one, 10, &mut HashSet::new());
        identities.link(visitor, one, 50, &mut HashSet::new());
        assert_eq!([0, 149, 150].map(|time| identities.owner(visitor, time, false)), [one, one, visitor]);
        assert_eq!(identities.owner(visitor, 150, true), one, "an order dated ahead stays theirs");
        let mut concerned = HashSet::new();
        identities.link(visitor, other, 200, &mut concerned);
        assert_eq!(concerned, HashSet::from([visitor, one, other]));
        assert_eq!(
            [0, 149, 150, 299, 300].map(|time| identities.owner(visitor, time, false)),
            [one, one, other, other, visitor]
        );
        // Looked at when the first link would have lapsed, had it not been said again; then when the second has.
        assert_eq!(identities.next_lapse(), Some(210));
        identities.lapse(210, &mut HashSet::new());
        assert_eq!((identities.next_lapse(), identities.owner(visitor, 149, false)), (Some(250), one));
        identities.lapse(250, &mut HashSet::new());
        assert_eq!((identities.next_lapse(), identities.owner(visitor, 149, false)), (Some(400), other));
        identities.lapse(400, &mut HashSet::new());
        assert!(identities.is_empty() && identities.into.is_empty() && identities.next_lapse().is_none());
    }
}
