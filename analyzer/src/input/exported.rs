//! Wireshark's "upper PDU" exports (link type 252): payloads of a protocol, such as the HTTP inside
//! decrypted TLS, with the addresses of both ends.
//!
//! A packet is a list of tags followed by the payload (`epan/exported_pdu.h`). There are no
//! sequence numbers; the payloads of a direction form its stream in file order. But after an
//! incomplete message, Wireshark's dissector asked for more data, and its first input is exported
//! again together with the rest:
//!
//! - an HTTP/2 export is repeated from the incomplete frame, so an incomplete last frame is held
//!   until it arrives complete;
//! - an HTTP/1 export is repeated from the start line of the message, so a payload that begins with
//!   a start line continues after its overlap with the end of the previous payload.
//!
//! A limit: two payloads without an overlap look like a single payload if the first ends in the
//! middle of the beginning of the second. This can be constructed with pipelined requests.
//!
//! The streams are output as TCP segments, since their further processing is the same.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memmem;

use crate::http1::first::{Verdict, judge};
use crate::sink::{Flow, Segment};

/// Number of bytes kept from the end of a payload to detect its repetition: a TLS record.
const TAIL: usize = 16 << 10;

/// Minimum length of an overlap, about the shortest start line.
const MIN_OVERLAP: usize = 14;

/// Maximum number of bytes kept for all streams.
const MAX_KEPT: usize = 64 << 20;

/// The tags in use; all others are skipped.
mod tag {
    pub(super) const END: u16 = 0;
    pub(super) const DISSECTOR: u16 = 12;
    pub(super) const HEURISTIC_DISSECTOR: u16 = 13;
    pub(super) const IPV4_SOURCE: u16 = 20;
    pub(super) const IPV4_DESTINATION: u16 = 21;
    pub(super) const IPV6_SOURCE: u16 = 22;
    pub(super) const IPV6_DESTINATION: u16 = 23;
    pub(super) const PORT_TYPE: u16 = 24;
    pub(super) const SOURCE_PORT: u16 = 25;
    pub(super) const DESTINATION_PORT: u16 = 26;
}

/// The port type of TCP.
const PORT_TYPE_TCP: u32 = 2;

/// A payload with its addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pdu<'a> {
    src: SocketAddr,
    dst: SocketAddr,
    http2: bool,
    payload: &'a [u8],
}

/// Why a packet cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The packet ends within its tags.
    Cut,
    /// The packet was not sent over TCP, or has no addresses.
    Other,
}

/// Parses a packet. The specification pads the value of a tag to 4 bytes; Wireshark counts the
/// padding as a part of the value, or has none. Padding before the last tag looks like the last
/// tag, followed by zeros, with which a payload of text does not begin.
pub(super) fn parse(packet: &[u8]) -> Result<Pdu<'_>, Refused> {
    match parse_tags(packet, false) {
        Ok(pdu) if !pdu.http2 && pdu.payload.starts_with(&[0]) => {
            Ok(parse_tags(packet, true).unwrap_or(pdu))
        }
        Err(Refused::Other) => parse_tags(packet, true),
        Err(Refused::Cut) => parse_tags(packet, true).map_err(|_| Refused::Cut),
        pdu => pdu,
    }
}

