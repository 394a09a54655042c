//! Customers: names, homes, addresses, consent. In: a generator. Out: `profiles` records. Cannot fail.

use rand::{Rng, RngExt};

use crate::shop::carts::Cart;
use crate::shop::catalog::pick;
use crate::wire::{Attributes, Consent, ProfileRecord, Time};

/// The share that consents to e-mail.
const CONSENTING: f64 = 0.85;

/// The share that never gave an address.
const WITHOUT_EMAIL: f64 = 0.01;

/// Every so many customers there is one who uses the device of the customer before.
const SHARED_DEVICE_EVERY: usize = 50;

/// Every so many customers there is one who shops with the app, whose carts come as Product Added and Removed.
const APP_EVERY: usize = 10;

/// A place to live, and what follows from it.
#[derive(Debug)]
struct Home {
    city: &'static str,
    timezone: &'static str,
    locale: &'static str,
    first_names: &'static [&'static str],
    last_names: &'static [&'static str],
}

const GERMAN: (&[&str], &[&str]) = (
    &["Anna", "Lukas", "Jürgen", "Sophie", "Felix", "Käthe", "Jonas", "Mia", "Björn", "Lena"],
    &["Müller", "Schmidt", "Weber", "Köhler", "Wagner", "Schäfer", "Hoffmann", "Krüger"],
);
const ENGLISH: (&[&str], &[&str]) = (
    &["Olivia", "Noah", "Amelia", "Oliver", "Grace", "Ethan", "Ruby", "Theo", "Maya", "Samuel"],
    &["Smith", "Patel", "Johnson", "Okafor", "Walker", "Brown", "Nguyen", "Clarke", "Rivera"],
);
const FRENCH: (&[&str], &[&str]) = (
    &["Chloé", "Hugo", "Léa", "Théo", "Manon", "Jules", "Inès", "Rémi"],
    &["Martin", "Bernard", "Lefèvre", "Moreau", "Girard", "Rousseau"],
);
const SPANISH: (&[&str], &[&str]) = (
    &["Lucía", "Mateo", "Sofía", "Diego", "Carmen", "Íñigo", "Elena"],
    &["García", "Fernández", "López", "Sánchez", "Ruiz", "Núñez"],
);
const SWEDISH: (&[&str], &[&str]) =
    (&["Astrid", "Erik", "Freja", "Göran", "Maja", "Nils"], &["Andersson", "Lindqvist", "Åberg", "Nyström", "Sjöberg"]);
const JAPANESE: (&[&str], &[&str]) =
    (&["Haruto", "Yui", "Ren", "Aoi", "Sota", "Hina"], &["Sato", "Suzuki", "Takahashi", "Tanaka", "Watanabe", "Ito"]);

const fn home(
    city: &'static str,
    timezone: &'static str,
    locale: &'static str,
    (first_names, last_names): (&'static [&'static str], &'static [&'static str]),
) -> Home {
    Home { city, timezone, locale, first_names, last_names }
}

static HOMES: [Home; 16] = [
    home("Berlin", "Europe/Berlin", "de-DE", GERMAN),
    home("Hamburg", "Europe/Berlin", "de-DE", GERMAN),
    home("München", "Europe/Berlin", "de-DE", GERMAN),
    home("Wien", "Europe/Vienna", "de-AT", GERMAN),
    home("London", "Europe/London", "en-GB", ENGLISH),
    home("Leeds", "Europe/London", "en-GB", ENGLISH),
    home("Dublin", "Europe/Dublin", "en-IE", ENGLISH),
    home("New York", "America/New_York", "en-US", ENGLISH),
    home("Seattle", "America/Los_Angeles", "en-US", ENGLISH),
    home("Sydney", "Australia/Sydney", "en-AU", ENGLISH),
    home("Paris", "Europe/Paris", "fr-FR", FRENCH),
    home("Lyon", "Europe/Paris", "fr-FR", FRENCH),
    home("Madrid", "Europe/Madrid", "es-ES", SPANISH),
    home("Buenos Aires", "America/Argentina/Buenos_Aires", "es-AR", SPANISH),
    home("Stockholm", "Europe/Stockholm", "sv-SE", SWEDISH),
    home("Osaka", "Asia/Tokyo", "ja-JP", JAPANESE),
];

