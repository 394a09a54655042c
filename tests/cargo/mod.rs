//! The cargo that runs a test, for the test to run in its turn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The cargo that runs this test, in the workspace and the target directory of this test. What the outer cargo told
/// this test about its own package would reach build scripts and look like a change to them, so it is taken away.
pub fn cargo() -> Command {
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
