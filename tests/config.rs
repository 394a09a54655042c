//! The configuration from outside: what is refused, where, and in which words (SPEC §10).

use std::fs;
use std::path::Path;

use beckon::config::{Config, Faults, KindFault, Purpose, TEMPLATE_PARTS, TriggerKinds};
use beckon::trigger::{Keys, MakeRule, TriggerKind};
use tempfile::TempDir;

/// A folder with `beckon.toml` and whole templates of the given names.
fn folder(text: &str, templates: &[&str]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    fs::create_dir(folder.path().join("templates")).expect("a folder");
    for template in templates {
        for part in TEMPLATE_PARTS {
            fs::write(folder.path().join(format!("templates/{template}.{part}")), "Hello {{name}}")
                .expect("a template");
        }
    }
    fs::write(folder.path().join("beckon.toml"), text).expect("a configuration");
    folder
}

fn load(folder: &TempDir, purpose: Purpose) -> Result<Config, Faults> {
    Config::load(&folder.path().join("beckon.toml"), purpose)
}

/// The faults as printed, without the temporary folder's name.
fn printed(folder: &TempDir, faults: &Faults) -> String {
    faults.to_string().replace(&format!("{}/", folder.path().display()), "")
}

/// The faults of a replay of `text`: `line:column: what`, and the hint.
fn faults_of(text: &str) -> Vec<(String, String)> {
    let Err(faults) = Config::parse(Path::new("beckon.toml"), text, Purpose::Replay) else { return Vec::new() };
    faults
        .iter()
        .map(|fault| {
            let place = fault.place.as_ref().map_or("-".to_owned(), |place| format!("{}:{}", place.line, place.column));
            (format!("{place}: {}", fault.what), fault.hint.clone().unwrap_or_default())
        })
        .collect()
}

/// Checks that `text` has exactly the fault `expected`, with a hint that contains `hint`.
#[track_caller]
fn refused(text: &str, expected: &str, hint: &str) {
    let faults = faults_of(text);
    let found: Vec<&str> = faults.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(found, [expected], "in:\n{text}");
    assert!(faults[0].1.contains(hint), "hint `{}` lacks `{hint}`", faults[0].1);
}

/// A campaign of these lines; the first of them is line 4.
fn campaign(lines: &str) -> String {
    format!("[[campaign]]\nname = \"c\"\ntrigger = \"back_in_stock\"\n{lines}\n")
}

/// A cart campaign of these lines; the first of them is line 4.
fn cart(lines: &str) -> String {
    format!("[[campaign]]\nname = \"c\"\ntrigger = \"cart_abandonment\"\n{lines}\n")
}

/// SPEC §10's example, word for word.
const SPEC_EXAMPLE: &str = r#"tick = "1s"
allowed_lateness = "5s"
state = "state"                                   # ledger, timeline, snapshots

[kafka]
brokers = "localhost:9092"
topics = { clickstream = "shop.clicks" }          # default: the stream's own name

[limits]
frequency_cap = [{ sends = 1, per = "1d" }, { sends = 3, per = "7d" }]
quiet_hours = { from = "21:00", to = "08:00", default_timezone = "Europe/Berlin" }

[[campaign]]
name = "cart-abandonment"
trigger = "cart_abandonment"
after = "30m"
expires = "24h"
stock = "any"
min_total = "20.00"
priority = 100
cooldown = "24h"
audience = "customer.attributes.tier == 'gold' || cart.total >= 50.0"
send_within = "2h"
template = "cart_abandonment"                     # NAME.subject.hbs, NAME.html.hbs, NAME.txt.hbs
holdout = 0.10
similar = 3
discount = [{ when = "customer.orders == 0", percent = 15 }, { when = "cart.total >= 100.0", percent = 10 }]   # first that holds
variants = [{ name = "plain", weight = 1 }, { name = "urgent", weight = 1, template = "cart_urgent" }]

[enrich.weather]                                  # fetched when the mail is rendered; `enrich.weather` in the template
url = "https://api.example.com/now?city={{customer.attributes.city}}"
timeout = "300ms"
cache = "10m"
fallback = { text = "" }

[esp]
kind = "sendgrid"                                 # postmark, mailgun, ses, resend, smtp, http
api_key_env = "SENDGRID_API_KEY"
base_url = "http://127.0.0.1:9090"                # any ESP can be pointed at a simulator
from = "Shop <shop@example.com>"
requests_per_second = 50
"#;

#[test]
fn the_specifications_example_lacks_only_its_templates() {
    let folder = folder(SPEC_EXAMPLE, &[]);
    let faults = load(&folder, Purpose::Check).expect_err("no templates");
    let other: Vec<&str> =
        faults.iter().map(|fault| fault.what.as_str()).filter(|what| !what.ends_with("is incomplete")).collect();
    assert_eq!(other, [""; 0]);
    assert_eq!(faults.iter().filter(|fault| fault.what.ends_with("is incomplete")).count(), 2);
    insta::assert_snapshot!("specification_example", printed(&folder, &faults));
}

#[test]
fn every_fault_of_a_file_is_told_at_once() {
    let text = r#"tik = "1s"
tick = "7s"
allowed_lateness = 5
state = ["state"]

[kafka]
brokers = "localhost"
topics = { clickstrem = "shop.clicks", carts = "orders" }

[limits]
frequency_cap = [{ sends = 0, per = "1 day" }, { per = "7d", every = 1 }]

[[campaign]]
trigger = "cart_abandonment"
stock = "some"
min_total = "-20.00"
lookback = "30d"
prioriti = 100

[[campaign]]
name = "same"
trigger = "back_in_stok"
holdout = 10
variants = [{ name = "a", weight = 0 }, { name = "a", weight = 1 }, "b"]

[[campaign]]
name = "same"
trigger = "back_in_stock"
after = "30m"
	priority = "hoch"    # with a tab before, and Ümläute: the caret stays
template = "../etc/passwd"
audience = "customer.orders = 0"

[esp]
kind = "sendgird"
api_key_env = "SG.secret-key"
base_url = "localhost:9090"
from = "Shop"
requests_per_second = 0
"#;
    let folder = folder(text, &[]);
    let faults = load(&folder, Purpose::Check).expect_err("many faults");
    let printed = printed(&folder, &faults);
    assert!(!printed.contains("secret-key"), "a key in the wrong place must not be shown");
    insta::assert_snapshot!("many_faults", printed);
}

