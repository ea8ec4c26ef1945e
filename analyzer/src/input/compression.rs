//! Captures that were compressed as a whole, by gzip, zstd, xz, lz4 or bzip2.
//!
//! A raw log also consists of zstd frames, but is not a compressed capture: it begins with a
//! skippable frame that identifies it.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use lz4_flex::frame::FrameDecoder;

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Xz,
    Lz4,
    Bzip2,
}

/// Number of compressed bytes read at a time.
const INPUT_LEN: usize = 128 << 10;

/// The largest window that zstd may allocate, as a power of two: the default limit of `zstd`.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The largest memory that xz may allocate: as much as for zstd. `xz -9` needs 64 MiB.
const XZ_MEMORY_KIB: u32 = 128 << 10;

impl Compression {
    /// Detects the compression from the first bytes of a file that is not a raw log.
    pub(super) fn of(head: &[u8]) -> Option<Self> {
        let magic = head.first_chunk::<4>()?;
        match u32::from_le_bytes(*magic) {
            0xfd2f_b528 | 0x184d_2a50..=0x184d_2a5f => Some(Compression::Zstd),
            // A frame, and the legacy format of `lz4 -l`.
            0x184d_2204 | 0x184c_2102 => Some(Compression::Lz4),
            _ if head.starts_with(b"\xfd7zXZ\0") => Some(Compression::Xz),
            // A level, then the magic number of a block or of the end.
            _ if magic.starts_with(b"BZh") && (b'1'..=b'9').contains(&magic[3]) => {
                Some(Compression::Bzip2)
            }
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
            Compression::Xz => {
                let reader = lzma_rust2::XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB);
                Box::new(Unpacked { reader, name: "xz" })
            }
            Compression::Lz4 => Box::new(Unpacked { reader: Lz4Frames::new(packed), name: "lz4" }),
            Compression::Bzip2 => {
                let reader = bzip2::bufread::MultiBzDecoder::new(packed);
                Box::new(Unpacked { reader, name: "bzip2" })
            }
        })
    }
}

/// Several frames of lz4, one after the other. The decoder ends at the end of each frame, and
/// without an error at the end of the input, wherever that is.
struct Lz4Frames<R: BufRead> {
    decoder: FrameDecoder<Ends<R>>,
    /// The next bytes begin a frame.
    between: bool,
    /// The frame is of the legacy format, which has no end but that of the input.
    legacy: bool,
}

impl<R: BufRead> Lz4Frames<R> {
    fn new(source: R) -> Self {
        let decoder = FrameDecoder::new(Ends { source, ended: false });
        Self { decoder, between: true, legacy: false }
    }
}

impl<R: BufRead> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const LEGACY: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.between {
                let next = self.decoder.get_mut().source.fill_buf()?;
                if next.is_empty() {
                    return Ok(0);
                }
                self.legacy = next.starts_with(&LEGACY);
            }
            let read = self.decoder.read(buffer)?;
            self.between = read == 0;
            if read > 0 {
                return Ok(read);
            }
            if self.decoder.get_mut().ended {
                return if self.legacy { Ok(0) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

/// Notes that a read found the end of the input.
struct Ends<R> {
    source: R,
    ended: bool,
}

impl<R: Read> Read for Ends<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
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
            ErrorKind::OutOfMemory => io::Error::other(format!(
                "the {} data needs too much memory; decompress it first",
                self.name
            )),
            _ => io::Error::other(format!("the {} data is damaged: {error}", self.name)),
        })
    }
}
