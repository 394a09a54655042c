//! The imports, read: a forbidden arrow between the parts of the house fails here. `architecture/rules.rs` has the
//! rules; the tests below the first show that they bite.

#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/rules.rs"]
mod rules;

use std::fs;
use std::path::Path;

#[test]
fn no_forbidden_import() {
    let breaches = rules::breaches(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let listed: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(listed.is_empty(), "ARCHITECTURE.md forbids these:\n{}", listed.join("\n"));
}

/// What the rules object to in a tree of these files, as `file:line: what`.
fn objections(files: &[(&str, &str)]) -> Vec<String> {
    let tree = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = tree.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let breaches = rules::breaches(tree.path()).unwrap();
    breaches.iter().map(|breach| format!("{}:{}: {}", breach.file, breach.line, breach.what)).collect()
}

#[track_caller]
fn check(file: &str, text: &str, expected: &[&str]) {
    assert_eq!(objections(&[(file, text)]), expected);
}

#[test]
fn a_stage_may_not_import_another_in_any_spelling() {
    check("src/sink/smtp.rs", "use crate::ledger::Ledger;", &["src/sink/smtp.rs:1: crate::ledger::Ledger"]);
    check("src/sink.rs", "\nuse beckon::web;", &["src/sink.rs:2: beckon::web"]);
    check("src/sink/mod.rs", "use super::web::Page;", &["src/sink/mod.rs:1: super::web::Page"]);
    check("src/sink/smtp.rs", "use super::super::web;", &["src/sink/smtp.rs:1: super::super::web"]);
    check("src/web/mod.rs", "use crate::*;", &["src/web/mod.rs:1: crate::*"]);
    check("src/web/mod.rs", "fn f() -> crate::sink::Sink { todo!() }", &["src/web/mod.rs:1: crate::sink::Sink"]);
    check("src/web/mod.rs", "let s = Vec::<crate::sink::Sink>::new();", &["src/web/mod.rs:1: crate::sink::Sink"]);
    check(
        "src/decide/mod.rs",
        "use crate::{\n    config::Config,\n    ledger::{self, Entry as E},\n};\nuse crate::source::*;",
        &[
            "src/decide/mod.rs:3: crate::ledger::self",
            "src/decide/mod.rs:3: crate::ledger::Entry",
            "src/decide/mod.rs:5: crate::source::*",
        ],
    );
}

#[test]
fn super_is_followed_out_of_inline_modules() {
    let text = "mod tests {\n    use super::super::ledger;\n    use super::ledger;\n}\nuse super::sink;\n";
    check(
        "src/render/mod.rs",
        text,
        &["src/render/mod.rs:2: super::super::ledger", "src/render/mod.rs:5: super::sink"],
    );
}

#[test]
fn only_the_wiring_imports_stages() {
    let import = "use crate::sink::Sink;\nuse crate::ledger::Ledger;\n";
    for wiring in ["src/pipeline.rs", "src/pipeline/live.rs", "src/main.rs", "src/cli.rs", "src/lib.rs"] {
        check(wiring, import, &[]);
    }
    check("src/config.rs", "use crate::sink::Sink;", &["src/config.rs:1: crate::sink::Sink"]);
}

#[test]
fn a_stage_may_import_itself_the_model_and_what_is_no_stage() {
    let text = "use super::Sink;\nuse crate::sink::layers;\nuse crate::config::Esp;\nuse beckon_dataflows::model::Id;\n\
                use self::web::Hook;\nuse other::ledger::Ledger;\nmod web {}\n";
    check("src/sink/mod.rs", text, &[]);
}

#[test]
fn dataflows_and_datagen_look_inwards_only() {
    check("dataflows/src/lib.rs", "use beckon::sink;", &["dataflows/src/lib.rs:1: beckon::sink"]);
    check("dataflows/src/a/b.rs", "use ::beckon_datagen as shop;", &["dataflows/src/a/b.rs:1: beckon_datagen"]);
    check("dataflows/src/lib.rs", "use crate::sink::Sink; use timely::dataflow;", &[]);
    check("datagen/src/shop/mod.rs", "extern crate beckon;", &["datagen/src/shop/mod.rs:1: beckon"]);
    check(
        "datagen/src/main.rs",
        "use beckon_dataflows::{model::Id, joins};",
        &["datagen/src/main.rs:1: beckon_dataflows::joins"],
    );
    check("datagen/src/main.rs", "use beckon_datagen::shop::Shop;", &[]);
}

#[test]
fn the_oracle_shares_the_model_alone() {
    check("tests/oracle/state.rs", "use beckon_dataflows::model::Cart;", &[]);
    check("tests/oracle/state.rs", "use beckon_dataflows::time;", &["tests/oracle/state.rs:1: beckon_dataflows::time"]);
    check("tests/oracle/mod.rs", "use beckon::decide;", &["tests/oracle/mod.rs:1: beckon::decide"]);
}

#[test]
fn a_module_is_not_named_after_nothing() {
    check("src/lib.rs", "mod sink;\npub mod utils;", &["src/lib.rs:2: mod utils"]);
    check("tests/kafka.rs", "mod helpers {}", &["tests/kafka.rs:1: mod helpers"]);
}

#[test]
fn comments_and_literals_import_nothing() {
    let text = r###"
//! use crate::ledger::Ledger;
/* crate::web::Page /* nested */ crate::web::Page */
const A: &str = "crate::web::Page \" crate::ledger::Ledger";
const B: &str = r#"crate::web::"Page""#;
const C: char = '"'; // crate::web::Page
fn f<'a>(x: &'a str) -> u8 { b"crate::web::Page"[0] }
use crate::ledger::Ledger;
"###;
    check("src/sink/mod.rs", text, &["src/sink/mod.rs:8: crate::ledger::Ledger"]);
}

#[test]
fn breaches_are_found_all_over_the_tree_and_say_why() {
    let files = [
        ("src/sink/mod.rs", "use crate::web::Page;"),
        ("src/web/mod.rs", "use crate::config::Config;"),
        ("src/ledger/entry.rs", "\n\nuse crate::decide::Decision;"),
    ];
    let expected = ["src/ledger/entry.rs:3: crate::decide::Decision", "src/sink/mod.rs:1: crate::web::Page"];
    assert_eq!(objections(&files), expected);

    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("src/sink")).unwrap();
    fs::write(tree.path().join("src/sink/mod.rs"), "use crate::web::Page;").unwrap();
    let said = rules::breaches(tree.path()).unwrap()[0].to_string();
    let expected = "src/sink/mod.rs:1: `crate::web::Page`: stages never import each other; pipeline.rs wires them \
                    through the model's types";
    assert_eq!(said, expected);
}
