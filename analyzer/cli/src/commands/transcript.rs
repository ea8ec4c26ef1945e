//! Writes a conversation: as text, as hexadecimal numbers, or raw.
//!
//! In text, the first character of every line marks its sender, so that no data can imitate a line
//! of the other end. Control characters are escaped.

use std::io::{self, Write};

use sslrec_cli::hexdump::Hexdump;
use sslrec_cli::text::{Printable, push_line};

use crate::text::TimeOfDay;

/// The form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Hex,
    Raw,
}

/// Writes the bytes of a conversation in a form.
pub(crate) struct Transcript<W> {
    out: W,
    form: Form,
    color: bool,
    /// Sender of the current line: `true` for the client, `false` for the server.
    turn: Option<bool>,
    /// The current line is not ended yet.
    in_line: bool,
    /// The beginning of a character or of a line ending whose rest is still missing.
    held: Vec<u8>,
    /// The escaped text of a line; empty between calls. Kept to reuse its memory.
    escaped: String,
}

/// Style of a remark in colours: dim.
const REMARK: &str = "2";

/// Returns the mark of a line, and its colour.
fn mark(forth: bool) -> (char, &'static str) {
    if forth { ('>', "36") } else { ('<', "33") }
}

impl<W: Write> Transcript<W> {
    pub(crate) fn new(out: W, form: Form, color: bool) -> Self {
        Self {
            out,
            form,
            color,
            turn: None,
            in_line: false,
            held: Vec::new(),
            escaped: String::new(),
        }
    }

    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    /// Writes a line that neither end sent.
    pub(crate) fn remark(&mut self, text: &str) -> io::Result<()> {
        self.end()?;
        self.turn = None;
        self.colored(REMARK, &format!("* {text}"))?;
        self.out.write_all(b"\n")
    }

    /// Writes bytes of the client (`forth`) or the server, from `offset` of that direction.
    pub(crate) fn data(
        &mut self,
        forth: bool,
        ts_ns: u64,
        func: &str,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        match self.form {
            Form::Raw => self.out.write_all(bytes),
            Form::Hex => {
                let (mark, color) = mark(forth);
                let (time, func, len) = (TimeOfDay(ts_ns), Printable(func), bytes.len());
                let space = if func.0.is_empty() { "" } else { " " };
                self.colored(color, &format!("{mark} {time} {func}{space}{len} bytes"))?;
                self.out.write_all(b"\n")?;
                write!(self.out, "{}", Hexdump { prefix: "  ", offset, bytes })
            }
            Form::Text => {
                if self.turn != Some(forth) {
                    let who = if forth { "client" } else { "server" };
                    self.remark(&format!("{} {who}", TimeOfDay(ts_ns)))?;
                    self.turn = Some(forth);
                }
                self.text(forth, bytes)
            }
        }
    }

