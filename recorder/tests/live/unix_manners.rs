//! The habits of a good command: things that it leaves alone, and things that do not disturb it.
//! Pipes that carry the capture or have no reader, signals that were ignored, commands that never
//! run.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use crate::bad_input::Rival;
use crate::peers::{case, text, tls_cases};
use crate::support::{Live, Running, SSLREC, read_lossy, within};

/// `sslrec -w - -- COMMAND | wireshark -k -i -`, where the command prints too.
#[test]
fn what_the_command_prints_stays_out_of_a_capture_on_stdout() {
    let Some(live) = Live::start() else { return };
    let script = "echo printed; \"$0\" exchange >/dev/null && echo printed again";
    let mut sslrec = Command::new(SSLREC);
    let started = live.spawn(sslrec.args(["-w", "-", "--", "sh", "-c", script, &tls_cases()]));
    let capture = started.stdout.clone();
    let output = started.wait();
    assert_eq!(output.code(), 0, "{}", output.stderr);
    assert!(output.stderr.contains("printed\n") && output.stderr.contains("printed again"));
    let lengths = live.tshark_fields(&capture, "tcp.len > 0", "tcp.len");
    assert!(lengths.len() >= 2, "{lengths:?}");
}

/// `sslrec ... 2>&1 | head -1`
#[test]
fn messages_that_nobody_reads_change_nothing() {
    let Some(live) = Live::start() else { return };
    let file = live.path("x.pcapng");
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut sslrec = Command::new(SSLREC);
    sslrec.arg("-v").arg("-w").arg(&file).args(["--", "sh", "-c", "exit 7"]);
    let status = sslrec.stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(7));
    live.tshark(&file, &[]);

    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let status = Command::new(SSLREC).args(["-p", "4194303"]).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

/// As under `nohup`: neither the recorder nor the command ends of the signal.
#[test]
fn ignored_signals_stay_ignored() {
    let Some(live) = Live::start() else { return };
    let (files, sslrec) = live.sslrec(&[]);
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", SSLREC]).args(sslrec.get_args());
    nohup.args(["--", "sh", "-c", "kill -HUP $PPID; kill -HUP $$; echo survived"]);
    let recorded = files.finish(live.run(&mut nohup)).succeeded();
    assert_eq!(recorded.output.stdout, "survived\n");
    live.list_both(&recorded.pcapng, &recorded.raw, &[]);
}

/// Those that are not ignored still end the command.
#[test]
fn other_signals_end_the_command() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &["sh", "-c", "kill -HUP $PPID; sleep 30"]);
    assert_eq!(recorded.code(), 129, "{}", recorded.output.stderr);
}

