//! Decodes records: the reverse of `encode`, on bytes verified by a checksum.
//!
//! Fields that a newer writer added at the end of a record are ignored.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{FRAME_MAGIC, RECORD_HEAD, VERSION, kind};
use crate::record::{
    AddrKind, CaptureInfo, Close, CloseCause, Connection, Coverage, CoveredLib, Data, Direction,
    Exit, Gap, GapCause, Handshake, PerDirection, Process, Record, Role, Stats, Unrecorded,
};

/// The reason why bytes are invalid.
pub(super) type Reason = &'static str;

/// The head of a frame's contents.
#[derive(Debug)]
pub(super) struct FrameHead {
    /// Position of the frame in the file, from 0.
    pub(super) seq: u64,
    /// Properties of the entire capture.
    pub(super) info: CaptureInfo,
    /// Place of the records.
    pub(super) len: usize,
}

/// Reads the head of a frame's contents.
pub(super) fn frame_head(contents: &[u8]) -> Result<FrameHead, Reason> {
    let mut fields = Fields(contents);
    if fields.take(4)? != FRAME_MAGIC {
        return Err("a frame without the header of one");
    }
    if fields.u16()? != VERSION {
        return Err("a frame of another version of the format");
    }
    fields.u16()?; // reserved
    let len = fields.u32()? as usize;
    let mut fields = Fields(fields.take(len)?);
    fields.u32()?; // record count, for those who seek
    let seq = fields.u64()?;
    fields.u64()?; // first time stamp, likewise
    let mut info = CaptureInfo {
        start_ns: fields.u64()?,
        snaplen: fields.u64()?,
        tool: fields.str()?.to_owned(),
        os: fields.str()?.to_owned(),
        redacted: Vec::new(),
    };
    if !fields.0.is_empty() {
        for _ in 0..fields.u32()? {
            info.redacted.push(fields.str()?.to_owned());
        }
    }
    Ok(FrameHead { seq, info, len: 12 + len })
}

/// Reads kind and length of the record at the beginning of `bytes`, if the record is complete.
pub(super) fn record_head(bytes: &[u8]) -> Option<(u8, usize)> {
    let head = bytes.first_chunk::<RECORD_HEAD>()?;
    let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    (bytes.len() - RECORD_HEAD >= len).then_some((head[0], len))
}

/// Decodes the fields of a record; returns `None` for unknown kinds and for records that are not
/// part of the capture.
pub(super) fn record(kind: u8, fields: &[u8]) -> Result<Option<Record<'_>>, Reason> {
    let fields = Fields(fields);
    Ok(Some(match kind {
        kind::PROCESS => Record::Process(process(fields)?),
        kind::CONNECTION => Record::Connection(connection(fields)?),
        kind::DATA => Record::Data(data(fields)?),
        kind::GAP => Record::Gap(gap(fields)?),
        kind::HANDSHAKE => Record::Handshake(handshake(fields)?),
        kind::CLOSE => Record::Close(close(fields)?),
        kind::EXIT => Record::Exit(exit(fields)?),
        kind::COVERAGE => Record::Coverage(coverage(fields)?),
        kind::STATS => Record::Stats(stats(fields)?),
        _ => return Ok(None),
    }))
}

/// Reads the checksum of a checkpoint.
pub(super) fn checkpoint(fields: &[u8]) -> Result<u32, Reason> {
    Fields(fields).u32()
}

fn process(mut fields: Fields<'_>) -> Result<Process, Reason> {
    Ok(Process {
        pid: fields.u32()?,
        ts_ns: fields.u64()?,
        uid: fields.u32()?,
        comm: fields.str()?.to_owned(),
        exe: fields.opt_str()?,
    })
}

fn connection(mut fields: Fields<'_>) -> Result<Connection, Reason> {
    Ok(Connection {
        conn: fields.u64()?,
        ts_ns: fields.u64()?,
        pid: fields.u32()?,
        role: fields.role()?,
        addr: match fields.u8()? {
            1 => AddrKind::Exact,
            2 => AddrKind::Inferred,
            _ => AddrKind::Unknown,
        },
        local: fields.address()?,
        remote: fields.address()?,
        lib: fields.opt_str()?,
        sni: fields.opt_str()?,
        alpn: fields.opt_str()?,
        joined: fields.bool()?,
        version: fields.if_there(Fields::opt_str)?.flatten(),
        cipher: fields.if_there(Fields::opt_str)?.flatten(),
    })
}

