//! `follow`: shows the data that the two ends of a connection sent to each other, in order.
//!
//! It reads records, before any protocol detection, so that it also shows data that is not HTTP.
//! Missing bytes are marked at their place.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use sslrec_analyzer::budget::Budget;
use sslrec_analyzer::exchange::{ConnectionInfo, Note, note};
use sslrec_analyzer::input::{Flow, Kind, RecordSink, Stop};
use sslrec_cli::color::Color;
use sslrec_cli::text::Printable;
use sslrec_formats::record::{
    Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Handshake, PerDirection, Record,
};

use super::reading::{flush, stdout};
use super::show;
use super::transcript::{Form, Transcript};
use crate::files::Files;
use crate::flow;
use crate::limits::Limits;
use crate::stderr;
use crate::text::Duration;

/// Show what the two ends of a connection sent, in order
///
/// Lines of the client begin with `>`, lines of the server with `<`, and remarks with `*`. If the
/// client is unknown, `>` marks the lines of the recorded process.
///
/// Example: `sslanalyze follow capture.pcapng 3`
#[derive(Debug, Args)]
pub(crate) struct Follow {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Number of the connection, `conn` in the JSON
    #[arg(value_name = "CONN")]
    conn: u64,

    /// Show each call as a hex dump
    #[arg(long, conflicts_with = "raw")]
    hex: bool,

    /// Write only the raw bytes of one direction
    ///
    /// Missing bytes are left out, and reported on standard error. Example:
    /// `sslanalyze follow --raw --from server capture.pcapng 3 > body`
    #[arg(long, requires = "from")]
    raw: bool,

    /// Show only this end: client or server, or local or remote if these are unknown
    #[arg(long, value_name = "END", hide_possible_values = true)]
    from: Option<End>,

    /// Colour the directions: auto, always or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    color: Color,

    #[command(flatten)]
    limits: Limits,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
}

/// An end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    Client,
    Server,
    /// The recorded process.
    Local,
    Remote,
}

/// Runs `sslanalyze follow`.
pub(super) fn run(follow: &Follow) -> Result<()> {
    let files = Files::open(std::slice::from_ref(&follow.file), false, follow.quiet)?;
    let files = files.with_budget(&Budget::new(follow.limits.into()));
    let form = match (follow.hex, follow.raw) {
        (true, _) => Form::Hex,
        (_, true) => Form::Raw,
        _ => Form::Text,
    };
    let color = follow.color.is_on(&io::stdout()) && form != Form::Raw;
    let mut conversation = Conversation {
        conn: follow.conn,
        from: follow.from,
        raw: follow.raw,
        transcript: Transcript::new(stdout(), form, color),
        tls: true,
        comms: HashMap::new(),
        info: None,
        introduced: false,
        tls_said: None,
        offsets: PerDirection::default(),
        closed: false,
    };
    let read = files.read(&mut conversation)?;
    conversation.end().context("cannot write the output")?;
    flush(&mut conversation.transcript.into_inner())?;
    let nothing = conversation.info.is_none();
    read.end("everything before the damage was shown")?;
    if nothing {
        let (file, conn) = (follow.file.display(), follow.conn);
        bail!("{file} has no connection {conn}; `conn` in `sslanalyze --json` is the number");
    }
    Ok(())
}

/// A connection on its way to the output.
struct Conversation<W> {
    conn: u64,
    from: Option<End>,
    raw: bool,
    transcript: Transcript<W>,
    tls: bool,
    /// Short names of processes.
    comms: HashMap<u32, Arc<str>>,
    info: Option<ConnectionInfo>,
    /// The first lines, which describe the connection, were written.
    introduced: bool,
    /// Version and cipher of TLS, as last written.
    tls_said: Option<String>,
    /// Stream offset of the next byte of each direction.
    offsets: PerDirection<u64>,
    closed: bool,
}

impl<W: Write> Conversation<W> {
    fn describe(&mut self, connection: &Connection) {
        let comm = self.comms.get(&connection.pid).cloned();
        let info = ConnectionInfo { record: connection.clone(), comm, tls: self.tls };
        self.info = Some(info);
    }

    /// Returns the direction of the client's bytes.
    fn client(&self) -> Option<Direction> {
        self.info.as_ref()?.client_direction()
    }

    /// Returns whether the direction is to be shown.
    fn wants(&self, direction: Direction) -> Result<bool> {
        let client = self.client();
        Ok(match (self.from, client) {
            (None, _) => true,
            (Some(End::Local), _) => direction == Direction::Sent,
            (Some(End::Remote), _) => direction == Direction::Received,
            (Some(End::Client), Some(client)) => direction == client,
            (Some(End::Server), Some(client)) => direction != client,
            (Some(_), None) => bail!(
                "the client of connection {} is unknown; use --from local or --from remote",
                self.conn
            ),
        })
    }

    fn introduce(&mut self) -> io::Result<()> {
        if self.raw || std::mem::replace(&mut self.introduced, true) {
            return Ok(());
        }
        let Some(info) = &self.info else { return Ok(()) };
        let mut lines = Vec::new();
        let protocol = match (&info.record.alpn, info.tls) {
            (Some(alpn), _) => Printable(alpn).to_string(),
            (None, true) => "over TLS".into(),
            (None, false) => "over TCP".into(),
        };
        let client = info.client_direction();
        show::write_origin(&mut lines, "conversation", info.record.ts_ns, info, client, &protocol)?;
        let text = String::from_utf8_lossy(&lines);
        text.lines().try_for_each(|line| self.transcript.remark(line.trim_start_matches("* ")))
    }