fn parse_tags(packet: &[u8], padded: bool) -> Result<Pdu<'_>, Refused> {
    let mut rest = packet;
    let (mut ips, mut ports) = ([None; 2], [None; 2]);
    let (mut tcp, mut http2) = (false, false);
    loop {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or(Refused::Cut)?;
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = tail.get(..len).ok_or(Refused::Cut)?;
        let len = if padded { len.next_multiple_of(4) } else { len };
        rest = tail.get(len..).ok_or(Refused::Cut)?;
        match kind {
            tag::END if len > 0 => return Err(Refused::Other),
            tag::END => break,
            tag::DISSECTOR | tag::HEURISTIC_DISSECTOR => http2 = value.starts_with(b"http2"),
            tag::IPV4_SOURCE => ips[0] = ipv4(value),
            tag::IPV4_DESTINATION => ips[1] = ipv4(value),
            tag::IPV6_SOURCE => ips[0] = ipv6(value),
            tag::IPV6_DESTINATION => ips[1] = ipv6(value),
            tag::PORT_TYPE => tcp = number(value) == Some(PORT_TYPE_TCP),
            tag::SOURCE_PORT => ports[0] = number(value),
            tag::DESTINATION_PORT => ports[1] = number(value),
            _ => {}
        }
    }
    let addr = |end: usize| {
        let port = u16::try_from(ports[end]?).ok()?;
        Some(SocketAddr::new(ips[end]?, port))
    };
    let (Some(src), Some(dst), true) = (addr(0), addr(1), tcp) else { return Err(Refused::Other) };
    Ok(Pdu { src, dst, http2, payload: rest })
}

fn ipv4(value: &[u8]) -> Option<IpAddr> {
    Some(IpAddr::from(Ipv4Addr::from(*value.first_chunk::<4>()?)))
}

fn ipv6(value: &[u8]) -> Option<IpAddr> {
    Some(IpAddr::from(Ipv6Addr::from(*value.first_chunk::<16>()?)))
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.first_chunk::<4>()?))
}

/// The streams of a capture.
#[derive(Debug, Default)]
pub(super) struct Exported {
    sides: HashMap<(SocketAddr, SocketAddr), Side>,
    kept_bytes: usize,
}

/// A direction of a connection.
#[derive(Debug, Default)]
struct Side {
    /// Sequence number of the next byte.
    seq: u32,
    http2: bool,
    /// For HTTP/2 the incomplete frame that is held, else the end of the last payload.
    kept: Vec<u8>,
}

