//! One row a program: what each client and server of a TLS library sends and receives is recorded
//! whole, in the right direction, from the right process, with the address that the server saw, and
//! nothing besides.
//!
//! Clients fetch a page from nginx, whose access log is the truth about addresses, in child mode and
//! system-wide with a private copy of their library. Servers run before the recording begins, which
//! is by `-p`, and are asked by curl.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::listing::sha256_of;
use crate::peers::build;
use crate::server::Nginx;
use crate::support::{Live, Recorded, sha256, system_library, within};

const SIGINT: i32 = 2;

/// Not a multiple of what one TLS record, chunk or read holds.
const PAGE_LEN: usize = 70_001;

fn page() -> Vec<u8> {
    (0..PAGE_LEN as u32).map(|i| (i * 7 / 3) as u8).collect()
}

/// A client's row.
struct Client<'a> {
    /// The shell's words that fetch @URL and trust @CA; @OUT, @PORT and @FOLDER are there too.
    command: &'a str,
    /// Its name as the kernel has it.
    comm: &'a str,
    /// The libraries, by the beginning of their names, of which a private copy is recorded.
    libraries: &'a [&'a str],
    /// How the beginning of the recorded file's name reads.
    lib: &'a str,
}

/// Records it in child mode, and then system-wide with probes on a copy of its library only.
fn check_client(client: &Client<'_>) {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("page", &page());
    let command = client
        .command
        .replace("@URL", &nginx.url("/page"))
        .replace("@CA", &nginx.ca())
        .replace("@OUT", live.path("out").to_str().unwrap())
        .replace("@PORT", &nginx.port().to_string())
        .replace("@FOLDER", live.dir().to_str().unwrap());

    let recorded = live.record(&[], &["sh", "-c", &command]).succeeded();
    check_fetch(&live, client, &nginx, &recorded, 1);

    if client.libraries.is_empty() {
        return;
    }
    let (folder, libs) = private_copies(&live, client.libraries);
    let options: Vec<_> = libs.iter().flat_map(|lib| ["--lib", lib]).collect();
    let running = live.attach(&options);
    let mut shell = Command::new("sh");
    let output = live.run(shell.args(["-c", &command]).env("LD_LIBRARY_PATH", &folder));
    assert_eq!(output.code(), 0, "{command}: {}", output.stderr);
    let recorded = running.stop(SIGINT).succeeded();
    check_fetch(&live, client, &nginx, &recorded, 2);
}

/// Copies of libraries in a folder for `LD_LIBRARY_PATH`, and their paths.
fn private_copies(live: &Live, names: &[&str]) -> (PathBuf, Vec<String>) {
    let folder = live.path("copies");
    fs::create_dir_all(&folder).unwrap();
    let copy = |name: &&str| {
        let library = system_library(name);
        let copy = folder.join(library.file_name().unwrap());
        fs::copy(library, &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    };
    let copies = names.iter().map(copy).collect();
    (folder, copies)
}

fn check_fetch(live: &Live, client: &Client<'_>, nginx: &Nginx, recorded: &Recorded, times: usize) {
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    let said = &recorded.output.stderr;
    let [exchange] = &listing.exchanges[..] else {
        panic!("{}: {} exchanges: {said}", client.comm, listing.exchanges.len());
    };
    assert_eq!(listing.summary["connections"], 1, "nothing of any file or other program");
    assert_eq!(listing.summary["lost_bytes"], 0);
    check_exchange(exchange, "client", client.comm, client.lib);
    assert_eq!(exchange["sni"], "localhost", "{}", client.comm);
    assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&page()), "{}", client.comm);
    // nginx writes its log once the response is sent.
    let log = within(Duration::from_secs(5), || {
        Some(nginx.access_log()).filter(|log| log.len() >= times)
    });
    let log = log.expect("a line in nginx's log");
    let address = |text: &Value| text.as_str().unwrap().replace(':', ",");
    let line =
        format!("{},{} /page 200", address(&exchange["client"]), address(&exchange["server"]));
    assert_eq!(log[times - 1], line, "{}", client.comm);
}

fn check_exchange(exchange: &Value, role: &str, comm: &str, lib: &str) {
    assert_eq!(exchange["comm"], comm);
    assert_eq!(exchange["role"], role, "{comm}");
    // Node does its own socket I/O.
    assert_eq!(exchange["addr"], if comm == "node" { "inferred" } else { "exact" }, "{comm}");
    assert_eq!(exchange["complete"], true, "{comm}: {}", exchange["notes"]);
    let name = exchange["lib"].as_str().unwrap_or_default();
    assert!(name.starts_with(lib), "{comm}: {name}");
    assert_eq!(exchange["request"]["method"], "GET", "{comm}");
    assert_eq!(exchange["response"]["status"], 200, "{comm}");
}

