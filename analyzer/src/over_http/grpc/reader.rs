//! gRPC over HTTP/2, and gRPC-Web, which may be base64: messages with a prefix of five bytes, a
//! flag and a length.
//!
//! After a gap inside a message the place of the next prefix is known. After any other gap no
//! prefix can be found again, since prefixes have no marker.

use percent_encoding::percent_decode;

use super::super::messages::Kept;
use super::super::{Found, Further, Notes, Protocol, base64};
use super::{Grpc, GrpcMessage};
use crate::budget::{Charge, Keep};
use crate::coding;
use crate::exchange::carried::Count;
use crate::exchange::note::MessageProblem;
use crate::exchange::{Carried, Exchange, Fields, Note, Request, Sender};
use crate::text::latin1;

/// Length of the prefix of each message.
const PREFIX: usize = 5;

/// The flag of a compressed message.
const COMPRESSED: u8 = 1;

/// The flag of the trailers of gRPC-Web.
const TRAILERS: u8 = 0x80;

/// Maximum length of the trailers of gRPC-Web.
const MAX_TRAILERS: usize = 64 << 10;

/// Splits the bodies of an exchange into gRPC messages.
#[derive(Debug)]
pub(super) struct Reader {
    is_web: bool,
    client: Half,
    server: Half,
    messages: Kept<GrpcMessage>,
    /// The trailers of gRPC-Web.
    trailers: Option<Fields>,
}

/// A direction.
#[derive(Debug, Default)]
struct Half {
    state: State,
    count: Count,
    /// The direction was seen from its beginning.
    whole: bool,
    /// `grpc-encoding`.
    encoding: Option<String>,
    /// Decoder for base64, which gRPC-Web applies to the complete body and not to each message.
    text: Option<base64::Decoder>,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the next prefix were received.
    Prefix([u8; PREFIX], usize),
    Message(Open),
    /// Further bytes are ignored: bytes are missing, or the contents are not gRPC.
    Lost,
}

impl Default for State {
    fn default() -> Self {
        State::Prefix([0; PREFIX], 0)
    }
}

/// A message that is being read.
#[derive(Debug)]
struct Open {
    flags: u8,
    bytes: u64,
    left: u64,
    missing: u64,
    data: Vec<u8>,
    /// There was no memory for the rest of it.
    cut: bool,
}

/// Returns a reader if the request is a call.
pub(super) fn asked(request: &Request, keep: &Keep) -> Found {
    // Calls are always POST, so most requests need no further test.
    if request.method.as_deref().is_some_and(|method| method != "POST") {
        return None;
    }
    Some(Box::new(Reader::asked(&request.message.headers, keep)?))
}

/// Returns a reader if the response belongs to a call whose request was not recorded.
pub(super) fn answered(request: Option<&Request>, headers: &Fields, keep: &Keep) -> Found {
    match request {
        // An unrecorded request may have asked for any protocol.
        None => Some(Box::new(Reader::answered(headers, keep)?)),
        Some(_) => None,
    }
}

impl Protocol for Reader {
    fn head(&mut self, _: &Exchange, headers: &Fields, from: Sender, _: &mut Notes) -> Further {
        self.read_head(headers, from);
        Further::Coded
    }

    fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        self.contents(from, bytes, time_ns, notes);
    }

    fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes) {
        self.gap(from, len, time_ns, notes);
    }

    fn stop(&mut self, from: Sender) {
        self.half(from).state = State::Lost;
    }

    fn finish(
        self: Box<Self>,
        exchange: &mut Exchange,
        notes: &mut Notes,
    ) -> (Box<dyn Carried>, bool) {
        let (grpc, whole) = self.end_of_call(exchange, notes);
        (Box::new(grpc), whole)
    }
}

impl Reader {
    /// Returns a reader for the exchange of a request with these fields, if it is gRPC.
    fn asked(headers: &Fields, keep: &Keep) -> Option<Self> {
        let mut reader = Self::of(headers, keep)?;
        reader.client.whole = true;
        reader.read_head(headers, Sender::Client);
        Some(reader)
    }

    /// Returns a reader for a response with these fields whose request was not recorded, if it is
    /// gRPC.
    fn answered(headers: &Fields, keep: &Keep) -> Option<Self> {
        let mut reader = Self::of(headers, keep)?;
        reader.client.state = State::Lost;
        reader.read_head(headers, Sender::Server);
        Some(reader)
    }

