//! Which mails a recipient wants (ARCHITECTURE, "Choices"): what is offered, what holds now, and what a form makes of it. In: what the
//! shop offers, what is known of a recipient, and the form that they sent. Out: the campaigns that they do not want. Nothing that a form
//! says is taken but the titles that were offered.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

/// Mails that can be chosen or not: one box of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What a recipient calls them; no two offers have the same.
    pub title: String,
    /// The campaigns that send them.
    pub campaigns: Vec<String>,
}

/// What holds of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// They get nothing any more, for good: unsubscribed, complained, bounced or erased.
    Nothing,
    /// They get all but the mails of these campaigns, of which some may not be offered any more.
    AllBut(BTreeSet<String>),
}

/// Whoever knows what is offered, and what was chosen.
pub trait Choices: Send + Sync {
    /// What is offered, in the order in which it is shown.
    fn offers(&self) -> &[Offer];
    /// What holds of a recipient, by the shop's id; none where it is not known at the moment. It may wait for the state's lock.
    fn of(&self, customer: &str) -> Option<Chosen>;
}

/// What a form asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// The titles whose boxes were shown, and those whose boxes were ticked.
    shown: BTreeSet<String>,
    wanted: BTreeSet<String>,
}

impl Form {
    /// The form in a body of `application/x-www-form-urlencoded`; none in any other, be it RFC 8058's or a stranger's. One that asks to
    /// unsubscribe as well is none either.
    pub(super) fn of(body: &[u8]) -> Option<Form> {
        let (mut form, mut is_form) = (Form::default(), false);
        for pair in body.split(|byte| *byte == b'&') {
            let place = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (text(&pair[..place])?, text(pair.get(place + 1..).unwrap_or_default())?);
            match (name.as_str(), value.as_str()) {
                ("do", "save") => is_form = true,
                ("List-Unsubscribe", _) => return None,
                ("shown", _) => form.shown.extend([value]),
                ("wanted", _) => form.wanted.extend([value]),
                _ => {}
            }
        }
        is_form.then_some(form)
    }

    /// What is declined once this was chosen, of what is offered, by who had `declined` before. What was not shown stays as it was.
    pub(super) fn apply(&self, offers: &[Offer], declined: &BTreeSet<String>) -> BTreeSet<String> {
        let mut declined = declined.clone();
        for offer in offers.iter().filter(|offer| self.shown.contains(&offer.title)) {
            if self.wanted.contains(&offer.title) {
                declined.retain(|campaign| !offer.campaigns.contains(campaign));
            } else {
                declined.extend(offer.campaigns.iter().cloned());
            }
        }
        declined
    }
}

impl Offer {
    /// Whether its box is ticked for who has `declined` these campaigns.
    pub(super) fn is_wanted(&self, declined: &BTreeSet<String>) -> bool {
        !self.campaigns.iter().any(|campaign| declined.contains(campaign))
    }
}

/// A name or a value of a form; none where it is no text.
fn text(encoded: &[u8]) -> Option<String> {
    let spaced = std::str::from_utf8(encoded).ok()?.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_says_so_is_a_form() {
        let saved = Form::of(b"shown=Your+carts&shown=Caf%C3%A9&wanted=Your+carts&x=y&do=save");
        assert_eq!(saved, Some(Form { shown: names(&["Your carts", "Café"]), wanted: names(&["Your carts"]) }));
        assert_eq!(Form::of(b"do=save"), Some(Form::default()));
        for other in [
            &b""[..],
            b"List-Unsubscribe=One-Click",
            b"do=save&List-Unsubscribe=One-Click",
            b"do=unsubscribe&wanted=a",
            b"do",
            b"{\"do\":\"save\"}",
            b"--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--",
            b"\xff=save",
            b"do=save&wanted=%FF",
        ] {
            assert_eq!(Form::of(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_was_not_shown_or_is_not_offered_stays_as_it_was() {
        let offer = |title: &str, campaigns: &[&str]| Offer {
            title: title.into(),
            campaigns: campaigns.iter().map(|name| (*name).into()).collect(),
        };
        let offers = [offer("Carts", &["cart", "cart-2"]), offer("Stock", &["restock"]), offer("New", &["new"])];
        let form = |shown: &[&str], wanted: &[&str]| Form { shown: names(shown), wanted: names(wanted) };
        let before = names(&["cart-2", "gone"]);
        let shown = ["Carts", "Stock"];
        assert_eq!(form(&shown, &shown).apply(&offers, &before), names(&["gone"]));
        assert_eq!(form(&shown, &[]).apply(&offers, &before), names(&["cart", "cart-2", "restock", "gone"]));
        assert_eq!(form(&[], &["Carts"]).apply(&offers, &before), before);
        assert_eq!(form(&["gone", "x"], &["gone"]).apply(&offers, &before), before);
        assert!(!offers[0].is_wanted(&before) && offers[1].is_wanted(&before));
    }
}