#[test]
fn faults_of_syntax_are_told_alone_and_all_at_once() {
    let text = "tick = 1s\nallowed_lateness = \"5s\"\nallowed_lateness = \"6s\"\n[kafka\nunknown = 1\n";
    let folder = folder(text, &[]);
    let faults = load(&folder, Purpose::Check).expect_err("not TOML");
    insta::assert_snapshot!("broken_syntax", printed(&folder, &faults));
}

#[test]
fn broken_templates_are_told_at_their_own_place() {
    let text = campaign("template = \"t\"\nvariants = [{ name = \"v\", weight = 1, template = \"u\" }]");
    let folder = folder(&text, &["t"]);
    let template =
        |name: &str, text: &str| fs::write(folder.path().join("templates").join(name), text).expect("a template");
    template("t.html.hbs", "<p>\n  {{#if name}}x{{/each}}\n</p>\n");
    template("t.txt.hbs", "Hello {{name");
    template("u.txt.hbs", "fine");
    let faults = load(&folder, Purpose::Check).expect_err("broken templates");
    insta::assert_snapshot!("broken_templates", printed(&folder, &faults));
    assert!(load(&folder, Purpose::Replay).is_ok(), "a replay renders nothing");
}

#[test]
fn a_run_needs_kafka_an_esp_its_key_and_templates() {
    let bare = folder(&campaign("priority = 1"), &[]);
    assert!(load(&bare, Purpose::Replay).is_ok());
    assert!(load(&bare, Purpose::Check).is_ok());
    let faults = load(&bare, Purpose::Run).expect_err("nothing to run with");
    insta::assert_snapshot!("bare_run", printed(&bare, &faults));

    let esp = |key: &str| {
        format!(
            "[kafka]\nbrokers = \"k:9092\"\n[esp]\nkind = \"sendgrid\"\napi_key_env = \"{key}\"\nfrom = \"s@example.com\"\n{}",
            campaign("template = \"t\"")
        )
    };
    let unset = folder(&esp("BECKON_TEST_NO_SUCH_KEY"), &["t"]);
    assert!(load(&unset, Purpose::Check).is_ok(), "a check needs no secrets");
    let faults = load(&unset, Purpose::Run).expect_err("no key");
    assert_eq!(faults.iter().count(), 1);
    assert!(faults.to_string().contains("`BECKON_TEST_NO_SUCH_KEY` is not set"), "{faults}");

    // Any variable that is set will do.
    let whole = folder(&esp("PATH"), &["t"]);
    let config = load(&whole, Purpose::Run).expect("whole");
    assert!(config.esps.len() == 1 && config.kafka.is_some());
}

#[test]
fn variants_with_templates_of_their_own_need_no_other() {
    let esp =
        "[kafka]\nbrokers = \"k:9092\"\n[esp]\nkind = \"http\"\nbase_url = \"http://x\"\nfrom = \"s@example.com\"\n";
    let text = |second: &str| {
        let variants =
            format!("[{{ name = \"a\", weight = 1, template = \"t\" }}, {{ name = \"b\", weight = 1{second} }}]");
        format!("{esp}{}", campaign(&format!("variants = {variants}")))
    };
    assert!(load(&folder(&text(", template = \"t\""), &["t"]), Purpose::Run).is_ok());
    let faults = load(&folder(&text(""), &["t"]), Purpose::Run).expect_err("b has none");
    assert!(faults.to_string().contains("a campaign that is run needs a template"), "{faults}");
}

#[test]
fn the_example_that_users_copy_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("campaigns/beckon.toml");
    let text = fs::read_to_string(&path).expect("the example");
    let templates = ["cart_abandonment", "cart_urgent", "back_in_stock"];
    let unset = folder(&text.replace("BECKON_COUPON_SECRET", "BECKON_TEST_NO_SUCH_SECRET"), &templates);
    let faults = load(&unset, Purpose::Run).expect_err("no secret");
    assert!(faults.to_string().contains("variable `BECKON_TEST_NO_SUCH_SECRET` is not set"), "{faults}");
    assert_eq!(faults.iter().count(), 1);
    assert!(load(&unset, Purpose::Demo).is_ok(), "the demo brings its own");
    // Any variable that is set and long enough will do.
    let folder = folder(&text.replace("BECKON_COUPON_SECRET", "PATH"), &templates);
    let config = load(&folder, Purpose::Run).unwrap_or_else(|faults| panic!("{faults}"));
    let names: Vec<&str> = config.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
    assert_eq!(names, ["cart-abandonment", "back-in-stock"]);
    assert_eq!(config.campaigns[0].templates(), [Some("cart_abandonment"), Some("cart_urgent")]);
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_one_fault() {
    let folder = folder("", &[]);
    let missing = Config::load(&folder.path().join("other.toml"), Purpose::Check).expect_err("missing");
    assert!(missing.to_string().contains("other.toml: cannot be read"), "{missing}");
    fs::write(folder.path().join("beckon.toml"), b"tick = \"\xff\"").expect("a file");
    let faults = load(&folder, Purpose::Check).expect_err("not UTF-8");
    assert!(faults.to_string().contains("is not UTF-8"), "{faults}");
}

