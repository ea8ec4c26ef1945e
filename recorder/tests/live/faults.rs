//! Outputs that fail during a recording: a full or broken disk, a size limit, a reader that stops
//! or leaves. The file so far stays valid for every tool, its missing end is visible, and the
//! command continues and keeps its exit status.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::failing_disk::{FailingDisk, Fault};
use crate::listing::{Listing, bytes_of};
use crate::peers::{case, truth};
use crate::support::{Live, Output, SSLREC, Started, within};

const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;
const SIGSTOP: i32 = 19;

/// Fills every disk here in either format.
const FLOOD: [&str; 3] = ["flood", "2500", "16384"];
const FLOOD_BYTES: u64 = 2500 * 16384;

/// Larger than a single write of the recorder, smaller than the flood.
const LIMIT: usize = 3 << 19;

/// How long a reader stops.
const STOPPED: Duration = Duration::from_secs(5);

/// A command that ends with 7 if the flood went on to its end.
fn flood_and_7() -> Vec<String> {
    let script = ["sh", "-c", "\"$0\" \"$@\" >/dev/null && exit 7"].map(String::from);
    [&script[..], &case(&FLOOD)].concat()
}

/// The file ends early, at the end of a record, and states that.
fn assert_ends_early(live: &Live, file: &Path) {
    live.others_read(file);
    let listing = live.list_damaged(file, &["--bodies", "--both-ends"]);
    let name = file.display();
    assert_eq!(listing.summary["closed"], false, "{name}: {}", listing.stderr);
    let length = |stream| bytes_of(stream, "client_data").len() as u64;
    let kept: u64 = listing.streams.iter().map(length).sum();
    let sent = listing.streams.len() as u64 * FLOOD_BYTES;
    assert!((1 << 20..sent).contains(&kept), "{name}: {kept} of {sent} bytes");
    assert!(listing.streams.iter().all(|stream| stream["complete"] == false), "{name}");
}

/// Asserts that the missing part of the flood is reported as lost. Returns its length.
fn assert_nothing_missing(listing: &Listing) -> u64 {
    assert_eq!(listing.summary["closed"], true);
    let stream = &listing.streams[0];
    let lost = stream["lost_bytes"].as_u64().unwrap();
    assert_eq!(bytes_of(stream, "client_data").len() as u64 + lost, FLOOD_BYTES);
    lost
}

/// Asserts that the run failed for this reason, which is reported once for each file.
fn assert_given_up(output: &Output, code: i32, files: &[&Path], reason: &str) {
    let stderr = &output.stderr;
    assert_eq!(output.code(), code, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for file in files {
        let name = file.to_str().unwrap();
        let said: Vec<_> = stderr.lines().filter(|line| line.contains(name)).collect();
        let failures: Vec<_> = said.iter().filter(|line| line.contains(reason)).collect();
        assert_eq!(failures.len(), 1, "of {name}: {stderr}");
        assert!(failures[0].contains("can be read up to here"), "{stderr}");
    }
}

/// Runs a recorder in a mount namespace of its own with a file system of 1.5 MiB, and takes its
/// file from there in the end. Returns the file and its path there.
fn on_a_small_disk(live: &Live, name: &str, command: &[String]) -> (Output, PathBuf, PathBuf) {
    let (disk, kept) = (live.path("small-disk"), live.path(name));
    fs::create_dir_all(&disk).unwrap();
    let file = disk.join(name);
    let script = "mount -t tmpfs -o size=1536k tmpfs \"$0\" && file=$1 kept=$2 && shift 2 || exit 99\n\
        \"$@\"; status=$?; cp \"$file\" \"$kept\" || exit 98; exit $status";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script]).arg(&disk).arg(&file).arg(&kept);
    let output = live.run(unshare.arg(SSLREC).arg("-w").arg(&file).arg("--").args(command));
    (output, kept, file)
}

#[test]
fn a_full_disk() {
    let Some(live) = Live::start() else { return };
    for name in ["capture.pcapng", "capture.zst"] {
        let (output, kept, file) = on_a_small_disk(&live, name, &flood_and_7());
        assert_given_up(&output, 7, &[&file], "space");
        assert_ends_early(&live, &kept);
    }
}

