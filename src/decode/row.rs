//! The members of an object that a stream's rules read, by name. In: a reader at an object. Out: a struct of values. Members
//! of other names are passed over; of two with one name the later wins. Fails only where the text is not JSON.

use super::Bad;
use super::json::{FromJson, Json, NotJson};

/// Declares a row: a struct with one field for each member that is read, as `field: Kind = "member"`.
macro_rules! row {
    ($(#[$meta:meta])* $row:ident<$life:lifetime> { $($field:ident: $kind:ty = $key:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Default)]
        struct $row<$life> {
            $($field: $kind,)*
        }

        impl<$life> $crate::decode::json::FromJson<$life> for $row<$life> {
            #[inline]
            fn read(&mut self, json: &mut $crate::decode::json::Json<$life>) -> Result<(), $crate::decode::json::NotJson> {
                json.open_object()?;
                let mut first = true;
                while let Some(key) = json.key(first)? {
                    first = false;
                    match &*key.as_key() {
                        $($key => self.$field.read(json)?,)*
                        _ => json.skip()?,
                    }
                }
                Ok(())
            }
        }
    };
}

pub(super) use row;

/// A member whose value should be an object.
#[derive(Default)]
pub(super) struct Object<T> {
    found: Found,
    row: T,
}

/// What an [`Object`]'s value was.
#[derive(Default, PartialEq, Eq)]
enum Found {
    /// Absent, or `null`.
    #[default]
    Nothing,
    /// An object.
    Object,
    /// Something else.
    Other,
}

impl<T> Object<T> {
    /// The object, if there is one. Fails when `field` has another type than `expected` says.
    pub(super) fn get(&self, field: &'static str, expected: &'static str) -> Result<Option<&T>, Bad> {
        match self.found {
            Found::Nothing => Ok(None),
            Found::Object => Ok(Some(&self.row)),
            Found::Other => Err(Bad::WrongType { field, expected }),
        }
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Object<T> {
    #[inline]
    fn read(&mut self, json: &mut Json<'a>) -> Result<(), NotJson> {
        if self.found == Found::Object {
            self.row = T::default();
        }
        self.found = match json.peek() {
            Some(b'{') => Found::Object,
            Some(b'n') => Found::Nothing,
            _ => Found::Other,
        };
        if self.found == Found::Object { self.row.read(json) } else { json.skip() }
    }
}

impl<'a, T: FromJson<'a>> Object<T> {
    /// Reads the object that is the whole of `text`.
    #[inline]
    pub(super) fn read_whole(&mut self, text: &'a str) -> Result<&T, Bad> {
        let mut json = Json::new(text);
        self.read(&mut json).and_then(|()| json.end()).map_err(|NotJson| json.bad())?;
        let (field, expected) = ("the record", "an object");
        self.get(field, expected)?.ok_or(Bad::WrongType { field, expected })
    }
}