#[test]
fn unknown_keys_are_refused_with_what_was_meant() {
    refused("tik = \"1s\"", "1:1: unknown key `tik`", "did you mean `tick`?");
    refused(
        "[kafka]\nbrokers = \"a:1\"\nbroker = 1",
        "3:1: unknown key `broker` in `kafka`",
        "did you mean `brokers`?",
    );
    refused("[limits]\nquite = 1", "2:1: unknown key `quite` in `limits`", "one of: frequency_cap, quiet_hours");
    let secret = Config::parse(Path::new("x"), "[esp]\napi_key = \"SG.secret\"", Purpose::Replay).expect_err("unknown");
    assert!(!secret.to_string().contains("SG.secret"), "{secret}");
    refused("[[campaigns]]\nname = \"c\"", "1:3: unknown key `campaigns`", "did you mean `campaign`?");
}

#[test]
fn durations_are_text_with_units() {
    refused("tick = 1", "1:8: `tick` must be a duration, but is a whole number", "\"30m\"");
    refused("allowed_lateness = \"5\"", "1:20: the duration `5` lacks a unit", "\"1h30m\"");
    refused("allowed_lateness = \"5w\"", "1:20: `w` in `5w` is no unit (d, h, m, s, ms)", "\"250ms\"");
    refused("allowed_lateness = \"5m1h\"", "1:20: `h` in `5m1h` stands after a smaller unit, or twice", "\"2d\"");
    refused("idle_after = \"0s\"", "1:14: `idle_after` must be longer than nothing", "\"30m\"");
}

#[test]
fn a_tick_divides_a_day() {
    let fault = "1:8: `tick` must be at least 2ms, and divide a day evenly";
    for tick in ["0s", "1ms", "7s", "2d", "86399999ms"] {
        refused(&format!("tick = \"{tick}\""), fault, "\"100ms\"");
    }
    for tick in ["2ms", "100ms", "1s", "1m", "1d"] {
        assert_eq!(faults_of(&format!("tick = \"{tick}\"")), [], "{tick}");
    }
}

#[test]
fn campaigns_have_names_of_their_own_and_known_triggers() {
    refused("[[campaign]]\ntrigger = \"back_in_stock\"", "1:1: `name` is missing", "cart-abandonment");
    refused("[[campaign]]\nname = \"c\"", "1:1: `trigger` is missing", "cart_abandonment");
    refused(&campaign("").repeat(2), "6:8: the name `c` is taken", "first used on line 2");
    let control = campaign("").replace("\"c\"", "\"a\\u001fb\"");
    refused(&control, "2:8: `name` is not a well-formed name", "no control characters");
    let unknown = campaign("threshold = 1").replace("back_in_stock", "back_in_stok");
    refused(&unknown, "3:11: unknown trigger `back_in_stok`", "did you mean `back_in_stock`?");
}

/// A trigger of this name, of which nothing but the name is asked.
struct Named(&'static str);

impl TriggerKind for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn read(&self, _: &Keys<'_>) -> Box<MakeRule> {
        Box::new(|_| unreachable!("no rule is made of a configuration that is only read"))
    }
}

#[test]
fn triggers_of_ones_own_have_names_of_their_own() {
    let brought = |names: &[&'static str]| {
        TriggerKinds::new(names.iter().map(|name| Box::new(Named(name)) as Box<dyn TriggerKind>).collect())
    };
    assert_eq!(brought(&["a", "a"]).err(), Some(KindFault::Taken("a")));
    assert_eq!(brought(&["welcome"]).err(), Some(KindFault::Taken("welcome")));
    for name in ["", "A", "a-b", "a b", "ä"] {
        assert_eq!(brought(&[name]).err(), Some(KindFault::Name(name)));
    }
    let kinds = brought(&["my_trigger"]).expect("a name of its own");
    let parse = |text: &str| Config::parse_with(Path::new("x"), text, Purpose::Replay, &kinds);
    let config = parse(&campaign("priority = 2").replace("back_in_stock", "my_trigger")).expect("right");
    assert_eq!((config.campaigns[0].trigger.name(), config.campaigns[0].priority), ("my_trigger", 2));
    let faults = parse(&campaign("").replace("back_in_stock", "my_triger")).expect_err("misspelt").to_string();
    assert!(
        faults.contains("unknown trigger `my_triger`") && faults.contains("did you mean `my_trigger`?"),
        "{faults}"
    );
}

#[test]
fn triggers_take_their_own_parameters_only() {
    refused(&campaign("after = \"1h\""), "4:1: trigger `back_in_stock` does not take `after`", "it takes: lookback");
    let takes = "it takes: after, stock, min_total";
    refused(&cart("after = \"1h\"\npercent = 5"), "5:1: trigger `cart_abandonment` does not take `percent`", takes);
    refused(&cart(""), "1:1: `after` is missing", "after = \"30m\"");
    refused(&cart("after = \"1h\"\nstock = \"al\""), "5:9: unknown stock `al`", "did you mean `all`?");
}

#[test]
fn money_is_an_exact_amount_that_is_not_negative() {
    let total = |value: &str| cart(&format!("after = \"1h\"\nmin_total = {value}"));
    refused(&total("-0.01"), "5:13: `min_total` must not be negative", "20.00");
    refused(&total("\"20 EUR\""), "5:13: `min_total` is not an exact decimal", "no currency");
    refused(&total("nan"), "5:13: `min_total` is not an exact decimal", "plain decimal");
    refused(&total("0.00000000000000000000000000001"), "5:13: `min_total` is not an exact decimal", "28 digits");
    refused(&total("true"), "5:13: `min_total` must be an amount of money, but is true or false", "20.00");
}