/// A customer with an account.
#[derive(Debug)]
pub struct Customer {
    /// The user id, such as `u42`.
    pub id: Box<str>,
    /// Whose device it is: the number in its anonymous id.
    pub device: usize,
    /// The first name.
    pub first_name: &'static str,
    last_name: &'static str,
    home: &'static Home,
    tier: &'static str,
    has_email: bool,
    consent: bool,
    /// Whether the customer asked to be forgotten, and so comes no more.
    pub deleted: bool,
    version: u64,
    /// Whether the customer shops with the app.
    pub app: bool,
    /// Whether the customer is in the shop now; nobody is there twice.
    pub visiting: bool,
    /// What was left in the cart at the last visit.
    pub cart: Option<Cart>,
}

impl Customer {
    /// Customer `number`, counted from 0; the user ids count from 1.
    pub fn draw(rng: &mut impl Rng, number: usize, first_version: u64) -> Customer {
        let home = &HOMES[rng.random_range(0..HOMES.len())];
        let shares_device = number % SHARED_DEVICE_EVERY == SHARED_DEVICE_EVERY - 1;
        Customer {
            id: format!("u{}", number + 1).into(),
            device: number + 1 - usize::from(shares_device),
            first_name: pick(rng, home.first_names),
            last_name: pick(rng, home.last_names),
            home,
            tier: draw_tier(rng),
            has_email: !rng.random_bool(WITHOUT_EMAIL),
            consent: rng.random_bool(CONSENTING),
            deleted: false,
            version: first_version,
            app: number % APP_EVERY == APP_EVERY - 1,
            visiting: false,
            cart: None,
        }
    }

    /// `first.last.u42@example.com`, or `None` for one who never gave an address.
    pub fn email(&self) -> Option<String> {
        let (first, last) = (ascii_lowercase(self.first_name), ascii_lowercase(self.last_name));
        self.has_email.then(|| format!("{first}.{last}.{}@example.com", self.id))
    }

    /// Something about the customer changes: mostly the tier or the consent, sometimes the city, rarely all is erased.
    pub fn change(&mut self, rng: &mut impl Rng) {
        match rng.random_range(0..100) {
            0..45 => self.tier = draw_tier(rng),
            45..80 => self.consent = !self.consent,
            80..97 => self.home = &HOMES[rng.random_range(0..HOMES.len())],
            _ => self.deleted = true,
        }
        self.version += 1;
    }

    /// Hands the profile to `with` as a record of `time_ms`.
    pub fn with_record<T>(&self, time_ms: i64, with: impl FnOnce(&ProfileRecord) -> T) -> T {
        let email = self.email();
        with(&ProfileRecord {
            user_id: &self.id,
            email: email.as_deref(),
            first_name: self.first_name,
            locale: self.home.locale,
            timezone: self.home.timezone,
            consent: Consent { email: self.consent },
            attributes: Attributes { tier: self.tier, city: self.home.city },
            deleted: self.deleted,
            version: self.version,
            updated_at: Time(time_ms),
        })
    }
}

fn draw_tier(rng: &mut impl Rng) -> &'static str {
    match rng.random_range(0..100) {
        0..10 => "gold",
        10..40 => "silver",
        _ => "bronze",
    }
}

/// A name as it stands in an address. Every letter beyond ASCII in the lists above has its case here.
fn ascii_lowercase(name: &str) -> String {
    let mut ascii = String::with_capacity(name.len() + 2);
    for letter in name.chars().flat_map(char::to_lowercase) {
        match letter {
            'ä' => ascii.push_str("ae"),
            'ö' => ascii.push_str("oe"),
            'ü' => ascii.push_str("ue"),
            'á' | 'å' => ascii.push('a'),
            'é' | 'è' => ascii.push('e'),
            'í' => ascii.push('i'),
            'ó' => ascii.push('o'),
            'ú' => ascii.push('u'),
            'ñ' => ascii.push('n'),
            other => ascii.push(other),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_gives_an_ascii_address() {
        for home in &HOMES {
            for name in home.first_names.iter().chain(home.last_names) {
                assert!(ascii_lowercase(name).is_ascii(), "{name}");
            }
        }
    }
}
