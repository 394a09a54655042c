//! The commands as a user runs them: the built binary, its output, its exit code.

mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use beckon::coupon::Codes;
use beckon::decision::{Decision, DecisionId, Discount, Outcome, Payload, Percent};
use beckon::ledger::Ledger;
use beckon::secret::Secret;
use beckon_datagen::esp;
use beckon_datagen::files::{Compression, StreamFiles};
use beckon_datagen::otto;
use beckon_datagen::shop::{Shop, ShopConfig};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns/beckon.toml");

fn beckon(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_beckon")).args(arguments).current_dir(directory).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts the exit code, and says what the command said if it is another one.
#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// Two hours of a small shop, as files; with its usual share of bad input.
fn shop_files(directory: &Path, compression: Compression) -> PathBuf {
    let streams = directory.join("streams");
    let start_ms = ShopConfig::default().start_ms;
    let config = ShopConfig { customers: 300, until_ms: Some(start_ms + 2 * 3_600_000), ..ShopConfig::default() };
    let mut files = StreamFiles::create(&streams, compression).unwrap();
    for event in Shop::new(config) {
        files.write(&event).unwrap();
    }
    files.finish().unwrap();
    streams
}

#[test]
fn a_replay_writes_the_same_decisions_whatever_the_workers_and_the_compression() {
    let directory = tempfile::tempdir().unwrap();
    let mut outputs = Vec::new();
    for (compression, workers) in [(Compression::None, "1"), (Compression::Gzip, "2"), (Compression::Zstd, "1")] {
        let here = directory.path().join(format!("{compression:?}"));
        let streams = shop_files(&here, compression);
        let arguments = ["replay", "--config", EXAMPLE, "--workers", workers, "--output", "decisions.jsonl"];
        let more = ["--until", "drain", "--dead-letters", "dead.jsonl", "--input"];
        let all: Vec<&str> = arguments.into_iter().chain(more).chain(streams.to_str()).collect();
        let output = beckon(&all, &here);
        assert_code(&output, 0);
        assert!(text(&output.stderr).contains(" send"), "the summary: {}", text(&output.stderr));
        let mut dead: Vec<String> =
            fs::read_to_string(here.join("dead.jsonl")).unwrap().lines().map(str::to_owned).collect();
        dead.sort();
        outputs.push((fs::read_to_string(here.join("decisions.jsonl")).unwrap(), dead));
    }
    let (decisions, dead) = &outputs[0];
    assert!(decisions.lines().count() > 20, "{decisions}");
    assert!(!dead.is_empty() && dead.iter().all(|letter| letter.contains("\"reason\"")));
    assert!(outputs.iter().all(|output| output == &outputs[0]));
}

#[test]
fn kpis_are_of_the_decisions_that_a_replay_writes() {
    let directory = tempfile::tempdir().unwrap();
    let streams = shop_files(directory.path(), Compression::None);
    let of = |command: &[&str]| {
        let shared = ["--config", EXAMPLE, "--until", "drain", "--quiet", "--input", streams.to_str().unwrap()];
        let output = beckon(&[command, &shared].concat(), directory.path());
        assert_code(&output, 0);
        text(&output.stdout)
    };
    let decisions = of(&["replay", "--kpis", "kpis.json"]);
    assert_eq!(decisions, of(&["replay"]), "measuring makes no difference");
    let written = fs::read_to_string(directory.path().join("kpis.json")).unwrap();
    assert_eq!(written, of(&["kpis", "--json", "--workers", "2"]));
    let kpis: serde_json::Value = serde_json::from_str(&written).unwrap();
    let campaign = &kpis["campaigns"][0];
    let arms: Vec<&str> = campaign["arms"].as_array().unwrap().iter().map(|arm| arm["arm"].as_str().unwrap()).collect();
    assert_eq!(arms, ["holdout", "plain", "urgent"]);
    let decided = |arm: &str| decisions.lines().filter(|line| line.contains(arm)).count() as u64;
    assert_eq!(campaign["arms"][0]["decisions"], decided("\"outcome\":\"holdout\""));
    assert_eq!(campaign["arms"][2]["decisions"], decided("\"variant\":\"urgent\""));
    assert_eq!(campaign["against_holdout"][0]["arm"], "send");
    let shown = of(&["kpis"]);
    assert!(shown.contains("against the holdout") && shown.contains("chi-square"), "{shown}");
}

#[test]
fn an_experiment_is_compared_and_what_is_wrong_with_it_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let rows: String = (0..2000).map(|n| format!("{},{},{}\n", ["a", "b"][n % 2], n % 7 / 6, n % 11)).collect();
    fs::write(directory.path().join("table.csv"), format!("arm,bought,spent\n{rows}")).unwrap();
    let run = |more: &[&str]| {
        let shared = ["experiment", "--input", "table.csv", "--arm", "arm", "--outcome", "bought", "spent"];
        beckon(&[&shared, more].concat(), directory.path())
    };
    let shown = run(&["--control", "a"]);
    assert_code(&shown, 0);
    assert!(text(&shown.stdout).contains("as they should be"), "{}", text(&shown.stdout));
    let mismatch = run(&["--control", "a", "--weights", "a=9,b=1", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&mismatch.stdout).unwrap();
    assert_eq!(
        (&report["sample_ratio"]["is_mismatch"], &report["outcomes"][1]["kind"]),
        (&true.into(), &"mean".into())
    );
    let unknown = run(&["--control", "c"]);
    assert_code(&unknown, 2);
    assert_eq!(text(&unknown.stderr), "table.csv: there is no arm `c` in column `arm`; there is a, b\n");
    fs::write(directory.path().join("table.csv"), "arm,bought,spent\na,1,much\n").unwrap();
    let unread = run(&["--control", "a"]);
    assert_code(&unread, 1);
    assert!(text(&unread.stderr).contains("line 2: `much` in column `spent` is no number"), "{}", text(&unread.stderr));
}

#[test]
fn a_replay_ends_where_it_is_told_to() {
    let directory = tempfile::tempdir().unwrap();
    let streams = shop_files(directory.path(), Compression::None);
    let replay = |until: &[&str]| {
        let arguments = ["replay", "--quiet", "--config", EXAMPLE, "--input", streams.to_str().unwrap()];
        let output = beckon(&[&arguments[..], until].concat(), directory.path());
        assert_code(&output, 0);
        text(&output.stdout)
    };
    let (hour, last, drain) =
        (replay(&["--until", "2026-01-01T01:00:00Z"]), replay(&[]), replay(&["--until", "drain"]));
    assert!(hour.len() < last.len() && last.starts_with(&hour), "an hour is the start of all");
    assert!(last.len() < drain.len() && drain.starts_with(&last), "deadlines after the last event come due");
    assert!(hour.lines().all(|line| line.contains("\"as_of\":\"2026-01-01T00") || line.contains("T01:00:00.000Z")));
}

#[test]
fn a_replay_says_what_other_campaigns_would_have_decided() {
    let directory = tempfile::tempdir().unwrap();
    let streams = shop_files(directory.path(), Compression::None);
    let replay = |config: &str, more: &[&str]| {
        let arguments = ["replay", "--quiet", "--config", config, "--input", streams.to_str().unwrap()];
        let output = beckon(&[&arguments[..], more].concat(), directory.path());
        assert_code(&output, 0);
        text(&output.stdout)
    };
    replay(EXAMPLE, &["--output", "old.jsonl"]);
    let decisions = fs::read_to_string(directory.path().join("old.jsonl")).unwrap().lines().count();
    let unchanged = replay(EXAMPLE, &["--output", "new.jsonl", "--against", "old.jsonl"]);
    assert_eq!(unchanged.trim(), format!("{decisions} decisions are the same"));
    let patient = fs::read_to_string(EXAMPLE).unwrap().replace("after = \"30m\"", "after = \"45m\"");
    fs::write(directory.path().join("patient.toml"), patient).unwrap();
    let changed = replay("patient.toml", &["--output", "new.jsonl", "--against", "old.jsonl"]);
    assert!(changed.contains("cart-abandonment: no longer: send"), "{changed}");
}

/// Real people's clicks run through the main job: `datagen otto`, then a replay.
#[test]
fn real_sessions_run_through_the_main_job() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/otto_sessions.jsonl.gz");
    if !sample.exists() {
        // Not the machine's lack but the checkout's: the data is not part of the project.
        eprintln!("SKIPPED real_sessions_run_through_the_main_job: no {}", sample.display());
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut files = StreamFiles::create(directory.path(), Compression::None).unwrap();
    for event in otto::read_file(&sample).unwrap() {
        files.write(&event).unwrap();
    }
    files.finish().unwrap();
    let input = directory.path().to_str().unwrap();
    let output = beckon(&["replay", "--config", EXAMPLE, "--until", "drain", "--input", input], directory.path());
    assert_code(&output, 0);
    let summary = text(&output.stderr);
    assert!(!summary.contains("bad"), "{summary}");
    let decisions = text(&output.stdout);
    assert!(decisions.lines().count() >= 10, "{decisions}");
    assert!(decisions.lines().all(|line| line.contains("\"customer_id\":\"otto-")), "{decisions}");
}

#[test]
fn an_edge_says_all_that_it_lacks() {
    let directory = tempfile::tempdir().unwrap();
    let output = beckon(&["ingest", "--config", EXAMPLE], directory.path());
    assert_code(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("`[web]` is missing") && said.contains("`[collect]` is missing"), "{said}");
}

#[test]
fn check_names_every_fault_and_exits_with_2() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("beckon.toml"),
        "tick = 5\nspeed = 1\n[[campaign]]\nname = \"a\"\ntrigger = \"b\"\n",
    )
    .unwrap();
    let output = beckon(&["check"], directory.path());
    assert_code(&output, 2);
    let said = text(&output.stderr);
    for fault in ["beckon.toml:1:", "beckon.toml:2:", "beckon.toml:5:", "hint"] {
        assert!(said.contains(fault), "{fault} in\n{said}");
    }
    assert_code(&beckon(&["check", "--config", EXAMPLE], directory.path()), 0);
    assert_code(&beckon(&["check", "--config", "not-there.toml"], directory.path()), 2);
    assert_code(&beckon(&["replay"], directory.path()), 2);
    assert_code(&beckon(&["replay", "--config", EXAMPLE, "--input", "not-there"], directory.path()), 1);
}

