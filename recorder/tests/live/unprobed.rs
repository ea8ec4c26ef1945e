//! Programs whose TLS no probe records: each connection is named at the end, with the server, the
//! number of connections and the right reason, alone and beside connections that are recorded.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::assert_truth::assert_both_ends;
use crate::browser::tools;
use crate::peers::{tls_cases, tls_cases_static, tls_cases_stripped, truth};
use crate::server::{Nginx, certificate, free_port};
use crate::support::{Live, Recorded, SSLREC, read_lossy, sslanalyze, within};

/// The exit status if TLS was seen and not recorded.
pub(crate) const MISSED: i32 = 5;

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/peers");

/// The connections of a capture that were not recorded, as `sslanalyze` lists them.
pub(crate) fn missed(live: &Live, recorded: &Recorded) -> Vec<Value> {
    let output = live.run(Command::new(sslanalyze()).arg("--json").arg(&recorded.raw));
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "missed").collect()
}

/// Records a client of nginx by name, and expects the connections to it to be named with this
/// reason. The command is a line of the shell, with `PORT` and `FOLDER` in it.
#[track_caller]
fn client(comm: &str, line: &str, server_name: Option<&str>, reason: &str) {
    let Some(live) = Live::start() else { return };
    let Some(tools) = tools() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("index.html", b"hello");
    let port = nginx.port().to_string();
    let line = line
        .replace("PORT", &port)
        .replace("FOLDER", live.dir().to_str().unwrap())
        .replace("TOOLS", tools.to_str().unwrap());
    let recorded = live.record(&["--fail-on-missed"], &["sh", "-c", &line]);
    let stderr = &recorded.output.stderr;
    assert_eq!(recorded.code(), MISSED, "{stderr}\n{}", recorded.output.stdout);
    let missed = missed(&live, &recorded);
    assert!(!missed.is_empty());
    for connection in &missed {
        assert_eq!(connection["comm"], comm, "{connection}");
        assert_eq!(connection["server"], format!("127.0.0.1:{port}"), "{connection}");
        assert_eq!(connection["sni"].as_str(), server_name, "{connection}");
        assert_eq!(connection["reason"], reason, "{connection}");
        assert_eq!(connection["role"], "client", "{connection}");
    }
    let count = missed.len();
    let s = if count == 1 { "" } else { "s" };
    let place = server_name.unwrap_or("127.0.0.1");
    let expected = format!(
        "{comm}[{}]: {count} TLS connection{s} to {place}:{port} not recorded: {reason}\n",
        missed[0]["pid"]
    );
    assert!(stderr.contains(&expected), "{expected}{stderr}");
    // As many as the server saw, and nothing else.
    assert_eq!(stderr.matches("not recorded").count(), 1, "{stderr}");
}

#[test]
fn uv() {
    let line = "TOOLS/venv/bin/uv pip install --dry-run --no-cache --allow-insecure-host \
                localhost:PORT --index-url https://localhost:PORT/simple foo \
                --python TOOLS/venv/bin/python; true";
    client("uv", line, Some("localhost"), "rustls (no functions to probe)");
}

#[test]
fn deno() {
    let line = "export DENO_DIR=FOLDER/deno; TOOLS/node_modules/@deno/linux-x64-glibc/deno eval \
                --unsafely-ignore-certificate-errors \
                'await (await fetch(\"https://localhost:PORT/\")).text()'";
    let reason = "rustls (no functions to probe); SSLKEYLOGFILE gives its keys";
    client("deno", line, Some("localhost"), reason);
}

#[test]
fn erlang() {
    let line = "erl -noshell -eval 'ssl:start(), {ok, S} = ssl:connect(\"127.0.0.1\", PORT, \
                [{verify, verify_none}, {server_name_indication, \"name.example\"}, \
                {active, false}]), ok = ssl:send(S, \"GET / HTTP/1.0\\r\\n\\r\\n\"), \
                {ok, _} = ssl:recv(S, 0, 5000), halt().'";
    let reason = "ssl of Erlang (in Erlang); its option {keep_secrets, true} gives its keys";
    client("beam.smp", line, Some("name.example"), reason);
}

#[test]
fn java() {
    let line = "echo 127.0.0.1 name.example > FOLDER/hosts; \
                keytool -J-Djdk.net.hosts.file=FOLDER/hosts -printcert -sslserver \
                name.example:PORT >&2";
    let reason = "JSSE (the TLS of Java, in Java); the agent jSSLKeyLog gives its keys";
    client("keytool", line, Some("name.example"), reason);
}

#[test]
fn chromium() {
    let line = "chromium --headless --no-sandbox --user-data-dir=FOLDER/chromium \
                --ignore-certificate-errors --host-resolver-rules='MAP name.example 127.0.0.1' \
                --dump-dom https://name.example:PORT/ 2> /dev/null";
    let reason = "BoringSSL without symbols; SSLKEYLOGFILE gives its keys";
    client("chromium", line, Some("name.example"), reason);
}

