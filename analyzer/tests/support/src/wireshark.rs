//! Wireshark's programs: dumpcap captures on loopback, tshark lists the contents of a file.
//!
//! They may be missing on a developer's machine: then a test prints the reason and passes. In CI
//! (`CI` is set) they must be there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// Separator of several values of a field in a packet.
const BETWEEN: char = '\u{1}';

/// Returns whether these programs are installed. `false` means that a test must be skipped.
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|program| Command::new(program).arg("--version").output().is_err())
        .collect();
    assert!(missing.is_empty() || std::env::var_os("CI").is_none(), "missing in CI: {missing:?}");
    if !missing.is_empty() {
        println!("skipped: {missing:?} not installed");
    }
    missing.is_empty()
}

/// A process that ends with the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A capture of loopback that is under way.
pub struct Dumpcap {
    process: Ended,
    file: PathBuf,
    /// Its output needs a reader.
    _stderr: BufReader<ChildStderr>,
}

impl Dumpcap {
    /// Captures the packets that match a filter into a file. `dumpcap` is a command that runs it,
    /// perhaps in a network namespace.
    pub fn start(mut dumpcap: Command, filter: &str, file: &Path) -> Self {
        dumpcap.args(["-q", "-i", "lo", "-f", filter, "-a", "duration:60", "-w"]).arg(file);
        let mut child = dumpcap.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let process = Ended(child);
        // It names the file once it captures.
        let mut said = String::new();
        while !said.contains("File: ") {
            assert!(stderr.read_line(&mut said).unwrap() > 0, "{dumpcap:?}: {said}");
        }
        Self { process, file: file.to_owned(), _stderr: stderr }
    }

    /// Ends the capture when all is in the file.
    pub fn stop(mut self) {
        // The packets that the kernel still holds are written once the size stops growing.
        let mut last = 0;
        wait_for("the file to rest", || {
            std::thread::sleep(Duration::from_millis(700));
            let size = self.file.metadata().unwrap().len();
            std::mem::replace(&mut last, size) == size
        });
        Command::new("kill").args(["-INT", &self.process.0.id().to_string()]).status().unwrap();
        assert!(self.process.0.wait().unwrap().success());
    }
}

/// The values of some fields in the packets that a filter picks: for each packet, of each field
/// all.
pub fn tshark(
    file: &Path,
    options: &[&str],
    filter: &str,
    fields: &[&str],
) -> Vec<Vec<Vec<String>>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(options).args(["-Y", filter, "-T", "fields"]);
    command.args(["-E", "occurrence=a", "-E", &format!("aggregator={BETWEEN}")]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let values = |field: &str| field.split(BETWEEN).map(str::to_owned).collect();
    let lines = String::from_utf8_lossy(&output.stdout);
    lines.lines().map(|packet| packet.split('\t').map(values).collect()).collect()
}

/// The same, with a line for each occurrence of the fields, of which a packet has equally many;
/// sorted.
pub fn tshark_lines(file: &Path, options: &[&str], filter: &str, fields: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for packet in tshark(file, options, filter, fields) {
        for at in 0..packet[0].len() {
            let values: Vec<_> = packet
                .iter()
                .map(|values| {
                    assert_eq!(values.len(), packet[0].len(), "{packet:?}");
                    values[at].as_str()
                })
                .collect();
            lines.push(values.join(" "));
        }
    }
    lines.sort();
    lines
}

/// The exchanges that `sslanalyze --json` lists. `program` is the path of `sslanalyze`.
pub fn exchanges(program: &str, file: &Path) -> Vec<serde_json::Value> {
    let output = Command::new(program).arg("--json").arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let objects = lines.lines().map(|line| serde_json::from_str(line).unwrap());
    objects.filter(|object: &serde_json::Value| object["type"] == "exchange").collect()
}
