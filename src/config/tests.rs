//! What a configuration is read as.

use std::path::Path;

use beckon_dataflows::model::{Money, Stream};
use jiff::civil::time;
use jiff::tz::TimeZone;
use rust_decimal::Decimal;

use super::*;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Reads `text` for a replay, and panics with its faults.
fn read(text: &str) -> Config {
    parse(Path::new("shop/beckon.toml"), text, Purpose::Replay, &TriggerKinds::default())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// Reads a single campaign of these lines.
fn campaign(lines: &str) -> Campaign {
    read(&format!("[[campaign]]\nname = 'c'\n{lines}")).campaigns.remove(0)
}

/// Reads the trigger of a campaign of these lines.
fn trigger(lines: &str) -> Trigger {
    campaign(lines).trigger
}

#[test]
fn nothing_set_is_every_default() {
    let config = read("");
    assert_eq!((config.tick_ms, config.allowed_lateness_ms, config.idle_after_ms), (1_000, 5_000, 10_000));
    assert_eq!(config.erasure, Erasure::Suppress);
    assert_eq!((config.forget_after_ms, config.attribution_ms), (90 * DAY_MS, 5 * DAY_MS));
    assert_eq!(config.watchdog_after_ms, 300_000);
    assert_eq!(config.state, Path::new("shop/state"));
    assert_eq!(config.templates, Path::new("shop/templates"));
    assert!(config.kafka.is_none() && config.esps.is_empty());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.similar, Similar { window_ms: 7 * DAY_MS, recent: 20 });
    assert!(config.campaigns.is_empty() && config.enrichments.is_empty());
}

#[test]
fn a_plain_campaign_asks_for_nothing() {
    let campaign = campaign("trigger = 'back_in_stock'");
    assert_eq!((&*campaign.experiment, &*campaign.title), ("c", "C"));
    assert_eq!((campaign.priority, campaign.holdout), (0, 0.0));
    assert_eq!((campaign.expires_ms, campaign.cooldown_ms, campaign.send_within_ms), (None, None, None));
    assert_eq!((&campaign.audience, campaign.stock_budget, campaign.similar), (&None, None, None));
    assert!(campaign.discounts.is_empty() && campaign.variants.is_empty());
    assert_eq!(campaign.templates(), [None]);
}

#[test]
fn every_trigger_holds_its_own_parameters() {
    let money = |text: &str| text.parse::<Money>().expect("a decimal");
    assert_eq!(
        trigger("trigger = 'cart_abandonment'\nafter = '30m'\nstock = 'all'\nmin_total = '20.00'"),
        Trigger::CartAbandonment { after_ms: 30 * MINUTE_MS, stock: StockRule::All, min_total: Some(money("20.00")) }
    );
    assert_eq!(
        trigger("trigger = 'cart_abandonment'\nafter = '0s'"),
        Trigger::CartAbandonment { after_ms: 0, stock: StockRule::Any, min_total: None }
    );
    assert_eq!(
        trigger("trigger = 'browse_abandonment'\nafter = '1h'"),
        Trigger::BrowseAbandonment { after_ms: HOUR_MS, min_views: 1, lookback_ms: DAY_MS }
    );
    assert_eq!(trigger("trigger = 'back_in_stock'"), Trigger::BackInStock { lookback_ms: 30 * DAY_MS });
    assert_eq!(trigger("trigger = 'low_stock'\nthreshold = 3"), Trigger::LowStock { threshold: 3 });
    assert_eq!(
        trigger("trigger = 'price_drop'\npercent = 12.5\nlookback = '1d'"),
        Trigger::PriceDrop { percent: Decimal::new(125, 1), lookback_ms: DAY_MS }
    );
    for name in ["checkout_abandonment", "search_abandonment", "replenishment", "post_purchase", "win_back", "welcome"]
    {
        let read = trigger(&format!("trigger = '{name}'\nafter = '1h30m'"));
        assert_eq!(read.name(), name);
        assert!(format!("{read:?}").ends_with("{ after_ms: 5400000 }"), "{read:?}");
    }
}

#[test]
fn money_is_exact_however_it_is_written() {
    for (written, meant) in [("'20.00'", "20.00"), ("19.90", "19.90"), ("20", "20"), ("0", "0"), ("0.10", "0.10")] {
        let Trigger::CartAbandonment { min_total: Some(total), .. } =
            trigger(&format!("trigger = 'cart_abandonment'\nafter = '1m'\nmin_total = {written}"))
        else {
            panic!("{written}");
        };
        assert_eq!(total.to_string(), meant, "{written}");
    }
}

