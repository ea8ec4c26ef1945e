//! The redactor examines everything that the listing shows as the value of a header field, a target
//! or content.
//!
//! A connection is redacted by a rule that blanks each `Z`. In the original, each `Z` that was
//! blanked becomes a `z`, and nothing else changes: its listing shows a `Z` only where the redactor
//! did not look. The listing of the redacted connection must show none, either.

use std::sync::LazyLock;

use sslrec_analyzer::exchange::{Exchange, Fields, Item, Message};
use sslrec_analyzer::input::RecordSink;
use sslrec_analyzer::pipeline::{Assembler, Options};
use sslrec_formats::record::{
    Close, CloseCause, Connection, Data, Direction, Gap, GapCause, Record, Role,
};
use sslrec_redact::{Redactor, Rules};

/// The letter that the redactor blanks.
const MARK: u8 = b'Z';

/// A call, or a gap of so many bytes.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Call(Direction, Vec<u8>),
    Gap(Direction, u64),
}

/// Reads an input as steps: blocks of a tag, a length and so many bytes. The lowest bit of the tag
/// is the direction, the second makes the block a gap, and the next two add an HTTP/1 line break or
/// a mark after it.
pub(crate) fn steps(mut rest: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    while let [tag, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let dir = if tag & 1 == 0 { Direction::Sent } else { Direction::Received };
        let end: &[u8] = match tag >> 2 & 3 {
            1 => b"\r\n",
            2 => b"Z",
            _ => b"",
        };
        steps.push(match tag & 2 {
            0 => Step::Call(dir, [bytes, end].concat()),
            _ => Step::Gap(dir, u64::from(*len) + 1),
        });
    }
    steps
}

/// Fails if the listing shows something that the redactor did not look at.
pub(crate) fn check(steps: &[Step], joined: bool) {
    let original = records(steps);
    let redacted = redact(&original, joined);
    let looked_at: Vec<_> =
        original.iter().zip(&redacted).map(|(before, after)| marked(before, after)).collect();
    let shown = list(&looked_at, joined, true);
    assert!(!shown.contains(&MARK), "not looked at: {}\n{}", shown.escape_ascii(), text(steps));
    let shown = list(&redacted, joined, false);
    assert!(!shown.contains(&MARK), "left: {}\n{}", shown.escape_ascii(), text(steps));
}

/// The steps for people.
fn text(steps: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Call(dir, bytes) => format!("{dir:?} {}\n", bytes.escape_ascii()),
        Step::Gap(dir, len) => format!("{dir:?} gap of {len}\n"),
    };
    steps.iter().map(step).collect()
}

/// The bytes of before, with a small letter for each mark that is not in those of after.
fn marked(before: &Step, after: &Step) -> Step {
    match (before, after) {
        (Step::Call(dir, before), Step::Call(_, after)) => {
            assert_eq!(before.len(), after.len());
            let octet = |(&before, &after): (&u8, &u8)| match before {
                MARK if after != MARK => b'z',
                before => before,
            };
            Step::Call(*dir, before.iter().zip(after).map(octet).collect())
        }
        (gap, _) => gap.clone(),
    }
}

/// Steps of some bytes each.
fn records(steps: &[Step]) -> Vec<Step> {
    let has_bytes = |step: &&Step| !matches!(step, Step::Call(_, bytes) if bytes.is_empty());
    steps.iter().filter(has_bytes).cloned().collect()
}

/// Hands the records of the steps to `take`.
fn feed(steps: &[Step], joined: bool, mut take: impl FnMut(&Record<'_>)) {
    let (role, pid) = (Role::Client, 1);
    take(&Record::Connection(Connection { conn: 1, pid, role, joined, ..Connection::default() }));
    let mut offsets = [0u64; 2];
    for (at, step) in steps.iter().enumerate() {
        let (Step::Call(dir, _) | Step::Gap(dir, _)) = *step;
        let (offset, ts_ns) = (&mut offsets[dir.index()], at as u64 * 1000);
        match step {
            Step::Call(_, payload) => {
                let call_len = payload.len() as u64;
                take(&Record::Data(Data {
                    conn: 1,
                    ts_ns,
                    tid: 1,
                    dir,
                    offset: *offset,
                    func: "",
                    lat_ns: 0,
                    call_len,
                    call_offset: 0,
                    payload,
                }));
                *offset += call_len;
            }
            Step::Gap(_, len) => {
                let cause = GapCause::RingFull;
                take(&Record::Gap(Gap { conn: 1, ts_ns, dir, offset: *offset, len: *len, cause }));
                *offset += len;
            }
        }
    }
    let [sent_bytes, received_bytes] = offsets;
    let (ts_ns, cause) = (steps.len() as u64 * 1000, CloseCause::Shutdown);
    take(&Record::Close(Close { conn: 1, ts_ns, cause, sent_bytes, received_bytes }));
}

fn redact(steps: &[Step], joined: bool) -> Vec<Step> {
    static RULE: LazyLock<Rules> = LazyLock::new(|| "regex:Z".parse().expect("a rule"));
    let mut redactor = Redactor::new(RULE.clone());
    let mut out = Vec::new();
    feed(steps, joined, |record| {
        redactor.record(record, &mut |record| match record {
            Record::Data(data) => out.push(Step::Call(data.dir, data.payload.to_vec())),
            Record::Gap(gap) => out.push(Step::Gap(gap.dir, gap.len)),
            _ => {}
        });
    });
    assert_eq!(out.len(), steps.len(), "records keep their number and order");
    out
}

/// All header values, targets and contents of the listing. With `plain` only those whose
/// bytes are in the connection as they are listed.
fn list(steps: &[Step], joined: bool, plain: bool) -> Vec<u8> {
    let mut shown = Vec::new();
    let options = Options { bodies: true, ..Options::default() };
    let mut capture = Assembler::new(options, |item: Item| match item {
        Item::Exchange(exchange) => show_exchange(&exchange, plain, &mut shown),
        // Of a stream the redactor may have made out heads, whose names of fields stay.
        Item::Stream(_) | Item::Handshake(_) => {}
    });
    feed(steps, joined, |record| assert!(capture.record(record).is_continue()));
    assert!(capture.finish(0, true).is_ok());
    shown
}

fn show_exchange(exchange: &Exchange, plain: bool, shown: &mut Vec<u8>) {
    if plain && exchange.proto.starts_with("http/2") {
        // Strings of HPACK are not in the connection as they are listed.
        return;
    }
    for interim in &exchange.interim {
        show_fields(&interim.headers, shown);
    }
    if let Some(request) = &exchange.request {
        shown.extend(request.target.as_deref().unwrap_or_default());
        shown.push(b'\n');
        show_message(&request.message, shown);
    }
    if let Some(response) = &exchange.response {
        shown.extend(&*response.reason);
        show_message(&response.message, shown);
    }
}

fn show_message(message: &Message, shown: &mut Vec<u8>) {
    show_fields(&message.headers, shown);
    show_fields(&message.trailers, shown);
    shown.extend(message.body.data.as_deref().unwrap_or_default());
    shown.push(b'\n');
}

fn show_fields(fields: &Fields, shown: &mut Vec<u8>) {
    for (_, value) in fields.iter() {
        shown.extend(value);
        shown.push(b'\n');
    }
}
