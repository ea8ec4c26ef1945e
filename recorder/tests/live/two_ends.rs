//! A loopback connection recorded at both ends is listed once, and twice on request.

use crate::peers::case;
use crate::server::Nginx;
use crate::support::Live;

#[test]
fn a_connection_recorded_at_both_ends_is_listed_once() {
    let Some(live) = Live::start() else { return };
    let recorded = live.record(&[], &case(&["exchange"])).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.streams.len(), 1);
    assert_eq!(listing.streams[0]["role"], "client");
    let both = live.list(&recorded.raw, &["--both-ends"]);
    let roles: Vec<_> = both.streams.iter().map(|s| s["role"].as_str().unwrap()).collect();
    assert_eq!(roles.len(), 2);
    assert!(roles.contains(&"client") && roles.contains(&"server"));
    // A single three-way handshake, in the pcapng too.
    let syns = live.tshark_fields(
        &recorded.pcapng,
        "tcp.flags.syn == 1 && tcp.flags.ack == 0",
        "frame.number",
    );
    assert_eq!(syns.len(), 1);
}

#[test]
fn http_recorded_at_both_ends_is_listed_once_from_the_client() {
    let Some(live) = Live::start() else { return };
    let nginx_as_child = Nginx::start(&live);
    nginx_as_child.serve("page", b"page");
    let pids =
        nginx_as_child.worker_pids().iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    // A shell that waits for its input file to appear, so that it can be named by pid in time.
    let go = live.path("go");
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.05; done; for i in 1 2 3; do curl --http1.1 -sS --cacert {} {}; done",
        go.display(),
        nginx_as_child.ca(),
        nginx_as_child.url("/page")
    );
    let client = live.spawn(std::process::Command::new("sh").args(["-c", &script]));
    let running = live.attach(&["-p", &pids, "-p", &client.pid().to_string()]);
    std::fs::write(go, "").unwrap();
    let output = client.wait();
    assert_eq!(output.stdout, "pagepagepage", "{}", output.stderr);
    let recorded = running.stop(2).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);
    assert_eq!(listing.exchanges.len(), 3);
    for exchange in &listing.exchanges {
        assert_eq!((&exchange["role"], &exchange["comm"]), (&"client".into(), &"curl".into()));
    }
    let both = live.list(&recorded.raw, &["--both-ends"]);
    assert_eq!(both.exchanges.len(), 6);
    assert_eq!(both.exchanges.iter().filter(|e| e["comm"] == "nginx").count(), 3);
}
