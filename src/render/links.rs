//! The links of a mail (SPEC §8, RFC 8058). In: a message, and whom it is for. Out: the same with its links leading over the tracker,
//! tagged with the campaign, an open pixel, and the headers by which a mail program unsubscribes. Fails when a customer's id is
//! too long for a header.
//!
//! Only what mail programs follow is rewritten: the `href` of `a` and `area`, http or https. A link with `clicktracking="off"` is
//! tagged but leads straight where it says; one to the tracker itself, such as that to unsubscribe, stays as it is. The
//! HTML is read by the tokenizer of the HTML standard and kept byte by byte beside the links.

use std::borrow::Cow;

use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use html5gum::{Span, Tokenizer};
use linkify::{LinkFinder, LinkKind};
use reqwest::Url;

use crate::decision::{Decision, Header, HeaderFault, Message};
use crate::tracking::{Does, Seal, Token};

/// How links in mails lead back to us.
#[derive(Debug)]
pub struct Links {
    /// Where the tracker is, without a slash at the end.
    pub base_url: String,
    /// What tokens are sealed with.
    pub seal: Seal,
    /// Whether the open pixel is added.
    pub opens: bool,
    /// Whether links lead over the tracker.
    pub clicks: bool,
    /// `utm_source` and `utm_medium`, where links are tagged.
    pub utm: Option<(String, String)>,
    /// An address that unsubscribes whoever writes to it.
    pub unsubscribe_mailto: Option<String>,
}

impl Links {
    /// The links of the mail of `decision`.
    pub fn of<'l>(&'l self, decision: &'l Decision) -> MailLinks<'l> {
        MailLinks { links: self, decision }
    }
}

/// The links of one mail.
pub struct MailLinks<'l> {
    links: &'l Links,
    decision: &'l Decision,
}

impl MailLinks<'_> {
    /// Where whoever got the mail unsubscribes.
    pub fn unsubscribe_url(&self) -> Option<String> {
        self.url("u", Does::Unsubscribe, "")
    }

    /// Rewrites the message's links, adds the pixel and the headers.
    pub fn dress(&self, message: &mut Message) -> Result<(), HeaderFault> {
        let pixel = if self.links.opens { self.url("o", Does::Open, ".gif") } else { None };
        message.html = in_html(&message.html, pixel.as_deref(), |url, tracked| self.link(url, tracked));
        message.text = in_text(&message.text, |url| self.link(url, true));
        if let Some(url) = self.unsubscribe_url() {
            let mailto = self.links.unsubscribe_mailto.iter();
            let mailto = mailto.map(|address| format!(", <mailto:{address}?subject=unsubscribe>"));
            let ways: String = std::iter::once(format!("<{url}>")).chain(mailto).collect();
            message.headers.push(Header::new("List-Unsubscribe", &ways)?);
            message.headers.push(Header::new("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")?);
        }
        Ok(())
    }

    /// What addresses of open-time content begin with; none where the customer's id is too long for a link.
    pub fn live_url(&self) -> Option<String> {
        self.url("live", Does::Live, "")
    }

    /// What a link to `url` becomes; none where it stays as it is.
    fn link(&self, url: &str, is_tracked: bool) -> Option<String> {
        let mut target = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
        if self.is_own(url) {
            return None;
        }
        self.tag(&mut target);
        let click = || self.url("c", Does::Click(target.to_string()), "");
        let tracked = if is_tracked && self.links.clicks { click() } else { None };
        Some(tracked.unwrap_or_else(|| target.to_string()))
    }

    /// Whether it leads to the tracker itself.
    fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.links.base_url).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
    }

    /// Adds the campaign, unless the link has tags of its own.
    fn tag(&self, url: &mut Url) {
        let Some((source, medium)) = &self.links.utm else { return };
        if url.query_pairs().any(|(name, _)| name.starts_with("utm_")) {
            return;
        }
        let mut query = url.query_pairs_mut();
        let campaign = &self.decision.campaign;
        query.append_pair("utm_source", source).append_pair("utm_medium", medium).append_pair("utm_campaign", campaign);
        if let Some(variant) = &self.decision.variant {
            query.append_pair("utm_content", variant);
        }
    }

    /// `BASE/WAY/TOKEN` and an ending; none for what is too long for a link.
    fn url(&self, way: &str, does: Does, ending: &str) -> Option<String> {
        let Decision { decision_id, customer_id, .. } = self.decision;
        let token = Token { decision: *decision_id, customer: customer_id.to_string(), does };
        let token = self.links.seal.seal(&token).ok()?;
        Some(format!("{}/{way}/{token}{ending}", self.links.base_url))
    }
}

/// A place in an HTML text and what stands there instead.
struct Edit {
    span: Span<usize>,
    becomes: String,
}

