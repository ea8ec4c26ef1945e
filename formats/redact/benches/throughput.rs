//! Speed of redaction, by the default rules and by a rule of each kind: many small exchanges, and
//! large bodies in calls of 16 KiB. `cargo bench -p sslrec-redact -- [CASE]` runs the cases whose
//! name contains CASE, such as `/2, bodies`.

// A benchmark fails by a panic.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use sslrec_formats::record::Record;
use sslrec_redact::{Redactor, Rules};
use sslrec_redact_testing::http2::{self, NOT_INDEXED, frame};
use sslrec_redact_testing::{Calls, connection, data, received, sent};
use sslrec_wire::http2::frame::PREFACE;

/// Approximate number of bytes that are redacted in each case.
const TOTAL: u64 = 128 << 20;

const DEFAULT: [&str; 1] = ["default"];
const MANY: [&str; 7] = [
    "default",
    "basic",
    "query:token",
    "json:password",
    "form:pin",
    "cookie:sid",
    "regex:tok_[a-z]+",
];

fn main() {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    let body = |len: usize| {
        let item =
            br#"{"id":4711,"name":"teapot","tags":["a","b"],"price":12.5,"text":"lorem ipsum"},"#;
        item.iter().copied().cycle().take(len).collect::<Vec<u8>>()
    };
    for (rules, names) in [("default rules", &DEFAULT[..]), ("rules of each kind", &MANY)] {
        println!("redacting by {rules}, {} MiB", TOTAL >> 20);
        let cases = [
            ("  HTTP/1.1, exchanges of 1 KiB", vec![], http1(&body(600))),
            ("  HTTP/1.1, bodies of 1 MiB", vec![], http1(&body(1 << 20))),
            ("  HTTP/2, exchanges of 1 KiB", http2_opening(), http2_exchange(&body(600))),
            ("  HTTP/2, bodies of 1 MiB", http2_opening(), http2_exchange(&body(1 << 20))),
        ];
        for (what, opening, calls) in cases.into_iter().filter(|case| case.0.contains(&wanted)) {
            redact(what, names, &opening, &calls);
        }
    }
}

fn redact(what: &str, names: &[&str], opening: &Calls, calls: &Calls) {
    let mut rules = Rules::default();
    names.iter().for_each(|name| rules.add(name.parse().unwrap()));
    let mut redactor = Redactor::new(rules);
    let (mut offsets, mut given, mut records) = ([0u64; 2], 0, 0);
    let mut take = |record: &Record<'_>| {
        if let Record::Data(data) = record {
            given += black_box(data.payload).len() as u64;
        }
    };
    redactor.record(&connection(false), &mut take);
    let start = Instant::now();
    let mut now = opening;
    while offsets[0] + offsets[1] < TOTAL {
        for (dir, bytes) in now {
            for payload in bytes.chunks(16 << 10) {
                let offset = &mut offsets[dir.index()];
                redactor.record(&Record::Data(data(*dir, *offset, payload, 1)), &mut take);
                *offset += payload.len() as u64;
                records += 1;
            }
        }
        now = calls;
    }
    redactor.finish(&mut take);
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(given, offsets[0] + offsets[1]);
    report(what, records, given, seconds);
}

/// Returns an exchange with a head of usual size, and this body in the response.
fn http1(body: &[u8]) -> Calls {
    let request = "GET /api/orders?page=2&token=abcdef0123456789 HTTP/1.1\r\nHost: shop.example.org\r\n\
         User-Agent: curl/7.88.1\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n\
         Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh\r\n\
         Cookie: sid=0123456789abcdef; theme=dark\r\n\r\n";
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    vec![sent(request), received([head.as_bytes(), body].concat())]
}

/// Returns both prefaces.
fn http2_opening() -> Calls {
    let settings = frame(4, 0, 0, &[]);
    vec![sent([PREFACE, &settings[..]].concat()), received(settings)]
}

/// Returns the same exchange with field blocks of literals that are in no table. All exchanges are
/// on one stream, which has no effect here.
fn http2_exchange(body: &[u8]) -> Calls {
    let literal =
        |name, value: &str| http2::literal(NOT_INDEXED, (name, true), (value.as_bytes(), true));
    let request = [
        literal(":method", "GET"),
        literal(":path", "/api/orders?page=2&token=abcdef0123456789"),
        literal(":authority", "shop.example.org"),
        literal("user-agent", "curl/7.88.1"),
        literal("accept", "application/json"),
        literal("authorization", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh"),
        literal("cookie", "sid=0123456789abcdef; theme=dark"),
    ];
    let response = [
        literal(":status", "200"),
        literal("server", "nginx"),
        literal("content-type", "application/json"),
    ];
    let mut answer = frame(1, 4, 1, &response.concat());
    let frames = body.chunks(16_384).collect::<Vec<_>>();
    for (at, part) in frames.iter().enumerate() {
        answer.extend(frame(0, u8::from(at + 1 == frames.len()), 1, part));
    }
    vec![sent(frame(1, 5, 1, &request.concat())), received(answer)]
}

fn report(what: &str, count: u64, bytes: u64, seconds: f64) {
    let (mib, ns) = (bytes as f64 / seconds / f64::from(1 << 20), seconds * 1e9 / count as f64);
    println!("{what:32} {mib:8.0} MiB/s {ns:8.0} ns a record");
}
