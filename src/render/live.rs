//! What open-time content says (SPEC §8, `/live`): the stock left, the price now, the time left. In: a block, what is known now, and a
//! language. Out: a few words. Nothing where nothing is known. The mail says the same in the place of a picture that is not loaded.

use std::str::FromStr;

use beckon_dataflows::model::Tick;
use rust_decimal::Decimal;

use super::wording;

/// What can be shown when a mail is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// How many are left: `stock`.
    Stock,
    /// What it costs: `price`.
    Price,
    /// How soon it ends: `countdown`.
    Countdown,
}

impl FromStr for Block {
    type Err = ();

    fn from_str(name: &str) -> Result<Block, ()> {
        match name {
            "stock" => Ok(Block::Stock),
            "price" => Ok(Block::Price),
            "countdown" => Ok(Block::Countdown),
            _ => Err(()),
        }
    }
}

/// What is known at a tick.
#[derive(Clone, Debug, Default)]
pub struct Known<'k> {
    /// Units in stock.
    pub on_hand: Option<i64>,
    /// What a unit costs.
    pub price: Option<Decimal>,
    /// What it cost when the mail was decided.
    pub was: Option<Decimal>,
    /// ISO 4217 code of both.
    pub currency: Option<&'k str>,
    /// When it ends, epoch ms.
    pub expires_at: Option<Tick>,
    /// The tick, epoch ms.
    pub now: Tick,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// This.
    pub text: String,
    /// The price before, struck out, where the one of now is lower.
    pub struck: Option<String>,
}

/// Says a block in the language of a tag.
pub fn say(block: Block, known: &Known<'_>, tag: &str) -> Option<Words> {
    let text = match block {
        Block::Stock => wording::stock(known.on_hand?, tag),
        Block::Price => wording::money(known.price?, known.currency, tag),
        Block::Countdown => wording::ends(known.now, known.expires_at?, tag),
    };
    let was = known.was.filter(|was| block == Block::Price && known.price.is_some_and(|price| price < *was));
    Some(Words { text, struck: was.map(|was| wording::money(was, known.currency, tag)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_says_what_is_so_now() {
        let known = |on_hand| Known {
            on_hand: Some(on_hand),
            price: "19.90".parse().ok(),
            was: "24.90".parse().ok(),
            currency: Some("EUR"),
            expires_at: Some(3 * 3_600_000),
            now: 0,
        };
        let said = |block, on_hand, tag| say(block, &known(on_hand), tag).map(|words| words.text).unwrap();
        assert_eq!([0, 2, 9].map(|units| said(Block::Stock, units, "en")), ["Sold out", "Only 2 left", "In stock"]);
        assert_eq!(
            [0, 2, 9].map(|units| said(Block::Stock, units, "de")),
            ["Ausverkauft", "Nur noch 2 Stück", "Auf Lager"]
        );
        let price = say(Block::Price, &known(1), "de").unwrap();
        assert_eq!((price.text.as_str(), price.struck.as_deref()), ("19,90\u{a0}€", Some("24,90\u{a0}€")));
        assert_eq!(said(Block::Countdown, 1, "fr"), "Se termine dans 3 heures");
        let over = Known { now: 4 * 3_600_000, ..known(1) };
        assert_eq!(say(Block::Countdown, &over, "nl").unwrap().text, "Afgelopen");
        let dearer = Known { was: "9.90".parse().ok(), ..known(1) };
        assert_eq!(say(Block::Price, &dearer, "en").unwrap().struck, None);
        for block in [Block::Stock, Block::Price, Block::Countdown] {
            assert_eq!(say(block, &Known::default(), "en"), None);
        }
    }
}