#[test]
fn experiments_are_well_formed() {
    for holdout in ["-0.1", "1.0", "10"] {
        let fault = "4:11: `holdout` must be at least 0 and less than 1";
        refused(&campaign(&format!("holdout = {holdout}")), fault, "10 percent is written 0.10");
    }
    let variants = |list: &str| campaign(&format!("variants = [{list}]"));
    let a = "{ name = \"a\", weight = 1 }";
    refused(&variants("{ name = \"a\", weight = 0 }"), "4:36: `weight` must be over 0", "leave it out");
    refused(&variants("{ name = \"a\", weight = inf }"), "4:36: `weight` must be a finite number", "");
    refused(&variants("{ name = \"a\" }"), "4:13: `weight` is missing", "weight = 1");
    refused(&variants(&format!("{a}, {a}")), "4:50: the name `a` is taken", "first used on line 4");
    refused(&campaign("priority = 1.5"), "4:12: `priority` must be a whole number, but is a number with a point", "");
    refused(
        &campaign("priority = 99999999999999999999"),
        "4:12: `priority` is out of range",
        "from -1000000 to 1000000",
    );
}

#[test]
fn discounts_are_well_formed() {
    let discount = |discount: &str| campaign(&format!("discount = [{{ {discount} }}]"));
    assert_eq!(faults_of(&discount("when = \"cart.total >= 20\", percent = 12.50")), []);
    refused(&discount("percent = 10"), "4:13: `when` is missing", "customer.orders == 0");
    refused(&discount("when = \"true\""), "4:13: `percent` is missing", "percent = 10");
    let percent = |percent: &str| discount(&format!("when = \"true\", percent = {percent}"));
    for wrong in ["0", "-5", "100.01"] {
        refused(&percent(wrong), "4:40: a percentage must be over 0 and at most 100", "written 10, not 0.10");
    }
    let fault = "4:40: the `percent` of a discount has at most two digits after the point";
    refused(&percent("12.345"), fault, "percent = 12.5");
    refused(
        &discount("when = \"cart.total = 5\", percent = 5"),
        "4:34: the expression does not parse: token recognition error at: '= '",
        "==",
    );
    refused(
        &discount("when = \"basket.total > 5\", percent = 5"),
        "4:22: unknown name `basket` in the expression",
        "customer, cart",
    );
}

#[test]
fn coupons_have_one_secret_which_is_never_shown() {
    let example = "secret_env = \"BECKON_COUPON_SECRET\"";
    refused("[coupons]", "1:1: neither `secret_env` nor `secret_file` is set", example);
    let both = "[coupons]\nsecret_env = \"A\"\nsecret_file = \"a\"";
    refused(both, "3:15: `secret_file` is set beside `secret_env`", "leave one out");
    let fault = "2:14: `secret_env` is not the name of an environment variable";
    refused("[coupons]\nsecret_env = \"0123-4567-89ab-cdef\"", fault, example);
    for line in ["secret_env = \"0123-4567-89ab-cdef\"", "secret = \"0123-4567-89ab-cdef\""] {
        let faults =
            Config::parse(Path::new("x"), &format!("[coupons]\n{line}"), Purpose::Replay).expect_err("refused");
        assert!(!faults.to_string().contains("0123"), "{faults}");
    }
}

#[test]
fn tracking_has_an_address_and_a_secret() {
    let secret = "secret_env = \"BECKON_TRACKING_SECRET\"";
    refused(&format!("[tracking]\n{secret}"), "1:1: `base_url` is missing", "base_url = \"https://mail.shop.example\"");
    refused(
        "[tracking]\nbase_url = \"https://m.shop.example\"",
        "1:1: neither `secret_env` nor `secret_file` is set",
        secret,
    );
    for url in ["m.shop.example", "ftp://m.shop.example", "https://m.shop.example/?a=1", "https://a@m.shop.example"] {
        let text = format!("[tracking]\n{secret}\nbase_url = \"{url}\"");
        refused(&text, &format!("3:12: `{url}` cannot be where links lead"), "without `?` and `#`");
    }
    let mailto = format!("[tracking]\n{secret}\nbase_url = \"https://x\"\nunsubscribe_mailto = \"a@b.c?cc=d@e.f\"");
    refused(&mailto, "4:22: `a@b.c?cc=d@e.f` is no address", "unsubscribe@shop.example");
    refused("[web]\nlisten = \"localhost\"", "2:10: `localhost` is no address to listen on", "127.0.0.1:8080");
}

#[test]
fn who_collects_says_from_whom() {
    let key = "[[collect.key]]\nname = \"site\"\nsecret_env = \"BECKON_WRITE_KEY\"\n";
    refused(&format!("[collect]\n{key}"), "-: `[collect]` is set, and `[web]` is not", "listen = \"127.0.0.1:8080\"");
    let collect = |lines: &str, keys: &str| format!("[web]\n[collect]\n{lines}\n{keys}");
    assert!(faults_of(&collect("origins = [\"https://shop.example\", \"http://localhost:3000\"]", key)).is_empty());
    refused(&collect("", ""), "2:1: `key` is missing", "[[collect.key]]");
    refused(&collect("key = []", ""), "3:7: `key` is empty", "nobody may send");
    refused(&collect("", &format!("{key}{key}")), "8:8: the name `site` is taken", "by name");
    refused(
        &collect("", "[[collect.key]]\nname = \"site\""),
        "4:1: neither `secret_env` nor `secret_file` is set",
        "BECKON_WRITE_KEY",
    );
    refused(&collect("", "[[collect.key]]\nsecret_env = \"A\""), "4:1: `name` is missing", "name = \"site\"");
    refused(&collect("queue_mib = 0", key), "3:13: `queue_mib` is out of range", "from 1 to 1024");
    for wrong in [
        "*",
        "shop.example",
        "https://shop.example/",
        "https://shop.example/a",
        "https://a@shop.example",
        "ftp://a",
        "null",
    ] {
        let origins = collect(&format!("origins = [\"{wrong}\"]"), key);
        refused(&origins, &format!("3:12: `{wrong}` is no origin"), "https://shop.example");
    }
    // A key that was written where its place belongs is not shown.
    for lines in ["secret_env = \"0123-4567-89ab-cdef\"", "write_key = \"0123-4567-89ab-cdef\""] {
        let text = collect("", &format!("[[collect.key]]\nname = \"site\"\n{lines}"));
        let faults = Config::parse(Path::new("x"), &text, Purpose::Replay).expect_err("refused");
        assert!(!faults.to_string().contains("0123"), "{faults}");
    }
}

