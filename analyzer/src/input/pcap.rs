//! Files of libpcap in all their variants, and of Sun's snoop.
//!
//! Patched versions of libpcap wrote longer packet headers. One has a magic number of its own, the
//! others are recognised by the first packets: the header whose length leads to the next plausible
//! header.

use std::io::{self, Read};

use sslrec_formats::io::Error;

use super::Outcome;
use super::encapsulation::frame_check_sequence;
use super::packets::{MAX_PACKET, Packets};
use super::window::Window;
use crate::budget::Budget;
use crate::sink::{Flow, RecordSink};

/// Length of the header of a pcap.
const HEADER: usize = 24;

/// Length of the header of a snoop file, and of each of its packets.
const SNOOP_HEADER: usize = 16;
const SNOOP_PACKET: usize = 24;

/// The first bytes of a snoop file.
const SNOOP: &[u8] = b"snoop\0\0\0";

/// Length of the part of a packet's header that all variants have.
const COMMON: usize = 16;

/// The order of bytes in numbers.
#[derive(Debug, Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        let Some(number) = bytes.get(at..).and_then(<[u8]>::first_chunk) else { return 0 };
        match self {
            Order::Big => u32::from_be_bytes(*number),
            Order::Little => u32::from_le_bytes(*number),
        }
    }
}

/// A variant of the format.
#[derive(Debug, Clone, Copy)]
struct Format {
    order: Order,
    /// Nanoseconds of a unit of the second part of a time.
    unit_ns: u32,
    /// Length of the header of a packet. It begins with four numbers that are always the same.
    packet_header: usize,
}

/// Returns whether a file that begins with these bytes can be read.
pub(super) fn is_pcap(head: &[u8]) -> bool {
    variants(head).is_some() || (head.starts_with(SNOOP) && head.len() >= SNOOP_HEADER)
}

/// Returns the byte order, the unit of time, and the possible lengths of a packet's header.
fn variants(head: &[u8]) -> Option<(Order, u32, &'static [usize])> {
    /// libpcap, Red Hat 6.1, Nokia.
    const STANDARD: &[usize] = &[16, 24, 20];
    /// Alexey Kuznetsov's patch, and its version in SuSE 6.3.
    const MODIFIED: &[usize] = &[24, 28];
    let magic = u32::from_be_bytes(*head.first_chunk()?);
    Some(match magic {
        0xa1b2_c3d4 => (Order::Big, 1000, STANDARD),
        0xd4c3_b2a1 => (Order::Little, 1000, STANDARD),
        0xa1b2_3c4d => (Order::Big, 1, &[16]),
        0x4d3c_b2a1 => (Order::Little, 1, &[16]),
        0xa1b2_cd34 => (Order::Big, 1000, MODIFIED),
        0x34cd_b2a1 => (Order::Little, 1000, MODIFIED),
        _ => return None,
    })
}

/// Reads a pcap or a snoop file.
pub(super) fn read(
    reader: impl Read,
    budget: &Budget,
    sink: &mut dyn RecordSink,
) -> Result<Outcome, Error> {
    let mut window = Window::new(reader);
    let packets = Packets::new(budget, sink);
    if window.peek(SNOOP.len())? == SNOOP {
        return read_snoop(window, packets);
    }
    let head = window.peek(HEADER)?;
    let Some((order, unit_ns, lens)) = variants(head).filter(|_| head.len() == HEADER) else {
        return Err(damaged(0, "the header is not complete"));
    };
    let (check_len, link) = frame_check_sequence(order.u32_at(head, 20));
    window.skip(HEADER);
    let packet_header = packet_header(&mut window, lens, order, unit_ns)?;
    let format = Format { order, unit_ns, packet_header };
    Ok(read_packets(window, format, link, check_len, packets))
}

/// Returns the length with which the header of the second packet is plausible, or the file ends
/// after the first; otherwise the first of the possible lengths.
fn packet_header<R: Read>(
    window: &mut Window<R>,
    lens: &[usize],
    order: Order,
    unit_ns: u32,
) -> io::Result<usize> {
    let first = window.peek(COMMON)?.to_vec();
    let captured = order.u32_at(&first, 8) as usize;
    if lens.len() > 1 && is_plausible(&first, &first, order, unit_ns) {
        for len in lens {
            let sample = window.peek(len + captured + COMMON)?;
            let next = sample.get(len + captured..);
            if next
                .is_some_and(|next| next.is_empty() || is_plausible(next, &first, order, unit_ns))
            {
                return Ok(*len);
            }
        }
    }
    Ok(lens[0])
}

/// Returns whether these bytes can be the header of a packet in the same file as `first`.
fn is_plausible(head: &[u8], first: &[u8], order: Order, unit_ns: u32) -> bool {
    const MAX_SNAPLEN: u32 = 256 << 10;
    const MAX_LEN: u32 = 1 << 20;
    const MAX_DISTANCE_S: u32 = 10_000_000;
    let field = |at| order.u32_at(head, at);
    head.len() == COMMON
        && u64::from(field(4)) * u64::from(unit_ns) < 1_000_000_000
        && field(8) <= MAX_SNAPLEN
        && field(12) <= MAX_LEN
        && field(0).abs_diff(order.u32_at(first, 0)) < MAX_DISTANCE_S
}

fn read_packets<R: Read>(
    mut window: Window<R>,
    format: Format,
    link: u32,
    check_len: usize,
    mut packets: Packets<'_>,
) -> Outcome {
    let mut flow = Flow::Continue(());
    while flow.is_continue() {
        match next_packet(&mut window, format) {
            Ok(None) => break,
            Ok(Some((ts_ns, len, original_len))) => {
                let bytes = match window.peek(format.packet_header + len) {
                    Ok(bytes) => &bytes[format.packet_header..],
                    Err(error) => return packets.finish(flow, None, Some(error.into())),
                };
                flow = packets.packet(link, ts_ns, bytes, original_len, check_len);
                window.skip(format.packet_header + len);
            }
            Err(damage) => return packets.finish(flow, None, Some(damage)),
        }
    }
    packets.finish(flow, None, None)
}

