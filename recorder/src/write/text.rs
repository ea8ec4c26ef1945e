//! Live text, in the manner of sslsniff: a line for each call, then its data.
//!
//! Data of a peer is never printed to the terminal unchanged: control characters are escaped, so
//! that a capture cannot move the cursor or change the title.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use sslrec_cli::hexdump::Hexdump;
use sslrec_cli::text::{Printable, PrintableLines};
use sslrec_formats::io::Error;
use sslrec_formats::record::{Connection, Data, Direction, Gap, Handshake, Process, Record};

use crate::plan::Show;

const SENT: &str = "\x1b[36m";
const RECEIVED: &str = "\x1b[32m";
const GAP: &str = "\x1b[31m";
const RESET: &str = "\x1b[0m";

/// Removed from Go's names, all of which have it.
const GO_PACKAGE: &str = "crypto/tls.";
/// For the remaining name, and for all others but GnuTLS's names for early data.
const FUNC_WIDTH: usize = 25;

/// Prints records as text.
#[derive(Debug)]
pub(crate) struct Text<W> {
    out: W,
    show: Show,
    start_ns: u64,
    header_printed: bool,
    /// The unfinished call whose data is being printed.
    open: Option<Open>,
    processes: HashMap<u32, Process>,
    connections: HashMap<u64, Connection>,
    line: String,
}

/// An unfinished call. Calls of several threads come in pieces, in any order.
#[derive(Debug, PartialEq, Eq)]
struct Open {
    conn: u64,
    dir: Direction,
    /// Offset of the next piece of the same call in the stream.
    next_offset: u64,
    /// The last piece ended its line.
    at_line_start: bool,
}

impl<W: Write> Text<W> {
    pub(crate) fn new(out: W, show: Show, start_ns: u64) -> Self {
        Self {
            out,
            show,
            start_ns,
            header_printed: false,
            open: None,
            processes: HashMap::new(),
            connections: HashMap::new(),
            line: String::new(),
        }
    }

    /// Prints a record, if records of its kind are shown.
    pub(crate) fn write(&mut self, record: &Record<'_>) -> Result<(), Error> {
        match record {
            Record::Process(process) => {
                self.processes.insert(process.pid, process.clone());
            }
            Record::Connection(connection) => {
                self.connections.insert(connection.conn, connection.clone());
            }
            Record::Data(data) => self.data(data)?,
            Record::Gap(gap) => self.gap(gap)?,
            Record::Handshake(handshake) if self.show.handshake => self.handshake(handshake)?,
            Record::Close(close) => {
                self.connections.remove(&close.conn);
            }
            Record::Exit(exit) => {
                self.processes.remove(&exit.pid);
            }
            Record::Handshake(_) | Record::Coverage(_) | Record::Stats(_) => {}
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }

    fn data(&mut self, data: &Data<'_>) -> io::Result<()> {
        if !self.goes_on(data) {
            self.interrupt()?;
            self.head(data.conn, data.func, data.ts_ns, data.tid, data.call_len, data.lat_ns)?;
            let color = if data.dir == Direction::Sent { SENT } else { RECEIVED };
            self.put_line(color)?;
            match data.call_offset {
                0 => writeln!(self.out, "----- DATA -----")?,
                offset => writeln!(self.out, "----- DATA from byte {offset} of the call -----")?,
            }
        }
        self.line.clear();
        if self.show.hexdump {
            let (offset, bytes) = (data.call_offset, data.payload);
            // Writing to a String cannot fail.
            let _ = write!(self.line, "{}", Hexdump { prefix: "", offset, bytes });
        } else {
            let _ = write!(self.line, "{}", PrintableLines(data.payload));
        }
        self.out.write_all(self.line.as_bytes())?;
        let len = data.payload.len() as u64;
        self.open = Some(Open {
            conn: data.conn,
            dir: data.dir,
            next_offset: data.offset + len,
            at_line_start: self.line.ends_with('\n'),
        });
        if data.call_offset + len >= data.call_len {
            self.end_line()?;
            writeln!(self.out, "----- END DATA -----\n")?;
        }
        Ok(())
    }

    /// Returns whether this is the next piece of the call that is being printed.
    fn goes_on(&self, data: &Data<'_>) -> bool {
        data.call_offset > 0 && self.is_next(data.conn, data.dir, data.offset)
    }

    fn is_next(&self, conn: u64, dir: Direction, offset: u64) -> bool {
        let next = self.open.as_ref().map(|open| (open.conn, open.dir, open.next_offset));
        next == Some((conn, dir, offset))
    }

    /// Leaves the call that is being printed, if any, since other output follows.
    fn interrupt(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            self.end_line()?;
            writeln!(self.out, "----- DATA INTERRUPTED -----\n")?;
        }
        Ok(())
    }

