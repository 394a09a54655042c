//! Rows of a fixed number of words as bytes, for snapshots: interned keys, ticks, counts. In: `&[[u64; N]]`. Out: one block of
//! bytes, which [`decode`] turns into the same rows. Fails when a block is not what was encoded: nothing of it is interpreted
//! before its length, its width, what wrote it and its checksum are seen to be right. Bytes that came from a network have no
//! business here.
//!
//! There are two codecs. [`words`] is safe code and the default. With the feature `abomonation` that crate copies the rows as they
//! lie in memory (`abomonated.rs`); such blocks are read by the same build only. Neither reads what the other wrote.

#[cfg(feature = "abomonation")]
pub mod abomonated;
pub mod words;

use xxhash_rust::xxh3::xxh3_64;

/// The rows as bytes, by the codec of this build.
pub fn encode<const N: usize>(rows: &[[u64; N]]) -> Vec<u8> {
    #[cfg(feature = "abomonation")]
    return abomonated::encode(rows);
    #[cfg(not(feature = "abomonation"))]
    words::encode(rows)
}

/// The rows that the codec of this build has encoded as `bytes`, which may lie at any address.
pub fn decode<const N: usize>(bytes: &[u8]) -> Result<Vec<[u64; N]>, FlatError> {
    #[cfg(feature = "abomonation")]
    return abomonated::decode(bytes);
    #[cfg(not(feature = "abomonation"))]
    words::decode(bytes)
}

/// Why bytes are no rows. All but `Torn` and `Checksum` mean that something else wrote them; what to do is the same: build from
/// the log what the rows would have told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlatError {
    /// They do not begin as a block of rows does.
    Foreign,
    /// The block has another format.
    Format {
        /// Which.
        found: u64,
    },
    /// The other codec wrote it.
    Codec {
        /// Its number.
        found: u64,
    },
    /// Another build wrote it.
    Build,
    /// Its rows lie otherwise in memory, or have another width.
    Layout,
    /// It ends early, or goes on too long.
    Torn {
        /// How long it should be.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// Some of its bits are not those that were written.
    Checksum,
}

impl std::error::Error for FlatError {}

impl std::fmt::Display for FlatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FlatError::Foreign => write!(f, "this is no block of rows"),
            FlatError::Format { found } => write!(f, "the rows have format {found}, this build reads {FORMAT}"),
            FlatError::Codec { found } => {
                let name = |codec| if codec == words::CODEC { "the safe codec" } else { "abomonation" };
                let wanted = if cfg!(feature = "abomonation") { "abomonation" } else { "the safe codec" };
                write!(f, "the rows were written with {}, this build reads those of {wanted}", name(*found))
            }
            FlatError::Build => {
                write!(f, "the rows were written by another build, as which only that one may read them")
            }
            FlatError::Layout => write!(f, "the rows have another width, or lie otherwise in memory"),
            FlatError::Torn { expected, found } => write!(f, "the rows take {expected} bytes, and here are {found}"),
            FlatError::Checksum => write!(f, "the rows are damaged: their checksum does not match"),
        }
    }
}

/// The first word of a block.
const MAGIC: u64 = u64::from_le_bytes(*b"bkn-rows");

/// The format of a block: of its head and of what follows it.
const FORMAT: u64 = 1;

/// The bytes of a head: eight words, the last of which is a checksum of those before it.
const HEADER_BYTES: usize = 64;

/// What a codec says of itself, and finds again in a block that it may read.
#[derive(Clone, Copy)]
struct Codec {
    number: u64,
    /// Which build may read its blocks; the same for all where any may.
    build: u64,
}

/// How rows of `N` words lie: their width, and where the bytes of memory are written as they are also size, alignment and order.
const fn layout<const N: usize>() -> u64 {
    const { assert!(N > 0 && N < 256, "a row has some words, and not many") };
    let order = cfg!(target_endian = "little") as u64;
    (N as u64) << 32 | (size_of::<[u64; N]>() as u64) << 16 | (align_of::<[u64; N]>() as u64) << 8 | order
}

/// A block's head, and room for its rows.
fn begin<const N: usize>(rows: &[[u64; N]]) -> Vec<u8> {
    let mut block = Vec::with_capacity(HEADER_BYTES + size_of_val(rows));
    block.resize(HEADER_BYTES, 0);
    block
}

/// Fills in the head of a block whose rows have been written.
fn seal<const N: usize>(block: &mut [u8], codec: Codec, rows: usize) {
    let (head, payload) = block.split_at_mut(HEADER_BYTES);
    let mut words = [MAGIC, FORMAT, codec.number, codec.build, layout::<N>(), rows as u64, xxh3_64(payload), 0];
    for (bytes, word) in head.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    words[7] = xxh3_64(&head[..HEADER_BYTES - 8]);
    head[HEADER_BYTES - 8..].copy_from_slice(&words[7].to_le_bytes());
}

/// The bytes of a block's rows, and how many rows they are, once all that can be checked is found right.
fn open<const N: usize>(block: &[u8], codec: Codec) -> Result<(&[u8], usize), FlatError> {
    let Some((head, payload)) = block.split_at_checked(HEADER_BYTES) else {
        return Err(FlatError::Torn { expected: HEADER_BYTES as u64, found: block.len() as u64 });
    };
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(head.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let [magic, format, number, build, layout_found, rows, checksum, head_checksum] = words;
    if magic != MAGIC {
        return Err(FlatError::Foreign);
    }
    if head_checksum != xxh3_64(&head[..HEADER_BYTES - 8]) {
        return Err(FlatError::Checksum);
    }
    if format != FORMAT {
        return Err(FlatError::Format { found: format });
    }
    if number != codec.number {
        return Err(FlatError::Codec { found: number });
    }
    if build != codec.build {
        return Err(FlatError::Build);
    }
    if layout_found != layout::<N>() {
        return Err(FlatError::Layout);
    }
    let expected = rows.saturating_mul(size_of::<[u64; N]>() as u64);
    if expected != payload.len() as u64 {
        let head = HEADER_BYTES as u64;
        return Err(FlatError::Torn { expected: expected.saturating_add(head), found: block.len() as u64 });
    }
    if checksum != xxh3_64(payload) {
        return Err(FlatError::Checksum);
    }
    Ok((payload, rows as usize))
}

#[cfg(test)]
mod tests;
