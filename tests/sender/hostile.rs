//! Mails of people and products whose names are attacks. Nothing from data becomes markup, ends a header, or leads anywhere but
//! to the web: the HTML is read by a tokenizer of the HTML standard, and must have the elements and attributes of a harmless mail.

use std::sync::{Arc, OnceLock};

use beckon::config::Config;
use beckon::decision::{Decision, DecisionId, Discount as Promised, Message, Outcome, Payload, PayloadLine, Percent};
use beckon::render::{Context, Discount, Templates};
use beckon_dataflows::model::{Contact, History, Product, Standing, Words};
use html5gum::{Token, Tokenizer};
use proptest::prelude::*;

use super::render::{folder_of, shipped, shop};

/// Text as an attacker would write it into a profile or a catalog. It begins with a letter, so that there is something left.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<script>alert(1)</script>".to_owned()),
        Just("\" onload=\"x".to_owned()),
        Just("' style='x".to_owned()),
        Just("\r\nBcc: victim@example.org\r\n\r\n".to_owned()),
        Just("{{customer.email}}{{{hero}}}".to_owned()),
        Just("</td></table></title></style>--><!--".to_owned()),
        Just("&quot;&#34;&lt".to_owned()),
        Just("\u{202e}\u{2066}\u{2028}\u{85}\0\u{7f}\u{feff}".to_owned()),
        Just("x".repeat(5_000)),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| format!("a{}", pieces.concat()))
}

/// An address: one of the web with whatever follows, or none that may be linked to; and whether it is the former.
fn address() -> impl Strategy<Value = (String, bool)> {
    let evil = prop_oneof![
        Just("javascript:"),
        Just("java\nscript:"),
        Just("data:text/html,"),
        Just("//"),
        Just("\u{1}javascript:")
    ];
    prop_oneof![
        hostile().prop_map(|rest| (format!("https://shop.example.com/p?{rest}"), true)),
        (evil, hostile()).prop_map(|(evil, rest)| (format!("{evil}{rest}"), false)),
    ]
}

/// All that data can say.
#[derive(Debug)]
struct Said {
    texts: Vec<String>,
    addresses: Vec<(String, bool)>,
}

/// Texts in a [`Said`].
const TEXTS: usize = 10;

fn said() -> impl Strategy<Value = Said> {
    let texts = proptest::collection::vec(hostile(), TEXTS);
    let addresses = proptest::collection::vec(address(), 2);
    (texts, addresses).prop_map(|(texts, addresses)| Said { texts, addresses })
}

impl Said {
    /// The same in innocence.
    fn harmless(&self) -> Said {
        let addresses = self.addresses.iter().map(|(_, is_web)| ("https://shop.example.com/p".to_owned(), *is_web));
        Said { texts: vec!["a".into(); TEXTS], addresses: addresses.collect() }
    }

    fn address(&self, at: usize, is_harmless: bool) -> Option<String> {
        let (address, is_web) = &self.addresses[at];
        (!is_harmless || *is_web).then(|| address.clone())
    }

    fn context(&self, campaign: &str, trigger: &str, is_harmless: bool) -> Context {
        let text = |at: usize| self.texts[at].clone();
        let line = |at: usize, quantity| PayloadLine {
            sku: text(at).as_str().into(),
            quantity,
            price: "19.90".parse().ok(),
            name: Some(text(at + 1)),
            image: self.address(0, is_harmless),
            url: self.address(1, is_harmless),
            on_hand: Some(2),
        };
        let lines = match trigger {
            "search_abandonment" | "win_back" | "welcome" => vec![],
            _ => vec![line(0, Some(2)), line(1, Some(1))],
        };
        let percent = Percent::of_hundredths(1250).unwrap();
        let decision = Decision {
            decision_id: DecisionId(7),
            campaign: campaign.into(),
            customer_id: text(2).as_str().into(),
            trigger: trigger.into(),
            subject: text(3).as_str().into(),
            anchor: 1_767_261_600_000,
            as_of: 1_767_263_400_000,
            outcome: Outcome::Send,
            reason: None,
            variant: Some(text(4).as_str().into()),
            payload: Payload {
                similar: Some(lines.iter().cloned().map(|line| PayloadLine { quantity: None, ..line }).collect()),
                lines,
                discount: Some(Promised { percent }),
            },
        };
        let words = Words {
            email: Some("ada@example.com"),
            first_name: Some(&text(5)),
            locale: Some(&text(6)),
            timezone: Some(&text(7)),
            attributes: Some(&serde_json::json!({"city": text(8), "page": self.address(0, is_harmless)}).to_string()),
        };
        let contact = Contact::new(Standing::default(), &words);
        let product = Product { name: Some(text(9)), ..Product::default() };
        let currency: Option<Arc<str>> = Some(text(9).as_str().into());
        let context =
            Context::new(&decision, currency, &contact, |sku| (sku.len() % 2 == 0).then_some(&product), |_| None);
        context.with_history(History::default()).with_discount(Discount { percent, code: "CODE".into() })
    }
}

