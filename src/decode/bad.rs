//! Why a record is bad: what happened, where in the record, and what its sender should do. Stream and position are known to
//! whoever writes the dead letter (SPEC §1, "Bad input").

use beckon_dataflows::model::Namespace;
use thiserror::Error;

use super::RECORD_BYTES_MAX;

/// The longest piece of a record that a reason quotes, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// Why a record went to the dead letters. Whichever it is, the record alone is lost, and the stream goes on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Bad {
    /// The record has no bytes: an empty line, or a Kafka tombstone.
    #[error("the record is empty; send one JSON object a record")]
    Empty,
    /// The record is longer than [`RECORD_BYTES_MAX`]; nothing of it was parsed.
    #[error("the record has {bytes} bytes; send at most {RECORD_BYTES_MAX}")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are not text.
    #[error("byte {at} of the record is not UTF-8; send JSON in UTF-8")]
    NotUtf8 {
        /// Index, from 0, of the first byte that is wrong.
        at: usize,
    },
    /// The text is not JSON (RFC 8259), or nests too deep.
    #[error("the record is not JSON: byte {at} should be {expected}; send one JSON object a record")]
    NotJson {
        /// Index, from 0, of the first byte that is wrong.
        at: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("`{field}` is not {expected}; correct its sender")]
    WrongType {
        /// The field's path in the record.
        field: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// A field without which the record says nothing is absent, `null`, or the empty text.
    #[error("`{field}` is missing; correct its sender")]
    Missing {
        /// The field's path in the record.
        field: &'static str,
    },
    /// A time before 2000 or after 2100: mostly seconds or microseconds where milliseconds belong.
    #[error(
        "`{field}` is {value}, outside 2000-01-01 to 2100-01-01; send RFC 3339 or an integer of epoch milliseconds"
    )]
    AbsurdTime {
        /// The field's path in the record.
        field: &'static str,
        /// What it said, shortened.
        value: String,
    },
    /// An amount that is no decimal number, or has more digits than can be kept exactly.
    #[error("`{field}` is {value}, not a decimal of at most 28 digits; send money as a JSON number or a string of one")]
    BadMoney {
        /// The field's path in the record.
        field: &'static str,
        /// What it said, shortened.
        value: String,
    },
    /// Two names have one id.
    #[error(transparent)]
    Collision(#[from] Collision),
}

impl Bad {
    /// A short name for counters and dead letters.
    pub fn kind(&self) -> &'static str {
        match self {
            Bad::Empty => "empty",
            Bad::TooLarge { .. } => "too_large",
            Bad::NotUtf8 { .. } => "not_utf8",
            Bad::NotJson { .. } => "not_json",
            Bad::WrongType { .. } => "wrong_type",
            Bad::Missing { .. } => "missing",
            Bad::AbsurdTime { .. } => "absurd_time",
            Bad::BadMoney { .. } => "bad_money",
            Bad::Collision(_) => "collision",
        }
    }
}

/// A name whose id already stands for another name. Using it would mix up two customers, carts or products.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the {namespace:?} name `{text}` has the id of another name; rename it at its sender")]
pub struct Collision {
    /// What it names.
    pub namespace: Namespace,
    /// The name that came second, shortened.
    pub text: String,
}

/// `text` as a reason quotes it: cut to [`QUOTED_CHARS_MAX`].
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
