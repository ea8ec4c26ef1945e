//! The model that the parsers build and every output reads: exchanges, streams and the connection
//! that they belong to.
//!
//! Nothing here knows a wire format. What is not known is `None`.

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use sslrec_formats::record::{Connection, Direction, GapCause, Role};

use crate::losses::Losses;
use crate::messages::Carried;
use crate::text::latin1;

/// What is known of a connection; shared by all that happened on it, since some of it (addresses,
/// server name) becomes known late.
pub type SharedConnection = Rc<RefCell<ConnectionInfo>>;

/// A connection and the process that it was recorded in.
#[derive(Debug, Clone, Default)]
pub struct ConnectionInfo {
    /// The record itself. Its `pid` is 0 where the process is not known.
    pub record: Connection,
    /// Short name of the process when the connection was made.
    pub comm: Option<Rc<str>>,
    /// The capture is of TLS, so that URLs are `https`.
    pub tls: bool,
}

impl ConnectionInfo {
    /// The process, where known.
    pub fn pid(&self) -> Option<u32> {
        Some(self.record.pid).filter(|&pid| pid != 0)
    }

    /// File name of the library that was probed.
    pub fn lib(&self) -> Option<&str> {
        let path = self.record.lib.as_deref()?;
        path.rsplit('/').next()
    }

    /// The direction in which the client's bytes went, where the role tells.
    pub fn client_direction(&self) -> Option<Direction> {
        match self.record.role {
            Role::Client => Some(Direction::Sent),
            Role::Server => Some(Direction::Received),
            Role::Unknown => None,
        }
    }

    /// The recorded program's side: what the recording says, else what the direction of the
    /// client's bytes tells.
    pub fn role(&self, client: Option<Direction>) -> Option<Role> {
        match (self.record.role, client) {
            (Role::Unknown, Some(Direction::Sent)) => Some(Role::Client),
            (Role::Unknown, Some(Direction::Received)) => Some(Role::Server),
            (Role::Unknown, None) => None,
            (role, _) => Some(role),
        }
    }

    /// Client's and server's address, given the direction in which the client's bytes went.
    pub fn ends(&self, client: Direction) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match client {
            Direction::Sent => (self.record.local, self.record.remote),
            Direction::Received => (self.record.remote, self.record.local),
        }
    }
}

/// Name and value pairs of a message head or of trailers: order, duplicates and octets as sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Names and values, end to end.
    octets: Vec<u8>,
    /// Length of each name and value.
    lengths: Vec<(u32, u32)>,
}

impl Fields {
    /// Adds one field. Heads are capped at far below 4 GiB by the parsers; what would not fit is
    /// cut there.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let cut = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (name_len, value_len) = (cut(name), cut(value));
        self.octets.extend_from_slice(&name[..name_len as usize]);
        self.octets.extend_from_slice(&value[..value_len as usize]);
        self.lengths.push((name_len, value_len));
    }

    /// Appends a further line to the last value: an obsolete line folding, which RFC 9112
    /// section 5.2 replaces by a space.
    pub(crate) fn fold(&mut self, more: &[u8]) -> bool {
        let Some((_, value_len)) = self.lengths.last_mut() else { return false };
        let Ok(grown) = u32::try_from(*value_len as usize + 1 + more.len()) else { return false };
        *value_len = grown;
        self.octets.push(b' ');
        self.octets.extend_from_slice(more);
        true
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.octets.as_slice();
        self.lengths.iter().map(move |&(name_len, value_len)| {
            let (name, tail) = rest.split_at(name_len as usize);
            let (value, tail) = tail.split_at(value_len as usize);
            rest = tail;
            (name, value)
        })
    }

    /// Values of all fields of this name, whatever its case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// Value of the first field of this name.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, v)| v)
    }

    /// The type in the Content-Type, without parameters (RFC 9110 section 8.3.1).
    pub(crate) fn media_type(&self) -> Option<&[u8]> {
        let value = self.first("content-type")?;
        value.split(|&b| b == b';').next().map(<[u8]>::trim_ascii)
    }

    /// Removes all fields and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
        self.lengths.clear();
    }

    /// Memory that they take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.octets.capacity() + self.lengths.capacity() * size_of::<(u32, u32)>()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }
}

/// What a message carried, after transfer coding and before content coding.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Number of bytes seen; missing ones are not in it.
    pub bytes: u64,
    /// The bytes, if they were asked for.
    pub data: Option<Vec<u8>>,
    /// How many bytes `data` has without its content codings, once these are undone
    /// ([`crate::coding`]).
    pub decoded_bytes: Option<u64>,
}