/// The HTML with each link as `link` says (it hears whether the link may be tracked), and the pixel at the end of its body.
fn in_html(html: &str, pixel: Option<&str>, link: impl Fn(&str, bool) -> Option<String>) -> String {
    let (mut edits, body_end) = read(html, link);
    if let Some(url) = pixel {
        let at = body_end.unwrap_or(html.len());
        let becomes = format!(
            "<img src=\"{}\" width=\"1\" height=\"1\" alt=\"\" style=\"display:block;border:0\">",
            escaped(url)
        );
        edits.push(Edit { span: Span { start: at, end: at }, becomes });
        edits.sort_by_key(|edit| edit.span.start);
    }
    let mut written = String::with_capacity(html.len() + edits.iter().map(|edit| edit.becomes.len()).sum::<usize>());
    let mut done = 0;
    for Edit { span, becomes } in edits {
        written.push_str(&html[done..span.start]);
        written.push_str(&becomes);
        done = span.end;
    }
    written.push_str(&html[done..]);
    written
}

/// The links that become others, and where the body ends, if it says so.
fn read(html: &str, link: impl Fn(&str, bool) -> Option<String>) -> (Vec<Edit>, Option<usize>) {
    let (mut edits, mut body_end) = (Vec::new(), None);
    let (mut is_link, mut attribute) = (false, Vec::new());
    // The link of the tag being read, and whether it may be tracked.
    let (mut href, mut is_tracked): (Option<(Span<usize>, String)>, bool) = (None, true);
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, span: Span<usize>| -> Option<()> {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                (is_link, href, is_tracked) = (matches!(name, b"a" | b"area"), None, true);
            }
            CallbackEvent::AttributeName { name } if is_link => name.clone_into(&mut attribute),
            CallbackEvent::AttributeValue { value } if is_link && attribute == b"href" && href.is_none() => {
                href = Some((span, String::from_utf8_lossy(value).trim().to_owned()));
            }
            CallbackEvent::AttributeValue { value } if is_link && attribute == b"clicktracking" => {
                is_tracked = value != b"off";
            }
            CallbackEvent::CloseStartTag { .. } => {
                if let Some((span, url)) = href.take()
                    && let Some(becomes) = link(&url, is_tracked)
                {
                    edits.push(Edit { span, becomes: escaped(&becomes).into_owned() });
                }
            }
            CallbackEvent::EndTag { name: b"body" } => body_end = Some(span.start),
            _ => {}
        }
        None
    });
    // What stands in a style or a script is no tag.
    emitter.naively_switch_states(true);
    for Ok(()) in Tokenizer::new_with_emitter(html, emitter) {}
    (edits, body_end)
}

/// As it may stand between quotes in an attribute.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '"', '\'', '<', '>']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(handlebars::html_escape(text))
}

