//! Packets of captures of other programs: passes their TCP on, and counts the others.

use std::collections::HashMap;

use sslrec_formats::io::Error;
use sslrec_formats::record::{Record, Stats};

use super::Outcome;
use super::encapsulation::{
    Found, FragmentsLost, Peeler, Place, WIRESHARK_UPPER_PDU, of_link_type,
};
use super::encrypted::Encrypted;
use super::exported::{self, Exported, Refused};
use crate::budget::Budget;
use crate::exchange::Note;
use crate::sink::{Flow, RecordSink};
use crate::tcp::Reassembler;

/// Maximum length of a packet or block. Snaplens end at 256 KiB; blocks with secrets can be longer.
pub(super) const MAX_PACKET: usize = 16 << 20;

/// The longest payload that Wireshark reassembles; a payload with a larger original length is
/// damaged.
const MAX_PDU: usize = 16 << 20;

/// Maximum number of unknown link types that are named.
const MAX_LINKS: usize = 8;

/// Passes packets on and counts unusable packets.
pub(super) struct Packets<'s> {
    tcp: Reassembler,
    exported: Exported,
    peeler: Peeler,
    encrypted: Encrypted,
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
    /// The file has keys with which Wireshark can decrypt TLS.
    pub(super) has_tls_keys: bool,
}

impl<'s> Packets<'s> {
    pub(super) fn new(budget: &Budget, sink: &'s mut dyn RecordSink) -> Self {
        Self {
            tcp: Reassembler::within(budget),
            exported: Exported::default(),
            peeler: Peeler::default(),
            encrypted: Encrypted::default(),
            sink,
            packets: 0,
            segments: 0,
            cut: 0,
            too_deep: 0,
            other: 0,
            links: HashMap::new(),
            first_ns: None,
            last_ns: 0,
            has_tls_keys: false,
        }
    }

    /// Processes a packet, at whose end the original had a frame check sequence of `check_len`
    /// bytes.
    pub(super) fn packet(
        &mut self,
        link: u32,
        ts_ns: u64,
        bytes: &[u8],
        original_len: u32,
        check_len: usize,
    ) -> Flow {
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
        let (trailer, cut) = (check_len.saturating_sub(cut), cut.saturating_sub(check_len));
        let place = Place::new(ts_ns, layer, bytes, cut).with_trailer(trailer);
        let Self {
            peeler, encrypted, sink, tcp, segments, cut: truncated, too_deep, other, ..
        } = self;
        peeler.peel(place, &mut |found| {
            match found {
                Found::Tcp(segment) => {
                    *segments += 1;
                    encrypted.segment(&segment);
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

    /// Returns the latest time of a packet.
    pub(super) fn last_ns(&self) -> u64 {
        self.last_ns
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

    /// Ends the capture, whose interfaces dropped so many packets.
    pub(super) fn finish(
        mut self,
        flow: Flow,
        dropped: Option<u64>,
        damage: Option<Error>,
    ) -> Outcome {
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
        let notes = notes.filter(|(count, _)| *count > 0).map(|(_, note)| note);
        let notes = self.encrypted.note(self.has_tls_keys).into_iter().chain(notes).collect();
        Outcome { start_ns: self.first_ns.unwrap_or(0), notes, damage, unclosed: false, stop }
    }
}
