//! What a comment says of its packet, taken apart in one pass.
//!
//! Every packet has such a comment and most of its pairs are needed, so looking each of them up
//! would read the comment ten times over.

use std::borrow::Cow;
use std::str::FromStr;

use super::comment::{Pairs, unescape};
use super::parse::BadKey;

/// The pairs from `dir` on. Values are still escaped; of a key that is there twice the first one
/// counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub(super) dir: Option<&'a str>,
    pub(super) ev: Option<&'a str>,
    pub(super) tid: Option<&'a str>,
    /// `fn`
    pub(super) func: Option<&'a str>,
    pub(super) off: Option<&'a str>,
    pub(super) sent_off: Option<&'a str>,
    pub(super) received_off: Option<&'a str>,
    pub(super) len: Option<&'a str>,
    pub(super) lat_ns: Option<&'a str>,
    pub(super) ts_ns: Option<&'a str>,
    pub(super) call_len: Option<&'a str>,
    pub(super) call_off: Option<&'a str>,
    pub(super) cause: Option<&'a str>,
    pub(super) ok: Option<&'a str>,
    pub(super) sent_bytes: Option<&'a str>,
    pub(super) received_bytes: Option<&'a str>,
    pub(super) since_ns: Option<&'a str>,
    pub(super) lib_path: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) cipher: Option<&'a str>,
    pub(super) result: Option<&'a str>,
}

impl<'a> About<'a> {
    /// Reads that part of a comment.
    pub(super) fn read(text: &'a str) -> Self {
        let mut about = Self::default();
        for (key, value) in Pairs(text).iter() {
            let slot = match key {
                "dir" => &mut about.dir,
                "ev" => &mut about.ev,
                "tid" => &mut about.tid,
                "fn" => &mut about.func,
                "off" => &mut about.off,
                "sent_off" => &mut about.sent_off,
                "received_off" => &mut about.received_off,
                "len" => &mut about.len,
                "lat_ns" => &mut about.lat_ns,
                "ts_ns" => &mut about.ts_ns,
                "call_len" => &mut about.call_len,
                "call_off" => &mut about.call_off,
                "cause" => &mut about.cause,
                "ok" => &mut about.ok,
                "sent_bytes" => &mut about.sent_bytes,
                "received_bytes" => &mut about.received_bytes,
                "since_ns" => &mut about.since_ns,
                "lib_path" => &mut about.lib_path,
                "version" => &mut about.version,
                "cipher" => &mut about.cipher,
                "result" => &mut about.result,
                // What a later version adds.
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        about
    }
}

/// A value that has no escapes, such as a number.
///
/// # Errors
/// It is there and not of the type: the key.
pub(super) fn value<T: FromStr>(raw: Option<&str>, key: BadKey) -> Result<Option<T>, BadKey> {
    raw.map(|value| value.parse().map_err(|_| key)).transpose()
}

/// The same, where it must be there.
pub(super) fn required<T: FromStr>(raw: Option<&str>, key: BadKey) -> Result<T, BadKey> {
    value(raw, key)?.ok_or(key)
}

/// A value that is text.
///
/// # Errors
/// It is there and its escapes are wrong: the key.
pub(super) fn text<'a>(raw: Option<&'a str>, key: BadKey) -> Result<Option<Cow<'a, str>>, BadKey> {
    raw.map(|value| unescape(value).ok_or(key)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_key_counts_and_the_unknown_is_passed_over() {
        let about = About::read("dir=sent x=1 off=7 off=8  = =z fn=a=b ok");
        assert_eq!((about.dir, about.off, about.func), (Some("sent"), Some("7"), Some("a=b")));
        assert_eq!((about.ok, about.ev), (None, None));
        assert_eq!(required::<u64>(about.off, "off"), Ok(7));
        assert_eq!(required::<u64>(about.ok, "ok"), Err("ok"));
        assert_eq!(value::<u64>(about.func, "fn"), Err("fn"));
    }
}
