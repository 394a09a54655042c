//! Event time to ticks (SPEC §2). In: the decoded records of each stream, in the order of its file. Out: each with the
//! tick at which it takes effect, and whether it came late. Cannot fail.

use super::records::Decoded;

/// A record's place: stream (in SPEC §1's order), then line, from 1. A file is one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub stream: usize,
    pub line: usize,
}

/// A record with its place and its tick.
#[derive(Clone, Debug)]
pub struct Stamped {
    pub position: Position,
    /// The tick of effect, epoch ms.
    pub tick: i64,
    pub late: bool,
    pub decoded: Decoded,
}

/// The least multiple of `tick_ms` that is no less than `time_ms`. Serves times and durations alike.
pub fn round_up(time_ms: i64, tick_ms: i64) -> i64 {
    (time_ms + tick_ms - 1).div_euclid(tick_ms) * tick_ms
}

/// Stamps one stream's records. The watermark is that before the record itself: it judges what came earlier.
pub fn stamp(stream: usize, records: Vec<(usize, Decoded)>, tick_ms: i64, lateness_ms: i64) -> Vec<Stamped> {
    let mut greatest_ms: Option<i64> = None;
    let mut stamped = Vec::new();
    for (line, decoded) in records {
        let own_tick = round_up(decoded.time_ms, tick_ms);
        let watermark_ms = greatest_ms.map_or(i64::MIN, |greatest| greatest - lateness_ms);
        let late = watermark_ms > own_tick;
        let tick = match late {
            true => round_up(watermark_ms, tick_ms),
            false => own_tick,
        };
        greatest_ms = greatest_ms.max(Some(decoded.time_ms));
        stamped.push(Stamped { position: Position { stream, line }, tick, late, decoded });
    }
    stamped
}