#[test]
fn a_full_disk_fails_the_run_of_a_command_that_succeeds() {
    let Some(live) = Live::start() else { return };
    let (output, ..) = on_a_small_disk(&live, "capture.pcapng", &case(&FLOOD));
    assert_eq!(output.code(), 1, "{}", output.stderr);
    assert_eq!(truth(&output.stdout).unwrap()[0].from_client.0, FLOOD_BYTES);
}

/// The limit's signal would end the recorder, and must not be the command's to ignore.
#[test]
fn a_file_larger_than_is_allowed() {
    let Some(live) = Live::start() else { return };
    let (files, sslrec) = live.sslrec(&[]);
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--fsize={LIMIT}")).arg(SSLREC).args(sslrec.get_args());
    let output = live.run(limited.arg("--").args(flood_and_7()));
    assert_given_up(&output, 7, &[&files.pcapng, &files.raw], "large");
    for file in [&files.pcapng, &files.raw] {
        assert_ends_early(&live, file);
    }
    let mut limited = Command::new("prlimit");
    limited.args(["--fsize=4096", SSLREC, "-w"]).arg(live.path("own.pcapng"));
    let output = live.run(limited.args(["--", "grep", "^SigIgn", "/proc/self/status"]));
    let ignored = u64::from_str_radix(output.stdout.split_whitespace().nth(1).unwrap(), 16);
    assert_eq!(ignored.unwrap() & 1 << 24, 0, "SIGXFSZ: {}", output.stdout);
}

/// A recording on a disk with this fault.
fn on_a_failing_disk(live: &Live, fault: Fault, options: &[&str]) -> (FailingDisk, Output) {
    let disk = FailingDisk::mount(live.path("failing-disk"), fault);
    let mut sslrec = Command::new(SSLREC);
    sslrec.args(options);
    for name in ["capture.pcapng", "capture.zst"] {
        sslrec.arg("-w").arg(disk.folder().join(name));
    }
    let output = live.run(sslrec.arg("--").args(flood_and_7()));
    (disk, output)
}

#[test]
fn a_disk_that_fails_to_write() {
    let Some(live) = Live::start() else { return };
    let (disk, output) = on_a_failing_disk(&live, Fault::Write(LIMIT), &[]);
    let files = ["capture.pcapng", "capture.zst"].map(|name| disk.folder().join(name));
    assert_given_up(&output, 7, &files.each_ref().map(PathBuf::as_path), "Input/output error");
    files.iter().for_each(|file| assert_ends_early(&live, file));
}

#[test]
fn a_failing_disk_and_a_good_one() {
    let Some(live) = Live::start() else { return };
    let disk = FailingDisk::mount(live.path("failing-disk"), Fault::Write(LIMIT));
    let (good, failing) = (live.path("good.zst"), disk.folder().join("capture.pcapng"));
    let mut sslrec = Command::new(SSLREC);
    sslrec.arg("-w").arg(&failing).arg("-w").arg(&good).arg("--").args(flood_and_7());
    assert_given_up(&live.run(&mut sslrec), 7, &[&failing], "Input/output error");
    assert_ends_early(&live, &failing);
    assert_nothing_missing(&live.list(&good, &["--bodies"]));
}

/// Then the file ends in the midst of something, which every reader notices.
#[test]
fn a_disk_that_fails_to_write_and_to_cut() {
    let Some(live) = Live::start() else { return };
    let (disk, output) = on_a_failing_disk(&live, Fault::WriteAndCut(LIMIT), &[]);
    for name in ["capture.pcapng", "capture.zst"] {
        let file = disk.folder().join(name);
        assert_given_up(&output, 7, &[&file], "Input/output error");
        let listing = live.list_damaged(&file, &["--bodies"]);
        assert_eq!(listing.summary["closed"], false, "{}", listing.stderr);
        assert!(bytes_of(&listing.streams[0], "client_data").len() > 1 << 18);
    }
}

#[test]
fn a_disk_that_fails_to_sync() {
    let Some(live) = Live::start() else { return };
    let (disk, output) = on_a_failing_disk(&live, Fault::Sync, &[]);
    for name in ["capture.pcapng", "capture.zst"] {
        let file = disk.folder().join(name);
        assert_given_up(&output, 7, &[&file], "Input/output error");
        live.others_read(&file);
        assert_eq!(live.list(&file, &[]).summary["closed"], true, "as far as we can see it");
    }
}

