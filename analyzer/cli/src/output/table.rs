//! The listing for people: a line for each exchange, stream or handshake, and a summary.
//!
//! On a terminal, columns shrink and texts are cut until a line fits ([`super::columns`]). Anywhere
//! else nothing is cut, so that piped output does not depend on a window. Bytes from the network
//! are escaped ([`Printable`](sslrec_cli::text::Printable)).

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use sslrec_analyzer::exchange::{ConnectionInfo, Exchange, Handshake, Item, Stream};
use sslrec_analyzer::pipeline::Summary;
use sslrec_analyzer::text::readable;
use sslrec_cli::size::Size;
use sslrec_cli::text::Printable;
use sslrec_formats::record::Direction;

use super::Output;
use super::columns::{self, Columns};
use crate::over_http;
use crate::text::{Duration, TimeOfDay};

/// Writes the listing as a table for a terminal.
#[derive(Debug)]
pub(crate) struct Table<W> {
    out: W,
    color: bool,
    columns: Columns,
    /// Cut text that is too long, because the output is a terminal.
    cut: bool,
    started: bool,
    /// Reused for each line.
    line: String,
    cell: String,
}

/// The cells of a line.
struct Row<'a> {
    first_ns: u64,
    info: &'a ConnectionInfo,
    method: &'a str,
    status: Option<u16>,
    complete: bool,
    url: &'a dyn Display,
    content_type: &'a str,
    bytes: Option<u64>,
    duration_ns: Option<u64>,
}

impl<W: Write> Table<W> {
    /// Creates a table that writes to `out`, optionally in colours. `width` is the width of the
    /// terminal; without it lines may have any length.
    pub(crate) fn new(out: W, color: bool, width: Option<usize>) -> Self {
        let columns = Columns::fitting(width);
        let (line, cell) = (String::new(), String::new());
        Self { out, color, columns, cut: width.is_some(), started: false, line, cell }
    }

    fn header(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let columns = self.columns;
        self.bold(true);
        self.left(&"TIME", 12);
        self.right(&"PID", columns.pid);
        self.left(&"COMM", columns.comm);
        self.left(&"METHOD", 7);
        self.left(&"CODE", 4);
        self.left(&"URL", columns.url);
        self.left(&"TYPE", columns.content_type);
        self.right(&"SIZE", columns.size);
        self.right(&"TOOK", 7);
        self.end_of_line();
        self.bold(false);
        self.line.push('\n');
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.line.clear();
        self.header();
        let columns = self.columns;
        self.left(&TimeOfDay(row.first_ns), 12);
        self.right(&Or(row.info.pid()), columns.pid);
        self.left(&Printable(row.info.comm.as_deref().unwrap_or("-")), columns.comm);
        self.left(&Printable(row.method), 7);
        self.status(row);
        self.left(row.url, columns.url);
        self.left(&Printable(row.content_type), columns.content_type);
        self.right(&Or(row.bytes.map(Size)), columns.size);
        self.right(&Or(row.duration_ns.map(Duration)), 7);
        self.end_of_line();
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    /// Writes a left-aligned cell of at least `width` columns, and on a terminal exactly `width`. A
    /// width of 0 writes no cell.
    fn left(&mut self, text: &dyn Display, width: usize) {
        let pad = self.fill(text, width);
        if width > 0 {
            let _ = write!(self.line, "{}{:pad$} ", self.cell, "");
        }
    }

    /// Writes a right-aligned cell, otherwise as [`Self::left`].
    fn right(&mut self, text: &dyn Display, width: usize) {
        let pad = self.fill(text, width);
        if width > 0 {
            let _ = write!(self.line, "{:pad$}{} ", "", self.cell);
        }
    }

    /// Puts a text into the cell. Returns the number of columns that stay empty.
    fn fill(&mut self, text: &dyn Display, width: usize) -> usize {
        self.cell.clear();
        let _ = write!(self.cell, "{text}");
        if self.cut {
            columns::cut(&mut self.cell, width);
        }
        width.saturating_sub(columns::width(&self.cell))
    }

    /// Removes the blanks at the end of the line.
    fn end_of_line(&mut self) {
        self.line.truncate(self.line.trim_end_matches(' ').len());
    }

    fn bold(&mut self, on: bool) {
        if self.color {
            self.line.push_str(if on { "\x1b[1m" } else { "\x1b[0m" });
        }
    }

    fn status(&mut self, row: &Row<'_>) {
        let code = row.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let mark = if row.complete { " " } else { "!" };
        let color = match row.status {
            Some(200..=299) => "32",
            Some(300..=399) => "36",
            Some(400..=499) => "33",
            Some(500..) => "31",
            _ => "2",
        };
        let pad = 3usize.saturating_sub(code.len());
        let _ = match self.color {
            true => write!(self.line, "\x1b[{color}m{code}{mark}\x1b[0m{:pad$} ", ""),
            false => write!(self.line, "{code}{mark}{:pad$} ", ""),
        };
    }

    fn exchange(&mut self, exchange: &Exchange) -> io::Result<()> {
        let info = &*exchange.connection;
        let response = exchange.response.as_ref();
        let (kind, bytes) = match over_http::of(exchange) {
            Some((_, shown)) => (shown.summary().into(), shown.bytes(exchange)),
            None => (content_type(exchange), body_bytes(exchange)),
        };
        self.row(&Row {
            first_ns: exchange.first_ns(),
            info,
            method: exchange
                .request
                .as_ref()
                .and_then(|request| request.method.as_deref())
                .unwrap_or("-"),
            status: response.and_then(|response| response.status),
            complete: exchange.complete,
            url: &Place { exchange, info },
            content_type: &kind,
            bytes,
            duration_ns: exchange.duration_ns(),
        })
    }

    fn stream(&mut self, stream: &Stream) -> io::Result<()> {
        let info = &*stream.connection;
        self.row(&Row {
            first_ns: stream.first_ns,
            info,
            method: "-",
            status: None,
            complete: stream.complete,
            url: &Peer(info, info.client_direction()),
            content_type: "stream",
            bytes: Some(stream.halves.sent.bytes + stream.halves.received.bytes),
            duration_ns: stream.last_ns.checked_sub(stream.first_ns),
        })
    }

    fn handshake(&mut self, handshake: &Handshake) -> io::Result<()> {
        let info = &*handshake.connection;
        let version = info.record.version.as_deref();
        self.row(&Row {
            first_ns: handshake.first_ns,
            info,
            method: "-",
            status: None,
            complete: handshake.ok,
            url: &Peer(info, info.client_direction()),
            content_type: &version.map_or("handshake".into(), |known| format!("handshake {known}")),
            bytes: None,
            duration_ns: handshake.latency_ns(),
        })
    }
}

/// Returns the media type of the response, without parameters.
fn content_type(exchange: &Exchange) -> Cow<'_, str> {
    let headers = exchange.response.as_ref().map(|response| &response.message.headers);
    headers.and_then(|headers| headers.media_type()).map_or("-".into(), readable)
}