/// The plain text with each link as `link` says.
fn in_text(text: &str, link: impl Fn(&str) -> Option<String>) -> String {
    let mut finder = LinkFinder::new();
    finder.kinds(&[LinkKind::Url]);
    finder
        .spans(text)
        .map(|span| match span.kind() {
            Some(_) => link(span.as_str()).map_or(Cow::Borrowed(span.as_str()), Cow::Owned),
            None => Cow::Borrowed(span.as_str()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{DecisionId, Mailbox, Outcome, Payload};
    use crate::secret::Secret;

    const BASE: &str = "https://mail.shop.example/t";

    fn links() -> Links {
        Links {
            base_url: BASE.into(),
            seal: Seal::of(&Secret::new(b"a secret of the shop").unwrap()),
            opens: true,
            clicks: true,
            utm: Some(("shop".into(), "email".into())),
            unsubscribe_mailto: Some("stop@shop.example".into()),
        }
    }

    fn decision(customer: &str) -> Decision {
        Decision {
            decision_id: DecisionId(9),
            campaign: "cart & co".into(),
            customer_id: customer.into(),
            trigger: "t".into(),
            subject: "s".into(),
            anchor: 0,
            as_of: 0,
            outcome: Outcome::Send,
            reason: None,
            variant: Some("urgent".into()),
            payload: Payload::default(),
        }
    }

    fn message(html: &str, text: &str) -> Message {
        let mailbox = |address: &str| Mailbox { name: None, address: address.into() };
        Message {
            to: mailbox("ada@example.com"),
            from: mailbox("shop@shop.example"),
            subject: "Hi".into(),
            html: html.into(),
            text: text.into(),
            message_id: "<9@shop.example>".into(),
            headers: Vec::new(),
        }
    }

    /// Where the only click in `text` leads.
    fn target(links: &Links, text: &str) -> String {
        let (_, rest) = text.split_once(&format!("{BASE}/c/")).expect("a click");
        let token = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next().unwrap();
        let token = links.seal.open(token).unwrap();
        assert_eq!((token.decision, token.customer.as_str()), (DecisionId(9), "u1"));
        let Does::Click(target) = token.does else { panic!("{token:?}") };
        target
    }

    #[test]
    fn a_link_leads_over_the_tracker_and_all_else_stays_as_it_is() {
        let (links, decision) = (links(), decision("u1"));
        let html = "<!doctype html><body CLASS=x><p>5 < 6 &amp; <A title='>' HREF = \"https://shop.example/p?a=1&amp;b=2#x\" >Buy</a>\n";
        let mut mail = message(html, "See (https://shop.example/p?a=1), or not.\n");
        links.of(&decision).dress(&mut mail).unwrap();
        let tagged = "&utm_source=shop&utm_medium=email&utm_campaign=cart+%26+co&utm_content=urgent";
        assert_eq!(target(&links, &mail.html), format!("https://shop.example/p?a=1&b=2{tagged}#x"));
        assert_eq!(target(&links, &mail.text), format!("https://shop.example/p?a=1{tagged}"));
        let (before, after) = html.split_once("https://shop.example/p?a=1&amp;b=2#x").unwrap();
        assert!(mail.html.starts_with(before) && mail.html.contains(after), "{}", mail.html);
        assert!(mail.text.starts_with("See (https://mail") && mail.text.ends_with("), or not.\n"), "{}", mail.text);
    }

    #[test]
    fn what_is_no_link_of_the_web_or_our_own_is_not_rewritten() {
        let (links, decision) = (links(), decision("u1"));
        let own = format!("<a href=\"{BASE}/u/x\">No more</a>");
        for html in [
            own.as_str(),
            "<a href='mailto:a@b.c'>x</a>",
            "<a href='#top'>x</a>",
            "<a href='javascript:alert(1)'>x</a>",
            "<a name='https://a.b'>x</a>",
            "<style>a[href='<a href=\"https://a.b\">'] {}</style>",
            "<!-- <a href='https://a.b'> -->",
            "<link href='https://a.b/c.css'>",
        ] {
            assert_eq!(in_html(html, None, |url, tracked| links.of(&decision).link(url, tracked)), html);
        }
        let beside = format!("<a href=\"{BASE}x\">x</a>");
        assert!(in_html(&beside, None, |url, tracked| links.of(&decision).link(url, tracked)).contains("/c/"));
        let untracked = "<a clicktracking=off href='https://a.b/'>x</a>";
        assert_eq!(
            in_html(untracked, None, |url, tracked| links.of(&decision).link(url, tracked)),
            "<a clicktracking=off href='https://a.b/?utm_source&#x3D;shop&amp;utm_medium&#x3D;email&amp;utm_campaign&#x3D;cart+%26+co&amp;utm_content&#x3D;urgent'>x</a>"
        );
        let tagged = links.of(&decision).link("https://a.b/?utm_campaign=mine", false);
        assert_eq!(tagged.as_deref(), Some("https://a.b/?utm_campaign=mine"));
        let long = format!("https://a.b/{}", "x".repeat(3_000));
        assert!(links.of(&decision).link(&long, true).unwrap().starts_with("https://a.b/x"));
    }

    #[test]
    fn the_pixel_is_the_last_of_the_body_and_opens_can_be_left_uncounted() {
        let decision = decision("u1");
        for (html, before) in [("<body>x</body></html>", "<body>x"), ("x", "x")] {
            let mut mail = message(html, "");
            links().of(&decision).dress(&mut mail).unwrap();
            let rest = mail.html.strip_prefix(before).unwrap();
            assert!(rest.starts_with(&format!("<img src=\"{BASE}/o/")), "{rest}");
            let token = rest.split_once("/o/").unwrap().1.split_once(".gif\"").unwrap().0;
            assert_eq!(links().seal.open(token).unwrap().does, Does::Open);
        }
        let mut mail = message("<body>x</body>", "");
        Links { opens: false, ..links() }.of(&decision).dress(&mut mail).unwrap();
        assert_eq!(mail.html, "<body>x</body>");
    }

    #[test]
    fn a_mail_program_can_unsubscribe_in_one_click() {
        let decision = decision("u1");
        let mut mail = message("", "");
        links().of(&decision).dress(&mut mail).unwrap();
        let [list, post] = &mail.headers[..] else { panic!("{:?}", mail.headers) };
        assert_eq!((post.name(), post.value()), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
        let url = links().of(&decision).unsubscribe_url().unwrap();
        assert_eq!(list.value(), format!("<{url}>, <mailto:stop@shop.example?subject=unsubscribe>"));
        let token = url.strip_prefix(&format!("{BASE}/u/")).unwrap();
        assert_eq!(links().seal.open(token).unwrap().does, Does::Unsubscribe);
        let endless = self::decision(&"u".repeat(1_000));
        assert!(matches!(links().of(&endless).dress(&mut message("", "")), Err(HeaderFault::Value(_))));
    }
}
