//! Captures that were compressed as a whole, by gzip or zstd.
//!
//! A raw log consists of zstd frames too, and is no such thing: it begins with a skippable frame
//! that names it.

use std::io::{self, BufReader, ErrorKind, Read};

/// What a file was compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

/// Compressed bytes that are read at a time.
const INPUT_LEN: usize = 128 << 10;

/// The largest window of zstd that gets memory, as a power of two: what `zstd` itself allows
/// unless it is told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    /// By the first bytes of a file that is no raw log.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let magic = head.first_chunk::<4>()?;
        match u32::from_le_bytes(*magic) {
            0xfd2f_b528 | 0x184d_2a50..=0x184d_2a5f => Some(Compression::Zstd),
            // RFC 1952 section 2.3.1: two bytes of magic, and the only method there is.
            _ if magic.starts_with(&[0x1f, 0x8b, 8]) => Some(Compression::Gzip),
            _ => None,
        }
    }

    /// What comes out of it.
    pub(super) fn unpack<'r>(
        self,
        packed: impl Read + Send + 'r,
    ) -> io::Result<Box<dyn Read + Send + 'r>> {
        let packed = BufReader::with_capacity(INPUT_LEN, packed);
        Ok(match self {
            Compression::Gzip => {
                let reader = flate2::bufread::MultiGzDecoder::new(packed);
                Box::new(Unpacked { reader, name: "gzip" })
            }
            Compression::Zstd => {
                let mut reader = zstd::stream::read::Decoder::with_buffer(packed)?;
                reader.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(Unpacked { reader, name: "zstd" })
            }
        })
    }
}

/// Says in its errors whose they are. What came out before an error is good.
struct Unpacked<R> {
    reader: R,
    name: &'static str,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            // Not that kind, which would be taken for an end inside of the capture.
            ErrorKind::UnexpectedEof => {
                io::Error::other(format!("the {} data break off", self.name))
            }
            _ => io::Error::other(format!("the {} data are damaged: {error}", self.name)),
        })
    }
}
