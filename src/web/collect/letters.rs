//! Dead letters of messages that were malformed. In: the letters of one request. Out: lines of `state/dead_letters-collect.jsonl`. Fails
//! when the disk does.
//!
//! Anybody who has the key of a page can send any number of them, so the file may not fill the disk: full, it takes the place of the
//! one before, and a new one is begun.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::json_lines::JsonLines;

/// The largest file, in bytes; there are two at most.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A message that was malformed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Letter {
    /// The stream it would have been of.
    pub stream: &'static str,
    /// The name of the key that it was sent with.
    pub key: String,
    /// When it was received, epoch ms.
    pub received_at: u64,
    /// The reason in short.
    pub kind: &'static str,
    /// The reason.
    pub reason: String,
    /// The message as it was sent, or the beginning of it.
    pub record: String,
}

/// Where they are kept.
pub struct Letters {
    path: PathBuf,
    file_bytes_max: u64,
    writing: Mutex<Writing>,
}

struct Writing {
    lines: JsonLines,
    bytes: u64,
}

impl Letters {
    /// Those of the folder `state`.
    pub fn open(state: &Path) -> anyhow::Result<Letters> {
        Letters::with_room(state, FILE_BYTES_MAX)
    }

    fn with_room(state: &Path, file_bytes_max: u64) -> anyhow::Result<Letters> {
        let path = state.join("dead_letters-collect.jsonl");
        let writing = Mutex::new(Writing::open(&path)?);
        Ok(Letters { path, file_bytes_max, writing })
    }

    /// Keeps these. Takes as long as the disk does.
    pub(super) fn write(&self, letters: &[Letter]) -> anyhow::Result<()> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters {
            let line = to_raw_value(letter)?;
            writing.write(&line)?;
            if writing.bytes >= self.file_bytes_max {
                fs::rename(&self.path, self.path.with_extension("old.jsonl"))?;
                *writing = Writing::open(&self.path)?;
            }
        }
        Ok(())
    }
}

impl Writing {
    fn open(path: &Path) -> anyhow::Result<Writing> {
        let bytes = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            file => file?.len(),
        };
        Ok(Writing { lines: JsonLines::append_to(path)?, bytes })
    }

    fn write(&mut self, line: &RawValue) -> anyhow::Result<()> {
        self.lines.write(&line)?;
        self.bytes += line.get().len() as u64 + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_never_fill_the_disk_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let letter = |number: u32| Letter {
            stream: "clickstream",
            key: "site".into(),
            received_at: 0,
            kind: "missing",
            reason: "…".into(),
            record: number.to_string(),
        };
        let size = serde_json::to_vec(&letter(100)).unwrap().len() as u64 + 1;
        for number in 100..110 {
            // Each time by another process: what is there counts.
            Letters::with_room(folder.path(), 3 * size).unwrap().write(&[letter(number)]).unwrap();
        }
        let numbers = |name: &str| -> Vec<String> {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            lines.map(|line| line["record"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(numbers("dead_letters-collect.old.jsonl"), ["106", "107", "108"]);
        assert_eq!(numbers("dead_letters-collect.jsonl"), ["109"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
