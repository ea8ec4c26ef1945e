//! Protocols on top of HTTP, from Python's servers and clients: WebSockets with permessage-deflate,
//! gRPC, and server-sent events that curl reads. tshark finds the same requests, responses and
//! messages in the same files.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::listing::Listing;
use crate::oracle::{Heads, assert_same_heads};
use crate::server::certificate;
use crate::support::{Live, Recorded};

/// A server that echoes, and a client that sends texts, bytes, fragments and a ping.
const WEBSOCKETS: &str = r#"
import asyncio, ssl, sys
import websockets
folder = sys.argv[1]

async def serve(socket):
    async for message in socket:
        await socket.send(message)
        if message == "bye":
            await socket.close(1001, "enough")

async def main():
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")
    client_tls = ssl.create_default_context(cafile=folder + "/cert.pem")
    async with websockets.serve(serve, "127.0.0.1", 0, ssl=server_tls) as server:
        port = server.sockets[0].getsockname()[1]
        url = "wss://localhost:%d/chat?room=1" % port
        async with websockets.connect(url, ssl=client_tls) as socket:
            for i in range(50):
                text = "message %d of fifty, which compress well" % i
                await socket.send(text)
                assert await socket.recv() == text
            await socket.send(bytes(range(256)) * 400)
            assert len(await socket.recv()) == 102400
            await socket.send(["in ", "three ", "fragments"])
            assert await socket.recv() == "in three fragments"
            await (await socket.ping(b"are you there"))
            await socket.send("bye")
            assert await socket.recv() == "bye"
            await socket.wait_closed()
asyncio.run(main())
"#;

/// Each kind of call, among them a compressed and a refused call.
const GRPC: &str = r#"
import sys
from concurrent import futures
import grpc
from google.protobuf import wrappers_pb2, struct_pb2
folder = sys.argv[1]
read = lambda name: open(folder + "/" + name, "rb").read()
Text = wrappers_pb2.StringValue

def echo(request, context):
    return Text(value=request.value * 2)

def refuse(request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such order: ä")

def count(request, context):
    for i in range(20):
        yield wrappers_pb2.Int64Value(value=i * 1000)

def gather(requests, context):
    return Text(value="".join(r.value for r in requests))

def talk(requests, context):
    for r in requests:
        yield Text(value=r.value.upper())

out = lambda m: m.SerializeToString()
handlers = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo, Text.FromString, out),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse, Text.FromString, out),
    "Count": grpc.unary_stream_rpc_method_handler(count, Text.FromString, out),
    "Gather": grpc.stream_unary_rpc_method_handler(gather, Text.FromString, out),
    "Talk": grpc.stream_stream_rpc_method_handler(talk, Text.FromString, out),
}
server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Orders", handlers),))
port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(read("key.pem"), read("cert.pem"))]))
server.start()
with grpc.secure_channel("localhost:%d" % port, grpc.ssl_channel_credentials(read("cert.pem"))) as channel:
    path = lambda name: "/shop.v1.Orders/" + name
    uu = lambda name, **k: channel.unary_unary(path(name), out, Text.FromString)
    assert uu("Echo")(Text(value="ab")).value == "abab"
    big = Text(value="x" * 100000)
    assert len(uu("Echo")(big, compression=grpc.Compression.Gzip).value) == 200000
    try:
        uu("Refuse")(Text(value="7"))
        assert False
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
    counted = channel.unary_stream(path("Count"), out, wrappers_pb2.Int64Value.FromString)(Text())
    assert sum(m.value for m in counted) == 190000
    texts = [Text(value="part %d " % i) for i in range(7)]
    assert channel.stream_unary(path("Gather"), out, Text.FromString)(iter(texts)).value.endswith("part 6 ")
    assert len(list(channel.stream_stream(path("Talk"), out, Text.FromString)(iter(texts)))) == 7
server.stop(None)
"#;

/// Five events, 100 ms after one another, plain and compressed.
const EVENTS: &str = r#"
import gzip, io, socketserver, ssl, subprocess, sys, threading, time, zlib
folder = sys.argv[1]
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(folder + "/cert.pem", folder + "/key.pem")

class Words(socketserver.StreamRequestHandler):
    def setup(self):
        self.request = tls.wrap_socket(self.request, server_side=True)
        super().setup()
    def handle(self):
        line = self.rfile.readline()
        while self.rfile.readline().strip(): pass
        packed = b"gzip" in line
        coder = zlib.compressobj(wbits=31)
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
        self.wfile.write((head + ("Content-Encoding: gzip\r\n" if packed else "") + "\r\n").encode())
        for i in range(5):
            event = ("id: %d\ndata: {\"word\": \"w%d\"}\n\n" % (i, i)).encode()
            if packed:
                event = coder.compress(event) + coder.flush(zlib.Z_SYNC_FLUSH)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")
        self.request.unwrap()

socketserver.ThreadingTCPServer.daemon_threads = True
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Words)
threading.Thread(target=server.serve_forever, daemon=True).start()
for path in ("plain", "gzip"):
    url = "https://localhost:%d/%s" % (server.server_address[1], path)
    done = subprocess.run(["curl", "-sSN", "--compressed", "--cacert", folder + "/cert.pem", url], capture_output=True, text=True, check=True)
    assert done.stdout.count("data:") == 5, done
"#;

