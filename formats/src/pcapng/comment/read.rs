//! Reads the comments that `write` and `connection` write.
//!
//! An error is the key whose value is missing or invalid.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::pairs::{BadKey, Pairs, text, unescape, value};
use crate::record::{
    AddrKind, CaptureInfo, Connection, Coverage, Direction, Process, Role, Stats, Unrecorded,
};

/// Returns the error message of an invalid key.
pub(crate) fn bad_key(key: BadKey) -> String {
    match key {
        "ev" => "a connection that opens twice: several captures were merged into this file".into(),
        key => format!("a comment whose `{key}` is missing or wrong"),
    }
}

/// The pairs of a packet's comment from `dir` on, read in one pass.
///
/// Every packet has such a comment and most of its pairs are needed, so a look-up of each pair
/// would read the comment ten times. Values are still escaped; of several pairs with the same key
/// the first is used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PacketPairs<'a> {
    pub(crate) dir: Option<&'a str>,
    pub(crate) ev: Option<&'a str>,
    pub(crate) tid: Option<&'a str>,
    /// `fn`
    pub(crate) func: Option<&'a str>,
    pub(crate) off: Option<&'a str>,
    pub(crate) sent_off: Option<&'a str>,
    pub(crate) received_off: Option<&'a str>,
    pub(crate) len: Option<&'a str>,
    pub(crate) lat_ns: Option<&'a str>,
    pub(crate) ts_ns: Option<&'a str>,
    pub(crate) call_len: Option<&'a str>,
    pub(crate) call_off: Option<&'a str>,
    pub(crate) cause: Option<&'a str>,
    pub(crate) ok: Option<&'a str>,
    pub(crate) sent_bytes: Option<&'a str>,
    pub(crate) received_bytes: Option<&'a str>,
    pub(crate) since_ns: Option<&'a str>,
    pub(crate) lib_path: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
    pub(crate) cipher: Option<&'a str>,
    pub(crate) result: Option<&'a str>,
}

