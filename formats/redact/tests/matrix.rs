//! Secrets in every place, spelling, protocol and split: no secret is left.
//!
//! A secret is a single word. The output is read as by an attacker: the bytes as they are, without
//! NUL bytes and without the framing of chunks, HPACK decoded, base64 and compression undone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use memchr::memmem;
use sslrec_redact::{Redactor, Rules};
use sslrec_redact_testing::http2::{self, INDEXED, frame};
use sslrec_redact_testing::{Calls, Random, joined, received, run, sent};
use sslrec_wire::http2::frame::{Frame, Kind, PREFACE};
use sslrec_wire::http2::hpack::{Decoder, Defect, Sink};

/// The secret. No other text here contains a part of it.
const SECRET: &str = "S3CR3Tvalue9876";

/// The rules that name all of the places below.
const RULES: [&str; 8] = [
    "default",
    "basic",
    "cookie:sid",
    "query:token",
    "json:password",
    "form:pin",
    "header:x-own",
    "regex:tok_[A-Za-z0-9]+",
];

/// A text with a secret, `{}`, and its possible places.
#[derive(Debug, Clone)]
struct Spelling {
    name: String,
    text: Vec<u8>,
}

fn spelling(name: &str, text: impl AsRef<[u8]>) -> Spelling {
    Spelling { name: name.into(), text: text.as_ref().to_vec() }
}