/// One test for each client, so that a failure names it.
macro_rules! clients {
    ($($name:ident: $command:literal, $comm:literal, [$($library:literal),*], $lib:literal;)*) => {$(
        #[test]
        fn $name() {
            let (command, comm, lib) = ($command, $comm, $lib);
            check_client(&Client { command, comm, libraries: &[$($library),*], lib });
        }
    )*};
}

clients! {
    curl_of_openssl: "curl --http1.1 -sS --cacert @CA @URL -o @OUT", "curl",
        ["libssl.so.3"], "libssl.so";
    wget_of_gnutls: "wget -q --ca-certificate=@CA @URL -O @OUT", "wget",
        ["libgnutls.so.30"], "libgnutls.so";
    gnutls_cli: "printf 'GET /page HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' | \
        gnutls-cli --x509cafile @CA -p @PORT localhost > @OUT; test -s @OUT", "gnutls-cli",
        ["libgnutls.so.30"], "libgnutls.so";
    tstclnt_of_nss: "rm -rf @FOLDER/db && mkdir @FOLDER/db && certutil -N -d sql:@FOLDER/db --empty-password && \
        certutil -A -n ca -t CT,, -i @CA -d sql:@FOLDER/db && \
        printf 'GET /page HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' > @OUT.request && \
        tstclnt -h localhost -p @PORT -4 -d sql:@FOLDER/db < @OUT.request > @OUT; test -s @OUT", "tstclnt",
        ["libssl3.so", "libnspr4.so"], "libssl3.so";
    requests_of_python: "/usr/bin/python3 -c \"import requests; s = requests.Session(); \
        s.trust_env = False; s.get('@URL', verify='@CA')\"", "python3",
        ["libssl.so.3"], "libssl.so";
    node_client: "NODE_EXTRA_CA_CERTS=@CA node -e \"require('https').get('@URL', r => r.resume())\"",
        "node", [], "node";
    ruby: "ruby -r net/http -e \"u = URI('@URL'); h = Net::HTTP.new(u.host, u.port); \
        h.use_ssl = true; h.ca_file = '@CA'; h.get(u.path, 'Accept-Encoding' => 'identity')\"", "ruby",
        ["libssl.so.3"], "libssl.so";
    php: "php -r \"file_get_contents('@URL', false, stream_context_create(['ssl' => \
        ['cafile' => '@CA']]));\"", "php", ["libssl.so.3"], "libssl.so";
    perl: "perl -MIO::Socket::SSL -e \"my \\$s = IO::Socket::SSL->new(PeerAddr => 'localhost:@PORT', \
        SSL_ca_file => '@CA') or die; print \\$s qq(GET /page HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n); \
        1 while <\\$s>;\"", "perl", ["libssl.so.3"], "libssl.so";
}

#[test]
fn client_of_wolfssl() {
    let program = build("wolfssl_client", &["wolfssl_client.c"], &["-lwolfssl"]);
    check_peer(&program, &["libwolfssl.so.35"], "libwolfssl.so");
}

#[test]
fn client_of_mbedtls() {
    let libraries = ["-lmbedtls", "-lmbedx509", "-lmbedcrypto"];
    let program = build("mbedtls_client", &["mbedtls_client.c"], &libraries);
    check_peer(&program, &["libmbedtls.so.14"], "libmbedtls.so");
}

/// A program of `testdata/peers` with these libraries.
fn check_peer(program: &str, libraries: &'static [&'static str], lib: &'static str) {
    let command = format!("{program} @PORT localhost @CA /page > @OUT");
    let (_, comm) = program.rsplit_once('/').unwrap();
    check_client(&Client { command: &command, comm, libraries, lib });
}

/// What git fetches of a repository that is plain files, by the library that curl has for GnuTLS.
#[test]
fn git_of_gnutls() {
    let Some(live) = Live::start() else { return };
    let nginx = Nginx::start(&live);
    let (work, bare) = (live.path("work"), live.path("nginx/root/repository.git"));
    let script = format!(
        "git init -q {work} && cd {work} && git -c user.name=a -c user.email=a@b commit -q \
         --allow-empty -m first && git clone -q --bare {work} {bare} && cd {bare} && \
         git update-server-info",
        work = work.display(),
        bare = bare.display()
    );
    live.succeed("sh", &["-c", &script]);
    let url = nginx.url("/repository.git");
    let clone = live.path("clone");
    // Before its configuration, git believes the environment.
    let certificate = format!("GIT_SSL_CAINFO={}", nginx.ca());
    let command = ["env", &certificate, "git", "clone", "-q", &url, clone.to_str().unwrap()];
    let recorded = live.record(&[], &command).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    let fetched = |path: &str| {
        listing.exchanges.iter().find(|e| {
            e["request"]["path"].as_str().unwrap().starts_with(path)
                && e["response"]["status"] == 200
        })
    };
    for file in ["/info/refs", "/HEAD"] {
        let exchange = fetched(&format!("/repository.git{file}")).expect(file);
        check_exchange(exchange, "client", "git-remote-http", "libgnutls.so");
        let truth = fs::read(bare.join(&file[1..])).unwrap();
        assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&truth), "{file}");
    }
    assert_eq!(listing.summary["lost_bytes"], 0);
}