impl Body {
    pub(crate) fn new(keep: bool) -> Self {
        Self { data: keep.then(Vec::new), ..Self::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(data) = &mut self.data {
            data.extend_from_slice(bytes);
        }
    }
}

/// What request and response have in common.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Header fields.
    pub headers: Fields,
    /// Trailer fields.
    pub trailers: Fields,
    /// Content.
    pub body: Body,
    /// When its first byte was handed over, nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// When its last byte so far was handed over.
    pub last_ns: u64,
}

impl Message {
    /// One of which nothing was seen before `first_ns`. `keep` its contents.
    pub(crate) fn new(first_ns: u64, keep: bool) -> Self {
        Self { body: Body::new(keep), first_ns, last_ns: first_ns, ..Self::default() }
    }
}

/// Where the scheme of a request is known from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scheme {
    /// From the connection: `https` over TLS. HTTP/1 sends none.
    #[default]
    Implied,
    /// It was sent, as `:scheme`.
    Sent(Cow<'static, [u8]>),
    /// It was sent, and what was sent is not known.
    Unknown,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method; `None` where what was sent is not known.
    pub method: Option<Cow<'static, str>>,
    /// Request target, in whichever of the four forms of RFC 9112 section 3.2 it was sent; for
    /// HTTP/2 `:path`, or `:authority` where that is all a CONNECT has.
    pub target: Option<Vec<u8>>,
    /// Scheme.
    pub scheme: Scheme,
    /// `:authority`, with which HTTP/2 replaces Host.
    pub pseudo_authority: Option<Vec<u8>>,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub pseudo_protocol: Option<Vec<u8>>,
    /// Everything else.
    pub message: Message,
}

impl Request {
    /// Host and port that the request is for: from an absolute or authority-form target, else
    /// from `:authority` or the Host field.
    pub fn authority(&self) -> Option<Cow<'_, str>> {
        if self.is_tunnel() {
            return self.target.as_deref().map(latin1);
        }
        if let Some((_, rest)) = self.absolute() {
            let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
            return Some(latin1(&rest[..end]));
        }
        let host = self.pseudo_authority.as_deref().or(self.message.headers.first("host"));
        host.filter(|host| !host.is_empty()).map(latin1)
    }

    /// The authority without its port; an IPv6 address keeps its brackets (RFC 3986 section 3.2.2).
    pub fn host(&self) -> Option<Cow<'_, str>> {
        let host_len = |text: &str| match text.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host.len(),
            _ => text.len(),
        };
        Some(match self.authority()? {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..host_len(text)]),
            Cow::Owned(mut text) => {
                text.truncate(host_len(&text));
                Cow::Owned(text)
            }
        })
    }

    /// Path and query.
    pub fn path(&self) -> Option<Cow<'_, str>> {
        if self.is_tunnel() {
            return None;
        }
        let Some((_, rest)) = self.absolute() else { return self.target.as_deref().map(latin1) };
        match rest.iter().position(|b| b"/?#".contains(b)) {
            Some(at) => Some(latin1(&rest[at..])),
            None => Some(Cow::Borrowed("/")),
        }
    }

    /// The target URI (RFC 9110 section 7.1), or `None` where a part of it is not known. For
    /// CONNECT it is the authority, as sent. `tls` says which scheme a connection implies.
    pub fn url(&self, tls: bool) -> Option<Cow<'_, str>> {
        let target = self.target.as_deref()?;
        if self.is_tunnel() || self.absolute().is_some() {
            return Some(latin1(target));
        }
        let scheme = match &self.scheme {
            Scheme::Implied if tls => Cow::Borrowed("https"),
            Scheme::Implied => Cow::Borrowed("http"),
            Scheme::Sent(scheme) => latin1(scheme),
            Scheme::Unknown => return None,
        };
        let authority = self.authority()?;
        let path = if target == b"*" { Cow::Borrowed("") } else { latin1(target) };
        Some(Cow::Owned([&*scheme, "://", &authority, &path].concat()))
    }

    /// It asks for a tunnel to a host, and its target is that host.
    fn is_tunnel(&self) -> bool {
        self.method.as_deref() == Some("CONNECT") && self.pseudo_protocol.is_none()
    }

    /// Splits an absolute-form target into scheme and what follows `://`.
    fn absolute(&self) -> Option<(&[u8], &[u8])> {
        let target = self.target.as_deref().filter(|target| !target.starts_with(b"/"))?;
        let at = target.windows(3).position(|w| w == b"://")?;
        let scheme = &target[..at];
        let valid = scheme.first().is_some_and(u8::is_ascii_alphabetic)
            && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
        valid.then(|| (scheme, &target[at + 3..]))
    }
}