/// Returns the time of the next packet, its length in the file, and its original length, once it is
/// in the window.
fn next_packet<R: Read>(
    window: &mut Window<R>,
    format: Format,
) -> Result<Option<(u64, usize, u32)>, Error> {
    let offset = window.offset();
    let head = window.peek(format.packet_header)?;
    if head.is_empty() {
        return Ok(None);
    }
    if head.len() < format.packet_header {
        return Err(damaged(offset, "the last packet is not complete"));
    }
    let field = |at| format.order.u32_at(head, at);
    let fraction_ns = u64::from(field(4)) * u64::from(format.unit_ns);
    let ts_ns = u64::from(field(0)) * 1_000_000_000 + fraction_ns;
    let (len, original_len) = (field(8) as usize, field(12));
    complete(window, format.packet_header + len, offset)?;
    Ok(Some((ts_ns, len, original_len)))
}

/// Checks that a packet is not too long, and brings all of it into the window.
fn complete<R: Read>(window: &mut Window<R>, len: usize, offset: u64) -> Result<(), Error> {
    if len > MAX_PACKET {
        return Err(damaged(offset, &format!("a packet of {len} bytes")));
    }
    if window.peek(len)?.len() < len {
        return Err(damaged(offset, "the last packet is not complete"));
    }
    Ok(())
}

/// Reads a snoop file (RFC 1761).
fn read_snoop<R: Read>(mut window: Window<R>, mut packets: Packets<'_>) -> Result<Outcome, Error> {
    let head = window.peek(SNOOP_HEADER)?;
    if head.len() < SNOOP_HEADER {
        return Err(damaged(0, "the header is not complete"));
    }
    let (version, media) = (Order::Big.u32_at(head, 8), Order::Big.u32_at(head, 12));
    if version != 2 {
        let reason = format!("it is a snoop file of version {version}");
        return Err(Error::Foreign { expected: super::EXPECTED, reason });
    }
    let link = snoop_link(media);
    window.skip(SNOOP_HEADER);
    let mut flow = Flow::Continue(());
    while flow.is_continue() {
        match next_snoop_packet(&mut window) {
            Ok(None) => break,
            Ok(Some(packet)) => {
                let bytes = match window.peek(packet.record_len) {
                    Ok(bytes) => &bytes[SNOOP_PACKET..SNOOP_PACKET + packet.len],
                    Err(error) => return Ok(packets.finish(flow, None, Some(error.into()))),
                };
                flow = packets.packet(link, packet.ts_ns, bytes, packet.original_len, 0);
                window.skip(packet.record_len);
            }
            Err(damage) => return Ok(packets.finish(flow, None, Some(damage))),
        }
    }
    Ok(packets.finish(flow, None, None))
}

/// Returns the link type of a datalink type of snoop; a number that no link type has for others.
fn snoop_link(media: u32) -> u32 {
    match media {
        0 | 4 => 1,
        2 => 6,
        8 => 10,
        18 => 123,
        other => 0x1_0000 | other,
    }
}

struct SnoopPacket {
    ts_ns: u64,
    len: usize,
    original_len: u32,
    /// Length of header, packet and padding.
    record_len: usize,
}

fn next_snoop_packet<R: Read>(window: &mut Window<R>) -> Result<Option<SnoopPacket>, Error> {
    let offset = window.offset();
    let head = window.peek(SNOOP_PACKET)?;
    if head.is_empty() {
        return Ok(None);
    }
    if head.len() < SNOOP_PACKET {
        return Err(damaged(offset, "the last packet is not complete"));
    }
    let field = |at| Order::Big.u32_at(head, at);
    let fraction_ns = u64::from(field(20)) * 1000;
    let packet = SnoopPacket {
        ts_ns: u64::from(field(16)) * 1_000_000_000 + fraction_ns,
        len: field(4) as usize,
        original_len: field(0),
        record_len: field(8) as usize,
    };
    if packet.record_len < SNOOP_PACKET + packet.len {
        return Err(damaged(offset, "a packet that is longer than its record"));
    }
    complete(window, packet.record_len, offset)?;
    Ok(Some(packet))
}

fn damaged(offset: u64, reason: &str) -> Error {
    Error::Damaged { offset, reason: reason.into() }
}

/// Returns the name of a capture format that is recognised and not read.
pub(super) fn other_format(head: &[u8]) -> Option<&'static str> {
    const NAMES: [(&[u8], &str); 12] = [
        (b"btsnoop\0", "a Bluetooth capture (btsnoop)"),
        (b"RTSS", "a capture of Microsoft NetMon 1"),
        (b"GMBU", "a capture of Microsoft NetMon 2"),
        (b"TRSNIFF data    \x1a", "a capture of Sniffer (ngsniffer)"),
        (b"XCP\0", "a capture of Sniffer for Windows (NetXray)"),
        (b"\x05VNF", "a capture of Visual Networks"),
        (b"ObserverPktBuffe", "a capture of Viavi Observer"),
        (b"\xaa\xaa\xaa\xaa", "a capture of InfoVista 5View"),
        (b"TR\0", "an HP-UX nettl trace"),
        (b"+---------+-------------", "a K12 text file"),
        (b"\x01\x10\x4c\0\x01\x05Trace", "a capture of Novell LANalyzer"),
        (b"EyeSDN", "an EyeSDN trace"),
    ];
    NAMES.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name)
}
