//! The safe codec: each word in little-endian order, readable by any build on any machine. In and out: as [`super`] says.

use super::{Codec, FlatError, begin, open, seal};

/// The number of this codec in a block's head.
pub(super) const CODEC: u64 = 1;

const WORDS: Codec = Codec { number: CODEC, build: 0 };

/// The rows as bytes.
pub fn encode<const N: usize>(rows: &[[u64; N]]) -> Vec<u8> {
    let mut block = begin(rows);
    block.extend(rows.as_flattened().iter().flat_map(|word| word.to_le_bytes()));
    seal::<N>(&mut block, WORDS, rows.len());
    block
}

/// The rows of a block that [`encode`] made.
pub fn decode<const N: usize>(bytes: &[u8]) -> Result<Vec<[u64; N]>, FlatError> {
    let (payload, count) = open::<N>(bytes, WORDS)?;
    let mut rows = vec![[0; N]; count];
    for (word, bytes) in rows.as_flattened_mut().iter_mut().zip(payload.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(rows)
}
