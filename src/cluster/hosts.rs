//! The file of hosts. In: its path, and which process reads it. Out: one `host:port` for each process. Fails with every fault of
//! the file at once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is wrong with a file of hosts: every fault, each with its line.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", self.text())]
pub struct HostsFault {
    file: PathBuf,
    faults: Vec<String>,
}

impl HostsFault {
    fn text(&self) -> String {
        let mut text = String::new();
        for fault in &self.faults {
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{}{fault}", self.file.display());
        }
        text + "  one host:port a line, the same file for every process; line I, from 0, is where process I listens"
    }
}

/// Reads the file. Blank lines and those that begin with `#` are no hosts.
pub fn read(file: &Path, process: usize) -> Result<Vec<String>, HostsFault> {
    let fault = |faults| HostsFault { file: file.to_owned(), faults };
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text, process).map_err(fault),
        Err(error) => Err(fault(vec![format!(" cannot be read: {error}")])),
    }
}

fn parse(text: &str, process: usize) -> Result<Vec<String>, Vec<String>> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines: Vec<(usize, &str)> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
    let (mut faults, mut first_of) = (Vec::new(), HashMap::new());
    for (number, host) in &lines {
        if let Some(what) = fault_of(host) {
            faults.push(format!(":{number}: `{host}` {what}"));
        }
        let first = *first_of.entry(*host).or_insert(*number);
        if first != *number {
            faults.push(format!(":{number}: `{host}` is in line {first} already"));
        }
    }
    if process >= lines.len() {
        faults.push(format!(" has {} hosts, so there is no process {process}; the first is process 0", lines.len()));
    }
    if faults.is_empty() { Ok(lines.into_iter().map(|(_, host)| host.to_owned()).collect()) } else { Err(faults) }
}

fn fault_of(host: &str) -> Option<&'static str> {
    let Some((name, port)) = host.rsplit_once(':') else { return Some("has no port") };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    match bare {
        Some(address) if address.parse::<std::net::Ipv6Addr>().is_err() => return Some("has no IPv6 address in [ ]"),
        None if name.is_empty() => return Some("has no host"),
        None if name.contains(':') => return Some("is an IPv6 address without [ ]"),
        None if !is_name(name) => return Some("has a host that cannot be"),
        _ => {}
    }
    (!port.parse::<u16>().is_ok_and(|port| port > 0)).then_some("has a port that is not from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_process() {
        let text = "# two machines\n\n10.0.0.1:2101\n shop-2.internal:2101 \n[::1]:9\n";
        assert_eq!(parse(text, 2).unwrap(), ["10.0.0.1:2101", "shop-2.internal:2101", "[::1]:9"]);
    }

    #[test]
    fn every_fault_is_said() {
        let text = "a\na:0\n:7\nfe80::1:7\n[x]:7\na b:7\nok:7\nok:7\n";
        let faults = parse(text, 8).unwrap_err();
        assert_eq!(
            faults,
            [
                ":1: `a` has no port",
                ":2: `a:0` has a port that is not from 1 to 65535",
                ":3: `:7` has no host",
                ":4: `fe80::1:7` is an IPv6 address without [ ]",
                ":5: `[x]:7` has no IPv6 address in [ ]",
                ":6: `a b:7` has a host that cannot be",
                ":8: `ok:7` is in line 7 already",
                " has 8 hosts, so there is no process 8; the first is process 0",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_one() {
        let error = read(Path::new("no/such/hosts"), 0).unwrap_err().to_string();
        assert!(error.starts_with("no/such/hosts cannot be read: "), "{error}");
        assert!(error.contains("one host:port a line"), "{error}");
    }
}
