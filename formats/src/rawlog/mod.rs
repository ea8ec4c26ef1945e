//! The raw log: everything the recorder saw, in concatenated zstd frames.
//!
//! A frame decodes alone. It begins with a header and repeats the description of each process and
//! connection that it refers to, so that every remaining part of a file can be read. Its zstd
//! checksum is verified before any of its records is returned; a truncated frame is verified up to
//! the last of the checkpoints inside it. `FORMAT.md` specifies the layout to the byte.
//!
//! [`RawLogWriter`] and [`RawLogReader`] process the frames, `encode` and `decode` the records.

mod decode;
mod encode;
mod reader;
mod writer;

pub use reader::RawLogReader;
pub use writer::RawLogWriter;

/// Compression level of the recorder and of `sslanalyze convert`: zstd's fastest standard level,
/// since the recorder compresses while the recorded programs run.
pub const DEFAULT_LEVEL: i32 = 1;

/// Name of this format in `Error::Foreign`.
const FORMAT_NAME: &str = "an sslrec raw log";

/// Version of the format, in the opening and in each frame.
const VERSION: u16 = 1;

/// The opening is a skippable zstd frame: magic, length of the rest, then name and version.
const OPENING_MAGIC: u32 = 0x184D_2A53;
const OPENING_NAME: &[u8; 6] = b"sslrec";
const OPENING_LEN: usize = 16;

/// Magic of a frame with contents (RFC 8878 section 3.1.1).
const ZSTD_MAGIC: u32 = 0xFD2F_B528;

/// Magic of the seek table, a skippable frame of zstd's seekable format.
const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEK_TABLE_FOOTER_MAGIC: u32 = 0x8F92_EAB1;

/// The first bytes of the contents of each frame.
const FRAME_MAGIC: &[u8; 4] = b"SLRF";

/// Uncompressed size at which the writer closes a frame.
const FRAME_TARGET: usize = 1 << 20;

/// The reader's bound for a frame's uncompressed size, against decompression bombs. The writer
/// stays below `FRAME_TARGET` plus the largest record.
const FRAME_LIMIT: usize = 64 << 20;

/// Uncompressed bytes after which the writer places a checkpoint.
const CHECKPOINT_INTERVAL: usize = 64 << 10;

/// Larger payloads are written as several records.
const PAYLOAD_LIMIT: usize = 1 << 20;

/// Size of kind and length, which precede each record's fields.
const RECORD_HEAD: usize = 5;

/// Flag in the kind of a record that repeats a description from an earlier frame, so that its frame
/// decodes alone.
const REPEATED: u8 = 0x80;

/// Kinds of records. A reader skips unknown kinds.
mod kind {
    pub(super) const PROCESS: u8 = 1;
    pub(super) const CONNECTION: u8 = 2;
    pub(super) const DATA: u8 = 3;
    pub(super) const GAP: u8 = 4;
    pub(super) const HANDSHAKE: u8 = 5;
    pub(super) const CLOSE: u8 = 6;
    pub(super) const STATS: u8 = 7;
    pub(super) const CHECKPOINT: u8 = 8;
    pub(super) const END: u8 = 9;
    pub(super) const COVERAGE: u8 = 10;
    pub(super) const EXIT: u8 = 11;
}

/// Returns whether a file that begins with these bytes is a raw log. 16 bytes are enough.
pub fn is_raw_log(first_bytes: &[u8]) -> bool {
    first_bytes.len() >= 14
        && first_bytes[..4] == OPENING_MAGIC.to_le_bytes()
        && first_bytes[8..14] == *OPENING_NAME
}
