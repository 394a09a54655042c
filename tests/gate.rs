//! The gate: formatting, lints, documentation and the feature that is off, checked by the one test command. In: the whole
//! workspace. Out: what rustfmt, clippy, rustdoc and that feature's tests object to, as they say it. A tool that the
//! toolchain lacks is reported as skipped.
//!
//! The checks run in the very target directory of the tests: the outer cargo gives up its lock before the tests run,
//! and so clippy finds the dependencies' build scripts (librdkafka in C, above all) built already.

mod cargo;
mod skip;

use std::process::{Command, Stdio};

use cargo::cargo;

#[test]
fn every_file_is_formatted() {
    check("every_file_is_formatted", "rustfmt", &["fmt", "--all", "--check"]);
}

#[test]
fn clippy_has_no_objection() {
    let args = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    check("clippy_has_no_objection", "clippy-driver", &args);
}

#[test]
fn documentation_builds_without_a_warning() {
    let args = ["doc", "--workspace", "--no-deps"];
    check("documentation_builds_without_a_warning", "rustdoc", &args);
}

/// What no other test builds: the rows of snapshots as abomonation writes them.
#[test]
fn the_feature_that_is_off_works() {
    let args = ["test", "--package", "beckon-dataflows", "--features", "abomonation", "--lib", "flat"];
    check("the_feature_that_is_off_works", "rustc", &args);
}

/// Runs `cargo args`, and fails with what it says; skips test `name` where the toolchain has no `tool`.
fn check(name: &str, tool: &str, args: &[&str]) {
    let found = Command::new(tool).arg("--version").stdin(Stdio::null()).output();
    if !found.is_ok_and(|said| said.status.success()) {
        skip::skip(name, &format!("this Rust toolchain has no {tool}; `rustup component add` brings it"));
        return;
    }
    let ran = cargo().args(args).output();
    let ran = ran.unwrap_or_else(|error| panic!("cargo does not run: {error}"));
    let said = String::from_utf8_lossy(&ran.stderr);
    let listed = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "cargo {} ended with {}:\n{listed}{said}", args.join(" "), ran.status);
}
