//! Encodes records: each field in turn, little endian, appended to a reused buffer.

use std::net::SocketAddr;

use super::{FRAME_MAGIC, RECORD_HEAD, VERSION, kind};
use crate::record::{
    AddrKind, CaptureInfo, Close, CloseCause, Connection, Coverage, Data, Direction, Exit, Gap,
    GapCause, Handshake, PerDirection, Process, Record, Role, Stats, Unrecorded,
};

/// Appends the head of a frame's contents. The number of records is unknown so far; see
/// [`set_record_count`].
pub(super) fn frame_head(out: &mut Vec<u8>, info: &CaptureInfo, seq: u64, first_ts_ns: u64) {
    out.extend_from_slice(FRAME_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    let len_at = out.len();
    u32(out, 0);
    u32(out, 0); // record count
    u64(out, seq);
    u64(out, first_ts_ns);
    u64(out, info.start_ns);
    u64(out, info.snaplen);
    str(out, &info.tool);
    str(out, &info.os);
    if !info.redacted.is_empty() {
        u32(out, info.redacted.len() as u32);
        info.redacted.iter().for_each(|rule| str(out, rule));
    }
    let len = out.len() - len_at - 4;
    out[len_at..len_at + 4].copy_from_slice(&(len as u32).to_le_bytes());
}

/// Writes the number of records to its fixed place in the head of a frame's contents, if they are
/// long enough.
pub(super) fn set_record_count(frame: &mut [u8], records: u32) {
    if let Some(count) = frame.get_mut(12..16) {
        count.copy_from_slice(&records.to_le_bytes());
    }
}

/// Appends a record.
pub(super) fn record(out: &mut Vec<u8>, record: &Record<'_>) {
    match record {
        Record::Process(p) => process(out, p, 0),
        Record::Connection(c) => connection(out, c, 0),
        Record::Data(d) => data(out, d),
        Record::Gap(g) => gap(out, g),
        Record::Handshake(h) => handshake(out, h),
        Record::Close(c) => close(out, c),
        Record::Exit(e) => exit(out, e),
        Record::Coverage(c) => coverage(out, c),
        Record::Stats(s) => stats(out, s),
    }
}

/// Appends a process; `flags` is 0 or `REPEATED`.
pub(super) fn process(out: &mut Vec<u8>, process: &Process, flags: u8) {
    framed(out, kind::PROCESS | flags, |out| {
        u32(out, process.pid);
        u64(out, process.ts_ns);
        u32(out, process.uid);
        str(out, &process.comm);
        opt_str(out, process.exe.as_deref());
    });
}

/// Appends a connection; `flags` is 0 or `REPEATED`.
pub(super) fn connection(out: &mut Vec<u8>, connection: &Connection, flags: u8) {
    framed(out, kind::CONNECTION | flags, |out| {
        u64(out, connection.conn);
        u64(out, connection.ts_ns);
        u32(out, connection.pid);
        out.push(role(connection.role));
        out.push(match connection.addr {
            AddrKind::Unknown => 0,
            AddrKind::Exact => 1,
            AddrKind::Inferred => 2,
        });
        address(out, connection.local);
        address(out, connection.remote);
        opt_str(out, connection.lib.as_deref());
        opt_str(out, connection.sni.as_deref());
        opt_str(out, connection.alpn.as_deref());
        out.push(connection.joined.into());
        if connection.version.is_some() || connection.cipher.is_some() {
            opt_str(out, connection.version.as_deref());
            opt_str(out, connection.cipher.as_deref());
        }
    });
}

fn data(out: &mut Vec<u8>, data: &Data<'_>) {
    framed(out, kind::DATA, |out| {
        u64(out, data.conn);
        u64(out, data.ts_ns);
        u32(out, data.tid);
        direction(out, data.dir);
        u64(out, data.offset);
        u64(out, data.lat_ns);
        u64(out, data.call_len);
        u64(out, data.call_offset);
        str(out, data.func);
        bytes(out, data.payload);
    });
}

fn gap(out: &mut Vec<u8>, gap: &Gap) {
    framed(out, kind::GAP, |out| {
        u64(out, gap.conn);
        u64(out, gap.ts_ns);
        direction(out, gap.dir);
        u64(out, gap.offset);
        u64(out, gap.len);
        out.push(match gap.cause {
            GapCause::Unknown => 0,
            GapCause::RingFull => 1,
            GapCause::ReadFault => 2,
            GapCause::Sendfile => 3,
            GapCause::Snaplen => 4,
            GapCause::LongCall => 5,
            GapCause::EarlierFile => 6,
            GapCause::Memory => 7,
        });
    });
}

fn handshake(out: &mut Vec<u8>, handshake: &Handshake<'_>) {
    framed(out, kind::HANDSHAKE, |out| {
        u64(out, handshake.conn);
        u64(out, handshake.ts_ns);
        u32(out, handshake.tid);
        u64(out, handshake.lat_ns);
        out.push(handshake.ok.into());
        str(out, handshake.func);
        if let Some(result) = handshake.result {
            u32(out, result.cast_unsigned());
        }
    });
}

fn close(out: &mut Vec<u8>, close: &Close) {
    framed(out, kind::CLOSE, |out| {
        u64(out, close.conn);
        u64(out, close.ts_ns);
        out.push(match close.cause {
            CloseCause::Freed => 1,
            CloseCause::Exit => 2,
            CloseCause::StillOpen => 3,
            CloseCause::Shutdown => 4,
        });
        u64(out, close.sent_bytes);
        u64(out, close.received_bytes);
    });
}

fn exit(out: &mut Vec<u8>, exit: &Exit) {
    framed(out, kind::EXIT, |out| {
        u64(out, exit.ts_ns);
        u32(out, exit.pid);
    });
}

fn coverage(out: &mut Vec<u8>, coverage: &Coverage) {
    framed(out, kind::COVERAGE, |out| {
        u64(out, coverage.ts_ns);
        u32(out, coverage.pid);
        str(out, &coverage.comm);
        opt_str(out, coverage.exe.as_deref());
        opt_str(out, coverage.missed.as_deref());
        u32(out, coverage.libs.len() as u32);
        for lib in &coverage.libs {
            str(out, &lib.path);
            str(out, &lib.found);
            u32(out, lib.functions);
            u64(out, lib.bytes);
            u32(out, lib.called.len() as u32);
            lib.called.iter().for_each(|name| str(out, name));
        }
        if coverage.seen > 0 {
            u64(out, coverage.seen);
            u64(out, coverage.unrecorded);
            u32(out, coverage.connections.len() as u32);
            coverage.connections.iter().for_each(|connection| unrecorded(out, connection));
            coverage.connections.iter().for_each(|connection| out.push(connection.quic.into()));
        }
    });
}

fn unrecorded(out: &mut Vec<u8>, connection: &Unrecorded) {
    out.push(role(connection.role));
    address(out, Some(connection.local));
    address(out, Some(connection.remote));
    opt_str(out, connection.sni.as_deref());
    opt_str(out, connection.version.as_deref());
    u32(out, connection.alpn.len() as u32);
    connection.alpn.iter().for_each(|name| str(out, name));
    out.push(connection.bytes.is_some().into());
    if let Some(PerDirection { sent, received }) = connection.bytes {
        u64(out, sent);
        u64(out, received);
    }
}

fn role(role: Role) -> u8 {
    match role {
        Role::Unknown => 0,
        Role::Client => 1,
        Role::Server => 2,
    }
}

fn stats(out: &mut Vec<u8>, stats: &Stats) {
    framed(out, kind::STATS, |out| {
        u64(out, stats.ts_ns);
        out.push(stats.last.into());
        u64(out, stats.calls);
        u64(out, stats.bytes);
        u64(out, stats.dropped_events);
        u64(out, stats.lost_bytes);
        u32(out, stats.failures.len() as u32);
        for (name, count) in &stats.failures {
            str(out, name);
            u64(out, *count);
        }
    });
}

/// Appends a checkpoint: the CRC-32 of the frame's contents since the previous checkpoint.
pub(super) fn checkpoint(out: &mut Vec<u8>, crc: u32) {
    framed(out, kind::CHECKPOINT, |out| u32(out, crc));
}

/// Appends the record that marks a complete file: the total number of records.
pub(super) fn end(out: &mut Vec<u8>, records: u64) {
    framed(out, kind::END, |out| u64(out, records));
}

/// Appends kind and length, then the output of `fields`.
fn framed(out: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    fields(out);
    let len = out.len() - start - RECORD_HEAD;
    out[start + 1..start + RECORD_HEAD].copy_from_slice(&(len as u32).to_le_bytes());
}

fn direction(out: &mut Vec<u8>, dir: Direction) {
    out.push(match dir {
        Direction::Sent => 1,
        Direction::Received => 2,
    });
}

fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    u32(out, value.len() as u32);
    out.extend_from_slice(value);
}

fn str(out: &mut Vec<u8>, value: &str) {
    bytes(out, value.as_bytes());
}

fn opt_str(out: &mut Vec<u8>, value: Option<&str>) {
    out.push(value.is_some().into());
    if let Some(value) = value {
        str(out, value);
    }
}

fn address(out: &mut Vec<u8>, address: Option<SocketAddr>) {
    match address {
        None => out.push(0),
        Some(SocketAddr::V4(v4)) => {
            out.push(4);
            out.extend_from_slice(&v4.ip().octets());
            out.extend_from_slice(&v4.port().to_le_bytes());
        }
        Some(SocketAddr::V6(v6)) => {
            out.push(6);
            out.extend_from_slice(&v6.ip().octets());
            out.extend_from_slice(&v6.port().to_le_bytes());
            u32(out, v6.flowinfo());
            u32(out, v6.scope_id());
        }
    }
}