#[test]
fn variants_keep_their_order_and_inherit_the_template() {
    let campaign = campaign(
        "trigger = 'back_in_stock'\ntemplate = 'own'\nexperiment = 'e'\nholdout = 0\n\
         variants = [{ name = 'z', weight = 2 }, { name = 'a', weight = 0.5, template = 'other' }]",
    );
    let variants: Vec<_> = campaign.variants.iter().map(|variant| (variant.name.as_str(), variant.weight)).collect();
    assert_eq!(variants, [("z", 2.0), ("a", 0.5)]);
    assert_eq!(campaign.templates(), [Some("own"), Some("other")]);
    assert_eq!(campaign.experiment, "e");
}

#[test]
fn gates_and_content_are_read() {
    let campaign = campaign(
        "trigger = 'back_in_stock'\npriority = -1\ncooldown = '1d'\nexpires = '0s'\nsend_within = '2h'\nsimilar = 3\n\
         stock_budget = 1.5\naudience = \"customer.tags.exists(t, t == 'vip') && cart.total >= 50.0\"\n\
         discount = [{ when = 'customer.orders == 0', percent = 15 }]",
    );
    assert_eq!((campaign.priority, campaign.cooldown_ms), (-1, Some(DAY_MS)));
    assert_eq!((campaign.expires_ms, campaign.send_within_ms), (Some(0), Some(2 * HOUR_MS)));
    assert_eq!((campaign.similar, campaign.stock_budget), (Some(3), Some(Decimal::new(15, 1))));
    assert!(campaign.audience.is_some_and(|audience| audience.as_str().starts_with("customer.tags")));
    assert_eq!(campaign.discounts[0].when.as_str(), "customer.orders == 0");
    assert_eq!(Some(campaign.discounts[0].percent), crate::decision::Percent::of_hundredths(1500));
}

#[test]
fn campaigns_and_enrichments_are_in_the_order_of_the_file() {
    let config = read(
        "[[campaign]]\nname = 'z'\ntrigger = 'back_in_stock'\n[[campaign]]\nname = 'a'\ntrigger = 'back_in_stock'\n\
         [enrich.z]\nurl = 'http://x/{{a.b}}'\nfallback = { text = '', list = [1, 2.5, true] }\ncache = '10m'\n\
         [enrich.a]\nurl = 'http://x'\nfallback = 1\ntimeout = '1s'",
    );
    let names: Vec<_> = config.campaigns.iter().map(|campaign| campaign.name.as_str()).collect();
    assert_eq!(names, ["z", "a"]);
    let [z, a] = &config.enrichments[..] else { panic!("two") };
    assert_eq!((z.name.as_str(), z.timeout_ms, z.cache_ms), ("z", 300, 10 * MINUTE_MS));
    assert_eq!(z.fallback, serde_json::json!({"text": "", "list": [1, 2.5, true]}));
    assert_eq!((a.name.as_str(), a.timeout_ms, a.cache_ms), ("a", 1_000, 0));
}

#[test]
fn limits_are_read() {
    let limits = read(
        "[limits]\nfrequency_cap = [{ sends = 1, per = '1d' }]\n\
         quiet_hours = { from = '21:00', to = '08:00', default_timezone = 'Europe/Berlin' }",
    )
    .limits;
    assert_eq!(limits.frequency_caps, [FrequencyCap { sends: 1, per_ms: DAY_MS }]);
    let quiet = limits.quiet_hours.expect("set");
    assert_eq!((quiet.from, quiet.to), (time(21, 0, 0, 0), time(8, 0, 0, 0)));
    assert_eq!(quiet.default_timezone.iana_name(), Some("Europe/Berlin"));
    let quiet = read("[limits]\nquiet_hours = { from = '21:00', to = '08:00' }").limits.quiet_hours.expect("set");
    assert_eq!(quiet.default_timezone, TimeZone::UTC);
}

#[test]
fn topics_default_to_the_streams_names() {
    let kafka = read("[kafka]\nbrokers = 'a:1, [::1]:9092'\ntopics = { orders = 'shop.orders' }").kafka.expect("set");
    assert_eq!(kafka.brokers, "a:1,[::1]:9092");
    assert_eq!((kafka.topic(Stream::Orders), kafka.topic(Stream::Carts)), ("shop.orders", "carts"));
}

/// Reads the one ESP of these lines.
fn esp(lines: &str) -> Esp {
    read(&format!("[esp]\nfrom = 'Shop <s@example.com>'\n{lines}")).esps.remove(0)
}

