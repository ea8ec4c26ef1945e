//! HAR (HTTP Archive 1.2) of browsers and of sslanalyze: exchanges without bytes of connections.
//!
//! Entries are read one at a time. A value of a type other than the format's is ignored, so that
//! only a syntax error is damage. Times are those of the HAR: an exchange begins when the browser
//! wanted to send it, before it waited for a connection.
//!
//! Memory: one entry, of at most a sixteenth of `--max-memory`, and up to [`MAX_CONNECTIONS`]
//! connections, whose texts count towards the memory for connections.

mod entry;
mod json;
mod time;

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::HashMap;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sslrec_formats::io::Error;
use sslrec_formats::record::{AddrKind, Connection, Role};

use self::entry::{Entry, Url};
use super::{EXPECTED, Outcome};
use crate::budget::{Budget, Charge, Share};
use crate::exchange::{ConnectionInfo, Note, SharedConnection};
use crate::sink::{Flow, RecordSink};

/// Maximum number of connections that are remembered. Further entries have one of their own.
const MAX_CONNECTIONS: usize = 1 << 16;

/// Returns whether a file that begins with these bytes may be a HAR: an object of JSON.
pub(super) fn is_har(head: &[u8]) -> bool {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head);
    let text = text.trim_ascii_start();
    let Some(rest) = text.strip_prefix(b"{") else { return false };
    matches!(rest.trim_ascii_start(), [] | [b'"', ..])
}

/// Reads a HAR.
pub(super) fn read(
    reader: impl Read,
    budget: &Budget,
    sink: &mut dyn RecordSink,
) -> Result<Outcome, Error> {
    let place = Place::default();
    let max_entry = budget.max_part() as u64;
    let source = Source { reader: BufReader::new(reader), place: place.clone(), max_entry };
    let mut archive = Archive {
        sink,
        place: place.clone(),
        connections: HashMap::default(),
        charge: budget.charge(Share::Connections),
        last_conn: 0,
        last_ns: 0,
        start_ns: None,
        other: 0,
        flow: Flow::Continue(()),
        found: false,
    };
    let mut json = serde_json::Deserializer::from_reader(source);
    let read = Top(&mut archive).deserialize(&mut json);
    let Archive { flow, found, other, start_ns, .. } = archive;
    if !found {
        return match read.map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::Other => Err(Error::Io(error)),
            _ => {
                let reason = "it begins like JSON, and is no HAR".into();
                Err(Error::Foreign { expected: EXPECTED, reason })
            }
        };
    }
    let stop = flow.break_value();
    let damage = match read {
        Err(error) if stop.is_none() => Some(damage(&error, place.read.get())),
        _ => None,
    };
    let notes = if other > 0 { vec![Note::OtherEntries(other)] } else { Vec::new() };
    Ok(Outcome { start_ns: start_ns.unwrap_or(0), notes, damage, unclosed: false, stop })
}

fn damage(error: &serde_json::Error, offset: u64) -> Error {
    let reason =
        if error.is_eof() { "the file ends inside the HAR".into() } else { error.to_string() };
    Error::Damaged { offset, reason }
}

/// How much was read, shared by the source and the reader of entries.
#[derive(Debug, Clone, Default)]
struct Place {
    read: Rc<Cell<u64>>,
    /// Place of the beginning of the current entry.
    entry: Rc<Cell<u64>>,
}

/// The text, of which an entry may have a limited part.
struct Source<R> {
    reader: BufReader<R>,
    place: Place,
    max_entry: u64,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        let before = self.place.read.get();
        let place = before + read as u64;
        self.place.read.set(place);
        // A byte order mark is no JSON.
        if before < 3 {
            for (byte, mark) in buffer[..read].iter_mut().zip(&b"\xef\xbb\xbf"[before as usize..]) {
                if byte == mark {
                    *byte = b' ';
                }
            }
        }
        if place - self.place.entry.get() > self.max_entry {
            let limit = self.max_entry >> 20;
            return Err(io::Error::other(format!(
                "an entry of more than {limit} MiB; raise --max-memory"
            )));
        }
        Ok(read)
    }
}

/// The state of reading.
struct Archive<'s> {
    sink: &'s mut dyn RecordSink,
    place: Place,
    connections: HashMap<Key, Known>,
    /// The memory of these connections.
    charge: Charge,
    last_conn: u64,
    /// Time of the last entry, for entries without a time.
    last_ns: u64,
    start_ns: Option<u64>,
    /// Number of entries that are not HTTP.
    other: u64,
    flow: Flow,
    /// The log was found.
    found: bool,
}

/// What identifies a connection. An identifier of a browser may be used again for another server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    connection: Box<str>,
    authority: Box<str>,
    tls: bool,
    server: Option<IpAddr>,
}

