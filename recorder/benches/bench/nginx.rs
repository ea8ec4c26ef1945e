//! Requests per second of one nginx worker: HTTP/1.1 by wrk and HTTP/2 by h2load, bodies of 1 KiB,
//! over connections that are kept.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::succeed;
use crate::cost::Variant;
use crate::empty_pair::EmptyPair;
use crate::measure::interleaved;
use crate::programs::signal;
use crate::recording::Recording;
use crate::report::{Report, Row};
use crate::setup::Setup;

const ROUNDS: usize = 3;
const SECONDS: u32 = 3;
const BODY: usize = 1 << 10;

/// The load generator.
#[derive(Debug, Clone, Copy)]
enum Load {
    Http1,
    Http2,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1, wrk",
            Self::Http2 => "HTTP/2, h2load",
        }
    }

    fn run(self, url: &str, seconds: u32) -> Result<Answered> {
        match self {
            Self::Http1 => {
                let mut wrk = Command::new("wrk");
                wrk.args(["-t1", "-c32", &format!("-d{seconds}s"), url]);
                Answered::of_wrk(&succeed(&mut wrk)?)
            }
            Self::Http2 => {
                let mut h2load = Command::new("h2load");
                h2load.args(["-t1", "-c16", "-m8", "-D", &seconds.to_string(), url]);
                Answered::of_h2load(&succeed(&mut h2load)?)
            }
        }
    }
}

/// The results of a load generator, from its output.
struct Answered {
    per_second: f64,
    requests: u64,
}

impl Answered {
    /// Parses `N requests in ...`, `Requests/sec: N`, and separate lines for failures.
    fn of_wrk(said: &str) -> Result<Self> {
        let after = |head: &str| said.lines().find_map(|line| line.trim().strip_prefix(head));
        if after("Non-2xx").is_some() || after("Socket errors").is_some() {
            bail!("wrk met errors: {said}");
        }
        let requests = said.lines().find(|line| line.contains(" requests in "));
        let requests = requests.and_then(|line| line.split_whitespace().next()?.parse().ok());
        let per_second = after("Requests/sec:").and_then(|text| text.trim().parse().ok());
        Self::from(requests, per_second).with_context(|| format!("wrk said: {said}"))
    }

    /// Parses `finished in T, N req/s, ...` and `requests: ... N succeeded, 0 failed, 0 errored,
    /// ...`.
    fn of_h2load(said: &str) -> Result<Self> {
        let before = |head: &str, word: &str| {
            let line = said.lines().find(|line| line.starts_with(head))?;
            let part = line.split(", ").find(|part| part.trim_end().ends_with(word))?;
            part.split_whitespace().rev().nth(1)?.parse::<f64>().ok()
        };
        if before("requests:", "failed") != Some(0.0) || before("requests:", "errored") != Some(0.0)
        {
            bail!("h2load met errors: {said}");
        }
        let requests = before("requests:", "succeeded").map(|number| number as u64);
        let per_second = before("finished in", "req/s");
        Self::from(requests, per_second).with_context(|| format!("h2load said: {said}"))
    }

    fn from(requests: Option<u64>, per_second: Option<f64>) -> Option<Self> {
        Some(Self { per_second: per_second?, requests: requests? })
    }
}

pub(crate) fn run(setup: &Setup) -> Result<Report> {
    let nginx = Nginx::start(setup, Sites::One)?;
    let variants = Variant::all(setup);
    let mut report = Report::new("nginx, one worker, 1 KiB bodies, medians");
    for load in [Load::Http1, Load::Http2] {
        eprintln!("nginx: {}", load.name());
        let mut lost = vec![0; variants.len()];
        let samples = interleaved(setup.rounds(ROUNDS), &variants, |&variant| {
            let (per_second, lost_bytes) = measure(setup, &nginx, variant, load, &mut report)?;
            let at = variants.iter().position(|&v| v == variant).unwrap_or_default();
            lost[at] += lost_bytes;
            Ok(per_second)
        })?;
        let alone = samples.first().map_or(f64::NAN, |samples| samples.median());
        for ((variant, samples), lost) in variants.iter().zip(&samples).zip(lost) {
            let mut row = Row::new([("load", load.name()), ("attached", variant.name())])
                .with("requests_per_s", samples.median(), 0)
                .with("min", samples.min(), 0)
                .with("max", samples.max(), 0)
                .with("of_untraced", samples.median() / alone, 2);
            if variant.options(setup).is_some() {
                row = row.with("lost_bytes", lost as f64, 0);
            }
            report.row(row);
        }
    }
    Ok(report)
}

