// A small site for a browser: `site.js plain` serves HTTP/1.1 on 127.0.0.1:80, `site.js tls FOLDER`
// HTTP/2 over TLS on 127.0.0.1:443, with key.pem and cert.pem of the folder. It prints a line when it
// listens, and then one for each request, in JSON: what was answered, by whoever should know.
"use strict";

const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const http2 = require("node:http2");
const path = require("node:path");
const zlib = require("node:zlib");

/** A picture of one pixel. */
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

/** For the head of each page. When a browser asks for an icon is its own affair, so that it is given one. */
const ICON = '<link rel="icon" href="data:,">';

/** What the first page does once it is there; `window.done` tells whoever drives the browser. */
const SCRIPT = `
const wanted = async (answer, status) => {
  const got = await answer;
  if (got.status !== status) throw new Error(got.url + " " + got.status);
  return got.text();
};
const first = (target, event) => new Promise((resolve, reject) => {
  target.addEventListener(event, resolve, { once: true });
  target.addEventListener("error", () => reject(new Error(event)), { once: true });
});

async function events() {
  const source = new EventSource("/events");
  await first(source, "last");
  source.close();
}

async function socket() {
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/socket?room=1");
  await first(socket, "open");
  for (const text of ["one", "two", "x".repeat(70000)]) {
    socket.send(text);
    const echo = await first(socket, "message");
    if (echo.data !== text) throw new Error("no echo: " + echo.data.length);
  }
  socket.close(1000, "enough");
  await first(socket, "close");
}

async function visit() {
  const json = { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"a":[1,2]}' };
  await wanted(fetch("/api/orders?page=2&q=a%20b", json), 201);
  await wanted(fetch("/api/upload", { method: "PUT", body: new Uint8Array(300000) }), 201);
  await wanted(fetch("/api/orders/7", { method: "DELETE" }), 204);
  await wanted(fetch("/api/large", { method: "HEAD" }), 200);
  await wanted(fetch("/redirected/twice"), 200);
  await wanted(fetch("/fails"), 503);
  // The second time the browser asks whether what it has is still good.
  await wanted(fetch("/api/tagged"), 200);
  await wanted(fetch("/api/tagged", { cache: "no-cache" }), 200);
  const names = Array.from({ length: 20 }, (_, n) => "/api/parallel/" + n);
  await Promise.all(names.map((name) => wanted(fetch(name), 200)));
  await events();
  await socket();
}
window.done = visit();
`;

const PAGE = `<!doctype html><title>First</title>${ICON}
<link rel="stylesheet" href="/style.css"><img src="/picture.png?size=1"><img src="/missing.png">
<script src="/script.js"></script><a id="next" href="/moved">next</a>`;

const SECOND = `<!doctype html><title>Second</title>${ICON}
<iframe src="/frame"></iframe><form method="post" action="/form"><input name="a" value="b &amp; c">
<button>send</button></form>`;

/** Bodies of single requests: type and text. */
const FILES = {
  "/": ["text/html", PAGE],
  "/second": ["text/html", SECOND],
  "/frame": ["text/html", "<!doctype html><title>Frame</title>inside"],
  "/style.css": ["text/css", "body { color: #123 }"],
  "/picture.png": ["image/png", PNG],
  "/api/large": ["application/octet-stream", Buffer.alloc(1 << 20, "large")],
};

const REDIRECTS = { "/moved": "/second", "/redirected/twice": "/redirected/once", "/redirected/once": "/api/parallel/0" };

