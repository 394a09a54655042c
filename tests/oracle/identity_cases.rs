//! Which cases of identity (SPEC §3, "Owner of a record") the facts contain, and how often: for the coverage table. Cannot fail.

use std::collections::{BTreeMap, BTreeSet};

use super::records::{Event, Record, Who};
use super::writes::Fact;

/// Every case that must occur.
pub const CASES: [&str; 9] = [
    "identity: record of a visitor who is never linked",
    "identity: record before the first link",
    "identity: record after a link",
    "identity: record on a device that was another's before",
    "identity: record on a device that becomes another's after",
    "identity: alias of a user",
    "identity: alias of an alias",
    "identity: circle of aliases",
    "identity: user with several devices",
];

/// Counts them.
pub fn count(facts: &[Fact]) -> BTreeMap<&'static str, usize> {
    let (links, aliases) = links(facts);
    let mut cases: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut occur = |case: usize, times: usize| *cases.entry(CASES[case]).or_default() += times;
    for fact in facts {
        let Some(Who { user: None, anonymous: Some(visitor) }) = who(fact) else { continue };
        let own = links.get(visitor.as_str()).map_or(&[][..], Vec::as_slice);
        let users = |of: &[(i64, &str)]| of.iter().map(|(_, user)| *user).collect::<BTreeSet<_>>().len();
        let (before, after) = own.split_at(own.partition_point(|(tick, _)| *tick <= fact.tick));
        occur(0, usize::from(own.is_empty()));
        occur(1, usize::from(before.is_empty() && !after.is_empty()));
        occur(2, usize::from(!before.is_empty()));
        occur(3, usize::from(users(before) > 1));
        occur(4, usize::from(!before.is_empty() && users(own) > users(before)));
    }
    occur(5, aliases.len());
    for user in aliases.keys() {
        let (mut visited, mut now) = (BTreeSet::from([*user]), *user);
        while let Some(next) = aliases.get(now).filter(|next| visited.insert(next)) {
            now = next;
        }
        occur(6, usize::from(visited.len() > 2));
        occur(7, usize::from(aliases.contains_key(now)));
    }
    let mut devices: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (visitor, links) in &links {
        for (_, user) in links {
            devices.entry(user).or_default().insert(visitor);
        }
    }
    occur(8, devices.values().filter(|devices| devices.len() > 1).count());
    cases
}

type Links<'f> = BTreeMap<&'f str, Vec<(i64, &'f str)>>;

/// The links of each visitor, in order, and what each user was last made an alias of.
fn links(facts: &[Fact]) -> (Links<'_>, BTreeMap<&str, &str>) {
    let (mut links, mut aliases) = (Links::new(), BTreeMap::new());
    for fact in facts {
        let Record::Message(message) = &fact.record else { continue };
        let Some(user) = &message.who.user else { continue };
        let linked = match &message.event {
            Event::Identify => message.who.anonymous.as_ref(),
            Event::Alias { previous } => {
                aliases.insert(previous.as_str(), user.as_str());
                Some(previous)
            }
            _ => None,
        };
        linked.into_iter().for_each(|visitor| links.entry(visitor).or_default().push((fact.tick, user)));
    }
    (links, aliases)
}

fn who(fact: &Fact) -> Option<&Who> {
    match &fact.record {
        Record::Message(message) => Some(&message.who),
        Record::Cart(cart) => Some(&cart.who),
        Record::Order(order) => Some(&order.who),
        _ => None,
    }
}
