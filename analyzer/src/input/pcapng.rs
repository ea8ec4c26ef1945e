//! pcapng of other programs.
//!
//! Blocks are read leniently: options of other programs are not needed, except for the resolution
//! of times, so that an option of wrong length is skipped, and counted like a text that is not
//! UTF-8. A packet that does not fit into its block is damage.

use std::io::Read;

use foldhash::{HashMap, HashMapExt};
use sslrec_formats::io::Error;

use super::Outcome;
use super::packets::{MAX_PACKET, Packets};
use super::window::Window;
use crate::budget::Budget;
use crate::exchange::Note;
use crate::sink::{Flow, RecordSink};

/// Type and length at the head of a block, and the length again at its end.
const HEAD: usize = 8;
const TAIL: usize = 4;

/// Maximum number of interfaces in a section.
const MAX_INTERFACES: usize = 1 << 16;

/// Types of blocks (draft-ietf-opsawg-pcapng).
mod block {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const PACKET: u32 = 2;
    pub(super) const SIMPLE_PACKET: u32 = 3;
    pub(super) const STATISTICS: u32 = 5;
    pub(super) const ENHANCED_PACKET: u32 = 6;
    pub(super) const SECRETS: u32 = 10;
}

/// The order of bytes in a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Big,
    Little,
}

impl Order {
    /// The order that the magic number of a section header has.
    fn of_magic(magic: &[u8]) -> Option<Self> {
        match magic {
            [0x1a, 0x2b, 0x3c, 0x4d] => Some(Order::Big),
            [0x4d, 0x3c, 0x2b, 0x1a] => Some(Order::Little),
            _ => None,
        }
    }

    fn u16_at(self, bytes: &[u8], at: usize) -> Option<u16> {
        let number = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Big => u16::from_be_bytes(number),
            Order::Little => u16::from_le_bytes(number),
        })
    }

    fn u32_at(self, bytes: &[u8], at: usize) -> Option<u32> {
        let number = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Big => u32::from_be_bytes(number),
            Order::Little => u32::from_le_bytes(number),
        })
    }

    fn u64_at(self, bytes: &[u8], at: usize) -> Option<u64> {
        let number = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Big => u64::from_be_bytes(number),
            Order::Little => u64::from_le_bytes(number),
        })
    }
}

/// The unit of times of an interface: a second divided by a power of ten or of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Ten(u8),
    Two(u8),
}

impl Unit {
    const MICROSECOND: Self = Unit::Ten(6);

    fn of_option(value: u8) -> Self {
        let exponent = value & 0x7f;
        if value & 0x80 == 0 { Unit::Ten(exponent) } else { Unit::Two(exponent) }
    }

    /// Returns so many units in nanoseconds. A time after the year 2554 is the last one before it.
    fn nanoseconds(self, units: u64) -> u64 {
        let units = u128::from(units);
        let ns = match self {
            Unit::Ten(exponent @ 0..=9) => units * 10u128.pow(9 - u32::from(exponent)),
            Unit::Ten(exponent) => {
                10u128.checked_pow(u32::from(exponent) - 9).map_or(0, |power| units / power)
            }
            // To the nearest, since decimal times have no exact binary form.
            Unit::Two(0) => units * 1_000_000_000,
            Unit::Two(exponent) => (((units * 1_000_000_000) >> (exponent - 1)) + 1) >> 1,
        };
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// An interface of a section.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: u32,
    snaplen: u32,
    unit: Unit,
    /// Seconds that are added to all times.
    offset_s: i64,
    /// Length of the frame check sequence of each packet.
    check_len: usize,
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> u64 {
        let ns = self.unit.nanoseconds(u64::from(high) << 32 | u64::from(low));
        let offset = self.offset_s.unsigned_abs().saturating_mul(1_000_000_000);
        if self.offset_s < 0 { ns.saturating_sub(offset) } else { ns.saturating_add(offset) }
    }
}

/// A packet in a block.
struct Packet<'a> {
    interface: u32,
    /// `None` in a simple packet block.
    time: Option<(u32, u32)>,
    bytes: &'a [u8],
    original_len: u32,
    /// Length of its frame check sequence, if the packet has its own.
    check_len: Option<usize>,
}

