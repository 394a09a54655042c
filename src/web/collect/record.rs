//! Messages as records (SPEC §1; README, "Collect", has the table). In: a message as it was written. Out: the `clickstream` record that
//! it is and, where the key may tell them, the `profiles` record that an `identify` tells. Fails with why the message is malformed.
//!
//! What events mean is not decided here: the decoder of the clickstream reads Product Added, Order Completed and the rest, whoever wrote
//! them to the topic. Values stay as they were written, digit for digit. What no rule reads (`context` with its addresses and user agents,
//! `integrations`) is left out, and so is the key.

use std::collections::BTreeMap;

use beckon_dataflows::model::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::message::MESSAGE_BYTES_MAX;
use crate::decode::{Bad, Check};

/// A record on its way to its topic.
pub(super) struct Record {
    /// Which stream it is of.
    pub stream: Stream,
    /// The key that its partition is found by (SPEC §1).
    pub key: String,
    /// Itself.
    pub json: Vec<u8>,
}

/// Why a message is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    /// It is too large.
    #[error("the message has {0} bytes; send at most {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
    /// It is not an object, or says something twice.
    #[error("the message cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// The stream's decoder would refuse it.
    #[error(transparent)]
    Bad(#[from] Bad),
}

impl Malformed {
    /// A short name for counters and dead letters, as [`Bad::kind`] has them.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Malformed::TooLarge(_) => "too_large",
            Malformed::Shape(_) => "wrong_type",
            Malformed::Bad(bad) => bad.kind(),
        }
    }
}

/// How the messages of a request were received.
pub(super) struct Receipt<'a> {
    /// What the path calls them; none in a batch, whose messages say it themselves.
    pub call: Option<&'static str>,
    /// When, by the sender's clock.
    pub sent_at: Option<&'a RawValue>,
    /// When, by ours.
    pub received_at: Timestamp,
    /// Whether an `identify` may tell a profile.
    pub tells_profiles: bool,
}

/// A message, as far as anything here reads it. `null` is as good as nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    message_id: Option<&'a RawValue>,
    user_id: Option<&'a RawValue>,
    anonymous_id: Option<&'a RawValue>,
    previous_id: Option<&'a RawValue>,
    group_id: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    properties: Option<&'a RawValue>,
    traits: Option<&'a RawValue>,
    context: Option<&'a RawValue>,
}

/// The `clickstream` record.
impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = [
            ("type", self.r#type),
            ("event", self.event),
            ("messageId", self.message_id),
            ("userId", self.user_id),
            ("anonymousId", self.anonymous_id),
            ("previousId", self.previous_id),
            ("groupId", self.group_id),
            ("timestamp", self.timestamp),
            ("category", self.category),
            ("name", self.name),
            ("properties", self.properties),
            ("traits", self.traits),
        ];
        serializer.collect_map(members.into_iter().filter_map(|(name, value)| Some((name, value?))))
    }
}

/// The `profiles` record of an `identify`.
#[derive(Serialize)]
struct Profile<'a> {
    user_id: &'a RawValue,
    updated_at: &'a RawValue,
    #[serde(flatten)]
    told: BTreeMap<&'static str, &'a RawValue>,
    attributes: BTreeMap<String, &'a RawValue>,
}

/// What of `context` is about a customer.
#[derive(Default, Deserialize)]
struct Context<'a> {
    #[serde(borrow)]
    locale: Option<&'a RawValue>,
    timezone: Option<&'a RawValue>,
}

/// The traits that a profile has members for, each with that member; of two for one the later counts. All others are its attributes.
const MEMBERS: [(&str, &str); 6] = [
    ("email", "email"),
    ("first_name", "first_name"),
    ("firstName", "first_name"),
    ("locale", "locale"),
    ("timezone", "timezone"),
    ("consent", "consent"),
];

/// The records that a message is, each of which its stream's decoder takes.
pub(super) fn of(message: &RawValue, receipt: &Receipt<'_>, check: &Check) -> Result<Vec<Record>, Malformed> {
    if message.get().len() > MESSAGE_BYTES_MAX {
        return Err(Malformed::TooLarge(message.get().len()));
    }
    // What is not there is given: by the path, by us.
    let call = receipt.call.map(to_raw_value).transpose()?;
    let id = to_raw_value(&format!("{:032x}", rand::random::<u128>()))?;
    let mut message: Message<'_> = object(message)?;
    let at = timestamp(message.timestamp, receipt).map(|at| to_raw_value(&format!("{at:.3}"))).transpose()?;
    message.r#type = call.as_deref().or(message.r#type);
    message.message_id = message.message_id.filter(|id| !text(Some(id)).is_some_and(|id| id.is_empty())).or(Some(&id));
    message.timestamp = at.as_deref().or(message.timestamp);
    let user = text(message.user_id).filter(|user| !user.is_empty());
    let key = user.clone().or_else(|| text(message.anonymous_id)).unwrap_or_default();
    let mut records = vec![Record { stream: Stream::Clickstream, key, json: serde_json::to_vec(&message)? }];
    if let Some(user) = user.filter(|_| receipt.tells_profiles)
        && let Some(profile) = profile(&message)?
    {
        records.push(Record { stream: Stream::Profiles, key: user, json: serde_json::to_vec(&profile)? });
    }
    for record in &records {
        check.check(record.stream, &record.json)?;
    }
    Ok(records)
}

/// What an `identify` with an address tells of its user; none of any other message.
fn profile<'a>(message: &Message<'a>) -> Result<Option<Profile<'a>>, Malformed> {
    let is_identify = text(message.r#type).is_some_and(|kind| kind == "identify");
    let (Some(user_id), Some(updated_at), Some(traits)) = (message.user_id, message.timestamp, message.traits) else {
        return Ok(None);
    };
    if !is_identify {
        return Ok(None);
    }
    let mut attributes: BTreeMap<String, &RawValue> = object(traits)?;
    if !attributes.contains_key("email") {
        return Ok(None);
    }
    let context: Context<'_> = message.context.map(object).transpose()?.unwrap_or_default();
    let known = [("locale", context.locale), ("timezone", context.timezone)];
    let mut told: BTreeMap<_, _> = known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    for (name, member) in MEMBERS {
        if let Some(value) = attributes.remove(name) {
            told.insert(member, value);
        }
    }
    Ok(Some(Profile { user_id, updated_at, told, attributes }))
}

/// When it happened, by our clock: the sender's clock was right by as much as `sentAt` is, as Segment has it. A message without a time
/// happened when it was received; none where its time is to be left as it is.
fn timestamp(timestamp: Option<&RawValue>, receipt: &Receipt<'_>) -> Option<Timestamp> {
    let Some(timestamp) = timestamp else { return Some(receipt.received_at) };
    let (at, sent_at) = (instant(timestamp)?, instant(receipt.sent_at?)?);
    receipt.received_at.checked_add(sent_at.duration_until(at)).ok()
}

/// The instant that a value names, if it is one.
fn instant(value: &RawValue) -> Option<Timestamp> {
    match text(Some(value)) {
        Some(text) => text.parse().ok(),
        None => value.get().parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
    }
}

/// A value that is text.
fn text(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok()
}

/// A value that is an object, and nothing that serde would take for one.
pub(super) fn object<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Result<T, serde_json::Error> {
    if !value.get().starts_with('{') {
        return Err(serde::de::Error::custom("an object was expected"));
    }
    serde_json::from_str(value.get())
}
