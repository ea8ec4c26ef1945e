//! Programs that are started for a measurement, and the kernel's figures about them.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::succeed;
use crate::setup::Setup;

/// A program that has been started and waits, so that it can be recorded by its number from its
/// first call. Ended when dropped.
pub(crate) struct Gated(Child);

impl Gated {
    /// Starts the program with the private copy of libssl.
    pub(crate) fn start<S: AsRef<OsStr>>(
        setup: &Setup,
        program: &Path,
        arguments: &[S],
    ) -> Result<Self> {
        // exec keeps the number.
        let child = Command::new("sh")
            .args(["-c", "read -r go && exec \"$@\"", "sh"])
            .arg(program)
            .args(arguments)
            .env("LD_LIBRARY_PATH", &setup.libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Lets the program continue.
    pub(crate) fn go(&mut self) -> Result<()> {
        let mut stdin = self.0.stdin.take().context("it runs already")?;
        stdin.write_all(b"go\n").context("the program has ended before it began")
    }

    /// Waits for its end and returns its output.
    pub(crate) fn output(mut self) -> Result<String> {
        let mut output = String::new();
        self.0.stdout.take().context("no output")?.read_to_string(&mut output)?;
        let status = self.0.wait()?;
        if !status.success() {
            bail!("a measured program failed: {status}");
        }
        Ok(output)
    }

    /// Lets the program continue and waits for the JSON that it prints.
    pub(crate) fn result(mut self) -> Result<Value> {
        self.go()?;
        let output = self.output()?;
        serde_json::from_str(&output).with_context(|| format!("not JSON: {output}"))
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // A failure leaves nothing else to do.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// The resources that a program used until its end.
pub(crate) struct Usage {
    pub(crate) seconds: f64,
    /// Of all its threads and of the children that it waited for.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) code: Option<i32>,
}

/// Waits for a child's end. Its output must not fill a pipe meanwhile.
pub(crate) fn wait_with_usage(child: &Child, limit: Duration) -> Result<Usage> {
    let start = Instant::now();
    let pid = libc::pid_t::try_from(child.id())?;
    let mut peak_bytes = 0;
    loop {
        // The kernel's own maximum begins with that of the process which started the program.
        peak_bytes = peak_bytes.max(memory(child.id(), "VmHWM:").unwrap_or(0));
        let mut status = 0;
        // SAFETY: rusage is plain data, for which zeroes are valid; the kernel fills it in.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live values of the types that the call asks for.
        match unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) } {
            0 if start.elapsed() > limit => bail!("process {pid} has not ended after {limit:?}"),
            0 => std::thread::sleep(Duration::from_millis(2)),
            ended if ended == pid => {
                let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
                return Ok(Usage {
                    seconds: start.elapsed().as_secs_f64(),
                    cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
                    peak_bytes,
                    code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
                });
            }
            _ => return Err(std::io::Error::last_os_error()).context("cannot wait for a child"),
        }
    }
}

/// Returns a line of `/proc/PID/status` that counts memory, such as `VmRSS:`, in bytes; `None` once
/// the process has ended.
pub(crate) fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Sends a signal, such as `INT`.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's builtin: not every machine has a program of that name.
    succeed(Command::new("sh").args(["-c", &format!("kill -{name} {pid}")])).map(drop)
}
