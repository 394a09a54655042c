//! What presses, and is true: how few are left, how soon it ends. In: the state of now. Out: a sentence, or nothing where
//! nothing presses, so that `{{#if (stock_left on_hand)}}` asks. Cannot fail.

use super::language::Language;

/// Stock from which on nothing is said, unless a template says `below=N`.
pub(super) const BELOW: i64 = 5;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// «Only 2 left»: of a stock from 1 on, and less than `below`.
pub(super) fn stock_left(on_hand: i64, below: i64, language: &Language) -> String {
    if (1..below).contains(&on_hand) { language.left.of(on_hand) } else { String::new() }
}

/// «Ends in 3 hours», rounded down to days from two on, to hours from one on, and to minutes; nothing once it is less than a
/// minute or over.
pub(super) fn time_left(now_ms: u64, until_ms: u64, language: &Language) -> String {
    let left_ms = until_ms.saturating_sub(now_ms);
    let (unit, unit_ms) = match left_ms {
        0..MINUTE_MS => return String::new(),
        MINUTE_MS..HOUR_MS => (0, MINUTE_MS),
        _ if left_ms < 2 * DAY_MS => (1, HOUR_MS),
        _ => (2, DAY_MS),
    };
    language.ends_in[unit].of(i64::try_from(left_ms / unit_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_left_in_every_language() {
        let say = |tag, units| stock_left(units, BELOW, Language::of(tag));
        for units in [-1, 0, 5, 99] {
            assert_eq!(say("en", units), "");
        }
        let said = ["en", "de", "fr", "es", "it", "nl"].map(|tag| say(tag, 2));
        let expected = [
            "Only 2 left",
            "Nur noch 2 Stück",
            "Plus que 2 en stock",
            "Solo quedan 2",
            "Ne restano solo 2",
            "Nog maar 2 op voorraad",
        ];
        assert_eq!(said, expected);
        assert_eq!(say("es", 1), "Solo queda 1");
    }

    #[test]
    fn what_ends_is_never_said_to_end_later_than_it_does() {
        let say = |tag, left_ms| time_left(1_000, 1_000 + left_ms, Language::of(tag));
        assert_eq!(say("en", 0), "");
        assert_eq!(say("en", MINUTE_MS - 1), "");
        assert_eq!(say("en", HOUR_MS - 1), "Ends in 59 minutes");
        assert_eq!(say("en", HOUR_MS), "Ends in 1 hour");
        assert_eq!(say("de", 4 * HOUR_MS - 1), "Endet in 3 Stunden");
        assert_eq!(say("fr", 2 * DAY_MS - 1), "Se termine dans 47 heures");
        assert_eq!(say("nl", 3 * DAY_MS), "Eindigt over 3 dagen");
        assert_eq!(time_left(5, 4, Language::of("en")), "");
    }
}
