//! Other tools read the written files.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::tools::{fields, run, run_on};
use common::{
    REQUEST, RESPONSE, START_NS, close, connection, data, gap, last_stats, process, random,
    small_capture, to_pcapng, to_pcapng_with, to_rawlog,
};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcapng::{Block, PcapNgReader};
use sslrec_formats::pcapng::PcapngOptions;
use sslrec_formats::record::{
    Close, CloseCause, Connection, Data, Direction, GapCause, Handshake, Record, Role,
};
use tempfile::TempDir;

/// Returns the expert information of severity warning and error, and the marks of the analysis of
/// TCP. An ordinary capture has none.
fn experts(file: &[u8]) -> Option<String> {
    let text = run("tshark", &["-q", "-z", "expert,warn", "-r"], file)?;
    Some(text.trim().to_owned() + &suspicious(file)?.join("\n"))
}

fn client(conn: u64, local: &str, remote: &str) -> Connection {
    connection(conn, 1, Role::Client, local, remote)
}

/// Returns an exchange on each of these connections, all live at the same time.
fn exchanges(connections: Vec<Connection>) -> Vec<Record<'static>> {
    use Direction::{Received, Sent};
    let mut records = vec![process(1, "curl")];
    records.extend(connections.iter().cloned().map(Record::Connection));
    let (request_len, response_len) = (REQUEST.len() as u64, RESPONSE.len() as u64);
    for connection in &connections {
        let is_server = connection.role == Role::Server;
        let dir = if is_server { Received } else { Sent };
        records.push(data(connection.conn, dir, 0, REQUEST));
    }
    for connection in &connections {
        let is_server = connection.role == Role::Server;
        let dir = if is_server { Sent } else { Received };
        records.push(data(connection.conn, dir, 0, RESPONSE));
    }
    for Connection { conn, role, .. } in &connections {
        records.push(match role {
            Role::Server => close(*conn, response_len, request_len),
            _ => close(*conn, request_len, response_len),
        });
    }
    records.push(last_stats());
    records
}

#[test]
fn a_gapless_capture_has_no_warnings_and_shows_its_requests() {
    let records = exchanges(vec![
        client(1, "10.0.0.5:51234", "93.184.216.34:443"),
        client(2, "[2001:db8::5]:51234", "[2001:db8::1]:8443"),
        connection(3, 1, Role::Server, "10.0.0.5:443", "10.0.0.9:40000"),
    ]);
    let file = to_pcapng(&records);
    let Some(warnings) = experts(&file) else { return };
    assert_eq!(warnings, "");
    let requests = fields("http.request", &["http.request.full_uri", "tcp.dstport"], &file);
    assert_eq!(requests.unwrap(), vec!["http://example.org/a?b=1\t80"; 3]);
    let responses = fields("http.response", &["http.response.code", "http.file_data"], &file);
    assert_eq!(responses.unwrap(), vec!["200\thello"; 3]);
    let interfaces = fields("http.request", &["frame.interface_name"], &file).unwrap();
    assert_eq!(interfaces, vec!["curl[1]"; 3]);
}

#[test]
fn packets_with_only_comments_are_not_duplicate_acknowledgements() {
    let handshake = |n| {
        let (ts_ns, func) = (START_NS + n, "SSL_do_handshake");
        Record::Handshake(Handshake {
            conn: 1,
            ts_ns,
            tid: 1,
            func,
            lat_ns: 1,
            ok: true,
            result: None,
        })
    };
    let mut records =
        vec![process(1, "curl"), Record::Connection(client(1, "10.0.0.5:51234", "10.0.0.6:443"))];
    records.extend((1..4).map(handshake));
    records.push(data(1, Direction::Sent, 0, REQUEST));
    records.extend((1_000_000_000..1_000_000_005).map(handshake));
    records.push(data(1, Direction::Received, 0, RESPONSE));
    let Record::Close(end) = close(1, REQUEST.len() as u64, RESPONSE.len() as u64) else {
        panic!("close")
    };
    // An ACK of acknowledged bytes, twice.
    records.push(handshake(1_000_000_009));
    records.push(Record::Close(Close { cause: CloseCause::StillOpen, ..end }));
    let file = to_pcapng(&records);
    assert_eq!(common::read_pcapng(&file).0, records);
    let Some(suspicious) = suspicious(&file) else { return };
    assert_eq!(suspicious, [""; 0]);
}

