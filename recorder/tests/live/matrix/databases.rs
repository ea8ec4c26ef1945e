//! Protocols other than HTTP are listed as streams: redis and PostgreSQL, whose TLS begins in the
//! midst of a connection. Their protocols determine every byte, and their logs the addresses.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Private::Libraries;
use super::{Way, check_identity, list_one_connection, page, record_client, record_server};
use crate::listing::{bytes_of, sha256_of};
use crate::server::{certificate, free_port};
use crate::support::{Live, Recorded, read_lossy, sha256, within};

const OPENSSL: super::Private<'_> = Libraries(&["libssl.so.3"]);

/// A database in a test's folder.
trait Database {
    /// Makes the files of the server.
    fn new(live: &Live) -> Self;
    /// The command of the shell that becomes the server.
    fn server(&self, port: u16) -> String;
    /// The client that has the server return the page, on its standard output.
    fn client(&self, port: u16) -> String;
    /// The client's port in a line of the server's log.
    fn logged_port(line: &str) -> Option<&str>;
    /// Compares the bytes of both directions with the protocol.
    fn check(stream: &Value);
    const SERVER: &'static str;
    const CLIENT: &'static str;
}

fn check_stream<D: Database>(
    live: &Live,
    recorded: &Recorded,
    way: Way,
    role: &str,
    [client, server]: [&str; 2],
) {
    let listing = list_one_connection(live, recorded);
    let [stream] = &listing.streams[..] else { panic!("no stream: {:?}", listing.exchanges) };
    let comm = if role == "server" { D::SERVER } else { D::CLIENT };
    check_identity(stream, role, [comm, "libssl.so", "exact"], way);
    assert_eq!(stream["proto"], "stream");
    assert_eq!(stream["client"], client, "{comm} {way:?}");
    assert_eq!(stream["server"], server, "{comm} {way:?}");
    D::check(stream);
}

/// Client and server address of the only connection that a server's log has.
fn logged<D: Database>(log: &str, port: u16) -> [String; 2] {
    let ports: Vec<_> = log.lines().filter_map(D::logged_port).collect();
    let [client] = ports[..] else { panic!("{ports:?} in {log}") };
    [format!("127.0.0.1:{client}"), format!("127.0.0.1:{port}")]
}

/// The command of the shell that becomes the server, its port and its log, no two the same.
fn next_server<D: Database>(live: &Live, database: &D) -> (String, u16, PathBuf) {
    let port = free_port(Ipv4Addr::LOCALHOST.into());
    let log = live.path(&format!("log-{port}"));
    (format!("exec >{} 2>&1; {}", log.display(), database.server(port)), port, log)
}

fn check_server<D: Database>() {
    let Some(live) = Live::start() else { return };
    let database = D::new(&live);
    for way in [Way::Child, Way::Pid, Way::SystemWide] {
        let (command, port, log) = next_server(&live, &database);
        let ask = || {
            wait_until_it_is_ready(&log);
            live.succeed("sh", &["-c", &database.client(port)])
        };
        let (recorded, answer) = record_server(&live, way, OPENSSL, &(command, port), ask);
        assert_eq!(sha256(answer.trim_end().as_bytes()), sha256(&page()));
        let [client, server] = logged::<D>(&read_lossy(&log), port);
        check_stream::<D>(&live, &recorded, way, "server", [&client, &server]);
    }
}

fn check_client<D: Database>() {
    let Some(live) = Live::start() else { return };
    let database = D::new(&live);
    for way in [Way::Child, Way::SystemWide] {
        let (command, port, log) = next_server(&live, &database);
        let server = live.spawn(Command::new("sh").args(["-c", &command]));
        wait_until_it_is_ready(&log);
        let recorded = record_client(&live, way, OPENSSL, &database.client(port));
        let [client, address] = logged::<D>(&read_lossy(&log), port);
        check_stream::<D>(&live, &recorded, way, "client", [&client, &address]);
        server.end();
    }
}

/// Waits for the message of readiness of either; PostgreSQL listens before that.
fn wait_until_it_is_ready(log: &Path) {
    let said = || fs::read_to_string(log).unwrap_or_default();
    let ready = || said().contains("eady to accept connections").then_some(());
    assert!(within(Duration::from_secs(15), ready).is_some(), "{}", said());
}

struct Redis {
    folder: String,
}

impl Database for Redis {
    const SERVER: &'static str = "redis-server";
    const CLIENT: &'static str = "redis-cli";

    fn new(live: &Live) -> Self {
        certificate(live, live.dir());
        fs::write(live.path("page"), page()).unwrap();
        Self { folder: live.dir().to_str().unwrap().to_owned() }
    }

    fn server(&self, port: u16) -> String {
        format!(
            "cd {} && exec redis-server --port 0 --tls-port {port} --bind 127.0.0.1 --save '' \
             --loglevel verbose --tls-auth-clients no --tls-cert-file cert.pem \
             --tls-key-file key.pem --tls-ca-cert-file cert.pem",
            self.folder
        )
    }