    fn end_line(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(Open { at_line_start: false, .. }) => writeln!(self.out),
            _ => Ok(()),
        }
    }

    /// Prints a gap, which ends the truncated data.
    fn gap(&mut self, gap: &Gap) -> io::Result<()> {
        let cuts = self.is_next(gap.conn, gap.dir, gap.offset);
        if cuts {
            self.end_line()?;
        } else {
            self.interrupt()?;
        }
        self.line.clear();
        // Writing to a String cannot fail.
        let _ = write!(
            self.line,
            "----- {} BYTES MISSING: {} at {} of the {} stream of connection {} -----",
            gap.len, gap.cause, gap.offset, gap.dir, gap.conn
        );
        self.put_line(GAP)?;
        if cuts { writeln!(self.out, "----- END DATA -----\n") } else { Ok(()) }
    }

    fn handshake(&mut self, handshake: &Handshake<'_>) -> io::Result<()> {
        self.interrupt()?;
        let Handshake { conn, func, ts_ns, tid, lat_ns, .. } = *handshake;
        self.head(conn, func, ts_ns, tid, 0, lat_ns)?;
        if !handshake.ok {
            // Writing to a String cannot fail.
            let _ = match handshake.result {
                Some(result) => write!(self.line, " failed ({result})"),
                None => write!(self.line, " failed"),
            };
        }
        self.put_line(if handshake.ok { "" } else { GAP })
    }

    /// Begins the line that describes a call.
    fn head(
        &mut self,
        conn: u64,
        func: &str,
        ts_ns: u64,
        tid: u32,
        len: u64,
        lat_ns: u64,
    ) -> io::Result<()> {
        self.columns()?;
        let connection = self.connections.get(&conn);
        let pid = connection.map(|connection| connection.pid);
        let process = pid.and_then(|pid| self.processes.get(&pid));
        let seconds = ts_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        let comm = process.map_or("?", |process| &process.comm);
        let pid = pid.unwrap_or_default();
        self.line.clear();
        let line = &mut self.line;
        let func = func.strip_prefix(GO_PACKAGE).unwrap_or(func);
        let _ = write!(
            line,
            "{func:<FUNC_WIDTH$} {seconds:<14.9} {:<16} {pid:<8} {len:<8}",
            Printable(comm)
        );
        if self.show.latency {
            let _ = write!(line, " {:<9.3}", lat_ns as f64 / 1e6);
        }
        if self.show.extra {
            let uid = process.map(|process| process.uid).unwrap_or_default();
            let _ = write!(line, " {uid:<7} {tid:<8}");
        }
        Ok(())
    }

    fn columns(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.header_printed, true) {
            return Ok(());
        }
        write!(
            self.out,
            "{:<FUNC_WIDTH$} {:<14} {:<16} {:<8} {:<8}",
            "FUNC", "TIME(s)", "COMM", "PID", "LEN"
        )?;
        if self.show.latency {
            write!(self.out, " {:<9}", "LAT(ms)")?;
        }
        if self.show.extra {
            write!(self.out, " {:<7} {:<8}", "UID", "TID")?;
        }
        writeln!(self.out)
    }

    fn put_line(&mut self, color: &str) -> io::Result<()> {
        let line = self.line.trim_end();
        if self.show.color && !color.is_empty() {
            writeln!(self.out, "{color}{line}{RESET}")
        } else {
            writeln!(self.out, "{line}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sslrec_formats::record::GapCause;

    fn print(show: Show, records: &[Record<'_>]) -> String {
        let mut text = Text::new(Vec::new(), show, 1_000_000_000);
        for record in records {
            text.write(record).unwrap();
        }
        String::from_utf8(text.out).unwrap()
    }

    fn call<'a>(payload: &'a [u8]) -> [Record<'a>; 3] {
        let data = Data {
            conn: 1,
            ts_ns: 1_500_000_000,
            tid: 8,
            dir: Direction::Sent,
            offset: 0,
            func: "SSL_write",
            lat_ns: 2_000_000,
            call_len: payload.len() as u64,
            call_offset: 0,
            payload,
        };
        [
            Record::Process(Process { pid: 7, comm: "curl".into(), ..Process::default() }),
            Record::Connection(Connection { conn: 1, pid: 7, ..Connection::default() }),
            Record::Data(data),
        ]
    }

    #[test]
    fn names_fit_into_their_column() {
        let mut records = call(b"GET /");
        let Record::Data(data) = &mut records[2] else { panic!() };
        data.func = "crypto/tls.(*Conn).writeRecordLocked";
        let text = print(Show::default(), &records);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].starts_with("(*Conn).writeRecordLocked 0.500000000 "), "{text}");
        assert_eq!(lines[0].find("COMM"), lines[1].find("curl"), "{text}");
    }

    #[test]
    fn a_call_is_a_line_and_its_data() {
        let text =
            print(Show { latency: true, ..Show::default() }, &call(b"GET / HTTP/1.1\r\n\r\n"));
        let lines: Vec<_> = text.lines().collect();
        let words: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(words, ["SSL_write", "0.500000000", "curl", "7", "18", "2.000"]);
        assert_eq!(lines[2..5], ["----- DATA -----", "GET / HTTP/1.1", ""]);
        assert_eq!(lines[5], "----- END DATA -----");
    }

    /// Returns a piece of a call of eight bytes at the beginning of a connection's stream.
    fn piece(conn: u64, call_offset: u64, payload: &[u8]) -> Record<'_> {
        Record::Data(Data {
            conn,
            ts_ns: 1_500_000_000,
            tid: conn as u32,
            dir: Direction::Sent,
            offset: call_offset,
            func: "SSL_write",
            lat_ns: 0,
            call_len: 8,
            call_offset,
            payload,
        })
    }

    fn gap<'a>(offset: u64, len: u64) -> Record<'a> {
        let (conn, dir, cause) = (1, Direction::Sent, GapCause::Snaplen);
        Record::Gap(Gap { conn, ts_ns: 0, dir, offset, len, cause })
    }

    /// Returns the lines without the column names, empty lines, and all parts of a heading but its
    /// name.
    fn outline(records: &[Record<'_>]) -> Vec<String> {
        let text = print(Show::default(), records);
        let first_words = |line: &str| match line.split_once(' ') {
            Some(("SSL_write", _)) => "SSL_write".to_owned(),
            _ => line.trim_matches(['-', ' ']).to_owned(),
        };
        let shown = |line: &&str| !line.is_empty() && !line.starts_with("FUNC");
        text.lines().filter(shown).map(first_words).collect()
    }

    #[test]
    fn pieces_of_a_call_are_one_block() {
        let lines = outline(&[piece(1, 0, b"abcd"), piece(1, 4, b"efgh")]);
        assert_eq!(lines, ["SSL_write", "DATA", "abcdefgh", "END DATA"]);
    }

    #[test]
    fn calls_in_pieces_are_distinguished() {
        let lines = outline(&[
            piece(1, 0, b"abcd"),
            piece(2, 0, b"ABCD"),
            piece(1, 4, b"efgh"),
            piece(2, 4, b"EFGH"),
        ]);
        let first = ["SSL_write", "DATA", "abcd", "DATA INTERRUPTED"];
        let second = ["SSL_write", "DATA", "ABCD", "DATA INTERRUPTED"];
        let rest = "DATA from byte 4 of the call";
        assert_eq!(lines[..8], [first, second].concat());
        assert_eq!(lines[8..12], ["SSL_write", rest, "efgh", "END DATA"]);
        assert_eq!(lines[12..], ["SSL_write", rest, "EFGH", "END DATA"]);
    }

    #[test]
    fn a_cut_call_ends_with_its_gap() {
        let lines = outline(&[piece(1, 0, b"abcd"), gap(4, 4)]);
        assert_eq!(lines[..3], ["SSL_write", "DATA", "abcd"]);
        assert!(lines[3].starts_with("4 BYTES MISSING"), "{lines:?}");
        assert_eq!(lines[4..], ["END DATA"]);
    }

    #[test]
    fn a_call_whose_beginning_is_lost_has_a_heading() {
        let lines = outline(&[gap(0, 4), piece(1, 4, b"efgh")]);
        let rest = "DATA from byte 4 of the call";
        assert!(lines[0].starts_with("4 BYTES MISSING"), "{lines:?}");
        assert_eq!(lines[1..], ["SSL_write", rest, "efgh", "END DATA"]);
    }

    #[test]
    fn a_terminal_is_safe_from_data_of_peers() {
        let text =
            print(Show::default(), &call(b"\x1b]0;title\x07\x9b1m \xff \xc2\x9b caf\xc3\xa9"));
        assert!(text.contains("\\u{1b}]0;title\\u{7}\\x9b1m \\xff \\u{9b} café"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn bytes_can_be_dumped() {
        let text = print(Show { hexdump: true, ..Show::default() }, &call(b"0123456789abcdef\x00"));
        assert!(text.contains(
            "00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|"
        ));
        assert!(text.contains("00000010  00  "), "{text}");
    }
}