/// Returns the findings of Wireshark's analysis of TCP, apart from intended findings: empty packets
/// of sslrec are window updates, and a later connection may have an earlier connection's ports.
fn suspicious(file: &[u8]) -> Option<Vec<String>> {
    let filter = "tcp.analysis.flags && !tcp.analysis.window_update \
 && !tcp.analysis.reused_ports";
    fields(filter, &["frame.number", "_ws.expert.message"], file)
}

#[test]
fn a_long_one_way_transfer_has_no_warnings() {
    let payload = vec![b'x'; 16384];
    let mut records = vec![process(1, "curl")];
    records.push(Record::Connection(client(1, "10.0.0.5:51234", "10.0.0.6:443")));
    for n in 0..400 {
        records.push(data(1, Direction::Received, n * 16384, &payload));
    }
    records.push(close(1, 0, 400 * 16384));
    let file = to_pcapng(&records);
    let Some(warnings) = experts(&file) else { return };
    assert_eq!(warnings, "");
    let acks =
        fields("tcp.len == 0 && ip.src == 10.0.0.5 && tcp.flags == 0x10", &["tcp.ack"], &file);
    let acks = acks.unwrap().len();
    assert!((6..=9).contains(&acks), "one for about each MiB: {acks}");
}

#[test]
fn a_gap_shows_as_a_missing_segment_at_its_place() {
    for len in [1, 300, 1 << 30, (1 << 32) + 5] {
        let records = [
            process(1, "curl"),
            Record::Connection(client(1, "10.0.0.5:51234", "10.0.0.6:443")),
            data(1, Direction::Sent, 0, REQUEST),
            gap(1, Direction::Received, 0, len, GapCause::RingFull),
            data(1, Direction::Received, len, RESPONSE),
            close(1, REQUEST.len() as u64, len + RESPONSE.len() as u64),
            last_stats(),
        ];
        let file = to_pcapng(&records);
        let Some(lost) = fields("tcp.analysis.lost_segment", &["frame.comment"], &file) else {
            return;
        };
        let expected = format!("off=0 len={len} cause=ring_full");
        assert!(lost.iter().any(|comment| comment.contains(&expected)), "{len}: {lost:?}");
        let data = fields("tcp.len > 0 && ip.dst == 10.0.0.5", &["tcp.seq"], &file).unwrap();
        assert_eq!(data, [((1 + len) as u32).to_string()], "{len}");
    }
}

#[test]
fn a_response_after_gigabytes_of_gaps_is_dissected() {
    use Direction::Received;
    const GIB: u64 = 1 << 30;
    for gaps in [&[3 * GIB][..], &[GIB; 3], &[GIB; 9], &[300 << 20; 9], &[6 * GIB, 6 * GIB]] {
        let mut records = vec![
            process(1, "curl"),
            Record::Connection(client(1, "10.0.0.5:51234", "10.0.0.6:443")),
            data(1, Direction::Sent, 0, REQUEST),
        ];
        let mut offset = 0;
        for len in gaps {
            records.push(gap(1, Received, offset, *len, GapCause::Sendfile));
            offset += len;
        }
        records.push(data(1, Received, offset, RESPONSE));
        records.push(close(1, REQUEST.len() as u64, offset + RESPONSE.len() as u64));
        let file = to_pcapng(&records);
        assert_eq!(common::read_pcapng(&file).0, records);
        let again = "tcp.analysis.retransmission || tcp.analysis.spurious_retransmission";
        let Some(again) = fields(again, &["frame.number"], &file) else { return };
        assert!(again.is_empty(), "{gaps:?}: {again:?}");
        let codes = fields("http.response", &["http.response.code"], &file).unwrap();
        assert_eq!(codes, ["200"], "{gaps:?}");
    }
}

#[test]
fn live_connections_on_one_pair_of_addresses_stay_apart() {
    let pair = ("10.0.0.5:51234", "93.184.216.34:443");
    let file = to_pcapng(&exchanges((1..=7).map(|conn| client(conn, pair.0, pair.1)).collect()));
    let ports: Vec<u16> = syn_ports(&file);
    assert_eq!(ports, [80, 8080, 8088, 3128, 8081, 8082, 8083]);
    let Some(warnings) = experts(&file) else { return };
    assert_eq!(warnings, "");
    assert_eq!(
        fields("http.request", &["tcp.stream"], &file).unwrap(),
        ["0", "1", "2", "3", "4", "5", "6"]
    );
}