/// The kernel finds out only at exec that a script's interpreter is missing.
#[test]
fn a_command_that_cannot_be_executed_touches_no_file() {
    let Some(live) = Live::start() else { return };
    let script = live.path("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let (earlier, new) = (live.path("earlier.pcapng"), live.path("new.zst"));
    fs::write(&earlier, "an earlier capture").unwrap();
    let mut sslrec = Command::new(SSLREC);
    sslrec.arg("-w").arg(&earlier).arg("-w").arg(&new).arg("--").arg(&script);
    let output = live.run(&mut sslrec);
    assert_eq!(output.code(), 1, "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("cannot run"), "{}", output.stderr);
    assert_eq!(read_lossy(&earlier), "an earlier capture");
    assert!(!new.exists());
}

/// A zombie has ended already, and will not end again.
#[test]
fn a_zombie_child_does_not_keep_the_recording_alive() {
    let Some(live) = Live::start() else { return };
    let script = "import os, sys, time\nif os.fork() == 0: os._exit(0)\ntime.sleep(30)";
    let parent = live.spawn(Command::new("/usr/bin/python3").args(["-c", script]));
    let children = format!("/proc/{0}/task/{0}/children", parent.pid());
    let zombie = within(Duration::from_secs(10), || {
        let child = fs::read_to_string(&children).unwrap().trim().to_owned();
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.contains(") Z ").then_some(child)
    });
    assert!(zombie.is_some());
    let running = live.attach(&["-p", &parent.pid().to_string()]);
    parent.signal(15);
    assert_eq!(parent.wait().code(), 128 + 15);
    ends_by_itself(&running);
    running.wait().succeeded();
}

fn ends_by_itself(running: &Running) {
    let stat = format!("/proc/{}/stat", running.started().pid());
    let ended = || fs::read_to_string(&stat).unwrap().contains(") Z ").then_some(());
    within(Duration::from_secs(10), ended).expect("the recording ends with its processes");
}

#[test]
fn a_thread_is_not_a_process() {
    let Some(live) = Live::start() else { return };
    let script = "import threading, time\n\
        threading.Thread(target=time.sleep, args=[30], daemon=True).start()\n\
        print(threading.enumerate()[-1].native_id, flush=True)\n\
        time.sleep(30)";
    let python = live.spawn(Command::new("/usr/bin/python3").args(["-c", script]));
    let tid = within(Duration::from_secs(10), || {
        let said = read_lossy(&python.stdout);
        said.ends_with('\n').then(|| said.trim().to_owned())
    });
    let tid = tid.unwrap();
    let (files, mut sslrec) = live.sslrec(&["-p", &tid]);
    let output = live.run(&mut sslrec);
    assert_eq!(output.code(), 1, "{}", output.stderr);
    assert!(output.stderr.contains(&format!("-p {}", python.pid())), "{}", output.stderr);
    assert!(!files.pcapng.exists());
}

/// The kernel refuses the link of all functions at once; those that can be probed still are.
#[test]
fn another_tracer_on_a_function_without_data() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = text(folder.join("libssl.so.3"));
    let _rival = Rival::start(&live, &library, "SSL_up_ref");
    for options in [&["--lib", &library][..], &["--lib", &library, "--without", "multi"]] {
        let (files, mut sslrec) = live.sslrec(options);
        sslrec.arg("--").args(case(&["exchange"])).env("LD_LIBRARY_PATH", &folder);
        let recorded = files.finish(live.run(&mut sslrec)).succeeded();
        let stderr = &recorded.output.stderr;
        assert!(stderr.contains("cannot probe SSL_up_ref"), "{stderr}");
        assert_eq!(live.list_both(&recorded.pcapng, &recorded.raw, &[]).streams.len(), 1);
    }
}

/// Placed probes stand elsewhere than another tracer's.
#[test]
fn another_tracer_is_no_hindrance() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = text(folder.join("libssl.so.3"));
    let _rival = Rival::start(&live, &library, "SSL_read");
    let (files, mut sslrec) = live.sslrec(&["--lib", &library]);
    sslrec.arg("--").args(case(&["exchange"])).env("LD_LIBRARY_PATH", &folder);
    let recorded = files.finish(live.run(&mut sslrec)).succeeded();
    assert_eq!(live.list_both(&recorded.pcapng, &recorded.raw, &[]).streams.len(), 1);
}

/// A library that nobody named is left out; the others are recorded.
#[test]
fn another_tracer_on_a_library_that_was_found() {
    let Some(live) = Live::start() else { return };
    let (rivals, ours) = (live.path("rivals"), live.private_libssl());
    fs::create_dir(&rivals).unwrap();
    let refused = rivals.join("libssl.so.3");
    fs::copy(ours.join("libssl.so.3"), &refused).unwrap();
    let refused = text(refused);
    let _rival = Rival::start(&live, &refused, "SSL_read");
    let path = format!("{}:{}", ours.display(), rivals.display());
    let (files, mut sslrec) = live.sslrec(&["--without", "placement"]);
    sslrec.arg("--").args(case(&["exchange"])).env("LD_LIBRARY_PATH", path);
    let recorded = files.finish(live.run(&mut sslrec)).succeeded();
    let stderr = &recorded.output.stderr;
    assert!(stderr.contains(&format!("cannot probe SSL_read in {refused}")), "{stderr}");
    assert_eq!(live.list_both(&recorded.pcapng, &recorded.raw, &[]).streams.len(), 1);
}
