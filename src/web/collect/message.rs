//! What a request says, in the words of Segment's HTTP API. In: its body. Out: the messages in it, each still as it was written. Fails
//! with what makes the whole of it unreadable; what is wrong with one message is found when it is read (`record`).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::record::object;

/// The largest body, in bytes, after it was decompressed (Segment's limit).
pub(super) const BODY_BYTES_MAX: usize = 500 << 10;

/// The largest message, in bytes (Segment's limit).
pub(super) const MESSAGE_BYTES_MAX: usize = 32 << 10;

/// The most messages in a batch: more of them are no messages, and each would cost a dead letter.
const MESSAGES_MAX: usize = 2_500;

/// What one request says.
pub(super) struct Said<'a> {
    /// The key, where it is in the body: a beacon has no headers of its own.
    pub write_key: Option<Cow<'a, str>>,
    /// When the sender's clock says it was sent.
    pub sent_at: Option<&'a RawValue>,
    /// What was sent.
    pub messages: Vec<&'a RawValue>,
}

/// Why nothing of a body can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    /// It is not JSON, or not of the shape that the path asks for.
    #[error("the body cannot be read: {0}")]
    Shape(#[from] serde_json::Error),
    /// A batch of too many messages.
    #[error("the batch has {0} messages; send at most {MESSAGES_MAX}")]
    TooMany(usize),
    /// A message by itself that is too large.
    #[error("the message has {0} bytes; send at most {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alone<'a> {
    #[serde(borrow)]
    write_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sent_at: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Batch<'a> {
    #[serde(borrow)]
    write_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sent_at: Option<&'a RawValue>,
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

impl<'a> Said<'a> {
    /// A body that is one message.
    pub(super) fn alone(body: &'a [u8]) -> Result<Said<'a>, Unreadable> {
        let message: &RawValue = serde_json::from_slice(body)?;
        if message.get().len() > MESSAGE_BYTES_MAX {
            return Err(Unreadable::TooLarge(message.get().len()));
        }
        let Alone { write_key, sent_at } = object(message)?;
        Ok(Said { write_key, sent_at, messages: vec![message] })
    }

    /// A body of `{"batch": […]}`.
    pub(super) fn batch(body: &'a [u8]) -> Result<Said<'a>, Unreadable> {
        let Batch { write_key, sent_at, batch: messages } = object(serde_json::from_slice(body)?)?;
        if messages.len() > MESSAGES_MAX {
            return Err(Unreadable::TooMany(messages.len()));
        }
        Ok(Said { write_key, sent_at, messages })
    }
}