const ALL_TRIGGERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns/all.toml");

/// What templates name is rehearsed, not only read.
#[test]
fn check_finds_what_a_template_names_and_nobody_knows() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("templates")).unwrap();
    for (part, says) in [("subject", "Hi {{customer.first_name}}"), ("html", "{{hero.name}}"), ("txt", "x")] {
        fs::write(directory.path().join(format!("templates/a.{part}.hbs")), says).unwrap();
    }
    let campaign = "[[campaign]]\nname = \"a\"\ntrigger = \"welcome\"\nafter = \"1m\"\ntemplate = \"a\"\n";
    fs::write(directory.path().join("beckon.toml"), campaign).unwrap();
    let output = beckon(&["check"], directory.path());
    assert_code(&output, 2);
    let said = text(&output.stderr);
    for fault in ["a.subject.hbs:1:4: there is no `customer.first_name`", "a.html.hbs:1:1: there is no `hero.name`"] {
        assert!(said.contains(fault), "{fault} in\n{said}");
    }
    assert_code(&beckon(&["check", "--config", ALL_TRIGGERS], directory.path()), 0);
}

/// Of a made-up customer, of a real one from the log, of one about whom nothing was decided, and of one from the ledger.
#[test]
fn a_preview_shows_the_mail_that_a_customer_would_get() {
    let directory = tempfile::tempdir().unwrap();
    let preview =
        |arguments: &[&str]| beckon(&[&["preview", "--config", ALL_TRIGGERS], arguments].concat(), directory.path());
    let output = preview(&["welcome", "--sample", "--html", "welcome.html"]);
    assert_code(&output, 0);
    let said = text(&output.stdout);
    assert!(
        said.starts_with(
            "From: Example Shop <shop@example.com>\nTo: ada@example.com\nSubject: Welcome, Ada\nMessage-ID: <"
        ),
        "{said}"
    );
    assert!(said.contains("10% off") && said.contains("SAMP-LEC0"), "{said}");
    assert!(fs::read_to_string(directory.path().join("welcome.html")).unwrap().contains("Start exploring"));
    assert_code(&preview(&["welcome"]), 2);
    let output = preview(&["wellcome", "--sample"]);
    assert_code(&output, 1);
    assert!(text(&output.stderr).contains("there is no campaign `wellcome`; there is cart-abandonment, "));

    let streams = shop_files(directory.path(), Compression::None);
    let input = streams.to_str().unwrap();
    let replay = ["replay", "--quiet", "--config", ALL_TRIGGERS, "--input", input];
    let decisions = text(&beckon(&replay, directory.path()).stdout);
    let decisions: Vec<serde_json::Value> = decisions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let decided =
        decisions.iter().rev().find(|it| it["campaign"] == "cart-abandonment" && it["outcome"] == "send").unwrap();
    let customer = decided["customer_id"].as_str().unwrap();
    let shown = |campaign: &str, more: &[&str]| {
        let output = preview(&[&[campaign, "--quiet", "--json", "--customer", customer], more].concat());
        assert_code(&output, 0);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let mail = shown("cart-abandonment", &["--input", input, "--variant", "urgent"]);
    assert_eq!((&mail["origin"], &mail["template"]), (&"log".into(), &"cart_urgent".into()));
    let name = decided["payload"]["lines"][0]["name"].as_str().unwrap();
    assert!(mail["text"].as_str().unwrap().contains(name), "{name} in {mail}");
    assert!(mail["to"].as_str().unwrap().contains(&format!(".{customer}@")), "{mail}");
    let mail = shown("win-back", &["--input", input]);
    assert_eq!(mail["origin"], "profile");
    assert!(mail["to"].as_str().unwrap().contains(&format!(".{customer}@")), "{mail}");
    assert_code(&preview(&["welcome", "--quiet", "--customer", "nobody", "--input", input]), 1);

    let config = fs::read_to_string(ALL_TRIGGERS).unwrap().replace("\"templates\"", &format!("{:?}", TEMPLATES));
    fs::write(directory.path().join("own.toml"), config.replace("../state", "state")).unwrap();
    let of_ledger = ["preview", "cart-abandonment", "--customer", "u1", "--config", "own.toml"];
    let output = beckon(&of_ledger, directory.path());
    assert_code(&output, 1);
    assert!(text(&output.stderr).contains("the ledger cannot be had; give the log"), "{}", text(&output.stderr));
    drop(Ledger::open(&directory.path().join("state")).unwrap().record(&[(decision(), None)]).unwrap());
    let output = beckon(&of_ledger, directory.path());
    assert_code(&output, 0);
    assert!(text(&output.stdout).contains("12.5% off"), "{}", text(&output.stdout));
}

/// A preview's mail has what its template wants from elsewhere, and links as they will be, but for the tokens.
#[test]
fn a_preview_is_enriched_and_its_links_are_tagged() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let source = format!("http://{}/", listener.local_addr().unwrap());
    let answers = axum::Router::new().fallback(|| async { r#"{"text": "sunny"}"# });
    runtime.spawn(async move { axum::serve(listener, answers).await });
    fs::create_dir(directory.path().join("templates")).unwrap();
    for (part, text) in [
        ("subject", "It is {{enrich.weather.text}}"),
        (
            "html",
            "<a href=\"https://shop.example/\">Shop</a> {{#if unsubscribe_url}}<a href=\"{{unsubscribe_url}}\">Unsubscribe</a>{{/if}}",
        ),
        ("txt", "-"),
    ] {
        fs::write(directory.path().join(format!("templates/w.{part}.hbs")), text).unwrap();
    }
    let config = format!(
        "[[campaign]]\nname = 'w'\ntrigger = 'welcome'\nafter = '0s'\ntemplate = 'w'\n\
         [enrich.weather]\nurl = '{source}'\nfallback = {{ text = 'unknown' }}\ntimeout = '5s'\n\
         [tracking]\nbase_url = 'https://m.example'\nsecret_env = 'NOT_SET'\n"
    );
    fs::write(directory.path().join("beckon.toml"), config).unwrap();
    let shown = |more: &[&str]| {
        let output = beckon(&[&["preview", "w", "--sample", "--json", "--quiet"], more].concat(), directory.path());
        assert_code(&output, 0);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    assert_eq!(shown(&["--offline"])["subject"], "It is unknown");
    let mail = shown(&[]);
    assert_eq!(mail["subject"], "It is sunny");
    let html = mail["html"].as_str().unwrap();
    assert!(html.starts_with("<a href=\"https://shop.example/?utm_source&#x3D;beckon&amp;"), "{html}");
    assert!(html.contains("https://m.example/u/") && !html.contains("<img"), "{html}");
    assert!(mail["headers"]["List-Unsubscribe"].as_str().unwrap().starts_with("<https://m.example/u/"), "{mail}");
    assert_eq!(mail["headers"]["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
}

const TEMPLATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/campaigns/templates");

/// A test goes to whom it is said to, marked as one, and leaves nothing behind.
#[test]
fn a_test_is_sent_through_the_configured_esp() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let esp = runtime.block_on(esp::Esp::start(esp::EspConfig::default())).unwrap();
    let config = fs::read_to_string(ALL_TRIGGERS).unwrap().replace("http://127.0.0.1:9090", &esp.base_url());
    let config = config.replace("\"templates\"", &format!("{:?}", TEMPLATES)).replace("../state", "state");
    fs::write(directory.path().join("beckon.toml"), config).unwrap();
    let send = ["preview", "price-drop", "--sample", "--send-to", "Me <me@example.org>"];
    let output = beckon(&send, directory.path());
    assert_code(&output, 0);
    assert!(text(&output.stderr).contains("sent to Me <me@example.org>"), "{}", text(&output.stderr));
    let mut taken = esp.latest_messages(2);
    let message = taken.pop().unwrap();
    assert!(taken.is_empty());
    assert_eq!(message.body["subject"], "[Test] Now €64.90: Halden Studio Desk Lamp, forest");
    assert!(message.body["to"].to_string().contains("me@example.org"), "{}", message.body);
    assert!(!directory.path().join("state").exists(), "nothing is written down");
    runtime.block_on(esp.stop());
    assert_code(&beckon(&send, directory.path()), 1);
}

/// A code as a mail has it, given to a shop's till.
#[test]
fn a_coupon_is_genuine_or_the_command_fails_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("beckon.toml", "[coupons]\nsecret_file = \"secret\"\n");
    let verify = |arguments: &[&str]| beckon(&[&["coupon"], arguments].concat(), directory.path());
    assert_code(&verify(&["0"]), 2); // no secret
    write("secret", "a secret of the shop\n");
    let codes = |secret: &[u8]| Codes::of(&Secret::new(secret).unwrap());
    let decision = decision();
    let percent = Percent::of_hundredths(1250).unwrap();
    let code = codes(b"a secret of the shop").code(percent, decision.decision_id);

    let output = verify(&[&code]);
    assert_code(&output, 0);
    let said = text(&output.stdout);
    assert!(said.starts_with("valid: 12.5 % off\n") && said.contains("there is no ledger"), "{said}");
    assert!(said.contains("used once is for the shop to enforce"), "{said}");
    assert!(!directory.path().join("state").exists(), "nothing is made");

    drop(Ledger::open(&directory.path().join("state")).unwrap().record(&[(decision.clone(), None)]).unwrap());
    let said = text(&verify(&[&code.to_lowercase().replace('-', " ")]).stdout);
    for part in ["campaign  cart-abandonment", "customer  u1", "decided   2026-01-01T10:30:00.000Z"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let json: serde_json::Value = serde_json::from_slice(&verify(&[&code, "--json"]).stdout).unwrap();
    let prefix = &decision.decision_id.to_string()[..16];
    assert_eq!(
        (&json["valid"], &json["percent"], &json["decision_prefix"]),
        (&true.into(), &12.5.into(), &prefix.into())
    );
    assert_eq!(json["decisions"][0], serde_json::to_value(&decision).unwrap());

    // While the service has the ledger, the code is verified all the same.
    let ledger = Ledger::open(&directory.path().join("state")).unwrap();
    let output = verify(&[&code]);
    assert_code(&output, 0);
    assert!(text(&output.stdout).contains("open in another process"), "{}", text(&output.stdout));
    drop(ledger);

    let forged = codes(b"a secret of another").code(percent, decision.decision_id);
    let output = verify(&[&forged]);
    assert_code(&output, 1);
    assert!(text(&output.stderr).contains("not valid: it was not made with this secret"), "{}", text(&output.stderr));
    let output = verify(&["05VG", "--json"]);
    assert_code(&output, 1);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let reason = "it has 4 digits and letters, and a code has 26";
    assert_eq!(json, serde_json::json!({"valid": false, "reason": reason}));
}

/// A send with a discount.
fn decision() -> Decision {
    let anchor = 1_767_261_600_000;
    let percent = Percent::of_hundredths(1250).unwrap();
    Decision {
        decision_id: DecisionId::of("cart-abandonment", "u1", "cart-9", anchor),
        campaign: "cart-abandonment".into(),
        customer_id: "u1".into(),
        trigger: "cart_abandonment".into(),
        subject: "cart-9".into(),
        anchor,
        as_of: anchor + 30 * 60_000,
        outcome: Outcome::Send,
        reason: None,
        variant: None,
        payload: Payload { discount: Some(Discount { percent }), ..Payload::default() },
    }
}

/// The whole house in one process: shop → broker → Beckon → ESP, and a mail at the end.
#[test]
fn the_demo_delivers_mails_and_writes_one_down() {
    let directory = tempfile::tempdir().unwrap();
    let output = beckon(
        &["demo", "--for", "12s", "--speed", "400", "--customers", "300", "--mail", "mail.html"],
        directory.path(),
    );
    assert_code(&output, 0);
    let said = text(&output.stdout);
    let count = |what: &str| -> u64 {
        let line = said.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what} in\n{said}"));
        line.split_whitespace().last().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
    };
    assert!(count("mails taken") > 0, "{said}");
    assert_eq!(count("mails taken twice"), 0, "{said}");
    let mail = fs::read_to_string(directory.path().join("mail.html")).unwrap();
    assert!(mail.contains("<html") && mail.contains("</html>"), "{mail}");
}