#[test]
fn an_esp_has_the_defaults_of_its_kind() {
    let url = |esp: &Esp| esp.base_url.as_ref().map(ToString::to_string);
    let resend = esp("kind = 'resend'\napi_key_env = 'KEY'");
    assert_eq!((resend.kind, url(&resend).as_deref()), (EspKind::Resend, Some("https://api.resend.com/")));
    assert_eq!((resend.requests_per_second, resend.timeout_ms, resend.max_in_flight), (10, 10_000, 32));
    // Resend forgets keys after a day.
    assert_eq!((resend.honours_idempotency_key, resend.unknown_after_ms), (true, 23 * HOUR_MS));
    assert_eq!(resend.from, Mailbox { name: Some("Shop".to_owned()), address: "s@example.com".to_owned() });
    assert_eq!((resend.name.as_str(), resend.own), (DEFAULT_ESP, Own::Nothing));

    let http = esp("kind = 'http'\nbase_url = 'http://127.0.0.1:9090'");
    assert_eq!((http.honours_idempotency_key, http.key, http.unknown_after_ms), (false, None, DAY_MS));
    assert_eq!(http.own, Own::Http { path: None, auth_header: None, body: None });

    let postmark = esp("kind = 'postmark'\napi_key_file = 'token'");
    assert_eq!(postmark.key, Some(KeySource::File("shop/token".into())));
    assert_eq!(postmark.own, Own::Postmark { stream: "outbound".into() });

    let mailgun = esp("kind = 'mailgun'\napi_key_env = 'KEY'");
    assert_eq!(mailgun.own, Own::Mailgun { domain: "example.com".into() });

    let ses = esp("kind = 'ses'\napi_key_env = 'AWS_SECRET_ACCESS_KEY'\nregion = 'eu-west-1'");
    assert_eq!(url(&ses).as_deref(), Some("https://email.eu-west-1.amazonaws.com/"));
    let id = KeySource::Variable("AWS_ACCESS_KEY_ID".into());
    let (access_key_id, session_token, configuration_set) = (id, None, None);
    assert_eq!(ses.own, Own::Ses { region: "eu-west-1".into(), access_key_id, session_token, configuration_set });

    let smtp = esp("kind = 'smtp'\nbase_url = 'smtp://mail:2525'\nusername = 'u'\napi_key_env = 'PASSWORD'");
    assert_eq!(smtp.own, Own::Smtp { username: Some("u".into()), encryption: Encryption::Starttls });
    for (host, is_refused) in
        [("mail", true), ("10.0.0.9", true), ("localhost", false), ("127.0.0.1", false), ("[::1]", false)]
    {
        let text = format!(
            "[esp]\nkind = 'smtp'\nfrom = 's@example.com'\nbase_url = 'smtp://{host}:25'\nencryption = 'none'\n\
             username = 'u'\napi_key_env = 'P'"
        );
        let found = parse(Path::new("x"), &text, Purpose::Replay, &TriggerKinds::default());
        let said = found.err().map(|faults| faults.to_string()).unwrap_or_default();
        assert_eq!(said.contains("password would cross the network"), is_refused, "{host}: {said}");
    }

    let kafka = read("[kafka]\nbrokers = 'k:9092'\n[esp]\nkind = 'kafka'\nfrom = 's@example.com'\ntopic = 'push'")
        .esps
        .remove(0);
    assert_eq!((kafka.base_url, kafka.honours_idempotency_key), (None, true));
    assert_eq!(kafka.own, Own::Kafka { brokers: "k:9092".into(), topic: "push".into() });
}

#[test]
fn campaigns_choose_among_several_esps() {
    let text = "[[campaign]]\nname = 'a'\ntrigger = 'back_in_stock'\n[[campaign]]\nname = 'b'\ntrigger = 'back_in_stock'\nesp = 'eu'\n\
                [esp.default]\nkind = 'resend'\napi_key_env = 'K'\nfrom = 'a@example.com'\n\
                [esp.eu]\nkind = 'postmark'\napi_key_env = 'L'\nfrom = 'b@example.com'";
    let config = read(text);
    let of = |index: usize| config.esp_of(&config.campaigns[index]).map(|esp| (esp.name.as_str(), esp.kind));
    assert_eq!((of(0), of(1)), (Some(("default", EspKind::Resend)), Some(("eu", EspKind::Postmark))));
}

#[test]
fn what_is_collected_is_read() {
    let text = "[web]\n[collect]\norigins = ['https://shop.example']\n[[collect.key]]\nname = 'site'\nsecret_env = 'KEY'\n\
                [[collect.key]]\nname = 'backend'\nsecret_file = 'key'\nprofiles = true";
    let collect = read(text).collect.expect("set");
    let site = WriteKey { name: "site".into(), secret: SecretSource::Env("KEY".into()), profiles: false };
    let backend = WriteKey { name: "backend".into(), secret: SecretSource::File("shop/key".into()), profiles: true };
    assert_eq!(collect.keys, [site, backend]);
    assert_eq!((collect.origins, collect.queue_bytes), (Some(vec!["https://shop.example".into()]), 64 << 20));
}

#[test]
fn a_file_may_say_everything() {
    let config = read(include_str!("tests/everything.toml"));
    assert!(!config.campaigns.is_empty() && !config.enrichments.is_empty() && config.tracking.is_some());
}
