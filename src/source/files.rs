//! Streams kept as files: `NAME.jsonl`, `NAME.jsonl.gz` or `NAME.jsonl.zst` in one directory, one partition each (SPEC §1).
//! Read in blocks of whole lines, in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use beckon_dataflows::model::Stream;

use super::{Block, Framing, Partition, Read, SourceError};

/// How many bytes a block holds, if its lines are not longer.
const BLOCK_BYTES: usize = 256 << 10;

/// Opens every stream that `directory` has; a missing one is an empty one.
pub fn open(directory: &Path) -> Result<Vec<Box<dyn Partition>>, SourceError> {
    let mut partitions: Vec<Box<dyn Partition>> = Vec::new();
    for stream in Stream::ALL {
        let files = ["jsonl", "jsonl.gz", "jsonl.zst"].map(|ending| directory.join(format!("{stream}.{ending}")));
        let mut files = files.into_iter().filter(|file| file.exists());
        if let Some(first) = files.next() {
            if let Some(second) = files.next() {
                let [first, second] = [first, second].map(|path| path.display().to_string());
                return Err(SourceError::Twice { stream, first, second });
            }
            partitions.push(Box::new(Lines::open(stream, first)?));
        }
    }
    if partitions.is_empty() {
        return Err(SourceError::Empty { directory: directory.display().to_string() });
    }
    Ok(partitions)
}

/// One file of lines.
struct Lines {
    stream: Stream,
    path: PathBuf,
    reader: Box<dyn io::Read + Send>,
    /// The start of a line whose end has not been read.
    rest: Vec<u8>,
    next_line: u64,
    size: u64,
    consumed: Arc<AtomicU64>,
    ended: bool,
}

impl Lines {
    fn open(stream: Stream, path: PathBuf) -> Result<Lines, SourceError> {
        let failed = |error| SourceError::File { path: path.display().to_string(), error };
        let file = File::open(&path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let consumed = Arc::new(AtomicU64::new(0));
        let raw = Counted { file, consumed: consumed.clone() };
        let reader: Box<dyn io::Read + Send> = match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(raw))),
            Some("zst") => Box::new(zstd::Decoder::new(raw).map_err(failed)?),
            _ => Box::new(raw),
        };
        Ok(Lines { stream, path, reader, rest: Vec::new(), next_line: 1, size, consumed, ended: false })
    }

    /// Fills a block up to its size and then to the end of a line, or of the file.
    fn fill(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut wanted = BLOCK_BYTES;
        loop {
            let missing = (wanted.saturating_sub(bytes.len())) as u64;
            let read = self.reader.by_ref().take(missing).read_to_end(&mut bytes)?;
            if (read as u64) < missing {
                self.ended = true;
                return Ok(bytes);
            }
            if let Some(end) = memchr::memrchr(b'\n', &bytes) {
                self.rest.reserve(BLOCK_BYTES);
                self.rest.extend_from_slice(&bytes[end + 1..]);
                bytes.truncate(end + 1);
                return Ok(bytes);
            }
            // A line longer than the block: read on to its end. That it is too long is the decoder's to say.
            wanted += BLOCK_BYTES;
        }
    }
}

impl Partition for Lines {
    fn stream(&self) -> Stream {
        self.stream
    }

    fn number(&self) -> u32 {
        0
    }

    fn first(&self) -> u64 {
        1
    }

    fn read(&mut self, _wait: Duration) -> Result<Read, SourceError> {
        if self.ended {
            return Ok(Read::End);
        }
        let bytes = self.fill().map_err(|error| SourceError::File { path: self.path.display().to_string(), error })?;
        if bytes.is_empty() {
            return Ok(Read::End);
        }
        let first = self.next_line;
        self.next_line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        let share_read = Some(self.consumed.load(Ordering::Relaxed) as f64 / self.size.max(1) as f64);
        Ok(Read::Block(Block {
            stream: self.stream,
            partition: 0,
            bytes,
            framing: Framing::Lines { first },
            share_read,
        }))
    }
}

/// A file that counts the bytes read from it, compressed or not.
struct Counted {
    file: File,
    consumed: Arc<AtomicU64>,
}

impl io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.consumed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(ending: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> Vec<(u64, Vec<u8>)> {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join(format!("orders.{ending}"))).unwrap();
        let mut partitions = open(directory.path()).unwrap();
        let mut found = Vec::new();
        while let Read::Block(block) = partitions[0].read(Duration::ZERO).unwrap() {
            found.extend(block.records().map(|(line, record)| (line, record.to_vec())));
        }
        found
    }

    #[test]
    fn lines_keep_their_numbers_over_blocks_blank_lines_and_a_missing_last_newline() {
        let long = "x".repeat(3 * BLOCK_BYTES);
        let text = format!("one\n\n{long}\nfour\nfive");
        let expected =
            vec![(1, b"one".to_vec()), (3, long.clone().into_bytes()), (4, b"four".to_vec()), (5, b"five".to_vec())];
        assert_eq!(lines("jsonl", |path| std::fs::write(path, &text)), expected);
        let gz = |path: &Path| {
            let mut file = flate2::write::GzEncoder::new(File::create(path)?, flate2::Compression::fast());
            file.write_all(text.as_bytes())?;
            file.finish().map(drop)
        };
        assert_eq!(lines("jsonl.gz", gz), expected);
        let zst = |path: &Path| std::fs::write(path, zstd::encode_all(text.as_bytes(), 1)?);
        assert_eq!(lines("jsonl.zst", zst), expected);
    }

    #[test]
    fn two_files_for_a_stream_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("carts.jsonl"), "").unwrap();
        std::fs::write(directory.path().join("carts.jsonl.gz"), "").unwrap();
        assert!(matches!(open(directory.path()), Err(SourceError::Twice { stream: Stream::Carts, .. })));
    }
}