fn percent(text: &str, depth: usize) -> String {
    (0..depth).fold(text.to_owned(), |text, _| {
        let octet = |octet: u8| match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(octet).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(octet).collect()
    })
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Header lines.
fn fields() -> Vec<Spelling> {
    let s = SECRET;
    let names = [
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Cookie2",
        "X-Api-Key",
        "Api-Key",
        "X-Auth-Token",
        "X-Goog-Api-Key",
        "X-Amz-Security-Token",
        "Private-Token",
        "X-Vault-Token",
        "X-CSRF-Token",
        "X-Own",
        "x_own",
        "X-OWN ",
    ];
    let mut all: Vec<_> = names.iter().map(|name| spelling(name, format!("{name}: {s}"))).collect();
    all.extend([
        spelling("no space", format!("X-Own:{s}")),
        spelling("tabs", format!("X-Own:\t{s}\t")),
        spelling("folded", format!("X-Own:\r\n {s}")),
        spelling("folded twice", format!("X-Own: a\r\n b\r\n\t{s}")),
        spelling("hidden in a fold", format!("A: b\r\n X-Own: {s}")),
        spelling("hidden by a CR", format!("A: b\rX-Own: {s}")),
        spelling("NUL in the name", format!("X\0-Own: {s}")),
        spelling("quoted name", format!("\"X-Own\": {s}")),
        spelling("bearer", format!("A: Bearer {s}")),
        spelling("bearer quoted", format!("A: Bearer \"{s}\"")),
        spelling("bearer colon", format!("A: Bearer: {s}")),
        spelling("bearer folded", format!("A: Bearer\r\n {s}")),
        spelling("bearer percent", format!("A: b=Bearer%20{s}")),
        spelling("bearer percent twice", format!("A: b=Bearer%2520{s}")),
        spelling("basic", format!("A: Basic {s}")),
        spelling("cookie of a name", format!("Cookie: a=b; sid={s}; c=d")),
        spelling("regex", format!("A: tok_{s}")),
        spelling("query in a URL", format!("Referer: https://h/?token={s}&a")),
        spelling("user in a URL", format!("Referer: https://u:{s}@h/")),
        spelling("user in Host", format!("Host: u:{s}@h")),
        spelling("subprotocol", format!("Sec-WebSocket-Protocol: bearer, {s}")),
        spelling("JSON", format!("A: {{\"password\":\"{s}\"}}")),
        spelling(
            "encoded JSON",
            format!("A: {}", percent(&format!("{{\"password\":\"{s}\"}}"), 1)),
        ),
    ]);
    all
}

/// Queries of targets.
fn queries() -> Vec<Spelling> {
    let s = SECRET;
    let mut all: Vec<_> = [
        "token",
        "TOKEN",
        "token[]",
        "token[0]",
        "user[token]",
        "a.token",
        "tok%65n",
        "tok%2565n",
        "token%5B%5D",
        "access_token",
        "apiKey",
        "password",
        "user[password]",
        "X-Amz-Signature",
    ]
    .iter()
    .map(|name| spelling(name, format!("?a=b&{name}={s}&c=d")))
    .collect();
    for depth in 1..4 {
        let inner = percent(&format!("/b?token={s}&x=y"), depth);
        all.push(spelling(&format!("URL in a URL, {depth}"), format!("?next={inner}")));
        let inner = percent(&format!("{{\"password\":\"{s}\"}}"), depth);
        all.push(spelling(&format!("JSON in a URL, {depth}"), format!("?q={inner}&x=y")));
    }
    all.extend([
        spelling("semicolons", format!("?a=b;token={s};c")),
        spelling("fragment", format!("#token={s}")),
        spelling("bearer", format!("?q=Bearer%20{s}")),
        spelling("bearer plus", format!("?q=bearer+{s}")),
        spelling("regex", format!("?q=tok_{s}")),
    ]);
    all
}

/// Contents.
fn contents() -> Vec<Spelling> {
    let s = SECRET;
    let json = format!("{{\"a\":1,\"password\":\"{s}\",\"b\":[2]}}");
    let quoted = |text: &str| format!("{{\"c\":{}}}", serde_like(text));
    let url = format!("http://h/?a=b&token={s}&c=d");
    let mut all = vec![
        spelling("JSON", &json),
        spelling("JSON, spaces", format!("{{ \"password\" : \"{s}\" }}")),
        spelling("JSON, lines", format!("{{\r\n\"password\"\r\n:\r\n\"{s}\"}}")),
        spelling("JSON, escaped name", format!("{{\"pass\\u0077ord\":\"{s}\"}}")),
        spelling("JSON, escaped value", format!("{{\"password\":\"\\\\\\\"{s}\"}}")),
        spelling("JSON, nested", format!("{{\"password\":{{\"a\":[\"b\",\"{s}\"]}}}}")),
        spelling("JSON, parts of names", format!("{{\"user.password\":\"{s}\"}}")),
        spelling("JSON in a string", quoted(&json)),
        spelling("JSON in a string, twice", quoted(&quoted(&json))),
        spelling("JSON in a string, thrice", quoted(&quoted(&quoted(&json)))),
        spelling("JSON, hex quotes", json.replace('"', "\\u0022")),
        spelling("JSON in HTML", format!("<a b=\"{}\">", json.replace('"', "&quot;"))),
        spelling("JSON5", format!("{{'password':'{s}'}}")),
        spelling("JSON5, bare name", format!("{{a: 1, password: '{s}'}}")),
        spelling("JSON, UTF-16", utf_16(&json)),
        spelling("YAML", format!("a: b\npassword: {s}\nc: d\n")),
        spelling("URL", &url),
        spelling("URL in JSON", format!("{{\"u\":\"{}\"}}", url.replace('/', "\\/"))),
        spelling(
            "URL, escaped ampersand",
            format!("{{\"u\":\"{}\"}}", url.replace('&', "\\u0026")),
        ),
        spelling("URL, escaped equals", format!("{{\"u\":\"{}\"}}", url.replace('=', "\\u003d"))),
        spelling("URL in HTML", format!("<a href=\"{}\">", url.replace('&', "&amp;"))),
        spelling("URL, UTF-16", utf_16(&url)),
        spelling("user in a URL", format!("see http://u:{s}@h/ here")),
        spelling("user in a URL in JSON", format!("{{\"u\":\"http:\\/\\/u:{s}@h\\/\"}}")),
        spelling("user in a URL, encoded", percent(&format!("http://u:{s}@h/"), 1)),
        spelling("bearer", format!("see Bearer {s}, or not")),
        spelling("bearer in JSON", format!("{{\"a\":\"Bearer {s}\"}}")),
        spelling("bearer, UTF-16", utf_16(&format!("Bearer {s} x"))),
        spelling("basic", format!("see Basic {s}.")),
        spelling("regex", format!("a tok_{s} b")),
        spelling("JWT", format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{s}.{s}")),
        spelling("GitHub", format!("ghp_{s}{s}")),
        spelling("Slack", format!("xoxb-{s}")),
        spelling(
            "private key",
            format!("-----BEGIN RSA PRIVATE KEY-----\nMII{s}\n-----END RSA PRIVATE KEY-----\n"),
        ),
        spelling("head in a body", format!("GET / HTTP/1.1\r\nX-Own: {s}\r\n\r\n")),
        spelling("head in JSON", quoted(&format!("GET / HTTP/1.1\r\nX-Own: {s}\r\n\r\n"))),
        spelling("cookie line", format!("x\r\nCookie: a=b; sid={s}\r\n")),
        spelling(
            "gzip without a statement",
            [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", s.as_bytes()].concat(),
        ),
    ];
    all.extend(fields().into_iter().map(|field| Spelling {
        name: format!("line: {}", field.name),
        text: [b"some text\r\n", &field.text[..], b"\r\nmore\r\n"].concat(),
    }));
    all
}

/// Forms.
fn forms() -> Vec<Spelling> {
    let mut all: Vec<_> = queries()
        .into_iter()
        .map(|query| Spelling { name: query.name, text: query.text[1..].to_vec() })
        .filter(|form| !form.name.contains("fragment"))
        .collect();
    all.extend([
        spelling("first", format!("pin={SECRET}&x=y")),
        spelling("spaces and lines", format!("a=b&pin=a b\r\n\"{SECRET}\" #&x=y")),
        spelling("encoded first", format!("%70in={SECRET}")),
    ]);
    all
}

/// Forms of several parts.
fn multipart() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for name in ["pin", "password", "user[password]"] {
        let long = format!("X: {}\r\n", "x".repeat(5000));
        for (about, before, head) in [
            ("plain", "", format!("name=\"{name}\"")),
            ("no quotes", "", format!("name={name}")),
            ("spaces", "", format!("name = \"{name}\"")),
            ("other parameters", "", format!("filename=\"a=b\"; NAME=\"{name}\"; x=y")),
            ("folded", "", format!("\r\n name=\"{name}\"")),
            ("extended", "", format!("name*=utf-8''{name}")),
            ("empty preamble", "\r\n", format!("name=\"{name}\"")),
            ("preamble", "a=b\r\nwords\r\n", format!("name=\"{name}\"")),
            ("more fields", "", format!("name=\"{name}\"\r\nContent-Type: text/plain; a=b")),
            ("long head", "", format!("name=\"{name}\"\r\n{}", long.trim_end())),
        ] {
            let part = format!("Content-Disposition: form-data; {head}\r\n\r\n{SECRET}\r\n");
            let body = format!("{before}--b\r\n{part}--b--\r\n");
            all.push((format!("{about}: {name}"), body));
            let first = "Content-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n\r\n=c\r\n";
            let body = format!("{before}--b\r\n{first}--b\r\nX: y; a=b\r\n{part}--b--\r\n");
            all.push((format!("{about}, second part: {name}"), body));
        }
    }
    all
}

/// Returns the text as a string of JSON.
fn serde_like(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\r' => "\\r".to_owned(),
        '\n' => "\\n".to_owned(),
        '\0' => "\\u0000".to_owned(),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// A connection, and the way to read it again.
struct Case {
    name: String,
    calls: Calls,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

fn http1_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |place: &str, spelling: &Spelling, calls: Calls| {
        cases.push(Case { name: format!("{place}: {}", spelling.name), calls });
    };
    for field in fields() {
        let text = &field.text[..];
        let head =
            |start: &str| [start.as_bytes(), b"\r\nA: b\r\n", text, b"\r\nC: d\r\n\r\n"].concat();
        let first = |start: &str| [start.as_bytes(), b"\r\n", text, b"\r\nC: d\r\n\r\n"].concat();
        for start in [
            "GET /a HTTP/1.1",
            "GET /a Http/1.1",
            "GET /a HTTP/2.0",
            "GET /a HTTP/1.1x",
            "GET /a",
            " GET /a HTTP/1.1",
            "GET\t/a\tHTTP/1.1",
            "get /a HTTP/1.1",
            "GET  /a  HTTP/1.1",
            "VERYLONGMETHODVERYLONGMETHODVERYLONGMETHODVERYLONG /a HTTP/1.1",
            "G\0T /a HTTP/1.1",
            "",
            "\r\n\r\nGET /a HTTP/1.1",
            "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET /a HTTP/1.1",
            "garbageGET /a HTTP/1.1",
            "HTTP/1.1 200 OK",
        ] {
            add(&format!("request {start:?}"), &field, vec![sent(head(start)), received(OK)]);
        }
        for start in [
            "HTTP/1.1 200 OK",
            "HTTP/2.0 200 OK",
            "ICY 200 OK",
            "HTTP/1.1 2000 OK",
            "Http/1.1 200 OK",
            "HTTP/1.1  200 OK",
            "HTTP/1.1 100 Continue",
            "HTTP/1.1 101 Switching",
            "xHTTP/1.1 200 OK",
        ] {
            add(&format!("response {start:?}"), &field, vec![sent(GET), received(head(start))]);
        }
        add("first field", &field, vec![sent(first("GET /a HTTP/1.1")), received(OK)]);
        let indented = [b"GET /a HTTP/1.1\r\n ", text, b"\r\nC: d\r\n\r\n"].concat();
        add("indented first field", &field, vec![sent(indented), received(OK)]);
        add("second request", &field, vec![sent(GET), received(OK), sent(head("PUT /b HTTP/1.0"))]);
        add(
            "malformed second request",
            &field,
            vec![sent(GET), received(OK), sent(head("GET /b Http/1"))],
        );
        add("response without request", &field, vec![received(head("HTTP/1.1 200 OK"))]);
        let lone =
            [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", &head("HTTP/1.1 200 OK")[..]]
                .concat();
        add("behind the answer to a HEAD that is missing", &field, vec![received(lone)]);
        let trailer = [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
            text,
            b"\r\n\r\n",
        ]
        .concat();
        add("trailer", &field, vec![sent(GET), received(trailer)]);
        add("unfinished", &field, vec![sent([b"GET /a HTTP/1.1\r\n", text].concat())]);
        add(
            "connect refused",
            &field,
            vec![
                sent("CONNECT h:1 HTTP/1.1\r\n\r\n"),
                received("HTTP/1.1 407 x\r\nContent-Length: 0\r\n\r\n"),
                sent(head("GET / HTTP/1.1")),
            ],
        );
        add(
            "tunnel",
            &field,
            vec![
                sent("CONNECT h:1 HTTP/1.1\r\n\r\n"),
                received("HTTP/1.1 200 x\r\n\r\n"),
                sent(head("GET / HTTP/1.1")),
            ],
        );
    }
    for query in queries() {
        for (start, end) in [
            ("GET /a", " HTTP/1.1\r\nHost: h\r\n\r\n"),
            ("GET /a", "\r\n"),
            ("GET http://h/a", " HTTP/1.0\r\n\r\n"),
            ("GET /a", " Http/1.1\r\n\r\n"),
            ("GET /a b", " HTTP/1.1\r\n\r\n"),
            ("\r\nGET /a", " HTTP/1.1\r\n\r\n"),
        ] {
            let request = [start.as_bytes(), &query.text, end.as_bytes()].concat();
            add(&format!("target {start:?} {end:?}"), &query, vec![sent(request), received(OK)]);
        }
        let location =
            [b"HTTP/1.1 302 x\r\nLocation: /a", &query.text[..], b"\r\nContent-Length: 0\r\n\r\n"]
                .concat();
        add("location", &query, vec![sent(GET), received(location)]);
    }
    for body in contents() {
        let text = &body.text;
        let counted = |start: &str, kind: &str| {
            let head = format!(
                "{start}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                text.len()
            );
            [head.as_bytes(), text].concat()
        };
        let chunked = |start: &str, size: usize| {
            let mut all = format!("{start}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
            for chunk in text.chunks(size) {
                all.extend(format!("{:x};x=y\r\n", chunk.len()).as_bytes());
                all.extend([chunk, b"\r\n"].concat());
            }
            [&all[..], b"0\r\n\r\n"].concat()
        };
        for kind in ["application/json", "text/plain", "application/octet-stream"] {
            add(
                &format!("response body, {kind}"),
                &body,
                vec![sent(GET), received(counted("HTTP/1.1 200 OK", kind))],
            );
            add(
                &format!("request body, {kind}"),
                &body,
                vec![sent(counted("POST / HTTP/1.1", kind)), received(OK)],
            );
        }
        for size in [1, 5, 1000] {
            add(
                &format!("chunks of {size}"),
                &body,
                vec![sent(GET), received(chunked("HTTP/1.1 200 OK", size))],
            );
        }
        let open = [b"HTTP/1.1 200 OK\r\n\r\n", &text[..]].concat();
        add("until close", &body, vec![sent(GET), received(open)]);
        let icy = [b"ICY 200 OK\r\nA: b\r\n\r\n", &text[..]].concat();
        add("body of a malformed head", &body, vec![sent(GET), received(icy)]);
        add(
            "no HTTP",
            &body,
            vec![sent([b"HELO h\r\n", &text[..], b"\r\n"].concat()), received("250 h\r\n")],
        );
        add("alone", &body, vec![sent(text)]);
        let long = [b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", &text[..]].concat();
        add("longer than stated", &body, vec![sent(long), received(OK)]);
        let bad =
            [b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n", &text[..]]
                .concat();
        add("behind a bad chunk", &body, vec![sent(bad), received(OK)]);
        if !text.contains(&b'\n') {
            let extension = [
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;",
                &text[..],
                b"\r\nhi\r\n0\r\n\r\n",
            ]
            .concat();
            if body.name.starts_with("bearer")
                || body.name == "JSON"
                || body.name == "regex"
                || body.name == "URL"
            {
                add("chunk extension", &body, vec![sent(extension), received(OK)]);
            }
        }
        let upgrade = "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n";
        let switched = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n";
        for (masked, fin, opcode) in
            [(true, true, 1), (true, true, 2), (true, true, 9), (false, true, 1), (true, false, 1)]
        {
            let frame = websocket(text, masked, fin, opcode);
            add(
                &format!("websocket {masked} {fin} {opcode}"),
                &body,
                vec![sent(upgrade), received(switched), sent(frame)],
            );
        }
    }
    for form in forms() {
        let text = &form.text;
        let head = format!(
            "POST /a HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            text.len()
        );
        add("form", &form, vec![sent([head.as_bytes(), text].concat()), received(OK)]);
        let head = format!("POST /a HTTP/1.1\r\nContent-Length: {}\r\n\r\n", text.len());
        add(
            "form without a type",
            &form,
            vec![sent([head.as_bytes(), text].concat()), received(OK)],
        );
    }
    for (name, body) in multipart() {
        let head = format!(
            "POST /a HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        add("form of several parts", &spelling(&name, ""), vec![sent(head + &body), received(OK)]);
    }
    cases
}

fn websocket(text: &[u8], masked: bool, fin: bool, opcode: u8) -> Vec<u8> {
    let mut frame = vec![if fin { 0x80 } else { 0 } | opcode];
    let mask = if masked { [7, 1, 9, 3] } else { [0; 4] };
    frame.extend([if masked { 0x80 } else { 0 } | 126]);
    frame.extend((text.len() as u16).to_be_bytes());
    frame.extend(masked.then_some(mask).into_iter().flatten());
    frame.extend(text.iter().zip(mask.iter().cycle()).map(|(octet, key)| octet ^ key));
    frame
}

/// Returns a literal whose strings are both in Huffman code, or both not.
fn literal(name: &str, value: &[u8], huffman: bool) -> Vec<u8> {
    http2::literal(INDEXED, (name, huffman), (value, huffman))
}

fn http2_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let settings = || frame(4, 0, 0, &[]);
    let head = |path: &[u8], end: u8| {
        let block = [literal(":method", b"POST", false), literal(":path", path, true)].concat();
        frame(1, 4 | end, 1, &block)
    };
    let mut add = |place: &str, spelling: &Spelling, frames: Vec<u8>| {
        let bytes = [PREFACE, &settings()[..], &frames].concat();
        let calls = vec![sent(bytes), received(settings())];
        cases.push(Case { name: format!("HTTP/2, {place}: {}", spelling.name), calls });
    };
    for field in fields() {
        let text = String::from_utf8_lossy(&field.text).into_owned();
        let (name, value) = text.split_once(':').unwrap();
        let name = name.to_lowercase();
        for huffman in [false, true] {
            let block = literal(&name, value.trim_start().as_bytes(), huffman);
            add(
                &format!("field, {huffman}"),
                &field,
                [head(b"/", 0), frame(1, 5, 1, &block)].concat(),
            );
            let padded = [&[9][..], &block, b"S3CR3Tval"].concat();
            add(&format!("padded field, {huffman}"), &field, frame(1, 0xd, 1, &padded));
            let (a, b) = block.split_at(block.len() / 2);
            add("continued field", &field, [frame(1, 1, 1, a), frame(9, 4, 1, b)].concat());
        }
    }
    for query in queries() {
        add("path", &query, head(&[b"/a", &query.text[..]].concat(), 1));
    }
    for body in contents() {
        let text = &body.text;
        add("content", &body, [head(b"/", 0), frame(0, 1, 1, text)].concat());
        let pieces = text.chunks(3).flat_map(|piece| frame(0, 0, 1, piece)).collect::<Vec<_>>();
        add(
            "content in pieces",
            &body,
            [&head(b"/", 0)[..], &pieces, &frame(0, 1, 1, b"")].concat(),
        );
        let padded = [&[16][..], text, b"S3CR3Tvalue98760"].concat();
        add("padded content", &body, [head(b"/", 0), frame(0, 9, 1, &padded)].concat());
        add("content without a head", &body, frame(0, 1, 7, text));
        add("debug data", &body, frame(7, 0, 0, &[&[0; 8][..], text].concat()));
        add("ALTSVC", &body, frame(10, 0, 0, &[&[0, 0][..], text].concat()));
        add("unknown frame", &body, frame(0x77, 0, 1, text));
        add("long PING", &body, frame(6, 0, 0, text));
    }
    cases
}

/// Returns the texts that an attacker could read in a direction.
fn readings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![bytes.to_vec()];
    all.push(bytes.iter().copied().filter(|&octet| octet != 0).collect());
    // Without the framing of chunks.
    let mut plain = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|&octet| octet == b'\n') {
        let (line, tail) = rest.split_at(end + 1);
        let size = line.split(|octet| b";\r\n".contains(octet)).next().unwrap();
        let size =
            std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        rest = tail;
        match size {
            Some(size) if size <= tail.len() => {
                plain.extend(&tail[..size]);
                rest = tail[size..].strip_prefix(b"\r\n").unwrap_or(&tail[size..]);
            }
            _ => plain.extend(line),
        }
    }
    plain.extend(rest);
    all.push(plain.iter().copied().filter(|&octet| octet != 0).collect());
    // Without masks.
    for shift in 0..4 {
        let mask = [7u8, 1, 9, 3];
        all.push(
            bytes.iter().enumerate().map(|(at, octet)| octet ^ mask[(at + shift) % 4]).collect(),
        );
    }
    all.extend(http2_readings(bytes));
    all
}

#[derive(Default)]
struct Values(Vec<u8>);

impl Sink for Values {
    fn field(&mut self, _: Option<&[u8]>, value: Option<&[u8]>) {
        self.0.extend(value.unwrap_or_default());
        self.0.push(b'\n');
    }
    fn defect(&mut self, _: Defect) {}
    fn table_size(&mut self, _: usize) {}
}

fn http2_readings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let Some(mut rest) = bytes.strip_prefix(PREFACE) else { return Vec::new() };
    let (mut decoder, mut values, mut block, mut content) =
        (Decoder::new(), Values::default(), Vec::new(), Vec::new());
    while let Some(frame) = Frame::read(rest) {
        let Some((payload, tail)) = rest[9..].split_at_checked(frame.len as usize) else { break };
        rest = tail;
        match frame.kind {
            Kind::Headers | Kind::Continuation => {
                let part = match frame.kind {
                    Kind::Headers => sslrec_wire::http2::frame::headers(&frame, payload).unwrap(),
                    _ => payload,
                };
                block.extend(part);
                if frame.has(4) {
                    // A block that was made unreadable reveals nothing.
                    let _ = decoder.decode(&std::mem::take(&mut block), &mut values);
                }
            }
            Kind::Data => {
                content.extend(sslrec_wire::http2::frame::unpad(&frame, payload).unwrap_or(payload))
            }
            _ => {}
        }
    }
    let plain = content.iter().copied().filter(|&octet| octet != 0).collect();
    vec![values.0, content, plain]
}

fn redact(calls: &Calls, mut cut: impl FnMut() -> usize) -> [Vec<u8>; 2] {
    // Expressions take longer to compile than a case takes.
    static ALL: LazyLock<Rules> = LazyLock::new(|| {
        let mut rules = Rules::default();
        RULES.iter().for_each(|rule| rules.add(rule.parse().unwrap()));
        rules
    });
    let mut pieces = Calls::new();
    for (dir, bytes) in calls {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (payload, tail) = rest.split_at(cut().clamp(1, rest.len()));
            rest = tail;
            pieces.push((*dir, payload.to_vec()));
        }
    }
    let mut redactor = Redactor::new(ALL.clone());
    run(&pieces, false, &mut |record, emit| redactor.record(record, emit))
}

/// The longest part of the secret that may be left: an ordinary word can have such a part.
const PART: usize = 6;

fn is_left(bytes: &[u8]) -> bool {
    let parts = || SECRET.as_bytes().windows(PART);
    readings(bytes).iter().any(|text| parts().any(|part| memmem::find(text, part).is_some()))
}

fn check(cases: Vec<Case>) {
    let mut random = Random::default();
    let (mut leaks, mut count) = (BTreeSet::new(), 0);
    for Case { name, calls } in cases {
        for cut in ["whole", "bytes", "random"] {
            let out = match cut {
                "whole" => redact(&calls, || usize::MAX),
                "bytes" => redact(&calls, || 1),
                _ => redact(&calls, || random.within(1..41)),
            };
            count += 1;
            let lens = joined(&calls).map(|bytes| bytes.len());
            assert_eq!([out[0].len(), out[1].len()], lens, "{name}: lengths stay");
            if out.iter().any(|bytes| is_left(bytes)) {
                leaks.insert(format!("{name} ({cut})"));
            }
        }
    }
    let shown: Vec<_> = leaks.iter().map(String::as_str).take(40).collect();
    assert!(leaks.is_empty(), "{} of {count} leak:\n{}", leaks.len(), shown.join("\n"));
    assert!(count > 1000);
}

#[test]
fn no_secret_is_left_of_http_1() {
    check(http1_cases());
}

#[test]
fn no_secret_is_left_of_http_2() {
    check(http2_cases());
}
