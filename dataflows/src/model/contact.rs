//! A customer, as far as a mail needs them. There is one for each, so what a profile says lies in one piece of memory.

use serde::{Deserialize, Serialize};
use thin_vec::ThinVec;

/// A customer, as far as a mail needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contact {
    /// There is a profile. Without one the customer is unreachable.
    pub known: bool,
    /// The profile says `deleted`: nothing else is kept.
    pub erased: bool,
    /// Consents to e-mail.
    pub consent: bool,
    /// Unsubscribed, complained or bounced (SPEC §5, `no_consent`).
    pub withheld: bool,
    /// The campaigns whose mails they have chosen not to get (ARCHITECTURE, "Choices"), by name, sorted.
    pub declined: ThinVec<Box<str>>,
    /// The texts of the profile.
    pub said: Said,
}

/// What a profile says in words.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'w> {
    /// Address.
    pub email: Option<&'w str>,
    /// First name.
    pub first_name: Option<&'w str>,
    /// BCP 47 tag.
    pub locale: Option<&'w str>,
    /// IANA time zone.
    pub timezone: Option<&'w str>,
    /// The profile's `attributes`, as JSON text.
    pub attributes: Option<&'w str>,
}

/// [`Words`] in one piece.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Said {
    /// One after the other.
    all: Box<str>,
    /// Where each ends, and whether it was said at all.
    ends: [End; 5],
}

/// Where a text ends, doubled, and one more when it was said: a first name may be empty, or missing.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct End(u32);

impl Contact {
    /// Whether they have chosen to get no mails of this campaign.
    pub fn declines(&self, campaign: &str) -> bool {
        self.declined.iter().any(|declined| **declined == *campaign)
    }

    /// What the profile says.
    pub fn words(&self) -> Words<'_> {
        self.said.words()
    }
}

impl Said {
    fn words(&self) -> Words<'_> {
        let mut begin = 0;
        let [email, first_name, locale, timezone, attributes] = self.ends.map(|End(end)| {
            let end_of = (end >> 1) as usize;
            let text = self.all.get(std::mem::replace(&mut begin, end_of)..end_of);
            text.filter(|_| end & 1 == 1)
        });
        Words { email, first_name, locale, timezone, attributes }
    }
}

impl std::fmt::Debug for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words().fmt(f)
    }
}

impl From<Words<'_>> for Said {
    /// # Panics
    ///
    /// When they are longer than 2 GiB, as no record is.
    fn from(words: Words<'_>) -> Said {
        let Words { email, first_name, locale, timezone, attributes } = words;
        let words = [email, first_name, locale, timezone, attributes];
        let mut all = String::with_capacity(words.iter().flatten().map(|text| text.len()).sum());
        assert!(all.capacity() <= (u32::MAX >> 1) as usize, "a profile is longer than 2 GiB");
        let ends = words.map(|text| {
            all.push_str(text.unwrap_or_default());
            End((all.len() as u32) << 1 | u32::from(text.is_some()))
        });
        Said { all: all.into(), ends }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn words_come_back_said_or_not(texts in proptest::array::uniform5(proptest::option::of(".{0,9}"))) {
            let [email, first_name, locale, timezone, attributes] = texts.each_ref().map(|text| text.as_deref());
            let said = Said::from(Words { email, first_name, locale, timezone, attributes });
            let words = said.words();
            let back = [words.email, words.first_name, words.locale, words.timezone, words.attributes];
            proptest::prop_assert_eq!(back.map(|text| text.map(str::to_owned)), texts);
            let restored: Said = postcard::from_bytes(&postcard::to_stdvec(&said).unwrap()).unwrap();
            proptest::prop_assert_eq!(restored, said);
        }
    }
}
