//! How recordings begin and end: exit status, signals, and a recorder that is killed.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::listing::bytes_of;
use crate::peers::case;
use crate::server::Nginx;
use crate::support::{Live, read_lossy, within};

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

#[test]
fn the_childs_exit_status_is_passed_on() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &case(&["exit-code", "7"]));
    assert_eq!(recorded.code(), 7, "{}", recorded.output.stderr);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.streams.len(), 1, "and what it did is recorded");
}

#[test]
fn a_child_that_a_signal_ends_gives_128_and_its_number() {
    let Some(live) = Live::start() else { return };
    for signal in [SIGTERM, SIGKILL] {
        let recorded = live.record(&[], &case(&["kill-self", &signal.to_string()]));
        assert_eq!(recorded.output.status.code(), Some(128 + signal), "{}", recorded.output.stderr);
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        assert_eq!(listing.streams.len(), 1);
    }
}

#[test]
fn a_command_that_does_not_exist_is_said() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &["/no/such/command"]);
    assert_ne!(recorded.code(), 0);
    assert!(recorded.output.stderr.contains("/no/such/command"), "{}", recorded.output.stderr);
}

/// SIGINT and SIGTERM to the recorder reach the child, and the files are whole.
#[test]
fn signals_are_passed_on_to_the_child() {
    let Some(live) = Live::start() else { return };
    for signal in [SIGINT, SIGTERM] {
        let (files, mut sslrec) = live.sslrec(&[]);
        let started = live.spawn(sslrec.arg("--").args(case(&["pace", "30", "10000", "100"])));
        let records = || read_lossy(&started.stderr).contains("recording").then_some(());
        within(Duration::from_secs(30), records).expect("it says that it records");
        std::thread::sleep(Duration::from_millis(700));
        started.signal(signal);
        let recorded = files.finish(started.wait());
        assert_eq!(recorded.code(), 128 + signal, "{}", recorded.output.stderr);
        live.others_read(&recorded.pcapng);
        live.others_read(&recorded.raw);
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        assert!(listing.streams[0]["client_bytes"].as_u64().unwrap() > 1000);
    }
}

/// Ctrl-C at a terminal goes to both at once: the child ends of it, the recorder finishes.
const CTRL_C: &str = "
import os, pty, select, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
output, pressed, end = b'', None, time.time() + 40
while time.time() < end:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            data = os.read(terminal, 4096)
        except OSError:
            break
        if not data:
            break
        output += data
    if b'ready-to-be-stopped' in output and pressed is None:
        pressed = time.time()
        os.write(terminal, b'\\x03')
status = os.waitpid(pid, 0)[1]
sys.stdout.write(output.decode(errors='replace'))
sys.exit(os.waitstatus_to_exitcode(status) if pressed else 99)
";

#[test]
fn ctrl_c_at_a_terminal_ends_the_child_and_finishes_the_files() {
    let Some(live) = Live::start() else { return };
    let (files, sslrec) = live.sslrec(&[]);
    let peer = crate::peers::tls_cases();
    let script = format!("{peer} exchange >/dev/null; echo ready-to-be-stopped; sleep 30");
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", CTRL_C]).arg(sslrec.get_program()).args(sslrec.get_args());
    python.args(["--", "sh", "-c", &script]);
    let recorded = files.finish(live.run(&mut python));
    assert_eq!(recorded.code(), 130, "{}{}", recorded.output.stdout, recorded.output.stderr);
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.streams.len(), 1);
}

#[test]
fn signals_finish_the_files_of_an_attached_recording() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("page", b"page");
    let pids = nginx.worker_pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    for signal in [SIGINT, SIGTERM] {
        let running = live.attach(&["-p", &pids]);
        live.succeed("curl", &["-sS", "--cacert", &nginx.ca(), &nginx.url("/page")]);
        let recorded = running.stop(signal).succeeded();
        live.others_read(&recorded.pcapng);
        live.others_read(&recorded.raw);
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
        assert_eq!(listing.exchanges.len(), 1);
        assert_eq!(listing.summary["closed"], true, "{}", listing.summary);
    }
    assert_eq!(nginx.worker_pids().len(), 2, "the traced program goes on");
}

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Each message begins with the time at which it was sent.
fn last_message_ns(data: &[u8], size: usize) -> u64 {
    let last = data.chunks_exact(size).last().expect("a message");
    std::str::from_utf8(&last[..20]).unwrap().parse().unwrap()
}

#[test]
fn files_of_a_killed_recorder_read_up_to_the_last_second() {
    const SIZE: usize = 4096;
    let Some(live) = Live::start() else { return };
    let peer = live.path("peer-runs");
    // The peer outlives its recorder: it must end by itself, and soon.
    let (files, mut sslrec) = live.sslrec(&[]);
    let script = format!("touch {}; exec \"$0\" \"$@\"", peer.display());
    let started = live
        .spawn(sslrec.args(["--", "sh", "-c", &script]).args(case(&["pace", "6", "1000", "4096"])));
    within(Duration::from_secs(30), || peer.exists().then_some(())).expect("the peer runs");
    std::thread::sleep(Duration::from_secs(3));
    let killed_at = now_ns();
    started.signal(SIGKILL);
    started.wait();

    for file in [&files.pcapng, &files.raw] {
        live.others_read(file);
        let listing = live.list_damaged(file, &["--bodies"]);
        let name = file.display();
        assert!(listing.code == 0 || !listing.stderr.is_empty(), "{name}: damage is said");
        assert_eq!(listing.streams.len(), 1, "{name}: {}", listing.stderr);
        let data = bytes_of(&listing.streams[0], "client_data");
        let missing_ms = killed_at.saturating_sub(last_message_ns(&data, SIZE)) / 1_000_000;
        assert!(missing_ms < 1500, "{name}: the last {missing_ms} ms are missing");
        assert!(data.len() > 500 * SIZE, "{name}: only {} bytes", data.len());
    }
}

#[test]
fn a_recording_stops_by_itself() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let pid = nginx.master_pid().to_string();
    let (files, mut sslrec) = live.sslrec(&["-p", &pid, "--duration", "1"]);
    let before = std::time::Instant::now();
    files.finish(live.run(&mut sslrec)).succeeded();
    assert!(before.elapsed() >= Duration::from_secs(1));
}
