//! What is listed of a script, and what the program says of one.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sslanalyze::capture::Options;
use sslanalyze::exchange::Item;
use sslanalyze::output::Output;
use sslanalyze::output::json::Json;
use sslrec_formats::record::Record;

use crate::records::{Script, list_records, raw_log};

/// What is listed of a script, with contents or without.
pub(crate) fn listed(script: &Script, bodies: bool) -> Vec<Value> {
    listed_of(&script.records(), bodies)
}

pub(crate) fn listed_of(records: &[Record<'_>], bodies: bool) -> Vec<Value> {
    let options = Options { bodies, ..Options::default() };
    objects(&list_records(records, options).0)
}

pub(crate) fn objects(items: &[Item]) -> Vec<Value> {
    let mut out = Vec::new();
    let mut json = Json::new(&mut out);
    items.iter().for_each(|item| json.item(item).unwrap());
    let lines = String::from_utf8(out).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
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

/// What the program says of a script, in a folder of its own.
pub(crate) fn program(args: &[&str], script: &Script) -> String {
    program_in(tempfile::tempdir().unwrap().path(), args, script)
}

pub(crate) fn program_in(dir: &Path, args: &[&str], script: &Script) -> String {
    std::fs::write(dir.join("c"), raw_log(&script.records())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sslanalyze"));
    let output = command.args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
