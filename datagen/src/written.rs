//! How numbers and times are written for people. Cannot fail.

use jiff::Timestamp;

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// So many of something: `1 mail`, `1,200 mails`.
pub fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A time in epoch milliseconds, as RFC 3339.
pub fn written_time(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(|_| format!("{time_ms} ms"), |time| time.to_string())
}

/// How long something took, as it is read best: `40 ms`, `1.25 s`, `2 min 5 s`.
pub fn lasting(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => {
            let text = format!("{:.2}", ms as f64 / 1_000.0);
            format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => match (ms / 60_000, ms % 60_000 / 1_000) {
            (minutes, 0) => format!("{minutes} min"),
            (minutes, seconds) => format!("{minutes} min {seconds} s"),
        },
    }
}

/// Bytes in MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_written_for_people() {
        assert_eq!((grouped(1_234_567), grouped(12)), ("1,234,567".to_owned(), "12".to_owned()));
        assert_eq!((counted(1, "mail"), counted(1_200, "mail")), ("1 mail".to_owned(), "1,200 mails".to_owned()));
        let written = [0, 999, 1_000, 1_250, 59_990, 60_000, 125_000].map(lasting);
        assert_eq!(written, ["0 ms", "999 ms", "1 s", "1.25 s", "59.99 s", "1 min", "2 min 5 s"]);
    }
}
