//! `extract`: writes bodies to files.
//!
//! Names come from the network ([`super::file_name`]), and others may have put files into the
//! folder: every file is created anew, never written through a link or over an existing file.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sslrec_analyzer::coding;
use sslrec_analyzer::exchange::{Exchange, Item, Message, Stream};
use sslrec_analyzer::input::Flow;
use sslrec_analyzer::pipeline::ItemSink;
use sslrec_analyzer::text::readable;
use sslrec_cli::text::Printable;
use sslrec_formats::record::Direction;

use super::file_name::file_name;
use super::reading::{Reading, Wanted, filter, flush, read, stdout};
use crate::flow;

/// Maximum number of files whose names differ only by a number.
const MAX_ALIKE: u32 = 10_000;

/// Write bodies to files
///
/// A file is named after the number of its exchange and the end of the URL, such as
/// `12-response-logo.png`, with an extension that fits its content type. Content codings are
/// undone. For a connection that is not HTTP, the bytes of each end are written. Existing files are
/// kept: a number is added to the new name. Files have mode 0600. A line is printed for each file.
///
/// Example: `sslanalyze extract capture.pcapng bodies 'header.content-type~image'`
#[derive(Debug, Args)]
pub(crate) struct Extract {
    /// The capture; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The folder for the files; created if missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Use only items that match, as in the listing
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    /// Only bodies of requests
    #[arg(long, conflicts_with = "responses")]
    requests: bool,

    /// Only bodies of responses
    #[arg(long)]
    responses: bool,

    #[command(flatten)]
    reading: Reading,
}

/// Runs `sslanalyze extract`.
pub(super) fn run(extract: &Extract) -> Result<()> {
    let filter = filter_of(extract)?;
    let dir = &extract.dir;
    let mut bodies = Bodies {
        out: stdout(),
        dir,
        requests: !extract.responses,
        responses: !extract.requests,
        count: 0,
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let wanted = Wanted { filter, bodies: true, ..Wanted::default() };
    let done = read(&extract.file, &extract.reading, wanted, &mut bodies)?;
    flush(&mut bodies.out)?;
    let count = bodies.count;
    done.end()?;
    if count == 0 {
        bail!("no body to extract in {}", extract.file.display());
    }
    Ok(())
}

fn filter_of(extract: &Extract) -> Result<Option<sslrec_analyzer::filter::Filter>> {
    Ok(extract.filter.as_deref().map(filter).transpose()?)
}

struct Bodies<'a, W> {
    out: W,
    dir: &'a Path,
    requests: bool,
    responses: bool,
    count: u64,
}

impl<W: Write> ItemSink for Bodies<'_, W> {
    fn item(&mut self, item: Item) -> Flow {
        flow::of(self.take(item))
    }
}

impl<W: Write> Bodies<'_, W> {
    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Exchange(mut exchange) => {
                coding::undo(&mut exchange);
                self.exchange(&exchange)
            }
            Item::Stream(stream) => self.stream(&stream),
            Item::Handshake(_) => Ok(()),
        }
    }
}

impl<W: Write> Bodies<'_, W> {
    fn exchange(&mut self, exchange: &Exchange) -> Result<()> {
        let request = exchange.request.as_ref();
        let path = request.and_then(|request| request.path()).unwrap_or_default();
        let messages = [
            ("request", self.requests, request.map(|r| &r.message)),
            ("response", self.responses, exchange.response.as_ref().map(|r| &r.message)),
        ];
        for (kind, wanted, message) in messages {
            let Some((message, data)) = message.filter(|_| wanted).and_then(contents) else {
                continue;
            };
            let content_type = message.headers.first("content-type").map_or("".into(), readable);
            let name = file_name(&format!("{}-{kind}", exchange.id), &path, &content_type);
            let mut about = if content_type.is_empty() {
                "no content type".to_owned()
            } else {
                content_type.to_string()
            };
            if let Some(request) = request {
                let tls = exchange.connection.tls;
                let method = request.method.as_deref().unwrap_or("<unknown>");
                let url = request.url(tls).unwrap_or("<unknown>".into());
                // Writing to a String cannot fail.
                let _ = write!(about, ", {method} {url}");
            }
            exchange.notes.iter().for_each(|note| {
                let _ = write!(about, "; {note}");
            });
            self.write(&name, data, &about)?;
        }
        Ok(())
    }

    fn stream(&mut self, stream: &Stream) -> Result<()> {
        let info = &*stream.connection;
        let conn = info.record.conn;
        for direction in Direction::BOTH {
            let (end, wanted) = match info.client_direction() {
                Some(client) if client == direction => ("client", self.requests),
                Some(_) => ("server", self.responses),
                // The direction is unknown, so this is neither a request nor a response.
                None if direction == Direction::Sent => ("local", self.requests == self.responses),
                None => ("remote", self.requests == self.responses),
            };
            let data = stream.halves[direction].data.as_deref().filter(|data| !data.is_empty());
            let Some(data) = data.filter(|_| wanted) else { continue };
            let mut about = "not HTTP".to_owned();
            stream.notes.iter().for_each(|note| {
                let _ = write!(about, "; {note}");
            });
            self.write(&format!("connection-{conn}-{end}.bin"), data, &about)?;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, data: &[u8], about: &str) -> Result<()> {
        let (mut file, path) = create(self.dir, name)?;
        if let Err(error) = file.write_all(data) {
            // A partial body would look complete. If the file cannot be removed, the message names
            // it.
            let _ = fs::remove_file(&path);
            return Err(error).with_context(|| format!("cannot write {}", path.display()));
        }
        self.count += 1;
        let (path, bytes) = (path.display().to_string(), data.len());
        writeln!(self.out, "{}: {bytes} bytes, {}", Printable(&path), Printable(about))?;
        Ok(())
    }
}

/// Returns the message with its contents, if it has any.
fn contents(message: &Message) -> Option<(&Message, &[u8])> {
    let data = message.body.data.as_deref().filter(|data| !data.is_empty())?;
    Some((message, data))
}

/// Creates a file of this name, or of the first free name with a number.
fn create(dir: &Path, name: &str) -> Result<(File, PathBuf)> {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, "bin"));
    let mut path = dir.join(name);
    for number in 2..=MAX_ALIKE {
        match create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = dir.join(format!("{stem}.{number}.{extension}"));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
            Ok(file) => return Ok((file, path)),
        }
    }
    bail!("{} has {MAX_ALIKE} files named like {name}; choose another folder", dir.display())
}

/// Creates a file that only this user can read. A link of this name counts as an existing file,
/// whatever its target.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