    /// Ends the line.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        if let Some(forth) = self.turn {
            let held = std::mem::take(&mut self.held);
            self.octets(forth, &held)?;
        }
        if std::mem::take(&mut self.in_line) { self.end_line() } else { Ok(()) }
    }

    fn text(&mut self, forth: bool, bytes: &[u8]) -> io::Result<()> {
        let mut joined = std::mem::take(&mut self.held);
        let mut rest = if joined.is_empty() {
            bytes
        } else {
            joined.extend_from_slice(bytes);
            &joined[..]
        };
        // The rest of a line ending may come with the next call.
        let held_back = usize::from(rest.ends_with(b"\r"));
        let (now, mut later) = rest.split_at(rest.len() - held_back);
        rest = now;
        while !rest.is_empty() {
            let error = match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.lines(forth, text)?;
                    break;
                }
                Err(error) => error,
            };
            let (valid, tail) = rest.split_at(error.valid_up_to());
            self.lines(forth, &String::from_utf8_lossy(valid))?;
            match error.error_len() {
                Some(len) => {
                    self.octets(forth, &tail[..len])?;
                    rest = &tail[len..];
                }
                // The rest has no carriage return, so nothing was split off after it.
                None if later.is_empty() => {
                    later = tail;
                    break;
                }
                None => {
                    self.octets(forth, tail)?;
                    break;
                }
            }
        }
        self.held = later.to_vec();
        Ok(())
    }

    fn lines(&mut self, forth: bool, text: &str) -> io::Result<()> {
        for line in text.split_inclusive('\n') {
            let (content, ended) = match line.strip_suffix('\n') {
                Some(content) => (content.strip_suffix('\r').unwrap_or(content), true),
                None => (line, false),
            };
            self.begin_line(forth)?;
            // A tab is harmless, and escaping it would spoil the layout.
            for part in content.split_inclusive('\t') {
                let (text, tab) = match part.strip_suffix('\t') {
                    Some(text) => (text, "\t"),
                    None => (part, ""),
                };
                push_line(&mut self.escaped, text.as_bytes());
                self.escaped.push_str(tab);
            }
            self.out.write_all(self.escaped.as_bytes())?;
            self.escaped.clear();
            if ended {
                self.in_line = false;
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// Writes bytes that are not text.
    fn octets(&mut self, forth: bool, octets: &[u8]) -> io::Result<()> {
        if !octets.is_empty() {
            self.begin_line(forth)?;
        }
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |value: u8| DIGITS[usize::from(value)];
        octets.iter().try_for_each(|&octet| {
            self.out.write_all(&[b'\\', b'x', digit(octet >> 4), digit(octet & 15)])
        })
    }

    fn begin_line(&mut self, forth: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.in_line, true) {
            return Ok(());
        }
        let (mark, color) = mark(forth);
        if self.color {
            write!(self.out, "\x1b[{color}m{mark} ")
        } else {
            write!(self.out, "{mark} ")
        }
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.out.write_all(if self.color { b"\x1b[0m\n" } else { b"\n" })
    }

    fn colored(&mut self, color: &str, text: &str) -> io::Result<()> {
        if self.color {
            write!(self.out, "\x1b[{color}m{text}\x1b[0m")
        } else {
            self.out.write_all(text.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

    use super::*;

    fn text(parts: &[(bool, &[u8])]) -> String {
        let mut transcript = Transcript::new(Vec::new(), Form::Text, false);
        for (forth, bytes) in parts {
            transcript.data(*forth, 0, "SSL_write", 0, bytes).unwrap();
        }
        transcript.end().unwrap();
        String::from_utf8(transcript.into_inner()).unwrap()
    }

    #[test]
    fn every_line_marks_its_sender() {
        let shown =
            text(&[(true, b"GET /\r\n* forged\n"), (false, b"200\n> forged\nend"), (true, b"x")]);
        let expected = "* 00:00:00.000 client\n> GET /\n> * forged\n* 00:00:00.000 server\n< 200\n\
                        < > forged\n< end\n* 00:00:00.000 client\n> x\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn it_does_not_matter_where_calls_end() {
        let whole = "é\t€𝄞\r\n\r\n\rx\u{1b}[2J\n\n".as_bytes();
        let bytes = [whole, b"\xff\xe2\x82\n\xe2\x82", b"\r"].concat();
        let expected = text(&[(true, &bytes)]);
        assert!(
            expected.contains(
                "> é\t€𝄞\n> \n> \\rx\\u{1b}[2J\n> \n> \\xff\\xe2\\x82\n> \\xe2\\x82\\x0d\n"
            ),
            "{expected}"
        );
        for at in 0..=bytes.len() {
            assert_eq!(text(&[(true, &bytes[..at]), (true, &bytes[at..])]), expected, "{at}");
        }
        let octets: Vec<_> = bytes.iter().map(|byte| (true, std::slice::from_ref(byte))).collect();
        assert_eq!(text(&octets), expected);
    }
}
