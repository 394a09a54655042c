//! A strict JSON reader (RFC 8259) over one record's text. In: text. Out: the members of objects, the items of arrays, and
//! values as slices of that text, unescaped and converted only when somebody asks. Fails with [`Bad::NotJson`] at the first
//! byte that is wrong, also inside what is skipped.
//!
//! It never recurses over its input and nests at most [`DEPTH_MAX`] deep, so no record can exhaust the stack. The tests hold
//! it to `serde_json`'s verdict on every text; the bench measures it against `serde_json` and `sonic-rs`. (The latter skips
//! unread values by recursion without a limit, and does not look at the digits of `\u` escapes there.)

use std::borrow::Cow;

use super::Bad;

/// How deep the arrays and objects of an unread value may nest: one bit of a `u128` each.
pub(super) const DEPTH_MAX: u32 = u128::BITS;

/// A JSON value, borrowed from the record. A member that is absent reads as [`Value::Missing`], and so does `null`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Value<'a> {
    /// Absent, or `null`.
    #[default]
    Missing,
    /// A string.
    Text(Text<'a>),
    /// A number, as written.
    Number(&'a str),
    /// `true` or `false`.
    Bool(bool),
    /// An array, as written.
    Array(&'a str),
    /// An object, as written.
    Object(&'a str),
}

/// A JSON string as written between its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

/// What can be read from a place where a value stands. It is read in place: rows are too large to be handed around.
pub(super) trait FromJson<'a>: Default {
    /// Reads the value that starts at the reader's place, instead of what was read before.
    fn read(&mut self, json: &mut Json<'a>) -> Result<(), NotJson>;
}

/// Hands the items of the array in `text` to `take`, one after the other. Fails on what is no array, and as `take` does.
#[inline]
pub(super) fn each_item<'a, T: FromJson<'a>>(
    text: &'a str,
    mut take: impl FnMut(T) -> Result<(), Bad>,
) -> Result<(), Bad> {
    let mut json = Json::new(text);
    json.open_array().map_err(|NotJson| json.bad())?;
    let mut first = true;
    while json.item(first).map_err(|NotJson| json.bad())? {
        first = false;
        let mut item = T::default();
        item.read(&mut json).map_err(|NotJson| json.bad())?;
        take(item)?;
    }
    Ok(())
}

/// The reader: a text and a place in it.
pub(super) struct Json<'a> {
    text: &'a str,
    at: usize,
    /// What should have been at `at`, once the reader failed.
    expected: &'static str,
}

/// The reader failed. What and where it tells by [`Json::bad`], so that success costs nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotJson;

impl<'a> Json<'a> {
    /// A reader at the start of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Json { text, at: 0, expected: "" }
    }

    /// Why the reader failed.
    #[cold]
    pub(super) fn bad(&self) -> Bad {
        Bad::NotJson { at: self.at, expected: self.expected }
    }

    /// The first byte of the next token; white space before it is passed over.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Takes the opening brace of an object.
    #[inline]
    pub(super) fn open_object(&mut self) -> Result<(), NotJson> {
        self.take(b'{', "`{`")
    }

    /// Takes the opening bracket of an array.
    #[inline]
    pub(super) fn open_array(&mut self) -> Result<(), NotJson> {
        self.take(b'[', "`[`")
    }

    /// The next member's key, with the reader left at its value; `None` after the object's end. `first` says that no member
    /// was read yet.
    #[inline(always)]
    pub(super) fn key(&mut self, first: bool) -> Result<Option<Text<'a>>, NotJson> {
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                return Ok(None);
            }
            Some(b',') if !first => self.at += 1,
            _ if first => {}
            _ => return self.fail("`,` or `}`"),
        }
        self.member().map(Some)
    }

    /// Whether there is another item, with the reader left at it. `first` says that no item was read yet.
    #[inline]
    pub(super) fn item(&mut self, first: bool) -> Result<bool, NotJson> {
        match self.peek() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            _ if first => Ok(true),
            _ => self.fail("`,` or `]`"),
        }
    }

    /// Fails unless nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fail("the end"),
        }
    }

    /// Passes over the value at the reader's place, of which only the grammar matters.
    pub(super) fn skip(&mut self) -> Result<(), NotJson> {
        // The open containers, innermost in the lowest bit: 1 an object, 0 an array.
        let mut objects = 0u128;
        let mut depth = 0u32;
        loop {
            let opened = match self.peek() {
                Some(b'"') => self.string().map(|_| false)?,
                Some(b'{') => true,
                Some(b'[') => true,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| false)?,
                Some(b't') => self.literal("true").map(|()| false)?,
                Some(b'f') => self.literal("false").map(|()| false)?,
                Some(b'n') => self.literal("null").map(|()| false)?,
                _ => return self.fail("a value"),
            };
            let mut first = opened;
            if opened {
                if depth == DEPTH_MAX {
                    return self.fail("no deeper than 128 levels");
                }
                objects = objects << 1 | u128::from(self.text.as_bytes()[self.at] == b'{');
                depth += 1;
                self.at += 1;
            }
            // After a value or an opening: close what ends here, until another value follows or nothing is open.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let more = match objects & 1 {
                    1 => self.key(first)?.is_some(),
                    _ => self.item(first)?,
                };
                if more {
                    break;
                }
                objects >>= 1;
                depth -= 1;
                first = false;
            }
        }
    }

    /// A key and its colon.
    #[inline(always)]
    fn member(&mut self) -> Result<Text<'a>, NotJson> {
        if self.peek() != Some(b'"') {
            return self.fail("a key in quotes");
        }
        let key = self.string()?;
        self.take(b':', "`:`")?;
        Ok(key)
    }

    /// The string whose opening quote is at the reader's place.
    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, NotJson> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at = plain_end(bytes, at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Text { raw: &self.text[start..at], escaped });
                }
                Some(b'\\') => {
                    self.at = at;
                    at += self.escape()?;
                    escaped = true;
                }
                _ => {
                    self.at = at;
                    return self.fail("a character of a string, control characters escaped");
                }
            }
        }
    }

    /// The length of the escape sequence whose backslash is at the reader's place.
    #[cold]
    fn escape(&mut self) -> Result<usize, NotJson> {
        let rest = &self.text.as_bytes()[self.at..];
        match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') if rest.len() >= 6 && rest[2..6].iter().all(u8::is_ascii_hexdigit) => Ok(6),
            _ => self.fail("an escape sequence"),
        }
    }

    /// Passes over the number whose first byte, a digit or a minus, is at the reader's place.
    #[inline(always)]
    fn number(&mut self) -> Result<(), NotJson> {
        let bytes = self.text.as_bytes();
        self.at += usize::from(bytes[self.at] == b'-');
        match bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = bytes.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// Passes over at least one digit.
    #[inline(always)]
    fn digits(&mut self) -> Result<(), NotJson> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        while bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.fail("a digit") } else { Ok(()) }
    }

    /// Takes `null`, `true` or `false`.
    #[inline]
    fn literal(&mut self, word: &'static str) -> Result<(), NotJson> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            self.fail(word)
        }
    }

    /// Takes one token of one byte.
    #[inline(always)]
    fn take(&mut self, token: u8, expected: &'static str) -> Result<(), NotJson> {
        if self.peek() == Some(token) {
            self.at += 1;
            Ok(())
        } else {
            self.fail(expected)
        }
    }

    /// What is at the reader's place is not what JSON has there.
    #[cold]
    fn fail<T>(&mut self, expected: &'static str) -> Result<T, NotJson> {
        self.expected = expected;
        Err(NotJson)
    }
}

