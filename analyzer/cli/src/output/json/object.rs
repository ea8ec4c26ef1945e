//! Builds JSON objects in a buffer.
//!
//! Header fields are most of the output; a capture has millions of them. So text is copied in
//! pieces, numbers need no formatter, and nothing is allocated on the way. `serde_json` handles
//! text byte by byte and took half of the time of a listing. It still writes the rare values: see
//! [`Object::written`].

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV4};

use sslrec_analyzer::exchange::Note;
use sslrec_analyzer::text::Rfc3339;
use sslrec_cli::text::is_special;

use crate::safe_json;
use crate::text::Base64;

/// A value that can be written.
pub(super) trait Value {
    /// Appends the value to `out`.
    fn write(&self, out: &mut Vec<u8>);
}

/// Where the beginning of a line goes that is too long to be held as a whole.
pub(super) struct Drain<'w> {
    out: RefCell<&'w mut dyn Write>,
    result: RefCell<io::Result<()>>,
}

impl<'w> Drain<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        Self { out: RefCell::new(out), result: RefCell::new(Ok(())) }
    }

    /// The first error.
    ///
    /// # Errors
    /// If a part of the line could not be written.
    pub(super) fn finish(self) -> io::Result<()> {
        self.result.into_inner()
    }
}

/// Takes parts of a line. A trait, so that objects need not name the lifetime of the output.
pub(super) trait TakeParts {
    /// Takes what is in `line` if it is much.
    fn take(&self, line: &mut Vec<u8>);
}

impl TakeParts for Drain<'_> {
    fn take(&self, line: &mut Vec<u8>) {
        if line.len() < PART {
            return;
        }
        let mut result = self.result.borrow_mut();
        if result.is_ok() {
            *result = self.out.borrow_mut().write_all(line);
        }
        line.clear();
    }
}

/// How much of a long line is held.
const PART: usize = 64 << 10;

/// Bytes of a body that are written at a time: base64 has no padding behind a multiple of 3.
const BASE64_PIECE: usize = 3 << 14;

/// Appends to a line, of which parts are taken.
struct Through<'o> {
    line: &'o mut Vec<u8>,
    drain: &'o dyn TakeParts,
}

impl Write for Through<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        self.drain.take(self.line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An unfinished object. Call [`Self::end`] to close it.
#[must_use]
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
    /// Takes parts of the line; without it, the line is held as a whole.
    drain: Option<&'o dyn TakeParts>,
}

impl<'o> Object<'o> {
    /// Begins an object at the end of `out`.
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true, drain: None }
    }

    /// Continues an object that already has fields.
    pub(super) fn go_on(out: &'o mut Vec<u8>) -> Self {
        Self { out, is_empty: false, drain: None }
    }

    /// Has parts of the line taken, also within the object.
    pub(super) fn draining(self, drain: Option<&'o dyn TakeParts>) -> Self {
        Self { drain, ..self }
    }

    /// Returns the offset of the next field in the buffer.
    pub(super) fn position(&self) -> usize {
        self.out.len()
    }

    /// Adds a field. Keys are written without escaping.
    #[inline(always)]
    pub(super) fn field(&mut self, key: &'static str, value: impl Value) {
        value.write(self.key(key));
    }

    /// Adds a field if `value` is `Some`.
    pub(super) fn field_if_some(&mut self, key: &'static str, value: Option<impl Value>) {
        value.into_iter().for_each(|value| self.field(key, value));
    }

    /// Adds an object whose fields `fields` writes; without a subject, `null`.
    pub(super) fn object<T>(
        &mut self,
        key: &'static str,
        subject: Option<T>,
        fields: impl FnOnce(&mut Object<'_>, T),
    ) {
        let drain = self.drain;
        let out = self.key(key);
        let Some(subject) = subject else { return out.extend_from_slice(b"null") };
        let mut object = Object::begin(out).draining(drain);
        fields(&mut object, subject);
        object.end();
    }

    /// Adds contents as base64, if there are any.
    pub(super) fn contents(&mut self, key: &'static str, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        let Some(drain) = self.drain else { return self.field(key, Base64(bytes)) };
        let out = self.key(key);
        out.push(b'"');
        for piece in bytes.chunks(BASE64_PIECE) {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{}", Base64(piece));
            drain.take(out);
        }
        out.push(b'"');
    }

    /// Adds an array of objects.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        subjects: impl IntoIterator<Item = T>,
        mut fields: impl FnMut(&mut Object<'_>, T),
    ) {
        let out = self.key(key);
        write_array(out, subjects, |out, subject| {
            let mut object = Object::begin(out);
            fields(&mut object, subject);
            object.end();
        });
    }

    /// Adds a value that `write` writes with `serde_json`.
    ///
    /// # Errors
    /// The value cannot be written.
    pub(super) fn written(
        &mut self,
        key: &'static str,
        write: impl FnOnce(&mut dyn Write) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        match self.drain {
            Some(drain) => write(&mut Through { line: self.key(key), drain }),
            None => write(self.key(key)),
        }
    }

    /// Closes the object.
    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    // Inlined, so that the length of a key is a constant where the key is copied.
    #[inline(always)]
    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        let start: &[u8] = if std::mem::take(&mut self.is_empty) { b"\"" } else { b",\"" };
        self.out.extend_from_slice(start);
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }
}

