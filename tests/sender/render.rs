//! The shipped templates: what their mails say. And templates at large: what helpers write, and that every fault is found
//! before the first mail.

use std::path::Path;

use beckon::config::{Config, Purpose};
use beckon::coupon::Codes;
use beckon::decision::{Mailbox, Percent};
use beckon::pipeline::{compose, preview};
use beckon::render::{Context, Discount, Templates};
use beckon::secret::Secret;

pub fn shop() -> Mailbox {
    "Example Shop <shop@example.com>".parse().unwrap()
}

/// The campaigns on all triggers, and their templates.
pub fn shipped() -> (Config, Templates) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/all.toml");
    let config = Config::load(&path, Purpose::Check).unwrap_or_else(|faults| panic!("{faults}"));
    let templates = compose::load_templates(&config).unwrap_or_else(|faults| panic!("{faults}"));
    (config, templates)
}

/// A folder with a template `a` of these parts: subject, HTML, plain.
pub fn folder_of(parts: [&str; 3]) -> tempfile::TempDir {
    let names = ["a.subject.hbs", "a.html.hbs", "a.txt.hbs"];
    folder(&names.into_iter().zip(parts).collect::<Vec<_>>())
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn the_shipped_mails_say_this() {
    let (config, templates) = shipped();
    for campaign in &config.campaigns {
        for name in campaign.templates().into_iter().flatten() {
            let context =
                Context { unsubscribe_url: Some("https://mail.example.com/u/x".into()), ..preview::sample(campaign) };
            let message = templates.render(name, &context, &shop()).unwrap();
            assert_eq!(message.message_id, "<00000000000000000000000000000001@example.com>");
            insta::assert_snapshot!(format!("{name}.txt"), format!("Subject: {}\n\n{}", message.subject, message.text));
        }
    }
    assert_eq!(config.campaigns.len(), 11);
}

#[test]
fn the_html_of_a_shipped_mail_is_this() {
    let (config, templates) = shipped();
    let message = templates.render("cart_abandonment", &preview::sample(&config.campaigns[0]), &shop()).unwrap();
    insta::assert_snapshot!("cart_abandonment.html", message.html);
}

/// The longest mail that is shipped, in a German customer's way, with a name that is markup.
#[test]
fn numbers_are_written_as_the_customer_does_and_names_are_no_markup() {
    let (config, templates) = shipped();
    let mut context = preview::sample(&config.campaigns[0]);
    context.customer.locale = Some("de-DE".into());
    context.lines[0].name = "Tea pot \"Blue\" <0.8 l>".into();
    context.total = Some("1274.10".into());
    let message = templates.render("cart_abandonment", &context, &shop()).unwrap();
    for part in ["Tea pot &quot;Blue&quot; &lt;0.8 l&gt;</a>", "1.274,10\u{a0}€", "10\u{a0}%"] {
        assert!(message.html.contains(part), "{part} in {}", message.html);
    }
    assert!(message.text.contains("* Tea pot \"Blue\" <0.8 l>: 64,90\u{a0}€\n"), "{}", message.text);
}

#[test]
fn a_discount_is_in_both_parts_of_the_mail_with_a_code_that_verifies() {
    let (_, templates) = shipped();
    let codes = Codes::of(&Secret::new(b"a secret of the shop").unwrap());
    let percent = Percent::of_hundredths(1250).unwrap();
    let context = Context::sample("cart_abandonment");
    let code = codes.code(percent, context.decision_id);
    let context = context.with_discount(Discount { percent, code: code.clone() });
    let prices: Vec<_> = context.lines.iter().map(|line| line.discounted.as_deref()).collect();
    // Of 64.90 there is 56.7875 left, of 12.50 there is 10.9375.
    assert_eq!(prices, [Some("56.79"), Some("10.94")]);
    for name in ["cart_abandonment", "cart_urgent"] {
        let message = templates.render(name, &context, &shop()).unwrap();
        for part in [&message.html, &message.text] {
            assert!(part.contains(&code) && part.contains("12.5%") && part.contains("€78.67"), "{part}");
        }
        let said = message.text.lines().find_map(|line| line.split_once("your own code: ")).unwrap().1;
        let coupon = codes.verify(said).unwrap();
        assert_eq!((coupon.percent.to_string().as_str(), coupon.decision), ("12.5", 0));
    }
}

/// Renders `text` as HTML for a customer of `locale`.
#[track_caller]
fn html(text: &str, locale: &str) -> String {
    let templates =
        Templates::load(folder_of(["x", text, "x"]).path(), &["a"]).unwrap_or_else(|faults| panic!("{faults:?}"));
    let mut context = Context::sample("back_in_stock");
    context.customer.locale = Some(locale.into());
    templates.render("a", &context, &shop()).unwrap().html
}

#[test]
fn helpers_write_this() {
    let cases = [
        ("{{money hero.price currency}}", "de", "64,90\u{a0}€"),
        ("{{number 1234.5}} {{number -7}}", "de", "1.234,5 -7"),
        ("{{percent 12.50}}", "fr", "12,5\u{a0}%"),
        ("{{percent 12.5}}", "en", "12.5%"),
        ("{{weekday as_of}}, {{date as_of}}, {{time as_of}}", "de", "Donnerstag, 1. Januar 2026, 10:30"),
        ("{{weekday as_of lang=\"en\"}}, {{date as_of lang=\"en\"}}", "de", "Thursday, January 1, 2026"),
        ("{{date \"2026-03-01\"}} {{date customer.attributes.birthday}}", "nl", "1 maart 2026 "),
        ("{{stock_left hero.on_hand}}{{stock_left hero.on_hand below=3}}", "it", "Ne restano solo 3"),
        ("{{time_left expires_at}}{{time_left as_of}}", "es", "Termina en 24 horas"),
        ("{{default customer.attributes.city \"your <town>\"}}", "en", "your &lt;town&gt;"),
        ("{{default customer.first_name \"there\"}}", "en", "Ada"),
        (
            "{{link hero.url}} {{link \"javascript:x\" \"https://a.b/\"}}{{link \"x\"}}",
            "en",
            "https://shop.example.com/p/LGT-00031 https://a.b/",
        ),
        ("?q={{urlencode \"a&b c/ü\"}}", "en", "?q=a%26b%20c%2F%C3%BC"),
        (
            "{{image hero.image \"<\" width=88 height=80 class=\"c\"}}{{image \"data:x\" \"\" width=1}}",
            "en",
            "<img src=\"https://img.example.com/LGT-00031.jpg\" alt=\"&lt;\" width=\"88\" height=\"80\" class=\"c\">",
        ),
        ("{{#each similar}}{{sku}} {{/each}}", "en", "LGT-00007 HOM-00420 KIT-00087 "),
    ];
    for (text, locale, expected) in cases {
        assert_eq!(html(text, locale), expected, "{text}");
    }
}

#[test]
fn styles_are_in_the_elements_and_partials_for_all_parts_are_pieces_of_a_line() {
    let dir = folder(&[
        ("_styles.css", ".a { color: #111 }"),
        ("_b.html.hbs", "<b class=\"a\">{{x}}</b>"),
        ("_shop.hbs", "{{! The shop's name. }}\nShop & Co\n"),
        ("a.subject.hbs", "{{> _shop}}!"),
        ("a.html.hbs", "{{> _b x=\"1\"}}{{> _shop}}"),
        ("a.txt.hbs", "{{> _shop}}"),
    ]);
    let templates = Templates::load(dir.path(), &["a"]).unwrap();
    let message = templates.render("a", &Context::sample("welcome"), &shop()).unwrap();
    assert_eq!(message.html, "<b class=\"a\" style=\"color:#111;\">1</b>Shop & Co");
    assert_eq!((message.subject.as_str(), message.text.as_str()), ("Shop & Co!", "Shop & Co"));
}

/// The faults of a folder, its path taken out.
fn faults(dir: &tempfile::TempDir, wanted: &[(&str, &str)]) -> String {
    let faults = Templates::load_for(dir.path(), wanted, &Default::default()).err().unwrap_or_default();
    let faults = faults.iter().map(|fault| fault.to_string().replace(dir.path().to_str().unwrap(), "DIR"));
    faults.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_fault_is_found_at_once_with_its_place() {
    let dir = folder(&[
        ("a.subject.hbs", "Hi"),
        ("a.html.hbs", "<p>\n{{#if total}}\n</p>"),
        ("b.subject.hbs", "Hi"),
        ("b.html.hbs", "<p>"),
        ("_styles.css", ".a { color: red }\np { margin: 0 }"),
    ]);
    let found = faults(&dir, &[("a", "welcome"), ("b", "welcome"), ("../c", "welcome")]);
    insta::assert_snapshot!("faults_of_reading", found);
}

#[test]
fn what_is_not_there_or_not_always_is_a_fault() {
    let check = |text: &str, trigger: &str, expected: &str| {
        let dir = folder_of([text, "x", "x"]);
        assert_eq!(faults(&dir, &[("a", trigger)]), expected, "{text} for {trigger}");
    };
    let no = |what: &str, column: usize| format!("DIR/a.subject.hbs:1:{column}: there is no `{what}`, or not always");
    check("{{customer.fist_name}}", "welcome", &no("customer.fist_name", 1));
    check("Hi {{customer.first_name}}", "welcome", &no("customer.first_name", 4));
    check("{{#if customer.first_name}}{{customer.first_name}}{{/if}}", "welcome", "");
    check("{{default customer.frist_name \"there\"}}", "welcome", &no("customer.frist_name", 1));
    check("{{money total currncy}}", "cart_abandonment", &no("currncy", 1));
    check("{{money total currency}}", "cart_abandonment", "");
    check("{{money total}}", "cart_abandonment", "DIR/a.subject.hbs:1:1: `money` lacks its parameter 2");
    check("{{discount.code}}", "welcome", &no("discount.code", 1));
    check("{{#if discount}}{{discount.code}}{{/if}}", "welcome", "");
    check("{{hero.name}}", "back_in_stock", "");
    check("{{hero.name}}", "win_back", &no("hero.name", 1));
    check("{{hero.name}}", "post_purchase", &no("hero.name", 1));
    check("{{#if hero}}{{hero.name}}{{/if}}", "a_trigger_of_ones_own", "");
    check("{{query}}", "search_abandonment", "");
    check("{{query}}", "cart_abandonment", &no("query", 1));
    check("{{unsubscribe_url}}", "welcome", &no("unsubscribe_url", 1));
    check("{{customer.attributes.city}} {{nothing}}", "welcome", &no("nothing", 30));
    check("{{enrich.weather.text}}", "welcome", &no("enrich.weather.text", 1));
    check("{{date customer.attributes.birthday}} {{date tomorrow}}", "welcome", &no("tomorrow", 39));
    check("{{#each lines}}{{prize}}{{/each}}", "cart_abandonment", &no("prize", 16));
}

#[test]
fn what_is_shown_at_open_time_is_a_picture_that_says_in_words_what_is_so_now() {
    let html = "{{live \"stock\" hero height=20 class=\"a\"}}|{{live \"price\" hero}}|{{live \"countdown\"}}";
    let dir = folder_of(["x", html, "x"]);
    let templates = Templates::load_for(dir.path(), &[("a", "cart_abandonment")], &Default::default()).unwrap();
    let mut context = Context::sample("cart_abandonment");
    let hero = context.hero.as_mut().unwrap();
    (hero.sku, hero.on_hand, hero.price) = ("s&1\"".into(), Some(2), Some("19.90".into()));
    let render = |context: &Context| templates.render("a", context, &shop()).unwrap().html;
    let url = "https://mail.example.com/live/sample";
    assert_eq!(
        render(&context),
        format!(
            "<img src=\"{url}/stock.png?sku=s%261%22\" alt=\"Only 2 left\" height=\"20\" class=\"a\">|\
             <img src=\"{url}/price.png?sku=s%261%22\" alt=\"€19.90\" height=\"28\">|\
             <img src=\"{url}/countdown.png\" alt=\"Ends in 24 hours\" height=\"28\">"
        )
    );
    // A preview, or a service without links: there is nowhere to show it from.
    context.live_url = None;
    assert_eq!(render(&context), "||");
    let dir = folder_of(["x", "{{live \"sock\" hero}}", "x"]);
    assert!(faults(&dir, &[("a", "cart_abandonment")]).contains("`live` knows \"stock\""));
    let dir = folder_of(["x", "{{live \"stock\" hreo}}", "x"]);
    assert!(faults(&dir, &[("a", "cart_abandonment")]).contains("there is no `hreo`"));
}

#[test]
fn an_attribute_may_be_missing_only_with_a_default() {
    let context = || {
        let mut context = Context::sample("welcome");
        context.customer.attributes = serde_json::json!({"tier": "gold"});
        context
    };
    let load = |subject: &str| Templates::load(folder_of([subject, "x", "x"]).path(), &["a"]).unwrap();
    let templates = load("{{default customer.attributes.city \"your town\"}}, {{customer.attributes.tier}}");
    assert_eq!(templates.render("a", &context(), &shop()).unwrap().subject, "your town, gold");

    let templates = load("{{customer.attributes.city}}");
    let fault = templates.render("a", &context(), &shop()).unwrap_err().to_string();
    let advice = "give what may be missing a default: {{default NAME \"…\"}}";
    assert_eq!(fault, format!("a.subject.hbs: there is no `customer.attributes.city`, or not always; {advice}"));
    assert!(templates.render("b", &context(), &shop()).unwrap_err().to_string().starts_with("no template \"b\""));
}

#[test]
fn a_customer_without_an_address_gets_no_message() {
    let (_, templates) = shipped();
    let mut context = Context::sample("cart_abandonment");
    for email in [None, Some("".into()), Some("a@b.c\r\nBcc: d@e.f".into())] {
        context.customer.email = email;
        assert!(templates.render("cart_urgent", &context, &shop()).is_err());
    }
}
