//! Streams as files: `NAME.jsonl` for each of the seven, or `.jsonl.gz`, `.jsonl.zst` (SPEC §1). In: events in the
//! order in which they are to stand. Out: files, and how much went into each. Fails where the disk does, and where the
//! directory already holds a stream in another compression, which a reader would take for part of the same.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use flate2::write::GzEncoder;

use crate::stream::{Event, STREAMS, stream_index};

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Compression {
    /// `.jsonl`
    #[default]
    None,
    /// `.jsonl.gz`
    Gzip,
    /// `.jsonl.zst`
    Zstd,
}

impl Compression {
    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    /// What a file of this compression ends in.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::None => "jsonl",
            Compression::Gzip => "jsonl.gz",
            Compression::Zstd => "jsonl.zst",
        }
    }
}

/// Records and bytes (before compression) by stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Records, in the order of [`STREAMS`].
    pub records: [u64; STREAMS.len()],
    /// Bytes, likewise.
    pub bytes: [u64; STREAMS.len()],
}

impl Written {
    /// Counts one event.
    pub fn add(&mut self, event: &Event) {
        let place = stream_index(event.stream);
        self.records[place] += 1;
        self.bytes[place] += event.json.len() as u64 + 1;
    }

    /// All records.
    pub fn total(&self) -> u64 {
        self.records.iter().sum()
    }
}

/// The seven files, open.
pub struct StreamFiles {
    packers: Vec<Packer>,
    written: Written,
}

impl StreamFiles {
    /// Makes the directory, if need be, and all seven files; files of the same names are overwritten.
    pub fn create(directory: &Path, compression: Compression) -> Result<StreamFiles> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        refuse_other_compressions(directory, compression)?;
        let open = |stream: &&str| {
            Packer::create(&directory.join(format!("{stream}.{}", compression.extension())), compression)
        };
        let packers = STREAMS.iter().map(open).collect::<Result<_>>()?;
        Ok(StreamFiles { packers, written: Written::default() })
    }

    /// Writes one event as a line of its stream's file.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let packer = &mut self.packers[stream_index(event.stream)];
        packer
            .write_all(&event.json)
            .and_then(|()| packer.write_all(b"\n"))
            .with_context(|| format!("cannot write a record to the file of {}", event.stream))?;
        self.written.add(event);
        Ok(())
    }

    /// What was written so far.
    pub fn written(&self) -> &Written {
        &self.written
    }

    /// Completes all files.
    pub fn finish(self) -> Result<Written> {
        for (packer, stream) in self.packers.into_iter().zip(STREAMS) {
            packer.finish().with_context(|| format!("cannot complete the file of {stream}"))?;
        }
        Ok(self.written)
    }
}

fn refuse_other_compressions(directory: &Path, compression: Compression) -> Result<()> {
    for other in Compression::ALL.into_iter().filter(|other| *other != compression) {
        for stream in STREAMS {
            let path = directory.join(format!("{stream}.{}", other.extension()));
            if path.exists() {
                bail!(
                    "{} is there already and would be read along; remove it or choose another directory",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

/// A file and its compression.
enum Packer {
    None(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Packer {
    fn create(path: &Path, compression: Compression) -> Result<Packer> {
        let cannot = || format!("cannot write the file {}", path.display());
        let file = BufWriter::with_capacity(1 << 16, File::create(path).with_context(cannot)?);
        Ok(match compression {
            Compression::None => Packer::None(file),
            Compression::Gzip => Packer::Gzip(GzEncoder::new(file, flate2::Compression::fast())),
            Compression::Zstd => Packer::Zstd(zstd::Encoder::new(file, 3).with_context(cannot)?),
        })
    }

    fn finish(self) -> std::io::Result<()> {
        match self {
            Packer::None(mut file) => file.flush(),
            Packer::Gzip(encoder) => encoder.finish()?.flush(),
            Packer::Zstd(encoder) => encoder.finish()?.flush(),
        }
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Packer::None(file) => file.write(bytes),
            Packer::Gzip(encoder) => encoder.write(bytes),
            Packer::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Packer::None(file) => file.flush(),
            Packer::Gzip(encoder) => encoder.flush(),
            Packer::Zstd(encoder) => encoder.flush(),
        }
    }
}
