//! The output of the program for a script.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sslrec_analyzer_testing::records::{Script, raw_log};
use sslrec_formats::record::Record;

/// The JSON listing of a script, with contents or without; the summary is left out.
pub(crate) fn listed(script: &Script, bodies: bool) -> Vec<Value> {
    listed_of(&script.records(), bodies)
}

pub(crate) fn listed_of(records: &[Record<'_>], bodies: bool) -> Vec<Value> {
    let args: &[&str] = if bodies { &["--json", "--bodies", "c"] } else { &["--json", "c"] };
    let lines = program_of(tempfile::tempdir().unwrap().path(), args, records);
    let objects = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    objects.filter(|object: &Value| object["type"] != "summary").collect()
}

/// Cuts each call into pieces of so many bytes, as calls of the same time.
pub(crate) fn pieces<'a>(records: &[Record<'a>], len: usize) -> Vec<Record<'a>> {
    let mut pieces = Vec::new();
    for record in records {
        let Record::Data(data) = record else {
            pieces.push(record.clone());
            continue;
        };
        for (number, payload) in data.payload.chunks(len).enumerate() {
            let offset = data.offset + (number * len) as u64;
            pieces.push(Record::Data(sslrec_formats::record::Data {
                offset,
                payload,
                ..data.clone()
            }));
        }
    }
    pieces
}

/// The output of the program for a script, in a folder of its own.
pub(crate) fn program(args: &[&str], script: &Script) -> String {
    program_in(tempfile::tempdir().unwrap().path(), args, script)
}

pub(crate) fn program_in(dir: &Path, args: &[&str], script: &Script) -> String {
    program_of(dir, args, &script.records())
}

fn program_of(dir: &Path, args: &[&str], records: &[Record<'_>]) -> String {
    std::fs::write(dir.join("c"), raw_log(records)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    let output = command.args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