#[test]
fn ports_are_kept_and_mapped_on_request() {
    let records = exchanges(vec![
        client(1, "10.0.0.5:51234", "93.184.216.34:443"),
        client(2, "10.0.0.5:51235", "93.184.216.34:9999"),
    ]);
    let map_ports = vec![(9999, 8088)];
    let keep = PcapngOptions { keep_port: true, map_ports, ..PcapngOptions::default() };
    assert_eq!(syn_ports(&to_pcapng_with(&records, keep.clone())), [443, 8088]);
    let map = PcapngOptions { keep_port: false, ..keep.clone() };
    assert_eq!(syn_ports(&to_pcapng_with(&records, map)), [80, 8088]);
    // If the mapped port is taken, the next best is the real port.
    let twice = [1, 2].map(|conn| client(conn, "10.0.0.5:51235", "93.184.216.34:9999"));
    let records = exchanges(twice.into());
    assert_eq!(syn_ports(&to_pcapng_with(&records, keep)), [8088, 9999]);
}

#[test]
fn connections_that_wireshark_would_merge_have_different_ports() {
    // A connection in the opposite direction.
    let keep = PcapngOptions { keep_port: true, ..PcapngOptions::default() };
    let there = client(1, "10.0.0.5:8443", "10.0.0.6:8080");
    let back = client(2, "10.0.0.6:8080", "10.0.0.5:8443");
    // The connections differ in a property that no packet carries.
    let scopes = [1, 2].map(|scope| {
        let (local, remote) =
            (format!("[fe80::1%{scope}]:5000"), format!("[fe80::2%{scope}]:8080"));
        client(2 + scope, &local, &remote)
    });
    let mut connections = vec![there, back];
    // Two clients on each other's addresses are not a pair, so both are shown.
    connections.extend(scopes);
    let file = to_pcapng_with(&exchanges(connections), keep);
    assert_eq!(syn_ports(&file), [8080, 80, 8080, 80]);
    let Some(streams) = fields("http.request", &["tcp.stream"], &file) else { return };
    assert_eq!(streams, ["0", "1", "2", "3"]);
    assert_eq!(experts(&file).unwrap(), "");
}

#[test]
fn a_closed_connection_releases_its_addresses() {
    let pair = ("10.0.0.5:51234", "93.184.216.34:443");
    let mut records = exchanges(vec![client(1, pair.0, pair.1)]);
    records.pop();
    records.extend(exchanges(vec![client(2, pair.0, pair.1)]));
    let file = to_pcapng(&records);
    assert_eq!(syn_ports(&file), [80, 80]);
    let Some(warnings) = experts(&file) else { return };
    assert_eq!(warnings, "");
    assert_eq!(fields("http.request", &["tcp.stream"], &file).unwrap(), ["0", "1"]);
}

#[test]
fn packets_of_parallel_connections_are_in_the_order_of_their_times() {
    let at = |conn, n| START_NS + 1_000_000 * n + conn;
    let handshake = |conn| Handshake {
        conn,
        ts_ns: at(conn, 1),
        tid: 7,
        func: "SSL_connect",
        lat_ns: 9,
        ok: true,
        result: None,
    };
    let chunk = |conn, n, offset| match data(conn, Direction::Sent, offset, REQUEST) {
        Record::Data(data) => Record::Data(Data { ts_ns: at(conn, n), ..data }),
        _ => panic!("data"),
    };
    let len = REQUEST.len() as u64;
    let mut records = vec![process(1, "curl")];
    // Each connection opens with its first data, long after its handshake and after data of the
    // others.
    let pairs = ["10.0.0.5:5001", "10.0.0.5:5002", "10.0.0.5:5003"];
    for (conn, local) in (1..).zip(pairs) {
        records.push(Record::Connection(client(conn, local, "10.0.0.6:443")));
    }
    records.extend((1..=3).map(|conn| Record::Handshake(handshake(conn))));
    for n in 2..5 {
        records.extend((1..n).map(|conn| chunk(conn, n, (n - 1 - conn) * len)));
    }
    records.extend((1..=3).map(|conn| close(conn, (4 - conn) * len, 0)));
    let file = to_pcapng(&records);
    let (read, error) = common::read_pcapng(&file);
    assert!(error.is_none(), "{error:?}");
    for conn in 1..=3 {
        let of_conn = |records: &[Record<'static>]| -> Vec<_> {
            records.iter().filter(|record| record.conn() == Some(conn)).cloned().collect()
        };
        assert_eq!(of_conn(&read), of_conn(&records));
    }
    let Some(text) = run("capinfos", &["-o"], &file) else { return };
    assert!(text.contains("Strict time order:") && text.contains("True"), "{text}");
}

