//! Losses among requests and responses: no reader of the packets pairs a response with the request
//! of another response, and nothing else changes.

// A test fails by a panic.
#![allow(clippy::unwrap_used)]

mod common;

use common::tools::fields;
use common::{close, connection, data, gap, last_stats, process, read_pcapng, to_pcapng};
use sslrec_formats::record::{Direction, GapCause, Record, Role};

/// One side's view of a connection, message by message.
struct Messages {
    records: Vec<Record<'static>>,
    client: Direction,
    offsets: [u64; 2],
}

impl Messages {
    fn of(role: Role) -> Self {
        let (local, remote, client) = match role {
            Role::Server => ("10.0.0.6:443", "10.0.0.5:51234", Direction::Received),
            _ => ("10.0.0.5:51234", "10.0.0.6:443", Direction::Sent),
        };
        let connection = connection(1, 1, role, local, remote);
        let records = vec![process(1, "curl"), Record::Connection(connection)];
        Self { records, client, offsets: [0; 2] }
    }

    fn message(&mut self, dir: Direction, text: String, lost: Option<GapCause>) {
        let (offset, len) = (self.offsets[dir.index()], text.len() as u64);
        self.offsets[dir.index()] += len;
        self.records.push(match lost {
            None => data(1, dir, offset, text.into_bytes().leak()),
            Some(cause) => gap(1, dir, offset, len, cause),
        });
    }

    fn request(&mut self, number: u32, lost: Option<GapCause>) {
        let text = format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n");
        self.message(self.client, text, lost);
    }

    fn response(&mut self, number: u32, lost: Option<GapCause>) {
        let text = format!("HTTP/1.1 200 OK\r\nserver: {number}\r\ncontent-length: 2\r\n\r\nok");
        self.message(self.client.reverse(), text, lost);
    }

    fn end(mut self) -> Vec<Record<'static>> {
        self.records.push(close(1, self.offsets[0], self.offsets[1]));
        self.records.push(last_stats());
        self.records
    }
}

const RING_FULL: Option<GapCause> = Some(GapCause::RingFull);

/// Returns the pairs of tshark: for each response its number, and the target of its request.
fn pairs(file: &[u8]) -> Option<Vec<(String, String)>> {
    let wanted = ["frame.number", "http.request.uri", "http.server", "http.request_in"];
    let lines = fields("http", &wanted, file)?;
    let lines: Vec<Vec<&str>> = lines.iter().map(|line| line.split('\t').collect()).collect();
    let target_in = |frame: &str| {
        let request = lines.iter().find(|line| line[0] == frame);
        request.map_or(String::new(), |line| line[1].to_owned())
    };
    let responses = lines.iter().filter(|line| !line[2].is_empty());
    Some(responses.map(|line| (format!("/{}", line[2]), target_in(line[3]))).collect())
}

/// All ways to lose messages of five exchanges, from either end.
#[test]
fn wireshark_pairs_no_response_with_another_request() {
    for role in [Role::Client, Role::Server] {
        // Many patterns in a file: tshark takes long to start.
        let mut records = vec![process(1, "curl")];
        let mut whole = 0;
        for lost in 0u64..1 << 8 {
            let mut messages = Messages::of(role);
            let mut loss = (0..8).map(|bit| (lost >> bit & 1 == 1).then_some(GapCause::RingFull));
            for number in 1..=4 {
                let (request, response) = (loss.next().unwrap(), loss.next().unwrap());
                whole += usize::from(request.is_none() && response.is_none());
                messages.request(number, request);
                messages.response(number, response);
            }
            records.extend(messages.records.drain(2..).map(|record| renumbered(record, lost + 1)));
        }
        let file = to_pcapng(&with_connections(role, records));
        let Some(pairs) = pairs(&file) else { return };
        let wrong = pairs.iter().filter(|(own, of)| !of.is_empty() && own != of);
        assert_eq!(wrong.collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "{role}");
        let right = pairs.iter().filter(|(own, of)| own == of).count();
        assert_eq!(right, whole, "of {role}: each exchange without loss is a pair");
    }
}

/// Inserts the descriptions of the connections, each with ports of its own.
fn with_connections(role: Role, records: Vec<Record<'static>>) -> Vec<Record<'static>> {
    let mut all = Vec::new();
    let mut last = 0;
    for record in records {
        if let Some(conn) = record.conn().filter(|&conn| conn > last) {
            last = conn;
            let (client, server) = (format!("10.0.0.5:{}", 40_000 + conn), "10.0.0.6:443");
            let ends = if role == Role::Server { (server, &*client) } else { (&*client, server) };
            all.push(Record::Connection(connection(conn, 1, role, ends.0, ends.1)));
        }
        all.push(record);
    }
    all.push(last_stats());
    all
}

fn renumbered(mut record: Record<'static>, number: u64) -> Record<'static> {
    match &mut record {
        Record::Data(data) => data.conn = number,
        Record::Gap(gap) => gap.conn = number,
        _ => {}
    }
    record
}

#[test]
fn a_connection_that_is_opened_anew_reads_the_same() {
    for role in [Role::Client, Role::Server] {
        let mut messages = Messages::of(role);
        for number in 1..=9 {
            messages.request(number, RING_FULL.filter(|_| number % 3 == 0));
            messages.response(number, RING_FULL.filter(|_| number % 3 == 2));
        }
        let records = messages.end();
        let file = to_pcapng(&records);
        let (read, error) = read_pcapng(&file);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(read, records);
        let syns = fields("tcp.flags.syn == 1 && tcp.flags.ack == 0", &["frame.number"], &file);
        let Some(syns) = syns else { return };
        assert_eq!(syns.len(), 1 + 3, "one more for each lost request with a response");
    }
}

/// The rest of a call is cut: its beginning, with the request line, is in the file.
#[test]
fn requests_that_are_cut_keep_their_responses() {
    for cause in [GapCause::Snaplen, GapCause::LongCall, GapCause::Sendfile] {
        let mut messages = Messages::of(Role::Client);
        for number in 1..=3 {
            messages.request(number, None);
            messages.message(Direction::Sent, "the rest".into(), Some(cause));
            messages.response(number, None);
        }
        let Some(pairs) = pairs(&to_pcapng(&messages.end())) else { return };
        let own = |number: u32| (format!("/{number}"), format!("/{number}"));
        assert_eq!(pairs, [own(1), own(2), own(3)], "{cause}");
    }
}