/// A file is synced when it is complete, and then the folder that it is new in.
#[test]
fn complete_files_and_their_folder_are_synced() {
    let Some(live) = Live::start() else { return };
    let (disk, output) = on_a_failing_disk(&live, Fault::Nothing, &["-C", "4M"]);
    assert_eq!(output.code(), 7, "{}", output.stderr);
    let synced = disk.synced();
    assert!(synced.len() >= 10 && synced.len().is_multiple_of(2), "{synced:?}");
    for pair in synced.chunks_exact(2) {
        assert!(pair[0] != "." && pair[1] == ".", "{synced:?}");
        live.others_read(&disk.folder().join(&pair[0]));
    }
}

/// `sslrec -w - OPTIONS -- COMMAND | cat >FILE`
struct Piped {
    recorder: Started,
    reader: Started,
}

impl Piped {
    fn start(live: &Live, options: &[&str], command: &[String]) -> Self {
        let (from, to) = io::pipe().unwrap();
        let start = |command: &mut Command, name: &str| {
            let stderr = live.path(&format!("{name}.stderr"));
            let child = command.stderr(File::create(&stderr).unwrap()).spawn().unwrap();
            Started { child, stdout: live.path("piped.pcapng"), stderr }
        };
        let file = File::create(live.path("piped.pcapng")).unwrap();
        let reader = start(Command::new("cat").stdin(from).stdout(file), "cat");
        let mut sslrec = Command::new(SSLREC);
        sslrec.args(["-w", "-"]).args(options).arg("--").args(command);
        Self { recorder: start(sslrec.stdin(Stdio::null()).stdout(to), "sslrec"), reader }
    }

    /// Returns the recorder's output, and the file.
    fn wait(self) -> (Output, PathBuf) {
        let file = self.reader.stdout.clone();
        let output = self.recorder.wait();
        assert_eq!(self.reader.wait().code(), 0);
        (output, file)
    }
}

/// For the recorder it is a disk that takes nothing. The command does not wait for it.
#[test]
fn a_reader_that_stops_while_more_comes_than_fits() {
    let Some(live) = Live::start() else { return };
    let done = live.path("done");
    let script = format!("\"$0\" \"$@\" >/dev/null && touch {}", done.display());
    let command = [&["sh".into(), "-c".into(), script][..], &case(&FLOOD)].concat();
    let piped = Piped::start(&live, &["--ring-size", "64K"], &command);
    piped.reader.signal(SIGSTOP);
    let started = Instant::now();
    let went_on = within(STOPPED, || done.exists().then_some(()));
    std::thread::sleep(STOPPED.saturating_sub(started.elapsed()));
    piped.reader.signal(SIGCONT);
    went_on.expect("the command is not held up");
    let (output, file) = piped.wait();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    live.others_read(&file);
    let lost = assert_nothing_missing(&live.list(&file, &["--bodies"]));
    assert!(lost > 0, "this was more than fits");
    assert!(!output.stderr.contains("lost 0 events"), "{}", output.stderr);
}

#[test]
fn a_reader_that_stops_while_what_comes_fits() {
    let Some(live) = Live::start() else { return };
    let piped = Piped::start(&live, &[], &case(&["pace", "7", "5000", "4096"]));
    std::thread::sleep(Duration::from_secs(1));
    piped.reader.signal(SIGSTOP);
    std::thread::sleep(STOPPED);
    piped.reader.signal(SIGCONT);
    let (output, file) = piped.wait();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    live.others_read(&file);
    let listing = live.list(&file, &[]);
    assert_eq!(listing.summary["lost_bytes"], 0, "{}", output.stderr);
    assert!(listing.streams[0]["client_bytes"].as_u64().unwrap() > 1 << 20);
}

/// It has had enough, which is no failure; the command goes on.
#[test]
fn a_reader_that_leaves() {
    let Some(live) = Live::start() else { return };
    let piped = Piped::start(&live, &[], &flood_and_7());
    piped.reader.signal(SIGKILL);
    let output = piped.recorder.wait();
    assert_eq!(output.code(), 7, "{}", output.stderr);
    for complaint in ["ipe", "can be read", "cannot"] {
        assert!(!output.stderr.contains(complaint), "{}", output.stderr);
    }
}