/// Starts a server, records it by `-p`, and asks it with curl for what it gives under `/`.
fn check_server(live: &Live, server: &mut Command, port: u16, comm: &str, lib: &str) -> Value {
    let started = live.spawn(server);
    let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    assert!(within(Duration::from_secs(10), answers).is_some(), "{comm} does not listen");
    let running = live.attach(&["-p", &started.pid().to_string()]);
    let url = format!("https://localhost:{port}/page");
    let ca = live.path("cert.pem");
    let out = live.path("answer");
    let curl = ["-sS", "--max-time", "20", "--http1.1", "--cacert", ca.to_str().unwrap(), &url];
    let format = ["-w", "127.0.0.1:%{local_port}", "-o", out.to_str().unwrap()];
    let client = live.succeed("curl", &[&curl[..], &format[..]].concat());
    let recorded = running.stop(SIGINT).succeeded();
    let mut listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(listing.exchanges.len(), 1, "{comm}: {}", recorded.output.stderr);
    assert_eq!(listing.summary["connections"], 1, "nothing but the connection");
    assert_eq!(listing.summary["lost_bytes"], 0);
    let exchange = listing.exchanges.remove(0);
    check_exchange(&exchange, "server", comm, lib);
    assert_eq!(exchange["client"], *client, "{comm}");
    assert_eq!(exchange["server"], format!("127.0.0.1:{port}"), "{comm}");
    let received = fs::read(out).unwrap();
    assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&received), "{comm}");
    exchange
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A certificate in the test's folder, and what a server's row begins with.
fn certified(live: &Live, folder: &Path) -> (String, String) {
    crate::server::certificate(live, folder);
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    (file("cert.pem"), file("key.pem"))
}

#[test]
fn gnutls_serv() {
    let Some(live) = Live::start() else { return };
    let (cert, key) = certified(&live, live.dir());
    let port = free_port();
    let mut server = Command::new("gnutls-serv");
    server.args(["--http", "-q", "--x509certfile", &cert, "--x509keyfile", &key]);
    server.args(["--priority", "NORMAL", "-p", &port.to_string()]);
    check_server(&live, &mut server, port, "gnutls-serv", "libgnutls.so");
}

/// It was there before the recording, and so was its listening descriptor: that what it accepts is
/// TLS was not to be seen. Its databases are files that NSPR reads, and no TLS.
#[test]
fn selfserv_of_nss() {
    let Some(live) = Live::start() else { return };
    let (cert, key) = certified(&live, live.dir());
    let port = free_port();
    let db = format!("sql:{}", live.dir().display());
    let bundle = live.path("bundle.p12").to_str().unwrap().to_owned();
    let export = ["pkcs12", "-export", "-in", &cert, "-inkey", &key, "-out", &bundle];
    live.succeed("openssl", &[&export[..], &["-passout", "pass:", "-name", "localhost"]].concat());
    live.succeed("certutil", &["-N", "-d", &db, "--empty-password"]);
    live.succeed("pk12util", &["-i", &bundle, "-d", &db, "-W", ""]);
    let mut server = Command::new("selfserv");
    server.args(["-d", &db, "-n", "localhost", "-p", &port.to_string()]);
    check_server(&live, &mut server, port, "selfserv", "libnspr4.so");
}

#[test]
fn node_server() {
    let Some(live) = Live::start() else { return };
    let (cert, key) = certified(&live, live.dir());
    let port = free_port();
    let script = format!(
        "const fs = require('fs'); require('https').createServer({{key: fs.readFileSync('{key}'), \
         cert: fs.readFileSync('{cert}')}}, (q, r) => r.end('x'.repeat({PAGE_LEN}))) \
         .listen({port}, '127.0.0.1')"
    );
    let mut server = Command::new("node");
    let exchange = check_server(&live, server.args(["-e", &script]), port, "node", "node");
    assert_eq!(exchange["response"]["body_bytes"], PAGE_LEN);
}