impl<'a> PacketPairs<'a> {
    /// Reads the part of a comment from `dir` on.
    pub(crate) fn read(text: &'a str) -> Self {
        let mut pairs = Self::default();
        for (key, value) in Pairs(text).iter() {
            let slot = match key {
                "dir" => &mut pairs.dir,
                "ev" => &mut pairs.ev,
                "tid" => &mut pairs.tid,
                "fn" => &mut pairs.func,
                "off" => &mut pairs.off,
                "sent_off" => &mut pairs.sent_off,
                "received_off" => &mut pairs.received_off,
                "len" => &mut pairs.len,
                "lat_ns" => &mut pairs.lat_ns,
                "ts_ns" => &mut pairs.ts_ns,
                "call_len" => &mut pairs.call_len,
                "call_off" => &mut pairs.call_off,
                "cause" => &mut pairs.cause,
                "ok" => &mut pairs.ok,
                "sent_bytes" => &mut pairs.sent_bytes,
                "received_bytes" => &mut pairs.received_bytes,
                "since_ns" => &mut pairs.since_ns,
                "lib_path" => &mut pairs.lib_path,
                "version" => &mut pairs.version,
                "cipher" => &mut pairs.cipher,
                "result" => &mut pairs.result,
                // Added by a later version.
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        pairs
    }
}

/// Reads the section header's comment.
pub(crate) fn capture(pairs: Pairs<'_>) -> Result<CaptureInfo, BadKey> {
    Ok(CaptureInfo {
        start_ns: pairs.required("start_ns")?,
        snaplen: pairs.required("snaplen")?,
        tool: pairs.text("tool")?.unwrap_or_default().into_owned(),
        os: pairs.text("os")?.unwrap_or_default().into_owned(),
        redacted: pairs
            .iter()
            .filter(|(key, _)| *key == "redacted")
            .map(|(_, rule)| unescape(rule).map(|rule| rule.into_owned()).ok_or("redacted"))
            .collect::<Result<_, _>>()?,
    })
}

/// Reads an interface's comment.
pub(crate) fn process(pairs: Pairs<'_>) -> Result<Process, BadKey> {
    Ok(Process {
        ts_ns: pairs.required("ts_ns")?,
        pid: pairs.required("pid")?,
        uid: pairs.required("uid")?,
        comm: pairs.text("comm")?.ok_or("comm")?.into_owned(),
        exe: pairs.text("exe")?.map(|exe| exe.into_owned()),
    })
}

/// Reads the process named in a packet's comment.
pub(crate) fn process_of_packet(pairs: Pairs<'_>, ts_ns: u64) -> Result<Process, BadKey> {
    Ok(Process {
        ts_ns,
        pid: pairs.required("pid")?,
        uid: pairs.required("uid")?,
        comm: pairs.text("comm")?.ok_or("comm")?.into_owned(),
        exe: None,
    })
}

/// Reads the direction of a packet.
pub(crate) fn direction(packet: &PacketPairs<'_>) -> Result<Direction, BadKey> {
    packet.dir.and_then(Direction::from_name).ok_or("dir")
}

/// Reads the connection in a packet's comment, from the pairs before `dir` and from `packet`, the
/// pairs from there on. Pairs that only some comments have are taken from `known` if missing.
pub(crate) fn connection(
    pairs: Pairs<'_>,
    packet: &PacketPairs<'_>,
    dir: Direction,
    ts_ns: u64,
    known: Option<&Connection>,
) -> Result<Connection, BadKey> {
    let (from, to) = match pairs.text("real")? {
        Some(real) => addresses(&real).ok_or("real")?,
        None => (None, None),
    };
    let (local, remote) = match dir {
        Direction::Sent => (from, to),
        Direction::Received => (to, from),
    };
    let known_since = known.map_or(ts_ns, |known| known.ts_ns);
    Ok(Connection {
        conn: pairs.required("conn")?,
        ts_ns: value(packet.since_ns, "since_ns")?.unwrap_or(known_since),
        pid: pairs.required("pid")?,
        role: pairs.raw("role").and_then(Role::from_name).ok_or("role")?,
        addr: pairs.raw("addr").and_then(AddrKind::from_name).ok_or("addr")?,
        local,
        remote,
        lib: library(pairs, packet, known)?,
        sni: pairs.text("sni")?.map(|sni| sni.into_owned()),
        alpn: pairs.text("alpn")?.map(|alpn| alpn.into_owned()),
        joined: pairs.value::<u8>("joined")? == Some(1),
        version: text(packet.version, "version")?
            .map(Cow::into_owned)
            .or_else(|| known.and_then(|known| known.version.clone())),
        cipher: text(packet.cipher, "cipher")?
            .map(Cow::into_owned)
            .or_else(|| known.and_then(|known| known.cipher.clone())),
    })
}

/// Returns the path of the library if this comment or an earlier comment has it, else its name.
fn library(
    pairs: Pairs<'_>,
    packet: &PacketPairs<'_>,
    known: Option<&Connection>,
) -> Result<Option<String>, BadKey> {
    if let Some(path) = text(packet.lib_path, "lib_path")? {
        return Ok(Some(path.into_owned()));
    }
    let Some(name) = pairs.text("lib")? else { return Ok(None) };
    let known = known
        .and_then(|known| known.lib.as_ref())
        .filter(|path| path.rsplit('/').next() == Some(&*name));
    Ok(Some(known.map_or_else(|| name.into_owned(), String::clone)))
}

/// Parses `SOURCE->TARGET`; `?` is an unknown address.
fn addresses(real: &str) -> Option<(Option<SocketAddr>, Option<SocketAddr>)> {
    let one = |text: &str| match text {
        "?" => Some(None),
        known => known.parse().ok().map(Some),
    };
    let (from, to) = real.split_once("->")?;
    Some((one(from)?, one(to)?))
}

/// Reads the comment of a statistics block; returns `None` for a comment of another program.
pub(crate) fn stats(pairs: Pairs<'_>, ts_ns: u64) -> Result<Option<Stats>, BadKey> {
    if pairs.raw("last").is_none() || pairs.raw("calls").is_none() {
        return Ok(None);
    }
    let mut stats = Stats {
        ts_ns,
        last: pairs.required::<u8>("last")? == 1,
        calls: pairs.required("calls")?,
        bytes: pairs.required("bytes")?,
        dropped_events: pairs.required("dropped_events")?,
        lost_bytes: pairs.required("lost_bytes")?,
        failures: Vec::new(),
    };
    for (key, value) in pairs.iter() {
        if let Some(name) = key.strip_prefix("failure.") {
            let name = unescape(name).ok_or("failure")?.into_owned();
            stats.failures.push((name, value.parse().map_err(|_| "failure")?));
        }
    }
    Ok(Some(stats))
}

/// Reads the account of a process; returns `None` for another comment.
pub(crate) fn account(pairs: Pairs<'_>, ts_ns: u64) -> Result<Option<Coverage>, BadKey> {
    if pairs.raw("account").is_none() {
        return Ok(None);
    }
    let mut coverage = Coverage { ts_ns, ..Coverage::default() };
    for (key, value) in pairs.iter() {
        let text = |key| Ok(unescape(value).ok_or(key)?.into_owned());
        match (key, coverage.connections.last_mut()) {
            ("missed", _) => coverage.connections.push(unrecorded(value)?),
            ("pid", None) => coverage.pid = number(value, "pid")?,
            ("comm", None) => coverage.comm = text("comm")?,
            ("exe", None) => coverage.exe = Some(text("exe")?),
            ("seen", None) => coverage.seen = number(value, "seen")?,
            ("unrecorded", None) => coverage.unrecorded = number(value, "unrecorded")?,
            ("reason", None) => coverage.missed = Some(text("reason")?),
            ("local", Some(last)) => last.local = number(value, "local")?,
            ("remote", Some(last)) => last.remote = number(value, "remote")?,
            ("quic", Some(last)) => last.quic = number::<u8>(value, "quic")? == 1,
            ("sni", Some(last)) => last.sni = Some(text("sni")?),
            ("version", Some(last)) => last.version = Some(text("version")?),
            ("offered", Some(last)) => last.alpn.push(text("offered")?),
            ("sent_bytes", Some(last)) => {
                last.bytes.get_or_insert_default().sent = number(value, "sent_bytes")?;
            }
            ("received_bytes", Some(last)) => {
                last.bytes.get_or_insert_default().received = number(value, "received_bytes")?;
            }
            _ => {}
        }
    }
    Ok(Some(coverage))
}

fn number<T: std::str::FromStr>(value: &str, key: BadKey) -> Result<T, BadKey> {
    value.parse().map_err(|_| key)
}

/// Returns a connection of which only the role is known yet.
fn unrecorded(role: &str) -> Result<Unrecorded, BadKey> {
    let none = SocketAddr::from(([0, 0, 0, 0], 0));
    Ok(Unrecorded {
        local: none,
        remote: none,
        role: Role::from_name(role).ok_or("missed")?,
        sni: None,
        alpn: Vec::new(),
        version: None,
        bytes: None,
        quic: false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::pairs::required;
    use super::*;

    #[test]
    fn the_first_pair_of_a_key_counts_and_unknown_keys_are_skipped() {
        let pairs = PacketPairs::read("dir=sent x=1 off=7 off=8  = =z fn=a=b ok");
        assert_eq!((pairs.dir, pairs.off, pairs.func), (Some("sent"), Some("7"), Some("a=b")));
        assert_eq!((pairs.ok, pairs.ev), (None, None));
        assert_eq!(required::<u64>(pairs.off, "off"), Ok(7));
        assert_eq!(required::<u64>(pairs.ok, "ok"), Err("ok"));
        assert_eq!(value::<u64>(pairs.func, "fn"), Err("fn"));
    }
}