    fn client(&self, port: u16) -> String {
        format!(
            "cd {} && redis-cli -h 127.0.0.1 -p {port} --tls --cacert cert.pem -x ECHO < page",
            self.folder
        )
    }

    fn logged_port(line: &str) -> Option<&str> {
        line.split_once("Accepted 127.0.0.1:").map(|(_, port)| port)
    }

    fn check(stream: &Value) {
        let page = String::from_utf8(page()).unwrap();
        let answer = format!("${}\r\n{page}\r\n", page.len());
        let request = format!("*2\r\n$4\r\nECHO\r\n{answer}");
        assert_eq!(sha256_of(stream, "client_data"), sha256(request.as_bytes()));
        assert_eq!(sha256_of(stream, "server_data"), sha256(answer.as_bytes()));
    }
}

#[test]
fn redis_server() {
    check_server::<Redis>();
}

#[test]
fn redis_cli() {
    check_client::<Redis>();
}

/// It does not run as root, so a user of its own has the folder.
struct PostgreSql {
    programs: PathBuf,
    folder: String,
}

const AS_POSTGRES: &str = "setpriv --reuid postgres --regid postgres --init-groups";

impl Database for PostgreSql {
    const SERVER: &'static str = "postgres";
    const CLIENT: &'static str = "psql";

    fn new(live: &Live) -> Self {
        let versions = fs::read_dir("/usr/lib/postgresql").expect("packaging/install-deps.sh test");
        let programs = versions.map(|version| version.unwrap().path().join("bin"));
        let programs = programs.max().expect("a version of PostgreSQL");
        let folder = live.path("postgresql");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(live.dir(), PermissionsExt::from_mode(0o711)).unwrap();
        certificate(live, &folder);
        fs::write(folder.join("query"), query()).unwrap();
        let folder = folder.to_str().unwrap().to_owned();
        let make = format!(
            "cd {folder} && chmod 600 key.pem && chown -R postgres . && \
             {AS_POSTGRES} {}/initdb -N -D data -U postgres -A trust --locale=C",
            programs.display()
        );
        live.succeed("sh", &["-c", &make]);
        Self { programs, folder }
    }

    fn server(&self, port: u16) -> String {
        format!(
            "cd {folder} && exec {AS_POSTGRES} {}/postgres -D data -p {port} -h 127.0.0.1 \
             -c unix_socket_directories= -c fsync=off -c log_connections=on -c ssl=on \
             -c ssl_cert_file={folder}/cert.pem -c ssl_key_file={folder}/key.pem",
            self.programs.display(),
            folder = self.folder,
        )
    }

    fn client(&self, port: u16) -> String {
        format!(
            "cd {} && {}/psql -X -A -t -c \"$(cat query)\" 'host=localhost hostaddr=127.0.0.1 \
             port={port} user=postgres dbname=postgres sslmode=verify-full sslrootcert=cert.pem'",
            self.folder,
            self.programs.display(),
        )
    }

    fn logged_port(line: &str) -> Option<&str> {
        let (_, address) = line.split_once("connection received: host=127.0.0.1 port=")?;
        Some(address)
    }

    /// Messages are a type, but for the first, and a length that counts itself.
    fn check(stream: &Value) {
        let startup = b"\0\x03\0\0user\0postgres\0database\0postgres\0application_name\0psql\0\0";
        let message = |kind: &[u8], content: &[u8]| {
            [kind, &(content.len() as u32 + 4).to_be_bytes(), content].concat()
        };
        let query = message(b"Q", format!("{}\0", query()).as_bytes());
        let sent = [message(b"", startup), query, message(b"X", b"")].concat();
        assert_eq!(sha256_of(stream, "client_data"), sha256(&sent));

        let received = bytes_of(stream, "server_data");
        let (mut rest, mut rows, mut last) = (&received[..], Vec::new(), 0);
        while let [kind, length @ ..] = rest {
            let (length, _) = length.split_first_chunk::<4>().expect("a length");
            let end = 1 + u32::from_be_bytes(*length) as usize;
            if *kind == b'D' {
                rows.push(&rest[5..end]);
            }
            (rest, last) = (&rest[end..], *kind);
        }
        assert_eq!(last, b'Z', "ready for the next query");
        let page = page();
        let column = [&1u16.to_be_bytes()[..], &(page.len() as u32).to_be_bytes(), &page].concat();
        assert_eq!(rows.len(), 1);
        assert_eq!(sha256(rows[0]), sha256(&column));
    }
}

fn query() -> String {
    format!("select '{}'", String::from_utf8(page()).unwrap())
}

#[test]
fn postgresql_server() {
    check_server::<PostgreSql>();
}

#[test]
fn psql() {
    check_client::<PostgreSql>();
}
