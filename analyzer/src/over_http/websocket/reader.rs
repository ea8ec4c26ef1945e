//! WebSocket (RFC 6455), after an upgrade of HTTP/1.1 or an extended CONNECT of HTTP/2 (RFC 8441):
//! frames of both sides into messages.
//!
//! After a gap inside the contents of a frame the place of the next frame is known. After any other
//! gap a frame is searched, see `resume`: messages before it are not counted, and a note reports
//! this. Data that an endpoint would reject adds a note, and is read as far as possible.

use sslrec_wire::websocket::{self as frame, Head, MAX_CONTROL, MAX_HEAD};

use super::super::messages::Kept;
use super::super::{Found, Further, Notes, Protocol};
use super::inflate::Inflate;
use super::resume::{Found as Resumed, Search};
use super::{WebSocket, WebSocketClose, WebSocketKind, WebSocketMessage};
use crate::budget::{Budget, Charge, Keep, Share};
use crate::exchange::carried::Count;
use crate::exchange::note::{MessageProblem, WebSocketDefect};
use crate::exchange::{Carried, Exchange, Fields, Note, Request, Sender};
use crate::text::latin1;

/// Splits both directions of a connection into WebSocket messages.
#[derive(Debug)]
pub(in crate::over_http) struct Reader {
    client: Half,
    server: Half,
    deflate: bool,
    subprotocol: Option<String>,
    close: Option<WebSocketClose>,
    messages: Kept<WebSocketMessage>,
    /// The account of bytes that are held for a proof.
    budget: Budget,
    /// A frame was found again.
    has_resumed: bool,
}

/// A side of the WebSocket.
#[derive(Debug, Default)]
struct Half {
    state: State,
    /// The unfinished message.
    message: Option<Message>,
    count: Count,
    /// Decompressor; `None` if compression was not agreed on, or contents are not kept.
    inflate: Option<Inflate>,
    /// A close frame was sent.
    closed: bool,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the next head were received.
    Head([u8; MAX_HEAD], usize),
    Contents(Frame),
    /// The place of the next frame is unknown.
    Search(Box<Search>),
    /// Further bytes are ignored.
    Lost,
}

impl Default for State {
    fn default() -> Self {
        State::Head([0; MAX_HEAD], 0)
    }
}

/// A frame whose contents are being read.
#[derive(Debug)]
struct Frame {
    head: Head,
    left: u64,
    /// The message, if the frame is a control frame.
    control: Option<Message>,
}

/// A message, or a control frame, that is being read.
#[derive(Debug)]
struct Message {
    kind: WebSocketKind,
    compressed: bool,
    bytes: u64,
    missing: u64,
    data: Vec<u8>,
    /// There was no memory for the rest of it.
    cut: bool,
    /// Why it is incomplete, other than by missing bytes.
    defect: Option<MessageProblem>,
}

/// Returns a reader if the request opens a WebSocket in HTTP/2. An upgrade of HTTP/1.1 uses
/// [`upgraded`](crate::over_http::Reader::upgraded) instead.
pub(super) fn asked(request: &Request, keep: &Keep) -> Found {
    let protocol = request.pseudo_protocol.as_deref()?;
    if !protocol.eq_ignore_ascii_case(b"websocket") {
        return None;
    }
    Some(Box::new(Reader::new(keep)))
}

/// Returns no reader: the request decides.
pub(super) fn answered(_: Option<&Request>, _: &Fields, _: &Keep) -> Found {
    None
}

impl Protocol for Reader {
    fn head(
        &mut self,
        exchange: &Exchange,
        headers: &Fields,
        from: Sender,
        notes: &mut Notes,
    ) -> Further {
        if from == Sender::Client {
            return Further::Same;
        }
        self.agreed(headers, notes);
        // RFC 8441 section 5: any 2xx opens the WebSocket.
        match exchange.response.as_ref().and_then(|response| response.status) {
            None | Some(200..300) => Further::Same,
            Some(_) => Further::Other,
        }
    }

    fn data(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        self.contents(from, bytes, time_ns, notes);
    }

    fn lost(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes) {
        self.gap(from, len, time_ns, notes);
    }

    fn replaces_body(&self) -> bool {
        true
    }

    fn finish(
        self: Box<Self>,
        exchange: &mut Exchange,
        notes: &mut Notes,
    ) -> (Box<dyn Carried>, bool) {
        let (socket, held, whole) = self.end_of_socket(notes);
        exchange.held = held;
        (Box::new(socket), whole)
    }
}

