//! Captures that were compressed as a whole, by gzip or zstd.
//!
//! A raw log also consists of zstd frames, but is not a compressed capture: it begins with a
//! skippable frame that identifies it.

use std::io::{self, BufReader, ErrorKind, Read};

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

/// Number of compressed bytes read at a time.
const INPUT_LEN: usize = 128 << 10;

/// The largest window that zstd may allocate, as a power of two: the default limit of `zstd`.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    /// Detects the compression from the first bytes of a file that is not a raw log.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let magic = head.first_chunk::<4>()?;
        match u32::from_le_bytes(*magic) {
            0xfd2f_b528 | 0x184d_2a50..=0x184d_2a5f => Some(Compression::Zstd),
            // RFC 1952 section 2.3.1: two bytes of magic, and the only defined method.
            _ if magic.starts_with(&[0x1f, 0x8b, 8]) => Some(Compression::Gzip),
            _ => None,
        }
    }

    /// Returns a reader of the decompressed data.
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

/// Adds the name of the compression to errors. The output before an error is valid.
struct Unpacked<R> {
    reader: R,
    name: &'static str,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => error,
            // `UnexpectedEof` would be taken for an end inside the capture.
            ErrorKind::UnexpectedEof => {
                io::Error::other(format!("the {} data is truncated", self.name))
            }
            _ => io::Error::other(format!("the {} data is damaged: {error}", self.name)),
        })
    }
}
