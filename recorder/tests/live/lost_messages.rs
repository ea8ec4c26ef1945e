//! Losses among the requests and responses of a kept-alive connection: each gap is at its time, and
//! no reader of the file pairs a response with the request of another response.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use sslrec_formats::io::RecordReader;
use sslrec_formats::rawlog::RawLogReader;
use sslrec_formats::record::{Direction, PerDirection, Record, Role};

use crate::peers::http_flood;
use crate::support::{Live, Recorded};

/// Records 4000 exchanges into a small ring, with the recorder stopped again and again.
fn flooded(live: &Live, pipeline: u64) -> Recorded {
    let flood = [http_flood(), "4000".into(), pipeline.to_string()];
    let recorded = live.record(&["--ring-size", "64K"], &flood).succeeded();
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains("ring_full"), "the flood was to overrun the ring: {stderr}");
    recorded
}

/// The places where each message ends in its stream, by its number.
#[derive(Default)]
struct Ends {
    requests: HashMap<u64, u64>,
    responses: HashMap<u64, u64>,
}

impl Ends {
    fn of(stdout: &str) -> Self {
        let mut ends = Self::default();
        for line in stdout.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, number, "ends", "at", place] = words[..] else { continue };
            let of_kind = if kind == "request" { &mut ends.requests } else { &mut ends.responses };
            of_kind.insert(number.parse().unwrap(), place.parse().unwrap());
        }
        ends
    }
}

/// Returns the number in the first line or in the first header of a message.
fn number_of(payload: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(payload);
    let after = text
        .strip_prefix("GET /")
        .or_else(|| text.strip_prefix("HTTP/1.1 200 OK\r\nx-answers: /"))?;
    after.split([' ', '\r']).next()?.parse().ok()
}

/// Walks through the records of a raw log. Before a message, the other direction has all messages
/// that its sender had received by then, recorded or as gaps, and no other.
fn each_gap_is_at_its_time(file: &Path, ends: &Ends, pipeline: u64) -> [usize; 2] {
    let mut reader = RawLogReader::new(File::open(file).unwrap()).unwrap();
    let mut roles = HashMap::new();
    let mut reached: HashMap<u64, PerDirection<u64>> = HashMap::new();
    let (mut messages, mut gaps) = (0, 0);
    while let Some(record) = reader.next().unwrap() {
        match record {
            Record::Connection(connection) => {
                roles.insert(connection.conn, connection.role);
            }
            Record::Gap(gap) => {
                let reached = reached.entry(gap.conn).or_default();
                assert_eq!(gap.offset, reached[gap.dir]);
                reached[gap.dir] += gap.len;
                gaps += 1;
            }
            Record::Data(data) => {
                let reached = reached.entry(data.conn).or_default();
                assert_eq!(data.offset, reached[data.dir]);
                let is_client = roles[&data.conn] == Role::Client;
                let is_request = is_client == (data.dir == Direction::Sent);
                let other = reached[data.dir.reverse()];
                if let Some(number) = number_of(data.payload) {
                    let batch = (number - 1) / pipeline * pipeline;
                    // The server reads and answers one after the other. The client sends a batch
                    // and reads the responses to it.
                    let expected = match (is_request, is_client) {
                        (true, true) => ends.responses.get(&batch),
                        (true, false) => ends.responses.get(&(number - 1)),
                        (false, true) => ends.requests.get(&(batch + pipeline)),
                        (false, false) => ends.requests.get(&number),
                    };
                    assert_eq!(other, expected.copied().unwrap_or(0), "before {number}");
                    messages += 1;
                }
                reached[data.dir] += data.payload.len() as u64;
            }
            _ => {}
        }
    }
    [messages, gaps]
}

/// A response of tshark's: the request that it answers, and the request that tshark shows for it.
fn pairs_of_tshark(live: &Live, file: &Path) -> Vec<(String, String)> {
    let wanted = ["frame.number", "http.request.uri", "http.request_in", "http.response.line"];
    let mut args = vec!["-Y", "http", "-T", "fields"];
    args.extend(wanted.iter().flat_map(|field| ["-e", field]));
    let output = live.tshark(file, &args);
    let lines: Vec<Vec<&str>> = output.lines().map(|line| line.split('\t').collect()).collect();
    let requests = lines.iter().filter(|line| !line[1].is_empty());
    let requests: HashMap<&str, &str> = requests.map(|line| (line[0], line[1])).collect();
    let responses = lines.iter().filter_map(|line| {
        let own = line[3].split("x-answers: ").nth(1)?.split(['\\', ',']).next()?;
        let shown = requests.get(line[2]).copied().unwrap_or_default();
        Some((own.to_owned(), shown.to_owned()))
    });
    responses.collect()
}

#[test]
fn wireshark_pairs_no_response_with_another_request() {
    let Some(live) = Live::start() else { return };
    let recorded = flooded(&live, 1);
    let pairs = pairs_of_tshark(&live, &recorded.pcapng);
    let (right, others): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(own, shown)| own == shown);
    let wrong: Vec<_> = others.iter().filter(|(_, shown)| !shown.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(right.len() > 1000, "of 4000 only {} are pairs", right.len());
}

/// Wireshark 4.0 shows the last of several requests in a row for the first response, even without
/// any loss, so that its pairs are no measure here.
#[test]
fn each_gap_of_single_requests_and_of_pipelines_is_at_its_time() {
    let Some(live) = Live::start() else { return };
    for pipeline in [1, 8] {
        let recorded = flooded(&live, pipeline);
        let ends = Ends::of(&recorded.output.stdout);
        assert_eq!((ends.requests.len(), ends.responses.len()), (4000, 4000));
        let [messages, gaps] = each_gap_is_at_its_time(&recorded.raw, &ends, pipeline);
        assert!(messages > 2000, "only {messages} messages were recorded");
        assert!(gaps > 20, "only {gaps} gaps");
    }
}

/// The exchanges that have a request and a response name the same request in both. Of pipelines
/// that lose most of their events few pairs are certain.
#[test]
fn sslanalyze_pairs_no_response_with_another_request() {
    let Some(live) = Live::start() else { return };
    for (pipeline, least) in [(1, 1000), (8, 0)] {
        let recorded = flooded(&live, pipeline);
        for file in [&recorded.raw, &recorded.pcapng] {
            let listing = live.list_damaged(file, &[]);
            let mut right = 0;
            for exchange in &listing.exchanges {
                let Some(path) = exchange["request"]["path"].as_str() else { continue };
                let headers = exchange["response"]["headers"].as_array();
                let own = headers.into_iter().flatten().find(|header| header[0] == "x-answers");
                let Some(own) = own else { continue };
                assert_eq!(own[1], path, "{}: {exchange}", file.display());
                right += 1;
            }
            assert!(right > least, "of 4000 only {right} are pairs: {}", file.display());
        }
    }
}