/// The state of reading.
struct Blocks<'s> {
    packets: Packets<'s>,
    order: Order,
    /// Interfaces of the current section.
    interfaces: Vec<Interface>,
    /// Number of the section, with which interfaces are numbered anew.
    section: u64,
    /// Drop counters of each interface; later counters replace earlier ones.
    drops: HashMap<(u64, u32), u64>,
    /// Number of options that were skipped.
    skipped_options: u64,
    /// Number of texts that are not UTF-8.
    other_texts: u64,
    /// Number of packets of interfaces that are not described.
    unknown_interface: u64,
}

/// Reads a pcapng.
pub(super) fn read(
    reader: impl Read,
    budget: &Budget,
    sink: &mut dyn RecordSink,
) -> Result<Outcome, Error> {
    let mut window = Window::new(reader);
    let mut blocks = Blocks {
        packets: Packets::new(budget, sink),
        order: Order::Little,
        interfaces: Vec::new(),
        section: 0,
        drops: HashMap::new(),
        skipped_options: 0,
        other_texts: 0,
        unknown_interface: 0,
    };
    // Without a complete first block it is no capture.
    let mut flow = match next_block(&mut window, blocks.order)? {
        Some(found) => blocks.block(&found, &mut window)?,
        None => return Err(damaged(0, "the section header is not complete")),
    };
    let mut damage = None;
    while flow.is_continue() {
        let next = next_block(&mut window, blocks.order);
        let read = next.and_then(|found| match found {
            Some(found) => blocks.block(&found, &mut window).map(Some),
            None => Ok(None),
        });
        match read {
            Ok(Some(next)) => flow = next,
            Ok(None) => break,
            Err(error) => {
                damage = Some(error);
                break;
            }
        }
    }
    Ok(blocks.finish(flow, damage))
}

/// A block, of which only the head was read.
struct Found {
    kind: u32,
    /// Length of all of it.
    len: usize,
    order: Order,
    offset: u64,
}

/// Reads the head of the next block; `None` at the end of the file.
fn next_block<R: Read>(window: &mut Window<R>, order: Order) -> Result<Option<Found>, Error> {
    let offset = window.offset();
    let head = window.peek(HEAD)?;
    if head.is_empty() {
        return Ok(None);
    }
    let incomplete = || damaged(offset, "the last block is not complete");
    let kind = order.u32_at(head, 0).filter(|_| head.len() == HEAD).ok_or_else(incomplete)?;
    // The section header's type is the same in either order, and its order follows.
    let order = if kind == block::SECTION {
        let magic = window.peek(HEAD + 4)?.get(HEAD..).ok_or_else(incomplete)?;
        if magic.len() < 4 {
            return Err(incomplete());
        }
        Order::of_magic(magic).ok_or_else(|| damaged(offset, "a section of unknown byte order"))?
    } else {
        order
    };
    let len = order.u32_at(window.peek(HEAD)?, 4).ok_or_else(incomplete)? as usize;
    if len < HEAD + TAIL || !len.is_multiple_of(4) {
        return Err(damaged(offset, format!("a block of {len} bytes")));
    }
    Ok(Some(Found { kind, len, order, offset }))
}

