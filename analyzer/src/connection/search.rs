//! The search for a message in a connection that starts in the middle of it.

use sslrec_formats::record::Direction;

use crate::http1::Kind;
use crate::http1::first::Verdict;
use crate::http1::start;
use crate::http2;

/// The protocol that the handshake negotiated, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    Http1,
    Http2,
    Unknown,
}

impl Alpn {
    pub(super) fn of(name: Option<&str>) -> Self {
        match name {
            Some("h2") => Alpn::Http2,
            Some("http/1.1" | "http/1.0") => Alpn::Http1,
            _ => Alpn::Unknown,
        }
    }
}

pub(super) fn kind_of(direction: Direction, client: Direction) -> Kind {
    if direction == client { Kind::Request } else { Kind::Response }
}

/// Searches a direction that starts in the middle of a message. It searches the call at `call` for
/// HTTP/2 frames, and all bytes for a start line: of the kind that this direction carries, or of
/// either kind if the role is unknown. `from` is as in [`start::find`].
pub(super) fn search(
    bytes: &[u8],
    call: usize,
    from: usize,
    kind: Option<Kind>,
    alpn: Alpn,
) -> (Verdict, usize) {
    if alpn != Alpn::Http1
        && let Some(at) = http2::find(&bytes[call..])
    {
        return (Verdict::Http2, call + at);
    }
    if alpn == Alpn::Http2 {
        return (Verdict::Unsure, 0);
    }
    let kinds = kind.map_or([Kind::Request, Kind::Response], |kind| [kind, kind]);
    let found = kinds.map(|kind| start::find(kind, bytes, from).map(|at| (at, kind)));
    match found.into_iter().flatten().min_by_key(|(at, _)| *at) {
        Some((at, kind)) => (Verdict::Http1(kind), at),
        None => (Verdict::Unsure, 0),
    }
}