/// A connection.
#[derive(Debug, Clone)]
struct Known {
    shared: SharedConnection,
    /// Its facts in this file; where files are merged, the shared ones have another number.
    info: Arc<ConnectionInfo>,
    exchanges: u64,
}

impl Archive<'_> {
    fn entry(&mut self, mut entry: Entry) -> Flow {
        let url = std::mem::take(&mut entry.request.0.url.0);
        let Some(url) = Url::parse(&url) else {
            self.other += 1;
            return Flow::Continue(());
        };
        let first_ns = entry.started().unwrap_or(self.last_ns);
        self.last_ns = first_ns;
        let start_ns = self.start_ns.get_or_insert(first_ns);
        *start_ns = first_ns.min(*start_ns);
        let known = self.connection(&entry, &url, first_ns);
        let is_new = known.exchanges == 1;
        let exchange = entry.exchange(&url, &known.shared, known.info, known.exchanges, first_ns);
        self.sink.exchange(Box::new(exchange), is_new)
    }

    /// Returns the connection of an entry, which is counted.
    fn connection(&mut self, entry: &Entry, url: &Url<'_>, first_ns: u64) -> Known {
        let server = entry.server_ip();
        let key = Key {
            connection: entry.connection.0.as_str().into(),
            authority: url.authority.into(),
            tls: url.is_tls(),
            server,
        };
        // Without an identifier nothing is known about the connection.
        let named = !key.connection.is_empty();
        if let Some(known) = self.connections.get_mut(&key).filter(|_| named) {
            known.exchanges += 1;
            return known.clone();
        }
        self.last_conn += 1;
        let info = self.describe(entry, url, server, first_ns);
        let shared = SharedConnection::new(info.clone());
        let known = Known { shared, info: Arc::new(info), exchanges: 1 };
        if named
            && self.connections.len() < MAX_CONNECTIONS
            && self.charge.grow(bytes_of(&key, &known))
        {
            self.connections.insert(key, known.clone());
        }
        known
    }

    fn describe(
        &self,
        entry: &Entry,
        url: &Url<'_>,
        server: Option<IpAddr>,
        ts_ns: u64,
    ) -> ConnectionInfo {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let server = server.zip(url.port()).map(|(ip, port)| SocketAddr::new(ip, port));
        let server = entry.server.0.parse().ok().or(server);
        let client = entry.client.0.parse().ok();
        let is_server = entry.role.0 == Role::Server.as_str();
        let (local, remote) = if is_server { (server, client) } else { (client, server) };
        let record = Connection {
            conn: self.last_conn,
            ts_ns,
            pid: entry.pid.0.map_or(0, |pid| pid as u32),
            role: if is_server { Role::Server } else { Role::Client },
            addr: if server.is_some() { AddrKind::Exact } else { AddrKind::Unknown },
            local,
            remote,
            version: text(&entry.version.0),
            cipher: text(&entry.cipher.0),
            ..Connection::default()
        };
        let comm = text(&entry.comm.0).map(Arc::from);
        ConnectionInfo { record, comm, tls: url.is_tls() }
    }
}

/// Returns the approximate memory of a connection.
fn bytes_of(key: &Key, known: &Known) -> usize {
    let ConnectionInfo { record, comm, .. } = &*known.info;
    let texts = [record.version.as_deref(), record.cipher.as_deref(), comm.as_deref()];
    let texts: usize = texts.into_iter().flatten().map(str::len).sum();
    // The shared facts are a copy.
    let facts = 2 * (size_of::<ConnectionInfo>() + texts);
    size_of::<(Key, Known)>() + key.connection.len() + key.authority.len() + facts
}

/// The object that is the file.
struct Top<'a, 's>(&'a mut Archive<'s>);

/// The log in it.
struct Log<'a, 's>(&'a mut Archive<'s>);

/// The entries of the log.
struct Entries<'a, 's>(&'a mut Archive<'s>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a HAR")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(json::Key(name)) = map.next_key()? {
            if name == "log" {
                map.next_value_seed(Log(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.0.place.begin();
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Log<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Log<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the log of a HAR")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(json::Key(name)) = map.next_key()? {
            if name == "entries" {
                self.0.found = true;
                map.next_value_seed(Entries(self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.0.place.begin();
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the entries of a HAR")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.place.begin();
        while let Some(json::Maybe(entry)) = seq.next_element::<json::Maybe<Entry>>()? {
            self.0.place.begin();
            let flow = self.0.entry(entry);
            if flow.is_break() {
                self.0.flow = flow;
                return Err(serde::de::Error::custom("the reading was stopped"));
            }
        }
        Ok(())
    }
}

impl Place {
    /// A further part of the file begins.
    fn begin(&self) {
        self.entry.set(self.read.get());
    }
}