#[test]
fn an_edge_needs_its_sections_and_its_keys_and_nothing_else() {
    let folder = folder("[esp]\nkind = \"http\"\nbase_url = \"http://x\"\nfrom = \"s@example.com\"\n", &[]);
    let missing = printed(&folder, &load(&folder, Purpose::Ingest).expect_err("refused"));
    for section in ["kafka", "web", "collect"] {
        assert!(missing.contains(&format!("`[{section}]` is missing")), "{missing}");
    }
    let text =
        "[kafka]\nbrokers = \"k:9092\"\n[web]\n[collect]\n[[collect.key]]\nname = \"site\"\nsecret_file = \"key\"\n";
    fs::write(folder.path().join("beckon.toml"), text).expect("written");
    let with = |key: &str| {
        fs::write(folder.path().join("key"), key).expect("written");
        load(&folder, Purpose::Ingest).map(drop).map_err(|faults| printed(&folder, &faults))
    };
    assert!(load(&folder, Purpose::Ingest).expect_err("no key").to_string().contains("cannot be read"));
    assert_eq!(with("0123456789abcdef\n"), Ok(()));
    assert!(with("0123456789abcde\n").expect_err("refused").contains("has 15 bytes"));
    for wrong in ["0123456789:abcdef", "0123456789 abcdef", "0123456789äbcdef"] {
        let said = with(wrong).expect_err("refused");
        assert!(said.contains("characters that no request can carry") && !said.contains(wrong), "{said}");
    }
    assert_eq!(load(&folder, Purpose::Check).map(drop), Ok(()), "a check needs no secrets");
    let twice = format!("{text}[[collect.key]]\nname = \"backend\"\nsecret_file = \"key\"\nprofiles = true\n");
    fs::write(folder.path().join("beckon.toml"), twice).expect("written");
    assert!(with("0123456789abcdef\n").expect_err("refused").contains("that of another name too"));
}

#[test]
fn spans_go_to_an_address() {
    assert!(faults_of("[telemetry]\notlp_endpoint = \"http://localhost:4318\"").is_empty());
    refused("[telemetry]", "1:1: `otlp_endpoint` is missing", "http://localhost:4318");
    refused("[telemetry]\notlp_endpoint = \"grpc://c:1\"", "2:17: `grpc://c:1` is no http or https address", "4318");
}

#[test]
fn whose_webhooks_are_taken_says_how_they_prove_themselves() {
    let hooks = |tables: &str| format!("[web]\n[webhooks]\n{tables}");
    refused(
        "[webhooks]\nses = { topics = [\"arn:aws:sns:eu-west-1:1:mail\"] }",
        "-: `[webhooks]` is set, and `[web]` is not",
        "listen",
    );
    refused(
        &hooks("[webhooks.sendgrid]"),
        "3:1: neither `public_key_env` nor `public_key_file` is set",
        "verification key",
    );
    refused(&hooks("[webhooks.mailgun]"), "3:1: neither `secret_env` nor `secret_file` is set", "signing key");
    refused(&hooks("[webhooks.postmark]\nsecret_env = \"A\""), "3:1: `username` is missing", "username = ");
    refused(
        &hooks("[webhooks.postmark]\nusername = \"a:b\"\nsecret_env = \"A\""),
        "4:12: `username` has a colon",
        "first one",
    );
    refused(&hooks("[webhooks.ses]"), "3:1: `topics` is missing", "arn:aws:sns");
    refused(&hooks("[webhooks.ses]\ntopics = []"), "4:10: `topics` is empty", "whoever may publish");
    refused(
        &hooks("[webhooks.ses]\ntopics = [\"arn:aws:sqs:x:1:q\"]"),
        "4:11: `arn:aws:sqs:x:1:q` is no ARN of a topic",
        "arn:aws:sns",
    );
    refused(&hooks("[webhooks.sparkpost]"), "3:11: unknown key `sparkpost` in `webhooks`", "postmark");
    let folder = folder(
        &hooks(
            "sendgrid = { public_key_file = \"key\" }\nresend = { secret_file = \"key\" }\n\
        [kafka]\nbrokers = \"k:9092\"\n[esp]\nkind = \"http\"\nbase_url = \"http://x\"\nfrom = \"s@example.com\"\n",
        ),
        &[],
    );
    assert!(load(&folder, Purpose::Check).is_ok(), "a check needs no keys");
    fs::write(folder.path().join("key"), "no key of anybody's").expect("written");
    let said = printed(&folder, &load(&folder, Purpose::Run).expect_err("refused"));
    assert!(said.contains("the key of `sendgrid` is no public key of ECDSA P-256"), "{said}");
    assert!(said.contains("the key of `resend` is no signing secret") && !said.contains("anybody"), "{said}");
}

