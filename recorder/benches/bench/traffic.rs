//! A capture of any size, created by the writers and without a recorder, so that readers can be
//! measured on the capture of a server with many clients.

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

use crate::messages::Protocol;

/// Connections that are open at the same time.
const CONNECTIONS: u64 = 64;
/// Exchanges on each connection.
const EXCHANGES: u64 = 100;

/// Returns the number of exchanges in a capture of this number of rounds of connections.
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
    let mut lens = (0, 0);
    let (client, server) = protocol.opening();
    if !client.is_empty() {
        for conn in numbers.clone() {
            write_pair(writer, conn, now, lens, (&client, &server))?;
        }
        lens = (client.len() as u64, server.len() as u64);
    }
    for number in 0..EXCHANGES {
        let mut grown = lens;
        for conn in numbers.clone() {
            let (request, response) = protocol.messages(conn * EXCHANGES + number, number);
            write_pair(writer, conn, now, lens, (&request, &response))?;
            grown = (lens.0 + request.len() as u64, lens.1 + response.len() as u64);
        }
        // All messages have the same size.
        lens = grown;
    }
    for conn in numbers {
        writer.write(&Record::Close(Close {
            conn,
            ts_ns: *now,
            cause: CloseCause::Shutdown,
            sent_bytes: lens.1,
            received_bytes: lens.0,
        }))?;
    }
    Ok(())
}

/// Writes the client's request, then the server's response, at their places in the two streams.
fn write_pair(
    writer: &mut impl RecordWriter,
    conn: u64,
    now: &mut u64,
    places: (u64, u64),
    (client, server): (&[u8], &[u8]),
) -> Result<()> {
    *now += 1000;
    writer.write(&Record::Data(data(conn, *now, Direction::Received, places.0, client)))?;
    Ok(writer.write(&Record::Data(data(conn, *now, Direction::Sent, places.1, server)))?)
}

/// Returns a call that transfers the entire payload.
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
