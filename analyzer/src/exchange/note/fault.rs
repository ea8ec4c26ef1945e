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
