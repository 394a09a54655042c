//! Files of JSON, one value a line: decisions and dead letters. In: values. Out: lines, each handed to the file whole, so that
//! two who append to one file never mix theirs. Fails when the disk does, and says which file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// A file being written.
pub struct JsonLines {
    path: PathBuf,
    out: Box<dyn Write + Send>,
}

impl JsonLines {
    /// Writes a new file, or to standard output for `-`; what is written is there after [`JsonLines::flush`].
    pub fn create(path: &Path) -> anyhow::Result<JsonLines> {
        if path.as_os_str() == "-" {
            return Ok(JsonLines { path: path.into(), out: Box::new(BufWriter::new(stdout())) });
        }
        let file = File::create(path).with_context(|| failed(path))?;
        Ok(JsonLines { path: path.into(), out: Box::new(BufWriter::new(file)) })
    }

    /// Appends to a file, made if there is none; a line is there once it is written. One that an earlier process did not come to
    /// the end of stays by itself.
    pub fn append_to(path: &Path) -> anyhow::Result<JsonLines> {
        let open = || -> io::Result<File> {
            let mut file = File::options().create(true).read(true).append(true).open(path)?;
            if !ends_a_line(&mut file)? {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        let file = open().with_context(|| failed(path))?;
        Ok(JsonLines { path: path.into(), out: Box::new(file) })
    }

    /// Writes to `out`, which errors call `path`.
    pub fn to(path: &Path, out: Box<dyn Write + Send>) -> JsonLines {
        JsonLines { path: path.into(), out }
    }

    /// Writes a value as a line.
    pub fn write(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.out.write_all(&line).with_context(|| failed(&self.path))
    }

    /// Hands all that was written to the file.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().with_context(|| failed(&self.path))
    }
}

/// Whether what is appended to the file begins a line.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn failed(path: &Path) -> String {
    format!("cannot write {}; see that the disk has space and the folder lets you, and start again", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("letters.jsonl");
        let mut new = JsonLines::create(&path).unwrap();
        new.write(&1).unwrap();
        new.flush().unwrap();
        let (mut one, mut other) = (JsonLines::append_to(&path).unwrap(), JsonLines::append_to(&path).unwrap());
        one.write(&serde_json::json!({"a": [2]})).unwrap();
        other.write(&"three").unwrap();
        one.write(&4).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n{\"a\":[2]}\n\"three\"\n4\n");
        // A process was cut off within a line, on a full disk for one.
        std::fs::write(&path, "1\n{\"a\":[").unwrap();
        JsonLines::append_to(&path).unwrap().write(&5).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n{\"a\":[\n5\n");
        let fault = JsonLines::append_to(&dir.path().join("none/x")).err().unwrap();
        assert!(format!("{fault:#}").contains("cannot write"), "{fault:#}");
    }
}
