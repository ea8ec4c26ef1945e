//! Lays out blocks and passes them to the output.
//!
//! The crate `pcap-file` writes the blocks that describe a capture. Packets, which are many, are
//! laid out here, since their options would otherwise cost an allocation each.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::name_resolution::{
    Ipv4Record, Ipv6Record, NameResolutionBlock, Record as NameRecord,
};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::blocks::{Block, ENHANCED_PACKET_BLOCK};
use pcap_file::pcapng::{PcapNgWriteError, PcapNgWriter};
use pcap_file::{DataLink, Endianness};

use super::comment::pairs::field;
use super::segment::{Headers, Segment};
use crate::io::Error;
use crate::record::{CaptureInfo, Direction};

/// Number of buffered bytes at which blocks are passed to the output.
const BUFFER_LEN: usize = 256 << 10;

/// The longest comment option; longer comments are spread over several options. An option's length
/// has 16 bits.
const COMMENT_LIMIT: usize = 60_000;

const OPT_END: u16 = 0;
const OPT_COMMENT: u16 = 1;
const EPB_FLAGS: u16 = 2;
const EPB_PROCESSID_THREADID: u16 = 8;

/// Direction in `epb_flags`.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// The current file.
pub(super) struct Output<W> {
    out: W,
    blocks: PcapNgWriter<Vec<u8>>,
    /// Interfaces whose statistics are not written yet.
    interfaces: BTreeMap<u32, Interface>,
    interface_count: u32,
    os: String,
    start_ns: u64,
    bytes_written: u64,
    failed: bool,
}

/// The contents of an interface's statistics.
#[derive(Debug, Default, Clone, Copy)]
struct Interface {
    received: u64,
    dropped: u64,
}

/// A packet and its description.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) interface: u32,
    pub(super) ts_ns: u64,
    pub(super) pid: u32,
    /// 0 if unknown.
    pub(super) tid: u32,
    pub(super) dir: Direction,
    /// May be empty.
    pub(super) comment: &'a str,
}

impl<W: Write> Output<W> {
    /// Begins a file with its section header.
    pub(super) fn new(out: W, info: &CaptureInfo, comment: &str) -> Result<Self, Error> {
        Ok(Self {
            out,
            blocks: section(info, comment)?,
            interfaces: BTreeMap::new(),
            interface_count: 0,
            os: info.os.clone(),
            start_ns: info.start_ns,
            bytes_written: 0,
            failed: false,
        })
    }

    /// Begins another file of the same recording; the previous file was flushed.
    pub(super) fn begin(&mut self, info: &CaptureInfo, comment: &str) -> Result<(), Error> {
        self.blocks = section(info, comment)?;
        self.interfaces.clear();
        self.interface_count = 0;
        self.bytes_written = 0;
        Ok(())
    }

    /// Returns the number of bytes of the file so far.
    pub(super) fn len(&self) -> u64 {
        self.bytes_written + self.blocks.get_ref().len() as u64
    }

    pub(super) fn out(&mut self) -> &mut W {
        &mut self.out
    }

