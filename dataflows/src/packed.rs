//! A thing in one piece of memory: a head of fixed size, then rows of any length as postcard writes them. Of some things there is one a
//! customer, and pointers, counters and padding for each of their lists and texts would take more than those. In: a head and rows. Out:
//! the same, shared by whoever clones it. A row that was never written reads as none.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use triomphe::ThinArc;

/// A head, and rows behind it.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packed<H>(ThinArc<H, u8>);

/// Rows on their way into a piece.
#[derive(Default)]
pub struct Rows(Vec<u8>);

/// Rows that are read one after the other.
#[derive(Clone, Copy)]
pub struct Reader<'p>(&'p [u8]);

impl<H> Packed<H> {
    /// One piece.
    pub fn new(head: H, Rows(bytes): &Rows) -> Packed<H> {
        Packed(ThinArc::from_header_and_slice(head, bytes))
    }

    /// What is of fixed size.
    pub fn head(&self) -> &H {
        &self.0.header.header
    }

    /// The rest, from its beginning.
    pub fn rows(&self) -> Reader<'_> {
        Reader(&self.0.slice)
    }
}

impl Rows {
    /// Adds a row. Into memory postcard writes whatever has a length.
    pub fn push(&mut self, row: &impl Serialize) {
        self.0 = postcard::to_extend(row, std::mem::take(&mut self.0)).unwrap_or_default();
    }
}

impl<'p> Reader<'p> {
    /// The next row; none after the last.
    pub fn next<T: Deserialize<'p>>(&mut self) -> Option<T> {
        let (row, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(row)
    }

    /// All those that are left, of one kind.
    pub fn all<T: Deserialize<'p>>(mut self) -> impl Iterator<Item = T> {
        std::iter::from_fn(move || self.next())
    }

    /// Whether there is none left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<H> Clone for Packed<H> {
    fn clone(&self) -> Self {
        Packed(self.0.clone())
    }
}

impl<H: fmt::Debug> fmt::Debug for Packed<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Packed").field(self.head()).field(&self.0.slice.len()).finish()
    }
}

impl<H: Serialize> Serialize for Packed<H> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.head(), &self.0.slice).serialize(serializer)
    }
}

impl<'de, H: Deserialize<'de>> Deserialize<'de> for Packed<H> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <(H, Vec<u8>)>::deserialize(deserializer).map(|(head, bytes)| Packed::new(head, &Rows(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn rows_come_back_in_their_order(
            head in 0u64..9,
            rows in proptest::collection::vec((0u64..u64::MAX, proptest::option::of(".{0,9}")), 0..9),
        ) {
            let mut written = Rows::default();
            rows.iter().for_each(|row| written.push(row));
            let packed = Packed::new(head, &written);
            let restored: Packed<u64> = postcard::from_bytes(&postcard::to_stdvec(&packed).unwrap()).unwrap();
            proptest::prop_assert_eq!(&restored, &packed);
            proptest::prop_assert_eq!(*restored.head(), head);
            let mut reader = restored.rows();
            let all: Vec<(u64, Option<&str>)> = reader.all().collect();
            let read: Vec<(u64, Option<&str>)> = std::iter::from_fn(|| reader.next()).collect();
            proptest::prop_assert_eq!(&all, &read);
            let expected: Vec<(u64, Option<&str>)> = rows.iter().map(|(number, text)| (*number, text.as_deref())).collect();
            proptest::prop_assert_eq!(read, expected);
            proptest::prop_assert!(reader.is_empty());
        }
    }
}
