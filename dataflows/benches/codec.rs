//! What the rows of a snapshot cost as bytes, there and back: the safe codec, abomonation (with its feature), and postcard, which
//! snapshots use for what has no fixed width. Each figure is the median of some rounds over a million rows, in blocks of some 64 KiB
//! as snapshots have them.
//!
//! `cargo bench -p beckon-dataflows --bench codec --features abomonation`

use std::hint::black_box;
use std::time::{Duration, Instant};

use beckon_dataflows::flat::{FlatError, words};

/// Words a row: a key, its wake-up, and two of state.
const WORDS: usize = 4;
const ROWS: usize = 1_000_000;
/// Rows a block.
const BLOCK_ROWS: usize = (64 << 10) / (8 * WORDS);
const ROUNDS: usize = 31;

type Row = [u64; WORDS];

fn main() {
    let rows: Vec<Row> = (0..ROWS as u64).map(row).collect();
    println!("{ROWS} rows of {WORDS} words, blocks of {BLOCK_ROWS} rows, median of {ROUNDS} rounds\n");
    println!(
        "{:<12} {:>13} {:>13} {:>13} {:>12}",
        "codec", "encode ns/row", "decode ns/row", "bytes/row", "GB/s decoded"
    );
    report("copy", &rows, |rows| rows.to_vec(), |rows| rows.clone(), |rows| size_of_val(&rows[..]));
    report("words", &rows, words::encode, |block| checked(words::decode(block)), |block| block.len());
    #[cfg(feature = "abomonation")]
    {
        use beckon_dataflows::flat::abomonated;
        report(
            "abomonation",
            &rows,
            abomonated::encode,
            |block| checked(abomonated::decode(block)),
            |block| block.len(),
        );
    }
    report(
        "postcard",
        &rows,
        |rows| postcard::to_stdvec(rows).unwrap(),
        |block| postcard::from_bytes(block).unwrap(),
        |block| block.len(),
    );
}

/// Keys are hashes, ticks are milliseconds of today, the rest is small.
fn row(n: u64) -> Row {
    let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [key, 1_767_225_600_000 + n * 1_000, n % 7, n % 100_000]
}

fn checked(rows: Result<Vec<Row>, FlatError>) -> Vec<Row> {
    rows.unwrap_or_else(|error| panic!("{error}"))
}

/// Prints what one codec costs.
fn report<B>(
    name: &str,
    rows: &[Row],
    encode: impl Fn(&[Row]) -> B,
    decode: impl Fn(&B) -> Vec<Row>,
    bytes: impl Fn(&B) -> usize,
) {
    let blocks: Vec<B> = rows.chunks(BLOCK_ROWS).map(&encode).collect();
    let decoded: Vec<Row> = blocks.iter().flat_map(&decode).collect();
    assert!(decoded == rows, "{name} does not give back what it was given");
    let encoding = median(|| rows.chunks(BLOCK_ROWS).for_each(|rows| drop(black_box(encode(black_box(rows))))));
    let decoding = median(|| blocks.iter().for_each(|block| drop(black_box(decode(black_box(block))))));
    let per_row = |time: Duration| time.as_secs_f64() * 1e9 / rows.len() as f64;
    let size: usize = blocks.iter().map(bytes).sum();
    println!(
        "{name:<12} {:>13.2} {:>13.2} {:>13.1} {:>12.1}",
        per_row(encoding),
        per_row(decoding),
        size as f64 / rows.len() as f64,
        size_of_val(rows) as f64 / decoding.as_secs_f64() / 1e9
    );
}

fn median(round: impl Fn()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            round();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}