/// Returns destination ports of the SYN packets, after checking every packet's checksums.
fn syn_ports(file: &[u8]) -> Vec<u16> {
    let mut ports = Vec::new();
    let mut reader = PcapNgReader::new(file).unwrap();
    while let Some(block) = reader.next_block() {
        if let (Block::EnhancedPacket(packet), _) = block.unwrap() {
            ports.extend(check_packet(&packet.data));
        }
    }
    ports
}

/// Checks the checksums; returns the destination port if the packet is a SYN.
fn check_packet(bytes: &[u8]) -> Option<u16> {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("not TCP") };
    let checksum = match packet.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            tcp.calc_checksum_ipv4(header.source(), header.destination()).unwrap()
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            tcp.calc_checksum_ipv6(header.source(), header.destination()).unwrap()
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(tcp.checksum(), checksum);
    (tcp.syn() && !tcp.ack()).then(|| tcp.destination_port())
}

#[test]
fn all_checksums_of_random_captures_are_valid() {
    for seed in 100..110 {
        let records = random::capture(seed, 200);
        let syns = syn_ports(&to_pcapng(&records)).len();
        let connections =
            records.iter().filter(|record| matches!(record, Record::Close(_))).count();
        assert_eq!(syns, connections, "seed {seed}");
    }
}

/// Returns HTTP/2 after the preface: SETTINGS, then GET https://example.org/ in a HEADERS frame
/// whose fields are all in the static table or literal (RFC 7541).
fn h2_client_bytes() -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let block = [&[0x82, 0x84, 0x87, 0x01, 11][..], b"example.org"].concat();
    bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 3]);
    bytes.extend_from_slice(&block);
    bytes
}

fn joined_h2(alpn: Option<&str>) -> Vec<Record<'static>> {
    let bytes = h2_client_bytes();
    let answer = [0, 0, 1, 1, 5, 0, 0, 0, 3, 0x88];
    let joined = Connection {
        joined: true,
        alpn: alpn.map(str::to_owned),
        ..connection(1, 1, Role::Client, "10.0.0.5:51234", "93.184.216.34:443")
    };
    vec![
        process(1, "curl"),
        Record::Connection(joined),
        data(1, Direction::Sent, 0, &bytes),
        data(1, Direction::Received, 0, &answer),
        close(1, bytes.len() as u64, answer.len() as u64),
        last_stats(),
    ]
}

#[test]
fn http2_joined_in_mid_stream_is_dissected() {
    for alpn in [None, Some("h2")] {
        let records = joined_h2(alpn);
        let file = to_pcapng(&records);
        assert_eq!(common::read_pcapng(&file).0, records, "the preface is not a record");
        let Some(paths) = fields("http2.headers.path", &["http2.headers.path"], &file) else {
            return;
        };
        assert_eq!(paths, ["/"]);
        assert_eq!(
            fields("http2.headers.status", &["http2.headers.status"], &file).unwrap(),
            ["200"]
        );
        assert_eq!(experts(&file).unwrap(), "");
        let synthetic =
            fields("frame.comment == \"synthetic, not observed\"", &["tcp.len"], &file).unwrap();
        assert_eq!(synthetic, ["24"]);
    }
}

#[test]
fn the_synthetic_preface_can_be_switched_off() {
    let off = PcapngOptions { http2_preface: false, ..PcapngOptions::default() };
    let file = to_pcapng_with(&joined_h2(Some("h2")), off);
    assert!(!file.windows(9).any(|window| window == b"synthetic"));
    assert_eq!(common::read_pcapng(&file).0, joined_h2(Some("h2")));
}

#[test]
fn server_names_are_in_the_name_resolution_block() {
    let mut named = connection(1, 1, Role::Client, "10.0.0.5:51234", "93.184.216.34:443");
    named.sni = Some("example.org".into());
    let file = to_pcapng(&exchanges(vec![named]));
    let arguments = ["-Nn", "-Y", "http.request", "-T", "fields", "-e", "ip.dst_host", "-r"];
    let Some(names) = run("tshark", &arguments, &file) else { return };
    assert_eq!(names.trim(), "example.org");
}

