//! How values are written on the command line: durations, times, shares, rates; and the way back, for summaries.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};

use crate::files::Written;
use crate::stream::STREAMS;
use crate::written::grouped;

/// A duration such as `90s`, `2h`, `1h 30m` or `20ms`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration =
        text.parse().map_err(|_| format!("'{text}' is no duration such as 90s, 20ms or 2h"))?;
    Duration::try_from(parsed).map_err(|_| format!("'{text}' is negative"))
}

/// A time in epoch milliseconds, written as RFC 3339 or just so.
pub fn time_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let parsed: Timestamp = text
        .parse()
        .map_err(|_| format!("'{text}' is neither RFC 3339, such as 2026-01-01T00:00:00Z, nor epoch milliseconds"))?;
    Ok(parsed.as_millisecond())
}

/// A share from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("'{text}' is no share between 0 and 1")),
    }
}

/// A rate or a speed: more than 0, and finite.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err(format!("'{text}' is no number greater than 0")),
    }
}

/// A speed, or `max`, which is `None`.
pub fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" { Ok(Speed::Max) } else { positive(text).map(Speed::Times) }
}

/// How fast virtual time goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// So many times as fast as the wall clock.
    Times(f64),
    /// As fast as can be.
    Max,
}

/// A table of what was written, stream by stream.
pub fn table(written: &Written) -> String {
    let row =
        |name: &str, records: u64, bytes: u64| format!("{name:<12} {:>14} {:>18}\n", grouped(records), grouped(bytes));
    let mut table = format!("{:<12} {:>14} {:>18}\n", "stream", "records", "bytes");
    for (place, stream) in STREAMS.iter().enumerate() {
        table += &row(stream, written.records[place], written.bytes[place]);
    }
    table + &row("total", written.total(), written.bytes.iter().sum())
}

/// Writes a result to standard output.
pub fn print(result: &str) -> Result<()> {
    std::io::stdout().write_all(result.as_bytes()).context("cannot write the result to standard output")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written_in_the_help() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7_200)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("20ms"), Ok(Duration::from_millis(20)));
        assert!(duration("soon").is_err() && duration("-1s").is_err());
        assert_eq!(time_ms("2026-01-01T00:00:00Z"), Ok(1_767_225_600_000));
        assert_eq!(time_ms("1767225600000"), Ok(1_767_225_600_000));
        assert!(time_ms("today").is_err());
        assert!(share("1.1").is_err() && share("x").is_err());
        assert_eq!(speed("max"), Ok(Speed::Max));
    }
}