#[test]
fn a_shared_object_of_go_with_another_tls_than_its_own() {
    let line = format!("TOOLS/venv/bin/python {PEERS}/fetch_tls_client.py https://localhost:PORT/");
    let file = "tls-client-linux-ubuntu-amd64.so";
    let reason = format!("uTLS of Go (not crypto/tls) in {file}; SSLKEYLOGFILE gives its keys");
    client("python", &line, Some("localhost"), &reason);
}

/// gRPC brings its own BoringSSL into a process that uses Python's OpenSSL, too.
#[test]
fn grpc_alone_and_beside_a_library_that_is_recorded() {
    let Some(live) = Live::start() else { return };
    let Some(tools) = tools() else { return };
    let nginx = Nginx::start(&live);
    nginx.serve("index.html", b"hello");
    let folder = Path::new(&nginx.ca()).parent().unwrap().to_str().unwrap().to_owned();
    let python = tools.join("venv/bin/python").to_str().unwrap().to_owned();
    let script = format!("{PEERS}/grpc_both_ends.py");
    for url in [None, Some(nginx.url("/index.html"))] {
        let command = [python.clone(), script.clone(), folder.clone()];
        let command: Vec<_> = command.into_iter().chain(url.clone()).collect();
        let recorded = live.record(&["--fail-on-missed"], &command);
        let (stdout, stderr) = (&recorded.output.stdout, &recorded.output.stderr);
        assert_eq!(recorded.code(), MISSED, "{stderr}");
        let port = stdout.trim();
        let missed = missed(&live, &recorded);
        let mut roles: Vec<_> = missed.iter().map(|of| of["role"].as_str().unwrap()).collect();
        roles.sort_unstable();
        assert_eq!(roles, ["client", "server"], "{missed:?}");
        for connection in &missed {
            assert_eq!(connection["sni"], "localhost");
            let reason = connection["reason"].as_str().unwrap();
            assert!(reason.starts_with("BoringSSL without symbols in cygrpc."), "{reason}");
            assert!(!reason.contains("SSLKEYLOGFILE"), "{reason}");
        }
        let line = format!("2 TLS connections at port {port}, to localhost:{port} not recorded: ");
        assert!(stderr.contains(&line), "{stderr}");
        let calls = if url.is_some() { "1 connection, " } else { "0 connections, " };
        assert!(stderr.contains(calls), "{stderr}");
    }
}

#[test]
fn the_doctor_lists_servers_by_what_is_in_them() {
    let Some(live) = Live::start() else { return };
    let Some(tools) = tools() else { return };
    certificate(&live, live.dir());
    let mut python = Command::new(tools.join("venv/bin/python"));
    let script = format!("{PEERS}/grpc_both_ends.py");
    // It has Python's libssl, which could be recorded, and does not use it.
    let server = live.spawn(python.arg(script).arg(live.dir()).arg("wait"));
    let port = within(Duration::from_secs(20), || {
        let said = read_lossy(&server.stdout);
        said.ends_with('\n').then(|| said.trim().to_owned())
    });
    let port = port.unwrap_or_else(|| panic!("{}", read_lossy(&server.stderr)));
    let said = live.succeed(SSLREC, &["doctor"]);
    let line = said.lines().find(|line| line.trim_start().starts_with(&server.pid().to_string()));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("not recorded: BoringSSL without symbols in cygrpc."), "{line}");
    assert!(line.contains("libssl.so.3, ") && line.contains("listens on"), "{line}");
    assert!(line.contains(&port), "{line}");
}

/// Servers whose parents listen, and whose children have the connections.
#[test]
fn a_parent_that_only_listens_is_not_reported() {
    let Some(live) = Live::start() else { return };
    certificate(&live, live.dir());
    let folder = live.dir().display();
    let port = free_port(Ipv4Addr::LOCALHOST.into());
    fs::write(live.path("apache.conf"), apache(live.dir(), port)).unwrap();
    let apache = format!("apache2 -DFOREGROUND -f {folder}/apache.conf");
    let dovecot_port = free_port(Ipv4Addr::LOCALHOST.into());
    fs::write(live.path("dovecot.conf"), dovecot(live.dir(), dovecot_port)).unwrap();
    let dovecot = format!("dovecot -F -c {folder}/dovecot.conf");
    for (server, port) in [(apache, port), (dovecot, dovecot_port)] {
        // A client that waits for the server, and is recorded too.
        let script = format!(
            "{server} & server=$!; \
             for n in $(seq 100); do sleep 0.1; \
             (sleep 0.5; printf 'a LOGOUT\\r\\n\\r\\n'; sleep 0.5) | \
             timeout 5 openssl s_client -connect 127.0.0.1:{port} -quiet > {folder}/out 2>&1; \
             [ -s {folder}/out ] && ! grep -q refused {folder}/out && break; done; \
             kill $server; wait $server"
        );
        let recorded = live.record(&["--fail-on-missed"], &["sh", "-c", &script]);
        let stderr = &recorded.output.stderr;
        assert_eq!(recorded.code(), 0, "{server}: {stderr}");
        assert!(!stderr.contains("not recorded"), "{server}: {stderr}");
        assert!(!stderr.contains("nothing recorded"), "{server}: {stderr}");
        assert!(missed(&live, &recorded).is_empty());
        assert!(stderr.contains("2 processes, 2 connections, "), "{server}: {stderr}");
    }
}