/// A response.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// Status code; `None` where what was sent is not known.
    pub status: Option<u16>,
    /// Reason phrase; HTTP/2 has none.
    pub reason: Vec<u8>,
    /// Everything else.
    pub message: Message,
}

/// A response that was not the final one, such as 100 or 103.
#[derive(Debug, Clone, Default)]
pub struct Interim {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: Fields,
}

/// A request and its response. Never are both `None`.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Place in the listing, from 1; 0 before it is listed.
    pub id: u64,
    /// The connection that it was on.
    pub connection: SharedConnection,
    /// Direction in which the request went.
    pub request_direction: Direction,
    /// Number of the exchange on its connection, from 1 (for HTTP/2: the stream identifier).
    pub stream: u64,
    /// Version of HTTP, such as `http/1.1`.
    pub proto: &'static str,
    /// The request.
    pub request: Option<Request>,
    /// Responses before the final one.
    pub interim: Vec<Interim>,
    /// The final response.
    pub response: Option<Response>,
    /// What the contents are, if that is a protocol of its own.
    pub carried: Option<Box<Carried>>,
    /// Both halves are there and no byte of them is missing.
    pub complete: bool,
    /// Bytes of the two messages that are known to be missing.
    pub lost_bytes: u64,
    /// What was unusual, for people.
    pub notes: Vec<Cow<'static, str>>,
}

impl Exchange {
    /// An exchange of which nothing was seen yet.
    pub(crate) fn new(
        connection: &SharedConnection,
        request_direction: Direction,
        stream: u64,
    ) -> Self {
        Self {
            id: 0,
            connection: Rc::clone(connection),
            request_direction,
            stream,
            proto: "http/1.1",
            request: None,
            interim: Vec::new(),
            response: None,
            carried: None,
            complete: false,
            lost_bytes: 0,
            notes: Vec::new(),
        }
    }

    /// Protocol as it is listed: what the exchange carried, or its version of HTTP.
    pub fn listed_proto(&self) -> &'static str {
        self.carried.as_ref().and_then(|carried| carried.proto()).unwrap_or(self.proto)
    }

    /// When the first byte of it was handed over: of the request, or of the response where there
    /// is no request.
    pub fn first_ns(&self) -> u64 {
        let request = self.request.as_ref().map(|r| r.message.first_ns);
        request.or(self.response.as_ref().map(|r| r.message.first_ns)).unwrap_or(0)
    }

    /// From the request's first byte to the response's first byte, nanoseconds.
    pub fn ttfb_ns(&self) -> Option<u64> {
        let request = self.request.as_ref()?.message.first_ns;
        self.response.as_ref()?.message.first_ns.checked_sub(request)
    }

    /// From the request's first byte to the response's last byte, nanoseconds.
    pub fn duration_ns(&self) -> Option<u64> {
        let request = self.request.as_ref()?.message.first_ns;
        self.response.as_ref()?.message.last_ns.checked_sub(request)
    }

    /// Keeps the promise that never are both messages `None`: where all that was seen since
    /// `first_ns` are interim responses, the final one is there, and unknown.
    pub(crate) fn keep_half(&mut self, first_ns: u64) {
        if self.request.is_none() && self.response.is_none() {
            let message = Message::new(first_ns, false);
            self.response = Some(Response { message, ..Response::default() });
        }
    }

    /// Adds a note, once.
    pub(crate) fn note(&mut self, note: impl Into<Cow<'static, str>>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// One direction of a connection that is not decoded.
#[derive(Debug, Clone, Default)]
pub struct StreamHalf {
    /// Bytes seen.
    pub bytes: u64,
    /// The first of them, at most 64.
    pub first_bytes: Vec<u8>,
    /// All of them, if they were asked for.
    pub data: Option<Vec<u8>>,
}

/// How many bytes of each direction of a stream are shown.
const FIRST_BYTES: usize = 64;

/// A connection, or the rest of one, that is not HTTP.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The connection.
    pub connection: SharedConnection,
    /// When its first byte was handed over, or when the connection was made where there is none.
    pub first_ns: u64,
    /// When its last byte was handed over.
    pub last_ns: u64,
    /// What the recorded process wrote.
    pub sent: StreamHalf,
    /// What it read.
    pub received: StreamHalf,
    /// No byte is missing, and the end of the connection was recorded.
    pub complete: bool,
    /// Bytes known to be missing.
    pub lost_bytes: u64,
    /// Where and why they are.
    pub(crate) losses: Losses,
    /// What is known about the contents, and what is missing, for people.
    pub notes: Vec<Cow<'static, str>>,
}

