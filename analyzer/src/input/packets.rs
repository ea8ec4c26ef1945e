//! Packet captures of other programs: pcap and pcapng.

use std::collections::HashMap;
use std::io::{self, Read};
use std::time::Duration;

use pcap_file::pcap::{PcapReadError, PcapReader};
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;
use pcap_file::pcapng::{Block, PcapNgReadError, PcapNgReader};
use sslrec_formats::io::Error;
use sslrec_formats::record::{Record, Stats};

use super::Outcome;
use super::encapsulation::{
    Found, FragmentsLost, Peeler, Place, WIRESHARK_UPPER_PDU, frame_check_sequence, of_link_type,
};
use super::exported::{self, Exported, Refused};
use crate::budget::Budget;
use crate::exchange::Note;
use crate::sink::{Flow, RecordSink};
use crate::tcp::Reassembler;

/// Maximum length of a packet or block. Snaplens end at 256 KiB; blocks with secrets or names can
/// be longer.
const BUFFER: usize = 16 << 20;

/// The longest payload that Wireshark reassembles; a payload with a larger original length is
/// damaged.
const MAX_PDU: usize = 16 << 20;

/// Maximum number of unknown link types that are named.
const MAX_LINKS: usize = 8;

/// Length of the header of a pcap, and of the header of each packet.
const PCAP_HEADER: u64 = 24;
const PCAP_PACKET_HEADER: u64 = 16;

/// Passes packets on and counts unusable packets.
struct Packets<'s> {
    tcp: Reassembler,
    exported: Exported,
    peeler: Peeler,
    sink: &'s mut dyn RecordSink,
    packets: u64,
    segments: u64,
    cut: u64,
    too_deep: u64,
    other: u64,
    /// Number of packets of each unknown link type.
    links: HashMap<u32, u64>,
    first_ns: Option<u64>,
    last_ns: u64,
}

impl<'s> Packets<'s> {
    fn new(budget: &Budget, sink: &'s mut dyn RecordSink) -> Self {
        Self {
            tcp: Reassembler::within(budget),
            exported: Exported::default(),
            peeler: Peeler::default(),
            sink,
            packets: 0,
            segments: 0,
            cut: 0,
            too_deep: 0,
            other: 0,
            links: HashMap::new(),
            first_ns: None,
            last_ns: 0,
        }
    }

    fn packet(&mut self, link: u32, ts_ns: u64, bytes: &[u8], original_len: u32) -> Flow {
        self.packets += 1;
        self.first_ns.get_or_insert(ts_ns);
        self.last_ns = self.last_ns.max(ts_ns);
        let cut = (original_len as usize).saturating_sub(bytes.len());
        if link == WIRESHARK_UPPER_PDU {
            return self.pdu(ts_ns, bytes, cut);
        }
        let Some(layer) = of_link_type(link) else {
            *self.links.entry(link).or_default() += 1;
            return Flow::Continue(());
        };
        let Self { peeler, sink, tcp, segments, cut: truncated, too_deep, other, .. } = self;
        peeler.peel(Place::new(ts_ns, layer, bytes, cut), &mut |found| {
            match found {
                Found::Tcp(segment) => {
                    *segments += 1;
                    if !sink.segment(&segment)? {
                        tcp.segment(&segment, *sink)?;
                    }
                }
                Found::Fragment => {}
                Found::Cut => *truncated += 1,
                Found::TooDeep => *too_deep += 1,
                Found::Other => *other += 1,
            }
            Flow::Continue(())
        })
    }

    fn pdu(&mut self, ts_ns: u64, bytes: &[u8], missing: usize) -> Flow {
        match exported::parse(bytes) {
            Ok(pdu) => {
                self.segments += 1;
                let missing = missing.min(MAX_PDU);
                self.exported.pdu(ts_ns, &pdu, missing, &mut |segment| {
                    self.tcp.segment(segment, self.sink)
                })?;
            }
            Err(Refused::Cut) => self.cut += 1,
            Err(Refused::Other) => self.other += 1,
        }
        Flow::Continue(())
    }

    /// Passes on the held data, and the counters.
    fn flush(&mut self, dropped: Option<u64>) -> Flow {
        self.exported.finish(self.last_ns, &mut |segment| self.tcp.segment(segment, self.sink))?;
        self.tcp.finish(self.sink)?;
        if let Some(dropped_events) = dropped {
            let stats =
                Stats { ts_ns: self.last_ns, last: true, dropped_events, ..Stats::default() };
            self.sink.record(&Record::Stats(stats))?;
        }
        Flow::Continue(())
    }

