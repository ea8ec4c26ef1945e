//! Connections with secrets, built from arbitrary bytes: no secret is left, and lengths stay.
//!
//! The bytes choose the place and surroundings of secrets, the framing of messages, the ends of
//! calls and the gaps. The bytes are random in the tests, and come from the fuzzer elsewhere.
//! Secrets consist of two letters that no other text contains.

mod http1;
mod http2;

use std::sync::LazyLock;

use sslrec_formats::record::Record;
use sslrec_redact::{Redactor, Rules};
use sslrec_redact_testing::{Calls, close, connection, data, gap, joined};

/// The text that may not be left. No other text has these letters.
const SECRET: &str = "ZQQZQZZZ";

/// Rules, each of which determines possible places of secrets.
const RULES: [&str; 8] = [
    "default",
    "basic",
    "cookie:sid",
    "query:token",
    "json:password",
    "form:pin",
    "header:x-own",
    "regex:tok_[A-Z]+",
];

/// The bytes that choose; after their end, zeros.
struct Source<'a> {
    rest: &'a [u8],
    /// Texts are letters and some signs. If bytes are missing, a message cannot be distinguished
    /// from a text that looks like a message, and so no such text may occur.
    plain: bool,
}

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// Returns any text without the letters of secrets, and without octets that end the value of a
    /// header field.
    fn text(&mut self) -> Vec<u8> {
        const PLAIN: &[u8] = b"abcdefghijklmnopqrstuvwxyz =&?;,.\"'{}[]:<>-+%\\~_";
        let len = self.below(40).min(self.rest.len());
        let (text, rest) = self.rest.split_at(len);
        self.rest = rest;
        let octet = |&octet: &u8| match octet {
            _ if self.plain => PLAIN[usize::from(octet) % PLAIN.len()],
            b'Z' | b'Q' | b'\r' | b'\n' => b'-',
            other => other,
        };
        text.iter().map(octet).collect()
    }
}

/// The selection of planted secrets.
struct Planter {
    /// For each of [`RULES`], whether it is enabled.
    rules: [bool; RULES.len()],
}

impl Planter {
    fn new(source: &mut Source<'_>) -> Self {
        let chosen = source.byte();
        Self { rules: std::array::from_fn(|at| chosen == 0 || chosen >> at & 1 != 0) }
    }

    fn has(&self, rule: &str) -> bool {
        RULES.iter().zip(self.rules).any(|(name, there)| there && *name == rule)
    }

    fn rules(&self) -> Rules {
        // Expressions take longer to compile than a connection takes.
        static ALL: LazyLock<Vec<Rules>> =
            LazyLock::new(|| RULES.iter().map(|rule| rule.parse().expect("a rule")).collect());
        let mut rules = Rules::default();
        let chosen = ALL.iter().zip(self.rules).filter(|(_, there)| *there);
        chosen.for_each(|(rule, _)| rules.add(rule.clone()));
        rules
    }

    /// Returns a request target.
    fn target(&self, source: &mut Source<'_>) -> Vec<u8> {
        let mut target = [b"/", &source.text()[..]].concat();
        if self.has("query:token") {
            target.extend([b"?token=", SECRET.as_bytes(), b"&"].concat());
            target.extend(source.text());
        }
        target
    }

    /// Returns header fields with secrets, and some without.
    fn fields(&self, source: &mut Source<'_>) -> Vec<(&'static str, Vec<u8>)> {
        const WHOLE: [&str; 5] =
            ["authorization", "cookie", "set-cookie", "x-api-key", "proxy-authorization"];
        (0..source.below(5))
            .map(|_| {
                let (before, after) = (source.text(), source.text());
                let value =
                    |mark: &str| [&before, mark.as_bytes(), SECRET.as_bytes(), &after].concat();
                match source.below(8) {
                    0 if self.has("default") => (WHOLE[source.below(WHOLE.len())], value("")),
                    1 if self.has("default") => ("x-any", value(" Bearer ")),
                    2 if self.has("basic") => ("x-any", value(" basic%20")),
                    3 if self.has("cookie:sid") => ("cookie", value("; sid=")),
                    4 if self.has("query:token") => ("referer", value("?token=")),
                    5 if self.has("header:x-own") => ("x-own", value("")),
                    6 if self.has("regex:tok_[A-Z]+") => ("x-any", value("tok_")),
                    _ => ("x-any", before),
                }
            })
            .collect()
    }

