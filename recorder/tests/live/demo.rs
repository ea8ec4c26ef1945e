//! The demo, as a newcomer runs it, and other tools' opinion of its files.

use std::process::Command;

use crate::listing::lines;
use crate::oracle::assert_same_heads;
use crate::support::{Live, SSLREC, sslanalyze};

const EXPECTED: [&str; 7] = [
    "GET / 200",
    "GET /api/status?verbose=1 200",
    "POST /api/orders 201",
    "GET /old-page 302",
    "GET / 200",
    "GET /no/such/page 404",
    "GET /stream 200",
];

/// The number after `Warns (`, or 0.
fn expert_count(report: &str, severity: &str) -> String {
    let at = report.find(&format!("{severity} ("));
    at.map_or_else(|| "0".to_owned(), |at| report[at..].lines().next().unwrap_or("").to_owned())
}

#[test]
fn the_demo_leaves_files_on_which_all_tools_agree() {
    let Some(live) = Live::start() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/demo.sh");
    let mut demo = Command::new(script);
    demo.env("SSLREC", SSLREC).env("SSLANALYZE", sslanalyze()).env("OUT", live.dir());
    let output = live.run(&mut demo);
    assert_eq!(output.code(), 0, "{}\n{}", output.stdout, output.stderr);
    for path in ["/api/status?verbose=1", "/api/orders", "/old-page", "/no/such/page", "/stream"] {
        assert!(output.stdout.contains(path), "{path} is in the listing: {}", output.stdout);
    }

    let (pcapng, raw) = (live.path("capture.pcapng"), live.path("capture.zst"));
    let listing = live.list_both(&pcapng, &raw, &["--bodies"]);
    assert_eq!(lines(&listing.exchanges), EXPECTED);
    assert!(listing.exchanges.iter().all(|e| e["complete"] == true && e["sni"] == "localhost"));

    assert_same_heads(&live, &pcapng, &listing);
    let report = live.tshark(&pcapng, &["-q", "-z", "expert"]);
    for severity in ["Errors", "Warns"] {
        assert_eq!(expert_count(&report, severity), "0", "{report}");
    }
    live.succeed("capinfos", &[&pcapng]);
    live.succeed("zstd", &["-q".as_ref(), "-t".as_ref(), raw.as_path()]);
}