impl Reader {
    pub(in crate::over_http) fn new(keep: &Keep) -> Self {
        Self {
            client: Half::default(),
            server: Half::default(),
            deflate: false,
            subprotocol: None,
            close: None,
            messages: Kept::new(keep),
            budget: keep.budget.clone(),
            has_resumed: false,
        }
    }

    /// Processes the server's response, which contains the agreed extensions (RFC 6455 section
    /// 9.1).
    pub(in crate::over_http) fn agreed(&mut self, response: &Fields, notes: &mut Notes) {
        self.subprotocol =
            response.first("sec-websocket-protocol").map(|name| latin1(name).into_owned());
        let lists = response.all("sec-websocket-extensions").map(latin1).collect::<Vec<_>>();
        for extension in lists.iter().flat_map(|list| list.split(',')) {
            let mut parts = extension.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            if !name.eq_ignore_ascii_case("permessage-deflate") {
                if !name.is_empty() {
                    notes.add(Note::WebSocketExtension);
                }
                continue;
            }
            let parameters: Vec<&str> = parts.collect();
            let takeover = |no: &str| !parameters.iter().any(|name| name.eq_ignore_ascii_case(no));
            self.deflate = true;
            if self.messages.is_on() {
                self.client.inflate = Some(Inflate::new(takeover("client_no_context_takeover")));
                self.server.inflate = Some(Inflate::new(takeover("server_no_context_takeover")));
            }
        }
    }

    fn half(&mut self, from: Sender) -> &mut Half {
        match from {
            Sender::Client => &mut self.client,
            Sender::Server => &mut self.server,
        }
    }

    /// Processes a segment, or the bytes of a call.
    fn contents(&mut self, from: Sender, bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        let deflate = self.deflate;
        let half = self.half(from);
        let State::Search(search) = &mut half.state else {
            return self.frames(from, bytes, time_ns, notes);
        };
        let Some(found) = search.segment(bytes, time_ns, from, deflate) else { return };
        notes.add(match search.after_gap {
            true => Note::WebSocketResumed(from),
            false => Note::WebSocketFound(from),
        });
        half.state = State::default();
        self.has_resumed = true;
        let Resumed { bytes, segments } = found;
        let mut rest = &bytes[..];
        for (time_ns, len) in segments {
            let (segment, after) = rest.split_at(len);
            self.frames(from, segment, time_ns, notes);
            rest = after;
        }
    }

    fn frames(&mut self, from: Sender, mut bytes: &[u8], time_ns: u64, notes: &mut Notes) {
        while !bytes.is_empty() {
            let keep = self.messages.has_room();
            let Self { client, server, messages, .. } = self;
            let half = match from {
                Sender::Client => client,
                Sender::Server => server,
            };
            match &mut half.state {
                State::Lost | State::Search(_) => return,
                State::Head(head, len) => {
                    let take = (frame::head_len(&head[..*len]) - *len).min(bytes.len());
                    head[*len..*len + take].copy_from_slice(&bytes[..take]);
                    *len += take;
                    bytes = &bytes[take..];
                    if frame::head_len(&head[..*len]) > *len {
                        continue;
                    }
                    let head = frame::head(&head[..*len]);
                    self.begin(from, head, time_ns, notes);
                }
                State::Contents(frame) => {
                    let take = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                    let (piece, rest) = bytes.split_at(take);
                    bytes = rest;
                    let at = frame.head.len - frame.left;
                    frame.left -= take as u64;
                    let keep = keep || (frame.head.is_control() && at < MAX_CONTROL);
                    if let Some(message) = frame.control.as_mut().or(half.message.as_mut())
                        && keep
                        && !message.cut
                    {
                        let room = match messages.is_on() {
                            true => messages.hold(message.data.len(), piece.len()),
                            false => piece.len(),
                        };
                        message.cut = room < piece.len();
                        frame::unmask(&piece[..room], frame.head.mask, at, &mut message.data);
                    }
                }
            }
            self.end_frame(from, time_ns, notes);
        }
    }

