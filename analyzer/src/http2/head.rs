//! A field block as the head of a message: separates the pseudo-header fields (RFC 9113 section
//! 8.3) and reports defects.

use std::borrow::Cow;

use super::hpack::{self, Sink};
use crate::exchange::note::{Defect, Truncation};
use crate::exchange::{Fields, Request};

/// Text for an unknown name or value.
const UNKNOWN: &[u8] = b"<unknown>";

/// The most that is left of a pseudo-header field where there is no memory for more.
const MAX_LEFT: usize = 256;

/// A head, decoded from a field block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) method: Option<Cow<'static, str>>,
    pub(super) scheme: Option<Cow<'static, [u8]>>,
    pub(super) authority: Option<Vec<u8>>,
    pub(super) path: Option<Vec<u8>>,
    pub(super) protocol: Option<Vec<u8>>,
    pub(super) status: Option<u16>,
    /// The other fields.
    pub(super) fields: Fields,
    /// Number of fields, pseudo or not, with an unknown name.
    pub(super) unknown: u64,
    /// The first field is unknown, and may be a pseudo-header field.
    pub(super) begins_unknown: bool,
    /// A field was seen that is certainly not a pseudo-header field.
    regular: bool,
    /// Defects of the head.
    pub(super) defects: Vec<Defect>,
    /// Why the block was not read to its end, or not at all.
    pub(super) cut: Option<Truncation>,
    /// The table size that the encoder set.
    pub(super) table_size: Option<usize>,
}

/// The fields of RFC 9113 section 8.2.2, which belong to an HTTP/1 connection. Transfer-Encoding
/// among them is an attempt at request smuggling.
const CONNECTION_FIELDS: [&[u8]; 5] =
    [b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"];

impl Head {
    /// Creates a head that could not be read.
    pub(super) fn lost(why: Truncation) -> Self {
        Self { cut: Some(why), ..Self::default() }
    }

    /// Returns whether the head is certainly a request's.
    pub(super) fn is_request(&self) -> bool {
        self.method.is_some()
            || self.path.is_some()
            || self.scheme.is_some()
            || self.authority.is_some()
    }

    /// Returns whether the head is certainly a response's.
    pub(super) fn is_response(&self) -> bool {
        self.status.is_some()
    }

    /// Returns whether the block certainly has no pseudo-header field and so is a trailer section.
    /// Every head has such fields, and they come first (section 8.3).
    pub(super) fn is_trailers(&self) -> bool {
        !self.is_request() && !self.is_response() && !self.begins_unknown && self.cut.is_none()
    }

    /// Takes the decoded head; its memory stays here for the next block.
    pub(super) fn take(&mut self) -> Self {
        let exact = self.fields.clone();
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        let head = std::mem::replace(self, Self { fields, ..Self::default() });
        Self { fields: exact, ..head }
    }

    /// Memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        let [authority, path, protocol] = [&self.authority, &self.path, &self.protocol]
            .map(|value| value.as_ref().map_or(0, Vec::len));
        self.fields.memory_bytes() + authority + path + protocol
    }

    /// Keeps nothing but pseudo-header fields, and the beginnings of long ones.
    pub(super) fn leave_out_fields(&mut self) {
        self.fields = Fields::default();
        for value in [&mut self.authority, &mut self.path, &mut self.protocol] {
            value.iter_mut().for_each(|value| {
                value.truncate(MAX_LEFT);
                value.shrink_to_fit();
            });
        }
    }

    fn note(&mut self, defect: Defect) {
        if !self.defects.contains(&defect) {
            self.defects.push(defect);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) {
        if self.regular {
            self.note(Defect::LatePseudo);
        }
        let known = match name {
            b":method" => set(&mut self.method, Request::method_of(value)),
            b":scheme" => set(&mut self.scheme, scheme(value)),
            b":authority" => set(&mut self.authority, value.to_vec()),
            b":path" => set(&mut self.path, value.to_vec()),
            b":protocol" => set(&mut self.protocol, value.to_vec()),
            b":status" => match status(value) {
                Some(status) => set(&mut self.status, status),
                None => {
                    self.fields.push(name, value);
                    return self.note(Defect::InvalidStatus);
                }
            },
            _ => {
                self.fields.push(name, value);
                return self.note(Defect::UnknownPseudo);
            }
        };
        if !known {
            self.fields.push(name, value);
            self.note(Defect::RepeatedPseudo);
        }
    }
}

impl Sink for Head {
    fn field(&mut self, name: Option<&[u8]>, value: Option<&[u8]>) {
        let Some(name) = name else {
            self.begins_unknown |=
                self.fields.is_empty() && !self.is_request() && !self.is_response();
            self.unknown += 1;
            return self.fields.push(UNKNOWN, value.unwrap_or(UNKNOWN));
        };
        let value = value.unwrap_or(UNKNOWN);
        match name.first() {
            Some(b':') => return self.pseudo(name, value),
            None => self.note(Defect::NoName),
            Some(b'c' | b'p' | b'k' | b't' | b'u') if CONNECTION_FIELDS.contains(&name) => {
                self.note(Defect::ConnectionField);
            }
            _ if name.iter().any(u8::is_ascii_uppercase) => {
                self.note(Defect::UpperCase);
            }
            _ => {}
        }
        self.regular = true;
        self.fields.push(name, value);
    }

    fn defect(&mut self, defect: hpack::Defect) {
        self.note(Defect::Compression(defect));
    }

    fn table_size(&mut self, len_bytes: usize) {
        self.table_size = self.table_size.max(Some(len_bytes));
    }
}

/// Sets an unset value. Returns whether it was unset.
fn set<T>(place: &mut Option<T>, value: T) -> bool {
    let free = place.is_none();
    if free {
        *place = Some(value);
    }
    free
}

fn scheme(value: &[u8]) -> Cow<'static, [u8]> {
    match value {
        b"https" => Cow::Borrowed(b"https"),
        b"http" => Cow::Borrowed(b"http"),
        _ => Cow::Owned(value.to_vec()),
    }
}

