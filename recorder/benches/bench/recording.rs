//! A recording of programs that run already, and the recorder's figures at its end.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::programs::{Usage, signal, wait_with_usage};
use crate::setup::SSLREC;

/// The longest time that a recorder may take to end.
const LIMIT: Duration = Duration::from_secs(120);

/// A running recorder. Ended when dropped.
pub(crate) struct Recording {
    child: Child,
    stderr: BufReader<ChildStderr>,
    ended: bool,
}

impl Recording {
    /// Starts a recorder, and returns once it has announced the recording.
    pub(crate) fn start<S: AsRef<OsStr>>(pids: &[u32], options: &[S]) -> Result<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut child = Command::new(SSLREC)
            .args(["-p", &pids.join(",")])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start sslrec")?;
        let stderr = BufReader::new(child.stderr.take().context("no stderr")?);
        let mut recording = Self { child, stderr, ended: false };
        let mut said = String::new();
        while !said.contains("sslrec: recording") {
            if recording.stderr.read_line(&mut said)? == 0 {
                bail!("sslrec did not begin: {}", said.trim());
            }
        }
        Ok(recording)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Requests its end. Not by INT, which programs started by a shell in the background ignore.
    pub(crate) fn stop(&self) -> Result<()> {
        signal(self.pid(), "TERM")
    }

    /// Waits for an end that was requested, or that follows that of the recorded programs.
    pub(crate) fn finish(mut self) -> Result<Recorded> {
        let usage = wait_with_usage(&self.child, LIMIT)?;
        self.ended = true;
        let mut said = String::new();
        self.stderr.read_to_string(&mut said)?;
        if usage.code != Some(0) {
            bail!("sslrec failed: {}", said.trim());
        }
        let totals = Totals::parse(&said).with_context(|| format!("no summary: {said}"))?;
        Ok(Recorded { usage, totals })
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if !self.ended {
            // A failure leaves nothing else to do.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A recording that has ended.
pub(crate) struct Recorded {
    pub(crate) usage: Usage,
    pub(crate) totals: Totals,
}

/// The summary line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) calls: u64,
    /// Payload, recorded or not.
    pub(crate) bytes: u64,
    pub(crate) lost_events: u64,
    pub(crate) lost_bytes: u64,
}

impl Totals {
    fn parse(said: &str) -> Option<Self> {
        let summary = said.lines().rfind(|line| line.contains("; lost "))?;
        let (seen, lost) = summary.split_once("; lost ")?;
        Some(Self {
            calls: number_before(seen, "call")?,
            bytes: number_before(seen, "byte")?,
            lost_events: number_before(lost, "event")?,
            lost_bytes: number_before(lost, "byte")?,
        })
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.lost_events == 0 && self.lost_bytes == 0
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, bytes, lost_events, lost_bytes } = self;
        write!(f, "{calls} calls, {bytes} bytes, lost {lost_events} events, {lost_bytes} bytes")
    }
}

/// Returns the number before a noun, in the singular or the plural.
fn number_before(text: &str, noun: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let place = words.iter().position(|word| word.starts_with(noun))?;
    words.get(place.checked_sub(1)?)?.parse().ok()
}
