//! Reads what `describe` and `writer` worded.
//!
//! Errors name the key whose value is missing or wrong.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;

use super::about::{About, text, value};
use super::comment::{Pairs, unescape};
use crate::record::{AddrKind, CaptureInfo, Connection, Direction, Process, Role, Stats};

/// The key at fault.
pub(super) type BadKey = &'static str;

/// Says in an error message what is wrong.
pub(super) fn bad_key(key: BadKey) -> String {
    match key {
        "ev" => "a connection that opens twice: several captures were merged into this file".into(),
        key => format!("a comment whose `{key}` is missing or wrong"),
    }
}

/// A value that must be there.
pub(super) fn required<T: std::str::FromStr>(pairs: Pairs<'_>, key: BadKey) -> Result<T, BadKey> {
    pairs.value(key)?.ok_or(key)
}

/// The section header's comment.
pub(super) fn capture(pairs: Pairs<'_>) -> Result<CaptureInfo, BadKey> {
    Ok(CaptureInfo {
        start_ns: required(pairs, "start_ns")?,
        snaplen: required(pairs, "snaplen")?,
        tool: pairs.text("tool")?.unwrap_or_default().into_owned(),
        os: pairs.text("os")?.unwrap_or_default().into_owned(),
        redacted: pairs
            .iter()
            .filter(|(key, _)| *key == "redacted")
            .map(|(_, rule)| unescape(rule).map(|rule| rule.into_owned()).ok_or("redacted"))
            .collect::<Result<_, _>>()?,
    })
}

/// An interface's comment.
pub(super) fn process(pairs: Pairs<'_>) -> Result<Process, BadKey> {
    Ok(Process {
        ts_ns: required(pairs, "ts_ns")?,
        pid: required(pairs, "pid")?,
        uid: required(pairs, "uid")?,
        comm: pairs.text("comm")?.ok_or("comm")?.into_owned(),
        exe: pairs.text("exe")?.map(|exe| exe.into_owned()),
    })
}

/// The process that a packet's comment names.
pub(super) fn process_of_packet(pairs: Pairs<'_>, ts_ns: u64) -> Result<Process, BadKey> {
    Ok(Process {
        ts_ns,
        pid: required(pairs, "pid")?,
        uid: required(pairs, "uid")?,
        comm: pairs.text("comm")?.ok_or("comm")?.into_owned(),
        exe: None,
    })
}

/// Which way a packet went.
pub(super) fn direction(about: &About<'_>) -> Result<Direction, BadKey> {
    about.dir.and_then(Direction::from_name).ok_or("dir")
}

/// The connection that a packet's comment describes, before `dir` and after it. What only some comments say is taken over
/// from what is known already.
pub(super) fn connection(
    pairs: Pairs<'_>,
    about_packet: &About<'_>,
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
        conn: required(pairs, "conn")?,
        ts_ns: value(about_packet.since_ns, "since_ns")?.unwrap_or(known_since),
        pid: required(pairs, "pid")?,
        role: pairs.raw("role").and_then(Role::from_name).ok_or("role")?,
        addr: pairs.raw("addr").and_then(AddrKind::from_name).ok_or("addr")?,
        local,
        remote,
        lib: library(pairs, about_packet, known)?,
        sni: pairs.text("sni")?.map(|sni| sni.into_owned()),
        alpn: pairs.text("alpn")?.map(|alpn| alpn.into_owned()),
        joined: pairs.value::<u8>("joined")? == Some(1),
        version: text(about_packet.version, "version")?
            .map(Cow::into_owned)
            .or_else(|| known.and_then(|known| known.version.clone())),
        cipher: text(about_packet.cipher, "cipher")?
            .map(Cow::into_owned)
            .or_else(|| known.and_then(|known| known.cipher.clone())),
    })
}

/// The library's path where this comment or an earlier one has it, else its name.
fn library(
    pairs: Pairs<'_>,
    about_packet: &About<'_>,
    known: Option<&Connection>,
) -> Result<Option<String>, BadKey> {
    if let Some(path) = text(about_packet.lib_path, "lib_path")? {
        return Ok(Some(path.into_owned()));
    }
    let Some(name) = pairs.text("lib")? else { return Ok(None) };
    let known = known
        .and_then(|known| known.lib.as_ref())
        .filter(|path| path.rsplit('/').next() == Some(&*name));
    Ok(Some(known.map_or_else(|| name.into_owned(), String::clone)))
}

/// `SOURCE->TARGET`, where `?` is not known.
fn addresses(real: &str) -> Option<(Option<SocketAddr>, Option<SocketAddr>)> {
    let one = |text: &str| match text {
        "?" => Some(None),
        known => known.parse().ok().map(Some),
    };
    let (from, to) = real.split_once("->")?;
    Some((one(from)?, one(to)?))
}

/// The comment of a statistics block; `None` if it is not one of ours.
pub(super) fn stats(pairs: Pairs<'_>, ts_ns: u64) -> Result<Option<Stats>, BadKey> {
    if pairs.raw("last").is_none() || pairs.raw("calls").is_none() {
        return Ok(None);
    }
    let mut stats = Stats {
        ts_ns,
        last: required::<u8>(pairs, "last")? == 1,
        calls: required(pairs, "calls")?,
        bytes: required(pairs, "bytes")?,
        dropped_events: required(pairs, "dropped_events")?,
        lost_bytes: required(pairs, "lost_bytes")?,
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

/// Where the payload of a packet of ours should stand in it, which may be beyond its end if the
/// packet was cut short afterwards.
pub(super) fn payload_range(packet: &[u8]) -> Option<Range<usize>> {
    const ETHERNET_LEN: usize = 14;
    let ip = packet.get(ETHERNET_LEN..)?;
    let be16 = |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
    let (ip_len, end) = match packet[12..ETHERNET_LEN] {
        [0x08, 0x00] => (usize::from(ip.first()? & 0x0F) * 4, be16(2)?),
        [0x86, 0xDD] => (40, 40 + be16(4)?),
        _ => return None,
    };
    let start = ip_len + usize::from(ip.get(ip_len + 12)? >> 4) * 4;
    (start <= end).then_some(ETHERNET_LEN + start..ETHERNET_LEN + end)
}
