//! Times to epoch milliseconds. In: the text of a time. Out: milliseconds, rounded down. Whether they are absurd is for the
//! caller to say.

use jiff::Timestamp;

/// The earliest time that is not absurd: 2000-01-01T00:00:00Z, epoch ms.
pub(super) const EVENT_MS_MIN: i64 = 946_684_800_000;
/// The latest time that is not absurd: 2100-01-01T00:00:00Z, epoch ms.
pub(super) const EVENT_MS_MAX: i64 = 4_102_444_800_000;

/// The instant that `text` names, epoch ms: RFC 3339, and what else of ISO 8601 names an instant.
pub(super) fn instant_ms(text: &str) -> Option<i64> {
    rfc3339_ms(text.as_bytes()).or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond))
}

/// The shape that nearly every producer writes, `YYYY-MM-DDTHH:MM:SS[.digits](Z|±HH:MM)`; `None` for any other. Second 60
/// is left to the general path.
#[inline]
fn rfc3339_ms(text: &[u8]) -> Option<i64> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    let separated = head[4] == b'-' && head[7] == b'-' && head[10] == b'T' && head[13] == b':' && head[16] == b':';
    let year = i64::from(two(head[0], head[1])?) * 100 + i64::from(two(head[2], head[3])?);
    let (month, day) = (two(head[5], head[6])?, two(head[8], head[9])?);
    let (hour, minute, second) = (two(head[11], head[12])?, two(head[14], head[15])?, two(head[17], head[18])?);
    if !separated || hour > 23 || minute > 59 || second > 59 || !(1..=12).contains(&month) {
        return None;
    }
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let (fraction_ms, zone) = fraction(tail)?;
    let seconds = days_since_epoch(year, month, day) * 86_400
        + i64::from(hour) * 3_600
        + i64::from(minute) * 60
        + i64::from(second)
        - offset_s(zone)?;
    Some(seconds * 1_000 + fraction_ms)
}

/// Two digits.
#[inline(always)]
fn two(tens: u8, ones: u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens) * 10 + u32::from(ones))
}

/// Milliseconds, rounded down, of a fraction of a second if `tail` starts with one; and what follows it.
#[inline(always)]
fn fraction(tail: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = tail.split_first() else {
        return Some((0, tail));
    };
    let length = digits.iter().position(|byte| !byte.is_ascii_digit()).filter(|length| *length > 0)?;
    let ms = (0..3).fold(0, |ms, place| ms * 10 + if place < length { i64::from(digits[place] - b'0') } else { 0 });
    Some((ms, &digits[length..]))
}

/// Seconds east of UTC, from `Z` or `±HH:MM`.
#[inline(always)]
fn offset_s(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(h1, h2)?, two(m1, m2)?);
            let east = i64::from(hours * 3_600 + minutes * 60);
            (hours < 24 && minutes < 60).then_some(if sign == b'+' { east } else { -east })
        }
        _ => None,
    }
}

/// Days in a month of the Gregorian calendar.
fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, for years from 0: years are counted from March, so that a leap day is a year's last.
fn days_since_epoch(year: i64, month: u32, day: u32) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = i64::from((month + 9) % 12);
    let day_of_year = (153 * march_month + 2) / 5 + i64::from(day) - 1;
    let leap_days = march_year.div_euclid(4) - march_year.div_euclid(100) + march_year.div_euclid(400);
    march_year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fast_path_agrees_with_jiff(ms in -62_167_219_200_000i64..=253_402_207_200_000, digits in 0usize..=9, nanos in 0u32..1_000_000, east_min in -1439i64..=1439) {
            let instant = Timestamp::from_millisecond(ms).unwrap() + jiff::SignedDuration::from_nanos(nanos.into());
            let utc = format!("{instant:.digits$}");
            prop_assert_eq!(rfc3339_ms(utc.as_bytes()), utc.parse::<Timestamp>().ok().map(|t| t.as_nanosecond().div_euclid(1_000_000) as i64));
            let offset = jiff::tz::Offset::from_seconds(east_min as i32 * 60).unwrap();
            let local = instant.display_with_offset(offset).to_string();
            if let Some(fast) = rfc3339_ms(local.as_bytes()) {
                prop_assert_eq!(fast, ms);
            }
        }

        #[test]
        fn what_the_fast_path_takes_jiff_takes(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])") {
            let general = text.parse::<Timestamp>().ok().map(|t| t.as_nanosecond().div_euclid(1_000_000) as i64);
            if let Some(fast) = rfc3339_ms(text.as_bytes()) {
                prop_assert_eq!(Some(fast), general);
            }
        }
    }

    #[test]
    fn times_are_rounded_down_and_any_offset_is_read() {
        let check = |text: &str, ms| assert_eq!(instant_ms(text), ms, "{text}");
        check("2026-01-01T10:00:00Z", Some(1_767_261_600_000));
        check("2026-01-01T10:00:00.000Z", Some(1_767_261_600_000));
        check("2026-01-01T10:00:00.1Z", Some(1_767_261_600_100));
        check("2026-01-01T10:00:00.123999999Z", Some(1_767_261_600_123));
        check("2026-01-01T10:00:00.1239999999999Z", Some(1_767_261_600_123));
        check("2026-01-01T10:00:00+02:00", Some(1_767_254_400_000));
        check("2026-01-01T10:00:00.5-05:30", Some(1_767_281_400_500));
        check("2026-01-01t10:00:00z", Some(1_767_261_600_000));
        check("2026-01-01 10:00:00Z", Some(1_767_261_600_000));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000));
        check("2024-02-29T00:00:00Z", Some(1_709_164_800_000));
        check("2023-02-29T00:00:00Z", None);
        check("2026-13-01T00:00:00Z", None);
        check("2026-01-01T24:00:00Z", None);
        check("2026-01-01T10:00:00", None);
        check("2026-01-01T10:00:00.Z", None);
        check("2026-01-01", None);
        check("yesterday", None);
        check("", None);
    }
}
