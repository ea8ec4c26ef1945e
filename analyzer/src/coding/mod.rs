//! Undoes content codings (RFC 9110 section 8.4): gzip, deflate, br, zstd, and chains of them.
//!
//! Works on whole bodies that the exchange model holds, once an exchange is finished; `stream` is
//! for those whose contents matter before. What a peer sent may be a bomb, damaged, or not what it
//! says: output has a cap, what came out before the damage is kept, and each makes a note. A coding
//! that is not known is not guessed at.

mod decoders;
mod stream;

pub(crate) use stream::StreamDecoder;

use crate::exchange::{Exchange, Fields, Message, Note};
use sslrec_cli::size::Size;

use crate::text::latin1;

/// The most that a body is decoded to.
const MAX_DECODED: usize = 256 << 20;

/// The most that a body is decoded to in proportion to its length: text seldom shrinks to less
/// than a twentieth, and what shrinks to a two-hundredth is empty or a bomb.
const MAX_RATIO: usize = 256;

/// Up to here the proportion does not matter.
const FREE: usize = 16 << 20;

/// The longest chain of codings. Each one that is used in practice stands alone.
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
    /// By its name in the registry, which has no case. `x-gzip` is the same as `gzip` (RFC 9110
    /// section 8.4.1.3).
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
    /// What came out; `None` where nothing could be decoded, so that the body is as it was sent.
    pub bytes: Option<Vec<u8>>,
    /// Why that is not all.
    pub problem: Option<String>,
}

/// Undoes the content codings of both messages of an exchange, where their contents were kept.
pub fn undo(exchange: &mut Exchange) {
    let request = exchange.request.as_mut().map(|r| ("request", &mut r.message));
    let response = exchange.response.as_mut().map(|r| ("response", &mut r.message));
    let mut problems = Vec::new();
    for (whose, message) in request.into_iter().chain(response) {
        problems.extend(undo_message(message).map(|problem| (whose, problem)));
    }
    for (message, problem) in problems {
        exchange.note(Note::Body { message, problem });
    }
}

fn undo_message(message: &mut Message) -> Option<String> {
    let data = message.body.data.as_mut()?;
    let names = names(&message.headers);
    // A response to HEAD says how its body would be coded, and has none.
    if names.is_empty() || data.is_empty() {
        message.body.decoded_bytes = Some(data.len() as u64);
        return None;
    }
    let decoded = decode(&names, data);
    if let Some(bytes) = decoded.bytes {
        message.body.decoded_bytes = Some(bytes.len() as u64);
        *data = bytes;
    }
    decoded.problem
}

/// Names of the content codings in the order in which they were applied.
fn names(headers: &Fields) -> Vec<String> {
    let values = headers.all("content-encoding");
    let lists = values.map(|value| latin1(value).into_owned());
    let mut names = Vec::new();
    for list in lists {
        let entries = list.split(',').map(str::trim);
        // `identity` is no coding; some send it nevertheless.
        let applied =
            entries.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
        names.extend(applied.map(str::to_owned));
    }
    names
}

/// Undoes content codings, of which the last one was applied last.
pub fn decode(names: &[impl AsRef<str>], body: &[u8]) -> Decoded {
    decode_up_to(names, body, limit(body.len()))
}

/// To how many bytes a body of this length is decoded.
pub(crate) fn limit(len: usize) -> usize {
    len.saturating_mul(MAX_RATIO).clamp(FREE, MAX_DECODED)
}

fn decode_up_to(names: &[impl AsRef<str>], body: &[u8], limit: usize) -> Decoded {
    let problem = |problem: String| Decoded { bytes: None, problem: Some(problem) };
    if names.len() > MAX_CODINGS {
        return problem(format!("{} content codings; shown as sent", names.len()));
    }
    let mut codings = Vec::new();
    for name in names {
        match Coding::from_name(name.as_ref()) {
            Some(coding) => codings.push(coding),
            None => {
                return problem(format!(
                    "content coding {} is not known; shown as sent",
                    name.as_ref()
                ));
            }
        }
    }
    let mut decoded = Decoded::default();
    for coding in codings.into_iter().rev() {
        let input = decoded.bytes.as_deref().unwrap_or(body);
        let (output, stop) = decoders::run(coding, input, limit);
        let Some(stop) = stop else {
            decoded.bytes = Some(output);
            continue;
        };
        let first_problem = decoded.problem.is_none();
        let text = describe(coding, &stop, output.len());
        if output.is_empty() {
            // A wrong label is frequent, and then the body itself says more than nothing.
            return Decoded { bytes: None, ..problem(format!("{text}; shown as sent")) };
        }
        decoded.bytes = Some(output);
        if first_problem {
            decoded.problem = Some(text);
        }
    }
    decoded
}

/// Why a decoder came to no good end.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Limit,
    Cut,
    Damaged(String),
    /// So many bytes follow its end.
    Trailing(usize),
    /// Bytes follow its end.
    Ended,
}

fn describe(coding: Coding, stop: &Stop, len: usize) -> String {
    let name = coding.name();
    match stop {
        Stop::Limit => format!("more than {} of {name}; the rest is not decoded", Size(len as u64)),
        _ if len == 0 => format!("it is not {name}, or not whole"),
        Stop::Cut => format!("{name} breaks off after {len} decoded bytes"),
        Stop::Damaged(reason) => format!("{name} is damaged after {len} decoded bytes: {reason}"),
        Stop::Ended => format!("what follows the end of {name} is left out"),
        Stop::Trailing(bytes) => format!("{bytes} bytes after the end of {name} are left out"),
    }
}

#[cfg(test)]
mod tests;
