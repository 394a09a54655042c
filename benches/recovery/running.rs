//! A service in a process of its own, which is this program again and is killed when it is dropped. In: its arguments, and a line on its standard
//! input when it is asked something. Out: the line of JSON that it answers on its standard output. Fails when it has ended.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// The process.
pub struct Running {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it.
    pub fn start(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Running> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut process = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(process.stdout.take().context("no standard output")?);
        Ok(Running { process, said })
    }

    /// Says that it is its turn.
    pub fn tell(&mut self) -> Result<()> {
        self.process.stdin.as_mut().context("no standard input")?.write_all(b"\n")?;
        Ok(())
    }

    /// Waits for the next line that it says.
    pub fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the service has ended, or said {line:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits for a line of whoever started this process.
pub fn wait_to_be_told() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}
