//! The addresses in a capture are those in the server's access log.

use std::collections::BTreeMap;

use crate::server::Nginx;
use crate::support::Live;

const CONNECTIONS: usize = 50;

/// `address,port,...` of the log as the capture writes it.
fn socket_address(address: &str, port: &str) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// Client and server address by request path.
fn logged(nginx: &Nginx) -> BTreeMap<String, (String, String)> {
    let mut by_path = BTreeMap::new();
    for line in nginx.access_log() {
        let mut words = line.split(' ');
        let ends: Vec<&str> = words.next().unwrap().split(',').collect();
        let path = words.next().unwrap().to_owned();
        let value = (socket_address(ends[0], ends[1]), socket_address(ends[2], ends[3]));
        assert!(by_path.insert(path, value).is_none(), "each path is asked for once");
    }
    by_path
}

#[test]
fn fifty_concurrent_connections_have_the_addresses_of_the_access_log() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    // At 8 kB a second these last a second, so that all the connections are open at once.
    nginx.serve("page", &[b'p'; 8192]);
    let client = |url: String| {
        let many = format!("--parallel --parallel-immediate --parallel-max {CONNECTIONS}");
        format!("curl --http1.1 -sS --cacert {} {many} '{url}' >/dev/null", nginx.ca())
    };
    let v4 = client(nginx.url(&format!("/slow/page?four=[1-{CONNECTIONS}]")));
    let v6 = client(nginx.url_v6(&format!("/slow/page?six=[1-{CONNECTIONS}]")));
    let script = format!("{v4} && {v6}");
    let recorded = live.record(&[], &["sh", "-c", &script]).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &[]);

    let mut seen = BTreeMap::new();
    for exchange in &listing.exchanges {
        assert_eq!(exchange["addr"], "exact");
        let text = |field: &str| exchange[field].as_str().unwrap().to_owned();
        let path = exchange["request"]["path"].as_str().unwrap().to_owned();
        seen.insert(path, (text("client"), text("server")));
    }
    let logged = logged(&nginx);
    assert_eq!(seen, logged);
    let clients: std::collections::BTreeSet<_> =
        logged.values().map(|(client, _)| client).collect();
    assert_eq!(clients.len(), 2 * CONNECTIONS, "as many connections as requests");
}
