//! Finds the TCP segment in a packet, below any number of link, network and tunnel headers.
//!
//! A layer is a pure function that parses its header and returns the layer inside. Tables select
//! it: link types and EtherTypes ([`tables`]), IP protocols and UDP ports ([`tunnel`]).
//! [`Peeler`] calls one after the other. Each of them consumes bytes, so that the loop ends; a
//! limit of layers bounds the work for packets that are made of headers alone.
//!
//! Lengths are interpreted leniently. Packets may be truncated by the capture's snaplen, and
//! captures made on the sending machine contain packets whose length fields the network card fills
//! in later.
//!
//! The innermost IP header has the addresses of the connection. Two tunnels with the same inner
//! addresses and ports are the same connection.

mod bytes;
mod ethernet;
mod fragments;
mod ip;
mod link;
mod ppp;
mod tables;
mod tunnel;
mod wireless;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use etherparse::TcpSlice;

use self::fragments::Fragments;
pub(super) use self::link::{WIRESHARK_UPPER_PDU, frame_check_sequence};
pub(super) use self::tables::of_link_type;
use crate::sink::{Flow, Segment};

/// Maximum number of layers of a packet. A stack of VLAN tags or MPLS labels is a single layer.
pub(super) const MAX_LAYERS: usize = 64;

/// The longest segment that Linux passes to a network card for segmentation (GSO_MAX_SIZE since
/// 5.19). A packet with a larger original length is damaged.
const MAX_SEGMENT: usize = 8 * 65_535;

/// The IP protocol number of TCP.
const TCP: u8 = 6;

/// Parses the header of a layer; `None` if the bytes end within the header.
pub(super) type Layer = for<'a> fn(&'a [u8]) -> Option<Step<'a>>;

