//! The shipped templates: what they look like, and that nothing from data can break out of them.

use std::path::Path;

use beckon::coupon::Codes;
use beckon::decision::{DecisionId, Mailbox, Percent};
use beckon::render::{Context, Customer, Discount, Line, Templates};
use beckon::secret::Secret;
use proptest::prelude::*;
use serde_json::json;

const NAMES: [&str; 3] = ["cart_abandonment", "cart_urgent", "back_in_stock"];

fn shipped() -> Templates {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/templates");
    Templates::load(&dir, &NAMES).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn shop() -> Mailbox {
    "Example Shop <shop@example.com>".parse().unwrap()
}

fn context(locale: &str) -> Context {
    let line = |sku: &str, name: &str, quantity, price: &str, total: &str, on_hand| Line {
        sku: sku.into(),
        quantity,
        price: Some(price.into()),
        total: Some(total.into()),
        name: name.into(),
        image: Some(format!("https://cdn.shop.example/{sku}.jpg?w=176&h=176")),
        url: Some(format!("https://shop.example/p/{sku}?ref=mail&c=1")),
        on_hand: Some(on_hand),
        ..Line::default()
    };
    Context {
        customer: Customer {
            id: "u1".into(),
            first_name: Some("Zoë".into()),
            email: Some("zoe@example.org".into()),
            locale: Some(locale.into()),
            attributes: json!({"tier": "gold"}),
        },
        lines: vec![
            line("s1", "Tea pot \"Blue\" <0.8 l>", Some(1), "1234.50", "1234.50", 2),
            line("s2", "Cup & saucer", Some(4), "9.90", "39.60", 40),
        ],
        similar: vec![
            line("s3", "Milk jug <0.3 l>", None, "24.00", "24.00", 7),
            line("s4", "Sugar bowl", None, "18.50", "18.50", 3),
        ],
        total: Some("1274.10".into()),
        discounted: None,
        discount: None,
        currency: Some("EUR".into()),
        campaign: "cart-abandonment".into(),
        variant: None,
        decision_id: DecisionId(0xabc),
        unsubscribe_url: None,
        enrich: json!({}),
    }
}

#[test]
fn the_shipped_mails_look_like_this() {
    for name in NAMES {
        let message = shipped().render(name, &context("de"), &shop()).unwrap();
        assert_eq!(message.message_id, "<00000000000000000000000000000abc@example.com>");
        insta::assert_snapshot!(format!("{name}.html"), message.html);
        insta::assert_snapshot!(format!("{name}.txt"), format!("Subject: {}\n\n{}", message.subject, message.text));
    }
}

/// 12.5 % off, with a code that the secret can verify.
fn discounted(context: Context) -> (Context, Codes) {
    let codes = Codes::of(&Secret::new(b"a secret of the shop").unwrap());
    let percent = Percent::of_hundredths(1250).unwrap();
    let code = codes.code(percent, context.decision_id);
    (context.with_discount(Discount { percent, code }), codes)
}

#[test]
fn a_discount_is_in_both_parts_of_the_mail_with_a_code_that_verifies() {
    let (context, codes) = discounted(context("de"));
    let prices: Vec<_> = context.lines.iter().map(|line| line.discounted.as_deref()).collect();
    // Of 1234.50 there is 1080.1875 left, of 9.90 there is 8.6625.
    assert_eq!(prices, [Some("1080.19"), Some("8.66")]);
    assert_eq!(context.discounted.as_deref(), Some("1114.83"));
    for name in ["cart_abandonment", "cart_urgent"] {
        let message = shipped().render(name, &context, &shop()).unwrap();
        let code = context.discount.as_ref().map(|discount| discount.code.as_str()).unwrap();
        for part in [&message.html, &message.text] {
            assert!(part.contains(code) && part.contains("12.5") && part.contains("1.114,83\u{a0}€"), "{part}");
        }
        let said = message.text.lines().find_map(|line| line.split_once("your own code: ")).unwrap().1;
        let coupon = codes.verify(said).unwrap();
        assert_eq!((coupon.percent.to_string().as_str(), coupon.decision), ("12.5", 0));
        insta::assert_snapshot!(format!("{name}_discounted.html"), message.html);
        insta::assert_snapshot!(format!("{name}_discounted.txt"), message.text);
    }
}

#[test]
fn a_template_that_takes_a_discount_for_granted_is_a_fault() {
    let parts = |text: &'static str| [("a.subject.hbs", text), ("a.html.hbs", "x"), ("a.txt.hbs", "x")];
    assert!(Templates::load(folder(&parts("{{#if discount}}{{discount.code}}{{/if}}")).path(), &["a"]).is_ok());
    let faults = Templates::load(folder(&parts("{{discount.code}}")).path(), &["a"]).err().unwrap();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].fault.contains("discount.code"), "{}", faults[0]);
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn every_fault_is_found_at_once_with_its_place() {
    let dir = folder(&[
        ("a.subject.hbs", "Hi"),
        ("a.html.hbs", "<p>\n{{#if total}}\n</p>"),
        ("b.subject.hbs", "Hi"),
        ("b.html.hbs", "<p>"),
    ]);
    let faults = Templates::load(dir.path(), &["a", "b", "../c"]).err().unwrap();
    let faults: Vec<_> =
        faults.iter().map(|fault| fault.to_string().replace(dir.path().to_str().unwrap(), "DIR")).collect();
    insta::assert_snapshot!("faults_of_reading", faults.join("\n"));

    let dir = folder(&[
        ("a.subject.hbs", "Hi {{customer.fist_name}}"),
        ("a.html.hbs", "{{customer.attributes.city}}\n  {{> _none}}"),
        ("a.txt.hbs", "{{#each lines}}\n{{money price}}{{/each}}"),
    ]);
    let faults = Templates::load(dir.path(), &["a"]).err().unwrap();
    let faults: Vec<_> =
        faults.iter().map(|fault| fault.to_string().replace(dir.path().to_str().unwrap(), "DIR")).collect();
    insta::assert_snapshot!("faults_of_rehearsing", faults.join("\n"));
}

