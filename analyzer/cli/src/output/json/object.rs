//! Builds JSON objects in a buffer, which is written in parts if a line is long.
//!
//! The values of most fields are [`Value`]s; `serde_json` writes the rare ones, see
//! [`Object::written`].

use std::cell::RefCell;
use std::io::{self, Write};

use super::value::{Value, write_array};
use crate::text::Base64;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::safe_json;
    use crate::text::Text;

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