/// Parses a status of three digits (RFC 9110 section 15).
fn status(value: &[u8]) -> Option<u16> {
    match value {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |octet: &u8| u16::from(octet - b'0');
            Some(100 * digit(a) + 10 * digit(b) + digit(c))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::default();
        for (name, value) in fields {
            let part = |part: &str| (part != "?").then(|| part.as_bytes().to_vec());
            head.field(part(name).as_deref(), part(value).as_deref());
        }
        head
    }

    #[test]
    fn pseudo_header_fields_are_separated() {
        let mut scratch = head(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "x"),
            (":path", "/a"),
            ("b", "1"),
            ("a", "2"),
            ("b", ""),
        ]);
        let request = scratch.take();
        assert_eq!(scratch, Head::default());
        assert!(request.is_request() && !request.is_response() && !request.is_trailers());
        assert_eq!(request.method.as_deref(), Some("GET"));
        assert_eq!(request.path.as_deref(), Some(&b"/a"[..]));
        let fields: Vec<_> = request.fields.iter().collect();
        assert_eq!(fields, [(&b"b"[..], &b"1"[..]), (b"a", b"2"), (b"b", b"")]);
        assert!(request.defects.is_empty());
        assert_eq!(head(&[(":status", "103")]).status, Some(103));
        assert!(head(&[("grpc-status", "0")]).is_trailers());
    }

    #[test]
    fn unknown_fields_are_marked_and_may_be_any_field() {
        let unknown = head(&[("?", "?"), ("a", "b"), ("?", "v")]);
        assert!(!unknown.is_request() && !unknown.is_response() && !unknown.is_trailers());
        let fields: Vec<_> = unknown.fields.iter().collect();
        assert_eq!(fields, [(UNKNOWN, UNKNOWN), (b"a", b"b"), (UNKNOWN, b"v")]);
        assert_eq!(unknown.unknown, 2);
        assert!(head(&[("a", "b"), ("?", "?")]).is_trailers());
        assert!(!head(&[(":status", "200"), ("?", "?")]).begins_unknown);
        // An unknown field may be another pseudo-header field.
        assert!(head(&[("?", "?"), (":path", "/")]).defects.is_empty());
    }

    #[test]
    fn malformed_heads_are_noted_and_shown() {
        for (fields, defect) in [
            (&[("a", "b"), (":path", "/")][..], Defect::LatePseudo),
            (&[(":path", "/"), (":path", "/x")], Defect::RepeatedPseudo),
            (&[(":status", "+20")], Defect::InvalidStatus),
            (&[(":status", "0200")], Defect::InvalidStatus),
            (&[(":version", "2")], Defect::UnknownPseudo),
            (&[("transfer-encoding", "chunked")], Defect::ConnectionField),
            (&[("Accept", "x")], Defect::UpperCase),
            (&[("", "x")], Defect::NoName),
        ] {
            let head = head(fields);
            assert_eq!(head.defects, [defect]);
            assert!(!head.fields.is_empty());
        }
        assert!(head(&[("trailer", "x"), ("te", "trailers")]).defects.is_empty());
    }
}