#[test]
fn who_gives_discounts_needs_a_secret_of_some_length() {
    let esp =
        "[kafka]\nbrokers = \"k:9092\"\n[esp]\nkind = \"http\"\nbase_url = \"http://x\"\nfrom = \"s@example.com\"\n";
    let discount = campaign("template = \"t\"\ndiscount = [{ when = \"true\", percent = 10 }]");
    let text = |coupons: &str| folder(&format!("{esp}{coupons}{discount}"), &["t"]);
    let whats = |folder: &TempDir, purpose| -> Vec<String> {
        let Err(faults) = load(folder, purpose) else { return Vec::new() };
        faults.iter().map(|fault| fault.what.replace(&format!("{}/", folder.path().display()), "")).collect()
    };
    let without = text("");
    assert_eq!(whats(&without, Purpose::Run), ["`[coupons]` is missing"]);
    assert_eq!(whats(&without, Purpose::Coupon), ["`[coupons]` is missing"]);
    assert_eq!(whats(&without, Purpose::Check), [""; 0]);
    let by_file = text("[coupons]\nsecret_file = \"secret\"\n");
    assert!(whats(&by_file, Purpose::Run)[0].starts_with("the secret in secret cannot be read: "));
    assert_eq!(whats(&by_file, Purpose::Replay), [""; 0]);
    fs::write(by_file.path().join("secret"), "0123456789abcde\r\n").expect("a file");
    assert_eq!(whats(&by_file, Purpose::Run), ["the file secret has 15 bytes, and a secret needs 16 at least"]);
    fs::write(by_file.path().join("secret"), "0123456789abcdef\n").expect("a file");
    assert_eq!(whats(&by_file, Purpose::Run), [""; 0]);
    // Where nothing is discounted, none is asked for.
    let plain = folder(
        &format!("{esp}[coupons]\nsecret_env = \"BECKON_TEST_NO_SUCH_SECRET\"\n{}", campaign("template = \"t\"")),
        &["t"],
    );
    assert_eq!(whats(&plain, Purpose::Run), [""; 0]);
    assert_eq!(whats(&plain, Purpose::Coupon), ["the environment variable `BECKON_TEST_NO_SUCH_SECRET` is not set"]);
}

#[test]
fn limits_are_well_formed() {
    let cap = |cap: &str| format!("[limits]\nfrequency_cap = [{{ {cap} }}]");
    refused(&cap("sends = 0, per = \"1d\""), "2:28: `sends` is out of range", "from 1");
    refused(&cap("sends = 1"), "2:18: `per` is missing", "7d");
    refused(&cap("sends = 1, per = \"0s\""), "2:37: `per` must be longer than nothing", "");
    refused("[limits]\nfrequency_cap = 3", "2:17: `frequency_cap` must be a list, but is a whole number", "[ ]");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    /// Whatever is done to a file, it is read or refused, and every fault is within it.
    #[test]
    fn no_file_is_too_broken_to_be_refused(
        cut in 0..SPEC_EXAMPLE.len(),
        length in 0_usize..40,
        put in "[\\PC\n]{0,12}|[\\[\\]{}=\"'.,\n a-z0-9_-]{0,12}",
    ) {
        let end = (cut + length).min(SPEC_EXAMPLE.len());
        let text = format!("{}{put}{}", &SPEC_EXAMPLE[..cut], &SPEC_EXAMPLE[end..]);
        let Err(faults) = Config::parse(Path::new("beckon.toml"), &text, Purpose::Replay) else { return Ok(()) };
        for place in faults.iter().filter_map(|fault| fault.place.as_ref()) {
            proptest::prop_assert!(place.line <= text.matches('\n').count() + 1);
        }
        proptest::prop_assert!(faults.iter().len() > 0 && faults.to_string().contains(" fault"));
    }

    /// The expressions' parser is another's, and it gets whatever is written.
    #[test]
    fn no_expression_is_too_broken_to_be_refused(
        expression in "(customer|cart|\\.|[a-z]|\\(|\\)|\\[|\\]|\\{|\\}|\\?|:|,|&&|\\|\\||[<>=!]=?|[-+*/%]|[0-9]{1,25}|0x|1e9|u|'|`|\"| |\\\\|has|exists|in|true|ä|€){0,20}",
    ) {
        let quoted = expression.replace('\\', "\\\\").replace('"', "\\\"");
        faults_of(&campaign(&format!("audience = \"{quoted}\"")));
    }
}

