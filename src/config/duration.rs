//! Durations as people write them. In: `"30m"`, `"1h30m"`, `"250ms"`, `"2d"`. Out: milliseconds. Fails with what is wrong.

/// What every fault about a duration hints.
pub(super) const HINT: &str = "a duration is text of whole numbers with units: \"30m\", \"1h30m\", \"250ms\", \"2d\"";

/// Units from the largest, in milliseconds; each at most once, in this order.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest duration that makes sense, in days; keeps every sum of a tick and a duration far from overflow.
const DAYS_MAX: u64 = 36_500;

/// Reads a duration, in milliseconds. `"0s"` is 0.
pub(super) fn parse_ms(text: &str) -> Result<u64, String> {
    let mut rest = text;
    let mut total_ms: u64 = 0;
    let mut units = UNITS.iter();
    if text.is_empty() {
        return Err("the duration is empty".to_owned());
    }
    while !rest.is_empty() {
        let number = take(&mut rest, |c| c.is_ascii_digit());
        if number.is_empty() {
            return Err(format!("`{text}` is not a duration"));
        }
        let unit = take(&mut rest, |c| c.is_alphabetic());
        if unit.is_empty() {
            return Err(if rest.is_empty() {
                format!("the duration `{text}` lacks a unit")
            } else {
                format!("`{text}` is not a duration")
            });
        }
        let Some((_, unit_ms)) = units.find(|(name, _)| *name == unit) else {
            let known = UNITS.iter().any(|(name, _)| *name == unit);
            let why = if known { "stands after a smaller unit, or twice" } else { "is no unit (d, h, m, s, ms)" };
            return Err(format!("`{unit}` in `{text}` {why}"));
        };
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*unit_ms))
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .filter(|total_ms| *total_ms <= DAYS_MAX * UNITS[0].1)
            .ok_or_else(|| format!("the duration `{text}` is longer than {DAYS_MAX} days"))?;
    }
    Ok(total_ms)
}

/// Cuts the longest prefix whose characters all hold `of` off `rest`.
fn take<'a>(rest: &mut &'a str, of: impl Fn(char) -> bool) -> &'a str {
    let (head, tail) = rest.split_at(rest.find(|c| !of(c)).unwrap_or(rest.len()));
    *rest = tail;
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_units_from_the_largest() {
        for (text, ms) in [
            ("30m", 1_800_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("0s", 0),
            ("1m1ms", 60_001),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "5", "m", "1.5h", "-1s", "1 h", "30m1h", "1s1s", "1w", "1h ", "h1", "36501d", "99999999999999999d"]
        {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
