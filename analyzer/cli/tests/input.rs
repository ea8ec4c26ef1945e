//! Compressed captures and several captures, by the real binary, packed by other people's tools.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs::File;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;
use sslrec_analyzer_testing::records::{Script, moved};
use sslrec_formats::io::RecordWriter;
use sslrec_formats::pcapng::{PcapngOptions, PcapngWriter};
use sslrec_formats::rawlog::RawLogWriter;
use sslrec_formats::record::{CaptureInfo, Record};
use tempfile::TempDir;

fn analyze(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sslanalyze")).args(args).current_dir(dir).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(args: &[&str], dir: &Path) -> Vec<Value> {
    let output = analyze(&[&["--json"], args].concat(), dir);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn raw_log(start_ns: u64, records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = CaptureInfo { start_ns, ..CaptureInfo::default() };
    let mut writer = RawLogWriter::new(&mut bytes, info, 1).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn pcapng(start_ns: u64, records: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let info = CaptureInfo { start_ns, ..CaptureInfo::default() };
    let mut writer = PcapngWriter::new(&mut bytes, info, PcapngOptions::default()).unwrap();
    records.iter().for_each(|record| writer.write(record).unwrap());
    writer.finish().unwrap();
    drop(writer);
    bytes
}

fn script(path: &str) -> Script {
    Script::client()
        .sent(format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .received("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .close()
}

/// Programs whose output is read.
const TOOLS: [&str; 5] = ["gzip", "zstd", "xz", "lz4", "bzip2"];

/// Compresses `dir`/`file` to `dir`/`packed`.
fn pack(tool: &str, dir: &Path, file: &str, packed: &str) {
    let output = Command::new(tool).args(["-c", file]).current_dir(dir).output().unwrap();
    assert!(output.status.success());
    std::fs::write(dir.join(packed), output.stdout).unwrap();
}

/// A raw log, our pcapng and another program's, and each as gzip and zstd made it.
fn kept() -> (TempDir, [&'static str; 3]) {
    let dir = tempfile::tempdir().unwrap();
    let records = script("a");
    std::fs::write(dir.path().join("raw"), raw_log(1, &records.records())).unwrap();
    std::fs::write(dir.path().join("own"), pcapng(1, &records.records())).unwrap();
    let foreign =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer/http-server.pcapng");
    std::fs::copy(foreign, dir.path().join("other")).unwrap();
    (dir, ["raw", "own", "other"])
}

#[test]
fn a_compressed_capture_lists_the_same() {
    let (dir, files) = kept();
    let dir = dir.path();
    for file in files {
        let plain = json(&[file], dir);
        for tool in TOOLS {
            pack(tool, dir, file, "once");
            assert_eq!(json(&["once"], dir), plain, "{file} {tool}");
            pack("gzip", dir, "once", "twice");
            assert_eq!(json(&["twice"], dir), plain, "{file} {tool} gzip");
            pack("zstd", dir, "once", "twice");
            assert_eq!(json(&["twice"], dir), plain, "{file} {tool} zstd");
        }
        // Of several members and frames.
        let bytes = std::fs::read(dir.join(file)).unwrap();
        for tool in TOOLS {
            let mut whole = Vec::new();
            for part in bytes.chunks(bytes.len() / 3 + 1) {
                std::fs::write(dir.join("part"), part).unwrap();
                pack(tool, dir, "part", "packed");
                whole.extend(std::fs::read(dir.join("packed")).unwrap());
            }
            std::fs::write(dir.join("parts"), whole).unwrap();
            assert_eq!(json(&["parts"], dir), plain, "{file} {tool} in parts");
        }
    }
    pack("gzip", dir, "twice", "three");
    let output = analyze(&["three"], dir);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("compressed more than 2 times"), "{}", stderr(&output));
}

#[test]
fn a_compressed_capture_that_is_cut_is_listed_up_to_the_cut() {
    let (dir, files) = kept();
    let dir = dir.path();
    for file in files {
        for tool in TOOLS {
            pack(tool, dir, file, "packed");
            let whole = std::fs::read(dir.join("packed")).unwrap();
            for cut in (1..whole.len()).step_by(whole.len() / 40 + 1) {
                std::fs::write(dir.join("cut"), &whole[..cut]).unwrap();
                let output = analyze(&["--json", "cut"], dir);
                let message = stderr(&output);
                assert_eq!(output.status.code(), Some(1), "{file} {tool} {cut} {message}");
                assert_eq!(message.lines().count(), 1, "{message}");
            }
            let mut damaged = whole.clone();
            let at = whole.len() * 2 / 3;
            damaged[at] ^= 0x10;
            std::fs::write(dir.join("damaged"), damaged).unwrap();
            let output = analyze(&["--json", "damaged"], dir);
            assert_eq!(output.status.code(), Some(1), "{file} {tool}");
            assert!(stderr(&output).contains("damaged"), "{}", stderr(&output));
        }
    }
}

#[test]
fn the_legacy_format_of_lz4_is_read() {
    let (dir, files) = kept();
    let dir = dir.path();
    for file in files {
        let output =
            Command::new("lz4").args(["-l", "-c", file]).current_dir(dir).output().unwrap();
        assert!(output.status.success());
        std::fs::write(dir.join("packed"), output.stdout).unwrap();
        assert_eq!(json(&["packed"], dir), json(&[file], dir), "{file}");
    }
}

#[test]
fn xz_that_needs_too_much_memory_is_refused() {
    let (dir, _) = kept();
    let dir = dir.path();
    let output = Command::new("xz")
        .args(["-c", "--lzma2=dict=1GiB", "raw"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success());
    std::fs::write(dir.join("packed"), output.stdout).unwrap();
    let output = analyze(&["packed"], dir);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.contains("needs too much memory; decompress it first"), "{message}");
}

#[test]
fn other_kinds_of_captures_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (magic, name) in [
        (&b"GMBU"[..], "Microsoft NetMon 2"),
        (b"RTSS", "Microsoft NetMon 1"),
        (b"btsnoop\0", "Bluetooth"),
        (b"TRSNIFF data    \x1a", "ngsniffer"),
        (b"XCP\x00002.001", "NetXray"),
        (b"\x05VNF", "Visual Networks"),
        (b"ObserverPktBufferVersion", "Observer"),
        (b"\xaa\xaa\xaa\xaa", "5View"),
        (b"TR\0d", "nettl"),
        (b"+---------+---------------+----------+", "K12"),
        (b"\x01\x10\x4c\0\x01\x05Trace", "LANalyzer"),
    ] {
        std::fs::write(dir.path().join("c"), [magic, &[0; 40]].concat()).unwrap();
        let message = stderr(&analyze(&["c"], dir.path()));
        assert!(message.contains(name), "{message}");
        assert!(message.contains("convert it with `editcap -F pcapng IN OUT`"), "{message}");
    }
}

#[test]
fn several_captures_are_merged_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let (first, second) = (script("first"), script("second"));
    std::fs::write(dir.join("late"), raw_log(2, &moved(&second, 1, 5_000, false))).unwrap();
    std::fs::write(dir.join("early"), pcapng(1, &first.records())).unwrap();
    pack("gzip", dir, "late", "late.gz");
    let lines = json(&["late.gz", "early"], dir);
    let paths: Vec<_> = lines.iter().filter_map(|line| line["request"]["path"].as_str()).collect();
    assert_eq!(paths, ["/first", "/second"]);
    assert_eq!(lines.iter().map(|line| &line["conn"]).collect::<Vec<_>>()[..2], [1, 2]);
    let summary = lines.last().unwrap();
    assert_eq!((&summary["exchanges"], &summary["connections"]), (&2.into(), &2.into()));
    assert_eq!((&summary["closed"], &summary["dropped_events"]), (&true.into(), &0.into()));
    assert_eq!(summary["start"], "1970-01-01T00:00:00.000000001Z");
    // With a filter, at the end or as an option.
    for args in
        [&["late.gz", "early", "path=/second"][..], &["-Y", "path=/second", "early", "late"]]
    {
        let lines = json(args, dir);
        assert_eq!((lines.len(), &lines[0]["request"]["path"]), (2, &"/second".into()), "{args:?}");
        assert_eq!(lines[1]["listed"], 1);
    }
}

#[test]
fn captures_of_the_wire_and_of_tls_keep_their_schemes_when_merged() {
    let (dir, _) = kept();
    let lines = json(&["other", "raw"], dir.path());
    let count = |scheme: &str| {
        let urls = lines.iter().filter_map(|line| line["request"]["url"].as_str());
        urls.filter(|url| url.starts_with(scheme)).count()
    };
    assert_eq!((count("https://"), count("http://")), (1, 5));
    assert_eq!(lines.last().unwrap()["closed"], true);
}

#[test]
fn both_files_of_a_recording_list_what_each_of_them_lists() {
    let (dir, _) = kept();
    let dir = dir.path();
    let once = json(&["raw"], dir);
    assert_eq!(json(&["raw", "own"], dir), once);
    assert_eq!(json(&["own", "raw", "own"], dir), once);
}

#[test]
fn a_damaged_file_among_several_is_named_and_the_others_are_listed() {
    let (dir, _) = kept();
    let dir = dir.path();
    let whole = std::fs::read(dir.join("other")).unwrap();
    std::fs::write(dir.join("cut"), &whole[..whole.len() - 5]).unwrap();
    let output = analyze(&["--json", "cut", "raw"], dir);
    assert_eq!(output.status.code(), Some(1));
    let message = stderr(&output);
    assert!(message.starts_with("sslanalyze: cut is damaged at byte "), "{message}");
    assert_eq!(message.lines().count(), 1);
    assert!(String::from_utf8(output.stdout).unwrap().contains("https://x/a"));
}

#[test]
fn a_file_that_is_not_there_is_no_silent_filter() {
    let (dir, _) = kept();
    let output = analyze(&["raw", "othr.pcapng"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("unknown field `othr.pcapng`"), "{message}");
    assert!(message.ends_with("no file named `othr.pcapng` either\n"), "{message}");
    let output = analyze(&["raw", "absent", "status=200"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cannot open absent"), "{}", stderr(&output));
    assert_eq!(analyze(&["-", "-"], dir.path()).status.code(), Some(2));
}

#[test]
fn exported_pdus_that_come_twice_are_listed_once() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    let lines = json(&["exported-http.pcapng"], &dir);
    let brief = |line: &Value| {
        let (request, response) = (&line["request"], &line["response"]);
        let sizes = [&request["body_bytes"], &response["body_bytes"]].map(|n| n.as_u64().unwrap());
        (request["path"].as_str().unwrap().to_owned(), sizes, line["complete"] == true)
    };
    let (summary, exchanges) = lines.split_last().unwrap();
    assert_eq!(
        exchanges.iter().map(brief).collect::<Vec<_>>(),
        [
            ("/a".to_owned(), [0, 5], true),
            ("/n/20000".to_owned(), [0, 20_000], true),
            ("/a".to_owned(), [0, 5], true),
            ("/post".to_owned(), [841, 841], true),
        ]
    );
    assert_eq!(exchanges[3]["interim"][0]["status"], 100);
    assert_eq!((&summary["connections"], &summary["lost_bytes"]), (&2.into(), &0.into()));
    assert_eq!(exchanges[0]["server"], "127.0.0.1:28443");
}

#[test]
fn exported_frames_that_come_twice_are_taken_once() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/analyzer");
    let lines = json(&["exported-http2.pcapng"], &dir);
    let sizes = lines.iter().filter_map(|line| line["response"]["body_bytes"].as_u64());
    assert_eq!(sizes.collect::<Vec<_>>(), [10, 40_000]);
    assert!(lines[..2].iter().all(|line| line["complete"] == true && line["proto"] == "h2"));
    assert_eq!(lines[2]["streams"], 0);
}

/// A ring buffer is in parts, which connections do not end with.
#[test]
fn a_packet_capture_in_parts_lists_the_same() {
    let (dir, _) = kept();
    let dir = dir.path();
    let whole = std::fs::read(dir.join("other")).unwrap();
    let blocks = blocks(&whole);
    let is_packet = |block: &&[u8]| block.starts_with(&[6, 0, 0, 0]);
    let heads: Vec<u8> =
        blocks.iter().take_while(|b| !is_packet(b)).copied().flatten().copied().collect();
    let packets: Vec<&[u8]> = blocks.into_iter().filter(is_packet).collect();
    assert!(packets.len() > 20);
    let mut names = Vec::new();
    for (at, part) in packets.chunks(packets.len() / 6).enumerate() {
        let name = format!("part{at}");
        std::fs::write(dir.join(&name), [&heads[..], &part.concat()].concat()).unwrap();
        names.push(name);
    }
    let args: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    let (parts, whole) = (json(&args, dir), json(&["other"], dir));
    let (exchanges, of_whole) = (&parts[..parts.len() - 1], &whole[..whole.len() - 1]);
    assert_eq!(exchanges, of_whole);
}

/// Blocks of a little-endian pcapng.
fn blocks(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut blocks = Vec::new();
    while let Some(len) = bytes.get(4..8) {
        let len = u32::from_le_bytes(len.try_into().unwrap()) as usize;
        let (block, rest) = bytes.split_at(len);
        blocks.push(block);
        bytes = rest;
    }
    blocks
}

/// Follows a file; ends with the test.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(args: &[&str], dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
            .args(["--json", "--follow-file"])
            .args(args)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line, for which it waits.
    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    fn status(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two connections: the first is closed in the first part of the file, which can be read without
/// the second part. The third part closes the capture.
fn parts() -> [Vec<u8>; 3] {
    let (first, second) = (script("first"), script("second"));
    let second = moved(&second, 2, 10_000, false);
    let mut first = first.records();
    let last = first.pop().unwrap();
    let mut bytes = Vec::new();
    let mut ends = Vec::new();
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        let info = CaptureInfo { start_ns: 1, ..CaptureInfo::default() };
        let mut writer = RawLogWriter::new(file.reopen().unwrap(), info, 1).unwrap();
        for records in [&first[..], &second[..second.len() - 1]] {
            records.iter().for_each(|record| writer.write(record).unwrap());
            writer.flush().unwrap();
            ends.push(file.as_file().metadata().unwrap().len() as usize);
        }
        writer.write(&last).unwrap();
        writer.finish().unwrap();
        drop(writer);
        bytes.extend(std::fs::read(file.path()).unwrap());
    }
    [bytes[..ends[0]].to_vec(), bytes[ends[0]..ends[1]].to_vec(), bytes[ends[1]..].to_vec()]
}

#[test]
fn a_growing_file_is_followed_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("c")).unwrap();
    let mut following = Following::start(&["c", "path~s"], dir.path());
    let parts = parts();
    // The first piece is too short to recognise the kind of file.
    for piece in parts[0].chunks(7) {
        file.write_all(piece).unwrap();
    }
    assert_eq!(following.next()["request"]["path"], "/first");
    file.write_all(&parts[1]).unwrap();
    assert_eq!(following.next()["request"]["path"], "/second");
    assert!(following.child.try_wait().unwrap().is_none());
    file.write_all(&parts[2]).unwrap();
    let summary = following.next();
    assert_eq!((&summary["exchanges"], &summary["closed"]), (&2.into(), &true.into()));
    assert_eq!(following.status(), Some(0));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_wait_with_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let parts = parts();
    // Up to the middle of something that is being written.
    let half = &parts[1][..parts[1].len() / 2];
    std::fs::write(dir.path().join("c"), [&parts[0], half].concat()).unwrap();
    let mut following = Following::start(&["c"], dir.path());
    assert_eq!(following.next()["request"]["path"], "/first");
    let pid = following.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let summary = loop {
        let line = following.next();
        if line["type"] == "summary" {
            break line;
        }
    };
    assert_eq!(summary["closed"], false);
    assert_eq!(following.status(), Some(0));
    let two = Command::new(env!("CARGO_BIN_EXE_sslanalyze"))
        .args(["-f", "c", "c"])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(two.status.code(), Some(2));
}
