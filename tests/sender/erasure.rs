//! Erasure from end to end: records in, and what is in the ledger and its file after a customer was erased, and came again.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use beckon::config::{Config, Purpose};
use beckon::decision::{Decision, DecisionId, Outcome, Reason};
use beckon::ledger::Ledger;
use beckon::meter::Meter;
use beckon::pipeline::record::Recorder;
use beckon::pipeline::replay::{RECORDS_AN_ADVANCE, Replay, Until};
use beckon::pipeline::wiring;
use beckon::reclock::{Notes, Timeline};
use beckon::source;
use serde_json::{Value, json};
use tokio::sync::mpsc;

const CONFIG: &str = r#"
[[campaign]]
name = "cart"
trigger = "cart_abandonment"
after = "30m"
expires = "1d"
stock = "ignore"
template = "cart"
"#;

/// 2026-01-01T10:00:00Z.
const TEN_MS: u64 = 1_767_261_600_000;

fn at(minutes: u64) -> u64 {
    TEN_MS + minutes * 60_000
}

fn profile(user: &str, minutes: u64, more: Value) -> String {
    let mut record = json!({"user_id": user, "version": minutes, "updated_at": at(minutes)});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record.to_string()
}

fn cart(user: &str, cart: &str, minutes: u64, sku: &str) -> String {
    json!({"cart_id": cart, "user_id": user, "updated_at": at(minutes), "lines": [{"sku": sku, "quantity": 1}]})
        .to_string()
}

fn emptied(user: &str, cart: &str, minutes: u64) -> String {
    json!({"cart_id": cart, "user_id": user, "updated_at": at(minutes)}).to_string()
}

/// Ada, formerly u0 and now u1, leaves carts, is erased, leaves another, opens an account again and leaves a last one. Bob
/// leaves one meanwhile.
fn write(directory: &Path) {
    let mailed = |user: &str| json!({"email": format!("{user}@example.com"), "consent": {"email": true}});
    let profiles = [
        profile("u0", 0, mailed("u0")),
        profile("u1", 0, mailed("u1")),
        profile("bob", 0, mailed("bob")),
        profile("u1", 120, json!({"deleted": true})),
        profile("u1", 240, mailed("u1")),
    ];
    let carts = [
        cart("u0", "cart-0", 0, "secret-slippers"),
        emptied("u0", "cart-0", 40),
        cart("u1", "cart-1", 60, "secret-slippers"),
        cart("bob", "cart-2", 60, "plain-shoes"),
        cart("u1", "cart-3", 180, "secret-slippers"),
        // Under `suppress` they would be hers again when she comes back.
        emptied("u1", "cart-1", 230),
        emptied("u1", "cart-3", 230),
        cart("u1", "cart-4", 300, "new-boots"),
    ];
    let alias = json!({"type": "alias", "userId": "u1", "previousId": "u0", "timestamp": at(45)}).to_string();
    let save = |name: &str, lines: &[String]| std::fs::write(directory.join(name), lines.join("\n")).unwrap();
    save("profiles.jsonl", &profiles);
    save("carts.jsonl", &carts);
    save("clickstream.jsonl", &[alias]);
}

/// Decides from the files into the ledger at `state`, and returns the sends that are owed.
fn run(erasure: &str, input: &Path, state: &Path) -> Vec<DecisionId> {
    let text = format!("erasure = \"{erasure}\"\n{CONFIG}");
    let config = Config::parse(Path::new("beckon.toml"), &text, Purpose::Replay).unwrap();
    let ledger = Arc::new(Ledger::open(state).unwrap());
    let (wake, _woken) = mpsc::channel(1);
    let (timeline, _) = Timeline::open(state, &HashMap::new()).unwrap();
    let replay = Replay {
        workers: 2,
        decoders: 1,
        plan: wiring::plan(&config),
        decider: wiring::decider(&config),
        allowed_lateness_ms: config.allowed_lateness_ms,
        until: Until::Time(at(400)),
        noted: Notes::new(),
        advance_after: RECORDS_AN_ADVANCE,
        meter: Arc::new(Meter::default()),
    };
    let recorder = Recorder::new(&config, ledger.clone(), Arc::new(timeline), 0, wake);
    replay.run(source::files::open(input).unwrap(), recorder, Box::new(|_| Ok(())), |_| {}).unwrap();
    let (owed, _) = ledger.owed(1000, |_| true).unwrap();
    owed.into_iter().map(|open| open.decision.decision_id).collect()
}

fn found(ledger: &Ledger, customer: &str, cart: &str, minutes: u64) -> Option<Decision> {
    ledger.decision(DecisionId::of("cart", customer, cart, at(minutes))).unwrap()
}

#[test]
fn what_the_erased_were_told_of_leaves_the_ledger_and_stays_away() {
    for erasure in ["suppress", "forget"] {
        let (input, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(input.path());
        run(erasure, input.path(), state.path());
        // After a restart all is read and decided again.
        for _ in 0..2 {
            let ledger = Ledger::open(state.path()).unwrap();
            let erased = [found(&ledger, "u0", "cart-0", 0), found(&ledger, "u1", "cart-1", 60)];
            for decision in erased.map(|decision| decision.expect("what was decided stays decided")) {
                assert_eq!((decision.outcome, &*decision.subject), (Outcome::Send, ""), "{erasure}");
                assert!(decision.payload.lines.is_empty(), "{erasure}: {decision:?}");
            }
            // What they did while erased is decided, but what it is about is not kept.
            let meanwhile = found(&ledger, "u1", "cart-3", 180).expect("an episode of the erased is decided");
            assert_eq!(meanwhile.reason, Some(Reason::Unreachable));
            assert!(meanwhile.payload.lines.is_empty());
            let others = [found(&ledger, "bob", "cart-2", 60), found(&ledger, "u1", "cart-4", 300)];
            for (decision, sku) in others.into_iter().zip(["plain-shoes", "new-boots"]) {
                let decision = decision.expect("a decision");
                assert_eq!(&*decision.payload.lines[0].sku, sku, "{erasure}");
            }
            drop(ledger);
            // Those that are still open are owed, and none besides.
            let owed = run(erasure, input.path(), state.path());
            assert!(!owed.contains(&DecisionId::of("cart", "u1", "cart-3", at(180))));
        }
        // Opened once more, it holds nothing of what was erased.
        drop(Ledger::open(state.path()).unwrap());
        let bytes =
            ["ledger.redb", "ledger.journal"].map(|file| std::fs::read(state.path().join(file)).unwrap()).concat();
        let holds = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
        assert!(holds("plain-shoes") && holds("new-boots") && !holds("secret-slippers"), "{erasure}");
    }
}