#[test]
fn capinfos_reads_the_properties_of_the_capture() {
    let file = to_pcapng(&small_capture());
    let Some(text) = run("capinfos", &[], &file) else { return };
    for expected in [
        "pcapng",
        "Ethernet",
        "sslrec 0.1.0",
        "Linux 6.12.1 x86_64",
        "curl[1234]",
        "Time precision = nanoseconds (9)",
        "sslrec=1 start_ns=",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

/// Returns the output of a tool for the file `original`; the tool writes to a file named on its
/// command line.
fn rewritten(tool: &str, arguments: &[&str], original: &[u8]) -> Option<Vec<u8>> {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("original"), dir.path().join("rewritten"));
    fs::write(&from, original).unwrap();
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    let arguments: Vec<&str> = arguments
        .iter()
        .map(|argument| match *argument {
            "ORIGINAL" => from,
            "REWRITTEN" => to,
            other => other,
        })
        .collect();
    let (last, arguments) = arguments.split_last().unwrap();
    run_on(tool, arguments, Path::new(last), dir.path())?;
    Some(fs::read(to).unwrap())
}

#[test]
fn a_capture_that_wireshark_saved_again_reads_the_same() {
    let records = small_capture();
    let file = to_pcapng(&records);
    for (tool, arguments) in [
        ("tshark", &["-F", "pcapng", "-w", "REWRITTEN", "-r", "ORIGINAL"][..]),
        ("editcap", &["ORIGINAL", "REWRITTEN"]),
        ("mergecap", &["-w", "REWRITTEN", "ORIGINAL"]),
    ] {
        let Some(rewritten) = rewritten(tool, arguments, &file) else { return };
        let (read, error) = common::read_pcapng(&rewritten);
        assert!(error.is_none(), "{tool}: {error:?}");
        // The tools do not keep statistics. mergecap sorts by time, which moves the gap.
        if tool == "mergecap" {
            assert_eq!(read.len(), records.len() - 1);
        } else {
            assert_eq!(read, records[..records.len() - 1], "{tool}");
        }
    }
}

#[test]
fn packets_truncated_by_editcap_leave_gaps() {
    let payload = vec![b'x'; 1000];
    let records = [
        process(1, "curl"),
        Record::Connection(client(1, "10.0.0.5:51234", "10.0.0.6:443")),
        data(1, Direction::Sent, 0, &payload),
        data(1, Direction::Sent, 1000, &payload),
        close(1, 2000, 0),
    ];
    let arguments = ["-s", "154", "ORIGINAL", "REWRITTEN"];
    let Some(cut) = rewritten("editcap", &arguments, &to_pcapng(&records)) else { return };
    let (read, error) = common::read_pcapng(&cut);
    assert!(error.is_none(), "{error:?}");
    let places: Vec<_> = read
        .iter()
        .filter_map(|record| match record {
            Record::Data(data) => Some(("data", data.offset, data.payload.len() as u64)),
            Record::Gap(gap) => Some(("gap", gap.offset, gap.len)),
            _ => None,
        })
        .collect();
    let expected = [("data", 0, 100), ("gap", 100, 900), ("data", 1000, 100), ("gap", 1100, 900)];
    assert_eq!(places, expected);
}

#[test]
fn two_merged_captures_are_not_mixed_up() {
    let arguments = ["-w", "REWRITTEN", "ORIGINAL", "ORIGINAL"];
    let file = to_pcapng(&small_capture());
    let Some(merged) = rewritten("mergecap", &arguments, &file) else { return };
    let (read, error) = common::read_pcapng(&merged);
    assert!(error.unwrap().to_string().contains("merged"));
    assert!(!read.is_empty() && small_capture().starts_with(&read));
}

#[test]
fn zstd_accepts_a_finished_raw_log() {
    for records in [Vec::new(), small_capture(), random::capture(3, 500)] {
        let file = to_rawlog(&records);
        if run("zstd", &["-t", "-q"], &file).is_none() {
            return;
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("capture.zst");
        fs::write(&path, &file).unwrap();
        let output = Command::new("zstd").arg("-dc").arg(&path).output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, zstd::decode_all(&file[..]).unwrap());
        assert!(output.stdout.starts_with(b"SLRF"));
    }
}

#[test]
fn the_seek_table_leads_to_every_frame() {
    let file = to_rawlog(&random::capture(3, 500));
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    let end = file.len();
    assert_eq!(word(end - 4), 0x8F92_EAB1);
    let frames = word(end - 9);
    let table = end - 9 - frames * 8;
    assert_eq!((word(table - 8), word(table - 4)), (0x184D_2A5E, frames * 8 + 9));
    let mut at = 0;
    for frame in 0..frames {
        let (compressed, plain) = (word(table + frame * 8), word(table + frame * 8 + 4));
        let contents = zstd::decode_all(&file[at..at + compressed]).unwrap();
        assert_eq!(contents.len(), plain);
        assert!(frame == 0 || contents.starts_with(b"SLRF"));
        at += compressed;
    }
    assert_eq!(at, table - 8);
    assert!(frames > 5);
}
