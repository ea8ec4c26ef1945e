//! Commands that must succeed.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program that must succeed, and returns its standard output.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