impl Exported {
    /// Processes the next payload, of which `missing` bytes were not captured.
    pub(super) fn pdu(
        &mut self,
        ts_ns: u64,
        pdu: &Pdu<'_>,
        missing: usize,
        deliver: &mut dyn FnMut(&Segment<'_>) -> Flow,
    ) -> Flow {
        let key = (pdu.src, pdu.dst);
        let side = self.sides.entry(key).or_default();
        let mut send = |side: &mut Side, payload: &[u8], missing: usize| {
            side.send(key, ts_ns, payload, missing, deliver)
        };
        let kept = std::mem::take(&mut side.kept);
        self.kept_bytes -= kept.len();
        if side.http2 && !pdu.payload.starts_with(&kept) {
            send(side, &kept, 0)?;
        }
        side.http2 = pdu.http2;
        // Bytes that were not captured may not be exported again.
        let held = if pdu.http2 && missing == 0 { incomplete_frame(pdu.payload) } else { 0 };
        let repeated = if pdu.http2 { 0 } else { overlap(&kept, pdu.payload) };
        let end = pdu.payload.len() - held;
        send(side, &pdu.payload[repeated..end], missing)?;
        if missing == 0 && self.kept_bytes < MAX_KEPT {
            let from = if pdu.http2 { end } else { end.saturating_sub(TAIL) };
            side.kept.extend_from_slice(&pdu.payload[from..]);
            self.kept_bytes += side.kept.len();
        } else {
            send(side, &pdu.payload[end..], 0)?;
        }
        Flow::Continue(())
    }

    /// Ends the capture: held bytes will not be exported again.
    pub(super) fn finish(
        &mut self,
        ts_ns: u64,
        deliver: &mut dyn FnMut(&Segment<'_>) -> Flow,
    ) -> Flow {
        let mut sides: Vec<_> = std::mem::take(&mut self.sides).into_iter().collect();
        sides.sort_unstable_by_key(|(key, _)| *key);
        for (key, mut side) in sides.into_iter().filter(|(_, side)| side.http2) {
            let kept = std::mem::take(&mut side.kept);
            side.send(key, ts_ns, &kept, 0, deliver)?;
        }
        Flow::Continue(())
    }
}

impl Side {
    fn send(
        &mut self,
        (src, dst): (SocketAddr, SocketAddr),
        ts_ns: u64,
        payload: &[u8],
        missing: usize,
        deliver: &mut dyn FnMut(&Segment<'_>) -> Flow,
    ) -> Flow {
        if payload.is_empty() && missing == 0 {
            return Flow::Continue(());
        }
        let seq = self.seq;
        // Sequence numbers wrap.
        self.seq = seq.wrapping_add((payload.len() + missing) as u32);
        let (ack, syn, fin, rst) = (None, false, false, false);
        deliver(&Segment { ts_ns, src, dst, seq, ack, syn, fin, rst, payload, missing })
    }
}

/// Returns the number of bytes at the end that belong to an incomplete frame (RFC 9113 section
/// 4.1).
fn incomplete_frame(payload: &[u8]) -> usize {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut rest = payload.strip_prefix(PREFACE).unwrap_or(payload);
    while let Some([a, b, c, ..]) = rest.first_chunk::<9>() {
        let len = 9 + (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c));
        let Some(next) = rest.get(len..) else { break };
        rest = next;
    }
    rest.len()
}

/// Returns how many bytes at the beginning of the payload repeat the end of the previous payload.
/// Only a payload that begins with a start line, and continues after the overlap, can have any.
fn overlap(before: &[u8], payload: &[u8]) -> usize {
    let Some(beginning) = payload.get(..MIN_OVERLAP) else { return 0 };
    if !matches!(judge(payload), Verdict::Http1(_)) {
        return 0;
    }
    let candidates = memmem::find_iter(before, beginning).map(|at| &before[at..]);
    let mut repeated =
        candidates.filter(|end| end.len() < payload.len() && payload.starts_with(end));
    repeated.next().map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(name: &str, client: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut tag = |kind: u16, value: &[u8]| {
            bytes.extend(kind.to_be_bytes());
            bytes.extend((value.len() as u16).to_be_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        };
        let (from, to) = if client { (1, 2) } else { (2, 1) };
        tag(tag::DISSECTOR, name.as_bytes());
        tag(tag::IPV4_SOURCE, &[10, 0, 0, from]);
        tag(tag::IPV4_DESTINATION, &[10, 0, 0, to]);
        tag(tag::PORT_TYPE, &2u32.to_be_bytes());
        tag(tag::SOURCE_PORT, &u32::from(from).to_be_bytes());
        tag(tag::DESTINATION_PORT, &u32::from(to).to_be_bytes());
        tag(30, &[0, 0, 0, 7]);
        tag(tag::END, &[]);
        bytes.extend(payload);
        bytes
    }

    /// Returns the client's stream, exported in payloads of this protocol.
    fn stream(name: &str, payloads: &[&[u8]]) -> Vec<u8> {
        let mut exported = Exported::default();
        let mut bytes = Vec::new();
        let mut deliver = |segment: &Segment<'_>| {
            assert_eq!(segment.seq as usize, bytes.len());
            bytes.extend(segment.payload);
            Flow::Continue(())
        };
        for payload in payloads {
            let packet = packet(name, true, payload);
            assert!(exported.pdu(1, &parse(&packet).unwrap(), 0, &mut deliver).is_continue());
        }
        assert!(exported.finish(2, &mut deliver).is_continue());
        bytes
    }

    #[test]
    fn tags_tell_protocol_and_addresses() {
        for name in ["http", "http2", "http2_tls", "odd"] {
            let packet = packet(name, false, b"payload");
            let pdu = parse(&packet).unwrap();
            assert_eq!((pdu.http2, pdu.payload), (name.starts_with("http2"), &b"payload"[..]));
            assert_eq!(pdu.src, "10.0.0.2:2".parse().unwrap());
            assert_eq!(pdu.dst, "10.0.0.1:1".parse().unwrap());
            for cut in 0..packet.len() - 7 {
                assert_eq!(parse(&packet[..cut]), Err(Refused::Cut), "{cut}");
            }
        }
        assert_eq!(parse(&[0; 4]), Err(Refused::Other));
        let mut udp = packet("http", true, b"x");
        let at = udp.windows(4).position(|tag| tag == [0, 24, 0, 4]).unwrap();
        udp[at + 7] = 3;
        assert_eq!(parse(&udp), Err(Refused::Other));
    }

    #[test]
    fn tags_may_be_padded_beyond_their_length_or_not() {
        for len in 0..40 {
            for place in 0..3 {
                let mut packets = [vec![], vec![], vec![]];
                // Padded beyond the length, with the padding counted, and without padding.
                for (form, bytes) in packets.iter_mut().enumerate() {
                    let mut tag = |kind: u16, value: &[u8]| {
                        let padded = value.len().next_multiple_of(4);
                        let counted = if form == 1 { padded } else { value.len() };
                        bytes.extend(kind.to_be_bytes());
                        bytes.extend((counted as u16).to_be_bytes());
                        bytes.extend(value);
                        if form < 2 {
                            bytes.resize(bytes.len() + padded - value.len(), 0);
                        }
                    };
                    let other = vec![1; len];
                    let tags: [(u16, &[u8]); 6] = [
                        (tag::DISSECTOR, b"http"),
                        (tag::IPV4_SOURCE, &[10, 0, 0, 1]),
                        (tag::IPV4_DESTINATION, &[10, 0, 0, 2]),
                        (tag::PORT_TYPE, &[0, 0, 0, 2]),
                        (tag::SOURCE_PORT, &[0, 0, 0, 1]),
                        (tag::DESTINATION_PORT, &[0, 0, 0, 2]),
                    ];
                    for (at, (kind, value)) in tags.into_iter().enumerate() {
                        if at == place * 3 {
                            tag(34, &other);
                        }
                        tag(kind, value);
                    }
                    if place == 2 {
                        tag(34, &other);
                    }
                    tag(tag::END, &[]);
                    bytes.extend(b"GET / HTTP/1.1");
                }
                for packet in &packets {
                    let pdu = parse(packet).unwrap();
                    assert_eq!(pdu.payload, b"GET / HTTP/1.1", "{len} {place}");
                    assert_eq!(pdu.src, "10.0.0.1:1".parse().unwrap());
                }
            }
        }
    }

    #[test]
    fn a_message_that_comes_again_with_its_rest_is_taken_once() {
        let head = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n";
        let whole = [&head[..], b"abcd"].concat();
        let get = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(stream("http", &[head, &whole, get]), [&whole[..], get].concat());
        // The same request twice is two requests.
        assert_eq!(stream("http", &[get, get]), [&get[..], get].concat());
        // Of two pipelined messages the second is repeated.
        let two = [&get[..], &head[..], b"ab"].concat();
        assert_eq!(stream("http", &[&two, &whole]), [&get[..], &whole].concat());
        // A body that continues without a start line is not a repetition, whatever its contents.
        assert_eq!(stream("http", &[head, b"ab", b"ab"]), [&head[..], b"abab"].concat());
    }

    #[test]
    fn a_repeated_frame_is_used_once() {
        let frame = |len: u8| [&[0, 0, len, 0, 0, 0, 0, 0, 1][..], &vec![len; len.into()]].concat();
        let (one, two) = (frame(5), frame(40));
        let first = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &one[..], &two[..20]].concat();
        let all = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &one[..], &two[..]].concat();
        assert_eq!(stream("http2", &[&first, &two]), all);
        // A frame that is split, or never completed, is used as it is.
        assert_eq!(stream("http2", &[&first, &two[20..]]), all);
        assert_eq!(stream("http2", &[&first]), first);
        for cut in 0..all.len() {
            assert_eq!(stream("http2", &[&all[..cut]]), &all[..cut]);
        }
    }
}
