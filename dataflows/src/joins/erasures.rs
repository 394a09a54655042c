//! Erasures by user, where the plan has the erased forgotten. In: `profiles` records, last write wins. Out: a row at each tick at
//! which the last write came to be one that says `deleted`. Cannot fail.

use serde::{Deserialize, Serialize};

use crate::model::{Diff, Id, ProfileRecord, Tick, Written};
use crate::per_key::{Never, Next, PerKey};

/// The rule of a user.
pub struct Erasures;

/// The place of a user's last write.
#[derive(Default, Serialize, Deserialize)]
pub struct LastWrite(Option<Written>);

impl PerKey for Erasures {
    type In = ProfileRecord;
    type State = LastWrite;
    type Out = Id;
    type Wake = Never;

    fn visit(
        &mut self,
        _now: Tick,
        key: Id,
        LastWrite(last): &mut LastWrite,
        profiles: &mut dyn Iterator<Item = (ProfileRecord, Diff)>,
        emit: &mut dyn FnMut(Id, Diff),
    ) -> Next {
        let greatest = profiles.map(|(record, _)| record).max_by_key(|record| record.written);
        if let Some(record) = greatest.filter(|record| last.is_none_or(|last| record.written > last)) {
            *last = Some(record.written);
            if record.contact.standing().erased {
                emit(key, 1);
            }
        }
        Next::Keep
    }
}