    fn finish(mut self, flow: Flow, dropped: Option<u64>, damage: Option<Error>) -> Outcome {
        let stop = match flow {
            Flow::Continue(()) => self.flush(dropped).break_value(),
            Flow::Break(stop) => Some(stop),
        };
        let no_tcp = if self.segments == 0 { self.other } else { 0 };
        let mut links: Vec<_> = self.links.into_iter().collect();
        links.sort_unstable();
        let further = links.get(MAX_LINKS..).unwrap_or(&[]).iter().map(|(_, count)| count).sum();
        let links = links.into_iter().take(MAX_LINKS);
        let FragmentsLost { incomplete, contradictory, given_up } = self.peeler.fragments_lost();
        let notes = [
            (incomplete, Note::IpFragments(incomplete)),
            (contradictory, Note::FragmentsDiffer(contradictory)),
            (given_up, Note::FragmentsGivenUp(given_up)),
            (self.too_deep, Note::TooManyLayers(self.too_deep)),
            (self.cut, Note::TruncatedPackets(self.cut)),
            (no_tcp, Note::NoTcp(no_tcp)),
        ]
        .into_iter()
        .chain(links.map(|(link, packets)| (packets, Note::LinkType(packets, link))))
        .chain([(further, Note::FurtherLinkTypes(further))]);
        let notes = notes.filter(|(count, _)| *count > 0).map(|(_, note)| note).collect();
        Outcome { start_ns: self.first_ns.unwrap_or(0), notes, damage, unclosed: false, stop }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads a pcap.
pub(super) fn read_pcap(
    reader: impl Read,
    budget: &Budget,
    sink: &mut dyn RecordSink,
) -> Result<Outcome, Error> {
    let mut reader = PcapReader::with_capacity(reader, BUFFER).map_err(|error| match error {
        PcapReadError::Io(error) => at_end(error, 0, "the header is not complete"),
        error => damaged(0, error),
    })?;
    let header = reader.header();
    let (check_len, link) = frame_check_sequence(u32::from(header.datalink));
    let unit_ns = match header.ts_resolution {
        pcap_file::pcap::PcapTsResolution::MicroSecond => 1000,
        pcap_file::pcap::PcapTsResolution::NanoSecond => 1,
    };
    let mut packets = Packets::new(budget, sink);
    let mut offset = PCAP_HEADER;
    let mut damage = None;
    let mut flow = Flow::Continue(());
    while flow.is_continue() {
        // Raw packets: files whose packets exceed their own snaplen exist and can be read.
        match reader.next_raw_packet() {
            None => break,
            Some(Ok(packet)) => {
                let fraction_ns = u64::from(packet.ts_frac) * unit_ns;
                let ts_ns = u64::from(packet.ts_sec) * 1_000_000_000 + fraction_ns;
                let (data, len) = without_check(&packet.data, packet.orig_len, check_len);
                flow = packets.packet(link, ts_ns, data, len);
                offset += PCAP_PACKET_HEADER + packet.data.len() as u64;
            }
            Some(Err(PcapReadError::Io(error))) => {
                damage = Some(at_end(error, offset, "the last packet is not complete"));
                break;
            }
            Some(Err(error)) => {
                damage = Some(damaged(offset, error));
                break;
            }
        }
    }
    Ok(packets.finish(flow, None, damage))
}

/// Reads a pcapng.
pub(super) fn read_pcapng(
    reader: impl Read,
    budget: &Budget,
    sink: &mut dyn RecordSink,
) -> Result<Outcome, Error> {
    let mut reader = PcapNgReader::with_capacity(reader, BUFFER).map_err(|error| match error {
        PcapNgReadError::Io(error) => at_end(error, 0, "the section header is not complete"),
        error => damaged(0, error),
    })?;
    let mut packets = Packets::new(budget, sink);
    // Drop counters of each interface; later counters replace earlier ones.
    let mut drops: HashMap<u32, u64> = HashMap::new();
    let mut damage = None;
    let mut flow = Flow::Continue(());
    while flow.is_continue() {
        let offset = reader.bytes_parsed();
        match reader.next_block() {
            None => break,
            Some(Ok((block, state))) => {
                let link_of = |interface: u32| {
                    let interface = state.interfaces().get(interface as usize);
                    interface.map_or(u32::MAX, |interface| interface.linktype.into())
                };
                match block {
                    Block::EnhancedPacket(packet) => {
                        let ts_ns = nanoseconds(packet.timestamp);
                        let link = link_of(packet.interface_id);
                        flow = packets.packet(link, ts_ns, &packet.data, packet.original_len);
                    }
                    Block::Packet(packet) => {
                        let ts_ns = nanoseconds(packet.timestamp);
                        let link = link_of(packet.interface_id.into());
                        flow = packets.packet(link, ts_ns, &packet.data, packet.original_len);
                    }
                    // The block has no time.
                    Block::SimplePacket(packet) => {
                        let ts_ns = packets.last_ns;
                        let len = packet.original_len;
                        flow = packets.packet(link_of(0), ts_ns, &packet.data, len);
                    }
                    Block::InterfaceStatistics(statistics) => {
                        let counted = drop_counters(&statistics.options);
                        drops.insert(statistics.interface_id, counted);
                    }
                    _ => {}
                }
            }
            Some(Err(PcapNgReadError::Io(error))) => {
                damage = Some(at_end(error, offset, "the last block is not complete"));
                break;
            }
            Some(Err(error)) => {
                damage = Some(damaged(offset, error));
                break;
            }
        }
    }
    let total = drops.values().fold(0u64, |total, &count| total.saturating_add(count));
    Ok(packets.finish(flow, Some(total).filter(|_| !drops.is_empty()), damage))
}

/// Returns the number of packets that the interface and the operating system dropped.
fn drop_counters(options: &[InterfaceStatisticsOption<'_>]) -> u64 {
    let counters = options.iter().map(|option| match option {
        InterfaceStatisticsOption::IsbIfDrop(count)
        | InterfaceStatisticsOption::IsbOsDrop(count) => *count,
        _ => 0,
    });
    counters.fold(0, u64::saturating_add)
}

/// Removes a frame check sequence from a packet, as far as it was captured. Returns the original
/// length without it.
fn without_check(bytes: &[u8], original_len: u32, check_len: usize) -> (&[u8], u32) {
    let original_len = original_len.saturating_sub(check_len as u32);
    (bytes.get(..original_len as usize).unwrap_or(bytes), original_len)
}

/// Converts an error of reading. A file that ends too early is damaged there; other errors come
/// from the system.
fn at_end(error: io::Error, offset: u64, reason: &str) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Damaged { offset, reason: reason.into() },
        _ => Error::Io(error),
    }
}

fn damaged(offset: u64, error: impl std::error::Error) -> Error {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    Error::Damaged { offset, reason }
}