fn apache(folder: &Path, port: u16) -> String {
    let modules = ["mpm_event", "authz_core", "ssl"]
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"));
    let folder = folder.display();
    format!(
        "{}ServerRoot {folder}\nPidFile {folder}/pid\nListen 127.0.0.1:{port}\n\
         ServerName localhost\nErrorLog {folder}/error.log\nUser www-data\nGroup www-data\n\
         SSLEngine on\nSSLCertificateFile {folder}/cert.pem\n\
         SSLCertificateKeyFile {folder}/key.pem\n",
        modules.concat()
    )
}

fn dovecot(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "base_dir = {folder}/run\nstate_dir = {folder}/state\nprotocols = imap\n\
         listen = 127.0.0.1\nlog_path = {folder}/log\nssl = required\n\
         ssl_cert = <{folder}/cert.pem\nssl_key = <{folder}/key.pem\n\
         passdb {{\n driver = static\n args = password=x\n}}\n\
         userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={folder}/home\n}}\n\
         service imap-login {{\n inet_listener imap {{\n port = 0\n }}\n\
         inet_listener imaps {{\n port = {port}\n ssl = yes\n }}\n}}\n"
    )
}

/// Splits the symbols of a program off, and returns the folder that has them in the layout of
/// debuginfod's cache.
fn symbols_of(live: &Live, program: &str) -> PathBuf {
    let notes = live.succeed("readelf", &["--notes", program]);
    let id = notes.split("Build ID: ").nth(1).unwrap().split_whitespace().next().unwrap();
    let cache = PathBuf::from(program).with_extension("symbols");
    let folder = cache.join(id);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("debuginfo");
    live.succeed("objcopy", &["--only-keep-debug", program, file.to_str().unwrap()]);
    cache
}

#[test]
fn a_stripped_program_is_recorded_by_the_symbols_of_its_build() {
    let Some(live) = Live::start() else { return };
    let program = tls_cases_static();
    let stripped = format!("{program}_without_symbols");
    live.succeed("strip", &["-o", &stripped, &program]);
    let cache = symbols_of(&live, &program);
    let record = |cache: &Path| {
        let (files, mut sslrec) = live.sslrec(&["--fail-on-missed"]);
        sslrec.env("DEBUGINFOD_CACHE_PATH", cache).args(["--", &stripped, "exchange"]);
        files.finish(live.run(&mut sslrec))
    };
    let without = record(live.dir());
    assert_eq!(without.code(), MISSED, "{}", without.output.stderr);
    assert!(without.output.stderr.contains("OpenSSL without symbols"), "{}", without.output.stderr);
    let with = record(&cache).succeeded();
    assert_both_ends(&live, &with, &truth(&with.output.stdout).unwrap());
}

/// A symbol of a stranger would place a breakpoint anywhere.
#[test]
fn symbols_of_strangers_are_not_used() {
    let Some(live) = Live::start() else { return };
    let program = tls_cases_static();
    let stripped = format!("{program}_without_symbols");
    live.succeed("strip", &["-o", &stripped, &program]);
    let cache = symbols_of(&live, &program);
    let theirs = live.path("theirs");
    live.succeed("cp", &["-r", cache.to_str().unwrap(), theirs.to_str().unwrap()]);
    live.succeed("chown", &["-R", "65534", theirs.to_str().unwrap()]);
    let (files, mut sslrec) = live.sslrec(&["--fail-on-missed"]);
    sslrec.env("DEBUGINFOD_CACHE_PATH", &theirs).args(["--", &stripped, "exchange"]);
    assert_eq!(files.finish(live.run(&mut sslrec)).code(), MISSED);
}

#[test]
fn a_static_library_without_symbols_beside_the_systems() {
    let Some(live) = Live::start() else { return };
    let both = format!("{} exchange && {} exchange", tls_cases(), tls_cases_stripped());
    let recorded = live.record(&["--fail-on-missed"], &["sh", "-c", &both]);
    let stderr = &recorded.output.stderr;
    assert_eq!(recorded.code(), MISSED, "{stderr}");
    let reasons: Vec<_> =
        missed(&live, &recorded).iter().map(|of| of["reason"].to_string()).collect();
    assert_eq!(reasons, ["\"OpenSSL without symbols\""; 2], "{stderr}");
}
