//! Runs other tools on files.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Runs a tool on a file with an empty home, so that no user's preferences apply. Returns `None` if
/// the tool is not installed, which is an error if `CI` is set.
pub fn run(tool: &str, arguments: &[&str], file: &[u8]) -> Option<String> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("capture");
    fs::write(&path, file).unwrap();
    run_on(tool, arguments, &path, dir.path())
}

pub fn run_on(tool: &str, arguments: &[&str], path: &Path, home: &Path) -> Option<String> {
    let output = Command::new(tool)
        .args(arguments)
        .arg(path)
        .env("HOME", home)
        .env_remove("XDG_CONFIG_HOME")
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "{tool} is not installed");
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        other => other.unwrap(),
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {stderr}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns the values of these fields, one packet a line.
pub fn fields(filter: &str, fields: &[&str], file: &[u8]) -> Option<Vec<String>> {
    let mut arguments = vec!["-Y", filter, "-T", "fields"];
    for field in fields {
        arguments.extend(["-e", field]);
    }
    arguments.push("-r");
    run("tshark", &arguments, file).map(|text| text.lines().map(str::to_owned).collect())
}