fn data(mut fields: Fields<'_>) -> Result<Data<'_>, Reason> {
    Ok(Data {
        conn: fields.u64()?,
        ts_ns: fields.u64()?,
        tid: fields.u32()?,
        dir: fields.direction()?,
        offset: fields.u64()?,
        lat_ns: fields.u64()?,
        call_len: fields.u64()?,
        call_offset: fields.u64()?,
        func: fields.str()?,
        payload: fields.bytes()?,
    })
}

fn gap(mut fields: Fields<'_>) -> Result<Gap, Reason> {
    Ok(Gap {
        conn: fields.u64()?,
        ts_ns: fields.u64()?,
        dir: fields.direction()?,
        offset: fields.u64()?,
        len: fields.u64()?,
        cause: match fields.u8()? {
            1 => GapCause::RingFull,
            2 => GapCause::ReadFault,
            3 => GapCause::Sendfile,
            4 => GapCause::Snaplen,
            5 => GapCause::LongCall,
            6 => GapCause::EarlierFile,
            7 => GapCause::Memory,
            _ => GapCause::Unknown,
        },
    })
}

fn handshake(mut fields: Fields<'_>) -> Result<Handshake<'_>, Reason> {
    Ok(Handshake {
        conn: fields.u64()?,
        ts_ns: fields.u64()?,
        tid: fields.u32()?,
        lat_ns: fields.u64()?,
        ok: fields.bool()?,
        func: fields.str()?,
        result: fields.if_there(Fields::u32)?.map(u32::cast_signed),
    })
}

fn close(mut fields: Fields<'_>) -> Result<Close, Reason> {
    Ok(Close {
        conn: fields.u64()?,
        ts_ns: fields.u64()?,
        cause: match fields.u8()? {
            1 => CloseCause::Freed,
            2 => CloseCause::Exit,
            3 => CloseCause::StillOpen,
            4 => CloseCause::Shutdown,
            _ => return Err("an unknown cause of a close"),
        },
        sent_bytes: fields.u64()?,
        received_bytes: fields.u64()?,
    })
}

fn exit(mut fields: Fields<'_>) -> Result<Exit, Reason> {
    Ok(Exit { ts_ns: fields.u64()?, pid: fields.u32()? })
}

fn coverage(mut fields: Fields<'_>) -> Result<Coverage, Reason> {
    let mut coverage = Coverage {
        ts_ns: fields.u64()?,
        pid: fields.u32()?,
        comm: fields.str()?.to_owned(),
        exe: fields.opt_str()?,
        missed: fields.opt_str()?,
        ..Coverage::default()
    };
    for _ in 0..fields.u32()? {
        let mut lib = CoveredLib {
            path: fields.str()?.to_owned(),
            found: fields.str()?.to_owned(),
            functions: fields.u32()?,
            bytes: fields.u64()?,
            called: Vec::new(),
        };
        for _ in 0..fields.u32()? {
            lib.called.push(fields.str()?.to_owned());
        }
        coverage.libs.push(lib);
    }
    if !fields.0.is_empty() {
        (coverage.seen, coverage.unrecorded) = (fields.u64()?, fields.u64()?);
        for _ in 0..fields.u32()? {
            coverage.connections.push(unrecorded(&mut fields)?);
        }
        if !fields.0.is_empty() {
            for connection in &mut coverage.connections {
                connection.quic = fields.bool()?;
            }
        }
    }
    Ok(coverage)
}

fn unrecorded(fields: &mut Fields<'_>) -> Result<Unrecorded, Reason> {
    const NO_ADDRESS: Reason = "an unrecorded connection without an address";
    let mut connection = Unrecorded {
        role: fields.role()?,
        local: fields.address()?.ok_or(NO_ADDRESS)?,
        remote: fields.address()?.ok_or(NO_ADDRESS)?,
        sni: fields.opt_str()?,
        version: fields.opt_str()?,
        alpn: Vec::new(),
        bytes: None,
        quic: false,
    };
    for _ in 0..fields.u32()? {
        connection.alpn.push(fields.str()?.to_owned());
    }
    if fields.bool()? {
        let (sent, received) = (fields.u64()?, fields.u64()?);
        connection.bytes = Some(PerDirection { sent, received });
    }
    Ok(connection)
}

fn stats(mut fields: Fields<'_>) -> Result<Stats, Reason> {
    let mut stats = Stats {
        ts_ns: fields.u64()?,
        last: fields.bool()?,
        calls: fields.u64()?,
        bytes: fields.u64()?,
        dropped_events: fields.u64()?,
        lost_bytes: fields.u64()?,
        failures: Vec::new(),
    };
    for _ in 0..fields.u32()? {
        stats.failures.push((fields.str()?.to_owned(), fields.u64()?));
    }
    Ok(stats)
}

/// The unread fields of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) =
            self.0.split_at_checked(len).ok_or("a record shorter than its fields")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, Reason> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Reason> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Reason> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Reason> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn bool(&mut self) -> Result<bool, Reason> {
        Ok(self.u8()? != 0)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn str(&mut self) -> Result<&'a str, Reason> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "text that is not UTF-8")
    }

    fn opt_str(&mut self) -> Result<Option<String>, Reason> {
        Ok(if self.bool()? { Some(self.str()?.to_owned()) } else { None })
    }

    /// Reads a field that may be absent at the end of its record.
    fn if_there<T>(
        &mut self,
        field: impl FnOnce(&mut Self) -> Result<T, Reason>,
    ) -> Result<Option<T>, Reason> {
        if self.0.is_empty() { Ok(None) } else { field(self).map(Some) }
    }

    fn role(&mut self) -> Result<Role, Reason> {
        Ok(match self.u8()? {
            1 => Role::Client,
            2 => Role::Server,
            _ => Role::Unknown,
        })
    }

    fn direction(&mut self) -> Result<Direction, Reason> {
        match self.u8()? {
            1 => Ok(Direction::Sent),
            2 => Ok(Direction::Received),
            _ => Err("an unknown direction"),
        }
    }

    fn address(&mut self) -> Result<Option<SocketAddr>, Reason> {
        match self.u8()? {
            0 => Ok(None),
            4 => {
                let ip = Ipv4Addr::from(self.array::<4>()?);
                Ok(Some(SocketAddrV4::new(ip, self.u16()?).into()))
            }
            6 => {
                let ip = Ipv6Addr::from(self.array::<16>()?);
                let port = self.u16()?;
                Ok(Some(SocketAddrV6::new(ip, port, self.u32()?, self.u32()?).into()))
            }
            _ => Err("an unknown family of addresses"),
        }
    }
}