/// The contents of a layer.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Another layer, in these bytes.
    Next(Layer, &'a [u8]),
    /// The layer of an EtherType.
    EtherType(u16, &'a [u8]),
    /// The layer of a link type.
    Link(u32, &'a [u8]),
    /// Several layers: the first, and the remaining ones, whose bytes must be fewer than before.
    Split([(Layer, &'a [u8]); 2]),
    Ip(Datagram<'a>),
    /// No TCP, or encrypted.
    Other,
}

/// Contents of an IP packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Datagram<'a> {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    payload: &'a [u8],
    /// Number of bytes that the header declares and the packet does not have; `None` if the header
    /// declares no length.
    missing: Option<usize>,
    fragment: Option<Fragment>,
}

/// Place of a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fragment {
    id: u32,
    offset: usize,
    more: bool,
}

/// The result for a packet, or for each part of it.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Tcp(Segment<'a>),
    /// A part of an IP packet. Its contents follow with the last part.
    Fragment,
    /// Truncated within its headers.
    Cut,
    /// More than [`MAX_LAYERS`].
    TooDeep,
    /// Not TCP.
    Other,
}

/// A packet, and a place in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    ts_ns: u64,
    layer: Layer,
    bytes: &'a [u8],
    /// Number of bytes that the snaplen removed from the end of the packet.
    cut: usize,
    /// Number of bytes at the end that belong to no layer, unless a length inside excludes them.
    trailer: usize,
    depth: usize,
}

impl<'a> Place<'a> {
    /// The beginning of a packet.
    pub(super) fn new(ts_ns: u64, layer: Layer, bytes: &'a [u8], cut: usize) -> Self {
        Self { ts_ns, layer, bytes, cut, trailer: 0, depth: 0 }
    }

    pub(super) fn with_trailer(self, trailer: usize) -> Self {
        Self { trailer, ..self }
    }
}

/// Peels packets, and keeps IP fragments until all of a packet are there.
#[derive(Debug, Default)]
pub(super) struct Peeler {
    fragments: Fragments,
}

impl Peeler {
    /// Passes the segments of a packet to `found`.
    pub(super) fn peel(
        &mut self,
        mut place: Place<'_>,
        found: &mut dyn FnMut(Found<'_>) -> Flow,
    ) -> Flow {
        loop {
            if place.depth == MAX_LAYERS {
                return found(Found::TooDeep);
            }
            place.depth += 1;
            let step = (place.layer)(place.bytes);
            let (next, bytes) = match step {
                None if place.cut > 0 => return found(Found::Cut),
                None | Some(Step::Other) => return found(Found::Other),
                Some(Step::Next(layer, bytes)) => (Some(layer), bytes),
                Some(Step::EtherType(ether_type, bytes)) => {
                    (tables::of_ether_type(ether_type), bytes)
                }
                Some(Step::Link(link_type, bytes)) => (tables::of_link_type(link_type), bytes),
                Some(Step::Split([(layer, bytes), (rest, rest_bytes)])) => {
                    self.peel(Place { layer, bytes, ..place }, found)?;
                    if rest_bytes.len() >= place.bytes.len() {
                        return Flow::Continue(());
                    }
                    place.depth -= 1;
                    (Some(rest), rest_bytes)
                }
                Some(Step::Ip(datagram)) => {
                    if let Some(fragment) = datagram.fragment {
                        return self.fragment(&datagram, fragment, place, found);
                    }
                    if datagram.protocol == TCP {
                        return found(tcp(&datagram, &place));
                    }
                    if datagram.missing.is_some() {
                        place.trailer = 0;
                    }
                    (tunnel::of_ip_protocol(datagram.protocol), datagram.payload)
                }
            };
            let Some(layer) = next else { return found(Found::Other) };
            place = Place { layer, bytes, ..place };
        }
    }

    /// Adds a fragment, and continues with the contents if they are complete.
    fn fragment(
        &mut self,
        datagram: &Datagram<'_>,
        fragment: Fragment,
        place: Place<'_>,
        found: &mut dyn FnMut(Found<'_>) -> Flow,
    ) -> Flow {
        let Some(whole) = self.fragments.add(place.ts_ns, datagram, fragment) else {
            return found(Found::Fragment);
        };
        let (payload, missing) = (&*whole.payload, Some(whole.missing));
        let whole = Datagram { payload, missing, fragment: None, ..*datagram };
        match ip::without_extensions(whole) {
            None => found(Found::Cut),
            // Fragments of a fragment are not valid.
            Some(Datagram { fragment: Some(_), .. }) => found(Found::Other),
            Some(datagram) if datagram.protocol == TCP => found(tcp(&datagram, &place)),
            Some(Datagram { protocol, payload: bytes, .. }) => {
                match tunnel::of_ip_protocol(protocol) {
                    Some(layer) => self.peel(Place { layer, bytes, ..place }, found),
                    None => found(Found::Other),
                }
            }
        }
    }

    /// Returns the losses of fragments, at the end of a capture.
    pub(super) fn fragments_lost(&mut self) -> FragmentsLost {
        self.fragments.finish()
    }
}

/// Fragments whose contents are not in the result.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct FragmentsLost {
    /// Fragments of packets of which another fragment is missing.
    pub(super) incomplete: u64,
    /// Packets of which two fragments contradict each other.
    pub(super) contradictory: u64,
    /// Fragments that were given up to make room for others.
    pub(super) given_up: u64,
}

/// Parses a TCP segment.
fn tcp<'a>(datagram: &Datagram<'a>, place: &Place<'_>) -> Found<'a> {
    let trailer = if datagram.missing.is_none() { place.trailer } else { 0 };
    let segment = datagram.payload.len().saturating_sub(trailer);
    let Ok(tcp) = TcpSlice::from_slice(&datagram.payload[..segment]) else { return Found::Cut };
    Found::Tcp(Segment {
        ts_ns: place.ts_ns,
        src: SocketAddr::new(datagram.src, tcp.source_port()),
        dst: SocketAddr::new(datagram.dst, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        missing: datagram.missing.unwrap_or_else(|| place.cut.min(MAX_SEGMENT)),
    })
}