impl Stream {
    pub(crate) fn new(connection: &SharedConnection, first_ns: u64, keep: bool) -> Self {
        let half = StreamHalf { data: keep.then(Vec::new), ..StreamHalf::default() };
        Self {
            connection: Rc::clone(connection),
            first_ns,
            last_ns: first_ns,
            sent: half.clone(),
            received: half,
            complete: true,
            lost_bytes: 0,
            losses: Losses::default(),
            notes: Vec::new(),
        }
    }

    /// The half that went in this direction.
    pub fn half(&self, direction: Direction) -> &StreamHalf {
        match direction {
            Direction::Sent => &self.sent,
            Direction::Received => &self.received,
        }
    }

    pub(crate) fn push(&mut self, direction: Direction, bytes: &[u8], last_ns: u64) {
        let half = match direction {
            Direction::Sent => &mut self.sent,
            Direction::Received => &mut self.received,
        };
        half.bytes += bytes.len() as u64;
        let room = FIRST_BYTES.saturating_sub(half.first_bytes.len()).min(bytes.len());
        half.first_bytes.extend_from_slice(&bytes[..room]);
        if let Some(data) = &mut half.data {
            data.extend_from_slice(bytes);
        }
        self.last_ns = self.last_ns.max(last_ns);
    }

    /// The contents are in exchanges from here on.
    pub(crate) fn forget_data(&mut self) {
        self.sent.data = None;
        self.received.data = None;
    }

    /// Bytes are missing here.
    pub(crate) fn lose(&mut self, direction: Direction, cause: GapCause, len: u64) {
        self.lost_bytes = self.lost_bytes.saturating_add(len);
        self.losses.add(direction, cause, len);
    }

    /// Nothing follows. `whole` says that its beginning and end were recorded; `client` is the
    /// direction in which the client's bytes went, where known.
    pub(crate) fn finish(&mut self, whole: bool, client: Option<Direction>) {
        self.complete = whole && self.lost_bytes == 0;
        let losses = std::mem::take(&mut self.losses);
        losses.notes("missing", client).for_each(|note| self.note(note));
    }

    pub(crate) fn note(&mut self, note: impl Into<Cow<'static, str>>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// One line of the listing.
#[derive(Debug, Clone)]
pub enum Item {
    /// A request and its response.
    Exchange(Box<Exchange>),
    /// A connection that is not HTTP.
    Stream(Box<Stream>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, target: &str, host: Option<&str>) -> Request {
        let mut request = Request {
            method: Some(method.to_owned().into()),
            target: Some(target.into()),
            ..Request::default()
        };
        if let Some(host) = host {
            request.message.headers.push(b"hOsT", host.as_bytes());
        }
        request
    }

    #[test]
    fn url_is_made_of_each_form_of_target() {
        let cases = [
            (
                "GET",
                "/a?b",
                Some("x:8443"),
                Some("https://x:8443/a?b"),
                Some("x:8443"),
                Some("/a?b"),
            ),
            ("GET", "/a", None, None, None, Some("/a")),
            ("GET", "http://p/q?r", Some("x"), Some("http://p/q?r"), Some("p"), Some("/q?r")),
            ("GET", "http://p", Some("x"), Some("http://p"), Some("p"), Some("/")),
            (
                "GET",
                "/r?u=http://p/",
                Some("x"),
                Some("https://x/r?u=http://p/"),
                Some("x"),
                Some("/r?u=http://p/"),
            ),
            ("OPTIONS", "*", Some("x"), Some("https://x"), Some("x"), Some("*")),
            ("CONNECT", "p:443", Some("x"), Some("p:443"), Some("p:443"), None),
        ];
        for (method, target, host, url, authority, path) in cases {
            let request = request(method, target, host);
            assert_eq!(request.url(true).as_deref(), url, "{target}");
            assert_eq!(request.authority().as_deref(), authority, "{target}");
            assert_eq!(request.path().as_deref(), path, "{target}");
        }
        assert_eq!(request("GET", "/", Some("x")).url(false).as_deref(), Some("http://x/"));
    }

    #[test]
    fn fields_keep_order_duplicates_and_octets() {
        let mut fields = Fields::default();
        fields.push(b"A", b"1");
        fields.push(b"b", b"\xff");
        fields.push(b"a", b"");
        assert!(fields.fold(b"2"));
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"b", b"\xff"), (b"a", b" 2")]);
        assert_eq!(fields.all("a").collect::<Vec<_>>(), [&b"1"[..], b" 2"]);
        assert!(!Fields::default().fold(b"x"));
    }
}