    /// Processes the head of a frame.
    fn begin(&mut self, from: Sender, head: Option<Head>, time_ns: u64, notes: &mut Notes) {
        let deflate = self.deflate;
        let half = self.half(from);
        let Some(head) = head else {
            half.state = State::Lost;
            return notes.add(Note::WebSocketFrameLength(from));
        };
        check(&head, from, deflate, half, notes);
        let message = |opcode| Message {
            kind: WebSocketKind::of_opcode(opcode),
            compressed: deflate && head.rsv1,
            bytes: 0,
            missing: 0,
            data: Vec::new(),
            cut: false,
            defect: None,
        };
        let mut unfinished = None;
        let mut control = None;
        match (head.opcode, &half.message) {
            (opcode, _) if head.is_control() => control = Some(message(opcode)),
            (0, Some(_)) => {}
            (0, None) => {
                let defect = Some(MessageProblem::NoFirstFrame);
                let kind = WebSocketKind::Binary;
                half.message = Some(Message { kind, defect, ..message(0) });
            }
            (opcode, _) => unfinished = half.message.replace(message(opcode)),
        }
        if let Some(message) = control.as_mut().or(half.message.as_mut()) {
            message.bytes = message.bytes.saturating_add(head.len);
        }
        half.state = State::Contents(Frame { head, left: head.len, control });
        if let Some(message) = unfinished {
            let defect = Some(MessageProblem::NoLastFrame);
            self.keep(Message { defect, ..message }, from, time_ns, notes);
        }
    }

    fn gap(&mut self, from: Sender, len: Option<u64>, time_ns: u64, notes: &mut Notes) {
        let memory = self.budget.charge(Share::Contents);
        let half = self.half(from);
        match (&mut half.state, len) {
            (State::Lost, _) => {}
            (State::Search(search), _) => search.gap(),
            (State::Contents(frame), Some(len)) if len <= frame.left => {
                frame.left -= len;
                if let Some(message) = frame.control.as_mut().or(half.message.as_mut()) {
                    message.missing += len;
                }
                self.end_frame(from, time_ns, notes);
            }
            (state, _) => {
                let at_frame = len.is_some() && matches!(state, State::Head(_, 0));
                *state = State::Search(Box::new(Search::new(len.is_some(), at_frame, memory)));
                // Its end is missing, and so may be further messages.
                half.message = None;
                half.inflate.iter_mut().for_each(Inflate::miss);
            }
        }
    }

    /// Ends the frame of this side if it is complete.
    fn end_frame(&mut self, from: Sender, time_ns: u64, notes: &mut Notes) {
        let half = self.half(from);
        let State::Contents(Frame { left: 0, .. }) = &half.state else { return };
        let State::Contents(frame) = std::mem::take(&mut half.state) else { return };
        if let Some(control) = frame.control {
            if control.kind == WebSocketKind::Close {
                self.closed(&control, from, notes);
            }
            return self.keep(control, from, time_ns, notes);
        }
        if !frame.head.fin {
            return;
        }
        let Some(message) = half.message.take() else { return };
        half.count.messages += u64::from(message.defect.is_none());
        half.count.bytes = half.count.bytes.saturating_add(message.bytes);
        self.keep(message, from, time_ns, notes);
    }

    /// Parses a close frame (section 5.5.1): a status code, then a reason.
    fn closed(&mut self, control: &Message, from: Sender, notes: &mut Notes) {
        self.half(from).closed = true;
        let (code, reason) = match control.data.split_first_chunk::<2>() {
            _ if control.missing > 0 => (None, &[][..]),
            Some((code, reason)) => (Some(u16::from_be_bytes(*code)), reason),
            None => (None, &[][..]),
        };
        if control.missing == 0 && control.bytes == 1 {
            notes.add(Note::WebSocketCloseLength(from));
        }
        if std::str::from_utf8(reason).is_err() {
            notes.add(Note::WebSocketReason(from));
        }
        let reason = String::from_utf8_lossy(reason).into_owned();
        self.close.get_or_insert(WebSocketClose { from, code, reason });
    }

    fn keep(&mut self, message: Message, from: Sender, time_ns: u64, notes: &mut Notes) {
        if !self.messages.is_on() {
            return;
        }
        let has_room = self.messages.has_room();
        let Message { kind, compressed, bytes, missing, mut data, cut, defect } = message;
        let Self { client, server, messages, .. } = self;
        let half = match from {
            Sender::Client => client,
            Sender::Server => server,
        };
        let inflate = half.inflate.as_mut();
        let mut problem = defect;
        if missing > 0 {
            problem = Some(MessageProblem::Missing(missing));
        } else if cut {
            problem = Some(MessageProblem::Cut(data.len()));
        }
        match inflate.filter(|_| compressed) {
            Some(inflate) if problem.is_some() || !has_room => inflate.miss(),
            Some(inflate) => match inflate.message(&data, messages.memory()) {
                Ok((decoded, why)) => {
                    messages.release(data.len());
                    (data, problem) = (decoded, why);
                }
                Err(why) => problem = Some(why),
            },
            None => {}
        }
        if let Some(budget) = messages.memory().1.budget().filter(|_| compressed)
            && problem.is_some()
            && budget.decoded_left() == 0
        {
            notes.add(Note::DecodingEnded(budget.max_decoded()));
        }
        if problem.is_some() {
            notes.add(Note::WebSocketPartial(from));
        } else if kind == WebSocketKind::Text && std::str::from_utf8(&data).is_err() {
            notes.add(Note::WebSocketText(from));
        }
        let message = WebSocketMessage { time_ns, from, kind, bytes, compressed, data, problem };
        self.messages.push(message, notes);
    }

