//! Clients fetch a page from nginx, whose access log is the truth about addresses.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::Private::{Libraries, Package, Program};
use super::{
    Private, VENV, Way, check_get, check_identity, fill, list_one_connection, page, record_client,
};
use crate::listing::sha256_of;
use crate::peers::build;
use crate::server::Nginx;
use crate::support::{Live, Recorded, sha256, within};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers");

const EXACT: &str = "exact";
/// Quality of the addresses of clients with their own socket I/O.
const INFERRED: &str = "inferred";

/// A row.
struct Client<'a> {
    /// Its name as the kernel has it.
    comm: &'a str,
    /// The shell's words that fetch @URL and trust @CA; @OUT, @PORT, @FOLDER, @VENV and @PEERS are
    /// there too.
    command: &'a str,
    private: Private<'a>,
    /// How the beginning of the recorded file's name reads.
    lib: &'a str,
    addr: &'a str,
    proto: &'a str,
}

fn check_client(client: &Client<'_>) {
    let Some(live) = Live::start() else { return };
    // HTTP/2 where the client supports it.
    let nginx = Nginx::start_http2(&live);
    nginx.serve("page", &page());
    let command = words(&live, &nginx, client.command);
    for (way, times) in [(Way::Child, 1), (Way::SystemWide, 2)] {
        let recorded = record_client(&live, way, client.private, &command);
        check_fetch(&live, client, way, &nginx, &recorded, times);
    }
}

fn words(live: &Live, nginx: &Nginx, command: &str) -> String {
    let out = live.path("out");
    let words = [
        ("@URL", &*nginx.url("/page")),
        ("@CA", &nginx.ca()),
        ("@OUT", out.to_str().unwrap()),
        ("@PORT", &nginx.port().to_string()),
        ("@FOLDER", live.dir().to_str().unwrap()),
        ("@VENV", VENV),
        ("@PEERS", PEERS),
    ];
    fill(command, &words)
}

fn check_fetch(
    live: &Live,
    client: &Client<'_>,
    way: Way,
    nginx: &Nginx,
    recorded: &Recorded,
    times: usize,
) {
    let listing = list_one_connection(live, recorded);
    let comm = client.comm;
    let [exchange] = &listing.exchanges[..] else { panic!("{comm}: {:?}", listing.streams) };
    check_identity(exchange, "client", [comm, client.lib, client.addr], way);
    check_get(exchange, client.proto, comm);
    assert_eq!(exchange["sni"], "localhost", "{comm}");
    assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&page()), "{comm}");
    // nginx writes its log once the response is sent.
    let log = within(Duration::from_secs(5), || {
        Some(nginx.access_log()).filter(|log| log.len() >= times)
    });
    let log = log.expect("a line in nginx's log");
    let address = |text: &Value| text.as_str().unwrap().replace(':', ",");
    let line =
        format!("{},{} /page 200", address(&exchange["client"]), address(&exchange["server"]));
    assert_eq!(log[times - 1], line, "{comm} {way:?}");
}

/// A test for each client, so that a failure names it.
macro_rules! clients {
    ($($name:ident: $comm:literal, $command:expr, $private:expr, $lib:literal, $addr:ident, $proto:literal;)*) => {$(
        #[test]
        fn $name() {
            let (comm, command, private) = ($comm, $command, $private);
            check_client(&Client { comm, command, private, lib: $lib, addr: $addr, proto: $proto });
        }
    )*};
}

