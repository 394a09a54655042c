//! What data may be in a mail. In: text from profiles, catalogs and attributes. Out: text that can neither break a line where
//! there is only one, nor turn the direction of what follows it around, nor be taken for markup; addresses that lead to the
//! web and nowhere else. Cannot fail.

use std::borrow::Cow;

/// Characters that no mail shows, and that only harm: controls, and those that override or isolate the direction of writing.
/// Line breaks and tabs are left to whoever asks.
fn is_harmful(char: char) -> bool {
    char.is_control() && !matches!(char, '\n' | '\t')
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Ends a line somewhere, if not everywhere.
fn breaks_line(char: char) -> bool {
    matches!(char, '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// One line of at most `chars_max` characters; runs of white space become one space, and what is cut off ends in an ellipsis.
pub(super) fn line(text: &str, chars_max: usize) -> String {
    let spaced = text.chars().map(|char| if breaks_line(char) || is_harmful(char) { ' ' } else { char });
    let mut line = String::new();
    let (mut length, mut is_after_space) = (0, true);
    for char in spaced.filter(|char| !std::mem::replace(&mut is_after_space, *char == ' ') || *char != ' ') {
        if length == chars_max {
            line.pop();
            line.push('…');
            break;
        }
        line.push(char);
        length += 1;
    }
    line.truncate(line.trim_end_matches(' ').len());
    line
}

/// As the plain part has it: without the characters that only harm.
pub(super) fn plain(text: &str) -> String {
    without_harm(text).into_owned()
}

/// As HTML has it, in text as in a quoted attribute.
pub(super) fn html(text: &str) -> String {
    let text = without_harm(text);
    let mut html = String::with_capacity(text.len() + 16);
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        html.push_str(&text[done..at]);
        html.push_str(entity);
        done = at + 1;
    }
    html.push_str(&text[done..]);
    html
}

fn without_harm(text: &str) -> Cow<'_, str> {
    // Most texts are plain, which is soon seen.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    if text.contains(is_harmful) { Cow::Owned(text.replace(is_harmful, "")) } else { Cow::Borrowed(text) }
}

/// The address in the form that every client reads alike, if it is one of http or https: neither a catalog nor a profile is a
/// place to bring a script from.
pub(super) fn web_address(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| String::from(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_not_too_long() {
        assert_eq!(line(" Hi\r\nBcc: x@y.z\t\u{2028}you\u{202e}!\n", 99), "Hi Bcc: x@y.z you !");
        assert_eq!(line("Noch\u{a0}da", 99), "Noch\u{a0}da");
        assert_eq!(line(" \n ", 99), "");
        assert_eq!((line("abcd", 4).as_str(), line("abcde", 4).as_str()), ("abcd", "abc…"));
    }

    #[test]
    fn html_is_escaped_and_plain_text_is_not() {
        let text = "a\0 <b> & \"c\"\n'd'\u{202e}";
        assert_eq!(html(text), "a &lt;b&gt; &amp; &quot;c&quot;\n&#39;d&#39;");
        assert_eq!(plain(text), "a <b> & \"c\"\n'd'");
    }

    #[test]
    fn only_the_web_may_be_linked_to() {
        for text in
            ["javascript:alert(1)", "java\nscript:alert(1)", " data:text/html,x", "/p/1", "ftp://a.b", "https://"]
        {
            assert_eq!(web_address(text), None, "{text:?}");
        }
        assert_eq!(
            web_address("https://a.b/ü \"x\"?y=<z>&w\n").as_deref(),
            Some("https://a.b/%C3%BC%20%22x%22?y=%3Cz%3E&w")
        );
    }
}
