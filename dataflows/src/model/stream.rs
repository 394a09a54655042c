//! The seven streams of SPEC §1, and where in them a record stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A stream of SPEC §1, in the order of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Segment Spec messages.
    Clickstream,
    /// Whole cart states.
    Carts,
    /// Stock by SKU and location.
    Inventory,
    /// Products.
    Catalog,
    /// Orders.
    Orders,
    /// Customers.
    Profiles,
    /// What recipients did with a mail.
    Engagement,
}

impl Stream {
    /// All streams, in the order of SPEC §1's table.
    pub const ALL: [Stream; 7] = [
        Stream::Clickstream,
        Stream::Carts,
        Stream::Inventory,
        Stream::Catalog,
        Stream::Orders,
        Stream::Profiles,
        Stream::Engagement,
    ];

    /// The stream's name: its default topic, and its file's stem.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Clickstream => "clickstream",
            Stream::Carts => "carts",
            Stream::Inventory => "inventory",
            Stream::Catalog => "catalog",
            Stream::Orders => "orders",
            Stream::Profiles => "profiles",
            Stream::Engagement => "engagement",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Stream {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Stream::ALL.into_iter().find(|stream| stream.name() == name).ok_or(())
    }
}

/// Where a record came from. Positions order records that nothing else orders: by stream, then partition, then offset.
/// Packed into one word: 4 bits of stream, 20 of partition, 40 of offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position(u64);

impl Position {
    const OFFSET_BITS: u32 = 40;
    const PARTITION_BITS: u32 = 20;

    /// The position of the record at `offset` (a line number from 1 in a file) of a stream's partition. Partitions past
    /// 2^20 and offsets past 2^40 wrap; neither is reached by a real topic.
    pub fn new(stream: Stream, partition: u32, offset: u64) -> Position {
        let partition = u64::from(partition) & ((1 << Self::PARTITION_BITS) - 1);
        let offset = offset & ((1 << Self::OFFSET_BITS) - 1);
        Position(
            ((stream as u64) << (Self::OFFSET_BITS + Self::PARTITION_BITS)) | (partition << Self::OFFSET_BITS) | offset,
        )
    }

    /// The record's stream.
    pub fn stream(self) -> Stream {
        Stream::ALL[(self.0 >> (Self::OFFSET_BITS + Self::PARTITION_BITS)) as usize % Stream::ALL.len()]
    }

    /// The record's partition; 0 for a file.
    pub fn partition(self) -> u32 {
        (self.0 >> Self::OFFSET_BITS) as u32 & ((1 << Self::PARTITION_BITS) - 1)
    }

    /// The record's offset in its partition, or its line, from 1, in a file.
    pub fn offset(self) -> u64 {
        self.0 & ((1 << Self::OFFSET_BITS) - 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}/{}", self.stream(), self.partition(), self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_keeps_its_parts_and_its_order() {
        let position = Position::new(Stream::Orders, 7, 123_456_789_012);
        assert_eq!((position.stream(), position.partition(), position.offset()), (Stream::Orders, 7, 123_456_789_012));
        assert!(Position::new(Stream::Carts, 9, 9) < Position::new(Stream::Orders, 0, 0));
        assert!(Position::new(Stream::Carts, 1, 0) > Position::new(Stream::Carts, 0, u64::from(u32::MAX)));
        assert_eq!(position.to_string(), "orders/7/123456789012");
    }
}
