//! HTTP/2 between the `h2` crate's client and server: it is listed as it was, and Wireshark decodes
//! it with default preferences.
//!
//! The peer is this test binary again, started with an environment variable.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;

use bytes::Bytes;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslConnector, SslFiletype, SslMethod};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::listing::{lines, sha256_of};
use crate::oracle::assert_same_heads;
use crate::server::certificate;
use crate::support::{Live, sha256};

const FOLDER: &str = "SSLREC_TEST_H2_PEER";

async fn serve(listener: TcpListener, folder: PathBuf) {
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
    acceptor.set_certificate_chain_file(folder.join("cert.pem")).unwrap();
    acceptor.set_private_key_file(folder.join("key.pem"), SslFiletype::PEM).unwrap();
    acceptor.set_alpn_select_callback(|_, offered| {
        openssl::ssl::select_next_proto(b"\x02h2", offered).ok_or(AlpnError::NOACK)
    });
    let (socket, _) = listener.accept().await.unwrap();
    let ssl = Ssl::new(acceptor.build().context()).unwrap();
    let mut stream = SslStream::new(ssl, socket).unwrap();
    Pin::new(&mut stream).accept().await.unwrap();
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request.unwrap();
        let body = request.uri().path().repeat(1000);
        let response = http::Response::builder().header("server", "h2-peer").body(()).unwrap();
        let mut send = respond.send_response(response, false).unwrap();
        send.send_data(Bytes::from(body), true).unwrap();
    }
}

async fn talk(address: std::net::SocketAddr, folder: PathBuf) {
    let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
    connector.set_ca_file(folder.join("cert.pem")).unwrap();
    connector.set_alpn_protos(b"\x02h2").unwrap();
    let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    let socket = TcpStream::connect(address).await.unwrap();
    let mut stream = SslStream::new(ssl, socket).unwrap();
    Pin::new(&mut stream).connect().await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for path in ["/one", "/two", "/three"] {
        let request = http::Request::get(format!("https://localhost{path}")).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut len = 0;
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            len += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert_eq!(len, path.len() * 1000);
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

/// Not a test of its own: the program that is recorded, if the environment requests it.
#[test]
fn peer_process() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, folder.clone()));
        talk(address, folder).await;
        server.await.unwrap();
    });
}

#[test]
fn http2_is_recorded_and_decoded_by_wireshark() {
    let Some(live) = Live::start() else { return };
    let folder = live.path("h2");
    std::fs::create_dir(&folder).unwrap();
    certificate(&live, &folder);
    let (files, mut sslrec) = live.sslrec(&[]);
    let peer: &mut Command = sslrec.arg("--").arg(std::env::current_exe().unwrap());
    peer.args(["--exact", "h2_peer::peer_process", "--nocapture"]).env(FOLDER, &folder);
    let recorded = files.finish(live.run(peer)).succeeded();

    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    assert_eq!(lines(&listing.exchanges), ["GET /one 200", "GET /two 200", "GET /three 200"]);
    assert_same_heads(&live, &recorded.pcapng, &listing);
    for exchange in &listing.exchanges {
        assert_eq!(exchange["proto"], "h2");
        assert_eq!(exchange["addr"], "exact");
        assert_eq!(exchange["sni"], "localhost");
        assert_eq!(exchange["complete"], true, "{exchange}");
        let body = exchange["request"]["path"].as_str().unwrap().repeat(1000);
        assert_eq!(sha256_of(&exchange["response"], "body"), sha256(body.as_bytes()));
    }
}