    /// Returns the WebSocket, and whether no message was truncated.
    fn end_of_socket(self, notes: &mut Notes) -> (WebSocket, Charge, bool) {
        let mut whole = true;
        for (from, half) in [(Sender::Client, &self.client), (Sender::Server, &self.server)] {
            let cut = match &half.state {
                State::Head(_, len) => *len > 0 || half.message.is_some(),
                State::Contents(_) => true,
                State::Search(search) => {
                    whole = false;
                    notes.add(match search.after_gap {
                        true => Note::WebSocketLost(from),
                        false => Note::WebSocketNotFound(from),
                    });
                    false
                }
                State::Lost => false,
            };
            if cut {
                whole = false;
                notes.add(Note::WebSocketTruncated(from));
            }
        }
        let (mut messages, held) = self.messages.into_parts();
        if self.has_resumed {
            whole = false;
            // Messages of the other end may have come while the bytes were held.
            messages.iter_mut().for_each(|messages| messages.sort_by_key(|m| m.time_ns));
        }
        let socket = WebSocket {
            deflate: self.deflate,
            subprotocol: self.subprotocol,
            client: self.client.count,
            server: self.server.count,
            close: self.close,
            messages,
        };
        (socket, held, whole)
    }
}

/// Adds notes about a frame that an endpoint would reject.
fn check(head: &Head, from: Sender, deflate: bool, half: &Half, notes: &mut Notes) {
    let continues = head.opcode == 0;
    let masked = head.mask.is_some();
    let defects = [
        (
            masked != (from == Sender::Client),
            match from {
                Sender::Client => WebSocketDefect::NoMask,
                Sender::Server => WebSocketDefect::Mask,
            },
        ),
        (
            matches!(WebSocketKind::of_opcode(head.opcode), WebSocketKind::Reserved(1..)),
            WebSocketDefect::Opcode,
        ),
        (head.rsv23 || head.rsv1 && !deflate, WebSocketDefect::ReservedBit),
        (head.rsv1 && deflate && (continues || head.is_control()), WebSocketDefect::Compression),
        (head.is_control() && !head.fin, WebSocketDefect::ControlFragment),
        (head.is_control() && head.len > MAX_CONTROL, WebSocketDefect::LongControl),
        (head.long_form, WebSocketDefect::LengthForm),
        (continues && half.message.is_none(), WebSocketDefect::Continuation),
        (!continues && !head.is_control() && half.message.is_some(), WebSocketDefect::Nested),
        (half.closed, WebSocketDefect::AfterClose),
    ];
    for &(_, defect) in defects.iter().filter(|(is_met, _)| *is_met) {
        notes.add(Note::WebSocketFrame(from, defect));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwanted_contents_are_not_held() {
        let (mut reader, mut notes) = (Reader::new(&Keep::of(false)), Notes::default());
        let fragment = [&[0x01, 0x7e, 0x03, 0xe8][..], &[b'x'; 1000]].concat();
        let more = [&[0x00, 0x7e, 0x03, 0xe8][..], &[b'x'; 1000], &[0x89, 4], b"ping"].concat();
        reader.contents(Sender::Server, &fragment, 1, &mut notes);
        for _ in 0..1000 {
            reader.contents(Sender::Server, &more, 1, &mut notes);
        }
        let held = reader.server.message.as_ref().map_or(0, |message| message.data.capacity());
        assert_eq!((held, notes.0.len()), (0, 0));
        reader.contents(Sender::Server, &[0x80, 0], 1, &mut notes);
        let (socket, _, whole) = reader.end_of_socket(&mut notes);
        let count = Count { messages: 1, bytes: 1_001_000 };
        assert!(whole && socket.server == count && socket.messages.is_none());
    }
}
