//! A mail, ready to be handed to an ESP. `render` makes it, `sink` puts it on the wire.

use std::fmt;
use std::str::FromStr;

/// Whom a mail is from or to: `Shop <shop@example.com>`, or an address alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The name that the recipient sees.
    pub name: Option<String>,
    /// `local@domain`.
    pub address: String,
}

/// A text that is no mailbox.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no mailbox; write NAME <LOCAL@DOMAIN>, or LOCAL@DOMAIN alone")]
pub struct MailboxFault(String);

impl Mailbox {
    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        self.address.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

impl FromStr for Mailbox {
    type Err = MailboxFault;

    /// Reads what a configuration or a profile says. Only what could break out of a header or is plainly no address is
    /// refused; whether the mailbox exists is the ESP's to say.
    fn from_str(text: &str) -> Result<Self, MailboxFault> {
        let fault = || MailboxFault(text.to_owned());
        let (name, address) = match text.trim().strip_suffix('>') {
            Some(rest) => rest.rsplit_once('<').ok_or_else(fault)?,
            None => ("", text.trim()),
        };
        let name = name.trim().trim_matches('"');
        let (local, domain) = address.rsplit_once('@').ok_or_else(fault)?;
        let broken =
            |character: char| character.is_control() || character.is_whitespace() || "<>,;\"".contains(character);
        if local.is_empty() || domain.is_empty() || address.contains(broken) || name.contains(char::is_control) {
            return Err(fault());
        }
        Ok(Mailbox { name: (!name.is_empty()).then(|| name.to_owned()), address: address.to_owned() })
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "{name} <{}>", self.address),
            None => out.write_str(&self.address),
        }
    }
}

/// A mail, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Recipient.
    pub to: Mailbox,
    /// Sender.
    pub from: Mailbox,
    /// One line, free of control characters.
    pub subject: String,
    /// The HTML part.
    pub html: String,
    /// The plain part.
    pub text: String,
    /// `<DECISION_ID@DOMAIN>`, the domain that of `from`: the same in every attempt.
    pub message_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_is_read_and_written_back() {
        for text in ["Shop <shop@example.com>", "shop@example.com", "Müller & Söhne <info@müller.example>"] {
            assert_eq!(text.parse::<Mailbox>().unwrap().to_string(), text);
        }
        let shop: Mailbox = "\"Shop, Inc.\" <shop@example.com>".parse().unwrap();
        assert_eq!((shop.name.as_deref(), shop.domain()), (Some("Shop, Inc."), "example.com"));
        for text in ["", "shop", "@example.com", "a@", "a b@c.d", "a@b.c\r\nBcc: x@y.z", "a@b.c,d@e.f", "x\ny <a@b.c>"]
        {
            assert!(text.parse::<Mailbox>().is_err(), "{text:?}");
        }
    }
}