/// Appends an array, each element as `write` writes it.
pub(super) fn write_array<T>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (i, value) in values.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, value);
    }
    out.push(b']');
}

impl<T: Value> Value for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl Value for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl Value for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
    }
}

impl Value for i32 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(*self).as_bytes());
    }
}

impl Value for u32 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }
}

impl Value for u16 {
    fn write(&self, out: &mut Vec<u8>) {
        u64::from(*self).write(out);
    }
}

impl Value for &str {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        push_text(out, self);
        out.push(b'"');
    }
}

/// An array of texts.
impl Value for &[&str] {
    fn write(&self, out: &mut Vec<u8>) {
        write_array(out, *self, |out, text| text.write(out));
    }
}

/// An array of the texts of notes.
impl Value for &[Note] {
    fn write(&self, out: &mut Vec<u8>) {
        write_array(out, *self, |out, note| note.to_string().as_str().write(out));
    }
}

/// Octets of a message head, concatenated: see [`latin1`](sslrec_analyzer::text::latin1).
pub(super) struct Latin1<'a, const PARTS: usize = 1>(pub(super) [&'a [u8]; PARTS]);

impl<const PARTS: usize> Value for Latin1<'_, PARTS> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        for part in self.0 {
            push_escaped(out, part, |octet| stands_for_itself(octet) & octet.is_ascii());
        }
        out.push(b'"');
    }
}

impl Value for Base64<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{self}\"");
    }
}

impl Value for Rfc3339 {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(&self.digits());
        out.push(b'"');
    }
}

impl Value for SocketAddr {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        match self {
            SocketAddr::V4(address) => push_v4(out, address),
            SocketAddr::V6(address) => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{address}");
            }
        }
        out.push(b'"');
    }
}

fn push_v4(out: &mut Vec<u8>, address: &SocketAddrV4) {
    for (i, octet) in address.ip().octets().into_iter().enumerate() {
        if i > 0 {
            out.push(b'.');
        }
        u64::from(octet).write(out);
    }
    out.push(b':');
    address.port().write(out);
}

/// Nanoseconds, written as milliseconds.
pub(super) struct Milliseconds(pub(super) u64);

impl Value for Milliseconds {
    fn write(&self, out: &mut Vec<u8>) {
        const NS_PER_MS: u64 = 1_000_000;
        (self.0 / NS_PER_MS).write(out);
        // A 1 before the fraction keeps its zeros.
        let mut digits = itoa::Buffer::new();
        let fraction = &digits.format(NS_PER_MS + self.0 % NS_PER_MS).as_bytes()[1..];
        let zeros = fraction.iter().rev().take_while(|&&digit| digit == b'0').count();
        out.push(b'.');
        out.extend_from_slice(&fraction[..(fraction.len() - zeros).max(1)]);
    }
}

/// Returns whether the byte needs no escape in JSON (RFC 8259 section 7) or on a terminal, judged
/// by this byte alone. It has no branches, so that the compiler can test many bytes at once.
fn stands_for_itself(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\') & (byte != 0x7f)
}

/// Returns whether the byte begins no UTF-8 character that [`is_special`] accepts. A test checks
/// all of them.
fn begins_no_special(byte: u8) -> bool {
    (byte != 0xc2)
        & (byte != 0xd8)
        & !(0xe1..=0xe3).contains(&byte)
        & (byte != 0xef)
        & (byte != 0xf3)
}

/// Number of bytes that are tested together.
const BLOCK: usize = 16;

/// Appends text with its special characters escaped.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        // Bytes in the middle of a character count as plain, so a character begins here.
        let is_plain = |byte| stands_for_itself(byte) & begins_no_special(byte);
        let (plain, special) = rest.split_at(plain_len(rest.as_bytes(), is_plain));
        out.extend_from_slice(plain.as_bytes());
        let mut chars = special.chars();
        let Some(c) = chars.next() else { return };
        match u8::try_from(c) {
            Ok(byte) => push_special(out, byte),
            // Writing to a vector cannot fail.
            Err(_) if is_special(c) => drop(safe_json::write_escape(out, c)),
            Err(_) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = chars.as_str();
    }
}

/// Appends octets; plain octets are copied and the others escaped.
fn push_escaped(out: &mut Vec<u8>, text: &[u8], is_plain: impl Fn(u8) -> bool) {
    let mut rest = text;
    loop {
        let len = plain_len(rest, &is_plain);
        let (plain, special) = rest.split_at(len);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { return };
        push_special(out, byte);
        rest = after;
    }
}

