//! Segment's own libraries for Node and Python, unchanged. In: where to send, and a write key. Out: the ids of the messages that they
//! sent. Fails with a `Skip` where Node or Python is missing, or the libraries can't be fetched. Fetched once; later runs are offline.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fetched::{fetch_once, npm, version_of};
use crate::skip::Skip;

const PYTHON_LIBRARY: &str = "segment-analytics-python==2.4.0";

/// A library with the program that uses it.
pub struct Library {
    /// The name of its language: the customer, the cart and the SKU of the program are named after it.
    pub language: &'static str,
    command: Command,
}

impl Library {
    /// The one for Node.
    pub fn node() -> Result<Library, Skip> {
        let said = version_of("node", "install Node.js 18 or newer")?;
        let major: u32 =
            said.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        let wanted = match major {
            20.. => "@segment/analytics-node@3.1.0",
            18.. => "@segment/analytics-node@2.2.1", // the last that runs there
            _ => return Err(Skip::because(format!("Segment's library needs Node.js 18 or newer, and node is {said}"))),
        };
        let mut command = Command::new("node");
        command.arg(npm("segment-node", wanted, &program_of("client.mjs"))?);
        Ok(Library { language: "node", command })
    }

    /// The one for Python.
    pub fn python() -> Result<Library, Skip> {
        version_of("python3", "install Python 3 with pip")?;
        let folder = fetch_once("segment-python", PYTHON_LIBRARY, |folder| {
            let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
            Command::new("python3").args(arguments).arg(folder).arg(PYTHON_LIBRARY).stdin(Stdio::null()).output()
        })?;
        let mut command = Command::new("python3");
        command.arg(program_of("client.py")).env("PYTHONPATH", folder);
        Ok(Library { language: "python", command })
    }

    /// Runs the program, which has to succeed, and returns the ids of its messages.
    pub fn run(&mut self, host: &str, write_key: &str) -> Vec<String> {
        let ran = self.command.args([host, write_key]).stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "{}: {}", self.language, String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

fn program_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/segment").join(name)
}
