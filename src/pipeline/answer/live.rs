//! Open-time content (SPEC §8, `/live`): what is so now of a product in a mail, or how soon it ends. In: the mail's decision and a block. Out:
//! words in the customer's language, as of the newest closed tick. Nothing of a product that is not in that mail.

use beckon_dataflows::model::{Contact, Id, Namespace, Tick};

use super::Answers;
use crate::config::Config;
use crate::decision::{Decision, PayloadLine};
use crate::pipeline::compose::Expiries;
use crate::pipeline::read;
use crate::render::live::{Block, Known, say};
use crate::tracking::Token;
use crate::web::live::{Asked, Live, Shown};

/// Whoever looks up what is so now.
pub struct Now {
    answers: Answers,
    expiries: Expiries,
}

impl Now {
    /// That of a service.
    pub fn of(answers: Answers, config: &Config) -> Now {
        Now { answers, expiries: Expiries::of_campaigns(config) }
    }

    fn look(&self, token: &Token, asked: &Asked) -> anyhow::Result<Option<Shown>> {
        let Ok(block) = asked.block.parse::<Block>() else { return Ok(None) };
        let Some(decision) = self.answers.ledger.decision(token.decision)? else { return Ok(None) };
        let line = line_of(&decision, asked.sku.as_deref());
        if line.is_none() && block != Block::Countdown {
            return Ok(None);
        }
        let state = read(&self.answers.state);
        let contact = [Namespace::User, Namespace::Anonymous].map(|kind| Id::of(kind, &token.customer).0);
        let contact = contact.iter().find_map(|id| state.contact(*id)).cloned();
        let sku = line.map(|line| Id::of(Namespace::Sku, &line.sku).0);
        let product = sku.and_then(|sku| state.product(sku)).cloned();
        let (as_of, on_hand) = (state.as_of(), sku.map(|sku| state.on_hand(sku)));
        drop(state);
        let was = line.and_then(|line| line.price).map(|price| price.0);
        let known = Known {
            on_hand,
            price: product.as_ref().and_then(|product| product.price).map(|price| price.0).or(was),
            was,
            currency: product.as_ref().and_then(|product| product.currency.as_deref()),
            expires_at: self.expiries.of(&decision),
            now: as_of,
        };
        let words = say(block, &known, &language(contact));
        Ok(words.map(|words| Shown { as_of, text: words.text, struck: words.struck }))
    }
}

impl Live for Now {
    fn as_of(&self) -> Tick {
        read(&self.answers.state).as_of()
    }

    fn show(&self, token: &Token, asked: &Asked) -> Option<Shown> {
        self.look(token, asked).unwrap_or_else(|fault| {
            tracing::error!(id = %token.decision, "open-time content was not made: {fault:#}");
            None
        })
    }
}

fn language(contact: Option<Contact>) -> String {
    contact.and_then(|contact| contact.words().locale.map(str::to_owned)).unwrap_or_else(|| "en".into())
}

/// The mail's line of this SKU; without one that of the most expensive, of several the first.
fn line_of<'d>(decision: &'d Decision, sku: Option<&str>) -> Option<&'d PayloadLine> {
    let payload = &decision.payload;
    match sku {
        Some(sku) => payload.lines.iter().chain(payload.similar.iter().flatten()).find(|line| &*line.sku == sku),
        None => payload.lines.iter().rev().max_by_key(|line| line.price),
    }
}
