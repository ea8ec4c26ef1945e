//! Random captures.

use super::*;

/// A live connection of a random capture.
struct Live {
    connection: Connection,
    next: [u64; 2],
}

/// Returns a capture of about `steps` records, well-formed and otherwise as odd as possible. No two
/// of its connections are ends of the same connection.
pub fn capture(seed: u64, steps: usize) -> Vec<Record<'static>> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut now = START_NS;
    let mut records = Vec::new();
    let mut live: Vec<Live> = Vec::new();
    let mut conns = 0;
    for _ in 0..steps {
        now += random.below(300_000_000);
        if live.is_empty() || random.one_in(8) {
            conns += 1;
            let pid = 100 + random.below(4) as u32;
            if records.iter().all(|r| !matches!(r, Record::Process(p) if p.pid == pid)) {
                records.push(random_process(&mut random, now, pid));
            }
            let connection = random_connection(&mut random, now, conns, pid);
            records.push(Record::Connection(connection.clone()));
            live.push(Live { connection, next: [0; 2] });
        }
        let at = random.below(live.len() as u64) as usize;
        match random.below(20) {
            0 => {
                let Live { connection, next } = live.swap_remove(at);
                records.push(random_close(&mut random, now, connection.conn, next));
            }
            1 => records.push(random_process(&mut random, now, live[at].connection.pid)),
            2 => {
                let connection = &mut live[at].connection;
                connection.sni = Some(random_name(&mut random));
                connection.alpn = Some("h2".into());
                connection.version = Some(random_name(&mut random));
                connection.cipher = Some(random_name(&mut random));
                records.push(Record::Connection(connection.clone()));
            }
            3 => records.push(Record::Handshake(Handshake {
                conn: live[at].connection.conn,
                ts_ns: now,
                tid: random.next() as u32,
                func: random_name(&mut random).leak(),
                lat_ns: random.next(),
                ok: random.one_in(2),
                result: random.one_in(2).then(|| random.next() as i32),
            })),
            4 => records.push(random_stats(&mut random, now, false)),
            5..8 => records.push(random_gap(&mut random, now, &mut live[at])),
            _ => records.push(random_data(&mut random, now, &mut live[at])),
        }
    }
    for Live { connection, next } in live {
        records.push(random_close(&mut random, now, connection.conn, next));
    }
    records.push(random_stats(&mut random, now, true));
    records
}

fn random_name(random: &mut Random) -> String {
    random
        .pick(&["", "plain", "with space", "100%", "tab\tnew\nline", "ünïcødé", "a=b", "->", "?"])
        .to_owned()
}

fn random_process(random: &mut Random, ts_ns: u64, pid: u32) -> Record<'static> {
    Record::Process(Process {
        ts_ns,
        pid,
        uid: random.next() as u32,
        comm: random_name(random),
        exe: random.one_in(2).then(|| random_name(random)),
    })
}

fn random_connection(random: &mut Random, ts_ns: u64, conn: u64, pid: u32) -> Connection {
    // The number of the connection keeps addresses apart.
    let port = 10_000 + conn as u16;
    let (local, remote) = match random.below(4) {
        0 => (None, None),
        1 => (address(&format!("10.1.2.3:{port}")), None),
        2 => (address(&format!("10.1.2.3:{port}")), address("10.9.8.7:443")),
        _ => (address(&format!("[fe80::1%5]:{port}")), address("[2001:db8::9]:8443")),
    };
    let text = |random: &mut Random| random.one_in(2).then(|| random_name(random));
    Connection {
        conn,
        ts_ns,
        pid,
        role: random.pick(&[Role::Client, Role::Server, Role::Unknown]),
        addr: random.pick(&[AddrKind::Exact, AddrKind::Inferred, AddrKind::Unknown]),
        local,
        remote,
        lib: text(random),
        sni: text(random),
        alpn: text(random),
        joined: random.one_in(3),
        version: text(random),
        cipher: text(random),
    }
}

fn random_dir(random: &mut Random) -> (Direction, usize) {
    random.pick(&[(Direction::Sent, 0), (Direction::Received, 1)])
}

fn random_gap(random: &mut Random, ts_ns: u64, live: &mut Live) -> Record<'static> {
    let (dir, index) = random_dir(random);
    let len = random.pick(&[1, 7, 16384, 1 << 30, (1 << 30) + 1, 1 << 32, 5 << 32, u64::MAX >> 20]);
    let offset = live.next[index];
    live.next[index] += len;
    let cause = random.pick(&[
        GapCause::RingFull,
        GapCause::ReadFault,
        GapCause::Sendfile,
        GapCause::Snaplen,
        GapCause::LongCall,
        GapCause::Unknown,
    ]);
    Record::Gap(Gap { conn: live.connection.conn, ts_ns, dir, offset, len, cause })
}

fn random_data(random: &mut Random, ts_ns: u64, live: &mut Live) -> Record<'static> {
    let (dir, index) = random_dir(random);
    let len = random.pick(&[1, 2, 100, 1460, 16384, 65495]);
    let byte = random.next() as u8;
    let payload: Vec<u8> = (0..len).map(|i| byte.wrapping_add((i % 251) as u8)).collect();
    let offset = live.next[index];
    live.next[index] += len;
    let in_chunks = random.one_in(3);
    Record::Data(Data {
        conn: live.connection.conn,
        ts_ns,
        tid: random.next() as u32,
        dir,
        offset,
        func: random_name(random).leak(),
        lat_ns: random.next(),
        call_len: if in_chunks { len + 5 } else { len },
        call_offset: if in_chunks { 5 } else { 0 },
        payload: payload.leak(),
    })
}

fn random_close(random: &mut Random, ts_ns: u64, conn: u64, next: [u64; 2]) -> Record<'static> {
    let cause = random.pick(&[
        CloseCause::Shutdown,
        CloseCause::Freed,
        CloseCause::Exit,
        CloseCause::StillOpen,
    ]);
    Record::Close(Close { conn, ts_ns, cause, sent_bytes: next[0], received_bytes: next[1] })
}

fn random_stats(random: &mut Random, ts_ns: u64, last: bool) -> Record<'static> {
    Record::Stats(Stats {
        ts_ns,
        last,
        calls: random.next(),
        bytes: random.next(),
        dropped_events: random.next(),
        lost_bytes: random.next(),
        failures: (0..random.below(3))
            .map(|n| (format!("{n} {}", random_name(random)), n + 1))
            .collect(),
    })
}
