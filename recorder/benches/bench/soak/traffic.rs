//! The programs that communicate, at a modest rate, and the bytes that they report as sent and
//! received.
//!
//! | program | library | traffic |
//! |---|---|---|
//! | `tls_cases exchange` | OpenSSL, both ends | short processes, short connections |
//! | `curl`, `wget` | OpenSSL, GnuTLS | short processes, HTTP/1.1 of nginx |
//! | `h2load --h1` | OpenSSL | two connections for the whole time, HTTP/1.1 of nginx |
//! | `h2load` | OpenSSL | the same with HTTP/2, and short ones beside them |
//!
//! nginx counts the bytes of HTTP/1.1 in its log, h2load the bytes that it read, and `tls_cases`
//! its own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::succeed;
use crate::nginx::{Nginx, Sites};
use crate::setup::{Setup, copy_library};

/// Pause between two runs of the same short program.
const PAUSE: Duration = Duration::from_millis(400);
/// Requests a second of each of the two long connections, with either protocol.
const RATE: u64 = 15;
/// Time that they leave at the end, in case other programs are late.
const MARGIN: Duration = Duration::from_secs(8);

/// Bytes that were sent and received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moved {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// The figures that the programs report.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// By the ends of connections of `tls_cases`, by own and peer's address.
    pub(super) ends: HashMap<(String, String), Vec<Moved>>,
    /// Of all clients of nginx over HTTP/1.1, by nginx's log.
    pub(super) http1: Moved,
    /// Bytes that h2load read over HTTP/2.
    pub(super) http2_received: u64,
    /// Ports of nginx.
    pub(super) http1_port: u16,
    pub(super) http2_port: u16,
}

impl Truth {
    /// Returns all reported bytes.
    pub(super) fn bytes(&self) -> u64 {
        let ends = self.ends.values().flatten().map(|moved| moved.sent + moved.received);
        ends.sum::<u64>() + self.http1.sent + self.http1.received + self.http2_received
    }
}

/// Servers that are ready, and the libraries of all programs.
pub(super) struct Traffic {
    nginx: Nginx,
    tls_cases: PathBuf,
    libraries: PathBuf,
    gnutls: PathBuf,
}

/// Programs that run.
pub(super) struct Running {
    traffic: Traffic,
    workers: Vec<JoinHandle<Result<Truth>>>,
}

impl Traffic {
    pub(super) fn prepare(setup: &Setup) -> Result<Self> {
        copy_library("libgnutls.so.30", &setup.libraries)?;
        Ok(Self {
            nginx: Nginx::start(setup, Sites::Two)?,
            tls_cases: setup.tls_cases.clone(),
            libraries: setup.libraries.clone(),
            gnutls: setup.libraries.join("libgnutls.so.30"),
        })
    }

    /// The files to probe.
    pub(super) fn libraries(&self) -> [PathBuf; 2] {
        [self.libraries.join("libssl.so.3"), self.gnutls.clone()]
    }

