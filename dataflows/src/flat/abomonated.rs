//! The codec of the feature `abomonation`: the rows as they lie in memory. In and out: as [`super`] says, and all `unsafe` of it is
//! here. Read by the same build only.
//!
//! abomonation is unmaintained, and RUSTSEC-2021-0120 says why it is dangerous: it makes references to types out of bytes that
//! may lie misaligned, and shows the bytes of types that may have padding. Neither can be here. A row is `[u64; N]`: no padding, no
//! pointer, and every pattern of bits is one. Its memory is that of a `Vec<[u64; N]>`, so it is aligned. And before any byte
//! becomes a row, the head has said that this very build wrote it for this layout, and the checksum that it is whole.

#![allow(unsafe_code)]

use std::sync::LazyLock;

use abomonation::Abomonation;
use xxhash_rust::xxh3::xxh3_64;

use super::{Codec, FlatError, begin, open, seal};

/// A row as abomonation knows it: its own bytes, and nothing beyond them.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Row<const N: usize>([u64; N]);

impl<const N: usize> Abomonation for Row<N> {}

/// The number of this codec in a block's head.
const CODEC: u64 = 2;

/// Who may read: the same version for the same kind of machine. That it is the very same program is for the file around the blocks
/// to see.
static ABOMONATED: LazyLock<Codec> = LazyLock::new(|| {
    let build = [env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, std::env::consts::OS].join(" ");
    Codec { number: CODEC, build: xxh3_64(build.as_bytes()) }
});

/// The rows as bytes.
pub fn encode<const N: usize>(rows: &[[u64; N]]) -> Vec<u8> {
    let mut block = begin(rows);
    for row in rows {
        // SAFETY: a row has no padding, so each of its bytes may be seen. Writing to a `Vec` cannot fail.
        let _ = unsafe { abomonation::encode(&Row(*row), &mut block) };
    }
    seal::<N>(&mut block, *ABOMONATED, rows.len());
    block
}

/// The rows of a block that [`encode`] made.
pub fn decode<const N: usize>(bytes: &[u8]) -> Result<Vec<[u64; N]>, FlatError> {
    let (payload, count) = open::<N>(bytes, *ABOMONATED)?;
    let mut rows = vec![Row([0; N]); count];
    // SAFETY: `open` has seen that `payload` is as long as `count` rows, and `rows` has as many. They do not overlap, the one being
    // borrowed and the other new, and any bytes make valid rows.
    unsafe { std::ptr::copy_nonoverlapping(payload.as_ptr(), rows.as_mut_ptr().cast::<u8>(), payload.len()) };
    for row in &mut rows {
        // `abomonation::decode` would do the same through a reference to a single byte, which Rust's aliasing rules forbid.
        // SAFETY: the row is one that `encode` wrote, by the head and the checksum, and owns nothing.
        let _ = unsafe { row.exhume(&mut []) };
    }
    Ok(rows.into_iter().map(|Row(row)| row).collect())
}