impl<'a> FromJson<'a> for Value<'a> {
    // Not inlined, and written in place: a value that is returned in memory and copied from there costs more than reading it.
    #[inline(never)]
    fn read(&mut self, json: &mut Json<'a>) -> Result<(), NotJson> {
        let first = json.peek();
        let start = json.at;
        *self = match first {
            Some(b'"') => Value::Text(json.string()?),
            Some(b'-' | b'0'..=b'9') => {
                json.number()?;
                Value::Number(&json.text[start..json.at])
            }
            Some(b'n') => json.literal("null").map(|()| Value::Missing)?,
            Some(b't') => json.literal("true").map(|()| Value::Bool(true))?,
            Some(b'f') => json.literal("false").map(|()| Value::Bool(false))?,
            Some(b'[') => {
                json.skip()?;
                Value::Array(&json.text[start..json.at])
            }
            _ => {
                json.skip()?;
                Value::Object(&json.text[start..json.at])
            }
        };
        Ok(())
    }
}

impl<'a> Text<'a> {
    /// The string itself; borrowed unless it has escapes. `None` when an escape names half a surrogate pair, which no text
    /// can hold.
    #[inline]
    pub(super) fn unescaped(self) -> Option<Cow<'a, str>> {
        if self.escaped { unescape(self.raw).map(Cow::Owned) } else { Some(Cow::Borrowed(self.raw)) }
    }

    /// The string for comparing with names; one that cannot be unescaped has none of them.
    #[inline]
    pub(super) fn as_key(self) -> Cow<'a, str> {
        self.unescaped().unwrap_or_default()
    }
}

/// `raw`, a string's valid content, without its escapes.
#[cold]
fn unescape(raw: &str) -> Option<String> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (letter, length) = match rest.as_bytes().get(at + 1)? {
            b'b' => ('\u{8}', 2),
            b'f' => ('\u{c}', 2),
            b'n' => ('\n', 2),
            b'r' => ('\r', 2),
            b't' => ('\t', 2),
            b'u' => unescape_utf16(&rest[at..])?,
            other => (char::from(*other), 2),
        };
        text.push(letter);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    Some(text)
}

/// The character of one or two `\u` escapes at the start of `rest`, and their length.
fn unescape_utf16(rest: &str) -> Option<(char, usize)> {
    let unit = |at: usize| rest.get(at..at + 6)?.strip_prefix("\\u").and_then(|hex| u16::from_str_radix(hex, 16).ok());
    let first = unit(0)?;
    let second = unit(6).filter(|_| matches!(first, 0xD800..=0xDBFF));
    let letter = char::decode_utf16([first].into_iter().chain(second)).next()?.ok()?;
    Some((letter, 6 * letter.len_utf16()))
}

/// The index of the first byte at or after `at` that ends or interrupts a string: a quote, a backslash or a control
/// character; or `bytes.len()`. Eight bytes at a time: for the short strings of a record, longer strides cost more.
#[inline(always)]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let marks = interrupting(u64::from_le_bytes(*word));
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// Eight bytes at once: the lowest bit set stands in the first byte that is a quote, a backslash or a control character.
/// (A borrow may set bits above that one; they are never looked at.)
#[inline(always)]
fn interrupting(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * b' ' as u64) & !word;
    (quote | backslash | control) & (ONES * 0x80)
}

/// `raw`, which is valid JSON, without the white space between its tokens.
pub(super) fn compact(raw: &str) -> String {
    let mut compact = String::with_capacity(raw.len());
    let (mut quoted, mut escaped) = (false, false);
    for letter in raw.chars() {
        if quoted || !letter.is_ascii_whitespace() {
            compact.push(letter);
        }
        (quoted, escaped) = match letter {
            '"' if !escaped => (!quoted, false),
            '\\' if quoted => (quoted, !escaped),
            _ => (quoted, false),
        };
    }
    compact
}
