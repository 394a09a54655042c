//! What a test says when this machine lacks a part it needs. In: the test's name and the reason. Out: one line,
//! `SKIPPED name: reason`, on standard error. Fails: under `CI=true` a skipped test panics, so that a machine which is
//! meant to have every part can't pass by lacking one.
#![allow(dead_code)] // each test binary uses its own part of this file

use std::fmt;
use std::io::Write;

/// Why a test can't run here: a part is missing that only the machine's owner can bring.
#[derive(Debug, Clone)]
pub struct Skip {
    /// What is missing, and how to get it.
    pub reason: String,
}

impl Skip {
    /// A skip for `reason`.
    pub fn because(reason: impl fmt::Display) -> Skip {
        Skip { reason: reason.to_string() }
    }
}

/// Reports that test `name` is skipped; panics under `CI=true`.
pub fn skip(name: &str, reason: &str) {
    let line = format!("SKIPPED {name}: {reason}");
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        panic!("{line}\nunder CI=true nothing may be skipped");
    }
    // Not `eprintln!`: the test harness swallows that where a test passes, and a skip must be seen.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `part` if it can be had; else reports test `name` as skipped, and the test returns.
pub fn or_skip<T>(name: &str, part: Result<T, Skip>) -> Option<T> {
    match part {
        Ok(part) => Some(part),
        Err(missing) => {
            skip(name, &missing.reason);
            None
        }
    }
}
