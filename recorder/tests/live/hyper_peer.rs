//! hyper's client and server over TLS, HTTP/1.1 and HTTP/2: many requests at once, with bodies both
//! ways. tshark finds the same exchanges in the same files.
//!
//! The peer is this test binary again, started with an environment variable.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslConnector, SslFiletype, SslMethod};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::listing::sha256_of;
use crate::oracle::assert_same_heads;
use crate::server::certificate;
use crate::support::{Live, sha256};

const FOLDER: &str = "SSLREC_TEST_HYPER_PEER";
const PROTOCOL: &str = "SSLREC_TEST_HYPER_PROTOCOL";

/// Requests of a connection.
const REQUESTS: usize = 30;

/// As a list of ALPN, RFC 7301 section 3.1.
fn alpn(http2: bool) -> &'static [u8] {
    if http2 { b"\x02h2" } else { b"\x08http/1.1" }
}

fn body(number: usize) -> Vec<u8> {
    (0..number * 1000).map(|at| (at * 7 + number) as u8).collect()
}

/// Answers each request with its content, twice.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = if request.uri().path().ends_with('7') { 404 } else { 200 };
    let sent = request.into_body().collect().await.unwrap().to_bytes();
    let body = Full::from([&sent[..], &sent].concat());
    Ok(Response::builder().status(status).header("server", "hyper-peer").body(body).unwrap())
}

async fn serve(listener: TcpListener, folder: PathBuf, http2: bool) {
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(folder.join("cert.pem")).unwrap();
    acceptor.set_private_key_file(folder.join("key.pem"), SslFiletype::PEM).unwrap();
    acceptor.set_alpn_select_callback(move |_, offered| {
        openssl::ssl::select_next_proto(alpn(http2), offered).ok_or(AlpnError::NOACK)
    });
    let (socket, _) = listener.accept().await.unwrap();
    let ssl = Ssl::new(acceptor.build().context()).unwrap();
    let mut stream = SslStream::new(ssl, socket).unwrap();
    Pin::new(&mut stream).accept().await.unwrap();
    let (io, service) = (TokioIo::new(stream), service_fn(echo));
    if http2 {
        let builder = server::conn::http2::Builder::new(TokioExecutor::new());
        builder.serve_connection(io, service).await.unwrap();
    } else {
        server::conn::http1::Builder::new().serve_connection(io, service).await.unwrap();
    }
}

async fn connect(address: SocketAddr, folder: PathBuf, http2: bool) -> SslStream<TcpStream> {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_ca_file(folder.join("cert.pem")).unwrap();
    connector.set_alpn_protos(alpn(http2)).unwrap();
    let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    let mut stream = SslStream::new(ssl, TcpStream::connect(address).await.unwrap()).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    stream
}

fn request(number: usize, http2: bool) -> Request<Full<Bytes>> {
    let origin = if http2 { "https://localhost" } else { "" };
    let method = if number == 0 { "GET" } else { "POST" };
    let request = Request::builder().method(method).uri(format!("{origin}/echo/{number}"));
    let request = if http2 { request } else { request.header("host", "localhost") };
    request.header("x-number", number).body(Full::from(body(number))).unwrap()
}

async fn check(number: usize, response: Response<Incoming>) {
    let got = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(got, [body(number), body(number)].concat());
}

async fn talk(stream: SslStream<TcpStream>, http2: bool) {
    let io = TokioIo::new(stream);
    if http2 {
        let (sender, connection) =
            client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let connection = tokio::spawn(connection);
        let tasks: Vec<_> = (0..REQUESTS)
            .map(|number| {
                let mut sender = sender.clone();
                tokio::spawn(async move {
                    check(number, sender.send_request(request(number, true)).await.unwrap()).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    } else {
        let (mut sender, connection) = client::conn::http1::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        for number in 0..REQUESTS {
            check(number, sender.send_request(request(number, false)).await.unwrap()).await;
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    }
}

/// Not a test of its own: the program that is recorded, if the environment requests it.
#[test]
fn peer_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let http2 = std::env::var_os(PROTOCOL).is_some_and(|name| name == "h2");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, folder.clone(), http2));
        talk(connect(address, folder, http2).await, http2).await;
        server.await.unwrap();
    });
}

fn record(http2: bool) {
    let Some(live) = Live::start() else { return };
    let folder = live.path("hyper");
    std::fs::create_dir(&folder).unwrap();
    certificate(&live, &folder);
    let (files, mut sslrec) = live.sslrec(&[]);
    let peer: &mut Command = sslrec.arg("--").arg(std::env::current_exe().unwrap());
    peer.args(["--exact", "hyper_peer::peer_process", "--nocapture"]).env(FOLDER, &folder);
    peer.env(PROTOCOL, if http2 { "h2" } else { "http/1.1" });
    let recorded = files.finish(live.run(peer)).succeeded();

    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(listing.exchanges.len(), REQUESTS, "each once, though both ends were recorded");
    for exchange in &listing.exchanges {
        assert_eq!(exchange["proto"], if http2 { "h2" } else { "http/1.1" });
        assert_eq!(exchange["complete"], true, "{exchange}");
        let path = exchange["request"]["path"].as_str().unwrap();
        let number: usize = path.rsplit('/').next().unwrap().parse().unwrap();
        let (sent, got) = (body(number), [body(number), body(number)].concat());
        assert_eq!(sha256_of(&exchange["request"], "body"), sha256(&sent), "{path}");
        assert_eq!(sha256_of(&exchange["response"], "body"), sha256(&got), "{path}");
        let method = exchange["request"]["method"].as_str().unwrap();
        assert_eq!(method, if number == 0 { "GET" } else { "POST" });
    }
    assert_same_heads(&live, &recorded.pcapng, &listing);
}

#[test]
fn hyper_over_http1_is_listed_as_it_was() {
    record(false);
}

#[test]
fn hyper_over_http2_is_listed_as_it_was() {
    record(true);
}
