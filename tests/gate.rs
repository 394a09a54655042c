//! The gate: formatting, lints and documentation, checked by the one test command. In: the whole workspace. Out: what
//! rustfmt, clippy and rustdoc object to, as they say it. A tool that the toolchain lacks is reported as skipped.
//!
//! The checks run in the very target directory of the tests: the outer cargo gives up its lock before the tests run,
//! and so clippy finds the dependencies' build scripts (librdkafka in C, above all) built already.

mod skip;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// The cargo that runs this test, in the workspace and the target directory of this test. What the outer cargo told
/// this test about its own package would reach build scripts and look like a change to them, so it is taken away.
fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if told.iter().any(|prefix| name.starts_with(prefix)) || name == "CARGO" {
            command.env_remove(&*name);
        }
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target_dir())
        .env("CARGO_TERM_COLOR", "never")
        .env("TERM", "dumb") // rustfmt asks the terminal for its colours
        .env("RUSTDOCFLAGS", "-D warnings")
        .stdin(Stdio::null());
    command
}

/// `target/`, or wherever this test was built.
fn target_dir() -> &'static Path {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp)
}