fn body_bytes(exchange: &Exchange) -> Option<u64> {
    exchange.response.as_ref().map(|response| response.message.body.bytes)
}

/// A value, or a dash if it is unknown.
struct Or<T>(Option<T>);

impl<T: Display> Display for Or<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// Host and path of an exchange.
struct Place<'a> {
    exchange: &'a Exchange,
    info: &'a ConnectionInfo,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let request = self.exchange.request.as_ref();
        match request.and_then(|request| request.authority()) {
            Some(authority) => Printable(&authority).fmt(f)?,
            None => Peer(self.info, Some(self.exchange.request_direction)).fmt(f)?,
        }
        match request.and_then(|request| request.path()) {
            Some(path) => Printable(&path).fmt(f),
            None => match request.and_then(|request| request.line.as_deref()) {
                Some(line) => write!(f, " \"{}\"", Printable(&readable(line))),
                None => Ok(()),
            },
        }
    }
}

/// The server of a connection: its name, else its address; without a role, both addresses.
struct Peer<'a>(&'a ConnectionInfo, Option<Direction>);

impl Display for Peer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Peer(info, client) = self;
        let server = client.and_then(|client| info.ends(client).1);
        match (&info.record.sni, server, info.record.local.zip(info.record.remote)) {
            (Some(name), ..) => Printable(name).fmt(f),
            (None, Some(server), _) => server.fmt(f),
            (None, None, Some((local, remote))) => write!(f, "{local} - {remote}"),
            (None, None, None) => f.write_str("-"),
        }
    }
}

/// The totals in a sentence; problems are listed only if there were any.
struct Totals<'a>(&'a Summary);

impl Display for Totals<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Totals(summary) = self;
        let count =
            |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
        if let Some(listed) = summary.listed {
            write!(f, "{listed} listed of ")?;
        }
        if summary.exchanges > 0 || summary.streams == 0 {
            f.write_str(&count(summary.exchanges, "exchange", "exchanges"))?;
        }
        if summary.streams > 0 {
            let separator = if summary.exchanges > 0 { ", " } else { "" };
            write!(f, "{separator}{}", count(summary.streams, "stream", "streams"))?;
        }
        // Handshakes are listed only if a filter selects them.
        if summary.listed.is_some() && summary.handshakes > 0 {
            write!(f, ", {}", count(summary.handshakes, "handshake", "handshakes"))?;
        }
        if summary.connections > 0 {
            write!(f, " on {}", count(summary.connections, "connection", "connections"))?;
        }
        if summary.processes > 0 {
            write!(f, " of {}", count(summary.processes, "process", "processes"))?;
        }
        if let Some((start, end)) = summary.start_ns.zip(summary.end_ns) {
            write!(f, " in {:#}", Duration(end.saturating_sub(start)))?;
        }
        if summary.incomplete > 0 {
            write!(f, "; {} incomplete (!)", summary.incomplete)?;
        }
        let lost = (summary.lost_bytes > 0)
            .then(|| format!("{} lost", count(summary.lost_bytes, "byte", "bytes")));
        let dropped = summary.dropped_events.filter(|&dropped| dropped > 0);
        let dropped = dropped.map(|n| format!("{} dropped", count(n, "event", "events")));
        let losses: Vec<_> = lost.into_iter().chain(dropped).collect();
        if !losses.is_empty() {
            write!(f, "; {}", losses.join(", "))?;
        }
        if summary.missed > 0 {
            let missed = count(summary.missed, "TLS connection", "TLS connections");
            write!(f, "; {missed} not recorded (--json lists them)")?;
        }
        if !summary.closed {
            f.write_str("; the capture was not closed, so its end may be missing")?;
        }
        Ok(())
    }
}

