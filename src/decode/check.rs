//! Whether a record could be used, for those who take records in before they are in the log. In: the bytes of a record. Out: nothing, as
//! long as a [`Decoder`] can read it. Fails with why it cannot, in the same words. The names it reads are kept by nobody.

use std::sync::{Arc, Mutex, PoisonError};

use beckon_dataflows::model::{Position, Stream};

use super::{Bad, Decoder, Dictionary};

/// After so many bytes of records the names read so far are dropped.
const BYTES_KEPT_MAX: usize = 8 << 20;

/// Reads records for their faults alone. Shared by threads, one at a time: a record takes some microseconds.
pub struct Check(Mutex<Reading>);

struct Reading {
    decoder: Decoder,
    bytes: usize,
}

impl Reading {
    fn new() -> Reading {
        Reading { decoder: Decoder::new(Arc::new(Dictionary::new())), bytes: 0 }
    }
}

impl Check {
    /// A check that has read nothing.
    pub fn new() -> Check {
        Check(Mutex::new(Reading::new()))
    }

    /// Whether the record of `stream` could be used.
    pub fn check(&self, stream: Stream, record: &[u8]) -> Result<(), Bad> {
        // Whatever a panic left behind is a decoder all the same.
        let mut reading = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.bytes > BYTES_KEPT_MAX {
            *reading = Reading::new();
        }
        reading.bytes += record.len();
        reading.decoder.decode(Position::new(stream, 0, 0), record).map(drop)
    }
}

impl Default for Check {
    fn default() -> Check {
        Check::new()
    }
}
