//! A capture of any size, made by the writers and without a recorder: so that readers can be measured
//! on what a server with many clients leaves behind.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Result;
use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{
    AddrKind, CaptureInfo, Close, CloseCause, Connection, Data, Direction, Process, Record, Role,
    Stats,
};

/// Connections that are open at once.
const CONNECTIONS: u64 = 64;
/// Exchanges on each of them.
const EXCHANGES: u64 = 100;
const REQUEST: usize = 300;
const RESPONSE: usize = 700;

/// What is spoken on the connections.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Http1,
}

impl Protocol {
    /// Both messages of an exchange, with exactly so many bytes.
    fn messages(self, number: u64) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Http1 => (http1_request(number), http1_response(number)),
        }
    }
}

fn http1_request(number: u64) -> Vec<u8> {
    let start = format!(
        "GET /item/{number}?page=1 HTTP/1.1\r\nHost: server.example\r\nUser-Agent: bench/1\r\n\
         Accept: */*\r\nCookie: "
    );
    let cookie = "c".repeat(REQUEST.saturating_sub(start.len() + 4));
    format!("{start}{cookie}\r\n\r\n").into_bytes()
}

fn http1_response(number: u64) -> Vec<u8> {
    let head = |len: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"{number}\"\r\n\
             Content-Length: {len:3}\r\n\r\n"
        )
    };
    let len = RESPONSE.saturating_sub(head(0).len());
    (head(len) + &words(number, len)).into_bytes()
}

/// Letters of which no two messages have the same, so that they compress as text does and not to
/// nothing.
fn words(number: u64, len: usize) -> String {
    let mut state = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"etaoin shrdlucmf"[(state >> 40) as usize % 16])
    };
    std::iter::repeat_with(letter).take(len).collect()
}

/// How many exchanges a capture has of so many rounds of connections.
pub(crate) fn exchanges(rounds: u64) -> u64 {
    rounds * CONNECTIONS * EXCHANGES
}

/// Writes the same capture into a pcapng and into a raw log.
pub(crate) fn write_both(
    pcapng: &Path,
    raw_log: &Path,
    protocol: Protocol,
    rounds: u64,
) -> Result<()> {
    let create = |path: &Path| Ok::<_, anyhow::Error>(BufWriter::new(File::create(path)?));
    let info = CaptureInfo { start_ns: 1_700_000_000_000_000_000, ..CaptureInfo::default() };
    let options = PcapngOptions::default();
    write(PcapngWriter::new(create(pcapng)?, info.clone(), options)?, &info, protocol, rounds)?;
    write(RawLogWriter::new(create(raw_log)?, info.clone(), 1)?, &info, protocol, rounds)
}

fn write(
    mut writer: impl RecordWriter,
    info: &CaptureInfo,
    protocol: Protocol,
    rounds: u64,
) -> Result<()> {
    let mut now = info.start_ns;
    let comm = "server".to_owned();
    writer.write(&Record::Process(Process { ts_ns: now, pid: 1, comm, ..Process::default() }))?;
    for round in 0..rounds {
        write_round(&mut writer, &mut now, protocol, round * CONNECTIONS + 1)?;
    }
    writer.write(&Record::Stats(Stats { ts_ns: now, last: true, ..Stats::default() }))?;
    Ok(writer.finish()?)
}

/// Opens connections with numbers from `first` on, takes their exchanges in turns, closes them.
fn write_round(
    writer: &mut impl RecordWriter,
    now: &mut u64,
    protocol: Protocol,
    first: u64,
) -> Result<()> {
    let numbers = first..first + CONNECTIONS;
    for conn in numbers.clone() {
        *now += 1000;
        writer.write(&Record::Connection(connection(conn, *now)?))?;
    }
    let (mut received, mut sent) = (0, 0);
    for number in 0..EXCHANGES {
        for conn in numbers.clone() {
            let (request, response) = protocol.messages(conn * EXCHANGES + number);
            *now += 1000;
            let request = data(conn, *now, Direction::Received, received, &request);
            writer.write(&Record::Data(request))?;
            let response = data(conn, *now, Direction::Sent, sent, &response);
            writer.write(&Record::Data(response))?;
        }
        received += REQUEST as u64;
        sent += RESPONSE as u64;
    }
    for conn in numbers {
        writer.write(&Record::Close(Close {
            conn,
            ts_ns: *now,
            cause: CloseCause::Shutdown,
            sent_bytes: sent,
            received_bytes: received,
        }))?;
    }
    Ok(())
}

/// One call that hands over the whole payload.
fn data(conn: u64, ts_ns: u64, dir: Direction, offset: u64, payload: &[u8]) -> Data<'_> {
    let func = if dir == Direction::Sent { "SSL_write" } else { "SSL_read" };
    let call_len = payload.len() as u64;
    Data {
        conn,
        ts_ns,
        tid: 1,
        dir,
        offset,
        func,
        lat_ns: 14_211,
        call_len,
        call_offset: 0,
        payload,
    }
}

fn connection(conn: u64, ts_ns: u64) -> Result<Connection> {
    Ok(Connection {
        conn,
        ts_ns,
        pid: 1,
        role: Role::Server,
        addr: AddrKind::Exact,
        local: Some("10.0.0.1:443".parse()?),
        remote: Some(format!("10.0.{}.2:{}", conn / 20_000, 20_000 + conn % 20_000).parse()?),
        lib: Some("/usr/lib/x86_64-linux-gnu/libssl.so.3".into()),
        ..Connection::default()
    })
}