/// Returns the length of the plain bytes at the beginning.
fn plain_len(text: &[u8], is_plain: impl Fn(u8) -> bool) -> usize {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let is_plain_block =
        |block: &&[u8; BLOCK]| block.iter().fold(0, |any, &b| any | u8::from(!is_plain(b))) == 0;
    let start = blocks.iter().take_while(is_plain_block).count() * BLOCK;
    let special = text[start..].iter().position(|&byte| !is_plain(byte));
    special.map_or(text.len(), |at| start + at)
}

/// Appends the character of a code point below 256, escaped if necessary.
fn push_special(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        0xa0..=0xac | 0xae.. => {
            return out.extend_from_slice(char::from(byte).encode_utf8(&mut [0; 2]).as_bytes());
        }
        _ => {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xF)]];
            out.extend_from_slice(b"\\u00");
            return out.extend_from_slice(&digits);
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use sslrec_analyzer::text::latin1;

    use super::*;
    use crate::text::Text;

    fn written(value: impl Value) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn safe(text: &str) -> String {
        let mut out = Vec::new();
        safe_json::to_writer(&mut out, &text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_escaped_as_by_the_serializer_wherever_it_is() {
        let specials: Vec<char> =
            (0..=0x10F).filter_map(char::from_u32).chain(['漢', '😀']).collect();
        for special in specials {
            for before in [0, 1, 15, 16, 17, 40] {
                let text = format!("{}{special}{special}xyz", "a".repeat(before));
                assert_eq!(written(&*text), safe(&text));
            }
        }
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(written(&*all) == safe(&all));
    }

    #[test]
    fn octets_are_written_as_latin1_in_parts_too() {
        let all: Vec<u8> = (0..=255).collect();
        for at in [0, 3, 100, 200, 256] {
            let (a, b) = all.split_at(at);
            let expected = safe(&latin1(&all));
            assert_eq!(written(Latin1([a, b])), expected);
        }
    }

    #[test]
    fn milliseconds_are_the_shortest_decimal() {
        for (ns, expected) in [
            (0, "0.0"),
            (1, "0.000001"),
            (14_211, "0.014211"),
            (1_500_000, "1.5"),
            (20_000_000, "20.0"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(written(Milliseconds(ns)), expected);
        }
        for ns in (10_000..999_999_937_000_000).step_by(7_919_003_117) {
            let number: f64 = written(Milliseconds(ns)).parse().unwrap();
            assert_eq!(number, ns as f64 / 1e6);
        }
    }

    #[test]
    fn addresses_are_written_as_they_display() {
        for address in ["1.2.3.4:5", "255.0.10.200:65535", "[::1]:80", "[fe80::1%3]:443"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(written(address), format!("\"{address}\""));
        }
    }

    #[test]
    fn a_long_line_is_the_same_in_parts() {
        for len in [0, 1, BASE64_PIECE, 2 * BASE64_PIECE + 1, 1 << 20] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let line = |out: &mut Vec<u8>, drain: Option<&dyn TakeParts>| {
                let mut object = Object::begin(out).draining(drain);
                object.object("in", Some(()), |object, ()| object.contents("a", Some(&bytes)));
                object.contents("none", None);
                object
                    .written("b", |out| safe_json::to_writer(out, &Text(Base64(&bytes))))
                    .unwrap();
                object.end();
            };
            let (mut whole, mut rest, mut parts) = (Vec::new(), Vec::new(), Vec::new());
            line(&mut whole, None);
            let drain = Drain::new(&mut parts);
            line(&mut rest, Some(&drain));
            drain.finish().unwrap();
            assert!(rest.len() < 3 * PART && rest.capacity() < 8 * PART, "{}", rest.capacity());
            parts.extend_from_slice(&rest);
            assert!(parts == whole, "{len}");
        }
        let mut full: &mut [u8] = &mut [0; 10];
        let drain = Drain::new(&mut full);
        drain.take(&mut vec![0; PART]);
        assert!(drain.finish().is_err());
    }

    #[test]
    fn objects_nest() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.field("a", 1u64);
        object.field_if_some("left out", None::<u64>);
        object.object("b", None::<()>, |_, ()| {});
        object.object("c", Some(true), |object, is| object.field("is", is));
        object.objects("d", [1u64, 2], |object, n| object.field("n", n));
        object.objects("e", [0u64; 0], |_, _| {});
        object.field("f", &["x", "y"][..]);
        object.written("g", |out| safe_json::to_writer(out, &[1.5])).unwrap();
        object.end();
        let expected = concat!(
            r#"{"a":1,"b":null,"c":{"is":true},"d":[{"n":1},{"n":2}],"e":[],"#,
            r#""f":["x","y"],"g":[1.5]}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
