//! Programs and recorders in places of their own: a pid namespace, a library that is gone from
//! the disk, a kernel that hides its types.

use std::process::Command;
use std::time::Duration;

use crate::peers::case;
use crate::support::{Live, SSLREC, within};

/// As in a container: the recorder's own numbers of processes are not the kernel's.
#[test]
fn a_recorder_in_a_pid_namespace() {
    let Some(live) = Live::start() else { return };
    let (files, _) = live.sslrec(&[]);
    let mut unshare = Command::new("unshare");
    unshare.args(["--pid", "--fork", "--mount-proc"]).arg(SSLREC);
    unshare.arg("-w").arg(&files.pcapng).arg("-w").arg(&files.raw).arg("--");
    let output = live.run(unshare.args(case(&["fork"])));
    let recorded = files.finish(output).succeeded();
    let listing = live.list(&recorded.raw, &["--both-ends"]);
    assert_eq!(listing.streams.len(), 3, "{:?}", listing.streams);
    for stream in &listing.streams {
        assert_eq!(stream["comm"], "tls_cases");
        assert!(stream["pid"].as_u64().unwrap() < 100, "numbers of the namespace: {stream}");
    }
}

/// After an upgrade, running programs still map the file that was deleted.
#[test]
fn a_mapped_library_that_was_deleted() {
    let Some(live) = Live::start() else { return };
    let folder = live.private_libssl();
    let library = folder.join("libssl.so.3");
    let script = "import os, ssl, sys, time\n\
        context = ssl.create_default_context()\n\
        while not os.path.exists(sys.argv[1]): time.sleep(0.05)\n\
        bio = lambda: ssl.MemoryBIO()\n\
        tls = context.wrap_bio(bio(), bio(), server_hostname='localhost')\n";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", script]).arg(live.path("go")).env("LD_LIBRARY_PATH", &folder);
    let started = live.spawn(&mut command);
    let maps = format!("/proc/{}/maps", started.pid());
    let mapped = || std::fs::read_to_string(&maps).is_ok_and(|maps| maps.contains("libssl"));
    within(Duration::from_secs(10), || mapped().then_some(())).unwrap();
    std::fs::remove_file(&library).unwrap();
    let recorder = live.attach(&["-v", "-p", &started.pid().to_string()]);
    recorder.wait_for_stderr("recording");
    std::fs::write(live.path("go"), "").unwrap();
    assert_eq!(started.wait().code(), 0);
    let recorded = recorder.wait().succeeded();
    let stderr = &recorded.output.stderr;
    let path = format!("functions probed in {}", library.display());
    assert!(stderr.contains(&path), "{stderr}");
}

#[test]
fn a_kernel_without_types() {
    let Some(live) = Live::start() else { return };
    let file = live.path("x.pcapng");
    let script = "mount -t tmpfs tmpfs /sys/kernel/btf && exec \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", script, "sh", SSLREC, "-w"]).arg(&file);
    let output = live.run(unshare.args(["--", "true"]));
    assert_eq!(output.code(), 1, "{}", output.stderr);
    assert!(output.stderr.contains("BTF"), "{}", output.stderr);
    assert_eq!(output.stderr.lines().count(), 1, "{}", output.stderr);
    assert!(!file.exists());
}
