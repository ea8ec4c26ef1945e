//! Python's clients, which call `SSL_read_ex` and `SSL_write_ex`.

use crate::listing::{lines, sha256_of};
use crate::server::Nginx;
use crate::support::{Live, sha256};

const HTTP_CLIENT: &str = "
import http.client, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
connection = http.client.HTTPSConnection('localhost', port, context=context)
connection.request('GET', '/page')
assert len(connection.getresponse().read()) == 50000
connection.request('POST', '/post', body=b'x' * 40000)
assert connection.getresponse().read() == b'taken\\n'
";

const REQUESTS: &str = "
import requests, sys
port, ca = int(sys.argv[1]), sys.argv[2]
with requests.Session() as session:
    session.trust_env = False
    session.verify = ca
    base = 'https://localhost:%d' % port
    assert len(session.get(base + '/page').content) == 50000
    assert session.post(base + '/post', data=b'x' * 40000).text == 'taken\\n'
";

fn both_directions(script: &str) {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let page: Vec<u8> = (0..50_000u32).map(|i| (i / 7) as u8).collect();
    nginx.serve("page", &page);
    let (port, ca) = (nginx.port().to_string(), nginx.ca());
    let command = ["/usr/bin/python3", "-c", script, &port, &ca];
    let recorded = live.record(&[], &command).succeeded();

    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(lines(&listing.exchanges), ["GET /page 200", "POST /post 201"]);
    assert_eq!(sha256_of(&listing.exchanges[0]["response"], "body"), sha256(&page));
    assert_eq!(sha256_of(&listing.exchanges[1]["request"], "body"), sha256(&[b'x'; 40_000]));
    for exchange in &listing.exchanges {
        assert_eq!(exchange["role"], "client");
        assert_eq!(exchange["sni"], "localhost");
    }

    // Reads are labelled reads: the function of each packet goes with its direction.
    let port_of_server = live.tshark_fields(&recorded.pcapng, "http.request", "tcp.dstport");
    let port = port_of_server.first().expect("a request");
    let count = |filter: &str| live.tshark_fields(&recorded.pcapng, filter, "frame.number").len();
    let (to_server, to_client) = (
        format!("tcp.len > 0 && tcp.dstport == {port}"),
        format!("tcp.len > 0 && tcp.srcport == {port}"),
    );
    for (direction, function, wrong) in
        [(&to_server, "SSL_write_ex", "SSL_read"), (&to_client, "SSL_read_ex", "SSL_write")]
    {
        let all = count(direction);
        let named = count(&format!("{direction} && frame.comment contains \"fn={function} \""));
        assert!(all > 0 && all == named, "{function}: {named} of {all} packets");
        assert_eq!(count(&format!("{direction} && frame.comment contains \"{wrong}\"")), 0);
    }
    let label = "frame.comment contains \"dir=received\"";
    assert_eq!(count(&format!("{to_client} && {label}")), count(&to_client));
    assert_eq!(count(&format!("{to_server} && {label}")), 0);
}

#[test]
fn http_client_is_recorded_in_both_directions() {
    both_directions(HTTP_CLIENT);
}

#[test]
fn requests_is_recorded_in_both_directions() {
    both_directions(REQUESTS);
}
