//! Values of JSON, appended to a buffer.
//!
//! Header fields are most of the output; a capture has millions of them. So text is copied in
//! pieces, numbers need no formatter, and nothing is allocated on the way. `serde_json` handles
//! text byte by byte and took half of the time of a listing.

use std::io::Write;
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
            push_octets(out, part);
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
const fn stands_for_itself(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\') & (byte != 0x7f)
}

/// Returns whether the byte begins no UTF-8 character that [`is_special`] accepts. A test checks
/// all of them.
const fn begins_no_special(byte: u8) -> bool {
    (byte != 0xc2)
        & (byte != 0xd8)
        & ((byte < 0xe1) | (byte > 0xe3))
        & (byte != 0xef)
        & (byte != 0xf3)
}

/// Number of bytes that are tested together.
const BLOCK: usize = 16;

/// The bytes of UTF-8 text that are copied. Bytes in the middle of a character are among them.
const fn is_plain_text(byte: u8) -> bool {
    stands_for_itself(byte) & begins_no_special(byte)
}

/// The octets of a message head that are copied.
const fn is_plain_octet(byte: u8) -> bool {
    stands_for_itself(byte) & byte.is_ascii()
}

/// The same as tables, which are faster for less than a block: most texts are short.
const PLAIN_TEXT: [bool; 256] = table(true);
const PLAIN_OCTETS: [bool; 256] = table(false);

const fn table(of_text: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        let octet = byte as u8;
        table[byte] = if of_text { is_plain_text(octet) } else { is_plain_octet(octet) };
        byte += 1;
    }
    table
}

/// Appends text with its special characters escaped.
fn push_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    loop {
        // A character begins here, since bytes in the middle of a character are plain.
        let (plain, special) =
            rest.split_at(plain_len(rest.as_bytes(), &PLAIN_TEXT, is_plain_text));
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
fn push_octets(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_len(rest, &PLAIN_OCTETS, is_plain_octet));
        out.extend_from_slice(plain);
        let Some((&byte, after)) = special.split_first() else { return };
        push_special(out, byte);
        rest = after;
    }
}

/// Returns the length of the plain bytes at the beginning.
fn plain_len(text: &[u8], table: &[bool; 256], is_plain: impl Fn(u8) -> bool) -> usize {
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let is_plain_block =
        |block: &&[u8; BLOCK]| block.iter().fold(0, |any, &b| any | u8::from(!is_plain(b))) == 0;
    let start = blocks.iter().take_while(is_plain_block).count() * BLOCK;
    let special = text[start..].iter().position(|&byte| !table[usize::from(byte)]);
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
}