    pub(super) fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }

    pub(super) fn has_interface(&self) -> bool {
        self.interface_count > 0
    }

    #[cfg(test)]
    pub(super) fn open_interfaces(&self) -> usize {
        self.interfaces.len()
    }

    /// Adds an interface and returns its number.
    pub(super) fn interface(
        &mut self,
        name: &str,
        description: &str,
        comment: &str,
    ) -> Result<u32, Error> {
        let mut block = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
        block.options = vec![
            InterfaceDescriptionOption::Common(CommonOption::Comment(comment.into())),
            InterfaceDescriptionOption::IfName(field(name)),
            InterfaceDescriptionOption::IfDescription(field(description)),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
            InterfaceDescriptionOption::IfOs(field(&self.os)),
        ];
        let block = Block::InterfaceDescription(block).into_owned();
        self.blocks.write_block(&block).map_err(refused)?;
        let number = self.interface_count;
        self.interfaces.insert(number, Interface::default());
        self.interface_count += 1;
        Ok(number)
    }

    /// Ends an interface: writes its statistics, and removes it. The first interface must not be
    /// ended, since the statistics of the capture belong to it.
    pub(super) fn end_interface(&mut self, interface: u32, ts_ns: u64) -> Result<(), Error> {
        if interface == 0 {
            return Ok(());
        }
        self.statistics(interface, ts_ns, None, "")?;
        self.interfaces.remove(&interface);
        Ok(())
    }

    /// Ends all interfaces but the first.
    pub(super) fn end_interfaces(&mut self, ts_ns: u64) -> Result<(), Error> {
        while let Some((&interface, _)) = self.interfaces.range(1..).next() {
            self.end_interface(interface, ts_ns)?;
            self.drain_if_full()?;
        }
        Ok(())
    }

    /// Adds the statistics of an interface up to now.
    pub(super) fn statistics(
        &mut self,
        interface: u32,
        ts_ns: u64,
        os_dropped: Option<u64>,
        comment: &str,
    ) -> Result<(), Error> {
        let Some(counted) = self.interfaces.get(&interface) else { return Ok(()) };
        let mut options = vec![
            InterfaceStatisticsOption::IsbStartTime(Duration::from_nanos(self.start_ns)),
            InterfaceStatisticsOption::IsbEndTime(Duration::from_nanos(ts_ns)),
            InterfaceStatisticsOption::IsbIfRecv(counted.received),
            InterfaceStatisticsOption::IsbIfDrop(counted.dropped),
        ];
        options.extend(os_dropped.map(InterfaceStatisticsOption::IsbOsDrop));
        if !comment.is_empty() {
            options.extend(
                split_comment(comment).map(|part| {
                    InterfaceStatisticsOption::Common(CommonOption::Comment(part.into()))
                }),
            );
        }
        let timestamp = Duration::from_nanos(ts_ns);
        let block = InterfaceStatisticsBlock { interface_id: interface, timestamp, options };
        self.blocks.write_pcapng_block(block).map(drop).map_err(refused)
    }

    /// Adds a name for an address.
    pub(super) fn name(&mut self, address: IpAddr, name: &str) -> Result<(), Error> {
        let names = vec![Cow::Borrowed(name)];
        let record = match address {
            IpAddr::V4(v4) => NameRecord::Ipv4(Ipv4Record { ip_addr: v4, names }),
            IpAddr::V6(v6) => NameRecord::Ipv6(Ipv6Record { ip_addr: v6, names }),
        };
        let block = NameResolutionBlock { records: vec![record], options: Vec::new() };
        self.blocks.write_pcapng_block(block).map(drop).map_err(refused)
    }

    /// Counts data that the program sent or received, or that is missing.
    pub(super) fn count(&mut self, interface: u32, received: u64, dropped: u64) {
        if let Some(counted) = self.interfaces.get_mut(&interface) {
            counted.received += received;
            counted.dropped += dropped;
        }
    }

    /// Adds a packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, headers: &Headers, segment: &Segment<'_>) {
        let out = self.blocks.get_mut();
        let start = out.len();
        let packet_len = headers.packet_len(segment) as u32;
        put_u32(out, ENHANCED_PACKET_BLOCK);
        put_u32(out, 0); // length of the block, below
        put_u32(out, packet.interface);
        put_u32(out, (packet.ts_ns >> 32) as u32);
        put_u32(out, packet.ts_ns as u32);
        put_u32(out, packet_len);
        put_u32(out, packet_len);
        headers.append(out, segment);
        pad(out);
        for part in split_comment(packet.comment).filter(|part| !part.is_empty()) {
            put_option(out, OPT_COMMENT, &[part.as_bytes()]);
        }
        let flags = match packet.dir {
            Direction::Sent => OUTBOUND,
            Direction::Received => INBOUND,
        };
        put_option(out, EPB_FLAGS, &[&flags.to_le_bytes()]);
        let ids = [&packet.pid.to_le_bytes()[..], &packet.tid.to_le_bytes()];
        put_option(out, EPB_PROCESSID_THREADID, &ids);
        put_option(out, OPT_END, &[]);
        let len = (out.len() - start + 4) as u32;
        put_u32(out, len);
        out[start + 4..start + 8].copy_from_slice(&len.to_le_bytes());
    }

    /// Passes the buffered blocks to the output, if they are many.
    pub(super) fn drain_if_full(&mut self) -> Result<(), Error> {
        if self.blocks.get_ref().len() >= BUFFER_LEN { self.drain() } else { Ok(()) }
    }

    /// Passes all blocks to the output.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.drain()?;
        Ok(self.out.flush()?)
    }

    fn drain(&mut self) -> Result<(), Error> {
        let blocks = self.blocks.get_mut();
        if self.failed {
            return Err(io::Error::other("writing the pcapng failed before").into());
        }
        // After a failure the file may end inside a block, and nothing may follow.
        self.failed = true;
        self.out.write_all(blocks)?;
        self.failed = false;
        self.bytes_written += blocks.len() as u64;
        blocks.clear();
        Ok(())
    }
}

/// Returns blocks that begin with a section header.
fn section(info: &CaptureInfo, comment: &str) -> Result<PcapNgWriter<Vec<u8>>, Error> {
    let mut options = vec![SectionHeaderOption::Common(CommonOption::Comment(comment.into()))];
    // `Linux 6.12.1 x86_64`: the machine is the last of three words, if there are three.
    if let [_, _, .., machine] = info.os.split(' ').collect::<Vec<_>>()[..] {
        options.push(SectionHeaderOption::Hardware(field(machine)));
    }
    options.push(SectionHeaderOption::OS(field(&info.os)));
    options.push(SectionHeaderOption::UserApplication(field(&info.tool)));
    let section =
        SectionHeaderBlock { endianness: Endianness::Little, options, ..Default::default() };
    PcapNgWriter::with_section_header(Vec::new(), section).map_err(refused)
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// Pads to a multiple of four bytes, where blocks begin.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

fn put_option(out: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(len as u16).to_le_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    pad(out);
}

/// Splits a comment between pairs into parts that fit into an option.
fn split_comment(comment: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(comment);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        if text.len() <= COMMENT_LIMIT {
            return Some(text);
        }
        // Spaces are single bytes, so a space is the boundary of a character. No pair is longer
        // than `COMMENT_LIMIT`: texts are truncated far below.
        let cut = text.as_bytes()[..COMMENT_LIMIT].iter().rposition(|byte| *byte == b' ')?;
        rest = Some(&text[cut + 1..]);
        Some(&text[..cut])
    })
}

fn refused(error: PcapNgWriteError) -> Error {
    Error::Io(io::Error::other(error))
}
