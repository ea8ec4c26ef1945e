//! The output of `sslanalyze --json` for a file.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Live, sha256, sslanalyze};

/// The objects that were listed, by type.
pub(crate) struct Listing {
    pub(crate) exchanges: Vec<Value>,
    pub(crate) streams: Vec<Value>,
    pub(crate) handshakes: Vec<Value>,
    pub(crate) summary: Value,
    pub(crate) code: i32,
    pub(crate) stderr: String,
}

impl Live {
    /// Lists a file that must read without complaint.
    pub(crate) fn list(&self, file: &Path, options: &[&str]) -> Listing {
        let listing = self.list_damaged(file, options);
        assert_eq!(listing.code, 0, "{}: {}", file.display(), listing.stderr);
        listing
    }

    /// Lists a file that may be cut.
    pub(crate) fn list_damaged(&self, file: &Path, options: &[&str]) -> Listing {
        let mut sslanalyze = Command::new(sslanalyze());
        // Some tests compare every byte of hundreds of megabytes, which the default cuts.
        sslanalyze.args(["--json", "--max-memory", "4G"]).args(options).arg(file);
        let output = self.run(&mut sslanalyze);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        let mut objects: Vec<Value> = output
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let summary = objects.pop().unwrap_or_else(|| panic!("no output: {}", output.stderr));
        assert_eq!(summary["type"], "summary", "the last line");
        let of = |kind| objects.iter().filter(|o| o["type"] == kind).cloned().collect();
        let (exchanges, streams, handshakes) = (of("exchange"), of("stream"), of("handshake"));
        let (code, stderr) = (output.code(), output.stderr);
        Listing { exchanges, streams, handshakes, summary, code, stderr }
    }

    /// Lists both files, which must agree, field by field.
    pub(crate) fn list_both(&self, pcapng: &Path, raw: &Path, options: &[&str]) -> Listing {
        let one = self.list(pcapng, options);
        let other = self.list(raw, options);
        for (a, b) in [
            (&one.exchanges, &other.exchanges),
            (&one.streams, &other.streams),
            (&one.handshakes, &other.handshakes),
        ] {
            for (a, b) in a.iter().zip(b) {
                same_fields(a, b);
            }
            assert_eq!(a.len(), b.len(), "as many in the pcapng as in the raw log");
        }
        same_fields(&one.summary, &other.summary);
        one
    }
}

/// Compares by field, so that a failure names the field and not two long lines.
fn same_fields(a: &Value, b: &Value) {
    let (a, b) = (a.as_object().unwrap(), b.as_object().unwrap());
    let keys = |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(a), keys(b));
    for (key, value) in a {
        assert_eq!(brief(value), brief(&b[key]), "field {key} of pcapng and raw log");
        assert!(*value == b[key], "field {key} differs late in a long text");
    }
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(2000).collect()
}

/// The bytes of a base64 field such as `body` or `client_data`.
pub(crate) fn bytes_of(object: &Value, field: &str) -> Vec<u8> {
    let text = object[field].as_str().unwrap_or_else(|| panic!("no {field}: {}", brief(object)));
    openssl::base64::decode_block(text).unwrap()
}

pub(crate) fn sha256_of(object: &Value, field: &str) -> String {
    sha256(&bytes_of(object, field))
}

/// Method, path and status of each exchange: `GET /a 200`.
pub(crate) fn lines(exchanges: &[Value]) -> Vec<String> {
    exchanges
        .iter()
        .map(|e| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (method, path) = (text(&e["request"]["method"]), text(&e["request"]["path"]));
            format!("{method} {path} {}", e["response"]["status"])
        })
        .collect()
}
