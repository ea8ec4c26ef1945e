//! Undoes content codings (RFC 9110 section 8.4): gzip, deflate, br, zstd, and chains of them. So
//! it does for transfer codings of the same names (RFC 9112 section 7); chunked is undone by the
//! framing.
//!
//! Decodes the complete bodies of the exchange model, after an exchange is finished; `stream`
//! decodes bodies that are read earlier. A body from a peer may be a bomb, damaged or mislabelled.
//! So output has a limit, the output before damage is kept, and each problem adds a note. Unknown
//! codings are not guessed.

mod decoders;
mod stream;

pub(crate) use stream::StreamDecoder;

use crate::budget::{Charge, Share};
use crate::exchange::note::{Fault, Note, Part, Problem};
use crate::exchange::{Exchange, Fields, Message};

use crate::text::latin1;

/// Maximum length of a decoded body.
const MAX_DECODED: usize = 256 << 20;

/// Maximum ratio of the decoded length to the length of the body. Text seldom shrinks to less than
/// a twentieth; a body that shrinks to a two-hundredth is empty or a bomb.
const MAX_RATIO: usize = 256;

/// Decoded length up to which the ratio is not limited.
const FREE: usize = 16 << 20;

/// Output that does not end by its limit, and is so many times longer than the body, is that of a
/// bomb: no more than `BOMB_KEPT` bytes of it are kept.
const BOMB_RATIO: usize = 100;

/// What is kept of a bomb: enough to recognise it. Outputs can make six bytes of each.
const BOMB_KEPT: usize = 1 << 20;

/// Maximum length of a chain of codings. In practice, codings are used alone.
const MAX_CODINGS: usize = 8;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// Returns the coding of a registered name, ignoring case. `x-gzip` is the same as `gzip` (RFC
    /// 9110 section 8.4.1.3).
    fn from_name(name: &str) -> Option<Self> {
        let known = [
            ("gzip", Coding::Gzip),
            ("x-gzip", Coding::Gzip),
            ("deflate", Coding::Deflate),
            ("br", Coding::Brotli),
            ("zstd", Coding::Zstd),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, c)| c)
    }

    fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}

/// A body without its content codings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The decoded bytes; `None` if nothing could be decoded, so that the body is as sent.
    pub bytes: Option<Vec<u8>>,
    /// Why `bytes` is incomplete or `None`.
    pub problem: Option<Problem>,
}

impl Decoded {
    /// A body of which nothing could be decoded.
    fn as_sent(fault: Fault) -> Self {
        Self { bytes: None, problem: Some(Problem::AsSent(fault)) }
    }
}

/// Undoes the content codings of both messages of an exchange, if their contents were kept.
pub fn undo(exchange: &mut Exchange) {
    let transfer = has_transfer_codings(exchange);
    let request = exchange.request.as_mut().map(|r| (Part::Request, &mut r.message));
    let response = exchange.response.as_mut().map(|r| (Part::Response, &mut r.message));
    let mut notes = Vec::new();
    for (part, message) in request.into_iter().chain(response) {
        undo_message(part, message, transfer, &mut notes);
    }
    if notes.iter().any(|note| matches!(note, Note::DecodingEnded(_))) {
        exchange.decoding_ended();
    }
    notes.into_iter().for_each(|note| exchange.note(note));
}

fn undo_message(part: Part, message: &mut Message, transfer: bool, notes: &mut Vec<Note>) {
    let body = &mut message.body;
    let Some(data) = &mut body.data else { return };
    // The contents of a HAR have no coding, whatever the header fields are.
    if body.decoded_bytes.is_some() {
        return;
    }
    let names = names(&message.headers, transfer);
    // A response to HEAD has the coding of a GET in its head, but no body.
    if names.is_empty() || data.is_empty() {
        body.decoded_bytes = Some(data.len() as u64);
        return;
    }
    let budget = body.held.budget();
    let mut held = budget.map(|budget| budget.charge(Share::Decoded)).unwrap_or_default();
    let Within { decoded, ended } = decode_within(&names, data, usize::MAX, &mut held);
    if let Some(bytes) = decoded.bytes {
        body.decoded_bytes = Some(bytes.len() as u64);
        *data = bytes;
        body.held = held;
    }
    notes.extend(decoded.problem.map(|problem| Note::Body(part, problem)));
    notes.extend(ended.map(Note::DecodingEnded));
}

/// Returns whether the messages can have transfer codings, which HTTP/2 has not (RFC 9113 section
/// 8.1).
pub(crate) fn has_transfer_codings(exchange: &Exchange) -> bool {
    exchange.proto.starts_with("http/1")
}

/// Returns the names of the codings in the order of their application: content codings, then with
/// `transfer` the transfer codings, without the chunked coding at their end.
fn names(headers: &Fields, transfer: bool) -> Vec<String> {
    let mut names = listed(headers, "content-encoding");
    if transfer {
        let mut codings = listed(headers, "transfer-encoding");
        codings.pop_if(|last| last.eq_ignore_ascii_case("chunked"));
        names.append(&mut codings);
    }
    names
}

