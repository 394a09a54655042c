//! Triggers of a user's own, as the configuration knows them. In: kinds, each with a name and a reader of its keys. Out: what
//! makes the rule of a campaign. Fails into the report like any other key; and where two kinds have one name.

use std::fmt;
use std::sync::Arc;

use beckon_dataflows::custom::MakeRule;

use super::section::{Section, Value};
use super::trigger;

/// A kind of trigger: what `trigger = "NAME"` in `beckon.toml` means.
pub trait TriggerKind {
    /// Its name in `beckon.toml` and in decisions: small letters, digits and `_`, and none that another trigger has.
    fn name(&self) -> &'static str;

    /// Reads the keys of a campaign that are this trigger's own, and returns what makes the campaign's rule; `expires` and all
    /// else that campaigns have anyway is none of its business. What is wrong is told by [`Keys`] and [`Value`] where it
    /// stands; then what is returned is never used, so a default may stand in for what could not be read. Every key that it
    /// does not ask for is refused as unknown.
    fn read(&self, keys: &Keys<'_>) -> Box<MakeRule>;
}

/// The keys of a campaign.
pub struct Keys<'d>(pub(super) &'d Section<'d>);

impl<'d> Keys<'d> {
    /// The value of `key`, if set.
    pub fn get(&self, key: &'static str) -> Option<Value<'d>> {
        self.0.get(key)
    }

    /// The value of `key`, which must be set; `hint` says what to write.
    pub fn required(&self, key: &'static str, hint: &str) -> Option<Value<'d>> {
        self.0.required(key, hint)
    }
}

/// The kinds that a program brings. Of the eleven of SPEC §4 none need be named.
#[derive(Default)]
pub struct TriggerKinds(Vec<Box<dyn TriggerKind>>);

/// Why a kind cannot be brought.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindFault {
    /// Its name cannot be one.
    #[error("{0:?} cannot be a trigger's name: small letters, digits and `_`")]
    Name(&'static str),
    /// Its name is taken.
    #[error("two triggers are named `{0}`")]
    Taken(&'static str),
}

impl TriggerKinds {
    /// These kinds.
    pub fn new(kinds: Vec<Box<dyn TriggerKind>>) -> Result<TriggerKinds, KindFault> {
        let mut names: Vec<&str> = trigger::names().collect();
        for name in kinds.iter().map(|kind| kind.name()) {
            let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
            if name.is_empty() || !name.chars().all(fits) {
                return Err(KindFault::Name(name));
            }
            if names.contains(&name) {
                return Err(KindFault::Taken(name));
            }
            names.push(name);
        }
        Ok(TriggerKinds(kinds))
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn TriggerKind> {
        self.0.iter().map(|kind| &**kind)
    }
}

/// A campaign's trigger of a user's own, with the parameters that the campaign gives.
#[derive(Clone)]
pub struct Custom {
    /// Its kind's name.
    pub name: &'static str,
    /// What makes its rule.
    pub make: Arc<MakeRule>,
}

impl fmt::Debug for Custom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Custom").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Rules cannot be compared, so only a copy is the same.
impl PartialEq for Custom {
    fn eq(&self, other: &Custom) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.make, &other.make)
    }
}
