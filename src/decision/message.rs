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
    /// Further headers, such as `List-Unsubscribe`, in the order in which they are sent. Every ESP carries them.
    pub headers: Vec<Header>,
}

/// A header of the mail itself. One that exists is safe to send: it cannot end its line, and is none of those that
/// [`Message`] or the ESP writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

/// A header that cannot be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderFault {
    /// RFC 5322 §3.6.8: printable ASCII without `:`.
    #[error("{0:?} cannot be the name of a header: letters, digits and `-`, at most 76 of them")]
    Name(String),
    /// It is written from the message's own fields, or by the ESP.
    #[error("the header `{0}` cannot be set: it is written from the message itself")]
    Reserved(String),
    /// Empty, too long, or with characters other than printable ASCII.
    #[error(
        "the value of the header `{0}` is empty, or has characters that cannot stand in a header, or more than 900"
    )]
    Value(String),
}

impl Header {
    /// Names that are written from the message itself, or that ESPs write or refuse.
    const RESERVED: [&str; 18] = [
        "from",
        "sender",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
        "content-disposition",
        "return-path",
        "received",
        "dkim-signature",
        "reply-to",
        "x-sg-eid",
        "x-sg-id",
    ];
    const NAME_BYTES_MAX: usize = 76;
    /// A line has at most 998 characters (RFC 5322 §2.1.1), the name and the colon included.
    const VALUE_BYTES_MAX: usize = 900;

    /// Checks name and value. Values are printable ASCII: other text would have to be encoded, which ESPs do differently.
    pub fn new(name: &str, value: &str) -> Result<Header, HeaderFault> {
        let fits = |char: u8| char.is_ascii_alphanumeric() || char == b'-' || char == b'_';
        if name.is_empty() || name.len() > Self::NAME_BYTES_MAX || !name.bytes().all(fits) {
            return Err(HeaderFault::Name(name.to_owned()));
        }
        if Self::RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(HeaderFault::Reserved(name.to_owned()));
        }
        let value = value.trim();
        let is_printable = value.bytes().all(|char| char == b' ' || char.is_ascii_graphic());
        if value.is_empty() || value.len() > Self::VALUE_BYTES_MAX || !is_printable {
            return Err(HeaderFault::Value(name.to_owned()));
        }
        Ok(Header { name: name.to_owned(), value: value.to_owned() })
    }

    /// As it is written before the colon.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it is written after it.
    pub fn value(&self) -> &str {
        &self.value
    }
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

    #[test]
    fn a_header_cannot_bring_another_or_replace_one_of_the_message() {
        let header = Header::new("List-Unsubscribe", " <https://shop.example/u/1> ").unwrap();
        assert_eq!((header.name(), header.value()), ("List-Unsubscribe", "<https://shop.example/u/1>"));
        for name in ["", "X Y", "X:", "X-\r\nBcc", "Ä", &"x".repeat(77)] {
            assert_eq!(Header::new(name, "v"), Err(HeaderFault::Name(name.into())));
        }
        for name in ["BCC", "subject", "Message-ID", "Content-Type", "Reply-To"] {
            assert_eq!(Header::new(name, "v"), Err(HeaderFault::Reserved(name.into())));
        }
        for value in ["", " ", "a\r\nBcc: x@y.z", "a\nb", "\u{2028}", "Grüße", &"x".repeat(901)] {
            assert_eq!(Header::new("X-A", value), Err(HeaderFault::Value("X-A".into())), "{value:?}");
        }
    }
}
