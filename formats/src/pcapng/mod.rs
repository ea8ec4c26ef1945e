//! The pcapng form of a capture: synthetic TCP segments that carry the plaintext, so that Wireshark
//! and all other readers of packets can show it.
//!
//! Information that a packet cannot hold is written in its comment, whose grammar (module
//! `comment`, `FORMAT.md`) is a contract: from it [`PcapngReader`] returns the records that
//! [`PcapngWriter`] received.
//!
//! `segment` creates packets, `flow` keeps the addresses and sequence numbers of a connection,
//! `connection` writes a connection, `output` lays out blocks, `writer` combines them.

mod comment;
mod connection;
mod flow;
mod input;
mod output;
mod reader;
mod segment;
mod writer;

pub use reader::PcapngReader;
pub use writer::PcapngWriter;

/// The most handshakes written of a connection before its first data, gap or close: the last ones.
/// They are held back until then, as the end of the connection to show is undecided before.
pub const HELD_HANDSHAKES: usize = 8;

/// Name of this format in `Error::Foreign`.
const FORMAT_NAME: &str = "a pcapng of sslrec";

/// Version of the comment grammar, in the section header's comment.
const VERSION: &str = "1";

/// The comment of a packet that was never observed in any form. Readers ignore the packet.
const SYNTHETIC: &str = "synthetic, not observed";

/// Options of the pcapng form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PcapngOptions {
    /// Write the server's real port, instead of 80, for which Wireshark has an HTTP dissector.
    pub keep_port: bool,
    /// Real server port and the port to write for it; takes precedence over the other rules.
    pub map_ports: Vec<(u16, u16)>,
    /// Precede HTTP/2 that was joined in mid-stream with a synthetic connection preface, without
    /// which Wireshark does not recognise it.
    pub http2_preface: bool,
}

impl Default for PcapngOptions {
    fn default() -> Self {
        Self { keep_port: false, map_ports: Vec::new(), http2_preface: true }
    }
}

/// Returns whether a file that begins with these bytes is a pcapng of sslrec. The complete first
/// block is needed, which has a few hundred bytes.
pub fn is_sslrec_pcapng(first_bytes: &[u8]) -> bool {
    matches!(input::section_info(first_bytes), Ok(Some(_)))
}