/// Returns requests per second, and bytes lost.
fn measure(
    setup: &Setup,
    nginx: &Nginx,
    variant: Variant,
    load: Load,
    report: &mut Report,
) -> Result<(f64, u64)> {
    let seconds = if setup.quick { 1 } else { SECONDS };
    let Some(mut options) = variant.options(setup) else {
        let _pair =
            (variant == Variant::EmptyPair).then(|| EmptyPair::attach(setup)).transpose()?;
        return Ok((load.run(&nginx.url(), seconds)?.per_second, 0));
    };
    let capture = setup.path("nginx.pcapng");
    options.extend(["-w".to_owned(), capture.display().to_string()]);
    let recording = Recording::start(&[nginx.worker()?], &options)?;
    let answered = load.run(&nginx.url(), seconds)?;
    recording.stop()?;
    let totals = recording.finish()?.totals;
    fs::remove_file(&capture)?;
    // Headers are additional, and so is the traffic under way when the time was up.
    if !totals.is_whole() || totals.bytes < answered.requests * BODY as u64 {
        let (load, variant, requests) = (load.name(), variant.name(), answered.requests);
        report.failures.push(format!("{load}, {variant}: {requests} requests; recorded: {totals}"));
    }
    Ok((answered.per_second, totals.lost_bytes))
}

/// The ports of nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sites {
    /// Both protocols on the same port.
    One,
    /// Another port for HTTP/1.1 alone, and a log of protocols and bytes.
    Two,
}

/// A server with the private copy of libssl. Terminated when dropped.
pub(crate) struct Nginx {
    master: Child,
    folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) http1_port: Option<u16>,
}

impl Nginx {
    pub(crate) fn start(setup: &Setup, sites: Sites) -> Result<Self> {
        let folder = setup.path("nginx");
        fs::create_dir_all(folder.join("root"))?;
        fs::write(folder.join("root/body"), "x".repeat(BODY))?;
        certificate(&folder)?;
        let (port, other_port) = free_ports()?;
        let http1_port = (sites == Sites::Two).then_some(other_port);
        let configuration = configuration(&folder, port, http1_port)?;
        let log = folder.join("error.log");
        let master = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(configuration)
            .arg("-e")
            .arg(&log)
            .env("LD_LIBRARY_PATH", &setup.libraries)
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let nginx = Self { master, folder, port, http1_port };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if start.elapsed() > Duration::from_secs(10) {
                bail!("nginx does not answer: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/body", self.port)
    }

    pub(crate) fn http2_url(&self) -> String {
        self.url()
    }

    pub(crate) fn http1_url(&self) -> Result<String> {
        let port = self.http1_port.context("nginx has one site")?;
        Ok(format!("https://127.0.0.1:{port}/body"))
    }

    /// Returns the log: `HTTP/1.1 RECEIVED SENT` for each request, once it has ended.
    pub(crate) fn access_log(&self) -> PathBuf {
        self.folder.join("access.log")
    }

    fn worker(&self) -> Result<u32> {
        let master = self.master.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        children.trim().parse().with_context(|| format!("one worker, not `{children}`"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its worker; if killed, it would leave the worker behind.
        let _ = signal(self.master.id(), "TERM");
        let _ = self.master.wait();
    }
}

fn certificate(folder: &Path) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "1", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]);
    succeed(openssl.current_dir(folder)).map(drop)
}

/// Returns two free ports.
fn free_ports() -> Result<(u16, u16)> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (bind()?, bind()?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

fn configuration(folder: &Path, port: u16, http1_port: Option<u16>) -> Result<PathBuf> {
    let path = folder.join("nginx.conf");
    let (site, log) = match http1_port {
        Some(port) => (
            format!("server {{ listen 127.0.0.1:{port} ssl; root FOLDER/root; }}"),
            "FOLDER/access.log soak",
        ),
        None => (String::new(), "off"),
    };
    let text = CONFIGURATION
        .replace("SITE", &site)
        .replace("ACCESS_LOG", log)
        .replace("FOLDER", &folder.display().to_string())
        .replace("PORT", &port.to_string());
    fs::write(&path, text)?;
    Ok(path)
}

const CONFIGURATION: &str = "
daemon off;
user root;
worker_processes 1;
pid FOLDER/nginx.pid;
events { worker_connections 512; }
http {
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    log_format soak '$server_protocol $request_length $bytes_sent';
    access_log ACCESS_LOG;
    keepalive_requests 100000000;
    ssl_certificate FOLDER/cert.pem;
    ssl_certificate_key FOLDER/key.pem;
    server {
        listen 127.0.0.1:PORT ssl http2;
        root FOLDER/root;
    }
    SITE
}
";