#[test]
fn depth_is_refused_before_it_is_a_danger() {
    for (deep, length) in ["(", "[", "!", "-", "cart.", "{1:", "has(", "1+", "1 in "].map(|deep| (deep, deep.len())) {
        // Right below the limit the parser must bear it, whether or not it is an expression; beyond, it must not see it.
        faults_of_audience(&format!("{}1", deep.repeat(1_999 / length)));
        let faults = faults_of_audience(&deep.repeat(20_000 / length));
        assert!(faults[0].0.contains("the expression has "), "{faults:?}");
    }
    let nested = format!("tick = {}{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(!faults_of(&nested).is_empty());
}

/// The faults of these quiet hours.
fn faults_of_quiet_hours(hours: &str) -> Vec<String> {
    let faults = faults_of(&format!("[limits]\nquiet_hours = {{ {hours} }}"));
    faults.into_iter().map(|(what, _)| what).collect()
}

#[test]
fn quiet_hours_are_times_of_day_in_a_known_time_zone() {
    assert_eq!(faults_of_quiet_hours("from = \"21:00\", to = \"08:00\""), [""; 0]);
    assert_eq!(faults_of_quiet_hours("from = \"24:00\", to = \"08:00\""), ["2:24: `24:00` is not a time of day"]);
    assert_eq!(faults_of_quiet_hours("from = \"9:00\", to = \"08:00\""), ["2:24: `9:00` is not a time of day"]);
    assert_eq!(faults_of_quiet_hours("from = \"21:00\""), ["2:15: `to` is missing"]);
    assert_eq!(
        faults_of_quiet_hours("from = \"08:00\", to = \"08:00\""),
        ["2:15: quiet hours that end when they begin"]
    );
    assert_eq!(
        faults_of_quiet_hours("from = 21:00, to = \"08:00\""),
        ["2:24: `from` must be a string, but is a date or time"]
    );
    assert_eq!(
        faults_of_quiet_hours("from = \"21:00\", to = \"08:00\", default_timezone = \"Europe/Berlim\""),
        ["2:66: unknown time zone `Europe/Berlim`"]
    );
    // Between two ticks of six hours, half an hour can pass unseen.
    let faults = faults_of("tick = \"6h\"\n[limits]\nquiet_hours = { from = \"08:00\", to = \"07:30\" }");
    assert_eq!(faults.len(), 1);
    assert!(faults[0].0.ends_with("`limits.quiet_hours` leaves 30 minutes a day, less than a `tick`"), "{faults:?}");
}

#[test]
fn streams_have_topics_of_their_own() {
    let topics = |topics: &str| format!("[kafka]\nbrokers = \"k:9092\"\ntopics = {{ {topics} }}");
    refused(&topics("order = \"x\""), "3:12: unknown stream `order`", "did you mean `orders`?");
    refused(&topics("orders = \"a b\""), "3:21: `a b` cannot be a topic's name", "at most 249");
    refused(&topics("orders = \"carts\""), "3:21: topic `carts` is that of stream `carts` too", "of its own");
    refused("[kafka]", "1:1: `brokers` is missing", "localhost:9092");
    refused("[kafka]\nbrokers = \"a:1,b\"", "2:11: `b` is not a broker's address", "host:port");
}

#[test]
fn an_esp_is_well_formed() {
    let esp = |lines: &str| format!("[esp]\nfrom = \"s@example.com\"\n{lines}");
    let http = |lines: &str| esp(&format!("kind = \"http\"\nbase_url = \"http://x\"\n{lines}"));
    refused(&esp("kind = \"sendgird\""), "3:8: unknown kind `sendgird`", "did you mean `sendgrid`?");
    refused(&esp("kind = \"sendgrid\""), "1:1: `api_key_env` is missing", "environment variable");
    refused(&esp("kind = \"smtp\""), "1:1: `base_url` is missing", "smtp://localhost:25");
    refused(
        &esp("kind = \"http\"\nbase_url = \"localhost:1\""),
        "4:12: `localhost:1` is not a URL for this",
        "http://",
    );
    refused(&http("").replace("s@example.com", "s@"), "2:8: `s@` is not an e-mail sender", "Shop <shop@example.com>");
    refused(&http("api_key_env = \"a-b\""), "5:15: `api_key_env` is not the name of an environment variable", "name");
    refused(&http("requests_per_second = 0"), "5:23: `requests_per_second` is out of range", "from 1 to 100000");
    refused(&http("timeout = \"0s\""), "5:11: `timeout` must be longer than nothing", "");
    let resend = |lines: &str| esp(&format!("kind = \"resend\"\napi_key_env = \"K\"\n{lines}"));
    let fault = "5:1: kind `resend` does not take `honours_idempotency_key`";
    refused(&resend("honours_idempotency_key = true"), fault, "`http` and `kafka`");
    refused(&resend("stream = \"x\""), "5:1: kind `resend` does not take `stream`", "kind `postmark`");
    let fault = "5:17: Resend forgets an idempotency key after a day";
    refused(&resend("unknown_after = \"24h\""), fault, "23h");
    refused(&resend("api_key_file = \"k\""), "4:15: `api_key_env` is set beside `api_key_file`", "leave one out");
}

#[test]
fn an_authority_of_a_shop_s_own_is_in_its_file() {
    let esp = |kind: &str, url: &str, lines: &str| {
        let esp =
            format!("kind = \"{kind}\"\nbase_url = \"{url}\"\nfrom = \"s@example.com\"\nca_file = \"ca.pem\"\n{lines}");
        format!("[esp]\n{esp}[kafka]\nbrokers = \"k:9092\"\n")
    };
    let in_the_clear = "5:11: `ca_file` is set, but nothing is encrypted on the way to this ESP";
    refused(&esp("http", "http://gateway", ""), in_the_clear, "https");
    refused(&esp("smtp", "smtp://relay", "encryption = \"none\"\n"), in_the_clear, "STARTTLS");
    let kafka =
        "[esp]\nkind = \"kafka\"\nbrokers = \"k:1\"\ntopic = \"t\"\nfrom = \"s@example.com\"\nca_file = \"ca.pem\"\n";
    refused(kafka, "6:1: kind `kafka` does not take `ca_file`", "HTTP or SMTP");

    for (kind, url) in [("http", "https://gateway"), ("smtp", "smtp://relay"), ("smtp", "smtps://relay")] {
        let folder = folder(&esp(kind, url, ""), &[]);
        assert!(load(&folder, Purpose::Check).is_ok(), "a check needs no certificates");
        let whats = || -> Vec<String> {
            let Err(faults) = load(&folder, Purpose::Run) else { return Vec::new() };
            faults.iter().map(|fault| fault.what.replace(&format!("{}/", folder.path().display()), "")).collect()
        };
        assert!(whats()[0].starts_with("ca.pem cannot be read: "), "{:?}", whats());
        let certificate = |inner: &str| format!("-----BEGIN CERTIFICATE-----\n{inner}\n-----END CERTIFICATE-----\n");
        for (pem, expected) in [
            ("the certificate, perhaps".to_owned(), "ca.pem has no certificate in it"),
            (certificate("not base64!"), "ca.pem is no PEM: "),
            (certificate("AAAA"), "certificate 1 in ca.pem is none: "),
        ] {
            fs::write(folder.path().join("ca.pem"), pem).expect("written");
            assert!(whats()[0].starts_with(expected), "{:?}", whats());
        }
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).expect("signed").pem()).expect("written");
        assert_eq!(whats(), [""; 0]);
        let config = load(&folder, Purpose::Run).expect("whole");
        assert_eq!(config.esps[0].ca_file.as_deref(), Some(folder.path().join("ca.pem").as_path()));
    }
}

