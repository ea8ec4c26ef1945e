//! Requests of 300 and responses of 700 bytes, framing included, in the protocols that listings are
//! measured with.

const REQUEST: usize = 300;
const RESPONSE: usize = 700;

/// The server's name; in every line of a listing.
pub(crate) const AUTHORITY: &str = "server.example";

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    /// Returns the bytes that client and server send before the first request.
    pub(crate) fn opening(self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Http1 => (Vec::new(), Vec::new()),
            Self::Http2 => {
                let settings = frame(SETTINGS, 0, 0, &[]);
                ([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat(), settings)
            }
        }
    }

    /// Returns request and response. `number` distinguishes them from all others, `nth` is their
    /// place in the connection, from 0.
    pub(crate) fn messages(self, number: u64, nth: u64) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Http1 => (http1_request(number), http1_response(number)),
            Self::Http2 => (http2_request(number, nth), http2_response(number, nth)),
        }
    }
}

fn path(number: u64) -> String {
    format!("/item/{number:08}?page=1")
}

fn http1_request(number: u64) -> Vec<u8> {
    let path = path(number);
    let start = format!(
        "GET {path} HTTP/1.1\r\nHost: {AUTHORITY}\r\nUser-Agent: bench/1\r\nAccept: */*\r\nCookie: "
    );
    let cookie = "c".repeat(REQUEST - start.len() - 4);
    format!("{start}{cookie}\r\n\r\n").into_bytes()
}

fn http1_response(number: u64) -> Vec<u8> {
    let head = |len: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"{number:08}\"\r\n\
             Content-Length: {len:3}\r\n\r\n"
        )
    };
    let len = RESPONSE - head(0).len();
    (head(len) + &words(number, len)).into_bytes()
}

// RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEADER: usize = 9;

// RFC 7541, appendix A: complete fields, and fields of which only the name is used.
const METHOD_GET: u8 = 0x82;
const SCHEME_HTTPS: u8 = 0x87;
const STATUS_200: u8 = 0x88;
const NAME_AUTHORITY: u8 = 1;
const NAME_PATH: u8 = 4;
const NAME_CONTENT_LENGTH: u8 = 28;
const NAME_COOKIE: u8 = 32;

fn http2_request(number: u64, nth: u64) -> Vec<u8> {
    let mut block = vec![METHOD_GET, SCHEME_HTTPS];
    push_field(&mut block, NAME_AUTHORITY, AUTHORITY);
    push_field(&mut block, NAME_PATH, &path(number));
    // The name takes two bytes, the length of a value of 127 to 254 bytes two more.
    let cookie = "c".repeat(REQUEST - FRAME_HEADER - block.len() - 4);
    push_field(&mut block, NAME_COOKIE, &cookie);
    frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * nth, &block)
}

fn http2_response(number: u64, nth: u64) -> Vec<u8> {
    let stream = 1 + 2 * nth;
    let headers = |len: usize| {
        let mut block = vec![STATUS_200];
        push_field(&mut block, NAME_CONTENT_LENGTH, &format!("{len:03}"));
        frame(HEADERS, END_HEADERS, stream, &block)
    };
    let len = RESPONSE - headers(0).len() - FRAME_HEADER;
    let body = frame(DATA, END_STREAM, stream, words(number, len).as_bytes());
    [headers(len), body].concat()
}

fn frame(kind: u8, flags: u8, stream: u64, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend((stream as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

/// Appends a literal without indexing, RFC 7541, section 6.2.2: a name of the static table, with a
/// plain value.
fn push_field(block: &mut Vec<u8>, name: u8, value: &str) {
    push_integer(block, 4, usize::from(name));
    push_integer(block, 7, value.len());
    block.extend(value.as_bytes());
}

/// Appends an integer with a prefix of `bits` bits, the bits before it 0; RFC 7541, section 5.1.
fn push_integer(block: &mut Vec<u8>, bits: u32, number: usize) {
    let most = (1 << bits) - 1;
    if number < most {
        block.push(number as u8);
        return;
    }
    block.push(most as u8);
    let mut rest = number - most;
    while rest >= 128 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// Returns letters that differ between any two messages, so that they compress like text and not to
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