impl Blocks<'_> {
    /// Reads a block, and skips it.
    fn block<R: Read>(&mut self, found: &Found, window: &mut Window<R>) -> Result<Flow, Error> {
        let Found { kind, len, order, offset } = *found;
        let is_read = matches!(
            kind,
            block::SECTION
                | block::INTERFACE
                | block::PACKET
                | block::SIMPLE_PACKET
                | block::STATISTICS
                | block::ENHANCED_PACKET
                | block::SECRETS
        );
        let incomplete = || damaged(offset, "the last block is not complete");
        if !is_read {
            return match window.skip_far(len as u64)? {
                true => Ok(Flow::Continue(())),
                false => Err(incomplete()),
            };
        }
        if len > MAX_PACKET {
            return Err(damaged(offset, format!("a block of {len} bytes")));
        }
        let bytes = window.peek(len)?;
        if bytes.len() < len {
            return Err(incomplete());
        }
        if order.u32_at(bytes, len - TAIL) != Some(len as u32) {
            return Err(damaged(offset, "a block with two different lengths"));
        }
        let body = &bytes[HEAD..len - TAIL];
        self.order = order;
        let flow = self
            .body(kind, body)
            .ok_or_else(|| damaged(offset, "a block that is shorter than its contents"));
        window.skip(len);
        flow
    }

    /// Reads the contents of a block; `None` if they do not fit into it.
    fn body(&mut self, kind: u32, body: &[u8]) -> Option<Flow> {
        let order = self.order;
        match kind {
            block::SECTION => {
                self.options(body.get(16..)?, &SECTION_OPTIONS, &mut |_, _| {});
                self.interfaces.clear();
                self.section += 1;
            }
            block::INTERFACE => self.interface(body)?,
            block::ENHANCED_PACKET => {
                let len = order.u32_at(body, 12)? as usize;
                let bytes = body.get(20..)?.get(..len)?;
                let mut check_len = None;
                let options = body.get(20 + len.next_multiple_of(4)..).unwrap_or(&[]);
                self.options(options, &PACKET_OPTIONS, &mut |code, value| {
                    if code == FLAGS {
                        let flags = order.u32_at(value, 0).unwrap_or(0);
                        check_len = Some((flags >> 5 & 15) as usize).filter(|len| *len > 0);
                    }
                });
                let time = Some((order.u32_at(body, 4)?, order.u32_at(body, 8)?));
                let (interface, original_len) = (order.u32_at(body, 0)?, order.u32_at(body, 16)?);
                let packet = Packet { interface, time, bytes, original_len, check_len };
                return Some(self.packet(&packet));
            }
            block::PACKET => {
                let len = order.u32_at(body, 12)? as usize;
                let bytes = body.get(20..)?.get(..len)?;
                let time = Some((order.u32_at(body, 4)?, order.u32_at(body, 8)?));
                let interface = order.u16_at(body, 0)?.into();
                let original_len = order.u32_at(body, 16)?;
                let packet = Packet { interface, time, bytes, original_len, check_len: None };
                return Some(self.packet(&packet));
            }
            block::SIMPLE_PACKET => {
                let original_len = order.u32_at(body, 0)?;
                let snaplen = self.interfaces.first().map_or(0, |interface| interface.snaplen);
                let captured = if snaplen == 0 { original_len } else { original_len.min(snaplen) };
                let bytes = body.get(4..)?;
                let bytes = bytes.get(..captured as usize).unwrap_or(bytes);
                let (interface, time, check_len) = (0, None, None);
                let packet = Packet { interface, time, bytes, original_len, check_len };
                return Some(self.packet(&packet));
            }
            block::STATISTICS => {
                let interface = order.u32_at(body, 0)?;
                let mut dropped = 0u64;
                self.options(body.get(12..)?, &STATISTICS_OPTIONS, &mut |code, value| {
                    if matches!(code, INTERFACE_DROPS | SYSTEM_DROPS) {
                        dropped = dropped.saturating_add(order.u64_at(value, 0).unwrap_or(0));
                    }
                });
                self.drops.insert((self.section, interface), dropped);
            }
            block::SECRETS => {
                const TLS_KEY_LOG: u32 = 0x544c_534b;
                self.packets.has_tls_keys |= order.u32_at(body, 0)? == TLS_KEY_LOG;
            }
            _ => {}
        }
        Some(Flow::Continue(()))
    }

    fn interface(&mut self, body: &[u8]) -> Option<()> {
        let order = self.order;
        let mut interface = Interface {
            link: order.u16_at(body, 0)?.into(),
            snaplen: order.u32_at(body, 4)?,
            unit: Unit::MICROSECOND,
            offset_s: 0,
            check_len: 0,
        };
        self.options(body.get(8..)?, &INTERFACE_OPTIONS, &mut |code, value| match (code, value) {
            (RESOLUTION, [value]) => interface.unit = Unit::of_option(*value),
            (TIME_OFFSET, value) => {
                interface.offset_s = order.u64_at(value, 0).map_or(0, u64::cast_signed);
            }
            // In bits by the specification, in bytes by some programs.
            (CHECK_LEN, [len @ 0..8]) => interface.check_len = usize::from(*len),
            (CHECK_LEN, [bits]) => interface.check_len = usize::from(*bits / 8),
            _ => {}
        });
        if self.interfaces.len() < MAX_INTERFACES {
            self.interfaces.push(interface);
        }
        Some(())
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Flow {
        let Some(interface) = self.interfaces.get(packet.interface as usize) else {
            self.unknown_interface += 1;
            return Flow::Continue(());
        };
        let ts_ns = match packet.time {
            Some((high, low)) => interface.time(high, low),
            None => self.packets.last_ns(),
        };
        let check_len = packet.check_len.unwrap_or(interface.check_len);
        self.packets.packet(interface.link, ts_ns, packet.bytes, packet.original_len, check_len)
    }

    /// Passes the options of valid length to `found`, and counts the others. Of each option,
    /// `known` has the code and the length; `None` is a text.
    fn options(
        &mut self,
        mut rest: &[u8],
        known: &[(u16, Option<usize>)],
        found: &mut dyn FnMut(u16, &[u8]),
    ) {
        const END: u16 = 0;
        while !rest.is_empty() {
            let code = self.order.u16_at(rest, 0);
            let len = self.order.u16_at(rest, 2).map(usize::from);
            let (Some(code), Some(len)) = (code, len) else {
                self.skipped_options += 1;
                return;
            };
            if code == END {
                return;
            }
            let Some(value) = rest.get(4..4 + len) else {
                self.skipped_options += 1;
                return;
            };
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
            match known.iter().find(|(known, _)| *known == code) {
                Some((_, Some(expected))) if *expected != len => self.skipped_options += 1,
                Some((_, None)) if std::str::from_utf8(value).is_err() => self.other_texts += 1,
                Some(_) => found(code, value),
                None => {}
            }
        }
    }

    fn finish(self, flow: Flow, damage: Option<Error>) -> Outcome {
        let total = self.drops.values().fold(0u64, |total, count| total.saturating_add(*count));
        let dropped = Some(total).filter(|_| !self.drops.is_empty());
        let mut outcome = self.packets.finish(flow, dropped, damage);
        let notes = [
            (self.unknown_interface, Note::UnknownInterface(self.unknown_interface)),
            (self.skipped_options, Note::OptionsSkipped(self.skipped_options)),
            (self.other_texts, Note::TextsNotUtf8(self.other_texts)),
        ];
        outcome
            .notes
            .extend(notes.into_iter().filter(|(count, _)| *count > 0).map(|(_, note)| note));
        outcome
    }
}