    /// Returns the contents of a message, and their type.
    fn contents(&self, source: &mut Source<'_>) -> (Vec<u8>, &'static str) {
        const TYPES: [&str; 4] = [
            "application/json",
            "application/x-www-form-urlencoded",
            "text/html; charset=utf-8",
            "",
        ];
        let mut contents = Vec::new();
        for _ in 0..source.below(5) {
            // A backslash would escape a quote after it.
            contents.extend(source.text().iter().map(|&o| if o == b'\\' { b'/' } else { o }));
            let (before, after) = match source.below(8) {
                0 if self.has("default") => (" Bearer ", ""),
                1 if self.has("basic") => (" basic\t", ""),
                2 if self.has("query:token") => ("?token=", "&"),
                3 if self.has("json:password") => ("{\"password\": \"", "\"}"),
                4 if self.has("json:password") => ("{\"password\":{\"a\":[1,\"", "\"]}}"),
                5 if self.has("form:pin") => ("&pin=", "&"),
                6 if self.has("regex:tok_[A-Z]+") => ("tok_", ""),
                _ => continue,
            };
            contents.extend([before, SECRET, after].concat().as_bytes());
        }
        (contents, TYPES[source.below(TYPES.len())])
    }
}

/// A direction after redaction.
#[derive(Default)]
struct Half {
    bytes: Vec<u8>,
    /// Bytes are missing.
    gaps: bool,
}

/// Builds a connection from these bytes, redacts it, and searches it for secrets.
pub(crate) fn check(input: &[u8]) {
    let mut source = Source { rest: input, plain: false };
    let setup = source.byte();
    let gaps = setup & 1 != 0;
    source.plain = gaps;
    let planter = Planter::new(&mut source);
    let (calls, is_http2) = match setup & 2 {
        0 => (http1::calls(&planter, &mut source), false),
        _ => (http2::calls(&planter, &mut source), true),
    };
    let halves = redact(&planter, &calls, &mut source, gaps);
    for (half, before) in halves.iter().zip(joined(&calls)) {
        if is_http2 {
            http2::check(&before, half);
        } else {
            assert_clean(&half.bytes);
            assert!(half.gaps || half.bytes.len() == before.len());
        }
    }
}

/// Asserts that no two letters of a secret are adjacent. A single letter can be a length in HTTP/2.
fn assert_clean(bytes: &[u8]) {
    let left = bytes.windows(2).position(|pair| pair.iter().all(|octet| b"ZQ".contains(octet)));
    let around = |at: usize| &bytes[at.saturating_sub(200)..bytes.len().min(at + 100)];
    assert_eq!(left, None, "...{}", around(left.unwrap_or(0)).escape_ascii());
}

/// Redacts the calls, split anywhere, and with pieces missing if `gaps`; asserts that the output
/// has the same lengths, order and places.
fn redact(planter: &Planter, calls: &Calls, source: &mut Source<'_>, gaps: bool) -> [Half; 2] {
    let mut redactor = Redactor::new(planter.rules());
    let mut halves = [Half::default(), Half::default()];
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    let mut take = |record: &Record<'_>| match record {
        Record::Data(data) => {
            found.push((data.dir, data.offset, data.payload.len() as u64));
            halves[data.dir.index()].bytes.extend(data.payload);
        }
        Record::Gap(gap) => {
            found.push((gap.dir, gap.offset, gap.len));
            halves[gap.dir.index()].gaps = true;
        }
        _ => {}
    };
    redactor.record(&connection(false), &mut take);
    let mut offsets = [0u64; 2];
    let usual = [1 << 20, 1, 7, 40][source.below(4)];
    for (dir, bytes) in calls {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let len = if source.rest.is_empty() { usual } else { 1 + source.below(200) };
            let (payload, tail) = rest.split_at(len.min(rest.len()));
            rest = tail;
            let place = &mut offsets[dir.index()];
            let (offset, len) = (*place, payload.len() as u64);
            *place += len;
            expected.push((*dir, offset, len));
            let ts_ns = expected.len() as u64;
            let record = if gaps && source.one_in(8) {
                gap(*dir, offset, len, ts_ns)
            } else {
                Record::Data(data(*dir, offset, payload, ts_ns))
            };
            redactor.record(&record, &mut take);
        }
    }
    redactor.record(&close(offsets, 1 + expected.len() as u64), &mut take);
    assert_eq!(found, expected);
    halves
}