    fn of(headers: &Fields, keep: &Keep) -> Option<Self> {
        let is_web = kind(headers)? != Kind::Http2;
        let (client, server) = (Half::default(), Half::default());
        Some(Self { is_web, client, server, messages: Kept::new(keep), trailers: None })
    }

    /// Processes a head of this side.
    fn read_head(&mut self, headers: &Fields, from: Sender) {
        let kind = kind(headers);
        let half = self.half(from);
        half.encoding = headers.first("grpc-encoding").map(|name| latin1(name).into_owned());
        half.whole = true;
        half.text = (kind == Some(Kind::WebText)).then(base64::Decoder::default);
        if kind.is_none() {
            // The contents are, for instance, the error page of a proxy.
            half.state = State::Lost;
        }
    }

    fn half(&mut self, from: Sender) -> &mut Half {
        match from {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        }
    }

    fn contents(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        let half = self.half(from);
        let Some(decoder) = &mut half.text else {
            return self.octets(from, bytes, time_ns, notes);
        };
        let (decoded, valid) = decoder.push(bytes);
        self.octets(from, &decoded, time_ns, notes);
        if valid.is_err() {
            let half = self.half(from);
            half.state = State::Lost;
            half.text = None;
            notes.add(Note::GrpcNotBase64(from));
        }
    }

    fn octets(&mut self, from: Sender, mut bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        let keep = self.messages.has_room();
        while !bytes.is_empty() {
            let Self { client, server, messages, .. } = self;
            let half = match from {
                Sender::Client => client,
                Sender::Server => server,
            };
            match &mut half.state {
                State::Lost => return,
                State::Prefix(prefix, len) => {
                    let take = (PREFIX - *len).min(bytes.len());
                    prefix[*len..*len + take].copy_from_slice(&bytes[..take]);
                    *len += take;
                    bytes = &bytes[take..];
                    if *len < PREFIX {
                        return;
                    }
                    let open = Open::new(prefix);
                    if open.flags & !(COMPRESSED | TRAILERS) != 0 {
                        notes.add(Note::GrpcFlags(from));
                    }
                    half.state = State::Message(open);
                }
                State::Message(open) => {
                    let take = usize::try_from(open.left).unwrap_or(usize::MAX).min(bytes.len());
                    let wanted = if keep && !open.cut { take } else { 0 };
                    let room = messages.hold(open.data.len(), wanted);
                    open.cut |= room < wanted;
                    open.push(&bytes[..take], room);
                    bytes = &bytes[take..];
                }
            }
            self.end(from, time_ns, notes);
        }
    }

    fn gap(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes) {
        let half = self.half(from);
        // The decoded length of missing base64 depends on its padding.
        let len = len.filter(|_| half.text.is_none());
        match (&mut half.state, len) {
            (State::Lost, _) => {}
            (State::Message(open), Some(len)) if len <= open.left => {
                open.left -= len;
                open.missing += len;
                self.end(from, time_ns, notes);
            }
            _ => {
                half.state = State::Lost;
                notes.add(Note::GrpcLost(from));
            }
        }
    }

    /// Ends the message of this side if it is complete.
    fn end(&mut self, from: Sender, time_ns: u64, notes: &mut Notes) {
        let half = match from {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        };
        let State::Message(Open { left: 0, .. }) = &half.state else { return };
        let State::Message(open) = std::mem::take(&mut half.state) else { return };
        if self.is_web && open.flags & TRAILERS != 0 {
            self.trailers = Some(fields(&open.data));
            return;
        }
        half.count.messages += 1;
        half.count.bytes += open.bytes;
        if !self.messages.is_on() {
            return;
        }
        let memory = self.messages.memory();
        let (message, ended) = open.message(from, time_ns, half.encoding.as_deref(), memory);
        if let Some(limit) = ended {
            notes.add(Note::DecodingEnded(limit));
        }
        if message.problem.is_some() {
            notes.add(Note::GrpcPartial(from));
        }
        self.messages.push(message, notes);
    }

