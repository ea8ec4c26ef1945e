//! A browser and a site that Node.js serves over HTTP/2: the recording of the server's end equals
//! tshark's decryption of the wire, with the keys that the browser writes down, and the server's
//! log of its responses.
//!
//! The browser itself cannot be recorded: Chromium is linked with a BoringSSL that has no symbols.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::listing::lines;
use crate::oracle::{Heads, is_http2};
use crate::server::certificate;
use crate::support::{Live, Started, read_lossy, within};

const SIGINT: i32 = 2;
const ORIGIN: &str = "https://127.0.0.1";

/// Where `packaging/install-deps.sh test` has put the package that drives the browser.
pub(crate) fn tools() -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/tools");
    if tools.join(".installed").exists() {
        return Some(tools);
    }
    let missing = "skipped: what it needs is installed by packaging/install-deps.sh test";
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    eprintln!("{missing}");
    None
}

fn says(program: &Started, file: &Path, text: &str) {
    let said = within(Duration::from_secs(20), || read_lossy(file).contains(text).then_some(()));
    assert!(said.is_some(), "never {text:?}: {}", read_lossy(&program.stderr));
}

/// A program in the network namespace of another program.
fn beside(site: &Started, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &site.pid().to_string(), program]);
    command
}

/// The site, in a network of its own, where all ports are free and all traffic is its.
fn start_site(live: &Live, tools: &Path) -> Started {
    certificate(live, live.dir());
    let mut command = Command::new("unshare");
    // unshare and sh become node, so that the process id is the server's.
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "node"]);
    let site = live.spawn(command.arg(tools.join("site.js")).arg("tls").arg(live.dir()));
    says(&site, &site.stdout, "listening");
    site
}

/// Ends a capture when all that the kernel holds for it is in the file, whose size then rests.
fn stop_capture(dumpcap: Started, wire: &Path) {
    let mut last = 0;
    let rests = within(Duration::from_secs(20), || {
        std::thread::sleep(Duration::from_millis(700));
        let size = wire.metadata().unwrap().len();
        (std::mem::replace(&mut last, size) == size).then_some(())
    });
    rests.expect("the capture comes to an end");
    dumpcap.signal(SIGINT);
    assert_eq!(dumpcap.wait().code(), 0);
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().collect();
    lines.sort();
    lines
}

#[test]
fn a_server_that_a_browser_visits_is_recorded_as_tshark_decrypts_it() {
    let Some(live) = Live::start() else { return };
    let Some(tools) = tools() else { return };
    let site = start_site(&live, &tools);
    let wire = live.path("wire.pcapng");
    let mut dumpcap = beside(&site, "dumpcap");
    let dumpcap =
        live.spawn(dumpcap.args(["-q", "-i", "lo", "-a", "duration:60", "-w"]).arg(&wire));
    says(&dumpcap, &dumpcap.stderr, "File: ");
    let running = live.attach(&["-p", &site.pid().to_string()]);
    let mut browse = beside(&site, "node");
    browse.arg(tools.join("browse.js")).arg(ORIGIN).arg(live.path("keys"));
    let browsed = live.run(&mut browse);
    assert_eq!(browsed.code(), 0, "{}", browsed.stderr);
    stop_capture(dumpcap, &wire);
    let recorded = running.stop(SIGINT).succeeded();

    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.summary["lost_bytes"], 0);
    for exchange in &listing.exchanges {
        assert_eq!(exchange["role"], "server");
        assert!(is_http2(exchange), "{exchange}");
    }
    let answered = read_lossy(&site.stdout);
    let answered = answered.lines().skip_while(|line| *line == "listening").map(|line| {
        let request: Value = serde_json::from_str(line).unwrap();
        let path = request["url"].as_str().unwrap().strip_prefix(ORIGIN).unwrap();
        format!("{} {path} {}", request["method"].as_str().unwrap(), request["status"])
    });
    let found = sorted(lines(&listing.exchanges));
    assert_eq!(found, sorted(answered));
    for kind in ["GET /?from=nowhere 200", "CONNECT /socket?room=1 200", "PUT /api/upload 201"] {
        assert!(found.iter().any(|line| line == kind), "{kind} is not in {found:#?}");
    }

    let keys = format!("tls.keylog_file:{}", live.path("keys").display());
    assert_eq!(Heads::listed(&listing), Heads::decoded(&live, &wire, &["-o", &keys]));
}
