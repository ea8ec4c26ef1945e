//! Requests and responses: their parts, and the target of a request.

use std::borrow::Cow;

use super::fields::Fields;
use crate::budget::{Charge, Keep};
use crate::text::{latin1, readable};

/// The contents of a message, after transfer coding and before content coding.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Number of bytes seen, without missing bytes.
    pub bytes: u64,
    /// The bytes, if contents are kept.
    pub data: Option<Vec<u8>>,
    /// Length of `data` without its content codings, once they are undone ([`crate::coding`]).
    pub decoded_bytes: Option<u64>,
    /// `data` is text in UTF-8, whatever character set is declared: that of a HAR.
    pub is_utf8: bool,
    /// Memory for `data`.
    pub(crate) held: Charge,
    /// `data` ends before the content does: there was no memory for more.
    pub(crate) cut: bool,
}

impl Body {
    pub(crate) fn new(keep: &Keep) -> Self {
        let Some(held) = keep.charge() else { return Self::default() };
        Self { data: Some(Vec::new()), held, ..Self::default() }
    }

    /// Keeps contents that were read at once, as far as there is memory for them.
    pub(crate) fn keep(&mut self, keep: &Keep) {
        let Some(data) = self.data.take() else { return };
        let Some(held) = keep.charge() else {
            self.decoded_bytes = None;
            return;
        };
        self.held = held;
        let room = self.held.grow_up_to(data.len());
        self.cut = room < data.len();
        let mut data = data;
        data.truncate(room);
        self.decoded_bytes = Some(room as u64);
        self.data = Some(data);
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let Some(data) = self.data.as_mut().filter(|_| !self.cut) {
            let room = self.held.grow_up_to(bytes.len());
            data.extend_from_slice(&bytes[..room]);
            self.cut = room < bytes.len();
        }
    }
}

/// The common parts of request and response.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Header fields.
    pub headers: Fields,
    /// Trailer fields.
    pub trailers: Fields,
    /// Content.
    pub body: Body,
    /// Time of the call with its first byte, nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// Time of the call with its last byte so far.
    pub last_ns: u64,
}

impl Message {
    /// Creates a message that begins at `first_ns`; `keep` keeps its contents.
    pub(crate) fn new(first_ns: u64, keep: &Keep) -> Self {
        Self { body: Body::new(keep), first_ns, last_ns: first_ns, ..Self::default() }
    }
}

/// The source of a request's scheme.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scheme {
    /// The connection: `https` over TLS. HTTP/1 sends no scheme.
    #[default]
    Implied,
    /// The scheme was sent, as `:scheme`.
    Sent(Cow<'static, [u8]>),
    /// A scheme was sent, but its value is unknown.
    Unknown,
}

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method; `None` if the sent value is unknown.
    pub method: Option<Cow<'static, str>>,
    /// Request target, in any of the four forms of RFC 9112 section 3.2. For HTTP/2 it is `:path`,
    /// or `:authority` for a CONNECT without a path.
    pub target: Option<Vec<u8>>,
    /// The first line as sent, if it is not a well-formed request line of HTTP/1.
    pub line: Option<Vec<u8>>,
    /// Scheme.
    pub scheme: Scheme,
    /// `:authority`, which replaces Host in HTTP/2.
    pub pseudo_authority: Option<Vec<u8>>,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub pseudo_protocol: Option<Vec<u8>>,
    /// Everything else.
    pub message: Message,
}

impl Request {
    /// Returns the host and port of the request: from an absolute or authority-form target, else
    /// from `:authority` or the Host field.
    pub fn authority(&self) -> Option<Cow<'_, str>> {
        self.authority_octets().map(readable)
    }

    /// Returns the authority as sent.
    pub fn authority_octets(&self) -> Option<&[u8]> {
        if self.is_tunnel() {
            return self.target.as_deref();
        }
        if let Some((_, rest)) = self.absolute() {
            let end = rest.iter().position(|b| b"/?#".contains(b)).unwrap_or(rest.len());
            return Some(&rest[..end]);
        }
        let host = self.pseudo_authority.as_deref().or(self.message.headers.first("host"));
        host.filter(|host| !host.is_empty())
    }

    /// Returns the authority without its port; an IPv6 address keeps its brackets (RFC 3986 section
    /// 3.2.2).
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

    /// Returns path and query.
    pub fn path(&self) -> Option<Cow<'_, str>> {
        self.path_octets().map(readable)
    }

    /// Returns path and query as sent.
    pub fn path_octets(&self) -> Option<&[u8]> {
        if self.is_tunnel() {
            return None;
        }
        let Some((_, rest)) = self.absolute() else { return self.target.as_deref() };
        let at = rest.iter().position(|b| b"/?#".contains(b));
        Some(at.map_or(b"/", |at| &rest[at..]))
    }

    /// Returns a method, without an allocation for the usual methods.
    pub(crate) fn method_of(name: &[u8]) -> Cow<'static, str> {
        const USUAL: [&str; 8] =
            ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT"];
        match USUAL.into_iter().find(|usual| usual.as_bytes() == name) {
            Some(usual) => Cow::Borrowed(usual),
            None => Cow::Owned(latin1(name).into_owned()),
        }
    }

    /// Returns the target URI (RFC 9110 section 7.1), or `None` if a part of it is unknown. For
    /// CONNECT it is the authority, as sent. `tls` determines the implied scheme.
    pub fn url(&self, tls: bool) -> Option<Cow<'_, str>> {
        Some(match self.url_octets(tls)? {
            [b"", b"", b"", target] => readable(target),
            parts => Cow::Owned(parts.map(readable).concat()),
        })
    }

    /// Returns the target URI as sent, in parts.
    pub fn url_octets(&self, tls: bool) -> Option<[&[u8]; 4]> {
        let target = self.target.as_deref()?;
        if self.is_tunnel() || self.absolute().is_some() {
            return Some([b"", b"", b"", target]);
        }
        let scheme: &[u8] = match &self.scheme {
            Scheme::Implied if tls => b"https",
            Scheme::Implied => b"http",
            Scheme::Sent(scheme) => scheme,
            Scheme::Unknown => return None,
        };
        let path = if target == b"*" { b"" } else { target };
        Some([scheme, b"://", self.authority_octets()?, path])
    }

    /// Returns whether the request asks for a tunnel to a host, which is its target.
    pub fn is_tunnel(&self) -> bool {
        self.method.as_deref() == Some("CONNECT") && self.pseudo_protocol.is_none()
    }

    /// Splits an absolute-form target into the scheme and the part after `://`.
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
    /// Status code; `None` if the sent value is unknown.
    pub status: Option<u16>,
    /// Reason phrase; HTTP/2 has none.
    pub reason: Cow<'static, [u8]>,
    /// Everything else.
    pub message: Message,
}

impl Response {
    /// Returns a reason phrase, without an allocation for the usual phrases.
    pub(crate) fn reason_of(phrase: &[u8]) -> Cow<'static, [u8]> {
        const USUAL: [&[u8]; 8] = [
            b"OK",
            b"Created",
            b"No Content",
            b"Moved Permanently",
            b"Found",
            b"Not Modified",
            b"Bad Request",
            b"Not Found",
        ];
        match USUAL.into_iter().find(|usual| *usual == phrase) {
            Some(usual) => Cow::Borrowed(usual),
            None => Cow::Owned(phrase.to_vec()),
        }
    }
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
}
