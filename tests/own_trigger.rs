//! `examples/nearly_free_shipping.rs` as a user runs it: the built program, its commands, its exit code.

mod cargo;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo::cargo;
use serde_json::{Value, json};

/// Nobody is written to from 10:30 to 12:00.
const CONFIG: &str = r#"
[limits]
quiet_hours = { from = "10:30", to = "12:00" }

[[campaign]]
name = "nearly-free"
trigger = "nearly_free_shipping"
after = "59m59500ms"
free_from = "50.00"
within = "10.00"
"#;

/// The example, built. A whole `cargo test` has built it already.
fn example() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_beckon")).parent().unwrap();
    let profile = beside.file_name().and_then(|name| name.to_str()).filter(|name| *name != "debug").unwrap_or("dev");
    let build = ["build", "--workspace", "--example", "nearly_free_shipping", "--profile", profile];
    let output = cargo().args(build).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    beside.join("examples").join(format!("nearly_free_shipping{}", std::env::consts::EXE_SUFFIX))
}

fn run(program: &Path, arguments: &[&str], directory: &Path) -> Output {
    Command::new(program).args(arguments).current_dir(directory).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts the exit code, and says what the command said if it is another one.
#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// A time of the one day on which all happens.
fn at(time: &str) -> String {
    format!("2026-01-01T{time}Z")
}

/// The streams of a small shop.
fn shop(directory: &Path) {
    let cart = |user: &str, price: &str, quantity: u32| {
        let lines = json!([{"sku": "s1", "quantity": quantity, "price": price}]);
        json!({"cart_id": format!("cart-{user}"), "user_id": user, "updated_at": at("10:00:00"), "currency": "EUR", "lines": lines})
    };
    let carts = [
        cart("u1", "15.00", 3), // 5 short
        cart("u2", "15.00", 3), // ordered before the quiet hours end
        cart("u3", "50.00", 1), // free already
        cart("u4", "39.99", 1), // a cent too far
        cart("u5", "40.00", 1), // 10 short; no profile
    ];
    let profile = |user: &str| {
        let email = format!("{user}@example.com");
        json!({"user_id": user, "email": email, "consent": {"email": true}, "updated_at": at("09:00:00")})
    };
    let order = json!({"order_id": "o2", "user_id": "u2", "cart_id": "cart-u2", "status": "placed", "placed_at": at("11:30:00")});
    let write = |stream: &str, records: &[Value]| {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        fs::write(directory.join(format!("{stream}.jsonl")), lines).unwrap();
    };
    write("carts", &carts);
    write("profiles", &["u1", "u2", "u3", "u4"].map(profile));
    write("orders", &[order]);
}

/// What is decided on `config`, without ids.
fn decisions(config: &str, workers: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    shop(directory.path());
    fs::write(directory.path().join("beckon.toml"), config).unwrap();
    let arguments = ["replay", "--input", ".", "--until", "drain", "--workers", workers];
    let output = run(&example(), &arguments, directory.path());
    assert_code(&output, 0);
    let read = |line: &str| {
        let mut decision: Value = serde_json::from_str(line).unwrap();
        decision.as_object_mut().unwrap().remove("decision_id");
        decision
    };
    text(&output.stdout).lines().map(read).collect()
}

/// Of the cart of 10:00, which is idle long enough at 11:00.
fn decision(user: &str, as_of: &str, (outcome, reason): (&str, Option<&str>), (quantity, price): (u32, &str)) -> Value {
    json!({
        "campaign": "nearly-free", "customer_id": user, "trigger": "nearly_free_shipping",
        "subject": format!("cart-{user}"), "anchor": at("10:00:00.000"), "as_of": at(as_of),
        "outcome": outcome, "reason": reason, "variant": null,
        "payload": {"lines": [{"sku": "s1", "quantity": quantity, "price": price, "on_hand": 0}]},
    })
}

#[test]
fn a_trigger_of_ones_own_decides_what_holds_and_nothing_that_has_left() {
    let unreachable = decision("u5", "11:00:00.000", ("suppress", Some("unreachable")), (1, "40.00"));
    let sent = decision("u1", "12:00:00.000", ("send", None), (3, "15.00"));
    for workers in ["1", "2"] {
        // The wait is rounded up to a tick. u2's episode is there from 11:00 on, waits, and is gone at 11:30.
        assert_eq!(decisions(CONFIG, workers), [unreachable.clone(), sent.clone()]);
        // One that expires in the quiet hours is gone as well.
        let brief = format!("{CONFIG}expires = \"30m\"\n");
        assert_eq!(decisions(&brief, workers), std::slice::from_ref(&unreachable));
    }
    // Without quiet hours all are decided as they open.
    let loud = CONFIG.replace("[limits]\nquiet_hours = { from = \"10:30\", to = \"12:00\" }\n", "");
    let at_once = |user| decision(user, "11:00:00.000", ("send", None), (3, "15.00"));
    assert_eq!(decisions(&loud, "1"), [at_once("u1"), at_once("u2"), unreachable]);
}

#[test]
fn its_keys_are_checked_like_any_others() {
    let directory = tempfile::tempdir().unwrap();
    let check = |program: &Path, config: &str| {
        fs::write(directory.path().join("beckon.toml"), config).unwrap();
        run(program, &["check"], directory.path())
    };
    let output = check(&example(), CONFIG);
    assert_code(&output, 0);
    let wrong = CONFIG.replace("free_from", "free_form").replace("10.00\"", "10 EUR\"") + "stock = \"any\"\n";
    let output = check(&example(), &wrong);
    assert_code(&output, 2);
    let said = text(&output.stderr);
    for fault in [
        "beckon.toml:5:1: `free_from` is missing",
        "beckon.toml:9:1: unknown key `free_form` in `campaign`",
        "hint: did you mean `free_from`?",
        "beckon.toml:10:10: `within` is not an exact decimal",
        "beckon.toml:11:1: trigger `nearly_free_shipping` does not take `stock`",
        "hint: it takes: after, free_from, within",
        "4 faults",
    ] {
        assert!(said.contains(fault), "{fault} in\n{said}");
    }
    let output = check(&example(), &CONFIG.replace("\"10.00\"", "\"60.00\""));
    assert_code(&output, 2);
    let fault = "beckon.toml:10:10: `within` is more than `free_from`";
    assert!(text(&output.stderr).contains(fault), "{}", text(&output.stderr));
    // Beckon itself does not know it.
    let output = check(Path::new(env!("CARGO_BIN_EXE_beckon")), CONFIG);
    assert_code(&output, 2);
    assert!(text(&output.stderr).contains("unknown trigger `nearly_free_shipping`"), "{}", text(&output.stderr));
}