#[test]
fn what_a_kind_alone_takes_is_well_formed() {
    let esp = |kind: &str, lines: &str| format!("[esp]\nfrom = \"s@example.com\"\nkind = \"{kind}\"\n{lines}");
    let ses = |lines: &str| esp("ses", &format!("api_key_env = \"K\"\n{lines}"));
    refused(&ses(""), "1:1: `region` is missing", "eu-west-1");
    refused(&ses("region = \"EU\""), "5:10: `EU` is not a region", "eu-west-1");
    let mailgun = esp("mailgun", "api_key_env = \"K\"\ndomain = \"a/b\"");
    refused(&mailgun, "5:10: `a/b` is not a domain", "mg.example.com");
    let smtp = |lines: &str| esp("smtp", &format!("base_url = \"smtp://localhost\"\n{lines}"));
    refused(&smtp("username = \"u\""), "1:1: a user and a password are given together", "api_key_env");
    refused(&smtp("encryption = \"tls\""), "5:14: unknown encryption `tls`", "starttls");
    refused(&esp("kafka", "topic = \"a b\"\nbrokers = \"k:1\""), "4:9: `a b` cannot be a topic's name", "249");
    refused(&esp("kafka", "topic = \"push\""), "1:1: `brokers` is missing", "[kafka]");
    let http = |lines: &str| esp("http", &format!("base_url = \"http://x\"\n{lines}"));
    refused(&http("path = \"send\""), "5:8: `send` is not a path", "begins with /");
    refused(&http("auth_header = \"a b\""), "5:15: `a b` cannot be the name of a header", "X-Api-Key");
    refused(&http("body = \"{{html}}\""), "5:8: `body` must be a table", "{{to.address}}");
    let faults = faults_of(&http("body = { to = [\"{{to.adress}}\"] }"));
    assert!(faults[0].0.starts_with("5:8: `body`: \"{{to.adress}}\" cannot be filled: "), "{faults:?}");
    assert!(faults[0].1.contains("to.address") && faults.len() == 1, "{faults:?}");
}

#[test]
fn several_esps_have_names_and_campaigns_use_those() {
    let esp =
        |name: &str| format!("[esp.{name}]\nkind = \"http\"\nbase_url = \"http://x\"\nfrom = \"s@example.com\"\n");
    let several = |lines: &str| format!("{}{}{}", campaign(lines), esp("eu"), esp("us"));
    assert_eq!(faults_of(&several("esp = \"us\"")), []);
    refused(&several("esp = \"uk\""), "4:7: there is no ESP `uk`", "one of: eu, us");
    refused(&several(""), "1:1: there are several ESPs, and `esp` does not say which", "[esp.default]");
    refused(&campaign("esp = \"eu\""), "4:7: there is no ESP `eu`", "[esp.NAME]");
    refused(
        &format!("{}{}", several("esp = \"us\""), esp("\"a b\"")),
        "13:6: `a b` cannot be an ESP's name",
        "letters",
    );
    assert_eq!(faults_of("[esp]").len(), 1);
}

/// The faults of this audience.
fn faults_of_audience(expression: &str) -> Vec<(String, String)> {
    faults_of(&campaign(&format!("audience = \"{expression}\"")))
}

#[test]
fn expressions_parse_and_are_about_what_there_is() {
    for good in [
        "customer.attributes.tier == 'gold' || cart.total >= 50.0",
        "customer.tags.exists(tag, tag == 'vip') && !has(customer.email)",
        "trigger.lines.map(line, line.sku).size() > 1",
        "{'a': cart.total}['a'] > 1.0 && [1, 2].all(n, n > 0)",
    ] {
        assert_eq!(faults_of_audience(good), [], "{good}");
    }
    let faults = faults_of_audience("customer.orders = 0");
    assert_eq!(faults[0].0, "4:29: the expression does not parse: token recognition error at: '= '");
    assert_eq!(faults[0].1, "equality is `==` (CEL)");
    let faults = faults_of_audience("cart.total >");
    assert_eq!(faults[0].0, "4:25: the expression does not parse: mismatched input the end");
    let faults = faults_of_audience("custmer.orders == 0");
    assert_eq!(faults[0], ("4:12: unknown name `custmer` in the expression".into(), "did you mean `customer`?".into()));
    let faults = faults_of_audience("customer.tags.exists(tag, tog == 'vip')");
    assert_eq!(faults[0].0, "4:12: unknown name `tog` in the expression");
}

#[test]
fn enrichments_are_well_formed() {
    let faults = |lines: &str| -> Vec<String> {
        let faults = faults_of(&format!("[enrich.weather]\nfallback = 1\n{lines}"));
        faults.into_iter().map(|(what, _)| what).collect()
    };
    assert_eq!(faults("url = \"https://x/{{customer.attributes.city}}\""), [""; 0]);
    assert_eq!(faults(""), ["1:1: `url` is missing"]);
    assert_eq!(faults("url = \"https://{{customer.host}}/\""), ["3:7: `https://{{customer.host}}/` is not a URL"]);
    assert_eq!(faults("url = \"ftp://x\""), ["3:7: `ftp://x` is not a URL"]);
    assert!(faults("url = \"https://x/{{\"")[0].starts_with("3:7: the URL's template does not render"));
    assert_eq!(
        faults("url = \"https://x\"\ntimeout = 300"),
        ["4:11: `timeout` must be a duration, but is a whole number"]
    );
}