fn record(live: &Live, script: &str) -> (Recorded, Listing) {
    certificate(live, live.dir());
    let folder = live.dir().to_str().unwrap();
    let recorded = live.record(&[], &["/usr/bin/python3", "-c", script, folder]).succeeded();
    let listing = live.list_both(&recorded.pcapng, &recorded.raw, &["--bodies"]);
    // A client may give up a connection and open another.
    for stream in &listing.streams {
        let notes = stream["notes"].to_string();
        assert!(notes.contains("the TLS handshake failed"), "{stream}");
        assert_eq!((&stream["client_bytes"], &stream["server_bytes"]), (&0.into(), &0.into()));
    }
    for exchange in &listing.exchanges {
        assert_eq!(exchange["complete"], true, "{}", exchange["notes"]);
        assert_eq!(exchange["notes"], serde_json::json!([]));
    }
    assert_same_heads(live, &recorded.pcapng, &listing);
    (recorded, listing)
}

/// Counts each value of a field in tshark's output; a packet may have several.
fn counted(live: &Live, recorded: &Recorded, field: &str) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for line in live.tshark_fields(&recorded.pcapng, field, field) {
        for value in line.split(',') {
            *counts.entry(value.parse().unwrap()).or_default() += 1;
        }
    }
    counts
}

/// All messages of all exchanges. Ends whose addresses are not known are listed both, and stand in
/// the pcapng both.
fn messages<'a>(listing: &'a Listing, protocol: &str) -> Vec<&'a Value> {
    let lists = listing.exchanges.iter().map(|e| e[protocol]["messages"].as_array().unwrap());
    lists.flatten().collect()
}

#[test]
fn websockets_are_recorded_with_their_messages() {
    let Some(live) = Live::start() else { return };
    let (recorded, listing) = record(&live, WEBSOCKETS);
    assert!(!listing.exchanges.is_empty());
    for exchange in &listing.exchanges {
        let socket = &exchange["websocket"];
        assert_eq!((&exchange["proto"], &socket["deflate"]), (&"websocket".into(), &true.into()));
        assert_eq!(
            (&socket["client_messages"], &socket["server_messages"]),
            (&53.into(), &53.into())
        );
        let close = serde_json::json!({"from": "server", "code": 1001, "reason": "enough"});
        assert_eq!(socket["close"], close);
        let all = socket["messages"].as_array().unwrap();
        let texts = |from: &str| {
            let of = all.iter().filter(|m| m["from"] == from && m["kind"] == "text");
            of.map(|m| m["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let sent = texts("client");
        assert_eq!(sent, texts("server"));
        assert_eq!(
            sent[49..],
            ["message 49 of fifty, which compress well", "in three fragments", "bye"]
        );
        let binary = all.iter().find(|m| m["kind"] == "binary").unwrap();
        let bytes: Vec<u8> = (0..400).flat_map(|_| 0..=255u8).collect();
        assert!(crate::listing::bytes_of(binary, "data") == bytes);
    }
    let heads = Heads::listed(&listing);
    assert!(heads.responses.iter().all(|line| line.starts_with("101 ")), "{heads:?}");
    let seen = counted(&live, &recorded, "websocket.opcode");
    let all = messages(&listing, "websocket");
    for (opcode, kind) in [(1, "text"), (2, "binary"), (8, "close"), (9, "ping"), (10, "pong")] {
        assert_eq!(seen[&opcode], all.iter().filter(|m| m["kind"] == kind).count(), "{kind}");
    }
}

#[test]
fn grpc_is_recorded_with_its_messages() {
    let Some(live) = Live::start() else { return };
    let (recorded, listing) = record(&live, GRPC);
    let calls = |role: &str| {
        let of = listing.exchanges.iter().filter(|e| e["role"] == role);
        of.map(|e| {
            assert_eq!(
                (&e["proto"], &e["grpc"]["service"]),
                (&"grpc".into(), &"shop.v1.Orders".into())
            );
            let number = |key: &str| e["grpc"][key].as_u64().unwrap();
            let method = e["grpc"]["method"].as_str().unwrap();
            let (up, down) = (number("request_messages"), number("response_messages"));
            format!("{method} {up} {down} {}", number("status"))
        })
        .collect::<Vec<_>>()
    };
    let expected =
        ["Echo 1 1 0", "Echo 1 1 0", "Refuse 1 0 5", "Count 1 20 0", "Gather 7 1 0", "Talk 7 7 0"];
    assert_eq!(calls("client"), expected);
    let heads = Heads::listed(&listing);
    assert_eq!(heads.grpc_statuses.len(), heads.requests.len(), "{heads:?}");
    let refused = listing.exchanges.iter().find(|e| e["grpc"]["method"] == "Refuse").unwrap();
    assert_eq!(refused["grpc"]["message"], "no such order: ä");
    let all = messages(&listing, "grpc");
    assert!(all.iter().all(|message| message["problem"].is_null() && !message["fields"].is_null()));
    let packed = all.iter().find(|message| message["compressed"] == true).unwrap();
    assert_eq!(packed["fields"][0]["text"].as_str().unwrap(), "x".repeat(100_000));
    let seen = counted(&live, &recorded, "grpc.message_length");
    let mut ours = BTreeMap::new();
    for message in &all {
        *ours.entry(message["bytes"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(seen, ours);
}

#[test]
fn events_are_recorded_with_their_times() {
    let Some(live) = Live::start() else { return };
    let (_, listing) = record(&live, EVENTS);
    assert_eq!(listing.exchanges.len(), 2);
    for exchange in &listing.exchanges {
        let events = &exchange["events"];
        assert_eq!(events["count"], 5);
        let all = events["messages"].as_array().unwrap();
        for (number, event) in all.iter().enumerate() {
            assert_eq!(event["data"], format!("{{\"word\": \"w{number}\"}}"));
            assert_eq!(event["id"], number.to_string());
        }
        // Four pauses of 100 ms lie between the first and the last; TCP may delay a packet by 40
        // ms.
        let (first, took) = (events["first_ms"].as_f64(), exchange["duration_ms"].as_f64());
        assert!(took.unwrap() - first.unwrap() >= 330.0, "{first:?} {took:?}");
    }
}
