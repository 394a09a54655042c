//! The timeline on disk: the [`Binding`]s of a live run, one JSON object a line, appended to and nothing else. In: bindings.
//! Out: after [`Timeline::sync`], a file that says them again. Fails when the disk does, or when the file is not what was
//! written.
//!
//! A file of its own beside the ledger, so that `replay` and `explain` can read it while the service runs. A line that was
//! cut off by a crash is dropped: nothing was decided from its records yet.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use beckon_dataflows::model::Stream;
use serde::{Deserialize, Serialize};

use super::{Binding, Bindings};

/// The file in the configured `state` folder.
const FILE: &str = "timeline.jsonl";

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Entry {
    stream: Stream,
    partition: u32,
    #[serde(flatten)]
    binding: Binding,
}

/// The timeline of the running service. One thread notes, another syncs.
pub struct Timeline {
    path: PathBuf,
    file: File,
    unsynced: AtomicBool,
}

impl Timeline {
    /// Reads the timeline in the folder `dir`: nothing where there is none.
    pub fn read(dir: &Path) -> Result<Bindings, TimelineError> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => parse(&path, whole_lines(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Bindings::new()),
            Err(error) => Err(TimelineError::Disk { path, error }),
        }
    }

    /// Opens the timeline in the folder `dir`, made if there is none, and returns what it says. What it says of records that the
    /// log has dropped is dropped too: `retained` tells the first offset that a partition still has.
    pub fn open(dir: &Path, retained: &HashMap<(Stream, u32), u64>) -> Result<(Timeline, Bindings), TimelineError> {
        let mut bindings = Timeline::read(dir)?;
        bindings.iter_mut().for_each(|(partition, bindings)| {
            let first = retained.get(partition).copied().unwrap_or(0);
            bindings.retain(|binding| binding.last >= first);
        });
        let path = dir.join(FILE);
        let file = rewrite(dir, &path, &bindings).map_err(|error| TimelineError::Disk { path: path.clone(), error })?;
        Ok((Timeline { path, file, unsynced: AtomicBool::new(false) }, bindings))
    }

    /// Notes a binding. It is durable after the next [`Timeline::sync`].
    pub fn note(&self, (stream, partition): (Stream, u32), binding: Binding) -> Result<(), TimelineError> {
        (&self.file).write_all(&line(stream, partition, binding)).map_err(|error| self.disk(error))?;
        self.unsynced.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes durable what was noted before this call. Costs nothing where nothing was.
    pub fn sync(&self) -> Result<(), TimelineError> {
        if self.unsynced.swap(false, Ordering::AcqRel) {
            self.file.sync_data().map_err(|error| self.disk(error))?;
        }
        Ok(())
    }

    fn disk(&self, error: io::Error) -> TimelineError {
        TimelineError::Disk { path: self.path.clone(), error }
    }
}

/// Up to the last newline; what comes after it was being written when the process ended.
fn whole_lines(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memrchr(b'\n', bytes).map_or(0, |end| end + 1)]
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Bindings, TimelineError> {
    let mut bindings = Bindings::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty()) {
        let fault = |why: String| TimelineError::Line { path: path.into(), number, why };
        let entry: Entry = serde_json::from_slice(line).map_err(|error| fault(error.to_string()))?;
        let partition = bindings.entry((entry.stream, entry.partition)).or_default();
        let after = partition.last().map_or(0, |before: &Binding| before.last + 1);
        if entry.binding.first < after || entry.binding.last < entry.binding.first {
            return Err(fault(format!("its offsets do not follow those before it, which end at {after}")));
        }
        partition.push(entry.binding);
    }
    Ok(bindings)
}

fn line(stream: Stream, partition: u32, binding: Binding) -> Vec<u8> {
    // Plain numbers and a name: that cannot fail.
    let mut line = serde_json::to_vec(&Entry { stream, partition, binding }).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Writes the file anew and puts it in the place of the old one, which is whole until then.
fn rewrite(dir: &Path, path: &Path, bindings: &Bindings) -> io::Result<File> {
    fs::create_dir_all(dir)?;
    let mut partitions: Vec<_> = bindings.iter().collect();
    partitions.sort_unstable_by_key(|(partition, _)| **partition);
    let lines = partitions.iter().flat_map(|(partition, bindings)| bindings.iter().map(|it| (**partition, *it)));
    let bytes: Vec<u8> = lines.flat_map(|((stream, partition), binding)| line(stream, partition, binding)).collect();
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    let file = OpenOptions::new().append(true).open(&new)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(dir)?.sync_all()?;
    Ok(file)
}

/// Why the timeline cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The disk.
    #[error(
        "cannot keep the timeline {path}: {error}\n  nothing is decided that a replay could not repeat; check the disk"
    )]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A line that was not written so.
    #[error(
        "{path}, line {number}: {why}\n  restore the file; or move it away, and late records may be decided upon otherwise than they were"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARTS: (Stream, u32) = (Stream::Carts, 3);

    fn binding(first: u64, last: u64) -> Binding {
        Binding { first, last, greatest_ms: Some(40_000), now_ms: 41_000 }
    }

    fn open(dir: &Path) -> (Timeline, Bindings) {
        Timeline::open(dir, &HashMap::new()).unwrap()
    }

    #[test]
    fn what_was_noted_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, before) = open(dir.path());
        assert!(before.is_empty());
        timeline.note(CARTS, binding(2, 5)).unwrap();
        timeline.note((Stream::Orders, 0), binding(0, 0)).unwrap();
        timeline.note(CARTS, binding(9, 9)).unwrap();
        timeline.sync().unwrap();
        // Also while the service runs.
        let read = Timeline::read(dir.path()).unwrap();
        assert_eq!(read[&CARTS], [binding(2, 5), binding(9, 9)]);
        drop(timeline);
        let (timeline, again) = open(dir.path());
        assert_eq!(again, read);
        timeline.note(CARTS, binding(10, 12)).unwrap();
        assert_eq!(Timeline::read(dir.path()).unwrap()[&CARTS].len(), 3);
    }

    #[test]
    fn a_line_cut_off_by_a_crash_is_dropped_and_any_other_fault_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = open(dir.path());
        timeline.note(CARTS, binding(2, 5)).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for end in 0..whole.len() {
            fs::write(&path, [&whole[..], &whole[..end]].concat()).unwrap();
            assert_eq!(open(dir.path()).1[&CARTS], [binding(2, 5)], "cut off after {end} bytes");
        }
        fs::write(&path, [&whole[..20], b"\n", &whole[..]].concat()).unwrap();
        let error = Timeline::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        fs::write(&path, [&whole[..], &whole[..]].concat()).unwrap();
        let error = Timeline::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("line 2: its offsets do not follow"), "{error}");
    }

    #[test]
    fn what_the_log_has_dropped_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let (timeline, _) = open(dir.path());
        timeline.note(CARTS, binding(2, 5)).unwrap();
        timeline.note(CARTS, binding(6, 8)).unwrap();
        let (_, kept) = Timeline::open(dir.path(), &HashMap::from([(CARTS, 6)])).unwrap();
        assert_eq!(kept[&CARTS], [binding(6, 8)]);
        assert_eq!(Timeline::read(dir.path()).unwrap(), kept);
    }
}
