//! The help of the program and of `doctor` as golden files, and the man pages and completions.
//!
//! `UPDATE_GOLDEN=1 cargo test -p sslrec --test help` writes the golden files after an intended
//! change.

#![allow(clippy::unwrap_used)] // tests

// The files themselves: a dependency on the crate would make the recorder depend on the analyzer.
#[path = "../../../analyzer/tests/support/src/golden.rs"]
#[expect(unreachable_pub, reason = "a module of a library")]
mod golden;
#[path = "../../../analyzer/tests/support/src/manual.rs"]
#[expect(unreachable_pub, reason = "a module of a library")]
mod manual;

use std::path::{Path, PathBuf};
use std::process::Command;

const SSLREC: &str = env!("CARGO_BIN_EXE_sslrec");

/// Path of a golden file.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorder/tests/help/golden").join(name)
}

fn output(args: &[&str]) -> String {
    let output = Command::new(SSLREC).args(args).env("COLUMNS", "100").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_is_that_of_the_golden_files() {
    golden::check(&file("sslrec.txt"), &output(&["--help"]));
    golden::check(&file("sslrec-short.txt"), &output(&["-h"]));
    golden::check(&file("doctor.txt"), &output(&["doctor", "--help"]));
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let page = manual::check(Path::new(SSLREC), &["doctor"]);
    assert!(
        page.is_empty() || page.contains("record a command and everything it starts"),
        "{page}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let output = Command::new(SSLREC).args(["--generate", "/dev/null/x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("/dev/null/x"), "{errors}");
}