/// Returns the codings of all fields of this name, without parameters.
fn listed(headers: &Fields, field: &str) -> Vec<String> {
    let lists = headers.all(field).map(|value| latin1(value).into_owned());
    let mut names = Vec::new();
    for list in lists {
        let entries = list.split(',').map(|entry| entry.split(';').next().unwrap_or("").trim());
        // `identity` is not a coding, but some servers send it.
        let applied =
            entries.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
        names.extend(applied.map(str::to_owned));
    }
    names
}

/// Returns the codings of these names.
///
/// # Errors
/// A coding is unknown, or there are too many codings.
fn codings(names: &[impl AsRef<str>]) -> Result<Vec<Coding>, Fault> {
    if names.len() > MAX_CODINGS {
        return Err(Fault::TooManyCodings(names.len()));
    }
    let coding =
        |name: &str| Coding::from_name(name).ok_or_else(|| Fault::UnknownCoding(name.into()));
    names.iter().map(|name| coding(name.as_ref())).collect()
}

/// Undoes content codings, given in the order of their application.
pub fn decode(names: &[impl AsRef<str>], body: &[u8]) -> Decoded {
    decode_up_to(names, body, limit(body.len()))
}

/// What was decoded within a budget.
pub(crate) struct Within {
    pub(crate) decoded: Decoded,
    /// The limit of decoded output, if that is why the rest is not decoded.
    pub(crate) ended: Option<u64>,
}

/// The same to at most `max_len` bytes, within the budget of `held`, to which the output is added.
pub(crate) fn decode_within(
    names: &[impl AsRef<str>],
    body: &[u8],
    max_len: usize,
    held: &mut Charge,
) -> Within {
    let wanted = limit(body.len()).min(max_len);
    let Some(budget) = held.budget().cloned() else {
        return Within { decoded: decode_up_to(names, body, wanted), ended: None };
    };
    let left = usize::try_from(budget.decoded_left()).unwrap_or(usize::MAX);
    // Of a chain, the output of one coding is held while the next one is undone.
    let stages = names.len().clamp(1, 2);
    let reserved = held.grow_up_to(wanted.min(left).saturating_mul(stages));
    let limit = reserved / stages;
    if limit == 0 {
        let decoded = Decoded::as_sent(Fault::NotDecoded);
        return Within { decoded, ended: (left == 0).then(|| budget.max_decoded()) };
    }
    let mut decoded = decode_up_to(names, body, limit);
    let len = decoded.bytes.as_ref().map_or(0, Vec::len);
    budget.count_decoded(len);
    let ended = (len >= left && decoded.problem.is_some()).then(|| budget.max_decoded());
    if let Some(bytes) = &mut decoded.bytes
        && let Some(Problem::Partly(fault)) = &decoded.problem
        && len >= limit
        && len > FREE
        && len / body.len().max(1) >= BOMB_RATIO
    {
        bytes.truncate(BOMB_KEPT);
        bytes.shrink_to_fit();
        decoded.problem = Some(Problem::Bomb(fault.clone(), BOMB_KEPT as u64));
    }
    held.shrink(reserved - decoded.bytes.as_ref().map_or(0, Vec::len));
    Within { decoded, ended }
}

/// Returns the maximum decoded length for a body of this length.
pub(crate) fn limit(len: usize) -> usize {
    len.saturating_mul(MAX_RATIO).clamp(FREE, MAX_DECODED)
}

fn decode_up_to(names: &[impl AsRef<str>], body: &[u8], limit: usize) -> Decoded {
    let codings = match codings(names) {
        Ok(codings) => codings,
        Err(fault) => return Decoded::as_sent(fault),
    };
    let mut decoded = Decoded::default();
    for coding in codings.into_iter().rev() {
        let input = decoded.bytes.as_deref().unwrap_or(body);
        let (output, stop) = decoders::run(coding, input, limit);
        let Some(stop) = stop else {
            decoded.bytes = Some(output);
            continue;
        };
        let fault = stop.fault(coding, output.len());
        if output.is_empty() {
            // Wrong labels are frequent, and the body as sent is better than nothing.
            return Decoded::as_sent(fault);
        }
        decoded.bytes = Some(output);
        decoded.problem.get_or_insert(Problem::Partly(fault));
    }
    decoded
}

/// Why a decoder stopped before the end.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Limit,
    Cut,
    Damaged(String),
    /// So many bytes follow the end of the coding.
    Trailing(usize),
    /// Bytes follow the end of the coding.
    Ended,
}

impl Stop {
    /// Returns the fault of a coding of which so many bytes were decoded.
    fn fault(self, coding: Coding, len: usize) -> Fault {
        let (name, len) = (coding.name(), len as u64);
        match self {
            Stop::Limit => Fault::Limit(name, len),
            _ if len == 0 => Fault::OtherCoding(name),
            Stop::Cut => Fault::Truncated(name, len),
            Stop::Damaged(reason) => Fault::Damaged(name, len, reason.into()),
            Stop::Ended => Fault::AfterEnd(name),
            Stop::Trailing(bytes) => Fault::BytesAfterEnd(bytes as u64, name),
        }
    }
}

#[cfg(test)]
mod tests;