    /// Writes the TLS parameters before the first byte: they become known after the handshake.
    fn remark_tls(&mut self) -> io::Result<()> {
        let tls = self.info.as_ref().and_then(ConnectionInfo::version_and_cipher);
        if tls == self.tls_said {
            return Ok(());
        }
        tls.iter().try_for_each(|tls| self.remark(&Printable(tls).to_string()))?;
        self.tls_said = tls;
        Ok(())
    }

    fn remark(&mut self, text: &str) -> io::Result<()> {
        if self.raw { Ok(()) } else { self.transcript.remark(text) }
    }

    fn data(&mut self, data: &Data<'_>) -> Result<()> {
        self.introduce()?;
        self.remark_tls()?;
        self.gap(data.dir, data.offset, GapCause::Unknown)?;
        let offset = &mut self.offsets[data.dir];
        // A file that was assembled from parts can repeat bytes.
        let known = usize::try_from(offset.saturating_sub(data.offset)).unwrap_or(usize::MAX);
        let Some(bytes) = data.payload.get(known..).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        let at = *offset;
        *offset += bytes.len() as u64;
        if self.wants(data.dir)? {
            let forth = self.client().unwrap_or(Direction::Sent) == data.dir;
            self.transcript.data(forth, data.ts_ns, data.func, at, bytes)?;
        }
        Ok(())
    }

    /// Marks the missing bytes before `end`, where this direction continues, with their `cause`.
    fn gap(&mut self, direction: Direction, end: u64, cause: GapCause) -> Result<()> {
        let offset = &mut self.offsets[direction];
        let (at, len) = (*offset, end.saturating_sub(*offset));
        if len == 0 {
            return Ok(());
        }
        *offset = end;
        if !self.wants(direction)? {
            return Ok(());
        }
        let who = match self.client() {
            Some(client) if client == direction => "the client",
            Some(_) => "the server",
            None if direction == Direction::Sent => "the local end",
            None => "the remote end",
        };
        let bytes = if len == 1 { "byte" } else { "bytes" };
        let mut text = format!("{len} {bytes} missing from {who} at {at}");
        if cause != GapCause::Unknown {
            text.push_str(&format!(": {cause}"));
        }
        if self.raw {
            stderr::report(&anyhow::anyhow!("{text}"));
            return Ok(());
        }
        self.introduce()?;
        Ok(self.transcript.remark(&text)?)
    }

    fn handshake(&mut self, handshake: &Handshake<'_>) -> Result<()> {
        self.introduce()?;
        let result = if handshake.ok { "took" } else { "failed after" };
        let (func, took) = (Printable(handshake.func), Duration(handshake.lat_ns));
        Ok(self.remark(&format!("handshake {result} {took:#} ({func})"))?)
    }

    fn close(&mut self, close: &Close) -> Result<()> {
        self.gap(Direction::Sent, close.sent_bytes, GapCause::Unknown)?;
        self.gap(Direction::Received, close.received_bytes, GapCause::Unknown)?;
        self.introduce()?;
        self.remark_tls()?;
        self.closed = true;
        let how = match close.cause {
            CloseCause::Shutdown => "closed",
            CloseCause::Freed => "closed without a goodbye",
            CloseCause::Exit => "the process ended",
            CloseCause::StillOpen => "still open when the recording ended",
        };
        Ok(self.remark(how)?)
    }

    /// Ends the output after the last record.
    fn end(&mut self) -> io::Result<()> {
        if self.info.is_none() {
            return Ok(());
        }
        if !self.closed {
            self.introduce()?;
            self.remark("the recording ended")?;
        }
        self.transcript.end()
    }

    fn show(&mut self, record: &Record<'_>) -> Result<()> {
        match record {
            Record::Connection(connection) => {
                self.describe(connection);
                Ok(())
            }
            Record::Data(data) => self.data(data),
            Record::Gap(Gap { dir, offset, len, cause, .. }) => {
                self.gap(*dir, offset.saturating_add(*len), *cause)
            }
            Record::Handshake(handshake) => self.handshake(handshake),
            Record::Close(close) => self.close(close),
            Record::Process(_) | Record::Exit(_) | Record::Coverage(_) | Record::Stats(_) => Ok(()),
        }
    }
}

impl<W: Write> RecordSink for Conversation<W> {
    fn source(&mut self, kind: Kind) -> Flow {
        self.tls = !kind.is_foreign();
        if kind == Kind::Har { Stop::no_records() } else { Flow::Continue(()) }
    }

    fn record(&mut self, record: &Record<'_>) -> Flow {
        if let Record::Process(process) = record {
            self.comms.insert(process.pid, process.comm.as_str().into());
        }
        if record.conn() != Some(self.conn) {
            return Flow::Continue(());
        }
        flow::of(self.show(record))?;
        if self.closed { Flow::Break(Stop::Done) } else { Flow::Continue(()) }
    }

    fn note(&mut self, conn: u64, note: &Note) -> Flow {
        if conn != self.conn {
            return Flow::Continue(());
        }
        let shown =
            self.introduce().and_then(|()| self.remark(&Printable(&note.to_string()).to_string()));
        flow::of(shown.map_err(anyhow::Error::from))
    }

    fn reset(&mut self, conn: u64, dir: Direction) -> Flow {
        let from = if dir == Direction::Sent { note::End::Local } else { note::End::Remote };
        self.note(conn, &Note::CutOffByReset(from))
    }
}
