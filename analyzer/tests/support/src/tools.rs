//! Programs of others that check the output: in `testdata/tools`, where
//! `packaging/install-deps.sh test` installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the tools. `None` means that a test must be skipped, which continuous integration
/// never does.
pub fn installed() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../testdata/tools");
    if tools.join(".installed").exists() {
        return Some(tools.canonicalize().unwrap());
    }
    let missing = "skipped: what it needs is installed by packaging/install-deps.sh test";
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("{missing}");
    None
}

/// Runs a script of this folder, in which `require` finds the packages of npm.
pub fn node(tools: &Path, script: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(tools.join(script));
    node
}

/// Runs a Python that has the packages of PyPI.
pub fn python(tools: &Path) -> Command {
    Command::new(tools.join("venv/bin/python"))
}

/// Returns the standard output of a program, which must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
