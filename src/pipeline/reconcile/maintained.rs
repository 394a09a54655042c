//! What is maintained of a stream. In: the partitions of its log. Out: the greatest write of each key, with its bytes; of carts that no
//! record tells of, what their messages add up to. Records that cannot be used are passed over, as the engine does.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use beckon_dataflows::joins::carts::LastCart;
use beckon_dataflows::model::{Action, Contact, Fold, Id, MessageId, Position, Record, Stream, Words, Written};
use beckon_dataflows::reconcile::{Content, Key, Row};
use serde_json::Value;

use super::row_of;
use crate::decode::{Bad, Decoded, Decoder, Dictionary};
use crate::source::{Block, Partition, Read};

/// How long to wait for a source that has nothing ready.
const SOURCE_WAIT: Duration = Duration::from_millis(200);

/// Reads records, so that one name has one id in the log and in the export.
pub(super) struct Names(Decoder);

impl Default for Names {
    fn default() -> Names {
        Names(Decoder::new(Arc::new(Dictionary::new())))
    }
}

impl Names {
    pub(super) fn decode(&mut self, position: Position, bytes: &[u8]) -> Result<Decoded, Bad> {
        self.0.decode(position, bytes)
    }
}

/// The last write of a key.
pub(super) struct Kept {
    pub written: Written,
    pub content: Content,
    bytes: Box<[u8]>,
}

impl Kept {
    /// The record, or of a cart without one, the last message about it.
    pub(super) fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.bytes).context("a record of the log cannot be read again")
    }
}

/// The last write of each key.
#[derive(Default)]
pub(super) struct Maintained(HashMap<Key, Kept>);

impl Maintained {
    pub(super) fn len(&self) -> usize {
        self.0.values().filter(|kept| !is_gone(Some(&kept.content))).count()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Kept> {
        self.0.get(key)
    }

    pub(super) fn rows(&self) -> Vec<Row> {
        self.0.iter().map(|(key, kept)| (*key, kept.content.clone())).collect()
    }

    fn write(&mut self, (key, content): Row, written: Written, bytes: &[u8]) {
        if self.0.get(&key).is_none_or(|kept| kept.written < written) {
            self.0.insert(key, Kept { written, content, bytes: bytes.into() });
        }
    }
}

/// Whether a row says no more than that there is nothing.
pub(super) fn is_gone(content: Option<&Content>) -> bool {
    match content {
        None => true,
        Some(Content::Stock(units)) => *units == 0,
        Some(Content::Cart { lines, .. }) => lines.is_empty(),
        Some(Content::Profile(contact)) => contact.standing().erased,
    }
}

/// A change of a line, and the message that tells of it.
type Told = (Fold, Box<[u8]>);

/// Lines that single messages tell of, by cart.
#[derive(Default)]
struct Folds {
    by_cart: HashMap<Id, Vec<Told>>,
    seen: HashSet<MessageId>,
}

/// Reads all partitions to their end.
pub(super) fn read(
    partitions: Vec<Box<dyn Partition>>,
    stream: Stream,
    names: &mut Names,
) -> anyhow::Result<Maintained> {
    let (mut maintained, mut folds) = (Maintained::default(), Folds::default());
    for mut partition in partitions {
        loop {
            match partition.read(SOURCE_WAIT)? {
                Read::Block(block) => take(&block, names, &mut maintained, &mut folds),
                Read::Idle { .. } => {}
                Read::End => break,
            }
        }
    }
    if stream == Stream::Carts {
        folds.add_to(&mut maintained);
    }
    Ok(maintained)
}

fn take(block: &Block, names: &mut Names, maintained: &mut Maintained, folds: &mut Folds) {
    for (offset, bytes) in block.records() {
        let position = Position::new(block.stream, block.partition, offset);
        let Ok(Decoded { record, .. }) = names.decode(position, bytes) else { continue };
        let written = match &record {
            Record::Stock(stock) => stock.written,
            Record::Cart(cart) => cart.written,
            Record::Profile(profile) => profile.written,
            Record::Click(click) => {
                if let Action::Folded(fold) = &click.action {
                    folds.take(click.message, fold, bytes);
                }
                continue;
            }
            _ => continue,
        };
        if let Some(row) = row_of(&record) {
            maintained.write(row, written, bytes);
        }
    }
}

impl Folds {
    fn take(&mut self, message: MessageId, fold: &Fold, bytes: &[u8]) {
        let is_new = message == MessageId::NONE || self.seen.insert(message);
        if is_new && !fold.is_implicit() {
            self.by_cart.entry(fold.cart).or_default().push((fold.clone(), bytes.into()));
        }
    }

    /// Adds the carts that no record tells of.
    fn add_to(self, maintained: &mut Maintained) {
        for (cart, mut folds) in self.by_cart {
            folds.sort_by_key(|(fold, _)| fold.written);
            let Some((last, bytes)) = folds.last().cloned() else { continue };
            if maintained.0.contains_key(&[cart, Id::NONE]) {
                continue;
            }
            let mut adding_up = LastCart::default();
            folds.into_iter().for_each(|(fold, _)| adding_up.fold(fold.written.updated_ms, cart, fold));
            if let Some((owner, cart)) = adding_up.row() {
                let (currency, lines) = (cart.currency, cart.lines().map(|line| line.line).collect());
                let content = Content::Cart { owner, currency, lines };
                maintained.write(([cart.id, Id::NONE], content), last.written, &bytes);
            }
        }
    }
}

/// A profile whose attributes are the same whatever their order: an export may write them otherwise.
pub(super) fn in_order(contact: &Contact) -> Contact {
    let words = contact.words();
    let Some(value) = words.attributes.and_then(|text| serde_json::from_str(text).ok()) else { return contact.clone() };
    let sorted = ordered(value).to_string();
    Contact::declining(contact.standing(), &Words { attributes: Some(&sorted), ..words }, contact.declined())
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|one, other| one.0.cmp(&other.0));
            members.into_iter().map(|(name, value)| (name, ordered(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(ordered).collect(),
        other => other,
    }
}