clients! {
    curl_of_openssl: "curl", "curl --http1.1 -sS --cacert @CA @URL -o @OUT",
        Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "http/1.1";
    curl_of_openssl_by_http2: "curl", "curl -sS --cacert @CA @URL -o @OUT",
        Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "h2";
    nghttp: "nghttp", "nghttp -n @URL", Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "h2";
    h2load: "h2load", "h2load -n 1 -c 1 @URL > @OUT",
        Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "h2";
    wget_of_gnutls: "wget", "wget -q --ca-certificate=@CA @URL -O @OUT",
        Libraries(&["libgnutls.so.30"]), "libgnutls.so", EXACT, "http/1.1";
    gnutls_cli: "gnutls-cli", "printf 'GET /page HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' | \
        gnutls-cli --x509cafile @CA -p @PORT localhost > @OUT; test -s @OUT",
        Libraries(&["libgnutls.so.30"]), "libgnutls.so", EXACT, "http/1.0";
    tstclnt_of_nss: "tstclnt", "rm -rf @FOLDER/db && mkdir @FOLDER/db && \
        certutil -N -d sql:@FOLDER/db --empty-password && \
        certutil -A -n ca -t CT,, -i @CA -d sql:@FOLDER/db && \
        printf 'GET /page HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' > @OUT.request && \
        tstclnt -h localhost -p @PORT -4 -d sql:@FOLDER/db < @OUT.request > @OUT; test -s @OUT",
        Libraries(&["libssl3.so", "libnspr4.so"]), "libssl3.so", EXACT, "http/1.0";
    requests_of_python: "python3", "/usr/bin/python3 -c \"import requests; \
        s = requests.Session(); s.trust_env = False; s.get('@URL', verify='@CA')\"",
        Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "http/1.1";
    aiohttp_of_python: "python3", "/usr/bin/python3 @PEERS/fetch_aiohttp.py @URL @CA > @OUT",
        Libraries(&["libssl.so.3"]), "libssl.so", INFERRED, "http/1.1";
    boringssl_in_a_wheel: "python3", "@VENV/bin/python3 @PEERS/fetch_curl_cffi.py @URL @CA > @OUT",
        Package("curl_cffi", "curl_cffi/_wrapper.abi3.so"), "_wrapper.abi3.so", EXACT, "h2";
    s2n_in_a_wheel: "python3", "@VENV/bin/python3 @PEERS/fetch_awscrt.py @URL @CA > @OUT",
        Package("_awscrt.abi3.so", "_awscrt.abi3.so"), "_awscrt.abi3.so", EXACT, "http/1.1";
    node_client: "node", "NODE_EXTRA_CA_CERTS=@CA node -e \"require('https').get('@URL', r => r.resume())\"",
        Program("node", "openssl"), "node", INFERRED, "http/1.1";
    ruby: "ruby", "ruby -r net/http -e \"u = URI('@URL'); h = Net::HTTP.new(u.host, u.port); \
        h.use_ssl = true; h.ca_file = '@CA'; h.get(u.path, 'Accept-Encoding' => 'identity')\"",
        Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "http/1.1";
    php: "php", "php -r \"file_get_contents('@URL', false, stream_context_create(['ssl' => \
        ['cafile' => '@CA']]));\"", Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "http/1.1";
    perl: "perl", "perl -MIO::Socket::SSL -e \"my \\$s = IO::Socket::SSL->new(\
        PeerAddr => 'localhost:@PORT', SSL_ca_file => '@CA') or die; \
        print \\$s qq(GET /page HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n); 1 while <\\$s>;\"",
        Libraries(&["libssl.so.3"]), "libssl.so", EXACT, "http/1.0";
    wolfssl: "wolfssl_client",
        &peer(&build("wolfssl_client", &["wolfssl_client.c"], &["-lwolfssl"])),
        Libraries(&["libwolfssl.so.35"]), "libwolfssl.so", EXACT, "http/1.0";
    mbedtls: "mbedtls_client",
        &peer(&build("mbedtls_client", &["mbedtls_client.c"],
            &["-lmbedtls", "-lmbedx509", "-lmbedcrypto"])),
        Libraries(&["libmbedtls.so.14"]), "libmbedtls.so", EXACT, "http/1.0";
}

/// The command of a program of `testdata/peers`.
fn peer(program: &str) -> String {
    format!("{program} @PORT localhost @CA /page > @OUT")
}

/// git fetches a repository of plain files, by the GnuTLS build of the curl library.
#[test]
fn git_of_gnutls() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start_http2(&live);
    let bare = live.path("nginx/root/repository.git");
    let make = "git init -q work && git -C work -c user.name=a -c user.email=a@b commit -q \
        --allow-empty -m first && git clone -q --bare work nginx/root/repository.git && \
        git -C nginx/root/repository.git update-server-info";
    live.succeed("sh", &["-c", &format!("cd {} && {make}", live.dir().display())]);
    // Before its configuration, git believes the environment.
    let clone = "rm -rf @OUT && GIT_SSL_CAINFO=@CA git clone -q https://localhost:@PORT/repository.git @OUT";
    let command = words(&live, &nginx, clone);
    for way in [Way::Child, Way::SystemWide] {
        let recorded = record_client(&live, way, Libraries(&["libgnutls.so.30"]), &command);
        let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
        assert_eq!(listing.summary["lost_bytes"], 0);
        assert_eq!(listing.summary["processes"], 1);
        for file in ["info/refs", "HEAD"] {
            let is_it = |e: &&Value| {
                let path = e["request"]["path"].as_str().unwrap();
                path.starts_with(&format!("/repository.git/{file}"))
                    && e["response"]["status"] == 200
            };
            let exchange = listing.exchanges.iter().find(is_it).expect(file);
            let row = ["git-remote-http", "libgnutls.so", EXACT];
            check_identity(exchange, "client", row, way);
            check_get(exchange, "h2", row[0]);
            let truth = fs::read(bare.join(file)).unwrap();
            assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&truth), "{file}");
        }
    }
}