/// What HTML is made of, its text left out; and the addresses that it leads to.
fn structure(html: &str) -> (Vec<String>, Vec<String>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (mut parts, mut addresses) = (Vec::new(), Vec::new());
    for token in Tokenizer::new(html) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let names: Vec<String> = tag.attributes.keys().map(|name| text(name)).collect();
                parts.push(format!("<{} {}>", text(&tag.name), names.join(" ")));
                let led = tag.attributes.iter().filter(|(name, _)| matches!(&name[..], b"href" | b"src"));
                addresses.extend(led.map(|(_, value)| text(value)));
            }
            Token::EndTag(tag) => parts.push(format!("</{}>", text(&tag.name))),
            Token::Comment(comment) => parts.push(format!("<!--{}-->", text(&comment))),
            Token::Doctype(_) => parts.push("<!doctype>".into()),
            Token::String(_) | Token::Error(_) => {}
        }
    }
    (parts, addresses)
}

fn check(message: &Message, harmless: &Message) -> Result<(), TestCaseError> {
    let ((parts, addresses), (expected, _)) = (structure(&message.html), structure(&harmless.html));
    prop_assert_eq!(parts, expected);
    for address in addresses {
        prop_assert!(address.starts_with("https://") || address.starts_with("http://"), "{}", address);
        prop_assert!(!address.contains(|char: char| char.is_control() || char.is_whitespace()), "{}", address);
    }
    let harmful = |char: char| {
        char.is_control() && char != '\n' || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    prop_assert!(!message.subject.contains(|char| harmful(char) || char == '\n'), "{:?}", message.subject);
    prop_assert!(!message.subject.is_empty() && message.subject.chars().count() <= 250);
    prop_assert!(!message.text.contains(harmful) && !message.html.contains(harmful));
    prop_assert_eq!(message.text.lines().count(), harmless.text.lines().count());
    prop_assert_eq!(&message.to, &harmless.to);
    Ok(())
}

static SHIPPED: OnceLock<(Config, Templates)> = OnceLock::new();

/// Every helper, on what nobody knows beforehand.
fn open() -> Templates {
    let html = "<a href=\"{{link customer.attributes.page \"https://a.b/\"}}\" title='{{customer.attributes.city}}'>\
                {{#if customer.attributes.page}}{{image \"https://a.b/\" customer.attributes.city width=9}}{{/if}}\
                {{default customer.attributes.city \"\"}}</a><p title=\"{{urlencode customer.attributes.city}}\">\
                {{trigger.subject}} {{customer.id}} {{campaign}} {{variant}} {{#each lines}}{{sku}}{{/each}}</p>";
    let html = html.replace("{{variant}}", "{{default variant \"\"}}");
    let subject = "{{trigger.subject}} {{customer.attributes.city}}";
    Templates::load(folder_of([subject, &html, "{{trigger.subject}}"]).path(), &["a"])
        .unwrap_or_else(|faults| panic!("{faults:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn nothing_from_data_becomes_markup_a_header_or_a_link_to_elsewhere(said in said()) {
        let (config, templates) = SHIPPED.get_or_init(shipped);
        let harmless = said.harmless();
        for campaign in &config.campaigns {
            let trigger = campaign.trigger.name();
            for name in campaign.templates().into_iter().flatten() {
                let of = |said: &Said, is_harmless| {
                    templates.render(name, &said.context(&campaign.name, trigger, is_harmless), &shop()).unwrap()
                };
                check(&of(&said, false), &of(&harmless, true))?;
            }
        }
    }

    #[test]
    fn nor_does_what_a_template_of_ones_own_shows_of_it(said in said()) {
        static OPEN: OnceLock<Templates> = OnceLock::new();
        let templates = OPEN.get_or_init(open);
        let of = |said: &Said, is_harmless| {
            let mut context = said.context("c", "back_in_stock", is_harmless);
            // Where there is no address, the harmless one has none of its own either.
            context.customer.attributes["page"] = serde_json::json!(said.addresses[0].0);
            templates.render("a", &context, &shop()).unwrap()
        };
        let mut harmless = of(&said.harmless(), true);
        let message = of(&said, false);
        // Attributes may have lines of their own; in the text nothing else is looked at here.
        harmless.text = message.text.clone();
        check(&message, &harmless)?;
    }
}
