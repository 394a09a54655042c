//! What a test runs that is none of ours: libraries by their package managers. In: a name, and what fetches it. Out: a folder in the
//! build's own target directory. Fails with a `Skip` where a program is missing or nothing can be fetched. Fetched once; later runs are
//! offline.
#![allow(dead_code)] // each test binary uses its own part of this file

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::skip::Skip;

/// What `program --version` says.
pub fn version_of(program: &str, hint: &str) -> Result<String, Skip> {
    let ran = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let ran = ran.map_err(|error| Skip::because(format!("{program} does not run ({error}); {hint}")))?;
    Ok(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// The folder with a package of npm's, and a copy of `program` beside it, since modules are looked for there.
pub fn npm(name: &str, wanted: &str, program: &Path) -> Result<PathBuf, Skip> {
    let folder = fetch_once(name, wanted, |folder| {
        let arguments = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"];
        Command::new("npm").args(arguments).arg(folder).arg(wanted).stdin(Stdio::null()).output()
    })?;
    let copy = folder.join(program.file_name().unwrap_or_default());
    fs::copy(program, &copy).map_err(Skip::because)?;
    Ok(copy)
}

/// The folder with what `fetch` fetched into it. A file names what is there whole.
pub fn fetch_once(name: &str, wanted: &str, fetch: impl Fn(&Path) -> std::io::Result<Output>) -> Result<PathBuf, Skip> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.parent().unwrap_or(tmp).join("fetched").join(name);
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
