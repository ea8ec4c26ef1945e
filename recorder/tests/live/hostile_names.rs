//! Names of processes, programs and libraries that would move the cursor or forge lines, in every
//! output of the recorder.

use std::fs;
use std::path::Path;
use std::process::Command;

use sslrec_cli::text::is_special;

use crate::peers::tls_cases;
use crate::support::{Live, SSLREC, system_library};

/// A terminal title, a forged line, a C1 sequence and an override, in the 15 bytes of a `comm`. The
/// loader takes a semicolon for the end of a folder.
const NAME: &str = "x\u{1b}]0,t\u{7}\nf\u{9b}\u{202e}";

fn assert_safe(what: &str, text: &str) {
    let special = text.chars().find(|&c| is_special(c) && !matches!(c, '\n' | '\t'));
    assert_eq!(special, None, "{what}: {text:?}");
    assert!(!text.lines().any(|line| line.starts_with('f')), "{what}: {text}");
}

/// A folder, a program and a library with that name.
fn hostile_program(live: &Live) -> (String, String) {
    let folder = live.path(NAME);
    fs::create_dir(&folder).unwrap();
    let program = folder.join(NAME);
    fs::copy(tls_cases(), &program).unwrap();
    for name in ["libssl.so.3", "libcrypto.so.3"] {
        fs::copy(system_library(name), folder.join(name)).unwrap();
    }
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    (text(&program), text(&folder))
}

#[test]
fn names_reach_no_output_of_the_recorder_unescaped() {
    let Some(live) = Live::start() else { return };
    let (program, folder) = hostile_program(&live);
    let library = format!("{folder}/libssl.so.3");

    let (files, mut sslrec) = live.sslrec(&["-v", "--lib", &library]);
    sslrec.env("LD_LIBRARY_PATH", &folder).args(["--", &program, "exchange"]);
    let recorded = files.finish(live.run(&mut sslrec)).succeeded();
    assert_safe("stderr of -v", &recorded.output.stderr);
    let path = library.replace(NAME, "x\\u{1b}]0,t\\u{7}\\nf\\u{9b}\\u{202e}");
    assert!(recorded.output.stderr.contains(&path), "{}", recorded.output.stderr);
    let pcapng = fs::read(&recorded.pcapng).unwrap();
    let contains = |needle: &[u8]| pcapng.windows(needle.len()).any(|at| at == needle);
    assert!(!contains(&NAME.as_bytes()[..6]), "the pcapng has the name as it is");
    assert!(contains(b"x%1B]0,t%07%0Af%C2%9B"), "the pcapng has no escaped name");
    live.list_both(&recorded.pcapng, &recorded.raw, &[]);

    let mut sslrec = Command::new(SSLREC);
    sslrec.env("LD_LIBRARY_PATH", &folder).args(["-lx", "--handshake", "--color", "never"]);
    let shown = live.run(sslrec.args(["--lib", &library, "--", &program, "exchange"]));
    assert_eq!(shown.code(), 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("x\\u{1b}]0,t\\u{7}\\n"), "{}", shown.stdout);
    assert_safe("live text", &shown.stdout);
    assert_safe("stderr", &shown.stderr);
}

#[test]
fn missing_files_are_named_in_escaped_form() {
    let Some(live) = Live::start() else { return };
    let missing = format!("no-{NAME}");
    for args in [
        &["--lib", &missing, "--", "true"][..],
        &["-w", &format!("{missing}/a.pcapng"), "--", "true"],
        &["--", &missing],
    ] {
        let output = live.run(Command::new(SSLREC).args(args));
        assert_ne!(output.code(), 0, "{args:?}");
        assert!(output.stderr.contains("\\u{1b}]0,"), "{args:?}: {}", output.stderr);
        assert_safe(&format!("{args:?}"), &output.stderr);
    }
}

#[test]
fn doctor_names_processes_in_escaped_form() {
    let Some(live) = Live::start() else { return };
    let (program, folder) = hostile_program(&live);
    let mut peer = Command::new(&program);
    let peer =
        live.spawn(peer.args(["pace", "30", "10000", "100"]).env("LD_LIBRARY_PATH", &folder));
    let doctor = live.run(Command::new(SSLREC).arg("doctor"));
    peer.end();
    assert!(doctor.stdout.contains("x\\u{1b}]0,t\\u{7}\\nf"), "{}", doctor.stdout);
    assert_safe("doctor", &doctor.stdout);
}
