//! Segment's own libraries for Node and Python, unchanged. In: where to send, and a write key. Out: the ids of the messages that they
//! sent. Fails with a `Skip` where Node or Python is missing, or the libraries can't be fetched. Fetched once; later runs are offline.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
        let folder = fetch_once("node", wanted, |folder| {
            let arguments = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
            Command::new("npm").args(arguments).arg(folder).arg(wanted).stdin(Stdio::null()).output()
        })?;
        // Modules are looked for beside the program.
        let program = folder.join("client.mjs");
        fs::copy(program_of("client.mjs"), &program).map_err(Skip::because)?;
        let mut command = Command::new("node");
        command.arg(program);
        Ok(Library { language: "node", command })
    }

    /// The one for Python.
    pub fn python() -> Result<Library, Skip> {
        version_of("python3", "install Python 3 with pip")?;
        let folder = fetch_once("python", PYTHON_LIBRARY, |folder| {
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

fn version_of(program: &str, hint: &str) -> Result<String, Skip> {
    let ran = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| Skip::because(format!("{program} does not run ({error}); {hint}")))?;
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// The folder with what `fetch` fetched into it: `segment/NAME` in the build's own target directory. A file names what is there whole.
fn fetch_once(name: &str, wanted: &str, fetch: impl Fn(&Path) -> std::io::Result<Output>) -> Result<PathBuf, Skip> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.parent().unwrap_or(tmp).join("segment").join(name);
    let failed = |error: String| Skip::because(format!("{wanted} can't be fetched into {}: {error}", folder.display()));
    let io = |error: std::io::Error| failed(error.to_string());
    fs::create_dir_all(&folder).map_err(io)?;
    let lock = File::create(folder.join("lock")).map_err(io)?;
    lock.lock().map_err(io)?; // released when the file closes, a crash included
    let mark = folder.join("fetched");
    if fs::read_to_string(&mark).is_ok_and(|fetched| fetched == wanted) {
        return Ok(folder);
    }
    let fetched = fetch(&folder).map_err(io)?;
    if !fetched.status.success() {
        return Err(failed(String::from_utf8_lossy(&fetched.stderr).into_owned()));
    }
    fs::write(mark, wanted).map_err(io)?;
    Ok(folder)
}
