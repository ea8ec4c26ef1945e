//! Messages of public captures: `sslanalyze` counts as tshark does, except where tshark is wrong.
//!
//! `SSLREC_CAPTURES` names a folder with captures of others, which are not part of this project:
//! checkouts of OISF's `suricata-verify` (10a45e4b) and of `zeek` (a13de64f), each in a folder of
//! its name. `make test-captures CAPTURES=FOLDER` runs the test; it takes half an hour. Tests
//! without the folder are not possible, so that it is ignored otherwise.
//!
//! Compared are requests and responses of HTTP/1, and those of HTTP/2, over TCP. tshark reads a
//! capture twice if need be: as it does by default, and without waiting for the ends of bodies. A
//! message counts if it is there either time.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

/// Captures with other counts: a line each, with the counts of both and a reason.
const DIFFERENCES: &str = include_str!("public_captures/differences.txt");

/// Requests and responses of HTTP/1, then of HTTP/2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts([u64; 4]);

impl Counts {
    fn parse(text: &str) -> Self {
        let mut counts = text.split('/').map(|number| number.parse().unwrap());
        Self(std::array::from_fn(|_| counts.next().unwrap()))
    }

    fn most(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].max(other.0[at])))
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [requests, responses, h2_requests, h2_responses] = self.0;
        write!(f, "{requests}/{responses}/{h2_requests}/{h2_responses}")
    }
}

/// Returns all captures of a folder, sorted.
fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name).to_owned();
        if path.is_dir() && !path.is_symlink() {
            found.append(&mut captures(&path));
        } else if [".pcap", ".pcapng", ".trace", ".cap"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Returns the counts of `sslanalyze`.
fn ours(file: &Path) -> Counts {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sslanalyze")).arg("--json").arg(file).output().unwrap();
    // A damaged capture ends with 1, and is listed up to the damage.
    assert!(output.status.code().is_some_and(|code| code < 2), "{}: {output:?}", file.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let items = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut counts = Counts::default();
    for item in items.filter(|item| item["type"] == "exchange") {
        count(&item, &mut counts.0);
    }
    counts
}

fn count(exchange: &Value, [requests, responses, h2_requests, h2_responses]: &mut [u64; 4]) {
    let carried = ["websocket", "grpc"].map(|key| &exchange[key]["http"]);
    let http = carried.into_iter().find_map(Value::as_str);
    let is_h2 = http.or(exchange["proto"].as_str()) == Some("h2");
    let interim = exchange["interim"].as_array();
    let interim = interim.into_iter().flatten();
    // An exchange that was upgraded to h2c begins as HTTP/1.
    let (upgrades, further): (Vec<_>, Vec<_>) = interim.partition(|i| is_h2 && i["status"] == 101);
    *responses += upgrades.len() as u64;
    let has = |part: &str| u64::from(!exchange[part].is_null());
    match is_h2 {
        true if upgrades.is_empty() => *h2_requests += has("request"),
        _ => *requests += has("request"),
    }
    *(if is_h2 { h2_responses } else { responses }) += has("response") + further.len() as u64;
}

/// Returns the counts of tshark.
fn tshark(file: &Path, options: &[&str]) -> Counts {
    let fields = [
        "http.request.method",
        "http.response.code",
        "http2.headers.method",
        "http2.headers.status",
    ];
    let mut command = Command::new("tshark");
    command
        .args(["-n", "-o", "tcp.reassemble_out_of_order:TRUE"])
        .args(options)
        .arg("-r")
        .arg(file);
    command.args(["-Y", "tcp and (http or http2)", "-T", "fields", "-E", "occurrence=a"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    // It fails at damage, after what it has read.
    let output = command.output().unwrap();
    let mut counts = [0; 4];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        for (count, values) in counts.iter_mut().zip(line.split('\t')) {
            *count += values.split(',').filter(|value| !value.is_empty()).count() as u64;
        }
    }
    Counts(counts)
}

/// Returns the counts of tshark and of `sslanalyze`.
fn compare(file: &Path) -> (Counts, Counts) {
    let (ours, mut theirs) = (ours(file), tshark(file, &[]));
    if ours != theirs {
        theirs = theirs.most(tshark(file, &["-o", "http.desegment_body:FALSE"]));
    }
    (theirs, ours)
}

/// Returns the listed differences by capture: the counts of tshark and of `sslanalyze`. Each has a
/// reason that is explained above the list.
fn listed() -> BTreeMap<&'static str, (Counts, Counts)> {
    let (mut reasons, mut listed) = (Vec::new(), BTreeMap::new());
    for line in DIFFERENCES.lines().filter(|line| !line.is_empty()) {
        if let Some(explained) = line.strip_prefix("# ") {
            reasons.extend(explained.split_once(": ").map(|(reason, _)| reason));
            continue;
        }
        let [path, theirs, ours, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        assert!(reasons.contains(&reason), "{line}");
        let counts = (Counts::parse(theirs), Counts::parse(ours));
        assert!(listed.insert(path, counts).is_none(), "{path} is listed twice");
    }
    listed
}

#[test]
fn each_listed_difference_is_one_and_has_a_reason() {
    assert!(listed().values().all(|(theirs, ours)| theirs != ours));
}

#[test]
#[ignore = "wants SSLREC_CAPTURES, a folder with captures of suricata-verify and zeek"]
fn tshark_counts_the_same_messages() {
    let folder = PathBuf::from(std::env::var_os("SSLREC_CAPTURES").unwrap());
    let files = captures(&folder);
    assert!(!files.is_empty(), "there is no capture in {}", folder.display());
    let (next, found) = (Mutex::new(files.iter()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = { next.lock().unwrap().next() } {
                    let path = file.strip_prefix(&folder).unwrap().to_str().unwrap();
                    let counts = compare(file);
                    found.lock().unwrap().insert(path, counts);
                }
            });
        }
    });
    let (found, listed) = (found.into_inner().unwrap(), listed());
    let with_http = found.values().filter(|(theirs, ours)| theirs.most(*ours) != Counts::default());
    println!("{} captures, {} with HTTP", found.len(), with_http.count());
    let mut wrong = Vec::new();
    for (path, (theirs, ours)) in &found {
        let is_right = match listed.get(path) {
            Some((_, expected)) => ours == expected,
            None => ours == theirs,
        };
        if !is_right {
            wrong.push(format!("{path}\t{theirs}\t{ours}"));
        }
    }
    // The list is for the captures of the commits above.
    let gone = listed.keys().filter(|path| !found.contains_key(*path)).count();
    println!("{} of {} listed captures are not there", gone, listed.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