#[test]
fn an_attribute_may_be_missing_only_with_a_default() {
    let parts = |subject: &'static str| [("a.subject.hbs", subject), ("a.html.hbs", "x"), ("a.txt.hbs", "x")];
    let dir = folder(&parts("{{default customer.attributes.city \"your town\"}}, {{customer.attributes.tier}}"));
    let templates = Templates::load(dir.path(), &["a"]).unwrap();
    assert_eq!(templates.render("a", &context("en"), &shop()).unwrap().subject, "your town, gold");

    let dir = folder(&parts("{{customer.attributes.city}}"));
    let templates = Templates::load(dir.path(), &["a"]).unwrap();
    let fault = templates.render("a", &context("en"), &shop()).unwrap_err().to_string();
    let advice = "give what may be missing a default: {{default NAME \"…\"}}";
    assert_eq!(fault, format!("a.subject.hbs: there is no `customer.attributes.city`; {advice}"));
    assert!(templates.render("b", &context("en"), &shop()).unwrap_err().to_string().starts_with("no template \"b\""));
}

#[test]
fn a_customer_without_an_address_gets_no_message() {
    let mut context = context("en");
    for email in [None, Some("".into()), Some("a@b.c\r\nBcc: d@e.f".into())] {
        context.customer.email = email;
        assert!(shipped().render("cart_urgent", &context, &shop()).is_err());
    }
}

/// Text as an attacker would write it into a profile or a catalog.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("<script>alert(1)</script>".to_owned()),
        Just("\" onload=\"x".to_owned()),
        Just("\r\nBcc: victim@example.org".to_owned()),
        Just("{{customer.email}}".to_owned()),
        Just("</td></table>".to_owned()),
        any::<String>(),
    ];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| format!("a{}", pieces.concat()))
}

fn replaced(text: impl Fn(usize) -> String) -> Context {
    let mut context = context(&text(0));
    context.customer.first_name = Some(text(1));
    context.currency = Some(text(2).into());
    for line in context.lines.iter_mut().chain(&mut context.similar) {
        line.name = text(3);
        line.image = Some(text(4));
        line.url = Some(text(5));
    }
    context
}

/// How often each character that makes HTML what it is appears.
fn markup(html: &str) -> [usize; 4] {
    ['<', '>', '"', '\''].map(|mark| html.matches(mark).count())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn no_data_becomes_markup_and_no_subject_has_two_lines(texts in proptest::collection::vec(hostile(), 6)) {
        let templates = shipped();
        for name in NAMES {
            let harmless = templates.render(name, &replaced(|_| "a".into()), &shop()).unwrap();
            let message = templates.render(name, &replaced(|at| texts[at].clone()), &shop()).unwrap();
            prop_assert_eq!(markup(&message.html), markup(&harmless.html));
            prop_assert!(!message.subject.contains(char::is_control), "{:?}", message.subject);
            prop_assert!(!message.subject.is_empty());
        }
    }
}