impl<W: Write> Output for Table<W> {
    fn item(&mut self, item: &Item) -> io::Result<()> {
        match item {
            Item::Exchange(exchange) => self.exchange(exchange),
            Item::Stream(stream) => self.stream(stream),
            Item::Handshake(handshake) => self.handshake(handshake),
        }
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        writeln!(self.out, "{}", Totals(summary))?;
        for note in &summary.notes {
            writeln!(self.out, "note: {}", Printable(&note.to_string()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use sslrec_analyzer::exchange::{Request, Response, SharedConnection};

    use super::*;

    fn listed(color: bool, width: Option<usize>) -> String {
        let info =
            ConnectionInfo { comm: Some("日本語のプロセス".into()), ..Default::default() };
        let connection = SharedConnection::new(info);
        let mut exchange = Exchange::new(&connection, Direction::Sent, 1);
        let path = format!("/{}?end", "segment/".repeat(20));
        exchange.request = Some(Request {
            method: Some("PROPPATCH".into()),
            target: Some(path.into_bytes()),
            ..Request::default()
        });
        let mut response = Response { status: Some(503), ..Response::default() };
        response.message.headers.push(b"Content-Type", b"application/vnd.api+json; charset=x");
        response.message.body.bytes = 123_456;
        exchange.response = Some(response);
        let stream = Stream::new(&connection, 1, false);
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, color, width);
        table.item(&Item::Exchange(Box::new(exchange))).unwrap();
        table.item(&Item::Stream(Box::new(stream))).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_fit_the_terminal_and_stand_in_columns() {
        for width in 42..200 {
            let text = listed(false, Some(width));
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), 3);
            for line in &lines {
                assert!(columns::width(line) <= width, "{width}: {line}");
                assert!(!line.ends_with(' '), "{width}: {line:?}");
            }
            // Columns of the terminal, as the text before them may contain wide characters.
            let column = |line: &str, text: &str| columns::width(&line[..line.find(text).unwrap()]);
            assert_eq!(column(lines[0], "CODE"), column(lines[1], "503!"), "{text}");
        }
        let lines = listed(false, None);
        assert!(lines.contains("?end") && lines.contains("日本語のプロセス"), "{lines}");
        assert!(!lines.contains('…'), "{lines}");
    }

    #[test]
    fn colours_take_no_room() {
        let plain = listed(false, Some(100));
        let mut colored = listed(true, Some(100));
        assert!(colored.contains("\x1b[31m503!\x1b[0m"), "{colored:?}");
        for code in ["0", "1", "2", "31"] {
            colored = colored.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(colored, plain);
    }

    #[test]
    fn totals_speak_of_trouble_only_where_there_is_some() {
        let calm = Summary {
            exchanges: 7,
            connections: 5,
            processes: 5,
            dropped_events: Some(0),
            start_ns: Some(1_000_000_000),
            end_ns: Some(1_703_000_000),
            closed: true,
            ..Summary::default()
        };
        let text = "7 exchanges on 5 connections of 5 processes in 703 ms";
        assert_eq!(Totals(&calm).to_string(), text);
        let mut bad = Summary { incomplete: 2, lost_bytes: 1234, ..calm };
        bad.dropped_events = Some(3);
        bad.closed = false;
        assert_eq!(
            Totals(&bad).to_string(),
            format!(
                "{text}; 2 incomplete (!); 1234 bytes lost, 3 events dropped; \
                 the capture was not closed, so its end may be missing"
            )
        );
        let one = Summary { streams: 1, connections: 1, closed: true, ..Summary::default() };
        assert_eq!(Totals(&one).to_string(), "1 stream on 1 connection");
        let some = Summary { listed: Some(1), exchanges: 2, streams: 1, ..one };
        assert_eq!(Totals(&some).to_string(), "1 listed of 2 exchanges, 1 stream on 1 connection");
        let none = Summary { closed: true, ..Summary::default() };
        assert_eq!(Totals(&none).to_string(), "0 exchanges");
    }
}