/** Answers a request; the same for both versions of HTTP. */
function answer(request, response) {
  const { pathname } = new URL(request.url, "http://site");
  const send = (status, headers, body) => {
    response.writeHead(status, { "Cache-Control": "no-store", ...headers });
    response.end(request.method === "HEAD" ? undefined : body);
  };
  if (pathname in FILES) {
    const [type, body] = FILES[pathname];
    return send(200, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) }, body);
  }
  if (pathname in REDIRECTS) return send(302, { Location: REDIRECTS[pathname] });
  if (pathname === "/script.js") {
    return send(200, { "Content-Type": "text/javascript", "Content-Encoding": "gzip" }, zlib.gzipSync(SCRIPT));
  }
  if (pathname === "/api/tagged") {
    const headers = { ETag: '"1"', "Cache-Control": "no-cache" };
    return request.headers["if-none-match"] ? send(304, headers) : send(200, headers, "tagged");
  }
  if (pathname.startsWith("/api/parallel/")) return send(200, { "Content-Type": "application/json" }, '{"ok":true}');
  if (pathname === "/events") return events(response);
  if (pathname === "/fails") return send(503, {}, "not now");
  if (request.method === "DELETE") return send(204, {});
  if (["POST", "PUT"].includes(request.method)) {
    request.resume();
    return request.on("end", () => send(201, { "Content-Type": "text/html" }, `<!doctype html>${ICON}taken`));
  }
  return send(404, {}, "no such thing");
}

/** Three server-sent events, after one another; the last one comes with the end of the response. */
function events(response) {
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  response.write("retry: 60000\n\ndata: one\n\n");
  setTimeout(() => response.write("data: two\n\n"), 20);
  setTimeout(() => response.end("event: last\ndata: three\n\n"), 40);
}

/** A web socket that gives back what it gets (RFC 6455): frames of any length, none fragmented. */
function echo(stream) {
  let held = Buffer.alloc(0);
  stream.on("data", (bytes) => {
    held = Buffer.concat([held, bytes]);
    for (let frame; (frame = readFrame(held)); held = held.subarray(frame.end)) {
      stream.write(writeFrame(frame.opcode, frame.payload));
      if (frame.opcode === 8) return stream.end();
    }
  });
  stream.on("error", () => {});
}

function readFrame(bytes) {
  if (bytes.length < 2) return null;
  const short = bytes[1] & 0x7f;
  const wide = { 126: 2, 127: 8 }[short] ?? 0;
  const start = 2 + wide + 4;
  if (bytes.length < start) return null;
  const length = wide === 0 ? short : wide === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < start + length) return null;
  const mask = bytes.subarray(start - 4, start);
  const payload = Buffer.from(bytes.subarray(start, start + length)).map((octet, at) => octet ^ mask[at % 4]);
  return { opcode: bytes[0] & 0xf, payload, end: start + length };
}

function writeFrame(opcode, payload) {
  const head = Buffer.alloc(payload.length < 126 ? 2 : payload.length < 65536 ? 4 : 10);
  head[0] = 0x80 | opcode;
  head[1] = { 2: payload.length, 4: 126, 10: 127 }[head.length];
  if (head.length === 4) head.writeUInt16BE(payload.length, 2);
  if (head.length === 10) head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

function log(method, url, status) {
  console.log(JSON.stringify({ method, url, status }));
}

function logged(origin) {
  return (request, response) => {
    response.on("close", () => log(request.method, origin + request.url, response.statusCode));
    answer(request, response);
  };
}

function plain() {
  const origin = "http://127.0.0.1";
  const server = http.createServer(logged(origin));
  server.on("upgrade", (request, socket) => {
    const hash = crypto.createHash("sha1");
    const accept = hash.update(request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept.digest("base64")}\r\n\r\n`);
    log(request.method, origin + request.url, 101);
    echo(socket);
  });
  return [server, 80];
}

function tls(folder) {
  const origin = "https://127.0.0.1";
  const read = (name) => fs.readFileSync(path.join(folder, name));
  const settings = { enableConnectProtocol: true };
  const server = http2.createSecureServer({ key: read("key.pem"), cert: read("cert.pem"), settings }, logged(origin));
  // RFC 8441: this is how a browser opens a web socket over HTTP/2.
  server.on("connect", (request, response) => {
    response.writeHead(200);
    response.flushHeaders();
    log(request.method, origin + request.url, response.statusCode);
    echo(response.stream);
  });
  return [server, 443];
}

const [kind, folder] = process.argv.slice(2);
const [server, port] = { plain, tls }[kind](folder);
server.listen(port, "127.0.0.1", () => console.log("listening"));
