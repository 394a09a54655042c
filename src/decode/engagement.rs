//! `engagement`: what a recipient did with a mail, and which campaigns' mails they chose not to get.

use std::sync::Arc;

use beckon_dataflows::model::{Choice, EngagementKind, EngagementRecord, Id, Namespace, Position, Record, Written};

use super::json::{Value, each_item};
use super::names::message_id;
use super::row::{Object, row};
use super::value::required;
use super::{Bad, Decoded, Decoder};

row! {
    /// An `engagement` record.
    Event<'a> {
        event_id: Value<'a> = "event_id",
        kind: Value<'a> = "type",
        decision_id: Value<'a> = "decision_id",
        user_id: Value<'a> = "user_id",
        occurred_at: Value<'a> = "occurred_at",
        machine: Value<'a> = "machine",
        declined: Value<'a> = "declined",
    }
}

impl Decoder {
    pub(super) fn engagement(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Event<'_>>::default();
        let row = row.read_whole(text)?;
        required(row.event_id.name("event_id")?, "event_id")?;
        let event_ms = required(row.occurred_at.time_ms("occurred_at")?, "occurred_at")?;
        let kind = kind(&row.kind)?;
        let record = EngagementRecord {
            event: message_id(&row.event_id, "event_id")?,
            user: self.names.id(Namespace::User, &row.user_id, "user_id")?.unwrap_or(Id::NONE),
            position,
            kind,
            decision: decision(&row.decision_id)?,
            machine: row.machine.flag("machine")?.unwrap_or(false),
            choice: match kind {
                EngagementKind::Chosen => {
                    let written = Written { version: 0, updated_ms: event_ms, position };
                    Some(Arc::new(Choice { written, declined: declined(&row.declined)? }))
                }
                _ => None,
            },
        };
        Ok(Decoded { record: Record::Engagement(record), event_ms })
    }
}

/// What happened.
fn kind(value: &Value<'_>) -> Result<EngagementKind, Bad> {
    match &*required(value.name("type")?, "type")? {
        "delivered" => Ok(EngagementKind::Delivered),
        "opened" => Ok(EngagementKind::Opened),
        "clicked" => Ok(EngagementKind::Clicked),
        "bounced" => Ok(EngagementKind::Bounced),
        "complained" => Ok(EngagementKind::Complained),
        "unsubscribed" => Ok(EngagementKind::Unsubscribed),
        "chosen" => Ok(EngagementKind::Chosen),
        _ => Err(Bad::WrongType {
            field: "type",
            expected: "delivered, opened, clicked, bounced, complained, unsubscribed or chosen",
        }),
    }
}

/// The campaigns that are not wanted. An empty list is a choice too: all are wanted.
fn declined(value: &Value<'_>) -> Result<Box<[Box<str>]>, Bad> {
    let (field, expected) = ("declined", "an array of names");
    let text = match value {
        Value::Missing => return Err(Bad::Missing { field }),
        Value::Array(text) => text,
        _ => return Err(Bad::WrongType { field, expected }),
    };
    let mut names = Vec::<Box<str>>::new();
    each_item(text, |name: Value<'_>| {
        names.push((&*name.name(field)?.ok_or(Bad::WrongType { field, expected })?).into());
        Ok(())
    })?;
    names.sort_unstable();
    names.dedup();
    Ok(names.into())
}

/// The decision that the mail came from; 0 when not named.
fn decision(value: &Value<'_>) -> Result<u128, Bad> {
    let Some(text) = value.name("decision_id")? else {
        return Ok(0);
    };
    let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let decision = u128::from_str_radix(&text, 16).ok().filter(|_| hex);
    decision.ok_or(Bad::WrongType { field: "decision_id", expected: "32 hex digits" })
}