    /// Returns the call, and whether no message was truncated.
    fn end_of_call(self, exchange: &mut Exchange, notes: &mut Notes) -> (Grpc, bool) {
        let mut whole = true;
        for (from, half) in [(Sender::Client, &self.client), (Sender::Server, &self.server)] {
            let begun = match &half.state {
                _ if half.text.as_ref().is_some_and(base64::Decoder::is_within_group) => true,
                State::Prefix(_, len) => *len > 0,
                State::Message(_) => true,
                State::Lost => false,
            };
            if begun {
                whole = false;
                notes.add(Note::GrpcTruncated(from));
            }
        }
        let path = exchange.request.as_ref().and_then(|request| request.path());
        let (service, method) = path.as_deref().and_then(split).unzip();
        let response = exchange.response.as_ref().map(|response| &response.message);
        // A response without messages has its trailers in its head.
        let ends = [
            response.map(|message| &message.trailers),
            self.trailers.as_ref(),
            response.map(|message| &message.headers),
        ];
        let end = |name: &'static str| ends.iter().flatten().find_map(|fields| fields.first(name));
        let status = end("grpc-status").map(latin1);
        let known = status.as_deref().and_then(|status| status.parse().ok());
        if status.is_some() && known.is_none() {
            notes.add(Note::GrpcStatus);
        }
        let count = |half: &Half| half.whole.then_some(half.count);
        let message = end("grpc-message").map(percent_decoded);
        let (messages, held) = self.messages.into_parts();
        let grpc = Grpc {
            is_web: self.is_web,
            service,
            method,
            status: known,
            message,
            requests: count(&self.client),
            responses: count(&self.server),
            messages,
        };
        exchange.held = held;
        (grpc, whole)
    }
}

impl Open {
    fn new(prefix: &[u8; PREFIX]) -> Self {
        let [flags, length @ ..] = *prefix;
        let bytes = u64::from(u32::from_be_bytes(length));
        Self { flags, bytes, left: bytes, missing: 0, data: Vec::new(), cut: false }
    }

    /// The next bytes, of which `room` are kept.
    fn push(&mut self, bytes: &[u8], room: usize) {
        self.left -= bytes.len() as u64;
        let is_trailers = self.flags & TRAILERS != 0;
        let kept = match is_trailers {
            true => MAX_TRAILERS.saturating_sub(self.data.len()).min(bytes.len()).max(room),
            false => room,
        };
        self.data.extend_from_slice(&bytes[..kept]);
    }

    /// The message, and the limit of decoded output if that ended the decoding.
    fn message(
        self,
        from: Sender,
        time_ns: u64,
        encoding: Option<&str>,
        (max_len, held): (usize, &mut Charge),
    ) -> (GrpcMessage, Option<u64>) {
        let Self { flags, bytes, missing, mut data, cut, .. } = self;
        let compressed = flags & COMPRESSED != 0;
        let mut ended = None;
        let problem = match encoding {
            _ if cut => Some(MessageProblem::Cut(data.len())),
            _ if missing > 0 => Some(MessageProblem::Missing(missing)),
            _ if !compressed || data.is_empty() => None,
            None | Some("identity") => Some(MessageProblem::UnknownCompression),
            Some(encoding) => {
                let decoded = coding::decode_within(&[encoding], &data, max_len, held);
                ended = decoded.ended;
                if let Some(bytes) = decoded.decoded.bytes {
                    held.shrink(data.len());
                    data = bytes;
                }
                decoded.decoded.problem.map(MessageProblem::Coding)
            }
        };
        (GrpcMessage { time_ns, from, bytes, compressed, data, problem }, ended)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Http2,
    Web,
    /// gRPC-Web encoded as base64.
    WebText,
}

/// Returns the kind of contents that a head declares.
fn kind(headers: &Fields) -> Option<Kind> {
    const PLAIN: &[u8] = b"application/grpc";
    let media = headers.media_type()?;
    let (start, rest) = media.split_at_checked(PLAIN.len())?;
    if !start.eq_ignore_ascii_case(PLAIN) {
        return None;
    }
    match rest {
        [] | [b'+', ..] => Some(Kind::Http2),
        _ => match rest.split(|&b| b == b'+').next()? {
            b"-web" => Some(Kind::Web),
            b"-web-text" => Some(Kind::WebText),
            _ => None,
        },
    }
}

/// Splits `/package.Service/Method`.
fn split(path: &str) -> Option<(String, String)> {
    let path = path.strip_prefix('/')?;
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let (service, method) = path.rsplit_once('/')?;
    Some((service.to_owned(), method.to_owned()))
}

/// Parses lines of name and value, the format of gRPC-Web trailers.
fn fields(bytes: &[u8]) -> Fields {
    let mut fields = Fields::default();
    for line in bytes.split(|&b| b == b'\n') {
        if let Some(at) = line.iter().position(|&b| b == b':') {
            fields.push(line[..at].trim_ascii(), line[at + 1..].trim_ascii());
        }
    }
    fields
}

/// Undoes percent-encoding. Invalid escapes are kept, and bytes that are not UTF-8 are replaced.
fn percent_decoded(value: &[u8]) -> String {
    percent_decode(value).decode_utf8_lossy().into_owned()
}