/// A comment, in each kind of block.
const COMMENT: (u16, Option<usize>) = (1, None);

/// Hardware, operating system, application.
const SECTION_OPTIONS: [(u16, Option<usize>); 4] = [COMMENT, (2, None), (3, None), (4, None)];

const RESOLUTION: u16 = 9;
const CHECK_LEN: u16 = 13;
const TIME_OFFSET: u16 = 14;

/// Name, description, addresses, speed, resolution, zone, system, and so on. The filter begins with
/// its kind, and is no text alone.
const INTERFACE_OPTIONS: [(u16, Option<usize>); 15] = [
    COMMENT,
    (2, None),
    (3, None),
    (4, Some(8)),
    (5, Some(17)),
    (6, Some(6)),
    (7, Some(8)),
    (8, Some(8)),
    (RESOLUTION, Some(1)),
    (10, Some(4)),
    (12, None),
    (CHECK_LEN, Some(1)),
    (TIME_OFFSET, Some(8)),
    (15, None),
    (16, Some(8)),
];

const FLAGS: u16 = 2;

const PACKET_OPTIONS: [(u16, Option<usize>); 5] =
    [COMMENT, (FLAGS, Some(4)), (4, Some(8)), (5, Some(8)), (6, Some(4))];

const INTERFACE_DROPS: u16 = 5;
const SYSTEM_DROPS: u16 = 7;

/// Times and counters.
const STATISTICS_OPTIONS: [(u16, Option<usize>); 8] = [
    COMMENT,
    (2, Some(8)),
    (3, Some(8)),
    (4, Some(8)),
    (INTERFACE_DROPS, Some(8)),
    (6, Some(8)),
    (SYSTEM_DROPS, Some(8)),
    (8, Some(8)),
];

fn damaged(offset: u64, reason: impl Into<String>) -> Error {
    Error::Damaged { offset, reason: reason.into() }
}