    /// Begins; all programs have ended after `time`.
    pub(super) fn start(self, time: Duration) -> Result<Running> {
        let end = Instant::now() + time.saturating_sub(MARGIN / 2);
        let requests = (2 * RATE * time.saturating_sub(MARGIN).as_secs()).to_string();
        let [http1, http2] = [self.nginx.http1_url()?, self.nginx.http2_url()];
        let kept = ["-t1", "-c2", "-n", &requests, "--rps", &RATE.to_string()].map(String::from);
        let run = |program: &str, arguments: &[String], url: &str| {
            let mut command = self.command(Path::new(program));
            command.args(arguments).arg(url);
            command
        };
        let fetch = |program: &str, url: &str| {
            let quiet = ["-q", "-s", "-k", "-o", "/dev/null"].map(String::from);
            let wget = ["-q", "--no-check-certificate", "-O", "/dev/null"].map(String::from);
            run(program, if program == "curl" { &quiet } else { &wget }, url)
        };
        let mut cases = self.command(&self.tls_cases);
        cases.arg("exchange");
        let some = ["-t1", "-c4", "-m4", "-n60"].map(String::from);
        let http1_kept = [&["--h1".to_owned()][..], &kept].concat();
        let workers = vec![
            repeat(cases, end, ends_of),
            repeat(fetch("curl", &http1), end, nothing),
            repeat(fetch("wget", &http1), end, nothing),
            repeat(run("h2load", &some, &http2), end, read_by_h2load),
            once(run("h2load", &kept, &http2), read_by_h2load),
            once(run("h2load", &http1_kept, &http1), nothing),
        ];
        Ok(Running { traffic: self, workers })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

impl Running {
    /// Waits for the programs, ends the server, and returns the reported figures.
    pub(super) fn finish(self) -> Result<Truth> {
        let mut truth = Truth::default();
        for worker in self.workers {
            let said = worker.join().map_err(|_| anyhow::anyhow!("a worker has failed"))??;
            truth.http2_received += said.http2_received;
            for (addresses, moved) in said.ends {
                truth.ends.entry(addresses).or_default().extend(moved);
            }
        }
        truth.http2_port = self.traffic.nginx.port;
        truth.http1_port = self.traffic.nginx.http1_port.context("one site only")?;
        let log = self.traffic.nginx.access_log();
        drop(self.traffic);
        truth.http1 = http1_of(&fs::read_to_string(log)?)?;
        Ok(truth)
    }
}

type Understand = fn(&str, &mut Truth) -> Result<()>;

/// Runs a program repeatedly.
fn repeat(mut command: Command, end: Instant, understand: Understand) -> JoinHandle<Result<Truth>> {
    thread::spawn(move || {
        let mut truth = Truth::default();
        while Instant::now() < end {
            understand(&succeed(&mut command)?, &mut truth)?;
            thread::sleep(PAUSE);
        }
        Ok(truth)
    })
}

fn once(mut command: Command, understand: Understand) -> JoinHandle<Result<Truth>> {
    thread::spawn(move || {
        let mut truth = Truth::default();
        understand(&succeed(&mut command)?, &mut truth)?;
        Ok(truth)
    })
}

fn nothing(_: &str, _: &mut Truth) -> Result<()> {
    Ok(())
}

/// Parses a line of JSON for each end.
fn ends_of(said: &str, truth: &mut Truth) -> Result<()> {
    for line in said.lines() {
        let end: Value = serde_json::from_str(line)?;
        let text = |field: &str| end[field].as_str().map(str::to_owned);
        let addresses = text("local").zip(text("remote"));
        let moved = end["sent"].as_u64().zip(end["received"].as_u64());
        let (addresses, (sent, received)) =
            addresses.zip(moved).with_context(|| format!("not an end: {line}"))?;
        truth.ends.entry(addresses).or_default().push(Moved { sent, received });
    }
    Ok(())
}

/// Parses `traffic: 1.23MB (1234567) total, ...`.
fn read_by_h2load(said: &str, truth: &mut Truth) -> Result<()> {
    let line = said.lines().find_map(|line| line.strip_prefix("traffic: "));
    let bytes =
        line.and_then(|line| line.split_once('(')?.1.split_once(')')?.0.parse::<u64>().ok());
    truth.http2_received += bytes.with_context(|| format!("h2load said: {said}"))?;
    Ok(())
}

/// Parses lines of port, bytes received and bytes sent by nginx.
fn http1_of(log: &str) -> Result<Moved> {
    let mut moved = Moved::default();
    for line in log.lines().filter(|line| line.starts_with("HTTP/1.1 ")) {
        let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [received, sent] = numbers[..] else {
            anyhow::bail!("nginx logged: {line}");
        };
        moved.sent += received;
        moved.received += sent;
    }
    Ok(moved)
}
