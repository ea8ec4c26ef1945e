//! The contents of the files, by connection and together.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sslrec_formats::io::RecordReader;
use sslrec_formats::pairing::Pairing;
use sslrec_formats::pcapng::PcapngReader;
use sslrec_formats::rawlog::RawLogReader;
use sslrec_formats::record::{Connection, Direction, Record};

use super::traffic::{Moved, Truth};
use crate::recording::Totals;

/// A connection over all files of a kind.
#[derive(Debug, Default)]
struct Account {
    connection: Connection,
    comm: String,
    /// Payload in the files.
    kept: Moved,
    /// Final lengths, once it is closed.
    end: Option<Moved>,
    /// The other end of a connection that the pcapng shows.
    shadow: bool,
}

/// Both series.
#[derive(Debug, Default)]
pub(super) struct Books {
    raw: HashMap<u64, Account>,
    pcapng: HashMap<u64, Account>,
    pub(super) files: usize,
    /// Process records of the raw log: at least one for each file and process.
    pub(super) processes: u64,
    /// Payload of the raw log.
    kept_bytes: u64,
}

impl Books {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut books = Self::default();
        let (mut pairing, mut comms) = (Pairing::new(), HashMap::new());
        for file in files(folder, "zst")? {
            books.files += 1;
            let mut reader = RawLogReader::new(BufReader::new(File::open(&file)?))?;
            each(&mut reader, &file, |record| {
                pairing.observe(record);
                if let Record::Exit(_) = record {
                    books.processes += 1;
                }
                if let Record::Data(data) = record {
                    books.kept_bytes += data.payload.len() as u64;
                }
                enter(&mut books.raw, &mut comms, record);
                if let Some(conn) = record.conn()
                    && let Some(account) = books.raw.get_mut(&conn)
                {
                    account.shadow = pairing.is_shadow(conn);
                }
            })?;
        }
        comms.clear();
        for file in files(folder, "pcapng")? {
            books.files += 1;
            let mut reader = PcapngReader::new(BufReader::new(File::open(&file)?))?;
            each(&mut reader, &file, |record| enter(&mut books.pcapng, &mut comms, record))?;
        }
        Ok(books)
    }

    pub(super) fn connections(&self) -> usize {
        self.raw.len()
    }

    /// Returns the disagreements, in words.
    pub(super) fn compare(&self, truth: &Truth, totals: &Totals) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut same = |what: &str, files: u64, other: u64| {
            if files != other {
                wrong.push(format!("{what}: {files} in the files, {other} otherwise"));
            }
        };
        same("bytes that the kernel side counted", self.kept_bytes, totals.bytes);
        same("lost", totals.lost_bytes + totals.lost_events, 0);
        let sum = |wanted: &dyn Fn(&Account) -> bool| {
            let wanted = self.raw.values().filter(|account| wanted(account));
            wanted.fold(Moved::default(), |sum, account| Moved {
                sent: sum.sent + account.kept.sent,
                received: sum.received + account.kept.received,
            })
        };
        let port = |address: Option<std::net::SocketAddr>| address.map_or(0, |one| one.port());
        let clients_of = |wanted| sum(&|account| port(account.connection.remote) == wanted);
        let server_at = |wanted| sum(&|account| port(account.connection.local) == wanted);
        let http1 = clients_of(truth.http1_port);
        same("HTTP/1.1 requests, by nginx's log", http1.sent, truth.http1.sent);
        same("HTTP/1.1 responses, by nginx's log", http1.received, truth.http1.received);
        let http2 = clients_of(truth.http2_port);
        same("HTTP/2, by h2load", http2.received, truth.http2_received);
        for (port, clients) in [(truth.http1_port, http1), (truth.http2_port, http2)] {
            let server = server_at(port);
            same("what nginx received, by its clients", server.received, clients.sent);
            same("what clients received, by nginx", clients.received, server.sent);
        }
        wrong.extend(self.wrong_ends(truth));
        wrong.extend(self.wrong_accounts());
        wrong
    }

    /// Returns the ends of `tls_cases` that were not recorded correctly.
    fn wrong_ends(&self, truth: &Truth) -> Option<String> {
        let mut recorded: HashMap<(String, String), Vec<Moved>> = HashMap::new();
        for account in self.raw.values().filter(|account| account.comm.starts_with("tls_cases")) {
            let text = |address: Option<std::net::SocketAddr>| {
                address.map_or_else(String::new, |address| address.to_string())
            };
            let addresses = (text(account.connection.local), text(account.connection.remote));
            recorded.entry(addresses).or_default().push(account.kept);
        }
        let mut other = truth.ends.clone();
        recorded.values_mut().chain(other.values_mut()).for_each(|all| all.sort_unstable());
        (recorded != other || other.is_empty())
            .then(|| format!("{} ends of tls_cases differ from {}", recorded.len(), other.len()))
    }

    /// Returns connections with holes, and connections that the two kinds of files describe
    /// differently.
    fn wrong_accounts(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (conn, account) in &self.raw {
            if account.end != Some(account.kept) {
                wrong
                    .push(format!("connection {conn} has {:?} of {:?}", account.kept, account.end));
            }
            let shown = self.pcapng.get(conn).map(|account| account.kept);
            let expected = (!account.shadow).then_some(account.kept);
            if shown != expected && expected != Some(Moved::default()) {
                wrong.push(format!("connection {conn} is {expected:?}, in the pcapng {shown:?}"));
            }
        }
        wrong.truncate(5);
        wrong
    }
}

fn enter(
    accounts: &mut HashMap<u64, Account>,
    comms: &mut HashMap<u32, String>,
    record: &Record<'_>,
) {
    if let Record::Process(process) = record {
        comms.insert(process.pid, process.comm.clone());
    }
    let Some(conn) = record.conn() else { return };
    let account = accounts.entry(conn).or_default();
    match record {
        Record::Connection(connection) => {
            account.connection = connection.clone();
            account.comm = comms.get(&connection.pid).cloned().unwrap_or_default();
        }
        Record::Data(data) => {
            let kept = match data.dir {
                Direction::Sent => &mut account.kept.sent,
                Direction::Received => &mut account.kept.received,
            };
            // Data at another place than the end of the previous data shows at the end.
            *kept += if *kept == data.offset { data.payload.len() as u64 } else { 0 };
        }
        Record::Close(close) => {
            let (sent, received) = (close.sent_bytes, close.received_bytes);
            account.end = Some(Moved { sent, received });
        }
        _ => {}
    }
}

/// Reads a file, which must be complete.
fn each(
    reader: &mut impl RecordReader,
    file: &Path,
    mut take: impl FnMut(&Record<'_>),
) -> Result<()> {
    let mut last = false;
    while let Some(record) = reader.next().with_context(|| file.display().to_string())? {
        last = matches!(&record, Record::Stats(_)) || last;
        take(&record);
    }
    if !last {
        bail!("{} has no counters at its end", file.display());
    }
    Ok(())
}

/// Returns the files of a series, oldest first.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|known| known == extension));
    files.sort();
    Ok(files)
}
