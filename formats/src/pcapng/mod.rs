//! The pcapng view of a capture: synthetic TCP segments that carry the plaintext.

use std::io::{self, Read, Write};

use crate::io::{Error, RecordReader, RecordWriter};
use crate::record::{CaptureInfo, Record};

/// How a capture is shown in the pcapng.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcapngOptions {
    /// Write the server's real port.
    pub keep_port: bool,
    /// Real server port and the port to write for it; takes precedence over the other rules.
    pub map_ports: Vec<(u16, u16)>,
    /// Write a synthetic HTTP/2 preface for connections that were joined in mid-stream.
    pub http2_preface: bool,
}

impl Default for PcapngOptions {
    fn default() -> Self {
        Self { keep_port: false, map_ports: Vec::new(), http2_preface: true }
    }
}

/// Writes the records of a capture as a pcapng.
pub struct PcapngWriter<W: Write> {
    out: W,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a pcapng.
    ///
    /// # Errors
    /// The output refused the first bytes.
    pub fn new(out: W, _info: CaptureInfo, _options: PcapngOptions) -> Result<Self, Error> {
        Ok(Self { out })
    }

    /// Bytes handed to the output so far, all of them whole blocks.
    pub fn bytes_written(&self) -> u64 {
        0
    }

    /// The output. What was not flushed is lost.
    pub fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> RecordWriter for PcapngWriter<W> {
    fn write(&mut self, _record: &Record<'_>) -> Result<(), Error> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.flush()
    }
}

/// Gives back the records of a pcapng that [`PcapngWriter`] wrote.
pub struct PcapngReader<R: Read> {
    info: CaptureInfo,
    _input: R,
}

impl<R: Read> PcapngReader<R> {
    /// Begins to read a pcapng of ours.
    ///
    /// # Errors
    /// [`Error::Foreign`] if it was not written by [`PcapngWriter`].
    pub fn new(input: R) -> Result<Self, Error> {
        Ok(Self { info: CaptureInfo::default(), _input: input })
    }
}

impl<R: Read> RecordReader for PcapngReader<R> {
    fn info(&self) -> &CaptureInfo {
        &self.info
    }

    fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }
}

/// Whether a file that begins with these bytes is a pcapng of ours. The whole of the section
/// header block is needed to tell; 4096 bytes are enough.
pub fn is_sslrec_pcapng(_first_bytes: &[u8]) -> bool {
    false
}
