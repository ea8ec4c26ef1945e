//! Problems of content codings.

use sslrec_cli::size::Size;

use super::texts::texts;

texts! {
    /// The reason why a content coding was not undone, or not completely, and the bytes that are
    /// kept.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Problem {
        /// The output before the fault is kept.
        Partly(fault: Fault) => "{fault}";
        /// Nothing was decoded.
        AsSent(fault: Fault) => "{fault}; shown as sent";
        /// Only the beginning of the output is kept.
        Bomb(fault: Fault, bytes: u64) =>
            "{fault}; only the first {size} are kept", size = Size(*bytes);
    }
}

texts! {
    /// The reason why a content coding was not undone, or not completely.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Fault {
        /// There is no memory for the output, or the limit of decoded output is reached.
        NotDecoded => "not decoded";
        /// A longer chain of codings than the maximum.
        TooManyCodings(codings: usize) => "{codings} content codings";
        /// The name of a coding that is not supported.
        UnknownCoding(name: Box<str>) => "content coding {name} is not known";
        /// The output exceeds the limit.
        Limit(coding: &'static str, bytes: u64) =>
            "more than {size} of {coding}; the rest is not decoded", size = Size(*bytes);
        /// Nothing could be decoded: a wrong label, or a truncated body.
        OtherCoding(coding: &'static str) => "it is not {coding}, or not whole";
        /// The coding ends too early.
        Truncated(coding: &'static str, bytes: u64) =>
            "{coding} breaks off after {bytes} decoded bytes";
        /// The coding is damaged, for this reason.
        Damaged(coding: &'static str, bytes: u64, reason: Box<str>) =>
            "{coding} is damaged after {bytes} decoded bytes: {reason}";
        /// Data follows the end of the coding.
        AfterEnd(coding: &'static str) => "data after the end of {coding} is left out";
        /// So many bytes follow the end of the coding.
        BytesAfterEnd(bytes: u64, coding: &'static str) =>
            "{bytes} bytes after the end of {coding} are left out";
    }
}

texts! {
    /// The reason why a message of a protocol on top of HTTP is incomplete, or kept as sent.
    #[derive(Debug, Clone, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum MessageProblem {
        /// There was no memory for the rest.
        Cut(bytes: usize) => "only its first {bytes} bytes are kept (memory limit)";
        /// So many bytes are missing.
        Missing(bytes: u64) => "{bytes} bytes of it are missing";
        /// The message is marked as compressed, and no head names the coding.
        UnknownCompression => "marked as compressed, without the name of the coding";
        /// The compression was not undone, or not completely.
        Coding(problem: Problem) => "{problem}";
        /// WebSocket: the message began before the first frame that was read.
        NoFirstFrame => "its first frame is missing";
        /// WebSocket: a further message began first.
        NoLastFrame => "its last frame is missing";
        /// WebSocket: the compression refers to messages that were not read.
        UnknownDictionary => "compressed with an unknown dictionary; shown as sent";
        /// WebSocket: the output exceeds the limit.
        DeflateLimit(bytes: u64) =>
            "more than {size} of permessage-deflate; the rest is left out", size = Size(*bytes);
        /// WebSocket: the compression is damaged.
        DeflateDamaged(bytes: usize) =>
            "permessage-deflate is damaged after {bytes} decoded bytes";
    }
}
