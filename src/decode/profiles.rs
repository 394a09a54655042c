//! `profiles`: a customer as they are now. Consent that is not stated is not given. Of a deleted profile nothing is read but
//! its key and its place among the writes.

use beckon_dataflows::model::{Contact, Namespace, Position, ProfileRecord, Record, Standing, Words};

use super::json::{Value, compact};
use super::row::{Object, row};
use super::{Bad, Decoded, Decoder, written};

row! {
    /// A `profiles` record.
    Profile<'a> {
        user_id: Value<'a> = "user_id",
        email: Value<'a> = "email",
        first_name: Value<'a> = "first_name",
        locale: Value<'a> = "locale",
        timezone: Value<'a> = "timezone",
        consent: Object<Consent<'a>> = "consent",
        attributes: Value<'a> = "attributes",
        deleted: Value<'a> = "deleted",
        version: Value<'a> = "version",
        updated_at: Value<'a> = "updated_at",
    }
}

row! {
    /// What the customer agreed to.
    Consent<'a> {
        email: Value<'a> = "email",
    }
}

impl Decoder {
    pub(super) fn profile(&mut self, position: Position, text: &str) -> Result<Decoded, Bad> {
        let mut row = Object::<Profile<'_>>::default();
        let row = row.read_whole(text)?;
        let user = self.names.key(Namespace::User, &row.user_id, "user_id")?;
        let written = written(&row.version, &row.updated_at, position)?;
        let contact = match row.deleted.flag("deleted")? {
            Some(true) => {
                Contact::new(Standing { known: true, erased: true, ..Standing::default() }, &Words::default())
            }
            _ => contact(row)?,
        };
        let record = Record::Profile(ProfileRecord { user, written, contact });
        Ok(Decoded { record, event_ms: written.updated_ms })
    }
}

fn contact(row: &Profile<'_>) -> Result<Contact, Bad> {
    let consent = match row.consent.get("consent", "an object")? {
        Some(consent) => consent.email.flag("consent.email")?,
        None => None,
    };
    let attributes = match &row.attributes {
        Value::Missing => None,
        Value::Object(text) => Some(compact(text)),
        _ => return Err(Bad::WrongType { field: "attributes", expected: "an object" }),
    };
    let email = row.email.text("email")?;
    let first_name = row.first_name.text("first_name")?;
    let locale = row.locale.text("locale")?;
    let timezone = row.timezone.text("timezone")?;
    let words = Words {
        email: email.as_deref().filter(|email| !email.is_empty()),
        first_name: first_name.as_deref(),
        locale: locale.as_deref(),
        timezone: timezone.as_deref().filter(|timezone| !timezone.is_empty()),
        attributes: attributes.as_deref(),
    };
    let standing = Standing { known: true, consent: consent.unwrap_or(false), ..Standing::default() };
    Ok(Contact::new(standing, &words))
}
